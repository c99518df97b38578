"""Circuits of plans on Qiskit's backends and samplers: against exact distributions, and what they refuse."""

import sys
import types

import numpy as np
import pytest
from device_laws import STATES, check_counts, chi_squared, random_circuit, random_work, same, truth
from scipy.stats import chi2

import quprop as qpr
from quprop.sampling.devices import DeviceCircuit, Limits, Work

pytest.importorskip("qiskit")
aer = pytest.importorskip("qiskit_aer")

from qiskit import QuantumCircuit  # noqa: E402
from qiskit.circuit import ParameterVector  # noqa: E402
from qiskit.primitives import BackendSamplerV2, BitArray, StatevectorEstimator, StatevectorSampler  # noqa: E402
from qiskit.providers.basic_provider import BasicSimulator  # noqa: E402
from qiskit.providers.fake_provider import GenericBackendV2  # noqa: E402
from qiskit.quantum_info import Statevector  # noqa: E402
from qiskit_aer.noise import NoiseModel, ReadoutError, coherent_unitary_error, depolarizing_error  # noqa: E402

from quprop.hybrid.devices import qiskit_sources  # noqa: E402
from quprop.hybrid.devices.qiskit import QiskitDevice  # noqa: E402
from quprop.hybrid.devices.qiskit_circuits import of_bits  # noqa: E402
from quprop.hybrid.qiskit_primitives import QupropEstimator, QupropSampler  # noqa: E402


class OwnSampler:
    """Of nobody's class, with `run` and what it gives back: a sampler all the same."""

    def run(self, pubs):
        return StatevectorSampler(seed=5).run(pubs)


IDEAL = {
    "aer": lambda: "aer",
    "aer_controlled": lambda: aer.AerSimulator(basis_gates=["cp", "crx", "cry", "crz", "rz", "sx", "cx"]),
    "aer_line": lambda: aer.AerSimulator(coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]]),
    "aer_mps": lambda: aer.AerSimulator(method="matrix_product_state"),
    "aer_sampler": lambda: aer.primitives.SamplerV2(),
    "statevector": lambda: StatevectorSampler(),
    "backend_sampler": lambda: BackendSamplerV2(backend=aer.AerSimulator()),
    "basic": lambda: BasicSimulator(),
    "generic": lambda: GenericBackendV2(5, noise_info=False, coupling_map=[[0, 1], [1, 2], [2, 3], [3, 4]], seed=1),
    "quprop": lambda: QupropSampler(seed=1),
    "duck": lambda: OwnSampler(),
}
SEEDED = [name for name in IDEAL if name != "duck"]


def circuit_of(n, *steps, measured=None, params=0):
    """steps: (name, *arguments); an argument ("a", k) is angle k."""
    angle = qpr.params("angle", params) if params else ()
    circuit = qpr.Circuit(n, params=angle)
    for name, *arguments in steps:
        getattr(circuit, name)(*[angle[a[1]] if isinstance(a, tuple) else a for a in arguments])
    return DeviceCircuit(circuit, tuple(range(n)) if measured is None else measured, 0)


def settings(circuit, *rows, shots=100):
    values = np.array(rows, float).reshape(len(rows), circuit.n_params)
    return Work(circuit, values, np.broadcast_to(shots, len(rows)).astype(np.int64))


def run(device, *work, seed=1, tag=""):
    return device.submit(list(work), seed=seed, tag=tag).result()


@pytest.mark.parametrize("given", IDEAL)
def test_counts_are_of_the_exact_distributions(given):
    rng = np.random.default_rng([7, len(given)])
    work = [random_work(rng, random_circuit(rng, state)) for state in STATES]
    work[1].shots[1] = work[1].shots[0]  # two settings in one pub, one in another
    check_counts(work, run(QiskitDevice(IDEAL[given]()), *work))


@pytest.mark.parametrize("given", ["aer", "statevector", "quprop", "generic"])
def test_twirling_leaves_the_distribution(given):
    rng = np.random.default_rng(3)
    work = [random_work(rng, random_circuit(rng), settings=2) for _ in range(2)]
    check_counts(work, run(QiskitDevice(IDEAL[given](), twirl=5, twirl_readout=True), *work))


