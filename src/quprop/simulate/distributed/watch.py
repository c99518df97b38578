"""No rank outlives the others: each watches those beside it and what started them, and the first that lives says what
is left to do.

A launcher that loses a rank sends SIGTERM to the rest and kills them soon after (Open MPI after a quarter of a second),
while the main thread waits in MPI for what never comes. So it is another thread that speaks.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from quprop.simulate.distributed.ranks import Ranks

FAILED = 1
_EVERY = 0.5  # seconds between two looks
_GRACE = 0.15  # seconds in which a program that is interrupted may end by itself, with its own sentence
_LAUNCHERS = 2.0  # seconds in which a launcher ends all ranks when one is lost


class Watch:
    """A thread beside the program of one rank, until `over`.

    words: what is said of a run that ends before its end, by rank 0, or where it is lost by the first beside it.
    """

    def __init__(self, ranks: Ranks, words: Callable[[], str]) -> None:
        mine = (socket.gethostname(), _process_room())
        everybody = ranks.comm.allgather((mine, os.getpid()))
        self._beside = {
            pid: rank for rank, (where, pid) in enumerate(everybody) if where == mine and rank != ranks.rank
        }
        self._parent, self._rank, self._words, self.over = os.getppid(), ranks.rank, words, False
        self._said = False
        self._woken, woken = (
            os.pipe()
        )  # Python writes to it when a signal arrives, even while the main thread waits in MPI
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, name="watch of ranks", daemon=True).start()

    def _watch(self) -> None:
        while not self.over:
            interrupted = False
            if select.select([self._woken], [], [], _EVERY)[0]:
                os.read(self._woken, 64)
                interrupted = True
                time.sleep(_GRACE)
            lost = self._lost()
            if self.over or not (interrupted or lost):
                continue
            self._say(lost or "interrupted")
            if lost:
                time.sleep(_LAUNCHERS)
                os._exit(FAILED)

    def left_alone(self, seconds: float) -> None:
        """Wait until the ranks beside this one have ended."""
        until = time.monotonic() + seconds
        while any(map(_lives, self._beside)) and time.monotonic() < until:
            time.sleep(0.005)

    def _lost(self) -> str:
        """Who is gone, or ""."""
        if os.getppid() != self._parent:
            return "the launcher of the ranks is gone"
        return next((f"rank {rank} is gone" for pid, rank in self._beside.items() if not _lives(pid)), "")

    def _say(self, why: str) -> None:
        lower = {rank: _lives(pid) for pid, rank in self._beside.items() if rank < self._rank}
        if self._said or any(lower.values()) or (self._rank and 0 not in lower):
            return
        self._said = True
        sentence = f"quprop: {'; '.join(filter(None, (why, self._words())))}\n".encode()
        with suppress(OSError):
            os.write(2, sentence)
        if not why.startswith("rank") and "OMPI_COMM_WORLD_SIZE" in os.environ:
            _on_terminal(sentence)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _process_room() -> str:
    """Within which process numbers mean the same."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _on_terminal(sentence: bytes) -> None:
    """Open MPI's mpirun passes nothing on after Ctrl-C, or when it is gone."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_WRONLY | os.O_NOCTTY)
        os.write(terminal, b"\n" + sentence)
        os.close(terminal)
