"""Budgets and rates that change over a training: schedules, and the controllers that allot their own shots."""

from concurrent.futures import ThreadPoolExecutor
from math import ceil

import numpy as np
import pytest

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients.quiver import choose
from quprop.gradients.shot_frugal import allotted, best_rate, capped
from quprop.model import ansatz
from quprop.sampling.sampler import Sampler
from quprop.training.job import Job

TFIM = qpr.PauliSum({**{f"Z{i} Z{i + 1}": -1.0 for i in range(2)}, **{f"X{i}": -1.0 for i in range(3)}})
GROUND = float(np.linalg.eigvalsh(TFIM.matrix(3))[0])
CONTROLLERS = {
    "icans1": qpr.ICANS(least=5),
    "icans2": qpr.ICANS(variant=2, least=5, most=10_000),
    "rosalin": qpr.Rosalin(),
    "quiver": qpr.Quiver(least=5, most=10_000),
}
SCHEDULES = {
    "growth": qpr.ShotGrowth(qpr.ParameterShift(shots=3), factor=1.3, add=0.5, most=20),
    "decay": qpr.ShotGrowth(qpr.StepDecay(qpr.SPSA(total_shots=400, step=0.3, directions=2)), add=7),
    "function": lambda step: qpr.ParameterShift(shots=2 + step),
}
WAYS = {
    **{k: {"optimiser": v} for k, v in CONTROLLERS.items()},
    **{k: {"optimiser": qpr.adam(0.1), "method": v} for k, v in SCHEDULES.items()},
}


@pytest.fixture(scope="module")
def model():
    return qpr.Model(ansatz.hardware_efficient(3, 2), TFIM)


def run(model, seed=0, **options):
    start = np.random.default_rng(0).uniform(-1, 1, model.n_params)
    return qpr.train(model, params=start, rng=seed, **{"steps": 6, **options})


# -- schedules --------------------------------------------------------------------------------------------------------


def test_shots_grow_by_the_formula():
    growth = qpr.ShotGrowth(qpr.ParameterShift(shots=10), factor=1.1, add=3, most=500)
    shots = [growth.at(k).shots for k in range(60)]
    assert shots == [min(500, ceil(10 * 1.1**k + 3 * k - 1e-9)) for k in range(60)]
    assert qpr.ShotGrowth(qpr.ParameterShift(shots=10), factor=2.0).at(10_000).shots == 1 << 40  # no overflow
    whole = qpr.ShotGrowth(qpr.ParameterShift(shots=10), factor=2.0)
    assert [whole.at(k).shots for k in range(4)] == [10, 20, 40, 80]  # rounding adds no shot
    assert qpr.ShotGrowth(qpr.RandomComponents(total_shots=7), add=2).at(3).total_shots == 13


def test_the_gains_of_spsa_decay_as_spall_says():
    decay, rate = qpr.StepDecay(qpr.SPSA(shots=5, step=0.3), gamma=1 / 6), qpr.power_decay(0.2, alpha=1.0, offset=9)
    a = 0.2 * 10  # a / (A + k)^alpha and c / k^gamma, k from 1 on
    for k in (1, 2, 50):
        assert decay.at(k - 1).step == pytest.approx(0.3 / k ** (1 / 6), rel=1e-14)
        assert rate(k - 1) == pytest.approx(a / (9 + k), rel=1e-14)


def test_a_schedule_costs_what_the_methods_of_its_steps_do(model):
    growth = SCHEDULES["growth"]
    result = run(model, optimiser=qpr.adam(0.1), method=growth)
    plans = [growth.at(k).compile(model, [1.0]).cost for k in range(6)]
    assert result.cost == sum(plans[1:], plans[0])
    assert [row["copies"] for row in result.history] == np.cumsum([p.copies for p in plans]).tolist()
    assert plans[5].copies > plans[0].copies


def test_a_schedule_that_stays_is_the_method(model):
    method = qpr.ParameterShift(shots=20)
    one = run(model, optimiser=qpr.adam(0.1), method=method)
    for other in (lambda step: method, qpr.ShotGrowth(method)):
        found = run(model, optimiser=qpr.adam(0.1), method=other)
        assert np.array_equal(one.theta, found.theta) and one.cost == found.cost


