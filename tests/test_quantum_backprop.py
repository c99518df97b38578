"""Quantum backpropagation: right whatever the hypothesis, within its bounds, every copy counted."""

import math

import numpy as np
import pytest
from cases import CASES, random_model, values_for
from scipy import stats

import quprop as qpr
from quprop.collective.check_circuit import circuit_cost, reading_cost
from quprop.collective.engines.commuting import CommutingEngine
from quprop.collective.engines.frame import RotatingStates
from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.collective.engines.null import NullEngine
from quprop.collective.engines.product_sum import ProductSumEngine
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.collective.event import Event
from quprop.collective.hypothesis import DenseHypothesis, TypicalityHypothesis
from quprop.errors import QupropError
from quprop.gradients import METHODS, ParameterShift, QuantumBackprop, gradient
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice
from quprop.gradients.sweeps.sweep_design import SweepDesign
from quprop.model import ansatz
from quprop.sampling.estimate import shown
from quprop.sampling.linear import driven
from quprop.sampling.programs import free, read_by_programs
from quprop.sampling.terms import Terms

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


def pair_circuit(name):
    """The circuit of a case, u, angles and inputs at a point, and -<Q_m> there from the reference engine."""
    model = CASES[name].model
    theta, x = values_for(model, seed=3)
    w, terms = weights_of(model), Terms.of(model)
    u = terms.coefficients(w)
    if not np.abs(u).sum():
        pytest.skip("no observable")
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    return PairCircuit(model, terms), u, a, x, by_angles(model, theta, x, w) / np.abs(u).sum()


@pytest.mark.parametrize("name", CASES)
def test_every_component_is_an_expectation_on_the_copies_as_they_are_undone(name):
    circuit, u, a, x, exact = pair_circuit(name)
    device = PairDevice(circuit, u, a, x)
    for m in reversed(range(len(a))):
        q = 2 * device._accepting(Event(circuit.read[m])) - 1
        assert q == pytest.approx(-exact[m], abs=1e-10), m
        assert abs(exact[m]) < 1e-3 or q != pytest.approx(exact[m], abs=1e-4)  # the sign is seen
        device.undo(None)


@pytest.mark.parametrize("name", CASES)
def test_the_circuit_takes_the_input_state_to_every_component(name):
    """What a hypothesis of input states predicts, were it sure of the right one; sums of terms included."""
    circuit, u, a, x, exact = pair_circuit(name)
    inputs = np.zeros((1, circuit.program.n_inputs))
    read = read_by_programs(circuit.model, x)
    inputs[0, : len(read)] = read
    phi = qpr.simulate.get_engine().states(circuit.program, np.zeros((1, len(a))), inputs)[0]
    states = RotatingStates((circuit.image(u, a) @ phi)[None])
    for m in reversed(range(len(a))):
        assert states.mean(circuit.read[m]) == pytest.approx(-exact[m], abs=1e-10), m
        states.rotate(circuit.undo[m], -float(a[m]))


# What comes out.


@pytest.mark.slow
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


def test_a_circuit_of_random_strings_keeps_its_accuracy_with_few_readings():
    """n = 4, M = 300, accuracy 0.15: the theorem's batches, each spent by a trigger, took 1.3e6 copies; parameter shift
    takes 300 times what one component takes."""
    model = qpr.Model(ansatz.random_pauli_rotations(4, 300, 2), "Z0 Z1")
    theta = np.random.default_rng(5).uniform(-np.pi, np.pi, 300)
    exact = gradient(model, theta).value
    plan = quick(0.15, explain=True).compile(model)
    found = plan.estimate(theta, None, 0)
    error = np.abs(found.value - exact) / 0.15
    assert error.max() <= 1
    assert np.mean(np.abs(exact) > 0.15) > 0.2  # zeros would not do
    assert 10 <= found.info["triggers"] <= 100
    assert found.cost.copies < 1.5e5
    assert ParameterShift(max_error=0.15).compile(model).cost.copies > 3 * found.cost.copies


