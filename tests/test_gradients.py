"""Laws of every gradient method over the named models, and those of the single-copy methods one by one.

A new method is one more entry in METHODS; SETTINGS says how it is set up here if `Method(shots=50)` does not do.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from cases import CASES, random_model, values_for
from estimators import Repeats, check_cost, check_stderr, check_unbiased, repeat, stderr_ratio

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients import METHODS, Adjoint, ParameterShift, gradient
from quprop.gradients import forward_gradient as forward
from quprop.gradients import spsa as simultaneous
from quprop.gradients.finite_difference import FiniteDifference
from quprop.gradients.forward_gradient import ForwardGradient
from quprop.gradients.random_components import RandomComponents
from quprop.gradients.shift_rules import frequencies, rule_of, shifts_of
from quprop.gradients.shot_noise import ShotNoise
from quprop.gradients.spsa import SPSA
from quprop.model import ansatz
from quprop.model.pauli import PauliString
from quprop.sampling.linear import LinearPlan, driven
from quprop.sampling.plan import settle
from quprop.sampling.programs import free
from quprop.sampling.rows import Shifted
from quprop.sampling.sampler import Runs
from quprop.sampling.terms import Terms

SETTINGS = {
    "adjoint": Adjoint,
    "classical_shadows": lambda: METHODS["classical_shadows"](
        shots=400
    ),  # few may not fit a component's strings at all
    "forward_gradient": lambda: ForwardGradient(shots=10, directions=3),
    "spsa": lambda: SPSA(shots=20, directions=3),
}
OURS = ("finite_difference", "forward_gradient", "parameter_shift", "random_components", "shot_noise", "spsa")
QUICK = ("one_qubit", "products_of_angles", "commuting_sums")
SMALL = (*QUICK, "shared_parameters", "basis_state", "encoded_state", "observables_with_y", "identity_terms")


def method_of(name):
    return SETTINGS[name]() if name in SETTINGS else METHODS[name](shots=50)


def point_of(name, seed=3):
    model = CASES[name].model
    theta, x = values_for(model, seed=seed)
    return model, theta, x, np.arange(1, model.n_observables + 1) / 2


def repeats_of(name, case, repeats):
    """None if the method refuses the model, in one sentence."""
    try:
        return repeat(method_of(name), *point_of(case), repeats, seed=17)
    except QupropError as refusal:
        assert "\n" not in str(refusal) and len(str(refusal)) > 30
        return None


@pytest.mark.parametrize("name", [n for n in METHODS if n in OURS or n == "adjoint"])
def test_quick_methods_are_right_and_cost_what_they_claim(name):
    results = [repeats_of(name, case, 60) for case in QUICK]
    for r in results:
        assert r is not None
        check_unbiased(r)
        check_cost(r)
    check_stderr(results, 0.15)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_every_method_on_every_model(name):
    """Unbiased within 5 standard errors over 200 repeats (plus the stated bias), standard errors right within 10 %,
    claimed cost = metered cost. Methods with ancillas, which take longer and have tests of their own, on small ones and
    60 times. What a biased method of copies calls its standard error is a bound."""
    every = name in OURS or name == "adjoint"
    results = [r for case in (CASES if every else SMALL) if (r := repeats_of(name, case, 200 if every else 60))]
    if not results:
        pytest.skip("serves none of the named models with 50 shots")
    spreads = name in OURS or getattr(METHODS[name], "unbiased", True)
    for r in results:
        if spreads:
            check_unbiased(r)
        check_cost(r)
    if spreads:
        check_stderr(results)


def test_the_checks_can_fail():
    """A flipped sign of one component, a factor of 1.02, a standard error 15 % off, one rotation not counted."""
    model = qpr.Model(ansatz.hardware_efficient(3, 2), "Z0 Z1 + 0.5*X2")
    theta = values_for(model, seed=2)[0]
    r = repeat(ParameterShift(shots=2000), model, theta, np.zeros(0), np.ones(1), 200)
    check_unbiased(r)
    largest = int(np.argmax(np.abs(r.exact)))
    flipped = r.values.copy()
    flipped[:, largest] *= -1
    for wrong in (flipped, 1.02 * r.values, r.values + 0.01):
        with pytest.raises(AssertionError):
            check_unbiased(r._replace(values=wrong))
    check_stderr([r])
    with pytest.raises(AssertionError):
        check_stderr([r._replace(stderr=1.15 * r.stderr)])
    check_cost(r)
    with pytest.raises(AssertionError):
        check_cost(r._replace(claimed=r.claimed + qpr_cost(rotations=1)))


def qpr_cost(**counts):
    from quprop.cost import Cost

    return Cost(**counts)


# Parameter shift.


def expectations(plan, theta, x, weights):
    """The plan's gradient if every run had infinitely many shots."""
    exact = ShotNoise(protocol=_Given(plan)).compile(plan.model, weights)
    a = plan.model.angle_table.evaluate(theta[None], x[None])[0]
    g = np.zeros(plan.model.n_rotations + plan.model.n_params)
    u = plan.terms.coefficients(weights)
    from quprop.sampling.programs import read_by_programs

    for runs in plan.runs:
        np.add.at(g, runs.targets, exact._moments(runs, a, read_by_programs(plan.model, x), u)[0])
    return plan._slopes(theta, x).T @ g


