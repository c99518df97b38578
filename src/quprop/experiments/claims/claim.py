"""A claim of a source: what it says, what is expected to be seen, and how a result is judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

HOLDS, IN_PART, NOT_SEEN, UNDECIDED = "holds", "holds in part", "not seen", "undecided"

WORKS = {  # by what sources begin with
    "Abbas et al.": "Abbas et al., On quantum backpropagation, information reuse, and cheating measurement collapse, "
    "arXiv:2305.13362",
    "Bowles": "Bowles, Wierichs and Park, Backpropagation scaling in parameterised quantum circuits, arXiv:2306.14962",
    "Liu et al., Nat. Commun.": "Liu et al., Towards provably efficient quantum algorithms for large-scale "
    "machine-learning models, Nat. Commun. 15, 434 (2024)",
    "Liu et al., PNAS": "Liu et al., Efficient quantum algorithm for dissipative nonlinear differential equations, "
    "PNAS 118, e2026805118 (2021)",
    "quprop": "quprop's own analysis of blocks",
}


class Verdict(NamedTuple):
    """measured: the numbers, with their uncertainty; verdict: HOLDS, IN_PART, NOT_SEEN, or UNDECIDED where the
    numbers are too uncertain for any; why: of anything but HOLDS, and of what the numbers leave open."""

    measured: str
    verdict: str
    why: str = ""


@dataclass(frozen=True)
class Claim:
    """title: a heading; statement: in our words; source: where from, of which `work` is the whole; expected: the
    numbers it comes down to; experiment: whose result `judge` reads, as a file has it (entries that are None are left
    out). counted: (family, method) of the fit of `quprop scaling` that counted what the experiment has by formula:
    where there is one, `judge` finds it in the result as "counted"."""

    name: str
    title: str
    statement: str
    source: str
    expected: str
    experiment: str
    judge: Callable[[dict[str, Any]], Verdict]
    counted: tuple[str, str] | None = None

    @property
    def work(self) -> str:
        return next((work for start, work in WORKS.items() if self.source.startswith(start)), self.source)


def graded(measured: str, holds: bool, in_part: bool, why: str, unsure: bool = False) -> Verdict:
    """HOLDS, or else IN_PART or NOT_SEEN with the reason; UNDECIDED if all that speaks against it is an exponent that
    is `unsure`."""
    if holds:
        return Verdict(measured, HOLDS)
    if unsure:
        return Verdict(
            measured, UNDECIDED, f"{why}, but its interval contains what is expected: more sizes would decide"
        )
    return Verdict(measured, IN_PART if in_part else NOT_SEEN, why)


def unsure(fit: dict[str, float], expected: float) -> bool:
    """Whether the 95 % interval of an exponent, as wide as it is and centred at the exponent, contains what is
    expected."""
    return abs(fit["slope"] - expected) <= (fit["high"] - fit["low"]) / 2


def span(rows: list[dict[str, Any]], key: str) -> str:
    values = [r[key] for r in rows]
    return f"{min(values):.2f} to {max(values):.2f}"


def interval(fit: dict[str, float]) -> str:
    return f"{fit['slope']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]"


def counted(result: dict[str, Any]) -> str:
    """What `quprop scaling` counted of the same, in words."""
    fit = result.get("counted")
    if fit is None:
        return "nothing was counted in runs"
    reduced = fit["reduced"]
    return (
        f"counted in runs of {fit['family']} with {fit['method']}: rotations ~ M^{reduced['value']:.2f} "
        f"[{reduced['low']:.2f}, {reduced['high']:.2f}]"
    )
