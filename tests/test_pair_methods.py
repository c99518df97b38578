"""Hadamard tests and the pair state: dF/da_m is the expectation of one Pauli string with an ancilla."""

import dataclasses
import itertools

import numpy as np
import pytest
from cases import CASES, random_model, values_for
from linear_identity import assert_spread, exact_gradient
from tolerances import assert_close

import quprop as qpr
from quprop import QupropError
from quprop.gradients import FORMULAS, AmplitudeEstimation, HadamardTest, PairState, ParameterShift, gradient
from quprop.gradients.pair_state import find_frames, pair_program, undone
from quprop.model import ansatz
from quprop.model.commutation import generators
from quprop.sampling.linear import driven
from quprop.sampling.programs import blank, controlled
from quprop.simulate.state_vector import reference
from quprop.simulate.state_vector.reference import ReferenceEngine
from quprop.simulate.vectors import apply_clifford, expectation, prefix_states

METHODS = {
    "pair_state": PairState,
    "direct": lambda **budget: HadamardTest(grouping="commuting", **budget),
    "sampled": lambda **budget: HadamardTest(grouping="sampled", **budget),
    "reversed": lambda **budget: HadamardTest(mode="reversed", **budget),
}


def _setting(name):
    model = CASES[name].model
    theta, x = values_for(model, seed=3)
    return model, theta, x, np.arange(1, model.n_observables + 1) / 2


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", METHODS)
def test_the_strings_read_have_the_gradient_as_their_expectations(name, method):
    model, theta, x, w = _setting(name)
    truth = gradient(model, theta, x, weights=w).value
    plan = METHODS[method](shots=1).compile(model, w, at=(theta, x))
    assert_close(exact_gradient(plan, theta, x, w), truth, 4000)


@pytest.mark.parametrize(
    "name", ["several_observables", "shared_parameters", "encoded_state", "ising", "clifford_only"]
)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_metered_is_what_was_claimed_and_the_estimate_is_near(name, method):
    model, theta, x, w = _setting(name)
    plan = METHODS[method](shots=3000).compile(model, w, at=(theta, x))
    found = plan.estimate(theta, x, 1)
    assert found.cost == plan.cost
    assert_spread(found.value, gradient(model, theta, x, weights=w).value, found.stderr)


def test_a_flipped_sign_breaks_the_identity():
    model, theta, x, w = _setting("random_paulis")
    truth = gradient(model, theta, x, weights=w).value
    plan = PairState(shots=1).compile(model, w)
    factors = plan.runs[0].factors.copy()
    factors[0, 0] *= -1
    plan.runs = (dataclasses.replace(plan.runs[0], factors=factors), *plan.runs[1:])
    with pytest.raises(AssertionError, match="largest error"):
        assert_close(exact_gradient(plan, theta, x, w), truth, 4000)


def test_the_program_of_all_direct_tests_is_the_circuits_with_a_controlled_string_each():
    model = random_model(5, 3, 12)
    rng = np.random.default_rng(0)
    a = rng.uniform(-3, 3, model.n_rotations)
    plan = HadamardTest(shots=1, grouping="commuting").compile(model, [1.0, 0.5])
    strings, n, engine = generators(model), model.n_qubits, ReferenceEngine()
    theta, x = values_for(model, seed=1)
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    for runs in plan.runs:
        angles = runs.rows.angles(a, 0, len(runs))
        states = engine.states(runs.bare, np.nan_to_num(angles), x[None])
        for r, m in enumerate(driven(model)):
            circuit = blank(model, 1).h(n)
            angle = qpr.params("angle", model.n_rotations)
            for k in range(model.n_rotations):
                circuit.rotation(strings[k], angle[k])
                if k == m:
                    controlled(circuit, n, strings[m])
            for p, t in zip(runs.own[r], runs.terms, strict=True):
                observed = plan.terms.strings[t] * qpr.PauliString(1 << n, 1 << n)
                explicit = qpr.expectation(qpr.Model(circuit, qpr.PauliSum(observed)), a)
                assert abs(expectation(p, states[r]) - explicit[0]) < 1e-12


def _reachable(model, m, place):
    """Whether P_m, read with `place` rotations left, is what it is right after rotation m (by matrices)."""
    strings = generators(model)
    return all(strings[m].commutes(strings[k]) for k in range(m + 1, place)) and place > m


@pytest.mark.parametrize("seed", range(6))
def test_frames_are_the_fewest(seed):
    model = random_model(seed, 2, 7)
    frames, components = find_frames(model), driven(model).tolist()
    strings, M = generators(model), model.n_rotations
    assert sorted(m for f in frames for m in f.members) == components
    for f in frames:
        assert all(_reachable(model, m, f.place) for m in f.members)
        assert all(strings[i].commutes(strings[j]) for i in f.members for j in f.members)
    sets = [{m for m in components if _reachable(model, m, p)} for p in range(1, M + 1)]
    fewest = next(
        k for k in range(M + 1) if any(set().union(*c) == set(components) for c in itertools.combinations(sets, k))
    )
    assert len(frames) == fewest


