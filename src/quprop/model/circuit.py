"""Circuits as a user writes them: named gates, rotations about Pauli strings, exponentials of commuting sums.

Nothing is simulated here; `Model` turns a circuit into its canonical list of Pauli rotations.
"""

from __future__ import annotations

import copy
import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError, UnknownGateError, nearest, shown
from quprop.model.angle import INPUT, MAX_VARIABLES, PARAM, Angle, AngleVector, as_angle
from quprop.model.gates import GATES
from quprop.model.input_state import MAX_AMPLITUDE_QUBITS, InputState
from quprop.model.pauli import MAX_QUBITS, PauliString, PauliSum
from quprop.model.x_rotations import Subsets, XRotations

_SHOWN = 40  # lines of gates a printed circuit shows before it abbreviates


class Operation(NamedTuple):
    """One gate: of the table `GATES` (target = qubits), "rotation" (a PauliString) or "exp" (a PauliSum)."""

    name: str
    angles: tuple[Angle, ...]
    target: tuple[int, ...] | PauliString | PauliSum


class XBlock(NamedTuple):
    """Rotations about products of X by factor times the entries of one vector, as arrays."""

    subsets: Subsets
    vector: AngleVector
    factor: float

    def operations(self) -> Iterator[Operation]:
        for k, angle in enumerate(self.vector):
            yield Operation("rotation", (self.factor * angle,), PauliString(self.subsets.mask(k), 0))

    def flattened(self, flat: Callable[[Any], tuple[int, int]]) -> XRotations:
        """As a model holds them, whose variables `flat` numbers."""
        first = flat((PARAM, 0, self.vector.name))[1]
        param = (first + np.array(self.vector.indices)).astype(np.int32)
        return XRotations(self.subsets, param, np.full(len(self.subsets), self.factor))


