"""What a plan recommends, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from quprop.cost import fidelity_text, human_seconds, short, short_bytes
from quprop.gradients import COSTED, PLAIN
from quprop.planning.costs import cost_of, people, tidy
from quprop.planning.feasible import LONGEST, Obstacle, distance, sentence

if TYPE_CHECKING:
    from quprop.planning.compare import Comparison
    from quprop.planning.training import MethodCost, TrainingPlan


class Obstructed(Protocol):
    """A method's row."""

    @property
    def name(self) -> str: ...
    @property
    def obstacles(self) -> tuple[Obstacle, ...]: ...


Row = TypeVar("Row", bound=Obstructed)

MARGIN = 0.05  # what another must be cheaper by to be recommended instead
MOST_PARAMETERS = 10**15  # up to which a change of the advice is looked for


def choose(times: Mapping[str, float], usual: str = PLAIN) -> str | None:
    """The least time; `usual` where no other is cheaper by more than a twentieth, None where there are no times."""
    best = min(times, key=lambda n: times[n], default=None)
    return usual if best is not None and times.get(usual, math.inf) * (1 - MARGIN) <= times[best] else best


def runnable(row: MethodCost) -> bool:
    """Whether a device runs it: no simulator, and no formula that nothing runs."""
    return not row.simulated and not COSTED[row.name].costed_only and bool(row.cost.measurements)


def advise(plan: TrainingPlan) -> str:
    """The method to use, up to which number of parameters, and where another is cheaper; or why there is none, and what
    would have to change."""
    parts = []
    here = [r for r in plan.rows if COSTED[r.name].exact and r.feasible]
    if here:
        parts.append(
            f"simulated, {here[0].name} is exact and takes {people(here[0].training)} and "
            f"{short_bytes(here[0].cost.classical_bytes)} for the training"
        )
    there = [r for r in plan.rows if runnable(r)]
    fitting = [r for r in there if r.feasible]
    more = ""
    if fitting:
        chosen = choose({r.name: r.gradient for r in fitting})
        best = next(r for r in fitting if r.name == chosen)
        fidelity = "" if best.fidelity is None else f", a fidelity of {fidelity_text(best.fidelity)} in the longest run"
        parts.append(
            f"on {plan.hardware.name} use {best.name}: {people(best.gradient)} a gradient, {people(best.training)} the "
            f"training{fidelity}{_when_that_changes(plan, best.name)}"
        )
    elif there:
        where = plan.hardware.name
        if all(r.too_large for r in there):
            text = f"no method fits the {plan.hardware.qubits} qubits of {where}, where it is infeasible"
        else:
            text = f"infeasible on {where}"
        parts.append(text + ("" if here else ", and no simulator does it either"))
        nearest = nearest_of(there, {r.name: r.gradient for r in there})
        times = f"{people(nearest.gradient)} a gradient"
        if all(o.kind != "time" for o in nearest.obstacles):
            times += f" and {people(nearest.training)} the training"
        more = f" Nearest is {sentence(nearest.name, nearest.obstacles)}{_looser(plan, nearest)} ({times} as it is)."
        reach = plan.reaches
        more += f" Models of this kind are feasible there up to P = {_count(reach)} parameters." if reach else ""
    if not parts:
        return "No method serves this model."
    text = "; ".join(parts)
    text = text[0].upper() + text[1:] + "." + more
    unseen = resolution(plan.wanted.precision(plan.shape.parameters), plan.shape.largest)
    return f"{text} {unseen}".strip()


def nearest_of(rows: Sequence[Row], seconds: Mapping[str, float]) -> Row:
    """Of methods that are infeasible the one that least is lacking of; of equals the cheapest."""
    return min(rows, key=lambda r: (round(distance(r.obstacles), 2), float(f"{seconds[r.name]:.1e}"), r.name != PLAIN))


def resolution(precision: float, largest: float | None) -> str:
    """One sentence if no component of the gradient stands out of the standard error; "" if one does, or nothing is
    known of them."""
    if largest is None or precision < largest:
        return ""
    if largest == 0:
        return "Every component of the gradient is 0 here: there is nothing to estimate."
    return tidy(
        f"But all estimates are noise: no component is larger than {largest:.2g}, and the standard error is "
        f"{precision:.2g}; to see the largest to a tenth takes a precision of {largest / 10:.1g}."
    )


def _count(parameters: int) -> str:
    return tidy(f"{parameters:,}" if parameters < 10_000 else f"{parameters:.2g}")


