"""Circuits for Qiskit's backends: compiled once with open angles, twirled, and their outcomes as whole numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.hybrid.qiskit import to_qiskit
from quprop.lazy import missing
from quprop.model.angle import PARAM
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.devices.device import DeviceCircuit, Outcomes, Prepared, Work

try:
    from qiskit import ClassicalRegister
    from qiskit.circuit import Measure, ParameterVectorElement, QuantumCircuit
    from qiskit.circuit.library import XGate
    from qiskit.circuit.twirling import pauli_twirl_2q_gates
    from qiskit.exceptions import QiskitError
except ImportError:
    raise missing("Qiskit's devices need Qiskit 2", "qiskit") from None

REGISTER = "m"  # of all bits that are read
_NO_GATES = frozenset({"measure", "barrier", "delay", "reset"})
_WORD = 63  # bits of an outcome that NumPy's integers hold


class Compiled(NamedTuple):
    circuit: Any  # for the backend, measurements included
    columns: np.ndarray  # which angle each of its parameters is, in Qiskit's order of them
    prepared: Prepared


class Instance(NamedTuple):
    """A randomised form of a compiled circuit; where `mask` has a 1 its outcomes are flipped."""

    circuit: Any
    mask: int


def compiled(circuits: Sequence[DeviceCircuit], passes: Any, target: Any, delay: float | None) -> list[Compiled]:
    """passes: of Qiskit's compiler. target: what says how long gates take, or None. delay: seconds between two shots,
    None where that is not known.

    Raises: QupropError for what the compiler cannot do.
    """
    made = compiled_by(passes, [_measured(c) for c in circuits])
    return [
        Compiled(isa, columns_of(isa, c.circuit), _prepared(isa, len(c.measured), target, delay))
        for c, isa in zip(circuits, made, strict=True)
    ]


def refolded(base: Compiled, given: DeviceCircuit, again: Any, target: Any, delay: float | None) -> Compiled:
    """`given.folding` of a compiled base: passes of the same gates on the same qubits, with barriers between them.

    again: of Qiskit's compiler, which writes inverse gates in those of the backend and changes no other.
    """
    folding = given.folding
    assert folding is not None
    start, *parts, end = _between_barriers(base.circuit)

    def turned_back(pieces: list[Any]) -> Any:
        back = base.circuit.copy_empty_like()
        for piece in reversed(pieces):
            for step in reversed(piece):
                back.append(step.operation.inverse(), step.qubits)
        return [step for step in again.run(back).data if step.operation.name != "barrier"]

    whole = [step for part in parts for step in part]
    passes = [whole, *[turned_back(parts), whole] * folding.times]
    if folding.partly:
        passes += [turned_back(parts[-1:]), parts[-1]]
    out = base.circuit.copy_empty_like()
    for piece in (start, *passes, end):
        if piece is not start:
            out.barrier()
        for step in piece:
            out.append(step)
    return Compiled(out, base.columns, _prepared(out, len(given.measured), target, delay))


def placed(isa: Any) -> list[int] | None:
    """The backend's qubits on which a compiled circuit begins, None where it has no layout."""
    layout = isa.layout
    return None if layout is None else list(layout.initial_index_layout(filter_ancillas=True))


def _between_barriers(isa: Any) -> list[list[Any]]:
    parts: list[list[Any]] = [[]]
    for step in isa.data:
        if step.operation.name == "barrier":
            parts.append([])
        else:
            parts[-1].append(step)
    return parts


def _with_barriers(circuit: Any, given: DeviceCircuit) -> Any:
    """A gate of Qiskit's stands for each operation but the identity; what prepares the state comes first."""
    written = [
        not isinstance(op.target, PauliString | PauliSum) or _turns(op.target) for op in given.circuit.operations
    ]
    first = len(circuit.data) - sum(written)
    places = [first + sum(written[:position]) for position in given.barriers]
    out = circuit.copy_empty_like()
    for k in range(len(circuit.data) + 1):
        for _ in range(places.count(k)):
            out.barrier()
        if k < len(circuit.data):
            out.append(circuit.data[k])
    return out


def _turns(total: PauliString | PauliSum) -> bool:
    return any(string.weight for string, _ in PauliSum(total).items())


def compiled_by(passes: Any, circuits: list[Any]) -> list[Any]:
    try:
        made: list[Any] = passes.run(circuits, num_processes=1)
    except QiskitError as error:
        raise QupropError(f"Qiskit cannot compile the circuit for this backend: {error.message}") from None
    return made


def pubs(work: Sequence[Work], passes: Any = None) -> list[tuple[Any, np.ndarray, int]]:
    """PUBs of a sampler, compiled by `passes` if given: (circuit with open angles, values (R, P), shots), settings in
    the order of the work; a PUB has one number of shots."""
    found = []
    circuits = [_measured(w.circuit) for w in work]
    if passes is not None:
        circuits = compiled_by(passes, circuits)
    for made, (circuit, values, shots) in zip(circuits, work, strict=True):
        ordered = np.asarray(values)[:, columns_of(made, circuit.circuit)]
        ends = np.flatnonzero(np.diff(shots, append=-1)) + 1
        for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            found.append((made, ordered[start:end], int(shots[start])))
    return found


