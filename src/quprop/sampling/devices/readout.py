"""Misread bits undone in the mean: what the outcomes of a device are worth for Pauli strings."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.cost import Cost
from quprop.errors import QupropError, count_of, shown, whole
from quprop.model.circuit import Circuit
from quprop.sampling.devices.device import Counts, DeviceCircuit, Outcomes, Work
from quprop.sampling.estimate import variance_of_mean

_LEAST = 0.01  # of 1 - p10 - p01: below, one letter costs 10^4 times the shots, and a slip of names is likelier
_ROUNDING = 1e-9
CALIBRATION = 10_000  # shots of each of the two circuits


@dataclass(frozen=True, eq=False)
class ReadoutInversion:
    """Misread bits undone in the mean: what each outcome is worth for a Pauli string that is read from its bits.

    A qubit is misread with the matrix A = [[1 - p10, p01], [p10, 1 - p01]], p10 = P(read 1 | 0) and p01 = P(read 0 | 1)
    as in `Circuit.readout_error`, independently of the others. The bit b of value z = (-1)^b then has the worth

        f(b) = (z + p10 - p01) / (1 - p10 - p01),   A^T f = (1, -1),

    whose mean is that of the bit without errors, and a string has the product of its letters' f. The mean of the square
    of f is (1 - c^2 - 2 c b <Z>) / b^2, b = 1 - p10 - p01, c = p01 - p10: `variance_factor`. (Tensored mitigation:
    Bravyi et al. 2021, arXiv:2006.14044.)

    errors: (p10, p01), or the matrix A, of each of the device's qubits: a list in their order, or a dictionary
        {qubit: ...}; stderr: standard errors of p10 and p01 in the same form, if they were estimated; shots: those that
        were paid for that, counted in `cost`.

    Raises: QupropError for what are no probabilities, and for p10 + p01 near 1 or more, where a bit says nothing.

    >>> readout = qpr.ReadoutInversion([(0.1, 0.1), (0.02, 0.08)])
    >>> readout.values([0, 1, 2, 3], masks=[1, 3], signs=[1, 1], qubits=(0, 1)).round(3)  # of Z0 and Z0 Z1
    array([[ 1.25 ,  1.306],
           [-1.25 , -1.306],
           [ 1.25 , -1.472],
           [-1.25 ,  1.472]])
    """

    errors: Any
    stderr: Any = None
    shots: int = 0

    def __post_init__(self) -> None:
        errors = _pairs("readout errors", self.errors)
        stderr = {} if self.stderr is None else _pairs("standard errors of readout errors", self.stderr)
        for q, (p10, p01) in errors.items():
            if not (0 <= p10 <= 1 and 0 <= p01 <= 1):
                raise QupropError(
                    f"readout errors are probabilities (P(read 1 | 0), P(read 0 | 1)), got ({p10:.6g}, {p01:.6g}) of "
                    f"qubit {q}"
                )
            if 1 - p10 - p01 < _LEAST:
                raise QupropError(
                    f"qubit {q} is read as 1 from 0 with probability {p10:.4g} and as 0 from 1 with {p01:.4g}, so that "
                    f"its bit says next to nothing of it; their sum must be {1 - _LEAST} at most: leave the qubit out"
                )
        if not stderr.keys() <= errors.keys() or any(min(e) < 0 for e in stderr.values()):
            raise QupropError("standard errors of readout errors are from 0, of qubits that have readout errors")
        object.__setattr__(self, "errors", errors)
        object.__setattr__(self, "stderr", stderr)
        object.__setattr__(self, "shots", whole("shots", self.shots, 0))

    @classmethod
    def of_device(cls, device: Any, qubits: Sequence[int]) -> ReadoutInversion:
        """With the errors that the device reports of its own qubits."""
        ask = getattr(device, "readout_errors", None)
        found = None if ask is None else ask(tuple(qubits))
        if found is None or len(found) != len(qubits):
            raise QupropError(
                f"the device {getattr(device, 'name', type(device).__name__)} reports no readout errors of its qubits; "
                'take readout="calibrate", which measures them, or give them as a list'
            )
        return cls(dict(zip(qubits, found, strict=True)))

    @staticmethod
    def calibration(qubits: Sequence[int], shots: int = CALIBRATION) -> list[Work]:
        """Two circuits: all of these qubits of the device in 0, and all in 1 by an X each, whose failure counts as a
        misread 1."""
        wires = tuple(int(q) for q in qubits)
        if not wires or len(set(wires)) < len(wires) or min(wires) < 0:
            raise QupropError(f"calibration takes different qubits of the device, one or more, got {shown(wires)}")
        count = np.array([whole("shots", shots, 1)])
        work = []
        for bit in (0, 1):
            circuit = Circuit(max(wires) + 1)
            for q in wires if bit else ():
                circuit.x(q)
            work.append(Work(DeviceCircuit(circuit, wires, 0, placed=True), np.empty((1, 0)), count))
        return work

    @classmethod
    def calibrated(cls, work: Sequence[Work], counts: Counts) -> ReadoutInversion:
        """From the counts of `calibration`. Each probability p = k/n has the standard error sqrt(p (1 - p) / (n - 1)),
        and that of an outcome which n shots never showed where k is 0 or n."""
        if len(work) != 2 or [len(c) for c in counts] != [1, 1]:
            raise QupropError("calibrated takes the two circuits of ReadoutInversion.calibration and counts of both")
        qubits, shots = work[0].circuit.measured, [int(w.shots[0]) for w in work]
        for n, [(_, seen)] in zip(shots, counts, strict=True):
            if int(np.sum(seen)) != n:
                raise QupropError(f"a calibration circuit was run with {n:,} shots, got {int(np.sum(seen)):,} counts")
        p10, s10 = _ones(counts[0][0], len(qubits), shots[0])
        p11, s01 = _ones(counts[1][0], len(qubits), shots[1])
        errors = dict(zip(qubits, zip(p10.tolist(), (1 - p11).tolist(), strict=True), strict=True))
        return cls(errors, dict(zip(qubits, zip(s10.tolist(), s01.tolist(), strict=True), strict=True)), sum(shots))

    @property
    def cost(self) -> Cost:
        """Of the calibration."""
        return Cost(copies=self.shots, measurements=self.shots, qubits=len(self.errors) if self.shots else 0)

    def values(self, index: Any, masks: Any, signs: Any, qubits: Sequence[int]) -> np.ndarray:
        """sign_l prod_{b in mask_l} f(bit b): (D, L), of outcomes index (D,) whose bit b is the device's qubits[b]."""
        index, masks = np.asarray(index), np.asarray(masks)
        values = np.tile(np.asarray(signs, float), (len(index), 1))
        for b, (p10, p01) in self._read(masks, qubits):
            zero, one = _worth(p10, p01)
            inside = (masks >> b & 1).astype(bool)
            values[:, inside] *= np.where((index >> b & 1).astype(bool), one, zero)[:, None]
        return values

    def farthest(self, masks: Any, qubits: Sequence[int]) -> np.ndarray:
        """The largest difference of two `values` of each string, (L,); 2 without errors."""
        masks = np.asarray(masks)
        low, high = np.ones(len(masks)), np.ones(len(masks))
        for b, pair in self._read(masks, qubits):
            inside = (masks >> b & 1).astype(bool)
            ends = np.array([e * f for e in (low[inside], high[inside]) for f in _worth(*pair)])
            low[inside], high[inside] = ends.min(axis=0), ends.max(axis=0)
        return high - low

    def variance_factor(self, masks: Any, qubits: Sequence[int]) -> np.ndarray:
        """The mean square of each string's values at most, (L,), which is 1 without errors: prod over its letters of
        (1 - c^2 + 2 |c| b) / b^2, b = 1 - p10 - p01 and c = p01 - p10; 1/b^2 where both errors are equally likely."""
        masks = np.asarray(masks)
        factor = np.ones(len(masks))
        for k, (p10, p01) in self._read(masks, qubits):
            b, c = 1 - p10 - p01, abs(p01 - p10)
            factor[(masks >> k & 1).astype(bool)] *= (1 - c * c + 2 * c * b) / (b * b)
        return factor

    def calibration_error(self, masks: Any, qubits: Sequence[int]) -> np.ndarray:
        """How far the standard errors of the calibration move the mean of each string at most, (L,), to first order:
        sqrt(sum over its letters of (2 max(s10, s01) / b)^2). All estimates share it; more shots do not lessen it."""
        masks = np.asarray(masks)
        square = np.zeros(len(masks))
        for k, (p10, p01) in self._read(masks, qubits):
            most = max(self.stderr.get(qubits[k], (0.0, 0.0)))
            square[(masks >> k & 1).astype(bool)] += (2 * most / (1 - p10 - p01)) ** 2
        found: np.ndarray = np.sqrt(square)
        return found

    def reader(self, layouts: Mapping[str, Sequence[int]] | None = None) -> InvertedReading:
        """What `PlanCircuits.combine` takes as reader. layouts: of each circuit by its `key` the device's own qubits in
        the order of its outcome bits, `Prepared.layout`; without, qubits are numbered alike."""
        return InvertedReading(self, layouts)

    def moved(self) -> Iterator[ReadoutInversion]:
        """One for each p10 and p01, which is larger by its standard error there: how much what is read then moves, in
        squares added up, is the variance that the calibration leaves (`Mitigation.combine`)."""
        for q, errors in self.stderr.items():
            for i in (0, 1):
                if errors[i] > 0:
                    pair = list(self.errors[q])
                    pair[i] += errors[i]
                    yield ReadoutInversion({**self.errors, q: tuple(pair)})

    def __str__(self) -> str:
        worst = max((max(e) for e in self.errors.values()), default=0.0)
        said = f"readout of {count_of(len(self.errors), 'qubit')} inverted, misread with {worst:.2g} at most"
        if not self.stderr:
            return said
        known = max(max(e) for e in self.stderr.values())
        return f"{said}, known to ±{known:.1g}" + (f" by {self.shots:,} shots" if self.shots else "")

    def _read(self, masks: np.ndarray, qubits: Sequence[int]) -> Iterator[tuple[int, tuple[float, float]]]:
        """The bits that some string reads, and their errors."""
        if (masks >> len(qubits)).any():
            raise QupropError(f"a string reads a bit beyond the {count_of(len(qubits), 'qubit')} that are measured")
        for b, q in enumerate(qubits):
            if (masks >> b & 1).any():
                if q not in self.errors:
                    raise QupropError(
                        f"the readout errors of the device's qubit {q} are not known, only those of "
                        f"{shown(sorted(self.errors))}; calibrate it, or give its errors"
                    )
                yield b, self.errors[q]


