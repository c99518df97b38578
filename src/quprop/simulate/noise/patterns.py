"""Noise as random patterns: every channel as a mixture of Pauli strings and resets, and what these make of a model.

A Pauli channel is the mixture of its strings P_j by p_j. An affine channel (X -> a X, Y -> a Y, Z -> b Z + c I) is

    (1+b-|c|+2a)/4 of I,   (1+b-|c|-2a)/4 of Z,   (1-b-|c|)/4 of each of X and Y,   |c| of a reset (to |0> if c > 0).

Their sum is 1, and only that of Z can be negative, where 2a > 1+b-|c|, as in amplitude damping: then the channel is
drawn by the sizes, a Z counts -1, and all counts are multiplied by the sum of sizes, there sqrt(1-gamma) + gamma, at
most 1 + gamma/2 (quasi-probabilities: Temme, Bravyi and Gambetta 2017, arXiv:1612.02058).

A string E taken on to the end of the circuit turns the signs of later angles a_m (E R(a) = R(-a) E if E anticommutes
with the rotation) and of terms of the observables. A reset leaves its qubit behind: what acts later, acts on a fresh
qubit in |0>, so that a pattern with k resets is a circuit of n + k qubits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import stim

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.absorption import Rotation
from quprop.model.angle import from_terms
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum

_ALONG, _ACROSS, _LAST_STRING, _TO_0, _TO_1 = 1, 2, 3, 4, 5  # of an affine channel: Z, X, Y, resets


class Outcomes(NamedTuple):
    """What may happen in each channel, outcome `starts[k]` being nothing: x, z (E, n) bits of strings (0 of resets)."""

    starts: np.ndarray  # (channels + 1,)
    x: np.ndarray
    z: np.ndarray
    affine: np.ndarray  # (channels,) bool
    first: np.ndarray  # (channels + 1,): of the coefficients of `ChannelTable`
    trained: np.ndarray  # coefficients of channels whose strengths depend on theta or x

    @classmethod
    def of_model(cls, model: Model) -> Outcomes:
        starts, masks, trained = [0], [], list[int]()
        first = model.channel_table.starts
        for k, channel in enumerate(model.channels):
            strings = list(channel.strings)
            if channel.kind == "affine":
                (ax, az), (bx, bz) = strings
                strings = [(bx, bz), (ax, az), (ax ^ bx, az ^ bz), (0, 0), (0, 0)]
            masks += [(0, 0), *strings]
            starts.append(len(masks))
            if not all(s.is_constant for s in channel.strengths):
                trained += range(first[k], first[k + 1])
        n = model.n_qubits
        return cls(
            np.array(starts),
            bits([x for x, _ in masks], n),
            bits([z for _, z in masks], n),
            np.array([c.kind == "affine" for c in model.channels], bool),
            first,
            np.array(trained, int),
        )

    def law(self, coefficients: np.ndarray) -> tuple[np.ndarray, sp.csc_array]:
        """Shares (E,) of all outcomes at one row of coefficients (C,), and their derivatives by these (E, C)."""
        size = int(self.starts[-1])
        fixed = np.zeros(size)
        pauli, affine = np.flatnonzero(~self.affine), np.flatnonzero(self.affine)
        count = np.diff(self.first)[pauli]
        p = np.concatenate([np.arange(0), *(np.arange(self.first[k], self.first[k + 1]) for k in pauli)])
        at = np.repeat(self.starts[pauli], count)
        nth = p - np.repeat(self.first[pauli], count)
        fixed[self.starts[pauli]] = 1.0
        rows, columns = [at, at + 1 + nth], [p, p]
        slopes = [np.full(len(p), -1.0), np.full(len(p), 1.0)]
        a = self.first[affine]
        s = np.where(coefficients[a + 2] >= 0, 1.0, -1.0)
        one = np.ones(len(affine))
        for e, (by_a, by_b) in enumerate([(2, 1), (-2, 1), (0, -1), (0, -1)]):
            here = self.starts[affine] + e
            fixed[here] = 0.25
            rows += [here] * 3
            columns += [a, a + 1, a + 2]
            slopes += [by_a / 4 * one, by_b / 4 * one, -s / 4]
        rows.append(self.starts[affine] + np.where(s > 0, _TO_0, _TO_1))
        columns.append(a + 2)
        slopes.append(s)
        entries = np.concatenate(slopes), (np.concatenate(rows), np.concatenate(columns))
        slope = sp.csc_array(entries, shape=(size, int(self.first[-1])))
        shares = fixed + slope @ coefficients
        shares[np.abs(shares) < 1e-15] = 0.0  # rounding
        return shares, slope

    def drawn(self, shares: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Outcomes (S, channels), counted from each channel's first, from uniform numbers of that shape."""
        counts = np.diff(self.starts)
        steps = np.full((len(counts), int(counts.max(initial=1))), np.inf)  # sums of the shares up to each outcome
        for steps_, first, count in zip(steps, self.starts, counts, strict=False):
            np.cumsum(np.abs(shares[first : first + count]), out=steps_[:count])
        steps[np.arange(len(counts)), counts - 1] = np.inf  # rounding goes to the last
        target = uniform * self.norms(shares)
        out = np.zeros(uniform.shape, np.int64)
        row, channel = np.nonzero(target >= steps[:, 0])  # most channels do nothing
        out[row, channel] = (target[row, channel, None] >= steps[channel]).sum(axis=1)
        return out

    def norms(self, shares: np.ndarray) -> np.ndarray:
        """The sums of sizes of the channels' shares."""
        return np.add.reduceat(np.abs(shares), self.starts[:-1]) if len(self.affine) else np.ones(0)

    def resets(self, outcomes: np.ndarray) -> np.ndarray:
        """1 for a reset to |0>, -1 to |1>, else 0: int8 (S, affine channels)."""
        own = outcomes[:, self.affine]
        return ((own == _TO_0).astype(np.int8) - (own == _TO_1)).astype(np.int8)


