"""The torch layer: derivatives to second order against differences, torch's machinery, shots, and bad input."""

import copy
import importlib
import itertools
import multiprocessing
import os
import pickle
import sys
import warnings
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cases import CASES, values_for  # noqa: E402
from tolerances import assert_close  # noqa: E402

import quprop as qpr  # noqa: E402
from quprop.hybrid.estimated import Estimated, trainable_inputs  # noqa: E402
from quprop.hybrid.torch import QuantumLayer, expectation  # noqa: E402
from quprop.model import ansatz  # noqa: E402

NAMES = ["several_observables", "inputs", "encoded_and_rotated", "products_of_angles", "identity_terms"]
with warnings.catch_warnings():  # PyTorch 2.13 warns of its own use of torch.jit at the first forward-mode derivative
    warnings.simplefilter("ignore")
    torch.func.jvp(torch.sin, (torch.zeros(1),), (torch.zeros(1),))


def tensors(model, batch, seed=0, shared_theta=True):
    theta, x = values_for(model, batch, seed)
    theta = theta[0] if shared_theta else theta
    return tuple(torch.tensor(a, requires_grad=True) for a in ((theta, x) if model.n_inputs else (theta,)))


def reuploading():
    return qpr.Model(ansatz.data_reuploading(3, 2, 3), ["Z0", "X1", "Z1 Z2"])


# -- derivatives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, shared_theta", [(name, True) for name in NAMES] + [("products_of_angles", False)])
def test_first_and_second_derivatives_are_those_of_central_differences(name, shared_theta):
    model = CASES[name].model
    arguments = tensors(model, 2, shared_theta=shared_theta)

    def f(*a):
        return expectation(model, *a)

    assert torch.autograd.gradcheck(f, arguments, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, arguments, check_fwd_over_rev=True)


def test_values_and_gradients_are_those_of_the_reference_engine():
    model = reuploading()
    theta, x = values_for(model, 5, 1)
    layer = QuantumLayer(model, theta[0], dtype=torch.float64)
    inputs = torch.tensor(x.reshape(5, 1, -1), requires_grad=True)
    out = layer(inputs)
    c = np.random.default_rng(2).normal(size=(5, 1, 3))
    out.backward(torch.tensor(c))
    values, pullback = qpr.vjp(model, theta[0], x, engine="reference")
    d_theta, d_x = pullback(c[:, 0], sum_theta=True)
    assert out.shape == (5, 1, 3)
    assert_close(out.detach().numpy()[:, 0], values, 400)
    assert_close(layer.weights.grad.numpy(), d_theta, 4000)
    assert_close(inputs.grad.numpy()[:, 0], d_x, 4000)


def test_weights_that_may_not_be_written_to_are_taken_without_a_warning():
    model = reuploading()
    theta = qpr.Module(model, values_for(model)[0]).theta  # read only
    layer = QuantumLayer(model, theta, dtype=torch.float64)
    with torch.no_grad():
        layer.weights += 1
    assert_close(layer.weights.detach().numpy(), theta + 1, 2)


def test_double_backward_is_that_of_the_reference_engine_to_rounding():
    model = reuploading()
    theta, x = values_for(model, 4, 1)
    rng = np.random.default_rng(3)
    c, u_theta, u_x = (rng.normal(size=(4, size)) for size in (3, model.n_params, model.n_inputs))
    t, s, w = (torch.tensor(a, requires_grad=True) for a in (theta, x, c))
    first = torch.autograd.grad(expectation(model, t, s), (t, s), w, create_graph=True)
    found = torch.autograd.grad(first, (t, s, w), (torch.tensor(u_theta), torch.tensor(u_x)))
    h = qpr.hvp(model, theta, x, v_theta=u_theta, v_x=u_x, weights=c, engine="reference")[2:]
    _, pullback = qpr.vjp(model, theta, x, engine="reference")
    rows = [pullback(np.tile(row, (4, 1))) for row in np.eye(3)]
    pushed = np.stack([(a * u_theta).sum(axis=1) + (b * u_x).sum(axis=1) for a, b in rows], axis=1)
    for mine, expected in zip(found, (*h, pushed), strict=True):
        assert_close(mine.numpy(), expected, 4000)


