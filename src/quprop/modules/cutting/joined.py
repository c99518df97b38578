"""`Joined`: what a cut plan computes exactly, by an engine that simulates the fragments.

The uncut values are the contraction of the fragments' tensors T_f with the coefficients C(a) of the cut gates, which is
linear in each of them. So a first derivative is a contraction with one tensor left out (contract.py), and a second one
its derivative again along dT_f and da. That derivative is taken by a complex step (Squire and Trapp, SIAM Rev. 40, 110
(1998)): a contraction of T + i h dT has, for h small enough that h^2 is nothing, the derivative as its imaginary part
over h. There is no difference in it, so it is exact to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.modules.cutting import contract
from quprop.modules.cutting.fragments import TRANSPOSE, coupling
from quprop.simulate.engine import no_jet

if TYPE_CHECKING:
    from quprop.modules.cutting.plan import CutPlan

Arrays = tuple[np.ndarray, np.ndarray]
_STEP = 300  # the largest imaginary part is 2^-300: its square is nothing beside 1


class Joined:
    """The functions of an engine for what a plan computes: checked arguments in, results sample by sample out."""

    name = "joined"

    def __init__(self, plan: CutPlan, engine: Any) -> None:
        self.plan, self.engine = plan, engine

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        tensors = [self.engine.values(f.model, theta, x) for f in self.plan.fragments]
        terms, _ = join(self.plan, tensors, self.plan.table.evaluate(theta, x))
        return terms @ self.plan.coefficients

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """The derivative goes through the contraction to every fragment's tensor, from there by one backward sweep
        through each fragment, and through the coefficients of the cut gates to their angles."""
        plan = self.plan
        tensors, backs = zip(*(self.engine.vjp(f.model, theta, x) for f in plan.fragments), strict=True)
        terms, through = join(plan, tensors, plan.table.evaluate(theta, x))

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            d_tensors, d_angles = through(cotangent @ plan.coefficients.T)
            parts = [back(np.ascontiguousarray(d)) for back, d in zip(backs, d_tensors, strict=True)]
            d_theta, d_x = _total([*parts, plan.table.pullback(d_angles, theta, x)])
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return terms @ plan.coefficients, pullback

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        values, pullback = self.vjp(model, theta, x)
        return (values * weights).sum(axis=1), pullback(np.broadcast_to(weights, values.shape))[0]

    jet = state_jet = no_jet

    def hvp(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        cotangent: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Forward over reverse. The derivative of a fragment's tensor along v is one backward sweep a setting."""
        plan, table = self.plan, self.plan.table
        tensors, backs = zip(*(self.engine.vjp(f.model, theta, x) for f in plan.fragments), strict=True)
        moves = [_along(back, t.shape, v_theta, v_x) for t, back in zip(tensors, backs, strict=True)]
        angles, turns = table.evaluate(theta, x), table.pushforward(theta, x, v_theta, v_x)
        size = max((float(np.abs(m).max()) for m in (*moves, turns) if m.size), default=0.0) or 1.0

        def stepped(a: np.ndarray, da: np.ndarray) -> np.ndarray:
            return a + 1j * np.ldexp(da / size, -_STEP)

        _, through = join(plan, list(map(stepped, tensors, moves)), stepped(angles, turns))
        d_tensors, d_angles = through(cotangent @ plan.coefficients.T)

        def along_v(a: np.ndarray) -> np.ndarray:
            return np.ldexp(a.imag, _STEP) * size

        first, second = [], []
        for f, back, d in zip(plan.fragments, backs, d_tensors, strict=True):
            g_theta, g_x, h_theta, h_x = self.engine.hvp(f.model, theta, x, np.ascontiguousarray(d.real), v_theta, v_x)
            first.append((g_theta, g_x))
            second += [(h_theta, h_x), back(np.ascontiguousarray(along_v(d)))]
        first.append(table.pullback(d_angles.real, theta, x))
        second.append(table.pullback(along_v(d_angles), theta, x))
        second.append(table.pullback_tangent(d_angles.real, theta, x, v_theta, v_x))
        return (*_total(first), *_total(second))

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> NoReturn:
        raise QupropError(
            "a cut plan has values and gradients but no state, since its fragments are never held together; "
            "simulate the uncut model for that"
        )

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Of all fragments, whose sweeps wait for one another, and of the tensors."""
        fragments = self.plan.fragments
        tensors = 32 * batch * sum(len(f.model.observables) for f in fragments)
        return tensors + sum(self.engine.memory(f.model, batch, what) for f in fragments)


def join(
    plan: CutPlan, tensors: Sequence[np.ndarray], angles: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], tuple[list[np.ndarray], np.ndarray]]]:
    """Terms (B, J) from the fragments' values (B, settings) and the cut gates' angles (B, G), each B or 1 rows.

    pullback: (B, J) -> the same for the values and the angles.
    """
    batch = max(map(len, (*tensors, angles)))
    angles = np.broadcast_to(angles, (batch, angles.shape[1]))
    operands = []
    for k, (f, values) in enumerate(zip(plan.fragments, tensors, strict=True)):
        shaped = np.broadcast_to(values, (batch, values.shape[1])).reshape(batch, *f.shape)
        operands.append(shaped[..., plan.factors[k]] if plan.several[k] else shaped[..., 0])
    gate = 0
    for c in plan.cuts:
        if c.kind == "gate":
            operands.append(_coupled(c.parts, angles[:, gate], 0))
            gate += 1
        else:
            operands.append(TRANSPOSE)
    terms, back = contract.contract(operands, plan.ids, plan.path)

    def pullback(cotangent: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        grads = back(cotangent)
        d_tensors = []
        for k, f in enumerate(plan.fragments):
            out = np.zeros((batch, *f.shape), grads[k].dtype)
            if plan.several[k]:
                choose = np.zeros((len(plan.terms), len(f.locals)))
                choose[np.arange(len(plan.terms)), plan.factors[k]] = 1.0
                out[...] = grads[k] @ choose
            else:
                out[..., 0] = grads[k]
            d_tensors.append(out.reshape(batch, -1))
        d_angles = np.empty(angles.shape, angles.dtype)
        gate = 0
        for c, grad in zip(plan.cuts, grads[len(plan.fragments) :], strict=True):
            if c.kind == "gate":
                slope = _coupled(c.parts, angles[:, gate], 1)
                d_angles[:, gate] = (grad * slope).reshape(batch, -1).sum(axis=1)
                gate += 1
        return d_tensors, d_angles

    return np.broadcast_to(terms, (batch, len(plan.terms))), pullback


def _along(
    back: Callable[[np.ndarray], Arrays], shape: tuple[int, ...], v_theta: np.ndarray, v_x: np.ndarray
) -> np.ndarray:
    """The derivative of values (B, K) along v, from their pullback."""
    out, row = np.empty(shape), np.zeros(shape)
    for k in range(shape[1]):
        row[:, k] = 1.0
        d_theta, d_x = back(row)
        out[:, k] = (d_theta * v_theta).sum(axis=1) + (d_x * v_x).sum(axis=1)
        row[:, k] = 0.0
    return out


def _total(parts: Sequence[Arrays]) -> Arrays:
    return sum(p[0] for p in parts), sum(p[1] for p in parts)  # type: ignore[return-value]


def _coupled(parts: int, angle: np.ndarray, derivative: int) -> np.ndarray:
    """The coefficients of a shared gate, (B, 4, ..., 4), or their derivative by the angle."""
    even, odd, cross = coupling(parts)
    a = angle.reshape(-1, *(1,) * parts)
    if derivative:
        return np.sin(a) / 2 * (odd - even) + np.cos(a) * cross
    return np.cos(a / 2) ** 2 * even + np.sin(a / 2) ** 2 * odd + np.sin(a) * cross
