"""Circuits and canonical lists drawn: with box-drawing characters, and as SVG in the colours of the page it stands on.

Each gate stands in the first column in which all wires between its qubits are free. Long circuits go on in further
lines; of very long ones both ends are drawn, of very wide ones the first and the last qubits, and a sentence says how
much is left out.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

from quprop.errors import QupropError, whole
from quprop.model.angle import Angle
from quprop.model.channels import PAULI_CHANNEL
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum

if TYPE_CHECKING:
    from quprop.model.circuit import Circuit, Operation
    from quprop.model.model import Model

MOST = 72  # gates or rotations that are drawn all
SHOWN = 56  # of a longer list, half of them at each end
MOST_WIRES = 24
ACROSS = 14 * 54  # how wide a line of an SVG is; longer circuits go on in the next one
_STEP, _GAP, _LEFT, _TOP, _BOX, _HIGH, _LINE = 8, 40, 44, 8, 46, 30, 18
_LETTER, _SMALL = 7.4, 4.9  # widths of a letter of a symbol and of what stands under it
_LONGEST = 22  # letters under a symbol
_DOTS = {"cx": ("•", "⊕"), "cy": ("•", "Y"), "cz": ("•", "•"), "swap": ("×", "×"), "ccx": ("•", "•", "⊕")}
_DOTS["ccz"] = ("•", "•", "•")
_CONTROLLED = {"crx": "RX", "cry": "RY", "crz": "RZ", "cp": "P"}
_SIGNS = ("•", "⊕", "×", "⋮")
_COLOURS = {"X": "#0072B2", "Y": "#D55E00", "Z": "#009E73"}  # of borders, on light and on dark pages


class DrawnGate(NamedTuple):
    """Symbols by wire ("•", "⊕", "×", or the letters of a box), what is written with the first, the full text."""

    symbols: tuple[tuple[int, str], ...]
    under: str
    full: str
    noise: bool = False

    @property
    def wires(self) -> range:
        places = [wire for wire, _ in self.symbols]
        return range(min(places), max(places) + 1)

    @property
    def is_box(self) -> bool:
        """Whether it is one box over all its wires: a Pauli string, a sum, noise of several qubits."""
        return len(self.symbols) > 1 and not any(s in _SIGNS[:3] for _, s in self.symbols)


class CircuitDrawing:
    """What `draw` returns: printed it is text, in a notebook SVG. form "text" or "svg": that one in both places."""

    def __init__(self, text: str, svg: str, form: str | None) -> None:
        if form not in (None, "text", "svg"):
            raise QupropError(f"a circuit is drawn as 'text' or 'svg', got {form!r}")
        self.text, self.svg, self._form = text, svg, form

    def __str__(self) -> str:
        return self.svg if self._form == "svg" else self.text

    __repr__ = __str__

    def _repr_html_(self) -> str | None:
        return None if self._form == "text" else self.svg


class Drawable:
    """Mixed into what can be drawn."""

    def _to_draw(self) -> tuple[Iterable[DrawnGate], int, str, str]:
        """The gates, the number of qubits, the input state in words, a title."""
        raise NotImplementedError

    def draw(
        self, form: str | None = None, *, width: int = 80, most_gates: int = MOST, most_qubits: int = MOST_WIRES
    ) -> CircuitDrawing:
        """The gates on their wires: `print(circuit.draw())` is text; in a notebook `circuit.draw()` is SVG.

            q0: ─┤RY(θ[0])├──●──
                             │
            q1: ─────────────⊕──

        ● controls, ⊕ is a controlled X, × a swap; a box of letters over several wires is the rotation exp(-i angle P/2)
        about their product, ┼ a wire that a gate passes; noise stands between double lines. Long angles are cut.

        form: "text" or "svg", if one of them is wanted everywhere: `file.write(str(circuit.draw("svg")))`.
        width: letters of a line of text, 20 or more. most_gates, most_qubits: of more, both ends are drawn, and a
        sentence says how many are left out.
        """
        least = (("width", width, 20), ("most_gates", most_gates, 2), ("most_qubits", most_qubits, 2))
        width, most_gates, most_qubits = (whole(name, value, bound) for name, value, bound in least)
        gates, n, start, title = self._to_draw()
        layout = _layout(gates, n, most_gates, most_qubits)
        return CircuitDrawing(_text(layout, start, width), _svg(layout, start, title), form)

    def _repr_html_(self) -> str:
        """What it is in a line, its drawing, the observables if it has any."""
        head, *_ = str(self).split("\n", 1)
        _, mark, observables = str(self).partition("\n  O[")
        below = f"<pre>{escape(mark[3:] + observables)}</pre>" if mark else ""
        return f'<div class="quprop"><p>{escape(head)}</p>{self.draw().svg}{below}</div>'


# -- gates ------------------------------------------------------------------------------------------------------------


def circuit_gates(circuit: Circuit) -> tuple[Iterable[DrawnGate], int, str, str]:
    """The circuit as it was written."""
    state = circuit.state
    start = state.text(circuit.n_qubits) if isinstance(state, InputState) else "amplitudes"
    label = f"Circuit of {_count(circuit.n_qubits, 'qubit')} and {_count(len(circuit), 'gate')}"
    return map(_gate, circuit._each()), circuit.n_qubits, start, label


def model_gates(model: Model) -> tuple[Iterable[DrawnGate], int, str, str]:
    """The canonical list, a Pauli rotation each; channels are not drawn."""

    def drawn(m: int) -> DrawnGate:
        x, z, angle = model.rotations[m]
        string, text = PauliString(x, z), angle.text(model.variable_name, 4)
        return _pauli(string, text, f"rotation {m}: exp(-i/2 ({text}) {string})")

    label = f"Canonical list: {model.n_rotations} Pauli rotations on {_count(model.n_qubits, 'qubit')}"
    if model.channels:
        label += f", its {len(model.channels)} channels of noise left out"
    return map(drawn, range(model.n_rotations)), model.n_qubits, model.state.text(model.n_qubits), label


def circuit_svg(circuit: Circuit) -> str:
    """As a report draws it, or "" if it has too many qubits."""
    return "" if circuit.n_qubits > MOST_WIRES else circuit.draw().svg


def model_svg(model: Model) -> str:
    """As a report draws it, or "" if it has too many qubits."""
    return "" if model.n_qubits > MOST_WIRES else model.draw().svg


def _pauli(string: PauliString, under: str, full: str) -> DrawnGate:
    letters = [(q, "IXZY"[(string.x >> q & 1) + 2 * (string.z >> q & 1)]) for q in string.qubits]
    return DrawnGate(tuple(letters) or ((0, "I"),), _nice(under), full)


def _gate(op: Operation) -> DrawnGate:
    angles = _nice(", ".join(_short(a) for a in op.angles))
    exact = f"{op.name}({', '.join(map(repr, op.angles))})" if op.angles else op.name
    if isinstance(op.target, PauliString):
        return _pauli(op.target, angles, f"{exact} {op.target}")
    if isinstance(op.target, PauliSum):
        support = sorted({q for string, _ in op.target.items() for q in string.qubits})
        return DrawnGate(tuple((q, "exp") for q in support) or ((0, "exp"),), angles, f"{exact} {op.target}")
    if op.name == PAULI_CHANNEL:
        support = sorted({q for string in op.target for q in string.qubits})
        full = f"{exact} {', '.join(map(str, op.target))}"
        return DrawnGate(tuple((q, op.name) for q in support), angles, full, True)
    full = f"{exact} {' '.join(map(str, op.target))}"
    if op.is_channel:
        return DrawnGate(tuple((q, op.name) for q in op.target), angles, full, True)
    if op.name in _DOTS:
        symbols: Iterable[str] = _DOTS[op.name]
    elif op.name in _CONTROLLED:
        symbols = ("•", _CONTROLLED[op.name])
    elif op.name in ("rxx", "ryy", "rzz", "rzx"):
        symbols = op.name[1:].upper()
    else:
        symbols = [op.name.upper()] * len(op.target)
    return DrawnGate(tuple(zip(op.target, symbols, strict=True)), angles, full)


def _short(angle: Angle) -> str:
    return angle.text(lambda v: f"{v[2]}[{v[1]}]" if len(v) > 2 else f"{'x' if v[0] else 'theta'}[{v[1]}]", 4)


def _nice(angles: str) -> str:
    return re.sub(r"\btheta\b", "θ", angles).replace(" ", "").replace(",", ", ")


def _cut(text: str) -> str:
    """What a box has room for; the title of an SVG's gate says all."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


