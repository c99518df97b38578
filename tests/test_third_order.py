"""Third derivatives, and losses of second derivatives in the data: against nested parameter shifts, closed forms and
JAX's own derivatives of a dense simulator."""

import importlib.util
import itertools
import warnings
from pathlib import Path

import dense
import numpy as np
import pytest
from cases import CASES, values_for
from tolerances import assert_close

import quprop as qpr
from quprop.hybrid.node import Node
from quprop.model import ansatz

SHIFT = np.pi / 2


def directions(model, count, seed=5, lead=()):
    """Pairs (theta's part, x's part)."""
    rng = np.random.default_rng(seed)
    return [tuple(rng.normal(size=(*lead, size)) for size in (model.n_params, model.n_inputs)) for _ in range(count)]


def shifted(f, at, rotations):
    """The derivative of f by the angles of the Pauli rotations in a list, by shifts of shifts."""
    if not rotations:
        return f(at)
    sides = []
    for sign in (1, -1):
        moved = at.copy()
        moved[rotations[0]] += sign * SHIFT
        sides.append(shifted(f, moved, rotations[1:]))
    return (sides[0] - sides[1]) / 2


def pde_circuit(n=3, layers=2, angles=None):
    """Towers of x and t, then rotations; every angle is one number times x, t or a parameter. With `angles` these
    numbers stand there instead."""
    data, theta = qpr.inputs("x", 2), qpr.params("theta", n * layers)
    circuit = qpr.Circuit(n) if angles is not None else qpr.Circuit(n, params=theta, inputs=data)
    drivers = []

    def angle(scale, kind, index):
        drivers.append((scale, kind, index))
        return angles[len(drivers) - 1] if angles is not None else scale * (data if kind else theta)[index]

    for layer in range(layers):
        for q in range(n):
            circuit.ry(angle(0.5 * (q + 1), 1, q % 2), q)
            circuit.rx(angle(1.0, 0, layer * n + q), q)
        for q in range(n):
            circuit.cz(q, (q + 1) % n)
    return circuit, drivers


SUM = ["Z0 + 0.5*X1 - 0.3*Z1 Z2"]
POINT, DATA = np.linspace(-1.2, 1.4, 6), np.array([[0.3, -0.7], [1.1, 0.4]])


def residual_by_shifts(theta, x):
    """r = u_t + u u_x - 0.1 u_xx and dr/dtheta, from dense states at shifted angles alone."""
    _, drivers = pde_circuit(angles=np.zeros(99))
    observables = [qpr.PauliSum(SUM[0])]
    at = np.array([scale * (x if kind else theta)[i] for scale, kind, i in drivers])

    def f(angles):
        return dense.values(pde_circuit(angles=angles)[0], observables, [])[0]

    def by(*variables):
        """The derivative by several of them, (kind, index): sums over the rotations that read each."""
        total = 0.0
        readers = [[m for m, d in enumerate(drivers) if d[1:] == v] for v in variables]
        for rotations in itertools.product(*readers):
            total += np.prod([drivers[m][0] for m in rotations]) * shifted(f, at, list(rotations))
        return total

    X, T = (1, 0), (1, 1)
    u, u_x = by(), by(X)
    r = by(T) + u * u_x - 0.1 * by(X, X)
    slopes = []
    for p in range(len(theta)):
        P = (0, p)
        slopes.append(by(T, P) + by(P) * u_x + u * by(X, P) - 0.1 * by(X, X, P))
    return r, np.array(slopes)


@pytest.fixture(scope="module")
def loss_by_shifts():
    """sum of squares of the residual, and its gradient by theta."""
    found = [residual_by_shifts(POINT, x) for x in DATA]
    return sum(r * r for r, _ in found), sum(2 * r * d for r, d in found)


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9, atol=1e-9)


# -- the node ---------------------------------------------------------------------------------------------------------

NAMES = [
    "products_of_angles",
    "encoded_and_rotated",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("several_observables", "inputs", "product_state")),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_third_and_its_transpose_are_jaxs_own_derivatives_of_a_dense_simulator(name):
    jax = pytest.importorskip("jax")
    case, model = CASES[name], CASES[name].model
    theta, x = values_for(model, seed=3)
    u, w, z = directions(model, 3)
    c = np.random.default_rng(6).normal(size=model.n_observables)
    with jax.enable_x64(True):

        def f(point):
            return dense.values(case.circuit, case.observables, *point, xp=jax.numpy)

        def along(g, v):
            return lambda point: jax.jvp(g, (point,), (v,))[1]

        point = (jax.numpy.asarray(theta), jax.numpy.asarray(x))
        by_theta, by_x = map(np.asarray, jax.jit(jax.jacrev(along(along(f, u), w)))(point))
    node = Node(model)
    close(node.cubic(theta, x, *u, *w, *z), by_theta @ z[0] + by_x @ z[1])
    found = node.third(theta, x, c, *u, *w)
    close(found[0], c @ by_theta)
    close(found[1], c @ by_x)


