"""quprop: train parameterised quantum models, and know what their gradients cost."""

from quprop import ansatz, losses
from quprop.angle import Angle, AngleVector, inputs, params
from quprop.circuit import Circuit
from quprop.errors import QupropError
from quprop.gates import GATES
from quprop.losses import CrossEntropy, Expectation, Fidelity, MeanSquare
from quprop.model import InputState, Model, Rotation
from quprop.optimise import LBFGS, adam, cosine, natural_gradient, sgd
from quprop.pauli import PauliString, PauliSum
from quprop.simulate import expectation, hvp, probabilities, samples, state, value_and_grad, vjp
from quprop.simulate.metric import metric
from quprop.simulate.native import NativeEngine
from quprop.simulate.reference import ReferenceEngine
from quprop.train import Trained, train

__all__ = [
    "GATES",
    "LBFGS",
    "Angle",
    "AngleVector",
    "Circuit",
    "CrossEntropy",
    "Expectation",
    "Fidelity",
    "InputState",
    "MeanSquare",
    "Model",
    "NativeEngine",
    "PauliString",
    "PauliSum",
    "QupropError",
    "ReferenceEngine",
    "Rotation",
    "Trained",
    "adam",
    "ansatz",
    "cosine",
    "expectation",
    "hvp",
    "inputs",
    "losses",
    "metric",
    "natural_gradient",
    "params",
    "probabilities",
    "samples",
    "sgd",
    "state",
    "train",
    "value_and_grad",
    "vjp",
]
