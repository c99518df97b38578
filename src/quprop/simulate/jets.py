"""Derivatives of expectation values along directions, to the second order, and the gradient of any loss of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.simulate import Call, Composite, in_range, memory, quiet

__all__ = ["Jet", "jet"]


@dataclass(frozen=True, eq=False)
class Jet:
    """Values and derivatives along directions, and what pulls them back; made by `quprop.jet`.

    values: the values (..., K), then the first and second derivatives (..., n_directions, K); without the axis of
    directions if one direction (size,) was given; mixed second derivatives are (..., n_directions, n_directions, K).
    pullback: pullback(cotangents, sum_theta=False) -> (d_theta, d_x), the gradients of sum(cotangents * values), one
    array an order, None for zeros; shapes as of `quprop.vjp`.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("a", 1)[0] * qpr.inputs("x", 1)[0], 0), "Z0")  # cos(a x)
    >>> found = qpr.jet(model, [2.0], [0.3], [1.0])
    >>> [v.round(6).tolist() for v in found.values]  # cos(a x), -a sin(a x), -a^2 cos(a x)
    [[0.825336], [-1.129285], [-3.301342]]
    """

    values: tuple[np.ndarray, ...]
    pullback: Callable[..., tuple[np.ndarray, np.ndarray]]


def jet(
    model: Model,
    theta: Any,
    x: Any,
    directions: Any,
    order: int = 2,
    *,
    wrt: str = "x",
    mixed: bool = False,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> Jet:
    """d^k/dt^k <O>(theta, x + t v) at t = 0 for each direction v and k = 0 ... order, exactly; and their pullback.

    The state is a Taylor polynomial in t, cut off after t^order, and so is lambda on the way back: one sweep forwards
    and one backwards for any loss of all of these, whatever its number of parameters (Griewank and Walther, Evaluating
    Derivatives, 2nd ed., chapter 13).

    directions: (size,), or (n_directions, size) for all samples, or the batch's axes before these two.
    order: 0, 1 or 2. wrt: what moves, "x", or "theta" for directions over the parameters (then x may be None).
    mixed: the second derivatives are v_i . Hessian . v_j of all pairs, (..., n_directions, n_directions, K), by
    polarisation: 2 H(v, w) = H(v + w, v + w) - H(v, v) - H(w, w), exact to rounding. With the unit vectors for
    directions that is the whole Hessian.
    model, theta, x, engine, precision, threads: as in `expectation`, for a model without noise and an engine that has
    the whole state.

    Returns: Jet: values, one array an order, (..., K) and (..., n_directions, K); and pullback.
    Raises: QupropError as `expectation`, and for other orders and shapes, cut or noisy models, and other engines.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("a", 1)[0] * qpr.inputs("x", 1)[0], 0), "Z0")  # cos(a x)
    >>> u, du, ddu = (found := qpr.jet(model, [2.0], [[0.3], [0.7]], [1.0])).values
    >>> ddu[:, 0].round(6)  # -a^2 cos(a x)
    array([-3.301342, -0.679869])
    >>> found.pullback([None, None, np.ones((2, 1))], sum_theta=True)[0].round(6)  # of sum u_xx, by a
    array([-0.544381])
    """
    if isinstance(order, bool) or order not in (0, 1, 2):
        raise QupropError(
            "derivatives along a direction are exact up to the second order: order is 0, 1 or 2, got "
            f"{order!r}; take differences of second derivatives beyond"
        )
    if wrt not in ("x", "theta"):
        raise QupropError(f'wrt is "x" or "theta", what the directions are over, got {wrt!r}')
    if mixed and order != 2:
        raise QupropError(f"mixed derivatives are of second order: pass order=2, got order={order}")
    if isinstance(model, Composite) and not isinstance(model, Model):
        raise QupropError(
            f"a {type(model).__name__}, made of several values, has no derivatives along a direction; pass a Model"
        )
    if isinstance(model, Model):
        refuse_channels(model, "qpr.jet")
        if not model.n_observables:
            raise QupropError("this model has no observables to differentiate; make it with some")
    call = Call(model, theta, x, engine, precision, threads, "jet")
    if not hasattr(call.engine, "jet"):
        raise QupropError(f"the engine {call.engine!r} has no derivatives along a direction; take engine='native'")
    if wrt == "x" and not model.n_inputs:
        raise QupropError('this model has no inputs; pass wrt="theta" for directions over its parameters')
    size = model.n_inputs if wrt == "x" else model.n_params
    v, single = _directions(directions, size, call.shape)
    n = v.shape[-2]
    exponents = None
    if mixed:
        v, exponents, combined = _polarised(v)
    rows, batch, K = v.shape[-2], call.batch, model.n_observables
    if batch * rows << model.n_qubits > 1 << 22:
        memory.require(
            call.engine.memory(model, batch * rows, "jet"),
            f"the derivatives of {model.n_qubits} qubits along {batch * rows} directions",
            'use precision="single", a smaller batch or fewer directions',
        )
    at = [a if len(a) == 1 else np.repeat(a, rows, axis=0) for a in (call.theta, call.x)]
    moves = [np.zeros((1, model.n_params)), np.zeros((1, model.n_inputs))]
    moves[wrt == "x"] = np.ascontiguousarray(np.broadcast_to(v, (batch, rows, size))).reshape(batch * rows, size)
    with quiet():
        found, inner = call.engine.jet(model, *at, *moves, order)
    found = found.reshape(order + 1, batch, rows, K)

    def outwards(k: int, a: np.ndarray) -> np.ndarray:
        """Derivatives of order k along the directions, from those along the rows."""
        if exponents is None:
            return a
        if k == 1:
            return np.ldexp(a[:, :n], exponents)
        return np.ldexp(np.einsum("ijr,brk->bijk", combined, a), exponents[:, :, None] + exponents[:, None, :])

    def inwards(k: int, c: np.ndarray) -> np.ndarray:
        """The transpose of it."""
        if exponents is None:
            return c
        if k == 1:
            return np.pad(np.ldexp(c, exponents), ((0, 0), (0, rows - n), (0, 0)))
        scaled = np.ldexp(c, exponents[:, :, None] + exponents[:, None, :])
        return np.einsum("ijr,bijk->brk", combined, scaled)

    with quiet():
        parts = [found[0][:, 0], *(outwards(k, found[k]) for k in range(1, order + 1))]
    in_range("a value or a derivative", precision, *parts)
    axes = [p.shape[1:] for p in parts]
    values = tuple(p.reshape(*call.shape, *((K,) if single else axis)) for p, axis in zip(parts, axes, strict=True))

    def pullback(cotangents: Sequence[Any], *, sum_theta: bool = False) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(cotangents, (tuple, list, np.ndarray)) or len(cotangents) != order + 1:
            count = len(cotangents) if hasattr(cotangents, "__len__") else cotangents
            raise QupropError(
                f"cotangents are one array for each order, 0 ... {order}, or None for zeros, got {count!r}"
            )
        weights = np.zeros_like(found)
        with quiet():
            for k, given in enumerate(cotangents):
                if given is not None:
                    c = checked(f"cotangents[{k}]", given, values[k].shape).reshape(batch, *axes[k])
                    if k:
                        weights[k] = inwards(k, c)
                    else:
                        weights[0, :, 0] = c
            d_theta, d_x, *_ = inner(weights.reshape(order + 1, batch * rows, K), sum_theta)
        in_range("the gradient", precision, d_theta, d_x)
        d_x = d_x.reshape(batch, rows, model.n_inputs).sum(axis=1).reshape(*call.shape, model.n_inputs)
        if sum_theta:
            return d_theta, d_x
        return d_theta.reshape(batch, rows, model.n_params).sum(axis=1).reshape(*call.shape, model.n_params), d_x

    return Jet(values, pullback)


def _directions(given: Any, size: int, shape: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """(1 or B, n_directions, size), and whether there is one without an axis of its own."""
    v = checked("directions", given)
    lead = v.shape[:-2]
    try:
        fits = v.ndim > 0 and v.shape[-1] == size and np.broadcast_shapes(lead, shape) == shape
    except ValueError:
        fits = False
    if not fits or not v.size:
        batch = f", or {(*shape, 'n_directions', size)}" if shape else ""
        raise QupropError(f"directions must have shape ({size},) or (n_directions, {size}){batch}, got {v.shape}")
    if v.ndim < 3 or math.prod(lead) == 1:
        return v.reshape(1, -1, size), v.ndim == 1
    return np.broadcast_to(v, (*shape, *v.shape[-2:])).reshape(math.prod(shape), *v.shape[-2:]), False


def _polarised(v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions without their sizes and the sums of pairs; the powers of two (B, n, 1) taken out; and how second
    derivatives along these rows make the mixed ones, (n, n, rows)."""
    n = v.shape[1]
    pairs = list(itertools.combinations(range(n), 2))
    exponents = np.frexp(np.abs(v).max(axis=2, keepdims=True))[1]
    unit = np.ldexp(v, -exponents)
    rows = np.concatenate([unit, *(unit[:, [i]] + unit[:, [j]] for i, j in pairs)], axis=1)
    combined = np.zeros((n, n, rows.shape[1]))
    for i in range(n):
        combined[i, i, i] = 1.0
    for r, (i, j) in enumerate(pairs, n):
        for a, b in ((i, j), (j, i)):
            combined[a, b, [r, i, j]] = 0.5, -0.5, -0.5
    return rows, exponents, combined
