"""What is left to read at the end of a run that contracts: P, the chance of level 1 at the last time, and precision.

Without a force every deviation dies. At a factor 1/sqrt(2) a step, with N = 2 and T idle copies, ||u(T)||^2 is 2^-T
||u(0)||^2 and P falls as 2^-T up to the T + 1 copies of the last state: P 2^T = c (T + 1). C such runs read P C
copies, so the error of the final state relative to its own size is sqrt((r - 1)/(4 P C)), which grows as sqrt(2^T):
the "1/sqrt(2^T)" of a recovered precision. Amplitude amplification takes 1/sqrt(P) instead of 1/P runs, sqrt(2^T) for
2^T. With a force u(T) tends to a fixed point, P to a constant, and nothing of this is seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.carleman.maps.dynamics import Polynomial, from_tensors
from quprop.carleman.system.history import HistorySystem
from quprop.carleman.transfer.copies import expected_error
from quprop.carleman.transfer.download import read_out
from quprop.carleman.transfer.queries import amplify
from quprop.errors import generator_of
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, drawn, exponent, silent

FREE, DRIVEN = CASES = ("no force", "force")
FACTOR, ORDER, ENTRIES, RUNS, REPEATS = 2**-0.5, 2, 3, 10**8, 40


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    lengths = (2, 4, 8, 16) if quick else (2, 4, 8, 12, 16, 20)
    generator = generator_of(rng)
    rows: list[dict[str, Any]] = []
    for case in CASES:
        for steps in lengths:
            progress(len(rows), 2 * len(lengths), f"{case}, T = {steps}")
            step, start = contraction(case)
            history = HistorySystem(step, start, ORDER, steps)
            state = history.solve()
            chance, output = history.success_probability(state), history.estimate(state)
            copies = max(1, round(chance * RUNS / 3))  # support, magnitudes and signs
            output = output / np.linalg.norm(output)
            errors = [
                np.linalg.norm(read_out(output, copies=copies, rng=generator).vector - output) for _ in range(REPEATS)
            ]
            rows.append(
                {
                    "case": case,
                    "steps": steps,
                    "success": chance,
                    "times_power": chance * 2.0**steps,
                    "runs_repeated": 1 / chance,
                    "runs_amplified": amplify(chance).runs,
                    "error": float(np.sqrt(np.mean(np.square(errors)))),
                    "expected_error": expected_error(ENTRIES, copies),
                }
            )
    rates = {}
    for case in CASES:
        mine = [r for r in rows if r["case"] == case]
        for what in ("success", "error", "runs_amplified"):
            values = [r[what] / (r["steps"] + 1) ** (case == FREE and _power(what)) for r in mine]
            found = exponent(np.exp2([r["steps"] for r in mine]), values)
            rates[f"{case}, {what}"] = found
    return {
        "rows": rows,
        "rates": rates,
        "factor": FACTOR,
        "runs": RUNS,
        "panels": _panels(rows, lengths),
        "findings": _findings(rows, rates),
    }


def _power(what: str) -> float:
    """Of the T + 1 copies of the last state in each quantity."""
    return {"success": 1.0, "error": -0.5, "runs_amplified": -0.5}[what]


def contraction(case: str) -> tuple[Polynomial, np.ndarray]:
    """u' = u/sqrt(2), three parameters, from a start of norm 0.5, or from 0 with the force that holds 0.5."""
    direction = np.array([0.6, -0.5, 0.4])
    direction *= 0.5 / np.linalg.norm(direction)
    force = (1 - FACTOR) * direction if case == DRIVEN else np.zeros(ENTRIES)
    step = from_tensors([force, (FACTOR - 1) * np.eye(ENTRIES)])
    return step, direction if case == FREE else np.zeros(ENTRIES)


def _panels(rows: list[dict[str, Any]], lengths: Any) -> list[dict[str, Any]]:
    def curves(what: str) -> list[Any]:
        return [(c, list(lengths), [r[what] for r in rows if r["case"] == c], f"C{i}o-") for i, c in enumerate(CASES)]

    shape = {"x": "steps T", "log": "y", "ticks": list(lengths)}
    reference = ("2^-T", list(lengths), [2.0**-t for t in lengths], "k:")
    return [
        shape | {"y": "chance of the last time", "title": "success", "curves": [*curves("success"), reference]},
        shape | {"y": f"relative error, {RUNS:.0e} runs", "title": "precision", "curves": curves("error")},
    ]


def _findings(rows: list[dict[str, Any]], rates: dict[str, Any]) -> list[str]:
    found = []
    for case in CASES:
        mine = [r for r in rows if r["case"] == case]
        lengths = ", ".join(str(r["steps"]) for r in mine)
        powers = ", ".join(f"{r['times_power']:.3g}" for r in mine)
        found.append(
            f"{case}, T = {lengths}: P 2^T = {powers}; error of {RUNS:.0e} runs {mine[0]['error']:.2g} to "
            f"{mine[-1]['error']:.2g}; amplified runs a copy {mine[0]['runs_amplified']:.3g} to "
            f"{mine[-1]['runs_amplified']:.3g}"
        )
    s, e = rates[f"{FREE}, success"], rates[f"{FREE}, error"]
    found.append(
        f"without a force P/(T + 1) ~ 2^({s['slope']:.2f} T) and the error times sqrt(T + 1) ~ 2^({e['slope']:.2f} T): "
        "precision is worth T/2 bits less after T steps at this factor"
    )
    return found


EXPERIMENT = Experiment(
    "decay",
    "Without a force the output of a contracting run is lost as 2^-T, and with it precision as 1/sqrt(2^T).",
    LIU + ", discussion of readout",
    0.1,
    run,
    drawn("What is left of a contracting run"),
)
