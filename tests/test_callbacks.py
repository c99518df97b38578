"""What training calls back, early stopping, loggers, and runs that diverge."""

import json
import math
import sys
import time
import types

import numpy as np
import pytest
from test_train import classifier, energy_model, samples

import quprop as qpr
from quprop.errors import QupropError
from quprop.training.callbacks import EarlyStopping, TrainingStep
from quprop.training.loggers import LOGGERS, MLflow, TensorBoard, WandB, logger
from quprop.training.losses import CrossEntropy
from quprop.training.objective import Objective
from quprop.training.train import TrainingFailed, train

OPTIMISERS = {"adam": lambda: qpr.adam(0.1), "lbfgs": qpr.LBFGS}


def energy(**kw):
    return train(energy_model(), **{"optimiser": qpr.adam(0.1), "steps": 30, "rng": 1, **kw})


def learn(**kw):
    options = {"data": samples(), "test": samples(20, 1), "head": True, "epochs": 4, "batch_size": 10, "rng": 2}
    return train(classifier(), "cross_entropy", **{"optimiser": qpr.adam(0.05), **options, **kw})


# -- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_step_is_told_with_the_loss_of_the_history(name):
    told = []
    found = energy(optimiser=OPTIMISERS[name](), callback=told.append)
    assert [s.step for s in told] == list(range(1, found.steps + 1)) and {s.total for s in told} == {30}
    assert [s.loss for s in told] == [line["loss"] for line in found.history] and all(s.ends_epoch for s in told)
    seconds = [s.seconds for s in told]
    assert seconds == sorted(seconds) and seconds[0] >= 0


def test_a_step_is_told_its_loss_its_epoch_and_at_the_end_of_an_epoch_the_metrics():
    told, params = [], []
    found = learn(callback=[told.append, lambda s: params.append({k: v.copy() for k, v in s.params.items()})])
    assert [s.step for s in told] == list(range(1, 13)) and [s.epoch for s in told] == [1] * 3 + [2] * 3 + [3] * 3 + [
        4
    ] * 3
    ends = [s for s in told if s.ends_epoch]
    assert [s.step for s in ends] == [3, 6, 9, 12] and all(s.metrics == {} for s in told if not s.ends_epoch)
    for step, line in zip(ends, found.history, strict=True):
        assert step.loss == line["loss"]
        assert step.metrics == {k: line[k] for k in ("train_accuracy", "test_loss", "test_accuracy")}
    for key, value in found.params.items():
        assert np.array_equal(params[-1][key], value) and not np.array_equal(params[0][key], value)
    # the loss of a full batch is that of the parameters before the step
    told.clear()
    whole = learn(batch_size=None, callback=told.append)
    before = Objective(classifier(), CrossEntropy(), head=True, engine=None, precision="double", threads=None)
    assert told[-1].loss == pytest.approx(before.evaluate(_before_last(whole), *samples())[0], abs=1e-12)


def _before_last(whole):
    kept = []
    learn(batch_size=None, callback=lambda s: kept.append({k: v.copy() for k, v in s.params.items()}))
    assert np.array_equal(kept[-1]["theta"], whole.theta)
    return kept[-2]


def test_a_callback_changes_no_bit_of_the_training():
    plain, watched = learn(), learn(callback=lambda step: step.loss)
    assert all(np.array_equal(plain.params[k], watched.params[k]) for k in plain.params)
    with pytest.raises(ValueError, match="read-only"):
        learn(callback=lambda step: step.params["theta"].fill(0))


# -- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMISERS)
def test_true_stops_a_training_and_resuming_it_ends_as_if_it_had_not_stopped(name, tmp_path):
    whole = energy(optimiser=OPTIMISERS[name](), out=tmp_path / "whole")
    assert whole.steps > 7
    options = {"optimiser": OPTIMISERS[name](), "out": tmp_path / "cut"}
    stopped = energy(callback=lambda s: s.step == 7, **options)
    assert stopped.status == "stopped" and stopped.steps == 7 and len(stopped.history) == 7
    told = []
    again = energy(callback=told.append, resume=True, **options)
    assert again.status == whole.status and np.array_equal(again.theta, whole.theta)
    assert told[0].step == 8 and [line["loss"] for line in again.history] == [line["loss"] for line in whole.history]
    assert [line["loss"] for line in told[0].history[:7]] == [line["loss"] for line in stopped.history]


