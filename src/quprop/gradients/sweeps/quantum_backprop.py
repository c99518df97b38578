"""Quantum backpropagation: Theorem 9 of Abbas et al., arXiv:2305.13362, run on simulated copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from quprop.collective.engines.gaussian import GaussianEngine
from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.collective.hypothesis import HYPOTHESES, DenseHypothesis, Hypothesis
from quprop.collective.hypothesis.max_entropy import EIGH_OPS, STEPS
from quprop.collective.hypothesis.protocol import require_held
from quprop.collective.hypothesis.round_trip import TRIPS
from quprop.collective.hypothesis.vectors import COMBINE_OPS, INNER_OPS
from quprop.collective.protocol import CopyEngine
from quprop.cost import Cost
from quprop.errors import QupropError, count_of, nearest
from quprop.gradients.method import GradientMethod
from quprop.gradients.sweeps.backprop_sweep import BackpropSweep
from quprop.gradients.sweeps.check_program import CopiesCircuit, check_of_copies
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice, largest_slope, require_weights
from quprop.gradients.sweeps.sweep_design import COARSEST, MOST_COPIES, SweepDesign, reach_of, readings_for
from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.sampling.budget import Budget
from quprop.sampling.estimate import Estimate
from quprop.sampling.linear import driven, jacobian
from quprop.sampling.loads import LARGEST_STATE
from quprop.sampling.plan import Plan, settle
from quprop.sampling.shape import Shape, Wanted
from quprop.sampling.terms import Terms

_DENSE_UP_TO = 9  # qubits of a copy: learning takes a second
_VECTORS = 16  # of the typicality hypothesis
_TYPICAL_UP_TO = 24
_BLIND = ("product_sum",)  # engines whose batches do not outlive a trigger
_FOLLOWED_UP_TO = 9  # qubits of a copy of which all fluctuations are followed
_FOLLOWED = 1 << 13  # components up to which they are
_OVERSHOOT = 20  # evaluations of a line search that go beyond STEPS
_KNOWN = 1e-3  # the error of what is known without a measurement
_SPARE = 1.5  # readings of a warm batch, beside those of the sweep before


@dataclass(frozen=True, kw_only=True)
class QuantumBackprop(GradientMethod, Budget):
    """The whole gradient from k copies of the pair state, swept once from the last rotation to the first.

    A classical hypothesis sigma of the pair state (n + 1 qubits) starts as what the circuit makes of the mixed state.
    At every rotation m that theta drives the copies are asked, by a two-sided threshold check of one bit, whether
    -dF/da_m = <Y_anc P_m> is further than a threshold from sigma's prediction. If not, the prediction is the answer and
    the copies have hardly moved. If so, the number of copies that accept is read by a Gaussian pointer: that is the
    answer, and sigma learns it, as the state of maximum entropy given all that was measured. Then one rotation is
    undone, on every copy and on sigma. At most O(n/eps^2) triggers can happen, however many rotations there are, and a
    batch is designed for `readings` of them:

        copies ~ sqrt(readings) log^1.5 M / eps^2,      rotations ~ M sqrt(readings) log^1.5 M / eps^2.

    In the theorem a trigger spends the batch (readings=1: copies ~ readings times more). That copies can be read where
    they trigger and go on is private multiplicative weights (Aaronson and Rothblum, arXiv:1904.08747): what a
    measurement does to later components is a random turn of all copies, and these add up as a random walk. The numbers
    are worked out in `gradients/sweeps/sweep_design.py`.

    The promise is for the limit of many copies, where counts are Gaussian, and for what the sweep was designed for:
    info["damage"] is what measurements did to the worst batch in units of what was allowed, and above 1 the promise is
    void; info["beyond_the_readings"] counts components that were predicted after the last batch had been read more than
    `readings` times, whose error is larger than max_error, as their stderr says.

    max_error: every component within it, except with probability `failure`; for dF/da of F = sum_t u_t P_t it is
        divided by the norm sum_t |u_t| (each copy draws its term, see `gradients/sweeps/pair_copies.py`) and by the
        largest column sum of |da/dtheta|. shots: copies of a batch. total_shots: copies in all. The plan's cost is with
        `batches` batches; it is never exceeded, but for classical work on more readings than these are designed for.
    readings: of a batch; by default 25 + n + 1, at most the number of components. batches: the most there are;
        another one is prepared when one has been read so often.
    engine: "auto" or one of `quprop.collective.engines` whose batches outlive triggers: "auto" follows all fluctuations
        on small problems (gaussian), random turns on others (mean_field). An engine that estimates its own error above
        its tolerance raises `EngineError`.
    hypothesis: "auto", a name of `HYPOTHESES`, or an instance on n + 1 qubits, copied. Any hypothesis whatever gives
        right answers; a poor one costs readings. "dense" is of the input state of n qubits, which is all that is not
        known: the circuit takes it to the pair state, whatever its angles are.
    bond_dimension: copies are simulated as matrix products of at most this one (`gradients/sweeps/pair_copies.py`);
        None: as vectors, where this machine has room for them, else of at most 64. info["truncation"] bounds what
        expectation values are off by.
    warm_start: the hypothesis goes on from where the plan's last estimate left it, and batches are designed for 1.5
        times the readings that it took. With "dense" all that was measured about the input state stays true when
        angles change, so that a few steps of training learn it; others go on as they are at the start of the circuit,
        taken to its end with the new angles. Other inputs x begin anew. explain: info["sweep"] is a `SweepLog`.

    stderr is that of the reading where a component was measured, and the promised bound where it was predicted.

    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.gradient(model, [np.pi / 6], method=qpr.QuantumBackprop(max_error=0.1), rng=0).value.round(2)
    array([-0.5])
    """

    name: ClassVar[str] = "quantum_backprop"
    copies: ClassVar[str] = "many"
    unbiased: ClassVar[bool] = False
    worst_case: ClassVar[bool] = True
    checked_at: ClassVar[float] = 0.1
    readings: int | None = None
    batches: int = 2
    engine: Any = "auto"
    hypothesis: Any = "auto"
    bond_dimension: int | None = None
    warm_start: bool = False
    explain: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision is not None:
            raise QupropError(
                "quantum_backprop has a bias as large as its error, so that precision= (a standard error) says "
                "nothing; pass max_error="
            )
        for name in ("readings", "batches", "bond_dimension"):
            count = getattr(self, name)
            if count is None and name != "batches":
                continue
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise QupropError(f"{name} must be a whole number, 1 or more, got {count!r}")
        if self.engine != "auto" and not (hasattr(self.engine, "prepare") and hasattr(self.engine, "required_bytes")):
            raise QupropError(f"engine is 'auto' or a copy engine such as GaussianEngine(), got {self.engine!r}")
        if getattr(self.engine, "name", "") in _BLIND:
            raise QupropError(
                f"batches of the {self.engine.name} engine do not outlive a trigger; take the null, gaussian, "
                "mean_field, bosonic, symmetric or commuting engine"
            )
        if isinstance(self.hypothesis, str):
            if self.hypothesis not in ("auto", *HYPOTHESES):
                known = ["auto", *HYPOTHESES]
                raise QupropError(f"unknown hypothesis {self.hypothesis!r}; {nearest(self.hypothesis, known)}")
        elif not all(hasattr(self.hypothesis, name) for name in ("predict", "learn", "rotate", "copy")):
            raise QupropError(
                f"hypothesis is 'auto', one of {', '.join(HYPOTHESES)}, or an instance with predict, learn, rotate and "
                f"copy, got {self.hypothesis!r}"
            )

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> QuantumBackpropPlan:
        return QuantumBackpropPlan(model, settle(model, weights, self), self, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """All the batches there can be, with the method's own settings."""
        return _swept(shape, _designed(shape, wanted))

    @classmethod
    def checked(cls, wanted: Wanted, components: int) -> Self:
        return replace(cls.wanting(wanted, components), explain=True)

    @classmethod
    def formula_of_run(cls, shape: Shape, wanted: Wanted, estimate: Estimate) -> Cost:
        """The batches and readings that the run had in the place of those that there can be; the other side of a check
        is not asked where the first, that of larger probabilities and so of smaller derivatives, triggered."""
        log = estimate.info["sweep"].layers
        starts = [j for j, layer in enumerate(log) if not j or layer.batch > log[j - 1].batch]
        spared = sum(layer.measured is not None and layer.measured < layer.prediction for layer in log)
        cost = _swept(shape, _designed(shape, wanted), starts, int(estimate.info["triggers"]))
        return replace(cost, measurements=cost.measurements - spared)

    @classmethod
    def logarithm(cls, m: int) -> float:
        return math.log(8 * m) ** 1.5