class Stubborn:
    """Predicts what it likes, and notes everything it is told."""

    def __init__(self, n, guess):
        self.n, self.guess, self.updates, self.classical_ops, self.classical_bytes = n, guess, 0, 0, 0
        self.told = []

    def predict(self, pauli):
        return self.guess(pauli)

    def learn(self, pauli, value, error):
        self.updates += 1
        self.told.append(("learn", pauli, value, error))

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
    """What the pair state is by construction, readings of a pointer, and the circuit's angles: nothing else."""
    model, theta = near_identity(2, 3, 1)
    spy = Stubborn(3, lambda p: 0.9)
    plan = quick(hypothesis=spy).compile(model)
    found = plan.estimate(theta, None, 0)
    d, exact = plan.design, gradient(model, theta).value
    (kind, pauli, value, error), *told = spy.told
    assert (kind, value) == ("learn", 1.0) and pauli == qpr.PauliString.parse("Z0 Z1 X2") and error < 0.01
    places = iter(range(11, -1, -1))
    m = next(places)
    for kind, pauli, *numbers in told:
        assert isinstance(pauli, qpr.PauliString) and all(isinstance(number, float) for number in numbers)
        if kind == "rotate":
            assert np.isclose(-numbers[0], theta).any()
            m = next(places)
        else:
            assert numbers[0] == pytest.approx(-found.value[m], abs=1e-12)
            assert 0 < abs(numbers[0] + exact[m]) < 6 * numbers[1]
            assert numbers[1] == pytest.approx(2 * d.deviation())
    assert spy.updates > 3


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
    vectors = 16 * 16 * 2**7
    assert vectors <= found.cost.classical_bytes < 2 * vectors  # and where values were learned


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
    assert triggers[0] >= 5 and np.mean(triggers[1:]) <= triggers[0] / 2
    plan.forget()
    assert plan.estimate(theta, None, 9).info["triggers"] > triggers[-1]


def test_what_was_learned_of_the_input_serves_other_angles():
    """A jump to far angles: the warm hypothesis knows the input state by then, and other inputs begin anew."""
    model, theta = near_identity(3, 16, 3)
    plan = quick(0.2, warm_start=True).compile(model)
    rng = np.random.default_rng(5)
    for seed in range(6):
        plan.estimate(theta + rng.normal(0, 0.3, len(theta)), None, seed)
    far = theta + rng.normal(0, 0.3, len(theta))
    warm = plan.estimate(far, None, 9)
    cold = quick(0.2).compile(model).estimate(far, None, 9)
    assert warm.info["triggers"] <= cold.info["triggers"] / 3 and cold.info["triggers"] >= 9
    assert warm.cost.copies < 0.6 * cold.cost.copies  # batches are for as many readings as were needed before
    assert np.abs(warm.value - gradient(model, far).value).max() <= 0.2
    encoded = CASES["encoded_state"].model
    theta, x = values_for(encoded, seed=3)
    w = weights_of(encoded)
    plan = quick(0.25 * float(np.abs(Terms.of(encoded).coefficients(w)).sum()), warm_start=True).compile(encoded, w)
    first = plan.estimate(theta, x, 0)
    plan.estimate(theta, x + 1.0, 0)
    again = plan.estimate(theta, x, 0)
    assert np.array_equal(first.value, again.value)


def test_a_batch_of_points_and_the_same_seed():
    model, theta = near_identity(2, 4, 0)
    points = theta + 0.1 * np.random.default_rng(1).normal(size=(3, len(theta)))
    plan = quick().compile(model)
    one, two = plan.estimate(points, None, 5), plan.estimate(points, None, 5)
    assert one.value.shape == points.shape and np.array_equal(one.value, two.value) and one.cost == two.cost


