"""The PennyLane device and `from_pennylane`, against default.qubit (dense, independent) and closed forms."""

import inspect
import subprocess
import sys
import warnings

import numpy as np
import pytest

import quprop as qpr

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PennyLane and what it imports may warn about each other
    qml = pytest.importorskip("pennylane", minversion="0.45")
    from pennylane import numpy as pnp
    from scipy.linalg import expm

    from quprop.hybrid import pennylane as hybrid
    from quprop.hybrid.pennylane import QupropDevice, from_pennylane
    from quprop.hybrid.pennylane.gates import CLIFFORD_TURNS, RULES, PauliExp, word
    from quprop.hybrid.pennylane.observables import from_matrix
    from quprop.model.gates import GATES, Clifford

# What PennyLane, Autograd and JAX warn of among themselves is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")
WIRES = {"PauliRot": 3, "MultiRZ": 3, "Identity": 1, "GlobalPhase": 1}
CLOSE = 1e-12


def rng(seed=0):
    return np.random.default_rng(seed)


def nodes(function, wires=4, diff_method="adjoint"):
    """The same function on our device and on default.qubit."""
    ours = qml.QNode(function, QupropDevice(wires), diff_method=diff_method)
    dense = qml.device("default.qubit", wires=wires)
    return ours, qml.QNode(function, dense, diff_method=diff_method and "backprop")


def mixed(weights, x):
    qml.AngleEmbedding(x, wires=range(4))
    qml.StronglyEntanglingLayers(weights, wires=range(4))


def is_noise(name):
    kind = getattr(qml, name, None)
    return name == "KnownChannel" or (isinstance(kind, type) and issubclass(kind, qml.operation.Channel))


def energy(weights, x):
    mixed(weights, x)
    return qml.expval(0.5 * qml.Z(0) @ qml.X(1) + 0.3 * qml.Y(3) - qml.Z(2))


@pytest.mark.parametrize("name", [name for name in RULES if not is_noise(name)])
def test_every_gate_is_pennylanes_matrix_with_its_global_phase(name):
    rule, values = RULES[name], rng(1).uniform(-6, 6, RULES[name].n_angles)
    if name.startswith("Adjoint("):
        op = qml.adjoint(getattr(qml, name[8:-1])(0))
    elif name == "PauliExp":
        op = PauliExp(values[0], (("XYZ", 0.7), ("ZZI", -0.4), ("III", 0.3)), range(3))
    elif name == "PauliRot":
        op = qml.PauliRot(values[0], "XYZ", wires=range(3))
    else:
        kind = getattr(qml, name)
        op = kind(*values, wires=range(WIRES.get(name) or kind.num_wires))
    n = len(op.wires)
    circuit = qpr.Circuit(n)
    rule.build(circuit, list(values), [n - 1 - i for i in range(n)], rule.extra and rule.extra(op))
    turns, phase = [], rule.phase[0] + np.dot(rule.phase[1], values)
    for gate in circuit.operations:
        if isinstance(gate.target, qpr.PauliString):
            turns.append((gate.target, gate.angles[0].constant))
        elif isinstance(gate.target, qpr.PauliSum):
            turns += [(p, c * gate.angles[0].constant) for p, c in gate.target.items()]
        else:
            for step in GATES[gate.name].builder(*gate.angles):
                if isinstance(step, Clifford):
                    phase += CLIFFORD_TURNS[step.name][1]
                    places = [gate.target[q] for q in step.qubits]
                    turns += [(word(letters, places), angle) for letters, angle in CLIFFORD_TURNS[step.name][0]]
                else:
                    turns.append((word(step.pauli, gate.target), step.angle.constant))
    unitary = np.exp(1j * phase) * np.eye(2**n)
    for pauli, angle in turns:
        unitary = expm(-0.5j * angle * pauli.matrix(n)) @ unitary
    assert np.abs(unitary - qml.matrix(op)).max() < CLOSE


