"""The program ``quprop``: its options and subcommands. Exit status 0, 1 (failed) or 2 (bad usage or input)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from quprop.cli import carleman, compare, methods, plan, report, reproduce, scaling, train
from quprop.runs import versions

app = typer.Typer(
    name="quprop",
    help="Train parameterised quantum models, and know what their gradients cost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"quprop {versions()['quprop']}")
        raise typer.Exit()


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.command("train", epilog=train.EPILOG)(train.train_command)
app.command("compare", epilog=compare.EPILOG)(compare.compare_command)
app.command("scaling", epilog=scaling.EPILOG)(scaling.scaling_command)
app.command("methods", epilog=methods.EPILOG)(methods.methods_command)
app.command("reproduce", epilog=reproduce.EPILOG)(reproduce.reproduce_command)
app.command("plan", epilog=plan.EPILOG)(plan.plan_command)
app.command("report", epilog=report.EPILOG)(report.report_command)
app.add_typer(carleman.carleman_app)


def main() -> None:
    app(_filled_in(sys.argv[1:]))


def _filled_in(arguments: list[str]) -> list[str]:
    """`--dask` alone means a local cluster; typer has no options whose value may be left out."""
    out = []
    for argument, following in zip(arguments, [*arguments[1:], "--"], strict=True):
        out.append(argument)
        if argument == "--dask" and following.startswith("-"):
            out.append("local")
    return out
