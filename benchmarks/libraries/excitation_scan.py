"""UCC circuits in JAX: one lax.scan over excitations, each a table of partner amplitude and sign.

With G = T - T+ for one excitation, G^3 = -G, so exp(theta G) = 1 + sin(theta) G + (1 - cos(theta)) G^2. `restricted` keeps only
the determinants with the reference's numbers of spin-up and spin-down electrons, and real amplitudes: special-purpose
knowledge of the problem. Without it the register is whole and complex, as in any state-vector simulator.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .common import sparse_observable


def excitation_energy(workload, real, *, restricted: bool):
    partner, sign = _tables(workload)
    n = workload.n_qubits
    bits, reference = np.arange(1 << n), (1 << workload.n_electrons) - 1
    keep = np.ones(1 << n, bool)
    if restricted:
        up = sum(1 << q for q in range(0, n, 2))
        keep = np.bitwise_count(bits & up) == (reference & up).bit_count()
        keep &= np.bitwise_count(bits) == workload.n_electrons
    position = np.cumsum(keep) - 1
    partner = jnp.asarray(np.where(keep[partner], position[partner], 0)[:, keep], jnp.int32)
    sign = jnp.asarray(sign[:, keep], real)
    matrix = sparse_observable(workload, first_qubit_is_most_significant=False).real.tocsr()[keep][:, keep]
    number = real if restricted else jnp.result_type(real, jnp.complex64)
    start = jnp.zeros(int(keep.sum()), number).at[int(position[reference])].set(1)
    apply_hamiltonian = _dense(matrix, real) if restricted else _by_flip(matrix, real)

    def step(state, row):
        theta, p, s = row
        partner_state = s * state[p]
        return state + jnp.sin(theta) * partner_state - (1 - jnp.cos(theta)) * (s * s) * state, None

    def energy(theta, x):
        state, _ = jax.lax.scan(step, start, (theta, partner, sign))
        return jnp.vdot(state, apply_hamiltonian(state)).real

    return energy


def _tables(workload) -> tuple[np.ndarray, np.ndarray]:
    """(G psi)[k] = sign[k] psi[partner[k]] for every excitation, as two arrays (M, 2^n)."""
    bits = np.arange(1 << workload.n_qubits)
    partners, signs = [], []
    for e in workload.excitations:
        old, new = sum(1 << q for q in e.annihilated), sum(1 << q for q in e.created)
        sign, seen = np.ones(bits.size, np.int8), bits.copy()
        for q in [*e.annihilated, *reversed(e.created)]:  # in the order in which T acts on a determinant
            sign *= 1 - 2 * (np.bitwise_count(seen & ((1 << q) - 1)) & 1).astype(np.int8)
            seen ^= 1 << q
        partner = bits ^ (old | new)
        excited, ground = (bits & (old | new)) == new, (bits & (old | new)) == old
        partners.append(partner)
        signs.append(np.where(excited, sign[partner], 0) - np.where(ground, sign, 0))
    return np.array(partners), np.array(signs)


def _dense(matrix, real):
    dense = jnp.asarray(matrix.toarray(), real)
    return lambda state: dense @ state


def _by_flip(matrix, real):
    """H psi [j] = sum_x table[x, j] psi[j ^ x]: terms grouped by the qubits they flip."""
    rows, columns = matrix.nonzero()
    flips = np.unique(rows ^ columns)
    table = np.zeros((flips.size, matrix.shape[0]))
    table[np.searchsorted(flips, rows ^ columns), rows] = np.asarray(matrix[rows, columns]).ravel()
    table, index = jnp.asarray(table, real), jnp.asarray(np.arange(matrix.shape[0])[None, :] ^ flips[:, None], jnp.int32)
    return lambda state: jnp.sum(table * state[index], axis=0)