@dataclass(frozen=True)
class _Given:
    plan: object
    name = "given"

    def compile(self, model, weights=None, *, at=None):
        return self.plan


@pytest.mark.parametrize("rule", ["auto", "two_term", "general"])
@pytest.mark.parametrize("case", CASES)
def test_every_shift_rule_is_exact(case, rule):
    model, theta, x, w = point_of(case)
    plan = ParameterShift(shots=1, rule=rule, grouping="commuting").compile(model, w)
    _, exact = qpr.value_and_grad(model, theta, x, weights=w, engine="reference")
    assert np.allclose(expectations(plan, theta, x, w), exact, atol=1e-10)


@pytest.mark.parametrize(
    "circuit, two_term, fewest",
    [
        (
            ansatz.uccsd(4, 2),
            24,
            12,
        ),  # eight strings with eigenvalues 0, ±1: frequencies 1 and 2, four runs for sixteen
        (ansatz.hardware_efficient(4, 2), 32, 32),
        (ansatz.qaoa(4, [(0, 1), (1, 2), (2, 3)], 1), 14, 14),  # independent strings: nothing to gain
        (ansatz.qaoa(3, [(0, 1), (1, 2), (0, 2)], 1), 12, 8),  # a triangle cuts no edge or two: one frequency
    ],
)
def test_the_general_rule_is_used_where_it_needs_fewer_runs(circuit, two_term, fewest):
    model = qpr.Model(circuit, "Z0")
    count = {
        rule: sum(len(s.shifts) for s in shifts_of(model, driven(model).tolist(), rule))
        for rule in ("two_term", "auto")
    }
    assert count == {"two_term": two_term, "auto": fewest}


@pytest.mark.parametrize("w", [[1.0], [0.5, 1.0], [1, 2, 3, 4], [1, 3], [0.3, 1.1, 1.7, 2.9], [1.0, 1.05]])
def test_shift_rules_differentiate_every_trigonometric_polynomial_at_the_least_price(w):
    rng = np.random.default_rng(1)
    x, y = rule_of(w)
    assert len(x) <= len(w)
    c, s = rng.normal(size=(2, len(w)))

    def f(t):
        return sum(a * np.cos(k * t) + b * np.sin(k * t) for a, b, k in zip(c, s, w, strict=True))

    assert sum(y * (f(x) - f(-x))) == pytest.approx(sum(s * np.array(w)), abs=1e-9)
    assert 2 * np.abs(y).sum() == pytest.approx(max(w), rel=2e-3)  # the largest frequency is the lower bound


def test_many_frequencies_with_gaps_take_the_rule_of_all_their_multiples():
    """Of a cost of 115 differences, all multiples of 4 up to 496 but nine: exact, at the least price, in no time."""
    w = 4.0 * np.setdiff1d(np.arange(1, 125), [60, 81, 99, 111, 115, 117, 119, 120, 121])
    x, y = rule_of(w)
    assert len(x) == 124 and 2 * np.abs(y).sum() == pytest.approx(max(w))
    assert 2 * np.sin(np.outer(w, x)) @ y == pytest.approx(w)


def test_frequencies_are_the_differences_of_the_eigenvalues():
    strings = [PauliString.parse(p) for p in ("XXXY", "XXYX", "XYXX", "YXXX", "YYYX", "YYXY", "YXYY", "XYYY")]
    scales = np.array([1, 1, -1, -1, 1, 1, -1, -1]) / 4
    matrix = sum(c * p.matrix(4) for p, c in zip(strings, scales, strict=True)) / 2
    values = np.linalg.eigvalsh(matrix)
    differences = np.unique(np.round(np.abs(values[:, None] - values), 9))
    assert np.allclose(frequencies(strings, scales, 4, 99), differences[differences > 0])
    assert frequencies(strings, scales, 4, 1) is None


