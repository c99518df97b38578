"""Quantum backpropagation: Theorem 9 of Abbas et al., arXiv:2305.13362, run on simulated copies."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from quprop.collective.check import first_order_distance, two_sided
from quprop.collective.check_circuit import circuit_cost
from quprop.collective.engines import auto
from quprop.collective.engines.null import NullEngine
from quprop.collective.event import Event
from quprop.collective.hypothesis import HYPOTHESES, Hypothesis
from quprop.collective.hypothesis.protocol import require_held
from quprop.collective.hypothesis.vectors import COMBINE_OPS, INNER_OPS
from quprop.collective.protocol import CopyEngine
from quprop.cost import Cost
from quprop.errors import QupropError, nearest
from quprop.gradients.method import GradientMethod
from quprop.gradients.sweeps.backprop_sweep import BackpropSweep
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice, largest_slope, require_weights
from quprop.gradients.sweeps.sweep_design import COARSEST, MOST_COPIES, SweepDesign, eps_of_batch, held_qubits
from quprop.model import Model
from quprop.sampling.budget import Budget
from quprop.sampling.estimate import Estimate
from quprop.sampling.linear import driven, jacobian
from quprop.sampling.loads import AMPLITUDE_BYTES, LARGEST_STATE
from quprop.sampling.plan import Plan, Terms, settle
from quprop.sampling.shape import Shape, Wanted
from quprop.simulate import memory

_DENSE_UP_TO = 10  # qubits of a copy: an update then takes seconds
_VECTORS = 16  # of the typicality hypothesis
_TYPICAL_UP_TO = 24
_READERS = ("mean_field", "gaussian")  # engines that take readings only, or other noise
_FOLLOWED = 1 << 18  # components squared times amplitudes up to which engines that follow the damage are taken


@dataclass(frozen=True, kw_only=True)
class QuantumBackprop(GradientMethod, Budget):
    """The whole gradient from batches of k copies of the pair state, swept once from the last rotation to the first.

    A classical hypothesis sigma of the pair state (n + 1 qubits) starts as the mixed state. At every rotation m that
    theta drives the batch is asked, by a two-sided threshold check of one bit, whether -dF/da_m = <Y_anc P_m> is
    further than eps from sigma's prediction. If not, the prediction is the answer and the batch has hardly moved. If
    so, the batch is thrown away, the component measured on K0 fresh copies (that is its answer), sigma updated by
    matrix multiplicative weights, and a new batch prepared when the next component comes. Then one rotation is undone,
    on every copy and on sigma. At most R = 2 (n + 1) ln 2 / eps_p^2 updates can happen (eps_p = eps/2 the accuracy of
    the acceptance probability, with the default slack), so that the copies are (R + 1) k + R K0 = O(n log^2 M / eps^4)
    and the rotations M times as many. The sums are in `gradients/sweep_design.py`.

    A check is soft: a component within about (sigma + lambda)/k of its threshold passes or triggers at random. With
    margin="hard" thresholds are so much lower that errors above max_error have probability `failure` (counts of
    undisturbed copies; what passes do to the copies is in info["damage"], and above 1 the guarantee is void); with
    "soft" thresholds are at max_error and the last errors end a little above it, as the papers have it. Predictions are
    biased, by max_error at most.

    max_error: every component within it, except with probability `failure` (see `margin`); for dF/da of F = sum_t u_t
        P_t it is divided by the norm sum_t |u_t| (each copy draws its term, see `gradients/pair_copies.py`) and by the
        largest column sum of |da/dtheta|. shots: copies of a batch. total_shots: copies in all, in the worst case.
    slack: predictions within (1 - slack) eps_p of the truth pass. c: noise of the checks in units of sqrt(k). verify:
        accuracy of measured frequencies, in eps_p. updates_per_layer: a compressed hypothesis may need several to
        follow one measurement, or never follow it.
    engine: "auto" or one of `quprop.collective.engines` with threshold checks: "auto" follows the damage exactly or to
        second order on small problems and ignores it on large ones, where the ledger's sum bounds what is neglected. An
        engine that estimates its own error above its tolerance raises `EngineError`; "auto" takes the next one.
    hypothesis: "auto", a name of `HYPOTHESES`, or an instance on n + 1 qubits, copied. The bound R holds for "dense";
        for others at most every component triggers, and any hypothesis whatever gives right answers.
    warm_start: the hypothesis goes on from where the plan's last estimate left it, at the start of the circuit, taken
        to its end with the new angles. explain: info["sweep"] is a `SweepLog`.

    stderr is that of the frequency where a component was measured, and eps where it was predicted.
    """

    name: ClassVar[str] = "quantum_backprop"
    copies: ClassVar[str] = "many"
    unbiased: ClassVar[bool] = False
    worst_case: ClassVar[bool] = True
    checked_at: ClassVar[float] = 0.1
    slack: float = 0.25
    c: float = 0.5
    verify: float = 0.125
    margin: Literal["hard", "soft"] = "hard"
    updates_per_layer: int = 4
    engine: Any = "auto"
    hypothesis: Any = "auto"
    warm_start: bool = False
    explain: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision is not None:
            raise QupropError(
                "quantum_backprop has a bias as large as its error, so that precision= (a standard error) says "
                "nothing; pass max_error="
            )
        for name in ("slack", "c", "verify"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
                raise QupropError(f"{name} must be a positive number, got {value!r}")
        if not self.slack + 2 * self.verify < 1:
            raise QupropError(
                f"slack + 2 verify must be below 1, or updates learn nothing, got {self.slack:g} + 2 * {self.verify:g}"
            )
        if self.margin not in ("hard", "soft"):
            raise QupropError(f"margin is 'hard' or 'soft', got {self.margin!r}")
        count = self.updates_per_layer
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise QupropError(f"updates_per_layer must be a whole number, 1 or more, got {count!r}")
        if self.engine != "auto" and not (hasattr(self.engine, "prepare") and hasattr(self.engine, "required_bytes")):
            raise QupropError(f"engine is 'auto' or a copy engine such as NullEngine(), got {self.engine!r}")
        if getattr(self.engine, "name", "") in _READERS:
            raise QupropError(
                f"the {self.engine.name} engine has no threshold checks of exponential noise; take the null, "
                "commuting, symmetric, product_sum or bosonic engine"
            )
        if isinstance(self.hypothesis, str):
            if self.hypothesis not in ("auto", *HYPOTHESES):
                known = ["auto", *HYPOTHESES]
                raise QupropError(f"unknown hypothesis {self.hypothesis!r}; {nearest(self.hypothesis, known)}")
        elif not hasattr(self.hypothesis, "predict") or not hasattr(self.hypothesis, "copy"):
            raise QupropError(
                f"hypothesis is 'auto', one of {', '.join(HYPOTHESES)}, or an instance, got {self.hypothesis!r}"
            )

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> QuantumBackpropPlan:
        return QuantumBackpropPlan(model, settle(model, weights, self), self, at)

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """The worst case of Theorem 9's sweep: R triggers, R the mistake bound of the hypothesis."""
        return _swept(shape, _designed(shape, wanted))

    @classmethod
    def checked(cls, wanted: Wanted, components: int) -> Self:
        return replace(cls.wanting(wanted, components), explain=True)

    @classmethod
    def formula_of_run(cls, shape: Shape, wanted: Wanted, estimate: Estimate) -> Cost:
        """The triggers that the run had in the place of the bound."""
        triggered = [j for j, layer in enumerate(estimate.info["sweep"].layers) if layer.triggered]
        return _swept(shape, _designed(shape, wanted), triggered)

    @classmethod
    def logarithm(cls, m: int) -> float:
        return math.log(8 * m) ** 2


