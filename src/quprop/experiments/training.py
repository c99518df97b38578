"""(h) A model trained end to end with estimated gradients beside exact ones: loss against steps, and against copies.

The ground state of the transverse-field Ising chain by a hardware-efficient circuit and Adam, all runs from one start;
the loss that is drawn is exact. Gradients have the same largest error, and quantum backpropagation half of it besides:
errors of parameter shift and of gentle readings scatter from step to step and average out, those of quantum
backpropagation are biases of predictions that nothing contradicts, so that its training ends where gradients sink into
max_error. A warm start keeps what was learned of the input state, and soon has hardly anything left to read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.gradients import METHODS
from quprop.model import Model
from quprop.model.ansatz import hardware_efficient
from quprop.plots import Picture, hue, panels, picture
from quprop.problems.tfim import exact_energy, hamiltonian
from quprop.training.optimise import adam
from quprop.training.train import train

MAX_ERROR = 0.1  # of components of norm up to sum |c_t| = 2 n - 1
RATE = 0.1
SHIFT, COLD, WARM, FINER = (
    "parameter shift",
    "quantum backpropagation",
    "the same, warm start",
    "warm start, half the error",
)
_OURS: dict[str, Any] = {"max_error": MAX_ERROR, "engine": MeanFieldEngine()}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "exact": ("adjoint", {}),
    SHIFT: ("parameter_shift", {"max_error": MAX_ERROR}),
    "gentle sweep": ("gentle_sweep", {"max_error": MAX_ERROR}),
    COLD: ("quantum_backprop", _OURS),
    WARM: ("quantum_backprop", {**_OURS, "warm_start": True}),
    FINER: ("quantum_backprop", {**_OURS, "warm_start": True, "max_error": MAX_ERROR / 2}),
}


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    n, layers, steps = (3, 2, 20) if quick else (4, 4, 100)
    model = Model(hardware_efficient(n, layers), hamiltonian(n, 1.0, 1.0, False))
    start = generator.normal(0.0, 0.3, model.n_params)
    seed = int(generator.integers(2**31))
    runs: dict[str, dict[str, Any]] = {}
    for done, (label, (name, settings)) in enumerate(RUNS.items()):
        progress(done, len(RUNS), label)
        found = train(
            model,
            "expectation",
            optimiser=adam(RATE),
            params=start,
            steps=steps,
            method=METHODS[name](**settings),
            rng=seed,
        )
        runs[label] = {
            "loss": [float(line["loss"]) for line in found.history],
            "copies": [int(line["copies"]) for line in found.history],
            "rotations": [int(line["rotations"]) for line in found.history],
            "final": float(found.loss),
        }
    progress(len(RUNS), len(RUNS), "")
    ground = exact_energy(n, 1.0, 1.0, False)
    cold, warm = (runs[k]["copies"][-1] for k in (COLD, WARM))
    for r in runs.values():
        r["reached"] = reached(r, runs[SHIFT]["final"])
    return {
        "n": n,
        "M": model.n_rotations,
        "steps": steps,
        "max_error": MAX_ERROR,
        "ground": ground,
        "runs": runs,
        "findings": [
            f"{label}: energy {r['final']:.4f} (ground {ground:.4f}) after {r['copies'][-1]:.3g} copies"
            for label, r in runs.items()
        ]
        + [
            f"a warm start takes {warm / cold:.2f} of the copies",
            *(
                f"{label} reaches the energy at which {SHIFT} ends after {r['reached']:.3g} copies"
                if r["reached"] is not None
                else f"{label} does not reach the energy at which {SHIFT} ends"
                for label, r in runs.items()
                if label in (COLD, WARM, FINER)
            ),
        ],
    }


def reached(r: dict[str, Any], energy: float) -> int | None:
    """Copies spent when the loss was at `energy` or lower for the first time; the loss of a line is before its step."""
    spent = [0, *r["copies"]]
    return next((c for c, e in zip(spent, [*r["loss"], r["final"]], strict=True) if e <= energy), None)


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2, 4.8)
    for index, (label, r) in enumerate(result["runs"].items()):
        above = np.maximum(np.array(r["loss"]) - result["ground"], 1e-6)
        left.plot(np.arange(len(above)), above, color=hue(index), linewidth=1.2, label=label)
        if r["copies"][-1]:
            before = [1, *r["copies"][:-1]]  # the loss of a line is that before its step
            right.plot(before[1:], above[1:], color=hue(index), linewidth=1.2, label=label)
    right.set_xscale("log")
    left.set_xlabel("steps")
    right.set_xlabel("copies used so far")
    for axes in (left, right):
        axes.set_yscale("log")
        axes.set_ylabel("energy above the ground state")
    title = f"Ising chain, {result['n']} qubits, M = {result['M']}, gradients to {result['max_error']:g}"
    return picture(figure, title)


EXPERIMENT = Experiment(
    "training",
    "a model trains on gradients of quantum backpropagation, down to where they sink into its error",
    "Abbas et al., arXiv:2305.13362, Theorem 9",
    2,
    run,
    draw,
)
