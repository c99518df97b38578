"""Theorem 12 in both directions: a gradient is a shadow tomography, and shadow tomography gives gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop import simulate
from quprop.collective import reduction
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.gradients import METHODS, Adjoint
from quprop.model.circuit import Circuit
from quprop.plots import Picture, panels, picture

EPS = 0.2


def random_circuit(n: int, layers: int, rng: np.random.Generator) -> Circuit:
    circuit = Circuit(n)
    for _ in range(layers):
        for q in range(n):
            circuit.ry(float(rng.uniform(0, 2 * np.pi)), q).rz(float(rng.uniform(0, 2 * np.pi)), q)
        for q in range(n - 1):
            circuit.cx(q, q + 1)
    return circuit


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Events of random circuits on random states, against the probabilities of each circuit run by itself."""
    generator = generator_of(rng)
    sizes = [(3, 8)] if quick else [(2, 8), (3, 16), (4, 32)]
    rows = []
    for done, (n, events) in enumerate(sizes):
        progress(2 * done, 2 * len(sizes), f"{events} events on {n} qubits by a gradient")
        state = random_circuit(n, 2, generator)
        circuits = [random_circuit(n, 1, generator) for _ in range(events)]
        truth = []
        for c in circuits:
            p = simulate.probabilities(_after(state, c), np.zeros(0))
            truth.append(float(p[1::2].sum()))
        exact, _ = reduction.shadow_tomography_by_gradient(circuits, state, Adjoint(), 0)
        shift = METHODS["parameter_shift"](max_error=EPS)
        sampled, found = reduction.shadow_tomography_by_gradient(circuits, state, shift, generator)
        progress(2 * done + 1, 2 * len(sizes), f"gradient on {n} qubits by shadow tomography")
        model = reduction.gradient_model(circuits[:4], state)
        at = generator.normal(size=model.n_params) * 0.5
        tomography = METHODS["quantum_backprop"](max_error=0.5).compile(model).estimate(at, rng=generator)
        gradient = simulate.value_and_grad(model, at)[1]
        rows.append(
            {
                "n": n,
                "events": events,
                "exact_difference": float(np.abs(exact - truth).max()),
                "sampled_error": float(np.abs(sampled - truth).max()),
                "copies": found.cost.copies,
                "gradient_error": float(np.abs(tomography.value - gradient).max()),
            }
        )
    progress(2 * len(sizes), 2 * len(sizes), "")
    return {
        "eps": EPS,
        "rows": rows,
        "findings": [
            f"exact gradients give all probabilities to {max(r['exact_difference'] for r in rows):.0e}",
            f"gradients of error {EPS:g} give them to {max(r['sampled_error'] for r in rows):.3f} "
            f"({EPS / 2:g} promised)",
            "shadow tomography of the pair state gives gradients to "
            f"{max(r['gradient_error'] for r in rows):.3f} (0.5 promised)",
        ],
    }


def _after(state: Circuit, last: Circuit) -> Any:
    from quprop.model import Model

    return Model(Circuit(state.n_qubits).append(state).append(last), ["Z0"])


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 5.6)
    rows = result["rows"]
    x = np.arange(len(rows))
    for shift, key, label in (
        (-0.25, "exact_difference", "events by exact gradient"),
        (0.0, "sampled_error", f"events by gradient of error {result['eps']:g}"),
        (0.25, "gradient_error", "gradient by shadow tomography (0.5)"),
    ):
        axes.bar(x + shift, [max(r[key], 1e-17) for r in rows], 0.25, label=label)
    axes.set_yscale("log")
    axes.set_ylim(top=1e3)  # room for the legend
    axes.set_xticks(x, [f"n = {r['n']}, {r['events']} events" for r in rows])
    axes.set_ylabel("largest error")
    return picture(figure, "Gradients and shadow tomography, each by the other")


EXPERIMENT = Experiment(
    "shadow_reduction",
    "a cheap gradient would be cheap shadow tomography",
    "Abbas et al., arXiv:2305.13362, Theorem 12",
    2,
    run,
    draw,
)
