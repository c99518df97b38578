"""``quprop plan``: what training would cost by every method, on named machines, at any size."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from quprop.cli.common import (
    Backend,
    Json,
    Machine,
    MaxError,
    Precision,
    Quiet,
    Set,
    check_error,
    console_for,
    find_own,
    one_of,
    reported,
    some_of,
    split,
    with_options,
    write_picture,
    write_result,
)
from quprop.cli.models import PLANNED, load
from quprop.cli.plan_nodes import DESCRIBED, given_beside, plan_nodes
from quprop.cli.plan_tables import show_check, show_machines, show_network, show_on_device, show_plan, show_talk
from quprop.errors import QupropError, nearest
from quprop.files import check_outputs
from quprop.gradients import COSTED
from quprop.hardware_models import PRESETS, hardware
from quprop.model import Model
from quprop.planning import physical
from quprop.planning.classical import FLOPS as NETWORK_FLOPS
from quprop.planning.classical import NETWORKS, network_parameters, plan_network
from quprop.planning.named import forms, named_shape, summary
from quprop.planning.structure import shape_of
from quprop.planning.timing import FLOPS, timed
from quprop.planning.training import plan_training
from quprop.problems.table import PROBLEMS
from quprop.sampling.shape import Shape, Wanted

if TYPE_CHECKING:
    from quprop.planning.check import Checked

DENSITY, BLOCK_LENGTH = 0.1, 100
PRESET_NAMES = ("figure2", "talk")
_KNOWN = [*PLANNED, *NETWORKS, *(f"{name}:" for name in forms())]
_CIRCUITS = [f"{name}:{sizes}" for name, sizes in forms().items()]
EPILOG = f"""[bold]Models[/bold]: {", ".join(PLANNED)}, a saved model, a TOML file; a circuit that is not built,
{", ".join(_CIRCUITS)}; a network trained by the Carleman loop,
{", ".join(NETWORKS)}; or none, with --qubits and --parameters.

[bold]Hardware[/bold]: {", ".join(PRESETS)}, or a TOML file; --machines lists them.

[bold]Backends[/bold]: quprop, aer, fake_manila and the like, ibm:NAME, braket, braket:NAME, pennylane:NAME, or
module:function of your own. Its circuits are compiled for it and counted; nothing is run.

[bold]Qubits[/bold] of --physical: {", ".join(physical.QUBITS)}.

[bold]Examples[/bold]

quprop plan tfim --precision 0.05 --steps 200 --hardware superconducting

quprop plan hardware_efficient:100,50 --precision 0.1 --steps 1000 --plot plan.png

quprop plan --qubits 10000 --parameters 1e9 --precision 1e-6 --steps 1000 --hardware fault_tolerant

quprop plan mlp --parameters 1e9 --precision 0.01 --steps 10000

quprop plan tfim --set n=4 --backend aer --shots 1000 --steps 100

quprop plan hardware_efficient:36,20 --nodes 64 --memory-per-node 256 --bandwidth 12

