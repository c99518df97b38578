"""A gradient of 2,560 circuits on Aer: quprop's way from model to estimate, over Aer's own time for the same circuits.

    python benchmarks/devices.py --out benchmarks/results/devices.json

40 parameters, a batch of 32, parameter shift of Z0: one circuit at 2,560 settings of its angles. Aer's own time is the
least of its ways to run compiled circuits in one call: bound before, one after the other or one on each core, or bound
by Aer. What quprop does is in full: circuits made, compiled (cold) or found again (warm), run, counted, combined.
Seconds are medians of turns in which all rows take part: what else runs slows all of them. First it is checked that all
run the same.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qiskit
import qiskit_aer
from environment import environment
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer.primitives import SamplerV2

import quprop as qpr

TARGET = 2.0  # quprop over Aer's own, warm
OWN = ("aer, one call", "aer, one call, a circuit a core", "aer, one call, angles bound by aer")
PARAMETERS = 40


def case(qubits: int, batch: int) -> tuple[qpr.Model, np.ndarray, np.ndarray]:
    x, t = qpr.inputs("x", qubits), qpr.params("theta", PARAMETERS)
    circuit = qpr.Circuit(qubits)
    for q in range(qubits):
        circuit.ry(x[q], q)
    for i in range(PARAMETERS):
        q = i % qubits
        if i // qubits % 2:
            circuit.ry(t[i], q)
        else:
            circuit.rz(t[i], q).cx(q, (q + 1) % qubits)
    rng = np.random.default_rng(qubits)
    return qpr.Model(circuit, "Z0"), rng.uniform(-np.pi, np.pi, PARAMETERS), rng.normal(size=(batch, qubits))


def rows_of(qubits: int, batch: int, shots: int) -> tuple[dict[str, Callable[[], Any]], np.ndarray]:
    """What each row runs, once; it returns counts or an estimate. And the exact gradient."""
    model, theta, x = case(qubits, batch)
    method = qpr.ParameterShift(shots=shots)
    circuits = method.compile(model).circuits(theta, x)
    simulator = qiskit_aer.AerSimulator()
    passes = generate_preset_pass_manager(2, simulator, seed_transpiler=0)
    pubs = circuits.to("qiskit", passes=passes)
    bound = [isa.assign_parameters(row) for isa, values, _ in pubs for row in values]
    warm, own = qpr.device("aer"), qpr.device("quprop")

    def aer(**options: Any) -> Callable[[], Any]:
        def run() -> Any:
            result = simulator.run(bound, shots=shots, seed_simulator=1, **options).result()
            return [{int(k, 16): n for k, n in r.data.counts.items()} for r in result.results]

        return run

    def binding() -> Any:
        binds = [dict(zip(isa.parameters, values.T.tolist(), strict=True)) for isa, values, _ in pubs]
        options = {"shots": shots, "seed_simulator": 1, "max_parallel_experiments": 0}
        result = simulator.run([isa for isa, _, _ in pubs], parameter_binds=binds, **options).result()
        return [{int(k, 16): n for k, n in r.data.counts.items()} for r in result.results]

    def gradient(backend: Any) -> Callable[[], Any]:
        return lambda: qpr.gradient(model, theta, x, method, rng=0, backend=backend)

    def combined(counts: Any) -> Any:
        return circuits.combine(counts)

    rows = {
        OWN[0]: aer(),
        OWN[1]: aer(max_parallel_experiments=0),
        OWN[2]: binding,
        "aer's SamplerV2": lambda: SamplerV2(seed=1).run(pubs).result(),
        "qpr.gradient on aer, cold": gradient("aer"),
        "qpr.gradient on aer, warm": gradient(warm),
        "qpr.gradient on quprop": gradient(own),
        "quprop's circuits alone": lambda: method.compile(model).circuits(theta, x),
    }
    exact = qpr.value_and_grad(model, theta, x)[1]
    for name, run in rows.items():
        found = run()
        if name == "quprop's circuits alone":
            continue
        estimate = found if isinstance(found, qpr.Estimate) else combined(found)
        settings = 2 * PARAMETERS * batch
        assert estimate.cost.measurements == settings * shots, name
        chi2 = float(np.mean(((estimate.value - exact) / estimate.stderr)[estimate.stderr > 0] ** 2))
        assert abs(chi2 - 1) < 0.2, (name, chi2)
    return rows, exact


def measure(qubits: int, batch: int, shots: int, repeats: int) -> list[dict[str, Any]]:
    rows, _ = rows_of(qubits, batch, shots)
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(repeats):
        for name, run in rows.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    base = min(statistics.median(times[name]) for name in OWN)
    return [
        {
            "qubits": qubits,
            "circuits": 2 * PARAMETERS * batch,
            "shots": shots,
            "row": name,
            "seconds": statistics.median(found),
            "fastest": min(found),
            "ratio": statistics.median(found) / base,
        }
        for name, found in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--quick", action="store_true", help="a batch of 4, one turn")
    parser.add_argument("--qubits", type=int, nargs="+", default=[6, 8])
    parser.add_argument("--shots", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    batch, repeats = (4, 1) if arguments.quick else (32, arguments.repeats)
    versions = {"qiskit": qiskit.__version__, "qiskit-aer": qiskit_aer.__version__}
    found = {"environment": environment({"python": sys.executable}), "versions": versions, "target": TARGET, "rows": []}
    for qubits in arguments.qubits:
        for shots in arguments.shots:
            rows = measure(qubits, batch, shots, repeats)
            found["rows"] += rows
            if not arguments.json:
                for row in rows:
                    what = f"{qubits} qubits {row['circuits']:6,} circuits {shots:6,} shots"
                    print(f"{what}  {row['row']:34} {row['seconds']:8.3f} s {row['ratio']:6.2f}")
    if arguments.json:
        print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
