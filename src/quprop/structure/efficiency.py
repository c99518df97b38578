"""Gradient measurement efficiency against expressivity (Chinzei et al., arXiv:2406.18316).

F_eff is the mean number of derivatives that one projective measurement of the state gives, in the limit of deep
circuits; X_exp is the dimension of the dynamical Lie algebra. They cannot both be large:
X_exp <= 4^n / F_eff - F_eff, and X_exp >= F_eff.

What is computed here. The derivative with respect to angle j is the expectation, in the input state, of
Gamma_j = U_j† (i/2) [G_j, W† H W] U_j, with U_j the rotations up to j and W those after it. Two derivatives are
simultaneously measurable when Gamma_j and Gamma_k commute for all angles, and they do
(a) when j and k anticommute with the same later rotations (of those H depends on) and with the same terms of H: then
    Gamma_j = (i/2) (B - A) G_j with A = W† H W and B = G_j A G_j, B is the same for k, G_k exchanges A and B as well,
    and Gamma_j Gamma_k = (B - A)^2 G_j G_k / 4 in either order;
(b) when H is one Pauli string and no chain of anticommuting rotations links j and k: then W† H W is H times a factor of
    each side, and the two Gammas commute.
Both are derived here. That nothing else commutes for all angles in a deep circuit with one Pauli string is inferred,
and agrees with dense matrices in the tests; near the end of a circuit a few pairs more may commute, and for a sum of
strings F_eff is a lower bound. The bounds follow from (a), as the products G_j G_k of a group generate an abelian group
of at least F_eff strings that all generators and H commute with; with (b) they are only tested.

`quprop.structure.readout` reads more in one circuit than F_eff counts: both halves of a block that H meets differently,
with the help of an ancilla. Their Gammas anticommute; it is not a projective measurement of the state alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.commutation import (
    after,
    anticommutation,
    bits,
    driven,
    generators,
    light_cone,
    preparation,
)
from quprop.model.pauli import PauliString
from quprop.structure.algebra import dla_dimension, expressivity_bound
from quprop.structure.blocks import check_observable


@dataclass(frozen=True)
class Efficiency:
    """F_eff and X_exp of a model and one observable; prints as one line.

    components, groups: derivatives, and groups of simultaneously measurable ones, in one repetition of the model's
    rotations in the middle of many (f_eff = components / groups). Rotations about one string that can be merged count
    once, and rotations that never reach the observable do not count. finite_components, finite_groups: the same for the
    circuit as it stands, once.
    x_exp: dimension of the dynamical Lie algebra of the rotations that count. bound: 4^n / f_eff - f_eff.
    All of these take every rotation as driven by a parameter of its own, as the paper does; where rotations share
    parameters, `dla_dimension(model)` is the dimension that is reached.
    exact: False for a sum of Pauli strings, where f_eff is a lower bound.
    """

    n_qubits: int
    components: int
    groups: int
    finite_components: int
    finite_groups: int
    x_exp: int
    exact: bool

    @property
    def f_eff(self) -> float:
        return self.components / self.groups

    @property
    def finite(self) -> float:
        """Derivatives per measurement of the circuit as it stands, with no repetition: not limited by the bound."""
        return self.finite_components / self.finite_groups

    @property
    def bound(self) -> float:
        return expressivity_bound(self.n_qubits, self.f_eff)

    @property
    def saturated(self) -> bool:
        return math.isclose(self.x_exp, self.bound, rel_tol=1e-12)

    def __str__(self) -> str:
        about = "" if self.exact else ">= "
        state = "saturated" if self.saturated else "not saturated"
        return (
            f"F_eff {about}{self.f_eff:g} ({self.components} derivatives in {self.groups} groups; as it stands "
            f"{self.finite:g}), X_exp = {self.x_exp} <= 4^{self.n_qubits}/F_eff - F_eff = {self.bound:g}, {state}"
        )


def measurement_efficiency(model: Model, observable: int = 0) -> float:
    """F_eff of the model's rotations, repeated for ever, and one of its observables; see `Efficiency`."""
    circuit = _Reached(model, observable)
    return circuit.deep[0] / circuit.deep[1]


