"""QOKit with libcsim.so built by `gcc -O3 -march=native -fopenmp`, kept beside its own as libcsim-O3.so."""

from __future__ import annotations

from . import qokit
from .qokit import DISTRIBUTIONS, Case, library

__all__ = ["DISTRIBUTIONS", "build", "variants"]
OPTIMISED = library.code_dir / "libcsim-O3.so"


def variants(workload) -> tuple[str, ...]:
    return ("c",) if OPTIMISED.is_file() and qokit.cost_terms(workload) is not None else ()


def build(workload, precision: str, variant: str, threads: int) -> Case:
    library.libpath = OPTIMISED  # before the first simulation, which loads it, once a process
    return qokit.build(workload, precision, variant, threads)
