"""``quprop reproduce``: the claims of the sources beside their measured numbers; run one, or all, again."""

from __future__ import annotations

import datetime
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from quprop.cli.common import Json, Lines, Quiet, console_for, one_of, reported, write_file, write_lines, write_result
from quprop.cli.tables import line
from quprop.cost import human_seconds
from quprop.errors import QupropError, nearest
from quprop.experiments import Experiment
from quprop.experiments.claims import CLAIMS, experiments
from quprop.experiments.claims.claim import HOLDS, IN_PART, UNDECIDED
from quprop.experiments.claims.table import Row, by_work, rows
from quprop.files import FileError, check_outputs, make_folder, read_text
from quprop.runs import plain, versions
from quprop.runs.executor import TaskFailed
from quprop.runs.progress import STEPS, Progress

EPILOG = """[bold]Examples[/bold]

quprop reproduce

quprop reproduce triggers --quick

quprop reproduce theorem_9_gates --out results --json gates.json

quprop reproduce --all --quick"""

COLOURS = {HOLDS: "green", IN_PART: "yellow", UNDECIDED: "blue"}


@reported
def reproduce_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A claim or an experiment. Without it: the table of all claims.",
            autocompletion=one_of(lambda: dict.fromkeys([*CLAIMS, *experiments()])),
        ),
    ] = None,
    all_of_them: Annotated[
        bool, typer.Option("--all", help="Run every experiment that --out has no result of yet.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of NAME.png and NAME.json; made if need be.")
    ] = Path("runs/reproduce"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and smaller cases, within a minute each.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all draws.")] = 0,
    json_file: Json = None,
    lines_file: Lines = None,
    quiet: Quiet = False,
) -> None:
    """The claims of the papers, each beside what was expected and what was measured; NAME measures one again."""
    console = console_for(quiet)
    check_outputs(json=json_file, jsonl=lines_file, out=out if name or all_of_them else None)
    if name is not None and all_of_them:
        raise QupropError(f"give a NAME or --all, got both {name!r} and --all")
    failed: list[str] = []
    if all_of_them:
        failed = _run_all(console, out, quick, seed)
    if name is None:
        table = rows(out)
        write_result(json_file, {row.claim.name: {"kind": "claim", **row.plain()} for row in table})
        write_lines(lines_file, ({"kind": "claim", **row.plain()} for row in table))
        for work, of_it in by_work(table).items():
            line(console, f"-- {work}", hanging="   ")
            for row in of_it:
                _show(console, row)
        line(console, _summary(table))
        if failed:
            raise TaskFailed(f"{', '.join(failed)} failed; the results of all others are in {out}")
        return
    experiment = CLAIMS[name].experiment if name in CLAIMS else name
    if experiment not in experiments():
        raise QupropError(f"unknown claim or experiment {name!r}: {nearest(name, [*CLAIMS, *experiments()])}")
    result = _run(console, experiment, out, quick, seed)
    tell(console, experiment, result, out, json_file)
    for row in rows(out, [experiment]):
        _show(console, row)


def measure(console: Console, experiment: Experiment, name: str, out: Path, quick: bool, seed: int) -> dict[str, Any]:
    """Run it, draw it, write NAME.png and NAME.json; the result as the file has it. Hours of work keep their pieces in
    NAME_runs, and go on there."""
    start = time.perf_counter()
    run, pieces = experiment.run, out / f"{name}_runs"
    if experiment.kept is not None and not quick:
        run = experiment.kept(pieces)
    try:
        with Progress(console, STEPS) as bar:
            result = run(quick, seed, bar)
    except KeyboardInterrupt:
        kept = f"the pieces of {name} are in {pieces}, and the same command goes on"
        raise KeyboardInterrupt(kept if pieces.exists() else f"nothing was written of {name}") from None
    picture = experiment.draw(result)
    result |= {
        "kind": "experiment",
        "experiment": name,
        "claim": experiment.claim,
        "source": experiment.source,
        "quick": quick,
        "seed": seed,
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    with suppress(FileError):  # whose files say it
        make_folder(out)
    write_file(out / f"{name}.png", picture)
    write_result(out / f"{name}.json", result)  # last: what says that it is done
    return json.loads(json.dumps(plain(result)))


def tell(console: Console, name: str, result: dict[str, Any], out: Path, json_file: Path | None) -> None:
    """What was claimed and found, and where it lies."""
    write_result(json_file, result)
    line(console, f"{name}: {result['claim']}")
    line(console, result["source"])
    for finding in result["findings"]:
        line(console, f"- {finding}", hanging="  ")
    line(console, f"{name}.png and {name}.json in {out}, {human_seconds(result['seconds'])}")


def _run(console: Console, name: str, out: Path, quick: bool, seed: int) -> dict[str, Any]:
    experiment = experiments()[name]
    if not quick and experiment.minutes >= 1:
        line(console, f"{name} takes about {experiment.minutes:g} minutes; --quick within one.")
    return measure(console, experiment, name, out, quick, seed)


def _run_all(console: Console, out: Path, quick: bool, seed: int) -> list[str]:
    """All experiments in turn, each written when it is done, so that a broken-off run goes on where it was; the names
    of those that failed, of which nothing is written."""
    failed = []
    for name in experiments():
        if _done(out / f"{name}.json", quick, seed):
            line(console, f"{name}: in {out} already")
            continue
        try:
            result = _run(console, name, out, quick, seed)
        except QupropError as error:  # an extra that is not installed: the others go on
            line(console, f"{name}: left out, {error}")
            continue
        except Exception as error:
            failed.append(name)
            line(console, f"{name}: failed, {type(error).__name__}: {error}")
            continue
        line(console, f"{name}: {human_seconds(result['seconds'])}; {result['findings'][0]}", hanging="  ")
        if not _done(out / f"{name}.json", quick, seed):  # it could not be written, and nor could those of the others
            break
    return failed


def _done(path: Path, quick: bool, seed: int) -> bool:
    try:
        kept = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(kept, dict)
        and (kept.get("quick"), kept.get("seed")) == (quick, seed)
        and isinstance(kept.get("versions"), dict)
        and kept["versions"].get("quprop") == versions()["quprop"]
    )


def _show(console: Console, row: Row) -> None:
    verdict = row.found.verdict if row.found else "not measured"
    console.print(row.claim.title, style="bold", highlight=False)
    console.print(f"  {row.claim.name}  ", end="", highlight=False)
    console.print(verdict, style=COLOURS.get(verdict, "red"), highlight=False)
    line(console, f"  {row.claim.statement} ({row.claim.source})", hanging="  ")
    line(console, f"  expected: {row.claim.expected}", hanging="    ")
    if row.found:
        size = "" if not row.run else f" ({'quick, ' if row.run.get('quick') else ''}{row.run.get('date', 'undated')})"
        line(console, f"  measured: {row.found.measured}{size}", hanging="    ")
        if row.found.why:
            line(console, f"  {'note' if verdict == HOLDS else 'but'}: {row.found.why}", hanging="    ")
    line(console, f"  {row.command}")


def _summary(table: list[Row]) -> str:
    verdicts = [row.found.verdict if row.found else "not measured" for row in table]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    return f"{len(table)} claims: {counts}. quprop reproduce --all --quick measures them again, on small cases."
