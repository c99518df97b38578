"""What exact gradients cost by one state over many nodes: memory, what is sent, and time, before any rank is started.

    a gradient  = psi forwards, psi and lambda backwards in one message, and swaps for observables (`Traffic`)
    a step      = the gradients of its samples, one after another; a training = its steps
    seconds of an exchange = bytes that a rank sends / bytes a second that it sends while all ranks do

Counts are formulas, which equal what the engine counts. Nothing as large as a state is allocated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from quprop.cost import short_bytes
from quprop.errors import QupropError, count_of, shown, whole
from quprop.machine import available_bytes
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.planning.costs import people
from quprop.planning.timing import FLOPS, swept_seconds
from quprop.simulate.distributed.settings import Distributed
from quprop.simulate.distributed.traffic import Traffic, traffic
from quprop.simulate.engine import MAX_QUBITS
from quprop.tables import flat_rows

AMPLITUDE = {"double": 16, "single": 8}  # bytes
MOST_RANKS = 1 << 20
CHUNK = Distributed().chunk
HOW = (
    "seconds of exchange take a bandwidth: give --bandwidth GB/s of a rank (bandwidth=, in bytes a second, in Python), "
    "or run quprop plan under mpirun, which measures it between the ranks"
)


class Sent(NamedTuple):
    """exchanges of the state, those of swaps for observables among them; bytes_rank: sent by each rank; bytes_all: by
    all; lower_bound: of each rank, (1 - 1/P) of the vector an exchange (None where no bound is stated); seconds: of
    sending, None without a bandwidth; compute_seconds: of each node's multiply-adds."""

    exchanges: int
    bytes_rank: int
    bytes_all: int
    lower_bound: int | None
    seconds: float | None
    compute_seconds: float | None

    def times(self, count: int) -> Sent:
        return Sent(*(None if value is None else value * count for value in self))


