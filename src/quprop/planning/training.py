"""What training would cost: every method's gradient by formula, times steps and samples, on named machines.

    seconds of a gradient  = those of a machine for what is executed (`HardwareModel`) + classical multiply-adds / flops
    seconds of a training  = steps * samples * seconds of a gradient

The advice is about what a device can run: simulators and formulas that nothing runs are in the table and not in it. The
number of parameters at which it changes is looked for with the rest of the shape growing as its kind does
(`Shape.at`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from quprop.cost import Cost, short
from quprop.errors import QupropError, count_of, nearest
from quprop.gradients import COSTED, PLAIN
from quprop.hardware_models import PRESETS, HardwareModel
from quprop.hardware_models import hardware as find_hardware
from quprop.planning import advice
from quprop.planning.advice import MOST_PARAMETERS
from quprop.planning.costs import cost_of, people, rivalry
from quprop.planning.feasible import LIMITS, Judged, Obstacle, as_dicts, fidelity_of, obstacles
from quprop.planning.timing import FLOPS, seconds_of
from quprop.sampling.shape import Shape, Wanted
from quprop.tables import Sentence, flat_rows, html, narrow_table

BASES = {
    "measured": "gradients timed here, in steps of as many samples",
    "model": "30 µs a sweep, 0.15 µs a rotation, 2.2 --flops multiply-adds a second: within a factor of 2 when idle",
    "counted": "equal to what runs count at small size (quprop plan --check)",
    "bound": "the worst case: as many triggers or batches as there can be, strings as long as they can be",
    "formula": "nothing runs it; hidden constants are taken for 1",
}


@dataclass(frozen=True)
class MethodCost(Judged):
    """One method. seconds: of one gradient on the machine; classical_seconds: of its classical side, or of a simulator;
    training: of the whole training, both added; basis: a key of `BASES`; fidelity: expected of its longest run, None
    where nothing is said of errors; obstacles: why it is infeasible, () if it is not (`quprop.planning.feasible`).
    """

    name: str
    cost: Cost
    simulated: bool
    seconds: float
    classical_seconds: float
    training: float
    basis: str
    fidelity: float | None = None
    obstacles: tuple[Obstacle, ...] = ()

    @property
    def gradient(self) -> float:
        """Seconds of one gradient, both sides."""
        return self.seconds + self.classical_seconds

    def as_dict(self) -> dict[str, Any]:
        names = ("name", "simulated", "seconds", "classical_seconds", "gradient", "training", "basis", "too_large")
        fidelity = {} if self.fidelity is None else {"fidelity": self.fidelity}
        return {
            **{k: _finite(getattr(self, k)) for k in names},
            **fidelity,
            "feasible": self.feasible,
            "obstacles": as_dicts(self.obstacles),
            "cost": self.cost.as_dict(),
        }


@dataclass(frozen=True)
class Change:
    """From `parameters` on `method` is the cheapest; holds: the qubits it then holds."""

    parameters: int
    method: str
    holds: int


@dataclass(frozen=True)
class TrainingPlan:
    """rows: a method each, the cheapest first, simulators before, infeasible ones behind; refused: why others do not
    serve; machines: seconds of the training by machine and method, None where it does not fit; infeasible: the kinds of
    obstacles there, where there are any; changes: the cheapest method from 1 parameter on; reaches: the largest number
    of parameters at which some method is feasible, 0 if there is none.

    The fidelity of a run is the probability that nothing in it errs: about what noise leaves of expectation values and
    derivatives, whatever the shots. Errors are those of the model's own channels, in proportion to the rotations of the
    run; of a model without channels those of the machine (`HardwareModel.log_fidelity`); None where neither has any.
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
    infeasible: dict[str, dict[str, tuple[str, ...]]]
    changes: tuple[Change, ...]
    reaches: int

    @property
    def feasible(self) -> bool:
        """Whether a device can do it, by some method that can be run."""
        return any(r.feasible for r in self.rows if advice.runnable(r))

    @property
    def advice(self) -> str:
        return advice.advise(self)

    @property
    def rivalry(self) -> str:
        """`quprop.planning.costs.rivalry`."""
        return rivalry({row.name: row.cost for row in self.rows})

    @property
    def noise(self) -> str:
        """One sentence on what noise leaves of the gradient; "" without noise."""
        return advice.noise(self)

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
            "limits": LIMITS,
            "feasible": self.feasible,
            "feasible_parameters": self.reaches,
            "methods": {row.name: row.as_dict() for row in self.rows},
            "refused": self.refused,
            "machines": {m: {k: _finite(v) for k, v in times.items()} for m, times in self.machines.items()},
            "infeasible": {m: {k: list(v) for k, v in kinds.items()} for m, kinds in self.infeasible.items()},
            "changes": [asdict(c) for c in self.changes],
            "bases": BASES,
            **({"rivalry": self.rivalry} if self.rivalry else {}),
            "advice": self.advice,
            **({"noise": self.noise} if self.noise else {}),
        }

    def table(self) -> list[dict[str, Any]]:
        """Rows for `pandas.DataFrame`, a method each, of numbers and texts only; costs are cost_copies, ..."""
        return flat_rows(row.as_dict() for row in self.rows)

    def _repr_html_(self) -> str:
        heads = ("copies", "rotations", "a gradient", "the training")
        table = narrow_table(f"time on {self.hardware.name}", *heads, first="one gradient")
        for row in self.rows:
            counts = (short(row.cost.copies), short(row.cost.rotations))
            mark = "" if row.feasible else ", infeasible"
            table.add_row(row.name, *counts, people(row.gradient), people(row.training) + mark)
        head = f"{self.shape.name}, {count_of(self.steps, 'step')} of {count_of(self.samples, 'sample')}"
        return html([Sentence(head), table, *map(Sentence, filter(None, (self.noise, self.advice)))])

    def __str__(self) -> str:
        run = f"{count_of(self.steps, 'step')} of {count_of(self.samples, 'sample')}"
        lines = [f"{self.shape.name}, {run} on {self.hardware.name}"]
        for r in self.rows:
            mark = "" if r.feasible else f" (infeasible: {', '.join(o.kind for o in r.obstacles)})"
            lines.append(f"{r.name}: {people(r.gradient)} a gradient, {people(r.training)} in all{mark}")
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
    `quprop.hardware_models.PRESETS`, a TOML file or a model; flops: multiply-adds a second of the classical side, inf
    to leave
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
            rows.append(_row(name, cost_of(name, shape, wanted), shape, wanted, machine, flops, repeats))
        except QupropError as error:
            refused[name] = str(error)
    rows.sort(key=_order)
    known = PRESETS if machine.name in PRESETS else {**PRESETS, machine.name: machine}
    elsewhere = {
        m.name: [_row(r.name, r.cost, shape, wanted, m, flops, repeats) for r in rows if not r.simulated]
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
        {m: {r.name: None if r.too_large else r.training for r in there} for m, there in elsewhere.items()},
        {
            m: {r.name: tuple(o.kind for o in r.obstacles) for r in there if r.obstacles}
            for m, there in elsewhere.items()
        },
        tuple(changes_of(shape, wanted, machine, names, flops)),
        _reaches(shape, wanted, machine, names, flops, repeats),
    )


