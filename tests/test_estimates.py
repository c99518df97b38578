"""Laws that estimates of every method keep: which components are measured, for which weights, and what stderr says."""

import numpy as np
import pytest
from cases import CASES, random_model, values_for
from estimators import check_stderr, check_unbiased, repeat
from scipy import stats

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients import METHODS, gradient
from quprop.planning.structure import shape_of
from quprop.sampling.estimate import of_the_unseen, variance_of_mean
from quprop.sampling.linear import LinearPlan, active, driven, jacobian, slope_bounds
from quprop.sampling.terms import Terms

t, x, t2, x2 = qpr.params("t", 1), qpr.inputs("x", 1), qpr.params("t", 2), qpr.inputs("x", 2)
# Angles with monomials that cancel in the slopes where all variables are 1, or wherever two of them are equal.
CANCELLING = {
    "input": (qpr.Circuit(1).ry((1 - x[0]) * t[0], 0), [0.7], [0.2]),
    "product": (qpr.Circuit(1).ry(t2[0] * t2[1] - t2[0], 0).rx(t2[1] - t2[0] * t2[1], 0), [0.8, -0.4], None),
    "square": (qpr.Circuit(1).ry(t[0] ** 2 - 2 * t[0], 0), [0.4], None),
    "difference": (
        qpr.Circuit(2).ry((x2[0] - x2[1]) * t[0], 0).cx(0, 1).rx((x2[1] - x2[0]) * t[0], 1),
        [0.9],
        [0.1, -0.8],
    ),
}
MEASURING = [name for name in METHODS if name != "adjoint"]
UNBIASED = [name for name in MEASURING if getattr(METHODS[name], "unbiased", True)]


def cancelling(name):
    circuit, theta, inputs = CANCELLING[name]
    n = circuit.n_qubits
    return qpr.Model(circuit, f"Z{n - 1}"), np.array(theta), np.zeros(0) if inputs is None else np.array(inputs)


def with_accuracy(name, error):
    """The method with errors of about `error`, however it takes them."""
    for budget in ({"precision": error}, {"max_error": 4 * error}):
        try:
            return METHODS[name](**budget)
        except (QupropError, TypeError):
            continue
    raise AssertionError(name)


def close(estimate, exact, bias=0.0, factor=5.0):
    assert np.all(np.abs(estimate.value - exact) <= factor * estimate.stderr + bias + 1e-12), (estimate.value, exact)


# Which components there are is read off the angles' monomials, not off slopes at some point.


@pytest.mark.parametrize("case", CANCELLING)
@pytest.mark.parametrize("name", MEASURING)
def test_components_whose_slopes_cancel_somewhere_are_measured(name, case):
    model, theta, inputs = cancelling(case)
    exact = qpr.value_and_grad(model, theta, inputs if model.n_inputs else None, engine="reference")[1]
    made = {"spsa": {"total_shots": 4000}, "finite_difference": {"total_shots": 4000}}.get(name)
    method = METHODS[name](**made) if made else with_accuracy(name, 0.05)
    try:
        plans = [method.compile(model), method.compile(model, at=(theta, inputs))]
    except QupropError as refusal:
        assert name == "commuting_blocks" or "anticommutes with an earlier one" in str(refusal)
        return
    for plan in plans:
        found = plan.estimate(theta, inputs if model.n_inputs else None, 3)
        assert (found.cost.measurements > 0 or name == "shot_noise") and np.all(found.stderr > 0)
        bias = plan.bias if hasattr(plan, "bias") else 0.0
        close(found, exact, np.where(np.isfinite(bias), bias, 0.1))


@pytest.mark.parametrize("case", CANCELLING)
@pytest.mark.parametrize("name", ["parameter_shift", "hadamard_test", "pair_state", "random_components"])
def test_precision_without_a_point_holds_for_variables_within_one(name, case):
    model, *_ = cancelling(case)
    plan = METHODS[name](precision=0.05).compile(model)
    rng = np.random.default_rng(0)
    for _ in range(10):
        theta, inputs = rng.uniform(-1, 1, model.n_params), rng.uniform(-1, 1, model.n_inputs)
        assert plan.estimate(theta, inputs if model.n_inputs else None, rng).stderr.max() <= 0.0501


