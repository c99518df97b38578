"""Measurements that look for a hidden Pauli string, simulated exactly, and their likelihood ratios.

A learner is given copies of 1 / 2^n (null) or of rho_{P,s} = (1 + s a P) / 2^n, 0 < a < 1, with P one of the 4^n - 1
strings other than 1 and s = +-1, drawn uniformly and unknown. In Pauli strings both states are short, so outcomes of
all measurements here have explicit distributions:

* a stabiliser basis, the joint eigenbasis of a group of 2^n commuting strings: if P is in the group with eigenvalue e,
  an outcome has probability (1 + s a e) / 2^n, else 2^-n. A group drawn uniformly holds P with probability
  (2^n - 1) / (4^n - 1) = 1 / (2^n + 1).
* the Bell basis of two copies, |B_Q> = (Q x 1)|Phi>, is an eigenbasis of every P x P, with the eigenvalue
  e(P, Q) = (-1)^{#Y(P) + <P, Q>} (as (1 x P)|Phi> = (P^T x 1)|Phi>), while P x 1 and 1 x P have mean 0 in it. So
  rho x rho = (1 + s a P x 1 + s a 1 x P + a^2 P x P) / 4^n gives Q with probability (1 + a^2 e(P, Q)) / 4^n.

The best test of the null against the mixture is its likelihood ratio (Neyman and Pearson), the mean over P and s of

    prod over copies of (1 + s a e_i(P)),     the product over copies whose outcome tells P,
    = (1 - a^2)^{m/2} exp(s T artanh a),      m such copies, T = sum of their e_i(P).

All T come at once from the counts of outcomes by Walsh-Hadamard transforms, so nothing is lost to a cheaper statistic:
what is measured is the cost of the measurement itself. Each function below draws one set of outcomes, from the
alternative if ``tilted``, and returns the logarithm of that ratio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from quprop.simulate.vectors import walsh_hadamard

Ratio = Callable[[int, float, int, bool, np.random.Generator], float]


def mub(n: int, a: float, copies: int, tilted: bool, rng: np.random.Generator) -> float:
    """Single copies, in turn in each of 2^n + 1 mutually unbiased stabiliser bases.

    These share out all strings, 2^n - 1 to a basis (Lawrence, Brukner and Zeilinger, quant-ph/0104012), so every string
    is told by an equal number of copies: the most even use of copies, and a lower variance than bases at random. Which
    basis holds P, and as which combination q of its generators, is uniform; eigenvalues are (-1)^{q . outcome}, up to a
    sign that is the same for all copies and which the mean over s takes out.
    """
    d = 1 << n
    each, extra = divmod(copies, d + 1)
    sizes = np.full(d + 1, each)
    sizes[:extra] += 1
    basis = np.repeat(np.arange(d + 1), sizes)
    outcome = rng.integers(d, size=copies)
    if tilted:
        row, q = int(rng.integers(d + 1)), int(rng.integers(1, d))
        mine = basis == row
        outcome[mine] = _tilt(outcome[mine], q, rng.choice([-a, a]), rng)
    counts = np.bincount(outcome * (d + 1) + basis, minlength=d * (d + 1)).reshape(d, d + 1)
    sums = walsh_hadamard(counts.astype(_small(copies)), 0)[1:]  # (q, basis), the identity left out
    parts = [_log_total(sums[:, sizes == m], int(m), a, signed=False) for m in np.unique(sizes)]
    return float(logsumexp(parts)) - np.log(4.0**n - 1)


def clifford(n: int, a: float, copies: int, tilted: bool, rng: np.random.Generator) -> float:
    """Single copies, each in its own random stabiliser basis: the data of classical shadows with random Cliffords
    (Huang, Kueng and Preskill, arXiv:2002.08953)."""
    p, s = int(rng.integers(1, 4**n)), rng.choice([-1, 1])
    total, told = np.zeros(4**n, np.int64), np.zeros(4**n, np.int64)
    step = max(1, (1 << 20) >> n)
    for first in range(0, copies, step):
        groups = random_groups(n, min(step, copies - first), rng)
        e = measure(groups, p, s * a if tilted else 0.0, rng)
        flat = groups.codes.ravel()
        told += np.bincount(flat, minlength=4**n)
        total += np.bincount(flat, e.ravel(), 4**n).astype(np.int64)
    parts = [_log_total(total[1:][told[1:] == m], int(m), a, signed=False) for m in np.unique(told[1:])]
    return float(logsumexp(parts)) - np.log(4.0**n - 1)


def pauli(n: int, a: float, copies: int, tilted: bool, rng: np.random.Generator) -> float:
    """Single copies, each qubit in a random one of the bases of X, Y and Z: the data of classical shadows with local
    measurements. A string on w qubits is told by 3^-w of the copies, so this is worse than 2^-n for most strings."""
    letters = rng.integers(3, size=(copies, n))  # X, Y, Z
    bits = rng.integers(2, size=(copies, n))
    if tilted:
        p = 0
        while p == 0:
            hidden = rng.integers(4, size=n)  # 1, X, Y, Z
            p = int(hidden.any())
        support = np.flatnonzero(hidden)
        mine = (letters[:, support] == hidden[support] - 1).all(axis=1)
        odd = rng.random(mine.sum()) > (1 + rng.choice([-a, a])) / 2
        bits[mine, support[0]] ^= (bits[mine][:, support].sum(axis=1) & 1) ^ odd
    sums = np.zeros((6,) * n, np.int32)
    np.add.at(sums, tuple((2 * letters + bits).T), 1)
    told = sums
    for _ in range(n):  # the first axis is transformed and becomes the last
        c, m = sums, told
        sums = np.stack([c.sum(axis=0), c[0] - c[1], c[2] - c[3], c[4] - c[5]], axis=-1)
        told = np.stack([m.sum(axis=0), m[0] + m[1], m[2] + m[3], m[4] + m[5]], axis=-1)
    sums, told = sums.ravel()[1:], told.ravel()[1:]
    order = np.argsort(told, kind="stable")
    sizes, starts = np.unique(told[order], return_index=True)
    groups = np.split(sums[order], starts[1:])
    parts = [_log_total(group, int(m), a, signed=False) for m, group in zip(sizes, groups, strict=True)]
    return float(logsumexp(parts)) - np.log(4.0**n - 1)


def bell(n: int, a: float, copies: int, tilted: bool, rng: np.random.Generator) -> float:
    """Pairs of copies in the Bell basis (an odd copy is left over); the sign s does not matter."""
    pairs, d = copies // 2, 1 << n
    label = rng.integers(d * d, size=pairs)  # Q as x | z << n
    if tilted:
        p = int(rng.integers(1, d * d))
        swapped, y = p >> n | (p & (d - 1)) << n, (p >> n & p).bit_count() & 1
        label = _tilt(label, swapped, -(a**2) if y else a**2, rng)  # <P, Q> = parity(swapped P & Q)
    counts: np.ndarray = np.bincount(label, minlength=d * d).reshape(d, d).astype(_small(pairs))
    sums = walsh_hadamard(walsh_hadamard(counts, 0), 1)  # (x, z) of P, as <P, Q> pairs x with z
    mask = np.arange(d)
    for row in range(d):  # times (-1)^{#Y(P)}
        np.negative(sums[row], out=sums[row], where=(np.bitwise_count(mask & row) & 1).astype(bool))
    return _log_total(sums.ravel()[1:], pairs, a**2, signed=True) - float(np.log(4.0**n - 1))  # the identity left out


STRATEGIES: dict[str, Ratio] = {"mub": mub, "clifford": clifford, "pauli": pauli, "bell": bell}


# -- distributions and draws ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """Stabiliser groups: element c (bit k for generator k) of group i is (-1)^{minus} times the string codes[i, c]."""

    codes: np.ndarray  # (count, 2^n), x | z << n
    minus: np.ndarray  # (count, 2^n) of 0 and 1


def random_groups(n: int, count: int, rng: np.random.Generator) -> Groups:
    """Maximal commuting groups, uniformly: the images of the first n vectors of a random symplectic basis.

    v_k is drawn from the vectors that commute with all pairs (v_j, w_j), j < k, and w_k from those of them that do not
    commute with v_k: symplectic Gram-Schmidt, for all groups at once. Products get their signs from their order: with
    Hermitian strings i^{|x & z|} X^x Z^z, A B = +-C for commuting A and B.
    """
    low = (1 << n) - 1
    pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def draw(partner: np.ndarray | None) -> np.ndarray:
        out, open_ = np.zeros(count, np.int64), np.arange(count)
        while len(open_):
            u = rng.integers(1 << 2 * n, size=len(open_))
            for v, w in pairs:
                u = u ^ np.where(_clash(u, w[open_], n), v[open_], 0) ^ np.where(_clash(u, v[open_], n), w[open_], 0)
            good = u != 0 if partner is None else _clash(u, partner[open_], n)
            out[open_[good]] = u[good]
            open_ = open_[~good]
        return out

    for _ in range(n):
        v = draw(None)
        pairs.append((v, draw(v)))
    codes, minus = np.zeros((count, 1), np.int64), np.zeros((count, 1), np.int64)
    for v, _ in pairs:
        g = v[:, None]
        product = codes ^ g
        size = lambda c: np.bitwise_count(c & low & (c >> n)).astype(np.int64)  # noqa: E731  # |x & z|
        phase = size(codes) + size(g) + 2 * np.bitwise_count((codes >> n) & g & low).astype(np.int64) - size(product)
        codes = np.concatenate([codes, product], axis=1)
        minus = np.concatenate([minus, minus ^ (phase >> 1 & 1)], axis=1)
    return Groups(codes, minus)


def measure(groups: Groups, p: int, bias: float, rng: np.random.Generator) -> np.ndarray:
    """One copy of (1 + bias P) / 2^n measured in each group's basis: the eigenvalue +-1 of every string, (count, 2^n).

    The generators' results are bits b, and element c has (-1)^{b . c + minus}. With P in the group, b is first uniform;
    then one generator of P's combination is turned, where needed, so that P has the eigenvalue it should.
    """
    count, d = groups.codes.shape
    b = np.asarray(rng.integers(d, size=count))
    if bias:
        row, c = np.nonzero(groups.codes == p)
        wanted = rng.random(len(row)) > (1 + bias) / 2  # True: eigenvalue -1
        found = (np.bitwise_count(b[row] & c) & 1) ^ groups.minus[row, c]
        b[row] ^= np.where(found != wanted, c & -c, 0)
    return 1 - 2 * ((np.bitwise_count(b[:, None] & np.arange(d)) & 1) ^ groups.minus)


def _tilt(values: np.ndarray, mask: int, bias: float, rng: np.random.Generator) -> np.ndarray:
    """Uniform masks turned into ones with mean of (-1)^{|mask & value|} equal to bias, else uniform."""
    wanted = rng.random(len(values)) > (1 + bias) / 2
    return values ^ np.where((np.bitwise_count(values & mask) & 1) != wanted, int(mask) & -int(mask), 0)


def _clash(u: np.ndarray, v: np.ndarray, n: int) -> np.ndarray:
    """Whether strings anticommute."""
    low = (1 << n) - 1
    return ((np.bitwise_count(u & low & (v >> n)) + np.bitwise_count((u >> n) & v & low)) & 1).astype(bool)


def _log_total(sums: np.ndarray, m: int, a: float, *, signed: bool) -> float:
    """log of the sum over all T in ``sums`` of (1 - a^2)^{m/2} exp(T artanh a), or with cosh for unknown sign."""
    if not sums.size:
        return -np.inf
    tally = np.zeros(2 * m + 1, np.int64)
    flat = sums.ravel()
    for first in range(0, len(flat), 1 << 20):  # bincount makes wide integers: some at a time
        tally += np.bincount(flat[first : first + (1 << 20)].astype(np.int64) + m, minlength=2 * m + 1)
    t = np.flatnonzero(tally)
    exponent = (t - m) * np.arctanh(a)
    weight = exponent if signed else np.logaddexp(exponent, -exponent) - np.log(2)
    return float(logsumexp(weight, b=tally[t])) + m / 2 * float(np.log1p(-a * a))


def _small(most: int) -> type:
    return np.int16 if most < 1 << 15 else np.int32
