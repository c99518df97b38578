"""Binary data that generative models are trained on and compared by, each as (train, test).

name               bits    train, test      what
blobs              16      5,000, 10,000    eight patterns of 4 x 4 pixels, each bit flipped with probability 0.05
ising-16           16      5,000, 50,000    a 4 x 4 Ising lattice of random positive couplings, T = 3
scale-free         1,000   20,000, 20,000   an Ising model on a published Barabasi-Albert graph, drawn here
scale-free-sparse  1,000   20,000, 20,000   the same on a graph of two edges a vertex, drawn too
digits-binary      64      1,347, 450       handwritten digits, 8 x 8 pixels, one from half of full intensity on

blobs, ising-16 and the graph of scale-free are data of Recio-Armengol, Ahmed and Bowles, "Train on classical, deploy on
quantum" (arXiv:2503.02934), https://github.com/XanaduAI/scaling-gqml, licensed under Apache-2.0. The digits are
scikit-learn's (Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits, 1998).

The samples on scale-free graphs are not published; they are drawn by the published rules:

    p(s) ~ exp(-E(s)),   E(s) = - sum_{i<j} J_ij s_i s_j - sum_i b_i s_i,   x = (s + 1) / 2,   b_i = -0.01 degree(i),

J_ij uniform in [0, 1] on the edges; 8 Metropolis chains of 5,000 samples, shuffled and split in two. A step there is a
sweep of all spins, 200 sweeps a sample after 10,000; here it is 20 sweeps, as the magnetisation forgets its past within
a few. The model is below its transition: a chain falls into one of two phases and stays. The data are thus a mixture of
both, of weights k / 8 that the seed decides; the field makes the phase of zeros the likelier start.

The published graph has three edges a vertex (2,991), and |mean s| is about 0.92. The published settings say two, and
published MMDs from uniform bits (0.16 at sigma = 11.17, 7e-4 at 3.82) are those of such a graph, |mean s| about 0.75:
results are to be compared with published ones on scale-free-sparse.
"""

from __future__ import annotations

import io
import math
import zipfile
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from quprop.arrays import bits
from quprop.classical.metropolis import metropolis
from quprop.errors import QupropError, nearest, shown, whole
from quprop.files import read_bytes, write_atomically
from quprop.problems.datasets import TEST_FRACTION

BITS, CHAINS, SAMPLES, THIN, BURN_IN = 1000, 8, 5000, 20, 10_000
SHIPPED = {"blobs": "blobs", "ising-16": "ising"}
SCALE_FREE = ("scale-free", "scale-free-sparse")
NAMES = (*SHIPPED, *SCALE_FREE, "digits-binary")


class BinaryData(NamedTuple):
    """Rows of zeros and ones, uint8: (samples, n) each."""

    train: np.ndarray
    test: np.ndarray


def generative_data(name: str, *, seed: int | None = None, file: str | Path | None = None) -> BinaryData:
    """The data set of this name; what is drawn is kept between calls, so arrays are read-only.

    seed: of the couplings and chains on scale-free graphs and of the split of digits-binary, 0 if it is None; the other
    two are what they are and take none. file: an .npz that a scale-free set is read from if it exists, and written to
    if not: drawing takes 15 s.
    """
    if name not in NAMES:
        raise QupropError(f"there are no generative data called {shown(name)}; {nearest(str(name), NAMES)}")
    if name in SHIPPED and seed is not None:
        raise QupropError(f"{name} is data as published, which no seed changes; leave seed out")
    if name not in SCALE_FREE and file is not None:
        raise QupropError(f"{name} comes with the package; a file is kept of scale-free sets only, leave it out")
    if name in SHIPPED:
        return _shipped(name)
    seed = whole("seed", 0 if seed is None else seed, 0)
    if name == "digits-binary":
        return _digits(seed)
    if file is None:
        return _scale_free(name, seed)
    if Path(file).exists():
        return _read(Path(file), name, seed)
    data = _scale_free(name, seed)
    content, (train, test) = io.BytesIO(), (np.packbits(part, axis=1) for part in data)
    np.savez(content, name=name, seed=seed, train=train, test=test)
    write_atomically(file, content.getvalue())
    return data


