"""Circuits made of circuits: inverses, powers, controlled versions, and circuits on chosen qubits of others.

A control makes a global phase a relative one, so here every gate is exactly the matrix that `GATES` says it is, phase
included: t is diag(1, exp(i pi/4)), rz is exp(-i angle Z / 2). With Pi = |s><s| on the controls, a sum of 2^c strings
of Z with signs, the controlled exp(-i a G / 2) is exp(-i a Pi G / 2), whose strings commute where those of G do, and
the controlled phase exp(i b) is exp(i b Pi).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Self

from quprop.errors import QupropError, count_of, shown
from quprop.model.angle import Angle, as_angle
from quprop.model.channels import refuse_channels
from quprop.model.exact import CONTROLLED, INVERSES, OWN_INVERSES, TURNED_BACK, exact
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum, bits

if TYPE_CHECKING:
    from quprop.model.circuit import Operation

MAX_GATES = 1 << 22  # of a power
MAX_TURNS = 1 << 20  # rotations of a controlled circuit
_Control = tuple[int, int]  # a qubit and the bit that it must have
# Gates that have controls of their own: how many, and what these control.
_INNER = {
    "cx": (1, "x"), "cy": (1, "y"), "cz": (1, "z"), "crx": (1, "rx"), "cry": (1, "ry"), "crz": (1, "rz"),
    "cp": (1, "p"), "ccx": (2, "x"), "ccz": (2, "z"),
}  # fmt: skip
_PHASES = {"s": math.pi / 2, "sdg": -math.pi / 2, "t": math.pi / 4, "tdg": -math.pi / 4}  # diag(1, exp(i angle))


class CircuitAlgebra:
    """What `Circuit` has of this."""

    n_qubits: int
    steps: list[Any]
    vectors: dict[str, tuple[int, int]]
    state: Any
    channels: Any
    operations: Any
    copy: Callable[[], Self]
    append: Callable[..., Self]
    gate: Callable[..., Self]
    channel: Callable[..., Self]
    rotation: Callable[..., Self]
    exp: Callable[..., Self]
    _declare: Callable[[int, str, int], None]
    _each: Callable[[], Iterator[Any]]

    def check_unmeasured(self, verb: str) -> None:
        """Refuses a circuit that measures in the middle."""

    @property
    def size_for_gates(self) -> int:
        """How many of its qubits gates may act on."""
        return self.n_qubits

    def inverse(self) -> Self:
        """U† of this circuit's U, global phase included: the inverse gates in reverse order, by the same parameters.

        Raises: QupropError for channels, which have no inverse, and for an input state of its own.

        >>> print(qpr.Circuit(2).s(0).rx(0.3, 0).cx(0, 1).inverse())
        Circuit: 2 qubits, 3 gates, from |00>
          cx 0 1
          rx(-0.3) 0
          sdg 0
        """
        self.check_unmeasured("be turned back")
        _refuse(self, "an inverse")
        refuse_channels(self, "an inverse")  # type: ignore[arg-type]
        twin = self.copy()
        twin.steps = [
            step._replace(factor=-step.factor) if _is_block(step) else inverted(step) for step in reversed(self.steps)
        ]
        return twin

    def power(self, k: int) -> Self:
        """U^k: the circuit k times, its inverse -k times where k is negative; of 0 no gate, with the same parameters.

        Raises: QupropError for a k that is no whole number, more than 2^22 gates, an input state of its own, and
        channels where k is negative.

        >>> len(qpr.Circuit(1).rx(0.3, 0).h(0).power(-3))
        6
        """
        if isinstance(k, bool) or not isinstance(k, numbers.Integral):
            raise QupropError(f"the power of a circuit is a whole number, got {shown(k)}")
        self.check_unmeasured("have a power")
        _refuse(self, "a power")
        if abs(int(k)) * len(self.steps) > MAX_GATES:
            raise QupropError(
                f"a power of a circuit has {MAX_GATES} gates at most, got {len(self.steps)} gates {shown(k)} times; "
                "take a smaller power"
            )
        twin = self.inverse() if k < 0 else self.copy()
        twin.steps = twin.steps * abs(int(k))
        return twin

    def compose(self, other: Any, qubits: Sequence[int] | None = None) -> Self:
        """This circuit and then the gates of `other`, whose qubit k is qubits[k] here; a new circuit.

        qubits: as many as `other` has, each once; 0, 1, ... if they are not given. Vectors of one name are one vector.
        Raises: QupropError for qubits that do not fit, and for another circuit with an input state of its own.

        >>> print(qpr.Circuit(3).h(2).compose(qpr.Circuit(2).cx(0, 1), qubits=[2, 0]))
        Circuit: 3 qubits, 2 gates, from |000>
          h 2
          cx 2 0
        """
        if not isinstance(other, CircuitAlgebra):
            raise QupropError(f"only a Circuit can be composed with a Circuit, got {type(other).__name__}")
        other.check_unmeasured("be composed with another")
        if qubits is None:
            return self.copy().append(other)
        places = _places(qubits, "compose")
        size = self.size_for_gates
        if len(places) != other.n_qubits or any(q >= size for q in places):
            raise QupropError(
                f"compose takes a place from 0 to {size - 1} for each of the other circuit's "
                f"{count_of(other.n_qubits, 'qubit')}, got {list(places)}"
            )
        if other.state != InputState():
            raise QupropError("a circuit with an input state of its own can only come first; swap the two")
        twin = self.copy()
        for name, (kind, size) in other.vectors.items():
            twin._declare(kind, name, size)
        twin.steps.extend(_moved(step, places) for step in other._each())
        return twin

    def control(self, qubits: int | Sequence[int], state: Any = None) -> Self:
        """This circuit where the control qubits are in a basis state, nothing where they are not.

        qubits: one or more that no gate of this circuit acts on; the new circuit is as large as they need. state: their
        bits, such as "10" or [1, 0], in the order of qubits; all 1 if it is not given. Every gate counts as exactly the
        matrix that `quprop.GATES` says it is, global phase included; a circuit that was read from another library has
        lost its own global phase, so control it there. With c controls a rotation becomes 2^c rotations that
        share its parameter.

        Raises: QupropError for qubits that are in use, bits that do not fit, channels, an input state of its own, and
        more than 2^20 rotations.

        >>> print(qpr.Circuit(1).x(0).rz(0.3, 0).control(1))
        Circuit: 2 qubits, 2 gates, from |00>
          cx 1 0
          crz(0.3) 1 0
        """
        self.check_unmeasured("be controlled")
        _refuse(self, "a controlled version")
        refuse_channels(self, "a controlled circuit")  # type: ignore[arg-type]
        places = _places([qubits] if isinstance(qubits, numbers.Integral) else qubits, "control")
        if not places:
            raise QupropError("control takes one qubit or more, got none")
        controls = tuple(zip(places, _bits_of(state, len(places)), strict=True))
        used = reduce(or_, map(_support, self._each()), 0)
        busy = [q for q in places if used >> q & 1]
        if busy:
            raise QupropError(
                f"control takes qubits that no gate of the circuit acts on, got qubit {busy[0]}, on which one does; "
                f"take one from {self.n_qubits}, or move the circuit by Circuit(n).compose(circuit, qubits)"
            )
        turns = sum(max(1, _turns(op)) for op in self._each()) << min(len(places), 64)
        if turns > MAX_TURNS:
            raise QupropError(
                f"a controlled circuit has {MAX_TURNS} rotations at most, 2^{len(places)} for each one of this "
                f"circuit, got {turns}; compute one control from the others by ccx on further qubits"
            )
        twin: Self = type(self)(max(self.n_qubits, *(q + 1 for q in places)))  # type: ignore[call-arg]
        for name, (kind, size) in self.vectors.items():
            twin._declare(kind, name, size)
        for op in self._each():
            if isinstance(op.target, tuple):
                _control_gate(twin, op.name, op.angles, op.target, controls)
            else:
                twin.exp(_projected(PauliSum(op.target), controls), op.angles[0])
        return twin


def inverted(op: Operation) -> Operation:
    """The inverse of a gate as one operation."""
    name, angles, target = op
    if name in TURNED_BACK or not isinstance(target, tuple):
        return op._replace(angles=tuple(-a for a in angles))
    if name in INVERSES:
        return op._replace(name=INVERSES[name])
    if name == "u":  # p(phi) ry(theta) p(lam)
        theta, phi, lam = angles
        return op._replace(angles=(-theta, -lam, -phi))
    if name == "iswap":
        (a, b) = (1 << q for q in target)
        pair = PauliSum({PauliString(a | b, 0): 1.0, PauliString(a | b, a | b): 1.0})  # XX + YY
        return op._replace(name="exp", angles=(as_angle(math.pi / 2),), target=pair)
    assert name in OWN_INVERSES, name
    return op


def _control_gate(
    circuit: Any, name: str, angles: tuple[Angle, ...], target: tuple[int, ...], controls: tuple[_Control, ...]
) -> None:
    """Append the gate under these controls."""
    if name in _INNER:
        own, name = _INNER[name]
        controls, target = (*controls, *((q, 1) for q in target[:own])), target[own:]
    if name in _PHASES:
        name, angles = "p", (as_angle(_PHASES[name]),)
    named: str | None = name
    for _, bit in controls:
        named = CONTROLLED.get(str(named)) if bit else None
    if named is not None:
        circuit.gate(named, *angles, *(q for q, _ in controls), *target)
    elif name == "h":  # RY(pi/4) Z RY(-pi/4), of which only Z needs the controls
        circuit.ry(-math.pi / 4, *target)
        _control_gate(circuit, "z", (), target, controls)
        circuit.ry(math.pi / 4, *target)
    else:
        gate = exact(name, angles, target)
        for string, angle in gate.turns:
            circuit.exp(_projected(PauliSum(string), controls), angle)
        if gate.phase.terms:
            circuit.exp(_projected(PauliSum("I"), controls), -2 * gate.phase)


def _projected(total: PauliSum, controls: tuple[_Control, ...]) -> PauliSum:
    """Pi G, with Pi the product of (1 -+ Z)/2 over the controls, on none of which G acts."""
    terms = {(p.x, p.z): c for p, c in total.items()}
    for qubit, bit in controls:
        sign = -0.5 if bit else 0.5
        half = {key: 0.5 * c for key, c in terms.items()}
        terms = half | {(x, z | 1 << qubit): sign * c for (x, z), c in terms.items()}
    return PauliSum({PauliString(x, z): c for (x, z), c in terms.items()})


def _moved(op: Operation, places: tuple[int, ...]) -> Operation:
    """The operation with its qubit k on places[k]."""

    def mask(old: int) -> int:
        return sum(1 << places[q] for q in bits(old))

    def string(p: PauliString) -> PauliString:
        return PauliString(mask(p.x), mask(p.z), p.phase)

    target = op.target
    if isinstance(target, PauliString):
        return op._replace(target=string(target))
    if isinstance(target, PauliSum):
        return op._replace(target=PauliSum({string(p): c for p, c in target.items()}))
    return op._replace(target=tuple(string(t) if isinstance(t, PauliString) else places[t] for t in target))


def _support(op: Operation) -> int:
    """The qubits an operation acts on, as a mask."""
    if isinstance(op.target, tuple):
        return reduce(or_, (1 << q for q in op.target), 0)
    return reduce(or_, (p.x | p.z for p, _ in PauliSum(op.target).items()), 0)


def _turns(op: Operation) -> int:
    """The rotations that one control doubles."""
    if isinstance(op.target, PauliSum):
        return len(op.target)
    if isinstance(op.target, PauliString):
        return 1
    own = _INNER.get(op.name, (0, ""))[0]
    return 4 << own if op.name in ("u", "swap", "ecr") or own else 4


def _is_block(step: Any) -> bool:
    """Whether a step is an array of rotations, not one operation."""
    return hasattr(step, "factor")


def _refuse(circuit: CircuitAlgebra, what: str) -> None:
    if circuit.state != InputState():
        raise QupropError(
            f"{what} is of the gates alone, and this circuit has an input state of its own; take it of the gates on a "
            "Circuit(n) without a state"
        )


def _places(given: Any, what: str) -> tuple[int, ...]:
    try:
        places = tuple(given)
    except TypeError:
        places = (given,)
    if isinstance(given, str) or any(
        isinstance(q, bool) or not isinstance(q, numbers.Integral) or q < 0 for q in places
    ):
        raise QupropError(f"{what} takes a list of whole-number qubits from 0, got {shown(given)}")
    if len(set(places)) < len(places):
        raise QupropError(f"{what} takes each qubit once, got {shown(list(places))}")
    return tuple(map(int, places))


def _bits_of(state: Any, count: int) -> tuple[int, ...]:
    """The bits of the controls."""
    given = [1] * count if state is None else list(state) if isinstance(state, str | Sequence) else [state]
    found = [{"0": 0, "1": 1}.get(str(int(b)) if isinstance(b, numbers.Integral) else str(b)) for b in given]
    if len(found) != count or None in found:
        raise QupropError(f"the state of {count_of(count, 'control')} is as many bits 0 or 1, got {shown(state)}")
    return tuple(int(b) for b in found if b is not None)
