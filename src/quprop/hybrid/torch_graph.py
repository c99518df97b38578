"""The functions of a model in PyTorch's autograd graph: those of node.py on tensors.

Each has its forward in NumPy, its backward and jvp in terms of the others, and one rule for vmap, since all of them
broadcast leading axes. `slot` carries what a call forwards kept to its pull; None: nothing is kept.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.hybrid.estimated import FORWARD_OF_ESTIMATE, SECOND_OF_ESTIMATE, Estimated
from quprop.hybrid.node import FOURTH_ORDER, Node
from quprop.lazy import missing

try:
    import torch
    from torch import Tensor
except ImportError:
    raise missing("quprop.hybrid.torch needs PyTorch", "torch") from None


class CostMeter:
    """Adds up the cost of a layer's backward passes; a copy of the layer begins at nothing."""

    def __init__(self) -> None:
        self.cost = Cost()

    def __deepcopy__(self, memo: dict[int, Any]) -> CostMeter:
        return CostMeter()


class Draw:
    """One draw of a layer's stream: the seed, and how many were drawn with it before, which `taken` counts up.

    It is taken inside `Sampled`, where transforms of torch.func let a buffer be changed in place.
    """

    def __init__(self, seed: int, count: Tensor) -> None:
        self.seed, self.count = seed, count
        self.key: tuple[int, int] = (seed, 0)

    def taken(self) -> tuple[int, int]:
        try:
            self.count += 1
        except RuntimeError:
            raise QupropError(
                "a layer under shots counts its draws in one buffer, which vmap cannot stack; map over the weights and "
                "inputs alone (in_dims=None for buffers), or call the layers one by one"
            ) from None
        self.key = (self.seed, int(self.count))
        return self.key


def _array(tensor: Tensor | None) -> np.ndarray | None:
    if tensor is None:
        return None
    tensor = tensor.detach()
    if tensor.device.type != "cpu":
        _copied(tensor.device.type)
        tensor = tensor.cpu()
    array: np.ndarray = tensor.numpy()
    return array


def _copied(device: str) -> None:
    warnings.warn(f"quprop simulates on the CPU: tensors on {device} are copied there and results back", stacklevel=4)


def _tensor(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype=like.dtype, device=like.device)


def _sum_to(tensor: Tensor, shape: torch.Size) -> Tensor:
    """The sum over the axes that broadcasting from `shape` added."""
    if tensor.shape == shape:
        return tensor
    extra = tensor.dim() - len(shape)
    if extra:
        tensor = tensor.sum(dim=tuple(range(extra)))
    stretched = tuple(i for i, size in enumerate(shape) if size == 1 and tensor.shape[i] != 1)
    return tensor.sum(dim=stretched, keepdim=True) if stretched else tensor


_NONE = (None, None)


def _summed(found: list[Tensor | None], like: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """Gradients summed to the shapes of what they belong to, None where there is none."""
    return [None if g is None or a is None else _sum_to(g, a.shape) for g, a in zip(found, like, strict=True)]


def _aligned(in_dims: tuple[Any, ...], arguments: tuple[Any, ...]) -> list[Any]:
    """The arguments with the axis of vmap in front of all leading axes."""
    tensors = [(a, d) for a, d in zip(arguments, in_dims, strict=True) if isinstance(a, Tensor)]
    rank = max(a.dim() - (d is not None) for a, d in tensors)
    out: list[Any] = []
    for a, d in zip(arguments, in_dims, strict=True):
        if isinstance(a, Tensor) and d is not None:
            a = a.movedim(d, 0)
            a = a.reshape(a.shape[0], *[1] * (rank - a.dim() + 1), *a.shape[1:])
        out.append(a)
    return out


class _Function(torch.autograd.Function):
    """What the functions share."""

    def __init_subclass__(cls) -> None:
        if "forward" in cls.__dict__:  # `apply` looks at it in every call; this halves what it costs
            cls.forward.__signature__ = inspect.signature(cls.forward)

    @classmethod
    def _save(cls, ctx: Any, *tensors: Tensor | None) -> None:
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)


