"""Cut circuits against the uncut ones: dense matrices, the engine, closed forms, brute force, and repeats of shots."""

import itertools
import math

import dense
import numpy as np
import pytest
from cases import CASES, random_circuit, random_sum, values_for
from tolerances import assert_close

import quprop as qpr
from quprop.model import ansatz
from quprop.modules.cutting import cut
from quprop.modules.cutting.find import Layout, _partition, _sweep, find
from quprop.modules.cutting.fragments import coupling
from quprop.modules.cutting.sample import _choices
from quprop.modules.cutting.steps import unfold

NO_LIMIT = float("inf")
T = qpr.params("theta", 6)
# Cases whose whole state is a product and whose cuts are few enough, with the smallest fragments worth a test.
CUTTABLE = {
    "shared_parameters": 1,
    "products_of_angles": 1,
    "several_observables": 2,
    "unused_parameters": 1,
    "inputs": 1,
    "basis_state": 1,
    "product_state": 1,
    "diagonal_run": 1,
    "qaoa": 2,
    "ising": 2,
    "observables_with_y": 1,
    "identity_terms": 1,
    "constant_angles": 1,
    "clifford_only": 1,
    "hardware_efficient": 3,
    "strongly_entangling": 3,
    "iqp": 2,
}


def _small():
    """Four qubits with gates of every kind across its parts."""
    circuit = qpr.Circuit(4).ry(T[0], 0).ry(T[1], 1).rzz(T[2], 0, 1).rx(T[3], 1).cx(1, 2).ry(T[4], 2)
    return circuit.crx(T[5], 2, 3).ry(T[1], 3).rx(0.3, 0), ["Z0 Z3 + 0.5*X1 Y2 - 0.3*Z1 + 0.4*I", "Y0 X3"]


def _clusters(count, size, rng, chords=0.2):
    """A graph of rings with chords, joined in a chain by one edge each, its vertices shuffled."""
    edges = []
    for c in range(count):
        inside = itertools.combinations(range(size), 2)
        edges += [(c * size + i, c * size + j) for i, j in inside if j - i in (1, size - 1) or rng.random() < chords]
    edges += [(c * size + int(rng.integers(size)), (c + 1) * size + int(rng.integers(size))) for c in range(count - 1)]
    names = rng.permutation(count * size)
    return [(int(names[a]), int(names[b])) for a, b in edges]


def _check_exact(plan, model, theta, x, factor=3000):
    x = x if model.n_inputs else None
    values, pullback = qpr.vjp(model, theta, x)
    cut_values, cut_pullback = plan.vjp(theta, x)
    cotangent = np.random.default_rng(1).normal(size=values.shape)
    assert_close(plan.expectation(theta, x), values, factor)
    assert_close(cut_values, values, factor)
    for mine, theirs in zip(cut_pullback(cotangent), pullback(cotangent), strict=True):
        assert_close(mine, theirs, factor)


# --- exact reconstruction


@pytest.mark.parametrize("name", CUTTABLE)
def test_values_and_gradients_are_those_of_the_uncut_model(name):
    case = CASES[name]
    plan = cut(case.circuit, case.observables, max_qubits=CUTTABLE[name], max_overhead=NO_LIMIT)
    if name != "constant_angles":
        assert plan.cuts or len(plan.fragments) > 1
    assert max(f.n_qubits for f in plan.fragments) <= CUTTABLE[name]
    theta, x = values_for(case.model, 3)
    _check_exact(plan, case.model, theta, x)
    x0 = x[0] if case.model.n_inputs else None
    assert_close(plan.expectation(theta[0], x0), dense.values(case.circuit, case.observables, theta[0], x[0]), 3000)


@pytest.mark.parametrize("seed", range(8))
def test_wires_cut_anywhere_in_random_circuits(seed):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(seed, 3, 12)
    places = [(int(rng.integers(3)), int(rng.integers(1, 12))) for _ in range(2)]
    total = random_sum(rng, 3, 4)
    plan = cut(circuit, total, at_wires=places, max_overhead=NO_LIMIT)
    assert [c.kind for c in plan.cuts] == ["wire"] * 2
    theta, x = values_for(qpr.Model(circuit, total), 2, seed)
    _check_exact(plan, qpr.Model(circuit, total), theta, x)


@pytest.mark.parametrize("observables", ["0", [{"X0 X1": 0.0}, {"Z2": 0.0}], "Z0 - Z0"])
def test_observables_that_are_zero_have_zero_values_and_gradients(observables):
    plan = cut(_small()[0], observables, max_qubits=2)
    value, gradient = plan.value_and_grad(np.ones((3, 6)), weights=np.ones(plan.n_observables))
    assert value.shape == (3,) and gradient.shape == (3, 6) and not value.any() and not gradient.any()


def test_gates_and_wires_by_hand():
    circuit, observables = _small()
    model = qpr.Model(circuit, observables)
    theta, x = values_for(model, 2)
    for options, fragments in (
        ({"parts": [[0, 1], [2, 3]]}, 2),
        ({"parts": [[3], [1, 0], [2]]}, 3),
        ({"at_gates": [2]}, 2),
        ({"at_wires": [(1, 4)]}, 2),
        ({"at_gates": [2], "at_wires": [(1, 4), (2, 6)]}, 4),
    ):
        plan = cut(circuit, observables, **options)
        assert len(plan.fragments) == fragments
        _check_exact(plan, model, theta, x)


def test_a_wire_is_named_by_the_qubit_it_holds_at_that_place():
    circuit = qpr.Circuit(3).ry(T[0], 0).cx(0, 1).swap(1, 2).ry(T[1], 2).cx(2, 1).rx(T[2], 1).swap(0, 1).ry(T[3], 0)
    plan = cut(circuit, "Z0 Z2 + X1", at_wires=[(2, 3)])
    assert [f.n_qubits for f in plan.fragments] == [2, 2]  # the wire that was qubit 1 goes on without its first gates
    _check_exact(plan, qpr.Model(circuit, "Z0 Z2 + X1"), *values_for(qpr.Model(circuit, "Z0"), 2))


