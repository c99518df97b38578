"""Copies of the pair state as quantum hardware would hold them: prepared, undone gate by gate, measured, and counted.

    |Phi_p> = (|0> U_p|phi> + |1> W_p† O U|phi>) / sqrt(2),    U = W_p U_p, U_p the first p rotations,

is the pair state at place p (`gradients/pair_state.py`). With Q_m = Y_anc P_m,  dF/da_m = -<Phi_{m+1}| Q_m |Phi_{m+1}>
and stepping from place p to p - 1 undoes one rotation on the system. For a sum O = sum_t u_t O_t every copy draws its
own term, t with probability |u_t| / norm, norm = sum_t |u_t|, and the sign of u_t goes into O_t: the mean of Q_m over
such copies is -(dF/da_m) / norm. They are simulated as one pure state with a register of terms that nothing acts on,
which has the same law: a vector where this machine holds it, else a matrix product for each term (`pair_products.py`).

Estimators get answers to checks and readings. What the truth is stays in here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import stim

from quprop.collective.check_circuit import CheckCost
from quprop.collective.engines.frame import RotatingStates
from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.collective.engines.null import NullEngine
from quprop.collective.event import Event
from quprop.collective.protocol import CopyEngine, HeldCopies
from quprop.cost import Cost
from quprop.errors import QupropError, count_of
from quprop.gradients.step_bounds import reaches
from quprop.gradients.sweeps.pair_products import BOND_DIMENSION, PairProducts, line_of
from quprop.model import Model
from quprop.model.commutation import generators
from quprop.model.pauli import PauliString
from quprop.sampling.programs import free, read_by_programs
from quprop.sampling.terms import Terms
from quprop.simulate import get_engine, memory
from quprop.simulate.state_vector.native import NativeEngine
from quprop.simulate.vectors import apply

_HOLDS_PRODUCTS = (NullEngine, MeanFieldEngine)  # engines whose copies may be matrix products
_SHARE = 0.1  # of the accuracy that is asked: what cut bonds may use up of it


class PairCircuit:
    """What does not depend on the point: the circuit with free angles, the strings to undo and those to read."""

    def __init__(self, model: Model, terms: Terms, bond_dimension: int | None = None) -> None:
        """bond_dimension: copies are matrix products of at most this one; None: only where no vector fits."""
        if bond_dimension is not None and (type(bond_dimension) is not int or bond_dimension < 1):
            raise QupropError(f"bond_dimension is a whole number, 1 or more, or None, got {bond_dimension!r}")
        self.model, self.terms, self.bond_dimension = model, terms, bond_dimension
        self.program = free(model)._replace(clifford=stim.Tableau(model.n_qubits))
        self.undo = generators(model)
        ancilla = PauliString(1 << model.n_qubits, 1 << model.n_qubits)  # Y of qubit n
        self.read = [ancilla * p for p in self.undo]
        self._line: tuple[int, ...] | None = None

    @property
    def n_qubits(self) -> int:
        """Of one copy."""
        return self.model.n_qubits + 1

    def simulated_qubits(self, terms: int) -> int:
        """Of one copy in the simulator, register of terms included."""
        return self.n_qubits + max(0, int(terms) - 1).bit_length()

    @property
    def line(self) -> tuple[int, ...]:
        """The qubits of a copy from left to right, as a matrix product of it holds them best."""
        if self._line is None:
            self._line = line_of(self.undo, self.terms.strings, self.model.n_qubits)
        return self._line

    def as_vector(self, terms: int) -> bool:
        """Whether copies are simulated as one vector."""
        needed = self._vector_bytes(terms)
        return self.bond_dimension is None and needed <= max(memory.ALWAYS_FINE, memory.available_bytes())

    def require(self, terms: int, engine: CopyEngine | None = None, k: int = 1) -> None:
        """Refuses copies that do not fit this machine, or that this engine does not hold."""
        width, n = self.simulated_qubits(terms), self.model.n_qubits
        if self.as_vector(terms):
            if engine is not None:
                what = f"a batch of {count_of(k, 'copy')} of {count_of(width, 'qubit')} in the {engine.name} engine"
                one = "NullEngine() and MeanFieldEngine() hold one vector, whatever k is"
                memory.require(engine.required_bytes(width, k), what, one)
            return
        kind = self.model.state.kind
        if kind not in ("basis", "product"):
            what = f"the pair state of {count_of(n, 'qubit')}"
            memory.require(
                self._vector_bytes(terms), what, f"only basis and product states, not {kind}, need no vector"
            )
            raise QupropError(
                f"{what} is no matrix product of few numbers from a state of kind {kind!r}; leave out bond_dimension"
            )
        if engine is not None and not isinstance(engine, _HOLDS_PRODUCTS):
            raise QupropError(
                f"copies of {n + 1} qubits are held as matrix products here, which the {engine.name} engine does not "
                "take; NullEngine() and MeanFieldEngine() do"
            )
        memory.require(
            PairProducts.required_bytes(self.n_qubits, terms, self.bond_dimension or BOND_DIMENSION),
            f"the pair state of {n} qubits as {terms:,} matrix products",
            "take a smaller bond_dimension, or fewer terms",
        )

    def rotation_seconds(self, terms: int) -> float:
        """What one rotation there and back takes in the simulator, roughly and at most."""
        if self.as_vector(terms):
            return 4 * 2.0 ** self.simulated_qubits(terms) / 5e8
        chi = min(self.bond_dimension or BOND_DIMENSION, 2 ** (self.n_qubits // 2))
        return terms * (1e-3 + 2e3 * chi**3 / 5e9)

    def _vector_bytes(self, terms: int) -> int:
        return 6 * 16 << self.simulated_qubits(terms)

    def frame(self, u: np.ndarray, a: np.ndarray, x: np.ndarray) -> RotatingStates | PairProducts:
        """|Phi_M> for the angles a (M,)."""
        if self.as_vector(int(np.count_nonzero(u))):
            return RotatingStates(self.states(u, a, x)[None])
        self.require(int(np.count_nonzero(u)))
        return PairProducts.at_the_end(
            self.model, self.undo, a, self.terms.strings, u, self.line, self.bond_dimension or BOND_DIMENSION
        )

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

    def image(self, u: np.ndarray, a: np.ndarray) -> np.ndarray:
        """T, complex (2^(n+1), 2^n): input states onto the end of the circuit, (|0> U + |1> O U / norm)/sqrt(2).

        With tau the input state, <Y_anc P> of copies that draw their terms is tr(T tau T† Y_anc P) there, and after
        rotations are undone on both: only elements between |0> and |1> enter, and these are linear in O.
        """
        d = 1 << self.model.n_qubits
        basis = np.eye(d, dtype=complex)
        psi = NativeEngine().evolve(self.program, a[None], np.zeros((1, self.program.n_inputs)), basis)
        out = np.zeros((2, d, d), complex)
        out[0] = psi.T
        norm = float(np.abs(u).sum())
        for t in np.flatnonzero(u):
            out[1] += u[t] / norm * apply(self.terms.strings[t], psi).T
        return out.reshape(2 * d, d) / np.sqrt(2)


class PairDevice:
    """Hardware with all copies it is asked for at one place of the sweep; `cost` is what has been executed so far, and
    `truncation` what expectation values were off by in the simulation, at most: 0 of vectors.

    The place starts at M, everything still done, and only goes down. accuracy: of <Q>, as the estimator wants it;
    copies that are cut matrix products may be off by a tenth of that, beyond which the device refuses to go on.
    """

    def __init__(
        self,
        circuit: PairCircuit,
        u: np.ndarray,
        a: np.ndarray,
        x: np.ndarray,
        *,
        accuracy: float = math.inf,
    ) -> None:
        self._circuit, self._a, self._accuracy = circuit, a, accuracy
        self.truncation = 0.0
        self._frame = circuit.frame(u, a, x)
        self._trust(self._frame)
        self._mean: tuple[int, int, float] | None = None
        self.place = circuit.model.n_rotations
        self.cost = Cost()
        self._asked = 0  # rotations and Toffolis one after another that the batch was asked with

    def prepare(self, engine: CopyEngine, k: int, extra_qubits: int = 0) -> HeldCopies:
        """k fresh copies at the present place, held at once with `extra_qubits` besides."""
        length, self._asked = 2 * self._circuit.model.n_rotations - self.place, 0
        self.cost += Cost(
            copies=k, rotations=k * length, depth=length, qubits=k * self._circuit.n_qubits + extra_qubits
        )
        if isinstance(engine, NullEngine):  # undisturbed copies need no second vector
            return engine.prepare_means(self._accepting, self._frame.n, k)
        if isinstance(self._frame, RotatingStates):
            return engine.prepare(self._frame.rows[0], k)
        assert isinstance(engine, MeanFieldEngine)
        return engine.prepare(self._frame, k)

    def _trust(self, state: Any) -> None:
        off = getattr(state, "truncation", 0.0)
        self.truncation = max(self.truncation, off)
        if off > _SHARE * self._accuracy:
            raise QupropError(
                f"matrix products of bond dimension {state.bond_dimension} may be off by {off:.2g} in <Q>, more than a "
                f"tenth of the accuracy of {self._accuracy:.2g}; take a larger bond_dimension or a shallower circuit"
            )

    def undo(self, batch: HeldCopies | None) -> None:
        """One rotation back, on every copy."""
        m = self.place - 1
        pauli, angle = self._circuit.undo[m], -float(self._a[m])
        length = 2 * self._circuit.model.n_rotations - m
        if batch is not None:
            batch.rotate(pauli, angle)
            self._trust(getattr(batch, "frame", None))
            self.cost += Cost(rotations=batch.k, depth=length + self._asked)
        self._frame.rotate(pauli, angle)
        self._trust(self._frame)
        self.place, self._mean = m, None

    def answered(self, count: int, circuit: CheckCost | None = None) -> None:
        """`count` checks or readings of the batch ended in a measurement; `circuit`: the gates of all of them."""
        self.cost += Cost(measurements=count)
        if circuit is not None:
            self._asked += circuit.depth
            length = 2 * self._circuit.model.n_rotations - self.place
            self.cost += Cost(rotations=circuit.rotations, toffolis=circuit.toffolis, depth=length + self._asked)

    def _accepting(self, event: Event) -> float:
        """<E> of one undisturbed copy: for engines and draws, never for an estimator."""
        pauli: Any = event.pauli
        if self._mean is None or self._mean[:2] != (pauli.x, pauli.z):
            plain = PauliString(pauli.x, pauli.z)
            self._mean = pauli.x, pauli.z, self._frame.mean(plain)
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
