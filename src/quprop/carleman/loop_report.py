"""What `quprop carleman` tells: the analysis of a network, and the record of a training run, as JSON-able tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, repeat
from typing import Any

import numpy as np

from quprop.carleman.block_cost import (
    HISTORY_BELOW,
    KAPPA_BELOW,
    WORK_BELOW,
    formula_loads,
    formula_success,
    readout_copies,
    solver_of,
    upload_formula,
)
from quprop.carleman.block_cost import total as block_total
from quprop.carleman.break_even import BreakEven
from quprop.carleman.loop import TrainedNetwork
from quprop.carleman.maps.smooth import UnwrittenDerivative, check_expandable
from quprop.carleman.networks.data import Dataset, batches
from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.plain import descend, standing
from quprop.carleman.networks.prune import kept_in_words, prune
from quprop.carleman.spectra import proxy as proxies
from quprop.carleman.spectra.dissipation import Dissipation, allowed, analyse, percent
from quprop.carleman.spectra.hessian import affordable_batches, check_derivatives, derivative
from quprop.carleman.spectra.proxy import Descent
from quprop.carleman.spectra.sparsity import Sparsity, measure_second, measure_sparsity
from quprop.carleman.spectra.survivors import SurvivorsProduct, survivors_dynamics
from quprop.carleman.system.linear_system import check_precision
from quprop.carleman.transfer.copies import L2_BOUND
from quprop.carleman.truncation import Truncation
from quprop.cost import human_seconds
from quprop.errors import QupropError, generator_of
from quprop.hardware_models import HardwareModel, hardware

WORK = 2e7  # parameters times samples up to which the truncation of a block is measured on all training samples
LEAST = 8  # samples that it is measured on at least
DRAWS = 3  # of samples or batches, where not all are used
HUGE = 20_000_000  # parameters from which on there is one draw, of two samples, and half as many columns
BATCH_BYTES = 1e9  # of the parameters that the maps of mini-batches hold
MANY, FEW = 1_000_000, 8  # parameters from which on so few columns of the Hessian are measured
NORMS_BELOW = 200_000  # parameters up to which norms of derivative tensors are estimated
EMULATION = {
    "update": "u(T) of the truncated linear system, found in the way that each block names: by the solver's own "
    f"polynomial applied to the history system (at most {HISTORY_BELOW:,} unknowns, kappa at most {KAPPA_BELOW:,.0f}, "
    f"kappa times the multiplications of a product at most {WORK_BELOW:.0e}; the adiabatic walk: 400 unknowns); "
    "in low rank, with the residual; by marching the tower, which is exact forward substitution; or by Taylor jets, "
    "whose weighted truncation of the same order is not the system's solution where the gradient drives the block",
    "truncation": "the update's error is measured beside plain descent of the same map and ends automatic blocks; a "
    "quantum computer would go by the gap between two orders",
    "readout": "shots: counts drawn from the exact outcome distributions; exact: the state's amplitudes, and copies by "
    "formula",
    "queries": "the solver's degree at kappa, kappa by singular values or Lanczos where the history system fits; "
    "elsewhere formula: (1 + max(1, m)) sum_t m^t with m = max |1 - a|^N, blocks off the diagonal left out; a block "
    "encoding with the ideal normalisation ||L|| is taken: `analyse` measures the one of sparse access",
    "upload": "the right-hand side of all times; the circuit itself, gates counted, up to 600 entries; an upper bound "
    "on its gates beyond; each different mini-batch is a gradient and a load of its own, and a step oracle behind "
    "every query (step_queries); the cost of a query in gates is not counted",
}
WITH_MOMENTUM = {
    "momentum": "unknowns are (u, w), update and velocity: both are read, and w loaded beside the gradient; a step is "
    "not normal, so in the formula of kappa norms of t steps of all modes stand for |1 - a|^t, while growth, proxy and "
    "the break-even take the largest root of z^2 - (1 + b - a) z + b, and the break-even's kappa is too small by what "
    "the norms exceed it",
}


def analysis_report(
    network: Network,
    data: Dataset,
    rng: int | np.random.Generator,
    *,
    learning_rate: float = 0.1,
    order: int = 3,
    warm_up: int = 0,
    batch_size: int | None = None,
    sparsity: float = 0.9,
    block_length: int | None = None,
    longest: int = 100,
    tolerance: float = 1e-2,
    precision: float = 1e-2,
    solver: str = "kernel_reflection",
    eps: float = 1e-3,
    samples: int = 512,
    truncation_samples: int | None = None,
    lanczos_steps: int = 64,
    probes: int = 2,
    momentum: float = 0.0,
    weight_decay: float | None = None,
    machine: str = "figure2",
    weights: str = "the weights it was given",
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Warm up, prune, and ask: does descent contract here, how long may a block be, and what would it cost?

    ``block_length``  None: until the truncation error, measured beside plain descent, passes ``tolerance``, at most
                      ``longest``
    ``batch_size``    of the plain steps, those of the warm-up and those of the block; None: all samples
    ``momentum``      of the descent that is analysed; the plain steps of the warm-up have none
    ``weight_decay``  None: the network's own
    ``samples``       of the training data that the Hessian is measured on, by ``lanczos_steps`` and ``probes``
    ``truncation_samples``  that the truncation is measured on, of the data or of each batch, DRAWS times where they are
                      not all; None: as many as make WORK with the parameters
    ``machine``       of `hardware_models.py`, for seconds; a query is taken as N log2(n s) rotations, and the solver is
                      charged for kappa_eff = alpha/sigma_min, s and alpha of the survivors' Hessian, measured
    ``weights``       what the network's parameters are before the warm-up, in words, for the report
    """
    rng = generator_of(rng)
    if not 0 <= sparsity < 1 or not 0 < precision < 1:
        raise QupropError(f"sparsity in [0, 1) and precision in (0, 1) were expected, got {sparsity} and {precision}")
    solver_of(solver)
    made = hardware(machine)
    check_precision(1.0, eps)
    descent, (x, y), test = (
        Descent(learning_rate, momentum),
        data.train(network.precision),
        data.test(network.precision),
    )
    if weight_decay is not None:
        network = replace(network, weight_decay=checked_weight_decay(weight_decay))
    expands = not check_expandable(network.module, network.loss, (x, y), kinks="allow")
    if expands and network.n_parameters <= NORMS_BELOW:
        try:
            check_derivatives(network, (x[:8], y[:8]))
        except UnwrittenDerivative:
            expands = False
    source = repeat((x, y)) if batch_size is None else batches(x, y, batch_size, rng)
    _warm_up(network, source, warm_up, learning_rate, progress)
    at = f"{weights}{f' and {warm_up} plain steps' if warm_up else ''}"
    point: dict[str, Any] = {"weights": at, "plain_steps": warm_up} | standing(network, (x, y), test)
    mask, n = prune(network.module, sparsity), network.n_parameters
    point["pruned"] = standing(network, (x, y), test)
    kept, survivors = mask.n_kept, np.flatnonzero(mask.kept)
    draws, of = _draws(
        (x, y), n, batch_size, truncation_samples, longest if block_length is None else block_length, rng
    )
    runs = None
    if expands and not (batch_size is None and len(draws) == 1 and samples >= len(x)):
        given = {"learning_rate": learning_rate, "momentum": momentum}
        runs = [survivors_dynamics(network, survivors, draw, order=order, **given) for draw in draws]
    measured_on = affordable_batches(network, x[:samples], y[:samples])
    found = analyse(
        network,
        measured_on,
        descent,
        rng,
        steps=block_length or longest,
        order=order,
        tolerance=tolerance,
        lanczos_steps=lanczos_steps,
        probes=probes,
        norms=n <= NORMS_BELOW and expands,
        samples=8,
        precision=network.precision,
        kept=survivors,
        runs=runs,
        expands=expands,
        stop=block_length is None,
        progress=progress,
    )
    length = block_length or found.block_length
    growth = proxies.growth(found.spectrum, descent)
    access, second = _access(network, mask.kept, measured_on, learning_rate, rng, order)
    assumptions = BreakEven(
        steps=length,
        order=order,
        precision=precision,
        eps=eps,
        samples=len(x),
        density=kept / n,
        growth=growth,
        solver=solver,
        rotation_seconds=made.rotation_seconds,
        row_entries=access.entries,
        alpha=access.alpha,
        measured=f"measured on {access.columns:,} of {access.dimension:,} columns of the survivors' Hessian",
    )
    analysis = found.to_json()
    measured = "" if found.truncation is None else _measured(found.truncation, of)
    if found.truncation is not None:
        analysis["truncation"] |= {"samples": of, "measured": measured}
    radius = analysis.pop("radius") or {
        "exists": False if growth >= 1 else None,
        "why": _no_radius(growth, n, found, expands),
    }
    price = _price(assumptions, kept, n, made)
    return {
        "format": "quprop-carleman_analysis",  # "kind" says how dissipative the descent is
        **analysis,
        "network": network.name,
        "data": data.name,
        "point": point,
        "kept": kept,
        "sparsity": sparsity,
        "pruning": kept_in_words(network.module, mask, sparsity),
        "growth": growth,
        "radius": radius,
        "proxy_block_length": found.proxy_block_length,
        "block_length": length,
        "hessian_entries": access.to_json() | {"second_order": second},
        **price,
        "warnings": [] if found.truncation is None else found.truncation.warnings(),
        "verdict": verdict(found, block_length, measured, price["seconds"], price["break_even"], made.name, at)[:-1]
        + f"; {access.sentence()}.",
    }


