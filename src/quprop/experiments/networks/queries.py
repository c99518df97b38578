"""Queries of the linear-system solvers against kappa and eps: by formula, and counted while the polynomial is applied.

Counted on random systems of 24 unknowns with singular values spread geometrically over kappa, up to kappa = 1,000,
where the state is compared with the exact one; and on small history systems of the lift. On symmetric systems of four
unknowns whole circuits run on the state-vector engine: the optimal inverse by singular-value transformation, and HHL,
whose error falls as 1/queries only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.carleman.maps.convergence import toy
from quprop.carleman.system.circuits import SolverCircuit, hhl_circuit, qsvt_circuit
from quprop.carleman.system.history import HistorySystem
from quprop.carleman.system.kernel_reflection import KernelReflection
from quprop.carleman.system.linear_system import LinearSystem
from quprop.carleman.system.solver import SOLVERS
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, drawn, exponent, silent

EPS, KAPPA, UNKNOWNS = 1e-4, 100.0, 24
KNOWN = "kernel_reflection, known norm"
CIRCUIT_KAPPA, CLOCKS = 10.0, (4, 6, 8, 10)


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    kappas, precisions = np.geomspace(2, 1000, 15), np.geomspace(1e-1, 1e-8, 15)
    counted = (10.0, 100.0) if quick else (10.0, 30.0, 100.0, 300.0, 1000.0)
    tolerances = (1e-2, 1e-4) if quick else (1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
    lengths = (2, 4) if quick else (2, 4, 8, 16)
    made = {name: solver() for name, solver in SOLVERS.items()} | {KNOWN: KernelReflection(1.0)}
    tasks = [(k, EPS) for k in counted] + [(KAPPA, e) for e in tolerances]
    rows: list[dict[str, Any]] = []
    for i, (kappa, eps) in enumerate(tasks):
        progress(i, len(tasks) + len(lengths), f"emulated, kappa = {kappa:g}, eps = {eps:g}")
        matrix, rhs, truth = random_system(kappa, generator)
        for name in made:
            rows.append(_emulated(name, LinearSystem.from_matrix(matrix, rhs), truth, eps) | {"system": "random"})
    for i, steps in enumerate(lengths):
        progress(len(tasks) + i, len(tasks) + len(lengths), f"emulated, history of {steps} steps")
        history = HistorySystem(*toy(0.5), 2, steps)
        for name in made:
            row = _emulated(name, history.linear_system(), history.solve(), EPS)
            rows.append(row | {"system": f"history, T = {steps}"})
    circuits = run_circuits((1e-1, 1e-2, 1e-3) if quick else (1e-1, 1e-2, 1e-3, 1e-4, 1e-5), generator)
    by_kappa: list[Any] = []
    by_eps: list[Any] = []
    slopes = {}
    for i, (name, solver) in enumerate(made.items()):
        formula = [solver.queries(k, EPS) for k in kappas]
        by_kappa.append((name, kappas.tolist(), formula, f"C{i}-"))
        by_eps.append((name, precisions.tolist(), [solver.queries(KAPPA, e) for e in precisions], f"C{i}-"))
        mine = [r for r in rows if r["solver"] == name]
        at = [r for r in mine if r["asked"] == EPS]
        by_kappa.append(("counted" if i == 0 else "_", [r["kappa"] for r in at], [r["queries"] for r in at], f"C{i}o"))
        at = [r for r in mine if r["system"] == "random" and abs(r["kappa"] / KAPPA - 1) < 1e-6]
        by_eps.append(("counted" if i == 0 else "_", [r["asked"] for r in at], [r["queries"] for r in at], f"C{i}o"))
        slopes[name] = exponent(kappas[7:], formula[7:])["slope"]
    return {
        "rows": rows,
        "circuits": circuits,
        "exponents": slopes,
        "panels": [
            {"x": "kappa", "y": f"queries at eps = {EPS:g}", "log": "xy", "curves": by_kappa},
            {"x": "eps", "y": f"queries at kappa = {KAPPA:g}", "log": "x", "curves": by_eps},
            {"x": "queries of the circuit", "y": "error of the state", "log": "xy", "curves": _curves(circuits)}
            | {"title": f"whole circuits, 4 unknowns, kappa = {CIRCUIT_KAPPA:g}"},
        ],
        "findings": _findings(rows, slopes) + _findings_of_circuits(circuits),
    }


def random_system(kappa: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A (24, 24) with singular values spread geometrically over a factor kappa, b and A^-1 b."""
    left, right = (np.linalg.qr(rng.normal(size=(UNKNOWNS, UNKNOWNS)))[0] for _ in range(2))
    matrix = left * np.geomspace(1 / kappa, 1, UNKNOWNS) @ right
    rhs = rng.normal(size=UNKNOWNS)
    return matrix, rhs, np.linalg.solve(matrix, rhs)


