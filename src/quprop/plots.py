"""The one set-up of figures: panels, colours that mean one thing everywhere, and what `picture` sees to at the end.

A figure's own code says what is drawn. `picture` does what is the same for all: legends below the panels, where no data
are; whole numbers on the axes of counts; logarithmic axes with two labelled ticks or more; curves that lie on one
another dashed in turn; points named where there is room; titles no wider than their panel.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quprop.files import check_picture, write_atomically

# The light colours of the HTML report (report/style.css), all with a contrast of 4.5 or more on white.
PALETTE = ("#0b62a8", "#b8430b", "#117a3d", "#7b3fa0", "#8a6a00", "#b0205c", "#0f7a80", "#4b5560")
BLUE, VERMILION, GREEN, PURPLE, OCHRE, PINK, TEAL, SLATE = PALETTE
MARKS = "osD^vX*P"  # in the order of the report's

TRAINING, TEST = VERMILION, BLUE  # data
ESTIMATE = BLUE  # what was measured or sampled
EXACT = {"color": "black", "linestyle": "--", "linewidth": 1}  # a known value, a formula, a bound

# The colour and the mark of every gradient method, by its name in `quprop.gradients.COSTED`.
LOOKS: dict[str, tuple[str, str]] = {
    "quantum_backprop": (BLUE, "o"),
    "parameter_shift": (VERMILION, "s"),
    "pair_state": (GREEN, "D"),
    "commuting_blocks": (PURPLE, "^"),
    "clifford_shadows": (OCHRE, "v"),
    "hadamard_test": (PINK, "P"),
    "classical_shadows": (TEAL, "X"),
    "adjoint": (SLATE, "*"),
    "gentle_sweep": (TEAL, "o"),
    "fully_gentle": (PURPLE, "o"),
    "finite_difference": (OCHRE, "s"),
    "bell_sampling": (BLUE, "D"),
    "forward_gradient": (GREEN, "^"),
    "spsa": (PINK, "v"),
    "random_components": (SLATE, "X"),
    "shot_noise": (SLATE, "P"),
    "amplitude_estimation": (GREEN, "*"),
}

_SMALL = 7  # points of a legend's and a note's letters
_GAP = 0.52  # inches from a panel to the legend below it: tick labels and the name of the axis


def hue(index: int) -> str:
    """The colour of the curve of that number."""
    return PALETTE[index % len(PALETTE)]


def method_look(name: str) -> dict[str, Any]:
    """Colour and marker of a gradient method, for matplotlib."""
    colour, mark = LOOKS[name]
    return {"color": colour, "marker": mark}


class Picture(bytes):
    """The PNG of a figure, which can be written in other formats too. `figure` is matplotlib's."""

    figure: Any

    def as_format(self, suffix: str) -> bytes:
        """The content of a file with this suffix: .png, .pdf or .svg. The same figure gives the same bytes."""
        return bytes(self) if suffix.lower() == ".png" else _rendered(self.figure, suffix.lower()[1:])

    def save(self, path: str | Path) -> None:
        """Write it, in the format that the suffix names."""
        check_picture("", Path(path))
        write_atomically(Path(path), self.as_format(Path(path).suffix))

    def _repr_png_(self) -> bytes:
        return bytes(self)


