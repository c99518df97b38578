"""The signs of Pauli expectations of which the magnitudes are known: three routes, each with the copies it takes.

Everything here is under the promise |<P>| >= eps/2, which the magnitudes give. K strings, failure delta in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from quprop.cost import Cost
from quprop.model.pauli import PauliString
from quprop.sampling.copies import Copies, spent, squares
from quprop.simulate.vectors import apply, signs

_MOST_QUBITS = 10  # of a mimicking state, a dense 2^n x 2^n matrix


class Signs(NamedTuple):
    values: np.ndarray  # ±1
    info: dict[str, Any]


class Route(NamedTuple):
    """read(copies, paulis, K, eps, delta) -> Signs, claim(paulis, n, rotations, eps, delta) -> Cost, bound: whether the
    claim is an upper bound instead of exact."""

    read: Callable[[Copies, Sequence[PauliString], int, float, float], Signs]
    claim: Callable[[Sequence[PauliString], int, int, float, float], Cost]
    bound: bool
    most_qubits: int = 62


def voters(K: int, eps: float, delta: float) -> int:
    """N2 = 8 ln(4K/delta)/eps^2 copies.

    By Hoeffding a vote errs with probability exp(-N2 eps^2/8) = delta/(4K) at most; and K projective measurements in
    sequence on one state, each erring with probability e_i on the undisturbed one, all answer right except with
    4 sum e_i (quantum union bound: Gao, Phys. Rev. A 92, 052331 (2015), arXiv:1410.5688).
    """
    return math.ceil(8 * math.log(4 * max(K, 1) / delta) / eps**2)


def single(K: int, eps: float, delta: float) -> int:
    """8 ln(K/delta)/eps^2 outcomes of P: their mean has the right sign, for K strings at once (Hoeffding)."""
    return max(1, math.ceil(8 * math.log(max(K, 1) / delta) / eps**2))


def majority(copies: Copies, paulis: Sequence[PauliString], K: int, eps: float, delta: float) -> Signs:
    """Coherent majority votes: the same N2 copies serve all strings.

    Huang, Kueng, Preskill, PRL 126, 190505, arXiv:2101.02464. Simulated as independent Bernoulli draws from the exact
    binomial tails of undisturbed copies; info has what disturbance can add: the sum of sqrt(tail), a bound on the trace
    distance by which all votes move the copies (gentle measurement), and 4 sum(tail), one on the failure.
    """
    values, tails = copies.votes(paulis, voters(K, eps, delta))
    return Signs(
        values,
        {
            "damage": float(np.sqrt(tails).sum()),
            "failure bound of the votes": float(4 * tails.sum()),
            "held": voters(K, eps, delta),
        },
    )


def _majority_claim(paulis: Sequence[PauliString], n: int, rotations: int, eps: float, delta: float) -> Cost:
    count = voters(len(paulis), eps, delta)
    return spent(count, count, count, rotations, n)


def colouring(copies: Copies, paulis: Sequence[PauliString], K: int, eps: float, delta: float) -> Signs:
    """Single copies: sets of commuting strings (greedy colouring of the anticommutation graph), read one set a shot.

    King, Gosset, Kothari, Babbush, arXiv:2404.19211, with a greedy colouring where they have a fractional one.
    """
    shots = single(K, eps, delta)
    return coloured(paulis, shots, lambda strings: copies.means(strings, shots))


def coloured(paulis: Sequence[PauliString], shots: int, read: Callable[[Sequence[PauliString]], np.ndarray]) -> Signs:
    """From the means of each set, which `read` is asked for in turn."""
    values = np.ones(len(paulis))
    sets = colours(paulis)
    for members in sets:
        values[members] = np.where(read([paulis[i] for i in members]) >= 0, 1.0, -1.0)
    return Signs(values, {"colours": len(sets), "shots of each colour": shots})


def _colouring_claim(paulis: Sequence[PauliString], n: int, rotations: int, eps: float, delta: float) -> Cost:
    count = single(len(paulis), eps, delta) * len(colours(paulis))
    return spent(count, count, 1, rotations, n)


def colours(paulis: Sequence[PauliString]) -> list[list[int]]:
    """Sets of mutually commuting strings, each string into the first set it fits."""
    x, z = (np.array([getattr(p, name) for p in paulis], np.int64) for name in ("x", "z"))
    sets: list[list[int]] = []
    for i in range(len(paulis)):
        for members in sets:
            if not np.any((np.bitwise_count(x[members] & z[i]) + np.bitwise_count(z[members] & x[i])) & 1):
                members.append(i)
                break
        else:
            sets.append([i])
    return sets


def mimicking(copies: Copies, paulis: Sequence[PauliString], K: int, eps: float, delta: float) -> Signs:
    """A known state sigma with |tr(sigma P)| >= eps/4 for all strings; then Bell measurements of rho (x) sigma.

    sigma starts maximally mixed. As long as some |tr(sigma P)| < eps/4, the sign s of <P> is measured on fresh copies
    and sigma becomes exp(H)/tr exp(H), H += (eps/4) s P: matrix multiplicative weights, each step taking eps^2/32 off
    the relative entropy of rho to sigma, which starts at n ln 2 or less, so 32 n ln(2)/eps^2 steps at most. The mean of
    P (x) P is then tr(rho P) tr(sigma P), at least eps^2/8 in size, and its sign is seen in 128 ln(2K/delta)/eps^4
    pairs. King, Gosset, Kothari, Babbush, arXiv:2404.19211.
    """
    if not paulis:
        return Signs(np.ones(0), {})
    n = copies.n_qubits
    steps, each, pairs = _mimicking_counts(K, n, eps, delta)
    H = np.zeros((1 << n, 1 << n), complex)
    identity = np.eye(1 << n, dtype=complex)
    taken = 0
    while True:
        energies, columns = np.linalg.eigh(H)
        chances = np.exp(energies - energies.max())
        chances /= chances.sum()
        mimicked = _traces(paulis, columns, chances)
        weakest = int(np.argmin(abs(mimicked)))
        if abs(mimicked[weakest]) >= eps / 4 or taken == steps:
            break
        sign = 1.0 if copies.means([paulis[weakest]], each)[0] >= 0 else -1.0
        H += eps / 4 * sign * apply(paulis[weakest], identity).T
        taken += 1
    seen = squares(paulis, n, copies.bell_with(list(columns.T), chances, pairs))
    return Signs(
        np.where(seen * mimicked >= 0, 1.0, -1.0),
        {"updates of sigma": f"{taken} of {steps} at most", "smallest |tr(sigma P)|": float(abs(mimicked).min())},
    )


def _traces(paulis: Sequence[PauliString], columns: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """tr(sigma P), with sigma's eigenvectors as columns; sigma_{j, j xor x} is gathered once for all z."""
    sigma = (columns * chances) @ columns.conj().T
    index = np.arange(len(sigma))
    out = np.empty(len(paulis))
    for i, p in enumerate(paulis):
        out[i] = (1j**p.phase * np.sum(signs(len(sigma), p.z) * sigma[index, index ^ p.x])).real
    return out


def _mimicking_counts(K: int, n: int, eps: float, delta: float) -> tuple[int, int, int]:
    steps = math.ceil(32 * n * math.log(2) / eps**2)
    return steps, single(steps, eps, delta / 2), math.ceil(128 * math.log(2 * max(K, 1) / delta) / eps**4)


def _mimicking_claim(paulis: Sequence[PauliString], n: int, rotations: int, eps: float, delta: float) -> Cost:
    steps, each, pairs = _mimicking_counts(len(paulis), n, eps, delta)
    return spent(steps * each, steps * each, 1, rotations, n) + spent(pairs, pairs, 2, rotations, n)


ROUTES: dict[str, Route] = {
    "majority": Route(majority, _majority_claim, bound=False),
    "colouring": Route(colouring, _colouring_claim, bound=True),
    "mimicking": Route(mimicking, _mimicking_claim, bound=True, most_qubits=_MOST_QUBITS),
}
