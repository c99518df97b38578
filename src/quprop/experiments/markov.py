"""Proposition 5: a parameterised Markov chain, whose trajectories carry value and whole gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.classical import MarkovChain
from quprop.classical.omega import measure_omega, omega
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.plots import Picture, panels, picture

BITS, SEEN, TRAJECTORIES, FAILURE = 8, 4, 400, 0.1


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Chains of M random flips on 8 bits; omega in executed layers at equal accuracy, errors against exact values."""
    generator = generator_of(rng)
    sizes = [4, 32, 256] if quick else [4, 16, 64, 256, 1024, 4096]
    repeats = 60 if quick else 300
    rows = []
    for done, m in enumerate(sizes):
        progress(done, len(sizes), f"M = {m:,}")
        masks = 2 * generator.integers(1, 1 << (BITS - 1), m)
        masks[:: max(1, m // SEEN)] |= 1  # few layers flip the bit that is observed, so that the value does not fade
        chain = MarkovChain(BITS, [int(v) for v in masks], "Z0")
        theta = generator.normal(-1.0, 0.5, m)
        found = measure_omega(chain, theta, trajectories=TRAJECTORIES, repeats=repeats, rng=generator, failure=FAILURE)
        one = chain.gradient(theta, trajectories=20 * TRAJECTORIES, rng=generator)
        exact = chain.gradient_exact(theta)
        z = float(np.max(np.abs(one.grad - exact) / np.maximum(one.grad_stderr, 1e-300)))
        rows.append(
            {
                "M": m,
                "omega": found.omega,
                "layers_per_trajectory": found.layers_per_trajectory,
                "hoeffding": omega(m, 0.1, FAILURE),
                "largest_z": z,
            }
        )
    progress(len(sizes), len(sizes), "")
    return {
        "rows": rows,
        "findings": [
            "a gradient executes as many layers a trajectory as a value: "
            + ("yes" if all(r["layers_per_trajectory"] == 1 for r in rows) else "no"),
            f"omega at equal accuracy {rows[0]['omega']:.2f} at M = {rows[0]['M']}, {rows[-1]['omega']:.2f} at "
            f"M = {rows[-1]['M']:,}; guaranteed for any chain {rows[0]['hoeffding']:.2f} to "
            f"{rows[-1]['hoeffding']:.2f} (logarithm of M)",
            f"largest deviation from exact gradients: {max(r['largest_z'] for r in rows):.1f} standard errors, of up "
            f"to {sizes[-1]:,} components",
        ],
    }


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 5.6)
    rows = result["rows"]
    m = [r["M"] for r in rows]
    axes.plot(m, [r["omega"] for r in rows], "o-", markersize=4, label="measured, equal accuracy")
    axes.plot(m, [r["hoeffding"] for r in rows], "k--", linewidth=1, label="formula ln(2M/δ)/ln(2/δ)")
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("parameters")
    axes.set_ylabel("omega")
    return picture(figure, "Gradient of a Markov chain from the trajectories of its value")


EXPERIMENT = Experiment(
    "markov_chain",
    "a probabilistic model of M stochastic layers has backpropagation scaling",
    "Abbas et al., arXiv:2305.13362, Proposition 5",
    1,
    run,
    draw,
)
