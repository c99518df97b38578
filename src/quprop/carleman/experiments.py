"""The experiments of the Carleman system, one command each: ``quprop carleman experiment NAME``.

Each returns {"panels": what the figure shows, "findings": sentences, ...}; the figure is drawn from the panels.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from quprop.carleman.burgers import burgers
from quprop.carleman.convergence import error_against_order, kappa_table, logistic_run, toy
from quprop.carleman.dynamics import from_tensors
from quprop.carleman.history import HistorySystem
from quprop.carleman.queries import amplify
from quprop.carleman.solver import SOLVERS
from quprop.carleman.torch_extra import load_torch
from quprop.experiments.experiment import Experiment, Progress, Result, exponent, silent
from quprop.report.carleman_figure import draw_curves

LIU = "Liu et al., Nat. Commun. 15, 434 (2024)"


def _order(quick: bool, seed: Any, progress: Progress = silent) -> Result:
    """Inside and outside the radius: a cubic toy at several R, and ridge logistic regression."""
    orders = (1, 2, 3, 4, 5) if quick else (1, 2, 3, 4, 5, 6, 8)
    ratios = (0.3, 0.6, 0.9, 1.5, 6.0)
    curves: list[Any] = []
    rows: list[dict[str, Any]] = []
    for i, ratio in enumerate(ratios):
        progress(i, len(ratios) + 2, f"cubic loss, R = {ratio:g}")
        step, start = toy(ratio)
        found = [e.largest for e in error_against_order(step, start, orders, 60)]
        curves.append((f"R = {ratio:g}", list(orders), found, "o-"))
        rows.append({"run": "toy", "R": ratio, "orders": list(orders), "error": found})
    logistic = []
    for i, (spread, label) in enumerate(((1.0, "moderate start"), (6.0, "far start"))):
        progress(len(ratios) + i, len(ratios) + 2, f"logistic regression, {label}")
        run = logistic_run(n=300 if quick else 2000, spread=spread, ridge=0.05 if i == 0 else 1e-3, learning_rate=0.5)
        steps = 100 if quick else 200
        errors = error_against_order(run.dynamics, run.start, orders, steps, engine="jets", origin=run.origin)
        logistic.append((label, list(orders), [e.relative for e in errors], "o-"))
        rows.append(
            {"run": "logistic", "spread": spread, "orders": list(orders), "error": [e.relative for e in errors]}
        )
    inside, outside = rows[1]["error"], rows[len(ratios) - 1]["error"]
    return {
        "rows": rows,
        "panels": [
            {
                "x": "order N",
                "y": "largest error of 60 steps",
                "log": "y",
                "title": "cubic loss, n = 3",
                "curves": curves,
            },
            {"x": "order N", "y": "relative error", "log": "y", "title": "logistic regression", "curves": logistic},
        ],
        "findings": [
            f"R = 0.6: the error falls from {inside[0]:.2g} at N = 1 to {inside[-1]:.2g} at N = {orders[-1]}",
            f"R = 6: it goes from {outside[0]:.2g} to {outside[-1]:.2g}",
            "logistic regression: " + "; ".join(f"{label} {e[0]:.2g} to {e[-1]:.2g}" for label, _, e, _ in logistic),
        ],
    }


def _euler(quick: bool, seed: Any, progress: Progress = silent) -> Result:
    orders = (1, 2, 3, 4, 5)
    step, start = toy(0.6)
    found = {}
    for i, variant in enumerate(("discrete", "euler")):
        progress(i, 2, variant)
        found[variant] = [
            e.largest for e in error_against_order(step, start, orders, 60, engine="symmetric", variant=variant)
        ]
    return {
        "orders": list(orders),
        "error": found,
        "panels": [
            {
                "x": "order N",
                "y": "largest error of 60 steps",
                "log": "y",
                "title": "R = 0.6, eta = 0.1",
                "curves": [
                    ("exact blocks", list(orders), found["discrete"], "o-"),
                    ("I + eta A", list(orders), found["euler"], "s--"),
                ],
            }
        ],
        "findings": [
            f"exact blocks: {found['discrete'][1]:.2g} at N = 2, {found['discrete'][-1]:.2g} at N = 5",
            f"I + eta A stays at {found['euler'][-1]:.2g}, "
            f"{found['euler'][-1] / found['discrete'][-1]:.3g} times above",
        ],
    }


def _kappa(quick: bool, seed: Any, progress: Progress = silent) -> Result:
    steps = (5, 10, 20) if quick else (5, 10, 20, 40)
    curves, rows = [], []
    cases = ((0.5, "contracting"), (0.0, "neutral mode"), (-0.5, "growing mode"))
    for i, (curvature, label) in enumerate(cases):
        progress(i, len(cases), label)
        table = kappa_table(curvature, steps)
        rows += [{"curvature": curvature, **vars(r)} for r in table]
        curves.append((f"{label}, p = 0", [r.steps for r in table], [r.plain for r in table], f"C{i}o-"))
        curves.append((f"{label}, p = T", [r.steps for r in table], [r.idle for r in table], f"C{i}s--"))
        curves.append((f"{label}, bound", [r.steps for r in table], [r.bound for r in table], f"C{i}:"))
    last = [r for r in rows if r["steps"] == steps[-1]]
    return {
        "rows": rows,
        "panels": [{"x": "steps T", "y": "condition number", "log": "xy", "curves": curves}],
        "findings": [
            f"curvature {r['curvature']:g}, T = {r['steps']}: kappa {r['plain']:.4g}, {r['idle']:.4g} with p = T idle "
            f"copies (one number: {r['scalar']:.4g})"
            for r in last
        ],
    }


def _queries(quick: bool, seed: Any, progress: Progress = silent) -> Result:
    """Counts by formula at many kappa and eps; the emulated solver's own at those of a small history system."""
    kappas, precisions = np.geomspace(2, 1000, 15), np.geomspace(1e-1, 1e-8, 15)
    step, start = toy(0.5)
    rows: list[dict[str, Any]] = []
    first: list[Any] = []
    second: list[Any] = []
    for name, made in SOLVERS.items():
        solver = made()
        first.append((name, kappas.tolist(), [solver.queries(k, 1e-4) for k in kappas], "-"))
        second.append((name, precisions.tolist(), [solver.queries(100.0, e) for e in precisions], "-"))
    lengths = (2, 4) if quick else (2, 4, 8, 16)
    for i, steps in enumerate(lengths):
        progress(i, len(lengths), f"emulated, T = {steps}")
        history = HistorySystem(step, start, 2, steps)
        system = history.linear_system()
        truth = history.solve()
        truth = truth / np.linalg.norm(truth)
        for name in ("optimal", "cks"):
            solution = SOLVERS[name]().solve(system, 1e-4)
            error = float(np.linalg.norm(solution.state - truth))
            rows.append({"solver": name, "kappa": system.kappa, "queries": solution.queries, "error": error})
    for name in ("optimal", "cks"):
        mine = [r for r in rows if r["solver"] == name]
        first.append((f"{name}, counted", [r["kappa"] for r in mine], [r["queries"] for r in mine], "ko"))
    return {
        "rows": rows,
        "panels": [
            {"x": "kappa", "y": "queries at eps = 1e-4", "log": "xy", "curves": first},
            {"x": "eps", "y": "queries at kappa = 100", "log": "xy", "curves": second},
        ],
        "findings": [
            f"{r['solver']} at kappa {r['kappa']:.4g}: {r['queries']:,} queries counted, state error {r['error']:.2g} "
            "for eps 1e-4"
            for r in rows
        ],
    }