def test_hessian_is_the_same_in_every_mix_of_modes_and_that_of_differences():
    model = reuploading()
    theta, x = tensors(model, 1)

    def f(t):
        return expectation(model, t, x[0])

    modes = (torch.func.jacrev, torch.func.jacfwd)
    found = [outer(inner(f))(theta).detach().numpy() for outer in modes for inner in modes]
    h, t = 1e-5, theta.detach().numpy()
    jacobian = lambda v: torch.func.jacrev(f)(torch.tensor(v)).detach().numpy()  # noqa: E731
    steps = [(jacobian(t + h * e) - jacobian(t - h * e)) / (2 * h) for e in np.eye(len(t))]
    for hessian in found:
        np.testing.assert_allclose(hessian, np.stack(steps, axis=-1), atol=1e-8)


def test_second_derivatives_along_a_curve_are_those_of_differences_in_every_mix_of_modes():
    """s -> F(theta(s), x(s)): the curve bends, so that a second derivative has a term along theta'', x'' too."""
    model = reuploading()
    theta, x = values_for(model, seed=4)
    start = torch.tensor(theta), torch.tensor(x)

    def f(s):
        return expectation(model, start[0] * torch.sin(s), start[1] * torch.cos(s) ** 2)

    s, h = 0.6, 1e-4
    along = np.array([s - h, s, s + h])
    values = qpr.expectation(model, np.sin(along)[:, None] * theta, np.cos(along)[:, None] ** 2 * x)
    expected = (values[0] - 2 * values[1] + values[2]) / h**2
    modes = (torch.func.jacrev, torch.func.jacfwd)
    for outer in modes:
        for inner in modes:
            found = outer(inner(f))(torch.tensor(s, dtype=torch.float64))
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_hessian_of_a_composition_has_the_terms_of_moving_directions_and_cotangents_in_every_mix_of_modes():
    """g(t) = sum of squares of f(sin t, x(t)): both the direction into f and the cotangent out of it depend on t."""
    model = reuploading()
    theta, x = (a.detach() for a in tensors(model, 1))
    P = len(theta)

    def g(t):
        return expectation(model, torch.sin(t), x[0] * t[:3] ** 2).square().sum()

    t, s = theta.numpy(), x[0].numpy()
    values, pullback = qpr.vjp(model, np.sin(t), s * t[:3] ** 2)
    inner = np.vstack([np.diag(np.cos(t)), np.diag(2 * s * t[:3], 0) @ np.eye(3, P)])  # d(theta, x)/dt
    rows = np.array([np.concatenate(pullback(e)) for e in np.eye(3)])
    hessian = [
        np.concatenate(qpr.hvp(model, np.sin(t), s * t[:3] ** 2, v_theta=v[:P], v_x=v[P:], weights=2 * values)[2:])
        for v in np.eye(P + 3)
    ]
    d = 2 * values @ rows
    bend = np.diag(-d[:P] * np.sin(t)) + np.diag(np.concatenate([2 * s * d[P:], np.zeros(P - 3)]))
    expected = inner.T @ (np.array(hessian) + 2 * rows.T @ rows) @ inner + bend
    modes = (torch.func.jacrev, torch.func.jacfwd)
    for found in [outer(inner_mode(g))(theta) for outer in modes for inner_mode in modes]:
        assert_close(found.detach().numpy(), expected, 4000)


def test_vmap_is_a_loop_but_one_call():
    model = reuploading()
    theta, x = tensors(model, 4)
    calls = []
    original = qpr.simulate.vjp

    def counted(*a, **k):
        calls.append(np.shape(a[2]))
        return original(*a, **k)

    one = torch.func.grad(lambda t, s: expectation(model, t, s).square().sum(), argnums=(0, 1))
    loop = [one(theta, s) for s in x]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qpr.simulate, "vjp", counted)
        both = torch.func.vmap(one, in_dims=(None, 0))(theta, x)
    for found, expected in zip(both, zip(*loop, strict=True), strict=True):
        assert_close(found.detach().numpy(), torch.stack(expected).detach().numpy(), 4000)
    assert set(calls) == {(4, model.n_inputs)} and len(calls) <= 2


