"""Threshold checks: their law against binomial sums, gentleness against theory, and votes."""

import math

import numpy as np
import pytest
from dense import pauli_matrix
from scipy import optimize, stats

from quprop import PauliString, QupropError
from quprop.collective import binomial
from quprop.collective.check import (
    KINDS,
    Check,
    count_law,
    design,
    first_order_distance,
    gentleness,
    product_probability,
    trigger_probability,
    two_sided,
)
from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.collective.engines.null import NullEngine
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.collective.event import Event
from quprop.sampling.copies import Copies
from quprop.sampling.signs import voters
from quprop.simulate import vectors

Z = Event(PauliString.parse("Z0"))


def random_state(d, rng):
    psi = rng.normal(size=d) + 1j * rng.normal(size=d)
    return psi / np.linalg.norm(psi)


def random_pauli(n, rng):
    p = PauliString(int(rng.integers(2**n)), int(rng.integers(2**n)))
    return -p if rng.random() < 0.5 else p


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_pauli_on_vectors_is_its_matrix(n):
    rng = np.random.default_rng(n)
    for _ in range(30):
        p, v = random_pauli(n, rng), rng.normal(size=(2, 3, 2**n)) + 1j * rng.normal(size=(2, 3, 2**n))
        matrix, a = pauli_matrix(p, n), rng.uniform(-4, 4)
        e = (np.eye(2**n) + matrix) / 2
        turn = math.cos(a / 2) * np.eye(2**n) - 1j * math.sin(a / 2) * matrix
        np.testing.assert_allclose(vectors.apply(p, v), v @ matrix.T, atol=1e-14)
        np.testing.assert_allclose(vectors.rotate(p, a, v), v @ turn.T, atol=1e-13)
        np.testing.assert_allclose(Event(p).apply(v), v @ e.T, atol=1e-13)
        unit = v / np.linalg.norm(v, axis=-1, keepdims=True)
        for event in (Event(p), Event.dense(e)):
            expected = np.einsum("abi,ij,abj->ab", unit.conj(), e, unit).real
            np.testing.assert_allclose(event.mean(unit), expected, atol=1e-13)
            np.testing.assert_allclose(event.complement().mean(unit), 1 - expected, atol=1e-13)


def test_bad_events_and_checks_are_refused_with_the_mend():
    for wrong, words in [
        (lambda: Event(PauliString(1, 1, 0)), "drop its factor i"),
        (lambda: Event("Z0"), "PauliString.parse"),
        (lambda: Event.dense(np.diag([1.0, 0.5])), "E² = E"),
        (lambda: Event.dense(np.eye(3)), "size 2\\^n"),
        (lambda: Check(Z, 0.5, 0.0), "positive number of copies"),
        (lambda: Check(Z, math.nan, 1.0), "finite fraction"),
        (lambda: Check(Z, 0.5, 1.0, "laplace"), "'exponential' or 'gaussian'"),
        (lambda: design(0.0, 10), "accuracy"),
        (lambda: design(0.1, 0), "counts twice"),
        (lambda: two_sided(Z, 0.5, -0.1, 1.0), "eps > 0"),
    ]:
        with pytest.raises(QupropError, match=words):
            wrong()


