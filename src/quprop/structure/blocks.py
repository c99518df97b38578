"""Commuting blocks: which rotations of a model have derivatives that one circuit can read together.

Bowles, Wierichs and Park (arXiv:2306.14962): a model is a commuting-block circuit when its trained rotations fall into
B blocks such that the generators of a block commute, and for two blocks either all pairs commute or all anticommute.
The gradient then takes 2B - 1 circuits for each Pauli term of the observable, where parameter shift takes two for each
rotation. `quprop.structure.readout` has the circuits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.model.commutation import after, anticommutation, bits, driven, generators, light_cone, preparation
from quprop.model.parameterised import refuse_parameters
from quprop.model.pauli import PauliString

_SHOWN = 8  # rotations of a block, and terms of an observable, that are printed


class TermSplit(NamedTuple):
    """How one term c H of an observable divides the blocks.

    commuting[b], anticommuting[b]: the rotations of block b whose generator commutes (g = 0) or anticommutes (g = 1)
    with H, those left out whose derivative vanishes; vanishing: the trained rotations whose derivative of <H> is zero
    whatever the angles are, because they and all that follows commute; circuits: how many circuits read all of it.
    """

    observable: int
    string: PauliString
    coefficient: float
    commuting: tuple[tuple[int, ...], ...]
    anticommuting: tuple[tuple[int, ...], ...]
    vanishing: tuple[int, ...]
    circuits: int


@dataclass(frozen=True, eq=False)
class Blocks:
    """The commuting-block structure of a model, as `find_blocks` sees it; prints as something to read.

    model: the model. observables: the indices of the observables looked at.
    blocks: the trained rotations of each block, as indices into `model.rotations`. Rotations of one block can be
        brought together by swapping neighbours that commute, and the blocks then follow one another in this order.
    preparation: rotations by data or by constants that precede all trained ones, so that they only prepare a state.
    fixed: rotations by data or by constants between the blocks.
    why_not: None, or one sentence: no two trained rotations share a block, and what keeps the first two apart.
    """

    model: Model
    observables: tuple[int, ...]
    blocks: tuple[tuple[int, ...], ...]
    preparation: tuple[int, ...]
    fixed: tuple[int, ...]
    why_not: str | None
    strings: tuple[PauliString, ...] = field(repr=False)
    rows: tuple[int, ...] = field(repr=False)  # the anticommutation matrix of all rotations, bit m of rows[j]
    trained: int = field(repr=False)  # bits

    @property
    def n_blocks(self) -> int:
        """B."""
        return len(self.blocks)

    @property
    def n_circuits(self) -> int:
        """2B - 1, the number of circuits a Pauli term takes in Bowles et al.; `TermSplit.circuits` is ours."""
        return max(0, 2 * self.n_blocks - 1)

    @cached_property
    def relation(self) -> np.ndarray:
        """(B, B) int8, +1 where all pairs of two blocks commute and -1 where all anticommute."""
        heads = [self.strings[members[0]] for members in self.blocks]
        out = np.ones((len(heads), len(heads)), np.int8)
        for b, row in enumerate(anticommutation(heads, heads)):
            out[b, bits(row)] = -1
        return out

    @cached_property
    def terms(self) -> tuple[TermSplit, ...]:
        """All terms of the observables, the identity left out."""
        return tuple(
            self.split(k, string, coefficient)
            for k in self.observables
            for string, coefficient in self.model.observables[k].items()
            if string.weight
        )

    def cone(self, term: PauliString) -> int:
        """The rotations that <term> depends on, as bits."""
        return light_cone(self.rows.__getitem__, anticommutation([term], self.strings)[0])

    def split(self, observable: int, string: PauliString, coefficient: float) -> TermSplit:
        touched = anticommutation([string], self.strings)[0]
        cone = light_cone(self.rows.__getitem__, touched)
        parts: list[tuple[tuple[int, ...], ...]] = []
        for sign in (0, 1):
            parts.append(tuple(tuple(j for j in b if cone >> j & 1 and touched >> j & 1 == sign) for b in self.blocks))
        zero = tuple(bits(self.trained & ~cone))
        circuits = len({after(self.rows[j], j) & cone for j in bits(self.trained & cone)})
        return TermSplit(observable, string, coefficient, parts[0], parts[1], zero, circuits)

    def why_apart(self, first: int, second: int) -> str | None:
        """One sentence that says what keeps two trained rotations in different blocks; None if they share one."""
        size = len(self.rows)
        if not (0 <= first < size and 0 <= second < size and self.trained >> first & self.trained >> second & 1):
            raise QupropError(
                f"why_apart takes two trained rotations of the {size} of this model, got {first} and {second}; "
                "those of `blocks` are trained"
            )
        i, j = sorted((first, second))
        pair = f"rotations {i} ({self.strings[i]}) and {j} ({self.strings[j]})"
        if self.rows[i] >> j & 1:
            return f"{pair} anticommute"
        differ = after(self.rows[i], i) ^ after(self.rows[j], j) | (self.rows[i] ^ self.rows[j]) & self.trained
        if not differ:
            return None
        m = bits(differ)[0]
        if self.rows[i] >> m & self.rows[j] >> m & 1:
            return f"{pair} commute, but rotation {m} ({self.strings[m]}) stands between and anticommutes with both"
        one, other = (i, j) if self.rows[i] >> m & 1 else (j, i)
        return f"{pair} commute, but rotation {m} ({self.strings[m]}) anticommutes with {one} and not with {other}"

    def __str__(self) -> str:
        count = sum(map(len, self.blocks))
        lines = [
            f"{count_of(self.n_blocks, 'commuting block')} of {count_of(count, 'trained rotation')}, "
            f"{len(self.preparation)} before them prepare the state, {len(self.fixed)} between them are fixed"
        ]
        for b, members in enumerate(self.blocks):
            shown = ", ".join(str(self.strings[j]) for j in members[:_SHOWN])
            more = f", ... {len(members) - _SHOWN} more" if len(members) > _SHOWN else ""
            lines.append(f"  block {b}: {shown}{more} (rotations {_ranges(members)})")
        if 1 < self.n_blocks <= 2 * _SHOWN:
            lines.append("  anticommuting blocks are marked x:")
            lines += [
                f"    {b:2d} " + "".join(" x" if r < 0 else " ." for r in row) for b, row in enumerate(self.relation)
            ]
        if self.why_not:
            lines.append(f"  {self.why_not}")
        lines.append(f"  circuits per Pauli term (2B - 1): {self.n_circuits}; terms, and the circuits each needs here:")
        for t in self.terms[:_SHOWN]:
            sizes = ", ".join(f"{len(c)}/{len(a)}" for c, a in zip(t.commuting, t.anticommuting, strict=True))
            lines.append(
                f"    {t.coefficient:g} {t.string}: {t.circuits}; commuting/anticommuting in each block: "
                f"{sizes if self.n_blocks <= _SHOWN else '...'}; {count_of(len(t.vanishing), 'derivative')} zero"
            )
        if len(self.terms) > _SHOWN:
            lines.append(f"    ... {len(self.terms) - _SHOWN} more")
        return "\n".join(lines)


def find_blocks(model: Model, observable: int | None = None) -> Blocks:
    """The smallest number of commuting blocks that the trained rotations of a model fall into.

    observable: the index of one of the model's observables, None for all (the blocks do not depend on it, the terms
    listed do).

    Write f_j(m) = 1 for rotations m after j that anticommute with it. Rotations i and j may share a block exactly when
    f_i = f_j, and they anticommute with the same trained rotations: they commute then (f_i(j) = f_j(j) = 0), nothing
    between them stops the one from moving to the other, and whatever follows meets both alike. The classes of equal
    rows are the blocks, so no division into fewer exists. They can be executed one after another, in the order of
    their last members: a rotation that anticommutes with an earlier block and follows one of its members follows all
    of them.

    Data encoding and fixed gates that can be moved to the front are only state preparation. Those further back need to
    meet each earlier block alike, and are not read.
    """
    if not isinstance(model, Model):
        raise QupropError(
            f"find_blocks takes a quprop Model, got {type(model).__name__}; build one with Model(circuit, observables)"
        )
    chosen = tuple(range(model.n_observables)) if observable is None else (check_observable(model, observable),)
    strings = generators(model)
    rows = anticommutation(strings, strings)
    trained = driven(model)
    ready = preparation(rows, trained)

    classes: dict[tuple[int, int], list[int]] = {}
    for j in bits(trained):
        classes.setdefault((after(rows[j], j), rows[j] & trained), []).append(j)
    blocks = tuple(sorted(map(tuple, classes.values()), key=lambda members: members[-1]))

    found = Blocks(
        model=model,
        observables=chosen,
        blocks=blocks,
        preparation=tuple(bits(ready)),
        fixed=tuple(bits(~(ready | trained) & ((1 << len(rows)) - 1))),
        why_not=None,
        strings=tuple(strings),
        rows=tuple(rows),
        trained=trained,
    )
    if len(blocks) == trained.bit_count() > 1:
        i, j = bits(trained)[:2]
        reason = f"no two of the {len(blocks)} trained rotations can share a block: {found.why_apart(i, j)}"
        object.__setattr__(found, "why_not", reason)
    return found


def check_observable(model: Model, observable: int) -> int:
    """The index of an observable, refused if the model has none with it, or one whose coefficients are no numbers."""
    refuse_parameters(model, "the structure of gradients")
    if isinstance(observable, bool) or not isinstance(observable, int | np.integer):
        raise QupropError(f"observable is the index of one of the model's observables, got {observable!r}; pass 0")
    if not 0 <= observable < model.n_observables:
        raise QupropError(
            f"observable must be an index from 0 to {model.n_observables - 1} of this model's observables, "
            f"got {observable}"
        )
    return int(observable)


def _ranges(members: tuple[int, ...]) -> str:
    """(0, 1, 2, 5) as 0-2, 5."""
    parts: list[list[int]] = []
    for m in members:
        if parts and parts[-1][1] == m - 1:
            parts[-1][1] = m
        else:
            parts.append([m, m])
    shown = [f"{a}-{b}" if a < b else str(a) for a, b in parts]
    return ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")
