"""What simulators take: timed where there is a model, else a model of time that was fitted to timings.

    seconds of a gradient = sweeps (SWEEP + ROTATION M) + multiply-adds / (BLOCKED flops)

sweeps: how many times the multiply-adds of an exact gradient; SWEEP, ROTATION: what calls and rotations take besides;
BLOCKED: how much faster the kernels are than other classical work, as they do many rotations in a pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.gradients import Adjoint
from quprop.model import Model
from quprop.planning.costs import cost_of
from quprop.sampling.plan import settle
from quprop.sampling.shape import Shape, Wanted
from quprop.simulate.measure import gradient_call, median_seconds

FLOPS = 2e10  # multiply-adds a second of the classical side: two cores of a laptop
# Fitted to benchmarks/results/plan.json, of a machine with two cores.
SWEEP = 30e-6
ROTATION = 0.15e-6
BLOCKED = 2.2
TIMED = 0.2  # seconds that a timing takes, unless one call takes longer
LONGEST_CALL = 2.0  # seconds: what is predicted to take longer is not timed


def swept_seconds(rotations: int, ops: float, flops: float = FLOPS, nodes: int = 1) -> float:
    """Seconds of one exact gradient or value by the law above, whose `ops` multiply-adds are shared by nodes of `flops`
    a second each."""
    return SWEEP + ROTATION * rotations + ops / (BLOCKED * flops * nodes)


def modelled(name: str, shape: Shape, wanted: Wanted, flops: float = FLOPS) -> float:
    """Seconds of one gradient by a simulated method, by the law above."""
    ops = cost_of(name, shape, wanted).classical_ops
    try:
        sweeps = ops / max(1, cost_of(Adjoint.name, shape, wanted).classical_ops)
        return sweeps * (SWEEP + ROTATION * shape.rotations) * (FLOPS / flops) + ops / (BLOCKED * flops)
    except OverflowError:
        return float("inf")


def seconds_of(name: str, shape: Shape, wanted: Wanted, flops: float = FLOPS) -> tuple[float, str]:
    """Seconds of one gradient by a simulated method, and whether that is "measured" or a "model": what was timed, else
    the law, in proportion to what was timed of an exact gradient."""
    known = shape.timed.get(name)
    if known is not None:
        return known * (FLOPS / flops), "model" if shape.extrapolated else "measured"
    scale = max((t / modelled(k, shape, wanted) for k, t in shape.timed.items()), default=1.0)
    return modelled(name, shape, wanted, flops) * scale, "model"


def timed(shape: Shape, model: Model, wanted: Wanted, *, at: Any, weights: Any = None, samples: int = 1) -> Shape:
    """The shape of a model with what was timed at a point: exact gradients of steps of `samples` samples, as a training
    takes them, and the largest component there. What is predicted to take longer than `LONGEST_CALL` is left out."""
    theta, x = at
    name = Adjoint.name
    try:
        if not shape.trained or modelled(name, shape, wanted) * samples > LONGEST_CALL:
            return shape
        plan = Adjoint().compile(model, settle(model, weights, Adjoint))
        largest = float(np.abs(plan.estimate(theta, x).value).max(initial=0.0))
        call = gradient_call(model, theta, np.tile(x, (samples, 1)) if len(x) else None)
        seconds = median_seconds(call, TIMED) / (samples if len(x) else 1)
    except QupropError:
        return shape
    return replace(shape, timed={name: seconds}, largest=largest)
