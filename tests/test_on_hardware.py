"""Gradients of methods on Qiskit's machines: what is promised of them is what users get."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
from test_train_on_device import energy, noisy, same_run

import quprop as qpr
from quprop.sampling.devices.bias import bias
from quprop.sampling.devices.device import FinishedJob, Limits
from quprop.sampling.devices.own import OwnDevice

pytest.importorskip("qiskit")
aer = pytest.importorskip("qiskit_aer")

from qiskit.primitives import StatevectorEstimator  # noqa: E402
from qiskit.transpiler import generate_preset_pass_manager  # noqa: E402
from qiskit_aer.primitives import EstimatorV2, SamplerV2  # noqa: E402

from quprop.hybrid.devices.qiskit import QiskitDevice  # noqa: E402

ANY = [
    qpr.Model(qpr.ansatz.hardware_efficient(4, 2), "Z0 Z1 + 0.5*X0"),
    qpr.Model(qpr.ansatz.strongly_entangling(5, 1), "Y0 X1 - 0.7*Z4"),
    qpr.Model(qpr.ansatz.hardware_efficient(6, 1), "Z0 Z5"),
]
COMMUTING = [qpr.Model(qpr.ansatz.iqp(n), "X0 X1 + 0.3*Y2") for n in (4, 5, 6)]
SMALL = [qpr.Model(qpr.ansatz.hardware_efficient(4, 1), "Z0 Z1"), qpr.Model(qpr.ansatz.iqp(4), "Z0")]
BELL = [
    qpr.pauli_list_model(qpr.Circuit(n).h(0).cx(0, 1).ry(0.9, 0).t(1).cx(n - 1, 0).rx(0.4, n - 1), strings)
    for n, strings in ((2, ["X0", "Z0 Z1", "Y0 X1", "Z1"]), (3, ["X0 X1 X2", "Z0 Z1", "Y1 X2", "Z2"]))
]
# Of each: the method, models, points of each (one circuit's shots read many components: they err together).
PROMISES = {
    "parameter_shift": (qpr.ParameterShift(shots=100), ANY, 12),
    "hadamard_test": (qpr.HadamardTest(shots=100), ANY, 12),
    "pair_state": (qpr.PairState(shots=100), ANY, 30),
    "commuting_blocks": (qpr.CommutingBlocks(shots=100), COMMUTING, 40),
    "classical_shadows": (qpr.ClassicalShadows(shots=300), SMALL, 60),
}
FAST = {"by_quprop": {*PROMISES} - {"classical_shadows"}, "by_the_user": {"commuting_blocks"}}


def points(model, count, seed=0):
    return np.random.default_rng([seed, model.n_params]).uniform(-np.pi, np.pi, (count, model.n_params))


def exact_at(model, theta):
    return qpr.value_and_grad(model, theta)[1]


class Counting(aer.AerSimulator):
    """Keeps what it was asked to run: jobs, each of (circuit, settings, shots)."""

    most = None

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []

    @property
    def max_circuits(self):
        return self.most

    def run(self, circuits, *arguments, parameter_binds=None, shots=None, **options):
        settings = [max((len(v) for v in b.values()), default=1) for b in parameter_binds or [{}] * len(circuits)]
        self.asked.append([(c, n, shots) for c, n in zip(circuits, settings, strict=True)])
        return super().run(circuits, *arguments, parameter_binds=parameter_binds, shots=shots, **options)


def by_quprop(plan, method, model, theta, seed):
    """`qpr.gradient` on Aer, and what Aer ran: settings, shots."""
    backend = Counting()
    found = qpr.gradient(model, theta, method=method, rng=seed, backend=backend)
    asked = [one for job in backend.asked for one in job]
    return found, sum(n for _, n, _ in asked), sum(n * shots for _, n, shots in asked)


def by_the_user(plan, method, model, theta, seed):
    """The user's own compiler and sampler, and what its counts say was run."""
    circuits = plan.circuits(theta, rng=seed)
    asked = circuits.to("qiskit")
    letters = 2 if isinstance(method, qpr.ClassicalShadows) else 0  # turns that choose X, Y or Z of a qubit
    rotations = [
        sum(s.is_parameterized() for s in circuit.data) - letters * circuit.num_qubits for circuit, *_ in asked
    ]
    ran = sum(r * len(values) * shots for r, (_, values, shots) in zip(rotations, asked, strict=True))
    assert ran == len(theta) * plan.cost.rotations
    passes = generate_preset_pass_manager(1, aer.AerSimulator(), seed_transpiler=0)
    pubs = [(isa, v, n) for isa, (_, v, n) in zip(passes.run([c for c, _, _ in asked]), asked, strict=True)]
    result = SamplerV2(seed=seed + 1).run(pubs).result()
    arrays = [pub.data.m for pub in result]
    return plan.combine(result), sum(a.size for a in arrays), sum(a.size * a.num_shots for a in arrays)


