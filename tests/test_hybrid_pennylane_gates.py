"""PennyLane's operations as gates of the device: exponentials, controlled ones and matrices are right, with their
gradients in every interface, or refused. Compared with dense linear algebra."""

import contextlib
import warnings

import numpy as np
import pytest
from scipy.linalg import expm

import quprop as qpr

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PennyLane and what it imports may warn about each other
    qml = pytest.importorskip("pennylane", minversion="0.45")
    from pennylane import numpy as pnp

    from quprop.hybrid.pennylane import QupropDevice, from_pennylane

# What PennyLane, Autograd and JAX warn of among themselves is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")
CLOSE = 1e-11
WIRES = 4

PAULI = {"I": np.eye(2), "X": np.array([[0, 1], [1, 0]]), "Y": np.array([[0, -1j], [1j, 0]]), "Z": np.diag([1.0, -1.0])}


def dense(letters):
    """The matrix of a Pauli word, first letter the most significant bit."""
    out = np.eye(1)
    for letter in letters.ljust(WIRES, "I"):
        out = np.kron(out, PAULI[letter])
    return out


def onto(wire, bit):
    return (np.eye(2**WIRES) + (1 - 2 * bit) * dense("I" * wire + "Z")) / 2


def commuting():
    return qml.X(0) @ qml.Y(1) + 0.4 * qml.Z(0) @ qml.Z(1) + 0.3 * qml.I(0)


def clashing():
    return qml.X(0) @ qml.Z(1) + 0.5 * qml.Y(1)


G = dense("XY") + 0.4 * dense("ZZ") + 0.3 * np.eye(2**WIRES)
CLASH = dense("XZ") + 0.5 * dense("IY")
OBSERVABLE = dense("ZX") + 0.5 * dense("IIY") + 0.3 * dense("XIIY")


def before():
    for i in range(WIRES):
        qml.RY(0.3 + 0.2 * i, i)
        qml.RX(0.5 - 0.1 * i, i)
    for i in range(WIRES - 1):
        qml.CNOT([i, i + 1])


def value_of(gate):
    def circuit(t):
        before()
        gate(t)
        return qml.expval(qml.Z(0) @ qml.X(1) + 0.5 * qml.Y(2) + 0.3 * qml.X(0) @ qml.Y(3))

    return circuit


def start():
    state = np.zeros(2**WIRES, complex)
    state[0] = 1
    for i in range(WIRES):
        state = expm(-0.5j * (0.3 + 0.2 * i) * dense("I" * i + "Y")) @ state
        state = expm(-0.5j * (0.5 - 0.1 * i) * dense("I" * i + "X")) @ state
    for i in range(WIRES - 1):
        state = (onto(i, 0) + onto(i, 1) @ dense("I" * (i + 1) + "X")) @ state
    return state


# op(t) = exp(-i t K), with K dense
EXPONENTIALS = {
    "evolve": (lambda t: qml.evolve(commuting(), t), G),
    "exp": (lambda t: qml.exp(commuting(), -1j * t), G),
    "exp_of_a_matrix": (lambda t: qml.exp(qml.Hermitian(np.diag([1.0, 2, -1, 0.5]), [1, 2]), 1j * t),
                        -np.kron(np.kron(np.eye(2), np.diag([1, 2, -1, 0.5])), np.eye(2))),
    "adjoint": (lambda t: qml.adjoint(qml.evolve(commuting(), t)), -G),
    "power": (lambda t: qml.pow(qml.evolve(commuting(), t), 3), 3 * G),
    "controlled": (lambda t: qml.ctrl(qml.evolve(commuting(), t), [2, 3], control_values=[1, 0]),
                   onto(2, 1) @ onto(3, 0) @ G),
    "controlled_adjoint": (lambda t: qml.ctrl(qml.adjoint(qml.evolve(commuting(), t)), 3), -onto(3, 1) @ G),
    "adjoint_controlled": (lambda t: qml.adjoint(qml.ctrl(qml.evolve(commuting(), t), 3)), -onto(3, 1) @ G),
    "controlled_product": (lambda t: qml.ctrl(qml.prod(qml.evolve(commuting(), t), qml.evolve(qml.Z(2), t)), 3),
                           onto(3, 1) @ (G + dense("IIZ"))),
    "controlled_identity": (lambda t: qml.ctrl(qml.evolve(0.7 * qml.I(0), t), [1]), 0.7 * onto(1, 1)),
    "controlled_phase": (lambda t: qml.ctrl(qml.GlobalPhase(t), [0, 1, 2]), onto(0, 1) @ onto(1, 1) @ onto(2, 1)),
    "controlled_rx": (lambda t: qml.ctrl(qml.RX(t, 0), [1, 2, 3], control_values=[0, 1, 1]),
                      onto(1, 0) @ onto(2, 1) @ onto(3, 1) @ dense("X") / 2),
    "controlled_shift": (lambda t: qml.ctrl(qml.PhaseShift(t, 1), [0, 2]), -onto(0, 1) @ onto(2, 1) @ onto(1, 1)),
    "controlled_ising": (lambda t: qml.ctrl(qml.IsingXX(t, [0, 1]), [3]), onto(3, 1) @ dense("XX") / 2),
    "coefficients": (lambda t: qml.exp(qml.Hamiltonian(qml.math.stack([t, 0.4 * t]), [qml.X(0) @ qml.Y(1),
                                                                                   qml.Z(0) @ qml.Z(1)]), -1j),
                     dense("XY") + 0.4 * dense("ZZ")),
}  # fmt: skip

