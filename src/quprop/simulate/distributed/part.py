"""What one rank does of a model: the plans of its stretches and of the observables, for the kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from quprop.model import Model
from quprop.simulate.distributed.coordinates import Coordinates
from quprop.simulate.distributed.stretches import Exchange, observed, piece_bits, stretches
from quprop.simulate.state_vector import blocks

_WORTHWHILE = 8  # rotations, for which pieces are read and written once more
_LOOK_AHEAD = 512

Frame = tuple[int, int]  # x and z masks of the Pauli string that is carried to the end


class Strings(NamedTuple):
    """Strings of the observables whose x masks have one part `across` the bits of the rank in a stretch."""

    across: int
    numbers: np.ndarray
    part: Any


class RankStep(NamedTuple):
    """A stretch as a rank does it. first: of its rotations those that come first and mix nothing but the amplitudes of
    a piece, for which the rest of the exchange is not waited for; None if they are few. strings: those that are looked
    at after its rotations, which may be none."""

    exchange: Exchange | None
    coordinates: Coordinates
    first: Any
    part: Any
    strings: tuple[Strings, ...]


class RankPlan(NamedTuple):
    """All that a rank does of a model of which 2^rank_bits ranks hold a part each."""

    local: int  # bits of a rank's own index
    steps: tuple[RankStep, ...]
    signs: np.ndarray  # of the strings where they are looked at
    ptr: np.ndarray  # observable k is the sum of coefficient[i] times string term[i] for i in ptr[k]:ptr[k + 1]
    term: np.ndarray
    coefficient: np.ndarray

    def values(self, strings: np.ndarray) -> np.ndarray:
        """<O_k> from the strings' own expectations."""
        return np.add.reduceat(np.append(self.coefficient * (self.signs * strings)[self.term], 0.0), self.ptr[:-1]) * (
            self.ptr[1:] > self.ptr[:-1]
        )

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """Coefficients of the strings in sum_k weights_k O_k."""
        per_term = np.repeat(weights, np.diff(self.ptr)) * self.coefficient
        return np.bincount(self.term, per_term, len(self.signs)) * self.signs


def rank_plan(model: Model, rank_bits: int, kind: Any, vector_bytes: int, lane_bits: int) -> RankPlan:
    """kind: the class of the kernels, `PartDouble` or `PartSingle`."""
    local = model.n_qubits - rank_bits
    x, z = np.array(model.x_masks, np.uint64), np.array(model.z_masks, np.uint64)
    none = np.empty(0, np.int64)
    nothing: dict[str, np.ndarray] = {
        "obs_x": np.empty(0, np.uint64),
        "obs_z": np.empty(0, np.uint64),
        "obs_ptr": np.zeros(1, np.int32),
        "obs_term": np.empty(0, np.int32),
        "obs_coefficient": np.empty(0),
    }

    def part(order: np.ndarray, at: Coordinates, bits: int = local, strings: dict[str, np.ndarray] = nothing) -> Any:
        drivers = model.drivers.of(order)
        drivers = drivers._replace(coefficient=drivers.coefficient * at.signs(x[order], z[order]))
        sizes = (model.n_params, model.n_inputs, bits, lane_bits, vector_bytes)
        return kind(blocks.plan_of(at.xs(x[order]), at.zs(z[order]), drivers, strings, *sizes))

    observables = blocks.observables(model)
    obs_x, obs_z = observables["obs_x"], observables["obs_z"]
    found = stretches(model, rank_bits)
    where, across = observed(found, obs_x, rank_bits)
    signs = np.ones(len(obs_x))

    def looked_at(here: np.ndarray, at: Coordinates) -> Strings:
        signs[here] = at.signs(obs_x[here], obs_z[here])
        own = nothing | {"obs_x": at.xs(obs_x[here]), "obs_z": at.zs(obs_z[here])}
        return Strings(int(across[here[0]]), here, part(none, at, strings=own))

    steps = []
    for k, (order, at, exchange) in enumerate(found):
        within = local - piece_bits(local)
        first = None
        if exchange is not None and max(exchange.pivots) < within and within >= lane_bits + 2 + len(exchange.pivots):
            early = _early(at.xs(x[order]), at.zs(z[order]), within)
            if early.sum() >= _WORTHWHILE:
                first, order = part(order[early], at, within), order[~early]
        own = np.flatnonzero(where == k)
        strings = tuple(looked_at(own[across[own] == c], at) for c in np.unique(across[own]))
        steps.append(RankStep(exchange, at, first, part(order, at), strings))
    ptr, term = observables["obs_ptr"].astype(np.int64), observables["obs_term"]
    return RankPlan(local, tuple(steps), signs, ptr, term, observables["obs_coefficient"])


def _early(x: np.ndarray, z: np.ndarray, bits: int) -> np.ndarray:
    """Which of the rotations mix only indices that agree from `bits` on, and commute with all others before them."""
    found, behind = np.zeros(len(x), bool), np.zeros(len(x), bool)
    above = x >> np.uint64(bits) != 0
    for i in range(min(len(x), _LOOK_AHEAD)):
        clash = np.bitwise_count((x[i] & z[:i]) ^ (z[i] & x[:i])) & 1
        found[i] = not above[i] and not (clash.astype(bool) & behind[:i]).any()
        behind[i] = not found[i]
    return found


def through(frame: Frame, coordinates: Coordinates) -> Frame:
    """A frame in some coordinates."""
    return coordinates.x(frame[0]), coordinates.z(frame[1])


def back(frame: Frame, coordinates: Coordinates) -> Frame:
    """The frame that is this one in some coordinates."""
    x, z = 0, 0
    for i, (row, column) in enumerate(zip(coordinates.rows, coordinates.columns, strict=True)):
        x ^= column * (frame[0] >> i & 1)
        z ^= row * (frame[1] >> i & 1)
    return x, z
