"""A linear system as a solver sees it: products with A and its adjoint, a right-hand side, a norm and a condition."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.arrays import checked, square
from quprop.errors import QupropError

Product = Callable[[np.ndarray], np.ndarray]

_DENSE = 4096  # rows and columns of which `from_matrix` computes singular values


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearSystem:
    """A x = b with A given by products only.

    matvec   v (columns,) -> A v (rows,)
    rmatvec  v (rows,) -> A† v (columns,)
    rhs      b (rows,), real or complex, not zero
    shape    (rows, columns) of A; A is square and invertible
    norm     alpha > 0, at least ||A||: the subnormalisation of the block encoding, which holds A/alpha
    kappa    at least alpha / sigma_min(A): the condition number the solver works with. With alpha = ||A|| it is that of
             A; with a larger alpha multiply that by alpha/||A||
    """

    matvec: Product
    rmatvec: Product
    rhs: np.ndarray
    shape: tuple[int, int]
    norm: float
    kappa: float

    def __post_init__(self) -> None:
        for name in ("matvec", "rmatvec"):
            if not callable(getattr(self, name)):
                raise QupropError(f"`{name}` is a function of a vector, got {getattr(self, name)!r}")
        shape = tuple(self.shape)
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
            raise QupropError(f"`shape` is that of a square matrix, got {self.shape}; pad it")
        rhs = check_rhs(self.rhs, shape[0], complex if np.iscomplexobj(self.rhs) else float)
        if not (math.isfinite(self.norm) and self.norm > 0):
            raise QupropError(f"`norm` is at least ||A||, a positive number, got {self.norm}")
        if not (math.isfinite(self.kappa) and self.kappa >= 1):
            raise QupropError(f"`kappa` is norm / sigma_min(A), a number from 1, got {self.kappa}")
        object.__setattr__(self, "shape", (int(shape[0]), int(shape[1])))
        object.__setattr__(self, "rhs", rhs)
        object.__setattr__(self, "norm", float(self.norm))
        object.__setattr__(self, "kappa", float(self.kappa))

    @property
    def n(self) -> int:
        """The number of unknowns."""
        return self.shape[0]

    @classmethod
    def from_matrix(cls, matrix: Any, rhs: Any, *, norm: float | None = None) -> LinearSystem:
        """A dense or scipy sparse matrix; singular values give norm (||A|| unless a larger is given) and kappa."""
        if not hasattr(matrix, "shape") or not hasattr(matrix, "conj"):
            matrix = np.asarray(matrix)
        shape = matrix.shape
        if len(shape) != 2 or shape[0] != shape[1]:
            raise QupropError(f"the matrix of a linear system is square, got shape {shape}; pad it until it is square")
        if shape[0] > _DENSE:
            raise QupropError(
                f"singular values are computed up to {_DENSE} unknowns, got {shape[0]}; "
                "give LinearSystem its products, norm and kappa instead"
            )
        dense = matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)
        values = np.linalg.svd(dense, compute_uv=False)
        if values[-1] <= values[0] * shape[0] * np.finfo(float).eps:
            raise QupropError(f"the matrix must be invertible, got smallest singular value {values[-1]:.3g}")
        alpha = float(values[0]) if norm is None else float(norm)
        if alpha < values[0] * (1 - 1e-12):
            raise QupropError(f"`norm` must be at least ||A|| = {values[0]:.6g}, got {alpha:.6g}")
        adjoint = matrix.conj().T
        return cls(
            matvec=lambda v: matrix @ v,
            rmatvec=lambda v: adjoint @ v,
            rhs=np.asarray(rhs),
            shape=(shape[0], shape[1]),
            norm=alpha,
            kappa=max(1.0, alpha / float(values[-1])),
        )

    def scaled(self) -> Encoding:
        """A/alpha and (A/alpha)† with a counter of uses: what a block encoding gives."""
        return Encoding(self)

    def check_adjoint(self) -> None:
        """Refuse products that are no adjoint pair, at the price of one of each: <Ab|Ab> = <b|A†A b>."""
        image = np.asarray(self.matvec(self.rhs))
        if image.shape != self.rhs.shape:
            raise QupropError(f"`matvec` must return a vector of shape {self.rhs.shape}, got {image.shape}")
        back = np.asarray(self.rmatvec(image))
        left, right = np.vdot(image, image).real, np.vdot(self.rhs, back)
        size = max(left, float(np.linalg.norm(self.rhs) * np.linalg.norm(back)))
        if not np.isfinite(size) or abs(left - right) > 1e-8 * size:
            raise QupropError(
                f"`rmatvec` must be the adjoint of `matvec`, but <Ab|Ab> = {left:.6g} and <b|A†Ab> = {right:.6g}"
            )


class Encoding:
    """Uses of a block encoding of A/alpha, counted: `apply` and `adjoint` are one query each."""

    def __init__(self, system: LinearSystem) -> None:
        self.queries = 0
        self._system = system

    def apply(self, v: np.ndarray) -> np.ndarray:
        self.queries += 1
        return np.asarray(self._system.matvec(v)) / self._system.norm

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        self.queries += 1
        return np.asarray(self._system.rmatvec(v)) / self._system.norm


def check_precision(kappa: float, eps: float) -> None:
    """What every solver asks of kappa and eps."""
    if not (math.isfinite(kappa) and kappa >= 1):
        raise QupropError(f"`kappa` is a condition number, from 1, got {kappa}")
    if not 0 < eps < 1:
        raise QupropError(f"`eps` is a distance of states between 0 and 1, got {eps}")


def relative_error(eps: float) -> float:
    """How far, relative to its length, a vector may be from the solution so that the normalised states are eps apart.

    ||x' - x|| <= r ||x|| turns x by an angle with sine r at most, and states at angle t are 2 sin(t/2) apart, so
    r = eps sqrt(1 - eps^2/4).
    """
    return eps * math.sqrt(1 - eps**2 / 4)


def check_rhs(rhs: Any, rows: int, dtype: Any = float) -> np.ndarray:
    """A right-hand side (rows,) that a state can be made of."""
    found = checked("`rhs`", rhs, (rows,), dtype)
    if not found.any():
        raise QupropError("`rhs` must be not all zero, as a state is made of it; check what built it")
    if not 1e-280 < square(found) < 1e280:
        raise QupropError("`rhs` must have a norm from 1e-140 to 1e140; scale it, and the solution with it")
    return found
