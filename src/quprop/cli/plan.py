"""``quprop plan``: what training would cost by every method, on named machines, at any size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from quprop.cli.compare import console_for, load, split
from quprop.cli.errors import reported
from quprop.cli.options import Json, Machine, MaxError, Precision, Quiet, Set
from quprop.cli.plan_tables import show_check, show_network, show_plan, show_talk
from quprop.cost import PRESETS, hardware
from quprop.errors import QupropError, nearest
from quprop.files import check_outputs
from quprop.planning import physical
from quprop.planning.classical import FLOPS as NETWORK_FLOPS
from quprop.planning.classical import NETWORKS, NetworkPlan, network_parameters, plan_network
from quprop.planning.named import NAMED, SIZES, named_shape, summary
from quprop.planning.structure import shape_of
from quprop.planning.training import FLOPS, TrainingPlan, plan_training
from quprop.problems.table import PROBLEMS
from quprop.runs import write_atomically, write_json
from quprop.sampling.shape import Shape

DENSITY, BLOCK_LENGTH = 0.1, 100
PRESET_NAMES = ("figure2", "talk")
EPILOG = f"""[bold]Models[/bold]: {", ".join(PROBLEMS)}, a saved model, a TOML file; a circuit that is not built,
{", ".join(f"{name}:{SIZES[name]}" for name in NAMED)}; a network trained by the Carleman loop,
{", ".join(NETWORKS)}; or none, with --qubits and --parameters.

[bold]Hardware[/bold]: {", ".join(PRESETS)}, or a TOML file.

[bold]Qubits[/bold] of --physical: {", ".join(physical.QUBITS)}.

[bold]Examples[/bold]

quprop plan tfim --precision 0.05 --steps 200 --hardware superconducting

quprop plan hardware_efficient:100,50 --precision 0.1 --steps 1000 --plot plan.png

quprop plan --qubits 10000 --parameters 1e9 --precision 1e-6 --steps 1000 --hardware fault_tolerant

quprop plan mlp --parameters 1e9 --precision 0.01 --steps 10000

quprop plan --preset figure2"""


@reported
def plan_command(
    what: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A model, a circuit by its sizes, or a network.")
    ] = None,
    precision: Precision = None,
    max_error: MaxError = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Gradients of the training.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples of a step, each with a gradient.")] = 1,
    machine: Machine = "figure2",
    methods: Annotated[
        str | None, typer.Option("--method", "--methods", metavar="A,B", help="Only these methods.")
    ] = None,
    failure: Annotated[
        float, typer.Option("--failure", metavar="D", help="Chance that a gradient exceeds the largest error.")
    ] = 0.01,
    qubits: Annotated[int | None, typer.Option("--qubits", metavar="n", help="Without MODEL: qubits.")] = None,
    parameters: Annotated[
        str | None, typer.Option("--parameters", metavar="M", help="Parameters; with MODEL: it grows to so many.")
    ] = None,
    terms: Annotated[int, typer.Option("--terms", metavar="T", help="Without MODEL: strings of O.")] = 1,
    norm: Annotated[
        float | None, typer.Option("--norm", metavar="L", help="Without MODEL: sum of |coefficients| of O.")
    ] = None,
    sets: Annotated[
        int | None, typer.Option("--sets", metavar="K", help="Without MODEL: commuting sets of rotations.")
    ] = None,
    blocks: Annotated[int, typer.Option("--blocks", metavar="B", help="Without MODEL: commuting blocks.")] = 0,
    set_: Set = None,
    flops: Annotated[
        float | None,
        typer.Option("--flops", help="Classical multiply-adds a second (networks: operations); inf: for free."),
    ] = None,
    density: Annotated[float, typer.Option("--density", help="Networks: share of weights that is kept.")] = DENSITY,
    entries: Annotated[
        int | None, typer.Option("--entries", metavar="R", min=1, help="Networks: weights kept, whatever the size.")
    ] = None,
    block_length: Annotated[
        int, typer.Option("--block-length", metavar="T", min=1, help="Networks: steps of a block.")
    ] = BLOCK_LENGTH,
    qubit_model: Annotated[
        str | None, typer.Option("--physical", metavar="QUBIT", help="Physical qubits too, of such qubits.")
    ] = None,
    error_budget: Annotated[
        float | None, typer.Option("--error-budget", metavar="D", help="With --physical: chance that a run fails.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", metavar="figure2|talk", help="A published plan.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Hold the formulas against counted runs at small size.")
    ] = False,
    json_file: Json = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", "--figure", metavar="FILE", help="Draw time against M into a PNG file.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the runs of --check, and of parameters.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Say what training would cost by every method, on real and future machines, at any size.

    Costs are formulas, which equal what runs count at small size (--check shows it); nothing is simulated.
    """
    check_outputs(json=json_file, plot=plot)
    console = console_for(quiet)
    if preset is not None or check:
        if what is not None or (preset is not None and check):
            raise QupropError("--preset and --check stand alone; leave MODEL and the other of them out")
        if precision is not None or (check and max_error is not None):
            raise QupropError(
                "--precision has no part in --preset and --check; leave it out (figure2 takes --max-error and --qubits)"
            )
        if preset is not None:
            _preset(console, preset, qubits, max_error, failure, json_file, plot)
        else:
            _check(console, split(methods), json_file, plot, seed)
        return
    if (precision is None) == (max_error is None):
        raise QupropError("give one of --precision E and --max-error E")
    hardware(machine)
    count = _count(parameters)
    if what in NETWORKS:
        if precision is None:
            raise QupropError("a network is planned with --precision E, the relative error of a readout")
        if methods is not None or set_ or qubits is not None or batch != 1 or qubit_model or error_budget is not None:
            raise QupropError(
                "--method, --set, --qubits, --batch, --physical and --error-budget belong to quantum models, and "
                f"{what} is a network; leave them out"
            )
        network = plan_network(
            what,
            network_parameters(what) if count is None else count,
            precision=precision,
            steps=steps,
            hardware=machine,
            density=density,
            entries=entries,
            block_length=block_length,
            flops=NETWORK_FLOPS if flops is None else flops,
        )
        _finish(console, network, None, json_file, plot)
        return
    if entries is not None or density != DENSITY or block_length != BLOCK_LENGTH:
        raise QupropError(
            f"--density, --entries and --block-length belong to networks ({', '.join(NETWORKS)}); leave them out"
        )
    shape = _shape(what, set_ or [], qubits, count, terms, norm, sets, blocks, seed)
    found = plan_training(
        shape,
        precision=precision,
        max_error=max_error,
        failure=failure,
        steps=steps,
        samples=batch,
        hardware=machine,
        methods=split(methods),
        flops=FLOPS if flops is None else flops,
    )
    estimated = None
    if qubit_model is not None or error_budget is not None:
        estimated = physical.estimate(found, qubit=qubit_model or physical.USUAL, budget=error_budget)
    elif machine == "fault_tolerant" and physical.available():
        estimated = physical.estimate(found)
    _finish(console, found, estimated, json_file, plot)


