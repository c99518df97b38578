"""How the cost of a gradient grows with the number of parameters, measured; and figure 2 of Abbas et al."""

from functools import partial

from quprop.lazy import submodule
from quprop.scaling.families import FAMILIES, Family
from quprop.scaling.figure2 import Constants, reach
from quprop.scaling.fit import Exponent, fit_exponent
from quprop.scaling.level import Level, largest_of_normals, shots_at_error
from quprop.scaling.sweep import Fit, fits, sweep_one, tasks

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

__getattr__ = partial(submodule, __name__)
