"""Parameterised Markov chains: the classical model whose gradient costs about as much as its value (`chain.py`)."""

from quprop.classical.chain import ESTIMATORS, ChainGradient, MarkovChain
from quprop.classical.moves import ControlledFlip, Flip, Map
from quprop.classical.omega import ChainOmega, hoeffding, measure_omega, omega

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
