"""Statements of the PennyLane forum's thread on backpropagation through hybrid computations."""

from __future__ import annotations

from typing import Any

from quprop.experiments.claims.claim import Claim, Verdict, graded, interval, unsure

FORUM = 'PennyLane forum, "Hybrid computation backpropagation"'


def _shift(result: dict[str, Any]) -> Verdict:
    ratios = [r["parameter_shift"] / r["D"] for r in result["rows"]]
    measured = (
        f"{min(ratios):g} to {max(ratios):g} circuits a parameter, D = {result['rows'][0]['D']} to "
        f"{result['rows'][-1]['D']}"
    )
    found = graded(measured, all(abs(r - 2) < 1e-9 for r in ratios), max(ratios) <= 4, "not 2 a parameter")
    last = result["rows"][-1]
    return found._replace(
        why=found.why or f"fewer is possible: the pair state reads the same from {last['pair_state']:g} circuits"
    )


def _modules(result: dict[str, Any]) -> Verdict:
    fit = result["fit"]
    measured = f"time ~ k^{interval(fit)}, k to {result['rows'][-1]['k']:,}; the joint circuit gives the same numbers"
    why = "time grows faster than the number of modules"
    return graded(measured, fit["slope"] <= 1.1, fit["slope"] <= 1.5, why, unsure(fit, 1))


def _cutting(result: dict[str, Any]) -> Verdict:
    rows = result["rows"]
    last = rows[-1]
    measured = (
        f"the same value and gradient to {max(r['difference'] for r in rows):.0e} at {last['qubits']} qubits; "
        f"{last['spread']:.3g} times the shots for {last['cuts']} cuts, {result['growth']:.2f} times a cut"
    )
    exact = all(r["difference"] < 1e-10 for r in rows)
    return graded(measured, exact and all(r["off"] < 5 for r in rows), exact, "a sampled value is off its error bars")


CLAIMS = (
    Claim(
        "forum_shift",
        "Two circuits a parameter by parameter shift",
        "2D circuits are evaluated for the partial derivatives of D parameters by parameter-shift rules.",
        FORUM,
        "2 circuits a parameter",
        "shifted_circuits",
        _shift,
    ),
    Claim(
        "forum_modules",
        "Modules side by side",
        "k parallel computations on n qubits differentiate in O(k 2^n).",
        FORUM,
        "exponent 1 in k",
        "modules",
        _modules,
    ),
    Claim(
        "forum_cutting",
        "Cutting into modules of few qubits",
        "A large computation can be cut into low-qubit modules, but the cost added may be too large.",
        FORUM,
        "exact; shots at most 9 times a cut gate",
        "cutting",
        _cutting,
    ),
)
