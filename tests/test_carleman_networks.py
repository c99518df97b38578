"""Classical networks and their pruning: parameter counts, degrees, smoothness, masks, and what is refused."""

import sys

import numpy as np
import pytest

from quprop.errors import QupropError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from quprop.carleman.maps.smooth import check_smooth  # noqa: E402
from quprop.carleman.networks import modules, networks  # noqa: E402
from quprop.carleman.networks.prune import global_mask, prune, sparsity_of  # noqa: E402
from quprop.carleman.spectra.hessian import OPERATORS, check_derivatives, hessian_matvec  # noqa: E402

SHAPE, CLASSES = (1, 8, 8), 10
SETTINGS = {
    "logistic": {},
    "deep-linear": {"layers": 3, "width": 5},
    "quadratic": {"width": 4},
    "mlp": {"hidden": (6, 5), "activation": "gelu"},
    "resnet": {"depth": 8, "widen": 1},
}


def make(name, **more):
    return networks.make(name, SHAPE, CLASSES, seed=3, **(SETTINGS[name] | more))


@pytest.mark.parametrize("activation, norm", [("silu", "group"), ("relu", "batch")])
@pytest.mark.parametrize("depth, parameters", [(32, 7_451_044), (422, 103_338_916)])
def test_residual_networks_have_the_parameters_of_the_authors_figures(depth, parameters, activation, norm):
    with torch.device("meta"):  # shapes without memory
        built = networks.resnet((3, 32, 32), 100, depth=depth, widen=4, activation=activation, norm=norm)
    assert sum(p.numel() for p in built["module"].parameters()) == parameters


@pytest.mark.parametrize("change", [{"widen": 3}, {"bottleneck": True}])
def test_another_residual_network_has_another_count(change):
    with torch.device("meta"):
        built = networks.resnet((3, 32, 32), 100, **({"depth": 32, "widen": 4} | change))
    assert sum(p.numel() for p in built["module"].parameters()) != 7_451_044


@pytest.mark.parametrize("name", SETTINGS)
def test_parameters_survive_a_round_trip_and_the_seed_decides_them(name):
    one, two, other = make(name), make(name), networks.make(name, SHAPE, CLASSES, seed=4, **SETTINGS[name])
    assert np.array_equal(one.parameters(), two.parameters())
    assert not np.array_equal(one.parameters(), other.parameters())
    one.set_parameters(other.parameters())
    x = torch.randn(2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one.module(x), other.module(x))


def test_making_a_network_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    make("mlp")
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ["deep-linear", "quadratic"])
def test_polynomial_networks_have_the_degree_they_state(name):
    """Finite differences of order degree + 1 along a line of parameters vanish, those of order degree do not."""
    network = make(name)
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.normal(size=(4, *SHAPE)) / 4)
    y = torch.as_tensor(rng.integers(10, size=4))
    start, along = network.parameters(), rng.normal(size=network.n_parameters)
    values = []
    for s in np.linspace(-1, 1, network.degree + 2):
        network.set_parameters(start + s * along)
        values.append(float(network.loss(network.module(x), y).detach()))
    scale = np.max(np.abs(values))
    assert abs(np.diff(values, network.degree + 1)[0]) < 1e-11 * scale * 2**network.degree
    assert np.max(np.abs(np.diff(values, network.degree))) > 1e-6 * scale


def test_square_loss_is_half_the_squared_distance():
    rng = np.random.default_rng(0)
    outputs, classes = rng.normal(size=(5, 3)), rng.integers(3, size=5)
    loss = modules.SquareLoss()(torch.as_tensor(outputs), torch.as_tensor(classes))
    assert float(loss) == pytest.approx(0.5 * np.sum((outputs - np.eye(3)[classes]) ** 2) / 5, rel=1e-14)


