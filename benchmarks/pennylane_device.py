"""What an unchanged PennyLane script gains from `qml.device("quprop")`, and what the plugin itself costs.

    python benchmarks/pennylane_device.py
    python benchmarks/pennylane_device.py --qubits 16 18 20 --out benchmarks/results/pennylane_device.json

The script: RY, RZ and a ring of CNOT in layers, the energy of a transverse-field Ising chain as one Hamiltonian, its
value and gradient by `diff_method="adjoint"` through Autograd. Devices take turns, repeat by repeat; figures are
medians of calls after the first, in milliseconds.

qnode: `qml.grad(node)(theta)` as a whole, PennyLane's own work included. device: within it, the device's calls
(`execute_and_compute_derivatives` and what it calls). native: the engine's calls within those; value_and_grad beside
it, the same called by itself. overhead = device - native, what the plugin adds in the very same call: reading the tape,
finding its model, handing back results.
The last line returns three expectation values for a batch of samples: one call of the engine, where other devices run
a tape for each sample.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pennylane as qml
from pennylane import numpy as pnp

import quprop as qpr
from quprop import simulate
from quprop.hybrid.pennylane import QupropDevice

sys.path.insert(0, str(Path(__file__).parent))

from environment import environment

PEER = "lightning.qubit"
SAMPLES = 16  # the peer takes seconds for many


def ising(n: int, layers: int) -> tuple[Callable, pnp.tensor]:
    bonds = [-1.0 * (qml.Z(q) @ qml.Z(q + 1)) for q in range(n - 1)]
    hamiltonian = qml.sum(*bonds, *[-1.0 * qml.X(q) for q in range(n)])

    def circuit(theta: pnp.tensor) -> qml.measurements.ExpectationMP:
        for layer in range(layers):
            for q in range(n):
                qml.RY(theta[layer, q, 0], wires=q)
                qml.RZ(theta[layer, q, 1], wires=q)
            for q in range(n):
                qml.CNOT(wires=[q, (q + 1) % n])
        return qml.expval(hamiltonian)

    theta = pnp.array(np.random.default_rng(0).uniform(-1, 1, (layers, n, 2)), requires_grad=True)
    return circuit, theta


class Timed(QupropDevice):
    """The device, with the time spent inside its outermost calls, and in the engine within these."""

    spent = 0.0
    engine = 0.0

    def execute_and_compute_derivatives(self, circuits, execution_config=None):
        Timed.engine = 0.0
        start = time.perf_counter()
        result = super().execute_and_compute_derivatives(circuits, execution_config)
        Timed.spent = time.perf_counter() - start
        return result


def timed_vjp(*arguments, **options):
    start = time.perf_counter()
    values, pullback = vjp(*arguments, **options)
    Timed.engine += time.perf_counter() - start

    def timed_pullback(*given):
        start = time.perf_counter()
        slopes = pullback(*given)
        Timed.engine += time.perf_counter() - start
        return slopes

    return values, timed_pullback


vjp, simulate.vjp = simulate.vjp, timed_vjp  # the device calls it by this name


def milliseconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def measure(n: int, layers: int, repeats: int) -> dict:
    circuit, theta = ising(n, layers)
    device = Timed(n)
    ours = qml.grad(qml.QNode(circuit, device, diff_method="adjoint"))
    theirs = qml.grad(qml.QNode(circuit, qml.device(PEER, wires=n), diff_method="adjoint"))
    difference = float(np.abs(ours(theta) - theirs(theta)).max())
    (structure,) = device._reader._known.values()
    flat = np.asarray(theta).reshape(-1)
    rows: dict[str, list[float]] = {"qnode": [], "peer_qnode": [], "device": [], "native": [], "value_and_grad": []}
    for _ in range(repeats):
        rows["peer_qnode"].append(milliseconds(lambda: theirs(theta)))
        rows["qnode"].append(milliseconds(lambda: ours(theta)))
        rows["device"].append(1000 * Timed.spent)
        rows["native"].append(1000 * Timed.engine)
        rows["value_and_grad"].append(milliseconds(lambda: qpr.value_and_grad(structure.model, flat)))
    row = {name: statistics.median(values) for name, values in rows.items()}
    overhead = statistics.median(d - v for d, v in zip(rows["device"], rows["native"], strict=True))
    return {
        "qubits": n,
        "layers": layers,
        "parameters": flat.size,
        **row,
        "overhead": overhead,
        "overhead_of_native": overhead / row["native"],
        "times_faster": row["peer_qnode"] / row["qnode"],
        "largest_difference": difference,
    }


def measure_batch(n: int, layers: int, samples: int, repeats: int) -> dict:
    def circuit(theta: pnp.tensor, x: np.ndarray) -> list:
        qml.AngleEmbedding(x, wires=range(n))
        qml.StronglyEntanglingLayers(theta, wires=range(n))
        return [qml.expval(qml.Z(q)) for q in range(3)]

    rng = np.random.default_rng(0)
    theta = pnp.array(rng.uniform(-1, 1, (layers, n, 3)), requires_grad=True)
    x = pnp.array(rng.uniform(-1, 1, (samples, n)), requires_grad=False)
    nodes = [qml.QNode(circuit, d, diff_method="adjoint") for d in (QupropDevice(n), qml.device(PEER, wires=n))]
    slopes = [qml.grad(lambda t, f=node: pnp.stack(f(t, x)).sum()) for node in nodes]
    difference = float(np.abs(slopes[0](theta) - slopes[1](theta)).max())
    times = [[milliseconds(lambda f=f: f(theta)) for f in slopes] for _ in range(repeats)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "qubits": n,
        "layers": layers,
        "parameters": theta.size,
        "samples": samples,
        "qnode": ours,
        "peer_qnode": theirs,
        "times_faster": theirs / ours,
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qubits", type=int, nargs="+", default=[16, 18, 20])
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    record = environment({"python": sys.executable})
    record["versions"] = {name: version(name) for name in ("numpy", "pennylane", "pennylane-lightning")}
    rows = []
    print(f"{'n':>3} {'M':>4} {PEER:>16} {'quprop':>9} {'faster':>7} {'device':>8} {'native':>8} {'overhead':>9}")
    for n in options.qubits:
        row = measure(n, options.layers, options.repeats)
        rows.append(row)
        print(
            f"{n:3} {row['parameters']:4} {row['peer_qnode']:13.1f} ms {row['qnode']:6.1f} ms "
            f"{row['times_faster']:6.1f}x {row['device']:8.2f} {row['native']:8.2f} "
            f"{100 * row['overhead_of_native']:8.1f}%"
        )
    batch = measure_batch(8, 3, SAMPLES, min(options.repeats, 3))
    print(
        f"  8   72 {batch['peer_qnode']:13.1f} ms {batch['qnode']:6.1f} ms "
        f"{batch['times_faster']:6.1f}x  {SAMPLES} samples"
    )
    if options.out:
        options.out.write_text(json.dumps({"environment": record, "rows": rows, "batch": batch}, indent=1) + "\n")


if __name__ == "__main__":
    main()
