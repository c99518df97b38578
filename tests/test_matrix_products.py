"""Matrix products against dense vectors, and copies of the pair state that are held as such, up to fifty qubits."""

import math
from dataclasses import replace

import numpy as np
import pytest
from dense import PAULI
from tolerances import assert_close, tolerance

import quprop as qpr
from quprop.collective.check import Check
from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.collective.event import Event
from quprop.errors import QupropError
from quprop.gradients import GentleSweep, QuantumBackprop
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice
from quprop.gradients.sweeps.pair_products import line_of
from quprop.model.pauli import PauliString
from quprop.sampling.terms import Terms
from quprop.simulate.matrix_product import MatrixProductState


def matrix(pauli, n):
    """The textbook Kronecker product, qubit 0 the last factor; shares nothing with `PauliString.matrix`."""
    out = np.eye(1)
    for letter in (-pauli if pauli.sign < 0 else pauli).dense(n).lstrip("+"):
        out = np.kron(PAULI[letter], out)
    return pauli.sign * out


def random_pauli(rng, n, among=None):
    """On some of the qubits `among`, by default any; with a sign."""
    mask = 2**n - 1 if among is None else sum(1 << q for q in among)
    while True:
        pauli = PauliString(int(rng.integers(2**n)) & mask, int(rng.integers(2**n)) & mask)
        if pauli.weight:
            return pauli if rng.random() < 0.5 else -pauli


def random_rows(rng, n):
    rows = rng.normal(size=(n, 2)) + 1j * rng.normal(size=(n, 2))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def product_vector(rows):
    out = np.ones(1)
    for row in rows:
        out = np.kron(row, out)
    return out


def turned(pauli, angle, psi, n):
    return math.cos(angle / 2) * psi - 1j * math.sin(angle / 2) * (matrix(pauli, n) @ psi)


@pytest.mark.parametrize("seed", range(4))
def test_states_are_the_dense_vectors(seed):
    """Rotations by strings of any weight and sign, a controlled string, one qubit more, sites in any order."""
    rng, n = np.random.default_rng(seed), 5
    rows = random_rows(rng, n)
    state, psi = MatrixProductState.product(rows, 64, 1e-14, rng.permutation(n).tolist()), product_vector(rows)
    for step in range(24):
        if step == 12:
            extra = random_rows(rng, 1)[0]
            state = state.with_qubit(n, int(rng.integers(n + 1)), extra)
            psi, n = np.kron(extra, psi), n + 1
            pauli = random_pauli(rng, n - 1)
            state.control(n - 1, pauli)
            half = psi.reshape(2, -1)
            psi = np.concatenate([half[0], matrix(pauli, n - 1) @ half[1]])
        pauli, angle = random_pauli(rng, n), float(rng.normal())
        state.rotate(pauli, angle)
        psi = turned(pauli, angle, psi, n)
        for _ in range(3):
            asked = random_pauli(rng, n)
            assert_close(state.mean(asked), np.vdot(psi, matrix(asked, n) @ psi).real, 400)
    overlap = np.vdot(psi, state.vector())
    assert abs(abs(overlap) - 1) < tolerance(400)
    assert_close(state.vector(), psi * overlap, 2000)  # also the phase is that of the rotations
    assert abs(overlap - 1) < 1e-12 and state.truncation < 1e-10


@pytest.mark.parametrize("site", range(6))
@pytest.mark.parametrize("centre", [0, 2, 4])
def test_a_qubit_more_leaves_the_others_as_they_were(centre, site):
    """Wherever it is put, and wherever the centre of the others is: their expectation values need the right gauge."""
    rng, n = np.random.default_rng(4), 5
    state = MatrixProductState.product(random_rows(rng, n), 64, 1e-14)
    for _ in range(8):
        state.rotate(random_pauli(rng, n), float(rng.normal()))
    state.move_centre(centre)
    more = state.with_qubit(n, site, np.array([0.6, 0.8j]))
    for _ in range(20):
        asked = random_pauli(rng, n)
        assert_close(more.mean(asked), state.mean(asked), 1000)
    assert_close(more.mean(PauliString(1 << n, 1 << n)), 0.96, 1000)
    assert_close(more.vector(), np.kron([0.6, 0.8j], state.vector()), 1000)


