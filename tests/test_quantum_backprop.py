"""Quantum backpropagation: right whatever the hypothesis, within its bounds, every copy counted."""

import math

import numpy as np
import pytest
from cases import CASES, random_model, values_for
from scipy import stats

import quprop as qpr
from quprop.collective.check import trigger_probability
from quprop.collective.engines.commuting import CommutingEngine
from quprop.collective.engines.gaussian import GaussianEngine
from quprop.collective.engines.null import NullEngine
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.collective.event import Event
from quprop.collective.hypothesis import DenseHypothesis, TypicalityHypothesis, mistake_bound
from quprop.errors import QupropError
from quprop.gradients import METHODS, ParameterShift, QuantumBackprop, gradient
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice
from quprop.gradients.sweeps.sweep_design import SweepDesign
from quprop.model import ansatz
from quprop.sampling.linear import driven
from quprop.sampling.plan import Terms
from quprop.sampling.programs import free

NULL = NullEngine()


def quick(max_error=0.3, **settings):
    return QuantumBackprop(max_error=max_error, **{"engine": NULL, **settings})


def near_identity(n, layers, seed):
    """RX and RZZ layers of small random angles, qubits tilted: gradients of order one at any depth."""
    theta = qpr.params("theta", 2 * n * layers)
    start = np.tile([np.cos(0.4), np.sin(0.4) * np.exp(-0.8j)], (n, 1))
    circuit, angles = qpr.Circuit(n, start, params=theta), iter(theta)
    for _ in range(layers):
        for q in range(n):
            circuit.rx(next(angles), q)
        for q in range(n):
            circuit.rzz(next(angles), q, (q + 1) % n)
    return qpr.Model(circuit, "Z0 Z1"), np.random.default_rng(seed).normal(size=2 * n * layers) / math.sqrt(layers)


def by_angles(model, theta, x, weights):
    """dF/da_m for every rotation, from the reference engine and a model whose parameters are its angles."""
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    total = qpr.PauliSum({})
    for w, observable in zip(weights, model.observables, strict=True):
        total = total + float(w) * observable
    own = free(model)._replace(observables=(total,))
    return qpr.value_and_grad(own, a, x[: own.n_inputs] if own.n_inputs else None, engine="reference")[1]


def weights_of(model):
    return np.arange(1, model.n_observables + 1) / 2


# What the copies are.


@pytest.mark.parametrize("name", CASES)
def test_every_component_is_an_expectation_on_the_copies_as_they_are_undone(name):
    model = CASES[name].model
    theta, x = values_for(model, seed=3)
    w, terms = weights_of(model), Terms.of(model)
    u = terms.coefficients(w)
    if not np.abs(u).sum():
        pytest.skip("no observable")
    circuit = PairCircuit(model, terms)
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    device = PairDevice(circuit, u, a, x, np.random.default_rng(0))
    exact = by_angles(model, theta, x, w) / np.abs(u).sum()
    for m in reversed(range(model.n_rotations)):
        q = 2 * device._accepting(Event(circuit.read[m])) - 1
        assert q == pytest.approx(-exact[m], abs=1e-10), m
        assert abs(exact[m]) < 1e-3 or q != pytest.approx(exact[m], abs=1e-4)  # the sign is seen
        device.undo(None)


def test_frequencies_of_fresh_copies_are_binomial():
    model, theta = near_identity(3, 2, 0)
    circuit = PairCircuit(model, Terms.of(model))
    device = PairDevice(circuit, np.ones(1), theta, np.zeros(0), np.random.default_rng(0))
    event = Event(circuit.read[-1])
    p = device._accepting(event)
    found = np.array([device.frequency(event, 50) for _ in range(2000)])
    assert abs(found.mean() - p) < 5 * math.sqrt(p * (1 - p) / 50 / 2000)
    assert found.var() == pytest.approx(p * (1 - p) / 50, rel=0.15)
    assert device.cost.copies == device.cost.measurements == 100_000


# What comes out.


