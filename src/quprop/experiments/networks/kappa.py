"""The condition number of the history system against T, where the slowest mode contracts, stays and grows.

Without idle copies a contracting run has kappa <= (1 + mu)/(1 - mu) with mu = ||M||, whatever T; with p = T idle copies
it is O(T), as it is for a neutral mode; with a growing mode it is exponential.
"""

from __future__ import annotations

from typing import Any

from quprop.carleman.maps.convergence import kappa_table
from quprop.experiments.experiment import PNAS, Experiment, Progress, Result, drawn, exponent, silent

RATE = 0.1
CASES = ((0.5, "contracting"), (0.0, "neutral mode"), (-0.5, "growing mode"))


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    steps = (5, 10, 20) if quick else (5, 10, 20, 40, 80)
    curves: list[Any] = []
    rows: list[dict[str, Any]] = []
    findings: list[str] = []
    for i, (curvature, label) in enumerate(CASES):
        progress(i, len(CASES), label)
        table = kappa_table(curvature, steps, learning_rate=RATE)
        rows += [{"curvature": curvature, **vars(r)} for r in table]
        curves.append((f"{label}, p = 0", list(steps), [r.plain for r in table], f"C{i}o-"))
        curves.append((f"{label}, p = T", list(steps), [r.idle for r in table], f"C{i}s--"))
        curves.append((f"{label}, bound at p = 0", list(steps), [r.bound for r in table], f"C{i}:"))
        text = f"{label}, T = {', '.join(str(t) for t in steps)}: kappa {_list(r.plain for r in table)} without idle "
        text += f"copies, {_list(r.idle for r in table)} with p = T"
        if curvature > 0:
            most = (2 - RATE * curvature) / (RATE * curvature)
            text += f"; the former stays below (1 + mu)/(1 - mu) = {most:.3g}"
        if curvature == 0:
            text += f"; it grows as T^{exponent(steps, [r.plain for r in table])['slope']:.2f}"
        if curvature < 0:
            text += f"; that mode alone: {_list(r.scalar for r in table)}"
        findings.append(text)
    return {
        "rows": rows,
        "panels": [
            {"x": "steps T", "y": "condition number", "log": "xy", "ticks": list(steps), "legend": "below"}
            | {"curves": curves}
        ],
        "findings": findings,
    }


def _list(values: Any) -> str:
    return ", ".join(f"{v:.3g}" if v < 1000 else f"{v:,.0f}" for v in values)


EXPERIMENT = Experiment(
    "kappa",
    "The condition number is bounded without idle copies where descent contracts, and O(T) with them.",
    PNAS + ", lemma 3",
    0.1,
    run,
    drawn("Condition number of the history system, N = 2"),
)
