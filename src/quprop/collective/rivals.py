"""Shadow tomography beside its rivals, on the same list of events and for the same guarantee."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from quprop.collective import binomial
from quprop.collective.event import Event
from quprop.collective.protocol import copy_state
from quprop.collective.shadow_tomography import ShadowTomography
from quprop.cost import short
from quprop.errors import QupropError, generator_of
from quprop.model.pauli import PauliString
from quprop.sampling import snapshots as shadow
from quprop.sampling.copies import draw_bell, pairs_for, squares
from quprop.sampling.estimate import shown
from quprop.sampling.signs import voters

_AT_ONCE = 1 << 21  # amplitudes of snapshots made at once
MOST_COPIES = 20_000_000  # single copies that are simulated one by one


class Rival(NamedTuple):
    """A way to estimate all acceptance probabilities to eps at once, its copies, those held at once, and the largest
    error it was seen to make; None where it was not run. `note` says why, or how far copies were moved that the theorem
    takes for undisturbed."""

    name: str
    copies: int
    held: int
    error: float | None
    note: str = ""

    def __str__(self) -> str:
        seen = "not run" if self.error is None else f"error {self.error:.3g}"
        return f"{self.name}: {short(self.copies)} copies, {short(self.held)} held, {seen}" + (
            f" ({self.note})" if self.note else ""
        )


def compare(
    state: np.ndarray,
    events: Sequence[Event],
    *,
    eps: float,
    failure: float = 0.01,
    rng: Any,
    tomography: ShadowTomography | None = None,
    most_copies: int = MOST_COPIES,
) -> list[Rival]:
    """Every way that applies, on copies of the pure state (2^n,):

        shadow tomography   threshold search and online learning (`ShadowTomography(eps=eps, failure=failure)`)
        one by one          every event on copies of its own: ln(2 m/failure)/(2 eps^2) each (Hoeffding)
        local shadows       random local bases, median of means: 2 ln(2 m/failure) groups of 34 |E|_sh^2/eps^2 copies
        Clifford shadows    random Clifford bases, the same (Huang, Kueng, Preskill, arXiv:2002.08953, Theorem 1)
        Bell sampling       Pauli events only: magnitudes from pairs, signs from majority votes on copies held together
                            (Huang, Kueng, Preskill, arXiv:2101.02464)

    Every row's copies are what the theorem asks for all errors within eps except with probability `failure`; those of
    shadow tomography are what this run took. <P> = 2 <E> - 1 doubles errors, so that strings are read to 2 eps.
    """
    vector, n, _ = copy_state(state, 1)
    if not events or not all(isinstance(e, Event) for e in events):
        raise QupropError("compare takes a list of Events, one or more; write [Event(pauli), ...]")
    if tomography is None:
        tomography = ShadowTomography(eps=eps, failure=failure)
    if (tomography.eps, tomography.failure) != (eps, failure):
        raise QupropError("all rivals keep one promise: give `tomography` the same eps and failure")
    for event in events:
        event.check_fits(n)
    generator = generator_of(rng)
    truth = np.array([float(e.mean(vector)) for e in events])

    def worst(estimates: np.ndarray) -> float:
        return float(np.abs(estimates - truth).max())

    found = tomography.run(vector, list(events), generator)
    rows = [Rival("shadow tomography", found.copies, found.held, worst(found.estimates), shown(found.damage))]
    m = len(events)
    each = math.ceil(math.log(2 * m / failure) / (2 * eps**2))
    rows.append(Rival("one by one", m * each, 1, worst(generator.binomial(each, truth) / each)))
    for ensemble, name in (("pauli", "local shadows"), ("clifford", "Clifford shadows")):
        rows.append(_shadows(vector, events, eps, failure, generator, ensemble, name, most_copies, worst))
    paulis = [e.pauli for e in events if e.pauli is not None]
    if len(paulis) == m:
        rows.append(_bell(vector, paulis, eps, failure, generator, worst))
    return rows


def _shadows(
    state: np.ndarray,
    events: Sequence[Event],
    eps: float,
    failure: float,
    rng: np.random.Generator,
    ensemble: Any,
    name: str,
    most: int,
    worst: Callable[[np.ndarray], float],
) -> Rival:
    d = len(state)
    n = d.bit_length() - 1
    paulis = [e.pauli for e in events if e.pauli is not None]
    dense = len(paulis) < len(events)
    if dense:
        matrices = np.stack([e.apply(np.eye(d, dtype=complex)).T for e in events])
        offset = np.trace(matrices, axis1=1, axis2=2).real / d
        traceless = matrices - offset[:, None, None] * np.eye(d)
        norm = float(shadow.dense_norms(traceless, ensemble).max())
    else:
        norm = max(shadow.pauli_norm(p, ensemble, n) for p in paulis) / 4  # of P/2
    groups = math.ceil(2 * math.log(2 * len(events) / failure))
    size = math.ceil(34 * norm / eps**2)
    if groups * size > most:
        return Rival(name, groups * size, 1, None, f"more than {short(most)} copies are not simulated")
    means = np.zeros((groups, len(events)))
    step = max(1, _AT_ONCE // max(d, len(events)))
    for g in range(groups):
        for start in range(0, size, step):
            count = min(step, size - start)
            if ensemble == "pauli":
                local = shadow.pauli_snapshots(rng, state, count)
                values = shadow.dense_pauli_values(local, traceless) if dense else shadow.pauli_values(local, paulis)
            else:
                states = shadow.clifford_snapshots(rng, state, count)
                values = (
                    shadow.dense_clifford_values(states, traceless) if dense else shadow.clifford_values(states, paulis)
                )
            means[g] += values.sum(axis=0) / size
    middle = np.median(means, axis=0)
    return Rival(name, groups * size, 1, worst(middle + offset if dense else (1 + middle) / 2))


def _bell(
    state: np.ndarray,
    paulis: Sequence[PauliString],
    eps: float,
    failure: float,
    rng: np.random.Generator,
    worst: Callable[[np.ndarray], float],
) -> Rival:
    n, e = len(state).bit_length() - 1, min(1.0, 2 * eps)
    pairs = pairs_for(len(paulis), e, failure)
    size = np.sqrt(np.maximum(squares(paulis, n, draw_bell(rng, state, state, pairs)), 0.0))
    large = np.flatnonzero(size >= 0.75 * e)
    votes = voters(len(paulis), e, failure / 2)
    value = np.zeros(len(paulis))
    means = {i: float(Event(paulis[i]).mean(state)) for i in large.tolist()}
    for i, mean in means.items():
        value[i] = size[i] if rng.binomial(votes, mean) >= (votes + 1) // 2 else -size[i]
    held = max(2, votes if len(large) else 0)
    damage = sum(_moved(2 * mean - 1, votes) for mean in means.values())
    copies = 2 * pairs + (votes if len(large) else 0)
    return Rival("Bell sampling", copies, held, worst((1 + value) / 2), shown(damage))


def _moved(mean: float, votes: int) -> float:
    """The trace distance sqrt(Pr[wrong]) by which a right vote on the sign of <P> moves the copies, a projection."""
    law = binomial.cdf if mean >= 0 else binomial.above
    return math.sqrt(float(law(np.array((votes + 1) // 2 - 1.0), votes, (1 + mean) / 2)))
