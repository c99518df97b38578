"""What a built-in problem is: a table of settings, and a function from settled settings to a model, data and a known
best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.model import Model
from quprop.model.circuit import Circuit
from quprop.problems.config import Config, Setting
from quprop.problems.estimated import SETTINGS as ESTIMATED
from quprop.simulate import ENGINES
from quprop.training.adapt import Adapted
from quprop.training.losses import Loss
from quprop.training.optimise import OF_STATES, OPTIMISERS
from quprop.training.trained import Trained

Params = dict[str, np.ndarray]
Data = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True, eq=False)
class Problem:
    """One settled problem, ready to train."""

    model: Model
    loss: Loss
    start: Callable[[np.random.Generator], Params]
    data: Data | None = None
    test: Data | None = None
    head: bool = False
    reference: dict[str, Any] = field(
        default_factory=dict
    )  # reference_energy or reference_accuracy, reference_name, ...
    judge: Callable[[Params, float, dict[str, float]], dict[str, Any]] | None = (
        None  # (params, loss, metrics) -> entries of the summary
    )
    examine: Callable[[Trained, Any], tuple[dict[str, Any], dict[str, bytes]]] | None = (
        None  # (training, its loss over the model) -> entries of the summary, and files of the run folder by name
    )
    circuit: Circuit | None = None  # as it was written, for drawing
    grow: Callable[..., Adapted] | None = None  # (steps=, optimiser=, out=, ...) -> a circuit grown while it is trained
    measured: int = 0  # of a model of samples, the first qubits, whose measured bits they are


@dataclass(frozen=True, eq=False)
class Spec:
    """A name the command line knows: title for its help, the keys of each section, and the builder."""

    title: str
    schema: dict[str, dict[str, Setting]]
    build: Callable[[Config], Problem]
    check: Callable[[Config], Any] | None = None  # refuses settled settings before anything is computed
    of_observables: bool = True  # the loss is a function of expectation values, whose gradients methods estimate


def as_run(circuit: Circuit, config: Config) -> Circuit:
    """The circuit with the errors of the machine that [train] names."""
    noise = config["train"]["noise"]
    return circuit.with_noise(noise) if noise else circuit


def train_settings(
    *,
    optimiser: str,
    learning_rate: float,
    schedule: str = "constant",
    epochs: int | None = None,
    batch_size: int = 0,
    steps: int | None = None,
    of_observables: bool = True,
) -> dict[str, Setting]:
    """The [train] section: problems with data count epochs and have batches, the others count steps. A loss that is no
    function of observables chooses itself how it is simulated, and has no metric for natural gradients."""
    length = (
        {
            "epochs": Setting(epochs, "passes over the training data", least=0),
            "batch_size": Setting(batch_size, "samples a step; 0 takes all", least=0),
        }
        if epochs is not None
        else {"steps": Setting(steps, "optimiser steps, at most", least=0)}
    )
    optimisers = [name for name in OPTIMISERS if of_observables or name not in OF_STATES]
    found = {
        "optimiser": Setting(optimiser, "how parameters move", choices=tuple(optimisers)),
        "learning_rate": Setting(
            learning_rate, "peak learning rate, or step of imaginary time (lbfgs has none)", least=0.0
        ),
        "schedule": Setting(schedule, "learning rate over the run", choices=("constant", "cosine")),
        "momentum": Setting(0.9, "of sgd", least=0.0),
        "damping": Setting(1e-3, "of natural_gradient", least=0.0),
        **length,
        "seed": Setting(0, "of initial parameters and batches", least=0, most=None),
        "precision": Setting("double", "of the simulation", choices=("double", "single")),
        "engine": Setting("auto", "what simulates", choices=tuple(ENGINES)),
        "noise": Setting("", "of the circuit: a machine, such as superconducting, or superconducting:0.1; empty: none"),
        "tolerance": Setting(
            0.0, "of the value and each derivative, where engine auto or pauli drops Pauli strings; 0: none", least=0.0
        ),
    }
    if of_observables:
        found |= ESTIMATED
    return {k: v for k, v in found.items() if of_observables or k not in ("damping", "engine", "tolerance", "noise")}
