"""Contraction of the fragments' tensors, and its derivative by each of them.

Indices are integers: BATCH and TERM are kept to the end, every other one is summed. The order is greedy (the pair whose
product grows least goes first) and made once per plan; a chain or tree of fragments contracts in time linear in its
length. Reverse mode walks the pairs back: C = A B gives dA = dC B, dB = dC A.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

BATCH, TERM = 0, 1
Ids = tuple[int, ...]


def order(ids: Sequence[Ids]) -> tuple[tuple[int, int, Ids], ...]:
    """Pairs (a, b, indices of the product) by place in the growing list: operands first, then each product."""
    alive = {k: frozenset(i) for k, i in enumerate(ids)}
    out, count = [], len(ids)
    while len(alive) > 1:
        owners: dict[int, list[int]] = {}
        for k, indices in alive.items():
            for i in indices - {BATCH, TERM}:
                owners.setdefault(i, []).append(k)  # a cut's index has two: a fragment and the cut's coefficients
        pairs = {(a, b) for a, b in owners.values()} or set(itertools.combinations(alive, 2))

        def rank(pair: tuple[int, int]) -> tuple[float, float, tuple[int, int]]:
            a, b = pair
            size = _size(_joined(alive[a], alive[b]))
            return size - _size(alive[a]) - _size(alive[b]), size, pair

        a, b = min(pairs, key=rank)
        kept = _joined(alive[a], alive[b])
        del alive[a], alive[b]
        alive[count] = kept
        out.append((a, b, tuple(sorted(kept))))
        count += 1
    return tuple(out)


def largest(ids: Sequence[Ids], path: Sequence[tuple[int, int, Ids]]) -> int:
    """The most cut indices that an intermediate tensor has."""
    return max((len(set(i) - {BATCH, TERM}) for i in (*ids, *(kept for _, _, kept in path))), default=0)


def contract(
    tensors: Sequence[np.ndarray], ids: Sequence[Ids], path: Sequence[tuple[int, int, Ids]]
) -> tuple[np.ndarray, Callable[[np.ndarray], list[np.ndarray]]]:
    """The product over all, with indices (BATCH, TERM), and pullback: its cotangent -> one for each tensor."""
    values, names = list(tensors), list(ids)
    for a, b, kept in path:
        values.append(_einsum(values[a], names[a], values[b], names[b], kept))
        names.append(kept)
    shape = values[-1].shape
    missing = [k for k in (BATCH, TERM) if k not in names[-1]]
    result = values[-1].reshape([1 if k in missing else shape[names[-1].index(k)] for k in (BATCH, TERM)])

    def pullback(cotangent: np.ndarray) -> list[np.ndarray]:
        back: list[np.ndarray | None] = [None] * len(values)
        back[-1] = cotangent.sum(axis=tuple(missing)) if missing else cotangent
        for k in reversed(range(len(path))):
            a, b, _ = path[k]
            out = back[len(ids) + k]
            assert out is not None
            kept = names[len(ids) + k]
            back[a] = _einsum(out, kept, values[b], names[b], names[a])
            back[b] = _einsum(out, kept, values[a], names[a], names[b])
        return [b for b in back[: len(ids)] if b is not None]

    return result, pullback


def _einsum(a: np.ndarray, a_ids: Ids, b: np.ndarray, b_ids: Ids, kept: Ids) -> np.ndarray:
    """One pair, its indices renamed: einsum counts to 52 only."""
    small = {i: k for k, i in enumerate(dict.fromkeys((*a_ids, *b_ids)))}
    rows = [[small[i] for i in ids] for ids in (a_ids, b_ids, kept)]
    return np.einsum(a, rows[0], b, rows[1], rows[2], optimize=True)


def _joined(a: frozenset[int], b: frozenset[int]) -> frozenset[int]:
    return (a ^ b) | ((a | b) & {BATCH, TERM})


def _size(ids: frozenset[int]) -> float:
    return 4.0 ** len(ids)
