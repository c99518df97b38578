"""Classical shadows of the pair state: one set of random measurements, all components from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from quprop.collective.hypothesis.vectors import COMBINE_OPS, INNER_OPS, applied, rotate
from quprop.cost import Cost
from quprop.errors import QupropError, count_of, nearest
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
from quprop.sampling.loads import AMPLITUDE_BYTES, MOST_LETTERS, Described, cost_of_load, needed
from quprop.sampling.plan import Plan, settle
from quprop.sampling.programs import read_by_programs
from quprop.sampling.requests import Rounds
from quprop.sampling.shape import Load, Shape, Wanted
from quprop.sampling.snapshot_requests import Snapshots
from quprop.sampling.terms import Terms
from quprop.simulate import memory

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts

_MOST_DENSE = 6  # qubits of the pair state for dense observables: 6^6 snapshots, 46,656 rows
_MOST_AVERAGED = 11  # for averages: matrices of 16 MiB, snapshots of 2,048 amplitudes
BATCHES = 32  # of snapshots that an average is over, to see their spread
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
    Y (x) W_m P_m W_m†, whose norms grow exponentially in general (Remark 4 of Abbas et al., arXiv:2305.13362). "pauli":
    dense matrices, up to 5 qubits; compile with `at` for their exact norms, 4^(n+1) is assumed without. "clifford"
    (`CliffordShadows`): the norm is 2^(n+1) + 1 for all of them, and a mean of snapshots is swept once backwards
    through the circuit, 4^n work a rotation, up to 10 qubits.

    groups: the estimate is the median of the means of so many groups of copies. 1, the default, is the mean, which is
    unbiased; a median is so only for symmetric outcomes. Under max_error the mean takes, by Bernstein's inequality,

        N = 2 ln(2P/failure) (V + R eps/3) / eps^2

    copies, P the number of parameters, V the squared norm of what is read, and R the largest that one value can be:
    both are 3^w, or 2^(n+1) + 1, of a string. A median takes more, 2 ln(2P/failure) groups of 34 V/eps^2 copies
    (theorem 1 of the source), whatever R is.
    stderr is that of the mean for one group (from the spread of 32 batches of copies for the sweep above), and
    sqrt(pi/2) std(group means)/sqrt(groups), the large-number limit, for more; the largest there can be, by the norms,
    where no two snapshots differ.

    A sum of terms takes a pair state each. Costs M + (M - p) rotations a copy, n + 1 qubits. Locality is that of the
    model's own strings, after its Cliffords were absorbed.

    Source: Huang, Kueng, Preskill, Nat. Phys. 16, 1050 (2020), arXiv:2002.08953; Boucheron, Lugosi, Massart,
    Concentration Inequalities (2013), corollary 2.11, for means that are not centred.

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.gradient(model, [np.pi / 6], method=qpr.ClassicalShadows(total_shots=10_000), rng=0).value.round(2)
    array([-0.53])
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
        return self.groups in (None, 1)

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> ShadowPlan:
        averaged = (self.ensemble, self.frames) == ("clifford", "last")
        return (AveragedPlan if averaged else ShadowPlan)(model, settle(model, weights, self), self, at)

    @classmethod
    def load(cls, facts: ModelFacts) -> Load | None:
        n = facts.model.n_qubits
        ancilla = PauliString(1 << n, 1 << n)
        strings = np.array(generators(facts.model))[facts.trained]
        norms = [shadow.pauli_norm(ancilla * p, "pauli", n + 1) for p in strings]
        frames = shadow_frames(facts.model) if facts.looked else facts.alone
        return facts.in_frames(frames, np.sqrt(norms), np.array(norms))

    @classmethod
    def described_load(cls, circuit: Described) -> Load | None:
        w = circuit.letters
        if w > MOST_LETTERS:
            raise QupropError(f"classical_shadows would take 3^{w:,} runs for strings of {w:,} letters")
        return circuit.shadow_sets.load(circuit.rotations, circuit.terms, circuit.norm)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """Of the mean; max_error by Bernstein's inequality."""
        load = shape.loads[cls.name]
        return cost_of_load(shape, load, variance_of_mean(wanted, shape.parameters, load.largest), 1)


