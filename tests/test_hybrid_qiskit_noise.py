"""Noise models of Aer, in circuits, primitives and gradients: against Qiskit's density matrices, and Aer's own."""

import types

import numpy as np
import pytest
from tolerances import assert_close

import quprop as qpr
from quprop.errors import QupropError

pytest.importorskip("qiskit")
pytestmark = pytest.mark.filterwarnings("default")

from qiskit import QuantumCircuit  # noqa: E402
from qiskit.circuit import ParameterVector  # noqa: E402
from qiskit.circuit import library as lib  # noqa: E402
from qiskit.quantum_info import DensityMatrix, Kraus, Pauli, SparsePauliOp, SuperOp, random_unitary  # noqa: E402

from quprop.hybrid.qiskit import from_qiskit, to_qiskit  # noqa: E402
from quprop.hybrid.qiskit_gradient import exact_gradients  # noqa: E402
from quprop.hybrid.qiskit_primitives import QupropEstimator, QupropSampler  # noqa: E402
from quprop.hybrid.transfer import steps_of_kraus  # noqa: E402

GATES = {"rx": 1, "ry": 1, "rz": 1, "h": 1, "sx": 1, "id": 1, "cx": 2, "cz": 2, "rzz": 2}
LABELS = ["IIZ", "XYZ", "ZIX", "IYI", "ZZZ", "XXI", "YIY"]


class Error(types.SimpleNamespace):
    """As a `QuantumError` of Aer is read."""

    def __init__(self, channel):
        super().__init__(num_qubits=channel.num_qubits, channel=channel)

    def to_quantumchannel(self):
        return self.channel


def model(default=(), local=(), readout=None, readouts=(), basis=GATES, passes=()):
    """As a `NoiseModel` of Aer is read."""
    errors = {"number_of_qubits": 1}
    return types.SimpleNamespace(
        _default_quantum_errors={k: Error(v) for k, v in dict(default).items()},
        _local_quantum_errors={k: {q: Error(e) for q, e in v.items()} for k, v in dict(local).items()},
        _default_readout_error=None if readout is None else types.SimpleNamespace(probabilities=readout, **errors),
        _local_readout_errors={q: types.SimpleNamespace(probabilities=t, **errors) for q, t in dict(readouts).items()},
        _custom_noise_passes=list(passes),
        basis_gates=list(basis),
    )


def pauli(**shares):
    n = len(next(iter(shares)))
    rest = 1 - sum(shares.values())
    return SuperOp(Kraus([np.sqrt(p) * Pauli(w).to_matrix() for w, p in {**shares, "I" * n: rest}.items()]))


def depolarising(p, n):
    words = ["".join(w) for w in np.ndindex(*(4,) * n) for w in [["IXYZ"[k] for k in w]]][1:]
    return pauli(**{w: p / len(words) for w in words})


def damping(gamma, excited=0.0):
    s, t = np.sqrt(1 - gamma), np.sqrt(gamma)
    down = [np.diag([1, s]), np.array([[0, t], [0, 0]])]
    up = [np.diag([s, 1]), np.array([[0, 0], [t, 0]])]
    return SuperOp(Kraus([np.sqrt(1 - excited) * k for k in down] + [np.sqrt(excited) * k for k in up]))


def relaxation(t1, t2, time, excited=0.0):
    """Its Choi matrix, by the equations of decay."""
    a, b = np.exp(-time / t2), np.exp(-time / t1)
    up = (1 - b) * excited
    down = (1 - b) * (1 - excited)
    choi = np.array([[1 - up, 0, 0, a], [0, up, 0, 0], [0, 0, down, 0], [a, 0, 0, 1 - down]])
    from qiskit.quantum_info import Choi

    return SuperOp(Choi(choi))


def setting(p0, p1):
    return SuperOp(
        Kraus(
            [np.sqrt(1 - p0 - p1) * np.eye(2)]
            + [np.sqrt(p) * np.eye(2)[:, [i]] @ np.eye(2)[[j]] for i, p in ((0, p0), (1, p1)) for j in (0, 1)]
        )
    )


