"""One training step of a generative IQP circuit: quprop beside the dense product in JAX, and beside the same rearrangement in NumPy.

    python benchmarks/iqp.py --out benchmarks/results/iqp.json
    python benchmarks/iqp.py --only "n = 1,000, sigma 3.82" --repeats 5

A step is the unbiased estimate of MMD^2 and its gradient by all angles, for given operators, signs and data means: the same for
all rows of a workload, and values and gradients are compared before times count. All gates of one and two qubits.

dense JAX     operators x gates x samples as published (benchmarks/iqp_dense.py); IQPopt computes the same product
NumPy         one product n x n x samples and what lies inside each operator, plain NumPy with its BLAS on all cores
quprop        sampled means for all operators; "chosen": exact sums where they are cheaper, which is another estimate of the same loss

Each row has a process of its own that takes turns with the others; seconds are medians, bytes the peak of the process above its
start with everything imported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment

WORKLOADS = {
    "n = 64, sigma 5.66": (64, 5.66),
    "n = 128, sigma 8.0": (128, 8.0),
    "n = 256, sigma 11.31": (256, 11.31),
    "n = 1,000, sigma 11.17": (1000, 11.17),
    "n = 1,000, sigma 8.35": (1000, 8.35),
    "n = 1,000, sigma 3.82": (1000, 3.82),
}
ROWS = ("dense JAX", "NumPy", "quprop", "quprop single", "quprop chosen", "quprop, loss alone")
DENSE = 256  # qubits, beyond which the dense product takes minutes and more memory than there is
OPERATORS = SAMPLES = 1000
CLOSE = {"dense JAX": 1e-10, "NumPy": 1e-10, "quprop": 1e-10, "quprop single": 1e-4, "quprop, loss alone": 1e-10}


def work(n: int, sigma: float) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    p = (1 - np.exp(-1 / (2 * sigma**2))) / 2
    theta = 0.05 * rng.normal(size=n * (n + 1) // 2)
    data = (rng.random((2000, n)) < rng.random(n)).astype(np.uint8)
    ops = (rng.random((OPERATORS, n)) < p).astype(np.uint8)
    bits = rng.integers(0, 2, (n, SAMPLES)).astype(np.uint8)
    return {"n": n, "sigma": sigma, "theta": theta, "data": data, "ops": ops, "bits": bits}


def means(w: dict[str, Any]) -> np.ndarray:
    return 1 - 2 * ((w["data"].astype(np.float32) @ w["ops"].T.astype(np.float32)) % 2).mean(axis=0, dtype=float)


def numpy_step(w: dict[str, Any]) -> Any:
    """phi_a = sum_{i in a} s_i (theta_i + (Theta s)_i) - s_a^T Theta_aa s_a, and its adjoint."""
    n, m = w["n"], len(w["data"])
    pairs = np.triu_indices(n, 1)
    lists, t = [np.flatnonzero(a) for a in w["ops"]], means(w)
    s = 1.0 - 2.0 * w["bits"]

    def step() -> tuple[float, np.ndarray]:
        theta = w["theta"]
        matrix = np.zeros((n, n))
        matrix[pairs] = theta[n:]
        matrix += matrix.T
        base = s * (theta[:n, None] + matrix @ s)
        inner, weights, total = np.zeros((n, n)), np.zeros_like(s), 0.0
        for a, target in zip(lists, t, strict=True):
            own, block = s[a], np.ix_(a, a)
            phi = base[a].sum(axis=0) - np.einsum("is,is->s", own, matrix[block] @ own)
            c = np.cos(2 * phi)
            e, q = c.mean(), (c * c).mean()
            total += (SAMPLES * e * e - q) / (SAMPLES - 1) - 2 * target * e + (m * target**2 - 1) / (m - 1)
            y = -2 * np.sin(2 * phi) * ((2 * SAMPLES * e - 2 * c) / (SAMPLES - 1) - 2 * target) / (SAMPLES * OPERATORS)
            weights[a] += y
            inner[block] -= 2 * (own * y) @ own.T
        weights *= s
        both = weights @ s.T
        both = both + both.T + inner
        return total / OPERATORS, np.concatenate([weights.sum(axis=1), both[pairs]])

    return step


def jax_step(w: dict[str, Any]) -> Any:
    import iqp_dense
    import jax
    import jax.numpy as jnp

    arguments = [w["theta"], iqp_dense.all_gates(w["n"]), w["ops"].astype(float), means(w), 1.0 - 2.0 * w["bits"].T]
    held = [jnp.asarray(a) for a in arguments]

    def step() -> Any:
        return jax.block_until_ready(iqp_dense.dense_value_and_gradient(*held, len(w["data"])))

    return step


def quprop_step(w: dict[str, Any], row: str) -> Any:
    import quprop as qpr
    from quprop.model import ansatz
    from quprop.model.x_rotations import Subsets
    from quprop.training.mmd import MMD

    model = qpr.Model(ansatz.iqp(w["n"]), "Z0")
    loss = MMD(w["data"], w["sigma"], operators=OPERATORS, samples=SAMPLES, exact=False)
    over = loss.over(model, precision="single" if "single" in row else "double")
    subsets, options = Subsets.of_rows(w["ops"]), {"gradient": "alone" not in row, "summed": "chosen" in row}
    return lambda: over.estimate(w["theta"], subsets, w["bits"], **options)


def made(row: str, w: dict[str, Any]) -> Any:
    if row == "dense JAX":
        return jax_step(w)
    return numpy_step(w) if row == "NumPy" else quprop_step(w, row)


def serve(row: str, workload: str) -> None:
    """Answers each line of standard input with one step: its seconds, and the first time its numbers."""
    step = made(row, work(*WORKLOADS[workload]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    value, gradient = step()
    first = time.perf_counter() - start
    np.save(f"/tmp/iqp-{os.getpid()}.npy", np.append(np.asarray(gradient, float).ravel(), float(value)))
    print(json.dumps({"first": first, "saved": f"/tmp/iqp-{os.getpid()}.npy"}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"seconds": seconds, "bytes": 1024 * (peak - before), "process": 1024 * peak}), flush=True)


def measure(workload: str, repeats: int) -> list[dict[str, Any]]:
    n, _ = WORKLOADS[workload]
    rows = [r for r in ROWS if r != "dense JAX" or n <= DENSE]
    environment_ = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    command = [sys.executable, __file__, "--workload", workload, "--serve"]
    found, wanted = {r: [] for r in rows}, None
    running, told = {}, {}
    try:
        for r in rows:
            running[r] = subprocess.Popen([*command, r], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment_)
            told[r] = json.loads(running[r].stdout.readline())
            numbers = np.load(told[r]["saved"])
            os.remove(told[r]["saved"])
            wanted = numbers if wanted is None else wanted
            if r in CLOSE:
                compared = slice(-1, None) if "alone" in r else slice(None)
                off = np.abs(numbers[compared] - wanted[compared]).max() / np.abs(wanted).max()
                if not off <= CLOSE[r]:
                    raise SystemExit(f"{r} differs from {rows[0]} by {off:.1e} on {workload}")
                told[r]["difference"] = float(off)
        for _ in range(repeats):
            for r in rows:
                running[r].stdin.write("\n")
                running[r].stdin.flush()
                found[r].append(json.loads(running[r].stdout.readline()))
    finally:
        for process in running.values():
            process.kill()
    return [
        {
            "workload": workload,
            "row": r,
            "parameters": n * (n + 1) // 2,
            "seconds": statistics.median(f["seconds"] for f in found[r]),
            "fastest": min(f["seconds"] for f in found[r]),
            "first": told[r]["first"],
            "bytes": max(f["bytes"] for f in found[r]),
            "process_bytes": max(f["process"] for f in found[r]),
            "difference": told[r].get("difference"),
        }
        for r in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=WORKLOADS)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", choices=ROWS, help=argparse.SUPPRESS)
    parser.add_argument("--workload", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.workload)
        return
    record, rows = environment({"python": sys.executable}), []
    for workload in [options.only] if options.only else WORKLOADS:
        rows += measure(workload, options.repeats)
        own = next(r for r in rows if r["workload"] == workload and r["row"] == "quprop")["seconds"]
        for r in rows:
            if r["workload"] == workload:
                print(f"{workload:24} {r['row']:20} {1e3 * r['seconds']:9.1f} ms  {r['seconds'] / own:7.1f} x  {r['bytes'] / 1e6:7.0f} MB")
    if options.out:
        options.out.write_text(json.dumps({"environment": record, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