@dataclass(frozen=True, eq=False)
class InvertedReading:
    """(circuit, outcomes (D,), masks (L,), signs (L,)) -> what each outcome is worth for each string, (D, L)."""

    inversion: ReadoutInversion
    layouts: Mapping[str, Sequence[int]] | None

    def __call__(self, circuit: DeviceCircuit, index: Any, masks: Any, signs: Any) -> np.ndarray:
        return self.inversion.values(index, masks, signs, self._qubits(circuit))

    def farthest(self, circuit: DeviceCircuit, masks: Any) -> np.ndarray:
        """(L,), what `variance_of_mean` takes for one string."""
        return self.inversion.farthest(masks, self._qubits(circuit))

    def _qubits(self, circuit: DeviceCircuit) -> Sequence[int]:
        if self.layouts is None:
            return circuit.measured
        if circuit.key not in self.layouts:
            raise QupropError("a circuit is read whose place on the device is not known; prepare it there first")
        return self.layouts[circuit.key]


def _pairs(what: str, given: Any) -> dict[int, tuple[float, float]]:
    if not isinstance(given, Mapping):
        try:
            given = dict(enumerate(given))
        except TypeError:
            raise QupropError(f"{what} are a list of a pair (p10, p01) for each qubit, got {shown(given)}") from None
    found = {}
    for q, entry in given.items():
        if isinstance(q, bool) or not isinstance(q, numbers.Integral) or q < 0:
            raise QupropError(f"{what} are by the device's qubits, whole numbers from 0, got {shown(q)}")
        pair = checked(f"{what} of qubit {q}", entry)
        if pair.shape == (2, 2) and np.abs(pair.sum(axis=0) - 1).max() < _ROUNDING:
            pair = np.array([pair[1, 0], pair[0, 1]])
        if pair.shape != (2,):
            raise QupropError(
                f"{what} of qubit {q} are (p10, p01), or [[1 - p10, p01], [p10, 1 - p01]] whose columns sum to 1, got "
                f"{shown(entry)}"
            )
        found[int(q)] = (float(pair[0]), float(pair[1]))
    return found


def _worth(p10: float, p01: float) -> tuple[float, float]:
    """f of the bits 0 and 1."""
    b, c = 1 - p10 - p01, p01 - p10
    return (1 - c) / b, (-1 - c) / b


def _ones(outcomes: Outcomes, m: int, shots: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each of m bits is 1, as a part of all shots, and its standard error."""
    index, counts = outcomes
    p = np.array([float(counts[(index >> b & 1).astype(bool)].sum()) for b in range(m)]) / shots
    return p, np.sqrt(variance_of_mean(p, p, shots, 1.0))
