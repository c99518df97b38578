"""PennyLane's channels on quprop's device and in imported models, against default.mixed."""

import numpy as np
import pytest
from tolerances import assert_close

qml = pytest.importorskip("pennylane")

from pennylane import numpy as pnp  # noqa: E402

import quprop as qpr  # noqa: E402
from quprop.hybrid.noise import read_out  # noqa: E402
from quprop.hybrid.pennylane import QupropDevice, from_pennylane  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # of what PennyLane, Autograd and JAX say to each other

CHANNELS = {
    "depolarising": (lambda p: qml.DepolarizingChannel(p[0], wires=0), [0.1]),
    "bit_flip": (lambda p: qml.BitFlip(p[0], wires=1), [0.1]),
    "phase_flip": (lambda p: qml.PhaseFlip(p[0], wires=0), [0.2]),
    "amplitude_damping": (lambda p: qml.AmplitudeDamping(p[0], wires=1), [0.2]),
    "phase_damping": (lambda p: qml.PhaseDamping(p[0], wires=0), [0.3]),
    "generalised": (lambda p: qml.GeneralizedAmplitudeDamping(p[0], p[1], wires=0), [0.3, 0.2]),
    "reset": (lambda p: qml.ResetError(p[0], p[1], wires=1), [0.1, 0.25]),
    "relaxation": (lambda p: qml.ThermalRelaxationError(p[0], p[1], p[2], p[3], wires=0), [0.1, 1.2, 1.1, 0.3]),
    "pauli": (lambda p: qml.PauliError("XY", p[0], wires=[1, 0]), [0.2]),
    "identity": (lambda p: qml.PauliError("II", p[0], wires=[1, 0]), [0.2]),
}
LONG = (lambda p: qml.ThermalRelaxationError(p[0], p[1], p[2], p[3], wires=0), [0.1, 1.2, 1.9, 0.3])
PAULIS = {"I": np.eye(2), "X": qml.matrix(qml.X(0)), "Y": qml.matrix(qml.Y(0)), "Z": qml.matrix(qml.Z(0))}


def with_qml(channel):
    """A circuit with the channel twice, and results of each kind that has a gradient."""

    def circuit(w, p):
        qml.RX(w[0], 0)
        qml.RY(w[1], 1)
        qml.CNOT([0, 1])
        qml.RZ(0.3, 0)
        channel(p)
        qml.IsingXX(w[0] * w[1], [0, 1])
        channel(p)
        qml.RX(0.2, 0)
        return qml.expval(qml.X(0) @ qml.Y(1)), qml.probs(wires=[1, 0]), qml.var(qml.Z(1)), qml.expval(qml.Z(0))

    return circuit


def flat(circuit, device, method):
    node = qml.QNode(circuit, device, diff_method=method)
    return lambda w, p: pnp.concatenate([pnp.atleast_1d(v) for v in node(w, p)])


W = pnp.array([0.4, 0.9], requires_grad=True)


@pytest.mark.parametrize("name", CHANNELS)
def test_values_and_gradients_are_those_of_default_mixed(name):
    channel, strengths = CHANNELS[name]
    p = pnp.array(strengths, requires_grad=True)
    ours, theirs = (
        flat(with_qml(channel), device, method)
        for device, method in ((QupropDevice(2), "best"), (qml.device("default.mixed", wires=2), "backprop"))
    )
    assert_close(ours(W, p), theirs(W, p), 1e4)
    for a, b in zip(qml.jacobian(ours)(W, p), qml.jacobian(theirs)(W, p), strict=True):
        assert_close(a, b, 1e5)


def test_relaxation_whose_coherence_outlives_t1_is_that_of_default_mixed():
    channel, p = LONG
    ours, theirs = (flat(with_qml(channel), d, None) for d in (QupropDevice(2), qml.device("default.mixed", wires=2)))
    assert_close(ours(W, p), theirs(W, p), 1e4)