# What it says about its errors.


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["null", "mean_field"])
def test_readings_scatter_as_counts_and_pointers_do_and_say_so(engine):
    """A hypothesis that is always wrong, in batches for as many readings as there are components: each reading has the
    variance f (1 - f)/k + (s/k)^2, and of turned copies that of their turns besides, at most what stderr allows."""
    model, theta = near_identity(2, 3, 0)
    chosen = NULL if engine == "null" else MeanFieldEngine()
    plan = quick(0.4, hypothesis=Stubborn(3, lambda p: 1.0), engine=chosen).compile(model)
    d, exact, seeds = plan.design, gradient(model, theta).value, 200
    found = [plan.estimate(theta, None, seed) for seed in range(seeds)]
    assert d.readings == 12
    assert all(f.info["triggers"] == 12 and f.info["batches"] == 1 for f in found)
    frequencies = (1 - np.array([f.value for f in found])) / 2
    f = (1 - exact) / 2
    counted = f * (1 - f) / d.k + (d.pointer / d.k) ** 2
    allowed = np.mean([e.stderr**2 for e in found], axis=0) / 4
    assert np.allclose(allowed, d.deviation() ** 2)
    variance = frequencies.var(axis=0, ddof=1)
    spread = 5 * math.sqrt(2 / seeds)
    assert np.all(variance < (1 + spread) * allowed) and np.all(variance > (1 - spread) * counted)
    if engine == "null":
        assert np.all(np.abs(frequencies.mean(axis=0) - f) < 5 * np.sqrt(counted / seeds))
        assert np.all(variance < (1 + spread) * counted)


def test_the_error_of_a_prediction_is_the_least_that_its_check_vouches_for():
    """Copies with the largest spread that the design allows: a prediction whose truth is one stderr away passes with
    probability failure/(2D) at most, and with more two thirds of a stderr away."""
    model, theta = near_identity(2, 3, 0)
    plan = quick(0.4, hypothesis=TellsTheTruth(model, theta, 0.0)).compile(model)
    d, found = plan.design, plan.estimate(theta, None, 0)
    assert found.info["triggers"] == 0
    np.testing.assert_allclose(found.stderr, 2 * d.within(), rtol=1e-9)
    assert d.within() == pytest.approx(d.reach, rel=1e-4)
    spread = math.hypot(d.spread(), d.noise / d.k)
    passing = [stats.norm.cdf((d.eps - s * d.within()) / spread) for s in (1, 2 / 3)]
    assert passing[0] <= 0.01 / (2 * 12) < passing[1]


def test_errors_grow_when_the_last_batch_is_read_more_often_than_it_was_designed_for():
    """One batch for one reading, all components wrong: the second to the last are read and predicted at their price."""
    model, theta = near_identity(2, 3, 0)
    guesses = iter([1.0] * 6 + [0.0] * 6)

    class Late(Stubborn):
        def predict(self, pauli):
            return next(guesses)

    plan = quick(0.9, hypothesis=Late(3, None), readings=1, batches=1).compile(model)
    found = plan.estimate(theta, None, 2)
    assert found.info["batches"] == 1 and found.cost.copies == plan.cost.copies == plan.design.k
    read = np.arange(12) >= 6
    assert found.info["readings_of_batches"][0] >= 6
    d = plan.design

    def spread(j, noise):  # what j readings and their checks turn the copies by, on top of counting
        return math.sqrt(1 / (4 * d.k) + j * d.information / 16 + (noise / d.k) ** 2)

    np.testing.assert_allclose(found.stderr[read][::-1], [2 * spread(j + 1, d.pointer) for j in range(6)])
    assert found.info["triggers"] == 6 and found.info["beyond_the_readings"] == 6
    assert "6 components predicted past the planned readings" in str(found)
    z1 = math.sqrt(2 * math.log(2 * 12 / 0.01))
    np.testing.assert_allclose(found.stderr[~read], 2 * (d.eps + z1 * spread(6, d.noise)))
    assert np.all(found.stderr[~read] > 1.1 * 0.9)


class TellsTheTruth:
    """Predicts every component off by `gap` in acceptance probability."""

    def __init__(self, model, theta, gap):
        self.n, self.updates, self.classical_ops, self.classical_bytes = model.n_qubits + 1, 0, 0, 0
        self.gap, self.q = gap, -by_angles(model, theta, np.zeros(0), [1.0])

    def predict(self, pauli):
        return self.q[-1 - self.undone] + 2 * self.gap

    def learn(self, pauli, value, error):
        pass

    def rotate(self, pauli, angle):
        self.undone += 1

    def copy(self):
        self.undone = 0
        return self


