"""The one place where tolerances are made: machine epsilon times a stated factor."""

import numpy as np


def tolerance(factor: float, dtype=np.float64) -> float:
    """`factor` counts roundings: about the number of rotations, times what one result sums over."""
    return factor * float(np.finfo(dtype).eps)


def assert_close(actual, expected, factor: float, dtype=np.float64) -> None:
    """Absolute agreement within tolerance(factor) times the largest expected entry (at least 1)."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shapes differ: {actual.shape} and {expected.shape}"
    if expected.size:
        error = np.max(np.abs(actual - expected))
        limit = tolerance(factor, dtype) * max(1.0, float(np.max(np.abs(expected))))
        assert error <= limit, f"largest error {error:.3g} exceeds {limit:.3g}"
