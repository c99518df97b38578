"""Commuting blocks: all components of a block from the same shots, where the model is built of such blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.sampling.budget import Budget
from quprop.sampling.linear import LinearPlan
from quprop.sampling.plan import Terms, settle
from quprop.sampling.programs import absorbed
from quprop.sampling.sampler import Runs
from quprop.structure.blocks import find_blocks
from quprop.structure.readout import Program, term_programs

_SHOWN = 16  # blocks that a printed plan lists


@dataclass(frozen=True, kw_only=True)
class CommutingBlocks(Budget):
    """dF/da_j = sum_t u_t <factor * Q_jt>: for each term and block one circuit, on which the strings Q_j of all members
    of the block commute, so that every shot reads them all.

    The generators of a block commute with one another, and with every later rotation alike (`structure/blocks.py`).
    The circuit of a block is the model's with one member controlled by an ancilla right after it
    (`structure/readout.py` derives it and its strings); the last block needs no ancilla. Rotations that the term does
    not depend on are left out. Unbiased: each outcome ±1 is an eigenvalue of the string it estimates.

    Costs at most M rotations a shot and B circuits a term, where B is the number of blocks: nothing grows with the
    number of components. Bowles, Wierichs and Park count 2B - 1 circuits a term.

    Source: Bowles, Wierichs, Park, Quantum 9, 1873 (2025), arXiv:2306.14962.
    """

    name: ClassVar[str] = "commuting_blocks"
    copies: ClassVar[int] = 1
    unbiased: ClassVar[bool] = True

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> LinearPlan:
        w = settle(model, weights)
        terms, blocks = Terms.of(model), find_blocks(model)
        if blocks.why_not:
            raise QupropError(
                f"commuting_blocks does not serve this model, {blocks.why_not}; "
                "parameter_shift, hadamard_test and pair_state serve any model"
            )
        runs, count = [], 0
        for t, term in enumerate(terms.strings):
            programs = term_programs(model, term, blocks=blocks)
            runs += [_runs(p, t) for p in programs]
            count = max(count, len(programs))
        info = {
            "blocks": str(blocks) if blocks.n_blocks <= _SHOWN else str(blocks).splitlines()[0],
            "observable": f"{len(terms.strings)} terms, up to {count} circuits each",
        }
        return LinearPlan(model, terms, self, runs, weights=w, at=at, info=info)


@dataclass(frozen=True, eq=False)
class Subset:
    """One run with the model's own angles, of which it executes some."""

    executed: np.ndarray  # (M,) bool

    def __len__(self) -> int:
        return 1

    def angles(self, a: np.ndarray, start: int, stop: int) -> np.ndarray:
        return np.where(self.executed, a, np.nan)[None][start:stop]


def _runs(program: Program, t: int) -> Runs:
    executed = np.zeros(program.source.n_rotations, bool)
    executed[list(program.executed)] = True
    strings: tuple[PauliString, ...] = absorbed(program.model, [r.pauli for r in program.reads])
    return Runs(
        program.model,
        Subset(executed),
        strings,
        targets=np.array([[r.rotation for r in program.reads]]),
        factors=np.array([[r.factor for r in program.reads]]),
        terms=np.full(len(strings), t),
        lengths=np.array([len(program.executed)]),
        each=True,
    )
