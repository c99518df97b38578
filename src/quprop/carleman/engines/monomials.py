"""The symmetric basis: monomials x^alpha with |alpha| = 0..N, their numbering and how products move among them.

A monomial of degree j is a sorted tuple i_1 <= ... <= i_j, numbered in colexicographic order,

    rank = sum_p C(i_p + p - 1, p),

so that the tuples with entries <= v come first, C(v + j, j) of them, and appending v to each gives the next degree in
order. The lifted state is the vector of moments E[x^alpha]; orthonormal weights sqrt(j!/alpha!) make its norm the norm
of the full tensors.
"""

from __future__ import annotations

from functools import cache
from math import comb, factorial
from typing import Any

import numpy as np
from scipy import sparse

from quprop.errors import QupropError

SIZE_LIMIT = 400_000_000  # moments: 3.2 GB a vector
GATHER_LIMIT = 20_000_000  # numbers a gathered block may hold before rows are taken piecewise


def n_moments(n: int, order: int) -> int:
    """C(n + N, N): monomials of degree 0..N."""
    return comb(n + order, order)


class MonomialTables:
    """Tables for n variables up to degree N."""

    def __init__(self, n: int, order: int) -> None:
        if n_moments(n, order) > SIZE_LIMIT:
            raise QupropError(
                f"{n} parameters up to level {order} have {n_moments(n, order):.1e} monomials, more than "
                f"{SIZE_LIMIT:.0e}: use engine 'jets'"
            )
        self.n, self.order = n, order
        self.sizes = [comb(n + j - 1, j) for j in range(order + 1)]
        self.edges = np.concatenate([[0], np.cumsum(self.sizes)])  # level j is edges[j] : edges[j + 1]
        self._binomials = np.array([[comb(i + p - 1, p) if p else 0 for p in range(order + 1)] for i in range(n)])
        self.tuples: list[np.ndarray] = [np.zeros((1, 0), dtype=np.int32)]
        self.parents: list[tuple[np.ndarray, np.ndarray]] = []  # level j + 1: (rank of all but the last, the last)
        for j in range(order):
            counts = [comb(v + j, j) for v in range(n)]
            parent = np.concatenate([np.arange(c) for c in counts])
            last = np.repeat(np.arange(n), counts)
            self.parents.append((parent, last))
            self.tuples.append(np.column_stack([self.tuples[j][parent], last.astype(np.int32)]))

    def rank(self, tuples: np.ndarray) -> np.ndarray:
        """The number of each sorted tuple (..., j) within level j."""
        j = tuples.shape[-1]
        if j == 0:
            return np.zeros(tuples.shape[:-1], dtype=np.int64)
        return np.asarray(sum(self._binomials[tuples[..., p - 1], p] for p in range(1, j + 1)))

    def product(self, b: int, monomials: np.ndarray) -> np.ndarray:
        """Ranks (D_b, m) of x^beta x^kappa, beta all of level b, kappa the rows of ``monomials`` (m, k)."""
        k = monomials.shape[1]
        if b == 0 or k == 0:
            own = self.rank(monomials) if b == 0 else np.arange(self.sizes[b])
            return own[None, :] if b == 0 else np.repeat(own[:, None], len(monomials), axis=1)
        joined = np.empty((self.sizes[b], len(monomials), b + k), dtype=np.int32)
        joined[..., :b] = self.tuples[b][:, None, :]
        joined[..., b:] = monomials
        joined.sort(axis=-1)
        return self.rank(joined)

    def lift(self, u: np.ndarray) -> np.ndarray:
        """The moments of a point: u^alpha, |alpha| = 0..N."""
        levels = [np.ones(1)]
        for parent, last in self.parents:
            levels.append(levels[-1][parent] * u[last])
        return np.concatenate(levels)

    def weights(self, order: int | None = None) -> np.ndarray:
        """sqrt(j!/alpha!) for |alpha| = 0..N."""
        found = [np.ones(1)]
        for j in range(1, (self.order if order is None else order) + 1):
            tuples = self.tuples[j]
            below = np.ones(len(tuples))  # alpha!, built run by run of equal indices
            run = np.ones(len(tuples))
            for p in range(1, j):
                run = np.where(tuples[:, p] == tuples[:, p - 1], run + 1, 1.0)
                below *= run
            found.append(np.sqrt(factorial(j) / below))
        return np.concatenate(found)

    def gather(self, b: int, monomials: np.ndarray) -> sparse.csr_array:
        """0/1 matrix (D_(b+k), D_b m): moments of level b + k times it are the products, b slow and kappa fast."""
        ranks = self.product(b, monomials).reshape(-1)
        table = (np.ones(ranks.size), (ranks, np.arange(ranks.size)))
        return sparse.csr_array(table, shape=(self.sizes[b + monomials.shape[1]], ranks.size))

    def to_tensor(self, level: np.ndarray, j: int) -> np.ndarray:
        """Moments of level j as the full symmetric tensor, j axes of n."""
        index = np.indices((self.n,) * j).reshape(j, -1).T
        return np.asarray(level[self.rank(np.sort(index, axis=1))]).reshape((self.n,) * j)


