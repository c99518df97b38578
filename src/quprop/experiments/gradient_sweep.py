"""One gradient by each method at one accuracy, for growing M: what the experiments on gates and copies share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quprop import simulate
from quprop.collective.hypothesis import mistake_bound
from quprop.errors import generator_of
from quprop.experiments.experiment import Progress, Result, exponent
from quprop.gradients import METHODS, GradientMethod, QuantumBackprop
from quprop.gradients.sweeps.sweep_design import SweepDesign, readings_for
from quprop.planning.measured.families import FAMILIES, QUBITS
from quprop.plots import LOOKS, SLATE, Picture, panels, picture
from quprop.sampling.estimate import shown

FAMILY = "random_pauli"  # 4 qubits, M random rotations: gradients do not fade
MAX_ERROR = 0.25
FAILURE = 0.01
OURS, THEOREM = "quantum_backprop", "batch_for_each_trigger"
RUN_UP_TO = {OURS: 1 << 20, THEOREM: 1 << 20, "gentle_sweep": 1 << 10, "clifford_shadows": 1 << 20}
# M; beyond it and otherwise, the plan's count
LAWS: dict[str, float] = {  # powers of M that gates grow with; copies have one M less
    "parameter_shift": 2.0,
    "fully_gentle": 3.0,
    "gentle_sweep": 1.5,
    OURS: 1.0,
    "clifford_shadows": 1.0,
    THEOREM: 1.0,
}
SETTLED = 512  # M from which sweeps of quantum backpropagation take all batches that they plan for
NAMES = {
    "parameter_shift": "parameter shift",
    "fully_gentle": "fully gentle",
    "gentle_sweep": "gentle sweep",
    OURS: "quantum backpropagation",
    "clifford_shadows": "Clifford shadows",
    THEOREM: "a batch for each trigger, as in the theorem",
}
_SWEPT = (OURS, THEOREM)


def logarithms(name: str, m: np.ndarray) -> np.ndarray:
    """What else the copies grow by: ln(2 M/failure) of Hoeffding's bound with a union bound, or the ln(8 M)^1.5 of a
    batch that passes 2 M checks, the square root for what these may tell of it."""
    return np.log(8 * m) ** 1.5 if name in _SWEPT else np.log(2 * m / FAILURE)


LOGARITHMS = {name: "ln(8M)^1.5" if name in _SWEPT else "ln(2M/δ)" for name in LAWS}


def designed(m: int) -> SweepDesign:
    """The batches of quantum backpropagation on M components of the family, all of slope 1."""
    qubits = QUBITS + 1
    return SweepDesign(MAX_ERROR / 2, m, qubits, readings_for(qubits, m), QuantumBackprop.batches, FAILURE)


def by_design(sizes: list[int], what: str) -> float:
    """The exponent that copies or gates have by design between these M, ln(8M)^1.5 divided out, with all batches."""
    m = np.array(sorted(set(sizes)), float)
    costs = [designed(int(k)).cost(int(k), 0) for k in m]
    y = np.array([c.copies if what == "copies" else c.gates for c in costs], float)
    return float(np.polyfit(np.log(m), np.log(y / logarithms(OURS, m)), 1)[0])


def sweep(quick: bool, rng: Any, progress: Progress) -> list[dict[str, Any]]:
    """Rows {method, M, copies, rotations, toffolis, gates, error, above, ...}; error None where only the plan's own
    count was taken.

    Gates are rotations and Toffolis that are executed. The counts of quantum backpropagation depend on outcomes, and
    are of a run; those of the others do not.
    """
    generator = generator_of(rng)
    sizes = [64, 512, 1024] if quick else [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384]
    instances = 2 if quick else 3
    tasks = [(name, m, i) for m in sizes for i in range(instances) for name in LAWS]
    rows = []
    for done, (name, m, instance) in enumerate(tasks):
        progress(done, len(tasks), f"{NAMES[name]}, M = {m:,}")
        rows.append(_row(name, m, instance, generator))
    progress(len(tasks), len(tasks), "")
    return rows


def _method(name: str, m: int) -> GradientMethod:
    if name == THEOREM:
        return QuantumBackprop(max_error=MAX_ERROR, failure=FAILURE, readings=1, batches=m)
    return METHODS[name](max_error=MAX_ERROR, failure=FAILURE)


def _row(name: str, m: int, instance: int, rng: np.random.Generator) -> dict[str, Any]:
    ((model, theta),) = FAMILIES[FAMILY].build(m, instance)
    plan = _method(name, m).compile(model, at=(theta, np.zeros(0)))
    row: dict[str, Any] = {"method": name, "M": m, "instance": instance, "error": None}
    cost = plan.cost
    if m <= RUN_UP_TO.get(name, 0):
        exact = simulate.value_and_grad(model, theta)[1]
        found = plan.estimate(theta, rng=rng)
        cost = found.cost
        row |= {
            "error": float(np.abs(found.value - exact).max()),
            "within": float(np.mean(np.abs(found.value - exact) <= MAX_ERROR)),
            "above": float(np.mean(np.abs(exact) > MAX_ERROR)),
        }
        if name in _SWEPT:
            row |= {k: int(found.info[k]) for k in ("triggers", "batches", "beyond_the_readings")}
            row |= {"damage": float(found.info["damage"]), "bound": mistake_bound(model.n_qubits, designed(m).eps)}
    row |= {"copies": cost.copies, "rotations": cost.rotations, "toffolis": cost.toffolis}
    return row | {"gates": cost.gates}


def slopes(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """For each method the exponent of `what` in M, raw and with the law's logarithms divided out; of quantum
    backpropagation also that of its design at the same sizes."""
    found = {}
    for name, power in LAWS.items():
        mine = [r for r in rows if r["method"] == name and (name not in _SWEPT or r["M"] >= SETTLED)]
        if len(mine) < 3:
            continue
        m = np.array([r["M"] for r in mine], float)
        y = np.array([r[what] for r in mine], float)
        found[name] = {
            "theory": power if what == "gates" else power - 1,
            "raw": exponent(m, y),
            "reduced": exponent(m, y / logarithms(name, m)),
        }
        if name == OURS:
            found[name]["design"] = by_design([r["M"] for r in mine], what)
    return found


def findings(found: dict[str, Any], what: str, rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    for name, fit in found.items():
        reduced = fit["reduced"]
        design = f", by design M^{fit['design']:.2f} at these sizes" if "design" in fit else ""
        lines.append(
            f"{NAMES[name]}: {what} ~ M^{reduced['slope']:.2f} {LOGARITHMS[name]} "
            f"({reduced['low']:.2f} to {reduced['high']:.2f}; theory {fit['theory']:g}{design})"
        )
    ours = [r for r in rows if r["method"] == OURS]
    if ours:
        ends = [[r for r in ours if r["M"] == m] for m in (min(r["M"] for r in ours), max(r["M"] for r in ours))]
        triggers = " and ".join(
            f"{np.mean([r['triggers'] for r in end]):.0f} at M = {end[0]['M']:,} (bound {end[0]['bound']:.0f})"
            for end in ends
        )
        lines.append(f"{NAMES[OURS]}: triggers {triggers}; in the worst batch {shown(max(r['damage'] for r in ours))}")
    return lines + _beside(rows, what)


def _beside(rows: list[dict[str, Any]], what: str) -> list[str]:
    """All methods at the largest M, the best first, and what batches that outlive their triggers save."""
    most = max(r["M"] for r in rows)
    at = {
        name: float(np.mean([r[what] for r in rows if (r["method"], r["M"]) == (name, most)]))
        for name in dict.fromkeys(r["method"] for r in rows if r["M"] == most)
    }
    order = sorted(at, key=lambda name: at[name])
    lines = [f"{what} at M = {most:,}: " + ", ".join(f"{NAMES[name]} {at[name]:.2g}" for name in order)]
    if {OURS, THEOREM} <= at.keys():
        lines.append(f"{NAMES[THEOREM]}, takes {at[THEOREM] / at[OURS]:.2g} times the {what}")
    return lines


def draw(result: Result, what: str, label: str, title: str) -> Picture:
    """Measured points, and the law of each method through their middle; and triggers beside the bound on mistakes."""
    figure, (axes, right) = panels(2, 5.4, 4.4)
    for name in LAWS:
        colour, mark = LOOKS.get(name, (SLATE, "^"))
        mine = [r for r in result["rows"] if r["method"] == name]
        if not mine:
            continue
        m, y = np.array([r["M"] for r in mine], float), np.array([r[what] for r in mine], float)
        power = LAWS[name] - (what == "copies")
        fit = result["slopes"].get(name)
        slope = "" if fit is None else f", slope {fit['reduced']['slope']:z.2f} without logs"
        axes.plot(m, y, mark, color=colour, markersize=4, label=f"{NAMES[name]}{slope}")
        grid = np.geomspace(m.min(), m.max(), 40)
        law = grid**power * logarithms(name, grid)
        late = m >= (SETTLED if name in _SWEPT else 0)
        law *= math.exp(float(np.mean(np.log(y[late]) - np.log(np.interp(m[late], grid, law)))))
        powers = "" if power == 0 else "M " if power == 1 else f"M^{power:g} "
        text = f"formula {powers}{LOGARITHMS[name]}"
        axes.plot(grid, law, "--", color=colour, linewidth=1, label=text)
        if name in _SWEPT:
            triggers = [r["triggers"] for r in mine]
            right.plot(m, triggers, mark, color=colour, markersize=4, label=NAMES[name])
            if name == OURS:
                bound = sorted({(r["M"], r["bound"]) for r in mine})
                right.plot(*zip(*bound, strict=True), "k--", linewidth=1, label="bound on mistakes n ln 2/(2 g²)")
    for panel, y_label in ((axes, label), (right, "triggers of a sweep")):
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xlabel("M parameters, one a rotation")
        panel.set_ylabel(y_label)
    return picture(figure, title)