def test_damage_is_the_information_of_all_that_was_measured_over_what_was_allowed():
    """Off by as much as the thresholds, so that checks are felt: informations anew, from binomial laws."""
    model, theta = near_identity(2, 8, 0)
    exact = gradient(model, theta).value
    d = quick(0.3).compile(model).design
    plan = quick(0.3, hypothesis=TellsTheTruth(model, theta, d.eps), explain=True).compile(model)
    found = plan.estimate(theta, None, 0)
    information, s = 0.0, np.arange(d.k + 1)
    triggered = {row.layer: row.triggered for row in found.info["sweep"] if row.batch == 0}
    assert 5 < sum(triggered.values()) < len(triggered)
    for m, hit in triggered.items():
        p = (1 - exact[m]) / 2
        q = stats.binom.pmf(s, d.k, p)
        above = stats.norm.cdf((s - d.k * (p + 2 * d.eps)) / d.noise)
        below = stats.norm.cdf((d.k * p - s) / d.noise)
        slope = stats.norm.pdf((d.k * p - s) / d.noise) / d.noise
        assert q @ above < 1e-6  # the other side never triggers
        outcome = below if hit else 1 - below
        seen = q > 1e-15
        information += q[seen] @ (slope[seen] ** 2 / outcome[seen]) / (q @ outcome)
        information += hit / d.pointer**2
    assert found.info["damage_of_batches"][0] == pytest.approx(information / d.information, rel=1e-3)
    assert d.information == pytest.approx(d.readings * (1 / d.pointer**2 + 2 / d.noise**2))
    assert f"damage {found.info['damage']:.2g}" in str(found)


def test_an_estimate_says_when_damage_makes_its_guarantee_void():
    """One batch for one reading, and truths at their thresholds."""
    model, theta = near_identity(2, 3, 0)
    d = quick(0.3, readings=1, batches=1).compile(model).design
    truth = TellsTheTruth(model, theta, d.eps)
    plan = quick(0.3, readings=1, batches=1, hypothesis=truth, explain=True).compile(model)
    found = [plan.estimate(theta, None, seed) for seed in range(6)]
    calm = quick(0.3, hypothesis=TellsTheTruth(model, theta, 0.0), explain=True).compile(model)
    found.append(calm.estimate(theta, None, 0))
    damages = [f.info["damage"] for f in found]
    assert min(damages) <= 1 < max(damages)
    for f, damage in zip(found, damages, strict=True):
        for words in (str(f), str(f.info["sweep"])):
            assert shown(damage) in words and ("guarantee is void" in words) == (damage > 1)


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

KEPT = ("copies", "rotations", "toffolis", "measurements", "depth", "qubits", "classical_ops", "classical_bytes")


@pytest.mark.parametrize("hypothesis", ["dense", "typicality"])
@pytest.mark.parametrize("name", ["hardware_efficient", "several_observables", "unused_parameters", "random_paulis"])
def test_the_claimed_cost_is_never_exceeded(name, hypothesis):
    model = CASES[name].model
    theta, x = values_for(model, seed=1)
    w = weights_of(model)
    scale = 0.3 * np.abs(Terms.of(model).coefficients(w)).sum()
    plan = quick(scale, hypothesis=hypothesis).compile(model, w)
    for seed in range(3):
        found = plan.estimate(theta, x, seed)
        assert all(getattr(found.cost, k) <= getattr(plan.cost, k) for k in KEPT)
    wrong = Stubborn(model.n_qubits + 1, lambda p: 1.0)
    plan = quick(scale, hypothesis=wrong, readings=1, batches=3).compile(model, w)
    found = plan.estimate(theta, x, 0)
    assert found.info["triggers"] == len(driven(model)) and found.info["batches"] == min(3, len(driven(model)))
    assert all(getattr(found.cost, k) <= getattr(plan.cost, k) for k in KEPT[:6])
    assert found.cost.copies == plan.cost.copies


