"""The coherent majority vote on N copies, and readings of a count by a Gaussian pointer: what they tell and disturb.

For Pauli expectations whose magnitude is known to be at least `gap` the sign is read by projecting N copies on "at
least half accept" against "fewer accept". With the promise a vote is exponentially gentle, so that M votes in sequence
work on the same N = O(log M / gap^2) copies (Huang, Kueng and Preskill, arXiv:2101.02464; the special case of Abbas et
al., arXiv:2305.13362, Proposition 7). A batch of an engine casts one with :func:`vote_check`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from quprop.collective import binomial
from quprop.collective.check import Check, count_law
from quprop.collective.event import Event
from quprop.errors import QupropError

_HARD = 1e-9  # noise, in copies, that makes f a step: exp(-0.5/1e-9) is zero


class Vote(NamedTuple):
    """One vote on undisturbed copies of a pure state.

    success     Pr[the vote has the sign of the mean], exact
    infidelity  1 - |<before|after>|^2 given the right outcome; a projection's fidelity is its probability, so that it
                is 1 - success
    distance    the trace distance sqrt(1 - success)
    bound       exp(-N mean^2/2), Hoeffding's bound of 1 - success
    """

    success: float
    infidelity: float
    distance: float
    bound: float


def vote(mean: float, copies: int) -> Vote:
    """The vote on sign(<P>), <P> = `mean` in [-1, 1]; half of the copies accepting counts as plus."""
    _copies(copies)
    if not -1 <= mean <= 1:
        raise QupropError(f"`mean` is a Pauli expectation in [-1, 1], got {mean}")
    accepting, needed = (1 + mean) / 2, (copies + 1) // 2
    law = binomial.cdf if mean >= 0 else binomial.above
    wrong = float(law(np.array(needed - 1.0), copies, accepting))
    return Vote(1 - wrong, wrong, math.sqrt(wrong), math.exp(-copies * mean**2 / 2))


def votes_failure(means: np.ndarray, copies: int) -> float:
    """A bound on Pr[any of the votes in sequence on the same copies is wrong]: 4 sum_i (1 - success_i).

    The quantum union bound of Gao (arXiv:1410.5688, Theorem 1), for projections that do not commute.
    """
    return min(1.0, 4 * sum(vote(float(m), copies).infidelity for m in np.ravel(means)))


def copies_for(gap: float, votes: int, failure: float = 0.01) -> int:
    """Copies on which `votes` votes with |mean| >= gap all succeed: N = 2 ln(4 votes/failure)/gap^2."""
    if not 0 < gap <= 1:
        raise QupropError(f"`gap` is the least magnitude of the means, in (0, 1], got {gap}")
    if votes < 1 or not 0 < failure < 1:
        raise QupropError(f"`votes` must be 1 or more and `failure` in (0, 1), got {votes} and {failure}")
    return math.ceil(2 * math.log(4 * votes / failure) / gap**2)


def vote_check(event: Event, copies: int) -> Check:
    """The projection on "at least half of the copies accept" as a check with hardly any noise; a trigger is a plus."""
    _copies(copies)
    return Check(event, ((copies + 1) // 2 - 0.25) / copies, _HARD)


class Reading(NamedTuple):
    """A count read with a Gaussian pointer of noise s, on k undisturbed copies with <E> = p, sigma^2 = k p (1 - p).

    deviation   of the fraction y/k around p: sqrt(sigma^2 + s^2)/k
    infidelity  1 - the fidelity with the batch before, averaged over outcomes, exact
    estimate    1 - 1/sqrt(1 + sigma^2/(2 s^2)), about sigma^2/(4 s^2): the same in the limit of many copies
    distance    sqrt(infidelity), which bounds the trace distance of the averaged batch (Fuchs and van de Graaf)
    """

    deviation: float
    infidelity: float
    estimate: float
    distance: float


def reading(mean: float, copies: int, noise: float) -> Reading:
    """Kraus operators proportional to exp(-(y - S)^2/(4 s^2)), s = `noise` in copies.

    They multiply the coherence between counts s1 and s2 by exp(-(s1 - s2)^2/(8 s^2)), whatever is read.
    """
    _copies(copies)
    if not 0 <= mean <= 1:
        raise QupropError(f"`mean` is an acceptance probability in [0, 1], got {mean}")
    if not noise > 0:
        raise QupropError(f"`noise` must be a positive number of copies, got {noise}; sqrt(k) is a mild reading")
    counts, q = count_law(copies, mean, copies * mean)
    spread = len(counts)
    both = np.convolve(q, q[::-1])  # law of the difference of two counts
    steps = np.arange(-spread + 1, spread)
    infidelity = max(0.0, float(-both @ np.expm1(-(steps**2) / (8 * noise**2))))
    variance = copies * mean * (1 - mean)
    return Reading(
        math.sqrt(variance + noise**2) / copies,
        infidelity,
        -math.expm1(-0.5 * math.log1p(variance / (2 * noise**2))),
        math.sqrt(infidelity),
    )


def _copies(copies: int) -> None:
    if isinstance(copies, bool) or not isinstance(copies, int | np.integer) or copies < 1:
        raise QupropError(f"`copies` must be a whole number, 1 or more, got {copies!r}")
