"""lightning.qubit the way most people call it: a QNode with diff_method="adjoint". Same kernels as `lightning.py`, plus tapes."""

from __future__ import annotations

import numpy as np
import pennylane as qml
from pennylane import numpy as pnp

from . import Case

DISTRIBUTIONS = ("pennylane_lightning", "pennylane")
_GATES = {"h": qml.Hadamard, "x": qml.X, "cx": qml.CNOT, "rx": qml.RX, "ry": qml.RY, "rz": qml.RZ, "rzz": qml.IsingZZ}
_LETTERS = {"X": qml.X, "Y": qml.Y, "Z": qml.Z}


def variants(workload) -> tuple[str, ...]:
    return () if workload.excitations or workload.x is not None else ("qnode",)


def build(workload, precision: str, variant: str, threads: int) -> Case:
    dtype = np.complex64 if precision == "single" else np.complex128
    device = qml.device("lightning.qubit", wires=workload.n_qubits, c_dtype=dtype)
    words = [qml.prod(*(_LETTERS[letter](q) for q, letter in pauli)) for pauli, _ in workload.observable]
    hamiltonian = qml.Hamiltonian([c for _, c in workload.observable], words)
    gates = list(workload.gates)

    def circuit(theta):
        for g in gates:
            angle = () if g.param is None else (g.scale * theta[g.param],)
            _GATES[g.kind](*angle, wires=g.qubits)
        return qml.expval(hamiltonian)

    plain = qml.QNode(circuit, device, diff_method=None)
    differentiable = qml.QNode(circuit, device, diff_method="adjoint")
    gradient = qml.grad(differentiable)

    def value(theta: np.ndarray) -> float:
        return float(plain(theta))

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        g = gradient(pnp.array(theta, requires_grad=True))
        return float(gradient.forward), np.asarray(g, np.float64)

    return Case(value, value_and_grad)
