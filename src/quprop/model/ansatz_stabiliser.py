"""The stabiliser-logical product ansatz: as many derivatives per measurement as its expressivity allows.

Chinzei et al., npj Quantum Information 11, 79 (2025), arXiv:2406.18316.
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import stim

from quprop.errors import QupropError
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString


def stabilizer_logical_product(
    n: int,
    stabilizers: Sequence[str | PauliString],
    blocks: int | Iterable[str | PauliString],
    state: Any = None,
) -> Circuit:
    """Blocks of rotations about S L: all 2^s elements S of a stabiliser group times one logical Pauli L for the block.

    stabilizers: s independent generators of the group, mutually commuting Pauli strings, s < n.
    blocks: the logical Pauli of each block, strings that commute with the stabilisers and are not among their products;
        or a number of blocks, for which `logical_generators` is gone through again and again.
    state: the state to start from, as in `Circuit`.
    Parameters: theta[block, element] flattened; bit i of `element` says whether stabilizers[i] is a factor of S.

    An observable that is a Pauli string commuting with all stabilisers meets a whole block alike: then the 2^s
    derivatives of a block are simultaneously measurable, F_eff = 2^s. If the logical Paulis generate su(2^(n-s)), as
    those of `logical_generators` do, the dynamical Lie algebra is all S L with L not the identity, X_exp = 4^n/2^s -
    2^s: the largest that F_eff = 2^s leaves. An observable that anticommutes with a stabiliser meets one half of each
    block differently from the other, and F_eff is 2^(s-1).

    Reference: Chinzei et al., npj Quantum Information 11, 79 (2025), arXiv:2406.18316. Which logical Paulis a block
    count stands for, and the order of the parameters, are ours.
    """
    n, generators = _group(n, stabilizers)
    if isinstance(blocks, Iterable) and not isinstance(blocks, str):
        logicals = [_string("a logical Pauli", p, n) for p in blocks]
    elif isinstance(blocks, int) and not isinstance(blocks, bool) and blocks >= 0:
        logicals = list(itertools.islice(itertools.cycle(logical_generators(n, generators)), blocks))
    else:
        raise QupropError(f"blocks must be a number of blocks, 0 or more, or a list of logical Paulis, got {blocks!r}")
    for logical in logicals:
        clash = next((g for g in generators if not g.commutes(logical)), None)
        if clash is not None:
            raise QupropError(f"a logical Pauli commutes with all stabilisers, but {logical} and {clash} anticommute")
        if _dependent([*generators, logical]):
            raise QupropError(f"a logical Pauli must act on the code, but {logical} is a product of the stabilisers")

    elements = [PauliString(0, 0)]
    for g in generators:
        elements += [e * g for e in elements]
    theta = params("theta", len(logicals) * len(elements))
    circuit = Circuit(n, state, params=theta)
    for angle, (logical, element) in zip(theta, itertools.product(logicals, elements), strict=True):
        circuit.rotation(element * logical, angle)
    return circuit


def logical_generators(n: int, stabilizers: Sequence[str | PauliString]) -> list[PauliString]:
    """Logical Paulis X_i, Z_i and Z_i Z_{i+1} of the n - s logical qubits, which generate su(2^(n-s)).

    The order is all Z_i Z_{i+1}, all Z_i, all X_i: a logical Ising layer in a transverse and a longitudinal field.
    """
    n, generators = _group(n, stabilizers)
    strings = [stim.PauliString(g.dense(n)) for g in generators]
    # stim refuses an empty list of stabilisers: then the physical X and Z are the logical ones.
    tableau = stim.Tableau.from_stabilizers(strings, allow_underconstrained=True) if strings else stim.Tableau(n)
    x, z = ([_from_stim(f(k)) for k in range(len(strings), n)] for f in (tableau.x_output, tableau.z_output))
    return [a * b for a, b in itertools.pairwise(z)] + z + x


def _group(n: Any, stabilizers: Any) -> tuple[int, list[PauliString]]:
    if isinstance(n, bool) or not isinstance(n, numbers.Integral) or n < 1:
        raise QupropError(f"n must be a whole number of qubits, 1 or more, got {n!r}")
    if isinstance(stabilizers, str | PauliString):
        raise QupropError(f"stabilizers must be a list of Pauli strings, got {stabilizers!r}; put it into a list")
    n = int(n)
    generators = [_string("a stabiliser", p, n) for p in stabilizers]
    for first, second in itertools.combinations(generators, 2):
        if not first.commutes(second):
            raise QupropError(f"stabilisers must commute with each other, but {first} and {second} anticommute")
    if _dependent(generators):
        raise QupropError(
            "stabilizers must be independent generators, but one of "
            f"{', '.join(map(str, generators))} is a product of the others (or the identity); leave it out"
        )
    if len(generators) >= n:
        raise QupropError(f"{n} stabilisers of {n} qubits leave no logical qubit to act on; give {n - 1} at most")
    return n, generators


def _string(what: str, pauli: Any, n: int) -> PauliString:
    string = PauliString.parse(pauli) if isinstance(pauli, str) else pauli
    if not isinstance(string, PauliString) or not string.is_hermitian or string.n_qubits > n:
        raise QupropError(f"{what} must be a Hermitian Pauli string on qubits 0 to {n - 1}, got {pauli!r}")
    return string


def _dependent(strings: Sequence[PauliString]) -> bool:
    """Whether a product of some of them is the identity up to sign: elimination over GF(2)."""
    pivots: dict[int, int] = {}
    shift = max((p.n_qubits for p in strings), default=0)
    for p in strings:
        row = p.x << shift | p.z
        while row and row.bit_length() in pivots:
            row ^= pivots[row.bit_length()]
        if not row:
            return True
        pivots[row.bit_length()] = row
    return False


def _from_stim(string: stim.PauliString) -> PauliString:
    xs, zs = string.to_numpy(bit_packed=True)
    return PauliString(int.from_bytes(xs.tobytes(), "little"), int.from_bytes(zs.tobytes(), "little"))