def _draws(
    data: tuple[Any, Any], n: int, batch_size: int | None, asked: int | None, steps: int, rng: np.random.Generator
) -> tuple[list[list[tuple[Any, Any]]], dict[str, Any]]:
    """Batches to measure the truncation on, gone through again where memory does not hold one for each step, and how
    many samples of how many they have."""
    x, y = data
    whole = len(x) if batch_size is None else batch_size
    used = min(whole, asked or max(LEAST if n <= HUGE else 2, int(WORK / n)))
    sizes = {"used": used, "of": whole, "batches": batch_size is not None}
    if used == len(x):
        return [[(x, y)]], sizes
    held = 1 if batch_size is None else max(1, min(steps, int(BATCH_BYTES / (16 * n))))
    draws = DRAWS if n <= HUGE else 1
    return [list(islice(batches(x, y, used, rng), held)) for _ in range(draws)], sizes


def _measured(found: Truncation, samples: dict[str, Any]) -> str:
    of = f"{samples['used']:,} of {samples['of']:,}" if samples["used"] < samples["of"] else f"all {samples['of']:,}"
    of += " samples" + (" of a batch" if samples["batches"] else "")
    return f" at order {found.order} by {found.engine} on {of}"


def _access(
    network: Network, mask: np.ndarray, data: Any, rate: float, rng: np.random.Generator, order: int
) -> tuple[Sparsity, dict[str, Any] | None]:
    """Entries of the survivors' Hessian, and of the second step matrix where contractions are affordable."""
    kept, n = np.flatnonzero(mask), network.n_parameters
    product = SurvivorsProduct(network, kept, data)
    given = {"learning_rate": rate, "precision": network.precision}
    columns = None if n <= MANY else FEW if n <= HUGE else FEW // 2
    found = measure_sparsity(product, len(kept), rng, columns=columns, **given)  # type: ignore[arg-type]
    if order < 2 or n > NORMS_BELOW:
        return found, None
    return found, measure_second(derivative(network, data[:1]), kept, n, rng, **given).to_json()  # type: ignore[arg-type]


