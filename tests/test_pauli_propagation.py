"""Pauli propagation: exact where nothing is dropped, within its bounds where something is, and honest in between."""

import itertools

import numpy as np
import pytest
from random_programs import Case
from scipy import stats

import quprop as qpr
from quprop.errors import QupropError
from quprop.simulate.pauli.average import mean_squares
from quprop.simulate.pauli.certificate import pulled_back
from quprop.simulate.pauli.engine import PauliEngine, engine_of
from quprop.simulate.pauli.packed import Packed, factors
from quprop.simulate.pauli.propagation import support
from quprop.simulate.pauli.settings import PauliPropagation
from quprop.simulate.state_vector.native import NativeEngine
from quprop.simulate.state_vector.reference import ReferenceEngine

STATES = ["zero", "bits", "index", "product"]
ONE, NONE = np.ones((1, 1)), np.empty((1, 0))


def chain(n, layers, observables=None, letters="xz", state=None):
    """Layers of single-qubit rotations and ZZ on a chain, an angle each."""
    per_layer = len(letters) * n + n - 1
    theta = qpr.params("theta", layers * per_layer)
    circuit, i = qpr.Circuit(n, state, params=[theta]), 0
    for _ in range(layers):
        for letter in letters:
            for q in range(n):
                circuit = getattr(circuit, f"r{letter}")(theta[i], q)
                i += 1
        for q in range(n - 1):
            circuit = circuit.rzz(theta[i], q, q + 1)
            i += 1
    return qpr.Model(circuit, observables or f"Z{n // 2 - 1} Z{n // 2}")


def ising(n, layers):
    """The energy of the transverse-field chain."""
    energy = {f"X{q}": 1.0 for q in range(n)} | {f"Z{q} Z{q + 1}": 1.0 for q in range(n - 1)}
    return chain(n, layers, energy, letters="x")


def exact(model, theta, x=NONE, weights=None, engine=None):
    values, pullback = (engine or ReferenceEngine()).vjp(model, theta[None], x)
    weights = np.ones((1, model.n_observables)) if weights is None else weights
    d_theta, d_x = pullback(weights)
    return float((values * weights).sum()), d_theta[0], d_x[0]


def size_of(model, weights):
    return sum(abs(w) * sum(abs(c) for _, c in o.items()) for w, o in zip(weights, model.observables, strict=True))


def violations(result, truth, slack=0.0, slopes=(0.0, 0.0)):
    """Components whose error is above its bound; slack: what the oracle may be off by, times the angles' slopes."""
    errors = abs(result.value - truth[0]), abs(result.gradient - truth[1]), abs(result.d_x - truth[2])
    limits = result.value_bound, result.gradient_bound, result.x_bound
    extra = slack, slack * (1 + slopes[0]), slack * (1 + slopes[1])
    return sum(int(np.sum(e > b + s)) for e, b, s in zip(errors, limits, extra, strict=True))


def check_program(seed):
    """Every rule on one random program: bounds hold, a tolerance is met, nothing dropped is exact. The checks made."""
    case = Case(seed, states=STATES)
    model, rng = case.model, np.random.default_rng(seed)
    theta, x, w = case.rows[0]
    xs = x[None] if model.n_inputs else NONE
    size = size_of(model, w) or 1.0
    truth = exact(model, theta, xs, w[None])
    slopes = [s[0] for s in pulled_back(model.angle_table, np.ones((1, model.n_rotations)), theta[None], xs)]
    slack = 1e-11 * size
    steep = 1 + max(s.max(initial=0.0) for s in slopes)
    cutoff = lambda: size * 10 ** rng.uniform(-4, -0.5)  # noqa: E731
    settings = [
        PauliPropagation(0.0),
        PauliPropagation(size * 10 ** rng.uniform(-3, 0)),
        PauliPropagation(cutoff=cutoff()),
        PauliPropagation(cutoff=cutoff(), rule="coefficient"),
        PauliPropagation(cutoff=cutoff(), rule="branch"),
        PauliPropagation(max_weight=int(rng.integers(1, 4)), keep_diagonal=bool(rng.integers(2))),
        PauliPropagation(max_terms=len(Packed.of_model(model).ox) + int(rng.integers(1, 8))),
    ]
    for s in settings:
        try:
            result = PauliEngine(s, threads=1).propagate(model, theta, x if model.n_inputs else None, w)
        except QupropError as refused:
            assert "rounding" in str(refused) and steep > 1e6
            continue
        assert violations(result, truth, slack, slopes) == 0, (seed, s)
        largest = max(result.value_bound, result.gradient_bound.max(initial=0), result.x_bound.max(initial=0))
        if s.limit:
            assert largest <= s.limit, (seed, s)
        elif s.limit == 0:
            assert np.abs(result.gradient - truth[1]).max(initial=0) <= 1e-10 * size * steep
    return len(settings)


