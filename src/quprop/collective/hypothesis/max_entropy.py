"""The state of maximum entropy, relative to a prior, given noisy expectation values: a convex problem in few variables.

    sigma(h) = exp(H0 + sum_t h_t A_t)/Z(h),      h = argmin F,      F(h) = log Z(h) - h.b + sum_t e_t^2 h_t^2/2

F is the dual of projecting exp(H0)/Z(0) in relative entropy on the states with tr(sigma A_t) = b_t, with Gaussian
errors e_t (Jaynes, Phys. Rev. 108, 171); dF/dh_t = tr(sigma A_t) - b_t + e_t^2 h_t. Every h gives a state, and for a
state rho with tr(rho A_t) = b_t exactly F(h) - F(h') = S(rho || sigma(h)) - S(rho || sigma(h')) at e = 0: whatever
lowers F brings sigma as much nearer to rho.
"""

from __future__ import annotations

import math
from copy import copy as shallow_copy
from typing import NamedTuple

import numpy as np
import scipy.optimize

from quprop.collective.hypothesis.protocol import EXACT

ACCURACY = 0.1  # of the smallest error: how well all values are met
STEPS = 30  # the most, each with one diagonalisation or few; four are usual

# Hermitian eigendecomposition with vectors: 9 d^3 real flops for real matrices (Golub and Van Loan, Matrix
# Computations, section 8.3), half as many multiply-adds, four times as many for complex ones.
EIGH_OPS = 18


class LogSpectrum(NamedTuple):
    """log sigma = V diag(logs) V† up to a constant: V (d, d) complex, eigenvectors its columns; logs (d,)."""

    vectors: np.ndarray
    logs: np.ndarray


class Fitted(NamedTuple):
    """The multipliers h (T,), the spectrum of log sigma, and the multiply-adds it took."""

    multipliers: np.ndarray
    spectrum: LogSpectrum
    ops: int


def weights_of(logs: np.ndarray) -> np.ndarray:
    """Eigenvalues of sigma from those of its logarithm, up to a constant."""
    out = np.exp(logs - logs.max())
    return out / out.sum()


def flat(matrix: np.ndarray) -> np.ndarray:
    """A complex (d, d) matrix as the reals (2 d^2,) whose scalar product is Re tr(A†B)."""
    return np.ascontiguousarray(matrix, complex).view(float).ravel()