PAIR = relaxation(40.0, 30.0, 15.0, 0.05).expand(relaxation(50.0, 70.0, 15.0, 0.2))
ERRORS = {
    "depolarising": {"rx": depolarising(0.1, 1), "cx": depolarising(0.2, 2), "rzz": depolarising(0.1, 2)},
    "pauli": {"h": pauli(X=0.1, Y=0.05), "cx": pauli(XY=0.1, ZI=0.2, IY=0.05), "cz": pauli(XX=0.3)},
    "damping": {"rx": damping(0.2), "ry": damping(0.3, 0.2), "cz": damping(0.2).tensor(damping(0.1, 1.0))},
    "relaxation": {
        "rx": relaxation(50.0, 70.0, 8.0),
        "rz": relaxation(50.0, 100.0, 80.0, 0.4),
        "h": relaxation(50.0, 20.0, 8.0, 0.1),
        "cx": PAIR,
    },
    "reset": {"rx": setting(0.1, 0.3), "sx": setting(0.3, 0.7), "id": setting(1.0, 0.0), "ry": setting(0.0, 1.0)},
    "device": {"cx": depolarising(0.1, 2).compose(PAIR), "cz": PAIR.compose(depolarising(0.1, 2))},
    "reset_and_flip": {"cz": setting(1.0, 0.0).tensor(pauli(X=0.2)), "cx": pauli(Z=0.1).tensor(setting(0.0, 1.0))},
}


def random_qiskit(rng, n=3, depth=22):
    qc = QuantumCircuit(n)
    for _ in range(depth):
        name = str(rng.choice(list(GATES)))
        qubits = [int(q) for q in rng.permutation(n)[: GATES[name]]]
        angle = [float(rng.uniform(-3, 3))] if name.startswith("r") else []
        getattr(qc, name)(*angle, *qubits)
        if rng.random() < 0.1:
            qc.reset(qubits[0])
    return qc


def evolved(qc, noise):
    """The density matrix, operation by operation."""
    rho = DensityMatrix.from_label("0" * qc.num_qubits)
    for item in qc.data:
        qubits = [qc.find_bit(q).index for q in item.qubits]
        operation = damping(1.0) if item.name == "reset" else item.operation
        if item.name != "barrier":
            rho = rho.evolve(operation, qubits)
        error = noise._local_quantum_errors.get(item.name, {}).get(tuple(qubits))
        error = error or noise._default_quantum_errors.get(item.name)
        if error is not None:
            rho = rho.evolve(error.channel, qubits)
    return rho


def means(rho, labels=LABELS):
    return np.array([rho.expectation_value(SparsePauliOp(label)).real for label in labels])


@pytest.mark.parametrize("name", ERRORS)
def test_each_kind_of_error_is_that_of_qiskits_density_matrices(name):
    rng = np.random.default_rng(3)
    noise = model(ERRORS[name])
    for _ in range(4):
        qc = random_qiskit(rng)
        found = qpr.expectation(from_qiskit(qc, [SparsePauliOp(s) for s in LABELS], noise_model=noise), [])
        assert_close(found, means(evolved(qc, noise)), 1e4)


def test_an_error_for_certain_qubits_stands_in_place_of_that_for_all():
    noise = model(
        {"cx": depolarising(0.3, 2), "rx": pauli(X=0.4)},
        {"cx": {(2, 0): pauli(XY=0.2)}, "rx": {(1,): damping(0.5)}},
    )
    qc = QuantumCircuit(3)
    for q in range(3):
        qc.rx(0.4 + q, q)
    qc.cx(2, 0)
    qc.cx(0, 2)
    found = qpr.expectation(from_qiskit(qc, [SparsePauliOp(s) for s in LABELS], noise_model=noise), [])
    assert_close(found, means(evolved(qc, noise)), 1e3)


