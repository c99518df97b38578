"""Circuits of X and Z Z rotations on a chain that starts in |+...+>, and the chain's ground energy, by Majorana modes:
an oracle for any number of qubits, which shares nothing with what it checks.

    g_2q = X...X Z_q,  g_2q+1 = X...X Y_q:      X_q = -i g_2q+1 g_2q,      Z_q Z_q+1 = -i g_2q+2 g_2q+1
    exp(i t/2 G) g_a exp(-i t/2 G) = cos(t) g_a - sin(t) g_b,  g_b -> cos(t) g_b + sin(t) g_a      for G = -i g_a g_b
"""

import numpy as np


def modes(letter, q):
    """a and b of X_q or Z_q Z_q+1."""
    return (2 * q + 1, 2 * q) if letter == "X" else (2 * q + 2, 2 * q + 1)


def expectation(n, rotations, read):
    """<O> for O = X_q or Z_q Z_q+1, (letter, q), after `rotations` [(letter, q, angle), ...]."""
    covariance = np.zeros((2 * n, 2 * n))  # <-i g_a g_b>
    for q in range(n):
        covariance[2 * q + 1, 2 * q], covariance[2 * q, 2 * q + 1] = 1, -1
    pair = np.zeros((2, 2 * n))
    pair[[0, 1], modes(*read)] = 1
    for letter, q, angle in reversed(rotations):
        a, b = modes(letter, q)
        c, s = np.cos(angle), np.sin(angle)
        pair[:, a], pair[:, b] = c * pair[:, a] + s * pair[:, b], c * pair[:, b] - s * pair[:, a]
    return pair[0] @ covariance @ pair[1]


def ground_energy(n, field=1.0):
    """Of -sum Z Z - field sum X on an open chain: minus half the sum of the singular values of its coupling matrix,
    twice (Lieb, Schultz, Mattis, Ann. Phys. 16, 407, 1961)."""
    return -np.linalg.svd(np.diag(np.full(n, field)) + np.diag(np.ones(n - 1), 1), compute_uv=False).sum()