def test_a_model_is_cut_as_its_list_of_rotations():
    model = CASES["several_observables"].model
    plan = cut(model, max_qubits=3, max_overhead=NO_LIMIT)
    assert len(plan.fragments) > 1
    _check_exact(plan, model, *values_for(model, 2))
    encoded = CASES["encoded_state"].model
    plan = cut(encoded)
    theta, x = values_for(encoded, 2)
    assert_close(plan.expectation(theta, x), qpr.expectation(encoded, theta, x), 500)


def test_a_shared_rotation_is_the_sum_of_its_local_parts():
    # On a product of random operators: I, X, Y, Z of the ancilla stand for rho/2 + P rho P/2, {P, rho}/2, -i[P, rho]/2,
    # and rho/2 - P rho P/2, so that (I+Z), (I-Z) are rho and P rho P.
    rng = np.random.default_rng(0)
    for parts in (2, 3):
        a = 0.83
        rho = [rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2)) for _ in range(parts)]
        paulis = [dense.PAULI[p] for p in "XYZ"[:parts]]
        ops = []
        for p, r in zip(paulis, rho, strict=True):
            turned = p @ r @ p
            ops.append([(r + turned) / 2, (p @ r + r @ p) / 2, -0.5j * (p @ r - r @ p), (r - turned) / 2])
        joint, whole = dense._kron(*paulis), dense._kron(*rho)
        u = np.cos(a / 2) * np.eye(2**parts) - 1j * np.sin(a / 2) * joint
        even, odd, cross = coupling(parts)
        weight = np.cos(a / 2) ** 2 * even + np.sin(a / 2) ** 2 * odd + np.sin(a) * cross
        total = sum(
            weight[index] * dense._kron(*(ops[k][i] for k, i in enumerate(index)))
            for index in itertools.product(range(4), repeat=parts)
        )
        assert_close(total, u @ whole @ u.conj().T, 100)


@pytest.mark.parametrize("name", ["qaoa", "hardware_efficient"])
def test_twenty_qubits_to_1e_10(name):
    rng = np.random.default_rng(2)
    if name == "qaoa":
        edges = _clusters(2, 10, rng)
        circuit, observables = ansatz.qaoa(20, edges, 3), [qpr.PauliSum({f"Z{a} Z{b}": 0.5 for a, b in edges})]
    else:
        circuit = ansatz.hardware_efficient(20, 2, ring=False)
        observables = [{f"Z{q} Z{q + 1}": 1.0 for q in range(19)} | {f"X{q}": 0.3 for q in range(20)}, "X0 Y10 Z19"]
    model = qpr.Model(circuit, observables)
    plan = cut(circuit, observables, max_qubits=10, max_overhead=NO_LIMIT)
    theta, weights = rng.uniform(-3, 3, model.n_params), np.ones(model.n_observables)
    value, grad = qpr.value_and_grad(model, theta, weights=weights)
    cut_value, cut_grad = plan.value_and_grad(theta, weights=weights)
    assert abs(cut_value - value) < 1e-10 and np.max(np.abs(cut_grad - grad)) < 1e-10


def _qaoa_edge(edges, u, v, gamma, beta):
    """<(1 - Z_u Z_v)/2> after one layer: Wang, Hadfield, Jiang, Rieffel, Phys. Rev. A 97, 022304 (2018), theorem 1."""
    near = {w: {a + b - w for a, b in edges if w in (a, b)} for w in (u, v)}
    d, e, f = len(near[u]) - 1, len(near[v]) - 1, len(near[u] & near[v])
    c = np.cos(gamma)
    return (
        0.5
        + 0.25 * np.sin(4 * beta) * np.sin(gamma) * (c**d + c**e)
        - 0.25 * np.sin(2 * beta) ** 2 * c ** (d + e - 2 * f) * (1 - np.cos(2 * gamma) ** f)
    )


def test_forty_qubits_and_three_cuts_against_the_closed_form():
    edges = _clusters(4, 10, np.random.default_rng(3))
    circuit = ansatz.qaoa(40, edges, 1)
    cut_size = {"I": len(edges) / 2} | {f"Z{a} Z{b}": -0.5 for a, b in edges}
    plan = cut(circuit, cut_size, max_qubits=10)
    assert [c.kappa for c in plan.cuts] == [3.0] * 3  # the bridges of the clusters, found
    assert [f.n_qubits for f in plan.fragments] == [10] * 4

    def exact(theta):
        return sum(_qaoa_edge(edges, a, b, *theta) for a, b in edges)

    theta, step = np.array([0.63, 0.31]), 1e-3
    value, grad = plan.value_and_grad(theta)
    assert_close(value, np.array(exact(theta)), 3000)
    for i, move in enumerate(step * np.eye(2)):
        f = [exact(theta + k * move) for k in (-2, -1, 1, 2)]
        assert abs(grad[i] - (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)) < 1e-7


def test_a_hundred_qubits_in_a_chain_of_fragments():
    circuit = ansatz.tfim_variational(100, 1)
    middle = {"Z49 Z50": 1.0, "X50": 0.5}
    plan = cut(circuit, middle, max_qubits=10, max_overhead=NO_LIMIT)
    # One layer: <Z49 Z50> and <X50> see their neighbours only, so eight qubits around give the same.
    small = qpr.Model(ansatz.tfim_variational(8, 1), {"Z3 Z4": 1.0, "X4": 0.5})
    theta = np.linspace(0.1, 0.9, plan.n_params)
    value, grad = plan.value_and_grad(theta)
    expected, slope = qpr.value_and_grad(small, theta)
    assert_close(value, expected, 3000)
    assert_close(grad, slope, 3000)