@cache
def monomial_tables(n: int, order: int) -> MonomialTables:
    return MonomialTables(n, order)


class SymmetricOperator:
    """The truncated tower of one map on moments, not stored: homogeneous part, then the shift by G_0.

    Legs are done one at a time. With z_i[alpha; beta] = E[S^alpha x^beta], |alpha| = i legs done, |beta| to go,

        z_(i+1)[alpha + e_v; beta] = sum over k, kappa of C_k[v, kappa] z_i[alpha; beta + kappa].
    """

    def __init__(self, tables: MonomialTables, parts: dict[int, tuple[np.ndarray, Any]]) -> None:
        self.tables = tables
        top = tables.order
        self.coefficients = {k: part[1] for k, part in parts.items() if k <= top}
        self.ranks = {
            (b, k): tables.product(b, monomials)
            for k, (monomials, _) in parts.items()
            for b in range(top - k + 1)
            if k <= top
        }

    def forward(self, moments: np.ndarray, constant: np.ndarray | None = None) -> np.ndarray:
        """Moments (D + 1,) one step later."""
        out = self._legs(moments, self._move)
        return out if constant is None or not np.any(constant) else self.shift(out, constant)

    def backward(self, moments: np.ndarray, constant: np.ndarray | None = None) -> np.ndarray:
        """The transpose of `forward`."""
        if constant is not None and np.any(constant):
            moments = self._legs_transposed(moments, _shifter(self.tables, constant, transposed=True))
        return self._legs_transposed(moments, self._move_transposed)

    def shift(self, moments: np.ndarray, constant: np.ndarray) -> np.ndarray:
        """Moments under u -> u + constant."""
        return self._legs(moments, _shifter(self.tables, constant))

    def _legs(self, moments: np.ndarray, move: Any) -> np.ndarray:
        tables, top = self.tables, self.tables.order
        z = [moments[None, tables.edges[b] : tables.edges[b + 1]] for b in range(top + 1)]
        out = [z[0][:, 0]]
        for done in range(top):
            z = [move(z, b, *tables.parents[done]) for b in range(top - done)]
            out.append(z[0][:, 0])
        return np.concatenate(out)

    def _legs_transposed(self, moments: np.ndarray, move: Any) -> np.ndarray:
        tables, top = self.tables, self.tables.order
        levels = [moments[tables.edges[j] : tables.edges[j + 1]] for j in range(top + 1)]
        z = [levels[top][:, None]]
        for done in range(top - 1, -1, -1):
            before = [np.zeros((tables.sizes[done], tables.sizes[b])) for b in range(top - done + 1)]
            for b, cotangent in enumerate(z):
                move(before, b, *tables.parents[done], cotangent)
            before[0][:, 0] += levels[done]
            z = before
        return np.concatenate([part[0] for part in z])

    def _move(self, z: list[np.ndarray], b: int, parent: np.ndarray, last: np.ndarray) -> np.ndarray:
        out = np.zeros((len(parent), self.tables.sizes[b]))
        for k, table in self.coefficients.items():
            if b + k >= len(z):
                continue
            ranks = self.ranks[b, k]
            for rows in _pieces(len(z[b + k]), ranks.size):
                block = z[b + k][rows][:, ranks]  # (rows, D_b, m)
                moved = np.asarray((table @ block.reshape(-1, ranks.shape[1]).T).T).reshape(*block.shape[:2], -1)
                here = np.flatnonzero((parent >= rows.start) & (parent < rows.stop))
                out[here] += moved[parent[here] - rows.start, :, last[here]]
        return out

    def _move_transposed(
        self, before: list[np.ndarray], b: int, parent: np.ndarray, last: np.ndarray, cotangent: np.ndarray
    ) -> None:
        for k, table in self.coefficients.items():
            if b + k >= len(before):
                continue
            ranks = self.ranks[b, k]
            rows, n = len(before[b + k]), self.tables.n
            spread = np.zeros((rows, ranks.shape[0], n))
            spread[parent, :, last] = cotangent
            block = np.asarray((table.T @ spread.reshape(-1, n).T).T).reshape(rows, ranks.size)
            for row in range(rows):
                before[b + k][row] += np.bincount(ranks.ravel(), block[row], before[b + k].shape[1])


