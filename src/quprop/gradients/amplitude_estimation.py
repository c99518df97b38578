"""Gradients by coherent amplitude estimation: a cost formula, for comparison with what is run here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients.method import GradientMethod
from quprop.gradients.step_bounds import reaches
from quprop.model import Model
from quprop.sampling.estimate import Estimate
from quprop.sampling.linear import driven
from quprop.sampling.plan import Plan, settle
from quprop.sampling.shape import Shape, Wanted
from quprop.sampling.terms import Terms


def calls(components: int, eps: float, failure: float = 0.01) -> int:
    """Coherent calls of the circuit or its inverse: sqrt(M)/eps * ln(M/failure), rounded up, at least 1.

    The theorems say O~(sqrt(M)/eps) and hide constants and logarithms; here the constant is 1 and there is one
    logarithm, of a union bound.
    """
    return max(1, math.ceil(math.sqrt(components) / eps * math.log(max(components, 1) / failure))) if components else 0


@dataclass(frozen=True, kw_only=True)
class AmplitudeEstimation(GradientMethod):
    """Formula, not run: all M components with O~(sqrt(M)/max_error) coherent calls of the circuit, which is
    M^1.5/max_error rotations, one after another.

    Sources: Gilyén, Arunachalam, Wiebe, arXiv:1711.00465 (Jordan's gradient algorithm with a probability or phase
    oracle); Huggins et al., PRL 129, 240501 (2022), arXiv:2111.09283 (all expectation values with O~(sqrt(M)/eps) calls
    of the state preparation, using M + O(log(1/eps)) further qubits). For a sum of terms or shared parameters
    max_error is divided by the range of a component, max_i sum_m |da_m/dtheta_i| sum_t |c_t|.

    Raises: QupropError for a max_error that is not positive or a failure that is no probability; and where it should be
    run.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.AmplitudeEstimation(max_error=0.01).compile(model).cost)
    461 copies, 1 run, 461 rotations, depth 461, 10 qubits
    """

    name: ClassVar[str] = "amplitude_estimation"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = False
    costed_only: ClassVar[bool] = True
    max_error: float
    failure: float = 0.01

    def __post_init__(self) -> None:
        for label, value, top in (("max_error", self.max_error, math.inf), ("failure", self.failure, 1.0)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < top:
                raise QupropError(f"{label} must be a number above 0 and below {top:g}, got {value!r}")

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> AmplitudeEstimationPlan:
        return AmplitudeEstimationPlan(model, settle(model, weights, self), self, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        relative = min(1.0, wanted.max_error(shape.parameters) / (shape.norm * shape.reach))
        count = calls(shape.trained, relative, wanted.failure)
        return Cost(
            copies=count,
            rotations=count * shape.rotations,
            measurements=1,
            depth=count * shape.rotations,
            qubits=shape.qubits + shape.trained + math.ceil(math.log2(1 / relative) + 1),
        )


class AmplitudeEstimationPlan(Plan):
    no_circuits = "amplitude_estimation is a cost formula and cannot be run"

    def __init__(self, model: Model, weights: np.ndarray, method: AmplitudeEstimation, at: Any) -> None:
        super().__init__(model, Terms.of(model), weights)
        size = float(reaches(model, at).max(initial=0.0)) * float(self.terms.sizes(weights).sum())
        components = len(driven(model)) if size else 0
        count = calls(components, min(1.0, method.max_error / size), method.failure) if size else 0
        extra = components + math.ceil(math.log2(1 / min(1.0, method.max_error / size)) + 1) if size else 0
        self.cost = Cost(
            copies=count,
            rotations=count * model.n_rotations,
            measurements=1 if count else 0,
            depth=count * model.n_rotations,
            qubits=model.n_qubits + extra,
        )
        self.info = {"formula": "not run; constants and all logarithms but one are set to 1", "coherent calls": count}

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        raise QupropError(
            "amplitude_estimation is a cost formula and cannot be run; plan.cost has its cost, and parameter_shift, "
            "pair_state and quantum_backprop estimate gradients"
        )