def grid(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure of this size in inches with rows by columns of axes, an array; options as of matplotlib's `subplots`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options) if rows else np.empty((0, 0), object)
    for axis in axes.flat:
        axis.set_prop_cycle(color=PALETTE)
    return figure, axes


def panels(count: int, width: float = 4.4, height: float = 3.8, columns: int = 0) -> tuple[Any, list[Any]]:
    """A figure with a row of axes, or rows of so many columns; width and height of one in inches."""
    columns = columns or count
    rows = math.ceil(count / columns)
    figure, axes = grid(rows, columns, width * columns, height * rows)
    for spare in axes.flat[count:]:
        spare.remove()
    return figure, list(axes.flat[:count])


def note(axes: Any, text: str, x: float, y: float, **look: Any) -> None:
    """Name a point of the data. `picture` puts the text beside it, where nothing is drawn."""
    axes.figure.notes = [*getattr(axes.figure, "notes", []), (axes, text, x, y, look)]


def scale_beside(axes: Any, marks: dict[str, float], where: str = "right") -> None:
    """A second scale on the "right" or on "top" that names these places, with a pale line at each. Call it when the
    limits are set."""
    on_y = where in ("left", "right")
    low, high = axes.get_ylim() if on_y else axes.get_xlim()
    log = (axes.get_yscale() if on_y else axes.get_xscale()) == "log"
    size = axes.figure.get_size_inches()[1 if on_y else 0] * 72 / len(axes.figure.axes)
    apart = 1.3 * _SMALL / size  # of the axis, from one name to the next
    kept: dict[str, float] = {}
    at = -math.inf
    for name, value in sorted(marks.items(), key=lambda item: item[1]):
        if not low < value < high:
            continue
        place = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        if place - at >= apart:
            kept[name], at = value, place
    for value in kept.values():
        (axes.axhline if on_y else axes.axvline)(value, color="0.9", linewidth=0.8, zorder=0)
    other = axes.secondary_yaxis(where) if on_y else axes.secondary_xaxis(where)
    axis = other.yaxis if on_y else other.xaxis
    axis.set_ticks(list(kept.values()), list(kept), fontsize=_SMALL, color="0.35", rotation=0 if on_y else 90)
    axis.set_ticks([], minor=True)
    other.tick_params(length=2, color="0.6")


def picture(figure: Any, title: str) -> Picture:
    """The finished figure under its title."""
    figure.suptitle(title, fontsize=10)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _ticks(axes, axis)
    _legends(figure)
    figure.draw_without_rendering()
    if _fit_titles(figure):
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # everything has its place
    for axes in figure.axes:
        _take_turns(axes)
    _place_notes(figure)
    made = Picture(_rendered(figure, "png"))
    made.figure = figure
    return made


def _rendered(figure: Any, form: str) -> bytes:
    """Without dates and random names, so that the same figure is the same file."""
    import matplotlib

    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "quprop"}):
        figure.savefig(buffer, format=form, dpi=130, metadata=dates[form])
    return buffer.getvalue()


# -- axes -------------------------------------------------------------------------------------------------------------


def _drawn(axes: Any) -> list[np.ndarray]:
    """(points, 2) of everything that is placed by data: lines, bars, clouds of points, bands."""
    found = [np.column_stack(line.get_data()) for line in axes.lines if line.get_transform() == axes.transData]
    for patch in axes.patches:
        if patch.get_data_transform() == axes.transData:
            found.append(patch.get_patch_transform().transform_path(patch.get_path()).vertices)
    for cloud in axes.collections:
        if len(cloud.get_offsets()) > 1:
            found.append(np.asarray(cloud.get_offsets()))
    return [np.asarray(f, float) for f in found if len(f)]


def _ticks(axes: Any, axis: Any) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator, ScalarFormatter

    which = 0 if axis is axes.xaxis else 1
    if isinstance(axis.get_major_locator(), (FixedLocator, NullLocator)):
        if axis.get_scale() == "log":
            axis.set_minor_formatter(NullFormatter())
            axis.set_tick_params(which="minor", length=0)
        return
    low, high = sorted(axes.get_xlim() if which == 0 else axes.get_ylim())
    if axis.get_scale() == "log":
        ticks = _log_ticks(axis, low, high)
        axis.set_minor_formatter(NullFormatter())
        if ticks is not None:
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    elif axis.get_scale() == "symlog":
        axis.set_major_locator(
            FixedLocator(_apart(axes, which, [t for t in axis.get_majorticklocs() if low <= t <= high]))
        )
    elif axis.get_scale() == "linear":
        values = np.concatenate([np.empty(0), *(f[:, which] for f in _drawn(axes))])
        values = values[np.isfinite(values)]
        bars = any(patch.get_data_transform() == axes.transData for patch in axes.patches)
        if isinstance(axis.get_major_formatter(), ScalarFormatter):
            axis.get_major_formatter().set_powerlimits((-4, 5))  # beyond, the power of ten stands at the axis' end
            axis.get_major_formatter().set_useMathText(True)
        if len(values) and not bars and np.all(values == np.round(values)):
            axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
            if len(np.unique(values)) == 1:
                axis.set_major_locator(FixedLocator([float(values[0])]))