def test_costs_follow_from_the_log():
    """Copies, rotations and gates of checks, summed anew from where batches began and what triggered."""
    model, theta = near_identity(3, 12, 4)
    plan = quick(0.2, explain=True, readings=6).compile(model)
    found = plan.estimate(theta, None, 2)
    log, d, M = found.info["sweep"], plan.design, model.n_rotations
    began = {}
    for row in log:
        began.setdefault(row.batch, row.layer)
    triggers = sum(row.triggered for row in log)
    assert len(began) == 2 and triggers == found.info["triggers"] > 6
    assert found.cost.copies == 2 * d.k
    check, pointer = circuit_cost(d.k, d.noise), reading_cost(d.k, d.pointer)
    lengths = [M if batch == 0 else M + (M - m - 1) for batch, m in began.items()]
    counted = len(log) * check.rotations + triggers * pointer.rotations
    alive = M - 1 - 1  # one rotation is undone between the last reading of one batch and the next component
    assert found.cost.rotations == d.k * (sum(lengths) + alive) + counted
    assert found.cost.toffolis == len(log) * check.toffolis + triggers * (pointer.toffolis - d.k + d.k.bit_count())
    assert len(log) <= found.cost.measurements - triggers <= 2 * len(log)  # the other side is not asked after a trigger
    expected = plan.design.cost(M, int(driven(model)[0]), [M, began[1] + 1], triggers)
    assert all(getattr(found.cost, k) == getattr(expected, k) for k in ("copies", "toffolis", "qubits"))
    assert expected.rotations == found.cost.rotations + d.k
    assert 0.5 * expected.depth < found.cost.depth <= expected.depth


def test_without_surprises_it_costs_one_batch():
    """Barren gradients are predicted by the mixed state: k copies, swept once. That is expected(0)."""
    model = qpr.Model(ansatz.random_pauli_rotations(6, 60, 1), "Z0 Z1 X2 Y3 Z4 X5")
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, 60)
    plan = quick(0.9).compile(model)
    found = plan.estimate(theta, None, 0)
    assert found.info["triggers"] == 0 and np.abs(found.value).max() < 0.1
    expected = plan.expected(0)
    assert all(getattr(found.cost, k) == getattr(expected, k) for k in KEPT[:6])
    assert found.cost.copies == plan.design.k


def test_design_numbers_solve_the_stated_equations():
    """As the module states them, and no smaller batch does."""
    for D, q, T, failure in ((4096, 9, 45, 0.01), (40, 5, 5, 0.1), (1, 2, 1, 0.01)):
        d = SweepDesign(0.05, D, q, T, 2, failure)
        E, c, r = 0.05, d.noise / d.k, d.pointer / d.k
        P = T / (2 * D)
        C = max(2.0, 0.4 * stats.norm.pdf(stats.norm.ppf(P)) ** 2 / (P**2 * (1 - P)))
        assert (C > 2) == (D == 4096)
        information = T * (1 / d.pointer**2 + C / d.noise**2)
        w2 = 1 / (4 * d.k) + information / 16
        assert d.spread() ** 2 == pytest.approx(w2) and d.information == pytest.approx(information)
        z0, z1, z2 = -stats.norm.ppf(min(0.25 / D, 0.5)), *(math.sqrt(2 * math.log(a * D / failure)) for a in (2, 4))
        assert z1 * math.sqrt(w2 + c**2) == pytest.approx(E - d.eps, rel=1e-4)
        assert z0 * math.sqrt(w2 + c**2) == pytest.approx(d.eps, rel=1e-4, abs=1e-9)
        assert z2 * math.sqrt(w2 + r**2) == pytest.approx(E, rel=1e-4)
        # u = w^2 is the best there is: on a grid no other gives fewer copies.
        v2 = 1 / (z0 + z1) ** 2
        u = np.linspace(0.01, 0.99, 500) * min(v2, 1 / z2**2)
        each = T / 16 * (1 / (1 / z2**2 - u) + C / (v2 - u))
        kappa = (0.25 + np.sqrt(0.0625 + 4 * u * each)) / (2 * u)
        assert kappa.min() / E**2 == pytest.approx(d.k, rel=1e-3)


def test_a_plan_names_the_gates_of_a_check():
    plan = QuantumBackprop(shots=3000).compile(CASES["qaoa"].model)
    check = circuit_cost(plan.design.k, plan.design.noise)
    assert plan.info["check"].startswith(f"{check.toffolis:,} Toffolis, {check.rotations:,} rotations and")


