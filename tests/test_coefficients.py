"""Observables whose coefficients are polynomials of parameters and inputs: every way to them is right, or refuses."""

import pickle

import dense
import numpy as np
import pytest
from gradient_ways import SETTINGS
from tolerances import assert_close

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients import METHODS
from quprop.simulate import engine_for
from quprop.simulate.measure import measure_omega
from quprop.structure import efficiency_report, find_blocks, observable_programs

theta, x, beta = qpr.params("theta", 3), qpr.inputs("x", 2), qpr.params("beta", 2)
n = 3


def circuit(noisy=False):
    """theta[0] and x[1] stand in gates and in coefficients; Clifford gates give absorbed strings minus signs."""
    c = qpr.Circuit(n).ry(theta[0], 0).h(1).cx(0, 1).rx(theta[1] * x[0], 1).s(0).cx(1, 2).rzz(x[1] + theta[0], 0, 2)
    c = c.rotation("X0 Y1 Z2", 0.7 * theta[2]).sdg(1).h(2)
    return c.depolarising(0.05, 0).amplitude_damping(0.1, 1) if noisy else c


OBSERVABLES = [
    {"Z0 Z1": theta[0] ** 2, "X0": 0.5 * x[1], "Y1 X2": 1.0, "I": beta[1]},
    {"Z0 Z1": beta[0] * theta[1] * x[0] - 0.3, "-X0 Z2": x[1], "Y0": beta[0]},
    "Z2 - 0.5*X1",
]
STRINGS = ["Z0 Z1", "X0", "Y1 X2", "I", "X0 Z2", "Y0", "Z2", "X1"]


def table(t, d, xp=np):
    """The coefficients (K, strings) by hand; t is theta and then beta."""
    a, b, zero = t[:3], t[3:], 0.0 * t[0]
    return xp.stack(
        [
            xp.stack([a[0] ** 2, 0.5 * d[1], 1 + zero, b[1], zero, zero, zero, zero]),
            xp.stack([b[0] * a[1] * d[0] - 0.3, zero, zero, zero, -d[1], b[0], zero, zero]),
            xp.stack([zero, zero, zero, zero, zero, zero, 1 + zero, zero - 0.5]),
        ]
    )


def exact(t, d, xp=np):
    """F (K,) from the dense matrices of the observables at the parameters."""
    psi = dense.final_state(circuit(), t[:3], d, xp)
    matrices = xp.asarray(np.stack([dense.sum_matrix(qpr.PauliSum(s), n) for s in STRINGS]))
    return xp.stack([xp.vdot(psi, xp.tensordot(row, matrices, 1) @ psi).real for row in table(t, d, xp)])


@pytest.fixture(scope="module")
def model():
    return qpr.Model(circuit(), OBSERVABLES)


@pytest.fixture(scope="module")
def derivatives():
    """Values, Jacobian (K, P + D) and Hessians of the dense F, by JAX."""
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)

    def both(p):
        return exact(p[:5], p[5:], jax.numpy)

    @jax.jit
    def all_of_them(p):
        return both(p), jax.jacrev(both)(p), jax.jacfwd(jax.jacrev(both))(p)

    return lambda t, d: tuple(map(np.asarray, all_of_them(np.concatenate([t, d]))))


def points(batch=()):
    rng = np.random.default_rng(5)
    return rng.normal(size=(*batch, 5)), rng.normal(size=(*batch, 2))


def test_parameters_of_observables_are_laid_out_after_those_of_the_circuit(model):
    assert (model.param_names, model.param_sizes) == (("theta", "beta"), (3, 2))
    assert (model.input_names, model.input_sizes) == (("x",), (2,))
    alone = qpr.Model(qpr.Circuit(1).h(0), {"X0": beta[1]})
    assert (alone.param_names, alone.n_params) == (("beta",), 2)
    assert_close(qpr.expectation(alone, [0.3, 0.7]), [0.7], 10)
    with pytest.raises(QupropError, match="taken by params"):
        qpr.Model(qpr.Circuit(1).ry(theta[0], 0), {"Z0": qpr.params("theta", 4)[3]})


