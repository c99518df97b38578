"""Classical shadows of the pair state: one set of random measurements, all components from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from quprop.cost import Cost
from quprop.errors import QupropError, nearest
from quprop.gradients.method import GradientMethod
from quprop.gradients.pair_state import Frame, pair_program, undone
from quprop.model import Model
from quprop.model.commutation import after, anticommutation, bits, generators
from quprop.model.pauli import PauliString
from quprop.sampling import snapshots as shadow
from quprop.sampling.budget import Budget
from quprop.sampling.copies import spent
from quprop.sampling.estimate import Estimate
from quprop.sampling.linear import driven, jacobian, points, slope_bounds
from quprop.sampling.loads import MOST_LETTERS, Described, cost_of_load
from quprop.sampling.plan import Plan, Terms, settle
from quprop.sampling.programs import read_by_programs
from quprop.sampling.shape import Load, Shape, Wanted
from quprop.simulate.vectors import apply_gates, clifford_gates, prefix_states

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts

_MOST_DENSE = 6  # qubits of the pair state for dense observables: 6^6 snapshots, 46,656 rows
_ROUNDING = 1e-12  # relative; a spread below is one
_AT_ONCE = 1 << 21  # amplitudes of snapshots made at once


@dataclass(frozen=True, kw_only=True)
class ClassicalShadows(GradientMethod, Budget):
    """dF/da_m = -<Y_anc P_m> on the pair state (`PairState`), from random measurements that no component is named in.

    ensemble: "pauli", every qubit in X, Y or Z; a string of weight w has squared shadow norm 3^w. "clifford", a random
    Clifford; 2^(n+1) + 1 for every string. A snapshot's value has mean <P> exactly and variance below the norm.
    frames: "each", one shadow for each place of the undoing that is needed. A shadow at place p serves every component
    whose string commutes with what lies between, whether or not these commute with one another.
    "last", one shadow of the undisturbed pair state, M rotations a copy, for all components: their observables are then
    Y (x) W_m P_m W_m†, dense matrices here (up to 5 qubits), whose norms grow exponentially in general (Remark 4 of
    Abbas et al., arXiv:2305.13362). Compile with `at` for their exact norms; 4^(n+1) is assumed without.

    groups: the estimate is the median of the means of so many groups of copies. Under max_error it is 2 ln(2P/failure)
    groups of 34 norm^2/eps^2 copies (theorem 1 of the source), P the number of parameters. Otherwise 1, the mean, which
    is unbiased; a median is so only for symmetric outcomes. stderr is that of the mean for one group, and
    sqrt(pi/2) std(group means)/sqrt(groups), the large-number limit, for more; the largest there can be, by the norms,
    where no two snapshots differ.

    A sum of terms takes a pair state each. Costs M + (M - p) rotations a copy, n + 1 qubits. Locality is that of the
    model's own strings, after its Cliffords were absorbed.

    Source: Huang, Kueng, Preskill, Nat. Phys. 16, 1050 (2020), arXiv:2002.08953.
    """

    name: ClassVar[str] = "classical_shadows"
    copies: ClassVar[int] = 1
    checked_at: ClassVar[float] = 0.8
    ensemble: Literal["pauli", "clifford"] = "pauli"
    frames: Literal["each", "last"] = "each"
    groups: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, given, known in (
            ("ensemble", self.ensemble, shadow.ENSEMBLES),
            ("frames", self.frames, ("each", "last")),
        ):
            if given not in known:
                raise QupropError(f"{name} is {' or '.join(known)}, got {given!r}; {nearest(str(given), known)}")
        if self.groups is not None and (
            isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1
        ):
            raise QupropError(f"groups must be a whole number, 1 or more, got {self.groups!r}")

    @property
    def unbiased(self) -> bool:
        """Of a mean; a median of several is not."""
        return self.groups == 1 or (self.groups is None and self.max_error is None)

    def variance_wanted(self, components: int) -> float:
        """Of the mean of one group: max_error^2/34, where the plan's number of groups is 2 ln(2P/failure)."""
        if self.max_error is not None:
            return float(self.max_error) ** 2 / 34
        return super().variance_wanted(components)

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> ShadowPlan:
        return ShadowPlan(model, settle(model, weights, self), self, at)

    @classmethod
    def load(cls, facts: ModelFacts) -> Load:
        n = facts.model.n_qubits
        ancilla = PauliString(1 << n, 1 << n)
        strings = np.array(generators(facts.model))[facts.trained]
        norms = [shadow.pauli_norm(ancilla * p, "pauli", n + 1) for p in strings]
        frames = shadow_frames(facts.model) if facts.looked else facts.alone
        return facts.in_frames(frames, np.sqrt(norms))

    @classmethod
    def described_load(cls, circuit: Described) -> Load:
        w = circuit.letters
        if w > MOST_LETTERS:
            raise QupropError(f"classical_shadows would take 3^{w:,} runs for strings of {w:,} letters")
        return circuit.shadow_sets.load(circuit.rotations, circuit.terms, circuit.norm)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """max_error: 2 ln(2P/failure) groups of 34 norm^2/eps^2 copies, rounded up."""
        load = shape.loads[cls.name]
        if wanted.kind == "precision":
            return cost_of_load(shape, load, wanted.value**2, 1)
        return cost_of_load(shape, load, wanted.value**2 / 34, 1, math.ceil(wanted.union(shape.parameters)))


