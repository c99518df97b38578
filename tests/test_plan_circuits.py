"""Circuits of plans: run exactly as they are written, they give the gradient, at the cost that the plan has claimed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cases import CASES, values_for

import quprop as qpr
from quprop import QupropError
from quprop.cost import Cost
from quprop.gradients import METHODS
from quprop.model import ansatz
from quprop.model.pauli import PauliString
from quprop.sampling.copies import draw_bell, squares
from quprop.sampling.copy_requests import Pairs, Preparation
from quprop.sampling.devices.circuits import merged
from quprop.sampling.programs import free
from quprop.sampling.requests import Realiser, as_read
from quprop.sampling.signs import single
from quprop.structure import find_blocks

SLOW = pytest.mark.slow
t, x = qpr.params("theta", 4), qpr.inputs("x", 2)


def _hand_made():
    C = qpr.Circuit
    pixels = np.array([0.6, 0.0, 0.48j, 0.64])
    yield "shared", C(2).ry(t[0], 0).cx(0, 1).ry(0.7 * t[0] - t[1], 1).rz(t[1], 0).rx(t[2], 0), ["Z0 Z1 + 0.5*X0", "Y1"]
    yield "products", C(2).ry(t[0] * t[1], 0).cz(0, 1).rx(t[1] * x[0] + x[1], 1).rxx(t[2] ** 2, 0, 1), ["Z0", "Y0 X1"]
    yield "input state", C(2, pixels).ry(t[0], 0).s(0).cx(0, 1).rx(t[1], 1).rz(t[2], 0), ["X0 Z1 - 0.4*Y1"]
    yield "inputs", C(2, inputs=x).ry(x[0], 0).cx(0, 1).ry(t[0], 1).ry(x[1] + t[1], 0).rx(t[1], 1), ["Z1", "X0 X1"]


def _commuting():
    C = qpr.Circuit
    block = C(3).h(0).rxx(t[0], 0, 1).rx(t[1] * t[0], 2).rotation("XXX", t[2]).rotation("IXX", 0.3 * t[3] - t[0])
    yield "one block", block, ["Z0 Z1 + 0.5*Y2", "Z0 Y1"]
    yield "iqp", ansatz.commuting_generator(3), ["Z0", "Z1 Z2 - 0.5*Y0"]


MODELS = {name: qpr.Model(circuit, observables) for name, circuit, observables in _hand_made()}
COMMUTING = {name: qpr.Model(circuit, observables) for name, circuit, observables in _commuting()}
ONE = qpr.Model(qpr.Circuit(1, [0.6, 0.8j]).rx(t[0], 0).h(0).rz(t[1], 0).ry(t[2] * t[0], 0).rx(0.5 * t[3], 0), "Z0")
SMALL = {name: case.model for name, case in CASES.items() if case.model.n_qubits <= 5} | MODELS
TINY = MODELS | {n: CASES[n].model for n in ("one_qubit", "encoded_and_rotated", "products_of_angles")}
MEANS = {
    "parameter_shift": qpr.ParameterShift(shots=200),
    "parameter_shift, qubit wise": qpr.ParameterShift(total_shots=20_000, grouping="qubit_wise"),
    "parameter_shift, commuting": qpr.ParameterShift(shots=200, grouping="commuting"),
    "parameter_shift, sampled": qpr.ParameterShift(shots=200, grouping="sampled"),
    "hadamard_test, direct": qpr.HadamardTest(shots=200),
    "hadamard_test, reversed": qpr.HadamardTest(shots=200, mode="reversed"),
    "pair_state": qpr.PairState(shots=200),
    "commuting_blocks": qpr.CommutingBlocks(shots=200),
}
LINEAR = [name for name in MEANS if name != "parameter_shift, sampled"]  # which term a shot reads is no mean
OTHERS = {
    "parameter_shift, adaptive": qpr.ParameterShift(shots=200, adaptive=True),
    "random_components": qpr.RandomComponents(shots=200),
    "forward_gradient": qpr.ForwardGradient(shots=30, directions=40),
    "spsa": qpr.SPSA(shots=30, directions=40),
    "finite_difference": qpr.FiniteDifference(shots=200),
}
SHADOWS = {
    "pauli, each": qpr.ClassicalShadows(shots=400),
    "pauli, last": qpr.ClassicalShadows(shots=400, frames="last"),
    "clifford, each": qpr.ClassicalShadows(shots=400, ensemble="clifford"),
    "clifford, medians": qpr.ClassicalShadows(shots=400, ensemble="clifford", groups=20),
    "clifford, last": qpr.CliffordShadows(shots=400),
    "pauli, medians": qpr.ClassicalShadows(shots=400, groups=20),
}


def run(circuits, seed):
    """What a machine without noise says: counts of every setting, from the exact state at its end."""
    rng, found = np.random.default_rng(seed), []
    for w in circuits.work:
        model = qpr.Model(w.circuit.circuit, "Z0")
        values = w.values if model.n_params else np.zeros((1, 0))
        p = np.maximum(qpr.probabilities(model, values, qubits=w.circuit.measured), 0.0)
        counts = rng.multinomial(w.shots, p / p.sum(axis=1, keepdims=True))
        found.append([(np.flatnonzero(c), c[c > 0]) for c in counts])
    return found


def finished(circuits, seed):
    """The estimate, when all rounds are run, and all circuits that were."""
    every = [circuits]
    while True:
        counts = run(every[-1], [seed, len(every)])
        following = every[-1].next(counts)
        if following is None:
            return every[-1].combine(counts), every
        every.append(following)


def points_of(model, count, seed):
    theta, x = values_for(model, count, seed)
    return theta, x, np.arange(1, model.n_observables + 1) / 2


def compiled(method, model, weights, at=None):
    """None where commuting blocks do not serve the model."""
    if isinstance(method, qpr.CommutingBlocks) and find_blocks(model).why_not:
        return None
    return method.compile(model, weights, at=at)


def on_device(cost):
    return replace(cost, classical_ops=0, classical_bytes=0)


def times(cost, count):
    return sum([cost] * count, Cost())


def check(method, models, count, seed=0):
    """The errors of all components in standard errors, bias taken off; and executed = claimed."""
    errors = []
    for k, model in enumerate(models.values()):
        theta, x, w = points_of(model, count, [seed, k])
        plan = compiled(method, model, w, (theta, x))
        if plan is None:
            continue
        found, every = finished(plan.circuits(theta, x, rng=k), k)
        claimed, executed = times(plan.cost, count), sum((c.cost for c in every), Cost())
        assert on_device(found.cost) == on_device(claimed), (found.cost, claimed)
        assert on_device(executed) == on_device(claimed)
        assert found.cost.classical_ops <= claimed.classical_ops
        assert sum(c.shots for c in every) == claimed.measurements
        exact = qpr.value_and_grad(model, theta, x, weights=w, engine="reference")[1]
        free = found.stderr == 0
        np.testing.assert_allclose(found.value[free], exact[free], atol=1e-12)
        error = np.maximum(np.abs(found.value - exact) - getattr(plan, "bias", 0.0), 0.0)
        errors.append((error[~free] / found.stderr[~free]).ravel())
    return np.concatenate(errors)


def check_errors(errors, least=200, low=0.8, high=1.2):
    assert len(errors) >= least
    assert errors.max() < 5.5
    assert low <= np.mean(errors**2) <= high


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=SLOW) if m.endswith(("wise", "commuting")) else m for m in MEANS]
)
def test_means_are_the_gradient_at_the_claimed_cost(method):
    check_errors(check(MEANS[method], COMMUTING if method == "commuting_blocks" else MODELS, 25))


@pytest.mark.slow
@pytest.mark.parametrize("method", MEANS)
def test_means_are_the_gradient_of_every_small_model(method):
    check_errors(check(MEANS[method], SMALL, 10, seed=1))


@pytest.mark.parametrize(
    "method", ["parameter_shift, adaptive", "random_components", pytest.param("forward_gradient", marks=SLOW)]
)
def test_what_is_drawn_is_the_gradient_at_the_claimed_cost(method):
    check_errors(check(OTHERS[method], MODELS, 20))


@pytest.mark.parametrize("method", [pytest.param("spsa", marks=SLOW), "finite_difference"])
def test_differences_are_the_gradient_within_their_bias(method):
    check_errors(check(OTHERS[method], MODELS, 20), low=0.0)


def test_differences_are_what_their_plan_expects():
    """The circuits at the points that are moved, and not at others."""
    model = MODELS["shared"]
    theta, x, w = points_of(model, 70, 3)
    plan = OTHERS["finite_difference"].compile(model, w, at=(theta, x))
    found, _ = finished(plan.circuits(theta, x), 0)
    errors = found.value - [plan.expected(t, s) for t, s in zip(theta, x, strict=True)]
    check_errors((np.abs(errors[:, :3]) / found.stderr[:, :3]).ravel())


@pytest.mark.slow
@pytest.mark.parametrize("method", OTHERS)
def test_other_methods_serve_every_small_model(method):
    check_errors(check(OTHERS[method], SMALL, 4, seed=1), low=0.0)


@pytest.mark.parametrize(
    "method",
    [m if m in ("pauli, each", "clifford, last") else pytest.param(m, marks=SLOW) for m in SHADOWS],
)
def test_random_measurements_are_the_gradient_at_the_claimed_cost(method):
    check_errors(check(SHADOWS[method], {"one": ONE}, 50))


@pytest.mark.slow
@pytest.mark.parametrize("method", SHADOWS)
def test_random_measurements_are_the_gradient_of_every_tiny_model(method):
    """Components of one point share its snapshots, so that some 50 of them are independent."""
    check_errors(check(SHADOWS[method], TINY, 10, seed=1), low=0.5, high=1.6)


@pytest.mark.parametrize("ensemble", ["pauli", "clifford"])
def test_shots_in_one_basis_are_one_setting_and_all_are_run(ensemble):
    """Of two qubits 9 choices of letters and 15 groups of stabilisers, each with its share of the shots."""
    plan = qpr.ClassicalShadows(shots=9000, ensemble=ensemble).compile(ONE)
    circuits = plan.circuits(np.ones(4))
    settings = 9 if ensemble == "pauli" else 15
    assert circuits.n_circuits == settings * len(plan.shadows)
    shots = np.concatenate([w.shots for w in circuits.work])
    assert ensemble == "clifford" or len(circuits.work) == len(plan.shadows)  # letters are angles of one circuit
    assert shots.sum() == 9000 * len(plan.shadows) and abs(shots - 9000 / settings).max() < 6 * (9000 / settings) ** 0.5


def test_stretches_of_random_measurements_are_samples():
    """Shots of one setting are anywhere among all: the mean of a group is no mean of a few settings."""
    plan = qpr.ClassicalShadows(shots=900).compile(ONE)
    (asked,) = plan._asked(ONE.angle_table.evaluate(np.ones((1, 4)), np.zeros((1, 0)))[0], np.zeros(0))
    placed = asked.place(plan.realiser, np.random.default_rng(0))
    work, places = merged(placed.work)
    counts = run(SimpleNamespace(work=work), 0)
    for parts in placed.read([counts[i][j] for w in places for i, j in w], as_read):
        letters, outcomes = map(np.concatenate, zip(*parts, strict=True))
        order = np.arange(len(letters))
        for q in range(2):
            for letter in range(3):
                assert abs(order[letters[:, q] == letter].mean() / 450 - 1) < 0.2
        for column in outcomes.T:
            if 0.2 < column.mean() < 0.8:
                assert abs(order[column == 1].mean() / 450 - 1) < 0.2


def test_random_measurements_take_bits_as_they_are():
    """A reader that gives bits other values would be passed over in silence."""
    circuits = qpr.ClassicalShadows(shots=20).compile(ONE).circuits(np.ones(4))
    with pytest.raises(QupropError, match="errors of readout are not undone in them"):
        circuits.combine(run(circuits, 0), reader=lambda *given: as_read(*given))


def random_state(n, seed):
    rng = np.random.default_rng(seed)
    psi = rng.normal(size=1 << n) + 1j * rng.normal(size=1 << n)
    return psi / np.linalg.norm(psi)


@pytest.mark.parametrize("seed", range(3))
def test_two_copies_have_the_distribution_of_bell_outcomes(seed):
    """The means of all P (x) P, which say all of it, from exact probabilities: <P>^2 on a complex state."""
    n, psi = 2, random_state(2, seed)
    model = qpr.Model(qpr.Circuit(n, psi).rx(t[0], 0).ryy(t[1], 0, 1).s(1).cx(0, 1).rz(t[2], 1), "Z0")
    angles = np.array([0.3, 1.1, -0.7])
    strings = [PauliString(a, b) for a in range(4) for b in range(4)][1:]
    program = free(model)
    source = Preparation(program, angles, np.zeros(0))
    pairs = Pairs(source, strings, 1000)
    placed = pairs.place(Realiser(model), np.random.default_rng(0))
    (w,) = placed.work
    assert w.circuit.copies == 2 and w.circuit.rotations == 6 and w.shots.tolist() == [1000]
    p = qpr.probabilities(qpr.Model(w.circuit.circuit, "Z0"), w.values, qubits=w.circuit.measured).reshape(-1)
    means = placed.read([(np.arange(len(p)), 1000 * p)], as_read)
    state = source.state
    truth = [np.vdot(state, s.matrix(n) @ state).real ** 2 for s in strings]
    np.testing.assert_allclose(means, truth, atol=1e-12)
    x, z, counts = draw_bell(np.random.default_rng(seed), state, state, 200_000)
    np.testing.assert_allclose(squares(strings, n, (x, z, counts)), means, atol=0.012)


def bell_list(seed, n=3, count=20):
    rng = np.random.default_rng(seed)
    state = qpr.Circuit(n)
    for q, angles in enumerate(rng.uniform(-3, 3, (n, 3))):
        state.u(*angles, q).cx(q, (q + 1) % n).rx(angles[0], q)
    masks = rng.permutation(np.arange(1, 4**n))[:count].tolist()
    return qpr.pauli_list_model(state, [PauliString(m >> n, m & ((1 << n) - 1)) for m in masks])


def test_bell_sampling_keeps_its_error_at_its_cost():
    errors = []
    for seed in range(25):
        model = bell_list(seed)
        plan = qpr.BellSampling(max_error=0.35, signs="colouring").compile(model, at=(np.zeros(model.n_params), None))
        theta = np.zeros(model.n_params)
        first = plan.circuits(theta)
        assert first.n_circuits == 1 and first.cost.copies == 2 * plan.pairs == 2 * first.shots
        assert first.cost.qubits == 2 * model.n_qubits and first.cost.rotations == 2 * plan.pairs * model.n_rotations
        found, every = finished(first, seed)
        assert len(every) == 2 and found.cost.copies == sum(c.cost.copies for c in every) <= plan.cost.copies
        shots = single(model.n_params, plan.eps, plan._delta(range(model.n_params)))
        assert every[1].shots == every[1].n_circuits * shots == found.info["colours"] * shots
        exact = qpr.gradient(model, theta).value
        assert np.abs(found.value - exact).max() < 0.35
        large = found.value != 0
        errors.append((found.value - exact)[large] / found.stderr[large])
    check_errors(np.abs(np.concatenate(errors)))


def test_bell_sampling_costs_what_it_claims_where_all_strings_are_large():
    model = qpr.pauli_list_model(qpr.Circuit(2).h(0).cx(0, 1), ["X0 X1", "Y0 Y1", "Z0 Z1"])
    plan = qpr.BellSampling(max_error=0.4, signs="colouring").compile(model, at=(np.zeros(model.n_params), None))
    found, every = finished(plan.circuits(np.zeros(3)), 0)
    np.testing.assert_allclose(found.value, [1, -1, 1], atol=1e-12)
    assert found.cost == plan.cost == sum((c.cost for c in every), Cost())


def test_bell_sampling_of_several_states_has_two_rounds_for_all():
    model = MODELS["shared"]
    theta, x, w = points_of(model, None, 0)
    plan = qpr.BellSampling(shots=3_000_000, signs="colouring", frames="each").compile(model, w, at=(theta, x))
    assert len(plan.fixed) > 2
    found, every = finished(plan.circuits(theta, x), 0)
    assert len(every) == 2 and every[0].n_circuits == len(plan.fixed) and every[1].n_circuits >= 2
    exact = qpr.gradient(model, theta, x, weights=w).value
    assert np.all(np.abs(found.value - exact) <= found.stderr) and found.cost.copies <= plan.cost.copies


@pytest.mark.parametrize("method", LINEAR)
def test_the_linear_map_of_means_is_the_estimate_and_its_covariance(method):
    model = next(iter((COMMUTING if method == "commuting_blocks" else MODELS).values()))
    theta, x, w = points_of(model, None, 5)
    circuits = MEANS[method].compile(model, w).circuits(theta, x)
    counts = run(circuits, 1)
    found, G = circuits.combine(counts), circuits.linear_map()
    reads, flat = circuits.reads(), [one for of_work in counts for one in of_work]
    means = []
    for r, (index, times) in zip(reads, flat, strict=True):
        for mask, sign in zip(r.masks.tolist(), r.signs.tolist(), strict=True):
            odd = np.array([(i & mask).bit_count() % 2 for i in index.tolist()])
            means.append(sign * (times @ (1 - 2 * odd)) / times.sum())
    np.testing.assert_allclose(G @ means, found.value, atol=1e-12)
    covariance = circuits.covariance(counts)
    np.testing.assert_allclose(np.diag(covariance), found.stderr**2, rtol=1e-9)
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-15)
    with pytest.raises(QupropError, match="a linear map is that of one point"):
        MEANS[method].compile(model, w).circuits(np.tile(theta, (2, 1)), x).linear_map()


@pytest.mark.parametrize("method", [qpr.RandomComponents(shots=5), qpr.ClassicalShadows(shots=5)])
def test_what_is_no_linear_function_has_no_linear_map(method):
    with pytest.raises(QupropError, match="is no fixed linear function of means"):
        method.compile(MODELS["shared"], [1, 1]).circuits(np.ones(4)).linear_map()


def bits_of(circuits, counts):
    """As dictionaries of texts, bit 0 on the right."""
    widths = [len(w.circuit.measured) for w in circuits.work for _ in w.shots]
    flat = [one for of_work in counts for one in of_work]
    return [{f"{i:0{b}b}": int(c) for i, c in zip(*one, strict=True)} for one, b in zip(flat, widths, strict=True)]


def test_counts_are_read_from_arrays_numbers_and_texts():
    model = MODELS["shared"]
    plan = qpr.PairState(shots=50).compile(model, [1, 2])
    circuits = plan.circuits(np.ones((2, 4)))
    counts = run(circuits, 0)
    found = circuits.combine(counts)
    assert found.value.shape == (2, 4)
    texts = bits_of(circuits, counts)
    spaced = [{" ".join(k): v for k, v in one.items()} for one in texts]
    numbers = [{int(k, 2): v for k, v in one.items()} for one in texts]
    zeros = [one | {next(k for k in range(99) if k not in one): 0} if len(one) < 4 else one for one in numbers]
    for given in (texts, spaced, numbers, zeros, [one for w in counts for one in w]):
        assert np.array_equal(plan.combine(given).value, found.value)


def test_counts_of_other_circuits_are_refused():
    plan = qpr.ParameterShift(shots=50).compile(ONE)
    circuits = plan.circuits(np.ones(4))
    counts = run(circuits, 0)
    flat = [one for w in counts for one in w]
    for given, sentence in (
        (flat[1:], "settings?, got counts of"),
        ([{0: 49}, *flat[1:]], "setting 0 has 50 shots, got counts of 49: are they counts of other circuits"),
        ([{2: 50}, *flat[1:]], "setting 0 reads 1 bit, got the outcome 2"),
        ([{"00": 50}, *flat[1:]], "setting 0 reads 1 bit, got the outcome '00'"),
        ([{"x": 50}, *flat[1:]], "setting 0 reads 1 bit, got the outcome 'x'"),
        ([{0: 49.5, 1: 0.5}, *flat[1:]], "must be whole numbers"),
        ([{0: 51, 1: -1}, *flat[1:]], "must be whole numbers from 0"),
        ([{0.5: 50}, *flat[1:]], "an outcome is a whole number or a text of bits"),
        ([7, *flat[1:]], "a dictionary of outcomes, or two arrays"),
        ({0: 50}, "counts are a list with one entry for each setting"),
        (None, "counts are a list with one entry for each setting"),
    ):
        with pytest.raises(QupropError, match=sentence):
            circuits.combine(given)
    with pytest.raises(QupropError, match="takes the counts of circuits that this plan gave"):
        qpr.ParameterShift(shots=50).compile(ONE).combine(counts)


def test_a_plan_that_looks_at_counts_has_two_rounds():
    plan = qpr.ParameterShift(shots=50, adaptive=True).compile(ONE)
    first = plan.circuits(np.ones(4))
    counts = run(first, 0)
    with pytest.raises(QupropError, match=r"circuits.next\(counts\) gives them"):
        first.combine(counts)
    second = first.next(counts)
    assert first.shots + second.shots == plan.cost.measurements
    later = run(second, 1)
    assert second.next(later) is None
    assert second.combine(later).cost.copies == plan.cost.copies


@pytest.mark.parametrize(
    "method",
    [
        *(MEANS[m] for m in ("parameter_shift, sampled", "pair_state")),
        *(replace(OTHERS[m], shots=20) for m in ("parameter_shift, adaptive", "random_components", "spsa")),
        *(replace(m, shots=30) for m in SHADOWS.values()),
        qpr.BellSampling(shots=2000, signs="colouring", frames="each"),
    ],
    ids=lambda m: f"{m.name} {getattr(m, 'ensemble', '')} {getattr(m, 'groups', '')}",
)
def test_the_same_counts_give_the_same_bits(method):
    """Combined twice, and by a plan of another process with the same seed; other seeds draw other circuits."""
    theta = np.array([0.3, -0.4, 0.9, 1.4])
    first, again = (method.compile(ONE, at=(theta, None)).circuits(theta, rng=4) for _ in range(2))
    found, every = finished(first, 0)
    for circuits in every:
        assert [w.circuit.key for w in circuits.work] == [w.circuit.key for w in again.work]
        for a, b in zip(circuits.work, again.work, strict=True):
            assert np.array_equal(a.values, b.values) and np.array_equal(a.shots, b.shots)
        counts, last = run(circuits, [0, every.index(circuits) + 1]), again
        again = again.next(counts)
    for e in (every[-1].combine(counts), last.combine(counts)):
        assert np.array_equal(e.value, found.value) and np.array_equal(e.stderr, found.stderr)


@pytest.mark.parametrize("method", LINEAR)
def test_a_program_that_reads_only_the_json_finds_the_gradient(method):
    pytest.importorskip("openqasm3")
    model = next(iter((COMMUTING if method == "commuting_blocks" else MODELS).values()))
    theta, x, w = points_of(model, None, 5)
    text = MEANS[method].compile(model, w).circuits(theta, x, format="json")
    data, grad = json.loads(text), np.zeros(model.n_params)
    assert data["components"] == model.n_params
    for of_circuit in data["circuits"]:
        lines = [line for line in of_circuit["qasm3"].splitlines() if "bit[" not in line or "qubit" in line]
        circuit = qpr.from_qasm("\n".join(line for line in lines if "measure" not in line))
        for setting in of_circuit["settings"]:
            p = qpr.probabilities(qpr.Model(circuit, "Z0"), setting["values"], qubits=of_circuit["measured"])
            for string in setting["strings"]:
                odd = np.array([(k & string["mask"]).bit_count() % 2 for k in range(len(p))])
                for i, weight in string["adds"].items():
                    grad[int(i)] += weight * string["sign"] * (p @ (1 - 2 * odd))
    exact = qpr.gradient(model, theta, x, weights=w).value
    np.testing.assert_allclose(grad, exact, atol=1e-10)


REFUSED = {
    "adjoint": (qpr.Adjoint(), "computed exactly"),
    "amplitude_estimation": (qpr.AmplitudeEstimation(max_error=0.1), "a cost formula"),
    "bell_sampling, majority": (qpr.BellSampling(max_error=0.5), "many copies held together.*signs='colouring'"),
    "bell_sampling, mimicking": (qpr.BellSampling(max_error=0.5, signs="mimicking"), "a mixed state.*'colouring'"),
    "fully_gentle": (qpr.FullyGentle(max_error=0.5), "holds many copies"),
    "gentle_sweep": (qpr.GentleSweep(max_error=0.5), "holds many copies"),
    "quantum_backprop": (qpr.QuantumBackprop(max_error=0.5), "holds many copies"),
    "shot_noise": (qpr.ShotNoise(shots=5), "measures nothing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_plans_without_circuits_say_why(name):
    method, sentence = REFUSED[name]
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0), "Z0")
    with pytest.raises(QupropError, match=sentence):
        method.compile(model).circuits(np.full(4, 0.3))


def test_every_method_has_circuits_or_says_why():
    listed = [m.name for group in (MEANS, OTHERS, SHADOWS) for m in group.values()]
    assert {*listed, *(name.split(",")[0] for name in REFUSED)} >= set(METHODS)


def test_noise_is_the_machines_own():
    model = qpr.Model(qpr.Circuit(1).ry(t[0], 0).depolarising(0.1, 0), "Z0")
    with pytest.raises(QupropError, match=r"noiseless\(\)"):
        qpr.ParameterShift(shots=5).compile(model).circuits(np.full(4, 0.3))


# -- values beside gradients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        qpr.ParameterShift(shots=4000),
        qpr.PairState(shots=4000),
        qpr.ParameterShift(total_shots=200_000, adaptive=True),
        qpr.SPSA(shots=200, directions=4),
    ],
    ids=lambda m: m.name,
)
def test_the_value_is_read_beside_the_gradient(method):
    """Unbiased, with its standard error, at shots of its own that are counted beside the plan's; at two points."""
    t = qpr.params("t", 4)
    circuit = qpr.Circuit(2).ry(t[0], 0).cx(0, 1).rx(t[1], 1).ry(t[2], 0).cz(0, 1).rx(t[3], 0)
    model = qpr.Model(circuit, [{"Z0 Z1": 1.0, "X1": 0.7, "I": 0.4}, {"Y0": 0.3, "Z1": -0.2}])
    weights, theta = [1.0, -0.5], np.array([[0.3, -0.8, 1.1, 0.5], [1.3, 0.2, -0.1, 2.0]])
    exact = qpr.value_and_grad(model, theta, weights=weights)[0]
    plan, device, found = method.compile(model, weights), qpr.device("quprop"), []
    for seed in range(30):
        circuits = plan.circuits(theta, rng=seed, value_shots=400)
        counts = device.submit(circuits.work, seed=seed, tag="").result()
        while (following := circuits.next(counts)) is not None:
            circuits, counts = following, device.submit(following.work, seed=seed + 100, tag="").result()
        estimate = circuits.combine(counts)
        found.append((estimate.info["value"] - exact) / estimate.info["value_stderr"])
        groups = len(plan.value_readings.groups)
        assert estimate.cost.measurements == 2 * (plan.cost.measurements + 400 * groups)
    assert np.shape(found) == (30, 2) and 0.6 < np.mean(np.square(found)) < 1.5
    assert abs(np.mean(found)) < 4 / np.sqrt(60)


