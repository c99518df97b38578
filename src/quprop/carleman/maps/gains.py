"""Norms of a network's step matrices at a point, estimated from products alone: what radius.py needs.

G_0 = -eta grad, G_1 = 1 - eta H and G_k = -(eta/k!) D^{k+1} L for k >= 2, H and grad with weight decay. |G_1| comes
from the ends of the spectrum. For k >= 2 two numbers are given:

``lower``  max over |u| = 1 of |G_k u^(tensor k)|, by the symmetric power method from several starts (De Lathauwer, De
           Moor and Vandewalle 2000): what the map itself can do, a lower bound on |G_k|
``upper``  the largest singular value of G_k from samples: for independent standard normal z_1..z_k the covariance of
           G_k (z_1, ..., z_k) is G_k G_k', so the largest eigenvalue of the mean over samples has at least |G_k|^2 as
           expectation (Jensen): on the safe side, the more so the fewer the samples
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np

from quprop.carleman.networks.networks import Network
from quprop.carleman.spectra.hessian import Batches, derivative, gradient_and_loss
from quprop.carleman.spectra.proxy import Descent
from quprop.carleman.spectra.spectrum import Spectrum
from quprop.errors import QupropError, generator_of


@dataclass(frozen=True, eq=False)
class Gains:
    """Estimates of |G_k|, k = 0, 1, ...; ``lower`` and ``upper`` (order + 1,) agree for k < 2."""

    lower: np.ndarray
    upper: np.ndarray


def step_gains(
    network: Network,
    data: Batches,
    spectrum: Spectrum,
    descent: Descent,
    rng: int | np.random.Generator,
    *,
    order: int = 2,
    samples: int = 16,
    starts: int = 2,
    iterations: int = 8,
    precision: str = "double",
    progress: Callable[[int, int], None] | None = None,
) -> Gains:
    """Gains of one step of plain descent on the mean loss over `data`, whose Hessian has `spectrum` (weight decay
    included).

    ``order``    the largest k. A network that is no polynomial has G_k of every k; those beyond are not seen
    ``samples``, ``starts``, ``iterations``  of the estimates; each costs one contraction of order k for every sample
                 and for every iteration of every start
    ``progress`` called with contractions done and planned
    """
    if descent.momentum:
        raise QupropError("gains are of plain descent, got momentum; a norm for momentum is maps.lyapunov.best_norm")
    if descent.weight_decay:
        raise QupropError("weight decay belongs to the network and its spectrum here: leave it out of Descent")
    if order < 1:
        raise QupropError(f"order must be at least 1, got {order}")
    rng = generator_of(rng)
    eta = descent.learning_rate
    gradient, _ = gradient_and_loss(network, data)
    linear = float(descent.factors(np.array([spectrum.least, spectrum.greatest])).max())
    lower, upper = [eta * float(np.linalg.norm(gradient)), linear], [eta * float(np.linalg.norm(gradient)), linear]
    product = derivative(network, data)
    planned, spent = max(0, order - 1) * (starts * iterations + samples), 0

    def contract(directions: Sequence[np.ndarray]) -> np.ndarray:
        nonlocal spent
        if progress is not None:
            progress(spent, planned)
        spent += 1
        return product(directions)

    dtype = np.float64 if precision == "double" else np.float32
    for k in range(2, order + 1):
        scale = eta / factorial(k)

        def power(u: np.ndarray, k: int = k) -> np.ndarray:
            return contract([u] * k)

        lower.append(scale * multilinear_norm(power, network.n_parameters, rng, starts, iterations, dtype))
        rows = np.stack(
            [
                contract([rng.standard_normal(network.n_parameters).astype(dtype) for _ in range(k)])
                for _ in range(samples)
            ]
        )
        gram = rows.astype(np.float64, copy=False) @ rows.T / samples  # (samples, samples)
        upper.append(max(scale * float(np.sqrt(np.linalg.eigvalsh(gram)[-1])), lower[-1]))
    return Gains(np.array(lower), np.array(upper))


def multilinear_norm(
    power: Callable[[np.ndarray], np.ndarray],
    dimension: int,
    rng: np.random.Generator,
    starts: int,
    iterations: int,
    dtype: type = np.float64,
) -> float:
    """The largest |T u^k| met by u <- T u^k / |T u^k| from random starts."""
    best = 0.0
    for _ in range(starts):
        u: np.ndarray = rng.standard_normal(dimension).astype(dtype)
        for _ in range(iterations):
            u = u / np.linalg.norm(u)
            u = power(u)
            size = float(np.linalg.norm(u))
            best = max(best, size)
            if size == 0 or not np.isfinite(size):
                break
    return best
