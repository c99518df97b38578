"""Step maps of torch modules: Taylor arithmetic against derivatives of torch's own, and against descent itself."""

import math

import numpy as np
import pytest
from tolerances import assert_close

from quprop.carleman import error_against_order, from_torch, lift, march
from quprop.errors import QupropError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch.func imports it
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from quprop.carleman.maps.torch_series import TaylorTensor  # noqa: E402

FUNCTIONS = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "gelu tanh": lambda z: F.gelu(z, approximate="tanh"),
    "silu": F.silu,
    "softplus": lambda z: F.softplus(z, beta=2.0),
    "logsigmoid": F.logsigmoid,
    "erf": torch.erf,
    "exp": torch.exp,
    "log": lambda z: torch.log(z**2 + 2),
    "sin cos": lambda z: torch.sin(z) * torch.cos(z),
    "power": lambda z: (z * z + 1) ** -1.5,
    "root": lambda z: torch.sqrt(2 + z.square()),
    "quotient": lambda z: (1 - z) / (2 + z**2),
    "softmax": lambda z: torch.softmax(z, 1),
    "group norm": lambda z: F.group_norm(z, 2),
    "cross entropy": lambda z: F.cross_entropy(z, torch.tensor([0, 1, 2]), label_smoothing=0.1),
    "mean square": lambda z: F.mse_loss(z, torch.ones(3, 4, dtype=torch.double)),
    "binary": lambda z: F.binary_cross_entropy_with_logits(z, torch.ones(3, 4, dtype=torch.double)),
    "slices": lambda z: torch.cat([1 - z[:, :2], z[:, 2:] / 3, z[:, :1] * 0 + 1], 1) @ z.T.repeat(2, 1)[:5],
    "cat with a constant": lambda z: torch.cat([z, torch.ones(3, 1, dtype=torch.double)], 1),
    "stack": lambda z: torch.stack([z, z**3]).mean(0).flatten(),
    "convolution": lambda z: F.conv1d(z[None], z[:, None, :3], z[:, 0], padding=1, groups=3),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_taylor_rules_are_nested_derivatives(name):
    """Coefficient k is 1/k! of torch's own k-fold forward derivative along the path."""
    function = FUNCTIONS[name]
    x = 0.7 * torch.randn(4, 3, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    found = function(TaylorTensor(list(x))).coefs

    def along(s):
        return function(x[0] + x[1] * s + x[2] * s**2 + x[3] * s**3)

    derived = along
    for k in range(4):
        value = derived(torch.zeros((), dtype=torch.double)) / math.factorial(k)
        assert_close(found[k].numpy(), value.numpy(), 1e5)
        derived = _forward(derived)


def _forward(function):
    return lambda s: torch.func.jvp(function, (s,), (torch.ones_like(s),))[1]


class Residual(nn.Module):
    """A smooth residual network in small."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm, self.head = nn.GroupNorm(2, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = F.silu(self.norm(self.first(x)))
        x = x + F.gelu(self.second(x))
        return self.head(x.mean((2, 3)))


def network(name):
    torch.manual_seed(0)
    made = {
        "mlp": lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)),
        "layer norm": lambda: nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 3)),
        "batch norm": lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Tanh()),
        "residual": Residual,
    }[name]().double()  # fmt: skip
    shape = (7, 1, 4, 4) if name == "residual" else (7, 5)
    return made, (torch.randn(shape, dtype=torch.double), torch.randint(0, 3, (7,)))


@pytest.mark.parametrize("name", ["mlp", "layer norm", "batch norm", "residual"])
def test_taylor_and_nested_series_agree_and_match_descent(name):
    module, data = network(name)
    settings = {"learning_rate": 0.1, "weight_decay": 0.01}
    taylor = from_torch(module, nn.CrossEntropyLoss(), data, method="taylor", **settings)[0]
    nested = from_torch(module, nn.CrossEntropyLoss(), data, method="nested", **settings)[0]
    rng = np.random.default_rng(0)
    path = 0.1 * rng.normal(size=(3, taylor.dimension))
    assert_close(taylor.series(path), nested.series(path), 1e4)
    # the remainder of the series of the step falls with s as s^(K+1)
    errors = []
    for s in (0.02, 0.01):
        moved = sum(path[k] * s ** (k + 1) for k in range(3))
        series = sum(c * s**k for k, c in enumerate(taylor.series(path)))
        errors.append(np.linalg.norm(taylor.descend(moved) - series))
    assert errors[1] < errors[0] / 10 or errors[0] < 1e-14


def test_a_dropped_order_is_seen():
    """Without its second coefficient the series is off by what s^2 does, not by rounding."""
    module, data = network("mlp")
    step = from_torch(module, nn.CrossEntropyLoss(), data, learning_rate=0.1)[0]
    path = np.zeros((3, step.dimension))
    path[0] = 0.3
    found = step.series(path)
    assert np.linalg.norm(found[2]) > 1e-3


def test_micro_batches_add_up_to_the_batch():
    module, data = network("mlp")
    whole, parts = (
        from_torch(module, nn.CrossEntropyLoss(), data, learning_rate=0.1, micro_batch=b)[0] for b in (None, 3)
    )
    path = 0.1 * np.random.default_rng(0).normal(size=(2, whole.dimension))
    assert_close(parts.series(path), whole.series(path), 1e3)


def test_a_module_is_linearised_as_its_closed_form():
    """Logistic regression as a module, against the closed-form map."""
    from quprop.carleman.maps.polynomial import ridge_logistic

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), (rng.random(9) > 0.5).astype(float)
    module = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Flatten(0)).double()
    at = rng.normal(size=4)
    made = from_torch(module, F.binary_cross_entropy_with_logits, (x, y), learning_rate=0.5, weight_decay=0.1, at=at)[0]
    model = ridge_logistic(x, y, learning_rate=0.5, ridge=0.1, at=at)
    path = rng.normal(size=(4, 4))
    assert_close(made.series(path), model.series(path), 1e3)
    vectors = rng.normal(size=(3, 2, 4))
    assert_close(made.jet(3, list(vectors)), model.jet(3, list(vectors)), 1e4)
    assert_close(made.jet(1, [vectors[0]]), model.jet(1, [vectors[0]]), 1e3)


def test_the_lift_of_a_network_follows_its_training():
    module, data = network("mlp")
    run = from_torch(module, nn.CrossEntropyLoss(), data, learning_rate=0.03, momentum=0.5)
    start = np.zeros(run.dimension)
    found = error_against_order(run, start, (1, 2, 3, 4), 10, engine="jets")
    assert found[3].largest < 0.1 * found[1].largest < 0.1 * found[0].largest
    low = march(lift(run, start, 2, "low_rank"), 10)
    exact = march(lift(run, start, 2, "tensor_train"), 10)
    assert_close(low.estimate, exact.estimate, 1e4)


def test_mini_batches_are_maps_in_turn():
    module, (x, y) = network("mlp")
    run = from_torch(module, nn.CrossEntropyLoss(), [(x[:3], y[:3]), (x[3:], y[3:])], learning_rate=0.1)
    assert len(run) == 2
    theta = run[0].at
    by_hand = theta - 0.1 * run[0].gradient(theta)
    by_hand = by_hand - 0.1 * run[1].gradient(by_hand)
    assert_close(theta + list(run.trajectory(np.zeros(run.dimension), 2))[-1], by_hand, 10)


def test_functions_without_a_rule_go_the_general_way():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(5, 3)

        def forward(self, x):
            return torch.special.i0e(self.inner(x))

    _, data = network("mlp")
    step = from_torch(Odd().double(), nn.CrossEntropyLoss(), data, learning_rate=0.1)[0]
    path = 0.1 * np.random.default_rng(0).normal(size=(2, step.dimension))
    series = step.series(path)
    assert step.method == "nested"
    s = 1e-3
    moved = path[0] * s + path[1] * s**2
    assert np.linalg.norm(step.descend(moved) - series[0] - series[1] * s - series[2] * s**2) < 1e-10


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (lambda: nn.Sequential(nn.Linear(5, 3), nn.ReLU()), "'1' is ReLU, whose kink no Taylor series sees: use"),
        (lambda: nn.Flatten(), "with parameters was expected, Flatten has none"),
        (lambda: "mlp", "must be a torch.nn.Module, got str"),
    ],
)
def test_bad_modules_get_one_sentence(module, words):
    _, data = network("mlp")
    with pytest.raises(QupropError) as caught:
        from_torch(module(), nn.CrossEntropyLoss(), data, learning_rate=0.1)
    assert words in str(caught.value)


def test_dropout_in_training_mode_is_refused():
    module = nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5)).double()
    _, data = network("mlp")
    with pytest.raises(QupropError, match=r"call module.eval\(\)"):
        from_torch(module, nn.CrossEntropyLoss(), data, learning_rate=0.1)[0].series(np.ones((1, 18)))


@pytest.mark.slow
def test_a_million_parameters_step_within_eight_plain_gradients_an_order():
    import time

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 970), nn.Tanh(), nn.Linear(970, 970), nn.Tanh(), nn.Linear(970, 10))
    data = (torch.randn(256, 64), torch.randint(0, 10, (256,)))
    run = from_torch(net.double(), nn.CrossEntropyLoss(), (data[0].double(), data[1]), learning_rate=0.1)
    assert run.dimension > 1_000_000
    state = lift(run, 1e-3 * np.random.default_rng(0).normal(size=run.dimension), 3, "jets")
    plain, jets = [], []
    for _ in range(5):
        began = time.perf_counter()
        run[0].gradient(run[0].at)
        middle = time.perf_counter()
        state.step()
        plain.append(middle - began)
        jets.append(time.perf_counter() - middle)
    assert min(jets) < 8 * 3 * min(plain)
