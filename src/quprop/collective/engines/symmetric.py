"""Exact simulation of k copies in the symmetric subspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quprop.collective.check import Check
from quprop.collective.engines.symmetric_space import MOST_TABLES, dimension, space
from quprop.collective.event import Event
from quprop.collective.protocol import Batch, copy_state
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory
from quprop.simulate.vectors import rotate

_FIDELITY_UP_TO = 1 << 20  # amplitudes up to which the ledger's infidelity is recomputed after every pass


@dataclass(frozen=True)
class SymmetricEngine:
    """All amplitudes of k copies of a pure state of n qubits: C(k + d - 1, k) of them, d = 2^n; exact.

    Everything done to a batch is symmetric under permutations of the copies, so that it stays in the symmetric subspace
    of (C^d)^(tensor k): k bosons in d modes (`symmetric_space.py`). Rotations are d/2 beam splitters; a Pauli event is
    turned diagonal by one rotation of pi/2, its square-root instrument multiplies amplitudes by sqrt(1 - f(S)) for a
    pass and sqrt(f(S)) for a trigger, and it is turned back. One check costs two rotations. The ledger's infidelity is
    exact up to 2^20 amplitudes, and estimated beyond; `fidelity()` of a batch computes it at any size.

    On one core a rotation takes: d = 2, k = 10,000: 0.3 s; d = 4, k = 200 (1.4e6 amplitudes): 0.3 s; d = 8, k = 32
    (1.5e7 amplitudes): 3 s, in 1.4 GiB; d = 16, k = 8 (4.9e5 amplitudes): 0.15 s.
    """

    name: ClassVar[str] = "symmetric"
    exact_for: ClassVar[str] = "everything (Pauli events, any noise, any number of checks), while k and n are small"

    def prepare(self, state: np.ndarray, k: int) -> SymmetricCopies:
        """k copies of the normalised state (2^n,)."""
        vector, n, k = copy_state(state, k)
        cheaper = "the bosonic engine holds any k, and the product_sum engine any n, while passes are gentle"
        memory.require(self.required_bytes(n, k), f"a symmetric batch of {k:,} copies of {n} qubits", cheaper)
        return SymmetricCopies(vector, n, k)

    def required_bytes(self, n: int, k: int) -> int:
        """Vectors while an event is turned, occupation numbers, counts, and index tables of the pairings of modes."""
        d, size = 2**n, dimension(k, 2**n)
        occupations = 2 * d * np.min_scalar_type(-k).itemsize
        tables = min(MOST_TABLES, (d - 1) * (d - 2)) * (4 if size < 2**31 else 8)
        vectors = 5 * 16
        return size * (vectors + occupations + 12 + tables)


class SymmetricCopies(Batch):
    name = "symmetric"

    def __init__(self, state: np.ndarray, n: int, k: int) -> None:
        super().__init__(n, k)
        self._space = space(n, k)
        self._state = state  # one undisturbed copy
        self._x = 1  # the mask of the layout
        self._vector = self._space.product(state, self._x)
        self._turned: tuple[PauliString, np.ndarray, np.ndarray] | None = None  # of the last event asked about

    def fidelity(self) -> float:
        """|<undisturbed batch|batch>|^2."""
        return float(np.abs(np.vdot(self._space.product(self._state, self._x), self._vector)) ** 2)

    def law(self, event: Event) -> np.ndarray:
        """Pr[S = s] for the count of `event` now, (k + 1,)."""
        counts, turned = self._counts(event)
        weights = np.bincount(counts, (turned.real**2 + turned.imag**2), self.k + 1)
        return weights / weights.sum()

    def _rotate(self, pauli: PauliString, angle: float) -> None:
        self._turned = None
        self._state = rotate(pauli, angle, self._state)
        self._lay_out(pauli.x)
        self._space.rotate(self._vector, self._x, pauli, angle)

    def _mean(self, event: Event) -> float:
        return float(event.mean(self._state))

    def _trigger(self, check: Check) -> tuple[float, float]:
        return float(self.law(check.event) @ check.trigger(np.arange(self.k + 1), self.k)), 0.0

    def _moved(self, check: Check, triggered: bool, probability: float) -> None:
        outcome = check.trigger if triggered else check.passing
        self._act(check.event, np.sqrt(outcome(np.arange(self.k + 1), self.k)))
        if self._space.size <= _FIDELITY_UP_TO:
            self.ledger.exactly(1 - self.fidelity())

    def _read(self, event: Event, noise: float, rng: np.random.Generator) -> float:
        s = np.arange(self.k + 1)
        value = rng.choice(s, p=self.law(event)) + noise * rng.standard_normal()
        exponent = ((value - s) / noise) ** 2 / 4
        self._act(event, np.exp(exponent.min() - exponent))
        if self._space.size <= _FIDELITY_UP_TO:
            self.ledger.exactly(1 - self.fidelity())
        return float(value)

    def _act(self, event: Event, kraus: np.ndarray) -> None:
        """The Kraus operator kraus[S], normalised."""
        counts, turned = self._counts(event)
        turned = turned * kraus[counts]
        turned /= np.linalg.norm(turned)
        pauli = self._pauli(event)
        self._turned = None
        if pauli.x:
            self._space.rotate(turned, self._x, _turning(pauli)[0], -np.pi / 2)
        self._vector = turned

    def _counts(self, event: Event) -> tuple[np.ndarray, np.ndarray]:
        """The count S of every configuration, and the batch in a basis where S is diagonal."""
        pauli = self._pauli(event)
        if self._turned is not None and self._turned[0] == pauli:
            return self._turned[1:]
        self._lay_out(pauli.x)
        if not pauli.x:
            counts, turned = self._space.accepted(self._x, pauli), self._vector
        else:
            generator, first_accepts = _turning(pauli)
            counts = self._space.firsts if first_accepts else self.k - self._space.firsts
            turned = self._vector.copy()
            self._space.rotate(turned, self._x, generator, np.pi / 2)
        self._turned = pauli, counts, turned
        return counts, turned

    def _lay_out(self, x: int) -> None:
        if x and x != self._x:
            self._vector = self._space.relabelled(self._vector, self._x, x)
            self._x = x

    def _pauli(self, event: Event) -> PauliString:
        if event.pauli is None:
            raise QupropError(
                "the symmetric engine asks Pauli events, got a dense one; the null and mean_field engines take any"
            )
        return event.pauli


def _turning(pauli: PauliString) -> tuple[PauliString, bool]:
    """Q with exp(-i pi/4 Q) P exp(i pi/4 Q) = ±Z at the lowest one of P's x mask, and whether the sign is plus.

    Q has P's x mask and anticommutes with P; the image is -i Q P.
    """
    generator = PauliString(pauli.x, pauli.z ^ (pauli.x & -pauli.x))
    product = generator * pauli
    image = PauliString(product.x, product.z, product.phase + 3)
    return generator, image.sign > 0
