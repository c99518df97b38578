"""The ranks of MPI: the one file that imports mpi4py."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from quprop.cost import short_bytes
from quprop.errors import QupropError
from quprop.lazy import missing
from quprop.machine import available_bytes, usable_processors

# What launchers tell each process of the number of ranks: Open MPI, MPICH, Intel MPI; Slurm's srun with PMIx or PMI-2.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS")
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "PMI_ID")


def launched_size() -> int:
    """How many ranks this process was started as one of, by its environment; 1 where no launcher of MPI started it."""
    names: tuple[str, ...] = _SIZES
    if any(name in os.environ for name in ("PMIX_RANK", "PMI_FD", "PMI_RANK")):
        names += ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    for name in names:
        text = os.environ.get(name, "")
        if text.isdigit():
            return max(1, int(text))
    return 1


def leads() -> bool:
    """Whether this process is the one that speaks: any, or rank 0 of those that a launcher of MPI started."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"


@lru_cache(maxsize=1)
def world() -> Ranks:
    """All ranks. Starts MPI, unless no launcher of it started this process, which then is the only rank."""
    if launched_size() == 1 and "mpi4py.MPI" not in sys.modules:
        return Ranks(_Alone())
    try:
        from mpi4py import MPI
    except ImportError:
        raise missing("one state over many ranks needs mpi4py", "mpi") from None
    except RuntimeError as error:  # mpi4py is there, and no library of MPI
        raise QupropError(
            f"mpi4py finds no MPI ({str(error).splitlines()[0]}); load the cluster's MPI module"
        ) from None
    return Ranks(MPI.COMM_WORLD, MPI.COMM_TYPE_SHARED)


class _Alone:
    """The communicator of a process that no launcher started."""

    def Get_rank(self) -> int:
        return 0

    def Get_size(self) -> int:
        return 1

    def allgather(self, value: Any) -> list[Any]:
        return [value]

    def allreduce(self, value: Any) -> Any:
        return value

    def Split_type(self, _: int) -> _Alone:
        return self


def finish() -> None:
    """End MPI, together with all ranks."""
    from mpi4py import MPI

    MPI.Finalize()


class Ranks:
    """Some of the ranks, this one among them.

    comm: mpi4py's communicator; rank: this one's number; size: how many there are. shared: how MPI calls those that are
    on one node.
    """

    def __init__(self, comm: Any, shared: int = 0) -> None:
        self.comm, self._shared = comm, shared
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        self._groups: dict[int, Ranks] = {}

    def group(self, size: int) -> Ranks:
        """The ranks of this one's group, if each has so many, one after the other."""
        if size == self.size:
            return self
        if size not in self._groups:
            self._groups[size] = Ranks(self.comm.Split(self.rank // size, self.rank), self._shared)
        return self._groups[size]

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over the ranks, in their order: the same bits on each."""
        if self.size == 1:
            return array
        all_ = np.empty((self.size, *array.shape))
        self.comm.Allgather(np.ascontiguousarray(array, float), all_)
        total = all_[0].copy()
        for other in all_[1:]:
            total += other
        return total

    @property
    def _node(self) -> Ranks:
        if -1 not in self._groups:
            self._groups[-1] = Ranks(self.comm.Split_type(self._shared), self._shared)
        return self._groups[-1]

    def shared_processors(self) -> int:
        """This rank's share of the processors that it may use, where other ranks on its node may use the same ones."""
        own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        alike = self._node.comm.allgather(own).count(own)
        return max(1, usable_processors() // alike)

    def lacking(self, needed: int) -> str:
        """Why a rank's `needed` bytes do not fit everywhere, or "": the same sentence on every rank."""
        node = self._node
        on_node = node.comm.allreduce(needed)
        free = available_bytes()
        rows = self.comm.allgather((on_node - free, on_node, free, node.size))
        over, on_node, free, ranks = max(rows)
        if over <= 0:
            return ""
        return f"{short_bytes(on_node)} for {ranks} of its ranks on a node, of which one has {short_bytes(free)} free"
