"""Any torch module and loss: Hessian products, Taylor coefficients and what is refused, against differences of torch's
own first gradient, which needs none of the derivatives under test."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tolerances import assert_close

from quprop.errors import QupropError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from quprop.carleman import from_torch  # noqa: E402
from quprop.carleman.loop import Loop  # noqa: E402
from quprop.carleman.loop_report import analysis_report, training_report  # noqa: E402
from quprop.carleman.maps.smooth import crossed  # noqa: E402
from quprop.carleman.networks.data import Dataset, load  # noqa: E402
from quprop.carleman.networks.networks import Network, as_loss  # noqa: E402
from quprop.carleman.networks.plain import accuracy_at, descend  # noqa: E402
from quprop.carleman.networks.prune import global_mask, prune  # noqa: E402
from quprop.carleman.spectra.dissipation import analyse  # noqa: E402
from quprop.carleman.spectra.hessian import (  # noqa: E402
    check_derivatives,
    derivative,
    gradient_and_loss,
    hessian_matvec,
    split_batches,
)
from quprop.carleman.spectra.proxy import Descent  # noqa: E402
from quprop.carleman.spectra.spectrum import spectrum_of  # noqa: E402
from quprop.carleman.train import train  # noqa: E402

ENTROPY = nn.CrossEntropyLoss()


class Written(nn.Module):
    """Layers, and a forward pass written out."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.parts = nn.ModuleDict(layers)
        self.written = forward

    def forward(self, x):
        return self.written(x, **self.parts)


def attended(x, embed, attention, head, weights=False):
    x = embed(x)
    return head(attention(x, x, x, need_weights=weights)[0].mean(1))


def attention_net(weights):
    layers = {"embed": nn.Linear(3, 4), "attention": nn.MultiheadAttention(4, 2, batch_first=True)}
    return Written(lambda x, **p: attended(x, **p, weights=weights), **layers, head=nn.Linear(4, 3))


def products(x, embed, head):
    q, k, v = embed(x).chunk(3, -1)
    return head(F.scaled_dot_product_attention(q, k, v, is_causal=True).mean(1))


def encoder(**options):
    layer = nn.TransformerEncoderLayer(4, 2, 5, batch_first=True, **({"activation": "gelu"} | options))
    return Written(lambda x, a, b, c: c(b(a(x)).mean(1)), a=nn.Linear(3, 4), b=layer, c=nn.Linear(4, 3)).eval()


def token_net():
    layer = nn.TransformerEncoderLayer(4, 2, 5, batch_first=True, activation=F.silu, norm_first=True)
    return Written(lambda x, a, b, c: c(b(a(x)).mean(1)), a=nn.Embedding(7, 4), b=layer, c=nn.Linear(4, 3)).eval()


def dense(activation):
    return nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 3))


def frozen_averages():
    """Batch normalisation whose running averages are far from those of the samples."""
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.SiLU(), nn.Linear(4, 3))
    module[1].running_mean += torch.tensor([1.0, -0.5, 2.0, 0.3])
    module[1].running_var *= torch.tensor([4.0, 0.3, 2.0, 0.7])
    return module.eval()


def weight_normed(dim=0):
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4), dim=dim), nn.Mish(), nn.Linear(4, 3))


def partly_frozen():
    module = dense(nn.SiLU())
    module[0].bias.requires_grad_(False)
    module[2].weight.requires_grad_(False)
    return module


def own_loss(outputs, targets):
    """Not one of torch's: log cosh of the residuals."""
    return torch.log(torch.cosh(outputs - targets)).mean()


class Rms(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.RMSNorm(4), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x))))