def test_runs_that_change_nothing_are_not_run():
    theta = qpr.params("theta", 1)
    circuit = qpr.Circuit(1).ry(0.4, 0).rz(theta[0], 0).rz(-theta[0], 0).rx(theta[0], 0)
    model = qpr.Model(circuit, "Z0")
    shifts = shifts_of(model, driven(model).tolist(), "auto")
    assert [s.rotations for s in shifts] == [(3,)]


def test_rotations_at_equal_error_grow_as_the_square_of_their_number():
    counts, rotations, at_error = [], [], []
    for layers in (8, 16, 32, 64, 128):
        model = qpr.Model(ansatz.hardware_efficient(4, layers), "Z0 Z1")
        counts.append(model.n_rotations)
        rotations.append(ParameterShift(precision=0.1).compile(model).cost.rotations)
        at_error.append(ParameterShift(max_error=0.1).compile(model).cost.rotations / np.log(2 * counts[-1] / 0.01))
    assert counts[0] == 64 and counts[-1] == 1024
    for cost in (rotations, at_error):
        assert np.polyfit(np.log(counts), np.log(cost), 1)[0] == pytest.approx(2.0, abs=0.01)


def test_measured_variances_make_a_better_allocation_and_no_bias():
    """A large term that is certain (Z3 on |0>) and a small one that is not: a pilot sees where the noise is."""
    theta = qpr.params("theta", 2)
    circuit = qpr.Circuit(4).ry(theta[0], 0).h(1).ry(theta[1], 2)
    model = qpr.Model(circuit, "0.3*X0 + 5*Z3 + 0.3*X1 X2 + 0.2*Y0")
    point = np.array([0.3, 0.8])
    args = (model, point, np.zeros(0), np.ones(1), 100)
    plain = repeat(ParameterShift(total_shots=2000, grouping="qubit_wise"), *args)
    adaptive = repeat(ParameterShift(total_shots=2000, grouping="qubit_wise", adaptive=True), *args)
    for r in (plain, adaptive):
        check_unbiased(r)
        check_cost(r)
    assert adaptive.values.var(axis=0).sum() < plain.values.var(axis=0).sum()
    check_stderr([adaptive], 0.15)
    cheap = ParameterShift(precision=0.05, adaptive=True).compile(model).estimate(point, rng=0)
    worst = ParameterShift(precision=0.05).compile(model).cost
    assert cheap.stderr.max() < 0.05 and cheap.cost.measurements < worst.measurements / 2


# Finite differences and SPSA: the bias is real, and within its bound.


def test_a_finite_difference_is_biased_as_it_says():
    model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    r = repeat(FiniteDifference(shots=20000, step=0.8), model, np.array([1.0]), np.zeros(0), np.ones(1), 50)
    assert r.values.mean() == pytest.approx(-np.sin(1.0) * np.sin(0.8) / 0.8, abs=0.005)  # closed form
    assert abs(np.sin(0.8) / 0.8 - 1) * np.sin(1.0) < r.bias[0] < 0.12
    check_unbiased(r)
    with pytest.raises(AssertionError):
        check_unbiased(r._replace(bias=np.zeros(1)))


def test_the_best_step_is_where_bias_and_shots_balance():
    """h = (9/N)^(1/6) for one rotation and a Pauli string; h^2/6 and 1/(2 N h^2) are the two errors."""
    model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    plan = FiniteDifference(shots=1000).compile(model)
    assert plan.step[0] == pytest.approx((9 / 1000) ** (1 / 6))
    h = np.linspace(0.1, 1.5, 1401)
    assert h[np.argmin((h**2 / 6) ** 2 + 1 / (2 * 1000 * h**2))] == pytest.approx(plan.step[0], abs=1e-3)


