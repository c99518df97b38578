"""Lifting a training run: choose an engine, march it, and read off what the linear system would output.

>>> state = lift(dynamics, start, 4)          # engine by size; or engine="symmetric", ...
>>> record = march(state, 100)
>>> record.estimate, record.success_probability(idle=100)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.carleman.engines import TOWERS, LiftedState
from quprop.carleman.engines.monomials import n_moments
from quprop.carleman.maps.dynamics import Dynamics, PolynomialMap, as_dynamics, tabulation_seconds
from quprop.errors import QupropError, nearest

SYMMETRIC_BELOW = 50_000  # moments under which the tower itself is as cheap as anything
TABULATE_BELOW = 60.0  # seconds of writing the derivative tables of all maps up to which that pays
TRAIN_BELOW = 300  # parameters up to which a tensor train's contractions are affordable
BLOW_UP = 1e12  # growth of ||y_1|| over the start at which a run counts as diverged


def choose_engine(dynamics: Dynamics | PolynomialMap, order: int) -> tuple[str, str]:
    """The engine for this run, and why, as half a sentence."""
    dynamics = as_dynamics(dynamics)
    n = dynamics.dimension
    if n_moments(n, order) <= SYMMETRIC_BELOW and tabulation_seconds(dynamics, order) <= TABULATE_BELOW:
        return "symmetric", f"{n_moments(n, order) - 1} monomials hold the whole tower"
    if dynamics.homogeneous:
        return "jets", f"no driving force, so {order} vectors of {n} numbers are the tower exactly"
    if order == 2:
        return "low_rank", "at N = 2 the closure with driving force is exact in low rank"
    if n <= TRAIN_BELOW and all(step.degree is not None for step in dynamics.maps):
        return "tensor_train", f"driving force at N = {order} with {n} parameters fits compressed tensors"
    return "jets", f"{n} parameters with driving force: the weighted truncation of the same order"


def lift(
    dynamics: Dynamics | PolynomialMap, start: np.ndarray, order: int, engine: str = "auto", **settings: Any
) -> LiftedState:
    """y_1..y_N at time 0 for u(0) = ``start`` (n,), in the named engine; ``settings`` are the engine's own.

    Names are the keys of `TOWERS`; "auto" asks `choose_engine`. ``variant="euler"`` (engines "kronecker" and
    "symmetric") is the first-order operator I + eta A, whose error plateaus.
    """
    if settings.get("variant") == "euler" and engine == "auto":
        engine = "symmetric"
    name = choose_engine(dynamics, order)[0] if engine == "auto" else engine
    if name not in TOWERS:
        raise QupropError(f"unknown engine {name!r}: {nearest(name, [*TOWERS, 'auto'])}")
    return TOWERS[name](dynamics, start, order, **settings)


@dataclass(frozen=True, eq=False)
class Record:
    """A marched run.

    ``estimate``  y_1(T) (n,), or at the last finite step where the run diverged
    ``norms``     ||y_j(t)||, shape (T + 1, N)
    ``steps``     T, steps that were made
    ``diverged``  the step that was refused because y_1 left all bounds, or None
    ``tail``      largest ratio of successive orders met (jets), an estimate of u/radius; None where unknown
    """

    estimate: np.ndarray
    norms: np.ndarray
    steps: int
    diverged: int | None
    tail: float | None
    info: dict[str, Any]

    def success_probability(self, idle: int, scale: float = 1.0) -> float:
        """Chance that measuring time and level of the history state gives level 1 at time T or in an idle copy."""
        return success_probability(self.norms, idle, scale)


def march(state: LiftedState, steps: int, on_step: Callable[[int, LiftedState], None] | None = None) -> Record:
    """``steps`` training steps; stops before a step whose estimate is not finite or grew by 10^12."""
    norms = [state.level_norms()]
    limit = BLOW_UP * max(1e-3, float(norms[0][0]))
    estimate, tail, diverged, info = state.estimate(), state.tail(), None, state.info()
    for t in range(steps):
        with np.errstate(over="ignore", invalid="ignore"):
            state.step()
            found = state.level_norms()
        if not np.all(np.isfinite(found)) or found[0] > limit:
            diverged = t
            break
        norms.append(found)
        estimate, info = state.estimate(), state.info()
        ratio = state.tail()
        if ratio is not None:
            tail = ratio if tail is None else max(tail, ratio)
        if on_step is not None:
            on_step(t + 1, state)
    return Record(estimate, np.array(norms), len(norms) - 1, diverged, tail, info)


def success_probability(norms: np.ndarray, idle: int, scale: float = 1.0) -> float:
    """P = (p + 1) ||y_1(T)||^2 / ||Y||^2 for the history Y = (y(0), ..., y(T), p more copies of y(T)).

    ``norms`` (T + 1, N) are ||y_j(t)||; in units of ``scale`` level j is y_j / scale^j.
    """
    norms = np.asarray(norms, dtype=float)
    if norms.ndim != 2 or idle < 0 or scale <= 0:
        raise QupropError(
            f"norms (T + 1, N), idle >= 0 and scale > 0 were expected, got shape {norms.shape}, {idle}, {scale}"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverged
        weights = (norms / scale ** np.arange(1, norms.shape[1] + 1)) ** 2
        total = weights[:-1].sum() + (idle + 1) * weights[-1].sum()
    return float((idle + 1) * weights[-1, 0] / total) if 0 < total < np.inf else 0.0
