"""Reading a sparse real vector out of copies of a state: support, magnitudes, signs.

Counts are drawn from the exact outcome distributions of the three measurements; no circuit is needed for that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.carleman.transfer.copies import (
    L2_BOUND,
    LINF_BOUND,
    expected_error,
    l2_copies,
    linf_copies,
    support_copies,
)
from quprop.carleman.transfer.queries import QueryLedger
from quprop.errors import QupropError, generator_of
from quprop.model.input_state import normalised

_MOST_COPIES = 2**62  # counts are 64-bit numbers


@dataclass(frozen=True, eq=False)
class VectorReadout:
    """A vector as it was read.

    indices, values   the entries that were seen, in order of index, and what they are taken for; the rest are 0
    size              the length of the vector
    copies            copies measured: `info` has those for "support", "magnitudes" and "signs"
    kind, bound       the norm in which an error is promised, and the promise, except with probability 1/poly(r) and
                      that of a missed entry; infinite where copies or an anchor were given and nothing is promised
    """

    indices: np.ndarray
    values: np.ndarray
    size: int
    copies: int
    kind: str
    bound: float
    info: dict[str, int] = field(default_factory=dict)

    @property
    def vector(self) -> np.ndarray:
        """All `size` entries."""
        out = np.zeros(self.size)
        out[self.indices] = self.values
        return out

    @property
    def expected_error(self) -> float:
        """The l2 error expected of these copies, root mean square, see `copies.expected_error`; ``bound`` is what is
        proved."""
        return float(np.linalg.norm(self.values)) * expected_error(max(1, len(self.indices)), self.info["magnitudes"])

    def ledger(self) -> QueryLedger:
        return QueryLedger(copies=self.copies)

    def __str__(self) -> str:
        within = f" within {self.bound:.3g} ({self.kind})" if math.isfinite(self.bound) else ""
        return f"{len(self.indices)} of {self.size} entries{within} from {self.copies:.4g} copies"


Readout = VectorReadout


def read_out(
    state: Any,
    *,
    precision: float | None = None,
    kind: str = "linf",
    copies: int | None = None,
    entries: int | None = None,
    threshold: float | None = None,
    failure: float = 0.01,
    scale: float | None = None,
    anchor: tuple[int, float] | None = None,
    rng: Any,
) -> VectorReadout:
    """Read a real vector, given as the amplitudes (n,) of its state; it is normalised here.

    1. Support: computational-basis outcomes, `support_copies` of them; what is never seen is taken for 0.
    2. Magnitudes: sqrt(p), p the frequencies of C further copies.
    3. Signs: of C copies of (|0>|x> + |1>|q>)/sqrt(2), q = sum sqrt(p_i) |i>, the flag is measured after a Hadamard
       gate; entry i with flag f has probability (x_i ± sqrt(p_i))^2/4, and the sign is that of the flag seen more
       often (Kerenidis and Prakash, arXiv:1808.09266, ask for 0.4 p_i C counts of flag 0, which errs more often).

    precision, kind   delta of the promise, relative to ||x|| = 1: C = `l2_copies` of the entries seen, and
                      ||x - x'||_2 <= sqrt(7) delta (kind "l2"), or C = `linf_copies` and (1 + sqrt(2)) delta ("linf")
    copies            C itself, instead of `precision`; the support is then read from C copies too
    entries           an upper bound on the nonzero entries; default: their number
    threshold         the least |x_i| that must be seen, except with probability `failure` in all; default: `precision`
                      for "linf", and over sqrt(entries) for "l2", so that all that is missed is no longer than it
    scale             the length of the vector, which the state does not tell (`Solution.norm`); default 1. Errors and
                      bound scale with it
    anchor            (index, value) of an entry that is known, instead of `scale`: it fixes length and overall sign,
                      as well as that entry is read; no bound is given then
    rng               seed or numpy Generator
    """
    x = _checked(state)
    generator = generator_of(rng)
    _check_options(precision, kind, copies, scale, anchor)
    present = np.flatnonzero(x)
    amplitude = x[present]
    probability = amplitude**2
    probability /= probability.sum()
    most = len(present) if entries is None else entries
    if most < len(present):
        raise QupropError(f"`entries` must be at least the {len(present)} that are not zero, got {entries}")

    least = 1.0 if threshold is None else threshold
    if threshold is None and precision is not None:
        least = min(1.0, precision / (math.sqrt(most) if kind == "l2" else 1.0))
    each = for_support = _count(support_copies(most, least, failure) if copies is None else copies)
    seen = generator.multinomial(for_support, probability) > 0
    if precision is not None:
        each = _count((l2_copies if kind == "l2" else linf_copies)(int(seen.sum()), precision))
    drawn = generator.multinomial(each, probability) / each
    magnitude = np.sqrt(drawn[seen])
    values, indices = _signs(amplitude[seen], magnitude, each, generator) * magnitude, present[seen]
    length = _length(indices, values, anchor) if anchor is not None else 1.0 if scale is None else float(scale)
    bound = math.inf
    if precision is not None and anchor is None:
        bound = length * _bound(kind, precision, most - len(indices), least)
    info = {"support": for_support, "magnitudes": each, "signs": each}
    return VectorReadout(indices, length * values, len(x), sum(info.values()), kind, bound, info)


def _check_options(
    precision: float | None, kind: str, copies: int | None, scale: float | None, anchor: tuple[int, float] | None
) -> None:
    if kind not in ("l2", "linf"):
        raise QupropError(f"`kind` is 'l2' or 'linf', got {kind!r}")
    if (precision is None) == (copies is None):
        raise QupropError("a readout takes either `precision` or `copies`; give one of them")
    if precision is not None and not 0 < precision <= 1:
        raise QupropError(f"`precision` is relative to a vector of length 1, between 0 and 1, got {precision}")
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise QupropError(f"`scale` is the length of the vector, a positive number, got {scale}")
    if scale is not None and anchor is not None:
        raise QupropError("a readout takes `scale` or `anchor`, not both, as each fixes the length")


def _bound(kind: str, precision: float, missed: int, least: float) -> float:
    """Of the error of a vector of length 1, `missed` of whose entries, smaller than `least`, were not seen."""
    if kind == "l2":
        return math.hypot(L2_BOUND * precision, math.sqrt(missed) * least)
    return max(LINF_BOUND * precision, least if missed else 0.0)


def _signs(amplitude: np.ndarray, magnitude: np.ndarray, copies: int, generator: np.random.Generator) -> np.ndarray:
    """±1 of each entry, from the counts of the two flags."""
    both = np.concatenate([(amplitude + magnitude) ** 2, (amplitude - magnitude) ** 2]) / 4
    counts = generator.multinomial(copies, np.append(both, max(0.0, 1 - both.sum())))[:-1].reshape(2, -1)
    return np.where(counts[0] >= counts[1], 1.0, -1.0)


def _length(indices: np.ndarray, values: np.ndarray, anchor: tuple[int, float]) -> float:
    index, value = anchor
    at = np.flatnonzero(indices == index)
    if not len(at) or values[at[0]] == 0 or not math.isfinite(value) or value == 0:
        raise QupropError(f"the anchor must be an entry that was seen and its nonzero value, got {anchor}")
    return float(value / values[at[0]])


def _count(copies: int) -> int:
    if isinstance(copies, bool) or int(copies) != copies or not 1 <= copies <= _MOST_COPIES:
        raise QupropError(f"copies are a whole number from 1 to 2^62, got {copies!r}; ask for less precision")
    return int(copies)


def _checked(state: Any) -> np.ndarray:
    return normalised("the amplitudes of a readout", checked("the amplitudes of a readout", state, ("n",)))
