"""The lifted tower: engines against one another, against written-out blocks and against plain gradient descent."""

import itertools
import math

import numpy as np
import pytest
from scipy import sparse
from tolerances import assert_close

from quprop.carleman import ENGINES, Dynamics, Momentum, choose_engine, from_tensors, lift, march, success_probability
from quprop.carleman.engines.jets import jet_train, norms_from_gram
from quprop.carleman.engines.kronecker import kronecker_matrix
from quprop.carleman.engines.monomials import MonomialTables, SymmetricOperator, symmetric_matrix
from quprop.carleman.engines.tensor_train import full
from quprop.carleman.maps.burgers import burgers
from quprop.carleman.maps.convergence import error_against_order, logistic_run, toy
from quprop.carleman.maps.dynamics import PolynomialMap, tabulate, tabulation_seconds
from quprop.carleman.maps.polynomial import (
    deep_linear,
    matrix_factorisation,
    minimum,
    quadratic_network,
    ridge_logistic,
    ridge_regression,
)
from quprop.carleman.maps.radius import convergence_radius
from quprop.carleman.maps.taylor import sigmoid_series
from quprop.carleman.system.history import HistorySystem
from quprop.errors import QupropError

ORDERS = (1, 2, 3, 4)


def cubic(driven: bool, n: int = 3, seed: int = 0):
    """A degree-3 step, contracting, with or without driving force; F_k here are not symmetric on purpose."""
    rng = np.random.default_rng(seed)
    tensors = [
        driven * 0.1 * rng.normal(size=n),
        -np.diag(np.linspace(0.5, 2, n)) + 0.1 * rng.normal(size=(n, n)),
        0.3 * rng.normal(size=(n, n, n)),
        0.2 * rng.normal(size=(n, n, n, n)),
    ]
    return from_tensors(tensors, learning_rate=0.1), 0.5 * rng.normal(size=n), tensors


def written_out(step, start, order, steps, variant="discrete"):
    """All levels after `steps` by the explicit Kronecker matrix: the witness that shares nothing with the engines."""
    matrix, force = kronecker_matrix(step, order, variant=variant)
    y = np.concatenate([_power(start, j).reshape(-1) for j in range(1, order + 1)])
    for _ in range(steps):
        y = matrix @ y + force
    n, found, low = len(start), [], 0
    for j in range(1, order + 1):
        found.append(y[low : low + n**j].reshape((n,) * j))
        low += n**j
    return found


def _power(u, j):
    out = np.array(1.0)
    for _ in range(j):
        out = np.multiply.outer(out, u)
    return out


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("driven", [False, True])
def test_every_engine_follows_the_written_out_tower(driven, order):
    step, start, _ = cubic(driven)
    expected = written_out(step, start, order, 25)
    for name, engine in ENGINES.items():
        if (name == "low_rank" and order != 2) or (name == "jets" and driven and order > 1):
            continue
        state = engine(step, start, order)
        for _ in range(25):
            state.step()
        assert state.exact
        for j in range(1, order + 1):
            assert np.max(np.abs(state.level(j) - expected[j - 1])) < 1e-12, (name, j)
        norms = [np.linalg.norm(level.reshape(-1)) for level in expected]
        assert np.max(np.abs(state.level_norms() - norms)) < 1e-12, name


def test_a_flipped_sign_in_the_shift_is_seen():
    step, start, _ = cubic(True)
    wrong = written_out(step.driven(-step.constant()), start, 3, 5)
    state = lift(step, start, 3, "symmetric")
    for _ in range(5):
        state.step()
    assert np.max(np.abs(state.level(1) - wrong[0])) > 1e-3


@pytest.mark.parametrize("name", ENGINES)
def test_linear_dynamics_are_exact_at_every_order(name):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(8, 4)), rng.normal(size=8)
    model = ridge_regression(x, y, learning_rate=0.1, ridge=0.1)
    start = rng.normal(size=4)
    *_, plain = Dynamics(model).trajectory(start, 40)
    state = lift(model, start, 2, name)
    assert_close(march(state, 40).estimate, plain, 1e3)


def test_the_tower_is_exact_while_degrees_stay_within_the_order():
    """q^T <= N: no term has been cut yet."""
    start, tensors = cubic(False)[1:]
    step = from_tensors([np.zeros(3), *tensors[1:3]], learning_rate=0.1)
    for order, steps in ((2, 1), (4, 2)):
        *_, plain = Dynamics(step).trajectory(start, steps)
        assert_close(march(lift(step, start, order, "kronecker"), steps).estimate, plain, 100)
        longer = list(Dynamics(step).trajectory(start, steps + 1))[-1]
        assert np.max(np.abs(march(lift(step, start, order, "kronecker"), steps + 1).estimate - longer)) > 1e-9


