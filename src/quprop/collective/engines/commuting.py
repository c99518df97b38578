"""Commuting families of events: the exact joint law at any number of copies, from k classical bit strings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import stim

from quprop.collective.check import Check
from quprop.collective.event import Event, hermitian
from quprop.collective.protocol import Batch, copy_state
from quprop.errors import QupropError, generator_of
from quprop.model.absorption import conjugate
from quprop.model.pauli import PauliString
from quprop.simulate import memory
from quprop.simulate.vectors import apply_clifford, signs

_CLIFFORD_TOLERANCE = 1e-12  # an angle this close to a multiple of pi/2 counts as one
_WIDEST = 62  # qubits of a bit string in an int64


@dataclass(frozen=True)
class CommutingEngine:
    """k strings are drawn once; every count is then a classical number, and a check passes with probability 1 - f(S).

    If all events are diagonal in one basis, so are all Kraus operators, and the joint law of all answers is that of
    measuring every copy in this basis beforehand: the classical adaptive data analysis problem. No approximation.

    `family` are commuting Pauli strings; their joint basis is the one that is drawn in, and events are products of
    them. An empty family is the computational basis: all strings of Z.

    Accepted is every event that, taken back through the rotations since the copies were prepared, is up to its sign a
    product of the family. Rotations by multiples of pi/2 are Cliffords, and take any event to an event. A rotation by
    another angle must commute with every event that follows it (each taken back to the start); then it changes none of
    them.

    `probability` is the binomial one before the strings are drawn, and afterwards f(S) of the strings there are: what
    the next check does, not its average over batches. The strings are drawn at the first `check`, by its generator.
    """

    family: tuple[PauliString, ...] = ()

    name: ClassVar[str] = "commuting"
    exact_for: ClassVar[str] = "commuting families of Pauli events, any number of copies"

    def __post_init__(self) -> None:
        for p in self.family:
            hermitian(p, _WIDEST)
        for i, p in enumerate(self.family):
            for q in self.family[:i]:
                if not p.commutes(q):
                    raise QupropError(
                        f"the strings of `family` must commute with each other, got {q} and {p}; the symmetric and "
                        "product_sum engines take events that do not commute"
                    )

    def prepare(self, state: np.ndarray, k: int) -> CommutingCopies:
        """k copies of the normalised state (2^n,)."""
        vector, n, k = copy_state(state, k)
        memory.require(self.required_bytes(n, k), f"{k:,} strings of {n} qubits", "the null engine needs no strings")
        return CommutingCopies(n, k, _diagonaliser(tuple(self.family), n), state=vector)

    def prepare_strings(self, strings: np.ndarray, n: int) -> CommutingCopies:
        """A batch of which the strings are known: int64 masks (k,) in the basis of the family, n up to 62.

        Bit q is 1 where the q-th generator of the family's group (Z of qubit q for the computational basis) is -1.
        """
        masks = np.array(strings, np.int64)
        if masks.ndim != 1 or not len(masks) or not 1 <= n <= _WIDEST or masks.min() < 0 or int(masks.max()) >> n:
            raise QupropError(
                f"`strings` must be a row of masks of n = 1 to {_WIDEST} bits, got shape {masks.shape} and n = {n}"
            )
        return CommutingCopies(n, len(masks), _diagonaliser(tuple(self.family), n), strings=masks)

    def required_bytes(self, n: int, k: int) -> int:
        """Vectors while drawing, strings, and one parity for each."""
        return 5 * 16 * 2**n + 24 * k


class CommutingCopies(Batch):
    name = "commuting"

    def __init__(
        self,
        n: int,
        k: int,
        basis: stim.Tableau,
        *,
        state: np.ndarray | None = None,
        strings: np.ndarray | None = None,
    ) -> None:
        super().__init__(n, k)
        self._basis = basis  # D with D P D† diagonal for the family
        self._back = stim.Tableau(n)  # T(P) = C† P C for the Clifford rotations C so far
        self._passed: list[tuple[int, int]] = []  # other rotations, taken back to the start: masks, independent
        self._reduced: dict[int, int] = {}  # the same in echelon form
        self._strings = strings
        self._law: np.ndarray | None = None
        if state is not None:
            turned = apply_clifford(basis, state)
            self._law = turned.real**2 + turned.imag**2
            self._law /= self._law.sum()

    @property
    def strings(self) -> np.ndarray | None:
        """The drawn strings (k,), masks in the basis of the family; None before the first check."""
        return self._strings

    def _rotate(self, pauli: PauliString, angle: float) -> None:
        turns = angle / (math.pi / 2)
        if abs(turns - round(turns)) * math.pi / 2 <= _CLIFFORD_TOLERANCE:
            for _ in range(round(turns) & 3):
                self._back.prepend(_quarter_back(pauli, self.n), range(self.n))
            return
        x, z, _ = conjugate(self._back, self.n, pauli.x, pauli.z)
        row = x << self.n | z
        while row and row.bit_length() in self._reduced:
            row ^= self._reduced[row.bit_length()]
        if row:
            self._reduced[row.bit_length()] = row
            self._passed.append((x, z))

    def _diagonal(self, event: Event) -> tuple[int, float]:
        """(mask, sign) of the event's string in the basis that is drawn in, sign Z^mask; refuses what has none."""
        if event.pauli is None:
            raise QupropError(
                "the commuting engine asks Pauli events, got a dense one; the null and mean_field engines take any"
            )
        pauli = event.pauli
        x, z, sign = conjugate(self._back, self.n, pauli.x, pauli.z)
        for other_x, other_z in self._passed:
            if ((x & other_z).bit_count() + (z & other_x).bit_count()) & 1:
                raise QupropError(
                    f"the event {pauli} does not commute with a rotation before it that is no Clifford; the symmetric "
                    "and product_sum engines take any rotation"
                )
        x, z, turn = conjugate(self._basis, self.n, x, z)
        if x:
            raise QupropError(
                f"the event {pauli} is not diagonal in the basis of this batch; put its commuting strings in `family`, "
                "or use the symmetric or product_sum engine"
            )
        return z, sign * turn * pauli.sign

    def _mean(self, event: Event) -> float:
        mask, sign = self._diagonal(event)
        if self._law is not None:
            return float(np.clip((1 + sign * (self._law @ signs(len(self._law), mask))) / 2, 0.0, 1.0))
        return self._count(mask, sign) / self.k

    def _count(self, mask: int, sign: float) -> int:
        assert self._strings is not None
        odd = int(np.count_nonzero(np.bitwise_count(self._strings & mask) & 1))
        return self.k - odd if sign > 0 else odd

    def _trigger(self, check: Check) -> tuple[float, float]:
        mask, sign = self._diagonal(check.event)
        if self._strings is None:
            return check.probability(self.k, self._mean(check.event)), 0.0
        return float(check.trigger(np.array(self._count(mask, sign)), self.k)), 0.0

    def check(self, check: Check, rng: np.random.Generator, *, spend: bool = True) -> bool:
        rng = generator_of(rng)
        self._unspent()
        self._diagonal(check.event)
        self._draw(rng)
        return super().check(check, rng, spend=spend)

    def survive(self, check: Check, *, triggered: bool = False) -> float:
        if self._strings is None:
            raise QupropError(
                "the commuting engine cannot go on in one branch before its strings are drawn; call `check` "
                "with a generator, or use the symmetric engine"
            )
        return super().survive(check, triggered=triggered)

    def _draw(self, rng: np.random.Generator) -> None:
        if self._strings is None:
            assert self._law is not None
            self._strings = rng.choice(len(self._law), self.k, p=self._law).astype(np.int64)

    def _moved(self, check: Check, triggered: bool, probability: float) -> None:
        pass  # the strings are what they are

    def read(self, event: Event, noise: float, rng: np.random.Generator) -> float:
        rng = generator_of(rng)
        self._unspent()
        self._diagonal(event)
        self._draw(rng)
        return super().read(event, noise, rng)

    def _read(self, event: Event, noise: float, rng: np.random.Generator) -> float:
        return self._count(*self._diagonal(event)) + noise * rng.standard_normal()