SPARSE = qml.Hamiltonian([1.0], [qml.X(1)]).sparse_matrix()  # made outside of any circuit: inside it would be queued
MEASUREMENTS = {
    "expval": lambda: qml.expval(qml.Z(0) @ qml.X(1) + 0.3 * qml.Y(3)),
    "hermitian": lambda: qml.expval(qml.Hermitian(np.array([[1, 2j], [-2j, 0]]), 2)),
    "hermitian_two": lambda: qml.expval(qml.Hermitian(np.diag([1.0, 2.0, -1.0, 0.5]) + 0.2, [2, 0])),
    "projector": lambda: qml.expval(qml.Projector([0, 1], [3, 1])),
    "projector_state": lambda: qml.expval(qml.Projector(np.array([0.6, 0.8j]), [2])),
    "product": lambda: qml.expval(qml.Hermitian(np.array([[1, 2j], [-2j, 0]]), 2) @ qml.Z(0)),
    "sparse": lambda: qml.expval(qml.SparseHamiltonian(SPARSE, wires=[1])),
    "var": lambda: qml.var(qml.Z(0) @ qml.X(1) + 0.3 * qml.Y(0) + 0.2 * qml.Z(2)),
    "probs": lambda: qml.probs(wires=[2, 0, 3]),
    "probs_of": lambda: qml.probs(op=qml.X(0)),
    "state": lambda: qml.state(),
    "density": lambda: qml.density_matrix([2, 0]),
    "purity": lambda: qml.purity([0, 2]),
    "entropy": lambda: qml.vn_entropy([0]),
    "mutual_info": lambda: qml.mutual_info([0], [2, 1]),
}


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_every_measurement_is_that_of_default_qubit(name, batch):
    def circuit(weights, x):
        mixed(weights, x)
        qml.GlobalPhase(0.3)
        qml.PhaseShift(np.pi / 2, 2)
        qml.RX(np.pi / 2, 0)  # an odd quarter turn, where a phase could go either way
        qml.QFT(wires=range(3))
        return MEASUREMENTS[name]()

    ours, dense = nodes(circuit, diff_method=None)
    x = rng().uniform(-7, 7, (4,) if batch is None else (batch, 4))
    weights = rng(1).uniform(-7, 7, (2, 4, 3))
    assert np.abs(ours(weights, x) - dense(weights, x)).max() < 1e-12


@pytest.mark.parametrize("broadcast", [False, True])
def test_one_backward_sweep_is_the_gradient_of_all_results(broadcast):
    def circuit(weights, x):
        mixed(weights, x)
        return qml.expval(qml.Z(0) @ qml.X(1)), qml.probs(wires=[0, 2]), qml.var(qml.Y(3) + 0.3 * qml.Z(0))

    x = pnp.array(rng().uniform(-1, 1, (5, 4) if broadcast else (4,)), requires_grad=True)
    weights = pnp.array(rng(1).uniform(-1, 1, (2, 4, 3)), requires_grad=True)
    gradients = []
    for node in nodes(circuit):
        gradients.append(qml.grad(lambda w, v, f=node: sum((r**2).sum() for r in f(w, v)))(weights, x))
    for ours, dense in zip(*gradients, strict=True):
        assert np.abs(ours - dense).max() < CLOSE


def test_whole_jacobians_are_those_of_backpropagation():
    def circuit(weights, x):
        mixed(weights, x)
        return qml.expval(qml.Z(0)), qml.probs(wires=[1])

    weights, x = pnp.array(rng(1).uniform(-1, 1, (1, 4, 3)), requires_grad=True), np.zeros(4)
    for device_vjp in (False, True):
        ours = qml.QNode(circuit, QupropDevice(4), diff_method="adjoint", device_vjp=device_vjp)
        dense = qml.QNode(circuit, qml.device("default.qubit"), diff_method="backprop")
        a, b = (qml.jacobian(lambda w, f=f: pnp.hstack(f(w, x)))(weights) for f in (ours, dense))
        assert np.abs(a - b).max() < CLOSE


def test_best_and_device_are_adjoint_and_parameter_shift_agrees():
    weights, x = pnp.array(rng(2).uniform(-1, 1, (1, 4, 3)), requires_grad=True), np.ones(4)
    device = QupropDevice(4)
    found = [
        qml.grad(qml.QNode(energy, device, diff_method=m))(weights, x)
        for m in ("best", "device", "adjoint", "parameter-shift")
    ]
    for other in found[1:]:
        assert np.abs(found[0] - other).max() < CLOSE
    with qml.Tracker(device) as tracker:
        qml.grad(qml.QNode(energy, device))(weights, x)
    assert tracker.totals["derivatives"] == 1


