"""The errors of a machine after every gate of a circuit: `Circuit.with_noise`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from quprop.errors import QupropError, shown
from quprop.hardware_models import NoiseModel
from quprop.model.pauli import PauliString, PauliSum

if TYPE_CHECKING:
    from quprop.model.circuit import Circuit, Operation

_CLIFFORDS = {"cx": 1, "cy": 1, "cz": 1, "ecr": 1, "swap": 3, "iswap": 2}  # two-qubit gates that they take
_OTHERS = 2  # that every other gate of two or three qubits takes for each pair of its qubits
_ROUNDING = 1e-12  # of sums of times, relative


class _Run(NamedTuple):
    """What a machine runs for a gate: `twos` two-qubit gates on each of the pairs, and one-qubit gates on `ones`."""

    pairs: tuple[tuple[int, int], ...]
    twos: int
    ones: tuple[int, ...]


def function_of(noise: Any) -> Callable[[Circuit], Any]:
    """What noise does to a circuit, of an object with `apply(circuit)`, or a function, that returns a new circuit."""
    apply = getattr(noise, "apply", noise)
    if not callable(apply):
        raise QupropError(
            f"noise is an object with apply(circuit), or a function from a circuit to the noisy one, got {shown(noise)}"
        )
    return apply


def applied(noise: Any, circuit: Circuit) -> Circuit:
    """The circuit with its noise, see `function_of`."""
    found = function_of(noise)(circuit.copy())
    if not isinstance(found, type(circuit)) or found.n_qubits != circuit.n_qubits:
        got = f"a circuit on {found.n_qubits}" if isinstance(found, type(circuit)) else f"a {type(found).__name__}"
        raise QupropError(f"noise returns a Circuit on the {circuit.n_qubits} qubits that it was given, got {got}")
    return found


def machine_gates(circuit: Circuit) -> tuple[int, int, int]:
    """(two-qubit gates, all gates, layers of gates) that a machine runs for a circuit, counted as `Circuit.with_noise`
    counts them; its channels and its input state are none."""
    twos = gates = 0
    free = [0] * circuit.n_qubits
    for operation in circuit.operations:
        for part in _parts(operation):
            if part.is_channel:
                continue
            run = _run(part)
            pairs, ones = run.twos * len(run.pairs), len(run.ones)
            twos, gates = twos + pairs, gates + pairs + ones
            qubits = {q for pair in run.pairs for q in pair} | set(run.ones)
            end = max((free[q] for q in qubits), default=0) + pairs + bool(ones)
            for q in qubits:
                free[q] = end
    return twos, gates, max(free)


def noisy_circuit(circuit: Circuit, noise: NoiseModel) -> Circuit:
    """A copy of the circuit with the errors of `noise`, see `Circuit.with_noise`."""
    twin = circuit.copy()
    gates, twin.steps = twin.operations, []
    clock = _Clock(twin, noise)
    for operation in gates:
        for part in _parts(operation):
            if part.is_channel:
                twin.steps.append(part)
                continue
            run = _run(part)
            clock.wait(run)
            twin.steps.append(part)
            for q in run.ones:
                _append(twin, "depolarising", noise.one_qubit, q)
            for pair in run.pairs:
                _append(twin, "depolarising2", _repeated(noise.two_qubit, run.twos), *pair)
    clock.wait(_Run((), 0, tuple(range(twin.n_qubits))))
    for q in range(twin.n_qubits):
        # Flips of bits with probability p multiply each measured letter by 1 - 2p, in whatever basis it is measured.
        _append(twin, "depolarising", 1.5 * noise.readout, q)
    return twin


class _Clock:
    """When each qubit is free: gates start as soon as all their qubits are, and those that wait relax."""

    def __init__(self, circuit: Circuit, noise: NoiseModel) -> None:
        self.circuit, self.noise = circuit, noise
        self.free = [0.0] * circuit.n_qubits

    def wait(self, run: _Run) -> None:
        """Until the gate starts; then its qubits are busy until it ends."""
        if self.noise.t1 is None:
            return
        qubits = {q for pair in run.pairs for q in pair} | set(run.ones)
        start = max((self.free[q] for q in qubits), default=0.0)
        lasts = run.twos * len(run.pairs) * self.noise.two_qubit_seconds
        lasts += bool(run.ones) * self.noise.one_qubit_seconds
        for q in sorted(qubits):
            if start - self.free[q] > _ROUNDING * start:
                self.circuit.thermal_relaxation(self.noise.t1, self.noise.t2, start - self.free[q], q)
            self.free[q] = start + lasts


def two_qubit_gates(operation: Operation) -> int:
    """How many of them a machine runs for a gate, a rotation or an exponential, as `Circuit.with_noise` counts them."""
    runs = map(_run, _parts(operation))
    return sum(len(run.pairs) * run.twos for run in runs)


def _append(circuit: Circuit, name: str, strength: Any, *qubits: int) -> None:
    if not (isinstance(strength, int | float) and strength == 0):
        circuit.channel(name, strength, *qubits)


def _repeated(p: Any, times: int) -> Any:
    """The probability of an error after so many depolarising channels of two qubits, one after the other."""
    return p if times == 1 else 15 / 16 * (1 - (1 - 16 / 15 * p) ** times)


def _parts(operation: Operation) -> Iterator[Operation]:
    """The rotations of an exponential of a sum, else the operation."""
    if isinstance(operation.target, PauliSum):
        for string, coefficient in operation.target.items():
            if string.weight:
                yield operation._replace(name="rotation", angles=(coefficient * operation.angles[0],), target=string)
    else:
        yield operation


def _run(operation: Operation) -> _Run:
    """A rotation about a string of w letters is w - 1 two-qubit gates along its qubits, a one-qubit rotation of the
    last, and the two-qubit gates again."""
    if isinstance(operation.target, PauliString):
        qubits = operation.target.qubits
        pairs = tuple(itertools.pairwise(qubits))
        return _Run(pairs, 2 if pairs else 0, tuple(qubits[-1:]))
    assert isinstance(operation.target, tuple)
    qubits = operation.target
    if len(qubits) == 1:
        return _Run((), 0, qubits)
    clifford = operation.name in _CLIFFORDS
    twos = _CLIFFORDS.get(operation.name, _OTHERS)
    return _Run(tuple(itertools.combinations(qubits, 2)), twos, () if clifford else qubits[-1:])
