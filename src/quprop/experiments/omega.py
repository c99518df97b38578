"""omega = COST(gradient)/COST(value): a network by reverse mode, and a circuit on a simulator, where states persist."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from quprop import simulate
from quprop.classical import networks as classical
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, silent
from quprop.model import Model
from quprop.model.ansatz import hardware_efficient
from quprop.plots import Picture, hue, panels, picture
from quprop.simulate.state_vector.native import NativeEngine

QUBITS = 14


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Seconds are medians of values and gradients in turns; they differ from run to run, counts and bytes do not."""
    generator = generator_of(rng)
    widths = [(64, 32, 10), (64, 256, 256, 10)] + ([] if quick else [(64, 1024, 1024, 10), (64, *[512] * 6, 10)])
    layers = [1, 4, 16] if quick else [1, 2, 4, 8, 16, 32, 64]
    repeats, total = (5, len(widths) + len(layers)) if quick else (15, len(widths) + len(layers))
    networks, circuits = [], []
    for done, w in enumerate(widths):
        progress(done, total, "network " + "-".join(map(str, w)))
        found = classical.measure_mlp(w, 256, generator, repeats=repeats)
        networks.append(
            {
                "widths": list(w),
                "M": found.n_params,
                "operations": found.omega_operations,
                "time": found.omega_time,
                "memory": found.omega_memory,
            }
        )
    for done, depth in enumerate(layers):
        progress(len(widths) + done, total, f"circuit of {depth} layers")
        circuits.append(_circuit(depth, repeats, generator))
    progress(total, total, "")
    return {"qubits": QUBITS, "networks": networks, "circuits": circuits, "findings": _findings(networks, circuits)}


def _circuit(layers: int, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    model = Model(hardware_efficient(QUBITS, layers), {f"Z{q} Z{q + 1}": 1.0 for q in range(QUBITS - 1)})
    theta = rng.uniform(-np.pi, np.pi, model.n_params)
    engine = NativeEngine("double", 1)
    calls = (
        lambda: simulate.expectation(model, theta, engine=engine),
        lambda: simulate.value_and_grad(model, theta, engine=engine),
    )
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):  # the first makes the plan
        for call, seconds in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            if turn:
                seconds.append(time.perf_counter() - begin)
    value, gradient = (statistics.median(t) for t in times)
    memory = engine.memory(model, 1, "value_and_grad") / engine.memory(model, 1, "values")
    return {"M": model.n_params, "value_seconds": value, "gradient_seconds": gradient, "time": gradient / value} | {
        "memory": memory
    }


def _findings(networks: list[dict[str, Any]], circuits: list[dict[str, float]]) -> list[str]:
    def span(rows: list[Any], key: str) -> str:
        return f"{min(r[key] for r in rows):.2f} to {max(r[key] for r in rows):.2f}"

    return [
        f"networks of {networks[0]['M']:,} to {max(r['M'] for r in networks):,} weights: omega "
        f"{span(networks, 'time')} in time, {span(networks, 'operations')} in multiply-adds, "
        f"{span(networks, 'memory')} in memory",
        f"circuits of {circuits[0]['M']} to {circuits[-1]['M']:,} parameters on {QUBITS} simulated qubits: omega "
        f"{span(circuits, 'time')} in time, {span(circuits, 'memory')} in memory",
    ]


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 6.0)
    for index, (name, label) in enumerate((("networks", "multilayer perceptron"), ("circuits", "simulated circuit"))):
        rows = result[name]
        m = [r["M"] for r in rows]
        axes.plot(m, [r["time"] for r in rows], "o-", color=hue(index), markersize=4, label=f"{label}, time")
        axes.plot(m, [r["memory"] for r in rows], "s:", color=hue(index), markersize=4, label=f"{label}, memory")
    axes.axhspan(2, 4, color="0.9", label="[2, 4]")
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("parameters")
    axes.set_ylabel("cost of gradient / cost of value")
    return picture(figure, "What an exact gradient costs where intermediate results can be kept")


EXPERIMENT = Experiment(
    "omega",
    "a gradient costs a small constant times its value where intermediate results can be kept",
    "Abbas et al., arXiv:2305.13362, Definition 1, and its talk; Griewank and Walther 2008",
    0.5,
    run,
    draw,
)
