"""What one rank does of a model: the plans of its stretches and of the observables, for the kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from quprop.model import Model
from quprop.simulate.distributed.coordinates import Coordinates
from quprop.simulate.distributed.stretches import PIECE_BITS, Exchange, stretches
from quprop.simulate.state_vector import blocks

_WORTHWHILE = 8  # rotations, for which pieces are read and written once more
_LOOK_AHEAD = 512

Frame = tuple[int, int]  # x and z masks of the Pauli string that is carried to the end


class Strings(NamedTuple):
    """The strings of the observables whose x masks have one part `across` the bits of the rank, at the end."""

    across: int
    numbers: np.ndarray
    part: Any


class RankStep(NamedTuple):
    """A stretch as a rank does it. first: of its rotations those that come first and mix nothing but the amplitudes of
    a piece, for which the rest of the exchange is not waited for; None if they are few."""

    exchange: Exchange | None
    coordinates: Coordinates
    first: Any
    part: Any


class RankPlan(NamedTuple):
    """All that a rank does of a model of which 2^rank_bits ranks hold a part each."""

    local: int  # bits of a rank's own index
    steps: tuple[RankStep, ...]
    strings: tuple[Strings, ...]
    signs: np.ndarray  # of the strings in the last coordinates
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
    nothing: dict[str, np.ndarray] = {
        "obs_x": np.empty(0, np.uint64),
        "obs_z": np.empty(0, np.uint64),
        "obs_ptr": np.zeros(1, np.int32),
    }
    nothing |= {"obs_term": np.empty(0, np.int32), "obs_coefficient": np.empty(0)}
    sizes = (model.n_params, model.n_inputs, local, lane_bits, vector_bytes)
    none = np.empty(0, np.int64)

    def part(order: np.ndarray, at: Coordinates, bits: int) -> Any:
        drivers = model.drivers.of(order)
        drivers = drivers._replace(coefficient=drivers.coefficient * at.signs(x[order], z[order]))
        own = (model.n_params, model.n_inputs, bits, lane_bits, vector_bytes)
        return kind(blocks.plan_of(at.xs(x[order]), at.zs(z[order]), drivers, nothing, *own))

    steps = []
    for exchange, at, order in ((s.exchange, s.coordinates, s.order) for s in stretches(model, rank_bits)):
        within = local - PIECE_BITS
        first = None
        if exchange is not None and max(exchange.pivots) < within and within >= lane_bits + 2 + len(exchange.pivots):
            early = _early(at.xs(x[order]), at.zs(z[order]), within)
            if early.sum() >= _WORTHWHILE:
                first, order = part(order[early], at, within), order[~early]
        steps.append(RankStep(exchange, at, first, part(order, at, local)))
    observables = blocks.observables(model)
    last = steps[-1].coordinates
    obs_x, obs_z = observables["obs_x"], observables["obs_z"]
    moved_x, moved_z = last.xs(obs_x), last.zs(obs_z)
    across = moved_x >> np.uint64(local)
    strings = []
    for c in np.unique(across):
        numbers = np.flatnonzero(across == c)
        own = nothing | {"obs_x": moved_x[numbers], "obs_z": moved_z[numbers]}
        flat = blocks.plan_of(x[none], z[none], model.drivers.of(none), own, *sizes)
        strings.append(Strings(int(c), numbers, kind(flat)))
    signs = last.signs(obs_x, obs_z)
    ptr, term = observables["obs_ptr"].astype(np.int64), observables["obs_term"]
    return RankPlan(local, tuple(steps), tuple(strings), signs, ptr, term, observables["obs_coefficient"])


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
