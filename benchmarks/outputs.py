"""What outputs of states cost beside a gradient: value and gradient of each, over `value_and_grad` of the same model.

    python benchmarks/outputs.py --out benchmarks/results/outputs.json

The model is quprop.ansatz.hardware_efficient with 4 layers and Z0; outputs are differentiated by `qpr.output_vjp`
with a random cotangent. Seconds are medians of turns in which all rows take part: what else runs slows all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from environment import environment

import quprop as qpr
from quprop.outputs import Entropy, Output, Probabilities, Purity, ReducedState

LIMIT = 2.5  # of reduced states and probabilities
ROWS: dict[str, Output | None] = {
    "value_and_grad": None,
    "probabilities": Probabilities(),
    "marginals of 3": Probabilities([0, 4, 8]),
    "reduced state of 3, together": ReducedState([0, 1, 2]),
    "reduced state of 3, apart": ReducedState([0, 4, 8]),
    "purity of 3": Purity([0, 4, 8]),
    "entropy of 3": Entropy([0, 4, 8]),
    "entropy of 5": Entropy([0, 1, 2, 3, 4]),
}


def step(model: qpr.Model, output: Output | None, theta: np.ndarray) -> Callable[[], object]:
    if output is None:
        return lambda: qpr.value_and_grad(model, theta)
    size = output.shape(model.n_qubits)
    cotangent = np.random.default_rng(0).normal(size=size)

    def run() -> None:
        _, pullback = qpr.output_vjp(model, output, theta)
        pullback(cotangent)

    return run


def measure(n: int, repeats: int) -> list[dict[str, float | int | str]]:
    model = qpr.Model(qpr.ansatz.hardware_efficient(n, 4), "Z0")
    theta = np.random.default_rng(n).uniform(-np.pi, np.pi, model.n_params)
    steps = {name: step(model, output, theta) for name, output in ROWS.items()}
    first = {}
    for name, run in steps.items():
        start = time.perf_counter()
        run()
        first[name] = time.perf_counter() - start
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, run in steps.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["value_and_grad"])
    return [
        {
            "qubits": n,
            "row": name,
            "parameters": model.n_params,
            "seconds": statistics.median(found),
            "fastest": min(found),
            "first": first[name],
            "ratio": statistics.median(found) / base,
        }
        for name, found in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--qubits", type=int, nargs="+", default=[10, 16, 20])
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    found = {"environment": environment({"python": sys.executable}), "limit": LIMIT, "rows": []}
    for n in arguments.qubits:
        rows = measure(n, arguments.repeats)
        found["rows"] += rows
        for row in rows:
            print(f"{n:3} qubits  {row['row']:30} {1e3 * row['seconds']:9.2f} ms {row['ratio']:6.2f}")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
