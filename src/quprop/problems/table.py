"""The built-in problems by name: the one place where they are listed."""

from __future__ import annotations

from quprop.problems import breast_cancer, digits, hamiltonian, ising_2d, kicked_ising, labs, maxcut, molecules, tfim
from quprop.problems.generative import SPECS as GENERATIVE
from quprop.problems.portfolio import SPEC as PORTFOLIO
from quprop.problems.sk import SPEC as SK
from quprop.problems.spec import Spec

PROBLEMS: dict[str, Spec] = {
    "digits": digits.SPEC,
    "breast-cancer": breast_cancer.SPEC,
    "h2": molecules.H2,
    "lih": molecules.LIH,
    "h2o": molecules.H2O,
    "molecule": molecules.ANY,
    "tfim": tfim.SPEC,
    "ising-2d": ising_2d.SPEC,
    "kicked-ising": kicked_ising.SPEC,
    "maxcut": maxcut.SPEC,
    "labs": labs.SPEC,
    "sk": SK,
    "portfolio": PORTFOLIO,
    "hamiltonian": hamiltonian.SPEC,
    **GENERATIVE,
}
