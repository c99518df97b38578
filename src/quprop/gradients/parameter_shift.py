"""The parameter-shift rule, two-term per rotation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from quprop.gradients.budget import Budget
from quprop.gradients.grouping import group
from quprop.gradients.linear import LinearPlan, driven
from quprop.gradients.plan import Terms, settle
from quprop.gradients.programs import free
from quprop.gradients.rows import Shifted
from quprop.gradients.sampler import Runs
from quprop.model import Model


@dataclass(frozen=True, kw_only=True)
class ParameterShift(Budget):
    """dF/da_m = (F(a_m + pi/2) - F(a_m - pi/2)) / 2 for every rotation."""

    name: ClassVar[str] = "parameter_shift"
    copies: ClassVar[int] = 1
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> LinearPlan:
        w = settle(model, weights)
        terms = Terms.of(model)
        groups = group(terms.total(w), self.grouping)
        program, moved = free(model), driven(model)
        runs = []
        for members in groups.groups:
            strings = tuple(p for p, _ in members)
            index = np.array([terms.position(p) for p in strings])
            sign = np.repeat([[0.5], [-0.5]], len(moved), axis=0)
            runs.append(
                Runs(
                    program,
                    Shifted(np.tile(moved, 2)[:, None], math.pi * sign),
                    strings,
                    targets=np.tile(moved, 2),
                    factors=np.repeat(sign, len(strings), axis=1),
                    terms=index,
                    lengths=np.full(2 * len(moved), model.n_rotations),
                    mixture=groups.scheme == "sampled",
                )
            )
        return LinearPlan(model, terms, self, runs, weights=w, at=at, info={"observable": str(groups)})
