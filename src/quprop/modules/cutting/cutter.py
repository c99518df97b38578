"""`cut`: where a circuit is cut, by search or by hand, what may not be cut, and the plan that comes of it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from quprop.errors import QupropError, count_of
from quprop.model import Model, observables_of
from quprop.model.angle_table import AngleTable
from quprop.model.circuit import Circuit
from quprop.model.parameterised import refuse_parameters
from quprop.model.pauli import PauliString
from quprop.modules.cutting.find import Layout, by_hand, find
from quprop.modules.cutting.fragments import build, check_state, is_product
from quprop.modules.cutting.plan import CutPlan
from quprop.modules.cutting.steps import Step, circuit_of, felt, listed, unfold, wire_of

MAX_OVERHEAD = 1e8  # shots grow by this factor: seconds become years


def cut(
    circuit: Circuit | Model,
    observables: Any = None,
    *,
    max_qubits: int | None = None,
    wires: bool = True,
    parts: Sequence[Sequence[int]] | None = None,
    at_gates: Sequence[int] = (),
    at_wires: Sequence[tuple[int, int]] = (),
    max_overhead: float = MAX_OVERHEAD,
) -> CutPlan:
    """Cut a circuit into fragments that run on fewer qubits, with the least sampling overhead found.

    Gates outside the light cone of all observables are left out first: what nothing feels need not be cut.

        plan = cut(circuit, {"Z0 Z1": 1.0, ...}, max_qubits=10)
        value, grad = plan.value_and_grad(theta)

    circuit, observables: as for `Model`. A `Model` may be given instead: then its list of rotations is what is cut, and
        the Pauli strings of that list are long where the circuit had Clifford gates; pass the circuit if there is one.
    max_qubits: qubits of a fragment at most. Without it (and without the three below) only parts that no gate joins
        are separated, which costs nothing: independent modules cost their sum, not their product.
    wires: whether wires may be cut (kappa 4 each), or gates only (kappa 1 + 2|sin a|, 3 for a CX or a free angle).
    parts: by hand, groups of qubits, one a fragment; gates between them are cut.
    at_gates, at_wires: by hand, operations of the circuit to cut (their index in `circuit.operations`), and wires
        (qubit, operation) to cut before an operation; what still hangs together is a fragment.
    max_overhead: the plan is refused if shots would have to grow by more than this. It is the price of sampling only;
        exact reconstruction pays 4^(cut ends of a fragment), so `float("inf")` is right where no shots are drawn.

    Returns: CutPlan, which stands where a Model does in `expectation`, `value_and_grad`, `train` and `QuantumLayer`.
    Raises: QupropError for places that do not exist, and where no cut within max_qubits and max_overhead is found.

    >>> theta = qpr.params("theta", 2)
    >>> circuit = qpr.Circuit(2).ry(theta[0], 0).ry(theta[1], 1).cx(0, 1)
    >>> plan = qpr.cut(circuit, "Z0 Z1", max_qubits=1)
    >>> qpr.expectation(plan, [0.3, 0.4]).round(6)
    array([0.921061])
    >>> qpr.expectation(qpr.Model(circuit, "Z0 Z1"), [0.3, 0.4]).round(6)
    array([0.921061])
    """
    model = None
    if isinstance(circuit, Model):
        if observables is not None:
            raise QupropError("a Model has its observables; leave observables out, or pass the Circuit")
        model = circuit
        circuit, observables = circuit_of(model), model.observables
    if not isinstance(circuit, Circuit):
        raise QupropError(f"cut(circuit, observables) takes a Circuit or a Model, got {type(circuit).__name__}")
    if observables is None:
        raise QupropError("cut(circuit, observables) needs the observables too; pass for example 'Z0 Z1'")
    given = observables_of(observables, circuit.n_qubits)
    refuse_parameters(given, "cutting")
    chosen = [k for k, v in (("max_qubits", max_qubits is not None), ("parts", parts is not None)) if v]
    chosen += ["at_gates and at_wires"] if at_gates or at_wires else []
    if len(chosen) > 1:
        raise QupropError(f"where to cut is said in one way, got {' and '.join(chosen)}; keep one of them")
    if max_qubits is not None and (
        isinstance(max_qubits, bool) or not isinstance(max_qubits, numbers.Integral) or max_qubits < 1
    ):
        raise QupropError(f"max_qubits must be a whole number, 1 or more, got {max_qubits!r}")
    if isinstance(max_overhead, bool) or not isinstance(max_overhead, numbers.Real) or not max_overhead >= 1:
        raise QupropError(f'max_overhead is a factor, 1 or more, or float("inf"), got {max_overhead!r}')
    n = circuit.n_qubits
    steps, where = unfold(circuit)
    strings = list(dict.fromkeys(p for o in given for p, _ in o.items())) or [PauliString(0, 0)]  # all of them are zero
    coefficients = np.zeros((len(strings), len(given)))
    rows = {p: j for j, p in enumerate(strings)}
    for k, o in enumerate(given):
        for p, c in o.items():
            coefficients[rows[p], k] = c
    moved = [PauliString(*(_permuted(mask, where) for mask in (p.x, p.z))) for p in strings]
    if is_product(circuit) and not (at_gates or at_wires):  # those name what is cut
        steps = felt(steps, moved)
    if parts is not None:
        layout, optimal = _of_parts(n, parts), False
    elif at_gates or at_wires:
        layout, optimal = _of_places(circuit, steps, at_gates, at_wires), False
    else:
        layout, optimal = find(n, steps, None if max_qubits is None else int(max_qubits), wires)
    _check_overhead(layout, steps, max_overhead)
    check_state(circuit, layout)
    cuts, fragments, factors = build(circuit, steps, layout, moved)
    flat = circuit.flattened()
    table = AngleTable.build(
        [c.angle.relabel(flat) for c in cuts if c.kind == "gate"], circuit.n_params, circuit.n_inputs
    )
    model = Model(circuit, given) if model is None else model
    plan = CutPlan(model, fragments, cuts, factors, coefficients, tuple(moved), table, optimal)
    plan._check_contraction()
    return plan


def _permuted(mask: int, where: Sequence[int]) -> int:
    return sum(1 << where[q] for q in range(len(where)) if mask >> q & 1)


def _of_parts(n: int, parts: Sequence[Sequence[int]]) -> Layout:
    try:
        given = [int(q) for part in parts for q in part]
    except (TypeError, ValueError):
        raise QupropError(f"parts are lists of qubits such as [[0, 1], [2, 3]], got {parts!r}") from None
    if sorted(given) != list(range(n)):
        raise QupropError(
            f"parts name each of the qubits 0 to {n - 1} once, got {len(given)} names of {len(set(given))} qubits; "
            "list every qubit in one part"
        )
    home = {q: k for k, part in enumerate(p for p in parts if len(p)) for q in part}
    return Layout(((),) * n, tuple((home[q],) for q in range(n)))


def _of_places(
    circuit: Circuit, steps: Sequence[Step], gates: Sequence[int], wires: Sequence[tuple[int, int]]
) -> Layout:
    count, n = len(circuit.operations), circuit.n_qubits
    try:
        gates, wires = [int(g) for g in gates], [(int(q), int(p)) for q, p in wires]
    except (TypeError, ValueError):
        raise QupropError(
            f"at_gates are operations such as [3, 7] and at_wires pairs such as [(qubit, operation)], "
            f"got {gates!r} and {wires!r}"
        ) from None
    for place in [*gates, *(p for _, p in wires)]:
        if not 0 <= place < count:
            raise QupropError(f"an operation of this circuit has an index from 0 to {count - 1}, got {place}")
    for qubit, _ in wires:
        if not 0 <= qubit < n:
            raise QupropError(f"this circuit has qubits 0 to {n - 1}, got a wire cut on qubit {qubit}")
    chosen = {t for t, s in enumerate(steps) if s.place in set(gates)}
    idle = [g for g in gates if not any(len(steps[t].wires) > 1 for t in chosen if steps[t].place == g)]
    if idle:
        raise QupropError(
            f"operation {idle[0]} ({circuit.operations[idle[0]].name}) joins no qubits here, so it cannot be cut; "
            "name a gate on two qubits or more (of CX RZ CX it is the RZ)"
        )
    before = [
        (wire_of(circuit, qubit, place), next((t for t, s in enumerate(steps) if s.place >= place), len(steps)))
        for qubit, place in wires
    ]
    layout = by_hand(n, steps, chosen, before)
    shared = {steps[t].place for t, _ in layout.gate_cuts(steps)}
    for t in sorted(chosen):
        if len(steps[t].wires) > 1 and steps[t].place not in shared:
            raise QupropError(
                f"cutting operation {steps[t].place} separates nothing: its qubits "
                f"{' and '.join(map(str, steps[t].wires))} hang together by other gates; cut those too"
            )
    return layout


def _check_overhead(layout: Layout, steps: Sequence[Step], most: float) -> None:
    log = layout.log_kappa(steps)
    if 2 * log <= math.log(most) + 1e-9:
        return
    gates = layout.gate_cuts(steps)
    count = sum(map(len, layout.breaks))
    if gates:
        joined: dict[tuple[int, ...], list[int]] = {}
        for t, _ in gates:
            joined.setdefault(tuple(sorted({layout.fragment(w, t) for w in steps[t].wires})), []).append(t)
        worst, where = max(joined.items(), key=lambda item: len(item[1]))
        first = steps[where[0]]
        place = (
            f"{len(where)} of the gates cut join the fragments {' and '.join(map(str, worst))}, the first on qubits "
            f"{listed(first.wires)} at operation {first.place}"
        )
    else:
        wire = max(range(len(layout.breaks)), key=lambda w: len(layout.breaks[w]))
        place = f"the wire of qubit {wire} is cut {count_of(len(layout.breaks[wire]), 'time')}"
    raise QupropError(
        f"cutting here multiplies shots by {_power(2 * log)} (limit {most:.3g}) for {count_of(len(gates), 'gate')} and "
        f"{count_of(count, 'wire')}: {place}; allow more qubits per fragment, join fewer gates across, or raise "
        'max_overhead (float("inf") if no shots are drawn)'
    )


def _power(log: float) -> str:
    return f"{math.exp(log):.3g}" if log < 600 else f"10^{log / math.log(10):.0f}"
