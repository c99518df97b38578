"""From how many parameters, and qubits, quantum backpropagation is the cheapest way to a gradient, every gate counted.

Layers of RX on all qubits and RZZ on a ring, small random angles, qubits that start tilted, observable Z0 Z1: gradients
that do not fade with depth. All methods keep the same largest error with the same probability. What is compared is
rotations and Toffolis together; sweeps of quantum backpropagation are run, and so are single-copy methods at the
smallest size (their counts do not depend on outcomes, so that plans have them at others). Dashed lines are formulas.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import QupropError, generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.gradients import METHODS
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.planning.costs import cost_of
from quprop.planning.structure import shape_of
from quprop.plots import LOOKS, Picture, panels, picture
from quprop.sampling.estimate import shown
from quprop.sampling.shape import Wanted

MAX_ERROR, FAILURE = 0.1, 0.01
OURS = "quantum_backprop"
NAMES = {
    "parameter_shift": "parameter shift",
    "pair_state": "pair state",
    "gentle_sweep": "gentle sweep",
    "clifford_shadows": "Clifford shadows of the last frame",
    OURS: "quantum backpropagation",
}
RIVALS = tuple(name for name in NAMES if name != OURS)
DEEPEST = 1365  # layers of 12 qubits: M = 32,760
SPREAD, TILT, AZIMUTH = 1.0, 0.8, -0.8  # of a qubit's angles over all layers together; of the qubits' start


def near_identity(n: int, layers: int, rng: np.random.Generator) -> tuple[Model, np.ndarray]:
    """The model, M = 2 n layers, and theta."""
    theta = params("theta", 2 * n * layers)
    start = np.tile([math.cos(TILT / 2), math.sin(TILT / 2) * np.exp(1j * AZIMUTH)], (n, 1))
    circuit, angles = Circuit(n, start, params=theta), iter(theta)
    for _ in range(layers):
        for q in range(n):
            circuit.rx(next(angles), q)
        for q in range(n):
            circuit.rzz(next(angles), q, (q + 1) % n)
    return Model(circuit, "Z0 Z1"), rng.normal(size=len(theta)) * SPREAD / math.sqrt(layers)


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    seeds = 2 if quick else 5
    n, depths = (3, (2, 8, 32)) if quick else (12, (2, 4, 8, 16, 32, 64, 128))
    widths, M = ((2, 3), 96) if quick else ((4, 5, 6, 7, 8, 10), 480)
    points = [(n, layers) for layers in depths] + [(w, max(1, round(M / (2 * w)))) for w in widths]
    tasks = [(q, layers, seed) for q, layers in points for seed in range(seeds)]
    rows: list[dict[str, Any]] = []
    for done, (q, layers, seed) in enumerate(tasks):
        progress(done, len(tasks), f"n = {q}, M = {2 * q * layers:,}, seed {seed}")
        rows += _rows(q, layers, seed, generator, run_rivals=(q, layers) == points[0] and not seed)
    if not quick:  # one circuit far beyond the crossings, with a generator of its own
        progress(len(tasks), len(tasks) + 1, f"n = {n}, M = {2 * n * DEEPEST:,}")
        rows += _rows(n, DEEPEST, 0, np.random.default_rng(DEEPEST), run_rivals=False)
    progress(len(tasks) + (not quick), len(tasks) + (not quick), "")
    return summed_up(
        {
            "max_error": MAX_ERROR,
            "failure": FAILURE,
            "n": n,
            "depths_M": [2 * n * layers for layers in depths],
            "widths": [*widths, n] if not quick else list(widths),
            "M": M,
            "rows": rows,
            "formulas": _formulas(n, 2 * n * depths[-1], generator),
        }
    )


def summed_up(result: Result) -> Result:
    """With what follows from the rows."""
    rows, n = result["rows"], result["n"]
    found = {name: crossing(rows, name, n) for name in RIVALS}
    wide = [r for r in rows if r["n"] in result["widths"] and _near(r, result)]
    qubits = {name: first_qubits(wide, name) for name in RIVALS}
    return result | {"crossings": found, "first_qubits": qubits, "findings": _findings(found, qubits, result)}


def _rows(n: int, layers: int, seed: int, rng: np.random.Generator, run_rivals: bool) -> list[dict[str, Any]]:
    model, theta = near_identity(n, layers, rng)
    exact = simulate.value_and_grad(model, theta)[1]
    rows = []
    for name in NAMES:
        row: dict[str, Any] = {"n": n, "M": model.n_rotations, "seed": seed, "method": name, "run": False}
        try:
            plan = METHODS[name](max_error=MAX_ERROR, failure=FAILURE).compile(model, at=(theta, np.zeros(0)))
        except QupropError as refusal:
            rows.append(row | {"total": None, "refused": str(refusal)})
            continue
        cost = plan.cost
        if name == OURS or (run_rivals and name in METHODS):
            estimate = plan.estimate(theta, None, rng)
            cost, error = estimate.cost, np.abs(estimate.value - exact)
            row |= {
                "run": True,
                "claimed": plan.cost.as_dict(),
                "worst": float(error.max()),
                "within": float(np.mean(error <= MAX_ERROR)),
                "above": float(np.mean(np.abs(exact) > MAX_ERROR)),
            }
            if name == OURS:
                row |= {k: estimate.info[k] for k in ("triggers", "batches", "damage", "copies_in_a_batch")}
        rows.append(row | {"total": cost.gates, **cost.as_dict()})
    return rows


def curve(rows: list[dict[str, Any]], name: str, n: int) -> dict[int, list[float]]:
    """Totals by M, one a seed."""
    found: dict[int, list[float]] = {}
    for r in rows:
        if r["method"] == name and r["n"] == n and r.get("total") is not None:
            found.setdefault(r["M"], []).append(float(r["total"]))
    return dict(sorted(found.items()))


def crossing(rows: list[dict[str, Any]], rival: str, n: int) -> dict[str, Any]:
    """The M from which the rival costs more, on straight lines in log-log between the sizes run: the median of all
    seeds, the least and the most of them; None where it costs more at the smallest size already ("below") or less at
    the largest ("beyond")."""
    theirs, ours = curve(rows, rival, n), curve(rows, OURS, n)
    seeds = max((len(values) for values in ours.values()), default=0)
    sizes = [m for m in theirs if len(ours.get(m, ())) == seeds]
    if not sizes:
        return {"M": None, "side": "none", "low": None, "high": None}
    logs = np.log(np.array(sizes, float))
    found, sides = [], set()
    for s in range(seeds):
        ahead = np.log([theirs[m][s] for m in sizes]) - np.log([ours[m][s] for m in sizes])
        if ahead[0] > 0:
            sides.add("below")
        elif ahead[-1] < 0:
            sides.add("beyond")
        else:
            j = int(np.argmax(ahead > 0))
            t = -ahead[j - 1] / (ahead[j] - ahead[j - 1])
            found.append(float(np.exp(logs[j - 1] + t * (logs[j] - logs[j - 1]))))
    if len(found) < seeds:
        return {"M": None, "side": " and ".join(sorted(sides)), "low": sizes[0], "high": sizes[-1]}
    return {"M": float(np.median(found)), "side": "measured", "low": min(found), "high": max(found)}


def first_qubits(rows: list[dict[str, Any]], rival: str) -> int | None:
    """The least n of the rows from which on the rival is dearer on average, at one M; None if there is none."""
    first = None
    for n in sorted({r["n"] for r in rows}, reverse=True):
        mean = {
            name: float(np.mean([r["total"] for r in rows if r["n"] == n and r["method"] == name and r.get("total")]))
            if any(r["n"] == n and r["method"] == name and r.get("total") for r in rows)
            else math.inf
            for name in (rival, OURS)
        }
        if mean[rival] <= mean[OURS]:
            break
        first = n
    return first


def _formulas(n: int, largest: int, rng: np.random.Generator) -> dict[str, list[tuple[int, float]]]:
    """(M, total) of every method in closed form, for the same kind of circuit."""
    model, _ = near_identity(n, 2, rng)
    shape, wanted = shape_of(model), Wanted("max_error", MAX_ERROR, FAILURE)
    grid = np.unique(np.round(np.geomspace(2 * n, max(10**7, largest), 45)).astype(int))
    found: dict[str, list[tuple[int, float]]] = {}
    for name in NAMES:
        for m in grid.tolist():
            try:
                found.setdefault(name, []).append((m, float(cost_of(name, shape.at(m), wanted).gates)))
            except QupropError:
                break
    return found


def _findings(found: dict[str, Any], qubits: dict[str, int | None], result: Result) -> list[str]:
    rows, n = result["rows"], result["n"]
    lines = [
        f"M about {result['M']:,}: {NAMES[name]} "
        + ("is cheaper at all n run" if first is None else f"is dearer from n = {first}")
        for name, first in qubits.items()
    ]
    for name, c in found.items():
        if c.get("M") is None:
            where = {"below": f"dearer from the smallest size run, M = {c['low']}"}.get(c["side"], c["side"])
            lines.append(f"n = {n}, {NAMES[name]}: {where}")
        else:
            lines.append(
                f"n = {n}, {NAMES[name]} is dearer from M = {c['M']:.0f} ({c['low']:.0f} to {c['high']:.0f} over seeds)"
            )
    mine = [r for r in rows if r["method"] == OURS]
    within, damage = min(r["within"] for r in mine), max(r["damage"] for r in mine)
    lines.append(
        f"{len(mine)} sweeps: {100 * within:.1f} % of components or more within {MAX_ERROR:g}, at most "
        f"{max(r['batches'] for r in mine)} batches; in the worst {shown(damage)}"
    )
    return lines


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2, 5.6, 4.6)
    n = result["n"]
    wide = sorted({r["n"] for r in result["rows"] if r["n"] in result["widths"]})
    for name, label in NAMES.items():
        colour, mark = LOOKS[name]
        for axes, x_of, rows in (
            (left, "M", [r for r in result["rows"] if r["n"] == n]),
            (right, "n", [r for r in result["rows"] if r["n"] in wide and _near(r, result)]),
        ):
            mine = [r for r in rows if r["method"] == name and r.get("total") is not None]
            for done, fill in ((True, colour), (False, "none")):
                points = [(r[x_of], r["total"]) for r in mine if r["run"] == done]
                if points:
                    axes.plot(*np.array(points).T, mark, color=colour, markerfacecolor=fill, markersize=4.5)
        left.plot([], [], mark, color=colour, markersize=4.5, label=label)
        formula = [p for p in result["formulas"].get(name, []) if p[1]]
        if formula:
            left.plot(*np.array(formula).T, "--", color=colour, linewidth=0.9)
    for name, c in result["crossings"].items():
        if c.get("M") is not None:
            colour = LOOKS[name][0]
            left.axvspan(c["low"], c["high"], color=colour, alpha=0.25, linewidth=0)
            left.axvline(c["M"], color=colour, linewidth=0.8)
    left.plot([], [], "ko", markerfacecolor="none", markersize=4.5, label="open: counted by the plan, not run")
    left.plot([], [], "k--", linewidth=0.9, label="dashed: formulas")
    left.set_xlabel("M parameters, one a rotation")
    right.set_xlabel("qubits n")
    left.set_title(f"{n} qubits; lines and bands: crossings, median and all seeds", fontsize=9)
    right.set_title(f"M about {result['M']:,}", fontsize=9)
    left.set_xscale("log")
    for axes in (left, right):
        axes.set_yscale("log")
        axes.set_ylabel("rotations and Toffolis")
    right.set_xticks(wide)
    return picture(figure, f"One gradient to {result['max_error']:g}, every gate counted")


def _near(row: dict[str, Any], result: Result) -> bool:
    """Whether a row has the M, of those of its number of qubits, that is nearest to that of the right panel."""
    sizes = {r["M"] for r in result["rows"] if r["n"] == row["n"]}
    return row["M"] == min(sizes, key=lambda m: abs(math.log(m / result["M"])))


EXPERIMENT = Experiment(
    "crossing",
    "quantum backpropagation is the cheapest way to a gradient from some number of parameters on, checks counted",
    "Abbas et al., arXiv:2305.13362, Theorem 9; Aaronson and Rothblum, arXiv:1904.08747",
    60,
    run,
    draw,
)