def _kraus():
    rng = np.random.default_rng(4)
    shares = rng.dirichlet(np.ones(16))
    words = [a + b for a in "IXYZ" for b in "IXYZ"]
    mixed = [np.sqrt(s) * np.kron(*(PAULIS[c] for c in w)) for s, w in zip(shares, words, strict=True)]
    turn = qml.RX(np.pi, wires=0).matrix()
    return {
        "damping": (qml.AmplitudeDamping(0.3, wires=0).kraus_matrices(), [0]),
        "generalised": (qml.GeneralizedAmplitudeDamping(0.3, 0.2, wires=0).kraus_matrices(), [1]),
        "relaxation": (qml.ThermalRelaxationError(0.1, 1.2, 1.1, 0.3, wires=0).kraus_matrices(), [0]),
        "reset": (qml.ResetError(0.1, 0.2, wires=0).kraus_matrices(), [1]),
        "set": ([np.diag([1.0, 0.0]), np.array([[0.0, 1.0], [0.0, 0.0]])], [0]),
        "depolarising": (qml.DepolarizingChannel(0.3, wires=0).kraus_matrices(), [1]),
        "nothing": ([np.eye(2)], [0]),
        "one_pauli": ([turn], [0]),
        "pauli_pairs": (mixed, [1, 0]),
    }


@pytest.mark.parametrize("name", _kraus())
def test_kraus_operators_of_known_noise_act_as_on_default_mixed(name):
    operators, wires = _kraus()[name]

    def channel(p):
        qml.QubitChannel(operators, wires=wires)

    ours, theirs = (flat(with_qml(channel), d, None) for d in (QupropDevice(2), qml.device("default.mixed", wires=2)))
    assert_close(ours(W, ()), theirs(W, ()), 1e4)


def test_a_broadcast_noisy_circuit_gives_what_each_sample_gives():
    node = qml.QNode(with_qml(lambda p: qml.AmplitudeDamping(p[0], wires=1)), QupropDevice(2))
    w = np.array([[0.4, 0.1, 0.3], [0.9, -0.2, 0.5]])
    together = node(w, [0.2])
    for i in range(3):
        for a, b in zip(together, node(w[:, i], [0.2]), strict=True):
            assert_close(a[i], b, 1e3)
    with pytest.raises(qpr.QupropError, match="strengths with a batch axis"):
        node(w, [np.array([0.1, 0.2, 0.3])])


def test_jax_maps_and_differentiates_a_strength():
    jax = pytest.importorskip("jax")

    def circuit(p):
        qml.RY(0.3, 0)
        qml.AmplitudeDamping(p, wires=0)
        return qml.expval(qml.X(0))

    with jax.enable_x64(True):
        node = qml.QNode(circuit, QupropDevice(1), interface="jax")
        p = jax.numpy.array([0.1, 0.2])
        exact = np.sin(0.3) * np.sqrt(1 - np.array([0.1, 0.2]))
        assert_close(jax.vmap(node)(p), exact, 1e3)
        assert_close(jax.jit(jax.grad(node))(0.1), -0.5 * np.sin(0.3) / np.sqrt(0.9), 1e3)


def test_an_imported_circuit_keeps_its_noise():
    def circuit(theta):
        qml.RY(theta[0], 0)
        qml.DepolarizingChannel(0.2, wires=0)
        qml.CNOT([0, 1])
        qml.AmplitudeDamping(0.1, wires=1)
        return qml.expval(qml.Z(1))

    model = from_pennylane(circuit, np.zeros(1))
    device = qml.device("default.mixed", wires=2)
    assert len(model.channels) == 2
    assert_close(qpr.expectation(model, np.array([0.7]))[0], qml.QNode(circuit, device)(np.array([0.7])), 1e3)


