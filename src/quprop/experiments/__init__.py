"""The experiments of `quprop reproduce`, one file and one line each. `EXPERIMENTS` lists them all by name."""

from functools import partial

from quprop.experiments.experiment import Experiment, table_of
from quprop.lazy import submodule

_FILES = (
    "total_gates",
    "copies",
    "triggers",
    "damage",
    "figure2",
    "bond_dimension",
    "hard_family",
    "training",
    "gentle_search",
    "shadow_rivals",
    "omega",
    "gentleness",
    "markov",
    "pauli_list",
    "shadow_reduction",
    "bars_and_dots",
    "shifted_circuits",
    "modules",
    "cutting",
    "certified",
    "iqp",
    "crossing",
    "followed",
    "many_qubits",
)

EXPERIMENTS: dict[str, Experiment] = table_of(__name__, _FILES)

__all__ = ["EXPERIMENTS", "Experiment"]

__getattr__ = partial(submodule, __name__)
