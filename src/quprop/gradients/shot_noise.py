"""The exact gradient with the noise that a protocol's shots would have."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients.adjoint import Adjoint
from quprop.gradients.method import GradientMethod
from quprop.gradients.parameter_shift import ParameterShift
from quprop.model import Model
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.budget import Budget
from quprop.sampling.estimate import Estimate
from quprop.sampling.linear import LinearPlan, points
from quprop.sampling.plan import Plan, settle
from quprop.sampling.programs import read_by_programs
from quprop.sampling.sampler import Runs, at_once, chances, eigenvalues
from quprop.sampling.shape import Shape, Wanted
from quprop.simulate import get_engine
from quprop.simulate.lightcone import supports

_CHUNK_AMPLITUDES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ShotNoise(GradientMethod, Budget):
    """grad F + noise: Gaussian, with the covariance that `protocol`'s shots have at this theta, from exact moments.

    ShotNoise(protocol=ParameterShift(shots=1000)); ShotNoise(shots=1000) means the same. For protocols that add up what
    their runs say (parameter shift, finite differences with their bias, Hadamard tests, ...). The variance of a shot of
    run r is <Y_r^2> - <Y_r>^2 for what it reads, an observable Y_r diagonal in its basis; stderr is the exact one, 0
    where outcomes are certain. Gaussian, because means of many shots are (Berry and Esseen: within 0.5/sqrt(shots) for
    outcomes ±1).

    variances="exact": moments of every run at every theta, which costs about what simulating the protocol's circuits
    does. variances="held": the moments at `compile(..., at=(theta, x))` are kept, and an estimate is one adjoint sweep
    and P random numbers: adjoint speed for a training that stays near, or that may be off in the size of its noise.

    Nothing is measured: `cost` is the simulator's own (copies, rotations and measurements 0), and
    `info["protocol_cost"]` what the protocol would have spent. (Asked for in PennyLaneAI/pennylane#1418.)

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.gradient(model, [np.pi / 6], method=qpr.ShotNoise(shots=1000), rng=0).value.round(2)  # -sin(theta) = -0.5
    array([-0.5])
    """

    name: ClassVar[str] = "shot_noise"
    copies: ClassVar[int] = 0
    noise: ClassVar[Literal["none", "fixed", "any"]] = "fixed"
    protocol: Any = None
    variances: Literal["exact", "held"] = "exact"

    def __post_init__(self) -> None:
        if self.variances not in ("exact", "held"):
            raise QupropError(f"variances is 'exact' or 'held', got {self.variances!r}")
        if self.protocol is None:
            self._check_budget()
            return
        if not hasattr(self.protocol, "compile"):
            raise QupropError(
                f"protocol is a method that measures, such as ParameterShift(shots=1000), got {self.protocol!r}"
            )
        given = [f.name for f in fields(Budget) if f.name != "failure" and getattr(self, f.name) is not None]
        if given:
            raise QupropError(f"the protocol has a budget of its own; leave {' and '.join(given)} out")

    @property
    def unbiased(self) -> bool:
        return self.protocol is None or getattr(self.protocol, "unbiased", True)

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> ShotNoisePlan:
        protocol = self.protocol
        if protocol is None:
            protocol = ParameterShift(**{f.name: getattr(self, f.name) for f in fields(Budget)})
        return ShotNoisePlan(model, settle(model, weights, self), self, protocol, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """Exact moments of parameter shift's circuits, one sweep of the three of an adjoint gradient each."""
        sweeps = Adjoint.formula(shape, wanted)
        circuits = round(shape.loads[ParameterShift.name].circuits)
        return replace(sweeps, qubits=shape.qubits, classical_ops=circuits * sweeps.classical_ops // 3)


class _Near(NamedTuple):
    """Y = sum_i w_i P_i on a program too wide for a state: <Y^2> from the strings P_i P_j whose light cones share a
    qubit, all others being independent. model has them as observables; pairs (2, N) are i and j; signs (N,)."""

    model: Model
    pairs: np.ndarray
    signs: np.ndarray

    @classmethod
    def of(cls, runs: Runs) -> _Near:
        reached = supports(runs.program, runs.paulis)
        count = len(runs.paulis)
        near = [(i, j) for i in range(count) for j in range(i + 1, count) if reached[i] & reached[j]]
        found = [runs.paulis[i] * runs.paulis[j] for i, j in near]
        observables = tuple(PauliSum(PauliString(p.x, p.z)) for p in found)
        pairs = np.array(near, np.int64).reshape(-1, 2).T
        return cls(runs.program._replace(observables=observables), pairs, np.array([p.sign for p in found], float))

    def square(self, w: np.ndarray, means: np.ndarray, products: np.ndarray) -> np.ndarray:
        """(R,), from weights and <P_i> (R, L) and <P_i P_j> (R, N)."""
        y, (i, j) = w * means, self.pairs
        apart = y.sum(axis=1) ** 2 - (y * y).sum(axis=1) - 2 * (y[:, i] * y[:, j]).sum(axis=1)
        return (w * w).sum(axis=1) + apart + 2 * (w[:, i] * w[:, j] * self.signs * products).sum(axis=1)


class ShotNoisePlan(Plan):
    no_circuits = "shot_noise draws the noise of a protocol and measures nothing"

    def __init__(self, model: Model, weights: np.ndarray, method: ShotNoise, protocol: Any, at: Any) -> None:
        plan = protocol.compile(model, weights, at=at)
        name = getattr(protocol, "name", type(protocol).__name__)
        if type(plan)._rounds is not LinearPlan._rounds or any(r.own is not None for r in plan.runs):
            raise QupropError(
                f"the noise of {name} is not a sum over runs with a fixed number of shots; "
                "draw its shots themselves, or take ParameterShift(shots=...) as the protocol"
            )
        super().__init__(model, plan.terms, weights)
        self.protocol: LinearPlan = plan
        self.measured = plan.measured
        self.bias = getattr(plan, "bias", np.zeros(model.n_params))
        self._engine = get_engine(None)
        self._exact = Adjoint().compile(model, weights)
        self._held: tuple[np.ndarray, ...] | None = None
        self._shots = plan.shots
        circuits = sum(len(r) for r in plan.runs)
        sweep = self._exact.cost.classical_ops
        self.cost = Cost(
            depth=model.n_rotations,
            qubits=model.n_qubits,
            classical_ops=sweep if method.variances == "held" else circuits * sweep // 3,
            classical_bytes=self._exact.cost.classical_bytes,
        )
        self.info = {
            "noise": f"as {name} has with {getattr(protocol, 'budget', 'its budget')}",
            "protocol_cost": str(plan.cost),
            "exact": "nothing is measured",
        }
        if method.variances == "held":
            if at is None:
                raise QupropError(
                    "variances='held' keeps those of one point; pass it as compile(..., at=(theta, x)), or use 'exact'"
                )
            if any(r.each for r in plan.runs) or np.any(self.bias):
                raise QupropError(
                    f"variances='held' serves unbiased protocols whose runs give one component each, and {name} is not "
                    "one; use variances='exact'"
                )
            thetas, xs = points(model, at)
            if len(thetas) > 1 or weights.size > model.n_observables:
                raise QupropError(
                    "variances='held' keeps those of one point and one set of weights; compile with one, or use 'exact'"
                )
            weights = weights.reshape(model.n_observables)
            angles = model.angle_table.evaluate(thetas, xs)[0]
            u, read = self.terms.coefficients(weights), read_by_programs(model, xs[0])
            self._held = tuple(self._moments(r, angles, read, u)[1] for r in plan.runs)

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        if self._held is not None and not np.array_equal(weights, self.weights.ravel()):
            raise QupropError(
                "variances='held' keeps those of the weights the plan was compiled for, and others were passed; "
                "compile again, or use 'exact'"
            )
        slopes = self.protocol._slopes(theta, x)
        noise, variance = np.zeros(slopes.shape[0]), np.zeros(slopes.shape[0])
        value, spread = np.zeros(self.model.n_params), np.zeros(self.model.n_params)
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        u, read = self.terms.coefficients(weights), read_by_programs(self.model, x)
        runs_of = self.protocol.runs if self._held is not None else self.protocol._runs(theta, x)
        for k, (runs, shots) in enumerate(zip(runs_of, self._shots, strict=True)):
            if runs.each:
                self._together(runs, shots, a, read, u, slopes, value, spread, rng)
                continue
            if self._held is not None:
                mean, of_shot = np.zeros(len(runs)), self._held[k]
            else:
                mean, of_shot = self._moments(runs, a, read, u)
            of_mean = of_shot / shots
            np.add.at(noise, runs.targets, mean + np.sqrt(of_mean) * rng.standard_normal(len(runs)))
            np.add.at(variance, runs.targets, of_mean)
        value += slopes.T @ noise
        spread += slopes.multiply(slopes).T @ variance
        if self._held is not None:
            value += self._exact._estimate(theta, x, weights, rng).value
        return Estimate(value, np.sqrt(spread), self.cost, dict(self.info))

    def _moments(self, runs: Runs, a: np.ndarray, x: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of one shot of each run, (R,)."""
        weights = runs.weights(u)
        mean, square = np.zeros(len(runs)), np.zeros(len(runs))
        wide = not runs.program.channels and (
            self._engine.choose(runs.program).engine is not self._engine.choose(runs.program, 1, "states").engine
        )
        near = _Near.of(runs) if wide and runs.joint else None
        for rows, angles in self._chunks(runs, a, wide):
            if wide or not runs.joint:
                expected = np.clip(self._engine.values(runs.measured, angles, self._inputs(runs, x)), -1.0, 1.0)
                mean[rows] = (weights[rows] * expected).sum(axis=1)
            if not runs.joint:
                square[rows] = np.abs(weights[rows]).sum(axis=1) ** 2
                continue
            if near is not None:
                products = np.clip(self._engine.values(near.model, angles, self._inputs(runs, x)), -1.0, 1.0)
                square[rows] = near.square(weights[rows], expected, products)
                continue
            basis, masks, signs = runs.diagonal
            p = chances(self._engine, basis, angles, self._inputs(runs, x))  # (r, 2^n)
            outcomes = eigenvalues(np.arange(p.shape[1]), masks, signs)  # (2^n, L)
            y = weights[rows] @ outcomes.T  # (r, 2^n)
            mean[rows] = np.einsum("rj,rj->r", p, y)
            square[rows] = np.einsum("rj,rj,rj->r", p, y, y)
        return mean, np.maximum(square - mean**2, 0.0)

    def _together(
        self,
        runs: Runs,
        shots: np.ndarray,
        a: np.ndarray,
        x: np.ndarray,
        u: np.ndarray,
        slopes: Any,
        value: np.ndarray,
        spread: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        """Runs that read several components from one shot: sum_j sqrt(p_j) z_j (y_j - <y>) with normal z_j, one for
        each bit string, has their covariance p_j y_j y_j^T - <y><y>^T."""
        weights = runs.weights(u)
        basis, masks, signs = runs.diagonal
        for rows, angles in self._chunks(runs, a):
            of_all = chances(self._engine, basis, angles, self._inputs(runs, x))
            outcomes = eigenvalues(np.arange(of_all.shape[1]), masks, signs)
            for r, p in zip(range(rows.start, rows.stop), of_all, strict=True):
                part = slopes[runs.targets[r]].tocsc()
                columns = np.flatnonzero(np.diff(part.indptr))
                y = (outcomes * weights[r]) @ part[:, columns].toarray()  # (2^n, components)
                mean = p @ y
                y -= mean
                value[columns] += mean + (np.sqrt(p / shots[r]) * rng.standard_normal(len(p))) @ y
                spread[columns] += p @ y**2 / shots[r]

    def _chunks(self, runs: Runs, a: np.ndarray, wide: bool = False) -> Any:
        step = min(at_once(runs.program), max(1, _CHUNK_AMPLITUDES >> runs.program.n_qubits))
        if wide:
            step = max(1, _CHUNK_AMPLITUDES // (16 * len(runs.paulis)))
        for start in range(0, len(runs), step):
            stop = min(start + step, len(runs))
            yield slice(start, stop), np.nan_to_num(runs.rows.angles(a, start, stop))

    def _inputs(self, runs: Runs, x: np.ndarray) -> np.ndarray:
        if not runs.program.n_inputs:
            return np.empty((1, 0))
        padded = np.zeros((1, runs.program.n_inputs))
        padded[0, : len(x)] = x
        return padded