@pytest.mark.parametrize(
    "name", ["one_qubit", "shared_parameters", "products_of_angles", "several_observables", "encoded_state", "ising"]
)
def test_all_components_keep_max_error(name):
    """Sums of terms, shared parameters and products of angles included: how eps is pulled back to theta."""
    model = CASES[name].model
    theta, x = values_for(model, seed=3)
    w = weights_of(model)
    wanted = 0.25 * float(np.abs(Terms.of(model).coefficients(w)).sum())
    plan = quick(wanted, failure=0.05).compile(model, w, at=(theta, x))
    exact = gradient(model, theta, x, weights=w).value
    worst = max(np.abs(plan.estimate(theta, x, seed).value - exact).max() for seed in range(3))
    assert worst <= wanted
    assert worst > wanted / 100  # not exact by accident


def test_the_toy_of_the_facts():
    """n = 4, M = 300, accuracy 0.15 of dF/da (0.3 in the paper's angle): batches of 12,198 copies; a prototype had 71
    triggers against a bound of 1,232, 1.3e6 copies, 99.7 % within eps, worst 1.09 eps; parameter shift was cheaper."""
    model = qpr.Model(ansatz.random_pauli_rotations(4, 300, 2), "Z0 Z1")
    theta = np.random.default_rng(5).uniform(-np.pi, np.pi, 300)
    exact = gradient(model, theta).value
    method = quick(0.15, slack=0.5, verify=0.2, margin="soft", explain=True)
    plan = method.compile(model)
    assert plan.design.k == 12_198
    assert mistake_bound(5, 0.0375) == pytest.approx(1232, rel=1e-3)
    found = plan.estimate(theta, None, 0)
    error = np.abs(found.value - exact) / 0.15
    assert np.mean(error <= 1) >= 0.99 and error.max() <= 1.25
    assert np.mean(np.abs(exact) > 0.15) > 0.2  # zeros would not do
    assert 20 <= found.info["triggers"] <= 200 and found.info["updates"] <= 1232
    assert 4e5 < found.cost.copies < 5e6
    assert ParameterShift(max_error=0.15).compile(model).cost.copies < found.cost.copies


class Stubborn:
    """Predicts what it likes, and notes everything it is told."""

    def __init__(self, n, guess):
        self.n, self.guess, self.updates, self.classical_ops, self.classical_bytes = n, guess, 0, 0, 0
        self.told = []

    def predict(self, pauli):
        return self.guess(pauli)

    def update(self, pauli, step):
        self.updates += 1
        self.told.append(("update", pauli, step))

    def rotate(self, pauli, angle):
        self.told.append(("rotate", pauli, angle))

    def copy(self):
        return self


@pytest.mark.parametrize("guess", ["nothing", "wrong", "random"])
def test_a_bad_hypothesis_costs_copies_and_never_a_wrong_answer(guess):
    model, theta = near_identity(3, 4, 1)
    rng = np.random.default_rng(0)
    says = {"nothing": lambda p: 0.0, "wrong": lambda p: 1.0, "random": lambda p: float(rng.uniform(-1, 1))}[guess]
    plan = quick(hypothesis=Stubborn(4, says)).compile(model)
    found = plan.estimate(theta, None, 3)
    assert np.abs(found.value - gradient(model, theta).value).max() <= 0.3
    good = quick().compile(model).estimate(theta, None, 3)
    assert found.info["triggers"] >= good.info["triggers"]
    assert found.cost.copies <= plan.cost.copies  # at most every component triggers
    if guess == "wrong":
        assert found.info["triggers"] == len(driven(model))


def test_the_hypothesis_is_told_strings_and_numbers_from_the_copies_only():
    """Steps are made of measured frequencies j/K0 and its own predictions, angles are the circuit's: nothing else."""
    model, theta = near_identity(2, 3, 1)
    spy = Stubborn(3, lambda p: 0.5)
    plan = quick(hypothesis=spy, updates_per_layer=1).compile(model)
    plan.estimate(theta, None, 0)
    d = plan.design
    for kind, pauli, number in spy.told:
        assert isinstance(pauli, qpr.PauliString) and isinstance(number, float)
        if kind == "rotate":
            assert np.isclose(-number, theta).any()
        else:
            frequency = (0.75 + math.copysign(abs(number) / 4 + d.delta, number)) * d.fresh
            assert abs(frequency - round(frequency)) < 1e-6
    assert spy.updates


