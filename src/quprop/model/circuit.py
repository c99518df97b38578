"""Circuits as a user writes them: named gates, rotations about Pauli strings, exponentials of commuting sums.

Nothing is simulated here; `Model` turns a circuit into its canonical list of Pauli rotations.
"""

from __future__ import annotations

import copy
import itertools
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, UnknownGateError, count_of, nearest, shown
from quprop.hardware_models import HardwareModel, NoiseModel, noise_of
from quprop.model.angle import INPUT, MAX_VARIABLES, PARAM, Angle, AngleVector, as_angle
from quprop.model.channels import CHANNELS, MAX_CHANNEL_QUBITS, PAULI_CHANNEL, check_constants
from quprop.model.circuit_algebra import CircuitAlgebra
from quprop.model.drawing import Drawable, DrawnGate, circuit_gates
from quprop.model.gate_methods import GateMethods
from quprop.model.gates import GATES
from quprop.model.input_state import MAX_AMPLITUDE_QUBITS, InputState
from quprop.model.noise import noisy_circuit
from quprop.model.pauli import MAX_QUBITS, PauliString, PauliSum
from quprop.model.trotter import evolution
from quprop.model.x_rotations import Subsets, XRotations

# methods that may be meant
_OTHERS: tuple[str, ...] = ("rotation", "exp", "evolve", "append", "copy", "channel", PAULI_CHANNEL, "noiseless")
_OTHERS += ("with_noise", "bound", "draw", "inverse", "power", "control", "compose")
_SHOWN = 40  # lines of gates a printed circuit shows before it abbreviates


class Operation(NamedTuple):
    """One gate: of the table `GATES` (target = qubits), "rotation" (a PauliString) or "exp" (a PauliSum). Or a channel,
    whose angles are its strengths: of the table `CHANNELS` (qubits) or "pauli_channel" (a PauliString for each)."""

    name: str
    angles: tuple[Angle, ...]
    target: tuple[Any, ...] | PauliString | PauliSum

    @property
    def is_channel(self) -> bool:
        return self.name in CHANNELS or self.name == PAULI_CHANNEL


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