@pytest.mark.parametrize("block", range(6))
def test_no_error_is_above_its_bound(block):
    assert sum(check_program(seed) for seed in range(40 * block, 40 * block + 40)) == 40 * 7


@pytest.mark.slow
def test_no_error_is_above_its_bound_on_a_thousand_models():
    for seed in range(1000, 2000):
        check_program(seed)


@pytest.mark.parametrize("n, scale", [(7, 0.05), (8, 0.2), (8, 1.0), (8, 3.0)])
def test_bounds_hold_on_deeper_circuits(n, scale):
    model, rng = chain(n, 3), np.random.default_rng(n)
    theta = rng.normal(size=model.n_params) * scale
    theta[rng.random(len(theta)) < 0.2] = 0.0
    truth = exact(model, theta, engine=NativeEngine())
    sizes = []
    for s in (
        PauliPropagation(0.0),
        PauliPropagation(1e-3),
        PauliPropagation(1e-1),
        PauliPropagation(cutoff=1e-2),
        PauliPropagation(max_terms=100),
        PauliPropagation(max_weight=3),
    ):
        result = PauliEngine(s).propagate(model, theta)
        assert violations(result, truth, 1e-13) == 0, s
        sizes.append(result.peak)
    assert sizes[2] <= sizes[1] <= sizes[0] and sizes[4] <= 100 + 2 * 100  # a rotation may double what is kept
    assert np.abs(PauliEngine(PauliPropagation(0.0)).propagate(model, theta).gradient - truth[1]).max() < 1e-10


def test_a_bound_can_be_attained():
    """RX(a) after RX(b) made cos(b) Z + sin(b) Y of Z, and Y was dropped: the error is its coefficient."""
    theta = qpr.params("theta", 2)
    model = qpr.Model(qpr.Circuit(1).rx(theta[0], 0).rx(theta[1], 0), "Z0")
    point = np.array([np.pi / 2, 0.1])
    result = PauliEngine(PauliPropagation(cutoff=0.2, rule="coefficient")).propagate(model, point)
    assert result.value_bound == pytest.approx(np.sin(0.1), rel=1e-12)
    assert abs(result.value - np.cos(point.sum())) == pytest.approx(np.sin(0.1), rel=1e-12)


def test_a_derivative_lost_with_a_small_term_is_inside_its_bound():
    """RX(a) makes Z + y Y have little Y but dY/da of size one; then RZ(pi/2) does not follow Y, which is small."""
    theta = qpr.params("theta", 2)
    circuit = qpr.Circuit(1, np.full((1, 2), np.sqrt(0.5))).rz(theta[0], 0).rx(theta[1], 0)
    point, errors = np.array([np.pi / 2, 0.3]), []
    for y in (np.tan(0.3) + 0.01, -np.tan(0.3) - 0.01):
        model = qpr.Model(circuit, {"Z0": 1.0, "Y0": y})
        result = PauliEngine(PauliPropagation(cutoff=0.05, rule="branch")).propagate(model, point)
        errors.append(abs(result.gradient - exact(model, point)[1]))
        assert np.all(errors[-1] <= result.gradient_bound)
    assert np.max(errors) > 0.9