def test_a_label_stands_in_place_of_the_name_and_what_a_gate_is_made_of_has_no_noise():
    noise = model({"x": pauli(Z=0.5), "mine": pauli(X=0.25), "pair": pauli(ZX=0.2)}, basis=[*GATES, "x"])
    qc = QuantumCircuit(2)
    qc.append(lib.XGate(label="mine"), [0])
    qc.append(lib.XGate(label="other"), [0])
    assert_close(qpr.expectation(from_qiskit(qc, "Z0", noise_model=noise), []), [0.5], 10)
    unitary = random_unitary(4, seed=2)
    qc.append(lib.UnitaryGate(unitary, label="pair"), [0, 1])
    rho = DensityMatrix.from_label("00").evolve(pauli(X=0.25), [0]).evolve(unitary).evolve(pauli(ZX=0.2))
    found = qpr.expectation(from_qiskit(qc, [SparsePauliOp("XZ"), SparsePauliOp("ZY")], noise_model=noise), [])
    assert_close(found, means(rho, ["XZ", "ZY"]), 1e4)


def test_a_definition_without_noise_of_its_own_has_that_of_its_gates():
    noise = model({"cx": depolarising(0.2, 2)})
    inner = QuantumCircuit(2, name="block")
    inner.h(0)
    inner.cx(0, 1)
    qc = QuantumCircuit(2)
    qc.append(inner.to_instruction(), [1, 0])
    qc.append(lib.PauliEvolutionGate(SparsePauliOp("ZZ"), 0.3), [0, 1])
    with pytest.raises(QupropError, match=r"none of its basis gates \(cx, .*transpile"):  # of the evolution's own gates
        from_qiskit(qc, "Z0", noise_model=model({"cx": depolarising(0.2, 2)}, basis=["cx", "h"]))
    whole = model({"cx": depolarising(0.2, 2)}, basis=[*GATES, "PauliEvolution"])
    rho = evolved(qc.decompose("block"), noise)
    labels = ["XX", "ZZ", "YX"]
    found = qpr.expectation(from_qiskit(qc, [SparsePauliOp(s) for s in labels], noise_model=whole), [])
    assert_close(found, means(rho, labels), 1e4)


def confused(p, tables):
    """The distribution (2^n,) of bits whose qubit q is read by tables[q][true][read]."""
    n = len(tables)
    p = p.reshape((2,) * n)
    for q, table in enumerate(tables):
        p = np.moveaxis(np.tensordot(np.asarray(table).T, p, axes=(1, n - 1 - q)), 0, n - 1 - q)
    return p.ravel()


READ = [[0.97, 0.03], [0.1, 0.9]], [[0.8, 0.2], [0.05, 0.95]]


def readout_model():
    return model({"rx": damping(0.2), "cx": depolarising(0.1, 2)}, readout=READ[0], readouts={(1,): READ[1]})


def prepared(measured=()):
    qc = QuantumCircuit(3, len(measured))
    for q in range(3):
        qc.rx(0.5 + q, q)
    qc.cx(0, 1)
    qc.cx(1, 2)
    qc.measure(measured, range(len(measured)))
    return qc


def test_measured_bits_are_misread_and_others_are_not():
    noise = readout_model()
    rho = evolved(prepared(), noise)
    found = qpr.probabilities(qpr.Model(from_qiskit(prepared([1, 2]), noise_model=noise), "I"), [])
    expected = confused(rho.probabilities(), [np.eye(2), READ[1], READ[0]])
    assert_close(found, expected, 1e3)


