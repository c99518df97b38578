"""Gradient descent of a network on its whole parameter vector, and what the result is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.torch_extra import load_torch, trainable
from quprop.errors import QupropError

STANDING_WORK = 2e9  # parameters times samples


def descend(
    network: Network,
    theta: np.ndarray,
    data: Sequence[tuple[Any, Any]],
    steps: int,
    rate: float,
    kept: np.ndarray | None = None,
    momentum: float = 0.0,
) -> np.ndarray:
    """`steps` gradient steps from theta (n,) on the batches in turn; where ``kept`` (n,) is false nothing moves. What
    diverges is returned as it is, not finite.

    With ``momentum`` b the state is (theta, w) of 2 n numbers, given and returned, as `maps.dynamics.Momentum` has it:
    w' = b w + eta (grad + weight_decay theta), theta' = theta - w' (torch.optim.SGD, whose buffer is w / eta).
    """
    torch = load_torch("training")
    n = network.n_parameters
    if np.shape(theta) != ((2 * n,) if momentum else (n,)):
        state = f"(theta, w) with momentum {momentum:g}, (2 n_parameters,)" if momentum else "theta, (n_parameters,)"
        raise QupropError(f"descent goes on from {state}, n_parameters = {n}, got shape {np.shape(theta)}")
    network.set_parameters(theta[:n].copy())  # the module shares memory with what is written into it
    parameters = list(trainable(network.module).values())
    sizes = [p.numel() for p in parameters]
    pieces: Sequence[Any] = [None] * len(parameters)
    if kept is not None:
        flat = torch.as_tensor(kept).split(sizes)
        pieces = [k.view_as(p).to(p.dtype) for k, p in zip(flat, parameters, strict=True)]
    velocities: Sequence[Any] = pieces
    if momentum:
        first = parameters[0]
        flat = torch.tensor(theta[n:], dtype=first.dtype, device=first.device).split(sizes)
        velocities = [w.view_as(p) * (1 if k is None else k) for w, p, k in zip(flat, parameters, pieces, strict=True)]
    for t in range(steps):
        inputs, targets = data[t % len(data)]
        loss = network.loss(network.module(inputs), targets)
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            for p, slope, piece, velocity in zip(parameters, slopes, pieces, velocities, strict=True):
                change = slope + network.weight_decay * p
                change = rate * (change if piece is None else change * piece)
                p.sub_(velocity.mul_(momentum).add_(change) if momentum else change)
    found = network.parameters().astype(float)
    if not momentum:
        return found
    return np.concatenate([found, torch.cat([w.reshape(-1) for w in velocities]).cpu().numpy().astype(float)])


def metric_of(targets: Any) -> str:
    """What a network for these targets is judged by: "accuracy" for classes, "r_squared" for numbers."""
    return "r_squared" if targets.is_floating_point() else "accuracy"


def accuracy_of(network: Network, data: tuple[Any, Any], size: int = 512) -> float:
    """Share of right classes at the network's present parameters (one output is a logit, above 0 for class 1). For
    targets that are numbers R^2 = 1 - sum |y - f(x)|^2 / sum |y - mean y|^2: 1 is perfect, 0 is the mean itself. Not a
    number where the targets are all the same, or where the outputs are no predictions of them (a mean and a variance,
    say: only the loss knows)."""
    torch = load_torch("accuracy")
    with torch.no_grad():
        outputs = [network.module(x) for x in data[0].split(size)]
        found, targets = torch.cat(outputs), data[1]
        if metric_of(targets) == "r_squared":
            if found.numel() != targets.numel():
                return float("nan")
            spread = float((targets - targets.mean(0)).square().sum())
            left = float((targets - found.reshape(targets.shape)).square().sum())
            return 1 - left / spread if spread else float("nan")
        if found.ndim > 2 or targets.ndim > 1:
            return float("nan")
        chosen = found.argmax(1) if found.ndim > 1 and found.shape[1] > 1 else (found.reshape(-1) > 0).long()
        return int((chosen == targets).sum()) / len(targets)


def accuracy_at(network: Network, theta: np.ndarray, data: tuple[Any, Any]) -> float:
    """`accuracy_of` at theta (n,); where theta is not finite 0, for numbers not a number."""
    if not np.isfinite(theta).all():
        return 0.0 if metric_of(data[1]) == "accuracy" else float("nan")
    network.set_parameters(theta.copy())
    return accuracy_of(network, data)


def standing(network: Network, train: tuple[Any, Any], test: tuple[Any, Any]) -> dict[str, Any]:
    """Training loss and test metric at the network's present parameters, on the first samples where all would take more
    than STANDING_WORK with the parameters."""
    most = max(1, int(STANDING_WORK / network.n_parameters))
    used, held = min(most, len(train[0])), min(most, len(test[0]))
    value = accuracy_of(network, (test[0][:held], test[1][:held]))
    return {
        "loss": loss_at(network, network.parameters().astype(float), (train[0][:used], train[1][:used])),
        metric_of(test[1]): value if value == value else None,
        "samples": {"train": used, "test": held},
    }


def loss_at(network: Network, theta: np.ndarray, data: tuple[Any, Any]) -> float:
    """Mean loss with weight decay at theta (n,); not a number where theta is not finite."""
    torch = load_torch("a loss")
    if not np.isfinite(theta).all():
        return float("nan")
    network.set_parameters(theta.copy())
    with torch.no_grad():
        pieces = zip(data[0].split(512), data[1].split(512), strict=True)
        total = sum(float(network.loss(network.module(x), y)) * len(y) for x, y in pieces) / len(data[1])
    return total + network.weight_decay / 2 * float(theta @ theta)
