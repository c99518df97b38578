"""The training loop: a model, a loss and an optimiser, checkpointed so that a killed run resumes bit for bit.

Each step is one exact gradient (a forward and a backward sweep), or an estimate of it by a gradient method. Everything
random comes from one generator whose state is in the checkpoint, and everything a step depends on is in the checkpoint
too, so where a run was cut does not show in its parameters.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, nearest, shown
from quprop.model import Model
from quprop.runs import RunFolder, versions
from quprop.runs.interrupt import Interrupt
from quprop.runs.progress import TrainingProgress
from quprop.simulate import Composite
from quprop.training.lbfgs import run_lbfgs
from quprop.training.losses import LOSSES, Loss
from quprop.training.objective import Data, Objective, Params, check_data, require_memory
from quprop.training.optimise import LBFGS, Optimiser, adam, apply_updates, tree_fill, tree_leaves

_NOT_SHOWN = ("step", "epoch", "seconds", "loss", "copies", "rotations")  # of a history line, in the progress bar


class TrainingFailed(RuntimeError):
    """The run cannot go on although its input was in order: the loss is no longer a number."""


@dataclass(frozen=True)
class Trained:
    """What :func:`train` returns. ``status`` is "finished", "converged" (the optimiser has nothing left to gain) or
    "interrupted"."""

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

    @property
    def theta(self) -> np.ndarray:
        return self.params["theta"]


def train(
    model: Model | Composite,
    loss: str | Loss = "expectation",
    *,
    data: Any = None,
    test: Any = None,
    optimiser: Optimiser | LBFGS | Any = None,
    params: Params | np.ndarray | None = None,
    head: bool = False,
    method: Any = None,
    executor: Any = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    rng: int | np.random.Generator = 0,
    out: str | os.PathLike[str] | RunFolder | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 2.0,
    progress: bool = False,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> Trained:
    """Minimise ``loss`` of ``model`` over its parameters, with exact gradients or those of a gradient method.

    model, loss: what is trained, a model or the plan of a cut circuit (``quprop.cut``); a name of ``losses.LOSSES`` or
        a loss object, such as ``Fidelity(target)``.
    data: inputs (samples, n_inputs), or (inputs, targets); None for a model without inputs. test: the same, looked at
        after every epoch.
    optimiser: a pair (init, update) of :mod:`quprop.training.optimise`, an optax transformation, or :class:`LBFGS`.
        Default: ``adam(0.01)``.
    params: where to begin: theta (n_params,), or a dictionary with ``theta`` and, with a head, ``scale`` and ``bias``
        (n_observables,). Default: theta drawn uniformly from [-pi, pi) with ``rng``.
    head: outputs are scale * <O_k> + bias, both trained: a classifier's logits are not bound to [-1, 1].
    method: a gradient method of :mod:`quprop.gradients` with its budget, such as ``ParameterShift(shots=100)``: what
        estimates the gradient by theta of every step, for every sample, with shots drawn by ``rng``. Its budget is for
        the sum of all observables with weight 1; multiplied with the loss's derivatives it makes the gradient. The
        loss, its derivatives by the outputs and the metrics stay exact (simulated, no shots). ``Trained.cost`` and, in
        the history, "copies" and "rotations" say what it executed, and "damage" how far copies were moved that its
        claim takes for undisturbed. A method that carries something from step to step
        (``QuantumBackprop(warm_start=True)``) begins anew when a run is resumed.
    executor: anything with `submit` as in ``concurrent.futures`` (:mod:`quprop.runs.executor`), on which ``method``
        runs its circuits, one task a sample. The result is the same for any number of workers (not that of
        executor=None).
    epochs or steps: passes over the data or optimiser steps (for L-BFGS iterations, at most); one of them.
    batch_size: samples a step; None takes them all. Batches are drawn without replacement, in a new order every epoch.
    out, resume: the run folder (:mod:`quprop.runs`), refused if it exists, or continued if ``resume``.
    Ctrl-C or SIGTERM finishes the step, writes the checkpoint and returns with status "interrupted"; a second one stops
    at once. A file that cannot be written, on a full disk say, raises :class:`quprop.files.FileError`; the run goes on
    from its last checkpoint with ``resume``.

    >>> result = train(model, "cross_entropy", data=(x, labels), head=True, optimiser=adam(0.02), epochs=10)
    """
    loss = _loss(loss)
    data, test = check_data(model, loss, data, "data"), check_data(model, loss, test, "test")
    objective = Objective(
        model,
        loss,
        head=head,
        engine=engine,
        precision=precision,
        threads=threads,
        method=method,
        executor=executor,
    )
    optimiser = adam(0.01) if optimiser is None else optimiser
    samples = 1 if data is None else len(data[0])
    if batch_size is not None and batch_size < 1:
        raise QupropError(f"`batch_size` must be at least 1, got {batch_size}")
    batch = samples if batch_size is None else min(batch_size, samples)
    per_epoch = -(-samples // batch)
    if (epochs is None) == (steps is None):
        raise QupropError("give the length of the training as one of `epochs` and `steps`")
    total = steps if steps is not None else epochs * per_epoch  # type: ignore[operator]
    if total < 0:
        raise QupropError(
            f"`{'epochs' if steps is None else 'steps'}` must not be negative, got "
            f"{steps if steps is not None else epochs}"
        )
    if isinstance(optimiser, LBFGS) and batch < samples:
        raise QupropError(
            f"L-BFGS takes the full batch of {samples} samples, got batch_size={batch_size}: leave it out, or choose "
            "adam"
        )
    if isinstance(optimiser, LBFGS) and method is not None:
        raise QupropError(
            f"L-BFGS compares neighbouring gradients and needs exact ones, got method={method!r}: leave it out, or "
            "choose adam"
        )
    if not isinstance(optimiser, LBFGS) and not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        raise QupropError(
            "`optimiser` must be a pair (init, update) such as adam(0.01), an optax transformation or LBFGS(), got "
            f"{type(optimiser).__name__}"
        )
    seed = rng if isinstance(rng, int | np.integer) else None
    generator = np.random.default_rng(rng)
    params = objective.initial(params, generator)
    require_memory(model, batch, engine=engine, precision=precision, threads=threads)
    folder = _folder(out, resume, model, loss, objective, params, optimiser, total, batch, seed)

    job = _Job(
        objective, optimiser, data, test, batch, per_epoch, total, generator, folder, checkpoint_seconds, progress
    )
    try:
        with Interrupt() as interrupt, np.errstate(all="ignore"):  # a loss that is no number ends the run
            return job.lbfgs(params, interrupt) if isinstance(optimiser, LBFGS) else job.pairs(params, interrupt)
    finally:
        if folder is not None:
            folder.close()


@dataclass
class _Job:
    """One call of ``train``: the loop and what it writes."""

    objective: Objective
    optimiser: Any
    data: Data | None
    test: Data | None
    batch: int
    per_epoch: int
    total: int
    rng: np.random.Generator
    folder: RunFolder | None
    checkpoint_seconds: float
    progress: bool

    def __post_init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.spent, self._start, self._saved = 0.0, time.monotonic(), time.monotonic()

    # -- what a run is at a moment ------------------------------------------------------------------------------------

    def seconds(self) -> float:
        return self.spent + time.monotonic() - self._start

    def restore(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Open the folder at its checkpoint; None for a new run."""
        if self.folder is None:
            return None
        self.folder.lock()  # nobody moves the checkpoint while it is read
        found = self.folder.read_checkpoint()
        if found is None:
            self.folder.start_metrics(0)
            return None
        meta = found[1]
        try:
            self.rng.bit_generator.state = meta["rng"]
            self.spent, values, gradients = float(meta["seconds"]), meta["values"], meta["gradients"]
            cost = Cost(**meta.get("cost", {}))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise self.folder.damaged() from None
        counts = (values, gradients, meta.get("step"), *cost.as_dict().values())
        if not all(type(n) is int and n >= 0 for n in counts) or not 0 <= self.spent < math.inf:
            raise self.folder.damaged()
        self.objective.values, self.objective.gradients, self.objective.cost = values, gradients, cost
        self.history = self.folder.start_metrics(meta["metrics_bytes"], meta.get("metrics_sha256"))
        if not all(type(line.get("step")) is int and isinstance(line.get("loss"), float) for line in self.history):
            raise QupropError(
                f"{self.folder.path / 'metrics.jsonl'} has a line without step and loss: it was changed since; start a "
                "new run in another folder"
            )
        return found

    def save(self, params: Params, arrays: dict[str, np.ndarray], meta: dict[str, Any], *, now: bool = False) -> None:
        if self.folder is None or not (now or time.monotonic() - self._saved >= self.checkpoint_seconds):
            return
        common = {
            "rng": _plain_state(self.rng.bit_generator.state),
            "seconds": self.seconds(),
            "values": self.objective.values,
            "gradients": self.objective.gradients,
            "cost": self.objective.cost.as_dict(),
        }
        self.folder.write_checkpoint({**{f"params/{k}": v for k, v in params.items()}, **arrays}, {**common, **meta})
        self._saved = time.monotonic()

    def record(self, line: dict[str, Any]) -> None:
        _refuse_no_number(line["loss"], line["step"])
        self.history.append(line)
        if self.folder is not None:
            self.folder.append_metrics(line)

    def result(self, params: Params, loss: float, metrics: dict[str, float], steps: int, status: str) -> Trained:
        _refuse_no_number(loss, steps)
        o = self.objective
        return Trained(
            params, loss, metrics, steps, status, self.seconds(), o.values, o.gradients, self.history, o.cost
        )

    # -- (init, update) pairs -----------------------------------------------------------------------------------------

    def pairs(self, params: Params, interrupt: Interrupt) -> Trained:
        objective, total = self.objective, self.total
        state = self.optimiser.init(params)
        order = np.zeros(0, np.int64)
        step, loss_sum, metric_sum, seen = 0, 0.0, 0.0, 0
        found = self.restore()
        if found is not None:
            arrays, meta = found
            try:
                params = {key: _same(arrays[f"params/{key}"], value) for key, value in params.items()}
                like = tree_leaves(state)
                leaves = [_same(arrays[f"state/{i}"], leaf) for i, leaf in enumerate(like)]
                order, step, (loss_sum, metric_sum, seen) = arrays["order"], meta["step"], meta["running"]
                loss_sum, metric_sum = float(loss_sum), float(metric_sum)
                everyone = np.arange(0 if self.data is None else len(self.data[0]))
                if (
                    step > total
                    or not all(np.isfinite(value).all() for value in params.values())
                    or type(seen) is not int
                    or not (order.dtype == np.int64 and (not order.size or np.array_equal(np.sort(order), everyone)))
                ):
                    raise ValueError
            except (KeyError, ValueError, TypeError):
                assert self.folder is not None
                raise self.folder.damaged() from None
            state = tree_fill(state, leaves)

        def save(now: bool = False) -> None:
            leaves = {f"state/{i}": np.asarray(leaf) for i, leaf in enumerate(tree_leaves(state))}
            self.save(
                params, {**leaves, "order": order}, {"step": step, "running": [loss_sum, metric_sum, seen]}, now=now
            )

        if found is None:
            save(now=True)
        status = "finished"
        last = self.history[-1] if self.history else None
        bar = TrainingProgress(total, done=step, enabled=self.progress)
        with bar:
            while step < total:
                position = step % self.per_epoch
                x, y = None, None
                if self.data is not None:
                    if self.batch == len(self.data[0]):
                        x, y = self.data
                    else:
                        if position == 0:
                            order = self.rng.permutation(len(self.data[0]))
                        chosen = order[position * self.batch : (position + 1) * self.batch]
                        x, y = self.data[0][chosen], None if self.data[1] is None else self.data[1][chosen]
                loss, gradients, outputs = objective.loss_and_grad(params, x, y, self.rng)
                updates, state = self.optimiser.update(gradients, state, params)
                params = apply_updates(params, updates)
                size = len(outputs)
                metric = objective.loss.metric(outputs, y)
                loss_sum, metric_sum, seen = loss_sum + loss * size, metric_sum + (metric or 0.0) * size, seen + size
                step += 1
                _refuse_no_number(loss, step)
                if step % self.per_epoch == 0 or step == total:
                    last = self._epoch(step, loss_sum / seen, metric_sum / seen if metric is not None else None, params)
                    loss_sum, metric_sum, seen = 0.0, 0.0, 0
                shown = {k: v for k, v in (last or {}).items() if k not in _NOT_SHOWN}
                bar.update(step, loss if seen else last["loss"], shown)  # type: ignore[index]
                if interrupt.hit and step < total:
                    status = "interrupted"
                    break
                save()
        save(now=True)
        # The loss written down is the mean over an epoch's steps; the result says what the parameters now give.
        loss, metrics = self._final(params)
        return self.result(params, loss, metrics, step, status)

    def _epoch(self, step: int, loss: float, metric: float | None, params: Params) -> dict[str, Any]:
        line: dict[str, Any] = {"step": step, "epoch": -(-step // self.per_epoch), "loss": loss}
        name = self.objective.loss.metric_name
        if metric is not None and name:
            line[f"train_{name}"] = metric
        if self.test is not None:
            line["test_loss"], test_metric = self.objective.evaluate(params, *self.test)
            if test_metric is not None:
                line[f"test_{name}"] = test_metric
        if self.objective.method is not None:
            line |= {"copies": self.objective.cost.copies, "rotations": self.objective.cost.rotations}
            if self.objective.damage is not None:
                line["damage"] = self.objective.damage
        line["seconds"] = round(self.seconds(), 3)
        self.record(line)
        return line

    def _final(self, params: Params) -> tuple[float, dict[str, float]]:
        name, metrics = self.objective.loss.metric_name, {}
        loss, metric = self.objective.evaluate(params, *(self.data or (None, None)))
        if metric is not None:
            metrics[f"train_{name}"] = metric
        if self.test is not None:
            metrics["test_loss"], test_metric = self.objective.evaluate(params, *self.test)
            if test_metric is not None:
                metrics[f"test_{name}"] = test_metric
        return loss, metrics

    # -- L-BFGS -------------------------------------------------------------------------------------------------------

    def lbfgs(self, params: Params, interrupt: Interrupt) -> Trained:
        found = self.restore()
        evaluations = []
        logged = 0
        if found is not None:
            arrays, meta = found
            try:
                points, losses, slopes = (arrays[key] for key in ("points", "losses", "slopes"))
                size = sum(value.size for value in params.values())
                shape = (losses.size, size) if losses.size else (0,)
                if losses.ndim != 1 or not points.shape == slopes.shape == shape:
                    raise ValueError
                if any(array.dtype != float for array in (points, losses, slopes)):
                    raise ValueError
                evaluations = list(zip(points, losses, slopes, strict=True))
                logged = meta["step"]
            except (KeyError, ValueError):
                assert self.folder is not None
                raise self.folder.damaged() from None
        bar = TrainingProgress(self.total, done=0, enabled=self.progress)

        def save(params: Params, step: int, now: bool) -> None:
            points, losses, slopes = zip(*evaluations, strict=True) if evaluations else ((), (), ())
            arrays = {"points": np.array(points), "losses": np.array(losses), "slopes": np.array(slopes)}
            self.save(params, arrays, {"step": max(step, logged)}, now=now)

        def line(step: int, loss: float, params: Params) -> None:
            if step > logged:  # a resumed run goes through its recorded steps again and must not write them twice
                self._epoch(step, loss, None, params)
            bar.update(step, loss, {})

        with bar:
            params, steps, status = run_lbfgs(
                lambda p: self.objective.loss_and_grad(p, *(self.data or (None, None)))[:2],
                params,
                self.optimiser,
                self.total,
                evaluations=evaluations,
                save=save,
                line=line,
                stop=lambda: interrupt.hit,
            )
        save(params, steps, True)
        loss, metrics = self._final(params)
        return self.result(params, loss, metrics, steps, status)


def _refuse_no_number(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise TrainingFailed(f"the loss became {loss} at step {step}: lower the learning rate, or look at the inputs")


def _loss(loss: str | Loss) -> Loss:
    if isinstance(loss, Loss):
        return loss
    if loss not in LOSSES:
        raise QupropError(f"unknown loss {loss!r}: {nearest(str(loss), LOSSES)}")
    if loss == "fidelity":
        raise QupropError("the fidelity loss needs its target state: pass loss=Fidelity(target)")
    return LOSSES[loss]()


def _folder(
    out: str | os.PathLike[str] | RunFolder | None,
    resume: bool,
    model: Model | Composite,
    loss: Loss,
    objective: Objective,
    params: Params,
    optimiser: Any,
    total: int,
    batch: int,
    seed: int | np.integer | None,
) -> RunFolder | None:
    if out is None:
        if resume:
            raise QupropError("`resume` needs the run folder: pass out=...")
        return None
    if isinstance(out, RunFolder):
        return out
    text = model.to_text()
    definition = {
        "model": {
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "n_qubits": model.n_qubits,
            "n_params": model.n_params,
        },
        "train": {
            "loss": type(loss).__name__,
            "head": objective.head,
            "optimiser": type(optimiser).__name__,
            "total_steps": total,
            "batch_size": batch,
            "seed": seed,
            "parameters": {k: list(v.shape) for k, v in params.items()},
            "precision": objective.precision,
            **({} if objective.method is None else {"method": repr(objective.method)}),
        },
        "versions": versions(),
    }
    if not resume:
        return RunFolder.create(out, definition, model_text=text)
    folder = RunFolder.open(out)
    for section in ("model", "train"):
        for key, value in json.loads(json.dumps(definition[section])).items():
            kept = folder.section(section).get(key)
            if value is not None and kept != value:
                raise QupropError(
                    f"the run in {folder.path} has {section}.{key} = {shown(kept)}, got {shown(value)}: resume with "
                    "what it was started with"
                )
    method = folder.section("train").get("method")
    if objective.method is None and method is not None:
        raise QupropError(
            f"the run in {folder.path} has train.method = {shown(method)}, got exact gradients: resume with what it "
            "was started with"
        )
    return folder


def _same(saved: np.ndarray, like: Any) -> Any:
    like_array = np.asarray(like)
    if saved.shape != like_array.shape or saved.dtype != like_array.dtype:
        raise ValueError
    if isinstance(like, int | float) and not isinstance(like, np.generic):
        return type(like)(saved.item())
    # optax keeps JAX arrays, which round and promote in their own way: give back what it would have had.
    return like.__array_namespace__().asarray(saved) if hasattr(like, "__array_namespace__") else saved


def _plain_state(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _plain_state(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state