def test_budgets_say_the_same_in_three_ways():
    model, _ = near_identity(3, 4, 0)
    plan = quick(0.2).compile(model)
    for said in ({"shots": plan.design.k}, {"total_shots": plan.cost.copies}):
        found = QuantumBackprop(**said, engine=NULL).compile(model)
        assert found.design.reach == pytest.approx(plan.design.reach, rel=1e-3)
        assert found.design.k <= plan.design.k
    by_total = QuantumBackprop(total_shots=plan.cost.copies, engine=NULL).compile(model)
    assert by_total.cost.copies <= plan.cost.copies


# Engines.


def test_control_logic_is_that_of_the_exact_commuting_engine():
    """Commuting rotations: checks are answered from k classical strings, the exact joint law at any size."""
    model = qpr.Model(ansatz.commuting_generator(3), "Z0 Z1")
    theta = np.full(model.n_params, 0.3)  # four components of 0.23
    exact = gradient(model, theta).value
    family = tuple(PairCircuit(model, Terms.of(model)).read)
    d = quick(0.6).compile(model).design
    settings = {"max_error": 0.6 * 0.23 / (2 * d.eps), "hypothesis": Stubborn(4, lambda p: 0.0)}  # thresholds at 0.23
    triggers = {}
    for name, engine in (("null", NULL), ("commuting", CommutingEngine(family)), ("mean_field", MeanFieldEngine())):
        plan = QuantumBackprop(engine=engine, **settings).compile(model)
        assert 2 * plan.design.eps == pytest.approx(0.23, rel=1e-3)
        found = [plan.estimate(theta, None, seed) for seed in range(80)]
        assert all(np.abs(f.value - exact).max() <= settings["max_error"] for f in found)
        assert all(f.cost.copies <= plan.cost.copies for f in found)
        triggers[name] = np.array([f.info["triggers"] for f in found])
    a = triggers["null"]
    assert 1 < a.mean() < 3  # chance decides
    for b in triggers.values():
        assert abs(a.mean() - b.mean()) < 5 * math.sqrt((a.var() + b.var() + 0.1) / 80)


@pytest.mark.slow
def test_sweeps_of_exact_copies_keep_their_accuracy():
    """100 copies of 2 qubits with all their amplitudes, read where they trigger."""
    theta = qpr.params("theta", 3)
    model = qpr.Model(qpr.Circuit(1, params=theta).rx(theta[0], 0).rz(theta[1], 0).rx(theta[2], 0), "Y0")
    point = np.array([0.9, 0.7, 1.1])
    exact = gradient(model, point).value
    errors = {}
    for name, engine in (("symmetric", SymmetricEngine()), ("mean_field", MeanFieldEngine())):
        plan = QuantumBackprop(shots=100, failure=0.1, readings=2, engine=engine, explain=True).compile(model)
        found = [plan.estimate(point, None, seed) for seed in range(60)]
        assert plan.engine.name == name
        errors[name] = np.array([np.abs(f.value - exact) for f in found]) / (2 * plan.design.reach)
        assert np.mean(errors[name].max(axis=1) > 1) <= 0.1
        assert np.mean([f.info["triggers"] for f in found]) > 0.5
    a, b = (e.mean(axis=0) for e in errors.values())
    spread = np.sqrt(sum(e.var(axis=0) for e in errors.values()) / 60)
    assert np.all(np.abs(a - b) < 5 * spread)


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
    large, _ = near_identity(9, 2, 0)
    assert QuantumBackprop(max_error=0.3).compile(small).engine.name == "gaussian"
    assert QuantumBackprop(max_error=0.3).compile(large).engine.name == "mean_field"


