"""Descent with momentum: where nothing is proved in the usual norm there may be a radius of convergence in another.

The map of parameters and velocity is not normal: |G_1| > 1 though its powers decay, so R = inf. In |x|_P = sqrt(x' P x)
with a P of `lyapunov.best_norm` it contracts; errors there, over the root of P's least eigenvalue, bound those of the
usual norm. The cubic loss of `order` with R = 0.2 of the parameters alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.carleman.maps.convergence import error_against_order, toy
from quprop.carleman.maps.dynamics import Momentum, tabulate
from quprop.carleman.maps.lyapunov import best_norm, norm_of
from quprop.experiments.experiment import Experiment, Progress, Result, drawn, silent

RATIO, STEPS, ORDERS = 0.2, 60, (1, 2, 3, 4)


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    rows: list[dict[str, Any]] = []
    curves: list[Any] = []
    momenta = (0.0, 0.5) if quick else (0.0, 0.25, 0.5, 0.75)
    for i, momentum in enumerate(momenta):
        progress(i, len(momenta), f"momentum {momentum:g}")
        plain, at = toy(RATIO)
        step = tabulate(Momentum(plain, momentum), 2)
        start = np.concatenate([at, np.zeros(len(at))])
        tensors = [step.matrix(k).toarray() for k in range(3)]
        usual, best = norm_of(np.eye(len(start)), tensors, start), best_norm(tensors, start)
        least = float(np.sqrt(np.linalg.eigvalsh(best.matrix)[0]))
        proved = [best.radius.bound(best.deviation, n) / least for n in ORDERS]
        bound = proved if np.all(np.isfinite(proved)) else None
        error = [e.largest for e in error_against_order(step, start, ORDERS, STEPS)]
        rows.append(
            {
                "momentum": momentum,
                "linear": float(usual.gains[1]),
                "spectral_radius": float(np.abs(np.linalg.eigvals(tensors[1])).max()),
                "R": usual.ratio if np.isfinite(usual.ratio) else None,
                "best_R": best.ratio if np.isfinite(best.ratio) else None,
                "orders": list(ORDERS),
                "error": error,
                "bound": bound,
            }
        )
        curves.append((f"momentum {momentum:g}", list(ORDERS), error, f"C{i}o-"))
        if bound is not None:
            curves.append(("proved in the best norm" if i == 0 else "_", list(ORDERS), bound, f"C{i}:"))
    return {
        "rows": rows,
        "panels": [
            {
                "x": "order N",
                "ticks": list(ORDERS),
                "y": f"largest error of {STEPS} steps",
                "log": "y",
                "title": "cubic loss, parameters and velocity",
                "curves": curves,
            }
        ],
        "findings": [_sentence(row) for row in rows],
    }


def _sentence(row: dict[str, Any]) -> str:
    text = (
        f"momentum {row['momentum']:g}: |G_1| = {row['linear']:.3g}, its powers decay as {row['spectral_radius']:.3g}"
    )
    text += "^t; R is " + ("infinite" if row["R"] is None else f"{row['R']:.3g}") + " in the usual norm, "
    text += ("infinite" if row["best_R"] is None else f"{row['best_R']:.3g}") + " in the best one found; error "
    text += f"{row['error'][0]:.2g} at N = 1, {row['error'][-1]:.2g} at N = {row['orders'][-1]}"
    if row["bound"] is None:
        return text + ", of which nothing is proved"
    held = all(e <= b for e, b in zip(row["error"], row["bound"], strict=True))
    return text + f" (proved: {row['bound'][-1]:.2g}; the bound {'holds' if held else 'is BROKEN'})"


EXPERIMENT = Experiment(
    "momentum",
    "Where momentum makes |G_1| > 1 the usual norm proves nothing; a Lyapunov norm does.",
    "Jennings et al., arXiv:2509.07155",
    0.02,
    run,
    drawn("Momentum in another norm"),
)
