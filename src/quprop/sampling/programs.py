"""Programs: circuits derived from a model, whose parameters are the angles of their own rotations.

The model's qubits are 0 ... n-1 and ancillas follow, starting in |0>. Every gradient method is a choice of programs,
of angles for them, and of Pauli strings to read.

Where the model has noise, a program has the same channels at the same places; ancillas, the controlled strings and what
turns strings to be read into bits suffer none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from quprop.model import Model
from quprop.model.angle import AngleVector, inputs, params
from quprop.model.channels import Channel
from quprop.model.circuit import Circuit, Operation
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum


def blank(model: Model, ancillas: int = 0, rotations: int | None = None) -> Circuit:
    """An empty circuit on the model's input state and ancillas in |0>, with one parameter per rotation to come."""
    n, state = model.n_qubits, model.state
    start: InputState | AngleVector | np.ndarray | int
    encoded: tuple[AngleVector, ...] = ()
    if state.kind == "basis":
        start = state.index
    elif state.kind == "product":
        start = np.concatenate([state.array, np.tile([1.0, 0.0], (ancillas, 1))])
    elif state.kind == "amplitudes":
        start = np.concatenate([state.array, np.zeros((1 << (n + ancillas)) - (1 << n))])
    else:
        # One vector of inputs: the model's own first, then zeros, so that the amplitudes of the ancillas' |1> vanish.
        first = state.input_slice(n).start
        vector = inputs("x", first + (1 << (n + ancillas)))
        start, encoded = vector[first:], (vector,)
    count = model.n_rotations if rotations is None else rotations
    return Circuit(n + ancillas, start, params=params("angle", count), inputs=encoded)


def read_by_programs(model: Model, x: np.ndarray) -> np.ndarray:
    """The inputs (D,) as far as programs read them: up to the encoded amplitudes' end, or none."""
    return x[: model.state.input_slice(model.n_qubits).stop] if model.state.kind == "encoded" else x[:0]


def free(model: Model) -> Model:
    """The model with every rotation's angle a parameter of its own: theta of this one is a (M,) of that one."""
    circuit = blank(model)
    for rotation, angle in zip(model.rotations, params("angle", model.n_rotations), strict=True):
        circuit.rotation(PauliString(rotation.x, rotation.z), angle)
    return Model(with_channels(circuit, model, range(model.n_rotations)), [PauliSum("I")])


def channels_at(model: Model) -> list[list[Channel]]:
    """Those that act after 0, 1, ..., M rotations."""
    found: list[list[Channel]] = [[] for _ in range(model.n_rotations + 1)]
    for channel in model.channels:
        found[channel.place].append(channel)
    return found


def err(circuit: Circuit, channels: Iterable[Channel]) -> Circuit:
    """Append channels of a model, as they act among its rotations."""
    circuit.steps += [Operation(c.name, c.strengths, c) for c in channels]
    return circuit


def with_channels(circuit: Circuit, model: Model, executed: Sequence[int]) -> Circuit:
    """A program whose k-th rotation is number executed[k] of the model, with the model's channels: each right before
    the next rotation, so that what else is in between is as close to the rotation before as it was."""
    if not model.channels:
        return circuit
    twin, at, done, following = circuit.copy(), channels_at(model), 0, iter(executed)
    twin.steps = []
    for operation in circuit.operations:
        if operation.name == "rotation":
            upto = next(following) + 1
            err(twin, (c for place in at[done:upto] for c in place))
            done = upto
        twin.steps.append(operation)
    return err(twin, (c for place in at[done:] for c in place))


def controlled(circuit: Circuit, control: int, pauli: PauliString) -> Circuit:
    """Append the controlled Pauli string |0><0| + |1><1| P, a Clifford; P may carry a minus sign."""
    for q in pauli.qubits:
        x, z = pauli.x >> q & 1, pauli.z >> q & 1
        circuit.gate("cx" if not z else "cy" if x else "cz", control, q)
    if pauli.sign < 0:
        circuit.z(control)
    return circuit


def absorbed(program: Model, paulis: Sequence[PauliString]) -> tuple[PauliString, ...]:
    """Strings measured at the end of a program's circuit, as they act right after its canonical rotations."""
    out = []
    for total in program.with_observables([PauliSum(p) for p in paulis]).observables:
        ((string, coefficient),) = total.terms
        out.append(string if coefficient > 0 else -string)
    return tuple(out)
