"""Molecules as qubit Hamiltonians: integrals from PySCF (extra ``chem``), Jordan-Wigner transformed here.

Spin orbitals are interleaved: qubit 2p is spatial orbital p with spin up, qubit 2p + 1 the same with spin down. With
a_p = (X_p + i Y_p)/2 Z_{p-1} ... Z_0 the Hamiltonian is, in chemists' notation for the two-electron integrals,

    H = E_nuclear + sum_{pq,s} h_pq a†_ps a_qs + 1/2 sum_{pqrt,ss'} (pq|rt) a†_ps a†_rs' a_ts' a_qs
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from quprop.files import write_atomically
from quprop.lazy import missing
from quprop.model.pauli import PauliString, PauliSum

SMALLEST = 1e-12  # Hartree: coefficients under this are what the integrals' rounding left of zeros


@dataclass(frozen=True)
class Geometry:
    """A neutral closed-shell molecule at a fixed geometry, in Angstrom."""

    title: str
    atoms: str
    basis: str
    source: str


GEOMETRIES = {
    "h2": Geometry(
        "hydrogen molecule", "H 0 0 0; H 0 0 0.7414", "sto-3g", "experimental bond length 0.7414 Angstrom (NIST CCCBDB)"
    ),
    "lih": Geometry(
        "lithium hydride", "Li 0 0 0; H 0 0 1.5949", "sto-3g", "experimental bond length 1.5949 Angstrom (NIST CCCBDB)"
    ),
    "h2o": Geometry(
        "water",
        "O 0 0 0.1173; H 0 0.7572 -0.4692; H 0 -0.7572 -0.4692",
        "sto-3g",
        "experimental geometry (NIST CCCBDB)",
    ),
}


@dataclass(frozen=True)
class Molecule:
    """A molecular Hamiltonian and the energies it is judged by, in Hartree. Electrons fill the qubits 0..n_electrons-1
    in Hartree-Fock."""

    name: str
    title: str
    atoms: str
    basis: str
    source: str
    made_with: str
    n_qubits: int
    n_electrons: int
    nuclear_repulsion: float
    hartree_fock_energy: float
    fci_energy: float
    hamiltonian: PauliSum

    def to_json(self) -> str:
        table = asdict(self) | {"hamiltonian": {str(p): c for p, c in self.hamiltonian.items()}}
        return json.dumps(table, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Molecule:
        table = json.loads(text)
        return cls(**{**table, "hamiltonian": PauliSum(table["hamiltonian"])})


def shipped(name: str) -> Molecule | None:
    """The molecule as the package carries it, or None; made by tools/make_molecules.py, which calls :func:`compute`."""
    file = resources.files("quprop.problems") / "data" / f"{name}.json"
    return Molecule.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None


def compute(name: str) -> Molecule:
    """Restricted Hartree-Fock, integrals in its orbitals, and the full configuration interaction energy, all by
    PySCF."""
    geometry = GEOMETRIES[name]
    try:
        import pyscf
        from pyscf import ao2mo, fci, gto, scf
    except ImportError:
        raise missing(f"the Hamiltonian of {name} is computed by PySCF", "chem") from None
    molecule = gto.M(atom=geometry.atoms, basis=geometry.basis, verbose=0)
    field = scf.RHF(molecule)
    field.conv_tol = 1e-13
    energy = field.kernel()
    orbitals = field.mo_coeff
    one = orbitals.T @ field.get_hcore() @ orbitals
    two = ao2mo.restore(1, ao2mo.kernel(molecule, orbitals), one.shape[0])
    solver = fci.direct_spin1.FCI()
    solver.conv_tol = 1e-13
    exact = solver.kernel(one, two, one.shape[0], molecule.nelectron)[0] + molecule.energy_nuc()
    return Molecule(
        name,
        geometry.title,
        geometry.atoms,
        geometry.basis,
        geometry.source,
        f"PySCF {pyscf.__version__}",
        2 * one.shape[0],
        int(molecule.nelectron),
        float(molecule.energy_nuc()),
        float(energy),
        float(exact),
        jordan_wigner(molecule.energy_nuc(), one, two),
    )


Operator = dict[PauliString, complex]  # keys are positive Hermitian strings


def jordan_wigner(constant: float, one: np.ndarray, two: np.ndarray) -> PauliSum:
    """The qubit Hamiltonian of spatial integrals ``one`` (n, n) and ``two`` (n, n, n, n) in chemists' notation."""
    orbitals = len(one)
    lower = [_annihilator(q) for q in range(2 * orbitals)]
    upper = [{p: c.conjugate() for p, c in a.items()} for a in lower]
    pairs_up = {
        (a, b): _product(upper[a], upper[b]) for a in range(2 * orbitals) for b in range(2 * orbitals) if a != b
    }
    pairs_down = {
        (a, b): _product(lower[a], lower[b]) for a in range(2 * orbitals) for b in range(2 * orbitals) if a != b
    }
    total: dict[tuple[int, int], complex] = {(0, 0): constant}

    def add(operator: Operator, weight: float) -> None:
        for string, coefficient in operator.items():
            key = (string.x, string.z)
            total[key] = total.get(key, 0.0) + weight * coefficient

    for p, q in np.argwhere(np.abs(one) > SMALLEST):
        for spin in range(2):
            add(_product(upper[2 * p + spin], lower[2 * q + spin]), one[p, q])
    for p, q, r, t in np.argwhere(np.abs(two) > SMALLEST):
        for s1 in range(2):
            for s2 in range(2):
                a, b, c, d = 2 * p + s1, 2 * r + s2, 2 * t + s2, 2 * q + s1
                if a != b and c != d:
                    add(_product(pairs_up[a, b], pairs_down[c, d]), 0.5 * two[p, q, r, t])
    kept = {PauliString(x, z): c.real for (x, z), c in sorted(total.items()) if abs(c) > SMALLEST}
    assert all(abs(complex(c).imag) < 1e-9 for c in total.values()), "integrals of a real molecule give a Hermitian sum"
    return PauliSum(kept)


def _annihilator(q: int) -> Operator:
    chain = (1 << q) - 1
    return {PauliString(1 << q, chain): 0.5, PauliString(1 << q, chain | 1 << q): 0.5j}


def _product(left: Operator, right: Operator) -> Operator:
    out: Operator = {}
    for p, a in left.items():
        for q, b in right.items():
            r = p * q
            positive = PauliString(r.x, r.z)
            out[positive] = out.get(positive, 0.0) + a * b * 1j ** ((r.phase - positive.phase) % 4)
    return out


def write(name: str, folder: Path) -> Path:
    """Compute a molecule and write its data file."""
    path = folder / f"{name}.json"
    write_atomically(path, compute(name).to_json().encode())
    return path


def load(name: str) -> tuple[Molecule, dict[str, Any]]:
    """The molecule, from the package's data where shipped, and where it came from."""
    molecule = shipped(name)
    return (
        (molecule, {"hamiltonian_from": "package data"})
        if molecule
        else (compute(name), {"hamiltonian_from": "computed by PySCF"})
    )
