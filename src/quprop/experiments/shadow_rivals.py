"""Shadow tomography beside single copies, pairs and one by one: copies for all Pauli strings of n qubits.

A GHZ state, all 4^n - 1 strings, acceptance probabilities to eps, each way with the copies its theorem asks for.
"""

from __future__ import annotations

from typing import Any

from quprop.collective.rivals import compare
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.experiments.triggers import all_strings, state_of
from quprop.plots import Picture, hue, panels, picture

EPS, FAILURE = 0.2, 0.01
SIMULATED = 100_000  # single copies of shadows that are drawn; beyond it only counted


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    generator = generator_of(rng)
    qubits = (2, 3, 4) if quick else (2, 3, 4, 5, 6)
    rows = []
    for done, n in enumerate(qubits):
        progress(done, len(qubits), f"n = {n}")
        most = 100_000 if quick else SIMULATED
        found = compare(
            state_of("GHZ", n, generator),
            all_strings(n),
            eps=EPS,
            failure=FAILURE,
            rng=generator,
            most_copies=most,
        )
        rows += [{"n": n, "events": 4**n - 1, **r._asdict()} for r in found]
    progress(len(qubits), len(qubits), "")
    last = {r["name"]: r for r in rows if r["n"] == qubits[-1]}
    best = min(last.values(), key=lambda r: r["copies"])
    seen = [r["error"] for r in rows if r["error"] is not None]
    return {
        "eps": EPS,
        "failure": FAILURE,
        "rows": rows,
        "findings": [
            f"n = {qubits[-1]}, {name}: {r['copies']:.3g} copies" + (f" ({r['note']})" if r["note"] else "")
            for name, r in last.items()
        ]
        + [
            f"fewest copies for all strings of {qubits[-1]} qubits: {best['name']}",
            f"largest error of all that was run: {max(seen):.3f}, eps = {EPS:g}",
        ],
    }


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 6.0, 4.2)
    for index, name in enumerate(dict.fromkeys(r["name"] for r in result["rows"])):
        mine = [r for r in result["rows"] if r["name"] == name]
        axes.plot(
            [r["events"] for r in mine], [r["copies"] for r in mine], "o-", color=hue(index), markersize=4, label=name
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("Pauli strings 4^n - 1")
    axes.set_ylabel("copies")
    return picture(figure, f"All Pauli strings of a GHZ state, probabilities to {result['eps']:g}")


EXPERIMENT = Experiment(
    "shadow_rivals",
    "copies for all Pauli strings: log^2 of their number by shadow tomography, 3^n by local shadows",
    "Badescu and O'Donnell, arXiv:2011.10908; Huang, Kueng, Preskill, arXiv:2002.08953 and 2101.02464",
    1,
    run,
    draw,
)
