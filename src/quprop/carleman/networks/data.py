"""Data to train classical networks on: scikit-learn's sets, drawn characters, CIFAR from a folder of the user, and the
user's own files.

CIFAR-10 and CIFAR-100 (Krizhevsky 2009) are read as published, https://www.cs.toronto.edu/~kriz/cifar.html: the Python
version (pickles of dictionaries with b"data", uint8 (samples, 3072), channel by channel) or the binary version (records
of one label byte, two for CIFAR-100 with the coarse one first, then 3072 bytes). Nothing is downloaded.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from quprop.carleman.networks.torch_extra import dtype_of, load_torch
from quprop.errors import QupropError, nearest
from quprop.problems.datasets import split

SHIPPED = ("digits", "digits32", "breast_cancer", "wine", "iris")
CIFAR = ("cifar10", "cifar100")
GLYPHS = 20_000, 2_000  # images of "glyphs" to train on, to test with
PIXELS = 3 * 32 * 32
# Mean and deviation of the channels of CIFAR-10's training images, which Liu et al. (2024) use for CIFAR-100 too.
CIFAR_MEAN = np.array([0.4914, 0.4822, 0.4465])
CIFAR_DEVIATION = np.array([0.2023, 0.1994, 0.2010])
FILES: dict[str, dict[str, tuple[str, list[str], list[str]]]] = {
    "cifar10": {
        "python": ("cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]),
        "binary": ("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]),
    },
    "cifar100": {
        "python": ("cifar-100-python", ["train"], ["test"]),
        "binary": ("cifar-100-binary", ["train.bin"], ["test.bin"]),
    },
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs (samples, *input_shape), float64 (images of 32 x 32 float32: pixels have 8 bits at most) or int64 (for
    embeddings), and targets, split once and for all: classes (samples,), int64, numbered from 0, or numbers (samples,
    ...), float64, for regression, where `classes` is 0."""

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int

    @property
    def outputs(self) -> int:
        """Outputs that a network for this data needs: one a class, or one a number of the target."""
        return int(np.prod(self.y_train.shape[1:])) if not self.classes else self.classes

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.x_train.shape[1:]

    def first(self, train: int | None = None, test: int | None = None) -> Dataset:
        """The same with only the first `train` and `test` samples; CIFAR comes in random order, scikit-learn's sets
        were shuffled by the split."""
        for name, count, most in (("train", train, len(self.x_train)), ("test", test, len(self.x_test))):
            if count is not None and not 1 <= count <= most:
                raise QupropError(f"{self.name} has {most} {name} samples, so {name} is from 1 to {most}, got {count}")
        return replace(
            self,
            x_train=self.x_train[:train],
            y_train=self.y_train[:train],
            x_test=self.x_test[:test],
            y_test=self.y_test[:test],
        )

    def like(self, network: Any) -> Dataset:
        """Targets of regression in the shape of the network's outputs, where they are as many numbers: (samples,) as
        (samples, 1), which a loss would else set against each other all with all."""
        torch = load_torch("the outputs of a network")
        with torch.no_grad():
            try:
                found = network.module(self.first(train=2).train(network.precision)[0])
            except Exception:  # said by the check of the network, with its place
                return self
        shape = tuple(found.shape[1:]) if isinstance(found, torch.Tensor) else ()
        if int(np.prod(shape)) != self.outputs:
            return self
        y_train, y_test = (y.reshape(len(y), *shape) for y in (self.y_train, self.y_test))
        return replace(self, y_train=y_train, y_test=y_test)

    def train(self, precision: str = "double") -> tuple[Any, Any]:
        """Training inputs and targets as torch tensors."""
        return _tensors(self.x_train, self.y_train, precision)

    def test(self, precision: str = "double") -> tuple[Any, Any]:
        """Test inputs and targets as torch tensors."""
        return _tensors(self.x_test, self.y_test, precision)


def load(name: str, *, folder: str | Path | None = None) -> Dataset:
    """A data set by name: ``digits`` (1 x 8 x 8 images, pixels in [0, 1]), ``digits32`` (the same images in CIFAR's
    shape 3 x 32 x 32, every pixel a square of four by four, float32), ``breast_cancer``, ``wine``, ``iris``
    (standardised features), ``glyphs`` (100 classes of 3 x 32 x 32 drawn characters, see glyphs.py; `folder` may name
    other fonts), and ``cifar10``, ``cifar100`` (3 x 32 x 32, standardised channels) from `folder`, which holds the
    unpacked published folder or is it; or a file ``PATH.npz`` or ``PATH.csv`` (:mod:`quprop.carleman.networks.files`).
    """
    if name.lower().endswith((".npz", ".csv")):
        from quprop.carleman.networks.files import read_file

        if folder is not None:
            raise QupropError(f"{name!r} is a file and takes no folder, got {str(folder)!r}; leave it out")
        return Dataset(name, *read_file(name))
    if name in CIFAR:
        return _cifar(name, folder)
    if name == "glyphs":
        from quprop.carleman.networks.glyphs import CHARACTERS, glyphs

        return Dataset(name, **glyphs(*GLYPHS, folder=folder), classes=len(CHARACTERS))
    if name not in SHIPPED:
        raise QupropError(
            f"unknown data set {name!r}; {nearest(name, (*SHIPPED, 'glyphs', *CIFAR))} (your own: a file .npz or .csv)"
        )
    if folder is not None:
        raise QupropError(f"{name} comes with scikit-learn and takes no folder, got {str(folder)!r}; leave it out")
    images = name in ("digits", "digits32")
    data = split("digits" if images else name)
    shape = (-1, 1, 8, 8) if images else (-1, data.x_train.shape[1])
    x_train, x_test = data.x_train.reshape(shape), data.x_test.reshape(shape)
    if name == "digits32":
        x_train, x_test = _enlarged(x_train), _enlarged(x_test)
    return Dataset(name, x_train, data.y_train, x_test, data.y_test, int(data.y_train.max()) + 1)


