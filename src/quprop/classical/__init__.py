"""Classical models: Markov chains and networks, whose gradient costs about as much as their value (`chain.py`,
`networks.py`), and the rivals of generative circuits (`bit_flip.py`, `boltzmann.py`)."""

from quprop.classical.chain import ESTIMATORS, ChainGradient, MarkovChain
from quprop.classical.moves import ControlledFlip, Flip, Map
from quprop.classical.omega import ChainOmega, hoeffding, measure_omega, omega
from quprop.lazy import lazy, listing

__all__ = [
    "ESTIMATORS",
    "ChainGradient",
    "ChainOmega",
    "ControlledFlip",
    "Flip",
    "Map",
    "MarkovChain",
    "hoeffding",
    "measure_omega",
    "omega",
]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
