"""The flow of `carleman.burgers` lifted at N = 1, 2, ...: the largest error over time falls with N at R = 43.59."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from quprop.carleman.maps.burgers import burgers
from quprop.carleman.maps.convergence import error_against_order
from quprop.experiments.experiment import PNAS, Experiment, Progress, Result, drawn, silent

POINTS, PUBLISHED = 16, 43.59


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    flow = burgers(POINTS, 2000 if quick else 4000)
    steps = len(flow.dynamics)
    orders = (1, 2) if quick else (1, 2, 3, 4)
    found, courses = [], []
    shown = np.unique(np.linspace(0, steps, 61).astype(int))
    for i, order in enumerate(orders):
        progress(i, len(orders), f"order {order} of {orders[-1]}")
        error = error_against_order(flow.dynamics, flow.start, [order], steps)[0]
        found.append(error.largest)
        courses.append([error.course[t] if t < len(error.course) else None for t in shown.tolist()])
    times = (shown * flow.step).tolist()
    falls = [a / b for a, b in pairwise(found)]
    size = float(np.linalg.norm(flow.start))
    return {
        "R": flow.ratio,
        "orders": list(orders),
        "error": found,
        "start_norm": size,
        "times": times,
        "courses": courses,
        "panels": [
            {
                "x": "time",
                "y": "l2 error",
                "log": "y",
                "title": "the lift against the Euler steps it linearises",
                "curves": [(f"N = {n}", times[1:], c[1:], "-") for n, c in zip(orders, courses, strict=True)],
            },
            {
                "x": "order N",
                "ticks": list(orders),
                "y": "largest l2 error in time",
                "log": "y",
                "title": f"R = {flow.ratio:.2f}, {POINTS} points, {steps + 1:,} times",
                "curves": [("Burgers, Re = 20", list(orders), found, "o-")],
            },
        ],
        "findings": [
            f"R = {flow.ratio:.2f} ({PUBLISHED} published)",
            f"largest l2 errors {', '.join(f'{e:.3g}' for e in found)} at N = {', '.join(map(str, orders))}, of a "
            f"flow that starts with norm {size:.3g}",
            f"the error falls {', '.join(f'{f:.3g}' for f in falls)} times an order",
        ],
    }


EXPERIMENT = Experiment(
    "burgers",
    "At R = 43.59 the error still falls with N: R < 1 is sufficient, not necessary.",
    PNAS + ", figure 1",
    0.1,
    run,
    drawn("Forced viscous Burgers flow"),
)