def test_each_pauli_string_is_misread_in_its_own_basis():
    noise = readout_model()
    found = qpr.expectation(
        from_qiskit(prepared(), [SparsePauliOp(s) for s in [*LABELS, "III"]], noise_model=noise), []
    )
    expected = []
    for label in [*LABELS, "III"]:
        rho = evolved(prepared(), noise)
        for q, letter in enumerate(reversed(label)):
            for gate in {"X": ["h"], "Y": ["sdg", "h"]}.get(letter, []):
                turn = QuantumCircuit(1)
                getattr(turn, gate)(0)
                rho = rho.evolve(turn, [q])
        p = confused(rho.probabilities(), [READ[0], READ[1], READ[0]])
        mask = int("".join("01"[letter != "I"] for letter in label), 2)
        expected.append(sum(p[i] * (-1) ** (i & mask).bit_count() for i in range(8)))
    assert_close(found, expected, 1e3)
    (value,) = QupropEstimator(noise_model=noise).run([(prepared(), SparsePauliOp(LABELS[1]))]).result()
    assert_close(value.data.evs, expected[1], 1e3)


def test_an_error_before_the_measurement_is_a_misread_bit():
    flip = model({"measure": pauli(X=0.2)})
    qc = QuantumCircuit(1, 1)
    qc.ry(0.7, 0)
    qc.measure(0, 0)
    found = qpr.probabilities(qpr.Model(from_qiskit(qc, noise_model=flip), "I"), [])
    p = np.array([np.cos(0.35) ** 2, np.sin(0.35) ** 2])
    assert_close(found, 0.8 * p + 0.2 * p[::-1], 100)
    with pytest.raises(QupropError, match="turns the qubit"):
        from_qiskit(qc, noise_model=model({"measure": SuperOp(lib.HGate())}))


def test_estimates_with_shots_have_the_stated_errors_under_noise():
    noise = readout_model()
    operator = SparsePauliOp.from_list([("XYZ", 1.0), ("ZZI", 0.5), ("IIY", -0.3), ("III", 0.2)])
    exact = QupropEstimator(noise_model=noise).run([(prepared(), operator)]).result()[0].data.evs
    theta = ParameterVector("t", 1)
    qc = prepared()
    qc.rz(theta[0], 0)  # so that there is a batch
    runs = QupropEstimator(noise_model=noise, seed=1).run([(qc, operator, np.zeros((400, 1)))], precision=0.05)
    data = runs.result()[0].data
    assert (data.stds <= 0.05 * (1 + 1e-9)).all()
    assert abs(data.evs.mean() - exact) < 4 * 0.05 / 20
    assert 0.85 < data.evs.std() / data.stds.mean() < 1.15


def test_samples_of_a_noisy_circuit_have_its_distribution_and_idle_qubits_take_no_memory():
    noise = readout_model()
    qc = QuantumCircuit(40, 4)
    qc.compose(prepared(), [3, 17, 30], inplace=True)
    qc.measure([3, 17, 30, 5], [0, 1, 2, 3])
    wide = model({"rx": damping(0.2), "cx": depolarising(0.1, 2)}, readout=READ[0], readouts={(17,): READ[1]})
    shots = 40_000
    counts = QupropSampler(seed=2, noise_model=wide).run([qc], shots=shots).result()[0].data.c.get_counts()
    p = confused(evolved(prepared(), noise).probabilities(), [READ[0], READ[1], READ[0]])
    expected = np.concatenate([READ[0][0][0] * p, READ[0][0][1] * p])
    found = np.array([counts.get(f"{i:04b}", 0) for i in range(16)]) / shots
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / shots)
    value = QupropEstimator(noise_model=wide).run([(qc, "I" * 22 + "Z" + "I" * 17)]).result()[0].data.evs
    assert_close(value, sum(p[i] * (-1) ** (i >> 1 & 1) for i in range(8)), 1e3)


