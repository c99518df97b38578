"""Quantum models with backpropagation scaling: IQP circuits, trained by an MMD on a classical computer."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from quprop.errors import generator_of
from quprop.experiments.experiment import Experiment, Progress, Result, exponent, silent
from quprop.model import Model
from quprop.model.ansatz import iqp
from quprop.plots import BLUE, EXACT, VERMILION, Picture, panels, picture
from quprop.simulate.commuting.strings import drawn_subsets
from quprop.training.mmd import MMD, MMDOverModel

OPERATORS = SAMPLES = 1000


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    """Seconds are medians of losses and of gradients, with their losses, in turns: the same products of Z and signs."""
    generator = generator_of(rng)
    sizes = (16, 64, 256) if quick else (16, 32, 64, 128, 256, 512, 1000)
    rows = []
    for done, n in enumerate(sizes):
        progress(done, len(sizes), f"{n} qubits, {n * (n + 1) // 2:,} parameters")
        rows.append(_row(n, 5 if quick else 11, generator))
    progress(len(sizes), len(sizes), "")
    fit = exponent([r["M"] for r in rows], [r["time"] for r in rows])
    return {"rows": rows, "fit": fit, "findings": _findings(rows, fit)}


def _row(n: int, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    model = Model(iqp(n), "Z0")
    theta = rng.normal(scale=0.5 / n, size=model.n_params)
    data = (rng.random((200, n)) < 0.3).astype(np.uint8)
    sigma = (n / 8) ** 0.5  # products of about two Z
    over = MMD(data, sigma, operators=OPERATORS, samples=SAMPLES, exact=False).over(model, threads=1)
    subsets = drawn_subsets(n, sigma, OPERATORS, rng)
    bits = over.signs(rng)
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):  # the first makes room
        for gradient, taken in zip((False, True), seconds, strict=True):
            begin = time.perf_counter()
            over.estimate(theta, subsets, bits, gradient=gradient, summed=False)
            if turn:
                taken.append(time.perf_counter() - begin)
    value, both = (statistics.median(taken) for taken in seconds)
    return {
        "n": n,
        "M": model.n_params,
        "value_seconds": value,
        "gradient_seconds": both,
        "time": both / value,
        "largest_error": _differences(over, theta, subsets, bits, rng),
    }


def _differences(
    over: MMDOverModel, theta: np.ndarray, subsets: Any, bits: np.ndarray, rng: np.random.Generator
) -> float:
    """How far the gradient is from central differences along three directions, in parts of its length there."""
    gradient = over.estimate(theta, subsets, bits, summed=False)[1]
    worst, step = 0.0, 1e-4
    for _ in range(3):
        v = rng.normal(size=len(theta))
        v /= np.linalg.norm(v)
        ahead, behind = (
            over.estimate(theta + s * step * v, subsets, bits, gradient=False, summed=False)[0] for s in (1, -1)
        )
        worst = max(worst, float(abs((ahead - behind) / (2 * step) - gradient @ v) / np.linalg.norm(gradient)))
    return worst


def _findings(rows: list[dict[str, float]], fit: dict[str, float]) -> list[str]:
    last = rows[-1]
    return [
        f"loss and gradient of {last['n']} qubits and {last['M']:,} parameters take {last['gradient_seconds']:.3g} s "
        f"on one thread, {last['time']:.2f} times the loss alone; from M = {rows[0]['M']} on the ratio grows as "
        f"M^{fit['slope']:.2f}",
        f"gradients differ from central differences by {max(r['largest_error'] for r in rows):.0e} of their length at "
        "most",
    ]


def draw(result: Result) -> Picture:
    figure, (left, right) = panels(2, 4.8)
    rows = result["rows"]
    m = [r["M"] for r in rows]
    left.plot(m, [r["value_seconds"] for r in rows], "o-", color=BLUE, markersize=4, label="loss")
    left.plot(m, [r["gradient_seconds"] for r in rows], "s-", color=VERMILION, markersize=4, label="loss and gradient")
    left.set_yscale("log")
    left.set_ylabel("seconds on one thread")
    right.plot(m, [r["time"] for r in rows], "o-", color=BLUE, markersize=4)
    right.axhline(3, **EXACT, label="three losses")
    right.set_ylim(bottom=0)
    right.set_ylabel("cost of gradient / cost of loss")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("M parameters, one a rotation")
    return picture(figure, "A generative quantum model whose gradient costs what its loss costs")


EXPERIMENT = Experiment(
    "iqp",
    "there are quantum models, not universal ones, whose gradient costs a constant times their loss: IQP circuits",
    "the talk's last question; Recio-Armengol, Ahmed and Bowles, arXiv:2503.02934",
    1.0,
    run,
    draw,
)