@pytest.mark.parametrize("tolerance", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("letter, observable, slope", [("x", "Y0", -1.0), ("y", "X0", 1.0), ("x", "Z0", 0.0)])
def test_the_derivative_at_angle_zero_is_right(tolerance, letter, observable, slope):
    """Where sin is zero the branch has no coefficient, but the derivative comes through it."""
    theta = qpr.params("theta", 1)
    model = qpr.Model(getattr(qpr.Circuit(1), f"r{letter}")(theta[0], 0), observable)
    result = PauliEngine(PauliPropagation(tolerance)).propagate(model, np.zeros(1))
    assert result.gradient[0] == slope


def test_all_derivatives_at_the_identity_are_right():
    model = chain(6, 2, "Y2 Y3", letters="xyz")
    truth = exact(model, np.zeros(model.n_params))
    for s in (PauliPropagation(0.0), PauliPropagation(1e-3), PauliPropagation(cutoff=1e-3)):
        np.testing.assert_allclose(
            PauliEngine(s).propagate(model, np.zeros(model.n_params)).gradient, truth[1], atol=1e-13
        )


@pytest.mark.parametrize("angle", [np.pi / 2, -np.pi / 2, np.pi, 2 * np.pi])
def test_clifford_angles_make_no_more_strings(angle):
    model = chain(6, 4)
    result = PauliEngine(PauliPropagation(cutoff=1e-30, rule="coefficient", bounds=False)).propagate(
        model, np.full(model.n_params, angle)
    )
    assert result.peak == 1
    assert result.value == pytest.approx(exact(model, np.full(model.n_params, angle))[0], abs=1e-12)


def grid(side, layers):
    """A tilted Ising model on a grid, whose sum fills several zones of the kernels."""
    n = side * side
    edges = [(q, q + 1) for q in range(n) if (q + 1) % side] + [(q, q + side) for q in range(n - side)]
    rows = [("X", (q,)) for q in range(n)] + [("Z", (q,)) for q in range(n)] + [("Z", e) for e in edges]
    theta, made = qpr.params("theta", layers * len(rows)), []
    for i, (letter, qubits) in enumerate(rows * layers):
        made.append((" ".join(f"{letter}{q}" for q in qubits), theta[i]))
    model = qpr.Model.from_rotations(n, made, f"Z{n // 2} Z{n // 2 + 1}", params=[theta])
    return model, np.tile(np.repeat([0.3, 0.3, 0.15], [n, n, len(edges)]), layers)


@pytest.mark.parametrize(
    "settings",
    [
        PauliPropagation(cutoff=2e-5),
        PauliPropagation(0.15),
        PauliPropagation(max_terms=20_000),
        PauliPropagation(cutoff=1e-4, stochastic=True, seed=3, repeats=2),
    ],
)
def test_results_are_the_same_to_the_last_bit_for_any_number_of_threads(settings):
    model, theta = grid(5, 3)
    results = [PauliEngine(settings, threads=t).propagate(model, theta) for t in (1, 2, 3)]
    assert results[0].peak > 12_288  # more than one zone
    for other in results[1:]:
        assert other.value == results[0].value
        np.testing.assert_array_equal(other.gradient, results[0].gradient)
        np.testing.assert_array_equal(other.gradient_bound, results[0].gradient_bound)
        np.testing.assert_array_equal(other.ledger, results[0].ledger)


def test_many_zones_agree_with_the_state_vector():
    model, theta = grid(4, 3)
    result = PauliEngine(PauliPropagation(cutoff=1e-5), threads=2).propagate(model, theta)
    assert result.peak > 12_288
    assert violations(result, exact(model, theta, engine=NativeEngine()), 1e-12) == 0
    assert abs(result.gradient - exact(model, theta, engine=NativeEngine())[1]).max() < 1e-2


def test_kept_strings_at_the_same_angles_give_what_a_new_propagation_gives():
    model = chain(7, 2)
    theta = np.random.default_rng(0).normal(size=(1, model.n_params))
    engine = PauliEngine(PauliPropagation(cutoff=1e-2))
    kept, new = engine.freeze(model, theta, NONE, ONE), engine.propagate(model, theta[0])
    value, gradient = kept.value_and_grad(theta, NONE, ONE)
    assert value[0] == new.value
    np.testing.assert_array_equal(gradient[0], new.gradient)
    value_bound, gradient_bound = kept.bounds(theta, NONE, ONE)
    assert value_bound[0] == new.value_bound
    assert np.all(gradient_bound[0] >= new.gradient_bound)  # which looks backwards too


@pytest.mark.parametrize(
    "layers, scale, settings",
    [
        (2, 0.3, PauliPropagation(cutoff=3e-2)),
        (4, 1.0, PauliPropagation(cutoff=0.1)),  # strings die, and others are born in their slots
        (4, 1.0, PauliPropagation(cutoff=3e-2, rule="coefficient")),
        (4, 1.0, PauliPropagation(cutoff=1e-2, rule="branch", max_weight=4)),
        (3, 1.0, PauliPropagation(max_terms=60)),
    ],
)
def test_kept_strings_elsewhere_are_differentiated_and_bounded(layers, scale, settings):
    model, rng = chain(6, layers), np.random.default_rng(1)
    theta = rng.normal(size=(1, model.n_params)) * scale
    theta[0, ::7] = np.pi / 2
    kept = PauliEngine(settings).freeze(model, theta, NONE, ONE)
    points = theta + rng.normal(size=(5, model.n_params)) * 0.1
    values, gradients = kept.value_and_grad(points, NONE, ONE)
    bounds = kept.bounds(points, NONE, ONE)
    for i, point in enumerate(points):
        truth = exact(model, point)
        assert abs(values[i] - truth[0]) <= bounds[0][i]
        assert np.all(abs(gradients[i] - truth[1]) <= bounds[1][i] + 1e-13)
    # each angle enters once: the frozen function's derivative is half the difference at quarter turns
    shifts = np.pi / 2 * np.eye(model.n_params)
    plus, minus = (kept.value_and_grad(theta + sign * shifts, NONE, ONE)[0] for sign in (1, -1))
    np.testing.assert_allclose(kept.value_and_grad(theta, NONE, ONE)[1][0], (plus - minus) / 2, atol=1e-13)


def test_damping_is_that_of_dephasing_along_each_rotation():
    """Terms that anticommute with P lose the factor 1 - 2p: exp(-iaP/2), then P with probability p."""
    model, rng = chain(4, 2), np.random.default_rng(5)
    theta, damping = rng.normal(size=model.n_params) * 0.5, rng.uniform(0.6, 1.0, model.n_params)
    packed = Packed.of_model(model)

    def at(settings, angles):
        made = factors(angles, damping)
        found = support(packed, np.ones(1), made, settings, 1)
        return found.at(ONE, made[None], bounded=True, posterior=True)

    def noisy(angles):  # the average over which of the P happened, a state vector each
        total = 0.0
        for path in range(400):
            flips = np.pi * (np.random.default_rng(path).random(len(angles)) < (1 - damping) / 2)
            total += exact(model, angles + flips)[0]
        return total / 400

    whole = at(PauliPropagation(0.0), theta)
    assert abs(whole.values[0] - noisy(theta)) < 0.1
    shifts = np.pi / 2 * np.eye(model.n_params)
    plus, minus = ([at(PauliPropagation(0.0), theta + s * row).values[0] for row in shifts] for s in (1, -1))
    np.testing.assert_allclose(whole.d_angles[0], (np.array(plus) - minus) / 2, atol=1e-12)
    for s in (PauliPropagation(cutoff=1e-2), PauliPropagation(cutoff=0.1), PauliPropagation(max_weight=2)):
        cut = at(s, theta)
        assert abs(cut.values[0] - whole.values[0]) <= cut.bounds.value[0]
        assert np.all(abs(cut.d_angles - whole.d_angles) <= cut.bounds.angles)


# The engine ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_engine_gives_what_the_reference_gives(seed):
    """Batches, inputs, several observables, shared parameters; sums over the batch."""
    case = Case(seed + 500, states=STATES)
    model, rows = case.model, case.rows
    theta, w = np.stack([r[0] for r in rows]), np.stack([r[2] for r in rows])
    x = np.stack([r[1] for r in rows]) if model.n_inputs else NONE
    engine, reference = PauliEngine(PauliPropagation(0.0), threads=2), ReferenceEngine()
    size = max(max(size_of(model, row) for row in np.vstack([w, np.ones_like(w[:1])])), 1e-300)
    slopes = pulled_back(model.angle_table, np.ones((len(theta), model.n_rotations)), theta, x)
    limit = 1e-10 * size * (1 + max(s.max(initial=0.0) for s in slopes))
    np.testing.assert_allclose(engine.values(model, theta, x), reference.values(model, theta, x), rtol=0, atol=limit)
    (values, pull), (truth, pull_truth) = engine.vjp(model, theta, x), reference.vjp(model, theta, x)
    np.testing.assert_allclose(values, truth, rtol=0, atol=limit)
    for summed in (False, True):
        for found, right in zip(pull(w, summed), pull_truth(w, summed), strict=True):
            np.testing.assert_allclose(found, right, rtol=0, atol=limit * len(theta))
    for found, right in zip(
        engine.value_and_grad(model, theta, x, w), reference.value_and_grad(model, theta, x, w), strict=True
    ):
        np.testing.assert_allclose(found, right, rtol=0, atol=limit)


def test_strings_serve_until_their_bound_is_broken():
    model, rng = ising(10, 2), np.random.default_rng(2)
    theta, tolerance = rng.normal(size=(1, model.n_params)) * 0.4, 0.05
    engine, states = PauliEngine(PauliPropagation(tolerance)), NativeEngine()
    kept = []
    for step in (0.0, 1e-3, 2e-3, 1.0, 1.001):
        point = theta + step
        value, gradient = engine.value_and_grad(model, point, NONE, ONE)
        truth = exact(model, point[0], engine=states)
        assert abs(value[0] - truth[0]) <= tolerance and abs(gradient[0] - truth[1]).max() <= tolerance
        kept.append(engine._supports[model])
    assert kept[0] is kept[1] is kept[2] and kept[2] is not kept[3] and kept[3] is kept[4]


def test_a_pullback_is_within_tolerance_times_the_cotangent():
    model, rng = chain(6, 2, ["Z2 Z3", "X1", {"Y4": 2.0, "Z0": 1.0}]), np.random.default_rng(8)
    theta = rng.normal(size=(3, model.n_params)) * 0.5
    for factor in (1.0, 1e4):
        cotangent = rng.normal(size=(3, 3)) * factor
        values, pull = PauliEngine(PauliPropagation(0.1)).vjp(model, theta, NONE)
        truth, pull_truth = ReferenceEngine().vjp(model, theta, NONE)
        assert np.abs(values - truth).max() <= 0.1
        error = np.abs(pull(cotangent)[0] - pull_truth(cotangent)[0])
        assert np.all(error.max(axis=1) <= 0.1 * np.abs(cotangent).sum(axis=1))


def test_a_shared_parameter_is_within_tolerance_as_a_whole():
    theta = qpr.params("theta", 1)
    circuit = qpr.Circuit(6)
    for _ in range(3):
        for q in range(6):
            circuit = circuit.rx(2 * theta[0], q).rz(theta[0], q)
        for q in range(5):
            circuit = circuit.rzz(-theta[0], q, q + 1)
    model, point = qpr.Model(circuit, "Z2 Z3"), np.array([0.3])
    truth = exact(model, point)
    for tolerance in (1.0, 1e-2):
        result = PauliEngine(PauliPropagation(tolerance)).propagate(model, point)
        assert abs(result.gradient - truth[1]).max() <= result.gradient_bound.max() <= tolerance


@pytest.mark.parametrize("n, spread", [(9, 1), (10, 9)])
def test_long_strings(n, spread):
    """Generators and observables on most qubits, side by side and over several words."""
    rng = np.random.default_rng(n)
    theta = qpr.params("theta", 14)
    texts = ["".join(rng.choice(list("IXYZ"), n, p=[0.1, 0.3, 0.3, 0.3])) for _ in range(16)]
    wide = lambda text: " ".join(f"{c}{spread * q}" for q, c in enumerate(text) if c != "I")  # noqa: E731
    small, large = (
        qpr.Model.from_rotations(
            size,
            [(name(p), theta[i]) for i, p in enumerate(texts[2:])],
            {name(p): 0.5 for p in texts[:2]},
            params=[theta],
        )
        for size, name in ((n, str), (spread * n, wide))
    )
    point = rng.normal(size=14)
    truth = exact(small, point, engine=NativeEngine())
    result = PauliEngine(PauliPropagation(0.0)).propagate(large, point)
    assert result.value == pytest.approx(truth[0], abs=1e-12)
    np.testing.assert_allclose(result.gradient, truth[1], atol=1e-12)


@pytest.mark.parametrize("n", [64, 65, 128, 129, 256, 257, 512, 513, 1024])
def test_widths(n):
    """Five qubits spread over all words of n, against the same model on five."""
    places = [0, n // 3, n // 2, n - 2, n - 1]
    rng = np.random.default_rng(n)
    theta = qpr.params("theta", 30)
    rows = [("".join(rng.choice(list("IXYZ"), 5, p=[0.5, 0.2, 0.1, 0.2])), theta[i]) for i in range(30)]
    observable = {"ZIXIZ": 0.7, "IYIXI": -0.4, "ZZIII": 1.0}
    wide = lambda text: " ".join(f"{c}{places[k]}" for k, c in enumerate(text) if c != "I") or "I"  # noqa: E731
    small = qpr.Model.from_rotations(5, rows, observable, params=[theta])
    spread = {wide(p): c for p, c in observable.items()}
    large = qpr.Model.from_rotations(n, [(wide(p), a) for p, a in rows], spread, params=[theta])
    point = rng.normal(size=30)
    truth = exact(small, point)
    for s in (PauliPropagation(0.0), PauliPropagation(0.1), PauliPropagation(max_weight=3)):
        result = PauliEngine(s).propagate(large, point)
        assert violations(result, truth, 1e-13) == 0
    assert PauliEngine(PauliPropagation(0.0)).propagate(large, point).value == pytest.approx(truth[0], abs=1e-12)


@pytest.mark.parametrize(
    "layers, settings, value, norm",
    [
        (4, PauliPropagation(max_weight=5), -0.57689414, 13.412207),  # TenCirPauli 0.5.0 and monoprop 0.9.2
        (8, PauliPropagation(max_weight=5), -1.16718200, 15.735600),  # TenCirPauli 0.5.0
        (4, PauliPropagation(max_weight=5, keep_diagonal=True, cutoff=1e-4, rule="branch"), -0.57699375, 13.381724),
    ],  # the last: monoprop 0.9.2 with lower_atol=1e-4
)
def test_other_packages_agree_at_64_qubits(layers, settings, value, norm):
    model = ising(64, layers)
    theta = np.random.default_rng(42).standard_normal(model.n_params)
    result = PauliEngine(settings).propagate(model, theta)
    assert result.value == pytest.approx(value, abs=5e-9)
    assert np.linalg.norm(result.gradient) == pytest.approx(norm, abs=5e-7)


def test_a_component_that_a_cut_branch_loses_is_inside_its_bound():
    """At 64 qubits the branch rule loses a whole derivative; its bound says so, and a tolerance does not lose it."""
    model = ising(64, 4)
    theta = np.random.default_rng(42).standard_normal(model.n_params)
    truth = PauliEngine(PauliPropagation(0.0)).propagate(model, theta)
    cut = PauliEngine(PauliPropagation(cutoff=1e-4, rule="branch")).propagate(model, theta)
    error = abs(cut.gradient - truth.gradient)
    assert error.max() > 0.5 and np.all(error <= cut.gradient_bound)
    certified = PauliEngine(PauliPropagation(1e-3)).propagate(model, theta)
    assert abs(certified.gradient - truth.gradient).max() < 1e-3


def test_stabiliser_inputs_are_clifford_gates_on_a_basis_state():
    theta = qpr.params("theta", 8)
    circuit = qpr.Circuit(4, "0110").h(0).cx(0, 1).s(1).cz(1, 2).h(3)
    for q in range(4):
        circuit = circuit.rx(theta[q], q).rz(theta[4 + q], q)
    model, point = qpr.Model(circuit, "X0 Y1 Z2"), np.arange(8) / 3
    result, truth = PauliEngine(PauliPropagation(0.0)).propagate(model, point), exact(model, point)
    np.testing.assert_allclose(result.gradient, truth[1], atol=1e-13)


def test_terms_take_at_most_48_bytes_at_127_qubits():
    n = 127
    model = chain(n, 4, {f"Z{q} Z{q + 1}": 1.0 for q in range(n - 1)})
    theta = np.full(model.n_params, 0.3)
    packed = Packed.of_model(model)
    made = factors(model.angle_table.evaluate(theta[None], NONE))[0]
    found = support(packed, packed.combined(ONE)[0], made, PauliPropagation(cutoff=1e-3), 2)
    assert found.peak > 30_000
    assert found.bytes / found.peak <= 48


# Random -------------------------------------------------------------------------------------------------------------


def test_stochastic_truncation_is_unbiased():
    model = chain(5, 2)
    theta = np.random.default_rng(5).normal(size=model.n_params) * 0.5
    truth = exact(model, theta)
    s = PauliPropagation(cutoff=0.05, stochastic=True, repeats=300, seed=11)
    result = PauliEngine(s).propagate(model, theta)
    whole = PauliEngine(PauliPropagation(0.0)).propagate(model, theta)
    assert result.peak < whole.peak / 2
    sigma = stats.t.ppf(0.975, 299)
    assert abs(result.value - truth[0]) < 5 * result.value_bound / sigma
    spread = np.maximum(result.gradient_bound / sigma, 1e-14)
    assert np.all(abs(result.gradient - truth[1]) < 5 * spread)
    again = PauliEngine(s, threads=1).propagate(model, theta)
    np.testing.assert_array_equal(again.gradient, result.gradient)


@pytest.mark.slow
def test_stochastic_intervals_cover():
    model = chain(6, 3)
    theta = np.random.default_rng(5).normal(size=model.n_params) * 0.5
    truth = exact(model, theta)
    inside = np.zeros(1 + model.n_params)
    for seed in range(400):
        result = PauliEngine(PauliPropagation(cutoff=0.03, stochastic=True, repeats=16, seed=seed)).propagate(
            model, theta
        )
        inside[0] += abs(result.value - truth[0]) <= result.value_bound
        inside[1:] += abs(result.gradient - truth[1]) <= result.gradient_bound + 1e-14
    assert inside[0] >= 0.93 * 400
    assert inside[1:].mean() >= 0.93 * 400


def enumerated(model, most_weight):
    """All paths of the model's one string: the mean square errors over uniform angles, (1 + M,)."""
    (string, _), stages = next(iter(model.observables[0].items())), model.n_rotations
    out = np.zeros(1 + stages)

    def walk(m, x, z, cut, share, branched):
        while m >= 0:
            r = model.rotations[m]
            if ((x & r.z).bit_count() + (z & r.x).bit_count()) & 1:
                for a, b in ((x, z), (x ^ r.x, z ^ r.z)):
                    walk(m - 1, a, b, cut or (a | b).bit_count() > most_weight, share / 2, (*branched, m))
                return
            m -= 1
        if cut and x == 0:
            out[0] += share
            for b in branched:
                out[1 + b] += share

    walk(stages - 1, string.x, string.z, False, 1.0, ())
    return out


@pytest.mark.parametrize("n, most_weight", [(3, 1), (4, 2), (5, 2)])
def test_errors_averaged_over_angles_are_those_of_all_paths(n, most_weight):
    model = chain(n, 2)
    s = PauliPropagation(max_weight=most_weight, angles="uniform", paths=40_000, seed=4)
    mean, variance = mean_squares(Packed.of_model(model), 0, s, 4)
    truth = enumerated(model, most_weight)
    assert np.all(abs(mean - truth) <= 4 * np.sqrt(variance / s.paths) + 1e-12)
    result = PauliEngine(s).propagate(model, np.zeros(model.n_params))
    assert result.value_bound**2 >= truth[0] and np.all(result.gradient_bound**2 >= truth[1:])
    assert result.value_bound**2 <= truth[0] + 0.02


@pytest.mark.slow
def test_errors_averaged_over_angles_are_those_of_sampled_angles():
    model, rng = chain(4, 2), np.random.default_rng(0)
    truth, errors = enumerated(model, 2), []
    cut, whole = PauliEngine(PauliPropagation(max_weight=2), threads=1), ReferenceEngine()
    for _ in range(1500):
        theta = rng.uniform(0, 2 * np.pi, model.n_params)
        right, found = exact(model, theta, engine=whole), cut.propagate(model, theta)
        errors.append(np.concatenate([[found.value - right[0]], found.gradient - right[1]]) ** 2)
    spread = np.std(errors, axis=0) / np.sqrt(len(errors))
    assert np.all(abs(np.mean(errors, axis=0) - truth) <= 5 * spread + 1e-12)


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"tolerance": -1e-3}, "tolerance is a number from 0, got -0.001"),
        ({"tolerance": float("nan")}, "tolerance is a number from 0"),
        ({"tolerance": "1e-3"}, "tolerance is a number from 0"),
        ({"max_terms": 0}, "max_terms is a whole number from 1, got 0"),
        ({"max_weight": 2.5}, "max_weight is a whole number from 1"),
        ({"tolerance": 1e-3, "max_terms": 10}, "goes without it"),
        ({"cutoff": 1e-3, "rule": "coeff"}, "rule is one of size, coefficient, branch"),
        ({"cutoff": 1e-3, "stochastic": True}, "pass seed="),
        ({"stochastic": True, "seed": 1}, "a cutoff above 0"),
        ({"angles": "uniform", "seed": 1, "cutoff": 1e-2}, "max_weight= alone"),
        ({"bounds": False}, "bounds=False goes with"),
        ({"cutoff": 1e-3, "rule": "branch", "max_terms": 5}, "leave max_terms out"),
        ({"repeats": 1}, "repeats is a whole number from 2"),
        ({"memory": True}, "memory is a whole number from 1"),
    ],
)
def test_settings_are_refused_in_a_sentence(arguments, said):
    with pytest.raises(QupropError, match=said):
        PauliPropagation(**arguments)


