"""Adjoint differentiation: the exact gradient, on a simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from quprop.cost import Cost
from quprop.gradients.method import GradientMethod
from quprop.model import Model
from quprop.sampling.estimate import Estimate
from quprop.sampling.loads import AMPLITUDE_BYTES, amplitudes
from quprop.sampling.plan import Plan, settle
from quprop.sampling.shape import Shape, Wanted
from quprop.sampling.terms import Terms
from quprop.simulate import engine_for


@dataclass(frozen=True, kw_only=True)
class Adjoint(GradientMethod):
    """dF/da_m = Im <lambda_m| P_m |psi_m>: one forward and one backward sweep, three state vectors, no error.

    Source: Jones, Gacon, arXiv:2009.02823. Needs the amplitudes, so no hardware can run it: its rotations are classical
    work, 3M Pauli rotations of 2^n amplitudes at 4 multiply-adds each, and nothing is measured.

    precision: "double" or "single". threads: of the engine; all cores by default.
    Raises: QupropError in `compile`, for a precision that is not "double" or "single" and a model that is too large.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.gradient(model, [np.pi / 6], method=qpr.Adjoint()).value.round(6)  # -sin(theta) = -0.5
    array([-0.5])
    """

    name: ClassVar[str] = "adjoint"
    copies: ClassVar[int] = 0
    unbiased: ClassVar[bool] = True
    noise: ClassVar[Literal["none", "fixed", "any"]] = "any"
    parameterised: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    precision: str = "double"
    threads: int | None = None

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> AdjointPlan:
        return AdjointPlan(model, settle(model, weights, self), self)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """Three sweeps of M rotations over 2^n amplitudes, three states held; exact, whatever is wanted. Those of the
        light cones for a model that is wider than any state, over 4^n numbers for one with noise."""
        if shape.survival < 1:
            cost = _swept(shape.rotations, 2 * shape.qubits, shape.rotations * amplitudes(shape) ** 2)
            return replace(cost, qubits=shape.qubits)
        if shape.cones is not None:
            return _swept(shape.rotations, *shape.cones)
        return _swept(shape.rotations, shape.qubits, shape.rotations * amplitudes(shape))


def _swept(rotations: int, qubits: int, updates: int, amplitude: int = AMPLITUDE_BYTES) -> Cost:
    return Cost(depth=rotations, qubits=qubits, classical_ops=12 * updates, classical_bytes=3 * amplitude << qubits)


class AdjointPlan(Plan):
    draws = False
    no_circuits = "adjoint is computed exactly, from state vectors that no machine shows"

    def __init__(self, model: Model, weights: np.ndarray, method: Adjoint) -> None:
        # Of coefficients that are parameters there is no table, and nothing that a term's weight would decide.
        terms = Terms.of(model) if model.coefficients is None else Terms((), np.zeros((model.n_observables, 0)))
        super().__init__(model, terms, weights)
        self._engine = engine_for(model, None, method.precision, method.threads)
        chosen = self._engine.choose(model)
        amplitude = 16 if method.precision == "double" else 8
        cost = _swept(model.n_rotations, chosen.qubits, chosen.updates, amplitude)
        self.cost = replace(cost, qubits=min(chosen.qubits, model.n_qubits))  # a mixed state has numbers of twice them
        self.info = {"exact": "no shots, no error", "engine": chosen.why}

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        grad = self._engine.value_and_grad(self.model, theta[None], x[None], weights[None])[1][0]
        return Estimate(grad, np.zeros_like(grad), self.cost, dict(self.info))
