"""What is asked of copies of one state: Bell measurements of pairs, and the signs of what these know the size of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quprop.cost import Cost
from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.sampling.copies import Copies, squares
from quprop.sampling.devices.device import Outcomes, Work
from quprop.sampling.devices.realise import Realised
from quprop.sampling.requests import Placed, Reader, Realiser, padded
from quprop.sampling.sampler import Sampler
from quprop.sampling.signs import ROUTES, Signs, coloured, colours, single
from quprop.simulate.vectors import prefix_states

_AT_ONCE = 1 << 22  # outcomes of strings that are read together


@dataclass(frozen=True, eq=False)
class Source:
    """A program at one setting of its angles (rotations,), NaN where it has no such rotation: what makes the copies.

    The state is that right after the rotations, and strings act there. x: the inputs that programs read.
    """

    program: Model
    angles: np.ndarray
    x: np.ndarray

    @cached_property
    def state(self) -> np.ndarray:
        return next(prefix_states(self.program, self.angles[None], padded(self.program, self.x)[None])).copy()

    def copies(self, sampler: Sampler) -> Copies:
        return Copies(sampler.rng, self.state, int(np.count_nonzero(~np.isnan(self.angles))))

    def placed(
        self, circuits: Realiser, strings: Sequence[PauliString], shots: int, copies: int = 1
    ) -> tuple[Work, Realised]:
        found = circuits(self.program, ~np.isnan(self.angles), strings, self.x, copies)
        return Work(found.circuit, self.angles[None, found.columns], np.array([shots])), found


@dataclass(frozen=True, eq=False)
class Pairs:
    """Bell measurements of pairs of copies; the result is the mean of P (x) P for every string P, an estimate of <P>^2.

    A machine has both copies side by side and measures XX and ZZ of each pair of qubits that a string has letters on.
    """

    source: Source
    strings: Sequence[PauliString]
    pairs: int

    def simulate(self, sampler: Sampler) -> np.ndarray:
        copies = self.source.copies(sampler)
        seen = squares(self.strings, copies.n_qubits, copies.bell(self.pairs))
        sampler.cost += copies.cost + Cost(classical_ops=self._ops)
        return seen

    @property
    def _ops(self) -> int:
        return len(self.strings) * self.pairs

    def place(self, circuits: Realiser, rng: np.random.Generator) -> Placed:
        n = self.source.program.n_qubits
        doubled = [PauliString(p.x | p.x << n, p.z | p.z << n) for p in self.strings]
        work, found = self.source.placed(circuits, doubled, self.pairs, copies=2)

        def read(outcomes: Sequence[Outcomes], reader: Reader) -> np.ndarray:
            ((index, times),) = outcomes
            step = max(1, _AT_ONCE // max(1, len(index)))
            parts = [slice(start, start + step) for start in range(0, len(doubled), step)]
            means = [times @ reader(found.circuit, index, found.masks[p], found.signs[p]) for p in parts]
            return np.concatenate(means) / self.pairs

        return Placed([work], read, self._ops)


@dataclass(frozen=True, eq=False)
class SignsOfStrings:
    """The signs of <P> for strings with |<P>| >= eps/2, by a route of `signs.py`; K, eps, delta: as its `read` has them.

    A machine runs signs="colouring", whose sets of commuting strings are read from single copies.
    """

    source: Source
    strings: Sequence[PauliString]
    route: str
    K: int
    eps: float
    delta: float

    def simulate(self, sampler: Sampler) -> Signs:
        copies = self.source.copies(sampler)
        found = ROUTES[self.route].read(copies, self.strings, self.K, self.eps, self.delta)
        sampler.cost += copies.cost
        return found

    def place(self, circuits: Realiser, rng: np.random.Generator) -> Placed:
        shots = single(self.K, self.eps, self.delta)
        placed = [
            self.source.placed(circuits, [self.strings[i] for i in members], shots) for members in colours(self.strings)
        ]

        def read(outcomes: Sequence[Outcomes], reader: Reader) -> Signs:
            means = (
                times @ reader(found.circuit, index, found.masks, found.signs) / shots
                for (_, found), (index, times) in zip(placed, outcomes, strict=True)
            )
            return coloured(self.strings, shots, lambda _: next(means))

        return Placed([work for work, _ in placed], read, 0)
