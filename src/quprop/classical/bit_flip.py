"""The bit-flip model: an IQP circuit whose every gate has lost its coherence, a classical model of as many parameters.

A gate exp(i theta_g X_g), X on the subset g of n bits, becomes a coin: with probability sin^2(theta_g) all bits of g
are flipped, starting from zeros. Then

    <Z_a> = prod over g with |a . g| odd of cos(2 theta_g),

which IQP circuits have in place of a mean of cosines of sums (Recio-Armengol, Ahmed and Bowles, arXiv:2503.02934): what
a circuit does better than this model it owes to interference. Here for all strings a at once: with S_ag = 1 where the
overlap is odd,

    <Z_a> = (-1)^(S negative)_a exp(S log|cos 2 theta|)_a,   sum_a y_a d<Z_a>/d theta = -2 tan(2 theta) S^T (y <Z>).

S is never held: on gates of one and two bits it is (a l)_a and sum_i a_i (L (1 - a))_i for L symmetric, one product of
sparse strings and an n x n matrix. No double has a cosine of zero, so that logarithms and tangents are finite, and the
product of a vanishing <Z_a> and a diverging tangent is the derivative to full precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from quprop.arrays import bits, checked
from quprop.errors import QupropError, generator_of, shown, whole
from quprop.model.ansatz_iqp import all_gates
from quprop.model.x_rotations import Subsets
from quprop.simulate.commuting.strings import Moments, bandwidths, drawn_subsets

BLOCK = 1 << 22  # entries of an array that grows with samples, strings or gates
COIN = 0.1  # gates of a smaller probability are drawn where they act only


class BitFlipFit(NamedTuple):
    theta: np.ndarray  # (G,)
    losses: np.ndarray  # (steps,), the estimate of each step


@dataclass(frozen=True, eq=False)
class BitFlip:
    """Coins that flip subsets of n bits; theta (G,) stays outside, in the order of the gates.

    gates: as in ``quprop.ansatz.iqp``: a weight w for all subsets of at most w bits, by size and then in order, or the
        subsets, such as [(0,), (0, 3)].
    spin_flip: at the end all bits are flipped with probability 1/2, so that <Z_a> = 0 for odd |a|.
    """

    n: int
    gates: int | Sequence[Sequence[int]] | Subsets = 2
    spin_flip: bool = False
    _groups: dict[int, tuple[np.ndarray, np.ndarray]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        whole("n", self.n, 1)
        object.__setattr__(self, "_groups", _groups(self.n, self.gates))

    @property
    def n_params(self) -> int:
        return sum(len(places) for places, _ in self._groups.values())

    def expectations(self, theta: Any, given: Any) -> np.ndarray:
        """<Z_a>, (K,), of strings a: zeros and ones (K, n), dense or sparse."""
        return self._expectations(self._theta(theta), _strings(self.n, given))

    def vjp(self, theta: Any, given: Any, cotangent: Any) -> tuple[np.ndarray, np.ndarray]:
        """<Z_a> (K,), and sum_a cotangent_a d<Z_a>/d theta, (G,)."""
        theta, rows = self._theta(theta), _strings(self.n, given)
        values = self._expectations(theta, rows)
        return values, self._pull(theta, rows, values * checked("cotangent", cotangent, values.shape))

    def samples(self, theta: Any, shots: int, rng: int | np.random.Generator) -> np.ndarray:
        """Bits (shots, n), uint8, independent.

        A coin of small probability p is drawn as the parity of a Poisson number of flips with mean
        -log(1 - 2 p) / 2, which is odd with probability p: flips of all such gates cost what happens, not G draws.
        """
        theta, generator = self._theta(theta), generator_of(rng)
        whole("shots", shots, 1)
        p, sure = np.sin(theta) ** 2, np.cos(2 * theta) < 0
        p[sure] = np.cos(theta[sure]) ** 2  # flip, then flip back with the other probability
        rare = p < COIN
        rate = np.where(rare, -0.5 * np.log1p(-2 * np.where(rare, p, 0)), 0)
        widest = max(self._groups)
        block = int(max(1, min(shots, BLOCK // (self.n + widest * rate.sum()))))
        found = np.empty((shots, self.n), np.uint8)
        for first in range(0, shots, block):
            count = min(block, shots - first)
            state = np.zeros((self.n, count), np.uint8)
            for places, subsets in self._groups.values():
                for subset in subsets[sure[places]]:
                    state[subset] ^= 1
                for subset, one in zip(subsets[~rare[places]], p[places][~rare[places]], strict=True):
                    state[subset] ^= (generator.random(count) < one).view(np.uint8)
                events = subsets[np.repeat(np.arange(len(places)), generator.poisson(count * rate[places]))]
                flips = events * count + generator.integers(count, size=len(events))[:, None]
                state ^= (np.bincount(flips.ravel(), minlength=state.size).reshape(state.shape) & 1).astype(np.uint8)
            if self.spin_flip:
                state ^= generator.integers(2, size=count, dtype=np.uint8)
            found[first : first + count] = state.T
        return found

    def start(self, data: Any, scale: float = 0.01) -> np.ndarray:
        """theta (G,) of independent bits with the means of data (m, n), and for gates of more bits `scale` times
        <Z_g> - prod_(i in g) <Z_i> of data: at theta_g = 0 they would have no slope."""
        found = Moments(bits("data", data, ("samples", self.n)))
        single = found.of(all_gates(self.n, 1))
        theta = np.empty(self.n_params)
        for weight, (places, subsets) in self._groups.items():
            if weight == 1:
                edge = 1 - 1 / found.count
                theta[places] = np.arccos(np.clip(single[subsets[:, 0]], -edge, edge)) / 2
            else:
                theta[places] = scale * (found.of(_subsets(subsets)) - single[subsets].prod(axis=1))
        return theta

    def fit(
        self,
        data: Any,
        sigma: Any,
        *,
        steps: int,
        optimiser: Any,
        rng: int | np.random.Generator,
        operators: int = 1000,
        theta: Any = None,
    ) -> BitFlipFit:
        """Descend an unbiased estimate of MMD^2 (its mean over several sigmas), with new strings at each step:

            mean_a <Z_a>^2 - 2 <Z_a> t_a + (m t_a^2 - 1) / (m - 1),   t_a the mean of Z_a over the m rows of data.

        data: bits (m, n), m >= 2. operators: strings of each sigma. optimiser: a pair (init, update), such as
        ``quprop.training.optimise.adam(1e-3)``. theta: where to start; None: ``start(data)``.
        """
        generator, widths = generator_of(rng), bandwidths(sigma)
        for name, number in (("steps", steps), ("operators", operators)):
            whole(name, number, 1)
        data = bits("data", data, ("samples", self.n))
        if len(data) < 2:
            raise QupropError("an unbiased estimate needs at least two samples of data, got one")
        held, m = Moments(data), len(data)
        theta = self.start(data) if theta is None else self._theta(theta).copy()
        state, losses = optimiser.init(theta), np.empty(steps)
        for step in range(steps):
            drawn = [drawn_subsets(self.n, s, operators, generator) for s in widths]
            rows = sp.csr_array(sp.vstack([_sparse(subsets, self.n) for subsets in drawn]))
            values, target = self._expectations(theta, rows), np.concatenate([held.of(subsets) for subsets in drawn])
            losses[step] = np.mean(values**2 - 2 * values * target + (m * target**2 - 1) / (m - 1))
            slope = self._pull(theta, rows, 2 * (values - target) * values / len(values))
            updates, state = optimiser.update(slope, state, theta)
            theta = theta + np.asarray(updates)
        return BitFlipFit(theta, losses)

    # -- S and its transpose ------------------------------------------------------------------------------------------

    def _theta(self, theta: Any) -> np.ndarray:
        return checked("theta", theta, (self.n_params,))

    def _expectations(self, theta: np.ndarray, rows: sp.csr_array) -> np.ndarray:
        cosine = np.cos(2 * theta)
        values = np.exp(self._odd_sums(np.log(np.abs(cosine)), rows))
        if (cosine < 0).any():
            values *= 1 - 2 * (self._odd_sums((cosine < 0).astype(float), rows) % 2)
        return values * self._even(rows)

    def _even(self, rows: sp.csr_array) -> Any:
        return 1 - np.diff(rows.indptr) % 2 if self.spin_flip else 1

    def _odd_sums(self, values: np.ndarray, rows: sp.csr_array) -> np.ndarray:
        """S values, (K,)."""
        total = np.zeros(rows.shape[0])
        for weight, (places, subsets) in self._groups.items():
            if weight == 1:
                total += rows[:, subsets[:, 0]] @ values[places]
            elif weight == 2:
                flat = subsets @ [self.n, 1]
                matrix = np.bincount(flat, values[places], minlength=self.n**2).reshape(self.n, self.n)
                matrix += matrix.T  # each pair stands on one side only
                for part in self._blocks(rows, self.n):
                    outside = 1 - rows[part].toarray()
                    total[part] += np.einsum("ki,ki->k", rows[part] @ matrix, outside)
            else:
                for part in self._blocks(rows, len(places)):
                    total[part] += _odd(rows[part], subsets) @ values[places]
        return total

    def _pull(self, theta: np.ndarray, rows: sp.csr_array, weights: np.ndarray) -> np.ndarray:
        """-2 tan(2 theta) S^T weights, (G,)."""
        found = np.zeros(self.n_params)
        for weight, (places, subsets) in self._groups.items():
            if weight == 1:
                found[places] = (weights @ rows)[subsets[:, 0]]
            elif weight == 2:
                # inside times outside, not v_i + v_j - 2 M_ij: even overlaps must not leave a rounding for the tangent
                matrix = np.zeros((self.n, self.n))
                for part in self._blocks(rows, self.n):
                    outside = 1 - rows[part].toarray()
                    matrix += rows[part].T @ (weights[part, None] * outside)
                found[places] = matrix[subsets[:, 0], subsets[:, 1]] + matrix[subsets[:, 1], subsets[:, 0]]
            else:
                for part in self._blocks(rows, len(places)):
                    found[places] += weights[part] @ _odd(rows[part], subsets)
        return -2 * np.tan(2 * theta) * found

    def _blocks(self, rows: sp.csr_array, width: int) -> Iterator[slice]:
        step = max(1, BLOCK // width)
        return (slice(k, min(k + step, rows.shape[0])) for k in range(0, rows.shape[0], step))


def _strings(n: int, given: Any) -> sp.csr_array:
    """What a caller passes as strings on n bits, checked: (K, n) of zeros and ones, dense or sparse."""
    if sp.issparse(given):
        found = sp.csr_array(given, dtype=float)
        found.sum_duplicates()
        found.eliminate_zeros()
        if found.shape[1:] != (n,) or not (found.data == 1).all():
            raise QupropError(f"strings must be zeros and ones of shape (K, {n}), got {found.shape} or other numbers")
        return found
    return sp.csr_array(bits("strings", given, ("K", n)).astype(float))


def _sparse(subsets: Subsets, n: int) -> sp.csr_array:
    return sp.csr_array((np.ones(len(subsets.qubits)), subsets.qubits, subsets.ptr), (len(subsets), n))


def _subsets(table: np.ndarray) -> Subsets:
    """Rows (G, w) of different bits, in order."""
    return Subsets(np.arange(len(table) + 1, dtype=np.int64) * table.shape[1], table.astype(np.int32).ravel())


def _odd(rows: sp.csr_array, subsets: np.ndarray) -> np.ndarray:
    """S for these gates, (K, G) of zeros and ones."""
    dense = rows.toarray().astype(np.uint8)
    return np.bitwise_xor.reduce([dense[:, column] for column in subsets.T]).astype(float)


def _groups(n: int, gates: int | Sequence[Sequence[int]] | Subsets) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """By the number of bits: places of the gates among the parameters, (G_w,), and their bits, (G_w, w)."""
    if isinstance(gates, Subsets):
        subsets = gates
    elif isinstance(gates, Iterable):
        subsets = Subsets.of(list(gates), n, "gates")
    else:
        subsets = all_gates(n, whole("gates", gates, 1))
    if not len(subsets) or not subsets.sizes.all() or subsets.qubits.max() >= n:
        raise QupropError(f"gates flip at least one of the bits 0 to {n - 1} each, got {shown(gates)}")
    weights = np.unique(subsets.sizes).tolist()
    places = {weight: np.flatnonzero(subsets.sizes == weight) for weight in weights}
    return {w: (at, subsets.take(at).qubits.reshape(len(at), w).astype(np.intp)) for w, at in places.items()}
