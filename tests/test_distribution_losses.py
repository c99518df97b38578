"""Losses of distributions against their definitions, dense states, Torch's and JAX's own derivatives."""

import numpy as np
import pytest
from scipy.optimize import linprog

import quprop as qpr
from quprop.training.objective import Objective

N = 3
DATA = np.random.default_rng(5).integers(0, 2, (40, N))
TARGET = np.random.default_rng(6).dirichlet(np.ones(1 << N))
COST = "0.7*Z0 Z1 - Z1 Z2 + 0.4*Z2 + 0.1*I"
LOSSES = {
    "samples": qpr.NegativeLogLikelihood(DATA),
    "target": qpr.NegativeLogLikelihood(TARGET),
    "smoothed": qpr.NegativeLogLikelihood(DATA, smoothing=0.1),
    "forward": qpr.KLDivergence(TARGET),
    "reverse": qpr.KLDivergence(TARGET, reverse=True),
    "reverse_smoothed": qpr.KLDivergence([1, 0, 0, 0, 0, 0, 0, 0], reverse=True, smoothing=0.2),
    "entropy": qpr.ShannonEntropy(),
    "cvar": qpr.CVaR(COST, 0.3),
    "cvar_all": qpr.CVaR(COST, 1.0),
    "sum": qpr.CVaR(COST, 0.4) - 0.3 * qpr.ShannonEntropy() + 2 * qpr.KLDivergence(TARGET),
}


def model(n=N, layers=3):
    circuit = qpr.Circuit(n)
    theta = iter(qpr.params("theta", 2 * n * layers))
    for _ in range(layers):
        for q in range(n):
            circuit.ry(next(theta), q).rx(next(theta), q)
        for q in range(n):
            circuit.cx(q, (q + 1) % n).s(q)
    return qpr.Model(circuit, "Z0 Z1")


def theta_of(m, seed=1):
    return np.random.default_rng(seed).normal(size=m.n_params)


def definition(name, p):
    """Each loss written out."""
    freq = np.zeros(1 << N)
    np.add.at(freq, DATA @ (1 << np.arange(N)), 1 / len(DATA))
    one = np.eye(1 << N)[0]
    return {
        "samples": lambda: -np.mean(np.log(p)[DATA @ (1 << np.arange(N))]),
        "target": lambda: -TARGET @ np.log(p),
        "smoothed": lambda: -freq @ np.log(0.9 * p + 0.1 / 8),
        "forward": lambda: TARGET @ np.log(TARGET / p),
        "reverse": lambda: p @ np.log(p / TARGET),
        "reverse_smoothed": lambda: p @ np.log(p / (0.8 * one + 0.2 / 8)),
        "entropy": lambda: -p @ np.log(p),
        "cvar": lambda: tail(p, 0.3),
        "cvar_all": lambda: p @ costs(),
        "sum": lambda: tail(p, 0.4) + 0.3 * p @ np.log(p) + 2 * TARGET @ np.log(TARGET / p),
    }[name]()


def costs():
    z = 1 - 2 * ((np.arange(1 << N)[:, None] >> np.arange(N)) & 1)
    return 0.7 * z[:, 0] * z[:, 1] - z[:, 1] * z[:, 2] + 0.4 * z[:, 2] + 0.1


def tail(p, alpha):
    """The dual: the least mean cost under densities of at most 1 / alpha, a linear program."""
    found = linprog(costs(), A_eq=np.ones((1, p.size)), b_eq=[1.0], bounds=[(0, x / alpha) for x in p])
    return found.fun


def objective(m, loss):
    return Objective(m, loss, head=False, engine=None, precision="double", threads=None)


def differences(function, theta, h=1e-4):
    at = lambda u, k: function(theta + k * h * u)  # noqa: E731
    return np.array([(8 * (at(u, 1) - at(u, -1)) - at(u, 2) + at(u, -2)) / (12 * h) for u in np.eye(len(theta))])


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_definition_and_its_gradient_that_of_differences(name):
    m = model()
    theta = theta_of(m)
    value, gradient, _ = objective(m, LOSSES[name]).loss_and_grad({"theta": theta}, None, None)
    p = qpr.probabilities(m, theta)
    assert value == pytest.approx(definition(name, p), abs=1e-12)
    assert float(LOSSES[name].of(p)) == pytest.approx(value, abs=1e-12)
    expected = differences(lambda t: definition(name, qpr.probabilities(m, t)), theta)
    assert np.abs(gradient["theta"] - expected).max() < 1e-8


