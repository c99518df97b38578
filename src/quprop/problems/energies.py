"""What the problems share whose loss is an energy: the circuit's settings, the exact ground state, and the
judgement."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from quprop.model.ansatz import ANSATZE
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliSum
from quprop.problems.config import LARGEST, Config, Setting
from quprop.problems.gate_list import circuit_from_gates
from quprop.problems.spec import Params, as_run

if TYPE_CHECKING:
    import scipy.sparse

EXACT_QUBITS = 14  # exact diagonalisation up to here: seconds and some hundred MiB


def model_settings(ansatz: str, layers: int, *others: str) -> dict[str, Setting]:
    """ansatz, others: circuits of the problem's own, the first of them the default."""
    general = [name for name, a in ANSATZE.items() if a.grows]
    own = (ansatz, *others)
    return {
        "ansatz": Setting(ansatz, "the circuit", choices=(*own, *(a for a in general if a not in own))),
        "layers": Setting(layers, "layers of the ansatz", least=0, most=LARGEST),
        "gates": Setting([], 'the circuit gate by gate instead, such as ["h(0)", "cx(0, 1)", "ry(theta[0], 1)"]'),
    }


def circuit(config: Config, n: int, own: dict[str, Callable[[int, int], Circuit]]) -> Circuit:
    """The circuit that [model] asks for: a list of gates, the problem's own ansatz, or a general one that grows;
    with the noise that [train] asks for."""
    settings = config["model"]
    if settings["gates"]:
        found = circuit_from_gates(n, settings["gates"])
    elif settings["ansatz"] in own:
        found = own[settings["ansatz"]](n, settings["layers"])
    else:
        found = ANSATZE[settings["ansatz"]].circuit(n, settings["layers"], training=True)
    return as_run(found, config)


def sparse_matrix(hamiltonian: PauliSum, n: int) -> scipy.sparse.csr_matrix:
    """The (2^n, 2^n) matrix, gathered by x mask: strings that flip the same qubits share their entries."""
    import scipy.sparse

    index = np.arange(2**n)
    diagonals: dict[int, np.ndarray] = {}
    for string, coefficient in hamiltonian.items():
        signs = 1.0 - 2.0 * (np.bitwise_count(index & string.z) & 1)
        entry = diagonals.setdefault(string.x, np.zeros(2**n, complex))
        entry += coefficient * 1j ** (string.phase % 4) * signs
    if all(np.abs(entry.imag).max() < 1e-14 for entry in diagonals.values()):  # a real matrix takes half of everything
        diagonals = {x: entry.real for x, entry in diagonals.items()}
    rows = np.concatenate([index ^ x for x in diagonals]) if diagonals else index[:0]
    values = np.concatenate(list(diagonals.values())) if diagonals else np.zeros(0)
    return scipy.sparse.csr_matrix((values, (rows, np.tile(index, len(diagonals)))), shape=(2**n, 2**n))


def ground_energy(hamiltonian: PauliSum, n: int) -> float:
    """The smallest eigenvalue, by Lanczos (ARPACK), or densely up to six qubits."""
    import scipy.sparse.linalg

    matrix = sparse_matrix(hamiltonian, n)
    if n <= 6:
        return float(np.linalg.eigvalsh(matrix.toarray())[0])
    start = np.random.default_rng(0).normal(size=2**n)  # ARPACK's own start is drawn from a hidden generator
    return float(scipy.sparse.linalg.eigsh(matrix, k=1, which="SA", v0=start, return_eigenvectors=False)[0])


def exact_reference(hamiltonian: PauliSum, n: int) -> dict[str, Any]:
    if n > EXACT_QUBITS:
        return {"reference_name": f"none (exact diagonalisation stops at {EXACT_QUBITS} qubits)"}
    return {"reference_energy": ground_energy(hamiltonian, n), "reference_name": "exact diagonalisation"}


def judge_energy(reference: dict[str, Any]) -> Callable[[Params, float, dict[str, float]], dict[str, Any]]:
    def judge(params: Params, loss: float, metrics: dict[str, float]) -> dict[str, Any]:
        exact = reference.get("reference_energy")
        return {"energy": loss, "energy_error": None if exact is None else loss - exact}

    return judge
