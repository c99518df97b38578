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

from typing import TYPE_CHECKING

from quprop.lazy import lazy, listing

if TYPE_CHECKING:
    from quprop.hybrid.openfermion import from_openfermion as from_openfermion
    from quprop.hybrid.openfermion import to_openfermion as to_openfermion
    from quprop.hybrid.pennylane import from_pennylane as from_pennylane
    from quprop.hybrid.qasm import from_qasm as from_qasm
    from quprop.hybrid.qasm import to_qasm as to_qasm
    from quprop.hybrid.qiskit import from_qiskit as from_qiskit
    from quprop.hybrid.qiskit import load_qpy as load_qpy
    from quprop.hybrid.qiskit import save_qpy as save_qpy
    from quprop.hybrid.qiskit import to_qiskit as to_qiskit
    from quprop.hybrid.stim import from_stim as from_stim
    from quprop.hybrid.torch import QuantumLayer as QuantumLayer
    from quprop.modules.cutting import cut as cut

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

if not TYPE_CHECKING:
    __getattr__ = lazy(__name__, WHERE)

__dir__ = listing(__name__, WHERE)
