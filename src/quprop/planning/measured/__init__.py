"""How the cost of a gradient grows with the number of parameters, measured; and figure 2 of Abbas et al."""

from quprop.lazy import lazy, listing
from quprop.planning.measured.families import FAMILIES, Family
from quprop.planning.measured.figure2 import Constants, reach
from quprop.planning.measured.fit import Exponent, fit_exponent
from quprop.planning.measured.level import Level, largest_of_normals, shots_at_error
from quprop.planning.measured.sweep import Fit, fits, sweep_one, tasks

__all__ = [
    "FAMILIES",
    "Constants",
    "Exponent",
    "Family",
    "Fit",
    "Level",
    "fit_exponent",
    "fits",
    "largest_of_normals",
    "reach",
    "shots_at_error",
    "sweep_one",
    "tasks",
]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
