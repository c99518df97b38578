"""The training loop: what a block outputs against plain descent, what is counted, what stops it, what it reports."""

import json
import math
import os
import shutil
import signal
from dataclasses import replace
from functools import partial
from importlib import metadata
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from faults import KINDS, calls_of, failing, killed_at, leftovers

from quprop.errors import QupropError
from quprop.files import FileError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # curvlinops imports it

from torch.nn.utils import prune  # noqa: E402

import quprop.carleman.block_cost as block_cost  # noqa: E402
from quprop.carleman import Dynamics, Momentum, from_tensors, from_torch  # noqa: E402
from quprop.carleman.block import SHORT, run_block  # noqa: E402
from quprop.carleman.block_cost import fits, kappa_formula, readout_copies  # noqa: E402
from quprop.carleman.break_even import BreakEven  # noqa: E402
from quprop.carleman.loop_report import analysis_report, training_report  # noqa: E402
from quprop.carleman.networks import networks  # noqa: E402
from quprop.carleman.networks.data import Dataset, batches, load  # noqa: E402
from quprop.carleman.networks.plain import accuracy_at, descend, loss_at  # noqa: E402
from quprop.carleman.spectra.proxy import Descent  # noqa: E402
from quprop.carleman.system.history import HistorySystem  # noqa: E402
from quprop.carleman.system.inverse_polynomial import optimal_inverse  # noqa: E402
from quprop.carleman.system.linear_system import LinearSystem, relative_error  # noqa: E402
from quprop.carleman.system.low_rank_history import solve_low_rank  # noqa: E402
from quprop.carleman.system.solver import SOLVERS, OptimalInverse  # noqa: E402
from quprop.carleman.train import Loop, train  # noqa: E402
from quprop.runs import RunFolder  # noqa: E402

ANALYSED = [
    *("parameters", "spectrum", "proxy", "radius", "block_length"),
    *("condition_number", "queries", "copies", "verdict"),
]
FAST = {"learning_rate": 0.3, "warm_up": 20, "sparsity": 0.5, "blocks": 3, "block_length": 6}


@pytest.fixture(scope="module")
def iris():
    return load("iris")


def small(data, seed=0, **settings):
    return networks.make("mlp", data.input_shape, data.classes, seed=seed, **({"hidden": (4,)} | settings))