def test_tapes_of_one_structure_are_one_model():
    device, x = QupropDevice(4), np.zeros(4)
    node = qml.QNode(energy, device)
    for seed in range(3):
        node(rng(seed).uniform(-1, 1, (1, 4, 3)), x)
    assert len(device._reader._known) == 1


def test_initial_states_are_taken_and_their_batch_is_one_call():
    vectors = rng().normal(size=(3, 8))

    def embedded(v, w):
        qml.AmplitudeEmbedding(v, wires=range(3), normalize=True)
        qml.StronglyEntanglingLayers(w, wires=range(4))
        return qml.expval(qml.Z(0) @ qml.Y(2))

    def based(w):
        qml.BasisState(np.array([1, 0, 1]), wires=[3, 0, 1])
        qml.StronglyEntanglingLayers(w, wires=range(4))
        return qml.state()

    w = rng(1).uniform(-1, 1, (2, 4, 3))
    complex_vector = vectors[0] + 1j * vectors[1]
    for v in (vectors[0], vectors, complex_vector, np.stack([complex_vector, complex_vector.conj()])):
        ours, dense = nodes(embedded, diff_method=None)
        assert np.abs(ours(v, w) - dense(v, w)).max() < CLOSE
    ours, dense = nodes(based, diff_method=None)
    assert np.abs(ours(w) - dense(w)).max() < CLOSE


@pytest.mark.parametrize("results", [1, 2])
@pytest.mark.parametrize("broadcast", [False, True])
def test_amplitudes_are_differentiated_too(broadcast, results):
    def circuit(v, w):
        qml.AmplitudeEmbedding(v, wires=[2, 0], normalize=True)
        qml.StronglyEntanglingLayers(w, wires=range(3))
        return [qml.expval(o) for o in (qml.Z(0) @ qml.Y(2), qml.X(1))[:results]]

    v = pnp.array(rng().normal(size=(3, 4) if broadcast else 4), requires_grad=True)
    w = pnp.array(rng(1).uniform(-1, 1, (1, 3, 3)), requires_grad=True)
    ours, dense = (qml.grad(lambda v, w, f=f: sum(pnp.sum(r) for r in f(v, w)))(v, w) for f in nodes(circuit, 3))
    for a, b in zip(ours, dense, strict=True):
        assert np.abs(a - b).max() < CLOSE


def test_the_derivative_by_a_coefficient_is_its_terms_expectation_value():
    def node(a, c):
        qml.RX(a, 0)
        return qml.expval(qml.Hamiltonian(c, [qml.Z(0), qml.Y(0)]))

    a, c = (pnp.array(v, requires_grad=True) for v in (0.7, [0.3, 0.2]))
    by_angle, by_coefficients = qml.grad(qml.QNode(node, QupropDevice(2), diff_method="adjoint"))(a, c)
    assert by_angle == pytest.approx(-0.3 * np.sin(0.7) - 0.2 * np.cos(0.7), abs=CLOSE)
    assert np.abs(by_coefficients - [np.cos(0.7), -np.sin(0.7)]).max() < CLOSE


def test_wires_may_be_any_labels_and_need_not_be_given():
    def circuit(a):
        qml.RX(a, "b")
        qml.CNOT(["b", 7])
        qml.RY(2 * a, "c")
        return qml.expval(qml.Z(7) @ qml.X("c")), qml.probs(wires=["c", "b"])

    for wires in (None, ["c", 7, "x", "b"]):
        found = qml.QNode(circuit, QupropDevice(wires))(0.3)
        assert found[0] == pytest.approx(np.cos(0.3) * np.sin(0.6), abs=CLOSE)
        c, b = (np.cos(0.3) ** 2, np.sin(0.3) ** 2), (np.cos(0.15) ** 2, np.sin(0.15) ** 2)
        assert np.abs(found[1] - np.kron(c, b)).max() < CLOSE


