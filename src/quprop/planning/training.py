"""What training would cost: every method's gradient by formula, times steps and samples, on named machines.

    seconds of a gradient  = those of a machine for what is executed (`HardwareModel`) + classical multiply-adds / flops
    seconds of a training  = steps * samples * seconds of a gradient

The advice is about what a device can run: simulators and formulas that nothing runs are in the table and not in it. The
M at which it changes is looked for with the rest of the shape growing as its kind does (`Shape.at`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from quprop.cost import PRESETS, Cost, HardwareModel, human_seconds, short, short_bytes
from quprop.cost import hardware as find_hardware
from quprop.errors import QupropError, nearest
from quprop.gradients import COSTED, PLAIN
from quprop.planning.costs import cost_of, rivalry
from quprop.sampling.shape import Shape, Wanted

MARGIN = 0.05  # what another must be cheaper by to be recommended instead
FLOPS = 2e10  # multiply-adds a second of the classical side: two cores of a laptop
MOST_PARAMETERS = 10**15  # up to which a change of the advice is looked for
LARGEST_MEMORY = 2**40  # bytes of the classical side that a simulator is recommended with
BASES = {
    "counted": "equal to what runs count at small size (quprop plan --check)",
    "bound": "the worst case: as many triggers or batches as there can be, strings as long as they can be",
    "formula": "nothing runs it; hidden constants are taken for 1",
}


@dataclass(frozen=True)
class MethodCost:
    """One method. seconds: of one gradient on the machine; classical_seconds: of its classical side, `seconds` of a
    simulator; training: of the whole training, both added; signal: of a run with as many rotations as its runs have on
    average, see `TrainingPlan`; basis: a key of `BASES`; too_large: why the machine cannot
    hold it, or "".
    """

    name: str
    cost: Cost
    simulated: bool
    seconds: float
    classical_seconds: float
    training: float
    basis: str
    too_large: str
    signal: float | None = None

    @property
    def gradient(self) -> float:
        """Seconds of one gradient, both sides."""
        return self.seconds + self.classical_seconds

    def as_dict(self) -> dict[str, Any]:
        names = ("name", "simulated", "seconds", "classical_seconds", "training", "basis", "too_large")
        signal = {} if self.signal is None else {"signal": self.signal}
        return {k: _finite(getattr(self, k)) for k in names} | signal | {"cost": self.cost.as_dict()}


@dataclass(frozen=True)
class Change:
    """From `parameters` on `method` is the cheapest; holds: the qubits it then holds."""

    parameters: int
    method: str
    holds: int


@dataclass(frozen=True)
class TrainingPlan:
    """rows: a method each, the cheapest first, simulators before; refused: why others do not serve; machines: seconds
    of the training by machine and method, None where it does not fit; changes: the cheapest method from 1 parameter
    on.

    The signal of a run is the probability that nothing in it errs, prod (1 - p): about what noise leaves of expectation
    values and derivatives, whatever the shots. p are those of the model's own channels, in proportion to the rotations
    of the run; of a model without channels those of the machine, for two two-qubit gates and one of one qubit for each
    rotation, readout and idle qubits left out; None where neither has any.
    """

    shape: Shape
    wanted: Wanted
    steps: int
    samples: int
    hardware: HardwareModel
    flops: float
    rows: tuple[MethodCost, ...]
    refused: dict[str, str]
    machines: dict[str, dict[str, float | None]]
    changes: tuple[Change, ...]

    @property
    def advice(self) -> str:
        return advise(self)

    @property
    def rivalry(self) -> str:
        """`quprop.planning.costs.rivalry`."""
        return rivalry({row.name: row.cost for row in self.rows})

    @property
    def noise(self) -> str:
        """One sentence on what noise leaves of the gradient; "" without noise."""
        return _noise(self)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it."""
        components = self.shape.parameters
        return {
            "kind": "plan",
            "shape": self.shape.as_dict(),
            "precision": self.wanted.precision(components),
            "max_error": self.wanted.max_error(components),
            "failure": self.wanted.failure,
            "steps": self.steps,
            "samples": self.samples,
            "hardware": asdict(self.hardware),
            "flops": _finite(self.flops),
            "methods": {row.name: row.as_dict() for row in self.rows},
            "refused": self.refused,
            "machines": {m: {k: _finite(v) for k, v in times.items()} for m, times in self.machines.items()},
            "changes": [asdict(c) for c in self.changes],
            "bases": BASES,
            **({"rivalry": self.rivalry} if self.rivalry else {}),
            "advice": self.advice,
            **({"noise": self.noise} if self.noise else {}),
        }

    def __str__(self) -> str:
        lines = [f"{self.shape.name}, {self.steps:,} steps of {self.samples:,} samples on {self.hardware.name}"]
        lines += [f"{r.name}: {people(r.gradient)} a gradient, {people(r.training)} in all" for r in self.rows]
        return "\n".join([*lines, self.advice])


