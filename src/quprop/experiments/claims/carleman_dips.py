"""Claims of Liu et al., Nat. Commun. 15, 434 (2024), on what happens at a re-upload."""

from __future__ import annotations

import math
from typing import Any

from quprop.experiments.claims.claim import HOLDS, Claim, Verdict, graded

LIU = "Liu et al., Nat. Commun. 15, 434 (2024), "
SEEN = 0.005  # of training accuracy: a smaller dip is none
RECOVERED = 0.01  # of training accuracy: what may be missing at the block's end
LESS = 0.8  # of the broadening without dense steps


def _dips(result: dict[str, Any]) -> Verdict:
    """Judged by the runs in which all parameters move, as the authors' do."""
    rows = [r for r in result["rows"] if r["data"] == "digits"]
    open_rows, masked = ([r for r in rows if r["masked"] is m and not r["dense_steps"]] for m in (False, True))
    dipped = [d >= SEEN for r in open_rows for d in r["train_dip"]]
    back = [left <= RECOVERED for r in open_rows for left in r["train_left"]]
    parts = [
        f"{r['network']} as {r['how']}: {_span(r['train_dip'])} lost, {_span([-v for v in r['train_left']])} above it "
        "at the block's end"
        for r in open_rows
    ]
    stays = [d for r in masked for d in r["train_dip"]]
    measured = f"all parameters moving, {sum(dipped)} of {len(dipped)} re-uploads cost training accuracy and "
    measured += f"{sum(back)} blocks win it back; " + "; ".join(parts) + f"; only survivors moving, {_span(stays)} lost"
    why = "not every re-upload costs accuracy that the block wins back"
    found = graded(measured, all(dipped) and all(back), any(d and b for d, b in zip(dipped, back, strict=True)), why)
    if found.verdict == HOLDS and max(stays) < SEEN:
        return found._replace(why="a mask within the block leaves nothing to prune again, so nothing dips")
    return found


def _dense(result: dict[str, Any]) -> Verdict:
    """Judged by what a re-upload does to the root mean square eigenvalue of all parameters' Hessian, and the block."""
    rows = [r for r in result["rows"] if "broadened" in r and not r["masked"]]
    parts, counter = [], []
    for network in dict.fromkeys(r["network"] for r in rows):
        some, none = (
            next(r for r in rows if r["network"] == network and bool(r["dense_steps"]) == m) for m in (True, False)
        )
        counter.append(_mean(some["broadened"]) < LESS * _mean(none["broadened"]))
        parts.append(
            f"{network}: a re-upload multiplies it by {_span(none['broadened'])} without dense steps, by "
            f"{_span(some['broadened'])} with; a block by {_span(none['within'])} without, {_span(some['within'])} with"
        )
    measured = "root mean square Hessian eigenvalue, " + "; ".join(parts)
    why = "pruning broadens it as much after dense steps"
    why += ", and within a block it narrows" if max(v for r in rows for v in r["within"]) < 1 else ""
    return graded(measured, all(counter), any(counter), why)


def _mean(factors: list[float]) -> float:
    return math.exp(sum(map(math.log, factors)) / len(factors))


def _span(values: list[float]) -> str:
    low, high = (f"{v:.3g}" if abs(v) >= 1 else f"{round(v, 3) + 0.0:.3f}" for v in (min(values), max(values)))
    return f"{low} to {high}"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "carleman_dips",
        "Accuracy dips at a re-upload and recovers",
        "Training accuracy dips at every re-upload and then recovers.",
        LIU + "figure 5",
        "training accuracy lost at each pruning and won back within the block",
        "carleman_dips",
        _dips,
    ),
    Claim(
        "carleman_dense_steps",
        "Dense steps counteract the broadening of the Hessian",
        "Ten dense steps before each re-upload counteract the broadening of the Hessian.",
        LIU + "figure 5",
        "a re-upload broadens the Hessian less than without them",
        "carleman_dips",
        _dense,
    ),
)
