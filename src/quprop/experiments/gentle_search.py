"""Theorem 13: why no cheap test is gentle on every outcome. Copies against the size of a search, exact laws."""

from __future__ import annotations

import math
from typing import Any

from quprop.collective import search
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.plots import BLUE, PURPLE, Picture, panels, picture

EPS = 0.1


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Exact: rng changes nothing."""
    sizes = [2**j for j in (range(6, 11) if quick else range(6, 16))]
    rows: list[dict[str, float]] = []
    for done, n in enumerate(sizes):
        progress(done, len(sizes), f"N = {n:,}")
        rows += search.experiment([n], EPS).rows
    progress(len(sizes), len(sizes), "")
    slope, stderr = search.slope_of(rows)
    last = rows[-1]
    return {
        "eps": EPS,
        "rows": rows,
        "slope": slope,
        "stderr": stderr,
        "findings": [
            f"copies needed ~ N^{slope:.3f} ± {2 * stderr:.3f}: at least the sqrt(N) of Grover's bound, far from "
            "polylog(N)",
            f"N = {last['N']:,}: {last['copies claimed']:,} copies, polylog(1/alpha), would tell with "
            f"{last['promised with these']:.2f} if tests were gentle, and do with {last['success with these']:.2f}",
            f"an alpha of {last['alpha needed']:.1e} on every outcome takes {last['copies for alpha']:.1e} copies",
        ],
    }


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2)
    rows = result["rows"]
    n = [r["N"] for r in rows]
    far = [2.0**j for j in range(6, 31)]  # formulas go on where measuring stops
    left.plot(n, [r["copies needed"] for r in rows], "o", color=BLUE, markersize=4, label="measured, success 2/3")
    left.plot(n, [math.log(1.5) * m for m in n], "--", color=BLUE, linewidth=1, label="N ln(3/2), any use of E")
    left.plot(far, [math.sqrt(m) for m in far], "k--", linewidth=1, label="Grover's bound ~ sqrt(N)")
    left.plot(far, [search.promised_copies(round(m), EPS) for m in far], color=PURPLE, label="ln²(1/alpha), the claim")
    left.set_yscale("log")
    left.set_ylabel("copies (queries)")
    right.plot(n, [r["promised with these"] for r in rows], "-", color=PURPLE, label="if the copies stayed undisturbed")
    right.plot(n, [r["success with these"] for r in rows], "o", color=BLUE, markersize=4, label="as it is")
    right.axhline(0.5, color="0.6", linewidth=0.8)
    right.set_ylabel("probability of telling 0 from 1/N")
    right.set_title("with ln²(1/alpha) copies", fontsize=9)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("items N")
    return picture(figure, "Repeating a gentle test on the same copies")


EXPERIMENT = Experiment(
    "gentle_search",
    "a test that is gentle on every outcome with polylog(1/alpha) copies would break Grover's bound",
    "Abbas et al., arXiv:2305.13362, Theorem 13",
    0.5,
    run,
    draw,
)
