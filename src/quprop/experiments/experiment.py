"""What an experiment is: a claim, a function that measures it, a picture of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from quprop.plots import Picture, draw_curves

LIU = "Liu et al., Nat. Commun. 15, 434 (2024)"
PNAS = "Liu et al., PNAS 118, e2026805118 (2021)"

Progress = Callable[[int, int, str], None]  # steps done, steps in all, what comes next
Result = dict[str, Any]  # JSON-able; "findings" is a list of sentences


@dataclass(frozen=True)
class Experiment:
    """run(quick, rng, progress) -> result, the same for the same seed; draw(result) -> its figure.

    claim: what is to be seen; source: whose claim; minutes: of the full version on one core. The quick one measures the
    same on fewer and smaller cases, within a minute. kept(folder) -> run: of an experiment of hours, which keeps its
    pieces there and goes on where it was stopped.
    """

    name: str
    claim: str
    source: str
    minutes: float
    run: Callable[[bool, Any, Progress], Result]
    draw: Callable[[Result], Picture]
    kept: Callable[[Path], Callable[[bool, Any, Progress], Result]] | None = None


def table_of(package: str, files: Iterable[str]) -> dict[str, Experiment]:
    """The `EXPERIMENT` of each of these files of a package, by its name."""
    found = (import_module(f"{package}.{file}").EXPERIMENT for file in files)
    return {e.name: e for e in found}


def silent(done: int, total: int, what: str) -> None:
    """The Progress that shows nothing."""


def exponent(x: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """The slope of log y against log x with its 95 % interval, where there are three points."""
    from quprop.planning.measured.fit import fit_exponent

    found = fit_exponent(x, y)
    return {"slope": found.value, "low": found.low, "high": found.high, "scale": found.scale}


def drawn(title: str) -> Callable[[Result], Picture]:
    """The figure of result["panels"], see `draw_curves`."""
    return lambda result: draw_curves(result["panels"], title)
