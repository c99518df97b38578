"""Forced viscous Burgers flow, the numerical example of the quadratic Carleman theorem.

    du/dt + u du/dx = nu d²u/dx² + f(x) cos(2 pi t),   x in [-1/2, 1/2],   u = 0 at the ends,   u(x, 0) = -U sin(2 pi x)

with f a Gaussian of width 1/32 and height U around 1/4, central differences on n_x points and Euler steps in time
(Liu et al., PNAS 118, e2026805118, 2021; U = 1/sqrt(n_x - 1), nu = U/Re). With n_x = 16 and Re = 20 the convergence
ratio

    R = (||u(0)|| ||F_2|| + max_t ||F_0|| / ||u(0)||) / |lambda_1| = 43.59

is far beyond 1, and still the error of the truncated lift falls with N: R < 1 is sufficient, not necessary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quprop.carleman.maps.dynamics import Dynamics, Polynomial, from_tensors
from quprop.errors import QupropError


@dataclass(frozen=True, eq=False)
class Burgers:
    """The flow as a quadratic map driven in time. ``ratio`` is R, ``linear`` F_1, ``quadratic`` F_2 (n_x, n_x²)."""

    dynamics: Dynamics
    start: np.ndarray
    ratio: float
    step: float
    points: np.ndarray
    linear: np.ndarray
    quadratic: np.ndarray


def burgers(points: int = 16, times: int = 4000, *, reynolds: float = 20.0, duration: float = 3.0) -> Burgers:
    """The example on ``points`` grid points, ``times`` instants (times - 1 steps) up to ``duration``."""
    if points < 4 or times < 2 or reynolds <= 0 or duration <= 0:
        raise QupropError(
            f"points >= 4, times >= 2, reynolds > 0 and duration > 0 were expected, got {points}, {times}, {reynolds}, "
            f"{duration}"
        )
    speed = 1 / np.sqrt(points - 1)
    viscosity = speed / reynolds
    x = np.linspace(-0.5, 0.5, points)
    dx, dt = x[1] - x[0], duration / (times - 1)
    inner = np.arange(1, points - 1)  # the end points do not move
    linear = np.zeros((points, points))
    linear[inner, inner] = -2 * viscosity / dx**2
    linear[inner, inner - 1] = linear[inner, inner + 1] = viscosity / dx**2
    cube = np.zeros((points, points, points))
    cube[inner, inner + 1, inner + 1] = -1 / (4 * dx)
    cube[inner, inner - 1, inner - 1] = 1 / (4 * dx)
    quadratic = cube.reshape(points, points**2)
    shape = speed * np.exp(-((x - 0.25) ** 2) / (2 * (1 / 32) ** 2))
    start = -speed * np.sin(2 * np.pi * x)
    if dt * float(np.linalg.norm(linear, 2)) > 2:
        least = int(duration * np.linalg.norm(linear, 2) / 2) + 2
        raise QupropError(f"Euler steps of {dt:.3g} are unstable on this grid: take at least {least} times")
    still = from_tensors([np.zeros(points), linear, quadratic], learning_rate=dt)
    maps: list[Polynomial] = [still.driven(dt * np.cos(2 * np.pi * t * dt) * shape) for t in range(times - 1)]
    # The two end points give eigenvalues zero, which do not count: nothing there ever moves.
    slowest = float(np.linalg.eigvalsh(linear[1:-1, 1:-1])[-1])
    size = float(np.linalg.norm(start))
    ratio = (size * float(np.linalg.norm(quadratic, 2)) + float(np.linalg.norm(shape)) / size) / abs(slowest)
    return Burgers(Dynamics(maps), start, ratio, dt, x, linear, quadratic)