# name: module, kind of inputs, loss
CASES = {
    "silu": (lambda: dense(nn.SiLU()), "vectors", ENTROPY),
    "mish": (lambda: dense(nn.Mish()), "vectors", ENTROPY),
    "attention": (lambda: attention_net(False), "sequences", ENTROPY),
    "attention with weights": (lambda: attention_net(True), "sequences", ENTROPY),
    "scaled products": (
        lambda: Written(products, embed=nn.Linear(3, 12), head=nn.Linear(4, 3)),
        "sequences",
        ENTROPY,
    ),
    "encoder layer": (encoder, "sequences", ENTROPY),
    "encoder layer, norm first": (lambda: encoder(norm_first=True, activation=F.silu), "sequences", ENTROPY),
    "embedded tokens": (token_net, "tokens", ENTROPY),
    "batch norm in evaluation": (frozen_averages, "vectors", ENTROPY),
    "weight norm": (weight_normed, "vectors", ENTROPY),
    "weight norm of the whole": (lambda: weight_normed(None), "vectors", ENTROPY),
    "rms norm": (Rms, "vectors", ENTROPY),
    "mean square": (lambda: dense(nn.SiLU()), "numbers", nn.MSELoss()),
    "huber": (lambda: dense(nn.Tanh()), "numbers", nn.HuberLoss(delta=0.7)),
    "smooth l1": (lambda: dense(nn.Tanh()), "numbers", nn.SmoothL1Loss(beta=0.5)),
    "own loss": (lambda: dense(nn.Softplus()), "numbers", own_loss),
    "frozen": (partly_frozen, "vectors", ENTROPY),
    "unused": (
        lambda: Written(lambda x, a, z: torch.tanh(a(x)), a=nn.Linear(3, 3), z=nn.Linear(3, 3)),
        "vectors",
        ENTROPY,
    ),
    "own layer": (lambda: Written(lambda x, a: torch.special.i0e(a(x)), a=nn.Linear(3, 3)), "vectors", ENTROPY),
}  # fmt: skip
N = 7


def case(name):
    make, kind, loss = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        module = make().double()
    return Network(name, module, loss), data_of(kind)


def data_of(kind, samples=N):
    draw = torch.Generator().manual_seed(1)
    x = {
        "vectors": lambda: torch.randn(samples, 3, generator=draw, dtype=torch.double),
        "numbers": lambda: torch.randn(samples, 3, generator=draw, dtype=torch.double),
        "sequences": lambda: torch.randn(samples, 5, 3, generator=draw, dtype=torch.double),
        "tokens": lambda: torch.randint(0, 7, (samples, 5), generator=draw),
    }[kind]()
    if kind == "numbers":
        return x, 1.5 * torch.randn(samples, 3, generator=draw, dtype=torch.double)
    return x, torch.randint(0, 3, (samples,), generator=draw)


