"""Trainings in TensorBoard, MLflow and Weights & Biases: callbacks for `train(callback=)`.

    qpr.train(model, ..., callback=TensorBoard("runs/tensorboard"))

At the end of every epoch (a step, where there is no data) they write the loss and the metrics, under their names in the
history; with every=n the loss of each n-th step too. Their packages are not part of quprop: install the one you use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from quprop.errors import QupropError, nearest, whole
from quprop.lazy import missing
from quprop.training.callbacks import TrainingStep

__all__ = ["LOGGERS", "MLflow", "TensorBoard", "WandB", "logger"]


class _Logger:
    """What the three share; `_write` is all that differs."""

    def __init__(self, every: int = 0) -> None:
        self.every = whole("`every`", every, 0)

    def __call__(self, step: TrainingStep) -> None:
        if step.ends_epoch:
            self._write({"loss": step.loss, "epoch": step.epoch, **step.metrics}, step.step)
        elif self.every and step.step % self.every == 0:
            self._write({"loss": step.loss}, step.step)

    def _write(self, values: dict[str, float], step: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Called when the training ends, however it ends."""


class TensorBoard(_Logger):
    """Scalars in event files of a folder: `tensorboard --logdir FOLDER` shows them."""

    def __init__(self, folder: str, *, every: int = 0) -> None:
        super().__init__(every)
        self._writer = _library("tensorboard.summary", "tensorboard").Writer(str(folder))

    def _write(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.flush()


class MLflow(_Logger):
    """Metrics of the active run, or of a new one of `experiment`; uri: where, default: as MLflow is set up."""

    def __init__(self, experiment: str = "quprop", *, uri: str | None = None, every: int = 0) -> None:
        super().__init__(every)
        self._mlflow = _library("mlflow", "mlflow")
        self._own = self._mlflow.active_run() is None
        if self._own:
            if uri is not None:
                self._mlflow.set_tracking_uri(uri)
            self._mlflow.set_experiment(experiment)
            self._mlflow.start_run()

    def _write(self, values: dict[str, float], step: int) -> None:
        self._mlflow.log_metrics(values, step=step)

    def close(self) -> None:
        if self._own:
            self._mlflow.end_run()


class WandB(_Logger):
    """A run of Weights & Biases; options go to `wandb.init`, such as `mode="offline"`."""

    def __init__(self, project: str = "quprop", *, every: int = 0, **options: Any) -> None:
        super().__init__(every)
        self._run = _library("wandb", "wandb").init(project=project, **options)

    def _write(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


LOGGERS = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB}


def logger(text: str) -> _Logger:
    """The logger of "tensorboard:FOLDER", "mlflow:EXPERIMENT" or "wandb:PROJECT"."""
    name, _, where = text.partition(":")
    if name not in LOGGERS:
        raise QupropError(f"unknown logger {name!r}: {nearest(name, LOGGERS)}")
    if not where:
        raise QupropError(f"a logger is given with where it writes, such as tensorboard:runs/log, got {text!r}")
    return LOGGERS[name](where)


def _library(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise missing(f"this logger needs the package {package}", package=package) from None
