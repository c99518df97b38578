"""What a gradient costs by every method there is, at the same precision, and whether that is backpropagation scaling.

Definition 1 of Abbas et al. (NeurIPS 2023, arXiv:2305.13362) compares a gradient with the value F = weights . <O>
itself, to the same accuracy. Here:

    TIME(F)    rotations executed to estimate F to the same precision (or maximal error and failure) by the same rule
               for shots (`Budget`): runs of the model's own circuit, M rotations each, one circuit for each group of
               terms that a shot reads together, grouped as parameter shift groups them
    omega      in time, rotations(gradient) / rotations(F), a Toffoli as three; in memory, qubits held for the gradient
               / those of the model (what the classical side holds has a column of its own)

An exact method executes nothing on hardware: its omega are ratios of measured seconds, and of bytes, of a gradient and
of a value on this machine (`quprop.simulate.measure`).

"The same precision" is the standard error of a component, `precision`, or `max_error` of all components at once except
with probability `failure`; by Hoeffding and a union bound over P components, max_error = precision sqrt(2 ln(2 P /
failure)). A method that knows only one of the two is given the other by this relation.

Of a model with noise the exact gradient, from which errors are counted, is that of the noisy model itself. `bias` is
how far estimates are from it on average, which shots do not mend and `precision` does not cover: 0 for parameter shift.
`noise_bias` is how far they are on average from the gradient of the same model without channels: what the machine's
errors have done, whatever the method.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import ndtr

from quprop.arrays import checked
from quprop.cost import TOFFOLI_ROTATIONS, Cost, human_seconds
from quprop.errors import QupropError, nearest
from quprop.gradients import COSTED, Adjoint, ShotNoise
from quprop.hardware_models import HardwareModel
from quprop.hardware_models import hardware as find_hardware
from quprop.model import Model
from quprop.planning import advice
from quprop.planning.compare_table import parts
from quprop.planning.costs import rivalry
from quprop.planning.feasible import LIMITS, Judged, Obstacle, as_dicts, fidelity_of, obstacles
from quprop.planning.structure import survival_of
from quprop.runs.executor import Executor, Task, run_tasks
from quprop.sampling.budget import Budget
from quprop.sampling.estimate import shown
from quprop.sampling.grouping import group
from quprop.sampling.linear import LinearPlan
from quprop.sampling.plan import Plan, settle
from quprop.sampling.shape import Wanted
from quprop.sampling.terms import Terms
from quprop.simulate import get_engine
from quprop.simulate.measure import measure_omega
from quprop.tables import flat_rows, html, text

RUN_SECONDS = 60.0  # a method that would take longer to simulate is costed but not run
LOOK_SECONDS = 5.0  # that the exact gradient may take whatever else is run: without it no error has a scale
_EVER = 1e18  # seconds, the age of the universe
_UPDATES_A_SECOND = 5e8  # amplitudes that a simulated rotation changes; deliberately slow
_OUTCOMES_A_SECOND = 2e7  # drawn and multiplied with their weights
_CIRCUIT_SECONDS = 4e-5  # what every circuit takes besides


@dataclass(frozen=True)
class Comparison:
    """One row a method that serves the model, and one sentence for each that does not. Prints as a table.

    value: the cost of F itself; true: the largest |component| of the exact gradient, for scale, None where that takes
    too long.
    """

    model: str
    parameters: int
    precision: float
    max_error: float
    failure: float
    hardware: HardwareModel
    value: Cost
    true: float | None
    rows: tuple[MethodRow, ...]
    refused: dict[str, str]

    @property
    def advice(self) -> str:
        return advice.advise_compared(self)

    @property
    def rivalry(self) -> str:
        """`quprop.planning.costs.rivalry`."""
        return rivalry({row.name: row.cost for row in self.rows})

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it."""
        return {
            "kind": "comparison",
            **{k: getattr(self, k) for k in ("model", "parameters", "precision", "max_error", "failure", "true")},
            "hardware": asdict(self.hardware),
            "value": self.value.as_dict(),
            "value_seconds": self.hardware.seconds(self.value),
            "limits": LIMITS,
            "methods": {row.name: row.as_dict() for row in self.rows},
            "refused": self.refused,
            **({"rivalry": self.rivalry} if self.rivalry else {}),
            "advice": self.advice,
        }

    def table(self) -> list[dict[str, Any]]:
        """Rows for `pandas.DataFrame`, a method each, of numbers and texts only; costs are cost_copies, ..."""
        return flat_rows(row.as_dict() for row in self.rows)

    def __str__(self) -> str:
        return text(parts(self))

    def _repr_html_(self) -> str:
        return html(parts(self))


