"""What several adapters share: sparse Hamiltonians, batches spread over processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from scipy import sparse

T = TypeVar("T")

# Qubits up to which peers get the Hamiltonian as one sparse matrix: measured faster than term by term (5 to 40 %, more for
# molecules), but 24 bytes times n 2^n terms: 0.5 GB at n = 20, 2 GB and a minute of building at 22.
SPARSE_TO = 20
DIAGONAL_TO = 22  # the same for diagonal observables, of one entry a row; indices go in as lists of Python integers


def as_matrix(workload) -> bool:
    """Whether peers get the observable as one sparse matrix."""
    return workload.n_qubits <= (DIAGONAL_TO if is_diagonal(workload) else SPARSE_TO)


def is_diagonal(workload) -> bool:
    return all(letter == "Z" for pauli, _ in workload.observable for _, letter in pauli)


def z_diagonal(terms, n: int, *, first_qubit_is_most_significant: bool) -> np.ndarray:
    """The diagonal of a sum of Z strings, d(j) = sum_z c_z (-1)^|z&j|: a Walsh-Hadamard transform of the coefficients."""
    d = np.zeros(1 << n)
    for pauli, coefficient in terms:
        d[sum(1 << (n - 1 - q if first_qubit_is_most_significant else q) for q, _ in pauli)] += coefficient
    for q in range(n):
        pairs = d.reshape(-1, 2, 1 << q)
        low, high = pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]
        pairs[:, 0], pairs[:, 1] = low, high
    return d


def sparse_observable(workload, *, first_qubit_is_most_significant: bool, dtype=np.complex128) -> sparse.csr_matrix:
    """The Pauli sum as one CSR matrix, built term by term: row j has the entry i^|x&z| (-1)^|z&j'| in column j' = j ^ x."""
    n = workload.n_qubits
    if is_diagonal(workload):
        d = z_diagonal(workload.observable, n, first_qubit_is_most_significant=first_qubit_is_most_significant).astype(dtype)
        return sparse.csr_matrix((d, np.arange(1 << n), np.arange((1 << n) + 1)), shape=(1 << n, 1 << n))
    index = np.arange(1 << n)
    by_x: dict[int, np.ndarray] = {}
    for pauli, coefficient in workload.observable:
        x = z = 0
        for qubit, letter in pauli:
            bit = 1 << (n - 1 - qubit if first_qubit_is_most_significant else qubit)
            x |= bit * (letter in "XY")
            z |= bit * (letter in "YZ")
        signs = 1 - 2 * (np.bitwise_count(index & z) & 1).astype(np.int8)
        diagonal = by_x.setdefault(x, np.zeros(1 << n, complex))  # as a function of the column j'
        diagonal += coefficient * 1j ** (x & z).bit_count() * signs
    rows = np.concatenate([index ^ x for x in by_x])
    columns = np.concatenate([index for _ in by_x])
    matrix = sparse.csr_matrix((np.concatenate(list(by_x.values())), (rows, columns)), shape=(1 << n, 1 << n))
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix.astype(dtype)


class SampleMap:
    """The mean over a batch, for libraries that take one sample at a time.

    Gate by gate calls from Python hold its lock, so with several threads allowed the samples go to forked processes, which keep
    what was built (circuits, observables) and receive theta only.
    """

    def __init__(self, functions: dict[str, Callable[[T, np.ndarray], np.ndarray]], items: list[T], processes: int):
        self.functions, self.items, self.pool = functions, items, None
        self.parts = np.array_split(np.arange(len(items)), processes)
        if processes > 1:
            SampleMap.inherited = self
            self.pool = multiprocessing.get_context("fork").Pool(processes)

    def mean(self, name: str, theta: np.ndarray) -> np.ndarray:
        jobs = [(name, theta, part) for part in self.parts]
        sums = map(self.part, jobs) if self.pool is None else self.pool.map(_inherited_part, jobs)
        return sum(sums) / len(self.items)

    def part(self, job: tuple[str, np.ndarray, np.ndarray]) -> np.ndarray:
        name, theta, part = job
        return sum(np.asarray(self.functions[name](self.items[k], theta)) for k in part)


def _inherited_part(job) -> np.ndarray:
    return SampleMap.inherited.part(job)