def deviations(found, exact):
    """Of the components that were measured; the others are known."""
    error, known = found.value - exact, found.stderr == 0
    np.testing.assert_allclose(error[known], 0, atol=1e-9)
    return error[~known] / found.stderr[~known]


WAYS = {"by_quprop": by_quprop, "by_the_user": by_the_user}
RUNS = [
    pytest.param(name, way, marks=() if name in FAST[way] else pytest.mark.slow) for way in WAYS for name in PROMISES
]


@pytest.mark.parametrize(("name", "way"), RUNS)
def test_errors_on_a_machine_without_noise_are_the_standard_errors_at_the_cost_of_the_plan(name, way):
    method, models, count = PROMISES[name]
    every = []
    if name == "classical_shadows" and way == "by_the_user":
        models, count = models[:1], 27  # Aer's sampler takes many seconds for thousands of PUBs
    for k, model in enumerate(models):
        theta = points(model, count)
        plan = method.compile(model)
        found, circuits, shots = WAYS[way](plan, method, model, theta, 7 + k)
        assert shots == count * plan.cost.measurements == found.cost.measurements
        assert found.cost.rotations == count * plan.cost.rotations and found.cost.copies == count * plan.cost.copies
        if "circuits" in plan.info:
            assert circuits == count * plan.info["circuits"]
        else:
            assert circuits == plan.circuits(theta, rng=7 + k).n_circuits
        every.append(deviations(found, exact_at(model, theta)).ravel())
    every = np.concatenate(every)
    assert len(every) >= 200 and np.abs(every).max() < 5.5
    assert 0.8 <= np.mean(every**2) <= 1.2


@pytest.mark.slow
def test_bell_sampling_on_a_machine_is_within_the_error_that_it_promises():
    """Its errors are no standard errors: thresholds and signs are biased, by eps at most, at no more than the cost."""
    method, errors = qpr.BellSampling(max_error=0.4, signs="colouring"), []
    for model in BELL:
        theta = np.zeros(model.n_params)
        plan = method.compile(model, at=(theta, None))
        for seed in range(25):
            backend = Counting()
            found = qpr.gradient(model, theta, method=method, rng=seed, backend=backend)
            asked = [one for job in backend.asked for one in job]
            ran = sum(n * shots for _, n, shots in asked)
            assert ran == found.cost.measurements <= plan.cost.measurements
            assert found.cost.copies <= plan.cost.copies
            errors.append(np.abs(found.value - exact_at(model, theta)))
    errors = np.concatenate(errors)
    assert len(errors) >= 200 and errors.max() <= 0.4


