"""The dynamical Lie algebra of a circuit's generators: what it can express, as a number.

A generator is what one free number drives: a Pauli string, or a sum of strings where rotations that can be brought
together share a parameter (Larocca et al., Nat. Comput. Sci. 3, 542 (2023), arXiv:2109.11676). Brackets with the
generators alone, [G, [G', [G'', ...]]], reach all of the algebra (Jacobi). Where every generator is one string, so is
every bracket up to a factor, and it is found by walking from string to string; sums need linear algebra over strings.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.circuit import Circuit
from quprop.model.commutation import anticommutation, driven, preparation
from quprop.model.commutation import generators as rotated
from quprop.model.pauli import PauliString, PauliSum
from quprop.model.pauli_operator import PauliTerms

LIMIT = 1 << 22  # strings of an algebra that are enumerated unless told otherwise
LIMIT_OF_SUMS = 1 << 12  # dimensions where generators are sums: each is a vector of coefficients
_TABLE_QUBITS = 13  # up to here a table with a byte for each of the 4^n strings says which are known (64 MiB)
_NEW, _OLD = 1e-7, 1e-10  # what is left of a unit vector outside the span: above it is new, below it is rounding

Generators = Model | Circuit | PauliTerms | Iterable[PauliString | PauliTerms | str]


def dynamical_lie_algebra(
    source: Generators, *, limit: int | None = None
) -> tuple[PauliString, ...] | tuple[PauliSum, ...]:
    """A basis of the Lie algebra that the generators span: Pauli strings with plus signs, sorted by masks, or, where a
    generator is a sum, orthonormal `PauliSum`s.

    source: Hermitian Pauli strings and sums of them, each a generator; or a model or circuit. Of a model all rotations
    count but those that only prepare its state (data encoding and fixed gates that can be moved before every trained
    rotation). The generators are then, for each monomial of the angles, sum_m c_m P_m over the rotations that have it
    with coefficient c_m and that commute with one another and with all that stands between them. The identity, a global
    phase, is left out. limit: the dimension beyond which the search is refused, by default 2^22, or 2^12 for sums.

    Where all generators are single strings the algebra is exact, in whole numbers. Of sums, a bracket is new where more
    than 1e-7 of its length is outside the span so far and rounding below 1e-10; in between is refused.
    """
    codes, n, sums = _generated(source, limit)
    mask = (1 << n) - 1
    strings = tuple(PauliString(int(c) & mask, int(c) >> n) for c in codes)
    if sums is None:
        return strings
    return tuple(PauliSum({p: float(c) for p, c in zip(strings, row, strict=True) if abs(c) > _OLD}) for row in sums)


def dla_dimension(source: Generators, *, limit: int | None = None) -> int:
    """The dimension of the dynamical Lie algebra; arguments as in `dynamical_lie_algebra`.

    >>> dla_dimension(["X0", "Z0"]), dla_dimension(["Z0 Z1 + Z1 Z2", "X0 + X1 + X2"])
    (3, 9)
    """
    codes, _, sums = _generated(source, limit)
    return len(codes) if sums is None else len(sums)


def expressivity_bound(n_qubits: int, f_eff: float) -> float:
    """The largest dimension that efficiency leaves, X_exp <= 4^n / F_eff - F_eff.

    Chinzei et al., npj Quantum Information 11, 79 (2025), arXiv:2406.18316. They also have X_exp >= F_eff.
    """
    if not f_eff > 0 or n_qubits < 1:
        raise QupropError(f"the bound takes n >= 1 qubits and F_eff > 0, got n = {n_qubits} and F_eff = {f_eff}")
    return 4.0**n_qubits / f_eff - f_eff


def generators_of(model: Model) -> list[PauliSum]:
    """The generators of a model, as `dynamical_lie_algebra` says; two of them may be proportional."""
    strings = rotated(model)
    rows = anticommutation(strings, strings)
    ready = preparation(rows, driven(model))
    grown: dict[Any, list[dict[PauliString, float]]] = {}  # monomial -> its sums, in the order of the circuit
    first: dict[Any, int] = {}  # where the last of them begins
    blocked: dict[Any, int] = {}  # the rotations that its members cannot pass
    for m, rotation in enumerate(model.rotations):
        if ready >> m & 1:
            continue
        for monomial, coefficient in rotation.angle.terms:
            sums = grown.setdefault(monomial, [])
            between = ((1 << m) - 1) >> first.get(monomial, m) << first.get(monomial, m)
            stays = rows[m] & between and blocked.get(monomial, 0) & ((2 << m) - 1)
            if not sums or stays:
                sums.append({})
                first[monomial], blocked[monomial] = m, 0
            sums[-1][strings[m]] = sums[-1].get(strings[m], 0.0) + float(coefficient)
            blocked[monomial] |= rows[m] >> m << m
    return [PauliSum(terms) for sums in grown.values() for terms in sums]


def _generated(source: Any, limit: int | None) -> tuple[Any, int, np.ndarray | None]:
    """(codes x | z << n of strings, n, None), or with sums (codes, n, orthonormal coefficients (dimension, codes))."""
    if isinstance(source, Circuit):
        source = Model(source, "I")
    if isinstance(source, Model):
        given = generators_of(source)
    else:
        given = [_generator(g) for g in ([source] if isinstance(source, PauliTerms | PauliString | str) else source)]
    given = [g for g in (PauliSum({p: c for p, c in g.items() if p.weight and c}) for g in given) if len(g)]
    n = max((p.n_qubits for g in given for p, _ in g.items()), default=1) or 1
    if all(len(g) == 1 for g in given):
        return _closure([p for g in given for p, _ in g.items()], n, LIMIT if limit is None else limit), n, None
    codes, sums = _closure_of_sums(given, n, LIMIT_OF_SUMS if limit is None else limit)
    return codes, n, sums


def _generator(given: Any) -> PauliSum:
    """A string or a sum as a sum."""
    if isinstance(given, str):
        try:
            given = PauliString.parse(given)
        except QupropError:
            given = PauliSum.parse(given)
    if isinstance(given, PauliString):
        if not given.is_hermitian:
            raise QupropError(f"generators are Hermitian Pauli strings such as 'X0 Y2', got {given!r}")
        given = PauliSum({given: 1.0})
    if isinstance(given, PauliTerms):
        return PauliSum(given)  # of an operator that is Hermitian
    raise QupropError(f"generators are Hermitian Pauli strings such as 'X0 Y2', or sums of them, got {given!r}")


def _closure(strings: Iterable[PauliString], n: int, limit: int) -> list[int] | np.ndarray:
    """The codes x | z << n of the algebra, sorted."""
    codes = sorted({p.x | p.z << n for p in strings} - {0})
    partners = [c >> n | (c & ((1 << n) - 1)) << n for c in codes]  # parity(a & partner) = 1 where they anticommute
    walk = _walk_table if n <= _TABLE_QUBITS else _walk_set
    found = walk(codes, partners, n, limit)
    if found is None:
        raise _too_large(len(codes), n, limit)
    return found


def _too_large(generators: int, n: int, limit: int) -> QupropError:
    return QupropError(
        f"the dynamical Lie algebra of these {generators} generators on {n} qubits has more than limit={limit} "
        "dimensions; raise limit, or take fewer qubits"
    )


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


def _closure_of_sums(generators: list[PauliSum], n: int, limit: int) -> tuple[list[int], np.ndarray]:
    """Codes of strings, sorted, and orthonormal rows of coefficients that span the algebra.

    [iP, iQ] = ∓2 iPQ for strings that anticommute; what a bracket leaves outside the span so far, as a part of its
    length, is new or rounding. In between nothing can be said, and that is refused.
    """
    where: dict[int, int] = {}  # the column of a string
    scaled = []
    for g in generators:
        size = float(np.linalg.norm([c for _, c in g.items()]))
        scaled.append([(p.x, p.z, c / size) for p, c in g.items()])
    basis = np.zeros((0, 0))
    queue: list[np.ndarray] = []

    def take(terms: dict[int, float]) -> None:
        nonlocal basis
        for code in terms:
            where.setdefault(code, len(where))
        if len(where) > basis.shape[1]:
            basis = np.pad(basis, ((0, 0), (0, 2 * len(where) - basis.shape[1])))
        vector = np.zeros(basis.shape[1])
        vector[[where[c] for c in terms]] = list(terms.values())
        size = float(np.linalg.norm(vector))
        if size <= _OLD:
            return
        vector /= size
        for _ in range(2):  # once more, for what rounding left
            vector -= basis[: len(queue)].T @ (basis[: len(queue)] @ vector)
        left = float(np.linalg.norm(vector))
        if left <= _OLD:
            return
        if left < _NEW:
            raise QupropError(
                f"whether a bracket of these generators is new cannot be told: {left:.1g} of its length is; "
                "write coefficients that are equal, or multiples of one another, with more digits"
            )
        if len(queue) >= limit:
            raise _too_large(len(generators), n, limit)
        if len(queue) == len(basis):
            basis = np.pad(basis, ((0, max(16, len(basis))), (0, 0)))
        basis[len(queue)] = vector / left
        queue.append(np.flatnonzero(basis[len(queue)]))

    for terms in scaled:
        take({x | z << n: c for x, z, c in terms})
    done = 0
    while done < len(queue):
        codes = list(where)
        mine = [(codes[j] & ((1 << n) - 1), codes[j] >> n, float(basis[done, j])) for j in queue[done]]
        for terms in scaled:
            take(_bracket(terms, mine, n))
        done += 1
    order = sorted(where)
    return order, basis[: len(queue), [where[c] for c in order]]


def _bracket(left: list[tuple[int, int, float]], right: list[tuple[int, int, float]], n: int) -> dict[int, float]:
    """The commutator of two sums, over -2: PQ = ±i R for anticommuting strings with plus signs."""
    out: dict[int, float] = {}
    for x, z, a in left:
        for u, v, b in right:
            crossed = (z & u).bit_count()
            if (crossed + (x & v).bit_count()) & 1:
                code = (x ^ u) | (z ^ v) << n
                turns = (x & z).bit_count() + (u & v).bit_count() - ((x ^ u) & (z ^ v)).bit_count() + 2 * crossed
                out[code] = out.get(code, 0.0) + (a * b if turns & 3 == 1 else -a * b)
    return out