def test_directions_of_any_size_and_parallel_ones_lose_no_digits():
    model = CASES["products_of_angles"].model
    theta, x = values_for(model, seed=3)
    (u, w), c = directions(model, 2), np.array([0.7, -1.1])
    node = Node(model)
    whole = node.third(theta, x, c, *u, *w)
    for up, down in ((1e150, 1e-150), (1e-9, 1.0), (0.0, 1.0)):
        scaled = [[size * part for part in v] for size, v in ((up, u), (down, w))]
        for found, expected in zip(node.third(theta, x, c, *scaled[0], *scaled[1]), whole, strict=True):
            assert_close(found / (up * down or 1), expected if up else 0 * expected, 4000)
    for factor in (3.0, -1 / 7):
        parallel = node.third(theta, x, c, *u, *(factor * part for part in u))
        for found, one in zip(parallel, node.third(theta, x, c, *u, *u), strict=True):
            assert_close(found, factor * one, 4000)


def test_all_samples_are_one_call_and_parallel_directions_one_jet_each(monkeypatch):
    model = CASES["inputs"].model
    theta, x = values_for(model, 3, seed=3)
    u, w = directions(model, 2, lead=(3,))
    engine = qpr.simulate.get_engine("native")
    rows, jet = [], engine.jet
    monkeypatch.setattr(engine, "jet", lambda m, t, s, v, vx, order: rows.append(len(v)) or jet(m, t, s, v, vx, order))
    node, c = Node(model, engine=engine), np.array([1.0, -0.5])
    w[0][1], w[1][1] = -2 * u[0][1], -2 * u[1][1]  # parallel in the second sample
    w[0][2], w[1][2] = 0, 0  # and nothing to do in the third
    found = node.third(theta[0], x, c, *u, *w)
    assert rows == [3]
    for b in range(3):
        one = node.third(theta[0], x[b], c, *(v[b] for v in (*u, *w)))
        for part, expected in zip(found, one, strict=True):
            assert_close(part[b], expected, 4000)


def test_an_empty_batch_and_numbers_that_are_not_finite():
    model = CASES["inputs"].model
    theta, x = values_for(model)
    (u, w), c = directions(model, 2), np.ones(2)
    node = Node(model)
    assert node.third(theta, np.empty((0, model.n_inputs)), c, *u, *w)[0].shape == (0, model.n_params)
    assert node.cubic(theta, np.empty((0, model.n_inputs)), *u, *w, *u).shape == (0, 2)
    with pytest.raises(qpr.QupropError, match="a direction must be finite"):
        node.third(theta, x, c, np.full_like(u[0], np.nan), u[1], *w)


# -- PyTorch ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    with (
        warnings.catch_warnings()
    ):  # PyTorch 2.13 warns of its own use of torch.jit at the first forward-mode derivative
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.zeros(1),))
    return torch


def residual(torch, u, x):
    """u_t + u u_x - 0.1 u_xx of outputs u (B, 1) at x (B, 2)."""
    (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope[:, 0].sum(), x, create_graph=True)
    return slope[:, 1] + u[:, 0] * slope[:, 0] - 0.1 * second[:, 0]


@pytest.mark.slow
def test_a_residual_with_u_xx_trains_in_torch_as_nested_parameter_shifts_say(torch, loss_by_shifts):
    value, slope = loss_by_shifts
    layer = qpr.QuantumLayer(qpr.Model(pde_circuit()[0], SUM), POINT, dtype=torch.float64)
    x = torch.tensor(DATA, requires_grad=True)
    loss = residual(torch, layer(x), x).square().sum()
    loss.backward()
    close(loss.detach(), value)
    close(layer.weights.grad, slope)


def test_pennylane_issue_9901_and_the_third_derivative_of_a_closed_form(torch):
    """cos(tanh(1.7 x + 0.2)) at 0.37, whose second derivative that issue gives."""
    from quprop.hybrid.torch import expectation

    data = qpr.inputs("x", 1)
    model = qpr.Model(qpr.Circuit(1, inputs=data).rx(data[0], 0), "Z0")
    x = torch.tensor(0.37, dtype=torch.float64, requires_grad=True)
    y = expectation(model, torch.zeros(0).double(), torch.tanh(1.7 * x + 0.2)[None])[0]
    found = []
    for _ in range(3):
        (y,) = torch.autograd.grad(y, x, create_graph=True)
        found.append(y.item())
    g = np.tanh(1.7 * 0.37 + 0.2)
    g1 = 1.7 * (1 - g * g)
    g2 = -3.4 * g * g1
    g3 = -3.4 * (g1 * g1 + g * g2)
    second = -np.cos(g) * g1**2 - np.sin(g) * g2
    third = np.sin(g) * g1**3 - 3 * np.cos(g) * g1 * g2 - np.sin(g) * g3
    assert_close(np.array(found), [-np.sin(g) * g1, second, third], 100)
    assert found[1] == pytest.approx(0.6789133862932988, abs=1e-14)