@pytest.mark.parametrize("name", [*CASES, *CANCELLING])
def test_bounds_of_slopes_hold_and_their_entries_are_those_that_can_be(name):
    model = CASES[name].model if name in CASES else cancelling(name)[0]
    rng = np.random.default_rng(1)
    thetas, xs = rng.uniform(-1, 1, (20, model.n_params)), rng.uniform(-1, 1, (20, model.n_inputs))
    slopes = np.abs([jacobian(model.angle_table, a, b).toarray() for a, b in zip(thetas, xs, strict=True)])
    bounds = slope_bounds(model).toarray()
    assert np.all(slopes.max(axis=0, initial=0.0) <= bounds + 1e-12)
    assert np.array_equal(slopes.max(axis=0) > 0, bounds > 0)
    assert np.allclose(slope_bounds(model, (thetas, xs)).toarray(), slopes.max(axis=0))
    assert np.allclose(slope_bounds(model, (thetas[3], xs[3])).toarray(), slopes[3])
    assert driven(model).tolist() == np.flatnonzero(bounds.any(axis=1)).tolist()
    assert active(model).tolist() == np.flatnonzero(bounds.any(axis=0)).tolist()


@pytest.mark.parametrize("case", CANCELLING)
def test_plans_on_paper_count_what_methods_measure(case):
    model, *_ = cancelling(case)
    shape = shape_of(model)
    assert shape.trained == len(driven(model)) and sum(count for _, count in shape.reaches) == len(active(model))
    runs = METHODS["parameter_shift"](precision=0.1).compile(model).cost.measurements
    assert shape.loads["parameter_shift"].shots / 0.1**2 == pytest.approx(runs, rel=0.05)


def test_plans_on_paper_count_observables_that_cancel_at_weights_of_one():
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0), ["Z0", "-1*Z0"])
    assert shape_of(model, [1, 1]).norm == 2 and "parameter_shift" in shape_of(model, [1, 1]).loads


def test_training_moves_a_parameter_whose_slope_cancels_at_one():
    model, theta, inputs = cancelling("input")
    data = (np.tile(inputs, (2, 1)), None)
    for name in ("spsa", "finite_difference", "forward_gradient"):
        method = METHODS[name](shots=500)
        found = qpr.train(model, "expectation", data=data, method=method, steps=10, params=theta, rng=1)
        assert np.abs(found.theta - theta).max() > 0.01, name


def test_a_component_is_exactly_zero_only_where_no_angle_has_a_slope():
    model, theta, _ = cancelling("input")
    for name in ("parameter_shift", "hadamard_test", "pair_state", "random_components", "forward_gradient"):
        still = gradient(model, theta, [1.0], method=METHODS[name](shots=10), rng=0)
        assert still.value == 0 and still.stderr == 0, name
    flat = qpr.Model(qpr.Circuit(1).rz(t[0], 0), "Z0")  # a slope, and an outcome that is certain
    for name in ("parameter_shift", "finite_difference", "spsa", "forward_gradient", "random_components"):
        assert gradient(flat, [0.3], method=METHODS[name](shots=10), rng=0).stderr > 0, name


@pytest.mark.parametrize(
    "at, sentence",
    [
        ([0.1], "at is the pair"),
        (([0.1], [0.2]), "theta of at must have shape"),
        (([0.1, np.nan], None), "theta of at must be finite"),
        ((np.zeros((0, 2)), None), "one point or more"),
    ],
)
def test_a_point_that_is_none_is_one_sentence(at, sentence):
    model, *_ = cancelling("product")
    with pytest.raises(QupropError, match=sentence):
        METHODS["parameter_shift"](shots=1).compile(model, at=at)


# Every row of weights is served.

OBSERVED = {
    "apart": (["Z0", "X0"], [[1.0, 0.0], [0.0, 1.0]]),
    "cancelling": (["Z0", "-1*Z0"], [[1.0, 1.0], [1.0, 0.0], [0.0, -2.0]]),
    "overlapping": (["Z0 + X0", "X0 - Z0", "0.5*Z0"], [[1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 0.0, 3.0]]),
}


