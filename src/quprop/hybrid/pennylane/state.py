"""Final states for PennyLane: what is not a function of few expectation values, and finite shots, is read from them.

With noise they are density matrices, from the expectation values of all Pauli strings, or distributions of bits.

quprop computes states up to a global phase, which only `qml.state()` sees. There the Clifford gates are written out as
rotations, every angle is reduced to at most pi/2, and the Pauli strings this splits off are carried to the end:
rotations that small keep their phase in every engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pennylane as qml
from autograd import make_vjp
from autograd.extend import defvjp, primitive
from pennylane import measurements as mp
from pennylane import ops
from pennylane.devices.qubit import apply_operation, measure
from pennylane.devices.qubit.simulate import measure_final_state
from pennylane.devices.qubit_mixed import measure_final_state as measure_mixed
from pennylane.operation import Operator
from pennylane.ops.functions import bind_new_parameters
from pennylane.tape import QuantumScript

from quprop.hybrid.pennylane.gates import CLIFFORD_TURNS, word
from quprop.hybrid.pennylane.observables import OF_OUTCOMES, FixedObservable, RefusedError, is_batch, short
from quprop.hybrid.pennylane.translate import Structure
from quprop.model import Model
from quprop.model.angle import PARAM, Angle, as_angle, inputs, params
from quprop.model.angle_table import AngleTable
from quprop.model.circuit import Circuit
from quprop.model.gates import GATES, Clifford
from quprop.model.pauli import PauliString, PauliSum
from quprop.simulate import expectation, state, vectors, vjp
from quprop.simulate.vectors import walsh_hadamard

MIXED_QUBITS = 7  # of a density matrix: 4^7 strings
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
        if start.kind == "encoded":
            start = inputs("amplitudes", 1 << circuit.n_qubits)
        turned = Circuit(circuit.n_qubits, start)
        for string, angle in zip(self._strings, params("a", len(rotations)), strict=True):
            turned.rotation(string, angle)
        self._model = Model(turned, "I")
        self._pairs: Model | None = None

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
        phases = self._phases(theta, identities)
        for out, frame, phase in zip(states, frames, phases, strict=True):
            out[:] = phase * vectors.apply(frame, out)
        return self.structure.final(states, x)

    def _phases(self, theta: np.ndarray, identities: np.ndarray) -> np.ndarray:
        return np.exp(1j * (self._constant + self.structure.phase(theta) - identities.sum(axis=1) / 2))

    def pullback(
        self,
        theta: np.ndarray,
        x: np.ndarray | None,
        options: dict[str, Any],
        states: np.ndarray,
        cotangent: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The derivatives of Re sum_i cotangent_i psi_i, cotangent (B, 2^n), psi the `states` that a call returned: by
        the tape's numbers (B, P) and by its amplitudes (B, inputs).

        With psi = exp(i f) U phi and chi the conjugate of exp(i f) cotangent this is Re <chi|U phi>, a Hadamard test:
        of |0>|chi> + |1>|phi>, after U where the first qubit is 1, <X> = 2 Re <chi|U phi> and <Y> = 2 Im <chi|U phi>.
        The amplitudes of such states are inputs, which are real: one row for the real part of chi, one for the rest.
        """
        B, n, size = len(theta), self._model.n_qubits, 1 << self._model.n_qubits
        angles = self._angles.evaluate(theta, np.empty((1, 0)))
        rotated, identities = np.split(angles, [len(self._strings)], axis=1)
        phi = np.broadcast_to(self._model.state.vector(n).real if x is None else x, (B, size))
        turned = cotangent * self._phases(theta, identities)[:, None]
        if self.structure.has_parts:
            turned = np.concatenate([turned, turned], axis=1)
        chi = np.stack([turned.real, -turned.imag])  # (2, B, 2^n)
        norms = np.linalg.norm(phi, axis=1)
        scale = np.linalg.norm(chi, axis=2) / norms
        chi = chi / np.where(scale > 0, scale, 1.0)[..., None]  # as long as phi, so that neither is lost to rounding
        pairs = np.concatenate([chi, np.broadcast_to(phi, chi.shape)], axis=2).reshape(2 * B, 2 * size)
        square = np.sum(pairs * pairs, axis=1, keepdims=True)
        weights = np.zeros((2, B, 2))
        weights[0, :, 0], weights[1, :, 1] = scale / 2  # Re <i chi|.> = Im <chi|.>
        weights = weights.reshape(2 * B, 2) * square
        values, back = vjp(self._pair_model(), np.concatenate([rotated, rotated]), pairs, **options)
        d_angles, d_pairs = back(weights)
        total = (weights * values).sum(axis=1)
        d_phi = d_pairs[:, size:] + 2 * pairs[:, size:] * (total[:, None] / square)  # of |pair|^2 <X>
        d_rotated, d_phi = (d.reshape(2, B, -1).sum(axis=0) for d in (d_angles, d_phi))
        d_phase = -np.imag(np.sum(cotangent * states, axis=1, keepdims=True))
        d_identities = np.broadcast_to(-d_phase / 2, identities.shape)
        d_theta, _ = self._angles.pullback(np.concatenate([d_rotated, d_identities], axis=1), theta, np.empty((1, 0)))
        none = np.zeros((1, theta.shape[1]))
        d_theta = d_theta + d_phase * (self.structure.phase(np.eye(theta.shape[1])) - self.structure.phase(none))
        return d_theta, d_phi

    def _pair_model(self) -> Model:
        """The rotations where one more qubit is 1, and the two halves of a Hadamard test on it."""
        if self._pairs is None:
            n = self._model.n_qubits
            circuit = Circuit(n + 1, inputs("amplitudes", 2 << n))
            for string, angle in zip(self._strings, params("a", len(self._strings)), strict=True):
                circuit.rotation(string, 0.5 * angle)
                circuit.rotation(PauliString(string.x, string.z | 1 << n), -0.5 * angle)
            self._pairs = Model(circuit, [PauliSum({PauliString(1 << n, z << n): 1.0}) for z in (0, 1)])
        return self._pairs


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


