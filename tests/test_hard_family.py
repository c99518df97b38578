"""The hard family: distributions against dense matrices, tests against enumeration, copies against the exponents."""

import numpy as np
import pytest
from scipy import stats
from tolerances import assert_close

from quprop import PauliString, QupropError
from quprop.collective import hidden_strategies as hs
from quprop.collective import hidden_string as hf

A = 0.6  # 3 eps


def string(code, n):
    return PauliString(code & ((1 << n) - 1), code >> n)


def rho(code, n, s=1):
    return (np.eye(2**n) + s * A * string(code, n).matrix(n)) / 2**n


def bell_vector(code, n):
    """(Q x 1)|Phi>, the first copy in the low bits of the index."""
    d = 2**n
    phi = np.zeros((d, d), complex)
    phi[np.arange(d), np.arange(d)] = d**-0.5
    return (phi @ string(code, n).matrix(n).T).ravel()  # index [second, first]


def bell_probabilities(n: int, a: float, p: int) -> np.ndarray:
    """Of the Bell labels Q = x | z << n on two copies of (1 +- a P) / 2^n, P = p likewise: (4^n,)."""
    d = 1 << n
    q = np.arange(d * d)
    swapped, y = p >> n | (p & (d - 1)) << n, (p >> n & p).bit_count() & 1
    sign = 1 - 2.0 * (np.bitwise_count(q & swapped) & 1)
    return (1 + a**2 * (-sign if y else sign)) / 4**n


@pytest.mark.parametrize("n", [1, 2, 3])
def test_bell_outcomes_have_the_probabilities_of_dense_matrices(n):
    """<B_Q| rho x rho |B_Q>, for every Q, and both signs of rho; a flipped sign of strings with odd #Y is seen."""
    rng = np.random.default_rng(n)
    vectors = np.array([bell_vector(q, n) for q in range(4**n)])
    assert_close(vectors.conj() @ vectors.T, np.eye(4**n), 50)
    codes = {1, (1 << n) | 1, *rng.integers(1, 4**n, size=4).tolist()}
    for p in codes:
        for s in (1, -1):
            pair = np.kron(rho(p, n, s), rho(p, n, s))
            dense = np.einsum("qi,ij,qj->q", vectors.conj(), pair, vectors).real
            assert_close(bell_probabilities(n, A, p), dense, 50)
    odd = (1 << n) | 1  # Y0
    wrong = bell_probabilities(n, A, odd) * -1 + 2 / 4**n
    pair = np.kron(rho(odd, n), rho(odd, n))
    assert np.max(np.abs(wrong - np.einsum("qi,ij,qj->q", vectors.conj(), pair, vectors).real)) > 0.1 / 4**n


def groups_as_sets(groups):
    return [frozenset(row) for row in groups.codes.tolist()]


@pytest.mark.parametrize("n, number", [(1, 3), (2, 15), (3, 135)])
def test_random_groups_are_all_groups_equally_often(n, number):
    """There are prod (2^k + 1) maximal commuting groups; chi-squared at a fixed seed."""
    groups = hs.random_groups(n, 100 * number, np.random.default_rng(1))
    names = groups_as_sets(groups)
    assert all(len(name) == 2**n for name in names)
    seen = {name: names.count(name) for name in set(names)}
    assert len(seen) == number
    assert all(string(a, n).commutes(string(b, n)) for name in list(seen)[:20] for a in name for b in name)
    assert stats.chisquare(list(seen.values())).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_random_group_holds_a_string_with_probability_one_in_two_to_the_n_plus_one(n):
    count = 6000
    groups = hs.random_groups(n, count, np.random.default_rng(2))
    for p in (1, 4**n - 1):
        holds = (groups.codes == p).any(axis=1).sum()
        assert stats.binomtest(int(holds), count, 1 / (2**n + 1)).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3])
def test_signs_of_group_elements_are_those_of_matrices(n):
    """Element c is the product of its generators as matrices, and outcomes have rank-one projectors."""
    groups = hs.random_groups(n, 5, np.random.default_rng(3))
    for codes, minus in zip(groups.codes, groups.minus, strict=True):
        elements = [(-1.0) ** m * string(int(c), n).matrix(n) for c, m in zip(codes, minus, strict=True)]
        for c in range(2**n):
            expected = np.eye(2**n)
            for k in range(n):
                expected = expected @ elements[1 << k] if c >> k & 1 else expected
            assert_close(elements[c], expected, 20)


