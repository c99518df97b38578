"""Bell sampling: outcome distributions, magnitudes, signs, and gradients made of them."""

import math

import numpy as np
import pytest
from cases import CASES, values_for
from linear_identity import expected
from scipy.stats import binom, chisquare
from tolerances import assert_close

import quprop as qpr
from quprop import QupropError
from quprop.gradients import BellSampling, gradient, pauli_list_model
from quprop.gradients.bell_sampling import _physical, pairs_for
from quprop.gradients.fixed_state import Fixed, output_state, pair_states, quarter_turns
from quprop.gradients.pair_state import pair_program, undone
from quprop.model.pauli import PauliString
from quprop.sampling.copies import Copies, draw_bell, squares
from quprop.sampling.copy_requests import Preparation
from quprop.sampling.linear import jacobian
from quprop.sampling.programs import free, read_by_programs
from quprop.sampling.signs import ROUTES, colours, mimicking, voters
from quprop.sampling.terms import Terms
from quprop.simulate.vectors import walsh_hadamard

ROUTE_NAMES = list(ROUTES)


def _random_state(n, seed):
    rng = np.random.default_rng(seed)
    psi = rng.normal(size=1 << n) + 1j * rng.normal(size=1 << n)
    return psi / np.linalg.norm(psi)


def _all_paulis(n):
    return [PauliString(x, z) for x in range(1 << n) for z in range(1 << n)]


def _bell_state(n, x, z):
    """Written out pair by pair: Phi+, Phi-, Psi+, Psi- for (x, z) = 00, 01, 10, 11; copy 1 is the left factor."""
    one = {(0, 0): [1, 0, 0, 1], (0, 1): [1, 0, 0, -1], (1, 0): [0, 1, 1, 0], (1, 1): [0, 1, -1, 0]}
    tensor = np.ones(())
    for q in reversed(range(n)):  # the highest qubit is the outermost axis
        tensor = np.multiply.outer(tensor, np.reshape(one[x >> q & 1, z >> q & 1], (2, 2)) / np.sqrt(2))
    return tensor.transpose([*range(0, 2 * n, 2), *range(1, 2 * n, 2)]).ravel()


def bell_distribution(psi: np.ndarray, chi: np.ndarray) -> np.ndarray:
    """The probabilities [x, z] of all 4^n outcomes (small n)."""
    size = len(psi)
    index = np.arange(size)
    return abs(walsh_hadamard(psi * chi[index ^ index[:, None]])) ** 2 / size


@pytest.mark.parametrize("n", [1, 2, 3])
def test_outcomes_have_the_probabilities_of_dense_bell_states(n):
    psi, chi = _random_state(n, 1), _random_state(n, 2)
    for a, b in ((psi, psi), (psi, chi)):
        dense = [[abs(np.vdot(_bell_state(n, x, z), np.kron(a, b))) ** 2 for z in range(1 << n)] for x in range(1 << n)]
        assert np.abs(bell_distribution(a, b) - dense).max() < 1e-14


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_mean_over_outcomes_is_the_product_of_expectations(n):
    psi, chi = _random_state(n, 3), _random_state(n, 4)
    p = bell_distribution(psi, chi)
    x, z = (m.ravel() for m in np.indices(p.shape))
    paulis = _all_paulis(n)
    product = [(np.vdot(psi, q.matrix(n) @ psi) * np.vdot(chi, q.matrix(n) @ chi)).real for q in paulis]
    assert np.abs(squares(paulis, n, (x, z, p.ravel())) - product).max() < 1e-14
    without_y = [abs(v) for v in squares(paulis, n, (x, z, p.ravel()))]
    assert np.abs(np.array(without_y) - product).max() > 0.01  # a lost sign of Y Y would be seen


