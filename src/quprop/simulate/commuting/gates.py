"""Angles and signs of a commuting model as the kernels take them (native/commuting/): exact and sampled means of
cos phi_f, with their derivatives by the angles.

phi_f(s) = sum_{g: |g & f| odd} a_g chi_g(s), the mean over uniform signs s; see `form.py`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from quprop.model.angle_table import picked
from quprop.model.x_rotations import Subsets
from quprop.simulate.commuting.form import CommutingForm
from quprop.simulate.state_vector.native import load_kernels

_DENSE = 1 / 32  # of all pairs that have a gate: from there on they are a matrix
_KEPT_BYTES = 128 << 20  # of sines and cosines between a mean and its derivative

# From means of cos and cos^2 to the derivatives of a loss by both.
Slopes = Callable[[slice, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@cache
def kernels() -> ModuleType:
    """The kernels of the instruction set that the state vector's run with."""
    return importlib.import_module(f"quprop.simulate._commuting_{load_kernels()[0]}")


class Gates:
    """The gates of a form: about one sign, a vector; about two, a symmetric matrix; all others, a list."""

    def __init__(self, form: CommutingForm, precision: str, threads: int) -> None:
        self.form, self.threads = form, threads
        self._class = {"double": "Double", "single": "Single"}[precision]
        sizes, n = form.gates.sizes, form.n
        ones, pairs = np.flatnonzero(sizes == 1), np.flatnonzero(sizes == 2)
        self.matrix = len(pairs) > _DENSE * n * (n - 1) / 2
        pairs = pairs if self.matrix else pairs[:0]
        rest = np.flatnonzero(sizes > (2 if self.matrix else 1))
        self._ones, self._pairs, self._rest = picked(ones), picked(pairs), picked(rest)
        self._lists = form.gates.take(rest)
        self.one = form.gates.qubits[form.gates.ptr[ones]]
        starts = form.gates.ptr[pairs]
        self.first, self.second = form.gates.qubits[starts], form.gates.qubits[starts + 1]
        self.local = not len(rest)  # gates about one and two signs only: the exact kernel takes them
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

    def sampled(
        self, angles: np.ndarray, flips: Subsets, bits: np.ndarray, slopes: Slopes | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Means of cos phi and cos^2 phi over the samples (A,), and the derivative by the angles (M,) of the loss that
        `slopes` tells: slopes(which observables, mean, mean of squares) -> (by mean, by mean of squares)."""
        turns = angles * self.form.sign
        fields = self._fields or getattr(kernels(), self._class)()
        self._fields = None  # a second thread makes its own
        single, pair = self._spread(turns)
        fields.build(
            single,
            pair,
            self._lists.ptr,
            self._lists.qubits,
            np.ascontiguousarray(turns[self._rest]),
            bits,
            self.threads,
        )
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
        d_angles = None
        if slopes is not None:
            d_single = np.empty(self.n)
            d_pair = np.empty((self.n, self.n)) if self.matrix else None
            d_rest = np.empty(len(self._lists))
            fields.gradient(d_single, d_pair, d_rest)
            d_angles = self._collected(d_single, d_pair, d_rest)
        self._fields = fields
        return mean, square, d_angles

    def exact(
        self, angles: np.ndarray, flips: Subsets, slope: np.ndarray | None = None, curve: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Exact means (A,), and the derivative by the angles (M,) of sum_a slope_a e_a + curve_a e_a^2 / 2.

        Of gates about one and two signs that are all free; 2^(w-1) n operations for |f| = w.
        """
        assert self.local and not self.form.fixed.any()
        single, pair = self._spread(angles * self.form.sign)
        if pair is None:
            pair = np.zeros((self.n, self.n))
        values = np.empty(len(flips))
        d_single = d_pair = None
        if slope is not None:
            curve = np.zeros(len(flips)) if curve is None else curve
            d_single, d_pair = np.zeros(self.n), np.zeros((self.n, self.n))
        f = kernels().exact_double if self._class == "Double" else kernels().exact_single
        f(single, pair, flips.ptr, flips.qubits, values, slope, curve, d_single, d_pair, self.threads)
        return values, None if d_single is None else self._collected(d_single, d_pair, np.empty(0))

    def _spread(self, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        single = np.zeros(self.n)
        np.add.at(single, self.one, turns[self._ones])
        if not self.matrix:
            return single, None
        pair = np.zeros((self.n, self.n))
        kernels().spread(self.first, self.second, np.ascontiguousarray(turns[self._pairs]), pair)
        return single, pair

    def _collected(self, d_single: np.ndarray, d_pair: np.ndarray | None, d_rest: np.ndarray) -> np.ndarray:
        out = np.empty(len(self.form.gates))
        out[self._ones] = d_single[self.one]
        if d_pair is not None:
            found = np.empty(len(self.first))
            kernels().collect(self.first, self.second, d_pair, found)
            out[self._pairs] = found
        out[self._rest] = d_rest
        return out * self.form.sign
