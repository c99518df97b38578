"""``quprop train``: train a built-in problem or one from a TOML file."""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quprop.cli.common import (
    INTERRUPTED,
    Backend,
    Json,
    Lines,
    Quiet,
    console_for,
    find_own,
    listed,
    one_of,
    reported,
    told,
    write_file,
    write_lines,
    write_result,
)
from quprop.cli.models import named
from quprop.cli.tables import as_it_is
from quprop.cost import human_seconds, short_bytes
from quprop.errors import QupropError, count_of, nearest
from quprop.files import check_outputs, read_text
from quprop.folding_table import FoldingTable
from quprop.hardware_models import PRESETS
from quprop.problems.combinatorial import RATIO, WORDS
from quprop.problems.config import Config, override, settle
from quprop.problems.estimated import BUDGET
from quprop.problems.run import configure, definition_of, find, run
from quprop.problems.table import PROBLEMS
from quprop.report.wording import phrase
from quprop.runs import RunFolder, refuse_existing
from quprop.simulate.distributed.serve import leading
from quprop.training.curves import RIVALS, accuracy, difference
from quprop.training.loggers import logger

EXPORTED_GATES = 50_000  # of a circuit.qasm, some megabytes; larger ones are written by a call of one's own
BESIDE = ("circuit.qasm", "samples.npy", "samples.png", "covariance.png")  # files of generative models

_PROBLEM_LIST = "\n\n".join(f"[bold]{name}[/bold]  {escape(spec.title)}" for name, spec in PROBLEMS.items())
EPILOG = f"""[bold]Problems[/bold]

{_PROBLEM_LIST}

[bold]Examples[/bold]

quprop train digits

quprop train tfim --set n=12 --set layers=6 --out runs/chain

quprop train tfim --set n=6 --noise superconducting

quprop train maxcut --set file=graph.txt --set start=published

quprop train labs --set n=16

quprop train portfolio --set n=10,k=3,q=2

quprop train molecule --set atoms="Li 0 0 0; H 0 0 1.6" --set active=2,5

quprop train my.toml --json result.json

quprop train tfim --set n=4,steps=50 --method parameter_shift --shots 1000 --backend aer

quprop train digits --resume

mpirun -n 8 quprop train my.toml

`quprop train NAME --settings` lists every key that --set and a TOML file know."""