# --- where to cut


def _brute_force(n, edges, most):
    """The least sum of weights between blocks of at most `most`, over all set partitions."""
    best = math.inf

    def assign(q, block, sizes):
        nonlocal best
        if q == n:
            best = min(best, sum(w for a, b, w in edges if block[a] != block[b]))
            return
        for b in range(len(sizes) + 1):
            if b == len(sizes):
                assign(q + 1, [*block, b], [*sizes, 1])
            elif sizes[b] < most:
                assign(q + 1, [*block, b], [*sizes[:b], sizes[b] + 1, *sizes[b + 1 :]])

    assign(0, [], [])
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_cut_found_is_the_best_of_all_partitions(seed):
    rng = np.random.default_rng(seed)
    n, most = 7, int(rng.integers(2, 5))
    pairs = [p for p in itertools.combinations(range(n), 2) if rng.random() < 0.45]
    angles = [float(rng.choice([0.2, 0.7, 1.3])) if rng.random() < 0.5 else T[0] for _ in pairs]
    circuit = qpr.Circuit(n)
    for (a, b), angle in zip(pairs, angles, strict=True):
        circuit.rzz(angle, a, b)
    sizes = [1.0 if isinstance(a, qpr.Angle) else abs(math.sin(a)) for a in angles]
    weighted = [(a, b, math.log(1 + 2 * s)) for (a, b), s in zip(pairs, sizes, strict=True)]
    steps, _ = unfold(circuit)
    layout, optimal = find(n, steps, most, wires=False)
    best = _brute_force(n, weighted, most)
    assert optimal and abs(layout.log_kappa(steps) - best) < 1e-9
    assert max(layout.sizes) <= most
    alone, proved = _sweep(list(range(n)), list(enumerate(steps)), most, False, math.inf)
    swept = Layout(tuple(alone[w][0] for w in range(n)), tuple(alone[w][1] for w in range(n)))
    assert proved and abs(swept.log_kappa(steps) - best) < 1e-9
    assert _partition(list(range(n)), steps, most)[1] >= best - 1e-9  # and the heuristic is no better than the best


def test_a_wire_is_cut_where_that_is_cheaper():
    circuit = qpr.Circuit(3)
    for k in range(3):
        circuit.rzz(T[k], 0, 1).rx(T[k], 1)
    for k in range(3):
        circuit.rzz(T[k], 1, 2).rx(T[k], 1)
    plan = cut(circuit, "Z0 Z1 Z2", max_qubits=2)
    assert plan.overhead == 16.0 and [c.kind for c in plan.cuts] == ["wire"] and plan.optimal
    gates = cut(circuit, "Z0 Z1 Z2", max_qubits=2, wires=False)
    assert gates.overhead == 3.0**6
    theta, x = values_for(qpr.Model(circuit, "Z0"), 2)
    _check_exact(plan, qpr.Model(circuit, "Z0 Z1 Z2"), theta, x)


def test_conjugated_rotations_and_swaps_cost_what_they_do():
    written = qpr.Circuit(2).h(0).h(1).cx(0, 1).rz(T[0], 1).cx(0, 1).rx(T[1], 1)
    assert cut(written, "Z0 Z1", max_qubits=1).overhead == 9.0  # one rotation about ZZ, not two CX
    ladder = qpr.Circuit(4).h(0).h(1).h(2).h(3).cx(0, 1).cx(1, 2).cx(2, 3).rz(T[0], 3).cx(2, 3).cx(1, 2).cx(0, 1)
    assert cut(ladder, "X0 Y1", max_qubits=2).overhead == 1.0  # a rotation about ZZZZ, with which it commutes
    assert cut(ladder, "X0 X3 + X0", max_qubits=2).overhead == 9.0
    swapped = qpr.Circuit(2).rx(T[0], 0).swap(0, 1).ry(T[1], 1)
    plan = cut(swapped, "Z0 + X1", max_qubits=1)
    assert plan.overhead == 1.0 and len(plan.fragments) == 2
    signed = qpr.Circuit(2).ry(T[0], 0).rx(T[1], 1).cx(0, 1).rotation("X0 Z1", T[2]).cx(0, 1)  # about -Y0 Y1
    assert cut(signed, "Z0", max_qubits=1).overhead == 9.0
    entangled = qpr.Circuit(2).h(0).iswap(0, 1)
    for circuit, o in ((written, "Z0 Z1 + X0"), (signed, "X0 + Z1"), (swapped, "Z0 + X1"), (entangled, "Y1 Z0")):
        model = qpr.Model(circuit, o)
        _check_exact(cut(circuit, o, max_qubits=1), model, *values_for(model, 2))
    model = qpr.Model(ladder, "X0 X3 + Y1 X2")
    _check_exact(cut(ladder, "X0 X3 + Y1 X2", max_qubits=2), model, *values_for(model, 2))


def test_gates_that_a_term_never_meets_are_not_cut():
    """RZZ on all bonds of a chain: those beside Z25 commute with it."""
    n = 50
    theta = qpr.params("t", 2 * n - 1)
    circuit = qpr.Circuit(n, params=theta)
    for q in range(n):
        circuit.ry(theta[q], q)
    for q in range(n - 1):  # one after another: by shared wires alone the cone would reach qubit 0
        circuit.rzz(theta[n + q], q, q + 1)
    values = np.random.default_rng(0).uniform(-1, 1, 2 * n - 1)
    plan = cut(circuit, "Z25 X26", max_qubits=8)
    assert not plan.cuts and plan.overhead == 1.0
    found, slope = plan.value_and_grad(values)
    exact, exact_slope = qpr.value_and_grad(qpr.Model(circuit, "Z25 X26"), values)
    assert found == pytest.approx(exact, abs=1e-14) and exact == pytest.approx(0.8005632289166678, abs=1e-12)
    np.testing.assert_allclose(slope, exact_slope, atol=1e-13)


