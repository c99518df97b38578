"""k copies as a product state that random kicks turn: the largest sizes.

Nobody looking, a Gaussian reading of the count S of E is the random collective rotation exp(i phi S), one phi ~ N(0,
1/(4 s^2)) for all copies: it multiplies the coherence between counts S and S' by exp(-(S - S')^2/(8 s^2)), as the
reading does. So the batch stays a product of k equal copies, one state vector is enough, and a reading costs what a
rotation costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from quprop.collective.check import Check
from quprop.collective.engines.frame import RotatingStates
from quprop.collective.event import Event
from quprop.collective.protocol import Batch, copy_state
from quprop.errors import QupropError, generator_of
from quprop.model.pauli import PauliString
from quprop.simulate import memory


@dataclass(frozen=True)
class MeanFieldEngine:
    """One state vector, kicked at random; y = Binomial(k, <E>) + N(0, s^2) with <E> of the kicked copy.

    Exact, at any k, for the law of every single reading (the others not looked at) and for the state of one copy. What
    is neglected is the information that a reading gives: readings correlate as if the kicks alone connected them, so
    that correlations of order k Delta^2/(k Delta^2 + s^2) are missing. Negligible for s^2 >> k, where gentle sweeps
    work (s of order sqrt(M)/eps, k of order sqrt(M)/eps^2; compare Sinha, arXiv:2411.01420). Read the same count twice
    and the second reading scatters afresh.
    """

    name: ClassVar[str] = "mean_field"
    exact_for: ClassVar[str] = (
        "the law of each single Gaussian reading at any k; correlations between readings miss terms of order k/s^2"
    )

    def prepare(self, state: np.ndarray, k: int) -> MeanFieldCopies:
        """k copies of the normalised state (2^n,)."""
        vector, n, k = copy_state(state, k)
        memory.require(self.required_bytes(n, k), f"a state of {n} qubits", "use fewer qubits")
        return MeanFieldCopies(vector, n, k)

    def required_bytes(self, n: int, k: int) -> int:
        return 3 * 16 * 2**n + 8 * 2**n


class MeanFieldCopies(Batch):
    """What `MeanFieldEngine` prepares; `ledger.error` is the largest correlation it may have left out."""

    name = "mean_field"

    def __init__(self, state: np.ndarray, n: int, k: int) -> None:
        super().__init__(n, k)
        self._frame = RotatingStates(state[None])

    @property
    def state(self) -> np.ndarray:
        """The state of one copy on this trajectory, (2^n,); a view."""
        return self._frame.rows[0]

    def _rotate(self, pauli: PauliString, angle: float) -> None:
        self._frame.rotate(pauli, angle)

    def _mean(self, event: Event) -> float:
        return float(event.mean(self.state))

    def read(self, event: Event, noise: float, rng: Any) -> float:
        """One reading; <E> and the kick share one application of E, so it costs one rotation."""
        self._unspent()
        event.check_fits(self.n)
        if not (math.isfinite(noise) and noise > 0):
            raise QupropError(f"`noise` must be a positive number of copies, got {noise}; sqrt(k) is a mild reading")
        rng = generator_of(rng)
        phi = rng.standard_normal() / (2 * noise)
        if event.pauli is not None:  # exp(i phi E) = exp(i phi/2) (cos(phi/2) + i sin(phi/2) P)
            moved = self._frame.applied(event.pauli)
            mean = (1 + float(np.vdot(self.state, moved).real)) / 2
            self._frame.mix(math.cos(phi / 2), moved, 1j * math.sin(phi / 2))
        else:  # exp(i phi E) = 1 + (exp(i phi) - 1) E
            moved = event.apply(self.state)
            mean = float(np.vdot(self.state, moved).real)
            self._frame.mix(1, moved, complex(math.cos(phi) - 1, math.sin(phi)))
        mean = min(1.0, max(0.0, mean))
        spread = self.k * mean * (1 - mean)
        self.ledger.readings += 1
        infidelity = min(1.0, spread / (4 * noise**2))
        self.ledger.moved(math.sqrt(infidelity))
        self.ledger.off(spread / (spread + noise**2))
        return float(rng.binomial(self.k, mean)) + noise * float(rng.standard_normal())

    def _trigger(self, check: Check) -> tuple[float, float]:
        raise QupropError("the mean_field engine reads values, not threshold checks; use the null or bosonic engine")

    def _pass(self, check: Check, probability: float) -> None:  # pragma: no cover - `_trigger` refuses first
        raise AssertionError