def test_a_model_of_commuting_rotations_costs_what_its_value_does():
    model = qpr.Model(ansatz.commuting_generator(5), "Z0 Z1")
    assert PairState(shots=7).compile(model).cost.rotations == 7 * model.n_rotations


def test_costs_are_the_stated_formulas():
    model = CASES["hardware_efficient"].model
    M, terms, N = model.n_rotations, 6, 10
    assert HadamardTest(shots=N, mode="reversed").compile(model).cost.rotations == N * terms * sum(
        M + (M - m) for m in range(1, M + 1)
    )
    direct = HadamardTest(shots=N, grouping="commuting").compile(model)
    shift = ParameterShift(shots=N, grouping="commuting", rule="two_term").compile(model)
    assert direct.cost.rotations == N * M * M and 2 * direct.cost.rotations == shift.cost.rotations
    frames = find_frames(model)
    assert PairState(shots=N).compile(model).cost.rotations == N * terms * sum(2 * M - f.place for f in frames)
    assert len(frames) == 4  # two layers of RY and RZ


def test_at_equal_precision_a_direct_test_takes_the_shots_of_parameter_shift():
    model = CASES["hardware_efficient"].model
    a = HadamardTest(precision=0.02, grouping="commuting").compile(model).cost
    b = ParameterShift(precision=0.02, grouping="commuting", rule="two_term").compile(model).cost
    assert abs(a.measurements - b.measurements) <= 4 * model.n_rotations  # rounding up


@pytest.mark.parametrize("method", METHODS)
def test_precision_is_kept(method):
    model, theta, x, w = _setting("shared_parameters")
    found = METHODS[method](precision=0.05).compile(model, w, at=(theta, x)).estimate(theta, x, 3)
    assert np.all(found.stderr <= 0.05 * 1.02)  # the spread of the shots, not the bound


@pytest.mark.parametrize("method", METHODS)
def test_all_components_keep_max_error(method):
    model, theta, x, w = _setting("random_paulis")
    w = w / np.sum(w)
    truth = gradient(model, theta, x, weights=w).value
    plan = METHODS[method](max_error=0.2, failure=0.05).compile(model, w)
    misses = sum(np.abs(plan.estimate(theta, x, seed).value - truth).max() > 0.2 for seed in range(20))
    assert misses <= 1


def test_one_state_read_at_all_its_prefixes_is_every_prefix_on_its_own():
    model = CASES["random_gates"].model
    theta, x = values_for(model, seed=2)
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    program, _ = pair_program(model, qpr.PauliString.parse("X0 Y2"))
    angles = undone(model, [30, 44, 3, 3]).angles(a, 0, 4)
    expected = ReferenceEngine().states(
        program._replace(clifford=type(program.clifford)(program.n_qubits)), np.nan_to_num(angles), np.zeros((1, 0))
    )
    for one, other in zip(prefix_states(program, angles, np.zeros((1, 0))), expected, strict=True):
        assert_close(one, other, 2000)


def test_cliffords_on_vectors_agree_with_the_reference():
    rng = np.random.default_rng(1)
    for name in ("clifford_only", "all_gates", "random_gates", "strongly_entangling"):
        tableau = CASES[name].model.clifford
        psi = rng.normal(size=(1, 1 << len(tableau))) + 1j * rng.normal(size=(1, 1 << len(tableau)))
        psi /= np.linalg.norm(psi)
        overlap = np.vdot(apply_clifford(tableau, psi[0]), reference.apply_clifford(tableau, psi)[0])
        assert abs(abs(overlap) - 1) < 1e-12


def test_the_mode_is_checked():
    with pytest.raises(QupropError, match="mode is direct or reversed"):
        HadamardTest(shots=1, mode="backwards")
    with pytest.raises(QupropError, match="one of shots="):
        PairState()


def test_amplitude_estimation_is_a_formula_of_slope_three_halves():
    assert FORMULAS["amplitude_estimation"] is AmplitudeEstimation
    plans = {}
    for layers in (4, 64):
        model = qpr.Model(ansatz.hardware_efficient(4, layers), "Z0")
        plans[layers] = AmplitudeEstimation(max_error=0.01).compile(model)
    ratio = plans[64].cost.rotations / plans[4].cost.rotations
    logs = np.log(512 / 0.01) / np.log(32 / 0.01)
    assert abs(ratio / (16**1.5 * logs) - 1) < 1e-3
    with pytest.raises(QupropError, match="cannot be run; plan"):
        plans[4].estimate(np.zeros(32), None, 1)
    with pytest.raises(QupropError, match="max_error must be a number above 0"):
        AmplitudeEstimation(max_error=0)
