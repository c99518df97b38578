"""Gentle sweeps: their error, their cost, what readings do to copies, and how both grow with M."""

import math

import numpy as np
import pytest
from cases import CASES, values_for

import quprop as qpr
from quprop.collective.check_circuit import reading_cost
from quprop.collective.engines.gaussian import GaussianEngine
from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.collective.engines.null import NullEngine
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.errors import QupropError
from quprop.gradients import METHODS, FullyGentle, GentleSweep, ParameterShift, gradient
from quprop.model import ansatz
from quprop.sampling.terms import Terms

BOTH = pytest.mark.parametrize("kind", [GentleSweep, FullyGentle])
MODELS = ["one_qubit", "shared_parameters", "several_observables", "encoded_state", "ising", "identity_terms"]


def setting(name):
    model = CASES[name].model
    theta, x = values_for(model, seed=3)
    w = np.arange(1, model.n_observables + 1) / 2
    return model, theta, x, w, max(1.0, float(np.abs(Terms.of(model).coefficients(w)).sum()))


def growing(m):
    """RY, RZ and CX on four qubits, m parameters."""
    return qpr.Model(ansatz.hardware_efficient(4, m // 8), "Z0 Z1")


@BOTH
@pytest.mark.parametrize("name", MODELS)
def test_all_components_keep_max_error_and_the_cost_is_as_claimed(kind, name):
    model, theta, x, w, norm = setting(name)
    plan = kind(max_error=0.2 * norm, failure=0.05).compile(model, w, at=(theta, x))
    exact = gradient(model, theta, x, weights=w).value
    for seed in range(4):
        found = plan.estimate(theta, x, seed)
        assert np.abs(found.value - exact).max() <= 0.2 * norm
        assert found.cost == plan.cost
    assert np.abs(found.value - exact).max() > 1e-4


@BOTH
def test_a_flipped_sign_is_seen(kind):
    model, theta, x, w, norm = setting("ising")
    plan = kind(max_error=0.2 * norm).compile(model, w)
    exact = gradient(model, theta, x, weights=w).value
    plan.circuit.read = [-p for p in plan.circuit.read]
    assert np.abs(plan.estimate(theta, x, 0).value - exact).max() > 0.2 * norm


@BOTH
def test_means_are_right_within_the_stated_bias(kind):
    model, theta, x, w, norm = setting("random_gates")
    plan = kind(max_error=0.5 * norm).compile(model, w)
    found = np.array([plan.estimate(theta, x, seed).value for seed in range(40)])
    error = found.std(axis=0, ddof=1) / math.sqrt(40)
    assert np.all(np.abs(found.mean(axis=0) - gradient(model, theta, x, weights=w).value) < plan.bias + 5 * error)
    assert plan.bias < 0.5 * norm


@BOTH
def test_standard_errors_are_the_spread_that_repeats_show(kind):
    model, theta, x, w, norm = setting("ising")
    plan = kind(precision=0.1 * norm).compile(model, w)
    found = [plan.estimate(theta, x, seed) for seed in range(50)]
    observed = np.array([f.value for f in found]).var(axis=0, ddof=1).sum()
    reported = np.array([f.stderr for f in found])
    ratio = math.sqrt((reported**2).mean(axis=0).sum() / observed)
    # One batch reports kicks at their worst; several report what they see.
    assert 0.9 < ratio < (1.1 if plan.method.batches > 1 else 1.6)
    assert math.sqrt(observed / model.n_params) <= 0.1 * norm * 1.05


def collinear(readings, state=(2**-0.5, 2**-0.5 * 1j)):
    """|+i>, RX(0), then RZ(0) many times, observable Y: the copies are (|0> + |1>)|+i>, and all later rotations read
    Y_anc Z, whose kicks add up to one angle Phi and turn the last string read, Y_anc X, into <Y_anc X> = sin(Phi)."""
    theta = qpr.params("theta", readings + 1)
    circuit = qpr.Circuit(1, np.array([state]), params=theta).rx(theta[0], 0)
    for t in theta[1:]:
        circuit.rz(t, 0)
    return qpr.Model(circuit, "Y0")


def test_the_drift_of_the_copies_has_its_closed_form_and_reaches_its_bound():
    """Var = E sin^2(Phi) + pointer + counting, Phi ~ N(0, D/(4 s^2)): the bound, where all kicks point one way."""
    D = 63
    model = collinear(D)
    plan = GentleSweep(shots=400, batches=1).compile(model)
    s, k = plan.readings.noise, plan.readings.copies
    found = np.array([plan.estimate(np.zeros(D + 1), None, seed).value[0] for seed in range(300)])
    v = D / (4 * s**2)
    kicked = (1 - math.exp(-2 * v)) / 2
    expected = kicked + (2 * s / k) ** 2 + (1 - kicked) / k
    assert kicked > 0.7 * v  # what the design reckons with
    assert abs(math.log(np.mean(found**2) / expected)) < 5 * math.sqrt(2 / 300)


@pytest.mark.slow
def test_the_stated_bias_is_that_of_kicks_that_all_point_one_way():
    """The same strings on |0>: <Y_anc X> = cos(Phi), whose mean is exp(-D/(8 s^2)); D/(8 s^2) is stated."""
    D, seeds = 15, 1000
    plan = GentleSweep(shots=10, batches=1).compile(collinear(D, (1, 0)))
    bias = -math.expm1(-D / (8 * plan.readings.noise**2))
    assert bias <= plan.bias < 1.2 * bias
    found = np.array([plan.estimate(np.zeros(D + 1), None, seed).value[0] for seed in range(seeds)])
    assert abs(found.mean() + 1 - bias) < 5 * found.std() / math.sqrt(seeds) < bias
    batches = GentleSweep(shots=80, batches=8).compile(collinear(D, (1, 0)))  # eight such sweeps
    assert batches.bias == pytest.approx(plan.bias, rel=0.02)


def test_pointers_have_the_noise_that_balances_the_kicks():
    """s^2 = sqrt(D) k/4: the rotation read first, before all kicks, has the variance (sqrt(D) + 1 - <Q>^2)/k."""
    D, k, seeds = 63, 400, 200
    plan = GentleSweep(shots=k, batches=1).compile(collinear(D - 1))
    assert plan.readings.noise**2 == pytest.approx(math.sqrt(D) * k / 4)
    found = np.array([plan.estimate(np.zeros(D), None, seed).value[-1] for seed in range(seeds)])
    expected = (math.sqrt(D) + 1) / k  # <Q> = 0
    assert abs(found.var() / expected - 1) < 5 * math.sqrt(2 / seeds)
    assert abs(found.mean()) < 5 * math.sqrt(expected / seeds)


def test_kicks_are_what_limits_the_noise():
    """With pointers six times sharper than designed, readings drown in the kicks of those before."""
    plan = GentleSweep(max_error=0.3, batches=1).compile(collinear(255))
    at = np.zeros(256)
    assert max(np.abs(plan.estimate(at, None, seed).value).max() for seed in range(5)) <= 0.3
    plan.readings = plan.readings._replace(noise=plan.readings.noise / 6)
    assert max(np.abs(plan.estimate(at, None, seed).value).max() for seed in range(5)) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("engine", [SymmetricEngine(), GaussianEngine()])
def test_engines_give_the_law_of_mean_field_readings(engine):
    """Mean and spread of every component over repeats; exact copies, few of them, and Gaussian states of many."""
    theta = qpr.params("theta", 5)
    circuit = qpr.Circuit(1, params=theta)
    for k, t in enumerate(theta):
        circuit.gate("rx" if k % 2 == 0 else "rz", t, 0)
    model = qpr.Model(circuit, "Y0")
    point = np.array([0.9, 0.7, 1.1, 0.4, -0.6])
    settings = {"shots": 12 if isinstance(engine, SymmetricEngine) else 400, "batches": 1}
    laws = []
    for chosen in (MeanFieldEngine(), engine):
        plan = GentleSweep(engine=chosen, **settings).compile(model)
        found = np.array([plan.estimate(point, None, seed).value for seed in range(120)])
        laws.append((found.mean(axis=0), found.std(axis=0, ddof=1)))
    (a, s), (b, t) = laws
    assert np.all(np.abs(a - b) < 5 * np.sqrt((s**2 + t**2) / 120))
    assert np.all(np.abs(np.log(s / t)) < 5 / math.sqrt(120))


def test_every_reading_of_fully_gentle_is_alpha_gentle():
    model = growing(64)
    theta = np.random.default_rng(2).uniform(-np.pi, np.pi, 64)
    plan = FullyGentle(max_error=0.2).compile(model)
    found = plan.estimate(theta, None, 0)
    alpha = 0.2 / (4 * 64)
    assert 0.2 * alpha < found.info["reading_distance"] <= alpha
    weak = GentleSweep(max_error=0.2).compile(model).estimate(theta, None, 0)
    assert weak.info["reading_distance"] > 20 * alpha  # what the random walk allows


@pytest.mark.slow
def test_rates_in_the_number_of_parameters():
    """Counted costs, M = 64 to 4,096, ln(2M/failure) divided out: copies sqrt(M) and M^2, rotations M^1.5 and M^3."""
    sizes = 2 ** np.arange(6, 13)
    logs = np.log(2 * sizes / 0.01)
    slopes = {}
    for kind in (GentleSweep, FullyGentle, ParameterShift):
        costs = [kind(max_error=0.1).compile(growing(int(m))).cost for m in sizes]
        for what in ("copies", "rotations"):
            counted = np.array([getattr(c, what) for c in costs], float)
            slopes[kind.__name__, what] = np.polyfit(np.log(sizes), np.log(counted / logs), 1)[0]
    assert slopes["GentleSweep", "copies"] == pytest.approx(0.5, abs=0.05)
    assert slopes["GentleSweep", "rotations"] == pytest.approx(1.5, abs=0.05)
    assert slopes["FullyGentle", "copies"] == pytest.approx(2.0, abs=0.02)
    assert slopes["FullyGentle", "rotations"] == pytest.approx(3.0, abs=0.02)
    assert slopes["ParameterShift", "rotations"] == pytest.approx(2.0, abs=0.02)


@BOTH
def test_every_reading_pays_for_its_count_and_its_pointer(kind):
    """Per reading of k copies: k - w(k) full adders and the pointer's carries; a half Gaussian of 2^(w-1) - 1 turns."""
    model, D, batches = growing(16), 16, 3
    plan = kind(shots=1000, batches=batches).compile(model)
    found = plan.estimate(np.zeros(16), None, 0).cost
    assert found == plan.cost
    toffolis = rotations = deepest = widest = 0
    s = plan.readings.noise
    h = 2 ** max(0, math.floor(math.log2(s / 16)))
    bits = math.ceil(math.log2(15 * s / h))
    for k in (333, 333, 334):
        pointer = max(k.bit_length(), bits + int(math.log2(h))) + 1
        carries = k - bin(k).count("1") + pointer - 1
        toffolis += D * carries
        rotations += k * 31 + D * (2 ** (bits - 1) - 1)
        deepest = max(deepest, 31 + D * (k.bit_length() - 1 + pointer - 1 + 2 ** (bits - 1) - 1))
        widest = max(widest, k * 5 + carries + pointer)
    assert (found.toffolis, found.rotations, found.depth, found.qubits) == (toffolis, rotations, deepest, widest)
    assert plan.info["reading"].startswith(f"{carries:,} Toffolis, {2 ** (bits - 1) - 1:,} rotations")


def test_batches_share_copies_and_cost_nothing():
    model = growing(64)
    one, eight = (GentleSweep(precision=0.05, batches=b).compile(model) for b in (1, 8))
    assert one.cost.copies == eight.cost.copies
    for plan, batches in ((one, 1), (eight, 8)):  # a copy is as long in one as in eight
        readings = batches * 64 * reading_cost(100, plan.readings.noise).rotations
        assert plan.cost.rotations - readings == one.cost.copies * (2 * model.n_rotations - 1)
    assert eight.cost.measurements == 8 * 64 and eight.cost.qubits < one.cost.qubits / 6


def test_budgets_in_copies():
    model = growing(64)
    plan = GentleSweep(precision=0.05).compile(model)
    again = GentleSweep(total_shots=plan.cost.copies).compile(model)
    assert again.readings.noise == pytest.approx(plan.readings.noise, rel=1e-3)
    plan = FullyGentle(precision=0.3).compile(model)
    again = FullyGentle(shots=plan.cost.copies).compile(model)
    assert again.readings.noise == pytest.approx(plan.readings.noise, rel=1e-3)


def test_a_model_with_nothing_to_estimate_costs_nothing():
    model, theta, x, _, _ = setting("clifford_only")
    for kind in (GentleSweep, FullyGentle):
        plan = kind(max_error=0.1).compile(model, np.ones(model.n_observables))
        found = plan.estimate(theta, x, 0)
        assert found.cost == plan.cost and found.cost.copies == 0
    assert METHODS["gentle_sweep"] is GentleSweep and METHODS["fully_gentle"] is FullyGentle


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda m: GentleSweep(), "takes one of shots="),
        (lambda m: GentleSweep(shots=5).compile(m), "fewer than one for each of the 8 batches; .* works is 8"),
        (lambda m: GentleSweep(max_error=1e-8).compile(m), "no engine simulates more than 1e.15; loosen"),
        (lambda m: FullyGentle(max_error=1e-4).compile(m), "no engine simulates more than 1e.15; loosen"),
        (lambda m: GentleSweep(shots=50, batches=0), "batches must be a whole number"),
        (lambda m: GentleSweep(shots=50, engine=NullEngine()), "does not simulate what readings do to copies"),
        (lambda m: FullyGentle(shots=50, engine="gaussian"), "engine is 'auto' or a copy engine"),
        (lambda m: GentleSweep(shots=9999, engine=SymmetricEngine()).compile(m), "symmetric engine needs .* MeanField"),
    ],
)
def test_bad_settings_get_one_sentence(make, sentence):
    with pytest.raises(QupropError, match=sentence) as refusal:
        make(growing(16))
    assert "\n" not in str(refusal.value)
