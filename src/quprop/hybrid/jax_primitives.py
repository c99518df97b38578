"""The primitives of a model in JAX: those of node.py, with their rules of differentiation and batching.

Operands (..., size) broadcast their leading axes to a batch shape S, and results are (*S, size); a model without inputs
has an x of shape (0,). Compiled programs reach the host by one callback for each primitive, uncompiled ones call it
directly.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.hybrid.node import FOURTH_ORDER, Kept, Node
from quprop.lazy import missing

try:
    import jax
    import jax.numpy as jnp
    from jax.extend.core import Primitive
    from jax.interpreters import ad, batching, mlir
except ImportError:
    raise missing("quprop.hybrid.jax needs JAX", "jax") from None

Array = Any
Arrays = tuple[Array, ...]


# -- on the host ------------------------------------------------------------------------------------------------------

_HELD_AMPLITUDES = 1 << 22  # of states that wait for a pull; of larger ones the call forwards is done again


class _Memo:
    """The last call forwards that a pull is expected to follow: a pull at the same theta and x, compared entry by
    entry, begins from it. Anything else computes both sweeps, with the same result."""

    held: tuple[Node, np.ndarray, np.ndarray, Kept] | None = None


_memo = _Memo()


def _value(node: Node, theta: np.ndarray, x: np.ndarray, *, keep: bool) -> Arrays:
    samples = math.prod(np.broadcast_shapes(theta.shape[:-1], x.shape[:-1]))
    width = node.model.n_qubits << bool(getattr(node.model, "channels", ()))  # of a mixed state twice as many
    if not keep or samples << width > _HELD_AMPLITUDES:
        return (node.value(theta, x),)
    kept = node.kept(theta, x)
    _memo.held = (node, theta.copy(), x.copy(), kept)
    return (kept.values,)


def _pull(node: Node, theta: np.ndarray, x: np.ndarray, c: np.ndarray) -> Arrays:
    held, _memo.held = _memo.held, None
    if held is not None and held[0] == node and np.array_equal(held[1], theta) and np.array_equal(held[2], x):
        return node.pull(theta, x, c, held[3])
    return node.pull(theta, x, c)


def _push(node: Node, *arrays: np.ndarray) -> Arrays:
    return (node.push(*arrays),)


def _hess(node: Node, *arrays: np.ndarray) -> Arrays:
    return node.hess(*arrays)


def _curve(node: Node, *arrays: np.ndarray) -> Arrays:
    return (node.curve(*arrays),)


def _third(node: Node, *arrays: np.ndarray) -> Arrays:
    return node.third(*arrays)


def _cubic(node: Node, *arrays: np.ndarray) -> Arrays:
    return (node.cubic(*arrays),)


def _on_host(compute: Callable[..., Arrays], node: Node, params: dict[str, Any], *arrays: Any) -> Arrays:
    """Of arrays of any kind, NumPy arrays of their dtype."""
    given = [np.asarray(a) for a in arrays]
    try:
        return tuple(np.asarray(out, given[0].dtype) for out in compute(node, *given, **params))
    except QupropError as error:  # a compiled program shows the stack in front of the sentence: none of ours
        raise error.with_traceback(None) from None


# -- the primitives ---------------------------------------------------------------------------------------------------


def _primitive(name: str, compute: Callable[..., Arrays], outputs: str) -> Any:
    """A primitive of operands (..., size) that broadcast, with outputs (*S, size): "K", or "PD" for theta's and x's."""
    p = Primitive(f"quprop_{name}")
    p.multiple_results = True

    def impl(*operands: Array, node: Node, **params: Any) -> list[Array]:
        return [jnp.asarray(out) for out in _on_host(compute, node, params, *operands)]

    def shapes(*avals: Any, node: Node, **params: Any) -> list[Any]:
        S = np.broadcast_shapes(*(a.shape[:-1] for a in avals))
        return [jax.core.ShapedArray((*S, size), avals[0].dtype) for size in node.sizes(outputs)]

    def staged(*operands: Array, node: Node, **params: Any) -> Any:
        results = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in shapes(*operands, node=node)]
        return jax.pure_callback(functools.partial(_on_host, compute, node, params), tuple(results), *operands)

    elsewhere = mlir.lower_fun(staged, multiple_results=True)

    def on_cpu(ctx: Any, *operands: Any, node: Node, **params: Any) -> Any:
        """The callback without `pure_callback`'s detour through device arrays."""
        if len(jax.local_devices(backend="cpu")) > 1:  # then XLA must be told where it runs
            return elsewhere(ctx, *operands, node=node, **params)
        host = functools.partial(_on_host, compute, node, params)
        return mlir.emit_python_callback(
            ctx, host, None, list(operands), ctx.avals_in, ctx.avals_out, has_side_effect=False, returns_token=False
        )[0]

    def batch(operands: Arrays, axes: tuple[Any, ...], **params: Any) -> tuple[list[Array], list[int]]:
        rank = max(a.ndim - (d is not None) for a, d in zip(operands, axes, strict=True))
        lifted = []
        for a, d in zip(operands, axes, strict=True):
            if d is not None:
                a = jnp.moveaxis(a, d, 0)
                a = a.reshape(a.shape[0], *[1] * (rank - a.ndim + 1), *a.shape[1:])
            lifted.append(a)
        return p.bind(*lifted, **params), [0] * len(outputs)

    p.def_impl(impl)
    p.def_abstract_eval(shapes)
    mlir.register_lowering(p, elsewhere)
    mlir.register_lowering(p, on_cpu, platform="cpu")
    batching.primitive_batchers[p] = batch
    return p