class batches:
    """Mini-batches of `size` without end: every epoch a new order drawn from `rng`, its incomplete last batch left
    out. `order` (samples,) of the epoch and `start` in it are all that the next ones depend on, beside `rng`."""

    def __init__(self, x: Any, y: Any, size: int, rng: np.random.Generator) -> None:
        if not 1 <= size <= len(x):
            raise QupropError(f"the batch size is from 1 to the {len(x)} samples, got {size}")
        self.x, self.y, self.size, self.rng = x, y, size, rng
        self.order, self.start = np.zeros(0, np.int64), 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self

    def __next__(self) -> tuple[Any, Any]:
        if self.start + self.size > len(self.order):
            self.order, self.start = self.rng.permutation(len(self.x)), 0
        chosen = self.order[self.start : self.start + self.size]
        self.start += self.size
        return self.x[chosen], self.y[chosen]


def _enlarged(images: np.ndarray) -> np.ndarray:
    """(samples, 1, 8, 8) -> (samples, 3, 32, 32), three equal channels."""
    large = np.kron(images.astype(np.float32), np.ones((4, 4), np.float32))
    return np.repeat(large, 3, axis=1)


def _tensors(x: np.ndarray, y: np.ndarray, precision: str) -> tuple[Any, Any]:
    torch = load_torch("data for a network")
    return tuple(torch.as_tensor(a, dtype=dtype_of(precision) if a.dtype.kind == "f" else None) for a in (x, y))


def _cifar(name: str, folder: str | Path | None) -> Dataset:
    layouts = FILES[name]
    names = " or ".join(repr(layout[0]) for layout in layouts.values())
    if folder is None:
        raise QupropError(f"{name} is not part of quprop and is read from a folder that holds {names}: give its path")
    root = Path(folder)
    for version, (inner, train, test) in layouts.items():
        for place in (root / inner, root):
            if (place / train[0]).is_file():
                parts = []
                for files in (train, test):
                    pieces = [_read(place / file, name, version) for file in files]
                    parts += [np.concatenate([p[i] for p in pieces]) for i in range(2)]
                x_train, y_train, x_test, y_test = parts
                classes = 10 if name == "cifar10" else 100
                return Dataset(name, _standardised(x_train), y_train, _standardised(x_test), y_test, classes)
    if not root.is_dir():
        raise QupropError(f"{name} is read from a folder that holds {names}, and {str(folder)!r} is no folder")
    raise QupropError(
        f"{str(folder)!r} does not hold {name}: expected {names} inside, unpacked from the published archive"
    )


def _standardised(images: np.ndarray) -> np.ndarray:
    scaled = images.reshape(-1, 3, 32, 32) / np.float32(255)
    scaled -= CIFAR_MEAN.astype(np.float32)[:, None, None]
    scaled /= CIFAR_DEVIATION.astype(np.float32)[:, None, None]
    return scaled


def _read(path: Path, name: str, version: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (samples, 3072) uint8 and classes (samples,) of one published file."""
    if not path.is_file():
        raise QupropError(f"{name} is incomplete: {str(path)!r} is missing; unpack the published archive again")
    content = path.read_bytes()
    if version == "binary":
        labels = 1 if name == "cifar10" else 2
        if not content or len(content) % (PIXELS + labels):
            raise QupropError(
                f"{str(path)!r} is damaged: its {len(content)} bytes are no multiple of {PIXELS + labels}, a record; "
                "unpack the published archive again"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, PIXELS + labels)
        images, classes = records[:, labels:], records[:, labels - 1]
    else:
        try:
            table = _Unpickler(io.BytesIO(content), encoding="bytes").load()
            images = np.asarray(table[b"data"], np.uint8).reshape(-1, PIXELS)
            classes = np.asarray(table[b"labels" if name == "cifar10" else b"fine_labels"])
        except Exception as error:
            raise QupropError(
                f"{str(path)!r} is not the published pickle of {name} ({error}); unpack the published archive again"
            ) from None
    if len(images) != len(classes):
        raise QupropError(f"{str(path)!r} is damaged: {len(images)} images with {len(classes)} classes")
    return images, classes.astype(np.int64)


class _Unpickler(pickle.Unpickler):
    """A pickle runs whatever it names; the published files name these only."""

    ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "_frombuffer", "encode"})

    def find_class(self, module: str, name: str) -> Any:
        if name in self.ALLOWED and (module.split(".")[0] == "numpy" or (module, name) == ("_codecs", "encode")):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no image file needs")
