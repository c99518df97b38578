"""Laws of Braket's devices: counts of its local simulators follow the exact distribution; tasks on AWS, played by a
local simulator behind AWS's functions, are paid once and found again."""

import json
from types import SimpleNamespace

import dense
import numpy as np
import pytest
from device_laws import STATES, check_counts, random_circuit, random_work, same

import quprop as qpr
from quprop.model.gates import GATES
from quprop.sampling.devices.device import DeviceCircuit, Work

pytest.importorskip("braket.circuits")

from braket.circuits.noise_model import GateCriteria, NoiseModel
from braket.circuits.noises import BitFlip
from braket.devices import LocalSimulator

from quprop.hybrid.devices import braket as module
from quprop.hybrid.devices.braket import BraketDevice
from quprop.hybrid.devices.flat import FlatGate, flat_gates, lowered

BARE = frozenset({"cx", "rx", "ry", "rz"})  # what every machine has, or more
ION = BARE | {"x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "rxx", "ryy", "rzz", "swap"}


def run(device, *work, seed=0):
    return device.submit(work, seed=seed, tag="").result()


def work_of(circuit, measured, shots=(100,)):
    return Work(DeviceCircuit(circuit, measured, 0), np.empty((len(shots), 0)), np.array(shots))


@pytest.mark.parametrize("state", range(len(STATES)))
def test_counts_follow_the_exact_distribution(state):
    rng = np.random.default_rng([11, state])
    work = [random_work(rng, random_circuit(rng, STATES[state]), 2 - k) for k in range(2)]
    check_counts(work, run(BraketDevice("braket"), *work))


@pytest.mark.filterwarnings("ignore:You are running a noise-free circuit")
def test_bit_b_is_that_of_the_bth_measured_qubit():
    circuit = qpr.Circuit(4).x(2).x(1)  # nothing acts on qubits 0 and 3
    for name in ("braket", "braket:braket_dm"):
        device = BraketDevice(name)
        for measured, expected in [((0, 1, 2, 3), 6), ((2, 0), 1), ((0, 2), 2), ((1, 3), 1), ((3,), 0), ((3, 2, 0), 2)]:
            (outcomes, counts), (_, more) = run(device, work_of(circuit, measured, (5, 9)))[0]
            assert outcomes.tolist() == [expected] and counts.tolist() == [5] and more.tolist() == [9]


@pytest.mark.parametrize("known", [BARE, ION], ids=["bare", "ion"])
def test_gates_that_a_machine_lacks_are_written_in_those_it_has(known):
    """The states of dense matrices agree up to a phase, for every gate and several Pauli strings, from a product state
    whose gates are written too."""
    rng = np.random.default_rng(12)
    gates = [qpr.Circuit(3).gate(g, *rng.uniform(-3, 3, GATES[g].n_angles), *rng.permutation(3)[: GATES[g].n_qubits])
             for g in GATES]  # fmt: skip
    gates += [qpr.Circuit(3).rotation(p, 0.7) for p in ("X0 Y1 Z2", "Y2 Y0", "-X1 Z0", "Z0 X2", "Y1")]
    for circuit in gates:
        circuit.state = qpr.Circuit(3, np.array([[0.6, 0.8j], [0.28, -0.96], [0.8, 0.6]])).state
        parts = [part for gate in flat_gates(circuit, "it") for part in lowered(gate, known, "it")]
        assert {part.name for part in parts} <= known
        other = qpr.Circuit(3)
        for part in parts:
            other.gate(part.name, *part.angles, *part.qubits)
        overlap = np.vdot(dense.final_state(circuit, ()), dense.final_state(other, ()))
        assert abs(abs(overlap) - 1) < 1e-12, circuit


def test_what_no_machine_has_is_refused():
    for name, qubits in (("cz", (0, 1)), ("rz", (0,))):
        gate = FlatGate(name, (qpr.params("a", 1)[0],) if name == "rz" else (), qubits)
        with pytest.raises(qpr.QupropError, match="the device x has no gate"):
            list(lowered(gate, frozenset({"rx", "ry", "h"}), "the device x"))


def test_the_same_seed_gives_the_same_counts_and_numpy_is_left_alone():
    rng = np.random.default_rng(13)
    circuit = qpr.Circuit(3).ry(1.0, 0).cx(0, 1).h(2)
    work = work_of(circuit, (2, 0, 1), (1000, 1000))
    device = BraketDevice("braket")
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = run(device, work, seed=5)
    assert same(first, run(BraketDevice("braket"), work, seed=5)) and device.definition()["seeded"]
    assert not same(first, run(device, work, seed=6))
    assert not np.array_equal(first[0][0][1], first[0][1][1])  # settings have seeds of their own
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    simulator = LocalSimulator("braket_sv")
    run(BraketDevice(simulator), work, seed=int(rng.integers(100)))
    assert "initialize_simulation" not in vars(simulator._delegate)  # as it was


def test_noise_of_a_local_simulator_acts():
    noise = NoiseModel()
    noise.add_noise(BitFlip(0.2), GateCriteria())
    angle = qpr.params("angle", 1)
    work = Work(DeviceCircuit(qpr.Circuit(2).rx(angle[0], 1), (1,), 1), np.array([[0.5]]), np.array([4000]))
    counts = run(BraketDevice(LocalSimulator("braket_dm", noise_model=noise)), work)
    p = np.sin(0.25) ** 2
    ones = 0.8 * p + 0.2 * (1 - p)
    check_counts([work], counts, lambda *_: np.array([1 - ones, ones]))


def test_gates_and_depth_are_counted():
    angle = qpr.params("angle", 2)
    circuit = qpr.Circuit(3).h(0).rotation("Z0 X1 Y2", angle[0]).rzz(angle[1], 0, 1)
    found = BraketDevice("braket").prepare([DeviceCircuit(circuit, (2, 0), 2)])[0]
    # h; h, sqrt(X), 2 CNOT, RZ, 2 CNOT, h, sqrt(X)^-1; ZZ
    assert found[:4] == (5, 11, 8, None) and found.layout == (2, 0)
    device, stopped = BraketDevice("braket"), DeviceCircuit(circuit, (2, 0), 2, barriers=(0, 2, 3))
    assert device.prepare([stopped])[0] == found
    source = device._compile(stopped).program.source
    assert source.count("barrier") == 3 and source.index("barrier") < source.index("h q[0]")
    assert source.rindex("barrier") < source.index("measure") and "barrier q[0], q[1], q[2];\nzz(" in source
    work = random_work(np.random.default_rng(14), stopped, 2)
    check_counts([work], run(device, work))


REFUSED = [
    (lambda: BraketDevice("braket:no_such"), "braket_dm"),
    (lambda: BraketDevice("arn:no/machine"), "arn:no/machine did not run"),
    (lambda: BraketDevice("aer"), "called"),
    (lambda: BraketDevice(3), "run and properties"),
    (lambda: BraketDevice("braket").prepare([DeviceCircuit(qpr.Circuit(27), (0,), 0)]), "26 qubits"),
    (lambda: run(BraketDevice(), work_of(qpr.Circuit(1).depolarising(0.1, 0), (0,))), "takes no noise"),
    (lambda: run(BraketDevice(), work_of(qpr.Circuit(2, np.array([0.6, 0, 0, 0.8])), (0,))), "amplitudes"),
    (lambda: run(BraketDevice(), work_of(qpr.Circuit(1), (0,), (0,))), "1 or more"),
]


@pytest.mark.parametrize(("what", "words"), REFUSED)
def test_what_it_cannot_run_is_refused(what, words):
    with pytest.raises(qpr.QupropError, match=words) as refused:
        what()
    assert "\n" not in str(refused.value)


# AWS


class Cloud:
    """A machine on AWS and its session: tasks have tags, are found by search, and are counted."""

    arn, name = "arn:aws:braket:::device/qpu/x/One", "One"

    def __init__(self, unit="shot", stops=None, fails=None):
        self.tasks, self.stops, self.fails = {}, stops, fails or {}
        self.local = LocalSimulator("braket_sv")
        shared = self.local.properties
        cost = SimpleNamespace(price=0.001, unit=unit)
        self.properties = SimpleNamespace(
            service=SimpleNamespace(shotsRange=(10, 2000), deviceCost=cost),
            paradigm=SimpleNamespace(qubitCount=4),
            action=shared.action,
        )
        self.aws_session = SimpleNamespace(braket_client=self)

    def run(self, spec, *, shots, inputs, tags, s3_destination_folder):
        assert s3_destination_folder == ("bucket", "folder")
        if len(self.tasks) == self.stops:
            raise RuntimeError("ServiceQuotaExceeded:\nwait")
        arn = f"task/{len(self.tasks)}"
        failed = self.fails.get(len(self.tasks))
        result = None if failed else self.local.run(spec, shots=shots, inputs=inputs).result()
        if result:  # a machine reads its qubits in an order of its own
            bits, qubits = result.measurements[:, ::-1], result.measured_qubits[::-1]
            result = SimpleNamespace(measurements=bits, measured_qubits=qubits)
        task = SimpleNamespace(id=arn, result=lambda: result, state=lambda: failed or "COMPLETED")
        task.metadata = lambda: {"failureReason": "the machine was off"}
        self.tasks[arn] = (task, {"quantumTaskArn": arn, "tags": tags, "shots": shots, "status": task.state()})
        return task

    def search_quantum_tasks(self, filters, nextToken="0"):
        assert filters == [{"name": "deviceArn", "operator": "EQUAL", "values": [self.arn]}]
        rows = [
            {"quantumTaskArn": "of another", "shots": 3, "status": "QUEUED"},
            *(row for _, row in self.tasks.values()),
        ]
        place = int(nextToken)
        page = {"quantumTasks": rows[place : place + 2]}
        return page | ({"nextToken": str(place + 2)} if place + 2 < len(rows) else {})


@pytest.fixture
def aws(monkeypatch):
    def made(**options):
        cloud = Cloud(**options)
        monkeypatch.setattr(module, "_aws_task", lambda arn, session: session.braket_client.tasks[arn][0])
        return cloud, BraketDevice(cloud, s3_destination_folder=("bucket", "folder"))

    return made


def some_work():
    angle = qpr.params("angle", 2)
    circuit = DeviceCircuit(qpr.Circuit(3).ry(angle[0], 0).cx(0, 2).rx(angle[1], 1), (2, 1), 2)
    return [Work(circuit, np.array([[0.3, 1.0], [2.0, -0.4]]), np.array([900, 1500])),
            Work(circuit, np.array([[1.2, 0.2]]), np.array([700]))]  # fmt: skip


def test_tasks_on_aws_are_paid_once_and_found_by_their_tag(aws):
    cloud, device = aws()
    work = some_work()
    job = device.submit(work, seed=0, tag="round 1")
    check_counts(work, job.result())
    assert job.id == "task/0,task/1,task/2" and len(cloud.tasks) == 3
    found = device.find("round 1", work)
    assert found.id == job.id and same(found.result(), job.result()) and len(cloud.tasks) == 3
    assert device.find("round 2", work) is None and device.find("", work) is None
    with pytest.raises(qpr.QupropError, match="give this work a tag of its own"):
        device.find("round 1", work[:1])
    assert device.price(work) == pytest.approx(3 * 0.30 + 3100 * 0.001) and aws(unit="minute")[1].price(work) is None
    assert BraketDevice().price(work) == 0 and device.seconds(work) is None


def test_a_job_that_was_handed_in_by_half_is_completed(aws):
    cloud, device = aws(stops=2)
    work = some_work()
    with pytest.raises(qpr.QupropError, match="taken 2 of 3 tasks") as refused:
        device.submit(work, seed=0, tag="a")
    assert "\n" not in str(refused.value)
    cloud.stops = None
    job = device.find("a", work)
    check_counts(work, job.result())
    assert job.id == "task/0,task/1,task/2" and [row["shots"] for _, row in cloud.tasks.values()] == [900, 1500, 700]


def test_limits_of_a_machine_and_tasks_that_fail_are_told(aws):
    cloud, device = aws(fails={1: "CANCELLED", 2: "RUNNING"})
    assert device.limits == (4, None, 2000, None)
    for shots, words in [(9, "10 times at least"), (2001, "2000 times at most")]:
        with pytest.raises(qpr.QupropError, match=words):
            device.submit([work_of(qpr.Circuit(1), (0,), (20, shots))], seed=0, tag="a")
    with pytest.raises(qpr.QupropError, match="4 qubits, and this circuit needs 5"):
        device.prepare([DeviceCircuit(qpr.Circuit(5), (0,), 0)])
    for options in ({"barriers": (0,)}, {"placed": True}):  # which only a compiler that we call keeps
        with pytest.raises(qpr.QupropError, match="may not stay"):
            device.prepare([DeviceCircuit(qpr.Circuit(2).h(0), (0,), 0, **options)])
    assert not cloud.tasks
    job = device.submit(some_work(), seed=0, tag="a")
    with pytest.raises(qpr.QupropError, match=r"task task/1 ended as CANCELLED.*the machine was off"):
        job.result()
    again = device.find("a", some_work())  # nothing is paid again unasked
    assert again.id == "task/0,task/1,task/2"
    with pytest.raises(qpr.QupropError, match="task task/1 ended as CANCELLED"):
        again.result()
    found = device.definition()
    assert json.loads(json.dumps(found)) == found and found["arn"] == cloud.arn and "bucket" not in str(found)


def test_aws_receives_the_program_its_inputs_and_its_tags_through_its_own_library():
    """`AwsDevice` of the SDK itself, over a session that keeps what would be sent."""
    aws = pytest.importorskip("braket.aws")
    sent = []

    class Session:
        def create_quantum_task(self, **fields):
            sent.append(fields)
            return f"arn/{len(sent)}"

        def get_quantum_task(self, arn):
            kind = {"actionType": "braket.ir.openqasm.program"}
            return {"status": "FAILED", "failureReason": "the lights went out", "actionMetadata": kind}

    class Machine(aws.AwsDevice):
        properties, name, arn = LocalSimulator("braket_sv").properties, "Two", Cloud.arn

        def __init__(self):
            self._arn, self._aws_session, self._poll_interval_seconds = self.arn, Session(), 1
            self._noise_model = None

    device, (work, _) = BraketDevice(Machine(), s3_destination_folder=("bucket", "folder")), some_work()
    job = device.submit([work], seed=0, tag="t")
    assert job.id == "arn/1,arn/2"
    for k, (fields, shots) in enumerate(zip(sent, work.shots, strict=True)):
        action = json.loads(fields["action"])
        assert fields["shots"] == shots and fields["outputS3Bucket"] == "bucket"
        assert (fields["tags"]["quprop-tag"], fields["tags"]["quprop-place"]) == ("t", str(k))
        assert action["inputs"] == dict(zip(("angle_0", "angle_1"), work.values[k], strict=True))
        assert "cnot q[0], q[2];" in action["source"]
    with pytest.raises(qpr.QupropError, match=r"task arn/1 ended as FAILED.*the lights went out"):
        job.result()
    assert module._aws_task("arn/1", Session()).id == "arn/1"
