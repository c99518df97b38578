"""Products, powers, commutators and matrices of Pauli sums against dense algebra, OpenFermion, Qiskit and PennyLane."""

import pickle

import dense
import numpy as np
import pytest
from scipy import sparse

import quprop as qpr
from quprop import Circuit, Model, PauliOperator, PauliString, PauliSum, anticommutator, commutator
from quprop.model import pauli_algebra

N = 4


def random_sum(rng, terms, n=N):
    return PauliSum({PauliString(*map(int, rng.integers(0, 2**n, 2))): float(rng.normal()) for _ in range(terms)})


def random_operator(rng, terms, n=N):
    return random_sum(rng, terms, n) + 1j * random_sum(rng, terms, n)


def operator_matrix(operator, n=N):
    return sum((c * dense.pauli_matrix(p, n) for p, c in operator.items()), start=np.zeros((2**n, 2**n), complex))


@pytest.mark.parametrize("seed", range(6))
def test_operators_form_the_algebra_of_their_matrices(seed):
    rng = np.random.default_rng(seed)
    a, b = random_operator(rng, 12), random_operator(rng, 9)
    h, k = random_sum(rng, 12), random_sum(rng, 9)
    m = {id(o): operator_matrix(o) for o in (a, b, h, k)}
    p = PauliString.parse("-iX0 Y2")
    s = p.matrix(N)
    A, B, H, K = (m[id(o)] for o in (a, b, h, k))
    for made, expected in (
        (a * b, A @ B),
        (h * k, H @ K),
        (a * h - h * a, A @ H - H @ A),
        (p * h, s @ H),
        (h * p, H @ s),
        (p * a, s @ A),
        (a * p, A @ s),
        (h - 2j * a, H - 2j * A),
        (h + a, H + A),
        (h - a, H - A),
        (1j * h * 2, 2j * H),
        (np.complex128(0.5j) * h, 0.5j * H),
        (a / 2j + 3, A / 2j + 3 * np.eye(2**N)),
        (1 - a, np.eye(2**N) - A),
        (a + p, A + s),
        (p - a, s - A),
        (a**3, A @ A @ A),
        (h**4, np.linalg.matrix_power(H, 4)),
        (h**0, np.eye(2**N)),
        (a.adjoint(), A.conj().T),
        (commutator(a, b), A @ B - B @ A),
        (anticommutator(a, h), A @ H + H @ A),
        (commutator(p, h), s @ H - H @ s),
    ):
        assert np.abs(operator_matrix(made) - expected).max() < 1e-11
    assert abs(a.constant - np.trace(A) / 2**N) < 1e-13


def test_products_of_observables_are_complex_and_their_commutator_is_an_observable():
    rng = np.random.default_rng(3)
    h, k = random_sum(rng, 200, 6), random_sum(rng, 200, 6)
    assert type(h * k) is PauliOperator and type(h**3) is PauliSum
    assert not (h * k).is_hermitian and (-1j * (h * k - k * h)).is_hermitian and (h * h).is_hermitian
    made = PauliSum(-1j * (h * k - k * h))
    exact = PauliSum(-1j * commutator(h, k))
    assert all(c.real == 0 for _, c in commutator(h, k).items())
    assert all(c.imag == 0 for _, c in anticommutator(h, k).items())
    np.testing.assert_allclose(made.matrix(6), exact.matrix(6), atol=1e-12)
    circuit = Circuit(6)
    for q in range(6):
        circuit.ry(0.3 + q, q)
    state = qpr.state(Model(circuit, "Z0"), [])
    H, K = h.matrix(6), k.matrix(6)
    expected = (state.conj() @ (-1j * (H @ K - K @ H)) @ state).real
    for observable in (-1j * (h * k - k * h), [-1j * commutator(h, k)]):
        assert np.abs(qpr.expectation(Model(circuit, observable), []) - expected).max() < 1e-10


def test_the_imaginary_unit_is_never_dropped():
    product = PauliSum("X0") * PauliSum("Y0")
    assert product == PauliOperator({"Z0": 1j}) == PauliOperator({"iZ0": 1}) and product.terms[0][1] == 1j
    for make in (
        lambda: PauliSum(product),
        lambda: Model(Circuit(1), product),
        lambda: Circuit(1).exp(product, 0.1),
        lambda: PauliSum(PauliSum("X0") + 1e-9j * PauliSum("Z0")),
        lambda: PauliSum({"X0": 1, "Z0": 1j}),
        lambda: PauliSum.from_matrix([[0, 1j], [1j, 0]]),
        lambda: qpr.structure.dla_dimension([product]),
    ):
        with pytest.raises(qpr.QupropError, match=r"Hermitian|real"):
            make()
    assert PauliSum(PauliSum("X0") + 1e-14j * PauliSum("Z0")) == PauliSum("X0")  # rounding