def test_step_and_jets_agree_with_the_given_tensors():
    step, start, tensors = cubic(True)
    by_hand = start + 0.1 * sum(
        np.einsum(t, list(range(t.ndim)), *itertools.chain(*[(start, [k]) for k in range(1, t.ndim)]), [0])
        for t in tensors
    )
    assert_close(step.step(start), by_hand, 100)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(3, 3))
    symmetric = sum(np.einsum("iabc,a,b,c->i", tensors[3], *vectors[list(p)]) for p in itertools.permutations(range(3)))
    assert_close(step.jet(3, vectors), 0.1 * symmetric / 6, 100)
    assert_close(super(type(step), step).jet(3, vectors), step.jet(3, vectors), 1e3)


def test_sparse_tensors_and_dense_ones_are_the_same_map():
    _, start, tensors = cubic(True)
    flat = [tensors[0], *(sparse.csr_array(t.reshape(3, -1)) for t in tensors[1:])]
    assert_close(from_tensors(flat).step(start), from_tensors(tensors).step(start), 10)


@pytest.mark.parametrize("order", ORDERS)
def test_matrix_free_tower_is_its_matrix_and_its_adjoint(order):
    step = cubic(True)[0]
    tables = MonomialTables(3, order)
    operator = SymmetricOperator(tables, step.parts)
    matrix = symmetric_matrix(tables, step.constant(), step.parts).toarray()
    rng = np.random.default_rng(order)
    v = rng.normal(size=len(matrix))
    assert_close(operator.forward(v, step.constant()), matrix @ v, 1e3)
    assert_close(operator.backward(v, step.constant()), matrix.T @ v, 1e3)


def test_monomials_are_numbered_without_gaps_and_weighted_to_norm():
    tables = MonomialTables(4, 5)
    u = np.random.default_rng(0).normal(size=4)
    moments, weights = tables.lift(u), tables.weights()
    for j in range(6):
        assert np.array_equal(tables.rank(tables.tuples[j]), np.arange(math.comb(4 + j - 1, j)))
        part = slice(tables.edges[j], tables.edges[j + 1])
        assert np.linalg.norm((weights * moments)[part]) == pytest.approx(np.linalg.norm(u) ** j)


def test_tensor_train_ranks_of_an_undriven_run_are_those_of_jets():
    step, start, _ = cubic(False, n=4)
    train = lift(step, start, 4, "tensor_train", tolerance=1e-11)
    jets = lift(step, start, 4, "jets")
    for _ in range(6):
        train.step()
        jets.step()
    assert all(rank <= 4 - j + 1 for j, rank in enumerate(train.ranks(), start=1))
    for j in range(1, 5):
        assert_close(full(jet_train(jets.coefficients, j)), jets.level(j), 100)


def test_tensor_train_says_what_it_dropped():
    step, start, _ = cubic(True, n=4)
    exact, cut = lift(step, start, 3, "symmetric"), lift(step, start, 3, "tensor_train", max_rank=1)
    exact.step()
    cut.step()
    errors = [np.linalg.norm(exact.level(j) - cut.level(j)) for j in range(1, 4)]
    assert 0 < sum(errors) <= cut.dropped + 1e-14


def test_gram_norms_are_the_norms_of_the_levels():
    coefficients = np.random.default_rng(0).normal(size=(4, 3))
    state = lift(cubic(False)[0], np.ones(3), 4, "jets")
    state.coefficients = coefficients
    norms = norms_from_gram(coefficients @ coefficients.T)
    for j in range(1, 5):
        assert norms[j - 1] == pytest.approx(np.linalg.norm(state.level(j)), rel=1e-12)


def test_weighted_jets_err_like_the_tower():
    """G_0 counted as of order one is another truncation of the same order: errors fall alike, and it says so."""
    step, start = toy(0.9, force=0.1, rng=4)
    tower = error_against_order(step, start, (2, 4), 60, engine="symmetric")
    jets = error_against_order(step, start, (2, 4), 60, engine="jets")
    for a, b in zip(tower, jets, strict=True):
        assert 0.1 < b.largest / a.largest < 10
    state = lift(step, start, 3, "jets")
    assert not state.exact and state.info()["truncation"] == "weighted"


