"""Budgets: what is allotted is what was asked, and keeps what was promised."""

import numpy as np
import pytest
import scipy.sparse as sp
from cases import CASES, values_for
from estimators import repeat

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients import ParameterShift
from quprop.gradients.forward_gradient import ForwardGradient
from quprop.gradients.random_components import RandomComponents
from quprop.model import ansatz
from quprop.sampling.budget import Budget, share


def test_a_share_is_exact_and_as_even_as_it_can_be():
    rng = np.random.default_rng(0)
    for total in (7, 8, 100, 12345):
        weight = rng.random(7)
        shots = share(total, weight)
        assert shots.sum() == total and shots.min() >= 1
        ideal = 1 + (total - 7) * weight / weight.sum()
        assert np.abs(shots - ideal).max() < 1
    assert share(5, np.zeros(2)).sum() == 5
    with pytest.raises(QupropError, match="the smallest that works is 7"):
        share(6, np.ones(7))


def test_total_shots_minimise_the_summed_variance():
    """Against every other allotment of 40 shots to three circuits."""
    bounds = sp.csr_matrix(np.array([[1.0, 0.0], [0.5, 2.0], [0.0, 0.3]]))
    shots = Budget(total_shots=40).allot(bounds)
    squares = (bounds.toarray() ** 2).sum(axis=1)
    best = min(
        squares[0] / a + squares[1] / b + squares[2] / (40 - a - b) for a in range(1, 39) for b in range(1, 40 - a)
    )
    assert (squares / shots).sum() <= 1.02 * best


@pytest.mark.parametrize("budget", [Budget(precision=0.07), Budget(max_error=0.2, failure=0.05)])
def test_precision_bounds_the_variance_of_every_component(budget):
    rng = np.random.default_rng(3)
    for _ in range(20):
        dense = rng.random((9, 4)) * (rng.random((9, 4)) < 0.4)
        shots = budget.allot(sp.csr_matrix(dense))
        variance = (dense**2 / shots[:, None]).sum(axis=0)
        assert np.all(variance <= budget.variance_wanted(4) * (1 + 1e-9))


def test_precision_is_met_with_the_fewest_shots_where_a_circuit_serves_one_component():
    model = qpr.Model(ansatz.hardware_efficient(2, 1), "Z0 Z1")
    plan = ParameterShift(precision=0.05).compile(model)
    assert plan.cost.measurements == 4 * 2 * 200  # (1/2 + 1/2)^2 / 0.05^2 for each component
    assert np.all(np.concatenate(plan.shots) == 200)


@pytest.mark.parametrize("method", [ParameterShift, RandomComponents, ForwardGradient])
@pytest.mark.parametrize("case", ["shared_parameters", "products_of_angles", "commuting_sums"])
def test_precision_is_met(method, case):
    model = CASES[case].model
    theta, x = values_for(model, seed=6)
    e = 0.6 if method is ForwardGradient else 0.2
    r = repeat(method(precision=e), model, theta, x, np.ones(model.n_observables), 60)
    assert r.values.std(axis=0, ddof=1).max() <= 1.3 * e  # 60 repeats: 9 % each
    assert np.sqrt((r.stderr**2).mean(axis=0)).max() <= 1.1 * e


@pytest.mark.parametrize("method", [ParameterShift, RandomComponents, ForwardGradient])
def test_max_error_covers_all_components_at_once(method):
    """At failure = 0.2 no more than 0.2 + 3 sigma of 60 estimates may miss; the bounds are safe, so few do."""
    model = qpr.Model(ansatz.hardware_efficient(2, 1), "Z0 Z1")
    theta = values_for(model, seed=6)[0]
    r = repeat(method(max_error=0.3, failure=0.2), model, theta, np.zeros(0), np.ones(1), 60)
    missed = np.mean(np.abs(r.values - r.exact).max(axis=1) > 0.3)
    assert missed <= 0.2 + 3 * np.sqrt(0.2 * 0.8 / 60)


def test_max_error_is_hoeffding_and_a_union_bound():
    budget = Budget(max_error=0.1, failure=0.01)
    shots = budget.allot(sp.identity(50, format="csr"))
    assert np.all(shots == np.ceil(2 * np.log(2 * 50 / 0.01) / 0.1**2))


def test_nothing_to_measure_costs_nothing():
    for budget in ({"shots": 5}, {"total_shots": 5}, {"precision": 0.1}, {"max_error": 0.1}):
        plan = ParameterShift(**budget).compile(CASES["clifford_only"].model, [1, 1, 1])
        assert plan.cost.measurements == 0 and plan.estimate([], rng=0).value.shape == (0,)


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({}, "got none of them"),
        ({"shots": 5, "precision": 0.1}, "got shots=5 and precision=0.1"),
        ({"shots": 0}, "shots must be a whole number, 1 or more, got 0"),
        ({"shots": True}, "shots must be a whole number"),
        ({"total_shots": 1.5}, "total_shots must be a whole number"),
        ({"precision": -1}, "precision must be a positive number"),
        ({"precision": float("nan")}, "precision must be a positive number"),
        ({"max_error": "small"}, "max_error must be a positive number"),
        ({"max_error": 0.1, "failure": 1.0}, "failure must be a probability"),
    ],
)
def test_a_budget_is_one_of_four(given, sentence):
    with pytest.raises(QupropError) as refusal:
        Budget(**given)
    assert sentence in str(refusal.value)


def test_a_budget_says_what_was_given():
    assert Budget(shots=1000).budget == "shots=1,000"
    assert Budget(precision=0.01).budget == "precision=0.01"
    assert Budget(max_error=0.1).budget == "max_error=0.1, failure=0.01"
