"""(e) Figure 2 of Abbas et al. without and with constants, and the M from which quantum backpropagation is cheaper."""

from __future__ import annotations

from typing import Any

from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.planning.measured.figure2 import TWO, Constants
from quprop.planning.presets import figure2
from quprop.plots import Picture

CASES = ((20, 0.2), (20, 0.1), (100, 0.1))  # qubits, error of a component


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Formulas only: quick and rng change nothing."""
    progress(0, 1, "formulas")
    cases = [
        {"qubits": n, "error": e, "break_even": c.break_even(), "break_even_of_two_batches": c.break_even(TWO)}
        for n, e, c in ((n, e, Constants(n, e)) for n, e in CASES)
    ]
    progress(1, 1, "")
    return {
        **figure2(),
        "cases": cases,
        "findings": [
            f"n = {c['qubits']}, error {c['error']:g}: parameter shift is cheaper below M = {c['break_even']:.3g} in "
            f"the theorem's worst case, below {c['break_even_of_two_batches']:.3g} with two batches"
            for c in cases
        ]
        + [
            "two batches: read where they trigger, Toffolis included; the experiments gates and copies count what "
            "sweeps take"
        ],
    }


def draw(result: Result) -> Picture:
    from quprop.planning.measured.figure import draw_figure2

    return draw_figure2(Constants())


EXPERIMENT = Experiment(
    "figure2",
    "parameters reachable in a given time: M^2 against M polylog M, and where they meet with constants",
    "Abbas et al., arXiv:2305.13362, Figure 2",
    0.1,
    run,
    draw,
)
