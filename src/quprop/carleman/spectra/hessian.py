"""The Hessian of a network's loss as an operator, and derivatives of any order contracted with directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.torch_extra import load_curvlinops, load_torch
from quprop.carleman.spectra.spectrum import Matvec
from quprop.errors import QupropError

OPERATORS = ("curvlinops", "double-backward")
Batches = Sequence[tuple[Any, Any]]


def split_batches(inputs: Any, targets: Any, size: int | None = None) -> list[tuple[Any, Any]]:
    """The data in pieces of `size` samples (default one piece), so that activations of one piece are alive at a
    time."""
    if len(inputs) != len(targets) or not len(inputs):
        raise QupropError(f"inputs and targets must be equally many and not none, got {len(inputs)} and {len(targets)}")
    size = size or len(inputs)
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def hessian_matvec(network: Network, data: Batches, *, operator: str = "curvlinops") -> Matvec:
    """v (n,) -> H v (n,), H the Hessian of the mean loss over `data` plus weight_decay.

    ``operator``  "curvlinops": forward over reverse, by curvlinops-for-pytorch; "double-backward": reverse over
                  reverse, for layers that PyTorch gives no forward-mode derivative (its own GroupNorm and SiLU are
                  such)
    """
    if operator not in OPERATORS:
        raise QupropError(f"operator is {' or '.join(map(repr, OPERATORS))}, got {operator!r}")
    product = _curvlinops(network, data) if operator == "curvlinops" else _double_backward(network, data)
    torch = load_torch("Hessian products")
    first = next(network.module.parameters())

    def matvec(v: np.ndarray) -> np.ndarray:
        given = torch.as_tensor(v).to(dtype=first.dtype, device=first.device)
        result: np.ndarray = product(given).cpu().numpy().astype(v.dtype, copy=False)
        return result + network.weight_decay * v

    return matvec


def _curvlinops(network: Network, data: Batches) -> Callable[[Any], Any]:
    curvlinops = load_curvlinops("the Hessian of a network")
    operator = curvlinops.HessianLinearOperator(
        network.module, network.loss, list(network.module.parameters()), data, check_deterministic=False
    )

    def product(v: Any) -> Any:
        try:
            return operator @ v
        except (NotImplementedError, RuntimeError) as error:
            if not _unwritten(error):
                raise
            reason = str(error).splitlines()[0].rstrip(".")
            raise QupropError(
                f"a layer of {network.name!r} has no forward-mode second derivative ({reason}): "
                "take operator='double-backward', or write that layer with elementary operations"
            ) from None

    return product


def _unwritten(error: Exception) -> bool:
    """Does PyTorch say that a derivative is not there (and not that memory is short, say)?"""
    return isinstance(error, NotImplementedError) or "not implemented" in str(error)


def _double_backward(network: Network, data: Batches) -> Callable[[Any], Any]:
    torch = load_torch("the Hessian of a network")
    parameters = list(network.module.parameters())
    samples = sum(len(x) for x, _ in data)

    def product(v: Any) -> Any:
        pieces = [p.view_as(q) for p, q in zip(v.split([q.numel() for q in parameters]), parameters, strict=True)]
        total = torch.zeros_like(v)
        for inputs, targets in data:
            loss = network.loss(network.module(inputs), targets)
            gradient = torch.autograd.grad(loss, parameters, create_graph=True)
            inner = sum((g * p).sum() for g, p in zip(gradient, pieces, strict=True))
            try:
                columns = torch.autograd.grad(inner, parameters, allow_unused=True, materialize_grads=True)
            except RuntimeError as error:
                if not _unwritten(error):
                    raise
                reason = str(error).splitlines()[0].rstrip(".")
                raise QupropError(
                    f"a layer of {network.name!r} has no second derivative ({reason}): "
                    "write that layer with elementary operations"
                ) from None
            total += torch.cat([c.reshape(-1) for c in columns]) * (len(inputs) / samples)
        return total

    return product


def gradient_and_loss(network: Network, data: Batches) -> tuple[np.ndarray, float]:
    """Gradient (n,) and value of the mean loss over `data`, weight decay included."""
    torch = load_torch("the gradient of a network")
    parameters = list(network.module.parameters())
    samples = sum(len(x) for x, _ in data)
    total, value = 0.0, 0.0
    for inputs, targets in data:
        loss = network.loss(network.module(inputs), targets)
        pieces = torch.autograd.grad(loss, parameters)
        total = total + torch.cat([g.reshape(-1) for g in pieces]) * (len(inputs) / samples)
        value += float(loss.detach()) * len(inputs) / samples
    theta = network.parameters()
    gradient = np.asarray(total) + network.weight_decay * theta
    return gradient, value + 0.5 * network.weight_decay * float(theta @ theta)


def derivative(network: Network, data: Batches) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """(u_1, ..., u_k), each (n,) -> D^{k+1} L[u_1, ..., u_k] (n,) for k >= 2, by k nested forward derivatives of the
    gradient: 2^k times the cost of a gradient. Weight decay has no derivatives beyond the second."""
    torch = load_torch("derivatives of a network")
    jvp, grad = torch.func.jvp, torch.func.grad
    names = [name for name, _ in network.module.named_parameters()]
    parameters = [p.detach() for _, p in network.module.named_parameters()]
    samples = sum(len(x) for x, _ in data)

    def contract(directions: Sequence[np.ndarray]) -> np.ndarray:
        vectors = []
        for u in directions:
            flat = torch.as_tensor(u).to(dtype=parameters[0].dtype, device=parameters[0].device)
            pieces = flat.split([p.numel() for p in parameters])
            vectors.append(tuple(a.view_as(p) for a, p in zip(pieces, parameters, strict=True)))
        total = 0.0
        for inputs, targets in data:

            def loss(p: Any) -> Any:
                outputs = torch.func.functional_call(network.module, dict(zip(names, p, strict=True)), (inputs,))
                return network.loss(outputs, targets)

            function = grad(loss)
            for vector in vectors:
                function = _along(jvp, function, vector)
            with torch.no_grad():
                part = torch.cat([g.reshape(-1) for g in function(tuple(parameters))])
            total = total + part * (len(inputs) / samples)
        return np.asarray(total)

    return contract


def _along(jvp: Any, function: Any, vector: Any) -> Any:
    return lambda p: jvp(function, (p,), (vector,))[1]