def test_bell_sampling_by_the_users_own_sampler_goes_on_round_after_round():
    model, theta = BELL[0], np.zeros(4)
    plan = qpr.BellSampling(max_error=0.4, signs="colouring").compile(model, at=(theta, None))
    circuits, rounds = plan.circuits(theta), 0
    passes = generate_preset_pass_manager(1, aer.AerSimulator(), seed_transpiler=0)
    while circuits is not None:
        pubs = [(passes.run(c), values, shots) for c, values, shots in circuits.to("qiskit")]
        result, last = SamplerV2(seed=3 + rounds).run(pubs).result(), circuits
        if rounds == 0:
            with pytest.raises(qpr.QupropError, match=r"circuits\.next\(counts\)"):
                plan.combine(result)
        circuits, rounds = circuits.next(result), rounds + 1
    assert rounds == 2 and np.abs(last.combine(result).value - exact_at(model, theta)).max() <= 0.4


# -- a machine with noise ---------------------------------------------------------------------------------------------

FOUR = qpr.Model(qpr.ansatz.hardware_efficient(4, 2), "Z0 Z1")
NOISY = {
    "parameter_shift": (qpr.ParameterShift(shots=4000), FOUR),
    "hadamard_test": (qpr.HadamardTest(shots=4000), FOUR),
    "pair_state": (qpr.PairState(shots=8000), FOUR),
    "commuting_blocks": (qpr.CommutingBlocks(shots=8000), qpr.Model(qpr.ansatz.iqp(4), "Z0 Z1")),
    "classical_shadows": (
        qpr.ClassicalShadows(shots=20_000),
        qpr.Model(qpr.Circuit(2).ry(qpr.params("theta", 2)[0], 0).cx(0, 1).ry(qpr.params("theta", 2)[1], 1), "Z0 Z1"),
    ),
    "bell_sampling": (
        qpr.BellSampling(shots=4000, signs="colouring"),
        qpr.pauli_list_model(qpr.Circuit(1).ry(0.9, 0), ["X0", "Z0", "Y0"]),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NOISY)
def test_a_noisy_machine_runs_what_was_planned_and_its_bias_is_told_and_shrinks(name):
    method, model = NOISY[name]
    theta = np.zeros(model.n_params) if name == "bell_sampling" else points(model, 1)[0] / 3
    exact, at = exact_at(model, theta), (theta, None)
    plan = method.compile(model, at=at)
    raw = qpr.gradient(model, theta, method=method, rng=3, backend="fake_manila")
    most = plan.cost
    exactly = name != "bell_sampling"  # whose second round depends on what the first has shown
    assert raw.cost.measurements == most.measurements if exactly else raw.cost.measurements <= most.measurements
    assert f"{raw.cost.measurements:,} shots" in raw.info["device"] and raw.info["device"].startswith("fake_manila")
    assert np.isfinite(raw.value).all() and np.isfinite(raw.stderr).all()
    seen = bias(raw, exact)
    if name == "bell_sampling":
        return  # its errors are bounds, so that there is nothing beyond them to be shown
    if name == "classical_shadows":
        mitigation, calibration = qpr.Mitigation(zero_noise=qpr.ZeroNoise((1, 3))), 0
    else:
        calibration = 20_000
        mitigation = qpr.Mitigation("calibrate", qpr.ZeroNoise((1, 3)), calibration)
    less = qpr.gradient(model, theta, method=method, rng=3, backend="fake_manila", mitigation=mitigation)
    left = bias(less, exact)
    print(name, seen, left, sep="\n")
    assert less.cost.measurements == 2 * most.measurements + 2 * calibration
    if name != "classical_shadows":  # of which misread bits are not undone
        assert seen.rms > 2 * seen.rms_error and left.rms < 0.8 * seen.rms


# -- estimators -------------------------------------------------------------------------------------------------------


def check_means(found, exact):
    errors = deviations(found, exact)
    assert np.abs(errors).max() < 5
    assert 0.7 < np.mean(errors**2) < 1.3


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(EstimatorV2, id="aer"),
        pytest.param(StatevectorEstimator, id="statevector", marks=pytest.mark.slow),
    ],
)
def test_an_estimator_gives_the_gradient_within_its_errors(given):
    model = ANY[0]
    theta, method = points(model, 16), qpr.ParameterShift(shots=400)
    found = qpr.gradient(model, theta, method=method, rng=1, backend=given())
    check_means(found, exact_at(model, theta))
    assert found.cost.measurements == 16 * method.compile(model).cost.measurements
    assert f"{16 * method.compile(model).info['circuits']:,} circuits" in found.info["device"]
    again = qpr.gradient(model, theta, method=method, rng=1, backend=given())
    np.testing.assert_array_equal(found.value, again.value)