def tiny():
    """Five parameters: a history system that a solver's polynomial can be applied to."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    y = (x[:, 0] + 0.3 * rng.normal(size=40) > 0).astype(np.int64)
    return Dataset("two", x[:30], y[:30], x[30:], y[30:], 2)


def test_restricted_descent_is_descent_of_the_survivors_alone(iris):
    net = small(iris)
    x, y = iris.train()
    given = {"learning_rate": 0.3, "order": 3, "weight_decay": net.weight_decay}
    kept = np.arange(0, net.n_parameters, 3)
    whole, step = (from_torch(net.module, net.loss, (x, y), kept=part, **given)[0] for part in (None, kept))
    rng = np.random.default_rng(1)
    u = 0.1 * rng.normal(size=len(kept))
    theta = net.parameters()
    moved = theta.copy()
    moved[kept] += u
    mask = np.isin(np.arange(len(theta)), kept)
    other = descend(net, moved, [(x, y)], 1, 0.3, mask)  # torch's own gradient, no Taylor arithmetic
    assert np.allclose(step.descend(u), (other - theta)[kept], atol=1e-13)
    assert np.array_equal(other[~mask], theta[~mask])
    first, second = rng.normal(size=(2, len(kept)))
    slope = (step.descend(1e-6 * first) - step.descend(-1e-6 * first)) / 2e-6
    assert np.allclose(step.series(np.stack([first, second]))[1], slope, atol=1e-7)
    embedded = np.zeros((2, 4, len(theta)))  # a part of the whole map's series, for many paths at once
    paths = rng.normal(size=(2, 4, len(kept)))
    embedded[..., kept] = paths
    assert np.allclose(step.series(paths), whole.series(embedded)[..., kept], atol=1e-13)
    for wrong in ([0, 0], [-1], [len(theta)], []):
        with pytest.raises(QupropError, match="`kept` holds"):
            from_torch(net.module, net.loss, (x, y), kept=np.array(wrong, int), **given)


def test_a_higher_order_follows_plain_descent_more_closely(iris):
    errors = []
    for order in (1, 2, 3):
        result = train(small(iris), iris, Loop(**FAST, order=order), 0)
        errors.append(max(b.update_error for b in result.blocks))
    assert errors[0] > 0.01 and all(later < 0.5 * earlier for earlier, later in pairwise(errors))


def test_relative_error_and_drift_are_distances_from_plain_descent_done_by_torch(iris):
    net = small(iris)
    start = net.parameters()
    kept_start = start.copy()
    settings = Loop(**(FAST | {"blocks": 1}))
    result = train(net, iris, settings, 0)
    data = [iris.train()]
    theta = descend(net, start, data, 20, 0.3) * result.mask.kept
    plain = descend(net, theta, data, 6, 0.3, result.mask.kept)
    assert np.isclose(
        result.blocks[0].relative_error, np.linalg.norm(result.theta - plain) / np.linalg.norm(plain), rtol=1e-6
    )
    assert np.isclose(result.blocks[0].drift, result.blocks[0].relative_error, rtol=1e-6)
    assert result.accuracy == accuracy_at(net, result.theta, iris.test())
    assert np.array_equal(net.parameters(), result.theta)
    assert np.array_equal(start, kept_start)  # what is handed in stays as it is
    whole = descend(net, start, data, 26, 0.3)
    assert result.plain_accuracy == accuracy_at(net, whole, iris.test())


def test_uploads_are_pruned_anew_and_the_pruned_stay_zero_within_a_block(iris):
    result = train(small(iris), iris, Loop(**(FAST | {"dense_steps": 2})), 0)
    assert result.reuploads == 2 and [b.step for b in result.blocks] == [0, 6, 12]
    assert np.all(result.theta[~result.mask.kept] == 0) and result.blocks[-1].kept == result.mask.n_kept
    assert result.ledger.classical_steps == 20 + 2 * 2
    assert result.ledger.queries == sum(b.cost.ledger.queries for b in result.blocks) > 0
    assert result.ledger.copies == sum(b.cost.copies for b in result.blocks)


def test_a_small_history_system_is_solved_by_the_solvers_own_polynomial():
    data = tiny()
    net = networks.make("logistic", data.input_shape, data.classes, seed=0)
    settings = {"learning_rate": 0.3, "order": 2, "warm_up": 0, "sparsity": 0.25, "blocks": 1, "block_length": 4}
    marched = train(net, data, Loop(**settings, solver="optimal", eps=1e-6), 0).blocks[0]
    assert fits(marched.kept, 2, 4) and marched.run.emulation.startswith("solver's polynomial")
    assert marched.run.solver_error < 1e-4 and marched.cost.kappa_by in ("dense", "lanczos")
    assert marched.cost.queries_per_run == OptimalInverse().queries(marched.cost.kappa * (1 + 1e-6) ** 2, 1e-6)
    loose = train(
        networks.make("logistic", data.input_shape, data.classes, seed=0),
        data,
        Loop(**settings, solver="optimal", eps=0.1),
        0,
    ).blocks[0]
    assert (
        marched.run.solver_error < loose.run.solver_error < 0.5
        and loose.cost.queries_per_run < marched.cost.queries_per_run
    )


def batch_maps(n, count, seed=0):
    """Driven quadratic steps that contract, one a mini-batch."""
    rng = np.random.default_rng(seed)
    return [
        from_tensors(
            [0.3 * rng.normal(size=n), -np.diag(np.linspace(0.4, 2, n)), 0.2 * rng.normal(size=(n, n, n))],
            learning_rate=0.2,
        )
        for _ in range(count)
    ]


def one_block(dynamics, steps, order=2, **settings):
    """A block of all the parameters there are, as the loop runs it."""
    n = dynamics.dimension
    loop = Loop(order=order, block_length=steps, **({"solver": "optimal"} | settings))
    return run_block(
        dynamics, np.arange(n), n, steps, loop, np.random.default_rng(0), growth=0.95, say=lambda text: None
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("eps", [0.1, 1e-4])
def test_a_solved_block_is_the_polynomial_of_the_dense_matrix(count, eps):
    """Update, residual, condition number and success from singular vectors of L, with a map for each mini-batch."""
    dynamics, steps = Dynamics(batch_maps(3, count)), 5
    run, cost = one_block(dynamics, steps, eps=eps)
    history = HistorySystem(dynamics, np.zeros(3), 2, steps)
    matrix, rhs = history.matrix().toarray(), history.rhs()
    u, s, vt = np.linalg.svd(matrix)
    assert cost.kappa == pytest.approx(s[0] / s[-1], rel=1e-9) and cost.kappa_by == "dense"
    alpha, kappa = s[0] * (1 + 1e-6), s[0] / s[-1] * (1 + 1e-6) ** 2
    polynomial = optimal_inverse(kappa, relative_error(eps))
    x = vt.T @ (polynomial(s / alpha) * (u.T @ (rhs / np.linalg.norm(rhs))))
    y = x * np.linalg.norm(rhs) / alpha
    table = y.reshape(history.blocks, -1)
    assert np.allclose(run.update, table[-1, :3] * history.scale, rtol=1e-9, atol=0)
    exact = np.linalg.solve(matrix, rhs).reshape(history.blocks, -1)[-1, :3] * history.scale
    error = np.linalg.norm(run.update - exact) / np.linalg.norm(exact)
    assert (
        run.solver_error == pytest.approx(error, rel=1e-6) and error > 1e-2 * eps
    )  # the solver's state, not the march
    residual = np.linalg.norm(matrix @ y - rhs) / np.linalg.norm(rhs)
    assert run.residual == pytest.approx(residual, rel=1e-6) and 1e-3 * eps < residual < eps
    inside = np.sum(table[steps:, :3] ** 2) / np.sum(table**2)
    assert cost.success == pytest.approx(np.linalg.norm(x) ** 2 / polynomial.peak**2 * inside, rel=1e-6)
    assert run.to_json()["by"] == "solver" and cost.queries_per_run == polynomial.degree


@pytest.mark.parametrize(
    ("settings", "by", "exact", "residual"),
    [
        ({}, "solver", True, True),
        ({"engine": "low_rank"}, "solver", True, True),
        ({"limit": 0}, "low rank", True, True),
        ({"limit": 0, "engine": "low_rank"}, "low rank", True, True),
        ({"limit": 0, "order": 3}, "march", True, False),
        ({"limit": 0, "order": 3, "engine": "tensor_train"}, "low rank", True, True),
        ({"limit": 0, "order": 3, "engine": "jets"}, "jets", False, False),
        ({"limit": 0, "order": 1, "engine": "jets"}, "march", True, False),
    ],
)
@pytest.mark.parametrize("count", [1, 4])
def test_every_block_says_how_it_was_run_and_its_update_is_that_of_dense_algebra(
    monkeypatch, settings, by, exact, residual, count
):
    settings = dict(settings)
    monkeypatch.setattr(block_cost, "HISTORY_BELOW", settings.pop("limit", block_cost.HISTORY_BELOW))
    dynamics = Dynamics(batch_maps(3, count, seed=1))
    run, _ = one_block(dynamics, 6, eps=1e-9, **settings)
    assert SHORT[run.emulation] == run.to_json()["by"] == by and run.exact == exact
    assert (run.residual is not None and 0 < run.residual < 1e-8) == residual
    history = HistorySystem(dynamics, np.zeros(3), settings.get("order", 2), 6)
    dense = history.estimate(np.linalg.solve(history.matrix().toarray(), history.rhs()))
    off = np.linalg.norm(run.update - dense) / np.linalg.norm(dense)
    most = 1e-7 if by == "solver" else 1e-12
    assert off < most if exact else 1e-8 < off < 1e-3  # jets that are driven are no solution of this system
    assert "exactly" not in run.emulation or exact


def test_a_residual_above_eps_is_said(monkeypatch):
    dynamics, said = Dynamics(batch_maps(3, 2, seed=1)), []
    monkeypatch.setattr(block_cost, "HISTORY_BELOW", 0)
    for rank, words in ((None, []), (1, ["residual"])):
        monkeypatch.setattr("quprop.carleman.block.solve_low_rank", partial(solve_low_rank, max_rank=rank))
        said.clear()
        settings = Loop(order=2, block_length=6)
        run, _ = run_block(
            dynamics, np.arange(3), 3, 6, settings, np.random.default_rng(0), growth=0.95, say=said.append
        )
        assert (run.residual > settings.eps) == bool(words) and [
            "residual" for text in said if "residual" in text
        ] == words


def test_hundred_steps_of_fifteen_parameters_are_within_the_limit():
    solver = OptimalInverse()
    assert fits(15, 2, 100) and block_cost.emulates(solver, 27_135, 303, 100 * 135**2)
    assert not fits(25, 2, 100) and not block_cost.emulates(solver, 27_135, 3_000, 100 * 135**2)


@pytest.mark.slow
def test_a_block_of_a_hundred_steps_is_solved_in_the_loop(iris):
    net = networks.make("logistic", iris.input_shape, iris.classes, seed=0)
    settings = Loop(learning_rate=0.1, order=2, warm_up=100, sparsity=0.0, blocks=1, block_length=100, solver="optimal")
    block = train(net, iris, settings, 0).blocks[0]
    assert block.kept == 15 and SHORT[block.run.emulation] == "solver" and block.cost.kappa_by == "lanczos"
    assert 1e-5 < block.run.solver_error < 3e-3 and block.run.residual < 1e-3 and 250 < block.cost.kappa < 350


def test_shots_err_as_promised_and_exact_readout_does_not(iris):
    exact = train(small(iris), iris, Loop(**FAST), 0)
    coarse = train(small(iris), iris, Loop(**FAST, readout="shots", precision=0.2), 0)
    fine = train(small(iris), iris, Loop(**FAST, readout="shots", precision=0.02), 0)
    assert all(b.run.readout_error is None for b in exact.blocks)
    assert all(0 < b.run.readout_error <= math.sqrt(7) * 0.2 for b in coarse.blocks)
    assert fine.blocks[0].run.readout_error < coarse.blocks[0].run.readout_error
    assert fine.ledger.copies > 50 * coarse.ledger.copies
    kept = fine.blocks[0].kept
    assert fine.blocks[0].cost.copies <= 1.01 * readout_copies(kept, 0.02)


def test_automatic_blocks_stop_before_the_truncation_error_grows(iris):
    free = train(small(iris), iris, Loop(**(FAST | {"block_length": None, "tolerance": 0.02, "longest": 60})), 0)
    lengths = [b.run.length for b in free.blocks]
    assert all(1 <= t <= 60 for t in lengths) and lengths[0] < 60
    assert all(b.update_error <= 0.02 and b.run.truncation_error <= 0.02 for b in free.blocks)


def test_a_block_outside_the_radius_is_said_stops_and_keeps_the_last_good_parameters(iris):
    net, said = small(iris), []
    start = net.parameters()
    wild = Loop(learning_rate=2.0, order=4, warm_up=5, sparsity=0.2, blocks=5, block_length=80)
    result = train(net, iris, wild, 0, say=said.append)
    assert result.diverged and said == list(result.warnings)
    assert any("outside its radius of convergence" in text for text in said)
    assert said[0].startswith("before the run: ") and "diverged" in said[-1]
    uploaded = descend(net, start, [iris.train()], 5, 2.0) * result.mask.kept
    if len(result.blocks) == 1:
        assert np.allclose(result.theta, uploaded)
    assert np.isfinite(loss_at(net, result.theta, iris.train())) and result.blocks[-1].diverged


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_can_run_the_blocks(name):
    data, eps = tiny(), 1e-3
    net = networks.make("logistic", data.input_shape, data.classes, seed=0)
    settings = {"learning_rate": 0.3, "order": 2, "warm_up": 0, "sparsity": 0.25, "blocks": 2, "block_length": 4}
    for block in train(net, data, Loop(**settings, solver=name, eps=eps), 0).blocks:
        assert block.run.emulation.startswith("solver's polynomial")
        # eps is the error of the whole history's state, of which the update is the larger part
        assert 0 < block.run.solver_error < 5 * eps and block.relative_error < 0.01  # truncation included
        published = SOLVERS[name]().queries(block.cost.kappa * (1 + 1e-6) ** 2, eps)
        # the walk's filter is lengthened where less than half of the walk ends in the kernel
        assert published <= block.cost.queries_per_run <= (1.5 if name == "adiabatic" else 1) * published


def test_a_history_too_large_for_the_walk_is_marched_and_its_queries_are_the_formula(iris):
    net = networks.make("logistic", iris.input_shape, iris.classes, seed=0)
    settings = Loop(learning_rate=0.3, order=2, warm_up=0, sparsity=0.25, blocks=1, block_length=4, solver="adiabatic")
    block = train(net, iris, settings, 0).blocks[0]
    assert fits(block.kept, 2, 4) and block.run.emulation.startswith("tower marched")
    assert block.cost.queries_per_run == SOLVERS["adiabatic"]().queries(block.cost.kappa, 1e-3)


def test_a_later_block_that_diverges_leaves_the_parameters_of_its_own_upload(iris):
    settings = {"learning_rate": 1.5, "order": 4, "warm_up": 60, "sparsity": 0.2, "block_length": 40, "dense_steps": 5}
    said = []
    result = train(small(iris, seed=1), iris, Loop(**settings, blocks=6), 0, say=said.append)
    assert [b.diverged is None for b in result.blocks] == [True, False] and result.diverged
    assert any(text.startswith("block 2: at step") and "outside its radius" in text for text in said)
    net = small(iris, seed=1)
    downloaded = train(net, iris, Loop(**settings, blocks=1), 0).theta
    uploaded = descend(net, downloaded, [iris.train()], 5, 1.5) * result.mask.kept
    assert np.allclose(result.theta, uploaded, atol=1e-12) and not np.allclose(uploaded, downloaded)
    assert result.accuracy == accuracy_at(net, uploaded, iris.test()) == result.blocks[1].pruned_accuracy


def test_dense_steps_that_diverge_leave_what_was_downloaded(iris, monkeypatch):
    from quprop.carleman import train as module

    def broken(network, theta, data, steps, *others):
        found = descend(network, theta, data, steps, *others)
        return found * np.nan if steps == 3 else found

    monkeypatch.setattr(module, "descend", broken)
    result = train(small(iris), iris, Loop(**FAST, dense_steps=3), 0)
    assert len(result.blocks) == 1 and "dense steps" in result.diverged and np.isfinite(result.theta).all()
    assert result.accuracy == result.blocks[0].accuracy
    assert json.dumps(training_report(result, iris), allow_nan=False)


@pytest.mark.parametrize("rate", [50.0, 1e5])
def test_a_run_that_explodes_at_once_is_recorded_in_numbers_that_json_knows(iris, rate):
    start = small(iris, seed=1)
    result = train(small(iris, seed=1), iris, Loop(**(FAST | {"learning_rate": rate, "warm_up": 0})), 0)
    assert len(result.blocks) == 1 and result.diverged
    assert np.array_equal(result.theta, start.parameters() * result.mask.kept)
    assert json.dumps(training_report(result, iris), allow_nan=False)


@pytest.mark.parametrize("engine", ["low_rank", "jets"])
def test_engines_with_and_without_orders_say_when_they_leave_the_radius(iris, engine):
    said = []
    wild = Loop(learning_rate=3.0, order=2, warm_up=5, sparsity=0.2, blocks=1, block_length=30, engine=engine)
    train(small(iris), iris, wild, 0, say=said.append)
    assert any(text.startswith("block 1: at step") and "outside its radius" in text for text in said)


def test_single_precision_follows_double_to_its_digits(iris):
    double = train(small(iris), iris, Loop(**FAST), 0)
    single = train(small(iris, precision="single"), iris, Loop(**FAST), 0)
    distance = np.linalg.norm(single.theta - double.theta) / np.linalg.norm(double.theta)
    assert 0 < distance < 1e-5 and np.array_equal(single.mask.kept, double.mask.kept)


def test_mini_batches_are_a_map_each(iris):
    ticks = []
    result = train(
        small(iris), iris, Loop(**FAST, batch_size=16), 3, tick=lambda done, what: ticks.append((done, what))
    )
    assert ticks[0] == (0, "warm-up: step 0 of 20") and (2, "block 3: step 5 of at most 6") in ticks
    again = train(small(iris), iris, Loop(**FAST, batch_size=16), 3)
    assert np.array_equal(result.theta, again.theta) and max(b.relative_error for b in result.blocks) < 0.01


def test_kappa_formula_bounds_the_condition_number_of_linear_descent():
    from quprop.carleman.maps.convergence import scalar_kappa

    for growth, steps in ((0.9, 10), (1.0, 10), (1.05, 10)):
        found = scalar_kappa(growth, 1)  # one block: no steps, kappa 1
        assert found == 1 and kappa_formula(growth, 1, 0, idle=0) >= 1
        assert scalar_kappa(growth, steps + 1) <= kappa_formula(growth, 1, steps, idle=0) + 1e-9
    assert kappa_formula(1.0, 3, 50) == 2 * 101


def test_break_even_lies_where_both_times_are_equal_and_nowhere_at_fixed_density():
    sparse = BreakEven(entries=100)
    n = sparse.parameters()
    assert abs(math.log(sparse.ratio(n))) < 0.01 and sparse.ratio(10 * n) < 0.2
    assert BreakEven(density=0.1).parameters() is None and "no number of parameters" in BreakEven().sentence(1e6)
    assert abs(BreakEven(growth=1.0).step_exponent()) < 0.05 < BreakEven(growth=1.02).step_exponent()


def test_reports_hold_what_was_asked_for(iris):
    result = train(small(iris), iris, Loop(**FAST), 0)
    report = training_report(result, iris)
    for key in ("accuracy", "plain_accuracy", "reuploads", "relative_error", "queries", "copies", "emulation"):
        assert key in report, key
    assert len(report["relative_error"]) == 3 and report["break_even"]["by"] == "formula"
    analysis = analysis_report(small(iris), iris, 0, sparsity=0.5, order=2)
    for key in ANALYSED:
        assert key in analysis, key
    assert analysis["verdict"].count(". ") == 0 and analysis["verdict"].endswith(".")


@pytest.mark.parametrize(
    "wrong",
    [{"sparsity": 1.0}, {"readout": "guess"}, {"solver": "optimum"}, {"block_length": 0}, {"learning_rate": 0}],
)
def test_wrong_settings_are_refused_in_one_sentence(wrong):
    with pytest.raises(QupropError, match=r"got|did you mean"):
        Loop(**wrong)


@pytest.mark.slow
def test_on_digits_the_pruned_loop_reaches_plain_accuracy_with_five_reuploads():
    data = load("digits")
    net = networks.make("mlp", data.input_shape, data.classes, seed=0)
    # the defaults of `quprop carleman train mlp`, with shots
    settings = Loop(warm_up=200, sparsity=0.8, blocks=8, dense_steps=10, readout="shots")
    result = train(net, data, settings, 0)
    assert result.reuploads >= 5 and result.diverged is None
    assert result.accuracy >= result.plain_accuracy - 0.01
    assert abs(result.accuracy - result.twin_accuracy) <= 0.01
    assert max(b.relative_error for b in result.blocks) < 5e-3


# -- runs that are cut and resumed ------------------------------------------------------------------------------------

CUT = Loop(**FAST | {"block_length": 3, "dense_steps": 2, "batch_size": 16, "readout": "shots", "precision": 0.1})


# momentum, all parameters moving, mini-batches, dense steps between two blocks
HEAVY = replace(CUT, learning_rate=0.03, blocks=2, order=2, momentum=0.9, weight_decay=2e-3, masked=False)


def said(result, data):
    """What `quprop carleman train` writes, to the last bit."""
    return json.dumps(training_report(result, data), allow_nan=False)


def kept_run(data, out=None, resume=False, settings=CUT, seed=5, **more):
    return train(small(data), data, settings, seed, out=out, resume=resume, checkpoint_seconds=0.0, **more)


def assert_same_run(again, whole):
    assert np.array_equal(again.theta, whole.theta) and np.array_equal(again.mask.kept, whole.mask.kept)
    for mine, theirs in zip(again.blocks, whole.blocks, strict=True):
        assert mine.to_json() == theirs.to_json() and np.array_equal(mine.run.update, theirs.run.update)
    for name in ("accuracy", "twin_accuracy", "plain_accuracy", "dense_accuracy", "ledger", "warnings"):
        assert getattr(again, name) == getattr(whole, name), name


def cut_runs(iris, tmp_path, kind, most, settings=CUT):
    whole = kept_run(iris, settings=settings)
    count = calls_of(lambda: kept_run(iris, tmp_path / "counted", settings=settings))
    for k in sorted({round(k) for k in np.linspace(1, count, most or count)}):
        folder = tmp_path / str(k)
        if kind == "death":
            assert killed_at(k, lambda: kept_run(iris, folder, settings=settings))
        else:
            with failing(kind, k):
                try:
                    kept_run(iris, folder, settings=settings)
                except FileError as error:
                    assert str(folder) in str(error)
        again = kept_run(iris, folder, resume=(folder / "run.toml").exists(), settings=settings)
        assert_same_run(again, whole)
        assert said(again, iris) == said(whole, iris)
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == len(whole.blocks)
        assert not leftovers(folder)


@pytest.mark.parametrize("kind", ["full", "short", "death"])
def test_a_run_cut_at_some_call_resumes_to_the_same_bits(iris, tmp_path, kind):
    cut_runs(iris, tmp_path, kind, 4)


def test_a_killed_run_with_momentum_resumes_to_the_same_result(iris, tmp_path):
    cut_runs(iris, tmp_path, "death", 3, HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "death"])
@pytest.mark.parametrize("settings", [CUT, HEAVY, replace(HEAVY, masked=True)])
def test_a_run_cut_at_any_call_resumes_to_the_same_bits(iris, tmp_path, kind, settings):
    cut_runs(iris, tmp_path, kind, None, settings)


def killed(data, folder, settings, moment):
    """A run in a child that is killed when it tells this; whether it died."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def tick(done, what):
        if what.startswith(moment):
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        kept_run(data, folder, settings=settings, tick=tick)
    finally:
        os._exit(0)


