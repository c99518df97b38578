"""A model on the ranks that hold one state: its sweeps, its observables, its amplitudes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from quprop.model import Model
from quprop.simulate.distributed.exchange import Mover
from quprop.simulate.distributed.part import Frame, RankPlan, RankStep, Strings, back, through
from quprop.simulate.distributed.stretches import piece_bits

_BLOCK = 1 << 16  # amplitudes that are looked at together
_KEEP_BYTES = 64 << 20  # of a part
_KEPT = 3  # parts, beside the last
_LEVEL = 10  # qubits whose bits a pass over the state draws


class Spare:
    """Parts of states that are used again: large ones go back to the system."""

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []

    def take(self, kind: Any, amplitudes: int) -> np.ndarray:
        for k, array in enumerate(self._kept):
            if len(array) == 2 * amplitudes:
                return self._kept.pop(k)
        made: np.ndarray = kind.amplitudes(amplitudes)
        return made

    def give(self, array: np.ndarray | None) -> None:
        if array is not None and array.nbytes <= _KEEP_BYTES:
            self._kept = [array, *self._kept[:_KEPT]]


class StateGroup:
    """A model on the ranks that hold one state: psi, and lambda where it is wanted."""

    def __init__(self, model: Model, plan: RankPlan, mover: Mover, spare: Spare) -> None:
        self.model, self.plan, self.mover, self.ranks = model, plan, mover, mover.ranks
        self._spare = spare
        self._origin = self.ranks.rank << plan.local
        self._psi: np.ndarray | None = None
        self._lambda: np.ndarray | None = None
        self._frames: list[Frame] = []  # before each stretch and at the end, in the model's own bits
        self._middle: list[Frame] = []  # of each stretch, before what waits for the whole exchange

    def _made(self) -> np.ndarray:
        return self._spare.take(self.mover.kind, 1 << self.plan.local)

    def release(self) -> None:
        """Leaves psi and lambda to others."""
        for array in (self._psi, self._lambda):
            self._spare.give(array)
        self._psi = self._lambda = None

    @property
    def psi(self) -> np.ndarray:
        if self._psi is None:
            self._psi = self._made()
        return self._psi

    @property
    def other(self) -> np.ndarray:
        """lambda, or a second psi."""
        if self._lambda is None:
            self._lambda = self._made()
        return self._lambda

    @property
    def end(self) -> Frame:
        """The frame at the end of the circuit, in the last coordinates."""
        return through(self._frames[-1], self.plan.steps[-1].coordinates)

    def _piece(self, states: np.ndarray, piece: int) -> tuple[np.ndarray, int]:
        """A piece of this rank's part, and where it is among all indices."""
        bits = piece_bits(self.plan.local)
        size = 2 << self.plan.local - bits
        return states[size * piece : size * (piece + 1)], self._origin | piece << self.plan.local - bits

    # Sweeps -----------------------------------------------------------------------------------------------------------

    def forward(self, theta: np.ndarray, x: np.ndarray, look: bool = False) -> np.ndarray:
        """psi at the end of the circuit, up to the frame there; <O_k>, if they are to be looked at on the way."""
        self._start(x)
        self._frames, self._middle = [(0, 0)], []
        found = np.zeros(len(self.plan.signs))
        for step in self.plan.steps:
            frame = through(self._frames[-1], step.coordinates)
            if step.exchange is not None:
                middle = [frame]

                def work(piece: int, step: RankStep = step, frame: Frame = frame, middle: list[Frame] = middle) -> None:
                    psi, origin = self._piece(self.psi, piece)
                    middle[0] = step.first.forward(theta, x, frame, psi, origin, self.mover.threads)

                self.mover.exchange(step.exchange, [self.psi], work=work if step.first is not None else None)
                frame = middle[0]
            self._middle.append(frame)
            after = step.part.forward(theta, x, frame, self.psi, self._origin, self.mover.threads)
            self._frames.append(back(after, step.coordinates))
            if look:
                self._look(step, found)
        return self.plan.values(self.ranks.sum(found))

    def backward(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """<psi|O|psi> for O = sum_k weights_k O_k and its derivatives by theta and x, once psi is at the end."""
        d_theta, d_x = np.zeros(self.model.n_params), np.zeros(self.model.n_inputs)
        encoded = self.model.state.kind == "encoded"
        per_string = self.plan.weights(weights)
        value: float | None = None
        for k, step in reversed(list(enumerate(self.plan.steps))):
            ends = k == len(self.plan.steps) - 1
            if step.strings or ends:
                value = self._observe(step, per_string, more=not ends)
            both, out = [self.psi, self.other], (d_theta, d_x)
            alone = k == 0 and not encoded
            step.part.backward(theta, x, self._middle[k], alone, *both, self._origin, self.mover.threads, *out)
            if step.exchange is not None:
                frame = through(self._frames[k], step.coordinates)

                def work(piece: int, step: RankStep = step, frame: Frame = frame) -> None:
                    (psi, origin), (costate, _) = self._piece(self.psi, piece), self._piece(self.other, piece)
                    step.first.backward(theta, x, frame, False, psi, costate, origin, self.mover.threads, d_theta, d_x)

                self.mover.exchange(step.exchange, both, True, work if step.first is not None else None)
        total = self.ranks.sum(np.concatenate([[value], d_theta, d_x]))
        d_theta, d_x = total[1 : 1 + len(d_theta)], total[1 + len(d_theta) :]
        if encoded:
            n = self.model.n_qubits
            adjoint = self.gathered(self.other, (0, 0), first=True)
            d_x[self.model.state.input_slice(n)] += self.model.state.pullback(n, x[None], adjoint[None])[0]
        return float(total[0]), d_theta, d_x

    # Observables ------------------------------------------------------------------------------------------------------

    def _look(self, step: RankStep, found: np.ndarray) -> None:
        """This rank's part of the strings that are looked at after a stretch; psi stays."""
        if any(s.across for s in step.strings):
            self.other[:] = self.psi
        for strings in self._across(step):
            e = np.empty(len(strings.numbers))
            bra = self.other if strings.across else self.psi
            frame = through(self._frames[-1], step.coordinates)
            strings.part.expectations(frame, bra, self.psi, self._origin, self.mover.threads, e)
            found[strings.numbers] = e

    def _observe(self, step: RankStep, weights: np.ndarray, more: bool) -> float:
        """Adds O psi to lambda, which is nothing yet unless `more`, for the strings that are looked at after a stretch;
        this rank's part of <psi|lambda>."""
        alone, value = not more, 0.0
        if not step.strings:
            self.other[:] = 0
        for strings in self._across(step):
            value = strings.part.apply(
                weights[strings.numbers], through(self._frames[-1], step.coordinates), self.psi, self.other, more,
                self._origin, self.mover.threads,
            )  # fmt: skip
            more = True
        if alone and len(step.strings) == 1 and not step.strings[0].across:
            return value
        return sum(
            float(np.einsum("i,i->", a.astype(float), b.astype(float)))
            for a, b in zip(_pieces(self.psi), _pieces(self.other), strict=True)
        )

    def _across(self, step: RankStep) -> Iterator[Strings]:
        """Strings of each kind, while psi is that of the rank whose amplitudes they read."""
        at = 0
        for strings in step.strings:
            self.mover.swap(self.psi, at ^ strings.across)
            at = strings.across
            yield strings
        self.mover.swap(self.psi, at)

    # Amplitudes -------------------------------------------------------------------------------------------------------

    def _start(self, x: np.ndarray) -> None:
        state, first, psi = self.model.state, self.plan.steps[0].coordinates, self.psi
        lanes = self.mover.lane_bits
        if state.kind == "basis":
            psi[:] = 0
            at = first.x(state.index)
            if at >> self.plan.local == self.ranks.rank:
                j = at & (1 << self.plan.local) - 1
                psi[(j >> lanes) * (2 << lanes) + (j & (1 << lanes) - 1)] = 1
            return
        whole = None if state.kind == "product" else state.vector(self.model.n_qubits, x[None]).reshape(-1)
        grid = psi.reshape(-1, 2, 1 << lanes)
        for at, index in self._indices(first.columns):
            amplitudes = _product(state.array, index) if whole is None else whole[index]
            rows = grid[at >> lanes : at + len(index) >> lanes]
            rows[:, 0] = amplitudes.real.reshape(-1, 1 << lanes)
            rows[:, 1] = amplitudes.imag.reshape(-1, 1 << lanes)

    def _indices(self, columns: tuple[int, ...] | list[int], constant: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """(first, what `columns` make of this rank's indices from there on), block by block."""
        table = np.zeros(1, np.uint64)
        low = min(self.plan.local, _BLOCK.bit_length() - 1)
        for c in columns[:low]:
            table = np.concatenate([table, table ^ np.uint64(c)])
        for at in range(0, 1 << self.plan.local, 1 << low):
            high = constant
            for i in range(low, len(columns)):
                if (self._origin | at) >> i & 1:
                    high ^= columns[i]
            yield at, table ^ np.uint64(high)

    def _blocks(
        self, psi: np.ndarray, columns: list[int], constant: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(what `columns` make of indices, amplitudes) of this rank, block by block."""
        lanes = self.mover.lane_bits
        grid = psi.reshape(-1, 2, 1 << lanes)
        for at, index in self._indices(columns, constant):
            rows = grid[at >> lanes : at + len(index) >> lanes].astype(float)
            yield index, (rows[:, 0] + 1j * rows[:, 1]).reshape(-1)

    def gathered(self, states: np.ndarray, frame: Frame, first: bool = False) -> np.ndarray:
        """The whole state on every rank, after a frame in the coordinates at the end (or `first`)."""
        at = self.plan.steps[0 if first else -1].coordinates
        own = np.concatenate([a for _, a in self._blocks(states, list(at.columns))])
        all_ = np.empty(1 << self.model.n_qubits, complex)
        self.ranks.comm.Allgather(own, all_)
        # entry j' goes, with the sign of z.j', to the index of j' xor x
        j = np.arange(len(all_), dtype=np.uint64)
        out = np.empty_like(all_)
        to = np.zeros_like(j)
        for i, c in enumerate(at.columns):
            to ^= np.where((j ^ np.uint64(frame[0])) >> np.uint64(i) & np.uint64(1), np.uint64(c), np.uint64(0))
        out[to] = np.where(np.bitwise_count(j & np.uint64(frame[1])) & 1, -all_, all_)
        return out

    def _register_columns(self, qubits: list[int]) -> tuple[list[int], int]:
        """What an index adds to the value of a register, bit by bit, and what the frame adds."""
        at = self.plan.steps[-1].coordinates
        columns = [sum((c >> q & 1) << k for k, q in enumerate(qubits)) for c in at.columns]
        moved = 0
        for i, c in enumerate(columns):
            moved ^= c * (self.end[0] >> i & 1)
        return columns, moved

    def register(self, qubits: list[int]) -> np.ndarray:
        """How likely each value of some qubits is, not normalised."""
        columns, moved = self._register_columns(qubits)
        p = np.zeros(1 << len(qubits))
        for index, amplitudes in self._blocks(self.psi, columns, moved):
            p += np.bincount(index.astype(np.int64), amplitudes.real**2 + amplitudes.imag**2, len(p))
        return self.ranks.sum(p)

    def drawn(self, uniform: np.ndarray) -> np.ndarray:
        """The basis states where the cumulative distribution passes `uniform`, (shots,) uint64: the highest qubits
        first, then the next ones of those states that begin so."""
        n, shots = self.model.n_qubits, len(uniform)
        prefix, left = np.zeros(shots, np.uint64), np.array(uniform)
        for top in range(n, 0, -_LEVEL):
            low = max(top - _LEVEL, 0)
            known, which = np.unique(prefix, return_inverse=True)
            columns, moved = self._register_columns(list(range(low, n)))
            bits = top - low
            p = np.zeros((len(known), 1 << bits))
            for index, amplitudes in self._blocks(self.psi, columns, moved):
                above, value = index >> np.uint64(bits), (index & np.uint64((1 << bits) - 1)).astype(np.int64)
                row = np.minimum(np.searchsorted(known, above), len(known) - 1)
                ours = known[row] == above
                weight = amplitudes.real**2 + amplitudes.imag**2
                flat = (row[ours] << bits) + value[ours]
                p += np.bincount(flat, weight[ours], p.size).reshape(p.shape)
            steps = np.cumsum(self.ranks.sum(p), axis=1)
            if top == n:
                left *= steps[0, -1]
            for k in range(len(known)):
                mine = which == k
                at = np.minimum(np.searchsorted(steps[k], left[mine], side="right"), (1 << bits) - 1)
                left[mine] -= np.where(at > 0, steps[k][at - 1], 0.0)
                prefix[mine] = prefix[mine] << np.uint64(bits) | at.astype(np.uint64)
        return prefix


def _pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    for at in range(0, len(array), _BLOCK):
        yield array[at : at + _BLOCK]


def _product(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Amplitudes of a product state, eight qubits at a time."""
    out = np.ones(len(index), complex)
    for q in range(0, len(rows), 8):
        table = np.ones(1, complex)
        for row in rows[q : q + 8]:
            table = np.kron(row, table)
        out *= table[(index >> np.uint64(q) & np.uint64(len(table) - 1)).astype(np.int64)]
    return out
