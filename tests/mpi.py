"""Runs Python under mpirun on this machine, for the tests of what several ranks do together.

`run(4, "-c", text)` waits for the ranks and gives what they said; `start` returns while they work. No process survives
a test: what is left after its time, or when it is over, is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

SECONDS = 120.0  # after which a run hangs
_MARK = "QUPROP_TEST_OF_RANKS"  # in the environment of all processes of a run

# A container without network or privileges, more ranks than cores, and cores that others use too.
_SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_btl": "self,sm",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "HYDRA_IFACE": "lo",
    "HYDRA_BINDING": "none",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def launcher() -> str | None:
    """mpirun of this Python's environment, else of the path."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun")


needs_mpi = pytest.mark.skipif(
    launcher() is None or find_spec("mpi4py") is None or not Path("/proc/self/environ").exists(),
    reason="wants mpi4py and mpirun, on Linux",
)


class Ranks:
    """A run of mpirun: `process`, and the processes that it started."""

    def __init__(self, process: subprocess.Popen[str], mark: str) -> None:
        self.process, self._mark = process, mark

    def __len__(self) -> int:
        return len(self._pids())

    def pid(self, rank: int) -> int:
        """Of a rank, once it has begun."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for pid in self._pids():
                found = _environment(pid)
                if str(rank) in (found.get("OMPI_COMM_WORLD_RANK"), found.get("PMI_RANK")):
                    return pid
            time.sleep(0.02)
        raise AssertionError(f"rank {rank} never began")

    def end(self, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Wait for it; a run that hangs fails the test."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"the ranks hang after {seconds:g} s:\n{out}\n{err}") from None
        return subprocess.CompletedProcess(self.process.args, self.process.returncode, out, err)

    def gone(self, seconds: float = 30.0) -> bool:
        """Whether no process of it is left within this time."""
        until = time.monotonic() + seconds
        while len(self) and time.monotonic() < until:
            time.sleep(0.05)
        return not len(self)

    def kill(self) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _pids(self) -> list[int]:
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
        return [pid for pid in pids if _environment(pid).get(_MARK) == self._mark]


def _environment(pid: int) -> dict[str, str]:
    """Empty for a process that is gone, a zombie included, or that belongs to somebody else."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@contextmanager
def start(ranks: int, *arguments: object, cwd: Path | None = None, **environment: str) -> Iterator[Ranks]:
    """`mpirun -n ranks python arguments...`, with these variables in its environment."""
    program = launcher()
    assert program is not None
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [program, "-n", str(ranks), sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **_SETTINGS, _MARK: mark, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    found = Ranks(process, mark)
    try:
        yield found
    finally:
        found.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def run(
    ranks: int, *arguments: object, cwd: Path | None = None, seconds: float = SECONDS, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Of all ranks together: exit status, stdout and stderr."""
    with start(ranks, *arguments, cwd=cwd, **environment) as found:
        return found.end(seconds)