def test_a_run_killed_within_the_warm_up_or_a_block_resumes_to_the_same_result(iris, tmp_path):
    whole = kept_run(iris, settings=HEAVY)
    moments = ["warm-up", "block 1: step 1", "block 2: Hessian", "block 2: plain"]
    for i, moment in enumerate(moments):
        folder = tmp_path / str(i)
        assert killed(iris, folder, HEAVY, moment)
        recorded = (folder / "metrics.jsonl").read_text().splitlines()
        assert len(recorded) == (1 if moment.startswith("block 2") else 0)
        again = kept_run(iris, folder, resume=True, settings=HEAVY)
        assert_same_run(again, whole)
        assert said(again, iris) == said(whole, iris)


def test_the_folder_names_the_versions_that_digits_depend_on(iris, tmp_path):
    def tick(done, what):  # the folder is there before any work
        assert (tmp_path / "run" / "run.toml").exists()

    kept_run(iris, tmp_path / "run", settings=HEAVY, tick=tick)
    folder = RunFolder.open(tmp_path / "run")
    found = folder.section("versions")
    assert found["torch"] == metadata.version("torch") and {"quprop", "numpy", "scipy", "python"} <= found.keys()
    kept = folder.section("carleman")
    assert (kept["momentum"], kept["weight_decay"], kept["masked"]) == (0.9, 2e-3, False)
    for changed in ({"momentum": 0.5}, {"weight_decay": None}, {"masked": True}):
        with pytest.raises(QupropError, match=f"was started with {next(iter(changed))} = "):
            kept_run(iris, tmp_path / "run", resume=True, settings=replace(HEAVY, **changed))


