"""The one set-up of figures: panels in a row, curves in panels, PNG bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np


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


def draw_curves(
    plots: list[dict[str, Any]],
    title: str,
) -> bytes:
    """PNG of panels in a row. A panel: x, y (names of axes), log ("", "x", "y" or "xy"), title, ticks (of the x
    axis), legend ("inside", or "below" where curves leave no room), and curves, each (label, x values, y values,
    style of matplotlib)."""
    figure, axes = panels(len(plots))
    for axis, plot in zip(axes, plots, strict=True):
        for label, x, y, style in plot["curves"]:
            y = np.asarray([np.nan if v is None else v for v in y], float)
            axis.plot(x, np.where(np.isfinite(y), y, np.nan), style, markersize=3.5, linewidth=1.2, label=label)
        if "x" in plot.get("log", ""):
            axis.set_xscale("log")
        if "y" in plot.get("log", ""):
            axis.set_yscale("log")
            low, high = np.log10(axis.get_ylim())
            if high - low < 2:  # at least two powers of ten to read values from
                axis.set_ylim(10 ** np.floor(low), 10 ** np.ceil(high))
        axis.set_xlabel(plot["x"])
        axis.set_ylabel(plot["y"])
        axis.set_title(plot.get("title", ""), fontsize=9)
        if plot.get("ticks"):
            axis.set_xticks(plot["ticks"], [f"{t:g}" for t in plot["ticks"]])
            axis.tick_params(axis="x", which="minor", length=0)
        if plot.get("legend") == "below":
            axis.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        else:
            axis.legend(frameon=False, fontsize=7)
    return picture(figure, title)