@pytest.mark.parametrize("hypothesis", ["dense", "typicality", "low_rank", "matrix_product", "kernel"])
def test_every_hypothesis_serves(hypothesis):
    model, theta = near_identity(3, 3, 2)
    plan = quick(hypothesis=hypothesis).compile(model)
    found = plan.estimate(theta, None, 1)
    assert np.abs(found.value - gradient(model, theta).value).max() <= 0.3
    assert found.cost.classical_bytes > 0 and found.cost.classical_ops > 0


def test_the_typicality_hypothesis_is_sixteen_vectors_of_one_copy():
    model, theta = near_identity(6, 1, 0)
    found = quick(0.6, hypothesis="typicality").compile(model).estimate(theta, None, 0)
    assert found.cost.classical_bytes == 16 * 16 * 2**7


def test_learning_saves_triggers():
    """In 64 layers near the identity neighbours hardly differ: the hypothesis knows most of them beforehand."""
    model, theta = near_identity(3, 64, 0)
    exact = gradient(model, theta).value
    found = quick(0.2).compile(model).estimate(theta, None, 0)
    above = int(np.sum(np.abs(exact) > 0.2))
    assert above > 60 and found.info["triggers"] < above / 3


def test_a_warm_start_begins_with_what_is_known():
    model, theta = near_identity(3, 16, 3)
    rng = np.random.default_rng(0)
    plan = quick(0.2, warm_start=True).compile(model)
    triggers = []
    for step in range(4):
        point = theta + 0.01 * rng.normal(size=len(theta))
        found = plan.estimate(point, None, step)
        assert np.abs(found.value - gradient(model, point).value).max() <= 0.2
        triggers.append(found.info["triggers"])
        assert all(getattr(found.cost, k) <= getattr(plan.cost, k) for k in KEPT)
    assert triggers[0] >= 5 and max(triggers[1:]) <= triggers[0] / 2
    plan.forget()
    assert plan.estimate(theta, None, 9).info["triggers"] > triggers[-1]


def test_a_batch_of_points_and_the_same_seed():
    model, theta = near_identity(2, 4, 0)
    points = theta + 0.1 * np.random.default_rng(1).normal(size=(3, len(theta)))
    plan = quick().compile(model)
    one, two = plan.estimate(points, None, 5), plan.estimate(points, None, 5)
    assert one.value.shape == points.shape and np.array_equal(one.value, two.value) and one.cost == two.cost


# What it says about its errors.


def test_measured_components_scatter_as_frequencies_of_fresh_copies_and_say_so():
    """A hypothesis that is always wrong: all components are measured on K0 copies, with variance f (1 - f)/K0."""
    model, theta = near_identity(2, 3, 0)
    plan = quick(0.4, hypothesis=Stubborn(3, lambda p: 1.0)).compile(model)
    d, exact, seeds = plan.design, gradient(model, theta).value, 200
    fresh = math.ceil(math.log(4 * 12 / 0.01) / (2 * (0.125 * d.eps) ** 2))
    found = [plan.estimate(theta, None, seed) for seed in range(seeds)]
    assert all(f.info["triggers"] == 12 and f.info["fresh_copies"] == fresh for f in found)
    frequencies = (1 - np.array([f.value for f in found])) / 2
    f = (1 - exact) / 2
    expected = f * (1 - f) / fresh
    assert np.all(np.abs(frequencies.mean(axis=0) - f) < 5 * np.sqrt(expected / seeds))
    ratio = frequencies.var(axis=0, ddof=1) / expected
    assert abs(ratio.mean() - 1) < 5 * math.sqrt(2 / (12 * seeds))
    assert np.all(np.abs(ratio - 1) < 5 * math.sqrt(2 / seeds))
    reported = np.mean([e.stderr**2 for e in found], axis=0) / (4 * expected)
    np.testing.assert_allclose(reported, 1, rtol=0.02)


def test_a_frequency_of_zero_or_one_has_a_standard_error():
    """dF/da = 1: every fresh copy gives the same answer."""
    theta = qpr.params("theta", 1)
    model = qpr.Model(qpr.Circuit(1, params=theta).rx(theta[0], 0), "Y0")
    found = quick(0.4, hypothesis=Stubborn(2, lambda p: -p.sign)).compile(model).estimate([0.0], None, 0)
    assert found.info["triggers"] == 1 and abs(found.value[0]) == 1 and found.stderr[0] > 0