@pytest.mark.parametrize("name", ["silu", "gelu", "softplus"])
def test_activations_and_norm_are_those_of_torch(name):
    x = torch.linspace(-30, 30, 512, dtype=torch.float64).reshape(2, 16, 4, 4)
    theirs = {"silu": torch.nn.SiLU, "gelu": torch.nn.GELU, "softplus": torch.nn.Softplus}[name]()
    assert torch.allclose(modules.ACTIVATIONS[name]()(x), theirs(x), rtol=0, atol=1e-8)  # theirs is linear past 20
    ours = modules.GroupNorm(8, 16).double()
    assert torch.allclose(ours(x), torch.nn.GroupNorm.forward(ours, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
def test_named_networks_have_derivatives_forward_over_reverse(name):
    x = torch.randn(2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    check_derivatives(make(name), (x, torch.tensor([1, 2])))


@pytest.mark.parametrize("activation", [a for a in modules.ACTIVATIONS if a != "relu"])
def test_every_activation_has_hessian_products_in_both_modes(activation):
    pytest.importorskip("curvlinops")
    network = make("mlp", activation=activation)
    x = torch.randn(2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = np.random.default_rng(0).normal(size=network.n_parameters)
    one, two = (hessian_matvec(network, [(x, torch.tensor([1, 2]))], operator=o)(v) for o in OPERATORS[1:3])
    assert np.allclose(one, two, atol=1e-12) and np.linalg.norm(one) > 0.1


class Functional(torch.nn.Module):
    """A kink that no layer's type shows."""

    def __init__(self, function):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)
        self.function = function

    def forward(self, x):
        return self.function(self.inner(x))


@pytest.mark.parametrize(
    "layer, kind, mend",
    [
        (torch.nn.ReLU(), "ReLU", "SiLU or Softplus"),
        (torch.nn.MaxPool2d(2), "MaxPool2d", "AvgPool2d"),
        (torch.nn.ELU(), "ELU", "Softplus"),
        (torch.nn.Hardtanh(), "Hardtanh", "Tanh"),
        (torch.nn.BatchNorm2d(3), "BatchNorm2d", "GroupNorm"),
        (torch.nn.Dropout(0.5), "Dropout", "eval"),
    ],
)
def test_a_kinked_layer_is_named_with_its_place_and_its_replacement(layer, kind, mend):
    with pytest.raises(QupropError, match=rf"layer '0\.1' is {kind}.*{mend}"):
        check_smooth(torch.nn.Sequential(torch.nn.Sequential(torch.nn.Identity(), layer)))


@pytest.mark.parametrize(
    "function, operation",
    [
        (torch.relu, "relu"),
        (lambda x: x.clamp(min=0), "clamp"),
        (lambda x: torch.maximum(x, -x), "maximum"),
        (lambda x: x.abs(), "abs"),
        (lambda x: torch.nn.functional.leaky_relu(x), "leaky_relu"),
        (lambda x: x.max(dim=1).values, "max"),
    ],
)
def test_a_kink_written_as_a_function_is_found(function, operation):
    module = Functional(function)
    with pytest.raises(QupropError, match=rf"computes {operation}.*use "):
        check_smooth(module, torch.ones(2, 4))
    check_smooth(module, torch.ones(2, 4), allow=(operation,))


def test_smooth_modules_and_frozen_averages_pass():
    check_smooth(Functional(lambda x: torch.softmax(torch.tanh(x), 1)), torch.ones(2, 4))
    check_smooth(torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout()).eval(), torch.ones(2, 4))


def test_a_kinked_network_is_refused_unless_only_counted():
    with pytest.raises(QupropError, match=r"'features\.2' is ReLU"):
        make("resnet", activation="relu")
    assert make("resnet", activation="relu", smooth=False).n_parameters == make("resnet").n_parameters


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: networks.make("mpl", SHAPE, 10, seed=0), "did you mean 'mlp'"),
        (lambda: make("mlp", activation="tahn"), "did you mean 'tanh'"),
        (lambda: make("mlp", hiden=(3,)), "did you mean 'hidden'"),
        (lambda: make("mlp", hidden=()), "at least one width"),
        (lambda: make("mlp", hidden=(3, 0)), r"hidden\[1\] must be a whole number from 1, got 0"),
        (lambda: make("resnet", depth=9), "the next is 14"),
        (lambda: make("resnet", norm="layer"), "unknown normalisation"),
        (lambda: networks.make("resnet", (64,), 10, seed=0), "takes images"),
        (lambda: make("mlp", precision="half"), "'double' or 'single'"),
        (lambda: make("mlp").set_parameters(np.zeros(3)), r"must have shape \(n_parameters,\)"),
        (lambda: networks.as_loss("cros-entropy"), "did you mean 'cross-entropy'"),
        (lambda: networks.as_loss(torch.nn.MSELoss(reduction="sum")), "mean over samples"),
        (lambda: networks.make("no_such_file:net", SHAPE, 10, seed=0), "could not be imported"),
        (lambda: networks.make("user_net_quprop:nte", SHAPE, 10, seed=0), "did you mean 'net'"),
        (lambda: networks.make("user_net_quprop:nothing", SHAPE, 10, seed=0), "must return a torch.nn.Module"),
        (lambda: networks.make("user_net_quprop:narrow", SHAPE, 10, seed=0), "the network fails on inputs of shape"),
        (lambda: networks.make("user_net_quprop:still", SHAPE, 10, seed=0), "no parameters"),
    ],
)
def test_bad_networks_get_one_sentence(user_file, call, message):
    with pytest.raises(QupropError, match=message):
        call()


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    (tmp_path / "user_net_quprop.py").write_text(
        "from torch import nn\n"
        "def net(input_shape, classes, width=3):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, classes))\n"
        "def pair():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), lambda out, y: (out ** 2).mean()\n"
        "def nothing():\n    return 3\n"
        "def still():\n    return nn.Flatten()\n"
        "def narrow():\n    return nn.Linear(9, 1)\n"
    )
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("user_net_quprop", None)