def _burgers(quick: bool, seed: Any, progress: Progress = silent) -> Result:
    flow = burgers(16, 2000 if quick else 4000)
    steps = len(flow.dynamics)
    orders = (1, 2) if quick else (1, 2, 3, 4)
    found = []
    for i, order in enumerate(orders):
        progress(i, len(orders), f"order {order} of {orders[-1]}")
        found.append(error_against_order(flow.dynamics, flow.start, [order], steps)[0].largest)
    return {
        "R": flow.ratio,
        "orders": list(orders),
        "error": found,
        "panels": [
            {
                "x": "order N",
                "y": "largest error in time",
                "log": "y",
                "title": f"R = {flow.ratio:.2f}",
                "curves": [("Burgers, 16 points", list(orders), found, "o-")],
            }
        ],
        "findings": [
            f"R = {flow.ratio:.2f} (43.59 in the paper)",
            "the error falls by " + ", ".join(f"{a / b:.3g}" for a, b in pairwise(found)) + " an order",
        ],
    }


def _spectra(quick: bool, seed: Any, progress: Progress = silent) -> Result:
    from quprop.carleman import networks
    from quprop.carleman.data import load

    load_torch("the spectra along training")
    data = load("digits")
    made = networks.make("mlp" if quick else "resnet", data.input_shape, data.classes, seed=int(seed))
    return _followed(made, data, quick, seed, progress, upload_every=10 if quick else 25, hessian_samples=128)


