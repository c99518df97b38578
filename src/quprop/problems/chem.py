"""Molecules as qubit Hamiltonians: integrals, Hartree-Fock and full configuration interaction by PySCF, Jordan-Wigner
by OpenFermion (extra ``chem``); a few molecules come with the package.

>>> molecule = qpr.chem.molecule("Li 0 0 0; H 0 0 1.6", basis="sto-3g", active=(2, 5))
>>> model = qpr.Model(qpr.ansatz.uccsd(molecule.n_qubits, molecule.n_electrons), molecule.hamiltonian)

Spin orbitals are interleaved: qubit 2p is spatial orbital p with spin up, qubit 2p + 1 the same with spin down. With
a_p = (X_p + i Y_p)/2 Z_{p-1} ... Z_0 the Hamiltonian is, in chemists' notation for the two-electron integrals,

    H = E_core + sum_{pq,s} h_pq a†_ps a_qs + 1/2 sum_{pqrt,ss'} (pq|rt) a†_ps a†_rs' a_ts' a_qs

E_core is the energy of the nuclei and of the electrons outside the active space, which also add their mean field to h.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError, nearest, shown
from quprop.files import write_atomically
from quprop.lazy import missing
from quprop.model.pauli import PauliString, PauliSum
from quprop.simulate import memory

SMALLEST = 1e-12  # Hartree: coefficients under this are what the integrals' rounding left of zeros
NEAREST = 0.1  # Angstrom: atoms closer than this are a slip of the pen or of the unit
FIELD_ACCURACY = 1e-13  # Hartree, to which Hartree-Fock is converged
LANCZOS_VECTORS = 40  # over all determinants, that are held to find the lowest state
FEW_DETERMINANTS = 100  # of which the matrix is made


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
    """A molecular Hamiltonian and the energies it is judged by, in Hartree.

    n_electrons: those of the Hamiltonian's orbitals, in Hartree-Fock on the qubits `occupied`. fci_energy: the lowest
    energy of that many electrons with that spin projection in these orbitals: full configuration interaction, or that
    of the complete active space (CASCI) if `active` = (electrons, orbitals) is given. spin: electrons up minus
    electrons down. nuclear_repulsion: of the nuclei alone.
    """

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
    hamiltonian: PauliSum = field(repr=False)  # has hundreds of terms and more
    charge: int = 0
    spin: int = 0
    active: tuple[int, int] | None = None

    @property
    def occupied(self) -> tuple[int, ...]:
        """The spin orbitals (qubits) that hold an electron in Hartree-Fock."""
        down = (self.n_electrons - self.spin) // 2
        return tuple(sorted([*range(0, 2 * (down + self.spin), 2), *range(1, 2 * down, 2)]))

    def to_json(self) -> str:
        table = asdict(self) | {"hamiltonian": {str(p): c for p, c in self.hamiltonian.items()}}
        return json.dumps(table, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Molecule:
        table = json.loads(text)
        active = table.get("active")
        settled = {"hamiltonian": PauliSum(table["hamiltonian"]), "active": None if active is None else tuple(active)}
        return cls(**{**table, **settled})


# -- those that come with the package ----------------------------------------------------------------------------------


def shipped(name: str) -> Molecule | None:
    """The molecule as the package carries it, or None; made by tools/make_molecules.py, which calls :func:`compute`."""
    file = resources.files("quprop.problems") / "data" / f"{name}.json"
    return Molecule.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None


def compute(name: str) -> Molecule:
    """A molecule of `GEOMETRIES`, computed anew."""
    g = _known(name)
    return molecule(g.atoms, g.basis, name=name, title=g.title, source=g.source)


def load(name: str) -> tuple[Molecule, dict[str, Any]]:
    """A molecule of `GEOMETRIES`, from the package's data where shipped, and where it came from."""
    _known(name)
    found = shipped(name)
    return (found or compute(name)), {"hamiltonian_from": "package data" if found else "computed by PySCF"}


def write(name: str, folder: Path) -> Path:
    """Compute a molecule and write its data file."""
    path = folder / f"{name}.json"
    write_atomically(path, compute(name).to_json().encode())
    return path


