"""Laws of PennyLane's devices: counts follow the exact distribution, whatever device draws them."""

import json

import numpy as np
import pytest
from device_laws import STATES, N, check_counts, random_circuit, random_work, same

import quprop as qpr
from quprop.sampling.devices.device import DeviceCircuit, Work

qml = pytest.importorskip("pennylane")

from quprop.hybrid.devices import pennylane as module  # noqa: E402
from quprop.hybrid.devices.pennylane import PennyLaneDevice  # noqa: E402

AMPLITUDES = np.exp(1j * np.arange(1 << N)) * (1 + np.arange(1 << N))  # which PennyLane prepares
NAMES = ["default.qubit", "lightning.qubit", "quprop"]


def made(name, **options):
    if name == "lightning.qubit":
        pytest.importorskip("pennylane_lightning")
    return PennyLaneDevice(name, **options)


def run(device, *work, seed=0):
    return device.submit(work, seed=seed, tag="").result()


def work_of(circuit, measured, shots=(100,)):
    return Work(DeviceCircuit(circuit, measured, 0), np.empty((len(shots), 0)), np.array(shots))


@pytest.mark.parametrize("name", NAMES)
def test_counts_follow_the_exact_distribution(name):
    for k, state in enumerate([*STATES, AMPLITUDES]):
        rng = np.random.default_rng([21, k])
        work = [random_work(rng, random_circuit(rng, state), 3) for _ in range(2)]
        check_counts(work, run(made(name), *work))


@pytest.mark.parametrize("name", NAMES)
def test_bit_b_is_that_of_the_bth_measured_qubit(name):
    circuit = qpr.Circuit(4).x(2).x(1)  # nothing acts on qubits 0 and 3
    small = work_of(qpr.Circuit(2).x(0), (1, 0), (3,))  # of fewer qubits in the same batch
    for measured, expected in [((0, 1, 2, 3), 6), ((2, 0), 1), ((0, 2), 2), ((1, 3), 1), ((3,), 0), ((3, 2, 0), 2)]:
        found, other = run(made(name), work_of(circuit, measured, (1, 9)), small)
        assert [o.tolist() for o, _ in found] == [[expected]] * 2 and [c.tolist() for _, c in found] == [[1], [9]]
        assert other[0][0].tolist() == [2] and other[0][1].tolist() == [3]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_counts_and_numpy_is_left_alone(name):
    circuit = qpr.Circuit(3).ry(1.0, 0).cx(0, 1).h(2)
    work, device = work_of(circuit, (2, 0, 1), (1000, 1000)), made(name)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = run(device, work, seed=5)
    assert same(first, run(made(name), work, seed=5)) and device.definition()["seeded"]
    assert not same(first, run(device, work, seed=6))
    assert not np.array_equal(first[0][0][1], first[0][1][1])  # settings have draws of their own
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_a_device_with_wires_of_its_own_is_run_as_it_is():
    """Qubit q is wire q along its wires; it draws anew at every call."""
    rng = np.random.default_rng(22)
    device = PennyLaneDevice(qml.device("default.qubit", wires=["c", "a", 7, "b", "spare"], seed=3))
    assert device.limits.qubits == 5 and device.name == "default.qubit" and not device.definition()["seeded"]
    work = [random_work(rng, random_circuit(rng, state, measured=(3, 0, 2)), 2) for state in (STATES[2], AMPLITUDES)]
    first = run(device, *work, seed=5)
    check_counts(work, first)
    again = run(device, *work, seed=5)
    check_counts(work, again)
    assert not same(first, again)


def test_many_samples_are_several_batches(monkeypatch):
    monkeypatch.setattr(module, "_BATCH_BITS", 5000)
    rng = np.random.default_rng(23)
    work = random_work(rng, random_circuit(rng, measured=(2, 0)), 9, (100, 4000))
    batches = []
    execute = qml.execute
    monkeypatch.setattr(module.qml, "execute", lambda tapes, *a, **k: batches.append(tapes) or execute(tapes, *a, **k))
    check_counts([work], run(PennyLaneDevice(), work))
    assert 2 < len(batches) < 9 and sum(map(len, batches)) == 9


@pytest.mark.parametrize("name", NAMES)
def test_barriers_stay_between_their_gates(name):
    given = DeviceCircuit(qpr.Circuit(2).ry(0.7, 0).cx(0, 1).cx(0, 1), (0, 1), 1, barriers=(1, 3))
    work = Work(given, np.empty((1, 0)), np.array([2000]))
    device = made(name)
    (tape,) = device._tapes(work, [0, 1])
    assert [op.name for op in tape.operations] == ["RY", "Barrier", "CNOT", "CNOT", "Barrier"]
    check_counts([work], run(device, work))


def test_noise_of_a_device_acts():
    noise = qpr.NoiseModel(readout=0.1)
    work = work_of(qpr.Circuit(2).x(1), (0, 1), (4000,))
    by_name = PennyLaneDevice("quprop", noise=noise)
    for device in (by_name, PennyLaneDevice(qml.device("quprop", wires=2, noise=noise, seed=1))):
        check_counts([work], run(device, work), lambda *_: np.array([0.09, 0.01, 0.81, 0.09]))
    assert json.loads(json.dumps(by_name.definition()))["options"] == {"noise": "NoiseModel"}


REFUSED = [
    (lambda: PennyLaneDevice("no.such"), "PennyLane has no device 'no.such'"),
    (lambda: PennyLaneDevice(3), "a PennyLane device is a name"),
    (lambda: PennyLaneDevice(qml.device("default.qubit"), seed=2), "without any"),
    (lambda: PennyLaneDevice(qml.device("default.qubit", wires=2)).prepare([work_of(qpr.Circuit(3), (0,)).circuit]),
     "2 qubits, and this circuit needs 3"),
    (lambda: PennyLaneDevice().prepare([work_of(qpr.Circuit(1).depolarising(0.1, 0), (0,)).circuit]), "no noise"),
    (lambda: run(PennyLaneDevice(), work_of(qpr.Circuit(1), (0,), (0,))), "1 or more"),
    (lambda: run(PennyLaneDevice("default.clifford"), work_of(qpr.Circuit(1).rx(0.3, 0), (0,))), "did not run this"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "words"), REFUSED)
def test_what_it_cannot_run_is_refused(what, words):
    with pytest.raises(qpr.QupropError, match=words) as refused:
        what()
    assert "\n" not in str(refused.value)


def test_nothing_is_remembered_and_no_price_is_known():
    device = PennyLaneDevice()
    work = [work_of(qpr.Circuit(1), (0,))]
    assert device.submit(work, seed=0, tag="a").id == "" and device.find("a", work) is None
    assert device.price(work) is None and device.seconds(work) is None
    assert device.prepare([DeviceCircuit(qpr.Circuit(2).h(0).cx(0, 1), (1,), 0)])[0] == (1, 2, 2, None, (1,))