def variance_of_mean(wanted: Wanted, parameters: int, largest: float, groups: int = 1) -> float:
    """The largest variance that the mean of a group may have.

    largest: the most that one copy counts, over their number times that variance: R/V of one circuit.
    """
    e, union = wanted.value, wanted.union(parameters)
    if wanted.kind == "precision":
        return e**2
    if groups == 1:
        return e**2 / (union * (1 + largest * e / 3))
    if groups < union:
        raise QupropError(
            f"max_error={e:g} with failure={wanted.failure:g} takes {math.ceil(union)} groups or more for "
            f"{parameters:,} parameters, or one, got groups={groups}"
        )
    return e**2 / 34


class ShadowPlan(Plan):
    """From the value of every snapshot for every component."""

    most: ClassVar[int] = _MOST_DENSE  # qubits of the pair state that frames='last' takes
    refusal: ClassVar[str] = "frames='last' computes with dense matrices"

    def __init__(self, model: Model, weights: np.ndarray, method: ClassicalShadows, at: Any) -> None:
        super().__init__(model, Terms.of(model), weights)
        self.method, n = method, model.n_qubits
        if method.frames == "last" and n + 1 > self.most:
            raise QupropError(
                f"{self.refusal} on up to {self.most} qubits, but the pair state of this model has {n + 1}; take "
                "frames='each', or pair_state"
            )
        slopes = slope_bounds(model, at)
        components = driven(model)
        if method.frames == "last":
            self.frames = [Frame(model.n_rotations, tuple(components.tolist()))] if len(components) else []
        else:
            self.frames = shadow_frames(model)
        self.norms, largest = self._norms(components, at)
        u = self.terms.sizes(weights)
        self.shadows = [(t, f) for t in range(len(self.terms.strings)) for f in self.frames]
        self._programs = [pair_program(model, term)[0] for term in (self.terms.strings if self.frames else ())]
        bounds, farthest = np.zeros((len(self.shadows), model.n_params)), np.zeros(len(self.shadows))
        for r, (t, f) in enumerate(self.shadows):
            mine = slopes[list(f.members)].T
            bounds[r] = u[t] * (mine @ self._of(f, np.sqrt(self.norms)))
            farthest[r] = u[t] * (mine @ self._of(f, largest)).max(initial=0.0)
        self.groups = method.groups or 1
        self.shots = self._allotted(sp.csr_matrix(bounds), farthest)
        self.unbiased = method.unbiased
        if len(self.shots) and self.shots.min() < self.groups:
            raise QupropError(
                f"{self.groups} groups need as many shots of each circuit, got {int(self.shots.min())}; take fewer "
                "groups or more shots"
            )
        self.cost = self._cost([self._length(f) for _, f in self.shadows])
        self.info = {
            "budget": method.budget,
            "shadows": f"{len(self.shadows)} of random {method.ensemble} measurements, {len(components)} components "
            f"in {count_of(len(self.frames), 'frame')}",
            "squared shadow norms": f"{self.norms.min():.4g} to {self.norms.max():.4g}" if len(components) else "none",
            "groups": f"median of {self.groups} means" if self.groups > 1 else "mean of all snapshots",
        }

    @property
    def drawn(self) -> tuple[int, int]:
        shots = self.cost.measurements
        bases = len(self.shadows) * 3 ** (self.model.n_qubits + 1)
        return (0, min(shots, bases)) if self.method.ensemble == "pauli" else (shots, 0)

    def _norms(self, components: np.ndarray, at: Any) -> tuple[np.ndarray, np.ndarray]:
        """The squared shadow norms of all components, and the largest that a value of each can be."""
        model, n = self.model, self.model.n_qubits
        if self.method.frames == "each":
            strings, ancilla = generators(model), PauliString(1 << n, 1 << n)
            read = [ancilla * strings[m] for m in components]
            of_strings = np.array([shadow.pauli_norm(p, self.method.ensemble, n + 1) for p in read])
            return of_strings, of_strings
        norms = np.full(len(components), 4.0 ** (n + 1))
        if at is not None:
            found = [self._dense_norms(t, s) for t, s in zip(*points(model, at), strict=True)]
            norms = np.max(found, axis=0)
        return norms, np.full(len(components), 3.0 ** (n + 1))  # 3 |s><s| - 1 has the trace norm 3

    def _allotted(self, bounds: sp.csr_matrix, farthest: np.ndarray) -> np.ndarray:
        """The shots of each circuit. farthest (R,): the most that a shot of a circuit counts."""
        method, P = self.method, self.model.n_params
        if not self.shadows or method.max_error is None:
            return method.allot(bounds) if self.shadows else np.zeros(0, np.int64)
        least = needed(bounds)
        largest = np.divide(farthest, least, out=np.zeros_like(farthest), where=least > 0).max()
        wanted = Wanted("max_error", float(method.max_error), method.failure)
        variance = variance_of_mean(wanted, P, float(largest), self.groups)
        return self.groups * Budget(precision=math.sqrt(variance)).allot(bounds)

    def _of(self, f: Frame, of_components: np.ndarray) -> np.ndarray:
        return of_components[np.searchsorted(driven(self.model), f.members)]

    def _length(self, f: Frame) -> int:
        return 2 * self.model.n_rotations - f.place

    def _cost(self, lengths: Sequence[int]) -> Cost:
        """Of `shadows` with so many rotations."""
        rows = zip(self.shadows, self.shots.tolist(), lengths, strict=True)
        q = self.model.n_qubits + 1
        return sum((spent(s, s, 1, length, q, s * len(f.members)) for (_, f), s, length in rows), Cost())

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
            return lambda found: shadow.dense_pauli_values(found, observables)
        strings, ancilla = generators(self.model), PauliString(1 << self.model.n_qubits, 1 << self.model.n_qubits)
        read = [ancilla * strings[m] for m in f.members]
        of_strings: Any = shadow.pauli_values if pauli else shadow.clifford_values
        return lambda found: of_strings(found, read)

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        model, u = self.model, self.terms.coefficients(weights)
        a = model.angle_table.evaluate(theta[None], x[None])[0]
        slopes = jacobian(model.angle_table, theta, x)
        means = np.zeros((self.groups, model.n_params))
        variance, largest = np.zeros((2, model.n_params))
        info, norms = dict(self.info), self.norms
        if self.method.frames == "last" and len(norms):
            norms = self._dense_norms(theta, x)
            info["squared shadow norms"] = f"{norms.min():.4g} to {norms.max():.4g} at these angles"
        answers = yield self._asked(a, x)
        for (t, f), shots, snapshots in zip(
            self.shadows, self.shots.tolist(), chain.from_iterable(answers), strict=True
        ):
            to_params = -u[t] * slopes[list(f.members)].toarray()  # (members, P)
            values = self._values(f, theta, x)
            group = _grouped(shots, self.groups)
            totals, square, start = np.zeros((self.groups, model.n_params)), np.zeros(model.n_params), 0
            for part in snapshots:
                y = values(part) @ to_params
                found, first = np.unique(group[start : start + len(y)], return_index=True)
                totals[found] += np.add.reduceat(y, first, axis=0)
                square += (y * y).sum(axis=0)
                start += len(y)
            means += totals / np.bincount(group)[:, None]
            # Snapshots that all say the same, as those that no string of a component fits, say nothing of the spread.
            most = (self._of(f, np.sqrt(norms)) @ np.abs(to_params)) ** 2 / shots
            largest += most
            if self.groups == 1:
                spread = square - totals[0] ** 2 / shots if shots > 1 else square
                variance += np.where(spread > _ROUNDING * square, spread / (shots * max(shots - 1, 1)), most)
        if self.groups == 1:
            return Estimate(means[0], np.sqrt(variance), Cost(), info)
        return _median(means, largest, info)

    def _asked(self, a: np.ndarray, x: np.ndarray) -> list[Snapshots]:
        """The snapshots of all `shadows`, those of a term's frames together; frames go to longer runs."""
        if not self.frames:
            return []
        angles = undone(self.model, [f.place for f in self.frames]).angles(a, 0, len(self.frames))
        members = np.array([len(f.members) for f in self.frames])
        size = 2 << self.model.n_qubits
        at_once = np.maximum(1, _AT_ONCE // np.maximum(members, max(size, self.model.n_params)))
        return [
            Snapshots(program, angles, read_by_programs(self.model, x), shots, self.method.ensemble, at_once, values)
            for program, shots in zip(self._programs, self.shots.reshape(-1, len(members)), strict=True)
            for values in [self._values_of_each(members)]
        ]

    def _values_of_each(self, members: np.ndarray) -> np.ndarray:
        """The values that are computed from one snapshot, given the components of each frame."""
        return members


class AveragedPlan(ShadowPlan):
    """From averages of Clifford snapshots of the undisturbed pair state: no component is computed for a snapshot.

    The mean of Y (x) Q over snapshots (2^(n+1) + 1)|s><s| - 1 is 2 Im tr(A Q), linear in one matrix A of size 2^n
    (`snapshots.summed_with_y`), and Q_m = W_m P_m W_m† makes it 2 Im tr(W_m† A W_m P_m): A is swept backwards through
    the circuit. The terms of the observable are summed in A, and every group of snapshots, or batch of which the spread
    is wanted, has an A of its own.
    """

    most = _MOST_AVERAGED
    refusal = "frames='last' averages Clifford snapshots in matrices"

    def __init__(self, model: Model, weights: np.ndarray, method: ClassicalShadows, at: Any) -> None:
        super().__init__(model, weights, method, at)
        what = f"an average of Clifford snapshots of {model.n_qubits + 1} qubits for each of {self.batches:,} groups"
        memory.require(2 * self.cost.classical_bytes, what, "take fewer groups, or frames='each'")

    def _norms(self, components: np.ndarray, at: Any) -> tuple[np.ndarray, np.ndarray]:
        norms = np.full(len(components), 2.0 ** (self.model.n_qubits + 1) + 1)  # (Y (x) Q_m)^2 = 1, as of a string
        return norms, norms

    @property
    def batches(self) -> int:
        return self.groups if self.groups > 1 else min(BATCHES, int(self.shots.min(initial=BATCHES)))

    def _cost(self, lengths: Sequence[int]) -> Cost:
        q = self.model.n_qubits + 1
        device = sum((spent(s, s, 1, k, q) for s, k in zip(self.shots.tolist(), lengths, strict=True)), Cost())
        return device + averaging(q - 1, self.model.n_rotations, device.measurements, self.batches, self.groups)

    def simulation_seconds(self) -> float:
        """About what an estimate takes here: snapshots, their products, and the sweep."""
        q, shots, d = self.model.n_qubits + 1, self.cost.measurements, 2 << self.model.n_qubits
        products = COMBINE_OPS * shots * (d // 2) ** 2
        states = 2 * len(self.shadows) * self.model.n_rotations * (d * 1e-8 + 2e-5)
        return states + shots * (1e-5 + q * d * 1e-8) + products / 1e10 + (self.cost.classical_ops - products) / 1e9

    def _values_of_each(self, members: np.ndarray) -> np.ndarray:
        return np.zeros_like(members)

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        model, u = self.model, self.terms.coefficients(weights)
        if not self.shadows:
            return Estimate(np.zeros(model.n_params), np.zeros(model.n_params), Cost(), dict(self.info))
        a = model.angle_table.evaluate(theta[None], x[None])[0]
        slopes, batches, lead = jacobian(model.angle_table, theta, x), self.batches, int(self.groups == 1)
        half = 1 << model.n_qubits
        sums = np.zeros((lead + batches, half, half), complex)  # of all snapshots first, if there is one group
        largest, in_batch = np.zeros(model.n_params), np.zeros(batches)
        answers = yield self._asked(a, x)
        for (t, f), shots, snapshots in zip(
            self.shadows, self.shots.tolist(), chain.from_iterable(answers), strict=True
        ):
            scale = -u[t] * (2 * half + 1)
            group, start = _grouped(shots, batches), 0
            sizes = np.bincount(group)
            in_batch += sizes
            for states in snapshots:
                found, first = np.unique(group[start : start + len(states)], return_index=True)
                start += len(states)
                for b, rows in zip(found.tolist(), np.split(states, first[1:]), strict=True):
                    part = scale * shadow.summed_with_y(rows)
                    sums[lead + b] += part / sizes[b]
                    if lead:
                        sums[0] += part / shots
            reach = abs(u[t]) * (abs(slopes[list(f.members)]).T @ self._of(f, np.sqrt(self.norms)))
            largest += reach**2 / shots
        components = driven(model)
        values = (slopes[components].T @ swept(model, a, sums, components).T).T  # (lead + batches, P)
        cost = averaging(model.n_qubits, model.n_rotations, int(self.shots.sum()), batches, self.groups)
        if not lead:
            return _median(values, largest, dict(self.info), cost)
        mean, of_batches = values[0], values[1:]
        share = in_batch / in_batch.sum()
        spread = share @ (of_batches - mean) ** 2 / max(batches - 1, 1)
        stderr = np.sqrt(np.where(spread > _ROUNDING * largest, spread, largest))
        return Estimate(mean, stderr, cost, dict(self.info))


def _grouped(shots: int, groups: int) -> np.ndarray:
    """The group that each of a circuit's snapshots is in: stretches of them, as equal as may be."""
    return np.sort(np.arange(shots) % groups)


def _median(means: np.ndarray, largest: np.ndarray, info: dict[str, Any], cost: Cost | None = None) -> Estimate:
    """Of the means of groups (G, P); `largest` (P,) is the variance that their mean has at most."""
    variance = means.var(axis=0, ddof=1) / len(means)
    seen = variance > np.maximum(_ROUNDING * np.abs(means).max(axis=0) ** 2, _ROUNDING * largest)
    stderr = np.sqrt(math.pi / 2 * np.where(seen, variance, largest))
    return Estimate(np.median(means, axis=0), stderr, cost or Cost(), info)


def averaging(n: int, rotations: int, shots: int, batches: int, groups: int) -> Cost:
    """The classical part of averages: products of all snapshots, and a sweep of the matrices of size 2^n."""
    if not shots:
        return Cost()
    matrices = batches + (groups == 1)
    sweep = rotations * ((COMBINE_OPS + INNER_OPS) * matrices + COMBINE_OPS)
    return Cost(
        classical_ops=4**n * (COMBINE_OPS * shots + sweep),
        classical_bytes=AMPLITUDE_BYTES * 4**n * (matrices + 1),
    )


def swept(model: Model, angles: np.ndarray, sums: np.ndarray, components: np.ndarray) -> np.ndarray:
    """2 Im tr(A W_m P_m W_m†) of matrices A (G, 2^n, 2^n), for all components: (G, L).

    W_m† A and W_m† take one rotation more from component to component, from the left, in one array.
    """
    count, size = len(sums), sums.shape[1]
    stack = np.empty((size, count + 1, size), complex)
    stack[:, :count] = sums.transpose(1, 0, 2)
    stack[:, count] = np.eye(size)
    columns = stack.reshape(size, -1)
    strings, column = generators(model), {m: i for i, m in enumerate(components.tolist())}
    found = np.zeros((count, len(components)))
    for m in reversed(range(min(column, default=0), model.n_rotations)):
        if m in column:  # tr(W† A W P) = <P W†, W† A>, and Im<u, v> = Re<iu, v>
            turned = 1j * applied(np.ascontiguousarray(stack[:, count]), strings[m])
            by_row = np.matmul(stack[:, :count].view(float), turned.view(float)[:, :, None])
            found[:, column[m]] = 2 * by_row[:, :, 0].sum(axis=0)
        rotate(columns, strings[m], -float(angles[m]))
    return found


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