def noise(plan: TrainingPlan) -> str:
    """What errors leave of the gradient; "" without any."""
    known = [r for r in plan.rows if r.fidelity is not None and runnable(r)]
    known = [r for r in known if not r.too_large] or known
    if not known:
        return ""
    left = {r.name: r.fidelity or 0.0 for r in known}
    fitting = [r for r in known if r.feasible] or known
    best = choose({r.name: r.gradient for r in fitting}) or PLAIN
    best = best if best in {r.name for r in fitting} else fitting[0].name
    most = max(left, key=lambda name: left[name])
    whose = f"the errors of {plan.hardware.name} leave" if plan.shape.survival == 1 else "the model's noise leaves"
    text = f"{whose} {fidelity_text(left[best])} of the signal in the longest run of {best}"
    largest, e = plan.shape.reach * plan.shape.norm, plan.wanted.precision(plan.shape.parameters)
    if left[most] * largest <= e:
        text += (
            f": noise swamps the gradient, since of derivatives of {largest:.3g} at most {most} keeps "
            f"{tidy(f'{left[most] * largest:.2g}')}, below the standard error {e:.3g}, and shots do not mend that"
        )
    elif left[best] * largest <= e:
        text += f", which swamps its gradient; {most} keeps {tidy(f'{left[most]:.2g}')}"
    else:
        text += ", which more shots do not mend"
    return text[0].upper() + text[1:] + "."


def _looser(plan: TrainingPlan, row: MethodCost) -> str:
    """The precision that would do, in words, where time is the matter and one below the largest derivative does."""
    if not any(o.kind == "time" for o in row.obstacles):
        return ""

    def short_enough(value: float) -> bool:
        cost = cost_of(row.name, plan.shape, replace(plan.wanted, value=value))
        seconds = plan.hardware.seconds(cost) + cost.classical_ops / plan.flops
        return seconds * plan.steps * plan.samples <= LONGEST

    low, high = plan.wanted.value, plan.shape.reach * plan.shape.norm
    if low >= high or not short_enough(high):
        return ""
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if short_enough(middle) else (middle, high)
    unit = 10.0 ** (math.floor(math.log10(high)) - 1)
    return tidy(f", such as {math.ceil(high / unit) * unit:.2g}")


def _when_that_changes(plan: TrainingPlan, name: str) -> str:
    later = [c for c in plan.changes if plan.shape.parameters < c.parameters <= plan.reaches and c.method != name]
    up_to = "" if plan.reaches >= MOST_PARAMETERS else f", feasible up to P = {_count(plan.reaches)} parameters"
    if not later:
        return up_to or tidy(f", and no P up to {MOST_PARAMETERS:.0e} changes that")
    change = later[0]
    held = f", holding {short(change.holds)} qubits" if COSTED[change.method].copies == "many" else ""
    return tidy(f", and from P = {change.parameters:.2g} {change.method}{held}{up_to}")


def advise_compared(found: Comparison) -> str:
    """What to use here, what on hardware, and whether that shows anything of the gradient."""
    here = [r for r in found.rows if r.exact]
    there = [r for r in found.rows if not r.simulated and r.cost.measurements and not COSTED[r.name].costed_only]
    there.sort(key=lambda r: (float(f"{r.seconds:.1e}"), r.name != PLAIN))
    parts = []
    if here:
        best = min(here, key=lambda r: r.seconds)
        took = "" if best.omega_time is None else f", at {best.omega_time:.2g} times the time of a value"
        parts.append(f"On a simulator use {best.name}: exact{took}")
    fitting = [r for r in there if r.feasible]
    off = [r for r in fitting if r.bias is not None and r.bias > found.precision]
    fitting = [r for r in fitting if r not in off]
    more = ""
    if fitting:
        best = fitting[0]
        shift = next((r for r in there if r.name == PLAIN and r is not best), None)
        less = ""
        if shift is not None and best.seconds > 0 and shift.seconds > 1.05 * best.seconds:
            less = f", {shift.seconds / best.seconds:.3g} times less than {PLAIN}"
        took = human_seconds(best.seconds)
        kept = "" if best.fidelity is None else f", a fidelity of {fidelity_text(best.fidelity)} in the longest run"
        parts.append(f"on {found.hardware.name} the cheapest is {best.name}: {took} a gradient{less}{kept}")
    elif off:
        parts.append(f"no method that fits {found.hardware.name} has a bias below the precision under this noise")
    elif there:
        parts.append(f"a gradient is infeasible on {found.hardware.name}")
        nearest = nearest_of(there, {r.name: r.seconds for r in there})
        more = f" Nearest is {sentence(nearest.name, nearest.obstacles)}."
    if not parts:
        return "No method serves this model."
    text = "; ".join(parts)
    text = text[0].upper() + text[1:] + "." + more
    return f"{text} {resolution(found.precision, found.true)}".strip()
