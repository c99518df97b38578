"""k copies as a condensate with a few excitations: threshold checks in the quantum central limit.

Around psi^(x)k the batch is described by the fluctuation modes of the checks so far (`modes.py`) and amplitudes of few
excitations in them (`fock.py`); a pass acts with sqrt(1 - f(S)), a trigger with sqrt(f(S)), S the count along one
direction (`counts.py`).
Rotations carry the modes along and leave the amplitudes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quprop.collective.check import Check
from quprop.collective.engines import counts
from quprop.collective.engines.fock import MOST_EXCITATIONS, ManyModes, OneMode
from quprop.collective.engines.modes import Direction, Modes
from quprop.collective.event import Event
from quprop.collective.protocol import Batch, check_tolerance, copy_state
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory


@dataclass(frozen=True)
class BosonicEngine:
    """Fluctuation modes around the condensate, in a truncated Fock space.

    law         "binomial": counts have their exact law at finite k, so that the engine is exact for one qubit (up to
                `cut`), for a single direction, and for pairs of checks to order P^2; what it neglects is that excited
                copies in other directions answer differently, a shift of about one count in sqrt(k) per excitation.
                "normal": the plain central limit S = k mu + sqrt(k) X, whose probabilities are off by O(1/sqrt(k))
    cut         the most excitations while there is one mode
    amplitudes  how many amplitudes more modes may have: r modes keep at most N <= 12 excitations,
                C(r + N, N) <= `amplitudes`
    modes       the most modes; beyond, what a check does in new directions is dropped and counted as error
    drop        a direction becomes a mode when a pass excites it with more than this probability
    tolerance   the largest error of a trigger probability, by the engine's own estimate, that it answers with

    Each pass costs (r + 1) 2^n multiplications for the modes and 2 N r C(r + N - 1, N - 1) for the amplitudes.
    """

    law: str = "binomial"
    cut: int = 40
    amplitudes: int = 50_000
    modes: int = 64
    drop: float = 1e-12
    tolerance: float = 0.1

    name: ClassVar[str] = "bosonic"
    exact_for: ClassVar[str] = (
        "one qubit, and pairs of checks to second order in their trigger probabilities; otherwise the error is of "
        "order 1/sqrt(k) times the damage done"
    )

    def __post_init__(self) -> None:
        if self.law not in counts.LAWS:
            raise QupropError(f"`law` must be 'binomial' or 'normal', got {self.law!r}")
        if not 1 <= self.cut <= 400:
            raise QupropError(f"`cut` must be between 1 and 400 excitations, got {self.cut}; 40 is plenty")
        if self.modes < 1 or self.amplitudes < math.comb(self.modes + 2, 2):
            need = math.comb(max(self.modes, 1) + 2, 2)
            raise QupropError(
                f"two excitations in `modes` = {self.modes} modes need {need} amplitudes, got `amplitudes` = "
                f"{self.amplitudes}; allow fewer modes or more amplitudes"
            )
        if not 0 <= self.drop < 1:
            raise QupropError(f"`drop` must be a probability below 1, got {self.drop}")
        check_tolerance(self.tolerance)

    def prepare(self, state: np.ndarray, k: int) -> BosonicCopies:
        vector, n, k = copy_state(state, k)
        most = self._most_modes(n)
        memory.require(
            self.required_bytes(n, k),
            f"the bosonic engine with {most} modes of {n} qubits",
            "allow fewer modes (BosonicEngine(modes=8)) or take the null engine",
        )
        return BosonicCopies(self, vector, n, k)

    def required_bytes(self, n: int, k: int) -> int:
        vectors = (
            4 * (self._most_modes(n) + 1) * 16 << n
        )  # with the scratch of rotations, and a copy while one is added
        return vectors + 16 * self.amplitudes * (MOST_EXCITATIONS + 4)

    def excitations(self, modes: int) -> int:
        """N for that many modes."""
        highest = 2
        while highest < MOST_EXCITATIONS and math.comb(modes + highest + 1, modes) <= self.amplitudes:
            highest += 1
        return highest

    def _most_modes(self, n: int) -> int:
        return self.modes if n > 30 else min(self.modes, 2**n - 1)


class BosonicCopies(Batch):
    """What `BosonicEngine` prepares."""

    name = "bosonic"

    def __init__(self, engine: BosonicEngine, state: np.ndarray, n: int, k: int) -> None:
        super().__init__(n, k, engine.tolerance)
        self.engine = engine
        self.modes = Modes(state)
        self.fock: OneMode | ManyModes | None = None  # None: no excitation yet
        self._cut_probability = 0.0  # of excitations beyond the highest kept
        self._dropped_probability = 0.0  # of excitations in directions that are no mode
        self.ledger.exactly(0.0)

    def _rotate(self, pauli: PauliString, angle: float) -> None:
        self.modes.rotate(pauli, angle)

    def _mean(self, event: Event) -> float:
        return self.modes.direction(event).mean

    def _trigger(self, check: Check) -> tuple[float, float]:
        d = self.modes.direction(check.event)
        if d.spread == 0.0:
            return float(check.trigger(np.array(self.k * d.mean), self.k)), 0.0
        s, b, rho = self._law(d, self.k * check.threshold)
        probability = float(_density(b, rho) @ check.trigger(s, self.k))
        return probability, self._error(check, d, probability)

    def _moved(self, check: Check, triggered: bool, probability: float) -> None:
        d = self.modes.direction(check.event)
        if d.spread == 0.0:
            return
        split = self.k * check.threshold
        outcome, weight = (check.trigger, probability) if triggered else (check.passing, 1 - probability)
        self._kraus(d, lambda s: np.sqrt(outcome(s, self.k)), split, weight)

    def _read(self, event: Event, noise: float, rng: np.random.Generator) -> float:
        d = self.modes.direction(event)
        if d.spread == 0.0:
            return self.k * d.mean + noise * float(rng.normal())
        self._trust(error := min(1.0, self._lost(1.0)))
        self.ledger.off(error)
        s, b, rho = self._law(d, self.k * d.mean)
        density = np.maximum(_density(b, rho), 0.0)
        order = np.argsort(s)
        s, density = s[order], density[order]
        if self.engine.law == "binomial" and len(s) > 1 and s[1] - s[0] == 1.0:
            count = float(rng.choice(s, p=density / density.sum()))
        else:
            distribution = np.cumsum(density) - density / 2
            count = float(np.interp(rng.random() * density.sum(), distribution, s))
        y = count + noise * float(rng.normal())
        chance = float(density @ np.exp(-((y - s) ** 2) / (2 * noise**2)))
        self._kraus(d, lambda s: np.exp(-((y - s) ** 2) / (4 * noise**2)), y, chance)
        return y

    def _law(self, d: Direction, split: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Counts s, B and rho with Pr[s] = sum_mn B_m(s) rho_mn B_n(s)."""
        if self.fock is None:
            rho = np.ones((1, 1), complex)
        else:
            rho = self.fock.marginal(d.components)
        rho = rho[: self.k + 1, : self.k + 1]
        s, b = counts.basis(self.k, d.mean, len(rho) - 1, self.engine.law, split)
        return s, b, rho

    def _kraus(self, d: Direction, function: Callable[[np.ndarray], np.ndarray], split: float, weight: float) -> None:
        """The batch becomes g(S) batch, normalised; `weight` is the probability <g^2> that this had to keep."""
        engine = self.engine
        size = min(self.k, engine.cut) + 1 if self.fock is None else self.fock.highest + 1
        s, b = counts.basis(self.k, d.mean, min(self.k + 1, size) - 1, engine.law, split)
        weighted = b * function(s)
        made = weighted @ b[0]  # what the empty state becomes
        new = d.rest_size**2 * float(np.arange(len(made)) @ made**2) / max(float(made @ made), 1e-300)
        if new > engine.drop and len(self.modes) < engine.modes:
            d = self._add(d)
            new = 0.0
        if self.fock is None:
            self._dropped_probability += new
            return
        size = self.fock.highest + 1
        cut = min(size, len(b))
        matrix = np.zeros((size, size))
        matrix[:cut, :cut] = weighted[:cut] @ b[:cut].T
        lost = max(0.0, 1.0 - self.fock.apply(d.components, matrix) / weight)
        self._dropped_probability += new
        self._cut_probability += max(0.0, lost - new)
        self.ledger.exactly(1.0 - abs(self.fock.amplitudes[0]) ** 2 * (1.0 - min(1.0, self._cut_probability)))

    def _add(self, d: Direction) -> Direction:
        d = self.modes.add(d)
        r = len(self.modes)
        if self.fock is None:
            self.fock = OneMode(np.eye(1, min(self.k, self.engine.cut) + 1, dtype=complex)[0])
        else:
            self.fock, lost = ManyModes.grown(self.fock, r, self.engine.excitations(r))
            self._cut_probability += lost
        return d

    def _error(self, check: Check, d: Direction, probability: float) -> float:
        """The sum of four estimates; with the binomial law the first is 0, and the last too for one qubit.

        The limit law shifts P by what it does to undisturbed copies; excitations cut off with probability q by a few q;
        excitations of probability q in dropped directions, taken as orthogonal, by up to 2 sqrt(q P) (Cauchy-Schwarz
        with <f^2> <= P); excited copies in other directions shift the count by about one each, and P by P/lambda per
        count (thrice that is what covers the deviations from exact batches of one to three qubits).
        """
        s, b = counts.basis(self.k, d.mean, 0, self.engine.law, self.k * check.threshold)
        error = abs(float(b[0] ** 2 @ check.trigger(s, self.k)) - check.probability(self.k, d.mean))
        error += self._lost(probability)
        exact = self.engine.law == "binomial" and self.modes.complete and len(self.modes) == 1
        if self.fock is not None and not exact:
            error += 3 * probability * self.fock.excitations() / check.noise
        return min(1.0, error)

    def _lost(self, probability: float) -> float:
        return 4 * self._cut_probability + 2 * math.sqrt(self._dropped_probability * max(0.0, probability))


def _density(b: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """sum_mn B_m(s) rho_mn B_n(s), real (G,)."""
    return np.sum(b * (rho.real @ b), axis=0)
