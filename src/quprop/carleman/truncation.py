"""How wrong a truncated block is, and for how long it is right: the lift marched beside plain descent of the same map.

The error of a block after t steps from u(0) = 0 is that of its update,

    error(t) = |y_1(t) - u(t)| / |u(t)|,       u(t + 1) = S_t(u(t)) not truncated,                          (truncation)

and a block may run until it passes a tolerance: the *crossing*. It says more than what can be seen without plain
descent, the *gap* |y_1 at order N - at N - 1| / |y_1| and the *tail* |c_N| / |c_(N-1)| of successive orders: a loss
with kinks has small gaps and tails and is wrong all the same. A step costs one step of the engine and one plain
gradient, and nothing is done past the crossing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.carleman.engines import LiftedState
from quprop.carleman.engines.jets import JetTower
from quprop.carleman.engines.lift import lift, march
from quprop.carleman.engines.monomials import n_moments
from quprop.carleman.maps.dynamics import Dynamics, tabulation_seconds

SYMMETRIC_BELOW = 2_000  # moments up to which the tower is written down at every upload,
TABULATE_BELOW = 0.5, 0.01  # if the derivative tables of all its maps take no longer: seconds, and those for each step
LOW_RANK_BELOW = 2_000  # steps times parameters up to which the exact closure of order 2 is affordable


@dataclass(frozen=True, eq=False)
class Truncation:
    """What :func:`measure` found, step by step from time 0 on, and for a block of ``length`` steps.

    ``errors``     see the top of this file; infinite where y_1 left all bounds
    ``gaps``       see there: an estimate of the error of order N - 1
    ``tails``      see there; from 1 on: outside the radius of convergence. None where the engine has no orders
    ``sizes``      |u(t)|
    ``length``     steps of the block: up to the crossing, or, where it was not to stop there, all that were finite
    ``crossing``   the first step whose error exceeds ``tolerance``; None where none of the ``limit`` steps does
    ``update``     y_1 after `length` steps; ``norms`` (length + 1, N) those of its levels
    ``diverged``   the step that was refused because y_1 left all bounds, or None
    """

    engine: str
    exact: bool
    order: int
    tolerance: float
    limit: int
    errors: np.ndarray
    gaps: np.ndarray
    tails: np.ndarray | None
    sizes: np.ndarray
    length: int
    crossing: int | None
    update: np.ndarray
    norms: np.ndarray
    diverged: int | None

    @property
    def error(self) -> float:
        """After ``length`` steps."""
        return float(self.errors[self.length])

    @property
    def within(self) -> int:
        """Steps whose errors all stay within the tolerance: the longest block that is allowed."""
        return self.limit if self.crossing is None else self.crossing - 1

    def warnings(self) -> list[str]:
        """What passes its limit within the block: tail 1, gap and error the tolerance; a sentence each, of the first
        step where it does."""
        found, (below, order) = [], (self.order - 1, self.order)
        gaps, errors = self.gaps[: self.length + 1], self.errors[: self.length + 1]
        at = _first(np.zeros(0) if self.tails is None else self.tails[: self.length + 1], np.greater_equal, 1.0)
        if self.tails is not None and at is not None:
            found.append(
                f"at step {at} successive orders of the expansion grow by {self.tails[at]:.3g}: it is outside its "
                "radius of convergence"
            )
        apart, far = _first(gaps, np.greater, self.tolerance), _first(gaps, np.greater_equal, 1.0)
        if self.tails is None and far is not None:
            found.append(
                f"at step {far} orders {order} and {below} differ by {gaps[far]:.3g} times the update: the expansion "
                "is outside its radius of convergence"
            )
        elif apart is not None:
            found.append(
                f"at step {apart} orders {order} and {below} differ by {gaps[apart]:.3g} of the update (tolerance "
                f"{self.tolerance:g}), {np.max(gaps):.3g} at most"
            )
        wrong = _first(errors, np.greater, self.tolerance)
        if wrong is not None:
            found.append(
                f"at step {wrong} the update of order {order} is wrong by {errors[wrong]:.3g} of plain descent's "
                f"(tolerance {self.tolerance:g}), after step {self.length} by {self.error:.3g}"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Numbers that are not finite as None."""
        lists = {"errors": self.errors, "gaps": self.gaps, "tails": self.tails}
        names = "engine exact order tolerance limit crossing diverged"
        return {
            "by": "measured",
            **{name: getattr(self, name) for name in names.split()},
            "length": self.within,
            **{
                name: None if found is None else [float(v) if np.isfinite(v) else None for v in found]
                for name, found in lists.items()
            },
        }


