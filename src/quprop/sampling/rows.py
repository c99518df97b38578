"""The angles of runs, made on demand: R runs of M rotations are never held at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Shifted:
    """The model's own angles, some of them moved: run r adds amount[r, s] to angle index[r, s] (index -1: to none)."""

    index: np.ndarray  # (R, S)
    amount: np.ndarray  # (R, S)

    def __len__(self) -> int:
        return len(self.index)

    def angles(self, a: np.ndarray, start: int, stop: int) -> np.ndarray:
        out = np.tile(a, (stop - start, 1))
        run, slot = np.nonzero(self.index[start:stop] >= 0)
        np.add.at(out, (run, self.index[start:stop][run, slot]), self.amount[start:stop][run, slot])
        return out


@dataclass(frozen=True, eq=False)
class Prefixes:
    """Rotation i of the program turns by sign[i] a[source[i]]; run r executes the first length[r] of them."""

    source: np.ndarray  # (rotations,)
    sign: np.ndarray  # (rotations,)
    length: np.ndarray  # (R,)

    def __len__(self) -> int:
        return len(self.length)

    def angles(self, a: np.ndarray, start: int, stop: int) -> np.ndarray:
        out = np.tile(self.sign * a[self.source], (stop - start, 1))
        out[np.arange(len(self.source)) >= self.length[start:stop, None]] = np.nan
        return out


@dataclass(frozen=True, eq=False)
class Made:
    """Angles that are not those of the model a little changed: make(runs) gives them, (len(runs), M), for run numbers.

    Such rows belong to one point (theta, x), so that a plan makes them anew in each estimate.
    """

    count: int
    make: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return self.count

    def angles(self, a: np.ndarray, start: int, stop: int) -> np.ndarray:
        return self.make(np.arange(start, stop))
