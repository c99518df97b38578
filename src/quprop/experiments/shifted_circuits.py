"""The forum's sentence: D parameters by parameter shift take 2D circuits. Counted as they are executed."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.gradients import METHODS
from quprop.model import Model
from quprop.model.ansatz import hardware_efficient
from quprop.plots import MARKS, Picture, panels, picture

QUBITS, SHOTS = 6, 10
COMPARED = ("parameter_shift", "hadamard_test", "pair_state", "adjoint")


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Circuits = runs / shots, for one Pauli string on a hardware-efficient circuit with one rotation a parameter."""
    generator = generator_of(rng)
    layers = (1, 2, 4) if quick else (1, 2, 4, 8, 16)
    rows = []
    for done, depth in enumerate(layers):
        progress(done, len(layers), f"{depth} layers")
        model = Model(hardware_efficient(QUBITS, depth), "Z0 Z1")
        theta = generator.uniform(-np.pi, np.pi, model.n_params)
        row: dict[str, Any] = {"D": model.n_params}
        for name in COMPARED:
            method = METHODS[name]() if name == "adjoint" else METHODS[name](shots=SHOTS)
            found = method.compile(model).estimate(theta, rng=generator)
            row[name] = found.cost.measurements / SHOTS
        rows.append(row)
    progress(len(layers), len(layers), "")
    last = rows[-1]
    return {
        "rows": rows,
        "findings": [
            f"parameter shift executes {last['parameter_shift']:g} circuits for D = {last['D']} parameters: "
            f"{last['parameter_shift'] / last['D']:g} D at every depth",
            f"a Hadamard test each takes {last['hadamard_test']:g}, the pair state {last['pair_state']:g}, a simulator "
            "none: two sweeps",
        ],
    }


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 5.6)
    rows = result["rows"]
    d = np.array([r["D"] for r in rows], float)
    for index, name in enumerate(COMPARED[:-1]):
        axes.plot(d, [r[name] for r in rows], MARKS[index], markersize=5, label=name.replace("_", " "))
    axes.plot(d, 2 * d, "k--", linewidth=1, label="formula 2D")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("parameters D")
    axes.set_ylabel("different circuits executed")
    return picture(figure, "Circuits of one gradient")


EXPERIMENT = Experiment(
    "shifted_circuits",
    "the partial derivatives of D parameters take 2D circuits by parameter-shift rules",
    'PennyLane forum, "quantum nodes in hybrid computations"; Mitarai et al., arXiv:1803.00745',
    0.1,
    run,
    draw,
)
