"""Machines: what turns the counts of a `Cost` into seconds, and their errors.

A `Cost` counts parameterised rotations and Toffolis; a machine runs two-qubit gates. Unless its entry says otherwise a
rotation is taken as two two-qubit gates and one one-qubit gate one after the other (a rotation about a string of two
letters), and a Toffoli as three rotations, with no compilation, error mitigation or queue. The numbers are of one
machine at one time: orders of magnitude.
"""

from __future__ import annotations

import math
import numbers
import os
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from quprop.cost import TOFFOLI_ROTATIONS, Cost, human_seconds
from quprop.errors import QupropError, count_of, nearest
from quprop.files import read_toml


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """The errors of a machine, for `circuit.with_noise(noise)`, which is `noise.apply(circuit)`.

    one_qubit, two_qubit: the probability p that a gate is followed by an error, one of the 3 or 15 Pauli strings on its
        qubits at random (the depolarising channel). Randomised benchmarking reports the average infidelity r of a gate:
        p = 3/2 r for one qubit, 5/4 r for two.
    readout: the probability that a measured bit is flipped, either way.
    t1, t2: both or neither, in seconds: relaxation towards |0> and dephasing of a qubit that waits for its next gate,
        while the others' gates last one_qubit_seconds or two_qubit_seconds. What happens during a gate is in its p.

    A strength is a number, or made from params and inputs as a channel's strength is. Input states are prepared without
    error.

    Raises: QupropError for probabilities outside [0, 1], times below 0, t2 above 2 t1, or one of t1 and t2 alone.

    >>> noise = qpr.NoiseModel(one_qubit=0.001, two_qubit=0.01, readout=0.02)
    >>> print(qpr.Circuit(2).h(0).cx(0, 1).with_noise(noise))
    Circuit: 2 qubits, 6 gates, from |00>
      h 0
      depolarising(0.001) 0
      cx 0 1
      depolarising2(0.01) 0 1
      depolarising(0.03) 0
      depolarising(0.03) 1
    """

    one_qubit: Any = 0.0
    two_qubit: Any = 0.0
    readout: Any = 0.0
    t1: Any = None
    t2: Any = None
    one_qubit_seconds: float = 0.0
    two_qubit_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (("one_qubit", 0.75), ("two_qubit", 15 / 16), ("readout", 0.5)):
            value = getattr(self, name)
            if not _within(value, most):
                limit = {"one_qubit": "3/4", "two_qubit": "15/16", "readout": "1/2"}[name]
                raise QupropError(
                    f"{name} of a noise model is a probability from 0 to {limit}, where nothing is left, got {value!r}"
                )
        if (self.t1 is None) != (self.t2 is None):
            raise QupropError(f"a noise model takes t1 and t2 together, got t1={self.t1!r}, t2={self.t2!r}")
        for name in ("one_qubit_seconds", "two_qubit_seconds"):
            value = getattr(self, name)
            if not (isinstance(value, numbers.Real) and _within(value, math.inf)):
                raise QupropError(f"{name} of a noise model is a number of seconds, 0 or more, got {value!r}")
        times = (self.t1, self.t2)
        if all(isinstance(t, numbers.Real) for t in times) and not 0 < self.t2 <= 2 * self.t1 < math.inf:
            raise QupropError(f"t1 is above 0 and t2 above 0 and at most 2 t1, got t1={self.t1!r}, t2={self.t2!r}")

    def apply(self, circuit: Any) -> Any:
        """`circuit.with_noise(self)`: a copy of the circuit with these errors."""
        return circuit.with_noise(self)

    def scaled(self, factor: float) -> NoiseModel:
        """All errors this many times as likely: probabilities and the rates 1/t1 and 1/t2 are multiplied."""
        if not (isinstance(factor, numbers.Real) and _within(factor, math.inf)):
            raise QupropError(f"noise is scaled by a number, 0 or more, got {factor!r}")
        strengths = {k: getattr(self, k) * factor for k in ("one_qubit", "two_qubit", "readout")}
        times = {k: None if not factor or getattr(self, k) is None else getattr(self, k) / factor for k in ("t1", "t2")}
        return replace(self, **strengths, **times)

    def log_fidelity(self, one_qubit: float, two_qubit: float, readouts: float = 0.0, seconds: float = 0.0) -> float:
        """ln[(1 - p1)^a (1 - p2)^b (1 - r)^m exp(-t / t2)]: of the probability that none of so many gates and readouts
        errs and that one qubit stays coherent for so long (Arute et al., Nature 574, 505 (2019), equation 77, and a
        factor for waiting). It is about what is left of expectation values and their derivatives."""
        gates = one_qubit * math.log1p(-self.one_qubit) + two_qubit * math.log1p(-self.two_qubit)
        return gates + readouts * math.log1p(-self.readout) - (0.0 if self.t2 is None else seconds / self.t2)


