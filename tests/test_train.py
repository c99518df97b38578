"""The training loop: exact losses, reproducible runs, and runs that are cut anywhere and continue bit for bit."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases import values_for
from tolerances import assert_close

import quprop as qpr
from quprop import runs
from quprop.model.ansatz import data_reuploading, hardware_efficient
from quprop.outputs import StateOverlap
from quprop.runs.interrupt import Interrupt
from quprop.simulate.state_vector.reference import ReferenceEngine
from quprop.training.losses import LOSSES, CrossEntropy, Expectation, Fidelity, MeanSquare
from quprop.training.objective import Objective
from quprop.training.optimise import LBFGS, Optimiser, adam, sgd
from quprop.training.train import TrainingFailed, train


def energy_model(n=3, layers=2):
    hamiltonian = {f"Z{q} Z{q + 1}": -1.0 for q in range(n - 1)} | {f"X{q}": -0.7 for q in range(n)}
    return qpr.Model(hardware_efficient(n, layers), hamiltonian)


def classifier(classes=3):
    return qpr.Model(data_reuploading(2, 2, 3), ["Z0", "Z1", "Z0 Z1"][:classes])


def samples(count=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3))
    return x, (x @ [[1.0, -1, 0], [0, 1, -1], [1, 0, 1]]).argmax(axis=1)


# -- losses -----------------------------------------------------------------------------------------------------------

LOSS_CASES = {
    "expectation": (Expectation(), 2, None),
    "weighted": (Expectation((0.3, -2.0)), 2, None),
    "cross_entropy": (CrossEntropy(), 3, np.array([0, 2, 1, 1, 0])),
    "one logit": (CrossEntropy(), 1, np.array([0, 1, 1, 1, 0])),
    "mean_square": (MeanSquare(), 2, np.arange(10.0).reshape(5, 2) / 10),
    "mean_square of one": (MeanSquare(), 1, np.arange(5.0)),
    "fidelity": (Fidelity(np.ones(4)), 1, None),
}


@pytest.mark.parametrize("name", LOSS_CASES)
def test_cotangent_is_the_derivative_of_the_loss(name):
    loss, outputs, targets = LOSS_CASES[name]
    values = np.random.default_rng(0).normal(size=(5, outputs))
    _, cotangent = loss(values, targets)
    assert cotangent.shape == values.shape
    step = 1e-4
    for index in np.ndindex(values.shape):
        moved = [values.copy() for _ in range(2)]
        moved[0][index] += step
        moved[1][index] -= step
        slope = (loss(moved[0], targets)[0] - loss(moved[1], targets)[0]) / (2 * step)
        assert slope == pytest.approx(cotangent[index], abs=1e-7)


def test_one_logit_is_two_with_a_zero():
    logits, labels = np.random.default_rng(1).normal(size=(6, 1)), np.array([0, 1, 1, 0, 1, 0])
    one, two = CrossEntropy()(logits, labels), CrossEntropy()(np.hstack([0 * logits, logits]), labels)
    assert one[0] == pytest.approx(two[0], rel=1e-14)
    assert_close(one[1], two[1][:, 1:], 10)


def test_cross_entropy_of_large_logits_is_finite():
    loss, cotangent = CrossEntropy()(np.array([[1e4, -1e4]]), np.array([1]))
    assert loss == pytest.approx(2e4) and np.isfinite(cotangent).all()


@pytest.mark.parametrize("seed", range(3))
def test_fidelity_gradient_is_that_of_the_projector(seed):
    """|<t|psi>|^2 against the same projector written out as a Pauli sum on the reference engine."""
    rng = np.random.default_rng(seed)
    n = 3
    circuit = hardware_efficient(n, 2).cx(0, 2).s(1).h(0)  # a residual Clifford that is not trivial
    target = rng.normal(size=2**n) + 1j * rng.normal(size=2**n)
    target /= np.linalg.norm(target)
    strings = [qpr.PauliString(x, z) for x in range(2**n) for z in range(2**n)]
    projector = {p: float((target.conj() @ p.matrix(n) @ target).real) / 2**n for p in strings}
    model = qpr.Model(circuit, qpr.PauliSum(projector))
    theta, _ = values_for(model, seed=seed)
    value, pullback = qpr.output_vjp(model, StateOverlap(target), theta)
    expected, pull = ReferenceEngine().vjp(model, theta[None], np.zeros((1, 0)))
    assert_close(value, expected[0, 0], 500)
    assert_close(pullback(1.7)[0], pull(np.array([[1.7]]))[0][0], 500)


def test_fidelity_gradient_reaches_encoded_inputs():
    pixels = qpr.inputs("x", 4)
    circuit = qpr.Circuit(2, state=pixels).append(hardware_efficient(2, 1)).h(1)
    model = qpr.Model(circuit, "Z0")
    theta, x = values_for(model, batch=2, seed=4)
    target = np.array([0.5, 0.5j, -0.5, 0.5])
    _, pullback = qpr.output_vjp(model, StateOverlap(target), theta[0], x)
    d_x = pullback(np.ones(2))[1]
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-5
        up, down = (qpr.output_vjp(model, StateOverlap(target), theta[0], x + s)[0].sum() for s in (step, -step))
        assert (up - down) / 2e-5 == pytest.approx(d_x[index], abs=1e-8)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", ["cross_entropy", "mean_square", "expectation"])
def test_gradient_of_a_training_loss_is_exact(name, head):
    model, (x, y) = classifier(), samples(5)
    targets = {"cross_entropy": y, "mean_square": np.eye(3)[y], "expectation": None}[name]
    objective = Objective(model, LOSSES[name](), head=head, engine=None, precision="double", threads=None)
    params = objective.initial(None, np.random.default_rng(3))
    if head:
        params |= {"scale": np.array([1.5, -0.5, 2.0]), "bias": np.array([0.1, 0.2, -0.3])}
    loss, gradients, outputs = objective.loss_and_grad(params, x, targets)
    assert loss == pytest.approx(objective.evaluate(params, x, targets)[0], rel=1e-12)
    assert outputs.shape == (5, 3)
    for key, value in params.items():
        for i in range(value.size):
            moved = []
            for sign in (1, -1):
                other = {k: v.copy() for k, v in params.items()}
                other[key][i] += sign * 1e-5
                moved.append(objective.evaluate(other, x, targets)[0])
            assert (moved[0] - moved[1]) / 2e-5 == pytest.approx(gradients[key][i], abs=1e-8)


# -- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", [adam(0.1), sgd(0.05, momentum=0.9), LBFGS()], ids=["adam", "momentum", "lbfgs"])
def test_energy_falls_to_the_ground_state(optimiser):
    model = energy_model()
    result = train(model, optimiser=optimiser, params=np.full(model.n_params, 0.1), steps=250)
    exact = np.linalg.eigvalsh(model.original_observables[0].matrix(3))[0]
    assert exact - 1e-9 <= result.loss <= exact + 0.05
    assert result.gradients >= len(result.history) > 0


def test_fidelity_prepares_a_state():
    model = qpr.Model(hardware_efficient(2, 3), "Z0")
    target = np.array([1, 1j, -1, 2]) / np.sqrt(7)
    result = train(model, Fidelity(target), optimiser=LBFGS(), steps=200, rng=0)
    assert result.metrics["train_fidelity"] > 1 - 1e-7


def test_classifier_with_a_head_learns_and_reports_its_test_accuracy():
    model = classifier()
    result = train(
        model,
        "cross_entropy",
        data=samples(60),
        test=samples(30, seed=1),
        head=True,
        params=np.full(model.n_params, 0.1),
        optimiser=adam(0.1),
        epochs=25,
        batch_size=16,
    )
    assert result.metrics["test_accuracy"] > 0.75
    assert len(result.history) == 25 and result.steps == 25 * 4
    assert result.gradients == 25 * 60


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:Explicitly requested dtype"
)  # optax itself, told of double parameters under JAX's default
def test_an_optax_transformation_works_as_it_is():
    optax = pytest.importorskip("optax")
    both = [
        train(classifier(), "cross_entropy", data=samples(), head=True, optimiser=o, epochs=5, batch_size=10, rng=2)
        for o in (optax.adam(0.05), adam(0.05))
    ]
    for key in both[0].params:  # optax in single precision, unless JAX is told otherwise
        np.testing.assert_allclose(both[0].params[key], both[1].params[key], atol=1e-4)
    chained = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1, momentum=0.9))
    assert train(energy_model(), optimiser=chained, steps=30, rng=0).loss < train(energy_model(), steps=0, rng=0).loss


def test_same_seed_same_run_other_seed_other_run():
    def run(rng):
        return train(classifier(), "cross_entropy", data=samples(), head=True, epochs=3, batch_size=7, rng=rng).theta

    assert np.array_equal(run(5), run(5)) and not np.array_equal(run(5), run(6))
    assert np.array_equal(run(5), run(np.random.default_rng(5)))


def test_no_steps_leaves_the_parameters_alone():
    model = energy_model()
    theta = np.linspace(0, 1, model.n_params)
    for optimiser in (adam(0.1), LBFGS()):
        assert np.array_equal(train(model, optimiser=optimiser, params=theta, steps=0).theta, theta)


def test_a_loss_that_is_no_number_stops_the_run():
    def break_it(gradients, state, params):
        return {key: np.full_like(value, 1e308) * 1e10 for key, value in gradients.items()}, state

    with np.errstate(all="ignore"), pytest.raises((TrainingFailed, qpr.QupropError), match=r"finite|became"):
        train(energy_model(), optimiser=Optimiser(lambda p: (), break_it), steps=5)


BAD_CALLS = {
    "loss": (lambda: train(energy_model(), "cross_entropi", steps=1), "did you mean 'cross_entropy'"),
    "no target state": (lambda: train(energy_model(), "fidelity", steps=1), "target state"),
    "no length": (lambda: train(energy_model()), "one of `epochs` and `steps`"),
    "two lengths": (lambda: train(energy_model(), epochs=1, steps=1), "one of `epochs` and `steps`"),
    "negative": (lambda: train(energy_model(), steps=-1), "negative"),
    "theta shape": (
        lambda: train(energy_model(), params=np.zeros(3), steps=1),
        r"`theta` must have shape \(12,\), got \(3,\)",
    ),
    "theta NaN": (lambda: train(energy_model(), params=np.full(12, np.nan), steps=1), "finite"),
    "head params": (lambda: train(energy_model(), params={"scale": np.ones(1)}, steps=1), "head=True"),
    "inputs missing": (lambda: train(classifier(), "cross_entropy", epochs=1), "reads 3 inputs"),
    "inputs shape": (
        lambda: train(classifier(), "cross_entropy", data=(np.zeros((4, 2)), np.zeros(4, int)), epochs=1),
        r"got \(4, 2\)",
    ),
    "inputs NaN": (
        lambda: train(classifier(), "cross_entropy", data=(np.full((4, 3), np.inf), np.zeros(4, int)), epochs=1),
        "finite",
    ),
    "labels": (
        lambda: train(classifier(), "cross_entropy", data=(np.zeros((4, 3)), np.full(4, 3)), epochs=1),
        r"0\.\.2",
    ),
    "label kind": (
        lambda: train(classifier(), "cross_entropy", data=(np.zeros((4, 3)), np.zeros(4)), epochs=1),
        "integer labels",
    ),
    "label count": (
        lambda: train(classifier(), "cross_entropy", data=(np.zeros((4, 3)), np.zeros(3, int)), epochs=1),
        "one target an input",
    ),
    "targets": (
        lambda: train(classifier(), "mean_square", data=(np.zeros((4, 3)), np.zeros(4)), epochs=1),
        r"\(samples, 3\)",
    ),
    "batch": (lambda: train(classifier(), "cross_entropy", data=samples(), epochs=1, batch_size=0), "batch_size"),
    "lbfgs batch": (
        lambda: train(classifier(), "cross_entropy", data=samples(), epochs=1, batch_size=5, optimiser=LBFGS()),
        "full batch",
    ),
    "optimiser": (lambda: train(energy_model(), optimiser="adam", steps=1), "init, update"),
    "resume": (lambda: train(energy_model(), steps=1, resume=True), "out="),
    "target shape": (lambda: train(energy_model(), Fidelity(np.ones(3)), steps=1), r"\(8,\), got \(3,\)"),
    "target zero": (lambda: Fidelity(np.zeros(8)), "not all zero"),
    "fidelity head": (lambda: train(energy_model(), Fidelity(np.ones(8)), head=True, steps=1), "no head"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_one_sentence(name):
    call, words = BAD_CALLS[name]
    with pytest.raises(qpr.QupropError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


# -- runs that are cut and resumed ------------------------------------------------------------------------------------

KINDS = {
    "minibatch": lambda **kw: train(
        classifier(),
        "cross_entropy",
        data=samples(20),
        test=samples(8, 1),
        head=True,
        optimiser=adam(0.05),
        epochs=4,
        batch_size=6,
        rng=3,
        **kw,
    ),
    "full batch": lambda **kw: train(energy_model(), optimiser=sgd(0.05, momentum=0.9), steps=12, rng=3, **kw),
    "lbfgs": lambda **kw: train(energy_model(), optimiser=LBFGS(), steps=12, rng=3, **kw),
}


class Crash(Exception):
    pass


def crash_after(monkeypatch, evaluations):
    real, left = Objective.loss_and_grad, [evaluations]

    def wrapped(self, *arguments, **options):
        if not left[0]:
            raise Crash
        left[0] -= 1
        return real(self, *arguments, **options)

    monkeypatch.setattr(Objective, "loss_and_grad", wrapped)


def comparable(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["checkpoint each step", "checkpoint at the start only"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_cut_anywhere_resumes_to_the_same_bits(kind, seconds, tmp_path, monkeypatch):
    run = KINDS[kind]
    whole = run(out=tmp_path / "whole")
    for cut in (1, 5, 6, 9):
        folder = tmp_path / f"cut{cut}"
        with monkeypatch.context() as patch:
            crash_after(patch, cut)
            with pytest.raises(Crash):
                run(out=folder, checkpoint_seconds=seconds)
        with monkeypatch.context() as patch:  # and once more, after two further steps
            crash_after(patch, 2)
            with pytest.raises(Crash):
                run(out=folder, resume=True, checkpoint_seconds=seconds)
        again = run(out=folder, resume=True)
        for key, value in whole.params.items():
            assert np.array_equal(again.params[key], value), (key, cut)
        assert comparable(folder) == comparable(tmp_path / "whole")
        assert [line["step"] for line in again.history] == [line["step"] for line in whole.history]
        if seconds == 0.0:  # what was computed before the cut is not computed again
            assert again.gradients == whole.gradients


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    for kind, run in KINDS.items():
        first = run(out=tmp_path / kind)
        before = (tmp_path / kind / "metrics.jsonl").read_bytes()
        again = run(out=tmp_path / kind, resume=True)
        assert again.steps == first.steps and again.loss == first.loss
        assert (tmp_path / kind / "metrics.jsonl").read_bytes() == before


def test_optax_states_resume(tmp_path, monkeypatch):
    optax = pytest.importorskip("optax")

    def run(**kw):
        return train(
            classifier(),
            "cross_entropy",
            data=samples(20),
            head=True,
            optimiser=optax.adam(0.05),
            epochs=3,
            batch_size=6,
            **kw,
        )

    whole = run()
    with monkeypatch.context() as patch:
        crash_after(patch, 7)
        with pytest.raises(Crash):
            run(out=tmp_path / "a", checkpoint_seconds=0.0)
    assert np.array_equal(run(out=tmp_path / "a", resume=True).theta, whole.theta)


SCRIPT = """
import sys
sys.path[:0] = {path!r}
{prelude}
from test_train import KINDS
import quprop.training.objective as objective, time
real = objective.Objective.loss_and_grad
def slow(self, *a, **k):
    time.sleep(0.02)
    return real(self, *a, **k)