def measure_state(m: mp.MeasurementProcess, states: np.ndarray, n: int, batched: bool) -> Any:
    """A measurement without shots from states (B, 2^n) whose wires are numbers 0..n-1."""
    if is_batch(m):
        return np.stack([_measure(m, s, n, _row(m, i)) for i, s in enumerate(states)])
    out = [_measure(m, s, n, None) for s in states]
    return np.stack(out) if batched else out[0]


def state_pullback(
    m: mp.MeasurementProcess, states: np.ndarray, n: int, of_numbers: bool
) -> tuple[tuple[int, ...], Callable[[np.ndarray], tuple[None, np.ndarray, np.ndarray | None]], bool]:
    """The shape of one result of a measurement, the function from cotangents of results to those of values (None), of
    states (B, 2^n) and, with `of_numbers`, of the numbers of the observable (B, D), and whether results are complex.

    Derivatives g by complex numbers z are Autograd's and JAX's, dF = Re(g dz).
    """
    if of_numbers and isinstance(m, mp.ProbabilityMP):
        raise RefusedError(f"{short(m)} {OF_OUTCOMES}")
    backs, results = [], []
    for i, row in enumerate(states):
        numbers = [1.0 * d for d in _row(m, i)] if of_numbers else None  # whole ones have no derivative in Autograd
        back, result = make_vjp(partial(_measure, m), argnum=(0, 2) if of_numbers else 0)(row, n, numbers)
        backs.append(back)
        results.append(np.asarray(result))
    is_complex = np.iscomplexobj(results[0])

    def pull(cotangent: np.ndarray) -> tuple[None, np.ndarray, np.ndarray | None]:
        of_states, flat = [], []
        for c, back in zip(cotangent if is_complex else np.real(cotangent), backs, strict=True):
            found = back(np.asarray(c, results[0].dtype)[()])
            of_states.append(found[0] if of_numbers else found)
            if of_numbers:
                flat.append(np.concatenate([np.ravel(g) for g in found[1]]))
        out = np.stack(of_states), np.stack(flat) if of_numbers else None
        if not all(np.all(np.isfinite(a)) for a in out if a is not None):
            raise RefusedError(
                f"{short(m)} has no derivative at this state, where eigenvalues meet or vanish; move off it"
            )
        return None, *out

    return results[0].shape, pull, is_complex


