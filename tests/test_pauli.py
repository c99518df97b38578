"""Paulis: the algebra of masks is the algebra of matrices; texts survive a round trip."""

import dense
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quprop as qpr
from quprop import PauliString, PauliSum

N = 3
strings = st.builds(PauliString, st.integers(0, 2**N - 1), st.integers(0, 2**N - 1), st.integers(0, 3))
hermitian = st.builds(PauliString, st.integers(0, 2**70), st.integers(0, 2**70))
coefficients = st.floats(-1e6, 1e6).filter(lambda c: c == 0 or abs(c) > 1e-300)
sums = st.dictionaries(hermitian, coefficients, max_size=6).map(PauliSum)


@given(strings, strings)
def test_product_is_the_matrix_product(p, q):
    assert np.array_equal((p * q).matrix(N), p.matrix(N) @ q.matrix(N))


@given(strings)
def test_adjoint_is_the_conjugate_transpose(p):
    assert np.array_equal(p.adjoint().matrix(N), p.matrix(N).conj().T)
    assert p.is_hermitian == np.array_equal(p.matrix(N), p.matrix(N).conj().T)


@given(strings, strings)
def test_commutes_when_the_matrices_do(p, q):
    a, b = p.matrix(N), q.matrix(N)
    assert p.commutes(q) == np.array_equal(a @ b, b @ a)


@given(hermitian)
def test_a_hermitian_string_squares_to_one(p):
    assert p * p == PauliString(0, 0) and p.sign == 1 and (-p).sign == -1


@given(strings, st.integers(0, 3))
def test_string_text_round_trip(p, padding):
    assert PauliString.parse(str(p)) == p
    assert PauliString.parse(p.dense(N + padding)) == p


@given(sums)
def test_sum_text_round_trip(total):
    assert PauliSum.parse(str(total)) == total


@given(sums, sums)
def test_sums_form_a_vector_space(a, b):
    assert a + b == b + a and a - a == PauliSum({}) and 2.0 * a == a + a and (a == b) == (a - b == PauliSum({}))
    assert hash(a + b) == hash(b + a)


def test_matrices_are_kronecker_products_of_textbook_ones():
    for text in ("XYZ", "IIY", "ZXI", "-YYX"):
        p = PauliString.parse(text)
        assert np.array_equal(p.matrix(3), dense.pauli_matrix(p, 3))
    total = PauliSum({"X0 Y2": 0.5, "Z1": -2.0, "I": 0.25})
    assert np.allclose(total.matrix(3), dense.sum_matrix(total, 3), atol=0, rtol=0)


def test_text_forms_agree():
    assert (
        PauliString.parse("XIY")
        == PauliString.parse("X0 Y2")
        == PauliString.parse("Y2*X0")
        == PauliString(0b101, 0b100)
    )
    assert PauliString.parse("I") == PauliString.parse("_") == PauliString(0, 0)
    assert str(-PauliString.parse("Z3 X0")) == "-X0 Z3" and PauliString.parse("-X0 Z3").sign == -1
    p = PauliString.parse("X0 Y2")
    assert (p.weight, p.qubits, p.n_qubits, p.dense(4)) == (2, (0, 2), 3, "XIYI")
    expected = PauliSum({"Z0 Z1": 1.0, "X3": -0.7, "I": 2.0})
    assert PauliSum.parse("Z0 Z1 - 0.7*X3 + 2*I") == PauliSum.parse("ZZ-0.7 X3+2I") == expected
    assert str(expected) == "Z0 Z1 - 0.7*X3 + 2.0*I"


def test_equal_terms_merge_and_signs_go_into_coefficients():
    total = PauliSum({"X0": 1.0, "XI": 0.5, "-X0": 0.25, "Z1": 0.0})
    assert total.terms == ((PauliString(1, 0), 1.25),)
    assert np.float64(2.0) * total == total * 2 == PauliSum({"X0": 2.5})


def test_paulis_are_immutable_and_hashable():
    with pytest.raises(AttributeError):
        PauliString(1, 0).x = 2
    assert len({PauliString(1, 0), PauliString(1, 0), PauliString(1, 1)}) == 2
    assert len({PauliSum("X0 + Z1"), PauliSum("Z1 + X0")}) == 1


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: PauliString.parse("X0 X0"), "twice"),
        (lambda: PauliString.parse("Q3"), "reads like"),
        (lambda: PauliString.parse(""), "reads like"),
        (lambda: PauliString.parse(3), "reads like"),
        (lambda: PauliString.parse("iX0").sign, "Hermitian"),
        (lambda: PauliString.parse("X5").dense(3), "beyond"),
        (lambda: PauliString(-1, 0), "non-negative"),
        (lambda: PauliSum({"X0": 1j}), "real"),
        (lambda: PauliSum({"X0": 1 + 0j}), ".real"),
        (lambda: PauliSum({"X0": "1"}), "real"),
        (lambda: PauliSum({"X0": float("nan")}), "finite"),
        (lambda: PauliSum({"X0": float("inf")}), "finite"),
        (lambda: PauliSum({"iX0": 1.0}), "Hermitian"),
        (lambda: PauliSum({3: 1.0}), "Pauli strings"),
        (lambda: PauliSum(3), "dictionary"),
        (lambda: PauliSum("X0 Z1 + + Y2"), "reads like"),
        (lambda: PauliSum("X0 0.5*Y1"), "reads like"),
        (lambda: PauliSum(PauliSum("X0") * 1j), "Hermitian"),
    ],
)
def test_bad_paulis_get_one_sentence(make, word):
    with pytest.raises(qpr.QupropError, match=word) as caught:
        make()
    assert "\n" not in str(caught.value)
