"""Hessian spectra and error proxy along training, after pruning and at every re-upload (Liu et al. 2024, figures 3-5).

A smooth network is trained on digits, 90 % of its weights are pruned, and mini-batch descent goes on without a mask; at
every re-upload ten dense steps are taken and it is pruned again. Two networks of about 80,000 parameters: an MLP at the
authors' learning rate 0.1, and a ResNet at their other one, 0.01: its layers are normalised, so curvature grows as
1/|w|^2 when weights w are pruned, and in so narrow a network to eigenvalues of about 100, where 0.1 would let the
steepest modes diverge. `full_size.py` has the authors' architecture and recipe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quprop.carleman.networks.torch_extra import load_torch
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, silent
from quprop.plots import Picture, grid, picture


@dataclass(frozen=True)
class Size:
    """How much is run: blocks of `every` steps measured at `offsets` after each upload; the rest as in `follow`."""

    every: int
    blocks: int
    offsets: tuple[int, ...]
    warm_up: int
    rate: float = 0.1
    batch: int = 64
    samples: int = 128
    lanczos: int = 24
    momentum: float = 0.0
    dense: int = 10
    prune: float = 0.9
    deflate: bool = True
    test: int | None = None

    def measured(self) -> list[int]:
        return [block * self.every + offset for block in range(self.blocks) for offset in self.offsets]


QUICK = Size(12, 2, (0, 1, 2, 4, 6, 8, 11), warm_up=50, samples=64, lanczos=12)
MLP = Size(100, 3, (0, 1, 2, 4, 6, 8, 12, 16, 24, 40, 70, 99), warm_up=300)
RESNET = Size(100, 3, (0, 3, 8, 16, 30, 60, 99), warm_up=600, rate=0.01, lanczos=20)


def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
    from quprop.carleman.networks import networks
    from quprop.carleman.networks.data import load

    load_torch("following spectra along a training")
    data = load("digits")
    chosen: list[tuple[str, dict[str, Any], Size]] = [("mlp", {"hidden": (32,)}, QUICK)]
    if not quick:
        chosen = [("mlp", {"hidden": (256, 256)}, MLP), ("resnet", {}, RESNET)]
    runs = []
    for name, settings, size in chosen:
        # Single precision: eigenvalues are right to 1e-5, and convolutions take a third of the time.
        network = networks.make(name, data.input_shape, data.classes, seed=int(rng), precision="single", **settings)
        runs.append(followed(network, data, size, rng, progress))
    return {"runs": runs, "findings": [f"{r['network']}: {text}" for r in runs for text in r["findings"]]}


def followed(
    network: Any, data: Any, size: Size, rng: Any, progress: Progress = silent, out: Path | None = None
) -> Result:
    """What `follow` measured in a course of this size; `out` is its run folder, gone on with where there is one."""
    from quprop.carleman.spectra import proxy as proxies
    from quprop.carleman.spectra.along import follow
    from quprop.carleman.spectra.proxy import Descent

    descent = Descent(size.rate, size.momentum)
    steps = size.measured()
    course = follow(
        network,
        data,
        descent,
        int(rng),
        measure=steps,
        batch_size=size.batch,
        warm_up=size.warm_up,
        prune_ratio=size.prune,
        upload_every=size.every,
        dense_steps=size.dense,
        hessian_samples=size.samples,
        lanczos_steps=size.lanczos,
        deflate=size.deflate,
        test_samples=size.test,
        precision="single",
        out=out,
        resume=out is not None and (out / "run.toml").exists(),
        progress=lambda done, total: progress(done, total, f"steps of {network.name}"),
    )
    made = course.to_json()
    spectra = [m.spectrum for m in course.moments]
    whole = proxies.running(spectra, steps, descent)
    made["proxy"]["never re-uploaded"] = whole.to_json()
    made["positive"] = [s.mean(lambda nodes: np.maximum(nodes, 0.0))[0] for s in spectra]
    made["negative"] = [s.mean(lambda nodes: np.maximum(-nodes, 0.0))[0] for s in spectra]
    return {
        **made,
        "network": network.name,
        "data": data.name,
        "parameters": network.n_parameters,
        "learning_rate": size.rate,
        "momentum": size.momentum,
        "size": {name: getattr(size, name) for name in size.__dataclass_fields__},
        "findings": _findings(made, network.n_parameters, spectra, size.rate),
    }


def _findings(made: dict[str, Any], parameters: int, spectra: list[Any], rate: float) -> list[str]:
    steps, uploads = np.array(made["steps"]), list(made["uploads"])
    running = np.array(made["proxy"]["running"]["values"])
    least = np.array([s.least for s in spectra])
    greatest = np.array([s.greatest for s in spectra])
    found = [
        f"{parameters:,} parameters, eta = {rate:g}; eigenvalues {least.min():.3g} to {greatest.max():.3g}; right "
        f"after the first pruning {least[0]:.3g} to {greatest[0]:.3g}, and the positive ones add up to "
        f"{made['positive'][0] / made['negative'][0]:.3g} times the negative ones"
        if made["negative"][0]
        else f"{parameters:,} parameters; no negative eigenvalue right after the first pruning"
    ]
    for begin, end in zip(uploads, [*uploads[1:], int(steps[-1]) + 1], strict=True):
        block = np.flatnonzero((steps >= begin) & (steps < end))
        if len(block) < 3:
            continue
        lowest = block[int(np.argmin(running[block]))]
        text = f"upload at step {begin}: proxy {running[block[0]]:.4f}, least {running[lowest]:.4f} after "
        text += f"{steps[lowest] - begin} steps, {running[block[-1]]:.4g} after {steps[block[-1]] - begin}"
        if running[block[-1]] > running[lowest]:
            late = max(lowest, block[-2])
            past = running[[late, block[-1]]] - min(running[lowest], 1 - 1e-9)
            if past[0] > 0:
                growth = (past[1] / past[0]) ** (1 / (steps[block[-1]] - steps[late])) - 1
                lowest_modes = ", ".join(f"{rate * abs(least[i]):.1%}" for i in (late, block[-1]))
                text += f"; its excess then grows {growth:.1%} a step (eta |l_min| there: {lowest_modes})"
        found.append(text)
    for upload in uploads[1:]:
        after = int(np.flatnonzero(steps >= upload)[0])
        found.append(
            f"re-upload at step {upload}: eigenvalues {least[after - 1]:.3g} to {greatest[after - 1]:.3g} before, "
            f"{least[after]:.3g} to {greatest[after]:.3g} after; accuracy {made['accuracy'][after - 1]:.3f} to "
            f"{made['accuracy'][after]:.3f}, zeros {made['zeros'][after - 1]:.2f} to {made['zeros'][after]:.2f}"
        )
    for dip in made["dips"]:
        found.append(
            f"re-upload at step {dip['step']}: training accuracy {dip['before']:.3f}, {dip['after']:.3f} right after, "
            f"{dip['recovered']:.3f} later"
        )
    if len(uploads) > 1:
        found.append(
            f"the proxy begins anew at an upload by definition; never re-uploaded it would stand at "
            f"{made['proxy']['never re-uploaded']['values'][-1]:.3g} at step {steps[-1]}, against {running[-1]:.3g}"
        )
    return found


def draw(result: Result) -> Picture:
    """A row for each network: spectra right after and long after uploads; extreme eigenvalues; proxies; accuracy."""
    runs = result["runs"]
    figure, axes = grid(len(runs), 4, 16, 3.9 * len(runs))
    for row, run_ in zip(axes, runs, strict=True):
        _row(row, run_)
    return picture(figure, "Hessian spectra and error proxy along training, pruned by 90 % at uploads (grey lines)")


def _row(row: Any, result: dict[str, Any]) -> None:
    density, edges, proxy, share = row
    steps, uploads = result["steps"], result["uploads"]
    shown = sorted({i for u in uploads[:2] for i, s in enumerate(steps) if s == u or _last_before(steps, u, i)})
    shown = sorted({*shown, len(steps) - 1})
    low = min(s["least"] for s in result["spectra"])
    high = max(s["greatest"] for s in result["spectra"])
    line = np.linspace(low - 0.05 * (high - low), high + 0.05 * (high - low), 600)
    curves = [_density(result["spectra"][i], line) for i in shown]
    for i, curve in zip(shown, curves, strict=True):
        density.plot(line, curve, linewidth=1.2, label=f"step {steps[i]}")
    density.set_yscale("log")
    density.set_ylim(0.1 / result["parameters"], 3 * max(float(c.max()) for c in curves))
    density.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    density.set_xlabel("Hessian eigenvalue l")
    density.set_ylabel("density of modes, smoothed over 1 %")
    edges.plot(steps, [s["greatest"] for s in result["spectra"]], "o-", markersize=3, label="greatest")
    edges.plot(steps, [s["least"] for s in result["spectra"]], "s-", markersize=3, label="least")
    edges.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    edges.set_ylabel("Hessian eigenvalue")
    names = {"running": "running product", "frozen": "spectrum of the upload", "never re-uploaded": "never re-uploaded"}
    for (name, label), style in zip(names.items(), ("o-", "s--", ":"), strict=True):
        proxy.plot(
            steps, np.array(result["proxy"][name]["values"]) - 1, style, markersize=3, linewidth=1.2, label=label
        )
    running = np.array(result["proxy"]["running"]["values"]) - 1
    proxy.set_yscale("symlog", linthresh=max(1e-5, float(-running.min())))
    proxy.set_ylim(3 * min(float(running.min()), -1e-5), 30 * max(float(running.max()), 1e-5))
    proxy.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    proxy.set_ylabel("error proxy - 1")
    share.plot(steps, result["accuracy"], "o-", markersize=3, label="test accuracy")
    share.plot(steps, result["zeros"], "s--", markersize=3, label="share of zeros")
    share.set_ylim(0, 1.02)
    for axes in (edges, proxy, share):
        for upload in uploads[1:]:
            axes.axvline(upload, color="0.8", linewidth=0.8, zorder=0)
        axes.set_xlabel("step after the first pruning")
    case = f"{result['case']}: " if "case" in result else ""
    density.set_title(f"{case}{result['network']} on {result['data']}, {result['parameters']:,} parameters", fontsize=9)
    edges.set_title(f"learning rate {result['learning_rate']:g}", fontsize=9)


def _last_before(steps: list[int], upload: int, i: int) -> bool:
    return steps[i] < upload and (i + 1 == len(steps) or steps[i + 1] >= upload)


def _density(spectrum: dict[str, Any], line: np.ndarray) -> np.ndarray:
    nodes, weights = np.array(spectrum["nodes"]), np.array(spectrum["weights"])
    width = 0.01 * (line[-1] - line[0])
    bumps = np.exp(-0.5 * ((line[:, None] - nodes) / width) ** 2)
    return np.asarray(bumps @ weights) / (width * math.sqrt(2 * math.pi))


EXPERIMENT = Experiment(
    "spectra",
    "Positive Hessian modes dominate after pruning; the proxy falls, then rises, and a re-upload resets it.",
    LIU + ", figures 3 to 5",
    3,
    run,
    draw,
)
