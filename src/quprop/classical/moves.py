"""Moves of bit strings, and distributions that a chain of them starts from.

States are masks in int64, bit q of a mask being bit q of the state; everything is elementwise on arrays of any shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError

MOST_BITS = 62  # what fits an int64 with room for the sign


@dataclass(frozen=True)
class Flip:
    """x -> x xor mask."""

    mask: int

    def __call__(self, states: np.ndarray) -> np.ndarray:
        return states ^ self.mask

    @property
    def touched(self) -> int:
        return self.mask

    @property
    def is_affine(self) -> bool:
        return True

    def transposed(self, z: np.ndarray) -> np.ndarray:
        """L^T z, for the linear part L of the move: z . (S x xor S y) = (L^T z) . (x xor y)."""
        return z


@dataclass(frozen=True)
class ControlledFlip:
    """x -> x xor mask where the bits of ``controls`` are all one, or equal those of ``values`` if that is given."""

    mask: int
    controls: int
    values: int | None = None

    def __post_init__(self) -> None:
        if self.mask & self.controls:
            raise QupropError(
                f"a controlled flip must not flip its own controls, got mask={self.mask:#b} and "
                f"controls={self.controls:#b}; take the bits they share out of one of them"
            )
        if self.values is not None and self.values & ~self.controls:
            raise QupropError(f"values must lie within controls={self.controls:#b}, got {self.values:#b}")

    def __call__(self, states: np.ndarray) -> np.ndarray:
        wanted = self.controls if self.values is None else self.values
        return states ^ np.where((states & self.controls) == wanted, self.mask, 0)

    @property
    def touched(self) -> int:
        return self.mask | self.controls

    @property
    def is_affine(self) -> bool:
        return self.controls.bit_count() <= 1

    def transposed(self, z: np.ndarray) -> np.ndarray:
        return z ^ np.where(parity(z & self.mask), self.controls, 0)


@dataclass(frozen=True)
class Map:
    """x -> function(x), elementwise on int64 arrays of masks of any shape; its inverse is never needed, so that it may
    have none."""

    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, states: np.ndarray) -> np.ndarray:
        return np.asarray(self.function(states), dtype=np.int64)

    touched = 0
    is_affine = False

    def transposed(self, z: np.ndarray) -> np.ndarray:
        raise NotImplementedError("a general map has no transpose")


Move = Flip | ControlledFlip | Map


def parity(masks: np.ndarray) -> np.ndarray:
    return (np.bitwise_count(masks) & 1).astype(bool)


def read_initial(n: int, initial: Any) -> np.ndarray:
    """Probabilities of a one (n,), or data as masks (samples,) in int64."""
    if initial is None:
        return np.zeros(n)
    if isinstance(initial, str):
        if len(initial) != n or set(initial) - {"0", "1"}:
            raise QupropError(f"initial must be a string of {n} zeros and ones, bit 0 first, got {initial!r}")
        return np.array([float(bit) for bit in initial])
    array = checked("initial", initial)
    if array.ndim not in (1, 2) or array.shape[-1] != n or not array.size:
        raise QupropError(
            f"initial must be a bit string, probabilities of shape ({n},) or data of shape (samples, {n}), got shape "
            f"{array.shape}"
        )
    if array.ndim == 2:
        if not np.isin(array, (0, 1)).all():
            raise QupropError("initial data must be zeros and ones, got other numbers; binarise them first")
        return array.astype(np.int64) @ (np.int64(1) << np.arange(n))
    if not ((array >= 0).all() and (array <= 1).all()):
        raise QupropError("initial probabilities must lie in [0, 1], got others")
    return array


def draw_initial(n: int, initial: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    if initial.dtype == np.int64:
        return initial[generator.integers(len(initial), size=count)]
    states = np.zeros(count, np.int64)
    for q in range(n):
        if initial[q] > 0:
            states |= (generator.random(count) < initial[q]).astype(np.int64) << q
    return states


def initial_distribution(n: int, initial: np.ndarray) -> np.ndarray:
    if initial.dtype == np.int64:
        return np.bincount(initial, minlength=1 << n) / len(initial)
    p = np.ones(1)
    for one in initial:
        p = np.concatenate([p * (1 - one), p * one])  # a later bit is a higher bit of the index
    return p
