"""How fast could a gradient be on this machine? A model of the work that must be done, over measured rates.

Multiply-adds, per amplitude (a complex number: two real ones) and rotation:
    forwards 2 (a + tan b on each component, the cosine pulled out), backwards 6 (the same on psi and lambda, and Im<lambda|P|psi>).
A run of rotations that are diagonal together is one phase: 1 forwards (its signed angle is added up) and 1 backwards (a signed
sum) per rotation, and once for the run 4 forwards, 8 backwards for the phases and 2 for Im(conj(lambda) psi).
Observable: 2 per amplitude and per group of terms with equal flips. Sines, cosines and signs are not counted.

Bytes: a run of rotations whose flips span no more dimensions than a 1 MiB cache holds (psi and lambda in it) can be done in one
pass over memory. Forwards a pass reads and writes psi, backwards psi and lambda; the observable reads psi and writes lambda. If
both states fit into the cache nothing moves. Bandwidth is the one measured for a working set of the two states.

The limit is the larger of the two times. It is a limit for engines that go rotation by rotation, ours included; a smarter
algorithm may pass it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

CACHE = 1 << 20
COMPLEX_BYTES = {"single": 8, "double": 16}


class Work(NamedTuple):
    multiply_adds: float
    bytes: float
    passes: int


def flips(workload) -> list[int]:
    """The x mask of every rotation in order, pulled back through the CX gates before it (other Cliffords stand at the start)."""
    pulled = [1 << q for q in range(workload.n_qubits)]  # image of a flip of qubit q
    out = []
    for g in workload.gates:
        if g.kind == "cx":
            control, target = g.qubits
            pulled[control] ^= pulled[target]
        elif g.param is not None or g.input is not None:
            letters = g.pauli or tuple((q, {"rx": "X", "ry": "Y"}.get(g.kind, "Z")) for q in g.qubits)
            mask = 0
            for q, letter in letters:
                mask ^= pulled[q] if letter != "Z" else 0
            out.append(mask)
    return out


def work(workload, precision: str) -> Work:
    amplitude = COMPLEX_BYTES[precision]
    states = (1 << workload.n_qubits) * workload.batch
    masks = flips(workload)

    per_amplitude = 0
    for k, mask in enumerate(masks):
        # every rotation is part of a diagonal run if it and a neighbour flip nothing
        neighbours = masks[max(k - 1, 0) : k] + masks[k + 1 : k + 2]
        if mask or 0 not in neighbours:
            per_amplitude += 8
        else:
            per_amplitude += 2 + (14 if k == 0 or masks[k - 1] else 0)
    groups = {sum(1 << q for q, letter in pauli if letter in "XY") for pauli, _ in workload.observable}
    per_amplitude += 2 * len(groups)

    if 2 * amplitude << workload.n_qubits <= CACHE:
        return Work(per_amplitude * states, 0.0, 0)
    passes = count_passes(masks, int(math.log2(CACHE // (2 * amplitude))))
    return Work(per_amplitude * states, (passes * (2 + 4) + 3) * amplitude * states, passes)


def count_passes(masks: list[int], dimensions: int) -> int:
    """Greedy runs of rotations whose flips span at most `dimensions`."""
    passes, basis = 1, []
    for mask in masks:
        rest = mask
        for b in basis:  # highest leading bit first
            rest = min(rest, rest ^ b)
        if rest and len(basis) == dimensions:
            passes, basis = passes + 1, [mask]
        elif rest:
            basis = sorted([*basis, rest], reverse=True)
    return passes


def limit_seconds(workload, precision: str, machine: dict) -> dict:
    """Time limit with the most threads measured; `machine` is `machine.measure_all`'s result."""
    rates = machine[max(machine, key=int)]
    w = work(workload, precision)
    both = 2 * COMPLEX_BYTES[precision] * (1 << workload.n_qubits) / (1 << 20)
    size = next((s for s in rates["bytes_per_s"] if float(s) >= both), list(rates["bytes_per_s"])[-1])
    compute = w.multiply_adds / rates["multiply_adds_per_s"][precision]
    traffic = w.bytes / rates["bytes_per_s"][size]
    return {
        "multiply_adds": w.multiply_adds,
        "bytes": w.bytes,
        "passes": w.passes,
        "compute_s": compute,
        "traffic_s": traffic,
        "limit_s": max(compute, traffic),
    }