@pytest.mark.parametrize("bond", [1, 2, 4, 6])
def test_what_is_cut_bounds_the_error_of_every_expectation_value(bond):
    n, reached = 7, 0.0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = random_rows(rng, n)
        state, psi = MatrixProductState.product(rows, bond, 1e-14), product_vector(rows)
        for _ in range(80):
            q = int(rng.integers(n - 1))
            pauli = random_pauli(rng, n, (q, q + 1))
            state.rotate(pauli, angle := 0.1 * float(rng.normal()))
            psi = turned(pauli, angle, psi, n)
            # the angle between the states, which every string obeys through the trace distance
            angle_now = math.acos(min(1.0, abs(np.vdot(psi, state.vector()))))
            assert angle_now <= state.angle + 1e-7
        assert max(state.bonds) <= bond
        errors = []
        for _ in range(60):
            asked = random_pauli(rng, n)
            errors.append(abs(state.mean(asked) - np.vdot(psi, matrix(asked, n) @ psi).real))
        assert max(errors) <= state.truncation + tolerance(1000)
        if state.truncation > 1e-9:
            reached = max(reached, max(errors) / state.truncation)
    assert reached > 0.02  # the bound is no number out of proportion


def test_a_larger_bond_dimension_bounds_better():
    found = []
    for bond in (1, 2, 4, 8):
        rng = np.random.default_rng(3)
        state = MatrixProductState.product(random_rows(rng, 8), bond, 1e-14)
        for _ in range(100):
            state.rotate(random_pauli(rng, 8, (q := int(rng.integers(7)), q + 1)), 0.2)
        found.append(state.truncation)
    assert found[0] > found[1] > found[2] > found[3] > 0


# -- the device -------------------------------------------------------------------------------------------------------


def layers(n, depth, observable, *, start=None, seed=0, spread=0.6, reach=1, ring=False):
    """RX, RZ on all qubits and RZZ over `reach` neighbours, M = (3 n - reach) depth (3 n depth on a ring)."""
    pairs = [(q, (q + reach) % n) for q in range(n if ring else n - reach)]
    size = depth * (2 * n + len(pairs))
    theta = qpr.params("theta", size)
    circuit, angles = qpr.Circuit(n, start, params=theta), iter(theta)
    for _ in range(depth):
        for q in range(n):
            circuit.rx(next(angles), q)
        for q in range(n):
            circuit.rz(next(angles), q)
        for a, b in pairs:
            circuit.rzz(next(angles), a, b)
    return qpr.Model(circuit, observable), np.random.default_rng(seed).normal(size=size) * spread / depth**0.5


def tilted(n):
    return np.tile([math.cos(0.4), math.sin(0.4) * np.exp(-0.8j)], (n, 1))


def energy(n):
    return {**{f"Z{q} Z{q + 1}": -1.0 for q in range(n - 1)}, **{f"X{q}": -0.7 for q in range(n)}}


def device(model, theta, bond, **more):
    terms = Terms.of(model)
    u = terms.coefficients(np.arange(1, model.n_observables + 1) / 2)
    a = model.angle_table.evaluate(theta[None], np.zeros((1, 0)))[0]
    circuit = PairCircuit(model, terms, bond)
    return PairDevice(circuit, u, a, np.zeros(0), **more), circuit, u


MODELS = {
    "line": lambda: layers(6, 2, "Z2 Z3", start=tilted(6)),
    "ring": lambda: layers(7, 2, energy(7), start=tilted(7), ring=True),
    "basis": lambda: layers(5, 3, {"Z0 X4": 1.0, "-Y2": 0.5, "Z1 Z2 Z3": -0.3}, start="01101"),
    "far": lambda: layers(8, 2, ["X0 Y7", {"Z3": 2.0, "X0 Y7": -0.25}], reach=3),
    "random": lambda: random_rotations(6, 30),
}


def random_rotations(n, count):
    rng, theta = np.random.default_rng(8), qpr.params("theta", count)
    circuit = qpr.Circuit(n, random_rows(rng, n), params=theta)
    for angle in theta:
        pauli = random_pauli(rng, n)
        circuit.rotation(pauli if pauli.sign > 0 else -pauli, angle)
    circuit.h(0).cx(0, 3)
    return qpr.Model(circuit, {"X0 Z3": 0.4, "Y1": 1.2}), rng.normal(size=count)