@dataclass(frozen=True)
class NodesPlan:
    """memory_node: bytes of a node's ranks; memory_per_node: what a node has; fewest_nodes: the smallest power of two
    of nodes that hold the state, with as many ranks each; None where no number of them does.

    value, gradient: of one sample; step: the gradients of its samples; training: all of them. peers: a value by what
    exchanges the whole vector of a rank for every gate that is not diagonal on a qubit of the rank's (`Traffic`).
    bandwidth: bytes a second of a rank, None where it is not known; bandwidth_by: "given" or "measured"; by: what the
    other numbers are known by.
    """

    model: str
    qubits: int
    parameters: int
    rotations: int
    precision: str
    nodes: int
    ranks_per_node: int
    traffic: Traffic
    memory_node: int
    memory_per_node: int
    fewest_nodes: int | None
    steps: int
    samples: int
    flops: float
    bandwidth: float | None
    bandwidth_by: str | None
    value: Sent
    gradient: Sent
    step: Sent
    training: Sent
    peers: Sent
    by: str = "formula"

    @property
    def fits(self) -> bool:
        return self.memory_node <= self.memory_per_node

    @property
    def advice(self) -> str:
        """What fits, in one sentence; how to know seconds of exchange in another."""
        needed, had = short_bytes(self.memory_node), short_bytes(self.memory_per_node)
        if self.fewest_nodes is None:
            fewest = "no number of such nodes holds this state"
        else:
            fewest = f"the fewest that hold this state are {count_of(self.fewest_nodes, 'node')} of {had}"
        begin = f"Each node needs {needed} and has {had}" + ("" if self.fits else ", which is too little")
        end = "" if self.gradient.seconds is not None or self.traffic.ranks == 1 else f" {HOW[0].upper()}{HOW[1:]}."
        return f"{begin}; {fewest}.{end}"

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it."""
        names = ("model", "qubits", "parameters", "rotations", "precision", "nodes", "ranks_per_node")
        more = ("memory_node", "memory_per_node", "fits", "fewest_nodes", "steps", "samples", "flops")
        rows = ("value", "gradient", "step", "training", "peers")
        return {
            "kind": "nodes_plan",
            "by": self.by,
            **{k: getattr(self, k) for k in (*names, *more, "bandwidth", "bandwidth_by")},
            "traffic": self.traffic._asdict(),
            **{k: getattr(self, k)._asdict() for k in rows},
            "advice": self.advice,
        }

    def table(self) -> list[dict[str, Any]]:
        """Rows for `pandas.DataFrame`: a value, a gradient, a step, the training, and a value by peers."""
        rows = ("value", "gradient", "step", "training", "peers")
        return flat_rows({"name": name, **getattr(self, name)._asdict()} for name in rows)

    def __str__(self) -> str:
        sent = f"{short_bytes(self.gradient.bytes_rank)} sent by each rank in {self.gradient.exchanges} exchanges"
        seconds = "" if self.gradient.seconds is None else f", {people(self.gradient.seconds)}"
        where = f"{count_of(self.nodes, 'node')} of {count_of(self.ranks_per_node, 'rank')}"
        return f"{self.model} over {where}: a gradient {sent}{seconds}. {self.advice}"


def plan_on_nodes(
    model: Model,
    nodes: int,
    *,
    ranks_per_node: int = 1,
    memory_per_node: float | None = None,
    bandwidth: float | None = None,
    bandwidth_by: str = "given",
    precision: str = "double",
    chunk: int = CHUNK,
    steps: int = 1,
    samples: int = 1,
    flops: float = FLOPS,
) -> NodesPlan:
    """What exact gradients of a model take by one state over `nodes` nodes with `ranks_per_node` ranks each.

    memory_per_node: bytes; what this machine has free if left out. bandwidth: bytes a second that each rank sends while
    all do (a node's network is shared by its ranks); without it nothing is said of the time of exchanges. steps,
    samples: gradients of the training, and of each step; flops: multiply-adds a second of a node. precision and chunk
    as in `qpr.Distributed` and the functions that take it.

    Returns: a `NodesPlan`; its counts are formulas.
    Raises: QupropError for numbers of nodes and ranks that are no powers of two or more than the state can be spread
    over, other numbers out of range, and a model with noise or of more than 40 qubits.

    >>> from quprop.planning import plan_on_nodes
    >>> model = qpr.Model(qpr.ansatz.hardware_efficient(34, 4), "Z0 Z1")
    >>> plan_on_nodes(model, 16, memory_per_node=64 << 30).fewest_nodes
    16
    """
    for name, count in (("nodes", nodes), ("ranks_per_node", ranks_per_node)):
        if whole(name, count, 1) & (count - 1):
            raise QupropError(f"{name} must be a power of two, got {shown(count)}: take {_powers(count)}")
    for name, count in (("steps", steps), ("samples", samples)):
        whole(name, count, 1)
    if precision not in AMPLITUDE:
        raise QupropError(f'precision is "double" or "single", got {shown(precision)}')
    for name, number, unit in (
        ("bandwidth", bandwidth, "bytes a second"),
        ("memory_per_node", memory_per_node, "bytes"),
        ("flops", flops, "multiply-adds a second"),
    ):
        if number is not None and not 0 < number < math.inf:
            raise QupropError(f"{name} must be a positive number of {unit}, got {shown(number)}")
    refuse_channels(model, "a state over many nodes")
    n, ranks = model.n_qubits, nodes * ranks_per_node
    if n > MAX_QUBITS:
        raise QupropError(f"a state of {n:,} qubits fits no machine; plan {MAX_QUBITS} qubits or fewer")
    if ranks > min(1 << n, MOST_RANKS):
        raise QupropError(
            f"{count_of(nodes, 'node')} of {count_of(ranks_per_node, 'rank')} are {ranks:,} ranks, too many for the "
            f"2^{n} amplitudes of {count_of(n, 'qubit')}: take fewer nodes"
        )
    found = traffic(model, ranks, precision, chunk)
    had = available_bytes() if memory_per_node is None else int(memory_per_node)
    vector = AMPLITUDE[precision] << n - int(math.log2(ranks))
    # Forwards a sweep turns M rotations of psi, backwards those of psi and lambda: 4 multiply-adds an amplitude each.
    rotations = model.n_rotations
    seconds = [swept_seconds(rotations, ops * rotations << n, flops, nodes) for ops in (4, 12)]

    def sent(exchanges: int, size: int, bound: int | None, compute: float | None) -> Sent:
        return Sent(exchanges, size, ranks * size, bound, None if bandwidth is None else size / bandwidth, compute)

    value = sent(found.exchanges, found.bytes_value, found.lower_bound_value, seconds[0])
    both = 2 * found.exchanges + found.swaps
    gradient = sent(both, found.bytes_gradient, found.lower_bound_gradient, seconds[1])
    step = gradient.times(samples)
    return NodesPlan(
        model=repr(model).strip("<>").removeprefix("Model: "),
        qubits=n,
        parameters=model.n_params,
        rotations=rotations,
        precision=precision,
        nodes=nodes,
        ranks_per_node=ranks_per_node,
        traffic=found,
        memory_node=ranks_per_node * found.memory,
        memory_per_node=had,
        fewest_nodes=_fewest(model, ranks_per_node, had, precision, chunk),
        steps=steps,
        samples=samples,
        flops=flops,
        bandwidth=bandwidth,
        bandwidth_by=None if bandwidth is None else bandwidth_by,
        value=value,
        gradient=gradient,
        step=step,
        training=step.times(steps),
        peers=sent(found.gate_exchanges, found.gate_exchanges * vector, None, None),
    )


def _fewest(model: Model, ranks_per_node: int, had: int, precision: str, chunk: int) -> int | None:
    """The smallest power of two of nodes whose ranks have room; psi and lambda alone say where to begin."""
    states = 2 * AMPLITUDE[precision] << model.n_qubits
    nodes = 1 << max(0, -(-states // had) - 1).bit_length()
    while nodes * ranks_per_node <= min(1 << model.n_qubits, MOST_RANKS):
        try:
            needed = traffic(model, nodes * ranks_per_node, precision, chunk).memory
        except QupropError:  # more ranks than a state is spread over
            return None
        if ranks_per_node * needed <= had:
            return nodes
        nodes *= 2
    return None


def _powers(count: int) -> str:
    below = 1 << count.bit_length() - 1
    return f"{below:,} or {2 * below:,}"


__all__ = ["NodesPlan", "Sent", "plan_on_nodes"]
