"""A gate-by-gate dense simulator of independent make: textbook matrices, no quprop builder, tableau or engine.

Matrices are written big-endian (first qubit = most significant), as in textbooks. `xp` is NumPy or jax.numpy, so that
JAX can differentiate the whole thing.
"""

import numpy as np

from quprop.model.pauli import PauliString, PauliSum

I2 = np.eye(2)
X = np.array([[0, 1], [1, 0]])
Y = np.array([[0, -1j], [1j, 0]])
Z = np.array([[1, 0], [0, -1]])
PAULI = {"I": I2, "X": X, "Y": Y, "Z": Z}


def _kron(*factors):
    out = np.eye(1)
    for f in factors:
        out = np.kron(out, f)
    return out


def _block(a, b):
    """diag(a, b): b controlled on the first qubit being 1 when a is the identity."""
    out = np.zeros((len(a) + len(b),) * 2, complex)
    out[: len(a), : len(a)], out[len(a) :, len(a) :] = a, b
    return out


_S = np.diag([1, 1j])
_T = np.diag([1, np.exp(1j * np.pi / 4)])
_SX = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
FIXED = {
    "x": X,
    "y": Y,
    "z": Z,
    "h": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "s": _S,
    "sdg": _S.conj(),
    "t": _T,
    "tdg": _T.conj(),
    "sx": _SX,
    "sxdg": _SX.conj().T,
    "cx": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]),
    "cy": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, -1j], [0, 0, 1j, 0]]),
    "cz": np.diag([1, 1, 1, -1]),
    "swap": np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]),
    "iswap": np.array([[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]]),
    # PennyLane's docs, qml.ECR
    "ecr": np.array([[0, 0, 1, 1j], [0, 0, 1j, 1], [1, -1j, 0, 0], [-1j, 1, 0, 0]]) / np.sqrt(2),
    "ccx": _block(np.eye(6), X),
    "ccz": np.diag([1, 1, 1, 1, 1, 1, 1, -1]),
}


def _rx(a, xp):
    c, s = xp.cos(a / 2), xp.sin(a / 2)
    return xp.stack([xp.stack([c, -1j * s]), xp.stack([-1j * s, c])])


def _ry(a, xp):
    c, s = xp.cos(a / 2), xp.sin(a / 2)
    return xp.stack([xp.stack([c, -s]), xp.stack([s, c])])


def _diagonal(entries, xp):
    return xp.stack(entries)[:, None] * np.eye(len(entries))


def _rz(a, xp):
    return _diagonal([xp.exp(-0.5j * a), xp.exp(0.5j * a)], xp)


def _p(a, xp):
    return _diagonal([1.0 + 0j * a, xp.exp(1j * a)], xp)


def _u(a, phi, lam, xp):
    """OpenQASM's U: [[cos, -e^{i lam} sin], [e^{i phi} sin, e^{i(phi+lam)} cos]]."""
    c, s = xp.cos(a / 2), xp.sin(a / 2)
    top = xp.stack([c + 0j, -xp.exp(1j * lam) * s])
    return xp.stack([top, xp.stack([xp.exp(1j * phi) * s, xp.exp(1j * (phi + lam)) * c])])


def _pair(matrix):
    """exp(-i a/2 M) for an M with M^2 = 1."""
    return lambda a, xp: xp.cos(a / 2) * np.eye(len(matrix)) - 1j * xp.sin(a / 2) * matrix


def _controlled(gate):
    project_0, project_1 = np.diag([1, 0]), np.diag([0, 1])
    return lambda a, xp: np.kron(project_0, I2) + xp.kron(project_1, gate(a, xp))


TURNING = {
    "rx": _rx,
    "ry": _ry,
    "rz": _rz,
    "p": _p,
    "u": _u,
    "rxx": _pair(_kron(X, X)),
    "ryy": _pair(_kron(Y, Y)),
    "rzz": _pair(_kron(Z, Z)),
    "rzx": _pair(_kron(Z, X)),
    "crx": _controlled(_rx),
    "cry": _controlled(_ry),
    "crz": _controlled(_rz),
    "cp": _controlled(_p),
}


def pauli_matrix(string: PauliString, n: int) -> np.ndarray:
    """By Kronecker products of the dense text; the highest qubit is the outermost factor."""
    text = string.dense(n)
    sign = -1 if text.startswith("-") else 1
    return sign * _kron(*(PAULI[letter] for letter in reversed(text.lstrip("-"))))


def sum_matrix(total: PauliSum, n: int) -> np.ndarray:
    return sum((c * pauli_matrix(p, n) for p, c in total.items()), start=np.zeros((2**n, 2**n), complex))


def angle_value(angle, circuit, theta, x):
    """A user's angle as a number, by the names of its variables."""
    start, places = {}, {0: 0, 1: 0}
    for name, (kind, size) in circuit.vectors.items():
        start[name] = places[kind]
        places[kind] += size
    total = 0.0
    for monomial, coefficient in angle.terms:
        product = coefficient
        for kind, index, name, _ in monomial:
            product = product * (x if kind else theta)[start[name] + index]
        total = total + product
    return total


def initial_state(circuit, x, xp=np):
    state, n = circuit.state, circuit.n_qubits
    if hasattr(state, "indices"):  # an inputs vector: amplitude encoding
        offset = 0
        for name, size in circuit.layout(1):
            if name == state.name:
                break
            offset += size
        columns = x[offset + state.indices.start : offset + state.indices.stop]
        return columns / xp.sqrt(xp.sum(columns**2)) + 0j
    if state.kind == "basis":
        return np.eye(2**n, dtype=complex)[state.index]
    if state.kind == "product":
        return _kron(*(row[:, None] for row in state.array[::-1]))[:, 0]
    return state.array


def final_state(circuit, theta, x=(), xp=np):
    """The circuit's state (2^n,), gate by gate, global phases included."""
    n = circuit.n_qubits
    psi = initial_state(circuit, x, xp)
    for op in circuit.operations:
        angles = [angle_value(a, circuit, theta, x) for a in op.angles]
        angles = [xp.asarray(a) for a in angles]
        if isinstance(op.target, PauliString):
            psi = _pair(pauli_matrix(op.target, n))(angles[0], xp) @ psi
        elif isinstance(op.target, PauliSum):
            for string, coefficient in op.target.items():
                psi = _pair(pauli_matrix(string, n))(coefficient * angles[0], xp) @ psi
        else:
            gate = FIXED[op.name] if op.name in FIXED else TURNING[op.name](*angles, xp=xp)
            psi = _on_qubits(gate, op.target, psi, n, xp)
    return psi


def values(circuit, observables, theta, x=(), xp=np):
    """(K,) expectation values."""
    psi = final_state(circuit, theta, x, xp)
    return xp.stack([xp.real(xp.vdot(psi, sum_matrix(o, circuit.n_qubits) @ psi)) for o in observables])


def _on_qubits(gate, qubits, psi, n, xp):
    k = len(qubits)
    axes = [n - 1 - q for q in qubits]  # axis 0 of the reshaped state is the highest qubit
    tensor = xp.moveaxis(xp.reshape(psi, (2,) * n), axes, range(k))
    tensor = xp.reshape(gate @ xp.reshape(tensor, (2**k, -1)), (2,) * n)
    return xp.reshape(xp.moveaxis(tensor, range(k), axes), (-1,))
