"""Commuting structure of models: blocks whose derivatives are read together, circuits that read them, and what a model
can express against what one measurement gives."""

from quprop.lazy import listing
from quprop.structure.algebra import dla_dimension, dynamical_lie_algebra, expressivity_bound
from quprop.structure.blocks import Blocks, TermSplit, find_blocks
from quprop.structure.efficiency import Efficiency, efficiency_report, measurement_efficiency
from quprop.structure.readout import Program, Read, observable_programs, readout_programs, term_programs

__all__ = [
    "Blocks",
    "Efficiency",
    "Program",
    "Read",
    "TermSplit",
    "dla_dimension",
    "dynamical_lie_algebra",
    "efficiency_report",
    "expressivity_bound",
    "find_blocks",
    "measurement_efficiency",
    "observable_programs",
    "readout_programs",
    "term_programs",
]

__dir__ = listing(__name__)
