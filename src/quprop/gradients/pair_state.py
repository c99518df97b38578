"""The pair state: one more qubit on which every derivative is the expectation of one Pauli string."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from quprop.cost import Cost
from quprop.errors import count_of
from quprop.gradients.method import GradientMethod
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.commutation import after, anticommutation, bits, generators
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.budget import Budget
from quprop.sampling.linear import LinearPlan, driven
from quprop.sampling.loads import Described, cost_of_load
from quprop.sampling.plan import settle
from quprop.sampling.programs import absorbed, blank, channels_at, controlled, err
from quprop.sampling.rows import Prefixes
from quprop.sampling.sampler import Runs
from quprop.sampling.shape import Load, Shape, Wanted
from quprop.sampling.terms import Terms

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts


@dataclass(frozen=True, kw_only=True)
class PairState(GradientMethod, Budget):
    """dF/da_m = -<Phi_m| Y_anc P_m |Phi_m>,   |Phi_m> = (|0> U_m|phi> + |1> W_m† O U|phi>) / sqrt(2).

    U_m are the rotations up to m and W_m those after it, so that U = W_m U_m. The state is prepared with O controlled
    by an ancilla in |+> after all rotations (Phi_M, O a Pauli string), and undone down to m, on the system alone. A
    string that commutes with the rotations m+1, ..., p gives the same on Phi_p, and strings that meet on one Phi_p
    commute: one shot reads them all. Such a place p is a frame. The fewest frames are chosen, each then as early in the
    undoing as its members allow.

    Unbiased: each outcome ±1 is an eigenvalue of the string named above. A sum of terms takes one state for each term,
    with shots by weight under `total_shots`, `precision` and `max_error`; the variance of a component is then at most
    (sum_t |c_t|)^2 / N for N shots a frame. Drawing the term of each shot, or one block encoding of O with norm
    sum_t |c_t|, has that very bound, the first with more variance and the second with a longer circuit.

    With noise a rotation and its inverse are followed by the same channels (`pair_program`): what is undone suffers
    them twice, and the estimate is biased.

    Costs, for each frame p and term: M + (M - p) rotations a shot, n + 1 qubits, one copy. A model whose rotations
    commute has one frame at p = M: its gradient costs what its value does.

    Source: the adjoint formula dF/da_m = Im <lambda_m|P_m|psi_m> (Jones and Gacon, arXiv:2009.02823) with both vectors
    held in one state; undoing one rotation from component to component is what Abbas et al., arXiv:2305.13362, do with
    copies that they keep.

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.PairState(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.462 ± 0.03] for 1,000 copies, 1,000 runs, 1,000 rotations, depth 1, 2 qubits, 1,000 classical multiply-adds
    """

    name: ClassVar[str] = "pair_state"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> LinearPlan:
        w = settle(model, weights, self)
        terms = Terms.of(model)
        frames = find_frames(model)
        runs: list[Runs] = []
        for t, term in enumerate(terms.strings if frames else ()):
            for same in alike(model, frames):
                program, strings = pair_program(model, term, same[0].place)
                size = len(same[0].members)
                runs.append(
                    Runs(
                        program,
                        undone(model, [f.place for f in same]),
                        strings(same[0].members),
                        targets=np.array([f.members for f in same]),
                        factors=np.full((len(same), size), -1.0),
                        terms=np.full(size, t),
                        lengths=np.array([2 * model.n_rotations - f.place for f in same]),
                        each=True,
                        own=None if model.channels else tuple(strings(f.members) for f in same),
                    )
                )
        norm = float(terms.sizes(w).sum())
        members = sum(len(f.members) for f in frames)
        info = {
            "frames": f"{count_of(members, 'component')} in {count_of(len(frames), 'frame')}",
            "observable": f"{len(terms.strings)} terms, a state each; variance at most {norm**2:.4g} per shot of a "
            "frame, as if the term were drawn or block-encoded",
        }
        info |= noise_of_undoing(model)
        return LinearPlan(model, terms, self, runs, weights=w, at=at, info=info, unbiased=not model.channels)

    @classmethod
    def load(cls, facts: ModelFacts) -> Load:
        return facts.in_frames(facts.frames, np.ones(len(facts.trained)))

    @classmethod
    def described_load(cls, circuit: Described) -> Load:
        return circuit.sets.load(circuit.rotations, circuit.terms, circuit.norm)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        return cost_of_load(shape, shape.loads[cls.name], wanted.variance(shape.parameters), ancillas=1)


@dataclass(frozen=True)
class Frame:
    """place: the number p of rotations that are not undone; members: the rotations read there, together."""

    place: int
    members: tuple[int, ...]


def find_frames(model: Model, components: Iterable[int] | None = None) -> list[Frame]:
    """The fewest frames that read all components (those driven by theta), latest first: the shortest runs first.

    Component m can be read at p = m + 1, ..., up(m), where up(m) is the first later rotation that anticommutes with it.
    Stabbing intervals at the largest left end of those left is optimal; p then moves right as far as all allow.
    """
    model = model.noiseless()
    chosen = sorted(driven(model).tolist() if components is None else components, reverse=True)
    strings = generators(model)
    rows = dict(zip(chosen, anticommutation([strings[m] for m in chosen], strings), strict=True))
    up = {m: next(iter(bits(after(rows[m], m))), model.n_rotations) for m in chosen}
    frames = []
    while chosen:
        first = chosen[0] + 1
        members = tuple(sorted(m for m in chosen if up[m] >= first))
        frames.append(Frame(min(up[m] for m in members), members))
        chosen = [m for m in chosen if up[m] < first]
    return frames


def alike(model: Model, frames: list[Frame]) -> list[list[Frame]]:
    """Frames that are runs of one program: those of one size; each alone where noise stops at its place."""
    found: dict[int, list[Frame]] = {}
    for f in frames:
        found.setdefault(f.place if model.channels else len(f.members), []).append(f)
    return [found[key] for key in sorted(found)]


def noise_of_undoing(model: Model) -> dict[str, str]:
    """What a plan that undoes rotations says of noise."""
    return {"noise": "a rotation that is undone suffers it again: biased"} if model.channels else {}


class PairStrings:
    """Y_anc P_m as it acts right after the rotations of a pair program."""

    def __init__(self, model: Model, program: Model) -> None:
        ancilla = PauliString(1 << model.n_qubits, 1 << model.n_qubits)
        self._all = absorbed(program, [ancilla * p for p in generators(model.noiseless())])

    def __call__(self, members: Sequence[int]) -> tuple[PauliString, ...]:
        return tuple(self._all[m] for m in members)


def pair_program(model: Model, term: PauliString, place: int = 0) -> tuple[Model, PairStrings]:
    """All rotations, the controlled term, all rotations undone; and the strings to read. The ancilla is qubit n.

    place: down to which the runs undo, if the model has noise. A rotation and its inverse are followed by the same
    channels.
    """
    n, M, at = model.n_qubits, model.n_rotations, channels_at(model)
    circuit = blank(model, 1, 2 * M).h(n)
    angle = params("angle", 2 * M)
    strings = generators(model.noiseless())
    err(circuit, at[0])
    for m in range(M):
        err(circuit.rotation(strings[m], angle[m]), at[m + 1])
    controlled(circuit, n, term)
    for i, m in enumerate(reversed(range(M))):
        err(circuit.rotation(strings[m], angle[M + i]), at[m + 1] if m >= place else ())
    program = Model(circuit, [PauliSum("I")])
    return program, PairStrings(model, program)


def undone(model: Model, places: Sequence[int]) -> Prefixes:
    """The runs of a pair program that stop with `place` rotations left."""
    order = np.arange(model.n_rotations)
    return Prefixes(
        np.concatenate([order, order[::-1]]),
        np.repeat([1.0, -1.0], model.n_rotations),
        2 * model.n_rotations - np.array(places, np.int64),
    )
