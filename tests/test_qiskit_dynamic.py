"""Qiskit circuits that measure in the middle, against branches that Qiskit's own matrices take."""

import numpy as np
import pytest

import quprop as qpr

pytest.importorskip("qiskit")
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import IfElseOp, Parameter
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector

A, B = Parameter("a"), Parameter("b")
VALUES = {A: 0.83, B: -1.3}


def branches(circuit):
    """[(unnormalised amplitudes, {bit: value})], every measurement projecting."""
    states = [(Statevector.from_int(0, 2**circuit.num_qubits).data, {})]
    for item in circuit.data:
        where = [circuit.find_bit(q).index for q in item.qubits]
        if item.operation.name == "measure":
            (q,), (c,) = where, item.clbits
            ones = np.arange(2**circuit.num_qubits) >> q & 1
            states = [(s * (ones == v), {**bits, c: v}) for s, bits in states for v in (0, 1)]
        elif isinstance(item.operation, IfElseOp):
            out = []
            for s, bits in states:
                read, value = item.operation.condition
                held = [read] if not isinstance(read, ClassicalRegister) else list(read)
                found = sum(bits.get(b, 0) << k for k, b in enumerate(held))
                blocks = item.operation.blocks
                chosen = blocks[0] if found == int(value) else blocks[1] if len(blocks) > 1 else None
                out.append((s if chosen is None else Statevector(s).evolve(Operator(chosen), where).data, bits))
            states = out
        else:
            states = [(Statevector(s).evolve(Operator(item.operation), where).data, bits) for s, bits in states]
    return states


def average(circuit, observable):
    matrix = SparsePauliOp(observable).to_matrix()
    return sum(np.vdot(s, matrix @ s).real for s, _ in branches(circuit.assign_parameters(VALUES)))


def mid_circuit():
    circuit = QuantumCircuit(3, 2)
    circuit.ry(A, 0)
    circuit.cx(0, 1)
    circuit.measure(0, 0)
    circuit.rx(0.7, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.ry(B, 2)
        circuit.h(1)
    circuit.measure(2, 1)
    circuit.ry(2 * A, 2)
    return circuit


def register():
    q, c = QuantumRegister(3), ClassicalRegister(2)
    circuit = QuantumCircuit(q, c)
    circuit.ry(A, 0)
    circuit.rx(B, 1)
    circuit.measure(q[0], c[0])
    circuit.measure(q[1], c[1])
    with circuit.if_test((c, 2)) as otherwise:
        circuit.rx(0.3, 2)
    with otherwise:
        circuit.ry(A * B, 2)
        circuit.cx(0, 1)
    circuit.h(0)
    return circuit


def never_measured():
    circuit = QuantumCircuit(2, 2)
    circuit.ry(A, 0)
    circuit.rx(B, 1)
    with circuit.if_test((circuit.clbits[1], 1)) as otherwise:
        circuit.x(0)
    with otherwise:
        circuit.cx(0, 1)
    return circuit


def measured_twice():
    circuit = QuantumCircuit(2, 1)
    circuit.ry(A, 0)
    circuit.measure(0, 0)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 0)):
        circuit.ry(B, 1)
    circuit.h(0)
    return circuit


@pytest.mark.parametrize("make", [mid_circuit, register, never_measured, measured_twice])
@pytest.mark.parametrize("letters", ["Z", "XY", "YZ"])
def test_averages_are_those_of_the_branches(make, letters):
    circuit = make()
    observable = (letters * 3)[: circuit.num_qubits]
    model = qpr.from_qiskit(circuit, SparsePauliOp(observable))
    theta = [VALUES[p] for p in circuit.parameters]
    np.testing.assert_allclose(qpr.expectation(model, theta), [average(circuit, observable)], atol=1e-12)


def test_measurements_at_the_end_need_no_further_qubits():
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure([0, 1], [0, 1])
    assert type(qpr.from_qiskit(circuit)) is qpr.Circuit and qpr.from_qiskit(circuit).n_qubits == 2


def test_what_cannot_be_deferred_is_refused():
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.measure(1, 1)
    with pytest.raises(qpr.QupropError, match="a measurement under a condition"):
        qpr.from_qiskit(circuit)
    loop = QuantumCircuit(1, 1)
    with loop.while_loop((loop.clbits[0], 0)):
        loop.h(0)
        loop.measure(0, 0)
    with pytest.raises(qpr.QupropError, match="control flow at run time"):
        qpr.from_qiskit(loop)
