"""Does a torch module have a Taylor series in its parameters? What stands in the way is named with its replacement.

Carleman linearisation expands the training step; a kink is invisible to the expansion (all derivatives of ReLU beyond
the first vanish where they exist), so a network with kinks would be linearised to something else without a warning.
Layers are looked at by type, and a forward pass on a sample is watched operation by operation, which finds kinks
written as functions too (``torch.relu`` in a forward method).
"""

from __future__ import annotations

from typing import Any

from quprop.carleman.networks.torch_extra import load_torch
from quprop.errors import QupropError

# Layer types with a kink in themselves or in a low derivative, and what to use instead.
KINKED_LAYERS = {
    "ReLU": "SiLU or Softplus",
    "ReLU6": "SiLU or Softplus",
    "LeakyReLU": "SiLU or Softplus",
    "PReLU": "SiLU or Softplus",
    "RReLU": "SiLU or Softplus",
    "ELU": "Softplus or SiLU",
    "CELU": "Softplus or SiLU",
    "SELU": "Softplus or SiLU",
    "Hardtanh": "Tanh",
    "Hardswish": "SiLU",
    "Hardsigmoid": "Sigmoid",
    "Hardshrink": "Tanhshrink",
    "Softshrink": "Tanhshrink",
    "Softsign": "Tanh",
    "Threshold": "Softplus",
    "MaxPool1d": "AvgPool1d",
    "MaxPool2d": "AvgPool2d",
    "MaxPool3d": "AvgPool3d",
    "AdaptiveMaxPool1d": "AdaptiveAvgPool1d",
    "AdaptiveMaxPool2d": "AdaptiveAvgPool2d",
    "AdaptiveMaxPool3d": "AdaptiveAvgPool3d",
    "FractionalMaxPool2d": "AvgPool2d",
    "FractionalMaxPool3d": "AvgPool3d",
}

# The same as operations of PyTorch's dispatcher, which every way of writing them ends in.
KINKED_OPERATIONS = {
    "relu": "silu or softplus",
    "relu6": "silu or softplus",
    "leaky_relu": "silu or softplus",
    "prelu": "silu or softplus",
    "_prelu_kernel": "silu or softplus",
    "rrelu_with_noise": "silu or softplus",
    "elu": "softplus or silu",
    "celu": "softplus or silu",
    "hardtanh": "tanh",
    "hardswish": "silu",
    "hardsigmoid": "sigmoid",
    "hardshrink": "tanh",
    "softshrink": "tanh",
    "threshold": "softplus",
    "max_pool2d_with_indices": "avg_pool2d",
    "max_pool3d_with_indices": "avg_pool3d",
    "adaptive_max_pool2d": "adaptive_avg_pool2d",
    "adaptive_max_pool3d": "adaptive_avg_pool3d",
    "max": "logsumexp",
    "amax": "logsumexp",
    "maximum": "logaddexp",
    "min": "-logsumexp of the negatives",
    "amin": "-logsumexp of the negatives",
    "minimum": "-logaddexp of the negatives",
    "clamp": "a sigmoid of the same range",
    "clamp_min": "softplus",
    "clamp_max": "softplus",
    "abs": "sqrt(x^2 + eps)",
    "sgn": "tanh",
    "sign": "tanh",
    "round": "the identity",
    "floor": "the identity",
    "ceil": "the identity",
    "trunc": "the identity",
    "sort": "softmax weights",
    "topk": "softmax weights",
    "median": "mean",
}
BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
DROPOUTS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")


def check_smooth(module: Any, sample: Any = None, *, allow: tuple[str, ...] = ()) -> None:
    """Refuse, with one sentence, a module that Carleman linearisation cannot expand.

    ``sample``  inputs (samples, ...) for one watched forward pass; None looks at the layers' types only
    ``allow``   operations or layer types that are known to be harmless where they stand (a maximum that a softmax
                subtracts cancels, for one)
    """
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        if kind in allow:
            continue
        if kind in KINKED_LAYERS and type(layer).__module__.startswith("torch.nn"):
            raise QupropError(
                f"layer {_where(name)} is {kind}, which has a kink and no Taylor series: use {KINKED_LAYERS[kind]}"
            )
        if kind in BATCH_NORMS and layer.training:
            raise QupropError(
                f"layer {_where(name)} is {kind} in training mode, where a step changes more than the parameters: "
                "use GroupNorm, or module.eval() to freeze its averages"
            )
        if kind in DROPOUTS and layer.training and layer.p > 0:
            raise QupropError(
                f"layer {_where(name)} is {kind}, which draws anew at every step: use p=0 or module.eval()"
            )
    if sample is not None:
        _watch(module, sample, allow)


def check_derivatives(network: Any, data: Any) -> None:
    """Refuse, with one sentence, a network some layer of which has no forward-mode derivative of its gradient: the
    second derivative along a direction is taken once, forward over reverse, on the given batch (inputs, targets)."""
    torch = load_torch("derivatives of a network")
    inputs, targets = data
    parameters = {name: p.detach() for name, p in network.module.named_parameters()}

    def loss(p: Any) -> Any:
        return network.loss(torch.func.functional_call(network.module, p, (inputs,)), targets)

    try:
        torch.func.jvp(torch.func.grad(loss), (parameters,), (parameters,))
    except (NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise QupropError(
            f"the network {network.name!r} has a layer without higher derivatives ({reason}): write that layer with "
            "elementary operations"
        ) from None


def _where(name: str) -> str:
    return repr(name) if name else "(the module itself)"


def _watch(module: Any, sample: Any, allow: tuple[str, ...]) -> None:
    torch = load_torch("checking a network")
    from torch.utils._python_dispatch import TorchDispatchMode

    entered: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = operation.overloadpacket.__name__.removesuffix("_")
            if name in KINKED_OPERATIONS and name not in allow and _floating(torch, args):
                where = f" in layer {entered[-1]!r}" if entered and entered[-1] else ""
                raise QupropError(
                    f"the network computes {name}{where}, which has a kink and no Taylor series: "
                    f"use {KINKED_OPERATIONS[name]}"
                )
            return operation(*args, **(kwargs or {}))

    def leave(*_: Any) -> None:
        entered.pop()

    hooks = []
    for name, layer in module.named_modules():
        hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: entered.append(name)))
        hooks.append(layer.register_forward_hook(leave))
    try:
        with torch.no_grad(), Watch():
            module(sample)
    except QupropError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        where = f"layer {entered[-1]!r} of " if entered and entered[-1] else ""
        raise QupropError(
            f"{where}the network fails on inputs of shape {tuple(sample.shape)} ({reason}): check its layers' shapes"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _floating(torch: Any, args: Any) -> bool:
    return any(isinstance(a, torch.Tensor) and a.is_floating_point() for a in args)