def test_vmap_over_a_middle_axis_of_either_argument():
    model = reuploading()
    theta, x = values_for(model, 6, 3)
    t, s = torch.tensor(theta.reshape(2, 3, -1)), torch.tensor(x.reshape(2, 3, -1))
    found = torch.func.vmap(lambda a, b: expectation(model, a, b), in_dims=(1, None), out_dims=1)(t, s[:, 0])
    expected = qpr.expectation(model, theta.reshape(2, 3, -1), x.reshape(2, 3, -1)[:, :1])
    assert_close(found.numpy(), expected, 400)
    found = torch.func.vmap(lambda a: expectation(model, a, s[0]))(t[0, :2])  # the new axis goes before the batch
    assert_close(found.numpy(), qpr.expectation(model, theta[:2, None], x[None, :3]), 400)


def test_vmap_around_a_backward_pass_gives_the_jacobian():
    model = reuploading()
    theta, x = tensors(model, 2)
    out = expectation(model, theta, x)
    rows = torch.func.vmap(lambda c: torch.autograd.grad(out, theta, c, retain_graph=True)[0])(
        torch.eye(6).reshape(6, 2, 3).double()
    )
    expected = torch.func.jacrev(lambda t: expectation(model, t, x))(theta).reshape(6, -1)
    assert_close(rows.numpy(), expected.detach().numpy(), 400)


def test_a_graph_that_is_retained_gives_the_same_again():
    model = reuploading()
    layer = QuantumLayer(model, dtype=torch.float64)
    out = layer(torch.tensor(values_for(model, 2, 1)[1])).sum()
    first = torch.autograd.grad(out, layer.weights, retain_graph=True)[0]
    assert_close(torch.autograd.grad(out, layer.weights)[0].numpy(), first.numpy(), 400)


@pytest.mark.parametrize("modes", list(itertools.product((torch.func.jacrev, torch.func.jacfwd), repeat=4)))
def test_a_fourth_derivative_is_refused_in_every_mix_of_modes(modes):
    f = partial(expectation, CASES["shared_parameters"].model)
    for mode in modes:
        f = mode(f)
    with pytest.raises(qpr.QupropError, match="exact up to the third, and a fourth was asked for"):
        f(torch.ones(6).double())


def test_a_third_derivative_has_a_graph_that_refuses_to_be_differentiated():
    (theta,) = tensors(model := CASES["shared_parameters"].model, 1)
    found = expectation(model, theta)
    for _ in range(3):
        (found,) = torch.autograd.grad(found.sum(), theta, create_graph=True)
    with pytest.raises(qpr.QupropError, match="exact up to the third"):
        found.sum().backward()


def test_a_gradient_penalty_trains_through_the_layer():
    """Double backward inside a network: the gradient of |d loss/dx|^2 by the weights, against differences."""
    model = reuploading()
    layer = QuantumLayer(model, rng=1, dtype=torch.float64)
    x = torch.tensor(values_for(model, 3, 1)[1], requires_grad=True)

    def penalty():
        (slope,) = torch.autograd.grad(layer(torch.tanh(x)).square().sum(), x, create_graph=True)
        return slope.square().sum()

    penalty().backward()
    found, h = layer.weights.grad.clone(), 1e-5
    for i in range(0, model.n_params, 4):
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                layer.weights[i] += sign * h
            sides.append(float(penalty().detach()))
            with torch.no_grad():
                layer.weights[i] -= sign * h
        assert float(found[i]) == pytest.approx((sides[0] - sides[1]) / (2 * h), abs=1e-7)


# -- an nn.Module like any other --------------------------------------------------------------------------------------


def test_float32_is_simulated_in_single_precision_and_float64_in_double():
    model = reuploading()
    x = torch.tensor(values_for(model, 300, 1)[1])
    double = QuantumLayer(model, rng=1, dtype=torch.float64)
    single = copy.deepcopy(double).float()
    mixed = QuantumLayer(model, double.weights.detach(), dtype=torch.float32, precision="double")
    expected = double(x)
    assert single(x.float()).dtype == torch.float32 and expected.dtype == torch.float64
    assert 0 < (single(x.float()) - expected).abs().max() < 2e-5
    assert (mixed(x.float()) - expected).abs().max() < 2e-5
    assert single(x.half()).dtype == torch.float32  # what autocast hands on
    assert QuantumLayer(model).weights.dtype == torch.get_default_dtype()


def test_state_dict_copies_and_pickles_keep_the_function(tmp_path):
    model = reuploading()
    layer, other = QuantumLayer(model, rng=1), QuantumLayer(model, rng=2)
    x = torch.tensor(values_for(model, 3, 1)[1], dtype=torch.float32)
    out = layer(x)
    assert not torch.equal(out, other(x))
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    other.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x), out)
    assert list(layer.state_dict()) == ["weights"]


