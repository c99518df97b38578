"""The residual Clifford of a model on many vectors, and its adjoint: permutations with phases, and Hadamard gates.

Engines leave the Clifford out of `state_vjp`; an output is a function of the state behind it. Runs of gates that only
permute basis states and give them phases i^k are one gather, planned once a model.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from quprop.model import Model
from quprop.simulate.vectors import clifford_gates

_POWERS = np.array([1, 1j, -1, -1j])


class _HadamardStep(NamedTuple):
    qubit: int

    def apply(self, v: np.ndarray) -> np.ndarray:
        halves = v.reshape(-1, 2, 1 << self.qubit)
        out = np.empty_like(halves)
        np.add(halves[:, 0], halves[:, 1], out=out[:, 0])
        np.subtract(halves[:, 0], halves[:, 1], out=out[:, 1])
        out *= np.sqrt(0.5)
        return out.reshape(v.shape)

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        return self.apply(v)


class _Monomial(NamedTuple):
    """out[j] = i^powers[j] in[source[j]]; back: where each entry goes; powers None: no phases."""

    source: np.ndarray
    back: np.ndarray
    powers: np.ndarray | None

    def apply(self, v: np.ndarray) -> np.ndarray:
        out = v.take(self.source, axis=-1, mode="clip")  # "raise" would go through a buffer
        if self.powers is not None:
            out *= _POWERS[self.powers]
        return out

    def adjoint(self, v: np.ndarray) -> np.ndarray:
        if self.powers is not None:
            v = v * _POWERS[-self.powers & 3]
        return v.take(self.back, axis=-1, mode="clip")


class ResidualClifford:
    """apply(states (..., 2^n)) and adjoint(costates), each up to one global phase that nothing depends on."""

    def __init__(self, model: Model) -> None:
        self._steps: list[_HadamardStep | _Monomial] = []
        n = model.n_qubits
        run: list[tuple[str, int, int]] = []
        for gate in clifford_gates(model.clifford):
            if gate[0] == "H":
                self._close(n, run)
                run = []
                self._steps.append(_HadamardStep(gate[1]))
            else:
                run.append(gate)
        self._close(n, run)

    def _close(self, n: int, gates: list[tuple[str, int, int]]) -> None:
        if not gates:
            return
        source = np.arange(1 << n, dtype=np.int32 if n < 31 else np.int64)
        powers = np.zeros(1 << n, np.int8)
        for name, a, b in gates:
            for rows in (source, powers):
                _permute(name, a, b, rows)
            if name in ("S", "S_DAG", "Z"):
                powers.reshape(-1, 2, 1 << a)[:, 1] += {"S": 1, "S_DAG": 3, "Z": 2}[name]
            elif name == "Y":  # i X Z, the phase i dropped: the bit that was 1 is 0 behind the X
                powers.reshape(-1, 2, 1 << a)[:, 0] += 2
            elif name == "CZ":
                low, high = sorted((a, b))
                powers.reshape(-1, 2, 1 << (high - low - 1), 2, 1 << low)[:, 1, :, 1] += 2
            powers &= 3
        back = np.empty_like(source)
        back[source] = np.arange(len(source), dtype=source.dtype)
        self._steps.append(_Monomial(source, back, powers if powers.any() else None))

    def apply(self, states: np.ndarray) -> np.ndarray:
        for step in self._steps:
            states = step.apply(states)
        return states

    def adjoint(self, costates: np.ndarray) -> np.ndarray:
        for step in reversed(self._steps):
            costates = step.adjoint(costates)
        return costates


def _permute(name: str, a: int, b: int, rows: np.ndarray) -> None:
    if name in ("X", "Y"):
        v = rows.reshape(-1, 2, 1 << a)
        v[:] = v[:, ::-1].copy()
    elif name in ("CX", "SWAP"):
        low, high = sorted((a, b))
        v = rows.reshape(-1, 2, 1 << (high - low - 1), 2, 1 << low)  # axes 1 and 3 are the bits high and low
        if name == "SWAP":
            v[:, 0, :, 1], v[:, 1, :, 0] = v[:, 1, :, 0].copy(), v[:, 0, :, 1].copy()
        elif a == high:
            v[:, 1] = v[:, 1, :, ::-1].copy()
        else:
            v[:, :, :, 1] = v[:, ::-1, :, 1].copy()
    elif name not in ("S", "S_DAG", "Z", "CZ"):  # pragma: no cover - stim's elimination uses H, S, CX and Paulis
        raise NotImplementedError(f"stim wrote a Clifford with the gate {name}")


_known: WeakKeyDictionary[Model, ResidualClifford] = WeakKeyDictionary()


def clifford_of(model: Model) -> ResidualClifford:
    found = _known.get(model)
    if found is None:
        found = _known[model] = ResidualClifford(model)
    return found
