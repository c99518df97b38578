"""Losses: from the outputs of a model to one number, with its exact derivative.

A loss is a small frozen object with ``__call__(outputs (B, K), targets) -> (loss, cotangent (B, K))`` (the mean over
the batch and its derivative with respect to the outputs), ``metric(outputs, targets)`` and ``metric_name``. Outputs are
the expectations of the model's observables (after the head, if there is one), except for :class:`Fidelity`, whose one
output is an overlap with the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from quprop import simulate
from quprop.arrays import checked
from quprop.errors import QupropError, shown
from quprop.model.input_state import normalised


class LossValue(NamedTuple):
    """A loss and its standard error, 0 where it is exact."""

    value: float
    error: float = 0.0


@dataclass(frozen=True)
class Loss:
    """Base of all losses: outputs are the expectations of the model's observables (after the head, if there is one)."""

    metric_name = ""
    supports_head = True
    needs_targets = True

    def check(self, n_outputs: int, targets: np.ndarray | None) -> None:
        """Refuse, before anything is computed, targets that do not fit ``n_outputs`` outputs."""

    def metric(self, outputs: np.ndarray, targets: np.ndarray | None) -> float | None:
        return None

    def over(self, model: Any, **options: Any) -> Any:
        """What computes the loss of a model straight from its parameters (`loss_and_grad(theta, rng)`, `value(theta,
        rng)`, `evaluate(theta)`, `told(theta, step)`, `deterministic`, `memory(gradient)`, `how`, and where the loss
        may be large `reach`), for a loss that is no function of the model's observables; else None."""
        return None

    def __add__(self, other: Loss) -> WeightedSum:
        return WeightedSum(_terms(self) + _terms(other))

    def __sub__(self, other: Loss) -> WeightedSum:
        return self + -1.0 * other

    def __mul__(self, weight: float) -> WeightedSum:
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number) or not np.isfinite(weight):
            raise QupropError(f"a loss is multiplied by a finite real number, got {shown(weight)}")
        return WeightedSum(tuple((float(weight) * w, loss) for w, loss in _terms(self)))

    __rmul__ = __mul__

    def __call__(self, outputs: np.ndarray, targets: np.ndarray | None) -> tuple[float, np.ndarray]:
        raise NotImplementedError


