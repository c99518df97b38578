"""What a gradient method is, and what the class of one says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.model import Model
from quprop.sampling.estimate import Estimate
from quprop.sampling.loads import Described
from quprop.sampling.plan import Plan
from quprop.sampling.shape import Load, Shape, Wanted

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts

PREDICTED = "predicted"  # the exponent that the plan's own `predicted_variance` gives


class Method(Protocol):
    """A frozen dataclass of settings. `copies`: 0 (a simulator), 1, 2, or "many" copies of the state at once."""

    @property
    def name(self) -> str: ...

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> Plan:
        """The plan for F = weights . <O>; refuses, in one sentence, a model the method cannot serve.

        weights: (K,), may be left out if K = 1; or (..., K), of which every row is served. The shots are allotted for
        weights of these sizes and any sign. at: (theta (..., P), x (..., D)), where angles that are products of
        variables are bounded for `precision` and `max_error`; without it variables count as being within ±1.
        """
        ...


class GradientMethod:
    """Base of the methods in `METHODS`: what `compare`, `plan`, `scaling` and `methods` know of one, told by its own
    class. A method of one's own that only estimates needs none of it (`Method`).

    To be declared: name; copies, of the state at once, 0 for a simulator; unbiased (bool). exact: no shots, no error,
    no budget. costed_only: its cost is known and it cannot be run. worst_case: `formula` is an upper bound on what runs
    count.
    noise: "fixed", it runs models with channels whose strengths are numbers; "any", all of them; "none", it refuses
    them. parameterised: it takes observables whose coefficients are parameters.
    checked_at: the precision at which `quprop plan --check` counts runs.

    scaling sweeps a method on the families in `exponents`: exponent of rotations against M at one error, the logarithm
    of the max norm divided out (`logarithm`), or `PREDICTED`; up to `swept_to` parameters where simulating it at full
    size would take hours; at an error `coarser` times as large.
    """

    name: ClassVar[str]
    copies: ClassVar[int | str]
    exact: ClassVar[bool] = False
    costed_only: ClassVar[bool] = False
    noise: ClassVar[Literal["none", "fixed", "any"]] = "none"
    parameterised: ClassVar[bool] = False
    worst_case: ClassVar[bool] = False
    checked_at: ClassVar[float] = 0.2
    exponents: ClassVar[Mapping[str, float | str]] = {}
    swept_to: ClassVar[Mapping[str, int]] = {}
    coarser: ClassVar[float] = 1.0

    def compile(self, model: Model, weights: Any = None, *, at: Any = None) -> Plan:
        """As `Method.compile`."""
        raise NotImplementedError

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        """The cost of one gradient in closed form, nothing compiled or run; refuses a shape it does not serve."""
        raise QupropError(f"the cost of {cls.name} has no closed formula; compile(model).cost counts it")

    @classmethod
    def load(cls, facts: ModelFacts) -> Load | None:
        """What `formula` needs to know of a model beside its shape; QupropError: the method does not serve it."""
        return None

    @classmethod
    def described_load(cls, circuit: Described) -> Load | None:
        """The same of a circuit that is described by its sizes."""
        return None

    @classmethod
    def wanting(cls, wanted: Wanted, components: int) -> Self:
        """The method with this budget, in the form that it takes, for so many components."""
        if cls.exact:
            return cls()
        takes = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        other = {"precision": wanted.max_error, "max_error": wanted.precision}[wanted.kind](components)
        budgets = {wanted.kind: wanted.value, "max_error" if wanted.kind == "precision" else "precision": other}
        failure = {"failure": wanted.failure} if "failure" in takes else {}
        refusal = None
        for kind in (wanted.kind, *(k for k in budgets if k != wanted.kind)):
            if kind in takes:
                try:
                    return cls(**{kind: budgets[kind]}, **failure)
                except QupropError as error:
                    refusal = refusal or error
        raise refusal or QupropError(f"{cls.name} takes neither precision= nor max_error=")

    @classmethod
    def checked(cls, wanted: Wanted, components: int) -> Self:
        """`wanting`, such that an estimate tells `formula_of_run` what it needs."""
        return cls.wanting(wanted, components)

    @classmethod
    def formula_of_run(cls, shape: Shape, wanted: Wanted, estimate: Estimate) -> Cost:
        """`formula` with what was random in a run in place of what is planned for."""
        return cls.formula(shape, wanted)

    @classmethod
    def logarithm(cls, m: int) -> float | None:
        """The factor by which M components at once cost more than one; None for (E max of M normals)^2."""
        return None
