"""What is read from a model's state beside expectation values, with exact derivatives: probabilities, reduced states,
purities, entropies, amplitudes, overlaps and kernels."""

from quprop.lazy import listing
from quprop.outputs.functions import (
    entropy,
    kernel,
    kernel_vjp,
    output_vjp,
    overlap,
    overlap_vjp,
    probabilities,
    purity,
    reduced_state,
)
from quprop.outputs.output import Amplitudes, Entropy, Output, Probabilities, Purity, ReducedState, StateOverlap

__all__ = [
    "Amplitudes",
    "Entropy",
    "Output",
    "Probabilities",
    "Purity",
    "ReducedState",
    "StateOverlap",
    "entropy",
    "kernel",
    "kernel_vjp",
    "output_vjp",
    "overlap",
    "overlap_vjp",
    "probabilities",
    "purity",
    "reduced_state",
]

__dir__ = listing(__name__)
