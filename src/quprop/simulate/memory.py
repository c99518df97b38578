"""How much memory there is, asked before a large state is allocated."""

from __future__ import annotations

from pathlib import Path

from quprop.errors import QupropError

ALWAYS_FINE = 64 << 20  # not worth asking the system


def available_bytes() -> int:
    """What this process may still allocate: the system's free memory, or what its control group leaves, if less."""
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) << 10)
    except OSError:
        pass
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            limits.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return min(limits) if limits else 1 << 62


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
