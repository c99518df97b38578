"""Writes data/lih.json and data/h2o.json: STO-3G Hamiltonians under Jordan-Wigner, by PennyLane's own Hartree-Fock.

Run once (`python benchmarks/make_molecules.py`, needs pennylane); the JSON is committed so that the benchmark needs no chemistry code.
"""

import json

import numpy as np
import pennylane as qml
from workloads import DATA, format_pauli

ANGSTROM = 1 / 0.529177210903  # in bohr, the unit PennyLane expects
GEOMETRIES = {  # angstrom
    "lih": (["Li", "H"], [[0, 0, 0], [0, 0, 1.595]]),
    "h2o": (["O", "H", "H"], [[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]]),
}


def main() -> None:
    DATA.mkdir(exist_ok=True)
    for name, (symbols, geometry) in GEOMETRIES.items():
        molecule = qml.qchem.Molecule(symbols, np.array(geometry) * ANGSTROM, basis_name="sto-3g")
        hamiltonian, n_qubits = qml.qchem.molecular_hamiltonian(molecule, mapping="jordan_wigner")
        terms = []
        for word, coefficient in hamiltonian.pauli_rep.items():
            if abs(coefficient) > 1e-10:
                terms.append([format_pauli(tuple(sorted(word.items()))), float(np.real(coefficient))])
        record = {
            "made_with": f"make_molecules.py, pennylane {qml.__version__}",
            "symbols": symbols,
            "geometry_angstrom": geometry,
            "basis": "sto-3g",
            "mapping": "Jordan-Wigner, qubit 2k = orbital k spin up, 2k+1 = spin down",
            "n_qubits": n_qubits,
            "n_electrons": int(molecule.n_electrons),
        }
        head = json.dumps(record, indent=1)[:-2]
        body = ",\n".join(json.dumps(term) for term in sorted(terms, key=lambda t: (len(t[0]), t[0])))
        (DATA / f"{name}.json").write_text(f'{head},\n "terms": [\n{body}\n]\n}}\n')
        print(name, n_qubits, len(terms))


if __name__ == "__main__":
    main()
