"""Stim's Clifford circuits -> circuits.

    circuit = from_stim(stim.Circuit("H 0\\nCX 0 1"))

Qubit k is qubit k. Measurements at the end, annotations and ticks are left out; noise, resets of used qubits, feedback
and measurements in the middle are refused with their place.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn, overload

import stim

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString

_MAX_GATES = 10_000_000
_NAMES = {
    "X": "x", "Y": "y", "Z": "z", "H": "h", "S": "s", "S_DAG": "sdg", "SQRT_X": "sx", "SQRT_X_DAG": "sxdg", "CX": "cx",
    "CY": "cy", "CZ": "cz", "SWAP": "swap", "ISWAP": "iswap",
}  # fmt: skip
_LEFT_OUT = frozenset(("TICK", "QUBIT_COORDS", "SHIFT_COORDS", "DETECTOR", "OBSERVABLE_INCLUDE", "I", "II", "MPAD"))


@overload
def from_stim(circuit: Any, observables: None = None) -> Circuit: ...
@overload
def from_stim(circuit: Any, observables: Any) -> Model: ...
def from_stim(circuit: Any, observables: Any = None) -> Circuit | Model:
    """The `Circuit` of `circuit`, a stim.Circuit of Clifford gates or its text; its `Model` if observables are given.

    Gates that quprop has no name for are written as its own: SPP and the like as rotations by quarter turns, others by
    H, S and CX. Measurements at the end of a qubit's life, resets of fresh qubits, TICK, detectors and coordinates are
    left out; REPEAT blocks are written out. Everything else raises a `QupropError` that names the
    instruction, by its number in the stim.Circuit (which joins lines of the same gate).

    Returns: Circuit, or Model if observables are given.
    Raises: QupropError as said.

    >>> qpr.expectation(qpr.from_stim("H 0\\nCX 0 1", ["X0 X1", "Z0"]), [])
    array([1., 0.])
    """
    if isinstance(circuit, str):
        try:
            circuit = stim.Circuit(circuit)
        except ValueError as error:
            first = str(error).strip().splitlines()[0].rstrip(".")
            raise QupropError(f"this is no stim program ({first}); check it") from None
    if not isinstance(circuit, stim.Circuit):
        raise QupropError(f"from_stim takes a stim.Circuit or its text, got {type(circuit).__name__}")
    if circuit.num_qubits == 0:
        raise QupropError("the stim.Circuit has no qubits; a circuit needs one at least")
    reader = _StimReader(circuit.num_qubits)
    reader.read(circuit, "")
    return reader.out if observables is None else Model(reader.out, observables)


class _StimReader:
    def __init__(self, n: int) -> None:
        self.out = Circuit(n)
        self.measured: set[int] = set()
        self.touched: set[int] = set()
        self.count = 0
        self.place = ""

    def refuse(self, sentence: str) -> NoReturn:
        raise QupropError(f"{self.place}: {sentence}")

    def read(self, circuit: stim.Circuit, block: str) -> None:
        for k, item in enumerate(circuit):
            self.place = f"instruction {k}{block}, {item.name}"
            if isinstance(item, stim.CircuitRepeatBlock):
                if item.repeat_count > _MAX_GATES:
                    self.refuse(f"{item.repeat_count} repetitions are more than the {_MAX_GATES:,} gates that are read")
                for _ in range(item.repeat_count):
                    self._step()
                    self.read(item.body_copy(), f"{block} of the REPEAT block in instruction {k}")
                continue
            self._instruction(item)

    def _step(self) -> None:
        self.count += 1
        if self.count > _MAX_GATES:
            self.refuse(f"the circuit has more than {_MAX_GATES:,} gates; give it in parts")

    def _instruction(self, item: stim.CircuitInstruction) -> None:
        name, data = item.name, stim.gate_data(item.name)
        if name in _LEFT_OUT:
            return
        if data.is_noisy_gate and not data.produces_measurements:
            self.refuse("noise has no place in an exact circuit; circuit.without_noise() removes it")
        for targets in item.target_groups():
            qubits = [t.value for t in targets if not t.is_combiner]
            if any(t.is_measurement_record_target or t.is_sweep_bit_target for t in targets):
                self.refuse("gates controlled by measured or sweep bits cannot be read; remove the feedback")
            self._step()
            if data.is_reset and not data.produces_measurements:
                if name in ("RX", "RY"):
                    self.refuse("resets are read in the Z basis and for fresh qubits only; write R and the gate")
                if any(q in self.touched or q in self.measured for q in qubits):
                    self.refuse(f"qubit {qubits[0]} has been used, and its reset cannot be read; use another qubit")
                continue
            if data.produces_measurements:
                if item.gate_args_copy() and any(item.gate_args_copy()):
                    self.refuse("noise has no place in an exact circuit; circuit.without_noise() removes it")
                if name not in ("M", "MX", "MY"):
                    self.refuse("of measurements only M, MX and MY at the end are left out; remove the others")
                self.measured.update(qubits)
                continue
            late = [q for q in qubits if q in self.measured]
            if late:
                self.refuse(
                    f"qubit {late[0]} was measured before, and measurements in the middle of a circuit cannot be read; "
                    "move them to the end"
                )
            if not data.is_unitary:
                self.refuse("this instruction is no Clifford gate, so it cannot be read; remove it")
            self.touched.update(qubits)
            self._gate(name, targets, qubits)

    def _gate(self, name: str, targets: list[stim.GateTarget], qubits: list[int]) -> None:
        if name in _NAMES:
            self.out.gate(_NAMES[name], *qubits)
        elif name in ("SPP", "SPP_DAG"):
            string = PauliString(0, 0)
            for t in targets:
                if not t.is_combiner:
                    letter = PauliString.parse(f"{t.pauli_type}{t.value}")
                    string = string * (-letter if t.is_inverted_result_target else letter)
            if not string.is_hermitian:
                self.refuse(f"the product {string} is not Hermitian, so it turns nothing; check its letters")
            quarter = 0.5 if name == "SPP" else -0.5
            self.out.rotation(string, quarter * math.pi)
        else:  # by stim's own decomposition into H, S, CX
            for step in stim.gate_data(name).tableau.to_circuit("elimination"):
                for group in step.target_groups():
                    self.out.gate(_NAMES[step.name], *(qubits[t.value] for t in group))


__all__ = ["from_stim"]