def test_weights_begin_where_they_are_told_to():
    circuit = ansatz.qaoa(3, [(0, 1), (1, 2)], 2)
    model = qpr.Model(circuit, "Z0 Z1")
    named = QuantumLayer(model, {"beta": [3.0, 4.0], "gamma": np.array([1.0, 2.0])})
    assert named.weights.tolist() == [1.0, 2.0, 3.0, 4.0]  # in the order of the model's vectors
    assert QuantumLayer(model, torch.nn.init.ones_).weights.tolist() == [1.0] * 4
    assert torch.equal(QuantumLayer(model, rng=5).weights, QuantumLayer(model, rng=5).weights)
    state = torch.random.get_rng_state()
    assert not torch.equal(QuantumLayer(model, rng=5).weights, QuantumLayer(model, rng=6).weights)
    assert torch.equal(state, torch.random.get_rng_state())  # torch's own generator is left alone
    assert QuantumLayer(model)().shape == (1,)


def test_a_compiled_network_gives_what_the_plain_one_does():
    model = reuploading()
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), QuantumLayer(model), torch.nn.Linear(3, 1))
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's compiler about itself
        compiled = torch.compile(network, backend="eager")
        out = compiled(x)
        out.sum().backward()
    found = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    plain = network(x)
    plain.sum().backward()
    torch.testing.assert_close(out, plain)
    for a, p in zip(found, network.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad)


class Encoded(torch.utils.data.Dataset):
    """Samples that a frozen layer computes inside the worker."""

    def __init__(self, layer, x):
        self.layer, self.x = layer, x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        with torch.no_grad():
            return self.layer(self.x[i])


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_data_loader_workers_run_the_layer(start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {start}")
    model = reuploading()
    layer = QuantumLayer(model, dtype=torch.float64)
    x = torch.tensor(values_for(model, 6, 1)[1])
    expected = layer(x)  # the engine's threads exist before the fork
    loader = torch.utils.data.DataLoader(Encoded(layer, x), batch_size=3, num_workers=2, multiprocessing_context=start)
    found = torch.cat(list(loader))
    assert_close(found.numpy(), expected.detach().numpy(), 400)


def _replica(rank, model, x, target, folder):
    import torch.distributed as dist

    # A file and the loopback device: a port found free may be taken by another test before it is used here.
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    network = torch.nn.Sequential(QuantumLayer(model, rng=rank + 1, dtype=torch.float64))
    parallel = torch.nn.parallel.DistributedDataParallel(network)
    optimiser = torch.optim.SGD(parallel.parameters(), 0.1)
    mine = slice(rank * 2, rank * 2 + 2)
    for _ in range(3):
        optimiser.zero_grad()
        (parallel(x[mine]) - target[mine]).square().mean().backward()
        optimiser.step()
    np.save(folder / f"{rank}.npy", network[0].weights.detach().numpy())
    dist.barrier()
    os._exit(0)  # a group's end may wait, with the GIL, for a thread of its own that waits for the GIL


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names Linux's loopback device")
def test_data_parallel_training_on_two_processes_is_training_on_the_whole_batch(tmp_path):
    model = reuploading()
    x = torch.tensor(values_for(model, 4, 1)[1])
    target = torch.tensor(np.random.default_rng(3).normal(size=(4, 3)))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_replica, args=(r, model, x, target, tmp_path), daemon=True) for r in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=300)
        assert worker.exitcode == 0
    layer = QuantumLayer(model, rng=1, dtype=torch.float64)  # rank 0's weights are everybody's
    optimiser = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimiser.step()
    for rank in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"{rank}.npy"), layer.weights.detach().numpy(), atol=1e-12)


# -- shots ------------------------------------------------------------------------------------------------------------


def test_inputs_as_parameters_is_the_same_function():
    for name in ("inputs", "products_of_angles", "unused_parameters"):
        model = CASES[name].model
        theta, x = values_for(model, 3, 2)
        moved = trainable_inputs(model)
        both = np.concatenate([theta, x], axis=-1)
        assert_close(qpr.expectation(moved, both), qpr.expectation(model, theta, x), 400)


