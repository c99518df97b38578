"""Phases of quantum signal processing for a real polynomial of definite parity, by Newton's method.

    U(x) = e^{i phi_0 Z} prod_{j=1}^{d} W(x) e^{i phi_j Z},   W(x) = e^{i arccos(x) X},   <0|U(x)|0> has real part f(x)

With symmetric phases, phi_j = phi_{d-j}, half of them are the unknowns of as many equations, the Chebyshev coefficients
of f, and Newton's method from the phases of the polynomial 0 finds them (Dong, Lin, Ni and Wang, arXiv:2307.12468).

pyqsp (`sym_qsp_opt.newton_solver`) finds the same phases by the same iteration, to the same 1e-14, but point by point
in Python, printing as it goes: 1.3 s at degree 101 and 22 s at 601, where this takes 0.05 s and 0.42 s, all points at
once. Theirs have f as the imaginary part: pi/4 - phi at both ends and -phi in between are ours. Tests compare the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError

_ITERATIONS = 100
_HIGHEST = 2_000  # degree: d^2 of 2x2 products an iteration


def qsp_phases(coefficients: Any, *, tolerance: float = 1e-12) -> np.ndarray:
    """phi_0..phi_d of f(x) = sum_k coefficients[k] T_k(x), of one parity and |f| < 1 on [-1, 1].

    Converges where max |f| stays somewhat below 1 (0.9 is safe); otherwise this is said, with the distance reached.
    """
    full = _checked(coefficients)
    degree = len(full) - 1
    wanted = full[degree % 2 :: 2]  # of T_p, T_{p+2}, ..., T_d
    half = len(wanted)
    # as many points as there are unknowns determine f: zeros of T_{2 half}, one of each pair +-x
    angles = np.pi * (2 * np.arange(half) + 1) / (4 * half)
    x = np.cos(angles)
    target = np.cos(np.outer(angles, np.arange(degree % 2, degree + 1, 2))) @ wanted
    phases = np.zeros(half)  # the outer ones first; phi_0 and phi_d have pi/4 besides
    distance = np.inf
    for _ in range(_ITERATIONS):
        values, jacobian = _real_part(phases, degree, x)
        residual = values - target
        distance = float(np.abs(residual).max())
        if distance < tolerance:
            return _unfold(phases, degree)
        phases = phases - np.linalg.solve(jacobian, residual)
        if not np.isfinite(phases).all():
            break
    raise QupropError(
        f"no phases within {tolerance:.1g} were found, only within {distance:.2g}; scale the polynomial down, "
        "for example to a largest value of 0.9"
    )


def qsp_response(phases: np.ndarray, x: np.ndarray) -> np.ndarray:
    """<0|U(x)|0>, complex."""
    out = np.zeros((len(x), 2, 2), complex)
    out[:, 0, 0] = np.exp(1j * phases[0])
    out[:, 1, 1] = np.exp(-1j * phases[0])
    signal = _signal(x)
    for phase in phases[1:]:
        out = out @ signal * np.exp(1j * phase * np.array([1, -1]))
    return out[:, 0, 0]


def _signal(x: np.ndarray) -> np.ndarray:
    s = 1j * np.sqrt(1 - x**2)
    return np.stack([np.stack([x + 0j, s], -1), np.stack([s, x + 0j], -1)], -2)


def _unfold(phases: np.ndarray, degree: int) -> np.ndarray:
    """All of phi_0..phi_d; an even degree has a middle phase, which is the last unknown."""
    back = phases[::-1] if degree % 2 else phases[-2::-1]
    out = np.concatenate([phases, back])
    out[0] += np.pi / 4
    out[-1] += np.pi / 4
    return out


def _real_part(phases: np.ndarray, degree: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f(x) and its derivatives by the phases: U = L_j e^{i phi_j Z} R_j, so dU/dphi_j = i L_j e^{i phi_j Z} Z R_j."""
    full, signal = _unfold(phases, degree), _signal(x)
    left = np.empty((degree + 1, len(x), 2), complex)  # <0| L_j e^{i phi_j Z}
    row = np.zeros((len(x), 2), complex)
    row[:, 0] = 1
    for j, phase in enumerate(full):
        if j:
            row = (row[:, None, :] @ signal)[:, 0]
        row = row * np.exp(1j * phase * np.array([1, -1]))
        left[j] = row
    derivative = np.empty((degree + 1, len(x)))
    column = np.zeros((len(x), 2), complex)  # R_j |0>
    column[:, 0] = 1
    for j in range(degree, -1, -1):
        derivative[j] = (1j * (left[j][:, 0] * column[:, 0] - left[j][:, 1] * column[:, 1])).real
        column = (signal @ (np.exp(1j * full[j] * np.array([1, -1])) * column)[:, :, None])[:, :, 0]
    half = len(phases)
    jacobian = derivative[:half].T.copy()
    mirrored = derivative[::-1][:half].T
    paired = degree + 1 - half
    jacobian[:, :paired] += mirrored[:, :paired]
    return left[degree][:, 0].real, jacobian


def _checked(coefficients: Any) -> np.ndarray:
    full = np.trim_zeros(checked("coefficients", coefficients, ("n",)), "b")
    if not 2 <= len(full) <= _HIGHEST + 1:
        raise QupropError(f"phases are found for Chebyshev coefficients of degree 1 to {_HIGHEST}, got {len(full) - 1}")
    if full[-2::-2].any():
        raise QupropError("phases are found for odd or even polynomials, got one that is neither; split it in two")
    peak = np.abs(np.polynomial.chebyshev.chebval(np.cos(np.linspace(0, np.pi, 8 * len(full))), full)).max()
    if peak >= 1:
        raise QupropError(f"the polynomial must stay below 1 on [-1, 1], got a largest value of {peak:.4g}; divide it")
    return full