def test_bias_bounds_hold_for_exact_averages():
    """SPSA's mean over all signs, in full; third derivatives of self-products along a line."""
    theta = qpr.params("theta", 3)
    circuit = qpr.Circuit(2).ry(theta[0], 0).cx(0, 1).rx(theta[1], 0).rz(2 * theta[2], 1).ry(theta[0], 1)
    model = qpr.Model(circuit, "Z0 Z1 + 0.5*X0")
    point, c = np.array([0.4, 1.0, -0.7]), 0.3
    _, exact = qpr.value_and_grad(model, point)
    signs = 1 - 2 * (np.arange(8)[:, None] >> np.arange(3) & 1)
    f = qpr.expectation(model, point + c * signs)[:, 0] - qpr.expectation(model, point - c * signs)[:, 0]
    mean = (signs * f[:, None]).mean(axis=0) / (2 * c)
    plan = SPSA(shots=10, step=c).compile(model)
    error = np.abs(mean - exact)
    assert np.all(error <= plan.bias) and error.max() > 0.005

    squared = qpr.Model(qpr.Circuit(1).ry(theta[0] ** 2 + 0.5 * theta[0], 0), "Z0")
    at = (np.array([1.1, 0.0, 0.0])[: squared.n_params], np.zeros(0))
    differences = FiniteDifference(shots=10, step=0.2).compile(squared, at=at)
    line = lambda t: np.cos(t**2 + 0.5 * t)  # noqa: E731
    slope = -np.sin(1.1**2 + 0.55) * (2.2 + 0.5)
    error = abs((line(1.3) - line(0.9)) / 0.4 - slope)
    assert 0 < error <= differences.bias[0]


@pytest.mark.parametrize("method", [FiniteDifference, SPSA])
@pytest.mark.parametrize("budget", [{"precision": 0.1}, {"max_error": 0.3}])
def test_the_total_error_is_kept_with_the_bias_in_it(method, budget):
    model = qpr.Model(ansatz.hardware_efficient(2, 1), "Z0 Z1")
    theta = values_for(model, seed=1)[0]
    r = repeat(method(**budget), model, theta, np.zeros(0), np.ones(1), 30)
    check_cost(r)
    errors = np.abs(r.values - r.exact)
    if "precision" in budget:
        assert np.sqrt((errors**2).mean(axis=0)).max() < 0.1 * 1.1
    else:
        assert errors.max() <= 0.3


# Random directions: what their variance predicts, stated beforehand.


