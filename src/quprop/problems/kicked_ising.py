"""The kicked Ising circuit on the heavy-hex lattice of 127 qubits, each kick and each bond layer trained.

Steps of RX(a) on all qubits and RZZ(b) on the lattice's three layers of bonds, from |0...0>, as in Kim et al., Nature
618, 500 (2023), doi:10.1038/s41586-023-06096-3 (there a is fixed and b = -pi/2). The energy is that of

H = -J sum_<pq> Z_p Z_q - h sum_q X_q
"""

from __future__ import annotations

import json
from importlib.resources import files

import numpy as np

from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliSum
from quprop.problems.config import Config, Setting
from quprop.problems.energies import circuit, judge_energy, model_settings
from quprop.problems.ising_2d import Edges, parts
from quprop.problems.spec import Params, Problem, Spec, train_settings
from quprop.training.losses import Expectation

QUBITS = 127


def bonds() -> Edges:
    """Red, blue and green layers, one after another."""
    found = json.loads(files("quprop.problems").joinpath("data/heavy_hex_127.json").read_text())
    return [(a, b) for layer in ("red", "blue", "green") for a, b in found[layer]]


def kicked(n: int, layers: int) -> Circuit:
    """theta[step, (kick, bond)]."""
    theta = params("theta", 2 * layers)
    made = Circuit(n, params=theta)
    for step in range(layers):
        for q in range(n):
            made.rx(theta[2 * step], q)
        for a, b in bonds():
            made.rzz(theta[2 * step + 1], a, b)
    return made


def build(config: Config) -> Problem:
    s = config["problem"]
    wanted = circuit(config, QUBITS, {"kicked": kicked})
    zz, x = parts(QUBITS, bonds(), s["J"], s["h"])
    observable = PauliSum(s["observable"]) if s["observable"] else PauliSum({**dict(zz.items()), **dict(x.items())})
    model = Model(wanted, observable)

    def start(rng: np.random.Generator) -> Params:
        if config["model"]["ansatz"] == "kicked" and not config["model"]["gates"]:
            return {
                "theta": np.tile([s["kick"], s["bond"]], config["model"]["layers"])
                + 0.01 * rng.normal(size=model.n_params)
            }
        return {"theta": 0.1 * rng.normal(size=model.n_params)}

    reference = {"reference_name": "none (no closed form on this lattice)"}
    return Problem(model, Expectation(), start, reference=reference, judge=judge_energy(reference), circuit=wanted)


SPEC = Spec(
    "energy, or any observable, of the kicked Ising circuit on 127 qubits",
    {
        "problem": {
            "name": Setting("kicked-ising", "this problem"),
            "J": Setting(1.0, "coupling of neighbours"),
            "h": Setting(2.0, "transverse field"),
            "observable": Setting("", 'what is minimised instead of the energy, such as "Z62"'),
            "kick": Setting(-0.6, "angle of every kick that training starts from; the experiment's is up to pi/2"),
            "bond": Setting(-0.3, "angle of every bond that training starts from; the experiment's is -pi/2"),
        },
        "model": model_settings("kicked", 2),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=100),
    },
    build,
)
