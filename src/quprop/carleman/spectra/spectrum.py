"""The spectrum of a symmetric operator by Lanczos quadrature, and the Hessian of a network as such an operator.

The spectral density is p(l) = (1/n) sum_i delta(l - l_i). From a start v drawn uniformly from the unit sphere, m
Lanczos steps give nodes t_j (eigenvalues of the tridiagonal matrix) and weights w_j (squared first entries of its
eigenvectors) with sum_j w_j f(t_j) = v' f(H) v exactly for polynomials f of degree up to 2m - 1, and E v' f(H) v =
(1/n) tr f(H) (Golub and Welsch 1969; Ghorbani, Krishnan and Xiao 2019, arXiv:1901.10159).

Single eigenvalues at the ends decide about late times, and their random weights (variance 2/n^2 each) make late
times noisy. So converged pairs of a first run are *deflated*: each counts 1/n exactly, and probes see their complement.
Vectors are re-orthogonalised in full, so no eigenvalue appears twice; memory is (steps + deflated + 3) vectors. Where
that would be more than BASIS_LIMIT bytes, three vectors are held and nothing is deflated: an end of the spectrum may
then appear twice with its weight shared, which leaves means over the density as they are (Paige 1980).

The run is written here because the libraries have parts of it only: curvlinops' `fast_lanczos` is the run of three
vectors (the tests hold the two to the same nodes and weights), without deflation, residuals, single precision of NumPy
vectors or progress; SciPy's `eigsh` gives ends without weights, and takes as many products as it wants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import eigh_tridiagonal

from quprop.errors import QupropError, generator_of

Matvec = Callable[[np.ndarray], np.ndarray]
DIVERGED = "the operator returned numbers that are not finite: the network has diverged here"
BASIS_LIMIT = 1 << 32  # bytes of the Lanczos vectors of a run up to which all are kept
CONVERGED = 1e-3  # residual over spread at which a pair is deflated; its eigenvalue is then right to about its square


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A spectral density as weighted points.

    ``exact``      eigenvalues that count 1/dimension each
    ``runs``       of each probe nodes and weights; the weights of a run sum to 1 - len(exact)/dimension
    ``products``   operator applications spent
    ``edge_errors`` residuals of the least and the greatest node: an eigenvalue lies within this distance of it
    ``operator``   how products were taken, where the operator says so (`hessian.HessianProduct`)
    """

    dimension: int
    exact: np.ndarray
    runs: tuple[tuple[np.ndarray, np.ndarray], ...]
    products: int
    edge_errors: tuple[float, float] = (0.0, 0.0)
    operator: str | None = None

    @property
    def nodes(self) -> np.ndarray:
        return np.concatenate([self.exact, *[nodes for nodes, _ in self.runs]])

    @property
    def weights(self) -> np.ndarray:
        """Of `nodes`; they sum to 1."""
        exact = np.full(len(self.exact), 1 / self.dimension)
        return np.concatenate([exact, *[weights / len(self.runs) for _, weights in self.runs]])

    @property
    def least(self) -> float:
        return float(self.nodes.min())

    @property
    def greatest(self) -> float:
        return float(self.nodes.max())

    def mean(self, function: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """(1/n) tr f(H) and its standard error over probes: 0 for a spectrum without probes, nan for one probe."""
        fixed = float(np.sum(function(self.exact))) / self.dimension if len(self.exact) else 0.0
        if not self.runs:
            return fixed, 0.0
        values = np.array([weights @ function(nodes) for nodes, weights in self.runs])
        with np.errstate(invalid="ignore"):  # values may be infinite
            error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
        return fixed + float(values.mean()), error

    def shifted(self, by: float) -> Spectrum:
        """The spectrum of H + by."""
        runs = tuple((nodes + by, weights) for nodes, weights in self.runs)
        return replace(self, exact=self.exact + by, runs=runs)

    def density(self, grid: np.ndarray, width: float | None = None) -> np.ndarray:
        """The density on `grid` (points,), every node a Gaussian of deviation `width` (default a hundredth of the
        spread)."""
        nodes, weights = self.nodes, self.weights
        if width is None:
            width = max(1e-12, 0.01 * (self.greatest - self.least))
        scaled = (np.asarray(grid)[:, None] - nodes) / width
        return np.exp(-0.5 * scaled**2) @ weights / (width * np.sqrt(2 * np.pi))  # (points,)

    def to_json(self) -> dict[str, Any]:
        return {
            "least": self.least,
            "greatest": self.greatest,
            "edge_errors": list(self.edge_errors),
            "nodes": self.nodes.tolist(),
            "weights": self.weights.tolist(),
            "probes": len(self.runs),
            "exact_eigenvalues": len(self.exact),
            "products": self.products,
            "operator": self.operator,
        }


def exact_spectrum(eigenvalues: np.ndarray, products: int = 0) -> Spectrum:
    """The spectrum of known eigenvalues (n,)."""
    return Spectrum(len(eigenvalues), np.sort(np.asarray(eigenvalues, float)), (), products)


@dataclass(frozen=True, eq=False)
class Lanczos:
    """One run of m <= steps steps: H Q' = Q' T + residual, Q (m, n) orthonormal rows, T tridiagonal."""

    nodes: np.ndarray  # (m,) eigenvalues of T, ascending
    vectors: np.ndarray  # (m, m) eigenvectors of T in columns
    residuals: np.ndarray  # (m,) norms of H u - t u for the Ritz pairs (t, u)
    basis: np.ndarray  # Q (m, n), or its last two rows where they were not kept

    @property
    def weights(self) -> np.ndarray:
        return self.vectors[0] ** 2


def lanczos(
    matvec: Matvec, start: np.ndarray, steps: int, deflated: np.ndarray | None = None, *, keep: bool = True
) -> Lanczos:
    """Lanczos from `start` (n,), orthogonal to the orthonormal rows of `deflated` (k, n); it ends early where the
    Krylov space does. ``keep`` all vectors, and re-orthogonalise against them; else only against the last two."""
    n, dtype = len(start), start.dtype
    rows = steps if keep else min(steps, 2)  # step j is row j % rows
    basis = np.empty((rows, n), dtype)
    diagonal, off = np.empty(steps), np.empty(steps)

    def orthogonal(w: np.ndarray, m: int) -> np.ndarray:
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            if deflated is not None and len(deflated):
                w = w - (deflated @ w) @ deflated
            held = basis[: min(m, rows)]
            w = w - (held @ w) @ held
        return w

    w = orthogonal(start, 0)
    basis[0] = w / np.linalg.norm(w)
    scale = 0.0
    for j in range(steps):
        w = matvec(basis[j % rows])
        diagonal[j] = float(basis[j % rows] @ w)
        w = orthogonal(w, j + 1)
        off[j] = float(np.linalg.norm(w))
        scale = max(scale, abs(diagonal[j]) + off[j])
        if not np.isfinite(diagonal[j] + off[j]):
            raise QupropError(DIVERGED)
        if off[j] <= 100 * np.finfo(dtype).eps * scale:
            off[j] = 0.0
            break
        if j + 1 < steps:
            basis[(j + 1) % rows] = w / off[j]
    m = j + 1
    nodes, vectors = eigh_tridiagonal(diagonal[:m], off[: m - 1])
    return Lanczos(nodes, vectors, off[m - 1] * np.abs(vectors[-1]), basis[: min(m, rows)])


def as_matvec(operator: Any, dimension: int | None = None) -> tuple[Matvec, int]:
    """Products (n,) -> (n,) of NumPy vectors, and n, of a function (whose dimension must be given), or of an operator
    or matrix with ``@`` and ``shape`` (NumPy, SciPy, torch, curvlinops) or with ``matvec`` or ``apply`` and ``size`` or
    ``shape`` (hessian-eigenthings). Operators whose ``dtype`` is torch's are given tensors of it on their ``device``.
    One that is not symmetric on two random vectors is refused."""
    shape, size = getattr(operator, "shape", None), getattr(operator, "size", None)
    found = int(shape[-1]) if isinstance(shape, tuple) and shape else size if isinstance(size, int) else None
    if found is not None and shape is not None and tuple(shape) != (found, found):
        raise QupropError(f"a symmetric operator (n, n) was expected, got shape {tuple(shape)}")
    if dimension is not None and found is not None and found != dimension:
        raise QupropError(f"the operator acts on vectors of {found} entries, dimension is given as {dimension}")
    methods = (getattr(operator, name, None) for name in ("__matmul__", "matvec", "apply", "__call__"))
    product = next((m for m in methods if callable(m)), None)
    if product is None or (found is None and dimension is None):
        raise QupropError(
            "an operator is a function with its dimension, or an object with `@`, matvec or apply and with shape or "
            f"size, got {type(operator).__name__}"
        )
    if found is None:
        assert dimension is not None
        return operator, dimension
    kind = getattr(operator, "dtype", None)
    given: Matvec = product
    if type(kind).__module__ == "torch":
        given = _on_tensors(product, kind, getattr(operator, "device", None))
    x, y = np.random.default_rng(0).normal(size=(2, found))
    left, right = float(x @ given(y)), float(y @ given(x))
    if not abs(left - right) <= 1e-3 * max(abs(left), abs(right), 1e-6 * found):
        raise QupropError(f"the operator is not symmetric: x'Ay = {left:.6g} and y'Ax = {right:.6g} on random vectors")
    return given, found


def _on_tensors(product: Any, kind: Any, device: Any) -> Matvec:
    import torch

    def matvec(v: np.ndarray) -> np.ndarray:
        found = product(torch.as_tensor(v).to(dtype=kind, device=device))
        return np.asarray(found.detach().cpu().numpy().astype(v.dtype, copy=False))

    return matvec


def spectrum_of(
    matvec: Matvec | Any,
    dimension: int | None,
    rng: int | np.random.Generator,
    *,
    steps: int = 64,
    probes: int = 4,
    deflate: bool = True,
    precision: str = "double",
    progress: Callable[[int, int], None] | None = None,
) -> Spectrum:
    """The spectral density of a symmetric operator: a function (n,) -> (n,) with its `dimension` n, or any object that
    `as_matvec` takes as it is, with None for n.

    ``steps``, ``probes``  Lanczos steps a run, runs averaged; (probes + 1) steps products with `deflate`, else probes
                           steps. Where n products are no more than that, the whole matrix is formed and the spectrum is
                           exact
    ``deflate``            spend a first run on the ends of the spectrum (see the top of this file)
    ``precision``          of the vectors, "double" or "single"
    ``progress``           called with products done and products planned
    """
    rng = generator_of(rng)
    operator = matvec
    matvec, dimension = as_matvec(operator, dimension)
    for name, value in (("dimension", dimension), ("steps", steps), ("probes", probes)):
        if value < 1:
            raise QupropError(f"{name} must be at least 1, got {value}")
    dtype = np.float64 if precision == "double" else np.float32
    keep = steps * dimension * np.dtype(dtype).itemsize <= BASIS_LIMIT
    deflate = deflate and keep
    planned = (probes + deflate) * steps
    exact = dimension <= planned
    count = 0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        result = matvec(v)
        if progress is not None:
            progress(count, dimension if exact else planned)
        return result

    if exact:
        matrix = np.stack([product(row) for row in np.eye(dimension, dtype=dtype)])
        if not np.all(np.isfinite(matrix)):
            raise QupropError(DIVERGED)
        found = exact_spectrum(np.linalg.eigvalsh((matrix + matrix.T) / 2), count)
        return replace(found, operator=getattr(operator, "operator", None))
    kept, fixed = np.empty((0, dimension), dtype), np.empty(0)
    errors: dict[float, float] = {}
    if deflate:
        first = lanczos(product, rng.standard_normal(dimension).astype(dtype), steps)
        spread = float(np.abs(first.nodes).max()) or 1.0
        good = first.residuals <= CONVERGED * spread
        fixed = first.nodes[good]
        kept = (first.vectors[:, good].T.astype(dtype)) @ first.basis
        errors |= dict(zip(first.nodes, first.residuals, strict=True))
        del first
    share = 1 - len(fixed) / dimension
    runs = []
    for _ in range(probes):
        run = lanczos(product, rng.standard_normal(dimension).astype(dtype), steps, kept, keep=keep)
        runs.append((run.nodes, run.weights * share))
        errors |= dict(zip(run.nodes, run.residuals, strict=True))
    result = Spectrum(dimension, fixed, tuple(runs), count)
    edges = (float(errors[result.least]), float(errors[result.greatest]))
    return replace(result, edge_errors=edges, operator=getattr(operator, "operator", None))