def first_gradient(network, data):
    """theta -> grad of the mean loss by one backward pass of the module as the user wrote it, nothing of quprop."""
    trained = {k: p for k, p in network.module.named_parameters() if p.requires_grad}

    def gradient(theta):
        pieces = torch.tensor(theta).split([p.numel() for p in trained.values()])
        leaves = {k: a.reshape(p.shape).requires_grad_() for (k, p), a in zip(trained.items(), pieces, strict=True)}
        value = network.loss(torch.func.functional_call(network.module, leaves, (data[0],)), data[1])
        found = torch.autograd.grad(value, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return torch.cat([g.reshape(-1) for g in found]).numpy()

    return gradient


def differences(gradient, theta, u, order):
    """The k-th derivative of the gradient along u, by central differences with Richardson's extrapolation."""

    def at(h):
        ahead, behind = gradient(theta + h * u), gradient(theta - h * u)
        return (ahead - behind) / (2 * h) if order == 1 else (ahead - 2 * gradient(theta) + behind) / h**2

    h = 1e-3 if order == 1 else 4e-3
    return (4 * at(h / 2) - at(h)) / 3


@pytest.mark.parametrize("name", CASES)
def test_hessian_products_and_taylor_coefficients_are_differences_of_the_gradient(name):
    network, data = case(name)
    theta, gradient = network.parameters(), first_gradient(network, data)
    u = np.random.default_rng(0).normal(size=network.n_parameters)
    u /= np.linalg.norm(u)
    second, third = (differences(gradient, theta, u, k) for k in (1, 2))
    assert np.linalg.norm(second) > 1e-3 and np.linalg.norm(third) > 1e-3
    product = hessian_matvec(network, split_batches(*data, 3))
    assert np.allclose(product(u), second, rtol=0, atol=1e-6 * max(1, np.abs(second).max()))
    assert product.operator == "double-backward"
    contract = derivative(network, split_batches(*data, 3))
    assert np.allclose(contract([u, u]), third, rtol=0, atol=1e-4 * max(1, np.abs(third).max()))
    step = from_torch(network.module, network.loss, data, learning_rate=1.0)[0]
    series = step.series(np.stack([u, 0 * u, 0 * u]))
    assert_close(u - series[1], product(u), 1e4)
    assert_close(-2 * series[2], contract([u, u]), 1e4)
    assert_close(-series[0], gradient(theta), 1e4)
    nested = from_torch(network.module, network.loss, data, learning_rate=1.0, method="nested")[0]
    assert_close(nested.series(np.stack([u, 0 * u, 0 * u])), series, 1e6)
    check_derivatives(network, data)


@pytest.mark.parametrize("name", ["scaled products", "huber", "weight norm", "frozen"])
def test_the_whole_hessian_is_the_dense_one(name):
    """Against torch.func.hessian by two backward passes of elementary operations, column by column."""
    network, data = case(name)
    gradient, theta = first_gradient(network, data), network.parameters()
    dense_one = np.stack([differences(gradient, theta, e, 1) for e in np.eye(len(theta))])
    found = spectrum_of(hessian_matvec(network, [data]), len(theta), 0, steps=len(theta))
    assert np.allclose(found.exact, np.linalg.eigvalsh((dense_one + dense_one.T) / 2), atol=1e-5)
    assert found.to_json()["operator"] == "double-backward"


@pytest.mark.parametrize("name", CASES)
def test_central_differences_are_the_products_within_their_error(name):
    network, data = case(name)
    u = np.random.default_rng(2).normal(size=network.n_parameters)
    exact, found = (hessian_matvec(network, [data], operator=o)(u) for o in ("double-backward", "differences"))
    assert np.linalg.norm(found - exact) < 1e-3 * np.linalg.norm(exact)
    assert np.array_equal(hessian_matvec(network, [data], operator="differences")(0 * u), 0 * u)


class Once(torch.autograd.Function):
    """tanh with a first derivative only."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(torch.tanh(x))
        return torch.tanh(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        (y,) = ctx.saved_tensors
        return slope * (1 - y * y)


class Wrong(torch.autograd.Function):
    """tanh whose backward pass hides that it depends on x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(torch.tanh(x))
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, slope):
        (y,) = ctx.saved_tensors
        return slope * (1 - y * y).detach()


def own_activation(function):
    torch.manual_seed(0)
    layers = {"a": nn.Linear(3, 4), "b": nn.Linear(4, 3)}
    return Written(lambda x, a, b: b(function(a(x))), **layers).double()


def test_without_second_derivatives_differences_are_taken_and_said():
    data = data_of("vectors")
    once = Network("once", own_activation(Once.apply), ENTROPY)
    same = Network("tanh", own_activation(torch.tanh), ENTROPY)
    product = hessian_matvec(once, [data])
    u = np.random.default_rng(0).normal(size=once.n_parameters)
    assert np.allclose(product(u), hessian_matvec(same, [data])(u), rtol=1e-3, atol=1e-4)
    assert product.operator == "differences"
    found = analyse(once, [data], Descent(0.1), 0)
    assert found.gains is None and found.to_json()["spectrum"]["operator"] == "differences"
    for refused in (lambda: check_derivatives(once, data), lambda: train(once, set_of(), Loop(warm_up=5, blocks=1), 0)):
        with pytest.raises(QupropError, match="second derivatives of 'once' are not differences of its first"):
            refused()


def test_a_wrong_derivative_of_the_users_own_is_found_by_differences():
    wrong = Network("wrong", own_activation(Wrong.apply), ENTROPY)
    with pytest.raises(QupropError, match="second derivatives of 'wrong' are not differences of its first"):
        check_derivatives(wrong, data_of("vectors"))
    product = hessian_matvec(wrong, [data_of("vectors")])
    product(np.ones(wrong.n_parameters))
    assert product.operator == "differences"


# Frozen and unused parameters


