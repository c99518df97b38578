"""What the sources claim, and what was measured: every claim beside its number. `CLAIMS` lists them all by name."""

from functools import partial

from quprop.experiments import EXPERIMENTS as _CIRCUITS
from quprop.experiments.claims import backpropagation, carleman_dips, crossing, forum, networks
from quprop.experiments.claims.claim import Claim, Verdict
from quprop.experiments.experiment import Experiment
from quprop.experiments.networks import EXPERIMENTS as _NETWORKS
from quprop.lazy import submodule

CLAIMS: dict[str, Claim] = {
    c.name: c
    for c in (*backpropagation.CLAIMS, *crossing.CLAIMS, *networks.CLAIMS, *carleman_dips.CLAIMS, *forum.CLAIMS)
}


def experiments() -> dict[str, Experiment]:
    """All that `quprop reproduce` can run: those on circuits, and those of `quprop carleman experiment` under
    carleman_NAME."""
    return {**_CIRCUITS, **{f"carleman_{name}": e for name, e in _NETWORKS.items()}}


__all__ = ["CLAIMS", "Claim", "Verdict", "experiments"]

__getattr__ = partial(submodule, __name__)
