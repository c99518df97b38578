"""``quprop scan``: an energy against a setting of its problem, such as a bond length."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from quprop.cli.common import INTERRUPTED, Json, Quiet, console_for, reported, told
from quprop.cli.models import named
from quprop.cli.tables import as_it_is
from quprop.errors import QupropError, count_of, nearest
from quprop.files import check_outputs
from quprop.problems.config import override
from quprop.problems.run import find
from quprop.problems.scan import FIGURE, lines, over, scan
from quprop.problems.table import PROBLEMS
from quprop.runs import refuse_existing, write_json
from quprop.training.curves import levels

EPILOG = """[bold]Examples[/bold]

quprop scan molecule --set atoms="H 0 0 0; H 0 0 {r}" --over r=0.4:2.4:0.1

quprop scan tfim --over h=0.2:2:0.2 --set n=8

quprop scan molecule --set atoms="H 0 0 0; H 0 0 {r}" --over r=0.4:2.4:0.1 --resume"""


@reported
def scan_command(
    what: Annotated[
        str, typer.Argument(metavar="NAME|FILE.toml", help="A problem with an energy, or a TOML file that defines one.")
    ],
    values: Annotated[
        str, typer.Option("--over", metavar="KEY=A:B:STEP", help="The setting, and its values; or KEY=A,B,C.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The run folder. Default: runs/NAME-scan.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the scan in that folder.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given again.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of initial parameters.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of the simulation. Default: all cores.")
    ] = None,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Follow an energy along a setting of its problem: a molecule's along a bond length, a chain's along its field.

    Each point is trained from where the one before ended, and compared with the exact energy. Ctrl-C leaves a scan that
    --resume continues.
    """
    console = console_for(quiet)
    if what not in PROBLEMS and not what.endswith(".toml"):
        raise QupropError(f"unknown problem {what!r}: {nearest(what, PROBLEMS)} (or give a file ending in .toml)")
    name, given = named(what)
    for text in set_ or []:
        override(given, text, find(name).schema)
    if seed is not None:
        given.setdefault("train", {})["seed"] = seed
    key, points = over(values)
    default = Path("runs") / f"{name if what == name else Path(what).stem}-scan"
    out = out or default
    check_outputs(json=json_file, out=out)
    if not resume:
        refuse_existing(out)
    as_it_is(console, f"{'resuming' if resume else 'writing to'} {out}")
    with told(out, "the same command and --resume"):
        summary = scan(name, key, points, given, out=out, resume=resume, progress=not quiet, threads=threads)
    if summary["status"] == "interrupted":
        done = len(summary["points"])
        stopped = f"Stopped after {done} of {count_of(len(points), 'point')}"
        as_it_is(console, f"{stopped}. Continue with the same command and --resume")
        raise typer.Exit(INTERRUPTED)
    if json_file is not None:
        write_json(json_file, summary)
    console.print(_table(summary))
    for line in lines(summary):
        as_it_is(console, line)
    as_it_is(console, f"summary.json, metrics.jsonl, {FIGURE} in {out}")


def _table(summary: dict[str, Any]) -> Table:
    """A row a point: energies in their unit, the error as its field writes it."""
    points = summary["points"]
    milli = summary.get("energy_unit") == "Hartree"
    known = {key: name for p in points for key, (name, _) in levels(summary | p).items()}
    unit = f", {summary['energy_unit']}" if "energy_unit" in summary else ""
    table = Table(title=str(summary.get("system", summary["problem"])) + unit, title_justify="left")
    for head in (summary["key"], *known.values(), "VQE", "error" + (", mHa" if milli else "")):
        table.add_column(head, justify="right")
    for p in points:
        error = p.get("energy_error")
        told = "" if error is None else f"{round(1e3 * error, 4) + 0.0:.4f}" if milli else f"{error:.2e}"
        cells = [f"{p[key]:.8f}" if key in p else "" for key in known]
        table.add_row(f"{p['value']:g}", *cells, f"{p['energy']:.8f}", told)
    return table
