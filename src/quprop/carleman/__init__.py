"""Training of classical networks as one sparse linear system, by discrete Carleman linearisation.

Gradient descent is a polynomial map; its tensor powers obey a linear recursion; T steps of that are one sparse linear
system for a quantum computer (Liu et al. 2024, doi 10.1038/s41467-023-43957-x).
"""

from quprop.carleman.engines import ENGINES, TOWERS, LiftedState
from quprop.carleman.engines.lift import Record, choose_engine, lift, march, success_probability
from quprop.carleman.maps.convergence import error_against_order
from quprop.carleman.maps.dynamics import Dynamics, Momentum, Polynomial, PolynomialMap, from_tensors
from quprop.carleman.maps.torch_map import from_torch
from quprop.carleman.system.history import HistorySystem
from quprop.lazy import lazy, listing

__all__ = [
    "ENGINES",
    "TOWERS",
    "Dynamics",
    "HistorySystem",
    "LiftedState",
    "Momentum",
    "Polynomial",
    "PolynomialMap",
    "Record",
    "choose_engine",
    "error_against_order",
    "from_tensors",
    "from_torch",
    "lift",
    "march",
    "success_probability",
]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