@pytest.mark.parametrize("given", SEEDED)
@pytest.mark.parametrize("options", [{}, {"twirl": 3, "twirl_readout": True}])
def test_the_seed_decides_the_counts(given, options):
    rng = np.random.default_rng(4)
    work = [random_work(rng, random_circuit(rng, n=3), settings=2, shots=(150, 200)) for _ in range(2)]
    device = QiskitDevice(IDEAL[given](), **options)
    first, again, other = (run(device, *work, seed=seed) for seed in (8, 8, 9))
    assert same(first, again) and not same(first, other)


def test_settings_of_neighbouring_seeds_share_no_draws():
    """Aer seeds its experiments at equal distances, and a job's seed is not the first of them."""
    circuit = circuit_of(5, *[("h", q) for q in range(5)], ("rz", ("a", 0), 0), params=1)
    device = QiskitDevice("aer", optimisation_level=0)
    rows = settings(circuit, *[[0.3]] * 4, shots=400)
    first, second = (run(device, rows, seed=seed)[0] for seed in (11, 11 + 2113))
    drawn = [tuple(n.tolist()) for _, n in [*first, *second]]
    assert len(set(drawn)) == 8


@pytest.mark.parametrize("gate", ["cp", "crx", "cry", "crz"])
def test_angles_of_controlled_gates_are_bound_before_aer_sees_them(gate):
    """Aer's own binding gives other distributions."""
    angle = ParameterVector("a", 2)
    circuit = QuantumCircuit(2, 2)
    circuit.ry(0.8, 0)
    circuit.ry(angle[0], 1)
    getattr(circuit, gate)(angle[1], 0, 1)
    circuit.ry(0.7, 1)
    circuit.rx(0.4, 0)
    exact = Statevector(circuit.assign_parameters([0.5, 2.0])).probabilities()
    circuit.measure([0, 1], [0, 1])
    source = qiskit_sources.source_of("aer", {})
    pub = qiskit_sources.Pub(circuit, np.array([[0.1, 0.2], [0.5, 2.0]]), 100_000)
    outcomes, times = source.run([pub], 5, "", "").outcomes()[0][1]
    assert chi2.sf(*chi_squared(exact, outcomes, times)) > 1e-4


def test_angles_keep_their_places_beyond_ten():
    """As texts angle[10] comes before angle[2]; and those that drop out leave the others in place."""
    gates = [("rx", ("a", k), k) for k in range(12)] + [("rz", ("a", 12), 3)]
    circuit = circuit_of(12, *gates, measured=tuple(range(12))[::-1], params=13)
    bits = np.random.default_rng(0).integers(0, 2, (5, 12))
    work = settings(circuit, *np.c_[bits * np.pi, np.full(5, 0.4)], shots=10)
    for outcomes, wanted in zip(run(QiskitDevice("aer"), work)[0], bits, strict=True):
        assert outcomes[0].tolist() == [sum(int(b) << 11 - k for k, b in enumerate(wanted))]


def test_circuits_of_one_angle_and_of_none_run_beside_others():
    none = circuit_of(2, ("h", 0), ("cx", 0, 1))
    one = circuit_of(2, ("rx", ("a", 0), 1), params=1)
    many = circuit_of(2, ("rx", ("a", 1), 1), ("ry", ("a", 0), 0), params=2)
    work = [
        settings(none, [], [], shots=300),
        settings(one, [np.pi], [0.0], shots=(7, 9)),
        settings(many, [1.0, 2.0], shots=500),
    ]
    for given in ("aer", "statevector", "backend_sampler"):
        counts = run(QiskitDevice(IDEAL[given]()), *work)
        check_counts(work, counts)
        assert [(o.tolist(), n.tolist()) for o, n in counts[1]] == [([2], [7]), ([0], [9])]


def test_outcomes_of_more_bits_than_a_word_are_whole_numbers():
    flipped = [0, 5, 62, 63, 64, 69]
    work = settings(circuit_of(70, *[("x", q) for q in flipped]), [], shots=4)
    ((outcomes, times),) = run(QiskitDevice(aer.AerSimulator(method="stabilizer")), work)[0]
    assert outcomes.tolist() == [sum(1 << q for q in flipped)] and times.tolist() == [4]


@pytest.mark.parametrize("bits", [1, 8, 9, 63, 64, 100])
def test_samples_are_counted_as_the_numbers_they_are(bits):
    rng = np.random.default_rng(bits)
    shots = rng.integers(0, 2, (2, 30, bits)).astype(bool)
    found = of_bits(BitArray.from_bool_array(shots, order="little"), bits)
    for row, (outcomes, times) in zip(shots, found, strict=True):
        numbers = [sum(1 << b for b in range(bits) if shot[b]) for shot in row]
        assert {int(o): int(n) for o, n in zip(outcomes, times, strict=True)} == {x: numbers.count(x) for x in numbers}


