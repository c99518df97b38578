"""Physical qubits and hours of a plan on a fault-tolerant machine, from Microsoft's estimator (`qdk.estimator`).

The estimator (Beverland et al., arXiv:2211.07629; van Dam et al., arXiv:2311.05801) takes logical counts of one run:
qubits, arbitrary-angle rotations, their depth, Toffolis, measurements. It synthesises rotations, chooses a code
distance for the error budget and adds magic-state factories; Clifford gates cost space and time through its layout
only. A run here is one circuit, or one batch of the copies that are held together (then their rotations are side by
side); runs follow one another, and all of a plan's runs are multiplied with the time of one.

It runs on this machine and offline; its telemetry is switched off before it is imported.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from quprop.cost import Cost, short
from quprop.errors import QupropError, nearest
from quprop.gradients import COSTED
from quprop.lazy import missing
from quprop.planning.costs import people, tidy
from quprop.planning.training import TrainingPlan
from quprop.sampling.shape import Shape

QUBITS: dict[str, str] = {
    "qubit_gate_ns_e3": "gates and readout of 50-100 ns, errors of 1e-3 (superconducting, today)",
    "qubit_gate_ns_e4": "gates and readout of 50-100 ns, errors of 1e-4",
    "qubit_gate_us_e3": "gates and readout of 100 us, errors of 1e-3 (trapped ions)",
    "qubit_gate_us_e4": "gates and readout of 100 us, errors of 1e-4",
    "qubit_maj_ns_e4": "Majorana qubits, 100 ns, errors of 1e-4",
    "qubit_maj_ns_e6": "Majorana qubits, 100 ns, errors of 1e-6",
}
USUAL = "qubit_gate_ns_e3"
LARGEST_BUDGET = 1e-2
# Beyond, the estimator's 64-bit nanoseconds and search for a code overflow.
MOST_ROTATIONS = 10**15
MOST_QUBITS = 10**10


@dataclass(frozen=True)
class Physical:
    """One method. physical_qubits: of one run, code, factories and all; seconds_a_run, runs: of the whole training;
    seconds: their product; distance: of the code; t_per_rotation: T gates that synthesise one; note: why there is no
    estimate, or "".
    """

    name: str
    logical_qubits: int
    rotations_a_run: int
    runs: int
    physical_qubits: int = 0
    seconds_a_run: float = 0.0
    distance: int = 0
    t_per_rotation: int = 0
    note: str = ""

    @property
    def seconds(self) -> float:
        return self.seconds_a_run * self.runs

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"seconds": self.seconds}


@dataclass(frozen=True)
class FaultTolerant:
    """Estimates of all methods, and what they assume. budget: the chance that a run fails."""

    qubit: str
    code: str
    budget: float
    rows: tuple[Physical, ...]

    @property
    def assumptions(self) -> str:
        return (
            f"{self.qubit}: {QUBITS[self.qubit]}; {self.code.replace('_', ' ')}; a run fails with probability "
            f"{self.budget:.2g}; copies held together turn side by side, "
            "runs follow one another; Microsoft's estimator, qdk"
        )

    @property
    def sentence(self) -> str:
        """The method that is done first, and the one that needs the fewest qubits; formulas nothing runs left out."""
        able = [r for r in self.rows if not r.note and not COSTED[r.name].costed_only]
        if not able:
            return "The estimator answers for none of these methods."
        fast, small = min(able, key=lambda r: r.seconds), min(able, key=lambda r: (r.physical_qubits, r.seconds))
        text = f"By the estimator {_of(fast)}"
        return tidy(text + "." if fast is small else f"{text}; {_of(small)}.")

    def as_dict(self) -> dict[str, Any]:
        return {
            "qubit": self.qubit,
            "code": self.code,
            "error_budget": self.budget,
            "assumptions": self.assumptions,
            "sentence": self.sentence,
            "methods": {r.name: r.as_dict() for r in self.rows},
        }


def available() -> bool:
    """Whether qdk is installed; nothing is imported."""
    from importlib.util import find_spec

    return find_spec("qdk") is not None


def estimate(plan: TrainingPlan, *, qubit: str = USUAL, budget: float | None = None) -> FaultTolerant:
    """Physical qubits and time of every method of a plan that hardware can run.

    qubit: a key of `QUBITS`; budget: the chance that one run fails, by default such that failed runs move a component
    by a fifth of its precision at most: precision / (10 B W), B bounding |F| and W the largest reach, up to 1e-2.
    """
    if qubit not in QUBITS:
        raise QupropError(f"unknown qubit model {qubit!r}: {nearest(str(qubit), QUBITS)}")
    shape = plan.shape
    if budget is None:
        relative = plan.wanted.precision(shape.parameters) / max(shape.bound * shape.reach, 1e-300)
        budget = min(LARGEST_BUDGET, relative / 10)
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget < 1:
        raise QupropError(f"an error budget is a probability between 0 and 1, got {budget!r}")
    counts = _estimator()
    rows, code = [], "floquet_code" if "maj" in qubit else "surface_code"
    for row in plan.rows:
        if row.simulated or not row.cost.measurements:
            continue
        rows.append(_one(counts, row.name, row.cost, shape, plan.steps * plan.samples, qubit, code, float(budget)))
    return FaultTolerant(qubit, code, float(budget), tuple(rows))


def logical_run(name: str, cost: Cost, shape: Shape) -> tuple[dict[str, int], int]:
    """The logical counts of one run of a gradient by method `name`, and the runs there are."""
    kind = COSTED[name]
    together = 1
    if kind.copies in (2, "many"):
        width = shape.qubits + (kind.copies == "many") + (cost.toffolis > 0)  # a count holds a carry for every copy
        together = max(1, cost.qubits // width)
    runs = max(1, -(-cost.copies // together)) if not kind.costed_only else 1
    counts = {
        "numQubits": cost.qubits,
        "rotationCount": cost.depth * together,
        "rotationDepth": cost.depth,
        "measurementCount": max(1, shape.qubits) * together,
    }
    if cost.toffolis:  # counts, flags and pointers stand between the copies' rotations, and are undone by measurements
        rotations, toffolis = (-(-spent // runs) for spent in (cost.rotations, cost.toffolis))
        counts |= {"rotationCount": rotations, "rotationDepth": min(cost.depth, rotations), "cczCount": toffolis}
        counts["measurementCount"] += toffolis
    return counts, runs


def _one(
    logical_counts: Any, name: str, cost: Cost, shape: Shape, repeats: int, qubit: str, code: str, budget: float
) -> Physical:
    counts, runs = logical_run(name, cost, shape)
    base = Physical(name, counts["numQubits"], counts["rotationCount"], runs * repeats)
    if counts["rotationCount"] > MOST_ROTATIONS or counts["numQubits"] > MOST_QUBITS:
        return _noted(base, "a run too large for the estimator")
    try:
        found = logical_counts(counts).estimate(
            {"qubitParams": {"name": qubit}, "qecScheme": {"name": code}, "errorBudget": budget}
        )
    except Exception as error:
        return _noted(base, _first(error))
    except BaseException as error:  # the estimator's own error is no Exception
        if type(error).__name__ != "EstimatorError":
            raise
        return _noted(base, _first(error))
    breakdown, patch = found["physicalCounts"]["breakdown"], found["logicalQubit"]
    # Its `runtime` wraps at 2^64 ns; depth times cycle is the same number below.
    seconds = float(breakdown["logicalDepth"]) * float(patch["logicalCycleTime"]) * 1e-9
    return Physical(
        name,
        base.logical_qubits,
        base.rotations_a_run,
        base.runs,
        int(found["physicalCounts"]["physicalQubits"]),
        seconds,
        int(patch["codeDistance"]),
        int(breakdown.get("numTsPerRotation") or 0),
    )


def _of(row: Physical) -> str:
    return f"{row.name} takes {people(row.seconds)} on {short(row.physical_qubits)} physical qubits"


def _noted(base: Physical, note: str) -> Physical:
    return Physical(base.name, base.logical_qubits, base.rotations_a_run, base.runs, note=note)


def _first(error: BaseException) -> str:
    text = str(error).split("\n")[0].strip().rstrip(".")
    return f"no estimate: {text}" if text else "no estimate"


def _estimator() -> Any:
    os.environ["QDK_PYTHON_TELEMETRY"] = "none"  # before the import, which starts a thread that sends
    try:
        from qdk.estimator import LogicalCounts
    except ImportError:
        raise missing("physical qubits are estimated by Microsoft's qdk", "plan") from None
    return LogicalCounts