def test_shots_and_shot_vectors_estimate_the_exact_values():
    def circuit(x):
        mixed(np.ones((1, 4, 3)), x)
        return qml.expval(0.5 * qml.Z(0) + qml.X(1) @ qml.Z(2)), qml.probs(wires=[0, 1]), qml.counts(wires=[0])

    x = rng().uniform(-1, 1, 4)
    device = QupropDevice(4, seed=5)
    exact = qml.QNode(circuit, device)
    shots = 40_000
    values, p, counts = qml.set_shots(exact, shots)(x)
    state = nodes(lambda x: (mixed(np.ones((1, 4, 3)), x), qml.state())[1], diff_method=None)[1](x)
    true = (abs(state) ** 2).reshape(4, 4).sum(axis=1)
    total = 0.5 * qml.Z(0) + qml.X(1) @ qml.Z(2)
    value = np.vdot(state, qml.matrix(total, wire_order=range(4)) @ state).real
    assert abs(values - value) < 5 * 1.5 / np.sqrt(shots)
    assert np.abs(p - true).max() < 5 * 0.5 / np.sqrt(shots)
    assert sum(counts.values()) == shots
    vector = qml.set_shots(exact, (10, 10, 500))(x)
    assert [sum(part[2].values()) for part in vector] == [10, 10, 500]


def test_the_seed_fixes_the_samples_and_numpys_global_state_is_left_alone():
    def circuit():
        qml.Hadamard(0)
        return qml.sample(wires=[0])

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a, b, c = (
        qml.set_shots(qml.QNode(circuit, QupropDevice(1, seed=s)), 50)() for s in (3, np.random.default_rng(3), 4)
    )
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_measurements_in_the_middle_are_deferred():
    def circuit(a):
        qml.RX(a, 0)
        m = qml.measure(0)
        qml.cond(m, qml.RY)(0.4, wires=1)
        return qml.expval(qml.Z(1)), qml.expval(m), qml.probs(op=m)

    value, mean, p = qml.QNode(circuit, QupropDevice(3))(0.7)
    one = np.sin(0.35) ** 2
    assert value == pytest.approx(1 - one + one * np.cos(0.4), abs=CLOSE)
    assert mean == pytest.approx(one, abs=CLOSE)
    assert np.abs(p - [1 - one, one]).max() < CLOSE


def test_a_matrix_is_its_pauli_sum():
    m = rng().normal(size=(8, 8)) + 1j * rng(1).normal(size=(8, 8))
    m = m + m.conj().T
    total = from_matrix(m, ["a", "b", "c"], {"a": 2, "b": 1, "c": 0})
    assert np.abs(total.matrix(3) - m).max() < CLOSE


def test_a_hamiltonian_of_many_tensors_is_not_walked_through_again():
    coefficients = pnp.array(rng().uniform(-1, 1, 40), requires_grad=False)
    strings = [qml.pauli.string_to_pauli_word("".join(rng(k).choice(list("XYZ"), 4))) for k in range(40)]
    hamiltonian = qml.Hamiltonian(coefficients, strings)

    def circuit(weights, x):
        mixed(weights, x)
        return qml.expval(hamiltonian)

    weights, x = pnp.array(rng(1).uniform(-1, 1, (1, 4, 3)), requires_grad=True), np.zeros(4)
    ours, dense = nodes(circuit)
    assert np.abs(qml.grad(ours)(weights, x) - qml.grad(dense)(weights, x)).max() < 1e-11
    tape = qml.workflow.construct_tape(ours, level="device")(weights, x)
    assert len(tape.get_parameters(trainable_only=False)) == weights.size + x.size


@pytest.mark.slow
def test_jax_transformations_agree_with_backpropagation():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    try:
        weights, xs = rng().uniform(-1, 1, (1, 4, 3)), rng(1).uniform(-1, 1, (3, 4))
        ours, dense = nodes(energy)
        sweep = qml.QNode(energy, QupropDevice(4), diff_method="adjoint", device_vjp=True)
        expected = np.stack([qml.grad(dense)(pnp.array(weights), x) for x in xs])
        weights, xs = jax.numpy.array(weights), jax.numpy.array(xs)
        for node in (ours, sweep):
            assert np.abs(jax.jit(jax.grad(node))(weights, xs[0]) - expected[0]).max() < CLOSE
            assert np.abs(jax.jit(jax.vmap(jax.grad(node), (None, 0)))(weights, xs) - expected).max() < CLOSE
            assert np.abs(jax.grad(lambda w, f=node: f(w, xs).sum())(weights) - expected.sum(axis=0)).max() < CLOSE
        assert np.abs(jax.vmap(jax.grad(sweep), (None, 0))(weights, xs) - expected).max() < CLOSE
        assert np.abs(jax.jacfwd(ours)(weights, xs[0]) - expected[0]).max() < CLOSE
        with pytest.raises(qpr.QupropError, match="first order"):
            jax.hessian(ours)(weights, xs[0])
    finally:
        jax.config.update("jax_enable_x64", False)