def test_circuits_may_be_given_to_an_estimator_of_any_backend():
    from quprop.hybrid.devices.qiskit_estimator import QiskitEstimator

    model = ANY[0]
    theta = points(model, 2)
    circuits = qpr.ParameterShift(shots=200).compile(model).circuits(theta)
    check_means(circuits.estimate_by(QiskitEstimator("aer"), seed=2), exact_at(model, theta))


# -- one batch --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("most", "jobs"), [(None, 1), (2000, 2)])
def test_a_gradient_of_40_parameters_and_32_samples_is_one_job_or_two(most, jobs):
    x, t = qpr.inputs("x", 6), qpr.params("theta", 40)
    circuit = qpr.Circuit(6)
    for q in range(6):
        circuit.ry(x[q], q)
    for i in range(40):
        circuit.ry(t[i], i % 6) if i // 6 % 2 else circuit.rz(t[i], i % 6).cx(i % 6, (i + 1) % 6)
    model, rng = qpr.Model(circuit, "Z0"), np.random.default_rng(0)
    theta, x = rng.uniform(-np.pi, np.pi, 40), rng.normal(size=(32, 6))
    backend, method = Counting(), qpr.ParameterShift(shots=20)
    backend.most = most
    found = qpr.gradient(model, theta, x, method, rng=0, backend=backend)
    assert len(backend.asked) == jobs and f"{jobs} job" in found.info["device"]
    ran = [sum(n for _, n, _ in job) for job in backend.asked]
    assert sum(ran) == 2560 and max(ran) <= (most or 2560)
    assert {shots for job in backend.asked for _, _, shots in job} == {20}
    assert 0.8 < np.mean(deviations(found, qpr.value_and_grad(model, theta, x)[1]) ** 2) < 1.2


# -- killed -----------------------------------------------------------------------------------------------------------

LOG = "QUPROP_TEST_JOBS"


class Logged(QiskitDevice):
    """Aer, which keeps no job; a line a job that it has run."""

    def submit(self, work, *, seed, tag):
        counts = super().submit(work, seed=seed, tag=tag).result()
        with open(os.environ[LOG], "a") as file:
            file.write(tag + "\n")
        return FinishedJob(counts)


