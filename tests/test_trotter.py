"""Time evolution: product formulas against dense exponentials, their error bounds, and multi-product extrapolation."""

import numpy as np
import pytest
from scipy.linalg import expm

import quprop as qpr
from quprop.model.trotter import formula

N = 3
STRINGS = ("X0", "Z0 Z1", "Y1", "X1 Y2", "Z2")
COEFFICIENTS = np.array([0.7, -0.4, 0.9, 0.3, 0.55])
OBSERVABLE = qpr.PauliSum("Z0 + 0.5*X1 Z2 - 0.3*Y2")
PAULIS = [qpr.PauliString.parse(s).matrix(N) for s in STRINGS]


def hamiltonian(coefficients=COEFFICIENTS):
    return sum(c * p for c, p in zip(coefficients, PAULIS, strict=True))


def start():
    state = np.zeros(2**N, complex)
    state[0] = 1
    for q in range(N):
        state = expm(-0.5j * (0.3 + 0.2 * q) * qpr.PauliString.parse(f"Y{q}").matrix(N)) @ state
    return state


def prepared():
    circuit = qpr.Circuit(N)
    for q in range(N):
        circuit.ry(0.3 + 0.2 * q, q)
    return circuit


def suzuki(parts, t, order):
    """S_order(t) by its recursion, and not merged; parts act first to last."""
    if order == 1:
        out = np.eye(len(parts[0]))
        for part in parts:
            out = expm(-1j * t * part) @ out
        return out
    if order == 2:
        return suzuki(parts[::-1], t / 2, 1) @ suzuki(parts, t / 2, 1)
    u = 1 / (4 - 4 ** (1 / (order - 1)))
    outer = np.linalg.matrix_power(suzuki(parts, u * t, order - 2), 2)
    return outer @ suzuki(parts, (1 - 4 * u) * t, order - 2) @ outer


def trotter_value(numbers, order, steps, weights=None):
    """<O> after the formula term by term, and its derivatives by (t, coefficients), by the chain rule: each factor
    exp(-i a c t P) has the derivative -i P (c a dt + a t dc) in front of it."""
    t, coefficients = numbers[0], numbers[1:]
    shares = [1.0]
    for p in range(4, order + 1, 2):
        u = 1 / (4 - 4 ** (1 / (p - 1)))
        shares = [f * s for f in (u, u, 1 - 4 * u, u, u) for s in shares]
    K = len(coefficients)
    sweep = [(k, 1.0) for k in range(K)] if order == 1 else [(k, 0.5) for k in (*range(K), *reversed(range(K)))]
    factors = [(k, a * s / steps) for _ in range(steps) for s in shares for k, a in sweep]
    state, moves = start(), np.zeros((1 + K, 2**N), complex)
    for k, a in factors:
        u = expm(-1j * a * t * coefficients[k] * PAULIS[k])
        state, moves = u @ state, moves @ u.T
        moves[0] += -1j * a * coefficients[k] * PAULIS[k] @ state
        moves[1 + k] += -1j * a * t * PAULIS[k] @ state
    o = OBSERVABLE.matrix(N)
    return np.vdot(state, o @ state).real, 2 * (moves.conj() @ o @ state).real


@pytest.mark.parametrize(("order", "steps"), [(1, 3), (2, 2), (4, 10), (6, 1)])
def test_values_and_derivatives_by_time_and_coefficients_are_those_of_dense_exponentials(order, steps):
    theta, t = qpr.params("theta", len(STRINGS)), qpr.inputs("t", 1)
    terms = {s: theta[k] for k, s in enumerate(STRINGS)}
    circuit = prepared().evolve({**terms, "I": 2.0}, t[0], order, steps, grouping="given")
    model = qpr.Model(circuit, OBSERVABLE)
    value, (d_theta, d_x) = _all(model, COEFFICIENTS, [0.8])
    exact, slopes = trotter_value(np.array([0.8, *COEFFICIENTS]), order, steps)
    assert value == pytest.approx(exact, abs=1e-10)
    np.testing.assert_allclose([*d_x, *d_theta], slopes, atol=1e-10)


def _all(model, theta, x):
    values, pullback = qpr.vjp(model, theta, x)
    return values[0], pullback(np.ones(1))