@pytest.mark.parametrize("engine", ["auto", "native", "reference", "lightcone", qpr.PauliPropagation(0)])
def test_values_are_those_of_the_observables_matrices(model, engine):
    t, d = points((4,))
    expected = np.stack([exact(*p) for p in zip(t, d, strict=True)])
    assert_close(qpr.expectation(model, t, d, engine=engine), expected, 2000)
    assert_close(qpr.expectation(model, t[0], d, engine=engine), np.stack([exact(t[0], p) for p in d]), 2000)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "native", "reference", "lightcone", qpr.PauliPropagation(0)])
def test_gradients_are_those_of_the_dense_values(model, derivatives, engine):
    t, d = points((4,))
    w = np.random.default_rng(6).normal(size=(4, 3))
    found = [derivatives(*p) for p in zip(t, d, strict=True)]
    gradient = np.stack([c @ f[1] for c, f in zip(w, found, strict=True)])
    value, grad = qpr.value_and_grad(model, t, d, weights=w, engine=engine)
    assert_close(value, [c @ f[0] for c, f in zip(w, found, strict=True)], 2000)
    assert_close(grad, gradient[:, :5], 5000)
    values, pullback = qpr.vjp(model, t, d, engine=engine)
    assert_close(values, np.stack([f[0] for f in found]), 2000)
    d_theta, d_x = pullback(w)
    assert_close(d_theta, gradient[:, :5], 5000)
    assert_close(d_x, gradient[:, 5:], 5000)
    assert_close(pullback(w, sum_theta=True)[0], gradient[:, :5].sum(axis=0), 5000)
    shared = qpr.vjp(model, t[0], d, engine=engine)[1](w, sum_theta=True)
    rows = np.stack([c @ derivatives(t[0], p)[1] for c, p in zip(w, d, strict=True)])
    assert_close(shared[0], rows[:, :5].sum(axis=0), 5000)
    assert_close(shared[1], rows[:, 5:], 5000)


@pytest.mark.parametrize("engine", ["native", "reference", "lightcone"])
@pytest.mark.parametrize("few", [0, 100])
def test_hessian_vector_products_are_those_of_the_dense_values(model, derivatives, engine, few, monkeypatch):
    monkeypatch.setattr("quprop.simulate.coefficients._FEW", few)  # by jets, and by a sweep for each string
    t, d = points((3,))
    rng = np.random.default_rng(7)
    w, v, u = rng.normal(size=(3, 3)), rng.normal(size=(3, 5)), rng.normal(size=(3, 2))
    found = qpr.hvp(model, t, d, v_theta=v, v_x=u, weights=w, engine=engine)
    for k in range(3):
        _, first, second = derivatives(t[k], d[k])
        assert_close(np.concatenate([found[0][k], found[1][k]]), w[k] @ first, 5000)
        along = np.concatenate([v[k], u[k]])
        assert_close(np.concatenate([found[2][k], found[3][k]]), np.einsum("k,kij,j->i", w[k], second, along), 20000)


