"""A model as the arrays the kernels read: masks in 64-bit words, the strings of all observables, the input state."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.simulate.pauli.damping import Damping
from quprop.simulate.state_vector.native import load_kernels

MAX_QUBITS = 1024
_SNAP = 2.0**-52  # times the angle, to a full turn: of a cosine or sine that is zero but for the angle's rounding
_kept: WeakKeyDictionary[Model, Packed] = WeakKeyDictionary()


@cache
def kernels() -> ModuleType:
    """The propagation's kernels of the instruction set that the state vector's run with."""
    return importlib.import_module(f"quprop.simulate._pauli_{load_kernels()[0]}")


class Packed(NamedTuple):
    """Stages (N, words), rotations and channels, and strings (T, words) as x and z masks; observable `of[i]` has
    `coefficient[i]` of string `term[i]`; bloch (n, 3) of the input's qubits; damping: what the stages are.

    Under affine channels strings may become the identity, for which the kernels have no room: then all strings have Z
    on a qubit more, which is in |0> and which nothing acts on.
    """

    px: np.ndarray
    pz: np.ndarray
    ox: np.ndarray
    oz: np.ndarray
    of: np.ndarray
    term: np.ndarray
    coefficient: np.ndarray
    bloch: np.ndarray
    damping: Damping

    @property
    def n_terms(self) -> int:
        return len(self.ox)

    def combined(self, weights: np.ndarray) -> np.ndarray:
        """Coefficients (B, T) of the sums of the observables with weights (B, K)."""
        out = np.zeros((len(weights), self.n_terms))
        np.add.at(out.T, self.term, (weights[:, self.of] * self.coefficient).T)
        return out

    def only(self, terms: np.ndarray) -> Packed:
        """The same rotations with some of the strings."""
        return self._replace(ox=self.ox[terms], oz=self.oz[terms])

    @classmethod
    def of_model(cls, model: Model) -> Packed:
        """Made once a model; a model that the kernels cannot take is refused."""
        found = _kept.get(model)
        if found is None:
            found = _kept[model] = cls._packed(model)
        return found

    @classmethod
    def _packed(cls, model: Model) -> Packed:
        damping = Damping.of_model(model)
        n, more = model.n_qubits, int(damping.affine)
        if n + more > MAX_QUBITS:
            raise QupropError(
                f"Pauli propagation takes strings of {MAX_QUBITS - more} qubits at most, got a model of {n}"
            )
        if model.state.kind not in ("basis", "product"):
            raise QupropError(
                "Pauli propagation starts from basis, product and stabiliser states (Clifford gates on a basis state), "
                f"got {model.state.text(n)}; prepare it by gates, or use the engine of the state vector"
            )
        width = 1 << max((n + more - 1) // 64, 0).bit_length()
        mark = more << n
        index: dict[tuple[int, int], int] = {}
        of, term, coefficient = [], [], []
        for k, observable in enumerate(model.observables):
            for string, c in observable.items():
                of.append(k)
                term.append(index.setdefault((string.x, string.z), len(index)))
                coefficient.append(c)
        masks = damping.stage_masks(model)
        return cls(
            px=words([x for x, _ in masks], width),
            pz=words([z for _, z in masks], width),
            ox=words([x for x, _ in index], width),
            oz=words([z | mark for _, z in index], width),
            of=np.array(of, np.int64),
            term=np.array(term, np.int64),
            coefficient=np.array(coefficient, float),
            bloch=np.concatenate([_bloch(model), np.tile([0.0, 0.0, 1.0], (more, 1))]),
            damping=damping.packed(lambda masks: words(masks, width)),
        )


def words(masks: Sequence[int], width: int) -> np.ndarray:
    """Masks as uint64 (len, width), bit q of a mask being bit q % 64 of word q // 64."""
    raw = b"".join(mask.to_bytes(8 * width, "little") for mask in masks)
    return np.frombuffer(raw, "<u8").astype(np.uint64).reshape(len(masks), width)


def factors(angles: np.ndarray, damping: np.ndarray | None = None) -> np.ndarray:
    """(cos, sin) of the angles, (..., 2), exact at multiples of pi/2; times the rotations' damping, if any."""
    c, s = np.cos(angles), np.sin(angles)
    near = _SNAP * np.clip(np.abs(angles), 1.0, 8.0)
    no_c, no_s = np.abs(c) < near, np.abs(s) < near
    out = np.stack(
        [np.where(no_c, 0.0, np.where(no_s, np.sign(c), c)), np.where(no_s, 0.0, np.where(no_c, np.sign(s), s))],
        axis=-1,
    )
    return np.ascontiguousarray(out if damping is None else out * damping[:, None])


def _bloch(model: Model) -> np.ndarray:
    """The Bloch vectors of the input state's qubits, (n, 3)."""
    n = model.n_qubits
    out = np.zeros((n, 3))
    if model.state.kind == "basis":
        index = model.state.index
        out[:, 2] = [1.0 - 2.0 * (index >> q & 1) for q in range(n)]
        return out
    a, b = model.state.array.T
    cross = 2 * np.conj(a) * b
    out[:] = np.stack([cross.real, cross.imag, np.abs(a) ** 2 - np.abs(b) ** 2], axis=1)
    out[np.abs(out) < _SNAP] = 0.0
    return out
