"""The dynamical Lie algebra of Pauli generators: what a circuit can express, as a number.

The Lie algebra that iP_1, iP_2, ... generate is spanned by Pauli strings: a commutator of two strings is zero or twice
their product. Brackets with the generators alone, [G, [G', [G'', ...]]], reach all of it (Jacobi), so it is found by
walking from string to string.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.pauli import PauliString, PauliSum
from quprop.structure.commutation import anticommutation, bits, driven, generators, preparation

LIMIT = 1 << 22  # strings of an algebra that are enumerated unless told otherwise
_TABLE_QUBITS = 13  # up to here a table with a byte for each of the 4^n strings says which are known (64 MiB)


def dynamical_lie_algebra(
    source: Model | Iterable[PauliString | str], *, limit: int = LIMIT
) -> tuple[PauliString, ...]:
    """The Pauli strings, with plus signs, that span the Lie algebra of the generators; sorted by masks.

    source: Hermitian Pauli strings, or a model, of which all rotations count but those that only prepare its state
    (data encoding and fixed gates that can be moved before every trained rotation). The identity, a global phase, is
    left out. limit: the dimension beyond which the search is refused; 4^n - 1 is the largest there is.
    """
    strings, n = _strings(source)
    return tuple(PauliString(int(c) & ((1 << n) - 1), int(c) >> n) for c in _closure(strings, n, limit))


def dla_dimension(source: Model | Iterable[PauliString | str], *, limit: int = LIMIT) -> int:
    """The dimension of the dynamical Lie algebra; arguments as in `dynamical_lie_algebra`."""
    strings, n = _strings(source)
    return len(_closure(strings, n, limit))


def expressivity_bound(n_qubits: int, f_eff: float) -> float:
    """The largest dimension that efficiency leaves, X_exp <= 4^n / F_eff - F_eff.

    Chinzei et al., npj Quantum Information 11, 79 (2025), arXiv:2406.18316. They also have X_exp >= F_eff.
    """
    if not f_eff > 0 or n_qubits < 1:
        raise QupropError(f"the bound takes n >= 1 qubits and F_eff > 0, got n = {n_qubits} and F_eff = {f_eff}")
    return 4.0**n_qubits / f_eff - f_eff


def _strings(source: Any) -> tuple[list[PauliString], int]:
    if isinstance(source, Model):
        strings = generators(source)
        rows = anticommutation(strings, strings)
        ready = preparation(rows, driven(source))
        strings = [strings[m] for m in bits(~ready & ((1 << len(strings)) - 1))]
    else:
        given = source.items() if isinstance(source, PauliSum) else ((p, 1.0) for p in source)
        strings = [PauliString.parse(p) if isinstance(p, str) else p for p, _ in given]
        for p in strings:
            if not isinstance(p, PauliString) or not p.is_hermitian:
                raise QupropError(f"generators are Hermitian Pauli strings such as 'X0 Y2', got {p!r}")
    return strings, max((p.n_qubits for p in strings), default=1) or 1


def _closure(strings: Iterable[PauliString], n: int, limit: int) -> list[int] | np.ndarray:
    """The codes x | z << n of the algebra, sorted."""
    codes = sorted({p.x | p.z << n for p in strings} - {0})
    partners = [c >> n | (c & ((1 << n) - 1)) << n for c in codes]  # parity(a & partner) = 1 where they anticommute
    walk = _walk_table if n <= _TABLE_QUBITS else _walk_set
    found = walk(codes, partners, n, limit)
    if found is None:
        raise QupropError(
            f"the dynamical Lie algebra of these {len(codes)} generators on {n} qubits has more than limit={limit} "
            "dimensions; raise limit, or take fewer qubits"
        )
    return found


def _walk_table(codes: list[int], partners: list[int], n: int, limit: int) -> np.ndarray | None:
    """Breadth first, a whole frontier against one generator at a time."""
    frontier = np.array(codes, np.int64)
    known = np.zeros(4**n, bool)
    known[frontier] = True
    size = len(frontier)
    while len(frontier) and size <= limit:
        new = []
        for code, partner in zip(codes, partners, strict=True):
            reached = frontier[np.bitwise_count(frontier & partner) & 1 == 1] ^ code
            reached = reached[~known[reached]]
            known[reached] = True
            new.append(reached)
            size += len(reached)
            if size > limit:
                return None
        frontier = np.concatenate(new)
    return np.flatnonzero(known) if size <= limit else None


def _walk_set(codes: list[int], partners: list[int], n: int, limit: int) -> list[int] | None:
    """The same with integers of any size."""
    known, frontier = set(codes), codes
    pairs = list(zip(codes, partners, strict=True))
    while frontier and len(known) <= limit:
        reached = []
        for a in frontier:
            for code, partner in pairs:
                if (a & partner).bit_count() & 1 and a ^ code not in known:
                    known.add(a ^ code)
                    reached.append(a ^ code)
            if len(known) > limit:
                return None
        frontier = reached
    return sorted(known) if len(known) <= limit else None