def test_three_jobs_are_out_at_once():
    rng = np.random.default_rng(5)
    device = QiskitDevice("aer")
    work = [[random_work(rng, random_circuit(rng))] for _ in range(3)]
    jobs = [device.submit(w, seed=k, tag="") for k, w in enumerate(work)]
    for w, job in reversed(list(zip(work, jobs, strict=True))):
        check_counts(w, job.result())
        assert job.id == "" and same(job.result(), job.result()) and device.find("", w) is None


def test_a_circuit_is_compiled_once(monkeypatch):
    from quprop.hybrid.devices import qiskit as adapter

    seen, compiled = [], adapter.compiled
    monkeypatch.setattr(
        adapter, "compiled", lambda circuits, *a: [seen.append(len(circuits)), compiled(circuits, *a)][1]
    )
    device = QiskitDevice("aer")
    work = [random_work(np.random.default_rng(1), random_circuit(np.random.default_rng(k))) for k in (1, 2, 1)]
    first = device.prepare([w.circuit for w in work])
    run(device, *work)
    assert seen == [2] and first[0] == first[2] == device.prepare([work[0].circuit])[0]


# Noise


def misreading(*table, qubits=None):
    noise = NoiseModel()
    if qubits is None:
        noise.add_all_qubit_readout_error(ReadoutError(table))
    else:
        noise.add_readout_error(ReadoutError(table), qubits)
    return noise


def test_a_fake_backend_runs_with_its_noise_where_the_circuit_was_put():
    fake = pytest.importorskip("qiskit_ibm_runtime.fake_provider").FakeManilaV2()
    rng = np.random.default_rng(6)
    circuit = random_circuit(rng, measured=(2, 0, 3))
    work = random_work(rng, circuit, settings=2, shots=(4000, 4001))
    ones = settings(circuit_of(3, ("x", 2), ("cx", 2, 0), measured=(2, 1, 0)), [], shots=1000)
    for given in ("fake_manila", "Fake_Manila", fake):
        if given == "Fake_Manila":
            with pytest.raises(qpr.QupropError):
                QiskitDevice(given)
            continue
        device = QiskitDevice(given)
        assert device.name == "fake_manila" and device.limits == Limits(qubits=5)
        prepared = device.prepare([circuit])[0]
        counts = run(device, work, ones)
        for row, (outcomes, times) in zip(work.values, counts[0], strict=True):
            p = np.zeros(8)
            p[outcomes] = times / times.sum()
            assert 0.02 < np.abs(p - truth(circuit, row)).sum() / 2 < 0.5
        assert counts[1][0][0][counts[1][0][1].argmax()] == 0b101
        measure = fake.target["measure"]
        assert device.readout_errors(prepared.layout) == [
            pytest.approx((measure[(q,)].error, measure[(q,)].error), abs=2e-4) for q in prepared.layout
        ]
        # 4000 shots of what the gates and the readout take, and 250 microseconds between them
        assert prepared.seconds > 250e-6 + measure[(0,)].duration
        assert device.seconds([work]) == pytest.approx(prepared.seconds * work.shots.sum())
        assert device.price([work]) is None and prepared.two_qubit_gates >= circuit.circuit.n_qubits
    priced = QiskitDevice(fake, price_per_second=1.6)
    assert priced.price([work]) == pytest.approx(1.6 * priced.seconds([work]))


def test_errors_of_readout_are_told_and_counted():
    noise = misreading([0.9, 0.1], [0.3, 0.7], qubits=[1])
    for device in (
        QiskitDevice("aer", options={"noise_model": noise}),
        QiskitDevice(aer.AerSimulator(noise_model=noise)),
    ):
        assert device.readout_errors((0, 1)) == [(0.0, 0.0), pytest.approx((0.1, 0.3))]
        work = [settings(circuit_of(2, ("x", 0), ("x", 1)), [], shots=20_000)]
        ((outcomes, times),) = run(device, *work)[0]
        assert outcomes.tolist() == [1, 3] and times[0] == pytest.approx(6000, abs=5 * 65)