class Circuit(GateMethods, CircuitAlgebra, Drawable):
    """A circuit on qubits 0..n_qubits-1; every gate method appends a gate and returns the circuit, so calls chain.

        theta, x = params("theta", 8), inputs("x", 4)
        Circuit(4).ry(x[0], 0).cx(0, 1).rotation("X0 Y2", 2*theta[3] + 0.1).h(1)

    Angles come first, then qubits; controls before targets. The gates are those of `quprop.model.gates.GATES`. Noise is
    appended the same way, `.depolarising(0.01, 0)` or `.amplitude_damping(theta[3], 1)`: a strength is a number or made
    from params and inputs, as an angle is. The channels are those of `quprop.model.channels.CHANNELS`.

    state: None for |0...0>, a bit string (left = qubit 0), a basis index, an array (n, 2) of qubit states, an array
        (2^n,) of amplitudes (normalised here), or an `inputs` vector of 2^n entries (amplitude encoding, x/|x|).
    params, inputs: vectors (or lists of them) to lay out first; others follow in order of first use. theta is one
        flat array over all params vectors, x one over all inputs vectors, unused entries included.

    Raises: QupropError for a number of qubits below 1, a state that does not fit, and by each method for gates or
    qubits that do not exist; `UnknownGateError`, which is an AttributeError too, for a method that does not.

    >>> theta = qpr.params("theta", 2)
    >>> print(qpr.Circuit(2).h(0).cx(0, 1).rx(theta[0], 1).rotation("X0 Y1", 2*theta[1]))
    Circuit: 2 qubits, 4 gates, params theta[2], from |00>
      h 0
      cx 0 1
      rx(theta[0]) 1
      rotation(2*theta[1]) X0 Y1
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

    def gate(self, name: str, *arguments: Any) -> Self:
        """Append the gate called `name`: its angles, then its qubits."""
        spec = GATES.get(name)
        if spec is None:
            raise UnknownGateError(f"there is no gate {name!r}; {nearest(str(name), [*GATES, 'rotation', 'exp'])}")
        n_angles, n_qubits, *_ = spec
        if len(arguments) != n_angles + n_qubits:
            raise QupropError(
                f"{name} takes {count_of(n_angles, 'angle')} and then {count_of(n_qubits, 'qubit')}, "
                f"got {count_of(len(arguments), 'argument')}"
            )
        angles = tuple([self._angle(a) for a in arguments[:n_angles]])
        self.steps.append(Operation(name, angles, self._qubits(arguments[n_angles:], name)))
        return self

    def channel(self, name: str, *arguments: Any, **options: Any) -> Self:
        """Append the channel of `CHANNELS` called `name`: its strengths, then its qubits, then strengths that have a
        default, which may be named: `channel("thermal_relaxation", t1, t2, time, 0, excited=0.02)`."""
        noise = CHANNELS.get(name)
        if noise is None:
            raise UnknownGateError(f"there is no channel {name!r}; {nearest(str(name), [*CHANNELS, PAULI_CHANNEL])}")
        optional = noise.strengths[len(noise.strengths) - len(noise.defaults) :]
        needed = noise.strengths[: len(noise.strengths) - len(noise.defaults)]
        last = len(needed) + noise.n_qubits
        more = dict(zip(optional, arguments[last:], strict=False))
        if not last <= len(arguments) <= last + len(optional) or not options.keys() <= set(optional) - more.keys():
            form = [*needed, count_of(noise.n_qubits, "qubit"), *(f"{s}=..." for s in optional)]
            got = [count_of(len(arguments), "argument"), *options]
            raise QupropError(f"{name} takes {', '.join(form)}, got {', '.join(got)}")
        more = dict(zip(optional, noise.defaults, strict=True)) | more | options
        strengths = tuple([self._strength(s, name) for s in (*arguments[: len(needed)], *more.values())])
        qubits = self._qubits(arguments[len(needed) : last], name)
        check_constants(name, tuple(noise.law(*strengths).values()) if noise.kind == "pauli" else strengths)
        self._declare_all(strengths)
        self.steps.append(Operation(name, strengths, qubits))
        return self

    def pauli_channel(self, probabilities: Mapping[Any, Any], *qubits: int) -> Self:
        """Append rho -> (1 - sum_j p_j) rho + sum_j p_j P_j rho P_j, with {P_j: p_j} on 8 qubits at most.

        With qubits the keys are dense strings on them, `pauli_channel({"XI": 0.01, "ZZ": p}, 2, 0)`; without, strings
        as a rotation takes them, `pauli_channel({"X2": 0.01, "Z0 Z2": p})`. The identity has what the others leave.
        """
        if not isinstance(probabilities, Mapping) or not probabilities:
            raise QupropError(
                f"pauli_channel takes a dictionary such as {{'XI': 0.01, 'ZZ': 0.002}}, got {shown(probabilities)}"
            )
        wires = self._qubits(qubits, PAULI_CHANNEL)
        strings = tuple([self._error_string(key, wires) for key in probabilities])
        support = 0
        for string in strings:
            support |= string.x | string.z
        if len(set(strings)) < len(strings) or support.bit_count() > MAX_CHANNEL_QUBITS:
            raise QupropError(
                f"pauli_channel takes each string once and acts on {MAX_CHANNEL_QUBITS} qubits at most, got "
                f"{shown(', '.join(map(str, strings)))}"
            )
        strengths = tuple([self._strength(p, PAULI_CHANNEL) for p in probabilities.values()])
        check_constants(PAULI_CHANNEL, strengths)
        self._declare_all(strengths)
        self.steps.append(Operation(PAULI_CHANNEL, strengths, strings))
        return self

    @property
    def channels(self) -> list[Operation]:
        """Its channels, in order."""
        return [step for step in self.steps if isinstance(step, Operation) and step.is_channel]

    def noiseless(self) -> Self:
        """This circuit without its channels; theta and x are laid out as before."""
        twin = self.copy()
        twin.steps = [step for step in self.steps if not isinstance(step, Operation) or not step.is_channel]
        return twin

    def with_noise(self, noise: str | HardwareModel | NoiseModel) -> Circuit:
        """This circuit with the errors of a machine: its name, such as "superconducting" or "superconducting:0.1" (a
        tenth of them), or a `NoiseModel`.

        A depolarising channel follows every gate: of one qubit after a one-qubit gate, of each pair of its qubits after
        a gate of more. As in `HardwareModel` a rotation about a string of two letters counts as two two-qubit gates
        and one of one qubit; one of w letters as 2 (w - 1) along its qubits. CX, CY, CZ and ECR are one two-qubit gate,
        SWAP three, ISWAP two, others two for each pair. Qubits that wait for another's gate relax by t1 and t2. A bit
        that is misread with probability p multiplies a measured letter by 1 - 2p, in whatever basis it is measured:
        a depolarising channel of strength 3p/2 on each qubit at the end. Channels that the circuit has stay.
        """
        return noisy_circuit(self, noise_of(noise))

    def rotation(self, pauli: str | PauliString, angle: Any) -> Self:
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

    def exp(self, pauli_sum: PauliSum | Mapping[Any, float] | str, angle: Any) -> Self:
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

    def evolve(
        self, hamiltonian: Any, time: Any, order: int = 2, steps: int = 1, *, grouping: str = "commuting"
    ) -> Self:
        """Append exp(-i time H): exactly where all terms of H commute, else by the Suzuki formula of this order, 1 or
        even, in `steps` equal steps (`quprop.model.trotter`; the error is told by `quprop.trotter_error`).

        time is a number or made from params and inputs, and so are the coefficients, `{"X0": theta[0], "Z0 Z1": 1.0}`.
        grouping: "commuting" puts each term into the first group that it commutes with, whose exponentials are exact;
        "given" takes term by term in the order given. A term "I" is a global phase.
        """
        for string, angle in evolution(hamiltonian, time, order, steps, grouping, self.n_qubits):
            self.rotation(string, angle)
        return self

    def x_rotations(self, subsets: Sequence[Sequence[int]] | Subsets, theta: AngleVector, factor: float = 1.0) -> Self:
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

    def append(self, other: Circuit) -> Self:
        """Append all gates of `other`, a circuit on as many qubits or fewer that starts from |0...0>."""
        if not isinstance(other, Circuit):
            raise QupropError(f"only a Circuit can be appended to a Circuit, got {type(other).__name__}")
        other.check_unmeasured("be appended")
        if other.n_qubits > self.n_qubits:
            raise QupropError(f"a circuit on {other.n_qubits} qubits does not fit on {self.n_qubits}")
        if other.state != InputState():
            raise QupropError("a circuit with an input state of its own can only come first; swap the two")
        for name, (kind, size) in other.vectors.items():
            self._declare(kind, name, size)
        self.steps.extend(list(other.steps))
        return self

    def __add__(self, other: Circuit) -> Self:
        return self.copy().append(other)

    def copy(self) -> Self:
        """A circuit of the same gates; what is appended to one does not appear in the other."""
        twin = copy.copy(self)
        twin.steps = list(self.steps)
        twin.vectors = dict(self.vectors)
        return twin

    def bound(self, theta: Any = None, x: Any = None) -> Circuit:
        """The circuit at theta (n_params,) and x (n_inputs,), radians: numbers in place of all angles.

        >>> quprop.hybrid.to_qasm(circuit.bound(trained.theta))
        """
        values: dict[str, np.ndarray] = {}
        for kind, given, what, count in ((PARAM, theta, "theta", self.n_params), (INPUT, x, "x", self.n_inputs)):
            flat, start = checked(what, [] if given is None else given, (count,)), 0
            for name, size in self.layout(kind):
                values[name] = flat[start : start + size]
                start += size

        def number(angle: Angle) -> Angle:
            total = 0.0
            for monomial, coefficient in angle.terms:
                total += coefficient * math.prod(float(values[name][index]) for _, index, name, _ in monomial)
            return as_angle(total)

        state = self.state
        if isinstance(state, AngleVector):
            state = InputState.make(self.n_qubits, values[state.name][list(state.indices)])
        elif state.kind == "encoded":
            state = InputState.make(self.n_qubits, state.vector(self.n_qubits, flat[None])[0])
        twin = Circuit(self.n_qubits, state)
        twin.steps = [op._replace(angles=tuple(map(number, op.angles))) for op in self._each()]
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
        """The size of theta: of all params vectors together."""
        return sum(size for _, size in self.layout(PARAM))

    @property
    def n_inputs(self) -> int:
        """The size of x: of all inputs vectors together."""
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
        return f"<Circuit: {count_of(self.n_qubits, 'qubit')}, {count_of(len(self), 'gate')}>"

    def __str__(self) -> str:
        parts = [count_of(self.n_qubits, "qubit"), count_of(len(self), "gate")]
        parts += [f"params {name}[{size}]" for name, size in self.layout(PARAM)]
        parts += [f"inputs {name}[{size}]" for name, size in self.layout(INPUT)]
        state = self.state
        start = state.text(self.n_qubits) if isinstance(state, InputState) else f"amplitudes {state!r}/norm"
        lines = [f"  {_show(op)}" for op in itertools.islice(self._each(), _SHOWN)]
        if len(self) > _SHOWN:
            lines.append(f"  ... {len(self) - _SHOWN} more")
        return "\n".join([f"Circuit: {', '.join(parts)}, from {start}", *lines])

    if not TYPE_CHECKING:  # which shall know the methods, and no others

        def __getattr__(self, name: str) -> Callable[..., Circuit]:
            # Reached only for names that are neither methods nor gates.
            if name.startswith("_") or name in ("steps", "vectors", "n_qubits", "state"):
                raise AttributeError(name)
            raise UnknownGateError(
                f"a circuit has no gate or method {name!r}; {nearest(name, [*GATES, *CHANNELS, *_OTHERS])}"
            )

    def _to_draw(self) -> tuple[Iterable[DrawnGate], int, str, str]:
        return circuit_gates(self)

    def _declare(self, kind: int, name: str, size: int) -> None:
        known = self.vectors.setdefault(name, (kind, size))
        if known != (kind, size):
            old, new = (f"{'inputs' if k else 'params'}({name!r}, {s})" for k, s in (known, (kind, size)))
            raise QupropError(f"the name {name!r} is taken by {old} in this circuit, got {new}; rename one")

    def _angle(self, value: Any) -> Angle:
        angle = value if type(value) is Angle else as_angle(value)
        self._declare_all((angle,))
        return angle

    def _declare_all(self, angles: Iterable[Angle]) -> None:
        for angle in angles:
            for monomial, _ in angle.terms:
                for kind, _index, name, size in monomial:
                    if self.vectors.get(name) != (kind, size):
                        self._declare(kind, name, size)

    def _strength(self, value: Any, channel: str) -> Angle:
        try:
            return as_angle(value)
        except QupropError:
            raise QupropError(
                f"the strengths of {channel} are finite real numbers or made from params and inputs, got {shown(value)}"
            ) from None

    def _error_string(self, key: Any, qubits: tuple[int, ...]) -> PauliString:
        """A key of `pauli_channel` on the circuit's qubits."""
        if qubits:
            if not isinstance(key, str) or len(key) != len(qubits) or set(key) - set("IXYZ"):
                raise QupropError(
                    f"pauli_channel on {count_of(len(qubits), 'qubit')} takes strings of as many letters I, X, Y, Z, "
                    f"got {shown(key)}"
                )
            key = " ".join(f"{letter}{q}" for letter, q in zip(key, qubits, strict=True))
        string = PauliString.parse(key) if isinstance(key, str) else key
        if not isinstance(string, PauliString) or not string.weight or string != PauliString(string.x, string.z):
            raise QupropError(
                f"pauli_channel takes Pauli strings without a sign, the identity left out, got {shown(str(key))}"
            )
        self._check_support(string, "the Pauli string")
        return string

    def _qubits(self, given: Iterable[Any], name: str) -> tuple[int, ...]:
        qubits = tuple([self._qubit(q, name) for q in given])
        if len(qubits) > 1 and len(set(qubits)) < len(qubits):
            raise QupropError(f"{name} needs {len(qubits)} different qubits, got {', '.join(map(str, qubits))}")
        return qubits

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


def _between(op: Operation) -> str:
    return ", " if op.name == PAULI_CHANNEL else " "


def _show(op: Operation) -> str:
    angles = f"({', '.join(map(repr, op.angles))})" if op.angles else ""
    target: Iterable[Any] | str = op.target if isinstance(op.target, tuple) else str(op.target)
    return f"{op.name}{angles} " + (target if isinstance(target, str) else _between(op).join(map(str, target)))