def _settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the keys of the problem that the command line names."""
    named = next((PROBLEMS[word] for word in (ctx.params.get("what"), *ctx.args) if word in PROBLEMS), None)
    keys = [f"{key}=" for table in named.schema.values() for key in table] if named else []
    return [key for key in keys if key.startswith(incomplete)]


@reported
def train_command(
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE.toml",
            help="A built-in problem, or a TOML file that defines one.",
            autocompletion=one_of(PROBLEMS),
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The run folder. Default: runs/NAME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in that folder.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change a setting; may be given again.", autocompletion=_settings
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            "--noise",
            metavar="NAME",
            help="Errors of a machine, such as superconducting:0.1 (a tenth).",
            autocompletion=one_of([name for name, machine in PRESETS.items() if machine.noise]),
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="Estimate gradients from shots; `quprop methods` lists them.",
            autocompletion=one_of(listed("quprop.problems.estimated", "NAMES")),
        ),
    ] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", metavar="N", min=1, help="Of each circuit of the method.")
    ] = None,
    backend: Backend = None,
    mitigation: Annotated[
        str | None,
        typer.Option(
            "--mitigation",
            metavar="KIND",
            help="Of the backend's noise: readout, zero_noise or both.",
            autocompletion=one_of(listed("quprop.problems.estimated", "MITIGATIONS")),
        ),
    ] = None,
    rerun_lost: Annotated[
        bool, typer.Option("--rerun-lost", help="Pay once more for jobs that failed or are lost.")
    ] = False,
    budget_shots: Annotated[
        int | None, typer.Option("--budget-shots", metavar="N", min=1, help="The most shots of the run on a backend.")
    ] = None,
    budget_seconds: Annotated[
        float | None, typer.Option("--budget-seconds", metavar="S", help="The most seconds of the machine.")
    ] = None,
    budget_dollars: Annotated[
        float | None, typer.Option("--budget-dollars", metavar="D", help="The most dollars.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of initial parameters and batches.")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of the simulation. Default: all cores.")
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option("--log", metavar="LOGGER:WHERE", help="Log to tensorboard:DIR, mlflow:EXPERIMENT, wandb:PROJECT."),
    ] = None,
    json_file: Json = None,
    lines_file: Lines = None,
    quiet: Quiet = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="List the settings with their defaults and leave.")
    ] = False,
) -> None:
    """Train a quantum model on a real problem, with exact gradients or those of a method, simulated or on a device.

    Shows its progress, and at the end how good the model is and what each gradient cost. Ctrl-C leaves a run that
    --resume continues.
    """
    console = console_for(quiet)
    if what not in PROBLEMS and not what.endswith(".toml") and not Path(what).is_file():
        raise QupropError(f"unknown problem {what!r}: {nearest(what, PROBLEMS)} (or give a file ending in .toml)")
    name, given = named(what)
    if settings:
        _show_settings(console, name)
        return
    for text in set_ or []:
        override(given, text, find(name).schema)
    options = {
        "seed": seed,
        "noise": noise,
        "method": method,
        "shots": shots,
        "backend": backend,
        "mitigation": mitigation,
        "budget_shots": budget_shots,
        "budget_seconds": budget_seconds,
        "budget_dollars": budget_dollars,
    }
    asked = {key: value for key, value in options.items() if value is not None}
    if asked:
        given.setdefault("train", {}).update(asked)
    default = Path("runs") / (name if what == name else Path(what).stem)
    out = out or default
    check_outputs(json=json_file, jsonl=lines_file, out=out)
    config = _resumed(out, name, given) if resume else configure(name, given)
    if not resume:
        refuse_existing(out)
    find_own(config["train"].get("backend"))
    loggers = [logger(text) for text in log or []]
    again = f"quprop train {quote(what)}{'' if out == default else f' --out {quote(str(out))}'} --resume"
    leader = leading()
    if leader is not None:
        again = f"mpirun -n {leader.ranks.size} {again}"
    _show_start(console, config, out, resume)
    if leader is not None:  # whatever ends the ranks may leave no time for a word
        as_it_is(console, f"if the ranks are cut, continue with: {again}")
    with told(out, again):
        summary = run(
            config, out=out, resume=resume, progress=not quiet, threads=threads, callback=loggers, rerun_lost=rerun_lost
        )
    if summary["status"] == "interrupted":
        as_it_is(console, f"Stopped after step {summary['steps']}; the checkpoint is written. Continue with: {again}")
        raise typer.Exit(INTERRUPTED)
    write_result(json_file, summary)
    stopped = summary.get("device", {}).get("stopped")
    if stopped:
        why = stopped.partition(";")[0]
        as_it_is(console, f"Stopped after step {summary['steps']}: {why}. With a larger one it goes on: {again}")
    if lines_file is not None:
        write_lines(lines_file, map(json.loads, read_text(out / "metrics.jsonl").splitlines()))
    _export(out, config)
    _show_result(console, summary, out)


def _export(out: Path, config: Config) -> None:
    """Write the trained circuit whose samples are wanted, to be run where it can be: parameters as numbers, the sampled
    qubits measured."""
    problem = find(config["problem"]["name"]).build(config)
    if not problem.measured or problem.circuit is None or len(problem.circuit) > EXPORTED_GATES:
        return
    from quprop.hybrid.qasm import to_qasm

    found = RunFolder.open(out).read_checkpoint()
    assert found is not None
    text = to_qasm(problem.circuit.bound(found[0]["params/theta"]), measured=problem.measured)
    write_file(out / BESIDE[0], text.encode())


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
            if key in BUDGET:
                config[section][key] = now
            elif now != then:
                raise QupropError(
                    f"the run in {out} was started with {section}.{key} = {then!r}, got {now!r}: leave it out, or "
                    "start a new run"
                )
    return config


def _show_settings(console: Console, name: str) -> None:
    schema: dict[str, dict[str, Any]] = find(name).schema
    for section, values in settle(schema, {"problem": {"name": name}}).items():
        as_it_is(console, f"[{section}]")
        for key, value in values.items():
            setting = schema[section][key]
            choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
            as_it_is(console, f"{key} = {_toml(value)}  # {setting.help}{choices}")


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def _show_start(console: Console, config: Config, out: Path, resume: bool) -> None:
    name = config["problem"]["name"]
    console.print(f"[bold]{name}[/bold]: {escape(PROBLEMS[name].title)}", highlight=False)
    as_it_is(console, f"{'resuming' if resume else 'writing to'} {out}")


def _show_result(console: Console, summary: dict[str, Any], out: Path) -> None:
    console.print()
    for line in _verdict(summary):
        as_it_is(console, line)
    console.print()
    console.print(device_table(summary) if "device" in summary else _cost_table(summary))
    as_it_is(console, f"summary.json, metrics.jsonl, curves.png in {out}")
    if beside := [name for name in BESIDE if (out / name).exists()]:
        as_it_is(console, f"{', '.join(beside)} beside them")


def _verdict(summary: dict[str, Any]) -> list[str]:
    """How good the model is, against the known best."""
    lines = []
    if "test_accuracy" in summary:
        lines.append(
            f"test accuracy {summary['test_accuracy']:.4f}    {summary['reference_name']} "
            f"{summary['reference_accuracy']:.4f}"
        )
    if "energy" in summary:
        lines += _energy_verdict(summary)
    if "expected_cut" in summary:
        sampled = f", best of the sampled cuts {summary['sampled_cut']:g}" if "sampled_cut" in summary else ""
        best = f", largest possible {summary['best_cut']:g}" if "best_cut" in summary else ""
        lines.append(f"expected cut   {summary['expected_cut']:.4f}{sampled}{best}")
    if "approximation_ratio" in summary or "solutions" in summary or "expected_cut" in summary:
        lines += _bit_strings_verdict(summary)
    if "noise" in summary:
        channels = count_of(summary["channels"], "channel")
        lines.append(f"noise          {summary['noise']}, {channels}; {_clean(summary)}")
    if "test_mmd2" in summary:
        lines += _samples_verdict(summary)
    if "engine" in summary:
        lines.append(f"simulated by   {summary['engine']}")
    if "exact_loss" in summary:
        lines.append(_of_device(summary))
    lines.append(f"{count_of(summary['steps'], 'step')} in {human_seconds(summary['seconds'])} ({summary['status']})")
    return lines


def _bit_strings_verdict(summary: dict[str, Any]) -> list[str]:
    """Of a cost of bit strings: how near the expected one is to the lowest, and the best strings that were sampled."""
    lines = []
    if "no_samples" in summary:
        lines.append(f"no samples     {summary['no_samples']}")
    if "approximation_ratio" in summary:
        lines.append(f"ratio          {summary['approximation_ratio']:.4f}, {RATIO}")
    said = [key for key in WORDS if key not in ("highest_energy", "sampled_energy", "start_source")]
    lines += [f"{WORDS[key]}: {_read(summary[key])}" for key in said if key in summary]
    if "chosen" in summary:
        lines.append(f"chosen: {', '.join(summary['chosen'])}")
    if "one_side" in summary:
        lines.append(f"on one side of the best cut: {', '.join(summary['one_side'])}")
    if found := summary.get("solutions"):
        wide = max(len("cost"), *(len(f"{row['cost']:.6g}") for row in found))
        lines.append(f"best samples   {'cost':>{wide}}  of {summary['shots']:,}  bits, qubit 0 first")
        lines += [f"{'':15}{row['cost']:>{wide}.6g}  {row['count']:8,}  {row['bits']}" for row in found]
    return lines


def _read(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _of_device(summary: dict[str, Any]) -> str:
    """What the device read at the end, beside what the same parameters give exactly."""
    if "stopped" in summary["device"]:  # what was read last is of the step before
        return f"exact loss     {summary['exact_loss']:.6f} at the parameters found"
    error = summary["device"].get("loss_stderr")
    off = summary["loss"] - summary["exact_loss"]
    told = f"{off:+.4f}" + (f" ± {error:.4f}" if error is not None else "")
    return f"loss           {summary['loss']:.6f}; exact at these parameters {summary['exact_loss']:.6f} ({told})"


def _clean(summary: dict[str, Any]) -> str:
    """What the same parameters give without noise."""
    if "noiseless_test_accuracy" in summary:
        return f"without it the same parameters have test accuracy {summary['noiseless_test_accuracy']:.4f}"
    if "noiseless_test_loss" in summary:
        return f"without it the same parameters have test loss {summary['noiseless_test_loss']:.6g}"
    what = "energy" if "energy" in summary else "loss"
    return f"without it the same parameters have {what} {summary['noiseless_loss']:.8f}"


def _samples_verdict(summary: dict[str, Any]) -> list[str]:
    """How far a generative model's samples are from test data, and those of its rivals."""

    def measured(key: str) -> str:
        error = summary[f"{key}_error"]
        return f"{summary[key]:.2e}" + (f" ± {error:.1e}" if error else "")

    lines = [f"{'':19}MMD² on test data     KGEL, nats".rstrip()]
    for key, name in {"": "circuit", **{f"{k}_": name for k, name in RIVALS.items()}}.items():
        if f"{key}test_mmd2" in summary:
            weighed = f"{summary[f'{key}kgel']:.3g}" if f"{key}kgel" in summary else ""
            lines.append(f"{name:19}{measured(f'{key}test_mmd2'):22}{weighed}".rstrip())
    lines.append(
        f"covariances        off test data by {summary['covariance_error']:.2g}, training data by "
        f"{summary['train_covariance_error']:.2g} (r.m.s.)"
    )
    if "samples_mmd2" in summary:
        drawn = f"{count_of(summary['shots'], 'sample')}"
        lines.append(f"{drawn:19}{measured('samples_mmd2')}")
    if "samples_total_variation" in summary:
        lines.append(
            f"{'':19}total variation {summary['samples_total_variation']:.3f} from what is exact, "
            f"{summary['samples_total_variation_expected']:.3f} expected"
        )
    if "no_samples" in summary:
        lines.append(f"no samples         {summary['no_samples']}")
    return lines


