"""Training: a model, a loss and an optimiser, checkpointed so that a killed run resumes bit for bit.

Each step is one exact gradient (a forward and a backward sweep), or an estimate of it by a gradient method.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from quprop.errors import QupropError, nearest, whole
from quprop.model import Model
from quprop.runs import RunFolder
from quprop.sampling.devices.known import device_of
from quprop.sampling.devices.ledger import JobLedger
from quprop.sampling.devices.measurement import Measurement
from quprop.sampling.devices.mitigation import Mitigation
from quprop.sampling.devices.runner import Runner
from quprop.sampling.devices.spending import DeviceBudget
from quprop.simulate import Composite, engine_for
from quprop.simulate.distributed.serve import refuse_unled
from quprop.training.callbacks import Callback, checked_callbacks
from quprop.training.device_job import JobOnDevice
from quprop.training.job import Job
from quprop.training.losses import LOSSES, Loss
from quprop.training.measured import VALUE_SHOTS, MeasuredModel
from quprop.training.objective import Objective, Params, check_data, require_memory
from quprop.training.optimise import LBFGS, Controller, Optimiser, adam, adapts
from quprop.training.schedules import changes
from quprop.training.trained import Trained, TrainingFailed

__all__ = ["Trained", "TrainingFailed", "train"]


def train(
    model: Model | Composite,
    loss: str | Loss = "expectation",
    *,
    data: Any = None,
    test: Any = None,
    optimiser: Optimiser | Controller | LBFGS | Any = None,
    params: Params | np.ndarray | None = None,
    head: bool = False,
    method: Any = None,
    executor: Any = None,
    backend: Any = None,
    mitigation: Mitigation | None = None,
    budget: DeviceBudget | None = None,
    value_shots: int | None = None,
    rerun_lost: bool = False,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    rng: int | np.random.Generator = 0,
    out: str | os.PathLike[str] | RunFolder | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 2.0,
    progress: bool = False,
    callback: Callback | Sequence[Callback] | None = None,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> Trained:
    """Minimise ``loss`` of ``model`` over its parameters, with exact gradients or those of a gradient method.

    model, loss: what is trained, a model or the plan of a cut circuit (``quprop.cut``); a name of ``losses.LOSSES`` or
        a loss object, such as ``Fidelity(target)``.
    data: inputs (samples, n_inputs), or (inputs, targets); None for a model without inputs. test: the same, looked at
        after every epoch.
    optimiser: a pair (init, update) of :mod:`quprop.training.optimise`, an optax transformation, or :class:`LBFGS`; or
        a controller, which estimates the gradient by itself and allots the shots of every step (:class:`quprop.ICANS`,
        :class:`quprop.Rosalin`, :class:`quprop.Quiver`). Default: ``adam(0.01)``.
    params: where to begin: theta (n_params,), or a dictionary with ``theta`` and, with a head, ``scale`` and ``bias``
        (n_observables,). Default: theta drawn uniformly from [-pi, pi) with ``rng``.
    head: outputs are scale * <O_k> + bias, both trained: a classifier's logits are not bound to [-1, 1].
    method: a gradient method of :mod:`quprop.gradients` with its budget, such as ``ParameterShift(shots=100)``: what
        estimates the gradient by theta of every step, for every sample, with shots drawn by ``rng``. Its budget is for
        the sum of all observables with weight 1; multiplied with the loss's derivatives it makes the gradient. The
        loss, its derivatives by the outputs and the metrics stay exact (simulated, no shots), unless there is a
        ``backend``. ``Trained.cost`` and, in the history, "copies" and "rotations" say what it executed, and "damage"
        how far copies were moved that its claim takes for undisturbed. A method that carries something from step to
        step (``QuantumBackprop(warm_start=True)``) begins anew when a run is resumed. A budget that changes over the
        run is a schedule (:class:`quprop.ShotGrowth`, :class:`quprop.StepDecay`) or any function of the step, from 0
        on, that gives the step's method.
    executor: anything with `submit` as in ``concurrent.futures`` (:mod:`quprop.runs.executor`), on which ``method``
        runs its circuits, one task a sample. The result is the same for any number of workers (not that of
        executor=None).
    backend: the device on which ``method`` runs its circuits, as :func:`quprop.device` takes it: "aer", "fake_manila",
        "ibm:NAME", an object of Qiskit, Braket or PennyLane, a device. Nothing is simulated then: the outputs <O_k>
        that the loss and its derivatives need are read from ``value_shots`` (1,000) shots of each circuit that reads a
        group of observables, for every sample of the step, in the same jobs as the gradient where the method allows
        it. The loss is an estimate ("loss_stderr" in the history). One that bends, such as the squared loss, comes out
        too large by half its curvature times the outputs' variance, and derivatives by a head's scale have a bias of
        that order; the gradient by theta has one only where the loss's derivative bends, as the cross entropy's does.
        ``test`` is read after every epoch, and all of ``data`` once at the end, by as many shots; leave test out not
        to pay for it. What was handed in and what came back is kept in the run folder (``jobs.jsonl``, ``counts/``),
        so that a run that was killed or lost its connection is resumed without paying for anything twice; Ctrl-C while
        it waits for a job ends the run at once, and the job is collected with ``resume``. ``Trained.device`` says what
        was spent, "shots" and "jobs" in the history likewise.
    mitigation: of the device's noise (:class:`quprop.Mitigation`), of outputs and gradient alike; a calibration is
        measured once a run, and its own errors are not in "loss_stderr".
    budget: what the run may spend there (:class:`quprop.DeviceBudget`), its resumed parts included. A step that does
        not fit is not begun, and the run ends with status "stopped"; ``resume`` with a larger budget goes on.
    rerun_lost: pay once more for jobs that failed, or that the device no longer knows; without it they are refused.
    epochs or steps: passes over the data or optimiser steps (for L-BFGS iterations, at most); one of them.
    batch_size: samples a step; None takes them all. Batches are drawn without replacement, in a new order every epoch.
    out, resume: the run folder (:mod:`quprop.runs`), refused if it exists, or continued if ``resume``.
    callback: a function that is called with a :class:`quprop.training.callbacks.TrainingStep` after every step (an
        iteration of L-BFGS), or a list of them: :class:`quprop.EarlyStopping`, the loggers of
        ``quprop.training.loggers``. One that returns True ends the training with status "stopped" (anything else it
        returns means nothing); what it raises ends it too. With ``resume`` it goes on from there. What has a ``close``
        is closed at the end.
    A run whose loss is no finite number, or 1000 times the largest that the outputs could give at the start, or whose
    parameters leave 2^33, has diverged: it ends with :class:`TrainingFailed`, and the run folder keeps a checkpoint
    whose loss was in order.
    Ctrl-C or SIGTERM finishes the step, writes the checkpoint and returns with status "interrupted"; a second one stops
    at once. A file that cannot be written, on a full disk say, raises :class:`quprop.files.FileError`; the run goes on
    from its last checkpoint with ``resume``.

    checkpoint_seconds: the least time between two checkpoints. progress: whether to show a bar. engine, precision,
    threads: as in ``quprop.expectation``; for one state over many ranks see :func:`quprop.lead`.
    Returns: Trained: params, loss, metrics, history, status, cost.
    Raises: QupropError for settings and data that do not fit; `TrainingFailed` where the loss is no longer a number.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> result = qpr.train(model, optimiser=qpr.adam(0.1), params=[1.0], steps=200)
    >>> round(result.loss, 3), result.params["theta"].round(2), result.status
    (-1.0, array([3.14]), 'finished')
    >>> shift = qpr.ParameterShift(shots=200)  # two circuits, and one that reads the loss
    >>> result = qpr.train(model, method=shift, backend="quprop", params=[1.0], steps=3)
    >>> result.device["jobs"], result.device["shots"]  # a job a step, and one that reads the loss at the end
    (4, 5200)
    """
    loss = _loss(loss)
    measured = _measured(backend, model, method, optimiser, executor, mitigation, budget, rng, rerun_lost, value_shots)
    data, test = check_data(model, loss, data, "data"), check_data(model, loss, test, "test")
    simulation = {"engine": engine, "precision": precision, "threads": threads}
    if out is not None or progress:
        refuse_unled(engine_for(model, **simulation))
    optimiser = adam(0.01) if optimiser is None else optimiser
    if adapts(optimiser):
        if method is not None:
            raise QupropError(
                f"{type(optimiser).__name__} estimates the gradient by itself: leave out method=, got {method!r}"
            )
        method = optimiser
    elif adapts(method):
        raise QupropError(f"{type(method).__name__} moves the parameters too: pass it as optimiser=, without method=")
    objective = Objective(model, loss, head=head, method=method, executor=executor, measured=measured, **simulation)
    samples = 1 if data is None else len(data[0])
    if batch_size is not None and batch_size < 1:
        raise QupropError(f"`batch_size` must be at least 1, got {batch_size}")
    batch = samples if batch_size is None else min(batch_size, samples)
    total = _length(epochs, steps, -(-samples // batch))
    _check_optimiser(optimiser, batch, samples, method, objective)
    if changes(method) and total > 1:
        objective.compile(total - 1)  # what the last step refuses is known before the first
        objective.compile(0)
    generator = np.random.default_rng(rng)
    start = objective.initial(params, generator)
    if measured is not None:
        measured.check(objective.plan, start["theta"], None if data is None else data[0])
    elif objective.direct is None:
        require_memory(model, batch, **simulation)
    kind = Job if measured is None else JobOnDevice
    job = kind(objective, optimiser, data, test, batch, total, generator, checkpoint_seconds, progress)
    job.callbacks = checked_callbacks(callback)
    job.open(out, resume, start, rng if isinstance(rng, int | np.integer) else None)
    return job.run(start)


def _measured(
    backend: Any,
    model: Any,
    method: Any,
    optimiser: Any,
    executor: Any,
    mitigation: Mitigation | None,
    budget: DeviceBudget | None,
    rng: Any,
    rerun_lost: bool,
    value_shots: int | None,
) -> MeasuredModel | None:
    """The model as a backend runs it, None without one."""
    if backend is None:
        if rerun_lost or any(given is not None for given in (mitigation, budget, value_shots)):
            raise QupropError(
                "mitigation=, budget=, value_shots= and rerun_lost= are for a backend: pass backend=, or leave them out"
            )
        return None
    if method is None and not adapts(optimiser):
        raise QupropError("a backend runs a gradient method's circuits: pass method=, or leave out backend=")
    if executor is not None:
        raise QupropError(
            "executor= shares out simulated circuits and backend= runs them on a device: pass one of them"
        )
    if not isinstance(model, Model):
        raise QupropError(
            f"a backend runs the circuits of a Model, got {type(model).__name__}; leave out backend=, or pass the "
            "uncut model"
        )
    state = hashlib.sha256(repr(np.random.default_rng(rng).bit_generator.state).encode()).digest()
    ledger = JobLedger(seed=int.from_bytes(state[:6], "little"))
    runner = Runner(device_of(backend), ledger=ledger, budget=budget, rerun_lost=rerun_lost)
    shots = VALUE_SHOTS if value_shots is None else whole("value_shots", value_shots, 1)
    return MeasuredModel(model, Measurement(runner, mitigation), shots)


def _length(epochs: int | None, steps: int | None, per_epoch: int) -> int:
    """Steps in all."""
    if epochs is not None and steps is None:
        total, given, name = epochs * per_epoch, epochs, "epochs"
    elif steps is not None and epochs is None:
        total, given, name = steps, steps, "steps"
    else:
        raise QupropError("give the length of the training as one of `epochs` and `steps`")
    if total < 0:
        raise QupropError(f"`{name}` must not be negative, got {given}")
    return total


def _check_optimiser(optimiser: Any, batch: int, samples: int, method: Any, objective: Objective) -> None:
    if not isinstance(optimiser, LBFGS):
        if not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
            raise QupropError(
                "`optimiser` must be a pair (init, update) such as adam(0.01), an optax transformation or LBFGS(), got "
                f"{type(optimiser).__name__}"
            )
        return
    if batch < samples:
        raise QupropError(
            f"L-BFGS takes the full batch of {samples} samples, got batch_size={batch}: leave it out, or choose adam"
        )
    if objective.direct is not None and not objective.direct.deterministic:
        raise QupropError(
            f"L-BFGS compares neighbouring losses and needs exact ones, got {objective.loss!r}, which is sampled: pass "
            "exact=True, or choose adam"
        )
    if method is not None:
        raise QupropError(
            f"L-BFGS compares neighbouring gradients and needs exact ones, got method={method!r}: leave it out, or "
            "choose adam"
        )


def _loss(loss: str | Loss) -> Loss:
    if isinstance(loss, Loss):
        return loss
    if loss not in LOSSES:
        raise QupropError(f"unknown loss {loss!r}: {nearest(str(loss), LOSSES)}")
    if loss == "fidelity":
        raise QupropError("the fidelity loss needs its target state: pass loss=Fidelity(target)")
    return LOSSES[loss]()
