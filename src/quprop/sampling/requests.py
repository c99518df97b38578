"""What a plan asks for in one round: shots of circuits, which the sampler draws or a device runs.

A plan is a generator of rounds (`Plan._rounds`): it yields a list of requests, is sent their results one after the
other, and returns its estimate. A request knows three things: how its shots are simulated, what a device runs for it,
and what the device's counts mean. Both ways give the same kind of result, so that an estimate is computed by one piece
of code, from shots alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.sampling.devices.device import DeviceCircuit, Outcomes, Work
from quprop.sampling.devices.realise import Realised, realise
from quprop.sampling.estimate import Estimate
from quprop.sampling.sampler import Drawn, Runs, Sampler, eigenvalues, tallied

Reader = Callable[[DeviceCircuit, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(circuit, outcomes (D,), masks (L,), signs (L,)) -> what each outcome is worth for each string, (D, L)."""


Means = tuple[np.ndarray, np.ndarray]
"""Means (L,) of the strings of one setting, and their standard errors."""


NO_INVERSION = (
    "random measurements take every bit for what it is, and errors of readout are not undone in them; run them "
    "without, or take pair_state, which reads means"
)


class Placed(NamedTuple):
    """A request as a device runs it.

    work: circuits at settings; read(outcomes of all settings, one after the other, reader) -> the result, as
    `Request.simulate` gives it; classical_ops: of reading it.
    reads: for each setting its strings as (masks, signs), what an outcome of each is worth in the result's y, (L,), and
    the target of each; () where the result is no linear function of outcomes.
    drawn: whether the weights of `reads` are of this draw of terms alone.
    plain: whether bits are taken for what they are, so that no errors of readout are undone in them.
    expect: the result from means and their standard errors in place of outcomes; None where it needs outcomes.
    """

    work: list[Work]
    read: Callable[[Sequence[Outcomes], Reader], Any]
    classical_ops: int
    reads: tuple[LinearRead, ...] = ()
    expect: Callable[[Sequence[Means]], Any] | None = None
    drawn: bool = False
    plain: bool = False

    @property
    def strings(self) -> list[list[PauliString]]:
        """Of each setting, as they are read at the end of its circuit."""
        found = []
        for w, r in zip(self.work, self.reads, strict=True):
            at = w.circuit.measured
            masks = [sum(1 << q for b, q in enumerate(at) if int(mask) >> b & 1) for mask in r.masks]
            found.append([PauliString(0, m, 0 if s > 0 else 2) for m, s in zip(masks, r.signs, strict=True)])
        return found


class LinearRead(NamedTuple):
    """One setting adds sum_l weights[l] mean(o_l) to what targets[l] estimates, o_l = signs[l] (-1)^|b & masks[l]|."""

    masks: np.ndarray
    signs: np.ndarray
    weights: np.ndarray
    targets: np.ndarray


class Request(Protocol):
    def simulate(self, sampler: Sampler) -> Any: ...

    def place(self, circuits: Realiser, rng: np.random.Generator) -> Placed:
        """rng: what draws are made with that a machine does not make, such as which term of a mixture a shot reads."""
        ...


Part = Generator[Sequence[Request], Iterator[Any], Any]
Rounds = Generator[Sequence[Request], Iterator[Any], Estimate]


