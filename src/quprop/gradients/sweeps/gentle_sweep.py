"""A sweep of gentle readings: every component from the same copies, no hypothesis, sqrt(M) log M/eps^2 copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from quprop.collective.check_circuit import reading_cost
from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.collective.event import Event
from quprop.collective.ledger import Ledger
from quprop.cost import Cost, short
from quprop.errors import QupropError, count_of
from quprop.gradients.method import GradientMethod
from quprop.gradients.sweeps.check_program import CopiesCircuit, reading_of_copies
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice, largest_slope, require_weights
from quprop.model import Model
from quprop.sampling.budget import Budget, share
from quprop.sampling.estimate import Estimate
from quprop.sampling.linear import driven, jacobian
from quprop.sampling.plan import Plan, settle
from quprop.sampling.shape import Shape, Wanted
from quprop.sampling.terms import Terms

_NO_READINGS = ("null", "product_sum")  # engines whose readings leave copies as they were, or that have none
MOST_COPIES = 10**15  # binomial draws in double precision


class Readings(NamedTuple):
    """What a sweep reads: k copies in all, pointers of standard deviation `noise` copies in each of `batches`, and
    what a mean of <Q> then may be off by: standard error `sigma` and bias `bias`, at worst."""

    copies: int
    noise: float
    sigma: float
    bias: float


class GentleBudget(GradientMethod, Budget):
    """What both gentle methods share. A subclass says how k and the pointer's noise follow from an accuracy."""

    engine: Any
    batches: int
    bond_dimension: int | None

    def _check_sweep(self) -> None:
        if isinstance(self.batches, bool) or not isinstance(self.batches, int) or self.batches < 1:
            raise QupropError(f"batches must be a whole number, 1 or more, got {self.batches!r}")
        if self.engine != "auto" and not (hasattr(self.engine, "prepare") and hasattr(self.engine, "required_bytes")):
            raise QupropError(f"engine is 'auto' or a copy engine such as GaussianEngine(), got {self.engine!r}")
        if getattr(self.engine, "name", "") in _NO_READINGS:
            raise QupropError(
                f"the {self.engine.name} engine does not simulate what readings do to copies; take the mean_field, "
                "gaussian, bosonic, symmetric or commuting engine"
            )

    def readings(self, components: int, scale: float) -> Readings:
        """For D components; an error of <Q> counts `scale` times in a component of the gradient."""
        raise NotImplementedError

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> GentlePlan:
        return GentlePlan(model, settle(model, weights, self), self, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """k copies read D times by Gaussian pointers, each undone rotation by rotation."""
        method = cls.wanting(wanted, shape.parameters)
        r = method.readings(shape.trained, shape.norm * shape.reach)
        r = r._replace(copies=max(r.copies, method.batches))
        return _swept(r, method.batches, shape.trained, 2 * shape.rotations - 1 - shape.first, shape.qubits + 1)


def _swept(r: Readings, batches: int, components: int, length: int, qubits: int) -> Cost:
    """Copies of so many qubits, each `length` rotations long, and every reading's circuit (`reading_cost`)."""
    small, larger = divmod(r.copies, batches)
    total = Cost()
    for k, count in ((small, batches - larger), (small + 1, larger)):
        if count:
            reading = reading_cost(k, r.noise)
            total += count * Cost(
                copies=k,
                rotations=k * length + components * reading.rotations,
                measurements=components,
                depth=length + components * reading.depth,
                qubits=k * qubits + reading.qubits,
                toffolis=components * reading.toffolis,
            )
    return total


@dataclass(frozen=True, kw_only=True)
class GentleSweep(GentleBudget):
    """The whole gradient from copies that are read M times, each time so weakly that they hardly move.

    k copies of the pair state are swept once from the last rotation to the first. At every rotation m that theta drives
    the number S of copies that accept (1 + Y_anc P_m)/2 is read by a Gaussian pointer of standard deviation s; y/k
    estimates the acceptance probability (1 - dF/da_m)/2. Then one rotation is undone on every copy.

    A reading kicks every copy by exp(i phi S), one random phi ~ N(0, 1/(4 s^2)) for all. After D kicks an expectation
    has moved by a random walk: standard deviation sqrt(D)/(2 s) at most (Poincare's inequality for Gaussian kicks, all
    derivatives by phi being at most 1), bias D/(8 s^2) at most. Pointer and counting add 4 s^2/k^2 + 1/k. The best s
    balances the first two, s^2 = D/(2 v), and k = (2 sqrt(D) + 1)/v copies make the variance v:

        copies ~ sqrt(M) log M / eps^2,      rotations ~ M^1.5 log M / eps^2,      no hypothesis, nothing exponential.

    A reading costs a Toffoli for each copy of its batch, half of what its rotations are, and up to 2^8 rotations of the
    pointer (`collective/check_circuit.py`).

    Not unbiased: D/(8 s^2) = v/4 for each of the `batches` that the copies come in, `batches` v/4 in all.

    max_error, precision: as everywhere (an error of dF/da is multiplied by the observable's norm, each copy drawing its
    term, and by the largest column sum of |da/dtheta|). shots, total_shots: copies in all. batches: independent sweeps
    of k/batches copies, whose spread is the stderr; they cost no more copies and hold less. engine: "auto" is
    mean_field; "gaussian" keeps the correlations of readings too, on smaller models. bond_dimension: of copies
    simulated as matrix products, as in `QuantumBackprop`.

    Source: the rate is that of Sinha, arXiv:2411.01420 (shadow tomography, there one copy at a time past M counters,
    which commutes with all copies at one counter at a time); as a gradient method: with the pair state of Abbas et al.,
    arXiv:2305.13362. Compare `QuantumBackprop`.

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.GentleSweep(max_error=0.1), rng=0))  # -sin(theta) = -0.5
    [-0.5229 ± 0.02] for 3,298 copies, 8 runs, 4,314 rotations, 3,328 Toffolis, depth 145, 1,252 qubits
    """

    name: ClassVar[str] = "gentle_sweep"
    copies: ClassVar[str] = "many"
    unbiased: ClassVar[bool] = False
    batches: int = 8
    engine: Any = "auto"
    bond_dimension: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_sweep()

    def readings(self, components: int, scale: float) -> Readings:
        D, b = components, self.batches
        given = self.shots if self.shots is not None else self.total_shots
        if given is not None:
            k, v = given, (2 * math.sqrt(D) + 1) / given
        else:
            v = self.variance_wanted(D) / scale**2
            if self.max_error is not None:  # what is left beside the bias b v/4
                e, z2 = self.max_error / scale, 2 * math.log(2 * D / self.failure)
                root = 2 * e / (math.sqrt(z2) + math.sqrt(z2 + b * e))  # of z sqrt(v) + b v/4 = e
                v = root**2
            k = math.ceil((2 * math.sqrt(D) + 1) / v)
        spared = v * 2 * math.sqrt(D) / (2 * math.sqrt(D) + 1)  # v - 1/k: what pointer and kicks share
        return Readings(k, math.sqrt(D / (2 * spared * b)), math.sqrt(v), b * spared / 4)


class GentlePlan(Plan):
    """Copies and noise; `cost` is exact."""

    no_circuits = "a gentle sweep holds many copies and measures them together"

    def __init__(self, model: Model, weights: np.ndarray, method: GentleBudget, at: Any) -> None:
        super().__init__(model, Terms.of(model), weights)
        self.method = method
        self.components = driven(model)
        u = self.terms.sizes(weights)
        norm, slope = float(u.sum()), largest_slope(model, at)
        self.info: dict[str, Any] = {"budget": method.budget, "circuits": 0}
        self.cost, self.shares, self.bias = Cost(), np.zeros(0, np.int64), 0.0
        if not len(self.components) or not norm:
            return
        self.readings = r = method.readings(len(self.components), norm * slope)
        if r.copies < method.batches:
            raise QupropError(
                f"{method.budget} asks for {count_of(r.copies, 'copy')}, fewer than one for each of the "
                f"{method.batches:,} batches; the smallest number that works is {method.batches:,}"
            )
        if r.copies > MOST_COPIES:
            raise QupropError(
                f"{method.budget} asks for {r.copies:.2g} copies, and no engine simulates more than {MOST_COPIES:.0e}; "
                f"loosen it by a factor of {math.ceil(math.sqrt(r.copies / MOST_COPIES)):,}"
            )
        self.circuit = PairCircuit(model, self.terms, method.bond_dimension)
        terms = int(np.count_nonzero(u))
        self.engine: Any = MeanFieldEngine() if method.engine == "auto" else method.engine
        self.shares = share(r.copies, np.ones(method.batches))
        largest = int(self.shares.max())
        self.circuit.require(terms, self.engine, largest)
        self.bias = r.bias * norm * slope
        length = 2 * model.n_rotations - 1 - int(self.components[0])
        self.cost = _swept(r, method.batches, len(self.components), length, self.circuit.n_qubits)
        reading = reading_cost(largest, r.noise)
        self.info |= {
            "circuits": method.batches,
            "accuracy": self._accuracy(norm * slope),
            "batches": f"{method.batches} of {count_of(largest, 'copy')}, read with noise {r.noise:.4g}",
            "reading": f"{reading.toffolis:,} Toffolis, {reading.rotations:,} rotations and {reading.cnots:,} CNOTs on "
            f"{count_of(reading.qubits, 'qubit')} beside the batch",
            "read_once": f"{short(self._read_once(largest))} qubits, if one copy at a time passed "
            f"{len(self.components):,} counters",
            "engine": f"{self.engine.name}, exact for {self.engine.exact_for}",
        }

    def _accuracy(self, scale: float) -> str:
        r = self.readings
        return f"standard error {scale * r.sigma:.3g} and bias {scale * r.bias:.2g} at most"

    def reading_circuit(
        self,
        theta: Any,
        x: Any = None,
        *,
        component: int | Sequence[int],
        copies: int = 3,
        noise: float | None = None,
        terms: Sequence[int] | None = None,
        rng: Any = None,
        reverse: bool = False,
    ) -> CopiesCircuit:
        """One reading of the sweep as a circuit: copies prepared, read by a Gaussian pointer, and left to go on.

        The pointer's bits, as a number, mean the reading y = `circuit.reading(number)`, and norm (1 - 2 y/k) estimates
        dF/da_m. The pointer is the staircase of `collective/check_circuit.py`.

        theta (P,), x (D,): one point. component: m, a rotation that theta drives (`plan.components`), or several, the
        last rotation first, all read from the same copies. copies: k. noise: the pointer's standard deviation in
        copies, by default sqrt(k). terms, rng, reverse: as in `check_circuit` of `QuantumBackprop`.

        Returns: `CopiesCircuit`; `.to("qiskit")`, `.to("qasm3")`, `.to("json")`.
        Raises: QupropError as `check_circuit`.

        >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
        >>> plan = qpr.GentleSweep(max_error=0.1).compile(model)
        >>> reading = plan.reading_circuit([np.pi / 6], component=0, copies=2, noise=1.0)
        >>> len(reading.reads), reading.reading(0b01001), str(reading.cost)
        (5, 1.5, '2 copies, 1 run, 9 rotations, 5 Toffolis, depth 13, 14 qubits')
        """
        circuit, point = PairCircuit(self.model, self.terms), (theta, x)
        return reading_of_copies(self, circuit, point, component, copies, noise, terms, rng, reverse)

    def simulation_seconds(self) -> float:
        """A rough upper estimate of what `estimate` takes on this machine."""
        if not len(self.shares):
            return 0.0
        reading = 5e-4 if self.engine.name in ("mean_field", "commuting") else 0.1
        each = (
            self.model.n_rotations * 1.5 * self.circuit.rotation_seconds(len(self.terms.strings))
            + len(self.components) * reading
        )
        return len(self.shares) * each

    def _read_once(self, k: int) -> int:
        reading = reading_cost(k, self.readings.noise)
        return self.circuit.n_qubits + len(self.components) * (reading.qubits - reading.carries)

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        P, u = self.model.n_params, self.terms.coefficients(weights)
        norm = float(np.abs(u).sum())
        require_weights(norm, bool(len(self.shares)) or not len(self.components))
        if not len(self.shares):
            return Estimate(np.zeros(P), np.zeros(P), Cost(), dict(self.info))
        if not norm:  # what was compiled is run all the same: the copies are spent
            u = np.eye(1, len(u))[0]
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        q, cost, moved, error, cut = [], Cost(), [], 0.0, 0.0
        for k in self.shares:
            device = PairDevice(self.circuit, u, a, x, accuracy=self.readings.sigma)
            found, ledger = self._sweep(device, int(k), a, rng)
            q.append(found)
            cost += device.cost
            cut = max(cut, device.truncation)
            moved.append(ledger.trace_bound / len(self.components))
            error = max(error, ledger.error)
        J = jacobian(self.model.angle_table, theta, x)
        each = np.array([J.T @ (-norm * row) for row in q])  # (batches, P)
        value = np.average(each, axis=0, weights=self.shares)
        if len(each) > 1:
            stderr = np.sqrt(np.average((each - value) ** 2, axis=0, weights=self.shares) / (len(each) - 1))
        else:
            stderr = norm * np.sqrt(J.multiply(J).T @ self._variance(q[0]))
        info = {
            **self.info,
            "accuracy": self._accuracy(norm * float(abs(J).sum(axis=0).max())),
            "noise": self.readings.noise,
            "copies_in_a_batch": int(self.shares.max()),
            "reading_distance": float(np.mean(moved)),
            "engine_error": error,
            "truncation": cut,
        }
        return Estimate(value, stderr, cost, info)

    def _variance(self, q: np.ndarray) -> np.ndarray:
        """Of <Q> from one batch, kicks at their worst."""
        k, s, D = int(self.shares[0]), self.readings.noise, len(self.components)
        out = np.zeros(len(q))
        out[self.components] = np.maximum(1 - q[self.components] ** 2, 0) / k + (2 * s / k) ** 2 + D / (4 * s**2)
        return out

    def _sweep(self, device: PairDevice, k: int, a: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Ledger]:
        """<Q_m> (M,) from k copies, and what readings did to them."""
        M, first = self.model.n_rotations, int(self.components[0])
        q = np.zeros(M)
        wanted = set(self.components.tolist())
        reading = reading_cost(k, self.readings.noise)
        batch = device.prepare(self.engine, k, reading.qubits)
        for m in range(M - 1, first - 1, -1):
            if m in wanted:
                y = batch.read(Event(self.circuit.read[m]), self.readings.noise, rng)
                q[m] = 2 * y / k - 1
                device.answered(1, reading)
            if m > first:
                device.undo(batch)
        return q, batch.ledger
