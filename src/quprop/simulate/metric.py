"""Geometry of the model's states in plain NumPy: the Fubini-Study metric, and overlaps with a target state with their
exact gradient.

Both are adjoint sweeps over the list of rotations: forwards once, then |psi> and one or many |lambda> backwards
together, where

    d|psi>/d a_k = -i/2 U_M ... U_{k+1} P_k U_k ... U_1 |phi>,   Re <d_k psi|lambda> = 1/2 Im <lambda_k|P_k|psi_k>

so memory is that of a few states, whatever the number of parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.simulate.reference import apply_clifford

CHUNK_BYTES = 256 * 2**20  # the metric's columns are swept in chunks of states that take about this much


def _pauli(n: int, x: int, z: int) -> tuple[np.ndarray | None, np.ndarray]:
    return (
        _pauli_cached(n, x, z) if n <= 12 else _pauli_arrays(n, x, z)
    )  # beyond that the cache would outgrow the states


def _pauli_arrays(n: int, x: int, z: int) -> tuple[np.ndarray | None, np.ndarray]:
    """P of masks (x, z) as (source index, factor): (P psi)[j] = factor[j] psi[j ^ x]."""
    source = np.arange(2**n) ^ x
    factor = 1j ** ((x & z).bit_count() % 4) * (1.0 - 2.0 * (np.bitwise_count(source & z) & 1))
    return (source if x else None), factor


_pauli_cached = lru_cache(maxsize=256)(_pauli_arrays)


def _apply(model: Model, k: int, states: np.ndarray) -> np.ndarray:
    source, factor = _pauli(model.n_qubits, model.x_masks[k], model.z_masks[k])
    return factor * (states if source is None else states[..., source])


def _rotate(model: Model, k: int, angle: np.ndarray, states: np.ndarray) -> np.ndarray:
    """exp(-i angle P_k / 2) |states>; angle broadcasts against the leading axes."""
    angle = np.asarray(angle)[..., None]
    return np.cos(angle / 2) * states - 1j * np.sin(angle / 2) * _apply(model, k, states)


def _inputs(model: Model, theta: np.ndarray, x: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    theta = np.asarray(theta, float)
    if theta.shape != (model.n_params,):
        raise QupropError(f"`theta` must have shape (n_params,) = ({model.n_params},), got {theta.shape}")
    x = np.zeros((1, model.n_inputs)) if x is None and model.n_inputs == 0 else np.asarray(x, float)
    x = x[None] if x.ndim == 1 else x
    if x.ndim != 2 or x.shape[1] != model.n_inputs:
        raise QupropError(f"`x` must have shape (samples, n_inputs) = (samples, {model.n_inputs}), got {x.shape}")
    return theta[None], x


def _start(model: Model, x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(model.state.vector(model.n_qubits, x), (len(x), 2**model.n_qubits))


# -- the Fubini-Study metric ------------------------------------------------------------------------------------------


def metric_products(model: Model, theta: np.ndarray, vectors: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
    """G v for each row v of ``vectors`` (C, n_params), without forming G: one tangent sweep forwards, one adjoint sweep
    back.

        G_ij = Re( <d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi> )

    theta: (n_params,). x: (n_inputs,) or (samples, n_inputs), over which G is averaged. Returns (C, n_params).
    """
    theta, x = _inputs(model, theta, x)
    total = np.zeros(np.shape(vectors))
    for sample in x:
        total += _products(model, theta, sample[None], np.asarray(vectors, float))
    return total / len(x)


def _products(model: Model, theta: np.ndarray, x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    table, directions = model.angle_table, len(vectors)
    angles = table.evaluate(theta, x)[0]
    steps = np.zeros((directions, model.n_rotations))
    for c in range(directions):
        steps[c] = table.pushforward(theta, x, vectors[c : c + 1], np.zeros_like(x))[0]
    psi = np.array(_start(model, x)[0])
    tangents = np.zeros((directions, psi.size), complex)
    for k, angle in enumerate(angles):
        psi = _rotate(model, k, angle, psi)
        tangents = _rotate(model, k, angle, tangents) - 0.5j * steps[:, k, None] * _apply(model, k, psi)
    tangents -= np.outer(tangents @ psi.conj(), psi)  # what moves the phase only is no distance
    slopes = np.zeros((directions, model.n_rotations))
    for k in range(model.n_rotations - 1, -1, -1):
        slopes[:, k] = 0.5 * (tangents.conj() @ _apply(model, k, psi)).imag
        psi = _rotate(model, k, -angles[k], psi)
        tangents = _rotate(model, k, -angles[k], tangents)
    return table.pullback(slopes, theta, x)[0]


def metric(model: Model, theta: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
    """The Fubini-Study metric G (n_params, n_params) at ``theta``, averaged over the samples ``x`` if the model has
    inputs.

    Costs n_params tangent and adjoint sweeps; states are held for a chunk of columns at a time (about 256 MiB).
    Reference: Stokes et al., Quantum 4, 269 (2020), equation 6.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0), "Z0")
    >>> metric(model, [0.3])          # a rotation by an angle moves the state at speed 1/2
    array([[0.25]])
    """
    size = model.n_params
    columns = max(1, CHUNK_BYTES // (3 * 16 * 2**model.n_qubits))
    identity = np.eye(size)
    rows = [metric_products(model, theta, identity[i : i + columns], x) for i in range(0, size, columns)]
    full = np.concatenate(rows) if rows else np.zeros((0, 0))
    return (full + full.T) / 2


# -- overlaps with a target state -------------------------------------------------------------------------------------


def overlap_vjp(
    model: Model, theta: np.ndarray, x: np.ndarray | None, target: np.ndarray
) -> tuple[np.ndarray, Callable[..., tuple[np.ndarray, np.ndarray]]]:
    """|<target|psi>|^2 as values (B, 1), and pullback(cotangent (B, 1) or (1,), sum_theta=False) -> (d_theta, d_x), as
    ``simulate.vjp`` does.

    The observable is the projector on the target: lambda = <target|psi> |target>, then the usual backward sweep.
    """
    n = model.n_qubits
    if target.shape != (2**n,):
        raise QupropError(f"the target state must have shape (2^n_qubits,) = ({2**n},), got {target.shape}")
    theta, x = _inputs(model, theta, x)
    # |<t|C U phi>| = |<C^-1 t|U phi>|: the target is moved once instead of every state.
    target = apply_clifford(model.clifford.inverse(), np.asarray(target, complex)[None])[0]
    angles = np.broadcast_to(model.angle_table.evaluate(theta, x), (len(x), model.n_rotations))
    psi = np.array(_start(model, x))
    for k in range(model.n_rotations):
        psi = _rotate(model, k, angles[:, k], psi)
    overlap = psi @ target.conj()

    def pullback(cotangent: np.ndarray, *, sum_theta: bool = False) -> tuple[np.ndarray, np.ndarray]:
        weights = np.reshape(np.asarray(cotangent, float), (len(x), 1))
        state, adjoint = psi, weights * overlap[:, None] * target
        slopes = np.zeros((len(x), model.n_rotations))
        for k in range(model.n_rotations - 1, -1, -1):
            slopes[:, k] = np.einsum("bj,bj->b", adjoint.conj(), _apply(model, k, state)).imag
            state, adjoint = _rotate(model, k, -angles[:, k], state), _rotate(model, k, -angles[:, k], adjoint)
        d_theta, d_x = model.angle_table.pullback(slopes, theta, x)
        if model.state.kind == "encoded":
            d_x = d_x.copy()
            d_x[:, model.state.input_slice(n)] += model.state.pullback(n, x, adjoint)
        return (d_theta.sum(axis=0), d_x) if sum_theta else (np.reshape(d_theta, (*np.shape(cotangent)[:-1], -1)), d_x)

    return np.abs(overlap[:, None]) ** 2, pullback
