"""The models that commands are given: a problem by name or by a TOML file, or a file of Model.save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import QupropError, nearest
from quprop.model import Model
from quprop.problems.config import Config, override, read_toml
from quprop.problems.run import configure, find
from quprop.problems.spec import Problem, Spec
from quprop.problems.table import PROBLEMS

PLANNED = [name for name, spec in PROBLEMS.items() if spec.of_observables]  # whose gradients methods estimate


def load(what: str, changes: list[str], seed: int) -> tuple[Model, dict[str, Any]]:
    """The model, and where its gradient is taken: theta, x and weights, as far as a problem says so."""
    if _saved(what, changes):
        return Model.load(what), {}
    spec, config = _settled(what, changes)
    problem = spec.build(config)
    start = problem.start(np.random.default_rng(seed))
    x, y = (None, None) if problem.data is None else (problem.data[0][0], problem.data[1])
    return problem.model, {"theta": start["theta"], "x": x, "weights": _loss_weights(problem, start, x, y)}


def built(what: str, changes: list[str]) -> tuple[Model, str]:
    """The model, of which nothing is computed, and the precision that it is to be simulated in."""
    if _saved(what, changes):
        return Model.load(what), "double"
    spec, config = _settled(what, changes)
    return spec.build(config).model, str(config["train"]["precision"])


def _saved(what: str, changes: list[str]) -> bool:
    """Whether this is a file of Model.save; refused where there is none."""
    if what in PROBLEMS or what.endswith(".toml"):
        return False
    if not Path(what).is_file():
        raise QupropError(
            f"unknown model {what!r}: {nearest(what, PROBLEMS)} (or give a file of Model.save, or one ending in .toml)"
        )
    if changes:
        raise QupropError("--set changes the settings of a problem, and a saved model has none; leave it out")
    return True


def _settled(what: str, changes: list[str]) -> tuple[Spec, Config]:
    """A problem by its name or by a TOML file, and all its settings, changed by --set."""
    name, given = named(what)
    spec = find(name)
    if not spec.of_observables:
        raise QupropError(
            f"{name} is trained on a distance between samples, and gradient methods estimate derivatives of "
            f"expectation values; give one of {', '.join(PLANNED)}"
        )
    for text in changes:
        override(given, text, spec.schema)
    return spec, configure(name, given)


def _loss_weights(problem: Problem, start: dict[str, Any], x: Any, y: Any) -> np.ndarray:
    """The weights with which the loss of one sample depends on the observables, at the start: d loss / d <O_k>."""
    values = simulate.expectation(problem.model, start["theta"], x).reshape(1, -1)
    scale = start.get("scale", np.ones(values.shape[1]))
    _, cotangent = problem.loss(scale * values + start.get("bias", 0.0), None if y is None else y[:1])
    return np.asarray((cotangent * scale)[0])


def named(what: str) -> tuple[str, Config]:
    """A problem's name, and what the TOML file says beside it if it is given by one."""
    if what in PROBLEMS:
        return what, {}
    given = read_toml(Path(what))
    problem = given.get("problem")
    if not isinstance(problem, dict) or "name" not in problem:
        raise QupropError(
            f'{what} must name its problem: write [problem] and name = "...", one of {", ".join(PROBLEMS)}'
        )
    find(problem["name"])
    return problem["name"], given
