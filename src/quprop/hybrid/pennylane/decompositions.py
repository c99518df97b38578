"""PennyLane's operations taken apart into gates of `RULES`, with the numbers in them still PennyLane's tensors.

An exponential exp(-i t G) of a Pauli sum whose terms commute is one gate, `PauliExp`, and so is any operation with one
number and such a generator once it is controlled: with projectors Q on the control wires,
C(exp(-i t G)) = exp(-i t Q G). Nothing else that PennyLane offers is exact and differentiable for all t.

An operation known only by its matrix becomes a `QubitUnitary`, whose angles PennyLane computes from the matrix. They
are not differentiable functions of it everywhere, and exist for unitary matrices only, so both are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane import math, ops
from pennylane.operation import Channel, Operator
from pennylane.ops.op_math import Adjoint, Controlled, Exp, Pow, SymbolicOp
from pennylane.pauli import PauliSentence, PauliWord
from pennylane.tape import QuantumScript
from pennylane.transforms.core import transform
from scipy.linalg import expm

from quprop.errors import QupropError
from quprop.hybrid.pennylane.gates import RULES, KnownChannel, PauliExp
from quprop.hybrid.pennylane.gates import word as string_of
from quprop.hybrid.pennylane.observables import MATRIX_WIRES, RefusedError, pauli_sum
from quprop.hybrid.pennylane.translate import in_order, is_traced
from quprop.hybrid.transfer import steps_of_kraus
from quprop.model.pauli import PauliString, PauliSum

NAMES = frozenset(RULES)
CONTROLLED_TERMS = 1024  # a controlled exponential has twice as many for each control wire; beyond, PennyLane's gates
UNITARY_WITHIN = 1e-6  # largest entry of U U^dagger - 1: what single precision leaves
_EXACT = 1e-11
_FAR = expm(0.5j * (np.add.outer(np.arange(4), np.arange(4)) % 4 + np.diag([0.3, 1.1, -0.4, 0.0])))  # of no symmetry
_TROTTER = "use qml.TrotterProduct of it, whose time is trainable in any order"
_NOT_UNITARY = (
    "is exp(c G) with a c that is not imaginary, which is no gate; write time evolution as qml.evolve(G, t) or "
    "qml.exp(G, -1j * t)"
)
_QUTRIT = qml.ops.qutrit.__name__


def is_gate(op: Operator) -> bool:
    return op.name in NAMES


@transform
def check_gates(tape: QuantumScript) -> tuple[Sequence[QuantumScript], Any]:
    """Refuses what is no gate of a pure state of qubits before anything is decomposed, by its place in the circuit."""
    for i, op in enumerate(tape.operations):
        if op.name not in NAMES:
            _check(op, f"operation {i}, ")
        elif isinstance(op, Channel) and any(map(math.ndim, op.data)):
            raise RefusedError(
                f"operation {i}, {_named(op)}, has strengths with a batch axis, which no channel of PennyLane has; "
                "pass one number, or call the circuit for each"
            )
    return (tape,), lambda results: results[0]


def decomposition(op: Operator) -> Sequence[Operator]:
    """One step from an operation to gates, raising `RefusedError` where that would not be exact."""
    _check(op)
    if isinstance(op, Exp | Controlled) or _wraps_exp(op):
        found = _generator(op)
        if found is not None:
            parts = _exponential(op, *found)
            if parts is not None:
                return parts
    if isinstance(op, ops.QubitChannel):
        return [_known_channel(op)]
    if isinstance(op, Adjoint) and not op.base.has_adjoint:
        return [qml.adjoint(part) for part in reversed(_parts(op.base))]
    if isinstance(op, ops.QubitUnitary) and len(op.wires) == 2 and op.has_matrix:
        return _two_wires(op)
    if isinstance(op, Controlled) and op.data:
        # PennyLane would take the angles of one-wire gates from their matrices
        if len(op.base.data) > 1 or not is_gate(op.base) or isinstance(op.base, PauliExp):
            options = {"control_values": op.control_values, "work_wires": op.work_wires}
            return [qml.ctrl(part, op.control_wires, **options) for part in _parts(op.base)]
        if any(map(is_traced, op.data)):
            raise RefusedError(
                f"{_named(op)} has more control wires than this device differentiates through; use up to "
                f"{CONTROLLED_TERMS.bit_length() - 1}, and qml.ctrl of qml.X on a work wire for more"
            )
    if not op.has_decomposition:
        if op.has_matrix:
            return [_from_matrix(op)]
        raise RefusedError(
            f"{_named(op)} has neither a decomposition nor a matrix; give it one of them, or use gates that have"
        )
    parts = op.decomposition()
    if any(map(is_traced, op.data)) and not any(is_traced(number) for part in parts for number in _tensors(part)):
        raise RefusedError(
            f"{_named(op)} is decomposed by PennyLane in a way that has no derivative by its numbers; mark them as not "
            "trainable, or write it as gates that have"
        )
    return parts


def _known_channel(op: ops.QubitChannel) -> KnownChannel:
    try:
        steps = steps_of_kraus([_plain(k).astype(complex) for k in op.data], _named(op))
    except QupropError as error:
        raise RefusedError(str(error)) from None
    return KnownChannel(steps, op.wires)


def _plain(value: Any) -> np.ndarray:
    """The values of a tensor that has them, of any interface."""
    return np.asarray(math.unwrap([value])[0])


def _parts(op: Operator) -> Sequence[Operator]:
    """The operation's own gates, which PennyLane's wrappers of it are made of."""
    return op.decomposition() if is_gate(op) else decomposition(op)


def _wraps_exp(op: Operator) -> bool:
    return isinstance(op, Exp | PauliExp) or (isinstance(op, Adjoint | Pow) and _wraps_exp(op.base))


def _inner(op: Operator) -> Operator:
    """The operation inside adjoints, powers and controls."""
    while isinstance(op, SymbolicOp) and not isinstance(op, Exp | ops.SProd):
        op = op.base
    return op


def _tensors(op: Operator) -> Iterable[Any]:
    """All tensors in an operation; PennyLane hides those in the generator of an `Evolution`."""
    return (*op.data, *(_tensors(op.base) if isinstance(op, SymbolicOp) else ()))


def _has_traced_exponent(op: Operator) -> bool:
    if not isinstance(op, SymbolicOp) or _wraps_exp(op):
        return False
    return (isinstance(op, Pow) and is_traced(op.z)) or _has_traced_exponent(op.base)


def _named(op: Operator) -> str:
    return f"{op.name} on wires {op.wires.tolist()}"


def _check(op: Operator, place: str = "") -> None:
    inner = _inner(op)
    subject = f"{place}{_named(op)}" + ("," if place else "")
    if inner.__module__.startswith(_QUTRIT):
        raise RefusedError(f'{subject} acts on qutrits, and this device has qubits only; use "default.qutrit"')
    if isinstance(inner, Channel):
        if isinstance(op, ops.QubitChannel) or (op is inner and is_gate(op)):
            return
        raise RefusedError(
            f"{subject} is noise that this device does not have; use PennyLane's channels of qubits, uncontrolled, or "
            'the device qml.device("default.mixed")'
        )
    if isinstance(inner, ops.Sum):
        raise RefusedError(
            f"{subject} is a sum of operators, not a gate; sums that are added up inside a QNode stay behind in its "
            "queue: build the observable outside, or with one qml.sum or qml.Hamiltonian"
        )
    if _has_traced_exponent(op):
        raise RefusedError(
            f"{subject} has a trainable or traced exponent, which PennyLane does not differentiate; write it as "
            "qml.evolve(G, t)"
        )
    if isinstance(inner, ops.QubitUnitary):
        _check_unitary(inner.data[0], subject)


def _check_unitary(matrix: Any, subject: str) -> None:
    if is_traced(matrix):
        raise RefusedError(
            f"{subject} has a matrix that depends on trainable or traced numbers, and the gates it is made of have no "
            "derivative by it; use rotations such as qml.Rot, qml.PauliRot or qml.evolve, or a matrix of constants"
        )
    dense = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else _plain(matrix))
    defect = np.abs(dense @ dense.conj().swapaxes(-1, -2) - np.eye(dense.shape[-1])).max()
    if not defect <= UNITARY_WITHIN:
        raise RefusedError(
            f"{subject} needs a unitary matrix, got one with U U^dagger off by {defect:.1e}; a gate keeps the norm of "
            "the state"
        )
    if dense.ndim > 2 and dense.shape[-1] > 2:
        raise RefusedError(
            f"{subject} has a batch of matrices of more than one wire; apply qml.transforms.broadcast_expand"
        )


def _from_matrix(op: Operator) -> Operator:
    """A gate that is known by its matrix only, if that is a unitary of constants."""
    traced = next((number for number in op.data if is_traced(number)), None)
    matrix = op.matrix() if traced is None else traced
    _check_unitary(matrix, _named(op))
    return qml.QubitUnitary(matrix, op.wires)


def _two_wires(op: Operator) -> Sequence[Operator]:
    """PennyLane's decomposition of a matrix where it multiplies out to it: near special gates, the identity first, it
    takes the special one's. The matrix is then a product of two that are near none."""
    matrix, wires = _plain(op.data[0]).astype(complex), op.wires
    allowed = _EXACT + 10 * np.abs(matrix @ matrix.conj().T - np.eye(4)).max()
    for factors in ([matrix], [_FAR.conj().T @ matrix, _FAR]):
        parts = [part for factor in factors for part in qml.QubitUnitary(factor, wires).decomposition()]
        found = qml.matrix(QuantumScript(parts), wire_order=wires)
        if np.abs(found - matrix).max() <= allowed:
            return parts
    raise RefusedError(f"{_named(op)} is a matrix for which PennyLane finds no gates; write it as gates, or qml.evolve")


