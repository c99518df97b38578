"""The maximum mean discrepancy between a model's samples and data, minimised without drawing the model's samples.

With the Gaussian kernel k(x, y) = exp(-|x - y|^2 / (2 sigma^2)) on bit strings,

    MMD^2 = E_{a: bits Bernoulli(p)} (<Z_a>_model - <Z_a>_data)^2,   p = (1 - exp(-1 / (2 sigma^2))) / 2,

a mean of expectation values of products of Z (Rudolph et al., npj Quantum Information 10, 64 (2024), arXiv:2305.02881),
which a commuting model gives classically at any number of qubits (Recio-Armengol et al., arXiv:2503.02934).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from quprop.arrays import bits
from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.model.ansatz_iqp import all_gates
from quprop.model.x_rotations import Subsets
from quprop.simulate import memory
from quprop.simulate.commuting.form import CommutingForm, Measured, angles_of
from quprop.simulate.commuting.gates import Gates, Turns
from quprop.simulate.commuting.strings import Moments, bandwidths, drawn_subsets, probability
from quprop.simulate.engine import threads_of
from quprop.simulate.vectors import walsh_hadamard
from quprop.training.bit_distribution import BitDistribution, check_bits
from quprop.training.distributions import probabilities_of
from quprop.training.losses import Loss
from quprop.training.mmd_kernels import Kernels, smoothed

EXACT_QUBITS = 20  # up to here the loss is computed from all probabilities, unless told otherwise
_MOST_SUBSETS = 2_000_000  # of an exact loss that stops at a weight
_SUMMED = 10  # weight of products whose expectation values are summed
_REPEATS, _TEST_SEED = 16, 1  # independent estimates that a loss with an error bar is the mean of, and their seed


class MMDEstimate(NamedTuple):
    """A loss and its standard error, 0 where it is exact."""

    value: float
    error: float


@dataclass(frozen=True, eq=False)
class MMD(Loss):
    """MMD^2 between what a model's measurement gives and data, the mean over the kernel's widths.

    data: bits (m, n), column q for qubit q; the model's first n qubits are compared.
    sigma: the kernel's width, or several; they set the weights |a| ~ Binomial(n, p) of the products of Z compared.
    operators, samples: products of Z, and signs for their expectation values, drawn anew in every step and for every
        width; the estimate of the loss is unbiased, in the data's place too (its diagonal is left out), and so is its
        gradient. A product is summed exactly where that is cheaper than its part of the samples.
    exact: True: no sampling at all, so that L-BFGS works; from all probabilities up to 20 qubits, else over all
        products of weight at most `weight`, which leaves out at most `tail(n)` of the loss. False: sampled. None: exact
        up to 20 qubits.
    test, test_sigma: data and widths that training does not see; the loss on them is looked at every `test_every`
        steps and in the end. By default the training widths.

    Raises: QupropError for data that are no bits, settings that are no whole numbers, and in `train` for a model it
    cannot compare.

    >>> model = qpr.Model(qpr.ansatz.iqp(2), "I")
    >>> loss = qpr.MMD(np.array([[0, 0], [1, 1], [0, 0], [1, 1]]), sigma=1.0)
    >>> result = qpr.train(model, loss, optimiser=qpr.adam(0.1), rng=1, steps=150)
    >>> result.loss < 0.1
    True
    """

    data: Any = field(repr=False)
    sigma: Any = 1.0
    operators: int = 1000
    samples: int = 1000
    exact: bool | None = None
    weight: int | None = None
    test: Any = field(default=None, repr=False)
    test_sigma: Any = None
    test_every: int = 100
    needs_targets = False
    supports_head = False

    def __post_init__(self) -> None:
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        set_("data", _several("`data`", self.data))
        if self.test is not None:
            set_("test", _several("`test`", self.test, self.data.shape[1]))
        set_("sigma", tuple(bandwidths(self.sigma).tolist()))
        set_("test_sigma", self.sigma if self.test_sigma is None else tuple(bandwidths(self.test_sigma).tolist()))
        for name, least in (("operators", 2), ("samples", 2), ("test_every", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise QupropError(f"MMD({name}=) is a whole number from {least}, got {shown(value)}")
        if self.exact not in (None, True, False):
            raise QupropError(f"MMD(exact=) is True, False or None, got {shown(self.exact)}")
        if self.weight is not None and (
            isinstance(self.weight, bool) or not isinstance(self.weight, int | np.integer) or self.weight < 0
        ):
            raise QupropError(f"MMD(weight=) is the largest weight of an exact loss, got {shown(self.weight)}")

    def check(self, n_outputs: int, targets: np.ndarray | None) -> None:
        raise QupropError("MMD holds its data itself: leave out data= and test= of train, pass MMD(data, test=...)")

    def over(self, model: Any, **options: Any) -> MMDOverModel:
        """What computes this loss for a model, straight from its parameters."""
        return MMDOverModel(self, model, **options)

    def of(self, probabilities: Any) -> Any:
        """The exact MMD^2 of probabilities (2^n,) of the n bits, or its mean over a batch (..., 2^n), as a number of
        their library: NumPy, Torch, JAX. Differentiable there. The test data are not looked at."""
        p, _ = probabilities_of(probabilities, self.data.shape[1], "MMD")
        return Kernels(self.data, self.sigma).of(p).mean()

    def tail(self, n: int) -> float:
        """What an exact loss that stops at `weight` may leave out: 4 P(|a| > weight), the mean over the widths."""
        from scipy.stats import binom

        if self.weight is None:
            return 0.0
        return float(np.mean([4 * binom.sf(self.weight, n, probability(s)) for s in self.sigma]))


def _several(name: str, given: Any, n: int | str = "n") -> np.ndarray:
    """Bits (m, n) of two samples at least: unbiased estimates leave one out."""
    found = bits(name, given, ("samples", n))
    if len(found) < 2:
        raise QupropError(f"{name} needs two samples at least, got {len(found)}")
    return found


def subsets_to(n: int, weight: int) -> Subsets:
    """All subsets of at most `weight` of n bits, the empty one first."""
    count = sum(math.comb(n, k) for k in range(min(weight, n) + 1))
    if count > _MOST_SUBSETS:
        raise QupropError(
            f"there are {count:,} products of weight up to {weight} on {n} bits, and an exact loss takes "
            f"{_MOST_SUBSETS:,} at most; lower MMD(weight=), or exact=False"
        )
    rest = all_gates(n, weight) if weight else Subsets(np.zeros(1, np.int64), np.empty(0, np.int32))
    return Subsets(np.concatenate([[0], rest.ptr]), rest.qubits)


class MMDOverModel:
    """The loss of one model: `loss_and_grad(theta, rng)`, `evaluate(theta)`, `told(theta, step)`.

    Three ways: from all probabilities, over all products up to a weight, or sampled.
    """

    def __init__(
        self, loss: MMD, model: Any, *, engine: Any = None, precision: str = "double", threads: int | None = None
    ) -> None:
        n = loss.data.shape[1]
        check_bits(model, n, "the MMD loss")
        self.loss, self.model, self.n = loss, model, n
        self.gradient_variance = math.nan
        self._moments = Moments(loss.data)
        small = model.n_qubits <= EXACT_QUBITS
        self.exact = small if loss.exact is None else loss.exact
        self.whole = self.exact and small and loss.weight is None
        if self.whole:
            self._bits = BitDistribution(model, n, engine=engine, precision=precision, threads=threads)
            self._data = Kernels(loss.data, loss.sigma)
            self._test = None if loss.test is None else Kernels(loss.test, loss.test_sigma)
            self.how = f"all {1 << model.n_qubits:,} probabilities"
            return
        form = CommutingForm.of(model)
        measured = form.measured(n)
        if measured is None:
            raise QupropError(
                "MMD beyond the state vector takes IQP circuits, rotations about products of X on a basis state, "
                "measured as they are or flipped by a coin, got other Clifford gates; use qpr.ansatz.iqp"
            )
        self._measured: Measured = measured
        self._gates = Gates(form, precision, threads_of(threads))
        self._test_moments = None if loss.test is None else Moments(loss.test)
        if self.exact:
            if loss.weight is None:
                raise QupropError(
                    f"an exact loss of {model.n_qubits} qubits stops at a weight of products of Z: pass MMD(weight=2), "
                    "or exact=False"
                )
            if not self._gates.local:
                raise QupropError("an exact loss takes gates about one and two qubits; pass exact=False")
            subsets = subsets_to(n, loss.weight)
            sizes = subsets.sizes
            p = np.array([probability(s) for s in loss.sigma])[:, None]
            share = np.exp(sizes * np.log(p) + (n - sizes) * np.log1p(-p)).mean(axis=0)
            t = self._moments.of(subsets)
            flips, factor = measured.of(subsets)
            seen = np.flatnonzero(factor)
            # The loss is own + share . (e^2 - 2 target e), e the means of cosines of products that are not always 0.
            self._flips, self._share, self._target = flips.take(seen), share[seen], (t * factor)[seen]
            self._own = float(share @ self._moments.squares(t))
            self.how = f"all {len(sizes):,} products of weight up to {loss.weight}, but {loss.tail(n):.1e}"
        else:
            self.how = f"{loss.operators:,} products of Z and {loss.samples:,} signs a step and width"
        memory.require(
            self.memory(), f"the loss of {model.n_qubits} qubits and {model.n_rotations:,} gates", "take fewer gates"
        )

    def memory(self, gradient: bool = True) -> int:
        """Bytes of the loss, or of its gradient, that are known beforehand."""
        if self.whole:
            return self._bits.memory(gradient)
        samples = 0 if self.exact else self.loss.samples
        n, matrices, columns, vectors = self._gates.n, *((4, 3, 6) if gradient else (2, 2, 2))
        return 8 * (matrices * n**2 * self._gates.matrix + columns * n * samples + vectors * self.model.n_rotations)

    @property
    def deterministic(self) -> bool:
        return self.exact

    def loss_and_grad(self, theta: np.ndarray, rng: np.random.Generator | None = None) -> tuple[float, np.ndarray]:
        """The loss, or an unbiased estimate of it by draws from rng, and its gradient (P,)."""
        if self.whole:
            p, pullback = self._bits.vjp(theta)
            value, slope = self._data.mmd2(p)
            gradient = pullback(slope)
        elif self.exact:
            value, gradient = self._to_weight(theta, True)
        else:
            value, gradient = self._drawn(theta, rng, self._moments, self.loss.sigma)
        self.gradient_variance = float(gradient.var())
        return value, gradient

    def value(self, theta: np.ndarray, rng: np.random.Generator | None = None) -> float:
        """The loss as `loss_and_grad` finds it with the same rng, without the gradient."""
        if self.whole:
            return self._data.mmd2(self.probabilities(theta))[0]
        if self.exact:
            return self._to_weight(theta, False)[0]
        return self._drawn(theta, rng, self._moments, self.loss.sigma, gradient=False)[0]

    def _drawn(
        self,
        theta: np.ndarray,
        rng: np.random.Generator | None,
        moments: Moments,
        widths: tuple[float, ...],
        gradient: bool = True,
    ) -> tuple[float, np.ndarray]:
        """The mean over the widths of an estimate by fresh draws."""
        assert rng is not None
        value, total = 0.0, np.zeros(self.model.n_params)
        for sigma in widths:
            subsets = drawn_subsets(self.n, sigma, self.loss.operators, rng)
            signs = self.signs(rng)
            one, d = self.estimate(theta, subsets, signs, moments=moments, gradient=gradient)
            value, total = value + one / len(widths), total + d / len(widths)
        return value, total

    def signs(self, rng: np.random.Generator) -> np.ndarray:
        """Uniform signs (n, samples) for `estimate`: 1 for minus."""
        return self._gates.bits(self.loss.samples, rng)

    def estimate(
        self,
        theta: np.ndarray,
        subsets: Subsets,
        bits: np.ndarray,
        *,
        moments: Moments | None = None,
        gradient: bool = True,
        summed: bool = True,
    ) -> tuple[float, np.ndarray]:
        """The estimate for given products of Z and signs, and its gradient (P,).

        mean_a [ (S e^2 - mean cos^2) / (S - 1) - 2 t e + (m t^2 - 1) / (m - 1) ], or e^2 where e is exact.
        summed: whether products are summed exactly where that is cheaper.
        """
        moments = self._moments if moments is None else moments
        S, A = bits.shape[1], len(subsets)
        t = moments.of(subsets)
        flips, factor = self._measured.of(subsets)
        turns = self._turns(theta)
        parts = moments.squares(t)
        seen = factor != 0
        cheap = self._gates.cheaper_exactly(flips.sizes, A, S) & summed
        exact, drawn = np.flatnonzero(cheap & seen), np.flatnonzero(~cheap & seen)
        target = t * factor  # of the mean of cosines: factor is +-1
        d: Turns | None = None
        if len(drawn):

            def slopes(part: slice, m: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
                return (2 * S * m / (S - 1) - 2 * target[drawn[part]]) / A, np.full(len(m), -1 / (S - 1) / A)

            e, q, d = self._gates.sampled(turns, flips.take(drawn), bits, slopes if gradient else None)
            parts[drawn] += (S * e**2 - q) / (S - 1) - 2 * target[drawn] * e
        if len(exact):
            slope = np.full(len(exact), 2.0 / A) if gradient else None
            offset = None if slope is None else -slope * target[exact]
            e, d = self._gates.exact(turns, flips.take(exact), offset, slope, d)
            parts[exact] += e**2 - 2 * target[exact] * e
        return float(parts.mean()), self._by_theta(d, theta)

    def _turns(self, theta: np.ndarray) -> Turns:
        return self._gates.turns(angles_of(self.model, theta[None], np.empty((1, 0)))[0])

    def _by_theta(self, d: Turns | None, theta: np.ndarray) -> np.ndarray:
        if d is None:
            return np.zeros(self.model.n_params)
        d_angles = self._gates.by_angles(d)[None]
        return self.model.angle_table.pullback(d_angles, theta[None], np.empty((1, 0)))[0][0]

    def _to_weight(self, theta: np.ndarray, gradient: bool) -> tuple[float, np.ndarray]:
        offset = -2 * self._share * self._target if gradient else None
        e, d = self._gates.exact(self._turns(theta), self._flips, offset, 2 * self._share)
        return self._own + float(self._share @ (e**2 - 2 * self._target * e)), self._by_theta(d, theta)

    def expectations(self, theta: np.ndarray, subsets: Subsets, rng: np.random.Generator | None = None) -> np.ndarray:
        """<Z_a> of subsets a of the measured bits, (A,): exact where all probabilities are known, or all gates are
        about one and two qubits and |a| <= 10 (2^(|a|-1) n operations); else means over `samples` signs by rng."""
        if self.whole:
            index = np.add.reduceat(np.append(np.int64(1) << subsets.qubits.astype(np.int64), 0), subsets.ptr[:-1])
            return walsh_hadamard(self.probabilities(theta))[np.where(subsets.sizes > 0, index, 0)]
        flips, factor = self._measured.of(subsets)
        turns = self._turns(theta)
        summed = (flips.sizes <= _SUMMED) & self._gates.local
        found = np.empty(len(subsets))
        if summed.any():
            found[summed] = self._gates.exact(turns, flips.take(np.flatnonzero(summed)))[0]
        if not summed.all():
            assert rng is not None
            signs = self.signs(rng)
            found[~summed] = self._gates.sampled(turns, flips.take(np.flatnonzero(~summed)), signs, None)[0]
        return factor * found

    def kernel_means(self, probabilities: np.ndarray, witnesses: np.ndarray) -> np.ndarray:
        """E k(y, t_j) of the model's y, at test_sigma, with witnesses t (J, n): (J,), from all probabilities."""
        index = witnesses.astype(np.int64) @ (np.int64(1) << np.arange(self.n))
        return smoothed(probabilities, self.loss.test_sigma)[index]

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        """Of the measured bits (2^n,), qubit q being bit q of the index."""
        return self._bits.probabilities(theta)

    def evaluate(self, theta: np.ndarray, test: bool = False) -> MMDEstimate:
        """The loss on the training data, or on those for the test: with an error by fixed draws where it is sampled."""
        if self.whole:
            kernels_ = self._test if test else self._data
            assert kernels_ is not None
            return MMDEstimate(kernels_.mmd2(self.probabilities(theta))[0], 0.0)
        moments = self._test_moments if test else self._moments
        if self.exact and not test:
            return MMDEstimate(self._to_weight(theta, False)[0], self.loss.tail(self.n))
        found, widths = [], self.loss.test_sigma if test else self.loss.sigma
        rng = np.random.default_rng(_TEST_SEED)
        assert moments is not None
        for _ in range(_REPEATS):  # products share their signs, so only whole estimates are independent
            found.append(self._drawn(theta, rng, moments, widths, gradient=False)[0])
        return MMDEstimate(float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(_REPEATS)))

    def told(self, theta: np.ndarray, step: int | None = None) -> dict[str, float]:
        """What the history says of a step (None: of the end) beside the loss."""
        line = {"gradient_variance": self.gradient_variance} if step is not None else {}
        if self.loss.test is not None and (step is None or step % self.loss.test_every == 0):
            found = self.evaluate(theta, test=True)
            line |= {"test_mmd2": found.value, "test_mmd2_error": found.error}
        return line