def test_frozen_parameters_are_constants_and_unused_ones_have_no_gradient():
    network, data = case("frozen")
    module = network.module
    assert network.n_parameters == module[0].weight.numel() + module[2].bias.numel() == len(network.parameters())
    before = module[0].bias.clone(), module[2].weight.clone()
    theta = descend(network, network.parameters(), [data], 3, 0.5)
    assert torch.equal(module[0].bias, before[0]) and torch.equal(module[2].weight, before[1])
    run = from_torch(case("frozen")[0].module, ENTROPY, data, learning_rate=0.5)
    assert_close(run[0].at + list(run.trajectory(np.zeros(run.dimension), 3))[-1], theta, 100)
    mask = global_mask(module, 0.5)
    assert len(mask.kept) == network.n_parameters and list(mask.layers) == ["0.weight"] and mask.prunable == 12
    assert mask.n_kept == network.n_parameters - 6
    unused, data = case("unused")
    gradient, _ = gradient_and_loss(unused, [data])
    assert np.array_equal(gradient[12:], np.zeros(12)) and np.linalg.norm(gradient[:12]) > 0.1
    theta_of_unused = unused.parameters()
    moved = descend(replace(unused, weight_decay=0.1), unused.parameters(), [data], 1, 0.5)
    assert_close(moved[12:], 0.95 * theta_of_unused[12:], 10)


def test_weight_normalised_layers_are_pruned_by_their_weights():
    network, _ = case("weight norm")
    with torch.no_grad():
        network.module[0].parametrizations.weight.original0 *= torch.tensor([[9.0], [0.6], [1.0], [1.0]])
    sizes = network.module[0].weight.detach().abs().flatten().numpy()
    directions = network.module[0].parametrizations.weight.original1.detach().abs().flatten().numpy()
    assert set(np.argsort(sizes)[:3]) != set(np.argsort(directions)[:3])
    mask = prune(network.module, 0.25)
    assert np.count_nonzero(mask.kept[mask.layers["0.parametrizations.weight.original1"]]) == 9
    after = network.module[0].weight.detach().flatten().numpy()
    assert np.array_equal(np.flatnonzero(after == 0), np.sort(np.argsort(sizes)[:3]))


def test_a_weight_norm_of_nothing_is_refused():
    with pytest.raises(QupropError, match="whose weight normalisation is 0/0"):
        prune(case("weight norm")[0].module, 0.9)


def test_a_network_without_layers_to_prune_is_left_whole_at_ratio_0():
    mask = global_mask(nn.LayerNorm(3), 0.0)
    assert mask.kept.all() and mask.sparsity == 0 and mask.report() == {}


# Operators of other libraries


def symmetric(n=12):
    a = np.random.default_rng(0).normal(size=(n, n))
    return a + a.T


class Eigenthings:
    """The interface of hessian-eigenthings' CurvatureOperator: size, device, dtype, matvec and a call."""

    size, device, dtype = 12, torch.device("cpu"), torch.float64

    def matvec(self, v):
        assert isinstance(v, torch.Tensor) and v.shape == (self.size,)
        return torch.tensor(symmetric()) @ v

    __call__ = matvec


class Applied:
    """An operator with apply and shape, of NumPy vectors."""

    shape = (12, 12)

    def apply(self, v):
        return symmetric() @ v


def sparse_one():
    from scipy.sparse.linalg import aslinearoperator

    return aslinearoperator(symmetric())


@pytest.mark.parametrize("make", [symmetric, sparse_one, Eigenthings, Applied, lambda: torch.tensor(symmetric())])
def test_an_operator_of_any_library_is_taken_as_it_is(make):
    assert np.allclose(spectrum_of(make(), None, 0).exact, np.linalg.eigvalsh(symmetric()), atol=1e-12)
    assert spectrum_of(make(), 12, 0).dimension == 12


@pytest.mark.parametrize("kind", ["HessianLinearOperator", "GGNLinearOperator"])
def test_curvlinops_operators_are_taken_as_they_are(kind):
    curvlinops = pytest.importorskip("curvlinops")
    torch.manual_seed(0)
    module, data = dense(nn.Tanh()).double(), data_of("vectors")
    made = getattr(curvlinops, kind)(module, ENTROPY, list(module.parameters()), [data])
    matrix = (made @ torch.eye(made.shape[0], dtype=torch.double)).numpy()
    assert np.allclose(spectrum_of(made, None, 0).exact, np.linalg.eigvalsh((matrix + matrix.T) / 2), atol=1e-12)


