"""Light cones: exact values and derivatives of models that are too wide for a state, a term at a time.

A term of an observable depends on the rotations of its cone only (`model/commutation.py`), and these move the input
state |b> within b + span{x masks}: as many qubits as the masks have rank are enough, however many the strings act on.
In coordinates c of the span the input is |0...0>, and a string is one on the pivots of the masks' basis,

    i^|x&z| X^x Z^z  ->  s i^|x'&z'| X^x' Z^z',   x' the coordinates of x,  z'_i = z . basis_i,
    s = (-1)^(z.b + (|x&z| - |x'&z'|)/2).

Terms with equal cones share a small model, and cones that are the same in these coordinates (those of a chain, moved
along it) are its batch. The angles are the small models' parameters, so that each is planned once for all of them.
A cone that is too wide by qubits that stay classical is a mixture of small ones (`mixture.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import numpy as np
import scipy.sparse as sp

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.channels import DENSITY, refuse_channels
from quprop.model.circuit import Circuit
from quprop.model.commutation import Columns, bits, generators, light_cone
from quprop.model.pauli import PauliString
from quprop.simulate.engine import Arrays, made, no_jet
from quprop.simulate.mixture import Mixtures
from quprop.simulate.state_vector.native import NativeEngine

MOST_QUBITS = 34  # of a cone: beyond, no machine holds its state
NARROW = 10  # qubits of a cone that is cheap as it is


class _TooWide(Exception):
    pass


class Span:
    """The span of x masks over GF(2), with a reduced basis: a pivot qubit is in no other basis mask."""

    def __init__(self, most: int) -> None:
        self._basis: dict[int, int] = {}  # pivot -> mask
        self._most = most

    def add(self, mask: int) -> None:
        mask = self._reduced(mask)
        if not mask:
            return
        if len(self._basis) == self._most:
            raise _TooWide
        pivot = (mask & -mask).bit_length() - 1
        for other, basis in self._basis.items():
            if basis >> pivot & 1:
                self._basis[other] = basis ^ mask
        self._basis[pivot] = mask

    @classmethod
    def of(cls, strings: Sequence[PauliString], most: int) -> Span | None:
        """Of these strings' x masks; None if it is too wide."""
        made = cls(most)
        try:
            for p in strings:
                made.add(p.x)
        except _TooWide:
            return None
        return made

    def _reduced(self, mask: int) -> int:
        for pivot, basis in self._basis.items():
            if mask >> pivot & 1:
                mask ^= basis
        return mask

    def __len__(self) -> int:
        return len(self._basis)

    def coordinates(self, p: PauliString, start: int) -> tuple[int, int, int] | None:
        """x', z' and the sign of a string, the input being |start>; None if it leaves the span."""
        if self._reduced(p.x):
            return None
        x = z = 0
        for i, pivot in enumerate(sorted(self._basis)):
            x |= (p.x >> pivot & 1) << i
            z |= ((p.z & self._basis[pivot]).bit_count() & 1) << i
        turns = 2 * (p.z & start).bit_count() + (p.x & p.z).bit_count() - (x & z).bit_count()
        return x, z, 1 - (turns & 2)


@dataclass(frozen=True)
class Part:
    """A small model of n qubits with a parameter for each of its m rotations and an observable for each of its S
    strings; G cones are like it. rotations (G, m): which of the model's they are; signs (G, m) of their angles; terms
    (G, S) and term_signs (G, S); weight (G,): which weight of a mixture they have, 0 for 1."""

    model: Model
    rotations: np.ndarray
    signs: np.ndarray
    terms: np.ndarray
    term_signs: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Cones:
    """coefficients (K, T) of the model's T different strings; known (T,): the values of those that no rotation reaches
    and 0 for all others; fixed (F,): angles of the rotations that prepare a product state, in front of the model's."""

    coefficients: sp.csr_array
    known: np.ndarray
    parts: tuple[Part, ...]
    fixed: np.ndarray
    mixtures: Mixtures

    @cached_property
    def qubits(self) -> int:
        """Of the widest cone."""
        return max((p.model.n_qubits for p in self.parts), default=0)

    @property
    def count(self) -> int:
        return sum(len(p.rotations) for p in self.parts)

    @property
    def updates(self) -> int:
        """Amplitudes that one sweep over all rotations of all cones turns."""
        return sum(p.rotations.size << p.model.n_qubits for p in self.parts)