@pytest.mark.parametrize("name", LOSSES)
def test_torch_and_jax_differentiate_a_loss_of_probabilities_as_training_does(name):
    p = np.random.default_rng(3).dirichlet(np.ones(1 << N), size=4)
    parts = [(1.0, LOSSES[name])] if name != "sum" else LOSSES[name].terms
    slope = np.stack([sum(w * loss.slope(row)[1] for w, loss in parts) for row in p]) / len(p)
    value = float(LOSSES[name].of(p))
    assert value == pytest.approx(np.mean([definition(name, row) for row in p]), abs=1e-12)
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(p, requires_grad=True)
    found = LOSSES[name].of(tensor)
    found.backward()
    assert found.item() == pytest.approx(value, abs=1e-12)
    assert np.abs(tensor.grad.numpy() - slope).max() < 1e-10
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        for function in (jax.value_and_grad(LOSSES[name].of), jax.jit(jax.value_and_grad(LOSSES[name].of))):
            found, by_p = function(jax.numpy.asarray(p))
            assert float(found) == pytest.approx(value, abs=1e-12)
            assert np.abs(np.asarray(by_p) - slope).max() < 1e-10
    finally:
        jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("name", ["target", "reverse", "entropy"])
def test_a_loss_is_differentiated_twice_by_torch(name):
    torch = pytest.importorskip("torch")
    weights = torch.tensor(np.random.default_rng(4).normal(size=1 << N), requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda w: LOSSES[name].of(torch.softmax(w, 0)), (weights,))


def test_costs_that_tie_share_the_tail_and_a_kink_gives_a_subgradient():
    p = np.array([0.25, 0.25, 0.3, 0.2])
    loss = qpr.CVaR([1.0, 1.0, 2.0, 3.0], 0.4)
    assert loss.slope(p)[0] == 1.0
    assert np.abs(loss.slope(p)[1]).max() == 0.0  # all of the tail is at t
    kink = qpr.CVaR([1.0, 1.0, 2.0, 3.0], 0.5)
    value, slope = kink.slope(p)
    for step in np.random.default_rng(2).normal(size=(50, 4)) * 0.05:
        q = np.abs(p + step - step.mean())
        q /= q.sum()
        assert kink.slope(q)[0] >= value + slope @ (q - p) - 1e-12  # convex in p


def test_a_probability_that_is_zero_and_not_missed_has_no_slope():
    circuit = qpr.Circuit(2)
    a, b = qpr.params("theta", 2)
    circuit.ry(a, 0).cx(0, 1).rz(b, 1)  # never 01 or 10
    m = qpr.Model(circuit, "Z0")
    loss = qpr.KLDivergence([0.5, 0, 0, 0.5], reverse=True)
    for name, one in (("kl", loss), ("entropy", qpr.ShannonEntropy())):
        value, gradient, _ = objective(m, one).loss_and_grad({"theta": np.array([0.7, 0.2])}, None, None)
        s, c = np.sin(0.35) ** 2, np.cos(0.35) ** 2
        sign = 1 if name == "kl" else -1
        assert value == pytest.approx(sign * (s * np.log(s) + c * np.log(c)) + (name == "kl") * np.log(2), abs=1e-12)
        assert gradient["theta"] == pytest.approx([sign * 0.5 * np.sin(0.7) * np.log(s / c), 0.0], abs=1e-12)


