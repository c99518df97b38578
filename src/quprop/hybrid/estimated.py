"""Estimated: a node whose values and gradients are what shots say, for hybrid networks that train under shot noise."""

from __future__ import annotations

import numbers
from functools import cached_property
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.hybrid.node import Node, Pair
from quprop.model import Model, Rotation
from quprop.model.channels import refuse_channels
from quprop.model.parameterised import refuse_parameters
from quprop.sampling.plan import Plan
from quprop.sampling.readings import ObservableReadings
from quprop.sampling.sampler import Sampler
from quprop.simulate import Call, Composite

SECOND_OF_ESTIMATE = (
    "a gradient that shots estimated has no derivative; leave method= out, exact gradients can be differentiated again"
)
FORWARD_OF_ESTIMATE = (
    "shots estimate gradients, which serve reverse mode alone (torch.func.grad, vjp, jacrev); leave method= and "
    "forward_shots= out for forward mode"
)


class Estimated(Node):
    """The node of a gradient method: `pull` is `method`'s estimate, `value` is exact or read from `forward_shots`.

    method: any of `METHODS` with its budget, compiled once for weights 1 of all observables, as `qpr.train` does; None:
    exact. Estimates by inputs come from the same method on the model whose inputs are parameters too, at that model's
    cost; inputs that are amplitudes of the starting state have no such estimate.
    Shots are drawn from probabilities in double precision.
    forward_shots: runs of each circuit that reads a group of commuting strings, drawn anew for each sample; None:
    exact expectations. Each value is unbiased, with variance at most (sum of the |coefficients|)^2 / forward_shots.
    """

    draws = True
    model: Model

    def __init__(
        self,
        model: Model | Composite,
        method: Any = None,
        forward_shots: int | None = None,
        threads: int | None = None,
    ) -> None:
        if not isinstance(model, Model):
            raise QupropError(
                f"gradient methods and forward shots take a Model, got {type(model).__name__}; leave method= and "
                "forward_shots= out for exact gradients (a cut plan's own shots are plan.gradient and plan.estimate)"
            )
        refuse_channels(model, "a layer with a gradient method or forward shots")
        refuse_parameters(model, "a layer with a gradient method or forward shots")
        super().__init__(model, "double", threads)
        if method is not None and not hasattr(method, "compile"):
            raise QupropError(f"method is a gradient method such as qpr.ParameterShift(shots=1000), got {method!r}")
        if forward_shots is not None and (
            isinstance(forward_shots, bool) or not isinstance(forward_shots, numbers.Integral) or forward_shots < 1
        ):
            raise QupropError(
                f"forward_shots is a whole number, 1 or more, or None for exact values, got {forward_shots!r}"
            )
        self.method = method
        self.forward_shots = None if forward_shots is None else int(forward_shots)
        self.plan  # noqa: B018 - a method that cannot serve this model says so now

    @property
    def key(self) -> tuple[Any, ...]:
        return (*super().key, self.method, self.forward_shots)

    def __getstate__(self) -> dict[str, Any]:
        made = ("plan", "plan_of_all", "_readings")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    @cached_property
    def plan(self) -> Plan | None:
        """By parameters."""
        return None if self.method is None else self.method.compile(self.model, np.ones(self.model.n_observables))

    @cached_property
    def plan_of_all(self) -> Plan:
        """By parameters and inputs, in this order."""
        if self.model.state.kind == "encoded":
            raise QupropError(
                "no gradient method estimates derivatives by the amplitudes a circuit starts from; detach the inputs, "
                "or leave method= out for exact gradients"
            )
        plan: Plan = self.method.compile(trainable_inputs(self.model), np.ones(self.model.n_observables))
        return plan

    def sampled_value(self, theta: np.ndarray, x: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        """<O_k> (*S, K), from `forward_shots` or exact."""
        if self.forward_shots is None or 0 in self.shape(theta, x):
            return self.value(theta, x)
        call = Call(self.model, theta, x, None, "double", None, "values")
        B, sampler = call.batch, Sampler(rng)
        thetas = np.broadcast_to(call.theta, (B, call.theta.shape[1]))
        xs = np.broadcast_to(call.x, (B, call.x.shape[1]))
        drawn = (r.simulate(sampler) for r in self._readings.requests(thetas, xs, self.forward_shots))
        return self._readings.values(drawn, B).reshape(*call.shape, self.model.n_observables)

    @cached_property
    def _readings(self) -> ObservableReadings:
        return ObservableReadings(self.model)

    def estimate(
        self, theta: np.ndarray, x: np.ndarray | None, c: np.ndarray, rng: np.random.Generator, *, of_x: bool
    ) -> tuple[Pair, Cost]:
        """J^T c as the method estimates it, (*S, P) and (*S, D), the latter zero unless `of_x`; and what it cost."""
        model, S = self.model, self.shape(theta, x, c)
        theta = np.broadcast_to(theta, (*S, model.n_params))
        zero = np.zeros((*S, model.n_inputs))
        if self.plan is None or 0 in S:
            return self.pull(theta, x, c), Cost()
        if not of_x or x is None or not model.n_inputs:
            found = self.plan.estimate(theta, x, rng, weights=c)
            return (found.value, zero), found.cost
        both = np.concatenate([theta, np.broadcast_to(x, (*S, model.n_inputs))], axis=-1)
        found = self.plan_of_all.estimate(both, None, rng, weights=c)
        return (found.value[..., : model.n_params], found.value[..., model.n_params :]), found.cost


def trainable_inputs(model: Model) -> Model:
    """The model with its inputs as further parameters, behind its own: theta of this one is (theta, x) of that one."""

    def moved(variable: tuple[Any, ...]) -> tuple[Any, ...]:
        return variable if variable[0] == 0 else (0, model.n_params + variable[1])

    return Model._of(
        n_qubits=model.n_qubits,
        rotations=tuple(Rotation(r.x, r.z, r.angle.relabel(moved)) for r in model.rotations),
        observables=model.observables,
        state=model.state,
        clifford=model.clifford,
        param_names=(*model.param_names, *model.input_names),
        param_sizes=(*model.param_sizes, *model.input_sizes),
        input_names=(),
        input_sizes=(),
    )