def efficiency_report(model: Model, observable: int = 0, *, limit: int | None = None) -> Efficiency:
    """F_eff and X_exp of a model and one of its observables. limit: as in `dynamical_lie_algebra`."""
    reached = _Reached(model, observable)
    return Efficiency(
        model.n_qubits, *reached.deep, *reached.finite, dla_dimension(reached.strings, limit=limit), reached.single
    )


class _Reached:
    """The rotations of a model, those left out that only prepare the state or, however often all are repeated, do not
    reach the observable."""

    strings: list[PauliString]
    single: bool  # the observable is one Pauli string
    deep: tuple[int, int]  # derivatives and groups of one repetition of many
    finite: tuple[int, int]  # of the circuit as it stands

    def __init__(self, model: Model, observable: int) -> None:
        if not isinstance(model, Model):
            raise QupropError(f"the efficiency is that of a quprop Model, got {type(model).__name__}; build one")
        terms = [p for p, _ in model.observables[check_observable(model, observable)].items() if p.weight]
        self.single = len(terms) == 1
        strings = generators(model)
        rows = anticommutation(strings, strings)
        trained = driven(model)
        behind = ~preparation(rows, trained) & ((1 << len(rows)) - 1)
        meets = anticommutation(strings, terms)  # which terms each rotation anticommutes with

        keep = 0
        self._part: dict[int, int] = {}  # rotation -> which linked part of them, those of a sum all in one
        for part, members in enumerate(_linked(rows, behind)):
            if any(meets[m] for m in bits(members)):
                keep |= members
                self._part |= dict.fromkeys(bits(members), part if self.single else 0)
        if not keep & trained:
            raise QupropError(
                "F_eff is a mean over derivatives, but no trained rotation of this model reaches the observable; "
                "choose another observable"
            )
        self.strings = [strings[m] for m in bits(keep)]

        touched = anticommutation(terms, strings)
        cone = 0
        for t in touched:
            cone |= light_cone(rows.__getitem__, t)
        self.deep = self._repeated(strings, rows, meets, keep, trained)
        self.finite = self._once(rows, meets, cone, trained)

    def _repeated(
        self, strings: Sequence[PauliString], rows: Sequence[int], meets: Sequence[int], keep: int, trained: int
    ) -> tuple[int, int]:
        """Derivatives and groups of one repetition. A group's rotations have equal rows, and no rotation that
        anticommutes with them stands in between, going round from the last to the first."""
        alike: dict[tuple[int, int], list[int]] = {}
        for j in bits(keep & trained):
            alike.setdefault((rows[j] & keep, meets[j]), []).append(j)
        components, groups = 0, dict.fromkeys(self._part.values(), 0)
        for (row, _), members in alike.items():
            runs: dict[int, set[PauliString]] = {}
            for j in members:
                before = (row & ((1 << j) - 1)).bit_count()  # how many anticommuting ones stand before j
                runs.setdefault(before % max(1, row.bit_count()), set()).add(strings[j])
            components += sum(map(len, runs.values()))
            groups[self._part[members[0]]] += len(runs)
        return components, max(groups.values())

    def _once(self, rows: Sequence[int], meets: Sequence[int], cone: int, trained: int) -> tuple[int, int]:
        alive = bits(cone & trained)
        groups: dict[int, set[tuple[int, int]]] = {}
        for j in alive:
            groups.setdefault(self._part[j], set()).add((after(rows[j], j) & cone, meets[j]))
        return len(alive), max(map(len, groups.values()), default=1)


def _linked(rows: Sequence[int], members: int) -> list[int]:
    """The connected parts of the anticommutation graph on `members`, as bits."""
    parts = []
    while members:
        part, edge = 0, members & -members
        while edge:
            part |= edge
            reached = 0
            for m in bits(edge):
                reached |= rows[m]
            edge = reached & members & ~part
        parts.append(part)
        members &= ~part
    return parts
