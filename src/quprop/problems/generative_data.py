"""Binary data that generative models are trained on and compared by, each as (train, test).

name             bits    train, test      what
blobs            16      5,000, 10,000    eight patterns of 4 x 4 pixels, each bit flipped with probability 0.05
ising-16         16      5,000, 50,000    a 4 x 4 Ising lattice of random positive couplings, T = 3
scale-free       1,000   20,000, 20,000   an Ising model on a Barabasi-Albert graph, drawn here
digits-binary    64      1,347, 450       handwritten digits, 8 x 8 pixels, one from half of full intensity on

blobs, ising-16 and the graph of scale-free are data of Recio-Armengol, Ahmed and Bowles, "Train on classical, deploy on
quantum" (arXiv:2503.02934), https://github.com/XanaduAI/scaling-gqml, licensed under Apache-2.0. The digits are
scikit-learn's (Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits, 1998).

The samples of scale-free are not published; they are drawn by the published rules:

    p(s) ~ exp(-E(s)),   E(s) = - sum_{i<j} J_ij s_i s_j - sum_i b_i s_i,   x = (s + 1) / 2,   b_i = -0.01 degree(i),

J_ij uniform in [0, 1] on the 2,991 edges; 8 Metropolis chains of 5,000 samples, shuffled and split in two. A step there
is a sweep of all spins, 200 sweeps a sample after 10,000; here it is 20 sweeps, as the magnetisation is independent
after one or two. The model is far below its transition: a chain falls into one of two phases, |mean s| about 0.92, and
stays. The data are thus a mixture of both, of weights k / 8 that the seed decides; the field makes the phase of zeros
the likelier start.
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

CHAINS, SAMPLES, THIN, BURN_IN = 8, 5000, 20, 10_000
SHIPPED = {"blobs": "blobs", "ising-16": "ising"}
DRAWN = ("scale-free", "digits-binary")
NAMES = (*SHIPPED, *DRAWN)


class BinaryData(NamedTuple):
    """Rows of zeros and ones, uint8: (samples, n) each."""

    train: np.ndarray
    test: np.ndarray


def generative_data(name: str, *, seed: int | None = None, file: str | Path | None = None) -> BinaryData:
    """The data set of this name; what is drawn is kept between calls, so arrays are read-only.

    seed: of scale-free (couplings and chains) and of the split of digits-binary, 0 if it is None; the other two are
    what they are and take none. file: an .npz that scale-free is read from if it exists, and written to if not: drawing
    takes a minute.
    """
    if name not in NAMES:
        raise QupropError(f"there are no generative data called {shown(name)}; {nearest(str(name), NAMES)}")
    if name in SHIPPED and seed is not None:
        raise QupropError(f"{name} is data as published, which no seed changes; leave seed out")
    if name != "scale-free" and file is not None:
        raise QupropError(f"{name} comes with the package; a file is kept for scale-free only, leave it out")
    if name in SHIPPED:
        return _shipped(name)
    seed = whole("seed", 0 if seed is None else seed, 0)
    if name == "digits-binary":
        return _digits(seed)
    if file is None:
        return _scale_free(seed)
    if Path(file).exists():
        return _read(Path(file), seed)
    data = _scale_free(seed)
    packed = io.BytesIO()
    np.savez(packed, seed=seed, train=np.packbits(data.train, axis=1), test=np.packbits(data.test, axis=1))
    write_atomically(file, packed.getvalue())
    return data


def scale_free_couplings(seed: int = 0) -> tuple[sp.csr_array, np.ndarray]:
    """J (1000, 1000) and b (1000,) of scale-free with this seed."""
    text = (files("quprop.problems") / "data" / "scale_free_1000.adjlist").read_text(encoding="utf-8")
    rows = [[int(word) for word in line.split()] for line in text.splitlines() if not line.startswith("#")]
    a, b = np.array([(row[0], other) for row in rows for other in row[1:]]).T
    n = len(rows)
    half = sp.coo_array((np.random.default_rng([seed, 0]).random(len(a)), (a, b)), shape=(n, n))
    matrix = sp.csr_array(half + half.T)
    return matrix, -0.01 * np.diff(matrix.indptr)


@lru_cache(maxsize=1)
def _scale_free(seed: int) -> BinaryData:
    matrix, bias = scale_free_couplings(seed)
    generator = np.random.default_rng([seed, 1])
    found = metropolis(matrix, bias, chains=CHAINS, samples=SAMPLES, thin=THIN, burn_in=BURN_IN, rng=generator)
    found = found.reshape(-1, matrix.shape[0])[generator.permutation(CHAINS * SAMPLES)]
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


def _read(file: Path, seed: int) -> BinaryData:
    try:
        with np.load(io.BytesIO(read_bytes(file)), allow_pickle=False) as packed:
            written, parts = int(packed["seed"]), [np.unpackbits(packed[p], axis=1) for p in BinaryData._fields]
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, QupropError):
            raise
        raise QupropError(f"{file} is no file of scale-free data; name another one, or remove it") from None
    if written != seed:
        raise QupropError(
            f"{file} holds scale-free data of seed {written}, not {seed}; name another file, or that seed"
        )
    wanted = CHAINS * SAMPLES // 2
    return _frozen(
        *(bits(f"{name} of {file}", part, (wanted, 1000)) for name, part in zip(BinaryData._fields, parts, strict=True))
    )


def _frozen(train: np.ndarray, test: np.ndarray) -> BinaryData:
    for array in (train, test):
        array.flags.writeable = False
    return BinaryData(train, test)
