"""PennyLane's devices (extra ``pennylane``): all settings are one batch of circuits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quprop.errors import QupropError, one_line, shown, whole
from quprop.hybrid.devices.flat import BARRIER, FlatGate, angle_numbers, flat_gates
from quprop.lazy import missing
from quprop.model.angle import AngleVector
from quprop.model.circuit import Circuit
from quprop.model.noise import machine_gates
from quprop.sampling.devices.check import check_circuits, check_work
from quprop.sampling.devices.device import (
    DeviceCircuit,
    DeviceJob,
    FinishedJob,
    Limits,
    Outcomes,
    Prepared,
    Work,
)

try:
    import pennylane as qml
except ImportError:
    raise missing("a device of PennyLane needs PennyLane", "pennylane") from None

from pennylane.tape import QuantumScript

__all__ = ["PennyLaneDevice"]

_BATCH_BITS = 1 << 25  # samples of one batch of circuits, 256 MiB of them

# quprop's gates as PennyLane's, up to a global phase; rotations about Pauli strings are its PauliRot.
_GATES: dict[str, Callable[..., Any]] = {
    "x": qml.X,
    "y": qml.Y,
    "z": qml.Z,
    "h": qml.Hadamard,
    "s": qml.S,
    "sdg": lambda wires: qml.adjoint(qml.S(wires)),
    "sx": qml.SX,
    "sxdg": lambda wires: qml.adjoint(qml.SX(wires)),
    "t": qml.T,
    "tdg": lambda wires: qml.adjoint(qml.T(wires)),
    "cx": qml.CNOT,
    "cy": qml.CY,
    "cz": qml.CZ,
    "swap": qml.SWAP,
    "iswap": qml.ISWAP,
    "ecr": qml.ECR,
    "rx": qml.RX,
    "ry": qml.RY,
    "rz": qml.RZ,
    "p": qml.PhaseShift,
    "u": qml.U3,
    "rxx": qml.IsingXX,
    "ryy": qml.IsingYY,
    "rzz": qml.IsingZZ,
    "rzx": lambda angle, wires: qml.PauliRot(angle, "ZX", wires=wires),
    "crx": qml.CRX,
    "cry": qml.CRY,
    "crz": qml.CRZ,
    "cp": qml.ControlledPhaseShift,
    "ccx": qml.Toffoli,
    "ccz": qml.CCZ,
    BARRIER: qml.Barrier,
}


class PennyLaneDevice:
    """A PennyLane device: its name, "default.qubit", "lightning.qubit" or "quprop", or the device itself.

    options: of qml.device, for a device that is given by its name. It is made anew for every job, with as many wires as
    the job's circuits have qubits, and takes the seed that `submit` is given where it takes one, so that the same seed
    gives the same counts. A device that is given itself draws as it was made to draw, each time anew. Qubit q is its
    wire q, counted along its wires.

    Raises: QupropError for a name that PennyLane does not know, or an object that is no device.
    """

    def __init__(self, given: Any = "default.qubit", **options: Any) -> None:
        self._options = options
        self._device = None if isinstance(given, str) else given
        if isinstance(given, str):
            self.name = given.removeprefix("pennylane:")
            self._seeded = "seed" not in options and _takes_seed(self._make(1))
        else:
            if not isinstance(given, qml.devices.Device) or options:
                raise QupropError(
                    'a PennyLane device is a name such as "default.qubit", which may have options, or a '
                    f"qml.devices.Device without any, got {shown(given)}"
                )
            self.name, self._seeded = str(given.name), False
        wires = getattr(self._device, "wires", None)
        self.limits = Limits(qubits=len(wires) if wires else None)

    def prepare(self, circuits: Sequence[DeviceCircuit]) -> list[Prepared]:
        """Gates as `Circuit.with_noise` counts them; PennyLane's devices compile circuits when they run them."""
        check_circuits(self.name, self.limits, circuits)
        for c in circuits:
            self._gates(c)
        return [Prepared(*machine_gates(c.circuit), None, c.measured) for c in circuits]

    def submit(self, work: Sequence[Work], *, seed: int, tag: str) -> DeviceJob:
        """The settings of a circuit as one batch, of several where their samples are many. Done when this returns."""
        check_work(self.name, self.limits, work)
        seed = whole("seed", seed, 0)
        n = max((item.circuit.circuit.n_qubits for item in work), default=1)
        device = self._device
        if device is None:
            device = self._make(n, **({"seed": np.random.default_rng(seed)} if self._seeded else {}))
        wires = list(device.wires or range(n))
        return FinishedJob([self._counts(item, device, wires) for item in work])

    def find(self, tag: str, work: Sequence[Work]) -> DeviceJob | None:
        return None

    def seconds(self, work: Sequence[Work]) -> float | None:
        return None

    def price(self, work: Sequence[Work]) -> float | None:
        return None

    def definition(self) -> dict[str, Any]:
        plain = str | int | float | bool
        options = {k: v if isinstance(v, plain) else type(v).__qualname__ for k, v in self._options.items()}
        return {"device": "pennylane", "name": self.name, "options": options, "seeded": self._seeded}

    # What is run

    def _counts(self, work: Work, device: Any, wires: list[Any]) -> list[Outcomes]:
        out: list[Outcomes] = []
        shots, m = np.asarray(work.shots), len(work.circuit.measured)
        held = np.cumsum(shots) * m // _BATCH_BITS  # parts of a job whose samples are held at once
        for part in np.unique(held):
            rows = held == part
            tapes = self._tapes(Work(work.circuit, np.asarray(work.values)[rows], shots[rows]), wires)
            try:
                results = qml.execute(tapes, device, diff_method=None)
            except Exception as error:
                raise QupropError(
                    f"the PennyLane device {self.name} did not run this: {one_line(str(error))}; see what it supports"
                ) from error
            out += [_outcomes(result, work.circuit) for result in results]
        return out

    def _make(self, n: int, **more: Any) -> Any:
        try:
            return qml.device(self.name, **{"wires": n, **self._options, **more})
        except Exception as error:
            raise QupropError(
                f"PennyLane has no device {self.name!r} for {n} wires ({one_line(str(error))}); install its plugin, or "
                'take "default.qubit"'
            ) from error

    def _gates(self, given: DeviceCircuit) -> list[FlatGate]:
        circuit, where = given.circuit, f"the PennyLane device {self.name}"
        if isinstance(circuit.state, AngleVector) or circuit.state.kind != "amplitudes":
            return flat_gates(circuit, where, given.barriers)
        bare = circuit.copy()
        bare.state = Circuit(1).state  # PennyLane prepares the amplitudes
        return flat_gates(bare, where, given.barriers)

    def _tapes(self, work: Work, wires: list[Any]) -> list[QuantumScript]:
        """One for each setting."""
        circuit, measured = work.circuit.circuit, [wires[q] for q in work.circuit.measured]
        gates = self._gates(work.circuit)
        angles = [angle for gate in gates for angle in gate.angles]
        rows = angle_numbers(angles, circuit, np.asarray(work.values, float)).tolist()
        first = []
        if not isinstance(circuit.state, AngleVector) and circuit.state.kind == "amplitudes":
            # the first wire is the highest bit of PennyLane's index
            first = [qml.StatePrep(circuit.state.array, wires=wires[: circuit.n_qubits][::-1])]
        tapes = []
        for row, shots in zip(rows, np.asarray(work.shots).tolist(), strict=True):
            numbers = iter(row)
            ops = [_operation(gate, [next(numbers) for _ in gate.angles], wires) for gate in gates]
            tapes.append(QuantumScript([*first, *ops], [qml.sample(wires=measured)], shots=shots))
        return tapes


def _operation(gate: FlatGate, angles: Sequence[float], wires: list[Any]) -> Any:
    on = [wires[q] for q in gate.qubits]
    if gate.name == "rotation":
        return qml.PauliRot(angles[0], gate.letters, wires=on)
    return _GATES[gate.name](*angles, wires=on)


def _takes_seed(device: Any) -> bool:
    return "seed" in inspect.signature(type(device).__init__).parameters


def _outcomes(result: Any, circuit: DeviceCircuit) -> Outcomes:
    m = len(circuit.measured)
    bits = np.asarray(result).reshape(-1, m).astype(np.int64)
    return np.unique(bits @ (1 << np.arange(m)), return_counts=True)
