"""A commuting model as functions of signs.

If all rotations R_g = exp(-i a_g P_g / 2) commute, they are diagonal together: with generators B_1, ..., B_r of their
group, P_g = +- prod_{i in g} B_i, and in the input state, a stabiliser state, the B_i take the value of uniform signs
s_i, or of fixed ones (those that stabilise it, up to sign). A string O moved through the rotations meets those it
anticommutes with twice, U† O U = prod_{g: |g & f| odd} exp(i a_g P_g) O, f the generators it anticommutes with, and
O|phi> = c prod_{i in q} B_i |phi>, or O leads out of the group and its value is 0. So

    <O> = E_s Re[c chi_q(s) exp(i phi_f(s))],   phi_f = sum_{g: |g & f| odd} a_g sigma_g chi_g(s).

For an IQP circuit (products of X on a basis state) the signs are those of the qubits, and Z_a has f = a, q empty.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import stim
from scipy.sparse import csr_array

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.absorption import conjugate
from quprop.model.channels import DENSITY, refuse_channels
from quprop.model.pauli import PauliString, bits
from quprop.model.x_rotations import Subsets, XRotations

_LARGE = 16.0  # of an angle: more than a turn of 4 pi


class Seen(NamedTuple):
    """What a string O comes to: E Re[phase chi_prefix exp(i phi_flip)]; with a phase of 0 its value is exactly 0."""

    flip: tuple[int, ...]
    prefix: tuple[int, ...]
    phase: complex


class CommutingForm:
    """The signs, gates and strings of a commuting model; a model that does not commute is refused.

    n: signs; fixed (n,): 0 for a uniform sign, else its value; gates: subsets of signs; sign (M,): sigma_g.
    """

    def __init__(self, model: Model) -> None:
        self._clifford = model.clifford  # and not the model, beside which the form is kept
        refuse_channels(model, "an engine of commuting rotations", DENSITY)
        rotations = model.rotations
        if is_iqp(model):
            self.n = model.n_qubits
            self.plain = True
            self.gates = rotations.subsets if isinstance(rotations, XRotations) else Subsets.of_masks(model.x_masks)
            self.sign = np.ones(len(self.gates))
            self.fixed = np.zeros(self.n, np.int8)
            self._index = model.state.index
            return
        self.plain = False
        self._stabilisers = _stabilisers(model)
        self._reduce(model)

    @classmethod
    def of(cls, model: Model) -> CommutingForm:
        """Made once a model."""
        found = _kept.get(model)
        if found is None:
            found = _kept[model] = cls(model)
        return found

    def seen(self, string: PauliString) -> Seen:
        """A string of the model's observables (after absorption)."""
        x, z = string.x, string.z
        if self.plain:
            turns = (x & z).bit_count() + 2 * (z & self._index).bit_count()
            return Seen(tuple(bits(z)), tuple(bits(x)), 1j ** (turns % 4))
        flip = tuple(i for i, b in enumerate(self._basis) if not string.commutes(b))
        rest, prefix = string, 0
        commutation = self._meets(string)
        for pivot, row, combination in self._rows:
            if commutation >> pivot & 1:
                commutation ^= row
                prefix ^= combination
        if commutation:
            return Seen(flip, (), 0.0)
        for i in bits(prefix):
            rest = self._basis[i] * rest
        # O = prod B_i rest, the B_i in any order since they commute, and rest is a number on the input state.
        return Seen(flip, tuple(bits(prefix)), self._value(rest))

    def _meets(self, string: PauliString) -> int:
        """Which one-qubit stabilisers of the input it anticommutes with, as bits."""
        return sum(1 << q for q, (s, _) in enumerate(self._stabilisers) if not string.commutes(s))

    def _value(self, string: PauliString) -> complex:
        """A string that commutes with all one-qubit stabilisers is their product up to a phase: its value."""
        value: complex = 1.0
        left = string
        support = string.x | string.z
        for q, (s, eigenvalue) in enumerate(self._stabilisers):
            if support >> q & 1:
                left = left * s
                value *= eigenvalue
        assert left.x == left.z == 0
        return value * 1j**left.phase

    def _reduce(self, model: Model) -> None:
        strings = [PauliString(x, z) for x, z in zip(model.x_masks, model.z_masks, strict=True)]
        n = model.n_qubits
        basis: list[PauliString] = []
        pivots: dict[int, tuple[int, int]] = {}  # highest bit -> (vector, which basis elements)
        members: list[int] = []
        for p in strings:
            vector, combination = p.x << n | p.z, 0
            while vector and (top := vector.bit_length() - 1) in pivots:
                vector ^= pivots[top][0]
                combination ^= pivots[top][1]
            if vector:
                pivots[vector.bit_length() - 1] = vector, combination ^ 1 << len(basis)
                combination = 1 << len(basis)
                basis.append(p)
            members.append(combination)
        for k, a in enumerate(basis):
            for b in basis[:k]:
                if not a.commutes(b):
                    raise QupropError(
                        f"a commuting model is asked for, but {b} and {a} of its rotations anticommute; use the engine "
                        "of the state vector, light cones or Pauli propagation"
                    )
        # Another basis: elements that stabilise the input up to sign first, the others independent in what they meet.
        self._basis = basis
        meets = [self._meets(b) for b in basis]
        rows: list[tuple[int, int, int]] = []
        change = [1 << i for i in range(len(basis))]  # new element i as a product of old ones
        fixed: list[int] = []
        for i, row in enumerate(meets):
            combination = 1 << i
            for pivot, other, made in rows:
                if row >> pivot & 1:
                    row ^= other
                    combination ^= made
            if row:
                rows.append((row.bit_length() - 1, row, combination))
            else:
                change[i] = combination
                fixed.append(i)
        self._rows = rows
        if fixed:
            new = list(basis)
            for i in fixed:
                new[i] = _product([basis[j] for j in bits(change[i])])
            # Old element i is new element i times the old ones j < i that its combination names, none of them fixed.
            old_in_new = {i: change[i] for i in fixed}
            members = [_substituted(m, old_in_new) for m in members]
            self._basis = new
        self.n = len(basis)
        self.fixed = np.zeros(self.n, np.int8)
        for i in fixed:
            self.fixed[i] = int(self._value(self._basis[i]).real)
        self.gates = Subsets.of_masks(members)
        self.sign = np.array(
            [_sign(p, _product([self._basis[j] for j in bits(m)])) for p, m in zip(strings, members, strict=True)]
        ).astype(float)

    def measured(self, n: int) -> Measured | None:
        """Z of each of the first n qubits as the circuit ends, if they are products of Z, or of X on qubits without
        gates (coins); None if they are anything else."""
        if not self.plain:
            return None
        pull, total = self._clifford.inverse(), self.n
        identity = pull == stim.Tableau(total)
        used = np.zeros(total, bool)
        used[self.gates.qubits] = True
        flips, coins, signs = [], [], np.ones(n)
        for q in range(n):
            x, z, sign = (0, 1 << q, 1.0) if identity else conjugate(pull, total, 0, 1 << q)
            flips.append(bits(z))
            coins.append(bits(x))
            signs[q] = sign * (1 - 2 * ((z & self._index).bit_count() & 1))
        x_side = {c for coin in coins for c in coin}
        if x_side & {f for flip in flips for f in flip} or any(used[c] for c in x_side):
            return None
        own = all(flip == [q] for q, flip in enumerate(flips)) and not x_side
        return Measured(own, _table(flips, total), _table(coins, total), signs)