class Sum(_Function):
    """The sum in a rule of jvp. PyTorch turns forward mode off in there, for outer transforms too, and on again inside
    functions like this one: with a plain + an outer derivative would be lost in silence."""

    @staticmethod
    def forward(*parts: Tensor) -> Tensor:
        return sum(parts[1:], parts[0].clone())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _Function._save(ctx, *inputs)

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Tensor, ...]:
        return tuple(_sum_to(c, part.shape) for part in ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        pairs = zip(ctx.saved_tensors, tangents, strict=True)
        return Sum.apply(*(torch.zeros_like(part) if t is None else t for part, t in pairs))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        return Sum.apply(*_aligned(in_dims, arguments)), 0


def _pairs(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The sum of pairs over theta and x."""
    d_theta, d_x = (Sum.apply(*one) for one in zip(*parts, strict=True))
    return d_theta, d_x


class ValueFunction(_Function):
    @staticmethod
    def forward(node: Node, slot: list[Any] | None, theta: Tensor, x: Tensor | None) -> Tensor:
        if slot is None:
            return _tensor(node.value(_array(theta), _array(x)), theta)  # type: ignore[arg-type]
        kept = node.kept(_array(theta), _array(x))  # type: ignore[arg-type]
        slot[:] = [kept]
        return _tensor(kept.values, theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.node, ctx.slot, theta, x = inputs
        _Function._save(ctx, theta, x)

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Any, ...]:
        theta, x = ctx.saved_tensors
        d_theta, d_x = _once(ctx.slot, theta, c) or Pull.apply(ctx.node, ctx.slot, theta, x, c)
        return None, None, _sum_to(d_theta, theta.shape), None if x is None else _sum_to(d_x, x.shape)

    @staticmethod
    def jvp(ctx: Any, _node: None, _slot: None, u_theta: Tensor | None, u_x: Tensor | None) -> Tensor:
        theta, x = ctx.saved_tensors
        return Push.apply(ctx.node, theta, x, *_directions(theta, x, u_theta, u_x))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        return ValueFunction.apply(*_aligned(in_dims, arguments)), 0


def _once(slot: list[Any] | None, theta: Tensor, c: Tensor) -> tuple[Tensor, Tensor] | None:
    """The pull of a step of training, with no graph of its own and summed over samples by the engine; None where a
    graph is wanted, or where torch.func has wrapped the cotangent."""
    if not slot or torch.is_grad_enabled() or theta.dim() != 1:
        return None
    try:
        cotangent = _array(c)
    except RuntimeError:
        return None
    kept = slot.pop()  # the states go now, whoever still holds the loss; a second pull computes them again
    d_theta, d_x = kept.pullback(cotangent, sum_theta=True)
    return _tensor(d_theta, theta), _tensor(d_x, theta)


class Pull(_Function):
    @staticmethod
    def forward(
        node: Node, slot: list[Any] | None, theta: Tensor, x: Tensor | None, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        d_theta, d_x = node.pull(_array(theta), _array(x), _array(c), slot[0] if slot else None)  # type: ignore[arg-type]
        return _tensor(d_theta, theta), _tensor(d_x, theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.node, _, *tensors = inputs
        _Function._save(ctx, *tensors)

    @staticmethod
    def backward(ctx: Any, u_theta: Tensor, u_x: Tensor) -> tuple[Any, ...]:
        theta, x, c = ctx.saved_tensors
        u = (u_theta, None if x is None else u_x)
        h_theta = h_x = d_c = None
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            h_theta, h_x = Hess.apply(ctx.node, theta, x, c, *u)
            h_theta, h_x = _sum_to(h_theta, theta.shape), None if x is None else _sum_to(h_x, x.shape)
        if ctx.needs_input_grad[4]:
            d_c = _sum_to(Push.apply(ctx.node, theta, x, *u), c.shape)
        return None, None, h_theta, h_x, d_c

    @staticmethod
    def jvp(ctx: Any, _node: None, _slot: None, u_theta: Any, u_x: Any, u_c: Any) -> tuple[Tensor, Tensor]:
        theta, x, c = ctx.saved_tensors
        h = Hess.apply(ctx.node, theta, x, c, *_directions(theta, x, u_theta, u_x))
        if u_c is None:
            return h
        return _pairs([h, Pull.apply(ctx.node, None, theta, x, u_c)])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        return Pull.apply(*_aligned(in_dims, arguments)), (0, 0)


class Push(_Function):
    @staticmethod
    def forward(node: Node, theta: Tensor, x: Tensor | None, u_theta: Tensor, u_x: Tensor | None) -> Tensor:
        return _tensor(node.push(*map(_array, (theta, x, u_theta, u_x))), theta)  # type: ignore[arg-type]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.node, *tensors = inputs
        _Function._save(ctx, *tensors)

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Any, ...]:
        theta, x, u_theta, u_x = ctx.saved_tensors
        h_theta, h_x = Hess.apply(ctx.node, theta, x, c, u_theta, u_x)
        d_theta, d_x = Pull.apply(ctx.node, None, theta, x, c)
        if x is None:
            return None, _sum_to(h_theta, theta.shape), None, _sum_to(d_theta, u_theta.shape), None
        sums = ((h_theta, theta), (h_x, x), (d_theta, u_theta), (d_x, u_x))
        return None, *(_sum_to(g, a.shape) for g, a in sums)

    @staticmethod
    def jvp(ctx: Any, _node: None, w_theta: Any, w_x: Any, v_theta: Any, v_x: Any) -> Tensor:
        theta, x, u_theta, u_x = ctx.saved_tensors
        w = _directions(theta, x, w_theta, w_x)
        along = Push.apply(ctx.node, theta, x, *_directions(theta, x, v_theta, v_x))
        return Sum.apply(CurveFunction.apply(ctx.node, theta, x, u_theta, u_x, *w), along)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        return Push.apply(*_aligned(in_dims, arguments)), 0


class Hess(_Function):
    @staticmethod
    def forward(
        node: Node, theta: Tensor, x: Tensor | None, c: Tensor, u_theta: Tensor, u_x: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        h_theta, h_x = node.hess(*map(_array, (theta, x, c, u_theta, u_x)))  # type: ignore[arg-type]
        return _tensor(h_theta, theta), _tensor(h_x, theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.node, *tensors = inputs
        _Function._save(ctx, *tensors)

    @staticmethod
    def backward(ctx: Any, z_theta: Tensor, z_x: Tensor) -> tuple[Any, ...]:
        theta, x, c, *u = ctx.saved_tensors
        z, needs = (z_theta, None if x is None else z_x), ctx.needs_input_grad[1:]
        found = [
            *(Third.apply(ctx.node, theta, x, c, *u, *z) if any(needs[:2]) else _NONE),
            CurveFunction.apply(ctx.node, theta, x, *u, *z) if needs[2] else None,
            *(Hess.apply(ctx.node, theta, x, c, *z) if any(needs[3:]) else _NONE),
        ]
        return None, *_summed(found, ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, _node: None, z_theta: Any, z_x: Any, d_c: Any, v_theta: Any, v_x: Any) -> tuple[Tensor, Tensor]:
        theta, x, c, *u = ctx.saved_tensors
        parts = []
        if z_theta is not None or z_x is not None:
            parts.append(Third.apply(ctx.node, theta, x, c, *u, *_directions(theta, x, z_theta, z_x)))
        if d_c is not None:
            parts.append(Hess.apply(ctx.node, theta, x, d_c, *u))
        if v_theta is not None or v_x is not None:
            parts.append(Hess.apply(ctx.node, theta, x, c, *_directions(theta, x, v_theta, v_x)))
        return _pairs(parts)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        return Hess.apply(*_aligned(in_dims, arguments)), (0, 0)


class CurveFunction(_Function):
    @staticmethod
    def forward(node: Node, theta: Tensor, x: Tensor | None, *directions: Tensor | None) -> Tensor:
        return _tensor(node.curve(*map(_array, (theta, x, *directions))), theta)  # type: ignore[arg-type]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.node, *tensors = inputs
        _Function._save(ctx, *tensors)

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Any, ...]:
        theta, x, *directions = ctx.saved_tensors
        u, w, needs = directions[:2], directions[2:], ctx.needs_input_grad[1:]
        found = [
            *(Third.apply(ctx.node, theta, x, c, *u, *w) if any(needs[:2]) else _NONE),
            *(Hess.apply(ctx.node, theta, x, c, *w) if any(needs[2:4]) else _NONE),
            *(Hess.apply(ctx.node, theta, x, c, *u) if any(needs[4:]) else _NONE),
        ]
        return None, *_summed(found, ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, _node: None, z_theta: Any, z_x: Any, *moved: Any) -> Tensor:
        theta, x, *directions = ctx.saved_tensors
        u, w, parts = directions[:2], directions[2:], []
        if z_theta is not None or z_x is not None:
            parts.append(Cubic.apply(ctx.node, theta, x, *u, *w, *_directions(theta, x, z_theta, z_x)))
        for along, other in ((moved[:2], w), (moved[2:], u)):
            if along[0] is not None or along[1] is not None:
                parts.append(CurveFunction.apply(ctx.node, theta, x, *_directions(theta, x, *along), *other))
        return Sum.apply(*parts)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        return CurveFunction.apply(*_aligned(in_dims, arguments)), 0


class _Last(_Function):
    """Third derivatives: nothing is differentiated further."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise QupropError(FOURTH_ORDER)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise QupropError(FOURTH_ORDER)


class Third(_Last):
    @staticmethod
    def forward(
        node: Node, theta: Tensor, x: Tensor | None, c: Tensor, *directions: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        d_theta, d_x = node.third(*map(_array, (theta, x, c, *directions)))  # type: ignore[arg-type]
        return _tensor(d_theta, theta), _tensor(d_x, theta)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        return Third.apply(*_aligned(in_dims, arguments)), (0, 0)


class Cubic(_Last):
    @staticmethod
    def forward(node: Node, theta: Tensor, x: Tensor | None, *directions: Tensor | None) -> Tensor:
        return _tensor(node.cubic(*map(_array, (theta, x, *directions))), theta)  # type: ignore[arg-type]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        return Cubic.apply(*_aligned(in_dims, arguments)), 0


class Sampled(torch.autograd.Function):
    """Values, and a gradient that a method estimates with shots of its own."""

    @staticmethod
    def forward(node: Estimated, draw: Draw, meter: CostMeter, theta: Tensor, x: Tensor | None) -> Tensor:
        rng = np.random.default_rng([*draw.taken(), 0])
        values = node.sampled_value(_array(theta), _array(x), rng)  # type: ignore[arg-type]
        return _tensor(values, theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.node, ctx.draw, ctx.meter, theta, x = inputs
        ctx.save_for_backward(theta, x)

    @staticmethod
    def backward(ctx: Any, c: Tensor) -> tuple[Any, ...]:
        theta, x = ctx.saved_tensors
        of_x = x is not None and ctx.needs_input_grad[4]
        d_theta, d_x = _Estimate.apply(ctx.node, ctx.draw.key, ctx.meter, of_x, theta, x, c)
        return None, None, None, _sum_to(d_theta, theta.shape), _sum_to(d_x, x.shape) if of_x else None

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise QupropError(FORWARD_OF_ESTIMATE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Tensor, int]:
        return Sampled.apply(*_aligned(in_dims, arguments)), 0


class _Estimate(torch.autograd.Function):
    @staticmethod
    def forward(
        node: Estimated, draw: tuple[int, int], meter: CostMeter, of_x: bool, theta: Tensor, x: Tensor | None, c: Tensor
    ) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng([*draw, 1])
        (d_theta, d_x), cost = node.estimate(_array(theta), _array(x), _array(c), rng, of_x=of_x)  # type: ignore[arg-type]
        meter.cost += cost
        return _tensor(d_theta, theta), _tensor(d_x, theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise QupropError(SECOND_OF_ESTIMATE)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise QupropError(SECOND_OF_ESTIMATE)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        return _Estimate.apply(*_aligned(in_dims, arguments)), (0, 0)


def _directions(theta: Tensor, x: Tensor | None, u_theta: Tensor | None, u_x: Tensor | None) -> tuple[Any, Any]:
    """Both parts of a direction, zero where torch leaves one out."""
    if u_theta is None:
        u_theta = torch.zeros_like(theta)
    if x is not None and u_x is None:
        u_x = torch.zeros_like(x)
    return u_theta, u_x
