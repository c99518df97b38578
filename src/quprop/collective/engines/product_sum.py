"""A batch after passes of exponential-noise checks as a sum of product states, for large n and k."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quprop.collective.check import Check, product_probability
from quprop.collective.event import Event
from quprop.collective.protocol import Batch, check_tolerance, copy_state
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory
from quprop.simulate.vectors import rotate

_SECOND_FROM = 0.5  # sum of trigger probabilities from which second-order terms are made
_AT_ONCE = 1 << 18  # amplitudes rotated at once: they stay in the cache


@dataclass(frozen=True, kw_only=True)
class ProductSumEngine:
    """The batch as sum_a w_a chi_a^(tensor k): one vector chi_a of 2^n numbers for each pass that mattered.

    Below its threshold f(S) = e^(-tau/lambda) (1 + (e^(1/lambda) - 1) E)^(tensor k) is a product operator, and so are
    its powers. With p the probability of a trigger and delta = (f - p)/(1 - p), a pass is, normalised,

        sqrt((1 - f)/(1 - p)) = 1 - delta/2 - delta^2/8 - ...,

    so that it adds product states: f psi^k in first order, and in second order f chi^k for every first-order term, and
    f^2 psi^k. Trigger probabilities are ratios of sums of k-th powers of single-copy inner products (through their
    logarithms), expanded to the same order and put on top of the exact binomial law of an undisturbed batch. Where f as
    a product says too much, above its threshold, that law is the answer, off by the distance from an undisturbed batch
    at most. All vectors rotate together: a rotation costs 2^n for each, a check 2^n for each, and at second order 2^n
    for each pair of first-order terms.

    order   1, 2, or None: second-order terms are made once the sum of trigger probabilities exceeds 0.5
    cutoff  terms of smaller norm are not made; their norms are part of the ledger's `error`
    tolerance  the largest error of a trigger probability, by the engine's own estimate, that it answers with

    The ledger's `error` estimates the largest error of a trigger probability: the next order of the expansion, the cut
    terms, and what f above its threshold would add; or the distance from an undisturbed batch where that is less. Its
    `infidelity` is that of the first-order terms, with their interference.
    """

    order: int | None = None
    cutoff: float = 1e-6
    tolerance: float = 0.05

    name: ClassVar[str] = "product_sum"
    exact_for: ClassVar[str] = "exponential noise and gentle passes: second order in their damage, any n and k"

    def __post_init__(self) -> None:
        if self.order not in (None, 1, 2):
            raise QupropError(f"`order` must be 1, 2 or None (2 when it is needed), got {self.order!r}")
        if not (math.isfinite(self.cutoff) and self.cutoff >= 0):
            raise QupropError(f"`cutoff`, a norm, must be 0 or more, got {self.cutoff}; 1e-6 is the default")
        check_tolerance(self.tolerance)

    def prepare(self, state: np.ndarray, k: int) -> ProductSumCopies:
        """k copies of the normalised state (2^n,)."""
        vector, n, k = copy_state(state, k)
        memory.require(
            self.required_bytes(n, k), f"a product_sum batch of {n} qubits", "the null engine keeps a single vector"
        )
        return ProductSumCopies(vector, n, k, self)

    def required_bytes(self, n: int, k: int, vectors: int = 64) -> int:
        """For `vectors` product states, in a buffer that doubles, and temporaries."""
        return 3 * 16 * vectors * 2**n


class ProductSumCopies(Batch):
    name = "product_sum"
    follows_triggers = False  # a square root of a product, far from 1: no expansion

    def __init__(self, state: np.ndarray, n: int, k: int, settings: ProductSumEngine) -> None:
        super().__init__(n, k, settings.tolerance)
        self._settings = settings
        self._buffer = state[None].copy()  # (capacity, 2^n); rows up to `terms` have norm 1, row 0 is psi
        self._weights = np.array([[1.0], [0.0], [0.0]])  # (order, term) of the product states, which have norm 1
        # Inner products, which rotations do not change; second-order terms meet psi only.
        self._overlaps = np.ones(1, complex)  # <psi|chi_a>
        self._kept = [0]  # psi and the terms of first order
        self._gram = np.ones((1, 1), complex)  # <chi_a|chi_b> of these
        self._displaced = 0.0  # sum of sd(f)/(2(1 - p))
        self._second = settings.order == 2
        self._missed = 0.0  # what `moved` was when second-order terms began
        self._cut = 0.0  # norms of the terms that were not made
        self._clipped = 0.0  # norms of what f would add if it went on growing above its thresholds

    @property
    def terms(self) -> int:
        """Product states held."""
        return self._weights.shape[1]

    def _rotate(self, pauli: PauliString, angle: float) -> None:
        rows = max(1, _AT_ONCE >> self.n)
        for start in range(0, self.terms, rows):
            part = self._buffer[start : min(start + rows, self.terms)]
            part[:] = rotate(pauli, angle, part)

    def _mean(self, event: Event) -> float:
        return float(event.mean(self._buffer[0]))

    def _trigger(self, check: Check) -> tuple[float, float]:
        mean = self._mean(check.event)
        undisturbed = check.probability(self.k, mean)
        if check.kind != "exponential":
            raise QupropError(
                "the product_sum engine takes exponential noise, whose trigger operator is a product; the symmetric, "
                "bosonic and gaussian engines take Gaussian noise"
            )
        if self.terms == 1:
            return undisturbed, self._cut
        distance = min(1.0, self.ledger.trace_bound)
        overshoot = self._overshoot(check, mean)
        vectors, grown = self._buffer[: self.terms], _Product(check, self.k)
        applied = check.event.apply(vectors[0])
        with_psi = grown.power(self._overlaps, applied.conj() @ vectors.T).real  # of <psi|f|chi_a>
        overlaps = self._powers(self._overlaps).real
        _, first, second = self._weights
        above = with_psi[0] + 2 * float(first @ with_psi)
        below = 1 + 2 * float(first @ overlaps)
        if self._second:
            kept, weights = vectors[self._kept], first[self._kept]
            kicked = grown.power(self._gram, kept.conj() @ check.event.apply(kept).T).real
            above += float(weights @ kicked @ weights) + 2 * float(second @ with_psi)
            below += float(weights @ self._powers(self._gram).real @ weights) + 2 * float(second @ overlaps)
        expanded = undisturbed + above / below - with_psi[0]
        left_out = self._displaced**3 + self._missed**2 if self._second else self._displaced**2
        error = 2 * max(undisturbed, expanded) * (left_out + self._clipped) + 2 * distance * overshoot + self._cut
        return (expanded, error) if error < distance else (undisturbed, distance)

    def _moved(self, check: Check, triggered: bool, probability: float) -> None:
        mean = self._mean(check.event)
        if not self._second and self._settings.order is None:
            self._second = self.ledger.probability + probability > _SECOND_FROM
            self._missed = self._displaced
        scale = 1 / (1 - probability)
        operator = _Product(check, self.k)
        old, main_first = self._weights, self._weights[1, 0]
        # what multiplies the states there are: p of delta = (f - p)/(1 - p)
        weights = old.copy()
        weights[1, 0] += scale * probability / 2
        weights[2] += scale * probability / 2 * old[1]
        weights[2, 0] -= (scale * probability) ** 2 / 8
        self._weights = weights
        self._add(operator, 0, -scale / 2, scale**2 * probability / 4 - scale / 2 * main_first)
        if self._second:
            for a in np.flatnonzero(old[1, 1:]) + 1:
                self._add(operator, int(a), 0.0, -scale / 2 * old[1, a])
            self._add(_Product(check, self.k, 2), 0, 0.0, -(scale**2) / 8)
        else:
            self._weights[2] = 0.0
        self._displaced += scale / 2 * math.sqrt(check.variance(self.k, mean))
        self._clipped += scale / 2 * self._overshoot(check, mean)
        self.ledger.off(self._cut)
        kept = self._weights[1, self._kept]
        size = float(kept @ self._powers(self._gram).real @ kept)
        self.ledger.exactly(size - abs(kept @ self._powers(self._gram[0])) ** 2)

    def _add(self, operator: _Product, a: int, first: float, second: float) -> None:
        """Adds operator chi_a with these weights, if it is not negligible."""
        vector = self._buffer[a] + operator.growth * operator.event.apply(self._buffer[a])
        size = float(np.linalg.norm(vector))
        norm = math.exp(min(operator.log_c + self.k * math.log(size), 300.0))
        if norm * (abs(first) + abs(second)) < self._settings.cutoff:
            self._cut += norm * (abs(first) + abs(second))
            return
        vector /= size
        count = self.terms
        if count == len(self._buffer):
            self._buffer = np.concatenate([self._buffer, np.empty_like(self._buffer)])
        self._buffer[count] = vector
        self._overlaps = np.append(self._overlaps, np.vdot(self._buffer[0], vector))
        if first:
            inner = self._buffer[self._kept].conj() @ vector  # <chi_a|new>
            self._gram = np.block([[self._gram, inner[:, None]], [inner.conj()[None], np.ones((1, 1))]])
            self._kept.append(count)
        self._weights = np.column_stack([self._weights, [0.0, norm * first, norm * second]])

    def _overshoot(self, check: Check, mean: float) -> float:
        """sqrt(E f_product^2 - E f^2): at least the norm of what f adds if it goes on growing above its threshold."""
        half = Check(check.event, check.threshold, check.noise / 2)  # of which f is the square
        grown = product_probability(self.k, mean, check.threshold, check.noise / 2)
        return math.sqrt(max(0.0, grown - half.probability(self.k, mean)))

    def _powers(self, inner: np.ndarray) -> np.ndarray:
        return _power(inner, self.k)


class _Product:
    """f^power of a check as c (1 + growth E)^(tensor k)."""

    def __init__(self, check: Check, k: int, power: int = 1) -> None:
        self.event, self.k = check.event, k
        self.log_c = -power * k * check.threshold / check.noise
        self.growth = math.expm1(power / check.noise)

    def power(self, inner: np.ndarray, accepted: np.ndarray) -> np.ndarray:
        """<a|f|b> of product states, from <chi_a|chi_b> and <chi_a|E|chi_b>."""
        return _power(inner + self.growth * accepted, self.k, self.log_c)


def _power(inner: np.ndarray, k: int, log_factor: float = 0.0) -> np.ndarray:
    """e^log_factor inner^k."""
    with np.errstate(divide="ignore"):
        size = np.log(np.abs(inner))
    return np.exp(np.minimum(log_factor + k * size, 300.0)) * np.exp(1j * k * np.angle(inner))
