"""Markov chains: exact values against transition matrices and closed forms, estimators against exact gradients."""

import math

import numpy as np
import pytest
from scipy import integrate, stats
from tolerances import assert_close

import quprop.classical as st
from quprop import PauliSum, QupropError
from quprop.classical import ControlledFlip, Flip, Map
from quprop.classical import chain as chain_module

DATA = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 0, 0]])


def rotate_bits(x):
    return (x >> 1) | ((x & 1) << 3)


def weight_squared(x):
    return np.bitwise_count(x).astype(float) ** 2


CHAINS = {
    "one_flip": st.MarkovChain(1, [1], "Z0"),
    "flips": st.MarkovChain(4, [3, 5, 8, 12, 3], "Z0 Z2 + 0.5*Z3 - 0.3*Z1", "0101"),
    "affine": st.MarkovChain(
        4,
        [1, ControlledFlip(6, 1), 8, ControlledFlip(1, 8, 0), ControlledFlip(8, 2), 2],
        "Z0 Z3 + 0.7*Z1 Z2 + 0.2*I",
        [0.2, 0.5, 0.9, 0.0],
    ),
    "two_controls": st.MarkovChain(4, [1, 2, ControlledFlip(12, 3), 4, ControlledFlip(1, 12, 4)], "Z0 Z2 + 0.4*Z3"),
    "maps": st.MarkovChain(4, [Map(rotate_bits), 1, Map(lambda x: (x * 3 + 1) & 15), 6], weight_squared, DATA, 16.0),
    # the first map leaves half of the states where they are, the second is not one-to-one
    "fixed_points": st.MarkovChain(4, [3, Map(lambda x: np.where(x & 1, x, x ^ 4)), Map(lambda x: x & 7), 5], "Z0 Z2"),
}
EVERY_CHAIN = pytest.mark.parametrize("name", list(CHAINS))


def theta_for(chain, seed=0):
    return np.random.default_rng(seed).normal(size=chain.n_layers)


def dense_value(chain, theta):
    """F by transition matrices filled state by state."""
    states = range(2**chain.n)
    if isinstance(chain.initial, np.ndarray):
        p = np.zeros(2**chain.n)
        for row in chain.initial:
            p[int("".join(map(str, row[::-1])), 2)] += 1 / len(chain.initial)
    else:
        ones = [float(b) for b in chain.initial] if chain.initial is not None else [0.0] * chain.n
        p = np.array([math.prod(w if x >> q & 1 else 1 - w for q, w in enumerate(ones)) for x in states])
    for move, t in zip(chain.layers, theta, strict=True):
        q, matrix = 1 / (1 + math.exp(-t)), np.zeros((2**chain.n, 2**chain.n))
        for x in states:
            matrix[x, x] += 1 - q
            matrix[int(move(np.array([x]))[0]), x] += q
        p = matrix @ p
    if isinstance(chain.observable, PauliSum):
        return float(np.diag(chain.observable.matrix(chain.n)).real @ p)
    return sum(p[x] * bin(x).count("1") ** 2 for x in states)


@EVERY_CHAIN
def test_exact_value_is_that_of_transition_matrices(name):
    chain = CHAINS[name]
    assert_close(chain.value_exact(theta_for(chain)), dense_value(chain, theta_for(chain)), 100)


@EVERY_CHAIN
def test_exact_gradient_is_the_central_difference(name):
    chain, theta = CHAINS[name], theta_for(CHAINS[name])
    step = 1e-3 * np.eye(len(theta))
    expected = [
        (
            dense_value(chain, theta - 2 * e)
            - 8 * dense_value(chain, theta - e)
            + 8 * dense_value(chain, theta + e)
            - dense_value(chain, theta + 2 * e)
        )
        / 12e-3
        for e in step
    ]
    # rounding eps/step and truncation step^4/30, both near 1e-12, times |o| <= 16
    assert np.max(np.abs(chain.gradient_exact(theta) - expected)) < 1e-10


def test_closed_form_of_flips():
    """E[Z_z] = (-1)^{z.x0} prod (1 - 2 q_k) over the masks with odd overlap, and its derivative."""
    masks, z, theta = [3, 5, 8, 12, 6], 0b0110, np.array([0.3, -1.0, 0.2, -0.4, 2.0])
    chain = st.MarkovChain(4, masks, "Z1 Z2", "0100")
    q = 1 / (1 + np.exp(-theta))
    odd = np.array([bin(m & z).count("1") % 2 == 1 for m in masks])
    value = -np.prod(1 - 2 * q[odd])
    assert_close(chain.value_exact(theta), value, 20)
    assert_close(chain.gradient_exact(theta), np.where(odd, -2 * q * (1 - q) * value / (1 - 2 * q), 0.0), 20)


