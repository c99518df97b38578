"""Hadamard tests: one ancilla, one circuit for each component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, nearest
from quprop.gradients.method import GradientMethod
from quprop.gradients.pair_state import noise_of_undoing, pair_program, undone
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.commutation import after, anticommutation, bits, generators
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.budget import Budget
from quprop.sampling.grouping import Grouping, group
from quprop.sampling.linear import LinearPlan, driven
from quprop.sampling.loads import Described, cost_of_load
from quprop.sampling.plan import settle
from quprop.sampling.programs import absorbed, blank, controlled, with_channels
from quprop.sampling.rows import Shifted
from quprop.sampling.sampler import Runs
from quprop.sampling.shape import Load, Shape, Wanted
from quprop.sampling.terms import Terms

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts

MODES = ("direct", "reversed")


@dataclass(frozen=True, kw_only=True)
class HadamardTest(GradientMethod, Budget):
    """dF/da_m from one circuit of its own, with an ancilla in |+>; unbiased, each outcome is an eigenvalue.

    mode="direct": the ancilla controls P_m right after rotation m, and the circuit runs to its end:
        (|0> U|phi> + |1> W_m P_m U_m|phi>)/sqrt(2),   dF/da_m = <Y_anc O>,
    U_m being the rotations up to m and W_m those after it. The terms of O are read in groups as in parameter shift; M
    rotations a run, one circuit for each component and group. Half as many circuits as parameter shift, with twice the
    range: the same shots. (Li, Yang, Peng, Sun, PRL 118, 150503, arXiv:1608.00677; Guerreschi and Smelyanskiy,
    arXiv:1701.01450.)

    mode="reversed": the ancilla controls a term of O after all rotations, which are then undone down to m:
        dF/da_m = -<Y_anc P_m>,
    M + (M - m) rotations a run, one circuit for each component and term. It is what `PairState` reads many components
    of at once.

    A controlled Pauli string is a Clifford gate: it costs no rotation, and rotations after it that anticommute with P_m
    turn the other way where the ancilla is 1. With noise the direct mode is unbiased, since channels are linear in what
    stands beside |0><1| of the ancilla; the reversed mode is biased, as `PairState` is.

    grouping: how a sum of Pauli strings is read: "qubit_wise", "commuting" or "sampled", or the best, "auto".
    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.HadamardTest(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.462 ± 0.03] for 1,000 copies, 1,000 runs, 1,000 rotations, depth 1, 2 qubits, 1,000 classical multiply-adds
    """

    name: ClassVar[str] = "hadamard_test"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    exponents: ClassVar[Mapping[str, float | str]] = {"hardware_efficient": 2.0}
    mode: Literal["direct", "reversed"] = "direct"
    grouping: Literal["auto", "qubit_wise", "commuting", "sampled"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise QupropError(f"mode is direct or reversed, got {self.mode!r}; {nearest(str(self.mode), MODES)}")

    @classmethod
    def load(cls, facts: ModelFacts) -> Load:
        weighed = facts.slopes[facts.trained].multiply(facts.reach[None, :]).tocsr()
        needs = float(np.asarray(weighed.max(axis=1).todense()).sum()) if len(facts.trained) else 0.0
        return facts.own_circuits(len(facts.trained), needs)

    @classmethod
    def described_load(cls, circuit: Described) -> Load:
        return circuit.own_circuits(circuit.rotations)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        return cost_of_load(shape, shape.loads[cls.name], wanted.variance(shape.parameters), ancillas=1)

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> LinearPlan:
        w = settle(model, weights, self)
        terms = Terms.of(model)
        if self.mode == "direct":
            return self._direct(model, w, terms, at)
        components = driven(model)[::-1]  # the shortest runs first
        noisy = bool(model.channels)  # then each is a program of its own, whose noise stops where it stops
        runs = []
        for t, term in enumerate(terms.strings if len(components) else ()):
            for same in components[:, None] if noisy else [components]:
                program, strings = pair_program(model, term, int(same[0]) + 1)
                runs.append(
                    Runs(
                        program,
                        undone(model, (same + 1).tolist()),
                        strings(same[:1].tolist()),
                        targets=same,
                        factors=np.full((len(same), 1), -1.0),
                        terms=np.array([t]),
                        lengths=2 * model.n_rotations - 1 - same,
                        own=None if noisy else tuple(strings([m]) for m in same),
                    )
                )
        info = {"observable": f"{len(terms.strings)} terms, each in circuits of its own"} | noise_of_undoing(model)
        return LinearPlan(model, terms, self, runs, weights=w, at=at, info=info, unbiased=not noisy)

    def _direct(self, model: Model, w: np.ndarray, terms: Terms, at: Any) -> LinearPlan:
        groups = group(terms.total(w), self.grouping, clifford=model.clifford)
        components = driven(model)
        if model.channels:
            runs = [_alone(model, m, members, terms, groups) for members in groups.groups for m in components.tolist()]
            return LinearPlan(model, terms, self, runs, weights=w, at=at, groups=groups)
        program, rows, chosen = _template(model, components)
        runs = []
        for members in groups.groups if len(components) else ():
            observed = [p for p, _ in members]
            own = tuple(tuple(_read(chosen[m], p, model.n_qubits) for p in observed) for m in components.tolist())
            runs.append(
                Runs(
                    program,
                    rows,
                    own[0],
                    targets=components,
                    factors=np.ones((len(components), len(observed))),
                    terms=np.array([terms.position(p) for p in observed]),
                    lengths=np.full(len(components), model.n_rotations),
                    mixture=groups.scheme == "sampled",
                    own=own,
                )
            )
        return LinearPlan(model, terms, self, runs, weights=w, at=at, groups=groups)


def _alone(model: Model, m: int, members: Sequence[tuple[PauliString, float]], terms: Terms, groups: Grouping) -> Runs:
    """The test of one component as a program of its own: what noise does beside the ancilla is different for each."""
    n, M = model.n_qubits, model.n_rotations
    circuit, angle = blank(model, 1).h(n), params("angle", M)
    for k, string in enumerate(generators(model.noiseless())):
        circuit.rotation(string, angle[k])
        if k == m:
            controlled(circuit, n, string)
    program = Model(with_channels(circuit, model, range(M)), [PauliSum("I")])
    observed = [p for p, _ in members]
    ancilla = PauliString(1 << n, 1 << n)
    return Runs(
        program,
        Shifted(np.full((1, 1), -1), np.zeros((1, 1))),
        absorbed(program, [ancilla * p for p in observed]),
        targets=np.array([m]),
        factors=np.ones((1, len(observed))),
        terms=np.array([terms.position(p) for p in observed]),
        lengths=np.array([M]),
        mixture=groups.scheme == "sampled",
    )


@dataclass(frozen=True, eq=False)
class OneOfTwo:
    """Every rotation k of the model is in the program plainly, in column plain[k], and perhaps with the ancilla, in
    column turned[k]; run r executes the latter where flipped[r, k], and the former elsewhere."""

    plain: np.ndarray  # (M,)
    turned: np.ndarray  # (M,), -1 where there is none
    flipped: np.ndarray  # (R, M) bool
    size: int

    def __len__(self) -> int:
        return len(self.flipped)

    def angles(self, a: np.ndarray, start: int, stop: int) -> np.ndarray:
        flipped = self.flipped[start:stop]
        out = np.full((stop - start, self.size), np.nan)
        np.put_along_axis(out, np.where(flipped, self.turned, self.plain), np.broadcast_to(a, flipped.shape), axis=1)
        return out


def _template(model: Model, components: np.ndarray) -> tuple[Model, OneOfTwo, dict[int, PauliString]]:
    """One program for all components: the controlled strings are moved to its end, past the rotations.

    The ancilla's first Hadamard is moved there too, so that it starts in |0>, and Z_anc P_k is X_anc P_k.
    """
    n, strings = model.n_qubits, generators(model)
    chosen = {m: strings[m] for m in components.tolist()}
    later = [after(row, m) for m, row in zip(chosen, anticommutation(list(chosen.values()), strings), strict=True)]
    ever = 0
    for row in later:
        ever |= row
    count = model.n_rotations + ever.bit_count()
    circuit, angle = blank(model, 1, count), params("angle", count)
    plain, turned = np.empty(model.n_rotations, np.int64), np.full(model.n_rotations, -1)
    column = 0
    for k, string in enumerate(strings):
        circuit.rotation(string, angle[column])
        plain[k], column = column, column + 1
        if ever >> k & 1:
            circuit.rotation(PauliString(1 << n, 0) * string, angle[column])
            turned[k], column = column, column + 1
    flipped = np.zeros((len(chosen), model.n_rotations), bool)
    for r, row in enumerate(later):
        flipped[r, list(bits(row))] = True
    return Model(circuit, [PauliSum("I")]), OneOfTwo(plain, turned, flipped, count), chosen


def _read(controlled: PauliString, observed: PauliString, n: int) -> PauliString:
    """Y_anc O after the Clifford (controlled P)(H on the ancilla), as it acts before both."""
    minus_y = -PauliString(1 << n, 1 << n)  # H Y H
    if controlled.commutes(observed):
        return minus_y * controlled * observed
    # the controlled string makes Z_anc O of O and Y_anc P of Y_anc; H Z H = X
    return minus_y * controlled * PauliString(1 << n, 0) * observed
