"""The experiments of `quprop reproduce`, one file each. `EXPERIMENTS` lists them all by name."""

from quprop.experiments import (
    bond_dimension,
    copies,
    damage,
    figure2,
    gentle_search,
    hard_family,
    shadow_rivals,
    total_gates,
    training,
    triggers,
)
from quprop.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    e.name: e
    for e in (
        total_gates.EXPERIMENT,
        copies.EXPERIMENT,
        triggers.EXPERIMENT,
        damage.EXPERIMENT,
        figure2.EXPERIMENT,
        bond_dimension.EXPERIMENT,
        hard_family.EXPERIMENT,
        training.EXPERIMENT,
        gentle_search.EXPERIMENT,
        shadow_rivals.EXPERIMENT,
    )
}

__all__ = ["EXPERIMENTS", "Experiment"]
