"""Two linear-system solvers as whole circuits, for matrices of a few rows: singular-value transformation and HHL.

They run on quprop's own engine and show that what `solver` emulates is what the gates do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from quprop import simulate
from quprop.arrays import checked
from quprop.carleman.system.inverse_polynomial import optimal_inverse
from quprop.carleman.system.linear_system import check_rhs, relative_error
from quprop.carleman.system.qsp_phases import qsp_phases
from quprop.carleman.system.small_matrices import append_chosen, append_orthogonal, proper
from quprop.carleman.transfer.upload import upload
from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString

_LARGEST = 16  # rows; a dense orthogonal matrix of N rows is N^2/2 controlled rotations
_PEAK = 0.9  # of the polynomial that is applied; phases are found quickly below 1


class Outcome(NamedTuple):
    """state (rows,) of norm 1 after the flags said success, real, with A state along +b; probability of success."""

    state: np.ndarray
    success: float


@dataclass(frozen=True, eq=False)
class SolverCircuit:
    """A circuit that prepares A^-1 b on qubits 0..m-1, when all its other qubits read as `flags` says.

    queries: uses of the block encoding (QSVT) or of e^{iAt} (HHL); scale: the data block is A^-1 b times this.
    """

    circuit: Circuit
    matrix: np.ndarray
    rhs: np.ndarray
    flags: int
    queries: int
    scale: float

    def run(self) -> Outcome:
        """Simulate it and project on the flags."""
        state = simulate.state(Model(self.circuit, "Z0"), [])
        rows = len(self.rhs)
        block = state.reshape(-1, rows)[self.flags]  # data qubits are the lowest bits of an index
        success = float(np.linalg.norm(block)) ** 2
        phase = np.vdot(self.matrix @ block, self.rhs)
        kept = (block * phase / abs(phase)).real
        return Outcome(kept / np.linalg.norm(kept), success)


def qsvt_circuit(matrix: Any, rhs: Any, eps: float) -> SolverCircuit:
    """Quantum singular-value transformation of A^T/||A|| by the optimal inverse polynomial, eps as a state distance.

    Qubits: m of data, one signal qubit of the block encoding U = sum_i |v_i><w_i| e^{i arccos(s_i) X}, and one that
    holds the sign of all phases: <+| . |+> on it keeps the real part of the polynomial (Gilyen, Su, Low and Wiebe,
    arXiv:1806.01838, corollary 18). U and Z U† Z alternate, with rotations e^{i phi_j Z Z} between them.
    """
    a, b, m = _checked(matrix, rhs)
    w, s, vt = np.linalg.svd(a)
    norm, kappa = float(s[0]), float(s[0] / s[-1])
    polynomial = optimal_inverse(kappa, relative_error(eps))
    coefficients = np.zeros(polynomial.degree + 1)
    coefficients[1::2] = polynomial.coefficients * (_PEAK / polynomial.peak)
    phases = qsp_phases(coefficients)
    w, s, vt = proper(w, np.minimum(s / norm, 1.0), vt)
    # exp(-i angle X/2) is e^{i arccos(s) X}
    angles = -2 * np.arccos(s)
    signal, branch = m, m + 1
    both = PauliString.parse(f"Z{signal} Z{branch}")
    circuit = Circuit(m + 2).append(upload(b).circuit).h(branch)
    circuit.rotation(both, -2 * phases[-1])
    for use, phase in enumerate(phases[-2::-1]):
        inverse = use % 2 == 1
        if inverse:
            circuit.z(signal)
        append_orthogonal(circuit, vt.T if inverse else w, inverse=True)
        append_chosen(circuit, PauliString.parse(f"X{signal}"), -angles if inverse else angles, range(m))
        append_orthogonal(circuit, w if inverse else vt.T)
        if inverse:
            circuit.z(signal)
        circuit.rotation(both, -2 * phase)
    circuit.h(branch)
    scale = _PEAK / polynomial.peak * norm / float(np.linalg.norm(b))
    return SolverCircuit(circuit, a, b, 0, polynomial.degree, scale)


def hhl_circuit(matrix: Any, rhs: Any, *, clock: int = 6, unit: float | None = None) -> SolverCircuit:
    """Harrow, Hassidim and Lloyd's algorithm (arXiv:0811.3171) for a symmetric matrix, with `clock` qubits of phase.

    Eigenvalues are read as whole multiples of `unit` in two's complement, -2^(clock-1) and up (default: the largest
    that fits); the result is exact where they are such multiples, and otherwise off by about unit/min |eigenvalue|.
    Qubits: m of data, the clock, one flag that turns by 2 arcsin(c/k) where the clock reads k.
    """
    a, b, m = _checked(matrix, rhs)
    if not np.allclose(a, a.T, rtol=0, atol=1e-12 * np.abs(a).max()):
        raise QupropError("HHL takes a symmetric matrix; give [[0, A], [A^T, 0]] and (b, 0) instead, which has A^-1 b")
    if isinstance(clock, bool) or not isinstance(clock, int) or not 2 <= clock <= 12:
        raise QupropError(f"`clock` is a number of qubits from 2 to 12, got {clock!r}")
    values, vectors = np.linalg.eigh(a)
    if np.linalg.det(vectors) < 0:
        vectors[:, -1] *= -1
    most = 2 ** (clock - 1) - 1
    step = float(np.abs(values).max() / most) if unit is None else float(unit)
    if not step > 0 or np.abs(values).max() > step * (most + 1e-9):
        raise QupropError(
            f"`unit` must be at least max |eigenvalue|/{most} = {np.abs(values).max() / most:.4g}, got {unit}"
        )
    read = values / step
    least = max(1.0, math.floor(np.abs(read).min() + 1e-9))
    flag = m + clock
    circuit = Circuit(flag + 1).append(upload(b).circuit)
    append_orthogonal(circuit, vectors, inverse=True)
    for j in range(clock):
        circuit.h(m + j)
    _powers(circuit, read, m, clock, 1)
    _fourier(circuit, m, clock, inverse=True)
    k = np.arange(2**clock)
    k = np.where(k > most, k - 2**clock, k)
    ratio = np.clip(np.divide(least, k, out=np.zeros(len(k)), where=k != 0), -1, 1)
    append_chosen(circuit, PauliString.parse(f"Y{flag}"), 2 * np.arcsin(ratio), range(m, flag))
    _fourier(circuit, m, clock, inverse=False)
    _powers(circuit, read, m, clock, -1)
    for j in range(clock):
        circuit.h(m + j)
    append_orthogonal(circuit, vectors)
    scale = least * step / float(np.linalg.norm(b))
    return SolverCircuit(circuit, a, b, 1 << clock, 2 * (2**clock - 1), scale)


def _powers(circuit: Circuit, read: np.ndarray, m: int, clock: int, sign: int) -> None:
    """Controlled by clock qubit j, e^{2 pi i read 2^j/2^clock} on eigenvectors: 2^j uses of e^{iAt}."""
    for j in range(clock):
        turns = sign * 2 * np.pi * read * 2.0 ** (j - clock)
        # e^{i t (1-Z_c)/2} = e^{i t/2} e^{-i t Z_c/2}, t chosen by the data register
        append_chosen(circuit, PauliString(0, 0), -turns, range(m))
        append_chosen(circuit, PauliString.parse(f"Z{m + j}"), turns, range(m))


def _fourier(circuit: Circuit, first: int, n: int, *, inverse: bool) -> None:
    """|k> -> sum_y e^{2 pi i k y/2^n} |y> on n qubits, lowest bit first, or its inverse."""
    gates: list[tuple[Any, ...]] = []
    for j in range(n - 1, -1, -1):
        gates.append(("h", first + j))
        gates += [("cp", math.pi / 2 ** (j - i), first + i, first + j) for i in range(j - 1, -1, -1)]
    gates += [("swap", first + j, first + n - 1 - j) for j in range(n // 2)]
    for name, *arguments in reversed(gates) if inverse else gates:
        if name == "cp" and inverse:
            arguments[0] = -arguments[0]
        circuit.gate(name, *arguments)


def _checked(matrix: Any, rhs: Any) -> tuple[np.ndarray, np.ndarray, int]:
    a = checked("the matrix", matrix, ("n", "n"))
    if a.shape[0] != a.shape[1] or a.shape[0] not in (2, 4, 8, _LARGEST):
        raise QupropError(f"solver circuits take a real square matrix of 2, 4, 8 or {_LARGEST} rows, got {a.shape}")
    b = check_rhs(rhs, len(a))
    values = np.linalg.svd(a, compute_uv=False)
    if values[-1] <= values[0] * len(a) * np.finfo(float).eps:
        raise QupropError(f"the matrix must be invertible, got smallest singular value {values[-1]:.3g}")
    return a, b, len(a).bit_length() - 1
