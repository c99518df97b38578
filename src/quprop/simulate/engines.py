"""The engines by name, and what simulates a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from quprop.errors import QupropError, nearest
from quprop.model import Model
from quprop.simulate.auto import AutoEngine
from quprop.simulate.coefficients import combined
from quprop.simulate.commuting.engine import Commuting, commuting_engine
from quprop.simulate.distributed.engine import distributed_engine
from quprop.simulate.distributed.settings import Distributed
from quprop.simulate.engine import Composite, made
from quprop.simulate.lightcone import LightConeEngine
from quprop.simulate.noise.density import DensityEngine
from quprop.simulate.noise.trajectories import Trajectories, trajectories_of
from quprop.simulate.pauli.engine import engine_of
from quprop.simulate.pauli.settings import PauliPropagation
from quprop.simulate.state_vector.native import NativeEngine
from quprop.simulate.state_vector.reference import ReferenceEngine

# `ENGINES[name](precision, threads)` makes one, or refuses in a sentence. The first is taken if none is named.
ENGINES: dict[str, Callable[[str, int | None], Any]] = {
    "auto": AutoEngine,
    "native": NativeEngine,
    "lightcone": LightConeEngine,
    "density": DensityEngine,
    "pauli": partial(engine_of, PauliPropagation()),
    "commuting": partial(commuting_engine, Commuting()),
    "trajectories": partial(trajectories_of, Trajectories()),
    "distributed": partial(distributed_engine, Distributed()),
    "reference": ReferenceEngine,
}


def get_engine(engine: Any = None, precision: str = "double", threads: int | None = None) -> Any:
    """An engine by its name in `ENGINES`, by its settings (`PauliPropagation`, `Commuting`, `Trajectories`,
    `Distributed`), or the one given."""
    if engine is None:
        engine = "auto"
    if isinstance(engine, str):
        if engine not in ENGINES:
            raise QupropError(f"engine is one of {', '.join(ENGINES)}, got {engine!r}; {nearest(engine, ENGINES)}")
        return made(ENGINES[engine], precision, threads)
    if isinstance(engine, PauliPropagation):
        return engine_of(engine, precision, threads)
    if isinstance(engine, Commuting):
        return commuting_engine(engine, precision, threads)
    if isinstance(engine, Trajectories):
        return trajectories_of(engine, precision, threads)
    if isinstance(engine, Distributed):
        return distributed_engine(engine, precision, threads)
    if not hasattr(engine, "values"):
        raise QupropError(f"engine is one of {', '.join(ENGINES)}, or an object with their functions, got {engine!r}")
    return engine


def is_model(model: Any) -> bool:
    """Whether values and derivatives of it can be asked for."""
    return isinstance(model, Model | Composite)


def engine_for(model: Any, engine: Any = None, precision: str = "double", threads: int | None = None) -> Any:
    """What simulates a model, or what is made of models."""
    found = get_engine(engine, precision, threads)
    return combined(model, found) if isinstance(model, Model) else model.engine_over(found)