def _known(name: str) -> Geometry:
    if name not in GEOMETRIES:
        raise QupropError(
            f"no molecule is named {name!r}: {nearest(str(name), GEOMETRIES)}; others are computed by "
            'chem.molecule("N 0 0 0; N 0 0 1.098", basis="sto-3g")'
        )
    return GEOMETRIES[name]


# -- any other ---------------------------------------------------------------------------------------------------------


def molecule(
    atoms: str | Iterable[tuple[str, Sequence[float]]],
    basis: str = "sto-3g",
    *,
    charge: int = 0,
    spin: int = 0,
    active: tuple[int, int] | None = None,
    name: str = "molecule",
    title: str = "",
    source: str = "",
) -> Molecule:
    """The Hamiltonian of a molecule in the orbitals of restricted Hartree-Fock (open shells: ROHF), by PySCF.

    atoms: "Li 0 0 0; H 0 0 1.6", a symbol and x, y, z in Angstrom an atom, or a list of (symbol, (x, y, z)). basis: a
    basis set by PySCF's name. charge: of the molecule. spin: electrons up minus electrons down, 2S (not 2S + 1).
    active: (electrons, orbitals) of the complete active space around the highest occupied orbital, as PySCF's CASCI
    takes it; None takes all electrons and orbitals. Two qubits an orbital.

    Refused, before anything is computed: unknown atoms or basis sets, atoms on top of one another, electrons that do
    not fit charge and spin or the active space, and spaces too large for this machine's memory; and a Hartree-Fock
    calculation that does not converge. Reference: Sun et al., J. Chem. Phys. 153, 024109 (2020), arXiv:2002.12531
    (PySCF); McClean et al., Quantum Sci. Technol. 5, 034014 (2020), arXiv:1710.07629 (OpenFermion).
    """
    placed = read_atoms(atoms)
    text = "; ".join(" ".join([symbol, *(repr(c) for c in place)]) for symbol, place in placed)
    pyscf = _pyscf()
    built = _built(pyscf, text, [symbol for symbol, _ in placed], basis, charge, spin)
    electrons, orbitals = _active(active, built.nelectron, built.nao, spin)
    up, down = (electrons + spin) // 2, (electrons - spin) // 2
    determinants = math.comb(orbitals, up) * math.comb(orbitals, down)
    memory.require(
        8 * 2 * LANCZOS_VECTORS * determinants + 8 * 5 * (2 * orbitals) ** 4 + 2 * built.nao**4,
        f"the exact energy of {electrons} electrons in {orbitals} orbitals ({2 * orbitals} qubits, {determinants:,} "
        "determinants)",
        "take a smaller active space",
    )
    solved = _hartree_fock(pyscf, built)
    space = pyscf.mcscf.CASCI(solved, orbitals, (up, down))
    one, core = space.get_h1eff()
    two = pyscf.ao2mo.restore(1, space.get_h2eff(), orbitals)
    exact = core + _lowest(pyscf, one, two, (up, down))
    return Molecule(
        name,
        title or _formula(symbol for symbol, _ in placed),
        atoms.strip() if isinstance(atoms, str) else text,
        basis,
        source,
        f"PySCF {pyscf.__version__}",
        2 * orbitals,
        electrons,
        float(built.energy_nuc()),
        float(solved.e_tot),
        float(exact),
        jordan_wigner(float(core), one, two),
        charge,
        spin,
        None if active is None else (electrons, orbitals),
    )


def jordan_wigner(constant: float, one: np.ndarray, two: np.ndarray) -> PauliSum:
    """The qubit Hamiltonian of spatial integrals ``one`` (n, n) and ``two`` (n, n, n, n) in chemists' notation, by
    OpenFermion."""
    try:
        import openfermion
    except ImportError:
        raise _missing("the Jordan-Wigner transformation", "OpenFermion") from None
    n, same = 2 * len(one), np.eye(2)
    # OpenFermion's order is a†_p a†_r a_t a_q, each index an orbital and its spin.
    both = np.einsum("pqrt,ad,bc->parbtcqd", two, same, same).reshape(n, n, n, n)
    found = openfermion.jordan_wigner(openfermion.InteractionOperator(constant, np.kron(one, same), 0.5 * both))
    terms: dict[tuple[int, int], float] = {}
    for letters, coefficient in found.terms.items():
        x = sum(1 << q for q, letter in letters if letter != "Z")
        z = sum(1 << q for q, letter in letters if letter != "X")
        terms[x, z] = complex(coefficient).real
    return PauliSum({PauliString(x, z): c for (x, z), c in sorted(terms.items()) if abs(c) > SMALLEST})


