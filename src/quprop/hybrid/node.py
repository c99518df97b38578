"""Node: a model as a node of somebody's automatic-differentiation graph, in NumPy; torch.py and jax.py wrap it.

With F(theta, x) the values (K,) of one sample and J its Jacobian, differentiation twice, in any mix of modes, needs

    value   F                                           push    J u                    (forwards, along u)
    pull    J^T c           (backwards, from c)         hess    H(c) u, H(c) = sum_k c_k Hessian(F_k)
                                                        curve   (w^T Hessian(F_k) u)_k

and these are closed: push and pull are each other's transposes, and so are hess in u and curve in c. A third time needs
the derivatives of hess and of curve along z, which are again each other's transposes:

    third   sum_k c_k D^3 F_k[u, w, .]                  cubic   (D^3 F_k[u, w, z])_k

Directions u = (u_theta, u_x) have one part beside theta (..., P) and one beside x (..., D).

All of them work sample by sample: leading axes of all arguments broadcast to one batch shape S, and every result is
(*S, size). Sums over axes that an argument did not have are the caller's, as in any other broadcasting function. A
batch of no samples has empty results, as everywhere in their programs.

The third derivative is read from jets: J(v) = D^3 F[v, v, .] is the gradient of d^2 F/dt^2 along v, one sweep forwards
and one backwards over (psi, psi', psi''), and D^3 F is symmetric, so that

    D^3 F[u, w, .] = (J(u + w) - J(u - w)) / 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from quprop import simulate
from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.simulate import Composite

Pair = tuple[np.ndarray, np.ndarray]
PRECISION_OF = {"float64": "double", "float32": "single"}
FOURTH_ORDER = (
    "derivatives of a model are exact up to the third, and a fourth was asked for; "
    "differentiate three times at most, or take the fourth by differences"
)
_LEAST_SIZE = 2.0**-40  # of a direction along which no angle moves at first order, beside its entries


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

    def third(
        self,
        theta: np.ndarray,
        x: np.ndarray | None,
        c: np.ndarray,
        u_theta: np.ndarray,
        u_x: np.ndarray | None,
        w_theta: np.ndarray,
        w_x: np.ndarray | None,
    ) -> Pair:
        """sum_k c_k D^3 F_k[u, w, .]: (*S, P) and (*S, D)."""
        if 0 in (S := self.shape(theta, x, c, u_theta, u_x, w_theta, w_x)):
            return self.nothing(S, "PD")  # type: ignore[return-value]
        return self._third_along(S, theta, x, (u_theta, u_x), (w_theta, w_x))(c)

    def cubic(
        self,
        theta: np.ndarray,
        x: np.ndarray | None,
        u_theta: np.ndarray,
        u_x: np.ndarray | None,
        w_theta: np.ndarray,
        w_x: np.ndarray | None,
        z_theta: np.ndarray,
        z_x: np.ndarray | None,
    ) -> np.ndarray:
        """D^3 F_k[u, w, z]: (*S, K), from one sweep backwards for each observable."""
        S, K = self.shape(theta, x, u_theta, u_x, w_theta, w_x, z_theta, z_x), self.model.n_observables
        out = np.empty((*S, K))
        if 0 in S:
            return out
        third = self._third_along(S, theta, x, (u_theta, u_x), (w_theta, w_x))
        for k, row in enumerate(np.eye(K)):
            out[..., k] = _dot(third(row), z_theta, z_x)
        return out

    def _third_along(
        self, S: tuple[int, ...], theta: np.ndarray, x: np.ndarray | None, *directions: tuple[np.ndarray, Any]
    ) -> Callable[[np.ndarray], Pair]:
        """c -> sum_k c_k D^3 F_k[u, w, .], from the jets along u + w and u - w of all samples in one call.

        The sizes of u and w are those of what the angles do along them, made equal for each sample: else the jet along
        the smaller one would be lost in rounding beside the other's.
        """
        model, jet = self._jets()
        theta, x = self._whole(S, theta, x)
        call = simulate.Call(model, theta, x, self.engine, self.precision, self.threads, "jet")
        sizes, rows = (model.n_params, model.n_inputs), (call.theta, call.x)
        ends = [
            [_batch("a direction", part, S, size) for part, size in zip(pair, sizes, strict=True)]
            for pair in directions
        ]
        with simulate.quiet():
            scales = [_size(model, *rows, *pair) for pair in ends]
            u, w = ([part / np.where(s, s, 1.0) for part in pair] for pair, s in zip(ends, scales, strict=True))
            scale = scales[0] * scales[1]
            both = [[a + b for a, b in zip(u, w, strict=True)], [a - b for a, b in zip(u, w, strict=True)]]
            # u + w or u - w vanishes where they are parallel, and where one of them is zero there is nothing to do
            kept = [np.flatnonzero((scale[:, 0] != 0) & _moves(v, u, w, self.precision)) for v in both]
            at = np.concatenate(kept)
            weight = scale[at] / 4
            weight[len(kept[0]) :] *= -1
            if len(at):
                v_theta, v_x = (np.concatenate([a[kept[0]], b[kept[1]]]) for a, b in zip(*both, strict=True))
                _, pullback = jet(model, *(a if len(a) == 1 else a[at] for a in rows), v_theta, v_x, 2)

        def third(c: np.ndarray) -> Pair:
            total = [np.zeros((call.batch, size)) for size in sizes]
            cotangents = np.zeros((3, len(at), model.n_observables))
            cotangents[2] = _batch("a cotangent", c, S, model.n_observables)[at]
            with simulate.quiet():
                for out, found in zip(total, pullback(cotangents)[:2] if len(at) else (), strict=False):
                    for k, part in zip(kept, np.split(weight * found, [len(kept[0])]), strict=True):
                        out[k] += part
            simulate.in_range("a third derivative", self.precision, *total)
            d_theta, d_x = (out.reshape(*S, size) for out, size in zip(total, sizes, strict=True))
            return d_theta, d_x

        return third

    def _jets(self) -> tuple[Model, Callable[..., Any]]:
        """The model and its engine's jets, or one sentence."""
        model = self.model
        if not isinstance(model, Model):
            raise QupropError(
                f"derivatives of a {type(model).__name__} are exact up to the second, and a third was asked for; "
                "differentiate twice at most, or differentiate a Model"
            )
        refuse_channels(model, "a third derivative")
        return model, simulate.engine_for(model, self.engine, self.precision, self.threads).jet

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


