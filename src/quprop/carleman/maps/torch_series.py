"""Taylor arithmetic on torch tensors: a torch module run on paths in parameter space instead of points.

A `TaylorTensor` stands for x_0 + x_1 s + ... + x_K s^K. It is handed to a module in the place of a parameter; torch
asks it before every function, and the rules below answer with another one. A rule is one of three: linear in its
argument (applied to each coefficient), bilinear (Cauchy product) or analytic (a recurrence). Coefficients that are
zero are None and cost nothing. Everything is made of ordinary torch operations, so autograd runs backwards through it.

One file because the rules are short, many, and share the three kinds of arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from quprop.errors import QupropError

Coefficients = list[Any]  # tensors, or None for zero


class MissingRule(Exception):
    """A torch function without a Taylor rule; the caller takes the slower general way."""


Tensor: Any = torch.Tensor  # as Any: its own annotations of what is overridden below differ between versions


class TaylorTensor(Tensor):
    """A truncated series; ``coefs[k]`` is the coefficient of s^k."""

    coefs: Coefficients

    @staticmethod
    def __new__(cls, coefs: Coefficients) -> TaylorTensor:
        shape = next(c for c in coefs if c is not None)
        made = torch.Tensor._make_wrapper_subclass(cls, shape.shape, dtype=shape.dtype, device=shape.device)
        made.coefs = list(coefs)
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = func.__self__.__name__
            if name in ("T", "mT"):
                return _each(args[0], lambda c: c.mT if name == "mT" or c.ndim > 1 else c)
            name = "passive"
        if name in RULES:
            return RULES[name](*args, **kwargs)
        if name in PASSIVE:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if name.endswith("_") and not name.startswith("__"):
            raise MissingRule(f"{name} changes a tensor in place")
        raise MissingRule(name)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise MissingRule(str(func))  # no tensor is behind this one, so nothing below torch's functions may run


PASSIVE = {
    *("passive", "size", "dim", "numel", "stride", "is_floating_point", "is_complex", "get_device", "storage_offset"),
    *("is_nested", "is_cuda", "is_same_size"),
    *("__len__", "is_contiguous", "element_size", "is_signed", "ndimension", "nelement"),
}


def coefficients(x: Any, order: int) -> Coefficients:
    if isinstance(x, TaylorTensor):
        return x.coefs
    return [x, *[None] * order]


def _order(*tensors: Any) -> int:
    return next(len(x.coefs) - 1 for x in tensors if isinstance(x, TaylorTensor))


def _each(x: Any, linear: Callable[[Any], Any]) -> Any:
    if not isinstance(x, TaylorTensor):
        return linear(x)
    return TaylorTensor([None if c is None else linear(c) for c in x.coefs])


def _cauchy(a: Any, b: Any, times: Callable[[Any, Any], Any]) -> Any:
    """The product of two series under a bilinear ``times``."""
    if not isinstance(a, TaylorTensor):
        return _each(b, lambda c: times(a, c))
    if not isinstance(b, TaylorTensor):
        return _each(a, lambda c: times(c, b))
    order = len(a.coefs) - 1
    out: Coefficients = [None] * (order + 1)
    for i, left in enumerate(a.coefs):
        for j, right in enumerate(b.coefs[: order + 1 - i]):
            if left is not None and right is not None:
                term = times(left, right)
                out[i + j] = term if out[i + j] is None else out[i + j] + term
    return TaylorTensor(
        [
            torch.zeros_like(next(c for c in out if c is not None)) if c is None and k == 0 else c
            for k, c in enumerate(out)
        ]
    )


def _plus(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return a if b is None else b
    return a + b


def add(a: Any, b: Any, *, alpha: float = 1) -> Any:
    order = _order(a, b)
    left, right = coefficients(a, order), coefficients(b, order)
    if alpha != 1:
        right = [None if c is None else alpha * c for c in right]
    out = [_plus(x, y) for x, y in zip(left, right, strict=True)]
    shape = torch.broadcast_shapes(*(tuple(c.shape) for c in out if isinstance(c, torch.Tensor)))
    shape = torch.broadcast_shapes(shape, *(tuple(x.shape) for x in (a, b) if isinstance(x, torch.Tensor)))
    return TaylorTensor([c.expand(shape) if isinstance(c, torch.Tensor) else c for c in out])


def negative(x: Any) -> Any:
    return _each(x, torch.neg)


def subtract(a: Any, b: Any, *, alpha: float = 1) -> Any:
    return add(a, b, alpha=-alpha)


def multiply(a: Any, b: Any) -> Any:
    return _cauchy(a, b, torch.mul)


def divide(a: Any, b: Any) -> Any:
    return multiply(a, power(b, -1.0)) if isinstance(b, TaylorTensor) else _each(a, lambda c: c / b)


def matmul(a: Any, b: Any) -> Any:
    return _cauchy(a, b, torch.matmul)


def _layer(x: Any, weight: Any, times: Callable[[Any, Any], Any]) -> Any:
    """A bilinear layer: the Cauchy product with all coefficients of x that meet a weight in one batch."""
    if not isinstance(weight, TaylorTensor) or not isinstance(x, TaylorTensor):
        return _cauchy(x, weight, times)
    order = len(x.coefs) - 1
    present = [i for i, c in enumerate(x.coefs) if c is not None]
    together = torch.cat([x.coefs[i] for i in present]) if len(present) > 1 else x.coefs[present[0]]
    samples = len(x.coefs[present[0]])
    out: Coefficients = [None] * (order + 1)
    for j, w in enumerate(weight.coefs):
        meets = [i for i in present if i + j <= order]
        if w is None or not meets:
            continue
        for i, term in zip(meets, times(together[: len(meets) * samples], w).split(samples), strict=True):
            out[i + j] = _plus(out[i + j], term)
    return TaylorTensor(out)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    out = _layer(x, weight, F.linear) if x.ndim > 1 else _cauchy(x, weight, F.linear)
    return out if bias is None else add(out, bias)


def _convolution(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(x: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Any:
        out = _layer(x, weight, lambda a, b: function(a, b, None, *args, **kwargs))
        if bias is None:
            return out
        shape = (-1,) + (1,) * (out.coefs[0].ndim - 2)
        return add(out, _each(bias, lambda c: c.reshape(shape)))

    return rule


# Analytic functions, as recurrences in the coefficients: k y_k = sum_{i=1..k} i x_i (f'(x))_{k-i}.


def _scaled(x: Coefficients, k: int, i: int) -> Any:
    return None if x[i] is None else (i / k) * x[i]


def _solve(x: TaylorTensor, first: Any, slope: Callable[[Coefficients, int], Any]) -> TaylorTensor:
    """y with y' = slope(y) x', where ``slope(y, i)`` gives coefficient i of the slope from y_0..y_i."""
    y: Coefficients = [first]
    slopes: Coefficients = []
    for k in range(1, len(x.coefs)):
        slopes.append(slope(y, k - 1))
        total = None
        for i in range(1, k + 1):
            if x.coefs[i] is not None and slopes[k - i] is not None:
                total = _plus(total, _scaled(x.coefs, k, i) * slopes[k - i])
        y.append(total)
    return TaylorTensor(y)


def _square_term(y: Coefficients, i: int) -> Any:
    total = None
    for a in range(i + 1):
        if y[a] is not None and y[i - a] is not None:
            total = _plus(total, y[a] * y[i - a])
    return total


def exp(x: TaylorTensor) -> TaylorTensor:
    return _solve(x, torch.exp(x.coefs[0]), lambda y, i: y[i])


def _minus(a: Any, b: Any) -> Any:
    return a if b is None else (-b if a is None else a - b)


def sigmoid(x: TaylorTensor) -> TaylorTensor:
    return _solve(x, torch.sigmoid(x.coefs[0]), lambda y, i: _minus(y[i], _square_term(y, i)))


def tanh(x: TaylorTensor) -> TaylorTensor:
    def slope(y: Coefficients, i: int) -> Any:
        square = _square_term(y, i)
        return 1 - square if i == 0 else _minus(None, square)

    return _solve(x, torch.tanh(x.coefs[0]), slope)


def power(x: TaylorTensor, exponent: Any) -> Any:
    if isinstance(exponent, torch.Tensor):
        raise MissingRule("a power with a tensor as exponent")
    if float(exponent).is_integer() and 1 <= exponent <= 8:
        out = x
        for _ in range(int(exponent) - 1):
            out = multiply(out, x)
        return out
    x0, y = x.coefs[0], [x.coefs[0] ** exponent]
    inverse = 1 / x0
    for k in range(1, len(x.coefs)):
        total = None
        for i in range(1, k + 1):
            if x.coefs[i] is not None and y[k - i] is not None:
                total = _plus(total, (exponent * i / k - (k - i) / k) * x.coefs[i] * y[k - i])
        y.append(None if total is None else total * inverse)
    return TaylorTensor(y)


def log(x: TaylorTensor) -> TaylorTensor:
    inverse = power(x, -1.0)
    return _solve(x, torch.log(x.coefs[0]), lambda y, i: inverse.coefs[i])


def _known_slope(x: TaylorTensor, first: Any, slope: Any) -> TaylorTensor:
    return _solve(x, first, lambda y, i: slope.coefs[i])


def silu(x: TaylorTensor, inplace: bool = False) -> Any:
    return multiply(x, sigmoid(x))


def mish(x: TaylorTensor, inplace: bool = False) -> Any:
    return multiply(x, tanh(softplus(x)))


def softplus(x: TaylorTensor, beta: float = 1, threshold: float = 20) -> Any:
    scaled = _each(x, lambda c: beta * c)
    return _each(_known_slope(scaled, F.softplus(scaled.coefs[0]), sigmoid(scaled)), lambda c: c / beta)


def logsigmoid(x: TaylorTensor) -> Any:
    return negative(softplus(negative(x)))


def erf(x: TaylorTensor) -> TaylorTensor:
    bell = exp(_each(multiply(x, x), torch.neg))
    return _known_slope(x, torch.erf(x.coefs[0]), _each(bell, lambda c: 2 / math.sqrt(math.pi) * c))


def gelu(x: TaylorTensor, approximate: str = "none") -> Any:
    if approximate == "tanh":
        inner = add(x, _each(power(x, 3), lambda c: 0.044715 * c))
        return _each(multiply(x, add(tanh(_each(inner, lambda c: math.sqrt(2 / math.pi) * c)), 1.0)), lambda c: 0.5 * c)
    return _each(multiply(x, add(erf(_each(x, lambda c: c / math.sqrt(2))), 1.0)), lambda c: 0.5 * c)


def sine(x: TaylorTensor) -> TaylorTensor:
    return _rotation(x)[0]


def cosine(x: TaylorTensor) -> TaylorTensor:
    return _rotation(x)[1]


def _rotation(x: TaylorTensor) -> tuple[TaylorTensor, TaylorTensor]:
    s: Coefficients = [torch.sin(x.coefs[0])]
    c: Coefficients = [torch.cos(x.coefs[0])]
    for k in range(1, len(x.coefs)):
        ds = dc = None
        for i in range(1, k + 1):
            step = _scaled(x.coefs, k, i)
            if step is not None:
                ds = ds if c[k - i] is None else _plus(ds, step * c[k - i])
                dc = dc if s[k - i] is None else _plus(dc, -step * s[k - i])
        s.append(ds)
        c.append(dc)
    return TaylorTensor(s), TaylorTensor(c)


def _reduce(function: Callable[..., Any]) -> Callable[..., Any]:
    """A rule for a function that is linear in its first argument."""
    return lambda x, *args, **kwargs: _each(x, lambda c: function(c, *args, **kwargs))


def log_softmax(x: TaylorTensor, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Any:
    top = x.coefs[0].detach().amax(dim, keepdim=True)
    shifted = add(x, -top)
    return subtract(shifted, log(_each(exp(shifted), lambda c: c.sum(dim, keepdim=True))))


def softmax(x: TaylorTensor, dim: int = -1, _stacklevel: int = 3, dtype: Any = None) -> Any:
    return exp(log_softmax(x, dim))


def _averaged(x: Any, reduction: str) -> Any:
    return x if reduction == "none" else _each(x, torch.mean if reduction == "mean" else torch.sum)


def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    if weight is not None or target.ndim != 1 or target.is_floating_point() or bool((target == ignore_index).any()):
        raise MissingRule("cross_entropy with weights, probabilities or ignored targets")
    logs = log_softmax(x, 1)
    picked = _each(logs, lambda c: -c.gather(1, target[:, None])[:, 0])
    if label_smoothing:
        spread = _each(logs, lambda c: -c.mean(1))
        picked = add(_each(picked, lambda c: (1 - label_smoothing) * c), _each(spread, lambda c: label_smoothing * c))
    return _averaged(picked, reduction)


def nll_loss(
    x: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    if weight is not None or x.coefs[0].ndim != 2:
        raise MissingRule("nll_loss with weights or of images")
    return _averaged(_each(x, lambda c: -c.gather(1, target[:, None])[:, 0]), reduction)


def mse_loss(
    x: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", weight: Any = None
) -> Any:
    residual = subtract(x, target)
    return _averaged(multiply(residual, residual), reduction)


def huber_loss(x: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """The branch of the expansion point for each residual: r^2/2 within delta, delta (|r| - delta/2) outside."""
    if weight is not None or isinstance(target, TaylorTensor):
        raise MissingRule("huber_loss with weights or of a target with parameters")
    residual = subtract(x, target)
    first = residual.coefs[0].detach()
    inside = (first.abs() < delta).to(first.dtype)
    square = _each(multiply(residual, residual), lambda c: 0.5 * inside * c)
    line = add(_each(residual, lambda c: delta * (1 - inside) * first.sign() * c), -0.5 * delta**2 * (1 - inside))
    return _averaged(add(square, line), reduction)


def smooth_l1_loss(
    x: Any, target: Any, size_average: Any = None, reduce: Any = None, reduction: str = "mean", beta: float = 1.0
) -> Any:
    if beta <= 0:
        raise QupropError("smooth_l1_loss with beta 0 is the L1 loss, whose kink no Taylor series sees: use beta > 0")
    return _each(huber_loss(x, target, reduction, beta), lambda c: c / beta)


def binary_cross_entropy_with_logits(
    x: Any,
    target: Any,
    weight: Any = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    if weight is not None or pos_weight is not None:
        raise MissingRule("binary_cross_entropy_with_logits with weights")
    return _averaged(subtract(softplus(x), multiply(x, target)), reduction)


def _normalised(x: Any, dims: tuple[int, ...], eps: float) -> Any:
    centred = _each(x, lambda c: c - c.mean(dims, keepdim=True))
    variance = _each(multiply(centred, centred), lambda c: c.mean(dims, keepdim=True))
    return multiply(centred, power(add(variance, eps), -0.5))


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    order = _order(x, weight, bias)
    x = TaylorTensor(coefficients(x, order))
    shape = tuple(x.coefs[0].shape)
    grouped = _each(x, lambda c: c.reshape(shape[0], num_groups, -1))
    out = _each(_normalised(grouped, (-1,), eps), lambda c: c.reshape(shape))
    return _affine(out, weight, bias, (1, -1) + (1,) * (len(shape) - 2))


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    x = TaylorTensor(coefficients(x, _order(x, weight, bias)))
    return _affine(_normalised(x, tuple(range(-len(normalized_shape), 0)), eps), weight, bias, tuple(normalized_shape))


def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    x = TaylorTensor(coefficients(x, _order(x, weight)))
    dims = tuple(range(-len(normalized_shape), 0))
    mean = _each(multiply(x, x), lambda c: c.mean(dims, keepdim=True))
    least = torch.finfo(x.coefs[0].dtype).eps if eps is None else eps
    return _affine(multiply(x, power(add(mean, least), -0.5)), weight, None, tuple(normalized_shape))


def weight_norm(v: Any, g: Any, dim: int = 0) -> Any:
    """g v/|v|, one norm for each index of axis `dim` (-1: one norm of all)."""
    dims = tuple(d for d in range(v.ndim) if dim == -1 or d != dim % v.ndim)
    v = TaylorTensor(coefficients(v, _order(v, g)))
    square = _each(multiply(v, v), lambda c: c.sum(dims, keepdim=True))
    return multiply(multiply(v, power(square, -0.5)), g)


def embedding(
    x: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    if max_norm is not None or scale_grad_by_freq:
        raise QupropError(
            "an embedding with max_norm or scale_grad_by_freq does not descend the gradient of its loss: leave both out"
        )
    return _each(weight, lambda c: F.embedding(x, c, padding_idx))


def baddbmm(x: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    return add(_each(x, lambda c: beta * c), matmul(a, b), alpha=alpha)


def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    first, *higher = x.coefs
    return TaylorTensor([first.masked_fill(mask, value), *(c if c is None else c.masked_fill(mask, 0) for c in higher)])


def where(condition: Any, a: Any, b: Any) -> Any:
    order = _order(a, b)
    left, right = coefficients(a, order), coefficients(b, order)
    zero = torch.zeros((), dtype=next(x for x in (a, b) if isinstance(x, TaylorTensor)).dtype)
    pairs = zip(left, right, strict=True)
    return TaylorTensor(
        [
            None
            if c is None and d is None
            else torch.where(condition, zero if c is None else c, zero if d is None else d)
            for c, d in pairs
        ]
    )


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(q k'/sqrt(d) + mask) v, torch's scaled_dot_product_attention."""
    if dropout_p:
        dropout(query, dropout_p)
    if enable_gqa:
        raise MissingRule("attention with grouped queries")
    scores = matmul(query, key.mT)
    scores = _each(scores, lambda c: c * (query.shape[-1] ** -0.5 if scale is None else scale))
    if is_causal:
        attn_mask = torch.ones(tuple(scores.shape[-2:]), dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = (
                masked_fill(scores, ~attn_mask, -math.inf)
                if isinstance(scores, TaylorTensor)
                else (scores.masked_fill(~attn_mask, -math.inf))
            )
        else:
            scores = scores + attn_mask
    weights = softmax(scores, -1) if isinstance(scores, TaylorTensor) else torch.softmax(scores, -1)
    return matmul(weights, value)


def _body(function: Any) -> Any:
    """A function of torch that is written in Python, run on series: its own body, without its question whether an
    argument overrides it."""
    return FunctionType(
        function.__code__,
        function.__globals__ | {"has_torch_function": lambda _: False},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def _pieces(function: Callable[..., Any]) -> Callable[..., Any]:
    """A rule for a function that cuts its argument into several."""

    def rule(x: TaylorTensor, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        cut: list[Any] = [None if c is None else function(c, *args, **kwargs) for c in x.coefs]
        return tuple(TaylorTensor([None if c is None else c[i] for c in cut]) for i in range(len(cut[0])))

    return rule


def batch_norm(
    x: Any,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    x = TaylorTensor(coefficients(x, _order(x, weight, bias)))
    shape = (1, -1) + (1,) * (x.coefs[0].ndim - 2)
    if training or mean is None:
        out = _normalised(x, tuple(d for d in range(x.coefs[0].ndim) if d != 1), eps)
    else:
        out = multiply(add(x, -mean.reshape(shape)), torch.rsqrt(var + eps).reshape(shape))
    return _affine(out, weight, bias, shape)


def _affine(x: Any, weight: Any, bias: Any, shape: Sequence[int]) -> Any:
    if weight is not None:
        x = multiply(x, _each(weight, lambda c: c.reshape(shape)))
    return x if bias is None else add(x, _each(bias, lambda c: c.reshape(shape)))


class PlainNorms(TorchFunctionMode):
    """Layer, batch and weight norm written out. Of torch's fused ones some derivatives are wrong without a word (torch
    2.13): the third, and forward over reverse, of layer norm; the second of weight norm."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.layer_norm:
            return _plain_layer_norm(*args, **kwargs)
        if func is F.batch_norm:
            return _plain_batch_norm(*args, **kwargs)
        if func is torch._weight_norm:
            return _plain_weight_norm(*args, **kwargs)
        if func in (torch.layer_norm, torch.batch_norm, torch.instance_norm, torch.native_layer_norm):
            raise QupropError(
                f"torch.{func.__name__} has no dependable third derivative: use torch.nn.GroupNorm or LayerNorm"
            )
        return func(*args, **kwargs)


def _plain_layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    return _plain(x, tuple(range(-len(normalized_shape), 0)), weight, bias, eps, tuple(normalized_shape))


def _plain_weight_norm(v: Any, g: Any, dim: int = 0) -> Any:
    dims = tuple(d for d in range(v.ndim) if dim == -1 or d != dim % v.ndim)
    return v * (v * v).sum(dims, keepdim=True) ** -0.5 * g


def _plain_batch_norm(
    x: Any,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if training or mean is None:
        return _plain(x, tuple(d for d in range(x.ndim) if d != 1), weight, bias, eps, shape)
    out = (x - mean.reshape(shape)) * torch.rsqrt(var + eps).reshape(shape)
    return _plain_affine(out, weight, bias, shape)


def _plain(x: Any, dims: tuple[int, ...], weight: Any, bias: Any, eps: float, shape: Sequence[int]) -> Any:
    centred = x - x.mean(dims, keepdim=True)
    return _plain_affine(centred * ((centred * centred).mean(dims, keepdim=True) + eps) ** -0.5, weight, bias, shape)


def _plain_affine(x: Any, weight: Any, bias: Any, shape: Sequence[int]) -> Any:
    x = x if weight is None else x * weight.reshape(shape)
    return x if bias is None else x + bias.reshape(shape)


def dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if training and p > 0:
        raise QupropError("dropout draws at random, so training is no fixed map: call module.eval() or remove it")
    return x


def _joined(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(tensors: Sequence[Any], dim: int = 0) -> Any:
        order = _order(*tensors)
        rows = [coefficients(x, order) for x in tensors]
        out = []
        for k in range(order + 1):
            parts = [row[k] if row[k] is not None else torch.zeros_like(row[0]) for row in rows]
            out.append(function(parts, dim))
        return TaylorTensor(out)

    return rule


LINEAR: dict[str, Callable[..., Any]] = {
    **{name: getattr(torch.Tensor, name) for name in (
        "reshape", "view", "flatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand", "contiguous",
        "mean", "sum", "unflatten", "clone", "neg", "__neg__", "__getitem__", "select", "narrow", "to", "double",
        "float", "movedim", "swapaxes", "cumsum", "roll", "flip", "tile", "repeat", "gather", "index_select",
        "diagonal", "trace", "expand_as", "view_as", "reshape_as",
    )},
    **{name: getattr(F, name) for name in (
        "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
        "unfold", "fold", "pixel_shuffle", "interpolate",
    )},
}  # fmt: skip


def pad(x: Any, size: Any, mode: str = "constant", value: Any = None) -> Any:
    if value:
        raise MissingRule("padding with a value other than 0")
    return _each(x, lambda c: F.pad(c, size, mode))


RULES: dict[str, Callable[..., Any]] = {
    **{name: _reduce(function) for name, function in LINEAR.items()},
    **dict.fromkeys(("add", "__add__", "__radd__", "__iadd__"), add),
    **dict.fromkeys(("sub", "__sub__", "__isub__", "subtract"), subtract),
    **dict.fromkeys(("mul", "__mul__", "__rmul__", "__imul__", "multiply"), multiply),
    **dict.fromkeys(("div", "__truediv__", "divide", "true_divide", "__itruediv__"), divide),
    **dict.fromkeys(("matmul", "__matmul__", "mm", "bmm", "mv"), matmul),
    "__rsub__": lambda a, b: subtract(b, a), "rsub": lambda a, b: subtract(b, a),
    "__rdiv__": lambda a, b: divide(b, a), "__rtruediv__": lambda a, b: multiply(power(a, -1.0), b),
    "__rmatmul__": lambda a, b: matmul(b, a), "baddbmm": baddbmm,
    "masked_fill": masked_fill, "where": where, "embedding": embedding,
    "scaled_dot_product_attention": attention, "multi_head_attention_forward": _body(F.multi_head_attention_forward),
    **{name: _pieces(getattr(torch.Tensor, name)) for name in ("split", "chunk", "unbind", "tensor_split")},
    "linear": linear, "pad": pad, "dropout": dropout,
    "conv1d": _convolution(F.conv1d), "conv2d": _convolution(F.conv2d), "conv3d": _convolution(F.conv3d),
    "exp": exp, "log": log, "tanh": tanh, "sigmoid": sigmoid, "silu": silu, "mish": mish, "softplus": softplus,
    "gelu": gelu, "erf": erf, "sin": sine, "cos": cosine, "logsigmoid": logsigmoid, "log_sigmoid": logsigmoid,
    "pow": power, "__pow__": power, "square": lambda x: multiply(x, x), "sqrt": lambda x: power(x, 0.5),
    "rsqrt": lambda x: power(x, -0.5), "reciprocal": lambda x: power(x, -1.0),
    "log_softmax": log_softmax, "softmax": softmax, "cross_entropy": cross_entropy, "nll_loss": nll_loss,
    "mse_loss": mse_loss, "huber_loss": huber_loss, "smooth_l1_loss": smooth_l1_loss,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "group_norm": group_norm, "layer_norm": layer_norm, "batch_norm": batch_norm, "rms_norm": rms_norm,
    "_weight_norm": weight_norm,
    "cat": _joined(torch.cat), "concat": _joined(torch.cat), "stack": _joined(torch.stack),
}  # fmt: skip