def test_a_folder_older_than_a_setting_was_started_with_its_only_value(iris, tmp_path):
    shutil.copytree(Path(__file__).parent / "samples" / "runs" / "carleman", tmp_path / "run")
    net = networks.make("logistic", iris.input_shape, iris.classes, seed=0)
    then = Loop(order=2, blocks=3, block_length=2, warm_up=2, sparsity=0.8, dense_steps=2, precision=0.1)
    with pytest.raises(QupropError, match=r"was started with momentum = 0\.0, got 0\.5"):
        train(net, iris, replace(then, momentum=0.5), 0, out=tmp_path / "run", resume=True)
    with pytest.raises(QupropError, match="was started with masked = True, got False"):
        train(net, iris, replace(then, masked=False), 0, out=tmp_path / "run", resume=True)


def test_a_run_stopped_within_a_block_or_the_warm_up_resumes_to_the_same_bits(iris, tmp_path):
    whole = kept_run(iris)
    for number, stop in enumerate(["warm-up: step 0", "block 1: step 2", "block 3: plain"]):

        def tick(done, what):
            if what.startswith(stop):
                raise KeyboardInterrupt

        folder = tmp_path / str(number)
        with pytest.raises(KeyboardInterrupt):
            kept_run(iris, folder, tick=tick)
        seen = []
        assert_same_run(kept_run(iris, folder, resume=True, tick=lambda done, what: seen.append(what)), whole)
        assert number < 2 or not any(what.startswith(("warm-up", "block 1")) for what in seen)


