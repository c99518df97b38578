"""What a batch of copies went through since it was prepared: checks, and how far they moved it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Ledger:
    """Sums over the checks and readings a batch went through.

    checks          threshold checks done, those that triggered included
    triggers        checks that triggered (only the last one, unless the batch survived it: `check(..., spend=False)`)
    readings        Gaussian-pointer readings of counts
    probability     sum of P, the trigger probabilities of the checks, as the engine saw them; `latest` is the last one
    trace_bound     sum over the checks that the batch survived of the exact trace distance by which the outcome moves
                    an undisturbed batch (`Check.pass_distance`, `Check.trigger_distance`), and over readings of
                    sqrt(k Delta^2)/(2 s), which bounds theirs. Comparing the batch, check after check, with one that is
                    made good as new bounds by it the total variation between the trajectories of true and undisturbed
                    batches; the trace distance between a batch that passed and an undisturbed one obeys it to first
                    order in P
    information     sum of the Fisher information about the counts, in copies^-2, of all that was measured and survived:
                    1/s^2 for a reading, `Check.information` of the outcome that came for a check. Nobody looking, a
                    measurement of S of information I is a random rotation exp(i phi S) of all copies, Var(phi) = I/4.
                    A rotation moves <E'> of a later event by |d<E'>/dphi| = |<[E, E']>| <= 2 sd(E) sd(E') <= 1/2, so
                    that by Poincare's inequality sqrt(information)/4 bounds the standard deviation by which all these
                    rotations have moved any later acceptance probability. What the answers are known to say included,
                    the mean fraction of copies that accept, given the record, has variance 1/(4k) + V/16 around that of
                    undisturbed copies at most, and Gaussian tails as k grows, if the batch is given up before the
                    information exceeds V. V has to be set beforehand: who stops asking once a deviation is large finds
                    larger ones than the information found in the end would say, by a factor that grows as
                    sqrt(ln ln information)
    infidelity      1 - |<undisturbed|batch>|^2: what the engine computes where it can (`infidelity_exact`), to its own
                    accuracy; otherwise the sum of squares of those distances, as if all moves were orthogonal
    error           the engine's own estimate of its largest error in a trigger probability so far; 0 for exact ones. An
                    engine refuses to go on beyond its `tolerance`
    """

    checks: int = 0
    triggers: int = 0
    readings: int = 0
    probability: float = 0.0
    latest: float = 0.0
    trace_bound: float = 0.0
    infidelity: float = 0.0
    information: float = 0.0
    error: float = 0.0
    infidelity_exact: bool = False

    def checked(self, probability: float, triggered: bool) -> None:
        self.checks += 1
        self.triggers += triggered
        self.latest = probability
        self.probability += probability

    def moved(self, distance: float, information: float) -> None:
        """What was measured moves an undisturbed batch by this trace distance and has this Fisher information."""
        self.trace_bound += float(distance)
        self.information += float(information)
        if not self.infidelity_exact:
            self.infidelity = min(1.0, self.infidelity + float(distance) ** 2)

    def off(self, error: float) -> None:
        """A trigger probability, or the law of a reading, is off by `error`, as the engine estimates."""
        self.error = min(1.0, max(self.error, float(error)))

    def exactly(self, infidelity: float) -> None:
        """The engine computed the infidelity to the undisturbed batch."""
        self.infidelity = min(1.0, max(0.0, float(infidelity)))
        self.infidelity_exact = True

    @property
    def trace_distance(self) -> float:
        """sqrt(infidelity), the trace distance of two pure batches."""
        return math.sqrt(self.infidelity)