def solve(
    base: np.ndarray | None,
    observables: np.ndarray,
    values: np.ndarray,
    errors: np.ndarray,
    start: np.ndarray,
) -> Fitted:
    """Minimises F from the multipliers ``start`` (T,); F never ends above where it starts.

    base         H0, complex (d, d); None is 0
    observables  A_t, traceless, each a row of `flat`, float64 (T, 2 d^2)
    values       b_t, and errors e_t, (T,)
    """
    d = math.isqrt(observables.shape[1] // 2)
    best = (math.inf, start, LogSpectrum(np.empty((0, 0)), np.empty(0)))
    ops = 0

    def evaluate(h: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, ops
        log = (h @ observables).view(complex).reshape(d, d)
        if base is not None:
            log += base
        logs, vectors = np.linalg.eigh(log)
        del log
        shift = float(logs[-1])
        exponentials = np.exp(logs - shift)
        total = float(exponentials.sum())
        sigma = (vectors * (exponentials / total)) @ vectors.conj().T
        ops += (EIGH_OPS + 4) * d**3 + 2 * observables.size
        objective = shift + math.log(total) - float(h @ values) + float(errors**2 @ h**2) / 2
        if objective < best[0]:
            best = objective, h.copy(), LogSpectrum(vectors, logs - shift)
        return objective, observables @ flat(sigma) - values + errors**2 * h

    # The Hessian of F where sigma = 1/d, A_t being traceless. Later ones differ by the spread of log sigma.
    hessian = observables @ observables.T / d + np.diag(errors**2)
    inverse = np.linalg.inv(hessian)
    scipy.optimize.minimize(
        evaluate,
        start,
        jac=True,
        method="BFGS",
        options={"gtol": ACCURACY * float(errors.min()), "maxiter": STEPS, "hess_inv0": (inverse + inverse.T) / 2},
    )
    return Fitted(best[1], best[2], ops)


class MeasuredValues:
    """Values learned one by one, the multipliers that enforce them, and H0, all in the frame of the start.

    ``start`` is the spectrum of H0. Of ``most`` values the oldest makes room for the next: h_t A_t goes into H0.
    """

    def __init__(self, start: LogSpectrum, most: int) -> None:
        d = len(start.logs)
        uniform = not np.ptp(start.logs)
        self._start = None if uniform else LogSpectrum(start.vectors.copy(), start.logs)
        self._base = None if uniform else (start.vectors * start.logs) @ start.vectors.conj().T
        self._most = most
        self._observables = np.empty((most, 2 * d * d))
        self._known = np.zeros((3, 0))  # multipliers, values and errors of the rows in use
        self._at_start: list[np.ndarray] = []  # <v|A_t|v> for the eigenvectors v of the start, each (d,)
        self._all_values: list[float] = []

    @property
    def nbytes(self) -> int:
        arrays = [self._observables[: self._known.shape[1]], self._known, *self._at_start]
        if self._base is not None:
            arrays.append(self._base)
        if self._start is not None:
            arrays += self._start
        return sum(a.nbytes for a in arrays) + 8 * len(self._all_values)

    def learn(
        self, observable: np.ndarray, value: float, error: float, predicted: float, half_range: float
    ) -> tuple[LogSpectrum, int]:
        """tr(rho A) = ``value``, ``predicted`` until now, A (d, d) with eigenvalues within 2 ``half_range``, which is
        changed; the new spectrum of log sigma and the multiply-adds done."""
        t = len(self._all_values)
        slot, ops = t % self._most, 0
        error = max(error, EXACT)
        mean = float(np.trace(observable).real) / len(observable)
        observable[np.diag_indices(len(observable))] -= mean
        value, predicted = value - mean, predicted - mean
        if t >= self._most:
            oldest = self._known[0, slot] * self._observables[slot]
            self.add(oldest.view(complex).reshape(observable.shape))
        else:
            self._known = np.append(self._known, np.zeros((3, 1)), axis=1)
        self._observables[slot] = flat(observable)
        self._all_values.append(value)
        if self._start is not None:
            v = self._start.vectors
            self._at_start.append(np.einsum("jk,jk->k", v.conj(), observable @ v).real)
            ops += 4 * len(v) ** 3
        del observable  # a copy less while sigma is looked for
        # F falls by gap^2/2 over this curvature or more along the new multiplier (Hoeffding)
        first = (value - predicted) / (half_range**2 + error**2)
        self._known[:, slot] = first, value, error
        used = self._observables[: self._known.shape[1]]
        found = solve(self._base, used, self._known[1], self._known[2], self._known[0])
        self._known[0] = found.multipliers
        return found.spectrum, ops + found.ops

    def add(self, log: np.ndarray) -> None:
        """H0 += log, (d, d)."""
        self._base = log.copy() if self._base is None else self._base + log

    def best_temper(self, candidates: list[float]) -> float:
        """The one of them whose power of the start predicts all values best; of equal ones the first."""
        if self._start is None:
            return candidates[0]
        diagonals, values = np.array(self._at_start), np.array(self._all_values)
        errors = [np.mean((diagonals @ weights_of(c * self._start.logs) - values) ** 2) for c in candidates]
        return candidates[int(np.argmin(errors))]

    def copy(self) -> MeasuredValues:
        twin = shallow_copy(self)
        twin._observables = np.empty_like(self._observables)
        used = self._known.shape[1]
        twin._observables[:used] = self._observables[:used]
        twin._known = self._known.copy()
        twin._at_start, twin._all_values = list(self._at_start), list(self._all_values)
        return twin  # H0 is replaced, never changed in place
