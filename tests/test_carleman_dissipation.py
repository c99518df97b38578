"""Spectra against dense eigenvalues, the proxy against closed forms, and error bounds against the lift they bound."""

import itertools

import numpy as np
import pytest

from quprop.carleman.maps.lyapunov import best_norm, gains_in, lyapunov_matrix, norm_of
from quprop.carleman.maps.radius import (
    Radius,
    bound_block_length,
    convergence_radius,
    finite_time_bound,
    nonlinearity_ratio,
)
from quprop.carleman.spectra import proxy
from quprop.carleman.spectra import spectrum as module
from quprop.carleman.spectra.dissipation import kind_of, least_ratio
from quprop.carleman.spectra.proxy import Descent
from quprop.carleman.spectra.spectrum import Spectrum, exact_spectrum, lanczos, spectrum_of
from quprop.errors import QupropError

# Spectra


def network_like(n=300, seed=0):
    """A symmetric matrix with a bulk at zero, a continuous part, and outliers of both signs."""
    rng = np.random.default_rng(seed)
    bulk = np.concatenate([1e-3 * rng.normal(size=n // 2), rng.uniform(-0.8, 1.5, n - n // 2 - 4), [-1.6, 3, 4, 6]])
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return (q * bulk) @ q.T, np.sort(bulk)


def test_all_lanczos_steps_give_all_eigenvalues():
    matrix, eigenvalues = network_like(40)
    run = lanczos(matrix.__matmul__, np.random.default_rng(1).normal(size=40), 40)
    assert np.allclose(run.nodes, eigenvalues, atol=1e-10)
    assert np.allclose(run.basis @ run.basis.T, np.eye(40), atol=1e-13)


def test_lanczos_residuals_are_those_of_its_ritz_pairs():
    matrix, _ = network_like(60)
    run = lanczos(matrix.__matmul__, np.random.default_rng(1).normal(size=60), 12)
    ritz = run.basis.T @ run.vectors
    assert np.allclose(np.linalg.norm(matrix @ ritz - ritz * run.nodes, axis=0), run.residuals, atol=1e-12)


def test_quadrature_is_exact_for_polynomials_of_degree_2m_minus_1():
    matrix, _ = network_like(60)
    start = np.random.default_rng(1).normal(size=60)
    start /= np.linalg.norm(start)
    run = lanczos(matrix.__matmul__, start, 5)
    powers = [start @ np.linalg.matrix_power(matrix, k) @ start for k in range(11)]
    quadrature = [run.weights @ run.nodes**k for k in range(11)]
    assert np.allclose(quadrature[:10], powers[:10], rtol=1e-12)
    assert abs(quadrature[10] - powers[10]) > 1e-6 * powers[10]


def test_three_vectors_give_the_same_density_as_all(monkeypatch):
    matrix, eigenvalues = network_like(300)
    start = np.random.default_rng(1).normal(size=300)
    few, many = (lanczos(matrix.__matmul__, start, 12, keep=keep) for keep in (False, True))
    assert few.basis.shape == (2, 300) and np.allclose(few.nodes, many.nodes) and np.allclose(few.weights, many.weights)
    long = lanczos(matrix.__matmul__, start, 200, keep=False)  # long enough for ends that appear twice
    assert np.sum(np.abs(long.nodes - eigenvalues.max()) < 1e-8) > 1
    assert np.isclose(long.weights @ np.tanh(long.nodes), many_of(matrix, start, np.tanh), rtol=1e-9)
    monkeypatch.setattr(module, "BASIS_LIMIT", 8 * 300 * 20 - 1)
    lean = spectrum_of(matrix.__matmul__, 300, 5, steps=20, probes=2)
    assert len(lean.exact) == 0 and lean.products == 40  # nothing is deflated
    assert lean.greatest == pytest.approx(eigenvalues.max(), rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_nodes_and_weights_are_those_of_curvlinops():
    torch = pytest.importorskip("torch")
    fast_lanczos = pytest.importorskip("curvlinops.papyan2020traces.spectrum").fast_lanczos
    matrix, _ = network_like(60)
    torch.manual_seed(3)
    nodes, vectors = fast_lanczos(torch.tensor(matrix), 12)
    torch.manual_seed(3)
    start = torch.randn(60, dtype=torch.float64).numpy()
    for keep in (False, True):
        run = lanczos(matrix.__matmul__, start, 12, keep=keep)
        assert np.allclose(run.nodes, nodes.numpy(), atol=1e-10)
        assert np.allclose(run.weights, vectors[0].numpy() ** 2, atol=1e-10)


def test_the_ends_of_a_spectrum_are_those_of_eigsh():
    from scipy.sparse.linalg import eigsh

    matrix, _ = network_like(300)
    found = spectrum_of(matrix.__matmul__, 300, 5, steps=40, probes=2)
    ends = eigsh(matrix, k=2, which="BE", return_eigenvectors=False)
    assert np.allclose([found.least, found.greatest], np.sort(ends), atol=1e-6)
    assert abs(found.greatest - ends.max()) <= found.edge_errors[1] + 1e-12


def many_of(matrix, start, function):
    """v' f(H) v by all eigenvectors."""
    values, vectors = np.linalg.eigh(matrix)
    return float(((start / np.linalg.norm(start)) @ vectors) ** 2 @ function(values))


def test_a_krylov_space_that_ends_ends_the_run():
    run = lanczos(np.diag([1.0, 1, 1, 5]).__matmul__, np.ones(4), 4)
    assert np.allclose(run.nodes, [1, 5]) and np.all(run.residuals < 1e-14)


@pytest.mark.parametrize("deflate", [True, False])
def test_moments_are_right_within_their_errors(deflate):
    matrix, eigenvalues = network_like()
    spectrum = spectrum_of(matrix.__matmul__, 300, 5, steps=24, probes=8, deflate=deflate)
    assert spectrum.weights.sum() == pytest.approx(1, abs=1e-12)
    assert spectrum.least == pytest.approx(-1.6, abs=1e-3) and spectrum.greatest == pytest.approx(6, abs=1e-6)
    for function in (lambda x: x, lambda x: x**2, lambda x: np.abs(1 - 0.1 * x) ** 30):
        value, error = spectrum.mean(function)
        assert abs(value - np.mean(function(eigenvalues))) < 5 * error + 1e-12


def test_deflation_takes_the_noise_from_late_times():
    """What it is for: the late proxy is one eigenvalue's, which a random probe sees with a relative error of sqrt 2."""
    matrix, eigenvalues = network_like()
    truth = np.mean(np.abs(1 - 0.1 * eigenvalues) ** 80)
    errors = {}
    for deflate, probes in ((True, 2), (False, 3)):  # equal products
        values = []
        for seed in range(6):
            spectrum = spectrum_of(matrix.__matmul__, 300, seed, steps=40, probes=probes, deflate=deflate)
            values.append(proxy.frozen(spectrum, Descent(0.1), [80]).values[0])
            assert spectrum.products == 120
        errors[deflate] = np.sqrt(np.mean((np.array(values) / truth - 1) ** 2))
    assert errors[True] < 0.1 * errors[False]


def test_few_parameters_give_every_eigenvalue():
    matrix, eigenvalues = network_like(50)
    spectrum = spectrum_of(matrix.__matmul__, 50, 0, steps=20, probes=2)
    assert np.allclose(np.sort(spectrum.nodes), eigenvalues) and spectrum.products == 50
    assert spectrum.mean(np.square)[1] == 0


def test_density_integrates_to_one():
    spectrum = exact_spectrum(np.random.default_rng(0).normal(size=50))
    grid = np.linspace(-8, 8, 4001)
    assert np.trapezoid(spectrum.density(grid, 0.1), grid) == pytest.approx(1, abs=1e-9)


# The error proxy

ETA = Descent(0.1)


def test_proxy_of_two_eigenvalues_is_the_closed_form():
    """Share p at l = 2 and 1 - p at l = -1: E(t) = p 0.8^t + (1 - p) 1.1^t, least where its derivative vanishes."""
    p = 0.9
    spectrum = exact_spectrum(np.repeat([2.0, -1.0], [900, 100]))
    t = np.arange(40)
    expected = p * 0.8**t + (1 - p) * 1.1**t
    found = proxy.frozen(spectrum, ETA, t)
    assert np.allclose(found.values, expected, rtol=1e-12)
    assert np.allclose(found.ratio, p * 0.8**t / ((1 - p) * 1.1**t), rtol=1e-12)
    assert proxy.lowest(spectrum, ETA) == np.argmin(expected)
    zero = np.log(p * -np.log(0.8) / ((1 - p) * np.log(1.1))) / np.log(1.1 / 0.8)
    assert abs(proxy.lowest(spectrum, ETA) - zero) <= 1
    assert proxy.growth(spectrum, ETA) == pytest.approx(1.1)
    for tolerance in (0.0, 0.01, 1.0):
        length = proxy.block_length(spectrum, ETA, tolerance)
        values = p * 0.8 ** np.array([length, length + 1]) + (1 - p) * 1.1 ** np.array([length, length + 1])
        assert values[0] <= 1 + tolerance < values[1]


def test_late_growth_is_the_most_negative_eigenvalue():
    _, eigenvalues = network_like()
    values = proxy.frozen(exact_spectrum(eigenvalues), ETA, [400, 401]).values
    assert values[1] / values[0] == pytest.approx(1 + 0.1 * 1.6, rel=1e-6)


def test_running_product_of_a_constant_spectrum_is_the_frozen_proxy_one_step_on():
    """The value at plotted step t holds t + 1 factors, which is why the published curve begins below 1."""
    _, eigenvalues = network_like()
    spectrum = exact_spectrum(eigenvalues)
    steps = [0, 1, 2, 5, 9]
    found = proxy.running([spectrum] * 5, steps, ETA)
    assert np.allclose(found.values, proxy.frozen(spectrum, ETA, np.add(steps, 1)).values, rtol=1e-10)
    again = proxy.running([spectrum] * 5, steps, ETA, restart=[5])
    assert np.allclose(again.values[3:], proxy.frozen(spectrum, ETA, [1, 5]).values, rtol=1e-10)


def test_running_product_follows_ranks():
    one, two = exact_spectrum([-1.0, 2.0]), exact_spectrum([3.0, 1.0])
    found = proxy.running([one, two], [0, 1], ETA).values
    assert np.allclose(found, [(1.1 + 0.8) / 2, (1.1 * 0.9 + 0.8 * 0.7) / 2])
    assert np.allclose(proxy.current([one, two], [0, 1], ETA).values, [1, (0.9 + 0.7) / 2])


def test_uploads_restart_every_reading():
    """Steps 4 and 7 lie 1 and 4 after the upload at step 3, whose first measured step is 4."""
    a, b, c = (exact_spectrum(e) for e in ([-1.0, 2.0], [3.0, 1.0], [0.5, 4.0]))
    found = proxy.current([a, b, c], [2, 4, 7], ETA, restart=[0, 3]).values
    assert np.allclose(found, [(1.1**2 + 0.8**2) / 2, (0.7 + 0.9) / 2, (0.95**4 + 0.6**4) / 2])
    found = proxy.frozen_since([a, b, c], [2, 4, 7], ETA, [0, 3]).values
    assert np.allclose(found, [(1.1**2 + 0.8**2) / 2, (0.7 + 0.9) / 2, (0.7**4 + 0.9**4) / 2])
    found = proxy.running([a, b, c], [2, 4, 7], ETA, restart=[0, 3]).values
    assert np.allclose(found, [(1.1 + 0.8) / 2, (0.7 + 0.9) / 2, (0.9**3 * 0.95 + 0.7**3 * 0.6) / 2])


def test_momentum_factors_are_eigenvalues_of_the_two_dimensional_step():
    eta, b, w = 0.1, 0.9, 0.02
    for h in (-1.0, 0.0, 0.3, 5.0, 40.0):
        step = np.array([[1 - eta * (h + w), -eta * b], [h + w, b]])
        expected = np.sort(np.abs(np.linalg.eigvals(step)))
        assert np.allclose(np.sort(Descent(eta, b, w).factors(np.array([h]))[0]), expected, atol=1e-12)


def test_kinds_of_dissipation():
    kinds = [
        kind_of(exact_spectrum(np.array(e)), ETA, 100) for e in ([0.1, 1], [0.0, 1], [-0.05, 1], [-0.5, 1], [1, 21])
    ]
    assert kinds == [
        "fully dissipative",
        "almost dissipative",
        "almost dissipative",
        "not dissipative",
        "not dissipative",
    ]


# Radius and bounds: the toy of a quadratic map, its exact lift built here from definition (3.1)


def quadratic_map(strength=0.6, drive=0.0, n=3, eta=0.1, seed=0):
    """G_0, G_1, G_2 of descent on a cubic loss, Hessian diag(.5, 1, 2): R = strength at |d| = 1 without drive."""
    rng = np.random.default_rng(seed)
    third = rng.normal(size=(n, n, n))
    third = sum(np.transpose(third, p) for p in itertools.permutations(range(3))) / 6
    flat = third.reshape(n, n * n)
    flat = flat / np.linalg.norm(flat, 2) * strength * 0.5
    push = rng.normal(size=n)
    return [eta * drive * push / np.linalg.norm(push), np.eye(n) - eta * np.diag([0.5, 1.0, 2.0]), -eta * flat]


def level_one_errors(tensors, start, order, steps):
    """|delta(t) - y_1(t)| of the exact discrete lift cut at `order`, with dense Kronecker blocks M^j_m."""
    n = len(start)
    blocks = [{0: np.ones((1, 1))}]
    for _ in range(order):
        row = {}
        for (m, left), (k, g) in itertools.product(blocks[-1].items(), enumerate(tensors)):
            row[m + k] = row.get(m + k, 0) + np.kron(np.reshape(g, (n, -1)), left)
        blocks.append(row)
    power, y, delta, errors = np.ones(1), [np.ones(1)], start, []
    for _ in range(order):
        power = np.kron(power, start)
        y.append(power)
    for _ in range(steps + 1):
        errors.append(np.linalg.norm(delta - y[1]))
        delta = tensors[0] + tensors[1] @ delta + tensors[2] @ np.kron(delta, delta)
        y = [sum(b @ y[m] for m, b in row.items() if m <= order) for row in blocks]
    return np.array(errors)


def gains_of(tensors):
    return np.array([np.linalg.norm(np.reshape(g, (len(g), -1)), 2) for g in tensors])


def start_of(size=1.0):
    u = np.random.default_rng(7).normal(size=3)
    return size * u / np.linalg.norm(u)


@pytest.mark.parametrize("strength, drive", [(0.6, 0.0), (0.9, 0.0), (0.3, 0.05), (0.5, 0.1)])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_errors_of_the_lift_stay_below_both_bounds(strength, drive, order):
    tensors, start = quadratic_map(strength, drive), start_of()
    gains = gains_of(tensors)
    radius = convergence_radius(gains)
    assert radius.holds(1.0)
    errors = level_one_errors(tensors, start, order, 60)
    assert np.all(errors <= radius.bound(1.0, order) * (1 + 1e-12))
    finite = finite_time_bound(gains, 1.0, order, 60)
    assert np.all(errors <= finite * (1 + 1e-9) + 1e-15)
    assert errors.max() > 1e-5 * radius.bound(1.0, order)


def test_the_finite_time_bound_holds_where_modes_grow():
    tensors = quadratic_map(0.3, 0.05)
    tensors[1] = np.eye(3) - 0.1 * np.diag([-0.5, 1.0, 2.0])
    gains, start = gains_of(tensors), start_of(0.1)
    assert not convergence_radius(gains) and convergence_radius(gains).bound(0.1, 3) == np.inf
    for order in (1, 2, 3):
        errors = level_one_errors(tensors, start, order, 12)
        finite = finite_time_bound(gains, 0.1, order, 12)
        assert np.all(np.isfinite(finite)) and np.all(errors <= finite * (1 + 1e-9) + 1e-15)


def test_the_bound_of_a_map_three_times_less_nonlinear_is_broken():
    """The checks above can fail. A scalar map without signs comes closest to its bound."""
    true, weak = np.array([0.0, 0.9, 0.097]), np.array([0.0, 0.9, 0.097 / 3])
    tensors = [np.zeros(1), np.full((1, 1), true[1]), np.full((1, 1), true[2])]
    for order in (2, 3, 4):
        worst = level_one_errors(tensors, np.ones(1), order, 60).max()
        assert convergence_radius(weak).bound(1.0, order) < worst <= convergence_radius(true).bound(1.0, order)
        finite = finite_time_bound(weak, 1.0, order, 60)
        assert np.any(level_one_errors(tensors, np.ones(1), order, 60) > finite * 1.01)


def test_quadratic_radius_is_the_closed_form_and_r_the_published_one():
    f0, mu, f2, eta = 0.02, 0.5, 0.7, 0.1
    gains = np.array([eta * f0, 1 - eta * mu, eta * f2])
    root = np.sqrt(mu**2 - 4 * f0 * f2)
    radius = convergence_radius(gains)
    assert radius.inner == pytest.approx((mu - root) / (2 * f2), rel=1e-10)
    assert radius.outer == pytest.approx((mu + root) / (2 * f2), rel=1e-10)
    assert nonlinearity_ratio(gains, 0.3) == pytest.approx((0.3 * f2 + f0 / 0.3) / mu, rel=1e-12)
    assert nonlinearity_ratio(gains, radius.outer) == pytest.approx(1, rel=1e-9)
    assert least_ratio(gains) == pytest.approx(2 * np.sqrt(f0 * f2) / mu, rel=1e-3)
    cubic = np.array([*gains, 0.03])
    for edge in (convergence_radius(cubic).inner, convergence_radius(cubic).outer):
        assert np.polynomial.polynomial.polyval(edge, cubic) == pytest.approx(edge, rel=1e-12)


def test_steps_that_differ_share_the_radii_of_all():
    rows = np.array([[0.001, 0.95, 0.07], [0.002, 0.96, 0.01]])
    both = convergence_radius(rows)
    each = [convergence_radius(r) for r in rows]
    assert both == Radius(max(r.inner for r in each), min(r.outer for r in each))
    assert not convergence_radius(np.array([[0.001, 0.95, 0.07], [0.002, 1.01, 0.01]]))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
def test_the_order_asked_for_reaches_the_tolerance_and_one_less_does_not(tolerance):
    radius = convergence_radius(np.array([0.0, 0.95, 0.03]))
    order = radius.order_for(1.0, tolerance)
    assert radius.bound(1.0, order) <= tolerance < radius.bound(1.0, order - 1)
    assert radius.order_for(2.0, tolerance) is None


def test_block_length_is_where_the_bound_breaks():
    gains = np.array([0.01, 1.05, 0.02])
    length = bound_block_length(gains, 0.0, 3, 1e-3)
    bounds = finite_time_bound(gains, 0.0, 3, length + 1)
    assert bounds[length] <= 1e-3 < bounds[length + 1] and length > 2
    assert bound_block_length(np.array([0.0, 0.9, 0.001]), 0.5, 3, 1e-3, limit=77) == 77
    assert bound_block_length(np.array([0.0, 1.0, 9.0]), 1.0, 1, 1e-9) == 0


# Networks: everything against dense derivatives


@pytest.fixture
def small():
    """A network of 63 parameters on 12 samples in uneven batches, and its loss as a function of the flat parameters."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from quprop.carleman.networks import networks
    from quprop.carleman.spectra.hessian import split_batches

    network = networks.make("mlp", (4,), 3, seed=1, hidden=(6, 3), activation="silu", weight_decay=0.05)
    rng = np.random.default_rng(0)
    x, y = torch.as_tensor(rng.normal(size=(12, 4))), torch.as_tensor(rng.integers(3, size=12))
    names, shapes = zip(*((k, p.shape) for k, p in network.module.named_parameters()), strict=True)

    def loss(theta):
        pieces = theta.split([s.numel() for s in shapes])
        p = {k: a.reshape(s) for k, a, s in zip(names, pieces, shapes, strict=True)}
        value = torch.nn.functional.cross_entropy(torch.func.functional_call(network.module, p, (x,)), y)
        return value + 0.5 * network.weight_decay * theta @ theta

    return network, split_batches(x, y, 5), loss, torch.as_tensor(network.parameters())


@pytest.mark.parametrize("operator", ["auto", "curvlinops", "double-backward"])
def test_hessian_products_are_those_of_the_dense_hessian(small, operator):
    if operator == "curvlinops":
        pytest.importorskip("curvlinops")
    import torch

    from quprop.carleman.spectra.hessian import gradient_and_loss, hessian_matvec

    network, data, loss, theta = small
    dense = torch.func.hessian(loss)(theta).numpy()
    v = np.random.default_rng(1).normal(size=network.n_parameters)
    assert np.allclose(hessian_matvec(network, data, operator=operator)(v), dense @ v, atol=1e-12)
    gradient, value = gradient_and_loss(network, data)
    assert np.allclose(gradient, torch.func.grad(loss)(theta).numpy(), atol=1e-14)
    assert value == pytest.approx(float(loss(theta)), abs=1e-14)


def test_third_and_fourth_derivatives_are_the_dense_ones(small):
    import torch

    from quprop.carleman.spectra.hessian import derivative

    network, data, loss, theta = small
    rng = np.random.default_rng(1)
    u, v, w = rng.normal(size=(3, network.n_parameters))
    third = torch.func.jacfwd(torch.func.hessian(loss))(theta).numpy()
    contract = derivative(network, data)
    assert np.allclose(contract([u, v]), np.einsum("ijk,j,k->i", third, u, v), atol=1e-11)
    h = 1e-4
    shifted = [
        torch.func.jvp(torch.func.hessian(loss), (theta + s * h * torch.as_tensor(w),), (torch.as_tensor(u),))[1]
        @ torch.as_tensor(v)
        for s in (1, -1)
    ]
    assert np.allclose(contract([u, v, w]), ((shifted[0] - shifted[1]) / (2 * h)).numpy(), rtol=1e-5, atol=1e-5)


def test_gains_enclose_the_dense_norms(small):
    import torch

    from quprop.carleman.maps.gains import step_gains

    network, data, loss, theta = small
    eta, n = 0.2, network.n_parameters
    data = [tuple(torch.cat(piece) for piece in zip(*data, strict=True))]
    hessian = torch.func.hessian(loss)(theta).numpy()
    third = torch.func.jacfwd(torch.func.hessian(loss))(theta).numpy()
    spectrum = exact_spectrum(np.linalg.eigvalsh(hessian))
    gains = step_gains(network, data, spectrum, Descent(eta), 3, order=2, samples=48, starts=3, iterations=12)
    expected = [eta * float(torch.func.grad(loss)(theta).norm()), np.linalg.norm(np.eye(n) - eta * hessian, 2)]
    assert np.allclose(gains.lower[:2], expected) and np.allclose(gains.upper[:2], expected)
    norm = eta / 2 * np.linalg.norm(third.reshape(n, -1), 2)
    assert 0.3 * norm < gains.lower[2] <= norm * (1 + 1e-12)
    assert 0.8 * norm < gains.upper[2] < 2 * norm


def test_an_analysis_says_what_dense_linear_algebra_says(small):
    import json

    import torch

    from quprop.carleman.spectra.dissipation import analyse

    network, data, loss, theta = small
    found = analyse(
        network, data, Descent(0.2), 0, steps=30, order=2, lanczos_steps=20, operator="double-backward", samples=8
    )
    eigenvalues = np.linalg.eigvalsh(torch.func.hessian(loss)(theta).numpy())
    expected = [np.mean(np.abs(1 - 0.2 * eigenvalues) ** t) for t in range(31)]
    assert np.allclose(found.proxy.values, expected, rtol=1e-10)
    assert found.spectrum.least == pytest.approx(eigenvalues[0], abs=1e-10)
    assert found.parameters == network.n_parameters == len(theta)
    table = json.loads(json.dumps(found.to_json()))
    assert {"parameters", "spectrum", "proxy", "radius", "block_length"} <= table.keys()
    assert f"{network.n_parameters} parameters" in found.sentence() and found.kind in found.sentence()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps and order must be at least 1"),
        ({"descent": Descent(0.1, weight_decay=0.1)}, "weight decay belongs to the network"),
        ({"operator": "exact"}, "operator is 'auto', 'double-backward', 'curvlinops' or 'differences', got 'exact'"),
    ],
)
def test_bad_analyses_get_one_sentence(small, change, message):
    from quprop.carleman.spectra.dissipation import analyse

    network, data, _, _ = small
    with pytest.raises(QupropError, match=message):
        analyse(network, data, **({"descent": Descent(0.1), "rng": 0} | change))


def test_without_curvlinops_one_sentence_says_what_to_install(small, monkeypatch):
    import sys

    from quprop.carleman.spectra.hessian import hessian_matvec

    monkeypatch.setitem(sys.modules, "curvlinops", None)
    with pytest.raises(QupropError, match="needs curvlinops-for-pytorch, which is not installed: pip install"):
        hessian_matvec(small[0], small[1], operator="curvlinops")


def test_a_layer_without_forward_derivatives_is_said_with_the_mend(small):
    torch = pytest.importorskip("torch")
    pytest.importorskip("curvlinops")
    from quprop.carleman.networks.networks import Network, as_loss
    from quprop.carleman.spectra.hessian import hessian_matvec

    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GroupNorm(2, 4), torch.nn.Linear(4, 3)).double()
    network = Network("theirs", module, as_loss("cross-entropy"))
    v = np.ones(network.n_parameters)
    with pytest.raises(QupropError, match="take operator='double-backward'"):
        hessian_matvec(network, small[1], operator="curvlinops")(v)
    assert np.all(np.isfinite(hessian_matvec(network, small[1], operator="double-backward")(v)))


def test_along_training_uploads_restore_sparsity_and_restart_the_proxy():
    torch = pytest.importorskip("torch")
    pytest.importorskip("curvlinops")
    torch.set_num_threads(1)
    from quprop.carleman.networks import data as datasets
    from quprop.carleman.networks import networks
    from quprop.carleman.spectra.along import follow

    data = datasets.load("digits").first(train=256, test=64)
    network = networks.make("mlp", data.input_shape, data.classes, seed=0, hidden=(8,))
    course = follow(
        network,
        data,
        Descent(0.5),
        0,
        measure=[0, 1, 10, 11, 20],
        batch_size=64,
        warm_up=20,
        prune_ratio=0.8,
        upload_every=10,
        dense_steps=2,
        hessian_samples=32,
        lanczos_steps=10,
    )
    assert course.uploads == (0, 10, 20)
    zeros = [m.zeros for m in course.moments]
    pruned = 0.8 * 64 * 8 / network.n_parameters
    assert np.allclose([zeros[0], zeros[2], zeros[4]], pruned, atol=2 / network.n_parameters)
    # Between uploads all weights move again, but those of pixels that are blank in every picture
    assert zeros[1] < pruned / 2 and zeros[3] < pruned / 2
    assert course.moments[-1].loss < course.moments[0].loss
    readings = course.proxies()
    restarted = proxy.frozen(course.moments[2].spectrum, course.descent, [1]).values[0]
    assert readings["running"].values[2] == pytest.approx(restarted, rel=1e-9)
    assert readings["current"].values[0] == pytest.approx(1) and course.to_json()["steps"] == course.steps


# Lyapunov norms


def test_gains_in_the_usual_norm_are_the_usual_gains():
    tensors = quadratic_map(0.6, 0.1)
    assert np.allclose(gains_in(np.eye(3), tensors), gains_of(tensors), rtol=1e-12)


def test_gains_in_a_norm_are_those_of_the_map_in_new_coordinates():
    tensors = quadratic_map(0.6, 0.1)
    a = np.diag([1.0, 2.0, 5.0])
    moved = [
        a @ tensors[0],
        a @ tensors[1] @ np.linalg.inv(a),
        a @ tensors[2] @ np.kron(np.linalg.inv(a), np.linalg.inv(a)),
    ]
    assert np.allclose(gains_in(a @ a, tensors), gains_of(moved), rtol=1e-12)


def test_momentum_contracts_in_a_lyapunov_norm_and_the_bound_holds_there():
    eta, b, h = 0.1, 0.5, np.diag([0.5, 1.0, 2.0])
    third = quadratic_map(0.2)[2]  # eta times the quadratic part of the gradient
    zero = np.zeros((3, 3))
    linear = np.block([[np.eye(3) - eta * h, -eta * b * np.eye(3)], [h, b * np.eye(3)]])
    pick = np.kron(np.hstack([np.eye(3), zero]), np.hstack([np.eye(3), zero]))
    tensors = [np.zeros(6), linear, np.vstack([third, -third / eta]) @ pick]
    assert np.linalg.norm(linear, 2) > 1 > np.abs(np.linalg.eigvals(linear)).max()
    p = lyapunov_matrix(linear, 0.99)
    assert gains_in(p, tensors)[1] < 0.99
    start = np.concatenate([start_of(0.2), np.zeros(3)])
    assert norm_of(np.eye(6), tensors, start).ratio == np.inf
    best = best_norm(tensors, start)
    assert best.ratio < 1 and best.radius.holds(best.deviation)
    least = np.sqrt(np.linalg.eigvalsh(best.matrix)[0])
    for order in (1, 2, 3):
        errors = level_one_errors(tensors, start, order, 40)
        assert errors.max() <= best.radius.bound(best.deviation, order) / least


def test_a_norm_may_prove_what_the_usual_one_does_not():
    tensors, start = quadratic_map(1.2), start_of()
    usual = norm_of(np.eye(3), tensors, start)
    best = best_norm(tensors, start)
    assert usual.ratio > 1 and best.ratio < usual.ratio


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Descent(0.0), "learning_rate must be positive"),
        (lambda: Descent(0.1, 1.0), "momentum is from 0 to below 1"),
        (lambda: convergence_radius(np.array([1.0])), "gains are norms"),
        (lambda: convergence_radius(np.array([0.1, -1.0])), "gains are norms"),
        (lambda: nonlinearity_ratio(np.array([0, 0.5, 1.0]), 0.0), "deviation must be positive"),
        (lambda: finite_time_bound(np.array([0, 0.5, 1.0]), 1.0, 2), "steps must be given"),
        (lambda: finite_time_bound(np.array([0, 0.5, 1.0]), 1.0, 0, 5), "order must be at least 1"),
        (lambda: proxy.block_length(exact_spectrum(np.ones(2)), ETA, -1.0), "tolerance must be at least 0"),
        (lambda: proxy.running([exact_spectrum(np.ones(2))], [1, 2], ETA), "one spectrum for each step, got 1 for 2"),
        (lambda: spectrum_of(np.eye(3).__matmul__, 3, None), "rng is a seed"),
        (lambda: spectrum_of(np.eye(3).__matmul__, 3, 0, steps=0), "steps must be at least 1"),
        (lambda: spectrum_of(lambda v: v * np.nan, 300, 0, steps=4), "not finite"),
        (lambda: lyapunov_matrix(np.eye(2), 0.9), "rate must exceed the spectral radius"),
        (lambda: best_norm([np.zeros(2), np.eye(2)], np.ones(2)), "no norm makes"),
        (lambda: gains_in(-np.eye(2), [np.zeros(2), np.eye(2)]), "positive definite"),
    ],
)
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(QupropError, match=message):
        call()


def test_spectrum_of_a_run_is_plain_data():
    spectrum = Spectrum(10, np.array([5.0]), ((np.array([0.0, 1.0]), np.array([0.5, 0.4])),), 7, (0.1, 0.0))
    table = spectrum.shifted(1.0).to_json()
    assert table["greatest"] == 6.0 and table["least"] == 1.0 and sum(table["weights"]) == pytest.approx(1)