def test_circuits_are_made_of_the_gates_that_the_noise_is_of():
    """A turn that Aer could do at once is made of gates that err."""
    noise = NoiseModel(basis_gates=["cx", "rz", "sx", "x"])
    noise.add_all_qubit_quantum_error(depolarizing_error(0.5, 1), ["sx"])
    work = settings(circuit_of(1, ("rx", ("a", 0), 0), params=1), [0.0], shots=10_000)
    for twirl in (None, 3):
        device = QiskitDevice("aer", options={"noise_model": noise}, twirl=twirl, optimisation_level=0)
        assert device.prepare([work.circuit])[0].gates > 1
        ((_, times),) = run(device, work)[0]
        assert times[1] > 2000


def test_twirled_readout_errs_both_ways_alike():
    noise = misreading([1.0, 0.0], [0.3, 0.7])
    work = settings(circuit_of(2, ("x", 1)), [], shots=40_000)
    device = QiskitDevice("aer", twirl=400, twirl_readout=True, options={"noise_model": noise})
    ((outcomes, times),) = run(device, work)[0]
    p = np.zeros(4)
    p[outcomes] = times / 40_000
    flips = [p[1] + p[3], p[0] + p[1]]  # of qubit 0, which is 0, and of qubit 1, which is 1
    assert flips == [pytest.approx(0.15, abs=0.04)] * 2


def test_twirled_gates_turn_a_coherent_error_into_a_random_one():
    """A turn by eps about X of the target after each of n CX: of the amplitudes' sum sin^2(n eps / 2) comes, of
    probabilities' (1 - cos(eps)^n) / 2."""
    eps, n = 0.2, 8
    turn = np.array([[np.cos(eps / 2), -1j * np.sin(eps / 2)], [-1j * np.sin(eps / 2), np.cos(eps / 2)]])
    noise = NoiseModel(basis_gates=["cx", "rz", "sx", "x"])
    noise.add_all_qubit_quantum_error(coherent_unitary_error(np.kron(turn, np.eye(2))), ["cx"])
    work = settings(circuit_of(2, *[("cx", 0, 1)] * n, measured=(1,)), [], shots=30_000)
    found = []
    for twirl in (None, 600):
        device = QiskitDevice("aer", twirl=twirl, optimisation_level=0, options={"noise_model": noise})
        ((outcomes, times),) = run(device, work)[0]
        found.append(times[outcomes == 1].sum() / 30_000)
    assert found == [
        pytest.approx(np.sin(n * eps / 2) ** 2, abs=0.015),
        pytest.approx((1 - np.cos(eps) ** n) / 2, abs=0.02),
    ]


# IBM's machines, without one


class Service:
    def __init__(self):
        self.kept, self.fails = [], None

    def jobs(self, *, limit, backend_name, job_tags):
        return [j for j in self.kept if set(job_tags) <= set(j.tags)]


class Job:
    def __init__(self, service, inner, tags):
        self.tags, self._service, self._inner = tags, service, inner
        self._id = f"d{len(service.kept)}"

    def job_id(self):
        return self._id

    def status(self):
        return "ERROR" if self._service.fails else "DONE"

    def result(self):
        if self._service.fails:
            raise self._service.fails
        return self._inner.result()


@pytest.fixture
def machine():
    """IBM's sampler with one of their machines behind it: the classes' names are theirs, the rest is Aer's."""
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    from qiskit_ibm_runtime.options import SamplerOptions

    service = Service()
    fake = runtime.fake_provider.FakeManilaV2()
    kind = type("IBMBackend", (type(fake),), {"__module__": "qiskit_ibm_runtime.ibm_backend"})
    backend = kind()
    backend.service = service

    def start(self, mode, options=None):
        self.mode, self.options = None, SamplerOptions() if options is None else options

    def send(self, pubs):
        inner = BackendSamplerV2(backend=aer.AerSimulator(seed_simulator=3)).run(pubs)
        service.kept.append(Job(service, inner, list(self.options.environment.job_tags)))
        return service.kept[-1]

    base = type("BasePrimitiveV2", (), {"__module__": "qiskit_ibm_runtime.base_primitive"})
    own = {"__init__": start, "run": send, "backend": lambda self: backend, "__module__": "qiskit_ibm_runtime.sampler"}
    return type("SamplerV2", (base,), own)(backend), service


