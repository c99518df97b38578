"""Rotations at equal measured error against the number of parameters, for every method on every family.

One row is one gradient problem (family, M, instance) by one method: the shots at which the mean max-norm error of
repeated gradients is `max_error` (`level.py`), and the cost of a plan with that many. The exponent is fitted over the
rows of a family and method (`fit.py`), twice: as it is, and with the rotations divided by `logarithm`: (E max of M
normals)^2, the factor ~ 2 ln 2M that the max norm itself costs when M components err independently; for Bell sampling,
whose errors are those of thresholds, the ln(4M/failure) of its own count of pairs.

Theory's exponent for the latter is the method's own (`GradientMethod.exponents`); for random directions it is what
`plan.predicted_variance` gives for the exact gradient: the shots at which the root of its mean over the components,
times E max of M normals, is `max_error`, computed beforehand and fitted in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, nearest
from quprop.gradients import METHODS, Adjoint
from quprop.gradients.method import PREDICTED
from quprop.planning.measured.families import FAMILIES, Built, find
from quprop.planning.measured.fit import Exponent, fit_exponent
from quprop.planning.measured.level import describe, largest_of_normals, shots_at_error
from quprop.runs.executor import Row, Task
from quprop.sampling.budget import Budget

START_SHOTS = 64  # of each circuit, at the first level
MOST_SHOTS = 10**12

BELOW = 4  # a sweep that stops earlier starts that many sizes lower, at 16 or more


@dataclass(frozen=True)
class Fit:
    """One line of a sweep's result, at one error. `raw`: rotations against M; `reduced`: the logarithm of the max norm
    divided out; theory: the exponent that `reduced` should contain, from `formula` ("M^a" or "predicted variance");
    points: (M, instance, rotations)."""

    family: str
    method: str
    max_error: float
    raw: Exponent
    reduced: Exponent
    theory: float | None
    formula: str
    points: tuple[tuple[int, int, float], ...]

    @property
    def agrees(self) -> bool | None:
        return None if self.theory is None else self.theory in self.reduced

    @property
    def verdict(self) -> str:
        """ "agrees" if `reduced` contains theory, else "differs"; "within a log" where theory is M up to logarithms and
        one more factor ln M over these sizes would do."""
        if self.theory is None or self.agrees:
            return "" if self.theory is None else "agrees"
        sizes = np.array(sorted({m for m, _, _ in self.points}), float)
        more = fit_exponent(sizes, np.log(sizes)).value
        return "within a log" if self.theory == 1.0 and 1.0 < self.reduced.low <= 1.0 + more else "differs"

    def as_dict(self) -> dict[str, Any]:
        def one(e: Exponent) -> dict[str, float]:
            return {f.name: getattr(e, f.name) for f in fields(e)}

        return {
            "family": self.family,
            "method": self.method,
            "max_error": self.max_error,
            "raw": one(self.raw),
            "reduced": one(self.reduced),
            "theory": self.theory,
            "formula": self.formula,
            "agrees": self.agrees,
            "verdict": self.verdict,
            "points": [list(p) for p in self.points],
        }


def tasks(
    families: Iterable[str] | None = None,
    methods: Iterable[str] | None = None,
    *,
    m_max: int = 4096,
    m_min: int = 64,
    max_error: float = 0.1,
    instances: int = 2,
    seed: int = 0,
) -> list[Task]:
    """The rows of a sweep, the costly ones first, so that workers end together.

    methods None: those that have an exponent on each family. A method that is named is run on every family that is
    named (or on those where it has one).
    """
    if not 16 <= m_min <= m_max:
        raise QupropError(f"m_max must be at least m_min and m_min at least 16, got {m_max} and {m_min}")
    if instances < 1:
        raise QupropError(f"instances must be at least 1, got {instances}")
    Budget(max_error=max_error)  # checks it
    chosen = [find(name) for name in (families if families is not None else FAMILIES)]
    named = None if methods is None else list(methods)
    for name in named or ():
        if name not in METHODS:
            raise QupropError(f"unknown method {name!r}: {nearest(name, METHODS)}")
        if METHODS[name].copies == 0:
            raise QupropError(
                f"{name} measures nothing, so it has no shots to count; choose a method that runs circuits"
            )
    found = []
    for family in chosen:
        usual = [name for name, kind in METHODS.items() if family.name in kind.exponents]
        if named is None:
            swept = usual
        else:
            swept = named if families is not None else [m for m in named if m in usual]
        for method in swept:
            kind = METHODS[method]
            top = min(m_max, kind.swept_to.get(family.name, m_max)) if named is None else m_max
            low = m_min if top == m_max else min(m_min, max(16, top >> BELOW))
            for m in family.sizes(top):
                if m < low:
                    continue
                # Few sizes and random directions: more points where they cost little, for a narrower interval.
                for instance in range(instances * (4 if kind.coarser > 1 and m < top else 1)):
                    settings = {
                        "family": family.name,
                        "method": method,
                        "m": m,
                        "instance": instance,
                        "max_error": float(f"{max_error * kind.coarser:.12g}"),
                        "repeats": family.patience * repeats(m),
                    }
                    found.append(Task(sweep_one, settings, seed, "quprop.scaling.sweep.sweep_one"))
    if not found:
        raise QupropError(
            "nothing to sweep: none of these families is measured by these methods up to this m_max (of a family whose "
            "exponents are not known, name methods)"
        )
    return sorted(found, key=lambda t: -t.settings["m"])


def repeats(m: int) -> int:
    """Gradients a level: the largest of many errors fluctuates little, so large M needs few."""
    return int(np.clip(8192 // m, 12, 32))


def sweep_one(settings: dict[str, Any], seed: np.random.SeedSequence) -> dict[str, Any]:
    """One row: a task of `run_tasks`. What `plan` depends on beside the shots is compiled anew for every level."""
    problems = find(settings["family"]).build(settings["m"], settings["instance"])
    wanted, kind = settings["max_error"], METHODS[settings["method"]]
    rng = np.random.default_rng(seed)
    none = np.zeros(0)
    exact = [Adjoint().compile(model).estimate(theta).value for model, theta in problems]
    if kind.copies == "many":
        return _on_many_copies(settings, kind, problems, exact, rng)
    try:
        ones = [kind(shots=1).compile(model, at=(theta, none)) for model, theta in problems]
    except QupropError as error:
        return {"refused": str(error)}
    least = max(1, *(one.cost.measurements for one in ones))
    each = -(-settings["repeats"] // len(problems))

    def plans(shots: float) -> list[Any]:
        count = max(least, round(shots))
        return [kind(total_shots=count).compile(model, at=(theta, none)) for model, theta in problems]

    def measure(shots: int) -> np.ndarray:
        return np.array(
            [
                np.abs(plan.estimate(theta, None, rng).value - truth).max()
                for plan, (_, theta), truth in zip(plans(shots), problems, exact, strict=True)
                for _ in range(each)
            ]
        )

    def rotations(shots: float) -> float:
        at_whole = np.mean([plan.cost.rotations for plan in plans(shots)])
        return float(at_whole * shots / max(least, round(shots)))

    start = START_SHOTS * least
    level = shots_at_error(measure, wanted, start, least, MOST_SHOTS)
    out: dict[str, Any] = {}
    if hasattr(ones[0], "predicted_variance"):
        factor = largest_of_normals(settings["m"])

        def predicted(shots: int) -> np.ndarray:
            found = [plan.predicted_variance(truth).mean() for plan, truth in zip(plans(shots), exact, strict=True)]
            return factor * np.sqrt(found)

        out["predicted_rotations"] = rotations(shots_at_error(predicted, wanted, start, least, MOST_SHOTS).shots)
    cost = plans(level.shots)[0].cost
    together = np.abs(np.concatenate(exact))
    return {
        **out,
        **describe(level),
        "circuits": least,
        "rotations": rotations(level.shots),
        "runs": cost.measurements,
        "depth": cost.depth,
        "qubits": cost.qubits,
        "copies": cost.copies,
        "gradient_rms": float(np.sqrt(np.mean(together**2))),
        "above_error": float(np.mean(together > wanted)),
        # F itself: mean |error| = sqrt(2/pi) sigma / sqrt(shots), sigma = 1 at worst for one Pauli string
        "value_rotations": problems[0][0].n_rotations * max(1.0, 2 / np.pi / wanted**2),
    }


def _on_many_copies(
    settings: dict[str, Any],
    kind: Any,
    problems: Sequence[Built],
    exact: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """A row of a method that is told an error rather than shots: the error it is asked for is moved until the measured
    one is the wanted one. "shots" are START_SHOTS (wanted / asked)^2, and rotations what was executed, not the claim
    for the worst case; what is left to the wanted error (a factor `NEAR` at most) is bridged in proportion to them."""
    wanted, spent = settings["max_error"], {}

    def measure(shots: int) -> np.ndarray:
        asked = wanted * math.sqrt(START_SHOTS / shots)
        found = [
            (kind(max_error=asked).compile(model, at=(theta, np.zeros(0))).estimate(theta, None, rng), truth)
            for (model, theta), truth in zip(problems, exact, strict=True)
            for _ in range(max(3, settings["repeats"] // (4 * len(problems))))
        ]
        spent[shots] = sum((e.cost for e, _ in found), Cost()), len(found)
        return np.array([np.abs(e.value - truth).max() for e, truth in found])

    level = shots_at_error(measure, wanted, START_SHOTS, 1, MOST_SHOTS)
    last = level.trail[-1][0]
    (cost, count), scale = spent[last], level.shots / last
    together = np.abs(np.concatenate(exact))
    return {
        **describe(level),
        "circuits": 1,
        "rotations": cost.rotations / count * scale,
        "runs": cost.measurements / count * scale,
        "depth": cost.depth,
        "qubits": cost.qubits,
        "toffolis": cost.toffolis / count * scale,
        "copies": cost.copies / count * scale,
        "gradient_rms": float(np.sqrt(np.mean(together**2))),
        "above_error": float(np.mean(together > wanted)),
        "value_rotations": problems[0][0].n_rotations * max(1.0, 2 / np.pi / wanted**2),
    }


def logarithm(method: str, m: int) -> float:
    """The factor that is divided out of the rotations of a method with M parameters."""
    own = METHODS[method].logarithm(m)
    return largest_of_normals(m) ** 2 if own is None else own


def fits(rows: Sequence[Row], confidence: float = 0.95) -> list[Fit]:
    """One `Fit` for each family and method with rows at three sizes or more; rows that did not reach their error are
    left out (they are in the table of rows, with their trail)."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if "refused" not in row["result"] and row["result"]["reached"]:
            groups.setdefault((row["settings"]["family"], row["settings"]["method"]), []).append(row)
    out = []
    for family in FAMILIES:
        for method in METHODS:
            mine = groups.get((family, method), [])
            m = np.array([r["settings"]["m"] for r in mine], float)
            if len(np.unique(m)) < 3:
                continue
            rotations = np.array([r["result"]["rotations"] for r in mine])
            log = np.array([logarithm(method, int(k)) for k in m])
            theory: float | str | None = METHODS[method].exponents.get(family)
            formula = ""
            if isinstance(theory, float):
                formula = "M" if theory == 1 else f"M^{theory:g}"
            elif theory == PREDICTED or all("predicted_rotations" in r["result"] for r in mine):
                predicted = np.array([r["result"]["predicted_rotations"] for r in mine])
                theory, formula = fit_exponent(m, predicted / log).value, "predicted variance"
            points = sorted((r["settings"]["m"], r["settings"]["instance"], r["result"]["rotations"]) for r in mine)
            out.append(
                Fit(
                    family,
                    method,
                    mine[0]["settings"]["max_error"],
                    fit_exponent(m, rotations, confidence),
                    fit_exponent(m, rotations / log, confidence),
                    theory if isinstance(theory, float) else None,
                    formula,
                    tuple(points),
                )
            )
    return out
