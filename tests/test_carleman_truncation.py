"""How long a block may run: measured truncation errors against plain descent by torch alone, proofs against dense
norms, verdicts and warnings against both."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # curvlinops imports it

from quprop.carleman.block import run_block  # noqa: E402
from quprop.carleman.loop_report import analysis_report, training_report  # noqa: E402
from quprop.carleman.maps.convergence import toy  # noqa: E402
from quprop.carleman.maps.dynamics import Dynamics, Polynomial, PolynomialMap, from_tensors  # noqa: E402
from quprop.carleman.maps.gains import exact_gains  # noqa: E402
from quprop.carleman.maps.radius import bound_block_length, finite_time_bound, jet_bound, level_bound  # noqa: E402
from quprop.carleman.networks import networks  # noqa: E402
from quprop.carleman.networks.data import load  # noqa: E402
from quprop.carleman.networks.networks import Network  # noqa: E402
from quprop.carleman.networks.plain import descend  # noqa: E402
from quprop.carleman.networks.prune import global_mask  # noqa: E402
from quprop.carleman.spectra.dissipation import analyse  # noqa: E402
from quprop.carleman.spectra.proxy import Descent  # noqa: E402
from quprop.carleman.spectra.survivors import survivors_dynamics  # noqa: E402
from quprop.carleman.train import Loop, block_spectrum, train  # noqa: E402
from quprop.carleman.truncation import measure, typical  # noqa: E402
from quprop.experiments.networks.verdicts import crossing, errors_of_plain_descents, tower_errors  # noqa: E402


@pytest.fixture(scope="module")
def iris():
    return load("iris")


def made(data, name="mlp", seed=0, **settings):
    return networks.make(name, data.input_shape, data.classes, seed=seed, **settings)


CASES = [
    ("logistic", {}, 0.3, 2),
    ("mlp", {"hidden": (4,)}, 0.5, 3),
    ("deep-linear", {"layers": 2, "width": 3}, 0.2, 3),
]


@pytest.mark.parametrize("name, settings, rate, order", CASES)
def test_measured_errors_are_those_of_plain_descents_with_a_scaled_force(iris, name, settings, rate, order):
    network = made(iris, name, **settings)
    mask = global_mask(network.module, 0.5)
    mask.apply(network.module)
    kept, data = np.flatnonzero(mask.kept), iris.train()
    dynamics = survivors_dynamics(network, kept, [data], learning_rate=rate, order=order)
    found = measure(dynamics, order, 25, 0.01, engine="jets", stop=False)
    expected = errors_of_plain_descents(network, kept, data, rate, order, 25, 0.1)  # far outside no polynomial fits
    assert np.allclose(found.errors[: len(expected)], expected, rtol=1e-3, atol=1e-7) and len(expected) > 5
    assert found.errors[1] < 1e-12 < found.errors[5]  # the first step is the plain one
    assert found.within == crossing(expected) and found.crossing == found.within + 1


@pytest.mark.parametrize("tolerance", [1e-4, 1e-2, 0.1])
def test_a_block_ends_where_its_error_passes_the_tolerance_and_costs_nothing_beyond(iris, tolerance):
    network = made(iris, hidden=(4,))
    theta, kept, data = network.parameters(), np.arange(network.n_parameters), iris.train()
    dynamics = survivors_dynamics(network, kept, [data], learning_rate=0.5, order=3)
    steps = []
    found = measure(dynamics, 3, 60, tolerance, tick=lambda t, of: steps.append(t))
    assert found.errors[found.length] <= tolerance < found.errors[found.length + 1]
    assert len(steps) == found.crossing == found.length + 1 == len(found.errors) - 1 < 60
    moved = (descend(network, theta, [data], found.length, 0.5) - theta)[kept]
    assert found.error == pytest.approx(np.linalg.norm(found.update - moved) / np.linalg.norm(moved), rel=1e-9)
    whole = measure(dynamics, 3, 60, tolerance, stop=False)
    assert whole.length == 60 and whole.crossing == found.crossing
    assert np.array_equal(whole.errors[: found.crossing + 1], found.errors)


def test_a_limit_that_was_reached_is_said():
    slow, _ = toy(0.2)
    found = measure(Dynamics(slow.driven(np.full(3, 1e-6))), 3, 7, 0.01)
    assert found.crossing is None and found.within == found.length == 7 and not found.warnings()


def test_neither_gap_nor_tail_ends_a_block_of_small_error():
    """One parameter, u' = g + u + c u^3 with N = 3: the gap is the whole cubic term, and the error of higher degree."""
    step = from_tensors([np.array([0.1]), np.zeros((1, 1)), np.zeros((1, 1)), np.array([[0.5]])])
    found = measure(Dynamics(step), 3, 30, 0.01, engine="jets")
    assert found.gaps[found.length] > 0.01 >= found.errors[found.length]
    assert any("orders 3 and 2 differ" in text for text in found.warnings())


