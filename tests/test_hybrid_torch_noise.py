"""Noisy models in PyTorch and JAX, and noise= put on their circuits: against dense Kraus operators and differences."""

import copy

import numpy as np
import pytest
from tolerances import assert_close

import quprop as qpr
from quprop.errors import QupropError
from quprop.hybrid.noise import misread, read_model

X, Y, Z = np.array([[0, 1], [1, 0]]), np.array([[0, -1j], [1j, 0]]), np.diag([1, -1])
OBSERVABLES = ["Z0 X1", "Y0", "0.5*Z1 + X0 X1"]
POINT = np.array([0.4, -0.3, 0.7, 0.15, 0.05])
DATA = np.array([[0.2, 0.9], [-1.1, 0.3], [0.5, 0.5], [2.0, -0.4]])


def circuit():
    t, x = qpr.params("theta", 3), qpr.inputs("x", 2)
    return qpr.Circuit(2, params=t).ry(x[0], 0).rx(t[0], 0).cx(0, 1).rz(t[1] + x[1], 1).ry(t[2] * x[0], 1)


def noise(c):
    g = qpr.params("strength", 2)
    return c.amplitude_damping(g[0], 0).bit_flip(g[1], 1)


class Machine:
    def apply(self, c):
        return noise(c.copy())


def dense(theta, x):
    """The same values by matrices; qubit 0 is the left factor."""

    def turn(p, a):
        return np.cos(a / 2) * np.eye(2) - 1j * np.sin(a / 2) * p

    gamma, p = theta[3:]
    cx = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    u = np.kron(np.eye(2), turn(Y, theta[2] * x[0]) @ turn(Z, theta[1] + x[1])) @ cx
    u = u @ np.kron(turn(X, theta[0]) @ turn(Y, x[0]), np.eye(2))
    rho = np.outer(u[:, 0], u[:, 0].conj())
    damp = [np.diag([1, np.sqrt(1 - gamma)]), np.array([[0, np.sqrt(gamma)], [0, 0]])]
    rho = sum(np.kron(k, np.eye(2)) @ rho @ np.kron(k, np.eye(2)).T for k in damp)
    flip = np.kron(np.eye(2), X)
    rho = (1 - p) * rho + p * flip @ rho @ flip
    one = np.eye(2)
    sums = [np.kron(Z, X), np.kron(Y, one), 0.5 * np.kron(one, Z) + np.kron(X, X)]
    return np.array([np.trace(rho @ o).real for o in sums])


EXPECTED = np.array([dense(POINT, x) for x in DATA])


def slopes(k, b):
    """Of value k at sample b by (theta, x), by central differences of the matrices."""
    z, h = np.concatenate([POINT, DATA[b]]), 1e-5
    return np.array([(dense(*_split(z + h * e)) - dense(*_split(z - h * e)))[k] / (2 * h) for e in np.eye(7)])


def _split(z):
    return z[:5], z[5:]


@pytest.mark.parametrize("given", ["function", "object", "model"])
def test_a_layer_has_the_values_and_slopes_of_dense_kraus_operators(given):
    torch = pytest.importorskip("torch")
    from quprop.hybrid.torch import QuantumLayer

    options = {"weights": POINT, "dtype": torch.float64}
    if given == "model":
        layer = QuantumLayer(qpr.Model(noise(circuit()), OBSERVABLES), **options)
    else:
        put = noise if given == "function" else Machine()
        layer = QuantumLayer(circuit(), observables=OBSERVABLES, noise=put, **options)
    x = torch.tensor(DATA, requires_grad=True)
    out = layer(x)
    assert_close(out.detach().numpy(), EXPECTED, 1e3)
    for k in range(3):
        by_theta, by_x = torch.autograd.grad(out[2, k], (layer.weights, x), retain_graph=True)
        expected = slopes(k, 2)
        np.testing.assert_allclose(by_theta.numpy(), expected[:5], atol=1e-9)
        np.testing.assert_allclose(by_x[2].numpy(), expected[5:], atol=1e-9)
    assert_close(copy.deepcopy(layer)(x).detach().numpy(), EXPECTED, 1e3)


def test_a_layer_learns_the_strength_of_the_noise():
    torch = pytest.importorskip("torch")
    from quprop.hybrid.torch import QuantumLayer

    layer = QuantumLayer(
        circuit(), POINT * [1, 1, 1, 0.2, 3], observables=OBSERVABLES, noise=noise, dtype=torch.float64
    )
    layer.weights.register_hook(lambda g: torch.cat([torch.zeros(3), g[3:]]))  # the angles are known
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        loss = ((layer(torch.tensor(DATA)) - torch.tensor(EXPECTED)) ** 2).mean()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            layer.weights[3:].clamp_(1e-3, 1 - 1e-3)
    np.testing.assert_allclose(layer.weights.detach().numpy(), POINT, atol=0.01)


