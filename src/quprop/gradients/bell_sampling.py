"""Bell sampling: all gradient components from pairs of copies, where they are Pauli strings on one fixed state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, count_of, nearest
from quprop.gradients.fixed_state import Fixed, output_state, pair_states, quarter_turns
from quprop.gradients.method import GradientMethod
from quprop.gradients.pair_state import pair_program, undone
from quprop.model import Model
from quprop.model.ansatz import pauli_list
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.budget import Budget
from quprop.sampling.copies import pairs_for, spent
from quprop.sampling.copy_requests import Pairs, Preparation, SignsOfStrings
from quprop.sampling.estimate import Estimate, variance_of_mean
from quprop.sampling.linear import jacobian, points, slope_bounds
from quprop.sampling.loads import Described
from quprop.sampling.plan import Plan, settle
from quprop.sampling.programs import absorbed, free, read_by_programs
from quprop.sampling.requests import Part, Realiser, Rounds, in_turn, side_by_side
from quprop.sampling.shape import Load, Shape, Wanted
from quprop.sampling.signs import ROUTES, voters
from quprop.sampling.terms import Terms
from quprop.simulate.memory import require

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts


_ONE_STATE = "bell_sampling needs every component to be a Pauli string on one state"


@dataclass(frozen=True, kw_only=True)
class BellSampling(GradientMethod, Budget):
    """Magnitudes of K Pauli expectations from Bell measurements of pairs, then their signs.

    Stage 1: a Bell measurement of two copies has all P (x) P as eigenvalues, with means <P>^2. N1 = 2 (16/5)^2
    ln(4K/failure) / eps^4 pairs know all of them to (5/16) eps^2, except with probability failure/2 (Hoeffding). A
    magnitude below 3 eps/4 is taken for 0 (then |<P>| <= eps); any other is right to eps/4 and has |<P>| >= eps/2.
    Stage 2: the signs of those, by signs="majority" (N2 = 8 ln(8K/failure)/eps^2 copies held together and voted on, the
    same for all strings), "colouring" (single copies) or "mimicking" (pairs with a known state), see `signs.py`.

    Costs 2 N1 copies and those of stage 2, of M rotations each: K enters by its logarithm. Biased: by eps at most.
    Under `shots` (pairs of each state) and `total_shots` (copies in all) eps follows from N1, and is 1 at most.

    Applies where the components are Pauli strings on one state: dF/da_m = sum_t u_t <i P'_m O_t> on U|phi>, where
    P'_m = W_m P_m W_m† is a string because what follows rotation m commutes with it or turns by multiples of pi/2. The
    angles are those of `at`, and of `estimate`. frames="each" takes any model, with one state for each place of the
    pair state (`PairState`) that is needed, and so gives up the logarithm.

    Source: Huang, Kueng, Preskill, PRL 126, 190505 (2021), arXiv:2101.02464; as a gradient: Proposition 7 of Abbas et
    al., arXiv:2305.13362; thresholds, "colouring" and "mimicking": King, Gosset, Kothari, Babbush, arXiv:2404.19211.

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.gradient(model, [np.pi / 2], method=qpr.BellSampling(max_error=0.1), rng=0).value.round(2)
    array([-1.])
    """

    name: ClassVar[str] = "bell_sampling"
    copies: ClassVar[int] = 2
    unbiased: ClassVar[bool] = False
    exponents: ClassVar[Mapping[str, float | str]] = {"pauli_list": 1.0}
    signs: Literal["majority", "colouring", "mimicking"] = "majority"
    frames: Literal["one", "each"] = "one"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision is not None:
            raise QupropError(
                "bell_sampling has a bias as large as its error, so that precision= (a standard error) says nothing; "
                "pass max_error="
            )
        for name, given, known in (("signs", self.signs, list(ROUTES)), ("frames", self.frames, ["one", "each"])):
            if given not in known:
                raise QupropError(f"{name} is one of {', '.join(known)}, got {given!r}; {nearest(str(given), known)}")

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> BellPlan:
        return BellPlan(model, settle(model, weights, self), self, at)

    @classmethod
    def load(cls, facts: ModelFacts) -> Load | None:
        if facts.strings[0]:
            return None
        if facts.one_state_looked:
            raise QupropError(f"{_ONE_STATE}, and here rotations anticommute at angles that are no multiples of pi/2")
        raise QupropError(
            f"whether all components are Pauli strings on one state is not looked for beyond {facts.most_pairs:,} "
            "rotations times terms; BellSampling(...).compile(model) says so"
        )

    @classmethod
    def described_load(cls, circuit: Described) -> Load | None:
        if not circuit.one_state:
            raise QupropError(f"{_ONE_STATE}, which is not known of this model; pauli_list:n,M is of that kind")
        return None

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """2 N1 copies for the magnitudes of K strings, and N2 held together for the signs."""
        if not shape.strings:
            raise QupropError(f"{_ONE_STATE}, and here they are not")
        eps = min(1.0, wanted.max_error(shape.parameters) / shape.string_scale)
        pairs = pairs_for(shape.strings, eps, wanted.failure)
        votes = voters(shape.strings, eps, wanted.failure / 2)
        return Cost(
            copies=2 * pairs + votes,
            rotations=(2 * pairs + votes) * shape.rotations,
            measurements=pairs + votes,
            depth=shape.rotations,
            qubits=max(2, votes) * shape.qubits,
            classical_ops=shape.strings * pairs,
        )

    @classmethod
    def logarithm(cls, m: int) -> float:
        """That of its own count of pairs: its errors are those of thresholds."""
        return math.log(4 * m / cls.failure)


class BellPlan(Plan):
    """The states, the strings on each, and the copies they get."""

    def __init__(self, model: Model, weights: np.ndarray, method: BellSampling, at: Any) -> None:
        super().__init__(model, Terms.of(model), weights)
        self.method = method
        self._programs: dict[int | None, Model] = {}
        a = None if at is None else model.angle_table.evaluate(*points(model, at))
        slopes = slope_bounds(model, at)
        # Of several points: a turn that not all of them have is none, though one of them is estimated by itself.
        several = a is not None and len(a) > 1
        self._known = [k is not None or not several for k in quarter_turns(a, model.n_rotations)]
        self.fixed = self._find(a)
        self.K = sum(len(_distinct(f)) for f in self.fixed)
        self.route = ROUTES[method.signs]
        width = model.n_qubits + any(f.term is not None for f in self.fixed)
        if width > self.route.most_qubits:
            raise QupropError(
                f"signs={method.signs!r} computes with dense matrices on up to {self.route.most_qubits} qubits, got "
                f"{width}; take signs='majority' or 'colouring'"
            )
        require(5 * 16 << width, f"Bell sampling on {width} qubits", "take a model with fewer qubits")
        per_angle = np.zeros(model.n_rotations)
        u = self.terms.sizes(weights)
        for f in self.fixed:
            for r in f.reads:
                per_angle[r.target] += u[r.term]
        self.scale = float((slopes.T @ per_angle).max(initial=0.0))  # what eps is multiplied by, at worst
        self.eps, self.pairs = self._accuracy()
        self.cost = sum((self._claim(f) for f in self.fixed), Cost())
        self.info: dict[str, Any] = {
            "budget": method.budget,
            "states": _describe(self.fixed),
            "strings": f"{self.K} different ones to eps = {self.eps:.3g}, {self.scale * self.eps:.3g} in a component"
            + (" (too few copies for a guarantee)" if self._short else ""),
            "copies": f"{self.pairs:,} pairs for the magnitudes on each state, then {method.signs} for the signs"
            + (" (the cost is an upper bound)" if self.route.bound else ""),
        }

    def _find(self, a: np.ndarray | None) -> list[Fixed]:
        model = self.model
        found_turns = quarter_turns(a, model.n_rotations)
        turns = [k if known else None for k, known in zip(found_turns, self._known, strict=True)]
        found = output_state(model, self.terms, turns)
        if isinstance(found, Fixed):
            return [found] if found.reads else []
        if self.method.frames == "each":
            return [f for f in pair_states(model, self.terms, turns) if f.reads]
        raise QupropError(
            f"bell_sampling needs every component to be a Pauli string on one state, but rotation {found} "
            f"({PauliString(*model.rotations[found][:2])}) anticommutes with an earlier one and its angle is "
            + _angle_in_words(a, found)
            + "; pair_state, hadamard_test and parameter_shift serve this model, and frames='each' at more cost"
        )

    def _accuracy(self) -> tuple[float, int]:
        """eps, and the pairs that each state's magnitudes get."""
        m, self._short = self.method, False
        if not self.fixed:
            return 1.0, 0
        if m.max_error is not None:
            eps = min(1.0, m.max_error / self.scale) if self.scale else 1.0
            return eps, pairs_for(self.K, eps, m.failure)
        if m.shots is not None:
            eps = (pairs_for(self.K, 1.0, m.failure) / m.shots) ** 0.25
            self._short = eps > 1
            return min(1.0, eps), m.shots
        assert m.total_shots is not None
        low, high = -20.0, 0.0  # log2 eps
        smallest = self._copies(1.0)
        if m.total_shots < smallest:
            raise QupropError(
                f"total_shots={m.total_shots:,} copies say nothing about {self.K:,} strings; the smallest number that "
                f"works is {smallest:,}"
            )
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self._copies(2**middle) <= m.total_shots else (middle, high)
        return 2**high, pairs_for(self.K, 2**high, m.failure)

    def _copies(self, eps: float) -> int:
        self.eps, self.pairs = eps, pairs_for(self.K, eps, self.method.failure)
        return sum(self._claim(f).copies for f in self.fixed)

    def _claim(self, f: Fixed) -> Cost:
        n = self.model.n_qubits + (f.term is not None)
        paulis, length = _distinct(f), _length(self.model, f)
        first = spent(2 * self.pairs, self.pairs, 2, length, n, len(paulis) * self.pairs)
        return first + self.route.claim(paulis, n, length, self.eps, self._delta(paulis))

    def _delta(self, paulis: Sequence[PauliString]) -> float:
        """The part of failure/2 that the signs on one state may use."""
        return self.method.failure / 2 * len(paulis) / self.K

    @cached_property
    def realiser(self) -> Realiser:
        if self.method.signs != "colouring":
            how = {"majority": "many copies held together", "mimicking": "pairs of copies with a mixed state"}
            raise QupropError(
                f"signs={self.method.signs!r} measures {how[self.method.signs]}, so that a device has no list of "
                "circuits to run; signs='colouring' has one"
            )
        return super().realiser

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        return self._simulated(self._states_read(in_turn, theta, x, weights), rng)  # one state is held at a time

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        return self._states_read(side_by_side, theta, x, weights)

    def _states_read(
        self, read: Callable[[Sequence[Part]], Any], theta: np.ndarray, x: np.ndarray, weights: np.ndarray
    ) -> Rounds:
        model = self.model
        a = model.angle_table.evaluate(theta[None], x[None])[0]
        fixed = self._find(a)
        if [(f.term, f.place, len(_distinct(f))) for f in fixed] != [
            (f.term, f.place, len(_distinct(f))) for f in self.fixed
        ]:
            raise QupropError(
                "this plan was compiled for angles with other multiples of pi/2 among them; compile it again with "
                "at=(theta, x) of the point to be estimated"
            )
        u, slopes = self.terms.coefficients(weights), jacobian(model.angle_table, theta, x)
        g, spread = np.zeros(model.n_rotations), np.zeros(model.n_rotations)
        kept, notes, damage = 0, {}, 0.0
        found = yield from read([self._read(f, a, x) for f in fixed])
        for f, (value, error, large, info) in zip(fixed, found, strict=True):
            place = {p: i for i, p in enumerate(_distinct(f))}
            for r in f.reads:
                i = place[r.pauli]
                g[r.target] += r.factor * u[r.term] * value[i]
                spread[r.target] += abs(u[r.term]) * error[i]
            kept += large
            notes, damage = info, max(damage, info.get("damage", 0.0))
        if "damage" in notes:
            notes = {**notes, "damage": damage}
        info = {**self.info, "above the threshold": f"{kept} of {count_of(self.K, 'string')}", **notes}
        return Estimate(slopes.T @ g, abs(slopes).T @ spread, Cost(), info)

    def _read(self, f: Fixed, a: np.ndarray, x: np.ndarray) -> Part:
        """<P> of the different strings on a state, their errors, how many are above the threshold, and of the signs."""
        eps, paulis = self.eps, _distinct(f)
        program, angles = self._prepared(f, a)
        source, strings = Preparation(program, angles, read_by_programs(self.model, x)), _physical(program, f, paulis)
        (seen,) = yield [Pairs(source, strings, self.pairs)]
        size = np.sqrt(np.maximum(seen, 0.0))
        large = np.flatnonzero(size >= 0.75 * eps)
        value, error = np.zeros(len(paulis)), np.full(len(paulis), eps)
        above = [strings[i] for i in large]
        (found,) = yield [SignsOfStrings(source, above, self.method.signs, len(paulis), eps, self._delta(paulis))]
        value[large] = size[large] * found.values
        of_mean = variance_of_mean(seen[large], np.ones(len(large)), self.pairs, 2.0)  # of outcomes ±1
        error[large] = np.sqrt(of_mean) / (2 * size[large])
        return value, error, len(large), found.info

    def _prepared(self, f: Fixed, a: np.ndarray) -> tuple[Model, np.ndarray]:
        """The program whose rotations give the state, and their angles."""
        if f.term is None:
            return self._program(None), a
        return self._program(f.term), undone(self.model, [f.place]).angles(a, 0, 1)[0]

    def _program(self, term: int | None) -> Model:
        """Each made once."""
        if term not in self._programs:
            made = free(self.model) if term is None else pair_program(self.model, self.terms.strings[term])[0]
            self._programs[term] = made
        return self._programs[term]


