"""What a user meets outside long timings: the first gradient after import, the call of a tiny model, the largest state.

    python benchmarks/first_use.py                     # seconds
    python benchmarks/first_use.py --largest           # and a gradient of 28 qubits in single precision (a minute, 4.1 GiB)
    python benchmarks/first_use.py --out benchmarks/results/first_use.json

first gradient: a process of its own for each size; from before `import quprop` is over to the gradient's return (planning
included, as there is nothing to compile), median of --repeats processes. tiny call: `value_and_grad` of 4 qubits and 20
parameters, median of many calls. largest: one gradient, the peak resident memory of its process, and two steps of training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from environment import environment

MODEL = """
import quprop as qpr, numpy as np, sys, time, resource
def ising(n, layers):
    circuit = qpr.ansatz.hardware_efficient(n, layers)
    terms = {f"Z{q} Z{q + 1}": -1.0 for q in range(n - 1)} | {f"X{q}": -1.0 for q in range(n)}
    return qpr.Model(circuit, qpr.PauliSum(terms))
"""
FIRST = (
    MODEL
    + """
start = time.perf_counter()
model = ising(int(sys.argv[1]), 5)
theta = np.random.default_rng(0).uniform(-1, 1, model.n_params)
value, gradient = qpr.value_and_grad(model, theta, precision=sys.argv[2])
print(time.perf_counter() - start, model.n_params)
"""
)
TINY = (
    MODEL
    + """
theta = qpr.params("theta", 20)
circuit = qpr.Circuit(4)
for k in range(20):
    circuit.ry(theta[k], k % 4)
    circuit.cx(k % 4, (k + 1) % 4)
model = qpr.Model(circuit, qpr.PauliSum({"Z0 Z1": -1.0, "Z1 Z2": -1.0, "Z2 Z3": -1.0, "X0": -1.0, "X3": -1.0}))
a, times = np.random.default_rng(0).uniform(-1, 1, 20), []
for _ in range(5000):
    start = time.perf_counter()
    qpr.value_and_grad(model, a)
    times.append(time.perf_counter() - start)
print(np.median(times), model.n_params)
"""
)
LARGEST = (
    MODEL
    + """
model = ising(28, 2)
theta = np.random.default_rng(0).uniform(-0.1, 0.1, model.n_params)
start = time.perf_counter()
qpr.value_and_grad(model, theta, precision="single")
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
trained = qpr.train(model, qpr.Expectation(), params={"theta": theta}, optimiser=qpr.adam(0.05), steps=2, rng=0, precision="single")
print(seconds, model.n_params, peak, *(row["loss"] for row in trained.history))
"""
)

MILLION = """
import quprop as qpr, numpy as np, sys, time, resource
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
n = int(sys.argv[1])
circuit = qpr.ansatz.hardware_efficient(n, 500_000 // n)
before, start = peak(), time.perf_counter()
model = qpr.Model(circuit, "Z0 Z1")
made, used = time.perf_counter(), peak() - before
theta = np.random.default_rng(0).uniform(-1, 1, model.n_params)
qpr.value_and_grad(model, theta)
first = time.perf_counter()
qpr.value_and_grad(model, theta)
print(len(model.rotations), made - start, used, first - made, time.perf_counter() - first)
"""
GEOMETRY = (
    MODEL
    + """
def median(f, repeats):
    f()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return np.median(times)
n, layers, repeats = map(int, sys.argv[1:])
model = qpr.Model(qpr.ansatz.hardware_efficient(n, layers), "Z0")
theta = np.random.default_rng(0).uniform(-1, 1, model.n_params)
from quprop.simulate.state_vector.metric import Overlap
overlap = Overlap(model, qpr.state(model, theta + 0.1))
def fidelity_and_gradient():
    _, pullback = overlap.vjp(theta, None)
    return pullback(np.ones(1))
fidelity = median(fidelity_and_gradient, repeats)
gradient = median(lambda: qpr.value_and_grad(model, theta), repeats)
metric = median(lambda: qpr.metric(model, theta), 3)
state = median(lambda: qpr.state(model, theta), repeats)
print(model.n_params, fidelity / gradient, metric / state / (model.n_params + 1))
"""
)


def run(code: str, *arguments: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--largest", action="store_true", help="a gradient and two steps of training at n = 28")
    parser.add_argument("--out", help="JSON file")
    parser.add_argument("--million", action="store_true", help="a model of a million rotations and its first gradient")
    parser.add_argument("--geometry", action="store_true", help="Fidelity over a gradient, the metric over P + 1 states")
    options = parser.parse_args()
    found: dict = {"environment": environment({"quprop": sys.executable}), "first_gradient": []}
    for n in (4, 12, 16, 20):
        for precision in ("double", "single"):
            runs = [run(FIRST, str(n), precision) for _ in range(options.repeats)]
            seconds = statistics.median(r[0] for r in runs)
            row = {"n_qubits": n, "n_params": int(runs[0][1]), "precision": precision, "seconds": seconds}
            found["first_gradient"].append(row)
            print(f"first gradient, n = {n:2}, M = {row['n_params']}, {precision}: {seconds:.3f} s", flush=True)
    seconds, count = run(TINY)
    found["tiny_call"] = {"n_qubits": 4, "n_params": int(count), "seconds": seconds}
    print(f"value_and_grad, 4 qubits, {int(count)} parameters: {1e6 * seconds:.1f} µs a call")
    if options.largest:
        start = time.perf_counter()
        seconds, count, peak, *losses = run(LARGEST)
        found["largest"] = {
            "n_qubits": 28,
            "n_params": int(count),
            "precision": "single",
            "gradient_seconds": seconds,
            "peak_bytes": peak,
            "losses": losses,
            "all_seconds": time.perf_counter() - start,
        }
        print(f"n = 28, M = {int(count)}, single: gradient {seconds:.1f} s, peak {peak / 2**30:.2f} GiB, losses {losses}")
    found["million"], found["geometry"] = [], []
    for n in (10, 16) if options.million else ():
        count, made, used, first, later = run(MILLION, str(n))
        found["million"].append(
            {"n_qubits": n, "rotations": int(count), "model_seconds": made, "model_bytes": used, "first_gradient_seconds": first}
        )
        print(
            f"n = {n}, {int(count)} rotations: model {made:.1f} s, {used / 2**30:.2f} GiB; first gradient {first:.1f} s, "
            f"later ones {later:.1f} s",
            flush=True,
        )
    for n, layers, repeats in ((10, 10, 200), (14, 6, 50), (18, 4, 5)) if options.geometry else ():
        count, fidelity, metric = run(GEOMETRY, str(n), str(layers), str(repeats))
        found["geometry"].append({"n_qubits": n, "n_params": int(count), "fidelity": fidelity, "metric": metric})
        print(f"n = {n}, P = {int(count)}: Fidelity {fidelity:.2f} gradients, metric {metric:.2f} times P + 1 states", flush=True)
    if options.out:
        Path(options.out).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
