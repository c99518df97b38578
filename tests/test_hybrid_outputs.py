"""Outputs of states in torch and JAX against automatic differentiation of a dense simulation in the same library, whose
conventions for complex numbers they share."""

import dense
import numpy as np
import pytest
from test_outputs import CIRCUIT, MODEL, NOISY, POINT

import quprop as qpr
from quprop.outputs import Amplitudes, Entropy, Probabilities, Purity, ReducedState, StateOverlap

TARGET = np.arange(8) - 2j
OUTPUTS = {
    "probabilities": Probabilities(),
    "marginals": Probabilities([2, 0]),
    "reduced_state": ReducedState([2, 0]),
    "purity": Purity([0]),
    "entropy": Entropy([0]),
    "renyi": Entropy([2, 0], order=3),
    "low_order": Entropy([1], order=0.7, base=2),
    "amplitudes": Amplitudes(1),
    "overlap": StateOverlap(TARGET),
}
FEW = ("marginals", "reduced_state", "entropy")
SLOWER = [pytest.param(name, marks=[pytest.mark.slow] * (name not in FEW)) for name in OUTPUTS]


def dense_jax(output):
    """The output as a function of theta and x in jax.numpy, from textbook matrices of the gates."""
    jnp = pytest.importorskip("jax").numpy

    def of(t, x):
        psi = dense.final_state(CIRCUIT, t, x, xp=jnp)
        if isinstance(output, Amplitudes):
            r = psi[output.phase_of]
            return psi * r.conj() / jnp.sqrt(r.real**2 + r.imag**2)
        if isinstance(output, StateOverlap):
            a = output.target.conj() @ psi
            return a.real**2 + a.imag**2
        if output.qubits is None:
            return psi.real**2 + psi.imag**2
        axes = [2 - q for q in reversed(output.qubits)]
        M = jnp.moveaxis(psi.reshape(2, 2, 2), axes, range(len(axes))).reshape(2 ** len(axes), -1)
        rho = M @ M.conj().T
        if isinstance(output, Probabilities):
            return jnp.diagonal(rho).real
        if isinstance(output, ReducedState):
            return rho
        if isinstance(output, Purity):
            return jnp.trace(rho @ rho).real
        small = M.conj().T @ M if M.shape[0] > M.shape[1] else rho  # 2 x 2: eigenvalues in closed form
        gap = jnp.sqrt(1 - 4 * jnp.linalg.det(small).real)
        p = jnp.stack([(1 + gap) / 2, (1 - gap) / 2])
        a = output.order
        value = -jnp.sum(p * jnp.log(p)) if a == 1 else jnp.log(jnp.sum(p**a)) / (1 - a)
        return value / np.log(output.base or np.e)

    return of


@pytest.fixture
def jax():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOWER)
def test_jax_differentiates_an_output_as_it_does_a_dense_simulation(jax, name):
    from quprop.hybrid.jax import function

    output = OUTPUTS[name]
    f, g = function(MODEL, output=output), dense_jax(output)
    t, x = POINT[0], POINT[1][0]
    np.testing.assert_allclose(f(t, x), g(t, x), atol=1e-10)
    for argument in (0, 1):
        forward, exact = jax.jacfwd(f, argument)(t, x), jax.jit(jax.jacfwd(g, argument))(t, x)
        np.testing.assert_allclose(forward, exact, atol=1e-8)
        if not output.complex:
            np.testing.assert_allclose(jax.jacrev(f, argument)(t, x), exact, atol=1e-8)
    weights = np.random.default_rng(0).normal(size=(2, *np.shape(g(t, x))))
    if output.complex:  # a real loss: JAX's own convention for what comes back to real parameters
        loss = lambda of: lambda t, x: (weights[0] * of(t, x).real + weights[1] * of(t, x).imag).sum()  # noqa: E731
        holomorphic = jax.vjp(f, t, x)[1](weights[0] + 1j * weights[1])
        for a, b in zip(holomorphic, jax.vjp(jax.jit(g), t, x)[1](weights[0] + 1j * weights[1]), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)
    else:
        loss = lambda of: lambda t, x: (weights[0] * of(t, x) ** 2).sum()  # noqa: E731
    second = jax.jit(jax.hessian(loss(g), (0, 1)))(t, x)
    for way in (
        jax.hessian,
        lambda h, a: jax.jacfwd(jax.jacrev(h, a), a),
        lambda h, a: jax.jacrev(jax.jacfwd(h, a), a),
    ):
        found = way(loss(f), (0, 1))(t, x)
        for i in (0, 1):
            for j in (0, 1):
                np.testing.assert_allclose(found[i][j], second[i][j], atol=1e-8)


