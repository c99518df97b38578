"""What a quantum linear-system solver hands over: a normalised state, how often it succeeds, and what it used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from quprop.carleman.system.linear_system import LinearSystem
from quprop.carleman.transfer.queries import Amplification, QueryLedger, amplify, copies_ledger
from quprop.cost import short
from quprop.errors import QupropError


@dataclass(frozen=True, eq=False)
class Solution:
    """The state proportional to A^-1 b that a solver prepares, up to eps.

    state      (n,), of norm 1; at most eps from A^-1 b/||A^-1 b||
    norm       ||A^-1 b|| as the solver knows it: from its success probability, or from the norm it was given
    queries    uses of the block encoding of A/alpha in one run (the degree of the polynomial, walk steps included)
    loads      uses of the preparation of b, or of its inverse, in one run
    success    the probability that the flag qubits of one run say success
    """

    state: np.ndarray
    norm: float
    queries: int
    loads: int
    success: float
    eps: float
    solver: str
    info: Mapping[str, float] = field(default_factory=dict)

    @property
    def vector(self) -> np.ndarray:
        """norm * state, the solution x of A x = b."""
        return self.norm * self.state

    @property
    def amplification(self) -> Amplification:
        return amplify(self.success)

    def ledger(self, copies: int = 1, probability: float = 1.0, upload: QueryLedger | None = None) -> QueryLedger:
        """What so many copies take, when a further projection (level and time registers) succeeds with `probability`.

        Both flags are amplified together, so a copy takes about 1.38/sqrt(success * probability) runs. `upload` is the
        ledger of one load.
        """
        return copies_ledger(
            copies, queries=self.queries, loads=self.loads, success=self.success * probability, upload=upload
        )

    def __str__(self) -> str:
        return (
            f"{self.solver}: state within {self.eps:.3g} in {short(self.queries)} queries and {short(self.loads)} "
            f"loads a run, success {self.success:.3g}"
        )


class Solver(Protocol):
    """A frozen dataclass of settings. `queries` counts one run without emulating anything; `solve` emulates one."""

    name: ClassVar[str]

    def queries(self, kappa: float, eps: float) -> int: ...

    def solve(self, system: LinearSystem, eps: float) -> Solution: ...


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def refuse_growth(system: LinearSystem, length: float, most: float) -> None:
    """A bounded polynomial never grows on [-1, 1]; if it did, a singular value of A/norm lies outside."""
    if not length <= most * (1 + 1e-6) + 1e-6:
        raise QupropError(
            f"`norm` must be at least ||A||, but with norm = {system.norm:.4g} singular values beyond it were met; "
            "take a larger one, and kappa with it"
        )