@pytest.mark.parametrize(
    ("engine", "order"), [("reference", 0), ("reference", 1), pytest.param("native", 2, marks=pytest.mark.slow)]
)
def test_jets_are_derivatives_along_the_line_and_so_are_their_pullbacks(model, engine, order):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    t, d = points((2,))
    rng = np.random.default_rng(8)
    v, u, w = rng.normal(size=(2, 5)), rng.normal(size=(2, 2)), rng.normal(size=(order + 1, 2, 3))

    def jet(t, d, v, u):
        along = [lambda s: exact(t + s * v, d + s * u, jax.numpy)]
        for _ in range(order):
            along.append(jax.jacfwd(along[-1]))
        return jax.numpy.stack([f(0.0) for f in along])

    both = jax.jit(lambda c, *p: (jet(*p), jax.vjp(jet, *p)[1](c)))
    values, pullback = engine_for(model, engine).jet(model, t, d, v, u, order)
    found = pullback(w)
    summed = pullback(w, True)
    for k in range(2):
        expected, exact_back = both(w[:, k], t[k], d[k], v[k], u[k])
        assert_close(values[:, k], np.asarray(expected), 20000)
        for part, other in zip(found, exact_back, strict=True):
            assert_close(part[k], np.asarray(other), 50000)
    assert_close(summed[0], found[0].sum(axis=0), 1000)
    assert_close(summed[2], found[2].sum(axis=0), 1000)


def test_single_precision_is_right_to_single_precision(model):
    t, d = points()
    assert_close(qpr.expectation(model, t, d, precision="single"), exact(t, d), 500, np.float32)
    found = qpr.value_and_grad(model, t, d, weights=[1, 2, 3], precision="single")[1]
    assert_close(found, qpr.value_and_grad(model, t, d, weights=[1, 2, 3])[1], 500, np.float32)


def test_noise_leaves_the_coefficients_to_the_parameters():
    """Each value is the coefficients times the strings' noisy values, which numeric observables give."""
    noisy = qpr.Model(circuit(noisy=True), OBSERVABLES)
    strings = qpr.Model(circuit(noisy=True), STRINGS)
    t, d = points()
    w = np.array([0.3, -1.2, 0.8])
    terms, pull = qpr.vjp(strings, t[:3], d)
    values, pullback = qpr.vjp(noisy, t, d)
    assert_close(values, table(t, d) @ terms, 1000)
    d_theta, d_x = pullback(w)
    by_angle = pull(w @ table(t, d))
    step = 1e-6  # of the coefficients alone, which are polynomials

    def at(point):
        return w @ table(point[:5], point[5:]) @ terms

    p = np.concatenate([t, d])
    slopes = np.array([(at(p + step * e) - at(p - step * e)) / (2 * step) for e in np.eye(7)])
    expected = slopes + np.concatenate([by_angle[0], np.zeros(2), by_angle[1]])
    np.testing.assert_allclose(np.concatenate([d_theta, d_x]), expected, rtol=0, atol=1e-8)
    sampled = qpr.expectation(noisy, t, d, engine=qpr.Trajectories(samples=4000, seed=3))
    np.testing.assert_allclose(sampled, values, rtol=0, atol=0.15)
    with pytest.raises(QupropError, match=r"second derivatives|no Hessian"):
        qpr.hvp(noisy, t, d, v_theta=np.ones(5), weights=w)


def test_states_know_nothing_of_coefficients(model):
    t, d = points((3,))
    plain = qpr.Model(circuit(), "Z0")
    for ask in (qpr.state, qpr.probabilities):
        np.testing.assert_array_equal(ask(model, t, d), ask(plain, t[:, :3], d))
    found = qpr.metric(model, t[0], d[0])
    assert_close(found[:3, :3], qpr.metric(plain, t[0, :3], d[0]), 100)
    assert not found[3:].any() and not found[:, 3:].any()


def test_values_bound_to_a_point_are_an_ordinary_model(model):
    t, d = points()
    bound = model.bound_observables(t, d)
    assert all(isinstance(o, qpr.PauliSum) for o in bound.observables)
    assert_close(qpr.expectation(bound, t, d), exact(t, d), 1000)
    assert_close(qpr.expectation(bound, t, d, engine="pauli"), exact(t, d), 1e-3 / 2.2e-16)
    partial = qpr.vjp(bound, t, d)[1]([1, 0, 0])[0]
    assert not partial[3:].any()  # which only the coefficients know