def _designed(shape: Shape, wanted: Wanted) -> SweepDesign:
    q = shape.qubits + 1
    reach = min(COARSEST, wanted.max_error(shape.parameters) / (2 * shape.norm * shape.reach))
    readings = readings_for(q, shape.trained)
    return SweepDesign(reach, shape.trained, q, readings, QuantumBackprop(max_error=1.0).batches, wanted.failure)


def _swept(shape: Shape, design: SweepDesign, starts: list[int] | None = None, readings: int = 0) -> Cost:
    """A sweep over D evenly spaced components; starts: with which of them, counted in the order of the sweep, batches
    began, by default the first and, for all others, the last."""
    D, q = shape.trained, design.qubits
    if q > LARGEST_STATE:
        raise QupropError(
            f"the hypothesis of quantum_backprop would be 4^{q:,} numbers; no machine holds them (its quantum part "
            f"alone would be {design.k * design.batches:.3g} copies)"
        )
    step = (shape.rotations - 1 - shape.first) / max(1, D - 1)
    places = None if starts is None else [round(shape.rotations - j * step) for j in starts]
    learned = design.promised + 1 if starts is None else readings
    kind = _kind_for(q) if q <= _TYPICAL_UP_TO else "dense"  # what is known of matrix products is no formula
    return design.cost(shape.rotations, shape.first, places, readings) + Cost(
        classical_ops=_classical_ops(kind, q, shape.rotations, D, learned),
        classical_bytes=HYPOTHESES[kind].required_bytes(q, *_options(kind)),
    )


