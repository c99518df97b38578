"""Ways to estimate a gradient, one file each. `METHODS` lists them all by name."""

from typing import Any

from quprop.gradients.adjoint import Adjoint
from quprop.gradients.amplitude_estimation import AmplitudeEstimation
from quprop.gradients.bell_sampling import BellSampling, pauli_list_model
from quprop.gradients.classical_shadows import ClassicalShadows
from quprop.gradients.commuting_blocks import CommutingBlocks
from quprop.gradients.finite_difference import FiniteDifference
from quprop.gradients.forward_gradient import ForwardGradient
from quprop.gradients.hadamard_test import HadamardTest
from quprop.gradients.method import Method, gradient
from quprop.gradients.pair_state import PairState
from quprop.gradients.parameter_shift import ParameterShift
from quprop.gradients.random_components import RandomComponents
from quprop.gradients.shot_noise import ShotNoise
from quprop.gradients.spsa import SPSA
from quprop.gradients.sweeps.fully_gentle import FullyGentle
from quprop.gradients.sweeps.gentle_sweep import GentleSweep
from quprop.gradients.sweeps.quantum_backprop import QuantumBackprop
from quprop.sampling.estimate import Estimate

METHODS: dict[str, Any] = {
    "adjoint": Adjoint,
    "bell_sampling": BellSampling,
    "classical_shadows": ClassicalShadows,
    "commuting_blocks": CommutingBlocks,
    "finite_difference": FiniteDifference,
    "forward_gradient": ForwardGradient,
    "fully_gentle": FullyGentle,
    "gentle_sweep": GentleSweep,
    "hadamard_test": HadamardTest,
    "pair_state": PairState,
    "parameter_shift": ParameterShift,
    "quantum_backprop": QuantumBackprop,
    "random_components": RandomComponents,
    "shot_noise": ShotNoise,
    "spsa": SPSA,
}

# Methods of which only the cost is known here: `compile(model).cost` works, `estimate` refuses.
FORMULAS: dict[str, Any] = {"amplitude_estimation": AmplitudeEstimation}

__all__ = [
    "FORMULAS",
    "METHODS",
    "SPSA",
    "Adjoint",
    "AmplitudeEstimation",
    "BellSampling",
    "ClassicalShadows",
    "CommutingBlocks",
    "Estimate",
    "FiniteDifference",
    "ForwardGradient",
    "FullyGentle",
    "GentleSweep",
    "HadamardTest",
    "Method",
    "PairState",
    "ParameterShift",
    "QuantumBackprop",
    "RandomComponents",
    "ShotNoise",
    "gradient",
    "pauli_list_model",
]
