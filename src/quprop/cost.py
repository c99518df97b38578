"""What a computation costs, in the units it is paid in. Seconds come only from a `HardwareModel`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from quprop.errors import QupropError


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts of what was (or would be) executed; they add up, scale, and have a zero, `Cost()`.

    copies          copies of the input state |phi> consumed
    rotations       parameterised rotations executed on quantum hardware, the unit of Abbas et al. (arXiv:2305.13362,
                    section 2: one per rotation and run); Clifford gates cost nothing
    measurements    runs that end in a measurement ("shots"; one shot may read many commuting observables)
    depth           rotations one after another in the longest run
    qubits          qubits held at once
    classical_ops   multiply-adds of the classical part
    classical_bytes bytes the classical part holds at once

    The first three and `classical_ops` add; `depth`, `qubits` and `classical_bytes` are held, not spent: a sum has the
    larger of both. Scaling by a count repeats: what is spent is multiplied, what is held stays.
    """

    copies: int = 0
    rotations: int = 0
    measurements: int = 0
    depth: int = 0
    qubits: int = 0
    classical_ops: int = 0
    classical_bytes: int = 0

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

    def as_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __str__(self) -> str:
        parts = [
            f"{short(self.copies)} copies",
            f"{short(self.measurements)} runs",
            f"{short(self.rotations)} rotations",
            f"depth {short(self.depth)}",
            f"{short(self.qubits)} qubits",
        ]
        if self.classical_ops:
            parts.append(f"{short(self.classical_ops)} classical multiply-adds")
        if self.classical_bytes:
            parts.append(f"{short_bytes(self.classical_bytes)} of classical memory")
        return ", ".join(parts)


def _add(a: int, b: int) -> int:
    return a + b


def short(count: float) -> str:
    """A count with four digits at most: 9,999 or 1.23e+05."""
    return f"{count:,.0f}" if count < 10_000 else f"{count:.3g}"


def short_bytes(size: float) -> str:
    """Bytes in the largest binary unit that leaves a number from 1."""
    step = 0 if size < 1 else min(5, int(math.log(size, 1024)))
    return f"{size / 1024**step:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[step]}"


@dataclass(frozen=True, slots=True)
class HardwareModel:
    """A machine that turns a `Cost` into seconds.

    seconds = (rotations * rotation_seconds + measurements * (measurement_seconds + overhead_seconds)) / parallel

    rotation_seconds: one Pauli rotation with the Clifford gates around it; measurement_seconds: one readout;
    overhead_seconds: what every run pays besides (reset, loading, control); parallel: runs at the same time;
    qubits: how many it has (None: as many as asked); source: where the numbers are from.
    """

    name: str
    rotation_seconds: float
    measurement_seconds: float = 0.0
    overhead_seconds: float = 0.0
    parallel: int = 1
    qubits: int | None = None
    source: str = ""

    def seconds(self, cost: Cost) -> float:
        per_run = self.measurement_seconds + self.overhead_seconds
        try:
            total = (cost.rotations * self.rotation_seconds + cost.measurements * per_run) / self.parallel
        except OverflowError:  # a count beyond the largest float
            total = math.inf
        if not math.isfinite(total):
            raise QupropError(f"the time of these runs on {self.name} is beyond any number; lower its seconds")
        return total
