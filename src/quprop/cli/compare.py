"""``quprop compare``: what one gradient of a model costs by every method, at equal precision."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

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
    write_file,
    write_lines,
    write_result,
)
from quprop.cli.models import PLANNED, load
from quprop.cli.tables import line, narrow_table, toffolis
from quprop.cost import PRESETS, hardware, human_seconds, short, short_bytes
from quprop.errors import QupropError
from quprop.files import check_outputs
from quprop.gradients import COSTED
from quprop.planning.compare import RUN_SECONDS, Comparison, MethodRow, compare
from quprop.runs.executor import open_executor
from quprop.runs.progress import TASKS, Progress

EPILOG = f"""[bold]Models[/bold]: {", ".join(PLANNED)} (at their start parameters, with the first training sample),
a file that Model.save wrote (at random parameters), or a TOML file as for quprop train.

[bold]Hardware[/bold]: {", ".join(PRESETS)}, or a TOML file.

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
    machine: Machine = "figure2",
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
    hardware(machine)  # refused before the work
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
                hardware=machine,
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

        write_file(plot, draw_comparison(found))
    show(console, what, found)


def show(console: Console, what: str, found: Comparison) -> None:
    line(console, f"{what}: {found.model.removeprefix('Model: ')}; largest component {found.true:.3g}")
    line(
        console,
        f"Standard error {found.precision:.3g} of every component; all within {found.max_error:.3g} except with "
        f"probability {found.failure:g}.",
    )
    console.print()
    console.print(_costs(found))
    toffolis(console, {row.name: row.cost for row in _in_order(found)})
    if found.rivalry:
        line(console, found.rivalry, "  ")
    console.print()
    console.print(_errors(found))
    if any(r.bias is not None for r in found.rows):
        console.print()
        console.print(_biases(found))
        line(
            console,
            "bias: the mean estimate against the exact gradient of the noisy model; from noiseless: against that of "
            "the model without its noise. More shots mend neither.",
        )
    notes = [f"{r.name}: {note}" for r in found.rows for note in (r.not_run, r.too_large, r.damage) if note]
    notes += [f"{name} does not apply: {why}" for name, why in found.refused.items()]
    if notes:
        console.print()
        for note in notes:
            line(console, note, "  ")
    console.print()
    line(console, found.advice)


def _costs(found: Comparison) -> Table:
    table = narrow_table("what it executes", "copies", "runs", "rotations", "depth", "qubits", "ω time", "ω mem.")
    value = found.value
    table.add_row("the value F", *_counts(value), "1", "1")
    for row in _in_order(found):
        counts = ("-", "-", "-", *_counts(row.cost)[3:]) if row.simulated else _counts(row.cost)
        table.add_row(row.name, *counts, _ratio(row.omega_time), _ratio(row.omega_memory))
    return table


def _in_order(found: Comparison) -> list[MethodRow]:
    """What a simulator alone can do first, then the fewest rotations and Toffolis first, formulas last."""
    return sorted(found.rows, key=lambda r: (COSTED[r.name].costed_only, not r.simulated, r.cost.gates))


def _counts(cost: Any) -> tuple[str, ...]:
    return (
        *(_compact(n) for n in (cost.copies, cost.measurements, cost.rotations, cost.depth)),
        _compact(cost.qubits),
    )


def _errors(found: Comparison) -> Table:
    table = narrow_table(
        "what comes out", "error", "expected", "class. ops", "class. mem", f"on {found.hardware.name[:14]}"
    )
    for row in _in_order(found):
        table.add_row(
            row.name,
            "not run" if row.measured is None else f"{row.measured:.2g}",
            "" if row.expected is None else f"{row.expected:.2g}",
            short(row.cost.classical_ops) if row.cost.classical_ops else "-",
            short_bytes(row.cost.classical_bytes) if row.cost.classical_bytes else "-",
            _when(row),
        )
    return table


def _biases(found: Comparison) -> Table:
    table = narrow_table("what noise does to it", "of shots", "bias", "from noiseless")
    for row in _in_order(found):
        known = [None if v is None else f"{v:.2g}" for v in (row.expected, row.bias, row.noise_bias)]
        if row.measured is not None:
            table.add_row(row.name, *(v or "not known" for v in known))
    return table


def _when(row: MethodRow) -> str:
    if row.simulated:
        return f"{human_seconds(row.seconds)} here" if row.seconds else "-"
    return human_seconds(row.seconds)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 100 else _compact(round(value))


def _compact(count: int) -> str:
    return f"{count:,}" if count < 100_000 else f"{count:.2e}".replace("e+0", "e").replace("e+", "e")
