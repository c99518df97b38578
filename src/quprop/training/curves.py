"""curves.png: loss and metric of a run against its epochs or steps."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

# What a generative model is compared with: its name, by what its entries in a summary begin with.
RIVALS = {"uniform": "uniform bits", "bit_flip": "bit-flip model", "boltzmann": "Boltzmann machine"}


def draw_curves(history: list[dict[str, Any]], title: str, reference: dict[str, Any]) -> bytes:
    """The PNG of a run's history, with the known best as a dashed line. Energies are drawn with those they are compared
    with, and as distances to the exact one, on a log scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if any("gradient_variance" in line for line in history):
        return _draw_mmd(history, title, reference)
    if history and reference.get("reference_energy") is not None:
        return _draw_energy(history, title, reference)
    metrics = sorted(
        {key for line in history for key in line if key.startswith(("train_", "test_")) and not key.endswith("loss")}
    )
    figure = Figure(figsize=(9.0 if metrics else 5.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if metrics else 1, squeeze=False)[0]
    steps = [line["epoch"] for line in history]
    loss = np.array([line["loss"] for line in history], float)

    left = axes[0]
    left.plot(steps, loss, label="training")
    if any("test_loss" in line for line in history):
        left.plot(steps, [line.get("test_loss", np.nan) for line in history], label="test")
    left.set_ylabel("loss")
    left.legend(frameon=False)
    left.set_xlabel("epoch")
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


def _draw_energy(history: list[dict[str, Any]], title: str, summary: dict[str, Any]) -> bytes:
    """The energy with those it is compared with, and its distance to the exact one over what is good enough."""
    steps = [line["step"] for line in history]
    energy = np.array([line["loss"] for line in history], float)
    figure = energy_panels(steps, {"training": energy}, summary["reference_energy"], summary)
    for name, value in (levels(summary)).values():
        figure.axes[0].axhline(
            value, color=LEVEL_COLOURS.get(name, "black"), linestyle="--", linewidth=1.2, label=name, zorder=1
        )
    return finish_energies(figure, axis_of(history), str(summary.get("system", title)), summary, whole=True)


LEVEL_COLOURS = {"Hartree-Fock": "#D55E00"}
ROUNDING = 1e-12  # distances below are what rounding leaves


def energy_panels(x: Any, energies: dict[str, np.ndarray], exact: Any, summary: dict[str, Any]) -> Any:
    """A figure of energies by name against x, and beside it, where the exact ones are known, of their distances to
    these, on a log scale, over the band that is good enough."""
    from quprop.plots import panels

    known = bool(np.isfinite(np.asarray(exact, float)).any())
    figure, axes = panels(1 + known, 4.8, 3.8)
    style = "o-" if len(x) <= 60 else "-"
    for place, (name, energy) in enumerate(energies.items()):
        look = {"color": LEVEL_COLOURS.get(name, "#0072B2"), "markersize": 3.5, "linewidth": 1.4, "zorder": 2 + place}
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
        right.axhspan(low, value, color="#009E73", alpha=0.15, linewidth=0, label=label, zorder=0)
        right.set_ylim(low, max(right.get_ylim()[1], 3 * value))
    return figure


def finish_energies(figure: Any, x: str, title: str, summary: dict[str, Any], *, whole: bool = False) -> bytes:
    """Names of the axes and legends. whole: x counts."""
    from matplotlib.ticker import MaxNLocator

    from quprop.plots import picture

    figure.axes[0].ticklabel_format(axis="y", useOffset=False)
    for axes, what in zip(figure.axes, ("energy", "distance to the exact energy"), strict=False):
        axes.set_ylabel(in_unit(what, summary))
        axes.set_xlabel(x)
        axes.legend(frameon=False, fontsize=8)
        if whole:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return picture(figure, title)


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
