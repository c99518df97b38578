"""What gradients cost on a device that exists: circuits are made, compiled for it and counted before any is run.

a gradient  = the circuits of `plan.circuits` for one sample, at the method's budget
a step      = the gradients of its samples and the values that the loss needs, in one round of jobs
a training  = its steps, and the values once more at its end
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, nearest, whole
from quprop.gradients import COSTED
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.sampling.devices.device import Device, Work
from quprop.sampling.devices.forecast import CompiledGates, forecast, gates, reading, repeated
from quprop.sampling.devices.known import device_of
from quprop.sampling.devices.spending import Spending
from quprop.sampling.shape import Wanted
from quprop.tables import flat_rows
from quprop.training.measured import VALUE_SHOTS

MOST_CIRCUITS = 20_000  # with angles or bases of their own, in one gradient


@dataclass(frozen=True)
class DeviceRow:
    """One method. cost: as `plan.cost` has it; gates: of the compiled circuits of a gradient; gradient: of one sample;
    step, training: of all, values included."""

    name: str
    cost: Cost
    gates: CompiledGates
    gradient: Spending
    step: Spending
    training: Spending

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            **self.gates._asdict(),
            **self.gradient.as_dict(),
            "step": self.step.as_dict(),
            "training": self.training.as_dict(),
            "cost": self.cost.as_dict(),
        }


@dataclass(frozen=True)
class DevicePlan:
    """rows: a method each, fewest shots first; values: what reading the outputs of one sample takes, `value_shots` a
    circuit; refused: by method, one sentence why it cannot run there.

    budget: of a gradient, {"precision": ...}, {"max_error": ...} or {"shots": ...} of each circuit.
    """

    device: str
    definition: dict[str, Any]
    limits: dict[str, int | None]
    parameters: int
    budget: dict[str, float]
    failure: float
    steps: int
    samples: int
    value_shots: int
    values: Spending
    rows: tuple[DeviceRow, ...]
    refused: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it."""
        names = ("device", "definition", "limits", "parameters", "failure", "steps", "samples", "value_shots")
        return {
            "kind": "device_plan",
            **{k: getattr(self, k) for k in names},
            **self.budget,
            "values": self.values.as_dict(),
            "methods": {row.name: row.as_dict() for row in self.rows},
            "refused": self.refused,
        }

    def table(self) -> list[dict[str, Any]]:
        """Rows for `pandas.DataFrame`, a method each, of numbers and texts only."""
        return flat_rows(row.as_dict() for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{self.device}: {self.steps:,} steps of {self.samples:,} samples"]
        lines += [f"{r.name}: {r.gradient} a gradient, {r.training} in all" for r in self.rows]
        return "\n".join([*lines, *(f"{name} cannot run there: {why}" for name, why in self.refused.items())])


def plan_on_device(
    model: Model,
    backend: Any,
    *,
    precision: float | None = None,
    max_error: float | None = None,
    shots: int | None = None,
    failure: float = 0.01,
    methods: Iterable[str] | None = None,
    steps: int = 1,
    samples: int = 1,
    value_shots: int = VALUE_SHOTS,
    theta: Any = None,
    x: Any = None,
    weights: Any = None,
    rng: int = 0,
) -> DevicePlan:
    """What gradients of F = weights . <O> cost on a device, by all methods that have circuits or those named.

    backend: as `quprop.device` takes it. precision, max_error or shots (of each circuit), one of them, of every
    gradient; steps, samples: gradients of the training, and of each step; value_shots: of each circuit that reads the
    outputs, for each sample. theta (P,), x (D,): where; drawn from `rng` (a seed; theta uniform in [-pi, pi), x in
    [-1, 1)) if left out. weights (K,): all 1 if left out.

    Nothing is run on the device. Raises `QupropError` for an unknown device or method, for settings that are out of
    range, and for a model that it cannot hold; a method that cannot run there is in `refused`.
    """
    given = {k: v for k, v in (("precision", precision), ("max_error", max_error), ("shots", shots)) if v is not None}
    if len(given) != 1:
        raise QupropError(f"a plan takes one of precision=, max_error= and shots=, got {len(given) or 'none'} of them")
    ((kind, value),) = given.items()
    wanted = None if kind == "shots" else Wanted(kind, value, failure)
    each = whole("shots", value, 1) if wanted is None else 0
    for name, count in (("steps", steps), ("samples", samples), ("value_shots", value_shots)):
        whole(name, count, 1)
    names = list(COSTED) if methods is None else list(dict.fromkeys(methods))
    for name in names:
        if name not in COSTED:
            raise QupropError(f"unknown method {name!r}: {nearest(str(name), COSTED)}")
    device = device_of(backend)
    generator = np.random.default_rng(rng)
    at = _point(model, theta, x, generator)
    w = np.ones(model.n_observables) if weights is None else np.asarray(weights, float)
    refuse_channels(model, "a plan on a device", "model.noiseless(), since a device has its own")
    outputs = reading(model, *at, value_shots)
    gates(device, outputs)  # refuses a model that no method's circuits could be of
    rows, refused = [], {}
    for name in names:
        try:
            rows.append(_row(name, model, device, wanted, each, at, w, outputs, steps, samples, rng))
        except QupropError as error:
            refused[name] = str(error)
    rows.sort(key=lambda row: row.gradient.shots)
    return DevicePlan(
        device=device.name,
        definition=device.definition(),
        limits=device.limits._asdict(),
        parameters=model.n_params,
        budget=given,
        failure=failure,
        steps=steps,
        samples=samples,
        value_shots=value_shots,
        values=forecast(device, outputs),
        rows=tuple(rows),
        refused=refused,
    )


def _point(model: Model, theta: Any, x: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    drawn = rng.uniform(-np.pi, np.pi, model.n_params), rng.uniform(-1, 1, model.n_inputs)
    found = [d if v is None else np.asarray(v, float) for v, d in zip((theta, x), drawn, strict=True)]
    for name, value, drawn_one in zip(("theta", "x"), found, drawn, strict=True):
        if value.shape != drawn_one.shape:
            raise QupropError(f"{name} must have shape {drawn_one.shape}, got {value.shape}")
    return found[0], found[1]


def _row(
    name: str,
    model: Model,
    device: Device,
    wanted: Wanted | None,
    shots: int,
    at: tuple[np.ndarray, np.ndarray],
    weights: np.ndarray,
    outputs: list[Work],
    steps: int,
    samples: int,
    rng: int,
) -> DeviceRow:
    kind = COSTED[name]
    if kind.costed_only:
        raise QupropError("a formula, which nothing runs")
    if kind.copies == 0:
        raise QupropError("a simulation, which no device runs")
    if kind.copies == "many":
        raise QupropError("many copies are held at once, and what is done to them depends on what was read before")
    method = kind(shots=shots) if wanted is None else kind.wanting(wanted, model.n_params)
    plan = method.compile(model, weights, at=at)
    own = _circuits_of_their_own(name, plan)
    if own > MOST_CIRCUITS:
        raise QupropError(
            f"one gradient runs {own:,} circuits with angles or bases of their own, and more than {MOST_CIRCUITS:,} "
            "are not compiled to be counted; loosen the error, or give shots"
        )
    circuits = plan.circuits(*at, weights=weights, rng=rng)
    if circuits.cost.measurements != plan.cost.measurements:
        raise QupropError("circuits come in rounds, of which later ones depend on the counts of earlier ones")
    found = gates(device, circuits.work)
    gradient = forecast(device, circuits.work)
    step = forecast(device, [*outputs, *circuits.work], samples)
    training = repeated(step, steps) + forecast(device, outputs, samples)
    return DeviceRow(name, plan.cost, found, gradient, step, training)


def _circuits_of_their_own(name: str, plan: Any) -> int:
    """Of methods that draw directions or bases shot by shot, about as many as there are."""
    if directions := getattr(plan, "directions", 0):
        return int(directions * plan.evaluations)
    return int(plan.cost.measurements) if name.endswith("_shadows") else 0


__all__ = ["MOST_CIRCUITS", "DevicePlan", "DeviceRow", "plan_on_device"]
