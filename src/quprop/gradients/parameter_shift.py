"""The parameter-shift rule."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from quprop.cost import Cost
from quprop.errors import QupropError, count_of
from quprop.gradients.adaptive import AdaptivePlan
from quprop.gradients.method import GradientMethod
from quprop.gradients.shift_rules import Rule, Shift, shifts_of
from quprop.model import Model
from quprop.sampling.budget import Budget
from quprop.sampling.grouping import Grouping, group
from quprop.sampling.linear import LinearPlan, driven
from quprop.sampling.loads import Described, cost_of_load, gathered, needed
from quprop.sampling.plan import settle
from quprop.sampling.programs import free
from quprop.sampling.rows import Shifted
from quprop.sampling.sampler import Runs
from quprop.sampling.shape import Load, Shape, Wanted
from quprop.sampling.terms import Terms

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts


@dataclass(frozen=True, kw_only=True)
class ParameterShift(GradientMethod, Budget):
    """dF/da_m = (F(a_m + pi/2) - F(a_m - pi/2)) / 2 for every rotation; for rotations that one parameter turns
    together, the general rule where it needs fewer runs (`gradients/shift_rules.py`).

    Unbiased: F is a trigonometric polynomial in each angle, which the rule differentiates exactly, and shots of
    different runs are independent. One copy, the model's own circuit, no ancilla.

    Cost: two runs for each rotation that theta drives (2R for a set of rotations with R frequencies), times the groups
    in which the observable is read, times shots; each run executes all M rotations. At one max-norm error the rotations
    executed grow as M^2.

    grouping: how a sum of Pauli strings is read (`sampling/grouping.py`). rule: "auto", "two_term" or "general".
    adaptive: a first part of the shots, `pilot` of them, only measures variances; the rest is allotted by them (Neyman)
    and alone makes the estimate, which therefore stays unbiased.

    Sources: Mitarai et al., arXiv:1803.00745; Schuld et al., arXiv:1811.11184; Wierichs et al., arXiv:2107.12390.

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.ParameterShift(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.48 ± 0.02] for 2,000 copies, 2,000 runs, 2,000 rotations, depth 1, 1 qubit, 2,000 classical multiply-adds
    """

    name: ClassVar[str] = "parameter_shift"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    exponents: ClassVar[Mapping[str, float | str]] = {
        "hardware_efficient": 2.0,
        "random_pauli": 2.0,
        "commuting_generator": 2.0,
        "pauli_list": 2.0,
    }
    swept_to: ClassVar[Mapping[str, int]] = {"commuting_generator": 256, "pauli_list": 1024}
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"
    rule: Rule = "auto"
    adaptive: bool = False
    pilot: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.pilot, bool) or not isinstance(self.pilot, numbers.Real) or not 0 < self.pilot < 1:
            raise QupropError(f"pilot is a fraction of the shots, between 0 and 1, got {self.pilot!r}")
        if self.adaptive and self.max_error is not None:
            raise QupropError(
                "adaptive=True measures variances, which bound a standard error and not the largest error; "
                "pass precision= or total_shots= in place of max_error="
            )

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> LinearPlan:
        w = settle(model, weights, self)
        terms = Terms.of(model)
        groups = group(terms.total(w), self.grouping, model.clifford)
        moved = driven(model)
        shifts = shifts_of(model, moved.tolist(), self.rule)
        runs = shifted_runs(model, terms, groups, shifts)
        given: dict[str, Any] = {"weights": w, "at": at, "groups": groups}
        given["info"] = {"rule": _in_words(shifts, len(moved))}
        if self.adaptive:
            return AdaptivePlan(model, terms, self, runs, **given, pilot=float(self.pilot))
        return LinearPlan(model, terms, self, runs, **given)

    @classmethod
    def load(cls, facts: ModelFacts) -> Load:
        M = facts.model.n_rotations
        shifts = [s for s in shifts_of(facts.model, facts.trained.tolist()) if len(s.shifts)]
        sizes = [float(np.abs(s.coefficients).sum()) for s in shifts]
        moved = gathered([[s.rotations[0]] for s in shifts], M) if shifts else None
        needs = 0.0 if moved is None else float(needed(sp.diags_array(sizes).tocsr() @ moved @ facts.slopes).sum())
        return facts.own_circuits(sum(len(s.shifts) for s in shifts), needs)

    @classmethod
    def described_load(cls, circuit: Described) -> Load:
        return circuit.own_circuits(2 * circuit.rotations)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        return cost_of_load(shape, shape.loads[cls.name], wanted.variance(shape.parameters))


def shifted_runs(model: Model, terms: Terms, groups: Grouping, shifts: list[Shift]) -> list[Runs]:
    """For each group of the observable's strings, every shifted run; their sum is the gradient by angles."""
    count = sum(len(s.shifts) for s in shifts)
    index = np.full((count, max((len(s.rotations) for s in shifts), default=1)), -1)
    amount = np.zeros(index.shape)
    targets, factors = np.zeros(count, np.int64), np.zeros(count)
    start = 0
    for s in shifts:
        rows, slots = slice(start, start + len(s.shifts)), slice(len(s.rotations))
        index[rows, slots] = s.rotations
        amount[rows, slots] = s.shifts[:, None] * s.scales
        targets[rows], factors[rows] = s.rotations[0], s.coefficients
        start += len(s.shifts)
    program, rows_of = free(model), Shifted(index, amount)
    return [
        Runs(
            program,
            rows_of,
            strings := tuple(p for p, _ in members),
            targets=targets,
            factors=np.tile(factors[:, None], len(strings)),
            terms=np.array([terms.position(p) for p in strings]),
            lengths=np.full(count, model.n_rotations),
            mixture=groups.scheme == "sampled",
        )
        for members in groups.groups
    ]


def _in_words(shifts: list[Shift], rotations: int) -> str:
    runs = sum(len(s.shifts) for s in shifts)
    together = [s for s in shifts if len(s.rotations) > 1]
    if runs == 2 * rotations and not together:
        return f"two runs for each of {rotations:,} rotations"
    moved = sum(len(s.rotations) for s in together)
    return (
        f"{count_of(runs, 'run')} for {count_of(rotations, 'rotation')} (two for each would be {2 * rotations:,}), "
        f"{moved:,} of them moved in {count_of(len(together), 'set')} by the general rule"
    )
