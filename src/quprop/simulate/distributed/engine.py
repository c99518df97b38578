"""One state over the ranks of MPI: the engine. All ranks call the same method with the same arrays, and all get the same
bits back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import numpy as np

from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.model.channels import DENSITY, refuse_channels
from quprop.simulate.distributed.exchange import Moved, Mover
from quprop.simulate.distributed.part import Frame, RankPlan, Step, back, rank_plan, through
from quprop.simulate.distributed.ranks import Ranks, world
from quprop.simulate.distributed.settings import Distributed
from quprop.simulate.distributed.stretches import PIECE_BITS, least_qubits
from quprop.simulate.engine import Arrays, no_jet
from quprop.simulate.state_vector.native import ORDINARY, PRECISIONS, load_kernels, with_clifford
from quprop.simulate.state_vector.reference import STATE_VECTOR
from quprop.simulate.state_vector.rows import check_rows, ldexp, peak, shift

_BLOCK = 1 << 16  # amplitudes that are looked at together
_LEVEL = 10  # qubits whose bits a pass over the state draws
_STATES = {"values": 2, "value_and_grad": 2, "vjp": 2}  # that a rank holds a part of; 1 of all else


@lru_cache(maxsize=8)
def distributed_engine(settings: Distributed, precision: str, threads: int | None) -> DistributedEngine:
    """One engine for all who ask alike."""
    return DistributedEngine(settings, precision, threads)


class DistributedEngine:
    """Exact values and gradients by one state over many ranks; see `quprop.Distributed`.

    `moved` counts what this rank has sent since it was made or `moved` was set anew.

    Raises: QupropError for another precision, and without MPI.
    """

    name = "distributed"
    jet = no_jet
    state_jet = no_jet

    def __init__(self, settings: Distributed, precision: str = "double", threads: int | None = None) -> None:
        if precision not in PRECISIONS:
            raise QupropError(f'precision is "double" or "single", got {precision!r}')
        self.settings, self.precision = settings, precision
        self.ranks = world()
        if self.ranks.size & (self.ranks.size - 1):
            raise QupropError(
                f"one state takes a power of two of ranks, got {self.ranks.size}; start mpirun -n "
                f"{1 << self.ranks.size.bit_length() - 1}"
            )
        if settings.ranks_per_state is not None and settings.ranks_per_state > self.ranks.size:
            raise QupropError(
                f"ranks_per_state is {settings.ranks_per_state} and {count_of(self.ranks.size, 'rank')} run; start "
                f"mpirun -n {settings.ranks_per_state}"
            )
        self.threads = threads or self.ranks.shared_processors()
        self.isa, kernels = load_kernels()
        self._real = np.dtype(float if precision == "double" else np.float32)
        self._kind = getattr(kernels, {"double": "PartDouble", "single": "PartSingle"}[precision])
        self._vector_bytes: int = kernels.vector_bytes
        self._lane_bits = (kernels.vector_bytes // self._real.itemsize).bit_length() - 1
        self._plans: WeakKeyDictionary[Model, dict[tuple[int, bool], RankPlan]] = WeakKeyDictionary()
        self.moved = Moved()

    def __repr__(self) -> str:
        return f"DistributedEngine({self.settings!r}, {self.precision!r}, ranks={self.ranks.size}, threads={self.threads})"

    # What the public functions ask ------------------------------------------------------------------------------------

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        if model.exponents is not None:
            return ldexp(self.values(model.unit, theta, x), model.exponents)

        def one(group: _Group, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            group.forward(theta, x)
            out[:] = group.values()

        return self._each(model, theta, x, "values", one, model.n_observables)

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        if model.exponents is not None:
            return self.value_and_grad(model.unit, theta, x, ldexp(weights, model.exponents))
        found = self._gradient(model, theta, x, weights, "value_and_grad")
        return found[:, 0].copy(), found[:, 1 : 1 + model.n_params].copy()

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        exponents = model.exponents
        if exponents is not None:
            values, inner = self.vjp(model.unit, theta, x)
            return ldexp(values, exponents), lambda c, sum_theta=False: inner(ldexp(c, exponents), sum_theta)
        theta, x = theta.copy(), x.copy()
        kept: list[_Group] = []  # whose psi stands at the end of the circuit, of the only sample

        def one(group: _Group, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            group.forward(theta, x)
            out[:] = group.values()
            kept[:] = [group]

        values = self._each(model, theta, x, "vjp", one, model.n_observables)
        if len(values) > 1:
            kept.clear()

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            check_rows("cotangent", cotangent, model.n_observables, len(values))
            found = self._gradient(model, theta, x, cotangent, "vjp", kept)
            d_theta, d_x = found[:, 1 : 1 + model.n_params], found[:, 1 + model.n_params :]
            return d_theta.sum(axis=0) if sum_theta else d_theta.copy(), d_x.copy()

        return values, pullback

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The circuit's final states on every rank, residual Clifford included, up to a global phase: (B, 2^n)."""

        def one(group: _Group, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            group.forward(theta, x)
            whole = group.gathered(group.psi, group.end)
            out[0::2], out[1::2] = whole.real, whole.imag

        return self._each(model, theta, x, "states", one, 2 << model.n_qubits, True).view(complex)

    def register_probabilities(self, model: Model, theta: np.ndarray, x: np.ndarray, qubits: list[int]) -> np.ndarray:
        """How likely each value of some qubits is, the first being its lowest bit: (B, 2^k)."""

        def one(group: _Group, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            group.forward(theta, x)
            out[:] = group.register(qubits)

        found = self._each(model, theta, x, "states", one, 1 << len(qubits), True)
        return found / found.sum(axis=-1, keepdims=True)

    def samples(self, model: Model, theta: np.ndarray, x: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """The basis states at `uniform` numbers (B, shots) of the cumulative distribution in the order of the index:
        uint64 (B, shots)."""
        def one(group: _Group, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            group.forward(theta, x)
            out.view(np.uint64)[:] = group.drawn(uniform[self._sample])

        return self._each(model, theta, x, "states", one, uniform.shape[1], True).view(np.uint64)

    def hvp(self, *_: Any) -> NoReturn:
        raise _refusal("Hessian-vector products")

    def state_vjp(self, *_: Any) -> NoReturn:
        raise _refusal("derivatives of states")

    def tangents(self, *_: Any) -> NoReturn:
        raise _refusal("derivatives of states")

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes that each rank needs for "values", "value_and_grad", "vjp" or "states" of a batch."""
        needed = self._memory(model, self._per_state(model, batch), what)
        return needed + (32 * batch << model.n_qubits if what == "states" else 0)

    def require(self, needed: int, what: str, cheaper: str) -> None:
        """Refuses, on all ranks in one sentence, what does not fit on all of them."""
        lacking = self.ranks.lacking(needed)
        if lacking:
            raise QupropError(f"{what} needs {lacking}; {cheaper}, or more ranks on more nodes")

    # Ranks, groups, samples -------------------------------------------------------------------------------------------

    def _memory(self, model: Model, per_state: int, what: str) -> int:
        part = 2 * self._real.itemsize << model.n_qubits >> (per_state.bit_length() - 1)
        whole = 48 << model.n_qubits if model.state.kind in ("amplitudes", "encoded") else 0
        return _STATES.get(what, 1) * part + 4 * self.settings.chunk + 256 * model.n_rotations + whole

    def _per_state(self, model: Model, batch: int) -> int:
        """Over how many ranks a state is spread: groups for as many samples as there are, unless a state needs more."""
        most = self.ranks.size if self.settings.ranks_per_state is None else self.settings.ranks_per_state
        while most > 1 and model.n_qubits < least_qubits(most.bit_length() - 1):
            most //= 2
        if self.settings.ranks_per_state is not None:
            if most < self.settings.ranks_per_state:
                raise QupropError(
                    f"a state of {model.n_qubits} qubits is spread over {most} ranks at most, got ranks_per_state="
                    f"{self.settings.ranks_per_state}"
                )
            return most
        groups = 1 << min(batch, self.ranks.size).bit_length() - 1
        wanted = min(most, self.ranks.size // groups)
        while wanted < most and self.ranks.lacking(self._memory(model, wanted, "vjp")):
            wanted *= 2
        return wanted

    def _group(self, model: Model, batch: int, clifford: bool) -> _Group:
        refuse_channels(model, STATE_VECTOR, DENSITY)
        ranks = self.ranks.group(self._per_state(model, batch))
        known = self._plans.setdefault(model, {})
        key = ranks.size, clifford
        if key not in known:
            planned = with_clifford(model) if clifford else model
            known[key] = rank_plan(
                planned, ranks.size.bit_length() - 1, self._kind, self._vector_bytes, self._lane_bits
            )
        mover = Mover(ranks, self._kind, known[key].local, self._lane_bits, self.settings.chunk, self.threads, self.moved)
        return _Group(model, known[key], mover, self._real)

    def _each(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        what: str,
        one: Callable[[_Group, np.ndarray, np.ndarray, np.ndarray], None],
        size: int,
        clifford: bool = False,
    ) -> np.ndarray:
        """A row of `size` numbers a sample: each group makes its own, then all get all."""
        batch = max(len(theta), len(x))
        check_rows("theta", theta, model.n_params, batch)
        check_rows("x", x, model.n_inputs, batch)
        group = self._group(model, batch, clifford)
        per_state = group.ranks.size
        groups = self.ranks.size // per_state
        rows = np.zeros((batch, size))
        cuts = [batch * g // groups for g in range(groups + 1)]
        mine = self.ranks.rank // per_state
        for s in range(cuts[mine], cuts[mine + 1]):
            self._sample = s
            one(group, theta[s if len(theta) > 1 else 0], x[s if len(x) > 1 else 0], rows[s])
        if groups > 1:
            for g in range(groups):
                if cuts[g + 1] > cuts[g]:
                    self.ranks.comm.Bcast(rows[cuts[g] : cuts[g + 1]], g * per_state)
        return rows

    def _gradient(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        weights: np.ndarray,
        what: str,
        kept: list[_Group] | None = None,
    ) -> np.ndarray:
        """Rows of the value and its derivatives by theta and x, (B, 1 + P + D)."""
        batch = max(len(theta), len(x))
        check_rows("weights", weights, model.n_observables, batch)
        out = shift(peak(weights), *ORDINARY[self.precision])
        if out is not None:  # all results are linear in the weights
            return ldexp(self._gradient(model, theta, x, ldexp(weights, -out), what, kept), out)

        def one(group: _Group, theta: np.ndarray, x: np.ndarray, row: np.ndarray) -> None:
            if kept:
                group = kept.pop()
            else:
                group.forward(theta, x)
            w = weights[self._sample if len(weights) > 1 else 0]
            row[0] = group.observe(w)
            row[1 : 1 + model.n_params], row[1 + model.n_params :] = group.backward(theta, x)

        return self._each(model, theta, x, what, one, 1 + model.n_params + model.n_inputs)


def _refusal(what: str) -> QupropError:
    return QupropError(f'one state over many ranks has values and gradients, not {what}; use engine="native" for those')


class _Group:
    """A model on the ranks that hold one state: psi, and lambda where it is wanted."""

    def __init__(self, model: Model, plan: RankPlan, mover: Mover, real: np.dtype) -> None:
        self.model, self.plan, self.mover, self.ranks = model, plan, mover, mover.ranks
        self._real = real
        self._origin = self.ranks.rank << plan.local
        self._psi: np.ndarray | None = None
        self._lambda: np.ndarray | None = None
        self._frames: list[Frame] = []  # before each stretch and at the end, in the model's own bits
        self._middle: list[Frame] = []  # of each stretch, before what waits for the whole exchange

    def _made(self) -> np.ndarray:
        return self.mover.kind.amplitudes(1 << self.plan.local)

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
        size = 2 << self.plan.local >> PIECE_BITS
        return states[size * piece : size * (piece + 1)], self._origin | piece << self.plan.local - PIECE_BITS

    # Sweeps -----------------------------------------------------------------------------------------------------------

    def forward(self, theta: np.ndarray, x: np.ndarray) -> None:
        """psi at the end of the circuit, up to the frame there."""
        self._start(x)
        self._frames, self._middle = [(0, 0)], []
        for step in self.plan.steps:
            frame = through(self._frames[-1], step.coordinates)
            if step.first is not None:
                middle = [frame]

                def work(piece: int, step: Step = step, frame: Frame = frame, middle: list[Frame] = middle) -> None:
                    psi, origin = self._piece(self.psi, piece)
                    middle[0] = step.first.forward(theta, x, frame, psi, origin, self.mover.threads)

                self.mover.exchange(step.exchange, [self.psi], pieces=1 << PIECE_BITS, work=work)
                frame = middle[0]
            elif step.exchange is not None:
                self.mover.exchange(step.exchange, [self.psi])
            self._middle.append(frame)
            after = step.part.forward(theta, x, frame, self.psi, self._origin, self.mover.threads)
            self._frames.append(back(after, step.coordinates))

    def backward(self, theta: np.ndarray, x: np.ndarray) -> Arrays:
        """The derivatives of <psi|lambda>, by theta and x, once psi and lambda stand at the end of the circuit."""
        d_theta, d_x = np.zeros(self.model.n_params), np.zeros(self.model.n_inputs)
        encoded = self.model.state.kind == "encoded"
        for k, step in reversed(list(enumerate(self.plan.steps))):
            both, out = [self.psi, self.other], (d_theta, d_x)
            alone = k == 0 and not encoded
            step.part.backward(theta, x, self._middle[k], alone, *both, self._origin, self.mover.threads, *out)
            if step.first is not None:
                frame = through(self._frames[k], step.coordinates)

                def work(piece: int, step: Step = step, frame: Frame = frame) -> None:
                    (psi, origin), (costate, _) = self._piece(self.psi, piece), self._piece(self.other, piece)
                    step.first.backward(
                        theta, x, frame, False, psi, costate, origin, self.mover.threads, d_theta, d_x
                    )

                self.mover.exchange(step.exchange, both, True, 1 << PIECE_BITS, work)
            elif step.exchange is not None:
                self.mover.exchange(step.exchange, both, True)
        total = self.ranks.sum(np.concatenate([d_theta, d_x]))
        d_theta, d_x = total[: len(d_theta)], total[len(d_theta) :]
        if encoded:
            n = self.model.n_qubits
            adjoint = self.gathered(self.other, (0, 0), first=True)
            d_x[self.model.state.input_slice(n)] += self.model.state.pullback(n, x[None], adjoint[None])[0]
        return d_theta, d_x

    # Observables ------------------------------------------------------------------------------------------------------

    def values(self) -> np.ndarray:
        """<O_k>; psi stays."""
        found = np.zeros(len(self.plan.signs))
        if any(s.across for s in self.plan.strings):
            self.other[:] = self.psi
        for strings, bra in self._across():
            e = np.empty(len(strings.numbers))
            strings.part.expectations(self.end, bra, self.psi, self._origin, self.mover.threads, e)
            found[strings.numbers] = e
        return self.plan.values(self.ranks.sum(found))

    def observe(self, weights: np.ndarray) -> float:
        """lambda = O psi for O = sum_k weights_k O_k, and <psi|O|psi>."""
        per_string = self.plan.weights(weights)
        more, value = False, 0.0
        for strings, _ in self._across(values=False):
            value = strings.part.apply(
                per_string[strings.numbers], self.end, self.psi, self.other, more, self._origin, self.mover.threads
            )
            more = True
        if not more:
            self.other[:] = 0
        if any(s.across for s in self.plan.strings):
            value = sum(
                float(np.einsum("i,i->", a.astype(float), b.astype(float)))
                for a, b in zip(_pieces(self.psi), _pieces(self.other), strict=True)
            )
        return float(self.ranks.sum(np.array([value]))[0])

    def _across(self, values: bool = True) -> Iterator[tuple[Any, np.ndarray]]:
        """Each part of the strings while psi is that of the rank whose amplitudes they read, and this rank's own."""
        at = 0
        for strings in self.plan.strings:
            self.mover.swap(self.psi, at ^ strings.across)
            at = strings.across
            yield strings, self.other if at and values else self.psi
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

    def _blocks(self, psi: np.ndarray, columns: list[int], constant: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
