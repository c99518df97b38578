"""Angles and signs of a commuting model as the kernels take them (native/commuting/): exact and sampled means of
cos phi_f, with their derivatives by the angles.

phi_f(s) = sum_{g: |g & f| odd} a_g chi_g(s), the mean over uniform signs s; see `form.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from quprop.model.angle_table import picked
from quprop.model.x_rotations import Subsets
from quprop.simulate.commuting.form import CommutingForm
from quprop.simulate.state_vector.native import load_kernels

_DENSE = 1 / 32  # of all pairs that have a gate: from there on sampled pairs are a matrix
_KEPT_BYTES = 128 << 20  # of sines and cosines between a mean and its derivative
_MOST_SIGNS = 4096  # of the exact kernel's matrix
# Times of the kernels in nanoseconds, for the choice between them: a cosine of an exact sum; of sampled means a product
# of the matrix, and what a string adds.
_EXACT, _PRODUCT, _SAMPLED = 1.0, 0.006, 0.09

# From means of cos and cos^2 to the derivatives of a loss by both.
Slopes = Callable[[slice, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@cache
def kernels() -> ModuleType:
    """The kernels of the instruction set that the state vector's run with."""
    return importlib.import_module(f"quprop.simulate._commuting_{load_kernels()[0]}")


class Turns(NamedTuple):
    """Angles, signed, of all gates (M,); of those about one sign (n,), about two (n, n), the matrix symmetric."""

    each: np.ndarray
    single: np.ndarray
    pair: np.ndarray | None


class Gates:
    """The gates of a form: about one sign, a vector; about two, a symmetric matrix; all others, a list."""

    def __init__(self, form: CommutingForm, precision: str, threads: int) -> None:
        self.form, self.threads = form, threads
        self._class = {"double": "Double", "single": "Single"}[precision]
        sizes, n = form.gates.sizes, form.n
        ones, pairs = np.flatnonzero(sizes == 1), np.flatnonzero(sizes == 2)
        dense = len(pairs) > _DENSE * n * (n - 1) / 2
        rest = np.flatnonzero(sizes > (2 if dense else 1))  # that are a list where means are sampled
        self.local = len(ones) + len(pairs) == len(sizes) and n <= _MOST_SIGNS and not form.fixed.any()
        self.matrix = dense or self.local
        self._dense = dense
        self._ones, self._pairs, self._rest = picked(ones), picked(pairs), picked(rest)
        self._lists = form.gates.take(rest)
        self._one = form.gates.qubits[form.gates.ptr[ones]]
        starts = form.gates.ptr[pairs]
        self._first, self._second = form.gates.qubits[starts], form.gates.qubits[starts + 1]
        self._fields: Any = None

    @property
    def n(self) -> int:
        return self.form.n

    def bits(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        """Uniform signs (n, samples): 1 for minus; the fixed ones as they are."""
        form = self.form
        words = rng.integers(0, 256, size=(form.n, (samples + 7) // 8), dtype=np.uint8)
        out = np.unpackbits(words, axis=1, count=samples)
        out[form.fixed == 1], out[form.fixed == -1] = 0, 1
        return out

    def cheaper_exactly(self, sizes: np.ndarray, strings: int, samples: int) -> np.ndarray:
        """Of strings that meet so many signs, which cost less summed exactly than sampled among so many strings."""
        if not self.local:
            return np.zeros(len(sizes), bool)
        exact = _EXACT * np.ldexp(float(self.n), np.clip(sizes - 1, 0, 60))
        shared = _PRODUCT * self.n**2 * samples / max(strings, 1) if self._dense else 0.0
        return exact <= shared + _SAMPLED * samples * (sizes**2 / 2 + sizes + 30)

    def turns(self, angles: np.ndarray) -> Turns:
        each = angles * self.form.sign
        single = np.zeros(self.n)
        np.add.at(single, self._one, each[self._ones])
        if not self.matrix:
            return Turns(each, single, None)
        pair = np.zeros((self.n, self.n))
        kernels().spread(self._first, self._second, np.ascontiguousarray(each[self._pairs]), pair)
        return Turns(each, single, pair)

    def sampled(
        self, turns: Turns, flips: Subsets, bits: np.ndarray, slopes: Slopes | None
    ) -> tuple[np.ndarray, np.ndarray, Turns | None]:
        """Means of cos phi and cos^2 phi over the samples (A,), and the derivatives of the loss that `slopes` tells:
        slopes(which observables, mean, mean of squares) -> (by mean, by mean of squares)."""
        fields = self._fields or getattr(kernels(), self._class)()
        self._fields = None  # a second thread makes its own
        rest = np.ascontiguousarray(turns.each[self._rest])
        pair = turns.pair if self._dense else None
        fields.build(turns.single, pair, self._lists.ptr, self._lists.qubits, rest, bits, self.threads)
        count = len(flips)
        mean, square = np.empty(count), np.empty(count)
        block = max(_KEPT_BYTES // (16 * bits.shape[1] + 1), 1)
        if slopes is not None:
            fields.start_pull()
        for start in range(0, count, block):
            part = slice(start, min(start + block, count))
            ptr = flips.ptr[start : part.stop + 1]
            items = np.ascontiguousarray(flips.qubits[ptr[0] : ptr[-1]])
            m, q = np.empty(len(ptr) - 1), np.empty(len(ptr) - 1)
            fields.means(ptr - ptr[0], items, m, q)
            mean[part], square[part] = m, q
            if slopes is not None:
                by_mean, by_square = slopes(part, m, q)
                fields.pull(np.ascontiguousarray(by_mean), np.ascontiguousarray(by_square))
        d = None
        if slopes is not None:
            d_rest = np.empty(len(self._lists))
            d = Turns(
                np.zeros(len(self.form.gates)), np.empty(self.n), np.empty((self.n, self.n)) if self._dense else None
            )
            fields.gradient(d.single, d.pair, d_rest)
            d.each[self._rest] = d_rest
        self._fields = fields
        return mean, square, d

    def exact(
        self,
        turns: Turns,
        flips: Subsets,
        slope: np.ndarray | None = None,
        curve: np.ndarray | None = None,
        d: Turns | None = None,
    ) -> tuple[np.ndarray, Turns | None]:
        """Exact means (A,), and with a slope the derivatives of sum_a slope_a e_a + curve_a e_a^2 / 2, added to d.

        Of gates about one and two signs that are all free (`local`); 2^(w-1) n operations for |f| = w.
        """
        assert self.local
        values = np.empty(len(flips))
        d_single = d_pair = None
        if slope is not None:
            curve = np.zeros(len(flips)) if curve is None else curve
            if d is None:
                d = Turns(np.zeros(len(self.form.gates)), np.zeros(self.n), None)
            d = d if d.pair is not None else d._replace(pair=np.zeros((self.n, self.n)))
            d_single, d_pair = d.single, d.pair
        f = kernels().exact_double if self._class == "Double" else kernels().exact_single
        f(turns.single, turns.pair, flips.ptr, flips.qubits, values, slope, curve, d_single, d_pair, self.threads)
        return values, d

    def by_angles(self, d: Turns) -> np.ndarray:
        """The derivatives by the angles (M,)."""
        out = d.each
        out[self._ones] += d.single[self._one]
        if d.pair is not None:
            found = np.empty(len(self._first))
            kernels().collect(self._first, self._second, d.pair, found)
            out[self._pairs] += found
        return out * self.form.sign
