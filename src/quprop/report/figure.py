"""Figures as data: curves with their sources, what Plotly is given of them, the table and the sentence beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from quprop import plots
from quprop.report.parts import ABSENT, Table, Value, readable
from quprop.report.thin import thin

TABLE_ROWS = 40  # of the table beside a figure; the file has all
DASHES = {"line": "solid", "dashed": "dash", "dotted": "dot", "both": "solid", "steps": "solid"}
# Marks by plotly's names, and as paths about (14, 5) for the legend.
SYMBOLS = {
    "circle": "M10 5a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "square": "M10.5 1.5h7v7h-7z",
    "diamond": "M14 0l5 5l-5 5l-5-5z",
    "triangle-up": "M14 .5l5 8.5h-10z",
    "triangle-down": "M14 9.5l5-8.5h-10z",
    "x": "M12 0l2 3l2-3h3l-3.5 5l3.5 5h-3l-2-3l-2 3h-3l3.5-5l-3.5-5z",
    "star": "M14 0l1.3 3.6h3.8l-3 2.3l1.1 3.7l-3.2-2.2l-3.2 2.2l1.1-3.7l-3-2.3h3.8z",
    "cross": "M12.5 1h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z",
}
FEW = 10  # whole numbers, below which plotly's own ticks would fall between them
COLOURS = 8  # that the page's style defines


@dataclass(frozen=True)
class Curve:
    """x and y as the files have them; `source` of y and `x_source`, see `parts`; `sources` and `x_sources`, point by
    point, where the points are not all lines or entries in their order.

    style: "line", "dashed", "dotted", "steps", "points", "both" (points joined), "stems" (points on lines from below),
    "bars" (horizontal: x are names, y their lengths) or "band" (y to `high`).
    colour: index; None takes the next. methods: the gradient method that a curve is of, whose colour and mark it has in
    all figures; of bars one each. reference: a line to compare with, which is no data (not in the table).
    """

    name: str
    x: Sequence[Any]
    y: Sequence[float]
    source: str
    x_source: str = ""
    style: str = "line"
    colour: int | None = None
    methods: Sequence[str] = ()
    high: Sequence[float] = ()
    sources: Sequence[str] = ()
    x_sources: Sequence[str] = ()
    reference: bool = False


@dataclass(frozen=True)
class Figure:
    """x, y: names of the axes; of bars x is their length and y what they are of. log: "", "x", "y" or "xy"; a
    logarithmic axis leaves out what is not positive, and says so."""

    title: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    log: str = ""
    note: str = ""
    low: float | None = None  # where a y axis that reaches further down begins at first
    whole: bool = False  # whether x counts: no ticks between whole numbers
    kind: ClassVar[str] = "figure"

    def colour(self, index: int) -> int:
        return _look(self.curves[index], index)[0]

    def mark(self, index: int) -> str:
        """The legend's path of a curve's mark."""
        return list(SYMBOLS.values())[_look(self.curves[index], index)[1]]

    @property
    def bars(self) -> bool:
        return any(c.style == "bars" for c in self.curves)

    def plotly(self) -> dict[str, Any]:
        """{"data", "layout"} as plotly.js takes them. Colours are left to the page, which has a light and a dark set:
        meta.colour is the index."""
        data: list[dict[str, Any]] = []
        for index, curve in enumerate(self.curves):
            data += _traces(curve, self.colour(index), index)
        layout: dict[str, Any] = {"hovermode": "closest"}
        for name, title in (("x", self.x), ("y", self.y)):
            axis = {"title": {"text": title}, "automargin": True, "exponentformat": "power", "minexponent": 6}
            layout[name + "axis"] = axis | ({"type": "log"} if name in self.log else {})
        values = np.concatenate([[np.nan], *(_array(c.y) for c in self.curves)])
        if self.low is not None and np.nanmin(values) < self.low < np.nanmax(values):
            scale = np.log10 if "y" in self.log else float
            top = float(scale(np.nanmax(values)))
            layout["yaxis"]["range"] = [float(scale(self.low)), top + 0.05 * abs(top - float(scale(self.low)))]
        places = [v for c in self.curves for v in c.x if isinstance(v, int | float)]
        if self.whole and places and max(places) - min(places) < FEW:
            layout["xaxis"] |= {"dtick": 1, "tick0": 0}
        if self.bars:  # x is the length of the bars, y their names
            layout["yaxis"] |= {"type": "category", "autorange": "reversed", "title": {"text": ""}}
            layout["height"] = 120 + 26 * len(self.curves[0].x)
        return {"data": data, "layout": layout}

    def drawn(self) -> str:
        """What of the data is not drawn, as a sentence, or nothing."""
        counts = {(len(thin(_array(c.y))), len(c.y)) for c in self.curves}
        parts = [
            f"drawn are {kept:,} of {n:,} points of a curve, the smallest and largest of every stretch among them"
            for kept, n in sorted(counts)
            if kept < n
        ]
        hidden = sum(int((_array(c.y) <= 0).sum()) for c in self.curves) if "y" in self.log else 0
        if hidden:
            parts.append(f"not on the logarithmic axis, because not positive: {hidden:,} of the points")
        broken = sum(int((~np.isfinite(_array(c.y))).sum()) for c in self.curves if not c.reference)
        if broken:
            parts.append(f"not drawn, because no finite number: {broken:,} of the entries")
        return "; ".join(part[0].upper() + part[1:] if i == 0 else part for i, part in enumerate(parts))

    def describe(self) -> str:
        """One sentence a curve, for those who do not see the picture."""
        out = []
        for curve in self.curves:
            y = _array(curve.y)
            good = np.flatnonzero(np.isfinite(y))
            if not len(good):
                continue
            if curve.reference and len({*y[good]}) == 1:
                out.append(f"{curve.name} at {readable(float(y[good[0]]))}")
                continue
            low, high = y[good].min(), y[good].max()
            first, last = good[0], good[-1]
            text = f"{curve.name}: {len(good):,} points from {readable(float(low))} to {readable(float(high))}"
            if not self.bars and first != last:
                text += f", {readable(float(y[first]))} at the start and {readable(float(y[last]))} at the end"
            out.append(text)
        axes = f"{self.x} of each {self.y}" if self.bars else f"{self.y} against {self.x}"
        return f"{self.title}. {axes[0].upper() + axes[1:]}. " + ". ".join(out) + "."

    def table(self) -> Table:
        """The numbers behind the picture: all of a short curve; first, last, extremes and evenly spaced ones of a long
        one. Curves over the same x share rows."""
        curves = [c for c in self.curves if not c.reference]
        groups: list[list[Curve]] = []
        for curve in curves:
            same = next((g for g in groups if list(g[0].x) == list(curve.x)), None)
            (same.append(curve) if same is not None else groups.append([curve]))
        shown = max(6, TABLE_ROWS // max(1, len(groups)))
        rows: list[tuple[Any, ...]] = []
        total = 0
        names = [c.name for c in (groups[0] if groups else [])] if len(groups) == 1 else ["", self.y]
        for group in groups:
            x = list(group[0].x)
            total += len(x)
            for place in _chosen([_array(c.y) for c in group], len(x), shown):
                head = _cell(x[place], group[0].x_source, group[0].x_sources, place)
                cells = [_cell(c.y[place], c.source, c.sources, place) for c in group]
                rows += (
                    [(head, *cells)]
                    if len(groups) == 1
                    else [(head, c.name, v) for c, v in zip(group, cells, strict=True)]
                )
        note = (
            "" if len(rows) >= total else f"{len(rows)} of {total:,} rows; all are in the files named with the values."
        )
        head = self.y if self.bars else self.x
        return Table(f"Numbers: {self.title}", (head, *names), tuple(rows), note)


def _chosen(columns: list[np.ndarray], n: int, shown: int) -> list[int]:
    if n <= shown:
        return list(range(n))
    kept = set(np.linspace(0, n - 1, shown).astype(int).tolist())
    for y in columns:
        if np.isfinite(y).any():
            kept |= {int(np.nanargmin(y)), int(np.nanargmax(y))}
    return sorted(kept)


def _cell(raw: Any, source: str, sources: Sequence[str], place: int) -> Value | str:
    if isinstance(raw, str):
        return raw
    if raw is None or (isinstance(raw, float) and math.isnan(raw)):
        return ABSENT
    raw = raw.item() if isinstance(raw, np.generic) else raw
    where = sources[place] if sources else source.replace("/*", f"/{place}", 1)
    return Value(raw, readable(raw), where) if where else readable(raw)


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], float)


def _list(values: Sequence[Any]) -> list[Any]:
    """As JSON may hold them: what is not finite is null."""
    out = []
    for v in values:
        v = v.item() if isinstance(v, np.generic) else v
        out.append(None if isinstance(v, float) and not math.isfinite(v) else v)
    return out


def _look(curve: Curve, index: int) -> tuple[int, int]:
    """Colour and symbol."""
    if len(curve.methods) == 1 and curve.style != "bars":
        return _method_look(curve.methods[0], index)
    return (index if curve.colour is None else curve.colour) % COLOURS, index % len(SYMBOLS)


def _method_look(name: str, index: int) -> tuple[int, int]:
    """As in the pictures; of what is no method, by its number."""
    colour, mark = plots.LOOKS.get(name, (plots.hue(index), plots.MARKS[index % len(SYMBOLS)]))
    return plots.PALETTE.index(colour), plots.MARKS.index(mark)


def _traces(curve: Curve, colour: int, index: int) -> list[dict[str, Any]]:
    y = _array(curve.y)
    kept = thin(y)
    xs, ys = _list([curve.x[i] for i in kept]), _list([curve.y[i] for i in kept])
    meta = {"colour": colour, "curve": index, "source": curve.source, "x_source": curve.x_source}
    common: dict[str, Any] = {"name": curve.name, "meta": meta, "showlegend": False}
    if curve.style == "bars":
        if curve.methods:
            meta["colours"] = [_method_look(name, 0)[0] for name in curve.methods]
        return [common | {"type": "bar", "orientation": "h", "x": ys, "y": xs}]
    common |= {"type": "scatter", "x": xs}
    if curve.style == "band":
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        return [
            common | edge | {"y": ys},
            common | edge | {"y": _list([curve.high[i] for i in kept]), "fill": "tonexty"},
        ]
    trace = common | {"y": ys}
    marks = {"symbol": list(SYMBOLS)[_look(curve, index)[1]], "size": 7 if len(kept) < 200 else 4}
    if curve.style in ("points", "stems"):
        trace |= {"mode": "markers", "marker": marks}
    elif curve.style == "both":
        trace |= {"mode": "lines+markers", "marker": marks, "line": {"dash": "solid", "width": 1.5}}
    else:
        trace |= {"mode": "lines", "line": {"dash": DASHES[curve.style], "width": 1 if curve.reference else 1.8}}
    if curve.style == "steps":
        trace["line"]["shape"] = "hv"
    if curve.style == "stems":
        positive = y[y > 0]
        floor = float(positive.min()) / 3 if len(positive) else 0.0
        drop = [0.0 if v is None else max(0.0, v - floor) for v in ys]
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [0.0] * len(ys),
            "arrayminus": drop,
            "width": 0,
        }
    return [trace]
