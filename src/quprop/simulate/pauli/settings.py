"""What a Pauli propagation is asked for: how much may be dropped, and what is said of the error."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field, fields
from typing import Any

from quprop.errors import QupropError, shown

DEFAULT_TOLERANCE = 1e-3
CUTOFFS = ("size", "coefficient", "branch")
ANGLES = ("given", "uniform")


@dataclass(frozen=True, slots=True)
class PauliPropagation:
    """Heisenberg propagation of the observables as sums of Pauli strings, truncated, with a bound on the error.

    Say one of these, or none (then `tolerance=1e-3`):

    tolerance: the value and every derivative by a parameter or an input are within it, guaranteed, or a `QupropError`
        says what could be reached; absolute, for the weighted sum that is differentiated; 0: nothing is dropped. The
        cutoff that meets it is searched from above.
    cutoff: what is smaller is dropped. `rule` says what is compared: "size", the larger of |O(Q)| and of t(Q), which
        bounds |dO(Q)/da_m| for all rotations m; "coefficient", |O(Q)| alone; "branch", a rotation's branch is not
        followed if sin times the coefficient is smaller, unless the partner's is (monoprop's rule).
    max_terms: no more are kept after a rotation, the largest (where there are more, 31/32 of it).
    max_weight: strings that a rotation makes on more qubits are dropped; keep_diagonal: unless they have only Z. Qubits
        are counted in the canonical form, after the circuit's Clifford gates went into strings and observables.

    bounds: with False no t(Q) is carried and no errors are bounded (needs a cutoff by "coefficient" or "branch",
        max_terms or max_weight).
    stochastic: what is smaller than `cutoff` survives with probability size/cutoff and is as much larger then, so that
        values and gradients are unbiased; `repeats` independent runs from `seed` give their 95 % intervals.
    angles: "uniform": errors of a truncation by max_weight alone are bounded in the mean square over independent
        uniform angles, by `paths` random paths from `seed`, with confidence 95 %.
    memory: bytes that one propagation may take; None: half of what is free.

    Channels of a noisy model multiply strings by factors of at most 1 (affine ones make further strings), the bounds
    hold with them, and what they make too small is dropped as by rotations. So noise leaves fewer strings: of Z62 after
    five steps of the kicked Ising circuit of 127 qubits (a = 0.6, b = -1.2; coefficients from 1e-3) 9,086, and with
    two-qubit depolarising noise of 0.3, 1 and 3 % after each gate of two qubits 7,729, 5,853 and 2,520. Derivatives
    are given at strengths that are numbers.

    Raises: QupropError for settings that do not go together, and where the tolerance cannot be kept.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.expectation(model, [np.pi / 3], engine=qpr.PauliPropagation(tolerance=1e-6)).round(6)
    array([0.5])
    """

    tolerance: float | None = None
    cutoff: float | None = field(default=None, kw_only=True)
    rule: str = field(default="size", kw_only=True)
    max_terms: int | None = field(default=None, kw_only=True)
    max_weight: int | None = field(default=None, kw_only=True)
    keep_diagonal: bool = field(default=False, kw_only=True)
    bounds: bool = field(default=True, kw_only=True)
    stochastic: bool = field(default=False, kw_only=True)
    repeats: int = field(default=16, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    angles: str = field(default="given", kw_only=True)
    paths: int = field(default=20_000, kw_only=True)
    memory: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("tolerance", "cutoff"):
            number = getattr(self, name)
            if number is not None:
                _require(_is_real(number) and math.isfinite(number) and number >= 0, name, "a number from 0", number)
        for name, least in (
            ("max_terms", 1),
            ("max_weight", 1),
            ("repeats", 2),
            ("seed", 0),
            ("paths", 2),
            ("memory", 1),
        ):
            number = getattr(self, name)
            if number is not None or name in ("repeats", "paths"):
                _require(_is_whole(number) and number >= least, name, f"a whole number from {least}", number)
        for name in ("keep_diagonal", "bounds", "stochastic"):
            _require(isinstance(getattr(self, name), bool), name, "True or False", getattr(self, name))
        _require(self.rule in CUTOFFS, "rule", f"one of {', '.join(CUTOFFS)}", self.rule)
        _require(self.angles in ANGLES, "angles", f"one of {', '.join(ANGLES)}", self.angles)
        limits = [n for n in ("tolerance", "cutoff", "max_terms", "max_weight") if getattr(self, n) is not None]
        if self.tolerance is not None and len(limits) > 1:
            raise QupropError(
                f"tolerance= decides what is dropped, so {limits[1]}= goes without it; leave one of them out"
            )
        if self.stochastic:
            if limits != ["cutoff"] or not self.cutoff or self.rule != "size":
                raise QupropError(
                    'stochastic=True goes with a cutoff above 0, its rule "size" and no other limit; '
                    "pass for example cutoff=1e-2"
                )
            if self.seed is None:
                raise QupropError("stochastic=True draws random numbers; pass seed=, a whole number from 0")
        if self.angles == "uniform":
            if limits != ["max_weight"]:
                raise QupropError('angles="uniform" is for a truncation by max_weight= alone')
            if self.seed is None:
                raise QupropError('angles="uniform" draws random paths; pass seed=, a whole number from 0')
        if not self.bounds and (self.stochastic or self.tolerance is not None or not limits or self.by_tangent):
            raise QupropError(
                'bounds=False goes with cutoff= and rule="coefficient" or "branch", with max_terms= or max_weight='
            )
        if self.rule == "branch" and self.max_terms is not None:
            raise QupropError('rule="branch" goes with cutoff= and max_weight=; leave max_terms out')

    @property
    def limit(self) -> float | None:
        """The tolerance in force; None where something else decides."""
        if self.tolerance is None and self.cutoff is None and self.max_terms is None and self.max_weight is None:
            return DEFAULT_TOLERANCE
        return self.tolerance

    @property
    def by_tangent(self) -> bool:
        """Whether t(Q) counts for a term's size."""
        if self.limit is not None or self.cutoff is not None:
            return self.rule == "size"
        return self.bounds and self.max_terms is not None

    def __str__(self) -> str:
        given = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"PauliPropagation({', '.join(given) or f'tolerance={DEFAULT_TOLERANCE}'})"


def _require(right: bool, name: str, wanted: str, given: Any) -> None:
    if not right:
        raise QupropError(f"{name} is {wanted}, got {shown(given)}")


def _is_real(number: Any) -> bool:
    return isinstance(number, numbers.Real) and not isinstance(number, bool)


def _is_whole(number: Any) -> bool:
    return isinstance(number, numbers.Integral) and not isinstance(number, bool)