# --- the law ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k, p", [(1, 0.3), (7, 0.0), (7, 1.0), (50, 1e-4), (3000, 0.47), (1_000_000, 0.2)])
def test_binomial_weights_are_scipys(k, p):
    counts, weights = count_law(k, p)
    np.testing.assert_allclose(weights, stats.binom.pmf(counts, k, p), rtol=1e-10, atol=1e-300)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(binomial.cdf(counts, k, p), stats.binom.cdf(counts, k, p), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(binomial.above(counts, k, p), stats.binom.sf(counts, k, p), rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("kind", KINDS)
def test_the_trigger_function_is_the_probability_that_noise_lifts_the_count(kind):
    rng, k = np.random.default_rng(1), 40
    check = Check(Z, 0.6, 5.0, kind)
    noise = rng.exponential(5.0, 400_000) if kind == "exponential" else 5.0 * rng.standard_normal(400_000)
    for s in (10, 20, 23, 24, 30):
        f = float(check.trigger(np.array(s), k))
        assert abs(np.mean(s + noise > k * 0.6) - f) < 5 * math.sqrt(f * (1 - f) / 400_000) + 1e-12
        assert float(check.passing(np.array(s), k)) == pytest.approx(1 - f, abs=1e-15)


@pytest.mark.parametrize("kind", KINDS)
def test_probability_and_variance_are_the_binomial_sums(kind):
    rng = np.random.default_rng(2)
    for _ in range(200):
        k = int(rng.integers(1, 3000))
        p = float(rng.choice([0.0, 1.0, rng.random(), rng.random()]))
        check = Check(Z, rng.uniform(-0.1, 1.2), 10 ** rng.uniform(-2, 3), kind)
        s = np.arange(k + 1)
        q, f = stats.binom.pmf(s, k, p), check.trigger(s, k)
        expected = q @ f
        assert check.probability(k, p) == pytest.approx(expected, rel=1e-8, abs=1e-290)
        spread = q @ (f - expected) ** 2
        assert check.variance(k, p) == pytest.approx(spread, rel=1e-6, abs=1e-11 * expected**2 + 1e-15)


def test_without_clipping_the_law_is_a_kth_power():
    """tau above all counts: P = e^(-tau/lambda) (1 - p + p e^(1/lambda))^k; otherwise this is an upper bound."""
    k, p, lam = 200, 0.3, 9.0
    direct = math.exp(-k * 1.01 / lam) * (1 - p + p * math.exp(1 / lam)) ** k
    assert Check(Z, 1.01, lam).probability(k, p) == pytest.approx(direct, rel=1e-12)
    assert product_probability(k, p, 1.01, lam) == pytest.approx(direct, rel=1e-12)
    assert product_probability(k, p, 0.35, lam) > Check(Z, 0.35, lam).probability(k, p)


def test_the_law_is_elementwise_and_finite_at_large_k():
    p, theta = np.linspace(0, 1, 7)[:, None], np.linspace(0.1, 1.0, 5)
    law = trigger_probability(100_000, p, theta, 150.0)
    assert law.shape == (7, 5) and np.all((law >= 0) & (law <= 1))
    assert law[3, 1] == pytest.approx(Check(Z, theta[1], 150.0).probability(100_000, 0.5), rel=1e-12)
    with pytest.raises(QupropError, match="between 0 and 1"):
        trigger_probability(10, 1.5, 0.5, 1.0)


def test_two_sided_checks_are_mirror_images():
    up, down = two_sided(Z, 0.4, 0.05, 8.0)
    for mean in (0.3, 0.4, 0.55):
        # 1 - E accepts with 1 - mean: as far under its threshold as E would be at 2*0.4 - mean, with the mirrored law
        mirrored = Check(Z, 1 - 0.4 + 0.05, 8.0).probability(300, 1 - mean)
        assert down.probability(300, float(1 - mean)) == pytest.approx(mirrored)
    psi = np.array([math.sqrt(0.4), math.sqrt(0.6)])
    assert up.event.mean(psi) == pytest.approx(0.4)
    assert down.event.mean(psi) == pytest.approx(0.6)
    assert (up.threshold, down.threshold) == pytest.approx((0.45, 0.65))


def test_the_design_keeps_a_sweep_with_nothing_to_find_quiet():
    """k = 12,198 is the batch of the facts' end-to-end run: M = 300, gradient accuracy 0.3, c = 1/2."""
    assert design(0.3 / 4, 600).k == 12198
    for eps, checks, c in [(0.05, 600, 0.5), (0.1, 20_000, 1.0), (0.3, 50, 0.7)]:
        k, lam, slack = design(eps, checks, c)
        assert lam == pytest.approx(c * math.sqrt(k)) and slack == eps / 2
        worst = max(Check(Z, p + slack, lam).probability(k, p) for p in np.linspace(0.05, 1 - slack - 0.01, 20))
        assert checks * worst <= 0.25 * 1.01
        assert checks * worst > 0.25 / 3  # and it is not a waste of copies
        fewer = math.ceil(0.8 * k)
        assert checks * Check(Z, 0.5 + slack, c * math.sqrt(fewer)).probability(fewer, 0.5) > 0.25


# --- gentleness -------------------------------------------------------------------------------------------------------


def scan():
    for k in (100, 300, 1000, 3000, 10_000):
        for p in (0.1, 0.2, 0.3, 0.4, 0.5):
            for over in (1, 1.5, 2.5, 4, 7):
                for margin in np.linspace(0.2, 8, 20):
                    lam = over * math.sqrt(k * p * (1 - p))
                    yield k, p, Check(Z, p + margin * lam / k, lam)


def test_chi_squared_is_within_the_known_constants_of_its_bound():
    """chi^2(S | pass || S) / (P sigma/lambda)^2 in 1.03-3.0 for lambda/sigma in 1..7, P <= 0.45, and 1 for small P."""
    ratios, small = [], []
    for k, p, check in scan():
        g = gentleness(check, k, p)
        if g.probability <= 0.45:
            ratios.append(g.chi2 / g.chi2_bound)
        if g.probability < 0.01 and check.noise > 6.9 * math.sqrt(k * p * (1 - p)):
            small.append(ratios[-1])
    assert 1.0 < min(ratios) < 1.04
    assert 2.9 < max(ratios) < 3.05
    assert max(small) < 1.08


def test_infidelity_of_a_rare_trigger_is_a_quarter_of_the_variance():
    for k, p, check in scan():
        g = gentleness(check, k, p)
        if g.probability < 0.02 and check.noise >= 4 * math.sqrt(k * p * (1 - p)):
            assert g.infidelity == pytest.approx(g.infidelity_estimate, rel=0.05)
            over = math.sqrt(k * p * (1 - p)) / check.noise  # the next term is of first order in sigma/lambda
            assert g.infidelity == pytest.approx(g.pass_first_order**2, rel=0.6 * over)
            assert g.infidelity_estimate == pytest.approx(check.variance(k, p) / 4, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gentleness_is_what_happens_to_the_state(kind):
    """chi^2, infidelity and both trace distances, from the amplitudes of k copies of a qubit on the counts."""
    k, p = 60, 0.35
    check = Check(Z, 0.45, 5.0, kind)
    s = np.arange(k + 1)
    amplitude = np.sqrt(stats.binom.pmf(s, k, p))
    f = check.trigger(s, k)
    g = gentleness(check, k, p)
    for kraus, distance in ((np.sqrt(1 - f), g.pass_distance), (np.sqrt(f), g.trigger_distance)):
        after = kraus * amplitude
        after /= np.linalg.norm(after)
        difference = np.outer(after, after) - np.outer(amplitude, amplitude)
        assert np.abs(np.linalg.eigvalsh(difference)).sum() / 2 == pytest.approx(distance, rel=1e-9)
    passed = amplitude**2 * (1 - f) / (amplitude**2 @ (1 - f))
    assert g.chi2 == pytest.approx(passed**2 @ (1 / amplitude**2) - 1, rel=1e-9)
    assert g.alpha == max(g.pass_distance, g.trigger_distance)


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_of_a_pass_is_that_of_the_binomial_law(kind):
    rng = np.random.default_rng(3)
    for _ in range(200):
        k, mean = int(10 ** rng.uniform(0, 4)), rng.random()
        check = Check(Z, rng.uniform(mean - 0.2, 1.2), 10 ** rng.uniform(-1, 0.5) * math.sqrt(k), kind)
        q, kept = stats.binom.pmf(np.arange(k + 1), k, mean), np.sqrt(check.passing(np.arange(k + 1), k))
        if (passing := q @ kept**2) > 1e-6:
            exact = math.sqrt(q @ (kept - q @ kept) ** 2 / passing)
            assert check.pass_distance(k, mean) == pytest.approx(exact, rel=1e-6, abs=1e-14)


def test_the_distance_of_a_pass_is_up_to_twice_its_first_order():
    """1.36, 1.76, 1.95 and 1.98 at P = 0.01, 0.1, 0.5 and 0.97; the lattice of large batches has the same limit."""
    lattice = Check(Z, 0.5 + 2e-4, 0.5e4)
    counted = Check(Z, 0.5 + 2e-3, 0.5e3)
    assert lattice.pass_distance(10**8, 0.5) == pytest.approx(counted.pass_distance(10**6, 0.5), rel=1e-3)
    k, noise = 10_000, 50.0
    for probability, ratio in ((0.01, 1.36), (0.1, 1.765), (0.5, 1.953), (0.97, 1.978)):
        theta = optimize.brentq(lambda t, p=probability: trigger_probability(k, 0.5, t, noise) - p, 0.4, 0.7)
        found = gentleness(Check(Z, theta, noise), k, 0.5)
        assert found.pass_distance / found.pass_first_order == pytest.approx(ratio, abs=0.01)
    rare = Check(Z, 0.5 + 16 * noise / k, noise)
    assert rare.pass_distance(k, 0.5) == pytest.approx(first_order_distance(0.5) * rare.probability(k, 0.5), rel=0.01)


def test_a_trigger_moves_a_batch_by_sigma_over_two_lambda_and_a_pass_by_its_probability_less():
    k, p = 10_000, 0.5
    g = gentleness(Check(Z, 0.5 + 0.2, 5 * 50.0), k, p)
    assert g.trigger_distance == pytest.approx(g.trigger_bound, rel=0.01)
    assert g.pass_distance == pytest.approx(g.probability * g.trigger_distance, rel=0.02)


# --- votes and readings -----------------------------------------------------------------------------------------------


def wrong_votes(mean, copies):
    """Pr[fewer than half of the copies give the sign of the mean], by SciPy's tail."""
    return stats.binom.cdf((copies + 1) // 2 - 1, copies, (1 + abs(mean)) / 2)


def vote_check(event, copies):
    """The projection on "at least half accept" as a check with hardly any noise; a trigger is a plus."""
    return Check(event, ((copies + 1) // 2 - 0.25) / copies, 1e-9)


def test_a_vote_is_right_as_often_as_the_binomial_says_and_within_hoeffding():
    for mean, copies in [(0.3, 51), (-0.3, 51), (0.1, 401), (-0.05, 401), (0.3, 50)]:
        psi = np.sqrt([(1 + mean) / 2, (1 - mean) / 2]).astype(complex)
        signs, tails = Copies(np.random.default_rng(0), psi, 0).votes([PauliString.parse("Z0")] * 4000, copies)
        if copies % 2:
            assert tails == pytest.approx(wrong_votes(mean, copies), abs=1e-12)
        assert tails.max() <= math.exp(-copies * mean**2 / 2)
        assert np.mean(signs * mean < 0) == pytest.approx(tails[0], abs=5 * math.sqrt(tails[0] / 4000))


def test_a_vote_on_real_copies_damages_them_as_claimed():
    """Success and fidelity in the exact symmetric space, and the union bound of three votes on the same copies."""
    rng = np.random.default_rng(5)
    psi, copies = random_state(4, rng), 41
    batch = SymmetricEngine().prepare(psi, copies)
    paulis = sorted((PauliString(x, z) for x in range(4) for z in range(4) if x | z), key=str)
    means = {p: 2 * batch.mean(Event(p)) - 1 for p in paulis}
    chosen = sorted(paulis, key=lambda p: -abs(means[p]))[:3]
    first, *rest = [p if means[p] < 0 else -p for p in chosen]  # a negative mean: the right answer is a pass
    claimed, wrong = wrong_votes(means[chosen[0]], copies), batch.survive(vote_check(Event(first), copies))
    assert wrong == pytest.approx(claimed, abs=1e-12)
    assert 1 - batch.fidelity() == pytest.approx(claimed, abs=1e-12)
    wrong += sum(batch.survive(vote_check(Event(p), copies)) for p in rest)
    assert wrong <= 4 * sum(wrong_votes(means[p], copies) for p in chosen)


def test_enough_copies_for_many_votes():
    n = voters(1000, 0.4, 0.01)  # |<P>| >= 0.2
    assert n == math.ceil(2 * math.log(4e5) / 0.04)
    assert 4 * 1000 * wrong_votes(0.2, n) <= 0.01


def test_a_reading_dephases_counts_by_little_less_than_its_ledger_says():
    k, p, s = 80, 0.3, 7.0
    counts = np.arange(k + 1)
    amplitude = np.sqrt(stats.binom.pmf(counts, k, p))
    y = np.linspace(-80, 160, 4001)
    kraus = np.exp(-((y[:, None] - counts) ** 2) / (4 * s**2)) / (2 * math.pi * s**2) ** 0.25
    average = ((kraus @ amplitude**2) ** 2).sum() * (y[1] - y[0])  # sum over outcomes of |<psi|K_y|psi>|^2
    batch = MeanFieldEngine().prepare(np.sqrt([p, 1 - p]).astype(complex), k)
    batch.read(Z, s, 0)
    assert 0.85 * batch.ledger.trace_bound**2 < 1 - average < batch.ledger.trace_bound**2


# --- the ledger of undisturbed batches --------------------------------------------------------------------------------


def test_undisturbed_batches_follow_the_frame_and_keep_count():
    rng = np.random.default_rng(6)
    psi = random_state(8, rng)
    by_vector = NullEngine().prepare(psi, 500)
    frame = [np.eye(8, dtype=complex)]
    means = lambda event: float(event.mean(frame[0] @ psi))  # noqa: E731
    by_means = NullEngine().prepare_means(means, 3, 500)
    total = 0.0
    for _ in range(10):
        p, a = random_pauli(3, rng), rng.uniform(-3, 3)
        frame[0] = (math.cos(a / 2) * np.eye(8) - 1j * math.sin(a / 2) * pauli_matrix(p, 3)) @ frame[0]
        for batch in (by_vector, by_means):
            batch.rotate(p, a)
        event = Event(random_pauli(3, rng))
        mean = means(event)
        check = Check(event, mean + 0.08, 12.0)
        counts, q = count_law(500, mean, 500 * check.threshold)
        expected = q @ check.trigger(counts, 500)
        assert by_vector.probability(check) == pytest.approx(expected, rel=1e-9)
        assert by_vector.survive(check) == pytest.approx(by_means.survive(check), rel=1e-9)
        kept = np.sqrt(1 - check.trigger(counts, 500))
        total += math.sqrt(1 - (q @ kept) ** 2 / (q @ kept**2))  # the fidelity of the batch with itself after the pass
    assert by_vector.ledger.trace_bound == pytest.approx(total, rel=1e-9)
    assert by_vector.ledger.error == pytest.approx(total, rel=1e-9)
    assert by_vector.ledger.checks == 10 and by_vector.ledger.triggers == 0


def test_a_trigger_spends_a_batch():
    batch = NullEngine().prepare(np.array([1.0, 0.0]), 10)
    assert batch.check(Check(Z, 0.5, 1.0), 0)
    assert batch.spent and batch.ledger.triggers == 1 and batch.ledger.checks == 1
    for use in (
        lambda: batch.check(Check(Z, 0.5, 1.0), 0),
        lambda: batch.rotate(PauliString.parse("X0"), 0.1),
        lambda: batch.read(Z, 1.0, 0),
    ):
        with pytest.raises(QupropError, match="prepare a fresh one"):
            use()


def test_triggers_come_as_often_as_their_probability():
    rng = np.random.default_rng(7)
    psi = np.array([math.sqrt(0.5), math.sqrt(0.5)])
    check = Check(Z, 0.55, 15.0)
    p = check.probability(400, 0.5)
    hits = sum(NullEngine().prepare(psi, 400).check(check, rng) for _ in range(4000))
    assert abs(hits / 4000 - p) < 5 * math.sqrt(p * (1 - p) / 4000)
