"""The named circuits: their shapes, the order of their parameters, and the law each is named for."""

import dense
import numpy as np
import pytest
import scipy.linalg
from tolerances import assert_close

import quprop as qpr
from quprop import Model
from quprop.model import ansatz
from quprop.planning.named import named_shape
from quprop.planning.structure import shape_of
from quprop.simulate.state_vector.reference import ReferenceEngine

ENGINE = ReferenceEngine()
NONE = np.zeros((1, 0))


def state(circuit, theta):
    model = Model(circuit, "Z0")
    return ENGINE.states(model, np.asarray(theta, float).reshape(1, -1), NONE)[0]


def test_hardware_efficient_order_and_counts():
    circuit = ansatz.hardware_efficient(3, 2, ("ry", "rz"), "cz", ring=False, final=("ry",))
    assert [op.name for op in circuit.operations[:8]] == ["ry"] * 3 + ["rz"] * 3 + ["cz"] * 2
    assert circuit.n_params == 2 * 2 * 3 + 3 and Model(circuit, "Z0").n_rotations == 15
    assert repr(circuit.operations[-1].angles[0]) == "theta[14]"
    ring = ansatz.hardware_efficient(4, 1)
    assert [op.target for op in ring.operations if op.name == "cx"] == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert sum(op.name == "cx" for op in ansatz.hardware_efficient(2, 1).operations) == 1
    assert len(ansatz.hardware_efficient(1, 2)) == 4


def test_strongly_entangling_is_pennylanes():
    """Rot(a, b, c) = RZ(c) RY(b) RZ(a) on each qubit, then CX with reach 1, 2, ...: built here from matrices."""
    weights = np.random.default_rng(0).normal(size=(2, 3, 3))
    circuit = qpr.Circuit(3)
    for layer in range(2):
        for q in range(3):
            a, b, c = weights[layer, q]
            circuit.rz(a, q).ry(b, q).rz(c, q)
        for q in range(3):
            circuit.cx(q, (q + layer + 1) % 3)
    actual = state(ansatz.strongly_entangling(3, 2), weights)
    assert_close(abs(np.vdot(actual, dense.final_state(circuit, ()))), 1.0, 200)


def test_qaoa_is_the_product_of_its_exponentials():
    edges, gamma, beta = [(0, 1), (1, 2, 0.5), (0, 2)], [0.3, -0.7], [1.1, 0.2]
    zz = {(0, 1): "Z0 Z1", (1, 2): "Z1 Z2", (0, 2): "Z0 Z2"}
    cut = sum(
        (e[2] if len(e) == 3 else 1.0) * (np.eye(8) - dense.sum_matrix(qpr.PauliSum(zz[e[:2]]), 3)) / 2 for e in edges
    )
    mixer = dense.sum_matrix(qpr.PauliSum("X0 + X1 + X2"), 3)
    psi = np.full(8, 8**-0.5, complex)
    for g, b in zip(gamma, beta, strict=True):
        psi = scipy.linalg.expm(-1j * b * mixer) @ scipy.linalg.expm(-1j * g * cut) @ psi
    circuit = ansatz.qaoa(3, edges, 2)
    assert circuit.layout(0) == (("gamma", 2), ("beta", 2))
    assert_close(abs(np.vdot(state(circuit, gamma + beta), psi)), 1.0, 200)


def test_hamiltonian_variational_groups_and_exponentials():
    hamiltonian = qpr.PauliSum("Z0 Z1 + 0.5*X0 + X1 - 2*I + 0.3*Z0")
    groups = ansatz.commuting_groups(hamiltonian)
    assert [str(g) for g in groups] == ["Z0 Z1 + 0.3*Z0", "0.5*X0 + X1"]
    theta, psi = [0.3, 0.8, -0.4, 0.1], np.eye(4)[2].astype(complex)
    for t, group in zip(theta, groups * 2, strict=True):
        psi = scipy.linalg.expm(-0.5j * t * dense.sum_matrix(group, 2)) @ psi
    circuit = ansatz.hamiltonian_variational(hamiltonian, 2, state="01")
    assert_close(abs(np.vdot(state(circuit, theta), psi)), 1.0, 200)


