"""``quprop reproduce``: run an experiment of the papers and write its figure and numbers."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from quprop.cli.compare import check_target, console_for
from quprop.cli.errors import reported
from quprop.errors import QupropError, nearest
from quprop.experiments import EXPERIMENTS
from quprop.report.step_progress import StepProgress
from quprop.runs import versions, write_atomically, write_json

EPILOG = """[bold]Examples[/bold]

quprop reproduce

quprop reproduce triggers --quick

quprop reproduce gates --out results --json gates.json"""


@reported
def reproduce_command(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which one. Without it: the list of all.")] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of NAME.png and NAME.json; made if need be.")
    ] = Path("runs/reproduce"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and smaller cases, within a minute.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all draws.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the whole result there too.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Run an experiment of the papers: its measured numbers, a figure, and what was found, in words."""
    console = console_for(quiet)
    check_target("--json", json_file)
    if name is None:
        _list(console, json_file)
        return
    if name not in EXPERIMENTS:
        raise QupropError(f"unknown experiment {name!r}: {nearest(name, EXPERIMENTS)}")
    if out.exists() and not out.is_dir():
        raise QupropError(f"--out {out} is a file; give a folder")
    experiment = EXPERIMENTS[name]
    if not quick and experiment.minutes >= 1:
        _line(console, f"{name} takes about {experiment.minutes:g} minutes; --quick within one.")
    start = time.perf_counter()
    try:
        with StepProgress(console, name) as bar:
            result = experiment.run(quick, seed, bar)
    except KeyboardInterrupt:
        raise OSError("interrupted; nothing was written") from None
    picture = experiment.draw(result)
    result |= {
        "experiment": name,
        "claim": experiment.claim,
        "source": experiment.source,
        "quick": quick,
        "seed": seed,
        "seconds": round(time.perf_counter() - start, 1),
        "versions": versions(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", result)
    write_atomically(out / f"{name}.png", picture)
    if json_file is not None:
        write_json(json_file, result)
    _line(console, f"{name}: {experiment.claim}")
    _line(console, experiment.source)
    for finding in result["findings"]:
        _line(console, f"- {finding}", hanging="  ")
    _line(console, f"{name}.png and {name}.json in {out}, {result['seconds']:.1f} s")


def _list(console: Console, json_file: Path | None) -> None:
    for e in EXPERIMENTS.values():
        how_long = f"{e.minutes:g} min" if e.minutes >= 1 else "seconds"
        console.print(f"{e.name} ({how_long})", style="bold", highlight=False)
        _line(console, f"  {e.claim}", hanging="  ")
        _line(console, f"  {e.source}", hanging="  ")
    if json_file is not None:
        write_json(
            json_file,
            {e.name: {"claim": e.claim, "source": e.source, "minutes": e.minutes} for e in EXPERIMENTS.values()},
        )


def _line(console: Console, text: str, hanging: str = "") -> None:
    console.print(textwrap.fill(text, 80, subsequent_indent=hanging), markup=False, highlight=False, soft_wrap=True)
