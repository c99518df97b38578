"""Noisy models in plain NumPy, one rotation or channel at a time: the oracle of the engine for them.

The mixed state is the real vector r[Q] = Tr(rho Q) over all Hermitian Pauli strings Q = i^|x & z| X^x Z^z, and an
observable o[Q] with O = sum_Q o[Q] Q, so that F = o . r. Arrays are (B, 4^n), of column x | z << n. A rotation by a
about P turns the plane of Q and i P Q = s(Q) Q', s = ±1, for each Q that anticommutes with P:

    r[Q] -> cos(a) r[Q] + sin(a) s(Q) r[Q'],      dr[Q]/da = s(Q) r[Q'] after it.

Channels are linear maps of r (`quprop.model.channels`), and transposed they act on o. One sweep forward with r, one
backward with o and r: each derivative is o . dr. What a channel has damped cannot be restored by division, so r is kept
where it meets one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from quprop.model import Model
from quprop.model.channels import Channel
from quprop.model.pauli import PauliString, PauliSum
from quprop.simulate.vectors import walsh_hadamard

Arrays = tuple[np.ndarray, np.ndarray]


class NoisyReference:
    """Values, exact gradients and probabilities; theta is (T, P), x is (X, D), T and X each 1 or B."""

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        return _read(model, self._forward(model, theta, x)[0])

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back
        final, kept, angles, strengths = self._forward(model, theta, x)

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            o = np.zeros_like(final)
            for weight, total in zip(cotangent.T, model.observables, strict=True):
                for string, c in total.items():
                    o[:, _column(model.n_qubits, string)] += c * weight
            d_theta, d_x = self._backward(model, theta, x, angles, strengths, final, list(kept), o)
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return _read(model, final), pullback

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        values, pullback = self.vjp(model, theta, x)
        return (values * weights).sum(axis=1), pullback(np.broadcast_to(weights, values.shape))[0]

    def probabilities(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Of the circuit's final state in the computational basis, (B, 2^n)."""
        return diagonal(model, self._forward(model, theta, x)[0])

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes needed for "values", "value_and_grad", "vjp" or "probabilities" of a batch."""
        vectors = 5 if what in ("values", "probabilities") else 7 + len(model.channels)
        return 8 * (batch * vectors + 10) * 4**model.n_qubits + 64 * batch * model.n_rotations

    def _forward(
        self, model: Model, theta: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
        """r at the end, r before each channel, angles (B, M), coefficients of the channels (B, C)."""
        n = model.n_qubits
        coefficients = model.channel_table.evaluate(theta, x)
        angles = model.angle_table.evaluate(theta, x)
        r = np.broadcast_to(pauli_vector(model.state.vector(n, x)), (len(angles), 4**n)).copy()
        kept = []
        for step in _steps(model):
            if isinstance(step, int):
                r = _Turn(model, step).turned(r, angles[:, step])
            else:
                channel, own = step
                kept.append(r)
                r = _applied(n, channel, coefficients[:, own], r)
        return r, kept, angles, coefficients

    def _backward(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        angles: np.ndarray,
        coefficients: np.ndarray,
        r: np.ndarray,
        kept: list[np.ndarray],
        o: np.ndarray,
    ) -> Arrays:
        n = model.n_qubits
        d_angles, d_coefficients = np.empty_like(angles), np.empty_like(coefficients)
        for step in reversed(_steps(model)):
            if isinstance(step, int):
                turn = _Turn(model, step)
                d_angles[:, step] = (o * turn.slope(r)).sum(axis=1)
                r, o = turn.turned(r, -angles[:, step]), turn.turned(o, -angles[:, step])
            else:
                channel, own = step
                r = kept.pop()
                d_coefficients[:, own] = _slopes(n, channel, r, o)
                o = _applied(n, channel, coefficients[:, own], o, transposed=True)
        d_theta, d_x = (
            a + b
            for a, b in zip(
                model.angle_table.pullback(d_angles, theta, x),
                model.channel_table.pullback(d_coefficients, theta, x),
                strict=True,
            )
        )
        if model.state.kind == "encoded":
            phi = np.broadcast_to(model.state.vector(n, x), (len(o), 2**n))
            d_x[:, model.state.input_slice(n)] += model.state.pullback(n, x, observable_on(o, phi))
        return d_theta, d_x


def pauli_vector(phi: np.ndarray) -> np.ndarray:
    """<phi|Q|phi> for all Q, float64 (..., 4^n), of states (..., 2^n)."""
    size = phi.shape[-1]
    j, x = np.arange(size), np.arange(size)[:, None]
    pairs = phi[..., j ^ x].conj() * phi[..., None, :]  # (..., x, j)
    strings = _phases(size) * walsh_hadamard(pairs)  # (..., x, z)
    return np.ascontiguousarray(np.swapaxes(strings.real, -1, -2)).reshape(*phi.shape[:-1], size * size)


def observable_on(o: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """O|phi>, complex (B, 2^n), of O = sum_Q o[Q] Q, o (B, 4^n)."""
    size = phi.shape[-1]
    strings = _phases(size) * np.swapaxes(o.reshape(-1, size, size), -1, -2)  # (B, x, z)
    signed = walsh_hadamard(strings)  # (B, x, j)
    j, x = np.arange(size), np.arange(size)[:, None]
    return np.take_along_axis(signed * phi[:, None, :], np.broadcast_to(j ^ x, signed.shape), axis=2).sum(axis=1)


def diagonal(model: Model, r: np.ndarray) -> np.ndarray:
    """The diagonal of C rho C†, C the residual Clifford, from r (B, 4^n) of rho: (B, 2^n), from 0, summing to 1."""
    x, z, signs = measured_strings(model)
    p = np.maximum(walsh_hadamard(signs * r[:, x | z << model.n_qubits]), 0.0)  # rounding may leave -1e-17
    return p / p.sum(axis=1, keepdims=True)


def measured_strings(model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, z and signs (2^n,) of C† Z^z C for all z: their Tr(rho .) is all that the diagonal of C rho C† is made of."""
    x, z, phase = (np.zeros(1, np.int64) for _ in range(3))
    for q in range(model.n_qubits):
        image = model.pull.z_output(q)
        ix, iz = (int.from_bytes(a, "little") for a in image.to_numpy(bit_packed=True))
        turns = (ix & iz).bit_count() + (0 if image.sign == 1 else 2)
        phase = np.concatenate([phase, phase + turns + 2 * np.bitwise_count(z & ix).astype(np.int64)])
        x, z = np.concatenate([x, x ^ ix]), np.concatenate([z, z ^ iz])
    return x, z, 1 - ((phase - np.bitwise_count(x & z)) & 2)