INTERFACES = ("autograd", "jax", "jit", "torch")


@contextlib.contextmanager
def double(interface):
    """JAX in double precision, as long as it is needed."""
    if interface not in ("jax", "jit"):
        yield
        return
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


def slope(circuit, t, interface, device=None):
    node = qml.QNode(circuit, device or QupropDevice(WIRES))
    if interface == "autograd":
        return np.asarray(qml.grad(node)(pnp.array(t, requires_grad=True)))[()]
    if interface == "torch":
        torch = pytest.importorskip("torch")
        x = torch.tensor(t, dtype=torch.float64, requires_grad=True)
        node(x).backward()
        return x.grad.numpy()[()]
    jax = pytest.importorskip("jax")
    derivative = jax.grad(node)
    return np.asarray((jax.jit(derivative) if interface == "jit" else derivative)(jax.numpy.array(t)))[()]


# JAX compiles for each: those in which a time, a complex coefficient and coefficients of terms are traced
TRACED = ("evolve", "exp", "controlled", "coefficients")


@pytest.mark.parametrize(
    ("name", "interface"),
    [(n, i) for n in EXPONENTIALS for i in INTERFACES if n in TRACED or i in ("autograd", "torch")],
)
def test_an_exponential_has_the_slope_of_its_commutator(name, interface):
    gate, K = EXPONENTIALS[name]
    with double(interface):
        for t in (0.0, 0.37):
            state = expm(-1j * t * K) @ start()
            exact = np.vdot(state, 1j * (K @ OBSERVABLE - OBSERVABLE @ K) @ state).real
            assert slope(value_of(gate), t, interface) == pytest.approx(exact, abs=CLOSE)


@pytest.mark.parametrize("name", EXPONENTIALS)
def test_an_exponential_gives_the_state_with_its_phase_for_each_of_a_batch(name):
    gate, K = EXPONENTIALS[name]
    times = np.array([0.2, -1.3, 4.0])

    def circuit(t):
        before()
        gate(t)
        return qml.state()

    node = qml.QNode(circuit, QupropDevice(WIRES), diff_method=None)
    exact = np.stack([expm(-1j * t * K) @ start() for t in times])
    assert np.abs(np.stack([node(t) for t in times]) - exact).max() < CLOSE
    if name != "coefficients":
        assert np.abs(node(times) - exact).max() < CLOSE


