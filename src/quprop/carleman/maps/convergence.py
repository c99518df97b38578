"""How the truncated lift converges, and where it does not: the numbers behind the figures.

`error_against_order` for any run; `toy` and `logistic_run` make runs inside and outside the radius of convergence;
`kappa_table` for the condition number of the history system.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from quprop.carleman.engines import LiftedState
from quprop.carleman.engines.lift import lift, march
from quprop.carleman.maps.dynamics import Dynamics, Polynomial, PolynomialMap, as_dynamics, from_tensors
from quprop.carleman.maps.polynomial import minimum, ridge_logistic
from quprop.carleman.system.history import HistorySystem, scalar_kappa
from quprop.errors import QupropError


@dataclass(frozen=True, eq=False)
class OrderError:
    """Errors ||y_1 - u|| of one order: largest over time, final, and at every time (``course``, times 0, 1, ... until
    the end or divergence); ``relative`` is final / ||theta(T)||."""

    order: int
    largest: float
    final: float
    relative: float
    diverged: int | None
    tail: float | None
    course: np.ndarray


def error_against_order(
    dynamics: Dynamics | PolynomialMap,
    start: np.ndarray,
    orders: Sequence[int],
    steps: int,
    *,
    engine: str = "auto",
    variant: str = "discrete",
    origin: np.ndarray | float = 0.0,
) -> list[OrderError]:
    """March the lift at each order beside plain gradient descent from the same start.

    ``origin`` is the expansion point c: relative errors are of theta = c + u.
    """
    dynamics = as_dynamics(dynamics)
    plain = np.array(list(dynamics.trajectory(start, steps)))
    settings = {"variant": variant} if variant != "discrete" else {}
    size = float(np.linalg.norm(origin + plain[-1]))
    found = []
    for order in orders:
        errors = [0.0]

        def compare(t: int, state: LiftedState) -> None:
            errors.append(float(np.linalg.norm(state.estimate() - plain[t])))

        record = march(lift(dynamics, start, order, engine, **settings), steps, compare)
        largest = float("inf") if record.diverged is not None else max(errors)
        final = float("inf") if record.diverged is not None else errors[-1]
        found.append(OrderError(order, largest, final, final / size, record.diverged, record.tail, np.array(errors)))
    return found


def toy(
    ratio: float,
    *,
    curvatures: Sequence[float] = (0.5, 1.0, 2.0),
    learning_rate: float = 0.1,
    force: float = 0.0,
    rng: int | np.random.Generator = 0,
) -> tuple[Polynomial, np.ndarray]:
    """Cubic loss (1/2) u·H u + T[u, u, u]/6 with given Hessian eigenvalues, and a start with convergence ratio R =
    ``ratio``.

    R = (||F_2|| rho + ||F_0||/rho)/mu with rho = ||u(0)|| = 1, mu the least curvature and ||F_0|| = ``force``.
    """
    rng = np.random.default_rng(rng)
    n, least = len(curvatures), min(curvatures)
    if ratio * least <= force or least <= 0:
        raise QupropError(
            f"curvatures above 0 and a ratio above force / least curvature were expected, got {least} and {ratio}"
        )
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
    raw = rng.normal(size=(n, n, n))
    third = np.asarray(sum(raw.transpose(p) for p in permutations(range(3))))
    third *= (ratio * least - force) / np.linalg.norm(third.reshape(n, -1), 2)
    push = rng.normal(size=n)
    push *= force / np.linalg.norm(push)
    start = rng.normal(size=n)
    tensors = [push, -(turn * np.asarray(curvatures)) @ turn.T, -third]
    return from_tensors(tensors, learning_rate=learning_rate), start / np.linalg.norm(start)


@dataclass(frozen=True, eq=False)
class LogisticRun:
    """Ridge logistic regression expanded at ``origin``, started ``start`` away from it."""

    dynamics: Dynamics
    start: np.ndarray
    origin: np.ndarray


def logistic_run(
    n: int = 2000,
    samples: int = 300,
    *,
    spread: float = 1.0,
    ridge: float = 0.05,
    learning_rate: float = 0.1,
    order: int = 8,
    expand: str = "minimum",
    rng: int | np.random.Generator = 0,
) -> LogisticRun:
    """Random labels' ridge logistic regression; start theta ~ ``spread`` N(0, 1), so margins x·theta ~ ``spread``.

    ``expand`` is "minimum", where there is no driving force, or "start", where there is nothing but driving force and
    no knowledge of the minimum is needed. The logistic function has its poles at +-i pi, so runs whose margins move by
    much less converge, others need not.
    """
    if expand not in ("minimum", "start"):
        raise QupropError(f"expand is 'minimum' or 'start', got {expand!r}")
    rng = np.random.default_rng(rng)
    x = rng.normal(size=(samples, n)) / np.sqrt(n)
    y = (x @ rng.normal(size=n) + 0.3 * rng.normal(size=samples) > 0).astype(float)
    theta = spread * rng.normal(size=n)
    origin = theta
    if expand == "minimum":
        origin = minimum(ridge_logistic(x, y, learning_rate=learning_rate, ridge=ridge))
    model = ridge_logistic(x, y, at=origin, order=order, learning_rate=learning_rate, ridge=ridge)
    return LogisticRun(Dynamics(model), theta - origin, origin)


@dataclass(frozen=True)
class KappaRow:
    """kappa of the history system of T steps: without idle copies, with p = T of them, of one number, and the bound."""

    steps: int
    plain: float
    idle: float
    scalar: float
    bound: float


def kappa_table(
    curvature: float, steps: Sequence[int] = (5, 10, 20, 40), *, learning_rate: float = 0.1, order: int = 2
) -> list[KappaRow]:
    """kappa against T of a small tower whose slowest mode has the given curvature (negative: it grows)."""
    step, start = toy(0.2, rng=1)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    hessian = (turn * np.array([curvature, 1.0, 2.0])) @ turn.T
    quadratic = step.matrix(2).toarray()
    made = from_tensors([np.zeros(3), -hessian, quadratic], learning_rate=learning_rate)
    rows = []
    for t in steps:
        bare = HistorySystem(made, start, order, t, idle=0, scale=1.0)
        padded = HistorySystem(made, start, order, t, scale=1.0)
        factor = 1 - learning_rate * curvature
        rows.append(
            KappaRow(
                t, bare.condition().kappa, padded.condition().kappa, scalar_kappa(factor, t + 1), bare.kappa_bound()
            )
        )
    return rows
