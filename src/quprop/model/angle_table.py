"""All angles of a model as flat arrays, with values and first and second derivatives for whole batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from quprop.collector import paused
from quprop.errors import QupropError
from quprop.model.angle import Angle, Terms

# Kernels flush what is below 2^-1022 to zero, and sum angles of a group: products and sums that stay between these
# bounds lose nothing, whatever the order of the operations.
_TINY, _LARGE, _SUM = 2.0**-960, 2.0**500, 2.0**960


Picked = np.ndarray | slice  # columns


def picked(columns: np.ndarray) -> Picked:
    """Columns as a slice where they follow one another: a view, and no copy."""
    if len(columns) and columns[-1] - columns[0] == len(columns) - 1 and (np.diff(columns) == 1).all():
        return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


class Scatter(NamedTuple):
    """Adds columns into columns, several of them possibly into the same one, in a fixed order."""

    order: np.ndarray | None  # None: all targets differ
    starts: np.ndarray
    targets: Picked

    @classmethod
    def to(cls, targets: np.ndarray) -> Scatter:
        unique = np.unique(targets)
        if len(unique) == len(targets):
            return cls(None, np.empty(0, np.int64), picked(targets))
        order = np.argsort(targets, kind="stable")
        return cls(order, np.searchsorted(targets[order], unique), unique)

    def add(self, out: np.ndarray, values: np.ndarray) -> None:
        if self.order is not None:
            values = np.add.reduceat(values[:, self.order], self.starts, axis=1)
        out[:, self.targets] += values


class Group(NamedTuple):
    """All monomials of one degree d: rotation of each, coefficient, and the d variables."""

    rows: np.ndarray  # (k,)
    coef: np.ndarray  # (k,)
    var: np.ndarray  # (d, k)
    picked: tuple[Picked, ...]  # the rows of var, and last the rotations
    to_rows: Scatter
    to_var: tuple[Scatter, ...]  # one per slot


class AngleTable(NamedTuple):
    """a_m = constant_m + sum over its monomials of coef * product of variables.

    Rotation m owns monomials mono_ptr[m]:mono_ptr[m+1]; monomial k owns variables var[var_ptr[k]:var_ptr[k+1]], where
    parameter i is i and input j is n_params + j. `groups` holds the same monomials by degree, for NumPy.

    In the methods theta is (T, P) and x (X, D), T and X each 1 or the batch size B (x is (1, 0) without inputs).
    """

    constant: np.ndarray  # (M,)
    mono_ptr: np.ndarray  # (M+1,) int64
    coef: np.ndarray  # (n_mono,)
    var_ptr: np.ndarray  # (n_mono+1,) int64
    var: np.ndarray  # int64
    n_params: int
    n_inputs: int
    groups: tuple[Group, ...]

    @classmethod
    def build(cls, angles: Sequence[Angle], n_params: int, n_inputs: int) -> AngleTable:
        each = _of_one([angle.terms for angle in angles], n_params)
        if each is not None:
            return cls.of_one(*each, n_params, n_inputs)
        constant = np.zeros(len(angles))
        mono_ptr, coef, var_ptr, var = [0], [], [0], []
        first_of_kind = (0, n_params)
        for m, angle in enumerate(angles):
            for monomial, coefficient in angle.terms:
                if not monomial:
                    constant[m] = coefficient
                    continue
                coef.append(coefficient)
                for variable in monomial:
                    var.append(first_of_kind[variable[0]] + variable[1])
                var_ptr.append(len(var))
            mono_ptr.append(len(coef))
        monos, slots, variables = (np.array(a, np.int64) for a in (mono_ptr, var_ptr, var))
        coefs = np.array(coef, float)
        groups = _by_degree(monos, slots, variables, coefs)
        return cls(constant, monos, coefs, slots, variables, n_params, n_inputs, groups)

    @classmethod
    def of_one(cls, coef: np.ndarray, param: np.ndarray, n_params: int, n_inputs: int) -> AngleTable:
        """Every angle one number times one parameter."""
        each = np.arange(len(coef) + 1)
        var = param.astype(np.int64)
        groups = _by_degree(each, each, var, coef) if len(coef) else ()
        return cls(np.zeros(len(coef)), each, coef, each, var, n_params, n_inputs, groups)

    def check(self, theta: np.ndarray, x: np.ndarray) -> None:
        """Refuses numbers whose angles leave the range of double precision: above, or below on the way to what counts.

        Derivatives leave variables out, so the smallest and the largest product of some of a monomial's factors count,
        zeros among them left out.
        """
        v = abs(self._variables(theta, x))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = np.full(len(v), np.abs(self.constant).sum())
            for g in self.groups:
                coef = np.abs(g.coef)
                total = total + (coef * _product(v, g, ())).sum(axis=1)
                least, most = (
                    bound(coef, 1.0) * _product(bound(v + (v == 0), 1.0), g, ()) for bound in (np.minimum, np.maximum)
                )
                total[((least < _TINY) & (most > _LARGE)).any(axis=1)] = np.nan
        wrong = ~(total <= _SUM)
        if wrong.any():
            sample = f" of sample {int(np.argmax(wrong))}" if len(v) > 1 else ""
            raise QupropError(
                f"theta and x make angles{sample} that leave the range of double precision (from {_TINY:.0e} to "
                f"{_SUM:.0e}); pass smaller numbers or scale the circuit's angles"
            )

    def evaluate(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The angles, (B, M)."""
        v = self._variables(theta, x)
        out = np.empty((len(v), len(self.constant)))
        out[:] = self.constant
        for g in self.groups:
            g.to_rows.add(out, g.coef * _product(v, g, ()))
        return out

    def pushforward(self, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray) -> np.ndarray:
        """d angles/dt along (v_theta, v_x), (B, M)."""
        v, dv = self._variables(theta, x), self._variables(v_theta, v_x)
        out = np.zeros((max(len(v), len(dv)), len(self.constant)))
        for g in self.groups:
            for s in range(len(g.var)):
                g.to_rows.add(out, g.coef * dv[:, g.picked[s]] * _product(v, g, (s,)))
        return out

    def pullback(self, d_angles: np.ndarray, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From dF/d angles (B, M): dF/d theta (B, P) and dF/d x (B, D), per sample."""
        v = self._variables(theta, x)
        out = np.zeros((len(d_angles), self.n_params + self.n_inputs))
        for g in self.groups:
            weight = g.coef * d_angles[:, g.picked[-1]]
            for s in range(len(g.var)):
                g.to_var[s].add(out, weight if len(g.var) == 1 else weight * _product(v, g, (s,)))
        return out[:, : self.n_params], out[:, self.n_params :]

    def pullback_tangent(
        self, d_angles: np.ndarray, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """sum_m dF/da_m (d^2 a_m / dv dv) v: what a product of variables adds to a Hessian-vector product."""
        out = np.zeros((len(d_angles), self.n_params + self.n_inputs))
        products = [g for g in self.groups if len(g.var) > 1]
        if products:
            v, dv = self._variables(theta, x), self._variables(v_theta, v_x)
            for g in products:
                weight = g.coef * d_angles[:, g.picked[-1]]
                for s in range(len(g.var)):
                    for r in range(len(g.var)):
                        if r != s:
                            g.to_var[s].add(out, weight * dv[:, g.picked[r]] * _product(v, g, (s, r)))
        return out[:, : self.n_params], out[:, self.n_params :]

    def jet(self, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int) -> np.ndarray:
        """The coefficients of t^k, k = 0 ... order, of the angles at (theta + t v_theta, x + t v_x): (order + 1, B, M).

        order: 0, 1 or 2.
        """
        batch = max(map(len, (theta, x, v_theta, v_x)))
        out = np.zeros((order + 1, batch, len(self.constant)))
        out[0] = self.evaluate(theta, x)
        if order > 0:
            out[1] = self.pushforward(theta, x, v_theta, v_x)
        if order > 1:
            v, dv = self._variables(theta, x), self._variables(v_theta, v_x)
            for g in self.groups:
                for s, r in itertools.combinations(range(len(g.var)), 2):
                    both = dv[:, g.picked[s]] * dv[:, g.picked[r]] * _product(v, g, (s, r))
                    g.to_rows.add(out[2], np.broadcast_to(g.coef * both, (batch, len(g.coef))))
        return out

    def jet_pullback(
        self, d_angles: np.ndarray, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """From the derivatives (order + 1, B, M) of something by the coefficients of `jet`: those by theta (B, P),
        x (B, D), v_theta and v_x."""
        at = self.pullback(d_angles[0], theta, x)
        along = (np.zeros_like(at[0]), np.zeros_like(at[1]))
        if len(d_angles) > 1:
            at = _added(at, self.pullback_tangent(d_angles[1], theta, x, v_theta, v_x))
            along = self.pullback(d_angles[1], theta, x)
        if len(d_angles) > 2:
            at = _added(at, self._pullback_curved(d_angles[2], theta, x, v_theta, v_x))
            along = _added(along, self.pullback_tangent(d_angles[2], theta, x, v_theta, v_x))
        return *at, *along

    def _pullback_curved(
        self, d_angles: np.ndarray, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """sum_m w_m (d^3 a_m / dv dv dv) v v / 2, w = d_angles: the third derivatives of products of variables."""
        out = np.zeros((len(d_angles), self.n_params + self.n_inputs))
        products = [g for g in self.groups if len(g.var) > 2]
        if products:
            v, dv = self._variables(theta, x), self._variables(v_theta, v_x)
            for g in products:
                weight = g.coef * d_angles[:, g.picked[-1]]
                for s in range(len(g.var)):
                    others = [r for r in range(len(g.var)) if r != s]
                    for r, q in itertools.combinations(others, 2):
                        both = dv[:, g.picked[r]] * dv[:, g.picked[q]]
                        g.to_var[s].add(out, weight * both * _product(v, g, (s, r, q)))
        return out[:, : self.n_params], out[:, self.n_params :]

    def _variables(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        if self.n_inputs == 0 and len(x) in (1, len(theta)):
            return theta
        batch = max(len(theta), len(x))
        out = np.empty((batch, self.n_params + self.n_inputs))
        out[:, : self.n_params] = theta
        out[:, self.n_params :] = x
        return out


class Drivers(NamedTuple):
    """Angles that are multiples of each other share a polynomial, their driver: a_m = coefficient_m u_driver[m].

    Driver k owns monomials mono_ptr[k]:mono_ptr[k+1], the rest as in `AngleTable`.
    """

    driver: np.ndarray  # (M,) int32, in order of first mention
    coefficient: np.ndarray  # (M,)
    mono_ptr: np.ndarray  # int32, as are the next but one
    mono: np.ndarray
    var_ptr: np.ndarray
    var: np.ndarray

    @classmethod
    @paused()
    def build(cls, angles: Iterable[Angle], n_params: int) -> Drivers:
        terms = [angle.terms for angle in angles]
        each = _of_one(terms, n_params)
        if each is not None:
            return cls.of_one(*each)
        index: dict[Terms, int] = {}
        driver, coefficient = [], []
        for key in terms:  # none: an angle that is zero
            lead = 1.0
            if len(key) == 1:
                lead = key[0][1]
                key = ((key[0][0], 1.0),)
            elif key:
                largest = max((c for _, c in key), key=abs)
                ratios = tuple((m, c / largest) for m, c in key)
                if all(abs(c) >= _TINY for _, c in ratios):  # no quotient has lost digits
                    lead, key = largest, ratios
            driver.append(index.setdefault(key, len(index)))
            coefficient.append(lead)
        mono_ptr, mono, var_ptr, var = [0], [], [0], []
        for key in index:
            for monomial, c in key:
                mono.append(c)
                for kind, i in monomial:
                    var.append(n_params + i if kind else i)
                var_ptr.append(len(var))
            mono_ptr.append(len(mono))
        integers = (np.array(a, np.int32) for a in (driver, mono_ptr, var_ptr, var))
        drivers, monos, slots, variables = integers
        return cls(drivers, np.array(coefficient, float), monos, np.array(mono, float), slots, variables)

    @classmethod
    def of_one(cls, coef: np.ndarray, param: np.ndarray) -> Drivers:
        """Every angle one number times one parameter."""
        used, first, driver = np.unique(param, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        each = np.arange(len(used) + 1, dtype=np.int32)
        integers = (place[driver].astype(np.int32), each, each, used[order].astype(np.int32))
        drivers, monos, slots, variables = integers
        return cls(drivers, coef, monos, np.ones(len(used)), slots, variables)

    def of(self, rotations: np.ndarray) -> Drivers:
        """Those of some of the rotations."""
        used, driver = np.unique(self.driver[rotations], return_inverse=True)
        mono_ptr, monos = _rows(self.mono_ptr, used)
        var_ptr, variables = _rows(self.var_ptr, monos)
        coefficient = self.coefficient[rotations]
        return Drivers(driver.astype(np.int32), coefficient, mono_ptr, self.mono[monos], var_ptr, self.var[variables])


def _of_one(angles: list[Terms], n_params: int) -> tuple[np.ndarray, np.ndarray] | None:
    """By far the most common: the coefficients and variables of angles that are each a number times one variable."""
    if not all(len(terms) == 1 and len(terms[0][0]) == 1 for terms in angles):
        return None
    variables = [terms[0][0][0] for terms in angles]
    places = [n_params + i if kind else i for kind, i in variables]
    return np.array([terms[0][1] for terms in angles], float), np.array(places, np.int32)


def _rows(ptr: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pointers of some rows of a ragged array, and where their entries are in it."""
    sizes = np.diff(ptr)[rows]
    own = np.concatenate([[0], np.cumsum(sizes)])
    entries = np.repeat(ptr[:-1][rows] - own[:-1], sizes) + np.arange(own[-1])
    return own.astype(np.int32), entries


def safe_size(terms: set[tuple[int, float]], n_rotations: int) -> float:
    """Variables of at most this size pass `AngleTable.check`; terms: (degree, |coefficient|) of all monomials.

    NaN, below which nothing is, where it depends on which variables meet which coefficients.
    """
    if any(c > _LARGE for degree, c in terms if degree):
        return np.nan
    count = max(n_rotations, 1) * max(len(terms), 1)
    if any(c * count > _SUM for degree, c in terms if not degree):
        return np.nan
    bounds = ((min(_SUM / count / c, _LARGE / max(c, 1.0)), degree) for degree, c in terms if degree)
    return min((float(bound) ** (1 / degree) for bound, degree in bounds), default=np.inf)


def _added(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    return one[0] + other[0], one[1] + other[1]


def _product(v: np.ndarray, group: Group, skipped: tuple[int, ...]) -> np.ndarray | float:
    """The product of each monomial's variables, the skipped slots left out (no division, so zeros are harmless)."""
    out: np.ndarray | float = 1.0
    for s in range(len(group.var)):
        if s not in skipped:
            out = out * v[:, group.picked[s]]
    return out


def _by_degree(mono_ptr: np.ndarray, var_ptr: np.ndarray, var: np.ndarray, coef: np.ndarray) -> tuple[Group, ...]:
    degree = np.diff(var_ptr)
    row = np.repeat(np.arange(len(mono_ptr) - 1), np.diff(mono_ptr))
    groups = []
    for d in np.unique(degree):
        members = np.flatnonzero(degree == d)
        slots = np.stack([var[var_ptr[members] + s] for s in range(d)])
        rows = row[members]
        groups.append(
            Group(
                rows,
                coef[members],
                slots,
                tuple(map(picked, (*slots, rows))),
                Scatter.to(rows),
                tuple(map(Scatter.to, slots)),
            )
        )
    return tuple(groups)
