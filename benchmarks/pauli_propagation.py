"""Pauli propagation at 36 to 127 qubits: values and gradients beside monoprop, TenCirPauli and Qiskit's pauli-prop.

    python benchmarks/pauli_propagation.py --out benchmarks/results/pauli_propagation.json
    python benchmarks/pauli_propagation.py --python-peers /path/to/python --only w1 --repeats 3

Peers: `pip install monoprop==0.9.2 tencirpauli==0.5.0 pauli-prop==0.2.1 qiskit`. One that is missing is a row that says so.

w1: 64-qubit transverse-field Ising energy, 4 layers of RX and RZZ, angles standard normal, weight at most 5.
w1c: the same with monoprop's cut of branches at 1e-4.
w2: Z Z on a tilted 6 x 6 Ising grid, 14 Trotter steps, cut 2^-20: about a million strings.
w3: Z on the 127-qubit kicked Ising model (Nature 618, 500), 20 steps, cut 1e-4, weight at most 8.
Every answer is compared with the workload's first peer before its times count. Each row has a process of its own, and the
libraries take turns, so that a busy machine is busy for all. `certified` rows of quprop carry the bounds of the errors; "same
strings" keeps strings that vanished, as monoprop does: the value is the same, and then the gradient is too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
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

HERE = Path(__file__).resolve().parent
LIBRARIES = {"monoprop": "monoprop", "tencirpauli": "tencirpauli", "pauli-prop": "pauli-prop", "quprop": "quprop", "quprop certified": "quprop", "quprop same strings": "quprop"}
CLOSE = 1e-6  # of values and norms of gradients, absolute; a rule of truncation differs by more

Gates = list[tuple[str, tuple[int, ...], float]]


def w1(n: int = 64, layers: int = 4) -> dict:
    gates = [g for _ in range(layers) for g in [("X", (q,)) for q in range(n)] + [("Z", (q, q + 1)) for q in range(n - 1)]]
    angles = np.random.default_rng(42).standard_normal(len(gates))
    terms = [("X", (q,), 1.0) for q in range(n)] + [("Z", (q, q + 1), 1.0) for q in range(n - 1)]
    made = [(p, q, float(a)) for (p, q), a in zip(gates, angles, strict=True)]
    return {"n": n, "gates": made, "terms": terms, "weight": 5, "cut": 0.0, "gradient": True}


def w2(side: int = 6, layers: int = 14) -> dict:
    n, dt, h, j = side * side, 0.05, 1.0, 0.5
    edges = [(y * side + x, other) for y in range(side) for x in range(side)
             for other in ([y * side + x + 1] if x + 1 < side else []) + ([y * side + x + side] if y + 1 < side else [])]
    layer = [("X", (q,), 2 * dt * h) for q in range(n)] + [("Z", (q,), 2 * dt * h) for q in range(n)] + [("Z", e, 2 * dt * j) for e in edges]
    return {"n": n, "gates": layer * layers, "terms": [("Z", (20, 21), 1.0)], "weight": n, "cut": 2.0**-20, "gradient": False}


def w3(steps: int = 20) -> dict:
    edges = json.loads((HERE / "data" / "kicked_ising_127.json").read_text())
    layer = [("X", (q,), np.pi / 4) for q in range(127)]
    for colour in ("red", "blue", "green"):
        layer += [("Z", tuple(e), -np.pi / 2) for e in edges[colour]]
    return {"n": 127, "gates": layer * steps, "terms": [("Z", (62,), 1.0)], "weight": 8, "cut": 1e-4, "gradient": True}


WORKLOADS = {"w1": w1, "w1c": lambda: w1() | {"cut": 1e-4}, "w2": w2, "w3": w3}


def timed(function: Any, repeats: int) -> tuple[Any, float]:
    """The last result, and the median of the seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        out = function()
        seconds.append(time.perf_counter() - start)
    return out, statistics.median(seconds)


def dense(n: int, letter: str, qubits: tuple[int, ...]) -> str:
    return "".join(letter if q in qubits else "I" for q in range(n))