def _within(value: Any, most: float) -> bool:
    """Whether a number is finite and in [0, most]; what is no number is left to where it is used."""
    if isinstance(value, bool | str) or value is None:
        return False
    return not isinstance(value, numbers.Real) or (math.isfinite(value) and 0 <= float(value) <= most)


def _check(path: Path | str, key: str, value: Any) -> None:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if key in ("name", "source"):
        if not isinstance(value, str):
            raise QupropError(f"{key} in {path} must be a text, got {value!r}")
    elif key in ("parallel", "qubits"):
        if not (number and isinstance(value, numbers.Integral) and int(value) >= 1):
            raise QupropError(f"{key} in {path} must be a whole number, 1 or more, got {value!r}")
    elif not (number and value >= 0):
        raise QupropError(f"{key} in {path} must be a number of seconds, 0 or more, got {value!r}")


@dataclass(frozen=True, slots=True)
class HardwareModel:
    """A machine that turns a `Cost` into seconds.

    seconds = (rotations * rotation_seconds + toffolis * toffoli_seconds
               + measurements * (measurement_seconds + overhead_seconds)) / parallel

    rotation_seconds: one Pauli rotation with the Clifford gates around it; toffoli_seconds: one Toffoli, None for three
    rotations (it is six two-qubit gates, a rotation is two); measurement_seconds: one readout; overhead_seconds: what
    every run pays besides (reset, loading, control); parallel: runs at the same time; qubits: how many it has (None: as
    many as asked); noise: its errors, None if nothing is said of them; source: where the numbers are from; name:
    what tables call it.

    Raises: QupropError for negative times, or no runs or qubits at all.

    >>> machine = qpr.HardwareModel("ours", rotation_seconds=1e-6, measurement_seconds=4e-6)
    >>> round(1e6 * machine.seconds(qpr.Cost(rotations=50, measurements=10)), 6)  # microseconds
    90.0
    """

    name: str
    rotation_seconds: float
    measurement_seconds: float = 0.0
    overhead_seconds: float = 0.0
    parallel: int = 1
    qubits: int | None = None
    source: str = ""
    noise: NoiseModel | None = None
    toffoli_seconds: float | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "noise" and value is not f.default:
                _check(f"machine {self.name!r}", f.name, value)
        if self.noise is None:
            return
        known = isinstance(self.noise, NoiseModel)
        if not (
            known and all(isinstance(getattr(self.noise, f.name), numbers.Real | None) for f in fields(NoiseModel))
        ):
            raise QupropError(f"noise of machine {self.name!r} is a NoiseModel of numbers or None, got {self.noise!r}")

    def log_fidelity(self, cost: Cost) -> float | None:
        """ln of the expected fidelity of the longest run of a cost, `depth` rotations one after another, each of two
        two-qubit gates and a one-qubit gate (Toffolis count as one rotation): `NoiseModel.log_fidelity` with one qubit
        read and one that waits as long as the run lasts. An estimate from above: a run that reads or holds more qubits
        keeps less. None of what measures nothing, and of a machine of whose errors nothing is said."""
        if self.noise is None or not cost.measurements:
            return None
        step = self.rotation_seconds
        if cost.toffolis and self.toffoli_seconds is not None:
            step = min(step, self.toffoli_seconds)
        try:
            depth = float(cost.depth)
        except OverflowError:
            return -math.inf
        return self.noise.log_fidelity(depth, 2 * depth, 1.0, depth * step + self.measurement_seconds)

    @property
    def summary(self) -> str:
        """Times, sizes and errors in one line."""
        parts = [f"{human_seconds(self.rotation_seconds)} a rotation"]
        if self.toffoli_seconds is not None:
            parts.append(f"{human_seconds(self.toffoli_seconds)} a Toffoli")
        per_run = self.measurement_seconds + self.overhead_seconds
        parts.append(f"{human_seconds(per_run)} more a run" if per_run else "readout and reset free")
        if self.parallel > 1:
            parts.append(f"{count_of(self.parallel, 'run')} at a time")
        parts.append("any number of qubits" if self.qubits is None else f"{count_of(self.qubits, 'qubit')}")
        if self.noise is None:
            return ", ".join([*parts, "no errors"])
        e = self.noise
        parts.append(
            f"errors {e.one_qubit:.2g} and {e.two_qubit:.2g} of one- and two-qubit gates, {e.readout:.2g} of a bit"
        )
        if e.t1 is not None:
            parts.append(f"T1 {human_seconds(e.t1)}, T2 {human_seconds(e.t2)}")
        return ", ".join(parts)

    def seconds(self, cost: Cost) -> float:
        per_run = self.measurement_seconds + self.overhead_seconds
        try:
            if self.toffoli_seconds is None:
                gates = (cost.rotations + TOFFOLI_ROTATIONS * cost.toffolis) * self.rotation_seconds
            else:
                gates = cost.rotations * self.rotation_seconds + cost.toffolis * self.toffoli_seconds
            total = (gates + cost.measurements * per_run) / self.parallel
        except OverflowError:  # a count beyond the largest float
            total = math.inf
        if not math.isfinite(total):
            raise QupropError(f"the time of these runs on {self.name} is beyond any number; lower its seconds")
        return total


