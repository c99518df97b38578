"""Models whose observables have angles for coefficients, over any engine that evaluates their Pauli strings.

    F_k = sum_j c_kj <P_j>,     dF_k = sum_j c_kj d<P_j> + <P_j> dc_kj

The strings are the observables of `model.terms`. A cotangent w of F is the cotangent sum_k w_k c_kj of <P_j>, so one
sweep backwards serves all terms; what it takes besides are the values <P_j>, which the sweep forwards has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.angle_table import Scatter
from quprop.model.parameterised import Coefficients, refuse_parameters
from quprop.simulate.engine import Arrays, has_jet

_OF_STATES = ("states", "probabilities", "state_vjp", "state_jet", "tangents")  # which know no observables
_BINOMIAL = ((1.0,), (1.0, 1.0), (1.0, 2.0, 1.0))
_FEW = 4  # strings up to which a sweep backwards for each is less than one sweep of polynomials
_WHOLE = 20  # qubits of a state that a sweep of polynomials holds anywhere
_FACTORIAL = (1.0, 1.0, 2.0)


def combined(model: Model, engine: Any) -> Any:
    """The engine itself for a model whose coefficients are numbers."""
    return engine if model.coefficients is None else CoefficientEngine(engine)


class CoefficientEngine:
    """The linear combination and its derivatives; `inner` evaluates the strings."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.name = getattr(inner, "name", repr(inner))

    def __getattr__(self, name: str) -> Any:
        if name not in _OF_STATES:
            raise AttributeError(name)
        ask = getattr(self.inner, name)
        return lambda model, *rest: ask(model.terms, *rest)

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        c, coefficients = _coefficients(model), _at(model, theta, x)
        return _summed(c, coefficients * self._over(model, "values", theta, x).values(model.terms, theta, x)[:, c.term])

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        values, pullback = self.vjp(model, theta, x)
        w = np.broadcast_to(weights, values.shape)
        return (w * values).sum(axis=1), pullback(w)[0]

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back
        c, coefficients = _coefficients(model), _at(model, theta, x)
        terms, inner = self._over(model, "vjp", theta, x).vjp(model.terms, theta, x)

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            w = cotangent[:, c.observable]
            d_theta, d_x = inner(_on_terms(c, w * coefficients), sum_theta)
            by_theta, by_x = c.table.pullback(w * terms[:, c.term], theta, x)
            return d_theta + (by_theta.sum(axis=0) if sum_theta else by_theta), d_x + by_x

        return _summed(c, coefficients * terms[:, c.term]), pullback

    def hvp(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        cotangent: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """d_theta, d_x of cotangent . values, and their derivatives h_theta, h_x along (v_theta, v_x).

        With W_j = sum_k w_k c_kj: h = W Hessian<P> v + (dW/dv) grad<P> + sum_kj w_k (d<P_j>/dv grad c_kj + <P_j>
        Hessian c_kj v).
        """
        c, table = _coefficients(model), _coefficients(model).table
        over = self._over(model, "hvp", theta, x)
        coefficients, w = _at(model, theta, x), cotangent[:, c.observable]
        moved = table.pushforward(theta, x, v_theta, v_x)
        found = over.hvp(model.terms, theta, x, _on_terms(c, w * coefficients), v_theta, v_x)
        terms, inner = over.vjp(model.terms, theta, x)
        along = np.zeros_like(terms)  # d<P_j>/dv, where a coefficient of P_j depends on anything
        moving = np.unique(c.term[_depends(c)])
        if len(moving) > _FEW and has_jet(over) and model.n_qubits <= _WHOLE:
            along, moving = over.jet(model.terms, theta, x, v_theta, v_x, 1)[0][1], moving[:0]
        for j in moving:
            unit = np.zeros_like(terms)
            unit[:, j] = 1.0
            by_theta, by_x = inner(unit, False)
            along[:, j] = (by_theta * v_theta).sum(axis=1) + (by_x * v_x).sum(axis=1)
        first = table.pullback(w * terms[:, c.term], theta, x)
        second = [
            inner(_on_terms(c, w * moved), False),
            table.pullback(w * along[:, c.term], theta, x),
            table.pullback_tangent(w * terms[:, c.term], theta, x, v_theta, v_x),
        ]
        d_theta, d_x, h_theta, h_x = found
        return (
            d_theta + first[0],
            d_x + first[1],
            h_theta + sum(pair[0] for pair in second),
            h_x + sum(pair[1] for pair in second),
        )

    def jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, Callable[..., tuple[np.ndarray, ...]]]:
        """The derivatives d^k <O> / dt^k, k = 0 ... order, along (theta + t v_theta, x + t v_x): (order + 1, B, K); and
        pullback(cotangents like them, sum_theta=False) -> d_theta, d_x, d_v_theta, d_v_x, by the rule of Leibniz."""
        over = self._over(model, "vjp", theta, x)
        if not has_jet(over):
            raise QupropError(
                f"the engine {self.name!r} has no derivatives along a direction; take the engine of the state vector"
            )
        theta, x, v_theta, v_x = (a.copy() for a in (theta, x, v_theta, v_x))
        c = _coefficients(model)
        c.table.check(theta, x)
        powers = np.array(_FACTORIAL[: order + 1])[:, None, None]
        coefficients = c.table.jet(theta, x, v_theta, v_x, order) * powers
        terms, inner = over.jet(model.terms, theta, x, v_theta, v_x, order)
        values = np.stack(
            [
                _summed(c, sum(_BINOMIAL[k][i] * coefficients[i] * terms[k - i][:, c.term] for i in range(k + 1)))
                for k in range(order + 1)
            ]
        )

        def pullback(cotangents: np.ndarray, sum_theta: bool = False) -> tuple[np.ndarray, ...]:
            w = cotangents[:, :, c.observable]
            on_terms = np.zeros_like(terms)
            on_coefficients = np.zeros((order + 1, *w.shape[1:]))
            for k in range(order + 1):
                for i in range(k + 1):
                    on_terms[k - i] += _BINOMIAL[k][i] * _on_terms(c, w[k] * coefficients[i])
                    on_coefficients[i] += _BINOMIAL[k][i] * w[k] * terms[k - i][:, c.term]
            by_terms = inner(on_terms, sum_theta)
            parts = list(c.table.jet_pullback(on_coefficients * powers, theta, x, v_theta, v_x))
            if sum_theta:
                parts[0], parts[2] = parts[0].sum(axis=0), parts[2].sum(axis=0)
            return tuple(a + b for a, b in zip(by_terms, parts, strict=True))

        return values, pullback

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes of the strings' evaluation, and of their values and coefficients."""
        c = _coefficients(model)
        return self.inner.memory(model.terms, batch, what) + 32 * batch * (len(c.term) + len(c.strings))

    def propagate(self, model: Model, *_: Any) -> NoReturn:
        """Refused: its bounds are those of numbers."""
        refuse_parameters(model, "propagate")
        raise AssertionError

    def estimate(self, model: Model, *_: Any) -> NoReturn:
        """Refused: its standard errors are those of numbers."""
        refuse_parameters(model, "estimate")
        raise AssertionError

    def choose(self, model: Model, batch: int = 1, what: str = "value_and_grad") -> Any:
        """Of the engine of all models: what it takes for the strings, and why."""
        return self.inner.choose(model.terms, batch, what)

    def _over(self, model: Model, what: str, *rows: np.ndarray) -> Any:
        """What evaluates the strings; refused where it keeps a tolerance, which is not that of their combination."""
        found = self.inner
        if hasattr(found, "choose"):
            found = found.choose(model.terms, max(map(len, rows)), what).engine
        if getattr(getattr(found, "settings", None), "limit", None):
            raise QupropError(
                "Pauli propagation keeps a tolerance for observables whose coefficients are numbers, and this model's "
                "have params or inputs in them; take PauliPropagation(0), which drops nothing, a cutoff, or "
                "model.bound_observables(theta, x)"
            )
        return found


def _coefficients(model: Model) -> Coefficients:
    assert model.coefficients is not None
    return model.coefficients


def _at(model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(B, E), or (1, E); refused where they leave the range of double precision."""
    table = _coefficients(model).table
    table.check(theta, x)
    return table.evaluate(theta, x)


def _added(to: Scatter, size: int, rows: np.ndarray) -> np.ndarray:
    out = np.zeros((len(rows), size))
    if rows.shape[1]:
        to.add(out, rows)
    return out


def _summed(c: Coefficients, rows: Any) -> np.ndarray:
    """Sums (B, K) over the terms of each observable."""
    return _added(c.to_observables, c.n_observables, rows)


def _on_terms(c: Coefficients, rows: np.ndarray) -> np.ndarray:
    """Sums (B, T) over the observables that have a string."""
    return _added(c.to_terms, len(c.strings), rows)


def _depends(c: Coefficients) -> np.ndarray:
    """(E,) which coefficients are no numbers."""
    return np.diff(c.table.mono_ptr) > 0
