"""Definition 6 in numbers: how far each outcome of a noisy threshold check moves k copies, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.collective.check import Check, gentleness
from quprop.collective.event import Event
from quprop.experiments.experiment import Experiment, Progress, Result, exponent, silent
from quprop.model.pauli import PauliString
from quprop.plots import Picture, panels, picture

EPS = 0.1
MEANS = (0.1, 0.3, 0.5)
EVENT = Event(PauliString.parse("Z0"))


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Exact laws of the count: rng changes nothing.

    Gaussian noise of deviation eps k reads a mean to eps. alpha is the trace distance after the worse outcome, over
    means of the event and thresholds from the mean to 3 eps above.
    """
    sizes = [4**j for j in range(2, 7 if quick else 10)]
    rows = []
    for done, k in enumerate(sizes):
        progress(done, len(sizes), f"k = {k:,}")
        found = [
            gentleness(Check(EVENT, mean + above * EPS, EPS * k, "gaussian"), k, mean)
            for mean in MEANS
            for above in (0.0, 1.0, 3.0)
        ]
        passed = gentleness(Check(EVENT, 0.3 + EPS, 0.5 * k**0.5), k, 0.3)
        rows.append(
            {
                "k": k,
                "alpha": max(f.alpha for f in found),
                "pass_distance": passed.pass_distance,
                "pass_first_order": passed.pass_first_order,
                "trigger_distance": passed.trigger_distance,
            }
        )
    progress(len(sizes), len(sizes), "")
    late = [r for r in rows if r["k"] >= 256]
    fit = exponent([r["alpha"] for r in late], [r["k"] for r in late])
    return {
        "eps": EPS,
        "rows": rows,
        "fit": fit,
        "findings": [
            f"gentle on every outcome to alpha: k ~ alpha^{fit['slope']:.2f} copies (what suffices: alpha^-2 eps^-2)",
            f"k = {rows[-1]['k']:,}: the worst outcome moves the copies by {rows[-1]['alpha']:.4f}",
            f"a pass of the one-bit check with exponential noise moves them by {rows[-1]['pass_distance']:.1e}, "
            f"its trigger by {rows[-1]['trigger_distance']:.2f}",
        ],
    }


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 5.6)
    rows = result["rows"]
    k = np.array([r["k"] for r in rows], float)
    axes.plot(k, [r["alpha"] for r in rows], "o-", markersize=4, label="Gaussian noise eps k: worst outcome")
    axes.plot(k, 1 / (result["eps"] * np.sqrt(k)) / 4, "k--", linewidth=1, label="formula 1/(4 eps sqrt(k))")
    axes.plot(k, [r["trigger_distance"] for r in rows], "^-", markersize=4, label="exponential noise: trigger")
    axes.plot(k, [r["pass_distance"] for r in rows], "s-", markersize=4, label="exponential noise: pass")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(1e-12, min(r["pass_distance"] for r in rows) / 2))
    axes.set_xlabel("copies k")
    axes.set_ylabel("trace distance moved, alpha")
    return picture(figure, "Gentleness of one check, exact")


EXPERIMENT = Experiment(
    "gentleness",
    "a collective measurement with enough noise is alpha-gentle on every outcome",
    "Abbas et al., arXiv:2305.13362, Definition 6; Aaronson and Rothblum, arXiv:1904.08747",
    0.1,
    run,
    draw,
)