def test_only_true_stops():
    answers = [None, False, 0, 1, "yes", 2.5, np.False_, [True]]
    for answer in answers:
        assert energy(steps=2, callback=lambda s, a=answer: a).status == "finished"
    assert energy(steps=2, callback=lambda s: np.True_).status == "stopped"
    assert energy(steps=2, callback=lambda s: s.step == 2).status == "finished"  # there was nothing left to stop


@pytest.mark.parametrize("call", [3, "tensorboard", [print, None]])
def test_what_cannot_be_called_is_refused(call):
    with pytest.raises(QupropError, match=r"`callback` is a function"):
        energy(callback=call)


def test_early_stopping_stops_patience_epochs_after_the_last_change_that_counts():
    found = energy(steps=400, callback=EarlyStopping(patience=5, min_change=1e-3))
    losses = [line["loss"] for line in found.history]
    best, last = math.inf, 0
    for k, loss in enumerate(losses, 1):
        best, last = (loss, k) if loss < best - 1e-3 else (best, last)
        assert k - last <= 5
    assert found.status == "stopped" and len(losses) - last == 5 < 400


STOPS = {  # losses, (patience, min_change), the epoch that ends it
    "no change": ([1.0] * 9, (3, 0.0), 4),
    "too little": ([1.0, 0.9995, 0.9994, 0.9993, 0.9], (3, 1e-3), 4),
    "little by little": ([1.0, 0.9996, 0.9992, 0.9988, 0.9984, 0.9980, 0.9975], (3, 1e-3), None),
    "a gain in time": ([1.0, 1.1, 1.2, 0.5, 0.6, 0.7, 0.8], (3, 0.0), 7),
    "always better": ([1.0, 0.9, 0.8, 0.7, 0.6], (1, 0.05), None),
}


@pytest.mark.parametrize("name", STOPS)
def test_early_stopping_counts_changes_from_the_best_so_far(name):
    losses, (patience, least), end = STOPS[name]
    stop = EarlyStopping(patience, least)
    history = [{"step": k, "epoch": k, "loss": loss} for k, loss in enumerate(losses, 1)]
    told = [TrainingStep(k, 9, k, True, losses[k - 1], {}, {}, 0.0, history[:k]) for k in range(1, len(losses) + 1)]
    assert next((step.step for step in told if stop(step)), None) == end


def test_early_stopping_of_a_resumed_run_stops_where_the_whole_one_does(tmp_path):
    whole = energy(steps=400, callback=EarlyStopping(patience=5, min_change=1e-3))
    options = {"steps": 400, "out": tmp_path / "run"}
    energy(callback=lambda s: s.step == whole.steps - 2, **options)
    again = energy(callback=EarlyStopping(patience=5, min_change=1e-3), resume=True, **options)
    assert (again.steps, again.status) == (whole.steps, "stopped") and np.array_equal(again.theta, whole.theta)


def test_early_stopping_takes_the_largest_accuracy_and_can_be_used_again():
    stop = EarlyStopping(patience=3, monitor="test_accuracy")
    for _ in range(2):
        found = learn(epochs=60, callback=stop)
        values = [line["test_accuracy"] for line in found.history]
        assert found.status == "stopped" and len(values) - 3 == 1 + int(np.argmax(values))
    with pytest.raises(QupropError, match=r"'valid_loss'.*test_accuracy"):
        learn(callback=EarlyStopping(monitor="valid_loss"))
    with pytest.raises(QupropError, match="patience"):
        EarlyStopping(patience=0)
    with pytest.raises(QupropError, match="min_change"):
        EarlyStopping(min_change=math.nan)


# -- loggers ----------------------------------------------------------------------------------------------------------