# Exponentials


def _generator(op: Operator) -> tuple[Any, PauliSentence] | None:
    """(t, G) with op = exp(-i t G), where the operation is of this form; t and G may both be complex."""
    if isinstance(op, PauliExp):
        return op.data[0], op.sentence
    if isinstance(op, Exp):
        time = op.data[0] if isinstance(op, ops.Evolution) else 1j * op.coeff
        return time, _sentence(op.base, _named(op))
    if isinstance(op, ops.GlobalPhase):
        return op.data[0], PauliSentence({PauliWord({}): 1.0})
    if isinstance(op, Adjoint | Pow | Controlled):
        found = _generator(op.base)
        if found is None:
            return None
        time, sentence = found
        if isinstance(op, Adjoint):
            return -time, sentence  # `_exponential` refuses times G that are not Hermitian
        if isinstance(op, Pow):
            return op.z * time, sentence
        if len(sentence) << len(op.control_wires) > CONTROLLED_TERMS:
            return None
        for wire, value in zip(op.control_wires, op.control_values, strict=True):
            sign = -0.5 if value else 0.5
            sentence = PauliSentence({PauliWord({}): 0.5, PauliWord({wire: "Z"}): sign}) @ sentence
        return time, sentence
    if op.num_params == 1 and op.has_generator and op.ndim_params == (0,):
        return -op.data[0], _sentence(op.generator(), _named(op))
    return None


