"""Loading a sparse real vector into amplitudes: an actual circuit, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from quprop.arrays import checked
from quprop.carleman.transfer.controlled import GateCount, controlled_ry, count_gates, flip
from quprop.carleman.transfer.queries import QueryLedger
from quprop.errors import QupropError
from quprop.model.circuit import Circuit

_MOST_QUBITS = 62  # of one index


class _Step(NamedTuple):
    """x on `target`; cx from `controls` to it; or Ry(angle) on it where all `controls` are 1."""

    kind: str
    target: int
    controls: tuple[int, ...] = ()
    angle: float = 0.0


@dataclass(frozen=True, eq=False)
class Upload:
    """A circuit that takes |0...0> to the loaded state, up to a global sign.

    entries: nonzero amplitudes r; index_qubits: m, of one index (qubit q is bit q of it). Qubits after
    those of the vector start and end in |0>.
    """

    circuit: Circuit
    entries: int
    index_qubits: int

    @property
    def gates(self) -> GateCount:
        return count_gates(self.circuit)

    def ledger(self, times: int = 1) -> QueryLedger:
        """The gates of so many loads."""
        gates = self.gates
        once = QueryLedger(
            loads=1,
            cnots=gates.cnots,
            rotations=gates.rotations,
            toffolis=gates.toffolis,
            qubits=self.circuit.n_qubits,
        )
        return times * once


def upload(vector: Any, *, clean: bool = False) -> Upload:
    """A circuit for sum_i v_i |i> / ||v||, v real of any length; zeros cost nothing.

    The r basis states are merged two at a time until one is left, and the circuit is that backwards (Gleinig and
    Hoefler, DAC 2021): each merge is at most m - 1 CNOTs and one rotation with at most log2 r controls, so O(r m) gates
    in all, found in O(r^2 m) time. No ancilla is used; `clean` adds log2 r - 1 qubits that make rotations with many
    controls up to four times cheaper.
    """
    array = _checked(vector)
    indices = np.flatnonzero(array)
    return upload_entries(indices, array[indices], max(1, (len(array) - 1).bit_length()), clean=clean)


def upload_entries(indices: Any, values: Any, n_qubits: int, *, clean: bool = False) -> Upload:
    """`upload` from the indices of the nonzero entries and their values, in 2^n_qubits dimensions."""
    index, value = _entries(indices, values, n_qubits)
    ancillas = max(0, len(index).bit_length() - 2) if clean else 0
    circuit = Circuit(n_qubits + ancillas)
    for step in _loader(index, value, n_qubits):
        _emit(circuit, step, clean=range(n_qubits, n_qubits + ancillas))
    return Upload(circuit, len(index), n_qubits)


def upload_tower(vector: Any, order: int, scale: float = 1.0) -> Upload:
    """A circuit for the lifted vector, sum_{j=1}^N ||v||^j |level j> |u>^{(x) j} |0>^{(x) N-j}, u = v/||v||, at norm 1.

    `scale` divides v first, as the rescaling of the lift does. Level j is written in N - 1 qubits, of which the first
    j - 1 are 1; they come first, then N registers of m qubits. The loader of register j >= 2 acts where qubit j - 2 is
    1: its flips become CNOTs and its rotations have one control more, while its CNOTs leave |0...0> alone. So the cost
    is that of N loaders and N - 1 rotations.
    """
    array = _checked(vector)
    _check_tower(order, scale)
    m = max(1, (len(array) - 1).bit_length())
    circuit = Circuit(order - 1 + order * m)
    _load_tower(circuit, array, order, scale)
    return Upload(circuit, int(np.count_nonzero(array)), m)


def upload_history(vectors: Any, order: int, scale: float, steps: int) -> Upload:
    """A circuit for the right-hand side of ``steps`` steps from u = 0 at norm 1,

        sum_t |t + 1> sum_j (v_t/scale)^{(x) j} |level j>,   v_t row t mod B of ``vectors`` (B, n).

    After the qubits of `upload_tower` come those of the time register, which counts to 2 T (T idle copies), and, where
    rows differ, two more. One row is loaded once, whatever T: the time register is a factor. Each of B rows is loaded
    where a flag says that its time has come, set by a flip on the time register for each of its times; as other
    branches hold other vectors, every gate of it takes the flag as a control.
    """
    table = checked("the vectors of an upload", vectors, ("B", "n"))
    if not table.any():
        raise QupropError("an upload takes numbers that are not all zero, as a state is made of them")
    _check_tower(order, scale)
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
        raise QupropError(f"`steps` is a whole number from 1, got {steps!r}")
    maps, n = table.shape
    maps = min(maps, steps)
    m = max(1, (n - 1).bit_length())
    first = order - 1 + order * m
    clock = range(first, first + (2 * steps).bit_length())
    circuit = Circuit(clock.stop + 2 * (maps > 1))
    logs = np.array([_log_levels(row, order, scale) for row in table[:maps]])
    size = np.sqrt(np.exp(2 * (logs - logs.max())).sum(axis=1))
    times = np.arange(steps)
    for step in _loader(*_entries(times + 1, size[times % maps], len(clock)), len(clock)):
        _emit(circuit, step._replace(target=first + step.target, controls=tuple(first + c for c in step.controls)))
    if maps == 1:
        _load_tower(circuit, table[0], order, scale)
    for i in range(maps if maps > 1 else 0):
        if table[i].any():
            _mark(circuit, times[i::maps] + 1, clock)
            _load_tower(circuit, table[i], order, scale, clock.stop)
            _mark(circuit, times[i::maps] + 1, clock)
    return Upload(circuit, int(np.count_nonzero(table[:maps])), m)


def _mark(circuit: Circuit, times: np.ndarray, clock: range) -> None:
    """Flip the flag, which follows the time register, at each of these times."""
    for t in map(int, times):
        zeros = [q for i, q in enumerate(clock) if not t >> i & 1]
        for q in zeros:
            circuit.x(q)
        flip(circuit, clock, clock.stop)
        for q in zeros:
            circuit.x(q)


def _check_tower(order: int, scale: float) -> None:
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order < 1:
        raise QupropError(f"`order` is the number of levels N, a whole number from 1, got {order!r}")
    if not (math.isfinite(scale) and scale > 0):
        raise QupropError(f"`scale` is a positive number, got {scale}")


def _log_levels(array: np.ndarray, order: int, scale: float) -> np.ndarray:
    """ln of the weights (||v||/scale)^j, j = 1..N; -inf for v = 0."""
    top = float(np.abs(array).max())
    if top == 0:
        return np.full(order, -np.inf)
    return np.arange(1, order + 1) * (math.log(top) + math.log(np.linalg.norm(array / top)) - math.log(scale))


def _load_tower(circuit: Circuit, array: np.ndarray, order: int, scale: float, flag: int | None = None) -> None:
    """The gates of `upload_tower`; where there is a ``flag``, if it is 1, with the qubit after it as an ancilla."""
    indices = np.flatnonzero(array)
    m = max(1, (len(array) - 1).bit_length())
    extra = () if flag is None else (flag,)
    logs = _log_levels(array, order, scale)
    # tail_j = sqrt(sum_{i >= j} rho^2i), scaled by the largest weight to stay in range
    weight = np.exp(logs - logs.max())
    tail = np.sqrt(np.cumsum(weight[::-1] ** 2)[::-1])
    for j in range(1, order):
        controlled_ry(circuit, 2 * math.atan2(tail[j], weight[j - 1]), ((j - 2,) if j > 1 else ()) + extra, j - 1)
    steps = _loader(*_entries(indices, array[indices], m), m)
    for register in range(order):
        first = order - 1 + register * m
        control = None if register == 0 else register - 1
        if flag is not None:
            control = flag if control is None else flag + 1
        if flag is not None and register:
            circuit.ccx(flag, register - 1, flag + 1)
        for step in steps:
            moved = step._replace(target=first + step.target, controls=tuple(first + c for c in step.controls))
            _emit(circuit, moved, control, strict=flag is not None)
        if flag is not None and register:
            circuit.ccx(flag, register - 1, flag + 1)


def upload_bound(entries: int, index_qubits: int, *, clean: bool = False) -> int:
    """An upper bound on the CNOTs of `upload` (Toffolis as six): (r - 1)(m - 1 + c(log2 r)), c of one merge's rotation.

    c(k) = 2^k up to 6 controls and 48 k - 140 beyond, when one qubit is all there is to borrow; with `clean` qubits
    6 k - 4 beyond 4. Random supports of up to a few thousand entries take between r m/2 and 2 r m.
    """
    if entries < 1 or index_qubits < 1 or entries > 2**index_qubits:
        raise QupropError(f"a vector has 1 to 2^m nonzero entries on m >= 1 qubits, got {entries} on {index_qubits}")
    k = entries.bit_length() - 1
    plain = 2**k if k <= 6 else 48 * k - 140
    return (entries - 1) * (index_qubits - 1 + (6 * k - 4 if clean and k > 4 else plain))


def _loader(index: np.ndarray, value: np.ndarray, m: int) -> list[_Step]:
    """The steps from |0...0> to the state, in order."""
    bits = (index[:, None] >> np.arange(m)) & 1 == 1
    amplitude = value / np.abs(value).max()
    amplitude /= np.linalg.norm(amplitude)
    steps: list[_Step] = []
    while len(bits) > 1:
        merged, kept, dif, controls = _pair(bits)
        if not bits[merged, dif]:
            steps.append(_Step("x", dif))
            bits[:, dif] ^= True
        for q in map(int, np.flatnonzero(bits[merged] != bits[kept])):
            if q != dif:
                steps.append(_Step("cx", q, (dif,)))
                bits[bits[:, dif], q] ^= True
        for q in controls:
            if not bits[kept, q]:
                steps.append(_Step("x", q))
                bits[:, q] ^= True
        angle = -2 * math.atan2(amplitude[merged], amplitude[kept])
        steps.append(_Step("ry", dif, tuple(controls), angle))
        amplitude[kept] = math.hypot(amplitude[kept], amplitude[merged])
        bits, amplitude = np.delete(bits, merged, 0), np.delete(amplitude, merged)
    steps += [_Step("x", int(q)) for q in np.flatnonzero(bits[0])]
    return [step._replace(angle=-step.angle) for step in reversed(steps)]


def _pair(bits: np.ndarray) -> tuple[int, int, int, list[int]]:
    """Two rows to merge, the column in which they differ, and columns whose values in them no third row shares.

    Rows are split by the column that leaves the fewest, again and again, so that log2 r columns are enough at most.
    """
    rows = np.arange(len(bits))
    columns: list[int] = []
    values: list[bool] = []
    rows = _split(bits, rows, columns, values)
    merged = int(rows[0])
    dif = columns.pop()
    values.pop()
    rows = np.flatnonzero((bits[:, columns] == values).all(axis=1)) if columns else np.arange(len(bits))
    rows = _split(bits, rows[rows != merged], columns, values)
    return merged, int(rows[0]), dif, columns


def _split(bits: np.ndarray, rows: np.ndarray, columns: list[int], values: list[bool]) -> np.ndarray:
    while len(rows) > 1:
        ones = bits[rows].sum(axis=0)
        fewest = np.minimum(ones, len(rows) - ones)
        column = int(np.where(fewest == 0, len(rows), fewest).argmin())
        value = bool(2 * ones[column] <= len(rows))
        columns.append(column)
        values.append(value)
        rows = rows[bits[rows, column] == value]
    return rows


def _emit(
    circuit: Circuit, step: _Step, control: int | None = None, clean: Sequence[int] = (), *, strict: bool = False
) -> None:
    """One step, where ``control`` is 1; its CNOTs leave |0...0> alone and are controlled only if ``strict``."""
    extra = () if control is None else (control,)
    if step.kind == "ry":
        controlled_ry(circuit, step.angle, (*step.controls, *extra), step.target, clean)
    elif step.kind == "x" and control is None:
        circuit.x(step.target)
    elif step.kind == "cx" and control is not None and strict:
        circuit.ccx(step.controls[0], control, step.target)
    else:
        circuit.cx((*step.controls, *extra)[0], step.target)


def _checked(vector: Any) -> np.ndarray:
    array = checked("the vector of an upload", vector, ("n",))
    if not array.any():
        raise QupropError("an upload takes numbers that are not all zero, as a state is made of them")
    return array


def _entries(indices: Any, values: Any, n_qubits: int) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(n_qubits, bool) or not isinstance(n_qubits, int | np.integer) or not 1 <= n_qubits <= _MOST_QUBITS:
        raise QupropError(f"an index has 1 to {_MOST_QUBITS} qubits, got {n_qubits!r}")
    value = _checked(values)
    index = np.asarray(indices)
    if index.shape != value.shape or not np.issubdtype(index.dtype, np.integer):
        raise QupropError(f"`indices` must be whole numbers of shape {value.shape} as the values, got {index.shape}")
    if index.min() < 0 or index.max() >= 2**n_qubits or len(np.unique(index)) < len(index):
        raise QupropError(f"`indices` must be different numbers from 0 to 2^{n_qubits} - 1; check what made them")
    kept = value != 0
    return index[kept].astype(np.int64), value[kept]