def _emulated(name: str, system: LinearSystem, truth: np.ndarray, eps: float) -> dict[str, Any]:
    size = float(np.linalg.norm(truth))
    solver = KernelReflection(size) if name == KNOWN else SOLVERS[name]()
    solution = solver.solve(system, eps)
    return {
        "solver": name,
        "kappa": system.kappa,
        "asked": eps,
        "queries": solution.queries,
        "formula": solver.queries(system.kappa, eps),
        "error": float(np.linalg.norm(solution.state - truth / size)),
    }


def run_circuits(tolerances: tuple[float, ...], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Both circuits for one symmetric indefinite matrix: uses of it, and the distance of the state from A^-1 b."""
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    matrix = turn * (np.geomspace(1 / CIRCUIT_KAPPA, 1, 4) * np.array([1, -1, 1, -1])) @ turn.T
    rhs = rng.normal(size=4)
    truth = np.linalg.solve(matrix, rhs)

    def row(name: str, made: SolverCircuit, **more: Any) -> dict[str, Any]:
        outcome = made.run()
        error = float(np.linalg.norm(outcome.state - truth / np.linalg.norm(truth)))
        return {"circuit": name, "queries": made.queries, "error": error, "success": outcome.success, **more}

    optimal = SOLVERS["optimal"]()
    found = [
        row("qsvt", qsvt_circuit(matrix, rhs, eps), asked=eps, formula=optimal.queries(CIRCUIT_KAPPA, eps))
        for eps in tolerances
    ]
    return found + [row("hhl", hhl_circuit(matrix, rhs, clock=clock), clock=clock) for clock in CLOCKS]


def _curves(circuits: list[dict[str, Any]]) -> list[Any]:
    return [
        (label, [r["queries"] for r in circuits if r["circuit"] == name], _errors(circuits, name), style)
        for name, label, style in (("qsvt", "singular-value transformation", "C0o-"), ("hhl", "HHL", "C1s-"))
    ]


def _errors(circuits: list[dict[str, Any]], name: str) -> list[float]:
    return [r["error"] for r in circuits if r["circuit"] == name]


def _findings_of_circuits(circuits: list[dict[str, Any]]) -> list[str]:
    qsvt, hhl = ([r for r in circuits if r["circuit"] == name] for name in ("qsvt", "hhl"))
    exact = sum(r["queries"] == r["formula"] for r in qsvt)
    worst = max(r["error"] / r["asked"] for r in qsvt)
    return [
        f"circuits on the engine, kappa {CIRCUIT_KAPPA:g}: singular-value transformation uses the matrix as often as "
        f"the formula of optimal says in {exact} of {len(qsvt)}, state error at most {worst:.2g} eps; HHL has error "
        f"{hhl[0]['error']:.2g} after {hhl[0]['queries']} uses, {hhl[-1]['error']:.2g} after {hhl[-1]['queries']:,}"
    ]


def _findings(rows: list[dict[str, Any]], slopes: dict[str, float]) -> list[str]:
    found = []
    for name, slope in slopes.items():
        mine = [r for r in rows if r["solver"] == name]
        hardest = max((r for r in mine if r["asked"] == EPS), key=lambda r: r["kappa"])
        worst = max(r["error"] / r["asked"] for r in mine)
        exact = sum(r["queries"] == r["formula"] for r in mine)
        text = f"{name}: kappa^{slope:.2f} beyond kappa = 45; {hardest['queries']:,} queries at kappa "
        text += f"{hardest['kappa']:.4g}, eps {EPS:g}; state error at most {worst:.2g} eps in {len(mine)} systems, "
        text += f"count equal to the formula in {exact}"
        if exact < len(mine):
            more = max(r["queries"] - r["formula"] for r in mine)
            text += f" (up to {more:,} more where less than half of the walk ended in the kernel)"
        found.append(text)
    return found


EXPERIMENT = Experiment(
    "queries",
    "Queries grow as kappa log(1/eps) for the optimal inverse and for adiabatic and kernel-reflection solvers.",
    "arXiv:1511.02306, 1806.01838, 2111.08152 and 2406.12086",
    0.2,
    run,
    drawn("Queries of the linear-system solvers"),
)
