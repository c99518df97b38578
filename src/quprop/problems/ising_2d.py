"""The transverse-field Ising model on a square lattice, open at its ends: beyond any state from 7 x 6 sites on.

H = -J sum_<pq> Z_p Z_q - h sum_q X_q
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quprop.model import Model
from quprop.model.ansatz import hamiltonian_variational
from quprop.model.pauli import PauliSum
from quprop.problems.config import LARGEST, Config, Setting
from quprop.problems.energies import circuit, exact_reference, judge_energy, model_settings
from quprop.problems.spec import Params, Problem, Spec, train_settings
from quprop.training.losses import Expectation

Edges = Sequence[tuple[int, int]]

# By TeNPy's two-site density matrix renormalisation group along a snake, bond dimension 32: an upper bound.
KNOWN = {(8, 8, 1.0, 3.0): -202.447959}


def square(rows: int, columns: int) -> Edges:
    sites = np.arange(rows * columns).reshape(rows, columns)
    across = zip(sites[:, :-1].ravel().tolist(), sites[:, 1:].ravel().tolist(), strict=True)
    down = zip(sites[:-1].ravel().tolist(), sites[1:].ravel().tolist(), strict=True)
    return [*across, *down]


def parts(n: int, edges: Edges, coupling: float, field: float) -> tuple[PauliSum, PauliSum]:
    """-J sum Z Z and -h sum X."""
    return PauliSum({f"Z{a} Z{b}": -coupling for a, b in edges}), PauliSum({f"X{q}": -field for q in range(n)})


def energy_problem(config: Config, n: int, edges: Edges, reference: dict[str, Any]) -> Problem:
    """The ground energy on any lattice, by layers of the two parts of H from the field's ground state."""
    coupling, field = config["problem"]["J"], config["problem"]["h"]
    layers = config["model"]["layers"]
    bonds, spins = parts(n, edges, coupling, field)
    plus = np.full((n, 2), np.sqrt(0.5)) * [1.0, np.sign(field or 1.0)]
    own = {"hamiltonian_variational": lambda n, layers: hamiltonian_variational([bonds, spins], layers, n, plus)}
    wanted = circuit(config, n, own)
    model = Model(wanted, PauliSum({**dict(bonds.items()), **dict(spins.items())}))
    annealed = config["model"]["ansatz"] in own and not config["model"]["gates"]

    def start(rng: np.random.Generator) -> Params:
        if not annealed:
            return {"theta": 0.1 * rng.normal(size=model.n_params)}
        ramp = (np.arange(layers) + 0.5) / max(layers, 1)  # from the field's ground state to that of the whole
        scale = 1.0 / max(abs(coupling), abs(field), 1e-3)
        theta = scale * np.stack([ramp, 1 - ramp], axis=1).ravel()
        return {"theta": theta + 0.01 * rng.normal(size=theta.size)}

    return Problem(model, Expectation(), start, reference=reference, judge=judge_energy(reference), circuit=wanted)


def build(config: Config) -> Problem:
    s = config["problem"]
    rows, columns = s["rows"], s["columns"]
    n, edges = rows * columns, square(rows, columns)
    known = KNOWN.get((min(rows, columns), max(rows, columns), s["J"], s["h"]))
    if known is not None:
        reference: dict[str, Any] = {"reference_energy": known, "reference_name": "DMRG, an upper bound"}
    else:
        bonds, spins = parts(n, edges, s["J"], s["h"])
        reference = exact_reference(PauliSum({**dict(bonds.items()), **dict(spins.items())}), n)
    return energy_problem(config, n, edges, reference)


SPEC = Spec(
    "ground energy of the transverse-field Ising model on a square lattice",
    {
        "problem": {
            "name": Setting("ising-2d", "this problem"),
            "rows": Setting(3, "sites across", least=1, most=LARGEST),
            "columns": Setting(3, "sites down", least=1, most=LARGEST),
            "J": Setting(1.0, "coupling of neighbours"),
            "h": Setting(3.0, "transverse field; 3.04 is critical"),
        },
        "model": model_settings("hamiltonian_variational", 2),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=200),
    },
    build,
)
