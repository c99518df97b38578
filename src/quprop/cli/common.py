"""What the commands share: options, and how they end.

A command ends with one sentence on stderr and the right exit status, never with a traceback for a user's mistake.
"""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TextIO, get_type_hints

import typer
from rich.console import Console

from quprop.errors import QupropError
from quprop.files import STDOUT, FileError, write_atomically
from quprop.hardware_models import PRESETS
from quprop.plots import Picture
from quprop.runs import plain
from quprop.runs.executor import TaskFailed
from quprop.runs.interrupt import Interrupt
from quprop.runs.progress import plain_console
from quprop.simulate.distributed.serve import leading
from quprop.training.train import TrainingFailed

# -- what the shell completes -----------------------------------------------------------------------------------------


Names = Iterable[str] | Callable[[], Iterable[str]]


def one_of(names: Names) -> Callable[[str], list[str]]:
    """Completes a name; what is none of them may be a file, and is left to the shell."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in (names() if callable(names) else names) if name.startswith(incomplete)]

    return complete


def some_of(names: Names) -> Callable[[str], list[str]]:
    """Completes the last name of several with commas between."""
    one = one_of(names)

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in one(last) if name not in before.split(",")]

    return complete


def listed(module: str, name: str) -> Callable[[], Iterable[str]]:
    """The names of a table in a module that is not imported before somebody asks."""
    return lambda: getattr(import_module(module), name)


# -- options that several commands have, with the same words everywhere -----------------------------------------------

Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the whole result there too; - is standard output, and the words then go to standard error.",
    ),
]
Lines = Annotated[
    Path | None,
    typer.Option("--jsonl", metavar="FILE", help="Its rows there, one JSON object a line; - as for --json."),
]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw it there: .png, .pdf or .svg.")]
Machine = Annotated[
    str,
    typer.Option("--hardware", metavar="NAME", help="What turns counts into time.", autocompletion=one_of(PRESETS)),
]
Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        metavar="A,B",
        help="Only these; `quprop methods` lists all.",
        autocompletion=some_of(listed("quprop.gradients", "COSTED")),
    ),
]
Precision = Annotated[float | None, typer.Option("--precision", metavar="E", help="Standard error of every component.")]
MaxError = Annotated[
    float | None, typer.Option("--max-error", metavar="E", help="Largest error of all components at once.")
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the problem.")]
BACKENDS = ("quprop", "aer", "fake_manila", "ibm:", "braket", "pennylane:")
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend", metavar="NAME", help="A device that runs circuits, by its name.", autocompletion=one_of(BACKENDS)
    ),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Processes. Default: one.")]


def with_options(command: Callable[[Any], None]) -> Callable[..., None]:
    """The command line of a command whose one argument is a dataclass of options, `Annotated` as typer knows them."""
    (argument,) = get_type_hints(command).keys() - {"return"}
    request = get_type_hints(command)[argument]
    hints = get_type_hints(request, include_extras=True)

    @functools.wraps(command)
    def run(**options: Any) -> None:
        command(request(**options))

    kind, none = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    listed = [
        inspect.Parameter(f.name, kind, default=none if f.default is MISSING else f.default, annotation=hints[f.name])
        for f in fields(request)
    ]
    run.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
    run.__annotations__ = hints
    return run


def split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def find_own(backend: str | None) -> None:
    """Lets "module:function" name a module in this folder too, as it does where Python itself runs a script."""
    here = os.getcwd()
    if backend and ":" in backend and here not in sys.path:
        sys.path.append(here)


def check_error(precision: float | None, max_error: float | None) -> None:
    if (precision is None) == (max_error is None):
        raise QupropError("give one of --precision E and --max-error E")


def console_for(quiet: bool) -> Console:
    """What a command prints on; a result whose file cannot be written is printed even if `quiet`."""
    command = _running.get()
    console = plain_console(quiet and not (command and command.failed))
    if command is not None:
        command.consoles.append(console)
    return console


# -- results ----------------------------------------------------------------------------------------------------------


@dataclass
class _Running:
    """The command that runs: where `-` is, what it prints on, and the results that it could not write."""

    out: TextIO
    consoles: list[Console] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


_running: ContextVar[_Running | None] = ContextVar("_running", default=None)


def write_result(path: Path | None, value: Any) -> None:
    """What --json asks for. A place that takes nothing ends the command when it has printed its result, not before."""
    if path is not None:
        write_file(path, (json.dumps(plain(value), indent=2) + "\n").encode())


def write_lines(path: Path | None, rows: Iterable[Any]) -> None:
    """What --jsonl asks for, in the same way."""
    if path is not None:
        write_file(path, "".join(json.dumps(plain(row)) + "\n" for row in rows).encode())


def write_file(path: Path, data: bytes) -> None:
    """A file that an option asks for, in the same way."""
    command = _running.get()
    try:
        if command is None or str(path) != STDOUT:
            write_atomically(path, data)
        else:
            try:
                command.out.write(data.decode())
                command.out.flush()
            except OSError as error:
                raise _no_output(error) from None
    except FileError as error:
        if command is None:
            raise
        command.failed.append(str(error))
        for console in command.consoles:
            console.quiet = False


def write_picture(path: Path, drawn: Picture) -> None:
    """A figure, in the format that the suffix names, in the same way."""
    write_file(path, drawn.as_format(path.suffix))


# -- how commands end -------------------------------------------------------------------------------------------------

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
_ON_RANKS = ("train", "plan", "methods", "report")  # commands that a launcher of MPI may start
_OUTPUT_GONE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # nobody reads, or no room


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Exit status 2 for input that is refused, 1 for a run that fails or a result that cannot be written, 130 for one
    that Ctrl-C or SIGTERM ends.

    Both arrive in the command as KeyboardInterrupt; the text of one that it raises again says what is left to do.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        now = _Running(sys.stdout)
        token = _running.set(now)
        try:
            with ExitStack() as stack:
                stack.enter_context(Interrupt(at_once=True))
                if STDOUT in (str(options.get(name)) for name in ("json_file", "lines_file")):
                    stack.enter_context(redirect_stdout(sys.stderr))
                _refuse_ranks(command)
                try:
                    command(*arguments, **options)
                except typer.Exit:
                    if not now.failed:
                        raise
                sys.stdout.flush()
            if now.failed:
                _fail("; ".join([*now.failed, "the result is printed above"]), FAILED)
        except KeyboardInterrupt as error:
            _fail("; ".join(["interrupted", *map(str, error.args)]), INTERRUPTED)
        except FileError as error:
            _fail(error, FAILED)
        except QupropError as error:
            _fail(error, BAD_INPUT)
        except (TrainingFailed, TaskFailed, MemoryError, OSError) as error:
            if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_GONE:
                _let_go_of_output()
                error = _no_output(error)
            _fail("; ".join([*now.failed, str(error) or type(error).__name__]), FAILED)
        finally:
            _running.reset(token)

    return run


def _refuse_ranks(command: Callable[..., None]) -> None:
    name = command.__module__.rpartition(".")[2]
    if leading() is not None and name not in _ON_RANKS:
        raise QupropError(f"`quprop {name}` works in one process: start it without mpirun")


@contextmanager
def told(out: Path, again: str) -> Iterator[None]:
    """What ends a run before its end says how it is continued."""

    def words() -> str:
        return f"continue with: {again}" if (out / "run.toml").exists() else "nothing was written"

    leader = leading()
    if leader is not None:
        leader.last_words = words
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(words()) from None
    except FileError as error:
        if not (out / "checkpoint.npz").exists():
            raise
        raise FileError(f"{error}; the last checkpoint stands: {again}") from None


def _no_output(error: OSError) -> FileError:
    return FileError(f"standard output cannot be written ({error.strerror}): send it elsewhere")


def _let_go_of_output() -> None:
    """Where stdout takes nothing more (a closed pipe, a full disk), Python must not try once more when it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _fail(error: Any, status: int) -> None:
    with suppress(OSError):
        print(f"quprop: {str(error) or type(error).__name__}", file=sys.stderr)
    raise typer.Exit(status)
