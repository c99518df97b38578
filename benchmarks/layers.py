"""What does a quantum layer cost in a PyTorch or JAX training step, next to other libraries' layers and to the bare engine?

    python benchmarks/layers.py [--only torch] [--batch 256] [--rounds 15] [--out benchmarks/results/layers.json]

Circuit: n = 8 qubits, 3 times (RY of an input, RY and RZ of weights on every qubit, ring of CX): M = 72 rotations, 48 weights,
24 inputs, outputs Z of every qubit. A step is the forward pass of a batch and the backward pass to weights and inputs, in double
precision. Every layer must agree with quprop's reference engine in loss and both gradients before it is timed. Layers take turns
within a round, and medians over rounds are compared, so that a busy machine disturbs all of them alike; a slow layer sits rounds
out. Needs torch, jax, pennylane, pennylane-lightning and tensorcircuit-ng; what is missing is left out, by name.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import numpy as np

import quprop as qpr

sys.path.insert(0, str(Path(__file__).parent))
from environment import environment

N, LAYERS = 8, 3
TOLERANCE = 1e-6  # lightning.qubit under TorchLayer keeps 8 digits, everybody else 12 or more
Step = Callable[[], tuple]


def model() -> qpr.Model:
    theta, x = iter(t := qpr.params("theta", 2 * N * LAYERS)), iter(u := qpr.inputs("x", N * LAYERS))
    circuit = qpr.Circuit(N, params=t, inputs=u)
    for _ in range(LAYERS):
        for name, angles in (("ry", x), ("ry", theta), ("rz", theta)):
            for q in range(N):
                circuit.gate(name, next(angles), q)
        for q in range(N):
            circuit.cx(q, (q + 1) % N)
    return qpr.Model(circuit, [f"Z{q}" for q in range(N)])


class Work:
    """The batch, and the answer: the loss is 1/2 sum of values^2, whose cotangent is the values."""

    def __init__(self, batch: int) -> None:
        rng = np.random.default_rng(0)
        self.model, self.batch = model(), batch
        self.theta = rng.uniform(-np.pi, np.pi, self.model.n_params)
        self.x = rng.uniform(-np.pi, np.pi, (batch, self.model.n_inputs))
        values, pullback = qpr.vjp(self.model, self.theta, self.x, engine="reference")
        self.answer = (0.5 * (values**2).sum(), *pullback(values, sum_theta=True))

    def error(self, result: tuple) -> float:
        return max(float(np.max(np.abs(np.asarray(a) - b))) for a, b in zip(result, self.answer, strict=True))


# -- quprop -----------------------------------------------------------------------------------------------------------


def native(work: Work) -> Step:
    """The engine alone, without a framework: what a layer's overhead is measured against."""

    def step() -> tuple:
        values, pullback = qpr.vjp(work.model, work.theta, work.x)
        return 0.5 * (values**2).sum(), *pullback(values, sum_theta=True)

    return step


def quprop_torch(work: Work) -> Step:
    from quprop.hybrid.torch import QuantumLayer

    return torch_step(work, QuantumLayer(work.model, work.theta, dtype=torch_of().float64))


def quprop_jax(work: Work) -> Step:
    from quprop.hybrid.jax import function

    return jax_step(work, function(work.model))


# -- peers, written by the same gates ---------------------------------------------------------------------------------


def pennylane_circuit(weights, inputs) -> list:
    """weights (2 N LAYERS,), inputs (..., N LAYERS), batched by broadcasting."""
    import pennylane as qml

    for layer in range(LAYERS):
        for q in range(N):
            qml.RY(inputs[..., layer * N + q], wires=q)
        for q in range(N):
            qml.RY(weights[2 * layer * N + q], wires=q)
        for q in range(N):
            qml.RZ(weights[(2 * layer + 1) * N + q], wires=q)
        for q in range(N):
            qml.CNOT(wires=[q, (q + 1) % N])
    return [qml.expval(qml.Z(q)) for q in range(N)]