def random_tape(rng, n=3, depth=14):
    """Gates and all channels of PennyLane at random, with the numbers they have."""
    one = [
        (lambda p, w: qml.RX(p[0], w), 1),
        (lambda p, w: qml.Rot(p[0], p[1], p[2], wires=w), 3),
        (lambda p, w: qml.DepolarizingChannel(p[0], wires=w), 1),
        (lambda p, w: qml.BitFlip(p[0], wires=w), 1),
        (lambda p, w: qml.PhaseFlip(p[0], wires=w), 1),
        (lambda p, w: qml.AmplitudeDamping(p[0], wires=w), 1),
        (lambda p, w: qml.PhaseDamping(p[0], wires=w), 1),
        (lambda p, w: qml.GeneralizedAmplitudeDamping(p[0], p[1], wires=w), 2),
        (lambda p, w: qml.ResetError(p[0] / 2, p[1] / 2, wires=w), 2),
        (lambda p, w: qml.ThermalRelaxationError(p[0], 1 + p[1], 0.7 + p[2] / 4, p[3], wires=w), 4),
    ]
    two = [
        (lambda p, w: qml.CNOT(w), 0),
        (lambda p, w: qml.CRY(p[0], w), 1),
        (lambda p, w: qml.IsingXY(p[0], w), 1),
        (lambda p, w: qml.PauliError("XZ", p[0], wires=w), 1),
    ]
    chosen, numbers = [], 0
    for _ in range(depth):
        pool, width = (one, 1) if rng.random() < 0.65 else (two, 2)
        make, count = pool[rng.integers(len(pool))]
        chosen.append((make, numbers, numbers + count, [int(w) for w in rng.permutation(n)[:width]]))
        numbers += count

    def circuit(p):
        for w in range(n):
            qml.RY(0.3 + w, w)
        for make, first, last, wires in chosen:
            make(p[first:last], wires)
        return qml.expval(qml.X(0) @ qml.Y(2)), qml.probs(wires=[2, 0]), qml.var(qml.Z(1) @ qml.X(2))

    return circuit, pnp.array(rng.uniform(0.05, 0.45, numbers), requires_grad=True)


def test_random_noisy_circuits_have_the_results_of_default_mixed():
    rng = np.random.default_rng(8)
    for k in range(50):
        circuit, p = random_tape(rng)
        ours = qml.QNode(circuit, QupropDevice(3))
        theirs = qml.QNode(circuit, qml.device("default.mixed", wires=3), diff_method="backprop")
        for a, b in zip(ours(p), theirs(p), strict=True):
            assert_close(a, b, 1e4)
        if k % 10 == 0:
            slopes = (qml.jacobian(lambda v, f=f: pnp.hstack(f(v)))(p) for f in (ours, theirs))
            assert_close(next(slopes), next(slopes), 1e5)


def damped(c):
    """Damping after each gate by qubit, correlated errors after pairs, and misread bits."""
    out = qpr.Circuit(c.n_qubits, params=qpr.params("theta", c.n_params))
    for op in c.operations:
        out.operations.append(op)
        qubits = op.target if isinstance(op.target, tuple) else op.target.qubits
        for q in qubits:
            out.amplitude_damping(0.05 * (q + 1), q)
        if len(qubits) == 2:
            out.pauli_channel({"XZ": 0.07, "ZI": 0.02}, *qubits)
    for q in range(c.n_qubits):
        out.readout_error(0.02 * (q + 1), 0.05, q)
    return out


def gates(w, after):
    qml.RX(w[0], "a")
    after("a")
    qml.Rot(0.1, w[1], 0.3, wires="c")
    after("c")
    qml.CNOT(["a", "c"])
    after("a", "c")
    qml.CRY(w[2], ["c", "b"])
    after("c", "b")


LABELS = ["a", "b", "c", "d"]


def by_hand(*wires):
    for wire in wires:
        qml.AmplitudeDamping(0.05 * (LABELS.index(wire) + 1), wires=wire)
    if len(wires) == 2:
        words = [("XZ", 0.07), ("ZI", 0.02), ("II", 0.91)]
        qml.QubitChannel([np.sqrt(p) * np.kron(PAULIS[u], PAULIS[v]) for (u, v), p in words], wires=wires)


