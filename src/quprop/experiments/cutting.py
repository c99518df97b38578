"""The forum's circuit cutter: modules of few qubits give the large circuit's numbers; what the cuts cost in shots."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, exponent, silent
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.modules.cutting import cut
from quprop.plots import Picture, panels, picture

SIZE, SHOTS = 4, 20_000


def chain(modules: int) -> Circuit:
    """Modules of 4 qubits with two layers of RY and a CZ ring; between the layers an RZZ joins each to the next."""
    circuit, theta = Circuit(SIZE * modules), params("theta", 2 * SIZE * modules + modules - 1)
    angles = iter(theta)
    for layer in range(2):
        for q in range(SIZE * modules):
            circuit.ry(next(angles), q)
        for m in range(modules):
            for i in range(SIZE):
                circuit.cz(m * SIZE + i, m * SIZE + (i + 1) % SIZE)
        if not layer:
            for m in range(modules - 1):
                circuit.rzz(next(angles), m * SIZE + SIZE - 1, (m + 1) * SIZE)
    return circuit


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """spread: the variance of the sampled value over that of as many shots of the uncut circuit, from standard errors
    as the samples show them."""
    generator = generator_of(rng)
    counts = (1, 2, 3) if quick else (1, 2, 3, 4, 5)
    rows = []
    for done, modules in enumerate(counts):
        progress(done, len(counts), f"{modules - 1} cuts")
        circuit, n = chain(modules), SIZE * modules
        observable = " ".join(f"Z{m * SIZE + 1}" for m in range(modules))
        plan = cut(circuit, observable, max_qubits=SIZE)
        theta = generator.uniform(-np.pi, np.pi, circuit.n_params)
        value, gradient = plan.value_and_grad(theta)
        whole = simulate.value_and_grad(Model(circuit, observable), theta)
        sampled = plan.estimate(theta, shots=SHOTS, rng=generator)
        exact = float(whole[0])
        rows.append(
            {
                "cuts": len(plan.cuts),
                "qubits": n,
                "difference": max(abs(float(value) - exact), float(np.abs(gradient - whole[1]).max())),
                "overhead": float(plan.overhead),
                "overhead_here": float(plan.overhead_at(theta)),
                "spread": float(sampled.stderr[0] ** 2 * SHOTS / (1 - exact**2)),
                "off": float(abs(sampled.value[0] - exact) / sampled.stderr[0]),
            }
        )
    progress(len(counts), len(counts), "")
    last = rows[-1]
    growth = exponent([np.exp(r["cuts"]) for r in rows], [r["spread"] for r in rows])
    return {
        "rows": rows,
        "growth": float(np.exp(growth["slope"])),
        "findings": [
            f"value and gradient of up to {last['qubits']} qubits from modules of {SIZE}, to "
            f"{max(r['difference'] for r in rows):.0e}",
            f"{last['cuts']} cuts: {last['overhead']:,.0f} times the shots at worst, {last['overhead_here']:.3g} at "
            f"these angles by formula, {last['spread']:.3g} measured; {np.exp(growth['slope']):.2f} times a cut",
            f"sampled values are off by {max(r['off'] for r in rows):.1f} standard errors at most",
        ],
    }


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 5.6)
    rows = result["rows"]
    cuts = [r["cuts"] for r in rows]
    axes.plot(cuts, [r["spread"] for r in rows], "o", markersize=5, label="measured")
    axes.plot(cuts, [r["overhead_here"] for r in rows], "--", label="formula, these angles")
    axes.plot(cuts, [r["overhead"] for r in rows], "k:", label="formula, worst angles: 9 a cut")
    axes.set_yscale("log")
    axes.set_xticks(cuts)
    axes.set_xlabel("gates cut")
    axes.set_ylabel("shots over those of the uncut circuit")
    return picture(figure, "What cutting costs in shots, at equal standard error")


EXPERIMENT = Experiment(
    "cutting",
    "a circuit can be cut into low-qubit modules, at a cost that grows exponentially with the cuts",
    'PennyLane forum, "Hybrid computation backpropagation"; Mitarai and Fujii, arXiv:1909.07534',
    0.5,
    run,
    draw,
)