@pytest.mark.parametrize("method", [qpr.ParameterShift(shots=300), qpr.HadamardTest(shots=400), qpr.SPSA(shots=400)])
def test_estimated_gradients_scatter_around_the_exact_one(method):
    t, u = qpr.params("theta", 4), qpr.inputs("x", 2)
    circuit = qpr.Circuit(2).ry(u[0], 0).ry(u[1] * t[0], 1).cx(0, 1).rx(t[1], 0).rz(t[2], 1).ry(t[3] + u[1], 1)
    model = qpr.Model(circuit, ["Z0", "X0 Y1"])
    x = torch.tensor(values_for(model, 2, 1)[1])
    layer = QuantumLayer(model, rng=3, dtype=torch.float64, method=method)
    exact = QuantumLayer(model, layer.weights.detach(), dtype=torch.float64)
    weight = torch.tensor([1.0, -0.6])
    draws = 60
    found = torch.zeros(draws, model.n_params + x.numel())
    for row in found:
        inputs = x.clone().requires_grad_()
        layer.zero_grad()
        (layer(inputs) @ weight.double()).sum().backward()
        row[:] = torch.cat([layer.weights.grad, inputs.grad.ravel()])
    inputs = x.clone().requires_grad_()
    (exact(inputs) @ weight.double()).sum().backward()
    expected = torch.cat([exact.weights.grad, inputs.grad.ravel()])
    error = found.std(dim=0) / draws**0.5
    bias = 0.05 if not method.unbiased else 0.0
    assert ((found.mean(dim=0) - expected).abs() < 5 * error + bias + 1e-9).all()
    assert found.std(dim=0).max() > 0.01  # shots were drawn
    assert all(expected[part].abs().max() > 0.3 for part in (slice(4), slice(4, 8)))  # there is something to find
    assert layer.cost.measurements > 0 and int(layer.draws) == draws


@pytest.mark.parametrize("name", list(qpr.METHODS))
def test_every_method_serves_as_a_backward_pass_or_says_why_not(name):
    budget = {} if name == "adjoint" else {"shots": 400}
    t, u = qpr.params("theta", 3), qpr.inputs("x", 2)
    circuit = qpr.Circuit(2).ry(u[0], 0).ry(u[1] + t[0], 1).cx(0, 1).rx(t[1], 0).rz(t[2], 1)
    model = qpr.Model(circuit, ["Z0", "X0 Y1"])
    x = torch.tensor([[0.3, 0.7], [1.0, -0.4]], requires_grad=True)

    def step():
        layer = QuantumLayer(model, method=qpr.METHODS[name](**budget), rng=1)
        layer(x).square().sum().backward()
        return layer

    if name == "bell_sampling":
        with pytest.raises(qpr.QupropError, match=name):  # it is for circuits of another kind
            step()
        return
    layer = step()
    assert layer.weights.grad.shape == (3,) and x.grad.shape == (2, 2)
    if name != "quantum_backprop":  # with so few copies its checks find nothing, and it says 0
        assert layer.weights.grad.abs().max() > 0 and x.grad.abs().max() > 0
    assert (layer.cost.copies > 0) == (name not in ("adjoint", "shot_noise"))


def test_sampled_values_scatter_around_the_exact_ones():
    for name in ("inputs", "encoded_state", "several_observables", "identity_terms"):
        model = CASES[name].model
        theta, x = values_for(model, 2, 1)
        shots, draws = 50, 300
        x = x if model.n_inputs else None
        copies = [None if a is None else np.tile(a, (draws, 1, 1)) for a in (theta, x)]
        found = Estimated(model, forward_shots=shots).sampled_value(*copies, np.random.default_rng(7))
        exact = qpr.expectation(model, theta, x)
        error = found.std(axis=0) / draws**0.5
        assert (np.abs(found.mean(axis=0) - exact) < 5 * error + 1e-9).all()
        bound = [sum(abs(c) for p, c in o.items() if p.weight) ** 2 / shots for o in model.observables]
        assert (found.var(axis=0) <= np.array(bound) * 1.4 + 1e-12).all()


def test_a_value_of_one_pauli_string_has_the_variance_of_its_shots():
    model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    node = Estimated(model, forward_shots=100)
    found = node.sampled_value(np.full((4000, 1), 0.7), None, np.random.default_rng(1))
    assert found.var() == pytest.approx(np.sin(0.7) ** 2 / 100, rel=5 * (2 / 4000) ** 0.5)