def test_functions_with_derivatives_inside_pass_gradcheck_and_gradgradcheck(torch):
    from quprop.hybrid.torch import expectation

    model = CASES["products_of_angles"].model
    theta, x = (torch.tensor(a, requires_grad=True) for a in values_for(model, 2, 1))

    def slope(t, s):
        u = expectation(model, t, torch.tanh(s))
        (d,) = torch.autograd.grad(u[..., 0].sum() + u[..., 1].square().sum(), s, create_graph=True)
        return u[..., 0] * d[..., 0] + d[..., 1]

    def curvature(t, s):
        u = expectation(model, t, torch.tanh(s))
        (d,) = torch.autograd.grad(u[..., 0].sum() + u[..., 1].square().sum(), s, create_graph=True)
        return torch.autograd.grad(d[..., 0].sum(), s, create_graph=True)[0]

    assert torch.autograd.gradcheck(slope, (theta, x)) and torch.autograd.gradgradcheck(slope, (theta, x))
    assert torch.autograd.gradcheck(curvature, (theta, x))


def test_torch_has_the_same_third_derivatives_in_every_mix_of_modes(torch):
    """Of s -> F(theta(s), x(s)), a curve that bends, and of F by theta: all eight, and vmap around them."""
    from quprop.hybrid.torch import expectation

    model = qpr.Model(ansatz.data_reuploading(2, 1, 2), ["Z0", "X1", "Z0 Z1"])
    theta, x = map(torch.tensor, values_for(model, 2, 4))
    node, P = Node(model), model.n_params

    def bent(s):
        return expectation(model, theta[0] * torch.sin(s), x[0] * torch.cos(s) ** 2)

    flat = [
        [node.third(theta[0].numpy(), x[0].numpy(), c, *(v for e in (a, b) for v in (e, 0 * x[0].numpy())))[0]
         for a in np.eye(P) for b in np.eye(P)]
        for c in np.eye(3)
    ]  # fmt: skip
    expected = np.reshape(flat, (3, P, P, P))
    curves = []
    for modes in itertools.product((torch.func.jacrev, torch.func.jacfwd), repeat=3):
        of_theta, of_s = (lambda t, s=x[0]: expectation(model, t, s)), bent
        for mode in modes:
            of_theta, of_s = mode(of_theta), mode(of_s)
        close(of_theta(theta[0]), expected)
        curves.append(of_s(torch.tensor(0.6, dtype=torch.float64)).numpy())
        if modes[0] is modes[2]:
            close(torch.func.vmap(of_theta)(theta), np.stack([of_theta(t).numpy() for t in theta]))
    h = 2e-3
    nodes = {k: bent(torch.tensor(0.6 + k * h, dtype=torch.float64)).numpy() for k in (-4, -2, -1, 1, 2, 4)}
    central = [(nodes[2 * k] - 2 * nodes[k] + 2 * nodes[-k] - nodes[-2 * k]) / (2 * (k * h) ** 3) for k in (1, 2)]
    for curve in curves:
        close(curve, curves[0])
        np.testing.assert_allclose(curve, (4 * central[0] - central[1]) / 3, atol=1e-6)