def test_operators_are_values():
    a = PauliOperator({"X0": 1, "Y1": 2j})
    assert PauliOperator(PauliSum("X0 + 2*Z1")) == PauliSum("X0 + 2*Z1") == PauliOperator({"X0": 1, "Z1": 2})
    assert hash(PauliOperator(PauliSum("X0 + 2*Z1"))) == hash(PauliSum("X0 + 2*Z1"))
    assert pickle.loads(pickle.dumps(a)) == a and eval(repr(a)) == a and len(a) == 2 and a != 3
    assert str(a - a) == "0" and str(a) == "X0 + 2j*Y1" and a.n_qubits == 2 and (a - a).n_qubits == 0
    assert PauliSum("X0").adjoint() == PauliSum("X0") and PauliSum("X0").is_hermitian
    with pytest.raises(AttributeError, match="cannot be changed"):
        a.constant = 2


@pytest.mark.parametrize("kind", [None, 0, 1])
def test_products_of_words_and_of_masks_of_any_size_agree(kind, monkeypatch):
    rng = np.random.default_rng(5)
    a, b = random_operator(rng, 30, 5).masks(), random_operator(rng, 40, 5).masks()
    by_pairs = pauli_algebra._by_pairs(a, b, kind)
    for pairs in (1 << 20, 100):  # one table of pairs, and a few rows at a time
        monkeypatch.setattr(pauli_algebra, "_PAIRS", pairs)
        by_arrays = pauli_algebra._by_arrays(a, b, kind)
        assert by_arrays.keys() == by_pairs.keys()
        assert max(abs(by_arrays[key] - by_pairs[key]) for key in by_pairs) < 1e-12
    wide = [PauliString(1 << 90, 1 << 70), PauliString(1 << 70, 3)]
    product = PauliSum({wide[0]: 2.0}) * PauliSum({wide[1]: 3.0})
    string = wide[0] * wide[1]
    assert product == PauliOperator({string: 6.0}) and product.n_qubits == 91


@pytest.mark.parametrize("n", [1, 3, 5])
def test_matrices_are_read_and_written_both_ways_dense_and_sparse(n):
    rng = np.random.default_rng(n)
    m = rng.normal(size=(2**n, 2**n)) + 1j * rng.normal(size=(2**n, 2**n))
    operator = PauliOperator.from_matrix(m)
    assert len(operator) == 4**n
    assert np.abs(operator_matrix(operator, n) - m).max() < 1e-13
    assert np.abs(operator.matrix() - m).max() < 1e-13 and np.abs(operator.sparse_matrix(n) - m).max() < 1e-13
    total = PauliSum.from_matrix(m + m.conj().T)
    assert np.abs(dense.sum_matrix(total, n) - m - m.conj().T).max() < 1e-13
    few = random_sum(rng, 3, n)
    for form in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        assert same(PauliSum.from_matrix(form(few.matrix(n))), few)
    assert same(PauliSum.from_matrix(few.sparse_matrix(n)), few)
    assert few.sparse_matrix(n + 2).shape == (2 ** (n + 2),) * 2 and sparse.issparse(few.sparse_matrix())
    np.testing.assert_array_equal(few.matrix(n + 1), dense.sum_matrix(few, n + 1))
    twice = sparse.coo_array(([1.0, 2.0], ([0, 0], [0, 0])), shape=(2, 2))  # entries that add up
    assert PauliSum.from_matrix(twice) == PauliSum("1.5*I + 1.5*Z0")


def same(a, b):
    return all(abs(c) < 1e-14 for _, c in (a - b).items())


def test_small_coefficients_are_left_out_at_the_stated_cutoff():
    m = PauliSum({"Z0": 1.0, "X1": 1e-6, "Y0 Y1": 1e-14}).matrix(2)
    assert [str(p) for p, _ in PauliSum.from_matrix(m).items()] == ["Z0", "X1"]
    assert [str(p) for p, _ in PauliSum.from_matrix(m, cutoff=1e-5).items()] == ["Z0"]
    assert len(PauliSum.from_matrix(m, cutoff=0.0)) >= 3
    assert len(PauliSum.from_matrix(np.zeros((4, 4)))) == 0


def test_sparse_matrices_reach_past_dense_ones():
    n = 16
    chain = PauliSum({f"Z{q} Z{q + 1}": 1.0 for q in range(n - 1)} | {f"X{q}": 0.5 for q in range(n)})
    table = chain.sparse_matrix()
    lowest = sparse.linalg.eigsh(table, 1, which="SA", return_eigenvectors=False, v0=np.ones(2**n))[0]
    # free fermions: minus the sum of the singular values of the open chain's bidiagonal matrix
    fermions = np.diag(np.full(n, 0.5)) + np.diag(np.ones(n - 1), 1)
    assert abs(lowest + np.linalg.svd(fermions, compute_uv=False).sum()) < 1e-8
    assert PauliSum.from_matrix(table) == chain