def plan_training(
    shape: Shape,
    *,
    precision: float | None = None,
    max_error: float | None = None,
    failure: float = 0.01,
    steps: int = 1,
    samples: int = 1,
    hardware: str | HardwareModel = "figure2",
    methods: Iterable[str] | None = None,
    flops: float = FLOPS,
) -> TrainingPlan:
    """The cost of `steps` gradients of `samples` samples each, by all methods or those named.

    precision or max_error, one of them, of every gradient, as in `quprop.planning.compare.compare`; hardware: a name of
    `quprop.cost.PRESETS`, a TOML file or a model; flops: multiply-adds a second of the classical side, inf to leave
    it out as papers do. Raises `QupropError` for what is out of range; a method that does not serve the shape is in
    `refused`.
    """
    if (precision is None) == (max_error is None):
        raise QupropError(f"a plan takes one of precision= and max_error=, got {'both' if precision else 'neither'}")
    kind, value = ("precision", precision) if precision is not None else ("max_error", max_error)
    assert value is not None
    wanted = Wanted(kind, value, failure)
    for name, count in (("steps", steps), ("samples", samples)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise QupropError(f"{name} must be a whole number, 1 or more, got {count!r}")
    if isinstance(flops, bool) or not isinstance(flops, int | float) or not flops > 0:
        raise QupropError(f"flops is a positive number of multiply-adds a second, or inf, got {flops!r}")
    machine = find_hardware(hardware)
    names = _names(methods)
    repeats = steps * samples
    rows, refused = [], {}
    for name in names:
        try:
            cost = cost_of(name, shape, wanted)
        except QupropError as error:
            refused[name] = str(error)
            continue
        row = _row(name, cost, machine, flops, repeats, shape.bounds)
        rows.append(replace(row, signal=_signal(row, shape, machine)))
    rows.sort(key=_order)
    known = PRESETS if machine.name in PRESETS else {**PRESETS, machine.name: machine}
    machines: dict[str, dict[str, float | None]] = {
        m.name: {
            r.name: None if _too_large(r.cost, m) else _row(r.name, r.cost, m, flops, repeats).training
            for r in rows
            if not r.simulated
        }
        for m in known.values()
    }
    return TrainingPlan(
        shape,
        wanted,
        steps,
        samples,
        machine,
        flops,
        tuple(rows),
        refused,
        machines,
        tuple(changes_of(shape, wanted, machine, names, flops)),
    )


def gradient_seconds(
    name: str, shape: Shape, wanted: Wanted, machine: HardwareModel, flops: float = FLOPS
) -> float | None:
    """Seconds of one gradient; None if the method does not serve the shape, or the machine does not hold it."""
    try:
        cost = cost_of(name, shape, wanted)
    except QupropError:
        return None
    return None if _too_large(cost, machine) else _row(name, cost, machine, flops, 1).gradient


def changes_of(
    shape: Shape, wanted: Wanted, machine: HardwareModel, names: Iterable[str], flops: float = FLOPS
) -> list[Change]:
    """The cheapest method that the machine can run, from the smallest number of parameters to `MOST_PARAMETERS`."""
    able = [n for n in names if COSTED[n].copies != 0 and not COSTED[n].costed_only]
    if not shape.trained:
        return []

    def times(m: int) -> dict[str, float]:
        grown = shape.at(m)
        found = {n: gradient_seconds(n, grown, wanted, machine, flops) for n in able}
        return {n: t for n, t in found.items() if t is not None}

    def cheaper(m: int, one: str, other: str) -> bool:
        found = times(m)
        return one in found and found[one] < found.get(other, math.inf)

    out: list[Change] = []
    for m in sorted({round(2 ** (k / 2)) for k in range(2, 2 * MOST_PARAMETERS.bit_length())}):
        fitting = times(m)
        last = out[-1].method if out else PLAIN
        found = choose(fitting, last)
        if m > MOST_PARAMETERS or found is None or (out and found == last):
            continue
        start = m
        if out:
            low, high = m // 2, m
            while low > out[-1].parameters and cheaper(low, found, last):
                low, high = low // 2, low
            while high - low > max(1, high // 1000):
                middle = (low + high) // 2
                low, high = (low, middle) if cheaper(middle, found, last) else (middle, high)
            start = high
        out.append(Change(start, found, cost_of(found, shape.at(start), wanted).qubits))
    return out


def choose(times: Mapping[str, float], usual: str = PLAIN) -> str | None:
    """The least time; `usual` where no other is cheaper by more than a twentieth, None where there are no times."""
    best = min(times, key=lambda n: times[n], default=None)
    return usual if best is not None and times.get(usual, math.inf) * (1 - MARGIN) <= times[best] else best


def advise(plan: TrainingPlan) -> str:
    """One sentence: the method to use, and at which M that changes."""
    parts = []
    here = [r for r in plan.rows if COSTED[r.name].exact and r.cost.classical_bytes <= LARGEST_MEMORY]
    if here:
        parts.append(
            f"simulated, {here[0].name} is exact and takes {people(here[0].training)} and "
            f"{short_bytes(here[0].cost.classical_bytes)} for the training"
        )
    there = [r for r in plan.rows if not r.simulated and not COSTED[r.name].costed_only and r.cost.measurements]
    fitting = [r for r in there if not r.too_large]
    if fitting:
        chosen = choose({r.name: r.gradient for r in fitting})
        best = next(r for r in fitting if r.name == chosen)
        text = (
            f"on {plan.hardware.name} use {best.name}: {people(best.gradient)} a gradient, {people(best.training)} the "
            "training"
        )
        parts.append(text + _when_that_changes(plan, best.name))
    elif there:
        parts.append(f"no method fits the {plan.hardware.qubits} qubits of {plan.hardware.name}")
    if not parts:
        return "No method serves this model."
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def _signal(row: MethodCost, shape: Shape, machine: HardwareModel) -> float | None:
    kind = COSTED[row.name]
    if row.simulated or kind.costed_only or kind.copies == "many" or not row.cost.measurements:
        return None
    length = row.cost.rotations / row.cost.measurements
    if shape.survival < 1:
        return float(shape.survival**length)
    return None if machine.noise is None else machine.noise.signal(length, 2 * length)


def _noise(plan: TrainingPlan) -> str:
    known = [r for r in plan.rows if r.signal is not None]
    known = [r for r in known if not r.too_large] or known
    if not known:
        return ""
    signals = {r.name: r.signal or 0.0 for r in known}
    best = choose({r.name: r.gradient for r in known}) or PLAIN
    most = max(signals, key=lambda name: signals[name])
    whose = f"the errors of {plan.hardware.name} leave" if plan.shape.survival == 1 else "the model's noise leaves"
    sentence = f"{whose} {tidy(f'{signals[best]:.2g}')} of the signal in a run of {best}"
    largest, e = plan.shape.reach * plan.shape.norm, plan.wanted.precision(plan.shape.parameters)
    if signals[most] * largest <= e:
        sentence += (
            f": noise swamps the gradient, since of derivatives of {largest:.3g} at most {most} keeps "
            f"{tidy(f'{signals[most] * largest:.2g}')}, below the standard error {e:.3g}, and shots do not mend that"
        )
    elif signals[best] * largest <= e:
        sentence += f", which swamps its gradient; {most} keeps {tidy(f'{signals[most]:.2g}')}"
    else:
        sentence += ", which more shots do not mend"
    return sentence[0].upper() + sentence[1:] + "."


def _when_that_changes(plan: TrainingPlan, name: str) -> str:
    later = [c for c in plan.changes if c.parameters > plan.shape.parameters and c.method != name]
    if not later:
        return tidy(f", and no M up to {MOST_PARAMETERS:.0e} changes that")
    change = later[0]
    held = f", holding {short(change.holds)} qubits" if COSTED[change.method].copies == "many" else ""
    return tidy(f", and from M = {change.parameters:.2g} {change.method}{held}")


def people(seconds: float) -> str:
    """Seconds in units that people use."""
    return tidy(human_seconds(seconds)) if math.isfinite(seconds) else "∞"


def tidy(text: str) -> str:
    """1.5e+08 as 1.5e8."""
    return re.sub(r"e\+?(-?)0*(\d)", r"e\1\2", text)


def _row(
    name: str, cost: Cost, machine: HardwareModel, flops: float, repeats: int, bounds: Iterable[str] = ()
) -> MethodCost:
    kind = COSTED[name]
    simulated = kind.copies == 0
    try:
        seconds = 0.0 if simulated else machine.seconds(cost)
        classical = cost.classical_ops / flops
    except OverflowError:
        seconds = classical = math.inf
    basis = "formula" if kind.costed_only else "bound" if kind.worst_case or name in bounds else "counted"
    too_large = "" if simulated else _too_large(cost, machine)
    return MethodCost(name, cost, simulated, seconds, classical, (seconds + classical) * repeats, basis, too_large)


def _order(row: MethodCost) -> tuple[Any, ...]:
    """The cheapest first, simulators before and formulas after; ties go to the method that everybody has."""
    formula = COSTED[row.name].costed_only
    return not row.simulated, formula, row.too_large != "", float(f"{row.gradient:.1e}"), row.name != PLAIN


def _too_large(cost: Cost, machine: HardwareModel) -> str:
    if machine.qubits is not None and cost.qubits > machine.qubits:
        return f"needs {short(cost.qubits)} qubits, {machine.name} has {machine.qubits}"
    return ""


def _names(methods: Iterable[str] | None) -> list[str]:
    if methods is None:
        return list(COSTED)
    names = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    for name in names:
        if name == "carleman":
            raise QupropError(
                "carleman trains classical networks; plan one by its name, as in quprop plan mlp --precision 0.01"
            )
        if name not in COSTED:
            raise QupropError(f"unknown method {name!r}: {nearest(str(name), COSTED)}")
    if not names:
        raise QupropError(f"methods must name one method at least, got none; known names are {', '.join(COSTED)}")
    return names


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    return "infinite" if isinstance(value, float) and math.isinf(value) else value
