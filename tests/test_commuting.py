"""Models whose rotations commute: exact sums, sampled means and what they refuse, against states and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import quprop as qpr
from quprop.errors import QupropError
from quprop.model import ansatz
from quprop.model.ansatz_iqp import all_gates, covariance_gates, graph_gates
from quprop.model.pauli import PauliString
from quprop.model.x_rotations import Subsets
from quprop.simulate.commuting.engine import Commuting, CommutingModelEngine
from quprop.simulate.commuting.form import CommutingForm
from quprop.simulate.commuting.gates import Gates


def strings_of(n, rng, count):
    """Products of Z of weights 1 to 4, and a few of any letters."""
    found = []
    for k in range(count):
        chosen = rng.choice(n, min(n, 1 + k % 4), replace=False)
        letters = ["Z"] * len(chosen) if k % 3 else rng.choice(list("XYZ"), len(chosen))
        found.append(" ".join(f"{a}{q}" for a, q in zip(letters, chosen, strict=True)))
    return found


def random_commuting(n, m, rng):
    """Rotations about products of commuting generators, in a random Clifford frame, on a random stabiliser product."""
    circuit = qpr.Circuit(n, state="".join(rng.choice(list("01"), n)))
    theta = qpr.params("theta", m)

    def cliffords(count):
        for _ in range(count):
            a, b = rng.choice(n, 2, replace=False)
            getattr(circuit, rng.choice(["cx", "cz", "swap"]))(int(a), int(b))
            getattr(circuit, rng.choice(["h", "s", "sdg", "x"]))(int(a))

    cliffords(4)
    generators = [PauliString(1 << q, 0) for q in range(n)]
    for k in range(m):
        chosen = rng.choice(n, rng.integers(1, min(n, 4) + 1), replace=False)
        product = PauliString(0, 0)
        for q in chosen:
            product = product * generators[q]
        angle = theta[k] if rng.random() < 0.7 else 0.7 * theta[k] + 0.3 * theta[int(rng.integers(m))]
        circuit.rotation(product if rng.random() < 0.5 else -product, angle)
    cliffords(4)
    return circuit


def agree(model, theta, rng, **options):
    engine = CommutingModelEngine(Commuting(**options))
    weights = rng.normal(size=model.n_observables)
    np.testing.assert_allclose(
        qpr.expectation(model, theta, engine=engine), qpr.expectation(model, theta, engine="native"), atol=1e-12
    )
    value, gradient = qpr.value_and_grad(model, theta, weights=weights, engine=engine)
    expected = qpr.value_and_grad(model, theta, weights=weights, engine="native")
    np.testing.assert_allclose(value, expected[0], atol=1e-12)
    np.testing.assert_allclose(gradient, expected[1], atol=1e-12)
    values, pullback = qpr.vjp(model, theta, engine=engine)
    np.testing.assert_allclose(pullback(weights)[0], expected[1], atol=1e-12)
    np.testing.assert_allclose(values @ weights, value, atol=1e-12)


@pytest.mark.parametrize("weight", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 4, 7, 12])
def test_exact_expectations_are_those_of_the_state(n, weight):
    rng = np.random.default_rng(n + 100 * weight)
    circuit = ansatz.iqp(n, min(weight, n)) if n < 12 or weight < 3 else ansatz.iqp(
        n, [sorted(rng.choice(n, weight, replace=False)) for _ in range(20)]
    )  # fmt: skip
    model = qpr.Model(circuit, strings_of(n, rng, 12))
    agree(model, rng.normal(size=model.n_params), rng)


@pytest.mark.parametrize("seed", range(40))
def test_any_commuting_model_is_reduced_to_signs(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    observables = ["".join(rng.choice(list("IXYZ"), n)) for _ in range(12)]
    observables = [o for o in observables if set(o) != {"I"}] + [{"I": 0.3, "Z0": -1.5, "Z0 Z1": 0.5}]
    model = qpr.Model(random_commuting(n, int(rng.integers(1, 12)), rng), observables)
    agree(model, rng.normal(size=model.n_params), rng)


def test_sampled_means_are_those_of_the_definition():
    """phi_a summed gate by gate, for the same signs, with derivatives by its own formula."""
    rng = np.random.default_rng(5)
    n, samples = 13, 333
    for gates in (2, 3, graph_gates(n, [(q, (q + 1) % n) for q in range(n)], 3)):
        model = qpr.Model(ansatz.iqp(n, gates), "Z0")
        theta = rng.normal(size=model.n_params)
        subsets = Subsets.of_rows((rng.random((50, n)) < 0.3).astype(np.uint8))
        for precision, tolerance in (("double", 1e-12), ("single", 3e-5)):
            g = Gates(CommutingForm(model), precision, 2)
            bits = g.bits(samples, rng)
            by_mean, by_square = rng.normal(size=(2, 50))
            mean, square, d = g.sampled(
                g.turns(2 * theta), subsets, bits, lambda part, m, q, a=by_mean, b=by_square: (a[part], b[part])
            )
            signs = 1.0 - 2.0 * bits
            lists = g.form.gates
            chi = np.array([signs[lists.subset(k)].prod(axis=0) for k in range(len(lists))])
            odd = (subsets.rows(n).astype(int) @ lists.rows(n).astype(int).T) % 2
            phi = odd @ (2 * theta[:, None] * chi)
            np.testing.assert_allclose(mean, np.cos(phi).mean(axis=1), atol=tolerance)
            np.testing.assert_allclose(square, (np.cos(phi) ** 2).mean(axis=1), atol=tolerance)
            slope = -np.sin(phi) * (by_mean[:, None] + 2 * by_square[:, None] * np.cos(phi)) / samples
            np.testing.assert_allclose(g.by_angles(d), ((odd.T @ slope) * chi).sum(axis=1), atol=10 * tolerance)


def test_sampled_values_scatter_around_the_exact_ones_as_their_errors_say():
    rng = np.random.default_rng(2)
    n = 10
    model = qpr.Model(ansatz.iqp(n, 3), strings_of(n, rng, 12))
    theta = 0.3 * rng.normal(size=model.n_params)
    exact = qpr.expectation(model, theta, engine="native")
    z = []
    for seed in range(60):
        engine = CommutingModelEngine(Commuting(samples=200, seed=seed, most=0))
        found = engine.estimate(model, theta)
        assert all(h == "200 samples" for h, e in zip(found.how, found.standard_errors, strict=True) if e)
        drawn = found.standard_errors > 0
        z.append(((found.values - exact) / np.where(drawn, found.standard_errors, 1.0))[drawn])
    z = np.concatenate(z)
    assert abs(z.mean()) < 0.15
    assert 0.85 < z.std() < 1.15


def test_what_cannot_be_computed_is_refused_in_one_sentence():
    clash = qpr.Model(qpr.Circuit(2).rx(qpr.params("t", 1)[0], 0).rz(qpr.params("t", 1)[0], 0), "Z0")
    with pytest.raises(QupropError, match="of its rotations anticommute"):
        qpr.expectation(clash, [0.1], engine="commuting")
    tilted = qpr.Circuit(2, state=np.array([[0.6, 0.8], [1.0, 0.0]])).x_rotations([[0], [0, 1]], qpr.params("t", 2))
    with pytest.raises(QupropError, match="stabiliser state"):
        qpr.expectation(qpr.Model(tilted, "Z0"), [0.1, 0.2], engine="commuting")
    wide = qpr.Model(ansatz.iqp(60), " ".join(f"Z{q}" for q in range(40)))
    with pytest.raises(QupropError, match=r"Commuting\(samples=1000\)"):
        qpr.expectation(wide, np.zeros(wide.n_params), engine="commuting")
    with pytest.raises(QupropError, match="no Hessian-vector products"):
        qpr.hvp(qpr.Model(ansatz.iqp(3), "Z0"), np.zeros(6), v_theta=np.zeros(6), engine="commuting")
    for wrong in ({"samples": 1}, {"samples": 2.5}, {"seed": -1}, {"most": "all"}):
        with pytest.raises(QupropError, match="Commuting"):
            Commuting(**wrong)
    for subsets in ([[0, 0]], [[3]], [[0.5]], [[]]):
        with pytest.raises(QupropError):
            qpr.Circuit(3).x_rotations(subsets, qpr.params("t", 1))


def test_a_thousand_qubits_are_taken_by_the_default_engine():
    """<Z0> of X rotations and pairs is a product of cosines."""
    n = 1000
    model = qpr.Model(ansatz.iqp(n), "Z0")
    theta = 0.02 * np.random.default_rng(0).normal(size=model.n_params)
    gates = model.rotations.subsets
    mine = [k for k in range(len(gates)) if 0 in gates.subset(k)]
    value, gradient = qpr.value_and_grad(model, theta)
    np.testing.assert_allclose(value, np.prod(np.cos(2 * theta[mine])), rtol=1e-12)
    expected = np.zeros_like(theta)
    expected[mine] = -2 * np.tan(2 * theta[mine]) * value
    np.testing.assert_allclose(gradient, expected, atol=1e-14)


def test_a_coin_makes_the_distribution_symmetric():
    rng = np.random.default_rng(4)
    plain, flipped = ansatz.iqp(5, 3), ansatz.iqp(5, 3, spin_flip=True)
    theta = rng.normal(size=plain.n_params)
    p = qpr.probabilities(qpr.Model(plain, "Z0"), theta)
    q = qpr.probabilities(qpr.Model(flipped, "Z0"), theta).reshape(2, 32).sum(axis=0)  # the coin is the highest bit
    np.testing.assert_allclose(q, (p + p[::-1]) / 2, atol=1e-14)
    observables = ["Z0", "Z0 Z1", "Z0 Z1 Z4", "Z0 Z1 Z2 Z3"]
    values = qpr.expectation(qpr.Model(flipped, observables), theta, engine="commuting")
    np.testing.assert_allclose(values[[0, 2]], 0, atol=0)
    np.testing.assert_allclose(
        values[[1, 3]], qpr.expectation(qpr.Model(plain, observables), theta)[[1, 3]], atol=1e-13
    )


def test_gates_are_all_subsets_of_a_kind():
    def listed(gates):
        return [tuple(gates.subset(k).tolist()) for k in range(len(gates))]

    assert listed(all_gates(5, 3)) == [c for k in (1, 2, 3) for c in itertools.combinations(range(5), k)]
    ring = graph_gates(5, [(q, (q + 1) % 5) for q in range(5)], 3)
    connected = [
        c
        for c in itertools.combinations(range(5), 3)
        if len({(b - a) % 5 in (1, 4) for a, b in itertools.combinations(c, 2)}) > 1
    ]
    assert {c for c in listed(ring) if len(c) == 3} >= {(0, 1, 2), (0, 1, 4), (0, 3, 4)}
    assert len(ring) == 15
    assert connected
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2, (200, 6))
    data[:, 5] = data[:, 2]
    assert listed(covariance_gates(data, 1)) == [(q,) for q in range(6)] + [(2, 5)]


def test_rotations_as_arrays_are_the_rotations_they_stand_for():
    circuit = ansatz.iqp(6, 3)
    model = qpr.Model(circuit, ["Z0 Z1", "X2"])
    text = model.to_text()
    again = qpr.Model.from_text(text)
    assert again == model and hash(again) == hash(model) and str(again) == str(model)
    gates = qpr.Circuit(6).x_rotations([[0]], qpr.params("t", 1))
    assert len(circuit) == model.n_rotations
    one_by_one = qpr.Model(
        qpr.Circuit(6, params=qpr.params("theta", circuit.n_params)).append(_written_out(circuit)), ["Z0 Z1", "X2"]
    )
    assert one_by_one == model and model == one_by_one
    assert one_by_one.angle_limit == model.angle_limit
    for a, b in zip(one_by_one.drivers, model.drivers, strict=True):
        np.testing.assert_array_equal(a, b)
    theta = np.random.default_rng(1).normal(size=model.n_params)
    np.testing.assert_array_equal(
        qpr.value_and_grad(model, theta, weights=[1, 2])[1], qpr.value_and_grad(one_by_one, theta, weights=[1, 2])[1]
    )
    assert gates.operations[0].name == "rotation"
    with pytest.raises(QupropError, match="damaged"):
        qpr.Model.from_text(text.replace('"qubits": [0', '"qubits": [9'))


def _written_out(circuit):
    twin = circuit.copy()
    assert len(twin.operations) == len(twin)
    return twin


@pytest.mark.parametrize("n", [1, 5, 9])
def test_states_by_transforms_are_those_of_the_sweep(n):
    rng = np.random.default_rng(n)
    model = qpr.Model(qpr.Circuit(n, state="1" * n).append(ansatz.iqp(n, min(n, 3))), "Z0")
    theta, x = rng.normal(size=(2, model.n_params)), np.empty((1, 0))
    engine, native = CommutingModelEngine(), qpr.NativeEngine()
    psi, pull = engine.state_vjp(model, theta, x)
    phi, expected = native.state_vjp(model, theta, x)
    phase = (phi.conj() * psi).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(abs(phase), 1, atol=1e-12)
    np.testing.assert_allclose(psi, phase * phi, atol=1e-13)
    c = rng.normal(size=psi.shape) + 1j * rng.normal(size=psi.shape)
    np.testing.assert_allclose(pull(c)[0], expected(c / phase)[0], atol=1e-12)
    np.testing.assert_allclose(engine.states(model, theta, x), psi, atol=0)


@pytest.mark.parametrize("size", [1e3, 1e8, 1e15])
def test_large_angles_turn_as_one_rotation_after_the_other(size):
    """Sums of angles would lose the digits that count."""
    rng = np.random.default_rng(3)
    model = qpr.Model(ansatz.iqp(4, 3), ["Z0", "Z0 Z1 Z2", "X1", "Y0 Z3"])
    theta = size * rng.normal(size=model.n_params)
    agree(model, theta, rng)
    psi, pull = CommutingModelEngine().state_vjp(model, theta[None], np.empty((1, 0)))
    phi, expected = qpr.NativeEngine().state_vjp(model, theta[None], np.empty((1, 0)))
    phase = np.vdot(phi, psi)
    np.testing.assert_allclose(psi, phase * phi, atol=1e-12)
    np.testing.assert_allclose(pull(psi[:, ::-1].copy())[0], expected(psi[:, ::-1] / phase)[0], atol=1e-12)
