"""What a computation costs, in the units it is paid in. Seconds come only from a `HardwareModel`.

A `Cost` counts parameterised rotations; a machine runs two-qubit gates. Unless its entry says otherwise a rotation is
taken as two two-qubit gates and one one-qubit gate one after the other (a rotation about a string of two letters),
with no compilation, error mitigation or queue. The numbers are of one machine at one time: orders of magnitude.
"""

from __future__ import annotations

import math
import os
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from quprop.errors import QupropError, nearest
from quprop.files import read_toml


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


PRESETS: dict[str, HardwareModel] = {
    "figure2": HardwareModel(
        "figure2",
        rotation_seconds=1e-3,  # 100 operations (n >= 100 qubits) of 10 us
        source=(
            "Abbas et al., NeurIPS 2023, arXiv:2305.13362, figure 2: an operation takes 10 us, a primitive on n >= 100 "
            "qubits 100 of them, T_q = 1 ms a parameterised rotation; readout and reset free"
        ),
    ),
    "superconducting": HardwareModel(
        "superconducting",
        rotation_seconds=2 * 68e-9 + 32e-9,
        measurement_seconds=1.5e-6,
        overhead_seconds=250e-6,
        qubits=156,
        source=(
            "IBM Heron, values of IBM Quantum's system pages in 2024-25: CZ about 68 ns, one-qubit gate about 32 ns, "
            "readout about 1.5 us, repetition delay 250 us (the default rep_delay); control electronics' loading left "
            "out"
        ),
    ),
    "trapped_ion": HardwareModel(
        "trapped_ion",
        rotation_seconds=2 * 600e-6 + 135e-6,
        measurement_seconds=300e-6,
        overhead_seconds=20e-6,
        qubits=25,
        source=(
            "IonQ Aria, vendor's documentation (also Amazon Braket's device page), 2023: two-qubit gate 600 us, "
            "one-qubit gate 135 us, readout 300 us, reset 20 us; gates one after the other; cooling between runs left "
            "out"
        ),
    ),
    "neutral_atom": HardwareModel(
        "neutral_atom",
        rotation_seconds=2 * (200e-6 + 0.2e-6) + 2e-6,
        measurement_seconds=10e-3,
        overhead_seconds=0.2,
        qubits=256,
        source=(
            "orders of magnitude: CZ about 0.2 us (Evered et al., Nature 622, 268 (2023), arXiv:2304.05420), moving "
            "atoms about 200 us before each (Bluvstein et al., Nature 604, 451 (2022), arXiv:2112.03923), imaging "
            "about 10 ms, loading and sorting about 0.2 s a run (some shots a second on QuEra's Aquila, "
            "arXiv:2306.11727)"
        ),
    ),
    "fault_tolerant": HardwareModel(
        "fault_tolerant",
        rotation_seconds=40 * 170e-6,  # 3 log2(1/e) T gates for e = 1e-4
        measurement_seconds=1e-6,
        source=(
            "surface code at 1 us a cycle: 170 us a Toffoli from one factory (Babbush et al., PRX Quantum 2, 010103 "
            "(2021), arXiv:2011.04149), a T gate taken to last as long; a rotation to 1e-4 is 3 log2(1e4) = 40 T gates "
            "(Ross, Selinger, arXiv:1403.2975)"
        ),
    ),
}


def hardware(name: str | os.PathLike[str] | HardwareModel) -> HardwareModel:
    """A machine: a `HardwareModel` as it is, one of `PRESETS` by name, or a TOML file with its fields:

    name = "ours"
    rotation_seconds = 2e-6
    measurement_seconds = 5e-6    # 0 if left out, as are overhead_seconds; parallel = 1; qubits: no limit
    source = "our lab, May 2026"
    """
    if isinstance(name, HardwareModel):
        return name
    text = os.fspath(name)
    if text in PRESETS:
        return PRESETS[text]
    if text.endswith(".toml") or Path(text).is_file():
        return _read(Path(text))
    raise QupropError(f"unknown hardware {text!r}: {nearest(text, PRESETS)} (or give a file ending in .toml)")


def _read(path: Path) -> HardwareModel:
    try:
        table = read_toml(path)
    except FileNotFoundError:
        raise QupropError(
            f"there is no file {path}: give an existing TOML file or one of {', '.join(PRESETS)}"
        ) from None
    except OSError as error:
        raise QupropError(f"{path} cannot be read ({error.strerror}): give a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise QupropError(f"{path} is not valid TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None
    known = {f.name for f in fields(HardwareModel)}
    for key, value in table.items():
        if key not in known:
            raise QupropError(f"unknown key {key!r} in {path}: {nearest(key, known)}")
        _check(path, key, value)
    if "rotation_seconds" not in table:
        raise QupropError(f"{path} must say rotation_seconds, the seconds one Pauli rotation takes; add it")
    return HardwareModel(**{"name": path.stem, **table})


def _check(path: Path, key: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if key in ("name", "source"):
        if not isinstance(value, str):
            raise QupropError(f"{key} in {path} must be a text, got {value!r}")
    elif key in ("parallel", "qubits"):
        if not (number and isinstance(value, int) and value >= 1):
            raise QupropError(f"{key} in {path} must be a whole number, 1 or more, got {value!r}")
    elif not (number and value >= 0):
        raise QupropError(f"{key} in {path} must be a number of seconds, 0 or more, got {value!r}")


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


def _three_digits(number: float) -> str:
    if number >= 9_999.5:
        return f"{number:.2g}"
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.3g}"