@pytest.mark.parametrize(
    "operator, dimension, words",
    [
        (np.ones((3, 4)), None, r"\(n, n\) was expected, got shape \(3, 4\)"),
        (np.triu(np.ones((9, 9))), None, "not symmetric"),
        (np.eye(3), 4, "vectors of 3 entries, dimension is given as 4"),
        (lambda v: v, None, "a function with its dimension"),
        ("H", 3, "got str"),
    ],
)
def test_what_is_no_symmetric_operator_is_refused(operator, dimension, words):
    with pytest.raises(QupropError, match=words):
        spectrum_of(operator, dimension, 0)


# What is refused before work, however the network was made


def functional(function):
    return Written(lambda x, a, b: b(function(a(x))), a=nn.Linear(3, 4), b=nn.Linear(4, 3)).double()


def hinge(outputs, y):
    return torch.relu(1 - outputs[:, 0] * (2.0 * (y > 0) - 1)).mean()


def absolute(outputs, y):
    return (outputs - y[:, None]).abs().mean()


def branched(outputs, y):
    r = outputs - y[:, None]
    return torch.where(r > 0, r * r, 2 * r * r).mean()


def tailed(outputs, y):
    """The mean of the worst half."""
    return F.cross_entropy(outputs, y, reduction="none").topk(len(y) // 2).values.mean()


REFUSED_EVERYWHERE = {
    "dropout": (lambda: dense(nn.Dropout(0.5)), ENTROPY, "draws anew at every step"),
    "dropout as a function": (lambda: functional(lambda x: F.dropout(x, 0.5)), ENTROPY, "differs from one call to the"),
    "noise": (lambda: functional(lambda x: x + torch.randn_like(x)), ENTROPY, "differs from one call to the next"),
    "batch norm": (lambda: dense(nn.BatchNorm1d(4)), ENTROPY, "samples mix"),
    "batch statistics": (lambda: functional(lambda x: x - x.mean(0)), ENTROPY, "no mean over samples"),
    "sum": (lambda: dense(nn.Tanh()), nn.CrossEntropyLoss(reduction="sum"), "must be a mean over samples"),
    "own sum": (lambda: dense(nn.Tanh()), lambda o, y: F.cross_entropy(o, y, reduction="sum"), "no mean over samples"),
    "class weights": (
        lambda: dense(nn.Tanh()),
        lambda o, y: F.cross_entropy(o, y, torch.tensor([9.0, 1.0, 0.1], dtype=o.dtype)),
        "no mean over samples",
    ),
    "root": (lambda: dense(nn.Tanh()), lambda o, y: F.cross_entropy(o, y).sqrt(), "no mean over samples"),
    "hinge": (lambda: dense(nn.Tanh()), hinge, "the loss computes relu, which has a kink"),
    "margin": (lambda: dense(nn.Tanh()), nn.MultiMarginLoss(), "the loss computes multi_margin_loss"),
    "absolute": (lambda: dense(nn.Tanh()), absolute, "the loss computes abs"),
    "l1 norm": (
        lambda: dense(nn.Tanh()),
        lambda o, y: torch.linalg.vector_norm(o - y[:, None], 1) / len(y),
        "the loss computes linalg_vector_norm",
    ),
    "branches": (lambda: dense(nn.Tanh()), branched, "the loss computes gt"),
    "tail": (lambda: dense(nn.Tanh()), tailed, "the loss computes topk"),
    "no reduction": (lambda: dense(nn.Tanh()), lambda o, y: F.cross_entropy(o, y, reduction="none"), "be a scalar"),
    "constant": (lambda: dense(nn.Tanh()), lambda o, y: o.detach().square().mean(), "does not depend on the param"),
    "shapes": (lambda: dense(nn.Tanh()), nn.MSELoss(), "the loss fails on outputs of shape"),
    "nothing trained": (lambda: dense(nn.Tanh()).requires_grad_(False), ENTROPY, "no parameters|has none that are"),
}  # fmt: skip
REFUSED_BY_TRAIN = {
    "relu": (lambda: dense(nn.ReLU()), ENTROPY, "'1' is ReLU, whose kink no Taylor series sees"),
    "relu as a function": (lambda: functional(F.relu), ENTROPY, "the network computes relu"),
    "max-pooling": (lambda: functional(lambda x: F.max_pool1d(x[:, None], 3, 1, 1)[:, 0]), ENTROPY, "max_pool"),
    "hard tanh": (lambda: functional(F.hardtanh), ENTROPY, "computes hardtanh"),
    "encoder with relu": (lambda: functional(lambda x: F.leaky_relu(x)), ENTROPY, "computes leaky_relu"),
}  # fmt: skip


def set_of(samples=30):
    x, y = data_of("vectors", samples)
    return Dataset("here", x.numpy(), y.numpy(), x.numpy(), y.numpy(), 3)


def made(make, loss):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Network("built directly", make().double(), loss)


@pytest.mark.parametrize("name", REFUSED_EVERYWHERE | REFUSED_BY_TRAIN)
def test_what_has_no_series_is_refused_before_work(name, monkeypatch):
    """By train and from_torch, and (but for kinks of the network) by analyse: before the first step."""
    import quprop.carleman.loop_report as reports

    network = made(*(REFUSED_EVERYWHERE | REFUSED_BY_TRAIN)[name][:2])
    words = (REFUSED_EVERYWHERE | REFUSED_BY_TRAIN)[name][2]
    before = [p.clone() for p in network.module.state_dict().values()]
    with pytest.raises(QupropError, match=words):
        train(network, set_of(), Loop(warm_up=5, blocks=1), 0)
    if name not in ("batch statistics", "class weights", "root"):
        with pytest.raises(QupropError, match=words):
            from_torch(network.module, network.loss, set_of().train(), learning_rate=0.1)
    with pytest.raises(QupropError, match=words):
        from_torch(network.module, network.loss, set_of().train(), learning_rate=0.1, micro_batch=7)
    if name in REFUSED_EVERYWHERE:
        monkeypatch.setattr(reports, "descend", None)
        with pytest.raises(QupropError, match=words):
            analysis_report(network, set_of(), 0, warm_up=5, sparsity=0.0)
        with pytest.raises(QupropError, match=words):
            analyse(network, [set_of().train()], Descent(0.1), 0)
    after = network.module.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_whole_batch_may_be_normalised_by_its_own_statistics():
    """from_torch takes the batch as it is; a class-weighted mean is a mean of the batch too."""
    network = made(*REFUSED_EVERYWHERE["class weights"][:2])
    step = from_torch(network.module, network.loss, set_of().train(), learning_rate=1.0)[0]
    gradient = first_gradient(network, set_of().train())
    u = np.random.default_rng(0).normal(size=step.dimension)
    found = u - step.series(np.stack([u]))[1]
    assert np.allclose(found, differences(gradient, network.parameters(), u / 9, 1) * 9, atol=1e-5)


@pytest.mark.parametrize("function", [lambda x: F.normalize(x, dim=1), lambda x: x / x.norm(dim=1, keepdim=True)])
def test_a_bound_under_a_division_is_no_kink(function):
    network = Network("normalised", functional(function), ENTROPY)
    gradient, data = first_gradient(network, set_of().train()), set_of().train()
    u = np.random.default_rng(0).normal(size=network.n_parameters)
    u /= np.linalg.norm(u)
    series = from_torch(network.module, network.loss, data, learning_rate=1.0)[0].series(np.stack([u, 0 * u]))
    assert np.allclose(-2 * series[2], differences(gradient, network.parameters(), u, 2), atol=1e-4)


def test_kinks_on_data_and_on_detached_numbers_are_none():
    module = functional(torch.tanh)
    module.written, inner = (lambda x, a, b: inner(x.clamp(min=0).abs(), a, b)), module.written
    from_torch(module, lambda o, y: F.cross_entropy(o, y.clamp(max=2)), set_of().train(), learning_rate=0.1)


# Networks with kinks have spectra


@pytest.mark.parametrize("name", [n for n in REFUSED_BY_TRAIN if n != "hard tanh"])
def test_a_network_with_kinks_has_a_spectrum_and_no_verdict_on_truncation(name):
    network = made(*REFUSED_BY_TRAIN[name][:2])
    data = set_of()
    gradient, theta = first_gradient(network, data.train()), network.parameters()
    h = 1e-6  # below the distance to the next kink
    columns = [(gradient(theta + h * e) - gradient(theta - h * e)) / (2 * h) for e in np.eye(len(theta))]
    report = analysis_report(network, data, 0, sparsity=0.0)
    eigenvalues = np.linalg.eigvalsh(np.stack(columns))
    assert np.allclose(sorted(report["spectrum"]["nodes"]), eigenvalues, atol=1e-6)
    assert report["kinks"] and report["bound"] is None and "no expansion sees" in report["verdict"]
    assert report["kinks"][0] in report["verdict"] and not report["radius"]["exists"]


# Huber's two branches


def test_residuals_that_cross_the_kink_of_a_loss_are_counted():
    module = nn.Linear(1, 1, bias=False).double()
    x, y = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.double), torch.zeros(3, 1, dtype=torch.double)
    for loss in (nn.HuberLoss(delta=1.5), nn.SmoothL1Loss(beta=1.5)):
        network = Network("line", module, loss)
        assert crossed(network, np.array([0.5]), np.array([0.7]), (x, y)) == 0
        assert crossed(network, np.array([0.5]), np.array([0.9]), (x, y)) == 1  # 2 * 0.9 > 1.5
        assert crossed(network, np.array([0.5]), np.array([-1.6]), (x, y)) == 3
    assert crossed(Network("line", module, nn.MSELoss()), np.array([0.5]), np.array([9.0]), (x, y)) == 0


