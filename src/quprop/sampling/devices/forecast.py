"""What work will take on a device, told before any of it is handed in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from quprop.model import Model
from quprop.sampling.devices.check import check_work
from quprop.sampling.devices.device import Device, Limits, Work
from quprop.sampling.devices.packing import merge, pack
from quprop.sampling.devices.spending import Spending, planned
from quprop.sampling.readings import ObservableReadings
from quprop.sampling.requests import Realiser

MOST_PACKED = 200_000  # settings that are put into jobs one by one; of more, jobs are counted from the limits


class CompiledGates(NamedTuple):
    """What circuits have become on the device: how many different ones, the layers of the deepest, two-qubit gates of
    the largest, and of all shots together."""

    compiled: int
    depth: int
    two_qubit_gates: int
    executed_two_qubit_gates: int


def reading(model: Model, theta: np.ndarray, x: np.ndarray, shots: int) -> list[Work]:
    """The circuits that read all observables of one sample at theta (P,), x (D,)."""
    requests = ObservableReadings(model).requests(theta[None], x[None], shots, keep=True)
    circuits, rng = Realiser(model), np.random.default_rng(0)  # nothing is drawn
    return [w for request in requests for w in request.place(circuits, rng).work]


def gates(device: Device, work: Sequence[Work]) -> CompiledGates:
    """Compiles the circuits, each once. Raises QupropError for what the device cannot run."""
    check_work(device.name, Limits(qubits=device.limits.qubits), work)
    items = merge(work).work
    found = device.prepare([w.circuit for w in items])
    return CompiledGates(
        len(items),
        max((p.depth for p in found), default=0),
        max((p.two_qubit_gates for p in found), default=0),
        sum(p.two_qubit_gates * int(w.shots.sum()) for p, w in zip(found, items, strict=True)),
    )


def forecast(device: Device, work: Sequence[Work], samples: int = 1) -> Spending:
    """Of one round of the work of so many samples, all like this one, in the jobs that a `Runner` would make of it."""
    settings = samples * sum(len(w.shots) for w in work)
    if not settings:
        return Spending()
    if settings <= MOST_PACKED:
        merged = merge([Work(w.circuit, np.tile(w.values, (samples, 1)), np.tile(w.shots, samples)) for w in work])
        jobs = pack(merged.shots, device.limits)
        return sum((planned(device, merged.job(pieces)) for pieces in jobs), Spending())
    one = planned(device, work)
    most = device.limits
    fewest = [math.ceil(n / m) for n, m in ((settings, most.circuits), (samples * one.shots, most.executions)) if m]
    return replace(repeated(one, samples), jobs=max([1, *fewest]))


def repeated(spent: Spending, times: int) -> Spending:
    """So many times over."""
    seconds, dollars = (None if value is None else times * value for value in (spent.seconds, spent.dollars))
    jobs, circuits, shots, rotations = (times * n for n in (spent.jobs, spent.circuits, spent.shots, spent.rotations))
    return Spending(jobs, circuits, shots, rotations, seconds, dollars)


__all__ = ["MOST_PACKED", "CompiledGates", "forecast", "gates", "reading", "repeated"]
