"""What `train(callback=)` calls after each step, and a callback that stops a training that gains nothing more.

    def tell(step):
        print(step.step, step.loss)
        return step.seconds > 60            # True stops the training

    train(model, ..., callback=tell)
    train(model, ..., callback=[EarlyStopping(patience=10), TensorBoard("runs/tensorboard")])

Loggers are in `quprop.training.loggers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.errors import QupropError, shown, whole


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """Where a training is after a step.

    step, total: steps done, from 1, and in all (L-BFGS: iterations, at most). epoch: from 1. loss: of the step's
    samples before it, or at the end of an epoch the mean over its steps. metrics: at the end of an epoch what its line
    of the history says beside, such as "train_accuracy" and "test_loss"; else empty. history: the lines so far, those
    of before a run was resumed among them. params: {"theta": (P,), ...} after the step, not to be written to.
    seconds: since the training began.
    """

    step: int
    total: int
    epoch: int
    ends_epoch: bool
    loss: float
    metrics: dict[str, float]
    params: dict[str, np.ndarray]
    seconds: float
    history: Sequence[dict[str, Any]] = field(repr=False)


Callback = Callable[[TrainingStep], Any]


def checked_callbacks(callback: Callback | Sequence[Callback] | None) -> list[Callback]:
    """One or several, or none."""
    found: list[Any] = list(callback) if isinstance(callback, list | tuple) else [callback] * (callback is not None)
    for one in found:
        if not callable(one):
            raise QupropError(f"`callback` is a function of a TrainingStep, or a list of them, got {shown(one)}")
    return found


def told(callbacks: Sequence[Callback], step: TrainingStep) -> bool:
    """Calls all of them; whether one of them asks to stop."""
    answers = [callback(step) for callback in callbacks]
    return any(isinstance(a, bool | np.bool_) and bool(a) for a in answers)


def close(callbacks: Sequence[Callback]) -> None:
    """What those with a `close` do at the end of a training, however it ends."""
    for callback in callbacks:
        if callable(end := getattr(callback, "close", None)):
            end()


class EarlyStopping:
    """Stops a training whose `monitor` has not improved by more than `min_change` in `patience` epochs.

        train(model, "cross_entropy", data=..., test=..., epochs=500,
              callback=EarlyStopping(patience=20, monitor="test_loss"))

    An epoch of a model without data is a step. patience: epochs, 1 or more. min_change: by how much, 0 or more.
    monitor: "loss", or an entry of the history such as "test_loss" or
    "test_accuracy". largest: whether more is better; default: of "..._accuracy" and "..._fidelity" only. It reads the
    history, so a resumed training stops where it would have stopped.

    Raises: QupropError for a patience below 1 or a negative change.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> stop = qpr.EarlyStopping(patience=5, min_change=1e-6)
    >>> qpr.train(model, optimiser=qpr.adam(0.1), params=[3.0], steps=500, callback=stop).status
    'stopped'
    """

    def __init__(
        self, patience: int = 10, min_change: float = 0.0, monitor: str = "loss", largest: bool | None = None
    ) -> None:
        self.patience = whole("`patience`", patience, 1)
        if not min_change >= 0:
            raise QupropError(f"`min_change` must be a number from 0, got {min_change!r}")
        self.min_change, self.monitor = float(min_change), monitor
        self.largest = monitor.endswith(("accuracy", "fidelity")) if largest is None else largest
        self._begin()

    def _begin(self) -> None:
        self._read, self._waited, self._best = 0, 0, np.inf

    def __call__(self, step: TrainingStep) -> bool:
        if len(step.history) < self._read:  # another training
            self._begin()
        for line in step.history[self._read :]:
            if self.monitor not in line:
                known = ", ".join(k for k, v in line.items() if k not in ("step", "epoch") and isinstance(v, float))
                raise QupropError(f"EarlyStopping looks at {self.monitor!r}, and the history has {known}")
            value = -line[self.monitor] if self.largest else line[self.monitor]
            better = value < self._best - self.min_change
            self._best, self._waited = (value, 0) if better else (self._best, self._waited + 1)
        self._read = len(step.history)
        return step.ends_epoch and self._waited >= self.patience
