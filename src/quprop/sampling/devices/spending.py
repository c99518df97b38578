"""What runs on a device spend, and how much they may."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from quprop.cost import human_seconds
from quprop.errors import QupropError, count_of, shown, whole
from quprop.sampling.devices.device import Device, Work


class BudgetSpent(QupropError):
    """What would come next does not fit the budget; nothing of it was submitted."""


@dataclass(frozen=True)
class Spending:
    """jobs; circuits, at a setting of their angles each; shots; rotations executed in all shots; seconds of the machine
    and dollars, None where the device does not tell."""

    jobs: int = 0
    circuits: int = 0
    shots: int = 0
    rotations: int = 0
    seconds: float | None = 0.0
    dollars: float | None = 0.0

    def __add__(self, other: Spending) -> Spending:
        def both(a: Any, b: Any) -> Any:
            return None if a is None or b is None else a + b

        return Spending(*(both(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [count_of(self.jobs, "job"), count_of(self.circuits, "circuit"), count_of(self.shots, "shot")]
        if self.seconds:
            parts.append(f"{human_seconds(self.seconds)} of the machine")
        if self.dollars:
            parts.append(f"${self.dollars:,.2f}")
        return ", ".join(parts)


def planned(device: Device, work: Sequence[Work]) -> Spending:
    """Of one job."""
    shots = [np.asarray(w.shots) for w in work]
    seconds, dollars = device.seconds(work), device.price(work)
    return Spending(
        1,
        sum(len(n) for n in shots),
        sum(int(n.sum()) for n in shots),
        sum(int(n.sum()) * w.circuit.rotations for n, w in zip(shots, work, strict=True)),
        None if seconds is None else float(seconds),
        None if dollars is None else float(dollars),
    )


@dataclass(frozen=True)
class DeviceBudget:
    """The most that a run on a device may spend: shots, seconds of the machine, dollars, or several of them.

    It is held against what a round of circuits will take before any of the round is submitted, so that it is never
    exceeded: a training that needs more ends with status "stopped", and goes on from there with ``resume=True`` and a
    larger one. Seconds and dollars are what the device says beforehand (``device.seconds``, ``device.price``); waiting
    in a queue does not count.

    Raises: QupropError for no limit at all, or one that is not positive.

    >>> qpr.DeviceBudget(shots=100_000, dollars=20)
    DeviceBudget(shots=100000, seconds=None, dollars=20)
    """

    shots: int | None = None
    seconds: float | None = None
    dollars: float | None = None

    def __post_init__(self) -> None:
        if self.shots is None and self.seconds is None and self.dollars is None:
            raise QupropError("a budget limits shots=, seconds= or dollars=, got none of them; give one at least")
        if self.shots is not None:
            whole("shots", self.shots, 1)
        for name in ("seconds", "dollars"):
            value = getattr(self, name)
            real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if value is not None and not (real and 0 < value < math.inf):
                raise QupropError(f"{name} of a budget is a positive number, got {shown(value)}")

    def check(self, spent: Spending, more: Spending, name: str) -> None:
        """Refuses `more` where `spent` and it are beyond a limit."""
        for unit in ("shots", "seconds", "dollars"):
            most, was, new = (getattr(found, unit) for found in (self, spent, more))
            if most is None:
                continue
            if was is None or new is None:
                raise QupropError(
                    f"{name} does not say what its circuits cost in {unit}, got a budget of {most:,g} {unit}; "
                    "give a budget of shots="
                )
            if was + new > most:
                raise BudgetSpent(
                    f"the budget of {most:,g} {unit} has {most - was:,g} left, and what comes next on {name} takes "
                    f"{new:,g}; go on with resume=True and a larger one"
                )
