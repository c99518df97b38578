"""The undisturbed batch: every check triggers independently, with the probability fresh copies would give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quprop.collective.check import Check
from quprop.collective.event import Event
from quprop.collective.protocol import Batch, copy_state
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory
from quprop.simulate.vectors import rotate

Means = Callable[[Event], float]


@dataclass(frozen=True)
class NullEngine:
    """Keeps one copy's state vector; a check costs one expectation value, whatever k is.

    P_j = sum_s Bin(s; k, mu_j) f_j(s), in closed form. Exact as long as nothing disturbs; the total variation between
    its trajectories and the true ones is at most the sum over outcomes of the trace distance that each moves
    undisturbed copies by, which the ledger keeps as `trace_bound` and repeats as `error`. It grows with trigger
    probabilities, not with the number of checks. This is the model in which guarantees are stated, and not an
    approximation of another: it has no tolerance, and results show the sum as their damage.
    """

    name: ClassVar[str] = "null"
    exact_for: ClassVar[str] = "batches that no check has disturbed; the first check of any batch"

    def prepare(self, state: np.ndarray, k: int) -> NullCopies:
        """k copies of the normalised state (2^n,)."""
        vector, n, k = copy_state(state, k)
        memory.require(self.required_bytes(n, k), f"a batch of {n} qubits", "give means instead: prepare_means")
        return NullCopies(n, k, vector=vector)

    def prepare_means(self, means: Means, n: int, k: int) -> NullCopies:
        """k copies of n qubits of which only `means(event)`, <E> in the frame the caller is in, is known.

        For sizes where all expectation values come from one adjoint sweep. `rotate` then does nothing: `means` follows
        the frame itself.
        """
        if not callable(means) or n < 1 or isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise QupropError(f"`prepare_means` takes a function of an Event, n >= 1 and k >= 1, got {means}, {n}, {k}")
        return NullCopies(n, int(k), means=means)

    def required_bytes(self, n: int, k: int) -> int:
        """The vector, and what a rotation holds besides it."""
        return 3 * 16 * 2**n


class NullCopies(Batch):
    name = "null"

    def __init__(self, n: int, k: int, *, vector: np.ndarray | None = None, means: Means | None = None) -> None:
        super().__init__(n, k)
        self._vector, self._means = vector, means
        self._last: tuple[object, float] | None = None  # the event asked about since the last rotation, and its mean

    def _rotate(self, pauli: PauliString, angle: float) -> None:
        if self._vector is not None:
            self._vector = rotate(pauli, angle, self._vector)
            self._last = None

    def _mean(self, event: Event) -> float:
        if self._vector is None:
            assert self._means is not None
            return float(self._means(event))
        if self._last is None or self._last[0] != event.key:
            self._last = event.key, float(event.mean(self._vector))
        return self._last[1]

    def _trigger(self, check: Check) -> tuple[float, float]:
        return check.probability(self.k, self._mean(check.event)), self.ledger.trace_bound

    def _moved(self, check: Check, triggered: bool, probability: float) -> None:
        pass  # undisturbed

    def _go_on(self, check: Check, triggered: bool, probability: float) -> None:
        super()._go_on(check, triggered, probability)
        self.ledger.off(self.ledger.trace_bound)

    def _read(self, event: Event, noise: float, rng: np.random.Generator) -> float:
        """A reading of an undisturbed batch: binomial count and pointer noise; its back-action is only noted."""
        mean = self._mean(event)
        self.ledger.off(self.ledger.trace_bound + float(np.sqrt(self.k * mean * (1 - mean))) / (2 * noise))
        return rng.binomial(self.k, mean) + noise * rng.standard_normal()
