"""What the sources claim, and what was measured: every claim beside its number. `CLAIMS` lists them all by name."""

from quprop.experiments import EXPERIMENTS as _CIRCUITS
from quprop.experiments.claims import backpropagation, crossing, forum, networks
from quprop.experiments.claims import carleman_dips as dips
from quprop.experiments.claims import carleman_full_size as full_size
from quprop.experiments.claims import carleman_scaling as scaling
from quprop.experiments.claims import carleman_verdicts as verdicts
from quprop.experiments.claims.claim import Claim, Verdict
from quprop.experiments.experiment import Experiment
from quprop.experiments.networks import EXPERIMENTS as _NETWORKS
from quprop.lazy import lazy, listing

_FILES = (backpropagation, crossing, networks, scaling, verdicts, dips, full_size, forum)

CLAIMS: dict[str, Claim] = {c.name: c for file in _FILES for c in file.CLAIMS}


def experiments() -> dict[str, Experiment]:
    """All that `quprop reproduce` can run: those on circuits, and those of `quprop carleman experiment` under
    carleman_NAME."""
    return {**_CIRCUITS, **{f"carleman_{name}": e for name, e in _NETWORKS.items()}}


__all__ = ["CLAIMS", "Claim", "Verdict", "experiments"]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