def test_torch_layers_train_and_refuse_a_second_derivative():
    torch = pytest.importorskip("torch")

    def circuit(inputs, w):
        qml.AngleEmbedding(inputs, wires=range(3))
        qml.BasicEntanglerLayers(w, wires=range(3))
        return [qml.expval(qml.Z(i)) for i in range(3)]

    gradients = []
    for node in nodes(circuit, 3):
        torch.manual_seed(0)
        layer = qml.qnn.TorchLayer(node, {"w": (2, 3)})
        net = torch.nn.Sequential(torch.nn.Linear(5, 3), layer, torch.nn.Linear(3, 1))
        net(torch.rand(7, 5)).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert (gradients[0] - gradients[1]).abs().max() < 1e-5  # the layers around it are in single precision
    # PennyLane issue 9901: with classical work before the circuit the second derivative is silently incomplete
    node = qml.QNode(lambda a: (qml.RX(a, 0), qml.expval(qml.Z(0)))[1], QupropDevice(1), diff_method="adjoint")
    x = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(qpr.QupropError, match="first order"):
        torch.autograd.grad(node(torch.tanh(1.7 * x + 0.2)), x, create_graph=True)


def _second_order():
    node = qml.QNode(lambda a: (qml.RX(a, 0), qml.expval(qml.Z(0)))[1], QupropDevice(1), diff_method="adjoint")
    qml.grad(qml.grad(lambda a: node(pnp.tanh(a))))(pnp.array(0.3, requires_grad=True))


def _run(*results, ops=(), shots=None, device=None, **options):
    def circuit(a):
        qml.RX(a, 0)
        for op in ops:
            qml.apply(op)
        return results[0]() if len(results) == 1 else tuple(r() for r in results)

    node = qml.QNode(circuit, device or QupropDevice(2), **options)
    if shots:
        node = qml.set_shots(node, shots)
    return qml.grad(node)(pnp.array(0.3, requires_grad=True))


def _middle(wires, **options):
    def circuit():
        qml.RX(0.3, 0)
        m = qml.measure(0, **options)
        qml.RX(0.1, 0)
        return qml.expval(m)

    return qml.QNode(circuit, QupropDevice(wires))()


class Strange(qml.operation.Operation):
    """No matrix and no decomposition."""

    num_wires = 1


