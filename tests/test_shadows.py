"""Classical shadows: uniform Cliffords, unbiased snapshots, shadow norms, medians of means, gradients."""

import math

import numpy as np
import pytest
from cases import CASES, values_for
from linear_identity import assert_spread, expected
from scipy.stats import chisquare
from tolerances import assert_close

import quprop as qpr
from quprop import QupropError
from quprop.gradients import ClassicalShadows, CliffordShadows, PairState, gradient
from quprop.gradients.classical_shadows import propagated, shadow_frames, swept
from quprop.gradients.pair_state import Frame, find_frames
from quprop.model.ansatz import random_pauli_rotations
from quprop.model.commutation import generators
from quprop.model.pauli import PauliString
from quprop.planning.structure import shape_of
from quprop.sampling import snapshots as shadow
from quprop.sampling.linear import driven, jacobian, slope_bounds
from quprop.sampling.shape import Wanted
from quprop.sampling.terms import Terms


def _random_state(n, seed):
    rng = np.random.default_rng(seed)
    psi = rng.normal(size=1 << n) + 1j * rng.normal(size=1 << n)
    return psi / np.linalg.norm(psi)


def _traceless(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(1 << n, 1 << n)) + 1j * rng.normal(size=(1 << n, 1 << n))
    a = a + a.conj().T
    return a - np.trace(a) / (1 << n) * np.eye(1 << n)


def _all_paulis(n):
    return [PauliString(x, z) for x in range(1 << n) for z in range(1 << n)]


def _codes(found, n):
    """One integer for each symplectic class, and one for the signs."""
    symplectic, signs = 0, 0
    for c in range(2 * n):
        symplectic = symplectic << 2 * n | found.x[:, c] << n | found.z[:, c]
        signs = signs << 1 | found.sign[:, c]
    return symplectic, signs