value_p = _primitive("value", _value, "K")  # theta, x
push_p = _primitive("push", _push, "K")  # theta, x, u_theta, u_x
pull_p = _primitive("pull", _pull, "PD")  # theta, x, c
hess_p = _primitive("hess", _hess, "PD")  # theta, x, c, u_theta, u_x
curve_p = _primitive("curve", _curve, "K")  # theta, x, u_theta, u_x, w_theta, w_x
third_p = _primitive("third", _third, "PD")  # theta, x, c, u_theta, u_x, w_theta, w_x
cubic_p = _primitive("cubic", _cubic, "K")  # theta, x, u_theta, u_x, w_theta, w_x, z_theta, z_x


def _none(*tangents: Any) -> bool:
    return all(isinstance(t, ad.Zero) for t in tangents)


def _all(*tangents: Any) -> list[Array]:
    return [ad.instantiate_zeros(t) for t in tangents]


def _add(results: list[list[Array]], like: list[Array]) -> list[Array]:
    """The sum of what the parts of a tangent give; zeros if there are none."""
    if not results:
        return [jnp.zeros_like(out) for out in like]
    return functools.reduce(lambda a, b: [u + v for u, v in zip(a, b, strict=True)], results)


def _sum_to(array: Array, operand: Any) -> Array:
    """The sum over the axes that broadcasting from an operand's shape added."""
    shape = operand.aval.shape
    extra = array.ndim - len(shape)
    array = array.sum(axis=tuple(range(extra)))
    return array.sum(axis=tuple(i for i, s in enumerate(shape) if s == 1 and array.shape[i] != 1), keepdims=True)


def _fourth(*tangents: Any) -> None:
    if not _none(*tangents):
        raise QupropError(FOURTH_ORDER)


def _value_jvp(primals: Arrays, tangents: Arrays, *, node: Node, keep: bool) -> tuple[Any, Any]:
    out = value_p.bind(*primals, node=node, keep=True)
    return out, push_p.bind(*primals, *_all(*tangents), node=node)


def _push_jvp(primals: Arrays, tangents: Arrays, *, node: Node) -> tuple[Any, Any]:
    theta, x, *u = primals
    out, parts = push_p.bind(*primals, node=node), []
    if not _none(*tangents[:2]):
        parts.append(curve_p.bind(theta, x, *u, *_all(*tangents[:2]), node=node))
    if not _none(*tangents[2:]):
        parts.append(push_p.bind(theta, x, *_all(*tangents[2:]), node=node))
    return out, _add(parts, out)


def _pull_jvp(primals: Arrays, tangents: Arrays, *, node: Node) -> tuple[Any, Any]:
    theta, x, c = primals
    out, parts = pull_p.bind(*primals, node=node), []
    if not _none(*tangents[:2]):
        parts.append(hess_p.bind(theta, x, c, *_all(*tangents[:2]), node=node))
    if not _none(tangents[2]):
        parts.append(pull_p.bind(theta, x, tangents[2], node=node))
    return out, _add(parts, out)


def _hess_jvp(primals: Arrays, tangents: Arrays, *, node: Node) -> tuple[Any, Any]:
    theta, x, c, *u = primals
    out, parts = hess_p.bind(*primals, node=node), []
    if not _none(*tangents[:2]):
        parts.append(third_p.bind(*primals, *_all(*tangents[:2]), node=node))
    if not _none(tangents[2]):
        parts.append(hess_p.bind(theta, x, tangents[2], *u, node=node))
    if not _none(*tangents[3:]):
        parts.append(hess_p.bind(theta, x, c, *_all(*tangents[3:]), node=node))
    return out, _add(parts, out)


def _curve_jvp(primals: Arrays, tangents: Arrays, *, node: Node) -> tuple[Any, Any]:
    theta, x, *directions = primals
    u, w = directions[:2], directions[2:]
    out, parts = curve_p.bind(*primals, node=node), []
    if not _none(*tangents[:2]):
        parts.append(cubic_p.bind(*primals, *_all(*tangents[:2]), node=node))
    if not _none(*tangents[2:4]):
        parts.append(curve_p.bind(theta, x, *_all(*tangents[2:4]), *w, node=node))
    if not _none(*tangents[4:]):
        parts.append(curve_p.bind(theta, x, *u, *_all(*tangents[4:]), node=node))
    return out, _add(parts, out)


