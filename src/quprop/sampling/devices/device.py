"""What a device is to quprop: something that repeats circuits at given angles and says which bits it read.

Nothing here knows Qiskit, Braket or PennyLane: their devices are files in `quprop.hybrid.devices`, which are loaded
where one is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from quprop.model.circuit import Circuit

Outcomes = tuple[np.ndarray, np.ndarray]
"""Distinct outcomes (D,) as integers, and how often each came (D,). Bit b of an outcome is that of `measured[b]`."""

Counts = list[list[Outcomes]]
"""For each `Work`, for each of its settings."""


@dataclass(frozen=True, eq=False)
class DeviceCircuit:
    """A circuit of which every rotation's angle is a parameter of its own, and the qubits that are read at its end.

    circuit: gates of `GATES` and rotations about Pauli strings; its parameters are one vector "angle", or none; the
        input state and the change of basis before the readout are part of it. rotations: how many of its gates are the
        model's rotations.
    measured: qubits, each once; bit b of an outcome is that of measured[b].
    copies: of the input state that one run of it prepares.
    barriers: positions of operations at which compilers stop, so that what stands on both sides stays (the number of
        operations: before the measurement).
    folding: what this circuit is several times of, for a device that compiles: it compiles that, and repeats it.
    placed: qubit q is the device's own qubit q; else the device chooses.
    """

    circuit: Circuit
    measured: tuple[int, ...]
    rotations: int
    copies: int = 1
    barriers: tuple[int, ...] = ()
    folding: Folding | None = None
    placed: bool = False

    @property
    def n_params(self) -> int:
        return self.circuit.n_params

    @cached_property
    def key(self) -> str:
        """Equal for circuits that are equal, and for no others."""
        circuit = self.circuit
        gates = circuit.n_qubits, circuit.state, list(circuit.vectors.items()), circuit.operations
        text = repr((*gates, self.measured, self.barriers, self.placed))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


class Folding(NamedTuple):
    """U (U† U)^times of a circuit U, and with `partly` then L† L of its last part L. base: U, with barriers before it,
    before L if there is one, and before the measurement."""

    base: DeviceCircuit
    times: int
    partly: bool


class Work(NamedTuple):
    """A circuit at R settings of its angles."""

    circuit: DeviceCircuit
    values: np.ndarray  # (R, n_params)
    shots: np.ndarray  # (R,) int64, 1 or more


class Limits(NamedTuple):
    """Of one job, None where there is none: circuits (settings), shots of a setting, executions (shots of all settings
    together); and the qubits there are."""

    qubits: int | None = None
    circuits: int | None = None
    shots: int | None = None
    executions: int | None = None


class Prepared(NamedTuple):
    """What a circuit has become on the device: two-qubit gates, all gates, depth (layers of gates), and seconds of one
    shot if the device says how long gates take. layout[b]: the device's own number of the qubit measured[b]."""

    two_qubit_gates: int
    gates: int
    depth: int
    seconds: float | None
    layout: tuple[int, ...]


class DeviceJob(Protocol):
    """Work that was handed in. `id` finds it again from another process, "" where no process but this one can."""

    @property
    def id(self) -> str: ...

    def result(self) -> Counts:
        """Waits for it. Raises QupropError where it failed, expired or was cancelled."""
        ...


class FinishedJob(NamedTuple):
    """Of a device that has run the work when `submit` returns."""

    counts: Counts
    id: str = ""

    def result(self) -> Counts:
        return self.counts


class Device(Protocol):
    """name: as in "aer" or "ibm_fez"; limits of one job; price_per_shot and price_per_circuit: in the currency of
    `currency`, None where no price is known."""

    name: str
    limits: Limits

    def prepare(self, circuits: Sequence[DeviceCircuit]) -> list[Prepared]:
        """Compile each for the device, parameters unbound, once: the same circuit is looked up by its `key`. Raises
        QupropError for circuits that the device cannot run."""
        ...

    def submit(self, work: Sequence[Work], *, seed: int, tag: str) -> DeviceJob:
        """One job of all this work, which is within `limits`. seed: of a device that draws at random by itself; tag: by
        which `find` finds it."""
        ...

    def find(self, tag: str, work: Sequence[Work]) -> DeviceJob | None:
        """The job that was submitted with this tag by a process that is gone; None where there is none, or the device
        keeps none."""
        ...

    def seconds(self, work: Sequence[Work]) -> float | None:
        """How long the machine itself will take, None where that is not known."""
        ...

    def price(self, work: Sequence[Work]) -> float | None:
        """What it will cost in dollars, None where no price is known."""
        ...

    def definition(self) -> dict[str, Any]:
        """What a run folder keeps of it: plain values, never a credential."""
        ...
