"""Parameterised Markov chains on bits: the classical model whose gradient does cost about as much as its value.

    p_theta = T_M(theta_M) ... T_1(theta_1) p_0,   T_k = (1 - q_k) I + q_k S_k,   q_k = 1 / (1 + exp(-theta_k)),
    F(theta) = E[o(x_M)],

with p_0 a distribution on n bits, S_k a map of bit strings and o a function of the last one. Layer by layer this is a
circuit of Pauli rotations with coins for amplitudes, and randomness and depth are no obstacle to backpropagation
scaling: a classical trajectory may be read at every layer without disturbing it (Abbas et al., NeurIPS 2023,
arXiv:2305.13362, proposition 5).

Three unbiased estimators of all M components from the same trajectories; b bounds |o|:

* ``score``: g_k = o(x_M) d log T_k(x_k | x_{k-1}) / d theta_k (Williams 1992). The logarithmic derivative is 1 - q_k
  where the layer moved, -q_k where it did not, and 0 where S_k x = x, as both branches then lead to one state and
  T_k = 1. It never diverges: |g_k| <= b. A trajectory costs M layers, as for the value.
* ``baseline``: the same with o(x_M) minus its mean over the other trajectories, which is independent of the factor it
  multiplies, whose mean is zero. The average is the sample covariance of o and the score. Costs M layers.
* ``conditional``: the mean over the transition k done exactly, dF/d theta_k = q_k (1 - q_k) E[V_k(S_k x) - V_k(x)],
  x = x_{k-1}, V_k(y) = E[o(x_M) | x_k = y], both V_k from one set of later coins. This is the mean of the ``score``
  g_k over coin k with all else fixed, so no component has a larger variance (Rao and Blackwell), and |g_k| <= b / 2.
  In general the other branch of every layer has to be run to the end: M (M + 1) / 2 layers a trajectory, which is *not*
  backpropagation scaling. But if all moves are affine over GF(2) (flips, flips with one control) and o is a sum of Z
  strings, a sweep backwards that pulls each string through the coins as they fell gives all components at once: M
  layers forwards and M backwards for each string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from quprop.arrays import checked
from quprop.classical.moves import (
    MOST_BITS,
    ControlledFlip,
    Flip,
    Map,
    Move,
    draw_initial,
    initial_distribution,
    parity,
    read_initial,
)
from quprop.classical.omega import at_least, hoeffding
from quprop.errors import QupropError, generator_of, nearest
from quprop.model.pauli import PauliSum
from quprop.model.pauli_operator import PauliTerms

ESTIMATORS = ("score", "baseline", "conditional")
DENSE_BYTES = 2 << 30  # the exact functions keep M + 1 distributions
CHUNK = 1 << 20  # layers times trajectories held at once


class ChainGradient(NamedTuple):
    """Value and gradient with their standard errors; ``grad`` and ``grad_stderr`` have shape (M,)."""

    value: float
    stderr: float
    grad: np.ndarray
    grad_stderr: np.ndarray


@dataclass(frozen=True, eq=False)
class MarkovChain:
    """M mixture layers on n bits and an observable of the last state; theta (M,) stays outside.

    n: bits, at most 62; bit q of a mask is bit q of the state.
    layers: moves S_1 ... S_M; a whole number stands for the flip with that mask.
    observable: a :class:`PauliSum` of Z strings (or its text), or a function of an int64 array of masks, elementwise.
    initial: a bit string such as "0110" (bit 0 on the left), probabilities of a one (n,), or data (samples, n) of zeros
        and ones of which each trajectory starts at a random row. Default: all bits zero.
    bound: b >= |o|, needed by :meth:`trajectories_for` if the observable is a function; of a sum it is sum |c|.

    Raises: QupropError for layers beyond the bits, none of them, or an observable that is not read off bits.

    >>> chain = qpr.MarkovChain(2, [0b01, 0b11], "Z0")
    >>> round(chain.value_exact([1.0, 3.0]), 6), chain.gradient_exact([1.0, 3.0]).round(3)
    (0.418285, array([0.356, 0.042]))
    >>> chain.gradient([1.0, 3.0], trajectories=10_000, rng=0).grad.round(3)
    array([0.354, 0.04 ])
    """

    n: int
    layers: Sequence[Move | int]
    observable: PauliSum | str | Callable[[np.ndarray], np.ndarray]
    initial: Any = None
    bound: float | None = None
    _terms: tuple[np.ndarray, np.ndarray] | None = field(init=False, repr=False, default=None)
    _initial: np.ndarray = field(init=False, repr=False)
    _bound: float | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.n, int | np.integer) or not 1 <= self.n <= MOST_BITS:
            raise QupropError(f"n must be a number of bits from 1 to {MOST_BITS}, got {self.n!r}")
        layers = tuple(Flip(int(m)) if isinstance(m, int | np.integer) else m for m in self.layers)
        for k, move in enumerate(layers):
            if not isinstance(move, Flip | ControlledFlip | Map):
                raise QupropError(f"a layer is a Flip, a ControlledFlip, a Map or a mask, got {move!r} as layer {k}")
            if move.touched < 0 or move.touched >> self.n:
                raise QupropError(f"layer {k}, {move}, acts beyond the {self.n} bits of the chain; raise n or mend it")
        if not layers:
            raise QupropError("a Markov chain needs at least one layer, got none")
        observable = self.observable
        if isinstance(observable, str | PauliTerms):
            observable = PauliSum(observable)
        if isinstance(observable, PauliSum):
            if any(p.x for p, _ in observable.terms) or observable.n_qubits > self.n:
                raise QupropError(
                    f"the observable of a chain on {self.n} bits is a sum of Z strings on bits 0 to {self.n - 1}, got "
                    f"{observable}"
                )
            masks = np.array([p.z for p, _ in observable.terms], np.int64)
            object.__setattr__(self, "_terms", (masks, np.array([c for _, c in observable.terms], float)))
        elif not callable(observable):
            raise QupropError(f"the observable is a PauliSum of Z strings or a function of masks, got {observable!r}")
        if self.bound is not None and not (math.isfinite(self.bound) and self.bound >= 0):
            raise QupropError(f"bound must be a number b >= |o|, got {self.bound!r}")
        sum_bound = None if self._terms is None else float(np.abs(self._terms[1]).sum())
        object.__setattr__(self, "_bound", sum_bound if self.bound is None else self.bound)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "observable", observable)
        object.__setattr__(self, "_initial", read_initial(self.n, self.initial))

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    # -- exactly, on all 2^n states -------------------------------------------------------------------------------

    def distribution(self, theta: Any) -> np.ndarray:
        """The probabilities p_theta of all final states, (2^n,)."""
        return self._distributions(theta)[-1]

    def value_exact(self, theta: Any) -> float:
        """F(theta), in time and memory M 2^n."""
        return float(self.distribution(theta) @ self._observe(np.arange(1 << self.n)))

    def gradient_exact(self, theta: Any) -> np.ndarray:
        """dF/d theta (M,), in time and memory M 2^n: with p_k forwards and V_{k-1} = (1 - q) V_k + q V_k(S_k .)
        backwards, dF/d theta_k = q_k (1 - q_k) sum_x p_{k-1}(x) (V_k(S_k x) - V_k(x))."""
        p, q = self._distributions(theta), self._rates(theta)
        states = np.arange(1 << self.n)
        v, out = self._observe(states), np.empty(self.n_layers)
        for k in reversed(range(self.n_layers)):
            change = v[self._moves[k](states)] - v
            out[k] = q[k] * (1 - q[k]) * (p[k] @ change)
            v = v + q[k] * change
        return out

    def _distributions(self, theta: Any) -> np.ndarray:
        q = self._rates(theta)
        needed = 8 * (self.n_layers + 1) << self.n
        if needed > DENSE_BYTES:
            raise QupropError(
                f"exact values of {self.n} bits and {self.n_layers} layers keep {needed / 2**30:.1f} GiB, more than "
                f"the {DENSE_BYTES >> 30} GiB allowed; use gradient(), which samples"
            )
        states = np.arange(1 << self.n)
        p = np.zeros((self.n_layers + 1, 1 << self.n))
        p[0] = initial_distribution(self.n, self._initial)
        for k, move in enumerate(self._moves):
            p[k + 1] = (1 - q[k]) * p[k] + q[k] * np.bincount(move(states), p[k], 1 << self.n)
        return p

    # -- by trajectories ------------------------------------------------------------------------------------------

    def sample(self, theta: Any, trajectories: int, rng: Any) -> np.ndarray:
        """Final states of independent trajectories: uint8 (trajectories, n), column q for bit q."""
        q, count, generator = self._rates(theta), at_least(trajectories, 1), generator_of(rng)
        states = draw_initial(self.n, self._initial, count, generator)
        for move, rate in zip(self._moves, q, strict=True):
            states = np.where(generator.random(count) < rate, move(states), states)
        return ((states[:, None] >> np.arange(self.n)) & 1).astype(np.uint8)

    def gradient(self, theta: Any, *, trajectories: int, rng: Any, estimator: str = "score") -> ChainGradient:
        """Value and whole gradient from one set of trajectories, without bias; the module says what each estimator is.

        trajectories: at least 2. rng: a seed or a Generator. Standard errors are those of the mean; for ``baseline``
        they hold up to relative corrections of order 1 / trajectories.
        """
        q, count, generator = self._rates(theta), at_least(trajectories, 2), generator_of(rng)
        _check_estimator(estimator)
        step = max(1, CHUNK // (self.n_layers * max(1, self._strings if estimator == "conditional" else 1)))
        moments, centre = _Moments(self.n_layers), None
        for first in range(0, count, step):
            o, factors = self._trajectories(q, min(step, count - first), generator, estimator == "conditional")
            centre = o.mean() if centre is None else centre
            moments.add(o - centre, factors)
        return moments.result(float(centre or 0.0), estimator)

    def layers_executed(self, trajectories: int, estimator: str = "score") -> int:
        """What :meth:`gradient` costs, in executed layers (a string pulled back through a layer counts as one layer).
        The value alone costs M a trajectory."""
        _check_estimator(estimator)
        m = self.n_layers
        extra = 0 if estimator != "conditional" else self._strings * m if self._reverses else m * (m - 1) // 2
        return trajectories * (m + extra)

    def trajectories_for(self, max_error: float, failure: float, *, theta: Any = None, estimator: str = "score") -> int:
        """Trajectories after which max_k |estimate_k - dF/d theta_k| <= max_error, except with probability failure.

            N = 2 B^2 ln(2 M / failure) / max_error^2        (Hoeffding 1963, theorem 2, and a union bound)

        B bounds |g_k|: b max(q, 1 - q) for ``score``, 2 b q (1 - q) for ``conditional``, or b and b / 2 if theta is not
        given. ``baseline`` is a U-statistic of pairs with |kernel| <= b, for which floor(N / 2) takes the place of N
        (ibid., section 5): its guarantee costs more though its variance is lower.
        """
        _check_estimator(estimator)
        if self._bound is None:
            raise QupropError("trajectories_for needs a bound on |observable|; give MarkovChain(..., bound=b)")
        q = np.array([0.0, 1.0, 0.5]) if theta is None else self._rates(theta)
        if estimator == "conditional":
            largest = 2 * self._bound * float(np.max(q * (1 - q)))
        else:
            largest = self._bound * (float(np.max(np.maximum(q, 1 - q))) if estimator == "score" else 1.0)
        needed = hoeffding(largest, self.n_layers, max_error, failure)
        return 2 * needed if estimator == "baseline" else needed

    @property
    def _moves(self) -> tuple[Move, ...]:
        return self.layers  # type: ignore[return-value]  # masks became flips in __post_init__

    @property
    def _reverses(self) -> bool:
        return self._terms is not None and all(move.is_affine for move in self._moves)

    @property
    def _strings(self) -> int:
        return len(self._terms[0]) if self._terms is not None else 0

    def _rates(self, theta: Any) -> np.ndarray:
        return expit(checked("theta", theta, (self.n_layers,)))

    def _observe(self, states: np.ndarray) -> np.ndarray:
        if self._terms is None:
            return checked("what the observable gives", self.observable(states), states.shape)  # type: ignore[operator]
        out = np.zeros(states.shape)
        for mask, coefficient in zip(*self._terms, strict=True):
            out += coefficient * (1 - 2.0 * parity(states & mask))
        return out

    def _trajectories(
        self, q: np.ndarray, count: int, generator: np.random.Generator, conditional: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """o(x_M), (count,), and per layer and trajectory the score, or g_k itself if ``conditional``: (M, count)."""
        coins = generator.random((self.n_layers, count)) < q[:, None]
        states = draw_initial(self.n, self._initial, count, generator)
        changed = np.empty((self.n_layers, count), np.int64)  # x_{k-1} xor S_k x_{k-1}
        others = np.empty_like(changed) if conditional and not self._reverses else None
        for k, move in enumerate(self._moves):
            if others is not None and k:
                others[:k] = np.where(coins[k], move(others[:k]), others[:k])
            changed[k] = move(states) ^ states
            states = states ^ np.where(coins[k], changed[k], 0)
            if others is not None:
                others[k] = states ^ changed[k]
        o = self._observe(states)
        if not conditional:
            return o, np.where(changed != 0, coins - q[:, None], 0.0)  # 1 - q, -q, or 0 where S x = x
        gain = self._pulled_back(states, coins, changed) if others is None else self._observe(others) - o
        return o, (q * (1 - q))[:, None] * np.where(coins, -gain, gain)

    def _pulled_back(self, states: np.ndarray, coins: np.ndarray, changed: np.ndarray) -> np.ndarray:
        """o at the end of the branch not taken at layer k, minus o(x_M), for the same later coins: (M, count).

        The branches differ by d = changed[k] after layer k, and at the end by L d with L the linear part of the later
        moves that were made; the string z has the sign (-1)^{z . L d} = (-1)^{(L^T z) . d} in one against the other.
        """
        assert self._terms is not None
        masks, coefficients = self._terms
        signed = coefficients[:, None] * (1 - 2.0 * parity(states & masks[:, None]))  # (strings, count)
        z = np.repeat(masks[:, None], len(states), axis=1)
        out = np.empty(coins.shape)
        for k in reversed(range(self.n_layers)):
            out[k] = -2.0 * np.einsum("jt,jt->t", signed, parity(z & changed[k]))
            move = self._moves[k]
            if not isinstance(move, Flip):
                z = np.where(coins[k], move.transposed(z), z)
        return out


class _Moments:
    """Sums over trajectories of o^a f_k^b for a, b <= 2, o shifted by a constant so that little cancels."""

    def __init__(self, layers: int) -> None:
        self.sums = np.zeros((3, 3, layers))
        self.count = 0

    def add(self, o: np.ndarray, factors: np.ndarray) -> None:
        powers = np.stack([np.ones_like(o), o, o * o])  # (3, count)
        self.sums += np.stack(
            [np.broadcast_to(powers.sum(axis=1), (len(factors), 3)).T] + [powers @ f.T for f in (factors, factors**2)],
            axis=1,
        )
        self.count += len(o)

    def result(self, centre: float, estimator: str) -> ChainGradient:
        n, e = self.count, self.sums / self.count  # e[a, b] = mean of o^a f^b
        o, s = e[1, 0], e[0, 1]
        value, spread = centre + float(o[0]), float(e[2, 0, 0] - o[0] ** 2)
        if estimator == "conditional":
            grad, variance = s, e[0, 2] - s**2
        elif estimator == "score":
            grad = e[1, 1] + centre * s
            variance = e[2, 2] + 2 * centre * e[1, 2] + centre**2 * e[0, 2] - grad**2
        else:
            covariance = e[1, 1] - o * s
            grad = covariance * n / (n - 1)
            # mean of (o - mean)^2 (f - mean)^2, multiplied out
            fourth = e[2, 2] - 2 * o * e[1, 2] - 2 * s * e[2, 1] + o**2 * e[0, 2] + s**2 * e[2, 0] + 4 * o * s * e[1, 1]
            variance = fourth - 3 * o**2 * s**2 - covariance**2
        error = np.sqrt(np.maximum(variance, 0.0) / (n - 1))
        return ChainGradient(value, math.sqrt(max(spread, 0.0) / (n - 1)), grad, error)


# -- the scaling ------------------------------------------------------------------------------------------------------


def _check_estimator(estimator: str) -> None:
    if estimator not in ESTIMATORS:
        raise QupropError(f"unknown estimator {estimator!r}: {nearest(str(estimator), ESTIMATORS)}")