@lru_cache(maxsize=64)
def _diagonaliser(family: tuple[PauliString, ...], n: int) -> stim.Tableau:
    """D with D P D† a string of Z, up to sign, for every P of the commuting family."""
    for p in family:
        hermitian(p, n)
    chosen: list[PauliString] = []
    rows: dict[int, int] = {}
    for p in family:
        row = p.x << n | p.z
        while row and row.bit_length() in rows:
            row ^= rows[row.bit_length()]
        if row:
            rows[row.bit_length()] = row
            chosen.append(PauliString(p.x, p.z))
    if not chosen:
        return stim.Tableau(n)
    generators = [stim.PauliString(p.dense(n)) for p in chosen]
    return stim.Tableau.from_stabilizers(generators, allow_underconstrained=True).inverse()


def _quarter_back(pauli: PauliString, n: int) -> stim.Tableau:
    """The tableau of R† . R's inverse for R = exp(-i pi/4 P): what `prepend` takes to put R† . R in front."""
    circuit = stim.Circuit()
    product: list[stim.GateTarget] = []
    for q in pauli.qubits:
        letter = "X" if not pauli.z >> q & 1 else "Y" if pauli.x >> q & 1 else "Z"
        product += [stim.target_pauli(q, letter), stim.target_combiner()]
    if product:
        circuit.append("SPP_DAG", product[:-1])
    circuit.append("I", [n - 1])
    return circuit.to_tableau()
