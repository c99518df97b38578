"""The claim of `quprop carleman analyse` itself: a block as long as it allows is as right as it says."""

from __future__ import annotations

from typing import Any

from quprop.experiments.claims.claim import Claim, Verdict, graded
from quprop.experiments.networks.verdicts import FACTOR, off


def _verdicts(result: dict[str, Any]) -> Verdict:
    rows = result["rows"]
    factors = {row["network"]: off(row) for row in rows}
    proxies = [max(row["proxy"] / max(1, row["measured"]), row["measured"] / row["proxy"]) for row in rows]
    worst = max(factors, key=lambda name: factors[name])
    within = sum(f <= FACTOR for f in factors.values())
    measured = (
        f"verdicts on {len(rows)} networks are within {FACTOR:g} times of the steps measured on {within}, off by "
        f"{factors[worst]:.2f} times at most ({worst}); the error proxy by {max(proxies):.1f}"
    )
    if within == len(rows):
        return graded(measured, True, True, "")
    return graded(measured, False, 2 * within > len(rows), f"{worst}: the verdict is not the steps measured")


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "carleman_verdicts",
        "How long a block may run",
        "A block may run as many steps as the analysis says before its update is wrong by 1 %.",
        "quprop carleman analyse; Liu et al., Nat. Commun. 15, 434 (2024), judge blocks by the error proxy",
        "every verdict within 1.5 times of the steps that plain descent measures",
        "carleman_verdicts",
        _verdicts,
    ),
)
