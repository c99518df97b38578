"""Lie algebras against closed forms and dense commutators; measurement efficiency against dense gradient operators."""

import dense
import numpy as np
import pytest
from structure_models import random_strings, rotations_model

from quprop import Circuit, Model, PauliString, PauliSum, QupropError, params
from quprop.model import ansatz
from quprop.model.commutation import generators
from quprop.structure import dla_dimension, dynamical_lie_algebra, efficiency_report, measurement_efficiency
from quprop.structure.algebra import _walk_set, _walk_table, generators_of


def dense_algebra_dimension(generators, n):
    """The rank of all nested commutators of dense matrices."""
    basis: list[np.ndarray] = []

    def grows(matrix):
        v = matrix.ravel() / np.linalg.norm(matrix)
        for _ in range(2):
            for b in basis:
                v = v - b * (b.conj() @ v)
        if np.linalg.norm(v) < 1e-8:
            return False
        basis.append(v / np.linalg.norm(v))
        return True

    generators = [1j * dense.sum_matrix(PauliSum(g), n) for g in generators]
    queue = [g for g in generators if grows(g)]
    while queue:
        a = queue.pop()
        for g in generators:
            c = a @ g - g @ a
            if np.linalg.norm(c) > 1e-8 and grows(c):
                queue.append(c / np.linalg.norm(c))
    return len(basis)


@pytest.mark.parametrize("seed", range(8))
def test_lie_algebra_has_the_dimension_of_its_dense_matrices(seed):
    rng = np.random.default_rng(seed)
    strings = [s for s in random_strings(rng, 3, int(rng.integers(2, 5))) if set(s) != {"I"}]
    strings = strings or ["XII"]
    assert dla_dimension(strings) == dense_algebra_dimension(strings, 3)


def test_lie_algebras_known_in_closed_form():
    for n in (8, 30):  # every string by itself: so(2n), free fermions
        assert dla_dimension(generators(Model(ansatz.tfim_variational(n, 1), "Z0"))) == n * (2 * n - 1)
    assert dla_dimension(Model(ansatz.hardware_efficient(6, 2), "Z0")) == 4**6 - 1  # su(2^n)
    assert dla_dimension(Model(ansatz.commuting_generator(5), "Z0")) == 15  # abelian
    assert dynamical_lie_algebra(["X0", "Z0"]) == tuple(map(PauliString.parse, ["X0", "Z0", "Y0"]))
    assert dla_dimension(["I", "X0"]) == 1 and dla_dimension([]) == 0
    encoded = rotations_model(["~Z0", "~Y0", "X0", "X1"], "Z0", n=2)
    assert dla_dimension(encoded) == 2  # what prepares the state is no generator


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("layers", [1, 3])
def test_parameters_that_drive_sums_are_one_generator_each(n, layers):
    # Larocca et al., Quantum 6, 824 (2022), arXiv:2105.14377: the open Ising chain has n^2.
    assert dla_dimension(Model(ansatz.tfim_variational(n, layers), "Z0")) == n**2


@pytest.mark.parametrize("n", [3, 4])
def test_pennylane_closes_the_generators_of_the_ising_and_heisenberg_chains_alike(n):
    qml = pytest.importorskip("pennylane")
    pairs = [(q, q + 1) for q in range(n - 1)]
    ising = [sum(qml.Z(a) @ qml.Z(b) for a, b in pairs), sum(qml.X(q) for q in range(n))]
    circuit = ansatz.tfim_variational(n, 2)
    assert dla_dimension(circuit) == dla_dimension(Model(circuit, "Z0")) == len(qml.lie_closure(ising))
    t = params("t", 3)
    uneven = Circuit(n, params=t)  # bonds of a chain in turn, with coefficients, and a field
    for k in (0, 1):
        uneven.exp({f"{c}{a} {c}{b}": 1.0 + 0.5 * a for a, b in pairs[k::2] for c in "XYZ"}, t[k])
    uneven.exp({f"Z{q}": 0.3 * q - 1.0 for q in range(n)}, t[2])
    book = [sum((1 + 0.5 * a) * c(a) @ c(b) for a, b in pairs[k::2] for c in (qml.X, qml.Y, qml.Z)) for k in (0, 1)]
    book.append(qml.sum(*((0.3 * q - 1.0) * qml.Z(q) for q in range(n))))
    assert dla_dimension(uneven) == len(qml.lie_closure(book))
    single = [qml.X(0) @ qml.X(1), qml.Y(1), qml.Z(1) @ qml.Z(2)]
    assert dla_dimension(["X0 X1", "Y1", "Z1 Z2"]) == len(qml.lie_closure(single))


