"""Ground-state energies of molecules, by a coupled-cluster circuit or one that grows: h2, lih and h2o from shipped
Hamiltonians, any other (``molecule``) computed by PySCF."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.files import read_text
from quprop.model import Model
from quprop.model.ansatz import excitation_pool, hartree_fock, uccsd
from quprop.problems import chem
from quprop.problems.config import Config, Setting
from quprop.problems.energies import circuit, judge_energy, model_settings
from quprop.problems.spec import Params, Problem, Spec, train_settings
from quprop.training.adapt import adapt, with_pool
from quprop.training.losses import Expectation
from quprop.training.optimise import OF_STATES

CHEMICAL_ACCURACY = 1.6e-3  # Hartree, 1 kcal/mol
POOLS = ("generalised", "singles_doubles")
LENGTH = "{r}"  # in atoms, what a bond length takes the place of


def build(name: str, config: Config) -> Problem:
    molecule, origin = chem.load(name)
    return _problem(molecule, origin, config)


def build_any(config: Config) -> Problem:
    s = config["problem"]
    found = chem.molecule(
        _atoms(s), s["basis"], charge=s["charge"], spin=s["spin"], active=_active(s["active"]), name="molecule"
    )
    return _problem(found, {"hamiltonian_from": "computed by PySCF"}, config)


def _problem(molecule: chem.Molecule, origin: dict[str, Any], config: Config) -> Problem:
    n, electrons, settings = molecule.n_qubits, molecule.n_electrons, config["model"]
    grows = settings["ansatz"] == "adapt" and not settings["gates"]
    pool = excitation_pool(n, electrons, generalised=settings["pool"] == POOLS[0], spin=molecule.spin) if grows else {}
    filled = hartree_fock(n, electrons, spin=molecule.spin)
    if grows and not pool:
        raise QupropError(f"{_space(molecule)} leave no excitation to grow an ansatz from: take a larger basis")
    if grows and config["train"]["noise"]:
        raise QupropError("the ansatz adapt is grown without noise: leave out noise, or choose uccsd")
    if grows and (name := config["train"]["optimiser"]) in OF_STATES:
        raise QupropError(f"{name} is of one circuit, and the ansatz adapt grows: choose lbfgs, adam or sgd")
    own = {
        "uccsd": lambda n, layers: uccsd(n, electrons, layers, spin=molecule.spin),
        "adapt": lambda n, layers: with_pool(filled, pool),
    }
    wanted = circuit(config, n, own)
    model = Model(wanted, molecule.hamiltonian)
    exact = "complete active space (CASCI)" if molecule.active else "full configuration interaction"
    reference = {
        "reference_energy": molecule.fci_energy,
        "reference_name": f"exact diagonalisation ({exact})",
        "hartree_fock_energy": molecule.hartree_fock_energy,
        "energy_unit": "Hartree",
        "energy_accuracy": CHEMICAL_ACCURACY,
        "energy_accuracy_name": "chemical accuracy",
        "terms": len(molecule.hamiltonian),
        **({"reference_label": "exact in the active space"} if molecule.active else {}),
        "system": f"{molecule.title}, {molecule.basis.upper()}: {_space(molecule)}",
        **origin,
    }

    def start(rng: np.random.Generator) -> Params:
        if settings["ansatz"] in own and not settings["gates"]:
            return {
                "theta": np.zeros(model.n_params)
            }  # the Hartree-Fock state, from where every excitation has a slope of its own
        return {"theta": 0.1 * rng.normal(size=model.n_params)}

    def judge(params: Params, loss: float, metrics: dict[str, float]) -> dict[str, object]:
        entries = judge_energy(reference)(params, loss, metrics)
        return {**entries, "chemical_accuracy": bool(abs(entries["energy_error"]) <= CHEMICAL_ACCURACY)}

    grow = (
        functools.partial(
            adapt,
            molecule.hamiltonian,
            pool,
            filled,
            tolerance=settings["pool_tolerance"],
            operators=settings["operators"],
        )
        if grows
        else None
    )
    return Problem(model, Expectation(), start, reference=reference, judge=judge, circuit=wanted, grow=grow)


def _space(molecule: chem.Molecule) -> str:
    counts = {"electron": molecule.n_electrons, "orbital": molecule.n_qubits // 2}
    return " in ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())


# -- settings ----------------------------------------------------------------------------------------------------------


def _atoms(settings: dict[str, Any]) -> str:
    """The geometry: of the setting or of an XYZ file, with the bond length in its place."""
    text, length, file = settings["atoms"], settings["r"], settings["file"]
    if bool(text) == bool(file):
        raise QupropError(
            'the problem `molecule` needs its atoms, such as --set atoms="H 0 0 0; H 0 0 0.74" (symbol and place in '
            "Angstrom of each), or --set file=NAME.xyz; give one of the two"
        )
    if file:
        text = _of_xyz(Path(file))
    places = text.count(LENGTH)
    if places and not length:
        raise QupropError(f"the atoms have a place for a bond length, {LENGTH}: give it in Angstrom, such as r=0.74")
    if length and not places:
        raise QupropError(f"r is the bond length that {LENGTH} in atoms stands for, and there is none: leave r out")
    return text.replace(LENGTH, repr(length))


def _of_xyz(path: Path) -> str:
    """The atoms of an XYZ file: their number, a line of comment, and a line each."""
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        raise QupropError(f"there is no file {path}: give an XYZ file") from None
    except (OSError, UnicodeDecodeError):
        raise QupropError(f"{path} cannot be read as text: give an XYZ file") from None
    count = int(lines[0]) if lines and re.fullmatch(r"\s*\d{1,6}\s*", lines[0]) else 0
    atoms = [line for line in lines[2:] if line.strip()]
    if not count or len(atoms) != count:
        raise QupropError(
            f"{path} is no XYZ file of one molecule: its first line is the number of atoms, the second a comment, and "
            "then comes a line for each atom"
        )
    return "; ".join(" ".join(line.split()[:4]) for line in atoms)


def _active(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    if (found := re.fullmatch(r"\s*[(\[]?\s*(\d{1,6})\s*,\s*(\d{1,6})\s*[)\]]?\s*", text)) is None:
        raise QupropError(f"active is two whole numbers, electrons and orbitals, such as active=2,5, got {text!r}")
    return int(found[1]), int(found[2])


def _model_settings() -> dict[str, Setting]:
    return model_settings("uccsd", 1, "adapt") | {
        "pool": Setting(POOLS[0], "of adapt: the excitations to choose from", choices=POOLS),
        "pool_tolerance": Setting(1e-3, "of adapt: the norm of the pool's slopes to stop at, in Hartree", least=1e-12),
        "operators": Setting(100, "of adapt: how many are appended at most", least=1, most=10_000),
    }


def _spec(name: str, note: str) -> Spec:
    geometry = chem.GEOMETRIES[name]
    return Spec(
        f"energy of {geometry.title} in {geometry.basis.upper()}, {note}",
        {
            "problem": {"name": Setting(name, "this problem")},
            "model": _model_settings(),
            "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=200),
        },
        functools.partial(build, name),
    )


H2, LIH, H2O = _spec("h2", "4 qubits"), _spec("lih", "12 qubits"), _spec("h2o", "14 qubits")
ANY = Spec(
    "energy of any molecule, computed by PySCF (needs PySCF and OpenFermion)",
    {
        "problem": {
            "name": Setting("molecule", "this problem"),
            "atoms": Setting("", 'symbol and x, y, z in Angstrom of each, such as "H 0 0 0; H 0 0 0.74"'),
            "file": Setting("", "an XYZ file instead of atoms"),
            "r": Setting(0.0, f"bond length in Angstrom, which {LENGTH} in atoms stands for", least=0.0),
            "basis": Setting("sto-3g", "basis set, by PySCF's name"),
            "charge": Setting(0, "of the molecule", least=-1000, most=1000),
            "spin": Setting(0, "electrons up minus electrons down", least=0, most=1000),
            "active": Setting("", "active space, such as 2,5: electrons, orbitals; empty: all"),
        },
        "model": _model_settings(),
        "train": train_settings(optimiser="lbfgs", learning_rate=0.05, steps=200),
    },
    build_any,
    check=lambda config: chem.read_atoms(_atoms(config["problem"])),
)
