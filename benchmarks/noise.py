"""Gradients of noisy circuits: quprop beside PennyLane's default.mixed, Qiskit Aer, TensorCircuit-NG and plain NumPy.

    python benchmarks/noise.py --python-peers /path/to/python --out benchmarks/results/noise.json
    python benchmarks/noise.py --python-peers /path/to/python --only n6 n8 --threads 1 --repeats 3

Peers: `pip install pennylane jax qiskit-aer tensorcircuit-ng`. One that is missing is a row that says so.

The circuit: L layers of RY and RZ on each qubit and CZ between neighbours, depolarising of probability 0.01 on every qubit
of a gate after it, <Z0 Z1>; n4, n6, n8, n10 and n12 are its qubits, L = 2 for n4 and else 3. "numpy" is the same two sweeps over a
Pauli vector as quprop's, one gate at a time and every r kept. Each row has a process of its own, on as many cores as it has
threads, and the libraries take turns, so that a busy machine is busy for all. `first_s` is the first call with all that is
made for it (compilation, plans); the others are medians of further calls, in which nothing is compiled. Aer has no gradient:
its `value_and_grad_s` is the value and the parameter-shift rule, 2 M circuits in one job. Values and gradients are compared
with those of the first row before its times count. What the row of fewer qubits predicts to be beyond --limit or --memory
is not tried.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from environment import available_cores, environment, total_memory

P = 0.01
LAYERS = {"n4": 2, "n6": 3, "n8": 3, "n10": 3, "n12": 3}
CLOSE = 1e-9  # of values and derivatives, absolute

Step = tuple[str, tuple[int, ...], int]  # gate or "depolarising", qubits, index of the angle


class Workload(NamedTuple):
    n: int
    steps: list[Step]
    theta: np.ndarray


def workload(name: str) -> Workload:
    n, steps, m = int(name[1:]), [], 0
    for _ in range(LAYERS[name]):
        for q in range(n):
            for gate in ("ry", "rz"):
                steps += [(gate, (q,), m), ("depolarising", (q,), 0)]
                m += 1
        for q in range(n - 1):
            steps += [("cz", (q, q + 1), 0), ("depolarising", (q,), 0), ("depolarising", (q + 1,), 0)]
    return Workload(n, steps, np.random.default_rng(0).uniform(0, 6, m))


class Calls(NamedTuple):
    """What is timed: functions of theta. both: the value and its gradient."""

    value: Callable[[np.ndarray], Any]
    both: Callable[[np.ndarray], Any]


def run_quprop(w: Workload, threads: int) -> Calls:
    import quprop as qpr

    theta = qpr.params("theta", len(w.theta))
    circuit = qpr.Circuit(w.n)
    for gate, qubits, m in w.steps:
        circuit = {
            "depolarising": lambda c, q, _: c.depolarising(P, *q),
            "cz": lambda c, q, _: c.cz(*q),
            "ry": lambda c, q, m: c.ry(theta[m], *q),
            "rz": lambda c, q, m: c.rz(theta[m], *q),
        }[gate](circuit, qubits, m)
    model = qpr.Model(circuit, "Z0 Z1")
    options: dict = {"threads": threads}
    return Calls(lambda t: qpr.expectation(model, t, **options)[0], lambda t: qpr.value_and_grad(model, t, **options))


_PLANES = {"ry": (3, 1), "rz": (1, 2)}  # letters I X Y Z; a goes to cos a, and from the first to the second with sin a
_CZ = (
    ((0, 1), (3, 1), 1), ((0, 2), (3, 2), 1), ((1, 0), (1, 3), 1), ((2, 0), (2, 3), 1), ((1, 1), (2, 2), 1), ((1, 2), (2, 1), -1)
)


def run_numpy(w: Workload, threads: int) -> Calls:
    def on(a: np.ndarray, qubits: tuple[int, ...]) -> np.ndarray:
        return a.reshape(4 ** qubits[0], *[4] * len(qubits), -1)

    def act(a: np.ndarray, step: Step, angle: float) -> None:
        gate, qubits, _ = step
        b = on(a, qubits)
        if gate == "depolarising":
            b[:, 1:] *= 1 - 4 * P / 3
        elif gate == "cz":
            for (i, j), (k, m), s in _CZ:
                old = b[:, i, j].copy()
                b[:, i, j], b[:, k, m] = s * b[:, k, m], s * old
        else:
            i, j = _PLANES[gate]
            c, s = np.cos(angle), np.sin(angle)
            b[:, i], b[:, j] = c * b[:, i] - s * b[:, j], s * b[:, i] + c * b[:, j]

    def forward(theta: np.ndarray, kept: list[np.ndarray] | None = None) -> np.ndarray:
        r = np.ones(1)
        for _ in range(w.n):
            r = np.multiply.outer(r, [1.0, 0.0, 0.0, 1.0]).ravel()
        for step in w.steps:
            act(r, step, theta[step[2]])
            if kept is not None and step[0] in _PLANES:
                kept.append(r.copy())
        return r

    def observable() -> np.ndarray:
        o = np.zeros((4,) * w.n)
        o[(3, 3) + (0,) * (w.n - 2)] = 1.0
        return o.ravel()

    def both(theta: np.ndarray) -> tuple[float, np.ndarray]:
        kept: list[np.ndarray] = []
        o = observable()
        value, gradient = o @ forward(theta, kept), np.empty(len(theta))
        for step in reversed(w.steps):
            if step[0] in _PLANES:
                (i, j), a, b = _PLANES[step[0]], on(kept.pop(), step[1]), on(o, step[1])
                gradient[step[2]] = np.vdot(b[:, j], a[:, i]) - np.vdot(b[:, i], a[:, j])
            act(o, step, -theta[step[2]])  # each is orthogonal or symmetric
        return value, gradient

    return Calls(lambda t: observable() @ forward(t), both)


def run_pennylane(w: Workload, threads: int, interface: str = "autograd") -> Calls:
    import pennylane as qml

    device = qml.device("default.mixed", wires=w.n)

    @qml.qnode(device, diff_method="backprop", interface=interface)
    def circuit(theta: Any) -> Any:
        for gate, qubits, m in w.steps:
            if gate == "depolarising":
                qml.DepolarizingChannel(P, wires=qubits[0])
            elif gate == "cz":
                qml.CZ(wires=qubits)
            else:
                {"ry": qml.RY, "rz": qml.RZ}[gate](theta[m], wires=qubits[0])
        return qml.expval(qml.PauliZ(0) @ qml.PauliZ(1))

    if interface == "jax":
        return jitted(circuit)

    def both(theta: np.ndarray) -> tuple[float, np.ndarray]:
        gradient = qml.grad(circuit)
        found = gradient(qml.numpy.array(theta, requires_grad=True))
        return gradient.forward, found  # of the same pass

    return Calls(circuit, both)


def run_aer(w: Workload, threads: int) -> Calls:
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit.quantum_info import SparsePauliOp
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import depolarizing_error

    theta = ParameterVector("theta", len(w.theta))
    circuit = QuantumCircuit(w.n)
    error = depolarizing_error(4 * P / 3, 1).to_instruction()  # their p counts the identity too
    for gate, qubits, m in w.steps:
        if gate == "depolarising":
            circuit.append(error, qubits)
        elif gate == "cz":
            circuit.cz(*qubits)
        else:
            getattr(circuit, gate)(theta[m], *qubits)
    circuit.save_expectation_value(SparsePauliOp.from_sparse_list([("ZZ", [0, 1], 1.0)], w.n), list(range(w.n)))
    simulator = AerSimulator(method="density_matrix", max_parallel_threads=threads)

    def values(points: np.ndarray) -> np.ndarray:
        binds = [{p: list(column) for p, column in zip(theta, points.T, strict=True)}]
        result = simulator.run([circuit], parameter_binds=binds).result()
        return np.array([result.data(k)["expectation_value"] for k in range(len(points))])

    def both(point: np.ndarray) -> tuple[float, np.ndarray]:
        shifts = np.pi / 2 * np.eye(len(point))
        found = values(np.concatenate([point[None], point + shifts, point - shifts]))
        up, down = np.split(found[1:], 2)
        return found[0], (up - down) / 2

    return Calls(lambda t: values(t[None])[0], both)


def run_tensorcircuit(w: Workload, threads: int) -> Calls:
    import tensorcircuit as tc

    tc.set_backend("jax")
    tc.set_dtype("complex128")

    def value(theta: Any) -> Any:
        circuit = tc.DMCircuit(w.n)
        for gate, qubits, m in w.steps:
            if gate == "depolarising":
                circuit.depolarizing(*qubits, px=P / 3, py=P / 3, pz=P / 3)
            elif gate == "cz":
                circuit.cz(*qubits)
            else:
                getattr(circuit, gate)(*qubits, theta=theta[m])
        return circuit.expectation_ps(z=[0, 1]).real

    return jitted(value)


def jitted(value: Callable[[Any], Any]) -> Calls:
    import jax

    jax.config.update("jax_enable_x64", True)
    plain, both = jax.jit(value), jax.jit(jax.value_and_grad(value))
    return Calls(lambda t: jax.block_until_ready(plain(t)), lambda t: jax.block_until_ready(both(t)))


class Library(NamedTuple):
    packages: tuple[str, ...]
    calls: Callable[[Workload, int], Calls]
    threads: bool = True  # whether it has more than one


LIBRARIES = {
    "numpy": Library((), run_numpy, threads=False),
    "quprop": Library((), run_quprop),
    "pennylane autograd": Library(("pennylane",), run_pennylane),
    "pennylane jax": Library(("pennylane", "jax"), lambda w, k: run_pennylane(w, k, "jax")),
    "aer": Library(("qiskit-aer",), run_aer),
    "tensorcircuit jax": Library(("tensorcircuit-ng", "jax"), run_tensorcircuit),
}
OURS = ("numpy", "quprop")  # in this Python


def timed(function: Callable[[np.ndarray], Any], theta: np.ndarray, repeats: int) -> tuple[Any, float, float]:
    """The result, the seconds of the first call, and the median of `repeats` more; of as many as a second has if more."""
    start = time.perf_counter()
    out = function(theta)
    first, seconds = time.perf_counter() - start, []
    while len(seconds) < repeats or (sum(seconds) < 1 and len(seconds) < 100):
        start = time.perf_counter()
        out = function(theta)
        seconds.append(time.perf_counter() - start)
    return out, first, statistics.median(seconds)


def one(library: str, name: str, threads: int, repeats: int) -> dict:
    """A row, made in this process."""
    versions = {}
    for package in LIBRARIES[library].packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return {"status": f"{package} is not installed"}
    if hasattr(os, "sched_setaffinity"):  # before threads are started
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    w = workload(name)
    calls = LIBRARIES[library].calls(w, threads)
    (value, gradient), first, seconds = timed(calls.both, w.theta, repeats)
    _, _, value_s = timed(calls.value, w.theta, repeats)
    row = {"versions": versions, "first_s": first, "value_and_grad_s": seconds, "value_s": value_s, "omega": seconds / value_s}
    row["peak_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return row | {"value": float(value), "gradient": np.asarray(gradient, float).ravel().tolist()}


def compare(row: dict, reference: dict) -> dict:
    """The row with its differences from the reference in place of the gradient itself."""
    if "gradient" in row:
        gradient, right = np.array(row.pop("gradient")), np.array(reference["gradient"])
        row["gradient_norm"] = float(np.linalg.norm(gradient))
        row["value_difference"] = abs(row["value"] - reference["value"])
        row["largest_gradient_difference"] = float(np.abs(gradient - right).max())
        row["agrees"] = max(row["value_difference"], row["largest_gradient_difference"]) <= CLOSE
    return row


def predicted(before: list[dict], w: Workload) -> tuple[float, float]:
    """Seconds and bytes of a row, from those of fewer qubits: time goes as the gates and 4^n, memory grows from row to row as
    4^n."""
    if not before:
        return 0.0, 0.0
    last = before[-1]
    if "value_and_grad_s" not in last:
        return math.inf, math.inf
    grows = 4.0 ** (w.n - last["n"])
    gates = (w.n * LAYERS[f"n{w.n}"]) / (last["n"] * LAYERS[last["workload"]])
    by_shifts = gates if last["library"] == "aer" else 1.0
    seconds = grows * gates * (by_shifts * last["value_and_grad_s"] + last["value_s"]) * (last["repeats"] + 1) + last["first_s"]
    more = last["peak_rss"] - before[-2]["peak_rss"] if len(before) > 1 else 0.0
    return seconds, last["peak_rss"] + max(more, 0.0) * grows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--libraries", nargs="*", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--threads", nargs="*", type=int, default=sorted({1, min(2, available_cores())}))
    parser.add_argument("--python-peers", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds that one row may take")
    parser.add_argument("--memory", type=float, default=total_memory() / 2, help="bytes that one row may take")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        library, name, threads = options.row
        print(json.dumps(one(library, name, int(threads), options.repeats)))
        return
    pythons = {"python": sys.executable, "python_peers": options.python_peers}
    rows: list[dict] = []
    done: dict[tuple[str, int], list[dict]] = defaultdict(list)
    for name in options.only:
        w = workload(name)
        reference: dict = {}
        for threads in options.threads:
            for library in options.libraries:
                if threads > 1 and not LIBRARIES[library].threads:
                    continue
                seconds, size = predicted(done[library, threads], w)
                if seconds > options.limit or size > options.memory:
                    why = f"predict {seconds:.0f} s and {size / 1e9:.1f} GB" if seconds < math.inf else "have no times"
                    row: dict = {"status": f"not tried: fewer qubits {why}"}
                else:
                    row = separately(library, name, threads, options)
                if "gradient" in row and not reference:
                    reference = dict(row)
                row = compare(row, reference)
                what = {"workload": name, "library": library, "threads": threads, "n": w.n, "rotations": len(w.theta)}
                row = {**what, "repeats": options.repeats, "load": os.getloadavg()[0], **row}
                rows.append(row)
                done[library, threads].append(row)
                times = "".join(f"{k[:-2]} {1e3 * row[k]:.3g} ms  " for k in ("value_s", "value_and_grad_s", "first_s") if k in row)
                agrees = {True: "", False: "DIFFERS", None: ""}[row.get("agrees")]
                print(f"{name:4} {threads} {library:18} {row.get('status', '')}{times}{agrees}", flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"environment": environment(pythons), "rows": rows}, indent=1) + "\n")


def separately(library: str, name: str, threads: int, options: argparse.Namespace) -> dict:
    """The row of a process of its own."""
    python = sys.executable if library in OURS else options.python_peers
    command = [python, __file__, "--row", library, name, str(threads), "--repeats", str(options.repeats)]
    of_threads = {k: str(threads) for k in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    env = {**os.environ, **of_threads, "JAX_PLATFORMS": "cpu"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, env=env, check=True)
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"status": f"took more than {options.limit:g} s"}
    except subprocess.CalledProcessError as failed:
        return {"status": f"failed: {failed.stderr.splitlines()[-1] if failed.stderr else failed.returncode}"}


if __name__ == "__main__":
    main()
