"""Noise models of Qiskit Aer as channels: after each instruction its errors, at each measurement its misread bit.

A model is read by what it holds, so that Aer itself is not needed: errors of instructions by name or label, for certain
qubits or for all others, of readout, and passes that add noise by duration, such as relaxation during delays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from qiskit.quantum_info import PTM

from quprop.errors import QupropError
from quprop.hybrid.transfer import MOST_QUBITS, ChannelStep, steps_of
from quprop.model.circuit import Circuit

_HOLDS = (
    "_default_quantum_errors",
    "_local_quantum_errors",
    "_default_readout_error",
    "_local_readout_errors",
    "basis_gates",
)
_MIXES = 1e-9  # how much of X and Y an error may bring into what a measurement reads


class AerNoise:
    """What a `qiskit_aer.noise.NoiseModel` does to circuits, its qubits being those of the circuit."""

    def __init__(self, model: Any) -> None:
        if any(not hasattr(model, name) for name in _HOLDS):
            raise QupropError(
                f"noise_model is a NoiseModel of qiskit_aer.noise, got {type(model).__name__}; noise of quprop's own "
                "is put on the circuit that from_qiskit returns"
            )
        self._default, self._local = model._default_quantum_errors, model._local_quantum_errors
        self._readout, self._readouts = model._default_readout_error, model._local_readout_errors
        self._passes = tuple(getattr(model, "_custom_noise_passes", ()))
        self.basis_gates = frozenset(model.basis_gates)
        wide = next((qubits for qubits in self._readouts if len(qubits) > 1), None)
        if wide is not None or (self._readout is not None and self._readout.number_of_qubits > 1):
            raise QupropError(
                f"the noise model has an error of readout of several qubits together{f', {wide}' if wide else ''}; "
                "errors of single qubits are read, add one for each"
            )
        self._known: dict[int, tuple[Any, tuple[ChannelStep, ...]]] = {}

    def takes(self, op: Any) -> bool:
        """Whether an instruction is one of the device's own."""
        name = _name(op)
        return name in self._default or name in self._local or op.name in self.basis_gates

    def append(self, circuit: Circuit, op: Any, qubits: Sequence[int]) -> None:
        """Append what follows an instruction on these qubits."""
        name = _name(op)
        for error in (self._error(name, qubits), *self._of_passes(op, qubits)):
            if error is None:
                continue
            if error.num_qubits != len(qubits):
                raise QupropError(
                    f"the noise model has an error of {error.num_qubits} qubits for {name!r}, which acts on "
                    f"{len(qubits)} here; give it one of as many"
                )
            for step in self._steps(error, name):
                step.append_to(circuit, qubits[::-1])  # Qiskit's first qubit is the last letter

    def append_measurement(self, circuit: Circuit, qubit: int) -> None:
        """Append what makes the qubit's measured bit wrong: the error of "measure", which comes before, and readout's.

        Of the former only what it does to Z counts, Z -> b Z + c: the bit is misread.
        """
        error = self._error("measure", (qubit,))
        if error is not None:
            transfer = _transfer(error)
            if len(transfer) != 4 or np.abs(transfer[3, 1:3]).max() > _MIXES:
                raise QupropError(
                    f"the noise model's error of 'measure' on qubit {qubit} turns the qubit, or acts on more of them, "
                    "and one that makes the bit wrong is read; give it as an error of readout"
                )
            b, c = float(transfer[3, 3]), float(transfer[3, 0])
            self._misread(circuit, qubit, (1 - b - c) / 2, (1 - b + c) / 2)
        readout = self._readouts.get((qubit,), self._readout)
        if readout is not None:
            table = np.asarray(readout.probabilities, float)
            self._misread(circuit, qubit, float(table[0, 1]), float(table[1, 0]))

    def _misread(self, circuit: Circuit, qubit: int, p10: float, p01: float) -> None:
        p10, p01 = (min(max(p, 0.0), 1.0) for p in (p10, p01))  # up to rounding
        if p10 or p01:
            circuit.readout_error(p10, p01, qubit)

    def _error(self, name: str, qubits: Sequence[int]) -> Any:
        """The error for just these qubits, else the one for all."""
        return self._local.get(name, {}).get(tuple(qubits), self._default.get(name))

    def _of_passes(self, op: Any, qubits: Sequence[int]) -> list[Any]:
        out = []
        for one in self._passes:
            kinds, make = getattr(one, "_ops", None), getattr(one, "_func", None)
            if kinds is None or make is None or getattr(one, "_method", None) != "append":
                raise QupropError(
                    f"the noise model has a pass, {type(one).__name__}, that does more than append noise to single "
                    "instructions; run it on the circuit, and leave it out of the model"
                )
            if not kinds or isinstance(op, kinds):
                out.append(make(op, list(qubits)))
        return out

    def _steps(self, error: Any, name: str) -> tuple[ChannelStep, ...]:
        known = self._known.get(id(error))
        if known is None or known[0] is not error:
            subject = f"the noise model's error of {name!r}"
            if error.num_qubits > MOST_QUBITS:
                raise QupropError(
                    f"{subject} acts on {error.num_qubits} qubits; those on {MOST_QUBITS} at most are looked into"
                )
            known = self._known[id(error)] = error, steps_of(_transfer(error), subject)
        return known[1]


def _name(op: Any) -> str:
    """What errors of an instruction are kept under: its label stands in place of its name, as in Aer."""
    return str(getattr(op, "label", None) or op.name)


def _transfer(error: Any) -> np.ndarray:
    return np.real(PTM(error.to_quantumchannel()).data)