class PureProblem(NamedTuple):
    """A model under the patterns with the same resets: a model without noise whose parameters are its angles and whose
    observables are the terms, one each, and which outcomes turn which signs."""

    model: Model
    signs: np.ndarray  # (M + T,)
    x: np.ndarray  # (M + T, n')
    z: np.ndarray
    outcomes_x: np.ndarray  # (E, n')
    outcomes_z: np.ndarray
    place: np.ndarray  # (E,): rotations from here on are turned

    @classmethod
    def of(cls, model: Model, outcomes: Outcomes, terms: list[PauliString], resets: np.ndarray) -> PureProblem:
        """resets: (affine channels,), as `Outcomes.resets` has them."""
        n, m = model.n_qubits, model.n_rotations
        places = np.array([c.place for c in model.channels], int)
        owner = np.repeat(np.arange(len(places)), np.diff(outcomes.starts))
        x = np.concatenate([bits([*model.x_masks, *(t.x for t in terms)], n), outcomes.x])
        z = np.concatenate([bits([*model.z_masks, *(t.z for t in terms)], n), outcomes.z])
        signs = np.ones(len(x), int)
        images = np.array([c.sign for c in model.channels], int)
        fresh = 0
        happened = np.zeros(len(places), int)
        happened[outcomes.affine] = resets
        count = int(np.count_nonzero(resets))
        if count and model.state.kind == "encoded":
            raise QupropError(
                "trajectories put what is reset on a fresh qubit, and here the state is read from the inputs, of which "
                'there are none for it; use engine="density"'
            )
        for taken, k in enumerate(np.flatnonzero(happened)):
            at = m + len(terms) + outcomes.starts[k]
            sign = signs[at + _ALONG] * images[k]
            fresh |= int(happened[k] * sign < 0) << taken
            later = np.concatenate([np.arange(m) >= places[k], np.ones(len(terms), bool), owner > k])
            x, z, signs = _moved(
                x, z, signs, (x[at + _ACROSS], z[at + _ACROSS]), (x[at + _ALONG], z[at + _ALONG]), later
            )
        own = m + len(terms)
        return cls(
            _by_angles(model, x[:own], z[:own], _with_fresh(model, fresh, count)),
            signs[:own],
            x[:own],
            z[:own],
            x[own:],
            z[own:],
            places[owner],
        )

    def turned(self, flat: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
        """Which signs are turned, packed into uint64 (rows, words), if outcome flat[i] happens in row row[i]; row is
        ascending."""
        used, column = np.unique(flat, return_inverse=True)
        odd = _anticommute(self.outcomes_x[used], self.outcomes_z[used], self.x, self.z)
        m = self.model.n_rotations
        odd[:, :m] &= np.arange(m) >= self.place[used, None]
        out = np.zeros((rows, max(-(-odd.shape[1] // 64), 1)), np.uint64)
        if len(flat):
            first = np.flatnonzero(np.diff(row, prepend=-1))
            out[row[first]] = np.bitwise_xor.reduceat(_packed(odd)[column], first, axis=0)
        return out

    def signed(self, turned: np.ndarray) -> np.ndarray:
        """The signs (rows, M + T) of rows of `turned`."""
        flips = np.unpackbits(turned.view(np.uint8), axis=1, count=len(self.signs), bitorder="little")
        return np.where(flips, -1.0, 1.0) * self.signs


def _packed(odd: np.ndarray) -> np.ndarray:
    packed = np.packbits(odd, axis=1, bitorder="little")
    padded = np.zeros((len(odd), max(-(-packed.shape[1] // 8), 1) * 8), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


def bits(masks: list[int], n: int) -> np.ndarray:
    """uint8 (len, n): bit q of each mask."""
    width = (n + 7) // 8
    raw = np.frombuffer(b"".join(mask.to_bytes(width, "little") for mask in masks), np.uint8).reshape(len(masks), width)
    return np.unpackbits(raw, axis=1, count=n, bitorder="little")


def _masks(rows: np.ndarray) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(rows, axis=1, bitorder="little")]


def _anticommute(ax: np.ndarray, az: np.ndarray, bx: np.ndarray, bz: np.ndarray) -> np.ndarray:
    """bool (A, B) of strings given by bits (A, n), (B, n)."""
    crossed = ax.astype(np.float32) @ bz.T.astype(np.float32) + az.astype(np.float32) @ bx.T.astype(np.float32)
    return (crossed.astype(np.int64) & 1).astype(bool)


def _count(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a & b).sum(axis=-1, dtype=int)


def _moved(
    x: np.ndarray,
    z: np.ndarray,
    signs: np.ndarray,
    across: tuple[np.ndarray, np.ndarray],
    along: tuple[np.ndarray, np.ndarray],
    later: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strings after a reset, with one qubit more: the part of Q that `across` and `along` (X and Z of what is
    reset) make up goes to the new qubit, Q = rest . X^u Z^v up to a phase; u and v tell which Q anticommutes with."""
    (ax, az), (bx, bz) = across, along
    u = ((_count(x, bz) + _count(z, bx)) & 1).astype(np.uint8) * later
    v = ((_count(x, az) + _count(z, ax)) & 1).astype(np.uint8) * later
    lx, lz = u[:, None] * ax ^ v[:, None] * bx, u[:, None] * az ^ v[:, None] * bz
    rest_x, rest_z = x ^ lx, z ^ lz
    turns = _count(x, z) + _count(lx, lz) + 2 * _count(z, lx) - _count(rest_x, rest_z)  # of Q L, commuting
    y = 1 + _count(ax, az) + _count(bx, bz) + 2 * _count(az, bx) - _count(ax ^ bx, az ^ bz)  # of i X Z
    turns = turns + np.where(u & v, y, 0)
    signs = signs * (1 - (turns & 2))
    return np.column_stack([rest_x, u]), np.column_stack([rest_z, v]), signs


def _with_fresh(model: Model, fresh: int, count: int) -> InputState:
    """The input state with `count` qubits more, in the basis state `fresh`."""
    state, n = model.state, model.n_qubits
    if not count:
        return state
    if state.kind == "basis":
        return InputState("basis", state.index | fresh << n)
    if state.kind == "product":
        ends = np.array([[1 - (fresh >> k & 1), fresh >> k & 1] for k in range(count)], complex)
        return InputState("product", np.concatenate([state.array, ends]).tobytes())
    whole = np.zeros((1 << count, 1 << n), complex)
    whole[fresh] = state.array
    return InputState("amplitudes", whole.tobytes())


def _by_angles(model: Model, x: np.ndarray, z: np.ndarray, state: InputState) -> Model:
    m, n = model.n_rotations, x.shape[1]
    masks = list(zip(_masks(x), _masks(z), strict=True))
    encoded = state.kind == "encoded"
    return Model._of(
        n_qubits=n,
        rotations=tuple(Rotation(px, pz, from_terms(((((0, i),), 1.0),))) for i, (px, pz) in enumerate(masks[:m])),
        observables=tuple(PauliSum({PauliString(px, pz): 1.0}) for px, pz in masks[m:]),
        state=state,
        clifford=stim.Tableau(n),
        param_names=("angle",),
        param_sizes=(m,),
        input_names=model.input_names if encoded else (),
        input_sizes=model.input_sizes if encoded else (),
    )
