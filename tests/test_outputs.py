"""Outputs of states against dense linear algebra: values, exact derivatives, spectra with degenerate and zero
eigenvalues, and what is refused."""

import cases
import numpy as np
import pytest
import scipy.linalg

import quprop as qpr
from quprop.outputs import Amplitudes, Entropy, Probabilities, Purity, ReducedState, StateOverlap
from quprop.outputs.clifford import clifford_of
from quprop.simulate.state_vector.reference import apply_clifford

T, X = qpr.params("t", 3), qpr.inputs("x", 2)
CIRCUIT = (
    qpr.Circuit(3).ry(T[0], 0).rx(X[0] * T[1], 1).cx(0, 1).h(2).cx(1, 2).rz(T[2], 2).ry(X[1], 2).s(1).h(0).cx(2, 0)
)
MODEL = qpr.Model(CIRCUIT, "Z0")
POINT = np.array([0.3, 0.8, 1.1]), np.array([[0.4, 0.2], [0.7, -0.5]])
NOISY = qpr.Model(CIRCUIT.copy().amplitude_damping(0.2, 1).depolarising(0.1, 2), "Z0")
BELL = qpr.Model(qpr.Circuit(2).ry(T[0], 0).cx(0, 1), "Z0")  # Schmidt values cos(t/2), sin(t/2)


def dense_reduced(psi, qubits):
    """sum over the rest, index by index."""
    n, k = len(psi).bit_length() - 1, len(qubits)
    rho = np.zeros((2**k, 2**k), complex)
    place = [sum((j >> q & 1) << i for i, q in enumerate(qubits)) for j in range(2**n)]
    rest = [j & ~sum(1 << q for q in qubits) for j in range(2**n)]
    for i in range(2**n):
        for j in range(2**n):
            if rest[i] == rest[j]:
                rho[place[i], place[j]] += psi[i] * psi[j].conj()
    return rho


def dense(output, psi):
    if isinstance(output, Amplitudes):
        return psi * np.exp(-1j * np.angle(psi[output.phase_of]))
    if isinstance(output, StateOverlap):
        return abs(np.vdot(output.target, psi)) ** 2
    n = len(psi).bit_length() - 1
    rho = dense_reduced(psi, range(n) if output.qubits is None else output.qubits)
    if isinstance(output, Probabilities):
        return rho.diagonal().real
    if isinstance(output, ReducedState):
        return rho
    if isinstance(output, Purity):
        return np.trace(rho @ rho).real
    p = np.linalg.eigvalsh(rho)
    p = p[p > 1e-15]
    s = -np.sum(p * np.log(p)) if output.order == 1 else np.log(np.sum(p**output.order)) / (1 - output.order)
    return s / np.log(output.base or np.e)


