"""Plan: a method compiled for a model. Its cost is known before it is paid; `estimate` pays it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from quprop.arrays import checked
from quprop.cost import Cost
from quprop.errors import QupropError, generator_of, whole
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.model.parameterised import refuse_parameters
from quprop.sampling.devices.circuits import PlanCircuits
from quprop.sampling.estimate import Estimate, gathered
from quprop.sampling.readings import ObservableReadings
from quprop.sampling.requests import Realiser, Rounds, answered
from quprop.sampling.sampler import Sampler
from quprop.sampling.terms import Terms
from quprop.simulate import Call, get_engine
from quprop.tables import Sentence, html, literal, narrow_table


class Plan:
    """What all plans share: the checks of `estimate`, and its loop over leading batch axes.

    cost is that of one sample. A subclass whose circuits a device can run has `_rounds(theta (P,), x (D,), weights
    (K,), rng)` (`requests.py`), whose estimate has no cost of its circuits yet; any other has `_estimate` of the same.
    """

    cost: Cost
    info: dict[str, Any]
    draws: ClassVar[bool] = True  # whether `estimate` needs rng
    no_circuits: ClassVar[str] = "this plan has only an estimate"  # why, where it has no `_rounds`

    def __init__(self, model: Model, terms: Terms, weights: np.ndarray) -> None:
        self.model, self.terms, self.weights = model, terms, weights
        self.measured = np.ones(len(terms.strings), bool)  # (T,) which terms an estimate can tell something of

    def estimate(self, theta: Any, x: Any = None, rng: Any = None, *, weights: Any = None) -> Estimate:
        """The gradient at theta (..., P), x (..., D); rng is a seed or a numpy Generator.

        weights (..., K) replaces those the plan was compiled for (shots stay as they were allotted); an observable that
        had the weight 0 there was perhaps given no shots, and then has to stay at 0.
        """
        thetas, xs, w, shape = self._rows(theta, x, weights)
        generator = generator_of(rng) if self.draws or rng is not None else generator_of(0)
        found = [self._estimate(t, s, c, generator) for t, s, c in zip(thetas, xs, w, strict=True)]
        return gathered(found, (*shape, self.model.n_params))

    def _rows(self, theta: Any, x: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
        """theta (n, P), x (n, D) and weights (n, K) of the n points, checked, and their leading shape."""
        call = Call(self.model, theta, x, None, "double", None, "values")
        K, n = self.model.n_observables, call.batch
        w = self.weights if weights is None else checked("weights", weights, (..., K))
        try:
            w = np.broadcast_to(w, (*call.shape, K)).reshape(n, K)
        except ValueError:
            raise QupropError(f"weights must have shape {(*call.shape, K)}, got {w.shape}") from None
        lost = np.flatnonzero((self.terms.sizes(w) > 0) & ~self.measured)
        if len(lost):
            raise QupropError(
                f"this plan measures no {self.terms.strings[lost[0]]}, because the weights it was compiled for have no "
                "use for it; compile it with weights of all the observables that are wanted, one row or several"
            )
        thetas = np.broadcast_to(call.theta, (n, self.model.n_params))
        return thetas, np.broadcast_to(call.x, (n, self.model.n_inputs)), w, call.shape

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        return self._simulated(self._rounds(theta, x, weights, rng), rng)

    def _simulated(self, rounds: Rounds, rng: np.random.Generator) -> Estimate:
        sampler = Sampler(rng)
        found = answered(rounds, lambda requests: (r.simulate(sampler) for r in requests))
        return replace(found, cost=found.cost + sampler.cost)

    def _rounds(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Rounds:
        raise QupropError(
            f"{self.no_circuits}, so that a device has no list of circuits to run; parameter_shift, hadamard_test, "
            "pair_state, commuting_blocks, classical_shadows and bell_sampling have one"
        )

    @property
    def drawn(self) -> tuple[int, int]:
        """At most so many circuits in bases, and settings at angles, that the plan draws by itself."""
        return 0, 0

    @cached_property
    def realiser(self) -> Realiser:
        refuse_channels(self.model, "a device, which has noise of its own,")
        return Realiser(self.model)

    @cached_property
    def value_readings(self) -> ObservableReadings:
        return ObservableReadings(self.model)

    def circuits(
        self,
        theta: Any,
        x: Any = None,
        *,
        weights: Any = None,
        rng: Any = 0,
        value_shots: int | None = None,
        format: str | None = None,
    ) -> Any:
        """The circuits of one gradient at theta (..., P), x (..., D), to be run anywhere: `PlanCircuits`, or with
        `format` "qiskit", "qasm3" or "json" what its `to(format)` gives.

        weights as in `estimate`. rng: a seed for what the plan itself draws (directions, bases, terms). value_shots:
        read F = weights . <O> too, by so many shots of each circuit that reads a group of its strings, beside the cost
        of the plan; info["value"] and info["value_stderr"] of the estimate have it.
        Raises: QupropError for plans that are no list of circuits, models with channels, and wrong shapes.

        >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
        >>> plan = qpr.ParameterShift(shots=1000).compile(model)
        >>> circuits = plan.circuits([np.pi / 6])
        >>> circuits.n_circuits, circuits.cost == plan.cost
        (2, True)
        >>> counts = [{0: 0.5 * 1000 - 250, 1: 750}, {0: 750, 1: 250}]  # of angles pi/6 + pi/2 and pi/6 - pi/2
        >>> plan.combine(counts).value
        array([-0.5])
        """
        theta, x, w, shape = self._rows(theta, x, weights)
        shots = None if value_shots is None else whole("value_shots", value_shots, 1)
        seed = int(generator_of(rng).integers(2**62))
        self._issued = found = PlanCircuits(self, theta, x, w, shape, seed, value_shots=shots)
        return found if format is None else found.to(format)

    def combine(self, counts: Any, circuits: PlanCircuits | None = None) -> Estimate:
        """The estimate from the counts of `circuits`, those that this plan gave last if none are named: what
        `PlanCircuits.combine` gives.

        Raises: QupropError for counts of other circuits, and where a round of circuits is still to be run.
        """
        circuits = circuits or self._issued
        if circuits is None or circuits.plan is not self:
            raise QupropError(
                "combine takes the counts of circuits that this plan gave; call plan.circuits(theta, x) first"
            )
        return circuits.combine(counts)

    _issued: PlanCircuits | None = None

    def __str__(self) -> str:
        lines = [f"{type(self).__name__} for {self.model!r}", f"  cost: {self.cost}"]
        return "\n".join(lines + [f"  {k}: {v}" for k, v in self.info.items()])

    def _repr_html_(self) -> str:
        table = narrow_table("", ("", "left"))
        for key, value in {"cost": self.cost, **self.info}.items():
            table.add_row(literal(key.replace("_", " ")), literal(value))
        return html([Sentence(f"{type(self).__name__} for {repr(self.model).strip('<>')}"), table])


NOISE = ("none", "fixed", "any")  # what a method takes: no channels, those whose strengths are numbers, all


def settle(model: Any, weights: Any, method: Any = None, *, rows: bool = True) -> np.ndarray:
    """The weights of F = weights . <O>, checked: (K,), or with `rows` (..., K); 1 for a model with one observable.

    A model with channels is refused where the method's `noise` (none if it has no such thing) does not take them.
    """
    if not isinstance(model, Model):
        raise QupropError(
            f"a gradient method compiles a quprop Model, got {type(model).__name__}; "
            "build one with qpr.Model(circuit, observables)"
        )
    check_noise(model, method)
    if not getattr(method, "parameterised", False):
        refuse_parameters(model, f"a gradient method such as {type(method).__name__}")
    if model.channels and getattr(method, "noise", "none") == "fixed":
        get_engine().choose(model, 1, "probabilities")  # refuses what is too wide
    K = model.n_observables
    if weights is None:
        if K != 1:
            raise QupropError(
                f"this model has {K} observables; pass weights=, one number for each, to say which sum to differentiate"
            )
        return np.ones(1)
    w = checked("weights", weights, (..., K) if rows else (K,))
    if not w.size:
        raise QupropError(f"weights must have a row at least, got shape {w.shape}")
    return w


def check_noise(model: Model, method: Any) -> None:
    """Refuses a model with channels that the method does not take."""
    name, takes = getattr(method, "name", "a gradient method"), getattr(method, "noise", "none")
    if takes == "any" or not model.channels:
        return
    if takes == "none":
        raise QupropError(
            f"{name} takes no noise, and this model has {len(model.channels):,} channels; take a method that carries "
            "it, such as parameter_shift, hadamard_test or adjoint, or model.noiseless()"
        )
    for channel in model.channels:
        if not all(s.is_constant for s in channel.strengths):
            raise QupropError(
                f"{name} moves angles and no strengths of noise, and {channel.name} after rotation {channel.place} has "
                "one that is made from params or inputs; give it a number, or take Adjoint(), which differentiates it"
            )
