"""Quantum models in other people's programs: one file for each outside world, imported when it is asked for.

    torch          QuantumLayer, an nn.Module
    jax            a function with derivatives of its own under jit, vmap and grad
    pennylane      qml.device("quprop") and from_pennylane
    qiskit         circuits, operators, QPY; V2 primitives; gradients for qiskit-machine-learning
    qasm           OpenQASM 2 and 3, in and out
    stim, openfermion   circuits and operators in

`import quprop as qpr` has the names below too (and `cut`, which needs none of them); none of these libraries is
imported before one of them is used.
"""

from importlib import import_module
from typing import Any

from quprop.lazy import submodule

WHERE = {
    "QuantumLayer": "quprop.hybrid.torch",
    "from_pennylane": "quprop.hybrid.pennylane",
    "from_qiskit": "quprop.hybrid.qiskit",
    "to_qiskit": "quprop.hybrid.qiskit",
    "from_qasm": "quprop.hybrid.qasm",
    "to_qasm": "quprop.hybrid.qasm",
    "from_stim": "quprop.hybrid.stim",
    "from_openfermion": "quprop.hybrid.openfermion",
    "to_openfermion": "quprop.hybrid.openfermion",
    "load_qpy": "quprop.hybrid.qiskit",
    "save_qpy": "quprop.hybrid.qiskit",
    "cut": "quprop.modules.cutting",
}


def __getattr__(name: str) -> Any:
    return getattr(import_module(WHERE[name]), name) if name in WHERE else submodule(__name__, name)