@pytest.mark.parametrize("n, p", [(1, 2), (2, 5), (2, 15), (3, 9)])
def test_stabiliser_outcomes_have_the_probabilities_of_dense_matrices(n, p):
    """Frequencies of the joint eigenvalues in one group against tr(projector rho), in and out of the group."""
    rng, count = np.random.default_rng(4), 20_000
    met = set()
    for _ in range(40):
        one = hs.random_groups(n, 1, rng)
        inside = bool((one.codes == p).any())
        if inside in met:
            continue
        met.add(inside)
        many = hs.Groups(np.repeat(one.codes, count, axis=0), np.repeat(one.minus, count, axis=0))
        seen, times = np.unique(hs.measure(many, p, -A, rng), axis=0, return_counts=True)
        matrices = np.array([string(int(c), n).matrix(n) for c in one.codes[0]])
        projectors = np.einsum("oc,cij->oij", seen, matrices) / 2**n
        assert_close(projectors @ projectors, projectors, 50)
        dense = np.einsum("oij,ji->o", projectors, rho(p, n, -1)).real
        assert_close(dense.sum(), 1.0, 50)
        assert stats.chisquare(times, count * dense).pvalue > 1e-4
    assert met == {True, False}


def distance(null, alternatives):
    return 0.5 * np.abs(np.mean(alternatives, axis=0) - null).sum()


def power(p, copies):
    """Distribution of independent copies as one long vector."""
    out = np.ones(1)
    for _ in range(copies):
        out = np.outer(out, p).ravel()
    return out


def exact_distances():
    """Total variation distances by listing every outcome, from the dense states; one qubit."""
    bases = [np.linalg.eigh(string(code, 1).matrix(1))[1] for code in (1, 2, 3)]
    states = [rho(code, 1, s) for code in (1, 2, 3) for s in (1, -1)]
    born = lambda basis, state: np.einsum("io,ij,jo->o", basis.conj(), state, basis).real  # noqa: E731
    each = 2  # copies a basis

    def in_turn(state):
        out = np.ones(1)
        for basis in bases:
            out = np.outer(out, power(born(basis, state), each)).ravel()
        return out

    at_random = lambda state: power(np.concatenate([born(b, state) for b in bases]) / 3, 4)  # noqa: E731
    vectors = np.array([bell_vector(q, 1) for q in range(4)])
    pairs = lambda state: power(  # noqa: E731
        np.einsum("qi,ij,qj->q", vectors.conj(), np.kron(state, state), vectors).real, 3
    )
    mixed = np.eye(2) / 2
    return {
        "mub": (3 * each, distance(in_turn(mixed), [in_turn(s) for s in states])),
        "clifford": (4, distance(at_random(mixed), [at_random(s) for s in states])),
        "pauli": (4, distance(at_random(mixed), [at_random(s) for s in states])),
        "bell": (6, distance(pairs(mixed), [pairs(s) for s in states])),
    }


SLOW = {"clifford": (pytest.mark.slow,), "pauli": (pytest.mark.slow,)}


@pytest.mark.parametrize("strategy", [pytest.param(s, marks=SLOW.get(s, ())) for s in hs.STRATEGIES])
def test_success_of_the_likelihood_ratio_is_the_best_there_is(strategy):
    """(1 + TV) / 2 with TV from a list of all outcomes of one qubit, 5 standard errors."""
    copies, tv = exact_distances()[strategy]
    found, stderr = hf.success(1, A / 3, copies, strategy, 6, 1500)
    assert stderr < 0.005
    assert abs(found - (1 + tv) / 2) < 5 * stderr


def test_a_wrong_likelihood_is_caught(monkeypatch):
    """A ratio with the sign of odd #Y forgotten disagrees with the list of outcomes."""
    copies, tv = exact_distances()["bell"]
    monkeypatch.setattr(hs.np, "negative", lambda *a, **k: None)
    found, stderr = hf.success(1, A / 3, copies, "bell", 6, 1500)
    assert abs(found - (1 + tv) / 2) > 5 * stderr


@pytest.mark.parametrize(
    "strategy, a, copies",
    [
        ("mub", 0.6, 90),
        pytest.param("clifford", 0.6, 90, marks=pytest.mark.slow),
        pytest.param("pauli", 0.6, 90, marks=pytest.mark.slow),
        ("bell", 0.6, 60),
        ("mub", 0.1, 4000),
        ("bell", 0.2, 8000),
    ],
)
def test_both_hypotheses_give_one_distance(strategy, a, copies):
    """E_null (1 - R)_+ = E_mixture (1 - 1/R)_+ holds only if R is the ratio of the distributions that were drawn."""
    rng, draw = np.random.default_rng(7), hs.STRATEGIES[strategy]
    null, mixture = (np.array([draw(3, a, copies, tilted, rng) for _ in range(400)]) for tilted in (False, True))
    x, y = -np.expm1(np.minimum(null, 0)), -np.expm1(np.minimum(-mixture, 0))
    assert 0.1 < x.mean() < 0.9
    assert abs(x.mean() - y.mean()) < 4.5 * np.hypot(x.std(), y.std()) / 20


