"""What this machine can do, measured: memory bandwidth and multiply-adds, per number of threads. `python machine.py` prints it.

Bandwidth: a = b + c in NumPy (two arrays read, one written), split over threads, for working sets from cache to memory.
Multiply-adds: NumPy's matrix product (BLAS) of two 1536 x 1536 matrices, n^3 multiply-adds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

SIZES_MIB = (1, 4, 16, 48, 192, 768)  # total working set of the three arrays
MIB = 1 << 20


def measure(threads: int) -> dict:
    """Run in a process whose environment fixed the BLAS threads."""
    return {
        "bytes_per_s": {str(size): _bandwidth(size * MIB, threads) for size in SIZES_MIB},
        "multiply_adds_per_s": {"single": _multiply_adds(np.float32), "double": _multiply_adds(np.float64)},
    }


def _bandwidth(total: int, threads: int) -> float:
    part = total // 3 // 8 // threads
    arrays = [[np.full(part, 1.0 + k) for k in range(3)] for _ in range(threads)]
    rounds = max(1, 256 * MIB // total)

    def work(group) -> None:
        a, b, c = group
        for _ in range(rounds):
            np.add(b, c, out=a)

    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(6):
            start = time.perf_counter()
            list(pool.map(work, arrays))
            best = min(best, time.perf_counter() - start)
    return 3 * 8 * part * threads * rounds / best


def _multiply_adds(dtype) -> float:
    n, best = 1536, float("inf")
    a = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return n**3 / best


def measure_all(python: str, thread_counts: tuple[int, ...]) -> dict[str, dict]:
    """{threads: measurements}, each in its own process."""
    out = {}
    for threads in thread_counts:
        command = [python, os.path.abspath(__file__), str(threads)]
        done = subprocess.run(command, env=thread_environment(threads), capture_output=True, text=True, timeout=300, check=True)
        out[str(threads)] = json.loads(done.stdout)
    return out


def thread_environment(threads: int) -> dict[str, str]:
    names = ("OMP", "OPENBLAS", "MKL", "QULACS", "NUMBA", "RAYON")
    return {**os.environ, **dict.fromkeys((f"{name}_NUM_THREADS" for name in names), str(threads))}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1)))