def test_the_error_of_a_prediction_is_the_least_that_its_check_vouches_for():
    """A prediction whose truth is one stderr away passes with probability failure/(2D) at most, and with more half a
    stderr away: counts of undisturbed copies, eps + sqrt(ln(2 D/failure)/(2 k)) by Hoeffding."""
    model, theta = near_identity(2, 3, 0)
    plan = quick(0.4, hypothesis=TellsTheTruth(model, theta, 0.0)).compile(model)
    d, found = plan.design, plan.estimate(theta, None, 0)
    assert found.info["triggers"] == 0
    gap = d.eps + math.sqrt(math.log(2 * 12 / 0.01) / (2 * d.k))
    np.testing.assert_allclose(found.stderr, 2 * gap, rtol=1e-9)
    for p in (0.2, 0.5, 0.7):
        passing = [
            1 - trigger_probability(d.k, p + s / 2 * found.stderr[0], p + d.eps, d.batch.noise) for s in (1, 0.5)
        ]
        assert passing[0] <= 0.01 / (2 * 12) < passing[1]


class TellsTheTruth:
    """Predicts every component off by `gap` in acceptance probability."""

    def __init__(self, model, theta, gap):
        self.n, self.updates, self.classical_ops, self.classical_bytes = model.n_qubits + 1, 0, 0, 0
        self.gap, self.q = gap, -by_angles(model, theta, np.zeros(0), [1.0])

    def predict(self, pauli):
        return self.q[-1 - self.undone] + 2 * self.gap

    def update(self, pauli, step):
        pass

    def rotate(self, pauli, angle):
        self.undone += 1

    def copy(self):
        self.undone = 0
        return self


def test_damage_is_the_sum_of_what_all_passes_do_to_undisturbed_copies():
    """Off by 0.75 eps, so that triggers are rare and passes are felt; distances anew, from binomial laws."""
    model, theta = near_identity(2, 16, 0)
    exact = gradient(model, theta).value
    plan = quick(0.3, c=0.7, hypothesis=TellsTheTruth(model, theta, 0.0)).compile(model)
    d = plan.design
    plan = quick(0.3, c=0.7, hypothesis=TellsTheTruth(model, theta, 0.75 * d.eps)).compile(model)
    found = next(f for seed in range(20) if not (f := plan.estimate(theta, None, seed)).info["triggers"])
    damage, s = 0.0, np.arange(d.k + 1)
    for g in exact:
        p = (1 - g) / 2
        for mean, threshold in ((p, p + 1.75 * d.eps), (1 - p, 1 - p + 0.25 * d.eps)):
            kept = np.sqrt(-np.expm1(np.minimum((s - d.k * threshold) / d.batch.noise, 0)))
            q = stats.binom.pmf(s, d.k, mean)
            damage += math.sqrt(q @ (kept - q @ kept) ** 2 / (q @ kept**2))
    assert damage > 0.02
    assert found.info["damage"] == pytest.approx(damage, rel=1e-5)
    assert found.info["damage_of_batches"] == [found.info["damage"]]
    assert f"damage {damage:.2g}" in str(found)