def read_by_hand(wire):
    p10, p01 = 0.02 * (LABELS.index(wire) + 1), 0.05
    flips = np.sqrt([[1 - p10, p01], [p10, 1 - p01]])
    qml.QubitChannel([flips[i, j] * np.eye(2)[:, [i]] @ np.eye(2)[[j]] for i in (0, 1) for j in (0, 1)], wires=wire)


def witness(measured, turns=(), misread=True):
    """The same noise written out, with gates that turn what is measured to Z."""

    def circuit(w):
        gates(w, by_hand)
        for turn in turns:
            turn()
        for wire in LABELS if misread else ():
            read_by_hand(wire)
        return measured()

    return qml.QNode(circuit, qml.device("default.mixed", wires=LABELS))


def node(device, *measured, shots=None):
    def circuit(w):
        gates(w, lambda *wires: None)
        return tuple(m() for m in measured)

    out = qml.QNode(circuit, device)
    return qml.set_shots(out, shots) if shots else out


ANGLES = pnp.array([0.4, 0.7, -0.9], requires_grad=True)
TURNS = (lambda: qml.Hadamard("a"), lambda: (qml.adjoint(qml.S)("c"), qml.Hadamard("c")))


def test_a_devices_noise_follows_every_operation_and_strings_are_misread_in_their_basis():
    device = qml.device("quprop", wires=LABELS, noise=damped)
    run = node(
        device,
        lambda: qml.expval(qml.X("a") @ qml.Y("c")),
        lambda: qml.probs(wires=["c", "d", "a"]),
        lambda: qml.var(qml.Z("b")),
    )
    both = witness(lambda: qml.expval(qml.Z("a") @ qml.Z("c")), TURNS)
    found = run(ANGLES)
    assert_close(found[0], both(ANGLES), 1e3)
    assert_close(found[1], witness(lambda: qml.probs(wires=["c", "d", "a"]))(ANGLES), 1e3)
    assert_close(found[2], witness(lambda: qml.var(qml.Z("b")))(ANGLES), 1e3)
    assert_close(qml.grad(lambda w: run(w)[0])(ANGLES), qml.grad(both)(ANGLES), 1e4)


def test_noise_of_an_object_with_apply_and_of_a_prepared_complex_state():
    class Machine:
        def apply(self, c):
            return c.copy().amplitude_damping(0.1, 0).bit_flip(0.2, 1)

    def circuit(by_device):
        def run(a):
            qml.StatePrep(a, wires=[0, 1], normalize=True)
            qml.RX(0.3, 0)
            if not by_device:
                qml.AmplitudeDamping(0.1, wires=0)
                qml.BitFlip(0.2, wires=1)
            return qml.expval(qml.Y(0) @ qml.X(1)), qml.state(), qml.probs()

        return run

    amplitudes = np.array([0.1 + 0.3j, 0.2, -0.4j, 0.5])
    ours = qml.QNode(circuit(True), QupropDevice(2, noise=Machine()))(amplitudes)
    theirs = qml.QNode(circuit(False), qml.device("default.mixed", wires=2))(amplitudes)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, 1e3)


@pytest.mark.parametrize("misread", [False, True])
def test_shots_of_noisy_circuits_have_the_distribution_of_default_mixed(misread):
    shots = 40_000

    def put(c):
        found = damped(c)
        return found if misread else read_out(found)[0]

    device = QupropDevice(LABELS, noise=put, seed=5)
    bits = node(device, lambda: qml.probs(wires=["c", "a"]), lambda: qml.expval(qml.Z("a") @ qml.Z("b")), shots=shots)
    strings = node(device, lambda: qml.expval(qml.X("a") @ qml.Y("c")), shots=shots)
    p, zz = bits(ANGLES)
    limit = 4.5 / np.sqrt(shots)
    assert np.abs(p - witness(lambda: qml.probs(wires=["c", "a"]), misread=misread)(ANGLES)).max() < limit
    assert abs(zz - witness(lambda: qml.expval(qml.Z("a") @ qml.Z("b")), misread=misread)(ANGLES)) < limit
    expected = witness(lambda: qml.expval(qml.Z("a") @ qml.Z("c")), TURNS, misread)(ANGLES)
    assert abs(strings(ANGLES)[0] - expected) < limit


