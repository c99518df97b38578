"""Copies of the pair state as quantum hardware would hold them: prepared, undone gate by gate, measured, and counted.

    |Phi_p> = (|0> U_p|phi> + |1> W_p† O U|phi>) / sqrt(2),    U = W_p U_p, U_p the first p rotations,

is the pair state at place p (`gradients/pair_state.py`). With Q_m = Y_anc P_m,  dF/da_m = -<Phi_{m+1}| Q_m |Phi_{m+1}>
and stepping from place p to p - 1 undoes one rotation on the system. For a sum O = sum_t u_t O_t every copy draws its
own term, t with probability |u_t| / norm, norm = sum_t |u_t|, and the sign of u_t goes into O_t: the mean of Q_m over
such copies is -(dF/da_m) / norm. They are simulated as one pure state with a register of terms that nothing acts on,
which has the same law.

Estimators get answers to checks, readings and frequencies. What the truth is stays in here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import stim

from quprop.collective.engines.frame import RotatingStates
from quprop.collective.engines.null import NullEngine
from quprop.collective.event import Event
from quprop.collective.protocol import CopyEngine, HeldCopies
from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients.step_bounds import reaches
from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.sampling.plan import Terms
from quprop.sampling.programs import free, read_by_programs
from quprop.simulate import get_engine, memory
from quprop.simulate.vectors import apply, expectation
from quprop.structure.commutation import generators


class PairCircuit:
    """What does not depend on the point: the circuit with free angles, the strings to undo and those to read."""

    def __init__(self, model: Model, terms: Terms) -> None:
        self.model, self.terms = model, terms
        self.program = free(model)._replace(clifford=stim.Tableau(model.n_qubits))
        self.undo = generators(model)
        ancilla = PauliString(1 << model.n_qubits, 1 << model.n_qubits)  # Y of qubit n
        self.read = [ancilla * p for p in self.undo]

    @property
    def n_qubits(self) -> int:
        """Of one copy."""
        return self.model.n_qubits + 1

    def simulated_qubits(self, terms: int) -> int:
        """Of one copy in the simulator, register of terms included."""
        return self.n_qubits + max(0, int(terms) - 1).bit_length()

    def require(self, terms: int) -> None:
        """Refuses a state that does not fit this machine."""
        width = self.simulated_qubits(terms)
        memory.require(6 * 16 << width, f"the pair state of {self.model.n_qubits} qubits", "take fewer qubits or terms")

    def states(self, u: np.ndarray, a: np.ndarray, x: np.ndarray) -> np.ndarray:
        """|Phi_M> for the angles a (M,), a unit vector (2^width,); qubit n is the ancilla, the register follows."""
        inputs = np.zeros((1, self.program.n_inputs))
        read = read_by_programs(self.model, x)
        inputs[0, : len(read)] = read
        psi = get_engine().states(self.program, a[None], inputs)[0]
        norm = float(np.abs(u).sum())
        used = np.flatnonzero(u)
        width = self.simulated_qubits(len(used))
        out = np.zeros((1 << width - self.n_qubits, 2, len(psi)), complex)
        for row, t in enumerate(used):
            size = np.sqrt(abs(u[t]) / norm / 2)
            out[row, 0] = size * psi
            out[row, 1] = np.sign(u[t]) * size * apply(self.terms.strings[t], psi)
        return out.ravel() / np.linalg.norm(out)


class PairDevice:
    """Hardware with all copies it is asked for at one place of the sweep; `cost` is what has been executed so far.

    The place starts at M, everything still done, and only goes down.
    """

    def __init__(
        self, circuit: PairCircuit, u: np.ndarray, a: np.ndarray, x: np.ndarray, rng: np.random.Generator
    ) -> None:
        self._circuit, self._a, self._rng = circuit, a, rng
        self._frame = RotatingStates(circuit.states(u, a, x)[None])
        self._mean: tuple[int, int, float] | None = None
        self.place = circuit.model.n_rotations
        self.cost = Cost()

    def prepare(self, engine: CopyEngine, k: int, extra_qubits: int = 0) -> HeldCopies:
        """k fresh copies at the present place, held at once with `extra_qubits` besides."""
        length = 2 * self._circuit.model.n_rotations - self.place
        self.cost += Cost(
            copies=k, rotations=k * length, depth=length, qubits=k * self._circuit.n_qubits + extra_qubits
        )
        n = self._frame.rows.shape[1].bit_length() - 1
        if isinstance(engine, NullEngine):  # undisturbed copies need no second vector
            return engine.prepare_means(self._accepting, n, k)
        return engine.prepare(self._frame.rows[0], k)

    def undo(self, batch: HeldCopies | None) -> None:
        """One rotation back, on every copy."""
        m = self.place - 1
        pauli, angle = self._circuit.undo[m], -float(self._a[m])
        length = 2 * self._circuit.model.n_rotations - m
        if batch is not None:
            batch.rotate(pauli, angle)
            self.cost += Cost(rotations=batch.k, depth=length)
        self._frame.rotate(pauli, angle)
        self.place, self._mean = m, None

    def answered(self, count: int) -> None:
        """`count` checks or readings ended in a measurement."""
        self.cost += Cost(measurements=count)

    def frequency(self, event: Event, shots: int) -> float:
        """How often `event` was accepted by `shots` fresh copies, one after another, undone to the present place."""
        length = 2 * self._circuit.model.n_rotations - self.place
        self.cost += Cost(
            copies=shots,
            rotations=shots * length,
            measurements=shots,
            depth=length,
            qubits=self._circuit.n_qubits,
            classical_ops=shots,
        )
        return float(self._rng.binomial(shots, self._accepting(event))) / shots

    def _accepting(self, event: Event) -> float:
        """<E> of one undisturbed copy: for engines and draws, never for an estimator."""
        pauli: Any = event.pauli
        if self._mean is None or self._mean[:2] != (pauli.x, pauli.z):
            plain = PauliString(pauli.x, pauli.z)
            self._mean = pauli.x, pauli.z, float(expectation(plain, self._frame.rows[0]))
        return min(1.0, max(0.0, (1 + pauli.sign * self._mean[2]) / 2))


def largest_slope(model: Model, at: Any) -> float:
    """max_i sum_m |da_m/dtheta_i|: errors e of all dF/da are at most this times e in dF/dtheta.

    at: as for `slope_bounds`; without it, or where every angle is stationary there, that of variables within ±1:
    positive for every model with an angle that theta drives.
    """
    return float(reaches(model, at).max(initial=0.0)) or float(reaches(model, None).max(initial=0.0))


def require_weights(norm: float, compiled: bool) -> None:
    """Of an estimate with weights of its own: a plan for F = 0 holds no copies that could be run."""
    if norm and not compiled:
        raise QupropError(
            "this plan was compiled for weights . <O> = 0 and has nothing to run; compile it with weights that are not "
            "all zero"
        )
