"""PennyLane-Lightning: lightning.qubit's adjoint Jacobian, called through its C++ binding.

A QNode adds milliseconds of tape and transform work per call; the binding below is what it ends in, so this is the better side
of Lightning. Observables go in either as a Hamiltonian of Pauli words or as one sparse matrix (small n).
UCC excitations are Lightning's own Single/DoubleExcitation kernels; a CNOT ladder and a CZ carry the Jordan-Wigner string.
"""

from __future__ import annotations

import itertools

import numpy as np
import pennylane_lightning.lightning_qubit_ops as ops

from . import Case
from .common import SampleMap, as_matrix, sparse_observable

DISTRIBUTIONS = ("pennylane_lightning", "pennylane")

_NAMES = {"h": "Hadamard", "x": "PauliX", "cx": "CNOT", "rx": "RX", "ry": "RY", "rz": "RZ", "rzz": "IsingZZ"}
_NAMES["pauli"] = "MultiRZ"  # strings of Z, the only ones outside excitations


def variants(workload) -> tuple[str, ...]:
    if workload.n_qubits < 12:
        return ("sparse", "words")
    return ("sparse",) if as_matrix(workload) else ("words",)


def _operations(workload) -> list[tuple[str, tuple[int, ...], int | None, float, int | None]]:
    """(name, wires, parameter, factor, input) in order."""
    if not workload.excitations:
        return [(_NAMES[g.kind], g.qubits, g.param, g.scale, g.input) for g in workload.gates]
    out = [("PauliX", (q,), None, 1.0, None) for q in range(workload.n_electrons)]
    for e in workload.excitations:
        wires = (*e.annihilated, *e.created)  # ascending: occupied orbitals come first
        pairs = itertools.batched(wires, 2) if hasattr(itertools, "batched") else zip(wires[::2], wires[1::2], strict=True)
        string = [q for low, high in pairs for q in range(low + 1, high)]
        ladder = [("CNOT", (a, b), None, 1.0, None) for a, b in itertools.pairwise(string)]
        parity = [*ladder, ("CZ", (string[-1], wires[-1]), None, 1.0, None)] if string else []
        name = "SingleExcitation" if len(wires) == 2 else "DoubleExcitation"
        out += [*parity, (name, wires, e.param, -2.0, None), *reversed(parity)]  # its angle is -2 theta
    return out


def _hamiltonian(workload, suffix: str, variant: str):
    types = ops.observables
    if variant == "sparse":
        dtype = np.complex64 if suffix == "C64" else np.complex128
        m = sparse_observable(workload, first_qubit_is_most_significant=True, dtype=dtype)
        build = getattr(types, f"SparseHamiltonian{suffix}")
        return build(m.data, m.indices.tolist(), m.indptr.tolist(), list(range(workload.n_qubits)))
    named, tensor = getattr(types, f"NamedObs{suffix}"), getattr(types, f"TensorProdObs{suffix}")
    words = []
    for pauli, _ in workload.observable:
        factors = [named(f"Pauli{letter}", [q]) for q, letter in pauli] or [named("Identity", [0])]
        words.append(factors[0] if len(factors) == 1 else tensor(factors))
    coefficients = np.array([c for _, c in workload.observable], np.float32 if suffix == "C64" else np.float64)
    return getattr(types, f"Hamiltonian{suffix}")(coefficients, words)


def build(workload, precision: str, variant: str, threads: int) -> Case:
    suffix = "C64" if precision == "single" else "C128"
    n, operations, hamiltonian = workload.n_qubits, _operations(workload), _hamiltonian(workload, suffix, variant)
    new_state = getattr(ops, f"StateVector{suffix}")
    measurements = getattr(ops, f"Measurements{suffix}")
    jacobian = getattr(ops.algorithms, f"AdjointJacobian{suffix}")()
    create_ops = getattr(ops.algorithms, f"create_ops_list{suffix}")

    names = [name for name, *_ in operations]
    wires = [list(w) for _, w, *_ in operations]
    none = [[] for _ in operations]
    no_matrix = [np.array([], np.complex64 if suffix == "C64" else np.complex128)] * len(operations)
    inverse = [False] * len(operations)
    parametric = [op for op in operations if op[2] is not None or op[4] is not None]
    trainable = [k for k, op in enumerate(parametric) if op[2] is not None]
    target = np.array([op[2] for op in parametric if op[2] is not None])
    factor = np.array([op[3] for op in parametric if op[2] is not None])

    def angles(theta: list[float], x) -> list[list[float]]:
        return [[scale * theta[p]] if p is not None else ([x[i]] if i is not None else []) for _, _, p, scale, i in operations]

    def run(theta: list[float], x):
        state = new_state(n)
        parameters = angles(theta, x)
        for name, w, a in zip(names, wires, parameters, strict=True):
            getattr(state, name)(w, False, a)
        return state, parameters, measurements(state).expval(hamiltonian)

    def one_value(x, theta: np.ndarray) -> float:
        return run(theta.tolist(), x)[2]

    def one_gradient(x, theta: np.ndarray) -> np.ndarray:
        state, parameters, value = run(theta.tolist(), x)
        listed = create_ops(names, parameters, wires, inverse, no_matrix, none, none)
        jac = np.asarray(jacobian(state, [hamiltonian], listed, trainable), dtype=np.float64)
        gradient = np.bincount(target, weights=factor * jac.ravel(), minlength=workload.n_params)
        return np.concatenate([[value], gradient])

    samples = [None] if workload.x is None else workload.x.tolist()
    samples = SampleMap({"value": one_value, "gradient": one_gradient}, samples, 1 if workload.x is None else threads)

    def value(theta: np.ndarray) -> float:
        return float(samples.mean("value", theta))

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        both = samples.mean("gradient", theta)
        return float(both[0]), both[1:]

    return Case(value, value_and_grad)
