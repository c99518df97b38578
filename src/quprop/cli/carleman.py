"""``quprop carleman``: a classical network trained as one sparse linear system, what it takes, whether it pays."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from quprop.cli.app import SETTINGS
from quprop.cli.carleman_options import (
    EXPERIMENT_NAMES,
    Batch,
    Data,
    Eps,
    Folder,
    Length,
    Name,
    Order,
    Out,
    Precision,
    Seed,
    Set,
    Single,
    SolverName,
    Sparsity,
    Threads,
    Warm,
)
from quprop.cli.carleman_tables import analysis_rows, read_as, show_training
from quprop.cli.common import (
    Json,
    Lines,
    Machine,
    Plot,
    Quiet,
    console_for,
    one_of,
    reported,
    write_file,
    write_lines,
    write_picture,
    write_result,
)
from quprop.cli.tables import line, pairs
from quprop.errors import QupropError, nearest
from quprop.files import FileError, check_outputs, make_folder
from quprop.runs import versions
from quprop.runs.progress import STEPS, Progress

carleman_app = typer.Typer(
    name="carleman",
    help="Train a classical network through quantum Carleman linearisation, emulated, with every query counted.",
    no_args_is_help=True,
    **SETTINGS,
)
EPILOG = """Large networks are those of 20,000 parameters and more.

[bold]Examples[/bold]

quprop carleman analyse mlp --data digits --sparsity 0.8

quprop carleman analyse resnet --data cifar100 --folder data --set depth=32 --set widen=4

quprop carleman analyse nets/wave.py:make --data house.csv --momentum 0.9 --weight-decay 1e-4

quprop carleman train mlp --blocks 8 --block-length auto --dense-steps 10 --plot train.png

quprop carleman experiment --out runs/carleman"""

LARGE = 20_000  # parameters from which on defaults are those of a large network
# Samples of the Hessian, Lanczos steps and probes of `analyse` up to so many parameters: minutes on two cores.
USUAL = {LARGE: (256, 64, 2), 1_000_000: (128, 64, 2), 20_000_000: (8, 16, 1), float("inf"): (2, 8, 1)}


@carleman_app.command("analyse", epilog=EPILOG)
@reported
def analyse_command(
    network: Name,
    data: Data = "digits",
    folder: Folder = None,
    set_: Set = None,
    order: Order = 3,
    rate: Annotated[float, typer.Option("--rate", help="Learning rate.")] = 0.1,
    momentum: Annotated[float, typer.Option("--momentum", help="Of the descent that is analysed.")] = 0.0,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", help="Default: the network's own.", show_default=False)
    ] = None,
    steps: Annotated[
        int,
        typer.Option(
            "--steps",
            min=0,
            help="Plain training steps before the analysis; without them it is of the weights as they are made.",
        ),
    ] = 0,
    batch: Batch = None,
    block_length: Length = "auto",
    longest: Annotated[int, typer.Option("--longest", min=1, help="The most steps of an automatic block.")] = 100,
    sparsity: Sparsity = 0.9,
    precision: Precision = 0.01,
    solver: SolverName = "kernel_reflection",
    eps: Eps = 1e-3,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=1, help="Training samples of the Hessian. Default: 256, fewer for large networks."
        ),
    ] = None,
    truncation_samples: Annotated[
        int | None,
        typer.Option(
            "--truncation-samples",
            min=1,
            help="Training samples that the truncation error is measured on. Default: as many as make 20 million with "
            "the parameters, at least 8.",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Truncation error of the update that ends an automatic block.")
    ] = 0.01,
    lanczos: Annotated[
        int | None,
        typer.Option("--lanczos", min=1, help="Steps of a Lanczos run. Default: 64, fewer from a million on."),
    ] = None,
    probes: Annotated[
        int | None,
        typer.Option("--probes", min=1, help="Lanczos runs averaged, after one for the ends. Default: 2, then 1."),
    ] = None,
    machine: Machine = "figure2",
    single: Single = None,
    threads: Threads = 1,
    out: Out = None,
    json_file: Json = None,
    plot: Plot = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Hessian spectrum, error proxy, radius, block length, condition number, queries, copies, and a verdict."""
    check_outputs(json=json_file, plot=plot, out=out)
    console = console_for(quiet)
    length = _length(block_length)
    loaded, made = _network(network, data, folder, set_, seed, single, threads, smooth=False)
    usual = next(effort for most, effort in USUAL.items() if made.n_parameters < most)
    from quprop.carleman.loop_report import analysis_report

    with Progress(console, STEPS) as bar:
        report = analysis_report(
            made,
            loaded,
            seed,
            learning_rate=rate,
            order=order,
            warm_up=steps,
            batch_size=_batch(batch, made, loaded),
            sparsity=sparsity,
            block_length=length,
            longest=longest,
            precision=precision,
            solver=solver,
            eps=eps,
            samples=min(samples or usual[0], len(loaded.x_train)),
            truncation_samples=truncation_samples,
            tolerance=tolerance,
            lanczos_steps=lanczos or usual[1],
            probes=probes or usual[2],
            momentum=momentum,
            weight_decay=weight_decay,
            machine=machine,
            weights=f"the weights that {network} returned" if ":" in network else "random initial weights",
            progress=bar,
        )
    report |= {"seed": seed, "versions": versions()}
    from quprop.carleman.figure import draw_analysis

    _write(report, lambda: draw_analysis(report), "analysis", out, json_file, plot)
    rows = analysis_rows(report, loaded, length, solver=solver, eps=eps, precision=precision)
    pairs(console, f"{network} on {data}, learning rate {rate:g}, order {order}", rows)
    for text in report["warnings"]:
        line(console, f"warning: {text}")
    line(console, report["verdict"])


