"""The terms of a model's observables."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from quprop.model import Model
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.grouping import Grouping


class Terms(NamedTuple):
    """The Pauli strings of all observables of a model, identities left out, and their coefficients."""

    strings: tuple[PauliString, ...]  # (T,)
    table: np.ndarray  # (K, T): observable k is sum_t table[k, t] strings[t]

    @classmethod
    def of(cls, model: Model) -> Terms:
        order: dict[PauliString, int] = {}
        for total in model.observables:
            for string, _ in total.items():
                if string.weight:
                    order.setdefault(string, len(order))
        table = np.zeros((model.n_observables, len(order)))
        for k, total in enumerate(model.observables):
            for string, coefficient in total.items():
                if string.weight:
                    table[k, order[string]] = coefficient
        return cls(tuple(order), table)

    def coefficients(self, weights: np.ndarray) -> np.ndarray:
        """u (T,) with weights . O = sum_t u_t strings[t]."""
        return weights @ self.table

    def sizes(self, weights: np.ndarray) -> np.ndarray:
        """|u_t| at most (T,) for weights of these sizes and any sign, (..., K): the largest over their rows.

        A plan is for all of these: what cancels in F = weights . O does not cancel in weights that come later.
        """
        every: np.ndarray = np.abs(weights) @ np.abs(self.table)
        return every.max(axis=tuple(range(every.ndim - 1)))

    def total(self, weights: np.ndarray) -> PauliSum:
        """All terms with their `sizes`: what a grouping has to serve."""
        return PauliSum(dict(zip(self.strings, self.sizes(weights), strict=True)))

    def of_groups(self, groups: Grouping) -> np.ndarray:
        """(T,) which of the strings are in one of the groups."""
        grouped = {string for members in groups.groups for string, _ in members}
        return np.array([string in grouped for string in self.strings], bool)

    def position(self, string: PauliString) -> int:
        return self.strings.index(string)