def _warm_up(
    network: Network,
    source: Iterator[Any],
    steps: int,
    rate: float,
    progress: Callable[[int, int, str], None] | None,
) -> None:
    for done in range(0, steps, 20):
        if progress is not None:
            progress(done, steps, "plain steps before the analysis")
        chosen = list(islice(source, min(20, steps - done)))
        theta = descend(network, network.parameters(), chosen, len(chosen), rate)
        if not np.isfinite(theta).all():
            raise QupropError(f"plain training diverged at learning rate {rate:g}; lower it")


def _price(assumed: BreakEven, kept: int, n: int, made: HardwareModel) -> dict[str, Any]:
    """What a block of the kept ones of n parameters would take, by formula."""
    chosen, kappa = solver_of(assumed.solver), assumed.kappa
    queries = chosen.queries(kappa, assumed.eps)
    copies = readout_copies(kept, assumed.precision)
    cost = block_total(
        copies,
        kappa=kappa,
        kappa_by="formula",
        queries=queries,
        loads=formula_loads(chosen, queries, kappa),
        success=assumed.success * formula_success(chosen, kappa, assumed.eps),
        upload=upload_formula(kept, n, assumed.order, assumed.steps, assumed.maps),
        upload_by="bound",
        entries=kept,
        precision=assumed.precision,
        maps=assumed.maps,
        gradient_ops=assumed.maps * 3 * n * assumed.samples,
    )
    rotations = assumed.rotations_a_query(n)
    ideal = replace(assumed, alpha=1.0).kappa
    return {
        "condition_number": ideal,
        "kappa_eff": kappa,
        "queries_per_run": queries,
        "queries": cost.ledger.queries,
        "copies": copies,
        "copies_expected": cost.copies_expected,
        "expected_error": cost.expected_error,
        "proved_error": L2_BOUND * assumed.precision,
        "cost": cost.to_json(),
        "hardware": made.name,
        "seconds": made.seconds(cost.ledger.cost(rotations_per_query=rotations)),
        "break_even": assumed.to_json(n),
        "emulated": "nothing is emulated: the spectrum and the Hessian's entries are measured, the rest is formula "
        "(kappa with blocks off the diagonal left out, "
        f"P = {assumed.success:g} of level 1 assumed, {rotations} rotations a query assumed; {assumed.access()})",
    }


