"""How wrong a truncated propagation can be: from its ledger to bounds of the value and of every derivative.

Stage k of a propagation applies rotation k and then drops D_k. With what was kept held fixed, f - f~ is the sum over k
of h_k(a) = <D_k taken on through the rotations k-1, ..., 0>, as an identity in the angles. |h_k| <= B_k = sum |D_k(Q)|.
Rotation m < k comes later, so h_k is a trigonometric polynomial of degree one in a_m, and its derivative is at most B_k
(Bernstein). For m >= k, already applied, it is at most T_k, the sum of the dropped t(Q) >= max_m |dO(Q)/da_m|. Hence

    |f - f~| <= sum_k B_k,      |df/da_m - df~/da_m| <= sum_{k > m} B_k + sum_{k <= m} T_k.

(t goes along as |c| t(Q) + |s| t(R), or the new derivative if that is larger, and never above sqrt(sum O(Q)^2).)

A second bound of the derivative goes backwards with w(Q), the most that a unit coefficient of Q is wrong by at the
end: sum_{k > m} B_k + sum over Q of |dO_m(Q)/da_m| w(Q), where dO_m/da_m is what rotation m makes. The lesser counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quprop.model.angle_table import AngleTable

_EPS = float(np.finfo(float).eps)
_TASK = 32_000  # numbers that are added one after the other, at most
_BLOCK = 256  # of the sums over all terms


class Bounds(NamedTuple):
    """Of the errors of values (B,) and of derivatives by the angles (B, M)."""

    value: np.ndarray
    angles: np.ndarray


def bounds(ledger: np.ndarray, posterior: np.ndarray | None, norm: np.ndarray, peak: int) -> Bounds:
    """From ledgers (B, M, 4) by rotation: dropped |O| and t, rotated |O| and t; norm (B,): sums of |coefficients|."""
    b, t, rotated, moved = np.moveaxis(ledger, -1, 0)
    later = np.flip(np.cumsum(np.flip(b, 1), axis=1), 1) - b  # sum over k > m
    angles = later + np.cumsum(t, axis=1)
    if posterior is not None:
        angles = np.minimum(angles, later + posterior)
    o, d = rotated.sum(axis=1), moved.sum(axis=1)
    length = norm + o  # no rotation adds more to the sum of |O| than it rotates
    value = b.sum(axis=1) + _EPS * (8 * o + (_BLOCK + peak / _BLOCK) * length)
    rounding = _EPS * (8 * (o + d)[:, None] + min(_TASK, peak) * rotated + _BLOCK * length[:, None])
    return Bounds(value, angles + rounding)


def pulled_back(
    table: AngleTable, angles: np.ndarray, theta: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds (B, P) and (B, D) of derivatives by theta and x from those by the angles: sum |da_m/dtheta_p| bound_m."""
    groups = tuple(g._replace(coef=np.abs(g.coef)) for g in table.groups)
    return table._replace(groups=groups).pullback(angles, np.abs(theta), np.abs(x))
