"""Generative models of binary data: IQP circuits, or others by their settings, trained on the MMD.

Circuits, starting parameters and widths are those of Recio-Armengol, Ahmed and Bowles (arXiv:2503.02934), except where
better ones were found: on 16 qubits the loss is exact, so that L-BFGS takes hundreds of steps in place of 10,000 of
Adam. Verdicts are in `generative_verdict.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.ansatz_iqp import TRAINED, all_gates, covariance_gates, graph_gates, iqp
from quprop.model.x_rotations import Subsets
from quprop.problems.config import Config, Setting
from quprop.problems.generative_data import SCALE_FREE, SHIPPED, generative_data, scale_free_couplings
from quprop.problems.generative_verdict import Rivals, SampleVerdict
from quprop.problems.spec import Params, Problem, Spec, train_settings
from quprop.training.mmd import MMD, initial_theta

SPIN_FLIPS: dict[str, bool | str] = {"none": False, "fair": True, "trained": TRAINED}


@dataclass(frozen=True)
class Defaults:
    """What differs between the data sets; `shape`: of an image of one sample, rows and columns."""

    title: str
    weight: int
    sigma: tuple[float, ...]
    optimiser: str
    learning_rate: float
    steps: int
    spin_flip: str = "none"
    scale: float = 0.01
    noise: float = 0.0
    test_sigma: tuple[float, ...] = ()
    exact: bool = False
    shape: tuple[int, int] | None = None
    hidden_units: int = 64
    epochs: int = 100
    rate: float = 0.01
    coin_steps: int = 300
    coin_weight: int = 2
    coin_gates: str = "all"


DEFAULTS = {
    "blobs": Defaults(
        "eight patterns of 4 x 4 pixels with flipped bits, by an IQP circuit on 16 qubits",
        weight=6, sigma=(0.6, 1.3), optimiser="lbfgs", learning_rate=1e-3, steps=400, scale=0.3, exact=True,
        shape=(4, 4), hidden_units=128, epochs=300, coin_weight=4,
    ),
    "ising-16": Defaults(
        "samples of a 4 x 4 Ising lattice, by an IQP circuit on 16 qubits and a coin that flips all",
        weight=4, sigma=(0.6, 1.3), optimiser="lbfgs", learning_rate=1e-3, steps=200, spin_flip="fair", exact=True,
        shape=(4, 4), hidden_units=256, epochs=400, rate=5e-4, coin_weight=4,
    ),
    "scale-free": Defaults(
        "samples of an Ising model on the published scale-free graph, by an IQP circuit on 1,000 qubits",
        weight=2, sigma=(11.17, 8.35, 3.82), test_sigma=(3.856,), optimiser="adam", learning_rate=3e-4, steps=600,
        spin_flip="trained", hidden_units=250, epochs=20, rate=1e-3, coin_gates="graph",
    ),
    "scale-free-sparse": Defaults(
        "the same on a graph of two edges a vertex, by an IQP circuit on 1,000 qubits",
        weight=2, sigma=(11.17, 8.35, 3.82), test_sigma=(3.856,), optimiser="adam", learning_rate=3e-4, steps=600,
        spin_flip="trained", hidden_units=250, epochs=20, rate=1e-3, coin_gates="graph",
    ),
    "digits-binary": Defaults(
        "handwritten digits, 8 x 8 pixels on or off, by an IQP circuit on 64 qubits",
        weight=2, sigma=(4.0, 2.5, 1.5), optimiser="adam", learning_rate=1e-2, steps=300, shape=(8, 8),
        epochs=400, rate=1e-3,
    ),
}  # fmt: skip


def schema(name: str, d: Defaults) -> dict[str, dict[str, Setting]]:
    """Every key of a data set's problem."""
    ways = ("all", "covariance", "graph") if name in SCALE_FREE else ("all", "covariance")
    problem = {
        "name": Setting(name, "this problem"),
        "rivals": Setting(True, "train a bit-flip model and a Boltzmann machine on the same data to compare with"),
        "bit_flip_gates": Setting(d.coin_gates, "of the bit-flip model: as gates of the circuit", choices=ways),
        "bit_flip_weight": Setting(d.coin_weight, "bits that a coin of the bit-flip model flips, at most", least=1),
        "bit_flip_steps": Setting(d.coin_steps, "optimiser steps of the bit-flip model", least=1),
        "bit_flip_rate": Setting(0.02, "learning rate of the bit-flip model (Adam)", least=0.0),
        "boltzmann_hidden": Setting(d.hidden_units, "hidden units of the Boltzmann machine", least=1),
        "boltzmann_epochs": Setting(d.epochs, "passes over the data of the Boltzmann machine", least=1),
        "boltzmann_rate": Setting(d.rate, "learning rate of the Boltzmann machine", least=1e-12),
        "shots": Setting(2000, "samples drawn of the trained circuit, where its state fits (28 qubits)", least=2),
    }
    if name not in SHIPPED:
        problem["data_seed"] = Setting(0, "of the data: their split, or couplings and chains", least=0, most=None)
    if name in SCALE_FREE:
        problem["file"] = Setting("", "an .npz that keeps the data between runs, as drawing takes 15 s; empty: none")
    return {
        "problem": problem,
        "model": {
            "gates": Setting("all", "all subsets to a weight, pairs of most covariance, or of a graph", choices=ways),
            "weight": Setting(d.weight, "qubits of a gate, at most (gates all and graph)", least=1, most=1000),
            "pairs": Setting(100, "gates about two qubits (gates covariance)", least=0),
            "spin_flip": Setting(
                d.spin_flip, "a coin flips all bits at the end, a fair one or of a trained probability",
                choices=tuple(SPIN_FLIPS),
            ),
            "hidden": Setting(0, "qubits that are not measured (gates all)", least=0, most=1000),
            "start_scale": Setting(d.scale, "of pairs at the start, times their normalised covariances"),
            "start_noise": Setting(d.noise, "standard deviation of noise at the start", least=0.0),
        },
        "train": {
            "sigma": Setting(list(d.sigma), "widths of the kernel, the loss being their mean"),
            "test_sigma": Setting(list(d.test_sigma), "widths on test data; empty: as in training"),
            "exact": Setting(d.exact, "no sampling: from all probabilities up to 20 qubits, else to exact_weight"),
            "exact_weight": Setting(0, "of products of Z in an exact loss, at most; 0: all", least=0, most=1000),
            "operators": Setting(1000, "products of Z a step and width, where the loss is sampled", least=2),
            "samples": Setting(1000, "signs that they are averaged over", least=2),
            "test_every": Setting(max(1, d.steps // 20), "steps from one look at the test data to the next", least=1),
            # Gradients are sampled: with a constant rate the loss ends at their noise, above where it was.
            **train_settings(
                optimiser=d.optimiser,
                learning_rate=d.learning_rate,
                schedule="cosine" if d.optimiser == "adam" else "constant",
                steps=d.steps,
                of_observables=False,
            ),
        },
    }  # fmt: skip


def gates(way: str, weight: int, pairs: int, n: int, data: np.ndarray, edges: Callable[[], Any]) -> Subsets:
    """Subsets of n qubits by the settings."""
    if way == "covariance":
        if pairs > n * (n - 1) // 2:
            raise QupropError(f"model.pairs is at most {n * (n - 1) // 2:,}, all pairs of {n} bits, got {pairs:,}")
        return covariance_gates(data, pairs)
    return graph_gates(n, edges(), weight) if way == "graph" else all_gates(n, weight)


def build(name: str, config: Config) -> Problem:
    settings, wanted, training = config["problem"], config["model"], config["train"]
    if wanted["hidden"] and wanted["gates"] != "all":
        raise QupropError(
            f"hidden qubits take gates about all subsets, got model.gates = {wanted['gates']!r}: set gates=all, or "
            "hidden=0"
        )
    if training["optimiser"] == "lbfgs" and not training["exact"]:
        raise QupropError(
            "L-BFGS compares neighbouring losses and needs exact ones, got train.exact = false: set exact=true, or "
            "optimiser=adam"
        )
    if training["exact_weight"] and not training["exact"]:
        raise QupropError(
            "train.exact_weight is of an exact loss, got train.exact = false: set exact=true, or leave it out"
        )
    options = {} if name in SHIPPED else {"seed": settings["data_seed"]}
    data = generative_data(name, file=settings.get("file") or None, **options)
    n = data.train.shape[1]

    def edges() -> np.ndarray:
        return np.argwhere(np.triu(scale_free_couplings(name, settings["data_seed"])[0].toarray()))

    chosen = gates(wanted["gates"], wanted["weight"], wanted["pairs"], n + wanted["hidden"], data.train, edges)
    circuit = iqp(n, chosen, spin_flip=SPIN_FLIPS[wanted["spin_flip"]], hidden=wanted["hidden"])
    # The observable is what a model must have; the loss asks for products of Z of its own.
    model = Model(circuit, "Z0")
    loss = MMD(
        data.train,
        training["sigma"],
        operators=training["operators"],
        samples=training["samples"],
        exact=training["exact"],
        weight=training["exact_weight"] or None,
        test=data.test,
        test_sigma=training["test_sigma"] or None,
        test_every=training["test_every"],
    )

    def start(rng: np.random.Generator) -> Params:
        return {"theta": initial_theta(model, data.train, rng, wanted["start_scale"], wanted["start_noise"])}

    rivals = None
    if settings["rivals"]:
        way, most = settings["bit_flip_gates"], settings["bit_flip_weight"]
        rivals = Rivals(
            gates(way, most, wanted["pairs"], n, data.train, edges),
            SPIN_FLIPS[wanted["spin_flip"]],
            settings["bit_flip_steps"],
            settings["bit_flip_rate"],
            settings["boltzmann_hidden"],
            settings["boltzmann_epochs"],
            settings["boltzmann_rate"],
        )
    verdict = SampleVerdict(name, loss, rivals, settings["shots"], training["seed"], DEFAULTS[name].shape)
    return Problem(model, loss, start, examine=verdict, circuit=circuit, measured=n)


SPECS = {
    name: Spec(d.title, schema(name, d), partial(build, name), of_observables=False) for name, d in DEFAULTS.items()
}
