"""Quantum backpropagation at fifty qubits: copies and hypothesis are matrix products, errors against exact gradients.

L layers of RX and RZ on all qubits and RZZ on a line, M = (3 n - 1) L small random angles, on qubits that start tilted.
F is a sum of Pauli strings of weight 4 side by side, or the energy of the Ising chain. No state vector of n + 1 qubits
fits a machine: exact gradients come from the light cones of the terms. Copies draw a term each, so that an error of
dF/da of a sum of norm N = sum |coefficients| is N times that of a copy.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.gradients import METHODS
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.plots import BLUE, Picture, panels, picture
from quprop.sampling.estimate import shown

FIELD = 1.0
KINDS = {  # tilt and azimuth of the start, spread of the sum of a qubit's angles, max_error, readings of a batch
    "strings": (1.5, -1.57, 0.3, 0.1, 100),
    "energy": (0.8, -0.8, 0.6, 0.25, 400),
}


def observable(kind: str, n: int) -> dict[str, float]:
    if kind == "energy":
        return {**{f"Z{q} Z{q + 1}": 1.0 for q in range(n - 1)}, **{f"X{q}": FIELD for q in range(n)}}
    return {" ".join(f"Y{q}" for q in range(first, first + 7, 2)): 1.0 for first in range(0, n - 7, 8)}


def chain(kind: str, n: int, layers: int, rng: np.random.Generator) -> tuple[Model, np.ndarray]:
    """The model and theta."""
    tilt, azimuth, spread, *_ = KINDS[kind]
    start = np.tile([math.cos(tilt / 2), math.sin(tilt / 2) * np.exp(1j * azimuth)], (n, 1))
    theta = params("theta", (3 * n - 1) * layers)
    circuit, angles = Circuit(n, start, params=theta), iter(theta)
    for _ in range(layers):
        for q in range(n):
            circuit.rx(next(angles), q)
        for q in range(n):
            circuit.rz(next(angles), q)
        for q in range(n - 1):
            circuit.rzz(next(angles), q, q + 1)
    model = Model(circuit, observable(kind, n))
    return model, rng.normal(size=model.n_params) * spread / math.sqrt(layers)


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    n, layers, bond = (8, 2, 16) if quick else (50, 7, 64)
    rows = []
    for done, kind in enumerate(KINDS):
        progress(done, len(KINDS), f"{kind}, n = {n}")
        model, theta = chain(kind, n, layers, generator)
        exact = simulate.value_and_grad(model, theta)[1]
        wanted, readings = KINDS[kind][3:]
        method = METHODS["quantum_backprop"](max_error=wanted, readings=int(readings), bond_dimension=bond)
        plan = method.compile(model)
        start = time.perf_counter()
        found = plan.estimate(theta, None, generator)
        error = np.abs(found.value - exact)
        kept = ("triggers", "batches", "copies_in_a_batch", "damage", "truncation", "beyond_the_readings")
        rows.append(
            {
                "observable": kind,
                "n": n,
                "M": model.n_rotations,
                "terms": len(model.observables[0]),
                "max_error": wanted,
                "within": float(np.mean(error <= wanted)),
                "worst": float(error.max()),
                "above": float(np.mean(np.abs(exact) > wanted)),
                "largest": float(np.abs(exact).max()),
                "seconds": time.perf_counter() - start,
                "claimed": plan.cost.copies,
                **{k: found.info[k] for k in kept},
                **found.cost.as_dict(),
                "exact": exact.tolist(),
                "estimate": found.value.tolist(),
            }
        )
    progress(len(KINDS), len(KINDS), "")
    return {"rows": rows, "findings": [_finding(r) for r in rows]}


def _finding(r: dict[str, Any]) -> str:
    return (
        f"n = {r['n']}, M = {r['M']:,}, {r['observable']} of {r['terms']} terms: {100 * r['within']:.2f} % of "
        f"components within {r['max_error']:g} (worst {r['worst']:.3g}), {100 * r['above']:.0f} % exceed it; "
        f"{r['triggers']} readings of {r['batches']} batches of {r['copies_in_a_batch']:,} copies, "
        f"{shown(r['damage'])}; cut bonds are off by {r['truncation']:.1g} of an expectation at most; "
        f"{r['seconds']:.0f} s"
    )


def draw(result: Result) -> Picture:
    rows = result["rows"]
    figure, axes = panels(len(rows), 4.8)
    for axis, r in zip(axes, rows, strict=True):
        exact, estimate = np.array(r["exact"]), np.array(r["estimate"])
        most = 1.05 * max(np.abs(exact).max(), np.abs(estimate).max())
        line = np.array([-most, most])
        axis.fill_between(line, line - r["max_error"], line + r["max_error"], color=BLUE, alpha=0.2, linewidth=0)
        axis.plot(exact, estimate, ".", color=BLUE, markersize=3)
        axis.set_xlabel("dF/da, exact from light cones")
        axis.set_ylabel("quantum backpropagation")
        axis.set_title(f"{r['observable']}, M = {r['M']:,}; band: {r['max_error']:g}", fontsize=9)
    return picture(figure, f"{rows[0]['n']} qubits, copies and hypothesis as matrix products")


EXPERIMENT = Experiment(
    "many_qubits",
    "quantum backpropagation past the state vector, with a hypothesis of few numbers",
    "Abbas et al., arXiv:2305.13362, section on approximate hypothesis states",
    30,
    run,
    draw,
)
