"""How an observable that is a sum of Pauli strings is read: in groups that one shot reads together, or term by term.

With N shots in all and the shots of a group in proportion to its spread, the variance of sum_i c_i <P_i> is
(sum_g s_g)^2 / N. For states of which nothing is known s_g^2 = sum_{i in g} c_i^2, the mean over all states up to
O(2^-n); drawing terms with probability |c_i| / sum |c| gives (sum_i |c_i|)^2 / N. The smallest is chosen.

"qubit_wise" groups are those that one-qubit gates before the readout serve. Hardware reads the observables that the
user wrote, so this is judged on C P C†, with C the Clifford gates that the model has absorbed; whether two strings
commute does not depend on C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import stim

from quprop.errors import QupropError, count_of, nearest
from quprop.model.absorption import conjugate
from quprop.model.pauli import PauliString, PauliSum

Scheme = Literal["qubit_wise", "commuting", "sampled"]
SCHEMES: tuple[Scheme, ...] = ("qubit_wise", "commuting", "sampled")
Terms = tuple[tuple[PauliString, float], ...]


@dataclass(frozen=True)
class Grouping:
    """The groups (each a tuple of (string, coefficient)), which are read how, and the identity's coefficient.

    variance: N times the variance expected of N shots, for every scheme looked at.
    """

    scheme: Scheme
    groups: tuple[Terms, ...]
    constant: float
    variance: dict[str, float]

    def __str__(self) -> str:
        others = ", ".join(f"{k} {v:.4g}" for k, v in self.variance.items() if k != self.scheme)
        count = sum(map(len, self.groups))
        how = (
            f"{count_of(count, 'term')} drawn by weight"
            if self.scheme == "sampled"
            else f"{count_of(count, 'term')} in {len(self.groups)} {self.scheme.replace('_', '-')} groups"
        )
        return f"{how}: variance {self.variance[self.scheme]:.4g} per shot" + (f" ({others})" if others else "")


def group(
    observable: PauliSum, scheme: Scheme | Literal["auto"] = "auto", clifford: stim.Tableau | None = None
) -> Grouping:
    """Group the terms by one scheme, or by the one that is expected to need the fewest shots.

    clifford: C of the model whose absorbed observable this is (`model.clifford`); None: the strings are read as they
    stand.
    """
    if scheme != "auto" and scheme not in SCHEMES:
        raise QupropError(f"grouping is auto, {', '.join(SCHEMES)}, got {scheme!r}; {nearest(str(scheme), SCHEMES)}")
    terms = [(p, c) for p, c in observable.items() if p.weight]
    constant = sum(c for p, c in observable.items() if not p.weight)
    asked = SCHEMES if scheme == "auto" else (scheme,)
    found: dict[str, tuple[Terms, ...]] = {}
    variance: dict[str, float] = {}
    for name in asked:
        if name == "sampled":
            found[name] = (tuple(terms),) if terms else ()
            variance[name] = sum(abs(c) for _, c in terms) ** 2
        else:
            found[name] = qubit_wise(terms, clifford) if name == "qubit_wise" else _commuting(terms)
            variance[name] = sum(math.sqrt(sum(c * c for _, c in g)) for g in found[name]) ** 2
    best = min(asked, key=lambda name: (round(variance[name], 12), asked.index(name)))
    return Grouping(best, found[best], constant, variance)


# Both put the largest coefficients first, each into the first group it fits (sorted insertion: Crawford et al., Quantum
# 5, 385 (2021), arXiv:1908.06942).


def _commuting(terms: Sequence[tuple[PauliString, float]]) -> tuple[Terms, ...]:
    groups: list[list[tuple[PauliString, float]]] = []
    for string, coefficient in sorted(terms, key=lambda t: -abs(t[1])):
        home = next((g for g in groups if all(string.commutes(p) for p, _ in g)), None)
        if home is None:
            groups.append(home := [])
        home.append((string, coefficient))
    return tuple(map(tuple, groups))


def qubit_wise(terms: Sequence[tuple[PauliString, float]], clifford: stim.Tableau | None) -> tuple[Terms, ...]:
    groups: list[list[tuple[PauliString, float]]] = []
    bases: list[tuple[int, int]] = []  # of each group: the letters read, as masks
    for string, coefficient in sorted(terms, key=lambda t: -abs(t[1])):
        x, z = string.x, string.z
        if clifford is not None:
            x, z, _ = conjugate(clifford, len(clifford), x, z)
        for k, (gx, gz) in enumerate(bases):
            both = (x | z) & (gx | gz)
            if (x ^ gx) & both == 0 and (z ^ gz) & both == 0:
                groups[k].append((string, coefficient))
                bases[k] = gx | x, gz | z
                break
        else:
            groups.append([(string, coefficient)])
            bases.append((x, z))
    return tuple(map(tuple, groups))