@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_the_formula_is_its_recursion(order):
    parts = [0.7 * PAULIS[0], PAULIS[1] + 0.2 * PAULIS[4], -0.3 * PAULIS[2]]
    merged = np.eye(2**N)
    for g, share in formula(3, order, 2):
        merged = expm(-0.9j * share * parts[g]) @ merged
    np.testing.assert_allclose(merged, np.linalg.matrix_power(suzuki(parts, 0.45, order), 2), atol=1e-12)


def test_neighbouring_exponentials_are_merged():
    assert [g for g, _ in formula(3, 1, 2)] == [0, 1, 2, 0, 1, 2]
    assert [g for g, _ in formula(3, 2, 2)] == [0, 1, 2, 1, 0, 1, 2, 1, 0]
    assert len(formula(2, 4, 10)) == 2 * 50 + 1


@pytest.mark.parametrize("grouping", ["commuting", "given"])
@pytest.mark.parametrize("order", [1, 2, 4, 6])
def test_the_error_falls_with_the_order(order, grouping):
    steps = np.array([2, 4, 8]) if order == 6 else np.array([8, 16, 32])
    exact = expm(-1j * hamiltonian()) @ start()
    terms = dict(zip(STRINGS, COEFFICIENTS, strict=True))
    errors = []
    for k in steps:
        circuit = prepared().evolve(terms, 1.0, order, int(k), grouping=grouping)
        found = qpr.state(qpr.Model(circuit, "Z0"), [])
        errors.append(np.sqrt(max(2 - 2 * abs(np.vdot(exact, found)), 0)) if order < 4 else _distance(exact, found))
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope == pytest.approx(-order, abs=0.25)


def _distance(a, b):
    overlap = np.vdot(b, a)
    return np.linalg.norm(a - b * overlap / abs(overlap))


def test_a_sum_of_commuting_terms_is_exact_in_one_step():
    theta = qpr.params("theta", 2)
    circuit = prepared().evolve({"X0 X1": theta[0], "Z0 Z1": -0.4, "Y0 Y1": 2.0}, theta[1], order=1, steps=5)
    assert len(circuit) == N + 3
    h = qpr.PauliSum({"X0 X1": 0.6, "Z0 Z1": -0.4, "Y0 Y1": 2.0}).matrix(N)
    state = expm(-1.7j * h) @ start()
    exact = np.vdot(state, OBSERVABLE.matrix(N) @ state).real
    assert qpr.expectation(qpr.Model(circuit, OBSERVABLE), [0.6, 1.7])[0] == pytest.approx(exact, abs=1e-12)


def test_no_time_is_the_identity():
    assert prepared().evolve("X0 + Z0", 0.0, order=4, steps=3) == prepared()
    t = qpr.params("t", 1)
    model = qpr.Model(prepared().evolve("X0 + Z0", t[0], order=4, steps=3), OBSERVABLE)
    before = qpr.expectation(qpr.Model(prepared(), OBSERVABLE), [])
    np.testing.assert_allclose(qpr.expectation(model, [0.0]), before, atol=1e-12)


def test_a_model_with_an_evolution_round_trips_as_text():
    theta = qpr.params("theta", 2)
    model = qpr.Model(prepared().evolve({"X0": theta[0], "Z0 Z1": 0.5}, theta[1], order=4, steps=2), OBSERVABLE)
    assert qpr.Model.from_text(model.to_text()) == model


def test_an_evolution_round_trips_as_qasm():
    pytest.importorskip("openqasm3")
    theta = qpr.params("theta", 2)
    circuit = prepared().evolve({"X0": theta[0], "Z0 Z1": 0.5}, theta[1], order=2, steps=2)
    back = qpr.from_qasm(qpr.to_qasm(circuit.bound([0.3, 0.8])), OBSERVABLE)
    np.testing.assert_allclose(
        qpr.expectation(back, []), qpr.expectation(qpr.Model(circuit, OBSERVABLE), [0.3, 0.8]), atol=1e-12
    )


T = qpr.params("t", 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"order": 3}, "1 or an even number"),
        ({"order": 0}, "1 or an even number"),
        ({"order": 2.0}, "1 or an even number"),
        ({"order": 10**6}, "rotations"),
        ({"steps": 0}, "whole number from 1"),
        ({"steps": 1.5}, "whole number from 1"),
        ({"time": 1j}, "time of an evolution"),
        ({"time": np.nan}, "time of an evolution"),
        ({"time": T}, "time of an evolution"),
        ({"hamiltonian": {"X0": 1j}}, "real"),
        ({"hamiltonian": {}}, "at least one term"),
        ({"hamiltonian": {"X0": T[0], "Z5": 1.0}}, "qubits 0 to 1"),
        ({"hamiltonian": 3}, "PauliSum"),
        ({"grouping": "none"}, "commuting or given"),
    ],
)
def test_what_is_no_evolution_is_refused(change, words):
    circuit = qpr.Circuit(2)
    with pytest.raises(qpr.QupropError, match=words):
        circuit.evolve(**{"hamiltonian": "X0 + Z0", "time": 1.0, **change})
    assert not len(circuit)