def test_models_are_equal_hashed_pickled_and_written_with_their_coefficients(model):
    again = qpr.Model(circuit(), OBSERVABLES)
    assert again == model and hash(again) == hash(model)
    other = qpr.Model(circuit(), [{**OBSERVABLES[0], "X0": 0.25 * x[1]}, *OBSERVABLES[1:]])
    assert other != model
    for back in (qpr.Model.from_text(model.to_text()), pickle.loads(pickle.dumps(model))):
        assert back == model and hash(back) == hash(model)
        t, d = points()
        np.testing.assert_array_equal(qpr.expectation(back, t, d), qpr.expectation(model, t, d))
    noisy = qpr.Model(circuit(noisy=True), OBSERVABLES)
    assert qpr.Model.from_text(noisy.to_text()) == noisy
    text = str(model)
    assert "beta[1]*I" in text and "theta[0]*theta[0]" in text
    plain = qpr.Model(circuit(), "Z0").to_text()
    assert '"version": 1' in plain and '"version": 4' in model.to_text()
    for broken in (
        plain.replace('"version": 1', '"version": 4'),
        model.to_text().replace('"version": 4', '"version": 1'),
    ):
        with pytest.raises(QupropError, match="damaged"):
            qpr.Model.from_text(broken)
    with pytest.raises(QupropError, match="damaged"):
        qpr.Model.from_text(model.to_text().replace("theta[0]*theta[0]", "theta[0]*theta[7]"))


def test_other_observables_bring_their_parameters_along(model):
    t, d = points()
    given = qpr.Model(circuit(), "Z0").with_observables(OBSERVABLES)
    assert given == model
    assert_close(qpr.value_and_grad(given, t, d, weights=[1, 2, 3])[1],
                 qpr.value_and_grad(model, t, d, weights=[1, 2, 3])[1], 100)  # fmt: skip
    used = qpr.Model(circuit(), "Z0")
    for engine in ("native", "reference"):
        qpr.vjp(used, t[:3], d, engine=engine)[1]([1.0])  # whose tables are for three parameters
        found = qpr.value_and_grad(used.with_observables(OBSERVABLES), t, d, weights=[1, 2, 3], engine=engine)
        assert_close(found[0], exact(t, d) @ [1, 2, 3], 1000)
        assert_close(found[1], qpr.value_and_grad(model, t, d, weights=[1, 2, 3], engine=engine)[1], 100)
    assert model.with_observables(list(model.original_observables)) == model
    assert model.with_observables("Z0").n_params == 5
    with pytest.raises(QupropError, match="has 3 in this circuit"):
        qpr.Model(circuit(), list(model.original_observables))


def test_constant_coefficients_are_numbers_and_cancelled_ones_vanish():
    plain = qpr.Model(qpr.Circuit(1), {"Z0": 0.0 * beta[0] + 2.0})
    assert plain.observables == (qpr.PauliSum({"Z0": 2.0}),) and plain.n_params == 0
    total = qpr.ParameterisedSum({"Z0": beta[0], "-Z0": beta[0], "X0": beta[1]})
    assert total.strings == (qpr.PauliString.parse("X0"),) and len(total) == 1


