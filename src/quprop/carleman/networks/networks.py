"""Classical networks by name, a user's own by ``module:factory`` or ``FILE.py:factory``, and the check of a network.

A `Network` is a torch module with its loss; parameters are one flat vector theta, the trained ones
(``requires_grad``) of ``module.named_parameters()`` in their order. The loss is a mean over samples, L(theta) =
mean l(f(theta; x), y) + weight_decay/2 |theta|^2, and weight decay is kept apart from the module because gradient
descent and spectra add it exactly.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quprop.carleman.maps.smooth import check_smooth
from quprop.carleman.networks.torch_extra import dtype_of, load_torch, trainable
from quprop.errors import QupropError, nearest

BOTTLENECK_FROM = 54  # the depth from which Liu et al. (2024) take bottleneck blocks
LOSSES = ("cross-entropy", "square", "mean-square")
NORMS = ("group", "batch")


@dataclass(frozen=True, eq=False)
class Network:
    """A torch module, its loss and how it was made.

    ``module``      torch.nn.Module, inputs (samples, ...) -> outputs (samples, classes)
    ``loss``        torch.nn.Module or function, (outputs, targets) -> mean loss over samples, a scalar
    ``weight_decay`` w of the term w/2 |theta|^2
    ``degree``      degree of the loss as a polynomial in the parameters, None where it is not one
    """

    name: str
    module: Any
    loss: Any
    weight_decay: float = 0.0
    degree: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def n_parameters(self) -> int:
        """Of those that training moves: frozen ones (``requires_grad=False``) are constants."""
        return sum(p.numel() for p in trainable(self.module).values())

    @property
    def precision(self) -> str:
        """Of the parameters: "single" or "double"."""
        torch = load_torch("reading a network's precision")
        return "single" if next(self.module.parameters()).dtype == torch.float32 else "double"

    def parameters(self) -> np.ndarray:
        """The flat vector theta (n_parameters,), a copy."""
        torch = load_torch("reading a network's parameters")
        if not self.n_parameters:
            raise QupropError(f"the network {self.name!r} has no parameters that are trained (requires_grad)")
        return torch.nn.utils.parameters_to_vector(trainable(self.module).values()).detach().cpu().numpy().copy()

    def set_parameters(self, theta: np.ndarray) -> None:
        """Write a flat vector (n_parameters,) into the module."""
        torch = load_torch("writing a network's parameters")
        if np.shape(theta) != (self.n_parameters,):
            raise QupropError(
                f"`theta` must have shape (n_parameters,) = ({self.n_parameters},), got {np.shape(theta)}"
            )
        first = next(self.module.parameters())
        flat = torch.tensor(np.asarray(theta), dtype=first.dtype, device=first.device)
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(flat, trainable(self.module).values())


def logistic(input_shape: Sequence[int], classes: int, *, weight_decay: float = 1e-3) -> dict[str, Any]:
    """Ridge logistic regression: one linear layer, cross-entropy; convex, so with the ridge every Hessian eigenvalue
    is at least `weight_decay`."""
    module = _modules().dense([int(np.prod(input_shape)), classes], None, True)
    return {"module": module, "loss": "cross-entropy", "weight_decay": weight_decay}


def deep_linear(
    input_shape: Sequence[int], classes: int, *, layers: int = 3, width: int = 16, weight_decay: float = 1e-3
) -> dict[str, Any]:
    """`layers` linear layers without bias, square loss: a polynomial of degree 2 `layers`, gradients of degree
    2 `layers` - 1."""
    _at_least(layers=(layers, 1), width=(width, 1))
    sizes = [int(np.prod(input_shape)), *[width] * (layers - 1), classes]
    module = _modules().dense(sizes, None, False)
    return {"module": module, "loss": "square", "weight_decay": weight_decay, "degree": 2 * layers}


def quadratic(
    input_shape: Sequence[int], classes: int, *, width: int = 16, weight_decay: float = 1e-3
) -> dict[str, Any]:
    """f(x) = A (W x)^2, square loss: a polynomial of degree 6, gradients of degree 5."""
    _at_least(width=(width, 1))
    module = _modules().dense([int(np.prod(input_shape)), width, classes], "square", False)
    return {"module": module, "loss": "square", "weight_decay": weight_decay, "degree": 6}


def mlp(
    input_shape: Sequence[int],
    classes: int,
    *,
    hidden: Sequence[int] = (32,),
    activation: str = "tanh",
    weight_decay: float = 1e-4,
) -> dict[str, Any]:
    """Dense layers with a smooth activation between any two, cross-entropy."""
    _activation(activation)
    if not hidden:
        raise QupropError("hidden must hold at least one width, got none; a network without hidden layers is logistic")
    _at_least(**{f"hidden[{i}]": (w, 1) for i, w in enumerate(hidden)})
    module = _modules().dense([int(np.prod(input_shape)), *hidden, classes], activation, True)
    return {"module": module, "loss": "cross-entropy", "weight_decay": weight_decay}


def resnet(
    input_shape: Sequence[int],
    classes: int,
    *,
    depth: int = 8,
    widen: int = 1,
    activation: str = "silu",
    norm: str = "group",
    bottleneck: bool | None = None,
    weight_decay: float = 2e-4,
) -> dict[str, Any]:
    """Residual network for small images; depth 6 k + 2 with k blocks in each of three stages.

    Liu et al. (2024) train depth 32, widen 4 (7,451,044 parameters on 3 channels and 100 classes) and depth 422, widen
    4 with bottleneck blocks (103,338,916), with ReLU and batch normalisation; ``activation="relu", norm="batch"``
    counts those. Bottleneck blocks are taken from depth 54 unless `bottleneck` says otherwise.
    """
    _activation(activation)
    if len(input_shape) != 3:
        raise QupropError(
            f"resnet takes images (channels, height, width) such as digits and CIFAR, got shape {tuple(input_shape)}"
        )
    if norm not in NORMS:
        raise QupropError(f"unknown normalisation {norm!r}; {nearest(norm, NORMS)}")
    _at_least(depth=(depth, 8), widen=(widen, 1))
    if (depth - 2) % 6:
        near = 6 * ((depth - 2) // 6) + 2
        raise QupropError(
            f"the depth of resnet is 6 k + 2 (8, 14, 20, 26, 32, ...), got {depth}; the next is {near + 6}"
        )
    bottleneck = depth >= BOTTLENECK_FROM if bottleneck is None else bottleneck
    module = _modules().ResNet(depth, widen, classes, input_shape[0], bottleneck, activation, norm)
    return {"module": module, "loss": "cross-entropy", "weight_decay": weight_decay}


NETWORKS: dict[str, Callable[..., dict[str, Any]]] = {
    "logistic": logistic,
    "deep-linear": deep_linear,
    "quadratic": quadratic,
    "mlp": mlp,
    "resnet": resnet,
}


def make(
    name: str,
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int,
    precision: str = "double",
    smooth: bool = True,
    regression: bool = False,
    sample: Any = None,
    **settings: Any,
) -> Network:
    """The network `name` for inputs of `input_shape` (without the axis of samples) and `classes` outputs.

    ``name``       one of NETWORKS, or ``module:factory`` or ``FILE.py:factory``: factory() is a user's function that
                   returns a torch module, or a pair (module, loss), or a Network; ``input_shape``, ``classes`` (the
                   number of outputs) and settings are passed to it where it has arguments of these names
    ``seed``       of the initial parameters (PyTorch's own initialisation of each layer)
    ``precision``  "double" or "single"
    ``smooth``     check that the network has a Taylor series (:func:`quprop.carleman.maps.smooth.check_smooth`);
                   False to count parameters, to train classically, or for a spectrum, whose analysis checks itself
    ``regression`` targets are numbers: a module that comes without a loss, and ``mlp``, get the mean squared error in
                   place of cross-entropy
    ``sample``     inputs (samples, ...) for that check; default two of zeros
    ``settings``   keyword arguments of the network's function, such as ``hidden=(64, 64)``
    """
    torch = load_torch(f"the network {name!r}")
    dtype = dtype_of(precision)
    build = _user_factory(name) if ":" in name else NETWORKS.get(name)
    if build is None:
        raise QupropError(f"unknown network {name!r}; {nearest(name, NETWORKS)} (your own is 'FILE.py:factory')")
    given = {"input_shape": tuple(input_shape), "classes": classes} | settings
    known = inspect.signature(build).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for key in settings:
        if key not in known and not open_ended:
            raise QupropError(
                f"network {name!r} has no setting {key!r}; {nearest(key, [k for k in known if k != 'input_shape'])}"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        arguments = {k: v for k, v in given.items() if k in known or open_ended}
        made = _built(name, build, arguments) if ":" in name else build(**arguments)
    if regression and name == "logistic":
        raise QupropError("the network 'logistic' is for classes, and the targets are numbers: take 'mlp' or your own")
    if regression and name in ("mlp", "resnet"):
        made = made | {"loss": "mean-square"}
    network = _network(name, made, settings, "mean-square" if regression else "cross-entropy")
    network.module.to(dtype)
    if smooth:
        sample = torch.zeros((2, *input_shape), dtype=dtype) if sample is None else sample
        check_smooth(network.module, sample)
        if not regression:
            _check_outputs(network, sample, classes)
    return network


def _check_outputs(network: Network, sample: Any, classes: int) -> None:
    torch = load_torch("a network")
    with torch.no_grad():
        found = network.module(sample)
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    one = classes == 2 and shape in ((len(sample),), (len(sample), 1))  # a logit, above 0 for class 1
    if not one and (not isinstance(shape, tuple) or len(shape) != 2 or shape[1] < classes):
        raise QupropError(
            f"the network {network.name!r} must return a tensor (samples, classes) = ({len(sample)}, {classes}) for "
            f"{len(sample)} samples, got {shape}"
        )


def as_loss(loss: Any) -> Any:
    """A loss module with mean reduction, from its name, a torch module or a function (outputs, targets) -> scalar."""
    torch = load_torch("a loss")
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise QupropError(f"unknown loss {loss!r}; {nearest(loss, LOSSES)}")
        return {"cross-entropy": torch.nn.CrossEntropyLoss, "square": _modules().SquareLoss}.get(
            loss, _modules().MeanSquareLoss
        )()
    if isinstance(loss, torch.nn.Module) and hasattr(loss, "reduction"):
        if loss.reduction != "mean":
            raise QupropError(f"the loss must be a mean over samples (reduction='mean'), got {loss.reduction!r}")
        return loss
    if not callable(loss):
        raise QupropError(
            f"a loss is {', '.join(map(repr, LOSSES))} or a function (outputs, targets) -> scalar, got {loss!r}"
        )
    return _modules().FunctionLoss(loss)


def _network(name: str, made: Any, settings: dict[str, Any], loss: str) -> Network:
    torch = load_torch("a network")
    if isinstance(made, Network):
        return replace(made, loss=as_loss(made.loss))
    if isinstance(made, torch.nn.Module):
        made = {"module": made, "loss": loss}
    elif isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module):
        made = {"module": made[0], "loss": made[1]}
    elif not isinstance(made, dict):
        raise QupropError(f"{name} must return a torch.nn.Module or a pair (module, loss), got {type(made).__name__}")
    if not trainable(made["module"]):
        raise QupropError(f"the network {name!r} has no parameters that are trained, so there is nothing to train")
    return Network(name, **(made | {"loss": as_loss(made["loss"])}), settings=dict(settings))


def _user_factory(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.rpartition(":")
    path = Path(module_name).expanduser()
    folder = str(path.parent.absolute()) if path.suffix == ".py" else os.getcwd()
    sys.path.insert(0, folder)  # as `python -m` and `python FILE.py` do
    try:
        module = _module_of(path) if path.suffix == ".py" else importlib.import_module(module_name)
    except QupropError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, ImportError) else str(error)
        raise QupropError(
            f"the network {name!r} could not be imported ({reason}); run where {module_name!r} can be imported, or "
            "give the path of its file, FILE.py:factory"
        ) from None
    finally:
        sys.path.remove(folder)
    found = getattr(module, attribute, None)
    if not callable(found):
        functions = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")] or ["none"]
        raise QupropError(f"{module_name!r} has no function {attribute!r}; {nearest(attribute, functions)}")
    factory: Callable[..., Any] = found
    return factory


def _module_of(path: Path) -> Any:
    if not path.is_file():
        raise QupropError(f"there is no file {str(path)!r}")
    name = f"quprop_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickles of the file look for themselves
    spec.loader.exec_module(module)
    return module


def _built(name: str, factory: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    try:
        return factory(**arguments)
    except QupropError:
        raise
    except Exception as error:
        raise QupropError(
            f"the network {name!r} could not be made: its function raised {type(error).__name__}: {error}"
        ) from error


def _modules() -> Any:
    load_torch("a network")
    return importlib.import_module("quprop.carleman.networks.modules")


def _activation(name: str) -> None:
    known = _modules().ACTIVATIONS
    if name not in known:
        raise QupropError(f"unknown activation {name!r}; {nearest(name, known)}")


def _at_least(**bounds: tuple[int, int]) -> None:
    for name, (value, least) in bounds.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise QupropError(f"{name} must be a whole number from {least}, got {value!r}")