def _kind_for(qubits: int) -> str:
    """The hypothesis that "auto" takes for copies of so many qubits."""
    if qubits <= _DENSE_UP_TO:
        return "dense"
    return "typicality" if qubits <= _TYPICAL_UP_TO else "matrix_product"


def _options(kind: str) -> tuple[int, ...]:
    return (_VECTORS,) if kind == "typicality" else ()


def _classical_ops(kind: str, qubits: int, rotations: int, components: int, learned: int) -> int:
    """Multiply-adds of sigma: rotations and predictions, and values learned, at most."""
    if kind == "dense":
        size = 4**qubits
        learning = (STEPS + _OVERSHOOT) * ((EIGH_OPS + 4) * 8**qubits + 4 * size * learned) + 16 * 8**qubits
    else:
        size = min(_VECTORS, 2**qubits) << qubits
        learning = TRIPS * (2 * COMBINE_OPS * rotations + 2 * (COMBINE_OPS + 2 * INNER_OPS) * learned) * size
    return COMBINE_OPS * size * rotations + INNER_OPS * size * components + learning * learned


class QuantumBackpropPlan(Plan):
    """`cost` is with all the batches there can be; `expected()` with one."""

    no_circuits = "quantum_backprop holds many copies and measures them together"

    def __init__(self, model: Model, weights: np.ndarray, method: QuantumBackprop, at: Any) -> None:
        super().__init__(model, Terms.of(model), weights)
        self.method = method
        self.components = driven(model)
        u = self.terms.sizes(weights)
        self.norm, self.slope = float(u.sum()), largest_slope(model, at)
        self.qubits = model.n_qubits + 1
        self.kind = self._kind()
        self.design: SweepDesign | None = None
        self._carried: Hypothesis | None = None
        self._readings: int | None = None  # of the sweep before
        self._inputs = np.zeros(0)  # x, then
        self.cost, self.reason = Cost(), "nothing to estimate"
        self.info: dict[str, Any] = {"budget": method.budget, "circuits": 0}
        if not len(self.components) or not self.norm:
            return
        self.circuit = PairCircuit(model, self.terms, method.bond_dimension)
        self.circuit.require(int(np.count_nonzero(u)))
        self.design = d = self._design()
        self.engine, self.reason = self._engine(int(np.count_nonzero(u)))
        needed = self._require_hypothesis()
        claim = d.cost(model.n_rotations, int(self.components[0]))
        self.cost = claim + Cost(classical_ops=self._classical(), classical_bytes=needed)
        check = d.check
        self.info |= {
            "circuits": len(self.components),
            "accuracy": self._accuracy(self.norm, self.slope),
            "batch": f"{d.k:,} copies for {d.readings:,} readings, at most {d.batches:,} of them; noise {d.noise:.4g} "
            f"of checks, {d.pointer:.4g} of readings",
            "check": f"{check.toffolis:,} Toffolis, {check.rotations:,} rotations and {check.cnots:,} CNOTs on "
            f"{count_of(check.qubits, 'qubit')} beside the batch",
            "engine": f"{self.engine.name}: {self.reason}",
            "hypothesis": self.kind,
            "cost": "with all batches there can be; expected() is with one",
        }

    def _accuracy(self, norm: float, slope: float) -> str:
        d = self.design
        assert d is not None
        return f"thresholds at {2 * d.eps * norm:.4g} of dF/da; every component within {2 * d.reach * norm * slope:.4g}"

    def expected(self, readings: int | None = None) -> Cost:
        """The cost with one batch and so many readings, those that it is designed for by default."""
        if self.design is None:
            return Cost()
        d = self.design
        readings = d.readings if readings is None else readings
        if not 0 <= readings <= len(self.components):
            raise QupropError(f"readings must be from 0 to {len(self.components)}, one a component, got {readings!r}")
        return d.cost(self.model.n_rotations, int(self.components[0]), [self.model.n_rotations], readings)

    def check_circuit(
        self,
        theta: Any,
        x: Any = None,
        *,
        component: int | Sequence[int],
        threshold: float,
        copies: int = 3,
        prediction: float | Sequence[float] = 0.0,
        noise: float | None = None,
        kind: str = "gaussian",
        terms: Sequence[int] | None = None,
        rng: Any = None,
        reverse: bool = False,
    ) -> CopiesCircuit:
        """Two-sided threshold checks of the sweep as a circuit: copies prepared, asked, and left to go on.

        Is dF/da_m, a_m the angle of rotation m, below prediction - threshold, or above prediction + threshold? The
        flags have the probabilities of the checks of `collective.check.two_sided`, and the copies go on in the state of
        their square-root instruments: exactly, or, where `collective/check_circuit.py` takes steps of several counts
        (Gaussian noise of 32 copies and more), with an infidelity of 1.6e-4 at most.

        theta (P,), x (D,): one point. component: m, a rotation that theta drives (`plan.components`); or several, the
        last rotation first: the same copies are asked one after the other, and rotations undone in between, as a sweep
        does while nothing triggers. prediction: of dF/da_m, one for all or one for each. copies: k, any number. noise:
        standard deviation (or mean, of kind "exponential") in copies, by default sqrt(k)/2. terms: the observable's
        term for each copy; by default each copy draws its own by `rng`, if there are several. reverse: nothing is fed
        forward and all is measured at the end, for twice the Toffolis and a qubit for each flag.

        Returns: `CopiesCircuit`; `.to("qiskit")`, `.to("qasm3")`, `.to("json")`.
        Raises: QupropError for a component without derivative, a prediction that no derivative can have, amplitudes as
        an input state, and what is not a number of copies.

        >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
        >>> plan = qpr.QuantumBackprop(max_error=0.1).compile(model)
        >>> check = plan.check_circuit([np.pi / 6], component=0, threshold=0.25)
        >>> check.reads, str(check.cost)
        (('below', 'above'), '3 copies, 2 runs, 11 rotations, 1 Toffoli, depth 10, 8 qubits')
        """
        circuit, point = PairCircuit(self.model, self.terms), (theta, x)
        return check_of_copies(
            self, circuit, point, component, copies, prediction, threshold, noise, kind, terms, rng, reverse
        )

    def simulation_seconds(self) -> float:
        """A rough upper estimate of what `estimate` takes on this machine."""
        if self.design is None:
            return 0.0
        check = 5e-3 * 4.0 ** max(0, self.qubits - 8) if self.engine.name == "gaussian" else 1e-3
        frame = self.model.n_rotations * self.circuit.rotation_seconds(len(self.terms.strings))
        return frame + len(self.components) * check + self.cost.classical_ops / 2e9

    def forget(self) -> None:
        """With warm_start: begin the next estimate with the mixed state again."""
        self._carried = self._readings = None

    # -- what follows from the settings -------------------------------------------------------------------------------

    def _kind(self) -> str:
        h = self.method.hypothesis
        if h == "auto":
            return _kind_for(self.qubits)
        return h if isinstance(h, str) else type(h).__name__

    def _design(self) -> SweepDesign:
        m, count = self.method, len(self.components)
        readings = min(count, m.readings) if m.readings is not None else readings_for(self.qubits, count)
        base = SweepDesign(COARSEST, count, self.qubits, readings, m.batches, m.failure)
        if m.max_error is not None:
            found = replace(base, reach=min(COARSEST, m.max_error / (2 * self.norm * self.slope)))
        else:
            given = m.shots if m.shots is not None else m.total_shots
            assert given is not None
            what, parts = ("shots", 1) if m.shots is not None else ("total_shots", base.claimed)
            copies, least = given // parts, base.k * parts
            if copies < base.k:
                raise QupropError(
                    f"{what}={given:,} copies are too few for {parts:,} batches that check {count:,} components; the "
                    f"smallest number that works is {least:,}"
                )
            found = replace(base, reach=reach_of(copies, base))
        if found.k > MOST_COPIES:
            raise QupropError(
                f"{m.budget} asks for batches of {found.k:.2g} copies, and no engine simulates more than "
                f"{MOST_COPIES:.0e}; loosen it by a factor of {math.ceil(math.sqrt(found.k / MOST_COPIES)):,}"
            )
        return found

    def _engine(self, terms: int) -> tuple[CopyEngine, str]:
        d, width = self.design, self.circuit.simulated_qubits(terms)
        assert d is not None
        chosen = self.method.engine
        if chosen != "auto":
            self.circuit.require(terms, chosen, d.k)
            return chosen, "as asked"
        if self.circuit.as_vector(terms) and width <= _FOLLOWED_UP_TO and len(self.components) <= _FOLLOWED:
            return GaussianEngine(tolerance=1.0), "all fluctuations of the copies, as Gaussians"
        held = "one copy" if self.circuit.as_vector(terms) else "one copy as matrix products"
        return MeanFieldEngine(), f"{held}, turned at random by what is measured"

    def _require_hypothesis(self) -> int:
        """Refuses a hypothesis that does not fit; the bytes it may hold."""
        h = self.method.hypothesis
        if not isinstance(h, str):
            if h.n != self.qubits:
                raise QupropError(
                    f"the hypothesis must have n + 1 = {self.qubits} qubits (the ancilla is the last), got {h.n}"
                )
            most = getattr(h, "required_bytes", None)  # a function of the class, for its default options
            return max(int(h.classical_bytes), int(most(h.n)) if most else 0)
        needed = HYPOTHESES[self.kind].required_bytes(self.qubits, *_options(self.kind))
        require_held(needed, f"the {self.kind} hypothesis of {self.qubits} qubits", self.qubits)
        return int(needed)

    def _classical(self) -> int:
        """Multiply-adds at most, for the two kinds that have a formula: turning, predicting and correcting sigma, by as
        many readings as batches are designed for."""
        assert self.design is not None
        if self.kind not in ("dense", "typicality") or not isinstance(self.method.hypothesis, str):
            return 0
        steps = self.model.n_rotations * (2 if self.method.warm_start else 1)
        return _classical_ops(self.kind, self.qubits, steps, len(self.components), self.design.promised + 1)

    # -- the sweep ----------------------------------------------------------------------------------------------------

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        P, u = self.model.n_params, self.terms.coefficients(weights)
        norm = float(np.abs(u).sum())
        require_weights(norm, self.design is not None or not len(self.components))
        if self.design is None or not norm:
            return Estimate(np.zeros(P), np.zeros(P), Cost(), dict(self.info))
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        sigma, ops = self._start(a, x, u)
        design = self._for_readings()
        device = PairDevice(self.circuit, u, a, x, accuracy=2 * design.reach)
        sweep = BackpropSweep(
            design,
            self.circuit,
            self.components.tolist(),
            self.engine,
            device,
            sigma,
            a,
            norm=norm,
            explain=self.method.explain,
            rng=rng,
        )
        q, error = sweep.run()
        if self.method.warm_start:
            self._carried, self._readings = sigma, sweep.triggers
        J = jacobian(self.model.angle_table, theta, x)
        cost = device.cost + Cost(classical_ops=sigma.classical_ops - ops, classical_bytes=sigma.classical_bytes)
        stderr = np.sqrt(J.multiply(J).T @ error**2)
        predicted = abs(J).T @ np.where(sweep.measured, 0.0, error)  # bounds add, unlike standard errors
        stderr = np.maximum(stderr, predicted)
        info = {**self.info, "accuracy": self._accuracy(norm, float(abs(J).sum(axis=0).max())), **sweep.info()}
        info |= {"truncation": device.truncation}
        return Estimate(J.T @ (-norm * q), norm * stderr, cost, info)

    def _for_readings(self) -> SweepDesign:
        """After a sweep, with warm_start, batches for about as many readings as that one had, and as many of them as
        the plan has copies for."""
        d = self.design
        assert d is not None
        if self._readings is None:
            return d
        small = replace(d, readings=min(d.readings, math.ceil(_SPARE * self._readings) + 1))
        return replace(small, batches=d.claimed * d.k // small.k)

    def _start(self, a: np.ndarray, x: np.ndarray, u: np.ndarray) -> tuple[Hypothesis, int]:
        """sigma at the end of the circuit, and the multiply-adds it had done before this estimate."""
        h, image = self.method.hypothesis, None
        if self._of_inputs():
            image = self.circuit.image(u, a)
        if self._carried is not None and not np.array_equal(x, self._inputs):
            self.forget()  # other input states
        self._inputs = x.copy()
        if self._carried is None:
            if not isinstance(h, str):
                sigma = h.copy()
            elif image is not None:
                sigma = DenseHypothesis(self.qubits, image=image)
            else:
                line = {"order": self.circuit.line} if self.kind == "matrix_product" else {}
                sigma = HYPOTHESES[self.kind](self.qubits, *_options(self.kind), **line)
            ops = sigma.classical_ops
        else:
            sigma, ops = self._carried, self._carried.classical_ops
            if image is not None:
                assert isinstance(sigma, DenseHypothesis)
                sigma.carry(image)
            else:
                if hasattr(sigma, "temper"):
                    sigma.temper(1.0)  # what was measured at other angles is no more enforced
                for m in range(int(self.components[0]) + 1, self.model.n_rotations):
                    sigma.rotate(self.circuit.undo[m], float(a[m]))
        if image is None and np.count_nonzero(u) == 1:  # |0>|psi> + |1>O|psi> is its own image under X_anc O
            t = int(np.flatnonzero(u)[0])
            known = PauliString(1 << self.model.n_qubits, 0) * self.terms.strings[t]
            sigma.learn(known, float(np.sign(u[t])), _KNOWN)
        return sigma, ops

    def _of_inputs(self) -> bool:
        """Whether sigma is learned as a state of the n qubits that go in, which no angle changes."""
        return self.kind == "dense" and isinstance(self.method.hypothesis, str)
