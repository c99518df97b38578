"""Budgets and settings of a gradient method that change over a run: what `train(method=...)` takes beside one method.

A schedule has `at(step)`, the method of a step; a plain function of the step will do. It depends on the step alone, so
that a run which was cut goes on with the method it would have had.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from quprop.errors import QupropError, whole
from quprop.training.optimise import adapts

MOST_SHOTS = 1 << 40  # of a circuit; counts of more do not fit where they are added up


@dataclass(frozen=True)
class ShotGrowth:
    """``method`` with a budget of shots n_0 that grows: at step k it is

        ceil(n_0 factor^k + add k),   at most ``most``.

    Early steps are coarse and need few shots; towards a minimum the gradient falls below its error unless shots grow. A
    geometric growth keeps the linear rate of gradient descent for strongly convex losses (Byrd, Chin, Nocedal, Wu,
    Math. Program. 134, 127 (2012), theorem 4.2).

    method: a gradient method with ``shots`` or ``total_shots``, or another schedule. factor: of a step, 1 or more. add:
    a step, 0 or more. most: where growth ends; None: nowhere.
    Returns: a schedule for `train(method=...)`.
    Raises: QupropError for a method without such a budget, factor below 1, add below 0, most below n_0.

    >>> growth = qpr.ShotGrowth(qpr.ParameterShift(shots=10), factor=1.5)
    >>> [growth.at(step).shots for step in (0, 1, 10)]
    [10, 15, 577]
    >>> qpr.ShotGrowth(qpr.ParameterShift(shots=10), add=5).at(10).shots
    60
    """

    method: Any
    factor: float = 1.0
    add: float = 0.0
    most: int | None = None

    def __post_init__(self) -> None:
        if not (_real(self.factor) and 1 <= self.factor < math.inf and _real(self.add) and 0 <= self.add < math.inf):
            raise QupropError(
                f"shots grow by a factor from 1 on and by add from 0 on, got factor={self.factor!r}, add={self.add!r}"
            )
        _, shots = self._budget(0)
        if self.most is not None:
            whole("most", self.most, shots)

    def _budget(self, step: int) -> tuple[str, int]:
        method = method_at(self.method, step)
        for name in ("shots", "total_shots"):
            value = getattr(method, name, None)
            if value is not None:
                return name, int(value)
        raise QupropError(
            f"shots that grow begin at a method's shots= or total_shots=, and {method!r} has neither; "
            "take ParameterShift(shots=100), for example"
        )

    def at(self, step: int) -> Any:
        """The method of a step."""
        name, shots = self._budget(step)
        limit = MOST_SHOTS if self.most is None else self.most
        grown = shots * math.exp(min(step * math.log(self.factor), 60.0)) if self.factor > 1 else float(shots)
        grown = math.ceil((grown + self.add * step) * (1 - 1e-12))
        return replace(method_at(self.method, step), **{name: max(1, min(grown, limit))})


@dataclass(frozen=True)
class StepDecay:
    """``method`` whose difference step decays: c_k = c / (k + 1)^gamma at step k, from 0 on.

    With the learning rate a_k = a / (offset + k + 1)^alpha of `power_decay` these are Spall's gains of simultaneous
    perturbation: the bias of SPSA falls with c_k^2, and the noise grows with 1/c_k^2 while a_k^2 falls faster. gamma =
    0.101 and alpha = 0.602 are the smallest exponents for which convergence is proven, 1/6 and 1 are the asymptotically
    best (Spall, IEEE Trans. Aerosp. Electron. Syst. 34, 817 (1998)).

    method: a method with a ``step``, such as SPSA(shots=100, step=0.2), or another schedule of such. gamma: from 0 on.
    Returns: a schedule for `train(method=...)`.
    Raises: QupropError for a method without a step, or gamma below 0.

    >>> decay = qpr.StepDecay(qpr.SPSA(shots=100, step=0.2))
    >>> [round(decay.at(k).step, 4) for k in (0, 1, 99)]
    [0.2, 0.1865, 0.1256]
    """

    method: Any
    gamma: float = 0.101

    def __post_init__(self) -> None:
        if not (_real(self.gamma) and 0 <= self.gamma < math.inf):
            raise QupropError(f"`gamma` is an exponent, 0 or more, got {self.gamma!r}")
        if getattr(method_at(self.method, 0), "step", None) is None:
            raise QupropError(
                f"a step that decays begins at a method's step=, and {method_at(self.method, 0)!r} has none; take "
                "SPSA(shots=100, step=0.2), for example"
            )

    def at(self, step: int) -> Any:
        """The method of a step."""
        method = method_at(self.method, step)
        return replace(method, step=float(method.step) / (step + 1) ** self.gamma)


def changes(method: Any) -> bool:
    """Whether a method is a schedule of methods."""
    return method is not None and not hasattr(method, "compile") and (hasattr(method, "at") or callable(method))


def method_at(method: Any, step: int) -> Any:
    """The gradient method of a step, of a schedule, a function of the step or a method that stays the same."""
    if not changes(method):
        return method
    found = method.at(step) if hasattr(method, "at") else method(step)
    if not hasattr(found, "compile") or adapts(found):
        raise QupropError(
            f"a schedule gives a gradient method such as ParameterShift(shots=1000) for every step, got {found!r} at "
            f"step {step}"
        )
    return found


def in_words(method: Any, total: int) -> str:
    """What a run folder says of the method: a function has no text that is the same in the next process, so that it is
    told by the methods of some of its steps."""
    function: Callable[..., Any] | None = None if hasattr(method, "compile") else method
    if function is None or not changes(method) or ("<function" not in repr(method) and "object at" not in repr(method)):
        return repr(method)
    steps = sorted({0, 1, total // 2, max(total - 1, 0)})
    return "; ".join(f"step {k}: {method_at(method, k)!r}" for k in steps)


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


__all__ = ["ShotGrowth", "StepDecay", "changes", "in_words", "method_at"]