@pytest.mark.parametrize("case", OBSERVED)
@pytest.mark.parametrize("name", MEASURING)
def test_every_row_of_weights_has_its_own_gradient(name, case):
    observables, rows = OBSERVED[case]
    model, rows = qpr.Model(qpr.Circuit(1).ry(t[0], 0), observables), np.array(rows)
    theta = np.full((len(rows), 1), 0.7)
    exact = qpr.value_and_grad(model, theta, weights=rows, engine="reference")[1]
    method = METHODS[name](total_shots=2000) if name in ("spsa", "finite_difference") else with_accuracy(name, 0.1)
    for compiled in (rows, np.ones(len(observables))):  # for these rows, or for any that come later
        plan = method.compile(model, compiled, at=(theta, None))
        close(plan.estimate(theta, None, 5, weights=rows), exact, getattr(plan, "bias", 0.0) * np.abs(rows).max())
    moving = np.abs(exact) > 0
    assert np.all(gradient(model, theta, method=method, weights=rows, rng=2).stderr[moving] > 0)


@pytest.mark.parametrize("name", ["parameter_shift", "hadamard_test", "spsa", "finite_difference", "shot_noise"])
def test_terms_that_a_plan_does_not_measure_are_refused(name):
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0), ["Z0", "X0"])
    plan = METHODS[name](shots=10).compile(model, [1.0, 0.0])
    plan.estimate([0.7], rng=0, weights=[-3.0, 0.0])
    with pytest.raises(QupropError, match="this plan measures no X0"):
        plan.estimate([0.7], rng=0, weights=[1.0, 1e-9])


@pytest.mark.parametrize("name", MEASURING)
def test_one_theta_serves_a_batch_of_inputs(name):
    model = qpr.Model(qpr.Circuit(1).ry(t[0] * x[0], 0), "Z0")
    inputs = np.array([[0.9], [0.5], [-1.4]])
    exact = qpr.value_and_grad(model, [0.7], inputs)[1]
    method = METHODS[name](total_shots=2000) if name in ("spsa", "finite_difference") else with_accuracy(name, 0.1)
    found = gradient(model, [0.7], inputs, method, rng=1)
    assert found.value.shape == (3, 1)
    close(found, exact, 0.1)


def test_held_noise_is_that_of_one_point_and_one_set_of_weights():
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0), ["Z0", "X0"])
    method = METHODS["shot_noise"](shots=10, variances="held")
    with pytest.raises(QupropError, match="keeps those of one point and one set of weights"):
        method.compile(model, [1, 1], at=([[0.1], [0.2]], None))
    with pytest.raises(QupropError, match="keeps those of one point and one set of weights"):
        method.compile(model, [[1, 1], [1, 2]], at=([0.1], None))
    plan = method.compile(model, [1, 1], at=([0.1], None))
    with pytest.raises(QupropError, match="keeps those of the weights the plan was compiled for"):
        plan.estimate([0.1], rng=0, weights=[1, 2])


def test_bell_sampling_of_a_batch_takes_no_turn_that_only_one_of_its_points_has():
    model = qpr.Model(qpr.Circuit(1).ry(t2[0], 0).rx(t2[1], 0).rz(t2[0], 0), "X0 + Z0")
    method = METHODS["bell_sampling"](max_error=0.4, frames="each")
    for theta in ([[np.pi / 2, np.pi / 2], [np.pi / 2, 0.3]], [[np.pi / 2, np.pi], [np.pi, np.pi / 2]]):
        found = gradient(model, theta, method=method, rng=0)
        assert np.abs(found.value - qpr.value_and_grad(model, theta)[1]).max() <= 0.4
    with pytest.raises(QupropError, match="not the same multiple of pi/2 at all points"):
        METHODS["bell_sampling"](max_error=0.4).compile(model, at=(theta, None))


# What a standard error says.


@pytest.mark.parametrize("n", [2, 5, 40, 1000])
def test_the_variance_of_a_mean_is_unbiased_and_where_nothing_was_seen_that_of_the_prior(n):
    """Exactly, over all counts k of n shots ±1, but for the two that show no spread."""
    k, p = np.arange(n + 1), 0.4
    mean, chances = 2 * k / n - 1, stats.binom.pmf(np.arange(n + 1), n, p)
    found = variance_of_mean(mean, np.ones(n + 1), n, 2.0)
    ends = (chances[0] + chances[-1]) * 4 * of_the_unseen(n)
    assert chances @ found - ends == pytest.approx(4 * p * (1 - p) / n, rel=1e-12)
    assert found[0] == found[-1] == pytest.approx(4 * stats.beta(1, n + 1).var(), rel=1e-12)
    assert np.all(variance_of_mean(np.zeros(1), np.zeros(1), n, 0.0) == 0)


