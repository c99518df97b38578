"""curves.png: loss and metric of a run against its epochs or steps."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

# What a generative model is compared with: its name, by what its entries in a summary begin with.
RIVALS = {"uniform": "uniform bits", "bit_flip": "bit-flip model", "boltzmann": "Boltzmann machine"}


def draw_curves(history: list[dict[str, Any]], title: str, reference: dict[str, Any]) -> bytes:
    """The PNG of a run's history, with the known best as a dashed line. Energies are drawn as distances to it, on a log
    scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if any("gradient_variance" in line for line in history):
        return _draw_mmd(history, title, reference)
    metrics = sorted(
        {key for line in history for key in line if key.startswith(("train_", "test_")) and not key.endswith("loss")}
    )
    exact = reference.get("reference_energy")
    figure = Figure(figsize=(9.0 if metrics else 5.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if metrics else 1, squeeze=False)[0]
    steps = [line["step"] for line in history] if exact is not None else [line["epoch"] for line in history]
    loss = np.array([line["loss"] for line in history], float)

    left = axes[0]
    if exact is not None and len(loss):
        left.semilogy(steps, np.maximum(loss - exact, 1e-16))
        left.set_ylabel("energy above the exact one")
    else:
        left.plot(steps, loss, label="training")
        if any("test_loss" in line for line in history):
            left.plot(steps, [line.get("test_loss", np.nan) for line in history], label="test")
        left.set_ylabel("loss")
        left.legend(frameon=False)
    left.set_xlabel("step" if exact is not None else "epoch")
    if metrics:
        right = axes[1]
        for name in metrics:
            right.plot(steps, [line.get(name, np.nan) for line in history], label=name.replace("_", " "))
        if "reference_accuracy" in reference:
            right.axhline(
                reference["reference_accuracy"],
                color="black",
                linestyle="--",
                linewidth=1,
                label=str(reference["reference_name"]),
            )
        right.set_xlabel("epoch")
        right.legend(frameon=False)
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _draw_mmd(history: list[dict[str, Any]], title: str, summary: dict[str, Any]) -> bytes:
    """MMD^2 of training and test data, an error as a band, with rivals as levels; the variance of the gradient."""
    from quprop.plots import panels, picture

    figure, (left, right) = panels(2, 5.2, 3.9)
    steps = np.array([line["step"] for line in history])
    loss = np.array([line["loss"] for line in history])
    name = "training" if (loss > 0).all() else "training, where positive"
    left.plot(steps, loss, color="#56B4E9", linewidth=1, label=name, zorder=1)
    seen = [line for line in history if "test_mmd2" in line]
    if seen:
        at, value, error = (np.array([line[k] for line in seen]) for k in ("step", "test_mmd2", "test_mmd2_error"))
        left.plot(at, value, "o-", color="#0072B2", markersize=3.5, linewidth=1.5, label="test", zorder=3)
        if error.any():
            band = {"color": "#0072B2", "alpha": 0.25, "linewidth": 0, "label": "test, standard error"}
            below = np.maximum(value - error, np.abs(value) / 10)  # on a log axis 0 is far away
            left.fill_between(at, below, value + error, **band, zorder=2)
    looks = (("uniform", "#777777", ":"), ("bit_flip", "#E69F00", "--"), ("boltzmann", "#D55E00", "-."))
    for key, colour, line in looks:
        if (level := summary.get(f"{key}_test_mmd2", 0.0)) > 0:
            left.axhline(level, color=colour, linestyle=line, linewidth=1.3, label=f"{RIVALS[key]}, test", zorder=0)
    left.set_yscale("log", nonpositive="mask")
    left.set_ylabel("MMD²")
    left.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    right.plot(steps, [line["gradient_variance"] for line in history], color="#009E73", linewidth=1)
    right.set_yscale("log", nonpositive="mask")
    right.set_ylabel("variance of the gradient's entries")
    for axis in (left, right):
        axis.set_xlabel("optimiser step")
    return picture(figure, title)
