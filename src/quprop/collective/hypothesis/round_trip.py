"""Vectors taken back through a circuit to where values were measured, made to agree with each, and forward again.

sigma = w w†/norm for a stack of vectors w. A value b of tr(rho P) that was measured at some place of the circuit is
met exactly, in the frame of that place, by w <- exp(c P/2) w, c = atanh(b) - atanh(tr(sigma P)): tanh adds up. That
moves other values, so all are visited in turn, as alternating projections do (Bregman, USSR Comput. Math. Math. Phys.
7, 200). Rotations between two places run as one circuit on all vectors in the native engine.
"""

from __future__ import annotations

import math
from copy import copy as shallow_copy
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import stim

from quprop.collective.hypothesis.protocol import boost_to
from quprop.collective.hypothesis.vectors import COMBINE_OPS, INNER_OPS
from quprop.model import Model
from quprop.model.angle import Angle
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString
from quprop.model.x_rotations import Rotation
from quprop.simulate.state_vector.native import NativeEngine
from quprop.simulate.vectors import apply, expectation

ROTATION_BYTES = 1024  # of one in a `Segment`: both models and their plans
TRIPS = 4  # the most; each further one saves triggers, fewer every time (about 10 % from two to four)
_NONE = np.zeros((1, 0))  # no parameters, no inputs


class Segment(NamedTuple):
    """The rotations between two places, and their inverse, as models without parameters."""

    forward: Model
    back: Model

    @classmethod
    def of(cls, n: int, turns: list[tuple[PauliString, float]]) -> Segment:
        """exp(-i angle P/2) for each (P, angle), P without a sign, the first in the list first."""
        forward = [Rotation(p.x, p.z, Angle(angle)) for p, angle in turns]
        back = [Rotation(p.x, p.z, Angle(-angle)) for p, angle in reversed(turns)]
        return cls(_model(n, forward), _model(n, back))


class Place(NamedTuple):
    """A measured value b of tr(rho P), its standard error, and the rotations since the place before (None: none)."""

    pauli: PauliString
    value: float
    error: float
    before: Segment | None


class RoundTrip:
    """All measured values with their places, and the rotations from the first of them to here."""

    def __init__(self, n: int, precision: str) -> None:
        self._n = n
        self._precision = precision
        self._places: list[Place] = []
        self._open: list[tuple[PauliString, float]] = []  # rotations since the last place
        self._closed = 0

    @property
    def nbytes(self) -> int:
        return ROTATION_BYTES * self._closed + 64 * (len(self._open) + len(self._places))

    def rotate(self, pauli: PauliString, angle: float) -> None:
        if self._places:
            self._open.append((pauli, angle))

    def learn(self, pauli: PauliString, value: float, error: float) -> None:
        """A place here."""
        before = Segment.of(self._n, self._open) if self._open else None
        self._closed += len(self._open)
        self._open = []
        self._places.append(Place(pauli, value, error, before))

    def run(self, rows: np.ndarray) -> tuple[np.ndarray, int]:
        """Vectors here (k, 2^n), up to `TRIPS` times to the first place and back again, until a trip finds every value
        within its error; and the multiply-adds done."""
        ops = 0
        for _ in range(TRIPS):
            worst = 0.0  # gap beyond the error
            for visit, t in enumerate(self._way()):
                back = visit < len(self._places)
                if visit:
                    segment = self._places[t + 1 if back else t].before
                    if segment is not None:
                        model = segment.back if back else segment.forward
                        rows = _engine(self._precision).evolve(model, _NONE, _NONE, rows)
                        ops += COMBINE_OPS * rows.size * model.n_rotations
                rows, gap = _met(rows, self._places[t])
                ops += (COMBINE_OPS + 2 * INNER_OPS) * rows.size
                worst = max(worst, gap - self._places[t].error)
            if worst <= 0:
                break
        return rows, ops

    def _way(self) -> list[int]:
        """The numbers of the places as they are visited: from the last to the first, and back to the last."""
        there = list(range(len(self._places)))
        return there[::-1] + there[1:]

    def copy(self) -> RoundTrip:
        twin = shallow_copy(self)
        twin._places, twin._open = self._places.copy(), self._open.copy()
        return twin


@lru_cache(maxsize=2)
def _engine(precision: str) -> NativeEngine:
    """One for all, which keeps the plans of segments while these live."""
    return NativeEngine(precision)


def _met(rows: np.ndarray, place: Place) -> tuple[np.ndarray, float]:
    """sigma with tr(sigma P) = b, as far as `boost_to` goes, its norm as it was; and |tr(sigma P) - b| before."""
    norm = float(np.vdot(rows, rows).real)
    predicted = min(1.0, max(-1.0, float(expectation(place.pauli, rows).sum()) / norm))
    c = boost_to(place.value, predicted)
    scale = 1 / math.sqrt(math.cosh(c) + predicted * math.sinh(c))
    moved = apply(place.pauli, rows)
    moved *= scale * math.sinh(c / 2)
    moved += scale * math.cosh(c / 2) * rows
    return moved, abs(predicted - place.value)


def _model(n: int, rotations: list[Rotation]) -> Model:
    return Model._of(
        n_qubits=n, rotations=tuple(rotations), observables=(), state=InputState(), clifford=stim.Tableau(n),
        param_names=(), param_sizes=(), input_names=(), input_sizes=(),
    )  # fmt: skip
