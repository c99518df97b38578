"""What it means that a gradient estimator is right: laws for every method, over repeats that are fixed beforehand.

Each check raises AssertionError when the law is broken; `test_gradients.py` also shows that they do.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

import quprop as qpr


class Repeats(NamedTuple):
    """Independent estimates of one gradient, and the exact one."""

    values: np.ndarray  # (repeats, P)
    stderr: np.ndarray  # (repeats, P)
    exact: np.ndarray  # (P,)
    costs: list
    claimed: object
    bias: np.ndarray  # (P,), at most


def repeat(method, model, theta, x, weights, repeats, seed=0) -> Repeats:
    """Estimates by one plan and one generator; the truth from the reference engine, which no method uses."""
    plan = method.compile(model, weights, at=(theta, x))
    rng = np.random.default_rng(seed)
    estimates = [plan.estimate(theta, x, rng) for _ in range(repeats)]
    _, exact = qpr.value_and_grad(model, theta, x, weights=weights, engine="reference")
    return Repeats(
        np.array([e.value for e in estimates]),
        np.array([e.stderr for e in estimates]),
        exact,
        [e.cost for e in estimates],
        plan.cost,
        np.broadcast_to(getattr(plan, "bias", 0.0), exact.shape),
    )


def check_unbiased(r: Repeats, limit=5.0) -> None:
    """|mean - truth| <= the stated bias + 5 standard errors of the mean, from the reported variances."""
    error = np.abs(r.values.mean(axis=0) - r.exact)
    stderr = np.sqrt((r.stderr**2).mean(axis=0) / len(r.values))
    over = error - r.bias - limit * stderr - 1e-9
    worst = int(np.argmax(over)) if over.size else 0
    assert over.max(initial=-1.0) <= 0, (
        f"component {worst}: error {error[worst]:.3g}, bias {r.bias[worst]:.3g}, stderr of the mean {stderr[worst]:.3g}"
    )


def stderr_ratio(results) -> float:
    """sqrt of the reported variances over the spread that the repeats show, pooled over components and results."""
    reported = sum(float((r.stderr**2).mean(axis=0).sum()) for r in results)
    observed = sum(float(r.values.var(axis=0, ddof=1).sum()) for r in results)
    if reported == 0 and observed < 1e-24:  # exact, but for roundings in the mean
        return 1.0
    return float(np.sqrt(reported / observed))


def check_stderr(results, tolerance=0.1) -> None:
    ratio = stderr_ratio(results)
    assert 1 - tolerance <= ratio <= 1 + tolerance, f"reported over observed standard error is {ratio:.3f}"


def check_cost(r: Repeats) -> None:
    """Claimed beforehand = counted while running; the number of strings read may be a bound."""
    for cost in r.costs:
        assert replace(cost, classical_ops=0) == replace(r.claimed, classical_ops=0)
        assert cost.classical_ops <= r.claimed.classical_ops
