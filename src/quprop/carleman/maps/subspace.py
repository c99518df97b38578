"""Gradient descent on some of the parameters, the others held still: what training a pruned network is."""

from __future__ import annotations

import numpy as np

from quprop.carleman.maps.dynamics import PolynomialMap
from quprop.errors import QupropError


class Restricted(PolynomialMap):
    """S_kept(u) = P S(P^T u) on the r parameters ``kept``, P the projection onto them; the others stay at u = 0.

    The gradient with respect to some parameters is that part of the gradient, so this is exact, and every G_k has r
    rows and r^k columns of the full one.
    """

    def __init__(self, inner: PolynomialMap, kept: np.ndarray) -> None:
        self.kept = np.asarray(kept, dtype=np.int64)
        if self.kept.ndim != 1 or not len(self.kept) or len(np.unique(self.kept)) < len(self.kept):
            raise QupropError(f"`kept` holds different indices, at least one, got shape {self.kept.shape}")
        if self.kept.min() < 0 or self.kept.max() >= inner.dimension:
            raise QupropError(f"`kept` holds indices from 0 to {inner.dimension - 1}, got {self.kept.max()}")
        self.inner = inner
        self.dimension = len(self.kept)
        self.degree, self.order = inner.degree, inner.order
        self._constant: np.ndarray | None = None

    @property
    def series_seconds(self) -> float:
        return self.inner.series_seconds

    def embed(self, u: np.ndarray) -> np.ndarray:
        """(..., r) -> (..., n), zero elsewhere."""
        out = np.zeros((*np.shape(u)[:-1], self.inner.dimension))
        out[..., self.kept] = u
        return out

    def constant(self) -> np.ndarray:
        if self._constant is None:
            self._constant = np.asarray(self.inner.constant()[self.kept])
        return self._constant

    def series(self, path: np.ndarray) -> np.ndarray:
        return np.asarray(self.inner.series(self.embed(path))[..., self.kept])

    def descend(self, u: np.ndarray) -> np.ndarray:
        return np.asarray(self.inner.descend(self.embed(u))[..., self.kept])
