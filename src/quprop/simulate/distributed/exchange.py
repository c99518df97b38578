"""Amplitudes from rank to rank, in messages of bounded size: while one is under way the next is packed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.simulate.distributed.ranks import Ranks
from quprop.simulate.distributed.stretches import Exchange, piece_bits


@dataclass(slots=True)
class Moved:
    """What one rank has sent: exchanges (a swap of whole parts is one), messages and bytes."""

    exchanges: int = 0
    messages: int = 0
    bytes: int = 0


def parity(mask: int) -> int:
    return mask.bit_count() & 1


def message_bytes(part: int, members: int, states: int, chunk: int, local: int) -> int:
    """How much of the `part` of one state that goes to each of the members of a group is sent at once."""
    room = max(1, chunk // (members * states))
    return min(part >> piece_bits(local), 1 << room.bit_length() - 1)


def _block(state: np.ndarray, first: int, constant: int, columns: np.ndarray, size: int) -> np.ndarray:
    """The amplitudes of a message from number `first` on, where they follow one another in the state."""
    at = constant
    for i, column in enumerate(columns.tolist()):
        at |= column * (first >> i & 1)
    return state[2 * at : 2 * at + size]


@dataclass(slots=True)
class Mover:
    """Moves the parts of states that the ranks of one group hold, arrays in the layout of the kernels `kind`.

    lane_bits: the lanes of a vector. chunk: bytes of a buffer; there are four.
    """

    ranks: Ranks
    kind: Any
    lane_bits: int
    chunk: int
    threads: int
    moved: Moved = field(default_factory=Moved)
    buffer: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))

    def _room(self, shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
        size = math.prod(shape) * kind.itemsize
        if len(self.buffer) < size:
            self.buffer = np.empty(size, np.uint8)
        return self.buffer[:size].view(kind).reshape(shape)

    def exchange(
        self,
        exchange: Exchange,
        states: list[np.ndarray],
        backwards: bool = False,
        work: Callable[[int], None] | None = None,
    ) -> None:
        """From the coordinates before an exchange to those after it, or back, which is the same: all states in the same
        messages.

        For every value of the local bits that are no pivots there is one amplitude a member of the group. The one that
        goes to a member stands where the functionals have its number, and in that place comes the one that it sends; a
        rank's own stays where it is.

        work: what is done on each of the pieces of the parts (`piece_bits`), where no pivot is among the bits that cut
        them: as soon as it has arrived, or (backwards) before it leaves, while others are on their way.
        """
        pivots, bits = exchange.pivots, exchange.ranks
        local = states[0].size.bit_length() - 2  # bits of an index that are a rank's own
        rank = self.ranks.rank
        columns = np.array(
            [
                1 << b | sum((f >> b & 1) << q for q, f in zip(pivots, exchange.functionals, strict=True))
                for b in range(local)
                if b not in pivots
            ],
            np.uint64,
        )
        here = [parity(f & rank << local) for f in exchange.functionals]
        others = []  # and where the amplitudes that they get or sent begin
        for number in range(1 << len(bits)):
            value = [number >> i & 1 for i in range(len(bits))]
            other = rank
            for bit, v in zip(bits, value, strict=True):
                other = other & ~(1 << bit - local) | v << bit - local
            if other != rank:
                others.append((other, sum((v ^ h) << q for v, h, q in zip(value, here, pivots, strict=True))))
        self.moved.exchanges += 1

        vector = states[0].itemsize << self.lane_bits + 1
        vectors = 1 << len(columns) - self.lane_bits  # that go to each
        at_once = max(1, message_bytes(vectors * vector, len(others) + 1, len(states), self.chunk, local) // vector)
        of_piece = vectors >> piece_bits(local)
        shape = (2, 2, len(others), len(states), at_once * 2 << self.lane_bits)
        buffers = self._room(shape, states[0].dtype)
        flights: list[tuple[list[Any], int, np.ndarray]] = []

        units = bool((columns & (columns - np.uint64(1)) == 0).all())
        blocks = units and at_once << self.lane_bits <= 1 << min(pivots)  # of amplitudes that follow one another

        def move(first: int, messages: np.ndarray, to_state: bool) -> None:
            for (_, at), of_member in zip(others, messages, strict=True):
                for state, message in zip(states, of_member, strict=True):
                    if blocks:
                        own = _block(state, first << self.lane_bits, at, columns, message.size)
                        np.copyto(*((own, message) if to_state else (message, own)))
                    else:
                        self.kind.move(columns, at, state, first, message, to_state, self.threads)

        def land() -> None:
            requests, first, received = flights.pop(0)
            for request in requests:
                request.Wait()
            move(first, received, True)
            if work is not None and not backwards and not (first + at_once) % of_piece:
                work(first // of_piece)

        for turn, first in enumerate(range(0, vectors, at_once)):
            if work is not None and backwards and not first % of_piece:
                work(first // of_piece)
            sent, received = buffers[turn % 2]
            move(first, sent, False)
            requests = []
            for (other, _), out, into in zip(others, sent, received, strict=True):
                requests.append(self.ranks.comm.Irecv(into, other))
                requests.append(self.ranks.comm.Isend(out, other))
                self.moved.messages += 1
                self.moved.bytes += out.nbytes
            flights.append((requests, first, received))
            if turn:
                land()
        land()

    def swap(self, state: np.ndarray, across: int) -> None:
        """Puts the state's part of the rank whose bits differ by `across` in the place of this rank's own."""
        if not across:
            return
        other = self.ranks.rank ^ across
        size = max(1, self.chunk // state.itemsize)
        buffer = self._room((min(size, state.size),), state.dtype)
        self.moved.exchanges += 1
        for first in range(0, state.size, size):
            part = state[first : first + size]
            received = buffer[: part.size]
            self.ranks.comm.Sendrecv(part, other, 0, received, other, 0)
            part[:] = received
            self.moved.messages += 1
            self.moved.bytes += part.nbytes
