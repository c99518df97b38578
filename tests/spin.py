"""k qubits that start in |0> and stay symmetric, as a spin k/2: an exact simulator of independent make.

The basis is J_z, index = number of ones; an axis is a unit vector (3,), and copies accept (1 + n.sigma)/2.
"""

import numpy as np
from scipy.linalg import eigh_tridiagonal

PAULI = (np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.array([[1, 0], [0, -1]]))


def axes(count: int, rng) -> np.ndarray:
    """Random unit vectors (count, 3)."""
    n = rng.normal(size=(count, 3))
    return n / np.linalg.norm(n, axis=1)[:, None]


def projector(axis) -> np.ndarray:
    return (np.eye(2) + sum(a * p for a, p in zip(axis, PAULI, strict=True))) / 2


def gram(all_axes) -> tuple[np.ndarray, np.ndarray]:
    """mu (M,) and <v_i|v_j> (M, M), v = (E - mu)|0>."""
    vectors = np.array([projector(n)[:, 0] for n in all_axes])
    means = vectors[:, 0].real.copy()
    vectors[:, 0] = 0
    return means, vectors.conj() @ vectors.T


class Spin:
    """Many trajectories at once: psi (k + 1, T)."""

    def __init__(self, k: int, trajectories: int = 1):
        self.k, self.counts = k, k - np.arange(k + 1)
        self.m = k / 2 - np.arange(k + 1)
        j = np.arange(k)
        self.w, self.v = eigh_tridiagonal(np.zeros(k + 1), np.sqrt((j + 1) * (k - j)) / 2)  # J_x
        self.psi = np.zeros((k + 1, trajectories), complex)
        self.psi[0] = 1

    def turn_y(self, angle: float, psi: np.ndarray) -> np.ndarray:
        """exp(-i angle J_y), J_y = g J_x g^-1 with g = exp(-i pi/2 J_z)."""
        g = np.exp(-0.5j * np.pi * self.m)[:, None]
        inner = np.exp(-1j * angle * self.w)[:, None] * real_times(self.v.T, psi / g)
        return g * real_times(self.v, inner)

    def along(self, axis, psi: np.ndarray) -> np.ndarray:
        """Amplitudes in the basis where the axis is z."""
        theta, phi = np.arccos(np.clip(axis[2], -1, 1)), np.arctan2(axis[1], axis[0])
        return self.turn_y(-theta, np.exp(1j * phi * self.m)[:, None] * psi)

    def back(self, axis, psi: np.ndarray) -> np.ndarray:
        theta, phi = np.arccos(np.clip(axis[2], -1, 1)), np.arctan2(axis[1], axis[0])
        return np.exp(-1j * phi * self.m)[:, None] * self.turn_y(theta, psi)

    def law(self, axis) -> np.ndarray:
        """Pr[S = counts[i]], (k + 1,), of the first trajectory."""
        return np.abs(self.along(axis, self.psi)[:, 0]) ** 2

    def probability(self, axis, check) -> float:
        return float(self.law(axis) @ check.trigger(self.counts, self.k))

    def survive(self, axis, check) -> float:
        """The trigger probability, and on into the branch that passes."""
        turned = self.along(axis, self.psi)
        probability = float(np.abs(turned[:, 0]) ** 2 @ check.trigger(self.counts, self.k))
        turned *= np.sqrt(check.passing(self.counts, self.k))[:, None]
        self.psi = self.back(axis, turned / np.linalg.norm(turned, axis=0))
        return probability

    def read(self, axis, noise: float, rng) -> np.ndarray:
        """Gaussian readings (T,), one for each trajectory."""
        turned = self.along(axis, self.psi)
        laws = np.cumsum(np.abs(turned) ** 2, axis=0)
        index = np.minimum((rng.random(laws.shape[1]) * laws[-1] > laws).sum(axis=0), self.k)
        y = self.counts[index] + noise * rng.standard_normal(len(index))
        turned *= np.exp(-((y - self.counts[:, None]) ** 2) / (4 * noise**2))
        self.psi = self.back(axis, turned / np.linalg.norm(turned, axis=0))
        return y

    def reading_moments(self, all_axes, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """Exact means (M,) and covariance (M, M) of successive readings, by density matrices.

        A reading nobody looks at multiplies rho_ab by exp(-(a - b)^2/(8 s^2)) in the count's basis, and weighted with y
        by (a + b)/2 as well.
        """
        s = self.counts
        dephase = np.exp(-((s[:, None] - s) ** 2) / (8 * noise**2))
        rho = self.psi[:, :1] * self.psi[:, 0].conj()
        count = len(all_axes)
        means, second = np.zeros(count), np.zeros((count, count))
        tracked = []  # (i, rho weighted with y_i)
        for j, axis in enumerate(all_axes):
            turned = self.both(self.along, axis, rho)
            means[j] = np.diag(turned).real @ s
            second[j, j] = np.diag(turned).real @ s**2 + noise**2
            weighted = turned * dephase * (s[:, None] + s) / 2
            rho = self.both(self.back, axis, turned * dephase)
            fresh = self.both(self.back, axis, weighted)
            for at, (i, old) in enumerate(tracked):
                old = self.both(self.along, axis, old)
                second[i, j] = second[j, i] = np.diag(old).real @ s
                tracked[at] = (i, self.both(self.back, axis, old * dephase))
            tracked.append((j, fresh))
        return means, second - np.outer(means, means)

    def both(self, turn, axis, rho: np.ndarray) -> np.ndarray:
        """U rho U^dagger."""
        return turn(axis, turn(axis, rho).conj().T).conj().T


def real_times(matrix: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """A real matrix times complex columns, at half the cost."""
    stacked = matrix @ np.concatenate([psi.real, psi.imag], axis=1)
    return stacked[:, : psi.shape[1]] + 1j * stacked[:, psi.shape[1] :]
