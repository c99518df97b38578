"""Circuits and canonical lists as SVG, in the page's own colours; long ones show both ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

from quprop.model import Model
from quprop.model.angle import Angle
from quprop.model.channels import PAULI_CHANNEL
from quprop.model.circuit import Circuit, Operation
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum

SHOWN = 56  # gates or rotations drawn of a long list, half of them at each end
MOST = 72  # that are drawn all
MOST_WIRES = 24
MOST_VERTICES = 40
ACROSS = 14  # columns of a line; longer circuits go on in the next one
_STEP, _GAP, _LEFT, _TOP, _BOX, _HIGH = 54, 40, 44, 8, 46, 30
_DOTS = {"cx": ("•", "⊕"), "cy": ("•", "Y"), "cz": ("•", "•"), "swap": ("×", "×"), "ccx": ("•", "•", "⊕")}
_DOTS["ccz"] = ("•", "•", "•")
_CONTROLLED = {"crx": "RX", "cry": "RY", "crz": "RZ", "cp": "P"}


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


class DrawnGate(NamedTuple):
    """Symbols by qubit ("•", "⊕", "×", or the letters of a box), what is written under the first, the full text."""

    symbols: tuple[tuple[int, str], ...]
    under: str
    full: str


def circuit_svg(circuit: Circuit) -> str:
    """The circuit as it was written, or "" if it has too many qubits to draw."""
    if circuit.n_qubits > MOST_WIRES:
        return ""
    kept = [_gate(op) for op in _ends(circuit.operations)]
    state = circuit.state
    start = state.text(circuit.n_qubits) if isinstance(state, InputState) else "amplitudes"
    label = f"Circuit of {circuit.n_qubits} qubits and {len(circuit)} gates"
    return _draw(kept, circuit.n_qubits, len(circuit), start, label)


def model_svg(model: Model) -> str:
    """The canonical list: one Pauli rotation a column at most, in order; or "" if it has too many qubits to draw."""
    if model.n_qubits > MOST_WIRES:
        return ""
    kept = []
    for m in _ends(range(model.n_rotations)):
        x, z, angle = model.rotations[m]
        text = angle.text(model.variable_name, 4)
        kept.append(_pauli(PauliString(x, z), text, f"rotation {m}: exp(-i/2 ({text}) {PauliString(x, z)})"))
    label = f"Canonical list: {model.n_rotations} Pauli rotations on {model.n_qubits} qubits"
    if model.channels:
        label += f", its {len(model.channels)} channels of noise left out"
    return _draw(kept, model.n_qubits, model.n_rotations, model.state.text(model.n_qubits), label)


def _ends(items: Sequence[Any]) -> list[Any]:
    return list(items) if len(items) <= MOST else [*items[: SHOWN // 2], *items[-(SHOWN // 2) :]]


def _pauli(string: PauliString, under: str, full: str) -> DrawnGate:
    support = [q for q in range(string.n_qubits) if (string.x | string.z) >> q & 1]
    letters = [(q, "IXZY"[(string.x >> q & 1) + 2 * (string.z >> q & 1)]) for q in support]
    return DrawnGate(tuple(letters) or ((0, "I"),), under, full)


def _gate(op: Operation) -> DrawnGate:
    angles = ", ".join(_short(a) for a in op.angles)
    if isinstance(op.target, PauliString):
        return _pauli(op.target, angles, f"{op.name}({', '.join(map(repr, op.angles))}) {op.target}")
    if isinstance(op.target, PauliSum):
        support = 0
        for string, _ in op.target.items():
            support |= string.x | string.z
        qubits = [q for q in range(support.bit_length()) if support >> q & 1]
        return DrawnGate(
            tuple((q, "exp") for q in qubits), angles, f"exp({', '.join(map(repr, op.angles))}) {op.target}"
        )
    if op.name == PAULI_CHANNEL:
        qubits = sorted({q for string in op.target for q in string.qubits})
        strings = ", ".join(map(str, op.target))
        full = f"{op.name}({', '.join(map(repr, op.angles))}) {strings}"
        return DrawnGate(tuple((q, "NOISE") for q in qubits), angles, full)
    full = f"{op.name}({', '.join(map(repr, op.angles))})" if op.angles else op.name
    full += " " + " ".join(map(str, op.target))
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


def _columns(gates: Sequence[DrawnGate]) -> list[int]:
    """Each gate in the first column in which all wires between its qubits are free."""
    free: dict[int, int] = {}
    places = []
    for gate in gates:
        qubits = [q for q, _ in gate.symbols]
        wires = range(min(qubits), max(qubits) + 1)
        place = max(free.get(q, 0) for q in wires)
        for q in wires:
            free[q] = place + 1
        places.append(place)
    return places


def _draw(gates: Sequence[DrawnGate], n: int, total: int, start: str, label: str) -> str:
    left = len(gates) < total
    half = len(gates) // 2
    if left:  # the gap is a column of its own
        first = _columns(gates[:half])
        gap = max(first, default=-1) + 1
        places = first + [gap + 1 + p for p in _columns(gates[half:])]
    else:
        places, gap = _columns(gates), -1
    columns = max([*places, gap], default=-1) + 1
    lines = max(1, -(-columns // ACROSS))
    width = _LEFT + min(columns, ACROSS) * _STEP + 10
    height = lines * (n * _GAP + 18) + _TOP
    out = [
        f'<svg class="circuit" role="img" viewBox="0 0 {width} {height}" style="max-width:{width}px;'
        f'min-width:{min(width, 560)}px" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(label)}</title><desc>{escape(f'From {start}. ' + _described(gates, total))}</desc>",
    ]
    for line in range(lines):
        top = _TOP + line * (n * _GAP + 18)
        end = _LEFT + min(columns - line * ACROSS, ACROSS) * _STEP + 4
        for q in range(n):
            wire = top + q * _GAP + 20
            out.append(f'<line class="wire" x1="{_LEFT - 6}" x2="{end}" y1="{wire}" y2="{wire}"/>')
            out.append(f'<text class="name" x="{_LEFT - 12}" y="{wire + 4}">q{q}</text>')
    if left:
        x, y = _at(gap, n)
        middle = y + n * _GAP / 2
        out.append(f'<rect class="veil" x="{x - 24}" y="{y}" width="48" height="{n * _GAP}"/>')
        out.append(f'<text class="more" x="{x}" y="{middle}">… {total - len(gates):,}</text>')
        out.append(f'<text class="more" x="{x}" y="{middle + 14}">more …</text>')
    for gate, place in zip(gates, places, strict=True):
        out += _one(gate, *_at(place, n))
    return "".join([*out, "</svg>"])


def _at(place: int, n: int) -> tuple[float, float]:
    return _LEFT + place % ACROSS * _STEP + _STEP / 2, _TOP + place // ACROSS * (n * _GAP + 18)


def _one(gate: DrawnGate, x: float, top: float) -> list[str]:
    ys = {q: top + q * _GAP + 20 for q, _ in gate.symbols}
    out = [f"<g><title>{escape(gate.full)}</title>"]
    if len(ys) > 1:
        out.append(f'<line class="link" x1="{x}" x2="{x}" y1="{min(ys.values())}" y2="{max(ys.values())}"/>')
    written = False
    for q, symbol in sorted(gate.symbols):
        y = ys[q]
        if symbol == "•":
            out.append(f'<circle class="dot" cx="{x}" cy="{y}" r="4.5"/>')
        elif symbol == "⊕":
            out.append(f'<circle class="plus" cx="{x}" cy="{y}" r="10"/>')
            out.append(f'<path class="link" d="M{x - 10} {y}h20M{x} {y - 10}v20"/>')
        elif symbol == "×":
            out.append(f'<path class="link" d="M{x - 6} {y - 6}l12 12M{x + 6} {y - 6}l-12 12"/>')
        else:
            kind = f" {symbol.lower()}" if symbol in ("X", "Y", "Z") else ""
            under = "" if written or not gate.under else _cut(gate.under)
            written = True
            out.append(
                f'<rect class="box{kind}" x="{x - _BOX / 2}" y="{y - _HIGH / 2}" '
                f'width="{_BOX}" height="{_HIGH}" rx="4"/>'
            )
            out.append(f'<text class="letter" x="{x}" y="{y - 1 if under else y + 5}">{escape(symbol[:5])}</text>')
            if under:
                out.append(f'<text class="under" x="{x}" y="{y + 11}">{escape(under)}</text>')
    out.append("</g>")
    return out


def _cut(text: str) -> str:
    """What a box has room for; its title says all."""
    text = text.replace("theta[", "θ[").replace(" ", "")
    return text if len(text) <= 9 else text[:8] + "…"


def _described(gates: Sequence[DrawnGate], total: int) -> str:
    first = "; ".join(g.full for g in gates[:8])
    return first + (f"; and {total - 8:,} more, listed in the table below" if total > 8 else "")