def test_parts_that_no_gate_joins_cost_their_sum():
    circuit = qpr.Circuit(60)
    for q in range(0, 60, 3):
        circuit.ry(T[0], q).cx(q, q + 1).ry(T[1], q + 1).rzz(T[2], q + 1, q + 2).rx(T[3], q + 2)
    product = " ".join(f"Z{q}" for q in range(60))
    plan = cut(circuit, [product, "X0 Z1"])
    assert len(plan.fragments) == 20 and plan.overhead == 1.0 and not plan.cuts
    one = qpr.Circuit(3).ry(T[0], 0).cx(0, 1).ry(T[1], 1).rzz(T[2], 1, 2).rx(T[3], 2)
    theta = np.array([0.3, 0.2, 0.7, 0.4, 0, 0])
    z, xz = dense.values(one, [qpr.PauliSum("Z0 Z1 Z2"), qpr.PauliSum("X0 Z1")], theta)
    assert_close(plan.expectation(theta), np.array([z**20, xz]), 500)
    assert plan.cost(10).rotations == 10 * sum(f.model.n_rotations for f in plan.fragments)


# --- light cones


def _brickwork(n, layers=1):
    """RY on every qubit, then RZZ on even and on odd bonds, in each layer."""
    t = qpr.params("t", layers * (2 * n - 1))
    circuit, names = qpr.Circuit(n, params=t), iter(t)
    for _ in range(layers):
        for q in range(n):
            circuit.ry(next(names), q)
        for start in (0, 1):
            for q in range(start, n - 1, 2):
                circuit.rzz(next(names), q, q + 1)
    return circuit


@pytest.mark.parametrize("first", [23, 24, 17])  # of six qubits that hold the cone
def test_a_local_term_of_a_wide_shallow_circuit_needs_no_cut(first):
    n, theta = 50, np.random.default_rng(0).uniform(-1, 1, 99)
    plan = cut(_brickwork(n), f"Z{first + 2} X{first + 3} + 0.5*Y{first + 2}", max_qubits=8)
    small = qpr.Circuit(6)
    t = qpr.params("t", 11)
    for q in range(6):
        small.ry(t[q], q)
    for start in (1, 0) if first % 2 else (0, 1):
        for q in range(start, 5, 2):
            small.rzz(t[6 + q], q, q + 1)
    keep = np.r_[first : first + 6, n + np.argsort(_bonds(n))[first : first + 5]]
    model = qpr.Model(small, "Z2 X3 + 0.5*Y2")
    value, grad = plan.value_and_grad(theta)
    right, right_grad = qpr.value_and_grad(model, theta[keep])
    assert plan.overhead == 1 and not plan.cuts and len(plan.run) == 1
    assert_close(value, right, 500)
    assert_close(grad[keep], right_grad, 500)
    assert not np.any(np.delete(grad, keep))
    assert plan.cost(10).copies == 10 and len(str(plan).splitlines()) == 3


def _bonds(n):
    """The bonds in the order of their parameters in `_brickwork`."""
    return np.r_[0 : n - 1 : 2, 1 : n - 1 : 2]


def test_a_light_cone_is_that_of_all_terms_and_layers():
    circuit, total = _brickwork(10, 2), "Z1 + 0.3*X8 Y9"
    model = qpr.Model(circuit, total)
    theta = np.random.default_rng(1).uniform(-1, 1, model.n_params)
    plan = cut(circuit, total, max_qubits=6, max_overhead=NO_LIMIT)
    _check_exact(plan, model, theta, None, 20000)
    parts = cut(circuit, "Z1", parts=[range(6), range(6, 10)])
    assert not parts.cuts
    assert_close(parts.expectation(theta), qpr.expectation(qpr.Model(circuit, "Z1"), theta), 3000)


def test_gates_named_by_hand_and_states_of_all_qubits_keep_every_gate():
    circuit = qpr.Circuit(3).ry(T[0], 0).rzz(T[1], 0, 1).rzz(T[2], 1, 2)
    assert len(cut(circuit, "X0", at_gates=[2]).cuts) == 1
    amplitudes = np.arange(1.0, 9.0) / np.linalg.norm(np.arange(1.0, 9.0))
    entangled = qpr.Circuit(3, amplitudes).rzz(T[1], 0, 1).rzz(T[2], 1, 2).ry(T[0], 0)
    theta = np.linspace(0.1, 0.6, 6)
    found = cut(entangled, "X0", max_qubits=3).expectation(theta)
    assert_close(found, qpr.expectation(qpr.Model(entangled, "X0"), theta), 500)


# --- a plan in the place of its model


PLACES = {
    "gates": {"max_qubits": 2},
    "three parts": {"parts": [[0], [1, 2], [3]]},
    "wires and gates": {"at_wires": [(1, 4)], "at_gates": [6]},
    "nothing cut": {},
}


def _same_arrays(found, expected, factor=3000):
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, factor)


@pytest.mark.parametrize("where", PLACES)
def test_second_derivatives_go_through_cuts(where):
    circuit, observables = _small()
    plan, model = cut(circuit, observables, **PLACES[where]), qpr.Model(circuit, observables)
    rng = np.random.default_rng(5)
    theta, v, weights = (rng.normal(size=(3, k)) for k in (6, 6, 2))
    found = qpr.hvp(plan, theta, v_theta=v, weights=weights)
    _same_arrays(found, qpr.hvp(model, theta, v_theta=v, weights=weights))
    huge = qpr.hvp(plan, theta, v_theta=1e200 * v, weights=weights)
    assert_close(huge[2] / 1e200, found[2], 3000)
    assert not np.any(qpr.hvp(plan, theta, v_theta=0 * v, weights=weights)[2])