class ShadowPlan(Plan):
    def __init__(self, model: Model, weights: np.ndarray, method: ClassicalShadows, at: Any) -> None:
        super().__init__(model, Terms.of(model), weights)
        self.method, n = method, model.n_qubits
        dense = method.frames == "last"
        if dense and n + 1 > _MOST_DENSE:
            raise QupropError(
                f"frames='last' computes with dense matrices on up to {_MOST_DENSE} qubits, but the pair state of this "
                f"model has {n + 1}; take frames='each', or pair_state"
            )
        slopes = slope_bounds(model, at)
        components = driven(model)
        if dense:
            self.frames = [Frame(model.n_rotations, tuple(components.tolist()))] if len(components) else []
            self.norms = np.full(len(components), 4.0 ** (n + 1))
            if at is not None:
                self.norms = np.max([self._dense_norms(t, s) for t, s in zip(*points(model, at), strict=True)], axis=0)
            elif method.ensemble == "clifford":  # the same at every point
                self.norms = self._dense_norms(np.ones(model.n_params), np.ones(model.n_inputs))
        else:
            self.frames = shadow_frames(model)
            strings = generators(model)
            weighed = [PauliString(1 << n, 1 << n) * strings[m] for m in components]
            self.norms = np.array([shadow.pauli_norm(p, method.ensemble, n + 1) for p in weighed])
        u = self.terms.sizes(weights)
        self.circuits = [(t, f) for t in range(len(self.terms.strings)) for f in self.frames]
        programs = [pair_program(model, term)[0] for term in (self.terms.strings if self.frames else ())]
        self._programs = [(p, clifford_gates(p.clifford)) for p in programs]
        bounds = np.zeros((len(self.circuits), model.n_params))
        for r, (t, f) in enumerate(self.circuits):
            bounds[r] = u[t] * (slopes[list(f.members)].T @ self._deviations(f, self.norms))
        self.groups = method.groups or (
            math.ceil(2 * math.log(2 * max(model.n_params, 1) / method.failure)) if method.max_error is not None else 1
        )
        self.shots = method.allot(sp.csr_matrix(bounds)) if self.circuits else np.zeros(0, np.int64)
        if method.max_error is not None:
            self.shots = self.shots * self.groups
        if len(self.shots) and self.shots.min() < self.groups:
            raise QupropError(
                f"{self.groups} groups need as many shots of each circuit, got {int(self.shots.min())}; take fewer "
                "groups or more shots"
            )
        self.cost = sum(
            (self._spent(f, int(s), self._length(f)) for (_, f), s in zip(self.circuits, self.shots, strict=True)),
            Cost(),
        )
        self.info = {
            "budget": method.budget,
            "shadows": f"{len(self.circuits)} of random {method.ensemble} measurements, {len(components)} components "
            f"in {len(self.frames)} frames",
            "squared shadow norms": f"{self.norms.min():.4g} to {self.norms.max():.4g}" if len(components) else "none",
            "groups": f"median of {self.groups} means" if self.groups > 1 else "mean of all snapshots",
        }

    def _deviations(self, f: Frame, norms: np.ndarray) -> np.ndarray:
        """The largest standard deviation of a snapshot's value for each member."""
        return np.sqrt(norms[np.searchsorted(driven(self.model), f.members)])

    def _length(self, f: Frame) -> int:
        return 2 * self.model.n_rotations - f.place

    def _spent(self, f: Frame, shots: int, length: int) -> Cost:
        return spent(shots, shots, 1, length, self.model.n_qubits + 1, shots * len(f.members))

    def _dense(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        return propagated(self.model, a, driven(self.model))

    def _dense_norms(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return shadow.dense_norms(self._dense(theta, x), self.method.ensemble)

    def _values(self, f: Frame, theta: np.ndarray, x: np.ndarray) -> Callable[[Any], np.ndarray]:
        """What turns snapshots into values (S, members)."""
        pauli = self.method.ensemble == "pauli"
        if self.method.frames == "last":
            observables = self._dense(theta, x)
            of_dense = shadow.dense_pauli_values if pauli else shadow.dense_clifford_values
            return lambda found: of_dense(found, observables)
        strings, ancilla = generators(self.model), PauliString(1 << self.model.n_qubits, 1 << self.model.n_qubits)
        read = [ancilla * strings[m] for m in f.members]
        of_strings: Any = shadow.pauli_values if pauli else shadow.clifford_values
        return lambda found: of_strings(found, read)

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        model, u = self.model, self.terms.coefficients(weights)
        a = model.angle_table.evaluate(theta[None], x[None])[0]
        slopes = jacobian(model.angle_table, theta, x)
        take: Any = shadow.pauli_snapshots if self.method.ensemble == "pauli" else shadow.clifford_snapshots
        means, cost = np.zeros((self.groups, model.n_params)), Cost()
        variance, largest = np.zeros((2, model.n_params))
        info, norms = dict(self.info), self.norms
        if self.method.frames == "last" and len(norms):
            norms = self._dense_norms(theta, x)
            info["squared shadow norms"] = f"{norms.min():.4g} to {norms.max():.4g} at these angles"
        for (t, f), shots, (state, length) in zip(self.circuits, self.shots, self._states(a, x), strict=True):
            cost += self._spent(f, int(shots), length)
            to_params = -u[t] * slopes[list(f.members)].toarray()  # (members, P)
            values = self._values(f, theta, x)
            group = np.sort(np.arange(int(shots)) % self.groups)
            sizes = np.bincount(group, minlength=self.groups)[:, None]
            totals, square = np.zeros((self.groups, model.n_params)), np.zeros(model.n_params)
            step = max(1, _AT_ONCE // max(len(state), len(f.members), model.n_params))
            for start in range(0, int(shots), step):
                here = group[start : start + step]
                y = values(take(rng, state, len(here))) @ to_params
                found, first = np.unique(here, return_index=True)
                totals[found] += np.add.reduceat(y, first, axis=0)
                square += (y * y).sum(axis=0)
            means += totals / sizes
            # Snapshots that all say the same, as those that no string of a component fits, say nothing of the spread.
            most = (self._deviations(f, norms) @ np.abs(to_params)) ** 2 / shots
            largest += most
            if self.groups == 1:
                spread = square - totals[0] ** 2 / shots if shots > 1 else square
                variance += np.where(spread > _ROUNDING * square, spread / (shots * max(shots - 1, 1)), most)
        if self.groups == 1:
            return Estimate(means[0], np.sqrt(variance), cost, info)
        variance = means.var(axis=0, ddof=1) / self.groups
        seen = variance > _ROUNDING * np.abs(means).max(axis=0) ** 2
        stderr = np.sqrt(math.pi / 2 * np.where(seen, variance, largest))
        return Estimate(np.median(means, axis=0), stderr, cost, info)

    def _states(self, a: np.ndarray, x: np.ndarray) -> Iterator[tuple[np.ndarray, int]]:
        """The state of each of `circuits` in turn, and the number of rotations it takes; frames go to longer runs."""
        rows, read = undone(self.model, [f.place for f in self.frames]), read_by_programs(self.model, x)
        angles = rows.angles(a, 0, len(rows))
        lengths = np.count_nonzero(~np.isnan(angles), axis=1)
        for program, gates in self._programs:
            padded = np.zeros((1, program.n_inputs))
            padded[0, : len(read)] = read
            for state, length in zip(prefix_states(program, angles, padded), lengths, strict=True):
                yield apply_gates(gates, state), int(length)


def shadow_frames(model: Model) -> list[Frame]:
    """The fewest places of the undoing that serve all components, each component at any place that its string reaches
    through rotations it commutes with; every place as early in the undoing as its members allow."""
    strings = generators(model)
    left = []
    chosen = driven(model).tolist()
    for m, row in zip(chosen, anticommutation([strings[m] for m in chosen], strings), strict=True):
        before = row & ((1 << m) - 1)
        left.append((before.bit_length(), next(iter(bits(after(row, m))), model.n_rotations), m))
    frames = []
    left.sort(reverse=True)
    while left:
        first = left[0][0]
        members = [f for f in left if f[1] >= first]
        left = [f for f in left if f[1] < first]
        frames.append(Frame(min(f[1] for f in members), tuple(sorted(f[2] for f in members))))
    return frames


def propagated(model: Model, angles: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Y (x) W_m P_m W_m† of the components, dense (L, 2^(n+1), 2^(n+1)); the ancilla is the highest qubit."""
    n, strings, wanted = model.n_qubits, generators(model), set(components.tolist())
    after_m, found = np.eye(1 << n, dtype=complex), {}
    for m in reversed(range(model.n_rotations)):
        matrix = strings[m].matrix(n)
        if m in wanted:
            found[m] = after_m @ matrix @ after_m.conj().T
        after_m = after_m @ (np.cos(angles[m] / 2) * np.eye(1 << n) - 1j * np.sin(angles[m] / 2) * matrix)
    y = np.array([[0, -1j], [1j, 0]])
    return np.array([np.kron(y, found[m]) for m in components.tolist()]).reshape(-1, 2 << n, 2 << n)
