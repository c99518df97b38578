"""The canonical list: circuits, angles, Pauli strings, and the `Model` that they become."""

from quprop.lazy import lazy, listing
from quprop.model.angle_table import AngleTable
from quprop.model.input_state import InputState
from quprop.model.model import Model, Rotation, observables_of

__all__ = ["AngleTable", "InputState", "Model", "Rotation", "observables_of"]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