def outputs_for(n, seed=0):
    rng = np.random.default_rng(seed)
    some = [int(q) for q in rng.permutation(n)[: max(1, (n + 1) // 2)]]
    target = rng.normal(size=2**n) + 1j * rng.normal(size=2**n)
    yield from (Probabilities(), Probabilities(some), ReducedState(some), Purity(some), StateOverlap(target))
    yield from (Entropy(some), Entropy([n - 1], 2.5, base=2), Entropy([0], 0.7))


@pytest.mark.parametrize("name", cases.CASES)
def test_outputs_are_those_of_dense_linear_algebra(name):
    model = cases.CASES[name].model
    theta, x = cases.values_for(model, 2)
    x = x if model.n_inputs else None
    psi = qpr.state(model, theta, x, engine="reference")
    largest = Amplitudes(int(np.abs(psi).min(axis=0).argmax()))
    for output in (*outputs_for(model.n_qubits), *([largest] if np.abs(psi[:, largest.phase_of]).min() > 0.01 else [])):
        found = qpr.output_vjp(model, output, theta, x)[0]
        np.testing.assert_allclose(found, [dense(output, p) for p in psi], atol=1e-10)
        single = qpr.output_vjp(model, output, theta, x, precision="single")[0]
        np.testing.assert_allclose(single, found, atol=1e-3 if isinstance(output, Entropy) else 1e-5)


@pytest.mark.parametrize("name", cases.CASES)
def test_pullbacks_are_derivatives_along_any_direction(name):
    """The sweep back against differences of the fourth order."""
    model = cases.CASES[name].model
    theta, x = cases.values_for(model, 2)
    rng = np.random.default_rng(1)
    u, u_x, h = rng.normal(size=theta.shape) / 4, rng.normal(size=x.shape) / 4, 2e-3
    at = lambda s: (theta + s * u, x + s * u_x if model.n_inputs else None)  # noqa: E731
    psi = np.abs(qpr.state(model, *at(0))).min(axis=0)
    for output in (*outputs_for(model.n_qubits), *([Amplitudes(int(psi.argmax()))] if psi.max() > 0.2 else [])):
        if isinstance(output, Entropy) and qpr.purity(model, *at(0), qubits=output.qubits).max() > 0.98:
            continue  # near zero eigenvalues differences say nothing; those have tests of their own
        value, pullback = qpr.output_vjp(model, output, *at(0))
        c = rng.normal(size=value.shape) + (1j * rng.normal(size=value.shape) if output.complex else 0)
        f = {s: np.sum((c.conj() * qpr.output_vjp(model, output, *at(s * h))[0]).real) for s in (-2, -1, 1, 2)}
        d_theta, d_x = pullback(c)
        np.testing.assert_allclose(
            np.sum(d_theta * u) + np.sum(d_x * u_x), (8 * (f[1] - f[-1]) - f[2] + f[-2]) / (12 * h), atol=1e-6
        )
        np.testing.assert_allclose(pullback(c, sum_theta=True)[0], d_theta.sum(axis=0), atol=1e-12)


def test_residual_cliffords_and_their_adjoints_are_those_gate_by_gate():
    for seed in range(5):
        model = cases.random_model(seed, 5, 3)
        clifford = qpr.Circuit(5)
        rng = np.random.default_rng(seed)
        for _ in range(30):
            name = rng.choice(["h", "s", "cx", "cz", "swap", "y", "x"])
            wires = [int(q) for q in rng.permutation(5)[: 2 if name in ("cx", "cz", "swap") else 1]]
            clifford.gate(str(name), *wires)
        model = qpr.Model(clifford, "Z0")
        v, w = rng.normal(size=(2, 3, 32)) + 1j * rng.normal(size=(2, 3, 32))
        found = clifford_of(model)
        expected = apply_clifford(model.clifford, v)
        phase = np.vdot(found.apply(v), expected)
        np.testing.assert_allclose(found.apply(v) * phase / abs(phase), expected, atol=1e-12)
        np.testing.assert_allclose(np.vdot(w, found.apply(v)), np.vdot(found.adjoint(w), v), atol=1e-12)


@pytest.mark.parametrize("order", [1, 0.5, 0.8, 2, 3.5])
@pytest.mark.parametrize("t", [0.3, 1e-3, np.pi / 2])
def test_entropies_of_two_schmidt_values_have_their_closed_form(order, t):
    """pi/2 is maximally entangled, degenerate; near 0 an eigenvalue is 2.5e-7."""
    p, dp = np.array([np.cos(t / 2), np.sin(t / 2)]) ** 2, np.array([-1, 1]) * np.sin(t) / 2
    if order == 1:
        value, slope = -np.sum(p * np.log(p)), -np.sum(dp * np.log(p))
    else:
        total = np.sum(p**order)
        value, slope = np.log(total) / (1 - order), order * np.sum(p ** (order - 1) * dp) / total / (1 - order)
    for qubit in (0, 1):
        found, pullback = qpr.output_vjp(BELL, Entropy([qubit], order), [t, 0, 0][: BELL.n_params])
        np.testing.assert_allclose(found, value, atol=1e-10)
        np.testing.assert_allclose(pullback(1.0)[0][0], slope, atol=1e-8)


def test_at_product_states_entropies_are_zero_and_stationary_or_refused():
    theta = np.zeros(BELL.n_params)
    for order in (0.7, 1, 2):
        value, pullback = qpr.output_vjp(BELL, Entropy([0], order), theta)
        assert abs(value) < 1e-12
        assert abs(pullback(1.0)[0]).max() < 1e-12
    with pytest.raises(qpr.QupropError, match=r"no derivative at zero eigenvalues"):
        qpr.output_vjp(BELL, Entropy([0], 0.5), theta)[1](1.0)


def test_at_degenerate_spectra_gradients_are_those_of_matrix_functions():
    """Two Bell pairs, turned: rho of two qubits has four equal eigenvalues, and d S = -tr(log rho d rho)."""
    t = qpr.params("t", 4)
    circuit = qpr.Circuit(4).ry(t[0], 0).cx(0, 2).ry(t[1], 1).cx(1, 3).rxx(t[2], 0, 1).ryy(t[3], 2, 1).h(1)
    model = qpr.Model(circuit, "Z0")
    for theta in (np.array([np.pi / 2, np.pi / 2, 0.4, 0.0]), np.array([np.pi / 2, 0.9, 0.4, 0.3])):
        d_s, h = qpr.output_vjp(model, Entropy([1, 0]), theta)[1](1.0)[0], 1e-3
        rho = lambda v: qpr.reduced_state(model, v, qubits=[1, 0])  # noqa: E731
        for i, e in enumerate(np.eye(4) * h):
            d_rho = (8 * (rho(theta + e) - rho(theta - e)) - rho(theta + 2 * e) + rho(theta - 2 * e)) / (12 * h)
            expected = -np.trace(scipy.linalg.logm(rho(theta)) @ d_rho).real
            np.testing.assert_allclose(d_s[i], expected, atol=1e-8)


def test_complex_cotangents_weigh_real_and_imaginary_parts():
    value, pullback = qpr.output_vjp(MODEL, ReducedState([2, 0]), *POINT)
    h, e = 1e-6, np.array([0, 1, 0])
    up, down = (qpr.reduced_state(MODEL, POINT[0] + s * e, POINT[1], qubits=[2, 0]) for s in (h, -h))
    slope = (up - down) / (2 * h)
    for c in (1, 1j):
        one = np.zeros(value.shape, complex)
        one[:, 0, 3] = c
        np.testing.assert_allclose(pullback(one)[0][:, 1], (np.conj(c) * slope[:, 0, 3]).real, atol=1e-8)


def test_the_first_qubit_of_a_register_is_the_lowest_bit():
    flipped = qpr.Model(qpr.Circuit(3).x(2), "Z0")
    np.testing.assert_allclose(qpr.probabilities(flipped, [], qubits=[2, 0]), [0, 1, 0, 0], atol=1e-15)
    np.testing.assert_allclose(qpr.probabilities(flipped, [], qubits=[0, 2]), [0, 0, 1, 0], atol=1e-15)


def test_outputs_of_noisy_models_are_those_of_the_mixed_state():
    theta, x = POINT
    whole = qpr.reduced_state(NOISY, theta, x, qubits=[0, 1, 2])
    np.testing.assert_allclose(
        np.diagonal(whole, axis1=1, axis2=2).real, qpr.probabilities(NOISY, theta, x), atol=1e-12
    )
    rho = whole.reshape(2, 2, 2, 2, 2, 2, 2)  # batch, then bits 2 1 0 of rows and columns
    part = np.einsum("zabcdbf->zacdf", rho).reshape(2, 4, 4)  # over qubit 1; now 2 is the higher bit
    np.testing.assert_allclose(qpr.reduced_state(NOISY, theta, x, qubits=[0, 2]), part, atol=1e-12)
    np.testing.assert_allclose(
        qpr.probabilities(NOISY, theta, x, qubits=[0, 2]), np.diagonal(part, axis1=1, axis2=2).real, atol=1e-12
    )
    expected = [-np.trace(r @ scipy.linalg.logm(r)).real for r in part]
    np.testing.assert_allclose(qpr.entropy(NOISY, theta, x, qubits=[0, 2]), expected, atol=1e-10)


def test_overlaps_and_kernels_are_those_of_the_states():
    theta, x = POINT
    other = qpr.Model(qpr.Circuit(3).ry(T[1], 0).cx(0, 2).h(1).rxx(T[0], 1, 2).s(1), "Z0")
    psi, phi = qpr.state(MODEL, theta, x), qpr.state(other, theta)
    np.testing.assert_allclose(
        qpr.overlap(MODEL, theta, other, theta, x_a=x), np.abs(psi.conj() @ phi) ** 2, atol=1e-12
    )
    y = np.array([[0.1, 0.9], [0.3, 0.3], [1.0, -2.0]])
    expected = np.abs(psi.conj() @ qpr.state(MODEL, theta, y).T) ** 2
    np.testing.assert_allclose(qpr.kernel(MODEL, theta, x, y), expected, atol=1e-12)


def test_gradients_of_overlaps_and_kernels_are_those_of_outputs():
    """Either side held still, an overlap is that with a given state."""
    theta, x = POINT
    other = theta[::-1].copy()
    F, pullback = qpr.overlap_vjp(MODEL, theta, MODEL, other, x_a=x[0], x_b=x[1])
    d_a, d_xa, d_b, d_xb = pullback(1.5)
    for (t, z), (fixed, fixed_x), got in (((theta, x[0]), (other, x[1]), (d_a, d_xa)),
                                          ((other, x[1]), (theta, x[0]), (d_b, d_xb))):  # fmt: skip
        value, back = qpr.output_vjp(MODEL, StateOverlap(qpr.state(MODEL, fixed, fixed_x)), t, z)
        np.testing.assert_allclose(value, F, atol=1e-12)
        for a, b in zip(got, back(1.5), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)
    y, c = np.array([[0.1, 0.9], [0.3, 0.3], [1.0, -2.0]]), np.random.default_rng(0).normal(size=(2, 3))
    d_theta, d_x, d_y = qpr.kernel_vjp(MODEL, theta, x, y)[1](c)
    expected_theta, expected_x, expected_y = 0, np.zeros_like(x), np.zeros_like(y)
    for i in range(2):
        for j in range(3):
            a, xa, b, xb = qpr.overlap_vjp(MODEL, theta, MODEL, theta, x_a=x[i], x_b=y[j])[1](c[i, j])
            expected_theta = expected_theta + a + b
            expected_x[i] += xa
            expected_y[j] += xb
    for a, b in ((d_theta, expected_theta), (d_x, expected_x), (d_y, expected_y)):
        np.testing.assert_allclose(a, b, atol=1e-12)
    square = np.random.default_rng(1).normal(size=(2, 2))
    both = qpr.kernel_vjp(MODEL, theta, x, x)[1](square)
    alone = qpr.kernel_vjp(MODEL, theta, x)[1](square)
    np.testing.assert_allclose(alone[0], both[0], atol=1e-12)
    np.testing.assert_allclose(alone[1], both[1] + both[2], atol=1e-12)


WRONG = {
    "empty": (lambda: Probabilities([]), "the register is empty"),
    "repeated": (lambda: ReducedState([1, 0, 1]), "each qubit once, got 1 twice"),
    "negative": (lambda: Purity([-1]), "count from 0, got -1"),
    "fraction": (lambda: Entropy([0.5]), "whole numbers, got 0.5"),
    "truth": (lambda: Entropy([True]), "whole numbers, got True"),
    "number": (lambda: Entropy(1), "a list of qubits"),
    "out of range": (lambda: qpr.purity(MODEL, *POINT, qubits=[3]), "qubits 0..2, got 3"),
    "marginal": (lambda: qpr.probabilities(MODEL, *POINT, qubits=[5]), "qubits 0..2, got 5"),
    "order": (lambda: Entropy([0], 0), "finite number above 0, got 0"),
    "infinite order": (lambda: Entropy([0], np.inf), "finite number above 0, got inf"),
    "base": (lambda: Entropy([0], base=1), "finite number above 1, got 1"),
    "memory": (
        lambda: qpr.reduced_state(qpr.Model(qpr.Circuit(20).h(0), "Z0"), [], qubits=range(20)),
        "a reduced state of 20 qubits needs",
    ),
    "phase": (lambda: qpr.output_vjp(qpr.Model(qpr.Circuit(1).x(0), "Z0"), Amplitudes(), []), "choose another with"),
    "basis state": (lambda: qpr.output_vjp(MODEL, Amplitudes(8), *POINT), r"0\.\.7 of the model, got 8"),
    "target": (lambda: qpr.output_vjp(MODEL, StateOverlap([1, 0]), *POINT), r"must have shape \(8,\)"),
    "noise": (lambda: qpr.output_vjp(NOISY, Purity([0]), *POINT), "takes no noise"),
    "noisy register": (
        lambda: qpr.purity(qpr.Model(qpr.Circuit(7).bit_flip(0.1, 0), "Z0"), [], qubits=range(7)),
        "6 qubits at most, got 7",
    ),
    "cotangent": (lambda: qpr.output_vjp(MODEL, Purity([0]), *POINT)[1](np.ones(3)), r"cotangent must have shape"),
    "output": (lambda: qpr.output_vjp(MODEL, "purity", *POINT), "output is one of qpr.outputs"),
    "model": (lambda: qpr.output_vjp(3, Purity([0]), [0.1]), "quprop Model, got int"),
    "sizes": (lambda: qpr.overlap(MODEL, POINT[0], BELL, [0.1], x_a=POINT[1]), "3 and 2 qubits have no overlap"),
    "propagation": (lambda: qpr.output_vjp(MODEL, Purity([0]), *POINT, engine="pauli"), "no states|has no|state"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name):
    call, sentence = WRONG[name]
    with pytest.raises(qpr.QupropError, match=sentence):
        call()


@pytest.mark.parametrize("difference", [1e-15, 1e-12, -1e-12, 1e-8, -1e-6, 1e-3])
def test_entropies_of_orders_near_one_are_von_neumanns(difference):
    """S_a = S_1 - (a - 1) Var(log rho) / 2 + ..., value and gradient: nothing is divided by the little that is left."""
    theta, x = POINT
    for qubits in ([0], [2, 0]):
        near, one = (Entropy(qubits, order=a) for a in (1 + difference, 1.0))
        (value, back), (expected, pull) = (qpr.output_vjp(MODEL, o, theta, x) for o in (near, one))
        np.testing.assert_allclose(value, expected, atol=abs(difference) * 5 + 1e-12)
        ones = np.ones(np.shape(value))
        np.testing.assert_allclose(back(ones)[0], pull(ones)[0], atol=abs(difference) * 50 + 1e-10)


@pytest.mark.parametrize("order", [0.6, 1.4999, 1.5001, 7.0, 300.0, 1e4, 1e9])
def test_entropies_of_any_order_are_those_of_logarithms(order):
    """log sum exp(a log lambda) / (1 - a), and its gradient by differences of it; towards -log of the largest."""
    theta, x = POINT

    def exact(theta):
        lam = np.linalg.eigvalsh(qpr.reduced_state(MODEL, theta, x, qubits=[2]))
        return np.logaddexp.reduce(order * np.log(np.maximum(lam, 1e-300)), axis=-1) / (1 - order)

    value, back = qpr.output_vjp(MODEL, Entropy([2], order=order), theta, x)
    np.testing.assert_allclose(value, exact(theta), rtol=1e-12, atol=1e-12)
    gradient, h = back(np.ones(np.shape(value)))[0], 1e-6
    for k in range(theta.shape[-1]):
        move = h * np.eye(theta.shape[-1])[k]
        slope = (exact(theta + move) - exact(theta - move)) / (2 * h)
        np.testing.assert_allclose(gradient[..., k], slope, atol=1e-7)