def run_monoprop(w: dict, repeats: int) -> dict:
    from monoprop import Circuit, ExpGate, PauliOperator, PauliPropagator

    n = w["n"]
    made: dict[tuple, Any] = {}
    gates = [made.setdefault((p, q), ExpGate(PauliOperator({dense(n, p, q): 1.0}, num_qubits=n))) for p, q, _ in w["gates"]]
    parameters = [-a / 2 for _, _, a in w["gates"]]  # exp(i a P)
    circuit = Circuit(gates=gates, system_size=n, parameters=parameters)
    observable = PauliOperator({dense(n, p, q): c for p, q, c in w["terms"]}, num_qubits=n)

    def fresh() -> Any:
        return PauliPropagator(observable, [], cutoff=w["weight"], lower_atol=w["cut"] or None)

    def propagate() -> Any:
        simulator = fresh()
        simulator.propagate(circuit)
        return simulator, simulator.expectation_value()

    (simulator, value), seconds = timed(propagate, repeats)
    row = {"value": float(np.real(value)), "terms": simulator.size(), "propagate_s": seconds}
    if w["gradient"]:
        del simulator

        def build() -> Any:
            simulator = fresh()
            simulator.build_graph(circuit)
            return simulator

        simulator, row["graph_s"] = timed(build, repeats)
        both = simulator.expectation_value_and_gradient_functional()
        both(parameters)
        (value, gradient), row["value_and_grad_s"] = timed(lambda: both(parameters), 3 * repeats)
        row |= {"graph_value": float(np.real(value)), "gradient": (-np.array(gradient) / 2).tolist()}
    return row


def run_tencirpauli(w: dict, repeats: int) -> dict:
    import tencirpauli as tcp

    if w["cut"] or any(len(q) > 2 for _, q, _ in w["gates"]):
        return {"status": "truncates by weight only"}
    n = w["n"]
    circuit = tcp.PropagationCircuit(nqubits=n, initial_state=tcp.ZeroState())
    for p, q, a in w["gates"]:
        circuit.rx(q[0], theta=a) if p == "X" else circuit.rzz(*q, theta=a)
    observable = tcp.PauliOperator.from_terms(n, tuple((dense(n, p, q), c) for p, q, c in w["terms"]))
    value, propagate = timed(lambda: circuit.expectation(observable, max_weight=w["weight"]), repeats)
    both, gradient = timed(lambda: circuit.value_and_grad(observable, max_weight=w["weight"]), repeats)
    return {"value": float(value), "propagate_s": propagate, "value_and_grad_s": gradient, "gradient": np.array(both.gradient).tolist()}


def run_pauliprop(w: dict, repeats: int) -> dict:
    from pauli_prop import propagate_through_circuit
    from qiskit import QuantumCircuit
    from qiskit.quantum_info import SparsePauliOp

    if w["weight"] < w["n"]:
        return {"status": "truncates by coefficients only, and has no gradient"}
    circuit = QuantumCircuit(w["n"])
    for p, q, a in w["gates"]:
        getattr(circuit, {("X", 1): "rx", ("Z", 1): "rz", ("Z", 2): "rzz"}[p, len(q)])(a, *q)
    observable = SparsePauliOp.from_sparse_list([(p * len(q), list(q), c) for p, q, c in w["terms"]], num_qubits=w["n"])
    out, seconds = timed(lambda: propagate_through_circuit(observable, circuit, 3_000_000, w["cut"], frame="h")[0], 1)
    value = float(np.real(out.coeffs[~out.paulis.x.any(axis=1)].sum()))
    return {"value": value, "terms": len(out), "propagate_s": seconds, "rule": "terms are cut, not branches"}