def spectra_at_full_size(folder: Path | None) -> Callable[[bool, Any, Progress], Result]:
    """The experiment "spectra" with the authors' ResNet-32, widen 4 (7,451,044 parameters; smooth activation and
    GroupNorm) on CIFAR-100 from ``folder``. Hours on two cores."""

    def run(quick: bool, seed: Any, progress: Progress = silent) -> Result:
        from quprop.carleman import networks
        from quprop.carleman.data import load

        data = load("cifar100", folder=folder)
        made = networks.make(
            "resnet", data.input_shape, data.classes, seed=int(seed), precision="single", depth=32, widen=4
        )
        return _followed(made, data, quick, seed, progress, upload_every=100, hessian_samples=128, precision="single")

    return run


def _followed(
    network: Any,
    data: Any,
    quick: bool,
    seed: Any,
    progress: Progress,
    *,
    upload_every: int,
    hessian_samples: int,
    precision: str = "double",
) -> Result:
    from quprop.carleman.along import follow
    from quprop.carleman.proxy import Descent

    last = 2 * upload_every if quick else 4 * upload_every
    points = np.unique(np.linspace(0, last, 7 if quick else 13).astype(int)).tolist()
    course = follow(
        network,
        data,
        Descent(0.1),
        int(seed),
        measure=points,
        batch_size=64 if precision == "double" else 512,
        warm_up=30 if quick else 100,
        prune_ratio=0.9,
        upload_every=upload_every,
        dense_steps=10,
        hessian_samples=hessian_samples,
        lanczos_steps=16 if quick else 32,
        precision=precision,
        progress=lambda done, total: progress(done, total, "steps"),
    )
    made = course.to_json()
    least = [m.spectrum.least for m in course.moments]
    greatest = [m.spectrum.greatest for m in course.moments]
    proxies = [(name, points, made["proxy"][name]["values"], "o-") for name in ("frozen", "current", "running")]
    return {
        **made,
        "network": network.name,
        "parameters": network.n_parameters,
        "panels": [
            {
                "x": "step",
                "y": "Hessian eigenvalue",
                "title": f"{network.name}, {network.n_parameters:,} parameters",
                "curves": [("greatest", points, greatest, "o-"), ("least", points, least, "s-")],
            },
            {"x": "step", "y": "error proxy", "title": f"re-upload every {upload_every}", "curves": proxies},
            {
                "x": "step",
                "y": "share",
                "curves": [("test accuracy", points, made["accuracy"], "o-"), ("zeros", points, made["zeros"], "s--")],
            },
        ],
        "findings": [
            f"least eigenvalue {min(least):.3g}, greatest {max(greatest):.3g}; re-uploads at "
            f"{list(course.uploads)[1:]}",
            f"running proxy from {made['proxy']['running']['values'][0]:.4f} to "
            f"{max(made['proxy']['running']['values']):.4f} at most",
        ],
    }


