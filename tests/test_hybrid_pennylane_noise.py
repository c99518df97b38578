"""PennyLane's channels on quprop's device and in imported models, against default.mixed."""

import numpy as np
import pytest
from tolerances import assert_close

qml = pytest.importorskip("pennylane")

from pennylane import numpy as pnp  # noqa: E402

import quprop as qpr  # noqa: E402
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


@pytest.mark.parametrize("what", ["state", "density_matrix", "shots"])
def test_results_that_a_mixed_state_does_not_have_here_are_refused(what):
    def circuit():
        qml.BitFlip(0.1, wires=0)
        return {"state": qml.state, "density_matrix": lambda: qml.density_matrix(0), "shots": qml.sample}[what]()

    node = qml.QNode(circuit, QupropDevice(1))
    node = qml.set_shots(node, 10) if what == "shots" else node
    with pytest.raises(qpr.QupropError, match="read from a pure state here") as refused:
        node()
    assert "\n" not in str(refused.value)
