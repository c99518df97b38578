"""Plan: a method compiled for a model. Its cost is known before it is paid; `estimate` pays it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from quprop.arrays import checked
from quprop.cost import Cost
from quprop.errors import QupropError, generator_of
from quprop.model import Model
from quprop.model.parameterised import refuse_parameters
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.estimate import Estimate
from quprop.sampling.grouping import Grouping
from quprop.simulate import Call, get_engine
from quprop.tables import Sentence, html, literal, narrow_table


class Terms(NamedTuple):
    """The Pauli strings of all observables of a model, identities left out, and their coefficients."""

    strings: tuple[PauliString, ...]  # (T,)
    table: np.ndarray  # (K, T): observable k is sum_t table[k, t] strings[t]

    @classmethod
    def of(cls, model: Model) -> Terms:
        order: dict[PauliString, int] = {}
        for total in model.observables:
            for string, _ in total.items():
                if string.weight:
                    order.setdefault(string, len(order))
        table = np.zeros((model.n_observables, len(order)))
        for k, total in enumerate(model.observables):
            for string, coefficient in total.items():
                if string.weight:
                    table[k, order[string]] = coefficient
        return cls(tuple(order), table)

    def coefficients(self, weights: np.ndarray) -> np.ndarray:
        """u (T,) with weights . O = sum_t u_t strings[t]."""
        return weights @ self.table

    def sizes(self, weights: np.ndarray) -> np.ndarray:
        """|u_t| at most (T,) for weights of these sizes and any sign, (..., K): the largest over their rows.

        A plan is for all of these: what cancels in F = weights . O does not cancel in weights that come later.
        """
        every: np.ndarray = np.abs(weights) @ np.abs(self.table)
        return every.max(axis=tuple(range(every.ndim - 1)))

    def total(self, weights: np.ndarray) -> PauliSum:
        """All terms with their `sizes`: what a grouping has to serve."""
        return PauliSum(dict(zip(self.strings, self.sizes(weights), strict=True)))

    def of_groups(self, groups: Grouping) -> np.ndarray:
        """(T,) which of the strings are in one of the groups."""
        grouped = {string for members in groups.groups for string, _ in members}
        return np.array([string in grouped for string in self.strings], bool)

    def position(self, string: PauliString) -> int:
        return self.strings.index(string)


class Plan:
    """What all plans share: the checks of `estimate`, and its loop over leading batch axes.

    cost is that of one sample. A subclass has `_estimate(theta (P,), x (D,), weights (K,), rng) -> Estimate`.
    """

    cost: Cost
    info: dict[str, Any]
    draws: ClassVar[bool] = True  # whether `estimate` needs rng

    def __init__(self, model: Model, terms: Terms, weights: np.ndarray) -> None:
        self.model, self.terms, self.weights = model, terms, weights
        self.measured = np.ones(len(terms.strings), bool)  # (T,) which terms an estimate can tell something of

    def estimate(self, theta: Any, x: Any = None, rng: Any = None, *, weights: Any = None) -> Estimate:
        """The gradient at theta (..., P), x (..., D); rng is a seed or a numpy Generator.

        weights (..., K) replaces those the plan was compiled for (shots stay as they were allotted); an observable that
        had the weight 0 there was perhaps given no shots, and then has to stay at 0.
        """
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
        generator = generator_of(rng) if self.draws or rng is not None else generator_of(0)
        thetas = np.broadcast_to(call.theta, (n, self.model.n_params))
        xs = np.broadcast_to(call.x, (n, self.model.n_inputs))
        found = [self._estimate(t, s, c, generator) for t, s, c in zip(thetas, xs, w, strict=True)]
        shape = (*call.shape, self.model.n_params)
        return Estimate(
            np.stack([e.value for e in found]).reshape(shape),
            np.stack([e.stderr for e in found]).reshape(shape),
            sum((e.cost for e in found), Cost()),
            _shared_info(found),
        )

    def _estimate(self, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> Estimate:
        raise NotImplementedError

    def __str__(self) -> str:
        lines = [f"{type(self).__name__} for {self.model!r}", f"  cost: {self.cost}"]
        return "\n".join(lines + [f"  {k}: {v}" for k, v in self.info.items()])

    def _repr_html_(self) -> str:
        table = narrow_table("", ("", "left"))
        for key, value in {"cost": self.cost, **self.info}.items():
            table.add_row(literal(key.replace("_", " ")), literal(value))
        return html([Sentence(f"{type(self).__name__} for {repr(self.model).strip('<>')}"), table])


def _shared_info(found: Sequence[Estimate]) -> dict[str, Any]:
    """Of a batch: what the first point has to say, and the worst of what makes a promise void."""
    worst: dict[str, Any] = {}
    for key in ("damage", "beyond_the_readings"):
        said = [e.info[key] for e in found if key in e.info]  # a point may have nothing to measure
        worst |= {key: max(said)} if said else {}
    return found[0].info | worst


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