def counts_of(results: Sequence[Any]) -> list[Outcomes]:
    """Outcomes of every setting, from a sampler's results of `pubs`."""
    found = []
    for result in results:
        array = getattr(result.data, REGISTER, None)
        if array is None:
            raise QupropError(
                f"the results of a plan's circuits have a register {REGISTER!r}, got "
                f"{', '.join(result.data) or 'none'}: are they of other circuits?"
            )
        found += of_bits(array, array.num_bits)
    return found


def _measured(given: DeviceCircuit) -> Any:
    circuit = to_qiskit(given.circuit)
    if given.barriers:
        circuit = _with_barriers(circuit, given)
    register = ClassicalRegister(len(given.measured), REGISTER)
    circuit.add_register(register)
    circuit.measure(list(given.measured), register)
    return circuit


def columns_of(isa: Any, circuit: Circuit) -> np.ndarray:
    """Which of the circuit's parameters those of the compiled one are, in Qiskit's order."""
    start, found = 0, {}
    for name, size in circuit.layout(PARAM):
        found[name], start = start, start + size
    places = [
        found[p.vector.name] + p.index if isinstance(p, ParameterVectorElement) else found[p.name]
        for p in isa.parameters
    ]
    return np.array(places, np.int64)


def _prepared(isa: Any, bits: int, target: Any, delay: float | None) -> Prepared:
    layout = [0] * bits
    sizes = []
    for step in isa.data:
        if isinstance(step.operation, Measure):
            layout[isa.find_bit(step.clbits[0]).index] = isa.find_bit(step.qubits[0]).index
        elif step.operation.name not in _NO_GATES:
            sizes.append(len(step.qubits))
    depth = isa.depth(lambda step: step.operation.name not in _NO_GATES)
    return Prepared(sum(n > 1 for n in sizes), len(sizes), depth, _seconds(isa, target, delay), tuple(layout))


def _seconds(isa: Any, target: Any, delay: float | None) -> float | None:
    """Of one shot: the longest path through the circuit, its measurement, and the wait until the next."""
    if target is None or delay is None:
        return None
    try:
        return float(isa.estimate_duration(target, unit="s")) + delay
    except QiskitError:  # a gate whose duration is not known
        return None


def twirled(circuit: Compiled, instances: int, readout: bool, passes: Any, rng: np.random.Generator) -> list[Instance]:
    """That many instances of a circuit, each with random Pauli gates around its two-qubit gates that leave it what it
    is, and with `readout` random X before its measurements. One where there is nothing to twirl. passes: make gates of
    the backend's own of them."""
    bits = len(circuit.prepared.layout)
    if not readout and not circuit.prepared.two_qubit_gates:
        return [Instance(circuit.circuit, 0)]
    found = []
    for isa in pauli_twirl_2q_gates(circuit.circuit, seed=int(rng.integers(1 << 62)), num_twirls=instances):
        flips = rng.integers(0, 2, bits) if readout else np.zeros(bits, np.int64)
        flipped = _flipped(isa, flips) if readout else isa
        mask = sum(1 << b for b, flip in enumerate(flips.tolist()) if flip)
        found.append(Instance(passes.run(flipped), mask))
    return found


def _flipped(isa: QuantumCircuit, flips: np.ndarray) -> Any:
    out = isa.copy_empty_like()
    for step in isa.data:
        if isinstance(step.operation, Measure) and flips[isa.find_bit(step.clbits[0]).index]:
            out.append(XGate(), step.qubits)
        out.append(step)
    return out


def shares(shots: int, instances: int) -> list[int]:
    """Shots of each instance: equal ones, the rest to the first."""
    return [shots // instances + (k < shots % instances) for k in range(instances)]


def of_hex(counts: Mapping[str, int], bits: int) -> Outcomes:
    """Of Aer's counts, {"0x1f": 3}."""
    found = sorted((int(key, 16), n) for key, n in counts.items())
    return np.array([k for k, _ in found], _dtype(bits)), np.array([n for _, n in found], np.int64)


def of_bits(array: Any, bits: int) -> list[Outcomes]:
    """Of a BitArray of one axis: bytes of all shots, the largest first."""
    packed = np.asarray(array.array)
    if bits > _WORD:
        found = []
        for row in packed:
            distinct, times = np.unique(row, axis=0, return_counts=True)
            values = np.array([int.from_bytes(v.tobytes(), "big") for v in distinct], object)
            found.append((values, times.astype(np.int64)))
        return found
    words = np.zeros((*packed.shape[:2], 8), np.uint8)
    words[..., 8 - packed.shape[2] :] = packed
    numbers = words.view(">i8")[..., 0].astype(np.int64)
    return [np.unique(row, return_counts=True) for row in numbers]


def unmasked(outcomes: Outcomes, mask: int) -> Outcomes:
    return (outcomes[0] ^ mask, outcomes[1]) if mask else outcomes


def summed(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of several runs of one setting."""
    if len(parts) == 1:
        return parts[0]
    distinct, where = np.unique(np.concatenate([values for values, _ in parts]), return_inverse=True)
    times = np.zeros(len(distinct), np.int64)
    np.add.at(times, where, np.concatenate([n for _, n in parts]))
    return distinct, times


def _dtype(bits: int) -> Any:
    return object if bits > _WORD else np.int64


__all__ = [
    "REGISTER",
    "Compiled",
    "Instance",
    "columns_of",
    "compiled",
    "compiled_by",
    "of_bits",
    "of_hex",
    "placed",
    "refolded",
    "shares",
    "summed",
    "twirled",
    "unmasked",
]
