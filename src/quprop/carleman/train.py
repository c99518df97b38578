"""The whole loop: train a little, prune, upload, run a block of steps as one linear system, download, prune again.

    result = train(network, data, Loop(learning_rate=0.5, blocks=8), rng=0)
    print(result.accuracy, result.plain_accuracy, result.reuploads)

A block expands gradient descent at its own start theta_0, so the upload is the gradient on the surviving parameters and
the download is the update u(T); theta_0 stays classical. Within a block only the survivors move: upload, linear system
and download are as sparse as the network. Beside it run, classically: the same loop with plain descent in place of the
linear system (the twin), and plain descent of the whole network, not pruned, for as many steps.

(Liu et al., Nat. Commun. 15, 434 (2024), workflow of figure 1; they never run the linear system itself.)
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from quprop.carleman.block import BlockRun, run_block
from quprop.carleman.block_cost import BlockCost, solver_of
from quprop.carleman.checkpoint import State, open_folder, restore, save
from quprop.carleman.maps.dynamics import Dynamics
from quprop.carleman.maps.subspace import Restricted
from quprop.carleman.maps.torch_map import from_torch
from quprop.carleman.networks.data import Dataset, batches
from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.plain import accuracy_at, descend, loss_at
from quprop.carleman.networks.prune import Mask, global_mask
from quprop.carleman.spectra import proxy as proxies
from quprop.carleman.spectra.hessian import hessian_matvec, split_batches
from quprop.carleman.spectra.proxy import Descent
from quprop.carleman.spectra.spectrum import Spectrum, spectrum_of
from quprop.carleman.transfer.queries import QueryLedger
from quprop.errors import QupropError, generator_of
from quprop.runs import RunFolder

READOUTS = ("exact", "shots")
WORSE = 1.5  # a block whose loss grew by this factor and by SLACK has diverged
SLACK = 0.05


@dataclass(frozen=True)
class Loop:
    """Settings of the loop.

    ``learning_rate``  eta of every step; descent has no momentum
    ``order``          N, at which the tower is truncated
    ``blocks``         uploads; ``steps``, if given, ends the run after so many linearised steps
    ``block_length``   T, or None: each block runs until its truncation error (`tolerance`) or the error proxy says stop
    ``longest``        of such a block
    ``tolerance``      of the difference between orders N and N - 1, relative to the update, where T is None
    ``warm_up``        plain dense steps before the first pruning
    ``sparsity``       share of prunable weights removed at every upload
    ``dense_steps``    plain steps of all parameters between a download and the next upload (needs quantum memory)
    ``readout``        "exact": the update as the state holds it; "shots": read from `precision`'s copies
    ``precision``      delta of the l2 readout, relative to the update: error <= sqrt(7) delta
    ``solver``, ``eps``  of the linear system, see `solver.SOLVERS`
    ``batch_size``     None: the whole training set in every step; else mini-batches, a step map each
    ``hessian_samples``, ``lanczos_steps``  of the survivors' Hessian, which is measured at every upload by twice as
                       many products
    """

    learning_rate: float = 0.5
    order: int = 3
    blocks: int = 8
    steps: int | None = None
    block_length: int | None = None
    longest: int = 100
    tolerance: float = 0.05
    warm_up: int = 100
    sparsity: float = 0.9
    dense_steps: int = 0
    readout: str = "exact"
    precision: float = 0.01
    solver: str = "kernel_reflection"
    eps: float = 1e-3
    engine: str = "auto"
    batch_size: int | None = None
    hessian_samples: int = 512
    lanczos_steps: int = 24

    def __post_init__(self) -> None:
        Descent(self.learning_rate)
        for name in ("order", "blocks", "longest", "hessian_samples", "lanczos_steps", "warm_up", "dense_steps"):
            least = 0 if name in ("warm_up", "dense_steps") else 1
            if getattr(self, name) < least:
                raise QupropError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("steps", "block_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise QupropError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.sparsity < 1:
            raise QupropError(f"sparsity is a share from 0 to below 1, got {self.sparsity}")
        if self.readout not in READOUTS:
            raise QupropError(f"readout is 'exact' or 'shots', got {self.readout!r}")
        for name in ("precision", "eps", "tolerance"):
            if not 0 < getattr(self, name) < 1:
                raise QupropError(f"{name} is between 0 and 1, got {getattr(self, name)}")
        solver_of(self.solver)


@dataclass(frozen=True, eq=False)
class Block:
    """One upload, its steps, one download.

    ``relative_error``  ||theta - theta_plain|| / ||theta_plain||, theta_plain: plain descent from the block's start
    ``update_error``    the same of what moved: ||u - u_plain|| / ||u_plain||
    ``drift``           distance of the loop's parameters from the twin's, over the twin's
    ``loss``, ``accuracy``        after the download; ``pruned_accuracy`` after the pruning before the upload
    ``kept``            parameters that survived, r; ``overlap`` of the prunable ones with those of the block before
    ``growth``          max |1 - a|: above 1 errors grow, and no convergence radius exists
    """

    step: int
    run: BlockRun
    cost: BlockCost
    kept: int
    overlap: float
    growth: float
    proxy: float
    relative_error: float
    update_error: float
    drift: float
    loss: float
    loss_before: float
    pruned_accuracy: float
    accuracy: float
    twin_accuracy: float
    plain_accuracy: float
    diverged: str | None

    def to_json(self) -> dict[str, Any]:
        names = (
            "step kept overlap growth proxy relative_error update_error drift loss_before loss pruned_accuracy "
            "accuracy twin_accuracy plain_accuracy diverged"
        )
        out = {name: _number(getattr(self, name)) for name in names.split()}
        return out | {"block_length": self.run.length, **self.run.to_json(), "cost": self.cost.to_json()}


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """``theta``: the last good parameters; ``warnings``: what was said before and during the run, in order."""

    settings: Loop
    network: str
    parameters: int
    theta: np.ndarray
    mask: Mask
    blocks: tuple[Block, ...]
    accuracy: float
    twin_accuracy: float
    plain_accuracy: float
    dense_accuracy: float
    ledger: QueryLedger
    warnings: tuple[str, ...] = field(default=())

    @property
    def reuploads(self) -> int:
        """Uploads after the first."""
        return max(0, len(self.blocks) - 1)

    @property
    def diverged(self) -> str | None:
        return self.blocks[-1].diverged if self.blocks else None


Trained = TrainedNetwork


def train(
    network: Network,
    data: Dataset,
    settings: Loop,
    rng: int | np.random.Generator,
    *,
    say: Callable[[str], None] | None = None,
    progress: Callable[[Block], None] | None = None,
    tick: Callable[[int, str], None] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 2.0,
) -> TrainedNetwork:
    """Run the loop from the network's present parameters; at the end `network` holds the result.

    ``out``, ``resume``  the run folder (:mod:`quprop.runs`), refused if it exists, or continued if `resume`: with a
                  checkpoint after every block, and every so many seconds of the warm-up. Where a run was cut does not
                  show in its result, to the last bit; what a cut block had done is done again.
    ``say``       called with each warning when it is due
    ``progress``  called after each block
    ``tick``      called along the way with the number of blocks done and what goes on
    """
    seed = int(rng) if isinstance(rng, int | np.integer) else None
    rng = generator_of(rng)
    x, y = data.train(network.precision)
    test = data.test(network.precision)
    if settings.batch_size is not None and not 1 <= settings.batch_size <= len(x):
        raise QupropError(f"the batch size is from 1 to the {len(x)} samples, got {settings.batch_size}")
    source = None if settings.batch_size is None else batches(x, y, settings.batch_size, rng)
    theta = network.parameters().astype(float)
    state = State(theta, theta, theta)

    def warn(text: str) -> None:
        state.warnings.append(text)
        if say is not None:
            say(text)

    def take(count: int) -> list[Any]:
        return [(x, y)] if source is None else list(islice(source, count))

    def at(what: str) -> None:
        if tick is not None:
            tick(len(state.blocks), what)

    # a layer without second derivatives is found before any work is done
    hessian_matvec(network, [(x[:2], y[:2])], operator="double-backward")(np.zeros(network.n_parameters))
    folder = open_folder(out, resume, network, data, settings, seed)
    saved = time.monotonic()

    def keep(*, now: bool) -> None:
        nonlocal saved
        if folder is not None and (now or time.monotonic() - saved >= checkpoint_seconds):
            save(folder, state, network, (x, y), rng, source)
            saved = time.monotonic()

    try:
        if folder is not None:
            found = restore(folder, network, (x, y), rng, source, Block)
            state = state if found is None else found
            if found is None:
                keep(now=True)
        _loop(network, (x, y), test, settings, rng, state, take, at, warn, keep, progress, folder)
    finally:
        if folder is not None:
            folder.close()
    assert state.kept is not None
    mask = Mask(state.kept, mask_at(network, state.theta, settings.sparsity).layers)
    accuracies = [accuracy_at(network, p, test) for p in (state.twin, state.plain, state.theta)]
    network.set_parameters(state.theta.copy())
    return TrainedNetwork(
        settings,
        network.name,
        network.n_parameters,
        state.theta,
        mask,
        tuple(state.blocks),
        accuracies[2],
        accuracies[0],
        accuracies[1],
        state.dense_accuracy,
        state.ledger,
        tuple(state.warnings),
    )


def _loop(
    network: Network,
    data: tuple[Any, Any],
    test: tuple[Any, Any],
    settings: Loop,
    rng: np.random.Generator,
    state: State,
    take: Callable[[int], list[Any]],
    at: Callable[[str], None],
    warn: Callable[[str], None],
    keep: Callable[..., None],
    progress: Callable[[Block], None] | None,
    folder: RunFolder | None,
) -> None:
    """From where `state` is to the end."""
    rate, blocks = settings.learning_rate, state.blocks
    while state.warmed < settings.warm_up:
        at(f"warm-up: step {state.warmed} of {settings.warm_up}")
        count = min(20, settings.warm_up - state.warmed)
        state.theta = _finite(descend(network, state.theta, take(count), count, rate), "plain training", rate)
        state.twin = state.plain = state.theta
        state.warmed += count
        state.ledger = state.ledger + QueryLedger(classical_steps=count)
        keep(now=False)
    if not blocks:
        state.dense_accuracy = accuracy_at(network, state.theta, test)
    while len(blocks) < settings.blocks and (settings.steps is None or state.done < settings.steps):
        if blocks and blocks[-1].diverged is not None:
            break
        mask = mask_at(network, state.theta, settings.sparsity)
        before = None if state.kept is None else Mask(state.kept, mask.layers)
        theta = state.theta * mask.kept
        twin_mask = mask_at(network, state.twin, settings.sparsity)
        twin = state.twin * twin_mask.kept
        pruned_accuracy, loss_before = accuracy_at(network, theta, test), loss_at(network, theta, data)
        most = settings.block_length or settings.longest
        if settings.steps is not None:
            most = min(most, settings.steps - state.done)
        chosen = take(most)
        dynamics, kept = block_dynamics(network, theta, mask, chosen, settings)
        name = f"block {len(blocks) + 1}"
        at(f"{name}: Hessian of {len(kept):,} parameters")
        spectrum = block_spectrum(network, theta, mask, data, settings, seed=1)
        descent = Descent(rate)
        growth = proxies.growth(spectrum, descent)
        if not blocks and growth >= 1:
            warn(
                f"before the run: max |1 - a| = {growth:.4g} is not below 1, so no radius of convergence is proved and "
                "the error of a block is bounded for a finite number of steps only"
            )
        if settings.block_length is None:
            most = max(1, min(most, proxies.block_length(spectrum, descent, settings.tolerance, most)))
        run, cost = run_block(
            dynamics,
            kept,
            len(theta),
            most,
            settings,
            rng,
            growth=growth,
            say=lambda text: warn(f"{name}: {text}"),
            tick=lambda t, of: at(f"{name}: step {t} of at most {of}"),
        )
        at(f"{name}: plain descent beside it")
        exact = deque(dynamics.trajectory(np.zeros(len(kept)), run.length), maxlen=1)[0]
        moved = theta.copy()
        moved[kept] += run.update
        target = theta.copy()
        target[kept] += exact
        loss = loss_at(network, moved, data)
        diverged = _verdict(run, loss, loss_before)
        twin = descend(network, twin, chosen, run.length, rate, twin_mask.kept)
        plain = descend(network, state.plain, chosen, run.length, rate)
        block = Block(
            step=state.done,
            run=run,
            cost=cost,
            kept=len(kept),
            overlap=1.0 if before is None else mask.overlap(before),
            growth=growth,
            proxy=float(proxies.frozen(spectrum, descent, [run.length]).values[0]),
            relative_error=_relative(moved, target),
            update_error=_relative(run.update, exact),
            drift=_relative(moved, twin),
            loss=loss,
            loss_before=loss_before,
            pruned_accuracy=pruned_accuracy,
            accuracy=accuracy_at(network, moved, test),
            twin_accuracy=accuracy_at(network, twin, test),
            plain_accuracy=accuracy_at(network, plain, test),
            diverged=diverged,
        )
        blocks.append(block)
        if diverged is not None:
            warn(f"{name} diverged ({diverged}); the run stops with the parameters of its upload")
        if progress is not None:
            progress(block)
        state.theta, state.twin, state.plain = theta if diverged is not None else moved, twin, plain
        state.done, state.kept, state.ledger = state.done + run.length, mask.kept, state.ledger + cost.ledger
        last = len(blocks) == settings.blocks or (settings.steps is not None and state.done >= settings.steps)
        if settings.dense_steps and not last and diverged is None:
            between = take(settings.dense_steps)
            dense, state.twin, state.plain = (
                descend(network, p, between, settings.dense_steps, rate) for p in (state.theta, twin, plain)
            )
            if np.isfinite(dense).all():
                state.theta = dense
                state.ledger = state.ledger + QueryLedger(classical_steps=settings.dense_steps)
            else:
                why = f"the dense steps after it did at learning rate {rate:g}"
                blocks[-1] = replace(blocks[-1], diverged=why)
                warn(f"block {len(blocks)} was the last ({why}); the run stops with what it downloaded")
        if folder is not None:
            folder.append_metrics(blocks[-1].to_json())
        keep(now=True)


def mask_at(network: Network, theta: np.ndarray, sparsity: float) -> Mask:
    """The global L1 mask at theta (n,)."""
    network.set_parameters(theta.copy())
    return global_mask(network.module, sparsity)


def block_dynamics(
    network: Network, theta: np.ndarray, mask: Mask, data: Sequence[tuple[Any, Any]], settings: Loop
) -> tuple[Dynamics, np.ndarray]:
    """Descent of the survivors expanded at theta (n,), one map a batch, and their indices (r,)."""
    network.set_parameters(theta.copy())
    whole = from_torch(
        network.module,
        network.loss,
        list(data),
        learning_rate=settings.learning_rate,
        order=settings.order,
        weight_decay=network.weight_decay,
        micro_batch=512,
    )
    kept = np.flatnonzero(mask.kept)
    return Dynamics([Restricted(step, kept) for step in whole.maps]), kept


def block_spectrum(
    network: Network, theta: np.ndarray, mask: Mask, data: tuple[Any, Any], settings: Loop, seed: int
) -> Spectrum:
    """Spectrum of the survivors' Hessian on the first training samples, weight decay included."""
    network.set_parameters(theta.copy())
    samples = settings.hessian_samples
    pieces = split_batches(data[0][:samples], data[1][:samples], 256)
    product = hessian_matvec(network, pieces, operator="double-backward")
    kept = np.flatnonzero(mask.kept)

    def restricted(v: np.ndarray) -> np.ndarray:
        whole = np.zeros(len(theta), v.dtype)
        whole[kept] = v
        return np.asarray(product(whole)[kept])

    return spectrum_of(
        restricted,
        len(kept),
        np.random.default_rng(seed),
        steps=settings.lanczos_steps,
        probes=1,
        precision=network.precision,
    )


def _verdict(run: BlockRun, loss: float, before: float) -> str | None:
    if run.diverged is not None:
        return f"its linear system left all bounds at step {run.diverged + 1}"
    if not np.isfinite(loss):
        return "its loss is not finite"
    if loss > WORSE * before + SLACK:
        return f"its loss grew from {before:.3g} to {loss:.3g}"
    return None


def _finite(theta: np.ndarray, what: str, rate: float) -> np.ndarray:
    if not np.isfinite(theta).all():
        raise QupropError(f"{what} diverged at learning rate {rate:g}; lower it")
    return theta


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _relative(found: np.ndarray, truth: np.ndarray) -> float:
    size = float(np.linalg.norm(truth))
    return float(np.linalg.norm(found - truth)) / size if size else float(np.linalg.norm(found))