def _sentence(operator: Operator, name: str) -> PauliSentence:
    """The Pauli form of a generator."""
    if operator.pauli_rep is not None:
        return operator.pauli_rep
    if any(map(is_traced, operator.data)):
        raise RefusedError(f"{name} has a generator of trainable or traced numbers; write it as a sum of Pauli words")
    try:
        total = pauli_sum(operator, in_order(operator.wires))
    except QupropError as e:
        raise RefusedError(f"{name} needs a Hermitian generator: {e}") from None
    if total is None:
        raise RefusedError(
            f"{name} has a generator without a Pauli form, or one of more than {MATRIX_WIRES} wires; write it as a sum "
            "of Pauli words"
        )
    return PauliSentence({_word(string, operator.wires): c for string, c in total.items()})


def _word(string: PauliString, wires: Sequence[Any]) -> PauliWord:
    return PauliWord({w: letter for w, letter in zip(wires, string.dense(len(wires)), strict=True) if letter != "I"})


def _exponential(op: Operator, time: Any, sentence: PauliSentence) -> Sequence[Operator] | None:
    """exp(-i time G) as gates: one where G is a sum of constants that commute, a rotation a term where its coefficients
    are tensors; None where PennyLane decomposes the operation otherwise."""
    name, wires = _named(op), op.wires
    shared = not any(is_traced(c) or math.ndim(c) or _is_complex(c) for c in sentence.values())
    inner = _inner(op)
    if shared and type(inner) is Exp and is_traced(inner.coeff) and "complex" not in math.get_dtype_name(inner.coeff):
        raise RefusedError(f"{name} {_NOT_UNITARY}")  # at zero too, where its value would be right
    clash = _clash(sentence, wires)
    if clash is not None:
        if not isinstance(inner, Exp):
            return None
        if not shared or len(wires) > MATRIX_WIRES:
            raise RefusedError(
                f"{name} has a generator with terms that do not commute, {clash[0]} and {clash[1]}, which has exact "
                f"gates with constant coefficients on up to {MATRIX_WIRES} wires only; {_TROTTER}"
            )
        return _diagonalised(_real(time, name), sentence, wires)
    if shared:
        terms = tuple((_letters(word, wires), float(np.real(_plain(c)))) for word, c in sentence.items())
        return [PauliExp(_real(time, name), terms, wires)]
    return [PauliExp(_real(time * c, name), ((_letters(word, wires), 1.0),), wires) for word, c in sentence.items()]


