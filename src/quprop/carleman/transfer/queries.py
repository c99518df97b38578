"""What quantum training of a classical model spends, in the units of its own machinery, and in those of `Cost`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from quprop.cost import Cost, short
from quprop.errors import QupropError


@dataclass(frozen=True, slots=True)
class QueryLedger:
    """Counts of what was (or would be) used; they add up, repeat, and have a zero, `QueryLedger()`.

    queries          uses of the block encoding of the linear system's matrix, or of its inverse
    loads            uses of the circuit that prepares the right-hand side, or of its inverse
    copies           solution states handed to the readout; each is measured once
    cnots            CNOT gates, of uploads only: what a query costs in gates depends on the data's oracle
    rotations        one-qubit rotations, of uploads only
    toffolis         Toffoli gates, of uploads only
    classical_steps  gradient steps taken classically between blocks
    classical_ops    multiply-adds spent classically (finding circuits, building step maps, dense steps)
    qubits           qubits held at once

    All but `qubits` add; of two, the larger number of qubits is held. Scaling by a count repeats.
    """

    queries: int = 0
    loads: int = 0
    copies: int = 0
    cnots: int = 0
    rotations: int = 0
    toffolis: int = 0
    classical_steps: int = 0
    classical_ops: int = 0
    qubits: int = 0

    HELD: ClassVar[frozenset[str]] = frozenset({"qubits"})

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) or int(value) != value or value < 0:
                raise QupropError(f"a ledger counts `{f.name}` in whole numbers from 0, got {value!r}")
            object.__setattr__(self, f.name, int(value))

    def __add__(self, other: QueryLedger) -> QueryLedger:
        if not isinstance(other, QueryLedger):
            return NotImplemented
        mine, theirs = self.as_dict(), other.as_dict()
        return QueryLedger(**{n: max(v, theirs[n]) if n in self.HELD else v + theirs[n] for n, v in mine.items()})

    def __radd__(self, other: Any) -> QueryLedger:
        return self if other == 0 else NotImplemented  # so that sum(ledgers) works

    def __mul__(self, times: int) -> QueryLedger:
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            raise QupropError(f"a ledger is repeated a whole number of times, 0 or more, got {times!r}")
        if times == 0:
            return QueryLedger()
        return replace(self, **{n: times * v for n, v in self.as_dict().items() if n not in self.HELD})

    __rmul__ = __mul__

    def as_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def cost(self, *, rotations_per_query: int, rotations_per_load: int = 0) -> Cost:
        """The same in quprop's own units, once it is said how many parameterised rotations an oracle executes.

        Every copy is one run that ends in a measurement. CNOTs are Clifford and cost nothing there; Toffolis are those
        of `Cost`. Depth is left at 0, as it depends on how oracles are compiled.
        """
        for name, count in (("rotations_per_query", rotations_per_query), ("rotations_per_load", rotations_per_load)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise QupropError(f"`{name}` is a whole number from 0, got {count!r}")
        return Cost(
            copies=self.loads,
            measurements=self.copies,
            rotations=self.queries * rotations_per_query + self.loads * rotations_per_load + self.rotations,
            toffolis=self.toffolis,
            qubits=self.qubits,
            classical_ops=self.classical_ops,
        )

    def __str__(self) -> str:
        parts = [f"{short(self.queries)} queries", f"{short(self.loads)} loads", f"{short(self.copies)} copies"]
        if self.cnots or self.rotations or self.toffolis:
            parts.append(f"{short(self.cnots)} CNOTs, {short(self.rotations)} rotations of uploads")
        if self.toffolis:
            parts.append(f"{short(self.toffolis)} Toffolis")
        if self.classical_steps:
            parts.append(f"{short(self.classical_steps)} classical steps")
        if self.classical_ops:
            parts.append(f"{short(self.classical_ops)} classical multiply-adds")
        return ", ".join([*parts, f"{self.qubits} qubits"])


@dataclass(frozen=True, slots=True)
class Amplification:
    """Amplitude amplification of a success probability: `rounds` rounds, each two further runs, then a measurement.

    Success then has probability sin^2((2 rounds + 1) phi), sin^2 phi being what it was (Brassard, Hoyer, Mosca and
    Tapp, quant-ph/0005055); a failure starts over: (2 rounds + 1)/probability `runs` are expected per success.
    """

    rounds: int
    probability: float

    @property
    def runs(self) -> float:
        return (2 * self.rounds + 1) / self.probability


def amplify(probability: float) -> Amplification:
    """The number of rounds that takes the fewest runs per success, about 1.38/sqrt(probability) in all."""
    if not 0 < probability <= 1 + 1e-9:
        raise QupropError(f"a success probability is between 0 (excluded) and 1, got {probability}")
    phi = math.asin(math.sqrt(min(1.0, probability)))
    # z / sin^2 z is least where tan z = 2 z
    best = max(0.0, (1.1655611852 / phi - 1) / 2)
    choices = [Amplification(m, math.sin((2 * m + 1) * phi) ** 2) for m in (math.floor(best), math.floor(best) + 1)]
    return min((c for c in choices if c.probability > 0), key=lambda c: c.runs)


def copies_ledger(
    copies: int, *, queries: int, loads: int = 1, success: float = 1.0, upload: QueryLedger | None = None
) -> QueryLedger:
    """What it takes to hand over so many copies of a solution.

    A run has so many queries and loads and succeeds with probability `success`, further projections (onto the last
    times and the first level) included; it is amplified, at about 1.38/sqrt(success) runs a copy. `upload` is the
    ledger of one load (`Upload.ledger()`), whose gates are then counted too.
    """
    if isinstance(copies, bool) or int(copies) != copies or copies < 0:
        raise QupropError(f"`copies` is a whole number from 0, got {copies!r}")
    runs = amplify(success).runs
    one = QueryLedger(loads=1) if upload is None else upload
    if one.loads != 1:
        raise QupropError(f"`upload` is the ledger of one load, got one of {one.loads}")
    spent = QueryLedger(queries=math.ceil(copies * runs * queries), copies=int(copies))
    return spent + math.ceil(copies * runs * loads) * one
