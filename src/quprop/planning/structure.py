"""The `Shape` of a model that exists: read off its rotations and observables, nothing compiled or run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.gradients import COSTED, GradientMethod
from quprop.gradients.facts import ModelFacts
from quprop.gradients.step_bounds import is_affine
from quprop.model import Model
from quprop.sampling.linear import points
from quprop.sampling.plan import check_noise
from quprop.sampling.shape import Load, Shape

_BINS = 64  # different reaches that are kept apart


def shape_of(model: Model, weights: Any = None, *, at: Any = None) -> Shape:
    """The shape of F = weights . <O>. weights and at: as a gradient method's `compile` has them; at is also where
    multiples of pi/2 are looked for."""
    facts = ModelFacts(model, weights, at=at)
    known = bool(len(facts.trained) and facts.norm)
    loads, missing = loads_of(lambda kind: _load(kind, facts)) if known else ({}, {})
    strings, scale = facts.strings if known else (0, 1.0)
    return Shape(
        name=repr(model).strip("<>").removeprefix("Model: "),
        qubits=model.n_qubits,
        rotations=model.n_rotations,
        trained=len(facts.trained),
        parameters=model.n_params,
        reaches=_table(facts.reach[facts.reach > 0]),
        first=int(facts.trained[0]) if len(facts.trained) else 0,
        ranges=facts.ranges,
        reads=facts.reads,
        terms=int(np.count_nonzero(facts.u)),
        norm=facts.norm,
        loads=loads,
        strings=strings,
        string_scale=scale,
        one_set=known and (strings > 0 or len(facts.frames) == 1),
        cones=facts.cones if known else None,
        missing=missing,
        affine=is_affine(model),
        survival=survival_of(model, at),
    )


def _load(kind: type[GradientMethod], facts: ModelFacts) -> Load | None:
    check_noise(facts.model, kind)
    return kind.load(facts)


def survival_of(model: Model, at: Any) -> float:
    """`Shape.survival` of a model at a point."""
    if not model.channels or not model.n_rotations:
        return 1.0
    if at is None and not all(s.is_constant for c in model.channels for s in c.strengths):
        raise QupropError(
            "the strengths of this model's noise depend on its parameters or inputs; say at=(theta, x) of them"
        )
    theta, x = (np.zeros((1, size)) for size in (model.n_params, model.n_inputs)) if at is None else points(model, at)
    return float(model.channel_table.survival(theta, x).mean()) ** (1 / model.n_rotations)


def loads_of(load: Callable[[type[GradientMethod]], Load | None]) -> tuple[dict[str, Load], dict[str, str]]:
    """What every method needs to know of a circuit, and why some do not serve it."""
    loads: dict[str, Load] = {}
    missing: dict[str, str] = {}
    for name, kind in COSTED.items():
        try:
            found = load(kind)
        except QupropError as error:
            missing[name] = str(error)
            continue
        if found is not None:
            loads[name] = found
    return loads, missing


def _table(reach: np.ndarray) -> tuple[tuple[float, float], ...]:
    """(W, count), reaches that differ by rounding together; many different ones in bins, each at its largest."""
    values, counts = np.unique(np.round(reach, 9), return_counts=True)
    if len(values) <= _BINS:
        return tuple(zip(values.tolist(), counts.astype(float).tolist(), strict=True))
    ordered = np.array_split(np.sort(reach), _BINS)
    return tuple((float(np.sqrt(np.mean(part**2))), float(len(part))) for part in ordered if len(part))
