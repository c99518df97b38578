"""What a training is at a moment, what it gives back, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.training.objective import Params


class TrainingFailed(RuntimeError):
    """The run cannot go on although its input was in order: it has diverged."""


@dataclass(frozen=True)
class Trained:
    """What :func:`train` returns. ``status`` is "finished", "converged" (the optimiser has nothing left to gain),
    "stopped" (by a callback, or by a budget) or "interrupted".

    params: theta (n_params,) and, with a head, scale and bias. loss, metrics: at the end. steps, seconds, values and
    gradients (evaluated): what it took. history: a dictionary a step or epoch. cost: what a gradient method executed.
    device: of a training on a device its name, the jobs, circuits, shots and rotations that were executed, seconds of
    the machine and dollars as it tells them (None where it does not), "planned", the same as it was planned, "paid",
    the same of all that was handed in (also jobs that were lost), "loss_stderr", and "stopped", why it ended early.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> result = qpr.train(model, optimiser=qpr.sgd(0.5), params=[1.0], steps=3)
    >>> result.steps, result.status, [round(row["loss"], 3) for row in result.history]
    (3, 'finished', [0.54, 0.149, -0.338])
    """

    params: Params
    loss: float
    metrics: dict[str, float]
    steps: int
    status: str
    seconds: float
    values: int  # model values asked for, one a sample
    gradients: int  # gradients asked for, one a sample; exact ones unless `method` was given
    history: list[dict[str, Any]] = field(repr=False)
    cost: Cost = field(default_factory=Cost)  # what the gradient method executed; nothing for exact gradients
    device: dict[str, Any] | None = None

    @property
    def theta(self) -> np.ndarray:
        return self.params["theta"]


@dataclass
class TrainingMoment:
    """Where (init, update) pairs are: parameters, the optimiser's state, the order of the samples in this epoch, steps
    done, and the sums over this epoch's samples so far."""

    params: Params
    state: Any
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    step: int = 0
    loss_sum: float = 0.0
    metric_sum: float = 0.0
    seen: int = 0
    error_sum: float = 0.0  # of squares, of the loss's standard errors on a device
