"""What exact gradients cost by one state over many nodes: memory, what is sent, and time, before any rank is started.

    a gradient  = psi forwards, psi and lambda backwards in one message, and swaps for observables (`Traffic`)
    a step      = the gradient of its sample, and swaps for its value; of several samples, one after another over all
                  ranks, a value and a gradient each, since no rank keeps their states
    a training  = its steps
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
from quprop.simulate.distributed.traffic import AMPLITUDE, Traffic, traffic
from quprop.simulate.engine import MAX_QUBITS
from quprop.tables import flat_rows

CHUNK = Distributed().chunk
HOW = (
    "Seconds of exchange take a bandwidth: give --bandwidth GB/s of a rank (bandwidth=, in bytes a second, in Python), "
    "or run quprop plan under mpirun, which measures it between the ranks."
)


class Sent(NamedTuple):
    """exchanges of the state, swaps for observables among them; rank_bytes: sent by each rank; all_bytes: by all of
    them; lower_bound_bytes: of each rank, (1 - 1/P) of the vector an exchange (None where no bound is stated);
    exchange_seconds: of sending, None without a bandwidth; compute_seconds: of each node's multiply-adds."""

    exchanges: int
    rank_bytes: int
    all_bytes: int
    lower_bound_bytes: int | None
    exchange_seconds: float | None
    compute_seconds: float | None

    def plus(self, other: Sent) -> Sent:
        """Of both, one after the other."""
        first, second = tuple(self), tuple(other)
        return Sent._make(None if a is None or b is None else a + b for a, b in zip(first, second, strict=True))

    def times(self, count: int) -> Sent:
        """Of so many in a row."""
        return Sent._make(None if value is None else value * count for value in tuple(self))


@dataclass(frozen=True)
class NodesPlan:
    """memory_node: bytes of a node's ranks; memory_per_node: what a node has; fewest_nodes: the smallest power of two
    of nodes that hold the state, with as many ranks each; None where no number of them does.

    value, gradient: of one sample; step: of its samples, as `qpr.train` and `qpr.vjp` take it; training: of all steps.
    peers: a value by what
    exchanges the whole vector of a rank for every gate that is not diagonal on one of the top qubits (`Traffic`); None
    of a model that does not know its gates.
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
    peers: Sent | None
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
        known = self.bandwidth is not None or self.traffic.ranks == 1
        return f"{begin}; {fewest}." + ("" if known else f" {HOW}")

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it."""
        names = ("qubits", "parameters", "rotations", "nodes", "ranks_per_node", "fits", "fewest_nodes")
        more = ("steps", "samples", "flops", "bandwidth", "bandwidth_by")
        return {
            "kind": "nodes_plan",
            "by": self.by,
            "sizes": self.model,
            **{k: getattr(self, k) for k in names},
            "node_bytes": self.memory_node,
            "node_has_bytes": self.memory_per_node,
            "state_precision": self.precision,
            **{k: getattr(self, k) for k in more},
            "traffic": self.traffic._asdict(),
            "sent": {name: row._asdict() for name, row in self._rows.items()},
            "advice": self.advice,
        }

    @property
    def _rows(self) -> dict[str, Sent]:
        rows = {"value": self.value, "gradient": self.gradient, "step": self.step, "training": self.training}
        return rows if self.peers is None else {**rows, "peers": self.peers}

    def table(self) -> list[dict[str, Any]]:
        """Rows for `pandas.DataFrame`: a value, a gradient, a step, the training, and a value by peers."""
        return flat_rows({"name": name, **row._asdict()} for name, row in self._rows.items())

    def __str__(self) -> str:
        sent = f"{short_bytes(self.gradient.rank_bytes)} sent by each rank in {self.gradient.exchanges} exchanges"
        seconds = "" if self.gradient.exchange_seconds is None else f", {people(self.gradient.exchange_seconds)}"
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
    all do (a node's network is shared by its ranks); without it nothing is said of the time of exchanges. steps: of
    the training; samples: of a step, of which each state is spread over all ranks (groups of ranks send less); flops:
    multiply-adds a second of a node. precision and chunk as in `qpr.Distributed` and the functions that take it.

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
    found = traffic(model, ranks, precision, chunk)
    had = available_bytes() if memory_per_node is None else int(memory_per_node)
    vector = AMPLITUDE[precision] << n - int(math.log2(ranks))
    # Forwards a sweep turns M rotations of psi, backwards those of psi and lambda: 4 multiply-adds an amplitude each.
    rotations = model.n_rotations
    seconds = [swept_seconds(rotations, ops * rotations << n, flops, nodes) for ops in (4, 12)]

    def sent(exchanges: int, size: int, bound: int | None, compute: float | None) -> Sent:
        return Sent(exchanges, size, ranks * size, bound, None if bandwidth is None else size / bandwidth, compute)

    gates = found.gate_exchanges
    value = sent(found.exchanges + found.swaps, found.bytes_value, found.lower_bound_value, seconds[0])
    both = 2 * found.exchanges + found.swaps
    gradient = sent(both, found.bytes_gradient, found.lower_bound_gradient, seconds[1])
    if samples == 1:
        again = sent(found.swaps, found.swaps * vector, 0, 0.0)  # the value is read before lambda is known
        step = gradient.plus(again)
    else:
        step = value.plus(gradient).times(samples)
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
        peers=None if gates is None else sent(gates, gates * vector, None, None),
    )


def _fewest(model: Model, ranks_per_node: int, had: int, precision: str, chunk: int) -> int | None:
    """The smallest power of two of nodes whose ranks have room; psi and lambda alone say where to begin."""
    states = 2 * AMPLITUDE[precision] << model.n_qubits
    nodes = 1 << max(0, -(-states // had) - 1).bit_length()
    try:
        while ranks_per_node * traffic(model, nodes * ranks_per_node, precision, chunk).memory > had:
            nodes *= 2
    except QupropError:  # more ranks than share a state
        return None
    return nodes


def _powers(count: int) -> str:
    below = 1 << count.bit_length() - 1
    return f"{below:,} or {2 * below:,}"


__all__ = ["NodesPlan", "Sent", "plan_on_nodes"]
