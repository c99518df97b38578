"""The history system: its products, its solution, its condition number."""

import numpy as np
import pytest
from tolerances import assert_close

import quprop.carleman.system.history as history
from quprop.carleman import Dynamics, from_tensors, lift, march
from quprop.carleman.maps.convergence import kappa_table, toy
from quprop.carleman.system.history import BASES, HistorySystem, scalar_kappa
from quprop.carleman.system.linear_system import LinearSystem
from quprop.errors import QupropError


def driven(order=3, steps=6, **settings):
    step, start = toy(0.8, force=0.05, rng=2)
    return step, HistorySystem(step, start, order, steps, **settings)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("variant", ["discrete", "euler"])
def test_products_are_those_of_the_matrix(basis, variant):
    _, system = driven(basis=basis, variant=variant)
    matrix = system.matrix().toarray()
    v = np.random.default_rng(0).normal(size=len(matrix))
    assert_close(system.matvec(v), matrix @ v, 100)
    assert_close(system.rmatvec(v), matrix.T @ v, 100)
    assert_close(system.solve(v), np.linalg.solve(matrix, v), 1e4)
    assert_close(system.solve_transposed(v), np.linalg.solve(matrix.T, v), 1e4)


@pytest.mark.parametrize("basis", BASES)
def test_the_solution_is_the_marched_run(basis):
    step, system = driven(basis=basis, idle=5)
    y = np.linalg.solve(system.matrix().toarray(), system.rhs())
    record = march(lift(step, system.start, 3, "kronecker"), 6)
    assert_close(system.estimate(y), record.estimate, 1e3)
    assert system.blocks == 6 + 5 + 1


def test_success_probability_is_that_of_the_gram_matrix():
    """Level norms of jets, at no time forming the state, give the probability read off the solution itself."""
    step, start = toy(0.8, rng=2)
    system = HistorySystem(step, start, 4, 10, basis="kronecker")
    explicit = system.success_probability(system.solve())
    assert march(lift(step, start, 4, "jets"), 10).success_probability(10, system.scale) == pytest.approx(
        explicit, rel=1e-12
    )
    assert HistorySystem(step, start, 4, 10, scale=system.scale).success_probability(
        HistorySystem(step, start, 4, 10, scale=system.scale).solve()
    ) == pytest.approx(explicit, rel=1e-12)


def test_scaling_changes_the_system_but_not_what_it_says():
    found = []
    for scale in (0.5, 1.0, 3.0):
        _, system = driven(scale=scale)
        found.append(system.estimate(system.solve()))
    assert_close(found[0], found[1], 1e3)
    assert_close(found[2], found[1], 1e3)


def test_the_default_scale_balances_condition_number_and_success_probability():
    """Too large a unit blows up the coupling to higher levels, too small a one puts all weight there."""
    step, start = toy(0.3, rng=1)
    balanced, large, small = (HistorySystem(step, 0.1 * start, 4, 10, scale=s) for s in (None, 30.0, 0.02))
    assert balanced.condition().kappa < 0.2 * large.condition().kappa
    assert balanced.success_probability(balanced.solve()) > 5 * small.success_probability(small.solve())


def test_mini_batches_enter_block_by_block():
    rng = np.random.default_rng(0)
    maps = [
        from_tensors([0.1 * rng.normal(size=2), -np.eye(2), 0.2 * rng.normal(size=(2, 2, 2))], learning_rate=0.3)
        for _ in range(2)
    ]
    system = HistorySystem(maps, np.array([0.3, -0.2]), 3, 5)
    record = march(lift(Dynamics(maps), system.start, 3, "kronecker"), 5)
    assert_close(system.estimate(np.linalg.solve(system.matrix().toarray(), system.rhs())), record.estimate, 1e3)


# kappa of the N = 2 tower with ||M|| = 0.95, 1, 1.05 at T = 5, 10, 20, 40 (no idle copies, p = T), to two digits.
KAPPA = {
    0.5: ((7.1, 11.6, 18.4, 26.5), (13.1, 22.7, 38.6, 65.3)),
    0.0: ((None, 14.5, 27.3, 52.8), (None, None, None, None)),
}


@pytest.mark.parametrize("curvature", KAPPA)
def test_condition_numbers_are_the_tables(curvature):
    for row, plain, idle in zip(kappa_table(curvature), *KAPPA[curvature], strict=True):
        assert plain is None or row.plain == pytest.approx(plain, rel=0.01)
        assert idle is None or row.idle == pytest.approx(idle, rel=0.01)
        assert max(row.plain, row.scalar) <= row.bound * (1 + 1e-12)


def test_one_number_has_the_closed_form_condition_number():
    """Neutral: L = 1 - shift has singular values 2 sin of multiples of pi/(4K + 2)."""
    for blocks in (11, 41):
        angle = np.pi / (2 * (2 * blocks + 1))
        expected = np.cos(2 * angle) ** 0 * np.sin((2 * blocks - 1) * angle) / np.sin(angle)
        assert scalar_kappa(1.0, blocks) == pytest.approx(expected, rel=1e-12)
    assert scalar_kappa(1.05, 81) == pytest.approx(1090, rel=0.01)


@pytest.mark.slow
def test_condition_number_grows_with_time_as_the_modes_say():
    slow, neutral, growing = (kappa_table(c, (20, 40)) for c in (0.5, 0.0, -0.5))
    assert slow[1].plain < (1 + 0.96) / (1 - 0.96)  # bounded, whatever T
    assert neutral[1].plain / neutral[0].plain == pytest.approx(2, rel=0.1)  # linear
    assert growing[1].plain / growing[0].plain > 5  # exponential


