"""Products and matrices of sums of Pauli strings, on bit masks: what `PauliSum` and `PauliOperator` are computed by.

Here a sum is a dictionary {(x, z): coefficient of the Hermitian string with a plus sign}. For two such strings

    P P' = i^p P'',  x'' = x ^ x',  z'' = z ^ z',  p = |x & z| + |x' & z'| + 2 |z & x'| - |x'' & z''|,

and p is odd where they anticommute. As a matrix a string has one entry in each column j, at row j ^ x, so a sum has one
vector of 2^n entries for each x mask, and that vector and its coefficients are Walsh-Hadamard transforms of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
from scipy import sparse

from quprop.errors import QupropError, shown
from quprop.model.pauli_string import MAX_MATRIX_QUBITS, check_matrix

Masks = tuple[int, int]
Terms = dict[Masks, Any]  # coefficients: float or complex

MAX_PAIRS = 1 << 28  # of terms in one product: about a minute
MAX_TERMS = 1 << 22  # of a product or of a matrix taken apart: about a GiB
MAX_ENTRIES = 1 << 27  # of a sparse matrix: 2.5 GiB with their places
MAX_SPARSE_QUBITS = 26
_PAIRS = 1 << 20  # that are multiplied at a time
_WORD = 63  # bits of a mask that NumPy's integers hold
_POWERS = np.array([1, 1j, -1, -1j])


def product(left: Terms, right: Terms, kind: int | None = None) -> Terms:
    """L R; of the kind 1, L R - R L; of the kind 0, L R + R L.

    The last two take pairs that anticommute, or commute, twice, so that they are exact where coefficients are: of real
    sums the commutator is imaginary and the other real, to the last bit.
    """
    if len(left) * len(right) > MAX_PAIRS:
        raise QupropError(
            f"a product of sums of Pauli strings takes {MAX_PAIRS} pairs of terms at most, got {len(left)} times "
            f"{len(right)} terms; drop small terms first"
        )
    widest = max((mask.bit_length() for terms in (left, right) for key in terms for mask in key), default=0)
    return _by_pairs(left, right, kind) if widest > _WORD else _by_arrays(left, right, kind)


def _by_pairs(left: Terms, right: Terms, kind: int | None) -> Terms:
    """With integers of any size."""
    out: Terms = {}
    others = [(x, z, (x & z).bit_count(), c) for (x, z), c in right.items()]
    for (x, z), c in left.items():
        own = (x & z).bit_count()
        for u, v, turns, d in others:
            power = own + turns + 2 * (z & u).bit_count() - ((x ^ u) & (z ^ v)).bit_count() & 3
            if kind is None or kind == power & 1:
                key = x ^ u, z ^ v
                out[key] = out.get(key, 0.0) + (1 if kind is None else 2) * complex(_POWERS[power]) * c * d
        _check_terms(len(out))
    return out


def _by_arrays(left: Terms, right: Terms, kind: int | None) -> Terms:
    """Some rows of the table of pairs at a time."""
    out: Terms = {}
    if not left or not right:
        return out
    (x, z, c), (u, v, d) = _arrays(left), _arrays(right)
    step = max(1, _PAIRS // len(u))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        new_x, new_z = x[rows, None] ^ u, z[rows, None] ^ v
        turns = np.bitwise_count(x[rows, None] & z[rows, None]).astype(np.int64) + np.bitwise_count(u & v)
        turns = turns + 2 * np.bitwise_count(z[rows, None] & u) - np.bitwise_count(new_x & new_z) & 3
        with np.errstate(over="ignore", invalid="ignore"):
            values = c[rows, None] * d * _POWERS[turns] * (1 if kind is None else 2)
        chosen = slice(None) if kind is None else (turns & 1 == kind).ravel()
        merge(out, new_x.ravel()[chosen], new_z.ravel()[chosen], values.ravel()[chosen])
        _check_terms(len(out))
    return out


def merge(out: Terms, x: np.ndarray, z: np.ndarray, values: np.ndarray) -> None:
    """Add terms, new ones in order of first mention."""
    if not len(x):
        return
    order = np.lexsort((z, x))  # which keeps the order of equal ones
    x, z = x[order], z[order]
    starts = np.flatnonzero(np.r_[True, (x[1:] != x[:-1]) | (z[1:] != z[:-1])])
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.add.reduceat(values[order], starts)
    mention = np.argsort(order[starts])
    where = starts[mention]
    new = dict(zip(zip(x[where].tolist(), z[where].tolist(), strict=True), sums[mention].tolist(), strict=True))
    for key in new.keys() & out.keys():
        new[key] += out[key]
    out |= new


def _arrays(terms: Terms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keys = np.array(list(terms), np.int64).reshape(-1, 2)
    return keys[:, 0], keys[:, 1], np.array(list(terms.values()), complex)


def _check_terms(count: int) -> None:
    if count > MAX_TERMS:
        raise QupropError(
            f"a sum of Pauli strings that is computed has {MAX_TERMS} terms at most, got more; drop small terms first, "
            "or take fewer qubits"
        )


def walsh_hadamard(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """sum_j (-1)^{|j & z|} values[j] along an axis of length 2^k, for all z; a new array, not normalised."""
    out = np.array(values, order="C")
    inner = math.prod(out.shape[axis:]) // out.shape[axis]
    step = inner
    while step < inner * out.shape[axis]:
        pairs = out.reshape(-1, 2, step)
        low, high = pairs[:, 0], pairs[:, 1]
        difference = low - high
        low += high
        high[:] = difference
        step *= 2
    return out


def matrix(terms: Terms, n: int) -> np.ndarray:
    """The dense (2^n, 2^n) complex matrix."""
    check_matrix(n)
    out = np.zeros((2**n, 2**n), complex)
    columns = np.arange(2**n)
    for x, entries in _columns(terms, n):
        out[columns ^ x, columns] = entries
    return out


def sparse_matrix(terms: Terms, n: int) -> sparse.csr_array:
    """The (2^n, 2^n) complex matrix in compressed rows, entries that are zero left out."""
    flips = len({x for x, _ in terms})
    if n > MAX_SPARSE_QUBITS or flips << n > MAX_ENTRIES:
        raise QupropError(
            f"a sparse matrix is made of {MAX_SPARSE_QUBITS} qubits and {MAX_ENTRIES} entries at most, got {shown(n)} "
            f"qubits and {flips} different X parts of 2^{shown(n)} entries each; take fewer qubits or terms"
        )
    rows = np.arange(2**n, dtype=np.int32)
    places, values = np.empty((2**n, flips), np.int32), np.empty((2**n, flips), complex)
    for k, (x, entries) in enumerate(_columns(terms, n)):
        places[:, k] = rows ^ np.int32(x)
        values[:, k] = entries[places[:, k]]
    starts = np.arange(2**n + 1, dtype=np.int32) * np.int32(flips)
    made = sparse.csr_array((values.ravel(), places.ravel(), starts), shape=(2**n, 2**n))
    made.eliminate_zeros()
    return made


def _columns(terms: Terms, n: int) -> Iterator[tuple[int, np.ndarray]]:
    """(x, the entries M[j ^ x, j] of all columns j) for each x mask."""
    together = sorted(terms.items(), key=lambda t: t[0][0])
    j = np.arange(2**n)
    for x, found in groupby(together, key=lambda t: t[0][0]):
        group = [(z, c * _POWERS[(x & z).bit_count() & 3]) for (_, z), c in found]
        entries = np.zeros(2**n, complex)
        if len(group) <= n:  # fewer operations than a transform
            for z, c in group:
                entries += c * (1.0 - 2.0 * (np.bitwise_count(j & z) & 1))
        else:
            for z, c in group:
                entries[z] = c
            entries = walsh_hadamard(entries)
        yield x, entries


def decomposed(given: Any, cutoff: float) -> Terms:
    """The coefficients tr(P M) / 2^n above cutoff times the largest entry of |M|, for all strings P."""
    entries, n, largest = _entries(given)
    out: Terms = {}
    z = np.arange(2**n)
    for x, column in entries:
        coefficients = walsh_hadamard(column) / 2**n * _POWERS[-np.bitwise_count(x & z).astype(np.int64) & 3]
        for kept in np.flatnonzero(np.abs(coefficients) > cutoff * largest).tolist():
            out[x, kept] = complex(coefficients[kept])
        _check_terms(len(out))
    return out


def _entries(given: Any) -> tuple[Iterable[tuple[int, np.ndarray]], int, float]:
    """The vectors (x, M[j ^ x, j]) of a matrix, n, and its largest entry."""
    if sparse.issparse(given):
        table = given.tocoo()
        values, check = table.data, table.data
    else:
        table = values = check = np.asarray(given)
    n = (table.shape[0].bit_length() - 1) if len(table.shape) == 2 and table.shape[0] else -1
    if n < 0 or table.shape != (2**n, 2**n):
        raise QupropError(f"a matrix of qubits has shape (2^n, 2^n), got {shown(tuple(table.shape))}")
    if values.dtype.kind not in "biufc" or not np.isfinite(check).all():
        raise QupropError(f"a matrix of qubits has finite numbers as entries, got {values.dtype} ones, or not finite")
    largest = float(np.abs(values).max(initial=0.0))
    if not sparse.issparse(given):
        if n > MAX_MATRIX_QUBITS:
            raise QupropError(f"a dense matrix is read on {MAX_MATRIX_QUBITS} qubits at most, got {n}; make it sparse")
        return _of_dense(values, n), n, largest
    flips = len(np.unique(table.row ^ table.col))
    if flips << n > MAX_ENTRIES:
        raise QupropError(
            f"a sparse matrix is taken apart into {MAX_ENTRIES} coefficients at most, got {flips} different "
            f"row xor column of 2^{n} each; take fewer qubits"
        )
    return _of_sparse(table, n), n, largest


def _of_dense(table: np.ndarray, n: int) -> Iterator[tuple[int, np.ndarray]]:
    columns = np.arange(2**n)
    for x in range(2**n):
        column = table[columns ^ x, columns]
        if column.any():
            yield x, column.astype(complex)


def _of_sparse(table: Any, n: int) -> Iterator[tuple[int, np.ndarray]]:
    x = (table.row ^ table.col).astype(np.int64)
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(x[order]) != 0]) if len(order) else order
    for part in np.split(order, starts[1:]) if len(order) else []:
        column = np.zeros(2**n, complex)
        np.add.at(column, table.col[part], table.data[part])  # entries that are given twice add up
        yield int(x[part[0]]), column
