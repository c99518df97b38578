"""Noise that is put on circuits: what `noise=` takes, and observables that are read from misread bits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.circuit import Circuit, Operation
from quprop.model.model import observables_of
from quprop.model.noise import applied
from quprop.model.pauli import PauliString, PauliSum

READOUT = "readout_error"
Misreading = tuple[float, float]  # p(1|0), p(0|1) of a qubit's bit


def noisy_model(what: str, model: Any, observables: Any, noise: Any) -> Any:
    """The model of `model`, a circuit, with its noise; a model as it is where neither noise nor observables are given.

    Errors of readout at the circuit's end act on each Pauli string in the basis it is measured in (`misread`).
    """
    if isinstance(model, Circuit) and (observables is not None or noise is not None):
        if observables is None:
            raise QupropError(f"{what} of a circuit needs observables=, such as observables=['Z0', 'Z1']")
        return read_model(model if noise is None else applied(noise, model), observables)
    if observables is not None or noise is not None:
        name = "noise" if noise is not None else "observables"
        raise QupropError(
            f"{what} takes {name}= with a Circuit, whose gates it acts on and which a Model no longer has; pass "
            "the circuit and observables=, or a Model of a noisy circuit"
        )
    return model


def read_model(circuit: Circuit, observables: Any) -> Model:
    """The circuit's model, in which errors of readout at its end act on every Pauli string in the basis it is measured
    in, whether that is X, Y or Z."""
    plain, misreadings = read_out(circuit)
    return Model(plain, [misread(total, misreadings) for total in observables_of(observables, circuit.n_qubits)])


def read_out(circuit: Circuit) -> tuple[Circuit, dict[int, list[Misreading]]]:
    """The circuit without the errors of readout at its end whose strengths are numbers, and these, in their order."""
    kept: list[Operation] = []
    found: dict[int, list[Misreading]] = {}
    later: set[int] = set()
    for op in reversed(circuit.operations):
        qubits = support(op)
        if op.name == READOUT and not later & qubits and all(s.is_constant for s in op.angles):
            p10, p01 = (s.constant for s in op.angles)
            found.setdefault(op.target[0], []).insert(0, (p10, p01))
        else:
            kept.append(op)
            later |= qubits
    if not found:
        return circuit, found
    plain = circuit.copy()
    plain.steps = list(reversed(kept))
    return plain, found


def misread(total: PauliSum, misreadings: dict[int, list[Misreading]]) -> PauliSum:
    """What is measured in place of a sum of Pauli strings, each read in its own basis from bits that may be wrong:
    every letter P of a qubit stands for b P + c, b = 1 - p10 - p01 and c = p01 - p10."""
    if not misreadings:
        return total
    out: dict[PauliString, float] = {}
    for string, coefficient in total.items():
        terms = {string: float(coefficient)}
        for q in string.qubits:
            for p10, p01 in reversed(misreadings.get(q, ())):
                following: dict[PauliString, float] = {}
                for p, c in terms.items():
                    there = (p.x | p.z) >> q & 1
                    b, rest = (1 - p10 - p01, p01 - p10) if there else (1.0, 0.0)
                    following[p] = following.get(p, 0.0) + b * c
                    if rest:
                        left = PauliString(p.x & ~(1 << q), p.z & ~(1 << q))
                        following[left] = following.get(left, 0.0) + rest * c
                terms = following
        for p, c in terms.items():
            out[p] = out.get(p, 0.0) + c
    return PauliSum(out)


def support(op: Operation) -> set[int]:
    """The qubits that an operation acts on."""
    if isinstance(op.target, PauliString):
        return set(op.target.qubits)
    parts: Iterable[Any] = [p for p, _ in op.target.items()] if isinstance(op.target, PauliSum) else op.target
    out: set[int] = set()
    for part in parts:
        out |= set(part.qubits) if isinstance(part, PauliString) else {int(part)}
    return out


def is_full_reset(op: Operation) -> bool:
    """Whether it is what other languages call reset."""
    return op.name == "reset" and op.angles[0].is_constant and op.angles[0].constant == 1.0


def on_qubits(circuit: Circuit, chosen: Sequence[int]) -> Circuit:
    """The circuit on some of its qubits, in this order, where nothing acts on the others and they start in |0>."""
    if list(chosen) == list(range(circuit.n_qubits)):
        return circuit
    place = {q: k for k, q in enumerate(chosen)}
    out = Circuit(len(chosen))
    out.vectors.update(circuit.vectors)
    for op in circuit.operations:
        target: Any
        if isinstance(op.target, PauliString):
            target = _moved(op.target, place)
        elif isinstance(op.target, PauliSum):
            target = moved(op.target, place)
        else:
            target = tuple(_moved(t, place) if isinstance(t, PauliString) else place[t] for t in op.target)
        out.operations.append(Operation(op.name, op.angles, target))
    return out


def moved(total: PauliSum, place: Mapping[int, int] | Sequence[int]) -> PauliSum:
    """The sum with its qubit q on qubit place[q]."""
    return PauliSum({_moved(p, place): c for p, c in total.items()})


def _moved(string: PauliString, place: Mapping[int, int] | Sequence[int]) -> PauliString:
    return PauliString(moved_mask(string.x, place), moved_mask(string.z, place), string.phase)


def moved_mask(mask: int, place: Mapping[int, int] | Sequence[int]) -> int:
    return sum(1 << place[q] for q in range(mask.bit_length()) if mask >> q & 1)
