"""What every rank does in the tests of one state over many ranks: `mpirun -n 4 python ranks_program.py NAME OUT ...`.

Each function returns what is to be compared; rank 0 writes it to OUT. All ranks must have the same bits of it.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cases import random_circuit, random_model, random_sum, values_for

import quprop as qpr
from quprop.errors import QupropError
from quprop.simulate import get_engine
from quprop.simulate.distributed.ranks import world
from quprop.simulate.distributed.traffic import traffic


def model_of(seed: int) -> qpr.Model:
    """Models of every kind of input state, gate, angle and observable, of 12 or 13 qubits."""
    rng = np.random.default_rng([seed, 7])
    n = int(rng.integers(12, 14))
    kind = ["basis", "basis", "product", "amplitudes", "encoded"][seed % 5]
    state: Any = None
    if kind == "basis":
        state = int(rng.integers(1 << n))
    elif kind == "product":
        state = rng.normal(size=(n, 2)) + 1j * rng.normal(size=(n, 2))
    elif kind == "amplitudes":
        state = rng.normal(size=1 << n) + 1j * rng.normal(size=1 << n)
    observables = [random_sum(rng, n, int(rng.integers(1, 6))) for _ in range(int(rng.integers(1, 4)))]
    if kind == "encoded":
        pixels, theta = qpr.inputs("pixels", 1 << n), qpr.params("theta", 3)
        circuit = qpr.Circuit(n, pixels)
        for layer in range(2):
            for q in range(n):
                circuit.ry(theta[layer] * (q + 1), q).rz(theta[2], q)
            for q in range(n):
                circuit.cx(q, (q + 1) % n)
        return qpr.Model(circuit, observables)
    if seed % 3 == 0:
        return random_model(seed, n, int(rng.integers(0, 60)), len(observables), state)
    return qpr.Model(random_circuit(seed, n, int(rng.integers(1, 80)), state), observables)


def everything(model: qpr.Model, seed: int, engine: Any, precision: str = "double", batch: int | None = None) -> list:
    theta, x = values_for(model, batch, seed)
    x = x if model.n_inputs else None
    options = {"engine": engine, "precision": precision}
    w = np.random.default_rng(seed).normal(size=model.n_observables)
    values, pullback = qpr.vjp(model, theta, x, **options)
    d_theta, d_x = pullback(np.broadcast_to(w, values.shape), sum_theta=True)
    again = pullback(np.broadcast_to(w, values.shape))[0]
    weighted, grad = qpr.value_and_grad(model, theta, x, weights=w, **options)
    return [qpr.expectation(model, theta, x, **options), values, d_theta, d_x, again, weighted, grad]


def apart(found: list, expected: list) -> float:
    """The largest difference, relative to the largest number of its array (at least 1)."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, (a.shape, b.shape)
        if b.size:
            worst = max(worst, float(np.abs(a - b).max() / max(1.0, np.abs(b).max())))
    return worst


def models(first: str, count: str, batch: str = "", precision: str = "double") -> list[float]:
    """How far each model's numbers are from those of the native engine."""
    out = []
    for seed in range(int(first), int(first) + int(count)):
        model, rows = model_of(seed), int(batch) if batch else None
        found = everything(model, seed, qpr.Distributed(chunk=4096), precision, rows)
        out.append(apart(found, everything(model, seed, "native", precision, rows)))
    return out


def workloads(qubits: str) -> dict[str, float]:
    """Hardware-efficient, QAOA and Trotter circuits of the benchmarks, against the native engine."""
    n = int(qubits)
    found = {}
    for name, model in circuits(n).items():
        theta = np.random.default_rng(1).uniform(-np.pi, np.pi, model.n_params)
        w = np.ones(model.n_observables)
        a = qpr.value_and_grad(model, theta, weights=w, engine=qpr.Distributed())
        b = qpr.value_and_grad(model, theta, weights=w, engine="native")
        found[name] = apart(list(a), list(b))
    return found


