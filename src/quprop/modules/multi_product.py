"""Multi-product formulas: expectation values at several numbers of steps, extrapolated to infinitely many.

The value after k steps of a product formula of order p is <O> + sum_s a_s k^{-s}, with s = p, p + 2, p + 4, ... where p
is even, since such a formula is symmetric in time, and s = 1, 2, 3, ... where p = 1. So sum_j c_j <O>_{k_j} with

    sum_j c_j = 1,  sum_j c_j k_j^{-s} = 0 for the first s, one fewer than there are numbers of steps

cancels as many of the errors (Richardson; Childs, Wiebe, Quantum Inf. Comput. 12, 901 (2012); of expectation values,
Endo et al., Phys. Rev. A 99, 012334 (2019); Vazquez et al., Quantum 7, 1067 (2023)). sum |c_j| multiplies what each
value is off by rounding or shots; numbers of steps that are far apart keep it small (Low, Kliuchnikov, Wiebe,
arXiv:1907.11679).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np

from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.model.trotter import check_formula
from quprop.simulate.coefficients import combined
from quprop.simulate.engine import InPlaceOf

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class MultiProduct(InPlaceOf):
    """sum_j coefficients_j <O>_j over models of one shape; serves where a `Model` is asked for values and derivatives:
    `expectation`, `vjp`, `value_and_grad`, `hvp`, `train`, `QuantumLayer` and the JAX `function`.

    model: that of the most steps, whose text run folders keep. `multi_product` makes it, and refuses what does not fit.

    Returns: a plan with `models`, `steps`, `coefficients`, `order` and `condition`.
    Raises: QupropError, by `quprop.state`, since it has values but no state.

    >>> plan = qpr.multi_product(lambda k: qpr.Model(qpr.Circuit(1).evolve("X0 + Z0", 0.5, steps=k), "Z0"), (1, 2))
    >>> [round(c, 6) for c in plan.coefficients], round(plan.condition, 6)
    ([-0.333333, 1.333333], 1.666667)
    """

    models: tuple[Model, ...] = field(repr=False)
    steps: tuple[int, ...]
    coefficients: tuple[float, ...]
    order: int

    @property
    def condition(self) -> float:
        """sum_j |c_j|: the error of every single value, times this, bounds what they add to the error of the sum."""
        return math.fsum(map(abs, self.coefficients))

    @property
    def model(self) -> Model:  # type: ignore[override]
        return self.models[int(np.argmax(self.steps))]

    def engine_over(self, engine: Any) -> Weighted:
        return Weighted(self, engine)


class Weighted:
    """The functions of an engine for a weighted sum of models: each is linear in what the models give."""

    name = "weighted"

    def __init__(self, plan: MultiProduct, engine: Any) -> None:
        self.plan, self.engine = plan, engine

    def _each(self, theta: np.ndarray, x: np.ndarray) -> list[tuple[float, Model]]:
        for model in self.plan.models:
            model.angle_table.check(theta, x)
        return list(zip(self.plan.coefficients, self.plan.models, strict=True))

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return _total(c * combined(m, self.engine).values(m, theta, x) for c, m in self._each(theta, x))

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        each = self._each(theta, x)
        values, backs = zip(*(combined(m, self.engine).vjp(m, theta, x) for _, m in each), strict=True)

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            parts = [back(c * cotangent, sum_theta) for (c, _), back in zip(each, backs, strict=True)]
            return _total(p[0] for p in parts), _total(p[1] for p in parts)

        return _total(c * v for (c, _), v in zip(each, values, strict=True)), pullback

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        parts = [combined(m, self.engine).value_and_grad(m, theta, x, c * weights) for c, m in self._each(theta, x)]
        return _total(p[0] for p in parts), _total(p[1] for p in parts)

    def hvp(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        cotangent: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        parts = [
            combined(m, self.engine).hvp(m, theta, x, c * cotangent, v_theta, v_x) for c, m in self._each(theta, x)
        ]
        first, second, third, fourth = (_total(column) for column in zip(*parts, strict=True))
        return first, second, third, fourth

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> NoReturn:
        raise QupropError(
            "a multi-product formula has values and gradients but no state, since values are what it adds up; "
            "simulate one of its models for that"
        )

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Of all models, whose backward sweeps wait for one another."""
        return sum(self.engine.memory(m, batch, what) for m in self.plan.models)


