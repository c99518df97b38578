"""The quantum central limit beside the engines: two checks, and readings, from Gram matrices of v = (E - mu) psi."""

import math

import numpy as np
from dense import pauli_matrix
from scipy import special
from scipy.linalg import expm


def gram_matrix(psi, program):
    """mu_j (M,) and G_ij = <v_i|v_j> (M, M) of a list of Pauli strings, read as events, and turns (pauli, angle); each
    v carried to where the last one stands."""
    n = len(psi).bit_length() - 1
    means, vectors = [], np.zeros((0, len(psi)), complex)
    for step in program:
        if isinstance(step, tuple):
            turn = expm(-0.5j * step[1] * pauli_matrix(step[0], n))
            psi, vectors = turn @ psi, vectors @ turn.T
        else:
            accepted = (psi + pauli_matrix(step, n) @ psi) / 2
            means.append(np.vdot(psi, accepted).real)
            vectors = np.concatenate([vectors, (accepted - means[-1] * psi)[None]])
    return np.array(means), vectors.conj() @ vectors.T


def shift_exponential(probabilities, k, gram, noises):
    """What the pass of one check adds to the trigger probability of another: - P_i P_j (Re exp(k G_ij/(l_i l_j)) - 1),
    exponential noise that nothing clips."""
    return -math.prod(probabilities) * (np.exp(k * complex(gram) / math.prod(noises)).real - 1)


def shift_gaussian(k, means, thresholds, gram, noises):
    """The same for Gaussian noise: - Re integral_0^rho phi_2(h_i, h_j; r) dr, the bivariate normal law continued to
    rho = k G_ij / sqrt((k D_i^2 + s_i^2)(k D_j^2 + s_j^2)), h = (k mu - tau)/sqrt(k D^2 + s^2) (Plackett)."""
    spreads = [k * m * (1 - m) + s**2 for m, s in zip(means, noises, strict=True)]
    rho = k * complex(gram) / math.sqrt(math.prod(spreads))
    x, y = (k * (m - t) / math.sqrt(v) for m, t, v in zip(means, thresholds, spreads, strict=True))
    nodes, weights = special.roots_legendre(64)
    r = rho * (nodes + 1) / 2
    density = np.exp(-(x * x - 2 * r * x * y + y * y) / (2 * (1 - r * r))) / (2 * np.pi * np.sqrt(1 - r * r))
    return -(rho / 2 * (weights @ density)).real


class ObservableFilter:
    """The Kalman filter with back-action on the counts of M events: means, and C from k Re G. A reading y of S_j:

    mean <- mean + C_:j (y - mean_j)/(C_jj + s^2),   C <- C - C_:j C_j:/(C_jj + s^2) + kappa kappa^T,
    kappa_i = k Im G_ij/s.
    """

    def __init__(self, means, gram, k):
        self.mean, self.covariance, self._commutator = k * means, k * gram.real, k * gram.imag

    def predict(self, j, noise):
        """Mean and variance of the next reading of S_j."""
        return self.mean[j], self.covariance[j, j] + noise**2

    def update(self, j, y, noise):
        column = self.covariance[:, j].copy()
        variance = column[j] + noise**2
        kick = self._commutator[:, j] / noise
        self.mean = self.mean + column * ((y - self.mean[j]) / variance)
        self.covariance = self.covariance + np.outer(kick, kick) - np.outer(column, column) / variance


def reading_covariance(k, gram, noise):
    """Of the readings y_1..y_M, none looked at before the end:
    k Re G_ij + s^2 delta_ij + sum_{l < min(i, j)} (k Im G_il)(k Im G_jl)/s^2."""
    kicks = np.triu(k * gram.imag, 1).T / noise  # [i, l], zero unless l < i
    return k * gram.real + noise**2 * np.eye(len(gram)) + kicks @ kicks.T