objective.Objective.loss_and_grad = slow
result = KINDS[{kind!r}](out={out!r}, resume={resume!r}, checkpoint_seconds=0.0)
sys.exit(1 if result.status == "interrupted" else 0)
"""


def start(kind, out, resume=False):
    prelude = "import qshim" if "qshim" in sys.modules else ""
    code = SCRIPT.format(path=[p for p in sys.path if p], prelude=prelude, kind=kind, out=str(out), resume=resume)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def wait_for_lines(folder, process, count):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        file = folder / "metrics.jsonl"
        if file.exists() and file.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.002)
    raise AssertionError(f"the run ended or hung: {process.communicate()[1]}")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("kind", ["minibatch", "lbfgs"])
def test_a_killed_process_resumes_to_the_same_bits(kind, tmp_path):
    whole = KINDS[kind](out=tmp_path / "whole")
    process = start(kind, tmp_path / "killed")
    wait_for_lines(tmp_path / "killed", process, 2)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    again = KINDS[kind](out=tmp_path / "killed", resume=True)
    for key, value in whole.params.items():
        assert np.array_equal(again.params[key], value)
    assert comparable(tmp_path / "killed") == comparable(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_control_c_and_sigterm_finish_the_step_and_write_the_checkpoint(tmp_path, number):
    process = start("minibatch", tmp_path / "run")
    wait_for_lines(tmp_path / "run", process, 1)
    process.send_signal(number)
    assert process.wait(timeout=30) == 1, process.stderr.read()
    process.stderr.close()
    again = KINDS["minibatch"](out=tmp_path / "run", resume=True)
    assert np.array_equal(again.theta, KINDS["minibatch"]().theta)


@pytest.mark.parametrize("at_once", [False, True])
def test_what_is_ignored_stays_ignored(at_once):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt(at_once) as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
            assert not interrupt.hit and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_control_c_gives_the_handler_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(energy_model(), steps=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# -- what is on the disk ----------------------------------------------------------------------------------------------


def snapshot(folder):
    return {p.name: p.read_bytes() for p in Path(folder).iterdir()}


def test_an_existing_run_is_refused_and_untouched(tmp_path):
    run = KINDS["full batch"]
    run(out=tmp_path / "a")
    before = snapshot(tmp_path / "a")
    with pytest.raises(qpr.QupropError, match="already holds a run: continue it with --resume"):
        run(out=tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("years of work")
    with pytest.raises(qpr.QupropError, match="not empty"):
        run(out=tmp_path / "b")
    with pytest.raises(qpr.QupropError, match="not a folder"):
        run(out=tmp_path / "b" / "thesis.tex")
    with pytest.raises(qpr.QupropError, match=r"no run.toml"):
        run(out=tmp_path / "nowhere", resume=True)
    assert snapshot(tmp_path / "a") == before and (tmp_path / "b" / "thesis.tex").read_text() == "years of work"
    assert not (tmp_path / "nowhere").exists()


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path.read_bytes()


BROKEN = {
    "empty": lambda good, tmp: b"",
    "cut": lambda good, tmp: good[: len(good) // 2],
    "text": lambda good, tmp: b"hello\n",
    "foreign": lambda good, tmp: npz(tmp / "x.npz", weights=np.ones(3)),
    "pickled": lambda good, tmp: npz(tmp / "x.npz", meta=np.array([{"format": runs.FORMAT}], dtype=object)),
    "other format": lambda good, tmp: npz(tmp / "x.npz", meta=np.frombuffer(b'{"format": "other"}', np.uint8)),
    "not a table": lambda good, tmp: npz(tmp / "x.npz", meta=np.frombuffer(b"3", np.uint8)),
    "newer": lambda good, tmp: npz(
        tmp / "x.npz", meta=np.frombuffer(json.dumps({"format": runs.FORMAT, "version": 99}).encode(), np.uint8)
    ),
    "flipped byte": lambda good, tmp: good[:200] + bytes([good[200] ^ 255]) + good[201:],
}


@pytest.mark.parametrize("kind", ["minibatch", "lbfgs"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_or_foreign_checkpoint_is_one_sentence(name, kind, tmp_path):
    KINDS[kind](out=tmp_path / "a")
    file = tmp_path / "a" / "checkpoint.npz"
    file.write_bytes(BROKEN[name](file.read_bytes(), tmp_path))
    before = snapshot(tmp_path / "a")
    with pytest.raises(qpr.QupropError, match="checkpoint") as caught:
        KINDS[kind](out=tmp_path / "a", resume=True)
    assert "\n" not in str(caught.value)
    assert snapshot(tmp_path / "a") == before


def test_a_checkpoint_of_another_run_or_optimiser_is_refused(tmp_path):
    for kind in KINDS:
        KINDS[kind](out=tmp_path / kind)
    stolen = (tmp_path / "lbfgs" / "checkpoint.npz").read_bytes()
    (tmp_path / "full batch" / "checkpoint.npz").write_bytes(stolen)
    with pytest.raises(qpr.QupropError, match="belongs to another run"):
        KINDS["full batch"](out=tmp_path / "full batch", resume=True)
    with pytest.raises(qpr.QupropError, match="optimiser"):
        train(energy_model(), optimiser=sgd(0.05, momentum=0.9), steps=12, rng=3, out=tmp_path / "lbfgs", resume=True)
    with pytest.raises(qpr.QupropError, match="sha256"):
        train(energy_model(layers=1), optimiser=LBFGS(), steps=12, rng=3, out=tmp_path / "lbfgs", resume=True)
    with pytest.raises(qpr.QupropError, match="total_steps = 12, got 13"):
        train(energy_model(), optimiser=LBFGS(), steps=13, rng=3, out=tmp_path / "lbfgs", resume=True)


def test_metrics_that_were_cut_are_noticed(tmp_path):
    KINDS["minibatch"](out=tmp_path / "a")
    (tmp_path / "a" / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(qpr.QupropError, match=r"metrics.jsonl has 0 bytes"):
        KINDS["minibatch"](out=tmp_path / "a", resume=True)


def test_a_run_in_use_is_refused(tmp_path):
    folder = runs.RunFolder.create(tmp_path / "a", {"train": {}})
    folder.start_metrics(0)
    with pytest.raises(qpr.QupropError, match="another process is training"):
        runs.RunFolder.open(tmp_path / "a").start_metrics(0)
    folder.close()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "file"
    runs.write_atomically(target, b"old")
    for broken in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, broken, lambda *_: (_ for _ in ()).throw(OSError("disk gone")))
            with pytest.raises(OSError, match="disk gone"):
                runs.write_atomically(target, b"new")
        assert target.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_run_folder_says_what_it_is(tmp_path):
    KINDS["minibatch"](out=tmp_path / "a")
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"run.toml", "model.json", "metrics.jsonl", "checkpoint.npz"}
    text = (tmp_path / "a" / "run.toml").read_text()
    for word in ("CrossEntropy", "seed = 3", "[versions]", "numpy", "batch_size = 6"):
        assert word in text
    assert qpr.Model.load(tmp_path / "a" / "model.json") == classifier()
    assert re.fullmatch(r"[0-9a-f]{16}", runs.RunFolder.open(tmp_path / "a").fingerprint)


@pytest.mark.slow
def test_memory_stays_flat_over_ten_thousand_steps(tmp_path):
    resource = pytest.importorskip("resource")
    peaks = []
    inner = adam(1e-4)

    def update(gradients, state, params):
        if int(state.step) in (1000, 9999):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return inner.update(gradients, state, params)

    train(
        energy_model(),
        optimiser=Optimiser(inner.init, update),
        steps=10_000,
        out=tmp_path / "a",
        checkpoint_seconds=0.5,
    )
    assert len(peaks) == 2
    assert peaks[1] - peaks[0] < 12_000, "KiB; the history of 9,000 lines is about 4 MB of it"