def _third_jvp(primals: Arrays, tangents: Arrays, *, node: Node) -> tuple[Any, Any]:
    _fourth(*tangents[:2])
    theta, x, c, *directions = primals
    u, w = directions[:2], directions[2:]
    out, parts = third_p.bind(*primals, node=node), []
    if not _none(tangents[2]):
        parts.append(third_p.bind(theta, x, tangents[2], *u, *w, node=node))
    if not _none(*tangents[3:5]):
        parts.append(third_p.bind(theta, x, c, *_all(*tangents[3:5]), *w, node=node))
    if not _none(*tangents[5:]):
        parts.append(third_p.bind(theta, x, c, *u, *_all(*tangents[5:]), node=node))
    return out, _add(parts, out)


def _cubic_jvp(primals: Arrays, tangents: Arrays, *, node: Node) -> tuple[Any, Any]:
    _fourth(*tangents[:2])
    out, parts = cubic_p.bind(*primals, node=node), []
    for i in (2, 4, 6):
        if not _none(*tangents[i : i + 2]):
            parts.append(cubic_p.bind(*primals[:i], *_all(*tangents[i : i + 2]), *primals[i + 2 :], node=node))
    return out, _add(parts, out)


def _to_linear(found: list[Array], operands: Arrays, first: int) -> list[Any]:
    """The cotangents of a pair of operands that starts at `first`, for those that are linear; None for the others."""
    out: list[Any] = [None] * len(operands)
    for i, cotangent in enumerate(found, first):
        if ad.is_undefined_primal(operands[i]):
            out[i] = _sum_to(cotangent, operands[i])
    return out


def _push_transpose(cotangents: Any, *operands: Any, node: Node) -> list[Any]:
    theta, x, *_ = operands
    return _to_linear(pull_p.bind(theta, x, *_all(*cotangents), node=node), operands, 2)


def _pull_transpose(cotangents: Any, *operands: Any, node: Node) -> list[Any]:
    theta, x, _ = operands
    return _to_linear(push_p.bind(theta, x, *_all(*cotangents), node=node), operands, 2)


def _hess_transpose(cotangents: Any, *operands: Any, node: Node) -> list[Any]:
    theta, x, c, *u = operands
    w = _all(*cotangents)
    if ad.is_undefined_primal(c):
        return _to_linear(curve_p.bind(theta, x, *u, *w, node=node), operands, 2)
    return _to_linear(hess_p.bind(theta, x, c, *w, node=node), operands, 3)


def _curve_transpose(cotangents: Any, *operands: Any, node: Node) -> list[Any]:
    theta, x, *directions = operands
    linear = 0 if any(ad.is_undefined_primal(d) for d in directions[:2]) else 2
    other = directions[2 - linear : 4 - linear]
    return _to_linear(hess_p.bind(theta, x, *_all(*cotangents), *other, node=node), operands, 2 + linear)


def _third_transpose(cotangents: Any, *operands: Any, node: Node) -> list[Any]:
    theta, x, c, *directions = operands
    z = _all(*cotangents)
    if ad.is_undefined_primal(c):
        return _to_linear(cubic_p.bind(theta, x, *directions, *z, node=node), operands, 2)
    linear = 0 if any(ad.is_undefined_primal(d) for d in directions[:2]) else 2
    other = directions[2 - linear : 4 - linear]
    return _to_linear(third_p.bind(theta, x, c, *other, *z, node=node), operands, 3 + linear)


def _cubic_transpose(cotangents: Any, *operands: Any, node: Node) -> list[Any]:
    theta, x, *directions = operands
    linear = next(i for i in (0, 2, 4) if any(ad.is_undefined_primal(d) for d in directions[i : i + 2]))
    others = directions[:linear] + directions[linear + 2 :]
    return _to_linear(third_p.bind(theta, x, *_all(*cotangents), *others, node=node), operands, 2 + linear)


ad.primitive_jvps.update(
    {
        value_p: _value_jvp,
        push_p: _push_jvp,
        pull_p: _pull_jvp,
        hess_p: _hess_jvp,
        curve_p: _curve_jvp,
        third_p: _third_jvp,
        cubic_p: _cubic_jvp,
    }
)
ad.primitive_transposes.update(
    {
        push_p: _push_transpose,
        pull_p: _pull_transpose,
        hess_p: _hess_transpose,
        curve_p: _curve_transpose,
        third_p: _third_transpose,
        cubic_p: _cubic_transpose,
    }
)