def test_settings_take_numbers_of_numpy_and_make_one_engine():
    settings = PauliPropagation(max_terms=np.int64(500), max_weight=np.int32(3), memory=np.int64(1 << 28))
    model = ising(4, 1)
    assert PauliEngine(settings).propagate(model, np.full(model.n_params, 0.3)).peak <= 500
    assert engine_of(settings) is engine_of(PauliPropagation(max_terms=500, max_weight=3, memory=1 << 28))
    assert engine_of(settings, threads=1) is not engine_of(settings, threads=2)


def test_what_the_engine_cannot_do_is_refused_in_a_sentence():
    model = ising(4, 1)
    theta = np.zeros(model.n_params)
    with pytest.raises(QupropError, match="7 strings, so max_terms must be that or more, got 5"):
        PauliEngine(PauliPropagation(max_terms=5)).propagate(model, theta)
    amplitudes = chain(3, 1, state=np.arange(1.0, 9.0))
    with pytest.raises(QupropError, match="starts from basis, product and stabiliser states"):
        PauliEngine().values(amplitudes, np.zeros((1, amplitudes.n_params)), NONE)
    wide = qpr.Model(qpr.Circuit(1025).rx(qpr.params("theta", 1)[0], 0), "Z0")
    with pytest.raises(QupropError, match="1024 qubits at most, got a model of 1025"):
        PauliEngine().values(wide, np.zeros((1, 1)), NONE)
    with pytest.raises(QupropError, match="draws other strings at every point"):
        drawing = PauliEngine(PauliPropagation(cutoff=0.1, stochastic=True, seed=0))
        drawing.freeze(model, theta[None], NONE, ONE)
    for ask in ("states", "state_vjp", "hvp", "tangents"):
        with pytest.raises(QupropError, match="Pauli propagation"):
            getattr(PauliEngine(), ask)(model, theta[None], NONE)
    with pytest.raises(QupropError, match='"double" only'):
        PauliEngine(precision="single")


