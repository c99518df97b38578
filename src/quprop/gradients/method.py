"""What a gradient method is, and `gradient`, the one-line way to use one."""

from __future__ import annotations

from typing import Any, Protocol

from quprop.errors import QupropError
from quprop.gradients.adjoint import Adjoint
from quprop.model import Model
from quprop.sampling.estimate import Estimate
from quprop.sampling.plan import Plan
from quprop.simulate import Call


class Method(Protocol):
    """A frozen dataclass of settings. `copies`: 0 (a simulator), 1, 2, or "many" copies of the state at once."""

    @property
    def name(self) -> str: ...

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> Plan:
        """The plan for F = weights . <O>; refuses, in one sentence, a model the method cannot serve.

        weights: (K,), may be left out if K = 1; or (..., K), of which every row is served. The shots are allotted for
        weights of these sizes and any sign. at: (theta (..., P), x (..., D)), where angles that are products of
        variables are bounded for `precision` and `max_error`; without it variables count as being within ±1.
        """
        ...


def gradient(
    model: Model, theta: Any, x: Any = None, method: Method | None = None, *, weights: Any = None, rng: Any = None
) -> Estimate:
    """dF/dtheta of F = weights . <O> by a method, compiled for these weights at these points.

    theta (..., P) and x (..., D) of leading axes that broadcast, weights (K,) or with the same axes (..., K); the
    estimate's value and stderr are (..., P). Default: `Adjoint()`, exact.
    rng: a seed or a numpy Generator, needed by every method that draws shots.
    """
    if method is None:
        method = Adjoint()
    if not hasattr(method, "compile"):
        raise QupropError(f"method is a gradient method such as qpr.ParameterShift(shots=1000), got {method!r}")
    call = Call(model, theta, x, None, "double", None, "values")
    at = (call.theta, call.x) if call.shape else (call.theta[0], call.x[0])
    return method.compile(model, weights, at=at).estimate(theta, x, rng, weights=weights)
