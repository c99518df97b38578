"""Classical shadows of a pure state (Huang, Kueng, Preskill, Nat. Phys. 16, 1050 (2020), arXiv:2002.08953).

A copy is measured in a random basis. "pauli": each qubit in X, Y or Z; "clifford": after a uniformly random Clifford.
The snapshot, with the expectation rho over basis and outcome, is (x)_q (3 |s_q><s_q| - 1), or (2^n + 1) |s><s| - 1.
Many copies are done at once: states are (S, 2^n), one row a copy, projected on one stabiliser generator after another.
A mean over snapshots is linear in them: where only that is wanted, one matrix holds their sum (`summed_with_y`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from quprop.model.pauli import PauliString
from quprop.simulate.vectors import expectation

Ensemble = Literal["pauli", "clifford"]
ENSEMBLES: tuple[Ensemble, ...] = ("pauli", "clifford")
_EIGENSTATES = np.array([[[1, 1], [1, -1]], [[1, 1j], [1, -1j]], [[2**0.5, 0], [0, 2**0.5]]]) / 2**0.5  # X, Y, Z
_IN_CACHE = 1 << 14  # amplitudes that are projected at once


class Cliffords(NamedTuple):
    """S Cliffords C on n qubits: C Z_k C† and C X_k C† are (-1)^sign times the strings with masks x, z.

    Columns 0 ... n-1 are the images of Z_0 ... Z_{n-1}, columns n ... 2n-1 those of X_0 ... X_{n-1}.
    """

    x: np.ndarray  # (S, 2n) int64
    z: np.ndarray  # (S, 2n)
    sign: np.ndarray  # (S, 2n) of 0 and 1


def random_cliffords(rng: np.random.Generator, n: int, count: int) -> Cliffords:
    """Uniform over the Clifford group up to phases: 2^(n^2 + 2n) prod_j (4^j - 1) elements, 24 for n = 1.

    A Clifford is a symplectic basis of 2n strings, and signs. The basis is drawn pair by pair: C Z_k uniform among the
    strings that commute with all earlier pairs, the identity excepted, and C X_k among those that also anticommute with
    C Z_k. That is how Koenig and Smolin (J. Math. Phys. 55, 122202 (2014), arXiv:1406.2170) count the group; a string
    is brought to commute with a pair (v, w) by adding <u,w> v + <u,v> w, which keeps the uniform measure.
    """
    x, z = np.zeros((2, count, 2 * n), np.int64)
    for k in range(n):
        for column, partner in ((k, None), (n + k, k)):
            todo = np.arange(count)
            while len(todo):  # half of the draws fit, or all but one in 4^(n-k)
                ux, uz = rng.integers(0, 1 << n, (2, len(todo)))
                for j in range(k):
                    vx, vz, wx, wz = x[todo, j], z[todo, j], x[todo, n + j], z[todo, n + j]
                    with_w, with_v = _clash(ux, uz, wx, wz), _clash(ux, uz, vx, vz)
                    ux, uz = ux ^ with_w * vx ^ with_v * wx, uz ^ with_w * vz ^ with_v * wz
                good = (ux | uz) != 0 if partner is None else _clash(ux, uz, x[todo, partner], z[todo, partner]) == 1
                x[todo[good], column], z[todo[good], column] = ux[good], uz[good]
                todo = todo[~good]
    return Cliffords(x, z, rng.integers(0, 2, (count, 2 * n)))


def _clash(ax: np.ndarray, az: np.ndarray, bx: np.ndarray, bz: np.ndarray) -> np.ndarray:
    """1 where two strings anticommute."""
    return ((np.bitwise_count(ax & bz) + np.bitwise_count(az & bx)) & 1).astype(np.int64)


def pauli_snapshots(rng: np.random.Generator, state: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Letters (S, n), 0, 1, 2 for X, Y, Z, and outcomes (S, n), 0 for +1 and 1 for -1."""
    n = len(state).bit_length() - 1
    letters = rng.integers(0, 3, (count, n))
    outcomes = np.empty((count, n), np.int64)
    states = state[None]  # rows are made when they begin to differ
    for q in range(n):  # qubit q is measured and dropped: it is the lowest bit of what is left
        v = states.reshape(len(states), -1, 2)
        bra = _EIGENSTATES[letters[:, q]].conj()  # (S, 2 outcomes, 2)
        zero = np.einsum("sij,sj->si", np.broadcast_to(v, (count, *v.shape[1:])), bra[:, 0])
        one = np.einsum("sij,sj->si", np.broadcast_to(v, (count, *v.shape[1:])), bra[:, 1])
        p, r = (np.einsum("si,si->s", b.conj(), b).real for b in (zero, one))
        outcomes[:, q] = rng.random(count) * (p + r) >= p
        states = np.where(outcomes[:, q, None] == 0, zero, one)
    return letters, outcomes


