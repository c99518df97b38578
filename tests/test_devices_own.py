"""Laws of quprop's own engine as a device: counts follow the exact distribution, seeds repeat them, jobs are kept."""

import json
import os
import signal
import subprocess
import sys
import time

import kraus
import numpy as np
import pytest
from device_laws import STATES, check_counts, of_measured, random_circuit, random_work, same

import quprop as qpr
from quprop.model.noise import machine_gates
from quprop.sampling.devices.check import digest
from quprop.sampling.devices.device import DeviceCircuit, Limits, Work
from quprop.sampling.devices.own import OwnDevice


def run(device, *work, seed=0, tag=""):
    return device.submit(work, seed=seed, tag=tag).result()


@pytest.mark.parametrize("state", range(len(STATES)))
def test_counts_follow_the_exact_distribution(state):
    rng = np.random.default_rng([1, state])
    work = [random_work(rng, random_circuit(rng, STATES[state]), 5) for _ in range(3)]
    check_counts(work, run(OwnDevice(), *work))


def test_few_shots_of_many_outcomes_follow_it_too():
    """More outcomes than are counted at once, more and fewer than the shots."""
    rng = np.random.default_rng(2)
    angle = qpr.params("angle", 10)
    circuit = qpr.Circuit(10)
    for q in range(10):
        circuit.ry(angle[q], q).cx(q, (q + 1) % 10)
    given = DeviceCircuit(circuit, (7, 0, 1, 2, 3, 4, 5, 6, 9), 10)
    work = Work(given, rng.uniform(-2, 2, (4, 10)), np.array([300, 20000, 500, 40000]))
    check_counts([work], run(OwnDevice(), work))


def test_bit_b_is_that_of_the_bth_measured_qubit():
    circuit = qpr.Circuit(3).x(2).x(1)
    for measured, expected in [((0, 1, 2), 6), ((2, 0), 1), ((0, 2), 2), ((0, 1), 2), ((1, 0), 1), ((2, 1, 0), 3)]:
        work = Work(DeviceCircuit(circuit, measured, 0), np.empty((2, 0)), np.array([5, 9]))
        for (outcomes, counts), shots in zip(run(OwnDevice(), work)[0], work.shots, strict=True):
            assert outcomes.tolist() == [expected] and counts.tolist() == [shots]


def test_a_noisy_machine_follows_its_density_matrix():
    rng = np.random.default_rng(3)
    angle = qpr.params("angle", 3)
    circuit = qpr.Circuit(3, "010").ry(angle[0], 0).cx(0, 1).rotation("Y1 Z2", angle[1]).u(angle[2], 0.3, 0.1, 2)

    def misread(c):
        return c.channel("amplitude_damping", 0.2, 0).channel("readout_error", 0.15, 0.04, 2)

    named = qpr.NoiseModel(0.03, 0.06, 0.04)
    for noise, noisy in [(misread, misread(circuit.copy())), (named, circuit.with_noise(named))]:
        work = random_work(rng, DeviceCircuit(circuit, (2, 0, 1), 3), 4, (3000, 5000))

        def truth(given, row, noisy=noisy):
            return of_measured(np.diag(kraus.density(noisy, row)).real, given.measured)

        counts = run(OwnDevice(noise=noise), work)
        check_counts([work], counts, truth)
        with pytest.raises(AssertionError):
            check_counts([work], counts)  # without the noise, this test would see it


def test_the_same_seed_gives_the_same_counts_for_any_number_of_threads():
    rng = np.random.default_rng(4)
    work = [random_work(rng, random_circuit(rng), 4) for _ in range(2)]
    first = run(OwnDevice(threads=1), *work, seed=7)
    assert same(first, run(OwnDevice(threads=3), *work, seed=7))
    assert not same(first, run(OwnDevice(threads=1), *work, seed=8))