@pytest.mark.parametrize("ratio", [0.6, 0.7, 0.91, 0.99])
def test_errors_fall_geometrically_inside_the_radius_and_keep_the_bound(ratio):
    step, start = toy(ratio)
    radius = convergence_radius(step.norms())
    found = error_against_order(step, start, (1, 2, 3, 4, 5), 60)
    for row, after in itertools.pairwise(found):
        assert after.largest < 0.4 * row.largest
    for row in found:
        assert row.largest <= radius.bound(1.0, row.order)


def test_the_euler_operator_plateaus_where_the_exact_one_converges():
    step, start = toy(0.6)
    exact = error_against_order(step, start, (2, 5), 60)
    for engine in ("symmetric", "kronecker"):
        euler = error_against_order(step, start, (2, 5), 60, engine=engine, variant="euler")
        assert euler[1].largest > 0.5 * euler[0].largest
        assert euler[1].largest > 100 * exact[1].largest


@pytest.mark.parametrize("order", ORDERS)
def test_euler_towers_agree_with_the_euler_matrix(order):
    step, start, _ = cubic(True)
    expected = written_out(step, start, order, 10, "euler")
    for name in ("kronecker", "symmetric"):
        state = lift(step, start, order, name, variant="euler")
        for _ in range(10):
            state.step()
        assert_close(state.level(order), expected[-1], 1e3)
        assert not state.exact


def test_outside_the_radius_more_orders_do_not_help_and_the_tail_says_so():
    run = logistic_run(n=200, samples=60, spread=10.0)
    found = error_against_order(run.dynamics, run.start, (2, 4, 8), 200, engine="jets", origin=run.origin)
    assert found[2].relative > found[0].relative > 1e-3
    assert found[2].tail > 1


@pytest.mark.slow
def test_carleman_logistic_regression_matches_gradient_descent():
    """n = 2,000, T = 200: 1e-6 of plain gradient descent at N = 8."""
    for settings in ({"spread": 0.5}, {"spread": 0.2, "expand": "start"}):
        run = logistic_run(**settings)
        found = error_against_order(run.dynamics, run.start, (2, 8), 200, engine="jets", origin=run.origin)
        assert found[1].relative < 1e-6 < found[0].relative


def test_the_minimum_has_no_gradient():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 50)), (rng.random(20) > 0.5).astype(float)
    model = ridge_logistic(x, y, learning_rate=1.0, ridge=0.1)
    assert np.linalg.norm(model.gradient(minimum(model))) < 1e-13


def test_logistic_derivatives_are_those_of_tanh():
    z = np.linspace(-3, 3, 7)
    t = np.tanh(z / 2)
    by_hand = [(1 + t) / 2, (1 - t**2) / 4, -t * (1 - t**2) / 8, (1 - t**2) * (3 * t**2 - 1) / 48]
    assert_close(sigmoid_series(z, 3), np.array(by_hand), 10)


