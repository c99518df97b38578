"""Is drawing shots the bottleneck? Seconds for one parameter-shift gradient, n = 12, M = 204, 1,000 shots a run.

    python benchmarks/sampling.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np

import quprop as qpr


def main() -> None:
    circuit = qpr.ansatz.hardware_efficient(12, 8, final=("ry",))
    terms = {f"Z{i} Z{i + 1}": 1.0 for i in range(11)} | {f"X{i}": 0.7 for i in range(12)}
    model = qpr.Model(circuit, qpr.PauliSum(terms))
    plan = qpr.ParameterShift(shots=1000).compile(model)
    theta = np.random.default_rng(0).uniform(-1, 1, model.n_params)
    print(plan)
    plan.estimate(theta, rng=0)
    seconds = []
    for seed in range(5):
        start = time.perf_counter()
        plan.estimate(theta, rng=seed)
        seconds.append(time.perf_counter() - start)
    print(f"M = {model.n_rotations}: {statistics.median(seconds):.2f} s a gradient (median of {len(seconds)})")


if __name__ == "__main__":
    main()
