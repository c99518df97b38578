"""Quantum models in other people's programs: one file for each outside world, imported when it is asked for.

    torch.py        QuantumLayer, an nn.Module
    jax.py          a function with derivatives of its own under jit, vmap and grad
    pennylane.py    qml.device("quprop") and from_pennylane
    qiskit.py       circuits, operators, primitives
    qasm.py         OpenQASM 2 and 3, in and out
    stim.py, openfermion.py
    cutting         large models from modules of few qubits
"""
