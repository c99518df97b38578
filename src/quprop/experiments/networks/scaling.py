"""Queries of a copy of the trained parameters against the length T of a block: O(T) or O(T^2)?

A copy takes kappa ln(2/eps) queries a run, and runs until level 1 at the last time is measured, with probability P.
Three protocols:

    repeated    no idle copies, every run measured: 1/P runs
    amplified   no idle copies, amplitude amplification: about 1.38/sqrt(P) runs
    padded      p = T idle copies of the last state and amplitude amplification

Contracting modes give kappa = O(1), P = O(1/T) without idle copies and kappa = O(T), P = O(1) with them. Modes that
grow by 1 + 1/T a step, "almost dissipative" by the reading of `dissipation.kind_of`, give kappa = O(T) either way. So
the first protocol has the exponents 1 and 2 of the theorems, the second 1/2 and 3/2, the third 1 and 1. A neutral mode
that also feeds on itself (G_2 along it is not zero) has Jordan blocks between levels, (1, 1) -> (1, 2), so ||M^t|| ~ t
and kappa = O(T^2) at N = 2, with idle copies too; but T times that coupling beyond 1 is outside the lift's radius.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from quprop.carleman.maps.convergence import error_against_order
from quprop.carleman.maps.dynamics import Polynomial, from_tensors
from quprop.carleman.system.history import HistorySystem
from quprop.carleman.system.solver import SOLVERS
from quprop.carleman.transfer.queries import amplify
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, drawn, exponent, silent

FULLY, ALMOST, COUPLED = CASES = ("fully dissipative", "almost dissipative", "self-coupled mode")
PROTOCOLS = ("repeated", "amplified", "padded")
THEORY = {
    FULLY: (1.0, 0.5, 1.0),
    ALMOST: (2.0, 1.5, 1.0),
    COUPLED: (None, None, 2.0),
}
RATE, ORDER, EPS = 0.5, 2, 1e-4
FIT_FROM = 80  # the transient of the contracting modes takes about 1/(eta mu) = 5 steps, and its traces ten times that


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    lengths = (8, 16, 32, 64) if quick else (10, 20, 40, 80, 160, 320, 640)
    fitted = [t for t in lengths if quick or t >= FIT_FROM]
    solver = SOLVERS["optimal"]()
    rows: list[dict[str, Any]] = []
    for i, case in enumerate(CASES):
        for j, steps in enumerate(lengths):
            progress(i * len(lengths) + j, len(CASES) * len(lengths), f"{case}, T = {steps}")
            step, start = block(case, steps)
            row: dict[str, Any] = {"case": case, "steps": steps}
            for name, idle in (("plain", 0), ("idle", steps)):
                history = HistorySystem(step, start, ORDER, steps, idle=idle, scale=1.0)
                row[f"kappa_{name}"] = history.condition().kappa
                row[f"success_{name}"] = history.success_probability(history.solve())
            degrees = [solver.queries(row[f"kappa_{name}"], EPS) for name in ("plain", "plain", "idle")]
            runs = 1 / row["success_plain"], amplify(row["success_plain"]).runs, amplify(row["success_idle"]).runs
            row |= {p: d * r for p, d, r in zip(PROTOCOLS, degrees, runs, strict=True)}
            row["truncation"] = error_against_order(step, start, [ORDER], steps)[0].relative
            rows.append(row)
    slopes: dict[str, Any] = {}
    for case in CASES:
        mine = [r for r in rows if r["case"] == case and r["steps"] in fitted]
        for what in ("kappa_plain", "kappa_idle", *PROTOCOLS):
            slopes[f"{case}, {what}"] = exponent([r["steps"] for r in mine], [r[what] for r in mine])
    return {
        "rows": rows,
        "exponents": slopes,
        "fitted": fitted,
        "panels": _panels(rows, slopes, list(lengths)),
        "findings": _findings(rows, slopes, fitted),
    }


def block(case: str, steps: int) -> tuple[Polynomial, np.ndarray]:
    """Descent on a cubic loss with Hessian eigenvalues (mu, 1, 1.6), eta = 1/2, and its start. mu is 0.4, and -2/steps
    (a growth of 1 + 1/steps) in the almost dissipative cases; the driving force keeps the output from vanishing."""
    slowest = 0.4 if case == FULLY else -1 / (RATE * steps)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    raw = np.random.default_rng(0).normal(size=(3, 3, 3))
    third = np.asarray(sum(raw.transpose(p) for p in permutations(range(3))))
    third *= 0.05 / np.linalg.norm(third.reshape(3, -1), 2)
    if case != FULLY:
        third[0, 0, 0] = 0.0 if case == ALMOST else 0.5
    third = np.einsum("ia,jb,kc,abc->ijk", turn, turn, turn, third)
    force = turn @ np.array([0.09 if case == FULLY else 0.0, 0.09, 0.09])
    hessian = (turn * np.array([slowest, 1.0, 1.6])) @ turn.T
    return from_tensors([force, -hessian, -third], learning_rate=RATE), turn @ np.array([0.3, 0.2, 0.2])


def _panels(rows: list[dict[str, Any]], slopes: dict[str, Any], lengths: list[int]) -> list[dict[str, Any]]:
    def curves(case: str, number: int, whats: tuple[str, ...]) -> list[Any]:
        mine = [r for r in rows if r["case"] == case]
        found = []
        for what, style in zip(whats, ("o-", "^--", "s:"), strict=False):
            slope = slopes[f"{case}, {what}"]["slope"]
            label = what.removeprefix("kappa_").replace("plain", "p = 0").replace("idle", "p = T")
            found.append((f"{case}, {label}: T^{slope:.2f}", lengths, [r[what] for r in mine], f"C{number}{style}"))
        return found

    kappas = [c for i, case in enumerate(CASES) for c in curves(case, i, ("kappa_plain", "kappa_idle"))]
    queries = [c for i, case in enumerate(CASES[:2]) for c in curves(case, i, PROTOCOLS)]
    shape = {"x": "steps T", "log": "xy", "ticks": lengths, "legend": "below"}
    return [
        shape | {"y": "condition number", "title": "condition number and its exponent", "curves": kappas},
        shape | {"y": f"queries of a copy, eps = {EPS:g}", "title": "queries and their exponent", "curves": queries},
    ]


def _findings(rows: list[dict[str, Any]], slopes: dict[str, Any], fitted: list[int]) -> list[str]:
    found = []
    for case, expected in THEORY.items():
        parts = []
        for protocol, theory in zip(PROTOCOLS, expected, strict=True):
            if theory is not None:
                s = slopes[f"{case}, {protocol}"]
                parts.append(f"{protocol} T^{s['slope']:.2f} ({s['low']:.2f} to {s['high']:.2f}; theory {theory:g})")
        found.append(f"{case}, T = {fitted[0]} to {fitted[-1]}: " + ", ".join(parts))
    last = next(r for r in rows if r["case"] == COUPLED and r["steps"] == fitted[-1])
    found.append(
        f"the self-coupled mode is outside the radius where its exponent shows: truncation error "
        f"{last['truncation']:.2g} of the parameters at T = {last['steps']}"
    )
    found.append(
        "Liu et al. claim O(T) and O(T^2) up to logarithms; measuring every run gives both, idle copies with amplitude "
        "amplification bring the almost dissipative case down to O(T) as long as the lift converges"
    )
    return found


EXPERIMENT = Experiment(
    "scaling",
    "Cost grows as T where descent is fully dissipative, as at most T^2 where it is almost so.",
    LIU + ", theorems 1 and 2",
    1.2,
    run,
    drawn("Cost against the length of a block"),
)