def test_a_finished_or_divergent_run_is_resumed_to_what_it_was(iris, tmp_path):
    wild = Loop(**FAST | {"learning_rate": 2.0, "order": 4, "block_length": 80, "warm_up": 5, "sparsity": 0.2})
    for name, settings in [("whole", CUT), ("wild", wild)]:
        first = kept_run(iris, tmp_path / name, settings=settings)
        assert_same_run(kept_run(iris, tmp_path / name, resume=True, settings=settings), first)
    assert first.diverged is not None


def test_a_run_is_resumed_only_as_it_was_started(iris, tmp_path):
    result = kept_run(iris, tmp_path / "a")
    with pytest.raises(QupropError, match="already holds a run: continue it with --resume"):
        kept_run(iris, tmp_path / "a")
    with pytest.raises(QupropError, match="started with seed = 5, got 6"):
        kept_run(iris, tmp_path / "a", resume=True, seed=6)
    with pytest.raises(QupropError, match=r"started with learning_rate = 0\.3, got 0\.2"):
        kept_run(iris, tmp_path / "a", resume=True, settings=replace(CUT, learning_rate=0.2))
    with pytest.raises(QupropError, match="resume with the network, its settings and the data"):
        other = replace(iris, x_train=iris.x_train[::-1].copy())
        kept_run(other, tmp_path / "a", resume=True)
    with pytest.raises(QupropError, match=r"no run\.toml"):
        kept_run(iris, tmp_path / "b", resume=True)
    with pytest.raises(QupropError, match="pass out"):
        kept_run(iris, resume=True)
    content = bytearray((tmp_path / "a" / "checkpoint.npz").read_bytes())
    content[content.index(result.theta.tobytes())] ^= 1
    (tmp_path / "a" / "checkpoint.npz").write_bytes(content)
    with pytest.raises(QupropError, match="checkpoint"):
        kept_run(iris, tmp_path / "a", resume=True)


