"""What can be done at all: the one rule by which a plan or a comparison calls a method infeasible on a machine.

A method is feasible where the machine has the qubits, the longest of its runs keeps a fidelity of `LEAST_FIDELITY`, the
classical side holds at most `LARGEST_MEMORY`, and all of it takes at most `LONGEST`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from quprop.cost import Cost, fidelity_text, short, short_bytes
from quprop.hardware_models import HardwareModel
from quprop.planning.costs import people, tidy

LEAST_FIDELITY = 0.01  # derivatives shrink by it, and to undo that by scaling takes 1 / fidelity^2 = 1e4 times the runs
LONGEST = 100 * 365.25 * 86400.0  # seconds, a long human life
LARGEST_MEMORY = 2**40  # bytes, a large server
LIMITS = {"fidelity": LEAST_FIDELITY, "seconds": LONGEST, "bytes": LARGEST_MEMORY}
KINDS = {
    "qubits": "more qubits than it has",
    "fidelity": f"the longest run below a fidelity of {LEAST_FIDELITY:g}",
    "time": f"longer than {people(LONGEST)}",
    "memory": f"more than {short_bytes(LARGEST_MEMORY)} of classical memory",
}


@dataclass(frozen=True)
class Obstacle:
    """kind: a key of `KINDS`; factor: what is lacking, above 1: times as many qubits, as few errors, as little time or
    memory; why: what is the matter; mend: what would have to change."""

    kind: str
    factor: float
    why: str
    mend: str


class Judged:
    """A method's row with what stands in its way."""

    obstacles: tuple[Obstacle, ...]

    @property
    def feasible(self) -> bool:
        return not self.obstacles

    @property
    def too_large(self) -> str:
        """Why the machine cannot hold it, or ""."""
        return next((o.why for o in self.obstacles if o.kind == "qubits"), "")


def log_fidelity_of(cost: Cost, machine: HardwareModel, survival: float = 1.0) -> float | None:
    """ln of the fidelity of the longest run: of a model with channels of its own `survival` for each rotation, else
    that of the machine (`HardwareModel.log_fidelity`). None where nothing is said of errors, or nothing measured."""
    if survival == 1:
        return machine.log_fidelity(cost)
    if not cost.measurements:
        return None
    return -math.inf if survival <= 0 or cost.depth > 1e300 else cost.depth * math.log(survival)


def fidelity_of(cost: Cost, machine: HardwareModel, survival: float = 1.0) -> float | None:
    log = log_fidelity_of(cost, machine, survival)
    return None if log is None else math.exp(log)


def obstacles(
    cost: Cost, machine: HardwareModel, seconds: float, *, survival: float = 1.0, simulated: bool = False
) -> tuple[Obstacle, ...]:
    """What stands in the way of runs that take so many seconds in all; () if nothing does."""
    out = []
    if not simulated and machine.qubits is not None and cost.qubits > machine.qubits:
        why = f"needs {short(cost.qubits)} qubits, {machine.name} has {machine.qubits}"
        out.append(Obstacle("qubits", _ratio(cost.qubits, machine.qubits), why, f"{short(cost.qubits)} qubits"))
    log = None if simulated else log_fidelity_of(cost, machine, survival)
    if log is not None and log < math.log(LEAST_FIDELITY):
        factor = log / math.log(LEAST_FIDELITY)
        longest = int(cost.depth / factor) if cost.depth < 1e300 and math.isfinite(factor) else 0
        kept = fidelity_text(math.exp(log))
        why = f"its longest run, {short(cost.depth)} gates one after another, keeps a fidelity of {kept}"
        mend = f"errors {factor:.3g} times smaller, or runs of at most {short(longest)} gates"
        out.append(Obstacle("fidelity", factor, why, mend))
    if seconds > LONGEST:
        factor = seconds / LONGEST
        mend = f"a time {factor:.3g} times shorter, by fewer steps, machines side by side or a looser precision"
        out.append(Obstacle("time", factor, f"it takes {people(seconds)}", mend))
    if cost.classical_bytes > LARGEST_MEMORY:
        size = tidy(f"{cost.classical_bytes:.2g}") + " B" if cost.classical_bytes > 1e18 else ""
        size = size or short_bytes(cost.classical_bytes)
        factor = _ratio(cost.classical_bytes, LARGEST_MEMORY)
        out.append(Obstacle("memory", factor, f"its classical side holds {size}", f"{size} of classical memory"))
    return tuple(Obstacle(o.kind, o.factor, tidy(o.why), tidy(o.mend)) for o in out)


def _ratio(a: int, b: int) -> float:
    try:
        return a / b
    except OverflowError:
        return math.inf


def distance(found: Iterable[Obstacle]) -> float:
    """The product of all that is lacking, as a logarithm: by it the nearest of infeasible methods is chosen."""
    return sum(math.log(o.factor) for o in found)


def sentence(name: str, found: tuple[Obstacle, ...]) -> str:
    """Why a method is infeasible, and what would have to change."""
    whys = "; ".join(o.why for o in found)
    return f"{name}: {whys}. It would need {'; and '.join(o.mend for o in found)}"


def as_dicts(found: tuple[Obstacle, ...]) -> list[dict[str, Any]]:
    """As JSON knows them."""
    return [
        {
            "kind": o.kind,
            "factor": o.factor if math.isfinite(o.factor) else "infinite",
            "why": o.why,
            "would_need": o.mend,
        }
        for o in found
    ]