def test_an_executor_runs_the_method_of_the_step(model):
    with ThreadPoolExecutor(1) as executor:
        result = run(model, optimiser=qpr.adam(0.1), method=SCHEDULES["growth"], executor=executor)
    assert result.cost == run(model, optimiser=qpr.adam(0.1), method=SCHEDULES["growth"]).cost


@pytest.mark.parametrize("way", WAYS)
def test_a_cut_run_resumes_bit_for_bit(model, tmp_path, way):
    options = {"steps": 8, **WAYS[way]}
    whole = run(model, out=tmp_path / "whole", **options)

    class Cut(Exception):
        pass

    original, count = Job.save, []

    def save(self, *arguments, **given):
        original(self, *arguments, now=True, **{k: v for k, v in given.items() if k != "now"})
        count.append(1)
        if len(count) == 6:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "save", save)
        with pytest.raises(Cut):
            run(model, out=tmp_path / "cut", **options)
    again = run(model, out=tmp_path / "cut", resume=True, **options)
    assert np.array_equal(again.theta, whole.theta) and again.cost == whole.cost
    assert [row["copies"] for row in again.history] == [row["copies"] for row in whole.history]
    other = {"optimiser": qpr.ICANS(least=6)} if "method" not in options else {"method": qpr.ParameterShift(shots=3)}
    with pytest.raises(QupropError, match=r"train\.(method|optimiser)"):
        run(model, out=tmp_path / "cut", resume=True, **{**options, **other})


# -- controllers ------------------------------------------------------------------------------------------------------


def test_icans_allots_by_its_formula():
    """By hand: L = 4, rate = 0.1: 2 L rate / (2 - L rate) = 0.8 / 1.6 = 0.5."""
    chi, xi = np.array([0.5, 0.1, 0.0, 2.0]), np.array([2.0, 1.0, 1.0, 0.1])
    shots = allotted(chi, xi, rate=0.1, lipschitz=4.0, bias=0.01, least=2, most=40)
    # 0.5 * 2 / 0.26 = 3.85, 0.5 / 0.02 = 25, 0.5 / 0.01 = 50, 0.05 / 4.01
    assert shots.tolist() == [4, 25, 40, 2]
    # (0.1 - 0.02) chi^2 - 0.02 xi / s, divided by s: (0.02 - 0.01)/4, (0.0008 - 0.0008)/25, < 0, (0.32 - 0.001)/2
    limited = capped(shots, chi, xi, rate=0.1, lipschitz=4.0, circuits=np.array([2, 2, 2, 2]))
    assert limited.tolist() == [2, 2, 2, 2]
    # The last one costs 200 times as many circuits: then the first gains most.
    limited = capped(shots, chi, xi, rate=0.1, lipschitz=4.0, circuits=np.array([2, 2, 2, 400]))
    assert limited.tolist() == [4, 4, 4, 2]
    # chi^2 / (L (chi^2 + xi / s)) of the first: 0.25 / (4 * (0.25 + 0.5)) = 1/12
    assert best_rate(chi[:1], xi[:1], shots[:1], lipschitz=4.0, bias=0.0) == pytest.approx([1 / 12])


def test_the_shots_of_icans_gain_most_a_shot():
    """Against the definition: the expected gain divided by the shots, over all whole numbers."""
    rate, lipschitz, chi, xi = 0.07, 5.0, 0.3, 1.7
    s = np.arange(1, 400)
    gain = ((rate - lipschitz * rate**2 / 2) * chi**2 - lipschitz * rate**2 / (2 * s) * xi) / s
    found = allotted(np.array([chi]), np.array([xi]), rate=rate, lipschitz=lipschitz, bias=0.0, least=1, most=10**6)
    assert abs(int(found[0]) - int(s[np.argmax(gain)])) <= 1