def measure(
    dynamics: Dynamics,
    order: int,
    most: int,
    tolerance: float,
    *,
    engine: str = "auto",
    stop: bool = True,
    start: np.ndarray | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> Truncation:
    """March the lift of ``order`` beside plain descent of ``dynamics`` from u = ``start`` (default 0), for at most
    ``most`` steps.

    ``stop``    at the crossing, which leaves the block before it; False: go on to the end and say where it was
    ``engine``  of the lift; "auto": :func:`engine_for`
    ``tick``    called with the step and ``most``
    """
    start = np.zeros(dynamics.dimension) if start is None else start
    engine = engine_for(dynamics, most, order) if engine == "auto" else engine
    state = lift(dynamics, start, order, engine)
    below = None
    if order > 1 and not isinstance(state, JetTower):
        below = lift(dynamics, start, order - 1, engine if engine in ("symmetric", "kronecker") else "jets")
    plain, update, norms = start, state.estimate(), [state.level_norms()]
    errors, gaps, tails, sizes = [0.0], [0.0], [0.0], [float(np.linalg.norm(start))]
    crossing = diverged = None
    length = 0
    for t in range(most):
        if tick is not None:
            tick(t, most)
        record = march(state, 1)
        if below is not None:
            march(below, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            plain = dynamics[t].descend(plain)
            sizes.append(float(np.linalg.norm(plain)))
            error = _over(float(np.linalg.norm(record.estimate - plain)), sizes[-1])
        if record.diverged is not None:
            diverged, error = t, float("inf")
        # the first step is the plain one, up to rounding
        if crossing is None and not error <= tolerance and (t or diverged is not None):
            crossing = t + 1
        errors.append(error)
        gaps.append(_over(_gap(state, below), float(np.linalg.norm(record.estimate))))
        tails.append(float("nan") if record.tail is None else record.tail)
        if diverged is not None or (stop and crossing is not None):
            break
        update, length = record.estimate, t + 1
        norms.append(record.norms[-1])
    return Truncation(
        engine,
        state.exact,
        order,
        tolerance,
        most,
        np.array(errors),
        np.array(gaps),
        None if state.tail() is None else np.array(tails),
        np.array(sizes),
        length,
        crossing,
        update,
        np.array(norms),
        diverged,
    )


def engine_for(dynamics: Dynamics, steps: int, order: int) -> str:
    """As `choose_engine`, but a block's maps are made anew at every upload and used for ``steps`` steps only, so that
    tables must be quick to write, and the growing rank of the closure pays for short blocks."""
    if n_moments(dynamics.dimension, order) <= SYMMETRIC_BELOW and tabulates(dynamics, order, steps):
        return "symmetric"
    return "low_rank" if order == 2 and steps * dynamics.dimension <= LOW_RANK_BELOW else "jets"


def tabulates(dynamics: Dynamics, order: int, steps: int) -> bool:
    """Is writing down the derivative tables of a block's maps affordable?"""
    least, each = TABULATE_BELOW
    return tabulation_seconds(dynamics, order, steps) <= least + each * steps


def typical(runs: Sequence[Truncation]) -> Truncation:
    """The run whose allowed block is the median one (of two the shorter)."""
    return sorted(runs, key=lambda run: run.within)[(len(runs) - 1) // 2]


def _gap(state: LiftedState, below: LiftedState | None) -> float:
    if isinstance(state, JetTower):
        return float(np.linalg.norm(state.coefficients[-1])) if state.order > 1 else 0.0
    return 0.0 if below is None else float(np.linalg.norm(state.estimate() - below.estimate()))


def _over(part: float, whole: float) -> float:
    return part / whole if whole else part


def _first(values: np.ndarray, passes: Callable[[np.ndarray, float], np.ndarray], limit: float) -> int | None:
    """The first index that passes the limit or is not a number (time 0 aside, where nothing has moved)."""
    at = np.flatnonzero(passes(values, limit) | np.isnan(values))
    return int(at[0]) if len(at) else None
