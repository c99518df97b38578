"""Pictures of generative models: samples as images, covariances of the model against those of the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from quprop.errors import count_of
from quprop.plots import ESTIMATE, SLATE, TRAINING, Picture, grid, panels, picture
from quprop.training.curves import RIVALS

ACROSS, DOWN = 16, 2  # images of a group
NAMES = {"data": "test data", "circuit": "circuit", **RIVALS}
DRAWN = 20_000  # points of a scatter; the rest are of the same cloud


def samples_picture(
    name: str, shape: tuple[int, int], drawn: dict[str, np.ndarray], means: dict[str, np.ndarray]
) -> Picture:
    """Groups of samples, data first and then the circuit if it could be sampled, and the mean of every bit."""
    groups = [key for key in NAMES if key in drawn]
    figure, _ = grid(0, 0, 8.6, 0.95 * len(groups) + 1.9)
    rows = figure.add_gridspec(len(groups) + 1, 1, height_ratios=[1.0] * len(groups) + [1.3])
    for row, key in enumerate(groups):
        axis = figure.add_subplot(rows[row])
        axis.imshow(_tiled(drawn[key][: ACROSS * DOWN], shape), cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        _label(axis, f"{NAMES[key]}\n{min(len(drawn[key]), ACROSS * DOWN)} samples")
    below = rows[-1].subgridspec(1, len(means) + 1, width_ratios=[1.0] * len(means) + [0.06])
    for column, (key, mean) in enumerate(means.items()):
        axis = figure.add_subplot(below[column])
        shown = axis.imshow(mean.reshape(shape), cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"mean of each pixel, {'test data' if key == 'data' else 'circuit (exact)'}", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    bar = figure.colorbar(shown, cax=figure.add_subplot(below[-1]))
    bar.set_label("probability of 1", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    note = "" if "circuit" in drawn else " (too many qubits to sample the circuit here: run it on a machine)"
    return picture(figure, f"{name}: samples{note}")


def _tiled(samples: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Images side by side, with grey lines between them."""
    rows, columns = shape
    down = math.ceil(len(samples) / ACROSS)
    out = np.full((down * (rows + 1) - 1, ACROSS * (columns + 1) - 1), 0.35)
    for k, sample in enumerate(samples):
        top, left = k // ACROSS * (rows + 1), k % ACROSS * (columns + 1)
        out[top : top + rows, left : left + columns] = sample.reshape(shape)
    return out


def _label(axis: Any, text: str) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center", labelpad=6)


def covariance_picture(name: str, pairs: dict[str, np.ndarray]) -> Picture:
    """Covariances of all pairs of bits, the circuit's and those of the training data against those of test data,
    whose distance from the diagonal is the noise of finite data."""
    figure, axes = panels(2, 4.2, 4.1)
    test = pairs["test"]
    chosen = np.arange(len(test))
    if len(test) > DRAWN:
        chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:DRAWN])
    together = np.concatenate(list(pairs.values()))
    low, high = together.min(), together.max()
    pad = 0.05 * (high - low) or 0.01
    for axis, key, colour, title in (
        (axes[0], "circuit", ESTIMATE, "trained circuit, exact"),
        (axes[1], "train", TRAINING, "training data: what finite data allow"),
    ):
        many = len(chosen) > 2000
        axis.plot([low - pad, high + pad], [low - pad, high + pad], color=SLATE, linewidth=0.9, zorder=1)
        axis.plot(
            test[chosen], pairs[key][chosen], ".", color=colour, markersize=2 if many else 5, alpha=0.4 if many else 0.8
        )
        away = np.sqrt(np.mean((pairs[key] - test) ** 2))
        axis.set_title(f"{title}\nr.m.s. distance from test data {away:.2g}", fontsize=9)
        axis.set_xlabel("test data: covariance of Z$_i$ and Z$_j$")
        axis.set_ylabel(f"{'circuit' if key == 'circuit' else 'training data'}: covariance of Z$_i$ and Z$_j$")
        axis.set_xlim(low - pad, high + pad)
        axis.set_ylim(low - pad, high + pad)
        axis.set_aspect("equal")
    count = f"{count_of(len(test), 'pair')} of bits" + (f", {DRAWN:,} of them drawn" if len(test) > DRAWN else "")
    return picture(figure, f"{name}: {count}")
