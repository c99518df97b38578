"""Time evolution of a model's state by McLachlan's variational principle, in real and in imaginary time.

With phi = (H - E) psi, E = <psi|H|psi>, and t_i = d_i psi - psi <psi|d_i psi>, the velocity v makes the distance
between the state's motion and the one wanted smallest:

    real time       min_v | sum_i v_i t_i + i phi |     Re(G) v =  Im C
    imaginary time  min_v | sum_i v_i t_i +   phi |     Re(G) v = -Re C = -(grad E)/2

with G_ij = <t_i|t_j> the quantum geometric tensor and C_i = <t_i|phi> = <d_i psi|H|psi> - <d_i psi|psi> E. A state's
phase is left out on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, whole
from quprop.model import Model
from quprop.simulate import Call, quiet, vectors
from quprop.simulate.state_vector.metric import metric
from quprop.training.optimise import CUTOFF, check_cutoff, solve_truncated

LARGEST = 2.0**33  # an angle, beyond which a double tells it from its neighbours to a millionth only
KINDS = {"real": "rk4", "imaginary": "euler"}  # and the rule of each, if none is asked for
# Butcher tables of explicit rules: nodes' rows, and the weights of the stages.
RULES: dict[str, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": (((),), (1.0,)),
    "heun": (((), (1.0,)), (0.5, 0.5)),
    "rk4": (((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


def evolution_vector(
    model: Model,
    hamiltonian: Any,
    theta: Any,
    x: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> np.ndarray:
    """C_i = <d_i psi|H|psi> - <d_i psi|psi><psi|H|psi>, the right side of variational time evolution.

    Re C is half the gradient of <H>; Im C drives the parameters in real time. Both come from one forward sweep and a
    backward sweep each, from H psi - E psi and -i times that, however many parameters there are.

    hamiltonian: a PauliSum, or what `Model` takes for one observable; None: the model's own, if it has one. theta:
    (n_params,). x: (n_inputs,). engine, precision, threads: as in `quprop.state`.
    Returns: complex array (n_params,).
    Raises: QupropError as `quprop.state`, for a batch, and for other than one Hamiltonian.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0), "Z0")
    >>> qpr.evolution_vector(model, "Z0", [np.pi / 2]).round(6)  # half of d cos(t)
    array([-0.5+0.j])
    >>> qpr.evolution_vector(model, "Y0", [0.3]).round(6)        # exp(-i Y t') is ry(2 t'): G v = 1/2, G = 1/4
    array([0.+0.5j])
    """
    sweep = _Sweep(model, hamiltonian, x, engine, precision, threads)
    seen = sweep.at(sweep.start(theta))
    return np.asarray(seen.real() + 1j * seen.imaginary())


@dataclass(frozen=True, eq=False)
class VariationalEvolution:
    """What `variational_evolution` returns, at steps + 1 times.

    times (T,), thetas (T, n_params), energies (T,). distances (T,): McLachlan's distance, how fast the ansatz moves
    away from the evolution wanted, in units of the state's norm by time; where it can follow, the root of a rounding
    error, about 1e-8. kind: "real" or "imaginary".

    Raises: QupropError for the `error_bound` of an imaginary time.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0), "Z0")
    >>> evolved = qpr.variational_evolution(model, "Y0", [0.0], time=0.5, steps=2)
    >>> evolved.thetas[-1].round(6), evolved.distances.max() < 1e-7, round(evolved.error_bound, 6)
    (array([1.]), np.True_, 0.0)
    """

    times: np.ndarray
    thetas: np.ndarray
    energies: np.ndarray
    distances: np.ndarray
    kind: str = field(default="real")

    @property
    def theta(self) -> np.ndarray:
        """At the end, (n_params,)."""
        last: np.ndarray = self.thetas[-1]
        return last

    @property
    def error_bound(self) -> float:
        """The integral of the distances over time (trapezoids). In real time no state that follows the velocities is
        further than this from the exact one, up to a phase: exp(-i H t) keeps distances, so that they add up. The error
        of the steps and of the trapezoids is not in it. In imaginary time it bounds nothing."""
        if self.kind != "real":
            raise QupropError(
                "distances add up to a bound of the error in real time only, got imaginary time, which does not keep "
                "distances; look at `distances`"
            )
        return float(np.trapezoid(self.distances, self.times))


def variational_evolution(
    model: Model,
    hamiltonian: Any,
    theta: Any,
    time: float,
    steps: int,
    *,
    kind: Literal["real", "imaginary"] = "real",
    x: Any = None,
    rule: str | None = None,
    cutoff: float = CUTOFF,
    damping: float = 0.0,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> VariationalEvolution:
    """Move theta so that the model's state follows exp(-i H t), or exp(-H tau) normalised, as well as the ansatz can.

    McLachlan's principle, Re(G) dtheta/dt = Im C in real and -Re C in imaginary time, with G the `geometric_tensor` and
    C the `evolution_vector`, both exact. The distance sqrt(v G v - 2 v b + Var H), b being the right side, is told at
    every step: what of the motion is outside the ansatz. Where that is not 0, the energy drifts in real time too.

    hamiltonian: a PauliSum, or what `Model` takes for one observable; None: the model's own, if it has one. theta:
    (n_params,), where to begin. time: how long, above 0. steps: how many. kind: "real" or "imaginary".
    rule: "euler", "heun" or "rk4", of order 1, 2 and 4; by default "rk4" in real and "euler" in imaginary time.
    cutoff: the system is solved by least squares without the directions in which G is below ``cutoff`` times its
    largest eigenvalue (parameters that move no state, or the same); damping: added to G on the others (Tikhonov).
    x: (n_inputs,). engine, precision, threads: as in `quprop.state`.
    Cost: for each stage of a rule about n_params forward sweeps for G, one forward and one backward for C.

    Returns: VariationalEvolution: times, thetas, energies, distances.
    Raises: QupropError as `evolution_vector`, for a time or steps that are not positive, unknown names, and where an
    angle leaves 2^33.

    Sources: McLachlan, Mol. Phys. 8, 39 (1964); Yuan, Endo, Zhao, Li, Benjamin, Quantum 3, 191 (2019),
    arXiv:1812.08767.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0), "Z0")
    >>> cooled = qpr.variational_evolution(model, "Z0", [1.0], time=4.0, steps=40, kind="imaginary")
    >>> cooled.theta.round(2), cooled.energies[[0, -1]].round(3)
    (array([3.14]), array([ 0.54, -1.  ]))
    """
    if kind not in KINDS:
        raise QupropError(f"kind is 'real' or 'imaginary', got {kind!r}")
    rule = KINDS[kind] if rule is None else rule
    if rule not in RULES:
        raise QupropError(f"rule is one of {', '.join(RULES)}, got {rule!r}")
    if isinstance(time, bool) or not isinstance(time, int | float | np.number) or not 0 < time < math.inf:
        raise QupropError(f"time must be a positive number, got {time!r}")
    whole("steps", steps, 1)
    check_cutoff(cutoff)
    if not 0 <= damping < math.inf:
        raise QupropError(f"`damping` is added to the metric, a number from 0 on, got {damping!r}")
    sweep = _Sweep(model, hamiltonian, x, engine, precision, threads)
    now, dt = sweep.start(theta), float(time) / steps
    rows, weights = RULES[rule]

    def velocity(theta: np.ndarray) -> tuple[np.ndarray, float, float]:
        """v, the energy and McLachlan's distance."""
        seen = sweep.at(theta)
        right = seen.imaginary() if kind == "real" else -seen.real()
        tensor = metric(model, theta, x, engine=engine, precision=precision, threads=threads)
        v = solve_truncated(tensor, right, cutoff, damping)
        squared = float(v @ tensor @ v - 2 * v @ right + seen.variance)
        return v, seen.energy, math.sqrt(max(squared, 0.0))

    thetas, energies, distances = [now], [], []
    for step in range(steps):
        stages: list[np.ndarray] = []
        for row in rows:
            there = now + dt * sum((a * s for a, s in zip(row, stages, strict=True)), np.zeros_like(now))
            v, energy, distance = velocity(there)
            stages.append(v)
            if not row:
                energies.append(energy)
                distances.append(distance)
        now = now + dt * sum((w * s for w, s in zip(weights, stages, strict=True)), np.zeros_like(now))
        if not np.abs(now).max(initial=0.0) <= LARGEST:
            raise QupropError(
                f"the evolution diverged at step {step + 1} of {steps}: an angle became too large; take more steps, or "
                "a larger cutoff or damping"
            )
        thetas.append(now)
    _, energy, distance = velocity(now)
    return VariationalEvolution(
        np.linspace(0.0, float(time), steps + 1),
        np.array(thetas),
        np.array([*energies, energy]),
        np.array([*distances, distance]),
        kind,
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """The state at one theta and what H makes of it: E, Var H, and C by backward sweeps from phi = (H - E) psi."""

    energy: float
    phi: np.ndarray
    pullback: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    @property
    def variance(self) -> float:
        return float(np.vdot(self.phi, self.phi).real)

    def real(self) -> np.ndarray:
        """Re C_i = Re<phi|d_i psi>, (P,)."""
        with quiet():
            return np.asarray(self.pullback(self.phi[None])[0][0], float)

    def imaginary(self) -> np.ndarray:
        """Im C_i = -Im<phi|d_i psi> = Re<-i phi|d_i psi>, (P,)."""
        with quiet():
            return np.asarray(self.pullback(-1j * self.phi[None])[0][0], float)


class _Sweep:
    """A checked model and Hamiltonian; `at(theta)` sweeps forwards."""

    def __init__(
        self, model: Model, hamiltonian: Any, x: Any, engine: Any, precision: str, threads: int | None
    ) -> None:
        if not isinstance(model, Model):
            raise QupropError(
                f"the model of an evolution must be a quprop Model, got {type(model).__name__}; "
                "build one with qpr.Model(circuit, observables)"
            )
        found = model if hamiltonian is None else model.with_observables(hamiltonian)
        if found.n_observables != 1:
            raise QupropError(
                f"an evolution has one Hamiltonian, got {found.n_observables} observables; pass one, such as the sum"
            )
        self.model, self.terms = found, list(found.observables[0].items())
        self.x, self.options = x, (engine, precision, threads)

    def start(self, theta: Any) -> np.ndarray:
        theta = checked("theta", theta, (self.model.n_params,))
        call = Call(self.model, theta, self.x, *self.options, "state_vjp")
        if call.shape:
            raise QupropError(f"an evolution is that of one state, got inputs with batch axes {call.shape}")
        if not hasattr(call.engine, "state_vjp"):
            raise QupropError(f"this takes an engine that holds states (native, reference), got {call.engine!r}")
        return np.array(theta, float)

    def at(self, theta: np.ndarray) -> _Seen:
        call = Call(self.model, theta, self.x, *self.options, "state_vjp")
        with quiet():
            states, pullback = call.engine.state_vjp(self.model, call.theta, call.x)
        psi = np.asarray(states[0])
        moved = np.zeros_like(psi)
        for string, coefficient in self.terms:
            moved += coefficient * vectors.apply(string, psi)
        energy = float(np.vdot(psi, moved).real / np.vdot(psi, psi).real)
        return _Seen(energy, moved - energy * psi, pullback)


__all__ = ["KINDS", "RULES", "VariationalEvolution", "evolution_vector", "variational_evolution"]
