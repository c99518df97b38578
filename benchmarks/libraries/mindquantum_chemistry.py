"""MindQuantum's chemistry simulator: special-purpose, for excitation circuits only.

It works in the space of fixed electron number: C(12, 4) = 495 amplitudes for LiH where a state vector has 4,096.
"""

from __future__ import annotations

import numpy as np
from mindquantum.core.circuit import Circuit
from mindquantum.core.operators import FermionOperator
from mindquantum.simulator import mqchem
from workloads import multiply

from . import Case

DISTRIBUTIONS = ("mindquantum",)


def variants(workload) -> tuple[str, ...]:
    return ("electron number",) if workload.excitations else ()


def _fermion_operator(workload) -> FermionOperator:
    """Inverse Jordan-Wigner (MindQuantum's own, 0.12, loses the double excitations of LiH: 79 terms of 631 Pauli words come back).

    A Pauli string is, up to a phase, a product of Majorana operators Z..Z X_q = a_q + a+_q and Z..Z Y_q = i (a+_q - a_q), and
    of at most four of them in a molecule's Hamiltonian.
    """
    n, total = workload.n_qubits, FermionOperator()
    for pauli, c in workload.observable:
        letters, factors, word, odd = dict(pauli), [], {"I" * n: 1.0}, False
        for q in reversed(range(n)):
            # an odd number of Majorana operators above q has already put a Z here
            letter = letters.get(q, "I")
            if odd:
                letter = {"I": "Z", "Z": "I", "X": "Y", "Y": "X"}[letter]
            for axis in {"I": "", "Z": "XY"}.get(letter, letter):
                odd = not odd
                create, destroy = FermionOperator(f"{q}^"), FermionOperator(f"{q}")
                factors.append(create + destroy if axis == "X" else 1j * create + (-1j) * destroy)
                word = multiply(word, {"Z" * q + axis + "I" * (n - q - 1): 1.0})
        ((text, phase),) = word.items()
        assert text == "".join(letters.get(q, "I") for q in range(n))
        product = FermionOperator("", c / phase)
        for factor in factors:
            product = product * factor
        total += product
    total = total.normal_ordered()
    real = FermionOperator()
    for term, coefficient in total.terms.items():
        if abs(coefficient.const) > 1e-12:
            text = " ".join(f"{q}^" if create else str(q) for q, create in term)
            real += FermionOperator(text, float(np.real(coefficient.const)))
    return real


def build(workload, precision: str, variant: str, threads: int) -> Case:
    fermions = _fermion_operator(workload)
    simulator = mqchem.MQChemSimulator(
        workload.n_qubits, workload.n_electrons, dtype="float" if precision == "single" else "double"
    )
    hamiltonian = mqchem.CIHamiltonian(fermions)
    gates = []
    for e in workload.excitations:
        term = " ".join([f"{q}^" for q in e.created] + [str(q) for q in reversed(e.annihilated)])
        gates.append(mqchem.UCCExcitationGate(FermionOperator(term, f"t{e.param}")))
    circuit = Circuit(gates)
    order = np.array([int(name[1:]) for name in circuit.params_name])
    inverse = np.argsort(order)
    gradient = simulator.get_expectation_with_grad(hamiltonian, circuit)

    def value(theta: np.ndarray) -> float:
        simulator.reset()
        simulator.apply_circuit(circuit, theta[order])
        result = float(np.real(simulator.get_expectation(hamiltonian)))
        simulator.reset()
        return result

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = gradient(theta[order])
        return float(f), np.asarray(g, np.float64)[inverse]

    return Case(value, value_and_grad)
