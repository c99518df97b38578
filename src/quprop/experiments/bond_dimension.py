"""(f) Triggers of a compressed hypothesis: matrix products of growing bond dimension beside the exact one.

Output states of shallow random circuits on a line, and all Pauli strings on up to three neighbouring qubits, asked in
random order. A hypothesis too small to follow costs triggers, never a wrong answer: every prediction is checked.

Matrix products learn a value by steps, and may forget earlier ones. A dense hypothesis that learns so is what they come
to as the bond dimension grows; one of maximum entropy, which keeps all values, needs fewer triggers still.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.collective.event import Event
from quprop.collective.hypothesis import DenseHypothesis, MatrixProductHypothesis
from quprop.collective.hypothesis.protocol import learn_by_steps
from quprop.collective.shadow_tomography import ShadowTomography
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.model.pauli import PauliString
from quprop.plots import Picture, hue, panels, picture
from quprop.simulate.vectors import rotate

EPS = 0.1
STEPS, ENTROPY = "steps", "maximum entropy"  # how values are learned
PASSES = 2  # times the list is asked: a hypothesis that has learnt is silent the second time


class StepwiseDense(DenseHypothesis):
    """Exact, and learns as matrix products do."""

    def learn(self, pauli: PauliString, value: float, error: float) -> None:
        learn_by_steps(self, pauli, value, error)


def shallow_state(n: int, layers: int, rng: np.random.Generator) -> np.ndarray:
    """Random turns of all qubits, then exp(-i angle/2 ZZ) on neighbours in brickwork, `layers` times."""
    psi = np.zeros(2**n, complex)
    psi[0] = 1.0
    for layer in range(layers + 1):
        for q in range(n):
            for pauli in (PauliString(1 << q, 1 << q), PauliString(0, 1 << q)):
                psi = rotate(pauli, float(rng.normal()), psi)
        if layer < layers:
            for q in range(layer % 2, n - 1, 2):
                psi = rotate(PauliString(0, 3 << q), float(rng.uniform(0.5, 1.5)), psi)
    return psi


def local_strings(n: int, reach: int = 3) -> list[Event]:
    """All strings whose qubits lie within `reach` neighbours, without the identity."""
    found = {}
    for q in range(n - reach + 1):
        for x in range(1 << reach):
            for z in range(1 << reach):
                if x or z:
                    found[x << q, z << q] = Event(PauliString(x << q, z << q))
    return list(found.values())


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    n, depths = (5, (0, 2)) if quick else (8, (0, 1, 2, 4))
    bonds = (1, 2, 4, 8) if quick else (1, 2, 4, 8, 16, 32)
    repeats = 1 if quick else 2
    kinds = [*((chi, STEPS) for chi in (*bonds, 0)), (0, ENTROPY)]  # 0: dense
    tasks = [(d, i, chi, learning) for d in depths for i in range(repeats) for chi, learning in kinds]
    rows: list[dict[str, Any]] = []
    for done, (depth, i, chi, learning) in enumerate(tasks):
        progress(done, len(tasks), f"depth {depth}, " + (f"bond dimension {chi}" if chi else f"dense, {learning}"))
        if chi == bonds[0]:
            psi, events = shallow_state(n, depth, generator), local_strings(n)
            generator.shuffle(events)
            truth = np.array([float(e.mean(psi)) for e in events])
        dense = StepwiseDense if learning == STEPS else DenseHypothesis
        hypothesis = MatrixProductHypothesis(n, chi) if chi else dense(n)
        found = ShadowTomography(eps=EPS, hypothesis=hypothesis).run(psi, PASSES * events, generator)
        rows.append(
            {
                "n": n,
                "depth": depth,
                "instance": i,
                "bond": chi,
                "learning": learning,
                "events": len(events),
                "first": sum(t.event < len(events) for t in found.triggers),
                "second": sum(t.event >= len(events) for t in found.triggers),
                "updates": found.updates,
                "bound": found.budget.updates,
                "copies": found.copies,
                "error": float(np.abs(found.estimates - np.tile(truth, PASSES)).max()),
                "discarded": float(getattr(hypothesis, "discarded", 0.0)),
                "classical_ops": int(found.hypothesis.classical_ops),
            }
        )
    progress(len(tasks), len(tasks), "")
    lines = []
    for depth in depths:
        mine = [r for r in rows if r["depth"] == depth]
        mean = {k: np.mean([r["first"] + r["second"] for r in mine if (r["bond"], r["learning"]) == k]) for k in kinds}
        text = ", ".join(f"{chi or f'dense by {learning}'}: {value:.0f}" for (chi, learning), value in mean.items())
        lines.append(f"{depth} entangling layers, triggers by bond dimension: {text}")
    lines.append(f"largest error {max(r['error'] for r in rows):.3f} at every bond dimension, eps = {EPS:g}")
    return {"eps": EPS, "passes": PASSES, "rows": rows, "findings": lines}


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2)
    rows = result["rows"]
    for index, depth in enumerate(sorted({r["depth"] for r in rows})):
        mine = [r for r in rows if r["depth"] == depth]
        bonds = sorted({r["bond"] for r in mine if r["bond"]})
        for axes, key in ((left, "first"), (right, "second")):
            mean = [np.mean([r[key] for r in mine if r["bond"] == chi]) for chi in bonds]
            axes.plot(bonds, mean, "o-", markersize=4, linewidth=1, color=hue(index), label=f"{depth} layers")
            for learning, style in ((STEPS, "--"), (ENTROPY, ":")):
                dense = [r[key] for r in mine if not r["bond"] and r.get("learning", STEPS) == learning]
                if dense:
                    axes.axhline(float(np.mean(dense)), linestyle=style, linewidth=1, color=hue(index))
    left.set_title("first time through the list", fontsize=9)
    right.set_title("second time", fontsize=9)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("bond dimension (dashed: dense, dotted: of maximum entropy)")
        axes.set_ylabel("triggers")
        axes.set_ylim(bottom=0)
    title = f"Triggers of a matrix-product hypothesis, n = {rows[0]['n']}, {rows[0]['events']} local strings"
    return picture(figure, title)


EXPERIMENT = Experiment(
    "bond_dimension",
    "a hypothesis of small bond dimension costs triggers, not accuracy",
    "suggested by Abbas et al., arXiv:2305.13362, for states of low entanglement",
    1,
    run,
    draw,
)
