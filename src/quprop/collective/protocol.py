"""What a batch of k copies can be asked, and what an engine that simulates it looks like.

A batch is k copies of one pure state of n qubits, held coherently. It is rotated, all copies alike, and asked threshold
checks (`check.py`). A check that passes hardly moves it; one that triggers spends it, or moves it, if the batch is to
be used again. Engines differ in what they keep of the 2^(nk) amplitudes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np

from quprop.arrays import checked
from quprop.collective.check import Check
from quprop.collective.event import Event, hermitian
from quprop.collective.ledger import Ledger
from quprop.errors import QupropError, generator_of
from quprop.model.pauli import PauliString

_NORM_TOLERANCE = 1e-6  # a state in single precision is this close to norm 1


class EngineError(QupropError):
    """An engine cannot follow the batch, or estimates that it is less accurate than its tolerance; another one may."""


class HeldCopies(Protocol):
    """k copies of one state, held coherently and changed in place."""

    n: int
    k: int

    @property
    def name(self) -> str: ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def spent(self) -> bool: ...

    def rotate(self, pauli: PauliString, angle: float) -> None:
        """exp(-i angle P/2) on every copy; undoing a rotation of the circuit is the negative angle."""
        ...

    def check(self, check: Check, rng: Any, *, spend: bool = True) -> bool:
        """True if it triggered. On a pass the batch moves by sqrt(1 - f(S)).

        A trigger spends the copies; with `spend=False` it moves them by sqrt(f(S)), and they can be asked again.
        Engines that cannot follow a trigger refuse `spend=False` (product_sum).
        """
        ...

    def probability(self, check: Check) -> float:
        """The probability that `check` would trigger now, given all that passed; nothing is done."""
        ...

    def survive(self, check: Check, *, triggered: bool = False) -> float:
        """Goes on in the branch where `check` passes, or triggers, without drawing.

        Returns the probability of a trigger.
        """
        ...

    def read(self, event: Event, noise: float, rng: Any) -> float:
        """A reading y of the count S by a Gaussian pointer, Kraus operators proportional to exp(-(y - S)^2/(4 s^2)).

        y has mean <S> and variance Var(S) + s^2, s = `noise`. Every reading moves the batch: k Delta^2/(4 s^2) in
        infidelity.
        """
        ...


class CopyEngine(Protocol):
    """A way to simulate a batch: a frozen dataclass of settings."""

    @property
    def name(self) -> str: ...

    @property
    def exact_for(self) -> str: ...

    def prepare(self, state: np.ndarray, k: int) -> HeldCopies:
        """k copies of the normalised pure state (2^n,)."""
        ...

    def required_bytes(self, n: int, k: int) -> int:
        """The most it holds, for n qubits and k copies."""
        ...


class Batch(ABC):
    """What all engines' copies share: checking arguments, drawing, the ledger.

    An engine writes `_rotate`, `_mean` (the undisturbed <E> of one copy), `_trigger` (the probability that a check
    triggers, and how far it may be off) and `_moved` (what an outcome of a check does), and `_read` if it can; it may
    set `ledger.exactly(infidelity)`. No answer is given of which the error exceeds `tolerance`.
    """

    name = "batch"
    follows_triggers = True  # `_moved` takes triggers

    def __init__(self, n: int, k: int, tolerance: float = math.inf) -> None:
        self.n, self.k, self.tolerance = n, k, tolerance
        self.ledger = Ledger()
        self.spent = False

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli = hermitian(pauli, self.n)
        self._unspent()
        if not np.isfinite(angle):
            raise QupropError(f"`angle` must be a finite number, got {angle}; check what it was computed from")
        sign = pauli.sign
        self._rotate(PauliString(pauli.x, pauli.z), sign * float(angle))

    def check(self, check: Check, rng: Any, *, spend: bool = True) -> bool:
        rng = generator_of(rng)
        if not spend:
            self._follows()
        probability, error = self._ask(check)
        triggered = bool(rng.random() < probability)
        self.spent = triggered and spend
        if not self.spent:
            self._go_on(check, triggered, probability)
        self.ledger.checked(probability, triggered)
        self.ledger.off(error)
        return triggered

    def survive(self, check: Check, *, triggered: bool = False) -> float:
        if triggered:
            self._follows()
        probability, error = self._ask(check)
        if triggered and probability <= 0.0:
            raise QupropError("a check that never triggers has no branch where it did; lower its threshold")
        if not triggered and probability >= 1.0:
            raise QupropError("a check that triggers with certainty has no passing branch; raise its threshold")
        self._go_on(check, triggered, probability)
        self.ledger.checked(probability, triggered)
        self.ledger.off(error)
        return probability

    def probability(self, check: Check) -> float:
        return self._ask(check)[0]

    def read(self, event: Event, noise: float, rng: Any) -> float:
        self._unspent()
        event.check_fits(self.n)
        if not (np.isfinite(noise) and noise > 0):
            raise QupropError(f"`noise` must be a positive number of copies, got {noise}; sqrt(k) is a mild reading")
        mean = float(self._mean(event))
        infidelity = min(1.0, self.k * mean * (1 - mean) / (4 * noise**2))
        value = float(self._read(event, float(noise), generator_of(rng)))
        self.ledger.readings += 1
        self.ledger.moved(math.sqrt(infidelity), 1 / noise**2)
        return value

    def mean(self, event: Event) -> float:
        """<E> of one undisturbed copy in the current frame: what a simulator may look at and an estimator may not."""
        event.check_fits(self.n)
        return float(self._mean(event))

    def _go_on(self, check: Check, triggered: bool, probability: float) -> None:
        mean = float(self._mean(check.event))
        distance = check.trigger_distance if triggered else check.pass_distance
        moved = distance(self.k, mean), check.information(self.k, mean, triggered)
        self._moved(check, triggered, probability)
        self.ledger.moved(*moved)

    def _follows(self) -> None:
        if not self.follows_triggers:
            raise EngineError(
                f"the {self.name} engine does not follow a batch that survives a trigger; take the symmetric, bosonic, "
                "gaussian or mean_field engine, or let a trigger spend the batch"
            )

    def _ask(self, check: Check) -> tuple[float, float]:
        self._unspent()
        check.event.check_fits(self.n)
        probability, error = self._trigger(check)
        self._trust(error)
        return min(1.0, max(0.0, float(probability))), error

    def _trust(self, error: float) -> None:
        if not error <= self.tolerance:
            raise EngineError(
                f"the {self.name} engine estimates that its next answer is off by {error:.2g}, above its tolerance of "
                f"{self.tolerance:g}; ask gentler checks (a larger c), take engine='auto' or 'symmetric', or allow it "
                "with the engine's tolerance="
            )

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
    def _trigger(self, check: Check) -> tuple[float, float]: ...

    @abstractmethod
    def _moved(self, check: Check, triggered: bool, probability: float) -> None:
        """sqrt(f(S)) or sqrt(1 - f(S)) acts, and the batch is normalised; `probability` is that of a trigger."""


def check_tolerance(tolerance: float) -> None:
    """Of an engine's settings."""
    if not tolerance > 0:
        raise QupropError(f"`tolerance` is the largest error of a probability, above 0, got {tolerance}; 0.1 is usual")


def copy_state(state: np.ndarray, k: int) -> tuple[np.ndarray, int, int]:
    """A complex128 copy of a normalised state (2^n,), n and k; refuses anything else."""
    vector = checked("the state of one copy", state, ("2^n",), complex).copy()
    d = len(vector)
    if d < 2 or d & (d - 1):
        raise QupropError(f"the state of one copy must have shape (2^n,), got {np.shape(state)}")
    norm = float(np.linalg.norm(vector))
    if not abs(norm - 1) < _NORM_TOLERANCE:
        raise QupropError(f"the state of one copy must have norm 1, got {norm:.6g}; divide it by its norm")
    return vector / norm, d.bit_length() - 1, copies(k)


def copies(k: int) -> int:
    """A number of copies, or a refusal."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise QupropError(f"`k`, the number of copies, must be a whole number, 1 or more, got {k!r}")
    return int(k)