@dataclass(frozen=True)
class MethodRow(Judged):
    """One method's gradient at the common precision.

    measured: the largest |component - exact| of one estimate, None if not run (`not_run` says why); expected: the
    median of that number, from the standard errors that the estimate itself reports; bound: what it stays below except
    with probability `failure`. simulated: no hardware can run it. seconds: on the hardware, or of a simulated method on
    this machine. damage: in words, of copies that are taken for undisturbed. bias, noise_bias: of a model with noise,
    the largest |mean - exact| over components, exact being the gradient of the noisy model, or of the model without
    noise; None where the mean has no closed form. fidelity: expected of the longest run, None where nothing is said of
    errors; obstacles: why one gradient is infeasible, () if it is not (`quprop.planning.feasible`).
    """

    name: str
    exact: bool
    simulated: bool
    unbiased: bool
    copies_at_once: str
    cost: Cost
    omega_time: float | None
    omega_memory: float | None
    measured: float | None
    expected: float | None
    bound: float | None
    seconds: float
    not_run: str = ""
    info: dict[str, Any] | None = None
    damage: str = ""
    bias: float | None = None
    noise_bias: float | None = None
    fidelity: float | None = None
    obstacles: tuple[Obstacle, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("cost", "obstacles")}
        return {
            **plain,
            "too_large": self.too_large,
            "feasible": self.feasible,
            "obstacles": as_dicts(self.obstacles),
            "cost": self.cost.as_dict(),
        }

    def __str__(self) -> str:
        omega = "" if self.omega_time is None else f", omega {self.omega_time:.3g}"
        error = f", error {self.measured:.2g}" if self.measured is not None else f", {self.not_run}"
        damage = f", {self.damage}" if self.damage else ""
        if self.bias is not None:
            damage += f", bias {self.bias:.2g} ({self.noise_bias:.2g} from the gradient without noise)"
        bad = f" (infeasible: {'; '.join(o.why for o in self.obstacles)})" if self.obstacles else ""
        return f"{self.cost}{omega}{error}, {human_seconds(self.seconds)}{bad}{damage}"


def compare(
    model: Model,
    *,
    precision: float | None = None,
    max_error: float | None = None,
    failure: float = 0.01,
    methods: Iterable[str] | None = None,
    theta: Any = None,
    x: Any = None,
    weights: Any = None,
    hardware: str | HardwareModel = "figure2",
    rng: int = 0,
    run_seconds: float = RUN_SECONDS,
    executor: Executor | None = None,
    progress: Any = None,
) -> Comparison:
    """Cost and error of one gradient of F = weights . <O>, by all methods (or those named) at equal precision.

    precision or max_error, one of them: see the module. theta (P,), x (D,): where; drawn from `rng` (a seed; theta
    uniform in [-pi, pi), x in [-1, 1)) if left out. weights (K,): all 1 if left out. run_seconds: a method whose
    simulation is estimated to take longer is costed but not run. executor, progress: see `run_tasks`.

    hardware: what seconds are told for, as in `quprop.hardware`.
    Returns: Comparison: `rows`, one a method, `refused`, sentences by name; prints as a table.
    Raises: QupropError unless one of precision and max_error is given, for other shapes, unknown methods or machines.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> result = qpr.compare(model, precision=0.05, methods=["adjoint", "parameter_shift"], rng=1)
    >>> [(row.name, row.cost.copies) for row in result.rows]
    [('adjoint', 0), ('parameter_shift', 400)]
    """
    if (precision is None) == (max_error is None):
        raise QupropError(f"compare takes one of precision= and max_error=, got {'both' if precision else 'neither'}")
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise QupropError(f"rng is a seed, a whole number from 0, got {rng!r}")
    given = np.ones(model.n_observables) if weights is None and isinstance(model, Model) else weights
    w = settle(model, given, Adjoint, rows=False)
    machine = find_hardware(hardware)
    names = _names(methods)
    settings = _budgets(precision, max_error, failure, model.n_params)
    generator = np.random.default_rng([int(rng), 0])
    point = {
        "theta": _vector("theta", theta, generator.uniform(-np.pi, np.pi, model.n_params)),
        "x": _vector("x", x, generator.uniform(-1, 1, model.n_inputs)),
        "weights": w.tolist(),
    }
    common = {"model": model.to_text(), **point, **settings, "run_seconds": float(run_seconds)}
    tasks = [Task(compare_one, {"method": name, **common}, int(rng), "quprop.compare.compare_one") for name in names]
    found = {
        name: row["result"] for name, row in zip(names, run_tasks(tasks, executor, progress=progress), strict=True)
    }

    kind = "precision" if precision is not None else "max_error"
    value = value_cost(model, Budget(**{kind: settings[kind]}, failure=failure), w)
    at = (np.array(point["theta"]), np.array(point["x"]))
    survival = survival_of(model, at)
    rows = tuple(_row(name, r, value, machine, survival) for name, r in found.items() if "refused" not in r)
    return Comparison(
        repr(model).strip("<>"),
        model.n_params,
        settings["precision"],
        settings["max_error"],
        failure,
        machine,
        value,
        next((r["true"] for r in found.values() if "true" in r), None) or _largest(model, *at, w, run_seconds),
        rows,
        {name: r["refused"] for name, r in found.items() if "refused" in r},
    )