def test_density_matrices_of_noisy_circuits_are_those_of_default_mixed():
    results = [
        lambda: qml.density_matrix(["b", "c"]),
        lambda: qml.purity("a"),
        qml.state,
        lambda: qml.vn_entropy(["a"]),
    ]
    found = node(QupropDevice(LABELS, noise=damped), *results)(ANGLES)
    for a, result in zip(found, results, strict=True):
        assert_close(a, witness(result, misread=False)(ANGLES), 1e4)


def test_pennylanes_noise_models_run_as_on_default_mixed():
    model = qml.NoiseModel(
        {
            qml.noise.op_eq(qml.RX): qml.noise.partial_wires(qml.AmplitudeDamping, 0.2),
            qml.noise.op_in([qml.CNOT]): lambda op, **_: qml.DepolarizingChannel(0.1, op.wires[1]),
            qml.noise.op_eq(qml.CRY): qml.noise.partial_wires(qml.PhaseDamping, 0.3),
        }
    )
    ours, theirs = (
        qml.add_noise(node(device, lambda: qml.expval(qml.X("a") @ qml.Y("c")), lambda: qml.probs("b")), model)
        for device in (QupropDevice(LABELS), qml.device("default.mixed", wires=LABELS))
    )
    for a, b in zip(ours(ANGLES), theirs(ANGLES), strict=True):
        assert_close(a, b, 1e3)
    assert_close(qml.grad(lambda w: ours(w)[0])(ANGLES), qml.grad(lambda w: theirs(w)[0])(ANGLES), 1e4)


def _measured_before():
    qml.measure(0)
    return qml.expval(qml.Z(1))


def _hermitian():
    return qml.expval(qml.Hermitian(np.array([[0, 1], [1, 1]]), 0))


REFUSED = {
    "no_wires": (lambda: QupropDevice(noise=damped), None, "pass wires= beside noise="),
    "nothing": (lambda: QupropDevice(2, noise=3), lambda: qml.expval(qml.Z(0)), "an object with apply"),
    "parameters": (
        lambda: QupropDevice(2, noise=lambda c: c.bit_flip(qpr.params("p", 1)[0], 0)),
        lambda: qml.expval(qml.Z(0)),
        "strengths that are numbers",
    ),
    "the_circuits_own": (
        lambda: QupropDevice(2, noise=lambda c: c.bit_flip(qpr.params("theta", 1)[0], 0)),
        lambda: (qml.RX(0.1, 0), qml.expval(qml.Z(0)))[1],
        "strengths that are numbers",
    ),
    "measured": (lambda: QupropDevice(3, noise=damped), _measured_before, "measures in the middle"),
    "shots_of_a_matrix": (
        lambda: QupropDevice(1, shots=10, noise=lambda c: c.readout_error(0.1, 0.2, 0)),
        _hermitian,
        "not that of Pauli strings",
    ),
    "wide": (
        lambda: QupropDevice(8, noise=lambda c: c.bit_flip(0.1, 0)),
        lambda: qml.purity(0),
        "density matrix, of 7 wires at most, got 8",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_noise_that_a_device_does_not_have_is_refused_in_one_sentence(name):
    make, circuit, sentence = REFUSED[name]
    with pytest.raises(qpr.QupropError, match=sentence) as refused:
        qml.QNode(circuit, make())()
    assert "\n" not in str(refused.value)


def test_a_gradient_of_a_density_matrix_is_refused():
    def circuit(a):
        qml.RX(a, 0)
        qml.BitFlip(0.1, wires=0)
        return qml.purity(0)

    with pytest.raises(qpr.QupropError, match="no expectation values have no gradient there"):
        qml.grad(qml.QNode(circuit, QupropDevice(1)))(pnp.array(0.3, requires_grad=True))
