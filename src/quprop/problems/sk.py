"""Spin glasses: the Sherrington-Kirkpatrick model, all spins coupled to all at random, or couplings of one's own.

    E(s) = -sum_{i<j} J_ij s_i s_j

J_ij has mean 0 and variance 1/n; for n without end the lowest energy of a spin is -0.7632 (Parisi, Phys. Rev. Lett. 43,
1754 (1979)). From a file the couplings are what it says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.model.pauli import PauliString, PauliSum
from quprop.problems import combinatorial
from quprop.problems.config import Config, Setting
from quprop.problems.maxcut import Edges, read_edges
from quprop.problems.published_angles import of_pairs
from quprop.problems.spec import Problem, Spec, train_settings

COUPLINGS = ("gaussian", "signs")
MOST_SPINS = 500  # couplings are written down one by one


def couplings(n: int, kind: str, seed: int) -> Edges:
    """J_ij = g / sqrt(n), g normal or a sign, for i < j in lexicographic order."""
    rng = np.random.default_rng(seed)
    i, j = np.triu_indices(n, 1)
    drawn = rng.normal(size=len(i)) if kind == "gaussian" else 2.0 * rng.integers(0, 2, len(i)) - 1.0
    return list(zip(i.tolist(), j.tolist(), (drawn / np.sqrt(n)).tolist(), strict=True))


def energy(edges: Edges) -> PauliSum:
    return PauliSum({PauliString(0, 1 << a | 1 << b): -w for a, b, w in edges})


def build(config: Config) -> Problem:
    s = config["problem"]
    if s["file"]:
        names, edges = read_edges(Path(s["file"]))
        if not any(w for _, _, w in edges):
            raise QupropError(f"all couplings of {s['file']} are 0: there is nothing to minimise; give others")
    else:
        names, edges = [str(q) for q in range(s["n"])], couplings(s["n"], s["couplings"], s["instance"])
    n, cost = len(names), energy(edges)

    def known() -> dict[str, Any]:
        found = combinatorial.reference(cost, n, "states")
        if "reference_energy" in found:
            found["reference_per_spin"] = found["reference_energy"] / n
        return found

    def told(bits: np.ndarray, value: float) -> dict[str, Any]:
        up = [name for name, bit in zip(names, bits, strict=True) if bit == bits[0]]
        return {"sampled_per_spin": value / n, "spins_up": up}

    return combinatorial.problem(config, cost, n, known, told=told, published=lambda layers: of_pairs(cost, layers))


SPEC = Spec(
    "ground state of the Sherrington-Kirkpatrick spin glass, by QAOA",
    {
        "problem": {
            "name": Setting("sk", "this problem"),
            "n": Setting(12, "spins, without a file", least=2, most=MOST_SPINS),
            "couplings": Setting("gaussian", "how they are drawn, with variance 1/n", choices=COUPLINGS),
            "instance": Setting(0, "seed of the couplings", least=0),
            "file": Setting("", "couplings instead, lines `i j J`, of E = -sum J s_i s_j"),
        },
        "model": combinatorial.settings(6),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=200),
    },
    build,
)
