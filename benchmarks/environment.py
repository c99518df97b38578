"""The record of where and when numbers were made."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path


def environment(pythons: dict[str, str]) -> dict:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": available_cores(),
        "memory_bytes": total_memory(),
        "os": platform.platform(),
        "python": {role: _output([path, "--version"]) for role, path in pythons.items()},
        "git_commit": _output(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]),
        "load_average_at_start": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    fields = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    wide = [flag for flag in ("avx2", "avx512f") if flag in fields.get("flags", "").split()]
    parts = [fields.get("model name", platform.machine()), f"family {fields.get('cpu family')} model {fields.get('model')}"]
    return ", ".join([*parts, *wide])


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