def logged():
    return Logged("aer")


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from test_train_on_device import energy
out = Path({out!r})
energy(backend="test_on_hardware:logged", out=out, resume=(out / "run.toml").exists(), steps={steps})
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_training_on_aer_killed_at_20_random_moments_runs_nothing_again_that_was_kept(tmp_path, monkeypatch):
    """Aer forgets a job with its process: what was not kept is run again, with the same draws."""
    steps, out, log = 80, tmp_path / "run", tmp_path / "jobs.txt"
    monkeypatch.setenv(LOG, str(tmp_path / "whole.txt"))
    whole = energy(backend="test_on_hardware:logged", out=tmp_path / "whole", steps=steps)
    monkeypatch.setenv(LOG, str(log))
    code = SCRIPT.format(path=[p for p in sys.path if p], out=str(out), steps=steps)
    rng, kills, kept = random.Random(3), 0, {}
    for _ in range(60):
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        until = len(kept) + rng.randint(0, steps // 25)
        while process.poll() is None and len(list(out.glob("counts/*.npz"))) < until:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        died = process.wait() == -signal.SIGKILL
        words = process.stderr.read()
        process.stderr.close()
        assert died or not process.returncode, words
        ran = Counter(log.read_text().split() if log.exists() else [])
        for file in out.glob("counts/*.npz"):
            now = ran[file.stem], file.read_bytes()
            assert kept.setdefault(file.stem, now) == now
        kills += died
        if kills >= 20 or not died:
            break
    assert kills >= 20
    found = energy(backend="test_on_hardware:logged", out=out, resume=True, steps=steps)
    same_run(found, whole)
    ran = Counter(log.read_text().split())
    assert len(ran) == whole.device["jobs"] and all(ran[tag] == times for tag, (times, _) in kept.items())
    assert sum(ran.values()) <= len(ran) + kills


# -- what is refused --------------------------------------------------------------------------------------------------

SHIFT = qpr.ParameterShift(shots=10)
ONE = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")


def on(backend, method=SHIFT, model=FOUR, **options):
    theta = np.zeros(model.n_params)
    return qpr.gradient(model, theta, method=method, rng=0, backend=backend, **options)


def made(model=ONE, method=SHIFT):
    plan = method.compile(model)
    return plan, plan.circuits(np.zeros(model.n_params))


def amplitudes(n=2):
    return qpr.Model(qpr.Circuit(n, np.full(1 << n, 2.0 ** (-n / 2))).ry(qpr.params("theta", 1)[0], 0), "Z0")


class OldEstimator:
    version = 1

    def run(self, circuits, observables):
        raise AssertionError("run")


class BaseSampler:
    version = 1

    def run(self, circuits):
        raise AssertionError("run")


class Expired(OwnDevice):
    def submit(self, work, *, seed, tag):
        class Job:
            id = "c0ffee"

            def result(self):
                raise qpr.QupropError("job c0ffee of ibm_fez gave no result (RuntimeJobNotFound: it has expired)")

        return Job()


ADAPTIVE = qpr.ParameterShift(total_shots=4000, adaptive=True)
REFUSED = {
    "small": (lambda: on("fake_manila", model=ANY[2]), "5 qubits"),
    "ancilla": (lambda: on("fake_manila", qpr.HadamardTest(shots=10), ANY[1]), "5 qubits"),
    "expired": (lambda: on(Expired()), "rerun_lost=True pays .* job c0ffee"),
    "budget": (lambda: on("aer", budget=qpr.DeviceBudget(shots=50)), "budget"),
    "channels": (lambda: on("aer", model=noisy()), "noiseless"),
    "too early": (lambda: adaptive_too_early(), r"circuits\.next\(counts\)"),
    "format": (lambda: made()[1].to("foo"), "format is qiskit, qasm3 or json, got 'foo'"),
    "format of a plan": (lambda: made()[0].circuits([0.0], format="foo"), "format is qiskit"),
    "fewer counts": (lambda: made()[0].combine([{0: 10}]), "2 settings, got counts of 1"),
    "other shots": (lambda: made()[0].combine([{0: 10}, {0: 9}]), "10 shots, got counts of 9"),
    "other bits": (lambda: made()[0].combine([{0: 10}, {"00": 10}]), "1 bit"),
    "other results": (lambda: of_other_circuits(), "register 'm'"),
    "estimator of V1": (lambda: on(OldEstimator()), "V2"),
    "sampler of V1": (lambda: on(BaseSampler()), "V1"),
    "unknown": (lambda: on("are"), "no device has the name 'are'.*'aer'"),
    "unknown fake": (lambda: on("fake_manilla"), "fake_manila"),
    "exact": (lambda: on("aer", qpr.Adjoint()), "no list of circuits"),
    "copies": (lambda: on("aer", qpr.QuantumBackprop(shots=10)), "no list of circuits|takes no|shots"),
    "majority": (lambda: on("aer", qpr.BellSampling(max_error=0.5), BELL[0]), "signs='colouring' has one"),
    "estimator, shadows": (lambda: on(EstimatorV2(), qpr.ClassicalShadows(shots=400), SMALL[1]), "pass a sampler"),
    "estimator, rounds": (lambda: on(EstimatorV2(), ADAPTIVE), "pass a sampler"),
    "estimator, mitigation": (lambda: on(EstimatorV2(), mitigation=qpr.Mitigation("device")), "pass its backend"),
    "estimator, budget": (lambda: on(EstimatorV2(), budget=qpr.DeviceBudget(shots=10**6)), "pass its backend"),
    "estimator, training": (
        lambda: qpr.train(FOUR, method=SHIFT, steps=1, backend=EstimatorV2()),
        "pass its backend, or a SamplerV2",
    ),
}


def adaptive_too_early():
    plan, circuits = made(FOUR, ADAPTIVE)
    return plan.combine([{0: int(n)} for w in circuits.work for n in w.shots])


def of_other_circuits():
    from qiskit import QuantumCircuit

    other = QuantumCircuit(1)
    other.measure_all()
    return made()[0].combine(SamplerV2().run([other, other], shots=10).result())


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_said_in_one_sentence(name):
    run, words = REFUSED[name]
    with pytest.raises(qpr.QupropError, match=words) as error:
        run()
    assert "\n" not in str(error.value)


def test_a_setting_with_more_shots_than_a_job_takes_is_run_in_several():
    found = on(OwnDevice(limits=Limits(shots=4)), model=ONE)
    assert "6 circuits" in found.info["device"] and found.cost.measurements == 20


def test_a_compiler_may_leave_out_parameters():
    """RZ before a measurement does nothing: the values of PUBs that are compiled are those of what is left."""
    t = qpr.params("theta", 2)
    plan = qpr.ParameterShift(shots=4000).compile(qpr.Model(qpr.Circuit(1).ry(t[0], 0).rz(t[1], 0), "Z0"))
    circuits = plan.circuits([0.7, 0.3])
    ((circuit, _, _),) = circuits.to("qiskit")
    passes = generate_preset_pass_manager(2, aer.AerSimulator(), seed_transpiler=0)
    ((compiled, values, shots),) = circuits.to("qiskit", passes=passes)
    assert circuit.num_parameters == 2 and compiled.num_parameters == values.shape[1] == 1
    found = plan.combine(SamplerV2(seed=1).run([(compiled, values, shots)]).result())
    np.testing.assert_allclose(found.value, [-np.sin(0.7), 0], atol=0.06)
    with pytest.raises(qpr.QupropError, match="leave them out"):
        circuits.to("json", passes=passes)


@pytest.mark.parametrize("mitigation", [None, qpr.Mitigation("calibrate", qpr.ZeroNoise((1, 3)))])
def test_a_gradient_that_needs_no_circuit_needs_no_machine(mitigation):
    model, backend = qpr.Model(qpr.ansatz.iqp(4), "X0 X1"), Counting()  # RX and RXX leave X0 X1
    assert (
        not on(backend, qpr.CommutingBlocks(shots=10), model, mitigation=mitigation).value.any() and not backend.asked
    )


def test_shadows_with_readout_inverted_are_refused_before_anything_is_run():
    backend, shadows = Counting(), qpr.ClassicalShadows(shots=400)
    with pytest.raises(qpr.QupropError, match="take pair_state"):
        on(backend, shadows, SMALL[1], mitigation=qpr.Mitigation("calibrate"))
    with pytest.raises(qpr.QupropError, match="take pair_state"):
        qpr.train(SMALL[1], method=shadows, steps=1, backend=backend, mitigation=qpr.Mitigation("calibrate"))
    assert not backend.asked


def test_refused_counts_lose_nothing():
    plan, circuits = made()
    with pytest.raises(qpr.QupropError):
        plan.combine([{0: 10}])
    assert plan.combine([{0: 5, 1: 5}, {"0": 5, "1": 5}]).value == 0
    assert circuits.n_circuits == 2


def test_input_states_of_amplitudes_are_prepared_on_a_machine():
    model = amplitudes()
    found = qpr.gradient(model, [0.4], method=qpr.ParameterShift(shots=2000), rng=0, backend="fake_manila")
    assert abs(found.value - exact_at(model, [0.4])).max() < 0.15