def _energy_verdict(summary: dict[str, Any]) -> list[str]:
    """The energy beside those it is compared with, in their unit."""
    unit = f" {summary['energy_unit']}" if "energy_unit" in summary else ""
    lines = []
    if "system" in summary:
        lines.append(summary["system"])
        lines.append(f"qubits {summary['n_qubits']}, terms {summary['terms']:,}, parameters {summary['n_params']:,}")
        if chosen := summary.get("operators"):
            more = f", ... ({len(chosen)})" if len(chosen) > 3 else ""
            lines.append(f"operators {', '.join(chosen[:3])}{more}")
        lines.append("")
    lines.append(f"energy         {summary['energy']:.8f}{unit}")
    if "hartree_fock_energy" in summary:
        lines.append(f"Hartree-Fock   {summary['hartree_fock_energy']:.8f}{unit}")
    if "reference_energy" not in summary:
        return [*lines, f"known best     {summary['reference_name']}"]
    bound = f"{summary['reference_name']}, " if "bound" in summary["reference_name"] else ""
    where = " (in the active space)" if "reference_label" in summary else ""
    lines.append(f"{bound or 'exact          '}{summary['reference_energy']:.8f}{unit}{where}")
    good = accuracy(summary)
    reached = good and ("reached" if abs(summary["energy_error"]) <= good[1] else "not reached")
    told = f" ({good[0]}, {difference(good[1], summary)}, {reached})" if good else ""
    lines.append(f"error          {difference(summary['energy_error'], summary)}{told}")
    if good and summary["energy_error"] < -good[1]:
        lines.append("               below the exact one: this circuit does not keep electrons and spin")
    return lines


