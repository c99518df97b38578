"""The experiments of the Carleman system, one file each: ``quprop carleman experiment NAME``. `EXPERIMENTS` lists them
all by name."""

from quprop.experiments.experiment import Experiment
from quprop.experiments.networks import burgers, euler, kappa, order, queries, scaling, spectra, training
from quprop.experiments.networks.spectra import at_full_size as spectra_at_full_size

EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        order.EXPERIMENT,
        euler.EXPERIMENT,
        kappa.EXPERIMENT,
        queries.EXPERIMENT,
        burgers.EXPERIMENT,
        spectra.EXPERIMENT,
        training.EXPERIMENT,
        scaling.EXPERIMENT,
    )
}

__all__ = ["EXPERIMENTS", "Experiment", "spectra_at_full_size"]
