"""Fluctuation modes around k copies of one state: the directions in which checks move the copies.

A check of E asks S = k mu + sum of fluctuations; what it does to k copies of psi it does through the single-copy vector
v = (E - mu) psi, orthogonal to psi, of squared length mu (1 - mu). Approximate engines keep an orthonormal basis of the
v of the checks that mattered, rotated along with psi.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quprop.collective.engines.frame import RotatingStates
from quprop.collective.event import Event
from quprop.model.pauli import PauliString

NO_SPREAD = 1e-13  # mu (1 - mu) below which every copy answers alike
_PARALLEL = 1e-7  # what is left of a unit vector by rounding after projection


class Direction(NamedTuple):
    """v of one event in the current modes.

    mean         mu = <psi|E|psi>
    spread       |v| = sqrt(mu (1 - mu)), the standard deviation of the count per sqrt(k)
    components   <u_a|v>/|v|, complex (r,)
    rest         v/|v| minus its part in the modes, (2^n,)
    rest_size    norm of `rest`, between 0 and 1; 0 if it is only rounding
    """

    mean: float
    spread: float
    components: np.ndarray
    rest: np.ndarray
    rest_size: float

    def opposite(self) -> Direction:
        """That of 1 - E."""
        return Direction(1 - self.mean, self.spread, -self.components, -self.rest, self.rest_size)


class Modes:
    """psi and the orthonormal u_1..u_r, all orthogonal to psi, in the frame of the copies."""

    def __init__(self, state: np.ndarray) -> None:
        self._frame = RotatingStates(state[None])  # (1 + r, 2^n), psi first
        self._last: tuple[Event, Direction] | None = None

    @property
    def psi(self) -> np.ndarray:
        return self._frame.rows[0]

    def __len__(self) -> int:
        return len(self._frame.rows) - 1

    @property
    def complete(self) -> bool:
        """The modes span everything orthogonal to psi."""
        return len(self._frame.rows) == self._frame.rows.shape[1]

    def rotate(self, pauli: PauliString, angle: float) -> None:
        self._frame.rotate(pauli, angle)
        self._last = None

    def direction(self, event: Event) -> Direction:
        """The event's v, split into modes and rest."""
        if self._last is not None:
            asked, found = self._last
            if asked is event:
                return found
            if event.pauli is not None and asked.pauli is not None and event.pauli == -asked.pauli:
                return found.opposite()
        accepted = event.apply(self.psi)
        mean = min(1.0, max(0.0, float(np.vdot(self.psi, accepted).real)))
        v = accepted - mean * self.psi
        spread = float(np.linalg.norm(v))
        r = len(self)
        if spread**2 < NO_SPREAD:
            out = Direction(mean, 0.0, np.zeros(r, complex), np.zeros_like(v), 0.0)
        else:
            v /= spread
            components = np.zeros(r + 1, complex)
            for _ in range(1 if self.complete else 2):  # Gram-Schmidt loses orthogonality in one turn, not in two
                part = (self._frame.rows @ v.conj()).conj()
                v -= part @ self._frame.rows
                components += part
            size = 0.0 if self.complete else float(np.linalg.norm(v))
            out = Direction(mean, spread, components[1:], v, size if size > _PARALLEL else 0.0)
        self._last = event, out
        return out

    def add(self, direction: Direction) -> Direction:
        """Makes the rest of `direction` a mode of its own; returns the direction in the new modes."""
        new = direction.rest / np.linalg.norm(direction.rest)
        new -= (self._frame.rows @ new.conj()).conj() @ self._frame.rows
        new /= np.linalg.norm(new)
        self._frame.append(new)
        self._last = None
        components = np.append(direction.components, direction.rest_size)
        return direction._replace(components=components, rest=np.zeros_like(new), rest_size=0.0)
