"""(c) Triggers of online shadow tomography against the qubits and the accuracy, beside the bound on mistakes.

Three states of n qubits, and all 4^n - 1 Pauli strings asked in random order:

    GHZ       2^n strings at +-1: few mistakes, each of gap 1/2, whatever the accuracy is
    product   spins along (1, 1, 1): expectations 3^(-w/2) for strings of weight w, at every scale
    random    Haar: all strings near 2^(-n/2)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quprop.collective.event import Event
from quprop.collective.shadow_tomography import ShadowTomography
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.model.pauli import PauliString
from quprop.plots import MARKS, Picture, hue, panels, picture
from quprop.sampling.estimate import shown

STATES = ("GHZ", "product", "random")
BASE_EPS, BASE_QUBITS = 0.1, 4


def state_of(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "GHZ":
        psi = np.zeros(2**n, complex)
        psi[[0, -1]] = math.sqrt(0.5)
        return psi
    if kind == "product":
        polar = math.acos(3**-0.5)
        spin = np.array([math.cos(polar / 2), math.sin(polar / 2) * np.exp(0.25j * math.pi)])
        psi = np.ones(1, complex)
        for _ in range(n):
            psi = np.kron(spin, psi)
        return psi
    psi = rng.normal(size=2**n) + 1j * rng.normal(size=2**n)
    return psi / np.linalg.norm(psi)


def all_strings(n: int) -> list[Event]:
    return [Event(PauliString(x, z)) for x in range(2**n) for z in range(2**n) if x or z]


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    qubits = (2, 3, 4) if quick else (2, 3, 4, 5, 6)
    accuracies = (0.05, 0.1, 0.2) if quick else (0.025, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28)
    repeats = 1 if quick else 3
    points = [(n, BASE_EPS) for n in qubits] + [(BASE_QUBITS, e) for e in accuracies if e != BASE_EPS]
    tasks = [(kind, n, e) for n, e in points for kind in STATES for _ in range(repeats)]
    rows: list[dict[str, Any]] = []
    for done, (kind, n, eps) in enumerate(tasks):
        progress(done, len(tasks), f"{kind}, n = {n}, eps = {eps:g}")
        psi, events = state_of(kind, n, generator), all_strings(n)
        generator.shuffle(events)
        found = ShadowTomography(eps=eps).run(psi, events, generator)
        truth = np.array([float(e.mean(psi)) for e in events])
        rows.append(
            {
                "state": kind,
                "n": n,
                "eps": eps,
                "triggers": len(found.triggers),
                "updates": found.updates,
                "bound": found.budget.updates,
                "copies": found.copies,
                "error": float(np.abs(found.estimates - truth).max()),
                "damage": found.damage,
            }
        )
    progress(len(tasks), len(tasks), "")
    most = max(r["updates"] / r["bound"] for r in rows)
    kept = all(r["error"] <= r["eps"] for r in rows)
    return {
        "rows": rows,
        "findings": [
            f"corrections stay below {most:.2f} of the bound 8 n ln 2 / eps^2 in all {len(rows)} runs",
            f"all estimates within eps: {'yes' if kept else 'no'}; in the worst batch "
            + shown(max(r["damage"] for r in rows)),
        ],
    }


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2)
    rows = result["rows"]
    for index, kind in enumerate(STATES):
        mine = [r for r in rows if r["state"] == kind]
        by_n = [(r["n"], r["triggers"]) for r in mine if r["eps"] == BASE_EPS]
        by_eps = [(r["eps"] ** -2, r["triggers"]) for r in mine if r["n"] == BASE_QUBITS]
        left.plot(*zip(*sorted(by_n), strict=True), MARKS[index], color=hue(index), label=f"{kind}, measured")
        right.plot(*zip(*sorted(by_eps), strict=True), MARKS[index], color=hue(index), label=f"{kind}, measured")
    for axes, key, x in ((left, "n", lambda r: r["n"]), (right, "eps", lambda r: r["eps"] ** -2)):
        other = {"n": ("eps", BASE_EPS), "eps": ("n", BASE_QUBITS)}[key]
        bound = sorted({(x(r), r["bound"]) for r in rows if r[other[0]] == other[1]})
        axes.plot(*zip(*bound, strict=True), "k--", linewidth=1, label="bound 8 n ln 2 / eps²")
        axes.set_yscale("log")
        axes.set_ylabel("triggers")
    left.set_xticks(sorted({r["n"] for r in rows}))
    left.set_xlabel(f"qubits n (eps = {BASE_EPS:g})")
    right.set_xlabel(f"1/eps² (n = {BASE_QUBITS})")
    right.set_xscale("log")
    ticks = sorted({round(r["eps"] ** -2) for r in rows if r["n"] == BASE_QUBITS})
    right.set_xticks(ticks[::2], [str(t) for t in ticks[::2]])
    return picture(figure, "Triggers of online shadow tomography, all Pauli strings")


EXPERIMENT = Experiment(
    "triggers",
    "triggers stay below O(n/eps^2), however many strings are asked",
    "Aaronson et al., arXiv:1802.09025; Badescu and O'Donnell, arXiv:2011.10908",
    1.5,
    run,
    draw,
)
