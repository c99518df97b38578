"""quprop itself: Model and value_and_grad of its public interface, nothing private."""

from __future__ import annotations

import numpy as np
import quprop as qpr

from . import Case

DISTRIBUTIONS = ("quprop",)


def variants(workload) -> tuple[str, ...]:
    return ("native",)


def model(workload) -> qpr.Model:
    circuit = qpr.Circuit(workload.n_qubits)
    theta = qpr.params("theta", workload.n_params)
    x = None if workload.x is None else qpr.inputs("x", workload.x.shape[1])
    for g in workload.gates:
        if g.param is None and g.input is None:
            getattr(circuit, g.kind)(*g.qubits)
            continue
        angle = x[g.input] if g.input is not None else theta[g.param] if g.scale == 1.0 else g.scale * theta[g.param]
        if g.kind == "pauli":
            circuit.rotation(_text(g.pauli), angle)
        else:
            getattr(circuit, g.kind)(angle, *g.qubits)
    return qpr.Model(circuit, qpr.PauliSum({_text(pauli): c for pauli, c in workload.observable}))


def _text(pauli) -> str:
    return " ".join(f"{letter}{q}" for q, letter in pauli) or "I"


def build(workload, precision: str, variant: str, threads: int) -> Case:
    m = model(workload)
    options = {"precision": precision, "threads": threads}
    if workload.x is None:

        def value(theta: np.ndarray) -> float:
            return float(np.ravel(qpr.expectation(m, theta, **options))[0])

        def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
            f, g = qpr.value_and_grad(m, theta, **options)
            return float(f), g

        return Case(value, value_and_grad)

    x = workload.x
    share = np.full((len(x), 1), 1 / len(x))

    def mean_value(theta: np.ndarray) -> float:
        return float(np.mean(qpr.expectation(m, theta, x, **options)))

    def mean_value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        values, pullback = qpr.vjp(m, theta, x, **options)
        gradient, _ = pullback(share, sum_theta=True)
        return float(np.mean(values)), gradient

    return Case(mean_value, mean_value_and_grad)
