"""k copies as a product state that random kicks turn: the largest sizes.

Nobody looking, a Gaussian reading of the count S of E is the random collective rotation exp(i phi S), one phi ~ N(0,
1/(4 s^2)) for all copies: it multiplies the coherence between counts S and S' by exp(-(S - S')^2/(8 s^2)), as the
reading does. So the batch stays a product of k equal copies, one state vector is enough, and a reading costs what a
rotation costs.

The outcome of a check, of Kraus function g, multiplies the coherence by g(S) g(S'). Averaged over both outcomes this is
a random rotation too, up to fourth order in S - S', and each outcome for itself adds a variance of the phase of its own
(`Check.back_action`), a quarter of E[-(ln g^2)'']. The law of that phase is not Gaussian; it is taken as Gaussian, with
the right variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from quprop.collective.check import Check
from quprop.collective.engines.frame import RotatingState, RotatingStates
from quprop.collective.event import Event
from quprop.collective.protocol import Batch, copies, copy_state
from quprop.errors import QupropError, generator_of
from quprop.model.pauli import PauliString
from quprop.simulate import memory

_NO_KICK = 1e-6  # of the information that a reading of the check's noise has: a million such outcomes are one reading


@dataclass(frozen=True)
class MeanFieldEngine:
    """One state vector, kicked at random; y = Binomial(k, <E>) + N(0, s^2) with <E> of the kicked copy.

    Exact, at any k, for the law of every single reading (the others not looked at) and for the state of one copy.
    Checks with Gaussian noise are taken too, with kicks of the right variance, outcome by outcome. Exponential noise is
    refused: its corner has kicks of no finite variance as k grows.

    What is neglected is the information that an answer gives: answers correlate as if the kicks alone connected them,
    so that correlations of order k Delta^2/(k Delta^2 + s^2) are missing. Negligible for s^2 >> k, where gentle sweeps
    work (s of order sqrt(M)/eps, k of order sqrt(M)/eps^2; compare Sinha, arXiv:2411.01420). Read the same count twice
    and the second reading scatters afresh.
    """

    name: ClassVar[str] = "mean_field"
    exact_for: ClassVar[str] = (
        "the law of each single Gaussian reading at any k; correlations between answers miss terms of order k/s^2"
    )

    def prepare(self, state: np.ndarray | RotatingState, k: int) -> MeanFieldCopies:
        """k copies of the normalised state (2^n,), or of one held in another way, which then takes Pauli events."""
        if not isinstance(state, np.ndarray) and hasattr(state, "rotate"):
            return FrameCopies(state.copy(), copies(k))
        vector, n, k = copy_state(cast(np.ndarray, state), k)
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
        self._rng: np.random.Generator | None = None  # of the check in progress: it draws the kick

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
        mean = self._kick(event, rng.standard_normal() / (2 * noise))
        self.ledger.readings += 1
        infidelity = min(1.0, self.k * mean * (1 - mean) / (4 * noise**2))
        self.ledger.moved(math.sqrt(infidelity), 1 / noise**2)
        self._left_out(mean, 1 / noise**2)
        return float(rng.binomial(self.k, mean)) + noise * float(rng.standard_normal())

    def check(self, check: Check, rng: Any, *, spend: bool = True) -> bool:
        self._rng = generator_of(rng)
        return super().check(check, self._rng, spend=spend)

    def survive(self, check: Check, *, triggered: bool = False) -> float:
        raise QupropError(
            "the mean_field engine kicks its copies at random and needs a generator: call `check`, or use the gaussian "
            "or symmetric engine to go on in one branch"
        )

    def _trigger(self, check: Check) -> tuple[float, float]:
        if check.kind != "gaussian":
            raise QupropError(
                "the mean_field engine takes checks with Gaussian noise, got exponential noise; use the null or "
                "bosonic engine"
            )
        return check.probability(self.k, self._mean(check.event)), 0.0

    def _moved(self, check: Check, triggered: bool, probability: float) -> None:
        mean = self._mean(check.event)
        self._left_out(mean, check.information(self.k, mean, triggered))
        assert self._rng is not None
        information = check.back_action(self.k, mean, triggered)
        if information * check.noise**2 > _NO_KICK:
            self._kick(check.event, float(self._rng.standard_normal()) * math.sqrt(information) / 2)

    def _kick(self, event: Event, phi: float) -> float:
        """exp(i phi E) on every copy; returns <E>, which it does not change."""
        if event.pauli is not None:  # exp(i phi E) = exp(i phi/2) (cos(phi/2) + i sin(phi/2) P)
            moved = self._frame.applied(event.pauli)
            mean = (1 + float(np.vdot(self.state, moved).real)) / 2
            self._frame.mix(math.cos(phi / 2), moved, 1j * math.sin(phi / 2))
        else:  # exp(i phi E) = 1 + (exp(i phi) - 1) E
            moved = event.apply(self.state)
            mean = float(np.vdot(self.state, moved).real)
            self._frame.mix(1, moved, complex(math.cos(phi) - 1, math.sin(phi)))
        return min(1.0, max(0.0, mean))

    def _left_out(self, mean: float, information: float) -> None:
        """The part of the count's variance that the answer explains, and that no later answer here knows of."""
        explained = self.k * mean * (1 - mean) * information
        self.ledger.off(explained / (explained + 1))


class FrameCopies(MeanFieldCopies):
    """The same with the state of one copy held in any other way than as a vector."""

    def __init__(self, frame: RotatingState, k: int) -> None:
        Batch.__init__(self, frame.n, k)
        self.frame = frame
        self._rng = None

    def _rotate(self, pauli: PauliString, angle: float) -> None:
        self.frame.rotate(pauli, angle)

    def _mean(self, event: Event) -> float:
        if event.pauli is None:
            raise QupropError(
                "copies that are not held as a vector take Pauli events, got a dense one; use Event(pauli)"
            )
        return (1 + self.frame.mean(event.pauli)) / 2

    def _kick(self, event: Event, phi: float) -> float:
        mean = self._mean(event)
        assert event.pauli is not None
        self.frame.rotate(event.pauli, -phi)  # exp(i phi E) up to a phase
        return min(1.0, max(0.0, mean))
