"""The engine of noisy models: exact values and gradients from the whole mixed state, 4^n real numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.simulate.engine import no_jet, threads_of
from quprop.simulate.noise.native import KEEP_BYTES, NativeVector
from quprop.simulate.noise.reference import NoisyReference

Arrays = tuple[np.ndarray, np.ndarray]


class DensityEngine:
    """Exact values and gradients of models with channels (and of those without), and their probabilities.

    It has 4^n real numbers where the engines of a state vector have 2^n complex ones. A mixed state has no amplitudes,
    so there are no states, and Hessian-vector products are not given either. `threads` is 1 ... the number of cores
    (the default); the result does not depend on it. `isa`, `block` and `keep`: see `NativeVector`.

    Raises: QupropError for single precision, and for states and Hessian-vector products.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0).depolarising(0.03, 0), "Z0")
    >>> qpr.expectation(model, [0.0], engine=qpr.DensityEngine()).round(6)  # 1 - 4p/3
    array([0.96])
    """

    name = "density"

    def __init__(
        self,
        precision: str = "double",
        threads: int | None = None,
        *,
        isa: str | None = None,
        block: int | None = None,
        keep: int = KEEP_BYTES,
    ) -> None:
        if precision != "double":
            raise QupropError(f'the density engine computes in "double" only, got precision={precision!r}')
        self.precision, self.threads = precision, threads_of(threads)
        self._native, self._reference = NativeVector(self.threads, isa=isa, block=block, keep=keep), NoisyReference()

    def __repr__(self) -> str:
        return f"DensityEngine({self.precision!r}, threads={self.threads})"

    def _vector(self, model: Model) -> NativeVector | NoisyReference:
        return self._native if self._native.takes(model) else self._reference

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        return self._vector(model).values(model, theta, x)

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        return self._vector(model).value_and_grad(model, theta, x, weights)

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        return self._vector(model).vjp(model, theta, x)

    def probabilities(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The diagonal of the final mixed state, (B, 2^n)."""
        return self._vector(model).probabilities(model, theta, x)

    jet = state_jet = no_jet

    def hvp(self, *_: Any) -> NoReturn:
        raise QupropError(
            "the density engine gives values and first derivatives, no Hessian-vector products; take differences of "
            "gradients, or model.noiseless()"
        )

    def states(self, *_: Any) -> NoReturn:
        raise QupropError(
            "a mixed state has no amplitudes: the density engine gives expectation values, their gradients and "
            "probabilities; take model.noiseless() for a state"
        )

    state_vjp = tangents = states

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes needed for "values", "value_and_grad", "vjp" or "probabilities" of a batch."""
        if what == "hvp":
            self.hvp()
        if what not in ("values", "value_and_grad", "vjp", "probabilities"):
            self.states()
        return self._vector(model).memory(model, batch, what)