# Bounds


def evolved(terms, t, order, steps, n):
    """The unitary of what `evolve` appends."""
    out = np.eye(2**n, dtype=complex)
    for op in qpr.Circuit(n).evolve(terms, t, order, steps).operations:
        out = expm(-0.5j * op.angles[0].constant * op.target.matrix(n)) @ out
    return out


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("norm", ["one", "spectral"])
def test_the_bound_is_above_the_error_of_random_sums(order, norm):
    rng = np.random.default_rng(order)
    for _ in range(5):
        words = rng.choice(list("IXYZ"), (6, 3))
        terms = qpr.PauliSum({"".join(w): c for w, c in zip(words, rng.normal(size=6), strict=True) if set(w) != {"I"}})
        t, steps = rng.uniform(0.05, 0.6), int(rng.integers(1, 4))
        try:
            bound = qpr.trotter_error(terms, t, order, steps, norm=norm)
        except qpr.QupropError:
            assert order == 4  # too many groups
            continue
        error = np.linalg.norm(evolved(terms, t, order, steps, 3) - expm(-1j * t * terms.matrix(3)), 2)
        assert error <= bound.bound + 1e-13


TFIM = qpr.PauliSum({**{f"Z{i} Z{i + 1}": 1.0 for i in range(4)}, **{f"X{i}": 0.7 for i in range(5)}})


@pytest.mark.parametrize(("order", "loose"), [(1, 2), (2, 3), (4, 300)])
def test_the_bound_of_an_ising_chain_is_near(order, loose):
    error = np.linalg.norm(evolved(TFIM, 0.2, order, 1, 5) - expm(-0.2j * TFIM.matrix(5)), 2)
    assert error <= qpr.trotter_error(TFIM, 0.2, order).bound <= loose * error


def test_the_bound_of_two_terms_is_its_formula():
    # [X, Z] = -2i Y: |[Z, X]| = 2, nested twice 4
    assert qpr.trotter_error("X0 + Z0", 0.3, 1, 2).bound == pytest.approx(0.3**2 * 2 / 2 / 2)
    assert qpr.trotter_error("X0 + Z0", 0.3, 2, 2).bound == pytest.approx(0.3**3 * (4 / 12 + 4 / 24) / 4)
    assert qpr.trotter_error("X0 + X1", 5.0).bound == 0.0


@pytest.mark.parametrize("order", [1, 2, 4])
def test_steps_for_a_tolerance_are_the_fewest(order):
    k = qpr.trotter_error(TFIM, 1.0, order).steps_for(1e-3)
    assert qpr.trotter_error(TFIM, 1.0, order, k).bound <= 1e-3 * (1 + 1e-9) and k > 1
    assert qpr.trotter_error(TFIM, 1.0, order, k - 1).bound > 1e-3


# Multi-product formulas


def plan_of(steps, order=2):
    theta, t = qpr.params("theta", len(STRINGS)), qpr.inputs("t", 1)
    terms = {s: theta[k] for k, s in enumerate(STRINGS)}
    return qpr.multi_product(lambda k: qpr.Model(prepared().evolve(terms, t[0], order, k), OBSERVABLE), steps, order)


def exact_value(t):
    state = expm(-1j * t * hamiltonian()) @ start()
    return np.vdot(state, OBSERVABLE.matrix(N) @ state).real


@pytest.mark.parametrize(
    ("steps", "order", "slope"), [((1, 2), 2, 5), ((1, 2, 3), 2, 7), ((1, 2), 1, 3), ((1, 2), 4, 7)]
)
def test_an_extrapolated_value_is_off_by_a_higher_power_of_time(steps, order, slope):
    plan = plan_of(steps, order)
    times = np.array([0.06, 0.1]) if slope < 7 else np.array([0.12, 0.2])
    errors = [abs(qpr.expectation(plan, COEFFICIENTS, [t])[0] - exact_value(t)) for t in times]
    found = np.log(errors[1] / errors[0]) / np.log(times[1] / times[0])
    assert found > slope - 0.5