@EVERY_CHAIN
@pytest.mark.parametrize("estimator", st.ESTIMATORS)
def test_estimates_agree_with_the_exact_gradient(name, estimator):
    """Every component within 5 standard errors, at 20,000 trajectories fixed beforehand."""
    chain, theta = CHAINS[name], theta_for(CHAINS[name])
    found = chain.gradient(theta, trajectories=20_000, rng=11, estimator=estimator)
    assert abs(found.value - chain.value_exact(theta)) <= 5 * found.stderr + 1e-12
    excess = np.abs(found.grad - chain.gradient_exact(theta)) - 5 * found.grad_stderr
    assert np.max(excess) <= 1e-12, f"{estimator} is off by {np.max(excess):.3g} beyond 5 standard errors"


@pytest.mark.parametrize("estimator", st.ESTIMATORS)
def test_standard_errors_are_the_spread_of_repeats_and_the_mean_has_no_bias(estimator):
    """Three trajectories, where a baseline that holds its own sample would show as a bias of 1/3: 3,000 repeats."""
    chain, repeats, generator = CHAINS["flips"], 3000, np.random.default_rng(5)
    theta = np.linspace(-3, -1, chain.n_layers)
    found = [chain.gradient(theta, trajectories=3, rng=generator, estimator=estimator) for _ in range(repeats)]
    grads = np.array([f.grad for f in found])
    spread = grads.std(axis=0, ddof=1)
    exact, allowed = chain.gradient_exact(theta), 5 * spread / math.sqrt(repeats) + 1e-12
    assert np.all(np.abs(grads.mean(axis=0) - exact) < allowed)
    assert np.any(np.abs(2 / 3 * grads.mean(axis=0) - exact) > allowed)  # the check would see it
    big = [chain.gradient(theta, trajectories=500, rng=generator, estimator=estimator) for _ in range(600)]
    seen, claimed = np.std([f.grad for f in big], axis=0), np.mean([f.grad_stderr for f in big], axis=0)
    assert np.all(np.abs(claimed - seen) <= 0.1 * seen + 1e-12)


def test_a_score_of_the_wrong_sign_is_caught(monkeypatch):
    chain = CHAINS["affine"]
    theta, trajectories = theta_for(chain), chain._trajectories

    def mutated(*arguments):
        o, scores = trajectories(*arguments)
        return o, -scores

    monkeypatch.setattr(st.MarkovChain, "_trajectories", lambda self, *arguments: mutated(*arguments))
    wrong = chain.gradient(theta, trajectories=20_000, rng=1)
    assert np.any(np.abs(wrong.grad - chain.gradient_exact(theta)) > 5 * wrong.grad_stderr)


def test_a_layer_that_leaves_every_state_alone_has_no_score():
    """S x = x: both branches lead to one state, T = 1 and d log T = 0 on every trajectory, not only on average."""
    chain = st.MarkovChain(2, [1, Map(lambda x: x), 2], "Z0 + Z1")
    for estimator in ("score", "conditional"):
        found = chain.gradient(np.zeros(3), trajectories=100, rng=1, estimator=estimator)
        assert found.grad[1] == 0 and found.grad_stderr[1] == 0


def test_pulling_strings_back_is_running_the_other_branch():
    """The same coins give the same g_k by the backward sweep as by running each other branch to the end."""
    chain = CHAINS["affine"]
    by_running = st.MarkovChain(chain.n, chain.layers, lambda x: chain._observe(x), chain.initial)
    assert chain._reverses and not by_running._reverses
    theta = theta_for(chain)
    a, b = (c.gradient(theta, trajectories=300, rng=3, estimator="conditional") for c in (chain, by_running))
    assert_close(a.grad, b.grad, 1000)
    assert_close(a.grad_stderr, b.grad_stderr, 1000)


@EVERY_CHAIN
def test_conditional_means_never_raise_the_variance(name):
    """g of ``conditional`` is the mean of that of ``score`` over coin k alone (Rao and Blackwell); 3 % for sampling."""
    chain, theta = CHAINS[name], theta_for(CHAINS[name])
    score, conditional = (
        chain.gradient(theta, trajectories=20_000, rng=2, estimator=e).grad_stderr for e in ("score", "conditional")
    )
    assert np.all(conditional <= 1.03 * score + 1e-12) and conditional.sum() < 0.9 * score.sum()


