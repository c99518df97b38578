"""Randomness comes from an explicit seed or Generator, nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.errors import QupropError


def generator_of(rng: Any) -> np.random.Generator:
    """The Generator of a seed, or ``rng`` itself if it is one; None would be a hidden seed and is refused."""
    try:
        if rng is None:
            raise TypeError
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise QupropError(f"rng is a seed (a whole number from 0) or a numpy Generator, got {rng!r}") from None
