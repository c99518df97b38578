"""Families of models that grow: the same kind of circuit with M = 8, 16, ... 4,096 parameters, one a rotation.

Every family keeps the observable one Pauli string (norm 1) and gradients that do not fade as M grows, so that an error
of 0.1 means the same at both ends; a sweep reports how many components exceed its error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quprop.errors import QupropError, nearest
from quprop.model import Model
from quprop.model.ansatz import (
    ANSATZE,
    Ansatz,
    commuting_blocks,
    commuting_generator,
    hardware_efficient,
    random_pauli_rotations,
)
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString

Built = tuple[Model, np.ndarray]
QUBITS = 4  # of the families whose number of qubits stays
LIST_QUBITS = 6  # 4^6 - 1 = 4,095 Pauli strings
_TILT = 0.45  # RY angle away from |+>: <X> = cos 0.45 = 0.90 on the qubits that only steer


@dataclass(frozen=True)
class Family:
    """name, what it is in a line, the M it has from `least` to `most` in steps, its builder.

    draws: the random models that one instance averages over (many where single ones differ much); patience: repeats, in
    units of those of the others (errors read from the same shots are correlated: their largest fluctuates more)."""

    name: str
    title: str
    least: int
    most: int
    make: Callable[[int, np.random.Generator], Built]
    draws: int = 1
    patience: int = 1
    step: int = 1

    def sizes(self, m_max: int) -> list[int]:
        """Powers of two from `least` to m_max, as near as a whole number of steps is; the largest is cut to what the
        family has."""
        top = min(m_max, self.most)
        near = [round((1 << k) / self.step) * self.step for k in range(3, 40)]
        found = [m for m in near if self.least <= m <= top]
        if found and top < m_max and top not in found and found[-1] * 2 <= m_max:
            found.append(top)
        return found

    def build(self, m: int, instance: int) -> list[Built]:
        """Models with m parameters and points theta (m,), `draws` of them; others for every instance, always the
        same."""
        code = int.from_bytes(self.name.encode(), "little") % 2**63
        found = [self.make(m, np.random.default_rng([code, m, instance, draw])) for draw in range(self.draws)]
        assert all(model.n_params == m == len(theta) for model, theta in found)
        return found


def find(name: str) -> Family:
    """By its name, or by its ansatz's."""
    name = ALIASES.get(name, name)
    if name not in FAMILIES:
        raise QupropError(f"unknown family {name!r}: {nearest(str(name), FAMILIES)}")
    return FAMILIES[name]


def _hardware_efficient(m: int, rng: np.random.Generator) -> Built:
    layers = m // (2 * QUBITS)
    model = Model(hardware_efficient(QUBITS, layers), "Z0 Z1")
    return model, rng.uniform(-np.pi, np.pi, m)


def _random_pauli(m: int, rng: np.random.Generator) -> Built:
    model = Model(random_pauli_rotations(QUBITS, m, rng), "Z0 Z1")
    return model, rng.uniform(-np.pi, np.pi, m)


def _commuting_generator(m: int, rng: np.random.Generator) -> Built:
    """All 2^k = M strings X_0 times X on a subset of k further qubits: each anticommutes with the observable Z_0, and
    one circuit reads the whole gradient. Angles sum to 0.6, so that F does not wash out."""
    steering = m.bit_length() - 1
    strings = [PauliString(1 | subset << 1, 0) for subset in range(m)]
    model = Model(commuting_generator(1 + steering, strings, _steered(steering)), "Z0")
    return model, _summing(0.6, m, rng)


BLOCKS = 4


def _commuting_blocks(m: int, rng: np.random.Generator) -> Built:
    """Blocks X_0 (x) S, Z_0 (x) S, X_0 (x) S, ... with S all X strings on k further qubits: strings of one block
    commute, those of different kinds anticommute, those of equal kind commute; the last block anticommutes with Z_0.
    This is a stabiliser-logical product ansatz (Chinzei et al., arXiv:2406.18316) with one logical qubit."""
    each = m // BLOCKS
    steering = each.bit_length() - 1
    circuit = commuting_blocks(1 + steering, m, BLOCKS, _steered(steering))
    return Model(circuit, "Z0"), np.concatenate([_summing(0.6, each, rng) for _ in range(BLOCKS)])