class Kinked(PolynomialMap):
    """u' = u + 0.1 - max(0, u - 0.25): the series at 0 knows nothing of the kink."""

    dimension, degree, order = 1, None, 3

    def series(self, path):
        out = np.zeros((len(path) + 1, *np.shape(path)[1:]))
        out[0], out[1:] = 0.1, path
        return out

    def descend(self, u):
        return u + 0.1 - np.maximum(0, u - 0.25)


def test_a_kink_looks_converged_and_is_said_to_be_wrong():
    step, said = Kinked(), []
    run, _ = run_block(
        Dynamics(step),
        np.arange(1),
        1,
        20,
        Loop(block_length=20),
        np.random.default_rng(0),
        growth=1.0,
        say=said.append,
    )
    assert run.gap < 1e-9 and (run.tail or 0) < 1e-9  # order N - 1 says the same, so the expansion looks converged
    assert run.truncation_error == pytest.approx((2.0 - 0.35) / 0.35, rel=1e-6)  # it comes to rest at 0.35
    assert len(said) == 1 and "at step 4 the update of order 3 is wrong by" in said[0]
    free, _ = run_block(
        Dynamics(step), np.arange(1), 1, 20, Loop(), np.random.default_rng(0), growth=1.0, say=said.append
    )
    assert free.length == 3 and free.truncation_error < 1e-12 and len(said) == 1


def test_blocks_too_long_are_warned_of_in_train_and_analyse_and_good_ones_are_not(iris):
    settings = {"learning_rate": 0.5, "warm_up": 20, "sparsity": 0.5, "blocks": 1}
    long = train(made(iris, hidden=(4,)), iris, Loop(**settings, block_length=40, tolerance=0.01), 0)
    assert long.blocks[0].update_error > 0.01
    assert any("wrong by" in text and "block 1: at step" in text for text in long.warnings)
    report = training_report(long, iris)
    assert report["warnings"] == list(long.warnings)
    assert report["blocks"][0]["truncation_error"] == pytest.approx(long.blocks[0].update_error, rel=1e-6)
    short = train(made(iris, hidden=(4,)), iris, Loop(**settings, block_length=2), 0)
    assert not any("block 1" in text for text in short.warnings)
    asked = {"learning_rate": 0.5, "warm_up": 20, "sparsity": 0.5, "lanczos_steps": 8}
    report = analysis_report(made(iris, hidden=(4,)), iris, 0, **asked, block_length=40)
    free = analysis_report(made(iris, hidden=(4,)), iris, 0, **asked)
    assert any("wrong by" in text for text in report["warnings"]) and report["block_length"] == 40
    assert "one of 40 has an update off by" in report["verdict"]
    assert f"a block may run {free['block_length']} steps (measured at order 3" in report["verdict"]
    assert not any("wrong by" in text for text in free["warnings"])
    assert free["truncation"]["errors"][free["block_length"]] <= 0.01 < free["truncation"]["errors"][-1]


@pytest.mark.parametrize("order", [2, 3])
def test_analyse_and_train_allow_the_same_steps_and_plain_descent_agrees(iris, order):
    asked = {"learning_rate": 0.5, "warm_up": 20, "sparsity": 0.5, "order": order}
    network = made(iris, hidden=(4,))
    report = analysis_report(network, iris, 0, **asked, tolerance=0.02)
    loop = Loop(**asked, blocks=1, tolerance=0.02, longest=100)
    block = train(made(iris, hidden=(4,)), iris, loop, 0).blocks[0]
    assert report["block_length"] == block.run.length and block.update_error <= 0.02
    kept = np.flatnonzero(global_mask(network.module, 0.5).kept)
    other = errors_of_plain_descents(network, kept, iris.train(), 0.5, order, 100, 0.05)
    if order == 2:
        other = tower_errors(network, kept, iris.train(), 0.5, 2, 60)
    assert crossing(other, 0.02) / 1.5 <= report["block_length"] <= 1.5 * crossing(other, 0.02)