_kept: WeakKeyDictionary[Model, CommutingForm] = WeakKeyDictionary()


def angles_of(model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The angles (B, M) modulo 4 pi where they are large: sums of them would lose what a rotation alone keeps."""
    angles = model.angle_table.evaluate(theta, x)
    large = np.abs(angles) > _LARGE
    if large.any():
        half = angles[large] / 2
        angles[large] = 2 * np.arctan2(np.sin(half), np.cos(half))
    return angles


def is_iqp(model: Model) -> bool:
    """Rotations about products of X on a basis state."""
    x_only = isinstance(model.rotations, XRotations) or (not any(model.z_masks) and all(model.x_masks))
    return model.state.kind == "basis" and x_only


class Measured(NamedTuple):
    """The signs that measured bits see: Z_q = sign_q prod_{i in row q of flips} Z_i prod_{i in row q of coins} X_i.

    own: Z_q sees sign q alone.
    """

    own: bool
    flips: csr_array  # (n, signs) of 0 and 1
    coins: csr_array
    signs: np.ndarray  # (n,)

    def of(self, subsets: Subsets) -> tuple[Subsets, np.ndarray]:
        """What Z over each subset of measured qubits comes to: the signs it flips, and its factor, +-1 or 0."""
        negative = np.concatenate([[0], np.cumsum(self.signs[subsets.qubits] < 0)])
        factor = 1.0 - 2.0 * ((negative[subsets.ptr[1:]] - negative[subsets.ptr[:-1]]) % 2)
        if self.own:
            return subsets, factor
        rows = csr_array(
            (np.ones(len(subsets.qubits), np.int64), subsets.qubits, subsets.ptr), (len(subsets), len(self.signs))
        )
        odd = rows @ self.coins
        odd.data %= 2
        factor[odd.sum(axis=1) > 0] = 0.0
        flips = rows @ self.flips
        flips.data %= 2
        flips.eliminate_zeros()
        flips.sort_indices()
        return Subsets(flips.indptr.astype(np.int64), flips.indices.astype(np.int32)), factor


def _stabilisers(model: Model) -> list[tuple[PauliString, int]]:
    """A one-qubit string and its value for every qubit of the input state."""
    state, n = model.state, model.n_qubits
    if state.kind == "basis":
        return [(PauliString(0, 1 << q), 1 - 2 * (state.index >> q & 1)) for q in range(n)]
    if state.kind == "product":
        found = []
        for q, (a, b) in enumerate(state.array):
            cross = 2 * np.conj(a) * b
            bloch = np.array([cross.real, cross.imag, abs(a) ** 2 - abs(b) ** 2])
            k = int(np.argmax(np.abs(bloch)))
            if abs(abs(bloch[k]) - 1) > 1e-12:
                break
            string = (PauliString(1 << q, 0), PauliString(1 << q, 1 << q), PauliString(0, 1 << q))[k]
            found.append((string, int(np.sign(bloch[k]))))
        else:
            return found
    raise QupropError(
        f"a commuting model starts from a basis or stabiliser state of its qubits, got {state.text(n)}; prepare it by "
        "Clifford gates, or use the engine of the state vector"
    )


def _table(subsets: list[list[int]], n: int) -> csr_array:
    lists = Subsets.of(subsets, n, "the strings")
    return csr_array((np.ones(len(lists.qubits), np.int64), lists.qubits, lists.ptr), (len(subsets), n))


def _product(strings: list[PauliString]) -> PauliString:
    total = PauliString(0, 0)
    for s in strings:
        total = total * s
    return total


def _sign(p: PauliString, product: PauliString) -> int:
    """+-1 of two strings with the same letters."""
    assert (p.x, p.z) == (product.x, product.z)
    return 1 if p.phase == product.phase else -1


def _substituted(mask: int, replaced: dict[int, int]) -> int:
    out = mask
    for i, combination in replaced.items():
        if mask >> i & 1:
            out ^= combination ^ 1 << i
    return out