@pytest.mark.parametrize("name", MODELS)
def test_matrix_products_answer_as_vectors_at_every_place(name):
    model, theta = MODELS[name]()
    vectors, circuit, u = device(model, theta, None)
    products, _, _ = device(model, theta, 256)
    exact = qpr.value_and_grad(model, theta, weights=np.arange(1, model.n_observables + 1) / 2)[1]
    for m in reversed(range(model.n_rotations)):
        for read in circuit.read:
            event = Event(read)
            assert abs(vectors._accepting(event) - products._accepting(event)) < 1e-10
        here = Event(circuit.read[m])
        if model.n_params == model.n_rotations:
            assert abs(-np.abs(u).sum() * (2 * products._accepting(here) - 1) - exact[m]) < 1e-9
        vectors.undo(None)
        products.undo(None)
    assert products.place == 0 and products.cost == vectors.cost
    assert vectors.truncation == 0 < products.truncation < 1e-5


@pytest.mark.parametrize("bond", [2, 3, 4, 6])
def test_the_device_knows_what_its_cuts_may_have_done(bond):
    model, theta = layers(7, 5, {"Z3 Z4": 1.0, "X2": -0.5}, start=tilted(7), spread=2.0)
    vectors, circuit, _ = device(model, theta, None)
    products, _, _ = device(model, theta, bond)
    worst = 0.0
    for _ in range(model.n_rotations):
        for read in circuit.read[::5]:
            event = Event(read)
            error = 2 * abs(vectors._accepting(event) - products._accepting(event))
            assert error <= products.truncation + tolerance(1000)
            worst = max(worst, error)
        vectors.undo(None)
        products.undo(None)
    assert worst > 1e-5


def test_cuts_beyond_a_tenth_of_the_accuracy_are_refused():
    model, theta = layers(8, 2, energy(8), start=tilted(8), spread=1.2)
    with pytest.raises(QupropError, match=r"bond dimension 2 may be off by .* more than a tenth of the accuracy") as e:
        device(model, theta, 2, accuracy=0.05)
    assert "\n" not in str(e.value)
    at_the_end = device(model, theta, 8)[0].truncation
    with pytest.raises(QupropError, match="larger bond_dimension"):
        device(model, theta, 8, accuracy=9.9 * at_the_end)
    late, _, _ = device(model, theta, 8, accuracy=10 * at_the_end)  # which undoing goes beyond
    with pytest.raises(QupropError, match="larger bond_dimension"):
        for _ in range(model.n_rotations):
            late.undo(None)
    device(model, theta, 64, accuracy=1e-3)


@pytest.mark.parametrize(
    "method", [QuantumBackprop(max_error=0.5, engine=MeanFieldEngine()), GentleSweep(max_error=0.5)]
)
def test_sweeps_are_the_same_on_both(method):
    """Same seed, same draws, same answers: all that differs is how the copies are held."""
    model, theta = layers(4, 2, {"Z0 Z1": 1.0, "X2 X3": -0.5, "Z2": 0.3}, start=tilted(4))
    vectors = method.compile(model).estimate(theta, None, 5)
    products = replace(method, bond_dimension=64).compile(model).estimate(theta, None, 5)
    exact = qpr.value_and_grad(model, theta)[1]
    seen = np.abs(exact) > 1e-6  # at frequencies of 1/2 rounding decides which outcome NumPy draws
    assert np.abs(vectors.value - products.value)[seen].max() < 1e-6 and seen.sum() > 12
    assert vectors.cost.copies == products.cost.copies
    assert vectors.info["truncation"] == 0 < products.info["truncation"] < 1e-5
    assert np.abs(products.value - exact).max() < 0.6


def test_mean_field_copies_of_matrix_products_read_and_kick_as_vectors_do():
    rng, n = np.random.default_rng(2), 4
    rows = random_rows(rng, n)
    state = MatrixProductState.product(rows, 16, 1e-14)
    batches = [MeanFieldEngine().prepare(s, 50) for s in (product_vector(rows), state)]
    draws = [np.random.default_rng(3), np.random.default_rng(3)]
    for _ in range(12):
        pauli, angle, asked = random_pauli(rng, n), float(rng.normal()), Event(random_pauli(rng, n))
        found = []
        for batch, draw in zip(batches, draws, strict=True):
            batch.rotate(pauli, angle)
            triggered = batch.check(Check(asked, batch.mean(asked) + 0.02, 2.0, "gaussian"), draw, spend=False)
            read = batch.read(asked, 3.0, draw)
            found.append((triggered, read, batch.mean(asked), batch.ledger.information, batch.ledger.trace_bound))
        assert np.abs(np.subtract(*np.array(found, float))).max() < 1e-9
    assert 0 < batches[1].ledger.triggers < 12
    assert state.bonds == (1,) * (n - 1)  # a batch is a copy of what it was made of
    with pytest.raises(QupropError, match="take Pauli events"):
        batches[1].mean(Event.dense(np.diag([1.0] + [0.0] * 15)))
    with pytest.raises(QupropError, match="whole number"):
        MeanFieldEngine().prepare(state, 0)


