"""Training of a classical network: plain descent, and the Carleman loop of `quprop.carleman`, by its formulas.

N steps are N/T blocks; each is one linear system of T steps whose solution is read r entries at a time, uploaded again
for the next (Liu et al., Nat. Commun. 15, 434 (2024), arXiv:2303.03428). `carleman/break_even.py` and
`carleman/block_cost.py` say what a block costs and what that assumes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from quprop.carleman.block_cost import formula_loads, formula_success, readout_copies, solver_of, total, upload_formula
from quprop.carleman.break_even import BreakEven
from quprop.carleman.transfer.queries import QueryLedger
from quprop.cost import Cost, short
from quprop.errors import QupropError, count_of, nearest
from quprop.hardware_models import HardwareModel
from quprop.hardware_models import hardware as find_hardware
from quprop.planning.costs import people, tidy
from quprop.planning.feasible import LIMITS, Obstacle, as_dicts, obstacles, sentence
from quprop.tables import Sentence, html, narrow_table

FLOPS = 1e13  # operations a second of the classical machine, as in `BreakEven`
# Parameters of the networks of `quprop carleman` on its digits, and of the two that the paper has results for.
NETWORKS: dict[str, int] = {
    "logistic": 650,
    "deep-linear": 1_440,
    "quadratic": 1_184,
    "mlp": 2_410,
    "resnet": 77_754,
    "resnet-32-4": 7_451_044,
    "resnet-422-4": 103_338_916,
}


@dataclass(frozen=True)
class NetworkPlan:
    """parameters n, steps N in blocks of T; even: the assumptions, and the law of time; ledger, logical_qubits: of one
    block; descent_seconds, loop_seconds: of all N steps."""

    name: str
    parameters: int
    steps: int
    hardware: HardwareModel
    even: BreakEven
    entries: int
    kappa: float
    queries_a_run: int
    ledger: QueryLedger
    copies: int

    @property
    def blocks(self) -> int:
        return math.ceil(self.steps / self.even.steps)

    @property
    def loop_seconds(self) -> float:
        return self.blocks * self.even.quantum_seconds(self.parameters) / self.hardware.parallel

    @property
    def descent_seconds(self) -> float:
        return self.blocks * self.even.classical_seconds(self.parameters)

    @property
    def rotations_a_query(self) -> int:
        return self.even.rotations_a_query(self.parameters)

    @property
    def obstacles(self) -> tuple[Obstacle, ...]:
        """Why the loop is infeasible on the machine; () if it is not."""
        ran = Cost(depth=self.queries_a_run * self.rotations_a_query, qubits=self.ledger.qubits, measurements=1)
        return obstacles(ran, self.hardware, self.loop_seconds)

    @property
    def advice(self) -> str:
        """The cheaper of both, and from which size on the other."""
        possible = not self.obstacles
        best = "the Carleman loop" if possible and self.loop_seconds < self.descent_seconds else "plain descent"
        text = (
            f"Use {best}: {count_of(self.steps, 'step')} take {people(self.descent_seconds)} by plain descent and "
            f"{people(self.loop_seconds)} by the Carleman loop on {self.hardware.name}"
        )
        at = self.even.parameters()
        if at is None:
            text += ", at every number of parameters"
            text += "" if self.even.entries is not None else ": at a fixed density copies grow as fast as the network"
        elif at > self.parameters:
            text += tidy(f", which would pay from {at:.2g} parameters on")
        if not possible:
            text += f". It is infeasible there. {sentence('The loop', self.obstacles)}"
        return text + "."

    def _repr_html_(self) -> str:
        table = narrow_table(f"time on {self.hardware.name}", "a block", "the training")
        for name, seconds in (("carleman", self.loop_seconds), ("descent", self.descent_seconds)):
            table.add_row(name, people(seconds / self.blocks), people(seconds))
        steps = count_of(self.steps, "step")
        head = f"{self.name}: n = {short(self.parameters)}, {steps}, blocks of {self.even.steps:,}"
        return html([*map(Sentence, (head, *describe(self))), table, Sentence(self.advice)])

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": "plan",
            "network": self.name,
            "parameters": self.parameters,
            "steps": self.steps,
            "hardware": asdict(self.hardware),
            "assumptions": asdict(self.even),
            "entries_read": self.entries,
            "blocks": self.blocks,
            "condition_number": self.kappa,
            "queries_a_run": self.queries_a_run,
            "rotations_a_query": self.rotations_a_query,
            "block": self.ledger.as_dict(),
            "descent_seconds": self.descent_seconds,
            "carleman_seconds": self.loop_seconds,
            "carleman_feasible": not self.obstacles,
            "obstacles": as_dicts(self.obstacles),
            "limits": LIMITS,
            "by": "formula",
            "advice": self.advice,
        }


def plan_network(
    name: str,
    parameters: int,
    *,
    precision: float,
    steps: int,
    block_length: int = 100,
    order: int = 3,
    density: float = 0.1,
    entries: int | None = None,
    growth: float = 1.0,
    samples: int = 1024,
    solver: str = "kernel_reflection",
    eps: float = 1e-3,
    hardware: str | HardwareModel = "figure2",
    flops: float = FLOPS,
) -> NetworkPlan:
    """precision: of the l2 readout, relative to the update; density or entries: what is kept and read; growth: max
    |1 - a| of a step, 1 if neutral; the others as in `BreakEven`."""
    for label, value in (("parameters", parameters), ("steps", steps), ("block length", block_length)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise QupropError(f"{label} must be a whole number, 1 or more, got {value!r}")
    if isinstance(precision, bool) or not isinstance(precision, int | float) or not 0 < precision < 1:
        raise QupropError(f"precision of a readout is relative, between 0 and 1, got {precision!r}")
    machine, chosen = find_hardware(hardware), solver_of(solver)
    even = BreakEven(
        steps=min(block_length, steps),
        order=order,
        precision=precision,
        eps=eps,
        samples=samples,
        entries=entries,
        density=density,
        growth=growth,
        solver=solver,
        rotation_seconds=machine.rotation_seconds,
        flops=flops,
    )
    kept = max(1, min(parameters, entries if entries is not None else math.ceil(density * parameters)))
    copies, queries = readout_copies(kept, precision), chosen.queries(even.kappa, eps)
    cost = total(
        copies,
        kappa=even.kappa,
        kappa_by="formula",
        queries=queries,
        loads=formula_loads(chosen, queries, even.kappa),
        success=even.success * formula_success(chosen, even.kappa, eps),
        upload=upload_formula(kept, parameters, order, even.steps),
        upload_by="bound",
        entries=kept,
        precision=precision,
    )
    return NetworkPlan(name, parameters, steps, machine, even, kept, even.kappa, queries, cost.ledger, copies)


def network_parameters(name: str) -> int:
    """n of a network by name."""
    if name not in NETWORKS:
        raise QupropError(f"unknown network {name!r}: {nearest(name, NETWORKS)} (or give --parameters)")
    return NETWORKS[name]


def describe(plan: NetworkPlan) -> list[str]:
    """What it assumes, a line each."""
    e = plan.even
    lines = [
        f"blocks of {count_of(e.steps, 'step')} of order {e.order}"
        f"; {short(plan.entries)} entries read to {e.precision:g}",
        f"kappa {plan.kappa:.3g} by formula, {e.solver} to {e.eps:g}: {short(plan.queries_a_run)} queries a run",
        f"a query is {short(plan.rotations_a_query)} rotations, as if data access were polylogarithmic in n",
        e.access(),
        "the gates of uploads are counted as CNOTs and take no time here",
        f"level 1 at the last time has probability {e.success:g}; max |1 - a| = {e.growth:g}",
        f"plain descent: 6 n operations a sample, {e.samples:,} samples a step, {e.flops:.3g} operations a second",
    ]
    return [tidy(line) for line in lines]