def test_growth_and_spectrum_of_an_analysis_are_the_survivors_as_in_train(iris):
    network = made(iris, hidden=(4,), activation="softplus")
    report = analysis_report(network, iris, 0, learning_rate=0.5, sparsity=0.8, warm_up=30, order=2)
    mask = global_mask(network.module, 0.8)
    names, theta = [n for n, _ in network.module.named_parameters()], torch.as_tensor(network.parameters())
    x, y = iris.train()

    def loss(flat):
        pieces = flat.split([p.numel() for p in network.module.parameters()])
        tensors = {n: a.view_as(p) for n, a, p in zip(names, pieces, network.module.parameters(), strict=True)}
        return network.loss(torch.func.functional_call(network.module, tensors, (x,)), y)

    dense = torch.func.hessian(loss)(theta).detach().numpy() + network.weight_decay * np.eye(len(theta))
    kept = np.flatnonzero(mask.kept)
    survivors = np.linalg.eigvalsh(dense[np.ix_(kept, kept)])
    growth = np.max(np.abs(1 - 0.5 * survivors))
    assert report["growth"] == pytest.approx(growth, rel=1e-9) and report["kept"] == len(kept) < len(theta)
    assert abs(growth - np.max(np.abs(1 - 0.5 * np.linalg.eigvalsh(dense)))) > 1e-4
    settings = Loop(learning_rate=0.5, order=2, sparsity=0.8, lanczos_steps=64)
    spectrum = block_spectrum(network, network.parameters(), mask, iris.train(), settings, seed=1)
    assert spectrum.least == pytest.approx(report["spectrum"]["least"], abs=1e-10)
    assert report["truncation"]["samples"] == {"used": len(x), "of": len(x), "batches": False}


def test_exact_gains_are_the_dense_norms_and_only_they_prove(iris):
    network = made(iris, "deep-linear", layers=2, width=2, weight_decay=0.05)
    kept, data, rate = np.arange(2, 14), [iris.train()], 0.1
    gains = exact_gains(network, data, rate, kept)
    theta, (x, y) = torch.as_tensor(network.parameters()), data[0]

    def loss(u):
        moved = theta.index_add(0, torch.as_tensor(kept), u)
        first, second = moved[:8].reshape(2, 4), moved[8:].reshape(3, 2)
        one_hot = torch.nn.functional.one_hot(y, 3).double()
        return 0.5 * (x @ first.T @ second.T - one_hot).square().sum(1).mean() + 0.025 * moved @ moved

    zero, n = torch.zeros(len(kept), dtype=torch.float64), len(kept)
    tensors, function = [], torch.func.grad(loss)
    for k in range(4):
        flat = function(zero).detach().reshape(n, -1).numpy() / np.prod(np.arange(1, k + 1, dtype=float))
        tensors.append(-rate * flat + (np.eye(n) if k == 1 else 0))
        function = torch.func.jacfwd(function)
    assert gains.by == "proof" and np.allclose(gains.upper, [np.linalg.norm(t, 2) for t in tensors], rtol=1e-9)
    assert np.array_equal(gains.lower, gains.upper)
    wrong = Network("wrong", network.module, network.loss, degree=3)  # it is of degree 4
    assert exact_gains(wrong, data, rate, kept) is None
    assert exact_gains(made(iris, hidden=(2,)), data, rate) is None


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bounds_by_level_hold_for_their_engine_and_are_the_sharpest(order, seed):
    rng = np.random.default_rng(seed)
    tensors = [0.02 * rng.normal(size=3), np.diag([-0.05, -0.1, 0.08]), 0.05 * rng.normal(size=(3, 9))]
    tensors.append(0.02 * rng.normal(size=(3, 27)))
    step = from_tensors(tensors)
    gains = step.norms()
    assert np.allclose(gains, [np.linalg.norm(step.matrix(k).toarray(), 2) for k in range(4)])
    level, jets, rough = (
        level_bound(gains, 0.0, order, 15),
        jet_bound(gains, order, 15),
        finite_time_bound(gains, 0.0, order, 15),
    )
    for engine, bound in (("symmetric", level), ("jets", jets)):
        run = measure(Dynamics(step), order, 15, 0.01, engine=engine, stop=False)
        assert np.all(run.errors * run.sizes <= bound * (1 + 1e-9) + 1e-15), engine
    assert np.all(level <= rough * (1 + 1e-9)) and level[-1] < 0.9 * rough[-1]
    least = gains * 0.5  # norms that are too small prove what is wrong
    run = measure(Dynamics(step), order, 15, 0.01, engine="symmetric", stop=False)
    assert np.any(run.errors * run.sizes > level_bound(least, 0.0, order, 15))
    assert bound_block_length(gains, 0.0, order, 1e-4, 50, level_bound) >= bound_block_length(
        gains, 0.0, order, 1e-4, 50
    )


