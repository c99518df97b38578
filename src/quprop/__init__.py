"""quprop: train parameterised quantum models, and know what their gradients cost."""

from quprop import ansatz, losses, structure
from quprop.angle import Angle, AngleVector, inputs, params
from quprop.circuit import Circuit
from quprop.collective.shadow_tomography import ShadowTomography
from quprop.compare import compare
from quprop.cost import Cost, HardwareModel
from quprop.errors import QupropError
from quprop.gates import GATES
from quprop.gradients import (
    FORMULAS,
    METHODS,
    SPSA,
    Adjoint,
    AmplitudeEstimation,
    BellSampling,
    ClassicalShadows,
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
from quprop.hardware import hardware
from quprop.losses import CrossEntropy, Expectation, Fidelity, MeanSquare
from quprop.model import InputState, Model, Rotation
from quprop.optimise import LBFGS, adam, cosine, natural_gradient, sgd
from quprop.pauli import PauliString, PauliSum
from quprop.simulate import expectation, hvp, probabilities, samples, state, value_and_grad, vjp
from quprop.simulate.metric import metric
from quprop.simulate.native import NativeEngine
from quprop.simulate.reference import ReferenceEngine
from quprop.stochastic import MarkovChain
from quprop.train import Trained, train

__all__ = [
    "FORMULAS",
    "GATES",
    "LBFGS",
    "METHODS",
    "SPSA",
    "Adjoint",
    "AmplitudeEstimation",
    "Angle",
    "AngleVector",
    "BellSampling",
    "Circuit",
    "ClassicalShadows",
    "CommutingBlocks",
    "Cost",
    "CrossEntropy",
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
    "NativeEngine",
    "PairState",
    "ParameterShift",
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
    "adam",
    "ansatz",
    "compare",
    "cosine",
    "expectation",
    "gradient",
    "hardware",
    "hvp",
    "inputs",
    "losses",
    "metric",
    "natural_gradient",
    "params",
    "pauli_list_model",
    "probabilities",
    "samples",
    "sgd",
    "state",
    "structure",
    "train",
    "value_and_grad",
    "vjp",
]
