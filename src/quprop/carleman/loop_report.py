"""What `quprop carleman` tells: the analysis of a network, and the record of a training run, as JSON-able tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, repeat
from typing import Any

import numpy as np

from quprop.carleman.block_cost import (
    formula_loads,
    formula_success,
    kappa_formula,
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
from quprop.carleman.networks.plain import descend
from quprop.carleman.networks.prune import prune
from quprop.carleman.spectra import proxy as proxies
from quprop.carleman.spectra.dissipation import Dissipation, analyse
from quprop.carleman.spectra.hessian import check_derivatives, split_batches
from quprop.carleman.spectra.proxy import Descent
from quprop.carleman.system.linear_system import check_precision
from quprop.cost import HardwareModel, hardware, human_seconds
from quprop.errors import QupropError, generator_of

NORMS_BELOW = 200_000  # parameters up to which norms of derivative tensors are estimated
EMULATION = {
    "update": "u(T), the exact solution of the truncated linear system, from marching the lifted tower "
    "(engine jets: its weighted truncation of the same order); where the "
    "history system has at most 2,000 unknowns and kappa at most 5,000 the solver's own polynomial is applied to it "
    "(the adiabatic walk: at most 400 unknowns)",
    "readout": "shots: counts drawn from the exact outcome distributions; exact: the state's amplitudes, and copies by "
    "formula",
    "queries": "the solver's degree at kappa, kappa by singular values or Lanczos where the history system fits; "
    "elsewhere formula: (1 + max(1, m)) sum_t m^t with m = max |1 - a|^N, blocks off the diagonal left out",
    "upload": "the circuit itself, gates counted, up to 600 entries; an upper bound on its CNOTs beyond; the time "
    "register's superposition and the cost of a query in gates are not counted",
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
    lanczos_steps: int = 64,
    probes: int = 2,
    momentum: float = 0.0,
    weight_decay: float | None = None,
    machine: str = "figure2",
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Warm up, prune, and ask: does descent contract here, how long may a block be, and what would it cost?

    ``block_length``  None: the error proxy's within ``tolerance``, at most ``longest``
    ``momentum``      of the descent that is analysed; the plain steps of the warm-up have none
    ``weight_decay``  None: the network's own
    ``batch_size``    of the plain steps of the warm-up; None: all samples
    ``samples``       of the training data that the Hessian is measured on, by ``lanczos_steps`` and ``probes``
    ``machine``       of `quprop.cost`, for seconds; a query is taken as N 10 log2 n rotations
    """
    rng = generator_of(rng)
    if not 0 <= sparsity < 1 or not 0 < precision < 1:
        raise QupropError(f"sparsity in [0, 1) and precision in (0, 1) were expected, got {sparsity} and {precision}")
    solver_of(solver)
    made = hardware(machine)
    check_precision(1.0, eps)
    descent, (x, y) = Descent(learning_rate, momentum), data.train(network.precision)
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
    kept, n = prune(network.module, sparsity).n_kept, network.n_parameters
    found = analyse(
        network,
        split_batches(x[:samples], y[:samples], 64),
        descent,
        rng,
        steps=block_length or longest,
        order=order,
        tolerance=tolerance,
        lanczos_steps=min(lanczos_steps, n),
        probes=probes,
        norms=n <= NORMS_BELOW and expands,
        samples=8,
        precision=network.precision,
        progress=progress,
    )
    length = block_length or max(1, min(found.block_length, longest))
    growth = proxies.growth(found.spectrum, descent)
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
    )
    analysis = found.to_json()
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
        "kept": kept,
        "sparsity": sparsity,
        "growth": growth,
        "radius": radius,
        "proxy_block_length": found.block_length,
        "block_length": length,
        **price,
        "verdict": verdict(found, length, price["seconds"], price["break_even"], made.name),
    }


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
    chosen = solver_of(assumed.solver)
    kappa = min(1e15, kappa_formula(assumed.growth, assumed.order, assumed.steps))
    queries = chosen.queries(kappa, assumed.eps)
    copies = readout_copies(kept, assumed.precision)
    cost = block_total(
        copies,
        kappa=kappa,
        kappa_by="formula",
        queries=queries,
        loads=formula_loads(chosen, queries),
        success=assumed.success * formula_success(chosen, kappa),
        upload=upload_formula(kept, n, assumed.order),
        upload_by="bound",
        steps=assumed.steps,
    )
    rotations = math.ceil(assumed.order * assumed.row_entries * math.log2(max(2, n)))
    return {
        "condition_number": kappa,
        "queries_per_run": queries,
        "queries": cost.ledger.queries,
        "copies": copies,
        "cost": cost.to_json(),
        "hardware": made.name,
        "seconds": made.seconds(cost.ledger.cost(rotations_per_query=rotations)),
        "break_even": assumed.to_json(n),
        "emulated": "nothing is emulated: the spectrum is measured, the rest is formula (kappa with blocks off the "
        f"diagonal left out, P = {assumed.success:g} of level 1 assumed, {rotations} rotations a query assumed)",
    }


def verdict(found: Dissipation, length: int, seconds: float, even: dict[str, Any], machine: str) -> str:
    """One sentence: would this help?"""
    pays = even["ratio"] <= 1
    text = "It would pay" if pays else "It would not help"
    text += (
        f": descent is {found.kind}, a block may run {length} step{'s' * (length != 1)}, takes "
        f"{human_seconds(seconds)} of {machine} hardware "
        f"and {even['ratio']:.2g} times as long as plain descent"
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
            "judged, the block length is the error proxy's only, and train refuses it"
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
        density=last.kept / result.parameters,
        growth=last.growth,
        success=max(1e-9, min(1.0, last.cost.success)),
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
        "classical_steps": ledger.classical_steps,
        "linearised_steps": sum(b.run.length for b in blocks),
        "ledger": ledger.as_dict(),
        "blocks": rows,
        "diverged": result.diverged,
        "warnings": list(result.warnings),
        "settings": {name: getattr(result.settings, name) for name in result.settings.__dataclass_fields__},
        "emulation": EMULATION | {"blocks": sorted({b.run.emulation for b in blocks})},
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
