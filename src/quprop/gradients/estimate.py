"""Estimate: what every gradient method returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.collective.ledger import shown
from quprop.cost import Cost

_SHOWN = 4  # components a printed estimate shows


@dataclass(frozen=True, eq=False)
class Estimate:
    """A gradient with its error and its cost.

    value: (..., n_params), the derivative of weights . <O> by each parameter; stderr: the standard error of each
    component, as estimated from the shots themselves; cost: what was executed; info: what else the method has to say
    (the allocation of shots, the groups read together, ...). A method whose claim is about undisturbed copies says in
    info["damage"] how far from that they were, and so does the printed line.

    stderr is 0 where the component is known without shots: by an exact method, or because no angle changes with that
    parameter at this point. Shots that all agree are no such knowledge, see `of_the_unseen`.
    """

    value: np.ndarray
    stderr: np.ndarray
    cost: Cost
    info: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values, errors = self.value.ravel(), self.stderr.ravel()
        listed = ", ".join(f"{v:.4g} ± {e:.1g}" for v, e in zip(values[:_SHOWN], errors[:_SHOWN], strict=True))
        more = f", ... ({values.size} in all)" if values.size > _SHOWN else ""
        damage = f"; {shown(self.info['damage'])}" if "damage" in self.info else ""
        return f"[{listed}{more}] for {self.cost}{damage}"


def of_the_unseen(shots: Any) -> Any:
    """(n + 1) / ((n + 2)^2 (n + 3)): the variance of the probability of what none of n shots showed.

    It is that of Beta(1, n + 1), which is left of Bayes' uniform prior after n shots. n shots that all gave one outcome
    show no spread, but another outcome at a distance d would have moved their mean by d times its probability: d^2
    times this is the variance of the mean, about (d/n)^2. An unbiased estimate says 0 there, and misses whatever has a
    probability below 1/n. (Why not more: from the first other outcome on, the unbiased estimate has (d/n)^2 too. Brown,
    Cai, DasGupta, Statist. Sci. 16, 101 (2001), compare intervals for such counts.)
    """
    n = np.asarray(shots, float)
    return (n + 1) / ((n + 2) ** 2 * (n + 3))