def test_operators_that_are_hermitian_are_generators():
    a, b = PauliSum("X0 + X1"), PauliSum("Z0 Z1")
    assert dla_dimension([a, -1j * (a * b - b * a)]) == dense_algebra_dimension([a, "Y0 Z1 + Z0 Y1"], 2)


def test_rotations_of_one_parameter_that_cannot_be_brought_together_are_generators_apart():
    t = params("t", 3)
    apart = Circuit(2, params=t).rx(t[0], 0).ry(t[0], 0).rx(t[1], 1).rzz(t[2], 0, 1)
    assert sorted(map(str, generators_of(Model(apart, "Z0")))) == ["X0", "X1", "Y0", "Z0 Z1"]
    passed = Circuit(3, params=t).rx(t[0], 0).rz(t[1], 2).rx(2 * t[0], 1)
    assert generators_of(Model(passed, "Z0")) == [PauliSum("X0 + 2*X1"), PauliSum("Z2")]
    both = Circuit(2, params=t).rx(t[0] + t[1], 0).rx(t[0] - t[1], 1)
    assert dla_dimension(Model(both, "Z0")) == 2
    cancelled = Circuit(2, params=t).rx(t[0], 0).rz(t[1], 1).rx(-t[0], 0)
    assert dla_dimension(Model(cancelled, "Z0")) == 1


@pytest.mark.parametrize("seed", range(6))
def test_lie_algebra_of_sums_has_the_dimension_of_its_dense_matrices(seed):
    rng = np.random.default_rng(seed)
    n = 3
    sums = [
        PauliSum(
            {s: float(rng.choice([-1.5, 0.3, 1.0, 2.0])) for s in random_strings(rng, n, 1 + size) if set(s) != {"I"}}
        )
        for size in rng.integers(0, 3, int(rng.integers(1, 4)))
    ]
    sums = [g for g in sums if len(g)] or [PauliSum("X0")]
    assert dla_dimension(sums) == dense_algebra_dimension(sums, n)
    basis = dynamical_lie_algebra(sums)
    if all(isinstance(g, PauliSum) for g in basis):
        table = np.array([dense.sum_matrix(g, n).ravel() for g in basis])
        np.testing.assert_allclose((table.conj() @ table.T) / 2**n, np.eye(len(basis)), atol=1e-9)


def test_brackets_on_the_edge_of_rounding_are_refused():
    with pytest.raises(QupropError, match="cannot be told"):
        dla_dimension([PauliSum({"X0": 1.0, "X1": 1.0}), PauliSum({"X0": 1.0, "X1": 1.0 + 1e-8})])


@pytest.mark.parametrize("seed", range(5))
def test_both_walks_find_the_same_algebra(seed):
    n = 4
    strings = [PauliString.parse(s) for s in random_strings(np.random.default_rng(seed), n, 4)]
    codes = sorted({p.x | p.z << n for p in strings} - {0})
    partners = [c >> n | (c & 15) << n for c in codes]
    assert list(_walk_table(codes, partners, n, 1000)) == list(_walk_set(codes, partners, n, 1000))


def gradient_operators(strings, observable, angles, n):
    """Gamma_j = U_j† (i/2) [G_j, W† H W] U_j, dense."""
    matrices = [dense.pauli_matrix(p, n) for p in strings]
    prefixes = [np.eye(2**n, dtype=complex)]
    for a, m in zip(angles, matrices, strict=True):
        prefixes.append((np.cos(a / 2) * np.eye(2**n) - 1j * np.sin(a / 2) * m) @ prefixes[-1])
    final = prefixes[-1].conj().T @ dense.sum_matrix(observable, n) @ prefixes[-1]
    turned = [u.conj().T @ m @ u for u, m in zip(prefixes[1:], matrices, strict=True)]
    return [0.5j * (g @ final - final @ g) for g in turned]


def smallest_cover(commutes, members):
    """The least number of mutually commuting groups, by colouring in every order of appearance (few members)."""
    best = len(members)

    def place(k, groups):
        nonlocal best
        if len(groups) >= best:
            return
        if k == len(members):
            best = len(groups)
            return
        for g in groups:
            if all(commutes[members[k]][i] for i in g):
                g.append(members[k])
                place(k + 1, groups)
                g.pop()
        groups.append([members[k]])
        place(k + 1, groups)
        groups.pop()

    place(0, [])
    return best


