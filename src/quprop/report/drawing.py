"""A graph in two parts, as SVG: the cut of a MaxCut run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

MOST_VERTICES = 40


def graph_svg(names: Sequence[str], edges: Iterable[tuple[int, int, float]], one: set[str]) -> str:
    """A graph with the vertices of `one` on the left arc, all others on the right; edges between the two are full."""
    sides = [[k for k, name in enumerate(names) if (name in one) is left] for left in (True, False)]
    high = 30.0 * max(3, *map(len, sides))
    place = {}
    for members, sign in zip(sides, (-1, 1), strict=True):
        for row, k in enumerate(members):
            y = (row + 0.5) / len(members)
            place[k] = (320 + sign * (70 + 90 * math.sin(math.pi * y)), 10 + high * y)
    parts = []
    for a, b, weight in edges:
        (x1, y1), (x2, y2) = place[a], place[b]
        kind = "cut" if (names[a] in one) != (names[b] in one) else "kept"
        line = f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}">'
        parts.append(f"{line}<title>{escape(f'{names[a]} {names[b]}, weight {weight:g}')}</title></line>")
    for k, (x, y) in place.items():
        left = names[k] in one
        anchor, at = ("end", x - 9) if left else ("start", x + 9)
        parts.append(f'<circle class="{"one" if left else "other"}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
        parts.append(f'<text x="{at:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{escape(names[k])}</text>')
    label = f"A graph of {len(names)} vertices in two parts"
    size = f'viewBox="0 0 640 {high + 20:.0f}" role="img" aria-label="{label}"'
    return f'<svg class="graph" {size}>{"".join(parts)}</svg>'
