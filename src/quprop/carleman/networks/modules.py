"""The torch modules behind the named networks. Importing this file needs PyTorch; networks.py imports it when asked.

The residual network is the one for small images of He et al. (2016, arXiv:1512.03385, section 4.2), widened, in the
form whose parameter counts Liu et al. (Nature Communications 15, 434, 2024) state: a 3 x 3 stem without bias to 16 w
channels, three stages of (depth - 2)/6 blocks with 16 w, 32 w and 64 w channels, 1 x 1 convolution with normalisation
as shortcut wherever the shape changes, average pooling and a linear layer with bias. Bottleneck blocks, of depth 54 and
more, leave with four times these channels but keep (depth - 2)/6 blocks a stage (so their convolutions number 3 (depth
- 2)/2).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

GROUPS = 8  # channels are multiples of 16


class QuadraticActivation(nn.Module):
    """x -> x^2, elementwise: with it a network is a polynomial in its parameters."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x


class SiLU(nn.Module):
    """x sigmoid(x). PyTorch's own SiLU, GELU, Softplus and GroupNorm have no forward-mode derivative of their backward
    pass, which Taylor expansions of the step need; written as elementary operations they have every derivative."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(x)


class GELU(nn.Module):
    """x (1 + erf(x/sqrt 2))/2."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * x * (1.0 + torch.erf(x * 0.7071067811865476))


class Softplus(nn.Module):
    """log(1 + e^x), the smooth counterpart of ReLU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -nn.functional.logsigmoid(-x)


class GroupNorm(nn.GroupNorm):
    """PyTorch's GroupNorm (same parameters, same values) from elementary operations; see :class:`SiLU`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grouped = x.reshape(x.shape[0], self.num_groups, -1)
        centred = grouped - grouped.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        normal = (centred * torch.rsqrt(variance + self.eps)).reshape(x.shape)
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return normal * self.weight.reshape(shape) + self.bias.reshape(shape)


class SquareLoss(nn.Module):
    """1/2 |outputs - target|^2, summed over outputs and averaged over samples; whole-number targets (samples,) are
    classes and stand for unit vectors."""

    reduction = "mean"

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if not targets.is_floating_point():
            targets = nn.functional.one_hot(targets, outputs.shape[-1]).to(outputs.dtype)
        return 0.5 * (outputs - targets.reshape(outputs.shape)).square().sum() / outputs.shape[0]


class MeanSquareLoss(nn.Module):
    """Mean of (outputs - target)^2 over samples and outputs; targets of as many numbers take the outputs' shape."""

    reduction = "mean"

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets.reshape(outputs.shape)).square().mean()


class FunctionLoss(nn.Module):
    """A user's function (outputs, targets) -> mean loss, in the form that curvature operators expect."""

    reduction = "mean"

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.function(outputs, targets)


ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": SiLU,
    "gelu": GELU,
    "softplus": Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "square": QuadraticActivation,
    "relu": nn.ReLU,  # has a kink: for counting and comparing only, `check_smooth` refuses it
}


def normalisation(kind: str, channels: int) -> nn.Module:
    """``group`` (smooth, no state, samples apart) or ``batch``; both have 2 parameters a channel."""
    return GroupNorm(GROUPS, channels) if kind == "group" else nn.BatchNorm2d(channels)


class ResidualBlock(nn.Module):
    """One residual block, basic (3x3, 3x3) or bottleneck (1x1, 3x3, 1x1 to four times the channels)."""

    def __init__(self, into: int, channels: int, stride: int, bottleneck: bool, activation: str, norm: str) -> None:
        super().__init__()
        out = 4 * channels if bottleneck else channels
        if bottleneck:
            shapes = [(into, channels, 1, 1), (channels, channels, 3, stride), (channels, out, 1, 1)]
        else:
            shapes = [(into, channels, 3, stride), (channels, out, 3, 1)]
        layers: list[nn.Module] = []
        for a, b, size, step in shapes:
            layers += [nn.Conv2d(a, b, size, step, size // 2, bias=False), normalisation(norm, b)]
            layers += [ACTIVATIONS[activation]()]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or into != out:
            self.shortcut = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), normalisation(norm, out))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(x) + self.shortcut(x))


class ResNet(nn.Module):
    """The residual network for small images; see the top of this file."""

    def __init__(
        self, depth: int, widen: int, classes: int, channels: int, bottleneck: bool, activation: str, norm: str
    ) -> None:
        super().__init__()
        into = 16 * widen
        stem = nn.Conv2d(channels, into, 3, padding=1, bias=False)
        layers: list[nn.Module] = [stem, normalisation(norm, into), ACTIVATIONS[activation]()]
        for stage, base in enumerate((16, 32, 64)):
            for block in range((depth - 2) // 6):
                stride = 2 if stage and not block else 1
                layers.append(ResidualBlock(into, base * widen, stride, bottleneck, activation, norm))
                into = base * widen * (4 if bottleneck else 1)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(into, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # He et al.: variance 2/(outgoing connections), as the authors initialise
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


def dense(sizes: list[int], activation: str | None, bias: bool) -> nn.Module:
    """Linear layers of these sizes, with an activation between any two of them, behind a flattening of the input."""
    layers: list[nn.Module] = [nn.Flatten()]
    for i, (a, b) in enumerate(pairwise(sizes)):
        if i and activation:
            layers.append(ACTIVATIONS[activation]())
        layers.append(nn.Linear(a, b, bias=bias))
    return nn.Sequential(*layers)
