"""What an engine is: a few functions on checked arrays, theta (T, P) and x (X, D) with T and X either 1 or the batch
size B."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np

from quprop.errors import QupropError
from quprop.machine import usable_processors
from quprop.model import Model

Arrays = tuple[np.ndarray, np.ndarray]
MAX_QUBITS = 40  # of a state: beyond, not even its size is worth computing


class Engine(Protocol):
    """What it takes to simulate a model; `ENGINES[name](precision, threads)` makes one, or refuses in a sentence.

    A pullback takes a cotangent and sum_theta=False: with True d_theta is summed over the batch, (P,).
    """

    name: str

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray: ...

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays: ...

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]: ...

    def hvp(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        cotangent: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]: ...

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray: ...

    def state_vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]: ...

    def tangents(self, model: Model, theta: np.ndarray, x: np.ndarray, directions: np.ndarray) -> Arrays: ...

    def jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, Callable[..., tuple[np.ndarray, ...]]]: ...

    def state_jet(
        self, model: Model, theta: np.ndarray, x: np.ndarray, v_theta: np.ndarray, v_x: np.ndarray, order: int
    ) -> tuple[np.ndarray, Callable[..., tuple[np.ndarray, ...]]]: ...

    def memory(self, model: Model, batch: int, what: str) -> int: ...


@runtime_checkable
class Composite(Protocol):
    """What is computed from several models and stands for one of them: a cut circuit (`quprop.modules.cutting`)."""

    @property
    def model(self) -> Model: ...

    @property
    def n_qubits(self) -> int: ...

    @property
    def n_params(self) -> int: ...

    @property
    def n_inputs(self) -> int: ...

    @property
    def n_observables(self) -> int: ...

    @property
    def param_names(self) -> tuple[str, ...]: ...

    @property
    def param_sizes(self) -> tuple[int, ...]: ...

    def to_text(self) -> str: ...

    def engine_over(self, engine: Any) -> Any:
        """The engine of it, when `engine` simulates the models that it is made of."""


class InPlaceOf:
    """What a `Composite` says of itself that is its `model`'s, the one whose place it takes."""

    model: Model

    @property
    def n_qubits(self) -> int:
        return self.model.n_qubits

    @property
    def n_params(self) -> int:
        return self.model.n_params

    @property
    def n_inputs(self) -> int:
        return self.model.n_inputs

    @property
    def n_observables(self) -> int:
        return self.model.n_observables

    @property
    def param_names(self) -> tuple[str, ...]:
        return self.model.param_names

    @property
    def param_sizes(self) -> tuple[int, ...]:
        return self.model.param_sizes

    def to_text(self) -> str:
        """The model's text: what a run folder keeps."""
        return self.model.to_text()


def no_jet(engine: Any, *_: Any) -> NoReturn:
    """The `jet` and `state_jet` of engines that hold no whole state."""
    raise QupropError(
        f"the engine {engine.name!r} has no derivatives along a direction, which take the whole state without noise; "
        'use engine="native", and a model that is neither cut nor noisy'
    )


def has_jet(engine: Any) -> bool:
    """Whether an engine has derivatives along a direction."""
    return getattr(type(engine), "jet", no_jet) is not no_jet


def threads_of(threads: Any) -> int:
    """How many an engine takes: all usable processors if None is given."""
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise QupropError(f"threads is a positive integer or None (all cores), got {threads!r}")
    return threads or usable_processors()


@lru_cache(maxsize=32, typed=True)  # threads=True is not threads=1
def made(kind: Callable[[str, int | None], Any], precision: str, threads: int | None) -> Any:
    """One engine of a kind for all that ask: what it has planned serves them all."""
    return kind(precision, threads)
