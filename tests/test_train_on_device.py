"""Training with shots of a device: every number from shots, one batch of jobs a step, nothing paid twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from faults import calls_of, killed_at

import quprop as qpr
from quprop.sampling.devices import Limits
from quprop.sampling.devices.measurement import Measurement
from quprop.sampling.devices.own import OwnDevice
from quprop.sampling.devices.packing import pack
from quprop.sampling.devices.runner import Runner
from quprop.sampling.readings import ObservableReadings
from quprop.sampling.sampler import Sampler
from quprop.training.measured import MeasuredModel
from quprop.training.train import train


def vqe():
    """Three groups of strings, one of them of two that commute: the lowest energy is -1.9, where Z0 = -Z1 = -1."""
    t = qpr.params("theta", 4)
    circuit = qpr.Circuit(2).ry(t[0], 0).ry(t[1], 1).cx(0, 1).rx(t[2], 1).ry(t[3], 0)
    return qpr.Model(circuit, qpr.PauliSum({"Z0": 1.0, "Z0 Z1": 0.6, "X0 X1": 0.5, "I": 0.2}))


def classifier(encoded=False):
    x, t = qpr.inputs("x", 4 if encoded else 2), qpr.params("theta", 3)
    circuit = qpr.Circuit(2, x) if encoded else qpr.Circuit(2).ry(x[0], 0).ry(x[1], 1)
    return qpr.Model(circuit.ry(t[0], 0).cx(0, 1).ry(t[1], 1).rz(t[2], 0).rx(0.4, 0), ["Z0", "X1"])


def samples(count, model):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(count, model.n_inputs))
    return x / np.linalg.norm(x, axis=1, keepdims=True), rng.integers(0, 2, count)


SHIFT = qpr.ParameterShift(shots=60)


def energy(**options):
    options = {"method": SHIFT, "steps": 6, "value_shots": 100, "rng": 2, "optimiser": qpr.adam(0.2), **options}
    return train(vqe(), **options)


def classes(**options):
    model = classifier()
    data = samples(7, model)
    options = {"method": SHIFT, "epochs": 2, "batch_size": 3, "value_shots": 80, "rng": 4, **options}
    return train(model, "cross_entropy", data=data, test=samples(2, model), head=True, **options)


def mitigated(**options):
    """A calibration, which is a job of its own, and every circuit at two scales of the noise."""
    mitigation = qpr.Mitigation(readout="calibrate", zero_noise=qpr.ZeroNoise((1, 3)), shots=200)
    return energy(**{"mitigation": mitigation, "steps": 4, **options})


def adaptive(**options):
    """Two rounds a step."""
    return energy(**{"method": qpr.ParameterShift(total_shots=800, adaptive=True), "steps": 4, **options})


RUNS = {"energy": energy, "classes": classes, "mitigated": mitigated, "adaptive": adaptive}


def service(folder, **options):
    return OwnDevice(folder=folder / "service", **options)


def paid(folder):
    """The whole lines of a service that remembers."""
    file = folder / "service" / "paid.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def same_run(found, whole):
    assert found.params.keys() == whole.params.keys() and found.steps == whole.steps
    assert all(np.array_equal(found.params[key], whole.params[key]) for key in whole.params)
    assert found.loss == whole.loss and found.metrics == whole.metrics and found.cost == whole.cost
    unlike = ("seconds",)
    rows = [[{k: v for k, v in row.items() if k not in unlike} for row in run.history] for run in (found, whole)]
    assert rows[0] == rows[1]
    assert found.device == whole.device


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_nothing_is_simulated_but_by_the_device(run, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("simulated")

    for name in ("expectation", "vjp", "probabilities"):
        monkeypatch.setattr(f"quprop.simulate.{name}", refuse)
    monkeypatch.setattr(Sampler, "draw", refuse)
    assert run(backend=OwnDevice()).status == "finished"


def spread(values, exact):
    """Each mean of repeats against what is exact, in its own standard errors."""
    values = np.asarray(values)
    return (values.mean(axis=0) - exact) / (values.std(axis=0, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("encoded", [False, True])
def test_outputs_and_gradients_are_right_on_average_and_their_errors_are_theirs(encoded):
    model = classifier(encoded)
    x, _ = samples(3, model)
    theta, targets = np.array([0.3, -0.8, 1.1]), np.array([[0.2, -0.4], [0.5, 0.0], [-0.3, 0.6]])
    exact, back = qpr.vjp(model, theta, x)
    gradient = back(2 * (exact - targets))[0]  # of the squared loss, whose derivative is linear in the outputs
    plan = qpr.ParameterShift(shots=40).compile(model, np.ones(2))
    measured = MeasuredModel(model, Measurement(Runner(OwnDevice())), 50)
    values, slopes = [], []
    for k in range(60):
        out, _, found = measured.step(plan, theta, x, lambda v: 2 * (v - targets), k, f"r{k}")
        values.append(out)
        slopes.append(found.value)
    assert np.abs(spread(values, exact)).max() < 4.5
    assert np.abs(spread(slopes, gradient)).max() < 4.5


def test_the_error_of_a_loss_is_its_spread():
    model, theta = classifier(), np.array([0.3, -0.8, 1.1])
    x, _ = samples(3, model)
    weights, exact = np.array([[1.0, -2.0], [0.5, 0.0], [0.3, 0.7]]), qpr.expectation(model, theta, x)
    measured, pulls = MeasuredModel(model, Measurement(Runner(OwnDevice())), 50), []
    for k in range(400):
        out, read = measured.outputs(theta, x, f"r{k}")
        pulls.append((weights * (out - exact)).sum() / read.error(weights))
    assert 0.75 < np.var(pulls) < 1.3 and abs(np.mean(pulls)) < 0.25


def test_strings_of_one_shot_are_correlated_in_the_error_of_a_loss():
    """Of a Bell state Z0 Z1 = 1 in every shot: (Z0 + Z1)/2 has variance 1 a shot, (Z0 - Z1)/2 none."""
    model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), ["Z0", "Z1"])
    readings, shots = ObservableReadings(model), 1000
    assert len(readings.groups) == 1
    drawn = [
        r.simulate(Sampler(np.random.default_rng(1)))
        for r in readings.requests(np.zeros((1, 0)), np.zeros((1, 0)), shots, keep=True)
    ]
    plus, minus = (readings.variance(drawn, np.array([[0.5, s]])) for s in (0.5, -0.5))
    assert plus == pytest.approx(1 / shots, rel=0.05) and minus < 1e-5  # what no shot showed


@pytest.mark.parametrize(
    ("model", "strings"),
    [(vqe(), 3), (classifier(), 2)],
)
def test_every_string_is_read_once(model, strings):
    columns = np.concatenate([columns for _, columns in ObservableReadings(model).groups])
    assert sorted(columns.tolist()) == list(range(strings))


# -- what is run ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_shots_and_circuits_that_were_executed_are_those_that_were_planned(run, tmp_path):
    found = run(backend=service(tmp_path), out=tmp_path / "run")
    device, lines = found.device, paid(tmp_path)
    assert device["shots"] == sum(line["shots"] for line in lines) == found.cost.measurements
    assert device["circuits"] == sum(line["circuits"] for line in lines)
    assert device["jobs"] == len(lines) and device["rotations"] == found.cost.rotations
    told = {k: device[k] for k in device["planned"]}
    assert (
        device["jobs"]
        == {"energy": 6 + 1, "classes": 6 + 2 + 1, "mitigated": 1 + 4 + 1, "adaptive": 4 * 2 + 1}[run.__name__]
    )
    assert told == device["planned"] == device["paid"]
    assert found.history[-1]["shots"] <= device["shots"]


METHODS = {
    **{
        method.name: method(shots=30)
        for method in (
            qpr.ParameterShift,
            qpr.HadamardTest,
            qpr.PairState,
            qpr.CommutingBlocks,
            qpr.FiniteDifference,
            qpr.ForwardGradient,
            qpr.SPSA,
            qpr.RandomComponents,
        )
    },
    "classical_shadows": qpr.ClassicalShadows(total_shots=300),
    "clifford_shadows": qpr.CliffordShadows(total_shots=300),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_training_by_any_method_executes_what_it_plans(name):
    found = energy(backend=OwnDevice(), method=METHODS[name], steps=2)
    plan, readings = METHODS[name].compile(vqe()), 2 * 100
    assert found.device["shots"] == found.cost.measurements == 2 * plan.cost.measurements + 3 * readings
    assert found.device["rotations"] == found.cost.rotations


def test_a_step_is_one_job_and_its_shots_are_those_of_the_plan_and_of_the_readings():
    """8 circuits of shift for each of 2 groups of strings, 2 that read values; once more those at the end."""
    found = energy(backend=OwnDevice(), steps=3)
    plan = SHIFT.compile(vqe())
    assert found.device["jobs"] == 3 + 1
    assert found.device["shots"] == 3 * (plan.cost.measurements + 2 * 100) + 2 * 100
    assert [line["shots"] for line in found.history] == [(k + 1) * (plan.cost.measurements + 200) for k in range(3)]


def test_a_batch_of_32_samples_and_40_parameters_is_one_job_or_two():
    x, t = qpr.inputs("x", 2), qpr.params("theta", 40)
    circuit = qpr.Circuit(2).ry(x[0], 0).ry(x[1], 1)
    for i in range(40):
        circuit.rx(t[i], i % 2) if i % 3 else circuit.ry(t[i], i % 2)
        circuit.cx(0, 1)
    model, x = qpr.Model(circuit, "Z0"), np.random.default_rng(0).normal(size=(32, 2))
    runner = Runner(OwnDevice(limits=Limits(circuits=2000)))
    measured, plan = MeasuredModel(model, Measurement(runner), 2), qpr.ParameterShift(shots=2).compile(model)
    measured.step(plan, np.zeros(40), x, lambda v: v - 1, 0, "a")
    assert (runner.executed.jobs, runner.executed.circuits) == (2, 2560 + 32)
    assert len(pack(np.full(2592, 2), Limits())) == 1


def test_a_plan_whose_draws_depend_on_the_weights_is_a_second_round():
    model = classifier()
    data = samples(4, model)

    def jobs(method):
        found = train(
            model, "cross_entropy", data=data, method=method, steps=3, backend=OwnDevice(), value_shots=50, rng=1
        )
        return found.device["jobs"] - 1  # that of the loss at the end

    assert jobs(qpr.ParameterShift(shots=50)) == 3
    assert jobs(qpr.ParameterShift(shots=50, grouping="sampled")) == 6
    assert jobs(qpr.ParameterShift(total_shots=2000, adaptive=True)) == 6  # a pilot beside the outputs, and the rest


@pytest.mark.parametrize(
    "options",
    [
        {"method": qpr.ShotGrowth(qpr.ParameterShift(shots=10), add=5)},
        {"method": qpr.StepDecay(qpr.SPSA(shots=50, step=0.2))},
        {"method": None, "optimiser": qpr.ICANS(rate=0.2, least=10)},
        {"method": None, "optimiser": qpr.Rosalin(rate=0.1)},
        {"method": None, "optimiser": qpr.Quiver(rate=0.2)},
    ],
    ids=["growth", "decay", "icans", "rosalin", "quiver"],
)
def test_schedules_and_controllers_go_through_the_same_rounds_and_resume(options, tmp_path):
    whole = energy(backend=service(tmp_path / "a"), out=tmp_path / "a" / "run", **options)
    assert whole.device["shots"] == whole.cost.measurements == sum(line["shots"] for line in paid(tmp_path / "a"))
    budget = qpr.DeviceBudget(shots=whole.history[3]["shots"])
    kind = {"backend": service(tmp_path / "b"), "out": tmp_path / "b" / "run", **options}
    cut = energy(budget=budget, **kind)
    assert cut.status == "stopped" and cut.steps == 4
    found = energy(resume=True, **kind)
    assert np.array_equal(found.theta, whole.theta) and found.cost == whole.cost
    assert sum(line["shots"] for line in paid(tmp_path / "b")) == whole.device["shots"]


def test_a_training_with_shots_alone_reaches_the_minimum():
    model = vqe()
    found = energy(backend=OwnDevice(), steps=60, method=qpr.ParameterShift(shots=200), value_shots=400)
    lowest = qpr.train(model, optimiser=qpr.LBFGS(), params=found.theta, steps=200).loss
    exact = float(qpr.expectation(model, found.theta)[0])
    assert exact - lowest < 0.05
    assert abs(found.loss - exact) < 5 * found.device["loss_stderr"] < 0.3


def test_mitigation_takes_the_noise_out_of_outputs_and_gradients():
    """Misread bits and gates that depolarise: what is left of the bias is a small part of it."""
    model, theta = vqe(), np.array([0.3, -0.8, 1.1, 0.5])
    exact, back = qpr.vjp(model, theta)
    slope, plan = back(np.ones(1))[0], qpr.ParameterShift(shots=40_000).compile(model, np.ones(1))
    bias = []
    for mitigation in (None, qpr.Mitigation("calibrate", qpr.ZeroNoise((1, 3, 5), 2), 400_000)):
        measurement = Measurement(Runner(OwnDevice(noise="superconducting:5")), mitigation)
        measured = MeasuredModel(model, measurement, 40_000)
        out, read, found = measured.step(plan, theta, None, lambda v: np.ones((1, 1)), 0, "a")
        bias.append((abs(out[0, 0] - exact[0]), np.abs(found.value - slope).max(), read.error(np.ones((1, 1)))))
    assert bias[1][0] < 0.3 * bias[0][0] and bias[1][1] < 0.5 * bias[0][1]
    assert 2.5 < bias[1][2] / bias[0][2] < 4  # sqrt(sum of the squares of 15/8, -10/8, 3/8) is 2.3, and noise adds


# -- the budget -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_budget_stops_the_run_and_a_larger_one_goes_on_to_the_same_bits(run, tmp_path):
    whole = run(backend=service(tmp_path / "whole"), out=tmp_path / "whole" / "run")
    total = whole.device["shots"]
    device, out, resume = service(tmp_path), tmp_path / "run", False
    for part in (0.05, 0.3, 0.4, 0.41, 0.8, 0.999):
        budget = qpr.DeviceBudget(shots=int(part * total))
        cut = run(backend=device, out=out, budget=budget, resume=resume)
        resume = True
        assert sum(line["shots"] for line in paid(tmp_path)) <= budget.shots
        assert cut.device["shots"] <= cut.device["paid"]["shots"] <= budget.shots
        assert "resume=True and a larger one" in cut.device["stopped"]
        assert cut.status == ("stopped" if cut.steps < whole.steps else "finished")
    found = run(backend=device, out=out, budget=qpr.DeviceBudget(shots=total), resume=True)
    assert [row["shots"] for row in found.history] == [row["shots"] for row in whole.history]
    same_run(found, whole)
    assert sum(line["shots"] for line in paid(tmp_path)) == total and "stopped" not in found.device


def test_a_budget_that_holds_no_step_gives_the_start_back():
    found = energy(backend=OwnDevice(), budget=qpr.DeviceBudget(shots=10))
    assert (found.status, found.steps, found.device["paid"]["shots"]) == ("stopped", 0, 0) and np.isnan(found.loss)
    assert np.array_equal(found.theta, energy(backend=OwnDevice(), steps=0).theta)


# -- what happens in between ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_finished_run_is_resumed_without_a_further_shot(run, tmp_path):
    device = service(tmp_path)
    whole = run(backend=device, out=tmp_path / "run")
    count = len(paid(tmp_path))
    same_run(run(backend=device, out=tmp_path / "run", resume=True), whole)
    assert len(paid(tmp_path)) == count


@pytest.mark.parametrize(
    ("name", "most"), [("energy", 3), ("classes", 3), *(pytest.param(n, None, marks=pytest.mark.slow) for n in RUNS)]
)
def test_a_training_killed_at_a_call_pays_no_shot_twice_and_goes_on_to_the_same_bits(name, most, tmp_path):
    run = RUNS[name]

    def go(folder, **options):
        return run(backend=service(folder), out=folder / "run", checkpoint_seconds=0.0, **options)

    whole = go(tmp_path / "whole")
    count = calls_of(lambda: go(tmp_path / "counted"))
    for k in range(count // 13, count + 1, 7 if most is None else count // most):
        folder = tmp_path / str(k)
        assert killed_at(k, lambda folder=folder: go(folder))
        same_run(go(folder, resume=(folder / "run" / "run.toml").exists()), whole)
        tags = [line["tag"] for line in paid(folder)]
        assert len(set(tags)) == len(tags) == whole.device["jobs"]
        assert sum(line["shots"] for line in paid(folder)) == whole.device["shots"]


SCRIPT = """
import sys
sys.path[:0] = {path!r}
{prelude}
from pathlib import Path
from test_train_on_device import RUNS, service
folder = Path({folder!r})
begun = (folder / "run" / "run.toml").exists()
RUNS[{name!r}](backend=service(folder), out=folder / "run", resume=begun, **{options!r})
"""


def process_of(name, folder, options):
    prelude = "import qshim" if "qshim" in sys.modules else ""
    path = [p for p in sys.path if p]
    code = SCRIPT.format(path=path, prelude=prelude, name=name, folder=str(folder), options=options)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("name", ["energy", "classes"])
def test_a_training_killed_at_20_random_moments_pays_no_shot_twice(name, tmp_path):
    options = {"steps": 120} if name == "energy" else {"epochs": 30}
    whole = RUNS[name](backend=service(tmp_path / "whole"), out=tmp_path / "whole" / "run", **options)
    rng, kills, kept = random.Random(7), 0, tmp_path / "run" / "counts"

    def jobs():
        return sum(file.suffix == ".npz" for file in kept.iterdir()) if kept.exists() else 0

    while kills < 20:
        until = jobs() + rng.randint(0, whole.device["jobs"] // 25)  # jobs that are there before the next kill
        process = process_of(name, tmp_path, options)
        while process.poll() is None and jobs() < until:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        died = process.wait() == -signal.SIGKILL
        words = process.stderr.read()
        process.stderr.close()
        assert died, words or "it ended before it was killed 20 times"
        kills += 1
    found = RUNS[name](backend=service(tmp_path), out=tmp_path / "run", resume=True, **options)
    same_run(found, whole)
    assert found.device["paid"] == whole.device["paid"] and jobs() == whole.device["jobs"]
    lines = paid(tmp_path)
    assert len({line["tag"] for line in lines}) == len(lines) == whole.device["jobs"]
    assert sum(line["shots"] for line in lines) == whole.device["shots"]


class Queue(OwnDevice):
    """Its jobs wait; Ctrl-C comes while the one of this number does."""

    def __init__(self, number, **options):
        super().__init__(**options)
        self.number = number

    def submit(self, work, *, seed, tag):
        job = super().submit(work, seed=seed, tag=tag)
        self.number -= 1
        if self.number:
            return job

        class Waiting:
            id = job.id

            def result(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
                raise AssertionError("went on")

        return Waiting()


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
@pytest.mark.parametrize("number", [1, 3, 7])
def test_ctrl_c_while_a_job_waits_ends_the_run_and_the_job_is_collected(number, tmp_path):
    whole = energy(backend=service(tmp_path / "whole"), out=tmp_path / "whole" / "run")
    folder = tmp_path / "service"
    cut = energy(backend=Queue(number, folder=folder), out=tmp_path / "run")
    assert (cut.status, cut.steps) == ("interrupted", number - 1) and len(paid(tmp_path)) == number
    same_run(energy(backend=service(tmp_path), out=tmp_path / "run", resume=True), whole)
    assert len(paid(tmp_path)) == whole.device["jobs"]


class Forgetful(OwnDevice):
    def find(self, tag, work):
        return None


def test_a_job_that_is_lost_is_paid_again_with_consent_only(tmp_path):
    cut = energy(backend=Queue(3, folder=tmp_path / "service"), out=tmp_path / "run")
    assert cut.status == "interrupted"
    device = Forgetful(folder=tmp_path / "service")
    with pytest.raises(qpr.QupropError, match=r"no longer knows job .*rerun_lost=True"):
        energy(backend=device, out=tmp_path / "run", resume=True)
    found = energy(backend=device, out=tmp_path / "run", resume=True, rerun_lost=True)
    whole = energy(backend=OwnDevice(folder=tmp_path / "whole"))
    assert np.array_equal(found.theta, whole.theta)
    assert found.device["paid"]["jobs"] == found.device["jobs"] + 1 == len(paid(tmp_path))


# -- what is refused --------------------------------------------------------------------------------------------------


def noisy():
    return qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0).depolarising(0.1, 0), "Z0")


REFUSED = {
    "no method": (lambda: energy(backend=OwnDevice(), method=None), "runs a gradient method's circuits"),
    "both": (lambda: energy(backend=OwnDevice(), executor=object()), "pass one of them"),
    "no device": (lambda: energy(backend=3), "a device is"),
    "unknown": (lambda: energy(backend="nowhere"), "no device has the name"),
    "exact": (lambda: energy(backend=OwnDevice(), method=qpr.Adjoint()), "no list of circuits"),
    "lbfgs": (lambda: energy(backend=OwnDevice(), optimiser=qpr.LBFGS()), "needs exact ones"),
    "budget alone": (lambda: energy(value_shots=None, budget=qpr.DeviceBudget(shots=5)), "are for a backend"),
    "no mitigation": (lambda: energy(backend=OwnDevice(), mitigation="readout"), "mitigation is a Mitigation"),
    "mitigation alone": (
        lambda: energy(value_shots=None, mitigation=qpr.Mitigation(readout="calibrate")),
        "are for a backend",
    ),
    "consent alone": (lambda: energy(value_shots=None, rerun_lost=True), "are for a backend"),
    "shots alone": (lambda: energy(backend=None, value_shots=5), "are for a backend"),
    "no budget": (lambda: energy(backend=OwnDevice(), budget=100), "budget is a DeviceBudget"),
    "no shots": (lambda: energy(backend=OwnDevice(), value_shots=0), "value_shots"),
    "noise": (lambda: train(noisy(), method=SHIFT, steps=1, backend=OwnDevice()), "noiseless"),
    "small": (lambda: energy(backend=OwnDevice(limits=Limits(qubits=1))), "1 qubit"),
    "larger program": (
        lambda: energy(backend=OwnDevice(limits=Limits(qubits=2)), method=qpr.HadamardTest(shots=10)),
        "2 qubits",
    ),
    "seconds": (lambda: energy(backend=OwnDevice(), budget=qpr.DeviceBudget(seconds=5)), "cost in seconds"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_run_is_refused_in_one_sentence(name):
    run, words = REFUSED[name]
    with pytest.raises(qpr.QupropError, match=words) as error:
        run()
    assert "\n" not in str(error.value)


def test_a_model_in_parts_is_refused():
    plan = qpr.cut(qpr.Circuit(4).ry(qpr.params("theta", 1)[0], 0).cx(0, 1).cx(1, 2).cx(2, 3), "Z0 Z3", max_qubits=3)
    with pytest.raises(qpr.QupropError, match="uncut model"):
        train(plan, method=SHIFT, steps=1, backend=OwnDevice())


def test_a_run_is_resumed_on_its_own_device_only(tmp_path):
    energy(backend=service(tmp_path), out=tmp_path / "run", steps=2)
    for options, words in (
        ({"backend": OwnDevice(name="another")}, r"train\.backend"),
        ({"backend": service(tmp_path), "value_shots": 7}, r"train\.value_shots = 100, got 7"),
        ({"backend": None, "value_shots": None}, "got no backend"),
        ({"backend": service(tmp_path), "mitigation": qpr.Mitigation(readout="calibrate")}, r"train\.mitigation"),
    ):
        with pytest.raises(qpr.QupropError, match=words):
            energy(out=tmp_path / "run", steps=2, resume=True, **options)


def test_counts_of_another_run_are_refused(tmp_path):
    for seed in (2, 3):
        energy(backend=service(tmp_path), out=tmp_path / f"run{seed}", rng=seed)
    other = tmp_path / "run2"
    (other / "jobs.jsonl").write_bytes((tmp_path / "run3" / "jobs.jsonl").read_bytes())
    (other / "checkpoint.npz").unlink()
    with pytest.raises(qpr.QupropError, match="are those of other circuits, settings or shots"):
        energy(backend=service(tmp_path), out=other, rng=2, resume=True)


def test_a_terminal_is_told_which_job_is_waited_for(monkeypatch):
    said = []
    monkeypatch.setattr("quprop.training.job.Progress.__call__", lambda self, done, total, words: said.append(words))
    energy(backend=OwnDevice(limits=Limits(circuits=10)), steps=1)
    assert said[:3] == ["waits for job 1 of 2", "waits for job 2 of 2", said[2]] and " shots" in said[2]


def test_the_bar_tells_shots_and_money(tmp_path, capsys):
    class Priced(OwnDevice):
        def price(self, work):
            return 0.01 * sum(int(w.shots.sum()) for w in work)

    found = energy(backend=Priced(), budget=qpr.DeviceBudget(shots=10**6), progress=True)
    out = capsys.readouterr().out
    assert "shots" in out and " of 1e+06 shots  $" in out
    assert found.device["dollars"] == pytest.approx(0.01 * found.device["shots"])
