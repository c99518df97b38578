"""``quprop compare``: what one gradient of a model costs by every method, at equal precision."""

from __future__ import annotations

from typing import Annotated

import typer

from quprop.cli.common import (
    Json,
    Lines,
    Machine,
    MaxError,
    Methods,
    Plot,
    Precision,
    Quiet,
    Set,
    Workers,
    check_error,
    console_for,
    one_of,
    reported,
    split,
    write_lines,
    write_picture,
    write_result,
)
from quprop.cli.models import PLANNED, load
from quprop.errors import QupropError
from quprop.files import check_outputs
from quprop.hardware_models import PRESETS, hardware
from quprop.planning.compare import RUN_SECONDS, compare
from quprop.planning.compare_table import parts
from quprop.runs.executor import open_executor
from quprop.runs.progress import TASKS, Progress
from quprop.tables import show

EPILOG = f"""[bold]Models[/bold]: {", ".join(PLANNED)} (at their start parameters, with the first training sample),
a file that Model.save wrote (at random parameters), or a TOML file as for quprop train.

[bold]Hardware[/bold]: {", ".join(PRESETS)}, or a TOML file; `quprop plan --machines` lists them.

[bold]Examples[/bold]

quprop compare tfim --precision 0.05

quprop compare tfim --set n=6 --max-error 0.1 --hardware trapped_ion --plot compare.png

quprop compare model.json --precision 0.01 --methods adjoint,parameter_shift --json table.json"""


@reported
def compare_command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A built-in problem, a saved model, or a TOML file.",
            autocompletion=one_of(PLANNED),
        ),
    ],
    precision: Precision = None,
    max_error: MaxError = None,
    failure: Annotated[float, typer.Option("--failure", help="Probability that an error exceeds that.")] = 0.01,
    hardware_: Machine = "figure2",
    methods: Methods = None,
    set_: Set = None,
    run_limit: Annotated[
        float, typer.Option("--run-limit", metavar="SECONDS", help="Cost, but do not run, what would take longer.")
    ] = RUN_SECONDS,
    workers: Workers = None,
    json_file: Json = None,
    lines_file: Lines = None,
    plot: Plot = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of parameters and shots.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Say what one gradient costs by every method at equal precision, and how far that is from backpropagation.

    omega is the cost of the gradient over the cost of the value F itself, to the same precision; backpropagation
    scaling means that it stays small however many parameters there are.
    """
    check_error(precision, max_error)
    if not run_limit >= 0:
        raise QupropError(f"--run-limit must be 0 seconds or more, got {run_limit}")
    check_outputs(json=json_file, jsonl=lines_file, plot=plot)
    hardware(hardware_)  # refused before the work
    model, point = load(what, set_ or [], seed)
    console = console_for(quiet)
    try:
        with open_executor(workers) as executor, Progress(console, TASKS, "methods") as progress:
            found = compare(
                model,
                precision=precision,
                max_error=max_error,
                failure=failure,
                methods=split(methods),
                hardware=hardware_,
                rng=seed,
                run_seconds=run_limit,
                executor=executor,
                progress=progress if console.is_terminal else None,
                **point,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written") from None
    write_result(json_file, {"what": what, "seed": seed, **found.as_dict()})
    write_lines(lines_file, (row.as_dict() for row in found.rows))
    if plot is not None:
        from quprop.planning.compare_figure import draw_comparison

        write_picture(plot, draw_comparison(found))
    show(console, parts(found, what))