def cones_of(model: Model, most: int = MOST_QUBITS, *, mixed: bool = True) -> Cones:
    """The light cones of all terms; QupropError if one needs more than `most` qubits. mixed: whether cones of more than
    `NARROW` qubits may become mixtures of smaller ones."""
    strings, start, fixed = _from_basis_state(model)
    columns = Columns(strings)
    rows: dict[int, int] = {}
    index: dict[PauliString, int] = {}
    entries = [(k, index.setdefault(p, len(index)), c) for k, o in enumerate(model.observables) for p, c in o.items()]
    of, terms_of, values = zip(*entries, strict=True) if entries else ((), (), ())
    coefficients = sp.csr_array((np.array(values, float), (of, terms_of)), (model.n_observables, len(index)))
    known = np.zeros(len(index))
    shared: dict[Any, tuple[Span | None, list[tuple[PauliString, int]]]] = {}
    mixtures = Mixtures(strings, start)

    def row_of(m: int) -> int:
        if m not in rows:
            rows[m] = columns.row(strings[m])
        return rows[m]

    for term, t in index.items():
        own_span = Span(most)

        def row(m: int, span: Span = own_span) -> int:
            span.add(strings[m].x)
            return row_of(m)

        try:
            cone = light_cone(row, columns.row(term))
        except _TooWide:
            shared[t, term] = None, [(term, t)]
            continue
        if cone:
            shared.setdefault(cone, (own_span, []))[1].append((term, t))
        elif not term.x:
            known[t] = 1 - 2 * ((term.z & start).bit_count() & 1)
    alike: dict[Any, list[tuple[Any, ...]]] = {}
    span: Span | None
    for cone, (span, terms) in shared.items():
        members = [] if span is None else bits(cone)
        own = [strings[m] for m in members]
        outcomes: list[tuple[int, tuple[int, ...]]] = [(0, ())]
        groups: list[tuple[np.ndarray, int]] = []
        if span is None or (mixed and len(span) > NARROW and len(terms) == 1):
            reduced = narrow = None
            if mixed:  # the first rotations of a qubit meet none that are not
                late = light_cone(lambda m: row_of(m) & mixtures.late, columns.row(terms[0][0]) & mixtures.late)
                reduced = mixtures.reduced(bits(late), terms[0][0])
            if reduced is not None:
                narrow = Span.of(reduced.strings[:-1], most)
            if reduced is not None and narrow is not None and _spares(span, narrow, len(reduced.groups)):
                members, groups, span = reduced.members, reduced.groups, narrow
                own, terms = reduced.strings[:-1], [(reduced.strings[-1], terms[0][1])]
                outcomes = mixtures.add([ids for ids, _ in groups])
            elif span is None:
                raise QupropError(f"a term has a light cone of more than {most} qubits")
        turned = [span.coordinates(p, start) for p in own]
        read = [(c, t, i) for i, (p, t) in enumerate(terms) if (c := span.coordinates(p, start)) is not None]
        if not read:  # they leave the states that are reached
            continue
        read.sort()
        key = max(len(span), 1), tuple(r[:2] for r in turned if r), tuple(r[0][:2] for r in read)
        for weight, b in outcomes:
            flips = 0
            for (_, where), outcome in zip(groups, b, strict=True):
                flips ^= where * outcome
            signs = [r[2] * (1 - 2 * (flips >> i & 1)) for i, r in enumerate(turned) if r]
            term_signs = [r[0][2] * (1 - 2 * (flips >> (len(members) + r[2]) & 1)) for r in read]
            alike.setdefault(key, []).append((members, signs, [r[1] for r in read], term_signs, weight))
    parts = [Part(_small(*key), *map(np.array, zip(*cones, strict=True))) for key, cones in alike.items()]
    return Cones(coefficients, known, tuple(parts), fixed, mixtures)


