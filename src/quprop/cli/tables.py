"""What ``quprop train`` prints before and after training; fits 80 columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quprop.problems.config import Config
from quprop.problems.table import PROBLEMS


def show_start(console: Console, config: Config, out: Path, resume: bool) -> None:
    name = config["problem"]["name"]
    console.print(f"[bold]{name}[/bold]: {escape(PROBLEMS[name].title)}", highlight=False)
    console.print(f"{'resuming' if resume else 'writing to'} {out}", markup=False, highlight=False, soft_wrap=True)


def show_result(console: Console, summary: dict[str, Any], out: Path) -> None:
    console.print()
    for line in verdict(summary):
        console.print(line, markup=False, highlight=False)
    console.print()
    console.print(cost_table(summary))
    console.print(f"summary.json, metrics.jsonl, curves.png in {out}", markup=False, highlight=False, soft_wrap=True)


def verdict(summary: dict[str, Any]) -> list[str]:
    """How good the model is, against the known best."""
    lines = []
    if "test_accuracy" in summary:
        lines.append(
            f"test accuracy {summary['test_accuracy']:.4f}    {summary['reference_name']} "
            f"{summary['reference_accuracy']:.4f}"
        )
    if "energy" in summary:
        unit = f" {summary['energy_unit']}" if "energy_unit" in summary else ""
        lines.append(f"energy         {summary['energy']:.8f}{unit}")
        if "reference_energy" in summary:
            lines.append(f"exact          {summary['reference_energy']:.8f}{unit}")
            lines.append(f"error          {summary['energy_error']:.3e}{unit}{_accuracy(summary)}")
        else:
            lines.append(f"known best     {summary['reference_name']}")
    if "expected_cut" in summary:
        best = f", largest possible {summary['best_cut']:g}" if "best_cut" in summary else ""
        lines.append(
            f"expected cut   {summary['expected_cut']:.4f}, best of the sampled cuts {summary['sampled_cut']:g}{best}"
        )
    lines.append(f"{summary['steps']} steps in {summary['seconds']:.1f} s ({summary['status']})")
    return lines


def _accuracy(summary: dict[str, Any]) -> str:
    if "chemical_accuracy" not in summary:
        return ""
    return (
        " (chemical accuracy reached)" if summary["chemical_accuracy"] else " (chemical accuracy, 1.6e-3, not reached)"
    )


def cost_table(summary: dict[str, Any]) -> Table:
    """Rotations executed, omega as measured, and what parameter shift would have executed."""
    table = Table(title="what the gradients cost", title_justify="left", width=80)
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("exact gradient", justify="right")
    table.add_column("ratio", justify="right")
    omega = "ω in {}"
    batch = summary["batch"]
    table.add_row(
        omega.format("time") + (f" (batch of {batch})" if batch > 1 else ""),
        _seconds(summary["value_seconds"]),
        _seconds(summary["gradient_seconds"]),
        f"{summary['omega_time']:.2f}",
    )
    table.add_row(
        omega.format("memory"),
        _bytes(summary["value_bytes"]),
        _bytes(summary["gradient_bytes"]),
        f"{summary['omega_memory']:.2f}",
    )
    table.add_row(
        "evaluations (samples)", f"{summary['value_evaluations']:,}", f"{summary['gradient_evaluations']:,}", ""
    )
    m = summary["n_rotations"]
    table.add_row("rotations each", f"{m:,}", f"{3 * m:,}", "3.00" if m else "")
    table.add_section()
    done, shift = summary["rotations"], summary["parameter_shift_rotations"]
    table.add_row("rotations executed", "", f"{done:,}", "")
    table.add_row("by parameter shift", "", f"{shift:,}", f"{shift / done:,.1f}x" if done else "")
    return table


def _seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def _bytes(value: float) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"
