"""How much memory there is, asked before a large state is allocated."""

from __future__ import annotations

from quprop.cost import short_bytes
from quprop.errors import QupropError
from quprop.machine import available_bytes

ALWAYS_FINE = 64 << 20  # not worth asking the system


def require(needed: int, what: str, cheaper: str) -> None:
    """Refuses, in one sentence, work that would not fit."""
    if needed <= ALWAYS_FINE:
        return
    free = available_bytes()
    if needed > free:
        raise QupropError(
            f"{what} needs {short_bytes(needed)} and this machine has {short_bytes(free)} free; {cheaper}"
        )