def circuits(n: int) -> dict[str, qpr.Model]:
    rng = np.random.default_rng(5)
    ising = {f"Z{q} Z{(q + 1) % n}": -1.0 for q in range(n)} | {f"X{q}": -0.7 for q in range(n)}
    theta = qpr.params("theta", 6 * n)
    layered, trotter, qaoa = qpr.Circuit(n), qpr.Circuit(n), qpr.Circuit(n)
    for layer in range(3):
        for q in range(n):
            layered.ry(theta[2 * n * layer + q], q).rz(theta[2 * n * layer + n + q], q)
        for q in range(n):
            layered.cx(q, (q + 1) % n)
    beta = qpr.params("beta", 8)
    for q in range(n):
        qaoa.h(q)
    edges = [(int(a), int(b)) for a, b in rng.permutation([(a, b) for a in range(n) for b in range(a)])[: 3 * n // 2]]
    for layer in range(4):
        for q in range(n):
            trotter.rotation(f"Z{q} Z{(q + 1) % n}", beta[2 * layer])
        for q in range(n):
            trotter.rx(beta[2 * layer + 1], q)
        for a, b in edges:
            qaoa.rzz(beta[2 * layer], a, b)
        for q in range(n):
            qaoa.rx(beta[2 * layer + 1], q)
    cost = {f"Z{a} Z{b}": 1.0 for a, b in edges}
    return {
        "hardware-efficient": qpr.Model(layered, [ising, "Z0"]),
        "hamiltonian variational": qpr.Model(trotter, ising),
        "qaoa": qpr.Model(qaoa, cost),
        "random": random_model(3, n, 40),
    }


def counts(qubits: str) -> list[list[int]]:
    """What the engine sends for a value and a gradient, beside what traffic() says beforehand."""
    out = []
    for model in circuits(int(qubits)).values():
        engine = get_engine(qpr.Distributed(ranks_per_state=world().size, chunk=1 << 14))
        said = traffic(model, world().size, chunk=1 << 14)
        theta = np.random.default_rng(1).uniform(-np.pi, np.pi, model.n_params)
        w = np.ones(model.n_observables)
        type_of = type(engine.moved)
        engine.moved = type_of()
        qpr.expectation(model, theta, engine=engine)
        value = engine.moved
        engine.moved = type_of()
        qpr.value_and_grad(model, theta, weights=w, engine=engine)
        moved = engine.moved
        out.append([value.bytes, said.bytes_value, moved.bytes, said.bytes_gradient, moved.messages,
                    said.messages_gradient, moved.exchanges, 2 * said.exchanges + said.swaps])  # fmt: skip
    return out


def registers(qubits: str) -> list[float]:
    """Probabilities of registers and samples of the same seed, against the native engine."""
    n, out = int(qubits), []
    for seed in range(4):
        model = qpr.Model(random_circuit(seed, n, 60), ["Z0"])
        theta, x = values_for(model, None, seed)
        for register in ([0], [n - 1, 2, 5], list(range(n))[::-1]):
            a = qpr.probabilities(model, theta, x, qubits=register, engine=qpr.Distributed())
            b = qpr.probabilities(model, theta, x, qubits=register, engine="native")
            out.append(apart([a], [b]))
        a = qpr.samples(model, theta, x, shots=500, rng=seed, engine=qpr.Distributed())
        b = qpr.samples(model, theta, x, shots=500, rng=seed, engine="native")
        out.append(float((a != b).any(axis=1).mean()))
        a = qpr.state(model, theta, x, engine=qpr.Distributed())
        b = qpr.state(model, theta, x, engine="native")
        out.append(abs(1 - abs(np.vdot(a, b))))
    return out


def refusals() -> list[str]:
    """One sentence each, the same on every rank."""
    model = circuits(12)["hardware-efficient"]
    theta = np.zeros(model.n_params)
    calls = [
        lambda: qpr.hvp(model, theta, v_theta=theta, weights=[1, 1], engine=qpr.Distributed()),
        lambda: qpr.expectation(qpr.Model(qpr.Circuit(12).h(0).depolarising(0.1, 0), "Z0"), [], engine="distributed"),
        lambda: qpr.expectation(model, theta, engine=qpr.Distributed(ranks_per_state=2 * world().size)),
        lambda: qpr.expectation(
            qpr.Model(qpr.Circuit(4), "Z0"), [], engine=qpr.Distributed(ranks_per_state=world().size)
        ),
        lambda: qpr.expectation(qpr.Model(qpr.Circuit(39).h(0), "Z0"), [], engine="distributed"),
        lambda: qpr.Distributed(ranks_per_state=3),
        lambda: qpr.Distributed(chunk=1.5),
    ]
    out = []
    for call in calls:
        try:
            call()
            out.append("nothing was refused")
        except QupropError as error:
            out.append(str(error))
    return out


def main() -> None:
    name, out, *arguments = sys.argv[1:]
    found = globals()[name](*arguments)
    text = json.dumps(found)
    digests = world().comm.allgather(sha256(text.encode()).hexdigest())
    assert len(set(digests)) == 1, "ranks have different results"
    if world().rank == 0:
        Path(out).write_text(text)


if __name__ == "__main__":
    main()
