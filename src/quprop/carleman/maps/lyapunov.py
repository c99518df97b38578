"""Other norms for the same map: |x|_P = sqrt(x' P x) in place of |x|, to enlarge the convergence radius.

Any positive definite P with |G_1|_P < 1 makes its own criterion R_P < 1 (Jennings et al., arXiv:2509.07155): with
S = P^(1/2) the map in the variable S delta has step matrices S G_k (S^-1)^(tensor k), and radius.py applies to their
norms. For gradient descent with momentum G_1 is not normal and |G_1| > 1 though its powers decay, so the usual norm
proves nothing and a P is needed. For plain descent G_1 is symmetric, and a P that commutes with it changes the
nonlinear norms only. A negative Hessian eigenvalue no norm can mend. All matrices are dense here: for n up to a few
hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from quprop.carleman.maps.radius import Radius, convergence_radius, nonlinearity_ratio
from quprop.errors import QupropError

RATES = 24  # rates between the spectral radius and 1 that are tried
POWERS = np.linspace(-2, 2, 17)  # powers of |H| tried where G_1 is symmetric


@dataclass(frozen=True, eq=False)
class Norm:
    """A matrix P (n, n), the norms of the step matrices in it, the radius they give, and R_P at the deviation asked for
    (|delta|_P, which is ``deviation``)."""

    matrix: np.ndarray
    gains: np.ndarray
    radius: Radius
    deviation: float
    ratio: float


def gains_in(matrix: np.ndarray, tensors: Sequence[np.ndarray]) -> np.ndarray:
    """Norms |P^(1/2) G_k (P^(-1/2))^(tensor k)| of step matrices G_k (n, n^k), G_0 (n,) or (n, 1)."""
    values, vectors = np.linalg.eigh(matrix)
    if values[0] <= 0:
        raise QupropError(f"P must be positive definite, its least eigenvalue is {values[0]:.3g}")
    root, inverse = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T
    n = len(matrix)
    gains = []
    for k, tensor in enumerate(tensors):
        moved = np.asarray(tensor, float).reshape((n,) * (k + 1))
        for axis in range(1, k + 1):
            moved = np.moveaxis(np.tensordot(inverse, moved, (0, axis)), 0, axis)
        flat = np.tensordot(root, moved, 1).reshape(n, -1)
        gains.append(np.linalg.norm(flat, 2))
    return np.array(gains)


def lyapunov_matrix(linear: np.ndarray, rate: float) -> np.ndarray:
    """P with G_1' P G_1 = rate^2 (P - 1), so |G_1|_P < rate; `rate` exceeds the spectral radius of `linear` (n, n)."""
    radius = float(np.abs(np.linalg.eigvals(linear)).max())
    if not rate > radius:
        raise QupropError(f"rate must exceed the spectral radius {radius:.6g} of the linear part, got {rate:.6g}")
    p: np.ndarray = solve_discrete_lyapunov(linear.T / rate, np.eye(len(linear)))
    return (p + p.T) / 2


def best_norm(tensors: Sequence[np.ndarray], deviation: np.ndarray) -> Norm:
    """The P among the usual norm, Lyapunov matrices of several rates, and, for symmetric G_1, powers of the |1 - G_1|
    that commute with it, that makes R_P at `deviation` (n,) least. Raises where the linear part has spectral radius >=
    1."""
    linear = np.asarray(tensors[1], float)
    n = len(linear)
    spectral = float(np.abs(np.linalg.eigvals(linear)).max())
    if spectral >= 1:
        raise QupropError(
            f"the linear part has spectral radius {spectral:.6g}, and no norm makes a map with 1 or more contract; "
            "lower the learning rate, add weight decay or bound a finite number of steps"
        )
    candidates = [np.eye(n)]
    for rate in spectral + (1 - spectral) * np.geomspace(1e-3, 0.9, RATES):
        candidates.append(lyapunov_matrix(linear, rate))
    if np.allclose(linear, linear.T, atol=1e-12):
        values, vectors = np.linalg.eigh(np.eye(n) - linear)
        candidates += [(vectors * values**power) @ vectors.T for power in POWERS if power]
    norms = [norm_of(p, tensors, deviation) for p in candidates]
    return min(norms, key=lambda norm: norm.ratio)


def norm_of(matrix: np.ndarray, tensors: Sequence[np.ndarray], deviation: np.ndarray) -> Norm:
    """Gains, radius and R_P of one P."""
    gains = gains_in(matrix, tensors)
    size = float(np.sqrt(deviation @ matrix @ deviation))
    return Norm(matrix, gains, convergence_radius(gains), size, nonlinearity_ratio(gains, size))