def test_memory_ends_a_propagation_with_what_could_be_reached():
    model, theta = grid(5, 3)
    with pytest.raises(QupropError, match=r"more memory than there is: .* what fits bounds them by"):
        PauliEngine(PauliPropagation(1e-6, memory=2 << 20)).value_and_grad(model, theta[None], NONE, ONE)
    with pytest.raises(QupropError, match=r"strings that take .* may be taken"):
        PauliEngine(PauliPropagation(cutoff=1e-6, memory=2 << 20)).propagate(model, theta)
    with pytest.raises(QupropError, match="terms of 64 qubits need"):
        PauliEngine(PauliPropagation(max_terms=10**6, memory=2 << 20)).propagate(model, theta)


def test_a_tolerance_below_rounding_is_refused():
    theta = qpr.params("theta", 2)
    model = qpr.Model(qpr.Circuit(1).rx(1e10 * theta[0], 0).ry(theta[1], 0), "Z0")
    with pytest.raises(QupropError, match="rounding alone, times how fast the angles move"):
        PauliEngine(PauliPropagation(1e-8)).propagate(model, np.ones(2))


def test_where_no_bound_is_useful_the_result_says_so():
    model, rng = chain(8, 6), np.random.default_rng(3)
    theta = rng.uniform(0, 2 * np.pi, model.n_params)
    assert "no useful bound" in PauliEngine(PauliPropagation(max_terms=50)).propagate(model, theta).note
    assert "within 0.9" in PauliEngine(PauliPropagation(0.9)).propagate(chain(8, 1), theta[: chain(8, 1).n_params]).note


def test_letters_of_all_pairs_turn_the_right_way():
    """Every string of two qubits by every rotation of two qubits: signs, against the reference."""
    texts = ["".join(p) for p in itertools.product("IXYZ", repeat=2)][1:]
    theta = qpr.params("theta", 1)
    for rotation in texts:
        model = qpr.Model.from_rotations(
            2, [(rotation, theta[0])], list(texts), [[1, 0.4j], [0.8, 0.6 + 0.2j]], params=[theta]
        )
        found = PauliEngine(PauliPropagation(0.0)).values(model, np.array([[0.7]]), NONE)
        np.testing.assert_allclose(found, ReferenceEngine().values(model, np.array([[0.7]]), NONE), atol=1e-14)