BAD = {
    "complex": ({"Z0": beta[0], "X0": 1j}, "finite real number"),
    "not finite": ({"Z0": beta[0], "X0": np.inf}, "finite"),
    "whole vector": ({"Z0": beta}, r"beta\[0\]"),
    "not Hermitian": ({"iZ0": beta[0]}, "Hermitian"),
    "text": ({"Q0": beta[0]}, "Pauli string"),
    "beyond": ({"Z5": beta[0]}, "qubit 5"),
    "name of inputs": ({"Z0": qpr.inputs("theta", 3)[0]}, "taken by"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_coefficients_are_refused_in_one_sentence(bad):
    given, words = BAD[bad]
    with pytest.raises(QupropError, match=words) as refused:
        qpr.Model(circuit(), given)
    assert "\n" not in str(refused.value)


def test_numbers_beyond_double_precision_are_refused(model):
    with pytest.raises(QupropError, match="double precision"):
        qpr.expectation(model, np.full(5, 1e200), [0.1, 0.2])
    large = qpr.Model(qpr.Circuit(1).ry(theta[0], 0), {"Z0": beta[0] ** 3})
    with pytest.raises(QupropError, match=r"double precision|larger than"):
        qpr.expectation(large, [0.1, 0, 0, 1e150, 0])


REFUSED = {
    "propagate": lambda m, t, d: qpr.propagate(m, t, d),
    "estimate": lambda m, t, d: qpr.estimate(m, t, d),
    "tolerance": lambda m, t, d: qpr.expectation(m, t, d, engine="pauli"),
    "gradient within a tolerance": lambda m, t, d: qpr.value_and_grad(m, t, d, weights=[1, 1, 1], engine="pauli"),
    "cut": lambda m, t, d: qpr.cut(m),
    "cut a circuit": lambda m, t, d: qpr.cut(circuit(), OBSERVABLES),
    "compose": lambda m, t, d: qpr.compose(m),
    "compose with": lambda m, t, d: qpr.compose(qpr.Model(circuit(), "Z0"), observables=OBSERVABLES),
    "parallel": lambda m, t, d: qpr.parallel(m, m),
    "parallel with": lambda m, t, d: qpr.parallel(qpr.Model(circuit(), "Z0"), observables=OBSERVABLES),
    "efficiency": lambda m, t, d: efficiency_report(m),
    "blocks": lambda m, t, d: find_blocks(m).terms,
    "programs": lambda m, t, d: observable_programs(m),
    "matrix": lambda m, t, d: m.observables[0].matrix(3),
    "terms": lambda m, t, d: m.observables[0].terms,
    "inner engine": lambda m, t, d: qpr.NativeEngine().values(m, t[None], d[None]),
    "inner gradient": lambda m, t, d: qpr.AutoEngine().vjp(m, t[None], d[None]),
    "reference": lambda m, t, d: qpr.ReferenceEngine().values(m, t[None], d[None]),
}


@pytest.mark.parametrize("way", REFUSED)
def test_what_reads_coefficients_as_numbers_refuses(model, way):
    with pytest.raises(QupropError, match="params or inputs in") as refused:
        REFUSED[way](model, *points())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", METHODS)
def test_gradient_methods_are_exact_or_refuse(model, derivatives, name):
    t, d = points()
    method = METHODS[name](**SETTINGS.get(name, {"shots": 50}))
    w = np.array([0.5, -1.0, 2.0])
    if name == "adjoint":
        found = qpr.gradient(model, t, d, weights=w, method=method)
        assert_close(found.value, (w @ derivatives(t, d)[1])[:5], 5000)
        assert_close(qpr.gradient(model, t, d, weights=w).value, found.value, 10)
        return
    with pytest.raises(QupropError, match="params or inputs in"):
        qpr.gradient(model, t, d, weights=w, method=method, rng=0)


def test_training_finds_the_least_of_coefficients_and_angles():
    """F = (b^2 - 2b) cos a has the least value -1 at a = 0, b = 1 among the points near the start."""
    a, b = qpr.params("a", 1), qpr.params("b", 1)
    least = qpr.Model(qpr.Circuit(1).ry(a[0], 0), {"Z0": b[0] ** 2 - 2 * b[0]})
    trained = qpr.train(least, qpr.Expectation(), params=[0.4, 0.5], optimiser=qpr.adam(0.1), steps=300)
    np.testing.assert_allclose(trained.theta, [0.0, 1.0], rtol=0, atol=1e-3)
    assert measure_omega(least, np.array([0.1, 0.2]))["omega_memory"] > 0


def test_torch_takes_them_twice_differentiated(model):
    torch = pytest.importorskip("torch")
    from quprop.hybrid.torch import QuantumLayer, expectation

    t, d = (torch.tensor(a, requires_grad=True) for a in points())
    assert torch.autograd.gradcheck(lambda t, d: expectation(model, t, d), (t, d))
    assert torch.autograd.gradgradcheck(lambda t, d: expectation(model, t, d), (t, d))
    start = np.zeros(5)
    layer = QuantumLayer(model, start, dtype=torch.float64)
    many = points((2,))[1]
    layer(torch.tensor(many)).sum().backward()
    expected = qpr.vjp(model, start, many)[1](np.ones((2, 3)), sum_theta=True)[0]
    assert_close(layer.weights.grad.numpy(), expected, 100)
    with pytest.raises(QupropError, match="params or inputs in"):
        QuantumLayer(model, start, method=qpr.ParameterShift(shots=10))
    with pytest.raises(QupropError, match="params or inputs in"):
        QuantumLayer(model, start, forward_shots=10)


def test_jax_takes_them_twice_differentiated(model, derivatives):
    jax = pytest.importorskip("jax")
    from quprop.hybrid.jax import function as jax_function

    f = jax_function(model)
    t, d = points()
    _, first, second = derivatives(t, d)
    assert_close(np.asarray(jax.jit(jax.jacrev(f))(t, d)), first[:, :5], 5000)
    assert_close(np.asarray(jax.jit(jax.jacfwd(jax.jacrev(f)))(t, d)), second[:, :5, :5], 20000)
    assert_close(np.asarray(jax.hessian(f, 1)(t, d)), second[:, 5:, 5:], 20000)
    many = points((3,))
    assert_close(np.asarray(jax.vmap(f)(*many)), qpr.expectation(model, *many), 100)


FORMS = {
    "Hamiltonian": lambda qml, p: qml.Hamiltonian([p[0] ** 2, p[1]], [qml.Z(0) @ qml.Z(1), qml.X(0)]),
    "dot": lambda qml, p: qml.dot([p[0] ** 2, p[1]], [qml.Z(0) @ qml.Z(1), qml.X(0)]),
    "sum of products": lambda qml, p: qml.sum(
        qml.s_prod(p[0] ** 2, qml.prod(qml.Z(0), qml.Z(1))), qml.s_prod(p[1], qml.X(0))
    ),
    "product of scaled": lambda qml, p: qml.prod(qml.s_prod(p[0], qml.Z(0)), qml.s_prod(p[0], qml.Z(1))),
}


@pytest.mark.filterwarnings("ignore")  # what PennyLane and the interfaces say of one another
@pytest.mark.parametrize("form", FORMS)
def test_pennylane_hamiltonians_with_trainable_coefficients_have_gradients(form):
    """F = p0^2 cos p1, as <Z0 Z1> = cos p1 and <X0> = 0, by Autograd, Torch and JAX, compiled or not."""
    qml = pytest.importorskip("pennylane")
    from quprop.hybrid.pennylane import QupropDevice

    @qml.qnode(QupropDevice(wires=2))
    def f(p):
        qml.RY(p[0], 0)
        qml.CNOT([0, 1])
        qml.RX(p[1], 1)
        return qml.expval(FORMS[form](qml, p))

    at, right = [0.4, 0.9], [2 * 0.4 * np.cos(0.9), -(0.4**2) * np.sin(0.9)]
    assert_close(qml.grad(f)(qml.numpy.array(at, requires_grad=True)), right, 100)
    try:
        import torch
    except ImportError:
        pass
    else:
        assert_close(torch.autograd.functional.jacobian(f, torch.tensor(at, dtype=torch.float64)).numpy(), right, 100)
    try:
        import jax
    except ImportError:
        return
    jax.config.update("jax_enable_x64", True)
    for gradient in (jax.grad(f), jax.jit(jax.grad(f))):
        assert_close(np.asarray(gradient(jax.numpy.array(at))), right, 100)