def test_lanczos_finds_the_dense_condition_number_and_the_bound_holds():
    for settings in ({}, {"scale": 0.3}, {"basis": "kronecker"}):
        _, system = driven(**settings)
        dense = system.condition("dense")
        lanczos = system.condition("lanczos")
        assert lanczos.kappa == pytest.approx(dense.kappa, rel=1e-6)
        assert system.condition("bound").kappa >= dense.kappa
        assert dense.sigma_max <= 1 + max(1, system.step_norm()) + 1e-12


def test_contracting_steps_keep_the_two_bounds():
    step, start = toy(0.05, rng=1)
    bare, padded = (HistorySystem(step, start, 2, 30, idle=p, scale=1.0) for p in (0, 30))
    mu = bare.step_norm()
    assert mu < 1
    assert bare.condition().kappa <= (1 + mu) / (1 - mu)
    assert padded.condition().kappa <= 2 * padded.blocks


def test_without_stored_matrices_the_system_is_the_same(monkeypatch):
    _, stored = driven()
    monkeypatch.setattr(history, "STORE_LIMIT", 0)
    _, free = driven(scale=stored.scale)
    v = np.random.default_rng(0).normal(size=stored.shape[0])
    assert_close(free.matvec(v), stored.matvec(v), 1e3)
    assert_close(free.rmatvec(v), stored.rmatvec(v), 1e3)
    assert_close(free.rhs(), stored.rhs(), 1e3)
    assert free.condition("lanczos").kappa == pytest.approx(stored.condition("dense").kappa, rel=1e-6)
    with pytest.raises(QupropError, match="use matvec"):
        free.matrix()


@pytest.mark.parametrize("limit", [history.STORE_LIMIT, 0])
def test_driven_mini_batches_are_one_adjoint_pair_stored_or_not(monkeypatch, limit):
    """Grouped by map, more steps than maps and fewer: L is what blocks written one by one say, L^T its transpose."""
    monkeypatch.setattr(history, "STORE_LIMIT", limit)
    rng = np.random.default_rng(3)
    maps = [
        from_tensors([0.1 * rng.normal(size=3), -np.eye(3), 0.2 * rng.normal(size=(3, 3, 3))], learning_rate=0.3)
        for _ in range(4)
    ]
    for steps in (3, 7):
        system = HistorySystem(maps, np.array([0.3, -0.2, 0.1]), 3, steps, idle=2, scale=0.7)
        size = system.block
        single = [HistorySystem(step, system.start, 3, 1, idle=0, scale=0.7) for step in maps]
        dense = np.eye(system.shape[0])
        for t in range(steps + 2):
            step = np.eye(size)
            if t < steps:
                alone = single[t % 4]
                step = -np.column_stack([alone.matvec(np.append(e, 0 * e))[size:] for e in np.eye(size)])
            dense[(t + 1) * size : (t + 2) * size, t * size : (t + 1) * size] = -step
        v, w = rng.normal(size=(2, system.shape[0]))
        assert_close(system.matvec(v), dense @ v, 1e3)
        assert_close(system.rmatvec(v), dense.T @ v, 1e3)
        assert np.dot(w, system.matvec(v)) == pytest.approx(np.dot(system.rmatvec(w), v), rel=1e-12)
        y = np.linalg.solve(dense, system.rhs())
        assert system.residual(y) < 1e-14
        assert_close(system.estimate(y), march(lift(Dynamics(maps), system.start, 3, "kronecker"), steps).estimate, 1e3)
        off = y + 0.01 * v
        expected = np.linalg.norm(dense @ off - system.rhs()) / np.linalg.norm(system.rhs())
        assert system.residual(off) == pytest.approx(expected, rel=1e-12)


def test_sparsity_is_counted_on_the_matrix():
    linear = from_tensors([np.zeros(3), -np.eye(3)], learning_rate=0.1)
    assert HistorySystem(linear, np.ones(3), 2, 4).sparsity() == (2, 2)
    _, system = driven()
    dense = system.matrix().toarray() != 0
    assert system.sparsity() == (dense.sum(axis=1).max(), dense.sum(axis=0).max())


def test_solvers_get_what_they_need():
    _, system = driven(order=2, steps=4)
    linear = system.linear_system()
    values = np.linalg.svd(system.matrix().toarray(), compute_uv=False)
    assert isinstance(linear, LinearSystem)
    assert linear.shape == system.shape
    assert values[0] <= linear.norm <= 1.001 * values[0]
    assert linear.kappa == pytest.approx(values[0] / values[-1], rel=1e-5) and linear.kappa >= values[0] / values[-1]


def test_qubits_are_those_of_time_level_and_tensors():
    step, start = toy(0.5)
    assert HistorySystem(step, start, 3, 8).qubits() == 5 + 2 + 3 * 2  # 17 blocks, 3 levels, 3 parameters


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"idle": -1}, "idle >= 0"),
        ({"scale": 0.0}, "must be positive"),
        ({"basis": "full"}, "unknown basis"),
    ],
)
def test_bad_input_gets_one_sentence(settings, words):
    with pytest.raises(QupropError, match=words):
        driven(**settings)


def test_unknown_ways_to_a_condition_number_are_refused():
    with pytest.raises(QupropError, match="'dense', 'lanczos' or 'bound'"):
        driven()[1].condition("guess")