def test_gates_are_counted_as_noise_counts_them():
    circuit = qpr.Circuit(4).rotation("X0 Y1 Z3", 0.1).swap(0, 1).h(2).exp({"Z0 Z1": 1.0, "X2": 0.5}, 0.3)
    # 4 + 1 along the string, 3 of a swap, 1, and 2 + 1 and 1 of the sum; qubits 0 and 1 wait for all but qubit 2's
    assert machine_gates(circuit) == (4 + 3 + 2, 5 + 3 + 1 + 4, 5 + 3 + 3)
    noisy = circuit.with_noise(qpr.NoiseModel(0.0, 0.01))
    assert len(noisy.channels) == 2 + 1 + 1  # pairs of neighbours in 2-letter and 3-letter strings, and of the swap
    found = OwnDevice().prepare([DeviceCircuit(circuit, (1, 3), 0)])[0]
    assert found[:4] == (*machine_gates(circuit), None) and found.layout == (1, 3)


def test_two_thousand_settings_of_a_circuit_are_one_job():
    rng = np.random.default_rng(5)
    given = random_circuit(rng, measured=(0, 1, 2, 3))
    work = Work(given, rng.normal(size=(2560, given.n_params)), np.full(2560, 100))
    start = time.process_time()
    counts = run(OwnDevice(), work)
    assert time.process_time() - start < 5.0  # a tenth of it where nothing else runs
    check_counts([work._replace(values=work.values[:40], shots=work.shots[:40])], [counts[0][:40]])