@pytest.mark.parametrize("interface", INTERFACES)
def test_known_slopes_of_evolutions(interface):
    def first(t):
        qml.RY(0.3, 0)
        qml.RY(0.5, 1)
        qml.CNOT([0, 1])
        qml.evolve(qml.X(0) @ qml.Y(1) + qml.Z(0) @ qml.Z(1), t)
        return qml.expval(qml.Z(0) @ qml.X(1) + 0.4 * qml.Y(1))

    def second(t):
        qml.RX(0.3, 0)
        qml.RY(0.4, 0)
        qml.evolve(qml.dot([1.0, 0.4], [qml.X(0) @ qml.X(1), qml.Z(0) @ qml.Z(1)]), t)
        return qml.expval(qml.Z(0))

    with double(interface):
        assert slope(first, 0.37, interface) == pytest.approx(-0.3470825, abs=1e-7)
        assert slope(second, 0.7, interface) == pytest.approx(-1.734240, abs=1e-6)
        assert slope(second, 0.0, interface) == pytest.approx(0, abs=CLOSE)


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("order", [1, 2, 4])
def test_trotter_steps_of_terms_that_do_not_commute_are_differentiated(order, interface):
    def product(t, order, terms):
        """Suzuki's product formula (arXiv:math-ph/0506007), dense."""
        if order == 1:
            return np.linalg.multi_dot([expm(1j * t * h) for h in terms])
        if order == 2:
            return product(t / 2, 1, terms) @ product(t / 2, 1, terms[::-1])
        p = 1 / (4 - 4 ** (1 / (order - 1)))
        outer, inner = product(p * t, order - 2, terms), product((1 - 4 * p) * t, order - 2, terms)
        return outer @ outer @ inner @ outer @ outer

    def exact(t):
        step = product(t / 2, order, [dense("XZ"), 0.5 * dense("IY")])
        state = step @ step @ start()
        return np.vdot(state, OBSERVABLE @ state).real

    circuit = value_of(lambda t: qml.TrotterProduct(clashing(), t, n=2, order=order))
    t, h = 0.37, 1e-4
    assert qml.QNode(circuit, QupropDevice(WIRES))(t) == pytest.approx(exact(t), abs=CLOSE)
    # central differences of fourth order: 1e-16/h rounding, h^4 truncation
    difference = (8 * (exact(t + h) - exact(t - h)) - (exact(t + 2 * h) - exact(t - 2 * h))) / (12 * h)
    with double(interface):
        assert slope(circuit, t, interface) == pytest.approx(difference, abs=1e-10)


CLASHING = {
    "evolve": (lambda t: qml.evolve(clashing(), t), CLASH),
    "one_wire": (lambda t: qml.evolve(qml.X(0) + qml.Y(0), t), dense("X") + dense("Y")),
    "identity": (lambda t: qml.evolve(clashing() + 0.3 * qml.I(0), t), CLASH + 0.3 * np.eye(2**WIRES)),
    "exp": (lambda t: qml.exp(clashing(), 1j * t), -CLASH),
    "controlled": (lambda t: qml.ctrl(qml.evolve(clashing(), t), 2), onto(2, 1) @ CLASH),
    "adjoint": (lambda t: qml.adjoint(qml.evolve(clashing(), t)), -CLASH),
}


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("t", [0.0, 0.37])
@pytest.mark.parametrize("name", CLASHING)
def test_evolution_of_terms_that_do_not_commute_has_the_slope_of_its_commutator(name, t, interface):
    gate, generator = CLASHING[name]
    state = expm(-1j * t * generator) @ start()
    exact = np.vdot(state, 1j * (generator @ OBSERVABLE - OBSERVABLE @ generator) @ state).real
    with double(interface):
        assert slope(value_of(gate), t, interface) == pytest.approx(exact, abs=1e-10)


def test_evolution_of_terms_that_do_not_commute_and_have_trained_coefficients_is_refused():
    def circuit(c):
        qml.evolve(qml.dot([c, 1.0], [qml.X(0), qml.Z(0)]), 0.3)
        return qml.expval(qml.Z(0))

    with pytest.raises(qpr.QupropError, match=r"do not commute.*TrotterProduct"):
        qml.grad(qml.QNode(circuit, QupropDevice(1)))(qml.numpy.array(0.5, requires_grad=True))


def test_the_state_after_an_evolution_has_its_global_phase():
    def circuit():
        before()
        qml.evolve(clashing() + 0.3 * qml.I(0), 0.7)
        return qml.state()

    exact = expm(-0.7j * (CLASH + 0.3 * np.eye(2**WIRES))) @ start()
    np.testing.assert_allclose(qml.QNode(circuit, QupropDevice(WIRES))(), exact, atol=1e-12)


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_trotter_product_has_the_gradient_that_pennylane_published(interface):
    # PennyLane's pull request 6432: by its backprop, to eight decimals
    def circuit(numbers):
        h = qml.dot([numbers[1], numbers[2], numbers[3]], [qml.X(0), qml.Y(0), qml.Z(1)])
        qml.TrotterProduct(h, numbers[0], n=10, order=4)
        return qml.expval(qml.Hadamard(0))

    with double(interface):
        found = slope(circuit, np.array([4.2, 2.0, 2.0, 2.0]), interface)
    np.testing.assert_allclose(found, [3.27988133, 3.31863668, 3.56911412, 0.0], atol=6e-9)