@pytest.mark.parametrize("runs", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_the_engine_that_auto_takes_keeps_max_error(runs):
    model, theta = near_identity(2, 6, 2)
    exact = gradient(model, theta).value
    plan = QuantumBackprop(max_error=0.2).compile(model)
    found = [plan.estimate(theta, None, seed) for seed in range(runs)]
    assert sum(np.abs(f.value - exact).max() > 0.2 for f in found) <= runs // 50
    assert all("gaussian" in f.info["engines_used"] and f.info["engine_error"] < 0.05 for f in found)
    assert all(f.info["damage"] <= 1 for f in found)


# What is refused.


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda m: QuantumBackprop(precision=0.1), "precision= .* says nothing; pass max_error="),
        (lambda m: QuantumBackprop(), "takes one of shots="),
        (lambda m: QuantumBackprop(shots=50).compile(m), r"the smallest number that works is [\d,]+"),
        (lambda m: QuantumBackprop(total_shots=100).compile(m), r"the smallest number that works is [\d,]+"),
        (lambda m: QuantumBackprop(max_error=1e-6).compile(m), "no engine simulates more than 1e.12; loosen"),
        (lambda m: quick(readings=0), "readings must be a whole number, 1 or more, got 0"),
        (lambda m: quick(batches=1.5), "batches must be a whole number, 1 or more, got 1.5"),
        (lambda m: quick(bond_dimension=-1), "bond_dimension must be a whole number"),
        (lambda m: quick(engine=ProductSumEngine()), "product_sum engine do not outlive a trigger"),
        (lambda m: quick(engine="bosonic"), "engine is 'auto' or a copy engine"),
        (lambda m: quick(hypothesis="dens"), "unknown hypothesis 'dens'; .*dense"),
        (lambda m: quick(hypothesis=3), "hypothesis is 'auto', one of"),
        (lambda m: quick(hypothesis=DenseHypothesis(3)).compile(m), r"must have n \+ 1 = 4 qubits .* got 3"),
        (lambda m: quick(engine=SymmetricEngine()).compile(m), "symmetric engine needs .* MeanFieldEngine"),
        (lambda m: quick().compile(m).expected(99), "readings must be from 0 to 12"),
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
    with pytest.raises(QupropError, match="the pair state of 36 qubits as 1 matrix products needs"):
        quick(bond_dimension=10**7).compile(wide)


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
@pytest.mark.parametrize("engine", [MeanFieldEngine(), "auto"])
def test_max_error_is_exceeded_as_seldom_as_promised(engine):
    """200 sweeps of four kinds of circuits at failure = 0.1, copies turned by what was measured on them."""
    over = runs = 0
    for seed in range(50):
        theta = values_for(CASES["ising"].model, seed=seed)[0]
        kinds = [(random_model(seed, 3, 30, n_observables=1), None), near_identity(3, 8, seed)]
        kinds += [(qpr.Model(ansatz.hardware_efficient(3, 4), "Z0 Z1"), None), (CASES["ising"].model, theta)]
        for model, point in kinds:
            point = values_for(model, seed=seed)[0] if point is None else point
            w = weights_of(model)
            exact = gradient(model, point, weights=w).value
            scale = 0.25 * float(np.abs(Terms.of(model).coefficients(w)).sum())
            plan = quick(scale, failure=0.1, engine=engine).compile(model, w)
            found = plan.estimate(point, None, seed)
            allowed = np.maximum(scale, found.stderr)
            over += bool(np.any(np.abs(found.value - exact) > allowed))
            runs += 1
    assert runs == 200 and over <= 0.1 * runs


@pytest.mark.slow
def test_rotations_grow_linearly_once_a_state_is_known():
    """Slope 1.0 +- 0.15 of the rotations executed, ln M divided out, batches for as many readings at all sizes."""
    sizes, rotations = [256, 512, 1024, 2048, 4096], []
    for m in sizes:
        found = []
        for seed in range(3):
            model, theta = near_identity(4, m // 8, seed)
            plan = quick(0.2, engine=MeanFieldEngine()).compile(model)
            found.append(plan.estimate(theta, None, seed).cost.rotations)
        rotations.append(np.mean(found))
    slope = np.polyfit(np.log(sizes), np.log(np.array(rotations) / np.log(8 * np.array(sizes))), 1)[0]
    assert abs(slope - 1.0) < 0.15


@pytest.mark.slow
def test_a_compressed_hypothesis_serves_ten_qubits():
    model, theta = near_identity(10, 8, 0)
    exact = gradient(model, theta).value
    plan = quick(0.15, hypothesis=TypicalityHypothesis(11, vectors=16), engine=MeanFieldEngine()).compile(model)
    found = plan.estimate(theta, None, 0)
    assert np.abs(found.value - exact).max() <= 0.15 < np.abs(exact).max()
    assert found.info["triggers"] < len(driven(model)) / 4
