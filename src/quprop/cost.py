"""What a computation costs, in the units it is paid in. Seconds come only from a machine (`hardware_models.py`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from quprop.errors import QupropError, count_of
from quprop.tables import html, narrow_table

TOFFOLI_ROTATIONS = 3  # six two-qubit gates; a rotation is two


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts of what was (or would be) executed; they add up, scale, and have a zero, `Cost()`.

    copies          copies of the input state |phi> consumed
    rotations       parameterised rotations executed on quantum hardware, the unit of Abbas et al. (arXiv:2305.13362,
                    section 2: one per rotation and run); Clifford gates cost nothing
    measurements    runs that end in a measurement ("shots"; one shot may read many commuting observables)
    depth           rotations and Toffolis one after another in the longest run
    qubits          qubits held at once
    classical_ops   multiply-adds of the classical part
    classical_bytes bytes the classical part holds at once
    toffolis        Toffoli gates executed on quantum hardware: what counts and adds bits of held copies; how they are
                    undone, Cliffords and measurements in the middle of a run, is in their price

    The first three, `classical_ops` and `toffolis` add; `depth`, `qubits` and `classical_bytes` are held, not spent: a
    sum has the larger of both. Scaling by a count repeats: what is spent is multiplied, what is held stays.

    Raises: QupropError where it is multiplied by what is no whole number from 0.

    >>> qpr.Cost(copies=10, rotations=50, qubits=3) + 2 * qpr.Cost(copies=1, rotations=5, qubits=4)
    Cost(copies=12, rotations=60, measurements=0, depth=0, qubits=4, classical_ops=0, classical_bytes=0, toffolis=0)
    """

    copies: int = 0
    rotations: int = 0
    measurements: int = 0
    depth: int = 0
    qubits: int = 0
    classical_ops: int = 0
    classical_bytes: int = 0
    toffolis: int = 0

    HELD: ClassVar[frozenset[str]] = frozenset({"depth", "qubits", "classical_bytes"})

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            **{
                f.name: (max if f.name in self.HELD else _add)(getattr(self, f.name), getattr(other, f.name))
                for f in fields(self)
            }
        )

    def __radd__(self, other: Any) -> Cost:
        return self if other == 0 else NotImplemented  # so that sum(costs) works

    def __mul__(self, times: int) -> Cost:
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            raise QupropError(f"a cost is repeated a whole number of times, 0 or more, got {times!r}")
        if times == 0:
            return Cost()
        return replace(self, **{f.name: times * getattr(self, f.name) for f in fields(self) if f.name not in self.HELD})

    __rmul__ = __mul__

    @property
    def gates(self) -> int:
        """Rotations and Toffolis."""
        return self.rotations + self.toffolis

    def as_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __str__(self) -> str:
        def counted(number: int, noun: str) -> str:
            return count_of(number, noun, short(number))

        parts = [
            counted(self.copies, "copy"),
            counted(self.measurements, "run"),
            counted(self.rotations, "rotation"),
            *([counted(self.toffolis, "Toffoli")] if self.toffolis else []),
            f"depth {short(self.depth)}",
            counted(self.qubits, "qubit"),
        ]
        if self.classical_ops:
            parts.append(counted(self.classical_ops, "classical multiply-add"))
        if self.classical_bytes:
            parts.append(f"{short_bytes(self.classical_bytes)} of classical memory")
        return ", ".join(parts)

    def _repr_html_(self) -> str:
        table = narrow_table("", "count", first="what")
        for name, count in self.as_dict().items():
            if count or name not in ("toffolis", "classical_ops", "classical_bytes"):
                size = short_bytes(count) if name == "classical_bytes" else f"{count:,}"
                table.add_row(name.replace("_", " "), size)
        return html([table])


def _add(a: int, b: int) -> int:
    return a + b


def short(count: float) -> str:
    """A count with four digits at most: 9,999 or 1.23e+05."""
    if isinstance(count, int) and count > 10**300:
        return "> 1e300"  # beyond most floats
    return f"{count:,.0f}" if count < 10_000 else f"{count:.3g}"


def short_bytes(size: float) -> str:
    """Bytes in the largest binary unit that leaves a number from 1."""
    step = 0 if size < 1 else min(5, int(math.log(size, 1024)))
    return f"{size / 1024**step:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[step]}"


_UNITS = (
    (365.25 * 86400, "years"),
    (86400, "days"),
    (3600, "h"),
    (60, "min"),
    (1.0, "s"),
    (1e-3, "ms"),
    (1e-6, "µs"),
    (1e-9, "ns"),
)


def human_seconds(seconds: float) -> str:
    """A time in the largest of years, days, h, min, s, ms, µs, ns that leaves a number from 1: "27.8 h", "3.2 years".

    Days and hours overlap on purpose: hours are kept up to 48.
    """
    if seconds == 0:
        return "0 s"
    for size, unit in _UNITS:
        if seconds >= size * (2 if unit == "days" else 1):
            number = seconds / size
            break
    else:
        number, unit = seconds / 1e-9, "ns"
    return f"{_three_digits(number)} {unit}"


def fidelity_text(fidelity: float | None) -> str:
    """Two digits, down to where nothing is left."""
    if fidelity is None:
        return "-"
    return f"{fidelity:.2g}".replace("e-0", "e-") if fidelity >= 1e-9 else "<1e-9"


def _three_digits(number: float) -> str:
    if number >= 9_999.5:
        return f"{number:.2g}"
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"
