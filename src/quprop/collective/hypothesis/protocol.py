"""What a hypothesis state is: a classical guess sigma at the state of the copies, learned from measured Paulis only.

Online shadow tomography (Aaronson, Chen, Hazan, Kale and Nayak, arXiv:1802.09025) and quantum backpropagation (Abbas et
al., arXiv:2305.13362) keep a density matrix sigma on a classical computer, predict tr(sigma P), and change sigma only
when the copies contradict a prediction. The change is one step of matrix multiplicative weights,

    log sigma  <-  log sigma + step * (1 + P)/2,   renormalised.

With step = 4 g, where g is the gap |tr(rho E) - tr(sigma E)| of the acceptance probability of E = (1 + P)/2 (with the
sign of the gap), the relative entropy S(rho || sigma) falls by at least step * g - step^2/8 = 2 g^2 (Golden-Thompson,
then Hoeffding's lemma). It starts at most at n ln 2, so there are at most :func:`mistake_bound` updates. The theorem
holds for :class:`~quprop.collective.hypothesis.dense.DenseHypothesis`; each other class says what is left of it. A poor
hypothesis costs further updates, never a wrong answer, because every prediction is checked on the real copies.

A measured value may also be learned as such: ``learn(pauli, value, error)`` makes tr(sigma P) agree with it and, as far
as the class can, keeps what was learned before. With all of it kept and sigma the state of maximum entropy
(:class:`~quprop.collective.hypothesis.dense.DenseHypothesis`) far fewer events trigger later.

No class here takes a state: what it knows of the truth came in through ``update`` and ``learn``.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from quprop.cost import short_bytes
from quprop.errors import QupropError
from quprop.model.pauli import PauliString
from quprop.simulate import memory

CERTAIN = 0.999  # a boost takes no expectation further: its vectors keep more than one direction
LEARNING_STEPS = 4
EXACT = (
    1e-3  # the least error of a value in a fit: it bounds what contradictory or duplicate exact values would blow up
)


class Hypothesis(Protocol):
    """A state sigma on ``n`` qubits in the current frame, starting from 1/2^n.

    ``classical_ops`` counts real multiply-adds done so far (complex ones are four), ``classical_bytes`` is what the
    object holds now, ``updates`` how often it was changed: calls of ``update``, and the changes each ``learn`` took.
    All Paulis are Hermitian and may carry a sign.
    """

    n: int
    updates: int
    classical_ops: int

    @property
    def classical_bytes(self) -> int: ...

    def predict(self, pauli: PauliString) -> float:
        """tr(sigma P), in [-1, 1]."""
        ...

    def update(self, pauli: PauliString, step: float) -> None:
        """log sigma += step * (1 + P)/2, renormalised; for compressed states the nearest they can do."""
        ...

    def learn(self, pauli: PauliString, value: float, error: float) -> None:
        """tr(rho P) was measured to be ``value`` with standard error ``error``: sigma is made to agree with it.

        A value outside [-1, 1], as noise may give, counts as the nearer end. error 0 is an exact value.
        """
        ...

    def rotate(self, pauli: PauliString, angle: float) -> None:
        """sigma <- R sigma R†, R = exp(-i angle P/2). Undoing a rotation of the circuit is the negative angle."""
        ...

    def copy(self) -> Hypothesis:
        """An independent one in the same state, counters included."""
        ...


class HypothesisClass(Protocol):
    """What `HYPOTHESES` holds: a class made from the number of qubits and its own options."""

    def __call__(self, n: int, /, *args: Any, **kwargs: Any) -> Hypothesis: ...

    def required_bytes(self, n: int, /, *args: Any, **kwargs: Any) -> int:
        """The most that one of n qubits ever holds; takes those options of the class that matter."""
        ...


def mistake_bound(n: int, gap: float) -> float:
    """n ln 2 / (2 gap^2): the most updates of step 4 gap that exact multiplicative weights makes on n qubits.

    ``gap`` in (0, 1] is the smallest true gap of the acceptance probability (1 + tr(rho P))/2 at which an update is
    made: half the gap of the expectation. For n = 5 and gap = 0.25 it is 27.7.
    """
    if not 0 < gap <= 1:
        raise QupropError(f"`gap` must be in (0, 1], got {gap}; it is a difference of probabilities")
    return n * math.log(2) / (2 * gap**2)


def positive(pauli: PauliString, n: int) -> tuple[PauliString, int]:
    """The string without its sign, and the sign; refuses what is no Hermitian string on n qubits."""
    if not isinstance(pauli, PauliString):
        raise QupropError(
            f"a hypothesis works with PauliStrings, got {type(pauli).__name__}; write PauliString.parse('X0 Y2')"
        )
    if pauli.n_qubits > n:
        raise QupropError(
            f"the hypothesis has {n} qubits, got {pauli}, which acts on qubit {pauli.n_qubits - 1}; make it larger"
        )
    return PauliString(pauli.x, pauli.z), pauli.sign


def measured(value: float, error: float, sign: int = 1) -> tuple[float, float]:
    """What ``learn`` was told of a string without its sign: a value in [-1, 1] and an error, or a refusal."""
    if number(error, "error") < 0:
        raise QupropError(f"`error` is a standard error, 0 or more, got {error}; 0 is an exact value")
    return sign * min(1.0, max(-1.0, number(value, "value"))), float(error)


def boost_to(value: float, predicted: float) -> float:
    """c with which K = exp(c P/2) takes tr(sigma P) from ``predicted`` to ``value`` as sigma becomes K sigma K.

    tanh adds up: c = atanh(value) - atanh(predicted), both kept `CERTAIN` at most. As ``update`` it is a step of 2 c.
    """
    ends = (math.atanh(min(CERTAIN, max(-CERTAIN, v))) for v in (value, predicted))
    return next(ends) - next(ends)


def tempering(factor: float) -> float:
    """A factor of log sigma in [0, 1], or a refusal."""
    if not 0 <= number(factor, "factor") <= 1:
        raise QupropError(f"`factor` must be in [0, 1], got {factor}; 0 forgets all, 1 keeps all")
    return float(factor)


def learn_by_steps(hypothesis: Hypothesis, pauli: PauliString, value: float, error: float) -> None:
    """What ``learn`` is where earlier values are not kept: up to `LEARNING_STEPS` updates of step 2 c, c = `boost_to`,
    until tr(sigma P) is within ``error`` of ``value``. One is enough where P commutes with log sigma."""
    string, sign = positive(pauli, hypothesis.n)
    value, error = measured(value, error, sign)
    if not string.weight:
        return
    for _ in range(LEARNING_STEPS):
        predicted = hypothesis.predict(string)
        if abs(value - predicted) <= error:
            return
        hypothesis.update(string, 2 * boost_to(value, predicted))


def number(value: float, name: str) -> float:
    """A finite float, or a refusal."""
    if not math.isfinite(value):
        raise QupropError(f"`{name}` must be a finite number, got {value}; check what it was computed from")
    return float(value)


def count(value: int, name: str, least: int = 1) -> int:
    """An integer of at least ``least``, or a refusal."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise QupropError(f"`{name}` must be an integer of at least {least}, got {value!r}; pass for example {least}")
    return int(value)


def require_held(needed: int, what: str, n: int) -> None:
    """Refuses, in one sentence, a hypothesis that does not fit this machine, naming one that would."""
    vectors = 16 * 2**n * 8 * 2  # eight vectors in double precision, and what they need while being changed
    if vectors < min(needed, memory.available_bytes()):
        cheaper = f"TypicalityHypothesis({n}, vectors=8) fits in {short_bytes(vectors)}"
    else:
        cheaper = f"MatrixProductHypothesis({n}, bond_dimension=16) or KernelHypothesis({n}) hold no vector of 2^{n}"
    memory.require(needed, what, cheaper)
