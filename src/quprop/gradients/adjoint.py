"""Adjoint differentiation: the exact gradient, on a simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from quprop.cost import Cost
from quprop.gradients.method import GradientMethod
from quprop.model import Model
from quprop.sampling.estimate import Estimate
from quprop.sampling.loads import AMPLITUDE_BYTES, amplitudes
from quprop.sampling.plan import Plan, Terms, settle
from quprop.sampling.shape import Shape, Wanted
from quprop.simulate import get_engine


@dataclass(frozen=True, kw_only=True)
class Adjoint(GradientMethod):
    """dF/da_m = Im <lambda_m| P_m |psi_m>: one forward and one backward sweep, three state vectors, no error.

    Source: Jones, Gacon, arXiv:2009.02823. Needs the amplitudes, so no hardware can run it: its rotations are classical
    work, 3M Pauli rotations of 2^n amplitudes at 4 multiply-adds each, and nothing is measured.
    """

    name: ClassVar[str] = "adjoint"
    copies: ClassVar[int] = 0
    unbiased: ClassVar[bool] = True
    exact: ClassVar[bool] = True
    precision: str = "double"
    threads: int | None = None

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> AdjointPlan:
        return AdjointPlan(model, settle(model, weights), self)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """Three sweeps of M rotations over 2^n amplitudes, three states held; exact, whatever is wanted."""
        size = amplitudes(shape)
        return Cost(
            depth=shape.rotations,
            qubits=shape.qubits,
            classical_ops=12 * shape.rotations * size,
            classical_bytes=3 * AMPLITUDE_BYTES * size,
        )


class AdjointPlan(Plan):
    draws = False

    def __init__(self, model: Model, weights: np.ndarray, method: Adjoint) -> None:
        super().__init__(model, Terms.of(model), weights)
        self._engine = get_engine("native", method.precision, method.threads)
        amplitudes = 1 << model.n_qubits
        self.cost = Cost(
            depth=model.n_rotations,
            qubits=model.n_qubits,
            classical_ops=3 * model.n_rotations * 4 * amplitudes,
            classical_bytes=3 * amplitudes * (16 if method.precision == "double" else 8),
        )
        self.info = {"exact": "no shots, no error"}

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        grad = self._engine.value_and_grad(self.model, theta[None], x[None], weights[None])[1][0]
        return Estimate(grad, np.zeros_like(grad), self.cost, dict(self.info))
