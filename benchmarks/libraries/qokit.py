"""QOKit: its compiled simulator of QAOA, QAOAFURXSimulatorC, which tabulates the cost and has no gradient.

Its phase is exp(-i gamma C / 2) and its mixer exp(-i beta X), so beta is half of RX's angle. The compiled part is no part of its
wheel: without it `pip install` leaves NumPy (variant "python"). Variant "c" is libcsim.so as its makefile builds it, which asks
for no optimisation; `qokit_optimised.py` is the same sources at -O3. Where terms times amplitudes are many the set-up is timed on
a share of the terms, in which it is linear, and the table is handed in as `costs`.
"""

from __future__ import annotations

import time

import numpy as np
import qokit.fur.c.csim.libpath as library
from qokit.fur import choose_simulator

from . import Case
from .common import z_diagonal

DISTRIBUTIONS = ("qokit", "numba")
WHOLE_TO = 1.2e8  # terms times amplitudes: some seconds
SHARE = 1 << 25  # what is timed of more, but two terms at least


def variants(workload) -> tuple[str, ...]:
    if cost_terms(workload) is None:
        return ()
    return ("c",) if library.is_available() else ("python",)


def cost_terms(workload) -> list[tuple[float, tuple[int, ...]]] | None:
    """The cost of every layer where the circuit is QAOA with one cost and RX mixers on every qubit; else None."""
    if workload.x is not None or len(workload.blocks) != 2 or workload.blocks[1].stride != 2:
        return None
    start, layer = (block.gates for block in workload.blocks)
    n = workload.n_qubits
    phase, mixer = layer[:-n], layer[-n:]
    diagonal_phase = all(g.param == 0 and (g.kind == "rzz" or all(p == "Z" for _, p in g.pauli)) for g in phase)
    mixed = [(g.kind, g.qubits, g.param, g.scale) for g in mixer] == [("rx", (q,), 1, 1.0) for q in range(n)]
    if not (diagonal_phase and mixed and [(g.kind, *g.qubits) for g in start] == [("h", q) for q in range(n)]):
        return None
    return [(float(g.scale), g.qubits) for g in phase]


def build(workload, precision: str, variant: str, threads: int) -> Case:
    n, terms = workload.n_qubits, cost_terms(workload)
    simulator, setup_s = choose_simulator(variant), None
    if len(terms) << n <= WHOLE_TO:
        qaoa = simulator(n, terms=terms)
    else:
        share = terms[: max(2, SHARE >> n)]
        start = time.perf_counter()
        simulator(n, terms=share)
        setup_s = (time.perf_counter() - start) * len(terms) / len(share)
        table = [(tuple((q, "Z") for q in qubits), c) for c, qubits in terms]
        qaoa = simulator(n, costs=z_diagonal(table, n, first_qubit_is_most_significant=False))
    observable = dict(workload.observable)
    shares = {observable.get(tuple((q, "Z") for q in qubits), 0.0) / c for c, qubits in terms}
    if len(shares) != 1 or len(observable) != len(terms):
        raise ValueError("the observable is no multiple of the cost of the layers")
    (share,) = shares

    def value(theta: np.ndarray) -> float:
        return share * float(qaoa.get_expectation(qaoa.simulate_qaoa(theta[::2], theta[1::2] / 2)))

    return Case(value, None, setup_s)