def _apart(axes: Any, which: int, ticks: Sequence[float]) -> list[float]:
    """Of these, zero and as many as are a line of text from one another."""
    line = 1.5 * 10 * axes.figure.dpi / 72
    kept: dict[float, float] = {}
    for tick in sorted(ticks, key=abs):
        at = float(axes.transData.transform((tick, tick))[which])
        if all(abs(at - other) > line for other in kept.values()):
            kept[float(tick)] = at
    return sorted(kept)


def _log_ticks(axis: Any, low: float, high: float) -> list[float] | None:
    """Places to name where an axis shows fewer than three powers of its base; None where powers do."""
    from matplotlib.ticker import MaxNLocator

    base = getattr(axis.get_major_locator(), "_base", 10.0)
    ends = math.log(low, base) - 1e-9, math.log(high, base) + 1e-9
    powers = math.floor(ends[1]) - math.ceil(ends[0]) + 1
    if powers >= 3 or (powers == 2 and (base != 10 or high / low > 100)):
        return None
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 3), (1, 2, 5)):
        ticks = [s * 10.0**k for k in decades for s in steps if low <= s * 10.0**k <= high]
        if len(ticks) >= 3:
            return ticks
    return [float(t) for t in MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high) if low <= t <= high]


def plain(value: float) -> str:
    """A tick's number, to three digits at most: 0.003, 20, 3·10⁻⁷."""
    if value == 0 or 1e-4 < abs(value) < 1e5:
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    power = math.floor(math.log10(abs(value)) + 1e-12)
    digits = f"{value / 10.0**power:.3g}"
    return (rf"${digits}\cdot 10^{{{power}}}$" if digits != "1" else rf"$10^{{{power}}}$").replace("-", "-")