def pennylane_torch(work: Work, device: str, method: str) -> Step:
    import pennylane as qml

    torch = torch_of()
    torch.set_default_dtype(torch.float64)
    try:
        node = qml.QNode(
            lambda inputs, weights: pennylane_circuit(weights, inputs),  # TorchLayer wants an argument `inputs`
            qml.device(device, wires=N),
            interface="torch",
            diff_method=method,
        )
        layer = qml.qnn.TorchLayer(node, {"weights": (work.model.n_params,)})
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        layer.weights.copy_(torch.as_tensor(work.theta))
    return torch_step(work, layer)


def pennylane_jax(work: Work, device: str, method: str) -> Step:
    import pennylane as qml

    node = qml.QNode(pennylane_circuit, qml.device(device, wires=N), interface="jax", diff_method=method)
    return jax_step(work, lambda theta, x: jax_of().numpy.stack(node(theta, x), axis=-1))


def tensorcircuit_values(weights, inputs):
    """One sample; <Z_q> of all qubits from the state's probabilities, the fastest form of its measurements here."""
    import jax.numpy as jnp
    import tensorcircuit as tc

    c = tc.Circuit(N)
    for layer in range(LAYERS):
        for q in range(N):
            c.ry(q, theta=inputs[layer * N + q])
        for q in range(N):
            c.ry(q, theta=weights[2 * layer * N + q])
        for q in range(N):
            c.rz(q, theta=weights[(2 * layer + 1) * N + q])
        for q in range(N):
            c.cnot(q, (q + 1) % N)
    state = c.state()
    p = (state.real**2 + state.imag**2).reshape((2,) * N)
    return jnp.stack([(z := p.sum(axis=tuple(r for r in range(N) if r != q)))[0] - z[1] for q in range(N)])


def tensorcircuit_batch():
    import tensorcircuit as tc

    jax = jax_of()
    tc.set_backend("jax")
    tc.set_dtype("complex128")
    return jax.vmap(tensorcircuit_values, (None, 0))


def tensorcircuit_torch(work: Work) -> Step:
    import tensorcircuit as tc

    torch, batched = torch_of(), tensorcircuit_batch()
    f = tc.interfaces.torch_interface(batched, jit=True, enable_dlpack=True)

    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.Parameter(torch.as_tensor(work.theta))

        def forward(self, x):
            return f(self.weights, x)

    return torch_step(work, Layer())


def tensorcircuit_jax(work: Work) -> Step:
    return jax_step(work, tensorcircuit_batch())


# -- a step in each framework -----------------------------------------------------------------------------------------


def torch_of():
    import torch

    return torch


def jax_of():
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def torch_step(work: Work, layer) -> Step:
    torch = torch_of()
    x = torch.tensor(work.x, requires_grad=True)

    def step() -> tuple:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        loss = 0.5 * (layer(x) ** 2).sum()
        loss.backward()
        return loss.item(), layer.weights.grad.numpy(), x.grad.numpy()

    return step


def jax_step(work: Work, f) -> Step:
    jax = jax_of()
    theta, x = jax.numpy.asarray(work.theta), jax.numpy.asarray(work.x)
    compiled = jax.jit(jax.value_and_grad(lambda theta, x: 0.5 * (f(theta, x) ** 2).sum(), argnums=(0, 1)))

    def step() -> tuple:
        value, (d_theta, d_x) = compiled(theta, x)
        return float(value), np.asarray(d_theta), np.asarray(d_x)

    return step


LAYERS_TIMED: dict[str, dict[str, Callable[[Work], Step]]] = {
    "torch": {
        "engine alone": native,
        "quprop QuantumLayer": quprop_torch,
        "PennyLane default.qubit backprop": functools.partial(
            pennylane_torch, device="default.qubit", method="backprop"
        ),
        "PennyLane lightning.qubit adjoint": functools.partial(
            pennylane_torch, device="lightning.qubit", method="adjoint"
        ),
        "TensorCircuit-NG jit": tensorcircuit_torch,
    },
    "jax": {
        "engine alone": native,
        "quprop function, jit": quprop_jax,
        "PennyLane default.qubit backprop, jit": functools.partial(
            pennylane_jax, device="default.qubit", method="backprop"
        ),
        "PennyLane lightning.qubit adjoint, jit": functools.partial(
            pennylane_jax, device="lightning.qubit", method="adjoint"
        ),
        "TensorCircuit-NG jit": tensorcircuit_jax,
    },
}


