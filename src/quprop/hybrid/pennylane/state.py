"""Final states for PennyLane: what is not a function of few expectation values, and finite shots, is read from them.

quprop computes states up to a global phase, which only `qml.state()` sees. There the Clifford gates are written out as
rotations, every angle is reduced to at most pi/2, and the Pauli strings this splits off are carried to the end:
rotations that small keep their phase in every engine.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pennylane import measurements as mp
from pennylane.devices.qubit import measure
from pennylane.devices.qubit.simulate import measure_final_state
from pennylane.tape import QuantumScript

from quprop.angle import PARAM, Angle, as_angle, inputs, params
from quprop.angle_table import AngleTable
from quprop.circuit import Circuit
from quprop.gates import GATES, Clifford
from quprop.hybrid.pennylane.gates import CLIFFORD_TURNS, word
from quprop.hybrid.pennylane.translate import Structure
from quprop.model import Model
from quprop.pauli import PauliString, PauliSum
from quprop.simulate import state

_LARGEST = math.pi / 2 * (1 - 4e-15)  # inside the range in which no engine splits off a quarter turn


class PhasedStates:
    """The states of one structure with the global phase that PennyLane's matrices give them."""

    def __init__(self, structure: Structure) -> None:
        self.structure = structure
        circuit = structure.circuit()
        rotations, self._constant = _rotations(circuit)
        identities = [a for p, a in rotations if p.x == p.z == 0]
        rotations = [(p, a) for p, a in rotations if p.x or p.z]
        self._strings = [p for p, _ in rotations]
        flat = [a.relabel(lambda variable: (PARAM, variable[1])) for a in [a for _, a in rotations] + identities]
        self._angles = AngleTable.build(flat, circuit.n_params, 0)
        start = circuit.state
        if structure.prep is not None and structure.prep[0] == "real":
            start = inputs("amplitudes", 1 << structure.n)
        turned = Circuit(structure.n, start)
        for string, angle in zip(self._strings, params("a", len(rotations)), strict=True):
            turned.rotation(string, angle)
        self._model = Model(turned, "I")

    def __call__(self, theta: np.ndarray, x: np.ndarray | None, options: dict[str, Any]) -> np.ndarray:
        """(B, 2^n) from the tape's numbers theta (B, P).

        With a = q pi + r and F the Pauli strings split off so far, R(a) F = (-iP)^q F R(+-r), minus where P and F
        anticommute.
        """
        angles = self._angles.evaluate(theta, np.empty((1, 0)))
        angles, identities = np.split(angles, [len(self._strings)], axis=1)
        quarters = np.round(angles / math.pi)
        rest = np.clip(angles - quarters * math.pi, -_LARGEST, _LARGEST)
        frames = []
        for row, turns in zip(rest, quarters, strict=True):
            frame = PauliString(0, 0, 0)
            if turns.any():
                for m, (p, q) in enumerate(zip(self._strings, turns.astype(int).tolist(), strict=True)):
                    if not p.commutes(frame):
                        row[m] = -row[m]
                    for _ in range(q % 4):
                        frame = PauliString(p.x, p.z, p.phase + 3) * frame
            frames.append(frame)
        states = state(self._model, rest, x, **options)
        phases = np.exp(1j * (self._constant + self.structure.phase(theta) - identities.sum(axis=1) / 2))
        for out, frame, phase in zip(states, frames, phases, strict=True):
            out[:] = phase * _apply(frame, out)
        return states


def _rotations(circuit: Circuit) -> tuple[list[tuple[PauliString, Angle]], float]:
    """The circuit as rotations only, Clifford gates included, and the phase that makes the latter exact."""
    out: list[tuple[PauliString, Angle]] = []
    phase = 0.0
    for name, angles, target in circuit.operations:
        if isinstance(target, PauliString):
            out.append((target, angles[0]))
        elif isinstance(target, PauliSum):
            out += [(p, c * angles[0]) for p, c in target.items()]
        else:
            for step in GATES[name].builder(*angles):
                if isinstance(step, Clifford):
                    turns, extra = CLIFFORD_TURNS[step.name]
                    phase += extra
                    out += [(word(p, [target[q] for q in step.qubits]), as_angle(a)) for p, a in turns]
                else:
                    out.append((word(step.pauli, target), step.angle))
    return out, phase


def _apply(p: PauliString, amplitudes: np.ndarray) -> np.ndarray:
    """i^phase X^x Z^z on a state."""
    if p.x == 0 and p.z == 0:
        return amplitudes * 1j**p.phase
    j = np.arange(len(amplitudes)) ^ p.x  # where amplitude i comes from
    return 1j**p.phase * (1 - 2.0 * (np.bitwise_count(j & p.z) & 1)) * amplitudes[j]


def measure_state(m: mp.MeasurementProcess, states: np.ndarray, n: int, batched: bool) -> Any:
    """A measurement without shots, by PennyLane's own code; wires are numbers 0..n-1 already."""
    nd = states.reshape((-1,) * batched + (2,) * n)
    return measure(m, nd, is_state_batched=batched)


def measure_shots(tape: QuantumScript, states: np.ndarray, n: int, batched: bool, rng: np.random.Generator) -> Any:
    """All measurements of a tape with shots or a shot vector, by PennyLane's own code."""
    nd = states.reshape((-1,) * batched + (2,) * n)
    return measure_final_state(tape, nd, batched, rng=rng)
