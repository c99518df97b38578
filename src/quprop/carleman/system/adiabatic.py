"""The discrete adiabatic solver (Costa et al., PRX Quantum 3, 040303 (2022), arXiv:2111.08152)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from quprop.carleman.system.kernel_filter import apply_filter, filter_terms
from quprop.carleman.system.linear_system import LinearSystem, check_precision, relative_error
from quprop.carleman.system.solution import Solution, unit
from quprop.errors import QupropError, nearest

# walk steps per kappa: proved; the same bound evaluated numerically; seen on random matrices (arXiv:2312.07690)
CONSTANTS = {"rigorous": 117_235.0, "bound": 2_305.0, "observed": 1.84}
_POWER = 1.5  # p of the schedule; any 1 < p < 2 makes the error proportional to kappa/steps
_LARGEST = 400  # unknowns of the emulated walk: each step takes the singular values of a matrix of twice that
_MOST_STEPS = 100_000


def schedule(s: np.ndarray, kappa: float, power: float = _POWER) -> np.ndarray:
    """f(s) = kappa/(kappa-1) [1 - (1 + s (kappa^(p-1) - 1))^(1/(1-p))]: slow where the gap 1 - f + f/kappa is small."""
    s = np.asarray(s, float)
    if kappa == 1:
        return s
    return kappa / (kappa - 1) * (1 - (1 + s * (kappa ** (power - 1) - 1)) ** (1 / (1 - power)))


@dataclass(frozen=True)
class DiscreteAdiabatic:
    """A walk along a path of Hamiltonians, then a filter: c kappa + kappa ln(2/eps) queries.

    With B = A/alpha and b of norm 1 the path is H(f) = [[0, K Q], [Q K, 0]], K(f) = [[(1-f) 1, f B], [f B†, -(1-f) 1]],
    Q = 1 - |b,0><b,0|. Its kernel leads from (b, 0) to (0, B^-1 b); the gap is sqrt((1-f)^2 + f^2/kappa^2). Each step
    is one qubitised walk operator of H(f(s)), with one query; the filter R_l (`kernel_filter`) then removes what left
    the kernel. A run whose filter fails is repeated. With the observed constant about half of the walks end in the
    kernel; where less than half do, `solve` makes the filter as much longer as eps needs, and says so in its count.

    constant: "observed" (c = 1.84, seen on random matrices), "bound" (2305, the bound evaluated numerically) or
        "rigorous" (117235, proved); the walk is emulated for up to 400 unknowns and 100,000 steps.
    """

    constant: str = "observed"
    name: ClassVar[str] = "adiabatic"

    def __post_init__(self) -> None:
        if self.constant not in CONSTANTS:
            raise QupropError(f"there is no constant {self.constant!r}; {nearest(str(self.constant), CONSTANTS)}")

    def steps(self, kappa: float) -> int:
        """c kappa walk steps, an even number: the walk turns the kernel by i and -i, and only i^2 = (-i)^2."""
        return 2 * math.ceil(CONSTANTS[self.constant] * kappa / 2 - 1e-9)

    def emulated(self, unknowns: int, kappa: float) -> bool:
        """Is the walk within what `solve` emulates?"""
        return unknowns <= _LARGEST and self.steps(kappa) <= _MOST_STEPS

    def queries(self, kappa: float, eps: float) -> int:
        check_precision(kappa, eps)
        return self.steps(kappa) + 2 * filter_terms(kappa, relative_error(eps))

    def solve(self, system: LinearSystem, eps: float) -> Solution:
        check_precision(system.kappa, eps)
        n, steps = system.n, self.steps(system.kappa)
        if not self.emulated(n, system.kappa):
            raise QupropError(
                f"the adiabatic walk is emulated for up to {_LARGEST} unknowns and {_MOST_STEPS} steps, got {n} and "
                f"{steps}; use the optimal or the kernel_reflection solver, or `queries` for the count alone"
            )
        system.check_adjoint()
        b = unit(system.rhs)
        encoding = system.scaled()
        dense = np.stack([encoding.apply(column) for column in np.eye(n)], axis=1)  # the emulation's, not a query
        walked = walk(dense, b, schedule(np.arange(steps) / steps, system.kappa))
        # H(1) keeps (b, 0) out and has the kernel (0, B^-1 b) in its upper half; the walk's kernel is that times |0>
        start = np.concatenate([b, np.zeros(n)])
        encoding = system.scaled()

        def apply(v: np.ndarray) -> np.ndarray:
            # the two products are one query of the dilation [[0, B], [B†, 0]]
            image = np.concatenate([dense @ v[n:], encoding.adjoint(v[:n])])
            return image - start * np.vdot(start, image)

        def adjoint(w: np.ndarray) -> np.ndarray:
            w = w - start * np.vdot(start, w)
            return np.concatenate([dense @ w[n:], encoding.adjoint(w[:n])])

        kernel = np.concatenate([np.zeros(n), unit(np.linalg.solve(dense, b))])
        overlap = abs(np.vdot(kernel, walked))
        beside = math.sqrt(max(0.0, float(np.linalg.norm(walked)) ** 2 - overlap**2))
        terms = filter_terms(system.kappa, relative_error(eps) * min(1.0, overlap / max(beside, 1e-300)))
        filtered = apply_filter(apply, adjoint, walked, system.kappa, terms)
        kept = filtered[n:]
        success = float(np.linalg.norm(kept)) ** 2
        # B^-1 b from its direction: <b| B |x> = 1/||B^-1 b||
        scaled_norm = 1 / abs(np.vdot(b, dense @ unit(kept)))
        phase = np.vdot(dense @ kept, b)
        return Solution(
            state=unit(kept) * (phase / abs(phase)),
            norm=float(scaled_norm * np.linalg.norm(system.rhs) / system.norm),
            queries=steps + encoding.queries,
            # a step reflects about b on either side of K, a filter's pair of queries once
            loads=1 + 4 * steps + encoding.queries,
            success=success,
            eps=eps,
            solver=self.name,
            info={"steps": steps, "degree": encoding.queries, "overlap": overlap},
        )


def walk(dense: np.ndarray, b: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """(b, 0) after one walk step at each f, projected on the ancilla's |0> and the upper half: (2n,), norm at most 1.

    H has eigenvalues ±s_i, s_i the singular values of K Q = X S Y†, and the walk Z [[H, r], [r, -H]] with r =
    sqrt(1 - H^2) is the qubitisation of the block encoding with one ancilla. (u, v) are the halves of H's space.
    """
    n = len(b)
    start = np.concatenate([b, np.zeros(n)])
    u0, v0 = start.astype(np.result_type(dense, b)), np.zeros(2 * n, np.result_type(dense, b))
    u1, v1 = np.zeros_like(u0), np.zeros_like(v0)
    eye = np.eye(n)
    for f in fractions:
        k = np.block([[(1 - f) * eye, f * dense], [f * dense.conj().T, -(1 - f) * eye]])
        x, s, yh = np.linalg.svd(k - np.outer(k @ start, start.conj()))
        r = np.sqrt(np.maximum(0, 1 - s**2))
        a0, c0, a1, c1 = x.conj().T @ u0, yh @ v0, x.conj().T @ u1, yh @ v1
        # H (a, c) = (s c, s a); then Z leaves |0> and flips |1>
        u0, v0 = x @ (s * c0 + r * a1), yh.conj().T @ (s * a0 + r * c1)
        u1, v1 = -(x @ (r * a0 - s * c1)), -(yh.conj().T @ (r * c0 - s * a1))
    return u0
