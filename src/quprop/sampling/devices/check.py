"""What every device refuses before it starts: work of the wrong shape, or beyond the limits of a job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from quprop.arrays import all_finite
from quprop.errors import QupropError, count_of
from quprop.sampling.devices.device import DeviceCircuit, Limits, Work


def check_circuits(name: str, limits: Limits, circuits: Iterable[DeviceCircuit]) -> None:
    """name: what the device is called in the sentence.

    Raises: QupropError for a circuit that is no DeviceCircuit's, reads a qubit twice or none, or has too many qubits.
    """
    for given in circuits:
        circuit, measured = given.circuit, given.measured
        if circuit.n_inputs:
            raise QupropError(
                f"a circuit for a device has parameters and no inputs, got {count_of(circuit.n_inputs, 'input')}; bind "
                "them first, circuit.bound(theta, x)"
            )
        if not measured or len(set(measured)) < len(measured) or not all(0 <= q < circuit.n_qubits for q in measured):
            raise QupropError(
                f"measured are qubits from 0 to {circuit.n_qubits - 1}, one or more and each once, got {measured}"
            )
        if limits.qubits is not None and circuit.n_qubits > limits.qubits:
            raise QupropError(
                f"the device {name} has {count_of(limits.qubits, 'qubit')}, and this circuit needs {circuit.n_qubits}; "
                "take a larger device, or a smaller model"
            )


def check_work(name: str, limits: Limits, work: Sequence[Work]) -> None:
    """The same for a job's circuits, settings and shots, which are whole, 1 or more, and within the limits."""
    check_circuits(name, limits, (item.circuit for item in work))
    settings = executions = 0
    for item in work:
        values, shots, n = np.asarray(item.values), np.asarray(item.shots), item.circuit.n_params
        if values.ndim != 2 or shots.shape != values.shape[:1] or values.shape[1] != n:
            raise QupropError(
                f"work has values (settings, {n}) and shots (settings,), got {values.shape} and {shots.shape}"
            )
        if not all_finite(values.astype(float)):
            raise QupropError("the angles of a device's circuits are finite numbers, got some that are not")
        if shots.dtype.kind not in "iu" or (shots < 1).any():
            raise QupropError("every setting has a whole number of shots, 1 or more; leave out those that have none")
        if limits.shots is not None and shots.max(initial=0) > limits.shots:
            raise QupropError(
                f"the device {name} repeats a circuit {limits.shots} times at most, and a setting asks for "
                f"{shots.max()}; hand it in as several settings"
            )
        settings += len(shots)
        executions += int(shots.sum())
    for most, got, noun in (
        (limits.circuits, settings, "circuit"),
        (limits.executions, executions, "execution"),
    ):
        if most is not None and got > most:
            raise QupropError(f"a job of the device {name} has {count_of(most, noun)} at most, got {got}; split it")


def digest(work: Sequence[Work], digits: int | None = None) -> str:
    """Equal for equal work, by which a job that is found again is known to be of it. digits: of the angles, where the
    last ones may differ between machines; None: all."""
    found = hashlib.sha256()
    for circuit, values, shots in work:
        angles = np.asarray(values, "<f8")
        if digits is not None:
            angles = np.round(angles, digits) + 0.0  # no negative zeros
        found.update(f"{circuit.key} {angles.shape}".encode())
        found.update(angles.tobytes())
        found.update(np.asarray(shots, "<i8").tobytes())
    return found.hexdigest()[:32]
