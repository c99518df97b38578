"""The sweep of shadow tomography and of quantum backpropagation: events one by one, on copies and on a hypothesis.

An event is predicted from the hypothesis sigma; a two-sided check asks a batch of copies whether the truth is
elsewhere. A check that passes gives the prediction as the answer and hardly moves the batch. On a trigger the event is
measured and sigma learns the outcome: on fresh copies, and a new batch is prepared when the next event comes, or on the
batch itself, which then goes on. Between events the frame may turn, all copies and sigma alike. What the numbers of a
`SweepRule` promise is worked out by who chooses them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from quprop.collective.check import two_sided
from quprop.collective.event import Event
from quprop.collective.hypothesis import DenseHypothesis, Hypothesis
from quprop.collective.ledger import Ledger
from quprop.collective.protocol import CopyEngine, HeldCopies
from quprop.errors import QupropError
from quprop.model.pauli import PauliString


class Turn(NamedTuple):
    """Between events of a stream: exp(-i angle P/2) on every copy, and on the hypothesis."""

    pauli: PauliString
    angle: float


class SweepRule(NamedTuple):
    """When an event triggers and what is then learned, in acceptance probabilities.

    distance   of both thresholds from the prediction
    noise      of the checks
    accuracy   of a measured probability
    learn_at   the smallest measured gap that sigma learns from
    kind       of the noise, see `Check`
    highest    thresholds from here on are not asked about
    """

    distance: float
    noise: float
    accuracy: float
    learn_at: float = 0.0
    kind: str = "exponential"
    highest: float = math.inf


class Answer(NamedTuple):
    """What one event was found to be: `measured` after a trigger, else as predicted.

    predicted    <E> of sigma
    string       2 <E> - 1 of sigma, a string's expectation
    learned      whether sigma was told
    probability  of a trigger, as the engine saw it
    ledger       of the batch that was asked, this event included
    """

    predicted: float
    string: float
    measured: float | None
    learned: bool
    probability: float
    ledger: Ledger


class Laboratory(Protocol):
    """The copies, in today's frame: answers bits and frequencies, counts what it uses. Only it knows the state.

    keeps: whether a batch outlives a trigger.
    """

    engine: CopyEngine
    keeps: bool

    def prepare(self) -> HeldCopies:
        """A fresh batch."""
        ...

    def turn(self, turn: Turn, batch: HeldCopies | None) -> None: ...

    def answered(self) -> None:
        """A check ended in the measurement of a bit."""
        ...

    def measure(self, event: Event, batch: HeldCopies) -> tuple[float, bool]:
        """How often copies accept, those of the batch that triggered or fresh ones, and whether the batch goes on."""
        ...


class Learner:
    """The hypothesis, and nothing of the truth."""

    def __init__(self, state: Hypothesis) -> None:
        self.state = state

    def predict(self, event: Event) -> tuple[float, float]:
        """<E> and 2 <E> - 1 of sigma."""
        if event.pauli is not None:
            string = self.state.predict(event.pauli)
            return (1 + string) / 2, string
        mean = min(1.0, max(0.0, self._dense().predict_matrix(event.matrix)))  # type: ignore[arg-type]
        return mean, 2 * mean - 1

    def learn(self, event: Event, mean: float, accuracy: float) -> None:
        """<E> was measured to be `mean`."""
        if event.pauli is not None:
            self.state.learn(event.pauli, 2 * mean - 1, 2 * accuracy)
        else:
            self._dense().learn_matrix(event.matrix, mean, accuracy)  # type: ignore[arg-type]

    def _dense(self) -> DenseHypothesis:
        if not isinstance(self.state, DenseHypothesis):
            raise QupropError(
                f"a {type(self.state).__name__} takes Pauli events, got a dense one; use hypothesis='dense'"
            )
        return self.state


class Sweep:
    """One pass over a stream of events and turns, and its books.

    batches      prepared so far
    ledgers      of those that are no more in use
    probability  the sum of all trigger probabilities, as the engine saw them
    error        the largest that the engine estimates for itself
    used         names of the engines; several, where batches fell back on others
    """

    def __init__(self, laboratory: Laboratory, learner: Learner, rule: SweepRule, rng: np.random.Generator) -> None:
        self.laboratory, self.learner, self.rule, self.rng = laboratory, learner, rule, rng
        self.batches = 0
        self.ledgers: list[Ledger] = []
        self.used = [laboratory.engine.name]
        self._batch: HeldCopies | None = None

    @property
    def probability(self) -> float:
        return sum(ledger.probability for ledger in self.ledgers)

    @property
    def error(self) -> float:
        return max((ledger.error for ledger in self.ledgers), default=0.0)

    @property
    def damage(self) -> list[float]:
        """Of every batch, `Ledger.trace_bound`."""
        return [ledger.trace_bound for ledger in self.ledgers]

    def answers(self, stream: Iterable[Event | Turn]) -> Iterator[Answer]:
        """One for every event, as it is answered."""
        for item in stream:
            if isinstance(item, Turn):
                self.laboratory.turn(item, self._batch)
                self.learner.state.rotate(*item)
            else:
                yield self._answer(item)
        self._close()

    def _answer(self, event: Event) -> Answer:
        if self._batch is None:
            self._batch = self.laboratory.prepare()
            self.batches += 1
        batch = self._batch
        predicted, string = self.learner.predict(event)
        triggered, probability = self._ask(batch, event, predicted)
        if not triggered:
            return Answer(predicted, string, None, False, probability, batch.ledger)
        measured, goes_on = self.laboratory.measure(event, batch)
        if not goes_on:
            self._close()
        learned = abs(measured - predicted) >= self.rule.learn_at
        if learned:
            self.learner.learn(event, measured, self.rule.accuracy)
        return Answer(predicted, string, measured, learned, probability, batch.ledger)

    def _ask(self, batch: HeldCopies, event: Event, predicted: float) -> tuple[bool, float]:
        """Whether one of both checks triggered, and how likely that was."""
        probability = 0.0
        rule = self.rule
        for check in two_sided(event, predicted, rule.distance, rule.noise, rule.kind):
            if check.threshold >= rule.highest:
                continue
            self.laboratory.answered()
            triggered = batch.check(check, self.rng, spend=not self.laboratory.keeps)
            probability += batch.ledger.latest
            if triggered:
                return True, probability
        return False, probability

    def _close(self) -> None:
        if self._batch is not None:
            self.ledgers.append(self._batch.ledger)
            if self._batch.name not in self.used:
                self.used.append(self._batch.name)
        self._batch = None
