"""Qiskit circuits that measure in the middle, simulated exactly by Qiskit's own vectors: one for every outcome."""

from collections.abc import Iterable

from qiskit.circuit import Clbit, IfElseOp
from qiskit.circuit.classical import expr
from qiskit.quantum_info import Statevector

SMALLEST = 1e-14  # probability of a branch that is followed


def branches(circuit):
    """[(vector, {bit: value})], not normalised: squared norms are probabilities. The circuit has no free parameters."""
    start = Statevector.from_int(0, 2**circuit.num_qubits)
    return _run(circuit, [(start, {})], {q: k for k, q in enumerate(circuit.qubits)}, {b: b for b in circuit.clbits})


def _run(circuit, states, qubits, bits):
    for item in circuit.data:
        op, on = item.operation, [qubits[q] for q in item.qubits]
        if op.name in ("measure", "reset"):
            states = [found for state, known in states for found in _measured(op.name, state, known, on[0], item, bits)]
        elif isinstance(op, IfElseOp):
            (body,) = (block for block in op.blocks if block is not None)
            inner = {q: qubits[outer] for q, outer in zip(body.qubits, item.qubits, strict=True)}
            inside = {b: bits[outer] for b, outer in zip(body.clbits, item.clbits, strict=True)}
            after = []
            for state, known in states:
                holds = _holds(op.condition, {b: known.get(bits[b], 0) for b in item.clbits})
                after += _run(body, [(state, known)], inner, inside) if holds else [(state, known)]
            states = after
        elif op.name != "barrier":
            gate = op.definition if op.name == "PauliEvolution" else op  # whose matrix is a slow exponential
            states = [(state.evolve(gate, on), known) for state, known in states]
    return states


def _measured(name, state, known, qubit, item, bits):
    for value in (0, 1):
        kept = state.data.copy().reshape(-1, 2, 2**qubit)
        kept[:, 1 - value] = 0
        if name == "reset":
            kept[:, 0], kept[:, 1] = kept[:, value].copy(), 0
        vector = Statevector(kept.ravel())
        if vector.inner(vector).real > SMALLEST:
            yield vector, known if name == "reset" else {**known, bits[item.clbits[0]]: value}


def _holds(condition, known):
    if isinstance(condition, tuple):
        read, value = condition
        every: Iterable[Clbit] = [read] if isinstance(read, Clbit) else read
        return all(known[b] == int(value) >> k & 1 for k, b in enumerate(every))
    if isinstance(condition, expr.Var):
        return bool(known[condition.var])
    if isinstance(condition, expr.Unary):
        return not _holds(condition.operand, known)
    assert condition.op == expr.Binary.Op.LOGIC_AND
    return _holds(condition.left, known) and _holds(condition.right, known)
