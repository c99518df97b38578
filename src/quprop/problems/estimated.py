"""What [train] says of gradients that a method estimates, from simulated shots or on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.gradients import METHODS
from quprop.problems.config import Config, Setting
from quprop.sampling.devices.device import Device
from quprop.sampling.devices.folding import ZeroNoise
from quprop.sampling.devices.forecast import CompiledGates, forecast, gates, reading, repeated
from quprop.sampling.devices.known import device_of
from quprop.sampling.devices.mitigation import Mitigation
from quprop.sampling.devices.spending import BudgetSpent, DeviceBudget, Spending
from quprop.training.measured import VALUE_SHOTS
from quprop.training.objective import Objective
from quprop.training.optimise import OF_STATES
from quprop.training.trained import Trained

EXACT = "exact"
SIMULATED_QUBITS = 20  # of a model trained on a device: up to here its exact loss is computed beside
BUDGET = ("budget_shots", "budget_seconds", "budget_dollars")  # may change when a run is resumed
MITIGATIONS: dict[str, Mitigation | None] = {
    "none": None,
    "readout": Mitigation(readout="calibrate"),
    "zero_noise": Mitigation(zero_noise=ZeroNoise((1, 3))),
    "both": Mitigation(readout="calibrate", zero_noise=ZeroNoise((1, 3))),
}
NAMES = (EXACT, *(name for name, kind in METHODS.items() if not kind.exact))
SETTINGS = {
    "method": Setting(
        EXACT,
        "estimates gradients from shots; exact: none is drawn",
        choices=NAMES,
    ),
    "shots": Setting(0, "of each circuit of the method", least=0),
    "gradient_error": Setting(0.0, "standard error of every component, instead of shots", least=0.0),
    "backend": Setting("", "device that runs the circuits, such as quprop, aer, fake_manila; empty: none"),
    "mitigation": Setting("none", "of a backend's noise", choices=tuple(MITIGATIONS)),
    "value_shots": Setting(VALUE_SHOTS, "on a backend, of each circuit that reads outputs", least=1),
    "budget_shots": Setting(0, "the most shots of a run on a backend; 0: no limit", least=0, most=None),
    "budget_seconds": Setting(0.0, "the most seconds of the machine; 0: no limit", least=0.0),
    "budget_dollars": Setting(0.0, "the most dollars; 0: no limit", least=0.0),
}


def with_shots(given: Config) -> Config:
    """Settings whose optimiser is adam, if nobody names one and gradients have shot noise, which L-BFGS cannot have."""
    train = given.get("train", {})
    if isinstance(train, dict) and train.get("method", EXACT) != EXACT and "optimiser" not in train:
        return {**given, "train": {**train, "optimiser": "adam"}}
    return given


@dataclass(frozen=True)
class EstimatedTraining:
    """A method, and the device that runs its circuits; None: shots are simulated."""

    method: Any
    device: Device | None
    budget: DeviceBudget | None
    value_shots: int
    mitigation: Mitigation | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Of `train`."""
        names = ("budget", "value_shots", "mitigation")
        on_device = {"backend": self.device, **{name: getattr(self, name) for name in names}}
        return {"method": self.method} | (on_device if self.device is not None else {})

    def check(self, problem: Any, theta: np.ndarray, batch: int) -> CompiledGates | None:
        """What a step's circuits become on the device; refuses what it cannot run, and a budget that holds no step."""
        plan = self.method.compile(problem.model, np.ones(problem.model.n_observables))
        if self.device is None:
            return None
        x = np.zeros((1, 0)) if problem.data is None else problem.data[0][:1]
        weights = np.ones(problem.model.n_observables)
        work = [
            *reading(problem.model, theta, x[0], self.value_shots),
            *plan.circuits(theta, x[0], weights=weights).work,
        ]
        found = gates(self.device, work)
        if self.budget is not None:
            scales = 1 if self.mitigation is None else len(self.mitigation.scales)
            step = repeated(forecast(self.device, work, batch), scales)
            try:
                self.budget.check(Spending(), step, self.device.name)
            except BudgetSpent:
                raise QupropError(f"one step takes {step}, more than the budget holds: give a larger one") from None
        return found

    def told(
        self, problem: Any, trained: Trained, compiled: CompiledGates | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """What it cost, and the exact loss of what a device found, where it can be simulated."""
        found: dict[str, Any] = {
            "value_evaluations": trained.values,
            "gradient_evaluations": trained.gradients,
            "cost": trained.cost.as_dict(),
        }
        if trained.device is not None:
            assert compiled is not None
            largest = {"depth": compiled.depth, "two_qubit_gates": compiled.two_qubit_gates}
            found["device"] = {**trained.device, **largest}
            if problem.model.n_qubits <= SIMULATED_QUBITS:
                exact = Objective(problem.model, problem.loss, head=problem.head, **options)
                data = problem.data or (None, None)
                found["exact_loss"] = exact.evaluate(trained.params, *data)[0]
        return found


def estimated(settings: dict[str, Any], problem: Any) -> EstimatedTraining | None:
    """None where gradients are exact."""
    name, backend = settings.get("method", EXACT), settings.get("backend", "")
    error, shots = settings.get("gradient_error", 0.0), settings.get("shots", 0)
    limits = {key.removeprefix("budget_"): settings[key] for key in BUDGET if settings.get(key)}
    if name == EXACT:
        for key in ("backend", "shots", "gradient_error", "mitigation", *BUDGET):
            if settings.get(key, "none") not in (0, "", "none"):
                raise QupropError(
                    f"train.{key} is of gradients that a method estimates, and train.method is exact: set "
                    "method=parameter_shift and shots=1000, say"
                )
        return None
    if bool(shots) == bool(error):
        given = "both" if shots else "neither"
        raise QupropError(
            f"method {name} takes one of train.shots and train.gradient_error, got {given}: set shots=1000, say"
        )
    if problem.grow is not None:
        raise QupropError("the ansatz adapt is grown with exact gradients: set method=exact, or choose another ansatz")
    if settings["optimiser"] == "lbfgs":
        raise QupropError(
            f"L-BFGS compares neighbouring gradients and needs exact ones, got train.method = {name}: set "
            "optimiser=adam, or method=exact"
        )
    method = METHODS[name](shots=shots) if shots else METHODS[name](precision=error)
    mitigation = settings.get("mitigation", "none")
    if not backend:
        of_backend = [f"budget_{name}" for name in limits] + ["mitigation"] * (mitigation != "none")
        if of_backend:
            raise QupropError(f"train.{of_backend[0]} is of a backend: name a backend, or leave it out")
        return EstimatedTraining(method, None, None, VALUE_SHOTS)
    if problem.model.channels:
        raise QupropError("a backend has noise of its own, and train.noise simulates that of a machine: leave out one")
    if settings["optimiser"] in OF_STATES:
        raise QupropError(
            f"{settings['optimiser']} takes a metric that is simulated, and a backend runs circuits: set optimiser=adam"
        )
    budget = DeviceBudget(**limits) if limits else None
    return EstimatedTraining(method, device_of(backend), budget, settings["value_shots"], MITIGATIONS[mitigation])