def test_coefficients_are_those_of_richardson():
    plan = plan_of((1, 2, 4))
    ks = np.array(plan.steps, float)
    closed = [np.prod([k**2 / (k**2 - o**2) for o in ks if o != k]) for k in ks]
    np.testing.assert_allclose(plan.coefficients, closed, rtol=1e-13)
    assert plan.condition == pytest.approx(np.abs(closed).sum())


def test_derivatives_of_an_extrapolation_are_the_sums_of_those_of_its_models():
    plan, rng = plan_of((1, 2, 4)), np.random.default_rng(0)
    theta, x = COEFFICIENTS, np.array([0.6])
    v, vx = rng.normal(size=len(theta)), rng.normal(size=1)
    value, grad = qpr.value_and_grad(plan, theta, x)
    parts = [qpr.value_and_grad(m, theta, x) for m in plan.models]
    np.testing.assert_allclose(value, sum(c * p[0] for c, p in zip(plan.coefficients, parts, strict=True)), atol=1e-13)
    np.testing.assert_allclose(grad, sum(c * p[1] for c, p in zip(plan.coefficients, parts, strict=True)), atol=1e-12)
    d_theta, d_x = qpr.vjp(plan, theta, x)[1](np.ones(1))
    np.testing.assert_allclose(d_theta, grad, atol=1e-12)
    h = 1e-5
    ahead, behind = (qpr.vjp(plan, theta + s * v, x + s * vx)[1](np.ones(1)) for s in (h, -h))
    out = qpr.hvp(plan, theta, x, v_theta=v, v_x=vx)
    np.testing.assert_allclose(out[0], d_theta, atol=1e-12)
    np.testing.assert_allclose(out[1], d_x, atol=1e-12)
    np.testing.assert_allclose(out[2], (ahead[0] - behind[0]) / (2 * h), atol=1e-7)
    np.testing.assert_allclose(out[3], (ahead[1] - behind[1]) / (2 * h), atol=1e-7)


def test_an_extrapolation_is_trained_and_has_no_state():
    theta = qpr.params("theta", 1)
    plan = qpr.multi_product(lambda k: qpr.Model(qpr.Circuit(1).evolve("X0 + Z0", theta[0], steps=k), "Z0"), (1, 2, 3))
    trained = qpr.train(plan, params=np.array([0.8]), steps=60, optimiser=qpr.adam(0.1))
    assert trained.loss == pytest.approx(0.0, abs=1e-2)  # cos^2(sqrt 2 t) at its least
    with pytest.raises(qpr.QupropError):
        qpr.state(plan, [0.1])


def test_a_hermitian_product_is_a_hamiltonian():
    """As an operator and as the sum that it becomes it has one evolution; others are refused."""
    a, b = qpr.PauliSum("X0 + 0.5*Z0 Z1"), qpr.PauliSum("Y0 + X1")
    operator = 1j * qpr.commutator(a, b)
    found, expected = (qpr.Circuit(2).h(0).evolve(h, 0.4, steps=3) for h in (operator, qpr.PauliSum(operator)))
    assert found == expected
    with pytest.raises(qpr.QupropError, match="Hermitian"):
        qpr.Circuit(2).evolve(a * b, 0.4)


def test_extrapolated_observables_may_have_parameters():
    t = qpr.params("t", 2)
    build = lambda k: qpr.Model(  # noqa: E731
        qpr.Circuit(2).h(0).evolve({"X0": t[0], "Z0 Z1": 1.0, "X1": 0.5}, t[1], steps=k),
        [{"Z0": t[0] * t[1], "X1": 1.0}],
    )
    plan, point, v = qpr.multi_product(build), [0.3, 0.5], [1.0, -2.0]
    value, gradient = qpr.value_and_grad(plan, point)
    each = [(c, *qpr.value_and_grad(m, point)) for c, m in zip(plan.coefficients, plan.models, strict=True)]
    np.testing.assert_allclose(value, sum(c * f for c, f, _ in each), atol=1e-14)
    np.testing.assert_allclose(gradient, sum(c * g for c, _, g in each), atol=1e-14)
    bent = sum(c * qpr.hvp(m, point, v_theta=v)[2] for c, m in zip(plan.coefficients, plan.models, strict=True))
    np.testing.assert_allclose(qpr.hvp(plan, point, v_theta=v)[2], bent, atol=1e-13)
