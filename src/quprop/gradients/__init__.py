"""Ways to estimate a gradient, one file each. `METHODS` lists them all by name."""

from quprop.gradients.adjoint import Adjoint
from quprop.gradients.estimate import Estimate
from quprop.gradients.method import Method, gradient
from quprop.gradients.parameter_shift import ParameterShift

METHODS: dict[str, type] = {
    "adjoint": Adjoint,
    "parameter_shift": ParameterShift,
}

__all__ = ["METHODS", "Adjoint", "Estimate", "Method", "ParameterShift", "gradient"]