def test_the_success_of_a_solved_block_is_the_solvers_times_that_of_the_last_time():
    """Order 1, u' = G u + c from u = 0: the state of T steps and T idle copies holds (u(0), ..., u(T), ..., u(T))."""
    turn, force, steps = np.array([[0.8, 0.1, 0.0], [0.1, 0.7, 0.05], [0.0, 0.05, 0.6]]), np.array([0.1, -0.2, 0.3]), 4
    dynamics = Dynamics(from_tensors([force, turn - np.eye(3)]))
    settings = Loop(order=1, block_length=steps, blocks=1)
    run, cost = run_block(
        dynamics, np.arange(3), 3, steps, settings, np.random.default_rng(0), growth=0.9, say=lambda text: None
    )
    course = [np.zeros(3)]
    for _ in range(steps):
        course.append(turn @ course[-1] + force)
    system = np.eye(3 * (2 * steps + 1))
    rhs = np.zeros(len(system))
    for t in range(1, 2 * steps + 1):
        here, before = slice(3 * t, 3 * t + 3), slice(3 * t - 3, 3 * t)
        system[here, before] = -(turn if t <= steps else np.eye(3))
        rhs[here] = force if t <= steps else 0
    solved = SOLVERS[settings.solver]().solve(LinearSystem.from_matrix(system, rhs), settings.eps)
    last = (steps + 1) * np.sum(course[-1] ** 2)
    share = last / (last + sum(np.sum(u**2) for u in course[:-1]))
    assert cost.success == pytest.approx(solved.success * share, rel=2e-3) and cost.queries_per_run == solved.queries
    assert np.allclose(run.update, course[-1], rtol=5 * settings.eps) and run.length == steps


@pytest.mark.parametrize("warm_up", [0, 20, 45])
def test_the_warm_up_is_plain_descent_of_so_many_steps(iris, warm_up):
    net, twin = small(iris), small(iris)
    result = train(net, iris, Loop(**FAST | {"warm_up": warm_up, "blocks": 1}), 0)
    before = descend(twin, twin.parameters(), [iris.train()] * max(warm_up, 1), warm_up, 0.3)
    assert result.ledger.classical_steps == warm_up
    assert result.dense_accuracy == accuracy_at(twin, before, iris.test())
    after = descend(twin, before, [iris.train()] * 6, 6, 0.3)
    assert result.plain_accuracy == accuracy_at(twin, after, iris.test())


def test_the_folder_of_another_kind_of_run_is_not_continued(iris, tmp_path):
    RunFolder.create(tmp_path / "run", {"train": {"seed": 0}}).close()
    with pytest.raises(QupropError, match="none of the Carleman loop"):
        train(small(iris), iris, Loop(**FAST), 0, out=tmp_path / "run", resume=True)


# -- momentum, weight decay, blocks in which all parameters move ------------------------------------------------------


