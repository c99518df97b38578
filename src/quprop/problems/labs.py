"""Low-autocorrelation binary sequences: n signs s whose aperiodic autocorrelations are all small.

    E(s) = sum_{k=1}^{n-1} (sum_{i=1}^{n-k} s_i s_{i+k})^2,    merit factor n^2 / (2 E)

Multiplied out it is a constant n (n - 1) / 2 and products of two and of four signs. Golay, IEEE Trans. Inf. Theory 23,
43 (1977); what is known of the lowest energies: Packebusch, Mertens, J. Phys. A 49, 165001 (2016), arXiv:1512.02475.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.model.pauli import PauliString, PauliSum
from quprop.problems import combinatorial
from quprop.problems.config import Config, Setting
from quprop.problems.published_angles import of_sequences
from quprop.problems.spec import Problem, Spec, train_settings

MOST_SPINS = 100  # as many terms as a circuit's layer may reasonably have: some 10^5

# The lowest energies of 3, 4, ... spins, from the reference above.
_LOWEST = "1 2 2 7 3 8 12 13 5 10 6 19 15 24 32 25 29 26 26 39 47 36 36 45 37 50 62 59 67 64 64 65 73"
LOWEST = {n: int(word) for n, word in enumerate(_LOWEST.split(), 3)}


def energy(n: int) -> PauliSum:
    """E as a sum of products of Z: sum_k (n - k + 2 sum_{i < j} s_i s_{i+k} s_j s_{j+k})."""
    total = {PauliString(0, 0): float(n * (n - 1) // 2)}
    for k in range(1, n):
        for j in range(1, n - k):
            for i in range(j):
                string = PauliString(0, (1 << i | 1 << i + k) ^ (1 << j | 1 << j + k))  # a square where i + k = j
                total[string] = total.get(string, 0.0) + 2.0
    return PauliSum(total)


def runs(bits: np.ndarray) -> str:
    """A sequence by the lengths of its runs of equal signs, as the literature writes it: 5 2 2 1 1 1 1."""
    ends = [0, *(np.flatnonzero(np.diff(bits)) + 1).tolist(), len(bits)]
    return " ".join(map(str, np.diff(ends)))


def build(config: Config) -> Problem:
    n = config["problem"]["n"]
    known: dict[str, Any] = {"reference_name": f"none (the lowest energies are known up to {max(LOWEST)} spins)"}
    if n in LOWEST:
        known = {
            "reference_energy": float(LOWEST[n]),
            "reference_name": "exact (Packebusch and Mertens, 2016)",
            "best_merit_factor": n * n / (2 * LOWEST[n]),
        }
    known["highest_energy"] = float((n - 1) * n * (2 * n - 1) // 6)  # of equal signs: no sum of n - k signs is larger

    def told(bits: np.ndarray, value: float) -> dict[str, Any]:
        return {"merit_factor": n * n / (2 * value), "sequence": runs(bits)}

    return combinatorial.problem(
        config, energy(n), n, lambda: known, told=told, published=lambda layers: of_sequences(n, layers)
    )


SPEC = Spec(
    "low-autocorrelation binary sequences, by QAOA",
    {
        "problem": {
            "name": Setting("labs", "this problem"),
            "n": Setting(12, "spins", least=3, most=MOST_SPINS),
        },
        "model": combinatorial.settings(6),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=200),
    },
    build,
)
