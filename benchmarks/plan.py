"""Is the simulator's time of `quprop plan` the time that a training step takes?

    python benchmarks/plan.py [--out benchmarks/results/plan.json]

Of every built-in problem: seconds a sample of a training step (loss and gradient, as `quprop train` takes it) beside
the timing that the plan shows, at batches of 1 and 32 where there is data. Of circuits that are described by their
sizes, the law of `quprop.planning.timing` beside the timing of the same circuit, built. Of rounds that take turns the
least counts, since what else the machine does only adds.
"""

from __future__ import annotations

import argparse
import json
import sys
import timeit
from pathlib import Path

import numpy as np

import quprop as qpr
from quprop.cli.models import PLANNED, load
from quprop.model import ansatz
from quprop.planning.named import hardware_efficient
from quprop.planning.structure import shape_of
from quprop.planning.timing import modelled, timed
from quprop.problems.run import configure, find
from quprop.sampling.shape import Wanted
from quprop.simulate.measure import gradient_call, median_seconds
from quprop.training.objective import Objective

sys.path.insert(0, str(Path(__file__).parent))
from environment import environment

ROUNDS, CALLS = 5, 60
SIZES = ((4, 5), (6, 30), (8, 8), (10, 10), (12, 10), (14, 10), (16, 6), (18, 4), (20, 3), (22, 1))
WANTED = Wanted("precision", 0.1)


def problem_row(name: str, batch: int) -> dict | None:
    problem = find(name).build(configure(name, {}))
    if batch > 1 and problem.data is None:
        return None
    model, point = load(name, [], 0)
    at = (point["theta"], np.zeros(0) if point["x"] is None else point["x"])
    shape = shape_of(model, point["weights"], at=at)
    objective = Objective(model, problem.loss, head=problem.head, engine=None, precision="double", threads=None)
    start = objective.initial(problem.start(np.random.default_rng(0)), np.random.default_rng(0))
    x, y = (None, None) if problem.data is None else (problem.data[0][:batch], problem.data[1])
    y = None if y is None else y[:batch]
    step, plan = [], []
    for _ in range(ROUNDS):
        step.append(median_seconds(lambda: objective.loss_and_grad(start, x, y), 0.2) / batch)
        plan.append(timed(shape, model, WANTED, at=at, weights=point["weights"], samples=batch).timed["adjoint"])
    found = {"step_seconds": min(step), "planned_seconds": min(plan)}
    sizes = {"n": model.n_qubits, "M": model.n_rotations, "batch": batch}
    return {"problem": name, **sizes, **found, "ratio": found["planned_seconds"] / found["step_seconds"]}


def law_row(n: int, layers: int) -> dict:
    model = qpr.Model(ansatz.hardware_efficient(n, layers), "Z0 Z1")
    theta = np.random.default_rng(0).uniform(-np.pi, np.pi, model.n_params)
    call = gradient_call(model, theta)
    took = min(timeit.repeat(call, number=1, repeat=CALLS))
    law = modelled("adjoint", hardware_efficient(n, layers), WANTED)
    return {"n": n, "M": model.n_rotations, "measured_seconds": took, "law_seconds": law, "ratio": law / took}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    found = {"environment": environment({"quprop": sys.executable}), "problems": [], "law": []}
    for name in PLANNED:
        if name not in ("hamiltonian", "molecule"):  # whose terms are the reader's
            found["problems"] += [row for batch in (1, 32) if (row := problem_row(name, batch))]
            print(found["problems"][-1], flush=True)
    for size in SIZES:
        found["law"].append(law_row(*size))
        print(found["law"][-1], flush=True)
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
