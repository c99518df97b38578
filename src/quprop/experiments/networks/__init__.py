"""The experiments of the Carleman system, one file and one line each: ``quprop reproduce carleman_NAME``, or ``quprop
carleman experiment NAME``. `EXPERIMENTS` lists them all by name."""

from quprop.experiments.experiment import Experiment, table_of
from quprop.experiments.networks.full_size import run_in as full_size_in
from quprop.lazy import listing

_FILES = (
    *("order", "euler", "kappa", "queries", "burgers", "spectra", "training", "scaling", "momentum"),
    *("scaling_n", "decay", "verdicts", "dips", "full_size"),
)

EXPERIMENTS: dict[str, Experiment] = table_of(__name__, _FILES)

__all__ = ["EXPERIMENTS", "Experiment", "full_size_in"]

__dir__ = listing(__name__)
