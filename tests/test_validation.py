"""MMD^2 of sample sets against double sums, and KGEL against closed cases and another solver."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import chi2
from tolerances import assert_close

from quprop import QupropError
from quprop.training import validation
from quprop.training.validation import kernel_means, kgel, mmd2


def draw(m, p, rng, n=8):
    return (rng.random((m, n)) < p).astype(np.uint8)


def gram(x, y, sigma):
    return np.exp(-((x[:, None].astype(float) - y) ** 2).sum(-1) / (2 * sigma**2))


def double_sum(a, b, sigma):
    aa, bb, ab = gram(a, a, sigma), gram(b, b, sigma), gram(a, b, sigma)
    off = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (aa, bb)]
    return sum(off) - 2 * ab.mean()


@pytest.mark.parametrize("rows", [1024, 5])
@pytest.mark.parametrize("sizes", [(17, 12), (2, 9), (10, 10)])
def test_mmd2_is_the_double_sum_over_different_samples(monkeypatch, sizes, rows):
    monkeypatch.setattr(validation, "ROWS", rows)
    rng = np.random.default_rng(1)
    a, b = draw(sizes[0], 0.3, rng), draw(sizes[1], 0.6, rng)
    assert_close(mmd2(a, b, 1.3).value, double_sum(a, b, 1.3), 100)
    several = np.mean([double_sum(a, b, sigma) for sigma in (0.6, 1.3, 4.0)])
    assert_close(mmd2(a, b, [0.6, 1.3, 4.0]).value, several, 100)
    assert_close(mmd2(b.astype(bool), a, 1.3).value, double_sum(a, b, 1.3), 100)


def test_blocks_change_no_standard_error(monkeypatch):
    rng = np.random.default_rng(2)
    a, b = draw(23, 0.3, rng), draw(31, 0.4, rng)
    whole = mmd2(a, b, 1.3).error
    monkeypatch.setattr(validation, "ROWS", 7)
    assert_close(mmd2(a, b, 1.3).error, whole, 100)


@pytest.mark.parametrize("sizes", [(60, 60), (40, 150)])
@pytest.mark.parametrize("p", [0.3, 0.35, 0.5])
def test_the_standard_error_is_the_spread_over_repeats(p, sizes):
    """Where laws are equal, all of the variance is of second order; at 0.35 both orders count."""
    rng = np.random.default_rng(7)
    found = [mmd2(draw(sizes[0], 0.3, rng), draw(sizes[1], p, rng), 1.3) for _ in range(400)]
    values = np.array([f.value for f in found])
    q = 0.5 - 0.5 * np.exp(-1 / (2 * 1.3**2))
    z2 = lambda a, b: (1 - q + q * (1 - 2 * a) * (1 - 2 * b)) ** 8  # noqa: E731  E over strings of products of <Z_a>
    exact = z2(0.3, 0.3) + z2(p, p) - 2 * z2(0.3, p)
    assert abs(values.mean() - exact) < 4 * values.std() / 20
    assert 0.8 < np.median([f.error for f in found]) / values.std() < 1.15


def test_kernel_means_are_means_of_the_kernel():
    rng = np.random.default_rng(3)
    y, t = draw(50, 0.4, rng), draw(4, 0.5, rng)
    assert_close(kernel_means(y, t, 1.1), gram(y, t, 1.1).mean(axis=0), 50)


def test_kgel_of_two_groups_is_the_entropy_of_two_outcomes():
    """One witness sees two distances: the model's mean fixes the weight q of a group of share f, in closed form."""
    n, near, far = 6, 30, 10
    test = np.concatenate([np.zeros((near, n)), np.ones((far, n))]).astype(np.uint8)
    kernel = np.exp(-n / (2 * 2.0**2))
    for q in (0.75, 0.4, 0.98):
        found = kgel(test, np.zeros((1, n)), [q + (1 - q) * kernel], 2.0)
        assert_close(found.weights[:near], np.full(near, q / near), 1e8)  # Newton's residual
        assert found.divergence == pytest.approx(q * np.log(q / 0.75) + (1 - q) * np.log((1 - q) / 0.25), abs=1e-8)