def test_a_job_of_a_machine_is_found_by_its_tag_from_another_process(machine):
    sampler, service = machine
    rng = np.random.default_rng(2)
    work = [random_work(rng, random_circuit(rng), settings=2) for _ in range(2)]
    sampler.options.environment.job_tags = ["mine"]
    options = {"twirl": 3, "twirl_readout": True}
    job = QiskitDevice(sampler, **options).submit(work, seed=12, tag="run-1")
    assert job.id == "d0" and service.kept[0].tags[:2] == ["mine", "run-1"]
    assert sampler.options.environment.job_tags == ["mine"]
    check_counts(work, job.result())
    other = QiskitDevice(sampler, **options)
    found = other.find("run-1", work)
    assert found.id == "d0" and same(found.result(), job.result())
    assert other.find("run-2", work) is None and other.find("", work) is None and len(service.kept) == 1
    with pytest.raises(qpr.QupropError, match=r"job d0 of fake_manila .* other circuits"):
        other.find("run-1", work[:1])
    assert other.limits == Limits(5, None, 100_000, 10_000_000)
    assert other.seconds(work) > 250e-6 * sum(int(w.shots.sum()) for w in work)


@pytest.mark.parametrize("error", ["RuntimeJobFailureError", "RuntimeInvalidStateError", "RuntimeJobMaxTimeoutError"])
def test_a_job_that_failed_is_named(machine, error):
    sampler, service = machine
    work = [settings(circuit_of(1, ("h", 0)), [])]
    job = QiskitDevice(sampler).submit(work, seed=1, tag="t")
    service.fails = getattr(__import__("qiskit_ibm_runtime.exceptions").exceptions, error)("was cancelled")
    for one in (job, QiskitDevice(sampler).find("t", work)):
        with pytest.raises(qpr.QupropError, match=f"job d0 of fake_manila gave no result .*{error}.*was cancelled"):
            one.result()


def test_twirling_by_the_service_is_refused(machine):
    sampler, _ = machine
    sampler.options.twirling.enable_gates = True
    with pytest.raises(qpr.QupropError, match="twirl=K"):
        QiskitDevice(sampler)


def test_a_sampler_whose_jobs_on_a_machine_would_be_lost_is_refused(machine):
    sampler, _ = machine
    other = types.SimpleNamespace(run=sampler.run, backend=sampler.backend)
    with pytest.raises(qpr.QupropError, match="found again"):
        QiskitDevice(other)


def test_a_local_sampler_of_the_service_is_seeded_and_keeps_nothing():
    runtime = pytest.importorskip("qiskit_ibm_runtime")
    with pytest.warns(DeprecationWarning):
        sampler = runtime.SamplerV2(mode=aer.AerSimulator())
    device = QiskitDevice(sampler)
    rng = np.random.default_rng(9)
    work = [random_work(rng, random_circuit(rng))]
    jobs = [device.submit(work, seed=seed, tag="t") for seed in (1, 1, 2)]
    first, again, other = (job.result() for job in jobs)
    check_counts(work, first)
    assert same(first, again) and not same(first, other) and jobs[0].id == "" and device.find("t", work) is None


def test_accounts_that_are_not_there_are_asked_for(monkeypatch):
    runtime = pytest.importorskip("qiskit_ibm_runtime")

    def none(*arguments, **more):
        raise runtime.accounts.exceptions.AccountNotFoundError("token=secret")

    monkeypatch.setattr(runtime, "QiskitRuntimeService", none)
    for name in ("ibm:fez", "ibm_fez"):
        with pytest.raises(qpr.QupropError, match="save an account once") as caught:
            qpr.device(name)
        assert "secret" not in str(caught.value)


# Refusals


BELL = circuit_of(2, ("h", 0), ("cx", 0, 1))


