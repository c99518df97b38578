"""Reverse mode on a multilayer perceptron: gradient against differences, counts and memory against formulas."""

from itertools import pairwise

import numpy as np
import pytest
from tolerances import assert_close

from quprop import QupropError
from quprop.classical import networks as classical

WIDTHS, BATCH = (5, 7, 4, 3), 6


def network(seed=0):
    generator = np.random.default_rng(seed)
    weights = [(m, generator.normal(size=b.shape)) for m, b in classical.start(WIDTHS, generator)]
    return weights, generator.normal(size=(BATCH, WIDTHS[0])), generator.integers(WIDTHS[-1], size=BATCH)


def flat(weights):
    return np.concatenate([part.ravel() for pair in weights for part in pair])


def unflat(vector, like):
    out, at = [], 0
    for pair in like:
        parts = []
        for part in pair:
            parts.append(vector[at : at + part.size].reshape(part.shape))
            at += part.size
        out.append(tuple(parts))
    return out


def differences(weights, x, labels, step=1e-3):
    """Fourth-order central differences of the value, one component after the other."""
    point = flat(weights)
    f = lambda move: classical.value(unflat(point + move, weights), x, labels)  # noqa: E731
    rows = step * np.eye(len(point))
    return np.array([(f(-2 * e) - 8 * f(-e) + 8 * f(e) - f(2 * e)) / (12 * step) for e in rows])


def test_value_is_the_cross_entropy_sample_by_sample():
    weights, x, labels = network()
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        a = row
        for m, b in weights[:-1]:
            a = np.tanh(m.T @ a + b)
        logits = weights[-1][0].T @ a + weights[-1][1]
        total -= np.log(np.exp(logits[label]) / np.exp(logits).sum()) / BATCH
    assert_close(classical.value(weights, x, labels), total, 50)


def test_gradient_is_the_central_difference():
    weights, x, labels = network()
    before = x.copy()
    loss, gradient = classical.value_and_gradient(weights, x, labels)
    assert_close(loss, classical.value(weights, x, labels), 10)
    # truncation step^4/30 times the fifth derivative, and rounding eps/step: near 1e-12
    assert np.max(np.abs(flat(gradient) - differences(weights, x, labels))) < 1e-11
    assert np.array_equal(x, before)


def test_a_gradient_wrong_by_half_a_thousandth_is_caught():
    weights, x, labels = network()
    wrong = 1.0005 * flat(classical.value_and_gradient(weights, x, labels)[1])
    assert np.max(np.abs(wrong - differences(weights, x, labels))) > 1e-5


def test_counted_multiply_adds_are_those_of_the_formula():
    """B sum w w' forwards; twice as much again backwards, less the first layer's product with W^T."""
    found = classical.measure_mlp(WIDTHS, BATCH, 1, repeats=1)
    layers = [a * b for a, b in pairwise(WIDTHS)]
    assert found.value_multiply_adds == BATCH * sum(layers)
    assert found.gradient_multiply_adds == BATCH * (3 * sum(layers) - layers[0])
    assert_close(found.omega_operations, 3 - layers[0] / sum(layers), 10)
    assert found.n_params == sum(layers) + sum(WIDTHS[1:])


def test_peak_memory_is_weights_batch_and_what_is_alive():
    """Values hold two neighbouring layers, gradients all activations and one gradient; 5 % for all that is small."""
    widths, batch = (200, 300, 300, 300, 10), 400
    found = classical.measure_mlp(widths, batch, 1, repeats=1)
    held = 8 * (found.n_params + batch * widths[0] + batch)
    assert abs(found.value_bytes / (held + 8 * batch * 600) - 1) < 0.05
    # least: activations of three hidden layers and the gradient of the last; most: everything at once
    assert held + 8 * batch * 900 < found.gradient_bytes < held + 8 * (batch * 1300 + found.n_params)


@pytest.mark.slow
def test_omega_lies_where_classical_backpropagation_does():
    """1.3 million parameters: 2 to 4 in time, as the matrix products decide; the width allows for a busy machine."""
    found = classical.measure_mlp((784, 800, 800, 10), 256, 1)
    assert found.n_params > 1e6
    assert 1.7 < found.omega_time < 4.5 and 2 < found.omega_operations < 3 and found.omega_memory < 4
    assert "omega" in str(found) and "\n" not in str(found)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (((5,), 3, 0), "at least two whole numbers from 1"),
        (((5, 0), 3, 0), "at least two whole numbers from 1"),
        (((5, 2), 0, 0), "batch must be a whole number from 1, got 0"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, words):
    with pytest.raises(QupropError, match=words):
        classical.measure_mlp(*arguments)
