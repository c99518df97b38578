"""What a run of the loop is at a moment, in its run folder (`quprop.runs`): a killed run goes on from there."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from quprop.carleman.block import BlockRun
from quprop.carleman.block_cost import BlockCost
from quprop.carleman.loop import Block, Loop
from quprop.carleman.networks.data import Dataset, batches
from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.plain import loss_at
from quprop.carleman.networks.torch_extra import load_torch
from quprop.carleman.transfer.queries import QueryLedger
from quprop.errors import QupropError
from quprop.runs import RunFolder, plain, versions

BESIDE = ("analysis.json", "analysis.png")  # what `quprop carleman analyse` may have put into the folder
PROBE = 64  # training samples whose loss tells a network and its data from others


@dataclass
class State:
    """Where the loop is, between blocks or between steps of the warm-up.

    ``theta``, ``twin``, ``plain``  parameters theta (n,), with momentum (theta, w) (2 n,), of the loop and of what runs
                                    beside it; equal in the warm-up
    ``warmed``                      steps of the warm-up done; ``done``: linearised steps
    ``kept``                        of the last mask (n,), None before the first block
    """

    theta: np.ndarray
    twin: np.ndarray
    plain: np.ndarray
    warmed: int = 0
    done: int = 0
    dense_accuracy: float = 0.0
    kept: np.ndarray | None = None
    blocks: list[Block] = field(default_factory=list)
    ledger: QueryLedger = field(default_factory=QueryLedger)
    warnings: list[str] = field(default_factory=list)


def open_folder(
    out: str | os.PathLike[str] | None,
    resume: bool,
    network: Network,
    data: Dataset,
    settings: Loop,
    seed: int | None,
) -> RunFolder | None:
    """The run folder, new or to be continued with the settings it was started with."""
    if out is None:
        if resume:
            raise QupropError("`resume` needs the run folder: pass out=...")
        return None
    definition = plain(
        {
            "carleman": {
                "network": network.name,
                "parameters": network.n_parameters,
                "samples": [len(data.x_train), len(data.x_test)],
                "seed": seed,
                **asdict(settings),
            },
            "versions": versions(),
        }
    )
    if not resume:
        return RunFolder.create(out, definition, beside=BESIDE)
    folder = RunFolder.open(out)
    since = {f.name: f.default for f in fields(Loop) if f.default is not None}
    folder.check_section(
        "carleman", definition["carleman"], "is none of the Carleman loop: choose another --out", since
    )
    return folder


def save(
    folder: RunFolder, state: State, network: Network, data: tuple[Any, Any], rng: np.random.Generator, source: Any
) -> None:
    arrays = {"theta": state.theta, "twin": state.twin, "plain": state.plain}
    if state.kept is not None:
        arrays["kept"] = state.kept
    if isinstance(source, batches):
        arrays["order"] = source.order
    for i, block in enumerate(state.blocks):
        arrays[f"update/{i}"] = block.run.update
    for name, buffer in network.module.named_buffers():
        arrays[f"buffer/{name}"] = buffer.detach().cpu().numpy()
    meta = {
        "rng": plain(rng.bit_generator.state),
        "start": getattr(source, "start", 0),
        "warmed": state.warmed,
        "done": state.done,
        "dense_accuracy": state.dense_accuracy,
        "blocks": [_table(block) for block in state.blocks],
        "ledger": state.ledger.as_dict(),
        "warnings": state.warnings,
        "probe": _probe(network, state.theta, data),
    }
    folder.write_checkpoint(arrays, meta)


def restore(
    folder: RunFolder,
    network: Network,
    data: tuple[Any, Any],
    rng: np.random.Generator,
    source: Any,
    momentum: float = 0.0,
) -> State | None:
    """The state of the last checkpoint, with `rng`, `source` and the network's buffers as they were; None for a new
    run."""
    folder.lock()
    found = folder.read_checkpoint()
    if found is None:
        folder.start_metrics(0)
        return None
    arrays, meta = found
    try:
        vectors = [arrays[key] for key in ("theta", "twin", "plain")]
        kept = arrays.get("kept")
        size = network.n_parameters * (2 if momentum else 1)
        if not all(v.shape == (size,) and v.dtype == float for v in vectors):
            raise ValueError
        if kept is not None and (kept.shape != (network.n_parameters,) or kept.dtype != bool):
            raise ValueError
        if any(type(meta[key]) is not int or meta[key] < 0 for key in ("warmed", "done", "start")):
            raise ValueError
        state = State(
            theta=vectors[0],
            twin=vectors[1],
            plain=vectors[2],
            warmed=meta["warmed"],
            done=meta["done"],
            dense_accuracy=float(meta["dense_accuracy"]),
            kept=kept,
            blocks=[_block(table, arrays[f"update/{i}"]) for i, table in enumerate(meta["blocks"])],
            ledger=QueryLedger(**meta["ledger"]),
            warnings=[str(text) for text in meta["warnings"]],
        )
        rng.bit_generator.state = meta["rng"]
        if isinstance(source, batches):
            order = arrays["order"]
            if order.size and not np.array_equal(np.sort(order), np.arange(len(source.x))):
                raise ValueError
            source.order, source.start = order, meta["start"]
        torch = load_torch("a network's buffers")
        with torch.no_grad():
            for name, buffer in network.module.named_buffers():
                buffer.copy_(torch.as_tensor(arrays[f"buffer/{name}"]))
        probe = float(meta["probe"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
        raise folder.damaged() from None
    here = _probe(network, state.theta, data)
    if not np.isclose(here, probe, rtol=1e-6 if network.precision == "double" else 1e-3, atol=0, equal_nan=True):
        raise QupropError(
            f"the network in {folder.path} had loss {probe:.6g} at its checkpoint, and this one has {here:.6g}: resume "
            "with the network, its settings and the data that the run was started with"
        )
    folder.start_metrics(meta["metrics_bytes"], meta.get("metrics_sha256"))
    return state


def _probe(network: Network, theta: np.ndarray, data: tuple[Any, Any]) -> float:
    kept = [buffer.clone() for buffer in network.module.buffers()]
    loss = loss_at(network, theta[: network.n_parameters], (data[0][:PROBE], data[1][:PROBE]))
    for buffer, before in zip(network.module.buffers(), kept, strict=True):
        buffer.copy_(before)
    return loss


def _table(block: Block) -> dict[str, Any]:
    """All but the update, which is an array."""
    table = asdict(
        block, dict_factory=lambda pairs: {k: v.item() if isinstance(v, np.generic) else v for k, v in pairs}
    )
    del table["run"]["update"]
    return table


def _block(table: dict[str, Any], update: np.ndarray) -> Block:
    run = BlockRun(update=update, **table["run"])
    cost = BlockCost(**{**table["cost"], "ledger": QueryLedger(**table["cost"]["ledger"])})
    return Block(**{**table, "run": run, "cost": cost})
