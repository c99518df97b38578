"""``quprop scaling``: measure how the cost of a gradient grows with the number of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from quprop.cli.common import (
    INTERRUPTED,
    Json,
    Lines,
    Plot,
    Quiet,
    Workers,
    console_for,
    reported,
    some_of,
    split,
    with_options,
    write_file,
    write_lines,
    write_picture,
    write_result,
)
from quprop.cli.tables import as_it_is, narrow_table
from quprop.errors import QupropError, count_of
from quprop.files import check_outputs
from quprop.gradients import COSTED
from quprop.planning.measured.families import FAMILIES
from quprop.planning.measured.sweep import Fit, fits, tasks
from quprop.runs import versions
from quprop.runs.executor import Row, Task, TaskFailed, open_executor, run_tasks
from quprop.runs.folder import nothing_to_resume
from quprop.runs.progress import TASKS, Progress

EPILOG = """[bold]Families[/bold]: {}

[bold]Examples[/bold]

quprop scaling --workers 2 --out runs/scaling --plot scaling.png

quprop scaling --family hardware_efficient --methods parameter_shift --m-max 512

quprop scaling --figure2 --constants --plot figure2.png

Rows are kept in OUT/rows.jsonl as they come: after Ctrl-C, or with more instances or a larger --m-max, the same command
with --resume computes only what is missing.""".format(", ".join(FAMILIES))

NO_FIT = "there is no exponent to draw: a fit needs three sizes, so widen --m-min and --m-max"


@dataclass(frozen=True)
class ScalingRequest:
    """What the command line says."""

    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="A,B",
            help="Only these. Default: those with a known exponent.",
            autocompletion=some_of(COSTED),
        ),
    ] = None
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="A,B",
            help="Only these families of models.",
            autocompletion=some_of(FAMILIES),
        ),
    ] = None
    m_max: Annotated[int, typer.Option("--m-max", min=16, help="The largest number of parameters.")] = 4096
    m_min: Annotated[int, typer.Option("--m-min", min=16, help="The smallest.")] = 64
    max_error: Annotated[
        float, typer.Option("--max-error", metavar="E", help="Mean largest error of a component, for all alike.")
    ] = 0.1
    instances: Annotated[int, typer.Option("--instances", min=1, help="Random points for each M.")] = 2
    out: Annotated[Path, typer.Option("--out", help="Folder of the rows.")] = Path("runs/scaling")
    resume: Annotated[bool, typer.Option("--resume", help="Keep the rows that are in the folder.")] = False
    workers: Workers = None
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="local|ADDRESS", help="A dask cluster: local, or tcp://host:port.")
    ] = None
    figure2: Annotated[
        bool, typer.Option("--figure2", help="Figure 2 of Abbas et al. from its formulas; nothing is measured.")
    ] = False
    constants: Annotated[
        bool, typer.Option("--constants", help="With --figure2: constants and powers of the error too.")
    ] = False
    json_file: Json = None
    lines_file: Lines = None
    plot: Plot = None
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the shots.")] = 0
    quiet: Quiet = False


@reported
@with_options
def scaling_command(asked: ScalingRequest) -> None:
    """Measure how the rotations of one gradient grow with those of the circuit, M, each of which has a parameter.

    At equal measured error, with the exponent fitted. Backpropagation scaling is an exponent of 1 up to logarithms; one
    by one estimation of the components has 2.
    """
    check_outputs(
        json=asked.json_file, jsonl=asked.lines_file, plot=asked.plot, out=None if asked.figure2 else asked.out
    )
    console = console_for(asked.quiet)
    if asked.figure2:
        from quprop.cli.figure2 import figure2
        from quprop.planning.measured.figure2 import Constants

        figure2(console, Constants() if asked.constants else None, asked.json_file, asked.plot)
        return
    if asked.constants:
        raise QupropError("--constants belongs to --figure2; add it, or leave --constants out")
    rows = _measured(asked, console)
    found = fits(rows)
    result = {
        "kind": "scaling",
        "max_error": asked.max_error,
        "seed": asked.seed,
        "fits": [f.as_dict() for f in found],
        "rows": rows,
        "versions": versions(),
    }
    write_result(asked.out / "summary.json", result)
    write_result(asked.json_file, result)
    write_lines(asked.lines_file, rows)
    if found:
        from quprop.planning.measured.figure import draw_scaling

        picture = draw_scaling(found, asked.max_error)
        write_file(asked.out / "scaling.png", picture)
        if asked.plot is not None:
            write_picture(asked.plot, picture)
    elif asked.plot is not None:
        raise TaskFailed(NO_FIT)
    _show(console, rows, found, asked.out)


def _measured(asked: ScalingRequest, console: Console) -> list[Row]:
    """The rows of the sweep, those that the folder holds among them."""
    todo = _tasks(asked)
    file = asked.out / "rows.jsonl"
    if asked.resume and not file.exists():
        raise nothing_to_resume(asked.out, file.name)
    if file.exists() and file.stat().st_size and not asked.resume:
        raise QupropError(f"{file} holds rows already: continue with --resume, or choose another --out")
    try:
        with open_executor(asked.workers, asked.dask) as executor, Progress(console, TASKS, "rows") as progress:
            return run_tasks(todo, executor, out=file, progress=progress)
    except KeyboardInterrupt:
        as_it_is(console, f"Stopped; the finished rows are in {file}. Continue with the same command and --resume.")
        raise typer.Exit(INTERRUPTED) from None


def _tasks(asked: ScalingRequest) -> list[Task]:
    """Those of the sweep, refused where they could not make the figure that is asked for."""
    todo = tasks(
        split(asked.family),
        split(asked.methods),
        m_max=asked.m_max,
        m_min=asked.m_min,
        max_error=asked.max_error,
        instances=asked.instances,
        seed=asked.seed,
    )
    sizes: dict[tuple[str, str], set[int]] = {}
    for task in todo:
        sizes.setdefault((task.settings["family"], task.settings["method"]), set()).add(task.settings["m"])
    if asked.plot is not None and max(map(len, sizes.values())) < 3:
        raise QupropError(NO_FIT)
    return todo


def _show(console: Console, rows: list[Row], found: list[Fit], out: Path) -> None:
    for note in dict.fromkeys(
        f"{r['settings']['method']} on {r['settings']['family']}: {r['result']['refused']}"
        for r in rows
        if "refused" in r["result"]
    ):
        as_it_is(console, note)
    missed = [r for r in rows if not r["result"].get("reached", True)]
    if missed:
        missing = count_of(len(missed), "row")
        as_it_is(console, f"{missing} did not reach the error, and no fit has them; their trails are in rows.jsonl")
    if not found:
        as_it_is(console, "no fit: an exponent needs three sizes")
        return
    title = "rotations ~ M^a at equal max-norm error, 95 % intervals"
    view = narrow_table(title, "error", "a", "a, no log", "theory", ("", "left"), first="family, method")
    family = ""
    for fit in found:
        if fit.family != family:
            family = fit.family
            view.add_row(family)
        theory = "" if fit.theory is None else f"{fit.theory:.3g}"
        view.add_row(
            f"  {fit.method}", f"{fit.max_error:g}", f"{fit.raw.value:.3f}", str(fit.reduced), theory, fit.verdict
        )
    console.print(view)
    console.print()
    as_it_is(console, "no log: rotations divided by (E max of M normals)^2, about 2 ln 2M, which")
    as_it_is(console, "the largest of M independent errors costs; for Bell sampling by ln(4M/failure).")
    as_it_is(console, f"rows.jsonl, summary.json, scaling.png in {out}")