def _take_turns(axes: Any) -> None:
    """Lines that lie on one another are dashed in turn, each in its colour, so that none hides another."""
    lines = [line for line in axes.lines if line.get_linestyle() != "None" and line.get_visible()]
    pixels = [line.get_transform().transform(np.column_stack(line.get_data())) for line in lines]
    groups: list[list[int]] = []
    for index, path in enumerate(pixels):
        for group in groups:
            if _same(pixels[group[0]], path):
                group.append(index)
                break
        else:
            groups.append([index])
    for group in groups:
        if len(group) < 2:
            continue
        for turn, index in enumerate(group):
            lines[index].set_linestyle((4.0 * turn, (4.0, 4.0 * (len(group) - 1))))
            lines[index].set_dash_capstyle("butt")
            lines[index].set_linewidth(max(line.get_linewidth() for line in (lines[i] for i in group)))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two paths in pixels are one to the eye."""
    a, b = (p[np.isfinite(p).all(axis=1)] for p in (a, b))
    if len(a) < 2 or len(b) < 2 or np.any(np.diff(a[:, 0]) < 0) or np.any(np.diff(b[:, 0]) < 0):
        return False
    if abs(a[0, 0] - b[0, 0]) > 2 or abs(a[-1, 0] - b[-1, 0]) > 2:
        return False
    x = np.linspace(a[0, 0], a[-1, 0], 50)
    return bool(np.all(np.abs(np.interp(x, a[:, 0], a[:, 1]) - np.interp(x, b[:, 0], b[:, 1])) < 1.0))


# -- words ------------------------------------------------------------------------------------------------------------


def _legends(figure: Any) -> None:
    """Below the panels: one for the figure where all that have one have the same, else one below each panel."""
    wanted = []
    for axes in figure.axes:
        together = [a for a in figure.axes if a is axes or a in axes._twinned_axes.get_siblings(axes)]
        if together[0] is axes:
            pairs = [a.get_legend_handles_labels() for a in together]
            handles, labels = ([x for pair in pairs for x in pair[k]] for k in (0, 1))
            if labels:
                wanted.append((axes, handles, labels))
    if not wanted:
        return
    from matplotlib.transforms import ScaledTranslation

    width = figure.get_size_inches()[0] * figure.dpi
    extra = 0.0
    if len(wanted) > 1 and len({tuple(labels) for _, _, labels in wanted}) == 1:
        _, handles, labels = wanted[0]
        legend = _narrow(
            lambda n, text: figure.legend(
                handles, text, loc="outside lower center", ncols=n, frameon=False, fontsize=_SMALL
            ),
            labels,
            0.98 * width,
        )
        extra = legend.get_window_extent().height / figure.dpi
    else:
        for axes, handles, labels in wanted:
            lines = axes.get_xlabel().count("\n")
            names = [t.get_text() for t in axes.get_xticklabels()]
            lines += max((name.count("\n") for name in names), default=0)
            shift = ScaledTranslation(0, -(_GAP + 0.15 * lines), figure.dpi_scale_trans)
            spec = axes.get_subplotspec()
            columns = spec.get_gridspec().ncols if spec is not None else 1
            legend = _narrow(
                lambda n, text, axes=axes, handles=handles, shift=shift: axes.legend(
                    handles,
                    text,
                    loc="upper center",
                    bbox_to_anchor=(0.5, 0.0),
                    bbox_transform=axes.transAxes + shift,
                    borderaxespad=0,
                    ncols=n,
                    frameon=False,
                    fontsize=_SMALL,
                ),
                labels,
                0.96 * width / columns,
            )
            extra = max(extra, legend.get_window_extent().height / figure.dpi)
    rows = max((a.get_subplotspec().get_gridspec().nrows for a, *_ in wanted if a.get_subplotspec()), default=1)
    figure.set_figheight(figure.get_figheight() + extra * rows)


def _narrow(make: Any, labels: list[str], width: float) -> Any:
    """A legend no wider than that: in as many columns as fit, its texts broken where one column is too wide."""
    for columns in range(min(4, len(labels)), 0, -1):
        legend = make(columns, labels)
        if legend.get_window_extent().width <= width:
            return legend
        if columns > 1:
            legend.remove()
    ratio = width / legend.get_window_extent().width
    legend.remove()
    most = max(12, int(0.9 * ratio * max(map(len, labels))))
    return make(1, [textwrap.fill(label, most) for label in labels])


def _fit_titles(figure: Any) -> bool:
    """Break titles and axes' names that are longer than their panel, and the figure's than the figure; whether any."""
    texts = [(figure._suptitle, 0.98 * figure.bbox.width, False)]
    for axes in figure.axes:
        box = axes.bbox
        texts += [(axes.title, 1.08 * box.width, False), (axes.xaxis.label, 1.15 * box.width, False)]
        texts += [(axes.yaxis.label, 1.1 * box.height, True)]
    return sum(_broken(*text) for text in texts) > 0


def _broken(text: Any, room: float, upright: bool) -> bool:
    box = text.get_window_extent()
    length = box.height if upright else box.width
    if not text.get_text() or length <= room:
        return False
    lines = text.get_text().split("\n")
    most = max(8, int(0.95 * max(map(len, lines)) * room / length))
    text.set_text("\n".join(textwrap.fill(line, most, break_long_words=False) for line in lines))
    return True


_PLACES = [
    (dx, dy, {-1: "right", 0: "center", 1: "left"}[sx], {-1: "top", 0: "center", 1: "bottom"}[sy])
    for far in (6, 14, 26, 42, 60, 85, 115)
    for sx, sy in ((1, -1), (-1, 1), (1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
    for dx, dy in [(far * sx, far * sy)]
]


def _place_notes(figure: Any) -> None:
    """Each note at the nearest place beside its point where it covers no line, point or other word."""
    from matplotlib.transforms import Bbox

    taken: list[Any] = []
    for axes, text, x, y, look in getattr(figure, "notes", []):
        paths = []
        for line in axes.lines:
            path = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
            paths.append(_dense(path[np.isfinite(path).all(axis=1)]))
        points = np.concatenate(paths) if paths else np.empty((0, 2))
        words = [t.get_window_extent() for t in axes.texts if t.get_text()]
        best, least = None, math.inf
        for far, (dx, dy, ha, va) in enumerate(_PLACES):
            made = axes.annotate(
                text, (x, y), xytext=(dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=_SMALL, **look
            )
            box = made.get_window_extent().padded(1.5)
            inside = axes.bbox.fully_containsx(box.x0) and axes.bbox.fully_containsx(box.x1)
            inside = inside and axes.bbox.fully_containsy(box.y0) and axes.bbox.fully_containsy(box.y1)
            hit = int(((points > box.min) & (points < box.max)).all(axis=1).sum()) if len(points) else 0
            hit += 200 * sum(bool(Bbox.intersection(box, other)) for other in taken + words) + 1000 * (not inside)
            if hit < least:
                if best is not None:
                    best.remove()
                best, least, where = made, hit, far
            else:
                made.remove()
            if least == 0:
                break
        assert best is not None
        taken.append(best.get_window_extent())
        if where >= 8:  # far from its point: joined to it
            best.remove()
            dx, dy, ha, va = _PLACES[where]
            thin = {"arrowstyle": "-", "linewidth": 0.5, "color": "0.5", "shrinkA": 1, "shrinkB": 3}
            axes.annotate(
                text, (x, y), xytext=(dx, dy), textcoords="offset points", ha=ha, va=va, fontsize=_SMALL,
                arrowprops=thin, **look,
            )  # fmt: skip


def _dense(path: np.ndarray) -> np.ndarray:
    """The path's points, and more between them: no gap of over three pixels."""
    if len(path) < 2:
        return path
    steps = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(np.minimum(steps, 1e5))])
    if along[-1] == 0:
        return path
    at = np.linspace(0, along[-1], min(20_000, int(along[-1] / 3) + 2))
    return np.column_stack([np.interp(at, along, path[:, k]) for k in (0, 1)])