def _training(quick: bool, seed: Any, progress: Progress = silent) -> Result:
    """Re-upload every 100 steps and ten dense steps, the paper's rhythm, on digits."""
    from quprop.carleman import networks
    from quprop.carleman.data import load
    from quprop.carleman.loop_report import training_report
    from quprop.carleman.train import Loop, train

    load_torch("training curves")
    data = load("digits")
    made = networks.make("mlp", data.input_shape, data.classes, seed=int(seed), hidden=(12,) if quick else (32,))
    count = 3 if quick else 6
    settings = Loop(
        learning_rate=0.1, warm_up=500, sparsity=0.8, blocks=count, dense_steps=10, block_length=25 if quick else 100
    )
    done = 0

    def after(block: Any) -> None:
        nonlocal done
        done += 1
        progress(done, count, f"block {done}, accuracy {block.accuracy:.3f}")

    result = train(made, data, settings, int(seed), progress=after)
    report = training_report(result, data)
    blocks = report["blocks"]
    ends = [b["step"] + b["block_length"] for b in blocks]
    steps = [s for b, e in zip(blocks, ends, strict=True) for s in (b["step"], e)]
    curve = [a for b in blocks for a in (b["pruned_accuracy"], b["accuracy"])]
    return {
        **report,
        "panels": [
            {
                "x": "linearised step",
                "y": "test accuracy",
                "curves": [
                    ("linear system", steps, curve, "o-"),
                    ("same loop, plain", ends, [b["twin_accuracy"] for b in blocks], "x"),
                    ("plain, not pruned", ends, [b["plain_accuracy"] for b in blocks], "--"),
                ],
            },
            {
                "x": "linearised step",
                "y": "relative distance from plain descent",
                "log": "y",
                "curves": [
                    ("each block", ends, report["relative_error"], "o-"),
                    ("all blocks so far", ends, report["drift"], "^--"),
                ],
            },
        ],
        "findings": [
            f"{report['reuploads']} re-uploads: accuracy {report['accuracy']:.4f}, plain descent "
            f"{report['plain_accuracy']:.4f} not pruned, {report['twin_accuracy']:.4f} pruned alike",
            f"error of a block {min(report['relative_error']):.1e} to {max(report['relative_error']):.1e}, drift "
            f"{report['drift'][-1]:.1e} at the end",
            *report["warnings"],
        ],
    }


