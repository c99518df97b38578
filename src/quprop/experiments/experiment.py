"""What an experiment is: a claim, a function that measures it, a picture of the result."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

Progress = Callable[[int, int, str], None]  # steps done, steps in all, what comes next
Result = dict[str, Any]  # JSON-able; "findings" is a list of sentences


@dataclass(frozen=True)
class Experiment:
    """run(quick, rng, progress) -> result, the same for the same seed; draw(result) -> PNG bytes.

    claim: what is to be seen; source: whose claim; minutes: of the full version on one core. The quick one measures the
    same on fewer and smaller cases, within a minute.
    """

    name: str
    claim: str
    source: str
    minutes: float
    run: Callable[[bool, Any, Progress], Result]
    draw: Callable[[Result], bytes]


def silent(done: int, total: int, what: str) -> None:
    """The Progress that shows nothing."""


def panels(count: int, width: float = 4.4, height: float = 3.8) -> tuple[Any, list[Any]]:
    """A figure with a row of axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def picture(figure: Any, title: str) -> bytes:
    """PNG bytes. Short logarithmic axes name powers only: their minor labels would overlap."""
    from matplotlib.ticker import NullFormatter

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                axis.set_minor_formatter(NullFormatter())
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def exponent(x: ArrayLike, y: ArrayLike) -> dict[str, float]:
    """The slope of log y against log x with its 95 % interval, where there are three points."""
    from quprop.planning.measured.fit import fit_exponent

    found = fit_exponent(x, y)
    return {"slope": found.value, "low": found.low, "high": found.high, "scale": found.scale}