def test_outcomes_that_say_nothing_leave_the_ratio_at_one():
    """One copy in each basis, or no pair, tells nothing: every result is as likely under either hypothesis."""
    rng = np.random.default_rng(8)
    for tilted in (False, True):
        assert abs(hs.mub(3, A, 9, tilted, rng)) < 1e-12
        assert abs(hs.bell(3, A, 1, tilted, rng)) < 1e-12


def test_one_pair_has_the_ratio_of_the_mixed_distribution():
    """The mean of bell_probabilities over P against 4^-n, for each outcome there is."""
    n = 2
    mean = np.mean([bell_probabilities(n, A, p) for p in range(1, 4**n)], axis=0) * 4**n
    rng = np.random.default_rng(9)
    seen = {round(float(np.exp(hs.bell(n, A, 2, False, rng))), 10) for _ in range(300)}
    assert seen == set(np.round(mean, 10))


def test_formula_at_small_eps():
    """(2^n + 1)(2n + 1) ln 2 / (9 eps^2 / 2) and 8 n ln 2 / (81 eps^4) up to 4^n - 1 for 4^n and higher orders."""
    n, eps = 8, 0.01
    assert abs(hf.formula(n, eps, "mub") / (257 * 17 * np.log(2) / (4.5 * eps**2)) - 1) < 1e-3
    assert abs(hf.formula(n, eps, "bell") / (8 * n * np.log(2) / (81 * eps**4)) - 1) < 1e-3


def test_copies_needed_brackets_two_thirds():
    """Successes measured afresh at 1.3 times fewer and more copies lie on both sides."""
    found = hf.copies_needed(3, 0.3, "mub", 10, trials=60)
    assert found.low <= found.copies <= found.high and "mub, n = 3" in str(found)
    below, above = (hf.success(3, 0.3, round(found.copies * f), "mub", 11, 300)[0] for f in (1 / 1.3, 1.3))
    assert below < 2 / 3 < above


def test_a_seed_gives_the_same_table_and_a_picture():
    tables = [hf.experiment([1, 2, 3], 0.3, rng=1, trials=5) for _ in range(2)]
    assert str(tables[0]) == str(tables[1])
    assert {fit.strategy for fit in tables[0].fits} == {"mub", "bell"}
    assert hf.draw(tables[0]).startswith(b"\x89PNG")


@pytest.mark.slow
def test_exponents_of_proposition_3():
    """Single copies: slope of log2 copies at least 1, and about 1 once the n of 4^n candidates is taken out. Pairs:
    nearly linear in n. In eps: 2 and 4 within 10 %."""
    table = hf.experiment([3, 4, 5, 6, 7], 0.3, rng=2, trials=80)
    fits = {(fit.strategy, fit.what): fit for fit in table.fits}
    assert 1.0 < fits["mub", "log2 copies against n"].slope < 1.4
    assert 0.8 < fits["mub", "log2(copies / n) against n"].slope < 1.1
    assert 0.9 < fits["bell", "log copies against log n"].slope < 1.4
    for strategy in ("mub", "bell"):
        assert abs(fits[strategy, "log copies against log formula"].slope - 1) < 0.15
    levels = hf.experiment([3], [0.08, 0.12, 0.18], rng=3, trials=200)
    slopes = {fit.strategy: fit.slope for fit in levels.fits if "1/eps" in fit.what}
    assert abs(slopes["mub"] / 2 - 1) < 0.1 and abs(slopes["bell"] / 4 - 1) < 0.1


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: hf.copies_needed(0, 0.3, "mub", 1), "n must be a number of qubits from 1 to 13"),
        (lambda: hf.copies_needed(2, 0.34, "mub", 1), "eps must lie between 0 and 1/3"),
        (lambda: hf.copies_needed(2, 0.3, "bel", 1), "did you mean 'bell'"),
        (lambda: hf.copies_needed(2, 0.3, "bell", 1, trials=1), "trials must be a whole number from 2"),
        (lambda: hf.success(2, 0.3, 0, "bell", 1, 5), "copies must be a whole number from 1, got 0"),
        (lambda: hf.experiment([2], 0.3, rng=None, trials=2), "rng is a seed"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(QupropError) as caught:
        call()
    assert words in str(caught.value)
