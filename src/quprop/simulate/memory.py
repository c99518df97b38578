"""How much memory there is, asked before a large state is allocated."""

from __future__ import annotations

from quprop.errors import QupropError
from quprop.machine import available_bytes

ALWAYS_FINE = 64 << 20  # not worth asking the system


def text(count: float) -> str:
    """A number of bytes as a person reads it."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} PiB"


def require(needed: int, what: str, cheaper: str) -> None:
    """Refuses, in one sentence, work that would not fit."""
    if needed <= ALWAYS_FINE:
        return
    free = available_bytes()
    if needed > free:
        raise QupropError(f"{what} needs {text(needed)} and this machine has {text(free)} free; {cheaper}")
