"""How sparse is the Hessian of the surviving parameters, and what does access to it entry by entry cost?

A quantum computer queries G_1 = I - eta H through a block encoding G_1/alpha. Sparse access, "the k-th entry of this
row", gives alpha = sqrt(s_row s_column) max|entry| (Gilyen, Su, Low and Wiebe, arXiv:1806.01838, lemma 48), which is
s max|entry| for a symmetric matrix, or, where the diagonal is encoded apart, max|1 - eta H_ii| + eta s max|H_ij|. What
a solver is charged for is alpha/sigma_min, not ||L||/sigma_min. A pruned network has sparse weights; its Hessian on
what survived need not be sparse, so s and alpha are measured: columns H e_i of the survivors' Hessian are
Hessian-vector products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.carleman.spectra.spectrum import DIVERGED, Matvec
from quprop.errors import QupropError, generator_of

FULL_BELOW = 256  # parameters up to which every column is taken
COLUMNS = 32  # of larger Hessians
THRESHOLD = 1e-3  # of the largest entry seen


@dataclass(frozen=True)
class Sparsity:
    """Entries of the columns of a symmetric Hessian, all of them or a sample.

    ``dimension``, ``columns``   r, and how many of its columns were taken
    ``threshold``   an entry counts if it is larger than this share of the largest one seen
    ``entries``, ``error``       a column's entries on average, and the standard error of that (0: all were taken)
    ``nonzero``     entries of a column that are not zero at all, on average
    ``most``        in a column above the threshold, the diagonal one in any case; of a sample: at least
    ``largest``     |entry| of H, ``beside`` off its diagonal, ``diagonal`` |1 - eta H_ii|, ``largest_step`` |entry| of
                    G_1 = I - eta H; of a sample: at least
    ``dropped``     Frobenius norm of the entries below the threshold over that of all
    ``rate``        eta
    """

    dimension: int
    columns: int
    threshold: float
    entries: float
    error: float
    nonzero: float
    most: int
    largest: float
    beside: float
    diagonal: float
    dropped: float
    rate: float

    @property
    def density(self) -> float:
        return self.entries / self.dimension

    @property
    def largest_step(self) -> float:
        return max(self.diagonal, self.rate * self.beside)

    @property
    def alpha(self) -> float:
        """Normalisation of G_1's block encoding, s ``most`` with the diagonal: min(s max|G_1|, max|1 - eta H_ii| +
        eta s max|H_ij|)."""
        return min(self.most * self.largest_step, self.diagonal + self.rate * self.most * self.beside)

    def sentence(self) -> str:
        exact = self.columns == self.dimension
        error = "" if exact else f" ± {self.error:.2g}"
        return (
            f"the survivors' Hessian has {self.entries:.4g}{error} entries a row of {self.dimension:,} "
            f"({'all' if exact else self.columns} columns measured, entries above {self.threshold:g} of the largest; "
            f"{self.nonzero:.4g} are not zero), "
            f"and a block encoding of the step normalisation {self.alpha:.3g}"
        )

    def to_json(self) -> dict[str, Any]:
        names = self.__dataclass_fields__
        return {name: getattr(self, name) for name in names} | {
            "density": self.density,
            "largest_step": self.largest_step,
            "alpha": self.alpha,
        }


def measure_sparsity(
    product: Matvec,
    n: int,
    rng: int | np.random.Generator,
    *,
    learning_rate: float,
    columns: int | None = None,
    threshold: float = THRESHOLD,
    precision: str = "double",
    progress: Callable[[int, int], None] | None = None,
) -> Sparsity:
    """Columns of a symmetric ``product`` v (n,) -> H v (n,), restricted to the parameters that move.

    ``columns``  how many, drawn without replacement; default all up to FULL_BELOW parameters, COLUMNS beyond
    """
    if n < 1 or (columns is not None and columns < 1) or not 0 <= threshold < 1:
        raise QupropError(
            f"n >= 1, columns >= 1 and a threshold in [0, 1) were expected, got {n}, {columns}, {threshold}"
        )
    count = min(n, columns if columns is not None else n if n <= FULL_BELOW else COLUMNS)
    chosen = np.sort(generator_of(rng).choice(n, count, replace=False))
    sizes = np.empty((count, n), np.float32 if count * n > 10_000_000 else np.float64)
    beside = diagonal = 0.0
    for i, index in enumerate(chosen):
        if progress is not None:
            progress(i, count)
        basis = np.zeros(n, np.float32 if precision == "single" else np.float64)
        basis[index] = 1
        column = np.asarray(product(basis), dtype=float)
        if not np.isfinite(column).all():
            raise QupropError(DIVERGED)
        sizes[i] = np.abs(column)
        diagonal = max(diagonal, abs(1 - learning_rate * float(column[index])))
        beside = max(beside, float(np.delete(sizes[i], index).max(initial=0.0)))
    largest = float(sizes.max())
    above = sizes > threshold * largest
    counts = above.sum(axis=1)
    most = int((counts + ~above[np.arange(count), chosen]).max())
    whole = float(np.linalg.norm(sizes))
    spread = float(counts.std(ddof=1)) if count > 1 else math.nan if count < n else 0.0
    return Sparsity(
        dimension=n,
        columns=count,
        threshold=threshold,
        entries=float(counts.mean()),
        error=0.0 if count == n else spread * math.sqrt((1 - count / n) / count),
        nonzero=float((sizes > 0).sum(axis=1).mean()),
        most=most,
        largest=largest,
        beside=beside,
        diagonal=diagonal,
        dropped=float(np.linalg.norm(sizes[~above])) / whole if whole else 0.0,
        rate=learning_rate,
    )


@dataclass(frozen=True)
class SecondOrder:
    """Columns of the step matrix G_2 = -(eta/2) D^3 L, (r, r^2), for sampled pairs of parameters: ``density`` of
    entries above the threshold with its standard ``error``, ``largest`` |entry| seen, and ``alpha`` = sqrt(r^2 d r d)
    times that, r^1.5 d max."""

    dimension: int
    pairs: int
    density: float
    error: float
    largest: float

    @property
    def alpha(self) -> float:
        return self.dimension**1.5 * self.density * self.largest

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"alpha": self.alpha}


def measure_second(
    contract: Callable[[Sequence[np.ndarray]], np.ndarray],
    kept: np.ndarray,
    n: int,
    rng: int | np.random.Generator,
    *,
    learning_rate: float,
    pairs: int = 24,
    threshold: float = THRESHOLD,
    precision: str = "double",
) -> SecondOrder:
    """``contract`` (u, v), each (n,) -> D^3 L[u, v] (n,), on pairs drawn from the parameters ``kept``."""
    rng, r = generator_of(rng), len(kept)
    eye = np.zeros((2, n), np.float32 if precision == "single" else np.float64)
    sizes = np.empty((pairs, r))
    for i, chosen in enumerate(kept[rng.integers(0, r, (pairs, 2))]):
        eye[:] = 0
        eye[0, chosen[0]] = eye[1, chosen[1]] = 1
        sizes[i] = 0.5 * learning_rate * np.abs(contract([eye[0], eye[1]])[kept])
    largest = float(sizes.max())
    share = (sizes > threshold * largest).mean(axis=1)
    return SecondOrder(r, pairs, float(share.mean()), float(share.std(ddof=1) / math.sqrt(pairs)), largest)
