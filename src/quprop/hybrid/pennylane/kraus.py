"""Kraus operators as channels of quprop: those that mix Pauli strings, and those that damp one qubit along Z."""

from __future__ import annotations

import itertools
from functools import reduce
from typing import Any

import numpy as np

from quprop.hybrid.pennylane.observables import RefusedError
from quprop.model.channels import PAULI_CHANNEL

MOST_WIRES = 3  # of Kraus operators that are looked into
_EXACT = 1e-9  # how far from such a channel Kraus operators may be
_PAULI = {"I": np.eye(2), "X": [[0, 1], [1, 0]], "Y": [[0, -1j], [1j, 0]], "Z": [[1, 0], [0, -1]]}

Steps = tuple[tuple[str, tuple[Any, ...]], ...]


def steps_of(kraus: list[np.ndarray], subject: str) -> Steps:
    """The channels whose product has these Kraus operators, or `RefusedError`.

    From the Pauli transfer matrix R_PQ = Tr(P E(Q)) / 2^n: diagonal, E mixes Pauli strings with the probabilities
    that have these eigenvalues; with R_XX = R_YY = a, R_ZZ = b, R_ZI = c and a^2 <= b, it is generalised amplitude
    damping by 1 - b followed by phase damping.
    """
    n = len(kraus[0]).bit_length() - 1
    if n > MOST_WIRES:
        raise RefusedError(
            f"{subject} has Kraus operators on {n} wires, and those on {MOST_WIRES} at most are looked into; use "
            "PennyLane's named channels"
        )
    words = ["".join(letters) for letters in itertools.product("IXYZ", repeat=n)]
    paulis = np.array([reduce(np.kron, [np.asarray(_PAULI[letter]) for letter in word]) for word in words])
    images = sum(np.einsum("ij,qjk,lk->qil", k, paulis, k.conj()) for k in kraus)
    transfer = np.einsum("pij,qji->pq", paulis, images).real / 2**n
    eigenvalues = np.diag(transfer)
    rest = transfer - np.diag(eigenvalues)
    if np.abs(rest).max() <= _EXACT:
        signs = np.einsum("pij,qjk,pkl,qli->pq", paulis, paulis, paulis, paulis).real / 2**n
        shares = signs @ eigenvalues / 4**n
        if shares.min() >= -_EXACT:
            found = tuple((w, float(s)) for w, s in zip(words[1:], shares[1:], strict=True) if s > 1e-15)
            return ((PAULI_CHANNEL, found),) if found else ()
    if n == 1:
        a, b, c = (float(v) for v in (transfer[1, 1], transfer[3, 3], transfer[3, 0]))
        rest[3, 0] = 0.0
        gamma = 1 - b
        damps = np.abs(rest).max() <= _EXACT and abs(transfer[2, 2] - a) <= _EXACT and gamma > 0
        if damps and a >= -_EXACT and b >= 0 and a * a <= b + _EXACT and abs(c) <= gamma + _EXACT:
            excited = min(max((1 - c / gamma) / 2, 0.0), 1.0)
            lost = 1 - min(a * a / b, 1.0) if b > 0 else 0.0
            return (("generalised_amplitude_damping", (gamma, excited)), ("phase_damping", (lost,)))
    raise RefusedError(
        f"{subject} is neither a mixture of Pauli strings nor a damping of one qubit along Z, which is the noise that "
        'this device has; use qml.device("default.mixed")'
    )