def run_quprop(w: dict, repeats: int, certified: bool = False, keep_zeros: bool = False) -> dict:
    import quprop as qpr
    from quprop.machine import usable_processors
    from quprop.simulate.pauli.packed import Packed, factors
    from quprop.simulate.pauli.propagation import support, value
    from quprop.simulate.pauli.settings import PauliPropagation

    theta = qpr.params("theta", len(w["gates"]))
    rows = [(" ".join(f"{p}{k}" for k in q), theta[i]) for i, (p, q, _) in enumerate(w["gates"])]
    terms = {" ".join(f"{p}{k}" for k in q): c for p, q, c in w["terms"]}
    model = qpr.Model.from_rotations(w["n"], rows, terms, params=[theta])
    settings = PauliPropagation(
        cutoff=w["cut"], rule="branch", max_weight=w["weight"] if w["weight"] < w["n"] else None, keep_diagonal=True, bounds=certified
    )
    angles = np.array([a for _, _, a in w["gates"]])[None]
    threads, none = usable_processors(), np.empty((1, 0))
    packed = Packed.of_model(model)
    coefficients = packed.combined(np.ones((1, 1)))

    def made() -> np.ndarray:
        return factors(model.angle_table.evaluate(angles, none))

    if certified or keep_zeros:
        row: dict = {}
    else:
        (found, _), seconds = timed(lambda: value(packed, coefficients[0], made()[0], settings, threads), repeats)
        row = {"value": found, "propagate_s": seconds}
    if w["gradient"] or certified or keep_zeros:
        keep, row["graph_s"] = timed(lambda: support(packed, coefficients[0], made()[0], settings, threads, keep_zeros=keep_zeros), repeats)
        ask = {"bounded": certified, "posterior": certified}
        keep.at(coefficients, made(), **ask)
        found, row["value_and_grad_s"] = timed(lambda: keep.at(coefficients, made(), **ask), 3 * repeats)
        row |= {"value": float(found.values[0]), "graph_value": float(found.values[0]), "gradient": found.d_angles[0].tolist()}
        row |= {"terms": keep.terms, "peak": keep.peak, "graph_bytes": keep.graph_bytes, "bytes_a_term": keep.bytes / keep.peak}
        if found.bounds is not None:
            row |= {"value_bound": float(found.bounds.value[0]), "largest_gradient_bound": float(found.bounds.angles.max())}
    return row


RUNS = {
    "monoprop": run_monoprop,
    "tencirpauli": run_tencirpauli,
    "pauli-prop": run_pauliprop,
    "quprop": run_quprop,
    "quprop certified": lambda w, r: run_quprop(w, r, certified=True),
    "quprop same strings": lambda w, r: run_quprop(w, r, keep_zeros=True),
}


def one(library: str, workload: str, repeats: int) -> dict:
    """A row, made in this process."""
    try:
        version = importlib.metadata.version(LIBRARIES[library])
    except importlib.metadata.PackageNotFoundError:
        version = "not installed" if not library.startswith("quprop") else "this checkout"
    if version == "not installed":
        return {"status": version}
    row = RUNS[library](WORKLOADS[workload](), repeats)
    return {"version": version, "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, **row}


def compare(row: dict, reference: dict) -> dict:
    """The row with its differences from the reference in place of the gradient itself."""
    gradient = np.array(row.pop("gradient", []))
    right = np.array(reference.get("gradient", []))
    if "value" in row and "value" in reference:
        row["value_difference"] = abs(row["value"] - reference["value"])
        row["agrees"] = row["value_difference"] <= CLOSE
    if len(gradient):
        row["gradient_norm"] = float(np.linalg.norm(gradient))
        if len(right):
            row["largest_gradient_difference"] = float(np.abs(gradient - right).max())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--libraries", nargs="*", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--python-peers", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds that one row may take")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(one(*options.row, options.repeats)))
        return
    pythons = {"python": sys.executable, "python_peers": options.python_peers}
    rows = []
    for workload in options.only:
        reference: dict = {}  # the first answer: a peer's, where one is asked for
        for library in options.libraries:
            python = sys.executable if library.startswith("quprop") else options.python_peers
            command = [python, __file__, "--row", library, workload, "--repeats", str(options.repeats)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=options.limit, env=os.environ, check=True)
                row = json.loads(done.stdout.splitlines()[-1])
            except subprocess.TimeoutExpired:
                row = {"status": f"took more than {options.limit:g} s"}
            except subprocess.CalledProcessError as failed:
                row = {"status": f"failed: {failed.stderr.splitlines()[-1] if failed.stderr else failed.returncode}"}
            if "value" in row and not reference:
                reference = dict(row)
            row = {"workload": workload, "library": library, "load": os.getloadavg()[0], **compare(row, reference)}
            rows.append(row)
            times = "  ".join(f"{k[:-2]} {1e3 * row[k]:.2f} ms" for k in ("propagate_s", "graph_s", "value_and_grad_s") if k in row)
            print(f"{workload:4} {library:17} {row.get('status', '')}{times}  value {row.get('value', float('nan')):.8f}", flush=True)
    if options.out:
        options.out.write_text(json.dumps({"environment": environment(pythons), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
