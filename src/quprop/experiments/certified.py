"""Pauli propagation with a guarantee: what a tolerance costs in strings and time, beside the error there really is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.plots import Picture, panels, picture
from quprop.simulate import get_engine, value_and_grad
from quprop.simulate.pauli.settings import PauliPropagation

QUBITS, LAYERS = 64, 4


def chain(n: int, layers: int) -> Model:
    """RX and RZ on all qubits and RZZ on all bonds of a chain, a parameter each; H = sum X + sum Z Z."""
    theta = iter(vector := params("theta", layers * (3 * n - 1)))
    circuit = Circuit(n, params=vector)
    for _ in range(layers):
        for q in range(n):
            circuit.rx(next(theta), q).rz(next(theta), q)
        for q in range(n - 1):
            circuit.rzz(next(theta), q, q + 1)
    return Model(circuit, {f"X{q}": 1.0 for q in range(n)} | {f"Z{q} Z{q + 1}": 1.0 for q in range(n - 1)})


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """One gradient for each tolerance; the exact one is that of the light cones."""
    generator = generator_of(rng)
    n = 20 if quick else QUBITS
    model = chain(n, LAYERS)
    theta = generator.normal(0.0, 0.3, model.n_params)
    value, slope = value_and_grad(model, theta, engine="lightcone")
    tolerances = (1.0, 1e-1, 1e-2) if quick else tuple(10.0**-k for k in range(5))
    get_engine(PauliPropagation(1.0)).propagate(model, theta)  # loads the kernels
    rows = []
    for done, tolerance in enumerate(tolerances):
        progress(done, len(tolerances), f"tolerance {tolerance:g}")
        engine = get_engine(PauliPropagation(tolerance))
        start = time.perf_counter()
        found = engine.propagate(model, theta)
        rows.append(
            {
                "tolerance": tolerance,
                "bound": float(max(found.value_bound, found.gradient_bound.max())),
                "error": float(max(abs(found.value - value), np.abs(found.gradient - slope).max())),
                "strings": found.peak,
                "seconds": time.perf_counter() - start,
            }
        )
    progress(len(tolerances), len(tolerances), "")
    kept = all(r["error"] <= r["bound"] <= r["tolerance"] for r in rows)
    last = rows[-1]
    return {
        "qubits": n,
        "parameters": model.n_params,
        "rows": rows,
        "findings": [
            f"{n} qubits, {model.n_params} parameters: error <= bound <= tolerance at "
            f"{'every' if kept else 'NOT every'} tolerance down to {last['tolerance']:g}",
            f"at {last['tolerance']:g} a value and its gradient take {last['strings']:,} strings; the largest error is "
            f"{last['error']:.1e}",
        ],
    }


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2, 4.8)
    rows = result["rows"]
    strings, seconds = ([r[k] for r in rows] for k in ("strings", "seconds"))
    for axes, x, label in ((left, strings, "strings, at most"), (right, seconds, "seconds")):
        axes.plot(x, [r["tolerance"] for r in rows], "k:", linewidth=1, label="tolerance")
        axes.plot(x, [r["bound"] for r in rows], "s-", markersize=4, linewidth=1, label="certified")
        axes.plot(x, [max(r["error"], 1e-16) for r in rows], "o-", markersize=4, linewidth=1, label="true")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("largest error of value and gradient")
    return picture(figure, f"Pauli propagation of {result['qubits']} qubits, certified")


EXPERIMENT = Experiment(
    "certified",
    "truncated Pauli propagation has gradients whose errors are bounded beforehand",
    "Rudolph et al., arXiv:2505.21606, for values; the bound of gradients is quprop's own",
    0.5,
    run,
    draw,
)
