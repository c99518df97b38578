"""The experiments of `quprop reproduce`, one file each. `EXPERIMENTS` lists them all by name."""

from functools import partial

from quprop.experiments import (
    bars_and_dots,
    bond_dimension,
    copies,
    cutting,
    damage,
    figure2,
    gentle_search,
    gentleness,
    hard_family,
    markov,
    modules,
    omega,
    pauli_list,
    shadow_reduction,
    shadow_rivals,
    shifted_circuits,
    total_gates,
    training,
    triggers,
)
from quprop.experiments.experiment import Experiment
from quprop.lazy import submodule

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
        omega.EXPERIMENT,
        gentleness.EXPERIMENT,
        markov.EXPERIMENT,
        pauli_list.EXPERIMENT,
        shadow_reduction.EXPERIMENT,
        bars_and_dots.EXPERIMENT,
        shifted_circuits.EXPERIMENT,
        modules.EXPERIMENT,
        cutting.EXPERIMENT,
    )
}

__all__ = ["EXPERIMENTS", "Experiment"]

__getattr__ = partial(submodule, __name__)
