"""Channels of quprop from what other libraries have: Pauli transfer matrices, Kraus operators."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model.channels import PAULI_CHANNEL
from quprop.model.circuit import Circuit

MOST_QUBITS = 3  # of a channel that is looked into
_EXACT = 1e-9  # how far from the given matrix that of the channels found may be
_ROUNDING = 1e-12
_PAULI = {"I": np.eye(2), "X": [[0, 1], [1, 0]], "Y": [[0, -1j], [1j, 0]], "Z": [[1, 0], [0, -1]]}
_COMMUTES = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])  # or anticommutes, -1


class ChannelStep(NamedTuple):
    """One channel: of `CHANNELS` with numbers for strengths, or "pauli_channel" with (dense string, probability) pairs.
    places: which of the qubits it acts on, counted from 0."""

    name: str
    strengths: tuple[Any, ...]
    places: tuple[int, ...]

    def append_to(self, circuit: Circuit, qubits: Sequence[int]) -> None:
        on = [qubits[k] for k in self.places]
        if self.name == PAULI_CHANNEL:
            circuit.pauli_channel(dict(self.strengths), *on)
        else:
            circuit.channel(self.name, *self.strengths, *on)


def steps_of_kraus(kraus: Sequence[np.ndarray], subject: str) -> tuple[ChannelStep, ...]:
    """`steps_of` the map rho -> sum_j K_j rho K_j†, of K_j (2^n, 2^n) whose first qubit is the most significant bit."""
    n = len(kraus[0]).bit_length() - 1
    _check_size(n, subject)
    paulis = np.array([reduce(np.kron, [np.asarray(_PAULI[letter]) for letter in word]) for word in _words(n)])
    images = sum(np.einsum("ij,qjk,lk->qil", k, paulis, k.conj()) for k in kraus)
    return steps_of(np.einsum("pij,qji->pq", paulis, images).real / 2**n, subject)


def steps_of(transfer: np.ndarray, subject: str) -> tuple[ChannelStep, ...]:
    """The channels whose product has the Pauli transfer matrix R_PQ = Tr(P E(Q)) / 2^n, strings in the order of
    `itertools.product("IXYZ", repeat=n)`; `QupropError` where it is no product of those that quprop has.

    What is looked for: a mixture of Pauli strings, R diagonal, and on single qubits damping along Z, before or after
    it. The damping is the weakest that has the given fixed point, that by |c| with Z -> (1 - |c|) Z + c: whatever
    relaxation does beyond it (sqrt(b) >= a) is a mixture of Pauli strings.
    """
    size = len(transfer)
    n = (size.bit_length() - 1) // 2
    _check_size(n, subject)
    z_of = [3 << 2 * (n - 1 - q) for q in range(n)]
    drift, decay = (
        np.array([transfer[z, k] for z, k in zip(z_of, columns, strict=True)]) for columns in ([0] * n, z_of)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        before = np.where(drift == 0.0, 0.0, drift / (abs(drift) + abs(decay)))
    for after, c in ((True, drift), (False, before)):
        c = np.where(abs(c) > _ROUNDING, np.clip(c, -1, 1), 0.0)
        damping = reduce(np.kron, [_damping(v) for v in c])
        inverse = reduce(np.kron, [_inverse(v) for v in c])
        shares = _shares(np.diag(inverse @ transfer if after else transfer @ inverse), c)
        mixing = np.diag(_eigenvalues(shares))
        if np.abs((damping @ mixing if after else mixing @ damping) - transfer).max() <= _EXACT:
            found = tuple((w, float(p)) for w, p in zip(_words(n)[1:], shares[1:], strict=True) if p > 1e-15)
            mixed = [ChannelStep(PAULI_CHANNEL, found, tuple(range(n)))] if found else []
            damped = [
                ChannelStep("generalised_amplitude_damping", (abs(float(v)), float(v < 0)), (q,))
                for q, v in enumerate(c)
                if v
            ]
            return tuple(mixed + damped if after else damped + mixed)
    raise QupropError(
        f"{subject} is neither a mixture of Pauli strings nor a damping of single qubits along Z, nor one after the "
        "other, which is the noise that quprop has; approximate it by these (Pauli twirling), or use a simulator of "
        "density matrices"
    )


def _check_size(n: int, subject: str) -> None:
    if n > MOST_QUBITS:
        raise QupropError(
            f"{subject} has Kraus operators on {n} wires, and those on {MOST_QUBITS} at most are looked into; use "
            "named channels"
        )


@cache
def _words(n: int) -> tuple[str, ...]:
    return tuple("".join(letters) for letters in itertools.product("IXYZ", repeat=n))


def _damping(c: float) -> np.ndarray:
    b = 1 - abs(c)
    out = np.diag([1, np.sqrt(b), np.sqrt(b), b])
    out[3, 0] = c
    return out


def _inverse(c: float) -> np.ndarray:
    """Of `_damping`; where that leaves nothing of X, Y and Z, of what it leaves."""
    b = 1 - abs(c)
    if b < _ROUNDING:
        return np.diag([1.0, 0, 0, 0])
    out = np.diag([1, 1 / np.sqrt(b), 1 / np.sqrt(b), 1 / b])
    out[3, 0] = -c / b
    return out


def _eigenvalues(shares: np.ndarray) -> np.ndarray:
    return reduce(np.kron, [_COMMUTES] * ((len(shares).bit_length() - 1) // 2)) @ shares


def _shares(eigenvalues: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The probabilities of the Pauli strings; on qubits that the damping sets wholly nothing is seen of them."""
    table = eigenvalues.reshape((4,) * len(c)).copy()
    for q, v in enumerate(c):
        if 1 - abs(v) < _ROUNDING:
            np.moveaxis(table, q, 0)[1:] = np.moveaxis(table, q, 0)[0]
    shares = np.clip(_eigenvalues(table.ravel()) / len(eigenvalues), 0.0, None)
    return shares / shares.sum() if shares.sum() > 0 else shares
