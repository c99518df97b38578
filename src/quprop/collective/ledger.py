"""What a batch of copies went through since it was prepared: checks, and how far they moved it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Ledger:
    """Sums over the checks a batch passed.

    checks          threshold checks done, those that triggered included
    triggers        checks that triggered (the last one: a batch that triggered is spent)
    readings        Gaussian-pointer readings of counts
    probability     sum of P, the trigger probabilities of the checks, as the engine saw them
    trace_bound     sum of P sigma / (2 lambda) over the checks passed (for Gaussian noise sd(f)/2), sigma the standard
                    deviation of the count in an undisturbed batch: to first order in P the trace distance between this
                    batch and an undisturbed one is at most this (Badescu and O'Donnell, arXiv:2011.10908; every pass
                    moves a pure batch by sd(f)/2, and distances add at worst). The total variation between the
                    trajectories of true and undisturbed batches obeys it too
    infidelity      1 - |<undisturbed|batch>|^2: what the engine computes where it can (`infidelity_exact`), to its own
                    accuracy; otherwise the sum of the one-pass values Var(f)/4, as if all moves were orthogonal
    error           the engine's own estimate of its largest error in a trigger probability so far; 0 for exact ones
    """

    checks: int = 0
    triggers: int = 0
    readings: int = 0
    probability: float = 0.0
    trace_bound: float = 0.0
    infidelity: float = 0.0
    error: float = 0.0
    infidelity_exact: bool = False

    def checked(self, probability: float, triggered: bool) -> None:
        self.checks += 1
        self.triggers += triggered
        self.probability += probability

    def moved(self, trace: float, infidelity: float) -> None:
        """A pass, or a reading, that moved the batch by `trace`; `infidelity` counts where nothing exact is known."""
        self.trace_bound += float(trace)
        if not self.infidelity_exact:
            self.infidelity = min(1.0, self.infidelity + float(infidelity))

    def exactly(self, infidelity: float) -> None:
        """The engine computed the infidelity to the undisturbed batch."""
        self.infidelity = min(1.0, max(0.0, float(infidelity)))
        self.infidelity_exact = True

    @property
    def trace_distance(self) -> float:
        """sqrt(infidelity), the trace distance of two pure batches."""
        return math.sqrt(self.infidelity)