def _pauli_list(m: int, rng: np.random.Generator) -> Built:
    """Proposition 7, case 1: at theta = 0 the gradient is the list of expectations of M of all Pauli strings on one
    state, a chain of CX on spins that point near (1, 1, 1), so that magnitudes lie densely around 0.1."""
    from quprop.gradients.bell_sampling import pauli_list_model

    state = Circuit(LIST_QUBITS)
    for q in range(LIST_QUBITS):
        polar, azimuth = np.arccos(3**-0.5), np.pi / 4
        state.ry(float(rng.normal(polar, 0.1)), q).rz(float(rng.normal(azimuth, 0.1)), q)
    for q in range(LIST_QUBITS - 1):
        state.cx(q, q + 1)
    chosen = 1 + rng.permutation(4**LIST_QUBITS - 1)[:m]
    strings = [PauliString(int(k) & (1 << LIST_QUBITS) - 1, int(k) >> LIST_QUBITS) for k in chosen]
    model = pauli_list_model(state, strings)
    return model, np.zeros(model.n_params)


def _summing(total: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """Small random angles with a given sum."""
    angles = 0.3 * rng.normal(size=count) / np.sqrt(count)
    return angles + (total - angles.sum()) / count


def _steered(count: int) -> np.ndarray:
    """|0> on qubit 0, and spins near |+> on the others: (1 + count, 2)."""
    near = np.array([np.cos(np.pi / 4 - _TILT / 2), np.sin(np.pi / 4 - _TILT / 2)])
    return np.concatenate([[[1.0, 0.0]], np.tile(near, (count, 1))])


def _of_ansatz(name: str, ansatz: Ansatz) -> Family:
    """An ansatz that nothing else is known of, on QUBITS qubits, from random angles."""
    step = ansatz.circuit(QUBITS, 2).n_params - ansatz.circuit(QUBITS, 1).n_params

    def make(m: int, rng: np.random.Generator) -> Built:
        return Model(ansatz.circuit(QUBITS, m // step), "Z0 Z1"), rng.uniform(-np.pi, np.pi, m)

    return Family(name, f"{name.replace('_', ' ')} on {QUBITS} qubits, growing depth", 16, 1 << 16, make, step=step)


ALIASES = {"random_pauli_rotations": "random_pauli"}  # rows in files, and their seeds, have the latter
FAMILIES: dict[str, Family] = {
    f.name: f
    for f in (
        Family(
            "hardware_efficient", f"RY, RZ, CX ring on {QUBITS} qubits, growing depth", 16, 1 << 16, _hardware_efficient
        ),
        Family("random_pauli", f"random Pauli rotations on {QUBITS} qubits", 16, 1 << 16, _random_pauli),
        Family(
            "commuting_generator",
            "commuting X strings, 1 + log2 M qubits",
            16,
            1 << 14,
            _commuting_generator,
            draws=4,
            patience=2,
        ),
        Family(
            "commuting_blocks",
            f"{BLOCKS} blocks of commuting strings, log2 M - 1 qubits",
            16,
            1 << 14,
            _commuting_blocks,
            draws=4,
            patience=2,
        ),
        Family(
            "pauli_list",
            f"all Pauli strings of one {LIST_QUBITS}-qubit state",
            16,
            4**LIST_QUBITS - 1,
            _pauli_list,
            draws=12,
        ),
    )
}
FAMILIES |= {
    name: _of_ansatz(name, ansatz)
    for name, ansatz in ANSATZE.items()
    if ansatz.grows and ALIASES.get(name, name) not in FAMILIES
}
