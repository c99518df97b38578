"""A run of training: the loop, what it is at a moment, and the folder that keeps it.

Everything random comes from one generator whose state is in the checkpoint, and everything a step depends on is in the
checkpoint too, so where a run was cut does not show in its parameters.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, shown
from quprop.runs import RunFolder, versions
from quprop.runs.interrupt import Interrupt
from quprop.runs.progress import TRAINING, Progress, plain_console
from quprop.training.callbacks import Callback, TrainingStep, close, told
from quprop.training.lbfgs import Evaluation, run_lbfgs
from quprop.training.objective import Data, Objective, Params
from quprop.training.optimise import LBFGS, adapts, apply_updates, tree_fill, tree_leaves
from quprop.training.schedules import in_words
from quprop.training.trained import Trained, TrainingFailed, TrainingMoment

_NOT_SHOWN = (
    "step",
    "epoch",
    "seconds",
    "loss",
    "copies",
    "rotations",
    "gradient_variance",
    "loss_stderr",
    "shots",
    "jobs",
)  # of a history line, in the progress bar


FAR = 1000.0  # times the largest loss that the outputs could give at the start, beyond which a run has diverged
LARGEST = 2.0**33  # an angle, beyond which a double tells it from its neighbours to a millionth only


@dataclass
class Job:
    """One call of ``train``: the loop and what it writes."""

    objective: Objective
    optimiser: Any
    data: Data | None
    test: Data | None
    batch: int
    total: int
    rng: np.random.Generator
    checkpoint_seconds: float
    progress: bool
    folder: RunFolder | None = None
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        self.per_epoch = 1 if self.data is None else -(-len(self.data[0]) // self.batch)
        self.history: list[dict[str, Any]] = []
        self.spent, self._start, self._saved = 0.0, time.monotonic(), time.monotonic()
        self._pending: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None

    def run(self, params: Params) -> Trained:
        self.most = FAR * self.objective.reach(params, None if self.data is None else self.data[1])
        try:
            with Interrupt() as interrupt, np.errstate(all="ignore"):  # a loss that is no number ends the run
                self._listens(interrupt)
                lbfgs = isinstance(self.optimiser, LBFGS)
                return self._lbfgs(params, interrupt) if lbfgs else self._pairs(params, interrupt)
        finally:
            close(self.callbacks)
            self._closes()

    def _listens(self, interrupt: Interrupt) -> None:
        pass

    def _closes(self) -> None:
        if self.folder is not None:
            self.folder.close()

    def seconds(self) -> float:
        return self.spent + time.monotonic() - self._start

    # -- the folder ---------------------------------------------------------------------------------------------------

    def open(self, out: str | os.PathLike[str] | RunFolder | None, resume: bool, params: Params, seed: Any) -> None:
        """Make the run folder, or find that of the same run."""
        if out is None:
            if resume:
                raise QupropError("`resume` needs the run folder: pass out=...")
            return
        if isinstance(out, RunFolder):
            self.folder = out
            return
        text = self.objective.model.to_text()
        definition = self._definition(text, params, seed)
        if not resume:
            self.folder = RunFolder.create(out, definition, model_text=text)
            return
        folder = RunFolder.open(out)
        _refuse_another(folder, definition)
        self.folder = folder

    def _definition(self, text: str, params: Params, seed: Any) -> dict[str, Any]:
        objective, model = self.objective, self.objective.model
        return {
            "model": {
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "n_qubits": model.n_qubits,
                "n_params": model.n_params,
            },
            "train": {
                "loss": type(objective.loss).__name__,
                "head": objective.head,
                "optimiser": type(self.optimiser).__name__,
                "total_steps": self.total,
                "batch_size": self.batch,
                "seed": seed,
                "parameters": {k: list(v.shape) for k, v in params.items()},
                "precision": objective.precision,
                **({} if objective.method is None else {"method": in_words(objective.method, self.total)}),
                **self._defined(),
            },
            "versions": versions(),
        }

    def _defined(self) -> dict[str, Any]:
        """What else defines the run."""
        return {}

    def restore(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Open the folder at its checkpoint; None for a new run."""
        if self.folder is None:
            return None
        self.folder.lock()  # nobody moves the checkpoint while it is read
        self._opened(self.folder)
        found = self.folder.read_checkpoint()
        if found is None:
            self.folder.start_metrics(0)
            return None
        meta = found[1]
        try:
            self.rng.bit_generator.state = meta["rng"]
            self.spent, values, gradients = float(meta["seconds"]), meta["values"], meta["gradients"]
            cost = Cost(**meta.get("cost", {}))
            self._counted(meta)
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

    def _opened(self, folder: RunFolder) -> None:
        pass

    def _counts(self) -> dict[str, Any]:
        """What else a checkpoint counts."""
        return {}

    def _counted(self, meta: dict[str, Any]) -> None:
        """Back from `_counts`; a KeyError or TypeError where it is not there."""

    def save(self, params: Params, arrays: dict[str, np.ndarray], meta: dict[str, Any], *, now: bool = False) -> None:
        """Make a checkpoint if one is due; `keep` writes it, once the loss of these parameters is known."""
        if self.folder is None or not (now or time.monotonic() - self._saved >= self.checkpoint_seconds):
            return
        common = {
            "rng": _plain_state(self.rng.bit_generator.state),
            "seconds": self.seconds(),
            "values": self.objective.values,
            "gradients": self.objective.gradients,
            "cost": self.objective.cost.as_dict(),
            **self._counts(),
        }
        self._pending = {**{f"params/{k}": v for k, v in params.items()}, **arrays}, {**common, **meta}

    def keep(self) -> None:
        """Write the checkpoint that `save` left."""
        if self.folder is not None and self._pending is not None:
            self.folder.write_checkpoint(*self._pending)
            self._pending, self._saved = None, time.monotonic()

    def record(self, line: dict[str, Any]) -> None:
        self._refuse_diverged(line["loss"], line["step"])
        self.history.append(line)
        if self.folder is not None:
            self.folder.append_metrics(line)

    # -- (init, update) pairs -----------------------------------------------------------------------------------------

    def _pairs(self, params: Params, interrupt: Interrupt) -> Trained:
        now = TrainingMoment(params, self.optimiser.init(params))
        found = self.restore()
        if found is None:
            self._keep(now, due=True)
            self.keep()
        else:
            self._go_back_to(now, *found)
        status = "finished"
        with self._bar(now.step) as bar:
            while now.step < self.total and status == "finished":
                now, loss, status = self._try(now)
                if loss is None:
                    break
                bar(now.step, self.total, self._words(loss))
                ends = now.seen == 0
                if self._told(now.step, ends, loss, now.params) and now.step < self.total:
                    status = "stopped"
                if interrupt.hit and now.step < self.total:
                    status = "interrupted"
                if status == "finished":
                    self._keep(now)
        self._keep(now, due=True)
        result = self._result(now.params, now.step, status)
        self.keep()
        return result

    def _try(self, now: TrainingMoment) -> tuple[TrainingMoment, float | None, str]:
        """Where the run is after a step, the step's loss, and its status; no loss where the step could not be taken."""
        return now, self._step(now), "finished"

    def _words(self, loss: float) -> str:
        """Beside the bar."""
        return numbers(loss, self.history[-1] if self.history else {})

    def _step(self, now: TrainingMoment) -> float:
        """One step; its loss, or where it ends an epoch the epoch's."""
        x, y = self._samples(now)
        loss, gradients, outputs = self.objective.loss_and_grad(
            now.params, x, y, self.rng, step=now.step, state=now.state
        )
        self._refuse_diverged(loss, now.step + 1)
        self.keep()
        seen = (self.objective.last,) if adapts(self.optimiser) else ()
        updates, now.state = self.optimiser.update(gradients, now.state, now.params, *seen)
        now.params = apply_updates(now.params, updates)
        size, metric = len(outputs), self.objective.loss.metric(outputs, y)
        now.loss_sum, now.metric_sum = now.loss_sum + loss * size, now.metric_sum + (metric or 0.0) * size
        now.error_sum += (size * self.objective.loss_error) ** 2
        now.seen += size
        now.step += 1
        self._refuse_far(now.params["theta"], now.step)
        if now.step % self.per_epoch == 0 or now.step == self.total:
            loss, error = now.loss_sum / now.seen, math.sqrt(now.error_sum) / now.seen
            self._epoch(now.step, loss, None if metric is None else now.metric_sum / now.seen, now.params, error)
            now.loss_sum, now.metric_sum, now.seen, now.error_sum = 0.0, 0.0, 0, 0.0
        return loss

    def _samples(self, now: TrainingMoment) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Inputs and targets of the next step; at the start of an epoch their order is drawn."""
        if self.data is None:
            return None, None
        x, y = self.data
        if self.batch == len(x):
            return x, y
        position = now.step % self.per_epoch
        if position == 0:
            now.order = self.rng.permutation(len(x))
        chosen = now.order[position * self.batch : (position + 1) * self.batch]
        return x[chosen], None if y is None else y[chosen]

    def _keep(self, now: TrainingMoment, due: bool = False) -> None:
        leaves = {f"state/{i}": np.asarray(leaf) for i, leaf in enumerate(tree_leaves(now.state))}
        running = [now.loss_sum, now.metric_sum, now.seen, *([now.error_sum] if self.objective.measured else [])]
        self.save(now.params, {**leaves, "order": now.order}, {"step": now.step, "running": running}, now=due)

    def _go_back_to(self, now: TrainingMoment, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Make a run that begins the one of the checkpoint."""
        try:
            now.params = {key: _same(arrays[f"params/{key}"], value) for key, value in now.params.items()}
            leaves = [_same(arrays[f"state/{i}"], leaf) for i, leaf in enumerate(tree_leaves(now.state))]
            now.order, now.step = arrays["order"], meta["step"]
            loss_sum, metric_sum, now.seen, *error = meta["running"]
            now.loss_sum, now.metric_sum, now.error_sum = float(loss_sum), float(metric_sum), float(sum(error))
            everyone = np.arange(0 if self.data is None else len(self.data[0]))
            known = not now.order.size or np.array_equal(np.sort(now.order), everyone)
            finite = all(np.isfinite(value).all() for value in now.params.values())
            if now.step > self.total or not finite or type(now.seen) is not int:
                raise ValueError
            if now.order.dtype != np.int64 or not known:
                raise ValueError
        except (KeyError, ValueError, TypeError):
            assert self.folder is not None
            raise self.folder.damaged() from None
        now.state = tree_fill(now.state, leaves)

    # -- L-BFGS -------------------------------------------------------------------------------------------------------

    def _lbfgs(self, params: Params, interrupt: Interrupt) -> Trained:
        evaluations, logged = self._evaluations(params)

        def save(params: Params, step: int, now: bool) -> None:
            points, losses, slopes = zip(*evaluations, strict=True) if evaluations else ((), (), ())
            arrays = {"points": np.array(points), "losses": np.array(losses), "slopes": np.array(slopes)}
            self.save(params, arrays, {"step": max(step, logged)}, now=now)
            self.keep()

        def line(step: int, loss: float, params: Params) -> bool:
            bar(step, self.total, numbers(loss, {}))
            if step <= logged:  # a resumed run goes through its recorded steps again and must not write them twice
                return False
            self._epoch(step, loss, None, params)
            return self._told(step, True, loss, params) and step < self.total

        with self._bar(0) as bar:
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
        return self._result(params, steps, status)

    def _evaluations(self, params: Params) -> tuple[list[Evaluation], int]:
        """Those of the checkpoint, and the step it had reached."""
        found = self.restore()
        if found is None:
            return [], 0
        arrays, meta = found
        try:
            points, losses, slopes = (arrays[key] for key in ("points", "losses", "slopes"))
            size = sum(value.size for value in params.values())
            shape = (losses.size, size) if losses.size else (0,)
            if losses.ndim != 1 or not points.shape == slopes.shape == shape:
                raise ValueError
            if any(array.dtype != float for array in (points, losses, slopes)):
                raise ValueError
            return list(zip(points, losses, slopes, strict=True)), meta["step"]
        except (KeyError, ValueError):
            assert self.folder is not None
            raise self.folder.damaged() from None

    # -- both ---------------------------------------------------------------------------------------------------------

    def _bar(self, done: int) -> Progress:
        if not self.progress:
            return Progress(None, TRAINING)
        bar = Progress(plain_console(), TRAINING, "step")
        bar(done, self.total, None)
        return bar

    def _epoch(
        self, step: int, loss: float, metric: float | None, params: Params, error: float = 0.0
    ) -> dict[str, Any]:
        line: dict[str, Any] = {"step": step, "epoch": -(-step // self.per_epoch), "loss": loss}
        if self.objective.measured is not None:
            line["loss_stderr"] = error
        name = self.objective.loss.metric_name
        if metric is not None and name:
            line[f"train_{name}"] = metric
        if self.test is not None:
            line["test_loss"], test_metric = self.objective.evaluate(params, *self.test, key=f"test-{step}")
            if test_metric is not None:
                line[f"test_{name}"] = test_metric
        line |= self._spent()
        if self.objective.method is not None:
            line |= {"copies": self.objective.cost.copies, "rotations": self.objective.cost.rotations}
            if self.objective.damage is not None:
                line["damage"] = self.objective.damage
        if self.objective.direct is not None:
            line |= self.objective.direct.told(params["theta"], step)
        line["seconds"] = round(self.seconds(), 3)
        self.record(line)
        return line

    def _spent(self) -> dict[str, Any]:
        """What else a line of the history says."""
        return {}

    def _told(self, step: int, ends_epoch: bool, loss: float, params: Params) -> bool:
        """Whether a callback asks to stop."""
        if not self.callbacks:
            return False
        views = {key: value.view() for key, value in params.items()}
        for view in views.values():
            view.flags.writeable = False
        line = self.history[-1] if ends_epoch else {}
        metrics = {k: float(v) for k, v in line.items() if k not in ("step", "epoch", "loss", "seconds")}
        where = (step, self.total, -(-step // self.per_epoch), ends_epoch, loss, metrics)
        return told(self.callbacks, TrainingStep(*where, views, self.seconds(), self.history))

    def _refuse_diverged(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}", step)
        if abs(loss) > self.most:
            could = f"more than {FAR:,.0f} times what the outputs could give at the start"
            raise self._diverged(f"the loss became {loss:.3g}, {could}", step)

    def _refuse_far(self, theta: np.ndarray, step: int) -> None:
        size = float(np.abs(theta).max(initial=0.0))
        if not size <= LARGEST:
            raise self._diverged(f"a parameter became {size:.3g}, too large for an angle", step)

    def _diverged(self, what: str, step: int) -> TrainingFailed:
        kept = "" if self.folder is None else f"; the last checkpoint before that is kept in {self.folder.path}"
        return TrainingFailed(
            f"the training diverged: at step {step} {what}{kept}; lower the learning rate, or look at the inputs"
        )

    def _result(self, params: Params, steps: int, status: str) -> Trained:
        """The loss written down is the mean over an epoch's steps; the result says what the parameters now give."""
        name, metrics, o = self.objective.loss.metric_name, {}, self.objective
        loss, metric = o.evaluate(params, *(self.data or (None, None)))
        if metric is not None:
            metrics[f"train_{name}"] = metric
        if self.test is not None:
            metrics["test_loss"], test_metric = o.evaluate(params, *self.test)
            if test_metric is not None:
                metrics[f"test_{name}"] = test_metric
        if o.direct is not None:
            metrics |= o.direct.told(params["theta"])
        self._refuse_diverged(loss, steps)
        return self._trained(params, loss, metrics, steps, status)

    def _trained(
        self,
        params: Params,
        loss: float,
        metrics: dict[str, float],
        steps: int,
        status: str,
        device: dict[str, Any] | None = None,
    ) -> Trained:
        o = self.objective
        return Trained(
            params, loss, metrics, steps, status, self.seconds(), o.values, o.gradients, self.history, o.cost, device
        )


def numbers(loss: float, line: dict[str, Any]) -> str:
    """The loss, and of a line of the history the metric that matters most: the test data's, if there are any."""
    named = {name: value for name, value in line.items() if name not in _NOT_SHOWN and not name.endswith("loss")}
    best = next((name for name in named if name.startswith("test_")), next(iter(named), None))
    if best is None:
        return f"loss {loss:.8g}"
    digits = ".3g" if 0 < abs(named[best]) < 0.01 else ".4f"
    return f"loss {loss:.4g}  {best.replace('_', ' ')} {named[best]:{digits}}"


def _refuse_another(folder: RunFolder, definition: dict[str, Any]) -> None:
    """Refuse to resume what was started as another run."""
    for section in ("model", "train"):
        for key, value in json.loads(json.dumps(definition[section])).items():
            kept = folder.section(section).get(key)
            if value is not None and kept != value:
                raise QupropError(
                    f"the run in {folder.path} has {section}.{key} = {shown(kept)}, got {shown(value)}: resume with "
                    "what it was started with"
                )
    method = folder.section("train").get("method")
    if "method" not in definition["train"] and method is not None:
        raise QupropError(
            f"the run in {folder.path} has train.method = {shown(method)}, got exact gradients: resume with what it "
            "was started with"
        )
    if "backend" not in definition["train"] and "backend" in folder.section("train"):
        raise QupropError(
            f"the run in {folder.path} was started on {shown(folder.section('train')['backend'])}, got no backend: "
            "resume with what it was started with"
        )


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
