"""The observables of a model, read from shots: in groups of commuting strings, each group by one circuit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from quprop.model import Model
from quprop.sampling.estimate import variance_of_mean
from quprop.sampling.grouping import group
from quprop.sampling.programs import free, read_by_programs
from quprop.sampling.requests import RunShots
from quprop.sampling.rows import Made
from quprop.sampling.sampler import Drawn, Runs
from quprop.sampling.terms import Terms


class _Group(NamedTuple):
    runs: Runs
    columns: np.ndarray  # which of the model's strings it reads


class ObservableReadings:
    """<O_k> of a model from shots: each value is unbiased, and its variance is at most (sum of the |coefficients|)^2
    divided by the shots of a circuit.

    Strings are grouped as `group` does it, qubit-wise or commuting, whichever has the lower variance.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        terms = Terms.of(model)
        self.table = terms.table  # (K, T)
        self.constants = np.array([sum(c for p, c in o.items() if not p.weight) for o in model.observables], float)
        total = terms.total(np.ones(model.n_observables))
        groupings = [group(total, "qubit_wise", model.clifford), group(total, "commuting", model.clifford)]
        best = min(groupings, key=lambda g: min(g.variance.values()))
        program = free(model)
        self.groups: list[_Group] = []
        for members in best.groups:
            strings = tuple(p for p, _ in members)
            runs = Runs(
                program,
                Made(1, lambda r: np.zeros((len(r), model.n_rotations))),
                strings,
                targets=np.zeros((1, len(strings)), np.int64),
                factors=np.ones((1, len(strings))),
                terms=np.full(len(strings), -1),
                lengths=np.array([model.n_rotations]),
                each=True,
            )
            self.groups.append(_Group(runs, np.array([terms.position(p) for p in strings])))

    def parts(self, samples: int) -> list[slice]:
        """Samples that are read by one request a group: programs that read no inputs take all, encoded inputs start
        from a state of their own."""
        return [slice(b, b + 1) for b in range(samples)] if self.model.state.kind == "encoded" else [slice(0, samples)]

    def requests(self, theta: np.ndarray, x: np.ndarray, shots: int, *, keep: bool = False) -> list[RunShots]:
        """For theta (B, P), x (B, D): those of all groups for each of `parts`. keep: the outcomes too, for `error`."""
        angles, found = self.model.angle_table.evaluate(theta, x), []
        for part in self.parts(len(theta)):
            rows = angles[part]
            read = read_by_programs(self.model, x[part.start])
            for runs, columns in self.groups:
                some = runs.again(
                    rows=Made(len(rows), partial(_some, rows)),
                    factors=np.ones((len(rows), len(columns))),
                    targets=np.zeros((len(rows), len(columns)), np.int64),
                    lengths=np.full(len(rows), self.model.n_rotations),
                )
                found.append(RunShots(some, rows[0], read, np.zeros(0), np.full(len(rows), shots, np.int64), keep))
        return found

    def weights(self, of_observables: np.ndarray) -> list[np.ndarray]:
        """What the mean of each string of each group counts in sum_k w_k <O_k>."""
        per_string = of_observables @ self.table
        return [per_string[columns] for _, columns in self.groups]

    def values(self, drawn: Iterable[Drawn], samples: int) -> np.ndarray:
        """<O_k>, (B, K), from the answers to `requests`."""
        found, answers = np.zeros((samples, self.table.shape[1])), iter(drawn)
        for part in self.parts(samples):
            for _, columns in self.groups:
                found[part, columns] = next(answers).mean
        return found @ self.table.T + self.constants

    def variance(self, drawn: Sequence[Drawn], weights: np.ndarray) -> float:
        """Of sum_bk weights[b, k] <O_k>_b, as the kept outcomes show it: strings that one shot reads are correlated,
        circuits are independent."""
        total, answers = 0.0, iter(drawn)
        per_string = weights @ self.table  # (B, T)
        for part in self.parts(len(weights)):
            for _, columns in self.groups:
                outcomes = next(answers).outcomes
                assert outcomes is not None
                for (signs, counts), w in zip(outcomes, per_string[part][:, columns], strict=True):
                    shots, y = counts.sum(), signs @ w
                    mean, square = counts @ y / shots, counts @ (y * y) / shots
                    total += float(variance_of_mean(mean, square, shots, 2 * np.abs(w).sum()))
        return total


def _some(rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    found: np.ndarray = rows[chosen]
    return found