def test_a_users_module_is_found_where_the_command_runs(user_file):
    network = networks.make("user_net_quprop:net", SHAPE, CLASSES, seed=0, width=7)
    assert network.n_parameters == 65 * 7 + 8 * 10
    pair = networks.make("user_net_quprop:pair", SHAPE, CLASSES, seed=0)
    outputs = torch.full((2, 10), 3.0)
    assert float(pair.loss(outputs, None)) == 9.0


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_global_pruning_is_that_of_torch(name, ratio):
    from torch.nn.utils import prune as theirs

    ours, witness = make(name), make(name)
    mask = prune(ours.module, ratio)
    layers = [m for m in witness.module.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)][:-1]
    if ratio:
        theirs.global_unstructured([(m, "weight") for m in layers], theirs.L1Unstructured, amount=ratio)
        for m in layers:
            theirs.remove(m, "weight")
    a = dict(ours.module.named_parameters())
    assert all(torch.equal(a[k], p) for k, p in witness.module.named_parameters())
    assert abs(mask.sparsity - ratio) <= 1 / mask.prunable
    report = mask.report()
    assert sum(r["kept"] for r in report.values()) + len(mask.kept) - mask.prunable == mask.n_kept
    assert sparsity_of(ours.module) >= 1 - mask.density - 1e-15


def test_pruning_again_after_steps_restores_the_sparsity_and_reports_the_move():
    network = make("mlp")
    first = prune(network.module, 0.8)
    theta = network.parameters()
    network.set_parameters(theta + np.random.default_rng(0).normal(size=len(theta)) * np.abs(theta).mean())
    assert sparsity_of(network.module) == 0
    second = prune(network.module, 0.8)
    assert second.n_kept == first.n_kept
    assert 0 < second.overlap(first) < 1 and first.overlap(first) == 1
    assert np.array_equal(network.parameters() != 0, second.kept & (network.parameters() != 0))


@pytest.mark.parametrize("mode", ["rewind", "scratch"])
def test_lottery_tickets_begin_again_with_the_mask_of_the_end(mode):
    network, initial = make("mlp"), networks.make("mlp", SHAPE, CLASSES, seed=9, **SETTINGS["mlp"]).parameters()
    kept = global_mask(network.module, 0.7).kept
    prune(network.module, 0.7, mode=mode, initial=initial)
    assert np.array_equal(network.parameters(), initial * kept)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: prune(make("mlp").module, 1.0), "from 0 to below 1, got 1.0"),
        (lambda: prune(make("mlp").module, 0.5, mode="rewind"), "needs `initial`"),
        (lambda: prune(make("mlp").module, 0.5, mode="lottery"), "mode is one of"),
        (lambda: prune(torch.nn.GroupNorm(2, 4), 0.5), "nothing to prune"),
        (lambda: global_mask(make("mlp").module, 0.5).apply(make("logistic").module), "the mask is for"),
    ],
)
def test_bad_pruning_gets_one_sentence(call, message):
    with pytest.raises(QupropError, match=message):
        call()
