"""The figure of `quprop compare`: gates and measured error of every method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quprop.cost import short
from quprop.plots import EXACT, Picture, grid, method_look, picture

if TYPE_CHECKING:
    from quprop.planning.compare import Comparison


def draw_comparison(found: Comparison) -> Picture:
    """For every method that measures, the rotations and Toffolis of one gradient with those of a value as the line
    omega = 1 (left), and its measured error beside the bound (right)."""
    rows = sorted((r for r in found.rows if r.cost.gates), key=lambda r: -r.cost.gates)
    places, looks = range(len(rows)), [method_look(r.name) for r in rows]
    run = [(p, r, k) for p, r, k in zip(places, rows, looks, strict=True) if r.measured is not None and r.measured > 0]
    columns = 2 if run else 1  # where nothing was run there is nothing beside the gates
    figure, (row_of_axes,) = grid(1, columns, 4.8 * columns, 1.4 + 0.32 * max(len(rows), 2), sharey=True)
    left, right = row_of_axes[0], row_of_axes[-1]
    left.barh(places, [r.cost.gates for r in rows], color=[look["color"] for look in looks], height=0.6)
    if found.value.rotations:
        left.axvline(found.value.rotations, **EXACT, label="the value F itself")
    left.set_yticks(list(places), [r.name.replace("_", " ") for r in rows], fontsize=8)
    left.set_xscale("log")
    left.set_xlabel("rotations and Toffolis executed for one gradient")
    ratios = left.secondary_yaxis("right")
    ratios.set_yticks(list(places), [_ratio(r.omega_time) for r in rows], fontsize=7)
    ratios.tick_params(length=0)

    for index, (place, row, look) in enumerate(run):
        label = None if index else "measured"
        right.plot([row.measured], [place], **look, linestyle="None", markersize=5, label=label)
    if run:
        expected = [r.expected for _, r, _ in run]
        right.plot(expected, [p for p, *_ in run], "|", color="black", markersize=9, label="expected")
        right.axvline(found.max_error, **EXACT, label=f"bound {found.max_error:.2g}")
        right.set_xscale("log")
        right.set_xlabel("largest error of a component")
    return picture(figure, f"{found.model}, precision {found.precision:.3g}")


def _ratio(omega: float | None) -> str:
    return "" if omega is None else f"ω = {short(omega) if omega >= 100 else format(omega, '.3g')}"
