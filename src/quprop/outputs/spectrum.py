"""Functions of the spectrum of rho = M M^+, from the singular values of M, so that small eigenvalues are as exact as
their square roots; with derivatives through degenerate and zero eigenvalues, or one sentence where there are none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError

_ZERO = 1e-13  # singular values below are zero up to rounding


class SpectralFunction(NamedTuple):
    """scale * log(tr rho^order) / (1 - order); at order 1, -scale * tr rho log rho; or tr rho^2.

    M is (B, K, R), K <= R, and tr M M^+ = 1. With T = sum f(lambda), f = lambda^order or -lambda log lambda, and
    G = f'(rho): dT = tr(G d rho) = Re<2 G M|dM>, and d G from divided differences of f' (Daleckii and Krein 1965).
    """

    order: float
    scale: float = 1.0
    purity: bool = False

    @property
    def of_pure(self) -> float:
        return float(self.purity)

    def of_eigenvalues(self, found: np.ndarray) -> np.ndarray:
        """(B, 1)."""
        found = np.maximum(found, 0.0)
        if self.order == 1:
            return -self.scale * np.sum(found * np.log(np.where(found > 0, found, 1.0)), axis=-1, keepdims=True)
        if self.order < 1:  # whose powers make much of what is rounding
            found = np.where(found > _ZERO**2 if self.order < 0.5 else found > 0, found, 0.0)
        if self.purity:
            return np.sum(found**2, axis=-1, keepdims=True)
        p = self.order - 1
        logs = np.log(np.where(found > 0, found, 1.0))
        if abs(p) < 0.5:  # 1 is taken out of the sum: the rest is as small as p
            log_total = np.log1p(np.sum(found * np.expm1(p * logs), axis=-1, keepdims=True))
        else:  # the largest is, whose power may be no double
            peak = found.max(axis=-1, keepdims=True)
            log_total = self.order * np.log(peak)
            log_total += np.log(np.sum((found / peak) ** self.order, axis=-1, keepdims=True))
        return -self.scale * log_total / p

    def value(self, M: np.ndarray) -> np.ndarray:
        if self.order < 1:
            return self.of_eigenvalues(_decomposed(M)[1] ** 2)
        rho = _reduced(M)
        if self.purity:
            return np.sum(rho.real**2 + rho.imag**2, axis=(-2, -1))[:, None]
        return self.of_eigenvalues(np.linalg.eigvalsh(rho))

    def _peak(self, s: np.ndarray) -> np.ndarray:
        """(B, 1): the largest eigenvalue m, in units of which powers stay doubles: f is m^-order lambda^order."""
        return np.ones((len(s), 1)) if self.purity or self.order == 1 else s.max(axis=-1, keepdims=True) ** 2

    def _slope(self, U: np.ndarray, s: np.ndarray) -> np.ndarray:
        """f'(lambda) (B, K), up to a constant, since tr rho does not change: near order 1 powers are all near 1, and
        what they differ by is what counts. Zero where f' is infinite at lambda = 0: there M gives it no weight."""
        zero = s < _ZERO
        if self.order < 1:
            unsure = 1e-7 ** (1 / (2 - 2 * self.order))
            if self.order <= 0.5:
                unsure = max(unsure, 1e-7)
            if np.any((s < unsure) & (~zero | (self.order <= 0.5))):
                raise QupropError(
                    f"the entropy of order {self.order:g} has no derivative at zero eigenvalues of the reduced state, "
                    f"and the least here is {s.min() ** 2:.1g}; take order=1 or above"
                )
        lam = np.where(zero, 1.0, s**2)
        if self.purity:
            return 2 * s**2
        if self.order == 1:
            return np.where(zero, 0.0, -np.log(lam) - 1)
        m = self._peak(s)
        powers = np.expm1((self.order - 1) * np.log(lam / m))
        return self.order / m * np.where(zero, -1.0 if self.order > 1 else 0.0, powers)

    def _outer(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The factor of dT and that of (dT)^2, in first and second derivatives of the value: (B, 1) each."""
        one = np.ones((len(s), 1))
        if self.purity:
            return one, 0 * one
        if self.order == 1:
            return self.scale * one, 0 * one
        total = np.sum((s**2 / self._peak(s)) ** self.order, axis=-1, keepdims=True)
        first = self.scale / ((1 - self.order) * total)
        return first, -first / total

    def _differences(self, s: np.ndarray) -> np.ndarray:
        """Divided differences of f', (B, K, K)."""
        if self.order <= 1 and s.min(initial=1.0) < 1e-7:
            raise QupropError(
                f"the entropy of order {self.order:g} has no second derivative at zero eigenvalues of the reduced "
                f"state, and the least here is {s.min() ** 2:.1g}; take an order above 1, or qpr.outputs.Purity"
            )
        s = np.where(s < _ZERO, 0.0, s)
        low, high = np.minimum(s[:, :, None], s[:, None, :]), np.maximum(s[:, :, None], s[:, None, :])
        both = high == 0  # on which d rho has no entries
        high = np.where(both, 1.0, high)
        ratio = (high - low) * (high + low) / high**2  # 1 - low^2/high^2, without cancellation
        safe = np.where(ratio == 0, 1.0, ratio)
        with np.errstate(divide="ignore"):
            logs = np.log1p(-safe)  # -inf where low is zero
        if self.order == 1:
            found = np.where(ratio == 0, -1.0, logs / safe) / high**2
        else:
            p = self.order - 1
            m = self._peak(s)[:, :, None]
            powers = (high**2 / m) ** (p - 1) / m**2
            found = self.order * np.where(ratio == 0, p, -np.expm1(p * logs) / safe) * powers
        return np.where(both, 0.0, found)

    def costates(self, M: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        if self.purity:
            return 4 * cotangent[..., None] * (_reduced(M) @ M)
        U, s = _decomposed(M)
        weight = 2 * cotangent * self._outer(s)[0] * self._slope(U, s)
        return _turned(U, weight, M)

    def costates_along(self, M: np.ndarray, moved: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        U, s = _decomposed(M)
        slope, (first, second) = self._slope(U, s), self._outer(s)
        back = U.conj().swapaxes(-1, -2)
        inner, d_inner = back @ M, back @ moved
        d_rho = d_inner @ inner.conj().swapaxes(-1, -2)
        d_rho = d_rho + d_rho.conj().swapaxes(-1, -2)
        d_total = np.sum(slope * np.diagonal(d_rho, axis1=-2, axis2=-1).real, axis=-1, keepdims=True)
        d_slope = self._differences(s) * d_rho
        weight = 2 * cotangent
        out = (weight * first)[..., None] * (d_slope @ inner + slope[..., None] * d_inner)
        out += (weight * second * d_total * slope)[..., None] * inner
        return U @ out

    def along(self, jet: list[np.ndarray]) -> np.ndarray:
        M = jet[0]
        U, s = _decomposed(M)
        slope, (first, second) = self._slope(U, s), self._outer(s)
        back = U.conj().swapaxes(-1, -2)
        inner, moved = back @ M, back @ jet[1]
        d_total = 2 * np.sum(slope[..., None] * (moved * inner.conj()).real, axis=(-2, -1))[:, None]
        parts = [self.of_eigenvalues(s**2), first * d_total]
        if len(jet) > 2:
            d_rho = moved @ inner.conj().swapaxes(-1, -2)
            d_rho = d_rho + d_rho.conj().swapaxes(-1, -2)
            bent = 2 * ((back @ jet[2]) * inner.conj()).real + 2 * (moved.real**2 + moved.imag**2)
            dd_total = np.sum(slope * bent.sum(axis=-1), axis=-1)[:, None]
            dd_total += np.sum(self._differences(s) * (d_rho.real**2 + d_rho.imag**2), axis=(-2, -1))[:, None]
            parts.append(first * dd_total + second * d_total**2)
        return np.stack(parts)


def _reduced(M: np.ndarray) -> np.ndarray:
    return M @ M.conj().swapaxes(-1, -2)


def _decomposed(M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The left singular vectors (B, K, K) and singular values (B, K), K <= R.

    Eigenvectors of rho are exact to rounding over the distance to the next eigenvalue, so those of eigenvalues above
    1e-6 are; the few rows of M below are decomposed themselves, since squares would lose half of their digits.
    """
    U = np.linalg.eigh(_reduced(M))[1]
    rows = U.conj().swapaxes(-1, -2) @ M
    s = np.linalg.norm(rows, axis=-1)
    for b in np.flatnonzero((s < 1e-3).any(axis=-1)):
        small = s[b] < 1e-3
        V, s[b, small], _ = np.linalg.svd(rows[b, small], full_matrices=False)
        U[b][:, small] = U[b][:, small] @ V
    return U, s


def _turned(U: np.ndarray, weight: np.ndarray, M: np.ndarray) -> np.ndarray:
    """U diag(weight) U^+ M."""
    return ((U * weight[:, None, :]) @ U.conj().swapaxes(-1, -2)) @ M