@pytest.mark.parametrize(
    "make, what",
    [
        (lambda: QiskitDevice(StatevectorEstimator()), "expectation values"),
        (lambda: QiskitDevice(QupropEstimator()), "expectation values"),
        (lambda: QiskitDevice(type("SamplerV1", (), {"version": 1, "run": print})()), "interface V1"),
        (lambda: QiskitDevice(type("BackendV1", (), {"run": print})()), "interface V1"),
        (lambda: QiskitDevice(3), "BackendV2"),
        (lambda: QiskitDevice("foo"), "'fake_NAME'"),
        (lambda: QiskitDevice("fake_manilla"), "did you mean 'fake_manila'"),
        (lambda: QiskitDevice("aer", options={"metod": "statevector"}), "did you mean 'method'"),
        (lambda: QiskitDevice("aer", options={"shots": 3}), "no option 'shots'"),
        (lambda: QiskitDevice(StatevectorSampler(), options={"a": 1}), "stand in the sampler"),
        (lambda: QiskitDevice("aer", optimisation_level=4), "0, 1, 2 or 3"),
        (lambda: QiskitDevice("aer", twirl=0), "whole number from 1"),
        (lambda: QiskitDevice("aer", twirl_readout=True), "twirl=K"),
        (lambda: QiskitDevice("aer", price_per_second=-1), "0 or more"),
        (lambda: QiskitDevice(GenericBackendV2(2)).prepare([circuit_of(3, ("h", 2))]), "has 2 qubits.*needs 3"),
        (lambda: QiskitDevice("aer").prepare([circuit_of(2, ("depolarising", 0.1, 0))]), "channel|nois"),
        (lambda: QiskitDevice("aer").prepare([DeviceCircuit(BELL.circuit, (0, 0), 0)]), "each once"),
        (lambda: run(QiskitDevice("aer"), settings(BELL, [], shots=0)), "1 or more"),
        (lambda: run(QiskitDevice("aer"), Work(BELL, np.zeros((1, 3)), np.array([5]))), r"\(settings, 0\)"),
        (lambda: run(QiskitDevice("aer"), settings(circuit_of(1, ("rx", ("a", 0), 0), params=1), [np.nan])), "finite"),
        (lambda: run(QiskitDevice("aer"), settings(BELL, []), seed=-1), "seed"),
    ],
)
def test_what_cannot_be_run_is_refused(make, what):
    if "manil" in what:
        pytest.importorskip("qiskit_ibm_runtime")
    with pytest.raises(qpr.QupropError, match=what):
        make()


def test_work_beyond_a_jobs_limits_is_refused_before_it_starts(machine):
    sampler, service = machine
    device = QiskitDevice(sampler)
    for work, what in (
        (settings(BELL, [], shots=100_001), "100000 times at most"),
        (settings(BELL, *[[]] * 101, shots=100_000), "10,000,000 executions"),
    ):
        with pytest.raises(qpr.QupropError, match=what):
            device.submit([work], seed=1, tag="")
    few = GenericBackendV2(2)
    type(few).max_circuits = property(lambda self: 2)
    try:
        limited = qiskit_sources.QiskitSource("few", few)
        assert limited.limits == Limits(2, 2)
    finally:
        type(few).max_circuits = property(lambda self: None)
    assert not service.kept


def test_gates_that_a_backend_lacks_are_refused():
    backend = GenericBackendV2(2, basis_gates=["rz", "sx", "x"], coupling_map=[[0, 1]])
    with pytest.raises(qpr.QupropError, match="cannot compile"):
        QiskitDevice(backend).prepare([BELL])


# Names


def test_devices_are_found_by_name_and_by_what_they_are(monkeypatch):
    device = QiskitDevice("aer")
    assert qpr.device(device) is device
    for given in ("aer", aer.AerSimulator(), StatevectorSampler(), OwnSampler(), GenericBackendV2(2)):
        assert isinstance(qpr.device(given, optimisation_level=1), QiskitDevice)
    mine = types.ModuleType("mine_of_test")
    mine.device, mine.name, mine.number = (lambda: aer.AerSimulator()), (lambda: "aer"), 3
    monkeypatch.setitem(sys.modules, "mine_of_test", mine)
    assert qpr.device("mine_of_test:device", twirl=2).definition()["twirl"] == 2
    assert qpr.device("mine_of_test:name").name == "aer"
    for given, options, what in (
        ("mine_of_test:number", {}, "is no function"),
        ("mine_of_test:none", {}, "names no function"),
        ("no_such_module:f", {}, "names no function"),
        ("quprob", {}, "did you mean 'quprop'"),
        ("aerial", {}, "no device has the name"),
        ("aer", {"twril": 3}, "its options are .*twirl"),
        (device, {"twirl": 3}, "has its options already"),
        (3, {}, "a device is a name"),
    ):
        with pytest.raises(qpr.QupropError, match=what):
            qpr.device(given, **options)


def test_what_a_run_folder_keeps_is_plain():
    import json

    device = QiskitDevice("aer", twirl=2, options={"noise_model": NoiseModel(), "method": "automatic"})
    kept = json.loads(json.dumps(device.definition()))
    assert kept == device.definition() and kept["options"] == {"noise_model": "NoiseModel", "method": "automatic"}
    assert kept["name"] == "aer" and kept["versions"]["qiskit-aer"] == aer.__version__
