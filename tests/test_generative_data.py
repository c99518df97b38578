"""Binary data sets: those shipped by their hashes, those drawn by exact distributions of small models."""

import hashlib

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import chisquare

from quprop import QupropError
from quprop.arrays import bits
from quprop.classical.metropolis import metropolis
from quprop.problems import generative_data as module
from quprop.problems.generative_data import generative_data, scale_free_couplings
from quprop.training.validation import mmd2

SIZES = {"blobs": (5000, 10000, 16), "ising-16": (5000, 50000, 16), "digits-binary": (1347, 450, 64)}
DIGESTS = {  # sha256 of (train, test), one byte a bit; its first 16 digits
    "blobs": ("8b7b9c5e600db438", "7fc85b4ba806f53b"),
    "ising-16": ("dd04041aa972bdaa", "f1716d389b47b8a6"),
    "digits-binary": ("1090cab8f67d8341", "bed078135c942f0c"),
}


def small_ising():
    """A frustrated triangle with a tail and a lone spin: J, b, T and the exact probabilities of all 2^5 states."""
    couplings = np.zeros((5, 5))
    for i, j, value in ((0, 1, 0.9), (1, 2, -0.7), (0, 2, 0.8), (2, 3, 1.1)):
        couplings[i, j] = couplings[j, i] = value
    bias, temperature = np.array([0.2, -0.4, 0.1, 0.0, 0.5]), 1.3
    x = np.arange(32)[:, None] >> np.arange(5) & 1
    s = 2.0 * x - 1
    energy = -np.einsum("ki,ij,kj->k", s, couplings, s) / 2 - s @ bias
    weights = np.exp(-energy / temperature)
    return couplings, bias, temperature, x, weights / weights.sum()


def test_independent_chains_end_in_the_boltzmann_distribution():
    couplings, bias, temperature, _, p = small_ising()
    found = metropolis(couplings, bias, temperature=temperature, chains=40_000, samples=1, thin=1, burn_in=60, rng=5)[
        :, 0
    ]
    counts = np.bincount(found.astype(int) @ (1 << np.arange(5)), minlength=32)
    assert chisquare(counts, p * counts.sum()).pvalue > 1e-3


def test_time_averages_are_the_boltzmann_means():
    """Standard errors are those of whole chains, so that they know of autocorrelation."""
    couplings, bias, temperature, x, p = small_ising()
    found = metropolis(couplings, bias, temperature=temperature, chains=200, samples=100, thin=1, burn_in=40, rng=6)
    functions = [lambda y: y[..., 0], lambda y: y[..., 4], lambda y: y[..., 1] ^ y[..., 2], lambda y: y.sum(-1) % 2]
    for f in functions:
        means = f(found).mean(axis=1)
        assert abs(means.mean() - p @ f(x)) < 4 * means.std(ddof=1) / np.sqrt(len(means))


def test_strong_ferromagnets_hold_their_phase_and_fields_choose_the_bit():
    ring = sp.diags_array([np.ones(9), np.ones(9)], offsets=[1, -1], shape=(10, 10))
    up = metropolis(ring, np.full(10, 5.0), chains=3, samples=4, thin=2, burn_in=50, temperature=0.2, rng=0)
    down = metropolis(ring, np.full(10, -5.0), chains=3, samples=4, thin=2, burn_in=50, temperature=0.2, rng=0)
    assert up.shape == (3, 4, 10) and up.dtype == np.uint8 and up.all() and not down.any()


