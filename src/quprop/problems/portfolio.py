"""Choosing k of n assets: the least risk for the most return, by QAOA among the choices of k.

    E(x) = q x^T S x - mu^T x,    x in {0, 1}^n,  sum x = k

with expected returns mu, their covariance S and an aversion q to risk. The circuit starts from the Dicke state of k
ones and its XY mixers move ones, so that every sample is a choice of k. Hodson et al., arXiv:1911.05296 (2019).
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.files import MOST_TYPED, read_bytes
from quprop.model.ansatz import MIXERS, qaoa_xy
from quprop.model.pauli import PauliString, PauliSum
from quprop.problems import combinatorial
from quprop.problems.config import Config, Setting, shown
from quprop.problems.spec import Problem, Spec, as_run, train_settings

MOST_ASSETS = 500
_FORM = "lines `name, mu, S_1, ..., S_n`, one for each asset"
_ROUNDING = 1e-8  # of a covariance that comes from elsewhere, of its largest entry


class Assets(NamedTuple):
    """Names, expected returns (n,) and their covariance (n, n)."""

    names: list[str]
    mu: np.ndarray
    covariance: np.ndarray


def synthetic(n: int, seed: int) -> Assets:
    """Returns of 2 to 20 per cent, and volatilities of 10 to 40 per cent that three common factors correlate."""
    rng = np.random.default_rng(seed)
    mu = rng.uniform(0.02, 0.2, n)
    loads = np.column_stack([rng.normal(size=(n, 3)), rng.normal(size=n)])
    loads *= (rng.uniform(0.1, 0.4, n) / np.linalg.norm(loads, axis=1))[:, None]
    own = loads[:, 3] ** 2
    return Assets([f"A{i + 1}" for i in range(n)], mu, loads[:, :3] @ loads[:, :3].T + np.diag(own))


def read_assets(path: Path) -> Assets:
    """From a .csv of lines `name, mu, S_1, ..., S_n`, or an .npz with mu (n,), covariance (n, n) and, if it likes,
    names."""
    try:
        data = read_bytes(path, MOST_TYPED)
    except OSError as error:
        raise QupropError(f"the assets {path} cannot be read ({error.strerror}): give a .csv or .npz file") from None
    if path.suffix == ".npz":
        names, mu, covariance = _of_npz(path, data)
    elif path.suffix == ".csv":
        names, mu, covariance = _of_csv(path, data)
    else:
        raise QupropError(f"assets are read from a .csv or .npz file, got {shown(str(path))}: name it so")
    mu = checked(f"mu of {path}", mu, ("n",))
    n = len(mu)
    covariance = checked(f"covariance of {path}", covariance, (n, n))
    if not 2 <= n <= MOST_ASSETS:
        raise QupropError(f"{path} must have from 2 to {MOST_ASSETS} assets, got {n}")
    if len(names) != n or len(set(names)) != n:
        raise QupropError(f"names of {path} must be {n} different ones, one for each asset, got {len(set(names))}")
    size = float(np.abs(covariance).max()) or 1.0
    off = np.abs(covariance - covariance.T)
    if off.max() > _ROUNDING * size:
        i, j = map(int, np.unravel_index(int(np.argmax(off)), off.shape))
        raise QupropError(
            f"covariance of {path} must be symmetric, got {covariance[i, j]:g} for {names[i]} {names[j]} and "
            f"{covariance[j, i]:g} for {names[j]} {names[i]}"
        )
    covariance = (covariance + covariance.T) / 2
    least = float(np.linalg.eigvalsh(covariance)[0])
    if least < -_ROUNDING * size * n:
        raise QupropError(
            f"covariance of {path} must have no negative eigenvalue, got {least:g}: a portfolio would have a negative "
            "variance"
        )
    return Assets(names, mu, covariance)


def _of_csv(path: Path, data: bytes) -> tuple[list[str], Any, Any]:
    try:
        lines = [row for row in csv.reader(io.StringIO(data.decode("utf-8"))) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error):
        raise QupropError(f"{path} is no text of comma-separated values: give {_FORM}") from None
    if lines and _number(lines[0][-1]) is None:
        lines = lines[1:]  # what the columns are called
    names, numbers = [], []
    for place, row in enumerate(lines, 1):
        if len(row) != len(lines) + 2:
            raise QupropError(
                f"{path}, asset {place}: with {len(lines)} assets a line has {len(lines) + 2} values, {_FORM}, got "
                f"{len(row)}"
            )
        values = [_number(cell) for cell in row[1:]]
        wrong = next((cell for cell, v in zip(row[1:], values, strict=True) if v is None or not math.isfinite(v)), None)
        if wrong is not None:
            raise QupropError(f"{path}, asset {place}: mu and covariances must be finite numbers, got {shown(wrong)}")
        names.append(row[0].strip())
        numbers.append(values)
    if not numbers:
        raise QupropError(f"{path} holds no asset: give {_FORM}")
    table = np.array(numbers, dtype=float)
    return names, table[:, 0], table[:, 1:]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _of_npz(path: Path, data: bytes) -> tuple[list[str], Any, Any]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as packed:
            held = {key: packed[key] for key in packed.files}
    except (ValueError, TypeError, EOFError, KeyError, OSError, zipfile.BadZipFile):
        raise QupropError(f"{path} is no .npz file of plain arrays: give one with mu and covariance") from None
    if unknown := held.keys() ^ {"mu", "covariance", "names"} - ({"names"} - held.keys()):
        raise QupropError(
            f"{path} must hold mu, covariance and, if it likes, names; {shown(sorted(unknown)[0])} is missing or more"
        )
    mu = np.ravel(held["mu"])
    names = (
        [str(name) for name in np.ravel(held["names"])] if "names" in held else [f"A{i + 1}" for i in range(len(mu))]
    )
    return names, held["mu"], held["covariance"]


def energy(assets: Assets, aversion: float) -> PauliSum:
    """q x^T S x - mu^T x with x = (1 - Z) / 2 and x^2 = x."""
    n = len(assets.mu)
    alone = aversion * np.diag(assets.covariance) - assets.mu
    pairs = 2 * aversion * np.triu(assets.covariance, 1)
    total = {PauliString(0, 0): float(alone.sum() / 2 + pairs.sum() / 4)}
    fields = alone / 2 + (pairs.sum(axis=0) + pairs.sum(axis=1)) / 4
    total |= {PauliString(0, 1 << i): -float(fields[i]) for i in range(n)}
    total |= {PauliString(0, 1 << i | 1 << j): float(pairs[i, j] / 4) for i in range(n) for j in range(i + 1, n)}
    return PauliSum(total)


def spread(cost: PauliSum, n: int) -> float:
    """How much the terms of a qubit differ from the mean ones, which cost the same for every choice of k."""
    fields = np.array([cost_of for p, cost_of in cost.items() if p.z.bit_count() == 1])
    pairs = np.array([cost_of for p, cost_of in cost.items() if p.z.bit_count() == 2])
    missing = n - len(fields), n * (n - 1) // 2 - len(pairs)  # terms that are exactly 0
    fields, pairs = (np.concatenate([v, np.zeros(more)]) for v, more in zip((fields, pairs), missing, strict=True))
    return float(np.sqrt(fields.var() + (n - 1) * pairs.var())) or 1.0


def assets_of(config: Config) -> Assets:
    """Those that [problem] names; refused where k of them cannot be chosen."""
    s = config["problem"]
    assets = read_assets(Path(s["file"])) if s["file"] else synthetic(s["n"], s["instance"])
    if s["k"] > len(assets.mu):
        raise QupropError(f"k must be at most {len(assets.mu)}, the number of assets, got {s['k']}")
    return assets


def build(config: Config) -> Problem:
    s, section = config["problem"], config["model"]
    assets = assets_of(config)
    n, k = len(assets.mu), s["k"]
    cost = energy(assets, s["q"])

    def told(bits: np.ndarray, value: float) -> dict[str, Any]:
        x = bits.astype(float)
        return {
            "chosen": [name for name, bit in zip(assets.names, bits, strict=True) if bit],
            "expected_return": float(assets.mu @ x),
            "variance_of_return": float(x @ assets.covariance @ x),
        }

    gap = 2.0 if section["mixer"] == "ring" else float(n)  # sum (X X + Y Y) / 2 of all pairs: k ones to the next level
    wanted = as_run(qaoa_xy(n, cost, section["layers"], k, section["mixer"]), config)
    return combinatorial.problem(
        config,
        cost,
        n,
        lambda: combinatorial.reference(cost, n, "choices", k),
        told=told,
        scale=spread(cost, n),
        gap=gap,
        wanted=wanted,
        ones=k,
    )


SPEC = Spec(
    "k of n assets of least risk and most return, by QAOA with XY mixers",
    {
        "problem": {
            "name": Setting("portfolio", "this problem"),
            "n": Setting(12, "assets, without a file", least=2, most=MOST_ASSETS),
            "k": Setting(4, "assets that are chosen", least=1, most=MOST_ASSETS),
            "q": Setting(1.0, "aversion to risk", least=0.0),
            "instance": Setting(0, "seed of returns and covariances", least=0),
            "file": Setting("", "assets instead: a .csv of lines `name, mu, S_1, ..., S_n`, or an .npz of these"),
        },
        "model": {
            "layers": Setting(6, "layers of the circuit", least=0, most=1000),
            "mixer": Setting("complete", "pairs of qubits between which ones are moved", choices=MIXERS),
            "start": combinatorial.start_setting("ramp", "random"),
        },
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=200),
    },
    build,
    assets_of,
)
