"""What a batch of k copies can be asked, and what an engine that simulates it looks like.

A batch is k copies of one pure state of n qubits, held coherently. It is rotated, all copies alike, and asked threshold
checks (`check.py`). A check that passes hardly moves it; one that triggers spends it. Engines differ in what they
keep of the 2^(nk) amplitudes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np

from quprop.collective.check import Check
from quprop.collective.event import Event, hermitian
from quprop.collective.ledger import Ledger
from quprop.errors import QupropError
from quprop.pauli import PauliString
from quprop.seeds import generator_of

_NORM_TOLERANCE = 1e-6  # a state in single precision is this close to norm 1


class Copies(Protocol):
    """k copies of one state, held coherently and changed in place."""

    n: int
    k: int
    ledger: Ledger
    spent: bool

    def rotate(self, pauli: PauliString, angle: float) -> None:
        """exp(-i angle P/2) on every copy; undoing a rotation of the circuit is the negative angle."""
        ...

    def check(self, check: Check, rng: Any) -> bool:
        """True if it triggered (then the copies are spent); on a pass the batch moves by sqrt(1 - f(S))."""
        ...

    def probability(self, check: Check) -> float:
        """The probability that `check` would trigger now, given all that passed; nothing is done."""
        ...

    def survive(self, check: Check) -> float:
        """Goes on in the branch where `check` passes, without drawing; returns the trigger probability."""
        ...

    def read(self, event: Event, noise: float, rng: Any) -> float:
        """A reading y of the count S by a Gaussian pointer, Kraus operators proportional to exp(-(y - S)^2/(4 s^2)).

        y has mean <S> and variance Var(S) + s^2, s = `noise`. Every reading moves the batch: k Delta^2/(4 s^2) in
        infidelity.
        """
        ...


class Engine(Protocol):
    """A way to simulate a batch: a frozen dataclass of settings."""

    @property
    def name(self) -> str: ...

    @property
    def exact_for(self) -> str: ...

    def prepare(self, state: np.ndarray, k: int) -> Copies:
        """k copies of the normalised pure state (2^n,)."""
        ...

    def required_bytes(self, n: int, k: int) -> int:
        """The most it holds, for n qubits and k copies."""
        ...


class Batch(ABC):
    """What all engines' copies share: checking arguments, drawing, the ledger.

    An engine writes `_rotate`, `_mean` (the undisturbed <E> of one copy), `_probability` and `_pass`, and `_read` if it
    can; it adds its own error to `ledger.error` and may set `ledger.exactly(infidelity)`.
    """

    name = "batch"

    def __init__(self, n: int, k: int) -> None:
        self.n, self.k = n, k
        self.ledger = Ledger()
        self.spent = False

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli = hermitian(pauli, self.n)
        self._unspent()
        if not np.isfinite(angle):
            raise QupropError(f"`angle` must be a finite number, got {angle}; check what it was computed from")
        sign = pauli.sign
        self._rotate(PauliString(pauli.x, pauli.z), sign * float(angle))

    def check(self, check: Check, rng: Any) -> bool:
        rng = generator_of(rng)
        probability = self.probability(check)
        triggered = bool(rng.random() < probability)
        if triggered:
            self.ledger.checked(probability, True)
            self.spent = True
        else:
            self._go_on(check, probability)
        return triggered

    def survive(self, check: Check) -> float:
        probability = self.probability(check)
        if probability >= 1.0:
            raise QupropError("a check that triggers with certainty has no passing branch; raise its threshold")
        self._go_on(check, probability)
        return probability

    def probability(self, check: Check) -> float:
        self._unspent()
        check.event.check_fits(self.n)
        return min(1.0, max(0.0, float(self._probability(check))))

    def read(self, event: Event, noise: float, rng: Any) -> float:
        self._unspent()
        event.check_fits(self.n)
        if not (np.isfinite(noise) and noise > 0):
            raise QupropError(f"`noise` must be a positive number of copies, got {noise}; sqrt(k) is a mild reading")
        mean = float(self._mean(event))
        infidelity = min(1.0, self.k * mean * (1 - mean) / (4 * noise**2))
        value = float(self._read(event, float(noise), generator_of(rng)))
        self.ledger.readings += 1
        self.ledger.moved(float(np.sqrt(infidelity)), infidelity)
        return value

    def mean(self, event: Event) -> float:
        """<E> of one undisturbed copy in the current frame: what a simulator may look at and an estimator may not."""
        event.check_fits(self.n)
        return float(self._mean(event))

    def _go_on(self, check: Check, probability: float) -> None:
        mean = float(self._mean(check.event))
        self._pass(check, probability)
        self.ledger.checked(probability, False)
        self.ledger.moved(check.move(self.k, mean, probability), check.variance(self.k, mean) / 4)

    def _unspent(self) -> None:
        if self.spent:
            raise QupropError("this batch triggered a check and is spent; prepare a fresh one")

    def _read(self, event: Event, noise: float, rng: np.random.Generator) -> float:
        raise QupropError(
            f"the {self.name} engine does not simulate readings of counts; the symmetric, bosonic, gaussian and "
            "mean_field engines do"
        )

    @abstractmethod
    def _rotate(self, pauli: PauliString, angle: float) -> None: ...

    @abstractmethod
    def _mean(self, event: Event) -> float: ...

    @abstractmethod
    def _probability(self, check: Check) -> float: ...

    @abstractmethod
    def _pass(self, check: Check, probability: float) -> None: ...


def copy_state(state: np.ndarray, k: int) -> tuple[np.ndarray, int, int]:
    """A complex128 copy of a normalised state (2^n,), n and k; refuses anything else."""
    vector = np.array(state, complex)
    d = vector.shape[0] if vector.ndim == 1 else 0
    if d < 2 or d & (d - 1):
        raise QupropError(f"the state of one copy must have shape (2^n,), got {np.shape(state)}")
    norm = float(np.linalg.norm(vector))
    if not abs(norm - 1) < _NORM_TOLERANCE:
        raise QupropError(f"the state of one copy must have norm 1, got {norm:.6g}; divide it by its norm")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise QupropError(f"`k`, the number of copies, must be a whole number, 1 or more, got {k!r}")
    return vector / norm, d.bit_length() - 1, int(k)
