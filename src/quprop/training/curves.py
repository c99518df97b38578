"""curves.png: loss and metric of a run against its epochs or steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.plots import ESTIMATE, EXACT, GREEN, OCHRE, PURPLE, SLATE, TEST, TRAINING, Picture, panels, picture

# What a generative model is compared with: its name, by what its entries in a summary begin with.
RIVALS = {"uniform": "uniform bits", "bit_flip": "bit-flip model", "boltzmann": "Boltzmann machine"}


def draw_curves(history: list[dict[str, Any]], title: str, reference: dict[str, Any]) -> Picture:
    """A run's history, with the known best as a dashed line. Energies are drawn with those they are compared with, and
    as distances to the exact one, on a log scale."""
    if any("gradient_variance" in line for line in history):
        return _draw_mmd(history, title, reference)
    if history and reference.get("reference_energy") is not None:
        return _draw_energy(history, title, reference)
    keys = {key for line in history for key in line if key.startswith(("train_", "test_"))}
    metrics = sorted({key.split("_", 1)[1] for key in keys} - {"loss"})
    figure, (left, *rest) = panels(1 + len(metrics), 5.0, 3.4)
    steps = [line["epoch"] for line in history]
    left.plot(steps, [line["loss"] for line in history], color=TRAINING, label="training")
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
        axes.set_xlabel("epoch")
    return picture(figure, title)


def levels(summary: dict[str, Any]) -> dict[str, tuple[str, float]]:
    """The energies that a run is compared with, by their key in its summary: name and value, the highest first."""
    exact = "lower bound" if "bound" in str(summary.get("reference_name")) else "exact"
    exact = summary.get("reference_label", exact)
    names = {"hartree_fock_energy": "Hartree-Fock", "reference_energy": exact}
    return {key: (name, summary[key]) for key, name in names.items() if summary.get(key) is not None}


def accuracy(summary: dict[str, Any]) -> tuple[str, float] | None:
    """Name and value of the error of an energy that is good enough, where the problem has one."""
    found = summary.get("energy_accuracy")
    return None if found is None else (str(summary.get("energy_accuracy_name", "accuracy")), found)


def axis_of(history: list[dict[str, Any]]) -> str:
    """What the "step" of a history's lines counts."""
    return "operators in the circuit" if any("operator" in line for line in history) else "optimiser step"


def in_unit(what: str, summary: dict[str, Any]) -> str:
    """A quantity with the unit of the run's energies."""
    return f"{what}, {summary['energy_unit']}" if summary.get("energy_unit") else what


def difference(value: float, summary: dict[str, Any]) -> str:
    """A difference of energies as its field writes it: thousandths of a Hartree."""
    unit = summary.get("energy_unit", "")
    return f"{1e3 * value:.3g} mHa" if unit == "Hartree" else f"{value:.3e} {unit}".rstrip()


def _draw_energy(history: list[dict[str, Any]], title: str, summary: dict[str, Any]) -> Picture:
    """The energy with those it is compared with, and its distance to the exact one over what is good enough."""
    steps = [line["step"] for line in history]
    energy = np.array([line["loss"] for line in history], float)
    figure = energy_panels(steps, {"training": energy}, summary["reference_energy"], summary)
    for name, value in levels(summary).values():
        figure.axes[0].axhline(value, **EXACT | {"color": ENERGIES.get(name, "black"), "label": name, "zorder": 1})
    return finish_energies(figure, axis_of(history), str(summary.get("system", title)), summary)


ENERGIES = {"training": TRAINING, "Hartree-Fock": SLATE}  # others are estimates
ROUNDING = 1e-12  # distances below are what rounding leaves


def energy_panels(x: Any, energies: dict[str, np.ndarray], exact: Any, summary: dict[str, Any]) -> Any:
    """A figure of energies by name against x, and beside it, where the exact ones are known, of their distances to
    these, on a log scale, over the band that is good enough."""
    known = bool(np.isfinite(np.asarray(exact, float)).any())
    figure, axes = panels(1 + known, 4.8, 3.8)
    style = "o-" if len(x) <= 60 else "-"
    for place, (name, energy) in enumerate(energies.items()):
        look = {"color": ENERGIES.get(name, ESTIMATE), "markersize": 3.5, "linewidth": 1.4, "zorder": 2 + place}
        axes[0].plot(x, energy, style, label=name, **look)
        if known:
            axes[1].plot(x, np.maximum(np.abs(energy - exact), ROUNDING), style, label=name, **look)
    if not known:
        return figure
    right = axes[1]
    right.set_yscale("log")
    if found := accuracy(summary):
        name, value = found
        low = min(right.get_ylim()[0], value / 100)
        label = f"{name}, {difference(value, summary)}"
        right.axhspan(low, value, color=GREEN, alpha=0.15, linewidth=0, label=label, zorder=0)
        right.set_ylim(low, max(right.get_ylim()[1], 3 * value))
    return figure


def finish_energies(figure: Any, x: str, title: str, summary: dict[str, Any]) -> Picture:
    """Names of the axes and legends."""
    figure.axes[0].ticklabel_format(axis="y", useOffset=False)
    for axes, what in zip(figure.axes, ("energy", "distance to the exact energy"), strict=False):
        axes.set_ylabel(in_unit(what, summary))
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