PRESETS: dict[str, HardwareModel] = {
    "figure2": HardwareModel(
        "figure2",
        rotation_seconds=1e-3,  # 100 operations (n >= 100 qubits) of 10 us
        toffoli_seconds=100e-6,
        source=(
            "Abbas et al., NeurIPS 2023, arXiv:2305.13362, figure 2: an operation takes 10 us, a primitive on n >= 100 "
            "qubits 100 of them, T_q = 1 ms a parameterised rotation; readout and reset free; an operation is said to "
            "be an order of magnitude below a Toffoli, which is taken as 100 us for that"
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
            "out; medians of the same pages: errors about 3e-3 of a CZ, 2.5e-4 of a one-qubit gate and 1e-2 of a "
            "readout, T1 about 150 us, T2 about 100 us"
        ),
        noise=NoiseModel(1.5 * 2.5e-4, 1.25 * 3e-3, 1e-2, 150e-6, 100e-6, 32e-9, 68e-9),
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
            "out; fidelities 99.95 % of a one-qubit gate, 99.6 % of a two-qubit gate, 99.61 % of preparation and "
            "readout; T1 at least 10 s, T2 about 1 s"
        ),
        noise=NoiseModel(1.5 * 5e-4, 1.25 * 4e-3, 3.9e-3, 10.0, 1.0, 135e-6, 600e-6),
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
            "arXiv:2306.11727); fidelities 99.5 % of a CZ (Evered et al.) and 99.902 % of a one-qubit gate (Radnaev et "
            "al., arXiv:2408.08288), errors of moving, waiting and reading left out"
        ),
        noise=NoiseModel(1.5 * 0.98e-3, 1.25 * 5e-3),
    ),
    "fault_tolerant": HardwareModel(
        "fault_tolerant",
        rotation_seconds=40 * 170e-6,  # 3 log2(1/e) T gates for e = 1e-4
        toffoli_seconds=170e-6,
        measurement_seconds=1e-6,
        source=(
            "surface code at 1 us a cycle: 170 us a Toffoli from one factory (Babbush et al., PRX Quantum 2, 010103 "
            "(2021), arXiv:2011.04149), a T gate taken to last as long; a rotation to 1e-4 is 3 log2(1e4) = 40 T gates "
            "(Ross, Selinger, arXiv:1403.2975)"
        ),
    ),
}