def test_gradients_are_those_of_the_noisy_values():
    noise = readout_model()
    t = ParameterVector("t", 3)
    qc = QuantumCircuit(3)
    for q in range(3):
        qc.rx(t[q] * (q + 1), q)
    qc.cx(0, 1)
    operator = SparsePauliOp.from_list([("IZZ", 1.0), ("YIX", 0.5)])
    point = np.array([0.3, -0.4, 0.9])
    (found,) = exact_gradients([qc], [operator], [point], [list(t)], noise)
    estimator = QupropEstimator(noise_model=noise)
    steps = 1e-5 * np.eye(3)
    plus, minus = (estimator.run([(qc, operator, point + s * steps)]).result()[0].data.evs for s in (1, -1))
    np.testing.assert_allclose(found, (plus - minus) / 2e-5, atol=1e-9)


def test_the_gradient_of_a_library_has_its_estimators_noise():
    pytest.importorskip("qiskit_machine_learning")
    from quprop.hybrid.qiskit_gradient import QupropGradient

    t = ParameterVector("t", 1)
    qc = QuantumCircuit(1)
    qc.rx(t[0], 0)
    noise = model({"rx": depolarising(0.3, 1)})
    gradient = QupropGradient(QupropEstimator(noise_model=noise))
    found = gradient.run([qc], [SparsePauliOp("Z")], [[0.4]]).result().gradients[0]
    assert_close(found, [-0.6 * np.sin(0.4)], 100)


def test_delays_have_the_noise_of_passes():
    class Pass(types.SimpleNamespace):
        pass

    passing = Pass(
        _ops=(type(QuantumCircuit(1).delay(3, 0)[0].operation),),
        _method="append",
        _func=lambda op, qubits: Error(relaxation(50.0, 40.0, op.duration, 0.1)) if qubits == [0] else None,
    )
    noise = model(passes=[passing])
    qc = QuantumCircuit(2)
    qc.h(0)
    qc.h(1)
    qc.delay(7, 0)
    qc.delay(7, 1)
    found = qpr.expectation(from_qiskit(qc, ["X0", "Z0", "X1"], noise_model=noise), [])
    assert_close(found, [np.exp(-7 / 40), (1 - np.exp(-7 / 50)) * 0.8, 1.0], 100)
    with pytest.raises(QupropError, match="does more than append"):
        from_qiskit(qc, noise_model=model(passes=[types.SimpleNamespace()]))


def _wide():
    noise = model()
    noise._local_readout_errors = {(0, 1): None}
    return noise


@pytest.mark.parametrize(
    ("noise", "sentence"),
    [
        (lambda: 3, "noise_model is a NoiseModel of qiskit_aer.noise, got int"),
        (lambda: model({"h": SuperOp(lib.RYGate(0.1))}), "instruction 0, h on qubit 0: the noise model's error of 'h'"),
        (lambda: model({"cx": SuperOp(random_unitary(4, seed=1))}), "neither a mixture of Pauli strings nor a damping"),
        (lambda: model({"h": pauli(XX=0.1)}), "an error of 2 qubits for 'h', which acts on 1"),
        (lambda: model(basis=["cx"]), "none of its basis gates"),
        (_wide, "readout of several qubits together"),
    ],
)
def test_noise_that_there_is_not_is_refused_in_one_sentence(noise, sentence):
    qc = QuantumCircuit(2)
    qc.h(0)
    qc.cx(0, 1)
    with pytest.raises(QupropError) as caught:
        from_qiskit(qc, "Z0", noise_model=noise())
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_reset_is_written_and_read():
    circuit = qpr.Circuit(2).h(0).cx(0, 1).reset(0).ry(0.3, 0).reset(1)
    assert from_qiskit(to_qiskit(circuit)) == circuit
    with pytest.raises(QupropError, match="to_qiskit takes no noise"):
        to_qiskit(circuit.copy().reset(0, probability=0.5))
    qc = QuantumCircuit(2)
    qc.reset(0)  # of a qubit in |0>: nothing
    qc.h(0)
    assert not from_qiskit(qc).channels


def test_a_full_reset_is_one_channel():
    (step,) = steps_of_kraus([np.diag([1.0, 0.0]), np.array([[0.0, 1.0], [0.0, 0.0]])], "it")
    assert step.name == "generalised_amplitude_damping" and step.strengths == (1.0, 0.0)