def test_shots_depend_on_the_seed_and_on_how_many_were_drawn():
    model = reuploading()
    x = torch.tensor(values_for(model, 2, 1)[1])

    def make(seed):
        return QuantumLayer(model, np.zeros(model.n_params), rng=seed, forward_shots=20, dtype=torch.float64)

    a, b, c = make(1), make(1), make(2)
    first, second = a(x), a(x)
    assert torch.equal(first, b(x)) and not torch.equal(first, second) and not torch.equal(first, c(x))
    resumed = make(1)
    resumed.load_state_dict(b.state_dict())
    assert torch.equal(resumed(x), second)


def test_functional_transforms_of_a_layer_under_shots_draw_once_a_call_and_near_the_exact_gradient():
    model = reuploading()
    x = torch.tensor(values_for(model, 2, 1)[1])
    layer = QuantumLayer(model, rng=1, method=qpr.ParameterShift(shots=4000), forward_shots=10, dtype=torch.float64)
    weights = layer.weights.detach()

    def f(w, x):
        return torch.func.functional_call(layer, {"weights": w}, (x,)).sum()

    exact = [qpr.value_and_grad(model, weights.numpy(), a, weights=np.ones(3))[1] for a in x.numpy()]
    grad, vjp, vmap, jacrev = torch.func.grad, torch.func.vjp, torch.func.vmap, torch.func.jacrev
    found = [
        grad(f)(weights, x),
        vjp(f, weights, x)[1](torch.ones((), dtype=torch.float64))[0],
        jacrev(f)(weights, x),
        vmap(grad(f), (None, 0))(weights, x).sum(dim=0),
    ]
    for each in found:
        np.testing.assert_allclose(each.numpy(), np.sum(exact, axis=0), atol=0.2)
    assert int(layer.draws) == 4 and not torch.equal(found[0], found[1])
    twin = QuantumLayer(model, rng=1, method=layer.method, forward_shots=10, dtype=torch.float64)
    twin(x).sum().backward()
    assert torch.equal(twin.weights.grad, found[0])  # the first draw of this seed, however it is asked for


def test_what_shots_cannot_do_under_functional_transforms_is_one_sentence():
    model = reuploading()
    x = torch.tensor(values_for(model, 2, 1)[1])
    layers = [QuantumLayer(model, rng=i, forward_shots=10, dtype=torch.float64) for i in range(2)]
    call = torch.func.functional_call
    with pytest.raises(qpr.QupropError, match="serve reverse mode alone"):
        torch.func.jacfwd(lambda w: call(layers[0], {"weights": w}, (x,)))(layers[0].weights.detach())
    stacked = torch.func.stack_module_state(layers)
    with pytest.raises(qpr.QupropError, match="which vmap cannot stack"):
        torch.func.vmap(lambda *state: call(layers[0], state, (x,)))(*stacked)


def test_a_hybrid_network_trains_under_shot_noise():
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(12, 2)), dtype=torch.float32)
    labels = (x[:, 0] * x[:, 1] > 0).long()
    model = qpr.Model(ansatz.data_reuploading(2, 2, 2), ["Z0", "Z1"])
    generator = torch.Generator().manual_seed(0)
    front, head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    with torch.no_grad():
        for p in (*front.parameters(), *head.parameters()):
            p.copy_(torch.randn(p.shape, generator=generator))
    layer = QuantumLayer(model, rng=1, method=qpr.ParameterShift(shots=60), forward_shots=100)
    network = torch.nn.Sequential(front, layer, head)
    optimiser = torch.optim.Adam(network.parameters(), 0.1)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert front.weight.grad.abs().max() > 0
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


def test_an_estimate_is_not_differentiated_again():
    layer = QuantumLayer(reuploading(), method=qpr.ParameterShift(shots=10), dtype=torch.float64)
    x = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    with pytest.raises(qpr.QupropError, match="has no derivative; leave method= out"):
        slope.sum().backward()


