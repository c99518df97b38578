"""Training followed by spectra: its steps are torch's, uploads prune and start at rest, a kill leaves no trace."""

import json

import numpy as np
import pytest
from faults import calls_of, killed_at

from quprop.errors import QupropError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from quprop.carleman.networks import data as datasets  # noqa: E402
from quprop.carleman.networks import networks  # noqa: E402
from quprop.carleman.networks.data import batches  # noqa: E402
from quprop.carleman.networks.prune import global_mask  # noqa: E402
from quprop.carleman.spectra.along import Course, Moment, follow  # noqa: E402
from quprop.carleman.spectra.proxy import Descent  # noqa: E402
from quprop.carleman.spectra.spectrum import Spectrum, exact_spectrum  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # curvlinops imports it

SHORT = {
    "measure": [0, 3, 7],
    "batch_size": 16,
    "warm_up": 4,
    "prune_ratio": 0.8,
    "upload_every": 4,
    "dense_steps": 2,
    "hessian_samples": 8,
    "lanczos_steps": 4,
    "deflate": False,
}


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits").first(train=64, test=32)


def made(digits):
    return networks.make("mlp", digits.input_shape, digits.classes, seed=0, hidden=(6,), weight_decay=0.01)


def test_steps_are_those_of_torch_and_a_block_starts_pruned_and_at_rest(digits):
    ours = made(digits)
    course = follow(ours, digits, Descent(0.3, 0.9), 5, **SHORT)
    other, rng = made(digits), np.random.default_rng(5)
    source = batches(*digits.train(), 16, rng)
    rng.integers(2**32)  # the probes' seed
    losses = []

    def fresh():
        return torch.optim.SGD(other.module.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)

    def steps(optimiser, count):
        for _ in range(count):
            x, y = next(source)
            optimiser.zero_grad()
            loss = other.loss(other.module(x), y)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))

    optimiser = fresh()
    steps(optimiser, 4)
    for count, dense in ((4, 2), (3, 0)):
        global_mask(other.module, 0.8).apply(other.module)
        optimiser = fresh()
        steps(optimiser, count + dense)
    assert course.uploads == (0, 4)
    assert np.allclose(ours.parameters(), other.parameters(), rtol=1e-12, atol=1e-13)
    assert np.allclose(course.losses, [*losses[4:8], *losses[10:]], rtol=1e-12)  # neither warm-up nor dense steps


def test_the_width_is_the_root_mean_square_eigenvalue():
    moment = Moment(0, 0.0, 0.0, 0.0, exact_spectrum(np.array([3.0, -4.0, 0.0, 0.0])))
    assert moment.width == pytest.approx(2.5)
    probed = Spectrum(10, np.array([2.0]), ((np.array([1.0, -1.0]), np.array([0.5, 0.4])),), 3, (0.1, 0.2))
    again = Moment.from_json(json.loads(json.dumps(Moment(3, 0.5, 0.25, 0.9, probed).to_json())))
    assert again.to_json() == Moment(3, 0.5, 0.25, 0.9, probed).to_json()
    assert again.width == pytest.approx(np.sqrt(0.1 * 4 + 0.9))


def test_a_dip_is_what_training_accuracy_loses_at_an_upload():
    hits = [0.9] * 20 + [0.4] * 5 + [0.6] * 5 + [0.95] * 10 + [0.2] * 3
    course = Course(Descent(0.1), (0, 20, 40), (), (), tuple(hits))
    (dip,) = course.dips()  # the last block is too short to have recovered
    assert dip == pytest.approx({"step": 20, "before": 0.9, "after": 0.4, "recovered": 0.95})


@pytest.mark.slow
def test_a_kill_at_any_call_leaves_no_trace_in_the_result(digits, tmp_path):
    def run(name, resume=False):
        network = made(digits)
        options = SHORT | {"out": tmp_path / name, "checkpoint_seconds": 0.0}
        found = follow(network, digits, Descent(0.3, 0.9), 5, resume=resume, **options)
        return found.to_json(), network.parameters()

    whole, theta = run("whole")
    plain, same = follow(network := made(digits), digits, Descent(0.3, 0.9), 5, **SHORT).to_json(), network.parameters()
    assert plain == whole and np.array_equal(same, theta)
    calls = calls_of(lambda: run("counted"))
    for k in range(1, calls + 1, max(1, calls // 25)):
        name = f"killed{k}"
        killed_at(k, lambda name=name: run(name))
        again, end = run(name, resume=(tmp_path / name / "run.toml").exists())
        assert again == whole and np.array_equal(end, theta), k


def test_a_run_goes_on_with_what_it_was_started_with(digits, tmp_path):
    follow(made(digits), digits, Descent(0.3, 0.9), 5, out=tmp_path / "run", **SHORT)
    with pytest.raises(QupropError, match=r"momentum = 0\.9, got 0\.5"):
        follow(made(digits), digits, Descent(0.3, 0.5), 5, out=tmp_path / "run", resume=True, **SHORT)
    with pytest.raises(QupropError, match="pass out"):
        follow(made(digits), digits, Descent(0.3), 5, resume=True, **SHORT)
    with pytest.raises(QupropError, match="ascend"):
        follow(made(digits), digits, Descent(0.3), 5, **(SHORT | {"measure": [3, 0]}))
