"""(d) How far passes move a batch: the exact distance beside the sum of what single passes do, and every engine.

Copies of a random pure state are turned and asked non-commuting Pauli events, with thresholds set so that each check
would trigger with probability P on undisturbed copies; all pass. The symmetric engine is exact. The sum over passes of
the exact distance that each moves an undisturbed batch by bounds the distance of the batch to first order in P, and the
total variation of trajectories at any P. P sigma/(2 lambda), the small-P form of one pass in the limit of weak noise,
is up to twice too small at lambda = sqrt(k)/2, as chi^2(S | pass || S) is only known to be within a factor of about 3
of (P sigma/lambda)^2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import optimize

from quprop.collective.check import Check, trigger_probability
from quprop.collective.engines.bosonic import BosonicEngine
from quprop.collective.engines.null import NullEngine
from quprop.collective.engines.product_sum import ProductSumEngine
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.collective.event import Event
from quprop.collective.protocol import CopyEngine
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.model.pauli import PauliString
from quprop.plots import Picture, hue, panels, picture

EXACT = "symmetric"
COMPARED = ("null", "product_sum", "bosonic")
FOLLOWED: dict[str, CopyEngine] = {  # however large their errors
    EXACT: SymmetricEngine(),
    "null": NullEngine(),
    "product_sum": ProductSumEngine(tolerance=math.inf),
    "bosonic": BosonicEngine(tolerance=math.inf),
}


def threshold_for(probability: float, k: int, mean: float, noise: float) -> float:
    """The threshold at which k undisturbed copies trigger with that probability."""

    def off(t: float) -> float:
        return math.log(float(trigger_probability(k, mean, t, noise))) - math.log(probability)

    return float(optimize.brentq(off, mean, mean + 60 * max(noise, math.sqrt(k)) / k + 1))


def course(n: int, k: int, checks: int, probability: float, c: float, rng: np.random.Generator) -> dict[str, list[Any]]:
    """One batch through `checks` passes, followed by all engines: lists by check."""
    psi = rng.normal(size=2**n) + 1j * rng.normal(size=2**n)
    psi /= np.linalg.norm(psi)
    batches = {name: engine.prepare(psi, k) for name, engine in FOLLOWED.items()}
    noise = c * math.sqrt(k)
    rows: dict[str, list[Any]] = {"sum_p": [], "distance": [], "bound": [], **{f"{e}_error": [] for e in COMPARED}}
    total = 0.0
    for _ in range(checks):
        while True:
            x, z = (int(v) for v in rng.integers(0, 2**n, 2))
            turn = PauliString(*(int(v) for v in rng.integers(1, 2**n, 2)))
            if x or z:
                break
        angle = float(rng.normal())
        for batch in batches.values():
            batch.rotate(turn, angle)
        event = Event(PauliString(x, z))
        mean = batches[EXACT].mean(event)  # type: ignore[attr-defined]
        check = Check(event, threshold_for(probability, k, mean, noise), noise)
        p = {name: batch.survive(check) for name, batch in batches.items()}
        total += p[EXACT]
        rows["sum_p"].append(total)
        rows["distance"].append(batches[EXACT].ledger.trace_distance)
        rows["bound"].append(batches["null"].ledger.trace_bound)
        for name in COMPARED:
            rows[f"{name}_error"].append(abs(p[name] - p[EXACT]))
    return rows


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    sizes = [(1, 400, 40)] if quick else [(1, 400, 100), (1, 1600, 100), (2, 60, 80), (3, 16, 40)]
    levels = [(0.02, 0.5), (0.02, 1.0)] if quick else [(p, c) for p in (0.005, 0.02, 0.05) for c in (0.5, 1.0, 2.0)]
    tasks = [(*size, *level) for size in sizes for level in levels]
    runs: list[dict[str, Any]] = []
    for done, (n, k, checks, p, c) in enumerate(tasks):
        progress(done, len(tasks), f"n = {n}, k = {k}, P = {p:g}, lambda = {c:g} sqrt(k)")
        found = course(n, k, checks, p, c, generator)
        runs.append({"n": n, "k": k, "p": p, "c": c, **found})
    progress(len(tasks), len(tasks), "")
    ratios = [d / b for r in runs for d, b in zip(r["distance"], r["bound"], strict=True)]
    worst = {name: max(max(r[f"{name}_error"]) for r in runs) for name in COMPARED}
    return {
        "runs": runs,
        "worst_ratio": max(ratios),
        "worst_error": worst,
        "findings": [
            f"in {len(ratios)} passes the exact distance is at most {max(ratios):.2f} of the sum of the distances that "
            "single passes move an undisturbed batch by",
            "largest error in a trigger probability: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()),
        ],
    }


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2)
    seen: dict[float, str] = {}
    for r in result["runs"]:
        colour = seen.setdefault(r["c"], hue(len(seen)))
        first = not any(line.get_label() == f"lambda = {r['c']:g} sqrt(k)" for line in left.get_lines())
        left.plot(
            r["bound"],
            r["distance"],
            color=colour,
            linewidth=1,
            label=f"lambda = {r['c']:g} sqrt(k)" if first else None,
        )
    top = max(max(r["bound"]) for r in result["runs"])
    low = min(min(r["bound"]) for r in result["runs"])
    left.plot([low, top], [low, top], "k--", linewidth=1, label="equal")
    left.set_xlabel("sum of the distances of single passes")
    left.set_ylabel("exact trace distance")
    for index, name in enumerate(COMPARED):
        x = np.concatenate([r["sum_p"] for r in result["runs"]])
        y = np.concatenate([r[f"{name}_error"] for r in result["runs"]])
        keep = y > 0
        right.plot(x[keep], y[keep], ".", markersize=2.5, color=hue(index), label=name.replace("_", " "))
    right.set_ylim(bottom=1e-10)
    right.set_xlabel("sum of trigger probabilities")
    right.set_ylabel("error of the next trigger probability")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
    return picture(figure, "Damage of passes, measured in the symmetric subspace")


EXPERIMENT = Experiment(
    "damage",
    "a batch is moved by the sum of its trigger probabilities, not by the number of checks",
    "Badescu and O'Donnell, arXiv:2011.10908, section 4",
    8,
    run,
    draw,
)
