"""What ``quprop plan`` prints; fits 80 columns."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from quprop.cli.tables import line, machine, narrow_table, toffolis
from quprop.cost import fidelity_text, short, short_bytes
from quprop.errors import count_of
from quprop.gradients import FORMULAS
from quprop.hardware_models import PRESETS
from quprop.lazy import install
from quprop.planning import physical
from quprop.planning.check import Checked
from quprop.planning.classical import NetworkPlan, describe
from quprop.planning.compare_table import brief, short_name
from quprop.planning.costs import people, tidy
from quprop.planning.feasible import KINDS
from quprop.planning.on_device import DevicePlan
from quprop.planning.training import BASES, TrainingPlan
from quprop.sampling.devices.spending import Spending

MACHINE_MODEL = (
    "Gates of a run follow one another; a rotation is two two-qubit gates and a one-qubit gate. Your own machine is a "
    "TOML file with these numbers: --hardware FILE.toml."
)


def show_plan(console: Console, found: TrainingPlan, estimated: physical.FaultTolerant | None) -> None:
    shape, components = found.shape, found.shape.parameters
    sizes = (
        "" if " qubits" in shape.name else f": {_compact(shape.qubits)} qubits, {_compact(shape.rotations)} rotations"
    )
    line(console, shape.name + sizes)
    line(
        console,
        f"Standard error {found.wanted.precision(components):.3g} of every component; all within "
        f"{found.wanted.max_error(components):.3g} except with probability {found.wanted.failure:g}; "
        f"{count_of(found.steps, 'step')} of {count_of(found.samples, 'sample')}.",
    )
    if shape.assumed:
        line(console, f"Assumed: {shape.assumed}.")
    machine(console, found.hardware)
    console.print()
    console.print(_counts(found))
    toffolis(console, {row.name: row.cost for row in found.rows})
    if found.rivalry:
        line(console, found.rivalry, "  ")
    console.print()
    console.print(_times(found))
    console.print()
    console.print(_machines(found))
    if estimated is not None:
        console.print()
        console.print(_physical(estimated))
        line(console, estimated.sentence)
        line(console, f"Assumed: {estimated.assumptions}.")
        for note in dict.fromkeys(r.note for r in estimated.rows if r.note):
            names = ", ".join(r.name for r in estimated.rows if r.note == note)
            line(console, f"-: {note}: {names}.", "  ")
    elif found.hardware.name == "fault_tolerant":
        console.print()
        line(console, f"For physical qubits: {install('plan')} (Microsoft's estimator, offline).")
    console.print()
    line(console, tidy(f"Classical work is done at {found.flops:.2g} multiply-adds a second (--flops)."))
    used = {r.basis for r in found.rows}
    for basis, meaning in BASES.items():
        if basis in used:
            line(console, f"{basis}: {meaning}.", "  ")
    kinds = {o.kind for r in found.rows for o in r.obstacles}
    if kinds or found.infeasible:
        marks = [f"{k[0]} {KINDS[k]}" for k in KINDS if k in kinds]
        line(console, "!: infeasible" + (f": {'; '.join(marks)}" if marks else "") + " (-: too few qubits).", "  ")
    for name, why in found.refused.items():
        line(console, f"{name} does not apply: {why}.", "  ")
    if found.noise:
        line(
            console,
            "fidelity: of the longest run, the probability that nothing in it errs, about what is left of a "
            "derivative; an estimate from above.",
            "  ",
        )
    console.print()
    if found.noise:
        line(console, found.noise)
    line(console, found.advice)


def _counts(found: TrainingPlan) -> Table:
    table = narrow_table("one gradient", "copies", "runs", "rotations", "depth", "qubits", "class. mem")
    for row in found.rows:
        c = row.cost
        spent = ("-", "-", "-") if row.simulated else tuple(map(_compact, (c.copies, c.measurements, c.rotations)))
        table.add_row(row.name, *spent, _compact(c.depth), _compact(c.qubits), _bytes(c.classical_bytes))
    return table


def _bytes(size: int) -> str:
    if not size:
        return "-"
    return short_bytes(size) if size < 1e18 else f"{tidy(f'{size:.0e}')} B"


def _times(found: TrainingPlan) -> Table:
    heads = ["a gradient", "the training", "classical", *["fidelity"] * bool(found.noise), "basis"]
    table = narrow_table(f"time on {found.hardware.name[:40]}", *heads)
    for row in found.rows:
        mark = " !" + "".join(o.kind[0] for o in row.obstacles) if row.obstacles else ""
        times = (brief(row.gradient), brief(row.training) + mark, brief(row.classical_seconds))
        left = [fidelity_text(row.fidelity)] if found.noise else []
        table.add_row(row.name, *times, *left, row.basis)
    return table


def _machines(found: TrainingPlan) -> Table:
    names = list(found.machines)
    table = narrow_table("the training on each machine", *(short_name(n) for n in names))
    for row in found.rows:
        if not row.simulated:
            times = [found.machines[n][row.name] for n in names]
            marks = ["!" * (row.name in found.infeasible.get(n, {})) for n in names]
            table.add_row(row.name, *("-" if t is None else brief(t) + m for t, m in zip(times, marks, strict=True)))
    return table


def _physical(found: physical.FaultTolerant) -> Table:
    table = narrow_table("fault tolerant", "phys. qubits", "distance", "runs", "a run", "the training")
    for r in found.rows:
        if r.note:
            table.add_row(r.name, "-", "-", _compact(r.runs), "-", "-")
            continue
        counts = (_compact(r.physical_qubits), str(r.distance), _compact(r.runs))
        table.add_row(r.name, *counts, brief(r.seconds_a_run), brief(r.seconds))
    return table


def show_on_device(console: Console, found: DevicePlan, what: str) -> None:
    line(console, f"{what} on {found.device}: {count_of(found.parameters, 'parameter')}")
    ((kind, value),) = found.budget.items()
    error = {
        "shots": f"{count_of(int(value), 'shot')} of every circuit",
        "precision": f"Standard error {value:g} of every component",
        "max_error": f"All components within {value:g} except with probability {found.failure:g}",
    }[kind]
    line(console, f"{error}; {count_of(found.steps, 'step')} of {count_of(found.samples, 'sample')}.")
    limits = {k: v for k, v in found.limits.items() if v is not None}
    qubits = limits.pop("qubits", None)
    if qubits is not None:
        line(console, f"The device has {count_of(qubits, 'qubit')}.")
    if limits:
        line(console, f"A job takes {', '.join(count_of(v, k[:-1]) for k, v in limits.items())} at most.")
    if found.rows:
        console.print()
        console.print(_compiled(found))
        console.print()
        console.print(_spent(found))
    for why in dict.fromkeys(found.refused.values()):
        names = ", ".join(name for name, other in found.refused.items() if other == why)
        line(console, f"{names} cannot run there: {why}.", "  ")
    if found.rows:
        console.print()
        line(
            console,
            "2-qubit: gates of the largest compiled circuit, and of all shots of a gradient. The training reads values "
            f"too, {count_of(found.value_shots, 'shot')} of each circuit and sample, in the same jobs, and once more "
            "at its end.",
        )


def _compiled(found: DevicePlan) -> Table:
    table = narrow_table("one gradient", "compiled", "circuits", "jobs", "depth", "2-qubit", "in all", "shots")
    for r in found.rows:
        g = r.gates
        counts = (g.compiled, r.gradient.circuits, r.gradient.jobs, g.depth, g.two_qubit_gates)
        table.add_row(r.name, *map(_compact, (*counts, g.executed_two_qubit_gates, r.gradient.shots)))
    return table


def _spent(found: DevicePlan) -> Table:
    known = [name for name in ("seconds", "dollars") if any(getattr(r.gradient, name) is not None for r in found.rows)]
    heads = [f"{name} a gradient" if name == "dollars" else "a gradient" for name in known]
    table = narrow_table("the training", "jobs", "circuits", "shots", *heads, *("in all" for _ in known))
    for r in found.rows:
        t = r.training
        one, every = ([_paid(spent, name) for name in known] for spent in (r.gradient, t))
        table.add_row(r.name, *map(_compact, (t.jobs, t.circuits, t.shots)), *one, *every)
    return table


def _paid(spent: Spending, name: str) -> str:
    value = getattr(spent, name)
    if value is None:
        return "-"
    return people(value) if name == "seconds" else f"${value:,.2f}"


def show_network(console: Console, plan: NetworkPlan) -> None:
    line(
        console,
        f"{plan.name}: n = {_compact(plan.parameters)}, {count_of(plan.steps, 'step')} in "
        f"{count_of(plan.blocks, 'block')}",
    )
    machine(console, plan.hardware)
    for text in describe(plan):
        line(console, f"  {text}", "    ")
    console.print()
    c = plan.ledger
    table = narrow_table("one block", "copies", "queries", "loads", "CNOTs", "qubits")
    table.add_row("carleman", *map(_compact, (c.copies, c.queries, c.loads, c.cnots, c.qubits)))
    table.add_row("descent", "-", "-", "-", "-", "-")
    console.print(table)
    console.print()
    times = narrow_table(f"time on {plan.hardware.name[:40]}", "a block", "the training", "basis")
    times.add_row("carleman", people(plan.loop_seconds / plan.blocks), people(plan.loop_seconds), "formula")
    times.add_row("descent", people(plan.descent_seconds / plan.blocks), people(plan.descent_seconds), "formula")
    console.print(times)
    console.print()
    line(console, plan.advice)


def show_talk(console: Console, found: dict[str, Any]) -> None:
    """Times and the assumptions behind them."""
    line(console, found["source"])
    console.print()
    table = narrow_table("10^9 parameters, one gradient (formula)", "time")
    for row in found["rows"]:
        table.add_row(row["what"], people(row["seconds"]))
    console.print(table)
    console.print()
    for row in found["rows"]:
        line(console, f"{row['what']}: {row['assumption']}.", "  ")


def show_machines(console: Console) -> None:
    """The machines that have a name: times, errors, and where the numbers are from."""
    for found in PRESETS.values():
        line(console, f"{found.name}: {found.summary}", "  ")
        line(console, f"  {found.source}.", "  ")
        console.print()
    line(console, MACHINE_MODEL)


def show_check(console: Console, rows: list[Checked], sizes: tuple[int, ...]) -> None:
    """Counted over formula, a line each method and circuit."""
    table = narrow_table("counted / formula (the count that is farthest off)", *(f"P = {m}" for m in sizes), "circuit")
    for method, family in dict.fromkeys((r.method, r.family) for r in rows):
        mine = {r.parameters: r.ratio for r in rows if (r.method, r.family) == (method, family)}
        table.add_row(method, *(f"{mine[m]:.4f}" if m in mine else "-" for m in sizes), family)
    console.print(table)
    for name in FORMULAS:
        line(console, f"{name} is a formula; nothing runs it.")


def _compact(count: float) -> str:
    return tidy(short(count))
