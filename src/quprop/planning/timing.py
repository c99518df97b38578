"""What simulators take: timed where there is a model, else a model of time that was fitted to timings.

    seconds of a gradient = sweeps (SWEEP + ROTATION M) + multiply-adds / flops

sweeps: how many times the multiply-adds of an exact gradient; SWEEP, ROTATION: what calls and rotations take besides.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.gradients import COSTED, Adjoint
from quprop.model import Model
from quprop.planning.costs import cost_of
from quprop.sampling.plan import settle
from quprop.sampling.shape import Shape, Wanted
from quprop.simulate.measure import gradient_call, median_seconds

FLOPS = 2e10  # multiply-adds a second of the classical side: two cores of a laptop
# Fitted to benchmarks/results/plan.json, of a machine with two cores.
SWEEP = 30e-6
ROTATION = 0.25e-6
TIMED = 0.2  # seconds that a timing takes, unless one call takes longer
LONGEST_CALL = 2.0  # seconds: what is predicted to take longer is not timed


def modelled(name: str, shape: Shape, wanted: Wanted, flops: float = FLOPS) -> float:
    """Seconds of one gradient by a simulated method, by the law above."""
    ops = cost_of(name, shape, wanted).classical_ops
    try:
        sweeps = ops / max(1, cost_of(Adjoint.name, shape, wanted).classical_ops)
        return sweeps * (SWEEP + ROTATION * shape.rotations) * (FLOPS / flops) + ops / flops
    except OverflowError:
        return float("inf")


def timed(shape: Shape, model: Model, wanted: Wanted, *, at: Any, weights: Any = None, samples: int = 1) -> Shape:
    """The shape of a model with what was timed at a point: gradients of steps of `samples` samples, as a training takes
    them, and the largest component there. A simulated method that is predicted to take longer than `LONGEST_CALL` is
    left out."""
    theta, x = at
    w = settle(model, weights, Adjoint)
    seconds: dict[str, float] = {}
    largest = None
    for name, kind in COSTED.items():
        if kind.copies != 0 or kind.costed_only:
            continue
        try:
            if modelled(name, shape, wanted) * (samples if kind.exact else 1) > LONGEST_CALL:
                continue
            if kind.exact:
                call = gradient_call(model, theta, np.tile(x, (samples, 1)) if len(x) else None)
                seconds[name] = median_seconds(call, TIMED) / (samples if len(x) else 1)
                largest = float(np.abs(kind().compile(model, w).estimate(theta, x).value).max(initial=0.0))
            else:
                plan = kind.wanting(wanted, model.n_params).compile(model, w, at=at)
                seconds[name] = median_seconds(partial(plan.estimate, theta, x, 0), TIMED)
        except QupropError:
            continue
    return replace(shape, timed=seconds, largest=largest)
