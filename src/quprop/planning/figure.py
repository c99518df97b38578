"""The figure of `quprop plan`: seconds of one gradient against the number of parameters, by every method."""

from __future__ import annotations

import io
import math
from typing import Any

from quprop.gradients import COSTED, PLAIN
from quprop.planning.classical import NetworkPlan
from quprop.planning.costs import tidy
from quprop.planning.training import MOST_PARAMETERS, TrainingPlan, gradient_seconds

_TIMES = {
    "1 s": 1.0,
    "1 min": 60.0,
    "1 h": 3600.0,
    "1 day": 86400.0,
    "30 days": 30 * 86400.0,
    "1 year": 365.25 * 86400,
    "100 years": 3.15576e9,
}
_POINTS = 60
_YEARS = 1e6 * 3.15576e7  # the top of the figure, unless even the cheapest method is near


def draw_plan(plan: TrainingPlan) -> bytes:
    """PNG. Lines: methods on the plan's machine (dashed: simulators; dotted: formulas nothing runs), as far as they
    serve the model and the machine holds them; dots: where the cheapest method changes; vertical: the plan's P."""
    names = [r.name for r in plan.rows]
    P = plan.shape.parameters
    top = min(MOST_PARAMETERS, max(10**7, 1000 * P))
    sizes = sorted({round(math.exp(u)) for u in _spaced(math.log(4), math.log(top))})
    shapes = [(m, plan.shape.at(m)) for m in sizes]
    figure, axes = _figure((9.2, 5.0))
    shown: list[float] = []
    colours = _colours()
    lines: dict[str, list[tuple[int, float]]] = {}
    for name in sorted(names, key=lambda n: (COSTED[n].costed_only, n)):
        times = [(m, gradient_seconds(name, s, plan.wanted, plan.hardware, plan.flops)) for m, s in shapes]
        if line := [(m, t) for m, t in times if t is not None and 0 < t < math.inf]:
            lines[name] = line
    ends = [line[-1][1] for name, line in lines.items() if not _simulated(name)]
    top_time = max(_YEARS, 1e6 * min(ends, default=0.0))
    lines = {name: line for name, line in lines.items() if line[0][1] < top_time}
    for place, (name, line) in enumerate(lines.items()):
        style = ":" if COSTED[name].costed_only else "--" if _simulated(name) else "-"
        # Methods that cost the same lie on one another: parameter shift, which everybody knows, on top.
        order = 3 if name == PLAIN else 2
        colour = colours(place % 20)
        axes.plot(*zip(*line, strict=True), style, color=colour, linewidth=1.5, label=_plain(name), zorder=order)
        shown += [t for _, t in line]
    changes = [c for c in plan.changes[1:] if c.parameters <= top]
    for i, change in enumerate(changes):
        t = gradient_seconds(change.method, plan.shape.at(change.parameters), plan.wanted, plan.hardware, plan.flops)
        if t is not None:
            axes.plot([change.parameters], [t], "ko", markersize=4.5, label="the cheapest changes" if i == 0 else None)
            axes.annotate(
                tidy(f"{_plain(change.method)}\nfrom {change.parameters:.2g}"),
                (change.parameters, t),
                textcoords="offset points",
                xytext=(6, -16),
                fontsize=7,
            )
    axes.axvline(P, color="0.5", linewidth=0.8)
    if plan.reaches < top:
        label = f"infeasible from P = {max(1, plan.reaches):.2g} on" if plan.reaches else "infeasible at any P"
        axes.axvspan(max(sizes[0], plan.reaches), top, color="0.93", zorder=-1, label=tidy(label))
    if shown:
        low, high = max(1e-9, min(shown) / 3), min(max(shown) * 3, top_time)
        _times(axes, low, high, sizes[0])
        axes.set_ylim(low, high)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(sizes[0], top)
    axes.set_xlabel(f"parameters P (the line: {P:,})")
    axes.set_ylabel(f"one gradient on {plan.hardware.name} (s)")
    kind = f"{plan.wanted.kind.replace('_', ' ')} {plan.wanted.value:g}"
    axes.set_title(f"{plan.shape.name}: formulas, {kind}", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    return _png(figure)


def draw_network(plan: NetworkPlan) -> bytes:
    """PNG: seconds of all steps against the number of parameters, by plain descent and by the Carleman loop, at the
    plan's density and at 1,000 entries whatever the size."""
    from dataclasses import replace

    figure, axes = _figure((8.4, 4.4))
    n = [math.exp(u) for u in _spaced(math.log(100), math.log(max(1e12, 1e3 * plan.parameters)))]
    blocks, parallel = plan.blocks, plan.hardware.parallel
    fixed = replace(plan.even, entries=plan.even.entries or 1000)
    axes.plot(n, [blocks * plan.even.classical_seconds(k) for k in n], "-", color="C0", label="plain descent")
    loop = "Carleman loop" + (f", {plan.even.density:g} of all entries" if plan.even.entries is None else "")
    axes.plot(n, [blocks * plan.even.quantum_seconds(k) / parallel for k in n], "-", color="C3", label=loop)
    if plan.even.entries is None:
        axes.plot(
            n,
            [blocks * fixed.quantum_seconds(k) / parallel for k in n],
            "--",
            color="C3",
            label="Carleman loop, 1,000 entries",
        )
    axes.axvline(plan.parameters, color="0.5", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(n[0], n[-1])
    low, high = axes.get_ylim()
    _times(axes, low, high, n[0])
    axes.set_ylim(low, high)
    axes.set_xlabel(f"parameters n (the line: {plan.parameters:,})")
    axes.set_ylabel(f"{plan.steps:,} steps on {plan.hardware.name} (s)")
    axes.set_title(f"{plan.name}: formulas, readout to {plan.even.precision:g}", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1))
    return _png(figure)


def _times(axes: Any, low: float, high: float, left: float) -> None:
    last = 0.0
    for text, seconds in _TIMES.items():
        if low < seconds < high and (not last or math.log(seconds / last) > math.log(high / low) / 28):
            last = seconds
            axes.axhline(seconds, color="0.9", linewidth=0.8, zorder=0)
            axes.text(left, seconds, f" {text}", fontsize=6.5, va="bottom", color="0.45")


def _simulated(name: str) -> bool:
    return COSTED[name].copies == 0


def _colours() -> Any:
    from matplotlib import colormaps

    return colormaps["tab20"]


def _spaced(low: float, high: float) -> list[float]:
    return [low + (high - low) * k / (_POINTS - 1) for k in range(_POINTS)]


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
