"""Ranks that are threads of one process: the calls of mpi4py that quprop makes, without MPI."""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from quprop.simulate.distributed.ranks import Ranks


class _Shared:
    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size)
        self.posted: list[Any] = [None] * size
        self.mail: dict[tuple[int, int], queue.Queue[Any]] = defaultdict(queue.Queue)
        self.parts: dict[Any, _Shared] = {}
        self.lock = threading.Lock()


class Done:
    def __init__(self, finish: Callable[[], None] = lambda: None) -> None:
        self.finish = finish

    def Wait(self) -> None:
        self.finish()


class ThreadComm:
    def __init__(self, shared: _Shared, rank: int) -> None:
        self.shared, self.rank = shared, rank

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.shared.size

    def allgather(self, value: Any) -> list[Any]:
        self.shared.posted[self.rank] = value
        self.shared.barrier.wait(60)
        found = list(self.shared.posted)
        self.shared.barrier.wait(60)
        return found

    def allreduce(self, value: Any) -> Any:
        return sum(self.allgather(value))

    def Allgather(self, own: np.ndarray, all_: np.ndarray) -> None:
        all_.reshape(self.shared.size, -1)[:] = [a.reshape(-1) for a in self.allgather(own.copy())]

    def Bcast(self, array: np.ndarray, root: int) -> None:
        array[:] = self.allgather(array.copy())[root]

    def Isend(self, array: np.ndarray, to: int) -> Done:
        self.shared.mail[self.rank, to].put(array.copy())
        return Done()

    def Irecv(self, array: np.ndarray, source: int) -> Done:
        def finish() -> None:
            array[:] = self.shared.mail[source, self.rank].get(timeout=60).reshape(array.shape)

        return Done(finish)

    def Sendrecv(self, array: np.ndarray, to: int, _: int, received: np.ndarray, source: int, __: int) -> None:
        self.Isend(array, to)
        self.Irecv(received, source).Wait()

    def Split(self, colour: int, key: int) -> ThreadComm:
        colours = self.allgather((colour, key))
        members = [r for r, (c, _) in enumerate(colours) if c == colour]
        with self.shared.lock:
            part = self.shared.parts.setdefault((colour, len(members)), _Shared(len(members)))
        self.shared.barrier.wait(60)
        return ThreadComm(part, members.index(self.rank))

    def Split_type(self, _: Any) -> ThreadComm:
        return self.Split(0, self.rank)


def together(size: int, job: Callable[[Ranks], Any]) -> list[Any]:
    """What each rank's call gives."""
    shared = _Shared(size)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: job(Ranks(ThreadComm(shared, rank))), range(size)))