quprop plan --preset figure2"""


@dataclass(frozen=True)
class PlanRequest:
    """What the command line says."""

    what: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model, a circuit by its sizes, or a network.",
            autocompletion=one_of(_KNOWN),
        ),
    ] = None
    precision: Precision = None
    max_error: MaxError = None
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Gradients of the training.")] = 1
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples of a step, each with a gradient.")] = 1
    machine: Machine = "figure2"
    methods: Annotated[
        str | None,
        typer.Option(
            "--method", "--methods", metavar="A,B", help="Only these methods.", autocompletion=some_of(COSTED)
        ),
    ] = None
    failure: Annotated[
        float, typer.Option("--failure", metavar="D", help="Chance that a gradient exceeds the largest error.")
    ] = 0.01
    qubits: Annotated[int | None, typer.Option("--qubits", metavar="n", help="Without MODEL: qubits.")] = None
    parameters: Annotated[
        str | None, typer.Option("--parameters", metavar="P", help="Parameters; with MODEL: it grows to so many.")
    ] = None
    terms: Annotated[int, typer.Option("--terms", metavar="T", help="Without MODEL: strings of O.")] = 1
    norm: Annotated[
        float | None, typer.Option("--norm", metavar="L", help="Without MODEL: sum of |coefficients| of O.")
    ] = None
    sets: Annotated[
        int | None, typer.Option("--sets", metavar="K", help="Without MODEL: commuting sets of rotations.")
    ] = None
    blocks: Annotated[int, typer.Option("--blocks", metavar="B", help="Without MODEL: commuting blocks.")] = 0
    set_: Set = None
    backend: Backend = None
    shots: Annotated[
        int | None, typer.Option("--shots", metavar="N", min=1, help="With --backend: shots of each circuit.")
    ] = None
    value_shots: Annotated[
        int | None,
        typer.Option("--value-shots", metavar="N", min=1, help="With --backend: of each circuit that reads a value."),
    ] = None
    nodes: Annotated[
        int | None,
        typer.Option("--nodes", metavar="N", help="The exact gradient by one state over N nodes, a power of two."),
    ] = None
    ranks_per_node: Annotated[
        int, typer.Option("--ranks-per-node", metavar="R", help="With --nodes: processes of a node, a power of two.")
    ] = 1
    memory_per_node: Annotated[
        float | None,
        typer.Option("--memory-per-node", metavar="GIB", help="With --nodes: GiB; what is free here if left out."),
    ] = None
    bandwidth: Annotated[
        float | None,
        typer.Option(
            "--bandwidth",
            metavar="GBPS",
            help="With --nodes: GB a second that a rank sends while all do; measured under mpirun.",
        ),
    ] = None
    flops: Annotated[
        float | None,
        typer.Option(
            "--flops",
            help="Classical multiply-adds a second (networks: operations; --nodes: of a node); inf: for free.",
        ),
    ] = None
    density: Annotated[float, typer.Option("--density", help="Networks: share of weights that is kept.")] = DENSITY
    entries: Annotated[
        int | None, typer.Option("--entries", metavar="R", min=1, help="Networks: weights kept, whatever the size.")
    ] = None
    block_length: Annotated[
        int, typer.Option("--block-length", metavar="T", min=1, help="Networks: steps of a block.")
    ] = BLOCK_LENGTH
    qubit_model: Annotated[
        str | None,
        typer.Option(
            "--physical",
            metavar="QUBIT",
            help="Physical qubits too, of such qubits.",
            autocompletion=one_of(physical.QUBITS),
        ),
    ] = None
    error_budget: Annotated[
        float | None, typer.Option("--error-budget", metavar="D", help="With --physical: chance that a run fails.")
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="figure2|talk",
            help="A published plan.",
            autocompletion=one_of(PRESET_NAMES),
        ),
    ] = None
    check: Annotated[bool, typer.Option("--check", help="Hold the formulas against counted runs at small size.")] = (
        False
    )
    machines: Annotated[bool, typer.Option("--machines", help="List the machines and what is assumed of them.")] = False
    json_file: Json = None
    plot: Annotated[
        Path | None,
        typer.Option("--plot", "--figure", metavar="FILE", help="Draw time against parameters: .png, .pdf or .svg."),
    ] = None
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the runs of --check, and of parameters.")] = 0
    quiet: Quiet = False


@reported
@with_options
def plan_command(asked: PlanRequest) -> None:
    """Say what training would cost by every method, on real and future machines, at any size.

    Costs are formulas, which equal what runs count at small size (--check shows it); simulators are timed. What takes
    longer than 100 years, or has a run of which errors leave less than a hundredth, is called infeasible.
    """
    check_outputs(json=asked.json_file, plot=asked.plot)
    if asked.preset is not None or asked.check or asked.machines:
        _alone(asked)
        return
    if asked.nodes is not None:
        plan_nodes(asked)
        return
    if asked.ranks_per_node != 1 or asked.memory_per_node is not None or asked.bandwidth is not None:
        raise QupropError(
            "--ranks-per-node, --memory-per-node and --bandwidth are of one state over many nodes: give --nodes N too"
        )
    if asked.backend is not None:
        _device(asked)
        return
    if asked.shots is not None or asked.value_shots is not None:
        raise QupropError(
            "--shots and --value-shots are of circuits on a device: name one with --backend, or give --precision E"
        )
    check_error(asked.precision, asked.max_error)
    hardware(asked.machine)  # refused before the work
    count = _count(asked.parameters)
    if asked.what in NETWORKS:
        _network(asked, asked.what, count)
    else:
        _model(asked, count)


def _alone(asked: PlanRequest) -> None:
    """Presets, checks and the list of machines, which take no model."""
    others = (asked.what, asked.backend, asked.nodes)
    if any(o is not None for o in others) or (asked.preset is not None) + asked.check + asked.machines > 1:
        raise QupropError("--preset, --check and --machines stand alone; leave MODEL and the others of them out")
    if asked.precision is not None or (asked.preset is None and asked.max_error is not None):
        raise QupropError(
            "--precision has no part in --preset, --check and --machines; leave it out (figure2 takes --max-error and "
            "--qubits)"
        )
    if asked.machines:
        _machines(asked)
    elif asked.check:
        _check(asked)
    elif asked.preset == "talk":
        _talk(asked)
    elif asked.preset == "figure2":
        from quprop.cli.figure2 import figure2
        from quprop.planning.measured.figure2 import Constants

        qubits = 100 if asked.qubits is None else asked.qubits
        error = 0.1 if asked.max_error is None else asked.max_error
        figure2(console_for(asked.quiet), Constants(qubits, error, asked.failure), asked.json_file, asked.plot)
    else:
        raise QupropError(f"unknown preset {asked.preset!r}: {nearest(str(asked.preset), PRESET_NAMES)}")


def _machines(asked: PlanRequest) -> None:
    if asked.plot is not None:
        raise QupropError("--machines is a list without a figure; leave --plot out")
    write_result(asked.json_file, {"kind": "machines", **{name: asdict(m) for name, m in PRESETS.items()}})
    show_machines(console_for(asked.quiet))


def _check(asked: PlanRequest) -> None:
    from quprop.planning.check import SIZES as CHECKED
    from quprop.planning.check import check

    if asked.plot is not None:
        raise QupropError("--check is a table without a figure; leave --plot out")
    rows = check(split(asked.methods), seed=asked.seed)
    write_result(asked.json_file, [_checked(row) for row in rows])
    show_check(console_for(asked.quiet), rows, CHECKED)


def _checked(row: Checked) -> dict[str, Any]:
    found = {k: getattr(row, k) for k in ("method", "family", "parameters", "ratio")}
    return {"kind": "check", **found, "formula": row.formula.as_dict(), "counted": row.counted.as_dict()}


def _talk(asked: PlanRequest) -> None:
    from quprop.planning.presets import talk

    if asked.plot is not None:
        raise QupropError("the preset talk is a table without a figure; leave --plot out")
    found = talk()
    write_result(asked.json_file, found)
    show_talk(console_for(asked.quiet), found)


def _device(asked: PlanRequest) -> None:
    """A model that is built, on a device that exists."""
    if asked.what is None or asked.what in NETWORKS or (":" in asked.what and not Path(asked.what).is_file()):
        what = "no model" if asked.what is None else repr(asked.what)
        raise QupropError(
            f"--backend compiles the circuits of a model that is built, got {what}: give one of {', '.join(PLANNED)}, "
            "a TOML file or a file of Model.save"
        )
    others = given_beside(asked, DESCRIBED | {"--flops": "flops"})
    if others:
        raise QupropError(f"{others[0]} belongs to formulas, and --backend counts circuits: leave one of them out")
    if sum(given is not None for given in (asked.precision, asked.max_error, asked.shots)) != 1:
        raise QupropError("give one of --precision E, --max-error E and --shots N with --backend")
    from quprop.planning.on_device import plan_on_device
    from quprop.training.measured import VALUE_SHOTS

    find_own(asked.backend)
    model, point = _model_of(asked.what, asked)
    found = plan_on_device(
        model,
        asked.backend,
        precision=asked.precision,
        max_error=asked.max_error,
        shots=asked.shots,
        failure=asked.failure,
        methods=split(asked.methods),
        steps=asked.steps,
        samples=asked.batch,
        value_shots=VALUE_SHOTS if asked.value_shots is None else asked.value_shots,
        rng=asked.seed,
        **({"weights": np.ones(model.n_observables)} | point),
    )
    write_result(asked.json_file, {"what": asked.what, "seed": asked.seed, **found.as_dict()})
    show_on_device(console_for(asked.quiet), found, asked.what)


def _network(asked: PlanRequest, name: str, count: int | None) -> None:
    """A classical network, trained by the Carleman loop."""
    if asked.precision is None:
        raise QupropError("a network is planned with --precision E, the relative error of a readout")
    quantum = (asked.methods, asked.qubits, asked.error_budget)
    if any(given is not None for given in quantum) or asked.set_ or asked.batch != 1 or asked.qubit_model:
        raise QupropError(
            "--method, --set, --qubits, --batch, --physical and --error-budget belong to quantum models, and "
            f"{name} is a network; leave them out"
        )
    found = plan_network(
        name,
        network_parameters(name) if count is None else count,
        precision=asked.precision,
        steps=asked.steps,
        hardware=asked.machine,
        density=asked.density,
        entries=asked.entries,
        block_length=asked.block_length,
        flops=NETWORK_FLOPS if asked.flops is None else asked.flops,
    )
    write_result(asked.json_file, found.as_dict())
    if asked.plot is not None:
        from quprop.planning.figure import draw_network

        write_picture(asked.plot, draw_network(found))
    show_network(console_for(asked.quiet), found)


def _model(asked: PlanRequest, count: int | None) -> None:
    """A quantum model, built or described."""
    if asked.entries is not None or asked.density != DENSITY or asked.block_length != BLOCK_LENGTH:
        raise QupropError(
            f"--density, --entries and --block-length belong to networks ({', '.join(NETWORKS)}); leave them out"
        )
    found = plan_training(
        _shape(asked, count),
        precision=asked.precision,
        max_error=asked.max_error,
        failure=asked.failure,
        steps=asked.steps,
        samples=asked.batch,
        hardware=asked.machine,
        methods=split(asked.methods),
        flops=FLOPS if asked.flops is None else asked.flops,
    )
    estimated = None
    if asked.qubit_model is not None or asked.error_budget is not None:
        estimated = physical.estimate(found, qubit=asked.qubit_model or physical.USUAL, budget=asked.error_budget)
    elif asked.machine == "fault_tolerant" and physical.available():
        estimated = physical.estimate(found)
    if asked.plot is not None:
        from quprop.planning.figure import draw_plan

        write_picture(asked.plot, draw_plan(found))
    more = {} if estimated is None else {"fault_tolerant": estimated.as_dict()}
    write_result(asked.json_file, found.as_dict() | more)
    show_plan(console_for(asked.quiet), found, estimated)


def _shape(asked: PlanRequest, count: int | None) -> Shape:
    """Of numbers, of a circuit by its sizes, or of a model that is built; grown to `count` parameters."""
    if asked.what is None:
        if asked.set_:
            raise QupropError("--set changes the settings of a problem; name one as MODEL, or leave it out")
        if asked.qubits is None or count is None:
            raise QupropError("give a MODEL, or both of --qubits n and --parameters P")
        return summary(asked.qubits, count, terms=asked.terms, norm=asked.norm, sets=asked.sets, blocks=asked.blocks)
    numbers = (asked.qubits, asked.norm, asked.sets)
    if any(given is not None for given in numbers) or asked.terms != 1 or asked.blocks:
        raise QupropError(
            "--qubits, --terms, --norm, --sets and --blocks describe a model that has no name; leave MODEL out, or them"
        )
    if ":" in asked.what and not Path(asked.what).is_file():
        if asked.set_:
            raise QupropError("--set changes the settings of a problem, and this circuit has none; leave it out")
        shape = named_shape(asked.what)
    else:
        shape = _built(asked.what, asked, timing=count is None)
    return shape if count is None else shape.at(count)


def _model_of(what: str, asked: PlanRequest) -> tuple[Model, dict[str, Any]]:
    """A model that is built, and where its gradient is taken as far as a problem says so."""
    if what not in PROBLEMS and not what.endswith(".toml") and not Path(what).is_file():
        known = [*PROBLEMS, *NETWORKS, *_CIRCUITS]
        raise QupropError(f"unknown model {what!r}: {nearest(what, known)} (or give a file of Model.save)")
    return load(what, asked.set_ or [], asked.seed)


def _built(what: str, asked: PlanRequest, timing: bool) -> Shape:
    """Read off a model; and timed, unless it grows."""
    model, point = _model_of(what, asked)
    at = (point["theta"], np.zeros(0) if point["x"] is None else point["x"]) if point else None
    weights = point.get("weights", np.ones(model.n_observables))
    shape = shape_of(model, weights, at=at)
    if timing:
        kind = "max_error" if asked.precision is None else "precision"
        wanted = Wanted(kind, getattr(asked, kind), asked.failure)
        generator = np.random.default_rng(asked.seed)
        there = (generator.uniform(-np.pi, np.pi, model.n_params), generator.uniform(-1, 1, model.n_inputs))
        shape = timed(shape, model, wanted, at=at or there, weights=weights, samples=asked.batch)
        shape = shape if at else replace(shape, largest=None)  # of a point that nobody asked about
    return replace(shape, name=f"{what}: {shape.name}")


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
