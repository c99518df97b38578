"""The figure of `quprop plan`: seconds of one gradient against the number of parameters, by every method."""

from __future__ import annotations

import math

from quprop.gradients import COSTED
from quprop.planning.classical import NetworkPlan
from quprop.planning.costs import tidy
from quprop.planning.training import MOST_PARAMETERS, TrainingPlan, gradient_seconds
from quprop.plots import BLUE, VERMILION, Picture, method_look, note, panels, picture, scale_beside

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


def draw_plan(plan: TrainingPlan) -> Picture:
    """Lines: methods on the plan's machine (dashed: simulators; dotted: formulas nothing runs), as far as they
    serve the model and the machine holds them; dots: where the cheapest method changes; vertical: the plan's P."""
    names = [r.name for r in plan.rows]
    P = plan.shape.parameters
    top = min(MOST_PARAMETERS, max(10**7, 1000 * P))
    sizes = sorted({round(math.exp(u)) for u in _spaced(math.log(4), math.log(top))})
    shapes = [(m, plan.shape.at(m)) for m in sizes]
    figure, (axes,) = panels(1, 7.6, 5.0)
    shown: list[float] = []
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
        look = method_look(name) | {"markersize": 4, "markevery": (3 * place % 12, 12), "linewidth": 1.5}
        axes.plot(*zip(*line, strict=True), style, label=_plain(name), **look)
        shown += [t for _, t in line]
    changes = [c for c in plan.changes[1:] if c.parameters <= top]
    for i, change in enumerate(changes):
        t = gradient_seconds(change.method, plan.shape.at(change.parameters), plan.wanted, plan.hardware, plan.flops)
        if t is not None:
            axes.plot([change.parameters], [t], "ko", markersize=4.5, label="the cheapest changes" if i == 0 else None)
            note(axes, tidy(f"{_plain(change.method)}\nfrom {change.parameters:.2g}"), change.parameters, t)
    axes.axvline(P, color="0.5", linewidth=0.8)
    if plan.reaches < top:
        label = f"infeasible from P = {max(1, plan.reaches):.2g} on" if plan.reaches else "infeasible at any P"
        axes.axvspan(max(sizes[0], plan.reaches), top, color="0.93", zorder=-1, label=tidy(label))
    if shown:
        low, high = max(1e-9, min(shown) / 3), min(max(shown) * 3, top_time)
        axes.set_ylim(low, high)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(sizes[0], top)
    scale_beside(axes, _TIMES)
    axes.set_xlabel(f"parameters P (the line: {P:,})")
    axes.set_ylabel(f"one gradient on {plan.hardware.name} (s)")
    kind = f"{plan.wanted.kind.replace('_', ' ')} {plan.wanted.value:g}"
    return picture(figure, f"{plan.shape.name}: formulas, {kind}")


def draw_network(plan: NetworkPlan) -> Picture:
    """Seconds of all steps against the number of parameters, by plain descent and by the Carleman loop, at the
    plan's density and at 1,000 entries whatever the size."""
    from dataclasses import replace

    figure, (axes,) = panels(1, 7.6, 4.4)
    n = [math.exp(u) for u in _spaced(math.log(100), math.log(max(1e12, 1e3 * plan.parameters)))]
    blocks, parallel = plan.blocks, plan.hardware.parallel
    fixed = replace(plan.even, entries=plan.even.entries or 1000)
    axes.plot(n, [blocks * plan.even.classical_seconds(k) for k in n], "-", color=BLUE, label="plain descent")
    loop = "Carleman loop" + (f", {plan.even.density:g} of all entries" if plan.even.entries is None else "")
    axes.plot(n, [blocks * plan.even.quantum_seconds(k) / parallel for k in n], "-", color=VERMILION, label=loop)
    if plan.even.entries is None:
        axes.plot(
            n,
            [blocks * fixed.quantum_seconds(k) / parallel for k in n],
            "--",
            color=VERMILION,
            label="Carleman loop, 1,000 entries",
        )
    axes.axvline(plan.parameters, color="0.5", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(n[0], n[-1])
    axes.set_ylim(axes.get_ylim())
    scale_beside(axes, _TIMES)
    axes.set_xlabel(f"parameters n (the line: {plan.parameters:,})")
    axes.set_ylabel(f"{plan.steps:,} steps on {plan.hardware.name} (s)")
    return picture(figure, f"{plan.name}: formulas, readout to {plan.even.precision:g}")


def _simulated(name: str) -> bool:
    return COSTED[name].copies == 0


def _spaced(low: float, high: float) -> list[float]:
    return [low + (high - low) * k / (_POINTS - 1) for k in range(_POINTS)]


def _plain(name: str) -> str:
    return name.replace("_", " ")