def test_single_precision_has_its_third_derivatives_to_its_rounding(torch):
    from quprop.hybrid.torch import expectation

    model = CASES["inputs"].model
    found = []
    for dtype in (torch.float32, torch.float64):
        theta, x = (torch.tensor(a, dtype=dtype, requires_grad=True) for a in values_for(model, 2, 1))
        y = expectation(model, theta, x)
        for _ in range(3):
            (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        found.append(y.detach().double().numpy())
    assert_close(found[0], found[1], 4000, np.float32)


def test_the_known_solution_of_the_example_solves_its_equation(torch):
    path = Path(__file__).parents[1] / "examples" / "burgers.py"
    spec = importlib.util.spec_from_file_location("burgers", path)
    burgers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(burgers)

    def known(points):
        x, decay = points[:, 0], torch.exp(-(np.pi**2) * burgers.VISCOSITY * points[:, 1])
        return 2 * np.pi * burgers.VISCOSITY * decay * torch.sin(np.pi * x) / (burgers.A + decay * torch.cos(np.pi * x))

    points = torch.tensor(np.random.default_rng(0).uniform(size=(20, 2)))
    close(known(points), burgers.exact(*points.numpy().T))
    close(burgers.residual(known, points).detach(), np.zeros(20))
    close(burgers.exact(np.array([0.0, 1.0]), 0.5), [0, 0])
    assert burgers.towers().n_qubits == burgers.QUBITS


# -- JAX --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def jax():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        yield jax


def residual_in_jax(jax, f, forwards):
    """The residual at one point by Hessians, or by derivatives along x alone."""

    def by_hessian(theta, x):
        slope, hessian = jax.grad(lambda s: f(theta, s)[0])(x), jax.hessian(lambda s: f(theta, s)[0])(x)
        return slope[1] + f(theta, x)[0] * slope[0] - 0.1 * hessian[0, 0]

    def by_jvp(theta, x):
        along = lambda g, v: lambda s: jax.jvp(g, (s,), (v,))[1]  # noqa: E731
        u, (e_x, e_t) = (lambda s: f(theta, s)[0]), jax.numpy.eye(2)
        return along(u, e_t)(x) + u(x) * along(u, e_x)(x) - 0.1 * along(along(u, e_x), e_x)(x)

    return by_jvp if forwards else by_hessian


@pytest.mark.slow
@pytest.mark.parametrize("forwards", [False, True])
def test_a_residual_with_u_xx_has_the_gradient_of_nested_parameter_shifts_in_jax(jax, loss_by_shifts, forwards):
    from quprop.hybrid.jax import function

    value, slope = loss_by_shifts
    r = residual_in_jax(jax, function(qpr.Model(pde_circuit()[0], SUM)), forwards)

    def loss(theta):
        return (jax.vmap(r, (None, 0))(theta, DATA) ** 2).sum()

    for step in (jax.value_and_grad(loss), jax.jit(jax.value_and_grad(loss))):
        found = step(POINT)
        close(found[0], value)
        close(found[1], slope)


@pytest.mark.slow
def test_jax_has_the_same_third_derivatives_in_every_mix_of_modes(jax):
    from quprop.hybrid.jax import function

    t = qpr.params("theta", 2)
    circuit = qpr.Circuit(2).ry(2 * t[0] + 0.1, 0).cx(0, 1).rx(t[1] - t[0] * t[1], 1).rzz(t[0], 0, 1)
    model, theta = qpr.Model(circuit, ["Z0 + 0.5*X1", "Y0 Z1"]), np.array([0.4, -1.3])

    def own(t):
        return dense.values(circuit, [qpr.PauliSum(o) for o in ("Z0 + 0.5*X1", "Y0 Z1")], t, xp=jax.numpy)

    def bent(f):
        return lambda t: f(jax.numpy.sin(t)) ** 2

    expected = jax.jit(jax.jacfwd(jax.jacfwd(jax.jacrev(bent(own)))))(theta)
    for modes in itertools.product((jax.jacrev, jax.jacfwd), repeat=3):
        f = bent(function(model))
        for mode in modes:
            f = mode(f)
        close(jax.jit(f)(theta), expected)
    along = jax.jit(jax.grad(jax.grad(jax.grad(lambda s: own(theta * s)[0]))))(1.2)
    f = function(model)
    close(jax.grad(jax.grad(jax.grad(lambda s: f(theta * s)[0])))(1.2), along)
    close(jax.vmap(jax.grad(jax.grad(jax.grad(lambda s: f(theta * s)[0]))))(np.array([1.2, 1.2])), [along, along])


# -- refusals ---------------------------------------------------------------------------------------------------------


def cut_plan():
    return qpr.cut(ansatz.hardware_efficient(4, 1), "Z0 Z3", max_qubits=2, max_overhead=float("inf"))


def noisy():
    return qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0).depolarising(0.03, 0), "Z0")


@pytest.mark.parametrize(
    "make, engine, sentence",
    [
        (cut_plan, None, "a CutPlan are exact up to the second"),
        (noisy, None, "a third derivative takes no noise"),
        (lambda: CASES["inputs"].model, "lightcone", "the engine 'lightcone' has no derivatives along a direction"),
        (
            lambda: CASES["inputs"].model,
            qpr.PauliPropagation(),
            "the engine 'pauli' has no derivatives along a direction",
        ),
    ],
    ids=["cut", "noise", "lightcone", "pauli"],
)
def test_what_has_no_jets_refuses_a_third_derivative_in_one_sentence(make, engine, sentence):
    model = make()
    theta, x = values_for(model)
    (u, w), c = directions(model, 2), np.ones(model.n_observables)
    node = Node(model, engine=engine)
    for call in (lambda: node.third(theta, x, c, *u, *w), lambda: node.cubic(theta, x, *u, *w, *u)):
        with pytest.raises(qpr.QupropError, match=sentence) as caught:
            call()
        assert "\n" not in str(caught.value)
