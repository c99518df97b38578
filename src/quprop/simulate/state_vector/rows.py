"""Arrays as the kernels take them: a row a sample, or one row for all, and powers of two taken out of rows."""

from __future__ import annotations

import numpy as np

from quprop.errors import QupropError

KEEP_BYTES = 256 << 20  # final states kept between a forward call and its pullback; more is computed again


def check_rows(name: str, rows: np.ndarray, size: int, batch: int) -> None:
    """Kernels read as many numbers as there should be: whoever calls an engine, no other number of them gets there."""
    shape = getattr(rows, "shape", None)
    if shape != (batch, size) and shape != (1, size):
        raise QupropError(
            f"an engine takes {name} as an array of shape (1, {size}) or ({batch}, {size}), got {shape}; "
            "quprop.expectation and its like make such arrays"
        )


def paired(a: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the same number of rows, contiguous."""
    rows = max(len(a), len(v))
    return tuple(np.ascontiguousarray(np.broadcast_to(m, (rows, m.shape[1]))) for m in (a, v))  # type: ignore[return-value]


def ldexp(array: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # results are checked where they are handed out
        return np.ldexp(array, exponents)


def peak(rows: np.ndarray) -> np.ndarray:
    """The largest size in each row, (rows, 1)."""
    return np.abs(rows).max(axis=-1, keepdims=True, initial=0.0)


def shift(sizes: np.ndarray, low: float, high: float) -> np.ndarray | None:
    """Powers of two (rows, 1) to take out of rows of these sizes; None if no size is outside [low, high]."""
    ordinary = ((sizes >= low) & (sizes <= high)) | (sizes == 0) | ~np.isfinite(sizes)
    return None if ordinary.all() else np.where(ordinary, 0, np.frexp(sizes)[1] - 1)


def as_real(states: np.ndarray) -> np.ndarray:
    states = np.ascontiguousarray(states, complex)
    return states.view(float).reshape(*states.shape, 2)


def as_complex(pairs: np.ndarray) -> np.ndarray:
    return pairs.view(complex)[..., 0]