def test_an_estimate_says_when_damage_makes_its_guarantee_void():
    """Truths at nine tenths of their thresholds, c = 0.35: some batches outlive a damage of 1."""
    model, theta = near_identity(2, 3, 0)
    eps = quick(0.3, c=0.35).compile(model).design.eps
    plan = quick(0.3, c=0.35, hypothesis=TellsTheTruth(model, theta, 0.9 * eps), explain=True).compile(model)
    found = [plan.estimate(theta, None, seed) for seed in range(12)]
    damages = [f.info["damage"] for f in found]
    assert min(damages) <= 1 < max(damages)
    for f, damage in zip(found, damages, strict=True):
        for words in (str(f), str(f.info["sweep"])):
            assert f"damage {damage:.2g}" in words and ("guarantee is void" in words) == (damage > 1)
    batch = plan.estimate(np.tile(theta, (12, 1)), None, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    again = [plan.estimate(theta, None, rng).info["damage"] for _ in range(12)]
    assert batch.info["damage"] == max(again)


@pytest.mark.parametrize("kind", ["quantum_backprop", "gentle_sweep", "fully_gentle"])
def test_what_is_stationary_at_one_point_is_estimated_at_others(kind):
    """Angles theta (x - 1), theta^2/2 - theta and theta^3 - 3 theta have no slope at theta = x = 1."""
    theta, x = qpr.params("theta", 3), qpr.inputs("x", 1)
    a, b, c = theta
    circuit = qpr.Circuit(1, params=theta, inputs=x)
    circuit.rx(a * x[0] - a, 0).rz(b * b / 2 - b, 0).rx(c * c * c - 3 * c, 0)
    model = qpr.Model(circuit, "Y0")
    flat, point = (np.ones(3), np.ones(1)), (np.array([0.4, 0.3, 0.2]), np.array([2.0]))
    exact = gradient(model, *point).value
    assert np.abs(exact).max() > 0.5
    for at in (None, flat, point):
        plan = METHODS[kind](max_error=0.3).compile(model, at=at)
        assert plan.cost.copies > 0
        found = plan.estimate(*point, 0)
        assert np.all(found.stderr > 0)
        assert np.abs(found.value - exact).max() <= 0.3
        assert np.all(plan.estimate(*flat, 0).value == 0)  # and known to be: da/dtheta = 0
    empty = METHODS[kind](max_error=0.3).compile(model, [0.0])
    assert np.all(empty.estimate(*point, 0).value == 0)
    with pytest.raises(QupropError, match=r"compiled for weights \. <O> = 0"):
        empty.estimate(*point, 0, weights=[1.0])


# What it costs.

KEPT = ("copies", "rotations", "measurements", "depth", "qubits", "classical_ops", "classical_bytes")


@pytest.mark.parametrize("hypothesis", ["dense", "typicality"])
@pytest.mark.parametrize("name", ["hardware_efficient", "several_observables", "unused_parameters", "random_paulis"])
def test_the_claimed_cost_is_never_exceeded(name, hypothesis):
    model = CASES[name].model
    theta, x = values_for(model, seed=1)
    w = weights_of(model)
    plan = quick(0.3 * np.abs(Terms.of(model).coefficients(w)).sum(), hypothesis=hypothesis).compile(model, w)
    for seed in range(3):
        found = plan.estimate(theta, x, seed)
        assert all(getattr(found.cost, k) <= getattr(plan.cost, k) for k in KEPT)
    worst = quick(
        0.3 * np.abs(Terms.of(model).coefficients(w)).sum(), hypothesis=Stubborn(model.n_qubits + 1, lambda p: 1.0)
    )
    plan = worst.compile(model, w)
    found = plan.estimate(theta, x, 0)
    assert found.info["triggers"] == len(driven(model))
    # Every component triggers: nothing is left of the bound but the steps that no batch was there to take.
    assert all(getattr(found.cost, k) == getattr(plan.cost, k) for k in ("copies", "depth", "qubits"))
    assert 0.95 * plan.cost.rotations < found.cost.rotations <= plan.cost.rotations


def test_costs_follow_from_the_log():
    """Copies and rotations, summed anew from where batches began and what triggered."""
    model, theta = near_identity(3, 12, 4)
    plan = quick(0.2, explain=True).compile(model)
    found = plan.estimate(theta, None, 2)
    log, d, M = found.info["sweep"], plan.design, model.n_rotations
    began = {}
    for row in log:
        began.setdefault(row.batch, row.layer)
    triggers = [row.layer for row in log if row.triggered]
    assert len(triggers) == found.info["triggers"] > 3
    assert found.cost.copies == d.k * len(began) + d.fresh * len(triggers)
    lengths = {m: M + (M - m - 1) for m in range(M)}
    rotations = sum(d.k * lengths[m] for m in began.values()) + sum(d.fresh * lengths[m] for m in triggers)
    alive = sum(d.k for m in range(1, M) if m not in triggers)  # steps from m to m - 1 with a batch in hand
    assert found.cost.rotations == rotations + alive
    assert found.cost.qubits == d.k * 4 + d.k.bit_length() + 1
    checks = found.cost.measurements - d.fresh * len(triggers)
    assert len(log) <= checks <= 2 * len(log)
    about = plan.expected(len(triggers))
    assert about.copies == pytest.approx(found.cost.copies, rel=0.1)
    assert about.rotations == pytest.approx(found.cost.rotations, rel=0.25)


def test_without_surprises_it_costs_one_batch():
    """Barren gradients are predicted by the mixed state: k copies, swept once. That is expected()."""
    model = qpr.Model(ansatz.random_pauli_rotations(6, 60, 1), "Z0 Z1 X2 Y3 Z4 X5")
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, 60)
    plan = quick(0.6).compile(model)
    found = plan.estimate(theta, None, 0)
    assert found.info["triggers"] == 0 and np.all(found.value == 0)
    expected = plan.expected()
    assert (found.cost.copies, found.cost.rotations) == (expected.copies, expected.rotations)
    assert found.cost.copies == plan.design.k
    assert found.cost.rotations == plan.design.k * (2 * 60 - 1)


