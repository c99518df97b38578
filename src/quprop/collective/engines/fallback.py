"""Engines one after another: where one estimates that it is not accurate enough, the next one takes its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from quprop.collective.check import Check
from quprop.collective.event import Event
from quprop.collective.ledger import Ledger
from quprop.collective.protocol import CopyEngine, EngineError, HeldCopies
from quprop.errors import QupropError, generator_of
from quprop.model.pauli import PauliString

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class FallbackEngine:
    """The first of `engines` whose own error estimate is within its tolerance, decided anew before every answer.

    When an engine gives up, what its batch went through, rotations and checks survived, is done over again in the next
    one, which then answers; nothing is drawn twice. An engine that cannot follow triggers gives up at `spend=False`. A
    batch that was read cannot be done over.
    """

    engines: tuple[CopyEngine, ...]

    @property
    def name(self) -> str:
        return self.engines[0].name

    @property
    def exact_for(self) -> str:
        return self.engines[0].exact_for

    def prepare(self, state: np.ndarray, k: int) -> FallbackCopies:
        """k copies of the normalised state (2^n,)."""
        return FallbackCopies(self.engines, state, k)

    def required_bytes(self, n: int, k: int) -> int:
        """The largest of them, and the state to begin anew with."""
        return max(engine.required_bytes(n, k) for engine in self.engines) + 16 * 2**n


class FallbackCopies:
    """What `FallbackEngine` prepares; `name` is that of the engine in use."""

    def __init__(self, engines: tuple[CopyEngine, ...], state: np.ndarray, k: int) -> None:
        self._batch: HeldCopies = engines[0].prepare(state, k)
        self._next, self._state = engines[1:], np.array(state)
        self._course: list[Callable[[HeldCopies], object]] = []  # what the batch went through, to do over again
        self.n, self.k = self._batch.n, self._batch.k

    @property
    def name(self) -> str:
        return self._batch.name

    @property
    def ledger(self) -> Ledger:
        return self._batch.ledger

    @property
    def spent(self) -> bool:
        return self._batch.spent

    def rotate(self, pauli: PauliString, angle: float) -> None:
        self._batch.rotate(pauli, angle)
        self._course.append(lambda batch: batch.rotate(pauli, angle))

    def check(self, check: Check, rng: Any, *, spend: bool = True) -> bool:
        rng = generator_of(rng)
        triggered = self._answer(lambda batch: batch.check(check, rng, spend=spend))
        self._course.append(lambda batch: batch.survive(check, triggered=triggered))
        return triggered

    def survive(self, check: Check, *, triggered: bool = False) -> float:
        probability = self._answer(lambda batch: batch.survive(check, triggered=triggered))
        self._course.append(lambda batch: batch.survive(check, triggered=triggered))
        return probability

    def probability(self, check: Check) -> float:
        return self._answer(lambda batch: batch.probability(check))

    def read(self, event: Event, noise: float, rng: Any) -> float:
        rng = generator_of(rng)
        value = self._answer(lambda batch: batch.read(event, noise, rng))
        self._next = ()
        return value

    def _answer(self, ask: Callable[[HeldCopies], _Answer]) -> _Answer:
        while True:
            try:
                return ask(self._batch)
            except EngineError:
                if not self._fall_back():
                    raise

    def _fall_back(self) -> bool:
        """Whether there is an engine that can be where this one is."""
        while self._next:
            engine, *rest = self._next
            self._next = tuple(rest)
            batch = engine.prepare(self._state, self.k)
            try:
                for step in self._course:
                    step(batch)
            except QupropError:  # beyond its own tolerance on the way, or sure of an outcome that did not come
                continue
            self._batch = batch
            return True
        return False
