"""One block of training steps as the quantum computer would run it: lifted, solved, read out, and counted.

Where the history system fits (`block_cost.fits`), the polynomial of the chosen solver is applied to it and its output
state, with the error the solver makes, is read. Elsewhere the truncated tower is marched, which is the exact solution
of the same system, and queries are counted by formula at a condition number that is a formula too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from quprop.carleman import block_cost
from quprop.carleman.block_cost import BlockCost
from quprop.carleman.engines import LiftedState
from quprop.carleman.engines.jets import JetTower
from quprop.carleman.engines.lift import lift, march, success_probability
from quprop.carleman.engines.monomials import n_moments
from quprop.carleman.maps.dynamics import Dynamics
from quprop.carleman.system.history import HistorySystem
from quprop.carleman.transfer.download import read_out

SYMMETRIC_BELOW = 100  # moments up to which the tower is written down at every upload
LOW_RANK_BELOW = 2_000  # steps times parameters up to which the exact closure of order 2 is affordable
MARCHED, SOLVED = "tower marched exactly, queries by formula", "solver's polynomial applied, queries counted"


class Settings(Protocol):
    """What of `train.Loop` a block needs."""

    @property
    def order(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def block_length(self) -> int | None: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def solver(self) -> str: ...
    @property
    def eps(self) -> float: ...
    @property
    def readout(self) -> str: ...
    @property
    def precision(self) -> float: ...


@dataclass(frozen=True, eq=False)
class BlockRun:
    """``update`` u(T) (r,), with momentum (u, w)(T) (2 r,), as it was read; ``length`` T; ``gap`` ||y_1 at order N
    minus at order N - 1|| / ||y_1||, an estimate of the error of order N - 1; ``tail`` the largest ratio of
    successive orders (jets; from 1 on: outside the radius of convergence); ``solver_error`` and ``readout_error``
    relative to the update, None where not emulated."""

    update: np.ndarray
    length: int
    engine: str
    exact: bool
    emulation: str
    gap: float
    tail: float | None
    solver_error: float | None
    readout_error: float | None
    diverged: int | None

    def to_json(self) -> dict[str, Any]:
        names = "engine exact emulation gap tail solver_error readout_error"
        return {name: getattr(self, name) for name in names.split()}


def run_block(
    dynamics: Dynamics,
    kept: np.ndarray,
    n: int,
    most: int,
    settings: Settings,
    rng: np.random.Generator,
    *,
    growth: float | np.ndarray,
    say: Callable[[str], None],
    tick: Callable[[int, int], None] | None = None,
    start: np.ndarray | None = None,
) -> tuple[BlockRun, BlockCost]:
    """At most ``most`` steps of ``dynamics`` from u = ``start`` (default 0) on the numbers ``kept`` of the ``n`` of a
    state; fewer, where the length is free, if the truncation error asks for it. ``growth`` is max |1 - a|, or the
    norms of t steps, for kappa where it is not computed (`kappa_formula`); ``tick`` is called with the step and
    ``most``."""
    start = np.zeros(dynamics.dimension) if start is None else start
    marched = _march(dynamics, start, most, settings, say, tick)
    solved = _solved(dynamics, start, marched, settings, growth)
    update, readout_error = solved.update, None
    copies = block_cost.readout_copies(len(kept), settings.precision)
    size = float(np.linalg.norm(update))
    if settings.readout == "shots" and size > 0 and np.isfinite(size):
        read = read_out(update, precision=settings.precision, kind="l2", entries=len(kept), scale=size, rng=rng)
        readout_error = float(np.linalg.norm(read.vector - update)) / size
        update, copies = read.vector, read.copies
    force = np.zeros(n)
    force[kept] = dynamics[0].constant()
    load, upload_by = block_cost.upload_cost(force, settings.order, solved.scale)
    if start.any():  # the right-hand side has the tower of the start too, in its first block
        force[kept] = start
        first, upload_by = block_cost.upload_cost(force, settings.order, solved.scale)
        load = replace(load + first, loads=1)
    cost = block_cost.total(
        copies,
        kappa=solved.kappa,
        kappa_by=solved.kappa_by,
        queries=solved.queries,
        loads=solved.loads,
        success=solved.success,
        upload=load,
        upload_by=upload_by,
        steps=marched.length,
    )
    run = BlockRun(
        update,
        marched.length,
        marched.engine,
        marched.exact,
        solved.emulation,
        marched.gap,
        marched.tail,
        solved.error,
        readout_error,
        marched.diverged,
    )
    return run, cost


@dataclass(frozen=True, eq=False)
class _Solved:
    """The update as the solver's state has it, and what a run of the solver takes."""

    update: np.ndarray
    scale: float
    kappa: float
    kappa_by: str
    queries: int
    loads: int
    success: float
    emulation: str
    error: float | None


