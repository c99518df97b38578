"""Programs as circuits that a device runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString
from quprop.sampling.devices.device import DeviceCircuit
from quprop.sampling.joint import diagonalise


class Realised(NamedTuple):
    circuit: DeviceCircuit
    columns: np.ndarray
    masks: np.ndarray
    signs: np.ndarray


def realise(
    program: Model,
    executed: np.ndarray,
    strings: Sequence[PauliString],
    *,
    timeline: Model | None = None,
    copies: int = 1,
    x: np.ndarray | None = None,
) -> Realised:
    n, columns = program.n_qubits, np.flatnonzero(executed)
    state = program.state
    circuit = Circuit(n * copies, None, params=params("angle", len(columns)) if len(columns) else ())
    circuit.state = state if copies == 1 else circuit.state
    angle = params("angle", max(1, len(columns)))
    for k, c in enumerate(columns.tolist()):
        r = program.rotations[c]
        for i in range(copies):
            circuit.rotation(PauliString(r.x << n * i, r.z << n * i, (r.x & r.z).bit_count()), angle[k])
    tableau, masks, signs = diagonalise(strings, n * copies)
    for gate in tableau.to_circuit("elimination"):
        name = gate.name.lower()
        for t in gate.target_groups():
            circuit.gate({"s_dag": "sdg"}.get(name, name), *[q.value for q in t])
    return Realised(DeviceCircuit(circuit, tuple(range(n * copies)), len(columns) * copies), columns, masks, signs)