def test_lines_keep_rotations_short_and_the_ancilla_where_the_terms_are():
    chain = [PauliString(0, 3 << q) for q in range(9)]
    assert line_of(chain, [PauliString(0, 3 << 4)], 10) == (0, 1, 2, 3, 4, 10, 5, 6, 7, 8, 9)
    rng = np.random.default_rng(1)
    names = rng.permutation(10)
    mixed = [PauliString((1 << int(names[q])) | (1 << int(names[q + 1])), 0) for q in range(9)]
    line = [q for q in line_of(mixed, [PauliString(1, 0)], 10) if q < 10]
    site = {q: s for s, q in enumerate(line)}
    assert all(abs(site[int(names[q])] - site[int(names[q + 1])]) == 1 for q in range(9))
    ring = [PauliString(0, (1 << q) | (1 << (q + 1) % 10)) for q in range(10)]
    line = [q for q in line_of(ring, [PauliString(1, 0)], 10) if q < 10]
    site = {q: s for s, q in enumerate(line)}
    assert sum(abs(site[q] - site[(q + 1) % 10]) for q in range(10)) == 18  # the least a ring can have
    assert sorted(line_of([], [], 3)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda m: PairCircuit(m, Terms.of(m), 0), "bond_dimension is a whole number"),
        (lambda m: PairCircuit(m, Terms.of(m), True), "bond_dimension is a whole number"),
        (
            lambda m: QuantumBackprop(max_error=0.3, bond_dimension=8, engine=SymmetricEngine()).compile(m),
            "symmetric engine does not take",
        ),
        (
            lambda m: GentleSweep(max_error=0.3, bond_dimension=8, engine=SymmetricEngine()).compile(m),
            "MeanFieldEngine",
        ),
        (
            lambda m: QuantumBackprop(max_error=0.3, bond_dimension=8).compile(amplitudes()),
            "kind 'amplitudes'; leave out",
        ),
        (
            lambda m: QuantumBackprop(max_error=0.3, bond_dimension=10**9).compile(layers(60, 1, "Z0")[0]),
            "pair state of 60 qubits as 1 matrix products needs",
        ),
    ],
)
def test_what_matrix_products_cannot_hold_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(QupropError, match=sentence) as refusal:
        make(layers(3, 1, "Z0")[0])
    assert "\n" not in str(refusal.value)


def amplitudes():
    theta = qpr.params("theta", 1)
    return qpr.Model(qpr.Circuit(2, np.array([1, 0, 0, 1]), params=theta).rx(theta[0], 0), "Z0")


# -- beyond the state vector ------------------------------------------------------------------------------------------


def test_fifty_qubits_read_the_gradient_of_the_light_cones():
    model, theta = layers(50, 2, {"Z7 Z8": 1.0, "X24": -0.5, "Y30 Y32 Y34": 0.7}, start=tilted(50))
    exact = qpr.value_and_grad(model, theta)[1]
    held, circuit, u = device(model, theta, None)
    scale = np.abs(u).sum()
    for m in reversed(range(model.n_rotations)):
        assert abs(-scale * (2 * held._accepting(Event(circuit.read[m])) - 1) - exact[m] / 2) < 1e-7
        held.undo(None)
    assert held.truncation < 1e-5


@pytest.mark.slow
def test_quantum_backpropagation_runs_at_fifty_qubits():
    model, theta = layers(50, 1, {f"Z{q} Z{q + 1}": 1.0 for q in range(20, 26)}, start=tilted(50))
    exact = qpr.value_and_grad(model, theta)[1]
    plan = QuantumBackprop(max_error=0.3, readings=60).compile(model)
    assert "matrix_product" in plan.info["hypothesis"] and "matrix products" in plan.info["engine"]
    assert plan.simulation_seconds() < 1e6
    assert plan._start(theta, np.zeros(0), np.ones(6))[0].order == plan.circuit.line == (*range(23), 50, *range(23, 50))
    found = plan.estimate(theta, None, 1)
    error = np.abs(found.value - exact)
    assert error.max() <= 0.3 and np.sum(np.abs(exact) > 0.3) > 3
    assert 0 < found.info["triggers"] < 60 and 0 < found.info["truncation"] < 1e-5