def test_kraus_operators_that_are_no_such_noise_are_refused():
    rng = np.random.default_rng(0)
    unitary = random_unitary(2, seed=rng).data
    with pytest.raises(QupropError, match="neither"):
        steps_of_kraus([unitary], "it")
    with pytest.raises(QupropError, match="neither"):  # damping along X
        h = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
        steps_of_kraus([h @ k @ h for k in (np.diag([1, np.sqrt(0.7)]), np.array([[0, np.sqrt(0.3)], [0, 0]]))], "it")


def test_aers_own_errors_are_those_of_its_density_matrices():
    pytest.importorskip("qiskit_aer")
    import qiskit_aer.noise as aer
    from qiskit_aer import AerSimulator

    pair = aer.thermal_relaxation_error(50, 70, 15, 0.2).expand(aer.thermal_relaxation_error(40, 30, 15, 0.05))
    errors = {
        "rx": aer.depolarizing_error(0.03, 1),
        "ry": aer.phase_amplitude_damping_error(0.1, 0.2, 0.3),
        "rz": aer.thermal_relaxation_error(50, 70, 5),
        "h": aer.thermal_relaxation_error(50, 40, 5, 0.1),
        "sx": aer.reset_error(0.3, 0.7),
        "id": aer.amplitude_damping_error(0.1, 0.2),
        "cx": aer.depolarizing_error(0.05, 2).compose(pair),
        "cz": pair.compose(aer.depolarizing_error(0.05, 2)),
        "rzz": aer.pauli_error([("XY", 0.1), ("ZI", 0.2), ("II", 0.7)]),
        "reset": aer.pauli_error([("X", 0.2), ("I", 0.8)]),
    }
    noise = aer.NoiseModel(basis_gates=list(GATES))
    for name, error in errors.items():
        noise.add_all_qubit_quantum_error(error, name)
    noise.add_quantum_error(aer.depolarizing_error(0.1, 2), "cx", [1, 0], warnings=False)
    simulator = AerSimulator(method="density_matrix", noise_model=noise, zero_threshold=1e-30)
    rng = np.random.default_rng(5)
    for _ in range(10):
        qc = random_qiskit(rng)
        saved = qc.copy()
        saved.save_density_matrix()
        rho = DensityMatrix(simulator.run(saved).result().data()["density_matrix"])
        found = qpr.expectation(from_qiskit(qc, [SparsePauliOp(s) for s in LABELS], noise_model=noise), [])
        assert_close(found, means(rho), 1e5)


def test_a_backends_noise_is_that_of_aer():
    pytest.importorskip("qiskit_aer")
    fake = pytest.importorskip("qiskit_ibm_runtime.fake_provider")
    from qiskit import transpile
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel

    backend = fake.FakeManilaV2()
    noise = NoiseModel.from_backend(backend)
    theta = ParameterVector("t", 6)
    qc = QuantumCircuit(3)
    for q in range(3):
        qc.ry(theta[q], q)
    qc.cx(0, 1)
    qc.cx(1, 2)
    for q in range(3):
        qc.rx(theta[3 + q], q)
    there = transpile(qc, backend, initial_layout=[3, 2, 1], seed_transpiler=1)
    there.delay(1000, 2, "ns")
    point = np.random.default_rng(0).uniform(-3, 3, 6)
    saved = there.assign_parameters(point)
    saved.save_density_matrix()
    simulator = AerSimulator(method="density_matrix", noise_model=noise, zero_threshold=1e-30)
    rho = DensityMatrix(simulator.run(saved).result().data()["density_matrix"])
    tables = [np.asarray(noise._local_readout_errors[q,].probabilities) for q in range(5)]
    p = confused(rho.probabilities(), tables)
    there.measure_all()
    found = qpr.probabilities(qpr.Model(from_qiskit(there, noise_model=noise), "I"), point)
    assert_close(found, p, 1e5)
