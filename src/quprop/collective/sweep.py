"""The sweep of shadow tomography and of quantum backpropagation: events one by one, on copies and on a hypothesis.

An event is predicted from the hypothesis sigma; a two-sided check asks a batch of copies whether the truth is
elsewhere. A check that passes gives the prediction as the answer and hardly moves the batch. A trigger spends it: the
event is measured on fresh copies, sigma corrected, and a new batch prepared when the next event comes. Between events
the frame may turn, all copies and sigma alike. What the numbers of a `SweepRule` promise is worked out by who chooses
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import numpy as np

from quprop.collective.check import two_sided
from quprop.collective.event import Event
from quprop.collective.hypothesis import DenseHypothesis, Hypothesis
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
    noise      lambda of the checks
    accuracy   delta of a measured frequency
    update_at  the smallest measured gap that is corrected, by a step of 4 (|gap| - delta)
    updates    the most corrections by one event
    highest    thresholds from here on are not asked about
    """

    distance: float
    noise: float
    accuracy: float
    update_at: float
    updates: int = 1
    highest: float = math.inf


class Answer(NamedTuple):
    """What one event was found to be: `measured` on fresh copies after a trigger, else as predicted.

    predicted    <E> of sigma
    string       2 <E> - 1 of sigma, a string's expectation
    updates      corrections of sigma
    probability  of a trigger, as the engine saw it
    damage       `Ledger.trace_bound` of the batch, this event included
    """

    predicted: float
    string: float
    measured: float | None
    updates: int
    probability: float
    damage: float


class Laboratory(Protocol):
    """The copies, in today's frame: answers bits and frequencies, counts what it uses. Only it knows the state."""

    engine: CopyEngine

    def prepare(self) -> HeldCopies:
        """A fresh batch."""
        ...

    def turn(self, turn: Turn, batch: HeldCopies | None) -> None: ...

    def answered(self) -> None:
        """A check ended in the measurement of a bit."""
        ...

    def measure(self, event: Event) -> float:
        """The frequency with which fresh copies accept."""
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

    def correct(self, event: Event, step: float) -> None:
        if event.pauli is not None:
            self.state.update(event.pauli, step)
        else:
            self._dense().update_matrix(event.matrix, step)  # type: ignore[arg-type]

    def _dense(self) -> DenseHypothesis:
        if not isinstance(self.state, DenseHypothesis):
            raise QupropError(
                f"a {type(self.state).__name__} takes Pauli events, got a dense one; use hypothesis='dense'"
            )
        return self.state


class Sweep:
    """One pass over a stream of events and turns, and its books.

    damage       of every batch, `Ledger.trace_bound`
    probability  the sum of all trigger probabilities, as the engine saw them
    error        the largest that the engine estimates for itself
    used         names of the engines; several, where batches fell back on others
    """

    def __init__(self, laboratory: Laboratory, learner: Learner, rule: SweepRule, rng: np.random.Generator) -> None:
        self.laboratory, self.learner, self.rule, self.rng = laboratory, learner, rule, rng
        self.batches = 0
        self.damage: list[float] = []
        self.probability = self.error = 0.0
        self.used = [laboratory.engine.name]
        self._batch: HeldCopies | None = None

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
        predicted, string = self.learner.predict(event)
        triggered, probability = self._ask(self._batch, event, predicted)
        damage = self._batch.ledger.trace_bound
        if not triggered:
            return Answer(predicted, string, None, 0, probability, damage)
        self._close()
        measured = self.laboratory.measure(event)
        return Answer(predicted, string, measured, self._learn(event, predicted, measured), probability, damage)

    def _ask(self, batch: HeldCopies, event: Event, predicted: float) -> tuple[bool, float]:
        """Whether one of both checks triggered, and how likely that was."""
        probability = 0.0
        for check in two_sided(event, predicted, self.rule.distance, self.rule.noise):
            if check.threshold >= self.rule.highest:
                continue
            self.laboratory.answered()
            triggered = batch.check(check, self.rng)
            probability += batch.ledger.latest
            if triggered:
                return True, probability
        return False, probability

    def _learn(self, event: Event, predicted: float, measured: float) -> int:
        """Multiplicative weights towards a measured frequency; the number of corrections."""
        done, gap = 0, measured - predicted
        while abs(gap) >= self.rule.update_at:
            self.learner.correct(event, math.copysign(4 * (abs(gap) - self.rule.accuracy), gap))
            done += 1
            if done == self.rule.updates:
                break
            gap = measured - self.learner.predict(event)[0]
        return done

    def _close(self) -> None:
        if self._batch is not None:
            ledger = self._batch.ledger
            self.damage.append(ledger.trace_bound)
            self.probability += ledger.probability
            self.error = max(self.error, ledger.error)
            if self._batch.name not in self.used:
                self.used.append(self._batch.name)
        self._batch = None