# What a machine's TOML file may say, a line each; those of [noise] after "noise.".
KEYS: dict[str, str] = {
    "name": "what it is called",
    "rotation_seconds": "seconds of a Pauli rotation with the Clifford gates around it",
    "measurement_seconds": "seconds of a readout",
    "overhead_seconds": "seconds that every run takes besides: reset, loading, control",
    "parallel": "runs at the same time",
    "qubits": "how many it has; none: as many as asked",
    "source": "where the numbers are from",
    "toffoli_seconds": "seconds of a Toffoli; none: three rotations",
    "noise.one_qubit": "probability of an error after a one-qubit gate, 3/2 of its average infidelity",
    "noise.two_qubit": "probability of an error after a two-qubit gate, 5/4 of its average infidelity",
    "noise.readout": "probability that a measured bit is flipped",
    "noise.t1": "seconds of relaxation; with t2 or not at all",
    "noise.t2": "seconds of coherence, at most 2 t1",
    "noise.one_qubit_seconds": "seconds of a one-qubit gate, for qubits that wait (with_noise)",
    "noise.two_qubit_seconds": "seconds of a two-qubit gate, for qubits that wait (with_noise)",
}


def hardware(name: str | os.PathLike[str] | HardwareModel) -> HardwareModel:
    """A machine: a `HardwareModel` as it is, one of `PRESETS` by name (figure2, superconducting, trapped_ion,
    neutral_atom, fault_tolerant), or a TOML file with its fields (`KEYS`):

    name = "ours"
    rotation_seconds = 2e-6
    measurement_seconds = 5e-6    # 0 if left out, as are overhead_seconds; parallel = 1; qubits: no limit
    toffoli_seconds = 9e-6        # three rotations if left out
    source = "our lab, May 2026"

    [noise]                       # none if left out; the fields of a `NoiseModel`
    two_qubit = 0.004

    Returns: HardwareModel.
    Raises: QupropError for an unknown name, with the nearest, or a file that is not such a table.

    >>> machine = qpr.hardware("superconducting")
    >>> machine.name, machine.rotation_seconds
    ('superconducting', 1.68e-07)
    """
    if isinstance(name, HardwareModel):
        return name
    text = os.fspath(name)
    if text in PRESETS:
        return PRESETS[text]
    if text.endswith(".toml") or Path(text).is_file():
        return _read(Path(text))
    raise QupropError(f"unknown hardware {text!r}: {nearest(text, PRESETS)} (or give a file ending in .toml)")


def noise_of(given: str | HardwareModel | NoiseModel) -> NoiseModel:
    """A noise model: as it is, that of a machine (see `hardware`), or "NAME:FACTOR", that one `scaled`."""
    if isinstance(given, NoiseModel):
        return given
    if not isinstance(given, str | os.PathLike | HardwareModel):
        raise QupropError(f"noise is a NoiseModel or the name of a machine such as 'superconducting', got {given!r}")
    name, colon, factor = given.rpartition(":") if isinstance(given, str) else (given, "", "")
    machine = hardware(name if colon else given)
    if machine.noise is None:
        known = ", ".join(k for k, m in PRESETS.items() if m.noise is not None)
        raise QupropError(
            f"nothing is known of the errors of {machine.name}; take {known}, a TOML file with [noise], or a NoiseModel"
        )
    if not colon:
        return machine.noise
    try:
        return machine.noise.scaled(float(factor))
    except ValueError:
        raise QupropError(f"noise is NAME or NAME:FACTOR, such as superconducting:0.1, got {given!r}") from None


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
        if key == "noise":
            table[key] = _noise(path, value)
        else:
            _check(path, key, value)
    if "rotation_seconds" not in table:
        raise QupropError(f"{path} must say rotation_seconds, the seconds one Pauli rotation takes; add it")
    return HardwareModel(**{"name": path.stem, **table})


def _noise(path: Path, table: Any) -> NoiseModel:
    known = [f.name for f in fields(NoiseModel)]
    if not isinstance(table, dict):
        raise QupropError(f"noise in {path} must be a table [noise] with {', '.join(known)}, got {table!r}")
    for key in table:
        if key not in known:
            raise QupropError(f"unknown key {key!r} in [noise] of {path}: {nearest(key, known)}")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in table.values()):
        raise QupropError(f"[noise] of {path} takes numbers, got {table!r}")
    return NoiseModel(**table)