def scale_free_couplings(name: str = "scale-free", seed: int = 0) -> tuple[sp.csr_array, np.ndarray]:
    """J (1000, 1000) and b (1000,) of scale-free or scale-free-sparse with this seed."""
    generator = np.random.default_rng([seed, 0])
    if name == "scale-free":
        text = (files("quprop.problems") / "data" / "scale_free_1000.adjlist").read_text(encoding="utf-8")
        rows = [[int(word) for word in line.split()] for line in text.splitlines() if not line.startswith("#")]
        edges = [(row[0], other) for row in rows for other in row[1:]]
    elif name == "scale-free-sparse":
        edges = _barabasi_albert(BITS, 2, generator)
    else:
        raise QupropError(
            f"couplings are those of scale-free sets, got {shown(name)}; {nearest(str(name), SCALE_FREE)}"
        )
    a, b = np.array(edges).T
    half = sp.coo_array((generator.random(len(a)), (a, b)), shape=(BITS, BITS))
    matrix = sp.csr_array(half + half.T)
    return matrix, -0.01 * np.diff(matrix.indptr)


def _barabasi_albert(n: int, m: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """A star of m + 1 vertices, then one vertex after the other joined to m different ones, each chosen with
    probability proportional to its degree (Barabasi and Albert, Science 286, 509 (1999))."""
    edges = [(0, v) for v in range(1, m + 1)]
    ends = [v for edge in edges for v in edge]  # a vertex as often as its degree
    for new in range(m + 1, n):
        chosen: list[int] = []
        while len(chosen) < m:
            other = ends[generator.integers(len(ends))]
            if other not in chosen:
                chosen.append(other)
        edges += [(other, new) for other in chosen]
        ends += [*chosen, *[new] * m]
    return edges


@lru_cache(maxsize=1)
def _scale_free(name: str, seed: int) -> BinaryData:
    matrix, bias = scale_free_couplings(name, seed)
    generator = np.random.default_rng([seed, 1])
    found = metropolis(matrix, bias, chains=CHAINS, samples=SAMPLES, thin=THIN, burn_in=BURN_IN, rng=generator)
    found = found.reshape(-1, BITS)[generator.permutation(CHAINS * SAMPLES)]
    return _frozen(found[: len(found) // 2], found[len(found) // 2 :])


@lru_cache(maxsize=1)
def _digits(seed: int) -> BinaryData:
    from sklearn.datasets import load_digits

    found = (load_digits().data >= 8).astype(np.uint8)
    found = found[np.random.default_rng(seed).permutation(len(found))]
    test = math.ceil(TEST_FRACTION * len(found))
    return _frozen(found[test:], found[:test])


@lru_cache(maxsize=len(SHIPPED))
def _shipped(name: str) -> BinaryData:
    with (files("quprop.problems") / "data" / "binary_samples.npz").open("rb") as stream, np.load(stream) as packed:
        train, test = (np.unpackbits(packed[f"{SHIPPED[name]}_{part}"], axis=1) for part in BinaryData._fields)
    return _frozen(train, test)


def _read(file: Path, name: str, seed: int) -> BinaryData:
    try:
        with np.load(io.BytesIO(read_bytes(file)), allow_pickle=False) as packed:
            written = str(packed["name"]), int(packed["seed"])
            parts = [np.unpackbits(packed[p], axis=1) for p in BinaryData._fields]
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, QupropError):
            raise
        raise QupropError(f"{file} is no file of scale-free data; name another one, or remove it") from None
    if written != (name, seed):
        raise QupropError(
            f"{file} holds {written[0]} of seed {written[1]}, not {name} of seed {seed}; name another file"
        )
    shape = (CHAINS * SAMPLES // 2, BITS)
    return _frozen(*(bits(f"{field} of {file}", p, shape) for field, p in zip(BinaryData._fields, parts, strict=True)))


def _frozen(train: np.ndarray, test: np.ndarray) -> BinaryData:
    for array in (train, test):
        array.flags.writeable = False
    return BinaryData(train, test)
