"""The program ``quprop``: its options and subcommands. Exit status 0, 1 (failed), 2 (bad usage or input) or 130
(interrupted)."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from itertools import zip_longest
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from quprop.runs import versions
from quprop.simulate import get_engine
from quprop.simulate.distributed.ranks import launched_size
from quprop.simulate.distributed.serve import together
from quprop_cli import leads

COMMANDS = ("train", "scan", "compare", "plan", "methods", "scaling", "reproduce", "carleman", "report")  # a file each
SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": "rich",
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


# What makes others write colours where nobody sees them: notebooks and build services set it for all that they start.
FORCING = ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE", "GITHUB_ACTIONS")


class Commands(TyperGroup):
    """Subcommands whose file is imported when they are asked for: half of the time of a short command otherwise."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]  # names, for typer's "did you mean"

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, name: str) -> Any:
        if name not in COMMANDS:
            return None
        module = import_module(f"quprop.cli.{name}")
        group = getattr(module, f"{name}_app", None)
        if group is None:
            group = typer.Typer(**SETTINGS)
            group.command(name, epilog=module.EPILOG)(getattr(module, f"{name}_command"))
        command = typer.main.get_command(group)
        command.name = name
        return command


app = typer.Typer(
    name="quprop",
    help="Train parameterised quantum models, and know what their gradients cost.",
    epilog="""Exit status: 0 done, 1 a run failed or a result could not be written, 2 bad input, 130 interrupted.

quprop --install-completion teaches your shell to complete commands, problems, methods and machines.""",
    cls=Commands,
    no_args_is_help=True,
    **{**SETTINGS, "add_completion": True},
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


def main() -> None:
    for name in FORCING:
        os.environ.pop(name, None)
    program = partial(app, _filled_in(sys.argv[1:]))
    if launched_size() > 1:
        together(program, partial(get_engine, "distributed"), leads=leads())
    program()


def _filled_in(arguments: list[str]) -> list[str]:
    """`--dask` alone means a local cluster; typer has no options whose value may be left out."""
    out = []
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue="--"):
        out.append(argument)
        if argument == "--dask" and following.startswith("-"):
            out.append("local")
    return out