@pytest.mark.parametrize("name", [n for n in CUTTABLE if n not in ("identity_terms", "clifford_only")])
def test_hessian_vector_products_of_every_case_are_those_of_the_uncut_model(name):
    case = CASES[name]
    plan = cut(case.circuit, case.observables, max_qubits=CUTTABLE[name], max_overhead=NO_LIMIT)
    theta, x = values_for(case.model, 2, 4)
    x = x if case.model.n_inputs else None
    rng = np.random.default_rng(6)
    options = {"v_theta": rng.normal(size=theta.shape), "weights": rng.normal(size=(2, case.model.n_observables))}
    options |= {} if x is None else {"v_x": rng.normal(size=x.shape)}
    _same_arrays(qpr.hvp(plan, theta, x, **options), qpr.hvp(case.model, theta, x, **options), 6000)


def test_public_functions_take_a_plan_like_its_model():
    circuit, observables = _small()
    plan, model = cut(circuit, observables, max_qubits=2), qpr.Model(circuit, observables)
    theta, weights = values_for(model, 4, 1)[0], [0.3, -1.0]
    for engine in ("native", "reference"):
        assert_close(qpr.expectation(plan, theta, engine=engine), qpr.expectation(model, theta), 3000)
        found = qpr.value_and_grad(plan, theta, weights=weights, engine=engine)
        _same_arrays(found, qpr.value_and_grad(model, theta, weights=weights))
    mine, theirs = (qpr.vjp(m, theta)[1](np.ones((4, 2)), sum_theta=True) for m in (plan, model))
    _same_arrays(mine, theirs)
    assert np.abs(qpr.expectation(plan, theta, precision="single") - qpr.expectation(model, theta)).max() < 1e-5


def test_training_a_plan_is_training_its_model(tmp_path):
    case = CASES["inputs"]
    plan = cut(case.circuit, case.observables, max_qubits=CUTTABLE["inputs"], max_overhead=NO_LIMIT)
    theta, x = values_for(case.model, 6, 2)
    K = case.model.n_observables
    options = {"data": (x, np.zeros((6, K))), "params": {"theta": theta[0]}, "head": True, "steps": 6, "batch_size": 3}
    options["optimiser"] = qpr.sgd(0.1)
    runs = [qpr.train(m, "mean_square", out=tmp_path / str(i), **options) for i, m in enumerate((plan, case.model))]
    assert runs[0].loss == pytest.approx(runs[1].loss, abs=1e-12)
    _same_arrays([runs[0].params[k] for k in ("theta", "scale")], [runs[1].params[k] for k in ("theta", "scale")])
    again = qpr.train(plan, "mean_square", out=tmp_path / "0", resume=True, **options)
    assert np.array_equal(again.theta, runs[0].theta)
    best = qpr.train(plan, "mean_square", **{**options, "optimiser": qpr.LBFGS(), "batch_size": None})
    assert best.loss < runs[0].loss


def test_a_plan_is_a_layer_in_torch():
    torch = pytest.importorskip("torch")
    case = CASES["inputs"]
    plan = cut(case.circuit, case.observables, max_qubits=CUTTABLE["inputs"], max_overhead=NO_LIMIT)
    theta, x = values_for(case.model, 3, 2)
    results = []
    for m in (plan, case.model):
        layer = qpr.QuantumLayer(m, theta[0], dtype=torch.float64)
        inputs = torch.tensor(x, requires_grad=True)
        out = layer(inputs)
        (slope,) = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), layer.weights)
        results.append([a.detach().numpy() for a in (out, slope, second)])
    _same_arrays(*results)
    named = dict(zip(plan.param_names, np.split(theta[0], np.cumsum(plan.param_sizes)[:-1]), strict=True))
    assert np.array_equal(qpr.QuantumLayer(plan, named, dtype=torch.float64).weights.detach(), theta[0])


def test_a_plan_is_a_function_in_jax():
    jax = pytest.importorskip("jax")
    case = CASES["inputs"]
    plan = cut(case.circuit, case.observables, max_qubits=CUTTABLE["inputs"], max_overhead=NO_LIMIT)
    theta, x = values_for(case.model, 3, 2)
    with jax.enable_x64(True):
        results = []
        for m in (plan, case.model):
            f = qpr.hybrid.jax.function(m)
            loss = lambda t, s, f=f: (f(t, s) ** 2).sum()  # noqa: E731
            found = (jax.jit(jax.vmap(f, (None, 0)))(theta[0], x), *jax.jit(jax.grad(loss, (0, 1)))(theta[0], x))
            results.append(list(map(np.asarray, (*found, jax.hessian(loss)(theta[0], x)))))
    _same_arrays(*results, 6000)


@pytest.mark.filterwarnings("ignore:splu converted its input", "ignore:spsolve is more efficient")
@pytest.mark.parametrize("where", PLACES)
def test_circuits_of_fragments_run_elsewhere_join_to_the_uncut_values(where):
    """Every setting of every fragment by Qiskit's state vectors of the exported circuits."""
    pytest.importorskip("qiskit")
    from qiskit.quantum_info import SparsePauliOp, Statevector

    circuit, observables = _small()
    plan = cut(circuit, observables, **PLACES[where])
    theta = np.linspace(-1.1, 1.3, 6)
    values = []
    for f in plan.fragments:
        qc = qpr.to_qiskit(f.circuit)
        indices = {f"{T[i]}": theta[i] for i in range(6)}
        psi = Statevector(qc.assign_parameters({p: indices[p.name] for p in qc.parameters}))
        n = f.circuit.n_qubits
        values.append([psi.expectation_value(SparsePauliOp(s.dense(n)[::-1])).real for s in f.settings])
    exact = dense.values(circuit, [qpr.PauliSum(o) for o in observables], theta)
    assert_close(plan.combine(values, theta), exact, 3000)


