"""What of the machine this process may use: memory and processors, limits of containers and shells included.

Linux bounds a process by its control groups: a tree in which a group has no more than its parents. Version 2 has one
tree for all resources, version 1 one for each; which trees there are, and where they can be read, is in
/proc/self/cgroup and /proc/self/mountinfo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path, PurePosixPath

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

PROC = Path("/proc")
NO_LIMIT = 1 << 62


def available_bytes() -> int:
    """What this process may still allocate: the least of the system's free memory, of what each of its control groups
    and their parents leave, and of what `ulimit -v` and `-d` leave of its address space and data."""
    return max(0, min([NO_LIMIT, *_system(), *_groups(), *_ulimits()]))


def usable_processors() -> int:
    """How many processors this process may use at once: those it may run on, and no more than its control groups' share
    of processor time, rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = []
    for version, group in _trees("cpu"):
        with suppress(OSError, ValueError):
            if version == 2:
                quota, period = (group / "cpu.max").read_text().split()
            else:
                quota, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
            if quota not in ("max", "-1"):
                shares.append(int(quota) / int(period))
    return max(1, min([count, *map(ceil, shares)]))


def _system() -> Iterator[int]:
    with suppress(OSError, ValueError, IndexError):
        yield _table(PROC / "meminfo", "MemAvailable:") << 10


def _groups() -> Iterator[int]:
    for version, group in _trees("memory"):
        names = ("memory.max", "memory.current", "inactive_file")
        if version == 1:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        with suppress(OSError, ValueError):
            limit = int((group / names[0]).read_text())  # "max": no number, no limit
            if limit < NO_LIMIT:
                used = int((group / names[1]).read_text())
                cached = 0
                with suppress(OSError, ValueError, IndexError):  # files that are kept while nobody needs the room
                    cached = _table(group / "memory.stat", names[2])
                yield limit - used + cached


def _ulimits() -> Iterator[int]:
    if resource is None:
        return
    for name, used in (("RLIMIT_AS", "VmSize:"), ("RLIMIT_DATA", "VmData:")):
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit not in (resource.RLIM_INFINITY, -1):
            held = 0
            with suppress(OSError, ValueError, IndexError):
                held = _table(PROC / "self" / "status", used) << 10
            yield limit - held


def _table(file: Path, name: str) -> int:
    """The number beside a name in a table of lines."""
    found = [line.split() for line in file.read_text().splitlines() if line.startswith(name)]
    return int(found[0][1])


def _trees(resource_name: str) -> Iterator[tuple[int, Path]]:
    """(version, folder) of this process's control groups for a resource and all their parents that can be seen."""
    try:
        groups = [line.split(":", 2) for line in (PROC / "self" / "cgroup").read_text().splitlines()]
        mounts = [line.split(" - ", 1) for line in (PROC / "self" / "mountinfo").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, inside in (g for g in groups if len(g) == 3):
        version = 1 if controllers else 2
        if version == 1 and resource_name not in controllers.split(","):
            continue
        for where, what in (m for m in mounts if len(m) == 2):
            kind, *_, options = what.split()
            root, place = (_unescaped(word) for word in where.split()[3:5])
            fits = kind == "cgroup2" if version == 2 else kind == "cgroup" and resource_name in options.split(",")
            if not fits:
                continue
            # A container may see its own group as the root, with or without a name for it outside.
            group = PurePosixPath(inside)
            below = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
            folder = Path(place)
            yield version, folder
            for part in below.parts:
                if part in ("..", "/"):
                    break
                folder = folder / part
                yield version, folder
            break


def _unescaped(word: str) -> str:
    for code, letter in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        word = word.replace(code, letter)
    return word
