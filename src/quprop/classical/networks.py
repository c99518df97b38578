"""What classical backpropagation costs: reverse mode on a multilayer perceptron, counted and measured.

    a_0 = x,   a_l = tanh(a_{l-1} W_l + b_l),   logits = a_{L-1} W_L + b_L,   F = batch mean of -log softmax_label

Reverse mode does, per layer, the two products dW_l = a_{l-1}^T d_l and d_{l-1} = d_l W_l^T beside the forward one, so

    omega = COST(gradient) / COST(value) = 3 - (share of the first layer)     in multiply-adds of matrix products,

as the data need no derivative: between 2 (one layer) and 3. That a gradient costs a small constant times its value
holds for any program (Griewank and Walther, "Evaluating Derivatives", 2008, chapter 4); [2, 4] is the range that the
authors of arXiv:2305.13362 hold quantum models against. What reverse mode pays with is memory: every activation is
kept, and the gradient is as large as the weights.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from quprop.errors import QupropError, count_of, generator_of, whole

Weights = list[tuple[np.ndarray, np.ndarray]]  # W_l (w_{l-1}, w_l) and b_l (w_l,)


class Meter:
    """Matrix products that count their multiply-adds."""

    def __init__(self) -> None:
        self.multiply_adds = 0

    def product(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.multiply_adds += a.shape[0] * a.shape[1] * b.shape[1]
        return a @ b


@dataclass(frozen=True)
class ClassicalOmega:
    """Cost of the value and of the whole gradient of one network; prints as one line.

    Seconds are medians over ``repeats``; multiply-adds are those of matrix products, counted while they are done; bytes
    are the weights, the batch and the peak of what the call allocates beside them.
    """

    widths: tuple[int, ...]
    batch: int
    n_params: int
    repeats: int
    value_seconds: float
    gradient_seconds: float
    value_multiply_adds: int
    gradient_multiply_adds: int
    value_bytes: int
    gradient_bytes: int

    @property
    def omega_time(self) -> float:
        return self.gradient_seconds / self.value_seconds

    @property
    def omega_operations(self) -> float:
        return self.gradient_multiply_adds / self.value_multiply_adds

    @property
    def omega_memory(self) -> float:
        return self.gradient_bytes / self.value_bytes

    def __str__(self) -> str:
        return (
            f"{'-'.join(map(str, self.widths))}, batch {self.batch}, {count_of(self.n_params, 'parameter')}: value "
            f"{1e3 * self.value_seconds:.3g} ms, gradient {1e3 * self.gradient_seconds:.3g} ms, omega "
            f"{self.omega_time:.2f} in time, {self.omega_operations:.2f} in multiply-adds, {self.omega_memory:.2f} in "
            "memory"
        )


def start(widths: Sequence[int], rng: int | np.random.Generator) -> Weights:
    """Random weights of variance 1 / fan-in, zero biases. rng: a seed or a Generator."""
    widths, generator = _widths(widths), generator_of(rng)
    return [(generator.normal(size=(a, b)) / np.sqrt(a), np.zeros(b)) for a, b in pairwise(widths)]


def value(weights: Weights, x: np.ndarray, labels: np.ndarray, meter: Meter | None = None) -> float:
    """F for data x (batch, w_0) and labels (batch,) in 0 ... w_L - 1; a layer is kept only until the next is done."""
    product = (meter or Meter()).product
    a = x
    for layer, (matrix, bias) in enumerate(weights):
        a = product(a, matrix)
        a += bias
        if layer < len(weights) - 1:
            np.tanh(a, out=a)
    return _loss(a, labels)[0]


def value_and_gradient(
    weights: Weights, x: np.ndarray, labels: np.ndarray, meter: Meter | None = None
) -> tuple[float, Weights]:
    """F and dF/dW_l, dF/db_l for all layers, by one sweep forwards and one backwards."""
    product = (meter or Meter()).product
    activations = [x]
    for layer, (matrix, bias) in enumerate(weights):
        a = product(activations[-1], matrix)
        a += bias
        activations.append(np.tanh(a, out=a) if layer < len(weights) - 1 else a)
    loss, delta = _loss(activations.pop(), labels)
    gradient: Weights = []
    for layer in reversed(range(len(weights))):
        a = activations.pop()
        gradient.append((product(a.T, delta), delta.sum(axis=0)))
        if layer:
            delta = product(delta, weights[layer][0].T)
            a *= a  # tanh' = 1 - tanh^2, in the activation's own memory: it is not read again
            np.subtract(1.0, a, out=a)
            delta *= a
    return loss, gradient[::-1]


def measure_mlp(
    widths: Sequence[int], batch: int, rng: int | np.random.Generator, *, repeats: int = 15
) -> ClassicalOmega:
    """Time, count and weigh value and gradient at random weights and data.

    widths: inputs, hidden layers, classes. Values and gradients are timed in turns, so that a busy machine slows both.
    """
    widths = _widths(widths)
    for name, number in (("batch", batch), ("repeats", repeats)):
        whole(name, number, 1)
    generator = generator_of(rng)
    weights = start(widths, generator)
    x, labels = generator.normal(size=(batch, widths[0])), generator.integers(widths[-1], size=batch)
    meters = Meter(), Meter()
    calls: list[Callable[[], Any]] = [
        lambda: value(weights, x, labels, meters[0]),
        lambda: value_and_gradient(weights, x, labels, meters[1]),
    ]
    held = sum(m.nbytes + b.nbytes for m, b in weights) + x.nbytes + labels.nbytes
    peaks = [held + _peak(call) for call in calls]
    counts = [meter.multiply_adds for meter in meters]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, seconds in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
    return ClassicalOmega(
        widths,
        int(batch),
        sum(m.size + b.size for m, b in weights),
        int(repeats),
        statistics.median(times[0]),
        statistics.median(times[1]),
        counts[0],
        counts[1],
        peaks[0],
        peaks[1],
    )


def _loss(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy and its derivative in the logits, (softmax - one-hot) / batch."""
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = shifted[rows, labels]
    np.exp(shifted, out=shifted)
    total = shifted.sum(axis=1)
    loss = float(np.mean(np.log(total) - chosen))
    shifted /= total[:, None]
    shifted[rows, labels] -= 1.0
    shifted /= len(rows)
    return loss, shifted


def _peak(call: Callable[[], Any]) -> int:
    """Most bytes alive at once of what ``call`` allocates, NumPy's arrays included."""
    if tracemalloc.is_tracing():
        raise QupropError("memory is measured with tracemalloc, which is already running; stop it first")
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _widths(widths: Sequence[int]) -> tuple[int, ...]:
    found = tuple(widths)
    if len(found) < 2 or any(isinstance(w, bool) or not isinstance(w, int | np.integer) or w < 1 for w in found):
        raise QupropError(f"widths must be at least two whole numbers from 1, inputs first, got {widths!r}")
    return tuple(int(w) for w in found)