def test_tfim_variational_starts_in_plus_and_counts():
    model = Model(ansatz.tfim_variational(20, 10), "Z0")
    assert (model.n_rotations, model.n_params) == (390, 20)
    assert Model(ansatz.tfim_variational(5, 1, ring=True), "Z0").n_rotations == 10
    assert_close(state(ansatz.tfim_variational(3, 1), [0, 0]), np.full(8, 8**-0.5), 50)


def _annihilator(p, n):
    """a_p by its action on occupation numbers: sign (-1)^{number of occupied orbitals below p}."""
    out = np.zeros((2**n, 2**n))
    for j in range(2**n):
        if j >> p & 1:
            out[j ^ (1 << p), j] = (-1) ** (j & ((1 << p) - 1)).bit_count()
    return out


@pytest.mark.parametrize(
    ("occupied", "virtual"), [((0,), (2,)), ((1,), (5,)), ((0, 1), (2, 3)), ((1, 3), (4, 5)), ((0, 3), (2, 5))]
)
def test_an_excitation_is_the_exponential_of_fermion_operators(occupied, virtual):
    n = 6
    a = [_annihilator(p, n) for p in range(n)]
    if len(occupied) == 1:
        t = a[virtual[0]].T @ a[occupied[0]]
    else:
        t = a[virtual[1]].T @ a[virtual[0]].T @ a[occupied[0]] @ a[occupied[1]]
    total = ansatz.excitation_generator(occupied, virtual)
    assert len(total) == (2 if len(occupied) == 1 else 8) and total.commuting() is None
    assert_close(scipy.linalg.expm(-0.35j * dense.sum_matrix(total, n)), scipy.linalg.expm(0.7 * (t - t.T)), 200)


def test_uccsd_counts_order_and_conserved_numbers():
    circuit = ansatz.uccsd(4, 2)
    assert [str(op.target.terms[0][0]) for op in circuit.operations][:2] == ["Y0 Z1 X2", "Y1 Z2 X3"]
    assert circuit.n_params == 3 and Model(circuit, "Z0").n_rotations == 12
    assert ansatz.uccsd(12, 4).n_params == 16 + 76  # LiH in STO-3G: 92 excitations, as in the literature
    theta = np.random.default_rng(1).normal(size=ansatz.uccsd(6, 2).n_params)
    psi = state(ansatz.uccsd(6, 2), theta)
    number = np.array([[bin(j & 0b010101).count("1"), bin(j & 0b101010).count("1")] for j in range(64)])
    assert_close(np.abs(psi) ** 2 @ number, [1.0, 1.0], 500)
    start = state(circuit, np.zeros(3))
    assert_close(abs(start[0b0011]), 1.0, 50)


def test_data_reuploading_uses_every_feature_in_every_layer():
    circuit = ansatz.data_reuploading(2, 3, 7)
    assert circuit.layout(0) == (("weight", 21), ("bias", 3 * 6 * 2)) and circuit.layout(1) == (("x", 7),)
    used = [v for op in circuit.operations for a in op.angles for m, _ in a.terms for v in m]
    assert sorted({v[1] for v in used if v[0] == 1}) == list(range(7))
    assert len([v for v in used if v[0] == 1]) == 21
    assert len({v for v in used if v[0] == 0}) == circuit.n_params  # every parameter drives something


def test_commuting_generator_commutes_and_counts():
    assert ansatz.commuting_generator(4).n_params == 4 + 6
    circuit = ansatz.commuting_generator(2, ["XX", "-ZZ"])
    assert_close(
        abs(np.vdot(state(circuit, [0.4, 0.3]), state(qpr.Circuit(2).rzz(-0.3, 0, 1).rxx(0.4, 0, 1), []))), 1.0, 50
    )