MISTAKES = {
    "postselect": (lambda: _middle(2, postselect=1), "operation 1 keeps only one outcome"),
    "spare_wire": (lambda: _middle(1), "takes 1 more wires than the 1 of this device"),
    "second_order": (_second_order, "first order"),
    "max_diff": (
        lambda: _run(lambda: qml.expval(qml.Z(0)), max_diff=2, diff_method="adjoint"),
        "first order, got max_diff=2",
    ),
    "sample": (
        lambda: _run(lambda: qml.sample(wires=0), diff_method="adjoint"),
        "result 0, sample, is made of samples",
    ),
    "shots": (lambda: _run(lambda: qml.expval(qml.Z(0)), shots=10, diff_method="adjoint"), "take no shots"),
    "gate": (lambda: _run(lambda: qml.expval(qml.Z(0)), ops=[Strange(1)]), "Strange on wires .1. has neither"),
    "one_shot": (lambda: _run(lambda: qml.expval(qml.Z(0)), mcm_method="tree-traversal"), "deferred to the end"),
    "option": (lambda: _run(lambda: qml.expval(qml.Z(0)), device=QupropDevice(2, precision="half")), "precision"),
    "threads": (lambda: QupropDevice(2, threads=0), "threads is a positive integer"),
    "nan": (lambda: _run(lambda: qml.expval(qml.Z(0)), ops=[qml.RX(np.nan, 1)]), "must be finite"),
    "not_hermitian": (
        lambda: _run(lambda: qml.expval(qml.X(0) @ qml.Y(0) @ qml.Z(1)), diff_method="adjoint"),
        "Hermitian",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_done_is_refused_in_one_sentence(name):
    mistake, sentence = MISTAKES[name]
    with pytest.raises(qpr.QupropError, match=sentence) as caught:
        mistake()
    assert "\n" not in str(caught.value)


def test_a_model_from_a_qnode_gives_its_values_and_gradients():
    device = qml.device("default.qubit", wires=4)

    @qml.qnode(device, diff_method="backprop")
    def node(weights, x):
        mixed(weights, x)
        qml.IQPEmbedding(x, wires=range(4))  # products x_i x_j
        qml.RX(2 * weights[0, 0, 0] + weights[0, 1, 0] + 0.3, 0)
        qml.CRot(weights[0, 0, 1] ** 2, x[1] * weights[0, 0, 2], 0.3, wires=[0, 1])
        return qml.expval(qml.Z(0) @ qml.X(1)), qml.expval(0.3 * qml.Y(3) + qml.Z(2))

    weights, x = pnp.array(rng().uniform(-3, 3, (2, 4, 3))), rng(1).uniform(-3, 3, 4)
    model = from_pennylane(node, weights, x)
    assert model.param_names == ("weights",) and model.input_names == ("x",)
    assert np.abs(qpr.expectation(model, np.ravel(weights), x) - np.array(node(weights, x))).max() < 1e-11
    found = qpr.vjp(model, np.ravel(weights), x)[1]([0.0, 1.0])[0]
    expected = qml.grad(lambda w: node(w, x)[1])(weights)
    assert np.abs(found - np.ravel(expected)).max() < 1e-11


def test_a_model_from_amplitude_embedding_reads_them_in_pennylanes_order():
    @qml.qnode(qml.device("default.qubit", wires=3))
    def node(w, inputs):
        qml.AmplitudeEmbedding(inputs, wires=range(3), normalize=True)
        qml.BasicEntanglerLayers(w, wires=range(3))
        return [qml.expval(qml.Z(i)) for i in range(3)]

    w, v = rng().uniform(-3, 3, (2, 3)), rng(1).normal(size=8)
    model = from_pennylane(node, w, v)
    assert np.abs(qpr.expectation(model, w.ravel(), v) - np.array(node(w, v))).max() < CLOSE


def test_a_model_from_a_tape_trains_its_trainable_numbers():
    tape = qml.tape.QuantumScript(
        [qml.RX(0.1, 0), qml.RY(0.2, 1), qml.CNOT([0, 1])], [qml.expval(qml.Z(1))], trainable_params=[1]
    )
    model = from_pennylane(tape)
    assert model.n_params == 1
    assert qpr.expectation(model, [0.7])[0] == pytest.approx(np.cos(0.1) * np.cos(0.7), abs=CLOSE)


@pytest.mark.parametrize("wires", [[0, 1, 2], [2, 0, 1], [1, 2]])
@pytest.mark.parametrize("phases", [[0, 0, 0], [0.3, 0, 1.1], [np.pi / 2, np.pi, -0.4]])
def test_fixed_amplitudes_are_read_with_their_phases(wires, phases):
    vector = rng(5).normal(size=2 ** len(wires)) + 0j
    for k, phase in enumerate(phases):
        vector[k] *= np.exp(1j * phase)
    vector /= np.linalg.norm(vector)

    def circuit(w):
        qml.StatePrep(vector, wires=wires)
        qml.RX(w[0], 0)
        qml.IsingXY(w[1], wires=[1, 2])
        return [qml.expval(qml.Z(0)), qml.expval(qml.Y(1)), qml.expval(qml.X(0) @ qml.Y(2))]

    w = np.array([0.3, -0.8])
    dense = qml.QNode(circuit, qml.device("default.qubit", wires=3))
    assert np.abs(qpr.expectation(from_pennylane(dense, w), w) - np.array(dense(w))).max() < CLOSE


@pytest.mark.parametrize("factor", [0.5, 2.0, 1.001j])
def test_fixed_amplitudes_that_are_not_normalised_are_refused(factor):
    def circuit(w):
        qml.StatePrep(factor * np.array([0.6, 0.8]), wires=0, validate_norm=False)
        qml.RX(w[0], 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(qpr.QupropError, match="normalised, but this circuit's has norm"):
        from_pennylane(circuit, np.array([0.3]))


def test_a_model_that_cannot_be_is_refused():
    def node(body):
        def circuit(w):
            body(w)
            return qml.expval(qml.Z(0))

        return qml.QNode(circuit, qml.device("default.qubit", wires=2))

    w = np.array([0.3, 0.4])
    with pytest.raises(qpr.QupropError, match="no polynomial of degree two"):
        from_pennylane(node(lambda w: qml.RX(np.sin(w[0]), 0)), w)
    with pytest.raises(qpr.QupropError, match="depend on the values"):
        from_pennylane(node(lambda w: qml.RX(w[0], 0) if w[0] > 0.1 else None), w)
    with pytest.raises(qpr.QupropError, match="no expectation value"):
        from_pennylane(qml.QNode(lambda w: (qml.RX(w[0], 0), qml.probs(wires=0))[1], qml.device("default.qubit")), w)
    with pytest.raises(qpr.QupropError, match="takes a QNode"):
        from_pennylane(3)


def test_the_device_is_found_by_its_name():
    try:
        device = qml.device("quprop", wires=2)
    except qml.exceptions.DeviceError:
        pytest.skip("this checkout is not installed, so it has no entry points")
    assert isinstance(device, hybrid.QupropDevice) and len(device.wires) == 2


def _thresholded(x, w):
    for i in range(2):
        if x[i] > 127:
            qml.X(i)
        qml.RY(w[i], i)


def _branching(x):
    if x > 1.4:
        qml.RX(x, 0)
        qml.H(0)
    else:
        qml.RY(x, 0)


def _embedded(x):
    qml.AmplitudeEmbedding(abs(x), wires=[0, 1], normalize=True)


def _ranged(w):
    if not 0 <= w[0] <= 1:
        raise ValueError("out of range")
    qml.RX(w[0], 0)


BRANCHES = {
    "thresholded": (_thresholded, (np.array([200.0, 30.0]), np.zeros(2)), "depend on the values"),
    "below_the_threshold": (_thresholded, (np.array([90.0, 30.0]), np.zeros(2)), "depend on the values"),
    "branching": (_branching, (1.5,), "depend on the values"),
    "narrow_branch_at_the_example": (
        lambda w: qml.RX(w[0], 0) if 3.1 < w[0] < 3.2 else qml.RX(-w[0], 0),
        (np.array([3.15]),),
        "no polynomial",
    ),
    "ordered": (lambda w: [qml.RX(w[i], 0) for i in np.argsort(w)], (np.array([0.1, 0.2]),), "no polynomial"),
    "clipped": (lambda w: qml.RX(np.clip(w[0], -3, 3), 0), (np.ones(1),), "no polynomial"),
    "clipped_from_below": (lambda w: qml.RX(max(w[0], -700.0), 0), (np.ones(1),), "no polynomial"),
    "modulo": (lambda w: qml.RX(w[0] % 50, 0), (np.ones(1),), "no polynomial"),
    "absolute_amplitudes": (_embedded, (np.array([0.1, 0.5, 0.3, 0.2]),), "initial state"),
    "raises": (_ranged, (np.array([0.5]),), "raises ValueError"),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_circuit_that_changes_with_its_arguments_is_no_model(name):
    body, example, sentence = BRANCHES[name]

    def circuit(*args):
        body(*args)
        return qml.expval(qml.Z(0))

    circuit.__signature__ = inspect.signature(body)
    with pytest.raises(qpr.QupropError, match=sentence):
        from_pennylane(circuit, *example, **({"inputs": ["x"]} if "x" in inspect.signature(body).parameters else {}))


def test_a_model_is_right_for_large_arguments_too():
    @qml.qnode(qml.device("default.qubit", wires=2))
    def node(w, x):
        qml.RX(w[0] * x[1] + 0.3 * w[1] ** 2, 0)
        qml.CNOT([0, 1])
        qml.evolve(qml.X(0) @ qml.X(1) + 0.4 * qml.Z(0) @ qml.Z(1), w[1] + 2 * x[0])
        return qml.expval(qml.Z(1))

    w, x = np.array([3.0, -20.0]), np.array([200.0, 0.5])
    model = from_pennylane(node, w, x)
    assert qpr.expectation(model, w, x)[0] == pytest.approx(float(node(w, x)), abs=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("shots", ["None", "20000"])
def test_pennylanes_own_device_tests_pass(shots):
    pytest.importorskip("flaky")
    try:
        qml.device("quprop", wires=1)
    except qml.exceptions.DeviceError:
        pytest.skip("this checkout is not installed, so it has no entry points")
    from pennylane.devices.tests import get_device_tests

    folder = get_device_tests()
    # pytest puts the folder of installed packages first; so what is tested is imported before
    start = "import sys, quprop, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", start, folder, "-c", f"{folder}/pytest.ini", "--device", "quprop"]
    command += ["--shots", shots, "--tb=short", "--no-flaky-report", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