def _spares(span: Span | None, narrow: Span, groups: int) -> bool:
    return span is None or len(narrow) + groups < len(span)


def supports(model: Model, strings: Sequence[PauliString]) -> list[int]:
    """The qubits that each string and the rotations of its light cone act on, as bits."""
    rotations = generators(model)
    columns, found = Columns(rotations), []
    for p in strings:
        mask = p.x | p.z
        for m in bits(light_cone(lambda m: columns.row(rotations[m]), columns.row(p))):
            mask |= rotations[m].x | rotations[m].z
        found.append(mask)
    return found


def _from_basis_state(model: Model) -> tuple[list[PauliString], int, np.ndarray]:
    """The strings of all rotations, the F that make a product state of |start> first; start; their angles (F,)."""
    refuse_channels(model, "an engine of light cones", DENSITY)
    own = generators(model)
    state = model.state
    if state.kind == "basis":
        return own, state.index, np.zeros(0)
    if state.kind != "product":
        raise QupropError(
            f"light cones start from basis and product states, and this model from {state.text(model.n_qubits)}"
        )
    start, strings, angles = 0, [], []
    for q, (zero, one) in enumerate(state.array):
        if not zero:
            start |= 1 << q
        elif one:  # RZ RY |0>, up to a phase
            strings += [PauliString(1 << q, 1 << q), PauliString(0, 1 << q)]
            angles += [2 * math.atan2(abs(one), abs(zero)), float(np.angle(one) - np.angle(zero))]
    return strings + own, start, np.array(angles)


def _small(n: int, rotations: Sequence[tuple[int, int]], read: Sequence[tuple[int, int]]) -> Model:
    angle = params("angle", len(rotations))
    circuit = Circuit(n, params=angle)
    for (x, z), a in zip(rotations, angle, strict=True):
        circuit.rotation(PauliString(x, z), a)
    return Model(circuit, [PauliString(x, z) for x, z in read])