# -- curves -----------------------------------------------------------------------------------------------------------


def draw_curves(plots: Sequence[dict[str, Any]], title: str) -> Picture:
    """Panels in a row. A panel: x, y (names of axes), log ("", "x", "y" or "xy"), title, ticks (of the x axis), and
    curves, each (label, x values, y values, style of matplotlib; "C0" and so on are the colours of `PALETTE`)."""
    figure, axes = panels(len(plots))
    for axis, plot in zip(axes, plots, strict=True):
        for place, (label, x, y, style) in enumerate(plot["curves"]):
            y = np.asarray([np.nan if v is None else v for v in y], float)
            name = label[:1] + label[1:].replace("_", " ")
            look: dict[str, Any] = {"markersize": 3.5, "linewidth": 1.2, "label": name}
            if numbered := re.match(r"C(\d+)", style):
                look["color"], style = hue(int(numbered[1])), style[numbered.end() :]
            elif not set(style) & set("bgrcmykw"):  # matplotlib's letters of colours
                look["color"] = hue(place)
            axis.plot(x, np.where(np.isfinite(y), y, np.nan), style, **look)
        if "x" in plot.get("log", ""):
            axis.set_xscale("log")
        if "y" in plot.get("log", ""):
            axis.set_yscale("log")
        axis.set_xlabel(plot["x"])
        axis.set_ylabel(plot["y"])
        axis.set_title(plot.get("title", ""), fontsize=9)
        if plot.get("ticks"):
            axis.set_xticks(plot["ticks"], [f"{t:g}" for t in plot["ticks"]])
    return picture(figure, title)
