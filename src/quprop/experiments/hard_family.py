"""(g) Copies needed to see a hidden Pauli string: exponential without quantum memory, linear in n with pairs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from quprop.collective import hidden_string as hard_family
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.plots import Picture

EPS = 0.3
STRATEGIES = ("mub", "bell")


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    ns = (2, 3, 4, 5) if quick else (2, 3, 4, 5, 6, 7, 8, 9, 10)
    trials = 40 if quick else 150
    tasks = [(s, n) for s in STRATEGIES for n in ns]
    rows = []
    for done, (strategy, n) in enumerate(tasks):
        progress(done, len(tasks), f"{strategy}, n = {n}")
        rows.append(hard_family.copies_needed(n, EPS, strategy, generator, trials))
    progress(len(tasks), len(tasks), "")
    slopes = _slopes(rows)
    return {
        "eps": EPS,
        "rows": [asdict(r) for r in rows],
        "slopes": slopes,
        "findings": [str(r) for r in rows if r.n == ns[-1]]
        + [
            f"single copies: log2(copies/n) grows by {slopes['mub']:.2f} a qubit (Omega(2^n): 1)",
            f"pairs: copies ~ n^{slopes['bell']:.2f}, log(4^n - 1)^{slopes['bell_formula']:.2f} (O(n): 1)",
        ],
    }


def _slopes(rows: list[hard_family.CopiesNeeded]) -> dict[str, float]:
    """Least squares: log2(copies/n) against n for single copies; for pairs log copies against log n, and against the
    log of the formula, whose log(4^n - 1) is n only for large n."""
    n, single = np.array([(r.n, r.copies) for r in rows if r.strategy == "mub"]).T
    m, pairs = np.array([(r.n, r.copies) for r in rows if r.strategy == "bell"]).T
    guess = [hard_family.formula(int(k), EPS, "bell") for k in m]

    def slope(x: Any, y: Any) -> float:
        return float(np.polyfit(x, y, 1)[0])

    return {
        "mub": slope(n, np.log2(single / n)),
        "bell": slope(np.log(m), np.log(pairs)),
        "bell_formula": slope(np.log(guess), np.log(pairs)),
    }


def draw(result: Result) -> Picture:
    rows = tuple(
        hard_family.CopiesNeeded(**{**r, "tried": tuple(tuple(t) for t in r["tried"])}) for r in result["rows"]
    )
    return hard_family.draw(hard_family.CopiesTable(rows, ()))


EXPERIMENT = Experiment(
    "hard_family",
    "single copies need Omega(2^n) of them to see a hidden Pauli string, pairs O(n)",
    "Abbas et al., arXiv:2305.13362, Proposition 3; Chen et al., arXiv:2111.05881",
    2,
    run,
    draw,
)
