"""The experiments of `quprop reproduce`, one file and one line each. `EXPERIMENTS` lists them all by name."""

from quprop.experiments.experiment import Experiment, table_of
from quprop.lazy import lazy, listing

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

__getattr__, __dir__ = lazy(__name__), listing(__name__)
