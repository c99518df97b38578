"""The exact discrete blocks M^j_m against I + eta A, the blocks of continuous-time Carleman stepped by Euler.

With I + eta A level 2 is not the square of level 1 any more: a bias of order eta^2 a step, that no N removes.
"""

from __future__ import annotations

from typing import Any

from quprop.carleman.maps.convergence import error_against_order, toy
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, drawn, silent

ORDERS = (1, 2, 3, 4, 5)
RATIO = 0.6


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    rates = (0.1,) if quick else (0.1, 0.05, 0.025)
    exact: dict[float, list[float]] = {}
    euler: dict[float, list[float]] = {}
    for i, rate in enumerate(rates):
        progress(i, len(rates), f"eta = {rate:g}")
        step, start = toy(RATIO, learning_rate=rate)
        steps = round(6 / rate)  # the same time eta T at every rate
        for found, variant in ((exact, "discrete"), (euler, "euler")):
            errors = error_against_order(step, start, ORDERS, steps, engine="symmetric", variant=variant)
            found[rate] = [e.largest for e in errors]
    curves = []
    for i, rate in enumerate(rates):
        curves.append((f"exact blocks, eta = {rate:g}", list(ORDERS), exact[rate], f"C{i}o-"))
        curves.append((f"I + eta A, eta = {rate:g}", list(ORDERS), euler[rate], f"C{i}s--"))
    first = rates[0]
    findings = [
        f"exact blocks, eta = {first:g}: error {exact[first][1]:.2g} at N = 2, {exact[first][-1]:.2g} at N = 5",
        f"I + eta A: {euler[first][1]:.2g} at N = 2, {euler[first][-1]:.2g} at N = 5, a plateau "
        f"{euler[first][-1] / exact[first][-1]:.3g} times higher",
    ]
    if len(rates) > 1:
        plateaus = ", ".join(f"{euler[r][-1]:.2g}" for r in rates)
        findings.append(f"over eta = {', '.join(f'{r:g}' for r in rates)} the plateau is {plateaus}: it falls with eta")
    return {
        "orders": list(ORDERS),
        "rates": list(rates),
        "error": {"discrete": exact[first], "euler": euler[first]},
        "by_rate": [{"rate": r, "discrete": exact[r], "euler": euler[r]} for r in rates],
        "panels": [
            {
                "x": "order N",
                "ticks": list(ORDERS),
                "y": "largest error in eta T = 6",
                "log": "y",
                "title": f"cubic loss, R = {RATIO:g}",
                "curves": curves,
            }
        ],
        "findings": findings,
    }


EXPERIMENT = Experiment(
    "euler",
    "With I + eta A in place of the exact discrete blocks the error does not fall below a plateau.",
    "the discrete tower of " + LIU,
    0.02,
    run,
    drawn("Exact blocks against the Euler variant"),
)
