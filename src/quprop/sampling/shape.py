"""Shape: the few numbers of a model that the cost of a gradient depends on, so that costs have formulas for any size.

F = weights . <O>,  O = sum_t u_t O_t Pauli strings of T terms, norm Lambda = sum_t |u_t|; M rotations, of which D are
driven by P parameters; W_i = sum_m |da_m/dtheta_i| is the reach of parameter i. An observable is read in groups of
outcomes within ±b_g, B = sum_g b_g.

A method that averages shots of fixed circuits needs shots = load / v for a variance v of every component in the worst
case (`budget.py`); its `Load` is that number and what its shots execute (`loads.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from quprop.errors import QupropError


class Load(NamedTuple):
    """circuits: shots there are at least; shots, rotations, ops: all of them times the variance wanted (ops: strings
    that are read); depth: rotations of the longest run. bound: these are upper bounds. in_sets: a circuit serves all
    rotations that commute and follow one another. largest: the most that one shot of circuit r
    can add to a component, over the shots of r times the variance wanted; 0 where nobody asks."""

    circuits: float
    shots: float
    rotations: float
    depth: float
    ops: float
    bound: bool = False
    in_sets: bool = False
    largest: float = 0.0

    def repeated(self, times: float, one_set: bool) -> Load:
        """Of the model so many times one after another; one_set: all rotations of the model commute."""
        more = 1.0 if one_set and self.in_sets else times
        return self._replace(
            circuits=self.circuits * more,
            shots=self.shots * more,
            rotations=self.rotations * more * times,
            depth=self.depth * times,
            ops=self.ops * times,
        )


@dataclass(frozen=True, kw_only=True)
class Shape:
    """name: in words; qubits n; rotations M; trained D; first: rotations before the first of them; parameters: all
    that theta has; reaches: (W, how many parameters have it), those that drive nothing left out.

    ranges, reads: b_g of each group and the strings that a shot of it reads; terms T; norm Lambda.
    loads: by method. strings: K different Pauli strings that all components are on the circuit's own state, 0 where
    they are not, and string_scale: what an error of theirs is multiplied by, at worst. one_set: whether all trained
    rotations commute. missing: by method, one sentence why it does not serve.
    cones: qubits of the widest light cone and amplitudes that a sweep over all of them turns, of a model that is wider
    than any state; None where it is not, or nothing is known of them. affine: whether angles are affine in theta.
    survival: of a model with noise, the probability (process fidelity) that nothing errs, for each rotation and what
    channels come with it, as a geometric mean; 1 without noise.
    timed: seconds of a gradient that were measured, by simulated method; extrapolated: at another size, and taken in
    proportion to the rotations; largest: the largest |component| of the
    gradient where it was measured, None where it was not.
    assumed: what in it is assumed, in words ("" for a model that was read).
    grown: the shape of the same kind with another number of parameters.
    """

    name: str
    qubits: int
    rotations: int
    trained: int
    parameters: int
    reaches: tuple[tuple[float, float], ...]
    first: int = 0
    ranges: tuple[float, ...] = (1.0,)
    reads: tuple[float, ...] = (1.0,)
    terms: int = 1
    norm: float = 1.0
    loads: Mapping[str, Load] = field(default_factory=dict)
    strings: int = 0
    string_scale: float = 1.0
    one_set: bool = False
    cones: tuple[int, int] | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    affine: bool = True
    survival: float = 1.0
    timed: Mapping[str, float] = field(default_factory=dict)
    extrapolated: bool = False
    largest: float | None = None
    assumed: str = ""
    grown: Callable[[int], Shape] | None = None

    @property
    def bound(self) -> float:
        """B: |F - constant| is at most this."""
        return float(sum(self.ranges))

    @property
    def bounds(self) -> frozenset[str]:
        """Methods whose load is an upper bound."""
        return frozenset(name for name, load in self.loads.items() if load.bound)

    @property
    def active(self) -> float:
        """Parameters that drive something."""
        return sum(count for _, count in self.reaches)

    @property
    def reach(self) -> float:
        """The largest W."""
        return max((w for w, _ in self.reaches), default=0.0)

    def power(self, exponent: float) -> float:
        """sum_i W_i^exponent."""
        return float(sum(count * w**exponent for w, count in self.reaches))

    def at(self, parameters: int) -> Shape:
        """The same kind of model with so many parameters."""
        if isinstance(parameters, bool) or not isinstance(parameters, int) or parameters < 1:
            raise QupropError(f"a number of parameters is whole, 1 or more, got {parameters!r}")
        return self.grown(parameters) if self.grown is not None else deeper(self, parameters)

    def as_dict(self) -> dict[str, Any]:
        names = ("name", "qubits", "rotations", "trained", "parameters", "terms", "norm", "affine", "assumed")
        return {
            **{k: getattr(self, k) for k in names},
            "largest_reach": self.reach,
            **({"survival": self.survival} if self.survival < 1 else {}),
            **({} if self.largest is None else {"largest_component": self.largest}),
            "groups": len(self.ranges),
            "strings_on_one_state": self.strings,
            "loads": {k: v._asdict() for k, v in self.loads.items()},
        }


def deeper(shape: Shape, parameters: int) -> Shape:
    """The model repeated until it has so many parameters: rotations, circuits and sets of commuting rotations grow in
    proportion. A model that is one set of commuting rotations stays one."""
    if not shape.trained:
        raise QupropError(
            f"a model without trained rotations does not grow with its parameters, got {shape.name}: leave "
            "--parameters and --plot out"
        )
    f = parameters / shape.parameters
    rotations = max(1, round(shape.rotations * f))
    return replace(
        shape,
        name=f"{shape.name}, repeated {f:.3g} times",
        rotations=rotations,
        trained=min(rotations, max(1, round(shape.trained * f))),
        parameters=parameters,
        reaches=tuple((w, count * f) for w, count in shape.reaches),
        loads={name: load.repeated(f, shape.one_set) for name, load in shape.loads.items()},
        strings=math.ceil(shape.strings * f),
        cones=None,
        timed={name: seconds * f for name, seconds in shape.timed.items()},
        extrapolated=f != 1,
        largest=None,
    )


@dataclass(frozen=True)
class Wanted:
    """How good a gradient is to be: `precision`, the standard error of every component, or `max_error` of all at once
    except with probability `failure`. kind: which of them was asked for; the other follows from it for P parameters,

        max_error = precision sqrt(2 ln(2 P / failure)).
    """

    kind: str
    value: float
    failure: float = 0.01

    def __post_init__(self) -> None:
        if self.kind not in ("precision", "max_error"):
            raise QupropError(f"kind is precision or max_error, got {self.kind!r}")
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not 0 < self.value < math.inf:
            raise QupropError(f"{self.kind} must be a positive number, got {self.value!r}")
        if isinstance(self.failure, bool) or not isinstance(self.failure, int | float) or not 0 < self.failure < 1:
            raise QupropError(f"failure must be a probability between 0 and 1, got {self.failure!r}")

    def union(self, components: float) -> float:
        """2 ln(2 P / failure)."""
        return 2 * math.log(2 * max(components, 1) / self.failure)

    def variance(self, components: float) -> float:
        """The largest variance a component may have."""
        return self.value**2 / (1.0 if self.kind == "precision" else self.union(components))

    def max_error(self, components: float) -> float:
        return self.value * (math.sqrt(self.union(components)) if self.kind == "precision" else 1.0)

    def precision(self, components: float) -> float:
        return math.sqrt(self.variance(components))