@pytest.mark.parametrize("seed", range(3))
def test_openfermion_multiplies_alike(seed):
    openfermion = pytest.importorskip("openfermion")
    rng = np.random.default_rng(seed)
    a, b = random_sum(rng, 15), random_sum(rng, 15)
    book = qpr.to_openfermion(a) * qpr.to_openfermion(b)
    for sign, ours in ((0, a * b), (-1, commutator(a, b)), (1, anticommutator(a, b))):
        other = sign * qpr.to_openfermion(b) * qpr.to_openfermion(a)
        expected = openfermion.get_sparse_operator(book + other, N).toarray()
        flipped = [
            sum((j >> q & 1) << (N - 1 - q) for q in range(N)) for j in range(2**N)
        ]  # its qubit 0 is the highest
        assert np.abs(ours.matrix(N) - expected[np.ix_(flipped, flipped)]).max() < 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_qiskit_composes_and_decomposes_alike(seed):
    info = pytest.importorskip("qiskit.quantum_info")
    rng = np.random.default_rng(seed)
    a, b = random_operator(rng, 10), random_operator(rng, 10)

    def theirs(operator):
        return info.SparsePauliOp.from_list([(p.dense(N)[::-1], c) for p, c in operator.items()])

    assert np.abs((theirs(a) @ theirs(b)).to_matrix() - (a * b).matrix(N)).max() < 1e-12
    m = rng.normal(size=(16, 16))
    expected = dict(info.SparsePauliOp.from_operator(info.Operator(m)).to_list())
    ours = {p.dense(N)[::-1]: c for p, c in PauliOperator.from_matrix(m).items()}
    assert ours.keys() == expected.keys() and max(abs(ours[k] - expected[k]) for k in ours) < 1e-12


A = PauliSum("X0 + Z1")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: A**-1, "whole number from 0"),
        (lambda: A**10_000, "whole number from 0 to 1000"),
        (lambda: A * A + 10**400, "finite"),
        (lambda: A**0.5, "whole number from 0"),
        (lambda: (A * A) ** True, "whole number from 0"),
        (lambda: commutator(A, 2), "commutator takes PauliSum"),
        (lambda: anticommutator("X0", A), "anticommutator takes PauliSum"),
        (lambda: (A * A) / 0, "divided by zero"),
        (lambda: A * complex("nan"), "finite"),
        (lambda: (1e200 * A) * (1e200 * A), "finite"),
        (lambda: (1e200 * A) ** 2, "finite"),
        (lambda: PauliOperator(3), "made from a dictionary"),
        (lambda: PauliOperator({"Q0": 1}), "reads like"),
        (lambda: PauliOperator({"X0": "1"}), "are numbers"),
        (lambda: PauliOperator({"X0": 10**400}), "finite"),
        (lambda: A.matrix(1), "whole number of qubits from 2"),
        (lambda: A.matrix(20), "14 qubits at most"),
        (lambda: A.sparse_matrix(40), "26 qubits"),
        (lambda: A.sparse_matrix(2.0), "whole number of qubits"),
        (lambda: PauliSum.from_matrix(np.eye(3)), r"shape \(2\^n, 2\^n\), got \(3, 3\)"),
        (lambda: PauliSum.from_matrix(np.ones((2, 4))), "shape"),
        (lambda: PauliSum.from_matrix([1.0, 2.0]), "shape"),
        (lambda: PauliSum.from_matrix([[np.nan, 0], [0, 1]]), "finite"),
        (lambda: PauliSum.from_matrix([["a", "b"], ["c", "d"]]), "numbers"),
        (lambda: PauliSum.from_matrix(np.eye(2), cutoff=-1), "cutoff"),
        (lambda: PauliSum.from_matrix([[0, 1], [0, 0]]), "Hermitian"),
        (lambda: PauliSum.from_matrix(sparse.eye(2**15) + sparse.eye(2**15, k=1)), "Hermitian"),
    ],
)
def test_bad_algebra_gets_one_sentence(make, word):
    with pytest.raises(qpr.QupropError, match=word) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_products_beyond_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(pauli_algebra, "MAX_PAIRS", 3)
    with pytest.raises(qpr.QupropError, match="3 pairs of terms at most, got 2 times 2"):
        A * A
    monkeypatch.undo()
    monkeypatch.setattr(pauli_algebra, "MAX_TERMS", 3)
    with pytest.raises(qpr.QupropError, match="3 terms at most"):
        (A + PauliSum("Z0")) * (A + PauliSum("Y0"))
    with pytest.raises(qpr.QupropError, match="3 terms at most"):
        PauliOperator.from_matrix(np.arange(16.0).reshape(4, 4) ** 2)
