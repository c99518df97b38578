"""(a) Gates of one gradient against the number of parameters: M^2 one by one, M^1.5 gently, M log M with a guess.

Gates are rotations and the Toffolis of checks and readings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import brentq

from quprop.experiments import gradient_sweep
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.plots import Picture


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    rows = gradient_sweep.sweep(quick, rng, progress)
    slopes = gradient_sweep.slopes(rows, "gates")
    return {
        "family": gradient_sweep.FAMILY,
        "max_error": gradient_sweep.MAX_ERROR,
        "rows": rows,
        "slopes": slopes,
        "findings": gradient_sweep.findings(slopes, "gates", rows) + _crossing(slopes),
    }


def _crossing(slopes: dict[str, Any]) -> list[str]:
    """Where the fitted laws of parameter shift and quantum backpropagation meet."""

    def gates(name: str, m: float) -> float:
        fit = slopes[name]
        reduced = fit["reduced"]
        logs = float(gradient_sweep.logarithms(name, np.array(m)))
        return math.log(reduced["scale"]) + reduced["slope"] * math.log(m) + math.log(logs)

    if not {"parameter_shift", "quantum_backprop"} <= slopes.keys():
        return []

    def ahead(u: float) -> float:
        return gates("parameter_shift", 2.0**u) - gates("quantum_backprop", 2.0**u)

    if ahead(6) > 0 or ahead(60) < 0:
        return []
    return [f"the fits of parameter shift and quantum backpropagation meet at M = {2 ** brentq(ahead, 6, 60):.2g}"]


def draw(result: Result) -> Picture:
    title = f"Gates of one gradient, max-norm error {result['max_error']:g}, 4 qubits"
    return gradient_sweep.draw(result, "gates", "rotations and Toffolis executed", title)


EXPERIMENT = Experiment(
    "gates",
    "rotations and Toffolis of one gradient grow as M^2, M^1.5 and M log M",
    "Abbas et al., arXiv:2305.13362, Theorem 9; Sinha, arXiv:2411.01420",
    8,
    run,
    draw,
)