def test_quiver_chooses_by_its_formulas():
    # N = 5, l = 0.5: 2 l / (2 - l) = 2/3; (4 * 0.2 + 5 * 3 / 10) / 0.2 = 11.5, V = ceil(7.67) = 8;
    # C = 16 / (0.5 * 12) = 8/3, M = ceil(2 * 3 / (5/3 * 0.2)) = 18.
    wanted = {"shots": 10, "parameters": 5, "step": 0.5, "least": 2, "most": 1000}
    assert choose(0.2, 3.0, **wanted, most_directions=20) == (8, 18)
    assert choose(0.2, 3.0, **wanted, most_directions=1) == (1, 1000)  # C = 0.8: one direction gains nothing
    assert choose(100.0, 1e-9, **wanted, most_directions=20) == (3, 2)  # no noise: 2/3 * 4, as few shots as may be


@pytest.mark.parametrize(
    "controller",
    [
        qpr.ICANS(least=7, rate=0.05),
        qpr.Rosalin(least=7, rate=0.05),
        qpr.ICANS(least=7, rate=0.05, variant=2),
    ],
    ids=["icans1", "rosalin", "icans2"],
)
def test_a_step_of_a_controller_follows_from_its_estimate(model, controller):
    """By the equations, from gradient and errors of the same seed's estimate by the plan itself."""
    plan, start = controller.compile(model, [1.0]), np.random.default_rng(0).uniform(-1, 1, model.n_params)
    state = controller.init({"theta": start})
    plan.prepare(state)
    found = plan.estimate(start, rng=3)
    moved, after = controller.update({"theta": found.value}, state, {"theta": start}, found)
    L = sum(abs(c) for _, c in TFIM.items())
    assert found.info["lipschitz"] == pytest.approx(L)
    chi, xi = found.value, 7 * found.stderr**2  # one step: the mean corrected for its start is the estimate
    shots = np.clip(np.ceil(2 * L * 0.05 / (2 - L * 0.05) * xi / (chi**2 + 1e-6)), 7, None)
    rates = np.full(model.n_params, 0.05)
    if controller.variant == 2:
        rates = np.minimum(rates, (chi**2 + 1e-6) / (L * (chi**2 + 1e-6 + xi / 7)))
        assert np.array_equal(after.shots, shots) and shots.max() > 20 and rates.min() < 0.04
    else:
        gain = ((0.05 - L * 0.05**2 / 2) * chi**2 - L * 0.05**2 / (2 * shots) * xi) / shots
        assert np.array_equal(after.shots, np.minimum(shots, shots[np.argmax(gain)]))
    assert np.allclose(moved["theta"], -rates * found.value)
    assert np.array_equal(run(model, seed=3, steps=1, optimiser=controller).theta, start + moved["theta"])


@pytest.mark.parametrize("name", CONTROLLERS)
def test_counted_shots_are_those_the_sampler_executed(model, name, monkeypatch):
    drawn, original = [], Sampler.draw

    def draw(self, runs, a, x, u, shots, **options):
        drawn.append(int(np.sum(shots)))
        return original(self, runs, a, x, u, shots, **options)

    monkeypatch.setattr(Sampler, "draw", draw)
    result = run(model, optimiser=CONTROLLERS[name], steps=30)
    assert result.cost.copies == result.cost.measurements == sum(drawn) == result.history[-1]["copies"]
    steps = np.diff([0, *(row["copies"] for row in result.history)])
    assert len(set(steps.tolist())) > 1  # shots do change


def test_a_component_has_its_own_shots():
    """Two parameters, of which one is wanted three times as often; a circuit that serves both runs for the larger."""
    t = qpr.params("t", 2)
    plan = qpr.ICANS(least=2).compile(qpr.Model(qpr.Circuit(2).ry(t[0], 0).ry(t[1], 1).ry(t[0] + t[1], 0), "Z0 + Z1"))
    state = qpr.ICANS(least=2).init(np.zeros(2))._replace(shots=np.array([10, 30]))
    plan.prepare(state)
    shots = sorted(np.concatenate(plan.shots).tolist())
    assert shots == [10, 10, 30, 30, 30, 30] and plan.circuits_of.tolist() == [4, 4]
    assert plan.estimate([0.1, 0.2], rng=0).cost.copies == sum(shots)


