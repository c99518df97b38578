"""``quprop train``: train a built-in problem or one from a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from quprop.cli.errors import INTERRUPTED, reported
from quprop.cli.options import Json, Quiet
from quprop.cli.tables import show_result, show_start
from quprop.errors import QupropError, nearest
from quprop.files import FileError, check_outputs
from quprop.problems.config import Config, override, read_toml, settle
from quprop.problems.run import configure, definition_of, find, run
from quprop.problems.table import PROBLEMS
from quprop.runs import RunFolder, refuse_existing, write_json

_PROBLEM_LIST = "\n\n".join(f"[bold]{name}[/bold]  {escape(spec.title)}" for name, spec in PROBLEMS.items())
EPILOG = f"""[bold]Problems[/bold]

{_PROBLEM_LIST}

[bold]Examples[/bold]

quprop train digits

quprop train tfim --set n=12 --set layers=6 --out runs/chain

quprop train my.toml --json result.json

quprop train digits --resume

`quprop train NAME --settings` lists every key that --set and a TOML file know."""


@reported
def train_command(
    what: Annotated[
        str, typer.Argument(metavar="NAME|FILE.toml", help="A built-in problem, or a TOML file that defines one.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The run folder. Default: runs/NAME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in that folder.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given again.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of initial parameters and batches.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of the simulation. Default: all cores.")
    ] = None,
    json_file: Json = None,
    quiet: Quiet = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="List the settings with their defaults and leave.")
    ] = False,
) -> None:
    """Train a quantum model on a real problem, with exact gradients.

    Shows its progress, and at the end how good the model is and what each gradient cost. Ctrl-C leaves a run that
    --resume continues.
    """
    console = Console(quiet=quiet, width=None if Console().is_terminal else 80)
    name, given = _given(what)
    schema = find(name).schema
    if settings:
        _show_settings(console, name)
        return
    for text in set_ or []:
        override(given, text, schema)
    if seed is not None:
        given.setdefault("train", {})["seed"] = seed
    default = Path("runs") / (name if what == name else Path(what).stem)
    out = out or default
    check_outputs(json=json_file, out=out)
    config = _resumed(out, name, given) if resume else configure(name, given)
    if not resume:
        refuse_existing(out)
    show_start(console, config, out, resume)
    place = "" if out == default else f" --out {out}"
    again = f"quprop train {what}{place} --resume"
    try:
        summary = run(config, out=out, resume=resume, progress=not quiet, threads=threads)
    except KeyboardInterrupt:
        begun = (out / "run.toml").exists()
        raise KeyboardInterrupt(f"continue with: {again}" if begun else "nothing was written") from None
    except FileError as error:
        if not (out / "checkpoint.npz").exists():
            raise
        raise FileError(f"{error}; the last checkpoint stands: {again}") from None
    if summary["status"] == "interrupted":
        console.print(
            f"Stopped after step {summary['steps']}; the checkpoint is written. Continue with: {again}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(INTERRUPTED)
    if json_file is not None:
        write_json(json_file, summary)
    show_result(console, summary, out)


def _given(what: str) -> tuple[str, Config]:
    """The problem's name and what the file says beside it."""
    if what in PROBLEMS:
        return what, {}
    if not what.endswith(".toml") and not Path(what).is_file():
        raise QupropError(f"unknown problem {what!r}: {nearest(what, PROBLEMS)} (or give a file ending in .toml)")
    given = read_toml(Path(what))
    problem = given.get("problem")
    if not isinstance(problem, dict) or "name" not in problem:
        raise QupropError(
            f'{what} must name its problem: write [problem] and name = "...", one of {", ".join(PROBLEMS)}'
        )
    find(problem["name"])
    return problem["name"], given


def _resumed(out: Path, name: str, given: Config) -> Config:
    """The settings the run was started with; what is asked for now must not differ from them."""
    config = definition_of(RunFolder.open(out))
    started = config["problem"]["name"]
    if started != name:
        raise QupropError(
            f"the run in {out} is of the problem {started!r}, got {name!r}: resume it by its name, or choose another "
            "--out"
        )
    # Settled once so that `1` and `1.0`, or a relative file name, are not taken for differences.
    asked = configure(name, given)
    for section, values in given.items():
        for key in values:
            now, then = asked[section][key], config[section][key]
            if now != then:
                raise QupropError(
                    f"the run in {out} was started with {section}.{key} = {then!r}, got {now!r}: leave it out, or "
                    "start a new run"
                )
    return config


def _show_settings(console: Console, name: str) -> None:
    schema: dict[str, dict[str, Any]] = find(name).schema
    for section, values in settle(schema, {"problem": {"name": name}}).items():
        console.print(f"[{section}]", markup=False, highlight=False)
        for key, value in values.items():
            setting = schema[section][key]
            choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
            console.print(
                f"{key} = {_toml(value)}  # {setting.help}{choices}", markup=False, highlight=False, soft_wrap=True
            )


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