def device_table(summary: dict[str, Any]) -> Table:
    """What was planned of the rounds that were run, what their counts show, and what was paid in all."""
    device = summary["device"]
    table = FoldingTable(title=f"on {device['name']}", title_justify="left", width=80)
    table.add_column("")
    for name in ("planned", "executed", "paid"):
        table.add_column(name, justify="right")
    every = (device["planned"], device, device["paid"])
    for key in ("jobs", "circuits", "shots", "rotations"):
        table.add_row(key, *(f"{spent[key]:,}" for spent in every))
    if any(spent.get("seconds") is not None for spent in every):
        times = (spent.get("seconds") for spent in every)
        table.add_row("time of the machine", *("" if t is None else human_seconds(t) for t in times))
    if any(spent.get("dollars") is not None for spent in every):
        sums = (spent.get("dollars") for spent in every)
        table.add_row("dollars", *("" if d is None else f"{d:,.2f}" for d in sums))
    table.add_section()
    table.add_row("two-qubit gates of a circuit", f"{device['two_qubit_gates']:,}", "", "")
    table.add_row("depth", f"{device['depth']:,}", "", "")
    return table


def _cost_table(summary: dict[str, Any]) -> Table:
    """Rotations executed, omega as measured, and what parameter shift would have executed."""
    table = FoldingTable(title="what the gradients cost", title_justify="left", width=80)
    table.add_column("")
    if "cost" in summary:
        table.add_column("executed", justify="right")
        cost, asked = summary["cost"], summary["gradient_evaluations"]
        table.add_row("gradients (samples)", f"{asked:,}")
        for name in ("copies", "measurements", "rotations", "classical_ops"):
            table.add_row(phrase(name), f"{cost[name]:,}")
        return table
    table.add_column("value", justify="right")
    table.add_column("exact gradient", justify="right")
    table.add_column("ratio", justify="right")
    omega = "ω in {}"
    batch = summary["batch"]
    table.add_row(
        omega.format("time") + (f" (batch of {batch})" if batch > 1 else ""),
        human_seconds(summary["value_seconds"]),
        human_seconds(summary["gradient_seconds"]),
        f"{summary['omega_time']:.2f}",
    )
    table.add_row(
        omega.format("memory"),
        short_bytes(summary["value_bytes"]),
        short_bytes(summary["gradient_bytes"]),
        f"{summary['omega_memory']:.2f}",
    )
    table.add_row(
        "evaluations (samples)", f"{summary['value_evaluations']:,}", f"{summary['gradient_evaluations']:,}", ""
    )
    if "rotations" not in summary:  # a loss that is computed without running the circuit
        return table
    m = summary["n_rotations"]
    table.add_row("rotations each", f"{m:,}", f"{3 * m:,}", "3.00" if m else "")
    table.add_section()
    done, shift = summary["rotations"], summary["parameter_shift_rotations"]
    table.add_row("rotations executed", "", f"{done:,}", "")
    table.add_row("by parameter shift", "", f"{shift:,}", f"{shift / done:,.1f}x" if done else "")
    return table
