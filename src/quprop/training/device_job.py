"""A run of training whose shots are paid: what a device changes in its loop and in its folder."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from quprop.cost import human_seconds, short
from quprop.runs import RunFolder, plain
from quprop.runs.interrupt import Interrupt, WaitInterrupted
from quprop.runs.progress import Progress
from quprop.sampling.devices.ledger import JobLedger
from quprop.sampling.devices.runner import Runner
from quprop.sampling.devices.spending import BudgetSpent, Spending
from quprop.training.job import Job, numbers
from quprop.training.measured import MeasuredModel
from quprop.training.objective import Params
from quprop.training.trained import Trained, TrainingMoment


class JobOnDevice(Job):
    """A step that the budget does not hold, or during which a job was being waited for when Ctrl-C came, was not begun:
    the checkpoint is that of before it, and what it has paid is in the ledger, from which a resumed run collects it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._why = ""  # the budget ended the run
        self._calibrated = False  # and counted
        self._step_now = 0

    @property
    def measured(self) -> MeasuredModel:
        assert self.objective.measured is not None
        return self.objective.measured

    @property
    def runner(self) -> Runner:
        return self.measured.runner

    def _listens(self, interrupt: Interrupt) -> None:
        self.runner.waiting = interrupt.waiting

    def _closes(self) -> None:
        self.runner.ledger.close()
        super()._closes()

    def _defined(self) -> dict[str, Any]:
        mitigation = self.measured.measurement.mitigation
        said = {} if mitigation is None else {"mitigation": repr(mitigation)}
        return {
            "backend": plain(self.runner.device.definition()),
            "value_shots": self.measured.value_shots,
            **said,
        }

    def _opened(self, folder: RunFolder) -> None:
        self.runner.ledger = JobLedger(folder.path, self.runner.ledger.seed)

    def _counts(self) -> dict[str, Any]:
        spent = {"planned": self.runner.planned.as_dict(), "executed": self.runner.executed.as_dict()}
        return {"device": {**spent, "calibrated": self._calibrated}}

    def _counted(self, meta: dict[str, Any]) -> None:
        found = meta["device"]
        self.runner.planned, self.runner.executed = Spending(**found["planned"]), Spending(**found["executed"])
        self._calibrated = found["calibrated"]

    def _spent(self) -> dict[str, Any]:
        return {"shots": self.runner.executed.shots, "jobs": self.runner.executed.jobs}

    def _bar(self, done: int) -> Progress:
        bar = super()._bar(done)
        self.runner.progress = lambda there, jobs: bar(
            self._step_now, self.total, f"waits for job {there + 1} of {jobs}"
        )
        return bar

    def _words(self, loss: float) -> str:
        spent, budget = self.runner.executed, self.runner.budget
        of = "" if budget is None or budget.shots is None else f" of {short(budget.shots)}"
        parts = [numbers(loss, {}), f"{short(spent.shots)}{of} shots"]
        parts += [human_seconds(spent.seconds)] if spent.seconds else []
        parts += [f"${spent.dollars:,.2f}"] if spent.dollars else []
        return "  ".join(parts)

    def _try(self, now: TrainingMoment) -> tuple[TrainingMoment, float | None, str]:
        self._step_now = now.step
        before, rng, counted = replace(now), self.rng.bit_generator.state, self._mark()
        try:
            self._calibrate()
            return now, self._step(now), "finished"
        except BudgetSpent as end:
            self._why = str(end)
        except WaitInterrupted:
            pass
        self.rng.bit_generator.state = rng
        self._back(counted)
        return before, None, "stopped" if self._why else "interrupted"

    def _calibrate(self) -> None:
        """Once a run; a process that goes on with it collects the counts, and they are not counted again."""
        counted, already = self._mark(), self._calibrated
        inversion = self.measured.measurement.inversion()
        if already:
            self._back(counted)
        elif inversion is not None:
            self.objective.cost += inversion.cost
        self._calibrated = True

    def _mark(self) -> tuple[Any, ...]:
        o, runner = self.objective, self.runner
        return o.values, o.gradients, o.cost, o.damage, runner.planned, runner.executed, self._calibrated

    def _back(self, mark: tuple[Any, ...]) -> None:
        o, runner = self.objective, self.runner
        o.values, o.gradients, o.cost, o.damage, runner.planned, runner.executed, self._calibrated = mark

    def _result(self, params: Params, steps: int, status: str) -> Trained:
        """The loss at the end takes shots of its own: a run that was cut has that of the last line of its history."""
        line: dict[str, Any] = self.history[-1] if self.history else {}
        loss, error = line.get("loss", math.nan), line.get("loss_stderr", math.nan)
        same = line.get("step") == steps
        metrics = {key: value for key, value in line.items() if same and key.startswith("test_")}
        if status != "interrupted" and not self._why:
            counted = self._mark()
            try:
                self._calibrate()
                loss, metric = self.objective.evaluate(params, *(self.data or (None, None)), key=f"end-{steps}")
                error = self.objective.loss_error
                self._refuse_diverged(loss, steps)
                if metric is not None:
                    metrics[f"train_{self.objective.loss.metric_name}"] = metric
            except BudgetSpent as end:
                self._back(counted)
                self._why = str(end)
            except WaitInterrupted:
                self._back(counted)
                status = "interrupted"
        runner = self.runner
        told = {"planned": runner.planned.as_dict(), "paid": runner.spent.as_dict(), "loss_stderr": error}
        device = {"name": runner.device.name, **runner.executed.as_dict(), **told}
        return self._trained(
            params, loss, metrics, steps, status, device | ({"stopped": self._why} if self._why else {})
        )