@dataclass(frozen=True)
class Expectation(Loss):
    """The mean over the batch of sum_k weights_k <O_k>; ``weights`` None means one for each. An energy is the case of
    one observable.

    Raises: QupropError in `train`, unless there is one weight an observable.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.train(model, qpr.Expectation((-1.0,)), params=[0.0], steps=0).loss  # of -cos(theta)
    -1.0
    """

    weights: tuple[float, ...] | None = None
    needs_targets = False

    def check(self, n_outputs: int, targets: np.ndarray | None) -> None:
        if targets is not None:
            raise QupropError(
                "the expectation loss takes no targets: pass inputs alone, or choose cross_entropy or mean_square"
            )
        if self.weights is not None:
            checked("`weights`", self.weights, (n_outputs,))

    def __call__(self, outputs: np.ndarray, targets: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        weights = np.ones(outputs.shape[1]) if self.weights is None else np.asarray(self.weights, float)
        cotangent = np.broadcast_to(weights / len(outputs), outputs.shape)
        return float((outputs @ weights).mean()), np.ascontiguousarray(cotangent)


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-log softmax(outputs)[label], averaged; one output is the logit of class 1 against class 0. Targets: integer
    labels (B,).

    Raises: QupropError in `train`, for labels that are missing or no whole numbers below the number of classes.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.inputs("x", 1)[0] + qpr.params("theta", 1)[0], 0), "Z0")
    >>> data = np.array([[0.0], [np.pi]]), np.array([1, 0])
    >>> round(qpr.train(model, qpr.CrossEntropy(), data=data, params=[0.0], steps=0).loss, 6)  # log(1 + 1/e)
    0.313262
    """

    metric_name = "accuracy"

    def check(self, n_outputs: int, targets: np.ndarray | None) -> None:
        classes = max(n_outputs, 2)
        if targets is None:
            raise QupropError("cross_entropy needs integer labels: pass data=(inputs, labels)")
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
            raise QupropError(
                f"cross_entropy needs integer labels of shape (samples,), got {targets.dtype} of shape {targets.shape}"
            )
        if len(targets) and (targets.min() < 0 or targets.max() >= classes):
            raise QupropError(
                f"labels must lie in 0..{classes - 1} for {n_outputs} observable(s), got "
                f"{targets.min()}..{targets.max()}"
            )

    def __call__(self, outputs: np.ndarray, targets: np.ndarray | None) -> tuple[float, np.ndarray]:
        assert targets is not None
        logits = outputs if outputs.shape[1] > 1 else np.hstack([np.zeros_like(outputs), outputs])
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        rows = np.arange(len(targets))
        cotangent = np.exp(log_probability)
        cotangent[rows, targets] -= 1.0
        cotangent /= len(targets)
        if outputs.shape[1] == 1:
            cotangent = cotangent[:, 1:]
        return float(-log_probability[rows, targets].mean()), cotangent

    def guess(self, outputs: np.ndarray) -> np.ndarray:
        """The likeliest class of each sample, (B,)."""
        return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).astype(int)

    def metric(self, outputs: np.ndarray, targets: np.ndarray | None) -> float:
        return float((self.guess(outputs) == targets).mean())


@dataclass(frozen=True)
class MeanSquare(Loss):
    """The mean over batch and outputs of (output - target)^2. Targets: (B,) for one output, or (B, K).

    Raises: QupropError in `train`, for targets that are missing or of another shape.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.inputs("x", 1)[0] + qpr.params("theta", 1)[0], 0), "Z0")
    >>> x = np.array([[0.0], [np.pi]])
    >>> round(qpr.train(model, qpr.MeanSquare(), data=(x, np.array([1.0, 1.0])), params=[0.0], steps=0).loss, 6)
    2.0
    """

    metric_name = "rmse"

    def check(self, n_outputs: int, targets: np.ndarray | None) -> None:
        if targets is None:
            raise QupropError("mean_square needs targets: pass data=(inputs, targets)")
        checked("targets", targets)
        if targets.shape[1:] != (n_outputs,) and not (targets.ndim == 1 and n_outputs == 1):
            raise QupropError(
                f"targets must have shape (samples, {n_outputs}), one column an observable, got {targets.shape}"
            )

    def __call__(self, outputs: np.ndarray, targets: np.ndarray | None) -> tuple[float, np.ndarray]:
        assert targets is not None  # `check` has seen to it
        difference = outputs - np.reshape(targets, outputs.shape)
        return float((difference**2).mean()), 2.0 * difference / difference.size

    def metric(self, outputs: np.ndarray, targets: np.ndarray | None) -> float:
        return float(np.sqrt(self(outputs, targets)[0]))


@dataclass(frozen=True, eq=False)
class Fidelity(Loss):
    """1 - |<target|psi>|^2, the mean over the batch: prepares a state. ``target``: (2^n,), normalised here.

    The gradient is the backward sweep of the observable |target><target|, exact (:class:`quprop.outputs.StateOverlap`).

    Raises: QupropError for a target that is zero or not finite, and in `train` for targets beside it.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> result = qpr.train(model, qpr.Fidelity([1, 1]), optimiser=qpr.adam(0.1), params=[0.1], steps=200)
    >>> round(result.loss, 6), result.params["theta"].round(2)  # |+> is at pi/2
    (0.0, array([1.57]))
    """

    target: Any = field(repr=False)
    metric_name = "fidelity"
    supports_head = False
    needs_targets = False

    def __post_init__(self) -> None:
        target = normalised("`target`", checked("`target`", self.target, ("2^n",), complex))
        object.__setattr__(self, "target", target)

    def check(self, n_outputs: int, targets: np.ndarray | None) -> None:
        if targets is not None:
            raise QupropError("the fidelity loss takes no targets beside its target state: pass inputs alone")

    def __call__(self, outputs: np.ndarray, targets: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        return float(1.0 - outputs.mean()), np.full(outputs.shape, -1.0 / len(outputs))

    def metric(self, outputs: np.ndarray, targets: np.ndarray | None = None) -> float:
        return float(outputs.mean())


@dataclass(frozen=True, eq=False)
class WeightedSum(Loss):
    """A sum of losses with weights, as ``qpr.CVaR(cost, 0.2) - 0.1 * qpr.ShannonEntropy()`` makes it: of those that
    look at the model's distribution, and of expectation values.

    terms: pairs (weight, loss).

    Raises: QupropError for what is no loss, and in `train` for losses of data, of states or of a head.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> free_energy = qpr.Expectation() - 0.5 * qpr.ShannonEntropy()  # its least is -log(2 cosh 2) / 2
    >>> round(qpr.train(model, free_energy, params=[2.0], steps=200, optimiser=qpr.adam(0.1)).loss, 6)
    -1.009075
    """

    terms: tuple[tuple[float, Loss], ...]
    supports_head = False
    needs_targets = False

    def check(self, n_outputs: int, targets: np.ndarray | None) -> None:
        raise QupropError("a sum of losses takes no data: leave out data= and test= of train")

    def over(self, model: Any, **options: Any) -> _SumOverModel:
        return _SumOverModel(self, model, **options)

    def of(self, probabilities: Any) -> Any:
        """The sum for probabilities, where each of the losses is one of them."""
        total: Any = 0.0
        for weight, loss in self.terms:
            of = getattr(loss, "of", None)
            if of is None:
                raise QupropError(f"{type(loss).__name__} is no function of probabilities; train with the sum instead")
            total = total + weight * of(probabilities)
        return total


def _terms(loss: Any) -> tuple[tuple[float, Loss], ...]:
    if not isinstance(loss, Loss):
        raise QupropError(f"losses are added to losses, got {shown(loss)}")
    return loss.terms if isinstance(loss, WeightedSum) else ((1.0, loss),)


class _ExpectationOverModel:
    """The expectation loss as a function of theta, for sums."""

    deterministic, how = True, "expectation values"

    def __init__(self, loss: Expectation, model: Any, **options: Any) -> None:
        loss.check(model.n_observables, None)
        if model.n_inputs:
            raise QupropError(f"a sum of losses takes a model without inputs, got one of {model.n_inputs}")
        self._loss, self._model, self._options = loss, model, options
        norms = [sum(abs(c) for _, c in total.items()) for total in getattr(model, "observables", ())]
        weights = np.ones(len(norms)) if loss.weights is None else np.abs(loss.weights)
        self.reach = float(weights @ norms) if norms else 1.0

    def memory(self, gradient: bool = True) -> int:
        return int(
            simulate.engine_for(self._model, *self._options.values()).memory(
                self._model, 1, "vjp" if gradient else "expectation"
            )
        )

    def loss_and_grad(self, theta: np.ndarray, rng: np.random.Generator | None = None) -> tuple[float, np.ndarray]:
        values, pullback = simulate.vjp(self._model, theta, None, **self._options)
        value, cotangent = self._loss(np.reshape(values, (1, -1)), None)
        return value, np.asarray(pullback(cotangent[0])[0], float)

    def value(self, theta: np.ndarray, rng: np.random.Generator | None = None) -> float:
        values = simulate.expectation(self._model, theta, None, **self._options)
        return self._loss(np.reshape(values, (1, -1)), None)[0]

    def evaluate(self, theta: np.ndarray) -> LossValue:
        return LossValue(self.value(theta))

    def told(self, theta: np.ndarray, step: int | None = None) -> dict[str, float]:
        return {}


class _SumOverModel:
    """A sum of losses as a function of theta: a sweep forwards and one back for each of them."""

    def __init__(self, total: WeightedSum, model: Any, **options: Any) -> None:
        parts: list[tuple[float, Any]] = []
        for weight, loss in total.terms:
            part = _ExpectationOverModel(loss, model, **options) if isinstance(loss, Expectation) else None
            part = loss.over(model, **options) if part is None else part
            if part is None:
                raise QupropError(
                    f"a sum of losses takes those of distributions and expectation values, got {type(loss).__name__}; "
                    "train with it alone"
                )
            parts.append((weight, part))
        self._parts = parts
        self.deterministic = all(part.deterministic for _, part in parts)
        self.how = " and ".join(dict.fromkeys(part.how for _, part in parts))
        self.reach = sum(abs(weight) * getattr(part, "reach", 1.0) for weight, part in parts)

    def memory(self, gradient: bool = True) -> int:
        return max(part.memory(gradient) for _, part in self._parts)

    def loss_and_grad(self, theta: np.ndarray, rng: np.random.Generator | None = None) -> tuple[float, np.ndarray]:
        value, gradient = 0.0, np.zeros(len(theta))
        for weight, part in self._parts:
            one, slope = part.loss_and_grad(theta, rng)
            value, gradient = value + weight * one, gradient + weight * slope
        return value, gradient

    def value(self, theta: np.ndarray, rng: np.random.Generator | None = None) -> float:
        return float(sum(weight * part.value(theta, rng) for weight, part in self._parts))

    def evaluate(self, theta: np.ndarray) -> LossValue:
        found = [(weight, part.evaluate(theta)) for weight, part in self._parts]
        error = float(np.sqrt(sum((weight * e.error) ** 2 for weight, e in found)))
        return LossValue(float(sum(weight * e.value for weight, e in found)), error)

    def told(self, theta: np.ndarray, step: int | None = None) -> dict[str, float]:
        told: dict[str, float] = {}
        for _, part in self._parts:
            told |= part.told(theta, step)
        return told


LOSSES = {"expectation": Expectation, "cross_entropy": CrossEntropy, "mean_square": MeanSquare, "fidelity": Fidelity}
