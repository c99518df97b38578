"""Qulacs: ParametricQuantumCircuit.backprop. Its rotations are exp(+i angle P / 2), so parameters go in with the sign turned.

Variant "observable" lets backprop apply the observable; "sparse" forms H|psi> with one SciPy sparse product and hands it to
backprop_inner_product, which is far better for the hundreds of terms of a molecule (and gives the value for free).
"""

from __future__ import annotations


import numpy as np
import qulacs

from . import Case
from .common import SampleMap, as_matrix, sparse_observable

DISTRIBUTIONS = ("qulacs",)

_AXIS = {"X": 1, "Y": 2, "Z": 3}


def variants(workload) -> tuple[str, ...]:
    if workload.n_qubits < 12:
        return ("sparse", "observable")
    return ("sparse",) if as_matrix(workload) else ("observable",)


def _circuit(workload, x):
    """The circuit (data angles are fixed in it), and parameter number and factor of each of its trainable gates."""
    circuit, target, factor = qulacs.ParametricQuantumCircuit(workload.n_qubits), [], []
    for g in workload.gates:
        if g.input is not None:
            getattr(circuit, f"add_{g.kind.upper()}_gate")(*g.qubits, -x[g.input])
        elif g.param is None:
            add = {"h": circuit.add_H_gate, "x": circuit.add_X_gate, "cx": circuit.add_CNOT_gate}[g.kind]
            add(*g.qubits)
        else:
            if g.kind in ("rx", "ry", "rz"):
                getattr(circuit, f"add_parametric_{g.kind.upper()}_gate")(*g.qubits, 0.0)
            else:
                axes = [3, 3] if g.kind == "rzz" else [_AXIS[letter] for _, letter in g.pauli]
                circuit.add_parametric_multi_Pauli_rotation_gate(list(g.qubits), axes, 0.0)
            target.append(g.param)
            factor.append(-g.scale)
    return circuit, np.array(target), np.array(factor)


def build(workload, precision: str, variant: str, threads: int) -> Case:
    n = workload.n_qubits
    samples = [None] if workload.x is None else workload.x.tolist()
    circuits = [_circuit(workload, x) for x in samples]  # the data do not change from step to step
    if variant == "sparse":
        matrix = sparse_observable(workload, first_qubit_is_most_significant=False)
        if not np.any(matrix.data.imag):
            matrix = matrix.real.tocsr()
    else:
        observable = qulacs.Observable(n)
        for pauli, c in workload.observable:
            observable.add_operator(c, " ".join(f"{letter} {q}" for q, letter in pauli))

    def forward(item, theta: np.ndarray):
        circuit, target, factor = item
        for k, angle in enumerate((factor * theta[target]).tolist()):
            circuit.set_parameter(k, angle)
        state = qulacs.QuantumState(n)
        circuit.update_quantum_state(state)
        return state

    def one_value(item, theta: np.ndarray) -> float:
        state = forward(item, theta)
        if variant != "sparse":
            return observable.get_expectation_value(state)
        psi = state.get_vector()
        return float(np.vdot(psi, matrix @ psi).real)

    def one_gradient(item, theta: np.ndarray):
        circuit, target, factor = item
        state = forward(item, theta)
        if variant == "sparse":
            psi = state.get_vector()
            h_psi = matrix @ psi
            value = float(np.vdot(psi, h_psi).real)
            state.load(h_psi)
            gradient = 2 * np.array(circuit.backprop_inner_product(state))  # of Re<psi|H psi>, one side
        else:
            value = observable.get_expectation_value(state)
            gradient = circuit.backprop(observable)
        return np.concatenate([[value], np.bincount(target, weights=factor * np.array(gradient), minlength=workload.n_params)])

    samples = SampleMap({"value": one_value, "gradient": one_gradient}, circuits, 1 if workload.x is None else threads)

    def value(theta: np.ndarray) -> float:
        return float(samples.mean("value", theta))

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        both = samples.mean("gradient", theta)
        return float(both[0]), both[1:]

    return Case(value, value_and_grad)