def test_a_scalar_map_attains_the_bound_of_the_jets():
    """With one parameter and coefficients of one sign norms are all there is to know."""
    step = from_tensors([np.array([0.05]), np.array([[0.1]]), np.array([[0.2]])])
    run = measure(Dynamics(step), 2, 8, 0.01, engine="jets", stop=False)
    assert np.allclose(run.errors * run.sizes, jet_bound(step.norms(), 2, 8), rtol=1e-9)
    assert isinstance(step, Polynomial)


def test_the_verdict_says_proved_only_with_a_proof_and_that_holds(iris):
    asked = {"learning_rate": 0.2, "sparsity": 0.0}
    proof = analysis_report(made(iris, "deep-linear", layers=2, width=2), iris, 0, **asked)
    assert proof["bound_by"] == proof["truncation"]["bound_by"] == proof["radius"].get("by", "proof") == "proof"
    found = proof["truncation"]
    bound, errors = np.array(found["bound"]), np.array(found["errors"])
    assert np.all(errors <= bound + 1e-12) and found["bound_length"] >= 2
    assert bound[found["bound_length"]] <= 0.01 < bound[found["bound_length"] + 1]
    assert f", proved for {found['bound_length']}," in proof["verdict"]
    guess = analysis_report(made(iris, hidden=(4,)), iris, 0, **asked)
    assert guess["bound_by"] == "estimate" and "proved" not in guess["verdict"]
    for name, word in (("deep-linear", "proved for"), ("mlp", "estimated for")):
        network = made(iris, name, **({"layers": 2, "width": 2} if name != "mlp" else {"hidden": (4,)}))
        text = analyse(network, [iris.train()], Descent(0.2), 0, operator="double-backward", lanczos_steps=8).sentence()
        assert f"expansion is {word}" in text and ("proved" in text) == (name != "mlp")


def test_samples_and_batches_that_are_not_all_give_a_range_and_are_named(iris):
    asked = {"learning_rate": 0.5, "sparsity": 0.5, "order": 2, "lanczos_steps": 4, "probes": 2, "samples": 40}
    some = analysis_report(made(iris, hidden=(4,)), iris, 0, **asked, truncation_samples=12)
    lengths = some["truncation"]["lengths"]
    assert len(lengths) == 3 and some["truncation"]["length_range"] == [min(lengths), max(lengths)]
    assert some["block_length"] == sorted(lengths)[1] and f"on 12 of {len(iris.x_train)} samples" in some["verdict"]
    assert some["truncation"]["bound"] is None  # norms on other samples bound nothing of this map
    batches = analysis_report(made(iris, hidden=(4,)), iris, 0, **asked, batch_size=16)
    assert "on all 16 samples of a batch" in batches["verdict"] and len(batches["truncation"]["lengths"]) == 3
    low, high = some["proxy"]["block_length_range"]
    assert low <= high and json.dumps(some, allow_nan=False)
    again = analysis_report(made(iris, hidden=(4,)), iris, 0, **asked, truncation_samples=12)
    assert again["truncation"] == some["truncation"]


def test_the_typical_run_is_the_median_one():
    slow, _ = toy(0.2)
    runs = [measure(Dynamics(slow.driven(np.full(3, f))), 2, 40, 0.01) for f in (0.05, 0.5, 0.15)]
    assert sorted(r.within for r in runs)[1] == typical(runs).within == runs[2].within


def test_a_network_of_zeros_is_analysed_without_a_bound_over_its_norm():
    data = load("iris")
    net = networks.make("mlp", data.input_shape, data.classes, seed=0, hidden=(4,))
    net.set_parameters(np.zeros(net.n_parameters))
    report = analysis_report(net, data, 0, sparsity=0.0, lanczos_steps=8, probes=1, longest=5)
    assert report["bound"] is None and report["bound_block_length"] is None and report["block_length"] >= 1