def _pieces(rows: int, width: int) -> list[slice]:
    height = max(1, GATHER_LIMIT // max(1, width))
    return [slice(low, min(rows, low + height)) for low in range(0, rows, height)]


def _shifter(tables: MonomialTables, constant: np.ndarray, *, transposed: bool = False) -> Any:
    """The step x -> x + constant in the form that `_legs` wants."""
    one = np.arange(tables.n)[:, None]

    def move(z: list[np.ndarray], b: int, parent: np.ndarray, last: np.ndarray) -> np.ndarray:
        appended = _appended(tables, b, one)  # (D_b, n)
        return np.asarray(z[b + 1][parent[:, None], appended[:, last].T] + constant[last][:, None] * z[b][parent])

    def back(z: list[np.ndarray], b: int, parent: np.ndarray, last: np.ndarray, cotangent: np.ndarray) -> None:
        appended = _appended(tables, b, one)
        np.add.at(z[b + 1], (parent[:, None], appended[:, last].T), cotangent)
        np.add.at(z[b], parent, constant[last][:, None] * cotangent)

    return back if transposed else move


_APPENDED: dict[tuple[int, int], np.ndarray] = {}


def _appended(tables: MonomialTables, b: int, one: np.ndarray) -> np.ndarray:
    """Ranks of x^beta x_v for all beta of level b and all v; the same for every order."""
    key = (tables.n, b)
    if key not in _APPENDED:
        _APPENDED[key] = tables.product(b, one)
    return _APPENDED[key]


def symmetric_matrix(
    tables: MonomialTables, constant: np.ndarray, parts: dict[int, tuple[np.ndarray, Any]], variant: str = "discrete"
) -> sparse.csr_array:
    """The step on moments 0..N as a sparse matrix; row alpha + e_v is row alpha times S_v, cut at degree N.

    The Euler variant has the row x^alpha + sum over legs of x^(alpha - e_v) (S_v - x_v) instead.
    """
    top, edges = tables.order, tables.edges
    parts = {k: part for k, part in parts.items() if k <= top}
    if np.any(constant):
        parts = {0: (np.zeros((1, 0), dtype=np.int64), constant[:, None]), **parts}
    levels: list[sparse.csr_array] = [sparse.csr_array(([1.0], ([0], [0])), shape=(1, edges[-1]))]
    if variant == "euler":
        for j in range(1, top + 1):
            levels.append(_euler_level(tables, parts, j))
        return sparse.csr_array(sparse.vstack(levels, format="csr"))
    times = [_multiply_by(tables, parts, v) for v in range(tables.n)]
    for j in range(top):
        prefixes = [comb(v + j, j) for v in range(tables.n)]
        rows = [levels[-1][:prefix] @ table for prefix, table in zip(prefixes, times, strict=True)]
        levels.append(sparse.csr_array(sparse.vstack(rows, format="csr")))
    return sparse.csr_array(sparse.vstack(levels, format="csr"))


def _multiply_by(tables: MonomialTables, parts: dict[int, tuple[np.ndarray, Any]], v: int) -> sparse.csr_array:
    """(D + 1, D + 1): a polynomial's coefficients, as a row, times S_v and cut at degree N."""
    edges = tables.edges
    rows, columns, values = [], [], []
    for k, (monomials, table) in parts.items():
        line = table[[v]]
        line = line.toarray()[0] if sparse.issparse(line) else np.asarray(line)[0]
        used = np.flatnonzero(line)
        for b in range(tables.order - k + 1):
            target = edges[b + k] + tables.product(b, monomials[used])
            rows.append(np.repeat(np.arange(edges[b], edges[b + 1]), len(used)))
            columns.append(target.reshape(-1))
            values.append(np.tile(line[used], tables.sizes[b]))
    joined = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(joined, shape=(edges[-1], edges[-1]))


def _euler_level(tables: MonomialTables, parts: dict[int, tuple[np.ndarray, Any]], j: int) -> sparse.csr_array:
    edges, size = tables.edges, tables.sizes[j]
    total = sparse.csr_array(
        ((1.0 - j) * np.ones(size), (np.arange(size), np.arange(edges[j], edges[j + 1]))), shape=(size, edges[-1])
    )
    tuples = tables.tuples[j]
    for k, (monomials, table) in parts.items():
        if j + k - 1 > tables.order:
            continue
        coefficients = sparse.csr_array(table)
        gather = tables.gather(j - 1, monomials)
        for leg in range(j):
            rest = tables.rank(np.delete(tuples, leg, axis=1))
            chosen = sparse.coo_array(coefficients[tuples[:, leg]])
            columns = rest[chosen.coords[0]] * len(monomials) + chosen.coords[1]
            spread = sparse.csr_array((chosen.data, (chosen.coords[0], columns)), shape=(size, gather.shape[1]))
            block = sparse.coo_array(spread @ gather.T)
            place = (block.data, (block.coords[0], block.coords[1] + edges[j + k - 1]))
            total = total + sparse.csr_array(place, shape=total.shape)
    return sparse.csr_array(total)