def _solved(
    dynamics: Dynamics, start: np.ndarray, marched: _Marched, settings: Settings, growth: float | np.ndarray
) -> _Solved:
    """The solver's own polynomial applied where the history system is small enough; elsewhere the march, and formulas
    for what the solver takes."""
    length, order = marched.length, settings.order
    solver = block_cost.solver_of(settings.solver)
    rho = float(np.max(marched.norms[:, 0], initial=0.0))
    scale = 1.3 * rho or 1.0
    kappa, kappa_by = block_cost.kappa_formula(growth, order, length), "formula"
    if marched.diverged is None and rho > 0 and block_cost.fits(len(start), order, length):
        history = HistorySystem(dynamics, start, order, length)
        condition = history.condition()
        kappa, kappa_by = condition.kappa, condition.method
        if block_cost.emulates(solver, history.shape[0], kappa):
            solution = solver.solve(history.linear_system(), settings.eps)
            found = history.estimate(solution.vector)
            return _Solved(
                found,
                history.scale,
                min(max(kappa, 1.0), 1e15),
                kappa_by,
                solution.queries,
                solution.loads,
                solution.success * history.success_probability(solution.vector),
                SOLVED,
                float(np.linalg.norm(found - marched.update) / np.linalg.norm(marched.update)),
            )
    kappa = min(max(kappa, 1.0), 1e15)
    queries = solver.queries(kappa, settings.eps)
    loads = block_cost.formula_loads(solver, queries)
    success = success_probability(marched.norms, length, scale) * block_cost.formula_success(solver, kappa)
    return _Solved(marched.update, scale, kappa, kappa_by, queries, loads, success, MARCHED, None)


@dataclass(frozen=True, eq=False)
class _Marched:
    update: np.ndarray
    norms: np.ndarray
    length: int
    engine: str
    exact: bool
    gap: float
    tail: float | None
    diverged: int | None


def _march(
    dynamics: Dynamics,
    start: np.ndarray,
    most: int,
    settings: Settings,
    say: Callable[[str], None],
    tick: Callable[[int, int], None] | None,
) -> _Marched:
    order = settings.order
    engine = _engine(dynamics, most, order) if settings.engine == "auto" else settings.engine
    state = lift(dynamics, start, order, engine)
    below = None
    if order > 1 and not isinstance(state, JetTower):
        below = lift(dynamics, start, order - 1, engine if engine in ("symmetric", "kronecker") else "jets")
    update, norms = state.estimate(), [state.level_norms()]
    gap, worst, diverged, said = 0.0, None, None, False
    for t in range(most):
        if tick is not None:
            tick(t, most)
        record = march(state, 1)
        if below is not None:
            march(below, 1)
        if record.diverged is not None:
            diverged = t
            break
        size = float(np.linalg.norm(record.estimate))
        now = _gap(state, below) / size if size else 0.0
        free = settings.block_length is None and t > 0
        if free and now > settings.tolerance:
            break
        tail = record.tail
        if tail is not None and tail >= 1:
            if free:
                break
            if not said:
                said = True
                say(
                    f"at step {t + 1} successive orders of the expansion grow by {tail:.3g}: it is outside its radius "
                    "of convergence"
                )
        if tail is None and now >= 1 and not said:
            said = True
            say(
                f"at step {t + 1} orders {order} and {order - 1} differ by {now:.3g} times the update: the expansion "
                "is outside its radius of convergence"
            )
        if tail is not None:
            worst = tail if worst is None else max(worst, tail)
        update, gap = record.estimate, now
        norms.append(record.norms[-1])
    return _Marched(update, np.array(norms), len(norms) - 1, engine, state.exact, gap, worst, diverged)


def _engine(dynamics: Dynamics, steps: int, order: int) -> str:
    """As `choose_engine`, but a block's maps are made anew at every upload and used for ``steps`` steps only, so that
    writing a tower down pays for the smallest, and the growing rank of the closure for short blocks."""
    if n_moments(dynamics.dimension, order) <= SYMMETRIC_BELOW:
        return "symmetric"
    return "low_rank" if order == 2 and steps * dynamics.dimension <= LOW_RANK_BELOW else "jets"


def _gap(state: LiftedState, below: LiftedState | None) -> float:
    if isinstance(state, JetTower):
        return float(np.linalg.norm(state.coefficients[-1])) if state.order > 1 else 0.0
    return 0.0 if below is None else float(np.linalg.norm(state.estimate() - below.estimate()))