def _designed(shape: Shape, wanted: Wanted) -> SweepDesign:
    """With the method's own settings and a dense hypothesis, for which the bound R is proved."""
    m = QuantumBackprop(max_error=1.0)
    base = SweepDesign(COARSEST, shape.trained, shape.qubits + 1, m.c, m.slack, m.verify, wanted.failure, True)
    hard = base.reach / base.eps
    eps = min(COARSEST, wanted.max_error(shape.parameters) / (2 * shape.norm * shape.reach * hard))
    return replace(base, eps=eps)


def _swept(shape: Shape, design: SweepDesign, triggered: Sequence[int] | None = None) -> Cost:
    """A sweep over D evenly spaced components. triggered: which of them trigger, counted in the order of the sweep from
    0 (the last rotation) to D - 1; by default as many as the bound allows, at the longest runs: `SweepDesign.cost`
    without a list of all components.

    A copy for component j, rotation m_j = M - 1 - j (M - 1 - first)/(D - 1), takes 2 M - 1 - m_j rotations. A batch is
    prepared at the end of the circuit and is taken along; after a trigger a new one is at the next component.
    """
    M, D, k, fresh = shape.rotations, shape.trained, design.k, design.fresh
    longest = 2 * M - 1 - shape.first
    step = (M - 1 - shape.first) / max(1, D - 1)
    if triggered is None:
        T = design.triggers
        again = min(T, D - 1)
        batches, spent = (count * longest - step * count * (count - 1) / 2 for count in (again, T))
    else:
        T, again = len(triggered), sum(j < D - 1 for j in triggered)
        spent = sum(M + j * step for j in triggered)
        batches = sum(M + (j + 1) * step for j in triggered if j < D - 1)
    q = design.qubits
    if q > LARGEST_STATE:
        raise QupropError(
            f"the hypothesis of quantum_backprop would be 4^{q:,} numbers; no machine holds them (its quantum part "
            f"alone would be {k * (1 + again) + fresh * T:.3g} copies)"
        )
    updates = min(design.triggers * QuantumBackprop.updates_per_layer, math.floor(design.bound))
    size = 4**q
    return Cost(
        copies=k * (1 + again) + fresh * T,
        rotations=round(k * (longest + batches) + fresh * spent),
        measurements=2 * D + fresh * T,
        depth=longest,
        qubits=held_qubits(k, q),
        classical_ops=fresh * T + COMBINE_OPS * size * M + INNER_OPS * size * (D + updates) + 26 * 8**q * updates,
        classical_bytes=6 * AMPLITUDE_BYTES * size,
    )