def verdict(
    found: Dissipation, asked: int | None, measured: str, seconds: float, even: dict[str, Any], machine: str, at: str
) -> str:
    """One sentence: would this help, from the weights ``at``? For blocks as long as they may run, or of ``asked``
    steps."""
    pays, run = even["ratio"] <= 1, found.truncation
    text = "It would pay" if pays else "It would not help"
    text += f": from {at} descent is {found.kind}, a block may run "
    if run is None:
        text += f"{found.block_length} step{'s' * (found.block_length != 1)} by the error proxy alone"
    else:
        text += allowed(run, measured)
    if found.block_range[0] < found.block_range[1] and found.runs:
        text += f" ({found.block_range[0]} to {found.block_range[1]} over {len(found.runs)} draws)"
    if found.bound_by == "proved" and found.update_bound_length is not None:
        text += f", proved for {found.update_bound_length}"
    if asked is not None and run is not None and asked > run.within:
        text += f", one of {asked} has an update off by {percent(run.error)}"
    text += (
        f", takes {human_seconds(seconds)} of {machine} hardware and {even['ratio']:.2g} times as long as plain descent"
    )
    if not pays and even["parameters"] is None:
        text += (
            ", at this density for every size, with 1000 entries from "
            f"{even['parameters_at_fixed_entries']:.1g} parameters on it would pay"
            if even["parameters_at_fixed_entries"]
            else ", at every size"
        )
    elif not pays:
        text += f"; it would pay from {even['parameters']:.1g} parameters"
    text += " (by formula)"
    if found.kinks:
        text += (
            f"; the network has kinks ({shown_kinks(found.kinks)}), which no expansion sees: its truncation is not "
            "judged, the block length is the error proxy's only, and `quprop carleman train` refuses it; the spectrum "
            f"is that of {found.caveat}"
        )
    if found.spectrum.operator == "differences":
        text += (
            "; a layer has no second derivative in PyTorch: Hessian products are central differences of the gradient, "
            "and its truncation is not judged"
        )
    return text + "."


def shown_kinks(kinks: tuple[str, ...]) -> str:
    return ", ".join(kinks[:2]) + (f" and {len(kinks) - 2} more" if len(kinks) > 2 else "")


