"""Node: a model as a node of somebody's automatic-differentiation graph, in NumPy; torch.py and jax.py wrap it.

With F(theta, x) the values (K,) of one sample and J its Jacobian, differentiation twice, in any mix of modes, needs

    value   F                                           push    J u                    (forwards, along u)
    pull    J^T c           (backwards, from c)         hess    H(c) u, H(c) = sum_k c_k Hessian(F_k)
                                                        curve   (w^T Hessian(F_k) u)_k

and these are closed: push and pull are each other's transposes, and so are hess in u and curve in c. Directions
u = (u_theta, u_x) have one part beside theta (..., P) and one beside x (..., D).

All five work sample by sample: leading axes of all arguments broadcast to one batch shape S, and every result is
(*S, size). Sums over axes that an argument did not have are the caller's, as in any other broadcasting function. A
batch of no samples has empty results, as everywhere in their programs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import QupropError
from quprop.model import Model
from quprop.simulate import Composite

Pair = tuple[np.ndarray, np.ndarray]
PRECISION_OF = {"float64": "double", "float32": "single"}
THIRD_ORDER = (
    "derivatives of a model are exact up to the second, and a third was asked for; "
    "differentiate twice at most, or take the third by differences"
)


class Node:
    """The node of an engine: adjoint differentiation, and Hessian-vector products by the same sweeps.

    Equal nodes compute the same, so a node may be a static argument. Copies are the node itself: it never changes.
    """

    draws = False  # whether the pull back is a random estimate

    def __init__(
        self, model: Model | Composite, precision: str = "double", threads: int | None = None, engine: Any = None
    ) -> None:
        self.model, self.precision, self.threads, self.engine = model, precision, threads, engine
        self._options: dict[str, Any] = {"engine": engine, "precision": precision, "threads": threads}

    @property
    def key(self) -> tuple[Any, ...]:
        return type(self), self.model, self.precision, self.threads, self.engine

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Node) and self.key == other.key)

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Node:
        return self

    def shape(self, *arrays: np.ndarray | None) -> tuple[int, ...]:
        """The batch shape S of arguments (..., size)."""
        return np.broadcast_shapes(*(a.shape[:-1] for a in arrays if a is not None))

    def sizes(self, of: str) -> tuple[int, ...]:
        """Of K observables, P parameters, D inputs: the sizes of results named "K" or "PD"."""
        known = {"K": self.model.n_observables, "P": self.model.n_params, "D": self.model.n_inputs}
        return tuple(known[letter] for letter in of)

    def nothing(self, S: tuple[int, ...], of: str) -> tuple[np.ndarray, ...]:
        """Results for a batch S without samples."""
        return tuple(np.zeros((*S, size)) for size in self.sizes(of))

    def value(self, theta: np.ndarray, x: np.ndarray | None) -> np.ndarray:
        """F: (*S, K)."""
        if 0 in (S := self.shape(theta, x)):
            return self.nothing(S, "K")[0]
        return simulate.expectation(self.model, theta, x, **self._options)

    def kept(self, theta: np.ndarray, x: np.ndarray | None) -> Kept:
        """F, and what the sweep backwards can use of the sweep forwards."""
        values, pullback = self._vjp(theta, x)
        return Kept(values, pullback, self.shape(theta, x))

    def _vjp(self, theta: np.ndarray, x: np.ndarray | None) -> tuple[np.ndarray, Callable[..., Pair]]:
        if 0 not in (S := self.shape(theta, x)):
            return simulate.vjp(self.model, theta, x, **self._options)
        values, d_theta, d_x = self.nothing(S, "KPD")
        return values, lambda c, sum_theta=False: (np.zeros(self.model.n_params) if sum_theta else d_theta, d_x)

    def pull(self, theta: np.ndarray, x: np.ndarray | None, c: np.ndarray, kept: Kept | None = None) -> Pair:
        """J^T c: (*S, P) and (*S, D). kept: of the same theta and x; c may have further axes in front of theirs."""
        S = self.shape(theta, x, c)
        if 0 in S:
            return self.nothing(S, "PD")  # type: ignore[return-value]
        if kept is not None and S[len(S) - len(kept.shape) :] == kept.shape:
            if kept.shape == S:
                return kept.pullback(np.broadcast_to(c, (*S, c.shape[-1])))
            rows = np.broadcast_to(c, (*S, c.shape[-1])).reshape(-1, *kept.shape, c.shape[-1])
            pairs = [kept.pullback(row) for row in rows]
            d_theta, d_x = (np.stack(parts) for parts in zip(*pairs, strict=True))
            return d_theta.reshape(*S, -1), d_x.reshape(*S, -1)
        theta, x = self._whole(S, theta, x)
        _, pullback = self._vjp(theta, x)
        return pullback(c)

    def push(self, theta: np.ndarray, x: np.ndarray | None, u_theta: np.ndarray, u_x: np.ndarray | None) -> np.ndarray:
        """J u: (*S, K), from one sweep backwards for each observable."""
        S, K = self.shape(theta, x, u_theta, u_x), self.model.n_observables
        theta, x = self._whole(S, theta, x)
        _, pullback = self._vjp(theta, x)
        out = np.empty((*S, K))
        for k, row in enumerate(np.eye(K)):
            out[..., k] = _dot(pullback(row), u_theta, u_x)
        return out

    def hess(
        self, theta: np.ndarray, x: np.ndarray | None, c: np.ndarray, u_theta: np.ndarray, u_x: np.ndarray | None
    ) -> Pair:
        """H(c) u: (*S, P) and (*S, D)."""
        if 0 in (S := self.shape(theta, x, c, u_theta, u_x)):
            return self.nothing(S, "PD")  # type: ignore[return-value]
        theta, x = self._whole(S, theta, x)
        return simulate.hvp(self.model, theta, x, v_theta=u_theta, v_x=u_x, weights=c, **self._options)[2:]

    def curve(
        self,
        theta: np.ndarray,
        x: np.ndarray | None,
        u_theta: np.ndarray,
        u_x: np.ndarray | None,
        w_theta: np.ndarray,
        w_x: np.ndarray | None,
    ) -> np.ndarray:
        """w^T Hessian(F_k) u: (*S, K), from one Hessian-vector product for each observable."""
        S, K = self.shape(theta, x, u_theta, u_x, w_theta, w_x), self.model.n_observables
        theta, x = self._whole(S, theta, x)
        out = np.empty((*S, K))
        for k, row in enumerate(np.eye(K)):
            out[..., k] = _dot(self.hess(theta, x, row, u_theta, u_x), w_theta, w_x)
        return out

    def _whole(self, S: tuple[int, ...], theta: np.ndarray, x: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """theta and x with the whole batch S between them: x as it is where it has all axes, else theta."""
        if self.shape(theta, x) == S:
            return theta, x
        return np.broadcast_to(theta, (*S, theta.shape[-1])), x


class Kept:
    """values (*S, K), and pullback(cotangent (*S, K)) -> d_theta (*S, P), d_x (*S, D)."""

    __slots__ = ("pullback", "shape", "values")

    def __init__(self, values: np.ndarray, pullback: Callable[..., Pair], shape: tuple[int, ...]) -> None:
        self.values, self.pullback, self.shape = values, pullback, shape


def _dot(pair: Pair, u_theta: np.ndarray, u_x: np.ndarray | None) -> np.ndarray:
    total = (pair[0] * u_theta).sum(axis=-1)
    return total if u_x is None else total + (pair[1] * u_x).sum(axis=-1)


def check_model(what: str, model: Any) -> Model | Composite:
    if not simulate.is_model(model):
        raise QupropError(
            f"{what} takes a quprop Model, whose outputs are expectation values, got {type(model).__name__}; "
            "build one with qpr.Model(circuit, observables)"
        )
    return model


def check_shapes(
    model: Model | Composite,
    theta_shape: tuple[int, ...],
    x_shape: tuple[int, ...] | None,
    names: tuple[str, str] = ("theta", "x"),
) -> None:
    """One sentence if the last axes are not (n_params,) and (n_inputs,), or the leading ones do not broadcast."""
    P, D = model.n_params, model.n_inputs
    theta, x = names
    if x_shape is None and D:
        raise QupropError(f"this model reads {D} inputs a sample; pass {x} with shape (..., {D})")
    if x_shape is not None and not D and 0 not in x_shape:
        raise QupropError(f"this model has no inputs; leave {x} out, got shape {tuple(x_shape)}")
    if D and x_shape is not None and theta_shape[-1:] == (D,) and x_shape[-1:] == (P,) and P != D:
        raise QupropError(
            f"{theta} and {x} look exchanged: {theta} must have shape (..., {P}) and {x} (..., {D}), got "
            f"{tuple(theta_shape)} and {tuple(x_shape)}"
        )
    for name, shape, size in ((theta, theta_shape, P), (x, x_shape, D)):
        if shape is not None and (size or name == theta) and shape[-1:] != (size,):
            raise QupropError(f"{name} must have shape (..., {size}), got {tuple(shape)}")
    if D and x_shape is not None:
        try:
            np.broadcast_shapes(theta_shape[:-1], x_shape[:-1])
        except ValueError:
            raise QupropError(
                f"the batch axes of {theta} {tuple(theta_shape[:-1])} and {x} {tuple(x_shape[:-1])} must be equal or "
                "broadcast"
            ) from None