class _Turn:
    """Rotation m: the columns of Q that anticommute with P, of their partners, and the signs s(Q)."""

    def __init__(self, model: Model, m: int) -> None:
        n, (px, pz, _) = model.n_qubits, model.rotations[m]
        x, z = _masks(n)
        self.at = np.flatnonzero(_anticommutes(n, px, pz))
        x, z = x[self.at], z[self.at]
        self.to = self.at ^ (px | pz << n)
        # i P Q = i^turns X^x' Z^z'
        turns = 1 + (px & pz).bit_count() + np.bitwise_count(x & z) + 2 * np.bitwise_count(pz & x)
        turns = turns.astype(np.int64) - np.bitwise_count((x ^ px) & (z ^ pz))
        self.sign = 1 - (turns & 2)

    def slope(self, r: np.ndarray) -> np.ndarray:
        out = np.zeros_like(r)
        out[:, self.at] = self.sign * r[:, self.to]
        return out

    def turned(self, r: np.ndarray, angle: np.ndarray) -> np.ndarray:
        out = r.copy()
        out[:, self.at] *= np.cos(angle)[:, None]
        return out + np.sin(angle)[:, None] * self.slope(r)


class _Damp:
    """An affine channel: columns Q like X or Y, Q like Z, the latter's partners Q P_Z, and the signs of these."""

    def __init__(self, n: int, channel: Channel) -> None:
        (ax, az), (bx, bz) = channel.strings
        turned, flipped = _anticommutes(n, bx, bz), _anticommutes(n, ax, az)
        self.side, self.along = np.flatnonzero(turned), np.flatnonzero(flipped & ~turned)
        x, z = (a[self.along] for a in _masks(n))
        self.to = self.along ^ (bx | bz << n)
        turns = (bx & bz).bit_count() + np.bitwise_count(x & z) + 2 * np.bitwise_count(z & bx)
        turns = turns.astype(np.int64) - np.bitwise_count((x ^ bx) & (z ^ bz))
        self.sign = channel.sign * (1 - (turns & 2))


