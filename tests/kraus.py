"""Noisy circuits by textbook Kraus operators on dense density matrices: no table, tableau or engine of quprop.

A channel is a list of (weight, left, right), rho -> sum weight left rho right. The weights and matrices are analytic in
the strengths (transposes of real matrices stand for adjoints), so that complex steps differentiate them.
"""

import dense
import numpy as np

from quprop.model.pauli import PauliString, PauliSum

UP = np.array([[0.0, 1.0], [0.0, 0.0]])  # |0><1|
ZERO, ONE = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])


def _real(*weighted):
    return [(w, k, k.T) for w, k in weighted]


def _pauli(weights):
    """{dense string: probability}, the identity with the rest."""
    size = 2 ** len(next(iter(weights)))
    matrices = {text: dense._kron(*(dense.PAULI[letter] for letter in text)) for text in weights}
    rest = 1 - sum(weights.values())
    return [(rest, np.eye(size), np.eye(size))] + [(p, matrices[t], matrices[t].conj().T) for t, p in weights.items()]


def _damped(gamma, excited):
    keep, jump = np.sqrt(1 - gamma), np.sqrt(gamma)
    return _real(
        (1 - excited, ZERO + keep * ONE),
        (1 - excited, jump * UP),
        (excited, keep * ZERO + ONE),
        (excited, jump * UP.T),
    )


def _relaxed(t1, t2, time, excited):
    """Damping, and then what coherence is lost beyond it as a phase flip."""
    factor = np.exp(-time / t2 + time / (2 * t1))
    damped, flip = _damped(1 - np.exp(-time / t1), excited), _pauli({"Z": (1 - factor) / 2})
    return [(v * w, after @ left, right @ back) for v, left, right in damped for w, after, back in flip]


PAIRS = [a + b for a in "IXYZ" for b in "IXYZ"][1:]
KRAUS = {
    "depolarising": lambda p: _pauli(dict.fromkeys("XYZ", p / 3)),
    "depolarising2": lambda p: _pauli(dict.fromkeys(PAIRS, p / 15)),
    "bit_flip": lambda p: _pauli({"X": p}),
    "phase_flip": lambda p: _pauli({"Z": p}),
    "bit_phase_flip": lambda p: _pauli({"Y": p}),
    "amplitude_damping": lambda gamma: _damped(gamma, 0.0),
    "generalised_amplitude_damping": _damped,
    "phase_damping": lambda lam: _real((1.0, ZERO + np.sqrt(1 - lam) * ONE), (1.0, np.sqrt(lam) * ONE)),
    "thermal_relaxation": _relaxed,
    "reset": lambda p: _real((1 - p, np.eye(2)), (p, ZERO), (p, UP)),
    "reset_error": lambda p0, p1: _real((1 - p0 - p1, np.eye(2)), (p0, ZERO), (p0, UP), (p1, ONE), (p1, UP.T)),
    "readout_error": lambda p10, p01: _real((1 - p10, ZERO), (p10, UP.T), (p01, UP), (1 - p01, ONE)),
}


def _embedded(gate, qubits, n):
    """The (2^n, 2^n) matrix of a gate written with its first qubit as the most significant."""
    return np.stack([dense._on_qubits(gate, qubits, column, n, np) for column in np.eye(2**n, dtype=complex)], axis=1)


def density(circuit, theta, x=()):
    """The final density matrix (2^n, 2^n)."""
    n = circuit.n_qubits
    psi = dense.initial_state(circuit, x)
    rho = np.outer(psi, psi.conj())
    for op in circuit.operations:
        angles = [np.asarray(dense.angle_value(a, circuit, theta, x)) for a in op.angles]
        if op.name == "pauli_channel":
            matrices = [dense.pauli_matrix(p, n) for p in op.target]
            rest = 1 - sum(angles)
            rho = rest * rho + sum(p * m @ rho @ m for p, m in zip(angles, matrices, strict=True))
        elif op.name in KRAUS:
            terms = KRAUS[op.name](*angles)
            rho = sum(w * _embedded(a, op.target, n) @ rho @ _embedded(b, op.target, n) for w, a, b in terms)
        elif isinstance(op.target, PauliString | PauliSum):
            total = op.target if isinstance(op.target, PauliSum) else PauliSum(op.target)
            for string, c in total.items():
                gate = dense._pair(dense.pauli_matrix(string, n))(c * angles[0], np)
                rho = gate @ rho @ gate.conj().T
        else:
            gate = dense.FIXED[op.name] if op.name in dense.FIXED else dense.TURNING[op.name](*angles, xp=np)
            gate = _embedded(gate, op.target, n)
            rho = gate @ rho @ gate.conj().T
    return rho


def values(circuit, observables, theta, x=()):
    """(K,) Tr(rho O_k), with an imaginary part where a strength has one."""
    rho = density(circuit, theta, x)
    return np.array([np.trace(rho @ dense.sum_matrix(o, circuit.n_qubits)) for o in observables])
