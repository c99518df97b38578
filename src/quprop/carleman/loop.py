"""The loop of `train` as data: its settings, what a block came to, what a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.carleman.block import BlockRun
from quprop.carleman.block_cost import BlockCost, solver_of
from quprop.carleman.networks.prune import Mask
from quprop.carleman.spectra.proxy import Descent
from quprop.carleman.transfer.queries import QueryLedger
from quprop.errors import QupropError

READOUTS = ("exact", "shots")


@dataclass(frozen=True)
class Loop:
    """Settings of the loop.

    ``learning_rate``  eta of every step
    ``order``          N, at which the tower is truncated
    ``blocks``         uploads; ``steps``, if given, ends the run after so many linearised steps
    ``block_length``   T, or None: each block runs until its measured truncation error passes `tolerance`
    ``longest``        of such a block
    ``tolerance``      of that error, ||u - u_plain|| / ||u_plain||; a block of given length that passes it is said
    ``warm_up``        plain dense steps before the first pruning
    ``sparsity``       share of prunable weights removed at every upload
    ``dense_steps``    plain steps of all parameters between a download and the next upload (needs quantum memory)
    ``readout``        "exact": the update as the state holds it; "shots": read from `precision`'s copies
    ``precision``      delta of the l2 readout, relative to the update (with momentum to (u, w)): error <= sqrt(7) delta
    ``solver``, ``eps``  of the linear system, see `solver.SOLVERS`
    ``batch_size``     None: the whole training set in every step; else mini-batches, a step map each
    ``hessian_samples``, ``lanczos_steps``  of the Hessian of what moves, which is measured at every upload by twice as
                       many products
    ``momentum``       b of the heavy ball; the linear system then has the state (u, w) of 2 r numbers, w the last
                       change times -1 (`maps.dynamics.Momentum`), zero at the very start and carried from then on: a
                       block loads it and reads it beside the update
    ``weight_decay``   w of the term w/2 |theta|^2; None: the network's
    ``masked``         True: only what survived the pruning moves within a block; False: all parameters do, as in the
                       authors' runs, so that a block begins sparse, ends dense, and is pruned again by the next upload
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
    momentum: float = 0.0
    weight_decay: float | None = None
    masked: bool = True

    def __post_init__(self) -> None:
        Descent(self.learning_rate, self.momentum)
        if self.weight_decay is not None and not 0 <= self.weight_decay < np.inf:
            raise QupropError(f"weight_decay is finite and at least 0, got {self.weight_decay}")
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

    @property
    def descent(self) -> Descent:
        """Of a spectrum that holds the weight decay already."""
        return Descent(self.learning_rate, self.momentum)


@dataclass(frozen=True, eq=False)
class Block:
    """One upload, its steps, one download.

    ``relative_error``  ||theta - theta_plain|| / ||theta_plain||, theta_plain: plain descent from the block's start
    ``update_error``    the same of what moved: ||u - u_plain|| / ||u_plain||
    ``drift``           distance of the loop's parameters from the twin's, over the twin's
    ``loss``, ``accuracy``        after the download; ``pruned_accuracy`` after the pruning before the upload
    ``kept``            parameters that survived, which are r, those that move, unless the block is not masked;
                        ``overlap`` of the prunable ones with those of the block before
    ``growth``          max |1 - a|, with momentum the largest root (`Descent.factors`): above 1 errors grow, and no
                        convergence radius exists
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
    """``settings``: those asked for, with the weight decay that was used; ``theta`` (n,): the last good parameters;
    ``mask``: of the last upload, ``pruning``: the same layer by layer (`kept_in_words`); ``warnings``: what was said
    before and during the run, in order."""

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
    pruning: dict[str, Any] = field(default_factory=dict)

    @property
    def reuploads(self) -> int:
        """Uploads after the first."""
        return max(0, len(self.blocks) - 1)

    @property
    def diverged(self) -> str | None:
        return self.blocks[-1].diverged if self.blocks else None


Trained = TrainedNetwork


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
