"""Whether the promise holds: errors, damage and copies of many sweeps whose copies are followed through measurements.

Two parts. At 8 qubits all fluctuations of the copies are followed as Gaussians (511 modes), seed by seed: errors, what
measurements did in units of what the design allowed, what the engine says of its own error. And 200 sweeps of four
small models at failure = 0.1: how many have any component beyond what was promised for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import generator_of
from quprop.experiments.crossing import FAILURE, MAX_ERROR, near_identity
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.gradients import METHODS
from quprop.model import Model
from quprop.model.ansatz import commuting_generator, hardware_efficient, random_pauli_rotations
from quprop.plots import BLUE, Picture, panels, picture
from quprop.problems.tfim import hamiltonian
from quprop.sampling.estimate import shown

PROMISED = 0.1  # failure of the small sweeps
KINDS = ("near the identity", "random strings", "hardware efficient, Ising energy", "commuting strings")
ERROR = 0.25  # of the small sweeps, of the observable's norm


def small(kind: str, rng: np.random.Generator) -> tuple[Model, np.ndarray, float]:
    """A model of few qubits, a point and the error that is asked."""
    if kind == KINDS[0]:
        model, theta = near_identity(3, 8, rng)
    elif kind == KINDS[1]:
        model = Model(random_pauli_rotations(3, 60, rng), "Z0 Z1")
        theta = rng.uniform(-np.pi, np.pi, model.n_params)
    elif kind == KINDS[2]:
        model = Model(hardware_efficient(3, 4), hamiltonian(3, 1.0, 1.0, False))
        theta = rng.normal(0.0, 0.6, model.n_params)
    else:
        model = Model(commuting_generator(4), "Z0 Z1")
        theta = rng.normal(0.0, 0.4, model.n_params)
    return model, theta, ERROR * sum(abs(c) for _, c in model.observables[0].items())


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    n, layers, seeds = (3, 4, 2) if quick else (8, 64, 20)
    repeats = 5 if quick else 50
    steps = seeds + len(KINDS)
    rows = []
    for seed in range(seeds):
        progress(seed, steps, f"n = {n}, seed {seed}")
        model, theta = near_identity(n, layers, generator)
        rows.append(_row(model, theta, MAX_ERROR, FAILURE, generator) | {"n": n, "seed": seed})
    small_runs = {}
    for done, kind in enumerate(KINDS):
        progress(seeds + done, steps, kind)
        found = [_row(*small(kind, generator), PROMISED, generator) for _ in range(repeats)]
        small_runs[kind] = {
            "sweeps": repeats,
            "beyond": sum(r["beyond"] for r in found),
            "M": found[0]["M"],
            "triggers": float(np.mean([r["triggers"] for r in found])),
            "worst": max(r["worst"] for r in found),
            "damage": max(r["damage"] for r in found),
            "engine_error": max(r["engine_error"] for r in found),
        }
    progress(steps, steps, "")
    result = {"max_error": MAX_ERROR, "failure": FAILURE, "promised": PROMISED, "rows": rows, "small": small_runs}
    return result | {"findings": _findings(result)}


def _row(model: Model, theta: np.ndarray, error: float, failure: float, rng: np.random.Generator) -> dict[str, Any]:
    """worst: the largest error in units of what was promised for its component (max_error, or a larger stderr)."""
    exact = simulate.value_and_grad(model, theta)[1]
    plan = METHODS["quantum_backprop"](max_error=error, failure=failure).compile(model)
    found = plan.estimate(theta, None, rng)
    off = np.abs(found.value - exact)
    worst = float((off / np.maximum(error, found.stderr)).max())
    kept = ("triggers", "batches", "copies_in_a_batch", "readings_in_a_batch", "damage", "engine_error", "engines_used")
    return {
        "M": model.n_rotations,
        "worst": worst,
        "within": float(np.mean(off <= error)),
        "above": float(np.mean(np.abs(exact) > error)),
        "beyond": worst > 1,
        "claimed": plan.cost.copies,
        "copies": found.cost.copies,
        **{k: found.info[k] for k in kept},
    }


def _findings(result: Result) -> list[str]:
    rows, small_runs = result["rows"], result["small"]
    sweeps, beyond = (sum(r[k] for r in small_runs.values()) for k in ("sweeps", "beyond"))
    return [
        f"n = {rows[0]['n']}, M = {rows[0]['M']:,}, {len(rows)} seeds: {100 * min(r['within'] for r in rows):.2f} % of "
        f"components or more within {result['max_error']:g}, the largest error {max(r['worst'] for r in rows):.2f} of "
        f"it; {min(r['triggers'] for r in rows)} to {max(r['triggers'] for r in rows)} readings",
        f"in the worst batch {shown(max(r['damage'] for r in rows))}; the {rows[0]['engines_used']} engine is off by "
        f"{max(r['engine_error'] for r in rows):.2g} at most, by its own estimate",
        f"copies claimed are {max(r['claimed'] / r['copies'] for r in rows):.2f} times those used, at most",
        f"{beyond} of {sweeps} sweeps of four small models are off by more than was promised with probability "
        f"{result['promised']:g}",
    ]


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2)
    rows = result["rows"]
    x = np.arange(len(rows))
    left.plot(x, [r["worst"] for r in rows], "o", label="largest error / promised")
    left.plot(x, [r["damage"] for r in rows], "s", label="damage / allowed")
    left.axhline(1, color="k", linewidth=0.8, linestyle="--")
    left.set_ylim(0, 1.3)
    left.set_xlabel("seed")
    left.set_title(f"{rows[0]['n']} qubits, M = {rows[0]['M']:,}", fontsize=9)
    kinds = list(result["small"])
    y = np.arange(len(kinds))
    found = [result["small"][k] for k in kinds]
    right.barh(y, [r["worst"] for r in found], color=BLUE, height=0.5)
    right.axvline(1, color="k", linewidth=0.8, linestyle="--")
    labels = (k.replace(", ", ",\n") for k in kinds)
    right.set_yticks(
        y, [f"{k}\n{r['beyond']} of {r['sweeps']} beyond" for k, r in zip(labels, found, strict=True)], fontsize=7
    )
    right.set_xlim(0, 1.3 * max(1.0, *(r["worst"] for r in found)))
    right.set_xlabel("largest error / promised")
    right.set_title(f"small models, promised with probability {1 - result['promised']:g}", fontsize=9)
    return picture(figure, "Quantum backpropagation on copies that are followed through what measures them")


EXPERIMENT = Experiment(
    "followed",
    "sweeps on copies that outlive their triggers keep what they promise",
    "Abbas et al., arXiv:2305.13362, Theorem 9; Aaronson and Rothblum, arXiv:1904.08747",
    60,
    run,
    draw,
)