def test_kgel_is_the_least_divergence_by_another_solver():
    rng = np.random.default_rng(5)
    x, t, y = draw(25, 0.5, rng), draw(3, 0.5, rng), draw(200, 0.4, rng)
    means, kernels = kernel_means(y, t, 1.5), gram(x, t, 1.5)
    found = kgel(x, t, means, 1.5)
    rules = [{"type": "eq", "fun": lambda w: w @ kernels - means}, {"type": "eq", "fun": lambda w: w.sum() - 1}]
    other = minimize(
        lambda w: np.sum(w * np.log(25 * w)),
        np.full(25, 1 / 25),
        bounds=[(1e-9, 1)] * 25,
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert np.max(np.abs(found.weights @ kernels - means)) < 1e-8 and found.weights.sum() == pytest.approx(1)
    assert other.success and found.divergence == pytest.approx(other.fun, abs=1e-7)
    assert np.max(np.abs(found.weights - other.x)) < 1e-3


def test_kgel_of_a_model_that_has_the_law_of_the_data_is_chi_square():
    """2 m KL is chi-square of J degrees of freedom, widened by the model's own samples."""
    rng, scaled = np.random.default_rng(6), []
    for _ in range(60):
        x, y, t = draw(400, 0.5, rng, 16), draw(1600, 0.5, rng, 16), draw(5, 0.5, rng, 16)
        found = kgel(x, t, kernel_means(y, t, 2.0), 2.0)
        scaled.append(2 * 400 * found.divergence / (1 + 400 / 1600))
        assert np.std(400 * found.weights) < 0.4  # its square is about 2 KL
    low, high = chi2.ppf([1e-3, 1 - 1e-3], 5 * 60)
    assert low < sum(scaled) < high


def modes(counts, rng):
    """Three far patterns of 24 bits, each bit flipped with probability 0.05."""
    patterns = np.kron(np.eye(3, dtype=int), np.ones((1, 8), int))
    rows = np.repeat(patterns, counts, axis=0)
    return (rows ^ (rng.random(rows.shape) < 0.05)).astype(np.uint8)


def test_a_mode_that_the_model_leaves_out_gets_no_weight():
    rng = np.random.default_rng(8)
    test, witnesses = modes([300, 300, 300], rng), modes([3, 3, 3], rng)
    full = kgel(test, witnesses, kernel_means(modes([500, 500, 500], rng), witnesses, 1.7), 1.7)
    lacking = kgel(test, witnesses, kernel_means(modes([750, 20, 750], rng), witnesses, 1.7), 1.7)
    shares = lacking.weights.reshape(3, 300).sum(axis=1)
    assert np.max(np.abs(full.weights.reshape(3, 300).sum(axis=1) - 1 / 3)) < 0.05 and full.divergence < 0.02
    assert shares[1] < 0.05 and abs(shares[0] - 0.5) < 0.1 and lacking.divergence > 0.25


def test_witnesses_that_repeat_change_nothing():
    rng = np.random.default_rng(9)
    x, t, y = draw(40, 0.5, rng), draw(2, 0.5, rng), draw(300, 0.45, rng)
    once = kgel(x, t, kernel_means(y, t, 1.5), 1.5)
    twice = kgel(x, np.concatenate([t, t]), kernel_means(y, np.concatenate([t, t]), 1.5), 1.5)
    assert once.divergence == pytest.approx(twice.divergence, abs=1e-9)


def test_a_witness_as_far_from_all_test_points_says_nothing_or_refuses():
    test, near, far = np.array([[0, 0], [0, 1]]), np.array([[0, 0]]), np.exp(-1 / 2)
    both = np.concatenate([near, [[1, 0]]])
    assert kgel(np.eye(2), np.zeros((1, 2)), [far], 1.0).divergence == 0
    assert kgel(test, near, [(1 + far) / 2], 1.0).divergence == pytest.approx(0, abs=1e-12)
    with pytest.raises(QupropError, match="no weights"):
        kgel(np.eye(2), np.zeros((1, 2)), [0.9], 1.0)
    with pytest.raises(QupropError, match="no weights"):
        kgel(test, both, [0.9, 0.1], 1.0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: mmd2(np.eye(3), np.eye(4), 1.0), "samples_b"),
        (lambda: mmd2(np.eye(3), np.ones((1, 3)), 1.0), "two samples"),
        (lambda: mmd2(2 * np.eye(3), np.eye(3), 1.0), "zeros and ones"),
        (lambda: mmd2(np.eye(3), np.eye(3), 0.0), "sigma"),
        (lambda: mmd2(np.eye(3), np.eye(3), []), "sigma"),
        (lambda: mmd2(np.eye(3), np.eye(3), np.nan), "sigma"),
        (lambda: kernel_means(np.eye(3), np.eye(2), 1.0), "witnesses"),
        (lambda: kgel(np.eye(3), np.eye(3), np.zeros(2), 1.0), "model_means"),
        (lambda: kgel(np.eye(3), np.eye(3), np.full(3, 2.0), 1.0), "no weights"),
    ],
)
def test_bad_input_is_one_sentence(make, words):
    with pytest.raises(QupropError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