def test_chunks_do_not_change_an_estimate_beyond_its_draws(monkeypatch):
    """With tiny chunks the merged sums are those of all trajectories: the score of one flip has a closed form."""
    monkeypatch.setattr(chain_module, "CHUNK", 8)
    chain = st.MarkovChain(1, [1], lambda x: 7.0 + 2 * x)
    found = chain.gradient(np.array([0.0]), trajectories=1001, rng=4, estimator="baseline")
    ones = (found.value - 7) / 2 * 1001  # o = 7 or 9 and score = -1/2 or 1/2, so the covariance is known from the count
    assert_close(ones, round(ones), 1e5)
    share = ones / 1001
    assert_close(found.grad, np.array([2 * share * (1 - share) * 1001 / 1000]), 1e4)
    assert_close(found.stderr, 2 * math.sqrt(share * (1 - share) / 1000), 1e4)


@EVERY_CHAIN
def test_samples_follow_the_exact_distribution(name):
    """Chi-squared over the 2^n states, p > 1e-4 at a fixed seed."""
    chain, theta, count = CHAINS[name], theta_for(CHAINS[name]), 20_000
    bits = chain.sample(theta, count, rng=8)
    assert bits.shape == (count, chain.n) and bits.dtype == np.uint8
    seen = np.bincount(bits @ (1 << np.arange(chain.n)), minlength=2**chain.n)
    p = chain.distribution(theta)
    assert seen[p == 0].sum() == 0
    assert stats.chisquare(seen[p > 0], count * p[p > 0] / p.sum()).pvalue > 1e-4


@pytest.mark.parametrize("estimator", ["score", "conditional"])
@pytest.mark.parametrize("kind", ["flips", "affine", "two_controls"])
def test_layers_claimed_are_layers_run(kind, estimator, monkeypatch):
    """Each application of a move to a state, and each string pulled through a layer, is met and counted."""
    chain, met = CHAINS[kind], [0]
    for move in (Flip, ControlledFlip):

        def metered(self, states, call=move.__call__):
            met[0] += states.size
            return call(self, states)

        monkeypatch.setattr(move, "__call__", metered)
    parity, pulled = chain_module.parity, [0]

    def metered_parity(masks):
        pulled[0] += masks.size
        return parity(masks)

    chain.gradient(theta_for(chain), trajectories=2, rng=0, estimator="score")
    met[0] = 0
    monkeypatch.setattr(chain_module, "parity", metered_parity)
    count = 70
    chain.gradient(theta_for(chain), trajectories=count, rng=0, estimator=estimator)
    strings = len(chain.observable)
    swept = pulled[0] - 2 * strings * count if estimator == "conditional" and chain._reverses else 0
    assert met[0] + swept == chain.layers_executed(count, estimator)


def test_hoeffding_numbers_and_omega():
    """2 B^2 ln(2M/delta)/eps^2 by hand; omega - 1 = ln M / ln(2/delta); M = 1 costs the value."""
    chain = st.MarkovChain(2, [1, 2, 3, 1], "0.5*Z0 - 1.5*Z1")
    assert chain.trajectories_for(0.1, 0.05) == math.ceil(2 * 4 * math.log(160) / 0.01)
    quarter = np.full(4, math.log(1 / 3))  # q = 1/4
    assert chain.trajectories_for(0.1, 0.05, theta=quarter) == math.ceil(2 * 1.5**2 * math.log(160) / 0.01)
    conditional = chain.trajectories_for(0.1, 0.05, theta=quarter, estimator="conditional")
    assert conditional == math.ceil(2 * 0.75**2 * math.log(160) / 0.01)
    assert chain.trajectories_for(0.1, 0.05, estimator="baseline") == 2 * chain.trajectories_for(0.1, 0.05)
    assert st.omega(1, 0.01, 0.1) == 1.0
    for m in (10, 1000, 10**6):
        assert abs(st.omega(m, 1e-3, 0.1) - 1 - math.log(m) / math.log(20)) < 1e-4


def test_the_guaranteed_number_of_trajectories_is_enough():
    """Failures of 40 runs at the number for failure 0.2 stay below 0.2 by far, as the bound is not tight."""
    chain, theta = CHAINS["affine"], theta_for(CHAINS["affine"])
    for estimator in st.ESTIMATORS:
        count = chain.trajectories_for(0.1, 0.2, theta=theta, estimator=estimator)
        found = st.measure_omega(chain, theta, trajectories=count, repeats=40, rng=6, failure=0.2, estimator=estimator)
        assert found.gradient_error < 0.1


