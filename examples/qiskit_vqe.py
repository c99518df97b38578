"""Train a Qiskit circuit, lithium hydride's unitary coupled cluster, without leaving Qiskit's types or its script.

The circuit is Qiskit's from end to end: PauliEvolutionGates for all 92 single and double excitations on the
Hartree-Fock state of 12 qubits, and a SparsePauliOp of 631 terms. Three steps, each one line away from the script:

    estimator = QupropEstimator()                 where it said StatevectorEstimator()
    model = from_qiskit(ansatz, hamiltonian)      exact gradients for any optimiser
    QupropEstimator(seed=1).run(pubs, precision=0.002)   what that costs in shots on a device

    python examples/qiskit_vqe.py [--out FOLDER]
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import ParameterVector
from qiskit.circuit.library import PauliEvolutionGate
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from scipy.optimize import minimize

import quprop as qpr
from quprop.hybrid.qiskit import from_qiskit, to_sparse_pauli_op
from quprop.hybrid.qiskit_primitives import QupropEstimator
from quprop.plots import EXACT, panels, picture
from quprop.problems import chem


def annihilator(mode, n):
    """Jordan-Wigner: (X + iY)/2 on the mode's qubit, Z on those before."""
    chain = "Z" * mode
    return SparsePauliOp.from_sparse_list(
        [(chain + letter, list(range(mode + 1)), factor) for letter, factor in (("X", 0.5), ("Y", 0.5j))], n
    )


def excitations(n, electrons):
    """All singles and doubles (occupied modes, empty modes) that keep the spin; even modes are spin up."""
    occupied, empty = range(electrons), range(electrons, n)
    for i, a in itertools.product(occupied, empty):
        if (i - a) % 2 == 0:
            yield (i,), (a,)
    for pair, target in itertools.product(itertools.combinations(occupied, 2), itertools.combinations(empty, 2)):
        if sorted(i % 2 for i in pair) == sorted(a % 2 for a in target):
            yield pair, target


def coupled_cluster(n, electrons):
    """exp(sum_k theta_k (T_k - T_k†)), one factor for each excitation, on the Hartree-Fock state."""
    chosen = list(excitations(n, electrons))
    lower = [annihilator(q, n) for q in range(n)]
    theta = ParameterVector("theta", len(chosen))
    circuit = QuantumCircuit(n)
    circuit.x(range(electrons))
    for angle, (occupied, empty) in zip(theta, chosen, strict=True):
        move = SparsePauliOp("I" * n)
        for a in empty:
            move = move @ lower[a].adjoint()
        for i in reversed(occupied):
            move = move @ lower[i]
        generator = (1j * (move - move.adjoint())).simplify()  # Hermitian: exp(-i angle generator)
        circuit.append(PauliEvolutionGate(generator, time=angle), range(n))
    return circuit


def seconds(run, times):
    begin = time.perf_counter()
    for _ in range(times):
        result = run()
    return result, (time.perf_counter() - begin) / times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the figure")
    out = parser.parse_args().out
    molecule = chem.shipped("lih")
    hamiltonian = to_sparse_pauli_op(molecule.hamiltonian, molecule.n_qubits)
    ansatz = coupled_cluster(molecule.n_qubits, molecule.n_electrons)
    print(f"{molecule.title}: {ansatz.num_qubits} qubits, {len(hamiltonian)} terms, {ansatz.num_parameters} parameters")

    # The script as it was, and with the other estimator. Qiskit's own takes gates, so its circuit is transpiled first.
    point = np.random.default_rng(0).normal(0, 0.02, ansatz.num_parameters)
    gates = transpile(ansatz, basis_gates=["h", "s", "sdg", "sx", "x", "cx", "rz"], optimization_level=0)
    theirs, slow = seconds(lambda: StatevectorEstimator().run([(gates, hamiltonian, point)]).result()[0], 1)
    estimator = QupropEstimator()
    estimator.run([(ansatz, hamiltonian, point)]).result()  # plans the circuit, once
    ours, fast = seconds(lambda: estimator.run([(ansatz, hamiltonian, point)]).result()[0], 5)
    print(f"StatevectorEstimator  {float(theirs.data.evs):.10f} Ha in {slow:8.4f} s")
    print(f"QupropEstimator       {float(ours.data.evs):.10f} Ha in {fast:8.4f} s, {slow / fast:.0f} times faster")

    # Exact gradients: the same circuit and operator as a model. theta follows ansatz.parameters.
    model = from_qiskit(ansatz, hamiltonian)
    energies = []

    def energy_and_gradient(theta):
        energy, gradient = qpr.value_and_grad(model, theta)
        energies.append(float(energy))
        return float(energy), gradient

    begin = time.perf_counter()
    found = minimize(energy_and_gradient, np.zeros(model.n_params), jac=True, method="L-BFGS-B", tol=1e-10)
    spent = time.perf_counter() - begin
    errors = np.array(energies) - molecule.fci_energy
    print(f"trained: {found.nfev} gradients of {model.n_params} parameters in {spent:.2f} s")
    print(f"energy  {found.fun:.8f} Ha, {1e3 * (found.fun - molecule.fci_energy):.4f} mHa above full CI")
    print(f"        (Hartree-Fock: {1e3 * (molecule.hartree_fock_energy - molecule.fci_energy):.2f} mHa above)")

    # What a device would see: shots chosen for a standard error, the true variance behind it.
    precision = 0.002
    noisy = QupropEstimator(seed=1).run([(ansatz, hamiltonian, found.x)], precision=precision).result()[0]
    value, stderr, shots = float(noisy.data.evs), float(noisy.data.stds), int(noisy.metadata["shots"])
    print(f"measured {value:.5f} ± {stderr:.5f} Ha in {shots:,} shots")

    figure, (axes,) = panels(1, 6.0, 3.4)
    axes.plot(1e3 * np.maximum(errors, 1e-9), label="L-BFGS with exact gradients")
    axes.axhline(1.6, **EXACT, label="chemical accuracy, 1.6 mHa")
    axes.set_yscale("log")
    axes.set_xlabel("gradients")
    axes.set_ylabel("error of the energy, mHa")
    picture(figure, "Energies of the molecule against full CI").save(out / "qiskit_vqe.png")
    print(f"figure: {out / 'qiskit_vqe.png'}")


if __name__ == "__main__":
    main()