def _missing(what: str, library: str) -> QupropError:
    return missing(f"{what} is computed by {library}", "chem")


def _pyscf() -> Any:
    try:
        import pyscf
        import pyscf.ao2mo
        import pyscf.fci
        import pyscf.gto
        import pyscf.mcscf
        import pyscf.scf
    except ImportError:
        raise _missing("the Hamiltonian of a molecule", "PySCF") from None
    return pyscf


def read_atoms(atoms: Any) -> list[tuple[str, tuple[float, float, float]]]:
    """(symbol, place) of each atom, in Angstrom; refuses what is none, and atoms on top of one another."""
    form = 'atoms are written as "H 0 0 0; H 0 0 0.74", a symbol and x, y, z in Angstrom each'
    if isinstance(atoms, str):
        parts: list[Any] = [part.split() for part in re.split(r"[;\n]", atoms) if part.strip()]
    else:
        try:
            parts = [[symbol, *place] for symbol, place in atoms]
        except (TypeError, ValueError):
            raise QupropError(f"{form}, or as a list of (symbol, (x, y, z)), got {shown(atoms)}") from None
    if not parts:
        raise QupropError(f"{form}, got none")
    found = []
    for symbol, *place in parts:
        try:
            x, y, z = (float(c) for c in place)
        except (TypeError, ValueError):
            raise QupropError(f"{form}, got {shown(' '.join(map(str, [symbol, *place])))}") from None
        if not all(map(math.isfinite, (x, y, z))):
            raise QupropError(f"{form}, got a coordinate that is not finite at {symbol}")
        found.append((str(symbol).capitalize(), (x, y, z)))
    for (a, first), (b, second) in itertools.combinations(found, 2):
        if math.dist(first, second) < NEAREST:
            raise QupropError(
                f"two atoms, {a} and {b}, are {math.dist(first, second):.3g} Angstrom apart: give places at least "
                f"{NEAREST:g} Angstrom from one another"
            )
    return found