BAD = [
    ({"values": np.zeros((2, 3))}, "values (settings, 1)"),
    ({"shots": np.array([5])}, "shots (settings,)"),
    ({"shots": np.array([5, 0])}, "1 or more"),
    ({"shots": np.array([5.0, 2.5])}, "whole number"),
    ({"values": np.array([[0.1], [np.nan]])}, "finite"),
    ({"shots": np.array([5, 51])}, "50 times at most"),
    ({"shots": np.array([50, 50])}, "90 executions at most, got 100"),
    ({"values": np.zeros((3, 1)), "shots": np.array([1, 1, 1])}, "2 circuits at most, got 3"),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_work_of_another_shape_or_beyond_the_limits_is_refused(fields, words, tmp_path):
    device = OwnDevice(limits=Limits(2, 2, 50, 90), folder=tmp_path)
    angle = qpr.params("angle", 1)
    work = Work(DeviceCircuit(qpr.Circuit(2).rx(angle[0], 0), (0, 1), 1), np.zeros((2, 1)), np.array([5, 6]))
    with pytest.raises(qpr.QupropError) as refused:
        device.submit([work._replace(**fields)], seed=0, tag="t")
    assert words in str(refused.value)
    assert not (tmp_path / "paid.jsonl").exists() and device.find("t", [work]) is None


def test_circuits_that_fit_no_device_are_refused():
    device = OwnDevice(limits=Limits(qubits=2))
    for circuit, measured, words in [
        (qpr.Circuit(3), (0,), "2 qubits, and this circuit needs 3"),
        (qpr.Circuit(2), (), "one or more"),
        (qpr.Circuit(2), (0, 0), "each once"),
        (qpr.Circuit(2), (2,), "from 0 to 1"),
        (qpr.Circuit(2).rx(qpr.inputs("x", 1)[0], 0), (0,), "got 1 input"),
    ]:
        with pytest.raises(qpr.QupropError, match=words):
            device.prepare([DeviceCircuit(circuit, measured, 0)])
    for noise in (3, "no such machine"):
        with pytest.raises(qpr.QupropError):
            OwnDevice(noise=noise)
    with pytest.raises(qpr.QupropError, match="2 qubits that it was given"):
        work = Work(DeviceCircuit(qpr.Circuit(2), (0,), 0), np.empty((1, 0)), np.array([1]))
        run(OwnDevice(noise=lambda c: qpr.Circuit(3)), work)
    with pytest.raises(qpr.QupropError, match="seed"):
        device.submit([work], seed=-1, tag="")


# The folder

CLIENT = """
import sys
sys.path[:0] = {path!r}
from test_devices_own import client
client({folder!r})
"""


def jobs():
    rng = np.random.default_rng(6)
    return [[random_work(rng, random_circuit(rng), 3)] for _ in range(2)] * 8


def client(folder):
    """What a program does that may be killed: work that is found is not handed in again."""
    device = OwnDevice(folder=folder)
    for k, work in enumerate(jobs()):
        if device.find(f"round {k}", work) is None:
            device.submit(work, seed=k, tag=f"round {k}")


def start(folder):
    text = CLIENT.format(path=[os.path.dirname(__file__), *sys.path], folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", text])


def paid(folder):
    try:
        return [json.loads(line) for line in (folder / "paid.jsonl").read_text().splitlines()]
    except FileNotFoundError:
        return []


@pytest.mark.slow
def test_a_killed_client_finds_its_jobs_and_pays_for_none_twice(tmp_path):
    rng = np.random.default_rng(8)
    for _ in range(2):  # killed in the middle of its rounds
        process, before = start(tmp_path), len(paid(tmp_path))
        while process.poll() is None and len(paid(tmp_path)) <= before:
            time.sleep(0.005)
        time.sleep(float(rng.uniform(0, 0.02)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = len(paid(tmp_path))
    client(str(tmp_path))
    rows, work = paid(tmp_path), jobs()
    assert 2 <= killed < len(work)  # it was not killed before or after its work
    assert [row["tag"] for row in rows] == [f"round {k}" for k in range(len(work))]
    assert [row["shots"] for row in rows] == [int(sum(item.shots.sum() for item in w)) for w in work]
    assert [row["id"] for row in rows] == [f"job-{k + 1:06d}" for k in range(len(work))]
    found = OwnDevice(folder=tmp_path)
    for k, w in enumerate(work):
        job = found.find(f"round {k}", w)
        assert job.id == rows[k]["id"]
        assert same(job.result(), run(OwnDevice(), *w, seed=k))


def test_a_job_is_its_line_whole_or_not_at_all(tmp_path):
    work = jobs()[0]
    device = OwnDevice(folder=tmp_path)
    device.submit(work, seed=0, tag="a")
    line = (tmp_path / "paid.jsonl").read_bytes()
    for kept in (0, 1, len(line) // 2, len(line) - 1):  # what a kill, or a full disk, leaves
        (tmp_path / "paid.jsonl").write_bytes(line[:kept])
        assert OwnDevice(folder=tmp_path).find("a", work) is None
        device.submit(work, seed=0, tag="a")
        assert (tmp_path / "paid.jsonl").read_bytes() == line


def test_a_tag_of_other_work_a_lost_file_and_a_broken_list_are_refused(tmp_path):
    work, other = jobs()[:2]
    device = OwnDevice(folder=tmp_path)
    device.submit(work, seed=0, tag="a")
    assert device.find("b", work) is None and device.find("", work) is None and OwnDevice().find("a", work) is None
    assert digest(work) != digest([work[0]._replace(shots=work[0].shots + 1)])
    with pytest.raises(qpr.QupropError, match="give this work a tag of its own"):
        device.find("a", other)
    data = (tmp_path / "job-000001.npz").read_bytes()
    for damaged in (b"", data[:100], b"x" + data[1:]):
        (tmp_path / "job-000001.npz").write_bytes(damaged)
        with pytest.raises(qpr.QupropError, match="bring the file back"):
            device.find("a", work)
    (tmp_path / "paid.jsonl").write_text("no json\n")
    with pytest.raises(qpr.QupropError, match="no list of jobs"):
        device.find("a", work)


def test_its_definition_is_plain(tmp_path):
    for noise in (None, "superconducting:0.1", qpr.NoiseModel(0.01, 0.02), lambda c: c):
        found = OwnDevice(noise=noise, folder=tmp_path, limits=Limits(qubits=4)).definition()
        assert json.loads(json.dumps(found)) == found and found["limits"] == {"qubits": 4}
