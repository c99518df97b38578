"""One gradient by each method at one accuracy, for growing M: what the experiments on gates and copies share."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import generator_of
from quprop.experiments.experiment import Progress, Result, exponent
from quprop.gradients import METHODS
from quprop.planning.measured.families import FAMILIES
from quprop.sampling.estimate import shown

FAMILY = "random_pauli"  # 4 qubits, M random rotations: gradients do not fade, and triggers settle
MAX_ERROR = 0.25
RUN_UP_TO = {"quantum_backprop": 1 << 20, "gentle_sweep": 1 << 10}  # M; beyond it and otherwise, the plan's count
FAILURE = 0.01
LAWS: dict[str, float] = {  # powers of M that gates grow with; copies have one M less
    "parameter_shift": 2.0,
    "fully_gentle": 3.0,
    "gentle_sweep": 1.5,
    "quantum_backprop": 1.0,
}
SETTLED = 512  # M from which the number of triggers has stopped growing
NAMES = {
    "parameter_shift": "parameter shift",
    "fully_gentle": "fully gentle",
    "gentle_sweep": "gentle sweep",
    "quantum_backprop": "quantum backpropagation",
}


def logarithms(name: str, m: np.ndarray) -> np.ndarray:
    """What else the copies grow by: ln(2 M/failure) of Hoeffding's bound with a union bound, or the ln^2(8 M) of a
    batch that passes 2 M checks."""
    return np.log(8 * m) ** 2 if name == "quantum_backprop" else np.log(2 * m / FAILURE)


LOGARITHMS = {name: "ln²(8M)" if name == "quantum_backprop" else "ln(2M/δ)" for name in LAWS}


def sweep(quick: bool, rng: Any, progress: Progress) -> list[dict[str, Any]]:
    """Rows {method, M, copies, gates, error, above, ...}; error None where only the plan's own count was taken.

    Gates are executed rotations. The counts of parameter shift and of both gentle methods do not depend on outcomes;
    those of quantum backpropagation do, and are of a run.
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


def _row(name: str, m: int, instance: int, rng: np.random.Generator) -> dict[str, Any]:
    ((model, theta),) = FAMILIES[FAMILY].build(m, instance)
    plan = METHODS[name](max_error=MAX_ERROR, failure=FAILURE).compile(model, at=(theta, np.zeros(0)))
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
        if name == "quantum_backprop":
            row |= {k: float(found.info[k]) for k in ("triggers", "bound", "damage")}
            row["per_trigger"] = int(found.info["copies_in_a_batch"]) + int(found.info["fresh_copies"])
    return row | {"copies": cost.copies, "gates": cost.rotations}


def slopes(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    """For each method the exponent of `what` in M, raw and with the law's logarithms divided out.

    A trigger costs a batch, which grows with ln^2(8 M), and the fresh copies of a measurement, which do not. At sizes
    where both are alike, ln^2 divides out too much: "per_trigger" divides out the sum of both as it is.
    """
    found = {}
    for name, power in LAWS.items():
        mine = [r for r in rows if r["method"] == name and (name != "quantum_backprop" or r["M"] >= SETTLED)]
        if len(mine) < 3:
            continue
        m = np.array([r["M"] for r in mine], float)
        y = np.array([r[what] for r in mine], float)
        shown = power if what == "gates" else power - 1
        found[name] = {
            "theory": shown,
            "raw": exponent(m, y),
            "reduced": exponent(m, y / logarithms(name, m)),
        }
        if name == "quantum_backprop":
            found[name]["per_trigger"] = exponent(m, y / np.array([r["per_trigger"] for r in mine]))
    return found


def findings(found: dict[str, Any], what: str, rows: list[dict[str, Any]]) -> list[str]:
    damaged = [r["damage"] for r in rows if "damage" in r]
    lines = [f"{NAMES['quantum_backprop']}: in the worst batch {shown(max(damaged))}"] if damaged else []
    for name, fit in found.items():
        reduced = fit["reduced"]
        lines.append(
            f"{NAMES[name]}: {what} ~ M^{reduced['slope']:.2f} {LOGARITHMS[name]} "
            f"({reduced['low']:.2f} to {reduced['high']:.2f}; theory {fit['theory']:g})"
        )
        if "per_trigger" in fit:
            own = fit["per_trigger"]
            lines.append(
                f"the same with the copies of a trigger (batch and measurement) divided out: M^{own['slope']:.2f} "
                f"({own['low']:.2f} to {own['high']:.2f}), triggers settled"
            )
    return lines


def draw(result: Result, what: str, label: str, title: str) -> bytes:
    """Measured points, and the law of each method through their middle."""
    from quprop.plots import panels, picture

    figure, (axes,) = panels(1, 6.4, 4.4)
    for index, name in enumerate(LAWS):
        mine = [r for r in result["rows"] if r["method"] == name]
        if not mine:
            continue
        m, y = np.array([r["M"] for r in mine], float), np.array([r[what] for r in mine], float)
        power = LAWS[name] - (what == "copies")
        fit = result["slopes"].get(name)
        slope = "" if fit is None else f", slope {fit['reduced']['slope']:.2f} without logs"
        axes.plot(m, y, "osD^"[index], color=f"C{index}", markersize=4, label=f"{NAMES[name]}{slope}")
        grid = np.geomspace(m.min(), m.max(), 40)
        law = grid**power * logarithms(name, grid)
        late = m >= (SETTLED if name == "quantum_backprop" else 0)
        law *= math.exp(float(np.mean(np.log(y[late]) - np.log(np.interp(m[late], grid, law)))))
        text = f"formula M^{power:g} {LOGARITHMS[name]}" if power else f"formula {LOGARITHMS[name]}"
        axes.plot(grid, law, "--", color=f"C{index}", linewidth=1, label=text)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("parameters M")
    axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=6.5)
    return picture(figure, title)
