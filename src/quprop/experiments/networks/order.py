"""Error of the truncated lift against its order, inside and outside the radius of convergence.

A cubic loss in three parameters at several convergence ratios R (`convergence.toy`), with the proved bound
rho (rho/Gamma)^N = R^N where there is one, and ridge logistic regression of 2,000 parameters, expanded at its minimum
and started at theta(0) ~ spread N(0, 1), so that margins x·theta are as large as the spread: the logistic function has
its poles at +-i pi.
"""

from __future__ import annotations

from typing import Any

from quprop.carleman.maps.convergence import error_against_order, logistic_run, toy
from quprop.carleman.maps.radius import convergence_radius
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, drawn, silent

RATIOS = (0.3, 0.6, 0.9, 1.5, 6.0)
STEPS = 60
STARTS = (("near start", 0.5, 0.05), ("moderate start", 1.0, 0.05), ("far start", 6.0, 1e-3))  # margins, ridge


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    orders = (1, 2, 3, 4, 5) if quick else (1, 2, 3, 4, 5, 6, 8)
    total = len(RATIOS) + len(STARTS)
    cubic: list[Any] = []
    logistic: list[Any] = []
    rows: list[dict[str, Any]] = []
    for i, ratio in enumerate(RATIOS):
        progress(i, total, f"cubic loss, R = {ratio:g}")
        step, start = toy(ratio)
        error = [e.largest for e in error_against_order(step, start, orders, STEPS)]
        radius = convergence_radius(step.norms())
        bound = [radius.bound(1.0, n) for n in orders] if radius.holds(1.0) else None
        cubic.append((f"R = {ratio:g}", list(orders), error, f"C{i}o-"))
        if bound is not None:
            cubic.append(("bound" if i == 0 else "_", list(orders), bound, f"C{i}:"))
        rows.append({"run": "cubic", "R": ratio, "orders": list(orders), "error": error, "bound": bound})
    for i, (label, spread, ridge) in enumerate(STARTS):
        progress(len(RATIOS) + i, total, f"logistic regression, {label}")
        made = logistic_run(n=300 if quick else 2000, spread=spread, ridge=ridge, learning_rate=0.5)
        steps = 100 if quick else 200
        found = error_against_order(made.dynamics, made.start, orders, steps, engine="jets", origin=made.origin)
        error = [e.relative for e in found]
        logistic.append((label, list(orders), error, f"C{i}o-"))
        rows.append({"run": "logistic", "start": label, "spread": spread, "orders": list(orders), "error": error})
    return {
        "rows": rows,
        "panels": [
            {
                "x": "order N",
                "ticks": list(range(1, orders[-1] + 1)),
                "y": f"largest error of {STEPS} steps",
                "log": "y",
                "title": "cubic loss, n = 3",
                "curves": cubic,
            },
            {
                "x": "order N",
                "ticks": list(range(1, orders[-1] + 1)),
                "y": "relative error of the parameters",
                "log": "y",
                "title": f"logistic regression, n = {300 if quick else 2000:,}",
                "curves": logistic,
            },
        ],
        "findings": [sentence(row) for row in rows],
    }


def sentence(row: dict[str, Any]) -> str:
    """Where the error goes with N, and how that compares with what is proved."""
    orders, error = row["orders"], row["error"]
    name = f"R = {row['R']:g}" if row["run"] == "cubic" else f"logistic regression, {row['start']}"
    text = f"{name}: error {error[0]:.2g} at N = {orders[0]}, {error[-1]:.2g} at N = {orders[-1]}"
    if error[-1] < 0.5 * error[0]:
        factor = (error[0] / error[-1]) ** (1 / (orders[-1] - orders[0])) if error[-1] else float("inf")
        text += f", {factor:.3g} times smaller each order"
        if row.get("bound"):
            held = all(e <= b for e, b in zip(error, row["bound"], strict=True))
            text += f" ({1 / row['R']:.3g} times is proved; the bound {'holds' if held else 'is BROKEN'})"
    else:
        text += ": it does not converge"
    return text


EXPERIMENT = Experiment(
    "order",
    "Inside the radius of convergence the error falls geometrically with N; far outside it stalls or grows.",
    LIU,
    0.1,
    run,
    drawn("Truncation error against order"),
)