def test_constant_evolution_of_terms_that_do_not_commute_is_exact():
    for t in (1e-5, 1e-3, 0.7):  # small steps too, whose matrices are near the identity
        state = expm(-1j * t * CLASH) @ start()
        found = qml.QNode(value_of(lambda t: qml.evolve(clashing(), t)), QupropDevice(WIRES))(t)
        assert found == pytest.approx(np.vdot(state, OBSERVABLE @ state).real, abs=CLOSE)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("near", ["identity", "CNOT", "SWAP", "XX"])
@pytest.mark.parametrize("size", [0, 1e-8, 1e-3])
def test_a_matrix_is_applied_exactly_also_near_special_gates(size, near, graph):
    rng = np.random.default_rng(0)
    m = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    special = {"identity": np.eye(4), "XX": np.kron(PAULI["X"], PAULI["X"])}
    target = special[near] if near in special else getattr(qml, near).compute_matrix()
    unitary = expm(1j * size * (m + m.conj().T)) @ target

    def circuit():
        before()
        qml.QubitUnitary(unitary, [0, 1])
        qml.ctrl(qml.QubitUnitary(unitary, [0, 1]), 2)
        return qml.state()

    exact = np.kron(unitary, np.eye(4))
    exact = (onto(2, 0) + onto(2, 1) @ exact) @ exact @ start()
    if graph:
        qml.decomposition.enable_graph()
    try:
        assert np.abs(qml.QNode(circuit, QupropDevice(WIRES))() - exact).max() < CLOSE
    finally:
        qml.decomposition.disable_graph()


def _matrix(t):
    c, s = qml.math.cos(t), qml.math.sin(t)
    return qml.math.stack([qml.math.stack([c, -s]), qml.math.stack([s, c])])


TRAINABLE = {
    "one_wire": (lambda t: qml.QubitUnitary(_matrix(t), 0), "matrix that depends on trainable"),
    "two_wires": (lambda t: qml.QubitUnitary(qml.math.kron(_matrix(t), np.eye(2)), [0, 1]), "matrix that depends on"),
    "adjoint": (lambda t: qml.adjoint(qml.QubitUnitary(_matrix(t), 0)), "matrix that depends on trainable"),
    "power_of_rotations": (lambda t: qml.pow(qml.Rot(t, t, t, 0), 0.3), "matrix that depends on trainable"),
    "exponent": (lambda t: qml.pow(qml.X(0), t), "exponent"),
    "imaginary_time": (lambda t: qml.exp(commuting(), t), "not imaginary"),
    "hidden_coefficient": (lambda t: qml.evolve(qml.s_prod(t, qml.X(0)), 0.7), "where PennyLane does not look"),
}


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("name", TRAINABLE)
def test_numbers_without_a_derivative_are_refused(name, interface):
    gate, sentence = TRAINABLE[name]
    if (name, interface) == ("two_wires", "autograd"):
        pytest.skip("PennyLane has no kron of Autograd's tensors")
    with double(interface):
        for t in (0.0, 0.37):
            with pytest.raises(qpr.QupropError, match=sentence) as caught:
                slope(value_of(gate), t, interface)
            assert "\n" not in str(caught.value)


class Lossy(qml.operation.Operation):
    """An operation whose decomposition takes the values out of its tensors."""

    num_params = 1

    @staticmethod
    def compute_decomposition(t, wires):
        return [qml.RX(qml.math.unwrap([t])[0], wires)]


@pytest.mark.parametrize("interface", ["autograd", "torch"])
def test_a_decomposition_that_loses_its_numbers_is_refused_where_they_are_trainable(interface):
    circuit = value_of(lambda t: Lossy(t, wires=[0]))
    qml.QNode(circuit, QupropDevice(WIRES))(0.3)
    with pytest.raises(qpr.QupropError, match="has no derivative by its numbers"):
        slope(circuit, 0.3, interface)


