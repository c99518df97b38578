"""The engine of models whose rotations commute, at any number of qubits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn
from weakref import WeakKeyDictionary

import numpy as np
import stim

from quprop.arrays import checked
from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.model.x_rotations import Subsets
from quprop.simulate.commuting.enumeration import Enumeration
from quprop.simulate.commuting.form import CommutingForm, Seen, angles_of, is_iqp
from quprop.simulate.commuting.gates import Gates
from quprop.simulate.engine import MAX_QUBITS, no_jet, threads_of
from quprop.simulate.vectors import walsh_hadamard

Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Commuting:
    """Settings of the engine for commuting models.

    samples: signs drawn for strings that an exact sum is dearer for; None: everything exactly, or refused. The same
        `seed` draws the same signs in every call, so that values and gradients are those of one smooth function of the
        angles; `CommutingModelEngine.estimate` tells its distance from the model's.
    most: operations that an exact sum for one string may take.

    Raises: QupropError for settings that are no whole numbers, and by the engine for a model whose rotations do not
    commute.

    >>> theta = qpr.params("theta", 1)
    >>> model = qpr.Model(qpr.Circuit(2).h(0).h(1).rzz(theta[0], 0, 1), "X0")
    >>> qpr.expectation(model, [np.pi / 3], engine=qpr.Commuting()).round(6)
    array([0.5])
    """

    samples: int | None = None
    seed: int = 0
    most: float = 2.0**26

    def __post_init__(self) -> None:
        for name, value, least in (("samples", self.samples, 2), ("seed", self.seed, 0)):
            if value is None and name == "samples":
                continue
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise QupropError(f"Commuting({name}=) is a whole number from {least}, got {shown(value)}")
        if isinstance(self.most, bool) or not isinstance(self.most, int | float) or not self.most >= 0:
            raise QupropError(f"Commuting(most=) is a number of operations, 0 or more, got {shown(self.most)}")


class SampledValues(NamedTuple):
    """Values (K,), their standard errors (K,), 0 where exact and an upper bound for sums of strings that are sampled
    together, and how each was found."""

    values: np.ndarray
    standard_errors: np.ndarray
    how: tuple[str, ...]


class _Plan(NamedTuple):
    """The strings of all observables: of[i] of the K has coefficient[i] of string term[i]; which are found how."""

    gates: Gates
    of: np.ndarray
    term: np.ndarray
    coefficient: np.ndarray
    seen: tuple[Seen, ...]
    local: np.ndarray  # strings by the compiled sum over the signs in f
    local_flips: Subsets
    summed: dict[int, Enumeration]
    sampled: np.ndarray
    sampled_flips: Subsets
    dressed: np.ndarray  # sampled strings with a prefix, or whose factor is imaginary

    def combined(self, weights: np.ndarray) -> np.ndarray:
        """From (K,) of the observables to (S,) of the strings, transposed sums."""
        out = np.zeros(len(self.seen))
        np.add.at(out, self.term, weights[self.of] * self.coefficient)
        return out


@lru_cache(maxsize=32, typed=True)
def commuting_engine(
    settings: Commuting, precision: str = "double", threads: int | None = None
) -> CommutingModelEngine:
    """The one engine of these settings."""
    return CommutingModelEngine(settings, precision, threads)


class CommutingModelEngine:
    """Values and gradients of a commuting model: exact where that is cheap, else over sampled signs (`Commuting`).

    A string that meets w signs of gates about one and two is summed in 2^(w-1) n operations; gates about more are
    summed where they share few signs (`enumeration.py`). Sampled strings share their signs and one product of matrices.
    """

    name = "commuting"

    def __init__(
        self, settings: Commuting | None = None, precision: str = "double", threads: int | None = None
    ) -> None:
        if precision not in ("double", "single"):
            raise QupropError(f'precision is "double" or "single", got {precision!r}')
        self.settings = Commuting() if settings is None else settings
        self.precision, self.threads = precision, threads_of(threads)
        self._plans: WeakKeyDictionary[Model, _Plan] = WeakKeyDictionary()

    # What engines do -------------------------------------------------------------------------------------------------

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """<O_k>, (B, K)."""
        plan = self.plan(model)
        angles = angles_of(model, theta, x)
        out = np.zeros((len(angles), model.n_observables))
        for row, a in zip(out, angles, strict=True):
            np.add.at(row, plan.of, plan.coefficient * self._strings(plan, a)[0][plan.term])
        return out

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        """weights . values (B,) and its gradient (B, P)."""
        plan, table = self.plan(model), model.angle_table
        angles = angles_of(model, theta, x)
        batch = max(len(angles), len(weights))
        values, d_angles = np.empty(batch), np.empty((batch, angles.shape[1]))
        for b in range(batch):
            c = plan.combined(weights[b % len(weights)])
            found, d_angles[b] = self._strings(plan, angles[b % len(angles)], c)
            values[b] = c @ found
        return values, table.pullback(d_angles, theta, x)[0]

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        theta, x = theta.copy(), x.copy()
        plan, table = self.plan(model), model.angle_table
        angles = angles_of(model, theta, x)

        def pullback(cotangent: np.ndarray, sum_theta: bool = False) -> Arrays:
            d_angles = np.empty((len(cotangent), angles.shape[1]))
            for b, c in enumerate(cotangent):
                d_angles[b] = self._strings(plan, angles[b % len(angles)], plan.combined(c))[1]
            d_theta, d_x = table.pullback(d_angles, theta, x)
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return self.values(model, theta, x), pullback

    jet = state_jet = no_jet

    def hvp(self, *_: Any) -> NoReturn:
        raise QupropError(
            "the engine of commuting models has values and first derivatives, no Hessian-vector products; use the "
            "engine of the state vector, or differences of gradients"
        )

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The states (B, 2^n) after the rotations of an IQP circuit: two Walsh-Hadamard transforms, however many
        rotations there are."""
        return self.state_vjp(model, theta, x)[0]

    def state_vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """States psi (B, 2^n) after the rotations, the residual Clifford left out, and pullback(costates c (B, 2^n),
        sum_theta=False) -> d_theta, d_x of any L with dL = Re<c|d psi>.

        psi(z) = 2^-n sum_s chi_z(s) chi_b(s) exp(-i/2 sum_g a_g chi_g(s)) from the basis state b.
        """
        if not self.has_states(model):
            raise QupropError(
                "the engine of commuting models has states of IQP circuits only, rotations about products of X on a "
                "basis state, and without Clifford gates after them; use the engine of the state vector"
            )
        n, gates = model.n_qubits, CommutingForm.of(model).gates
        places = np.add.reduceat(np.int64(1) << gates.qubits.astype(np.int64), gates.ptr[:-1])
        theta, x = theta.copy(), x.copy()
        table = model.angle_table
        angles = angles_of(model, theta, x)
        start = np.zeros(1 << n)
        start[model.state.index] = 2.0**-n
        start = walsh_hadamard(start)
        spectra = np.empty((len(angles), 1 << n), complex)
        for row, a in zip(spectra, angles, strict=True):
            turns = np.zeros(1 << n)
            np.add.at(turns, places, a)
            row[:] = start * np.exp(-0.5j * walsh_hadamard(turns))

        def pullback(costates: np.ndarray, sum_theta: bool = False) -> Arrays:
            slopes = 0.5 * (walsh_hadamard(costates).conj() * spectra).imag
            d_theta, d_x = table.pullback(walsh_hadamard(slopes)[:, places], theta, x)
            return (d_theta.sum(axis=0) if sum_theta else d_theta), d_x

        return walsh_hadamard(spectra), pullback

    @staticmethod
    def has_states(model: Model) -> bool:
        """Whether it is an IQP circuit, small enough for its states."""
        n = model.n_qubits
        return n <= MAX_QUBITS and is_iqp(model) and model.clifford == stim.Tableau(n)

    def tangents(self, *_: Any) -> NoReturn:
        raise QupropError(
            "the engine of commuting models has no tangents of states; use the engine of the state vector"
        )

    def memory(self, model: Model, batch: int, what: str) -> int:
        """Bytes that are known beforehand."""
        if what in ("states", "state_vjp"):
            return 16 * batch * 4 << model.n_qubits
        plan = self.plan(model)
        n, samples = plan.gates.n, self.settings.samples or 0
        numbers = 3 * n * samples * bool(len(plan.sampled)) + 4 * n * n * plan.gates.matrix
        return 8 * (numbers + 3 * batch * model.n_rotations)

    # More than engines do --------------------------------------------------------------------------------------------

    def estimate(self, model: Model, theta: np.ndarray, x: np.ndarray | None = None) -> SampledValues:
        """The values at one point theta (P,), x (D,), with their standard errors."""
        plan = self.plan(model)
        theta = checked("theta", theta, (model.n_params,))[None]
        x = checked("x", np.empty(0) if x is None else x, (model.n_inputs,))[None]
        values, _, errors = self._told(plan, angles_of(model, theta, x)[0], None)
        K = model.n_observables
        total, error = np.zeros(K), np.zeros(K)
        np.add.at(total, plan.of, plan.coefficient * values[plan.term])
        np.add.at(error, plan.of, np.abs(plan.coefficient) * errors[plan.term])
        drawn = np.zeros(K, bool)
        drawn[plan.of[np.isin(plan.term, np.concatenate([plan.sampled, plan.dressed]))]] = True
        how = tuple(f"{self.settings.samples:,} samples" if d else "exact" for d in drawn)
        return SampledValues(total, error, how)

    def plan(self, model: Model) -> _Plan:
        """How each string is found, once a model; refused if the rotations do not commute, or where nothing may be
        sampled and a string is too dear."""
        found = self._plans.get(model)
        if found is None:
            found = self._plans[model] = self._made(model)
        return found

    def serves(self, model: Model) -> bool:
        """Whether `plan` has one for it."""
        try:
            self.plan(model)
        except QupropError:
            return False
        return True

    # Inside ----------------------------------------------------------------------------------------------------------

    def _made(self, model: Model) -> _Plan:
        form = CommutingForm.of(model)
        gates = Gates(form, self.precision, self.threads)
        index: dict[Any, int] = {}
        of, term, coefficient = [], [], []
        for k, observable in enumerate(model.observables):
            for string, c in observable.items():
                of.append(k)
                term.append(index.setdefault(string, len(index)))
                coefficient.append(c)
        seen = tuple(form.seen(string) for string in index)
        local: list[int] = []
        sampled: list[int] = []
        dressed: list[int] = []
        summed: dict[int, Enumeration] = {}
        for i, s in enumerate(seen):
            if not s.phase:
                continue
            plain = not s.prefix and not s.phase.imag
            w = len(s.flip)
            # A sampled string costs its part of the one product, and the pairs that it contains.
            samples, most = self.settings.samples, self.settings.most
            cheap = samples is None or bool(gates.cheaper_exactly(np.array([w]), len(seen), samples)[0])
            if plain and cheap and gates.local and w < 60 and 2.0 ** max(w - 1, 0) * gates.n <= most:
                local.append(i)
                continue
            made = None if plain and gates.local and not cheap else Enumeration.of(form, s, most)
            if isinstance(made, Enumeration):
                summed[i] = made
            elif made is None and samples:
                (sampled if plain else dressed).append(i)
            elif made is None:
                raise QupropError(
                    f"the string {list(index)[i]} shares too many signs among the gates that it meets for an exact sum "
                    f"(it meets {w} of {gates.n}); draw them, with engine=qpr.Commuting(samples=1000)"
                )
        flips = [Subsets.of([seen[i].flip for i in chosen], gates.n, "the strings") for chosen in (local, sampled)]
        arrays = np.array(of, np.int64), np.array(term, np.int64), np.array(coefficient, float)
        return _Plan(
            gates, *arrays, seen, np.array(local, np.int64), flips[0], summed, np.array(sampled, np.int64), flips[1],
            np.array(dressed, np.int64),
        )  # fmt: skip

    def _strings(
        self, plan: _Plan, angles: np.ndarray, cotangent: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._told(plan, angles, cotangent)[:2]

    def _told(
        self, plan: _Plan, angles: np.ndarray, cotangent: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values of the strings (S,), the derivative of cotangent . values by the angles (M,), standard errors (S,)."""
        count = len(plan.seen)
        values, errors, d = np.zeros(count), np.zeros(count), np.zeros(len(angles))
        phase = np.array([s.phase.real for s in plan.seen])
        if len(plan.local):
            slope = None if cotangent is None else (cotangent * phase)[plan.local]
            found, moved = plan.gates.exact(plan.gates.turns(angles), plan.local_flips, slope)
            values[plan.local] = phase[plan.local] * found
            d += 0.0 if moved is None else plan.gates.by_angles(moved)
        for i, sum_ in plan.summed.items():
            values[i], slopes_ = sum_.value(angles, cotangent is not None)
            if cotangent is not None:
                d[sum_.gates] += cotangent[i] * slopes_
        drawn = self.settings.samples
        if drawn and len(plan.sampled) + len(plan.dressed):
            bits = plan.gates.bits(drawn, np.random.default_rng(self.settings.seed))
            if len(plan.sampled):
                slopes = None
                if cotangent is not None:
                    c = (cotangent * phase)[plan.sampled]
                    slopes = lambda part, m, q: (c[part], np.zeros(len(m)))  # noqa: E731
                mean, square, moved = plan.gates.sampled(plan.gates.turns(angles), plan.sampled_flips, bits, slopes)
                values[plan.sampled] = phase[plan.sampled] * mean
                errors[plan.sampled] = np.sqrt(np.maximum(square - mean**2, 0.0) / (drawn - 1))
                d += 0.0 if moved is None else plan.gates.by_angles(moved)
            for i in plan.dressed:
                values[i], errors[i] = self._dressed(
                    plan, plan.seen[i], angles, bits, d, 0.0 if cotangent is None else cotangent[i]
                )
        return values, d, errors

    def _dressed(
        self, plan: _Plan, seen: Seen, angles: np.ndarray, bits: np.ndarray, d: np.ndarray, cotangent: float
    ) -> tuple[float, float]:
        """One string over sampled signs, straight from its definition; adds its derivatives to d."""
        form, N = plan.gates.form, bits.shape[1]
        flip = np.zeros(form.n, bool)
        flip[list(seen.flip)] = True
        odd = np.flatnonzero(np.add.reduceat(flip[form.gates.qubits], form.gates.ptr[:-1]) % 2)
        signs = 1.0 - 2.0 * bits
        phi = np.zeros(N)
        for g in odd:
            phi += form.sign[g] * angles[g] * signs[form.gates.subset(g)].prod(axis=0)
        common = seen.phase * np.exp(1j * phi) * signs[list(seen.prefix)].prod(axis=0)
        if cotangent:
            for g in odd:
                chi = signs[form.gates.subset(g)].prod(axis=0)
                d[g] += cotangent * form.sign[g] * (1j * common * chi).real.mean()
        return float(common.real.mean()), float(common.real.std(ddof=1) / np.sqrt(N))
