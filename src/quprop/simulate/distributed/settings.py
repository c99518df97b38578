"""What one state over many machines is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from quprop.errors import QupropError, shown


@dataclass(frozen=True, slots=True)
class Distributed:
    """One state over the ranks of MPI: every rank of `mpirun` holds a part of it, and all call the same functions with
    the same arguments, and get the same results.

    ranks_per_state: a power of two, over which each state is spread; the ranks are groups of so many, among which the
        samples of a batch are divided. None: as many groups as samples keep busy, unless a state then fits no rank.
    chunk: bytes of a buffer, of what a rank sends or gets at once; an exchange takes four beside psi and lambda.

    A rank works with `threads` threads; give each its share of the node's cores. Results are those of the engine
    "native" to 1e-13 in double precision.

    Raises: QupropError for other numbers, without MPI, and for a number of ranks that is no power of two.

    >>> qpr.Distributed(ranks_per_state=4)
    Distributed(ranks_per_state=4, chunk=4194304)
    """

    ranks_per_state: int | None = None
    chunk: int = 4 << 20

    def __post_init__(self) -> None:
        ranks = self.ranks_per_state
        if ranks is not None and not (_whole(ranks) and ranks > 0 and not ranks & (ranks - 1)):
            raise QupropError(f"ranks_per_state is a power of two, or None, got {shown(ranks)}")
        if not (_whole(self.chunk) and 4096 <= self.chunk <= 1 << 30):
            raise QupropError(f"chunk is a whole number of bytes, 4,096 to 2^30, got {shown(self.chunk)}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