class LightConeEngine:
    """Exact values, gradients and Hessian-vector products from the light cone of every term; see the module.

    precision and threads are those of the engine that simulates the cones (`NativeEngine`).
    """

    name = "lightcone"

    def __init__(self, precision: str = "double", threads: int | None = None) -> None:
        self.precision = precision
        self._inner = made(NativeEngine, precision, threads)
        self.threads = self._inner.threads
        self._known: dict[bool, WeakKeyDictionary[Model, Cones]] = {m: WeakKeyDictionary() for m in (True, False)}

    def __repr__(self) -> str:
        return f"LightConeEngine({self.precision!r}, threads={self.threads})"

    def cones(self, model: Model, mixed: bool = True) -> Cones:
        """Those of values and gradients; without mixtures those of Hessian-vector products."""
        found = self._known[mixed].get(model)
        if found is None:
            found = self._known[mixed][model] = cones_of(model, mixed=mixed)
        return found

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        cones = self.cones(model)
        angles = self._angles(model, cones, theta, x)
        mixed = cones.mixtures.at(angles).weights
        strings = np.tile(cones.known, (len(angles), 1)).T
        for part in cones.parts:
            found = self._inner.values(part.model, *_of_cones(part, angles))
            found = found.reshape(len(part.terms), len(angles), -1) * part.term_signs[:, None, :]
            np.add.at(strings, part.terms, (found * mixed.T[part.weight][:, :, None]).transpose(0, 2, 1))
        return strings.T @ cones.coefficients.T

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        value, slopes, _ = self._swept(model, theta, x, weights)
        return value, model.angle_table.pullback(slopes, theta, x)[0]

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        theta, x = theta.copy(), x.copy()  # a caller may go on with its arrays before it pulls back

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            _, slopes, _ = self._swept(model, theta, x, cotangent)
            d_theta, d_x = model.angle_table.pullback(slopes, theta, x)
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return self.values(model, theta, x), pullback

    jet = state_jet = no_jet

    def hvp(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        cotangent: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """d_theta, d_x of cotangent . values, and their derivatives h_theta, h_x along (v_theta, v_x)."""
        table = model.angle_table
        _, slopes, curved = self._swept(model, theta, x, cotangent, table.pushforward(theta, x, v_theta, v_x))
        first = table.pullback(slopes, theta, x)
        second = zip(
            table.pullback(curved, theta, x), table.pullback_tangent(slopes, theta, x, v_theta, v_x), strict=True
        )
        h_theta, h_x = (a + b for a, b in second)
        return *first, h_theta, h_x

    def _swept(
        self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray, along: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """weights . values (B,), its derivatives by the angles (B, M), and those of these along `along` (B, M)."""
        cones = self.cones(model, mixed=along is None)
        angles = self._angles(model, cones, theta, x)
        batch, first = len(angles), len(cones.fixed)
        of_terms = np.broadcast_to(weights @ cones.coefficients, (batch, len(cones.known)))
        value = of_terms @ cones.known
        slopes = np.zeros((2, angles.shape[1], batch))
        mixed = cones.mixtures.at(angles)
        d_mixed = np.zeros_like(mixed.weights)
        for part in cones.parts:
            own, none = _of_cones(part, angles)
            w = (of_terms[:, part.terms] * part.term_signs).transpose(1, 0, 2).reshape(len(own), -1)
            if along is None:
                found, *turned = self._inner.value_and_grad(part.model, own, none, w)
                found, weight = found.reshape(-1, batch), mixed.weights.T[part.weight]
                value += (found * weight).sum(axis=0)
                np.add.at(d_mixed.T, part.weight, found)
                turned = [turned[0] * weight.reshape(-1, 1)]
            else:
                moved = np.hstack([np.zeros((len(along), first)), along])
                v, v_none = _of_cones(part, np.broadcast_to(moved, angles.shape))
                d, _, h, _ = self._inner.hvp(part.model, own, none, w, v, v_none)
                turned = [d, h]
            for total, t in zip(slopes, turned, strict=False):
                signed = t.reshape(len(part.rotations), batch, -1) * part.signs[:, None, :]
                np.add.at(total, part.rotations, signed.transpose(0, 2, 1))
        if cones.mixtures.cones:
            slopes[0] += cones.mixtures.pullback(mixed, angles, d_mixed).T
        return value, slopes[0, first:].T, slopes[1, first:].T

    def _angles(self, model: Model, cones: Cones, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        angles = model.angle_table.evaluate(theta, x)
        return np.hstack([np.broadcast_to(cones.fixed, (len(angles), len(cones.fixed))), angles])

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> NoReturn:
        self._refuse(model)

    def state_vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> NoReturn:
        self._refuse(model)

    def tangents(self, model: Model, theta: np.ndarray, x: np.ndarray, directions: np.ndarray) -> NoReturn:
        self._refuse(model)

    def _refuse(self, model: Model) -> NoReturn:
        raise QupropError(
            f"light cones give expectation values and their derivatives, not the state of {model.n_qubits:,} qubits; "
            'take engine="native"'
        )

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes needed for "values", "value_and_grad", "vjp" or "hvp" of a batch: the widest cone's, and the angles."""
        if what not in ("values", "value_and_grad", "vjp", "hvp"):
            self._refuse(model)
        cones = self.cones(model, mixed=what != "hvp")
        needed = [self._inner.memory(p.model, batch * len(p.rotations), what) for p in cones.parts]
        numbers = batch * (4 * (model.n_rotations + len(cones.fixed)) + 2 * len(cones.known))
        return (
            max(needed, default=0) + 8 * numbers + max((64 * batch * p.rotations.size for p in cones.parts), default=0)
        )


def _of_cones(part: Part, angles: np.ndarray) -> Arrays:
    """Parameters (G B, m) of a part's small model, cone after cone, and its inputs: none."""
    own = (angles[:, part.rotations] * part.signs).transpose(1, 0, 2)
    return np.ascontiguousarray(own.reshape(-1, part.rotations.shape[1])), np.empty((1, 0))
