"""Hypothesis states: a classical guess at the copies' state, updated when a prediction turns out wrong.

`HYPOTHESES` names them all; every class takes the number of qubits first, and `required_bytes(n, ...)` says beforehand
what it will hold.
"""

from quprop.collective.hypothesis.dense import DenseHypothesis
from quprop.collective.hypothesis.kernel import KernelHypothesis
from quprop.collective.hypothesis.low_rank import LowRankHypothesis
from quprop.collective.hypothesis.mps import MatrixProductHypothesis
from quprop.collective.hypothesis.protocol import Hypothesis, HypothesisClass, mistake_bound
from quprop.collective.hypothesis.typicality import TypicalityHypothesis
from quprop.lazy import listing

HYPOTHESES: dict[str, HypothesisClass] = {
    "dense": DenseHypothesis,
    "typicality": TypicalityHypothesis,
    "low_rank": LowRankHypothesis,
    "matrix_product": MatrixProductHypothesis,
    "kernel": KernelHypothesis,
}

__all__ = [
    "HYPOTHESES",
    "DenseHypothesis",
    "Hypothesis",
    "HypothesisClass",
    "KernelHypothesis",
    "LowRankHypothesis",
    "MatrixProductHypothesis",
    "TypicalityHypothesis",
    "mistake_bound",
]

__dir__ = listing(__name__)