@carleman_app.command("train", epilog=EPILOG)
@reported
def train_command(
    network: Name,
    data: Data = "digits",
    folder: Folder = None,
    set_: Set = None,
    order: Order = 3,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Learning rate. Default: 0.5, for large networks 0.05.")
    ] = None,
    warm_up: Warm = 200,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Linearised steps in all.")] = None,
    blocks: Annotated[int, typer.Option("--blocks", min=1, help="The most uploads.")] = 8,
    block_length: Length = "auto",
    longest: Annotated[
        int | None,
        typer.Option("--longest", min=1, help="The most steps of an automatic block. Default: 100, large networks 40."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Truncation error that ends an automatic block.")
    ] = 0.05,
    sparsity: Sparsity = 0.8,
    dense_steps: Annotated[int, typer.Option("--dense-steps", min=0, help="Plain dense steps between blocks.")] = 10,
    batch: Batch = None,
    momentum: Annotated[float, typer.Option("--momentum", help="Of the heavy ball, from 0 to below 1.")] = 0.0,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", help="w of w/2 |theta|^2. Default: the network's.")
    ] = None,
    masked: Annotated[
        bool, typer.Option("--masked/--unmasked", help="Within a block only the survivors move, or all parameters.")
    ] = True,
    readout: Annotated[
        str, typer.Option("--readout", help="exact, or shots.", autocompletion=one_of(("exact", "shots")))
    ] = "exact",
    precision: Precision = 0.01,
    solver: SolverName = "kernel_reflection",
    eps: Eps = 1e-3,
    single: Single = None,
    threads: Threads = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run folder: checkpoints, result, figure, parameters.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in that folder.")] = False,
    json_file: Json = None,
    lines_file: Lines = None,
    plot: Plot = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Warm up, then prune, upload, run a block as a linear system, download, again; beside it plain descent.

    With --out a stopped or killed run is continued by the same command and --resume, and ends as if it had not been.
    """
    check_outputs(json=json_file, jsonl=lines_file, plot=plot, out=out)
    console = console_for(quiet)
    if out is None and resume:
        raise QupropError("--resume needs the run's folder: give --out DIR")
    length = _length(block_length)
    loaded, made = _network(network, data, folder, set_, seed, single, threads)
    large = made.n_parameters >= LARGE
    from quprop.carleman.loop_report import training_report
    from quprop.carleman.train import Loop, train

    settings = Loop(
        learning_rate=rate if rate is not None else 0.05 if large else 0.5,
        order=order,
        blocks=blocks,
        steps=steps,
        block_length=length,
        longest=longest or (40 if large else 100),
        tolerance=tolerance,
        warm_up=warm_up,
        sparsity=sparsity,
        dense_steps=dense_steps,
        readout=readout,
        precision=precision,
        solver=solver,
        eps=eps,
        batch_size=_batch(batch, made, loaded),
        hessian_samples=256 if large else 512,
        lanczos_steps=16 if large else 24,
        momentum=momentum,
        weight_decay=weight_decay,
        masked=masked,
    )
    line(console, f"{network} on {data}: {read_as(loaded)}")
    try:
        with Progress(console, STEPS) as bar:
            result = train(
                made,
                loaded,
                settings,
                seed,
                say=lambda text: line(console, text),
                tick=lambda done, what: bar(done, blocks, what),
                out=out,
                resume=resume,
            )
        report = training_report(result, loaded) | {"seed": seed, "versions": versions()}
        from quprop.carleman.figure import draw_training

        _write(report, lambda: draw_training(report), "training", out, json_file, plot)
        write_lines(lines_file, report["blocks"])
        if out is not None:
            import numpy as np

            content = io.BytesIO()
            np.save(content, result.theta)
            write_file(out / "parameters.npy", content.getvalue())
    except KeyboardInterrupt:
        kept = out is not None and (out / "run.toml").exists()
        raise KeyboardInterrupt(
            "continue with the same command and --resume" if kept else "nothing was kept; --out DIR keeps checkpoints"
        ) from None
    show_training(console, report)
    if result.diverged is not None:
        raise typer.Exit(1)


@carleman_app.command("experiment")
@reported
def experiment_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Which one. Without it: the list of all.",
            autocompletion=one_of(EXPERIMENT_NAMES),
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of NAME.png and NAME.json.")] = Path(
        "runs/carleman"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and smaller cases.")] = False,
    folder: Folder = None,
    json_file: Json = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """`quprop reproduce carleman_NAME`, into NAME.png and NAME.json: measured numbers, a figure, what was found."""
    console = console_for(quiet)
    check_outputs(json=json_file, out=out if name else None)
    from quprop.cli.reproduce import measure, tell
    from quprop.experiments.networks import EXPERIMENTS, full_size_in

    if name is None:
        for e in EXPERIMENTS.values():
            line(console, f"{e.name}: {e.claim}")
        write_result(json_file, {e.name: {"claim": e.claim, "source": e.source} for e in EXPERIMENTS.values()})
        return
    if name not in EXPERIMENTS:
        raise QupropError(f"unknown experiment {name!r}: {nearest(name, EXPERIMENTS)}")
    experiment = EXPERIMENTS[name]
    if folder is not None:
        if name != "full_size":
            raise QupropError(f"--folder belongs to the experiment 'full_size', got {name!r}; leave it out")
        experiment = replace(experiment, kept=lambda kept: full_size_in(kept, folder))
    tell(console, name, measure(console, experiment, name, out, quick, seed), out, json_file)


def _length(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise QupropError(f"--block-length is 'auto' or a whole number from 1, got {text!r}")
    return int(text)


def _network(
    name: str,
    data: str,
    folder: Path | None,
    set_: list[str] | None,
    seed: int,
    single: bool | None,
    threads: int,
    smooth: bool = True,
) -> tuple[Any, Any]:
    """The data, its regression targets in the shape of the network's outputs, and the network."""
    from quprop.carleman.networks import networks
    from quprop.carleman.networks.data import load
    from quprop.carleman.networks.torch_extra import load_torch

    load_torch(f"the network {name!r}").set_num_threads(threads)
    loaded = load(data, folder=folder)
    settings: dict[str, Any] = {}
    for entry in set_ or []:
        key, equals, value = entry.partition("=")
        if not equals:
            raise QupropError(f"--set takes KEY=VALUE, got {entry!r}")
        settings[key.strip()] = _value(value.strip())
    for key in ("name", "input_shape", "seed", "precision", "smooth", "regression", "sample"):
        if key in settings:
            raise QupropError(f"--set is for settings of the network, and {key!r} is none; leave it out")
    outputs = settings.pop("classes", loaded.outputs)
    if not isinstance(outputs, int) or outputs < loaded.outputs:
        raise QupropError(f"classes must be at least the {loaded.outputs} of {data}, got {outputs!r}")
    precision = "single" if single else "double"
    settings |= {"regression": not loaded.classes, "sample": loaded.train(precision)[0][:2], "smooth": smooth}
    made = networks.make(name, loaded.input_shape, outputs, seed=seed, precision=precision, **settings)
    if single is None and made.n_parameters >= LARGE:
        made.module.float()
    return (loaded.like(made) if not loaded.classes else loaded), made


def _batch(given: int | None, made: Any, loaded: Any) -> int | None:
    """The batch size, None for all samples."""
    if given is not None:
        return given
    return min(128, len(loaded.x_train)) if made.n_parameters >= LARGE else None


def _value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def _write(
    report: dict[str, Any], draw: Any, name: str, out: Path | None, json_file: Path | None, plot: Path | None
) -> None:
    write_result(json_file, report)
    if out is None and plot is None:
        return
    drawn = draw()
    if plot is not None:
        write_picture(plot, drawn)
    if out is not None:
        with suppress(FileError):  # whose files say it
            make_folder(out)
        write_result(out / f"{name}.json", report)
        write_file(out / f"{name}.png", drawn)