def test_circuits_of_fragments_are_written_as_openqasm():
    pytest.importorskip("openqasm3")
    circuit, observables = _small()
    plan = cut(circuit, observables, max_qubits=2)
    theta = np.linspace(-1.1, 1.3, 6)
    values = [
        qpr.expectation(qpr.Model(qpr.from_qasm(qpr.to_qasm(f.circuit)), [{s: 1.0} for s in f.settings]), theta)
        for f in plan.fragments
    ]
    assert_close(plan.combine(values, theta), plan.expectation(theta), 3000)


# --- shots


def _repeat(run, exact, reps):
    found = [run(r) for r in range(reps)]
    values, errors = np.array([e.value for e in found]), np.array([e.stderr for e in found])
    spread = np.sqrt((errors**2).mean(axis=0))
    assert np.all(np.abs(values.mean(axis=0) - exact) < 5 * spread / np.sqrt(reps) + 1e-12)
    seen = values.std(axis=0, ddof=1)
    kept = spread > 1e-9
    assert np.all(np.abs(seen[kept] / spread[kept] - 1) < 5 / np.sqrt(2 * reps) + 0.05)
    return found


@pytest.mark.parametrize("shots", [100, 4000])  # choices drawn, and choices as strata
@pytest.mark.parametrize("where", [{"parts": [[0], [1, 2], [3]]}, {"at_wires": [(1, 4)], "at_gates": [6]}])
def test_shots_are_unbiased_and_know_their_error(where, shots):
    circuit, observables = _small()
    plan = cut(circuit, observables, **where)
    theta, _ = values_for(plan.fragments[0].model, seed=3)
    exact = dense.values(circuit, [qpr.PauliSum(o) for o in observables], theta)
    found = _repeat(lambda r: plan.estimate(theta, shots=shots, rng=100 + r), exact, 60)
    assert found[0].info["allocation"] == ("drawn" if shots == 100 else "stratified")
    norm = np.abs(plan.coefficients).sum(axis=0)
    assert np.all(found[0].stderr <= 1.5 * np.sqrt(plan.overhead * len(found[0].info["groups"]) / shots) * norm)


def test_a_gate_shared_by_three_fragments_in_shots():
    circuit = qpr.Circuit(3).ry(T[0], 0).ry(T[1], 1).ry(T[2], 2).rotation("X0 Y1 Z2", T[3]).rx(T[4], 0).rx(T[5], 2)
    total = "Z0 X1 Z2 + 0.3*Z0 Z2 - 0.2*X1 Z2"  # the first sees three commutators at once
    plan = cut(circuit, total, parts=[[0], [1], [2]])
    theta = np.array([0.4, 1.1, -0.7, 0.9, 0.3, -1.2])
    assert plan.overhead_at(theta) == pytest.approx((1 + 4 * math.sin(0.9)) ** 2)
    exact = dense.values(circuit, [qpr.PauliSum(total)], theta)
    _repeat(lambda r: plan.estimate(theta, shots=2000, rng=r), exact, 60)


@pytest.mark.slow
@pytest.mark.parametrize("where", [{"parts": [[0], [1, 2], [3]]}, {"at_wires": [(1, 4)], "at_gates": [6]}])
def test_gradients_by_shots_are_unbiased_and_know_their_error(where):
    circuit, observables = _small()
    plan = cut(circuit, observables, **where)
    model, weights = qpr.Model(circuit, observables), [1.0, -0.5]
    theta, _ = values_for(model, seed=3)
    exact = qpr.value_and_grad(model, theta, weights=weights)[1]
    _repeat(lambda r: plan.gradient(theta, shots=400, rng=r, weights=weights), exact, 60)


def test_a_gradient_by_shots_is_near_the_exact_one():
    circuit = qpr.Circuit(2).ry(T[0], 0).ry(T[1], 1).rzz(T[2], 0, 1).rz(T[3], 0).rx(2 * T[0], 1)
    plan = cut(circuit, "X0 + 0.5*Y0 Z1", max_qubits=1)
    theta = np.array([0.8, 1.1, 0.9, 0.4, 0.0, 0.0])
    exact = qpr.value_and_grad(qpr.Model(circuit, "X0 + 0.5*Y0 Z1"), theta)[1]
    assert abs(exact[2]) > 0.3
    found = plan.gradient(theta, shots=20000, rng=0)
    assert np.all(np.abs(found.value - exact) <= 5 * found.stderr + 1e-12)
    assert found.stderr[2] > 0 and np.all(found.stderr[4:] == 0)  # the cut gate's angle; unused parameters
    assert found.cost.measurements == found.info["shots"] * len(plan.fragments)


def test_the_overhead_is_the_one_norm_of_the_choices():
    circuit, observables = _small()
    plan = cut(circuit, observables, at_wires=[(1, 4)], at_gates=[6, 2])
    theta = np.linspace(0.2, 1.2, 6)
    angles = plan.table.evaluate(theta[None], np.zeros((1, 0)))[0]
    norm = math.prod(sum(abs(q) for q, _ in row) for row in _choices(plan, angles))
    assert plan.overhead_at(theta) == pytest.approx(norm**2)
    assert plan.overhead == pytest.approx((3.0 * 3.0 * 4.0) ** 2)
    assert norm**2 < plan.overhead