def test_second_derivatives_of_a_noisy_layer_are_refused_in_one_sentence():
    torch = pytest.importorskip("torch")
    from quprop.hybrid.torch import QuantumLayer, expectation

    layer = QuantumLayer(circuit(), POINT, observables=OBSERVABLES, noise=noise, dtype=torch.float64)
    (slope,) = torch.autograd.grad(layer(torch.tensor(DATA)).sum(), layer.weights, create_graph=True)
    with pytest.raises(QupropError, match="no Hessian-vector products") as caught:
        slope.sum().backward()
    assert "\n" not in str(caught.value)
    found = expectation(circuit(), layer.weights, torch.tensor(DATA), observables=OBSERVABLES, noise=noise)
    assert_close(found.detach().numpy(), EXPECTED, 1e3)


def test_a_function_in_jax_has_the_values_and_slopes_of_dense_kraus_operators():
    jax = pytest.importorskip("jax")
    from quprop.hybrid.jax import function

    f = function(circuit(), observables=OBSERVABLES, noise=Machine())
    with jax.enable_x64(True):
        assert_close(np.asarray(jax.jit(f)(POINT, DATA)), EXPECTED, 1e3)
        assert_close(np.asarray(jax.vmap(f, (None, 0))(POINT, DATA)), EXPECTED, 1e3)
        for how in (jax.jacrev, jax.jacfwd):
            by_theta, by_x = how(f, argnums=(0, 1))(POINT, DATA[1])
            for k in range(3):
                expected = slopes(k, 1)
                np.testing.assert_allclose(by_theta[k], expected[:5], atol=1e-9)
                np.testing.assert_allclose(by_x[k], expected[5:], atol=1e-9)
        with pytest.raises(QupropError, match="no Hessian-vector products"):
            jax.hessian(lambda theta: f(theta, DATA[0])[0])(POINT)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_what_is_no_noise_is_refused_in_one_sentence(library):
    if library == "torch":
        pytest.importorskip("torch")
        from quprop.hybrid.torch import QuantumLayer as make
    else:
        pytest.importorskip("jax")
        from quprop.hybrid.jax import function as make
    model = qpr.Model(circuit(), "Z0")
    for given, options, sentence in (
        (circuit(), {}, "takes a quprop Model, whose outputs are expectation"),
        (circuit(), {"noise": noise}, "of a circuit needs observables="),
        (model, {"noise": noise}, "takes noise= with a Circuit"),
        (model, {"observables": "Z0"}, "takes observables= with a Circuit"),
        (circuit(), {"observables": "Z0", "noise": 3}, "an object with apply"),
        (circuit(), {"observables": "Z0", "noise": lambda c: None}, "noise returns a Circuit"),
        (circuit(), {"observables": "Z0", "noise": lambda c: qpr.Circuit(3)}, "got a circuit on 3"),
        (3, {}, "takes a quprop Model"),
    ):
        with pytest.raises(QupropError, match=sentence) as caught:
            make(given, **options)
        assert "\n" not in str(caught.value)


def test_a_layer_with_shots_refuses_noise():
    torch = pytest.importorskip("torch")
    from quprop.hybrid.torch import QuantumLayer

    with pytest.raises(QupropError, match="takes no noise"):
        QuantumLayer(circuit(), observables="Z0", noise=noise, forward_shots=100, dtype=torch.float64)


def test_strings_are_misread_one_letter_after_the_other():
    errors = {0: [(0.1, 0.2), (0.05, 0.0)], 2: [(0.3, 0.1)]}

    def table(q):
        out = np.eye(2)
        for p10, p01 in errors.get(q, ()):
            out = out @ [[1 - p10, p10], [p01, 1 - p01]]
        return out

    found = dict(misread(qpr.PauliSum({"X0 Y1 Z2": 2.0, "Z1": 1.0}), errors).items())
    b0, c0 = _affine(table(0))
    b2, c2 = _affine(table(2))
    parse = qpr.PauliString.parse
    expected = {"X0 Y1 Z2": 2 * b0 * b2, "Y1 Z2": 2 * c0 * b2, "X0 Y1": 2 * b0 * c2, "Y1": 2 * c0 * c2, "Z1": 1.0}
    assert found.keys() == {parse(p) for p in expected}
    for p, c in expected.items():
        assert_close(found[parse(p)], c, 100)


def _affine(table):
    """z -> b z + c of a bit's mean, from its table [true][read]."""
    up, down = table[0, 0] - table[0, 1], table[1, 0] - table[1, 1]
    return (up - down) / 2, (up + down) / 2


def test_only_errors_of_readout_at_the_end_and_with_numbers_are_read_in_every_basis():
    p = qpr.params("p", 1)
    plain = qpr.Circuit(2).ry(0.4, 0).cx(0, 1)
    found = read_model(plain.copy().readout_error(0.1, 0.2, 0), ["X0", "Z0"])
    assert not found.channels
    assert_close(
        qpr.expectation(found, []),
        0.7 * qpr.expectation(qpr.Model(plain, ["X0", "Z0"]), []) + 0.1,
        100,
    )
    trained = read_model(plain.copy().readout_error(p[0], 0.2, 0), "Z0")
    assert len(trained.channels) == 1
    with pytest.raises(QupropError, match="not diagonal"):
        read_model(plain.copy().readout_error(p[0], 0.2, 0), "X0")
    with pytest.raises(QupropError, match="not diagonal"):
        read_model(plain.copy().readout_error(0.1, 0.2, 0).h(0), "Z0")
