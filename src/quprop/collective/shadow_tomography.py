"""Shadow tomography: the acceptance probabilities of many events on one unknown state, from few copies of it.

Threshold search on a batch of copies (Badescu and O'Donnell, arXiv:2011.10908) and online learning of a hypothesis
(Aaronson, Chen, Hazan, Kale and Nayak, arXiv:1802.09025). Events come one by one. Each is predicted from the hypothesis
sigma; a two-sided check asks the batch whether the truth is elsewhere. A check that passes gives the prediction as the
estimate and hardly moves the batch. A trigger spends it: the event is measured on fresh copies, sigma is corrected and
a new batch prepared. Triggers are bounded by what sigma can have had wrong, whatever the number m of events, so that

    copies  =  O(n log(m)^2 / eps^4).

Between events the frame may turn, all copies and sigma alike. Turned back layer by layer through a circuit, with the
events Y_anc P_m on the pair state, this is quantum backpropagation (Abbas et al., arXiv:2305.13362, Theorem 9), whose
method :class:`quprop.gradients.QuantumBackprop` goes through its stream with the same loop (`sweep.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from quprop.collective.check import design, first_order_distance
from quprop.collective.check_circuit import CheckCost, circuit_cost
from quprop.collective.engines import COPY_ENGINES, auto
from quprop.collective.event import Event
from quprop.collective.hypothesis import HYPOTHESES, Hypothesis, mistake_bound
from quprop.collective.protocol import CopyEngine, HeldCopies, copy_state
from quprop.collective.sweep import Learner, Sweep, SweepRule, Turn
from quprop.errors import QupropError, count_of, generator_of, nearest
from quprop.sampling.estimate import shown
from quprop.simulate.vectors import rotate

_FALSE = 0.25  # expected false triggers of a whole list


class ShadowBudget(NamedTuple):
    """What a list of m events needs, known before anything is measured.

    k        copies of a batch: false triggers of the whole list number 1/4 on average, and a check whose truth is
             further than eps from the prediction passes with probability failure/(2 m) at most
    noise    lambda of the checks, c sqrt(k)
    fresh    copies on which a triggered event is measured, to eps/8
    updates  R, the most corrections of an exact hypothesis: n ln 2 / (2 (eps/4)^2)
    false    F, the most triggers with nothing to correct, except with probability failure/4
    copies   (R + F + 1) k + (R + F) fresh
    """

    k: int
    noise: float
    fresh: int
    updates: int
    false: int
    copies: int


class Trigger(NamedTuple):
    """Event number `event` triggered: what was predicted, what fresh copies said, whether sigma was corrected."""

    event: int
    predicted: float
    measured: float
    updated: bool


@dataclass(frozen=True, eq=False)
class ShadowResult:
    """Estimated acceptance probabilities, float64 (m,), and what they took.

    damage   the largest `trace_bound` of a batch: how far, in trace distance, passes moved any of them; above 1 the
             guarantee, one for undisturbed copies, is void
    error    the largest error in a trigger probability that the engine estimates for itself
    engine   the name of the engine; names, where batches fell back on others
    held     copies held at once
    turns    rotations of single copies between events, those of fresh copies up to the frame they are used in included
    """

    estimates: np.ndarray
    budget: ShadowBudget
    copies: int
    batches: int
    triggers: tuple[Trigger, ...]
    damage: float
    error: float
    turns: int
    engine: str
    why: str
    hypothesis: Hypothesis = field(repr=False)

    @property
    def held(self) -> int:
        return self.budget.k

    @property
    def check(self) -> CheckCost:
        """The gates of the two-sided check that each event was asked with."""
        return circuit_cost(self.budget.k)

    @property
    def updates(self) -> int:
        return sum(t.updated for t in self.triggers)

    @property
    def false_triggers(self) -> int:
        return len(self.triggers) - self.updates

    def __str__(self) -> str:
        return (
            f"{len(self.estimates):,} events from {self.copies:,} copies (bound {self.budget.copies:,}), "
            f"{self.budget.k:,} held; {count_of(self.updates, 'correction')} (bound {self.budget.updates:,}), "
            f"{self.false_triggers} false triggers; {shown(self.damage)}; {self.engine} engine, "
            f"error {self.error:.2g}: {self.why}"
        )


@dataclass(frozen=True, kw_only=True)
class ShadowTomography:
    """All acceptance probabilities <E> within eps, except with probability `failure`.

    Checks have their threshold 3 eps/4 from the prediction and expect nothing within eps/2 of it, so that what triggers
    is wrong by eps/2 (false triggers apart), is measured to eps/8, and corrects sigma with a true gap of eps/4 at
    least: a step of 4 (|gap seen| - eps/8). The statement is for checks on undisturbed copies; `damage` of the result
    says how far from that the worst batch was.

    c           lambda/sqrt(k); smaller takes fewer copies and disturbs them more
    engine      a name from COPY_ENGINES, "auto", or a CopyEngine. "null" simulates undisturbed copies at any size
    hypothesis  a name from HYPOTHESES or an instance to go on with (it is copied). The bound on corrections is a
                theorem for "dense" only, and only that one takes events that are no Pauli strings

    `run(state, events, rng)` on copies of a pure state (2^n,) gives a ShadowResult; `budget(n, events)` the copies it
    takes.
    Raises: QupropError for settings outside their limits, unknown engines and hypotheses.

    >>> from quprop.collective.event import Event
    >>> events = [Event(qpr.PauliString.parse(text)) for text in ("X0 X1", "Z0 Z1", "Z0")]
    >>> bell = np.array([1, 0, 0, 1]) / np.sqrt(2)  # <(1 + P)/2> = 1, 1, 1/2
    >>> result = qpr.ShadowTomography(eps=0.2).run(bell, events, rng=0)
    >>> bool(max(abs(result.estimates - [1, 1, 0.5])) <= 0.2)
    True
    """

    eps: float
    failure: float = 0.01
    c: float = 0.5
    engine: str | CopyEngine = "null"
    hypothesis: str | Hypothesis = "dense"

    def __post_init__(self) -> None:
        if not 0 < self.eps <= 0.5:
            raise QupropError(f"`eps` is an accuracy of probabilities in (0, 1/2], got {self.eps}")
        if not 0 < self.failure < 1:
            raise QupropError(f"`failure` must be a probability between 0 and 1, got {self.failure}")
        if isinstance(self.engine, str) and self.engine not in (known := ["auto", *COPY_ENGINES]):
            raise QupropError(f"unknown engine {self.engine!r}: {nearest(self.engine, known)}")
        if isinstance(self.hypothesis, str) and self.hypothesis not in HYPOTHESES:
            raise QupropError(f"unknown hypothesis {self.hypothesis!r}: {nearest(self.hypothesis, HYPOTHESES)}")

    def budget(self, n: int, events: int) -> ShadowBudget:
        """The copies for `events` events on n qubits, worst case included."""
        found = design(self.eps / 2, 2 * events, self.c, _FALSE)  # slack eps/4
        false = 1  # Pr[F false triggers] <= mean^F / F! for independent ones
        while _FALSE**false / math.factorial(false) > self.failure / 4:
            false += 1
        updates = math.floor(mistake_bound(n, self.eps / 4))
        # Hoeffding: a truth eps/4 beyond its threshold has a count below it with probability exp(-2 k (eps/4)^2).
        k = max(found.k, math.ceil(8 * math.log(2 * events / self.failure) / self.eps**2))
        fresh = math.ceil(32 * math.log(8 * (updates + false) / self.failure) / self.eps**2)
        total = (updates + false + 1) * k + (updates + false) * fresh
        return ShadowBudget(k, self.c * math.sqrt(k), fresh, updates, false, total)

    def run(
        self, state: np.ndarray, stream: Iterable[Event | Turn], rng: Any, *, events: int | None = None
    ) -> ShadowResult:
        """The estimates for every Event of `stream`, in order, on copies of the pure state (2^n,).

        `events` is the number of them, or an upper limit; an iterator needs it, because the size of a batch depends on
        it, and nothing else about the events has to be known.
        """
        generator = generator_of(rng)
        vector, n, _ = copy_state(state, 1)
        if events is None:
            if not isinstance(stream, Sequence):
                raise QupropError("an iterator of events needs events=, the most it will yield; or pass a list")
            events = sum(isinstance(item, Event) for item in stream)
        if isinstance(events, bool) or not isinstance(events, int | np.integer) or events < 1:
            raise QupropError(f"`events` must be a whole number, 1 or more, got {events!r}")
        budget = self.budget(n, int(events))
        lab = _Laboratory(vector, budget, *self._engine(n, budget.k), generator)
        rule = SweepRule(0.75 * self.eps, budget.noise, self.eps / 8, 0.375 * self.eps, highest=1.0)
        sweep = Sweep(lab, Learner(self._start(n)), rule, generator)
        estimates: list[float] = []
        triggers: list[Trigger] = []
        for found in sweep.answers(_fitting(stream, n, int(events))):
            if found.measured is not None:
                triggers.append(Trigger(len(estimates), found.predicted, found.measured, found.learned))
            estimates.append(found.predicted if found.measured is None else found.measured)
        return ShadowResult(
            estimates=np.array(estimates),
            budget=budget,
            copies=lab.copies,
            batches=sweep.batches,
            triggers=tuple(triggers),
            damage=max(sweep.damage, default=0.0),
            error=sweep.error,
            turns=lab.turns,
            engine=", ".join(sweep.used),
            why=lab.why,
            hypothesis=sweep.learner.state,
        )

    def _start(self, n: int) -> Hypothesis:
        h = self.hypothesis
        state: Hypothesis = HYPOTHESES[h](n) if isinstance(h, str) else h.copy()
        if state.n != n:
            raise QupropError(f"the hypothesis has {state.n} qubits, and the state {n}; make one of {n}")
        return state

    def _engine(self, n: int, k: int) -> tuple[CopyEngine, str]:
        if self.engine == "auto":
            # A batch sees false triggers with a total probability of 1/4.
            return auto(n, k, _FALSE * first_order_distance(self.c))
        if isinstance(self.engine, str):
            engine = COPY_ENGINES[self.engine]()
        else:
            engine = self.engine
        return engine, engine.exact_for


def _fitting(stream: Iterable[Event | Turn], n: int, most: int) -> Iterator[Event | Turn]:
    """The stream, every item looked at as it comes."""
    count = 0
    for item in stream:
        if isinstance(item, Event):
            if count == most:
                raise QupropError(f"the stream has more than the {most} events announced; pass a larger events=")
            item.check_fits(n)
            count += 1
        elif not isinstance(item, Turn):
            raise QupropError(f"a stream is made of Events and Turns, got {item!r}; write Event(pauli)")
        yield item


class _Laboratory:
    """Copies of one state vector; a batch that triggered is spent."""

    keeps = False

    def __init__(
        self, vector: np.ndarray, budget: ShadowBudget, engine: CopyEngine, why: str, rng: np.random.Generator
    ) -> None:
        self._vector, self._rng, self._budget = vector, rng, budget
        self.engine, self.why = engine, why
        self.copies = self.turns = self._turned = 0

    def prepare(self) -> HeldCopies:
        self.copies += self._budget.k
        self.turns += self._budget.k * self._turned
        return self.engine.prepare(self._vector, self._budget.k)

    def turn(self, turn: Turn, batch: HeldCopies | None) -> None:
        self._vector = rotate(turn.pauli, turn.angle, self._vector)
        self._turned += 1
        if batch is not None:
            batch.rotate(turn.pauli, turn.angle)
            self.turns += self._budget.k

    def answered(self) -> None:
        """Checks are not counted."""

    def measure(self, event: Event, batch: HeldCopies) -> tuple[float, bool]:
        count = self._budget.fresh
        self.copies += count
        self.turns += count * self._turned
        return float(self._rng.binomial(count, float(event.mean(self._vector)))) / count, False
