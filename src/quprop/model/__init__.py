"""The canonical list: circuits, angles, Pauli strings, and the `Model` that they become."""

from functools import partial

from quprop.lazy import submodule
from quprop.model.angle_table import AngleTable
from quprop.model.input_state import InputState
from quprop.model.model import Model, Rotation, observables_of

__all__ = ["AngleTable", "InputState", "Model", "Rotation", "observables_of"]

__getattr__ = partial(submodule, __name__)
