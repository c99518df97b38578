"""What pruning leaves: descent of the surviving parameters alone, and the spectrum of their Hessian.

Within a block only survivors move, so growth, error proxy, norms of step matrices and truncation error are those of
this map; the Hessian of all parameters has other eigenvalues.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quprop.carleman.maps.dynamics import Dynamics
from quprop.carleman.maps.torch_map import from_torch
from quprop.carleman.networks.networks import Network
from quprop.carleman.spectra.hessian import ALIVE, Batches, hessian_matvec
from quprop.carleman.spectra.spectrum import Spectrum, spectrum_of

PIECE = 512  # samples whose activations are alive at a time, fewer in large networks (`hessian.ALIVE`)


def survivors_dynamics(
    network: Network,
    kept: np.ndarray,
    data: Sequence[tuple[Any, Any]],
    *,
    learning_rate: float,
    order: int,
    momentum: float = 0.0,
) -> Dynamics:
    """Descent of the parameters ``kept`` (r,), with momentum of their (u, w) (2 r,), expanded at the network's present
    ones at rest, one map a batch of ``data``."""
    return from_torch(
        network.module,
        network.loss,
        list(data),
        learning_rate=learning_rate,
        order=order,
        kept=kept,
        weight_decay=network.weight_decay,
        momentum=momentum,
        micro_batch=max(1, min(PIECE, int(ALIVE / network.n_parameters))),
    )


class SurvivorsProduct:
    """v (r,) -> H v (r,), H the rows and columns ``kept`` (r,) of the Hessian on ``data``, weight decay included;
    ``operator`` see `hessian_matvec`."""

    def __init__(self, network: Network, kept: np.ndarray, data: Batches, *, operator: str = "auto") -> None:
        self._whole, self._kept = hessian_matvec(network, data, operator=operator), kept
        self._n = network.n_parameters

    @property
    def operator(self) -> str:
        return self._whole.operator

    def __call__(self, v: np.ndarray) -> np.ndarray:
        whole = np.zeros(self._n, v.dtype)
        whole[self._kept] = v
        return np.asarray(self._whole(whole)[self._kept])


def survivors_spectrum(
    network: Network,
    kept: np.ndarray,
    data: Batches,
    rng: int | np.random.Generator,
    *,
    lanczos_steps: int,
    probes: int,
    operator: str = "auto",
    precision: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Spectrum:
    """Spectrum of the rows and columns ``kept`` (r,) of the Hessian on ``data``, weight decay included.

    ``lanczos_steps``, ``probes``, ``precision`` (default: the network's)  see `spectrum_of`; ``operator`` see
    `hessian_matvec`
    """
    return spectrum_of(
        SurvivorsProduct(network, kept, data, operator=operator),
        len(kept),
        rng,
        steps=min(lanczos_steps, len(kept)),
        probes=probes,
        precision=precision or network.precision,
        progress=progress,
    )