def _measure(m: mp.MeasurementProcess, amplitudes: Any, n: int, numbers: Sequence[Any] | None) -> Any:
    """One result from one state; by PennyLane's own code but for means and variances, which need no eigenvectors."""
    if numbers is not None:
        m = type(m)(obs=bind_new_parameters(m.obs, numbers))
    if m.obs is None or not isinstance(m, mp.ExpectationMP | mp.VarianceMP):
        return measure(m, qml.math.reshape(amplitudes, (2,) * n))
    ket = _times(m.obs, amplitudes, n)
    mean = qml.math.real(qml.math.sum(qml.math.conj(amplitudes) * ket))
    if isinstance(m, mp.ExpectationMP):
        return mean
    return qml.math.real(qml.math.sum(qml.math.conj(ket) * ket)) - mean**2


def _times(obs: Operator, amplitudes: Any, n: int) -> Any:
    """An observable on a state (2^n,)."""
    if isinstance(obs, FixedObservable):
        return _times(obs.base, amplitudes, n)
    if isinstance(obs, ops.SProd):
        return obs.scalar * _times(obs.base, amplitudes, n)
    if isinstance(obs, ops.Sum):
        return sum(_times(o, amplitudes, n) for o in obs.operands)
    if isinstance(obs, ops.Prod):
        for o in reversed(obs.operands):
            amplitudes = _times(o, amplitudes, n)
        return amplitudes
    if isinstance(obs, qml.SparseHamiltonian):
        return _sparse_times(amplitudes, obs.sparse_matrix(wire_order=range(n)))
    return qml.math.reshape(apply_operation(obs, qml.math.reshape(amplitudes, (2,) * n)), (-1,))


@primitive
def _sparse_times(amplitudes: np.ndarray, matrix: Any) -> np.ndarray:
    return matrix @ amplitudes


defvjp(_sparse_times, lambda _, __, matrix: lambda g: matrix.T @ g, argnums=(0,))


def _row(m: mp.MeasurementProcess, i: int) -> tuple[Any, ...]:
    """The numbers of a measurement's observable for one sample."""
    data = tuple(m.obs.data)
    return tuple(d[i] for d in data) if is_batch(m) else data


def measure_shots(tape: QuantumScript, states: np.ndarray, n: int, batched: bool, rng: np.random.Generator) -> Any:
    """All measurements of a tape with shots or a shot vector, by PennyLane's own code."""
    _check_norm(np.linalg.norm(states, axis=1))
    nd = states.reshape((-1,) * batched + (2,) * n)
    return measure_final_state(tape, nd, batched, rng=rng)


def _check_norm(norms: np.ndarray) -> None:
    if np.abs(norms - 1).max() > 1e-5:
        raise RefusedError(
            f"shots need a normalised initial state, got norm {norms[int(np.argmax(np.abs(norms - 1)))]:.6g}; pass "
            "normalize=True to qml.StatePrep"
        )


