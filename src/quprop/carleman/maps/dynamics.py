"""Gradient descent as a polynomial map: what Carleman linearisation linearises.

With an expansion point c and u = theta - c, one step of gradient descent is

    u' = S(u) = G_0 + G_1 u + G_2 u⊗2 + ...,    G_0 = -eta grad L(c),  G_1 = I - eta H(c),
    G_k = eta F_k,   F_k = -(1/k!) D^(k+1) L(c)                     (Liu et al. 2024, doi 10.1038/s41467-023-43957-x)

The G_k are symmetric k-linear maps, here *step matrices*. A `PolynomialMap` never holds them unless it is small; it
answers two questions about them, the series of S along a path and G_k on k vectors. Mini-batches are a `Dynamics`, one
map a step. Momentum doubles the state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import combinations, combinations_with_replacement, permutations
from math import comb, factorial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from quprop.arrays import checked
from quprop.errors import QupropError

TABLE_LIMIT = 50_000_000  # entries of step matrices that `tabulate` writes down: 400 MB

Part = tuple[np.ndarray, Any]  # monomials (m, k) with sorted rows, coefficients (n, m), dense or CSR
_WRITTEN: WeakKeyDictionary[PolynomialMap, dict[int, Polynomial]] = WeakKeyDictionary()  # by map and order


class PolynomialMap(ABC):
    """One step u -> S(u) on R^n, known through its truncated Taylor series at u = 0.

    ``dimension``  n
    ``degree``     q, the highest k with G_k != 0; None where S is analytic but no polynomial
    ``order``      the order at which `step` truncates: q, or for an analytic S the order chosen when it was made
    """

    dimension: int
    degree: int | None
    order: int

    @property
    def series_seconds(self) -> float:
        """About how long a series along one path takes, by which engines are chosen; here that of small NumPy maps."""
        return 2e-5

    @abstractmethod
    def series(self, path: np.ndarray) -> np.ndarray:
        """Taylor coefficients of S(s p_1 + s^2 p_2 + ... + s^K p_K) in s.

        ``path`` (K, ..., n) holds p_1..p_K. Result (K + 1, ..., n): orders 0..K, of which order 0 is G_0.
        """

    def constant(self) -> np.ndarray:
        """G_0 (n,): where the expansion point itself goes."""
        return self.series(np.zeros((0, self.dimension)))[0]

    def descend(self, u: np.ndarray) -> np.ndarray:
        """The step itself, without truncation; the same as `step` where S is a polynomial."""
        return self.step(u)

    def step(self, u: np.ndarray) -> np.ndarray:
        """S(u) truncated at ``order``: u (..., n) -> (..., n)."""
        u = np.asarray(u, dtype=float)
        path = np.zeros((self.order, *u.shape))
        path[0] = u
        return self.series(path).sum(axis=0)

    def jet(self, k: int, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """The symmetric k-linear G_k on k vectors (..., n), leading axes broadcast. (F_k = (G_k - [k = 1] I) / eta.)

        Here by polarisation of the series, G_k[v_1..v_k] = (1/k!) sum over subsets A of (-1)^(k - |A|) G_k[v_A, ...,
        v_A] with v_A the sum over A; maps that know better override it.
        """
        check_vectors(k, vectors, self.dimension)
        if k == 0:
            return self.constant()
        total: Any = 0.0
        for size in range(1, k + 1):
            for subset in combinations(range(k), size):
                direction = sum(np.asarray(vectors[i], dtype=float) for i in subset)
                path = np.zeros((k, *np.shape(direction)))
                path[0] = direction
                total = total + (-1.0) ** (k - size) * self.series(path)[k]
        return np.asarray(total / factorial(k))

    def derivatives(self, k: int, monomials: np.ndarray) -> np.ndarray:
        """G_k[e_i, e_j, ...] (m, n) for each row (i, j, ...) of ``monomials`` (m, k).

        Here by the polarisation of `jet`, with one series for each of the C(n + k, k) - 1 directions at most that rows
        share; maps whose `jet` is cheaper override it.
        """
        subsets = [legs for size in range(1, k + 1) for legs in combinations(range(k), size)]
        sums = np.full((len(subsets), len(monomials), k), -1)  # which e_i add up to v_A, in order
        for row, legs in zip(sums, subsets, strict=True):
            row[:, : len(legs)] = monomials[:, legs]
        directions, where = np.unique(sums.reshape(-1, k), axis=0, return_inverse=True)
        moved = np.empty((len(directions), self.dimension))
        for piece in np.array_split(np.arange(len(directions)), max(1, moved.size // 500_000)):
            path = np.zeros((k, len(piece), self.dimension))
            at, leg = np.nonzero(directions[piece] >= 0)
            np.add.at(path[0], (at, directions[piece][at, leg]), 1.0)
            moved[piece] = self.series(path)[k]
        total = np.zeros((len(monomials), self.dimension))
        for legs, rows in zip(subsets, where.reshape(len(subsets), -1), strict=True):
            total += (-1.0) ** (k - len(legs)) * moved[rows]
        return total / factorial(k)

    def contract(self, k: int, cores: Sequence[np.ndarray]) -> np.ndarray:
        """G_k on k consecutive cores (r_0, n, r_1), (r_1, n, r_2), ... of a tensor train: (r_0, n, r_k)."""
        left, right = cores[0].shape[0], cores[-1].shape[2]
        out = np.zeros((left, right, self.dimension))
        for inner in np.ndindex(*(core.shape[2] for core in cores[:-1])):
            vectors = []
            for position, core in enumerate(cores):
                lower = slice(None) if position == 0 else inner[position - 1]
                upper = slice(None) if position == k - 1 else inner[position]
                vector = core[lower, :, upper]
                if position == 0 and position < k - 1:
                    vector = vector[:, None, :]  # (r_0, 1, n)
                elif position == k - 1:
                    vector = np.moveaxis(vector, -2, -1)  # (r_k, n), or (r_0, r_k, n) where k = 1
                vectors.append(vector)
            out += self.jet(k, vectors)
        return np.moveaxis(out, 1, 2)


class Polynomial(PolynomialMap):
    """A step map written out: for each k the monomials of degree k that occur and their coefficients.

    ``parts`` maps k >= 1 to (monomials (m, k), coefficients (n, m)); a row of ``monomials`` is a sorted tuple of
    indices.
    """

    def __init__(self, constant: np.ndarray, parts: dict[int, Part], *, key: object = None) -> None:
        self._constant = np.asarray(constant, dtype=float)
        self.dimension = len(self._constant)
        self.parts = {k: part for k, part in sorted(parts.items()) if k and part[0].shape[0]}
        self.degree = self.order = max(self.parts, default=1)
        self.key = object() if key is None else key  # equal keys: the same G_k for k >= 1

    def driven(self, constant: np.ndarray) -> Polynomial:
        """The same map with another G_0: a time-dependent driving force. Engines share what they made of the rest."""
        return Polynomial(check_vector(constant, self.dimension, "constant"), self.parts, key=self.key)

    def constant(self) -> np.ndarray:
        return self._constant

    def series(self, path: np.ndarray) -> np.ndarray:
        path = np.asarray(path, dtype=float)
        top = len(path)
        out = np.zeros((top + 1, *path.shape[1:]))
        out[0] = self._constant
        for k, (monomials, coefficients) in self.parts.items():
            if k > top:
                break
            product = path[..., monomials[:, 0]]  # order a is at index a - 1
            low = 1
            for leg in range(1, k):
                factor = path[..., monomials[:, leg]]
                grown = np.zeros((top - low, *product.shape[1:]))  # orders low + 1 .. top
                for a in range(low, top):
                    grown[a - low :] += product[a - low] * factor[: top - a]
                product, low = grown, low + 1
            flat = product.reshape(-1, len(monomials))
            out[low:] += np.asarray((coefficients @ flat.T).T).reshape(*product.shape[:-1], self.dimension)
        return out

    def jet(self, k: int, vectors: Sequence[np.ndarray]) -> np.ndarray:
        check_vectors(k, vectors, self.dimension)
        if k == 0:
            return self._constant
        shape = np.broadcast_shapes(*(np.shape(v) for v in vectors))
        if k not in self.parts:
            return np.zeros(shape)
        monomials, coefficients = self.parts[k]
        total: Any = 0.0
        for order in permutations(range(k)):
            term: Any = 1.0
            for leg, which in enumerate(order):
                term = term * np.asarray(vectors[which])[..., monomials[:, leg]]
            total = total + term
        flat = np.asarray(total).reshape(-1, len(monomials)) / factorial(k)
        return np.asarray((coefficients @ flat.T).T).reshape(*shape[:-1], self.dimension)

    def matrix(self, k: int) -> sparse.csr_array:
        """G_k, symmetric, as a sparse (n, n^k)."""
        n = self.dimension
        if k == 0:
            return sparse.csr_array(self._constant[:, None])
        if k not in self.parts:
            return sparse.csr_array((n, n**k))
        monomials, coefficients = self.parts[k]
        table = sparse.coo_array(coefficients)
        rows, columns, values = [], [], []
        for order in permutations(range(k)):
            rows.append(table.coords[0])
            flat = np.asarray(np.ravel_multi_index(tuple(monomials[:, leg] for leg in order), (n,) * k))
            columns.append(flat[table.coords[1]])
            values.append(table.data / factorial(k))
        joined = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return sparse.csr_array(sparse.coo_array(joined, shape=(n, n**k)))

    def norms(self) -> np.ndarray:
        """Spectral norms of the step matrices, ||G_k|| of the (n, n^k) matrix, k = 0..degree. A monomial stands in k!/
        alpha! columns of it, each with that share of its coefficient."""
        found = [float(np.linalg.norm(self._constant))]
        for k in range(1, self.order + 1):
            gram = np.zeros((self.dimension, self.dimension))
            if k in self.parts:
                monomials, coefficients = self.parts[k]
                scaled = coefficients / np.sqrt([_arrangements(row) for row in monomials])
                product = scaled @ scaled.T
                gram = product.toarray() if sparse.issparse(product) else product
            found.append(float(np.sqrt(max(0.0, np.linalg.eigvalsh(gram)[-1]))))
        return np.array(found)


def from_tensors(tensors: Sequence[Any], *, learning_rate: float = 1.0) -> Polynomial:
    """The step u' = u + eta (F_0 + F_1 u + F_2 u⊗2 + ...).

    ``tensors`` is [F_0, F_1, ...]; F_k has shape (n,) + (n,)*k or (n, n^k), dense or SciPy sparse. Only the part of F_k
    that is symmetric in the k inputs acts, so nothing else is kept.
    """
    if not len(tensors):
        raise QupropError("`tensors` must hold at least F_0, got an empty list")
    n = np.shape(tensors[0])[0] if np.ndim(tensors[0]) else 0
    constant = learning_rate * check_vector(np.asarray(tensors[0], dtype=float).reshape(-1), n, "F_0")
    parts: dict[int, Part] = {}
    for k, given in enumerate(tensors[1:], start=1):
        shape = given.shape if sparse.issparse(given) else np.shape(given)
        if shape not in ((n,) * (k + 1), (n, n**k)):
            raise QupropError(f"F_{k} must have shape ({n}, {n}^{k}) or {k + 1} axes of {n}, got {shape}")
        table = sparse.coo_array(given if sparse.issparse(given) else np.reshape(np.asarray(given, float), (n, n**k)))
        rows, values = table.coords[0], learning_rate * table.data
        legs = np.sort(np.stack(np.unravel_index(table.coords[1], (n,) * k), axis=1), axis=1)
        if k == 1:
            rows = np.concatenate([rows, np.arange(n)])
            values = np.concatenate([values, np.ones(n)])
            legs = np.concatenate([legs, np.arange(n)[:, None]])
        parts[k] = gathered(rows, legs, values, n)
    if 1 not in parts:
        parts[1] = gathered(np.arange(n), np.arange(n)[:, None], np.ones(n), n)
    return Polynomial(constant, parts)


def gathered(rows: np.ndarray, legs: np.ndarray, values: np.ndarray, n: int) -> Part:
    """Monomials and coefficients from terms value * x^legs in component row; equal terms add up."""
    monomials, inverse = np.unique(legs, axis=0, return_inverse=True)
    table = sparse.coo_array((values, (rows, np.ravel(inverse))), shape=(n, len(monomials)))
    matrix = sparse.csr_array(table)
    return monomials, (matrix.toarray() if matrix.nnz > 0.2 * n * max(1, len(monomials)) else matrix)


def tabulate(step: PolynomialMap, order: int) -> Polynomial:
    """Any small map written out up to degree ``order``, from G_k on all tuples of basis vectors.

    A map is never written twice: its tables live as long as it does, and every tower and history system shares them.
    """
    if isinstance(step, Polynomial):
        return step
    if order in (known := _WRITTEN.setdefault(step, {})):
        return known[order]
    n = step.dimension
    top = order if step.degree is None else min(order, step.degree)
    entries = n * sum(comb(n + k - 1, k) for k in range(1, top + 1))
    if entries > TABLE_LIMIT:
        raise QupropError(
            f"step matrices of {n} parameters up to order {top} have {entries:.1e} entries, more than "
            f"{TABLE_LIMIT:.0e}: use engine 'jets', which never writes them down"
        )
    parts: dict[int, Part] = {k: part for found in known.values() for k, part in found.parts.items() if k <= top}
    for k in range(1, top + 1):
        if k not in parts:
            monomials = np.array(list(combinations_with_replacement(range(n), k)), dtype=np.int64)
            weights = np.array([_arrangements(row) for row in monomials], dtype=float)
            parts[k] = monomials, step.derivatives(k, monomials).T * weights
    known[order] = Polynomial(step.constant(), parts)
    return known[order]


def tabulation_seconds(dynamics: Dynamics, order: int, steps: int | None = None) -> float:
    """About how long `tabulate` takes for the maps of so many steps: C(n + N, N) - 1 series a map not written out."""
    series = comb(dynamics.dimension + order, order) - 1
    return sum(series * step.series_seconds for step in dynamics.maps[:steps] if not isinstance(step, Polynomial))


def _arrangements(row: np.ndarray) -> int:
    """How many different tuples a sorted tuple has: k! / alpha!."""
    counts = np.unique(row, return_counts=True)[1]
    return factorial(len(row)) // int(np.prod([factorial(int(c)) for c in counts]))


class Momentum(PolynomialMap):
    """Heavy-ball momentum on top of a step S: state (u, w) of 2n numbers, w the last change times -1,

        w' = beta w + (u - S(u)),    u' = u - w' = S(u) - beta w.

    With v = w / eta this is v' = beta v + grad L, theta' = theta - eta v'. Weight decay is in S.
    """

    def __init__(self, inner: PolynomialMap, beta: float) -> None:
        if not 0 <= beta < 1:
            raise QupropError(f"momentum must lie in [0, 1), got {beta}")
        self.inner, self.beta = inner, beta
        self.dimension = 2 * inner.dimension
        self.degree, self.order = inner.degree, inner.order

    @property
    def series_seconds(self) -> float:
        return self.inner.series_seconds

    def series(self, path: np.ndarray) -> np.ndarray:
        n = self.inner.dimension
        u, w = path[..., :n], path[..., n:]
        moved = self.inner.series(u)
        moved[1:] -= self.beta * w
        change = -moved
        change[1:] += u
        return np.concatenate([moved, change], axis=-1)

    def descend(self, u: np.ndarray) -> np.ndarray:
        n = self.inner.dimension
        moved = self.inner.descend(u[..., :n]) - self.beta * u[..., n:]
        return np.concatenate([moved, u[..., :n] - moved], axis=-1)


class Dynamics:
    """The maps of a training run, ``dynamics[t]`` for step t; a list is gone through again and again (epochs)."""

    def __init__(self, maps: PolynomialMap | Sequence[PolynomialMap]) -> None:
        self.maps = (maps,) if isinstance(maps, PolynomialMap) else tuple(maps)
        if not self.maps:
            raise QupropError("a run needs at least one step map, got none")
        sizes = {step.dimension for step in self.maps}
        if len(sizes) > 1:
            raise QupropError(f"the step maps of a run must share one dimension, got {sorted(sizes)}")
        self.dimension = self.maps[0].dimension
        degrees = [step.degree for step in self.maps]
        self.degree = None if None in degrees else max(d for d in degrees if d is not None)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, t: int) -> PolynomialMap:
        return self.maps[t % len(self.maps)]

    @property
    def homogeneous(self) -> bool:
        """Does every step leave the expansion point where it is, up to rounding (G_0 = 0)?"""
        return all(float(np.linalg.norm(step.constant())) < 1e-14 for step in self.maps)

    def trajectory(self, start: np.ndarray, steps: int) -> Iterator[np.ndarray]:
        """Plain gradient descent beside the linearised one: u(0), u(1), ..., u(steps), not truncated."""
        u = check_vector(start, self.dimension, "start")
        yield u
        for t in range(steps):
            u = self[t].descend(u)
            yield u


def as_dynamics(maps: Dynamics | PolynomialMap | Sequence[PolynomialMap]) -> Dynamics:
    return maps if isinstance(maps, Dynamics) else Dynamics(maps)


def check_vector(vector: Any, n: int, name: str) -> np.ndarray:
    if n == 0:
        raise QupropError(f"`{name}` must have one entry at least, got none")
    return checked(f"`{name}`", vector, (n,))


def check_vectors(k: int, vectors: Sequence[np.ndarray], n: int) -> None:
    if len(vectors) != k or any(np.shape(v)[-1:] != (n,) for v in vectors):
        raise QupropError(f"G_{k} acts on {k} vectors (..., {n}), got shapes {[np.shape(v) for v in vectors]}")
