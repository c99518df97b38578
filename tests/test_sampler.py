"""The metering engine: outcomes have the distribution of quantum mechanics, and what runs is counted."""

import numpy as np
import pytest

import quprop as qpr
from quprop.cost import Cost
from quprop.model.pauli import PauliString
from quprop.sampling.programs import free
from quprop.sampling.rows import Made, Prefixes, Shifted
from quprop.sampling.sampler import Runs, Sampler, draw_bits, eigenvalues

STRINGS = tuple(PauliString.parse(p) for p in ("Z0 Z1", "X0 X1", "Y0 Y1"))


def model():
    theta = qpr.params("theta", 3)
    return qpr.Model(qpr.Circuit(2).ry(theta[0], 0).rx(theta[1], 1).rotation("ZY", theta[2]), "Z0")


def runs(strings=STRINGS, rows=None, **fields):
    rows = rows or Shifted(np.array([[-1], [1]]), np.array([[0.0], [0.6]]))
    shape = (len(rows), len(strings))
    defaults = {
        "targets": np.zeros(shape if fields.get("each") else len(rows), np.int64),
        "factors": np.ones(shape) * np.array([1.0, -0.5, 0.25])[: len(strings)],
        "terms": np.full(len(strings), -1),
        "lengths": np.full(len(rows), 3),
    }
    return Runs(free(model()), rows, strings, **(defaults | fields))


ANGLES = np.array([0.7, 1.1, -0.4])


def exact(strings, a):
    """<P> by dense matrices."""
    state = np.array([1, 0, 0, 0], complex)
    for string, angle in zip(("YI", "IX", "ZY"), a, strict=True):
        p = PauliString.parse(string).matrix(2)
        state = np.cos(angle / 2) * state - 1j * np.sin(angle / 2) * p @ state
    return np.array([(state.conj() @ p.matrix(2) @ state).real for p in strings]), state


def draw(r, shots, seed=0, **options):
    sampler = Sampler(np.random.default_rng(seed))
    return sampler.draw(r, ANGLES, np.zeros(0), np.zeros(0), np.asarray(shots), **options), sampler.cost


@pytest.mark.parametrize("mixture", [False, True])
def test_means_and_second_moments(mixture):
    N = 200_000
    drawn, _ = draw(runs(mixture=mixture), [N, N])
    weights = np.array([1.0, -0.5, 0.25])
    for r, a in enumerate((ANGLES, ANGLES + np.array([0, 0.6, 0]))):
        values, state = exact(STRINGS, a)
        observable = sum(w * p.matrix(2) for w, p in zip(weights, STRINGS, strict=True))
        second = 1.75**2 if mixture else (state.conj() @ observable @ observable @ state).real
        assert drawn.mean[r] == pytest.approx(weights @ values, abs=5 * np.sqrt(second / N))
        assert drawn.square[r] == pytest.approx(second, abs=0.02)


def test_joint_outcomes_multiply_as_the_strings_do():
    """Z0 Z1 · X0 X1 = -Y0 Y1: in every single shot, not on average only."""
    drawn, _ = draw(runs(each=True), [500, 500], keep=True)
    for outcomes, counts in drawn.outcomes:
        assert np.all(outcomes[:, 0] * outcomes[:, 1] == -outcomes[:, 2])
        assert counts.sum() == 500


def test_each_string_of_a_shot_has_its_own_mean():
    drawn, _ = draw(runs(each=True), [100_000, 1])
    assert np.allclose(drawn.mean[0], np.array([1.0, -0.5, 0.25]) * exact(STRINGS, ANGLES)[0], atol=0.02)


def test_what_runs_is_counted():
    _, cost = draw(runs(), [7, 5])
    assert cost == Cost(copies=12, rotations=36, measurements=12, depth=3, qubits=2, classical_ops=36)
    prefixes = Prefixes(np.arange(3), np.ones(3), np.array([1, 3]))
    _, cost = draw(runs(rows=prefixes), [10, 2])
    assert cost.rotations == 10 * 1 + 2 * 3 and cost.depth == 3
    _, cost = draw(runs(mixture=True), [7, 5])
    assert cost.classical_ops == 12


def test_runs_without_shots_are_left_out():
    for options in ({}, {"mixture": True}):
        drawn, cost = draw(runs(**options), [0, 5])
        assert drawn.mean[0] == drawn.square[0] == 0 and drawn.square[1] > 0
        assert cost.measurements == 5
        drawn, cost = draw(runs(**options), [0, 0])
        assert cost == Cost()


def test_rotations_left_out_are_not_executed():
    """NaN stands for no rotation: the state is that of the others."""
    rows = Prefixes(np.arange(3), np.ones(3), np.array([2]))
    drawn, cost = draw(runs(rows=rows, factors=np.ones((1, 3)), each=True), [200_000])
    assert np.allclose(drawn.mean[0], exact(STRINGS, ANGLES * [1, 1, 0])[0], atol=0.01)
    assert cost.rotations == 400_000


def test_rows_made_on_demand_and_runs_made_again():
    base = runs()
    made = base.again(rows=Made(2, lambda r: ANGLES + 0.6 * np.outer(r, [0, 1, 0])))
    assert made.diagonal is base.diagonal
    first, second = (draw(r, [50, 50], seed=4)[0] for r in (base, made))
    assert np.array_equal(first.mean, second.mean)


def test_bits_are_drawn_by_their_probabilities():
    rng = np.random.default_rng(0)
    amplitudes = np.sqrt([0.1, 0.2, 0.0, 0.7]).astype(complex)
    for shots in (3, 100_000):
        index, counts = draw_bits(rng, amplitudes, shots)
        assert counts.sum() == shots and 2 not in index
    assert np.allclose(counts / shots, [0.1, 0.2, 0.7], atol=0.01)
    assert eigenvalues(np.array([0, 1, 2, 3]), np.array([1, 3]), np.array([1.0, -1.0])).T.tolist() == [
        [1, -1, 1, -1],
        [-1, 1, 1, -1],
    ]


def test_the_same_seed_draws_the_same():
    assert np.array_equal(draw(runs(), [9, 9], 3)[0].mean, draw(runs(), [9, 9], 3)[0].mean)
