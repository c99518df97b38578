"""(b) Copies of the input state of one gradient: linear in M, its square root, or log M."""

from __future__ import annotations

from typing import Any

from quprop.experiments import gradient_sweep
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.plots import Picture


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    rows = gradient_sweep.sweep(quick, rng, progress)
    slopes = gradient_sweep.slopes(rows, "copies")
    return {
        "family": gradient_sweep.FAMILY,
        "max_error": gradient_sweep.MAX_ERROR,
        "rows": rows,
        "slopes": slopes,
        "findings": gradient_sweep.findings(slopes, "copies", rows),
    }


def draw(result: Result) -> Picture:
    title = f"Copies for one gradient, max-norm error {result['max_error']:g}, 4 qubits"
    return gradient_sweep.draw(result, "copies", "copies of the input state", title)


EXPERIMENT = Experiment(
    "copies",
    "copies of the input grow as M, sqrt(M) and log M",
    "Abbas et al., arXiv:2305.13362, Theorem 9; Sinha, arXiv:2411.01420",
    8,
    run,
    draw,
)
