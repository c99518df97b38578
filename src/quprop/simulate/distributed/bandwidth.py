"""How many bytes a second the ranks send, measured."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from quprop.errors import whole

ROUNDS = 3  # after one that opens the connections


def measured_bandwidth(ranks: Any, size: int = 16 << 20) -> float | None:
    """Bytes a second that each rank sends while all of them send, as in an exchange of a state: `size` bytes to every
    other rank, one rank after another. The slowest rank of the fastest round, the same on all ranks; None for one rank.

    Collective: all ranks call it. ranks: `rank`, `size` and `comm` (`quprop.simulate.distributed.ranks`).
    Raises: QupropError for a size that is no whole number from 1.
    """
    count, me = ranks.size, ranks.rank
    out = np.full(whole("size", size, 1), me % 251, np.uint8)
    into = np.empty_like(out)
    if count == 1:
        return None
    slowest = []
    for _ in range(ROUNDS + 1):
        ranks.comm.Barrier()
        start = time.perf_counter()
        for step in range(1, count):
            ranks.comm.Sendrecv(out, dest=(me + step) % count, recvbuf=into, source=(me - step) % count)
        slowest.append(max(ranks.comm.allgather(time.perf_counter() - start)))
    return (count - 1) * out.nbytes / min(slowest[1:])


__all__ = ["measured_bandwidth"]
