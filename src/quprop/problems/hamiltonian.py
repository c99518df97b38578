"""The ground energy of any Hamiltonian a TOML file writes down, with a named ansatz or a circuit gate by gate."""

from __future__ import annotations

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.pauli import PauliSum
from quprop.problems.config import LARGEST, Config, Setting
from quprop.problems.energies import circuit, exact_reference, judge_energy, model_settings
from quprop.problems.spec import Params, Problem, Spec, train_settings
from quprop.training.losses import Expectation


def build(config: Config) -> Problem:
    terms = config["problem"]["terms"]
    if not terms:
        raise QupropError(
            'the problem `hamiltonian` needs its terms: write [problem.terms] with lines such as "Z0 Z1" = 1.0'
        )
    total = PauliSum(terms)
    n = config["problem"]["n"] or total.n_qubits
    if n < max(total.n_qubits, 1):
        raise QupropError(
            f"the Hamiltonian acts on {total.n_qubits} qubits, got problem.n = {n}: raise n or leave it out"
        )
    wanted = circuit(config, n, {})
    model = Model(wanted, total)
    if model.n_inputs:
        raise QupropError("an energy has no inputs, got gates with x[...]: use theta[...] or numbers")
    reference = exact_reference(total, n)

    def start(rng: np.random.Generator) -> Params:
        return {"theta": 0.1 * rng.normal(size=model.n_params)}

    return Problem(model, Expectation(), start, reference=reference, judge=judge_energy(reference), circuit=wanted)


SPEC = Spec(
    "ground energy of a Hamiltonian written in a TOML file",
    {
        "problem": {
            "name": Setting("hamiltonian", "this problem"),
            "terms": Setting({}, 'Pauli strings and coefficients, such as "Z0 Z1" = 1.0'),
            "n": Setting(0, "qubits; 0 takes as many as the terms touch", least=0, most=LARGEST),
        },
        "model": model_settings("hardware_efficient", 4),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=500),
    },
    build,
)