def multi_product(build: Callable[[int], Model], steps: Sequence[int] = (1, 2, 4), order: int = 2) -> MultiProduct:
    """The extrapolation of expectation values to infinitely many steps of a product formula, as one thing to
    differentiate and to train: sum_j c_j <O>_{k_j}, of error O(t^{2m+1}) with m numbers of steps and order 2.

    build: a function from a number of steps to the `Model`; all evolutions in it have this order and take this number
        of steps. steps: different numbers k_j; order: of `Circuit.evolve`, 1 or even.

    Returns: MultiProduct, with `coefficients` and `condition` = sum_j |c_j|.
    Raises: QupropError for steps that repeat or are no whole numbers from 1, orders that are not 1 or even, and models
        whose parameters, inputs, or numbers of observables differ.
    Source: Childs, Wiebe (2012); Endo et al. (2019); Vazquez et al., arXiv:2306.12569.

    >>> t = qpr.params("t", 1)
    >>> plan = qpr.multi_product(lambda k: qpr.Model(qpr.Circuit(1).evolve("X0 + Z0", t[0], steps=k), "Z0"))
    >>> exact = (1 + np.cos(2 * np.sqrt(2) * 0.5)) / 2
    >>> [float(abs(qpr.expectation(m, [0.5]) - exact)[0].round(6)) for m in (*plan.models, plan)]
    [0.067991, 0.016883, 0.00421, 5e-06]
    """
    check_formula(order, 1)
    given = list(steps) if isinstance(steps, Sequence) and not isinstance(steps, str) else [steps]
    whole = all(isinstance(k, numbers.Integral) and not isinstance(k, bool) and k > 0 for k in given)
    if not given or not whole or len(set(given)) < len(given):
        raise QupropError(f"steps is a list of different whole numbers from 1 such as (1, 2, 4), got {shown(steps)}")
    if not callable(build):
        raise QupropError(f"build is a function from a number of steps to a Model, got {type(build).__name__}")
    ks = tuple(int(k) for k in given)
    models = tuple(build(k) for k in ks)
    for k, model in zip(ks, models, strict=True):
        if not isinstance(model, Model):
            raise QupropError(f"build is a function from a number of steps to a Model, got {type(model).__name__}")
        if _shape(model) != _shape(models[0]):
            raise QupropError(
                f"the models of {ks[0]} and {k} steps differ in their qubits, parameters, inputs or number of "
                "observables; build may use the number of steps in evolve(..., steps=k) only"
            )
    return MultiProduct(models, ks, _coefficients(ks, order), int(order))


def _shape(model: Model) -> tuple[Any, ...]:
    return model.n_qubits, model.param_names, model.param_sizes, model.n_inputs, model.n_observables


def _coefficients(ks: tuple[int, ...], order: int) -> tuple[float, ...]:
    """c of the conditions above, by elimination with fractions: in floats many steps would leave no digit."""
    powers = [0, *(order + (1 + (order > 1)) * i for i in range(len(ks) - 1))]
    rows = [[Fraction(1, k**s) for k in ks] + [Fraction(s == 0)] for s in powers]
    for i in range(len(rows)):
        pivot = next(r for r in range(i, len(rows)) if rows[r][i])  # generalised Vandermonde: never singular
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for r in range(len(rows)):
            if r != i and rows[r][i]:
                rows[r] = [a - rows[r][i] * b for a, b in zip(rows[r], rows[i], strict=True)]
    return tuple(float(row[-1]) for row in rows)


def _total(parts: Any) -> np.ndarray:
    total, *rest = parts
    for part in rest:
        total = total + part
    return np.asarray(total)


__all__ = ["MultiProduct", "multi_product"]
