"""Pauli strings on a stack of state vectors: array (2^n, k), one vector a column, changed in place block by block.

(P v)[j] = i^phase (-1)^{|z & (j ^ x)|} v[j ^ x]. Rows are cut into blocks of B = 2^b rows; the high bits of x tell
which two blocks meet and the low bits how rows are permuted inside, so that one table of B signs serves all blocks and
the temporaries stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.model.pauli import PauliString

COMBINE_OPS = 4  # real multiply-adds an amplitude: a v is two, b P v two more (P's phase is a sign or i)
INNER_OPS = 2  # of Re(conj(u) v)
BLOCK_BYTES = 1 << 18
DTYPES = {"double": np.complex128, "single": np.complex64}


def dtype_of(precision: str) -> Any:
    if precision not in DTYPES:
        raise QupropError(f"`precision` must be 'double' or 'single', got {precision!r}; 'double' is the default")
    return DTYPES[precision]


def combine(vectors: np.ndarray, pauli: PauliString, a: float, b: complex) -> int:
    """v <- a v + b P v for every column, in place; returns the multiply-adds done."""
    for first, second, moved, moved_back in _blocks(vectors, pauli, b):
        vectors[first] *= a
        vectors[first] += moved
        if moved_back is not None:
            vectors[second] *= a
            vectors[second] += moved_back
    return COMBINE_OPS * vectors.size


def rotate(vectors: np.ndarray, pauli: PauliString, angle: float) -> int:
    """v <- exp(-i angle P/2) v = cos(angle/2) v - i sin(angle/2) P v, in place; returns the multiply-adds done."""
    return combine(vectors, pauli, math.cos(angle / 2), -1j * math.sin(angle / 2))


def boost(vectors: np.ndarray, pauli: PauliString, half: float, norm: float) -> int:
    """v <- exp(half P/2) v / sqrt(norm), in place: sigma <- exp(half P/2) sigma exp(half P/2) for sigma = v v† / norm.

    Dividing by the norm from before keeps any number of steps from overflowing.
    """
    scale = 1 / math.sqrt(norm)
    return combine(vectors, pauli, scale * math.cosh(half / 2), scale * math.sinh(half / 2))


def applied(vectors: np.ndarray, pauli: PauliString) -> np.ndarray:
    """P v for every column, as a new array (2^n, k)."""
    out = np.empty_like(vectors)
    for first, second, moved, moved_back in _blocks(vectors, pauli, 1.0):
        out[first] = moved
        if moved_back is not None:
            out[second] = moved_back
    return out


def expectations(vectors: np.ndarray, pauli: PauliString) -> np.ndarray:
    """<v|P|v> of every column (not normalised): float64 (k,), summed in double whatever the precision of v."""
    total = np.zeros(vectors.shape[1])
    for first, second, moved, _ in _blocks(vectors, pauli, 1.0, both=False):
        total += (1 if first == second else 2) * real_inner(moved, vectors[first])  # P is Hermitian: the halves agree
    return total


def real_inner(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Re <u|v> column by column: two complex (rows, k) to float64 (k,)."""
    parts = u.view(u.real.dtype) * v.view(v.real.dtype)  # (rows, 2k): real and imaginary parts alternate
    return parts.sum(axis=0, dtype=np.float64).reshape(-1, 2).sum(axis=1)


def _blocks(
    vectors: np.ndarray, pauli: PauliString, factor: complex, both: bool = True
) -> Iterator[tuple[slice, slice, np.ndarray, np.ndarray | None]]:
    """Pairs of row blocks that P connects, with factor * P v on the first and, where they differ, on the second."""
    rows, k = vectors.shape
    size = min(rows, 1 << max(2, (BLOCK_BYTES // (vectors.itemsize * k)).bit_length() - 1))
    source = np.arange(size) ^ (pauli.x & (size - 1))
    signs = 1.0 - 2.0 * (np.bitwise_count(source & (pauli.z & (size - 1))) & 1)
    table = (factor * 1j**pauli.phase * signs).astype(vectors.dtype)[:, None]  # (size, 1)
    negative = -table
    for start in range(0, rows, size):
        partner = start ^ (pauli.x & ~(size - 1))
        if partner < start:
            continue
        first, second = slice(start, start + size), slice(partner, partner + size)
        moved = vectors[second].take(source, 0)
        moved *= negative if (pauli.z & partner).bit_count() & 1 else table
        back = None
        if both and partner != start:
            back = vectors[first].take(source, 0)
            back *= negative if (pauli.z & start).bit_count() & 1 else table
        yield first, second, moved, back


def norm_of(vectors: np.ndarray) -> float:
    """The sum of all |v_j|^2, in double."""
    size = max(1, BLOCK_BYTES // (vectors.itemsize * vectors.shape[1]))
    return sum(float(real_inner(b, b).sum()) for b in (vectors[i : i + size] for i in range(0, len(vectors), size)))


def start_vectors(n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """k complex Gaussian vectors (2^n, k), or the basis (2^n, 2^n) when k is 2^n or more."""
    if k >= 2**n:
        return np.eye(2**n, dtype=complex)
    return rng.standard_normal((2**n, 2 * k)).view(complex)
