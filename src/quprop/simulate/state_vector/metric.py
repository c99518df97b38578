"""Geometry of a model's states: the quantum geometric tensor and the Fubini-Study metric, made of the state's
derivatives, by forward sweeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.model import Model
from quprop.simulate import Call, in_range, memory, quiet

BLOCK_BYTES = 1 << 30  # of derivatives held at once; or a quarter of the free memory, if that is more


def metric(
    model: Model,
    theta: Any,
    x: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> np.ndarray:
    """The Fubini-Study metric G = Re Q, the real part of the `geometric_tensor`: (n_params, n_params), symmetric.

        G_ij = Re( <d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi> )

    theta: (n_params,). x: (n_inputs,) or (samples, n_inputs), over which G is averaged. The quantum Fisher information
    is 4 G. Where G is too large to hold, `metric_products` multiplies by it. Reference: Stokes et al., Quantum 4, 269
    (2020), equation 6.
    engine, precision, threads: as in `quprop.state`.
    Returns: float array (P, P).
    Raises: QupropError as `quprop.state`, and for a batch of theta.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0), "Z0")
    >>> qpr.metric(model, [0.3])          # a rotation by an angle moves the state at speed 1/2
    array([[0.25]])
    """
    call = Call(model, theta, x, engine, precision, threads, "states")
    return _averaged(_real_products, float, call, model, precision)


def geometric_tensor(
    model: Model,
    theta: Any,
    x: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> np.ndarray:
    """The quantum geometric tensor Q (n_params, n_params), complex Hermitian, averaged over the samples ``x``.

        Q_ij = <d_i psi|d_j psi> - <d_i psi|psi><psi|d_j psi>

    Re Q is the Fubini-Study `metric`, -2 Im Q the Berry curvature. theta: (n_params,). x: (n_inputs,) or
    (samples, n_inputs). Costs about n_params forward sweeps a sample and one matrix product; derivatives that do not
    fit a block of 1 GiB (or a quarter of the free memory) are computed again for every pair of blocks.
    Reference: Provost and Vallee, Commun. Math. Phys. 76, 289 (1980).

    engine, precision, threads: as in `quprop.state`.
    Returns: complex array (P, P).
    Raises: QupropError as `quprop.state`, and for a batch of theta.

    >>> theta = qpr.params("theta", 2)
    >>> model = qpr.Model(qpr.Circuit(1).rx(theta[0], 0).rz(theta[1], 0), "Z0")
    >>> Q = qpr.geometric_tensor(model, [np.pi / 2, 0.3])
    >>> Q.diagonal().real.round(6), (-2 * Q[0, 1].imag).round(6)  # the Berry curvature is that of a spin 1/2
    (array([0.25, 0.25]), np.float64(-0.5))
    """
    call = Call(model, theta, x, engine, precision, threads, "states")
    return _averaged(_products, complex, call, model, precision)


def metric_products(
    model: Model,
    theta: Any,
    vectors: np.ndarray,
    x: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> np.ndarray:
    """G v for each row v of ``vectors`` (C, n_params), without forming G: one sweep forwards and one back for each.

    theta: (n_params,). x: (n_inputs,) or (samples, n_inputs), over which G is averaged. Returns (C, n_params).
    """
    call = Call(model, theta, x, engine, precision, threads, "states")
    _check_one_theta(call)
    vectors = np.atleast_2d(checked("vectors", vectors, (..., model.n_params)))
    state_vjp, total = _ability(call.engine, "state_vjp"), np.zeros(vectors.shape)
    with quiet():
        for row in call.x:
            psi, tangents = _tangents(call, model, row[None], vectors)
            states, pullback = state_vjp(model, np.repeat(call.theta, len(tangents), axis=0), row[None])
            phases = states @ psi.conj()  # the two sweeps agree up to these
            total += pullback(phases[:, None] * tangents)[0]
    in_range("a product with the metric", precision, total)
    return total / len(call.x)


def _averaged(
    products: Callable[[np.ndarray, np.ndarray], np.ndarray], dtype: type, call: Call, model: Model, precision: str
) -> np.ndarray:
    """The mean over the samples of products(d_i psi, d_j psi), the parts along psi taken out."""
    _check_one_theta(call)
    _ability(call.engine, "tangents")
    size, state_bytes = model.n_params, 16 << model.n_qubits
    at_once = max(1, max(BLOCK_BYTES, memory.available_bytes() // 4) // state_bytes)
    held = min(size, 2 * at_once) * state_bytes + call.engine.memory(model, 1, "tangents")
    memory.require(held, f"the metric of {model.n_qubits} qubits", "use fewer qubits")
    blocks = [slice(i, min(i + at_once, size)) for i in range(0, size, at_once)]
    directions = np.eye(size)
    total: np.ndarray = np.zeros((size, size), dtype)
    with quiet():
        for row in call.x:
            for k, first in enumerate(blocks):
                _, left = _tangents(call, model, row[None], directions[first])
                total[first, first] += products(left, left)
                for second in blocks[k + 1 :]:
                    part = products(left, _tangents(call, model, row[None], directions[second])[1])
                    total[first, second] += part
                    total[second, first] += part.conj().T
    in_range("the metric", precision, total)
    return total / len(call.x)


def _products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.conj() @ right.T


def _real_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.view(float) @ right.view(float).T


def _tangents(call: Call, model: Model, x: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """psi (2^n,), and sum_j v_j d_j psi for each row v of ``directions``, less what moves the phase only: (C, 2^n)."""
    psi, tangents = _ability(call.engine, "tangents")(model, call.theta, x, directions)
    tangents -= np.outer(tangents @ psi.conj(), psi)
    return psi, tangents


def _check_one_theta(call: Call) -> None:
    if len(call.theta) != 1 or len(call.shape) > 1:
        raise QupropError(
            f"the metric is that of one theta, over samples x (samples, n_inputs), got batch axes {call.shape}; "
            "call it once for each theta"
        )


def _ability(engine: Any, name: str) -> Any:
    found = getattr(engine, name, None)
    if found is None:
        raise QupropError(f"this takes an engine that holds states (native, reference), got {engine!r}")
    return found