@pytest.mark.parametrize("where", [w for w in PLACES if w != "wires and gates"])
@pytest.mark.parametrize("budget", [{"precision": 0.2}, {"precision": 0.05}, {"max_error": 0.4, "failure": 0.05}])
def test_a_precision_is_kept_in_values_and_gradients(where, budget):
    circuit, observables = _small()
    plan = cut(circuit, observables, **PLACES[where])
    theta, weights = np.linspace(0.2, 1.2, 6), [1.0, -0.5]
    exact = qpr.expectation(plan, theta), qpr.value_and_grad(plan, theta, weights=weights)[1]
    found = plan.estimate(theta, rng=1, **budget), plan.gradient(theta, rng=1, weights=weights, **budget)
    for e, right in zip(found, exact, strict=True):
        if "precision" in budget:
            assert np.all(e.stderr <= budget["precision"])
            assert np.all(np.abs(e.value - right) <= 5 * e.stderr + 1e-12)
        else:
            assert np.all(np.abs(e.value - right) <= budget["max_error"])


def test_the_worst_case_of_a_precision_is_reached():
    """Outcomes of zero mean and full spread: the bound on the variance is its value."""
    plan = cut(qpr.Circuit(2).ry(T[0], 0).rzz(T[1], 0, 1), "X0 Z1", parts=[[0], [1]])
    found = plan.estimate([math.pi, math.pi / 2, 0, 0, 0, 0], precision=0.02, rng=3)
    assert 0.98 * 0.02 < found.stderr[0] <= 0.02
    assert found.cost.copies == pytest.approx(2 * (3 / 0.02) ** 2, rel=0.01)


def test_a_precision_is_kept_in_the_worst_case_where_choices_are_drawn():
    """kappa = 9 of two cuts: 82 shots are too few for strata; a variance is 81/(n - 1) less the square of a mean."""
    circuit = qpr.Circuit(3).ry(T[0], 0).rzz(T[1], 0, 1).rzz(T[1], 1, 2)
    plan = cut(circuit, "X0 Z1 X2", parts=[[0], [1], [2]])
    found = [plan.estimate([math.pi, math.pi / 2, 0, 0, 0, 0], precision=1.0, rng=r) for r in range(20)]
    assert found[0].info["allocation"] == "drawn" and found[0].cost.copies == 3 * 82
    assert 0.97 < max(e.stderr[0] for e in found) <= 1.0


@pytest.mark.parametrize("total", [700, 3001, 20000])
def test_total_shots_are_the_runs_of_all_fragments_together(total):
    circuit, observables = _small()
    plan = cut(circuit, observables, max_qubits=2)
    theta, weights, F = np.linspace(0.2, 1.2, 6), [1.0, -0.5], len(plan.fragments)
    for run in (plan.estimate, lambda *a, **o: plan.gradient(*a, weights=weights, **o)):
        rng = _Counting(np.random.PCG64(0))
        found = run(theta, total_shots=total, rng=rng)
        assert rng.drawn == found.cost.copies == total // F * F
    same = plan.estimate(theta, total_shots=F * 800, rng=1), plan.estimate(theta, shots=800, rng=1)
    assert np.array_equal(same[0].value, same[1].value)


def test_total_shots_go_where_the_gradient_needs_them():
    """The sum of all variances is smaller than with as many shots in equal parts."""
    circuit, observables = _small()
    plan = cut(circuit, observables, **PLACES["three parts"])
    theta, weights = np.array([0.2, 0.4, 0.05, 0.8, 1.0, 0.1]), [1.0, 0.0]
    equal = plan.gradient(theta, shots=4000, rng=0, weights=weights)
    shared = plan.gradient(theta, total_shots=equal.cost.copies, rng=0, weights=weights)
    assert (shared.stderr**2).sum() < (equal.stderr**2).sum()


class _Counting(np.random.Generator):
    """Counts the uniform numbers drawn: one for every run of a fragment."""

    drawn = 0

    def random(self, size=None, *arguments, **options):
        self.drawn += int(size)
        return super().random(size, *arguments, **options)

    def choice(self, *arguments, **options):
        """Choices for the cuts are no runs, whatever numbers NumPy makes them from."""
        before = self.drawn
        found = super().choice(*arguments, **options)
        self.drawn = before
        return found


def test_the_cost_told_is_the_cost_paid():
    circuit, observables = _small()
    plan = cut(circuit, observables, max_qubits=2)
    rng = _Counting(np.random.PCG64(0))
    found = plan.estimate(np.linspace(0.2, 1.2, 6), shots=5000, rng=rng)
    assert rng.drawn == found.cost.measurements == found.cost.copies == plan.cost(5000).measurements
    rng = _Counting(np.random.PCG64(0))
    found = plan.gradient(np.linspace(0.2, 1.2, 6), shots=1000, rng=rng, weights=[1.0, 1.0])
    assert rng.drawn == found.cost.measurements


