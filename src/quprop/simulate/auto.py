"""The engine that is taken if none is named: exact, the whole state where it fits, else light cones, or sums over signs
for rotations that commute; Pauli propagation beyond if a tolerance is stated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from quprop.cost import short_bytes
from quprop.errors import QupropError, count_of
from quprop.machine import available_bytes
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.model.x_rotations import XRotations
from quprop.simulate import memory
from quprop.simulate.commuting.engine import Commuting, commuting_engine
from quprop.simulate.engine import MAX_QUBITS, Arrays, made
from quprop.simulate.lightcone import LightConeEngine
from quprop.simulate.noise.density import DensityEngine
from quprop.simulate.pauli.engine import engine_of
from quprop.simulate.pauli.settings import PauliPropagation
from quprop.simulate.state_vector.native import NativeEngine
from quprop.simulate.state_vector.reference import STATE_VECTOR, JetPullback

ALWAYS_WHOLE = 20  # qubits: what is below is not looked at
_MANY = 8  # rotations a qubit of an IQP circuit, from where two Walsh-Hadamard transforms make its state sooner


class Choice(NamedTuple):
    """An engine, and why it is taken, in one line. qubits: of the largest state it holds; updates: the amplitudes that
    a sweep over all rotations turns; both 0 where there is no state."""

    engine: Any
    why: str
    qubits: int = 0
    updates: int = 0


class AutoEngine:
    """The whole state where this machine holds it, else the light cones of the terms, else, for a commuting model, sums
    over the signs that a term meets: exact each way. Where none fits it refuses, or takes Pauli propagation within
    `tolerance` (of the value and all derivatives) if one is given. Models with noise: the whole mixed state.

    Raises: QupropError for another precision, number of threads or tolerance, and where nothing fits the model.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.expectation(model, [np.pi / 3], engine=qpr.AutoEngine(threads=1)).round(6)
    array([0.5])
    """

    name = "auto"

    def __init__(
        self, precision: str = "double", threads: int | None = None, *, tolerance: float | None = None
    ) -> None:
        self.precision, self.tolerance = precision, tolerance
        self._strings = None if tolerance is None else engine_of(PauliPropagation(tolerance), precision, threads)
        self._whole = made(NativeEngine, precision, threads)
        self._cones = made(LightConeEngine, precision, threads)
        self._signs = commuting_engine(Commuting(), precision, threads)
        self.threads = self._whole.threads

    def __repr__(self) -> str:
        return f"AutoEngine({self.precision!r}, threads={self.threads})"

    def choose(self, model: Model, batch: int = 1, what: str = "value_and_grad") -> Choice:
        """The engine for "values", "value_and_grad", "vjp", "hvp", "states", "state_vjp", "tangents", "jet" or
        "state_jet" of a batch, and why; one sentence where none serves."""
        n = model.n_qubits
        if model.channels:
            density = self._density
            memory.require(
                density.memory(model, batch, what),
                f"a mixed state of {n:,} qubits",
                'take engine="trajectories" or "pauli", fewer qubits, a smaller batch, or model.noiseless()',
            )
            why = f"the whole mixed state of {count_of(n, 'qubit')}"
            return Choice(density, why, 2 * n, model.n_rotations << 2 * n)
        if n <= ALWAYS_WHOLE:
            return Choice(self._whole, f"the whole state of {count_of(n, 'qubit')}", n, model.n_rotations << n)
        needed = self._whole.memory(model, batch, what)
        free = available_bytes()
        if needed <= free or what not in ("values", "value_and_grad", "vjp", "hvp"):
            why = f"the whole state of {count_of(n, 'qubit')}, in {short_bytes(needed)}"
            return Choice(self._whole, why, n, model.n_rotations << n)
        whole = f"a state of {count_of(n, 'qubit')} " + (
            "fits no machine"
            if n > MAX_QUBITS and needed >= 1 << MAX_QUBITS
            else f"needs {short_bytes(needed)} and this machine has {short_bytes(free)} free"
        )
        try:
            return self._beyond(model, batch, what, whole)
        except QupropError as error:
            if self._strings is not None and what != "hvp":
                return Choice(self._strings, f"Pauli strings within {self.tolerance:g}, since {whole}, and {error}")
            raise QupropError(
                f"{whole}, and {error}; take fewer qubits, or engine=qpr.PauliPropagation(tolerance), which keeps what "
                "it drops within a tolerance"
            ) from None

    def _beyond(self, model: Model, batch: int, what: str, whole: str) -> Choice:
        """What is exact without the whole state."""
        signs = f"sums over the signs that each term meets, since {whole}"
        if isinstance(model.rotations, XRotations) and what != "hvp":  # among which cones are not looked for
            self._signs.plan(model)
            return Choice(self._signs, signs)
        try:
            cones = self._cones.cones(model)
            memory.require(self._cones.memory(model, batch, what), f"the widest, of {cones.qubits} qubits,", "")
        except QupropError:
            if what != "hvp" and self._signs.serves(model):
                return Choice(self._signs, signs)
            raise
        most = " of up to" if cones.count > 1 else " of"
        found = f"{count_of(cones.count, 'light cone')}{most} {count_of(cones.qubits, 'qubit')}"
        return Choice(self._cones, f"{found}, since {whole}", cones.qubits, cones.updates)

    @property
    def _density(self) -> Any:
        return made(DensityEngine, "double", self.threads)  # which is no worse where "single" is asked for

    def _for(self, model: Model, what: str, *rows: np.ndarray) -> Any:
        if not model.channels and model.n_qubits <= ALWAYS_WHOLE:
            return self._whole
        return self.choose(model, max(map(len, rows)), what).engine

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self._for(model, "values", theta, x).values(model, theta, x)

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        return self._for(model, "value_and_grad", theta, x).value_and_grad(model, theta, x, weights)

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        return self._for(model, "vjp", theta, x).vjp(model, theta, x)

    def hvp(self, model: Model, theta: np.ndarray, x: np.ndarray, *rest: np.ndarray) -> tuple[np.ndarray, ...]:
        return self._for(model, "hvp", theta, x).hvp(model, theta, x, *rest)

    def _stated(self, model: Model) -> Any:
        """What makes the whole state: of many commuting rotations, two transforms."""
        if model.channels:
            return self._density
        many = model.n_rotations > _MANY * model.n_qubits and self.precision == "double"
        return self._signs if many and self._signs.has_states(model) else self._whole

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self._stated(model).states(model, theta, x)

    def state_vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        return self._stated(model).state_vjp(model, theta, x)

    def tangents(self, model: Model, theta: np.ndarray, x: np.ndarray, directions: np.ndarray) -> Arrays:
        return (self._density if model.channels else self._whole).tangents(model, theta, x, directions)

    def jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, JetPullback]:
        refuse_channels(model, STATE_VECTOR)
        return self._whole.jet(model, theta, x, v_theta, v_x, order)

    def state_jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, JetPullback]:
        refuse_channels(model, STATE_VECTOR)
        return self._whole.state_jet(model, theta, x, v_theta, v_x, order)

    def probabilities(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return self._density.probabilities(model, theta, x)

    def memory(self, model: Model, batch: int, what: str) -> int:
        return self.choose(model, batch, what).engine.memory(model, batch, what)