@pytest.mark.parametrize("options", [{}, {"method": qpr.ParameterShift(shots=10)}, {"forward_shots": 10}])
def test_a_batch_of_no_samples_has_empty_results_and_zero_gradients(options):
    model = reuploading()
    layer = QuantumLayer(model, dtype=torch.float64, **options)
    x = torch.zeros(0, model.n_inputs, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    assert out.shape == (0, 3) and layer(x.detach().reshape(2, 0, 3)).shape == (2, 0, 3)
    out.square().sum().backward()
    assert x.grad.shape == x.shape and layer.weights.grad.shape == (model.n_params,)
    assert not torch.any(layer.weights.grad)


def test_derivatives_over_no_samples_are_empty_or_zero_in_every_mode():
    model = reuploading()
    theta, x = torch.linspace(0, 1, model.n_params, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.float64)

    def f(t):
        return expectation(model, t, x)

    modes = (torch.func.jacrev, torch.func.jacfwd)
    assert [mode(f)(theta).shape for mode in modes] == [(0, 3, model.n_params)] * 2
    for outer in modes:
        for inner in modes:
            assert not torch.any(outer(inner(lambda t: f(t).square().sum()))(theta))
    one = torch.func.grad(lambda t, s: expectation(model, t, s).sum(), argnums=(0, 1))
    assert [g.shape for g in one(theta, x)] == [(model.n_params,), (0, 3)]
    assert expectation(model, theta.repeat(0, 1), torch.ones(3).double()).shape == (0, 3)


# -- bad input --------------------------------------------------------------------------------------------------------


def test_bad_input_gets_one_sentence():
    model = reuploading()
    layer = QuantumLayer(model, dtype=torch.float64)
    P, D = model.n_params, model.n_inputs
    one = torch.ones(D, dtype=torch.float64)
    encoded = QuantumLayer(CASES["encoded_state"].model, method=qpr.ParameterShift(shots=10), dtype=torch.float64)
    cases = [
        (lambda: QuantumLayer(ansatz.data_reuploading(2, 1, 2)), "takes a quprop Model, whose outputs are expectation"),
        (lambda: QuantumLayer(model, np.ones(P - 1)), rf"weights must have shape \({P},\)"),
        (lambda: QuantumLayer(model, np.full(P, np.nan)), "weights must be finite"),
        (lambda: QuantumLayer(model, {"phi": [1.0]}), "weights must name the model's vectors"),
        (lambda: QuantumLayer(model, "uniform"), "real numbers, got str"),
        (lambda: QuantumLayer(model, dtype=torch.float16), "must be float32 or float64, got float16"),
        (lambda: QuantumLayer(model, dtype=torch.int64), "must be float32 or float64, got int64"),
        (lambda: QuantumLayer(model, rng=None), "rng is a seed"),
        (lambda: QuantumLayer(model, method="adjoint"), "method is a gradient method"),
        (lambda: QuantumLayer(model, forward_shots=0), "forward_shots is a whole number"),
        (lambda: QuantumLayer(model, precision="half"), 'precision is "double" or "single"'),
        (lambda: layer(), f"reads {D} inputs a sample; pass the input"),
        (lambda: layer(one[:2]), rf"the input must have shape \(..., {D}\), got \(2,\)"),
        (lambda: layer(torch.ones(2, P, dtype=torch.float64)), "a shape of weights; the layer holds its weights"),
        (lambda: layer(one.long()), "floating point, got int64"),
        (lambda: layer(one.float()), "is float32 and the layer's weights float64"),
        (lambda: layer(np.ones(D)), "must be a torch.Tensor, got ndarray"),
        (lambda: layer(one * float("nan")), "must be finite"),
        (lambda: layer(one.to("meta")), "meta device have no values"),
        (lambda: expectation(model, one, torch.ones(P, dtype=torch.float64)), "look exchanged"),
        (lambda: expectation(model, np.ones(P), one), "theta must be a torch.Tensor"),
        (
            lambda: expectation(model, torch.ones(2, P).double(), torch.ones(3, D).double()),
            "must be equal or broadcast",
        ),
        (lambda: QuantumLayer(CASES["ising"].model)(one.float()), "has no inputs; leave the input out"),
        (lambda: encoded(torch.ones(8).double().requires_grad_()).sum().backward(), "detach the inputs"),
    ]
    for call, words in cases:
        with pytest.raises(qpr.QupropError, match=words) as caught:
            call()
        text = str(caught.value)
        assert "\n" not in text and text.count(". ") == 0, text


def test_absence_of_pytorch_is_one_sentence(monkeypatch):
    for name in ("quprop.hybrid.torch", "quprop.hybrid.torch_graph"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(qpr.QupropError, match=r"needs PyTorch, which is not installed: pip install 'torch>="):
        importlib.import_module("quprop.hybrid.torch")
