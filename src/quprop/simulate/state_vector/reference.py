"""The reference engine: plain NumPy, one rotation at a time, double precision. Obvious first: it is the tests' oracle.

States are (B, 2^n) complex arrays, one row a sample; bit q of the column index is qubit q.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import stim

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.channels import DENSITY, refuse_channels
from quprop.model.pauli import PauliString, PauliSum

Arrays = tuple[np.ndarray, np.ndarray]
QUIET = np.errstate(over="ignore", invalid="ignore")  # results are checked where they are handed out
Pullback = Callable[..., Arrays]
JetPullback = Callable[..., tuple[np.ndarray, ...]]
STATE_VECTOR = "an engine of a state vector"


class ReferenceEngine:
    """Values, exact gradients and Hessian-vector products by the adjoint sweep (Jones & Gacon 2020, arXiv:2009.02823).

    With psi after rotation m and lambda = (rotations after m, undone) O psi_final,
        dF/da_m = Im <lambda| P_m |psi>,
    so one backward sweep that un-rotates psi and lambda gives all of them: three state vectors in all.
    theta is (T, P), x is (X, D), T and X each 1 or B; they have been checked by the public functions.

    precision: "double" or "single". threads: taken as of other engines, but there is one.
    Raises: QupropError for another precision.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.expectation(model, [np.pi / 3], engine=qpr.ReferenceEngine()).round(6)
    array([0.5])
    """

    name = "reference"

    def __init__(self, precision: str = "double", threads: int | None = None) -> None:
        """threads is there for the engines that have them: this one computes in one."""
        if precision != "double":
            raise QupropError(f'the reference engine computes in "double" only, got precision={precision!r}')

    @QUIET
    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        psi = _forward(model, model.angle_table.evaluate(theta, x), x)
        return _expectations(model, psi)

    @QUIET
    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back
        angles = model.angle_table.evaluate(theta, x)  # (B, M)
        final = _forward(model, angles, x)  # (B, 2^n)

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            lam = _effective_observable(model, cotangent, final)
            return _summed(sum_theta, *_backward(model, theta, x, angles, final, lam))

        return _expectations(model, final), pullback

    @QUIET
    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        values, pullback = self.vjp(model, theta, x)
        return (values * weights).sum(axis=1), pullback(np.broadcast_to(weights, values.shape))[0]

    def state_vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Pullback]:
        """States psi (B, 2^n) after the rotations, the residual Clifford left out; and pullback(costates c (B, 2^n),
        sum_theta=False) -> d_theta, d_x of any L with dL = Re<c|d psi>."""
        theta, x = theta.copy(), x.copy()
        angles = model.angle_table.evaluate(theta, x)
        final = _forward(model, angles, x)
        # dF = 2 Re<lambda|d psi> of an observable, so lambda = c/2
        return final, lambda costates, sum_theta=False: _summed(
            sum_theta, *_backward(model, theta, x, angles, final, costates / 2)
        )

    def tangents(self, model: Model, theta: np.ndarray, x: np.ndarray, directions: np.ndarray) -> Arrays:
        """The state (2^n,) after the rotations, at one theta and x, and its derivatives (C, 2^n) along each row of
        `directions` (C, P); the residual Clifford left out."""
        angles = model.angle_table.evaluate(theta, x)[0]
        d_angles = model.angle_table.pushforward(theta, x, directions, np.zeros_like(x))  # (C, M)
        psi, tangents = _start(model, 1, x), np.zeros((len(directions), 2**model.n_qubits), complex)
        for m, angle in enumerate(angles):
            pauli = _pauli(model, m)
            psi = _rotate(pauli, np.array([angle]), psi)
            tangents = _rotate(pauli, np.array([angle]), tangents) - 0.5j * d_angles[:, m, None] * _apply(pauli, psi)
        return psi[0], tangents

    @QUIET
    def state_jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, JetPullback]:
        """The derivatives d^k psi / dt^k, k = 0 ... order, at t = 0 of the states psi(theta + t v_theta, x + t v_x)
        after the rotations: (order + 1, B, 2^n), the residual Clifford left out; and pullback(costates c like them,
        sum_theta=False) -> d_theta, d_x, d_v_theta, d_v_x of any L with dL = sum_k Re<c_k|d psi^(k)>.

        With psi(t) = sum_k psi_k t^k and lambda(t) = sum_k lambda_k t^(order - k), both cut off after t^order, the
        adjoint sweep is that of `state_vjp` with every number a polynomial: dL is the coefficient of t^order of
        Re<lambda|-i/2 P psi>(t) da_m(t), summed over the rotations.
        """
        theta, x, v_theta, v_x = (a.copy() for a in (theta, x, v_theta, v_x))
        angles = model.angle_table.jet(theta, x, v_theta, v_x, order)  # (order + 1, B, M)
        final = _start_jet(model, angles.shape[1], x, v_x, order)
        for m in range(model.n_rotations):
            final = _rotate_jet(_pauli(model, m), angles[:, :, m], final)
        factorials = np.array([1.0, 1.0, 2.0])[: order + 1, None, None]

        def pullback(costates: np.ndarray, sum_theta: bool = False) -> tuple[np.ndarray, ...]:
            psi, lam = final, (costates * factorials / 2)[::-1]
            d_angles = np.empty_like(angles)
            for m in reversed(range(model.n_rotations)):
                pauli = _pauli(model, m)
                moved = np.stack([_apply(pauli, p) for p in psi])
                for k in range(order + 1):
                    d_angles[order - k, :, m] = sum(_inner(lam[j], moved[k - j]).imag for j in range(k + 1))
                psi = _rotate_jet(pauli, -angles[:, :, m], psi)
                lam = _rotate_jet(pauli, -angles[:, :, m], lam)
            d_theta, d_x, d_v_theta, d_v_x = model.angle_table.jet_pullback(d_angles, theta, x, v_theta, v_x)
            if model.state.kind == "encoded":
                columns = model.state.input_slice(model.n_qubits)
                at, along = model.state.jet_pullback(model.n_qubits, x, v_x, lam)
                d_x[:, columns] += at
                d_v_x[:, columns] += along
            if sum_theta:
                d_theta, d_v_theta = d_theta.sum(axis=0), d_v_theta.sum(axis=0)
            return d_theta, d_x, d_v_theta, d_v_x

        return final * factorials, pullback

    def jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, JetPullback]:
        """The derivatives d^k <O> / dt^k, k = 0 ... order, at t = 0 along (theta + t v_theta, x + t v_x):
        (order + 1, B, K); and pullback(cotangents like them, sum_theta=False) -> d_theta, d_x, d_v_theta, d_v_x."""
        states, inner = self.state_jet(model, theta, x, v_theta, v_x, order)
        observed = [np.stack([_observe(o, s) for s in states]) for o in model.observables]
        binomial = [[1.0], [1.0, 1.0], [1.0, 2.0, 1.0]]
        values = np.empty((order + 1, states.shape[1], model.n_observables))
        for k in range(order + 1):
            for o, of in enumerate(observed):
                values[k, :, o] = sum(binomial[k][j] * _inner(states[j], of[k - j]).real for j in range(k + 1))

        def pullback(cotangents: np.ndarray, sum_theta: bool = False) -> tuple[np.ndarray, ...]:
            costates = np.zeros_like(states)
            for k in range(order + 1):
                for j in range(k + 1):
                    for o, of in enumerate(observed):
                        costates[j] += 2 * binomial[k][j] * cotangents[k, :, o, None] * of[k - j]
            return inner(costates, sum_theta)

        return values, pullback

    def hvp(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        cotangent: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """d_theta, d_x of cotangent . values, and their derivatives h_theta, h_x along (v_theta, v_x).

        The adjoint sweep, differentiated forwards: each of psi and lambda carries its derivative along v with it,
        d(R psi) = R d psi - (i/2) da P R psi.
        """
        table, n = model.angle_table, model.n_qubits
        angles = table.evaluate(theta, x)
        d_along = np.broadcast_to(table.pushforward(theta, x, v_theta, v_x), angles.shape)  # (B, M)
        psi = _start(model, len(angles), x)
        dpsi = np.zeros_like(psi)
        if model.state.kind == "encoded":
            dpsi += model.state.pushforward(n, x, v_x)
        for m in range(model.n_rotations):
            psi, dpsi = _rotate_pair(_pauli(model, m), angles[:, m], d_along[:, m], psi, dpsi)

        lam, dlam = (_effective_observable(model, cotangent, s) for s in (psi, dpsi))
        g, dg = np.empty_like(angles), np.empty_like(angles)
        for m in reversed(range(model.n_rotations)):
            pauli = _pauli(model, m)
            g[:, m] = _inner(lam, _apply(pauli, psi)).imag
            dg[:, m] = (_inner(dlam, _apply(pauli, psi)) + _inner(lam, _apply(pauli, dpsi))).imag
            psi, dpsi = _rotate_pair(pauli, -angles[:, m], -d_along[:, m], psi, dpsi)
            lam, dlam = _rotate_pair(pauli, -angles[:, m], -d_along[:, m], lam, dlam)

        d_theta, d_x = table.pullback(g, theta, x)
        h_theta, h_x = (
            a + b
            for a, b in zip(
                table.pullback(dg, theta, x), table.pullback_tangent(g, theta, x, v_theta, v_x), strict=True
            )
        )
        if model.state.kind == "encoded":
            columns = model.state.input_slice(n)
            d_x[:, columns] += model.state.pullback(n, x, lam)
            h_x[:, columns] += model.state.pullback_tangent(n, x, v_x, lam, dlam)
        return d_theta, d_x, h_theta, h_x

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The circuit's final states, residual Clifford included, up to a global phase: (B, 2^n)."""
        psi = _forward(model, model.angle_table.evaluate(theta, x), x)
        return apply_clifford(model.clifford, psi)

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes needed for "values", "value_and_grad", "vjp", "hvp", "states" or "state_vjp", or for "tangents" beside
        their own array: states alive at once, and angles."""
        states = {"values": 3, "states": 3, "state_vjp": 7, "hvp": 10, "jet": 20, "state_jet": 20}.get(what, 5)
        return 16 * batch * states * 2**model.n_qubits + 8 * batch * 4 * model.n_rotations


def apply_clifford(tableau: stim.Tableau, states: np.ndarray) -> np.ndarray:
    """C|psi> for each row of states (B, 2^n), up to a global phase; C as a circuit of few-qubit gates from stim."""
    if tableau == stim.Tableau(len(tableau)):
        return states
    out = states.copy()
    for instruction in tableau.to_circuit("elimination"):
        targets = [t.value for t in instruction.targets_copy()]
        width = 2 if instruction.name in ("CX", "CZ", "SWAP") else 1
        for first in range(0, len(targets), width):
            _clifford_gate(instruction.name, targets[first : first + width], out)
    return out


def _clifford_gate(name: str, qubits: list[int], states: np.ndarray) -> None:
    index = np.arange(states.shape[1])
    bits = [(index >> q) & 1 for q in qubits]
    if name == "H":
        flipped = states[:, index ^ (1 << qubits[0])]
        states *= 1 - 2 * bits[0]
        states += flipped
        states /= np.sqrt(2)
    elif name in ("S", "S_DAG", "Z"):
        states[:, bits[0] == 1] *= {"S": 1j, "S_DAG": -1j, "Z": -1}[name]
    elif name in ("X", "Y"):
        states[:] = _apply(PauliString(1 << qubits[0], (name == "Y") << qubits[0]), states)
    elif name == "CX":
        states[:] = states[:, index ^ (bits[0] << qubits[1])]
    elif name == "CZ":
        states[:, (bits[0] & bits[1]) == 1] *= -1
    elif name == "SWAP":
        differ = bits[0] ^ bits[1]
        states[:] = states[:, index ^ (differ << qubits[0]) ^ (differ << qubits[1])]
    else:  # pragma: no cover - stim's elimination uses H, S, CX and Paulis
        raise NotImplementedError(f"stim wrote a Clifford with the gate {name}")


def _pauli(model: Model, m: int) -> PauliString:
    return PauliString(model.rotations[m].x, model.rotations[m].z)


def _apply(pauli: PauliString, states: np.ndarray) -> np.ndarray:
    """P|psi>: (P psi)[j ^ x] = i^phase (-1)^{|z & j|} psi[j]."""
    source = np.arange(states.shape[1]) ^ pauli.x
    signs = 1 - 2 * (np.bitwise_count(source & pauli.z) & 1).astype(float)
    return (1j**pauli.phase * signs) * states[:, source]


def _rotate(pauli: PauliString, angle: np.ndarray, states: np.ndarray) -> np.ndarray:
    """exp(-i angle P / 2)|psi> = cos(angle/2)|psi> - i sin(angle/2) P|psi>, one angle (B,) per row."""
    half = angle[:, None] / 2
    return np.cos(half) * states - 1j * np.sin(half) * _apply(pauli, states)


def _rotate_pair(
    pauli: PauliString, angle: np.ndarray, d_angle: np.ndarray, states: np.ndarray, d_states: np.ndarray
) -> Arrays:
    """R psi and its derivative R d psi - (i/2) d_angle P R psi."""
    states = _rotate(pauli, angle, states)
    d_states = _rotate(pauli, angle, d_states) - 0.5j * d_angle[:, None] * _apply(pauli, states)
    return states, d_states


def _rotate_jet(pauli: PauliString, angles: np.ndarray, states: np.ndarray) -> np.ndarray:
    """exp(-i a(t) P / 2) psi(t), cut off: angles (order + 1, B) and states (order + 1, B, 2^n) are coefficients of t^k.

    With h_k = a_k / 2 and D = -i P, D^2 = -1: the rotation by a_0, then 1 + h_1 t D + (h_2 D - h_1^2 / 2) t^2.
    """
    half = angles[1:, :, None] / 2
    turned = [_rotate(pauli, angles[0], s) for s in states]
    moved = [-1j * _apply(pauli, s) for s in turned]
    out = list(turned)
    if len(states) > 1:
        out[1] = turned[1] + half[0] * moved[0]
    if len(states) > 2:
        out[2] = turned[2] + half[0] * moved[1] + half[1] * moved[0] - half[0] ** 2 / 2 * turned[0]
    return np.stack(out)


def _start_jet(model: Model, batch: int, x: np.ndarray, v_x: np.ndarray, order: int) -> np.ndarray:
    start = np.zeros((order + 1, batch, 2**model.n_qubits), complex)
    start[0] = _start(model, batch, x)
    if model.state.kind == "encoded":
        start[:] = model.state.jet(model.n_qubits, x, v_x, order)
    return start


def _start(model: Model, batch: int, x: np.ndarray) -> np.ndarray:
    refuse_channels(model, STATE_VECTOR, DENSITY)
    phi = model.state.vector(model.n_qubits, x)
    return np.broadcast_to(phi, (batch, 2**model.n_qubits)).copy()


def _forward(model: Model, angles: np.ndarray, x: np.ndarray) -> np.ndarray:
    psi = _start(model, len(angles), x)
    for m in range(model.n_rotations):
        psi = _rotate(_pauli(model, m), angles[:, m], psi)
    return psi


def _summed(sum_theta: bool, d_theta: np.ndarray, d_x: np.ndarray) -> Arrays:
    return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x


def _backward(
    model: Model, theta: np.ndarray, x: np.ndarray, angles: np.ndarray, psi: np.ndarray, lam: np.ndarray
) -> Arrays:
    """d_theta and d_x from psi and lambda at the end of the circuit."""
    d_angles = np.empty_like(angles)
    for m in reversed(range(model.n_rotations)):
        pauli = _pauli(model, m)
        d_angles[:, m] = _inner(lam, _apply(pauli, psi)).imag
        psi = _rotate(pauli, -angles[:, m], psi)
        lam = _rotate(pauli, -angles[:, m], lam)
    d_theta, d_x = model.angle_table.pullback(d_angles, theta, x)
    if model.state.kind == "encoded":
        d_x[:, model.state.input_slice(model.n_qubits)] += model.state.pullback(model.n_qubits, x, lam)
    return d_theta, d_x


def _observe(total: PauliSum, states: np.ndarray) -> np.ndarray:
    out = np.zeros_like(states)
    for string, coefficient in total.items():
        out += coefficient * _apply(string, states)
    return out


def _expectations(model: Model, psi: np.ndarray) -> np.ndarray:
    return np.stack([_inner(psi, _observe(o, psi)).real for o in model.observables], axis=1)


def _effective_observable(model: Model, cotangent: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """sum_k w_k O_k |psi>, whatever the number of observables one vector."""
    columns: Iterable[np.ndarray] = cotangent.T
    return sum(
        (w[:, None] * _observe(o, psi) for w, o in zip(columns, model.observables, strict=True)),
        start=np.zeros_like(psi),
    )


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a.conj() * b, axis=1)