def expected_largest(m):
    """E max |x_k| of m standard normals, by integrating the distribution function."""
    return integrate.quad(lambda t: 1 - (2 * stats.norm.cdf(t) - 1) ** m, 0, 12, limit=200)[0]


@pytest.mark.slow
def test_largest_error_grows_like_the_root_of_log_m():
    """Symmetric coins on bits of which Z0 sees one: g_k = +-1/2 and nearly independent, so the largest of M errors is
    that of M normals of width 1/(2 sqrt N): 6 % at 60 repeats, over M = 4 ... 4096; a power M^(1/2) would be 32-fold.
    """
    trajectories, seen = 400, []
    sizes = 4 ** np.arange(1, 7)
    for m in sizes:
        chain = st.MarkovChain(2, [1 + k % 2 * 2 for k in range(m)], "Z0")  # masks 1 and 3
        found = st.measure_omega(chain, np.zeros(m), trajectories=trajectories, repeats=60, rng=int(m))
        seen.append(found.mean_max_error)
        assert abs(seen[-1] / (expected_largest(m) / 2 / math.sqrt(trajectories)) - 1) < 0.06, f"M = {m}: {found}"
    slope = np.polyfit(np.log(np.log(2 * sizes)), np.log(seen), 1)[0]
    assert 0.4 < slope < 0.75
    assert seen[-1] / seen[0] < 2.6


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: st.MarkovChain(0, [1], "Z0"), "n must be a number of bits from 1 to 62, got 0"),
        (lambda: st.MarkovChain(2, [4], "Z0"), "acts beyond the 2 bits"),
        (lambda: st.MarkovChain(2, [], "Z0"), "at least one layer"),
        (lambda: st.MarkovChain(2, [1.5], "Z0"), "a layer is a Flip, a ControlledFlip, a Map or a mask, got 1.5"),
        (lambda: st.MarkovChain(2, [1], "X0"), "sum of Z strings on bits 0 to 1, got X0"),
        (lambda: st.MarkovChain(2, [1], 3), "PauliSum of Z strings or a function of masks, got 3"),
        (lambda: st.MarkovChain(2, [1], "Z0", "011"), "a string of 2 zeros and ones"),
        (lambda: st.MarkovChain(2, [1], "Z0", [0.1, 1.2]), "must lie in [0, 1]"),
        (lambda: st.MarkovChain(2, [1], "Z0", [[0, 2]]), "zeros and ones"),
        (lambda: st.MarkovChain(2, [1], "Z0", [0.1]), "got shape (1,)"),
        (lambda: st.MarkovChain(2, [1], "Z0", bound=-1), "bound must be a number"),
        (lambda: ControlledFlip(3, 2), "must not flip its own controls"),
        (lambda: ControlledFlip(1, 2, 4), "values must lie within controls"),
        (lambda: CHAINS["flips"].value_exact([1.0]), "theta must have shape (5,), got (1,)"),
        (lambda: CHAINS["one_flip"].value_exact([np.inf]), "theta must be finite"),
        (lambda: CHAINS["one_flip"].gradient([0.0], trajectories=1, rng=0), "whole number from 2, got 1"),
        (lambda: CHAINS["one_flip"].gradient([0.0], trajectories=9, rng=None), "rng is a seed"),
        (lambda: CHAINS["one_flip"].gradient([0.0], trajectories=9, rng=0, estimator="scor"), "did you mean 'score'"),
        (lambda: st.MarkovChain(1, [1], lambda x: x).trajectories_for(0.1, 0.1), "needs a bound"),
        (lambda: st.MarkovChain(1, [1], lambda x: 1.0).value_exact([0.0]), "what the observable gives must have shape"),
        (lambda: CHAINS["one_flip"].trajectories_for(0, 0.1), "max_error must be a positive number"),
        (lambda: CHAINS["one_flip"].trajectories_for(0.1, 1), "failure must be a probability"),
        (lambda: st.omega(0, 0.1, 0.1), "number of layers must be at least 1"),
        (lambda: st.MarkovChain(40, [1], "Z0").value_exact([0.0]), "use gradient(), which samples"),
    ],
)
def test_bad_input_gets_one_sentence(call, words):
    with pytest.raises(QupropError) as caught:
        call()
    assert words in str(caught.value), str(caught.value)