def test_random_pauli_rotations_follow_the_seed():
    one, again, other = (Model(ansatz.random_pauli_rotations(3, 600, seed), "Z0") for seed in (1, 1, 2))
    assert one == again != other and one.n_rotations == one.n_params == 600
    assert len({(r.x, r.z) for r in one.rotations}) == 63  # all but the identity


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: ansatz.by_name("qoaa", 3), "did you mean 'qaoa'"),
        (lambda: ansatz.hardware_efficient(3, -1), "layers must be"),
        (lambda: ansatz.hardware_efficient(3.0, 1), "n must be"),
        (lambda: ansatz.hardware_efficient(3, 1, ("rw",)), "rotations must be made of rx, ry, rz"),
        (lambda: ansatz.hardware_efficient(3, 1, entangler="xc"), "must be made of cx, cz"),
        (lambda: ansatz.qaoa(3, [(0, 3)], 1), "from 0 to 2"),
        (lambda: ansatz.qaoa(3, [(1, 1)], 1), "two different"),
        (lambda: ansatz.qaoa(3, [(1,)], 1), "an edge is"),
        (lambda: ansatz.qaoa(3, [(0, 1, float("nan"))], 1), "finite"),
        (lambda: ansatz.hamiltonian_variational([], 1), "one term at least"),
        (lambda: ansatz.hamiltonian_variational([qpr.PauliSum("X0 + Z0")], 1), "anticommute"),
        (lambda: ansatz.uccsd(5, 2), "even number"),
        (lambda: ansatz.uccsd(4, 5), "at most 4"),
        (lambda: ansatz.commuting_generator(2, ["X0", "Z0"]), "anticommute"),
    ],
)
def test_bad_requests_get_one_sentence(make, word):
    with pytest.raises(qpr.QupropError, match=word) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_every_ansatz_by_name_has_a_reference():
    for name, build in ansatz.ANSATZE.items():
        assert "Reference" in build.__doc__ and "Parameters" in build.__doc__, name


SIZES = {
    "n,layers": (4, 3),
    "n,layers,features": (2, 2, 5),
    "n,M": (4, 8),
    "n,M or n,M,B": (4, 12),
    "n or n,weight": (5, 3),
}


@pytest.mark.parametrize("name", [name for name, a in ansatz.ANSATZE.items() if a.sizes])
def test_what_numbers_describe_is_what_is_built(name):
    """For a plan and for Python: trained rotations (a list's state is for free), parameters, qubits; one that grows
    does so with its second number."""
    found = ansatz.ANSATZE[name]
    sizes = SIZES[found.sizes]
    model = Model(found.circuit(*sizes), [qpr.PauliSum(found.observable(found.circuit(*sizes).n_qubits))])
    shape = named_shape(f"{name}:{','.join(map(str, sizes))}")
    assert (shape.trained, shape.parameters, shape.qubits) == (shape_of(model).trained, model.n_params, model.n_qubits)
    assert len(sizes) in found.counts()
    if found.grows:
        more = [found.circuit(sizes[0], k).n_params for k in (1, 2, 3)]
        assert more[2] - more[1] == more[1] - more[0] > 0
        if "M" in found.sizes:
            assert model.n_params == sizes[1]


def test_blocks_commute_within_and_anticommute_with_their_neighbours():
    strings = [op.target for op in ansatz.commuting_blocks(3, 10, 3).operations]
    assert len(set(strings)) == 4 + 4  # the first and the third block are about the same strings
    blocks = [strings[:4], strings[4:8], strings[8:]]
    for i, block in enumerate(blocks):
        assert all(p.commutes(q) for p in block for q in block)
        assert all(p.commutes(q) == (i == 1) for p in block for q in blocks[1])
        assert [p.commutes(qpr.PauliString.parse("Z0")) for p in block] == [i == 1] * len(block)
    with pytest.raises(qpr.QupropError, match="take more qubits"):
        ansatz.commuting_blocks(3, 16, 3)


def test_a_circuit_that_needs_more_than_numbers_is_refused():
    for name, word in (("uccsd:4,2", "needs more than numbers"), ("strongly_entangling:400,400", "no closed shape is")):
        with pytest.raises(qpr.QupropError, match=word):
            named_shape(name)