def _steps(model: Model) -> list[int | tuple[Channel, slice]]:
    """Rotations (their number) and channels (with their coefficients' columns) in circuit order."""
    out: list[int | tuple[Channel, slice]] = []
    starts, done = model.channel_table.starts, 0
    for k, channel in enumerate(model.channels):
        out += range(done, channel.place)
        out.append((channel, slice(int(starts[k]), int(starts[k + 1]))))
        done = channel.place
    return out + list(range(done, model.n_rotations))


def _applied(
    n: int, channel: Channel, coefficients: np.ndarray, vector: np.ndarray, transposed: bool = False
) -> np.ndarray:
    """The channel on r, or transposed on o."""
    if channel.kind == "pauli":
        out = np.ones_like(vector)
        for (x, z), p in zip(channel.strings, coefficients.T, strict=True):
            out[:, _anticommutes(n, x, z)] -= 2 * p[:, None]
        return out * vector
    a, b, c = (column[:, None] for column in coefficients.T)
    damp, out = _Damp(n, channel), vector.copy()
    out[:, damp.side] *= a
    out[:, damp.along] *= b
    if transposed:
        out[:, damp.to] += c * damp.sign * vector[:, damp.along]
    else:
        out[:, damp.along] += c * damp.sign * vector[:, damp.to]
    return out


def _slopes(n: int, channel: Channel, r: np.ndarray, o: np.ndarray) -> np.ndarray:
    """o . d(channel r) by each coefficient, (B, number of them)."""
    if channel.kind == "pauli":
        parts = [_anticommutes(n, x, z) for x, z in channel.strings]
        return np.stack([-2 * (o[:, part] * r[:, part]).sum(axis=1) for part in parts], axis=1)
    damp = _Damp(n, channel)
    by_c = o[:, damp.along] * damp.sign * r[:, damp.to]
    products = (o[:, damp.side] * r[:, damp.side], o[:, damp.along] * r[:, damp.along], by_c)
    return np.stack([p.sum(axis=1) for p in products], axis=1)


def _masks(n: int) -> Arrays:
    index = np.arange(4**n)
    return index & (2**n - 1), index >> n


def _anticommutes(n: int, px: int, pz: int) -> np.ndarray:
    x, z = _masks(n)
    return ((np.bitwise_count(x & pz) + np.bitwise_count(z & px)) & 1).astype(bool)


def _phases(size: int) -> np.ndarray:
    """i^|x & z| (x, z)."""
    j = np.arange(size)
    return 1j ** (np.bitwise_count(j[:, None] & j) & 3)


def _column(n: int, string: PauliString) -> int:
    return string.x | string.z << n


def _read(model: Model, r: np.ndarray) -> np.ndarray:
    return np.stack([_expectation(model.n_qubits, o, r) for o in model.observables], axis=1)


def _expectation(n: int, total: PauliSum, r: np.ndarray) -> np.ndarray:
    columns = [_column(n, p) for p, _ in total.items()]
    return r[:, columns] @ np.array([c for _, c in total.items()], float)