def _built(pyscf: Any, text: str, symbols: list[str], basis: Any, charge: Any, spin: Any) -> Any:
    """PySCF's molecule, everything that it takes checked."""
    elements = pyscf.data.elements.ELEMENTS[1:]
    for symbol in symbols:
        if symbol not in elements:
            raise QupropError(f"there is no element {symbol!r}: an atom begins with its symbol, such as Li")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PySCF's advice to install more basis sets
            try:
                known = bool(basis) and isinstance(basis, str) and pyscf.gto.basis.load(basis, symbol)
            except Exception:  # names are looked up in files, which fails in many ways
                known = False
        if not known:
            raise QupropError(
                f"there is no basis set {basis!r} for {symbol}: give a name that PySCF knows, such as sto-3g, 6-31g or "
                "cc-pvdz"
            )
    for name, value in (("charge", charge), ("spin", spin)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise QupropError(f"{name} is a whole number, got {shown(value)}")
    electrons = sum(pyscf.data.elements.charge(symbol) for symbol in symbols) - charge
    if electrons < 1:
        raise QupropError(f"a molecule of charge {charge} has {electrons} electrons left: give a smaller charge")
    if not 0 <= spin <= electrons or (electrons - spin) % 2:
        parity = "odd" if electrons % 2 else "even"
        raise QupropError(
            f"an {parity} number of electrons ({electrons}) has an {parity} spin, electrons up minus electrons down, "
            f"from {electrons % 2} to {electrons}, got {spin}: change spin or charge"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pyscf.gto.M(atom=text, basis=basis, charge=int(charge), spin=int(spin), verbose=0)


def _active(active: Any, electrons: int, orbitals: int, spin: int) -> tuple[int, int]:
    """Electrons and orbitals of the Hamiltonian."""
    form = "an active space is two whole numbers, its electrons and its orbitals, such as (2, 5)"
    if active is None:
        chosen, space = electrons, orbitals
    else:
        try:
            chosen, space = active
        except (TypeError, ValueError):
            raise QupropError(f"{form}, got {shown(active)}") from None
        if any(isinstance(v, bool) or not isinstance(v, int | np.integer) or v < 1 for v in (chosen, space)):
            raise QupropError(f"{form}, got {shown(active)}")
    if chosen > electrons or (electrons - chosen) % 2:
        raise QupropError(
            f"the {electrons} electrons of this molecule fill orbitals in pairs outside the active space: it has "
            f"{electrons} of them, or an even number fewer, got {chosen}"
        )
    if chosen < spin:
        raise QupropError(f"an active space of {chosen} electrons cannot have spin = {spin}: give it more electrons")
    core = (electrons - chosen) // 2
    if core + space > orbitals:
        raise QupropError(
            f"this basis has {orbitals} orbitals, of which {core} are filled outside the active space: it can have "
            f"{orbitals - core} at most, got {space}"
        )
    if (chosen + spin) // 2 > space:
        raise QupropError(
            f"{space} orbitals cannot hold {chosen} electrons with spin = {spin}: give more orbitals or a larger basis"
        )
    return int(chosen), int(space)


def _hartree_fock(pyscf: Any, built: Any) -> Any:
    """Restricted Hartree-Fock; where its first iterations do not settle, by second-order ones."""
    field = (pyscf.scf.ROHF if built.spin else pyscf.scf.RHF)(built)
    field.conv_tol = FIELD_ACCURACY
    field.kernel()
    if not field.converged:
        second = field.newton()
        second.kernel(field.mo_coeff, field.mo_occ)
        if not second.converged:
            raise QupropError(
                "the Hartree-Fock calculation of this molecule did not converge: look at its geometry, charge and spin"
            )
        field.mo_coeff, field.mo_occ, field.mo_energy = second.mo_coeff, second.mo_occ, second.mo_energy
        field.e_tot, field.converged = second.e_tot, True
    return field


def _lowest(pyscf: Any, one: np.ndarray, two: np.ndarray, electrons: tuple[int, int]) -> float:
    """The lowest energy of so many electrons up and down, by Lanczos (ARPACK) on PySCF's Hamiltonian.

    PySCF's own iteration begins in one symmetry of the molecule and stays there, though the lowest state may be in
    another: of C2 at 2 Angstrom it finds one 8 mHa higher. Here the start is random.
    """
    import scipy.sparse.linalg

    solver, n = pyscf.fci.direct_spin1.FCI(), len(one)
    shape = tuple(math.comb(n, count) for count in electrons)
    size = math.prod(shape)
    both = solver.absorb_h1e(one, two, n, electrons, 0.5)

    def product(vector: np.ndarray) -> np.ndarray:
        return np.ravel(solver.contract_2e(both, vector.reshape(shape), n, electrons))

    if size <= FEW_DETERMINANTS:
        return float(np.linalg.eigvalsh(np.array([product(row) for row in np.eye(size)]))[0])
    operator = scipy.sparse.linalg.LinearOperator((size, size), matvec=product, dtype=float)
    start = np.random.default_rng(0).normal(size=size)
    try:
        found = scipy.sparse.linalg.eigsh(
            operator, k=1, which="SA", v0=start, ncv=LANCZOS_VECTORS, return_eigenvectors=False
        )
    except scipy.sparse.linalg.ArpackNoConvergence:
        raise QupropError("the exact energy of this molecule did not converge: take a smaller active space") from None
    return float(found[0])


def _formula(symbols: Iterable[str]) -> str:
    """Such as LiH or NH3, elements as they come."""
    counts = Counter(symbols)
    return "".join(symbol + (str(count) if count > 1 else "") for symbol, count in counts.items())