@pytest.mark.slow
@pytest.mark.parametrize("controller", [qpr.ICANS(least=3), qpr.Rosalin(least=2)], ids=["icans", "rosalin"])
def test_estimates_are_unbiased_and_their_errors_true(model, controller):
    """With two shots of circuits whose observable has five terms."""
    theta = np.random.default_rng(1).uniform(-2, 2, model.n_params)
    plan, repeats = controller.compile(model, [1.0]), 1500
    plan.prepare(controller.init(theta))
    rng = np.random.default_rng(5)
    found = [plan.estimate(theta, rng=rng) for _ in range(repeats)]
    values = np.array([f.value for f in found])
    exact = np.ravel(qpr.value_and_grad(model, theta)[1])
    spread = values.std(axis=0, ddof=1)
    assert np.all(np.abs(values.mean(axis=0) - exact) < 5 * spread / np.sqrt(repeats))
    assert np.abs(exact).max() > 0.3
    told = np.sqrt(np.mean([f.stderr**2 for f in found], axis=0))
    assert np.all((told > 0.85 * spread) & (told < 1.6 * spread))  # few shots: what none of them showed is added


def test_directions_are_unbiased_up_to_their_differences(model):
    """Against the mean over all directions, without shots; and that against the gradient, within the bias's bound."""
    P, c, repeats = model.n_params, 0.1, 300
    theta = np.random.default_rng(1).uniform(-2, 2, P)
    v = 1.0 - 2 * ((np.arange(1 << P)[:, None] >> np.arange(P)) & 1)
    up, down = (np.ravel(qpr.expectation(model, theta + sign * c * v)) for sign in (1, -1))
    mean = v.T @ (up - down) / (2 * c) / len(v)
    exact = np.ravel(qpr.value_and_grad(model, theta)[1])
    assert np.all(np.abs(mean - exact) < c**2 * 5 * (1 / 6 + (P - 1) / 2)) and np.abs(exact).max() > 0.3
    controller = qpr.Quiver(difference=c, least=200)
    plan, state = controller.compile(model, [1.0]), controller.init(theta)
    plan.prepare(state._replace(directions=np.array(40)))
    rng = np.random.default_rng(5)
    found = [plan.estimate(theta, rng=rng) for _ in range(repeats)]
    spread = np.std([f.value for f in found], axis=0, ddof=1)
    error = spread / np.sqrt(repeats)
    assert np.all(np.abs(np.mean([f.value for f in found], axis=0) - mean) < 5 * error) and np.all(error < 0.02)
    told = np.sqrt(np.mean([f.stderr**2 for f in found], axis=0))
    assert np.all((told > 0.8 * spread) & (told < 1.25 * spread))
    # The variance of a shot of (F - F') / (2 c), on average over directions; the terms are read in two groups.
    noise = np.mean([f.info["shot_variance"] for f in found])
    groups = [("Z0 Z1", "Z1 Z2"), ("X0", "X1", "X2")]
    wanted = 0.0
    for names in groups:
        parts = qpr.PauliSum(dict.fromkeys(names, -1.0))
        square = parts.matrix(3) @ parts.matrix(3)
        for sign in (1, -1):
            states = qpr.state(model, theta + sign * c * v[:512])
            second = np.einsum("vi,ij,vj->v", states.conj(), square, states).real
            first = np.einsum("vi,ij,vj->v", states.conj(), parts.matrix(3), states).real
            wanted += float((second - first**2).mean()) / (4 * c * c)
    assert noise == pytest.approx(wanted, rel=0.05)


def shots_until(result, error):
    """Those executed when the loss came within `error` of the ground energy and stayed there."""
    within = np.array([row["loss"] < GROUND + error for row in result.history])
    first = len(within) - int(np.argmin(within[::-1])) if not within.all() else 0
    return result.history[first]["copies"] if first < len(within) else np.inf