def stand_in(monkeypatch, name):
    """A module with the calls that the adapter makes of the library; what it was given."""
    log = []
    module = types.ModuleType(name)
    if name == "tensorboard.summary":

        class Writer:
            def __init__(self, folder):
                log.append(("open", folder))

            def add_scalar(self, tag, data, step):
                log.append((step, {tag: data}))

            def flush(self):
                log.append(("close",))

        module.Writer = Writer
        monkeypatch.setitem(sys.modules, "tensorboard", types.ModuleType("tensorboard"))
    elif name == "mlflow":
        module.active_run = lambda: None
        module.set_tracking_uri = module.set_experiment = lambda where: log.append(("open", where))
        module.start_run = lambda: None
        module.log_metrics = lambda values, step: log.append((step, dict(values)))
        module.end_run = lambda: log.append(("close",))
    else:
        module.init = lambda **options: (log.append(("open", options["project"])), module)[1]
        module.log = lambda values, step: log.append((step, dict(values)))
        module.finish = lambda: log.append(("close",))
    monkeypatch.setitem(sys.modules, name, module)
    return log


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "tensorboard.summary"), ("mlflow", "mlflow"), ("wandb", "wandb")]
)
def test_a_logger_is_given_every_epoch_of_the_history_and_is_closed(name, module, monkeypatch):
    log = stand_in(monkeypatch, module)
    found = learn(callback=logger(f"{name}:here"))
    assert log[0] == ("open", "here") and log[-1] == ("close",)
    seen = {}
    for step, values in log[1:-1]:
        seen.setdefault(step, {}).update(values)
    assert seen == {
        line["step"]: {k: v for k, v in line.items() if k not in ("step", "seconds")} for line in found.history
    }
    log.clear()
    with pytest.raises(ZeroDivisionError):
        learn(callback=[LOGGERS[name]("here"), lambda step: 1 / 0])
    assert log[-1] == ("close",)


def test_a_logger_takes_steps_inside_an_epoch_if_asked(monkeypatch):
    log = stand_in(monkeypatch, "wandb")
    learn(callback=WandB("here", every=2))
    assert [step for step, *_ in log[1:-1]] == [2, 3, 4, 6, 8, 9, 10, 12] and log[1][1].keys() == {"loss"}


def test_the_command_line_logs_and_refuses_an_unknown_logger_before_any_work(monkeypatch, tmp_path):
    from typer.testing import CliRunner

    from quprop.cli.app import app

    log = stand_in(monkeypatch, "wandb")
    args = ["train", "tfim", "--set", "n=3,optimiser=adam,steps=4", "--quiet", "--out", str(tmp_path / "run")]
    refused = CliRunner().invoke(app, [*args, "--log", "tensorbord:x"])
    assert refused.exit_code == 2 and not (tmp_path / "run").exists()
    assert CliRunner().invoke(app, [*args, "--log", "wandb:here"]).exit_code == 0
    assert log[0] == ("open", "here") and [step for step, *_ in log[1:-1]] == [1, 2, 3, 4] and log[-1] == ("close",)


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_one_sentence(name, monkeypatch):
    for module in ("tensorboard.summary", "tensorboard", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(QupropError, match=f"needs the package {name}, which is not installed: pip install {name}"):
        logger(f"{name}:here")


@pytest.mark.parametrize("text", ["tensorbord:x", "wandb", "mlflow:"])
def test_a_logger_that_is_unknown_or_has_no_place_is_refused(text):
    with pytest.raises(QupropError, match=r"did you mean 'tensorboard'|where it writes"):
        logger(text)


def test_tensorboard_reads_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard.summary")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = learn(callback=TensorBoard(tmp_path))
    read = EventAccumulator(str(tmp_path)).Reload()
    for name in ("loss", "test_accuracy"):
        values = [(e.step, float(e.tensor_proto.float_val[0])) for e in read.Tensors(name)]
        assert values == [(line["step"], float(np.float32(line[name]))) for line in found.history]


def test_mlflow_reads_what_was_logged(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its data bases take more packages
    found = learn(callback=MLflow("here", uri=(tmp_path / "log").as_uri()))
    (run,) = mlflow.search_runs(experiment_names=["here"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "test_loss")
    assert [(m.step, m.value) for m in history] == [(line["step"], line["test_loss"]) for line in found.history]


def test_wandb_writes_a_run_offline(tmp_path):
    pytest.importorskip("wandb")
    found = learn(callback=WandB("here", mode="offline", dir=str(tmp_path)))
    (kept,) = tmp_path.rglob("*.wandb")
    deadline = time.monotonic() + 20
    while kept.stat().st_size < 1000 and time.monotonic() < deadline:  # a process of its own writes it
        time.sleep(0.1)
    assert repr(found.history[-1]["test_loss"]).encode() in kept.read_bytes()


# -- diverging --------------------------------------------------------------------------------------------------------


def squares(rate, **kw):
    x, labels = samples()
    model = qpr.Model(qpr.ansatz.data_reuploading(2, 2, 3), "Z0")
    options = {"data": (x, labels - 1.0), "head": True, "steps": 120, "rng": 0, "checkpoint_seconds": 0.0}
    return train(model, "mean_square", optimiser=qpr.sgd(rate), **{**options, **kw})


def test_a_diverging_run_says_when_and_keeps_a_checkpoint_with_a_loss_in_order(tmp_path):
    with pytest.raises(
        TrainingFailed, match=r"diverged: at step \d+ the loss became .*; the last .*lower the learn"
    ) as e:
        squares(30.0, out=tmp_path / "run")
    assert str(tmp_path / "run") in str(e.value)
    _, meta = qpr.runs.RunFolder.open(tmp_path / "run").read_checkpoint()
    step = int(str(e.value).split("at step ")[1].split(" ")[0])
    assert meta["step"] == step - 2  # of which the loss was looked at in step - 1, and was in order
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["loss"]) for line in lines)
    again = squares(0.01, out=tmp_path / "run", resume=True)
    assert again.status == "finished" and again.history[-1]["loss"] < again.history[-20]["loss"]


def test_a_large_loss_that_outputs_can_give_is_no_divergence():
    """Coefficients of millions, targets far away: from a loss near zero it may grow as far as outputs go."""
    model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0], 0), {"Z0": 1e6})
    found = train(model, params=np.array([np.pi / 2]), optimiser=qpr.sgd(1e-7), steps=100)
    assert found.status == "finished" and found.loss == pytest.approx(-1e6)
    x, labels = samples()
    wide = qpr.Model(qpr.ansatz.data_reuploading(2, 2, 3), "Z0")
    train(wide, "mean_square", data=(x, labels * 1e5), optimiser=qpr.adam(0.1), steps=3)


