"""Estimate: what every gradient method returns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.tables import MOST, Sentence, folded, html, narrow_table

_ROUNDING = 1e-14  # relative; a spread below is one
_SHOWN = 4  # components a printed estimate shows


def shown(damage: float) -> str:
    """`damage` of held copies in words: beyond 1 a guarantee for undisturbed copies (a sum of trace distances), or for
    as much disturbance as a design allows for (the part of it that was used), says nothing."""
    if damage > 1:
        return f"damage {damage:.3g}, above 1: the guarantee is void (copies were disturbed beyond it)"
    return f"damage {damage:.2g}"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A gradient with its error and its cost.

    value: (..., n_params), the derivative of weights . <O> by each parameter; stderr: the standard error of each
    component, as estimated from the shots themselves; cost: what was executed; info: what else the method has to say
    (the allocation of shots, the groups read together, ...). A method whose claim is about undisturbed copies says in
    info["damage"] how far from that they were, and so does the printed line.

    stderr is 0 where the component is known without shots: by an exact method, or because no angle changes with that
    parameter at this point. Shots that all agree are no such knowledge, see `of_the_unseen`.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> found = qpr.gradient(model, [np.pi / 6], method=qpr.ParameterShift(shots=1000), rng=0)
    >>> found.value, found.stderr.round(4), found.cost.copies
    (array([-0.48]), array([0.0196]), 2000)
    """

    value: np.ndarray
    stderr: np.ndarray
    cost: Cost
    info: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values, errors = self.value.ravel(), self.stderr.ravel()
        listed = ", ".join(f"{v:.4g} ± {e:.1g}" for v, e in zip(values[:_SHOWN], errors[:_SHOWN], strict=True))
        more = f", ... ({values.size} in all)" if values.size > _SHOWN else ""
        return f"[{listed}{more}] {self._paid()}"

    def _paid(self) -> str:
        damage = f"; {shown(self.info['damage'])}" if "damage" in self.info else ""
        beyond = self.info.get("beyond_the_readings", 0)
        late = f"; {beyond:,} components predicted past the planned readings: see their errors" if beyond else ""
        return f"for {self.cost}{damage}{late}"

    def _repr_html_(self) -> str:
        table = narrow_table("", "value", "standard error", first="component")
        places = itertools.islice(np.ndindex(self.value.shape), MOST)
        rows = [(", ".join(map(str, k)) or "0", f"{self.value[k]:.6g}", f"{self.stderr[k]:.2g}") for k in places]
        return html([folded(table, rows, self.value.size), Sentence(self._paid())])


def gathered(found: Sequence[Estimate], shape: tuple[int, ...]) -> Estimate:
    """The estimates of a batch as one."""
    return Estimate(
        np.stack([e.value for e in found]).reshape(shape),
        np.stack([e.stderr for e in found]).reshape(shape),
        sum((e.cost for e in found), Cost()),
        _shared_info(found),
    )


def _shared_info(found: Sequence[Estimate]) -> dict[str, Any]:
    """Of a batch: what the first point has to say, and the worst of what makes a promise void."""
    worst: dict[str, Any] = {}
    for key in ("damage", "beyond_the_readings"):
        said = [e.info[key] for e in found if key in e.info]  # a point may have nothing to measure
        worst |= {key: max(said)} if said else {}
    return found[0].info | worst


def variance_of_mean(mean: Any, square: Any, shots: Any, farthest: Any) -> Any:
    """The variance of a mean of n shots, from the means of y and y^2: (<y^2> - <y>^2) / (n - 1), which is unbiased.

    farthest: how far two values of y may be from one another. n shots that all gave one value show no spread, and then
    farthest^2 times `of_the_unseen` stands for it. One shot says nothing of its spread: there its square, an upper
    bound.
    """
    n, spread = np.asarray(shots, float), square - mean**2
    unseen = farthest**2 * of_the_unseen(n)
    same = spread <= _ROUNDING * farthest**2
    return np.where(n > 1, np.where(same, unseen, spread / np.maximum(n - 1, 1)), np.maximum(square, unseen))


def of_the_unseen(shots: Any) -> Any:
    """(n + 1) / ((n + 2)^2 (n + 3)): the variance of the probability of what none of n shots showed.

    It is that of Beta(1, n + 1), what is left of the uniform prior after n shots (Laplace's rule of succession; Brown,
    Cai, DasGupta, Statist. Sci. 16, 101 (2001), compare intervals). An outcome at the distance d moves a mean by d
    times its probability: a deviation of about d/n, as the unbiased estimate has when one of n shots showed it. Five of
    them reach to probabilities of 5/n, which n shots miss altogether 1 time in 150.
    """
    n = np.asarray(shots, float)
    return (n + 1) / ((n + 2) ** 2 * (n + 3))