def regression(samples=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 3))
    y = (np.sin(x[:, :1]) + 0.5 * x[:, 1:2]) * np.array([[1.0, 0.5, -1.0]])
    return Dataset("waves", x[:40], y[:40], x[40:], y[40:], 0)


@pytest.mark.parametrize("delta, warned", [(100.0, False), (0.3, True)])
def test_a_block_says_how_many_residuals_cross_the_kink(delta, warned):
    network = made(lambda: dense(nn.Tanh()), nn.HuberLoss(delta=delta))
    result = train(network, regression(), Loop(learning_rate=0.3, warm_up=0, blocks=1, block_length=8, sparsity=0.0), 0)
    assert any("residuals cross the kink of the loss" in text for text in result.warnings) is warned


# Regression


def test_regression_is_judged_by_r_squared_and_its_mean_squared_error():
    data, network = regression(), made(lambda: dense(nn.Tanh()), nn.MSELoss())
    result = train(network, data, Loop(learning_rate=0.3, warm_up=100, blocks=2, block_length=5, sparsity=0.2), 0)
    report = training_report(result, data)
    from sklearn.metrics import mean_squared_error, r2_score

    network.set_parameters(result.theta)
    with torch.no_grad():
        found = network.module(data.test()[0]).numpy()
    # of several outputs: all squares together, which is sklearn's average weighted by variance
    expected = r2_score(data.y_test, found, multioutput="variance_weighted")
    assert report["r_squared"] == pytest.approx(expected, abs=1e-12) and report["metric"] == "r_squared"
    assert report["mean_squared_error"] == pytest.approx(mean_squared_error(data.y_test, found), rel=1e-10)
    assert 0.5 < report["r_squared"] < 1 and not any("accuracy" in key for key in [*report, *report["blocks"][0]])
    classes = load("iris")
    trained = train(
        made(lambda: nn.Linear(4, 3), ENTROPY), classes, Loop(warm_up=5, blocks=1, block_length=2, sparsity=0.0), 0
    )
    assert training_report(trained, classes)["metric"] == "accuracy"


