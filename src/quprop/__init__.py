"""quprop: train parameterised quantum models, and know what their gradients cost."""

from quprop import ansatz
from quprop.angle import Angle, AngleVector, inputs, params
from quprop.circuit import Circuit
from quprop.errors import QupropError
from quprop.gates import GATES
from quprop.model import InputState, Model, Rotation
from quprop.pauli import PauliString, PauliSum
from quprop.simulate import expectation, hvp, probabilities, samples, state, value_and_grad, vjp

__all__ = [
    "GATES",
    "Angle",
    "AngleVector",
    "Circuit",
    "InputState",
    "Model",
    "PauliString",
    "PauliSum",
    "QupropError",
    "Rotation",
    "ansatz",
    "expectation",
    "hvp",
    "inputs",
    "params",
    "probabilities",
    "samples",
    "state",
    "value_and_grad",
    "vjp",
]