def _shape(
    what: str | None,
    changes: list[str],
    qubits: int | None,
    parameters: int | None,
    terms: int,
    norm: float | None,
    sets: int | None,
    blocks: int,
    seed: int,
) -> Shape:
    if what is None:
        if changes:
            raise QupropError("--set changes the settings of a problem; name one as MODEL, or leave it out")
        if qubits is None or parameters is None:
            raise QupropError("give a MODEL, or both of --qubits n and --parameters M")
        return summary(qubits, parameters, terms=terms, norm=norm, sets=sets, blocks=blocks)
    if qubits is not None or terms != 1 or norm is not None or sets is not None or blocks:
        raise QupropError(
            "--qubits, --terms, --norm, --sets and --blocks describe a model that has no name; leave MODEL out, or them"
        )
    if ":" in what and not Path(what).is_file():
        if changes:
            raise QupropError("--set changes the settings of a problem, and this circuit has none; leave it out")
        shape = named_shape(what)
    else:
        if what not in PROBLEMS and not what.endswith(".toml") and not Path(what).is_file():
            known = [*PROBLEMS, *NETWORKS, *(f"{name}:{SIZES[name]}" for name in NAMED)]
            raise QupropError(f"unknown model {what!r}: {nearest(what, known)} (or give a file of Model.save)")
        model, point = load(what, changes, seed)
        at = None
        if point:
            at = (point["theta"], np.zeros(0) if point["x"] is None else point["x"])
        weights = point.get("weights", np.ones(model.n_observables))
        shape = shape_of(model, weights, at=at)
        shape = replace(shape, name=f"{what}: {shape.name}")
    return shape if parameters is None else shape.at(parameters)


def _count(text: str | None) -> int | None:
    """A whole number, 1e9 among them."""
    if text is None:
        return None
    try:
        number = float(text.replace(",", "").replace("_", ""))
    except ValueError:
        number = math.nan
    if not (1 <= number < 1e300 and number == int(number)):
        raise QupropError(f"--parameters must be a whole number, 1 or more, such as 1e9, got {text!r}")
    return int(number)


def _finish(
    console: Console,
    found: TrainingPlan | NetworkPlan,
    estimated: physical.FaultTolerant | None,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    if json_file is not None:
        write_json(json_file, found.as_dict() | ({} if estimated is None else {"fault_tolerant": estimated.as_dict()}))
    if plot is not None:
        from quprop.planning.figure import draw_network, draw_plan

        write_atomically(plot, draw_plan(found) if isinstance(found, TrainingPlan) else draw_network(found))
    if isinstance(found, NetworkPlan):
        show_network(console, found)
    else:
        show_plan(console, found, estimated)


def _preset(
    console: Console,
    name: str,
    qubits: int | None,
    max_error: float | None,
    failure: float,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    if name not in PRESET_NAMES:
        raise QupropError(f"unknown preset {name!r}: {nearest(name, PRESET_NAMES)}")
    if name == "talk":
        if plot is not None:
            raise QupropError("the preset talk is a table without a figure; leave --plot out")
        from quprop.planning import presets

        found = presets.talk()
        show_talk(console, found)
        if json_file is not None:
            write_json(json_file, found)
        return
    from quprop.cli.figure2 import figure2
    from quprop.planning.measured.figure2 import Constants

    error = 0.1 if max_error is None else max_error
    figure2(console, Constants(100 if qubits is None else qubits, error, failure), json_file, plot)


def _check(console: Console, methods: list[str] | None, json_file: Path | None, plot: Path | None, seed: int) -> None:
    from quprop.planning.check import SIZES as CHECKED
    from quprop.planning.check import check

    if plot is not None:
        raise QupropError("--check is a table without a figure; leave --plot out")
    rows = check(methods, seed=seed)
    show_check(console, rows, CHECKED)
    if json_file is not None:
        write_json(
            json_file,
            [
                {
                    "method": r.method,
                    "family": r.family,
                    "parameters": r.parameters,
                    "ratio": r.ratio,
                    "formula": r.formula.as_dict(),
                    "counted": r.counted.as_dict(),
                }
                for r in rows
            ],
        )
