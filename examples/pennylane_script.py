"""The ground state of lithium hydride as PennyLane's tutorials write it; the one thing to change is the device's name.

    python examples/pennylane_script.py                         # lightning.qubit, then quprop, and the ratio
    python examples/pennylane_script.py --devices quprop --steps 20

12 qubits, 631 Pauli terms, 92 excitations of the Hartree-Fock state. Needs PennyLane and its Lightning plugin:
pip install ".[pennylane]" pennylane-lightning
"""

import argparse
import time

import pennylane as qml
from pennylane import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", nargs="+", default=["lightning.qubit", "quprop"])
    parser.add_argument("--steps", type=int, default=5, help="steps of gradient descent")
    options = parser.parse_args()

    molecule = qml.qchem.Molecule(["Li", "H"], np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5949]]), unit="angstrom")
    hamiltonian, qubits = qml.qchem.molecular_hamiltonian(molecule)
    singles, doubles = qml.qchem.excitations(electrons=4, orbitals=qubits)
    hf_state = qml.qchem.hf_state(electrons=4, orbitals=qubits)
    print(
        f"lithium hydride: {qubits} qubits, {len(hamiltonian.terms()[0])} terms, {len(singles + doubles)} excitations"
    )

    seconds, energies = {}, {}
    for name in options.devices:
        dev = qml.device(name, wires=qubits)

        @qml.qnode(dev, diff_method="adjoint")
        def energy(theta):
            qml.AllSinglesDoubles(theta, wires=range(qubits), hf_state=hf_state, singles=singles, doubles=doubles)
            return qml.expval(hamiltonian)

        theta = np.zeros(len(singles + doubles), requires_grad=True)
        optimiser = qml.AdamOptimizer(stepsize=0.02)
        optimiser.step_and_cost(energy, theta)  # the first call plans and fills caches
        start = time.perf_counter()
        for _ in range(options.steps):
            theta, _ = optimiser.step_and_cost(energy, theta)
        seconds[name] = (time.perf_counter() - start) / options.steps
        energies[name] = float(energy(theta))
        print(f"  {name:16} {1000 * seconds[name]:8.1f} ms a step, energy {energies[name]:.8f} Hartree")
    if {"quprop", "lightning.qubit"} <= set(seconds):
        print(f"  quprop is {seconds['lightning.qubit'] / seconds['quprop']:.1f} times faster")


if __name__ == "__main__":
    main()