@pytest.mark.parametrize("seed", range(12))
def test_groups_are_those_of_commuting_gradient_operators_in_a_deep_circuit(seed):
    """Six repetitions, dense operators at random angles. The derivatives of two repetitions take as many more groups
    than those of one as `Efficiency` counts for one in the middle of many."""
    rng = np.random.default_rng(seed)
    n = 2 + seed % 2
    code = PauliString.parse("ZZ")
    pool = [p for p in map(PauliString.parse, random_strings(rng, n, 60)) if p.weight]
    if seed % 3:  # strings that commute with a stabiliser share commutation relations more often
        pool = [p for p in pool if p.commutes(code) and p != code]
    if seed % 3 == 2:  # and those that come in pairs S L share them all
        pool = [q for p in pool for q in (p, PauliString((p * code).x, (p * code).z)) if q.weight]
    once = list(dict.fromkeys(pool))[:6]
    observable = PauliSum(once[-1] if seed % 3 else "".join(rng.choice(list("XYZ"), n)))
    model = rotations_model([str(p) for p in once], observable, n=n)
    strings = once * 6
    operators = [gradient_operators(strings, observable, rng.uniform(-3, 3, len(strings)), n) for _ in range(2)]

    def vanish(matrices):
        return all(np.max(np.abs(m)) < 1e-11 for m in matrices)

    alive = [j for j in range(2 * len(once)) if not vanish([o[j] for o in operators])]
    commutes = {j: {k: vanish([o[j] @ o[k] - o[k] @ o[j] for o in operators]) for k in alive} for j in alive}
    if not alive:
        with pytest.raises(QupropError, match="reaches the observable"):
            efficiency_report(model)
        return
    report = efficiency_report(model)
    assert report.components == len(alive) / 2
    covers = [smallest_cover(commutes, [j for j in alive if j < k * len(once)]) for k in (1, 2)]
    assert covers[1] - covers[0] == report.groups


@pytest.mark.parametrize("terms", [1, 2])
def test_expressivity_stays_within_the_bounds(terms):
    """X_exp <= 4^n/F_eff - F_eff and F_eff <= X_exp (Chinzei et al.) for random generators."""
    rng = np.random.default_rng(terms)
    saturated = tried = 0
    while tried < 300:
        n, count = int(rng.integers(1, 5)), int(rng.integers(1, 9))
        letters = rng.dirichlet([0.7] * 4)
        strings = ["".join(rng.choice(list("IXYZ"), n, p=letters)) for _ in range(count)]
        strings = [s for s in strings if set(s) != {"I"}]
        observable = PauliSum(dict.fromkeys(random_strings(rng, n, terms), 1.0))
        try:
            report = efficiency_report(rotations_model(strings or ["X0"], observable, n=n))
        except QupropError:
            continue
        tried += 1
        assert report.f_eff <= report.x_exp <= report.bound + 1e-9
        saturated += report.saturated
    assert saturated > 0


def test_efficiency_of_known_circuits():
    """X strings on n qubits, those that anticommute with Z0: 2^(n-1) at once, and as many dimensions."""
    strings = [PauliString(1 | mask << 1, 0) for mask in range(8)]
    report = efficiency_report(Model(ansatz.commuting_generator(4, strings), "Z0"))
    assert (report.f_eff, report.x_exp, report.saturated) == (8, 8, False)
    full = efficiency_report(Model(ansatz.hardware_efficient(4, 2), "Z0"))
    assert (full.f_eff, full.x_exp, full.saturated) == (1, 255, True)
    assert str(full).startswith("F_eff 1 (") and str(full).endswith("= 255, saturated")
    local = rotations_model(["X0", "Z0", "X1", "Z1"], "Y0 Y1")  # the two qubits are measured side by side
    assert efficiency_report(local).f_eff == 2 and efficiency_report(local).saturated
    around = rotations_model(["X0", "Z0", "X0 X1"], "Y0")  # X0 X1 and the next repetition's X0 have no Z0 in between
    assert measurement_efficiency(around) == 1.5
    assert str(efficiency_report(rotations_model(["X0", "Z0"], "Y0 + Z0"))).startswith("F_eff >= 1")
