"""Makes the molecular Hamiltonians that the package carries (src/quprop/problems/data/*.json): python
tools/make_molecules.py

Needs the extra `chem`. The geometry, basis, energies and versions are inside each file; quprop.problems.chem says how
they are computed.
"""

from pathlib import Path

from quprop.problems import chem

DATA = Path(__file__).parent.parent / "src" / "quprop" / "problems" / "data"

if __name__ == "__main__":
    for name in chem.GEOMETRIES:
        path = chem.write(name, DATA)
        molecule = chem.Molecule.from_json(path.read_text(encoding="utf-8"))
        print(
            f"{path.name}: {molecule.n_qubits} qubits, {len(molecule.hamiltonian)} terms, exact energy "
            f"{molecule.fci_energy:.8f} Ha"
        )