def test_the_value_is_the_last_row_of_the_linear_map():
    t = qpr.params("t", 2)
    model = qpr.Model(qpr.Circuit(2).ry(t[0], 0).cx(0, 1).rx(t[1], 1), {"Z0 Z1": 1.0, "X1": 0.7, "I": 0.4})
    plan = qpr.ParameterShift(shots=500).compile(model)
    circuits = plan.circuits([0.3, -0.8], value_shots=700)
    counts = qpr.device("quprop").submit(circuits.work, seed=1, tag="").result()
    estimate, told = circuits.combine(counts), json.loads(circuits.to("json"))
    flat = [outcome for of_work in counts for outcome in of_work]
    means = [
        float(n @ (s * (1 - 2.0 * (np.bitwise_count(b & m) & 1))) / n.sum())
        for (b, n), r in zip(flat, circuits.reads(), strict=True)
        for m, s in zip(r.masks, r.signs, strict=True)
    ]
    *gradient, value = circuits.linear_map() @ np.array(means)
    assert np.array(gradient) == pytest.approx(estimate.value, abs=1e-14)
    assert value + circuits.constant == pytest.approx(estimate.info["value"], abs=1e-14) and circuits.constant == 0.4
    errors = np.sqrt(np.diag(circuits.covariance(counts)))
    assert errors.tolist() == pytest.approx(
        [*estimate.stderr.tolist(), float(estimate.info["value_stderr"])], rel=1e-12
    )
    strings = [s for c in told["circuits"] for setting in c["settings"] for s in setting["strings"]]
    added = sum(s["adds"].get("value", 0.0) * mean for s, mean in zip(strings, means, strict=True))
    assert added + told["constant"] == pytest.approx(estimate.info["value"], abs=1e-14)
    with pytest.raises(qpr.QupropError, match="leave it out"):
        circuits.estimate_by(None)


@pytest.mark.parametrize(("name", "words"), [("mitigation", "is a Mitigation"), ("budget", "is a DeviceBudget")])
def test_words_in_place_of_a_mitigation_or_a_budget_are_refused(name, words):
    with pytest.raises(qpr.QupropError, match=words):
        qpr.gradient(ONE, np.ones(4), method=qpr.ParameterShift(shots=10), rng=0, backend="quprop", **{name: "readout"})
