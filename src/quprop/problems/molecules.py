"""Ground-state energies of molecules by a coupled-cluster circuit: h2 and lih from shipped Hamiltonians, h2o computed
by PySCF."""

from __future__ import annotations

import functools

import numpy as np

from quprop.model import Model
from quprop.model.ansatz import uccsd
from quprop.problems import chem
from quprop.problems.config import Config, Setting
from quprop.problems.energies import circuit, judge_energy, model_settings
from quprop.problems.spec import Params, Problem, Spec, train_settings
from quprop.training.losses import Expectation

CHEMICAL_ACCURACY = 1.6e-3  # Hartree, 1 kcal/mol


def build(name: str, config: Config) -> Problem:
    molecule, origin = chem.load(name)
    n = molecule.n_qubits
    wanted = circuit(config, n, {"uccsd": lambda n, layers: uccsd(n, molecule.n_electrons, layers)})
    model = Model(wanted, molecule.hamiltonian)
    reference = {
        "reference_energy": molecule.fci_energy,
        "reference_name": "exact diagonalisation (full configuration interaction)",
        "hartree_fock_energy": molecule.hartree_fock_energy,
        "energy_unit": "Hartree",
        **origin,
    }

    def start(rng: np.random.Generator) -> Params:
        if config["model"]["ansatz"] == "uccsd" and not config["model"]["gates"]:
            return {
                "theta": np.zeros(model.n_params)
            }  # the Hartree-Fock state, from where every excitation has a slope of its own
        return {"theta": 0.1 * rng.normal(size=model.n_params)}

    def judge(params: Params, loss: float, metrics: dict[str, float]) -> dict[str, object]:
        entries = judge_energy(reference)(params, loss, metrics)
        return {**entries, "chemical_accuracy": bool(entries["energy_error"] <= CHEMICAL_ACCURACY)}

    return Problem(model, Expectation(), start, reference=reference, judge=judge, circuit=wanted)


def _spec(name: str, note: str) -> Spec:
    geometry = chem.GEOMETRIES[name]
    return Spec(
        f"energy of {geometry.title} in {geometry.basis.upper()}, {note}",
        {
            "problem": {"name": Setting(name, "this problem")},
            "model": model_settings("uccsd", 1),
            "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=200),
        },
        functools.partial(build, name),
    )


H2, LIH, H2O = _spec("h2", "4 qubits"), _spec("lih", "12 qubits"), _spec("h2o", "14 qubits (needs quprop[chem])")