def mmd2_of_expectations(
    expectations: Callable[[Subsets], np.ndarray],
    data: Any,
    sigma: Any,
    rng: np.random.Generator,
    operators: int = 10_000,
) -> MMDEstimate:
    """MMD^2 between data (m, n) and any model whose expectation values are known: `expectations(subsets)` are the <Z_a>
    of subsets a. Unbiased, by so many independent products of each width:

        mean_a [ <Z_a>^2 - 2 <Z_a> t_a + (m t_a^2 - 1) / (m - 1) ],   t_a the mean of Z_a over data.
    """
    rows = _several("`data`", data)
    moments, value, variance = Moments(rows), 0.0, 0.0
    widths = bandwidths(sigma)
    for s in widths:
        subsets = drawn_subsets(rows.shape[1], s, operators, rng)
        e, t = expectations(subsets), moments.of(subsets)
        parts = e**2 - 2 * t * e + moments.squares(t)
        value += float(parts.mean()) / len(widths)
        variance += float(parts.var(ddof=1)) / operators / len(widths) ** 2
    return MMDEstimate(value, math.sqrt(variance))


def initial_theta(
    model: Model, data: Any, rng: np.random.Generator, scale: float = 0.01, noise: float = 0.0
) -> np.ndarray:
    """Parameters (P,) of an IQP circuit to begin training at, told for those of `iqp` (of another factor, the same
    angles): those of single qubits give the data's means, cos(2 theta_i) = <Z_i>; a trained coin flips as many as there
    are samples on the rarer side of half ones, which are flipped first; those of pairs are scale times the covariance
    of the two bits, divided by the largest covariance; all others, and normal noise of that size on all, 0.

    As in Recio-Armengol et al., arXiv:2503.02934; the reason is that gradients do not vanish there as they do for
    uniform angles (arXiv:2603.14576).
    """
    form, rows = CommutingForm.of(model), _several("`data`", data)
    gates, n = form.gates, rows.shape[1]
    table = model.angle_table
    own = len(table.var) == len(table.coef) == len(gates) == model.n_params == len(np.unique(table.var))
    if not own or table.constant.any() or not form.plain:
        raise QupropError("initial_theta takes an IQP circuit with a parameter for each gate, as qpr.ansatz.iqp makes")
    coin = _trained_coin(form, n)
    turned = 0.0
    if coin is not None:  # two phases: that of the fewer samples is flipped onto the other
        turned, rows = one_phase(rows)
    mean = rows.mean(axis=0)
    sizes, angles = gates.sizes, np.zeros(len(gates))
    inside = np.add.reduceat((gates.qubits >= n).astype(int), gates.ptr[:-1]) == 0
    ones, pairs = np.flatnonzero((sizes == 1) & inside), np.flatnonzero((sizes == 2) & inside)
    angles[ones] = np.arccos(np.clip(1 - 2 * mean[gates.qubits[gates.ptr[ones]]], -1, 1))
    if len(pairs):
        a, b = gates.qubits[gates.ptr[pairs]], gates.qubits[gates.ptr[pairs] + 1]
        covariance = _products(rows)[a, b] - mean[a] * mean[b]
        angles[pairs] = 2 * scale * covariance / (np.abs(covariance).max() or 1.0)
    if coin is not None:
        angles[coin] = 2 * math.asin(math.sqrt(turned))
    theta = np.empty(len(gates))
    theta[table.var] = angles / table.coef
    return theta + noise * rng.normal(size=len(theta))


def one_phase(rows: np.ndarray) -> tuple[float, np.ndarray]:
    """The share of samples (m, n) on the rarer side of half ones, and all samples with these flipped."""
    ones = rows.mean(axis=1) > 0.5
    minority = ones if ones.mean() <= 0.5 else ~ones
    return float(minority.mean()), rows ^ minority[:, None].astype(np.uint8)


def _products(rows: np.ndarray) -> np.ndarray:
    """Means of the products of two bits (n, n), sample by sample in blocks: exact sums of ones."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), 2048):
        part = rows[start : start + 2048].astype(np.float32)
        total += part.T @ part
    return total / len(rows)


def _trained_coin(form: CommutingForm, n: int) -> int | None:
    """The gate of a coin that all measured qubits see, if there is one."""
    measured = form.measured(n)
    if measured is None or measured.own:
        return None
    seen = np.flatnonzero((measured.flips.sum(axis=0) == n) & (np.arange(form.n) >= n))
    sizes = form.gates.sizes
    found = [g for g in np.flatnonzero(sizes == 1) if len(seen) and form.gates.subset(g)[0] == seen[0]]
    return int(found[0]) if found else None
