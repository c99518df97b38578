"""The figure of a sweep of quantum backpropagation, layer by layer."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from quprop.cost import short
from quprop.gradients.sweeps.sweep_log import SweepLog


def draw_sweep(log: SweepLog, exact: Any = None, title: str = "") -> bytes:
    """PNG: predictions with their band, measurements and, where given, the exact dF/da of every rotation (top);
    trigger probabilities and damage of the batch in use (middle); copies consumed (bottom). Sweeps go to the left.

    exact: (M,), by rotation; `log` is info["sweep"] of an estimate with explain=True.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1.5))
    layer, prediction = log.column("layer"), log.column("prediction")
    measured, triggered = log.column("measured"), log.column("triggered") > 0

    top.fill_between(
        layer, prediction - log.eps, prediction + log.eps, color="C0", alpha=0.15, linewidth=0, label="prediction ± eps"
    )
    top.plot(layer, prediction, color="C0", linewidth=0.8, label="prediction of the hypothesis")
    if exact is not None:
        top.plot(layer, np.asarray(exact)[layer.astype(int)], ".", color="black", markersize=2.5, label="exact")
    top.plot(layer[triggered], measured[triggered], "v", color="C3", markersize=5, label="trigger, measured")
    top.set_ylabel("dF/da")
    top.legend(frameon=False, fontsize=7, ncols=4)

    middle.semilogy(layer, np.maximum(log.column("probability"), 1e-12), ".", markersize=3, label="trigger probability")
    middle.semilogy(
        layer, np.maximum(log.column("damage"), 1e-12), color="C1", linewidth=1, label="damage of the batch"
    )
    middle.set_ylim(1e-6, 2)
    middle.legend(frameon=False, fontsize=7)

    bottom.plot(layer, log.column("copies"), color="C2", drawstyle="steps-post")
    bottom.set_ylabel("copies")
    bottom.set_xlabel("rotation, the sweep going from right to left")
    for row in (top, middle, bottom):
        for place in layer[triggered]:
            row.axvline(place, color="C3", linewidth=0.5, alpha=0.4)
    copies = log.column("copies")
    spent = short(copies[-1]) if len(copies) else "0"
    words = f"{len(log)} checked components, {int(triggered.sum())} triggers, {spent} copies"
    figure.suptitle(f"{title}: {words}" if title else words, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