def test_a_seed_gives_the_same_shots():
    circuit, observables = _small()
    plan = cut(circuit, observables, max_qubits=2)
    theta = np.linspace(0.2, 1.2, 6)
    first, again, other = (plan.estimate(theta, shots=500, rng=s).value for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


# --- what a person reads


def test_a_plan_prints_its_price_within_80_columns():
    wide = qpr.Circuit(40).rotation("Z" * 40, T[0])
    edges = _clusters(4, 10, np.random.default_rng(3))
    for circuit, observables, options in (
        (*_small(), {"max_qubits": 2}),
        (wide, "X0", {"parts": [range(0, 40, 2), range(1, 40, 2)]}),
        (ansatz.qaoa(40, edges, 2), "Z0 Z10 Z20 Z30", {"max_qubits": 10}),
    ):
        text = str(cut(circuit, observables, **options))
        assert "sampling overhead" in text and "kappa 3" in text
        assert max(map(len, text.splitlines())) <= 80


_PAIR = qpr.Circuit(2).ry(T[0], 0).cx(0, 1)
_PLAN = cut(_PAIR, ["Z0", "Z1"], max_qubits=1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: cut("circuit", "Z0"), "takes a Circuit or a Model, got str"),
        (lambda: cut(_PAIR), "needs the observables too"),
        (lambda: cut(qpr.Model(_PAIR, "Z0"), "Z0"), "a Model has its observables"),
        (lambda: cut(_PAIR, "Z0", max_qubits=0), "max_qubits must be a whole number, 1 or more, got 0"),
        (lambda: cut(_PAIR, "Z0", max_qubits=1, parts=[[0], [1]]), "max_qubits and parts; keep one"),
        (lambda: cut(_PAIR, "Z0", parts=[[0]]), "parts name each of the qubits 0 to 1 once"),
        (lambda: cut(_PAIR, "Z0", parts=[0, 1]), r"lists of qubits such as .*, got \[0, 1\]"),
        (lambda: cut(_PAIR, "Z0", max_overhead=0), "max_overhead is a factor, 1 or more"),
        (lambda: cut(_PAIR, "Z0", at_wires=[1]), "at_wires pairs such as"),
        (lambda: _PLAN.value_and_grad(np.zeros(6), weights=[1.0]), "weights must have shape"),
        (lambda: cut(_PAIR, "Z0", at_gates=[7]), "an index from 0 to 1, got 7"),
        (lambda: cut(_PAIR, "Z0", at_gates=[0]), r"operation 0 \(ry\) joins no qubits"),
        (lambda: cut(_PAIR.copy().rzz(T[1], 0, 1), "Z0", at_gates=[1]), "qubits 0 and 1 hang together"),
        (lambda: cut(_PAIR, "Z0", at_wires=[(5, 1)]), "wire cut on qubit 5"),
        (
            lambda: cut(ansatz.strongly_entangling(10, 8), "Z0", max_qubits=5),
            r"multiplies shots by .* \(limit 1e\+08\).* join the fragments 0 and 1, the first on qubits .* at "
            "operation .*; allow more qubits",
        ),
        (
            lambda: cut(ansatz.strongly_entangling(10, 8), "Z0", max_qubits=5, max_overhead=NO_LIMIT),
            r"cut ends, which makes 4\^.* settings",
        ),
        (lambda: cut(CASES["amplitude_state"].circuit, "Z0", max_qubits=2), "basis or product state"),
        (lambda: _PLAN.expectation(np.zeros(3)), r"theta must have shape \(..., 6\), got \(3,\)"),
        (lambda: _PLAN.value_and_grad(np.zeros(6)), "pass weights="),
        (lambda: _PLAN.vjp(np.zeros(6))[1](np.ones(3)), r"cotangent must have shape \(..., 2\), got \(3,\)"),
        (lambda: _PLAN.estimate(np.zeros(6), shots=0, rng=0), "shots must be a whole number"),
        (lambda: _PLAN.estimate(np.zeros(6), shots=10, rng=None), "rng is a seed"),
        (lambda: _PLAN.estimate(np.zeros((2, 6)), shots=10, rng=0), "one sample at a time"),
        (lambda: cut(_PAIR, "Z0 + X0", max_qubits=1).estimate(np.zeros(6), shots=3, rng=0), "4 shots are the fewest"),
        (lambda: _PLAN.estimate(np.zeros(6), rng=0), "takes one of shots=, total_shots=, precision= and max_error="),
        (lambda: _PLAN.estimate(np.zeros(6), shots=10, precision=0.1, rng=0), "got shots=10 and precision=0.1"),
        (lambda: _PLAN.estimate(np.zeros(6), total_shots=3, rng=0), "smallest that works is 4"),
        (lambda: _PLAN.gradient(np.ones(6), total_shots=3, rng=0, weights=[1, 1]), "smallest that works is 8"),
        (lambda: _PLAN.estimate(np.ones(6), precision=1e-9, rng=0), "shots needs .* ask for fewer"),
        (lambda: _PLAN.combine([np.ones(4)], np.ones(6)), "one array for each of the 2 fragments, got 1"),
        (lambda: _PLAN.combine([np.ones(4)] * 2, np.ones(6)), r"values\[0\] must have shape \(8,\)"),
        (lambda: qpr.state(_PLAN, np.zeros(6)), "values and gradients but no state"),
        (lambda: qpr.metric(_PLAN, np.zeros(6)), "an engine that holds states"),
        (lambda: qpr.train(_PLAN, method=qpr.ParameterShift(shots=9), steps=1), "compiles a quprop Model, got CutPlan"),
        (lambda: qpr.train(_PLAN, qpr.Fidelity(np.ones(4) / 2), steps=1), "which a CutPlan never holds"),
        (lambda: _PLAN.gradient(np.zeros(6), shots=10, rng=0), "pass weights="),
        (lambda: _PLAN.gradient(np.zeros(6), shots=10, rng=0, weights=[1.0]), r"weights must have shape \(2,\)"),
    ],
)
def test_bad_input_gets_one_sentence(call, sentence):
    with pytest.raises(qpr.QupropError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_where_nothing_is_cut_shots_are_those_of_the_circuit():
    theta = qpr.params("theta", 2)
    circuit = qpr.Circuit(2).ry(theta[0], 0).cx(0, 1).rx(theta[1], 1)
    plan = cut(circuit, "Z1", max_qubits=2)
    found = plan.estimate([1.3, 0.3], shots=4000, rng=0)
    exact = float(qpr.expectation(qpr.Model(circuit, "Z1"), [1.3, 0.3])[0])
    assert abs(found.value[0] - exact) < 4 * found.stderr[0]
    assert found.stderr[0] == pytest.approx(math.sqrt((1 - exact**2) / 4000), rel=0.05)
