"""The stabiliser-logical product ansatz reaches the published efficiency and expressivity, and saturates the bound."""

import itertools

import dense
import numpy as np
import pytest
import stim
from tolerances import assert_close

import quprop as qpr
from quprop import Model, PauliString, QupropError
from quprop.model.ansatz_stabiliser import logical_generators, stabilizer_logical_product
from quprop.structure import efficiency_report, find_blocks, observable_programs

SIZES = [(n, s) for n in (2, 3, 4) for s in range(1, n)]


def random_code(n, s, seed):
    """s stabilisers and a logical Pauli: images of Z0 ... Z(s-1) and Z(n-1) under a random Clifford."""
    gate = stim.Circuit()
    rng = np.random.default_rng(seed)
    for _ in range(8 * n):
        gate.append(str(rng.choice(["H", "S"])), [int(rng.integers(n))])
        gate.append("CX", rng.permutation(n)[:2].tolist())
    tableau = gate.to_tableau()
    images = [str(tableau.z_output(q)).replace("+", "") for q in range(n)]
    return [PauliString.parse(t) for t in images[:s]], PauliString.parse(images[-1])


@pytest.mark.parametrize(("n", "s"), SIZES)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_efficiency_and_expressivity_are_the_published_ones(n, s, seed):
    """F_eff = 2^s and X_exp = 4^n/2^s - 2^s (Chinzei et al.), for repetition codes and random ones."""
    if seed is None:
        stabilizers, observable = [f"Z{q} Z{q + 1}" for q in range(s)], "".join("X" * n)
    else:
        stabilizers, observable = random_code(n, s, seed)
    count = len(logical_generators(n, stabilizers))
    model = Model(stabilizer_logical_product(n, stabilizers, 2 * count), qpr.PauliSum(observable))
    report = efficiency_report(model)
    assert report.f_eff == 2**s
    assert report.x_exp == 4**n // 2**s - 2**s
    assert report.saturated


@pytest.mark.parametrize(("n", "s"), SIZES)
def test_the_algebra_is_all_products_of_stabilisers_and_logical_paulis(n, s):
    """X_exp counted otherwise: strings that commute with the stabilisers and are not products of them."""
    stabilizers, _ = random_code(n, s, 5)
    commuting = sum(all(PauliString(x, z).commutes(g) for g in stabilizers) for x in range(2**n) for z in range(2**n))
    assert commuting - 2**s == 4**n // 2**s - 2**s


@pytest.mark.parametrize(("n", "s"), [(3, 1), (3, 2), (4, 2)])
def test_a_block_is_read_by_one_circuit(n, s):
    stabilizers, observable = random_code(n, s, 7)
    blocks = 6
    circuit = stabilizer_logical_product(n, stabilizers, blocks)
    model = Model(circuit, qpr.PauliSum(observable))
    found = find_blocks(model)
    assert found.n_blocks <= blocks and all(len(b) % 2**s == 0 for b in found.blocks)
    for split in found.terms:
        for commuting, anticommuting in zip(split.commuting, split.anticommuting, strict=True):
            assert not (commuting and anticommuting)  # the observable meets each block alike
    programs = observable_programs(model, blocks=found)
    assert len(programs) <= found.n_blocks
    theta = np.random.default_rng(2).uniform(-3, 3, model.n_params)
    total = np.zeros(model.n_rotations)
    for program in programs:
        values = qpr.expectation(program.model, *program.arguments(theta))
        for entry, value in zip(program.reads, values, strict=True):
            total[entry.rotation] += entry.factor * value
    grad = model.angle_table.pullback(total[None], theta[None], np.zeros((1, 0)))[0][0]
    assert_close(grad, qpr.value_and_grad(model, theta)[1], 4000)
    assert np.max(np.abs(grad)) > 1e-2


def test_an_observable_outside_the_code_halves_the_efficiency():
    model = Model(stabilizer_logical_product(3, ["Z0 Z1", "Z1 Z2"], 4), "X0")
    assert efficiency_report(model).f_eff == 2


def test_state_is_the_product_of_its_exponentials_in_the_stated_order():
    stabilizers, logicals = ["X0 X1", "-Z0 Z1"], ["Z2", "X2"]
    circuit = stabilizer_logical_product(3, stabilizers, logicals, state="010")
    assert circuit.n_params == 8
    theta = np.random.default_rng(0).normal(size=8)
    psi = np.eye(8)[2].astype(complex)
    group = [np.eye(8), *(dense.pauli_matrix(PauliString.parse(g), 3) for g in stabilizers)]
    elements = [group[0], group[1], group[2], group[1] @ group[2]]
    for t, (logical, element) in zip(theta, itertools.product(logicals, elements), strict=True):
        generator = element @ dense.pauli_matrix(PauliString.parse(logical), 3)
        psi = (np.cos(t / 2) * np.eye(8) - 1j * np.sin(t / 2) * generator) @ psi
    assert_close(abs(np.vdot(qpr.state(Model(circuit, "Z0"), theta), psi)), 1.0, 200)


@pytest.mark.parametrize(("n", "s"), [(1, 0), (3, 0), (4, 1), (4, 3), (5, 2)])
def test_logical_generators_are_a_transverse_ising_layer_on_the_code(n, s):
    stabilizers = random_code(n, s, 3)[0] if n > 1 else []
    k = n - s
    strings = logical_generators(n, stabilizers)
    assert len(strings) == 3 * k - 1
    assert all(p.commutes(g) for p in strings for g in stabilizers)
    z, x = strings[k - 1 : 2 * k - 1], strings[2 * k - 1 :]
    for i, j in itertools.product(range(k), repeat=2):
        assert x[i].commutes(z[j]) == (i != j) and x[i].commutes(x[j]) and z[i].commutes(z[j])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, [], 1), "n must be a whole number of qubits"),
        ((2, "ZZ", 1), "put it into a list"),
        ((2, ["iZ0"], 1), "a stabiliser must be a Hermitian Pauli string on qubits 0 to 1"),
        ((2, ["Z5"], 1), "a stabiliser must be a Hermitian"),
        ((2, ["Z0", "X0"], 1), "stabilisers must commute with each other, but Z0 and X0 anticommute"),
        ((3, ["Z0 Z1", "Z1 Z2", "Z0 Z2"], 1), "stabilizers must be independent"),
        ((2, ["I"], 1), "stabilizers must be independent"),
        ((2, ["Z0", "Z1"], 1), "2 stabilisers of 2 qubits leave no logical qubit to act on; give 1 at most"),
        ((2, ["Z0"], -1), "blocks must be a number of blocks, 0 or more"),
        ((2, ["Z0"], "X1"), "blocks must be a number of blocks"),
        ((2, ["Z0"], ["X0"]), "a logical Pauli commutes with all stabilisers, but X0 and Z0 anticommute"),
        ((2, ["Z0"], ["-Z0"]), "a logical Pauli must act on the code, but -Z0 is a product of the stabilisers"),
    ],
)
def test_mistakes_get_one_sentence(arguments, sentence):
    with pytest.raises(QupropError, match=sentence):
        stabilizer_logical_product(*arguments)
