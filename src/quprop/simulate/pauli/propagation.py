"""One propagation, its graph of kept strings, and what is told of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from quprop.cost import short_bytes
from quprop.errors import QupropError
from quprop.machine import available_bytes
from quprop.simulate.pauli.certificate import Bounds, bounds
from quprop.simulate.pauli.packed import Packed, kernels
from quprop.simulate.pauli.settings import PauliPropagation

_FREE_SHARE = 0.5  # of the free memory, for one propagation that is not told how much it may take


class OutOfMemoryError(QupropError):
    """A propagation that reached its limit of memory."""


class Evaluated(NamedTuple):
    """Of a batch: values (B,), derivatives by the angles (B, M), bounds of their errors, and the ledgers (B, M, 4)."""

    values: np.ndarray
    d_angles: np.ndarray
    bounds: Bounds | None
    ledger: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Support:
    """Strings kept at each rotation, as found at one set of angles: `at` evaluates the truncated sum, and
    differentiates it with the same strings kept, at these or at other angles and coefficients."""

    run: Any
    packed: Packed
    settings: PauliPropagation
    threads: int
    exponent: int  # the kernels' coefficients are 2^-exponent of the model's

    @property
    def terms(self) -> int:
        """Strings that were left at the end."""
        return int(self.run.terms)

    @property
    def peak(self) -> int:
        return int(self.run.peak)

    @property
    def bytes(self) -> int:
        """Of the most strings that there were at once; `graph_bytes` of what is kept to do it again."""
        return int(self.run.peak_bytes)

    @property
    def graph_bytes(self) -> int:
        return int(self.run.graph_bytes)

    def at(self, coefficients: np.ndarray, factors: np.ndarray, *, bounded: bool, posterior: bool = False) -> Evaluated:
        """coefficients (B, T) and factors (B, M, 2) of `quprop.simulate.pauli.packed`."""
        damping = self.packed.damping
        factors = damping.spread(factors)
        batch, stages = len(factors), factors.shape[1]
        scaled = np.ldexp(np.ascontiguousarray(coefficients), -self.exponent)
        values, d_angles = np.empty(batch), np.zeros((batch, stages))
        ledger = np.zeros((batch, stages, 4)) if bounded else None
        after = np.zeros((batch, stages)) if posterior and bounded else None
        try:
            self.run.replay(scaled, factors, values, d_angles, ledger, after, self.threads)
        except MemoryError:
            raise OutOfMemoryError(f"there is no memory for the gradient of {self.peak} strings") from None
        found = None
        if ledger is not None:
            ledger = np.ldexp(ledger[:, ::-1], self.exponent)  # by rotation: the last comes first in a propagation
            after = None if after is None else np.ldexp(after, self.exponent)
            found = bounds(ledger, after, np.abs(coefficients).sum(axis=1), self.peak)
            found = found._replace(angles=found.angles[:, damping.rotations])
            ledger = damping.by_rotation(ledger)
        d_angles = d_angles[:, damping.rotations]
        return Evaluated(np.ldexp(values, self.exponent), np.ldexp(d_angles, self.exponent), found, ledger)


def support(
    packed: Packed,
    coefficient: np.ndarray,
    factor: np.ndarray,
    settings: PauliPropagation,
    threads: int,
    cutoff: float | None = None,
    seed: int = 0,
    keep_zeros: bool = False,
) -> Support:
    """The propagation of the strings with `coefficient` (T,) through rotations of `factor` (M, 2), with its graph.

    cutoff: the one in force; None: the settings'. keep_zeros: strings that vanished stay among those of the graph.
    """
    run, exponent = _propagate(packed, coefficient, factor, settings, threads, True, cutoff, seed, keep_zeros)
    run.value(packed.bloch, threads, True)
    return Support(run, packed, settings, threads, exponent)


def value(
    packed: Packed,
    coefficient: np.ndarray,
    factor: np.ndarray,
    settings: PauliPropagation,
    threads: int,
    cutoff: float | None = None,
) -> tuple[float, float]:
    """The value alone, and the bound of its error (infinite if none is asked for); no string is kept."""
    run, exponent = _propagate(packed, coefficient, factor, settings, threads, False, cutoff, 0)
    found = float(run.value(packed.bloch, threads, False))
    ledger = np.empty((len(packed.px), 4))
    run.ledger(ledger)
    norm = np.ldexp(np.abs(coefficient).sum(keepdims=True), -exponent)
    error = bounds(ledger[None, ::-1], None, norm, int(run.peak)).value[0]
    return math.ldexp(found, exponent), math.ldexp(error, exponent)


def _propagate(
    packed: Packed,
    coefficient: np.ndarray,
    factor: np.ndarray,
    settings: PauliPropagation,
    threads: int,
    record: bool,
    cutoff: float | None,
    seed: int,
    keep_zeros: bool = False,
) -> tuple[Any, int]:
    s = settings
    tangents = s.by_tangent and (record or s.limit is None)  # a value within a tolerance needs none
    largest = float(np.abs(coefficient).max(initial=0.0))
    exponent = math.frexp(largest)[1] if largest else 0
    cutoff = math.ldexp((s.cutoff or 0.0) if cutoff is None else cutoff, -exponent)
    branch = s.rule == "branch"
    terms = int(s.max_terms or 0)
    if s.max_terms is not None and s.max_terms < len(coefficient):
        raise QupropError(
            f"the observables have {len(coefficient)} strings, so max_terms must be that or more, got {s.max_terms}"
        )
    allowed = int(_FREE_SHARE * available_bytes() if s.memory is None else s.memory)
    row = 16 * packed.px.shape[1] + (16 if tangents else 12)
    if terms and terms * row > allowed:
        raise QupropError(
            f"{terms} terms of {packed.px.shape[1] * 64} qubits need {short_bytes(terms * row)} and "
            f"{short_bytes(allowed)} may be taken; lower max_terms or raise memory="
        )
    rules = {
        "least": 0.0 if branch or s.stochastic else cutoff,
        "by_tangent": tangents,
        "least_branch": cutoff if branch else 0.0,
        "keep_zeros": keep_zeros,
        "most_terms": terms,
        "most_weight": int(s.max_weight + packed.damping.affine if s.max_weight else 0),
        "keep_diagonal": s.keep_diagonal,
        "roulette": cutoff if s.stochastic else 0.0,
        "seed": seed,
        "most_bytes": allowed,
    }
    scaled = np.ldexp(np.ascontiguousarray(coefficient), -exponent)
    factor = np.ascontiguousarray(packed.damping.spread(factor))
    strings = (packed.ox, packed.oz, scaled, packed.px, packed.pz, factor, packed.damping.kernels)
    try:
        made = kernels().propagate(*strings, rules, tangents, record, threads)
    except MemoryError:
        raise OutOfMemoryError("a propagation found no memory for its strings") from None
    if isinstance(made, tuple):
        stage, terms, used = made
        stages = "rotations and channels" if packed.damping.owners else "rotations"
        raise OutOfMemoryError(
            f"after {stage + 1} of {len(packed.px)} {stages} there can be {terms:,} strings that take "
            f"{short_bytes(used)}, and {short_bytes(allowed)} may be taken"
        )
    return made, exponent