# -- where they stand -------------------------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """names: of the wires that are drawn, "⋮" for those between that are not; gates: on these wires; places: their
    columns; gap: the column that stands for `skipped` gates, or -1; left_out: sentences."""

    names: list[str]
    gates: list[DrawnGate]
    places: list[int]
    gap: int
    skipped: int
    left_out: list[str]

    @property
    def columns(self) -> int:
        return max([*self.places, self.gap], default=-1) + 1


def _layout(gates: Iterable[DrawnGate], n: int, most_gates: int, most_qubits: int) -> _Layout:
    names, left_out = [f"q{q}" for q in range(n)], []
    hidden = 0
    if n > most_qubits:
        top, bottom = -(-most_qubits // 2), most_qubits // 2
        names = [*names[:top], "⋮", *names[n - bottom :]]

        def row(q: int) -> int:
            return q if q < top else q - (n - most_qubits) + 1 if q >= n - bottom else top

        def moved() -> Iterator[DrawnGate]:
            nonlocal hidden
            for gate in gates:
                if all(top <= q < n - bottom for q, _ in gate.symbols):
                    hidden += 1
                    continue
                symbols = {row(q): "⋮" if row(q) == top else s for q, s in gate.symbols}
                yield gate._replace(symbols=tuple(symbols.items()))

        first, last, total = _ends(moved(), most_gates)
        text = f"Left out: qubits {top} to {n - bottom - 1}"
        left_out.append(text + (f" and {_count(hidden, 'gate')} on them alone." if hidden else "."))
    else:
        first, last, total = _ends(gates, most_gates)
    skipped = total - len(first) - len(last)
    places, gap = _columns(first + last), -1
    if skipped:
        places = _columns(first)
        gap = max(places, default=-1) + 1
        places += [gap + 1 + p for p in _columns(last)]
        among = f"the other {total:,}" if hidden else f"{total:,}"
        left_out.append(f"Left out: {_count(skipped, 'gate')} in the middle of {among}.")
    return _Layout(names, first + last, places, gap, skipped, left_out)


def _ends(gates: Iterable[DrawnGate], most: int) -> tuple[list[DrawnGate], list[DrawnGate], int]:
    """The first and the last gates, and how many there are; all of them are first if they are few."""
    half = max(1, SHOWN * most // MOST // 2)
    rest = iter(gates)
    first = list(islice(rest, most + 1))
    if len(first) <= most:
        return first, [], len(first)
    total, last = len(first), deque(first[half:], half)
    for gate in rest:
        last.append(gate)
        total += 1
    return first[:half], list(last), total


def _columns(gates: Sequence[DrawnGate]) -> list[int]:
    """Each gate in the first column in which all wires between its qubits are free."""
    free: dict[int, int] = {}
    places = []
    for gate in gates:
        place = max(free.get(wire, 0) for wire in gate.wires)
        free |= dict.fromkeys(gate.wires, place + 1)
        places.append(place)
    return places


def _lines(widths: Sequence[float], room: float) -> list[range]:
    """Columns that go on one line each."""
    lines, start, used = [], 0, 0.0
    for column, width in enumerate(widths):
        if column > start and used + width > room:
            lines.append(range(start, column))
            start, used = column, 0.0
        used += width
    return [*lines, range(start, len(widths))]


# -- text -------------------------------------------------------------------------------------------------------------


def _text(layout: _Layout, start: str, width: int) -> str:
    named = max(map(len, layout.names)) + 2
    room = max(width - named - 1, 8)
    labels = [_labels(gate, room - 4) for gate in layout.gates]
    widths = [3] * max(layout.columns, 1)
    for label, place in zip(labels, layout.places, strict=True):
        widths[place] = max(widths[place], max(map(len, label.values())) + 2)
    blocks = []
    for columns in _lines(widths, room):
        starts, at = {}, named
        for c in columns:
            starts[c], at = at, at + widths[c]
        canvas = [
            list(line)
            for name in layout.names
            for line in (
                "...".ljust(at + 1) if name == "⋮" else f"{name}: ".ljust(named) + "─" * (at - named + 1),
                " " * (at + 1),
            )
        ][:-1]
        if layout.gap in columns:
            for wire in range(len(layout.names)):
                canvas[2 * wire][starts[layout.gap] + 1] = "…"
        for gate, label, place in zip(layout.gates, labels, layout.places, strict=True):
            if place in columns:
                _put(canvas, gate, label, starts[place], widths[place])
        blocks.append("\n".join("".join(row).rstrip() for row in canvas))
    begin = [] if set(start) <= set("|0>") else [f"from {start}"]
    return "\n\n".join(["\n".join([*begin, blocks[0]]), *blocks[1:], *layout.left_out])


def _labels(gate: DrawnGate, longest: int) -> dict[int, str]:
    """What stands on each wire, boxes with their walls."""
    left, right = "╡╞" if gate.noise else "┤├"
    labels, told = {}, False
    for wire, symbol in sorted(gate.symbols):
        label = {"•": "●", "⋮": "┊"}.get(symbol, symbol)
        if symbol not in _SIGNS:
            if gate.under and not told:
                single = len(gate.symbols) == 1 and symbol in "XYZ"
                label += f" {gate.under}" if gate.is_box and len(symbol) == 1 else f"({gate.under})"
                label, told = "R" * single + label, True
            label = left + (label if len(label) <= longest else label[: longest - 1] + "…") + right
        labels[wire] = label
    if gate.is_box:  # of one width
        most = max(map(len, labels.values())) - 2
        labels = {w: left + (s if s == "┊" else s[1:-1]).ljust(most) + right for w, s in labels.items()}
    return labels


def _put(canvas: list[list[str]], gate: DrawnGate, labels: dict[int, str], start: int, width: int) -> None:
    widest = max(map(len, labels.values()))
    walls = (start + (width - widest) // 2, start + (width - widest) // 2 + widest - 1)
    centre = start + (width - 1) // 2
    link = walls if gate.is_box else (centre,)
    for row in range(2 * gate.wires.start, 2 * gate.wires.stop - 1):
        for column in link:
            canvas[row][column] = "┼" if canvas[row][column] == "─" else "│"
    for wire, label in labels.items():
        left = start + (width - len(label)) // 2 if len(label) > 1 else centre
        canvas[2 * wire][left : left + len(label)] = label


# -- SVG --------------------------------------------------------------------------------------------------------------


def _svg(layout: _Layout, start: str, title: str) -> str:
    n, columns = len(layout.names), layout.columns
    widths = [30.0] * max(columns, 1)
    for gate, place in zip(layout.gates, layout.places, strict=True):
        widths[place] = max(widths[place], _width(gate) + _STEP)
    if layout.gap >= 0:
        widths[layout.gap] = 54.0
    lines = _lines(widths, ACROSS)
    long = max(sum(widths[c] for c in line) for line in lines)
    width = round(_LEFT + long + 10)
    height = len(lines) * (n * _GAP + _LINE) + _TOP + 14 * len(layout.left_out)
    centres: dict[int, tuple[float, float]] = {}
    for k, line in enumerate(lines):
        at = float(_LEFT)
        for c in line:
            centres[c] = (round(at + widths[c] / 2, 1), _TOP + k * (n * _GAP + _LINE))
            at += widths[c]
    total = len(layout.gates) + layout.skipped
    out = [
        f'<svg class="circuit" role="img" viewBox="0 0 {width} {height}" style="width:100%;max-width:{width}px;'
        f'min-width:{min(width, 560)}px" xmlns="http://www.w3.org/2000/svg" font-size="12" fill="currentColor" '
        'font-family="ui-monospace, DejaVu Sans Mono, monospace">',
        f"<title>{escape(title)}</title><desc>{escape(f'From {start}. ' + _described(layout.gates, total))}</desc>",
    ]
    boxes: dict[tuple[int, int], list[tuple[float, float]]] = {}  # what wires leave out, by line and wire
    drawn: list[str] = []
    line_of = {c: k for k, line in enumerate(lines) for c in line}
    for gate, place in zip(layout.gates, layout.places, strict=True):
        x, top = centres[place]
        drawn += _one(gate, x, top)
        for wire, symbol in gate.symbols:
            if symbol not in _SIGNS:
                half = _width(gate) / 2
                boxes.setdefault((line_of[place], wire), []).append((x - half, x + half))
    if layout.gap >= 0:
        x, top = centres[layout.gap]
        middle = top + n * _GAP / 2
        drawn.append(
            _words("more", x, middle, f"… {layout.skipped:,}", 10) + _words("more", x, middle + 14, "more …", 10)
        )
        for wire in range(n):
            boxes.setdefault((line_of[layout.gap], wire), []).append((x - 24, x + 24))
    for k, line in enumerate(lines):
        end = _LEFT + sum(widths[c] for c in line) + 4
        for wire, name in enumerate(layout.names):
            y = _TOP + k * (n * _GAP + _LINE) + wire * _GAP + 20
            out.append(_words("name", _LEFT - 12, y + 4, name, 12, "end"))
            if name == "⋮":
                continue
            at = _LEFT - 6.0
            for a, b in [*sorted(boxes.get((k, wire), [])), (end, end)]:
                if a > at:
                    out.append(
                        f'<line class="wire" x1="{at:g}" x2="{a:g}" y1="{y}" y2="{y}" stroke="currentColor" '
                        'stroke-opacity="0.6"/>'
                    )
                at = max(at, b)
    below = height - 14 * len(layout.left_out) + 4
    said = [_words("said", _LEFT - 6, below + 14 * k, text, 10, "start") for k, text in enumerate(layout.left_out)]
    return "".join([*out, *drawn, *said, "</svg>"])


def _width(gate: DrawnGate) -> float:
    if all(s in _SIGNS for _, s in gate.symbols):
        return 24.0
    longest = max(len(s) for _, s in gate.symbols if s not in _SIGNS)
    return max(_BOX, _LETTER * longest + 10, _SMALL * len(_cut(gate.under)) + 10)


def _words(kind: str, x: float, y: float, text: str, size: int, anchor: str = "middle") -> str:
    heavy = ' font-weight="600"' if kind == "letter" else ""
    look = f'font-size="{size}" text-anchor="{anchor}"{heavy}'
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" {look}>{escape(text)}</text>'


def _one(gate: DrawnGate, x: float, top: float) -> list[str]:
    ys = {wire: top + wire * _GAP + 20 for wire, _ in gate.symbols}
    stroke = 'stroke="currentColor" stroke-width="1.6" fill="none"'
    out = [f"<g><title>{escape(gate.full)}</title>"]
    half = _width(gate) / 2
    wires = sorted(ys)
    for a, b in pairwise(wires):
        ends = [ys[w] + (0 if dict(gate.symbols)[w] in _SIGNS else side * _HIGH / 2) for w, side in ((a, 1), (b, -1))]
        out.append(f'<line class="link" x1="{x:g}" x2="{x:g}" y1="{ends[0]:g}" y2="{ends[1]:g}" {stroke}/>')
    written = False
    for wire, symbol in sorted(gate.symbols):
        y = ys[wire]
        if symbol == "•":
            out.append(f'<circle class="dot" cx="{x:g}" cy="{y:g}" r="4.5"/>')
        elif symbol == "⊕":
            out.append(f'<circle class="plus" cx="{x:g}" cy="{y:g}" r="10" {stroke}/>')
            out.append(f'<path class="link" d="M{x - 10:g} {y:g}h20M{x:g} {y - 10:g}v20" {stroke}/>')
        elif symbol == "×":
            out.append(f'<path class="link" d="M{x - 6:g} {y - 6:g}l12 12M{x + 6:g} {y - 6:g}l-12 12" {stroke}/>')
        elif symbol != "⋮":
            kind = f" {symbol.lower()}" if symbol in _COLOURS else ""
            under = "" if written or not gate.under else _cut(gate.under)
            written = True
            dashes = ' stroke-dasharray="4 3"' if gate.noise else ""
            out.append(
                f'<rect class="box{kind}" x="{x - half:g}" y="{y - _HIGH / 2:g}" width="{2 * half:g}" height="{_HIGH}" '
                f'rx="4" fill="none" stroke="{_COLOURS.get(symbol, "currentColor")}" stroke-width="1.4"{dashes}/>'
            )
            out.append(_words("letter", x, y - 1 if under else y + 5, symbol, 12))
            if under:
                out.append(_words("under", x, y + 11, under, 8))
    return [*out, "</g>"]


def _described(gates: Sequence[DrawnGate], total: int) -> str:
    first = "; ".join(g.full for g in gates[:8])
    return first + (f"; and {total - 8:,} more" if total > 8 else "")
