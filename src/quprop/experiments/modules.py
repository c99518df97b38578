"""The forum's question: k modules of n qubits trained together cost O(k 2^n), not 2^(kn)."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, exponent, silent
from quprop.model import Model
from quprop.model.ansatz import hardware_efficient
from quprop.modules.compose import Module, parallel
from quprop.plots import Picture, panels, picture

QUBITS, LAYERS = 8, 4


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Value and gradient of the product of k modules' <Z_0>; seconds are medians and differ from run to run.

    Modules: one batch of k samples of one model, cotangents by the product rule. Joint: one circuit on k n qubits.
    """
    generator = generator_of(rng)
    counts = (1, 16, 64, 256) if quick else (1, 4, 16, 64, 256, 1024, 4096)
    joint_up_to = 2
    module = Model(hardware_efficient(QUBITS, LAYERS), "Z0")
    repeats, rows = (5 if quick else 15), []
    for done, k in enumerate(counts):
        progress(done, len(counts) + joint_up_to, f"{k} modules")
        theta = generator.uniform(-1, 1, (k, module.n_params))
        seconds, (value, gradient) = _timed(lambda theta=theta: _product(module, theta), repeats)
        rows.append({"k": k, "seconds": seconds, "M": int(gradient.size), "value": float(value)})
    joint = []
    for k in range(1, joint_up_to + 1):
        progress(len(counts) + k - 1, len(counts) + joint_up_to, f"{k} modules as one circuit")
        theta = generator.uniform(-1, 1, (k, module.n_params))
        model = _joined(k)
        seconds, (value, gradient) = _timed(lambda m=model, t=theta: _whole(m, t), repeats)
        expected, expected_gradient = _product(module, theta)
        difference = max(abs(value - expected), float(np.abs(gradient - expected_gradient).max()))
        joint.append({"k": k, "qubits": k * QUBITS, "seconds": seconds, "difference": difference})
    progress(len(counts) + joint_up_to, len(counts) + joint_up_to, "")
    late = [r for r in rows if r["k"] >= 16]
    fit = exponent([r["k"] for r in late], [r["seconds"] for r in late])
    return {
        "qubits": QUBITS,
        "rows": rows,
        "joint": joint,
        "fit": fit,
        "findings": [
            f"k modules of {QUBITS} qubits: time ~ k^{fit['slope']:.2f} ({fit['low']:.2f} to {fit['high']:.2f}), "
            f"{1e6 * rows[-1]['seconds'] / rows[-1]['k']:.0f} us a module at k = {rows[-1]['k']:,}",
            f"two modules as one circuit of {2 * QUBITS} qubits take {joint[-1]['seconds'] / joint[0]['seconds']:.0f} "
            f"times one; the same numbers to {max(j['difference'] for j in joint):.0e}",
        ],
    }


def _product(module: Model, theta: np.ndarray) -> tuple[float, np.ndarray]:
    values, pullback = simulate.vjp(module, theta)
    v = values[:, 0]
    others = np.array([np.prod(np.delete(v, i)) for i in range(len(v))]) if len(v) < 64 else np.prod(v) / v
    return float(np.prod(v)), pullback(others[:, None])[0]


def _joined(k: int) -> Model:
    parts = [Module(Model(hardware_efficient(QUBITS, LAYERS), "Z0"), name=f"m{i}") for i in range(k)]
    return parallel(*parts, observables=" ".join(f"Z{i * QUBITS}" for i in range(k))).model


def _whole(model: Model, theta: np.ndarray) -> tuple[float, np.ndarray]:
    value, gradient = simulate.value_and_grad(model, theta.reshape(-1))
    return float(value), gradient.reshape(theta.shape)


def _timed(call: Any, repeats: int) -> tuple[float, Any]:
    found, seconds = call(), []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds), found


def draw(result: Result) -> Picture:
    figure, (axes,) = panels(1, 5.6)
    rows, joint = result["rows"], result["joint"]
    axes.plot([r["k"] for r in rows], [r["seconds"] for r in rows], "o-", markersize=4, label="modules, one batch")
    axes.plot([r["k"] for r in joint], [r["seconds"] for r in joint], "s-", markersize=5, label="as one circuit")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel(f"modules k of {result['qubits']} qubits")
    axes.set_ylabel("value and gradient / s")
    return picture(figure, "Low-qubit modules beside one large circuit")


EXPERIMENT = Experiment(
    "modules",
    "differentiating k parallel modules of n qubits costs O(k 2^n)",
    'PennyLane forum, "quantum nodes in hybrid computations"',
    0.2,
    run,
    draw,
)