@pytest.mark.parametrize("name", FEW)
def test_jax_compiles_and_maps_outputs(jax, name):
    from quprop.hybrid.jax import function

    f = function(MODEL, output=OUTPUTS[name])
    t, x = POINT
    one_by_one = np.stack([f(t, row) for row in x])
    np.testing.assert_allclose(f(t, x), one_by_one, atol=1e-12)
    np.testing.assert_allclose(jax.jit(jax.vmap(f, (None, 0)))(t, x), one_by_one, atol=1e-12)
    slopes = jax.jit(jax.vmap(jax.jacfwd(f, 1), (None, 0)))(t, x)
    np.testing.assert_allclose(slopes, np.stack([jax.jacfwd(f, 1)(t, row) for row in x]), atol=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own, of forward mode
@pytest.mark.parametrize("name", OUTPUTS)
def test_torch_differentiates_outputs_twice(name):
    torch = pytest.importorskip("torch")
    from quprop.hybrid.torch import expectation

    t, x = (torch.tensor(a, requires_grad=True) for a in POINT)
    f = lambda t, x: expectation(MODEL, t, x, output=OUTPUTS[name])  # noqa: E731
    assert torch.autograd.gradcheck(f, (t, x), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, (t, x))


@pytest.mark.parametrize("name", ["reduced_state", "amplitudes"])
def test_gradients_of_complex_outputs_have_the_convention_of_torch(jax, name):
    """Torch's own product with the dense Jacobian decides: grad is sum conj(J) c, its real part for real inputs."""
    torch = pytest.importorskip("torch")
    from quprop.hybrid.torch import expectation

    t, x = POINT[0], POINT[1][0]
    J = np.array(jax.jit(jax.jacfwd(dense_jax(OUTPUTS[name])))(t, x))
    value = expectation(MODEL, torch.tensor(t, requires_grad=True), torch.tensor(x), output=OUTPUTS[name])
    rng = np.random.default_rng(0)
    c = torch.tensor(rng.normal(size=value.shape) + 1j * rng.normal(size=value.shape))
    results = []
    for linear in (False, True):
        theta = torch.tensor(t, requires_grad=True)
        if linear:
            out = torch.tensor(J) @ theta.to(torch.complex128)
        else:
            out = expectation(MODEL, theta, torch.tensor(x), output=OUTPUTS[name])
        results.append(torch.autograd.grad(out, theta, c)[0].numpy())
    np.testing.assert_allclose(*results, atol=1e-8)


def test_a_layer_of_an_output_trains_and_says_what_it_gives():
    torch = pytest.importorskip("torch")
    layer = qpr.QuantumLayer(MODEL, output=Entropy([0, 1]), dtype=torch.float64)
    x = torch.tensor(POINT[1])
    before = layer(x).sum()
    assert before.shape == ()
    for _ in range(20):
        layer.zero_grad()
        loss = layer(x).sum()
        loss.backward()
        with torch.no_grad():
            layer.weights -= 0.2 * layer.weights.grad
    assert loss < before
    assert qpr.QuantumLayer(MODEL, output="probabilities").out_features == 8
    assert qpr.QuantumLayer(MODEL, output=ReducedState([1]))(x.float()).dtype == torch.complex64
    assert "Entropy" in repr(layer)


def test_third_derivatives_and_what_has_no_output_are_refused(jax):
    torch = pytest.importorskip("torch")
    from quprop.hybrid.jax import function
    from quprop.hybrid.torch import expectation

    t, x = torch.tensor(POINT[0], requires_grad=True), torch.tensor(POINT[1])
    first = torch.autograd.grad(expectation(MODEL, t, x, output=Purity([0])).sum(), t, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), t, create_graph=True)[0]
    with pytest.raises(qpr.QupropError, match="third"):
        torch.autograd.grad(second.sum(), t)
    f = function(MODEL, output=Purity([0]))
    with pytest.raises(qpr.QupropError, match="third"):
        jax.jacfwd(jax.hessian(f))(POINT[0], POINT[1][0])
    for make in (qpr.QuantumLayer, function):
        with pytest.raises(qpr.QupropError, match="output is one of"):
            make(MODEL, output="purity")
        with pytest.raises(qpr.QupropError, match=r"qubits 0\.\.2, got 3"):
            make(MODEL, output=Purity([3]))
        with pytest.raises(qpr.QupropError, match="takes no noise"):
            make(NOISY, output=Purity([0]))
    with pytest.raises(qpr.QupropError, match="leave method="):
        qpr.QuantumLayer(MODEL, output=Purity([0]), forward_shots=10)
    assert CIRCUIT.n_qubits == 3


@pytest.mark.parametrize("order", [1 + 1e-9, 1.3, 2.0, 30.0, 500.0])
def test_hessians_of_entropies_of_any_order_without_inputs(order):
    torch = pytest.importorskip("torch")
    from quprop.hybrid.torch import expectation

    t = qpr.params("t", 4)
    circuit = qpr.Circuit(3).ry(t[0], 0).ry(t[1], 1).cx(0, 1).rx(t[2], 2).cx(1, 2).ry(t[3], 1)
    model, point = qpr.Model(circuit, "Z0"), torch.tensor([0.3, 0.8, -0.5, 1.1], dtype=torch.float64)
    f = lambda v: expectation(model, v, output=Entropy((1,), order=order)).sum()  # noqa: E731
    found = torch.autograd.functional.hessian(f, point)

    def slope(v):
        v = v.clone().requires_grad_()
        return torch.autograd.grad(f(v), v)[0]

    steps = 1e-5 * torch.eye(4, dtype=torch.float64)
    expected = torch.stack([(slope(point + s) - slope(point - s)) / 2e-5 for s in steps])
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-7)
