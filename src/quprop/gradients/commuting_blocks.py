"""Commuting blocks: all components of a block from the same shots, where the model is built of such blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from quprop.cost import Cost
from quprop.errors import QupropError, count_of
from quprop.gradients.method import GradientMethod
from quprop.model import Model
from quprop.model.commutation import after, bits
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.budget import Budget
from quprop.sampling.linear import LinearPlan
from quprop.sampling.loads import Described, cost_of_load, gathered, needed
from quprop.sampling.plan import settle
from quprop.sampling.programs import absorbed, with_channels
from quprop.sampling.sampler import Runs
from quprop.sampling.shape import Load, Shape, Wanted
from quprop.sampling.terms import Terms
from quprop.structure.blocks import find_blocks
from quprop.structure.readout import Program, term_programs

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts

_SHOWN = 16  # blocks that a printed plan lists


@dataclass(frozen=True, kw_only=True)
class CommutingBlocks(GradientMethod, Budget):
    """dF/da_j = sum_t u_t <factor * Q_jt>: for each term and block one circuit, on which the strings Q_j of all members
    of the block commute, so that every shot reads them all.

    The generators of a block commute with one another, and with every later rotation alike (`structure/blocks.py`).
    The circuit of a block is the model's with one member controlled by an ancilla right after it
    (`structure/readout.py` derives it and its strings); the last block needs no ancilla. Rotations that the term does
    not depend on are left out. Unbiased: each outcome ±1 is an eigenvalue of the string it estimates.

    With noise it is biased: strings are moved past what follows their rotations, channels too, which do not let them
    pass unchanged.

    Costs at most M rotations a shot and B circuits a term, where B is the number of blocks: nothing grows with the
    number of components. Bowles, Wierichs and Park count 2B - 1 circuits a term.

    Source: Bowles, Wierichs, Park, Quantum 9, 1873 (2025), arXiv:2306.14962.

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.CommutingBlocks(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.462 ± 0.03] for 1,000 copies, 1,000 runs, 1,000 rotations, depth 1, 1 qubit, 1,000 classical multiply-adds
    """

    name: ClassVar[str] = "commuting_blocks"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    exponents: ClassVar[Mapping[str, float | str]] = {"commuting_generator": 1.0, "commuting_blocks": 1.0}

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> LinearPlan:
        w = settle(model, weights, self)
        terms, blocks = Terms.of(model), find_blocks(model.noiseless())
        if blocks.why_not:
            raise QupropError(
                f"commuting_blocks does not serve this model, {blocks.why_not}; "
                "parameter_shift, hadamard_test and pair_state serve any model"
            )
        runs, count = [], 0
        for t, term in enumerate(terms.strings):
            programs = term_programs(blocks.model, term, blocks=blocks)
            runs += [_runs(p, t, model) for p in programs]
            count = max(count, len(programs))
        info = {
            "blocks": str(blocks) if blocks.n_blocks <= _SHOWN else str(blocks).splitlines()[0],
            "observable": f"{count_of(len(terms.strings), 'term')}, up to {count_of(count, 'circuit')} each",
        }
        if model.channels:
            info["noise"] = "members of a block are read across the channels between them and the end: biased"
        return LinearPlan(model, terms, self, runs, weights=w, at=at, info=info, unbiased=not model.channels)

    @classmethod
    def load(cls, facts: ModelFacts) -> Load:
        """The programs of `structure/readout.py` without their circuits: rotations in the cone of a term that meet
        everything after them alike."""
        if not facts.looked:
            raise QupropError(
                f"which rotations commute is not looked for beyond {facts.most_rotations:,} of them; describe the "
                "circuit by its sizes, as in commuting_blocks:n,M,B"
            )
        blocks = find_blocks(facts.model.noiseless())
        if blocks.why_not:
            raise QupropError(
                "its rotations do not fall into commuting blocks of two or more; pair_state serves any model"
            )
        parts: list[tuple[float, int, list[int]]] = []
        for coefficient, term in zip(np.abs(facts.u), facts.terms.strings, strict=True):
            cone = blocks.cone(term)
            together: dict[int, list[int]] = {}
            for j in bits(cone & blocks.trained):
                together.setdefault(after(blocks.rows[j], j) & cone, []).append(j)
            parts += [(float(coefficient), cone.bit_count(), members) for members in together.values()]
        if not parts:
            return Load(0, 0.0, 0.0, 0, 0.0)
        together_read = gathered([members for _, _, members in parts], facts.model.n_rotations)
        shots = needed(sp.diags_array([c for c, _, _ in parts]).tocsr() @ together_read @ facts.slopes)
        lengths = np.array([length for _, length, _ in parts])
        reads = np.array([len(members) for _, _, members in parts])
        return Load(
            len(parts),
            float(shots.sum()),
            float(shots @ lengths),
            float(lengths.max()),
            float(shots @ reads),
            in_sets=True,
        )

    @classmethod
    def described_load(cls, circuit: Described) -> Load:
        if not circuit.blocks:
            raise QupropError("no commuting blocks are known of this model; give their number, or take pair_state")
        M, shots = circuit.rotations, circuit.norm**2 * circuit.blocks
        return Load(circuit.blocks * circuit.terms, shots, shots * M, M, circuit.norm**2 * M, in_sets=True)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        load = shape.loads[cls.name]
        # One commuting block that ends the circuit is read without an ancilla.
        return cost_of_load(shape, load, wanted.variance(shape.parameters), int(load.circuits > shape.terms))


@dataclass(frozen=True, eq=False)
class Subset:
    """One run with the model's own angles, of which it executes some."""

    executed: np.ndarray  # (M,) bool

    def __len__(self) -> int:
        return 1

    def angles(self, a: np.ndarray, start: int, stop: int) -> np.ndarray:
        return np.where(self.executed, a, np.nan)[None][start:stop]


def _runs(program: Program, t: int, model: Model) -> Runs:
    """With the channels of the model, also those of rotations that are left out."""
    executed = np.zeros(program.source.n_rotations, bool)
    executed[list(program.executed)] = True
    run = program.model
    if model.channels:
        run = Model(with_channels(program.circuit, model, program.executed), [PauliSum("I")])
    strings: tuple[PauliString, ...] = absorbed(run, [r.pauli for r in program.reads])
    return Runs(
        run,
        Subset(executed),
        strings,
        targets=np.array([[r.rotation for r in program.reads]]),
        factors=np.array([[r.factor for r in program.reads]]),
        terms=np.full(len(strings), t),
        lengths=np.array([len(program.executed)]),
        each=True,
    )
