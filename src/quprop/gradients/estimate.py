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
    component, as estimated from the shots themselves (zero for an exact method); cost: what was executed;
    info: what else the method has to say (the allocation of shots, the groups read together, ...). A method whose claim
    is about undisturbed copies says in info["damage"] how far from that they were, and so does the printed line.
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
