"""A beam splitter on N bosons in two modes: exp(-i angle Jx) of a spin N/2, by a matrix or by a series."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import linalg, special

LARGEST_DENSE = 1024  # bosons up to which it is a matrix; above, a Chebyshev series


def mixed(
    part: np.ndarray, bosons: int, coupling: int, angle: float, matrices: dict[tuple[int, int], np.ndarray]
) -> np.ndarray:
    """exp(-i angle/2 (u a_2† a_1 + h.c.)), u = i^coupling, on the middle axis of (batch, bosons + 1, inner).

    The middle axis counts the bosons m in the first mode. With D = u^(-m) it is D exp(-i angle Jx) D†, and
    <m+1|Jx|m> = sqrt((m + 1)(N - m))/2. `matrices` remembers matrices of this angle.
    """
    powers = np.array([1, -1j, -1, 1j])[(coupling * np.arange(bosons + 1)) & 3]
    if bosons > LARGEST_DENSE:
        return powers[:, None] * _series(powers.conj()[:, None] * part, bosons, angle)
    if 4 * part.size <= (bosons + 1) ** 2:  # too few columns to pay for making the matrix
        vectors, levels = _jx_vectors(bosons), np.arange(bosons + 1) - bosons / 2
        turned = np.exp(-1j * angle * levels)[:, None] * (vectors.T @ (powers.conj()[:, None] * part))
        return powers[:, None] * (vectors @ turned)
    if (bosons, coupling) not in matrices:
        if (bosons, 0) not in matrices:
            vectors = _jx_vectors(bosons)
            levels = np.arange(bosons + 1) - bosons / 2
            matrices[bosons, 0] = (vectors * np.exp(-1j * angle * levels)) @ vectors.T
        matrices[bosons, coupling] = powers[:, None] * matrices[bosons, 0] * powers.conj()
    matrix = matrices[bosons, coupling]
    if part.shape[2] == 1:
        return (part[:, :, 0] @ matrix.T)[:, :, None]
    return matrix @ part


def _ladder(bosons: int) -> np.ndarray:
    m = np.arange(bosons)
    return np.sqrt((m + 1.0) * (bosons - m)) / 2


@lru_cache(maxsize=LARGEST_DENSE + 1)
def _jx_vectors(bosons: int) -> np.ndarray:
    """Eigenvectors of Jx as columns, for the eigenvalues -N/2, ..., N/2."""
    if bosons < 2:
        return np.array([[-1.0, 1.0], [1.0, 1.0]])[: bosons + 1, : bosons + 1] / math.sqrt(2) if bosons else np.eye(1)
    return linalg.eigh_tridiagonal(np.zeros(bosons + 1), _ladder(bosons), check_finite=False)[1]


def _series(part: np.ndarray, bosons: int, angle: float) -> np.ndarray:
    """exp(-i angle Jx) on the middle axis of (batch, N + 1, inner), by Chebyshev polynomials in Jx/(N/2).

    exp(-i t x) = J_0(t) + 2 sum_q (-i)^q J_q(t) T_q(x) for |x| <= 1 takes t + O(t^(1/3)) terms. exp(-i pi Jx) reverses
    the axis, times (-i)^N, so that |angle| <= pi/2 is left.
    """
    turns = round(angle / math.pi)
    angle -= turns * math.pi
    part = (-1j) ** ((turns * bosons) & 3) * (part[:, ::-1] if turns & 1 else part)
    t = abs(angle) * bosons / 2
    if t == 0:
        return part
    bessel = special.jv(np.arange(math.ceil(t + 12 * t ** (1 / 3) + 30)), t)
    factor = -1j if angle > 0 else 1j
    ladder = (_ladder(bosons) / (bosons / 2))[:, None]  # of x
    twice = 2 * ladder
    before, now = part, np.zeros_like(part)  # T_0, T_1
    now[:, 1:] = ladder * part[:, :-1]
    now[:, :-1] += ladder * part[:, 1:]
    # T_q alternates between real and imaginary factors; the even and the odd terms are summed apart.
    sums = [bessel[0] * before, 2 * bessel[1] * now]
    for q in range(2, len(bessel)):
        # T_q = 2 x T_(q-1) - T_(q-2)
        after = -before
        after[:, 1:] += twice * now[:, :-1]
        after[:, :-1] += twice * now[:, 1:]
        before, now = now, after
        sums[q & 1] += (-2 if q & 2 else 2) * bessel[q] * now
    return sums[0] + factor * sums[1]
