"""curves.png: loss and metric of a run against its epochs or steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.plots import EXACT, GREEN, OCHRE, PURPLE, SLATE, TEST, TRAINING, Picture, panels, picture

# What a generative model is compared with: its name, by what its entries in a summary begin with.
RIVALS = {"uniform": "uniform bits", "bit_flip": "bit-flip model", "boltzmann": "Boltzmann machine"}


def draw_curves(history: list[dict[str, Any]], title: str, reference: dict[str, Any]) -> Picture:
    """A run's history, with the known best as a dashed line. Energies are drawn as distances to it, on a log scale."""
    if any("gradient_variance" in line for line in history):
        return _draw_mmd(history, title, reference)
    keys = {key for line in history for key in line if key.startswith(("train_", "test_"))}
    metrics = sorted({key.split("_", 1)[1] for key in keys} - {"loss"})
    exact = reference.get("reference_energy")
    figure, (left, *rest) = panels(1 + len(metrics), 5.0, 3.4)
    x = "step" if exact is not None else "epoch"
    steps = [line[x] for line in history]
    loss = np.array([line["loss"] for line in history], float)
    if exact is not None and len(loss):
        left.plot(steps, np.maximum(loss - exact, 1e-16), color=TRAINING)
        left.set_yscale("log")
        unit = str(reference.get("energy_unit", ""))
        left.set_ylabel("energy above the exact one" + (f" ({unit})" if unit else ""))
    else:
        left.plot(steps, loss, color=TRAINING, label="training")
        if any("test_loss" in line for line in history):
            left.plot(steps, [line.get("test_loss", np.nan) for line in history], color=TEST, label="test")
        left.set_ylabel("loss")
    for axes, metric in zip(rest, metrics, strict=True):
        for name, label, colour in (("train", "training", TRAINING), ("test", "test", TEST)):
            if any(f"{name}_{metric}" in line for line in history):
                axes.plot(steps, [line.get(f"{name}_{metric}", np.nan) for line in history], color=colour, label=label)
        if metric == "accuracy" and "reference_accuracy" in reference:
            axes.axhline(reference["reference_accuracy"], **EXACT, label=f"{reference['reference_name']}, test")
        axes.set_ylabel(metric.replace("_", " "))
    for axes in (left, *rest):
        axes.set_xlabel(x)
    return picture(figure, title)


def _draw_mmd(history: list[dict[str, Any]], title: str, summary: dict[str, Any]) -> Picture:
    """MMD^2 of training and test data, an error as a band, with rivals as levels; the variance of the gradient."""
    figure, (left, right) = panels(2, 5.2, 3.9)
    steps = np.array([line["step"] for line in history])
    loss = np.array([line["loss"] for line in history])
    name = "training" if (loss > 0).all() else "training, where positive"
    left.plot(steps, loss, color=TRAINING, linewidth=1, label=name, zorder=1)
    seen = [line for line in history if "test_mmd2" in line]
    if seen:
        at, value, error = (np.array([line[k] for line in seen]) for k in ("step", "test_mmd2", "test_mmd2_error"))
        left.plot(at, value, "o-", color=TEST, markersize=3.5, linewidth=1.5, label="test", zorder=3)
        if error.any():
            band = {"color": TEST, "alpha": 0.25, "linewidth": 0, "label": "test, standard error"}
            below = np.maximum(value - error, np.abs(value) / 10)  # on a log axis 0 is far away
            left.fill_between(at, below, value + error, **band, zorder=2)
    looks = (("uniform", SLATE, ":"), ("bit_flip", OCHRE, "--"), ("boltzmann", PURPLE, "-."))
    for key, colour, line in looks:
        if (level := summary.get(f"{key}_test_mmd2", 0.0)) > 0:
            left.axhline(level, color=colour, linestyle=line, linewidth=1.3, label=f"{RIVALS[key]}, test", zorder=0)
    left.set_yscale("log", nonpositive="mask")
    left.set_ylabel("MMD²")
    right.plot(steps, [line["gradient_variance"] for line in history], color=GREEN, linewidth=1)
    right.set_yscale("log", nonpositive="mask")
    right.set_ylabel("variance of the gradient's entries")
    for axis in (left, right):
        axis.set_xlabel("optimiser step")
    return picture(figure, title)