def measure(framework: str, work: Work, rounds: int, slow_s: float, without: list[str]) -> list[dict]:
    """Rows {layer, first_call_s, error, step_s, quartiles_s, runs} or {layer, failed}."""
    rows, steps = [], {}
    {"torch": torch_of, "jax": jax_of}[framework]()  # importing it is nobody's first call
    for name, build in LAYERS_TIMED[framework].items():
        if any(word in name for word in without):
            continue
        row = {"framework": framework, "layer": name, "batch": work.batch}
        rows.append(row)
        try:
            start = time.perf_counter()
            step = build(work)
            result = step()
            row["first_call_s"] = time.perf_counter() - start
            row["error"] = work.error(result)
            if row["error"] > TOLERANCE:
                row["failed"] = f"disagrees by {row['error']:.2g}"
                continue
            steps[name] = (row, step, [])
            print(f"{framework}: {name} first call {row['first_call_s']:.2f} s", file=sys.stderr, flush=True)
        except Exception as error:  # a peer that is missing or fails is a row of the table
            row["failed"] = f"{type(error).__name__}: {error}"[:200]
    for turn in range(rounds):
        for _, step, times in steps.values():
            if times and turn and sum(times) > slow_s:
                continue
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    for row, _, times in steps.values():
        times = sorted(times)
        row |= {
            "step_s": statistics.median(times),
            "quartiles_s": [times[len(times) // 4], times[-1 - len(times) // 4]],
            "runs": len(times),
        }
    return rows


def table(rows: list[dict]) -> list[str]:
    lines = []
    for framework in dict.fromkeys(r["framework"] for r in rows):
        mine = [r for r in rows if r["framework"] == framework]
        ours = next((r.get("step_s") for r in mine if r["layer"].startswith("quprop")), None)
        lines += [f"{framework:<42}{'step ms':>9}{'x ours':>8}{'first s':>9}"]
        for r in mine:
            if "failed" in r:
                lines.append(f"  {r['layer']:<40}{r['failed']}"[:80])
            else:
                times = f"{r['step_s'] / ours:8.2f}" if ours else f"{'':8}"
                lines.append(f"  {r['layer']:<40}{r['step_s'] * 1e3:9.2f}{times}{r['first_call_s']:9.2f}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "layers.json"))
    parser.add_argument("--only", nargs="+", choices=list(LAYERS_TIMED), default=list(LAYERS_TIMED))
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="WORD", help="leave out layers with this in the name"
    )
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slow", type=float, default=10.0, help="seconds after which a layer sits further rounds out")
    options = parser.parse_args()
    out = Path(options.out)
    kept = json.loads(out.read_text()) if out.exists() else {"environment": {}, "rows": []}
    work = Work(options.batch)
    rows = [r for r in kept["rows"] if r["framework"] not in options.only]  # the other framework's, from an earlier run
    for framework in options.only:
        kept["environment"][framework] = environment({"python": sys.executable})
        mine = measure(framework, work, options.rounds, options.slow, options.without)
        kept["environment"][framework]["load_average_at_end"] = list(os.getloadavg())
        print("\n".join(table(mine)))
        rows += mine
    circuit = {"n_qubits": N, "n_rotations": work.model.n_rotations, "n_params": work.model.n_params}
    lines = ",\n".join("  " + json.dumps(r) for r in sorted(rows, key=lambda r: r["framework"]))
    out.parent.mkdir(parents=True, exist_ok=True)
    head = f'"environment": {json.dumps(kept["environment"])},\n "circuit": {json.dumps(circuit)}'
    out.write_text(f'{{{head},\n "rows": [\n{lines}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
