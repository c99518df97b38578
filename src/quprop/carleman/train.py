"""The whole loop: train a little, prune, upload, run a block of steps as one linear system, download, prune again.

    result = train(network, data, Loop(learning_rate=0.5, blocks=8), rng=0)
    print(result.accuracy, result.plain_accuracy, result.reuploads)

A block expands gradient descent at its own start theta_0, so the upload is the gradient on the surviving parameters and
the download is the update u(T); theta_0 stays classical. Within a block only the survivors move: upload, linear system
and download are as sparse as the network (`Loop.masked`; else all move). With momentum the velocity is uploaded and
downloaded too, and known classically in between; where the pruned do not move, theirs is dropped.
Beside it run, classically: the same loop with descent in place of the linear system (the twin), and descent of the
whole network, not pruned, for as many steps, all with the same momentum.

(Liu et al., Nat. Commun. 15, 434 (2024), workflow of figure 1; they never run the linear system itself.)
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from quprop.carleman.block import BlockRun, run_block
from quprop.carleman.block_cost import BlockCost
from quprop.carleman.checkpoint import State, open_folder, restore, save
from quprop.carleman.loop import Block, Loop, Trained, TrainedNetwork
from quprop.carleman.maps.dynamics import Dynamics
from quprop.carleman.maps.smooth import check_expandable, crossed
from quprop.carleman.networks.data import Dataset, batches
from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.plain import accuracy_at, descend, loss_at
from quprop.carleman.networks.prune import Mask, global_mask, kept_in_words
from quprop.carleman.spectra import proxy as proxies
from quprop.carleman.spectra.hessian import check_derivatives, split_batches
from quprop.carleman.spectra.spectrum import Spectrum
from quprop.carleman.spectra.survivors import survivors_dynamics, survivors_spectrum
from quprop.carleman.transfer.queries import QueryLedger
from quprop.errors import QupropError, generator_of
from quprop.runs import RunFolder

__all__ = [
    "Block",
    "Loop",
    "Trained",
    "TrainedNetwork",
    "block_dynamics",
    "block_spectrum",
    "mask_at",
    "train",
    "uploaded",
]

WORSE = 1.5  # a block whose loss grew by this factor and by SLACK has diverged
SLACK = 0.05


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
    watch: Callable[[str, dict[str, np.ndarray]], None] | None = None,
) -> TrainedNetwork:
    """Run the loop from the network's present parameters; at the end `network` holds the result.

    ``out``, ``resume``  the run folder (:mod:`quprop.runs`), refused if it exists, or continued if `resume`: with a
                  checkpoint after every block, and every so many seconds of the warm-up. Where a run was cut does not
                  show in its result, to the last bit; what a cut block had done is done again.
    ``say``       called with each warning when it is due
    ``progress``  called after each block
    ``tick``      called along the way with the number of blocks done and what goes on
    ``watch``     called in every block "before" its pruning, when "pruned" and when "downloaded", with the parameters
                  (n,) of the "loop", the "twin" and "plain" descent at that moment; what it draws is its own
    """
    seed = int(rng) if isinstance(rng, int | np.integer) else None
    run = _Run(network, data, settings, generator_of(rng), say, progress, tick, watch)
    run.check_layers()
    folder = open_folder(out, resume, network, data, settings, seed)
    try:
        if folder is not None:
            run.keep_in(folder, checkpoint_seconds)
        run.warm_up()
        while run.goes_on():
            run.block()
            if settings.dense_steps and run.goes_on():
                run.dense_steps()
            run.record()
    finally:
        if folder is not None:
            folder.close()
    return run.result()


class _Start(NamedTuple):
    """What a block begins with: the loop and its twin, each pruned, with what moves (n,), and what pruning left of the
    loop."""

    mask: Mask
    theta: np.ndarray
    moving: np.ndarray
    twin: np.ndarray
    twin_moving: np.ndarray
    accuracy: float
    loss: float


class _Run:
    """A loop under way: what it works on, where it is, where it is kept, whom it tells."""

    def __init__(
        self,
        network: Network,
        data: Dataset,
        settings: Loop,
        rng: np.random.Generator,
        say: Callable[[str], None] | None,
        progress: Callable[[Block], None] | None,
        tick: Callable[[int, str], None] | None,
        watch: Callable[[str, dict[str, np.ndarray]], None] | None,
    ) -> None:
        if settings.weight_decay is not None:
            network = replace(network, weight_decay=settings.weight_decay)  # of the same module
        self.network, self.settings, self.rng, self.n = network, settings, rng, network.n_parameters
        self._say, self._progress, self._tick, self._watch = say, progress, tick, watch
        self.data, self.test = data.train(network.precision), data.test(network.precision)
        x, y = self.data
        if settings.batch_size is not None and not 1 <= settings.batch_size <= len(x):
            raise QupropError(f"the batch size is from 1 to the {len(x)} samples, got {settings.batch_size}")
        self.source = None if settings.batch_size is None else batches(x, y, settings.batch_size, rng)
        theta = network.parameters().astype(float)
        if settings.momentum:
            theta = np.concatenate([theta, np.zeros(self.n)])
        self.state = State(theta, theta, theta)
        self._folder: RunFolder | None = None
        self._seconds, self._saved = 0.0, 0.0

    def check_layers(self) -> None:
        """What has no Taylor series or no derivatives is found before any work is done."""
        x, y = self.data
        check_expandable(self.network.module, self.network.loss, self.data)
        check_derivatives(self.network, (x[:4], y[:4]))

    def keep_in(self, folder: RunFolder, seconds: float) -> None:
        """Begin the run of this folder, or go on where its checkpoint is."""
        self._folder, self._seconds, self._saved = folder, seconds, time.monotonic()
        found = restore(folder, self.network, self.data, self.rng, self.source, self.settings.momentum)
        if found is None:
            self._checkpoint()
        else:
            self.state = found

    def goes_on(self) -> bool:
        """Whether a block is still to come."""
        blocks, steps = self.state.blocks, self.settings.steps
        if len(blocks) >= self.settings.blocks or (steps is not None and self.state.done >= steps):
            return False
        return not blocks or blocks[-1].diverged is None

    def warm_up(self) -> None:
        """Plain dense steps, the same for the loop and for what runs beside it."""
        state, rate, count = self.state, self.settings.learning_rate, self.settings.warm_up
        while state.warmed < count:
            self._at(f"warm-up: step {state.warmed} of {count}")
            piece = min(20, count - state.warmed)
            found = self._descend(state.theta, self._take(piece), piece)
            state.theta = state.twin = state.plain = _finite(found, "plain training", rate)
            state.warmed += piece
            state.ledger = state.ledger + QueryLedger(classical_steps=piece)
            if time.monotonic() - self._saved >= self._seconds:
                self._checkpoint()
        if not state.blocks:
            state.dense_accuracy = accuracy_at(self.network, state.theta[: self.n], self.test)

    def block(self) -> None:
        """Prune, upload, run the linear system, download; and the same steps of plain descent."""
        state, settings, name = self.state, self.settings, f"block {len(self.state.blocks) + 1}"
        start = self._pruned()
        most = settings.block_length or settings.longest
        if settings.steps is not None:
            most = min(most, settings.steps - state.done)
        chosen = self._take(most)
        theta, moving = start.theta[: self.n], Mask(start.moving, start.mask.layers)
        dynamics, kept = block_dynamics(self.network, theta, moving, chosen, settings)
        self._at(f"{name}: Hessian of {moving.n_kept:,} parameters")
        spectrum = block_spectrum(self.network, theta, moving, self.data, settings, seed=1)
        descent = settings.descent
        growth = proxies.growth(spectrum, descent)
        if not state.blocks and growth >= 1:
            self._warn(
                f"before the run: {'the largest root' if settings.momentum else 'max |1 - a|'} = {growth:.4g} is not "
                "below 1, so no radius of convergence is proved and the error of a block is bounded for a finite "
                "number of steps only"
            )
        begin = (start.theta - self._centre(start.theta))[kept]
        run, cost = run_block(
            dynamics,
            kept,
            len(start.theta),
            most,
            settings,
            self.rng,
            growth=descent.norms(spectrum.nodes, most) if descent.momentum else growth,
            say=lambda text: self._warn(f"{name}: {text}"),
            tick=lambda t, of: self._at(f"{name}: step {t} of at most {of}"),
            start=begin,
            gradient_ops=3 * self.n * len(chosen[0][0]),
        )
        self._at(f"{name}: plain descent beside it")
        exact = deque(dynamics.trajectory(begin, run.length), maxlen=1)[0]
        proxy = float(proxies.frozen(spectrum, descent, [run.length]).values[0])
        self._downloaded(start, run, cost, chosen, exact, growth, proxy)

    def dense_steps(self) -> None:
        """Plain steps of all parameters between a download and the next upload."""
        state, count, rate = self.state, self.settings.dense_steps, self.settings.learning_rate
        between = self._take(count)
        dense, state.twin, state.plain = (
            self._descend(p, between, count) for p in (state.theta, state.twin, state.plain)
        )
        if np.isfinite(dense).all():
            state.theta = dense
            state.ledger = state.ledger + QueryLedger(classical_steps=count)
            return
        why = f"the dense steps after it did at learning rate {rate:g}"
        state.blocks[-1] = replace(state.blocks[-1], diverged=why)
        self._warn(f"block {len(state.blocks)} was the last ({why}); the run stops with what it downloaded")

    def record(self) -> None:
        """A line of the metrics for the last block, and a checkpoint."""
        if self._folder is not None:
            self._folder.append_metrics(self.state.blocks[-1].to_json())
        self._checkpoint()

    def result(self) -> TrainedNetwork:
        network, state = self.network, self.state
        assert state.kept is not None
        theta = state.theta[: self.n]
        mask = Mask(state.kept, mask_at(network, theta, self.settings.sparsity).layers)
        twin, plain, accuracy = (
            accuracy_at(network, p[: self.n], self.test) for p in (state.twin, state.plain, state.theta)
        )
        network.set_parameters(theta.copy())
        return TrainedNetwork(
            replace(self.settings, weight_decay=network.weight_decay),
            network.name,
            network.n_parameters,
            theta,
            mask,
            tuple(state.blocks),
            accuracy,
            twin,
            plain,
            state.dense_accuracy,
            state.ledger,
            tuple(state.warnings),
            kept_in_words(network.module, mask, self.settings.sparsity),
        )

    def _pruned(self) -> _Start:
        network, state = self.network, self.state
        self._show("before", state.theta, state.twin, state.plain)
        mask, theta, moving = uploaded(network, state.theta, self.settings)
        _, twin, twin_moving = uploaded(network, state.twin, self.settings)
        self._show("pruned", theta, twin, state.plain)
        accuracy, loss = accuracy_at(network, theta[: self.n], self.test), loss_at(network, theta[: self.n], self.data)
        return _Start(mask, theta, moving, twin, twin_moving, accuracy, loss)

    def _centre(self, theta: np.ndarray) -> np.ndarray:
        """The state that a block is expanded at: these parameters at rest."""
        centre = theta.copy()
        centre[self.n :] = 0
        return centre

    def _descend(
        self, theta: np.ndarray, data: Sequence[tuple[Any, Any]], steps: int, moving: np.ndarray | None = None
    ) -> np.ndarray:
        settings = self.settings
        return descend(self.network, theta, data, steps, settings.learning_rate, moving, settings.momentum)

    def _downloaded(
        self,
        start: _Start,
        run: BlockRun,
        cost: BlockCost,
        chosen: Sequence[tuple[Any, Any]],
        exact: np.ndarray,
        growth: float,
        proxy: float,
    ) -> None:
        """What the block came to, beside its `exact` update, the twin and plain descent; the state after it."""
        network, state, test, n = self.network, self.state, self.test, self.n
        kept, r = _numbers(start.moving, self.settings), int(np.count_nonzero(start.moving))
        moved, target = self._centre(start.theta), self._centre(start.theta)
        moved[kept] += run.update
        target[kept] += exact
        loss = loss_at(network, moved[:n], self.data)
        over = crossed(network, start.theta[:n], target[:n], self.data)
        if over:
            self._warn(
                f"block {len(state.blocks) + 1}: {over} residuals cross the kink of the loss, which the "
                "expansion at the block's start does not see"
            )
        diverged = _verdict(run, loss, start.loss)
        twin = self._descend(start.twin, chosen, run.length, start.twin_moving)
        plain = self._descend(state.plain, chosen, run.length)
        self._show("downloaded", moved, twin, plain)
        block = Block(
            step=state.done,
            run=run,
            cost=cost,
            kept=start.mask.n_kept,
            overlap=1.0 if state.kept is None else start.mask.overlap(Mask(state.kept, start.mask.layers)),
            growth=growth,
            proxy=proxy,
            relative_error=_relative(moved[:n], target[:n]),
            update_error=_relative(run.update[:r], exact[:r]),
            drift=_relative(moved[:n], twin[:n]),
            loss=loss,
            loss_before=start.loss,
            pruned_accuracy=start.accuracy,
            accuracy=accuracy_at(network, moved[:n], test),
            twin_accuracy=accuracy_at(network, twin[:n], test),
            plain_accuracy=accuracy_at(network, plain[:n], test),
            diverged=diverged,
        )
        state.blocks.append(block)
        if diverged is not None:
            self._warn(
                f"block {len(state.blocks)} diverged ({diverged}); the run stops with the parameters of its upload"
            )
        if self._progress is not None:
            self._progress(block)
        state.theta, state.twin, state.plain = start.theta if diverged is not None else moved, twin, plain
        state.done, state.kept, state.ledger = state.done + run.length, start.mask.kept, state.ledger + cost.ledger

    def _take(self, count: int) -> list[Any]:
        """The batches of so many steps; the whole training set serves any number."""
        return [self.data] if self.source is None else list(islice(self.source, count))

    def _warn(self, text: str) -> None:
        self.state.warnings.append(text)
        if self._say is not None:
            self._say(text)

    def _at(self, what: str) -> None:
        if self._tick is not None:
            self._tick(len(self.state.blocks), what)

    def _show(self, moment: str, loop: np.ndarray, twin: np.ndarray, plain: np.ndarray) -> None:
        if self._watch is not None:
            states = {"loop": loop, "twin": twin, "plain": plain}
            self._watch(moment, {name: state[: self.n].copy() for name, state in states.items()})

    def _checkpoint(self) -> None:
        if self._folder is not None:
            save(self._folder, self.state, self.network, self.data, self.rng, self.source)
            self._saved = time.monotonic()


def mask_at(network: Network, theta: np.ndarray, sparsity: float) -> Mask:
    """The global L1 mask at theta (n,)."""
    network.set_parameters(theta.copy())
    return global_mask(network.module, sparsity)


def uploaded(network: Network, state: np.ndarray, settings: Loop) -> tuple[Mask, np.ndarray, np.ndarray]:
    """What pruning leaves of a state theta (n,) or (theta, w) (2 n,), and which parameters (n,) move from there: where
    none does, there is no velocity either."""
    n = network.n_parameters
    mask = mask_at(network, state[:n], settings.sparsity)
    moving = mask.kept if settings.masked else np.ones(n, bool)
    return mask, state * np.concatenate([mask.kept, moving])[: len(state)], moving


def block_dynamics(
    network: Network, theta: np.ndarray, mask: Mask, data: Sequence[tuple[Any, Any]], settings: Loop
) -> tuple[Dynamics, np.ndarray]:
    """Descent of what ``mask`` keeps, expanded at theta (n,), one map a batch, and its indices: (r,), with momentum
    those (2 r,) in the state (u, w) of all parameters."""
    network.set_parameters(theta.copy())
    kept = np.flatnonzero(mask.kept)
    given = {"learning_rate": settings.learning_rate, "momentum": settings.momentum}
    return survivors_dynamics(network, kept, data, order=settings.order, **given), _numbers(mask.kept, settings)


def block_spectrum(
    network: Network, theta: np.ndarray, mask: Mask, data: tuple[Any, Any], settings: Loop, seed: int
) -> Spectrum:
    """Spectrum of the Hessian of what ``mask`` keeps, on the first training samples, weight decay included."""
    network.set_parameters(theta.copy())
    samples = settings.hessian_samples
    return survivors_spectrum(
        network,
        np.flatnonzero(mask.kept),
        split_batches(data[0][:samples], data[1][:samples], 256),
        seed,
        lanczos_steps=settings.lanczos_steps,
        probes=1,
    )


def _numbers(moving: np.ndarray, settings: Loop) -> np.ndarray:
    """Indices of what moves (n,) in the state of descent: parameters, and with momentum their velocities."""
    return np.flatnonzero(np.tile(moving, 2 if settings.momentum else 1))


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


def _relative(found: np.ndarray, truth: np.ndarray) -> float:
    size = float(np.linalg.norm(truth))
    return float(np.linalg.norm(found - truth)) / size if size else float(np.linalg.norm(found))
