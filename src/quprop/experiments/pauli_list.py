"""Proposition 7: all Pauli expectations of one state as a gradient, from log M pairs of copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.gradients import METHODS, pauli_list_model
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString
from quprop.plots import BLUE, Picture, panels, picture

QUBITS, EPS, FAILURE = 4, 0.3, 0.01


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """The first M of all Pauli strings in random order, on a random state of 4 qubits; executed copies are counted."""
    generator = generator_of(rng)
    sizes = [4, 32, 255] if quick else [4, 8, 16, 32, 64, 128, 255]
    instances = 1 if quick else 3
    strings = [PauliString(x, z) for x in range(2**QUBITS) for z in range(2**QUBITS) if x or z]
    tasks = [(m, i) for m in sizes for i in range(instances)]
    rows = []
    for done, (m, _) in enumerate(tasks):
        progress(done, len(tasks), f"M = {m}")
        generator.shuffle(strings)
        state = Circuit(QUBITS)
        for q in range(QUBITS):
            state.ry(float(generator.uniform(0, 3)), q).rz(float(generator.uniform(0, 3)), q)
        for q in range(QUBITS - 1):
            state.rzx(float(generator.uniform(0, 1)), q, q + 1)
        model = pauli_list_model(state, strings[:m])
        at = np.zeros(m)
        exact = simulate.value_and_grad(model, at)[1]
        row: dict[str, Any] = {"M": m}
        for name in ("bell_sampling", "parameter_shift"):
            plan = METHODS[name](max_error=EPS, failure=FAILURE).compile(model, at=(at, np.zeros(0)))
            row[name] = plan.cost.copies
            if name == "bell_sampling":
                found = plan.estimate(at, rng=generator)
                row[name] = found.cost.copies
                row["error"] = float(np.abs(found.value - exact).max())
        rows.append(row)
    progress(len(tasks), len(tasks), "")
    log_m, copies = np.log([r["M"] for r in rows]), np.array([r["bell_sampling"] for r in rows], float)
    slope, base = np.polyfit(log_m, copies, 1)
    off = float(np.abs(copies / (base + slope * log_m) - 1).max())
    return {
        "eps": EPS,
        "rows": rows,
        "line": [float(slope), float(base)],
        "findings": [
            f"copies = {base:,.0f} + {slope:,.0f} ln M, to {100 * off:.1f} %: a logarithm of M",
            f"largest error {max(r['error'] for r in rows):.3f} where {EPS:g} was promised",
            f"M = {rows[-1]['M']}: {rows[-1]['bell_sampling']:,} copies, parameter shift "
            f"{rows[-1]['parameter_shift']:,}",
        ],
    }


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 5.6)
    rows = result["rows"]
    m = np.array([r["M"] for r in rows], float)
    axes.plot(m, [r["bell_sampling"] for r in rows], "o", markersize=4, label="pairs of copies (Bell), counted")
    axes.plot(m, [r["parameter_shift"] for r in rows], "s", markersize=4, label="parameter shift, planned")
    slope, base = result["line"]
    grid = np.geomspace(m.min(), m.max(), 50)
    axes.plot(grid, base + slope * np.log(grid), "--", color=BLUE, linewidth=1, label="a + b ln M, fitted")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("M parameters, one a rotation")
    axes.set_ylabel("copies of the state")
    return picture(figure, f"All components to {result['eps']:g} at the special point theta = 0")


EXPERIMENT = Experiment(
    "pauli_list",
    "one special model reaches backpropagation scaling: O(log M) values give its whole gradient",
    "Abbas et al., arXiv:2305.13362, Proposition 7",
    1,
    run,
    draw,
)
