"""Whether samples of a model are like the data: MMD^2 between sample sets, and the modes that a model leaves out.

The kernel is k(x, y) = exp(-|x - y|^2 / (2 sigma^2)) on bits, or its mean over several sigmas. |x - y|^2 is a whole
number from 0 to n, so that kernels are read from a table, and a block of them costs one product of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linprog

from quprop.arrays import bits, checked
from quprop.errors import QupropError
from quprop.simulate.commuting.strings import bandwidths
from quprop.training.mmd import MMDEstimate

ROWS = 1024  # of a block of kernel values, which is as wide
NEWTON_STEPS = 200
GRADIENT = 1e-9  # largest error of a moment, in its standard deviations


def mmd2(samples_a: Any, samples_b: Any, sigma: Any) -> MMDEstimate:
    """Unbiased MMD^2 of two sets of bits (m, n) and (m', n) by all pairs of different samples, and its error:

        mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_ij k(a_i, b_j)

    (Gretton et al., JMLR 13, 723 (2012), lemma 6). sigma: a bandwidth, or several whose kernels are averaged.

    The standard error estimates both orders of the variance of this U-statistic. With h(a_i) = mean_j k(a_i, a_j) -
    mean_j k(a_i, b_j) and v_aa the variance of k(a, a') that is left without its two means over one sample each, it is

        4 var(h(a)) / m + 4 var(h(b)) / m' - 2 v_aa / m^2 - 2 v_bb / m'^2 - 4 v_ab / (m m'):

    the first order alone, as it is found in samples, counts the second one twice; the latter is all there is where the
    laws are equal. Time m^2 n, memory one block.
    """
    a, b, table = _read(samples_a, samples_b, sigma)
    for name, samples in (("samples_a", a), ("samples_b", b)):
        if len(samples) < 2:
            raise QupropError(f"{name} must hold at least two samples for an unbiased estimate, got one")
    m_a, m_b = len(a), len(b)
    aa, ab, bb = _sums(a, a, table), _sums(a, b, table), _sums(b, b, table)
    mean_aa, mean_bb = (aa.rows - table[0]) / (m_a - 1), (bb.rows - table[0]) / (m_b - 1)
    mean_ab, mean_ba = ab.rows / m_b, ab.columns / m_a
    value = mean_aa.mean() + mean_bb.mean() - 2 * mean_ab.mean()
    left_aa = _left((aa.squares - m_a * table[0] ** 2) / (m_a * (m_a - 1)), mean_aa, mean_aa)
    left_bb = _left((bb.squares - m_b * table[0] ** 2) / (m_b * (m_b - 1)), mean_bb, mean_bb)
    left_ab = _left(ab.squares / (m_a * m_b), mean_ab, mean_ba)
    second = 2 * left_aa / m_a**2 + 2 * left_bb / m_b**2 + 4 * left_ab / (m_a * m_b)
    first = 4 * (mean_aa - mean_ab).var(ddof=1) / m_a + 4 * (mean_bb - mean_ba).var(ddof=1) / m_b
    return MMDEstimate(float(value), math.sqrt(max(first - second, second)))


def kernel_means(samples: Any, witnesses: Any, sigma: Any) -> np.ndarray:
    """Mean over samples (m, n) of the kernel with each witness (J, n): (J,)."""
    a, t, table = _read(samples, witnesses, sigma, ("samples", "witnesses"))
    return _sums(a, t, table).columns / len(a)


@dataclass(frozen=True, eq=False)
class KGEL:
    """KL(pi | uniform) in nats, and pi, (m,), of the test points."""

    divergence: float
    weights: np.ndarray


def kgel(test: Any, witnesses: Any, model_means: Any, sigma: Any) -> KGEL:
    """Kernel generalised empirical likelihood: the least change of weights that makes test data look like the model.

        min over pi of KL(pi | uniform) = sum_i pi_i log(m pi_i),   sum_i pi_i = 1,
        sum_i pi_i k(x_i, t_j) = E_model k(y, t_j)   for all witnesses t_j

    Zero for a model that has the data's means; test points of a mode that the model leaves out get little weight.

    test: x (m, n); witnesses: t (J, n), data that were not trained on; model_means: (J,), by :func:`kernel_means` of
    the model's samples, or exact. Solved by Newton's method on the convex dual, log mean_i exp(sum_j l_j (k(x_i, t_j) -
    c_j)) at its least: pi is proportional to the exponentials, and the divergence is minus the minimum. Refused where
    no weights exist, as the divergence is then infinite.

    Reference: Ravuri, Rey, Mohamed and Deisenroth, CVPR 2023, arXiv:2306.09780, equation 6 (exponential tilting).
    """
    x, t, table = _read(test, witnesses, sigma, ("test", "witnesses"))
    means = checked("model_means", model_means, (len(t),))
    kernels = np.concatenate([table[distances] for _, distances in _distances(x, t)], axis=0)
    scale = kernels.std(axis=0)
    flat = scale <= 1e-12 * np.abs(kernels).max(axis=0)  # a witness as far from all test points cannot weigh them
    if (np.abs(kernels.mean(axis=0) - means)[flat] > 1e-9 * np.abs(means)[flat]).any():
        raise QupropError(_INFEASIBLE)
    moments = (kernels - means)[:, ~flat] / scale[~flat]
    weights = _tilt(moments)
    positive = weights[weights > 0]
    return KGEL(float(positive @ np.log(len(x) * positive)), weights)


_INFEASIBLE = (
    "no weights of the test points have the model's mean kernel values: the model puts mass where no test point is, "
    "and the divergence is infinite; take more test points, fewer witnesses or a larger sigma"
)


def _tilt(moments: np.ndarray) -> np.ndarray:
    """pi, (m,), of the least log-mean-exp of moments (m, J) times a vector."""
    vector = np.zeros(moments.shape[1])

    def evaluate(at: np.ndarray) -> tuple[float, np.ndarray]:
        exponents = moments @ at
        top = exponents.max()
        weights = np.exp(exponents - top)
        return top + math.log(weights.mean()), weights / weights.sum()

    value, weights = evaluate(vector)
    for _ in range(NEWTON_STEPS):
        slope = weights @ moments
        if np.max(np.abs(slope), initial=0.0) < GRADIENT:
            return weights
        curvature = (weights[:, None] * moments).T @ moments - np.outer(slope, slope)
        step = -np.linalg.lstsq(curvature, slope, rcond=1e-13)[0]
        length, fall = 1.0, float(slope @ step)
        while length > 1e-10:
            trial = evaluate(vector + length * step)
            if trial[0] <= value + 1e-4 * length * fall + 1e-14 * (1 + abs(value)):  # near the least, roundings
                break
            length /= 2
        else:
            break
        vector, (value, weights) = vector + length * step, trial
    count = len(moments)
    feasible = linprog(
        np.zeros(count), A_eq=np.vstack([moments.T, np.ones(count)]), b_eq=[0.0] * len(moments.T) + [1.0]
    )
    if feasible.status == 2:
        raise QupropError(_INFEASIBLE)
    raise QupropError(
        "the weights of the test points were not found: the model's mean kernel values lie at the edge of what weights "
        "can reach; take more test points, fewer witnesses or a larger sigma"
    )


# -- kernels in blocks ------------------------------------------------------------------------------------------------


class _Sums(NamedTuple):
    rows: np.ndarray  # sum_j k(x_i, y_j)
    columns: np.ndarray  # sum_i k(x_i, y_j)
    squares: float  # sum_ij k^2


def _read(
    a: Any, b: Any, sigma: Any, names: tuple[str, str] = ("samples_a", "samples_b")
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both sets, and the kernel by |x - y|^2 = 0 ... n."""
    first = bits(names[0], a)
    second = bits(names[1], b, ("samples", first.shape[1]))
    squares = np.arange(first.shape[1] + 1)
    return first, second, np.mean([np.exp(-squares / (2 * s * s)) for s in bandwidths(sigma)], axis=0)


def _distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows of |x_i - y_j|^2. Products of bits are exact in single precision up to n = 2^24."""
    other, other_ones = y.astype(np.float32).T, y.sum(axis=1, dtype=np.int64).astype(np.float32)
    for first in range(0, len(x), ROWS):
        rows = slice(first, min(first + ROWS, len(x)))
        part = x[rows].astype(np.float32)
        products = part @ other
        products *= -2
        products += other_ones
        products += part.sum(axis=1)[:, None]
        yield rows, products.astype(np.intp)


def _sums(x: np.ndarray, y: np.ndarray, table: np.ndarray) -> _Sums:
    """Sums over all pairs. Of one set with itself, each pair of blocks once."""
    rows, columns, squares = np.zeros(len(x)), np.zeros(len(y)), 0.0
    for first in range(0, len(y), ROWS):
        right = slice(first, min(first + ROWS, len(y)))
        upto = min(right.stop, len(x)) if x is y else len(x)
        for left, distances in _distances(x[:upto], y[right]):
            kernels = table[distances]
            mirrored = x is y and left != right
            rows[left] += kernels.sum(axis=1)
            columns[right] += kernels.sum(axis=0)
            if mirrored:
                rows[right] += kernels.sum(axis=0)
            squares += (2 if mirrored else 1) * float(np.vdot(kernels, kernels))
    return _Sums(rows, rows if x is y else columns, squares)


def _left(square: float, rows: np.ndarray, columns: np.ndarray) -> float:
    """Variance of a kernel without its means over one argument each."""
    return max(0.0, float(square - np.mean(rows**2) - np.mean(columns**2) + np.mean(rows) ** 2))
