"""Histories in low rank: the same linear system, its residual, and that nothing is dropped in silence."""

from itertools import pairwise

import numpy as np
import pytest
from tolerances import assert_close

from quprop.carleman import Dynamics, lift, march
from quprop.carleman.engines.tensor_train import compress
from quprop.carleman.maps.polynomial import ridge_logistic
from quprop.carleman.system.history import HistorySystem
from quprop.carleman.system.low_rank_history import LowRankHistory, solve_low_rank
from quprop.errors import QupropError


def driven(n, batches=1, samples=40, seed=0, rate=1.0):
    """Ridge logistic regression away from its minimum, a map for each of so many mini-batches: every G_k acts."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples * batches, n)) / np.sqrt(n)
    y, at = (rng.random(samples * batches) > 0.4).astype(float), rng.normal(size=n)
    return Dynamics(
        [ridge_logistic(x[i::batches], y[i::batches], learning_rate=rate, ridge=0.2, at=at) for i in range(batches)]
    )


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("origin", [0.0, 0.3])
def test_the_compressed_history_solves_the_dense_system(order, batches, origin):
    dynamics = driven(3, batches)
    start = origin * np.arange(1.0, 4.0)
    found = solve_low_rank(dynamics, start, order, 5, idle=3)
    dense = HistorySystem(dynamics, start, order, 5, idle=3, basis="kronecker", scale=found.scale)
    exact = np.linalg.solve(dense.matrix().toarray(), dense.rhs())
    assert_close(found.vector(), exact, 1e3)
    assert found.unknowns == len(exact) and found.residual() < 1e-13
    assert_close(found.estimate(), dense.estimate(exact), 1e3)
    assert found.success_probability() == pytest.approx(dense.success_probability(exact), rel=1e-12)
    table, edges = exact.reshape(dense.blocks, -1), np.cumsum([0] + [3**j for j in range(1, order + 1)])
    weights = [np.sum(table[:, low:high] ** 2) for low, high in pairwise(edges)]
    assert_close(found.level_weights(), np.array(weights) / np.sum(table**2), 1e3)


@pytest.mark.parametrize(("order", "batches"), [(2, 1), (2, 3), (3, 1), (4, 3)])
def test_the_residual_of_what_compression_leaves_is_that_of_dense_algebra(order, batches):
    n = 3 if order == 4 else 4
    dynamics = driven(n, batches)
    for settings in ({"max_rank": 1}, {"tolerance": 1e-3}):
        found = solve_low_rank(dynamics, np.zeros(n), order, 6, **settings)
        dense = HistorySystem(dynamics, np.zeros(n), order, 6, basis="kronecker", scale=found.scale)
        matrix, rhs = dense.matrix().toarray(), dense.rhs()
        expected = np.linalg.norm(matrix @ found.vector() - rhs) / np.linalg.norm(rhs)
        assert found.residual() == pytest.approx(expected, rel=1e-9)
        assert found.residual() > 1e-6 and found.dropped > 0  # what was dropped is said twice


def test_a_history_of_other_maps_has_a_residual():
    """The residual looks at the map of each time, not at what the history was marched with."""
    dynamics = driven(4, 3)
    for order in (2, 3):
        first = solve_low_rank(dynamics.maps[0], np.zeros(4), order, 6)
        wrong = LowRankHistory(dynamics, first.start, first.trains, first.idle, first.scale, first.dropped)
        dense = HistorySystem(dynamics, np.zeros(4), order, 6, basis="kronecker", scale=first.scale)
        assert first.residual() < 1e-12 and wrong.residual() > 0.01
        assert wrong.residual() == pytest.approx(dense.residual(first.vector()), rel=1e-9)


def test_factors_of_any_form_have_their_residual():
    """Y as a sum of a outer b with a and b apart is the same matrix, and has the same residual."""
    found = solve_low_rank(driven(4), np.zeros(4), 2, 4)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    trains = []
    for first, (left, right) in found.trains:
        r = left.shape[2]
        mixed = turn[:r, :r] + 2 * np.eye(r)
        trains.append((first, [left @ np.linalg.inv(mixed), np.einsum("ij,jnk->ink", mixed, right)]))
    other = LowRankHistory(found.dynamics, found.start, tuple(trains), found.idle, found.scale, 0.0)
    assert_close(other.vector(), found.vector(), 1e3)
    assert other.residual() < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 100])
def test_two_million_unknowns_are_solved_with_a_residual(batches):
    dynamics = driven(100, batches, samples=20 if batches > 1 else 300)
    found = solve_low_rank(dynamics, np.zeros(100), 2, 100)
    assert found.unknowns == 201 * (100 + 100**2) > 2e6 and found.residual() < 1e-10
    assert found.memory < 0.6 * 8 * found.unknowns and found.ranks()[1] > 1
    marched = march(lift(dynamics, np.zeros(100), 2, "low_rank"), 100)
    assert np.linalg.norm(found.estimate() - marched.estimate) < 1e-9 * np.linalg.norm(marched.estimate)
    rough = solve_low_rank(dynamics, np.zeros(100), 2, 100, max_rank=2)
    assert rough.residual() > 1e3 * found.residual() and rough.dropped > found.dropped


@pytest.mark.slow
def test_tensor_trains_take_a_million_unknowns_at_order_three():
    dynamics = driven(20, samples=60)
    found = solve_low_rank(dynamics, np.zeros(20), 3, 60, tolerance=1e-8)
    assert found.unknowns == 121 * (20 + 20**2 + 20**3) > 1e6 and found.residual() < 1e-6
    exact = march(lift(dynamics, np.zeros(20), 3, "symmetric"), 60)
    assert np.linalg.norm(found.estimate() - exact.estimate) < 1e-5 * np.linalg.norm(exact.estimate)


def test_compression_says_what_it_drops():
    rng = np.random.default_rng(0)
    train = [rng.normal(size=(1, 4, 3)), rng.normal(size=(3, 4, 3)), rng.normal(size=(3, 4, 1))]
    whole, lost = compress(train, 0.0, None)
    assert lost < 1e-12
    short, lost = compress(train, 0.0, 1)
    apart = np.einsum("aib,bjc,ckd->ijk", *whole) - np.einsum("aib,bjc,ckd->ijk", *short)
    assert np.linalg.norm(apart) <= lost * (1 + 1e-12) and lost > 0.1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"idle": -1}, "idle >= 0"),
        ({"scale": 0.0}, "positive"),
        ({"max_rank": 0}, "max_rank"),
    ],
)
def test_bad_input_gets_one_sentence(settings, words):
    with pytest.raises(QupropError, match=words):
        solve_low_rank(driven(3), np.zeros(3), 2, **({"steps": 4} | settings))


def test_a_run_that_leaves_all_bounds_is_refused():
    with pytest.raises(QupropError, match="left all bounds at step"):
        solve_low_rank(driven(3, rate=30.0), np.zeros(3), 2, 200)
    with pytest.raises(QupropError, match="too many to write down"):
        solve_low_rank(driven(300), np.zeros(300), 3, 2, tolerance=1e-2).vector()