@pytest.mark.parametrize("pairs", [40_000, 3_000_000], ids=["pair by pair", "by multinomials"])
def test_draws_follow_the_distribution(pairs):
    psi, chi = _random_state(2, 5), _random_state(2, 6)
    x, z, counts = draw_bell(np.random.default_rng(1), psi, chi, pairs)
    seen = np.zeros((4, 4))
    np.add.at(seen, (x, z), counts)
    assert seen.sum() == pairs
    assert chisquare(seen.ravel(), pairs * bell_distribution(psi, chi).ravel()).pvalue > 1e-3
    wrong = pairs * bell_distribution(psi, chi.conj()).ravel()
    assert chisquare(seen.ravel(), wrong).pvalue < 1e-6


def test_a_table_of_all_means_is_the_sums_one_by_one(monkeypatch):
    psi = _random_state(4, 7)
    outcomes = draw_bell(np.random.default_rng(2), psi, psi, 500)
    paulis = _all_paulis(4)
    direct = squares(paulis, 4, outcomes)
    monkeypatch.setattr("quprop.sampling.copies._TABLE", 1)
    assert_close(squares(paulis, 4, outcomes), direct, 100)


def test_the_transform_is_the_matrix_of_signs():
    rows = np.random.default_rng(0).normal(size=(3, 8, 2))
    signs = np.array([[(-1) ** (a & z).bit_count() for a in range(8)] for z in range(8)])
    assert_close(walsh_hadamard(rows, 1), np.einsum("za,iak->izk", signs, rows), 20)
    assert_close(walsh_hadamard(rows[..., 0]), rows[..., 0] @ signs, 20)
    counts = np.arange(24, dtype=np.int16).reshape(8, 3)
    found = walsh_hadamard(counts, 0)
    assert found.dtype == np.int16 and np.array_equal(found, signs @ counts)


def _clifford_point(model, seed):
    """theta and x for which many angles are multiples of pi/2."""
    theta, x = values_for(model, seed=seed)
    return np.round(theta / (np.pi / 2)) * np.pi / 2, x


def _exact(model, fixed, terms, a, x, u):
    g = np.zeros(model.n_rotations)
    for f in fixed:
        paired = f.term is not None
        program = pair_program(model, terms.strings[f.term])[0] if paired else free(model)
        angles = undone(model, [f.place]).angles(a, 0, 1)[0] if paired else a
        state = Preparation(program, angles, read_by_programs(model, x)).state
        for r, p in zip(f.reads, _physical(program, f, [r.pauli for r in f.reads]), strict=True):
            g[r.target] += r.factor * u[r.term] * expected(p, state)
    return g


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("clifford", [True, False])
def test_the_strings_on_fixed_states_have_the_gradient_as_their_expectations(name, clifford):
    model = CASES[name].model
    theta, x = _clifford_point(model, 3) if clifford else values_for(model, seed=3)
    w = np.arange(1, model.n_observables + 1) / 2
    truth = gradient(model, theta, x, weights=w).value
    terms = Terms.of(model)
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    turns, slopes = quarter_turns(a, len(a)), jacobian(model.angle_table, theta, x)
    found = [pair_states(model, terms, turns)]
    output = output_state(model, terms, turns)
    if isinstance(output, Fixed):
        found.append([output])
    for fixed in found:
        exact = slopes.T @ _exact(model, fixed, terms, a, x, terms.coefficients(w))
        assert_close(exact, truth, 4000)


def test_a_model_at_clifford_angles_is_one_state_and_elsewhere_it_is_not():
    model = CASES["hardware_efficient"].model
    theta, x = _clifford_point(model, 1)
    plan = BellSampling(max_error=0.5).compile(model, at=(theta, x))
    assert len(plan.fixed) == 1 and plan.fixed[0].term is None
    theta[0] += 0.1
    BellSampling(max_error=0.5).compile(model, at=(theta, x))  # the first rotation only makes the state
    theta[-1] += 0.1
    with pytest.raises(QupropError, match=r"its angle is .* no multiple of pi/2; pair_state, hadamard_test"):
        BellSampling(max_error=0.5).compile(model, at=(theta, x))
    with pytest.raises(QupropError, match=r"not known \(pass at=\(theta, x\)\)"):
        BellSampling(max_error=0.5).compile(model)
    with pytest.raises(QupropError, match="compiled for angles with other multiples"):
        BellSampling(shots=1000, frames="each").compile(model).estimate(_clifford_point(model, 1)[0], None, 1)


