"""quprop: train parameterised quantum models, and know what their gradients cost.

`dir(quprop)` lists the public names. The examples in their docstrings have these lines before them:

>>> import numpy as np
>>> import quprop as qpr
"""

from typing import TYPE_CHECKING

from quprop import hybrid, outputs, structure
from quprop.classical import MarkovChain
from quprop.collective.shadow_tomography import ShadowTomography
from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients import (
    FORMULAS,
    ICANS,
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
    Quiver,
    RandomComponents,
    Rosalin,
    ShotNoise,
    gradient,
    pauli_list_model,
)
from quprop.hardware_models import HardwareModel, NoiseModel, hardware
from quprop.lazy import lazy, listing
from quprop.model import InputState, Model, Rotation, ansatz
from quprop.model.angle import Angle, AngleVector, inputs, params
from quprop.model.channels import CHANNELS
from quprop.model.circuit import Circuit
from quprop.model.dynamic import DynamicCircuit
from quprop.model.gates import GATES
from quprop.model.parameterised import ParameterisedSum
from quprop.model.pauli import PauliString, PauliSum
from quprop.model.pauli_operator import PauliOperator, anticommutator, commutator
from quprop.model.trotter_error import TrotterBound, trotter_error
from quprop.modules.compose import Module, compose, parallel
from quprop.modules.multi_product import MultiProduct, multi_product
from quprop.modules.post_select import PostSelected
from quprop.outputs import (
    entropy,
    kernel,
    kernel_vjp,
    output_vjp,
    overlap,
    overlap_vjp,
    probabilities,
    purity,
    reduced_state,
)
from quprop.planning.compare import compare
from quprop.sampling.devices.folding import ZeroNoise
from quprop.sampling.devices.known import device_of as device
from quprop.sampling.devices.mitigation import Mitigation
from quprop.sampling.devices.readout import ReadoutInversion
from quprop.sampling.devices.spending import DeviceBudget
from quprop.simulate import (
    AutoEngine,
    Commuting,
    Distributed,
    PauliPropagation,
    Trajectories,
    estimate,
    expectation,
    hvp,
    propagate,
    samples,
    state,
    value_and_grad,
    vjp,
)
from quprop.simulate.jets import Jet, jet
from quprop.simulate.noise.density import DensityEngine
from quprop.simulate.noise.mitigation import invert_readout, readout_inverse, scaled_noise, zero_noise
from quprop.simulate.state_vector.metric import geometric_tensor, metric
from quprop.simulate.state_vector.native import NativeEngine
from quprop.simulate.state_vector.reference import ReferenceEngine
from quprop.training import losses
from quprop.training.adapt import Adapted, adapt
from quprop.training.callbacks import EarlyStopping
from quprop.training.distributions import CVaR, KLDivergence, NegativeLogLikelihood, ShannonEntropy
from quprop.training.losses import CrossEntropy, Expectation, Fidelity, MeanSquare, WeightedSum
from quprop.training.mmd import MMD
from quprop.training.optimise import LBFGS, adam, cosine, imaginary_time, natural_gradient, power_decay, sgd
from quprop.training.schedules import ShotGrowth, StepDecay
from quprop.training.train import Trained, train
from quprop.training.variational import VariationalEvolution, evolution_vector, variational_evolution

__all__ = [
    "CHANNELS",
    "FORMULAS",
    "GATES",
    "ICANS",
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
    "CVaR",
    "Circuit",
    "ClassicalShadows",
    "CliffordShadows",
    "Commuting",
    "CommutingBlocks",
    "Cost",
    "CrossEntropy",
    "DensityEngine",
    "DeviceBudget",
    "Distributed",
    "DynamicCircuit",
    "EarlyStopping",
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
    "Jet",
    "KLDivergence",
    "MarkovChain",
    "MeanSquare",
    "Mitigation",
    "Model",
    "Module",
    "MultiProduct",
    "NativeEngine",
    "NegativeLogLikelihood",
    "NoiseModel",
    "PairState",
    "ParameterShift",
    "ParameterisedSum",
    "PauliOperator",
    "PauliPropagation",
    "PauliString",
    "PauliSum",
    "PostSelected",
    "QuantumBackprop",
    "Quiver",
    "QupropError",
    "RandomComponents",
    "ReadoutInversion",
    "ReferenceEngine",
    "Rosalin",
    "Rotation",
    "ShadowTomography",
    "ShannonEntropy",
    "ShotGrowth",
    "ShotNoise",
    "StepDecay",
    "Trained",
    "Trajectories",
    "TrotterBound",
    "VariationalEvolution",
    "WeightedSum",
    "ZeroNoise",
    "adam",
    "adapt",
    "ansatz",
    "anticommutator",
    "commutator",
    "compare",
    "compose",
    "cosine",
    "device",
    "entropy",
    "estimate",
    "evolution_vector",
    "expectation",
    "geometric_tensor",
    "gradient",
    "hardware",
    "hvp",
    "hybrid",
    "imaginary_time",
    "inputs",
    "invert_readout",
    "jet",
    "kernel",
    "kernel_vjp",
    "losses",
    "metric",
    "multi_product",
    "natural_gradient",
    "output_vjp",
    "outputs",
    "overlap",
    "overlap_vjp",
    "parallel",
    "params",
    "pauli_list_model",
    "power_decay",
    "probabilities",
    "propagate",
    "purity",
    "readout_inverse",
    "reduced_state",
    "samples",
    "scaled_noise",
    "sgd",
    "state",
    "structure",
    "train",
    "trotter_error",
    "value_and_grad",
    "variational_evolution",
    "vjp",
    "zero_noise",
]

# Packages that are public too; imported when they are asked for, as the names of `quprop.hybrid.WHERE` are.
_PACKAGES = ["carleman", "classical", "collective", "planning", "problems"]

if TYPE_CHECKING:
    from quprop import carleman as carleman
    from quprop import classical as classical
    from quprop import collective as collective
    from quprop import planning as planning
    from quprop import problems as problems
    from quprop.hybrid import QuantumLayer as QuantumLayer
    from quprop.hybrid import cut as cut
    from quprop.hybrid import from_openfermion as from_openfermion
    from quprop.hybrid import from_pennylane as from_pennylane
    from quprop.hybrid import from_qasm as from_qasm
    from quprop.hybrid import from_qiskit as from_qiskit
    from quprop.hybrid import from_stim as from_stim
    from quprop.hybrid import load_qpy as load_qpy
    from quprop.hybrid import save_qpy as save_qpy
    from quprop.hybrid import to_openfermion as to_openfermion
    from quprop.hybrid import to_qasm as to_qasm
    from quprop.hybrid import to_qiskit as to_qiskit
    from quprop.problems import chem as chem
else:
    __getattr__ = lazy(__name__, {**hybrid.WHERE, "chem": "quprop.problems"})

__dir__ = listing(__name__, [*_PACKAGES, "chem", *hybrid.WHERE])