def measure_noisy(
    circuit: QuantumScript, structure: Structure, theta: np.ndarray, x: np.ndarray | None, batched: bool, **options: Any
) -> Any:
    """All measurements of a noisy circuit whose wires are numbers 0..n-1, by PennyLane's own code: with shots, or of
    the density matrix. options: of the engine, and rng."""
    rng, n = options.pop("rng"), structure.n
    diagonal = bool(circuit.shots) and all(_reads_bits(m) for m in circuit.measurements)
    if not diagonal and n > MIXED_QUBITS:
        raise RefusedError(
            f"this circuit has noise, and results that are no functions of few expectation values or of bits are read "
            f"from its density matrix, of {MIXED_QUBITS} wires at most, got {n}; return qml.expval, qml.var or "
            "qml.probs, with shots in the computational basis, or use a device with fewer wires"
        )
    values = _string_values(structure, diagonal, theta, x, options)
    if diagonal:
        p = np.maximum(walsh_hadamard(values) / values.shape[1], 0.0)
        for q, errors in structure.misreadings.items():
            for p10, p01 in errors:
                p = _misread(p, q, p10, p01)
        return measure_shots(circuit, np.sqrt(p), n, batched, rng)
    size = 1 << n
    j, mask = np.arange(size), np.arange(size)[:, None]
    phases = np.array([1, 1j, -1, -1j])[np.bitwise_count(mask & j) & 3]
    columns = walsh_hadamard(values.reshape(-1, size, size) * phases) / size  # (B, x, j) is <j ^ x|rho|j>
    rho = np.empty(columns.shape, complex)
    rho[:, mask ^ j, j] = columns
    if circuit.shots:
        _check_norm(np.sqrt(np.trace(rho, axis1=1, axis2=2).real))
    readout = None
    if circuit.shots and structure.misreadings:
        for m in circuit.measurements:
            if m.obs is not None and m.obs.pauli_rep is None and not _reads_bits(m):
                raise RefusedError(
                    f"the device's noise has errors of readout, and {short(m)} is measured in a basis that is not that "
                    "of Pauli strings; write it as a sum of these, such as qml.pauli_decompose(matrix)"
                )
        readout = [partial(_readout_channel, structure)]
    nd = rho.reshape((-1,) * batched + (2,) * (2 * n))
    return measure_mixed(circuit, nd, batched, rng=rng, readout_errors=readout)


def _reads_bits(m: mp.MeasurementProcess) -> bool:
    """Whether a measurement needs no gates before its bits are read."""
    if isinstance(m, mp.ClassicalShadowMP | mp.ShadowExpvalMP):
        return False
    if m.obs is None:
        return True
    rep = m.obs.pauli_rep
    if rep is not None:
        return all(set(word.values()) <= {"Z"} for word in rep)
    return bool(m.obs.has_diagonalizing_gates) and not m.obs.diagonalizing_gates()


def _string_values(
    structure: Structure, diagonal: bool, theta: np.ndarray, x: np.ndarray | None, options: dict[str, Any]
) -> np.ndarray:
    """<Q> of all strings Q of Z (B, 2^n), or of all strings (B, 4^n), z the lower half of their number."""
    if diagonal not in structure.of_strings:
        size = 1 << structure.n
        strings = [PauliString(k, z) for k in range(1 if diagonal else size) for z in range(size)]
        sums = [structure.of_both(PauliSum({p: 1.0})) for p in strings]
        structure.of_strings[diagonal] = Model(structure.circuit(), sums)
    square = 1.0 if x is None else np.sum(x * x, axis=1, keepdims=True)
    return expectation(structure.of_strings[diagonal], theta, x, **options) * square


def _misread(p: np.ndarray, q: int, p10: float, p01: float) -> np.ndarray:
    """The distribution (B, 2^n) of bits of which bit q is misread."""
    pairs = p.reshape(len(p), -1, 2, 1 << q)
    zero, one = pairs[:, :, 0], pairs[:, :, 1]
    read = np.stack([(1 - p10) * zero + p01 * one, p10 * zero + (1 - p01) * one], axis=2)
    return read.reshape(p.shape)


def _readout_channel(structure: Structure, wires: Any) -> Operator:
    """The errors of readout of a wire as a channel before its measurement: a bit i is read as j."""
    table = np.eye(2)
    for p10, p01 in structure.misreadings.get(structure.n - 1 - ops.Identity(wires).wires[0], ()):
        table = table @ [[1 - p10, p10], [p01, 1 - p01]]
    kraus = np.zeros((4, 2, 2))
    for k, (i, j) in enumerate(np.ndindex(2, 2)):
        kraus[k, j, i] = math.sqrt(table[i, j])
    return ops.QubitChannel(list(kraus), wires=wires)