@pytest.mark.parametrize(("n", "classes"), [(1, 6), (2, 720)])
def test_cliffords_are_uniform(n, classes):
    """24 = 6 * 4 for one qubit, 11,520 = 720 * 16 for two."""
    count = max(100 * classes, 20_000)
    symplectic, signs = _codes(shadow.random_cliffords(np.random.default_rng(1), n, count), n)
    values, seen = np.unique(symplectic, return_counts=True)
    assert len(values) == classes
    assert chisquare(seen).pvalue > 1e-3
    assert chisquare(np.bincount(signs, minlength=4**n)).pvalue > 1e-3
    if n == 1:
        assert len(np.unique(symplectic * 4 + signs)) == 24
    biased = np.concatenate([symplectic, symplectic[: count // 5][symplectic[: count // 5] < np.median(values)]])
    assert chisquare(np.unique(biased, return_counts=True)[1]).pvalue < 1e-6


@pytest.mark.parametrize("n", [1, 3, 6])
def test_cliffords_keep_the_commutation_relations(n):
    found = shadow.random_cliffords(np.random.default_rng(2), n, 200)
    x, z = found.x, found.z
    clash = np.bitwise_count(x[:, :, None] & z[:, None]) + np.bitwise_count(z[:, :, None] & x[:, None]) & 1
    canonical = np.kron([[0, 1], [1, 0]], np.eye(n, dtype=int))
    assert np.array_equal(clash, np.broadcast_to(canonical, clash.shape))
    again = shadow.random_cliffords(np.random.default_rng(2), n, 200)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("ensemble", shadow.ENSEMBLES)
def test_snapshots_have_the_expectation_of_every_string_as_their_mean(ensemble):
    psi, paulis, rng = _random_state(2, 1), _all_paulis(2)[1:], np.random.default_rng(3)
    count = 40_000
    if ensemble == "pauli":
        values = shadow.pauli_values(shadow.pauli_snapshots(rng, psi, count), paulis)
    else:
        values = shadow.clifford_values(shadow.clifford_snapshots(rng, psi, count), paulis)
    truth = [expected(p, psi) for p in paulis]
    assert_spread(values.mean(axis=0), truth, values.std(axis=0) / math.sqrt(count))
    norms = [shadow.pauli_norm(p, ensemble, 2) for p in paulis]
    second = (values**2).mean(axis=0)  # for a string it is the norm itself, whatever the state
    assert_spread(second, norms, (values**2).std(axis=0) / math.sqrt(count))
    with pytest.raises(AssertionError):  # one flipped sign in fifteen
        assert_spread(-values[:, 0].mean(), truth[0], values[:, 0].std() / math.sqrt(count))


@pytest.mark.parametrize("ensemble", shadow.ENSEMBLES)
def test_dense_observables_of_strings_are_the_strings(ensemble):
    psi, paulis, rng = _random_state(3, 4), _all_paulis(3)[1::5], np.random.default_rng(5)
    matrices = np.array([p.matrix(3) for p in paulis])
    if ensemble == "pauli":
        found = shadow.pauli_snapshots(rng, psi, 50)
        one, other = shadow.pauli_values(found, paulis), shadow.dense_pauli_values(found, matrices)
    else:
        found = shadow.clifford_snapshots(rng, psi, 50)
        one, other = shadow.clifford_values(found, paulis), shadow.dense_clifford_values(found, matrices)
    assert_close(other, one, 1000)
    assert_close(shadow.dense_norms(matrices, ensemble), [shadow.pauli_norm(p, ensemble, 3) for p in paulis], 1000)


def test_on_one_qubit_the_two_ensembles_are_one():
    """Three bases, whichever way they are drawn: the closed formula and the enumeration of snapshots agree."""
    observables = np.array([_traceless(1, s) for s in range(5)])
    assert_close(shadow.dense_norms(observables, "pauli"), shadow.dense_norms(observables, "clifford"), 200)


@pytest.mark.parametrize("ensemble", shadow.ENSEMBLES)
def test_no_state_has_a_second_moment_above_the_norm(ensemble):
    rng, count = np.random.default_rng(6), 20_000
    observables = np.array([_traceless(2, s) for s in range(3)])
    norms = shadow.dense_norms(observables, ensemble)
    for seed in range(4):
        psi = _random_state(2, seed) if seed else np.linalg.eigh(observables[0])[1][:, -1]
        if ensemble == "pauli":
            values = shadow.dense_pauli_values(shadow.pauli_snapshots(rng, psi, count), observables)
        else:
            values = shadow.dense_clifford_values(shadow.clifford_snapshots(rng, psi, count), observables)
        truth = [np.vdot(psi, o @ psi).real for o in observables]
        assert_spread(values.mean(axis=0), truth, values.std(axis=0) / math.sqrt(count))
        assert np.all((values**2).mean(axis=0) < norms * 1.05)
        assert norms.max() <= 3 * np.einsum("lij,lji->l", observables, observables).real.max() or ensemble == "pauli"


def _states(plan, a, x):
    """What each shadow is of, and the rotations that it takes."""
    for asked in plan._asked(a, x):
        yield from zip(asked.states(), np.count_nonzero(~np.isnan(asked.angles), axis=1), strict=True)


@pytest.mark.parametrize("frames", ["each", "last"])
@pytest.mark.parametrize("name", CASES)
def test_what_a_shadow_is_asked_for_is_the_gradient(name, frames):
    model = CASES[name].model
    if frames == "last" and model.n_qubits > 4:
        return
    theta, x = values_for(model, seed=3)
    w = np.arange(1, model.n_observables + 1) / 2
    plan = ClassicalShadows(shots=1, frames=frames).compile(model, w)
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    u, g = Terms.of(model).coefficients(w), np.zeros(model.n_rotations)
    dense = (
        dict(zip(driven(model).tolist(), propagated(model, a, driven(model)), strict=True)) if frames == "last" else {}
    )
    ancilla, strings = PauliString(1 << model.n_qubits, 1 << model.n_qubits), generators(model)
    for (t, f), (state, length) in zip(plan.shadows, _states(plan, a, x), strict=True):
        assert length == 2 * model.n_rotations - f.place
        for m in f.members:
            mean = np.vdot(state, dense[m] @ state).real if dense else expected(ancilla * strings[m], state)
            g[m] -= u[t] * mean
    assert_close(jacobian(model.angle_table, theta, x).T @ g, gradient(model, theta, x, weights=w).value, 4000)


@pytest.mark.parametrize("ensemble", shadow.ENSEMBLES)
@pytest.mark.parametrize("frames", ["each", "last"])
@pytest.mark.parametrize("name", ["one_qubit", "shared_parameters", "encoded_state"])
def test_estimates_are_near_and_cost_what_was_claimed(name, frames, ensemble):
    model = CASES[name].model
    theta, x = values_for(model, seed=3)
    w = np.arange(1, model.n_observables + 1) / 2
    plan = ClassicalShadows(shots=4000, frames=frames, ensemble=ensemble).compile(model, w, at=(theta, x))
    found = plan.estimate(theta, x, 1)
    assert found.cost == plan.cost
    assert_spread(found.value, gradient(model, theta, x, weights=w).value, found.stderr)


def test_a_shadow_serves_strings_that_do_not_commute_with_one_another():
    model = qpr.Model(qpr.Circuit(2).rx(qpr.params("t", 2)[0], 0).rz(qpr.params("t", 2)[1], 0), "X0")
    assert shadow_frames(model) == [Frame(1, (0, 1))]
    assert [f.place for f in find_frames(model)] == [2, 1]
    for case in CASES.values():
        assert len(shadow_frames(case.model)) <= len(find_frames(case.model))


def test_global_observables_cost_what_their_weight_says():
    """Remark 4: norms 3^w and 2^(n+1) + 1, exponential where the strings are global."""
    n = 4
    model = qpr.Model(qpr.Circuit(n).rotation("X" * n, qpr.params("t", 1)[0]), "Z0")
    for ensemble, norm in (("pauli", 3 ** (n + 1)), ("clifford", 2 ** (n + 1) + 1)):
        plan = ClassicalShadows(precision=0.1, ensemble=ensemble).compile(model)
        assert plan.cost.measurements == math.ceil(norm / 0.1**2 * (1 - 1e-12))
        assert f"{norm:.4g}" in plan.info["squared shadow norms"]
    assert PairState(precision=0.1).compile(model).cost.measurements == 100


def test_the_copies_of_theorem_1():
    model = CASES["iqp"].model
    w, eps, delta = [1.0, 0.0, 0.0], 0.5, 0.02
    groups = math.ceil(2 * math.log(2 * model.n_params / delta))
    plan = ClassicalShadows(max_error=eps, failure=delta, groups=groups).compile(model, w)
    assert plan.groups == groups and not plan.unbiased
    with pytest.raises(QupropError, match=f"takes {groups} groups or more for 10 parameters, or one, got groups=13"):
        ClassicalShadows(max_error=eps, failure=delta, groups=13).compile(model, w)
    share = plan.shots[0] / plan.groups
    norm = max(shadow.pauli_norm(PauliString(r.x | 16, r.z | 16), "pauli", 5) for r in model.rotations)
    assert share == math.ceil(34 * norm / eps**2 * (1 - 1e-12))


def test_a_median_of_means_keeps_max_error():
    model = qpr.Model(qpr.Circuit(1).rx(qpr.params("t", 2)[0], 0).ry(qpr.params("t", 2)[1], 0), "Z0")
    theta = np.array([0.4, 0.9])
    truth = gradient(model, theta).value
    plan = ClassicalShadows(max_error=0.5, failure=0.1).compile(model)
    assert sum(np.abs(plan.estimate(theta, None, s).value - truth).max() > 0.5 for s in range(20)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "tolerance"), [(1, 0.06), (25, 0.1)])
def test_stderr_is_the_spread_of_repeats(groups, tolerance):
    """25 groups: sqrt(pi/2) is the factor of infinitely many, 2 % off here; 400 repeats know a spread to 3.5 %."""
    model = CASES["shared_parameters"].model
    theta, x = values_for(model, seed=3)
    plan = ClassicalShadows(shots=1500, groups=groups).compile(model, at=(theta, x))
    found = [plan.estimate(theta, x, s) for s in range(400)]
    spread = np.std([f.value for f in found], axis=0)
    stated = np.sqrt(np.mean([f.stderr**2 for f in found], axis=0))
    live = spread > 1e-9
    assert abs(np.mean(stated[live] / spread[live]) - 1) < tolerance
    mean = np.mean([f.value for f in found], axis=0)
    assert_spread(mean, gradient(model, theta, x).value, spread / math.sqrt(400))


def test_settings_are_checked():
    big = CASES["random_paulis"].model
    wide = qpr.Model(qpr.ansatz.hardware_efficient(11, 1), "Z0")
    with pytest.raises(QupropError, match="in matrices on up to 11 qubits, but the pair state of this model has 12"):
        CliffordShadows(shots=10).compile(wide)
    with pytest.raises(QupropError, match="frames='last' computes with dense matrices on up to 6 qubits"):
        ClassicalShadows(shots=10, frames="last").compile(big, [1.0, 1.0])
    nine = qpr.Model(qpr.ansatz.hardware_efficient(8, 1), "Z0")
    with pytest.raises(QupropError, match=r"for each of 100,000 groups needs .* GiB .* take fewer groups"):
        CliffordShadows(shots=10**5, groups=10**5).compile(nine)
    with pytest.raises(QupropError, match="ensemble is pauli or clifford"):
        ClassicalShadows(shots=10, ensemble="haar")
    with pytest.raises(QupropError, match="groups must be a whole number"):
        ClassicalShadows(shots=10, groups=0)
    with pytest.raises(QupropError, match="take fewer groups or more shots"):
        ClassicalShadows(shots=3, groups=4).compile(big, [1.0, 1.0])


# Averages of Clifford snapshots of the last frame.


def _random_rotations(n, m, seed, observable="Z0"):
    rng = np.random.default_rng(seed)
    return qpr.Model(random_pauli_rotations(n, m, rng), observable), rng.uniform(-np.pi, np.pi, m)


SMALL = [name for name, case in CASES.items() if case.model.n_qubits <= 3]


@pytest.mark.parametrize(("n", "count"), [(1, 20), (3, 40), (6, 600)])
def test_a_clifford_snapshot_is_one_string_measured_after_another(n, count):
    psi, rng = _random_state(n, 2), np.random.default_rng(5)
    found = shadow.clifford_snapshots(np.random.default_rng(5), psi, count)
    drawn = shadow.random_cliffords(rng, n, count)
    uniform = rng.random((n, count))
    for s in range(0, count, 1 + count // 40):
        state = psi
        for k in range(n):
            moved = PauliString(int(drawn.x[s, k]), int(drawn.z[s, k])).matrix(n) @ state
            up = 1 if uniform[k, s] < (1 + np.vdot(state, moved).real) / 2 else -1
            state = state + up * moved
            state /= np.linalg.norm(state)
        assert_close(found[s], state, 100)


@pytest.mark.parametrize("name", CASES)
def test_the_sweep_of_the_exact_state_is_the_gradient(name):
    model = CASES[name].model
    theta, x = values_for(model, seed=3)
    w = np.arange(1, model.n_observables + 1) / 2
    plan = CliffordShadows(shots=1).compile(model, w)
    if not plan.shadows:
        return
    a, u = model.angle_table.evaluate(theta[None], x[None])[0], Terms.of(model).coefficients(w)
    A = sum(
        -u[t] * shadow.summed_with_y(state[None])
        for (t, _), (state, _) in zip(plan.shadows, _states(plan, a, x), strict=True)
    )
    g = swept(model, a, np.array([A, 2 * A]), driven(model))
    slopes = jacobian(model.angle_table, theta, x)[driven(model)]
    exact = gradient(model, theta, x, weights=w).value
    assert_close(slopes.T @ g[0], exact, 4000)
    assert_close(slopes.T @ g[1], 2 * exact, 4000)


@pytest.mark.parametrize(("shots", "groups"), [(1, None), (20, None), (75, None), (20, 3)])
@pytest.mark.parametrize("name", SMALL)
def test_averages_are_what_dense_observables_say_of_each_snapshot(name, shots, groups):
    model = CASES[name].model
    theta, x = values_for(model, seed=3)
    w = np.arange(1, model.n_observables + 1) / 2
    plan = CliffordShadows(shots=shots, groups=groups).compile(model, w, at=(theta, x))
    found = plan.estimate(theta, x, 7)
    assert found.cost == plan.cost
    a, u = model.angle_table.evaluate(theta[None], x[None])[0], Terms.of(model).coefficients(w)
    observables, rng = propagated(model, a, driven(model)), np.random.default_rng(7)
    slopes = jacobian(model.angle_table, theta, x)[driven(model)]
    y = np.zeros((shots, model.n_params))
    for (t, _), (state, _) in zip(plan.shadows, _states(plan, a, x), strict=True):
        y -= u[t] * (shadow.dense_clifford_values(shadow.clifford_snapshots(rng, state, shots), observables) @ slopes)
    parts = np.array_split(y, groups or 1)
    assert_close(found.value, np.median([p.mean(axis=0) for p in parts], axis=0), 4000)
    if shots == 20 and groups is None:  # a batch is a snapshot
        live = y.std(axis=0) > 1e-6
        assert_close(found.stderr[live], y.std(axis=0, ddof=1)[live] / math.sqrt(shots), 40_000)


def test_a_snapshot_of_the_last_frame_has_the_variance_of_its_norm():
    """2^(n+1) + 1 - g^2 for every component, whatever the circuit and the state; stderr knows it."""
    model, theta = _random_rotations(3, 6, seed=4, observable="Z0 Y2")
    exact, shots, repeats = gradient(model, theta).value, 64, 500
    plan = CliffordShadows(shots=shots).compile(model)
    rng = np.random.default_rng(3)
    found = [plan.estimate(theta, None, rng) for _ in range(repeats)]
    values, variances = np.array([f.value for f in found]), np.array([f.stderr**2 for f in found])
    law = (17 - exact**2) / shots
    assert_spread(values.mean(axis=0), exact, np.sqrt(law / repeats))
    assert np.all(np.abs(values.var(axis=0, ddof=1) / law - 1) < 5 * math.sqrt(2 / repeats))
    assert np.all(np.abs(variances.mean(axis=0) / law - 1) < 5 * math.sqrt(2 / 31 / repeats) + 0.01)


@pytest.mark.parametrize("settings", [{}, {"ensemble": "clifford"}, {"ensemble": "clifford", "frames": "last"}])
@pytest.mark.parametrize("name", CASES)
def test_max_error_is_kept_by_bernsteins_inequality(name, settings):
    """P exp(-t) on either side, e^2 = 2 t (v + c e), with the second moment v and the range c/3 of a mean."""
    model, eps, delta = CASES[name].model, 0.3, 0.02
    if not model.n_params:
        return
    at, w = values_for(model, seed=3), np.arange(1, model.n_observables + 1) / 2
    plan = ClassicalShadows(max_error=eps, failure=delta, **settings).compile(model, w, at=at)
    assert plan.groups == 1 and plan.unbiased
    n, u, slopes = model.n_qubits, np.abs(Terms.of(model).coefficients(w)), slope_bounds(model, at).toarray()
    v, c = np.zeros((2, model.n_params))
    for (t, f), shots in zip(plan.shadows, plan.shots, strict=True):
        strings = [PauliString(1 << n, 1 << n) * generators(model)[m] for m in f.members]
        norms = np.array([2.0 ** (n + 1) + 1 if settings else 3.0**p.weight for p in strings])
        mine = slopes[list(f.members)]
        v += (u[t] * np.sqrt(norms) @ mine) ** 2 / shots
        c = np.maximum(c, u[t] * norms @ mine / shots / 3)
    live = v > 0
    failures = 2 * np.exp(-(eps**2) / (2 * (v[live] + c[live] * eps)))
    assert failures.sum() <= delta * (1 + 1e-9)
    if name == "one_qubit" and settings.get("frames") == "last":
        assert failures.max() * model.n_params > 0.98 * delta  # not more than it asks


@pytest.mark.parametrize(("n", "m", "eps", "copies"), [(4, 1024, 0.25, 13_991), (8, 1024, 0.1, 1_296_603)])
def test_the_copies_of_clifford_shadows(n, m, eps, copies):
    """2 ln(2P/failure) (V + V eps/3)/eps^2, V = 2^(n+1) + 1; M rotations each; 73 times fewer than medians of means."""
    model, _ = _random_rotations(n, m, seed=0, observable="Z0 Z1")
    plan = CliffordShadows(max_error=eps).compile(model)
    union, V = 2 * math.log(2 * m / 0.01), 2 ** (n + 1) + 1
    assert plan.cost.copies == math.ceil(union * (V + V * eps / 3) / eps**2) == copies
    assert (plan.cost.rotations, plan.cost.depth, plan.cost.qubits) == (copies * m, m, n + 1)
    medians = CliffordShadows(max_error=eps, groups=math.ceil(union)).compile(model)
    assert 30 < medians.cost.copies / copies < 36


@pytest.mark.parametrize("method", [ClassicalShadows, CliffordShadows])
@pytest.mark.parametrize("name", ["ising", "shared_parameters", "several_observables", "iqp", "qaoa"])
def test_the_formula_knows_how_far_one_snapshot_reaches(name, method):
    """Where the wanted error is coarse, R eps/3 is as large as V."""
    model = CASES[name].model
    w, at = np.linspace(0.7, 1.5, model.n_observables), values_for(model, seed=3)
    shape = shape_of(model, w, at=at)
    for eps in (0.5, 4.0):
        plan = method(max_error=eps).compile(model, w, at=at)
        fewest = len(plan.shadows)  # each rounds up
        formula = method.formula(shape, Wanted("max_error", eps))
        assert abs(formula.copies - plan.cost.copies) <= 1e-9 * plan.cost.copies + fewest


def test_every_component_keeps_max_error():
    model, theta = _random_rotations(2, 24, seed=6, observable="Z0 X1 + 0.5*Y1")
    exact, eps = gradient(model, theta).value, 0.3
    for method in (CliffordShadows(max_error=eps), ClassicalShadows(max_error=eps, frames="each")):
        plan = method.compile(model)
        errors = [np.abs(plan.estimate(theta, None, s).value - exact).max() for s in range(24)]
        assert max(errors) <= eps


def test_a_pair_state_of_nine_qubits():
    model, theta = _random_rotations(8, 40, seed=1, observable="Z0 Z1 + 0.5*X3")
    plan = CliffordShadows(shots=3000).compile(model)
    assert plan.cost.copies == 6000 and plan.cost.classical_bytes == 16 * 4**8 * 34
    assert plan.cost.classical_ops == 4**8 * (4 * 6000 + 40 * (33 * (4 + 2) + 4))  # products; 33 and W turned, 33 read
    found = plan.estimate(theta, None, 2)
    assert_spread(found.value, gradient(model, theta).value, found.stderr)
    assert np.abs(found.stderr / np.sqrt(513 * 1.25 / 3000) - 1).mean() < 0.2