def _reaches(
    shape: Shape, wanted: Wanted, machine: HardwareModel, names: Iterable[str], flops: float, repeats: int
) -> int:
    """The largest number of parameters at which a device can do it, to a thousandth; `MOST_PARAMETERS` if all."""

    def feasible(parameters: int) -> bool:
        grown = shape if parameters == shape.parameters else shape.at(parameters)
        for name in names:
            try:
                row = _row(name, cost_of(name, grown, wanted), grown, wanted, machine, flops, repeats)
            except QupropError:
                continue
            if advice.runnable(row) and row.feasible:
                return True
        return False

    if not shape.trained or not feasible(1):
        return 0
    if feasible(MOST_PARAMETERS):
        return MOST_PARAMETERS
    low, high = 1, MOST_PARAMETERS
    while high - low > max(1, low // 1000):
        middle = max(low + 1, math.isqrt(low * high)) if high > 2 * low else (low + high) // 2
        low, high = (middle, high) if feasible(middle) else (low, middle)
    return low


def gradient_seconds(
    name: str, shape: Shape, wanted: Wanted, machine: HardwareModel, flops: float = FLOPS
) -> float | None:
    """Seconds of one gradient; None if the method does not serve the shape, or the machine does not hold it."""
    try:
        row = _row(name, cost_of(name, shape, wanted), shape, wanted, machine, flops, 1)
    except QupropError:
        return None
    return None if row.too_large else row.gradient


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
        found = advice.choose(fitting, last)
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


def _row(
    name: str, cost: Cost, shape: Shape, wanted: Wanted, machine: HardwareModel, flops: float, repeats: int
) -> MethodCost:
    kind = COSTED[name]
    simulated = kind.copies == 0
    try:
        seconds = 0.0 if simulated else machine.seconds(cost)
        classical = cost.classical_ops / flops
    except OverflowError:
        seconds = classical = math.inf
    if simulated:
        classical, basis = seconds_of(name, shape, wanted, flops)
    else:
        basis = "formula" if kind.costed_only else "bound" if kind.worst_case or name in shape.bounds else "counted"
    training = (seconds + classical) * repeats
    found = obstacles(cost, machine, training, survival=shape.survival, simulated=simulated)
    fidelity = None if simulated else fidelity_of(cost, machine, shape.survival)
    return MethodCost(name, cost, simulated, seconds, classical, training, basis, fidelity, found)


def _order(row: MethodCost) -> tuple[Any, ...]:
    """The cheapest first, simulators before, infeasible ones and formulas after; ties go to the method that everybody
    has."""
    formula = COSTED[row.name].costed_only
    return not row.simulated, formula, row.too_large != "", float(f"{row.gradient:.1e}"), row.name != PLAIN


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