@pytest.mark.parametrize("n", [2, 10, 100, 10_000])
def test_five_standard_errors_hold_the_truth_however_certain_an_outcome_is(n):
    """By the exact distribution of counts. No shots that disagree: the truth is within 5/n, but for 1 case in 150; one:
    5 standard errors of the unbiased estimate reach to 6/n, which fails 7 exp(-6) of the time just beyond."""
    k = np.arange(min(n, 400) + 1)
    stderr = np.sqrt(variance_of_mean(2 * k / n - 1, np.ones(len(k)), n, 2.0))
    for rare in np.geomspace(1e-3, min(20, n / 2), 80) / n:
        inside = np.abs(2 * k / n - 2 * rare) <= 5 * stderr
        assert stats.binom.pmf(k, n, rare) @ inside >= (0.993 if rare * n < 5 else 0.982), rare * n


@pytest.mark.parametrize("shots", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 40))])
@pytest.mark.parametrize("name", [n for n in MEASURING if n in UNBIASED or n in ("finite_difference", "spsa")])
def test_intervals_of_five_standard_errors_miss_as_rarely_at_certain_outcomes_as_elsewhere(name, shots):
    """dF/dt = cos t of <X> = sin t, whose shots nearly all agree; 1,200 seeds."""
    if name in ("shot_noise", "classical_shadows") and shots < 5:
        pytest.skip("a Gaussian is no binomial of one shot, nor a shadow")
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0), "X0")
    theta = np.repeat([[0.02], [0.2], [0.35]], 400, axis=0)
    plan = METHODS[name](shots=shots).compile(model)
    found = plan.estimate(theta, rng=2)
    assert np.all(found.stderr > 0)
    missed = np.abs(found.value - np.cos(theta)) > 5 * found.stderr + getattr(plan, "bias", 0.0)
    assert missed.mean() <= 0.012


def test_magnitudes_that_every_pair_agrees_on_have_an_error():
    """<X> = cos a: at a = 0 every Bell measurement says 1, and near it nearly every one."""
    for a in (0.0, 0.02, 0.1):
        model = qpr.Model(qpr.Circuit(1).ry(t[0] + a, 0), "X0")
        for seed in range(20):
            found = gradient(model, [0.0], method=METHODS["bell_sampling"](shots=300), rng=seed)
            assert found.stderr > 0
            close(found, np.cos(a))


def test_medians_of_snapshots_that_all_miss_have_an_error():
    """Groups of few snapshots, of which most fit no string of the component."""
    model = qpr.Model(qpr.Circuit(4).rotation("XXII", t[0]), "Z0")
    method = METHODS["classical_shadows"](shots=9, groups=3)
    found = method.compile(model).estimate(np.full((60, 1), 0.4), rng=0)
    assert np.all(found.stderr > 0) and np.any(found.value == 0)
    assert np.mean(np.abs(found.value + np.sin(0.4)) > 5 * found.stderr) <= 0.02


QUICK = ("one_qubit", "shared_parameters", "commuting_sums")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["hadamard_test", "pair_state", "classical_shadows", "clifford_shadows", "commuting_blocks"]
)
def test_methods_with_ancillas_are_unbiased_and_know_their_errors(name):
    cases = ("diagonal_run", "iqp") if name == "commuting_blocks" else QUICK
    shots = 400 if name.endswith("shadows") else 40  # of few, none may fit a string of a component
    results = []
    for case in cases:
        model = CASES[case].model
        w = np.arange(1, model.n_observables + 1) / 2
        results.append(repeat(METHODS[name](shots=shots), model, *values_for(model, seed=3), w, 60, seed=1))
        check_unbiased(results[-1])
    check_stderr(results, 0.15)


