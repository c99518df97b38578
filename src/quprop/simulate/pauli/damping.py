"""Channels as stages of a propagation: what they multiply strings by, and what the affine ones add.

Backwards a Pauli channel multiplies Q by lambda_Q = 1 - 2 sum of p_j over the P_j that anticommute with Q. So it
depends on r bits, with which strings of a basis of the P_j's span Q anticommutes: its class, and there are 2^r numbers.
By an affine channel strings are of four classes, of which the bits are whether they anticommute with the image of Z and
with that of X: 0 stays, those with the first bit are multiplied by a, and class 2 by b and added with c to its product
with the image of Z. As maps of observables channels enlarge no operator norm, so that what was dropped before one is no
more after it, and the bounds of `certificate.py` hold with channels as further stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.channels import Channel
from quprop.simulate.vectors import walsh_hadamard

_ROTATION, _DAMPING, _AFFINE = 0, 1, 2  # what stages are, in native/pauli
_MOST_BITS = 16


class _Law(NamedTuple):
    """From a channel's coefficients to its factors: of kind "pauli", the place of each p_j among the classes."""

    coefficients: slice
    factors: slice
    classes: np.ndarray | None
    sign: int


class Damping(NamedTuple):
    """Which stages are rotations, and what the others are: the arrays that the kernels read."""

    rotations: np.ndarray  # (M,): their places among the stages
    kind: np.ndarray  # (N,)
    first_string: np.ndarray  # (N + 1,)
    strings: tuple[tuple[int, int], ...]
    first: np.ndarray  # (N,), of the factors
    laws: tuple[_Law, ...]
    owners: tuple[int, ...]  # the channels' stages
    trained: bool  # whether strengths depend on theta or x
    table: np.ndarray  # of factors; with trained strengths `at` makes it
    x: np.ndarray = np.empty((0, 1), np.uint64)
    z: np.ndarray = np.empty((0, 1), np.uint64)

    @property
    def affine(self) -> bool:
        return bool((self.kind == _AFFINE).any())

    @property
    def kernels(self) -> tuple[np.ndarray, ...]:
        return self.kind, self.first_string, self.x, self.z, self.first, self.table

    @classmethod
    def of_model(cls, model: Model) -> Damping:
        kinds: list[int] = []
        places: list[int] = []
        owners: list[int] = []
        strings: list[tuple[int, int]] = []
        first_string, first, laws, size, done = [0], [], [], 0, 0
        starts = model.channel_table.starts if model.channels else np.zeros(1, int)
        for k, channel in enumerate((*model.channels, None)):
            place = model.n_rotations if channel is None else channel.place
            places += range(len(kinds), len(kinds) + place - done)
            kinds += [_ROTATION] * (place - done)
            first_string += [len(strings)] * (place - done)
            first += [size] * (place - done)
            done = place
            if channel is None:
                break
            own, classes = _classes(model.n_qubits, channel)
            owners.append(len(kinds))
            kinds.append(_DAMPING if classes is not None else _AFFINE)
            strings += own
            first_string.append(len(strings))
            first.append(size)
            count = 5 if classes is None else 1 << len(own)
            laws.append(
                _Law(slice(int(starts[k]), int(starts[k + 1])), slice(size, size + count), classes, channel.sign)
            )
            size += count
        trained = any(not s.is_constant for c in model.channels for s in c.strengths)
        made = cls(
            rotations=np.array(places, int),
            kind=np.array(kinds, np.int32),
            first_string=np.array(first_string, np.int64),
            strings=tuple(strings),
            first=np.array(first, np.int64),
            laws=tuple(laws),
            owners=tuple(owners),
            trained=trained,
            table=np.ones(size),
        )
        if trained or not model.channels:
            return made
        return made.at(model.channel_table.evaluate(np.zeros((1, model.n_params)), np.zeros((1, model.n_inputs)))[0])

    def stage_masks(self, model: Model) -> list[tuple[int, int]]:
        """Of each stage: a rotation's string, the image of Z of an affine channel, (0, 0) of a Pauli channel."""
        out = [(0, 0)] * len(self.kind)
        for place, x, z in zip(self.rotations.tolist(), model.x_masks, model.z_masks, strict=True):
            out[place] = x, z
        for stage, channel in zip(self.owners, model.channels, strict=True):
            if channel.kind == "affine":
                out[stage] = channel.strings[1]
        return out

    def packed(self, words: Callable[[Sequence[int]], np.ndarray]) -> Damping:
        return self._replace(x=words([x for x, _ in self.strings]), z=words([z for _, z in self.strings]))

    def at(self, coefficients: np.ndarray) -> Damping:
        """With the factors of one row of coefficients (C,) of `ChannelTable`."""
        table = np.ones_like(self.table)
        for law in self.laws:
            own = coefficients[law.coefficients]
            if law.classes is None:
                a, b, c = own
                table[law.factors] = 1.0, a, b, a, law.sign * c
                continue
            shares = np.zeros(law.factors.stop - law.factors.start)
            np.add.at(shares, law.classes, own)
            # a string of class k anticommutes with P_j where k and the bits of P_j share an odd number
            found = walsh_hadamard(shares) + (1 - own.sum())
            found[0] = 1.0
            table[law.factors] = found
        return self._replace(table=table)

    def spread(self, factors: np.ndarray) -> np.ndarray:
        """(..., N, 2) from the rotations' (..., M, 2); channels have factors of their own."""
        if len(self.rotations) == len(self.kind):
            return factors
        out = np.zeros((*factors.shape[:-2], len(self.kind), 2))
        out[..., self.rotations, :] = factors
        return out

    def by_rotation(self, ledger: np.ndarray) -> np.ndarray:
        """(B, M, 4) from the stages' (B, N, 4): what a channel drops counts with the rotation after it in the circuit,
        by which it came before in the propagation, or the last."""
        if len(self.rotations) == len(self.kind) or not len(self.rotations):
            return ledger[:, self.rotations]
        after = np.minimum(np.searchsorted(self.rotations, np.arange(len(self.kind))), len(self.rotations) - 1)
        out = np.zeros((len(ledger), len(self.rotations), ledger.shape[2]))
        np.add.at(out.swapaxes(0, 1), after, ledger.swapaxes(0, 1))
        return out


def _classes(n: int, channel: Channel) -> tuple[list[tuple[int, int]], np.ndarray | None]:
    """The strings of which the commutations are a string's class, and of a Pauli channel each P_j in this basis."""
    if channel.kind == "affine":
        return [channel.strings[1], channel.strings[0]], None
    basis: list[tuple[int, int]] = []
    reduced: list[tuple[int, int]] = []  # with other highest bits, and in terms of the basis
    classes = []
    for x, z in channel.strings:
        left, bits = x | z << n, 0
        for row, own in reduced:
            if left ^ row < left:
                left, bits = left ^ row, bits ^ own
        if left:
            bits ^= 1 << len(basis)
            reduced.append((left, bits))
            reduced.sort(reverse=True)
            bits = 1 << len(basis)
            basis.append((x, z))
        classes.append(bits)
    if len(basis) > _MOST_BITS:
        raise QupropError(
            f"Pauli propagation takes channels whose strings are products of {_MOST_BITS} at most, got {len(basis)} "
            "independent ones; give it as several channels"
        )
    return basis, np.array(classes, int)


def refuse_trained(damping: Damping) -> None:
    """The guard of derivatives."""
    if damping.trained:
        raise QupropError(
            "Pauli propagation has derivatives at fixed strengths of noise only, and here strengths depend on theta or "
            'x; make them numbers, or use engine="density" or qpr.Trajectories()'
        )