REFUSED = {
    "zero of the model": (
        lambda: qpr.NegativeLogLikelihood([[1, 0]]).of(np.array([1.0, 0, 0, 0])),
        "bits 10 .*infinit",
    ),
    "zero in training": (
        lambda: qpr.train(qpr.Model(qpr.Circuit(1).rz(qpr.params("t", 1)[0], 0), "Z0"), LOSS_OF_ONE, steps=1),
        "probability 0 but the target has it",
    ),
    "zero of the target": (
        lambda: qpr.KLDivergence([1, 0], reverse=True).of(np.array([0.5, 0.5])),
        "no probability for the bits 1",
    ),
    "no distribution": (lambda: qpr.ShannonEntropy().of(np.array([0.5, 0.6])), "sum 1"),
    "another size": (lambda: qpr.NegativeLogLikelihood(TARGET).of(np.array([0.5, 0.5])), r"\(\.\.\., 8\)"),
    "not diagonal": (lambda: qpr.CVaR("Z0 X1", 0.2), "diagonal cost.*Z0 X1|diagonal cost.*X1"),
    "alpha": (lambda: qpr.CVaR("Z0", 1.5), r"\(0, 1\]"),
    "a target that is none": (lambda: qpr.KLDivergence([0.5, 0.1]), "sum 1"),
    "more bits than qubits": (lambda: qpr.train(model(2), qpr.CVaR("Z5", 0.5), steps=1), "6 bits a sample.*2 qubits"),
    "data beside": (
        lambda: qpr.train(with_inputs(), qpr.ShannonEntropy(), data=np.zeros((2, 1)), steps=1),
        "leave out",
    ),
    "inputs": (lambda: qpr.train(with_inputs(), qpr.ShannonEntropy(), steps=1), "inputs"),
    "a method": (
        lambda: qpr.train(model(), qpr.ShannonEntropy(), method=qpr.ParameterShift(shots=10), steps=1),
        "leave out method=",
    ),
    "a sum with what has no value of its own": (
        lambda: qpr.train(model(), qpr.Fidelity(np.ones(8)) + qpr.ShannonEntropy(), steps=1),
        "got Fidelity",
    ),
    "a weight": (lambda: float("nan") * qpr.ShannonEntropy(), "finite real number"),
}
LOSS_OF_ONE = qpr.NegativeLogLikelihood([[1]])


def with_inputs():
    return qpr.Model(qpr.Circuit(1).ry(qpr.inputs("x", 1)[0] + qpr.params("t", 1)[0], 0), "Z0")


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_defined_is_refused_in_one_sentence(name):
    make, match = REFUSED[name]
    with pytest.raises(qpr.QupropError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_in_a_traced_jax_function_a_missed_string_has_an_infinite_loss():
    jax = pytest.importorskip("jax")
    p = jax.numpy.asarray([1.0, 0.0])
    assert jax.jit(qpr.NegativeLogLikelihood([[1]]).of)(p) == np.inf
    assert jax.jit(qpr.KLDivergence([0, 1], reverse=True).of)(p) == np.inf


@pytest.mark.parametrize("optimiser", ["adam", "lbfgs"])
def test_training_ends_at_what_is_known(optimiser):
    chosen = qpr.adam(0.1) if optimiser == "adam" else qpr.LBFGS()
    m = model(layers=4)
    found = qpr.train(m, qpr.CVaR(COST, 0.25), optimiser=chosen, params=theta_of(m), steps=150)
    assert found.loss == pytest.approx(costs().min(), abs=1e-3)
    q = qpr.probabilities(m, theta_of(m, 8))
    found = qpr.train(m, qpr.KLDivergence(q), optimiser=chosen, params=theta_of(m, 8) + 0.2, steps=200)
    assert 0 <= found.loss < 1e-3


def test_large_costs_are_no_divergence():
    m = model()
    found = qpr.train(m, qpr.CVaR(1e9 * costs(), 0.5), params=theta_of(m), steps=2)
    assert found.status == "finished"


def test_the_mmd_of_probabilities_is_that_of_training():
    m = model()
    loss = qpr.MMD(DATA, sigma=(0.6, 1.4))
    value, gradient = loss.over(m).loss_and_grad(theta_of(m))
    p = qpr.probabilities(m, theta_of(m))
    assert float(loss.of(p)) == pytest.approx(value, abs=1e-12)
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(np.stack([p, p]), requires_grad=True)
    loss.of(tensor).backward()
    by_theta = differences(lambda t: qpr.probabilities(m, t) @ tensor.grad.numpy().sum(axis=0), theta_of(m))
    assert np.abs(by_theta - gradient).max() < 1e-8