def test_design_numbers_are_the_stated_formulas():
    d = SweepDesign(0.05, 4096, 9, 0.5, 0.25, 0.125, 0.01, True)
    assert d.k == math.ceil((0.5 * (math.log(8 * 4096) + 0.5) / 0.0125) ** 2)
    assert d.bound == pytest.approx(2 * 9 * math.log(2) / 0.05**2)
    assert d.triggers == min(4096, math.floor(d.bound) + 2)  # 0.25^3/3! < 0.005 <= 0.25^2/2!
    # Quiet checks: all 2D of them, at the largest gap that shall pass, trigger with probability 1/4 at most.
    from quprop.collective.check import trigger_probability

    each = trigger_probability(d.k, 0.5, 0.5 + d.batch.slack, d.batch.noise)
    assert 2 * 4096 * each < 0.25 * 1.05
    # Beyond `reach` a check passes with the probability that was claimed, or less.
    beyond = 1 - trigger_probability(d.k, 0.5 + d.reach, 0.5 + d.eps, d.batch.noise)
    assert 2 * 4096 * beyond < 0.01


def test_a_plan_names_the_gates_of_a_check():
    """2 k answers are added, by a carry ladder as long as the counter is then, and taken away again."""
    plan = QuantumBackprop(shots=3000).compile(CASES["qaoa"].model)
    k = plan.design.k
    lengths = sum(j.bit_length() for j in range(1, k + 1))
    values = 2 ** k.bit_length()
    said = f"{4 * (lengths - k):,} Toffolis and {2 * lengths + values:,} CNOTs on {2 * k.bit_length()} qubits"
    assert plan.info["check"].startswith(said)


def test_budgets_say_the_same_in_three_ways():
    model, _ = near_identity(3, 4, 0)
    plan = quick(0.2).compile(model)
    by_copies = QuantumBackprop(shots=plan.design.k, engine=NULL).compile(model)
    assert by_copies.design.eps == pytest.approx(plan.design.eps, rel=1e-3)
    by_total = QuantumBackprop(total_shots=plan.cost.copies, engine=NULL).compile(model)
    assert by_total.design.eps == pytest.approx(plan.design.eps, rel=1e-3)
    assert by_total.cost.copies <= plan.cost.copies


# Engines.


def test_control_logic_is_that_of_the_exact_commuting_engine():
    """Commuting rotations: checks are answered from k classical strings, the exact joint law at any size."""
    model = qpr.Model(ansatz.commuting_generator(3), "Z0 Z1")
    theta = np.full(model.n_params, 0.3)  # four components of 0.23: at the threshold, where chance decides
    exact = gradient(model, theta).value
    family = tuple(PairCircuit(model, Terms.of(model)).read)
    settings = {"max_error": 0.24, "slack": 0.5, "verify": 0.2, "margin": "soft"}
    triggers = {}
    for name, engine in (("null", NULL), ("commuting", CommutingEngine(family))):
        plan = QuantumBackprop(engine=engine, **settings).compile(model)
        found = [plan.estimate(theta, None, seed) for seed in range(60)]
        assert all(np.abs(f.value - exact).max() <= 0.24 * 1.25 for f in found)
        assert all(f.cost.copies <= plan.cost.copies for f in found)
        triggers[name] = np.array([f.info["triggers"] for f in found]), np.mean([f.info["damage"] for f in found])
    (a, damage), (b, _) = triggers["null"], triggers["commuting"]
    spread = math.sqrt((a.var() + b.var() + 0.1) / 60)
    assert a.mean() > 0.5 and abs(a.mean() - b.mean()) < 5 * spread + damage


