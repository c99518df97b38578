"""Work of a round as the fewest jobs that a device takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError, count_of
from quprop.sampling.devices.device import Counts, Limits, Outcomes, Work

DIGITS = 9  # of angles in a digest that is kept: the last ones may differ between machines
Piece = tuple[int, int]  # number of a setting, and how many of its shots


class Merged(NamedTuple):
    """All settings of a round in one line: those of the same circuit stand together."""

    work: list[Work]  # of different circuits
    places: list[np.ndarray]  # for each Work that was asked for, where its settings stand in that line
    circuit: np.ndarray  # (N,) which of `work` a setting is of
    row: np.ndarray  # (N,) its row there
    shots: np.ndarray  # (N,)

    def job(self, pieces: Sequence[Piece]) -> list[Work]:
        """What is handed in for these pieces, which stand in order."""
        index = np.array([i for i, _ in pieces], np.int64)
        shots = np.array([n for _, n in pieces], np.int64)
        found = []
        for c in dict.fromkeys(self.circuit[index].tolist()):
            mine = self.circuit[index] == c
            found.append(Work(self.work[c].circuit, self.work[c].values[self.row[index[mine]]], shots[mine]))
        return found


def merge(work: Sequence[Work]) -> Merged:
    """Of work that is in order."""
    order: dict[str, int] = {}
    of: list[int] = []
    for w in work:
        of.append(order.setdefault(w.circuit.key, len(order)))
    parts: list[list[int]] = [[] for _ in order]
    for i, c in enumerate(of):
        parts[c].append(i)
    places: list[np.ndarray] = [np.zeros(0, np.int64)] * len(work)
    merged, circuit, row, start = [], [], [], 0
    for c, members in enumerate(parts):
        begin = start
        for i in members:
            places[i] = np.arange(start, start + len(work[i].shots))
            start += len(work[i].shots)
        values = np.concatenate([np.asarray(work[i].values, float) for i in members])
        merged.append(Work(work[members[0]].circuit, values, np.concatenate([work[i].shots for i in members])))
        circuit.append(np.full(start - begin, c))
        row.append(np.arange(start - begin))
    every = [np.asarray(w.shots, np.int64) for w in merged]
    empty = [np.zeros(0, np.int64)]
    return Merged(merged, places, *(np.concatenate(part or empty) for part in (circuit, row, every)))


def pack(shots: np.ndarray, limits: Limits) -> list[list[Piece]]:
    """Jobs within the limits, every shot in one of them.

    A setting of more shots than the limit is cut. There cannot be fewer jobs than the executions fill, nor than the
    settings fill; where one of the two limits alone holds, there are as many. A setting is cut at the end of a job only
    where that saves jobs.
    """
    whole = [i for i, n in enumerate(shots.tolist()) if n]
    largest = min(m for m in (limits.shots, limits.executions, int(shots.max(initial=1))) if m is not None)
    least = 1
    if limits.circuits is not None:
        least = max(least, -(-int((-(-shots // largest)).sum()) // limits.circuits))
    if limits.executions is not None:
        least = max(least, -(-int(shots.sum()) // limits.executions))
    by_size = sorted(whole, key=lambda i: (-int(shots[i]), i))
    mixed = [i for pair in zip(by_size, reversed(by_size), strict=True) for i in pair][: len(by_size)]
    best: list[list[Piece]] | None = None
    for order in (whole, mixed):  # large beside small ones: where both limits hold, neither is reached alone
        for cut in (False, True):
            found = _filled(order, shots, limits, largest, cut)
            if best is None or len(found) < len(best):
                best = found
            if len(best) <= least:
                return [sorted(job) for job in best]
    assert best is not None
    return [sorted(job) for job in best]


def _filled(order: Sequence[int], shots: np.ndarray, limits: Limits, largest: int, cut: bool) -> list[list[Piece]]:
    """Job after job; with `cut` each takes all executions that it may."""
    jobs: list[list[Piece]] = []
    slots = room = 0
    most = limits.circuits, limits.executions
    for i in order:
        left = int(shots[i])
        while left:
            size = min(left, largest)
            if not jobs or not slots or room <= 0 or (size > room and not cut):
                jobs.append([])
                slots, room = (int(shots.sum()) + 1 if m is None else m for m in most)
            size = min(size, room)
            jobs[-1].append((i, size))
            slots, room, left = slots - 1, room - size, left - size
    return jobs


def checked_counts(counts: Counts, work: Sequence[Work], name: str) -> Iterator[Outcomes]:
    """The outcomes of every setting, in rising order, refused unless there are as many as there were shots."""
    if len(counts) != len(work) or any(len(c) != len(w.shots) for c, w in zip(counts, work, strict=True)):
        raise QupropError(
            f"{name} gave counts of {sum(len(c) for c in counts)} settings in {count_of(len(counts), 'circuit')}, "
            f"expected {sum(len(w.shots) for w in work)} in {len(work)}; its job ran something else"
        )
    for found, w in zip(counts, work, strict=True):
        bits = len(w.circuit.measured)
        for (outcomes, times), shots in zip(found, w.shots, strict=True):
            both = added([(np.asarray(outcomes).astype(np.int64 if bits < 63 else object), times)])
            if int(both[1].sum()) != shots or (both[1] < 0).any():
                raise QupropError(
                    f"{name} gave {int(both[1].sum()):,} outcomes of a setting with {int(shots):,} shots; its counts "
                    "are of something else"
                )
            if len(both[0]) and not (int(both[0][0]) >= 0 and int(both[0][-1]) < 1 << bits):
                raise QupropError(
                    f"{name} gave the outcome {int(both[0][-1])} of {count_of(bits, 'measured qubit')}; its counts are "
                    "of something else"
                )
            yield both


def added(parts: Sequence[Outcomes]) -> Outcomes:
    """The counts of one setting from several runs of it."""
    outcomes = np.concatenate([np.asarray(o) for o, _ in parts])
    times = np.concatenate([np.asarray(n, np.int64) for _, n in parts])
    distinct, where = np.unique(outcomes, return_inverse=True)
    total = np.zeros(len(distinct), np.int64)
    np.add.at(total, where, times)
    return distinct, total