def one_parameter(n):
    """One parameter drives rotations that all commute: all components are read from one shot, and are correlated."""
    circuit = qpr.Circuit(n)
    for q in range(n):
        circuit.ry(t[0], q)
    return qpr.Model(circuit, " ".join(f"Z{q}" for q in range(n)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pair_state", "commuting_blocks"])
def test_the_covariance_of_components_read_from_one_shot_counts(name):
    model = one_parameter(3)
    for theta in (0.5, 1.1):
        r = repeat(METHODS[name](shots=30), model, np.array([theta]), np.zeros(0), np.ones(1), 600)
        check_unbiased(r)
        check_stderr([r], 0.1)


@pytest.mark.parametrize("name", ["parameter_shift", "hadamard_test", "pair_state", "commuting_blocks"])
def test_precision_of_a_shared_parameter_counts_all_its_rotations(name):
    """At 0 all shots are coins: the bound is the variance itself. Four rotations of one parameter, in every way."""
    wide = qpr.Model(qpr.Circuit(4).ry(t[0], 0).ry(t[0], 1).ry(t[0], 2).ry(t[0], 3), "Z0 + Z1 + Z2 + Z3")
    for model in (one_parameter(4), wide):
        plan = METHODS[name](precision=0.1).compile(model)
        found = np.array([plan.estimate([1e-9], rng=seed).value[0] for seed in range(60)])
        assert found.std() <= 0.1 * 1.3


def test_weights_and_points_of_a_batch_bound_every_row():
    """A plan for many rows promises for each of them what a plan for it alone promises."""
    model = random_model(3, 2, 5, n_observables=2)
    rows = np.array([[1.0, 0.1], [-0.2, 2.0]])
    sizes = Terms.of(model).sizes(rows)
    assert np.all(sizes >= np.abs(rows @ Terms.of(model).table).max(axis=0) - 1e-12)
    together = METHODS["parameter_shift"](precision=0.1).compile(model, rows)
    assert isinstance(together, LinearPlan)
    for row in rows:
        alone = METHODS["parameter_shift"](precision=0.1, grouping="qubit_wise").compile(model, row)
        assert together.cost.measurements >= alone.cost.measurements * 0.5
        r = repeat(METHODS["parameter_shift"](precision=0.1), model, *values_for(model, seed=1), row, 1)
        assert r.stderr.max() <= 0.101
        assert together.estimate(values_for(model, seed=1)[0], rng=0, weights=row).stderr.max() <= 0.101


@pytest.mark.parametrize("name", ["adjoint", "parameter_shift", "pair_state", "bell_sampling", "quantum_backprop"])
@pytest.mark.parametrize("observables", ["I", "0", ["I", "2.5*I"]])
def test_observables_without_a_pauli_string_have_no_gradient_under_weights_in_rows(name, observables):
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0), observables)
    method = METHODS[name]() if name == "adjoint" else METHODS[name](shots=400)
    rows = np.ones((3, model.n_observables))
    found = gradient(model, np.ones((3, model.n_params)), method=method, weights=rows, rng=0)
    assert found.value.shape == (3, model.n_params) and not found.value.any() and not found.stderr.any()


@pytest.mark.parametrize("zero", [0, 1, 2])
def test_points_of_a_batch_of_copies_may_have_nothing_to_measure(zero):
    """One row of weights 0 among three, wherever it stands; the damage told is the largest of the others."""
    model = one_parameter(1)
    rows = np.ones((3, 1))
    rows[zero] = 0.0
    found = gradient(model, np.full((3, 1), 0.4), method=METHODS["quantum_backprop"](shots=400), weights=rows, rng=0)
    assert not found.value[zero].any() and not found.stderr[zero].any()
    assert np.all(np.delete(found.stderr, zero, 0) > 0) and found.info["damage"] > 0


@pytest.mark.parametrize("slope", [1e-60, 1e-160, 1e-300])
def test_steps_of_parameters_that_turn_next_to_nothing_are_finite_and_so_is_their_bias(slope):
    for angle in (slope * t2[0], slope * t2[0] * t2[1], slope * t2[0] ** 2 + t2[1]):
        model = qpr.Model(qpr.Circuit(1, params=t2).ry(angle, 0), "X0 + Z0")
        theta = np.full(model.n_params, 0.7)
        plan = METHODS["finite_difference"](shots=50).compile(model, at=(theta, None))
        estimate = plan.estimate(theta, rng=0)
        for numbers in (plan.step, plan.bias, estimate.value, estimate.stderr):
            assert np.all(np.isfinite(numbers))