class QuantumBackpropPlan(Plan):
    """`cost` is the worst case, with as many triggers as the bound allows; `expected()` the cost with few or none."""

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
        self.cost, self.reason = Cost(), "nothing to estimate"
        self.info: dict[str, Any] = {"budget": method.budget, "circuits": 0}
        if not len(self.components) or not self.norm:
            return
        self.circuit = PairCircuit(model, self.terms)
        self.circuit.require(int(np.count_nonzero(u)))
        self.design = self._design()
        self.engine, self.reason = self._engine(int(np.count_nonzero(u)))
        needed = self._require_hypothesis()
        claim = self.design.cost(model.n_rotations, self.components)
        self.cost = claim + Cost(classical_ops=self._classical(), classical_bytes=needed)
        d, check = self.design, circuit_cost(self.design.k)
        self.info |= {
            "circuits": len(self.components),
            "accuracy": self._accuracy(self.norm, self.slope),
            "batch": f"{d.k:,} copies, noise {d.batch.noise:.4g}; {d.fresh:,} fresh copies after a trigger",
            "check": f"{check.toffolis:,} Toffolis and {check.cnots:,} CNOTs on {check.qubits} qubits beside the batch",
            "triggers": f"at most {d.triggers:,} of {len(self.components):,} components"
            + (f" (bound on updates: {d.bound:,.0f})" if d.proven else " (no bound is known for this hypothesis)"),
            "engine": f"{self.engine.name}: {self.reason}",
            "hypothesis": self.kind,
            "cost": "the worst case; expected() is with no trigger that could be avoided",
        }

    def _accuracy(self, norm: float, slope: float) -> str:
        d = self.design
        assert d is not None
        return f"thresholds at {2 * d.eps * norm:.4g} of dF/da; every component within {2 * d.reach * norm * slope:.4g}"

    def expected(self, triggers: float | None = None) -> Cost:
        """The cost with `triggers` triggers, spread evenly over the circuit.

        By default those of undisturbed batches under perfect predictions, the null model: sum of 2 P over the
        components, P the probability that a check triggers at gap 0 (largest for p = 1/2), which is far below 1.
        """
        if self.design is None:
            return Cost()
        d = self.design
        if triggers is None:
            check = two_sided(Event(self.circuit.read[0]), 0.5, d.eps, d.batch.noise)[0]
            triggers = 2 * len(self.components) * check.probability(d.k, 0.5)
        if not 0 <= triggers <= len(self.components):
            raise QupropError(f"triggers must be from 0 to {len(self.components)}, one a component, got {triggers!r}")
        return d.cost(self.model.n_rotations, self.components, round(triggers), spread=True)

    def simulation_seconds(self) -> float:
        """A rough upper estimate of what `estimate` takes on this machine."""
        if self.design is None:
            return 0.0
        width = self.circuit.simulated_qubits(len(self.terms.strings))
        check = 1e-3 if self.engine.name in ("null", "commuting") else 0.1
        vectors = self.model.n_rotations * 4 * 2.0**width / 5e8
        return vectors + len(self.components) * check + self.cost.classical_ops / 2e9

    def forget(self) -> None:
        """With warm_start: begin the next estimate with the mixed state again."""
        self._carried = None

    # -- what follows from the settings -------------------------------------------------------------------------------

    def _kind(self) -> str:
        h = self.method.hypothesis
        if h == "auto":
            if self.qubits <= _DENSE_UP_TO:
                return "dense"
            return "typicality" if self.qubits <= _TYPICAL_UP_TO else "matrix_product"
        return h if isinstance(h, str) else type(h).__name__

    def _design(self) -> SweepDesign:
        m, count = self.method, len(self.components)
        # The bound is for multiplicative weights that start from the mixed state.
        proven = self.kind == "dense" and not m.warm_start
        base = SweepDesign(COARSEST, count, self.qubits, m.c, m.slack, m.verify, m.failure, proven)
        if m.max_error is not None:
            hard = base.reach / base.eps if m.margin == "hard" else 1.0
            found = replace(base, eps=min(COARSEST, m.max_error / (2 * self.norm * self.slope * hard)))
        elif m.shots is not None:
            found = replace(base, eps=eps_of_batch(m.shots, count, m.c, m.slack))
            if found.eps > COARSEST * (1 + 1e-9):
                raise QupropError(
                    f"shots={m.shots:,} copies are too few for a batch that checks {count:,} components; the smallest "
                    f"that works is {base.k:,}"
                )
        else:
            assert m.total_shots is not None
            found = self._within(base, m.total_shots)
        if found.k > MOST_COPIES:
            raise QupropError(
                f"{m.budget} asks for batches of {found.k:.2g} copies, and no engine simulates more than "
                f"{MOST_COPIES:.0e}; loosen it by a factor of {math.ceil(math.sqrt(found.k / MOST_COPIES)):,}"
            )
        return found

    def _within(self, base: SweepDesign, total: int) -> SweepDesign:
        """The finest accuracy of which the worst case stays within `total` copies."""

        def copies(eps: float) -> int:
            return replace(base, eps=eps).cost(self.model.n_rotations, self.components).copies

        least = copies(COARSEST)
        if total < least:
            raise QupropError(
                f"total_shots={total:,} copies are not enough for {len(self.components):,} components even at the "
                f"coarsest accuracy; the smallest number that works is {least:,}"
            )
        low, high = -30.0, math.log2(COARSEST)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if copies(2**middle) <= total else (middle, high)
        return replace(base, eps=2**high)

    def _engine(self, terms: int) -> tuple[CopyEngine, str]:
        d, width = self.design, self.circuit.simulated_qubits(terms)
        assert d is not None
        chosen = self.method.engine
        if chosen != "auto":
            what = f"a batch of {d.k:,} copies of {width} qubits in the {chosen.name} engine"
            memory.require(chosen.required_bytes(width, d.k), what, "NullEngine() holds one vector, whatever k is")
            return chosen, "as asked"
        # A batch lives until its trigger probabilities add up to about 1.
        engine, reason = auto(width, d.k, first_order_distance(d.c))
        if engine.name in ("null", "symmetric") or len(self.components) ** 2 << width <= _FOLLOWED:
            return engine, reason
        return NullEngine(), "one vector, for speed; see `damage` for what is neglected"

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
        needed = HYPOTHESES[self.kind].required_bytes(self.qubits, *self._options())
        require_held(needed, f"the {self.kind} hypothesis of {self.qubits} qubits", self.qubits)
        return int(needed)

    def _options(self) -> tuple[int, ...]:
        return (_VECTORS,) if self.kind == "typicality" else ()

    def _classical(self) -> int:
        """Multiply-adds at most, for the two kinds that have a formula: turning, predicting and updating sigma."""
        assert self.design is not None
        d, steps = self.design, self.model.n_rotations * (2 if self.method.warm_start else 1)
        updates = d.triggers * self.method.updates_per_layer
        if d.proven:
            updates = min(updates, math.floor(d.bound))
        size = 4**self.qubits if self.kind == "dense" else min(_VECTORS, 2**self.qubits) << self.qubits
        update = 26 * 8**self.qubits if self.kind == "dense" else COMBINE_OPS * size
        if self.kind not in ("dense", "typicality") or not isinstance(self.method.hypothesis, str):
            return 0
        return COMBINE_OPS * size * steps + INNER_OPS * size * (d.components + updates) + update * updates

    # -- the sweep ----------------------------------------------------------------------------------------------------

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        P, u = self.model.n_params, self.terms.coefficients(weights)
        norm = float(np.abs(u).sum())
        require_weights(norm, self.design is not None or not len(self.components))
        if self.design is None or not norm:
            return Estimate(np.zeros(P), np.zeros(P), Cost(), dict(self.info))
        a = self.model.angle_table.evaluate(theta[None], x[None])[0]
        sigma, ops = self._start(a)
        device = PairDevice(self.circuit, u, a, x, rng)
        sweep = BackpropSweep(
            self.design,
            self.circuit,
            self.components.tolist(),
            self.engine,
            device,
            sigma,
            a,
            updates_per_layer=self.method.updates_per_layer,
            norm=norm,
            explain=self.method.explain,
            rng=rng,
        )
        q, error = sweep.run()
        if self.method.warm_start:
            self._carried = sigma
        J = jacobian(self.model.angle_table, theta, x)
        cost = device.cost + Cost(classical_ops=sigma.classical_ops - ops, classical_bytes=sigma.classical_bytes)
        stderr = np.sqrt(J.multiply(J).T @ error**2)
        predicted = abs(J).T @ np.where(sweep.measured, 0.0, error)  # bounds add, unlike standard errors
        stderr = np.maximum(stderr, predicted)
        info = {**self.info, "accuracy": self._accuracy(norm, float(abs(J).sum(axis=0).max())), **sweep.info()}
        return Estimate(J.T @ (-norm * q), norm * stderr, cost, info)

    def _start(self, a: np.ndarray) -> tuple[Hypothesis, int]:
        """sigma at the end of the circuit, and the multiply-adds it had done before this estimate."""
        h = self.method.hypothesis
        if self._carried is None:
            sigma = HYPOTHESES[self.kind](self.qubits, *self._options()) if isinstance(h, str) else h.copy()
            return sigma, sigma.classical_ops
        sigma, ops = self._carried, self._carried.classical_ops
        for m in range(int(self.components[0]) + 1, self.model.n_rotations):
            sigma.rotate(self.circuit.undo[m], float(a[m]))
        return sigma, ops