def _largest(model: Model, theta: np.ndarray, x: np.ndarray, w: np.ndarray, seconds: float) -> float | None:
    """The largest |component| of the exact gradient, where no method was run; None where it takes too long."""
    try:
        plan = Adjoint().compile(model, w)
        if simulation_seconds(plan) > max(seconds, LOOK_SECONDS):
            return None
        return float(np.abs(plan.estimate(theta, x).value).max(initial=0.0))
    except QupropError:
        return None


def value_cost(model: Model, budget: Budget, weights: Any = None) -> Cost:
    """What it costs to estimate F = weights . <O> itself under a budget: TIME(F) and MEMORY(F) of Definition 1."""
    grouping = group(Terms.of(model).total(settle(model, weights, Adjoint)), clifford=model.clifford)
    groups = grouping.groups
    if not groups:
        return Cost()
    bounds = sp.csr_matrix([[sum(abs(c) for _, c in members)] for members in groups])
    shots = budget.allot(bounds)
    runs = int(shots.sum())
    read = [1 if grouping.scheme == "sampled" else len(members) for members in groups]
    return Cost(
        copies=runs,
        rotations=runs * model.n_rotations,
        measurements=runs,
        depth=model.n_rotations,
        qubits=model.n_qubits,
        classical_ops=int(np.dot(shots, read)),
    )


def _why(error: Exception, refused: str = "") -> str:
    return f"{refused}{error}" if isinstance(error, QupropError) else f"failed with {type(error).__name__}: {error}"


def compare_one(settings: dict[str, Any], seed: np.random.SeedSequence) -> dict[str, Any]:
    """One method: a task of `run_tasks`."""
    model = Model.from_text(settings["model"])
    theta, x, w = (np.asarray(settings[k], float) for k in ("theta", "x", "weights"))
    at = (theta, x)
    kind = COSTED[settings["method"]]
    try:
        wanted = Wanted(settings["kind"], settings[settings["kind"]], settings["failure"])
        method = kind.wanting(wanted, model.n_params)
        plan = method.compile(model, w, at=at)
        planned = simulation_seconds(plan)
    except Exception as error:  # one method that fails is a line in the table, and the others are still compared
        return {"refused": _why(error)}
    out: dict[str, Any] = {
        "cost": plan.cost.as_dict(),
        "copies_at_once": str(kind.copies),
        "unbiased": bool(getattr(plan, "unbiased", kind.unbiased)),
        "exact": kind.exact,
        "simulated": kind.copies == 0,
        "info": {k: str(v) for k, v in plan.info.items()},
    }
    if kind.costed_only:
        out["not_run"] = "not run: a formula for its cost is all there is"
        return out
    if planned > settings["run_seconds"]:
        took = f"about {human_seconds(planned)}" if planned < _EVER else "longer than anything lasts"
        out["not_run"] = f"not run: its simulation would take {took}"
        return out | expected_of(method, plan, theta, x, settings["run_seconds"])
    exact = Adjoint().compile(model, w).estimate(theta, x).value
    try:
        start = time.perf_counter()
        estimate = plan.estimate(theta, x, np.random.default_rng(seed))
        out["seconds_here"] = time.perf_counter() - start
    except Exception as error:
        out["not_run"] = _why(error, "not run: ")
        return out
    out |= {
        "true": float(np.abs(exact).max(initial=0.0)),
        "measured": float(np.abs(estimate.value - exact).max(initial=0.0)),
        "expected": median_of_max(estimate.stderr),
        "bound": 0.0 if out["exact"] else settings["max_error"],
    }
    if model.channels:
        out |= _biases(model, plan, theta, x, w, exact, out["unbiased"])
    if "damage" in estimate.info:
        out["damage"] = shown(estimate.info["damage"])
    if out["exact"]:
        out |= measure_omega(model, theta, x[None] if len(x) else None)
    return out


def _biases(
    model: Model, plan: Plan, theta: np.ndarray, x: np.ndarray, w: np.ndarray, exact: np.ndarray, unbiased: bool
) -> dict[str, float]:
    """How far the mean of estimates is from the gradients with and without the model's noise."""
    if unbiased:
        mean = exact
    elif isinstance(plan, LinearPlan):
        mean = plan.expected(theta, x)
    else:
        return {}
    clean = Adjoint().compile(model.noiseless(), w).estimate(theta, x).value
    return {name: float(np.abs(mean - of).max(initial=0.0)) for name, of in (("bias", exact), ("noise_bias", clean))}


