"""quprop: train parameterised quantum models, and know what their gradients cost."""

from typing import Any

from quprop import hybrid, structure
from quprop.classical import MarkovChain
from quprop.collective.shadow_tomography import ShadowTomography
from quprop.cost import Cost, HardwareModel, NoiseModel, hardware
from quprop.errors import QupropError
from quprop.gradients import (
    FORMULAS,
    METHODS,
    SPSA,
    Adjoint,
    AmplitudeEstimation,
    BellSampling,
    ClassicalShadows,
    CliffordShadows,
    CommutingBlocks,
    Estimate,
    FiniteDifference,
    ForwardGradient,
    FullyGentle,
    GentleSweep,
    HadamardTest,
    PairState,
    ParameterShift,
    QuantumBackprop,
    RandomComponents,
    ShotNoise,
    gradient,
    pauli_list_model,
)
from quprop.lazy import submodule
from quprop.model import InputState, Model, Rotation, ansatz
from quprop.model.angle import Angle, AngleVector, inputs, params
from quprop.model.channels import CHANNELS
from quprop.model.circuit import Circuit
from quprop.model.gates import GATES
from quprop.model.pauli import PauliString, PauliSum
from quprop.modules.compose import Module, compose, parallel
from quprop.planning.compare import compare
from quprop.simulate import (
    AutoEngine,
    Commuting,
    PauliPropagation,
    Trajectories,
    estimate,
    expectation,
    hvp,
    probabilities,
    propagate,
    samples,
    state,
    value_and_grad,
    vjp,
)
from quprop.simulate.noise.density import DensityEngine
from quprop.simulate.noise.mitigation import invert_readout, readout_inverse, scaled_noise, zero_noise
from quprop.simulate.state_vector.metric import geometric_tensor, metric
from quprop.simulate.state_vector.native import NativeEngine
from quprop.simulate.state_vector.reference import ReferenceEngine
from quprop.training import losses
from quprop.training.adapt import Adapted, adapt
from quprop.training.losses import CrossEntropy, Expectation, Fidelity, MeanSquare
from quprop.training.mmd import MMD
from quprop.training.optimise import LBFGS, adam, cosine, natural_gradient, sgd
from quprop.training.train import Trained, train

__all__ = [
    "CHANNELS",
    "FORMULAS",
    "GATES",
    "LBFGS",
    "METHODS",
    "MMD",
    "SPSA",
    "Adapted",
    "Adjoint",
    "AmplitudeEstimation",
    "Angle",
    "AngleVector",
    "AutoEngine",
    "BellSampling",
    "Circuit",
    "ClassicalShadows",
    "CliffordShadows",
    "Commuting",
    "CommutingBlocks",
    "Cost",
    "CrossEntropy",
    "DensityEngine",
    "Estimate",
    "Expectation",
    "Fidelity",
    "FiniteDifference",
    "ForwardGradient",
    "FullyGentle",
    "GentleSweep",
    "HadamardTest",
    "HardwareModel",
    "InputState",
    "MarkovChain",
    "MeanSquare",
    "Model",
    "Module",
    "NativeEngine",
    "NoiseModel",
    "PairState",
    "ParameterShift",
    "PauliPropagation",
    "PauliString",
    "PauliSum",
    "QuantumBackprop",
    "QupropError",
    "RandomComponents",
    "ReferenceEngine",
    "Rotation",
    "ShadowTomography",
    "ShotNoise",
    "Trained",
    "Trajectories",
    "adam",
    "adapt",
    "ansatz",
    "compare",
    "compose",
    "cosine",
    "estimate",
    "expectation",
    "geometric_tensor",
    "gradient",
    "hardware",
    "hvp",
    "hybrid",
    "inputs",
    "invert_readout",
    "losses",
    "metric",
    "natural_gradient",
    "parallel",
    "params",
    "pauli_list_model",
    "probabilities",
    "propagate",
    "readout_inverse",
    "samples",
    "scaled_noise",
    "sgd",
    "state",
    "structure",
    "train",
    "value_and_grad",
    "vjp",
    "zero_noise",
]


def __getattr__(name: str) -> Any:
    """`chem`, the names of `quprop.hybrid.WHERE` and the modules, imported when they are first used."""
    if name == "chem":
        return submodule("quprop.problems", name)
    return getattr(hybrid, name) if name in hybrid.WHERE else submodule(__name__, name)