def _batch(name: str, a: np.ndarray | None, S: tuple[int, ...], size: int) -> np.ndarray:
    """(B, size), zero if it is left out."""
    if a is None or not size:
        return np.zeros((math.prod(S), size))
    return np.broadcast_to(checked(name, a, (..., size)), (*S, size)).reshape(-1, size)


def _size(model: Model, theta: np.ndarray, x: np.ndarray, u_theta: np.ndarray, u_x: np.ndarray) -> np.ndarray:
    """(B, 1): how fast angles, amplitudes and coefficients move along u; zero only where u is."""
    peak = np.maximum(*(np.abs(u).max(axis=1, initial=0.0, keepdims=True) for u in (u_theta, u_x)))
    u_theta, u_x = (u / np.where(peak, peak, 1.0) for u in (u_theta, u_x))
    moved = (model.angle_table.pushforward(theta, x, u_theta, u_x) ** 2).sum(axis=1, keepdims=True)
    if model.state.kind == "encoded":
        moved = moved + (model.state.pushforward(model.n_qubits, x, u_x) ** 2).sum(axis=1, keepdims=True)
    if model.coefficients is not None:
        moved = moved + (model.coefficients.table.pushforward(theta, x, u_theta, u_x) ** 2).sum(axis=1, keepdims=True)
    found: np.ndarray = peak * np.maximum(np.sqrt(moved), _LEAST_SIZE)
    return found


def _moves(v: list[np.ndarray], u: list[np.ndarray], w: list[np.ndarray], precision: str) -> np.ndarray:
    """(B,): whether v = u + w or u - w is more than what rounding leaves of two parallel directions."""
    limit = np.sqrt(np.finfo(np.float32 if precision == "single" else np.float64).eps)
    parts = zip(v, u, w, strict=True)
    found: np.ndarray = np.logical_or.reduce(
        np.hstack([np.abs(a) > limit * (np.abs(b) + np.abs(c)) for a, b, c in parts]), axis=1
    )
    return found


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
