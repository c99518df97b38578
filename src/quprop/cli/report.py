"""``quprop report``: runs and results as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from quprop.cli.common import Json, Quiet, console_for, reported, write_result
from quprop.cli.tables import line
from quprop.cost import short_bytes
from quprop.errors import QupropError, count_of
from quprop.files import check_outputs
from quprop.lazy import install

if TYPE_CHECKING:
    from quprop.report import Report

EPILOG = f"""[bold]What it reads[/bold]: run folders of quprop train, and of train(..., out=...) in
Python; folders of quprop scaling, reproduce and carleman; what --json of any
command wrote; what Model.save wrote; folders of those.

[bold]Examples[/bold]

quprop report runs/digits

quprop report runs/digits runs/tfim compare.json --out all.html

quprop report runs/chain --watch

Everything is in the file: it needs no network, and may be sent on. Needs {escape(install("report"))}."""


@reported
def report_command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, JSON files, or folders that hold some.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The HTML file; an older report is replaced.")] = (
        Path("report.html")
    ),
    watch: Annotated[bool, typer.Option("--watch", help="Write it anew while a run is going, until it ends.")] = False,
    every: Annotated[float, typer.Option("--every", metavar="SECONDS", help="How often, with --watch.")] = 5.0,
    json_file: Json = None,
    quiet: Quiet = False,
) -> None:
    """Make one self-contained HTML file of training runs, comparisons, scalings, plans and experiments.

    What cannot be read is said in the report and here; the report is made of the rest.
    """
    from quprop.report import check_out, collect, write
    from quprop.report.watch import watch as watch_runs

    if not every >= 0.5:
        raise QupropError(f"--every must be half a second or more, got {every:g}")
    check_out(out)
    check_outputs(json=json_file)
    console = console_for(quiet)
    if watch:
        report, size = watch_runs(runs, out, every=every, say=lambda text: line(console, text))
    else:
        report = collect(runs)
        size = write(report, out)
    write_result(json_file, {"report": out, "bytes": size, **_contents(report)})
    for note in report.all_notes():
        line(console, f"- {note}", hanging="  ")
    count = len(report.sections)
    what = report.sections[0].title if count == 1 else f"{count_of(count, 'result')}"
    line(console, f"{what}: {out}, {short_bytes(size)}; open it in a browser")


def _contents(report: Report) -> dict[str, Any]:
    sections = [{"title": s.title, "kind": s.label, "from": s.source, "notes": s.notes} for s in report.sections]
    return {"sections": sections, "notes": report.notes}
