"""Claims of Liu et al., Nat. Commun. 15, 434 (2024), on what happens at a re-upload."""

from __future__ import annotations

import math
from typing import Any

from quprop.experiments.claims.claim import HOLDS, Claim, Verdict, graded

LIU = "Liu et al., Nat. Commun. 15, 434 (2024), "
SEEN = 0.005  # of training accuracy: a smaller dip is none
RECOVERED = 0.01  # of training accuracy: what may be missing at the block's end


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
    """Judged by the start of the last block against the first, of all parameters' Hessian."""
    rows = [r for r in result["rows"] if "width" in r and not r["masked"]]
    parts, counter = [], []
    for network in dict.fromkeys(r["network"] for r in rows):
        grown = {}
        for r in (r for r in rows if r["network"] == network):
            begin, end = (r["width"][f"all, {m}"]["mean_square"] for m in ("pruned", "downloaded"))
            grown[bool(r["dense_steps"])] = math.sqrt(begin[-1] / begin[0]), math.sqrt(end[0] / begin[0])
        counter.append(grown[True][0] < grown[False][0])
        parts.append(
            f"{network}: root mean square Hessian eigenvalue at the last upload over that at the first "
            f"{grown[True][0]:.3g} with ten dense steps, {grown[False][0]:.3g} without, {grown[False][1]:.3g} over the "
            "first block"
        )
    return graded("; ".join(parts), all(counter), any(counter), "the Hessian is no narrower for the dense steps")


def _span(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "carleman_dips",
        "Training accuracy dips at every re-upload and then recovers.",
        LIU + "figure 5",
        "training accuracy lost at each pruning and won back within the block",
        "carleman_dips",
        _dips,
    ),
    Claim(
        "carleman_dense_steps",
        "Ten dense steps before each re-upload counteract the broadening of the Hessian.",
        LIU + "figure 5",
        "a narrower Hessian at the last upload than without them",
        "carleman_dips",
        _dense,
    ),
)
