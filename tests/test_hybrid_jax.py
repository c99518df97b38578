"""The JAX function: derivatives under every transformation against differences and the reference, and bad input."""

import importlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from cases import CASES, values_for  # noqa: E402
from tolerances import assert_close  # noqa: E402

import quprop as qpr  # noqa: E402
from quprop.hybrid import jax_primitives  # noqa: E402
from quprop.hybrid.jax import function  # noqa: E402
from quprop.model import ansatz  # noqa: E402

jnp = jax.numpy
NAMES = ["products_of_angles", "encoded_and_rotated"]


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def reuploading():
    return qpr.Model(ansatz.data_reuploading(3, 2, 3), ["Z0", "X1", "Z1 Z2"])


def both(model, batch=3, seed=1):
    theta, x = values_for(model, batch, seed)
    return (theta[0], x) if model.n_inputs else (theta,)


# -- derivatives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, compiled", [(NAMES[0], True), (NAMES[1], False), (NAMES[1], True)])
def test_first_and_second_derivatives_are_those_of_central_differences(name, compiled):
    from jax.test_util import check_grads

    model = CASES[name].model
    f = function(model)
    modes = ("fwd", "rev") if compiled else ("rev",)
    check_grads(jax.jit(f) if compiled else f, both(model, 2), order=2, modes=modes, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_value_and_gradient_are_those_of_the_reference_engine(compiled):
    model = reuploading()
    theta, x = both(model, 5)
    c = np.random.default_rng(2).normal(size=(5, 3))
    f = function(model)
    loss = jax.value_and_grad(lambda t, s: (f(t, s) * c).sum(), argnums=(0, 1))
    value, (d_theta, d_x) = (jax.jit(loss) if compiled else loss)(theta, x)
    values, pullback = qpr.vjp(model, theta, x, engine="reference")
    expected = pullback(c, sum_theta=True)
    assert_close(np.asarray(value), np.array((values * c).sum()), 4000)
    assert_close(np.asarray(d_theta), expected[0], 4000)
    assert_close(np.asarray(d_x), expected[1], 4000)


@pytest.mark.slow
def test_hessian_is_the_same_in_every_mix_of_modes():
    model = qpr.Model(ansatz.data_reuploading(2, 1, 2), ["Z0", "X1", "Z0 Z1"])
    theta, x = both(model)
    f = function(model)

    def g(t):
        return f(t, x[0])

    modes = (jax.jacrev, jax.jacfwd)
    found = [np.asarray(outer(inner(g))(theta)) for outer in modes for inner in modes]
    found.append(np.asarray(jax.jit(jax.hessian(g))(theta)))
    P = model.n_params
    along = [qpr.hvp(model, theta, x[0], v_theta=e, weights=w)[2] for w in np.eye(3) for e in np.eye(P)]
    for hessian in found:
        assert_close(hessian, np.reshape(along, (3, P, P)), 4000)


def test_hessian_of_a_composition_has_the_terms_of_moving_directions_and_cotangents_in_every_mix_of_modes():
    """g(t) = |f(sin t)|^2: both the direction into f and the cotangent out of it depend on t."""
    model = qpr.Model(ansatz.data_reuploading(2, 1, 2), ["Z0", "X1", "Z0 Z1"])
    theta, x = both(model, 1)
    f, P = function(model), model.n_params

    def g(t):
        return (f(jnp.sin(t), x[0]) ** 2).sum()

    values, pullback = qpr.vjp(model, np.sin(theta), x[0])
    rows = np.array([pullback(e)[0] for e in np.eye(3)])
    hessian = [qpr.hvp(model, np.sin(theta), x[0], v_theta=e, weights=2 * values)[2] for e in np.eye(P)]
    inner = np.diag(np.cos(theta))
    expected = inner @ (np.array(hessian) + 2 * rows.T @ rows) @ inner - np.diag(2 * values @ rows * np.sin(theta))
    modes = (jax.jacrev, jax.jacfwd)
    for found in [jax.jit(outer(mode(g)))(theta) for outer in modes for mode in modes]:
        assert_close(np.asarray(found), expected, 4000)


def test_vmap_is_a_loop_but_one_call(monkeypatch):
    model = reuploading()
    theta, x = both(model, 4)
    f, calls = function(model), []
    for name in ("vjp", "expectation"):
        original = getattr(qpr.simulate, name)

        def counted(m, t, s, original=original, **options):
            calls.append(np.shape(s))
            return original(m, t, s, **options)

        monkeypatch.setattr(qpr.simulate, name, counted)
    one = jax.value_and_grad(lambda t, s: (f(t, s) ** 2).sum(), argnums=(0, 1))
    loop = [one(theta, s) for s in x]
    calls.clear()
    value, grads = jax.block_until_ready(jax.jit(jax.vmap(one, in_axes=(None, 0)))(theta, x))
    assert calls == [(4, model.n_inputs)]  # forwards once; the pull back begins where that call ended
    assert_close(np.asarray(value), np.array([v for v, _ in loop]), 400)
    for k in range(2):
        assert_close(np.asarray(grads[k]), np.stack([g[k] for _, g in loop]), 4000)


def test_vmap_over_a_middle_axis_and_inside_one_another():
    model = reuploading()
    theta, x = values_for(model, 6, 3)
    theta, x = theta.reshape(2, 3, -1), x.reshape(2, 3, -1)
    f = function(model)
    found = jax.vmap(f, in_axes=(1, None), out_axes=1)(theta, x[:, 0])
    assert_close(np.asarray(found), qpr.expectation(model, theta, x[:, :1]), 400)
    found = jax.vmap(lambda t: f(t, x[0]))(theta[0, :2])  # the new axis goes before the batch
    assert_close(np.asarray(found), qpr.expectation(model, theta[0, :2, None], x[:1]), 400)
    nested = jax.vmap(jax.vmap(jax.jacrev(f), (None, 0)), (0, None))(theta[:, 0], x[0])
    plain = [[jax.jacrev(f)(t, s) for s in x[0]] for t in theta[:, 0]]
    assert_close(np.asarray(nested), np.array(plain), 4000)


def test_a_scan_with_optax_finds_the_ground_energy_of_an_ising_chain():
    optax = pytest.importorskip("optax")
    from quprop.problems import tfim

    n = 4
    model = qpr.Model(ansatz.tfim_variational(n, 2, ring=True), tfim.hamiltonian(n, 1.0, 1.0, True))
    energy = lambda theta: function(model)(theta)[0]  # noqa: E731
    optimiser = optax.adam(0.1)

    @jax.jit
    def train(theta):
        def step(carry, _):
            theta, state = carry
            value, slope = jax.value_and_grad(energy)(theta)
            change, state = optimiser.update(slope, state)
            return (optax.apply_updates(theta, change), state), value

        return jax.lax.scan(step, (theta, optimiser.init(theta)), None, length=150)

    _, values = train(jnp.full(model.n_params, 0.3))
    assert float(values[-1]) == pytest.approx(tfim.exact_energy(n, 1.0, 1.0, True), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("modes", list(itertools.product((jax.jacrev, jax.jacfwd), repeat=4)))
def test_a_fourth_derivative_is_refused_in_every_mix_of_modes(modes):
    f = function(CASES["shared_parameters"].model)
    for mode in modes:
        f = mode(f)
    with pytest.raises(qpr.QupropError, match="exact up to the third, and a fourth was asked for"):
        f(jnp.ones(6))


def test_what_a_call_forwards_kept_serves_its_own_point_only():
    model = reuploading()
    theta, x = both(model)
    f, c = function(model), np.ones((3, 3))
    _, first = jax.vjp(f, theta, x)
    _, second = jax.vjp(f, theta + 0.1, x)  # the memo holds this one now
    for pullback, t in ((first, theta), (second, theta + 0.1), (first, theta)):
        expected = qpr.vjp(model, t, x)[1](c, sum_theta=True)
        assert_close(np.asarray(pullback(jnp.asarray(c))[0]), expected[0], 400)
    _, first = jax.vjp(f, theta, x)
    _, second = jax.vjp(f, theta, x + 0.1)  # held: the same theta at other inputs
    assert_close(np.asarray(first(jnp.asarray(c))[0]), qpr.vjp(model, theta, x)[1](c, sum_theta=True)[0], 400)
    assert_close(np.asarray(second(jnp.asarray(c))[0]), qpr.vjp(model, theta, x + 0.1)[1](c, sum_theta=True)[0], 400)
    assert jax_primitives._memo.held is None


def test_what_a_call_forwards_kept_serves_its_own_batch_only():
    model = reuploading()
    theta, x = both(model)
    f, c = function(model), np.ones((3, 3))
    _, first = jax.vjp(f, theta, x)
    _, second = jax.vjp(f, theta, x + 0.1)  # the same weights, other data: the memo holds this one now
    for pullback, s in ((first, x), (second, x + 0.1)):
        for found, expected in zip(
            pullback(jnp.asarray(c)), qpr.vjp(model, theta, s)[1](c, sum_theta=True), strict=True
        ):
            assert_close(np.asarray(found), expected, 400)


@pytest.mark.slow
def test_second_derivatives_along_a_curve_are_those_of_differences_in_every_mix_of_modes():
    """s -> F(theta(s), x(s)): the curve bends, so that a second derivative has a term along theta'', x'' too."""
    model = reuploading()
    theta, x = values_for(model, seed=4)
    f = function(model)

    def g(s):
        return f(theta * jnp.sin(s), x * jnp.cos(s) ** 2)

    s, h = 0.6, 1e-4
    along = np.array([s - h, s, s + h])
    values = qpr.expectation(model, np.sin(along)[:, None] * theta, np.cos(along)[:, None] ** 2 * x)
    expected = (values[0] - 2 * values[1] + values[2]) / h**2
    modes = (jax.jacrev, jax.jacfwd)
    for outer in modes:
        for inner in modes:
            np.testing.assert_allclose(np.asarray(outer(inner(g))(s)), expected, atol=1e-5)


# -- types, devices, processes ----------------------------------------------------------------------------------------


def test_float32_is_simulated_in_single_precision():
    model = reuploading()
    theta, x = both(model, 300)
    exact = np.asarray(function(model)(theta, x))
    with jax.enable_x64(False):
        single = function(model)(theta, x)
        double = function(model, precision="double")(theta, x)
        slope = jax.jit(jax.grad(lambda t: function(model)(t, x).sum()))(theta)
    assert single.dtype == double.dtype == slope.dtype == jnp.float32
    assert 0 < np.abs(single - exact).max() < 2e-5 and np.abs(double - exact).max() < 2e-5
    assert function(model)(jnp.asarray(theta, jnp.float32), x).dtype == jnp.float64
    assert function(model)(jnp.asarray(theta, jnp.bfloat16), jnp.asarray(x, jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.slow
def test_the_callback_for_other_platforms_gives_the_same():
    """On several devices, as on a GPU, programs go through jax.pure_callback."""
    code = (
        "import jax, numpy as np, quprop as qpr\n"
        "jax.config.update('jax_enable_x64', True)\n"
        "from quprop import ansatz\n"
        "from quprop.hybrid.jax import function\n"
        "m = qpr.Model(ansatz.data_reuploading(3, 2, 3), ['Z0', 'X1'])\n"
        "t, x = np.linspace(0, 1, m.n_params), np.linspace(-1, 1, 12).reshape(4, 3)\n"
        "g = jax.jit(jax.grad(lambda t, x: function(m)(t, x).sum()))(t, x)\n"
        "e = qpr.vjp(m, t, x)[1](np.ones((4, 2)), sum_theta=True)[0]\n"
        "assert len(jax.devices()) == 2 and np.abs(g - e).max() < 1e-12\n"
    )
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# -- bad input --------------------------------------------------------------------------------------------------------


def test_bad_input_gets_one_sentence():
    model = reuploading()
    f = function(model)
    theta, x = both(model)
    P, D = model.n_params, model.n_inputs
    cases = [
        (lambda: function(ansatz.data_reuploading(2, 1, 2)), "takes a quprop Model, whose outputs are expectation"),
        (lambda: function(model, precision="half"), 'precision is "double" or "single"'),
        (lambda: function(model, threads=0), "threads is a positive integer"),
        (lambda: f(theta), f"reads {D} inputs a sample; pass x"),
        (lambda: f(theta[:-1], x), rf"theta must have shape \(..., {P}\), got \({P - 1},\)"),
        (lambda: f(theta, x[..., :2]), rf"x must have shape \(..., {D}\)"),
        (lambda: f(x, np.ones((3, P))), "theta and x look exchanged"),
        (lambda: jax.jit(f)(x, np.ones((3, P))), "theta and x look exchanged"),
        (lambda: f(np.ones((2, P)), x), "must be equal or broadcast"),
        (lambda: f(np.arange(P), x), r"floating point, got int64; pass theta.astype\(float\)"),
        (lambda: f("theta", x), "theta must be an array of real numbers, got str"),
        (lambda: f(None, x), "theta is missing"),
        (lambda: function(CASES["ising"].model)(np.ones(4), x), "has no inputs; leave x out"),
        (lambda: f(theta * np.nan, x), "must be finite"),
    ]
    for call, words in cases:
        with pytest.raises(qpr.QupropError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda f, t, x: f(t * np.nan, x), "theta must be finite, got nan at index (0,)"),
        (lambda f, t, x: jax.grad(lambda u: f(t, u).sum())(x / 0), "x must be finite, got inf at index (0,)"),
        (lambda f, t, x: jax.vmap(f, (None, 0))(-t / 0, x[None]), "theta must be finite, got -inf at index (0,)"),
        (lambda f, t, x: jax.grad(lambda u: (f(u, x) * np.nan).sum())(t), "cotangent must be finite, got nan"),
        (lambda f, t, x: jax.hessian(lambda u: f(u / 0, x)[0])(t), "theta must be finite, got inf at index (0"),
    ],
)
def test_a_number_that_is_none_ends_a_compiled_program_in_one_sentence(call, sentence):
    model = reuploading()
    f = function(model)
    with pytest.raises(Exception) as caught:
        jax.block_until_ready(jax.jit(lambda t, x: call(f, t, x))(np.full(model.n_params, 0.1), np.full(3, 0.2)))
    last = str(caught.value).splitlines()[-1]
    assert last.startswith(f"QupropError: {sentence}") and "simulate" not in str(caught.value)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_batch_of_no_samples_has_empty_results_and_zero_gradients(compiled):
    model = reuploading()
    f, theta = function(model), np.linspace(0, 1, model.n_params)
    none = jnp.zeros((0, model.n_inputs))

    def loss(t, x):
        return (f(t, x) ** 2).sum()

    cases = [
        (f, (0, 3)),
        (jax.vmap(f, (None, 0)), (0, 3)),
        (jax.jacrev(f), (0, 3, model.n_params)),
        (jax.jacfwd(f, argnums=0), (0, 3, model.n_params)),
        (jax.grad(loss, argnums=1), (0, model.n_inputs)),
        (jax.vmap(jax.grad(loss), (None, 0)), (0, model.n_params)),
    ]
    for g, shape in cases:
        assert (jax.jit(g) if compiled else g)(theta, none).shape == shape
    for g in (jax.grad(loss), jax.hessian(loss)):
        assert not np.any(np.asarray((jax.jit(g) if compiled else g)(theta, none)))
    assert f(theta, none.reshape(2, 0, 3)).shape == (2, 0, 3)
    assert function(CASES["shared_parameters"].model)(jnp.zeros((0, 6))).shape[0] == 0


def test_absence_of_jax_is_one_sentence(monkeypatch):
    for name in ("quprop.hybrid.jax", "quprop.hybrid.jax_primitives"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(qpr.QupropError, match=r"needs JAX, which is not installed: pip install 'jax>="):
        importlib.import_module("quprop.hybrid.jax")