MODELS = {
    "factorisation": lambda rng: matrix_factorisation(
        rng.normal(size=(3, 2)), 1, learning_rate=0.05, at=0.5 * rng.normal(size=5), weight_decay=0.1
    ),
    "quadratic": lambda rng: quadratic_network(
        rng.normal(size=(6, 1)), rng.normal(size=6), 2, learning_rate=0.05, at=0.5 * rng.normal(size=4)
    ),
    "deep linear": lambda rng: deep_linear(
        rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), [2], learning_rate=0.05, at=0.5 * rng.normal(size=6)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_polynomial_models_stop_at_their_degree(name):
    rng = np.random.default_rng(5)
    model = MODELS[name](rng)
    u = 0.3 * rng.normal(size=model.dimension)
    assert_close(model.step(u), model.descend(u), 100)
    path = np.zeros((model.degree + 2, model.dimension))
    path[0] = u
    assert np.max(np.abs(model.series(path)[model.degree])) > 1e-9
    assert np.max(np.abs(model.series(path)[model.degree + 1 :])) < 1e-15
    assert_close(tabulate(model, model.degree).step(u), model.step(u), 1e3)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_polynomial_models_are_derivatives(name):
    """The Hessian that G_1 holds is symmetric, as only the derivative of a gradient is."""
    model = MODELS[name](np.random.default_rng(5))
    hessian = model.jet(1, [np.eye(model.dimension)])
    assert_close(hessian, hessian.T, 100)


def test_matrix_factorisation_descends_its_loss():
    rng = np.random.default_rng(0)
    target, at = rng.normal(size=(3, 2)), rng.normal(size=5)

    def loss(theta):
        return 0.5 * np.sum((np.outer(theta[:3], theta[3:]) - target) ** 2)

    model = matrix_factorisation(target, 1, learning_rate=1.0, at=at)
    for i, e in enumerate(np.eye(5)):
        slope = (loss(at + 1e-6 * e) - loss(at - 1e-6 * e)) / 2e-6
        assert -model.constant()[i] == pytest.approx(slope, abs=1e-7)


def test_momentum_is_the_heavy_ball_and_lifts_as_any_map():
    step, start, _ = cubic(True)
    rate, beta, u, v = 0.1, 0.7, start, np.zeros(3)
    both = Momentum(step, beta)
    state = np.concatenate([start, v])
    for _ in range(5):
        gradient = -(step.step(u) - u) / rate
        v = beta * v + gradient
        u = u - rate * v
        state = both.descend(state)
    assert_close(state, np.concatenate([u, rate * v]), 100)
    lifted = [lift(both, np.concatenate([start, np.zeros(3)]), 2, e) for e in ("kronecker", "symmetric", "low_rank")]
    for _ in range(5):
        for one in lifted:
            one.step()
    assert_close(lifted[0].level(2), lifted[1].level(2), 100)
    assert_close(lifted[0].level(2), lifted[2].level(2), 1e3)


def test_mini_batches_are_time_dependent_maps():
    first, start, _ = cubic(True, seed=1)
    second = cubic(True, seed=2)[0]
    matrices = [kronecker_matrix(step, 2) for step in (first, second)]
    y = np.concatenate([start, np.outer(start, start).reshape(-1)])
    states = [lift(Dynamics([first, second]), start, 2, e) for e in ("symmetric", "low_rank", "tensor_train")]
    for t in range(5):
        y = matrices[t % 2][0] @ y + matrices[t % 2][1]
        for state in states:
            state.step()
    for state in states:
        assert_close(state.level(1), y[:3], 1e3)


def test_a_run_that_leaves_all_bounds_stops_with_its_last_estimate():
    step = from_tensors([np.zeros(2), np.eye(2), np.ones((2, 2, 2))])
    record = march(lift(step, 10 * np.ones(2), 2, "jets"), 10_000)
    assert record.diverged is not None and record.steps < 100 and np.all(np.isfinite(record.estimate))


def test_engines_are_chosen_with_a_reason():
    small, start, _ = cubic(True)
    assert choose_engine(small, 3)[0] == "symmetric"
    big = logistic_run(n=400, samples=20)
    assert choose_engine(big.dynamics, 3)[0] == "jets"
    driven = logistic_run(n=400, samples=20, expand="start")
    assert choose_engine(driven.dynamics, 2)[0] == "low_rank"
    name, reason = choose_engine(driven.dynamics, 3)
    assert name == "jets" and "weighted" in reason
    assert lift(small, start, 3).name == "symmetric"


def test_level_weights_give_the_success_probability():
    norms = np.array([[2.0, 4.0], [1.0, 1.0]])
    assert success_probability(norms, 3) == pytest.approx(4 / (4 + 16 + 4 * 2))
    assert success_probability(norms, 3, scale=2.0) == pytest.approx(1 / (1 + 1 + 4 * (1 / 4 + 1 / 16)))


def test_burgers_has_the_published_ratio_and_converges_all_the_same():
    """PNAS 118, e2026805118: n_x = 16, n_t = 4000, Re = 20 gives R = 43.59; errors fall by about 2 an order."""
    flow = burgers()
    assert flow.ratio == pytest.approx(43.59, abs=0.005)
    coarse = burgers(times=800)
    found = error_against_order(coarse.dynamics, coarse.start, (1, 2, 3), 799, engine="symmetric")
    for row, after in itertools.pairwise(found):
        assert 1.6 < row.largest / after.largest < 2.6


@pytest.mark.slow
def test_burgers_errors_at_the_published_size():
    flow = burgers()
    found = error_against_order(flow.dynamics, flow.start, (1, 2, 3, 4), len(flow.dynamics), engine="symmetric")
    for row, after in itertools.pairwise(found):
        assert 1.6 < row.largest / after.largest < 2.6


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lift(cubic(True)[0], np.ones(3), 2, "jet"), "did you mean 'jets'"),
        (lambda: lift(cubic(True)[0], np.ones(4), 2), "shape (3,), got (4,)"),
        (lambda: lift(cubic(True)[0], [1, np.nan, 0], 2), "must be finite"),
        (lambda: lift(cubic(True)[0], np.ones(3), 0), "at least 1, got 0"),
        (lambda: lift(cubic(True)[0], np.ones(3), 3, "low_rank"), "N = 2, got N = 3"),
        (lambda: lift(cubic(True)[0], np.ones(3), 2, variant="exact"), "unknown variant 'exact'"),
        (
            lambda: lift(logistic_run(200, 10).dynamics, np.ones(200), 4, "kronecker"),
            "use engine 'symmetric' or 'jets'",
        ),
        (lambda: from_tensors([]), "at least F_0"),
        (lambda: from_tensors([np.zeros(2), np.zeros((2, 3))]), "F_1 must have shape (2, 2^1)"),
        (lambda: Dynamics([]), "at least one step map"),
        (lambda: Dynamics([cubic(True)[0], cubic(True, n=4)[0]]), "one dimension, got [3, 4]"),
        (lambda: Momentum(cubic(True)[0], 1.0), "[0, 1), got 1.0"),
        (lambda: ridge_logistic(np.ones((2, 2)), np.array([0, 2]), learning_rate=1.0), "labels of logistic"),
        (lambda: minimum(ridge_logistic(np.ones((1, 2)), np.ones(1), learning_rate=1.0)), "needs ridge > 0"),
        (lambda: burgers(points=3), "points >= 4"),
        (lambda: burgers(times=10), "unstable"),
        (lambda: toy(0.1, force=0.2), "a ratio above"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(QupropError) as caught:
        call()
    assert words in str(caught.value)


class Counted(PolynomialMap):
    """Another map, which counts the paths whose series were asked for."""

    def __init__(self, inner):
        self.inner, self.dimension, self.degree, self.order = inner, inner.dimension, None, inner.order
        self.paths = 0

    def series(self, path):
        self.paths += int(np.prod(np.shape(path)[1:-1])) if len(path) else 0
        return self.inner.series(path)

    def constant(self):
        return self.inner.constant()


@pytest.mark.parametrize("order", [2, 3, 4])
def test_tables_are_written_once_for_all_steps_towers_and_systems(order):
    """C(n + k, k) - 1 series at order k, and none again: by a second step, another tower, or the history system."""
    step, start, _ = cubic(True)
    n, maps = step.dimension, [Counted(step), Counted(step)]
    exact = march(lift(step, start, order, "symmetric"), 6)
    found = march(lift(maps, start, order, "symmetric"), 6)
    assert np.allclose(found.estimate, exact.estimate, rtol=1e-10)
    expected = sum(math.comb(n + k, k) - 1 for k in range(1, order + 1))
    assert [m.paths for m in maps] == [expected] * 2
    march(lift(maps, start, order, "kronecker"), 6)
    march(lift(maps, start, order - 1, "symmetric"), 6)
    HistorySystem(maps, start, order, 6, scale=1.0)
    assert [m.paths for m in maps] == [expected] * 2


@pytest.mark.parametrize("engine", ["symmetric", "kronecker"])
def test_a_map_made_where_another_was_is_not_taken_for_it(engine):
    """Tables belong to the map, not to its address: maps made and dropped step by step are each their own."""
    start, n = np.array([0.5, -0.2, 0.3]), 3
    factors = np.linspace(0.2, 1.0, 30)

    class Fresh(Dynamics):
        def __getitem__(self, t):
            return Counted(from_tensors([np.zeros(n), -np.eye(n)], learning_rate=1 - factors[t]))

    record = march(lift(Fresh(from_tensors([np.zeros(n)])), start, 2, engine), len(factors))
    assert np.allclose(record.estimate, np.prod(factors) * start, rtol=1e-10, atol=0)


def test_engines_count_what_writing_tables_takes():
    class Slow(Counted):
        series_seconds = 1.0

    step = cubic(True, 6)[0]
    slow, n = Dynamics(Slow(step)), step.dimension
    assert tabulation_seconds(slow, 3) == math.comb(n + 3, 3) - 1 and tabulation_seconds(Dynamics(step), 2) == 0
    assert choose_engine(step, 4)[0] == choose_engine(slow, 1)[0] == "symmetric"
    assert choose_engine(slow, 4)[0] == "jets"
    assert tabulation_seconds(Dynamics([Slow(step)] * 5), 2, 3) == 3 * (math.comb(n + 2, 2) - 1)