class Realiser:
    """The circuits of one plan's programs, each made once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._made: dict[tuple[Any, ...], tuple[Realised, Model]] = {}

    def __call__(
        self,
        program: Model,
        executed: np.ndarray,
        strings: Sequence[PauliString] | None,
        x: np.ndarray,
        copies: int = 1,
    ) -> Realised:
        x = x if program.n_inputs else x[:0]
        key = (id(program), executed.tobytes(), None if strings is None else tuple(strings), x.tobytes(), copies)
        if key not in self._made:
            made = realise(program, executed, strings, timeline=self.model, copies=copies, x=x)
            self._made[key] = made, program  # the program is kept, so that its id is no other's
        return self._made[key][0]


class RunShots(NamedTuple):
    """Shots of the runs of a program: the arguments of `Sampler.draw`; its result is a `Drawn`."""

    runs: Runs
    a: np.ndarray
    x: np.ndarray
    u: np.ndarray
    shots: np.ndarray
    keep: bool = False

    def simulate(self, sampler: Sampler) -> Drawn:
        return sampler.draw(*self[:5], keep=self.keep)

    def place(self, circuits: Realiser, rng: np.random.Generator) -> Placed:
        runs, weights = self.runs, self.runs.weights(self.u)
        angles = runs.rows.angles(self.a, 0, len(runs))
        executed = ~np.isnan(angles)
        x = padded(runs.program, self.x)
        work, parts, reads = [], [], []
        for r in np.flatnonzero(self.shots > 0).tolist():
            n, strings, w = int(self.shots[r]), runs.own[r] if runs.own else runs.paulis, weights[r]
            if runs.mixture:
                chosen = shared(rng, n, np.abs(w))
                size = np.abs(w).sum() * np.sign(w)
            else:
                chosen, size = [(n, slice(None))], w
            for count, which in chosen:
                found = circuits(runs.program, executed[r], strings[which], x)
                work.append(Work(found.circuit, angles[r : r + 1, found.columns], np.array([count])))
                parts.append((r, (found, count), size[which]))
                targets = runs.targets[r][which] if runs.each else np.full(len(found.masks), runs.targets[r])
                reads.append(LinearRead(found.masks, found.signs, size[which] * count / n, targets))

        def read(outcomes: Sequence[Outcomes], reader: Reader) -> Drawn:
            seen: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
            for (r, (found, _), size_of), (index, counts) in zip(parts, outcomes, strict=True):
                values = reader(found.circuit, index, found.masks, found.signs)
                seen.setdefault(r, []).append((values, counts, size_of))
            shape = (len(runs), len(runs.paulis)) if runs.each else (len(runs),)
            mean, square, kept = np.zeros(shape), np.zeros(shape), []
            for r in range(len(runs)):
                of_run = seen.get(r, [])
                for values, counts, size_of in of_run:
                    m, s = tallied(values, counts, size_of, int(self.shots[r]), runs.each)
                    mean[r] += m
                    square[r] += s
                if self.keep:
                    none = np.empty((0, len(runs.paulis))), np.empty(0, np.int64)
                    kept.append(of_run[0][:2] if of_run else none)
            return Drawn(mean, square, kept if self.keep else None)

        def expect(means: Sequence[Means]) -> Drawn:
            shape = (len(runs), len(runs.paulis)) if runs.each else (len(runs),)
            mean, error = np.zeros(shape), np.zeros(shape)
            for (r, (_, count), size_of), (of_strings, stderr) in zip(parts, means, strict=True):
                w = size_of * count / int(self.shots[r])
                # What an estimator reads together is correlated in a way that it does not tell: errors add at worst.
                mean[r] += w * of_strings if runs.each else w @ of_strings
                error[r] += np.abs(w) * stderr if runs.each else np.abs(w) @ stderr
            n = self.shots.reshape(-1, *[1] * (mean.ndim - 1))
            return Drawn(mean, mean**2 + error**2 * np.maximum(n - 1, 1))

        ops = int(self.shots.sum()) * (1 if runs.mixture else len(runs.paulis))
        return Placed(work, read, ops, tuple(reads), None if self.keep else expect, runs.mixture)


def shared(rng: np.random.Generator, shots: int, sizes: np.ndarray) -> list[tuple[int, slice]]:
    """How many of the shots read each string, drawn with probability |w_l| / sum |w|; those without are left out."""
    total = sizes.sum()
    odds = sizes / total if total > 0 else np.full(len(sizes), 1 / len(sizes))
    counts = rng.multinomial(shots, odds)
    return [(int(c), slice(k, k + 1)) for k, c in enumerate(counts) if c]


def padded(program: Model, x: np.ndarray) -> np.ndarray:
    """The inputs that a program reads: zeros follow the amplitudes, where ancillas are in |1>."""
    full = np.zeros(program.n_inputs)
    full[: len(x)] = x
    return full


def as_read(circuit: DeviceCircuit, index: np.ndarray, masks: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The reader that takes bits for what they are: ±1."""
    return eigenvalues(index, masks, signs)


def side_by_side(parts: Sequence[Part]) -> Generator[Sequence[Request], Iterator[Any], list[Any]]:
    """What each returns; a round has the requests of all those that are not done."""
    found: dict[int, Any] = {}
    asked: dict[int, Sequence[Request]] = {}

    def advance(i: int, answers: Iterator[Any] | None) -> None:
        try:
            asked[i] = next(parts[i]) if answers is None else parts[i].send(answers)
        except StopIteration as end:
            found[i] = end.value

    for i in range(len(parts)):
        advance(i, None)
    while asked:
        answers = yield [request for requests in asked.values() for request in requests]
        now = {i: [next(answers) for _ in requests] for i, requests in asked.items()}
        asked.clear()
        for i, mine in now.items():
            advance(i, iter(mine))
    return [found[i] for i in range(len(parts))]


def in_turn(parts: Sequence[Part]) -> Generator[Sequence[Request], Iterator[Any], list[Any]]:
    """What each returns, one after the other."""
    found = []
    for part in parts:
        found.append((yield from part))
    return found


def answered(rounds: Rounds, answer: Callable[[Sequence[Request]], Iterator[Any]]) -> Estimate:
    """What the rounds come to when each is answered."""
    try:
        requests = next(rounds)
        while True:
            requests = rounds.send(answer(requests))
    except StopIteration as end:
        found: Estimate = end.value
        return found
