"""Estimates of many samples through an executor: each sample is a task of its own."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.model import Model
from quprop.runs.executor import Executor, Task, run_tasks
from quprop.sampling.estimate import Estimate
from quprop.sampling.plan import Plan


def estimate_samples(
    method: Any,
    model: Model,
    theta: np.ndarray,
    xs: np.ndarray | Sequence[None],
    weights: np.ndarray,
    rng: np.random.Generator,
    executor: Executor,
) -> Estimate:
    """Gradients (B, P) at theta (P,) of weights[b] . <O> for sample xs[b], `method` being compiled for weights of 1.

    Every sample has a seed of its own, drawn from rng: the result is the same for any executor and number of workers.
    """
    made = base64.b64encode(pickle.dumps((method, model.to_text()))).decode()
    common = {"made": made, "theta": np.asarray(theta, float).tolist()}
    seeds = rng.integers(2**62, size=len(xs))
    tasks = [
        Task(
            _one,
            {**common, "x": None if x is None else x.tolist(), "weights": w.tolist()},
            int(seed),
            "quprop.gradients.remote._one",
        )
        for x, w, seed in zip(xs, weights, seeds, strict=True)
    ]
    rows = [row["result"] for row in run_tasks(tasks, executor)]
    damages = [row["damage"] for row in rows if "damage" in row]
    return Estimate(
        np.array([row["value"] for row in rows]),
        np.array([row["stderr"] for row in rows]),
        sum((Cost(**row["cost"]) for row in rows), Cost()),
        {"damage": max(damages)} if damages else {},
    )


def _one(settings: dict[str, Any], seed: np.random.SeedSequence) -> dict[str, Any]:
    plan = _plan(settings["made"])
    found = plan.estimate(
        settings["theta"], settings["x"], np.random.default_rng(seed), weights=np.array(settings["weights"])
    )
    row = {"value": found.value.tolist(), "stderr": found.stderr.tolist(), "cost": found.cost.as_dict()}
    return row | ({"damage": found.info["damage"]} if "damage" in found.info else {})


@lru_cache(maxsize=4)
def _plan(made: str) -> Plan:
    """Compiled once in every process."""
    method, text = pickle.loads(base64.b64decode(made))
    model = Model.from_text(text)
    plan: Plan = method.compile(model, np.ones(model.n_observables))
    return plan
