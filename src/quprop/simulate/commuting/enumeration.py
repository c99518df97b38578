"""Exact values of one string of a commuting model by summing over the signs that its gates share.

<O> = E_s Re[c chi_q(s) exp(i phi_f(s))] (see `form.py`) sees only the gates of odd overlap with f. Given the signs in a
core, the gates fall apart into parts that share no sign, so the mean is one over the core of a product over the parts:
cost 2^|core| sum over parts of 2^|part|. The core begins as the signs in f, and takes the sign that most gates share
until all parts are small.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quprop.simulate.commuting.form import CommutingForm, Seen

_LARGEST_PART, _LARGEST_CORE = 10, 24
_PATTERNS = 1 << 12  # of the core at a time


class _Part(NamedTuple):
    """gates: indices into those that are seen; core (G, core), inner (2^k, G): characters; prefix (2^k,)."""

    gates: np.ndarray
    core: np.ndarray
    inner: np.ndarray
    prefix: np.ndarray


class Enumeration(NamedTuple):
    """gates (G,): those of the form with odd overlap, by sign_g; phase and core_prefix: c chi_q of the core's signs."""

    gates: np.ndarray
    sign: np.ndarray
    phase: complex
    core_prefix: np.ndarray
    parts: tuple[_Part, ...]
    cost: float

    @classmethod
    def of(cls, form: CommutingForm, seen: Seen, most: float) -> Enumeration | float | None:
        """0.0 for a value that is exactly 0, None where more than `most` operations would be needed."""
        if not seen.phase:
            return 0.0
        flip, prefix = np.zeros(form.n, bool), np.zeros(form.n, bool)
        flip[list(seen.flip)] = True
        prefix[list(seen.prefix)] = True
        counts = np.add.reduceat(flip[form.gates.qubits], form.gates.ptr[:-1]) if len(form.gates) else np.zeros(0)
        gates = np.flatnonzero(counts % 2)
        table = form.gates.take(gates).rows(form.n).astype(bool)
        fixed = form.fixed != 0
        sign = form.sign[gates] * np.where(table[:, fixed & (form.fixed < 0)].sum(axis=1) % 2, -1.0, 1.0)
        phase = seen.phase * (-1.0) ** int((prefix & (form.fixed < 0)).sum())
        used = table.any(axis=0) & ~fixed
        if (prefix & ~fixed & ~used).any():
            return 0.0
        core = used & flip
        while True:
            parts = _components(table, used & ~core)
            largest = max((int(p.sum()) for p in parts), default=0)
            weight = 2.0 ** int(core.sum()) * sum(len(gates) * 2.0 ** int(p.sum()) for p in parts or [core[:0]])
            if largest <= _LARGEST_PART:
                break
            if core.sum() >= _LARGEST_CORE:
                return None
            core[np.argmax(np.where(used & ~core, table.sum(axis=0), -1))] = True
        if weight > most or core.sum() > _LARGEST_CORE:
            return None
        places = np.flatnonzero(core)
        made = [_part(table, places, np.flatnonzero(p), prefix) for p in parts]
        own = np.flatnonzero(~table[:, used & ~core].any(axis=1))
        made.append(_Part(own, table[own][:, places], np.ones((1, len(own))), np.ones(1)))
        return cls(gates, sign, phase, prefix[places], tuple(made), weight)

    def value(self, angles: np.ndarray, slopes: bool) -> tuple[float, np.ndarray]:
        """The value at angles of all gates of the form (M,), and its derivatives by those that are seen (G,)."""
        turns = angles[self.gates] * self.sign
        bits = len(self.core_prefix)
        total, d = 0.0, np.zeros(len(self.gates))
        for start in range(0, 1 << bits, _PATTERNS):
            patterns = np.arange(start, min(start + _PATTERNS, 1 << bits))
            minus = (patterns[:, None] >> np.arange(bits)) & 1
            factors: list[np.ndarray] = []
            moves: list[np.ndarray] = []
            characters: list[np.ndarray] = []
            for part in self.parts:
                chi = 1.0 - 2.0 * (minus @ part.core.T.astype(np.int64) % 2)  # (patterns, gates)
                e = np.exp(1j * ((chi * turns[part.gates]) @ part.inner.T)) * part.prefix
                factors.append(e.mean(axis=1))
                characters.append(chi)
                moves.append(e @ part.inner / part.inner.shape[0] if slopes else e[:0])
            common = self.phase * (1.0 - 2.0 * (minus @ self.core_prefix.astype(np.int64) % 2))
            before = [common]
            for f in factors:
                before.append(before[-1] * f)
            total += float(before[-1].real.sum())
            after = np.ones(len(patterns), complex)
            for k in reversed(range(len(self.parts) if slopes else 0)):
                rest = (before[k] * after)[:, None]
                np.add.at(d, self.parts[k].gates, (rest * 1j * moves[k] * characters[k]).real.sum(axis=0))
                after = after * factors[k]
        return total / (1 << bits), d * self.sign / (1 << bits)


def _components(table: np.ndarray, free: np.ndarray) -> list[np.ndarray]:
    """Sets of free signs that gates connect, as masks."""
    left = free.copy()
    found = []
    rows = table & free
    while left.any():
        part = np.zeros_like(free)
        part[np.argmax(left)] = True
        while True:
            grown = rows[(rows & part).any(axis=1)].any(axis=0) | part
            if (grown == part).all():
                break
            part = grown
        found.append(part)
        left &= ~part
    return found


def _part(table: np.ndarray, core: np.ndarray, own: np.ndarray, prefix: np.ndarray) -> _Part:
    gates = np.flatnonzero(table[:, own].any(axis=1))
    minus = (np.arange(1 << len(own))[:, None] >> np.arange(len(own))) & 1
    inner = 1.0 - 2.0 * (minus @ table[np.ix_(gates, own)].T.astype(np.int64) % 2)
    return _Part(gates, table[np.ix_(gates, core)], inner, 1.0 - 2.0 * (minus @ prefix[own].astype(np.int64) % 2))