@pytest.mark.parametrize("signs", ROUTE_NAMES)
@pytest.mark.parametrize("name", ["iqp", "random_paulis", "several_observables", "encoded_state"])
def test_all_components_keep_max_error_and_the_claim(name, signs):
    model = CASES[name].model
    theta, x = _clifford_point(model, 2) if name != "iqp" else values_for(model, seed=2)
    w = np.ones(model.n_observables)
    frames = "one" if name in ("iqp", "random_paulis") else "each"
    truth = gradient(model, theta, x, weights=w).value
    for seed in range(3):
        plan = BellSampling(max_error=0.8, signs=signs, frames=frames).compile(model, w, at=(theta, x))
        found = plan.estimate(theta, x, seed)
        assert np.abs(found.value - truth).max() <= 0.8
        if signs == "majority":
            assert found.cost == plan.cost
            assert found.info["damage"] >= 0 and "damage" in str(found)
        else:
            assert found.cost.copies <= plan.cost.copies and found.cost.rotations <= plan.cost.rotations


@pytest.mark.slow
@pytest.mark.parametrize("signs", ROUTE_NAMES)
def test_misses_are_as_rare_as_promised(signs):
    circuit = qpr.Circuit(3).ry(1.0, 0).cx(0, 1).ry(0.7, 1).cx(1, 2).rx(0.4, 2)
    paulis = _all_paulis(3)[1:]
    model = pauli_list_model(circuit, paulis)
    zero = np.zeros(len(paulis))
    truth = gradient(model, zero).value
    plan = BellSampling(max_error=0.3, failure=0.2, signs=signs).compile(model, at=(zero, np.zeros(0)))
    misses = sum(np.abs(plan.estimate(zero, None, s).value - truth).max() > 0.3 for s in range(100))
    assert misses <= 20


def test_the_list_model_has_expectations_for_its_gradient():
    circuit = qpr.Circuit(3).ry(1.0, 0).cx(0, 1).t(1).rxx(0.3, 1, 2).h(2).s(0)
    paulis = _all_paulis(3)
    psi = qpr.state(qpr.Model(circuit, "Z0"), np.zeros(0))
    expected = [np.vdot(psi, p.matrix(3) @ psi).real for p in paulis]
    model = pauli_list_model(circuit, paulis)
    assert_close(gradient(model, np.zeros(64)).value, expected, 500)
    assert_close(gradient(pauli_list_model(circuit, ["-X0 Y1"]), np.zeros(1)).value[0], -expected[0b011 << 3 | 2], 500)
    with pytest.raises(QupropError, match="without parameters or inputs"):
        pauli_list_model(qpr.Circuit(1).rx(qpr.params("t", 1)[0], 0), ["X0"])


def test_copies_grow_with_the_logarithm_of_the_components():
    """Proposition 7: O(log M / eps^4) copies, so M log M rotations, for all 4^n strings."""
    costs = {}
    for n in (2, 4):
        paulis = _all_paulis(n)
        model = pauli_list_model(qpr.Circuit(n).ry(1.0, 0).cx(0, 1), paulis)
        zero = np.zeros(len(paulis))
        for eps in (0.1, 0.2):
            costs[n, eps] = BellSampling(max_error=eps).compile(model, at=(zero, np.zeros(0))).cost
    for n in (2, 4):
        assert costs[n, 0.1].rotations == costs[n, 0.1].copies * (4**n + 1)  # one rotation prepares the state
        assert 14 < costs[n, 0.1].copies / costs[n, 0.2].copies < 16
    grown = costs[4, 0.1].copies / costs[2, 0.1].copies
    assert abs(grown - math.log(4 * 4**4 / 0.01) / math.log(4 * 4**2 / 0.01)) < 0.01


