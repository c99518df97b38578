"""Losses of the distribution of a model's measured bits, exact from all probabilities.

Each is a function of the probabilities p (2^n,), qubit q being bit q of the index, with its derivative by p. `train`
takes the loss object; ``loss.of(p)`` is its value for the probabilities of a layer, where Torch and JAX differentiate
it themselves.

Where a logarithm meets a probability that is zero up to rounding, the loss is infinite: this is refused, or smoothed by
what ``smoothing=`` says. By a probability that is zero and not missed the derivative is taken for 0: p = |psi|^2 has
slope 0 there, in every direction of theta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quprop.arrays import bits, checked, library, like, numbers_of, plain
from quprop.errors import QupropError, shown
from quprop.model.pauli import PauliSum
from quprop.model.pauli_operator import PauliTerms
from quprop.simulate import memory
from quprop.simulate.vectors import walsh_hadamard
from quprop.training.bit_distribution import BitDistribution, check_bits
from quprop.training.losses import Loss, LossValue

_MOST_BITS = 30  # of a table of all bit strings
_NORMALISED = 1e-6  # what the sum of probabilities may differ from 1


@dataclass(frozen=True, eq=False)
class DistributionLoss(Loss):
    """Base: a function of p (2^n,), n given by the loss's data or, None, by the model."""

    supports_head = False
    needs_targets = False

    @property
    def n_bits(self) -> int | None:
        return None

    @property
    def largest(self) -> float:
        """What |loss| does not exceed while it is defined."""
        raise NotImplementedError

    def slope(self, p: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss of one distribution (2^n,) and its derivative by p."""
        raise NotImplementedError

    def _mean(self, p: Any) -> Any:
        """The losses of p (..., 2^n), with functions of p's own library only."""
        raise NotImplementedError

    def refuse(self, p: np.ndarray, dtype: np.dtype) -> None:
        """Refuse probabilities (..., 2^n), computed in the precision of `dtype`, at which the loss is not defined."""

    def check(self, n_outputs: int, targets: np.ndarray | None) -> None:
        raise QupropError(
            f"{type(self).__name__} holds what it needs itself: leave out data= and test= of train, and pass a model "
            "without inputs"
        )

    def over(self, model: Any, **options: Any) -> OverDistribution:
        return OverDistribution(self, model, **options)

    def of(self, probabilities: Any) -> Any:
        """The loss of probabilities (2^n,), or its mean over a batch (..., 2^n), as a number of their library: NumPy,
        Torch, JAX. Differentiable there.

        Raises: QupropError for arrays that are no distributions of as many bits, and where the loss is not defined.
        Inside `jax.jit`, where numbers cannot be looked at, it is infinite there.
        """
        p, numbers = probabilities_of(probabilities, self.n_bits, type(self).__name__)
        if numbers is not None:
            self.refuse(numbers.astype(float), numbers.dtype)
        return self._mean(p).mean()


class OverDistribution:
    """A loss of a model's distribution as a function of theta."""

    deterministic = True

    def __init__(self, loss: DistributionLoss, model: Any, **options: Any) -> None:
        name = f"the {type(loss).__name__} loss"
        n = getattr(model, "n_qubits", 0) if loss.n_bits is None else loss.n_bits
        check_bits(model, n, name)
        memory.require(4 * 8 << model.n_qubits, f"all probabilities of {model.n_qubits} qubits", "take fewer qubits")
        self.loss, self._bits = loss, BitDistribution(model, n, **options)
        memory.require(self.memory(), f"{name} of {model.n_qubits} qubits", "take fewer qubits or single precision")
        self.how = f"all {1 << model.n_qubits:,} probabilities"
        self.reach = loss.largest

    def memory(self, gradient: bool = True) -> int:
        """Bytes of the loss, or of its gradient."""
        return self._bits.memory(gradient)

    def loss_and_grad(self, theta: np.ndarray, rng: np.random.Generator | None = None) -> tuple[float, np.ndarray]:
        p, pullback = self._bits.vjp(theta)
        self.loss.refuse(p, p.dtype)
        value, slope = self.loss.slope(p.astype(float))
        return value, pullback(slope)

    def value(self, theta: np.ndarray, rng: np.random.Generator | None = None) -> float:
        p = self._bits.probabilities(theta)
        self.loss.refuse(p, p.dtype)
        return self.loss.slope(p.astype(float))[0]

    def evaluate(self, theta: np.ndarray) -> LossValue:
        return LossValue(self.value(theta))

    def told(self, theta: np.ndarray, step: int | None = None) -> dict[str, float]:
        return {}


@dataclass(frozen=True, eq=False)
class NegativeLogLikelihood(DistributionLoss):
    """The cross-entropy -sum_x q(x) log p(x), in nats, of a distribution q relative to the model's p; of samples, the
    mean of -log p over them.

    target: bits (m, n), column q for qubit q, whose frequencies are q; or q itself, (2^n,), qubit q being bit q of the
        index. The model's first n qubits are compared.
    smoothing: epsilon: p is replaced by (1 - epsilon) p + epsilon / 2^n, which is nowhere zero. 0: a string of q that
        the model never gives, where the loss is infinite, is refused.

    Raises: QupropError for a target that is no distribution, a smoothing outside [0, 1), and where the loss is
    infinite.

    >>> p = np.array([0.5, 0.25, 0.25, 0.0])
    >>> round(float(qpr.NegativeLogLikelihood([[0, 0], [1, 0]]).of(p)), 6)  # (log 2 + log 4) / 2
    1.039721
    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> loss = qpr.NegativeLogLikelihood([0.5, 0.5])
    >>> result = qpr.train(model, loss, optimiser=qpr.adam(0.1), params=[0.3], steps=200)
    >>> round(result.loss, 4)  # log 2
    0.6931
    """

    target: Any = field(repr=False)
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", _distribution("`target`", self.target))
        object.__setattr__(self, "smoothing", _smoothing(self.smoothing))
        seen = np.flatnonzero(self.target)
        object.__setattr__(self, "_seen", seen)
        object.__setattr__(self, "_weights", self.target[seen])

    _seen: Any = field(init=False, repr=False, default=None)
    _weights: Any = field(init=False, repr=False, default=None)

    @property
    def n_bits(self) -> int:
        return int(self.target.size).bit_length() - 1

    @property
    def largest(self) -> float:
        return -math.log(_floor(np.dtype(float)))

    def refuse(self, p: np.ndarray, dtype: np.dtype) -> None:
        if not self.smoothing:
            _refuse_zeros(p[..., self._seen], dtype, self._seen, self.n_bits, "the model", "the target")

    def slope(self, p: np.ndarray) -> tuple[float, np.ndarray]:
        kept = _smoothed(p[self._seen], self.smoothing, p.size)
        slope = np.zeros(p.size)
        slope[self._seen] = -(1.0 - self.smoothing) * self._weights / kept
        return -float(self._weights @ np.log(kept)), slope

    def _mean(self, p: Any) -> Any:
        xp = library(p)
        kept = _smoothed(p[..., self._seen], self.smoothing, self.target.size)  # log 0 is infinite, and told so
        return -(like(self._weights, p) * xp.log(kept)).sum(-1)


@dataclass(frozen=True, eq=False)
class KLDivergence(DistributionLoss):
    """The Kullback-Leibler divergence, in nats, between a distribution q and the model's p: forward, D(q||p) = sum_x
    q(x) log(q(x) / p(x)), as maximum likelihood has it; or with `reverse` D(p||q), which keeps the model off strings
    that q does not have.

    target, smoothing: as of :class:`NegativeLogLikelihood`; smoothed is the distribution in the denominator, p forward
        and q in reverse. 0: where the denominator is zero and the numerator is not, which is infinite, is refused.

    Raises: QupropError for a target that is no distribution, a smoothing outside [0, 1), and where the divergence is
    infinite.

    >>> p, q = np.array([0.5, 0.5, 0.0, 0.0]), np.array([0.25, 0.75, 0.0, 0.0])
    >>> round(float(qpr.KLDivergence(q).of(p)), 6), round(float(qpr.KLDivergence(q, reverse=True).of(p)), 6)
    (0.130812, 0.143841)
    """

    target: Any = field(repr=False)
    reverse: bool = False
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        likelihood = NegativeLogLikelihood(self.target, 0.0 if self.reverse else self.smoothing)
        q = likelihood.target
        object.__setattr__(self, "target", q)
        object.__setattr__(self, "smoothing", _smoothing(self.smoothing))
        object.__setattr__(self, "_likelihood", likelihood)
        object.__setattr__(self, "_constant", _negative_entropy(q)[0])
        reached = _smoothed(q, self.smoothing if self.reverse else 0.0, q.size)
        object.__setattr__(self, "_missing", np.flatnonzero(reached == 0.0))
        object.__setattr__(self, "_log", np.log(np.where(reached > 0.0, reached, 1.0)))

    _likelihood: Any = field(init=False, repr=False, default=None)
    _constant: Any = field(init=False, repr=False, default=None)
    _missing: Any = field(init=False, repr=False, default=None)
    _log: Any = field(init=False, repr=False, default=None)

    @property
    def n_bits(self) -> int:
        return int(self.target.size).bit_length() - 1

    @property
    def largest(self) -> float:
        return float(self._likelihood.largest + self.n_bits + np.abs(self._log).max())

    def refuse(self, p: np.ndarray, dtype: np.dtype) -> None:
        if not self.reverse:
            self._likelihood.refuse(p, dtype)
            return
        given = (p[..., self._missing] > _floor(dtype)).any(axis=tuple(range(p.ndim - 1)))
        if given.any():
            string = _string(self._missing[np.flatnonzero(given)[0]], self.n_bits)
            raise QupropError(
                f"the target has no probability for {string}, which the model gives, and the reverse divergence is "
                "infinite there; pass smoothing=1e-3, say, or the forward one"
            )

    def slope(self, p: np.ndarray) -> tuple[float, np.ndarray]:
        if not self.reverse:
            value, slope = self._likelihood.slope(p)
            return value + self._constant, slope
        value, slope = _negative_entropy(p)
        return value - float(p @ self._log), slope - self._log

    def _mean(self, p: Any) -> Any:
        if not self.reverse:
            return self._likelihood._mean(p) + self._constant
        missed = p[..., self._missing]
        # Infinite where the target has nothing, for those that cannot look at numbers: p log(p / 0).
        return (
            _negative_entropies(p)
            - (p * like(self._log, p)).sum(-1)
            + library(p).where(missed > _floor(_dtype(p)), math.inf, 0.0).sum(-1)
        )


@dataclass(frozen=True, eq=False)
class ShannonEntropy(DistributionLoss):
    """The entropy -sum_x p(x) log p(x), in nats, of the model's measured bits. Subtracted from another loss it
    keeps the distribution broad: ``qpr.CVaR(cost, 0.2) - 0.1 * qpr.ShannonEntropy()``.

    Raises: QupropError in `train` for models with inputs or noise.

    >>> round(float(qpr.ShannonEntropy().of(np.array([0.5, 0.25, 0.25, 0.0]))), 6)  # 1.5 log 2
    1.039721
    """

    @property
    def largest(self) -> float:
        return float(_MOST_BITS)

    def slope(self, p: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = _negative_entropy(p)
        return -value, -slope

    def _mean(self, p: Any) -> Any:
        return -_negative_entropies(p)


@dataclass(frozen=True, eq=False)
class CVaR(DistributionLoss):
    """The conditional value at risk of a diagonal cost: its mean over the best share alpha of the measured bit strings,

        CVaR_alpha = max_t [ t - sum_x p(x) max(t - c(x), 0) / alpha ],

    the maximum being at the alpha-quantile t of the cost; alpha = 1 is the expectation value, alpha towards 0 the
    lowest cost seen (Barkoutsos et al., Quantum 4, 256 (2020), arXiv:1907.04769). A string at t counts with the part
    of its probability that fills alpha up, and strings of equal cost are one.

    The derivative by p(x) is -max(t - c(x), 0) / alpha. Where a part of the strings has exactly the probability alpha,
    the loss has a kink and this is one of its subgradients, with the lowest t.

    cost: a sum of products of Z, lowest where it is best, or costs (2^n,), qubit q being bit q of the index; of the
        model's first n qubits.
    alpha: in (0, 1].

    Raises: QupropError for a cost that is not diagonal, and an alpha outside (0, 1].

    >>> p, cost = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 1.0, 2.0, 3.0])
    >>> [round(float(qpr.CVaR(cost, alpha).of(p)), 6) for alpha in (0.1, 0.2, 1.0)]
    [0.0, 0.5, 2.0]
    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> round(qpr.train(model, qpr.CVaR("Z0", 0.5), params=[2.0], steps=0).loss, 6)  # P(1) = 0.708 is enough
    -1.0
    """

    cost: Any
    alpha: float

    def __post_init__(self) -> None:
        alpha = self.alpha
        if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.number) or not 0 < float(alpha) <= 1:
            raise QupropError(f"CVaR(alpha=) is the share of best outcomes, in (0, 1], got {shown(alpha)}")
        costs = _costs(self.cost)
        object.__setattr__(self, "alpha", float(alpha))
        object.__setattr__(self, "_costs", costs)
        object.__setattr__(self, "_order", np.argsort(costs, kind="stable"))

    _costs: Any = field(init=False, repr=False, default=None)
    _order: Any = field(init=False, repr=False, default=None)

    @property
    def n_bits(self) -> int:
        return int(self._costs.size).bit_length() - 1

    @property
    def largest(self) -> float:
        return float(np.abs(self._costs).max())

    def _shortfalls(self, p: Any) -> Any:
        """t and max(t - c(x), 0) of p (..., 2^n): t has no derivative, as the maximum is stationary in it."""
        xp = library(p)
        costs = like(self._costs, p)
        # Sums that reach alpha but for rounding have reached it.
        short = xp.cumsum(p[..., self._order], -1) < self.alpha * (1.0 - 8 * float(np.finfo(_dtype(p)).eps))
        t = costs[self._order][short.sum(-1).clip(max=self._costs.size - 1)]
        return t, xp.maximum(t[..., None] - costs, xp.zeros_like(costs))

    def slope(self, p: np.ndarray) -> tuple[float, np.ndarray]:
        t, shortfalls = self._shortfalls(p)
        return float(t - p @ shortfalls / self.alpha), -shortfalls / self.alpha

    def _mean(self, p: Any) -> Any:
        t, shortfalls = self._shortfalls(p)
        return t - (p * shortfalls).sum(-1) / self.alpha


def probabilities_of(given: Any, n: int | None, name: str) -> tuple[Any, np.ndarray | None]:
    """Probabilities (..., 2^n) as an array of their library, checked, and their numbers, None where JAX traces them."""
    p = np.asarray(given) if isinstance(given, list | tuple) else given
    numbers = numbers_of(p)
    size = p.shape[-1] if len(p.shape) else 0
    if size < 2 or size & (size - 1) or (n is not None and size != 1 << n):
        wanted = "2^n" if n is None else str(1 << n)
        raise QupropError(f"{name} takes probabilities of all bit strings, (..., {wanted}), got {tuple(p.shape)}")
    if numbers is not None:
        _refuse_no_distribution("`probabilities`", checked("`probabilities`", numbers, (..., size)), numbers.dtype)
    return p, numbers


def _costs(cost: Any) -> np.ndarray:
    if isinstance(cost, str | PauliTerms):
        total = PauliSum(cost)
        for string, _ in total.items():
            if string.x:
                raise QupropError(
                    f"CVaR takes a diagonal cost, a sum of products of Z, got the term {string}; its outcomes are not "
                    "those of measured bits"
                )
        if not 1 <= total.n_qubits <= _MOST_BITS:
            raise QupropError(f"CVaR takes a cost of 1 to {_MOST_BITS} qubits, got {total.n_qubits}")
        memory.require(8 * 4 << total.n_qubits, f"the costs of {total.n_qubits} bits", "take fewer qubits")
        coefficients = np.zeros(1 << total.n_qubits)
        for string, c in total.items():
            coefficients[string.z] = c
        return walsh_hadamard(coefficients)
    return _table("`cost`", cost)


def _distribution(name: str, given: Any) -> np.ndarray:
    """q (2^n,) of bits (m, n), or of itself."""
    if plain(name, given).ndim == 2:
        rows = bits(name, given)
        n = rows.shape[1]
        if n > _MOST_BITS:
            raise QupropError(f"{name} may have {_MOST_BITS} bits a sample, all strings being counted, got {n}")
        memory.require(8 * 4 << n, f"the distribution of {n} bits", "compare fewer qubits, or take qpr.MMD")
        index = rows.astype(np.int64) @ (np.int64(1) << np.arange(n))
        return np.bincount(index, minlength=1 << n) / len(rows)
    q = _table(name, given)
    _refuse_no_distribution(name, q)
    return np.maximum(q, 0.0) / q.sum()


def _table(name: str, given: Any) -> np.ndarray:
    found = checked(name, given, ("2^n",))
    if found.size < 2 or found.size & (found.size - 1):
        raise QupropError(f"{name} must have one number for each bit string, 2^n of them, got {found.size}")
    return found


def _smoothing(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= float(value) < 1:
        raise QupropError(f"smoothing= is the share of the uniform distribution, in [0, 1), got {shown(value)}")
    return float(value)


def _smoothed(p: Any, smoothing: float, size: int) -> Any:
    return p if not smoothing else (1.0 - smoothing) * p + smoothing / size


def _negative_entropy(p: np.ndarray) -> tuple[float, np.ndarray]:
    """sum p log p and its derivative, 0 where p is 0."""
    log = np.log(np.where(p > 0.0, p, 1.0))
    return float(p @ log), np.where(p > 0.0, log + 1.0, 0.0)


def _negative_entropies(p: Any) -> Any:
    xp = library(p)
    inside = p > 0.0
    kept = xp.where(inside, p, 1.0)  # so that no derivative passes through log 0
    return xp.where(inside, kept * xp.log(kept), 0.0).sum(-1)


def _dtype(p: Any) -> np.dtype:
    return np.dtype(str(p.dtype).rpartition(".")[2])


def _floor(dtype: Any) -> float:
    """What rounding leaves of a probability that is 0: amplitudes are known to some 64 units in the last place."""
    return float((64 * np.finfo(dtype).eps) ** 2)


def _refuse_no_distribution(name: str, p: np.ndarray, dtype: Any = float) -> None:
    slack = _NORMALISED if np.dtype(dtype) == float else 64 * _NORMALISED
    if (p < -slack).any() or (np.abs(p.sum(axis=-1) - 1.0) > slack).any():
        raise QupropError(
            f"{name} must be probabilities, none negative and of sum 1, got a smallest of {p.min():.3g} and sums from "
            f"{p.sum(axis=-1).min():.6g} to {p.sum(axis=-1).max():.6g}"
        )


def _refuse_zeros(p: np.ndarray, dtype: Any, index: np.ndarray, n: int, of: str, where: str) -> None:
    low = (p <= _floor(dtype)).any(axis=tuple(range(p.ndim - 1)))
    if low.any():
        raise QupropError(
            f"{of} gives {_string(index[np.flatnonzero(low)[0]], n)} the probability 0 but {where} has it, and the "
            "loss is infinite there; pass smoothing=1e-3, say, or begin at other parameters"
        )


def _string(index: int, n: int) -> str:
    """A bit string, qubit 0 first."""
    return "the bits " + "".join(str(int(index) >> q & 1) for q in range(n)) + " (qubit 0 first)"
