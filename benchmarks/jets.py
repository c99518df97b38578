"""What a loss with second derivatives in the data costs: u_xx at many points, and the gradient of a loss of it.

    python benchmarks/jets.py --out benchmarks/results/jets.json

One core. first call: a process of its own, from before the model is built to the gradient's return, imports left out. ratio: over
`value_and_grad` of the same model, points and precision.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from environment import environment

CODE = """
import quprop as qpr, numpy as np, sys, time
n, layers, points, repeats = map(int, sys.argv[1:])
start = time.perf_counter()
theta, x = qpr.params("theta", 2 * n * layers), qpr.inputs("x", 1)
circuit = qpr.Circuit(n)
for layer in range(layers):
    for q in range(n):
        circuit.ry(theta[2 * n * layer + q] + (x[0] if layer == 0 else 0 * x[0]), q)
        circuit.rx(theta[2 * n * layer + n + q], q)
    for q in range(n):
        circuit.cz(q, (q + 1) % n)
model = qpr.Model(circuit, qpr.PauliSum({f"Z{q}": 1.0 for q in range(n)}))
rng = np.random.default_rng(0)
a, at = rng.uniform(-1, 1, model.n_params), np.linspace(0, 1, points)[:, None]
def loss():
    u = qpr.jet(model, a, at, [1.0], threads=1)
    u_xx = u.values[2]
    return np.mean(u_xx**2), u.pullback([None, None, 2 * u_xx / len(at)], sum_theta=True)[0]
loss()
first = time.perf_counter() - start
def median(f):
    f()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        f()
        times.append(time.perf_counter() - begun)
    return np.median(times)
later = median(loss)
plain = median(lambda: qpr.value_and_grad(model, a, at, threads=1))
print(model.n_rotations, first, later, plain)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="processes")
    parser.add_argument("--out", help="JSON file")
    options = parser.parse_args()
    found: dict = {"environment": environment({"quprop": sys.executable}), "rows": []}
    for n, layers, points, repeats in ((6, 4, 32, 50), (12, 4, 1, 30), (16, 4, 1, 5)):
        runs = []
        for _ in range(options.repeats):
            arguments = [sys.executable, "-c", CODE, *map(str, (n, layers, points, repeats))]
            done = subprocess.run(arguments, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            runs.append([float(word) for word in done.stdout.split()])
        rotations, first, later, plain = (statistics.median(column) for column in zip(*runs, strict=True))
        row = {
            "n_qubits": n,
            "rotations": int(rotations),
            "points": points,
            "first_seconds": first,
            "seconds": later,
            "value_and_grad_seconds": plain,
            "ratio": later / plain,
        }
        found["rows"].append(row)
        print(
            f"n = {n}, M = {int(rotations)}, {points} points: u_xx loss and gradient {1e3 * later:.2f} ms "
            f"({later / plain:.1f} value_and_grad), first call {1e3 * first:.0f} ms",
            flush=True,
        )
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
