"""The numbers of a sweep of threshold checks: copies, thresholds and bounds that follow from an accuracy.

All in acceptance probabilities p = (1 + <Q>)/2 and in units of their accuracy eps, with s = slack and d = verify:

    checks       trigger around |p - prediction| = eps, softly over (sigma + lambda)/k
    batch        predictions within (1 - s) eps of the truth shall pass: with probability 3/4 none of all 2D one-sided
                 checks of such predictions triggers, k = c^2 (ln(8 D) + 1/(8 c^2))^2 / (s eps)^2, lambda = c sqrt(k)
    fresh        K0 = ln(4 T/failure) / (2 (d eps)^2) copies know the frequency of a triggered event to d eps
                 (Hoeffding; for all T triggers at once except with probability failure/2)
    updates      where the measured gap reaches (1 - s - d) eps; the true gap then is (1 - s - 2d) eps or more. A
                 trigger without update is one at a true gap under (1 - s) eps: false, in the sense of `batch`
    reach        a gap of (1 + y) eps passes with probability exp(-2 k (y eps)^2) at most (Hoeffding; the noise can
                 only help to trigger), which is failure/(2 D) for y = sqrt(ln(2 D/failure) / (2 k)) / eps
    bound        multiplicative weights of step 4 (measured gap - d eps) make R <= N ln 2/(2 g^2) updates in all, N the
                 qubits of a copy and g = (1 - s - 2d) eps

Least in the worst case, R (k + K0), near s = 1/4, d = 1/8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quprop.collective.check import Design, design
from quprop.collective.hypothesis import mistake_bound
from quprop.cost import Cost

QUIET = 0.25  # the probability that any check of good predictions triggers
COARSEST = 0.5  # accuracy of a probability at which a prediction of 1/2 is never wrong
MOST_COPIES = 10**12  # of a batch: beyond, binomial tails in double precision are no longer reliable


@dataclass(frozen=True)
class SweepDesign:
    """See the module. `components` D are checked, once each; `qubits` N of one copy; `proven`: whether the bound R
    holds for the hypothesis in use (exact multiplicative weights from the mixed state)."""

    eps: float
    components: int
    qubits: int
    c: float
    slack: float
    verify: float
    failure: float
    proven: bool

    @property
    def batch(self) -> Design:
        """k and lambda."""
        return design(min(1.0, 2 * self.slack * self.eps), 2 * self.components, self.c, QUIET)

    @property
    def k(self) -> int:
        return self.batch.k

    @property
    def fresh(self) -> int:
        """K0."""
        return math.ceil(math.log(4 * self.triggers / self.failure) / (2 * (self.verify * self.eps) ** 2))

    @property
    def delta(self) -> float:
        """Accuracy of a measured frequency."""
        return self.verify * self.eps

    @property
    def reach(self) -> float:
        """The accuracy of all passes at once, except with probability failure/2."""
        return self.eps + math.sqrt(math.log(2 * self.components / self.failure) / (2 * self.k))

    @property
    def update_at(self) -> float:
        """The smallest measured gap at which the hypothesis is updated."""
        return (1 - self.slack - self.verify) * self.eps

    @property
    def bound(self) -> float:
        """R, on updates; triggers that lead to one are no more."""
        return mistake_bound(self.qubits, (1 - self.slack - 2 * self.verify) * self.eps)

    @property
    def triggers(self) -> int:
        """The most triggers, except with probability `failure`/2 (always, where it is the number of components)."""
        if not self.proven:
            return self.components
        false, tail = 0, QUIET  # more than f false triggers: at most QUIET^(f+1)/(f+1)!
        while tail > self.failure / 2:
            false += 1
            tail *= QUIET / (false + 1)
        return min(self.components, math.floor(self.bound) + false)

    def cost(self, rotations: int, components: np.ndarray, triggers: int | None = None, spread: bool = False) -> Cost:
        """The quantum cost of a sweep with `triggers` triggers (by default the bound) at the components that cost most,
        those read earliest in the circuit; with `spread`, evenly over all.

        A copy at place p has cost M + (M - p) rotations; component m is read at p = m + 1. The first batch is prepared
        at p = M, and a new one when the next component after a trigger is checked.
        """
        if not len(components):
            return Cost()
        T = self.triggers if triggers is None else triggers
        k, fresh, first = self.k, self.fresh, int(components[0])
        lengths = 2 * rotations - 1 - np.sort(components)  # falling
        again = min(T, len(lengths) - 1)
        if spread:
            replaced = measured = float(lengths.mean())
            batches, spent = again * replaced, T * measured
        else:
            batches, spent = float(lengths[:again].sum()), float(lengths[:T].sum())
        return Cost(
            copies=k * (1 + again) + fresh * T,
            rotations=round(k * (2 * rotations - 1 - first + batches) + fresh * spent),
            measurements=2 * len(components) + fresh * T,
            depth=2 * rotations - 1 - first,
            qubits=held_qubits(k, self.qubits),
            classical_ops=fresh * T,
        )


def held_qubits(k: int, qubits: int) -> int:
    """Quantum memory of a check: k copies, a counter of accepting copies and a flag."""
    return k * qubits + max(1, k).bit_length() + 1


def eps_of_batch(k: int, components: int, c: float, slack: float) -> float:
    """The accuracy that batches of k copies reach: `design` the other way round."""
    return c * (math.log(2 * components / QUIET) + 1 / (8 * c**2)) / (slack * math.sqrt(k))