def torchs_own_loop(net, data, settings, source):
    """Warm-up, then blocks of torch.optim.SGD from what torch's own pruning left: the loop in torch's words. Returns
    the parameters before and after every pruning and at every block's end."""
    layers = [m for m in net.module.modules() if isinstance(m, torch.nn.Linear)][:-1]
    parameters, seen = list(net.module.parameters()), []
    optimiser = torch.optim.SGD(
        parameters, lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )

    def steps(count, kept=None):
        for x, y in islice(source, count):
            optimiser.zero_grad()
            net.loss(net.module(x), y).backward()
            optimiser.step()
            hold(kept)

    def theta():  # in this order: pruning registers the parameters anew
        return torch.nn.utils.parameters_to_vector(parameters).detach().numpy().copy()

    def hold(kept):
        for p in () if kept is None else parameters:
            p.data *= kept[p]
            optimiser.state[p]["momentum_buffer"] *= kept[p]

    steps(settings.warm_up)
    for block in range(settings.blocks):
        if block:
            steps(settings.dense_steps)
        seen.append(theta())
        prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=settings.sparsity)
        kept = {p: torch.ones_like(p) for p in parameters}
        for m in layers:
            kept[m.weight_orig] = m.weight_mask
            prune.remove(m, "weight")
        for p in parameters:
            p.data *= kept[p]
        hold(kept if settings.masked else None)
        seen.append(theta())
        steps(settings.block_length, kept if settings.masked else None)
        seen.append(theta())
    return seen


RHYTHM = {
    "learning_rate": 0.05,
    "order": 4,
    "warm_up": 25,
    "sparsity": 0.6,
    "blocks": 3,
    "block_length": 4,
    "dense_steps": 3,
    "momentum": 0.9,
    "weight_decay": 2e-3,
}


def followed(data, settings, seed=3, **more):
    """A run and what it showed of itself."""
    seen = []
    net = small(data, hidden=(4, 3))
    result = train(net, data, settings, seed, watch=lambda moment, states: seen.append((moment, states)), **more)
    assert [moment for moment, _ in seen] == ["before", "pruned", "downloaded"] * len(result.blocks)
    return result, [states for _, states in seen]


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("masked", [True, False])
def test_the_loop_with_momentum_is_that_of_torchs_optimiser_and_pruning(iris, masked, batch_size):
    settings = Loop(**RHYTHM, masked=masked, batch_size=batch_size)
    result, seen = followed(iris, settings)
    x, y = iris.train()
    source = iter(lambda: (x, y), None) if batch_size is None else batches(x, y, batch_size, np.random.default_rng(3))
    expected = torchs_own_loop(small(iris, hidden=(4, 3)), iris, settings, source)
    for states, theta in zip(seen, expected, strict=True):
        assert np.allclose(states["twin"], theta, rtol=0, atol=1e-13)
    for block in result.blocks:
        assert block.update_error < 0.02 and block.drift < 0.01
    source = iter(lambda: (x, y), None) if batch_size is None else batches(x, y, batch_size, np.random.default_rng(3))
    whole = torchs_own_loop(small(iris, hidden=(4, 3)), iris, replace(settings, sparsity=0.0, masked=False), source)
    for states, theta in zip(seen, whole, strict=True):
        assert np.allclose(states["plain"], theta, rtol=0, atol=1e-13)


def test_the_velocity_that_a_block_downloads_is_the_one_the_next_goes_on_with(iris):
    """With order 1 in a convex quadratic loss the truncated tower is descent itself, so nothing but what is carried can
    make the loop differ from its twin."""
    net = networks.make("deep-linear", iris.input_shape, iris.classes, seed=0, layers=1)
    exact = {"solver": "optimal", "eps": 1e-9}  # of the solved history system
    settings = Loop(**RHYTHM | exact | {"order": 1, "warm_up": 0, "dense_steps": 0, "sparsity": 0.5})
    result = train(net, iris, settings, 0)
    assert (
        max(b.drift for b in result.blocks) < 1e-8 and result.blocks[-1].run.update.size == 2 * result.blocks[-1].kept
    )
    still = train(
        networks.make("deep-linear", iris.input_shape, iris.classes, seed=0, layers=1),
        iris,
        replace(settings, momentum=0.0),
        0,
    )
    assert np.linalg.norm(still.theta - result.theta) > 0.01 * np.linalg.norm(result.theta)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_authors_blocks_begin_sparse_end_dense_and_are_pruned_again(iris, momentum):
    settings = Loop(**RHYTHM | {"momentum": momentum, "sparsity": 0.5, "order": 2, "blocks": 2})
    masked, kept = followed(iris, settings)
    moved, seen = followed(iris, replace(settings, masked=False))
    prunable, n = masked.mask.prunable, len(masked.theta)
    for states, held in zip(zip(*[iter(seen)] * 3, strict=True), zip(*[iter(kept)] * 3, strict=True), strict=True):
        for name in ("loop", "twin"):
            _, pruned, end = (np.count_nonzero(s[name] == 0) for s in states)
            assert pruned == round(0.5 * prunable) and end == 0
            assert np.count_nonzero(held[1][name] == 0) == np.count_nonzero(held[2][name] == 0) == pruned
    for block, run in zip(moved.blocks, masked.blocks, strict=True):
        both = 2 if momentum else 1
        assert block.run.update.size == both * n and run.run.update.size == both * run.kept
        assert block.kept == run.kept == n - round(0.5 * prunable)
        # all that is downloaded is paid for: more entries where all move, twice as many with velocities
        assert block.cost.copies == readout_copies(both * n, 0.01) > run.cost.copies
        assert run.cost.copies == readout_copies(both * run.kept, 0.01)


def test_weight_decay_of_the_loop_stands_in_for_the_networks(iris):
    own = train(small(iris, weight_decay=0.02), iris, Loop(**FAST), 0)
    given = train(small(iris, weight_decay=0.5), iris, Loop(**FAST, weight_decay=0.02), 0)
    assert np.array_equal(own.theta, given.theta) and own.settings == given.settings
    assert own.settings.weight_decay == 0.02
    none = train(small(iris, weight_decay=0.5), iris, Loop(**FAST, weight_decay=0.0), 0)
    assert np.linalg.norm(none.theta) > np.linalg.norm(given.theta)


