"""Models whose rotations commute: exact and sampled expectation values at any number of qubits."""

from __future__ import annotations

from quprop.lazy import listing
from quprop.simulate.commuting.engine import Commuting, CommutingModelEngine, SampledValues, commuting_engine
from quprop.simulate.commuting.form import CommutingForm

__all__ = ["Commuting", "CommutingForm", "CommutingModelEngine", "SampledValues", "commuting_engine"]

__dir__ = listing(__name__)
