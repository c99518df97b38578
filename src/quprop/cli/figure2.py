"""Figure 2 of Abbas et al. on the command line: `quprop scaling --figure2` and `quprop plan --preset figure2`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from quprop.cli.common import write_picture, write_result
from quprop.cli.tables import line, narrow_table
from quprop.cost import short
from quprop.planning import presets
from quprop.planning.costs import people
from quprop.planning.measured.figure2 import NAMES, SHIFT, TWO, WORST, Constants

_HEADS = {SHIFT: "parameter shift", WORST: "worst case", TWO: "two batches"}


def figure2(console: Console, constants: Constants | None, json_file: Path | None, plot: Path | None) -> None:
    """`presets.figure2` as a file, as a figure and in words."""
    if constants is None:
        found = presets.figure2(with_constants=False)
    else:
        found = presets.figure2(constants.qubits, constants.error, constants.failure)
    write_result(json_file, found)
    if plot is not None:
        from quprop.planning.measured.figure import draw_figure2

        write_picture(plot, draw_figure2(constants))
    line(console, found["source"])
    for text in found["assumptions"]:
        line(console, f"  {text}", "    ")
    console.print()
    console.print("[bold]parameters of a gradient that takes (formula)[/bold]")
    table = narrow_table("", *found["laws"])
    for time, row in found["parameters"].items():
        table.add_row(time, *(_two(row[law]) for law in found["laws"]))
    console.print(table)
    shift = found["ten_thousand_parameters"]["M²"]
    console.print()
    line(console, f"10,000 parameters by parameter shift: {people(shift)}, the paper's day.")
    if constants is None:
        return
    honest = found["with_constants"]
    console.print()
    title = f"the same with constants, n = {constants.qubits}, error {constants.error:g}, failure {constants.failure:g}"
    console.print(f"[bold]{title}[/bold]", highlight=False)
    table = narrow_table("", *(_HEADS[law] for law in constants.laws))
    for time, row in honest["parameters"].items():
        table.add_row(time, *(_two(row[law]) if row[law] else "none" for law in constants.laws))
    console.print(table)
    console.print()
    own = honest["break_even_of_quprop"]
    for law in (WORST, TWO):
        line(console, f"{_HEADS[law]}: {NAMES[law]}.", "  ")
    line(
        console,
        f"With constants, from M = {honest['break_even']:.2g} parameters on quantum backpropagation is cheaper than "
        f"parameter shift in the theorem's worst case, and from {honest['break_even_of_two_batches']:.3g} with two "
        "batches"
        + (f", or from {own:.3g} by quprop's own counts of both, for rotations of slope 1" if own else "")
        + "; its classical hypothesis of 4^(n+1) numbers is left out of all. quprop plan has stronger rivals than "
        "parameter shift.",
    )


def _two(m: float) -> str:
    return f"{m:.0f}" if m < 99.5 else f"{m:.1e}".replace("e+0", "e") if m >= 1e4 else short(m)