@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_logit_tells_two_classes(shape):
    module = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0) if not shape else nn.Identity()).double()
    network = Network("logit", module, lambda o, y: F.binary_cross_entropy_with_logits(o.reshape(-1), y.double()))
    data = (torch.tensor([[1.0], [2.0], [-1.0], [-3.0]], dtype=torch.double), torch.tensor([1, 1, 0, 1]))
    assert accuracy_at(network, np.array([2.0]), data) == 0.75
    assert accuracy_at(network, np.array([-2.0]), data) == 0.25


def test_r_squared_of_what_diverged_is_no_number():
    network, data = made(lambda: dense(nn.Tanh()), nn.MSELoss()), regression().test()
    assert math.isnan(accuracy_at(network, np.full(network.n_parameters, np.nan), data))
    assert math.isnan(accuracy_at(network, network.parameters(), (data[0], torch.ones_like(data[1]))))


# Every case through both commands


@pytest.mark.parametrize("name", [n for n in CASES if n != "own layer"])
def test_every_network_is_analysed_and_trained(name):
    kind = CASES[name][1]
    x, y = (a.numpy() for a in data_of(kind, 24))
    data = Dataset(name, x, y, x, y, 0 if kind == "numbers" else 3)
    network, _ = case(name)
    network = replace(network, loss=as_loss(network.loss))
    start = network.parameters()
    report = analysis_report(network, data, 0, sparsity=0.0, order=1, lanczos_steps=6, probes=1)
    assert report["parameters"] == network.n_parameters == report["kept"] and not report["kinks"]
    assert report["spectrum"]["operator"] == "double-backward" and np.isfinite(report["spectrum"]["nodes"]).all()
    network.set_parameters(start)
    gradient, settings = first_gradient(network, data.train()), {"blocks": 1, "block_length": 2, "sparsity": 0.0}
    result = train(network, data, Loop(learning_rate=1e-3, order=2, warm_up=2, lanczos_steps=4, **settings), 0)
    block = result.blocks[0]
    allowed = 1e-4 + 1.01 * (block.run.solver_error or 0.0)
    assert block.update_error < allowed < 2e-3 and result.diverged is None
    by_hand = start.copy()
    for _ in range(4):
        by_hand -= 1e-3 * gradient(by_hand)
    assert np.linalg.norm(result.theta - by_hand) < allowed * np.linalg.norm(start - by_hand)