def test_chains_of_one_seed_are_the_same_and_of_two_are_not():
    couplings, bias, *_ = small_ising()
    settings = {"samples": 50, "thin": 1, "burn_in": 5}
    first, again, other = (metropolis(couplings, bias, rng=seed, **settings) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("name", SIZES)
def test_data_have_their_sizes_and_hashes(name):
    data = generative_data(name)
    train, test, n = SIZES[name]
    assert data.train.shape == (train, n) and data.test.shape == (test, n)
    for array, digest in zip(data, DIGESTS[name], strict=True):
        assert array.dtype == np.uint8 and not array.flags.writeable and set(np.unique(array)) == {0, 1}
        assert hashlib.sha256(array.tobytes()).hexdigest()[:16] == digest


def test_blobs_have_eight_patterns_and_ising_is_symmetric_under_a_flip_of_all():
    rows, counts = np.unique(generative_data("blobs").test, axis=0, return_counts=True)
    patterns = rows[np.argsort(counts)[-8:]]
    near = (generative_data("blobs").train[:, None] != patterns).sum(-1).min(1)
    assert np.mean(near) == pytest.approx(16 * 0.05, abs=0.05)
    assert abs(generative_data("ising-16").test.mean() - 0.5) < 0.005


def test_digits_are_split_by_the_seed_without_loss():
    from sklearn.datasets import load_digits

    whole = sorted(map(bytes, (load_digits().data >= 8).astype(np.uint8)))
    for seed in (0, 3):
        assert sorted(map(bytes, np.concatenate(generative_data("digits-binary", seed=seed)))) == whole
    first, other = generative_data("digits-binary", seed=0), generative_data("digits-binary", seed=3)
    assert not np.array_equal(first.train, other.train)


def test_scale_free_couplings_are_the_published_graph():
    couplings, bias = scale_free_couplings("scale-free", 4)
    assert couplings.shape == (1000, 1000) and couplings.nnz == 2 * 2991 and (couplings != couplings.T).nnz == 0
    assert couplings.data.min() > 0 and couplings.data.max() < 1
    assert abs(couplings.data.mean() - 0.5) < 4 / np.sqrt(12 * 2991)
    assert np.array_equal(bias, -0.01 * (couplings != 0).sum(axis=1))
    assert not np.array_equal(couplings.data, scale_free_couplings("scale-free", 5)[0].data)


def test_the_sparse_graph_grows_by_two_edges_where_degrees_are_large():
    couplings, bias = scale_free_couplings("scale-free-sparse", 4)
    degree = np.diff(couplings.indptr)
    assert couplings.nnz == 2 * (2 + 2 * 997) and degree[3:].min() == 2 and np.array_equal(bias, -0.01 * degree)
    assert not np.array_equal(degree, np.diff(scale_free_couplings("scale-free-sparse", 5)[0].indptr))
    degrees = np.concatenate([np.diff(scale_free_couplings("scale-free-sparse", k)[0].indptr) for k in range(10)])
    for k in (2, 3, 4, 6):  # of large graphs: p(k) = 2 m (m + 1) / (k (k + 1) (k + 2))
        assert np.mean(degrees == k) == pytest.approx(12 / (k * (k + 1) * (k + 2)), abs=0.02)


def test_scale_free_data_are_kept_in_a_file_of_one_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BURN_IN", 30)
    monkeypatch.setattr(module, "SAMPLES", 10)
    monkeypatch.setattr(module, "THIN", 2)
    module._scale_free.cache_clear()
    file = tmp_path / "scale_free.npz"
    drawn = generative_data("scale-free", seed=7, file=file)
    module._scale_free.cache_clear()
    monkeypatch.setattr(module, "metropolis", None)
    read = generative_data("scale-free", seed=7, file=file)
    assert drawn.train.shape == (40, 1000) and all(np.array_equal(a, b) for a, b in zip(drawn, read, strict=True))
    with pytest.raises(QupropError, match="seed 7, not scale-free of seed 8"):
        generative_data("scale-free", seed=8, file=file)
    with pytest.raises(QupropError, match="not scale-free-sparse"):
        generative_data("scale-free-sparse", seed=7, file=file)
    monkeypatch.setattr(module, "SAMPLES", 20)
    with pytest.raises(QupropError, match="must have shape"):
        generative_data("scale-free", seed=7, file=file)
    module._scale_free.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("name, share, size", [("scale-free", 2 / 8, 0.915), ("scale-free-sparse", 2 / 8, 0.744)])
def test_scale_free_data_are_a_mixture_of_two_phases(name, share, size):
    data = generative_data(name)
    magnetisation = 2 * np.concatenate(data).mean(axis=1) - 1
    up = magnetisation > 0
    assert data.train.shape == data.test.shape == (20_000, 1000)
    assert up.mean() == share  # whole chains
    assert np.abs(magnetisation).mean() == pytest.approx(size, abs=0.01)


@pytest.mark.slow
def test_sparse_data_are_as_far_from_uniform_bits_as_the_published_ones():
    """scale_free-mmd_loss.csv of the publication, `Random`; its data are of one graph, these of another one."""
    data = generative_data("scale-free-sparse").test[:5000]
    uniform = np.random.default_rng(0).integers(0, 2, (5000, 1000))
    for sigma, published in ((11.16915, 0.158685), (7.08893, 0.077853), (5.45684, 0.021598), (3.82475, 0.000732)):
        assert mmd2(uniform, data, sigma).value == pytest.approx(published, rel=0.1)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"name": "blob"}, "blobs"),
        ({"name": "blobs", "seed": 1}, "leave seed out"),
        ({"name": "digits-binary", "seed": -1}, "seed"),
        ({"name": "digits-binary", "seed": 1.5}, "seed"),
        ({"name": "ising-16", "file": "a.npz"}, "leave it out"),
        ({"name": "scale-free", "file": __file__}, "no file of scale-free data"),
    ],
)
def test_what_is_no_data_set_is_one_sentence(arguments, words):
    with pytest.raises(QupropError, match=words) as caught:
        generative_data(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"couplings": np.ones((5, 5))}, "symmetric"),
        ({"couplings": np.triu(np.ones((5, 5)), 1)}, "symmetric"),
        ({"couplings": np.zeros((5, 4))}, "symmetric"),
        ({"bias": np.zeros(4)}, "bias"),
        ({"temperature": 0.0}, "temperature"),
        ({"chains": 0}, "chains"),
        ({"thin": 0}, "thin"),
        ({"samples": 1.5}, "samples"),
        ({"burn_in": -1}, "burn_in"),
        ({"rng": None}, "seed"),
    ],
)
def test_bad_settings_of_chains_are_one_sentence(change, words):
    couplings, bias, *_ = small_ising()
    good = {"couplings": couplings, "bias": bias, "samples": 1, "thin": 1, "burn_in": 0, "rng": 0}
    with pytest.raises(QupropError, match=words):
        metropolis(**(good | change))


@pytest.mark.parametrize(
    "value", [[[0, 2]], [[0.5, 1]], [[-1, 1]], [0, 1], np.zeros((0, 3)), [["0", "1"]], [[np.nan, 1]]]
)
def test_what_is_no_bits_is_one_sentence(value):
    with pytest.raises(QupropError, match="data must"):
        bits("data", value)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_bits_of_any_type_are_read(dtype):
    found = bits("data", np.array([[0, 1], [1, 1]], dtype))
    assert found.dtype == np.uint8 and np.array_equal(found, [[0, 1], [1, 1]])