def _scaling(quick: bool, seed: Any, progress: Progress = silent) -> Result:
    """Queries of one amplified copy, kappa(T) ln(2/eps) / sqrt(P), P the chance of level 1 at the last time.

    Fully dissipative descent, driven so that the output does not vanish, against a run whose slowest mode grows by 1 +
    1/T a step (almost dissipative, by the reading of `dissipation.kind_of`).
    """
    lengths = (5, 10, 20) if quick else (5, 10, 20, 40, 80)
    solver = SOLVERS["optimal"]()
    rows: list[dict[str, Any]] = []
    cases = ("fully dissipative", "almost dissipative")
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    bend = 0.02 * toy(0.3)[0].matrix(2).toarray() / 0.1
    for i, case in enumerate(cases):
        for j, steps in enumerate(lengths):
            progress(i * len(lengths) + j, len(cases) * len(lengths), f"{case}, T = {steps}")
            slowest = 0.5 if i == 0 else -10.0 / steps
            hessian = (turn * np.array([slowest, 1.0, 2.0])) @ turn.T
            force = turn @ np.array([0.3 if i == 0 else 0.0, 0.3, 0.3])
            step = from_tensors([force, -hessian, bend], learning_rate=0.1)
            start = turn @ (np.array([0.3, 0.1, 0.1]) if i == 0 else np.array([0.02, 0.3, 0.3]))
            history = HistorySystem(step, start, 2, steps)
            kappa = history.condition().kappa
            success = history.success_probability(history.solve())
            queries = amplify(success).runs * solver.queries(kappa, 1e-4)
            rows.append({"case": case, "steps": steps, "kappa": kappa, "success": success, "queries": queries})
    slopes: dict[str, Any] = {}
    curves: dict[str, list[Any]] = {"kappa": [], "queries": []}
    for i, case in enumerate(cases):
        mine = [r for r in rows if r["case"] == case]
        for what in curves:
            slopes[f"{case}, {what}"] = exponent([r["steps"] for r in mine], [r[what] for r in mine])
            slope = slopes[f"{case}, {what}"]["slope"]
            curves[what].append((f"{case}: T^{slope:.2f}", list(lengths), [r[what] for r in mine], f"C{i}o-"))
    return {
        "rows": rows,
        "exponents": slopes,
        "panels": [
            {"x": "steps T", "y": "condition number", "log": "xy", "curves": curves["kappa"]},
            {"x": "steps T", "y": "queries of a copy, eps = 1e-4", "log": "xy", "curves": curves["queries"]},
        ],
        "findings": [
            f"{name} grows as T^{found['slope']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
            for name, found in slopes.items()
        ]
        + ["the paper claims O(T) and, as an upper bound, O(T^2) up to logarithms"],
    }


def _draw(title: str) -> Callable[[Result], bytes]:
    return lambda result: draw_curves(result["panels"], title)


def _made(name: str, claim: str, source: str, minutes: float, run: Any, title: str) -> Experiment:
    return Experiment(name, claim, source, minutes, run, _draw(title))


EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        _made(
            "order",
            "Inside the radius of convergence the error falls geometrically with N; far outside it stalls or grows.",
            LIU,
            0.5,
            _order,
            "Truncation error against order",
        ),
        _made(
            "euler",
            "With I + eta A in place of the exact discrete blocks the error does not fall below a plateau.",
            "the discrete tower of " + LIU,
            0.1,
            _euler,
            "Exact blocks against the Euler variant",
        ),
        _made(
            "kappa",
            "The condition number is bounded without idle copies where descent contracts, and O(T) with them.",
            "Liu et al., PNAS 118, e2026805118 (2021), lemma 3",
            0.1,
            _kappa,
            "Condition number of the history system",
        ),
        _made(
            "queries",
            "Queries grow as kappa log(1/eps) for the optimal inverse and for adiabatic and kernel-reflection solvers.",
            "arXiv:1511.02306, 1806.01838, 2111.08152 and 2406.12086",
            0.2,
            _queries,
            "Queries of the linear-system solvers",
        ),
        _made(
            "burgers",
            "At R = 43.59 the error still falls with N: R < 1 is sufficient, not necessary.",
            "Liu et al., PNAS 118, e2026805118 (2021), figure 1",
            2,
            _burgers,
            "Forced viscous Burgers flow, Re = 20",
        ),
        _made(
            "spectra",
            "Positive Hessian modes dominate after pruning; the proxy falls, then rises, and a re-upload resets it.",
            LIU + ", figures 3 to 5",
            5,
            _spectra,
            "Hessian spectra and error proxy along training",
        ),
        _made(
            "training",
            "Re-uploading every 100 steps, with ten dense steps, follows plain descent.",
            LIU + ", figure 1; the linear system itself is run here",
            2,
            _training,
            "Training with re-uploads",
        ),
        _made(
            "scaling",
            "Cost grows as T where descent is fully dissipative, as at most T^2 where it is almost so.",
            LIU + ", theorems 1 and 2",
            0.5,
            _scaling,
            "Cost against the length of a block",
        ),
    )
}
