"""How far a product formula is from exp(-i t H), told beforehand from commutators.

Childs, Su, Tran, Wiebe, Zhu, Phys. Rev. X 11, 011020 (2021), arXiv:1912.08854. With groups H_1, ..., H_m as in
`quprop.model.trotter`, R_g = sum_{h > g} H_h and [R, H] the commutator, one step of time t is off, in spectral norm, by

    order 1:  t^2/2 sum_g |[R_g, H_g]|                                             (Proposition 9)
    order 2:  t^3 sum_g (|[R_g, [R_g, H_g]]|/12 + |[H_g, [H_g, R_g]]|/24)           (Proposition 10)
    order p:  t^{p+1}/(p+1) sum_j sum_w c_j(w) |[w_p, [..., [w_1, B_j]]]|

and r steps of time t/r by r times as much. The last is Theorem 5 with the derivative of the formula written around its
middle: S = S_L S_R, dS/dt + i H S = S_L T(t) S_R, and T is a sum of conjugations of B_j = a_j H_j, or H, by the stages
between it and the middle; T vanishes to order t^{p-1}, and the rest of each conjugation exp(t ad_K) ... exp(t ad_1) B
is at most t^p sum_{q_1 + ... + q_K = p} |ad_K^{q_K} ... ad_1^{q_1} B| / (q_1! ... q_K!), with K the stages.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.errors import QupropError, shown
from quprop.model.pauli import PauliString, PauliSum
from quprop.model.trotter import check_formula, formula, grouped, terms_of

NORMS = ("one", "spectral")
MAX_SPECTRAL_QUBITS = 10
MAX_PAIRS = 1 << 24  # of strings that are multiplied for one commutator
MAX_WORDS = 20_000  # of nested commutators
Operator = dict[PauliString, float]


@dataclass(frozen=True)
class TrotterBound:
    """What `trotter_error` tells: |S_order(time/steps)^steps - exp(-i time H)| <= bound, in spectral norm.

    bound = constant |time|^{order+1} / steps^order; n_groups: of terms that commute. An expectation value of O is off
    by 2 |O| bound at most, since both states are normalised.

    Returns: from `trotter_error`. Raises: QupropError, by `steps_for`, for a tolerance that is not positive.

    >>> bound = qpr.trotter_error("X0 + Z0", 1.0, order=1)
    >>> bound.bound, bound.steps_for(0.01)
    (1.0, 100)
    """

    bound: float
    constant: float
    time: float
    order: int
    steps: int
    n_groups: int

    def __float__(self) -> float:
        return self.bound

    def steps_for(self, tolerance: float) -> int:
        """The fewest steps whose bound is at most `tolerance`."""
        if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real) or not 0 < tolerance < math.inf:
            raise QupropError(f"tolerance is a positive number, got {shown(tolerance)}")
        steps = (self.constant * abs(self.time) ** (self.order + 1) / float(tolerance)) ** (1 / self.order)
        return max(1, math.ceil(steps * (1 - 1e-12)))

    def __str__(self) -> str:
        return (
            f"order {self.order}, {self.steps} step{'s' * (self.steps > 1)}, {self.n_groups} commuting "
            f"group{'s' * (self.n_groups != 1)}: error at most {self.bound:.3g}"
        )


def trotter_error(
    hamiltonian: Any, time: float, order: int = 2, steps: int = 1, *, grouping: str = "commuting", norm: str = "one"
) -> TrotterBound:
    """A rigorous bound on |S_order(time/steps)^steps - exp(-i time H)| in spectral norm, for what
    `Circuit.evolve(hamiltonian, time, order, steps, grouping=grouping)` appends (global phases aside).

    hamiltonian: a sum with numbers for coefficients. norm: commutators are measured by the sum of their coefficients,
        "one", or exactly as matrices, "spectral", on 10 qubits at most.

    Returns: TrotterBound, with `bound` and `steps_for(tolerance)`; 0 where all terms commute.
    Raises: QupropError for orders that are not 1 or even, coefficients or a time that are not numbers, and sums or
        orders with too many nested commutators. Source: arXiv:1912.08854, Propositions 9 and 10, Theorem 5.

    >>> bound = qpr.trotter_error("X0 + X1 + Z0 Z1", 1.0, order=2, steps=10)
    >>> print(bound)
    order 2, 10 steps, 2 commuting groups: error at most 0.0133
    >>> bound.steps_for(1e-4)
    116
    """
    check_formula(order, steps)
    if isinstance(time, bool) or not isinstance(time, numbers.Real) or not math.isfinite(time):
        raise QupropError(f"the error is told for a time that is a finite real number, got {shown(time)}")
    if norm not in NORMS:
        raise QupropError(f"norm is one or spectral, got {shown(norm)}")
    terms = terms_of(hamiltonian, 1 << 62)
    open_ = next((c for _, c in terms if not c.is_constant), None)
    if open_ is not None:
        raise QupropError(
            f"the error is told for coefficients that are numbers, got {open_}; put the largest values they will have"
        )
    n = max((string.n_qubits for string, _ in terms), default=0)
    if norm == "spectral" and n > MAX_SPECTRAL_QUBITS:
        raise QupropError(
            f'spectral norms are of {MAX_SPECTRAL_QUBITS} qubits at most, got {n}; leave norm="one", which is an upper '
            "bound"
        )
    groups = [{string: c.constant for string, c in part} for part in grouped(terms, grouping)]
    size = _Size(norm, n)
    if len(groups) < 2:
        constant = 0.0
    elif order == 1:
        constant = _first(groups, size)
    elif order == 2:
        constant = _second(groups, size)
    else:
        constant = _nested(groups, order, size)
    bound = constant * abs(float(time)) ** (order + 1) / float(steps) ** order
    return TrotterBound(bound, constant, float(time), order, steps, len(groups))


class _Size:
    """|A| of a real sum of strings, or what is not smaller."""

    def __init__(self, norm: str, n: int) -> None:
        self._dense, self._n = norm == "spectral", n

    def __call__(self, operator: Operator) -> float:
        if not self._dense or len(operator) < 2:
            return math.fsum(map(abs, operator.values()))
        return float(np.abs(np.linalg.eigvalsh(PauliSum(operator).matrix(self._n))).max())


def _commutator(left: Operator, right: Operator) -> Operator:
    """[A, B]/i, which is Hermitian where A and B are."""
    if len(left) * len(right) > MAX_PAIRS:
        raise QupropError(
            f"a commutator of {len(left)} and {len(right)} strings is too many to be multiplied out; bound the parts "
            "of the Hamiltonian one by one"
        )
    out: Operator = {}
    for p, a in left.items():
        for q, b in right.items():
            if not p.commutes(q):
                product = p * q
                turns = (product.phase - (product.x & product.z).bit_count()) & 3
                string = PauliString(product.x, product.z)
                out[string] = out.get(string, 0.0) + (2 * a * b if turns == 1 else -2 * a * b)
    return {string: c for string, c in out.items() if c}


def _sum(operators: Iterable[Operator]) -> Operator:
    out: Operator = {}
    for operator in operators:
        for string, c in operator.items():
            out[string] = out.get(string, 0.0) + c
    return out


def _first(groups: Sequence[Operator], size: _Size) -> float:
    return sum(size(_commutator(_sum(groups[g + 1 :]), h)) for g, h in enumerate(groups)) / 2


def _second(groups: Sequence[Operator], size: _Size) -> float:
    total = 0.0
    for g, h in enumerate(groups):
        rest = _sum(groups[g + 1 :])
        inner = _commutator(rest, h)
        total += size(_commutator(rest, inner)) / 12 + size(_commutator(h, inner)) / 24
    return total


def _nested(groups: Sequence[Operator], order: int, size: _Size) -> float:
    """Any order: the weights c_j(w) of all words w of groups, and the size of each nested commutator."""
    m = len(groups)
    if m ** (order + 1) > MAX_WORDS:
        raise QupropError(
            f"the bound of order {order} with {m} groups has more than {MAX_WORDS:,} nested commutators; tell the "
            "error of order 2, or group the terms into fewer commuting groups"
        )
    stages = formula(m, order, 1)
    middle = len(stages) // 2
    weights: dict[tuple[int, ...], float] = {}  # of (B, w_1, ..., w_p), B = m for H itself
    right, left = stages[:middle], stages[middle:]  # the first act first
    for j, (g, share) in enumerate(right):
        _add(weights, g, abs(share), right[j + 1 :], order)
    outward = left[::-1]
    for j, (g, share) in enumerate(outward):
        _add(weights, g, abs(share), outward[j + 1 :], order)
    _add(weights, m, 1.0, outward, order)
    bases = [*groups, _sum(groups)]
    nested: dict[tuple[int, ...], Operator] = {(b,): operator for b, operator in enumerate(bases)}
    for length in range(1, order + 1):
        for word in {w[: length + 1] for w in weights}:
            nested[word] = _commutator(groups[word[-1]], nested[word[:-1]])
    return sum(weight * size(nested[word]) for word, weight in weights.items()) / (order + 1)


def _add(
    weights: dict[tuple[int, ...], float], base: int, scale: float, stages: Sequence[tuple[int, float]], order: int
) -> None:
    """Add scale sum over q of prod_k |a_k|^{q_k}/q_k! to the words of exp(ad_K) ... exp(ad_1) B of length `order`."""
    found: dict[tuple[int, ...], float] = {(base,): scale}
    for g, share in stages:
        new: dict[tuple[int, ...], float] = {}
        for (word, weight), q in itertools.product(found.items(), range(order + 1)):
            if len(word) + q <= order + 1:
                longer = word + (g,) * q
                new[longer] = new.get(longer, 0.0) + weight * abs(share) ** q / math.factorial(q)
        found = new
    for word, weight in found.items():
        if len(word) == order + 1 and word[1] != base:  # a group commutes with itself
            weights[word] = weights.get(word, 0.0) + weight


__all__ = ["TrotterBound", "trotter_error"]