def test_momentum_and_weight_decay_of_an_analysis_are_those_asked_for():
    network, data = made(lambda: dense(nn.Tanh()), ENTROPY), set_of()
    plain, both = (
        analysis_report(network, data, 0, sparsity=0.0, learning_rate=0.2, **more)
        for more in ({}, {"momentum": 0.8, "weight_decay": 0.3})
    )
    values = np.array(plain["spectrum"]["nodes"])
    assert_close(np.array(both["spectrum"]["nodes"]), values + 0.3, 1e4)
    roots = [np.abs(np.roots([1, -(1 + 0.8 - 0.2 * (v + 0.3)), 0.8])) for v in values]
    assert both["growth"] == pytest.approx(np.max(roots), rel=1e-12) and both["momentum"] == 0.8
    assert network.weight_decay == 0
    with pytest.raises(QupropError, match="weight_decay is finite and at least 0"):
        analysis_report(network, data, 0, weight_decay=-1.0)


@pytest.mark.parametrize("function", [Once.apply, Wrong.apply])
def test_an_analysis_without_second_derivatives_says_what_it_took(function):
    report = analysis_report(Network("own", own_activation(function), ENTROPY), set_of(), 0, sparsity=0.0)
    same = analysis_report(Network("tanh", own_activation(torch.tanh), ENTROPY), set_of(), 0, sparsity=0.0)
    assert report["spectrum"]["operator"] == "differences" and "central differences" in report["verdict"]
    assert np.allclose(report["spectrum"]["nodes"], same["spectrum"]["nodes"], atol=1e-4)
    assert report["bound"] is None and "not written, or not right" in report["radius"]["why"]


def test_outputs_that_only_the_loss_understands_have_no_metric():
    """A mean and a variance for one number, by torch's Gaussian likelihood."""

    def likelihood(outputs, y):
        return F.gaussian_nll_loss(outputs[:, :1], y, torch.exp(outputs[:, 1:2]))

    whole = regression()
    data = replace(whole, y_train=whole.y_train[:, :1], y_test=whole.y_test[:, :1])
    network = made(lambda: dense(nn.Tanh()), likelihood)
    settings = Loop(learning_rate=0.05, warm_up=2, blocks=1, block_length=2, sparsity=0.0)
    report = training_report(train(network, data, settings, 0), data)
    assert math.isnan(report["r_squared"]) and report["blocks"][0]["r_squared"] is None
    assert report["blocks"][0]["loss"] < report["blocks"][0]["loss_before"]
    from quprop.carleman.figure import draw_training

    assert draw_training(report).startswith(b"\x89PNG")