@pytest.mark.slow
def test_controllers_reach_an_energy_with_a_tenth_of_the_shots_that_fixed_ones_take(model):
    """Adam with fixed shots: the cheaper of two budgets, medians over starts near |+++>, to stay within 0.003."""
    ways = {
        **{n: {"optimiser": qpr.adam(0.1), "method": qpr.ParameterShift(shots=n)} for n in (1000, 10_000)},
        **{c.name: {"optimiser": c} for c in (qpr.ICANS(), qpr.Rosalin())},
    }
    median = {}
    for name, way in ways.items():
        counts = []
        for seed in range(3):
            start = np.random.default_rng(seed).uniform(-0.3, 0.3, model.n_params)
            start[:3] += np.pi / 2
            counts.append(shots_until(qpr.train(model, params=start, rng=seed, steps=150, **way), 0.003))
        median[name] = float(np.median(counts))
    assert 10 * max(median["icans"], median["rosalin"]) < min(median[1000], median[10_000]), median


def test_quiver_lowers_an_energy(model):
    start = np.random.default_rng(0).uniform(-0.3, 0.3, model.n_params)
    start[:3] += np.pi / 2
    result = qpr.train(model, params=start, rng=0, optimiser=qpr.Quiver(), steps=150)
    assert result.loss < GROUND + 0.02 and result.history[0]["loss"] > GROUND + 0.2


@pytest.mark.parametrize(
    "options, words",
    [
        ({"optimiser": qpr.ICANS(), "method": qpr.Adjoint()}, "leave out method="),
        ({"optimiser": qpr.adam(0.1), "method": qpr.ICANS()}, "pass it as optimiser="),
        ({"optimiser": qpr.adam(0.1), "method": lambda step: qpr.ICANS()}, "gives a gradient method"),
        ({"optimiser": qpr.adam(0.1), "method": lambda step: 3}, "gives a gradient method .* at step 0"),
        ({"method": lambda step: qpr.Adjoint() if step < 5 else qpr.PairState(shots=0)}, "shots must be"),
        ({"optimiser": qpr.ICANS(rate=0.5)}, r"below 2/L = 0\.4 "),
        ({"optimiser": qpr.Quiver(rate=0.4)}, r"below 2/L = 0\.4 "),
        ({"optimiser": qpr.ICANS(), "head": True}, "without a head, got a head"),
        ({"optimiser": qpr.Quiver(), "loss": qpr.Fidelity(np.eye(1, 8)[0])}, "got (Fidelity|the fidelity)"),
        ({"optimiser": qpr.LBFGS(), "method": lambda step: qpr.Adjoint()}, "L-BFGS compares"),
    ],
)
def test_what_fits_no_run_is_refused_before_its_first_step(model, options, words, monkeypatch):
    monkeypatch.setattr(Job, "run", lambda *_: pytest.fail("it began"))
    with pytest.raises(QupropError, match=words):
        run(model, **options)


def test_models_without_a_known_lipschitz_constant_need_one():
    t = qpr.params("t", 2)
    square = qpr.Model(qpr.Circuit(1).ry(t[0] * t[1], 0), "Z0")
    with pytest.raises(QupropError, match="pass lipschitz="):
        qpr.train(square, optimiser=qpr.ICANS(), steps=1)
    assert qpr.train(square, optimiser=qpr.ICANS(lipschitz=3.0), steps=1).steps == 1
    with pytest.raises(QupropError, match="nothing to minimise"):
        qpr.train(qpr.Model(qpr.Circuit(1).h(0), "Z0"), optimiser=qpr.ICANS(), steps=1)
    twice = qpr.Model(qpr.Circuit(1).ry(2 * t[0], 0).rx(t[0], 0), "0.5*Z0")  # W = 3: |F''| <= 0.5 * 9
    assert qpr.ICANS().compile(twice).lipschitz == pytest.approx(4.5)
    inputs = qpr.Model(qpr.Circuit(1).ry(t[0] + qpr.inputs("x", 1)[0], 0), "Z0")
    with pytest.raises(QupropError, match="reads 1 input a sample"):
        qpr.train(inputs, optimiser=qpr.Rosalin(), data=[[0.1]], steps=1)
