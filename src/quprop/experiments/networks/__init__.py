"""The experiments of the Carleman system, one file and one line each: ``quprop reproduce carleman_NAME``, or ``quprop
carleman experiment NAME``. `EXPERIMENTS` lists them all by name."""

from quprop.experiments.experiment import Experiment, table_of
from quprop.experiments.networks.spectra import at_full_size as spectra_at_full_size

_FILES = ("order", "euler", "kappa", "queries", "burgers", "spectra", "training", "scaling", "momentum", "dips")

EXPERIMENTS: dict[str, Experiment] = table_of(__name__, _FILES)

__all__ = ["EXPERIMENTS", "Experiment", "spectra_at_full_size"]
