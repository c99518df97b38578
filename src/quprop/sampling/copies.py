"""Copies of one pure state that a program prepares: measured in pairs, by votes or one at a time, and counted.

Bell measurements of two copies are drawn exactly with 2^n memory: the outcome (x, z), the Bell state
sum_a (-1)^{a.z} |a>|a xor x> / 2^{n/2}, has probability |sum_a (-1)^{a.z} psi(a) chi(a xor x)|^2 / 2^n, so x is drawn
as the exclusive or of a bit string of each copy, and z from one Walsh-Hadamard transform for each x that came up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtrc

from quprop.cost import Cost
from quprop.model.pauli import PauliString
from quprop.sampling.joint import diagonalise
from quprop.sampling.sampler import draw_bits, eigenvalues
from quprop.simulate.vectors import apply_clifford, drawn_states, expectation, walsh_hadamard

_DIRECT = 1 << 20  # pairs up to which two bit strings are drawn for each
_TABLE = 1 << 24  # string-outcome products from which the whole table of 4^n means is made at once
_BATCH = 1 << 20  # amplitudes transformed at once
Bell = tuple[np.ndarray, np.ndarray, np.ndarray]  # masks x, z of distinct outcomes, and how often each came


class Copies:
    """As many copies as asked of a pure state (2^n,), each costing `rotations`; `cost` is what has been used so far."""

    def __init__(self, rng: np.random.Generator, state: np.ndarray, rotations: int) -> None:
        self.rng, self.state, self.rotations = rng, state, rotations
        self.n_qubits = len(state).bit_length() - 1
        self.cost = Cost()

    def use(self, copies: int, measurements: int, held: int, classical_ops: int = 0) -> None:
        """Count: `copies` in all, `held` of them at once."""
        self.cost += spent(copies, measurements, held, self.rotations, self.n_qubits, classical_ops)

    def bell(self, pairs: int) -> Bell:
        """Bell measurements of `pairs` pairs of copies."""
        self.use(2 * pairs, pairs, 2)
        return draw_bell(self.rng, self.state, self.state, pairs)

    def bell_with(self, others: Sequence[np.ndarray], chances: np.ndarray, pairs: int) -> Bell:
        """Bell measurements of copies against a mixed state of known eigenvectors and probabilities."""
        self.use(pairs, pairs, 2)
        parts = [
            draw_bell(self.rng, self.state, other, int(count))
            for other, count in zip(others, self.rng.multinomial(pairs, chances), strict=True)
            if count
        ]
        x, z, counts = (np.concatenate(c) for c in zip(*parts, strict=True))
        return x, z, counts

    def means(self, paulis: Sequence[PauliString], shots: int) -> np.ndarray:
        """Means of commuting strings, read together from `shots` copies, one at a time."""
        self.use(shots, shots, 1)
        tableau, masks, signs = diagonalise(paulis, self.n_qubits)
        index, counts = draw_bits(self.rng, apply_clifford(tableau, self.state), shots)
        return counts @ eigenvalues(index, masks, signs) / shots

    def votes(self, paulis: Sequence[PauliString], voters: int) -> tuple[np.ndarray, np.ndarray]:
        """The coherent majority votes of `voters` copies held together, one for each string; signs ±1, and the
        probability that each had of the rarer answer.

        A vote projects on "the outcomes of P add up to 0 or more" or its complement: a binomial tail. What it does to
        the copies is bounded, not simulated, see `signs.majority`.
        """
        self.use(voters, voters, voters)
        mean = np.array([float(expectation(p, self.state)) for p in paulis])
        yes = bdtrc((voters + 1) // 2 - 1, voters, np.clip((1 + mean) / 2, 0, 1))
        return np.where(self.rng.random(len(paulis)) < yes, 1.0, -1.0), np.minimum(yes, 1 - yes)


def spent(copies: int, measurements: int, held: int, rotations: int, n_qubits: int, classical_ops: int = 0) -> Cost:
    """What it costs to prepare copies by `rotations` rotations each and hold `held` of them at once."""
    if not copies:
        return Cost()
    return Cost(
        copies=copies,
        rotations=copies * rotations,
        measurements=measurements,
        depth=rotations,
        qubits=held * n_qubits,
        classical_ops=classical_ops,
    )


def draw_bell(rng: np.random.Generator, psi: np.ndarray, chi: np.ndarray, pairs: int) -> Bell:
    """`pairs` outcomes of the Bell measurement on psi (x) chi, qubit q of the one with qubit q of the other."""
    size = len(psi)
    p, q = (abs(v) ** 2 / np.sum(abs(v) ** 2) for v in (psi, chi))
    if pairs <= _DIRECT:
        x, times = np.unique(_draw(rng, p, pairs) ^ _draw(rng, q, pairs), return_counts=True)
    else:
        chances = walsh_hadamard(walsh_hadamard(p) * walsh_hadamard(q)) / size
        chances[chances < 1e-15] = 0.0  # rounding; such an x would have no z
        times = rng.multinomial(pairs, chances / chances.sum())
        x = np.flatnonzero(times)
        times = times[x]
    xs, zs, counts = [], [], []
    step = max(1, _BATCH // size)
    for start in range(0, len(x), step):
        rows = x[start : start + step]
        amplitudes = walsh_hadamard(psi * chi[np.arange(size) ^ rows[:, None]])
        for row, u, count in zip(rows, amplitudes, times[start : start + step], strict=True):
            z, number = draw_bits(rng, u, int(count))
            zs.append(z)
            counts.append(number)
            xs.append(np.full(len(z), row))
    return np.concatenate(xs), np.concatenate(zs), np.concatenate(counts)


def squares(paulis: Sequence[PauliString], n: int, outcomes: Bell) -> np.ndarray:
    """The mean of P (x) P over Bell outcomes for every string: it estimates <psi|P|psi> <chi|P|chi>.

    The outcome (x, z) has the eigenvalue (-1)^{#Y(P) + |P.x & z| + |P.z & x|}.
    """
    x, z, counts = outcomes
    px, pz = (np.array([getattr(p, name) for p in paulis], np.int64) for name in ("x", "z"))
    odd = 1.0 - 2.0 * (np.bitwise_count(px & pz) & 1)
    total = counts.sum()
    if len(paulis) * len(x) > _TABLE and n <= 13:
        table = np.zeros((1 << n, 1 << n))
        np.add.at(table, (x, z), counts)
        table = walsh_hadamard(walsh_hadamard(table).T)  # [P.x, P.z]
        return odd * table[px, pz] / total
    out = np.empty(len(paulis))
    step = max(1, _TABLE // max(1, len(x)))
    for start in range(0, len(paulis), step):
        part = slice(start, start + step)
        parity = np.bitwise_count(px[part, None] & z) + np.bitwise_count(pz[part, None] & x) & 1
        out[part] = (1.0 - 2.0 * parity) @ counts / total
    return odd * out


def _draw(rng: np.random.Generator, p: np.ndarray, count: int) -> np.ndarray:
    return drawn_states(p, rng.random(count))


def pairs_for(K: int, eps: float, failure: float) -> int:
    """N1: K means of ±1 to (5/16) eps^2 each, all at once except with probability failure/2."""
    return math.ceil(2 * math.log(4 * max(K, 1) / failure) * (16 / 5) ** 2 / eps**4)