SHEAR = np.array([[1, 1], [0, 1]])
NO_GATES = {
    "shear": (lambda: qml.QubitUnitary(SHEAR, 0), r"operation 11, QubitUnitary on wires \[0\], needs a unitary"),
    "adjoint_shear": (lambda: qml.adjoint(qml.QubitUnitary(SHEAR, 0)), "needs a unitary"),
    "controlled_shear": (lambda: qml.ctrl(qml.QubitUnitary(SHEAR, 0), 1), "needs a unitary"),
    "shear_inside": (lambda: qml.prod(qml.X(1), qml.QubitUnitary(SHEAR, 0)), "needs a unitary"),
    "projector": (lambda: qml.Projector([1], 0), "needs a unitary"),
    "nan": (lambda: qml.QubitUnitary(np.full((2, 2), np.nan), 0), "needs a unitary"),
    "batch": (lambda: qml.QubitUnitary(np.stack([np.eye(4)] * 3), [0, 1]), "broadcast_expand"),
    "sum": (lambda: qml.sum(qml.X(0), qml.Z(0)), "operation 11, Sum on wires .0., is a sum of operators, not a gate"),
    "sum_that_is_unitary": (lambda: qml.dot([0.6, 0.8], [qml.X(0), qml.Z(0)]), "not a gate"),
    "imaginary_time": (lambda: qml.exp(commuting(), 0.3), "not imaginary"),
    "complex_time": (lambda: qml.exp(commuting(), 0.3 - 1j), "not imaginary"),
    "complex_parameter": (lambda: qml.evolve(clashing(), 0.3j), "not imaginary"),
    "exp_of_a_gate": (lambda: qml.exp(qml.RX(0.3, 0), 1j), "Hermitian generator"),
    "complex_angle": (lambda: qml.RX(0.3 + 0.1j, 0), "must be real"),
    "noise_inside": (lambda: qml.ctrl(qml.BitFlip(0.1, 0), 1), "operation 11, .* is noise that this device does not"),
    "noise_undone": (lambda: qml.adjoint(qml.AmplitudeDamping(0.1, 0)), "noise that this device does not have"),
    "kraus": (
        lambda: qml.QubitChannel([np.sqrt(0.5) * np.eye(2), np.sqrt(0.5) * qml.Hadamard(0).matrix()], 0),
        "neither a mixture of Pauli strings nor a damping",
    ),
    "wide_kraus": (lambda: qml.QubitChannel([np.eye(16)], [0, 1, 2, 3]), "on 4 wires"),
    "qutrit_gate": (lambda: qml.TRX(0.3, wires=0), "qutrits"),
    "qutrit_shift": (lambda: qml.TShift(0), "qutrits"),
}


@pytest.mark.parametrize("name", NO_GATES)
def test_what_is_neither_a_gate_nor_known_noise_of_qubits_is_refused_by_its_name(name):
    gate, sentence = NO_GATES[name]

    def circuit():
        before()
        gate()
        return qml.expval(qml.Z(0))

    for run in (qml.QNode(circuit, QupropDevice(WIRES)), lambda: from_pennylane(circuit)):
        with pytest.raises(qpr.QupropError, match=sentence) as caught:
            run()
        assert "\n" not in str(caught.value)


def test_qutrits_are_refused_where_they_are_prepared_or_measured():
    def prepared():
        qml.QutritBasisState([2], wires=[0])
        return qml.expval(qml.Z(0))

    def measured():
        return qml.expval(qml.GellMann(0, 3))

    for circuit in (prepared, measured):
        with pytest.raises(qpr.QupropError, match="qutrits"):
            qml.QNode(circuit, QupropDevice(1))()


def test_a_sum_added_up_inside_a_circuit_is_refused_and_one_made_outside_is_measured():
    hamiltonian = qml.Hamiltonian([0.3, 0.5, -0.2], [qml.X(0) @ qml.Z(1), qml.Y(1) @ qml.Y(2), qml.Z(0)])
    whole = hamiltonian + 0.7 * qml.Y(0) @ qml.X(3) + 0.2 * qml.Z(2)

    def prepare():
        for i in range(4):
            qml.RY(0.3 + 0.2 * i, i)
        for i in range(3):
            qml.CNOT([i, i + 1])
        qml.RX(0.37, 0)
        qml.RX(0.2, 0)
        qml.CNOT([0, 2])

    def outside():
        prepare()
        return qml.expval(whole)

    def inside():
        prepare()
        return qml.expval(hamiltonian + 0.7 * qml.Y(0) @ qml.X(3) + 0.2 * qml.Z(2))

    assert qml.QNode(outside, QupropDevice(4))() == pytest.approx(-0.3958314967888986, abs=CLOSE)
    with pytest.raises(qpr.QupropError, match="stay behind in its queue"):
        qml.QNode(inside, QupropDevice(4))()


def test_evolution_in_imaginary_time_is_refused_also_where_its_value_is_traced():
    jax = pytest.importorskip("jax")
    with double("jax"):
        node = qml.QNode(value_of(lambda t: qml.exp(commuting(), (0.1 - 1j) * t)), QupropDevice(WIRES))
        with pytest.raises(Exception, match="must be finite, got nan"):
            jax.jit(node)(0.37)
