"""What a reader would complain of in a figure, found with matplotlib's own renderer."""

from itertools import combinations, pairwise

import numpy as np
from matplotlib.text import Text

COUNTS = ("step", "steps", "epoch", "qubits", "parameters", "order", "seed", "gates cut", "cuts", "linearised step")


def faults(figure):
    """A sentence for each word on a word, word or legend on data, word outside the paper, axis that cannot be read."""
    figure.draw_without_rendering()
    found = _outside(figure) + _overlaps(figure)
    for axes in figure.axes:
        found += _covered(axes) + _axes(axes) + _hidden(axes)
    return found


def _ticks(axis):
    """Labels that are drawn."""
    if axis.get_visible():
        for tick in axis._update_ticks():  # those within the view
            yield from (t for t in (tick.label1, tick.label2) if t.get_visible() and t.get_text())


def _words(figure):
    """All texts that are drawn."""
    axes = [a for panel in figure.axes for a in (panel, *panel.child_axes)]
    drawn = [t for a in axes if a.get_visible() for axis in (a.xaxis, a.yaxis) for t in _ticks(axis)]
    ticked = {id(t) for a in axes for axis in (a.xaxis, a.yaxis) for t in axis.findobj(Text)}
    labels = {id(t) for a in axes for axis in (a.xaxis, a.yaxis) for t in (axis.label, axis.offsetText)}
    drawn += [t for t in figure.findobj(Text) if id(t) not in ticked or id(t) in labels]
    return [t for t in drawn if t.get_visible() and t.get_text().strip()]


def _box(text):
    """The ink of a text: its box less a pixel on each side."""
    return Text.get_window_extent(text).padded(-1)


def _outside(figure):
    paper = figure.bbox
    boxes = [(t.get_text(), _box(t)) for t in _words(figure)]
    boxes += [("legend", g.get_window_extent()) for g in _legends(figure)]
    return [
        f"outside the paper: {name!r}"
        for name, b in boxes
        if b.x0 < paper.x0 - 1 or b.y0 < paper.y0 - 1 or b.x1 > paper.x1 + 1 or b.y1 > paper.y1 + 1
    ]


def _legends(figure):
    return [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend() is not None)]


def _overlaps(figure):
    boxes = [(t.get_text(), _box(t)) for t in _words(figure)]
    return [f"{a!r} on {b!r}" for (a, one), (b, two) in combinations(boxes, 2) if _meet(one, two)]


def _meet(a, b):
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 0 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0


def _dense(path):
    """Points of a polyline in pixels, two pixels apart, inside a canvas of reasonable size."""
    path = path[np.isfinite(path).all(axis=1)]
    path = path[(np.abs(path) < 1e5).all(axis=1)]
    if len(path) < 2:
        return path
    parts = [np.linspace(a, b, max(2, int(np.hypot(*(b - a)) / 2))) for a, b in pairwise(path)]
    return np.concatenate(parts)


def _data(axes):
    """Pixels of what is drawn in a panel, pale reference lines (zorder 0) and bands aside."""
    out = []
    for line in axes.lines:
        if line.get_visible() and line.get_zorder() > 0:
            pixels = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
            out.append(_dense(pixels) if line.get_linestyle() != "None" else pixels)
    for cloud in axes.collections:
        if len(cloud.get_offsets()) > 1:
            out.append(axes.transData.transform(cloud.get_offsets()))
    for patch in axes.patches:
        box = patch.get_window_extent()
        if axes.bbox.overlaps(box) and patch.get_zorder() >= 1 and patch.get_data_transform() == axes.transData:
            out.append(np.array([[box.x1, (box.y0 + box.y1) / 2], [(box.x0 + box.x1) / 2, box.y1]]))
    points = np.concatenate(out) if out else np.empty((0, 2))
    points = points[np.isfinite(points).all(axis=1)]
    box = axes.bbox.padded(1)
    return points[(points >= box.min).all(axis=1) & (points <= box.max).all(axis=1)]


def _covered(axes):
    """Words and legends that lie on data. Legends are those of the whole figure: a twin's may lie on this panel."""
    found = []
    things = [(t.get_text(), _box(t)) for t in axes.texts if t.get_visible() and t.get_text().strip()]
    things += [("legend", g.get_window_extent()) for g in _legends(axes.figure)]
    points = _data(axes)
    for name, box in things:
        hits = int(((points > box.min) & (points < box.max)).all(axis=1).sum())
        if hits:
            found.append(f"{name!r} lies on data ({hits} points)")
    return found


def _axes(axes):
    found = []
    if not axes.get_visible() or axes.images or axes.get_label() == "<colorbar>":
        return found
    columns = axes.get_subplotspec().get_gridspec().ncols
    even = len(set(axes.get_subplotspec().get_gridspec().get_width_ratios())) == 1
    if even and axes.bbox.width < 0.4 * axes.figure.bbox.width / columns:
        found.append("a panel is squeezed by what stands beside it")
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        shown = list(_ticks(axis))
        if axis.get_scale() == "log" and axis.get_visible() and axis.get_tick_params().get("labelbottom", True):
            values = {t.get_text() for t in shown}
            if len(values) < 2 and not (name == "y" and axes.get_shared_y_axes().joined(axes, axes.figure.axes[0])):
                found.append(f"logarithmic {name} axis {axis.get_label_text()!r} has labels {sorted(values)}")
        whole = axis.get_label_text().split(" (")[0].split(",")[0].lower()
        if axis.get_scale() == "linear" and (whole in COUNTS or whole.split(" ")[0] in COUNTS):
            texts = [t.get_text() for t in shown]
            if any("." in t for t in texts):
                found.append(f"{name} axis of a count {whole!r} has labels {texts}")
        numbers = shown and all(t.get_text().replace("−", "").replace(".", "").isdigit() for t in shown)
        if name == "x" and numbers and not axis.get_label_text():
            found.append("x axis without a name")
    return found


def _hidden(axes):
    """Lines that another of the same course and no gaps lies on."""
    full = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    seen = []
    for line in full:
        key = axes.transData.transform(np.column_stack(line.get_data()).astype(float)).round(0)
        seen.append((line.get_label(), key))
    return [
        f"{a!r} is hidden under {b!r}"
        for (a, one), (b, two) in combinations(seen, 2)
        if one.shape == two.shape and np.array_equal(one, two, equal_nan=True)
    ]