def simulation_seconds(plan: Plan) -> float:
    """A rough upper estimate of what `plan.estimate` takes here: amplitude updates of its circuits, outcomes drawn."""
    own = getattr(plan, "simulation_seconds", None)  # a plan that does not simulate shot by shot knows better
    if own is not None:
        return float(own())
    cost = plan.cost
    if cost.measurements == 0:
        return cost.classical_ops / (4 * _UPDATES_A_SECOND)
    circuits = plan.info.get("circuits")
    if not isinstance(circuits, int | np.integer):
        circuits = cost.measurements
    # Shots of one circuit are drawn as counts: never more distinct outcomes than basis states.
    numbers = cost.qubits * (2 if plan.model.channels else 1)
    states = 2.0 ** min(numbers, 1000)  # many copies have thousands of qubits, and no float is that large
    drawn = cost.classical_ops * min(1.0, circuits * states / cost.measurements)
    each = cost.depth * states / _UPDATES_A_SECOND + _CIRCUIT_SECONDS
    return circuits * each + drawn / _OUTCOMES_A_SECOND


def expected_of(method: Any, plan: Plan, theta: np.ndarray, x: np.ndarray, seconds: float) -> dict[str, float]:
    """The median error of shots that are not drawn, from their exact variances: of a model that is wider than any state
    and has light cones, where that takes no longer than `seconds`."""
    circuits = plan.info.get("circuits")
    try:
        chosen = get_engine().choose(plan.model)
        if chosen.qubits == plan.model.n_qubits or not isinstance(circuits, int | np.integer):
            return {}
        # Four strings for each: a product of two whose cones meet is read with the cones of both.
        if 4 * circuits * chosen.updates > seconds * _UPDATES_A_SECOND:
            return {}
        noise = ShotNoise(protocol=method).compile(plan.model, plan.weights, at=(theta, x)).estimate(theta, x, 0)
    except QupropError:
        return {}
    return {"expected": median_of_max(noise.stderr)}


def median_of_max(stderr: np.ndarray) -> float:
    """The median of max_i |s_i Z_i| for independent normal Z_i: t with prod_i (2 Phi(t / s_i) - 1) = 1/2."""
    s = stderr[stderr > 0]
    if not len(s):
        return 0.0
    low, high = 0.0, float(s.max()) * 40
    for _ in range(60):
        t = (low + high) / 2
        low, high = (t, high) if np.log(2 * ndtr(t / s) - 1).sum() < math.log(0.5) else (low, t)
    return high


def _row(name: str, r: dict[str, Any], value: Cost, machine: HardwareModel, survival: float) -> MethodRow:
    cost = Cost(**r["cost"])
    time_, memory = None, None
    if r["exact"]:
        time_, memory = r.get("omega_time"), r.get("omega_memory")
    elif value.rotations and cost.rotations and not r["simulated"]:
        spent = cost.rotations + TOFFOLI_ROTATIONS * cost.toffolis
        time_, memory = spent / value.rotations, cost.qubits / value.qubits
    simulated = r["simulated"]
    here = r.get("gradient_seconds", r.get("seconds_here", 0.0))
    seconds = here if simulated else machine.seconds(cost)
    return MethodRow(
        name,
        r["exact"],
        r["simulated"],
        r["unbiased"],
        r["copies_at_once"],
        cost,
        time_,
        memory,
        r.get("measured"),
        r.get("expected"),
        r.get("bound"),
        seconds,
        r.get("not_run", ""),
        r["info"],
        r.get("damage", ""),
        r.get("bias"),
        r.get("noise_bias"),
        None if simulated else fidelity_of(cost, machine, survival),
        obstacles(cost, machine, seconds, survival=survival, simulated=simulated),
    )


def _budgets(precision: float | None, max_error: float | None, failure: float, components: int) -> dict[str, Any]:
    Budget(precision=precision, max_error=max_error, failure=failure)  # checks them
    kind, value = ("precision", precision) if precision is not None else ("max_error", max_error)
    assert value is not None
    wanted = Wanted(kind, value, failure)
    return {
        "kind": wanted.kind,
        "precision": wanted.precision(components) if precision is None else precision,
        "max_error": wanted.max_error(components) if max_error is None else max_error,
        "failure": failure,
    }


def _names(methods: Iterable[str] | None) -> list[str]:
    if methods is None:
        return list(COSTED)
    names = [methods] if isinstance(methods, str) else list(dict.fromkeys(methods))
    for name in names:
        if name not in COSTED:
            raise QupropError(f"unknown method {name!r}: {nearest(str(name), COSTED)}")
    if not names:
        raise QupropError(f"methods must name one method at least, got none; known names are {', '.join(COSTED)}")
    return names


def _vector(name: str, given: Any, drawn: np.ndarray) -> list[float]:
    if given is None:
        return drawn.tolist()
    return checked(name, given, drawn.shape).tolist()
