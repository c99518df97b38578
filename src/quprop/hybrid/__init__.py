"""Quantum models in other people's programs: one file for each outside world, imported when it is asked for.

    torch          QuantumLayer, an nn.Module
    jax            a function with derivatives of its own under jit, vmap and grad
    pennylane      qml.device("quprop") and from_pennylane
    qiskit         circuits, operators, QPY; V2 primitives; gradients for qiskit-machine-learning
    qasm           OpenQASM 2 and 3, in and out
    stim, openfermion   circuits and operators in
    cutting        large models from modules of few qubits

`import quprop as qpr` has the names below too; none of these libraries is imported before one of them is used.
"""

from typing import Any

from quprop.lazy import submodule

WHERE = {
    "QuantumLayer": "torch",
    "from_pennylane": "pennylane",
    "from_qiskit": "qiskit",
    "to_qiskit": "qiskit",
    "from_qasm": "qasm",
    "to_qasm": "qasm",
    "from_stim": "stim",
    "from_openfermion": "openfermion",
    "to_openfermion": "openfermion",
    "load_qpy": "qiskit",
    "save_qpy": "qiskit",
    "cut": "cutting",
}


def __getattr__(name: str) -> Any:
    return getattr(submodule(__name__, WHERE[name]), name) if name in WHERE else submodule(__name__, name)