def test_part_of_a_map_with_momentum_is_momentum_of_the_part(iris):
    net = small(iris)
    kept, given = np.arange(1, net.n_parameters, 3), {"learning_rate": 0.3, "order": 3, "momentum": 0.7}
    whole, part = (from_torch(net.module, net.loss, iris.train(), kept=k, **given)[0] for k in (None, kept))
    both = np.concatenate([kept, net.n_parameters + kept])
    path = np.zeros((3, whole.dimension))
    path[:, both] = 0.1 * np.random.default_rng(2).normal(size=(3, len(both)))
    assert part.dimension == len(both)
    assert np.allclose(part.series(path[:, both]), whole.series(path)[:, both], atol=1e-13)
    assert np.allclose(part.descend(path[0, both]), whole.descend(path[0])[both], atol=1e-13)
    assert np.allclose(part.constant(), whole.constant()[both], atol=1e-14)


def test_a_block_with_momentum_is_solved_from_its_velocity():
    """Order 1, x' = P x + c from x(0) = (0, w): the solver's state against dense linear algebra; its right-hand side is
    loaded from two vectors."""
    curvature, eta, beta, steps = np.array([[1.0, 0.3], [0.3, 0.5]]), 0.2, 0.6, 3
    force = np.array([0.3, -0.1])
    dynamics = Dynamics(Momentum(from_tensors([force, -curvature], learning_rate=eta), beta))
    inner = np.eye(2) - eta * curvature
    turn = np.block([[inner, -beta * np.eye(2)], [np.eye(2) - inner, beta * np.eye(2)]])
    constant = eta * np.concatenate([force, -force])
    begin = np.array([0.0, 0.0, 0.2, -0.3])
    settings = Loop(order=1, block_length=steps, blocks=1, solver="optimal", eps=1e-6, momentum=beta)
    given = {"growth": 0.9, "say": lambda text: None}
    run, cost = run_block(dynamics, np.arange(4), 4, steps, settings, np.random.default_rng(0), **given, start=begin)
    state = begin
    for _ in range(steps):
        state = turn @ state + constant
    assert run.emulation.startswith("solver's polynomial") and np.allclose(run.update, state, atol=1e-5)
    system = np.eye(4 * (2 * steps + 1))
    for t in range(1, 2 * steps + 1):
        system[4 * t : 4 * t + 4, 4 * t - 4 : 4 * t] = -(turn if t <= steps else np.eye(4))
    assert cost.kappa == pytest.approx(np.linalg.cond(system), rel=1e-6)
    _, still = run_block(dynamics, np.arange(4), 4, steps, settings, np.random.default_rng(0), **given)
    assert cost.ledger.rotations / cost.ledger.loads > still.ledger.rotations / still.ledger.loads


def test_a_toy_whose_parameters_all_move_is_solved_with_momentum_too():
    data = tiny()
    settings = Loop(**RHYTHM | {"order": 2, "sparsity": 0.5, "blocks": 1, "block_length": 2}, masked=False)
    net = networks.make("logistic", data.input_shape, data.classes, seed=0)
    block = train(net, data, replace(settings, solver="optimal"), 0).blocks[0]
    assert block.run.emulation.startswith("solver's polynomial") and block.run.update.size == 2 * 6
    assert block.kept == 4 and block.update_error < 0.01 and block.cost.kappa_by == "dense"


def test_growth_with_momentum_is_the_largest_root_and_the_formula_bounds_kappa(iris):
    net = networks.make("logistic", iris.input_shape, iris.classes, seed=0)
    settings = Loop(learning_rate=0.1, order=1, warm_up=3, sparsity=0.0, blocks=1, block_length=5, momentum=0.8)
    start = descend(net, np.concatenate([net.parameters(), np.zeros(15)]), [iris.train()], 3, 0.1, None, 0.8)[:15]
    block = train(net, iris, settings, 0).blocks[0]
    net.set_parameters(start)
    step = from_torch(
        net.module, net.loss, iris.train(), learning_rate=0.1, order=1, momentum=0.8, weight_decay=net.weight_decay
    )
    matrix = np.stack([step[0].jet(1, [e]) for e in np.eye(30)], axis=1)
    assert block.growth == pytest.approx(np.abs(np.linalg.eigvals(matrix)).max(), rel=1e-6)
    curvature = np.linalg.eigvalsh((np.eye(15) - (matrix[:15, :15])) / 0.1)
    for steps in (1, 4, 12):
        found = HistorySystem(step, np.zeros(30), 1, steps).condition().kappa
        powers = [np.linalg.norm(np.linalg.matrix_power(matrix, t), 2) for t in range(steps + 1)]
        norms = Descent(0.1, 0.8).norms(curvature, steps)
        assert norms == pytest.approx(powers, rel=1e-6)
        assert found <= kappa_formula(norms, 1, steps) < 4 * found
        assert kappa_formula(0.97 ** np.arange(steps + 1), 3, steps) == pytest.approx(kappa_formula(0.97, 3, steps))
    root = float(Descent(0.1, 0.8).factors(curvature).max())
    assert kappa_formula(root, 1, 12) < found  # the root alone is no bound


@pytest.mark.parametrize(
    "wrong", [{"momentum": 1.0}, {"momentum": -0.1}, {"weight_decay": -1.0}, {"weight_decay": math.inf}]
)
def test_momentum_and_decay_that_are_none_are_refused(wrong):
    with pytest.raises(QupropError, match=f"{next(iter(wrong))} .*got"):
        Loop(**wrong)


def test_descent_refuses_a_state_without_its_velocity(iris):
    net = small(iris)
    for theta, momentum in ((net.parameters(), 0.9), (np.tile(net.parameters(), 2), 0.0)):
        with pytest.raises(QupropError, match="n_parameters = 35, got shape"):
            descend(net, theta, [iris.train()], 1, 0.1, None, momentum)
