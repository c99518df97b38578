"""The figure of `quprop compare`: gates and measured error of every method."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from quprop.cost import short

if TYPE_CHECKING:
    from quprop.planning.compare import Comparison


def draw_comparison(found: Comparison) -> bytes:
    """PNG: for every method that measures, the rotations and Toffolis of one gradient with those of a value as the line
    omega = 1 (left), and its measured error beside the bound (right)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    rows = sorted((r for r in found.rows if r.cost.gates), key=lambda r: -r.cost.gates)
    figure = Figure(figsize=(9.0, 1.6 + 0.32 * max(len(rows), 2)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(rows))
    left.barh(places, [r.cost.gates for r in rows], color="C0", height=0.6)
    if found.value.rotations:
        left.axvline(found.value.rotations, color="black", linestyle="--", linewidth=1, label="the value F itself")
        left.legend(frameon=False, fontsize=7)
    for place, row in zip(places, rows, strict=True):
        if row.omega_time is not None:
            left.text(
                row.cost.gates,
                place,
                f" ω = {short(row.omega_time) if row.omega_time >= 100 else format(row.omega_time, '.3g')}",
                va="center",
                fontsize=7,
            )
    left.set_yticks(list(places), [r.name.replace("_", " ") for r in rows], fontsize=8)
    left.set_xscale("log")
    left.margins(x=0.25)
    left.set_xlabel("rotations and Toffolis executed for one gradient")

    run = [(p, r) for p, r in zip(places, rows, strict=True) if r.measured is not None and r.measured > 0]
    right.plot([r.measured for _, r in run], [p for p, _ in run], "o", markersize=5, label="measured")
    right.plot([r.expected for _, r in run], [p for p, _ in run], "|", color="C1", markersize=9, label="expected")
    right.axvline(found.max_error, color="black", linestyle="--", linewidth=1, label=f"bound {found.max_error:.2g}")
    if run:
        right.set_xscale("log")
        right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlabel("largest error of a component")
    right.legend(frameon=False, fontsize=7)
    figure.suptitle(f"{found.model}, precision {found.precision:.3g}", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