def training_report(result: TrainedNetwork, data: Dataset) -> dict[str, Any]:
    """The JSON of `quprop carleman train`."""
    ledger, blocks = result.ledger, result.blocks
    last, rows = blocks[-1], [b.to_json() for b in blocks]
    metric = "accuracy" if data.classes else "r_squared"
    even = BreakEven(
        steps=max(1, last.run.length),
        order=result.settings.order,
        precision=result.settings.precision,
        eps=result.settings.eps,
        samples=result.settings.batch_size or len(data.x_train),
        density=min(1.0, last.run.update.size / result.parameters),
        growth=last.growth,
        success=max(1e-9, min(1.0, last.cost.success)),
        maps=last.cost.maps,
        row_entries=min(10, last.kept),
        solver=result.settings.solver
        if result.settings.solver in ("kernel_reflection", "adiabatic")
        else "kernel_reflection",
    )
    report = {
        "kind": "carleman_training",
        "metric": metric,
        "network": result.network,
        "data": data.name,
        "parameters": result.parameters,
        "kept": last.kept,
        "accuracy": result.accuracy,
        "plain_accuracy": result.plain_accuracy,
        "twin_accuracy": result.twin_accuracy,
        "warm_up_accuracy": result.dense_accuracy,
        "reuploads": result.reuploads,
        **{name: [row[name] for row in rows] for name in ("relative_error", "update_error", "drift")},
        "queries": ledger.queries,
        "copies": ledger.copies,
        "copies_expected": sum(b.cost.copies_expected or 0 for b in blocks),
        "step_queries": sum(b.cost.step_queries for b in blocks),
        "classical_steps": ledger.classical_steps,
        "linearised_steps": sum(b.run.length for b in blocks),
        "ledger": ledger.as_dict(),
        "blocks": rows,
        "diverged": result.diverged,
        "warnings": list(result.warnings),
        "settings": {name: getattr(result.settings, name) for name in result.settings.__dataclass_fields__},
        "pruning": result.pruning,
        "emulation": EMULATION
        | (WITH_MOMENTUM if result.settings.momentum else {})
        | {"blocks": sorted({b.run.emulation for b in blocks})},
        "meaning": {
            "plain_accuracy": "plain descent of the whole network, not pruned, same start, same number of steps",
            "twin_accuracy": "the same loop, pruning included, with plain descent in place of the linear system",
            "relative_error": "parameters after each block against plain descent from that block's own start",
            "drift": "parameters against the twin's, accumulated over all blocks",
        },
        "break_even": even.to_json(result.parameters),
    }
    return report if data.classes else _of_regression(report, data)


def _of_regression(report: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """The same with R^2 under its name in place of accuracy, and the mean squared error on the test part."""

    def named(table: dict[str, Any]) -> dict[str, Any]:
        return {key.replace("accuracy", "r_squared"): value for key, value in table.items()}

    spread = float(np.square(data.y_test - data.y_test.mean(0)).mean())
    found = named(report) | {
        "blocks": [named(row) for row in report["blocks"]],
        "meaning": named(report["meaning"])
        | {"r_squared": "1 - sum |y - f(x)|^2 / sum |y - mean y|^2 on the test part", "mean_squared_error": "the same"},
    }
    return found | {"mean_squared_error": (1 - found["r_squared"]) * spread}


def checked_weight_decay(value: float) -> float:
    if not 0 <= value < np.inf:
        raise QupropError(f"weight_decay is finite and at least 0, got {value}")
    return value


def _no_radius(growth: float, n: int, found: Dissipation, expands: bool) -> str:
    if found.kinks:
        return f"no expansion sees the kinks of the network ({shown_kinks(found.kinks)})"
    if not expands:
        return "higher derivatives are not written, or not right, for one of its layers"
    if found.descent.momentum:
        return "norms of derivatives are estimated for plain descent, without momentum"
    if growth >= 1:
        return f"max |1 - a| = {growth:.6g} is not below 1, so none exists"
    return f"norms of derivatives are not estimated beyond {NORMS_BELOW:,} parameters, got {n:,}"
