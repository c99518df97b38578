"""Figures of what gradients cost as parameters grow: measured sweeps, and figure 2 of Abbas et al."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from quprop.planning.measured.figure2 import Constants
    from quprop.planning.measured.sweep import Fit

_MARKS = "osD^vP*X"


def draw_scaling(fits: Sequence[Fit], max_error: float) -> bytes:
    """PNG: rotations of one gradient against M, a panel for each family. Points are measured, the full line is their
    fit, the dashed one the formula M^theory (times the logarithm of the max norm), put through the points' middle."""
    from quprop.planning.measured.sweep import logarithm

    families = list(dict.fromkeys(f.family for f in fits))
    columns = min(len(families), 3)
    figure, axes = _figure(len(families), columns)
    methods = list(dict.fromkeys(f.method for f in fits))
    for family, panel in zip(families, axes, strict=True):
        for fit in (f for f in fits if f.family == family):
            colour = f"C{methods.index(fit.method) % 10}"
            m = np.array([p[0] for p in fit.points], float)
            y = np.array([p[2] for p in fit.points], float)
            grid = np.geomspace(m.min(), m.max(), 40)
            panel.plot(
                m,
                y,
                _MARKS[methods.index(fit.method) % len(_MARKS)],
                color=colour,
                markersize=4,
                label=f"{_plain(fit.method)}, measured{_at(fit.max_error, max_error)}: {fit.reduced}",
            )
            panel.plot(grid, [fit.raw(g) for g in grid], color=colour, linewidth=1)
            if fit.theory is not None:
                law = np.array([g**fit.theory * logarithm(fit.method, round(g)) for g in grid])
                law *= np.exp(np.mean(np.log(y)) - np.mean(np.log(np.interp(m, grid, law))))
                label = f"formula {fit.formula} ln M" if fit.formula.startswith("M") else f"formula: {fit.formula}"
                panel.plot(grid, law, "--", color=colour, linewidth=1, label=label)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_title(_plain(family), fontsize=9)
        panel.set_xlabel("M parameters, one a rotation")
        panel.set_ylabel("rotations executed")
        low, high = panel.get_ylim()
        panel.set_ylim(low, high * (high / low) ** 0.45)  # room for the legend above the points
        panel.legend(frameon=False, fontsize=6.5, loc="upper left")
    figure.suptitle(
        f"One gradient at max-norm error {max_error:g} (unless said); exponents with ln M divided out, 95 % intervals",
        fontsize=9,
    )
    return _png(figure)


def draw_figure2(constants: Constants | None = None) -> bytes:
    """PNG: parameters M against the seconds of one gradient, formulas only, as in figure 2 of arXiv:2305.13362; with
    `constants` the laws with their constants and powers of the error too."""
    from quprop.planning.measured.figure2 import LAWS, NAMES, SHIFT, T_Q, TIMES, WORST

    figure, (axes,) = _figure(1, 1, (8.4, 4.4))
    m = np.geomspace(2, 1e9, 200)
    names = {
        "M²": "parameter shift, M²",
        "M ln M": "quantum backpropagation, M ln M",
        "M ln² M": "quantum backpropagation, M ln² M",
        "M log2² M": "quantum backpropagation, M log2² M",
    }
    for (key, law), style in zip(LAWS.items(), ("-", "-", "--", ":"), strict=True):
        axes.plot(
            [law(k) * T_Q for k in m], m, style, color="C3" if key == "M²" else "C0", linewidth=1.4, label=names[key]
        )
    if constants is not None:
        for (name, law), colour in zip(constants.laws.items(), ("C3", "C0", "C2"), strict=True):
            label = f"{NAMES[name]}, with constants"
            axes.plot([law(k) * T_Q for k in m], m, "-.", color=colour, linewidth=1.2, label=label)
            if name == SHIFT:
                continue
            even = constants.break_even(name)
            axes.plot([constants.parameter_shift(even) * T_Q], [even], "ko", markersize=4)
            axes.annotate(
                f"equal at M = {even:,.0f}" if even < 1e4 else f"equal at M = {even:.1e}",
                (constants.parameter_shift(even) * T_Q, even),
                textcoords="offset points",
                xytext=(-8, 8) if name == WORST else (8, -8),
                ha="right" if name == WORST else "left",
                fontsize=7,
            )
    for time, seconds in TIMES.items():
        axes.axvline(seconds, color="0.85", linewidth=0.8, zorder=0)
        axes.text(seconds, 1.6, time, rotation=90, fontsize=6.5, ha="right", va="bottom", color="0.4")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(0.1, 1e9 if constants is None else 1e18)
    axes.set_ylim(1.5, 1e9)
    axes.set_xlabel("time of one gradient (s), at 1 ms a rotation")
    axes.set_ylabel("M parameters, one a rotation")
    if constants is not None:
        text = f"n = {constants.qubits}, error {constants.error:g}, failure {constants.failure:g}"
        axes.set_title(f"formulas; constants for {text}", fontsize=9)
    else:
        axes.set_title("formulas without constants, error of order 1", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    return _png(figure)


def _figure(panels: int, columns: int, size: tuple[float, float] | None = None) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-panels // columns)
    figure = Figure(figsize=size or (4.2 * columns, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for spare in axes[panels:]:
        spare.remove()
    return figure, axes[:panels]


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _at(error: float, usual: float) -> str:
    return "" if error == usual else f" at {error:g}"