@pytest.mark.parametrize(
    "method",
    [
        SPSA(shots=20, directions=15, step=0.05),
        pytest.param(SPSA(shots=1, directions=400, step=0.1), marks=pytest.mark.slow),
        pytest.param(ForwardGradient(shots=1, directions=100), marks=pytest.mark.slow),
        ForwardGradient(shots=30, directions=5),
        ForwardGradient(shots=3, directions=30, support=2),
        pytest.param(ForwardGradient(shots=2, directions=40, support=1), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_variance_is_what_was_predicted(method):
    model = qpr.Model(ansatz.hardware_efficient(3, 2), "Z0 Z1")
    theta = values_for(model, seed=8)[0]
    value, exact = qpr.value_and_grad(model, theta)
    r = repeat(method, model, theta, np.zeros(0), np.ones(1), 400, seed=5)
    plan = method.compile(model)
    if isinstance(method, SPSA):  # outcomes of +-1 have the variance 1 - F^2
        predicted = plan.predicted_variance(exact, [1 - value**2])
        assert np.allclose(
            predicted,
            simultaneous.predicted_variance(
                exact, directions=plan.directions, shots=int(plan.shots[0]), step=plan.step, shot_variance=1 - value**2
            ),
        )
    else:
        predicted = plan.predicted_variance(exact)
        if method.support is None:
            assert np.allclose(
                predicted,
                forward.predicted_variance(
                    exact, directions=plan.directions, shots=int(plan.shots[0]), reach=model.n_rotations
                ),
            )
    assert r.values.var(axis=0, ddof=1).sum() == pytest.approx(predicted.sum(), rel=0.08)
    check_unbiased(r)


def test_forward_gradients_of_few_shots_spend_one_on_each_direction():
    model = qpr.Model(ansatz.hardware_efficient(2, 2), "Z0")
    plan = ForwardGradient(total_shots=100).compile(model)
    assert plan.directions == 100 and plan.shots.tolist() == [1]
    many = qpr.Model(ansatz.hardware_efficient(4, 50), "Z0")  # 400 rotations: n = 5 % of M shots lose nothing
    plan = ForwardGradient(total_shots=2000).compile(many)
    assert plan.directions == 100 and plan.shots.tolist() == [20]
    best = forward.predicted_variance(np.ones(400), directions=2000, shots=1, reach=400)
    assert np.all(plan.predicted_variance(np.ones(400)) <= 1.05 * best)


def test_riesz_formula_differentiates_functions_of_any_frequencies():
    """The sum over many nodes, for incommensurate frequencies below W; and the nodes' law."""
    rng, W = np.random.default_rng(0), 2.5
    k = np.arange(-200_000, 200_000)
    t, c = (2 * k + 1) * np.pi / (2 * W), 4 * W / np.pi**2 * (-1.0) ** k / (2 * k + 1) ** 2
    for w in (0.3, np.sqrt(2), 2.5):
        assert c @ np.sin(w * t) == pytest.approx(w, abs=1e-4)
        assert c @ np.cos(w * t) == pytest.approx(0, abs=1e-9)
    assert np.abs(c).sum() == pytest.approx(W, rel=1e-5)
    nodes, signs = forward.riesz_nodes(100_000, rng)
    assert np.all(nodes % 2 == 1)
    for node in (1, -1, 3, -3, 5):
        assert np.mean(nodes == node) == pytest.approx(4 / np.pi**2 / node**2, abs=0.005)
        assert np.all(signs[nodes == node] == (-1) ** ((node - 1) // 2))


def test_random_components_work_with_fewer_shots_than_components():
    model = qpr.Model(ansatz.hardware_efficient(3, 2), "Z0 Z1")
    theta = values_for(model, seed=8)[0]
    r = repeat(RandomComponents(total_shots=5), model, theta, np.zeros(0), np.ones(1), 600)
    check_unbiased(r)
    check_stderr([r])
    assert {c.measurements for c in r.costs} == {5}
    predicted = (model.n_rotations - r.exact**2) / 5  # b^2 = 1/4, p = 1/2M: sum_r b^2/p = M; minus g^2
    assert r.values.var(axis=0).sum() == pytest.approx(predicted.sum(), rel=0.08)


# Shot noise.


@pytest.mark.parametrize(
    "protocol",
    [
        ParameterShift(shots=40),
        pytest.param(ParameterShift(total_shots=900, grouping="qubit_wise"), marks=pytest.mark.slow),
        pytest.param(ParameterShift(shots=60, grouping="sampled"), marks=pytest.mark.slow),
        pytest.param(FiniteDifference(shots=100), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_shot_noise_has_the_variance_of_the_protocol(protocol):
    model = qpr.Model(ansatz.uccsd(4, 2), "Z0 Z1 + 0.3*X0 X1 Y2 Y3 - 0.2*Y0 X1 X2 Y3 + 0.5*X0")
    theta = values_for(model, seed=4)[0]
    args = (model, theta, np.zeros(0), np.ones(1), 400)
    real, noise = repeat(protocol, *args), repeat(ShotNoise(protocol=protocol), *args, seed=1)
    check_unbiased(noise)
    check_stderr([noise], 0.08)
    stderr = noise.stderr[0]
    assert np.allclose(noise.stderr, stderr)  # exact, so the same each time
    assert np.allclose(real.values.std(axis=0, ddof=1), stderr, rtol=0.2)  # 400 repeats: 3.5 % each
    assert stderr_ratio([Repeats(real.values, noise.stderr, *real[2:])]) == pytest.approx(1, abs=0.06)


def test_held_noise_is_one_adjoint_sweep():
    model = qpr.Model(ansatz.hardware_efficient(3, 2), "Z0 Z1")
    theta = values_for(model, seed=4)[0]
    exact, held = (
        repeat(ShotNoise(shots=100, variances=v), model, theta, np.zeros(0), np.ones(1), 100) for v in ("exact", "held")
    )
    assert np.allclose(exact.values, held.values) and np.allclose(exact.stderr, held.stderr)


@dataclass(frozen=True)
class _Joint:
    """A protocol whose shots read three strings at once for two parameters; not a gradient, but linear."""

    name = "joint"

    def compile(self, model, weights=None, *, at=None):
        M, terms = model.n_rotations, Terms.of(model)
        strings = tuple(PauliString.parse(p) for p in ("Z0", "Z1", "Z0 Z1"))
        runs = Runs(
            free(model),
            Shifted(np.array([[-1]]), np.zeros((1, 1))),
            strings,
            targets=np.array([[M, M + 1, M + 1]]),
            factors=np.array([[1.0, 0.7, -0.4]]),
            terms=np.full(3, -1),
            lengths=np.array([M]),
            each=True,
        )
        return LinearPlan(model, terms, ParameterShift(shots=30), [runs], weights=settle(model, weights), at=at)


def test_shot_noise_keeps_the_covariance_of_components_that_share_shots():
    theta = qpr.params("theta", 2)
    model = qpr.Model(qpr.Circuit(2).ry(theta[0], 0).cx(0, 1).ry(theta[1], 1), "Z0")
    point = np.array([0.9, 0.5])
    rng = np.random.default_rng(0)
    real, noise = (
        np.array([plan.estimate(point, rng=rng).value for _ in range(500)])
        for plan in (_Joint().compile(model), ShotNoise(protocol=_Joint()).compile(model))
    )
    assert np.allclose(real.mean(axis=0), noise.mean(axis=0), atol=0.04)
    assert np.allclose(np.cov(real.T), np.cov(noise.T), atol=0.0035)
    assert abs(np.cov(real.T)[0, 1]) > 0.004


# Bad input: one sentence each, before any work starts.


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda m: ParameterShift(), "ParameterShift takes one of shots=, total_shots=, precision= and max_error="),
        (lambda m: ParameterShift(shots=0), "shots must be a whole number"),
        (lambda m: ParameterShift(shots=1, pilot=1.5), "pilot is a fraction"),
        (lambda m: ParameterShift(max_error=0.1, adaptive=True), "pass precision= or total_shots="),
        (lambda m: ParameterShift(shots=1, rule="three").compile(m), "rule is auto, two_term, general, got 'three'"),
        (lambda m: ParameterShift(shots=1, grouping="pairs").compile(m), "grouping is auto"),
        (lambda m: ParameterShift(total_shots=7).compile(m), "the smallest that works is 8"),
        (lambda m: ParameterShift(total_shots=31, adaptive=True).compile(m), "the smallest that works is 32"),
        (lambda m: ParameterShift(shots=3, adaptive=True).compile(m), "the smallest that works is 4"),
        (lambda m: FiniteDifference(total_shots=7).compile(m), "the smallest that works is 8"),
        (lambda m: FiniteDifference(shots=1, step=0), "step must be a positive number"),
        (lambda m: FiniteDifference(precision=0.01, step=1.0).compile(m), "use a shorter step"),
        (lambda m: SPSA(total_shots=1).compile(m), "the smallest that works is 2"),
        (lambda m: SPSA(total_shots=19, directions=10).compile(m), "the smallest that works is 20"),
        (lambda m: SPSA(precision=0.01, step=1.0).compile(m), "use a shorter step"),
        (lambda m: SPSA(shots=1, support=2), "ForwardGradient(support=...)"),
        (lambda m: ForwardGradient(shots=1, directions=0), "directions must be a whole number"),
        (lambda m: ForwardGradient(precision=0.01, directions=3).compile(m), "however many shots"),
        (lambda m: SPSA(precision=0.1).compile(CASES["products_of_angles"].model, [1, 1]), "multiplies parameters"),
        (lambda m: ShotNoise(), "ShotNoise takes one of"),
        (lambda m: ShotNoise(shots=1, protocol=ParameterShift(shots=1)), "leave shots out"),
        (lambda m: ShotNoise(protocol=3), "protocol is a method that measures"),
        (lambda m: ShotNoise(protocol=SPSA(shots=3)).compile(m), "not a sum over runs"),
        (lambda m: ShotNoise(protocol=Adjoint()).compile(m), "not a sum over runs"),
        (lambda m: ShotNoise(shots=3, variances="held").compile(m), "compile(..., at=(theta, x))"),
        (lambda m: ShotNoise(shots=3, variances="some"), "variances is 'exact' or 'held'"),
    ],
)
def test_bad_settings_get_one_sentence(make, sentence):
    model = qpr.Model(ansatz.hardware_efficient(2, 1), "Z0 Z1")
    with pytest.raises(QupropError) as refusal:
        make(model)
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_refuses_what_is_no_model_and_no_weights(name):
    with pytest.raises(QupropError, match="compiles a quprop Model"):
        method_of(name).compile("model")
    with pytest.raises(QupropError, match="pass weights="):
        method_of(name).compile(CASES["one_qubit"].model)


@pytest.mark.parametrize("name", OURS)
def test_batches_and_seeds(name):
    model = random_model(1, 3, 6, n_observables=1)
    theta = values_for(model, batch=3, seed=2)[0]
    method = method_of(name)
    one, two = (gradient(model, theta, method=method, rng=7) for _ in range(2))
    assert one.value.shape == one.stderr.shape == (3, model.n_params)
    assert np.array_equal(one.value, two.value)
    assert not np.array_equal(one.value, gradient(model, theta, method=method, rng=8).value)
    assert one.cost.rotations == 3 * method.compile(model).cost.rotations
    assert "budget" in str(method.compile(model)) or name == "shot_noise"