def _diagonalised(time: Any, sentence: PauliSentence, wires: Any) -> Sequence[Operator]:
    """exp(-i t G) = V exp(-i t D) V^dagger: V is a matrix of constants and D a sum of Z strings, so that all angles are
    linear in t and every derivative by it is exact."""
    values, vectors = np.linalg.eigh(sentence.to_mat(wires))
    n = len(wires)
    weights = values.reshape((2,) * n)
    for axis in range(n):  # Walsh-Hadamard: the coefficient of each Z string, PennyLane's first wire the first axis
        one, other = np.take(weights, 0, axis), np.take(weights, 1, axis)
        weights = np.stack([one + other, one - other], axis) / 2
    small = np.finfo(float).eps * np.abs(values).max(initial=0.0)
    terms = {"".join("IZ"[bit] for bit in place): float(c) for place, c in np.ndenumerate(weights) if abs(c) > small}
    phase = terms.pop("I" * n, 0.0)
    turns = [PauliExp(time, tuple(terms.items()), wires)] if terms else []
    return [qml.QubitUnitary(vectors.conj().T, wires), *turns, qml.QubitUnitary(vectors, wires)] + (
        [qml.GlobalPhase(phase * time)] if phase else []
    )


def _clash(sentence: Iterable[PauliWord], wires: Any) -> tuple[str, str] | None:
    """Two words that do not commute, if there are any."""
    place = range(len(wires))
    words = {string_of(_letters(word, wires), place): word for word in sentence}
    clash = PauliSum(dict.fromkeys(words, 1.0)).commuting()
    return None if clash is None else (str(words[clash[0]]), str(words[clash[1]]))


def _letters(word: PauliWord, wires: Any) -> str:
    return "".join(word[w] for w in wires)  # a PauliWord has "I" for every other wire


def _is_complex(value: Any) -> bool:
    return "complex" in math.get_dtype_name(value) and bool(np.any(np.imag(_plain(value))))


def _real(value: Any, name: str) -> Any:
    """The real part of t, whose imaginary part must vanish for exp(-i t G) to be unitary; where its value is not known
    before the circuit runs, NaN if it does not, which is refused when it does."""
    dtype = math.get_dtype_name(value)
    if "complex" not in dtype:
        return value
    real, imaginary = math.real(value), math.imag(value)
    bound = 100 * np.finfo(dtype).eps
    if math.is_abstract(value):
        return math.where(abs(imaginary) <= bound * (1 + abs(real)), real, np.nan)
    if not bool(np.all(_plain(abs(imaginary)) <= bound * (1 + _plain(abs(real))))):
        raise RefusedError(f"{name} {_NOT_UNITARY}")
    return real
