"""Does training a torch module have a Taylor series in its parameters? What stands in the way is named with its mend.

Carleman linearisation expands the training step; a kink is invisible to the expansion (all derivatives of ReLU beyond
the first vanish where they exist), so a network with kinks would be linearised to something else without a warning.
Layers are looked at by type, and one evaluation on samples is watched operation by operation, which finds kinks written
as functions too (``torch.relu`` in a forward method, a hinge in a loss). What is no function of the parameters alone,
or no mean over samples, is found by evaluating it twice, and on parts of the samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from quprop.carleman.networks.torch_extra import elementary, load_torch, trainable
from quprop.errors import QupropError

SAMPLES = 64  # that a loss is evaluated on before work starts; fewer where that times the parameters is above
WORK = 2e8
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

COMPARISONS = ("gt", "lt", "ge", "le")
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
    **dict.fromkeys(COMPARISONS, "one formula for all values"),
    **dict.fromkeys(("argmax", "argmin", "argsort"), "softmax weights"),
    **dict.fromkeys(("multi_margin_loss", "multilabel_margin_loss_forward"), "cross-entropy"),
}
GUARD = 1e3  # a value so many times a positive lower bound is kept from division by zero, not bent
AS_IT_IS = "; `quprop carleman analyse` takes the network as it is, and measures its Hessian spectrum"
BATCH_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
DROPOUTS = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")


def check_smooth(module: Any, sample: Any = None, *, allow: tuple[str, ...] = ()) -> None:
    """Refuse, with one sentence, a module that Carleman linearisation cannot expand.

    ``sample``  inputs (samples, ...) for one watched forward pass; None looks at the layers' types only
    ``allow``   operations or layer types that are known to be harmless where they stand (a maximum that a softmax
                subtracts cancels, for one)
    """
    _refuse(_kinked_layers(module, allow))
    _check_modes(module, whole=False)
    if sample is not None:
        _refuse(_watch(module, sample, allow)[1])


def check_expandable(
    module: Any, loss: Callable[[Any, Any], Any], data: tuple[Any, Any], *, whole: bool = False, kinks: str = "refuse"
) -> tuple[str, ...]:
    """Refuse, with one sentence and before any work, a module or a loss whose descent has no Taylor series on `data`
    (inputs, targets); the kinks of the module, one phrase each, where they are allowed.

    ``whole``  the batch is never cut, so that samples may meet in it (batch normalisation); else the loss is a mean
               over samples, as everything that is measured on parts of the data takes it to be
    ``kinks``  "refuse", or "allow": those of the module, because second derivatives exist almost everywhere. Kinks of
               the loss are refused always: where it is linear its curvature is none
    """
    torch = load_torch("checking a network")
    reduction = getattr(loss, "reduction", "mean")
    if reduction != "mean":
        raise QupropError(f"the loss must be a mean over samples (reduction='mean'), got {reduction!r}")
    if not trainable(module):
        raise QupropError("the network has no parameters that are trained (requires_grad), so there is nothing to do")
    found = _kinked_layers(module)
    if kinks == "refuse":
        _refuse(found)
    _check_modes(module, whole)
    size = sum(p.numel() for p in trainable(module).values())
    count = max(2, min(SAMPLES, int(WORK / size)))
    inputs, targets = data[0][:count], data[1][:count]
    with elementary():
        outputs, operations = _watch(module, inputs)
        found = found or operations
        if kinks == "refuse":
            _refuse(found)
        _refuse(_watch_loss(loss, outputs, targets))
        double = next(iter(trainable(module).values())).dtype == torch.float64
        _check_mean(torch, lambda x, y: float(loss(module(x), y)), inputs, targets, whole, 1e-9 if double else 1e-4)
    return tuple(phrase for phrase, _ in found)


class UnwrittenDerivative(QupropError):
    """PyTorch has no higher derivative of some layer, or a wrong one."""


def unwritten(error: Exception, name: str) -> UnwrittenDerivative | None:
    """What is said where PyTorch has not written a derivative; None where the error is another (memory is short)."""
    if not isinstance(error, NotImplementedError) and not any(
        words in str(error) for words in ("not implemented", "once_differentiable", "not differentiable")
    ):
        return None
    reason = str(error).splitlines()[0].rstrip(".")
    return UnwrittenDerivative(
        f"a layer of {name!r} has no second derivative ({reason}): write that layer with elementary operations"
    )


Kinks = list[tuple[str, str]]  # what it is and where, and the sentence that refuses it


def _refuse(found: Kinks) -> None:
    if found:
        raise QupropError(found[0][1])


def _kinked_layers(module: Any, allow: tuple[str, ...] = ()) -> Kinks:
    found = []
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        if kind in KINKED_LAYERS and kind not in allow and type(layer).__module__.startswith("torch.nn"):
            sentence = (
                f"layer {_where(name)} is {kind}, whose kink no Taylor series sees: use {KINKED_LAYERS[kind]} instead"
                f"{AS_IT_IS}"
            )
            found.append((f"{kind} in layer {_where(name)}", sentence))
    return found


def _check_modes(module: Any, whole: bool) -> None:
    """Layers whose training mode is no fixed function of parameters and sample."""
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        if kind in BATCH_NORMS and layer.training and not (whole and not layer.track_running_stats):
            raise QupropError(
                f"layer {_where(name)} is {kind} in training mode, where samples mix and a step changes more than the "
                "parameters: use GroupNorm, or call module.eval() where it is made, to freeze its averages"
            )
        if kind in DROPOUTS and layer.training and layer.p > 0:
            raise QupropError(
                f"layer {_where(name)} is {kind}, which draws anew at every step: call module.eval() where it is "
                "made, or use p=0"
            )


def _where(name: str) -> str:
    return repr(name) if name else "(the module itself)"


def _watched(run: Callable[[], Any], place: Callable[[], str], allow: tuple[str, ...] = ()) -> tuple[Any, Kinks]:
    """What `run` returns, and the kinked operations in it that act on what depends on the parameters."""
    torch = load_torch("checking a network")
    from torch.utils._python_dispatch import TorchDispatchMode

    found: Kinks = []
    compared: list[tuple[Any, tuple[str, str]]] = []  # a comparison is a kink where its result is used

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = operation.overloadpacket.__name__.removesuffix("_")
            if name not in ("any", "all"):  # a check that raises
                found.extend(kink for result, kink in compared if any(a is result for a in _flat(args)))
            result = operation(*args, **(kwargs or {}))
            if name not in allow and any(isinstance(a, torch.Tensor) and a.requires_grad for a in _flat(args)):
                mend = KINKED_OPERATIONS.get(name)
                if name == "linalg_vector_norm" and (args[1] if len(args) > 1 else 2) != 2:
                    mend = "the norm of order 2"
                if mend and not (name in ("clamp", "clamp_min") and _guards(args, kwargs or {})):
                    sentence = f"computes {name}{place()}, which has a kink and no Taylor series: use {mend}"
                    kink = (f"{name}{place()}", sentence)
                    if name in COMPARISONS:
                        compared.append((result, kink))
                    else:
                        found.append(kink)
            return result

    with torch.enable_grad(), Watch():
        return run(), found


def _guards(args: Any, kwargs: Any) -> bool:
    """Is this clamp a bound that no value comes near, as under the division of a normalisation?"""
    least, most = (*args[1:], None, None)[:2]
    least, most = kwargs.get("min", least), kwargs.get("max", most)
    if most is not None or not isinstance(least, int | float) or least <= 0:
        return False
    return bool(args[0].min() >= GUARD * least)


def crossed(network: Any, before: Any, after: Any, data: tuple[Any, Any]) -> int:
    """Residuals that are on another branch of a Huber or smooth L1 loss at the parameters `after` (n,) than at
    `before`, where the expansion was made: it does not see the kink between."""
    torch = load_torch("the residuals of a loss")
    from torch.utils._python_dispatch import TorchDispatchMode

    branches: list[Any] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if operation.overloadpacket.__name__ in ("huber_loss", "smooth_l1_loss"):
                named = kwargs or {}
                bound = args[3] if len(args) > 3 else named.get("delta", named.get("beta", 1.0))
                residual = args[0] - args[1]
                branches.append(torch.where(residual.abs() < bound, 0, residual.sign()))
            return operation(*args, **(kwargs or {}))

    def at(theta: Any, size: int) -> list[Any]:
        network.set_parameters(theta.copy())
        branches.clear()
        with torch.no_grad(), Watch():
            for x, y in zip(data[0][:size].split(512), data[1][:size].split(512), strict=True):
                network.loss(network.module(x), y)
        return list(branches)

    if not at(before, 1):  # another loss
        return 0
    count = len(data[0])
    return sum(int((a != b).sum()) for a, b in zip(at(before, count), at(after, count), strict=True))


def _flat(args: Any) -> list[Any]:
    return [b for a in args for b in (a if isinstance(a, list | tuple) else [a])]


def _watch(module: Any, sample: Any, allow: tuple[str, ...] = ()) -> tuple[Any, Kinks]:
    """Outputs on the sample, and the kinks on the way."""
    entered: list[str] = []

    def leave(*_: Any) -> None:
        entered.pop()

    hooks = []
    for name, layer in module.named_modules():
        hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: entered.append(name)))
        hooks.append(layer.register_forward_hook(leave))
    try:
        outputs, found = _watched(
            lambda: module(sample), lambda: f" in layer {entered[-1]!r}" if entered and entered[-1] else "", allow
        )
    except QupropError:
        raise
    except Exception as error:
        where = f"layer {entered[-1]!r} of " if entered and entered[-1] else ""
        raise QupropError(
            f"{where}the network fails on inputs of shape {tuple(sample.shape)} and type {sample.dtype} "
            f"({_reason(error)}): {_other_inputs(module, sample)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return outputs, [(phrase, f"the network {sentence}{AS_IT_IS}") for phrase, sentence in found]


def _other_inputs(module: Any, sample: Any) -> str:
    """How the inputs would have to lie for the network to run, found by trying."""
    torch = load_torch("checking a network")
    shape, first = tuple(sample.shape[1:]), next(iter(trainable(module).values()))
    side = round(shape[0] ** 0.5) if len(shape) == 1 else 0
    laid = {"x": sample, "x.reshape(len(x), -1)": sample.flatten(1), "x[:, None]": sample[:, None]}
    if len(shape) == 3:
        laid["x.transpose(0, 3, 1, 2)"] = sample.permute(0, 3, 1, 2)
    if side and side * side == shape[0]:
        laid[f"x.reshape(-1, 1, {side}, {side})"] = sample.reshape(-1, 1, side, side)
    for how, other in laid.items():
        for kind, name in ((sample.dtype, ""), (first.dtype, ".astype(float)"), (torch.int64, ".astype(int)")):
            try:
                with torch.no_grad(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    module(other.to(kind))
            except Exception:
                continue
            whole = ", as whole numbers stay whole, for embeddings" if name == ".astype(float)" else ""
            return f"store the inputs as {how}{name}{whole}"
    return "check its layers' shapes and types"


def _other_targets(torch: Any, outputs: Any, targets: Any) -> str:
    """What may be wrong with targets that a loss does not take."""
    count = outputs.shape[1] if isinstance(outputs, torch.Tensor) and outputs.ndim == 2 else 0
    if targets.is_floating_point() and targets.ndim == 1 and count > 1:
        return "floating targets are regression, for classes store whole numbers, y.astype(int)"
    if not targets.is_floating_point() and count == 1 and int(targets.max()) == 1:
        return (
            "one output is for regression, or with a loss of its own: let the factory return (module, loss) with "
            "loss = lambda out, y: torch.nn.functional.binary_cross_entropy_with_logits(out[:, 0], y.to(out.dtype))"
        )
    if not targets.is_floating_point() and 0 < count <= int(targets.max()):
        return f"there are classes up to {int(targets.max())}, so the network needs {int(targets.max()) + 1} outputs"
    return "check the number of outputs and the targets"


def _watch_loss(loss: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> Kinks:
    torch = load_torch("checking a loss")
    shapes = f"outputs of shape {tuple(getattr(outputs, 'shape', ()))} and targets of shape {tuple(targets.shape)}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Using a target size")  # broadcasting pairs all with all
            value, found = _watched(lambda: loss(outputs, targets), lambda: "")
    except QupropError:
        raise
    except Exception as error:
        raise QupropError(
            f"the loss fails on {shapes}, {targets.dtype} ({_reason(error)}): {_other_targets(torch, outputs, targets)}"
        ) from error
    if not isinstance(value, torch.Tensor) or value.ndim:
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise QupropError(f"the loss must be a scalar, the mean over samples, got {shape} of {shapes}")
    if not bool(torch.isfinite(value)):
        raise QupropError("the loss is not finite at the network's present parameters: start from others")
    if not value.requires_grad:
        raise QupropError(
            "the loss does not depend on the parameters by torch's autograd, so there is nothing to train"
        )
    return [(phrase, f"the loss {sentence}") for phrase, sentence in found]


def _check_mean(
    torch: Any, value: Callable[[Any, Any], float], inputs: Any, targets: Any, whole: bool, tolerance: float
) -> None:
    """Refuse a loss that draws at random, that is a sum, or (where the batch is cut) that is no mean over samples."""
    count = len(inputs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, again = value(inputs, targets), value(inputs, targets)
        close = tolerance * max(1.0, abs(first))
        if abs(again - first) > close:
            raise QupropError(
                "the loss differs from one call to the next on the same samples: what draws at random (dropout) is no "
                "fixed map: call module.eval() or remove it"
            )
        if whole or count == 1:
            parts = value(torch.cat([inputs, inputs]), torch.cat([targets, targets]))
        else:
            cut = (2 * count + 4) // 5
            parts = cut / count * value(inputs[:cut], targets[:cut])
            parts += (1 - cut / count) * value(inputs[cut:], targets[cut:])
    if not abs(parts - first) <= close:
        what = (
            "on every sample twice" if whole or count == 1 else "on two parts of the samples, averaged by their sizes"
        )
        raise QupropError(
            f"the loss is no mean over samples: it is {first:.6g} on {count} and {parts:.6g} {what}: take the mean "
            "(reduction='mean', no batch statistics, no class weights)"
        )


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
