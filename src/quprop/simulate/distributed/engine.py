"""One state over the ranks of MPI: the engine. All ranks call the same method with the same arrays, and all get the
same bits back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import numpy as np

from quprop.errors import QupropError, count_of
from quprop.model import Model
from quprop.model.channels import DENSITY, refuse_channels
from quprop.simulate.distributed.exchange import Moved, Mover
from quprop.simulate.distributed.group import Spare, StateGroup
from quprop.simulate.distributed.part import RankPlan, rank_plan
from quprop.simulate.distributed.ranks import Ranks, world
from quprop.simulate.distributed.settings import Distributed
from quprop.simulate.distributed.stretches import least_qubits
from quprop.simulate.distributed.traffic import rank_memory
from quprop.simulate.engine import Arrays, made, no_jet, threads_of
from quprop.simulate.state_vector import blocks
from quprop.simulate.state_vector.native import ORDINARY, PRECISIONS, NativeEngine, load_kernels
from quprop.simulate.state_vector.reference import STATE_VECTOR
from quprop.simulate.state_vector.rows import check_rows, ldexp, peak, shift
from quprop.simulate.vectors import drawn_states

_STATES = {"values": 2, "value_and_grad": 2, "vjp": 2}  # that a rank holds a part of; 1 of all else


@lru_cache(maxsize=8, typed=True)  # threads=True is not threads=1
def distributed_engine(settings: Distributed, precision: str, threads: int | None) -> DistributedEngine:
    """One engine for all who ask alike."""
    return DistributedEngine(settings, precision, threads)


class DistributedEngine:
    """Exact values and gradients by one state over many ranks; see `quprop.Distributed`.

    `moved` counts what this rank has sent since it was made or `moved` was set anew. ranks: all that run if left out.

    Raises: QupropError for another precision, and without MPI.
    """

    name = "distributed"
    jet = no_jet
    state_jet = no_jet

    def __init__(
        self, settings: Distributed, precision: str = "double", threads: int | None = None, ranks: Ranks | None = None
    ) -> None:
        if precision not in PRECISIONS:
            raise QupropError(f'precision is "double" or "single", got {precision!r}')
        self.settings, self.precision = settings, precision
        self.ranks = ranks or world()
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
        self.threads = self.ranks.shared_processors() if threads is None else threads_of(threads)
        self.isa, kernels = load_kernels()
        self._real = np.dtype(float if precision == "double" else np.float32)
        self._kind = getattr(kernels, {"double": "PartDouble", "single": "PartSingle"}[precision])
        self._vector_bytes: int = kernels.vector_bytes
        self._lane_bits = (kernels.vector_bytes // self._real.itemsize).bit_length() - 1
        self._native = made(NativeEngine, precision, self.threads)
        self._plans: WeakKeyDictionary[Model, dict[tuple[int, bool], RankPlan]] = WeakKeyDictionary()
        self._movers: dict[int, Mover] = {}
        self._spare = Spare()
        self.moved = Moved()

    def __repr__(self) -> str:
        return (
            f"DistributedEngine({self.settings!r}, {self.precision!r}, ranks={self.ranks.size}, threads={self.threads})"
        )

    # What the public functions ask ------------------------------------------------------------------------------------

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        if model.exponents is not None:
            return ldexp(self.values(model.unit, theta, x), model.exponents)

        def one(group: StateGroup, s: int, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            out[:] = group.forward(theta, x, look=True)

        def alone(rows: slice, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
            return self._native.values(model, theta, x)

        return self._each(model, theta, x, one, alone, model.n_observables)

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        if model.exponents is not None:
            return self.value_and_grad(model.unit, theta, x, ldexp(weights, model.exponents))
        found = self._gradient(model, theta, x, weights)
        return found[:, 0].copy(), found[:, 1 : 1 + model.n_params].copy()

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        exponents = model.exponents
        if exponents is not None:
            values, inner = self.vjp(model.unit, theta, x)
            return ldexp(values, exponents), lambda c, sum_theta=False: inner(ldexp(c, exponents), sum_theta)
        theta, x = theta.copy(), x.copy()
        single = max(len(theta), len(x)) == 1
        per_state = self._per_state(model, max(len(theta), len(x)))  # the pullback's too, whatever memory is left then
        kept: list[Any] = []  # a group whose psi stands at the end of the circuit of the only sample, or a pullback

        def one(group: StateGroup, s: int, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            out[:] = group.forward(theta, x, look=True)
            if single:
                kept[:] = [group]

        def alone(rows: slice, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
            values, pullback = self._native.vjp(model, theta, x)
            kept[:] = [pullback]
            return values

        values = self._each(model, theta, x, one, alone, model.n_observables, kept=kept, per_state=per_state)

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            check_rows("cotangent", cotangent, model.n_observables, len(values))
            found = self._gradient(model, theta, x, cotangent, kept, per_state)
            d_theta, d_x = found[:, 1 : 1 + model.n_params], found[:, 1 + model.n_params :]
            return d_theta.sum(axis=0) if sum_theta else d_theta.copy(), d_x.copy()

        return values, pullback

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The circuit's final states on every rank, residual Clifford included, up to a global phase: (B, 2^n)."""

        def one(group: StateGroup, s: int, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            group.forward(theta, x)
            whole = group.gathered(group.psi, group.end)
            out[0::2], out[1::2] = whole.real, whole.imag

        def alone(rows: slice, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(self._native.states(model, theta, x)).view(float)

        return self._each(model, theta, x, one, alone, 2 << model.n_qubits, True).view(complex)

    def register_probabilities(self, model: Model, theta: np.ndarray, x: np.ndarray, qubits: list[int]) -> np.ndarray:
        """How likely each value of some qubits is, the first being its lowest bit: (B, 2^k)."""

        def one(group: StateGroup, s: int, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            group.forward(theta, x)
            out[:] = group.register(qubits)

        def alone(rows: slice, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
            index = np.arange(1 << model.n_qubits)
            value = sum((index >> q & 1) << k for k, q in enumerate(qubits))
            states = self._native.states(model, theta, x)
            return np.array([np.bincount(value, s.real**2 + s.imag**2, 1 << len(qubits)) for s in states])

        found = self._each(model, theta, x, one, alone, 1 << len(qubits), True)
        return found / found.sum(axis=-1, keepdims=True)

    def samples(self, model: Model, theta: np.ndarray, x: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """The basis states at `uniform` numbers (B, shots) of the cumulative distribution in the order of the index:
        uint64 (B, shots)."""

        def one(group: StateGroup, s: int, theta: np.ndarray, x: np.ndarray, out: np.ndarray) -> None:
            group.forward(theta, x)
            out.view(np.uint64)[:] = group.drawn(uniform[s])

        def alone(rows: slice, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
            drawn = np.empty((rows.stop - rows.start, uniform.shape[1]), np.uint64)
            for row, u, s in zip(drawn, uniform[rows], self._native.states(model, theta, x), strict=True):
                row[:] = drawn_states(s.real**2 + s.imag**2, u)
            return drawn.view(float)

        return self._each(model, theta, x, one, alone, uniform.shape[1], True).view(np.uint64)

    def hvp(self, *_: Any) -> NoReturn:
        raise _refusal("Hessian-vector products")

    def state_vjp(self, *_: Any) -> NoReturn:
        raise _refusal("derivatives of states")

    def tangents(self, *_: Any) -> NoReturn:
        raise _refusal("derivatives of states")

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes that each rank needs for "values", "value_and_grad", "vjp" or "states" of a batch."""
        per_state = self._per_state(model, batch)
        if per_state == 1:
            return self._native.memory(model, -(-batch // self.ranks.size), "states" if what == "register" else what)
        needed = self._memory(model, per_state, what)
        return needed + (32 * batch << model.n_qubits if what == "states" else 0)

    def require(self, needed: int, what: str, cheaper: str) -> None:
        """Refuses, on all ranks in one sentence, what does not fit on all of them."""
        lacking = self.ranks.lacking(needed)
        if lacking:
            raise QupropError(f"{what} needs {lacking}; {cheaper}, or more ranks on more nodes")

    # Ranks, groups, samples -------------------------------------------------------------------------------------------

    def _memory(self, model: Model, per_state: int, what: str) -> int:
        states = _STATES.get(what, 1)
        return rank_memory(model, per_state, 2 * self._real.itemsize, self.settings.chunk, states)

    def _per_state(self, model: Model, batch: int) -> int:
        """Over how many ranks a state is spread: groups for as many samples as there are, unless a state needs more."""
        most = self.ranks.size if self.settings.ranks_per_state is None else self.settings.ranks_per_state
        while most > 1 and model.n_qubits < least_qubits(most.bit_length() - 1):
            most //= 2
        if self.settings.ranks_per_state is not None:
            if most < self.settings.ranks_per_state:
                raise QupropError(
                    f"a state of {model.n_qubits} qubits is spread over {count_of(most, 'rank')} at most, got "
                    f"ranks_per_state={self.settings.ranks_per_state}"
                )
            return most
        groups = 1 << min(batch, self.ranks.size).bit_length() - 1
        wanted = min(most, self.ranks.size // groups)
        while wanted < most and self.ranks.lacking(self._memory(model, wanted, "vjp")):
            wanted *= 2
        return wanted

    def _group(self, model: Model, per_state: int, clifford: bool) -> StateGroup:
        ranks = self.ranks.group(per_state)
        known = self._plans.setdefault(model, {})
        key = ranks.size, clifford
        if key not in known:
            planned = blocks.with_clifford(model) if clifford else model
            known[key] = rank_plan(
                planned, ranks.size.bit_length() - 1, self._kind, self._vector_bytes, self._lane_bits
            )
        if ranks.size not in self._movers:
            self._movers[ranks.size] = Mover(ranks, self._kind, self._lane_bits, self.settings.chunk, self.threads)
        mover = self._movers[ranks.size]
        mover.moved = self.moved
        return StateGroup(model, known[key], mover, self._spare)

    def _each(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        one: Callable[[StateGroup, int, np.ndarray, np.ndarray, np.ndarray], None],
        alone: Callable[[slice, np.ndarray, np.ndarray], np.ndarray],
        size: int,
        clifford: bool = False,
        kept: Sequence[Any] = (),
        per_state: int = 0,
    ) -> np.ndarray:
        """A row of `size` numbers a sample, each from one group of ranks, then given to all: `one` by one, or those of
        a rank that holds whole states `alone`. kept: groups whose states are wanted later."""
        batch = max(len(theta), len(x))
        check_rows("theta", theta, model.n_params, batch)
        check_rows("x", x, model.n_inputs, batch)
        refuse_channels(model, STATE_VECTOR, DENSITY)
        per_state = per_state or self._per_state(model, batch)
        groups = self.ranks.size // per_state
        rows = np.zeros((batch, size))
        cuts = [batch * g // groups for g in range(groups + 1)]
        mine = slice(*cuts[self.ranks.rank // per_state :][:2])
        if per_state == 1:
            if mine.stop > mine.start:
                rows[mine] = alone(mine, _of(theta, mine), _of(x, mine))
        else:
            group = self._group(model, per_state, clifford)
            for s in range(mine.start, mine.stop):
                one(group, s, theta[s if len(theta) > 1 else 0], x[s if len(x) > 1 else 0], rows[s])
            if group not in kept:
                group.release()
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
        kept: list[Any] | None = None,
        per_state: int = 0,
    ) -> np.ndarray:
        """Rows of the value and its derivatives by theta and x, (B, 1 + P + D); `kept`: see `vjp`."""
        batch = max(len(theta), len(x))
        check_rows("weights", weights, model.n_observables, batch)
        out = shift(peak(weights), *ORDINARY[self.precision])
        if out is not None:  # all results are linear in the weights
            return ldexp(self._gradient(model, theta, x, ldexp(weights, -out), kept, per_state), out)

        def one(group: StateGroup, s: int, theta: np.ndarray, x: np.ndarray, row: np.ndarray) -> None:
            if kept:
                group = kept.pop()
            else:
                group.forward(theta, x)
            w = weights[s if len(weights) > 1 else 0]
            row[0], row[1 : 1 + model.n_params], row[1 + model.n_params :] = group.backward(theta, x, w)
            group.release()

        def alone(rows: slice, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
            w = np.broadcast_to(_of(weights, rows), (rows.stop - rows.start, weights.shape[1]))
            if kept:
                value = np.zeros(len(w))
                d_theta, d_x = kept[0](w, False)
            else:
                values, pullback = self._native.vjp(model, theta, x)
                value = (w * values).sum(axis=1)
                d_theta, d_x = pullback(w, False)
            return np.concatenate([value[:, None], d_theta, d_x], axis=1)

        size = 1 + model.n_params + model.n_inputs
        return self._each(model, theta, x, one, alone, size, per_state=per_state)


def _of(rows: np.ndarray, some: slice) -> np.ndarray:
    """Some samples' rows, of an array with a row for each or one for all."""
    return rows[some] if len(rows) > 1 else rows


def _refusal(what: str) -> QupropError:
    return QupropError(f'one state over many ranks has values and gradients, not {what}; use engine="native" for those')
