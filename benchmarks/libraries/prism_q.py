"""PRISM-Q: a prepared circuit bound to new angles, `expectation_gradient` (its adjoint method) on the state vector.

A slot of parameters takes no factor, so each rotation has its own and the chain rule is here. Variant "probabilities" takes the
value of a diagonal observable as one product with the probabilities, "observable" as its own expectation, which also works out
the variance. Threads: RAYON_NUM_THREADS.
"""

from __future__ import annotations

import numpy as np
import prism_q

from . import Case
from .common import is_diagonal, z_diagonal

DISTRIBUTIONS = ("prism_q",)


def variants(workload) -> tuple[str, ...]:
    if workload.x is not None:
        return ()
    return ("probabilities",) if is_diagonal(workload) else ("observable",)


def build(workload, precision: str, variant: str, threads: int) -> Case:
    builder, target, factor = prism_q.CircuitBuilder(workload.n_qubits), [], []
    for g in workload.gates:
        if g.param is None:
            getattr(builder, g.kind)(*g.qubits)
            continue
        angle = g.scale * workload.theta[g.param]  # where all are zero it would take the circuit for a Clifford one
        if g.kind == "pauli":
            builder.pauli_rotation(angle, list(g.pauli))
        else:
            getattr(builder, g.kind)(angle, *g.qubits)
        builder.param(len(target))
        target.append(g.param)
        factor.append(g.scale)
    target, factor = np.array(target), np.array(factor)
    links = builder.parameter_links()
    vector = prism_q.BackendKind.statevector()
    prepared = prism_q.PreparedCircuit(builder.build(), builder.parameters(), backend=vector)
    observable = prism_q.PauliObservable([(c, list(pauli)) for pauli, c in workload.observable])
    if variant == "probabilities":
        cost = z_diagonal(workload.observable, workload.n_qubits, first_qubit_is_most_significant=False)

    def value(theta: np.ndarray) -> float:
        angles = factor * theta[target]
        if variant == "probabilities":
            return float(prepared.run(angles).probabilities @ cost)
        return float(prepared.observable_expectation(angles, observable).mean)

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        simulation = prism_q.simulate(prepared.bind(factor * theta[target])).backend(vector)
        f, g = simulation.expectation_gradient(observable, links)
        return float(f), np.bincount(target, weights=factor * np.asarray(g), minlength=workload.n_params)

    return Case(value, value_and_grad)
