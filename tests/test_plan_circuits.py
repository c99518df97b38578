"""Circuits of plans: run exactly as they are written, they give the gradient, at the cost that the plan has claimed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cases import CASES, values_for

import quprop as qpr
from quprop import QupropError
from quprop.cost import Cost
from quprop.gradients import METHODS
from quprop.sampling.devices.circuits import merged
from quprop.structure import find_blocks

t, x = qpr.params("theta", 4), qpr.inputs("x", 2)


def _hand_made():
    C = qpr.Circuit
    pixels = np.array([0.6, 0.0, 0.48j, 0.64])
    yield "shared", C(2).ry(t[0], 0).cx(0, 1).ry(0.7 * t[0] - t[1], 1).rz(t[1], 0).rx(t[2], 0), ["Z0 Z1 + 0.5*X0", "Y1"]
    yield "products", C(2).ry(t[0] * t[1], 0).cz(0, 1).rx(t[1] * x[0] + x[1], 1).rxx(t[2] ** 2, 0, 1), ["Z0", "Y0 X1"]
    yield "input state", C(2, pixels).ry(t[0], 0).s(0).cx(0, 1).rx(t[1], 1).rz(t[2], 0), ["X0 Z1 - 0.4*Y1"]
    yield "inputs", C(2, inputs=x).ry(x[0], 0).cx(0, 1).ry(t[0], 1).ry(x[1] + t[1], 0).rx(t[1], 1), ["Z1", "X0 X1"]


MODELS = {name: qpr.Model(circuit, observables) for name, circuit, observables in _hand_made()}
SMALL = {name: case.model for name, case in CASES.items() if case.model.n_qubits <= 5} | MODELS
TINY = MODELS | {n: CASES[n].model for n in ("one_qubit", "encoded_and_rotated", "products_of_angles")}
MEANS = {
    "parameter_shift": qpr.ParameterShift(shots=200),
    "parameter_shift, qubit wise": qpr.ParameterShift(total_shots=20_000, grouping="qubit_wise"),
    "parameter_shift, commuting": qpr.ParameterShift(shots=200, grouping="commuting"),
    "parameter_shift, sampled": qpr.ParameterShift(shots=200, grouping="sampled"),
    "hadamard_test, direct": qpr.HadamardTest(shots=200),
    "hadamard_test, reversed": qpr.HadamardTest(shots=200, mode="reversed"),
    "pair_state": qpr.PairState(shots=200),
    "commuting_blocks": qpr.CommutingBlocks(shots=200),
}
LINEAR = [name for name in MEANS if name != "parameter_shift, sampled"]  # which term a shot reads is no mean
OTHERS = {
    "parameter_shift, adaptive": qpr.ParameterShift(shots=200, adaptive=True),
    "random_components": qpr.RandomComponents(shots=200),
    "forward_gradient": qpr.ForwardGradient(shots=30, directions=40),
    "spsa": qpr.SPSA(shots=30, directions=40),
    "finite_difference": qpr.FiniteDifference(shots=200),
}
SHADOWS = {
    "pauli, each": qpr.ClassicalShadows(shots=400),
    "pauli, last": qpr.ClassicalShadows(shots=400, frames="last"),
    "clifford, each": qpr.ClassicalShadows(shots=400, ensemble="clifford"),
    "clifford, medians": qpr.ClassicalShadows(shots=400, ensemble="clifford", groups=20),
    "clifford, last": qpr.CliffordShadows(shots=400),
    "pauli, medians": qpr.ClassicalShadows(shots=400, groups=20),
}


def run(circuits, seed):
    """What a machine without noise says: counts of every setting, from the exact state at its end."""
    rng, found = np.random.default_rng(seed), []
    for w in circuits.work:
        model = qpr.Model(w.circuit.circuit, "Z0")
        values = w.values if model.n_params else np.zeros((1, 0))
        p = np.maximum(qpr.probabilities(model, values, qubits=w.circuit.measured), 0.0)
        counts = rng.multinomial(w.shots, p / p.sum(axis=1, keepdims=True))
        found.append([(np.flatnonzero(c), c[c > 0]) for c in counts])
    return found


def finished(circuits, seed):
    """The estimate, when all rounds are run, and all circuits that were."""
    every = [circuits]
    while True:
        counts = run(every[-1], [seed, len(every)])
        following = every[-1].next(counts)
        if following is None:
            return every[-1].combine(counts), every
        every.append(following)


def points_of(model, count, seed):
    theta, x = values_for(model, count, seed)
    return theta, x, np.arange(1, model.n_observables + 1) / 2


def compiled(method, model, weights, at=None):
    """None where commuting blocks do not serve the model."""
    if isinstance(method, qpr.CommutingBlocks) and find_blocks(model).why_not:
        return None
    return method.compile(model, weights, at=at)


def on_device(cost):
    return replace(cost, classical_ops=0, classical_bytes=0)


def times(cost, count):
    return sum([cost] * count, Cost())


def check(method, models, count, seed=0, bound=False):
    """(errors of all components in standard errors, plans); and executed = claimed."""
    errors, plans = [], []
    for k, model in enumerate(models.values()):
        theta, x, w = points_of(model, count, [seed, k])
        plan = compiled(method, model, w)
        if plan is None:
            continue
        found, every = finished(plan.circuits(theta, x, rng=k), k)
        claimed, executed = times(plan.cost, count), sum((c.cost for c in every), Cost())
        assert on_device(found.cost) == on_device(claimed), (found.cost, claimed)
        assert on_device(executed) == on_device(claimed)
        assert found.cost.classical_ops <= claimed.classical_ops
        assert sum(c.shots for c in every) == claimed.measurements
        exact = qpr.value_and_grad(model, theta, x, weights=w, engine="reference")[1]
        free = found.stderr == 0
        np.testing.assert_allclose(found.value[free], exact[free], atol=1e-12)
        error = np.maximum(np.abs(found.value - exact) - getattr(plan, "bias", 0.0), 0.0)
        errors.append((error[~free] / found.stderr[~free]).ravel())
        plans.append(plan)
    return np.concatenate(errors), plans


def check_errors(errors, least=200, low=0.8, high=1.2):
    assert len(errors) >= least
    assert errors.max() < 5.5
    assert low <= np.mean(errors**2) <= high


@pytest.mark.parametrize("method", MEANS)
def test_means_are_the_gradient_at_the_claimed_cost(method):
    check_errors(check(MEANS[method], MODELS, 30)[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", MEANS)
def test_means_are_the_gradient_of_every_small_model(method):
    check_errors(check(MEANS[method], SMALL, 10, seed=1)[0])


@pytest.mark.parametrize("method", ["parameter_shift, adaptive", "random_components", "forward_gradient"])
def test_what_is_drawn_is_the_gradient_at_the_claimed_cost(method):
    check_errors(check(OTHERS[method], MODELS, 30)[0])


@pytest.mark.parametrize("method", ["spsa", "finite_difference"])
def test_differences_are_the_gradient_within_their_bias(method):
    errors, _ = check(OTHERS[method], MODELS, 30)
    assert len(errors) >= 200 and errors.max() < 5.5 and np.mean(errors**2) < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("method", OTHERS)
def test_other_methods_serve_every_small_model(method):
    errors, _ = check(OTHERS[method], SMALL, 4, seed=1)
    assert len(errors) >= 200 and errors.max() < 5.5 and np.mean(errors**2) < 1.2


@pytest.mark.parametrize("method", SHADOWS)
def test_random_measurements_are_the_gradient_at_the_claimed_cost(method):
    check_errors(check(SHADOWS[method], {"shared": MODELS["shared"], "inputs": MODELS["inputs"]}, 50)[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", SHADOWS)
def test_random_measurements_are_the_gradient_of_every_tiny_model(method):
    check_errors(check(SHADOWS[method], TINY, 20, seed=1)[0])