class Circuit:
    """A circuit on qubits 0..n_qubits-1; every gate method appends a gate and returns the circuit, so calls chain.

        theta, x = params("theta", 8), inputs("x", 4)
        Circuit(4).ry(x[0], 0).cx(0, 1).rotation("X0 Y2", 2*theta[3] + 0.1).h(1)

    Angles come first, then qubits; controls before targets. The gates are those of `quprop.model.gates.GATES`.

    state: None for |0...0>, a bit string (left = qubit 0), a basis index, an array (n, 2) of qubit states, an array
        (2^n,) of amplitudes (normalised here), or an `inputs` vector of 2^n entries (amplitude encoding, x/|x|).
    params, inputs: vectors (or lists of them) to lay out first; others follow in order of first use. theta is one
        flat array over all params vectors, x one over all inputs vectors, unused entries included.
    """

    n_qubits: int
    steps: list[Operation | XBlock]
    vectors: dict[str, tuple[int, int]]  # name -> (kind, size), in order of first use
    state: InputState | AngleVector

    def __init__(self, n_qubits: int, state: Any = None, *, params: Any = (), inputs: Any = ()) -> None:
        if isinstance(n_qubits, bool) or not isinstance(n_qubits, numbers.Integral) or n_qubits < 1:
            raise QupropError(f"a circuit needs a whole number of qubits, 1 or more, got {shown(n_qubits)}")
        if n_qubits > MAX_QUBITS:
            raise QupropError(
                f"a circuit has {MAX_QUBITS} qubits at most, got {shown(n_qubits)}; simulate fewer, or parts of it"
            )
        self.n_qubits = int(n_qubits)
        self.steps = []
        self.vectors = {}
        for kind, given in ((PARAM, params), (INPUT, inputs)):
            for vector in [given] if isinstance(given, AngleVector) else given:
                if not isinstance(vector, AngleVector) or vector.kind != kind:
                    word = "inputs" if kind else "params"
                    raise QupropError(f"Circuit(..., {word}=...) takes vectors made by {word}(name, n), got {vector!r}")
                self._declare(vector.kind, vector.name, vector.size)
        if isinstance(state, AngleVector):
            self._check_encoding(state)
            self._declare(state.kind, state.name, state.size)
            self.state = state
        else:
            self.state = InputState.make(self.n_qubits, state, self.n_inputs)

    @property
    def operations(self) -> list[Operation]:
        """Every gate; what was appended as arrays becomes gates when it is asked for."""
        if any(isinstance(step, XBlock) for step in self.steps):
            self.steps[:] = self._each()
        return self.steps  # type: ignore[return-value]

    def _each(self) -> Iterator[Operation]:
        for step in self.steps:
            if isinstance(step, XBlock):
                yield from step.operations()
            else:
                yield step

    def gate(self, name: str, *arguments: Any) -> Circuit:
        """Append the gate called `name`: its angles, then its qubits."""
        spec = GATES.get(name)
        if spec is None:
            raise UnknownGateError(f"there is no gate {name!r}; {nearest(str(name), [*GATES, 'rotation', 'exp'])}")
        n_angles, n_qubits, _ = spec
        if len(arguments) != n_angles + n_qubits:
            raise QupropError(
                f"{name} takes {_count(n_angles, 'angle')} and then {_count(n_qubits, 'qubit')}, "
                f"got {_count(len(arguments), 'argument')}"
            )
        angles = tuple([self._angle(a) for a in arguments[:n_angles]])
        qubits = tuple([self._qubit(q, name) for q in arguments[n_angles:]])
        if n_qubits > 1 and len(set(qubits)) < n_qubits:
            raise QupropError(f"{name} needs {n_qubits} different qubits, got {', '.join(map(str, qubits))}")
        self.steps.append(Operation(name, angles, qubits))
        return self

    def rotation(self, pauli: str | PauliString, angle: Any) -> Circuit:
        """Append exp(-i angle P / 2) with P a Hermitian Pauli string such as "X0 Y2"."""
        string = PauliString.parse(pauli) if isinstance(pauli, str) else pauli
        if not isinstance(string, PauliString):
            raise QupropError(f"a rotation is about a Pauli string such as 'X0 Y2', got {shown(pauli)}")
        self._check_support(string, "the Pauli string")
        if not string.is_hermitian:
            raise QupropError(f"a rotation is about a Hermitian Pauli string, got {string}; drop its factor i")
        angle = self._angle(angle)
        if string.sign < 0:
            string, angle = -string, -angle
        self.steps.append(Operation("rotation", (angle,), string))
        return self

    def exp(self, pauli_sum: PauliSum | Mapping[Any, float] | str, angle: Any) -> Circuit:
        """Append exp(-i angle/2 sum_k c_k P_k) of a real sum of Pauli strings that commute, exactly.

        It is the product over k of the rotations exp(-i (c_k angle) P_k / 2): several that share an angle, such as one
        excitation of UCCSD or one layer of a cost Hamiltonian. Time evolution exp(-i t H) has angle = 2 t. A term "I"
        is a global phase. A sum of which two strings anticommute has no such product and is refused.
        """
        total = pauli_sum if isinstance(pauli_sum, PauliSum) else PauliSum(pauli_sum)
        self._check_support(total, "the sum")
        clash = total.commuting()
        if clash is not None:
            raise QupropError(
                f"exp takes a sum of commuting Pauli strings, got {clash[0]} and {clash[1]}, which anticommute; "
                "split the sum into commuting groups"
            )
        self.steps.append(Operation("exp", (self._angle(angle),), total))
        return self

    def x_rotations(
        self, subsets: Sequence[Sequence[int]] | Subsets, theta: AngleVector, factor: float = 1.0
    ) -> Circuit:
        """Append exp(-i factor theta_k X_k / 2), X_k the product of X over the qubits of subset k, for all k.

        They are kept as arrays, however many there are; a circuit of these and Clifford gates makes a small model.
        """
        if not isinstance(subsets, Subsets):
            subsets = Subsets.of(subsets, self.n_qubits, "the list of subsets")
        if not isinstance(theta, AngleVector) or theta.kind != PARAM or len(theta) != len(subsets):
            raise QupropError(f"{len(subsets)} subsets take params(name, {len(subsets)}) as angles, got {shown(theta)}")
        if not subsets.sizes.all():
            raise QupropError("a rotation about no qubit is a global phase; leave the empty subset out")
        if isinstance(factor, bool) or not isinstance(factor, numbers.Real) or not math.isfinite(factor) or not factor:
            raise QupropError(f"factor is a finite number that is not zero, got {shown(factor)}")
        self._declare(theta.kind, theta.name, theta.size)
        self.steps.append(XBlock(subsets, theta, float(factor)))
        return self

    def append(self, other: Circuit) -> Circuit:
        """Append all gates of `other`, a circuit on as many qubits or fewer that starts from |0...0>."""
        if not isinstance(other, Circuit):
            raise QupropError(f"only a Circuit can be appended to a Circuit, got {type(other).__name__}")
        if other.n_qubits > self.n_qubits:
            raise QupropError(f"a circuit on {other.n_qubits} qubits does not fit on {self.n_qubits}")
        if other.state != InputState():
            raise QupropError("a circuit with an input state of its own can only come first; swap the two")
        for name, (kind, size) in other.vectors.items():
            self._declare(kind, name, size)
        self.steps.extend(list(other.steps))
        return self

    def __add__(self, other: Circuit) -> Circuit:
        return self.copy().append(other)

    def copy(self) -> Circuit:
        twin = copy.copy(self)
        twin.steps = list(self.steps)
        twin.vectors = dict(self.vectors)
        return twin

    def layout(self, kind: int) -> tuple[tuple[str, int], ...]:
        """The (name, size) of all vectors of a kind (0 params, 1 inputs) in the order theta or x holds them."""
        return tuple((name, size) for name, (k, size) in self.vectors.items() if k == kind)

    def flattened(self) -> Callable[[Any], tuple[int, int]]:
        """(kind, index of its vector's entry, name) -> (kind, index in theta or x), as models number variables."""
        total = self.n_params + self.n_inputs
        if total > MAX_VARIABLES:
            raise QupropError(f"a model has {MAX_VARIABLES} parameters and inputs at most, got {total}; lay out fewer")
        starts: dict[str, int] = {}
        for kind in (PARAM, INPUT):
            start = 0
            for name, size in self.layout(kind):
                starts[name] = start
                start += size
        return lambda variable: (variable[0], starts[variable[2]] + variable[1])

    @property
    def n_params(self) -> int:
        return sum(size for _, size in self.layout(PARAM))

    @property
    def n_inputs(self) -> int:
        return sum(size for _, size in self.layout(INPUT))

    def __len__(self) -> int:
        return sum(len(s.subsets) if isinstance(s, XBlock) else 1 for s in self.steps)

    def __bool__(self) -> bool:
        return True  # an empty circuit is still a circuit

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Circuit):
            return NotImplemented
        return (
            self.n_qubits == other.n_qubits
            and list(self.vectors.items()) == list(other.vectors.items())
            and repr(self.state) == repr(other.state)
            and (self.steps is other.steps or self.operations == other.operations)
        )

    __hash__ = None  # type: ignore[assignment]  # circuits grow; models are the hashable thing

    def __repr__(self) -> str:
        return f"<Circuit: {_count(self.n_qubits, 'qubit')}, {_count(len(self), 'gate')}>"

    def __str__(self) -> str:
        parts = [_count(self.n_qubits, "qubit"), _count(len(self), "gate")]
        parts += [f"params {name}[{size}]" for name, size in self.layout(PARAM)]
        parts += [f"inputs {name}[{size}]" for name, size in self.layout(INPUT)]
        state = self.state
        start = state.text(self.n_qubits) if isinstance(state, InputState) else f"amplitudes {state!r}/norm"
        lines = [f"  {_show(op)}" for op in itertools.islice(self._each(), _SHOWN)]
        if len(self) > _SHOWN:
            lines.append(f"  ... {len(self) - _SHOWN} more")
        return "\n".join([f"Circuit: {', '.join(parts)}, from {start}", *lines])

    def __getattr__(self, name: str) -> Callable[..., Circuit]:
        # Reached only for names that are neither methods nor gates.
        if name.startswith("_") or name in ("steps", "vectors", "n_qubits", "state"):
            raise AttributeError(name)
        raise UnknownGateError(
            f"a circuit has no gate or method {name!r}; {nearest(name, [*GATES, 'rotation', 'exp', 'append', 'copy'])}"
        )

    def _declare(self, kind: int, name: str, size: int) -> None:
        known = self.vectors.setdefault(name, (kind, size))
        if known != (kind, size):
            old, new = (f"{'inputs' if k else 'params'}({name!r}, {s})" for k, s in (known, (kind, size)))
            raise QupropError(f"the name {name!r} is taken by {old} in this circuit, got {new}; rename one")

    def _angle(self, value: Any) -> Angle:
        angle = value if type(value) is Angle else as_angle(value)
        for monomial, _ in angle.terms:
            for kind, _index, name, size in monomial:
                if self.vectors.get(name) != (kind, size):
                    self._declare(kind, name, size)
        return angle

    def _qubit(self, qubit: Any, gate: str) -> int:
        if type(qubit) is not int:
            if isinstance(qubit, bool) or not isinstance(qubit, numbers.Integral):
                raise QupropError(
                    f"{gate} takes its angles first and then whole-number qubits, got {qubit!r} for a qubit"
                )
            qubit = int(qubit)
        if not 0 <= qubit < self.n_qubits:
            raise QupropError(
                f"{gate} acts on qubit {qubit}, but this circuit has qubits 0 to {self.n_qubits - 1}; "
                f"use one of them or make a larger Circuit"
            )
        return qubit

    def _check_support(self, pauli: PauliString | PauliSum, what: str) -> None:
        if pauli.n_qubits > self.n_qubits:
            raise QupropError(
                f"{what} acts on qubit {pauli.n_qubits - 1}, but this circuit has qubits 0 to {self.n_qubits - 1}"
            )

    def _check_encoding(self, state: AngleVector) -> None:
        n = self.n_qubits
        if state.kind != INPUT or state.indices.step != 1 or n > MAX_AMPLITUDE_QUBITS or len(state) != 1 << n:
            raise QupropError(f"amplitude encoding on {n} qubits takes inputs(name, 2^{n}), got {state!r}")


def _make_method(name: str) -> Callable[..., Circuit]:
    spec = GATES[name]

    def method(self: Circuit, *arguments: Any) -> Circuit:
        return self.gate(name, *arguments)

    method.__name__, method.__qualname__ = name, f"Circuit.{name}"
    method.__doc__ = f"Append {name}: {_count(spec.n_angles, 'angle')}, then {_count(spec.n_qubits, 'qubit')}."
    return method


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _show(op: Operation) -> str:
    angles = f"({', '.join(map(repr, op.angles))})" if op.angles else ""
    target: Iterable[int] | str = op.target if isinstance(op.target, tuple) else str(op.target)
    return f"{op.name}{angles} " + (target if isinstance(target, str) else " ".join(map(str, target)))


for _name in GATES:
    setattr(Circuit, _name, _make_method(_name))
