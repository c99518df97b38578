"""Data of the user's own, from one file: NumPy's .npz, or .csv with a header.

``.npz``  arrays x_train, y_train and, if there is a test part, x_test, y_test; or x, y. Capitals and other usual names
          (INPUTS, TARGETS; train_images too) are taken for them where these are not there. Inputs keep their type:
          whole numbers stay whole, for embeddings
``.csv``  a header, then a sample a line; the target is the column named target, y or label, else the last one. All
          other columns are inputs, float64

Targets (samples,) that are whole numbers or text are classes, numbered in ascending order, and so are rows of zeros
with a single one, by its place; other floating ones are regression, and may have more axes. Where there is no test part
a quarter is split off with a fixed seed, class by class where every class has two samples at least. Nothing is scaled.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError, shown
from quprop.problems.datasets import SPLIT_SEED, TEST_FRACTION

ENDINGS = (".npz", ".csv")
COLUMNS = ("target", "y", "label")  # of a .csv
INPUTS = ("x", "inputs", "features", "data", "images")
TARGETS = ("y", "target", "targets", "label", "labels")
PARTS = ("x_train", "y_train", "x_test", "y_test")
Arrays = dict[str, np.ndarray]


def read_file(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """x_train, y_train, x_test, y_test and the number of classes (0: regression) of a file; see the top of this one."""
    path = Path(path)
    if not path.is_file():
        raise QupropError(f"there is no data file {str(path)!r}")
    parts = _npz(path) if path.suffix.lower() == ".npz" else _csv(path)
    name = str(path)
    test = "x_test" in parts
    inputs = {key: _inputs(name, key, parts[key]) for key in parts if key.startswith("x")}
    targets, classes = _targets(name, {key: parts[key] for key in parts if key.startswith("y")})
    for x, y in (("x_train", "y_train"), ("x_test", "y_test")) if test else (("x_train", "y_train"),):
        if len(inputs[x]) != len(targets[y]):
            raise QupropError(f"{name!r} has {len(inputs[x])} samples in {x} and {len(targets[y])} in {y}")
    if test:
        if inputs["x_train"].shape[1:] != inputs["x_test"].shape[1:]:
            shapes = [inputs[k].shape[1:] for k in ("x_train", "x_test")]
            raise QupropError(f"{name!r} has training inputs of shape {shapes[0]} and test inputs of shape {shapes[1]}")
        both = (inputs["x_train"], targets["y_train"], inputs["x_test"], targets["y_test"])
    else:
        both = _split(name, inputs["x_train"], targets["y_train"], classes)
    return (*both, classes)


def _npz(path: Path) -> Arrays:
    name = str(path)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            names = found.files
            arrays = {key: found[name] for key, name in _roles(path, names).items()}
    except QupropError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise QupropError(f"{name!r} is no readable .npz file of plain arrays ({reason})") from None
    if ("x" in arrays or "y" in arrays) == any(key in arrays for key in PARTS):
        raise QupropError(
            f"{name!r} must hold x and y, or x_train, y_train and perhaps x_test, y_test; it holds "
            f"{', '.join(map(shown, sorted(names))) or 'nothing'}: save it again by np.savez(FILE, x=inputs, y=targets)"
        )
    if "x" in arrays or "y" in arrays:
        arrays = {f"{key}_train": array for key, array in arrays.items()}
    for pair in (PARTS[:2], PARTS[2:]):
        lacking = [key for key in pair if key not in arrays]
        if lacking and (pair == PARTS[:2] or len(lacking) == 1):
            named = any(key in names for key in PARTS)
            raise QupropError(f"{name!r} lacks {lacking[0] if named else lacking[0].removesuffix('_train')}")
    return arrays


def _roles(path: Path, names: list[str]) -> dict[str, str]:
    """Which array is x, y or one of PARTS: those so called, or, where that does not make a pair, those that are called
    so in other words."""

    def pairs(found: Iterable[str]) -> bool:
        return any({x, y} <= set(found) for x, y in (("x", "y"), PARTS[:2]))

    exact = {name: name for name in names if name in (*PARTS, "x", "y")}
    if pairs(exact):
        return exact
    meant: dict[str, str] = {}
    for name in names:
        word, part = name.lower(), ""
        for which in ("train", "test"):
            if word.startswith(f"{which}_") or word.endswith(f"_{which}"):
                word, part = word.removeprefix(f"{which}_").removesuffix(f"_{which}"), f"_{which}"
        role = f"{'x' if word in INPUTS else 'y'}{part}"
        if word not in (*INPUTS, *TARGETS):
            continue
        if role in meant:
            what = "inputs" if role[0] == "x" else "targets"
            raise QupropError(
                f"{str(path)!r} holds {what} twice, {meant[role]!r} and {name!r}: keep one, called {role}"
            )
        meant[role] = name
    return meant if pairs(meant) else exact


def _csv(path: Path) -> Arrays:
    name = str(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(reader.line_num, row) for reader in [csv.reader(file, strict=True)] for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise QupropError(f"{name!r} is no readable .csv file in UTF-8 ({error})") from None
    if len(rows) < 2:
        raise QupropError(f"{name!r} must have a header and samples, got {len(rows)} line{'s' * (len(rows) != 1)}")
    header = [cell.strip() for cell in rows[0][1]]
    if all(_number(cell) is not None for cell in header):
        raise QupropError(f"the first line of {name!r} must be a header with names, got numbers: add one")
    if len(header) < 2 or len(set(header)) < len(header):
        raise QupropError(f"the header of {name!r} must name two columns at least, all different, got {shown(header)}")
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise QupropError(f"line {number} of {name!r} has {len(row)} cells, the header {len(header)}")
    chosen = [i for i, cell in enumerate(header) if cell.lower() in COLUMNS]
    if len(chosen) > 1:
        raise QupropError(
            f"{name!r} has {len(chosen)} target columns ({', '.join(header[i] for i in chosen)}): keep one"
        )
    target = chosen[0] if chosen else len(header) - 1
    inputs = np.empty((len(rows) - 1, len(header) - 1))
    for i, (number, row) in enumerate(rows[1:]):
        for k, j in enumerate(j for j in range(len(header)) if j != target):
            value = _number(row[j])
            if value is None:
                raise QupropError(
                    f"column {header[j]!r} on line {number} of {name!r} is {shown(row[j])}: inputs must be numbers"
                )
            inputs[i, k] = value
    cells = [row[target].strip() for _, row in rows[1:]]
    if "" in cells:
        raise QupropError(f"the target {header[target]!r} on line {rows[1 + cells.index('')][0]} of {name!r} is empty")
    return {"x_train": inputs, "y_train": _column(cells)}


def _column(cells: list[str]) -> np.ndarray:
    """Whole numbers, floating numbers, or text."""
    try:
        return np.array([int(cell) for cell in cells])
    except (ValueError, OverflowError):
        numbers = [_number(cell) for cell in cells]
        return np.array(cells) if None in numbers else np.array(numbers, float)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _inputs(name: str, key: str, array: np.ndarray) -> np.ndarray:
    if array.ndim < 2 or not array.size:
        raise QupropError(
            f"{key} of {name!r} must have shape (samples, ...) with one number at least, got {array.shape}"
        )
    if array.dtype.kind in "bu":
        array = array.astype(np.int64 if array.dtype.kind == "u" else float)
    if array.dtype.kind not in "if":
        raise QupropError(f"{key} of {name!r} must be real numbers, got {array.dtype}")
    if not np.isfinite(array).all():
        raise QupropError(f"{key} of {name!r} holds numbers that are not finite")
    return array.astype(np.int64) if array.dtype.kind == "i" else array.astype(np.float64)


def _targets(name: str, arrays: Arrays) -> tuple[Arrays, int]:
    """Classes from 0 (samples,), and how many; or numbers, and 0."""
    arrays = {key: array[:, 0] if _column_of_classes(array) else array for key, array in arrays.items()}
    widths = {array.shape[1] if _one_hot(array) else 0 for array in arrays.values()}
    if len(widths) == 1 and min(widths):
        return {key: array.argmax(axis=1).astype(np.int64) for key, array in arrays.items()}, min(widths)
    kinds = {array.dtype.kind for array in arrays.values()}
    if kinds <= {"f"}:
        for key, array in arrays.items():
            if not array.ndim or not np.isfinite(array).all():
                raise QupropError(f"{key} of {name!r} must be finite numbers (samples, ...)")
        return {key: array.astype(np.float64) for key, array in arrays.items()}, 0
    if not (kinds <= set("iub") or kinds <= set("US")):
        raise QupropError(
            f"targets of {name!r} must be whole numbers or text (classes), or floating numbers (regression), got "
            f"{', '.join(str(a.dtype) for a in arrays.values())}"
        )
    for key, array in arrays.items():
        if array.ndim != 1:
            raise QupropError(f"{key} of {name!r} are classes and must have shape (samples,), got {array.shape}")
    labels = np.unique(np.concatenate(list(arrays.values())))
    if len(labels) < 2:
        raise QupropError(f"the targets of {name!r} must be of two classes at least, got {shown(labels.tolist())}")
    return {key: np.searchsorted(labels, array).astype(np.int64) for key, array in arrays.items()}, len(labels)


def _column_of_classes(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "iubUS"


def _one_hot(array: np.ndarray) -> bool:
    if array.ndim != 2 or array.shape[1] < 2 or not len(array) or array.dtype.kind not in "iubf":
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _split(name: str, x: np.ndarray, y: np.ndarray, classes: int) -> Any:
    from sklearn.model_selection import train_test_split

    if len(x) < 4:
        raise QupropError(f"{name!r} has {len(x)} samples, and four at least are needed to split off a test part")
    counts = np.bincount(y) if classes else None
    held = round(TEST_FRACTION * len(x))
    apart = counts is not None and counts.min() >= 2 and min(held, len(x) - held) >= len(counts)
    train, test = train_test_split(
        np.arange(len(x)), test_size=TEST_FRACTION, random_state=SPLIT_SEED, stratify=y if apart else None
    )
    return x[train], y[train], x[test], y[test]