@pytest.mark.parametrize("seed", range(5))
def test_no_loss_exceeds_the_reach_of_the_outputs(seed):
    rng = np.random.default_rng(seed)
    x, labels = samples(seed=seed)
    model = qpr.Model(
        qpr.ansatz.data_reuploading(2, 2, 3), [{"Z0": rng.normal() * 10}, {"Z1": 3.0, "X0": rng.normal()}, "Y0"]
    )
    params = {
        "theta": rng.normal(size=model.n_params),
        "scale": 10 * rng.normal(size=3),
        "bias": 10 * rng.normal(size=3),
    }
    for loss, y in (
        ("cross_entropy", labels),
        ("mean_square", rng.normal(size=(len(x), 3)) * 20),
        ("expectation", None),
    ):
        made = qpr.losses.LOSSES[loss]()
        objective = Objective(model, made, head=True, engine=None, precision="double", threads=None)
        assert abs(objective.evaluate(params, x, y)[0]) <= objective.reach(params, y)


@pytest.mark.parametrize("rate", [1e9, 1e5, lambda step: 1e9, math.inf, math.nan, 0.0])
@pytest.mark.parametrize("make", [qpr.adam, qpr.sgd, lambda rate: qpr.natural_gradient(lambda t: np.eye(1), rate)])
def test_a_learning_rate_of_many_turns_is_refused_before_any_work(make, rate):
    with pytest.raises(QupropError, match="learning_rate"):
        make(rate)


def test_parameters_beyond_every_angle_end_the_run():
    with pytest.raises(TrainingFailed, match="too large for an angle"):
        energy(optimiser=qpr.sgd(lambda step: 1.0 if step < 3 else 1e12))


@pytest.mark.parametrize(
    "call",
    [
        lambda: qpr.ansatz.hardware_efficient(4, 1_000_000),
        lambda: qpr.ansatz.strongly_entangling(10, 10**400),
        lambda: qpr.ansatz.data_reuploading(4, 10**7, 4),
        lambda: qpr.ansatz.qaoa(3, [(0, 1)], 10**9),
        lambda: qpr.ansatz.tfim_variational(8, 10**7),
        lambda: qpr.ansatz.uccsd(4, 2, 10**7),
        lambda: qpr.ansatz.random_pauli_rotations(3, 10**8, 0),
        lambda: qpr.ansatz.commuting_blocks(8, 10**8),
    ],
)
def test_a_circuit_that_nobody_waits_for_is_refused_with_its_memory_and_time(call):
    with pytest.raises(QupropError, match=r"GiB and .* minutes .* at most"):
        call()