def test_the_law_of_triggers_is_that_of_exact_copies_within_the_damage():
    """24 copies of 2 qubits with all their amplitudes: how often each layer triggers, against undisturbed copies."""
    theta = qpr.params("theta", 3)
    model = qpr.Model(qpr.Circuit(1, params=theta).rx(theta[0], 0).rz(theta[1], 0).rx(theta[2], 0), "Y0")
    point = np.array([0.9, 0.7, 1.1])
    often, damage = {}, 0.0
    for name, engine in (("null", NULL), ("symmetric", SymmetricEngine())):
        plan = QuantumBackprop(shots=24, slack=0.7, verify=0.1, c=0.35, engine=engine, explain=True).compile(model)
        found = [plan.estimate(point, None, seed) for seed in range(80)]
        often[name] = np.mean([f.info["sweep"].column("triggered") for f in found], axis=0)
        damage = max(damage, max(f.info["damage"] for f in found))
    error = np.sqrt((often["null"] * (1 - often["null"]) + 0.02) / 40)
    assert np.all(np.abs(often["null"] - often["symmetric"]) < 5 * error + damage)
    assert damage < 0.5 and often["null"].max() > 0.05
    assert plan.engine.name == "symmetric"


def test_the_log_says_what_happened_layer_by_layer():
    model, theta = near_identity(3, 8, 1)
    found = quick(0.2, explain=True).compile(model).estimate(theta, None, 1)
    log = found.info["sweep"]
    assert [row.layer for row in log] == list(range(model.n_rotations))[::-1]
    assert np.all(np.diff(log.column("copies")) >= 0)
    assert log.layers[-1].copies == found.cost.copies
    for row in log:
        value = row.measured if row.triggered else row.prediction
        assert found.value[row.layer] == pytest.approx(value, abs=1e-12)
    assert found.info["damage"] == pytest.approx(max(found.info["damage_of_batches"]))
    assert "triggers" in str(log) and len(log.as_dict()["layers"]) == len(log)


def test_which_engine_auto_takes():
    small, _ = near_identity(2, 2, 0)
    large, _ = near_identity(4, 64, 0)
    assert QuantumBackprop(max_error=0.3).compile(small).engine.name == "bosonic"
    assert QuantumBackprop(max_error=0.3).compile(large).engine.name == "null"


@pytest.mark.parametrize("runs", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_the_engine_that_auto_takes_keeps_max_error(runs):
    """c = 1: one batch, in which most checks pass and one is 100 standard deviations above its threshold."""
    model, theta = near_identity(2, 6, 2)
    exact = gradient(model, theta).value
    plan = QuantumBackprop(max_error=0.2, c=1.0).compile(model)
    found = [plan.estimate(theta, None, seed) for seed in range(runs)]
    assert sum(np.abs(f.value - exact).max() > 0.2 for f in found) <= runs // 100
    assert plan.engine.name == "product_sum" and "product_sum" in found[0].info["engines_used"]
    assert all(f.info["engine_error"] <= 0.05 for f in found)


# What is refused.


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda m: QuantumBackprop(precision=0.1), "precision= .* says nothing; pass max_error="),
        (lambda m: QuantumBackprop(), "takes one of shots="),
        (lambda m: QuantumBackprop(shots=50).compile(m), r"the smallest that works is [\d,]+"),
        (lambda m: QuantumBackprop(total_shots=100).compile(m), r"the smallest number that works is [\d,]+"),
        (lambda m: QuantumBackprop(max_error=1e-6).compile(m), "no engine simulates more than 1e.12; loosen"),
        (lambda m: quick(slack=0.9), "updates learn nothing"),
        (lambda m: quick(c=-1), "c must be a positive number"),
        (lambda m: quick(margin="some"), "margin is 'hard' or 'soft'"),
        (lambda m: quick(updates_per_layer=0), "updates_per_layer must be a whole number"),
        (lambda m: quick(engine=GaussianEngine()), "has no threshold checks of exponential noise"),
        (lambda m: quick(engine="bosonic"), "engine is 'auto' or a copy engine"),
        (lambda m: quick(hypothesis="dens"), "unknown hypothesis 'dens'; .*dense"),
        (lambda m: quick(hypothesis=3), "hypothesis is 'auto', one of"),
        (lambda m: quick(hypothesis=DenseHypothesis(3)).compile(m), r"must have n \+ 1 = 4 qubits .* got 3"),
        (lambda m: quick(engine=SymmetricEngine()).compile(m), "symmetric engine needs .* NullEngine"),
        (lambda m: quick().compile(m).expected(99), "triggers must be from 0 to 12"),
    ],
)
def test_bad_settings_get_one_sentence(make, sentence):
    model, _ = near_identity(3, 2, 0)
    with pytest.raises(QupropError, match=sentence) as refusal:
        make(model)
    assert "\n" not in str(refusal.value)


