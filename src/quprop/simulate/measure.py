"""What gradients cost, counted and measured: rotations executed, omega in time and in memory.

omega = COST(gradient) / COST(value)        (Abbas et al., NeurIPS 2023, arXiv:2305.13362, equation 2)
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from quprop import simulate
from quprop.model import Model

MEASURE_SECONDS = 1.0  # spent on timing each of value and gradient, unless one call takes longer
MOST_REPEATS = 50


def rotation_counts(model: Model, values: int, gradients: int) -> dict[str, int]:
    """Parameterised rotations executed, in the paper's unit, and what parameter shift would have executed for the same
    gradients.

    A value of one sample is M rotations. An exact gradient is 3 M: the forward sweep, and the backward sweep that
    un-rotates both |psi> and |lambda>. Parameter shift runs the circuit twice for each of the M rotations (every one is
    a Pauli rotation, so two shifts are exact; a parameter that occurs k times needs 2 k runs): 2 M runs of M rotations.
    Values (tests, metrics) cost both the same.
    """
    m = model.n_rotations
    return {
        "value_evaluations": values,
        "gradient_evaluations": gradients,
        "rotations": values * m + gradients * 3 * m,
        "parameter_shift_runs": gradients * 2 * m,
        "parameter_shift_rotations": values * m + gradients * 2 * m * m,
    }


def measure_omega(
    model: Model,
    theta: np.ndarray,
    x: np.ndarray | None = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> dict[str, Any]:
    """Median seconds and bytes of a value and of a gradient at the same inputs, and their ratios."""
    options: dict[str, Any] = {"engine": engine, "precision": precision, "threads": threads}

    def value() -> None:
        simulate.expectation(model, theta, x, **options)

    gradient = gradient_call(model, theta, x, **options)
    found = _ratio("seconds", "time", median_seconds(value), median_seconds(gradient))
    engine, batch = simulate.engine_for(model, engine, precision, threads), 1 if x is None else len(x)
    kind = "value_and_grad" if batch == model.n_observables == 1 else "vjp"  # one observable needs no pullback
    needed = [int(engine.memory(model, batch, what)) for what in ("values", kind)]
    return found | _ratio("bytes", "memory", *needed)


def gradient_call(model: Model, theta: np.ndarray, x: np.ndarray | None = None, **options: Any) -> Callable[[], None]:
    """An exact gradient of the sum of all observables, of every sample of x, as a call to be timed."""
    cotangent = np.ones(model.n_observables)

    def gradient() -> None:
        values, pullback = simulate.vjp(model, theta, x, **options)
        pullback(np.broadcast_to(cotangent, values.shape))

    return gradient


def measure_loss(loss: Any, theta: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The same entries for a loss that is computed straight from the parameters (`training.losses.Loss.over`): its
    value, and its gradient with the same draws."""

    def value() -> None:
        loss.value(theta, np.random.default_rng(seed))

    def gradient() -> None:
        loss.loss_and_grad(theta, np.random.default_rng(seed))

    found = _ratio("seconds", "time", median_seconds(value), median_seconds(gradient))
    return found | _ratio("bytes", "memory", loss.memory(gradient=False), loss.memory())


def _ratio(unit: str, what: str, value: float, gradient: float) -> dict[str, Any]:
    return {f"value_{unit}": value, f"gradient_{unit}": gradient, f"omega_{what}": gradient / value}


def median_seconds(call: Callable[[], Any], most: float | None = None) -> float:
    """The median of repeated calls, for `most` seconds (by default `MEASURE_SECONDS`) or one call."""
    call()  # what is made once (plans, tables) is no cost of a gradient
    times: list[float] = []
    end = time.perf_counter() + (MEASURE_SECONDS if most is None else most)
    while not times or (len(times) < MOST_REPEATS and time.perf_counter() < end):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
