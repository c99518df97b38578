"""Errors of a truncation by weight in the mean square over independent uniform angles, by random paths of strings.

For one string, with d the overlap of a path's end and tau = 1 if the path was ever truncated,
    E[(f - f~)^2] = E[tau d^2],      E[(df/da_m - df~/da_m)^2] = E[tau 1{the path branches at m} d^2],
a path staying or turning with probability 1/2 at each rotation that it anticommutes with. So the same paths bound all
components. For a sum of strings the roots add up (the triangle inequality).
"""

from __future__ import annotations

import math

import numpy as np

from quprop.errors import QupropError
from quprop.simulate.pauli.certificate import Bounds
from quprop.simulate.pauli.packed import Packed, kernels
from quprop.simulate.pauli.settings import PauliPropagation


def average_bounds(packed: Packed, coefficient: np.ndarray, s: PauliPropagation, confidence: float) -> Bounds:
    """Upper confidence bounds, each component for itself, of the root mean square errors: (1,) and (1, M).

    Of a mean of numbers from [0, 1] by their variance (Maurer and Pontil 2009, arXiv:0907.3740, theorem 4).
    """
    assert s.max_weight is not None and s.seed is not None
    if packed.damping.owners:
        raise QupropError(
            'angles="uniform" takes no noise; leave it out, so that errors are bounded at the given angles, or take '
            "model.noiseless()"
        )
    stages = len(packed.px)
    seeds = np.random.SeedSequence(s.seed).generate_state(len(coefficient), np.uint64)
    total = np.zeros(1 + stages)
    log = math.log(2 * len(coefficient) / (1 - confidence))  # each string's bound holds together with the others'
    for i in range(len(coefficient)):
        mean, variance = mean_squares(packed, i, s, int(seeds[i]))
        upper = mean + np.sqrt(2 * variance * log / s.paths) + 7 * log / (3 * (s.paths - 1))
        total += abs(coefficient[i]) * np.sqrt(np.minimum(upper, 1.0))
    return Bounds(total[:1], total[None, 1:])


def mean_squares(packed: Packed, i: int, s: PauliPropagation, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and sample variances over the paths of string i, (1 + M,): of the value and of each derivative."""
    sums = np.zeros((1 + len(packed.px), 2))
    kernels().random_paths(
        packed.ox[i],
        packed.oz[i],
        packed.px,
        packed.pz,
        int(s.max_weight or 0),
        s.keep_diagonal,
        packed.bloch,
        int(s.paths),
        seed,
        sums,
    )
    mean = sums[:, 0] / s.paths
    return mean, np.maximum(sums[:, 1] / s.paths - mean**2, 0.0) * s.paths / (s.paths - 1)