def test_sizes_are_refused_before_work_starts():
    model = qpr.Model(qpr.Circuit(15).rx(qpr.params("t", 1)[0], 0), "Z0")
    with pytest.raises(QupropError, match=r"dense hypothesis of 16 qubits needs .*TypicalityHypothesis\(16"):
        quick(hypothesis="dense").compile(model)
    wide = qpr.Model(qpr.Circuit(36).rx(qpr.params("t", 1)[0], 0), "Z0")
    with pytest.raises(QupropError, match="the pair state of 36 qubits needs"):
        quick().compile(wide)


def test_a_model_with_nothing_to_estimate_costs_nothing():
    for name in ("clifford_only", "constant_angles"):
        model = CASES[name].model
        theta, x = values_for(model)
        plan = quick().compile(model, np.zeros(model.n_observables))
        found = plan.estimate(theta, x, 0)
        assert found.cost.copies == plan.cost.copies == 0 and np.all(found.value == 0)
    assert METHODS["quantum_backprop"] is QuantumBackprop


# Statistics over many sweeps.


@pytest.mark.slow
def test_max_error_is_exceeded_as_seldom_as_claimed():
    """margin="hard", 100 sweeps of random circuits at failure = 0.1; "soft" exceeds it now and then, by little."""
    over, worst = {"hard": 0, "soft": 0}, 0.0
    for seed in range(50):
        model = random_model(seed, 3, 30, n_observables=1)
        theta = values_for(model, seed=seed)[0]
        exact = gradient(model, theta).value
        scale = 0.3 * float(np.abs(Terms.of(model).coefficients(np.ones(1))).sum())
        for margin in over:
            plan = quick(scale, failure=0.1, margin=margin).compile(model)
            error = np.abs(plan.estimate(theta, None, seed).value - exact).max() / scale
            over[margin] += error > 1
            worst = max(worst, error)
    assert over["hard"] <= 0.1 * 50
    assert worst <= 1.25


@pytest.mark.slow
def test_rotations_grow_linearly_once_triggers_have_settled():
    """Slope 1.0 +- 0.1 of the rotations executed, log^2 M divided out (O(n log^2 M/eps^4) copies, Theorem 9)."""
    sizes, rotations = [256, 512, 1024, 2048, 4096], []
    for m in sizes:
        found = []
        for seed in range(3):
            model, theta = near_identity(4, m // 8, seed)
            found.append(quick(0.2, margin="soft").compile(model).estimate(theta, None, seed).cost.rotations)
        rotations.append(np.mean(found))
    slope = np.polyfit(np.log(sizes), np.log(np.array(rotations) / np.log(sizes) ** 2), 1)[0]
    assert abs(slope - 1.0) < 0.1


@pytest.mark.slow
def test_a_compressed_hypothesis_serves_ten_qubits():
    model, theta = near_identity(10, 8, 0)
    exact = gradient(model, theta).value
    plan = quick(0.15, hypothesis=TypicalityHypothesis(11, vectors=16)).compile(model)
    found = plan.estimate(theta, None, 0)
    assert np.abs(found.value - exact).max() <= 0.15 < np.abs(exact).max()
    assert found.info["triggers"] < len(driven(model)) / 4
