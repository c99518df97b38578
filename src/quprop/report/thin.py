"""Which points of a long curve to draw: no extreme is lost, and those drawn are the curve's own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

MOST_POINTS = 2000  # of one curve; a screen has no more columns


def thin(y: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Indices (k,), increasing, k <= most, of the points of `y` (n,) to draw: all if they are few; otherwise the first,
    the last, and of each of equally long buckets the smallest and the largest. NaN are left out of buckets that have
    anything else. (The aggregation M4 of Jugel et al., VLDB 7, 797 (2014), by index.)"""
    n = len(y)
    if n <= most:
        return np.arange(n)
    edges = np.linspace(0, n, (most - 2) // 2 + 1).astype(int)
    low, high = np.where(np.isnan(y), np.inf, y), np.where(np.isnan(y), -np.inf, y)
    kept = [0, n - 1]
    for start, end in pairwise(edges):
        kept += [start + int(np.argmin(low[start:end])), start + int(np.argmax(high[start:end]))]
    return np.unique(kept)