def pauli_list_model(state: Circuit, paulis: Sequence[PauliString | str]) -> Model:
    """A model whose gradient at theta = 0 is the list of <P_k> on the state of a circuit.

    One more qubit n in |+>, the circuit's gates, rotations about Z_n P_k, observable Y_n: dF/dtheta_k = <P_k> at 0. It
    is Proposition 7 of Abbas et al., arXiv:2305.13362, as the derivative of a cost. `state` has no parameters or inputs
    left; M can be 4^n.

    paulis: texts or `PauliString`s.
    Returns: Model with one parameter a string.
    Raises: QupropError for a state with parameters or strings beyond its qubits.

    >>> model = qpr.pauli_list_model(qpr.Circuit(2).h(0).cx(0, 1), ["X0 X1", "Z0 Z1", "Z0"])
    >>> qpr.value_and_grad(model, np.zeros(3))[1].round(6)
    array([1., 1., 0.])
    """
    n = state.n_qubits if isinstance(state, Circuit) else 0
    return Model(pauli_list(state, paulis), [PauliSum(PauliString(1 << n, 1 << n))])


def _distinct(f: Fixed) -> list[PauliString]:
    return list(dict.fromkeys(r.pauli for r in f.reads))


def _length(model: Model, f: Fixed) -> int:
    return model.n_rotations if f.term is None else 2 * model.n_rotations - f.place


def _physical(program: Model, f: Fixed, paulis: Sequence[PauliString]) -> list[PauliString]:
    """The strings as they act right after the program's canonical rotations."""
    return list(paulis) if f.term is None or not paulis else list(absorbed(program, paulis))


def _angle_in_words(a: np.ndarray | None, rotation: int) -> str:
    if a is None:
        return "not known (pass at=(theta, x))"
    if a.ndim == 1 or len(a) == 1:
        return f"{a[..., rotation].item():.6g}, no multiple of pi/2"
    return "not the same multiple of pi/2 at all points"


def _describe(fixed: Sequence[Fixed]) -> str:
    if not fixed:
        return "none, all components are zero"
    if fixed[0].term is None:
        return "the circuit's own, where all components are Pauli strings"
    return f"{len(fixed)} pair states"
