"""The transverse-field Ising chain of any size, held against its exact ground energy from free fermions.

H = -J sum_q Z_q Z_{q+1} - h sum_q X_q
"""

from __future__ import annotations

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.ansatz import tfim_variational
from quprop.model.pauli import PauliSum
from quprop.problems.config import LARGEST, Config, Setting
from quprop.problems.energies import circuit, judge_energy, model_settings
from quprop.problems.spec import Params, Problem, Spec, train_settings
from quprop.training.losses import Expectation


def hamiltonian(n: int, coupling: float, field: float, ring: bool) -> PauliSum:
    bonds = n if ring and n > 2 else n - 1
    return PauliSum({f"Z{q} Z{(q + 1) % n}": -coupling for q in range(bonds)} | {f"X{q}": -field for q in range(n)})


def exact_energy(n: int, coupling: float, field: float, ring: bool) -> float:
    """The ground energy in closed form (Pfeuty, Annals of Physics 57, 79 (1970)).

    Open chain: minus the sum of the singular values of the n x n matrix with h on and J above its diagonal (Lieb,
    Schultz, Mattis). Ring: -sum_k sqrt(J^2 + h^2 - 2 |J h| cos k) over k = (2m + 1) pi / n, the sector of even parity,
    where the ground state is for J >= 0, and for J < 0 on an even ring, which flipping every other spin turns into the
    former.
    """
    if ring and n > 2:
        if coupling < 0 and n % 2:
            raise QupropError(
                f"an odd ring with J < 0 is frustrated and has no such closed form, got n={n}: set ring=false or J > 0"
            )
        k = (2 * np.arange(n) + 1) * np.pi / n
        return float(-np.sqrt(coupling**2 + field**2 - 2 * abs(coupling * field) * np.cos(k)).sum())
    matrix = np.diag(np.full(n, float(field))) + np.diag(np.full(n - 1, float(coupling)), 1)
    return float(-np.linalg.svd(matrix, compute_uv=False).sum())


def build(config: Config) -> Problem:
    s = config["problem"]
    n, coupling, field, ring = s["n"], s["J"], s["h"], s["ring"]
    reference = {
        "reference_energy": exact_energy(n, coupling, field, ring),
        "reference_name": "exact diagonalisation (free fermions)",
    }
    layers = config["model"]["layers"]
    wanted = circuit(config, n, {"tfim_variational": lambda n, layers: tfim_variational(n, layers, ring=ring)})
    model = Model(wanted, hamiltonian(n, coupling, field, ring))

    def start(rng: np.random.Generator) -> Params:
        if config["model"]["ansatz"] == "tfim_variational" and not config["model"]["gates"]:
            # An annealing ramp from the field's ground state |+...+> to the chain's, in steps of about half a unit of
            # time.
            ramp = (np.arange(layers) + 0.5) / max(layers, 1)
            theta = np.stack([ramp * np.sign(coupling or 1.0), (1 - ramp) * np.sign(field or 1.0)], axis=1).ravel()
            return {"theta": theta + 0.01 * rng.normal(size=theta.size)}
        return {"theta": 0.1 * rng.normal(size=model.n_params)}

    return Problem(model, Expectation(), start, reference=reference, judge=judge_energy(reference), circuit=wanted)


SPEC = Spec(
    "ground energy of the transverse-field Ising chain, any size",
    {
        "problem": {
            "name": Setting("tfim", "this problem"),
            "n": Setting(10, "spins", least=2, most=LARGEST),
            "J": Setting(1.0, "coupling of neighbours"),
            "h": Setting(1.0, "transverse field"),
            "ring": Setting(True, "whether the chain is closed"),
        },
        "model": model_settings("tfim_variational", 5),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=500),
    },
    build,
)
