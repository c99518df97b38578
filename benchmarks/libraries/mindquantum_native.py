"""MindQuantum: Simulator("mqvector").get_expectation_with_grad, batches with parallel_worker."""

from __future__ import annotations

import mindquantum as mq
import numpy as np
from mindquantum.core.circuit import Circuit
from mindquantum.core.gates import RX, RY, RZ, H, RotPauliString, Rzz, X
from mindquantum.core.operators import Hamiltonian, QubitOperator
from mindquantum.simulator import Simulator

from . import Case
from .common import as_matrix, is_diagonal, sparse_observable

DISTRIBUTIONS = ("mindquantum",)


def variants(workload) -> tuple[str, ...]:
    if workload.n_qubits < 12:
        return ("words", "sparse")
    return ("sparse",) if as_matrix(workload) else ("words",)


def _qubit_operator(workload) -> QubitOperator:
    total = QubitOperator()
    for pauli, c in workload.observable:
        total += QubitOperator(" ".join(f"{letter}{q}" for q, letter in pauli), c)
    return total


def _circuit(workload) -> Circuit:
    circuit = Circuit()
    for g in workload.gates:
        if g.kind == "cx":
            circuit += X.on(g.qubits[1], g.qubits[0])
        elif g.param is None and g.input is None:
            circuit += {"h": H, "x": X}[g.kind].on(g.qubits[0])
        else:
            angle = f"x{g.input}" if g.input is not None else {f"t{g.param}": g.scale}
            if g.input is not None:  # its gradient is not wanted
                circuit += (Circuit() + RX(angle).on(g.qubits[0])).as_encoder().no_grad()
            elif g.kind == "pauli":
                circuit += RotPauliString("".join(letter for _, letter in g.pauli), angle).on(list(g.qubits))
            else:
                circuit += {"rx": RX, "ry": RY, "rz": RZ, "rzz": Rzz}[g.kind](angle).on(list(g.qubits))
    return circuit


def build(workload, precision: str, variant: str, threads: int) -> Case:
    dtype = mq.complex64 if precision == "single" else mq.complex128
    if variant == "sparse" and is_diagonal(workload):  # its own conversion takes Kronecker products of every word
        matrix = sparse_observable(workload, first_qubit_is_most_significant=False)
        hamiltonian = Hamiltonian(matrix, dtype=dtype)
    else:
        hamiltonian = Hamiltonian(_qubit_operator(workload), dtype=dtype)
        if variant == "sparse":
            hamiltonian = hamiltonian.sparse(workload.n_qubits)
    simulator, circuit = Simulator("mqvector", workload.n_qubits, dtype=dtype), _circuit(workload)
    if workload.x is None:
        encoder_names, ansatz_names = [], circuit.params_name
        gradient = simulator.get_expectation_with_grad(hamiltonian, circuit)
    else:
        encoder_names, ansatz_names = circuit.encoder_params_name, circuit.ansatz_params_name
        gradient = simulator.get_expectation_with_grad(hamiltonian, circuit, parallel_worker=threads)
        x = workload.x[:, [int(name[1:]) for name in encoder_names]]
    order = np.array([int(name[1:]) for name in ansatz_names])
    inverse = np.argsort(order)

    def value(theta: np.ndarray) -> float:
        if workload.x is None:
            return float(
                simulator.get_expectation(hamiltonian, circuit, pr=dict(zip(ansatz_names, theta[order], strict=True))).real
            )
        total = 0.0
        for row in x:
            numbers = dict(zip(ansatz_names, theta[order], strict=True)) | dict(zip(encoder_names, row, strict=True))
            total += simulator.get_expectation(hamiltonian, circuit, pr=numbers).real
        return total / workload.batch

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        if workload.x is None:
            f, g = gradient(theta[order])
            return float(f[0, 0].real), np.asarray(g[0, 0].real, np.float64)[inverse]
        f, _, g = gradient(x, theta[order])
        return float(np.mean(f.real)), np.asarray(np.mean(g.real, axis=(0, 1)), np.float64)[inverse]

    return Case(value, value_and_grad)
