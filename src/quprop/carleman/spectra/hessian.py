"""The Hessian of a network's loss as an operator, and derivatives of any order contracted with directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import factorial
from typing import Any

import numpy as np

from quprop.carleman.maps.smooth import UnwrittenDerivative, unwritten
from quprop.carleman.maps.torch_map import TorchMap
from quprop.carleman.networks.networks import Network, as_loss
from quprop.carleman.networks.torch_extra import elementary, load_curvlinops, load_torch, trainable
from quprop.errors import QupropError

ALIVE = 1e8  # parameters times samples whose activations are alive at a time
OPERATORS = ("auto", "double-backward", "curvlinops", "differences")
STEP = 1e-3  # of central differences, relative to the norm of the parameters
Batches = Sequence[tuple[Any, Any]]


def split_batches(inputs: Any, targets: Any, size: int | None = None) -> list[tuple[Any, Any]]:
    """The data in pieces of `size` samples (default one piece), so that activations of one piece are alive at a
    time."""
    if len(inputs) != len(targets) or not len(inputs):
        raise QupropError(f"inputs and targets must be equally many and not none, got {len(inputs)} and {len(targets)}")
    size = size or len(inputs)
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def affordable_batches(network: Network, inputs: Any, targets: Any) -> list[tuple[Any, Any]]:
    """The data in pieces of 64 samples, fewer where that times the parameters is above ALIVE: what activations of a
    Hessian product take."""
    return split_batches(inputs, targets, max(1, min(64, int(ALIVE / network.n_parameters))))


class HessianProduct:
    """v (n,) -> H v (n,), H the Hessian of the mean loss over `data` plus weight_decay; see `hessian_matvec`.
    ``operator`` is the way that products are taken, after the first one if it was "auto"."""

    def __init__(self, network: Network, data: Batches, operator: str) -> None:
        self.network, self.data, self.operator = network, data, operator
        made = {"curvlinops": _curvlinops, "differences": _differences}.get(operator, _double_backward)
        self._product = made(network, data)

    def __call__(self, v: np.ndarray) -> np.ndarray:
        torch = load_torch("Hessian products")
        from quprop.carleman.maps.torch_series import PlainNorms

        first = next(iter(trainable(self.network.module).values()))
        given = torch.as_tensor(v).to(dtype=first.dtype, device=first.device)
        with elementary(), PlainNorms():
            if self.operator == "auto":
                self.operator = "double-backward" if self._twice(given) else "differences"
                if self.operator == "differences":
                    self._product = _differences(self.network, self.data)
            found = self._product(given)
        result: np.ndarray = found.cpu().numpy().astype(v.dtype, copy=False)
        return result + self.network.weight_decay * v

    def _twice(self, given: Any) -> bool:
        """Has the network a second derivative by two backward passes? PyTorch takes a layer's own backward pass for a
        constant, without a word, where it hides that it depends on the parameters: so one product is held against
        differences."""
        try:
            found = self._product(given)
        except UnwrittenDerivative:
            return False
        before = None
        for step in (1e-4, 1e-5, 1e-6, 1e-7) if self.network.precision == "double" else (1e-2, 1e-3, 1e-4, 1e-5):
            other, noise = _differences(self.network, self.data, step)(given, True)
            size = float(other.norm())
            if noise > 0.3 * size:  # shorter steps are rounding alone
                break
            if float((other - found).norm()) <= 0.3 * size:
                return True
            if before is not None and float((other - before).norm()) <= 0.1 * size:
                return False  # differences agree with one another, and not with it
            before = other
        return True


def hessian_matvec(network: Network, data: Batches, *, operator: str = "auto") -> HessianProduct:
    """v (n,) -> H v (n,), H the Hessian of the mean loss over `data` plus weight_decay, n the trained parameters.

    ``operator``  "double-backward": reverse over reverse; "curvlinops": forward over reverse, by
                  curvlinops-for-pytorch, for layers that PyTorch gives a forward-mode derivative of their gradient;
                  "differences": (grad(theta + h v) - grad(theta - h v))/(2 h) with |h v| = STEP |theta|, off by
                  h^2/6 |D^4 L [v, v, v]| and by rounding of the gradient over h |v|, for layers with first derivatives
                  only; "auto": double-backward, and differences where PyTorch has not written it or where a layer's
                  own is wrong, as one product shows. The attribute ``operator`` of the result says which it was
    """
    if operator not in OPERATORS:
        raise QupropError(f"operator is {', '.join(map(repr, OPERATORS[:-1]))} or {OPERATORS[-1]!r}, got {operator!r}")
    return HessianProduct(network, data, operator)


def _curvlinops(network: Network, data: Batches) -> Callable[[Any], Any]:
    curvlinops = load_curvlinops("the Hessian of a network")
    loss = network.loss if hasattr(network.loss, "reduction") else as_loss(network.loss)
    operator = curvlinops.HessianLinearOperator(
        network.module, loss, list(trainable(network.module).values()), data, check_deterministic=False
    )

    def product(v: Any) -> Any:
        try:
            return operator @ v
        except (NotImplementedError, RuntimeError) as error:
            if "memory" in str(error):
                raise
            reason = str(error).splitlines()[0].rstrip(".")
            raise QupropError(
                f"curvlinops takes no forward-mode second derivative of {network.name!r} ({reason}): "
                "take operator='double-backward', or write that layer with elementary operations"
            ) from None

    return product


def _pieces(v: Any, parameters: Sequence[Any]) -> list[Any]:
    split = v.split([q.numel() for q in parameters])
    return [p.view_as(q) for p, q in zip(split, parameters, strict=True)]


def _double_backward(network: Network, data: Batches) -> Callable[[Any], Any]:
    torch = load_torch("the Hessian of a network")
    parameters = list(trainable(network.module).values())
    samples, unused = sum(len(x) for x, _ in data), {"allow_unused": True, "materialize_grads": True}

    def product(v: Any) -> Any:
        pieces = _pieces(v, parameters)
        total = torch.zeros_like(v)
        for inputs, targets in data:
            try:
                loss = network.loss(network.module(inputs), targets)
                gradient = torch.autograd.grad(loss, parameters, create_graph=True, **unused)
                inner = sum((g * p).sum() for g, p in zip(gradient, pieces, strict=True))
                if not inner.requires_grad:  # the gradient is constant
                    continue
                columns = torch.autograd.grad(inner, parameters, **unused)
            except (NotImplementedError, RuntimeError) as error:
                raise unwritten(error, network.name) or error from None
            total += torch.cat([c.reshape(-1) for c in columns]) * (len(inputs) / samples)
        return total

    return product


def _differences(network: Network, data: Batches, step: float = STEP) -> Callable[..., Any]:
    torch = load_torch("the Hessian of a network")
    names, parameters = list(trainable(network.module)), list(trainable(network.module).values())
    theta = [p.detach().clone() for p in parameters]
    size = float(torch.cat([p.reshape(-1) for p in theta]).norm()) or 1.0

    def gradient(shifted: Sequence[Any]) -> Any:
        leaves = [p.requires_grad_(True) for p in shifted]
        module = _Shifted(torch, network.module, dict(zip(names, leaves, strict=True)))
        return _gradient(torch, module, network.loss, leaves, data)[0]

    def product(v: Any, with_noise: bool = False) -> Any:
        length = float(v.norm())
        if not length:
            return (torch.zeros_like(v), 0.0) if with_noise else torch.zeros_like(v)
        h = step * size / length
        pieces = _pieces(v, parameters)
        ahead, behind = (gradient([p + s * h * q for p, q in zip(theta, pieces, strict=True)]) for s in (1, -1))
        found = (ahead - behind) / (2 * h)
        noise = 1e3 * torch.finfo(v.dtype).eps * float(ahead.norm() + 1) / h
        return (found, noise) if with_noise else found

    return product


class _Shifted:
    """A module at other parameters than its own."""

    def __init__(self, torch: Any, module: Any, parameters: dict[str, Any]) -> None:
        self._call, self.module, self.parameters = torch.func.functional_call, module, parameters

    def __call__(self, inputs: Any) -> Any:
        return self._call(self.module, self.parameters, (inputs,))


def _gradient(torch: Any, module: Any, loss: Any, parameters: Sequence[Any], data: Batches) -> tuple[Any, float]:
    """Gradient (n,) and value of the mean loss over `data`."""
    samples, total, value = sum(len(x) for x, _ in data), 0.0, 0.0
    for inputs, targets in data:
        found = loss(module(inputs), targets)
        pieces = torch.autograd.grad(found, parameters, allow_unused=True, materialize_grads=True)
        total = total + torch.cat([g.reshape(-1) for g in pieces]) * (len(inputs) / samples)
        value += float(found.detach()) * len(inputs) / samples
    return total, value


def gradient_and_loss(network: Network, data: Batches) -> tuple[np.ndarray, float]:
    """Gradient (n,) and value of the mean loss over `data`, weight decay included."""
    torch = load_torch("the gradient of a network")
    parameters = list(trainable(network.module).values())
    total, value = _gradient(torch, network.module, network.loss, parameters, data)
    theta = network.parameters()
    gradient = total.cpu().numpy() + network.weight_decay * theta
    return gradient, value + 0.5 * network.weight_decay * float(theta @ theta)


def derivative(network: Network, data: Batches) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """(u_1, ..., u_k), each (n,) -> D^{k+1} L[u_1, ..., u_k] (n,) for k >= 1, by Taylor arithmetic (`TorchMap`): one
    series of order k where all directions are the same, else 2^k of them. Without weight decay, which has no
    derivatives beyond the second."""
    torch, at = load_torch("derivatives of a network"), network.parameters()
    samples = sum(len(x) for x, _ in data)
    maps = [
        (len(x) / samples, TorchMap(torch, network.module, network.loss, x, y, 1.0, 1, at, 0.0, None, "auto"))
        for x, y in data
    ]

    def contract(directions: Sequence[np.ndarray]) -> np.ndarray:
        k = len(directions)
        total = sum(share * step.jet(k, directions) for share, step in maps)
        if k == 1:
            total = total - directions[0]  # G_1 = 1 - H
        return np.asarray(-factorial(k) * total).astype(directions[0].dtype, copy=False)

    return contract


def check_derivatives(network: Network, data: tuple[Any, Any]) -> None:
    """Refuse, with one sentence, a network whose first and second Taylor coefficients of the gradient are not its
    differences, as where a layer brings a derivative of its own that is wrong: along the parameters themselves, on the
    batch (inputs, targets). Differences are off by the square of their step; what is off by more than a tenth of the
    coefficients at two steps is refused. Double precision only, rounding hides it else."""
    torch = load_torch("derivatives of a network")
    theta = network.parameters().astype(float)
    inputs, targets = data
    step = TorchMap(torch, network.module, network.loss, inputs, targets, 1.0, 2, theta, 0.0, None, "auto")
    path = np.zeros((2, len(theta)))
    path[0] = np.random.default_rng(0).normal(size=len(theta)) * float(np.linalg.norm(theta) or 1) / len(theta) ** 0.5
    series = step.series(path)
    if network.precision == "single":
        return
    middle = step.gradient(theta)
    for order, name in ((1, "second"), (2, "third")):
        exact, off = path[0] * (order == 1) - series[order], []
        for h in (1e-3, 1e-4):
            ahead, behind = step.gradient(theta + h * path[0]), step.gradient(theta - h * path[0])
            found = (ahead - behind) / (2 * h) if order == 1 else (ahead - 2 * middle + behind) / (2 * h * h)
            off.append(float(np.linalg.norm(found - exact)) / max(float(np.linalg.norm(found)), 1e-6))
        if min(off) > 0.1:
            raise UnwrittenDerivative(
                f"the {name} derivatives of {network.name!r} are not differences of its first ones (off by "
                f"{min(off):.2g} of their size): a layer of its own brings a wrong derivative; write it with "
                "elementary operations"
            )