def test_pairs_meet_hoeffdings_bound():
    K, eps, failure = 100, 0.3, 0.05
    N, error = pairs_for(K, eps, failure), 5 / 16 * eps**2
    assert 2 * K * math.exp(-N * error**2 / 2) <= failure / 2 < 2 * K * math.exp(-(N - 2) * error**2 / 2)
    assert 4 * K * math.exp(-voters(K, eps, failure) * eps**2 / 8) <= failure


def test_votes_are_binomial_tails():
    psi = _random_state(2, 8)
    paulis = _all_paulis(2)[1:]
    copies = Copies(np.random.default_rng(3), psi, 5)
    votes = np.array([copies.votes(paulis, 9)[0] for _ in range(1000)])
    means = np.array([np.vdot(psi, p.matrix(2) @ psi).real for p in paulis])
    up = [sum(binom.pmf(k, 9, (1 + m) / 2) for k in range(5, 10)) for m in means]
    assert np.abs((votes > 0).mean(axis=0) - up).max() < 5 * 0.5 / math.sqrt(1000)
    assert copies.cost.copies == 9 * 1000 and copies.cost.rotations == 5 * 9 * 1000 and copies.cost.qubits == 18


def test_colours_commute_and_cover():
    paulis = _all_paulis(3)[1:]
    sets = colours(paulis)
    assert sorted(i for s in sets for i in s) == list(range(63))
    assert all(paulis[i].commutes(paulis[j]) for s in sets for i in s for j in s)
    assert len(sets) >= 9  # 2^n + 1 sets of 2^n - 1 strings at best


def test_the_mimicking_state_has_every_string_at_a_quarter_of_eps():
    """On a GHZ state of 5 qubits, whose 31 non-trivial stabilisers are ±1: a handful of updates is enough."""
    psi = np.zeros(32, complex)
    psi[[0, 31]] = math.sqrt(0.5)
    stabilisers = [p for p in _all_paulis(5)[1:] if abs(np.vdot(psi, p.matrix(5) @ psi)) > 0.5]
    assert len(stabilisers) == 31
    found = mimicking(Copies(np.random.default_rng(4), psi, 1), stabilisers, 1023, 0.5, 0.01)
    assert found.info["smallest |tr(sigma P)|"] >= 0.125
    assert int(found.info["updates of sigma"].split()[0]) <= 32 * 5 * math.log(2) / 0.25
    assert np.array_equal(found.values, [np.sign(np.vdot(psi, p.matrix(5) @ psi).real) for p in stabilisers])


def test_budgets():
    model = CASES["iqp"].model
    w = np.ones(3)
    assert BellSampling(shots=5000).compile(model, w).pairs == 5000
    plan = BellSampling(total_shots=100_000).compile(model, w)
    assert 99_000 < plan.cost.copies <= 100_000
    with pytest.raises(QupropError, match="the smallest number that works is") as refused:
        BellSampling(total_shots=10).compile(model, w)
    smallest = int(str(refused.value).split()[-1].replace(",", ""))
    assert BellSampling(total_shots=smallest).compile(model, w).cost.copies <= smallest
    with pytest.raises(QupropError, match="pass max_error="):
        BellSampling(precision=0.1)
    with pytest.raises(QupropError, match="signs is one of majority, colouring, mimicking"):
        BellSampling(shots=1, signs="guess")
    with pytest.raises(QupropError, match="dense matrices on up to 10 qubits"):
        big = qpr.Model(qpr.ansatz.commuting_generator(11), "Z0")
        BellSampling(shots=10, signs="mimicking").compile(big)


def test_a_model_with_nothing_to_estimate_costs_nothing():
    model = CASES["clifford_only"].model
    plan = BellSampling(max_error=0.1).compile(model, np.ones(3))
    assert plan.cost == qpr.cost.Cost() and plan.estimate(np.zeros(0), None, 1).value.shape == (0,)