def clifford_snapshots(rng: np.random.Generator, state: np.ndarray, count: int) -> np.ndarray:
    """The stabiliser states (S, 2^n) that were found, each from a basis of its own."""
    n = len(state).bit_length() - 1
    bases = random_cliffords(rng, n, count)
    draws = rng.random((n, count))
    states = np.tile(state, (count, 1)).astype(complex)
    _measure(states, bases.x, bases.z, draws)
    return states


def stabiliser_states(x: np.ndarray, z: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """The states (S, 2^n) of which string k, of the masks x[:, k], z[:, k] (S, n), has the eigenvalue (-1)^outcomes.

    The strings are as `reduced` gives them. Strings of Z alone say which basis states there are; one of these, projected
    on the others, is the state.
    """
    count, n = x.shape
    index = np.where((x == 0) & (outcomes == 1), z & -z, 0).sum(axis=1)  # no other string of Z has this bit
    states = np.zeros((count, 1 << n), complex)
    states[np.arange(count), index] = 1.0
    _measure(states, x, z, np.where(outcomes == 0, -1.0, 2.0).T)  # below and above all probabilities
    return states


def reduced(x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same strings (S, n) of each row for every choice of n generators of a group of 2^n strings, signs left out:
    the reduced row echelon form, strings of Z alone last, each with a lowest bit that none of the others has."""
    both, (count, n) = np.stack([x, z]), x.shape
    rank = np.zeros(count, np.int64)
    for part in (0, 1):
        for q in range(n):
            has = both[part] >> q & 1 == 1
            free = has & (np.arange(n) >= rank[:, None])
            some = np.flatnonzero(free.any(axis=1))
            pivot, to = free[some].argmax(axis=1), rank[some]
            both[:, some, pivot], both[:, some, to] = both[:, some, to], both[:, some, pivot]
            has = both[part, some] >> q & 1 == 1
            has[np.arange(len(some)), to] = False
            both[:, some] ^= has * both[:, some, to][:, :, None]
            rank[some] += 1
    return both[0], both[1]


def _measure(states: np.ndarray, xs: np.ndarray, zs: np.ndarray, draws: np.ndarray) -> None:
    """`_project` of as many states at once as the cache holds."""
    count, d = states.shape
    step = max(1, _IN_CACHE // d)
    for start in range(0, count, step):
        rows = slice(start, start + step)
        _project(states[rows], xs[rows], zs[rows], draws[:, rows])


def _project(states: np.ndarray, xs: np.ndarray, zs: np.ndarray, draws: np.ndarray) -> None:
    """Measure the strings of the first n columns one after another in the states (S, 2^n), in place."""
    count, d = states.shape
    index, first = np.arange(d), np.arange(count)[:, None] * d
    square = np.einsum("sj,sj->s", states.conj(), states).real
    for k, draw in enumerate(draws):
        x, z = xs[:, k, None], zs[:, k, None]
        turned = states.reshape(-1).take((index ^ x) + first)  # (P v)[j] = i^|x & z| (-1)^{|z & (j ^ x)|} v[j ^ x]
        turned *= 1.0 - 2.0 * (np.bitwise_count(index & z) & 1)
        phase = 1j ** (np.bitwise_count(x & z) * 3 & 3).astype(int)
        mean = (phase[:, 0] * np.einsum("sj,sj->s", states.conj(), turned)).real / square
        up = np.where(draw < (1 + mean) / 2, 1.0, -1.0)
        turned *= up[:, None] * phase
        states += turned
        square *= 2 * (1 + up * mean)
    states /= np.linalg.norm(states, axis=1, keepdims=True)


def summed_with_y(states: np.ndarray) -> np.ndarray:
    """A, complex (2^(n-1), 2^(n-1)), with sum_s <s|Y (x) Q|s> = 2 Im tr(A Q) for every Hermitian Q; Y is of the highest
    qubit. |s> = |0>|a> + |1>|b> has <s|Y (x) Q|s> = 2 Im <a|Q|b>, so that A = sum_s |b><a|."""
    half = states.shape[1] // 2
    return states[:, half:].T @ states[:, :half].conj()


def pauli_values(snapshots: tuple[np.ndarray, np.ndarray], paulis: Sequence[PauliString]) -> np.ndarray:
    """tr(P snapshot), (S, L): 3^w times the product of outcomes where all of P's letters were measured, else 0."""
    letters, outcomes = snapshots
    out = np.empty((len(letters), len(paulis)))
    for column, p in enumerate(paulis):
        q = list(p.qubits)
        wanted = [{(1, 0): 0, (1, 1): 1, (0, 1): 2}[p.x >> i & 1, p.z >> i & 1] for i in q]
        hit = np.all(letters[:, q] == wanted, axis=1)
        out[:, column] = p.sign * 3.0**p.weight * hit * (1 - 2 * (outcomes[:, q].sum(axis=1) & 1))
    return out


def clifford_values(states: np.ndarray, paulis: Sequence[PauliString]) -> np.ndarray:
    """tr(P snapshot) = (2^n + 1) <s|P|s>, (S, L), for strings that are not the identity."""
    d = states.shape[1]
    return np.stack([(d + 1) * np.round(expectation(p, states)) for p in paulis], axis=1)


def dense_pauli_values(snapshots: tuple[np.ndarray, np.ndarray], observables: np.ndarray) -> np.ndarray:
    """tr(O snapshot), (S, L), of dense observables (L, 2^n, 2^n), through the 6^n different snapshots."""
    letters, outcomes = snapshots
    n = letters.shape[1]
    code = (2 * letters + outcomes) @ 6 ** np.arange(n)
    return _all_pauli_values(n, observables)[code]


def dense_clifford_values(states: np.ndarray, observables: np.ndarray) -> np.ndarray:
    d = states.shape[1]
    trace = np.trace(observables, axis1=1, axis2=2).real
    rank_one = np.einsum("si,lij,sj->sl", states.conj(), observables, states, optimize=True).real
    return (d + 1) * rank_one - trace


def pauli_norm(pauli: PauliString, ensemble: Ensemble, n: int) -> float:
    """The squared shadow norm of a string, not the identity: 3^w, or 2^n + 1. For "clifford" it is
    (d+1)/(d+2) (tr O^2 + 2 |O|^2), O traceless, which is d + 1 where O^2 = 1, and below 3 tr(O^2)."""
    return 3.0**pauli.weight if ensemble == "pauli" else 2.0**n + 1


def dense_norms(observables: np.ndarray, ensemble: Ensemble) -> np.ndarray:
    """The squared shadow norms (L,) of traceless observables (L, 2^n, 2^n): the largest second moment over all states,
    as the largest eigenvalue of E sum_b tr(O snapshot_b)^2 |b><b|."""
    d = observables.shape[1]
    if ensemble == "clifford":
        size = np.einsum("lij,lij->l", observables.conj(), observables).real
        top = np.abs(np.linalg.eigvalsh(observables)).max(axis=1)
        return (d + 1) / (d + 2) * (size + 2 * top**2)
    n = d.bit_length() - 1
    values = _all_pauli_values(n, observables)
    vectors = _all_eigenstates(n)
    moments = [np.einsum("s,si,sj->ij", v**2, vectors, vectors.conj(), optimize=True) / 3**n for v in values.T]
    return np.array([np.linalg.eigvalsh(m)[-1] for m in moments])


def _all_eigenstates(n: int) -> np.ndarray:
    """The 6^n product states, (6^n, 2^n); digit q of the row in base 6 is 2 letter + outcome of qubit q."""
    single = _EIGENSTATES.reshape(6, 2)
    out = np.ones((1, 1), complex)
    for _ in range(n):  # a later qubit is a higher digit and a higher bit
        out = np.einsum("si,tj->tsji", out, single).reshape(6 * len(out), -1)
    return out


def _all_pauli_values(n: int, observables: np.ndarray) -> np.ndarray:
    """tr(O snapshot) for all 6^n snapshots, (6^n, L)."""
    inverse = np.array([3 * np.outer(s, s.conj()) - np.eye(2) for s in _EIGENSTATES.reshape(6, 2)])
    # tr(O (x) A_q) = sum O_{ij} (x) A_ji: one qubit after the other, the lowest bit first
    left = observables.reshape(len(observables), *[2] * (2 * n))
    letters = "abcdefghijklmnopqrstuvw"
    for q in range(n):
        rows, columns = n - q, n - q
        names = list(letters[: 1 + rows + columns + q])
        i, j = names[rows], names[rows + columns]  # the last row axis and the last column axis: the lowest qubit left
        rest = [c for c in names if c not in (i, j)]
        left = np.einsum(f"{''.join(names)},z{j}{i}->{''.join(rest)}z", left, inverse)
    # axes now: observable, then the digits of qubits 0, 1, ..., n-1
    order = [*range(n, 0, -1), 0]
    return left.transpose(order).reshape(6**n, -1).real
