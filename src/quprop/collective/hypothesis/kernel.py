"""The high-temperature hypothesis: predictions linear in the updates, by Pauli propagation; qubits without limit."""

from __future__ import annotations

import math
from copy import copy as shallow_copy

import numpy as np

from quprop.collective.hypothesis.protocol import EXACT, count, measured, number, positive
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory

WORD = 64
# real multiply-adds a term, with one for each word operation: a rotation's parity and merge, a prediction's comparison
ROTATE_OPS, PREDICT_OPS = 8, 2
TURN_OPS = 4  # and of each measured value's coefficient
HELD = 32  # measured values


class KernelHypothesis:
    """sigma = (1 + H)/2^n with H = sum_t h_t A_t, A_t the t-th triggered Pauli carried to the current frame.

    The prediction is q_j = sum_t K_jt h_t with the kernel K_jt = tr(P_j A_t)/2^n, clipped to [-1, 1]: the first order
    in h of e^H / tr e^H. An update adds h = step/2 to the coefficient of P. H is held as one Pauli sum; a rotation
    about P turns each Q that anticommutes with P into cos(angle) Q - i sin(angle) P Q and leaves the others, so
    Clifford angles and commuting rotations never add terms.

    **Mistake bound**, as long as nothing is dropped. Let c be the coefficients of H and c* those of the truth rho, so
    |c*|^2 = 2^n tr(rho^2) - 1. Rotations keep |c - c*|. An update with step = 4 g (h = 2 g in the expectation) at a
    true gap 2 g of the expectation or more lowers |c - c*|^2 by 4 g^2 or more (the perceptron's argument; what clipping
    hides only makes the gap larger). So there are at most (2^n tr(rho^2) - 1)/(4 g^2) updates, where c* need be counted
    only in the span of the checked observables, carried to one frame: good for few or local observables, exponentially
    worse than n ln 2/(2 g^2) for all Paulis of a pure state. A response such as tanh(q) would be exact for a single
    trigger but has no such argument.

    **Measured values.** ``learn`` fits all values b_t with errors e_t (1e-3 at least) at once: H = H0 + sum_t h_t A_t,
    H0 from updates, with the least |H - H0|^2/2 + sum_t (b_t - q_t)^2/(2 e_t^2): (K + e^2) h = b - q0. To first order
    this is the maximum entropy of :class:`~quprop.collective.hypothesis.dense.DenseHypothesis`. With exact values it
    projects c on a plane that holds c*, and |c - c*|^2 falls by the squared gap of the expectation: the bound above.
    `HELD` values are held; before another comes the oldest becomes part of H0.

    **Truncation.** After a rotation terms under ``smallest`` are dropped, then the smallest beyond ``max_terms``.
    A term's size is the largest of its coefficients in H0 and the A_t. ``dropped_terms`` counts them; ``dropped_norm``
    adds up, drop by drop, the root of the sum of their squares (of H0, and of each A_t times |h_t|), which bounds the
    error of every later prediction (Cauchy-Schwarz: a Pauli has norm 1, rotations keep norms).
    """

    def __init__(self, n: int, *, max_terms: int = 100_000, smallest: float = 1e-12) -> None:
        self.n = count(n, "n")
        self.max_terms = count(max_terms, "max_terms")
        if number(smallest, "smallest") < 0:
            raise QupropError(f"`smallest` must not be negative, got {smallest}; 1e-12 is the default")
        self.smallest = float(smallest)
        memory.require(
            self.required_bytes(self.n, self.max_terms),
            f"a KernelHypothesis of {n} qubits and {max_terms} terms",
            "take fewer max_terms",
        )
        self.updates = 0
        self.classical_ops = 0
        self.dropped_terms = 0
        self._words = -(-self.n // WORD)
        self._masks = np.zeros((0, 2 * self._words), np.uint64)  # each row: x mask, then z mask, lowest word first
        self._columns = np.zeros((0, 1))  # coefficients of H0 and of each A_t
        self._factors = np.ones(1)  # H = columns @ factors: 1, and the h_t
        self._dropped = np.zeros(1)  # of each column
        self._measured = np.zeros((2, 0))  # b_t and e_t

    @staticmethod
    def required_bytes(n: int, max_terms: int = 100_000) -> int:
        """The most it holds: twice ``max_terms`` in a rotation, before truncation, with the work arrays of a sort."""
        return 2 * max_terms * 5 * (16 * -(-n // WORD) + 8 * (1 + HELD))

    @property
    def classical_bytes(self) -> int:
        return self._masks.nbytes + self._columns.nbytes + self._factors.nbytes + self._measured.nbytes

    @property
    def dropped_norm(self) -> float:
        return float(np.abs(self._factors) @ self._dropped)

    def __len__(self) -> int:
        """The number of terms of H."""
        return len(self._masks)

    def predict(self, pauli: PauliString) -> float:
        pauli, sign = positive(pauli, self.n)
        if pauli.weight == 0:
            return float(sign)
        self.classical_ops += PREDICT_OPS * self._masks.size
        found = self._find(pauli)
        return sign * min(1.0, max(-1.0, float((self._columns[found] @ self._factors).sum())))

    def update(self, pauli: PauliString, step: float) -> None:
        pauli, sign = positive(pauli, self.n)
        half = sign * number(step, "step") / 2
        self.updates += 1
        if pauli.weight == 0:
            return
        self._add(pauli, 0, half)

    def learn(self, pauli: PauliString, value: float, error: float) -> None:
        pauli, sign = positive(pauli, self.n)
        value, error = measured(value, error, sign)
        if not pauli.weight:
            return
        self.updates += 1
        if self._measured.shape[1] == HELD:
            self._columns[:, 0] += self._factors[1] * self._columns[:, 1]
            self._dropped[0] += abs(self._factors[1]) * self._dropped[1]
            self._columns = np.delete(self._columns, 1, axis=1)
            self._factors, self._dropped = np.delete(self._factors, 1), np.delete(self._dropped, 1)
            self._measured = self._measured[:, 1:]
        self._columns = np.append(self._columns, np.zeros((len(self), 1)), axis=1)
        self._factors, self._dropped = np.append(self._factors, 0.0), np.append(self._dropped, 0.0)
        self._measured = np.append(self._measured, [[value], [max(error, EXACT)]], axis=1)
        self._add(pauli, -1, 1.0)
        start, learned = self._columns[:, 0], self._columns[:, 1:]
        values, errors = self._measured
        kernel = learned.T @ learned + np.diag(errors**2)
        self._factors[1:] = np.linalg.solve(kernel, values - start @ learned)
        self.classical_ops += learned.size * (learned.shape[1] + 1) + learned.shape[1] ** 3

    def _add(self, pauli: PauliString, column: int, coefficient: float) -> None:
        found = self._find(pauli)
        if not len(found):
            self._masks = np.concatenate([self._masks, self._row(pauli)[None]])
            self._columns = np.append(self._columns, np.zeros((1, self._columns.shape[1])), axis=0)
            found = np.array([len(self._masks) - 1])
        self._columns[found, column] += coefficient
        self._truncate()
        self.classical_ops += PREDICT_OPS * self._masks.size

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli, sign = positive(pauli, self.n)
        angle = sign * number(angle, "angle")
        if not len(self):
            return
        cosine, sine = _exact_at_quarter_turns(angle)
        x, z = np.split(self._row(pauli), 2)
        xs, zs = self._masks[:, : self._words], self._masks[:, self._words :]
        other = (_ones(xs & z) + _ones(zs & x)) & 1 == 1  # what anticommutes with P
        learned = self._columns.shape[1] - 1
        self.classical_ops += ROTATE_OPS * self._masks.size + TURN_OPS * len(self) * learned
        if not other.any():
            return
        masks, values, xs, zs = self._masks[other], self._columns[other], xs[other], zs[other]
        # with Q = i^|x&z| X^x Z^z, -i P Q is (-1)^(power / 2) times the positive string of the summed masks
        power = pauli.phase + _ones(xs & zs) + 2 * _ones(xs & z) - _ones((xs ^ x) & (zs ^ z)) - 1
        signs = (1.0 - (power & 2))[:, None]
        moved = masks ^ np.concatenate([x, z])
        values = np.concatenate([cosine * values, sine * signs * values])
        masks, values = _merged(np.concatenate([masks, moved]), values)
        self._masks = np.concatenate([self._masks[~other], masks])
        self._columns = np.concatenate([self._columns[~other], values])
        self._truncate()

    def copy(self) -> KernelHypothesis:
        twin = shallow_copy(self)
        twin._columns, twin._factors, twin._dropped = self._columns.copy(), self._factors.copy(), self._dropped.copy()
        return twin  # the rest is replaced, never changed in place

    def matrix(self) -> np.ndarray:
        """(1 + H)/2^n in the current frame, complex (2^n, 2^n); not positive when H is large."""
        out = np.eye(2**self.n, dtype=complex)
        for row, value in zip(self._masks, self._columns @ self._factors, strict=True):
            x, z = (sum(int(w) << WORD * i for i, w in enumerate(half)) for half in np.split(row, 2))
            out += value * PauliString(x, z).matrix(self.n)
        return out / 2**self.n

    def _row(self, pauli: PauliString) -> np.ndarray:
        full = (1 << WORD) - 1
        masks = [(m >> WORD * i) & full for m in (pauli.x, pauli.z) for i in range(self._words)]
        return np.array(masks, np.uint64)

    def _find(self, pauli: PauliString) -> np.ndarray:
        return np.flatnonzero((self._masks == self._row(pauli)).all(axis=1))

    def _truncate(self) -> None:
        size = np.abs(self._columns).max(axis=1)
        drop = size < self.smallest
        if len(size) - drop.sum() > self.max_terms:
            drop = np.ones(len(size), bool)
            drop[np.argpartition(size, -self.max_terms)[-self.max_terms :]] = False
        if drop.any():
            self.dropped_terms += int(np.count_nonzero(size[drop]))
            self._dropped = self._dropped + np.linalg.norm(self._columns[drop], axis=0)
            self._masks, self._columns = self._masks[~drop], self._columns[~drop]


def _merged(masks: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal rows once, their values summed."""
    order = np.lexsort(masks.T)
    masks, values = masks[order], values[order]
    starts = np.flatnonzero(np.concatenate([[True], (masks[1:] != masks[:-1]).any(axis=1)]))
    return masks[starts], np.add.reduceat(values, starts, axis=0)


def _ones(masks: np.ndarray) -> np.ndarray:
    return np.bitwise_count(masks).sum(axis=1, dtype=np.int64)


def _exact_at_quarter_turns(angle: float) -> tuple[float, float]:
    """cos and sin, exactly 0 and 1 at multiples of pi/2, so that Clifford rotations add no terms of size 1e-17."""
    quarters = round(angle / (math.pi / 2))
    if abs(angle - quarters * (math.pi / 2)) <= 4 * np.finfo(float).eps * max(1.0, abs(angle)):
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarters % 4]
    return math.cos(angle), math.sin(angle)
