"""curves.png: loss and metric of a run against its epochs or steps."""

from __future__ import annotations

import io
from typing import Any

import numpy as np


def draw_curves(history: list[dict[str, Any]], title: str, reference: dict[str, Any]) -> bytes:
    """The PNG of a run's history, with the known best as a dashed line. Energies are drawn as distances to it, on a log
    scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

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
