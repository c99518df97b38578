"""Runner: the circuits of whole rounds on a device, in the fewest jobs, all handed in before any is waited for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from quprop.errors import QupropError, shown
from quprop.sampling.devices.check import check_work, digest
from quprop.sampling.devices.device import Counts, Device, DeviceJob, Limits, Outcomes, Work
from quprop.sampling.devices.ledger import JobLedger, JobRecord, RoundRecord
from quprop.sampling.devices.packing import DIGITS, Merged, Piece, added, checked_counts, merge, pack
from quprop.sampling.devices.spending import DeviceBudget, Spending, planned


class Runner:
    """Runs rounds of work on a device.

    ledger: of a run folder; what it knows of a round is collected and not submitted again. budget: held against a round
    before it is submitted. Where a device draws at random by itself, a job's seed is made of the ledger's, the round's
    key and the job's number, so that a run which is resumed draws what it would have drawn. progress: called
    with how many jobs of a round are there, and how many there are.
    rerun_lost: whether jobs that failed, or that the device no longer knows, are paid a second time.
    waiting: a context in which this process does nothing but wait, and may be interrupted.
    """

    def __init__(
        self,
        device: Device,
        *,
        ledger: JobLedger | None = None,
        budget: DeviceBudget | None = None,
        progress: Callable[[int, int], None] | None = None,
        rerun_lost: bool = False,
    ) -> None:
        if budget is not None and not isinstance(budget, DeviceBudget):
            raise QupropError(f"budget is a DeviceBudget(shots=, seconds=, dollars=), got {shown(budget)}; pass one")
        self.device, self.budget, self.progress = device, budget, progress
        self.ledger = JobLedger() if ledger is None else ledger
        self.rerun_lost = rerun_lost
        self.waiting: Callable[[], AbstractContextManager[object]] = nullcontext
        self.planned = self.executed = Spending()  # of the rounds whose counts were returned
        self._prepared: set[str] = set()

    def prepare(self, work: Sequence[Work]) -> None:
        """Compile the circuits, each once; refuses what the device does not take."""
        new = {w.circuit.key: w.circuit for w in work if w.circuit.key not in self._prepared}
        if new:
            self.device.prepare(list(new.values()))
            self._prepared |= new.keys()

    def run(self, work: Sequence[Work], key: str) -> Counts:
        """The counts of every setting, in the order asked. key: names the round, and no other round of this run.

        Raises: QupropError for circuits that the device does not take, jobs that failed or are lost, counts that are of
        something else; `BudgetSpent`.
        """
        check_work(self.device.name, Limits(qubits=self.device.limits.qubits), work)
        merged = merge(work)
        if not len(merged.shots):
            return [[] for _ in work]
        found = self.ledger.rounds.get(key)
        kept: list[list[Outcomes] | None]
        if found is None:
            self.prepare(merged.work)
            jobs, found = self._begin(merged, key)
            kept = [None for _ in jobs]
            self._collect(jobs, found, kept, key, merged, dict.fromkeys(range(len(jobs))))
        else:
            jobs = self._again(merged, found, key)
            kept = [self.ledger.counts(job) for job in found.jobs]
            left = [k for k, counts in enumerate(kept) if counts is None]
            running = {k: self._known(found.jobs[k], merged.job(jobs[k])) for k in left}
            self._collect(jobs, found, kept, key, merged, running)
        parts: list[list[Outcomes]] = [[] for _ in merged.shots]
        for pieces, counts in zip(jobs, kept, strict=True):
            assert counts is not None
            for (i, _), outcomes in zip(pieces, counts, strict=True):
                parts[i].append(outcomes)
        every = [added(p) if len(p) > 1 else p[0] for p in parts]
        self._count(jobs, found, every, merged)
        return [[every[i] for i in place] for place in merged.places]

    @property
    def spent(self) -> Spending:
        """Of the whole run, in this process and those before."""
        return self.ledger.spent

    # -- a round ------------------------------------------------------------------------------------------------------

    def _begin(self, merged: Merged, key: str) -> tuple[list[list[Piece]], RoundRecord]:
        limits = self.device.limits
        jobs = pack(merged.shots, limits)
        works = [merged.job(pieces) for pieces in jobs]
        plans = [planned(self.device, work) for work in works]
        if self.budget is not None:
            self.budget.check(self.spent, sum(plans, Spending()), self.device.name)
        listed = [(digest(work, DIGITS), plan) for work, plan in zip(works, plans, strict=True)]
        return jobs, self.ledger.begin(key, digest(merged.work, DIGITS), limits, listed)

    def _again(self, merged: Merged, found: RoundRecord, key: str) -> list[list[Piece]]:
        """The jobs of a round that was begun before."""
        jobs = pack(merged.shots, found.limits)
        if digest(merged.work, DIGITS) != found.work or [digest(merged.job(p), DIGITS) for p in jobs] != [
            j.work for j in found.jobs
        ]:
            raise QupropError(
                f"the counts of {key} that are kept are those of other circuits, settings or shots: resume with the "
                "model, the method and the data that the run was started with, or start a new run in another folder"
            )
        return jobs

    def _collect(
        self,
        jobs: list[list[Piece]],
        found: RoundRecord,
        kept: list[list[Outcomes] | None],
        key: str,
        merged: Merged,
        running: dict[int, DeviceJob | None],
    ) -> None:
        """Fills in `kept`; running: the jobs that are left, None where one is to be submitted."""
        works = {k: merged.job(jobs[k]) for k in running}
        new = [k for k, handle in running.items() if handle is None]
        if new:
            self.prepare(merged.work)
            if self.budget is not None:  # a smaller one may have come since the round was begun
                self.budget.check(self.spent, Spending(), self.device.name)
        for k in new:
            running[k] = self._submit(found.jobs[k], works[k], key, k)
        failed: QupropError | None = None
        for k, handle in running.items():
            assert handle is not None
            if self.progress is not None:
                self.progress(sum(c is not None for c in kept), len(jobs))
            try:
                kept[k] = self._result(handle, found.jobs[k], works[k])
            except QupropError as error:
                if k in new or not self.rerun_lost:
                    which = found.jobs[k].id or found.jobs[k].tag
                    more = f"{error}; rerun_lost=True pays for the circuits of job {which} once more"
                    failed = failed or QupropError(more)  # the others were paid too
                    continue
                self.ledger.replace(found.jobs[k])
                kept[k] = self._result(self._submit(found.jobs[k], works[k], key, k), found.jobs[k], works[k])
        if failed is not None:
            raise failed

    def _known(self, job: JobRecord, work: Sequence[Work]) -> DeviceJob | None:
        """The job as another process submitted it; None where it is to be submitted."""
        if job.id == "":
            return None  # nobody but that process had it
        handle = self.device.find(job.tag, work)
        if handle is not None:
            if job.id is None:
                self.ledger.submitted(job, handle.id)
            return handle
        if job.id is None:
            return None
        if not self.rerun_lost:
            raise QupropError(
                f"{self.device.name} no longer knows job {job.id}, which was submitted and may be paid: pass "
                "rerun_lost=True to run its circuits once more"
            )
        self.ledger.replace(job)
        return None

    def _submit(self, job: JobRecord, work: Sequence[Work], key: str, number: int) -> DeviceJob:
        text = f"{self.ledger.seed}/{key}/{number}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") >> 1
        handle = self.device.submit(work, seed=seed, tag=job.tag)
        self.ledger.submitted(job, handle.id)
        return handle

    def _result(self, handle: DeviceJob, job: JobRecord, work: Sequence[Work]) -> list[Outcomes]:
        with self.waiting():
            counts = handle.result()
        found = list(checked_counts(counts, work, self.device.name))
        self.ledger.keep(job, found, [len(w.circuit.measured) for w in work for _ in w.shots])
        return found

    def _count(self, jobs: list[list[Piece]], found: RoundRecord, every: Sequence[Outcomes], merged: Merged) -> None:
        """Adds what was planned of a round, and what its counts show."""
        plan = sum((job.plan for job in found.jobs), Spending())
        rotations = np.array([w.circuit.rotations for w in merged.work])[merged.circuit]
        shots = np.array([n.sum() for _, n in every])
        self.planned += plan
        self.executed += Spending(
            len(jobs),
            sum(len(pieces) for pieces in jobs),
            int(shots.sum()),
            int(shots @ rotations),
            plan.seconds,
            plan.dollars,
        )
