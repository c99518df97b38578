"""``--nodes`` of ``quprop plan``: the exact gradient by one state over many nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from quprop.cli.common import console_for, write_result
from quprop.cli.models import PLANNED, built
from quprop.cli.tables import line, narrow_table
from quprop.cost import short, short_bytes
from quprop.errors import QupropError, count_of
from quprop.planning.classical import NETWORKS
from quprop.planning.compare_table import brief
from quprop.planning.costs import tidy
from quprop.planning.named import named_model
from quprop.planning.nodes import NodesPlan, plan_on_nodes
from quprop.planning.timing import FLOPS
from quprop.simulate.distributed.ranks import launched_size

if TYPE_CHECKING:
    from quprop.cli.plan import PlanRequest

# Options that only formulas have, of models that may be described.
DESCRIBED = {
    "--hardware": "machine",
    "--qubits": "qubits",
    "--parameters": "parameters",
    "--terms": "terms",
    "--norm": "norm",
    "--sets": "sets",
    "--blocks": "blocks",
    "--density": "density",
    "--entries": "entries",
    "--block-length": "block_length",
    "--physical": "qubit_model",
    "--error-budget": "error_budget",
    "--plot": "plot",
}
BESIDE_NODES = DESCRIBED | {
    "--precision": "precision",
    "--max-error": "max_error",
    "--method": "methods",
    "--failure": "failure",
    "--backend": "backend",
    "--shots": "shots",
    "--value-shots": "value_shots",
}


def given_beside(asked: PlanRequest, options: dict[str, str]) -> list[str]:
    """Those of these options that are given."""
    usual = type(asked)()
    return [option for option, name in options.items() if getattr(asked, name) != getattr(usual, name)]


def plan_nodes(asked: PlanRequest) -> None:
    """The exact gradient of a model that is built, by one state over many nodes."""
    if asked.what is None or asked.what in NETWORKS:
        what = "no model" if asked.what is None else f"the network {asked.what}"
        raise QupropError(
            f"--nodes spreads the state of a model that is built, got {what}: give one of {', '.join(PLANNED)}, "
            "a circuit by its sizes, a TOML file or a file of Model.save"
        )
    others = given_beside(asked, BESIDE_NODES)
    if others:
        raise QupropError(f"{others[0]} has no part in exact gradients over --nodes: leave one of them out")
    if ":" in asked.what and not Path(asked.what).is_file():
        if asked.set_:
            raise QupropError("--set changes the settings of a problem, and this circuit has none; leave it out")
        model, precision = named_model(asked.what), "double"
    else:
        model, precision = built(asked.what, asked.set_ or [])
    given = asked.bandwidth
    measured = _bandwidth_here() if given is None else None
    found = plan_on_nodes(
        model,
        asked.nodes or 0,
        ranks_per_node=asked.ranks_per_node,
        memory_per_node=None if asked.memory_per_node is None else asked.memory_per_node * 2**30,
        bandwidth=measured if given is None else given * 1e9,
        bandwidth_by="measured" if given is None else "given",
        precision=precision,
        steps=asked.steps,
        samples=asked.batch,
        flops=FLOPS if asked.flops is None else asked.flops,
    )
    write_result(asked.json_file, {"what": asked.what, **found.as_dict()})
    show_on_nodes(console_for(asked.quiet), found, asked.what)


def _bandwidth_here() -> float | None:
    """Between the ranks of this mpirun, the others of which serve this one."""
    if launched_size() == 1:
        return None
    from quprop.simulate.distributed.serve import leading

    leader = leading()
    if leader is None:
        return None
    found: float | None = leader.everywhere("quprop.simulate.distributed.bandwidth:measured_bandwidth")
    return found


def show_on_nodes(console: Console, found: NodesPlan, what: str) -> None:
    t, amplitudes = found.traffic, f"2^{found.traffic.local_qubits}"
    line(console, f"{what}: {found.model}")
    line(
        console,
        f"One state of {count_of(found.qubits, 'qubit')} in {found.precision} precision over "
        f"{count_of(found.nodes, 'node')} of {count_of(found.ranks_per_node, 'rank')}, {amplitudes} amplitudes each; "
        f"{count_of(t.stretches, 'stretch')} of rotations, {count_of(t.exchanges, 'exchange')} between them and "
        f"{count_of(t.swaps, 'swap')} for observables.",
    )
    line(console, f"{count_of(found.steps, 'step')} of {count_of(found.samples, 'sample')}, one after another.")
    console.print()
    memory = narrow_table("memory (formula)", "a rank", "a node", "there is")
    sizes = (t.memory, found.memory_node, found.memory_per_node)
    memory.add_row(count_of(found.nodes, "node"), *map(short_bytes, sizes))
    console.print(memory)
    console.print()
    sent = narrow_table("sent (formula)", "exchanges", "by a rank", "lower bound", "by all")
    rows = {"a value": found.value, "a gradient": found.gradient, "a step": found.step, "the training": found.training}
    peers = {} if found.peers is None else {"a value, gate by gate": found.peers}
    for name, row in {**rows, **peers}.items():
        bound = "-" if row.lower_bound_bytes is None else short_bytes(row.lower_bound_bytes)
        sent.add_row(name, tidy(short(row.exchanges)), short_bytes(row.rank_bytes), bound, short_bytes(row.all_bytes))
    console.print(sent)
    console.print()
    times = narrow_table("time", "computing", *["exchange"] * (found.bandwidth is not None))
    for name, row in rows.items():
        times.add_row(name, *(brief(s) for s in (row.compute_seconds, row.exchange_seconds) if s is not None))
    console.print(times)
    console.print()
    law = tidy(f"a law fitted to timings, {found.flops:.2g} multiply-adds a second a node (--flops)")
    line(console, f"computing: {law}; within a factor of 2 when idle.", "  ")
    if found.bandwidth is not None:
        line(
            console,
            f"exchange: bytes over {found.bandwidth / 1e9:.3g} GB/s a rank, {found.bandwidth_by}; chunks of it pass "
            "while rotations are done, so both together take between the larger and the sum.",
            "  ",
        )
    bound = (
        "lower bound: every exchange moves (1 - 1/P) of a rank's vector, psi forwards, psi and lambda backwards; one "
        "in which only some bits of the rank change moves less."
    )
    gates = " Gate by gate: each gate that is not diagonal on one of the top qubits exchanges the whole of it."
    line(console, bound + gates * bool(peers), "  ")
    console.print()
    line(console, found.advice)
