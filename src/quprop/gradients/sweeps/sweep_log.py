"""What happened in a sweep, layer by layer: to look at, and for `quprop report` to show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from quprop.errors import count_of
from quprop.sampling.estimate import shown


@dataclass(frozen=True, slots=True)
class Layer:
    """One check of one layer, as the algorithm saw it (`probability` and `damage` are the simulator's).

    layer        the rotation, counted from 0 at the start of the circuit; sweeps go from the last to the first
    prediction   the hypothesis' dF/da
    probability  that one of both sides of the check triggers
    triggered    whether it did
    measured     dF/da from a reading of the batch, after a trigger
    updates      of the hypothesis
    batch        which batch was asked, from 0
    damage       what was learned about counts of this batch, this component included (`Ledger.information`), over what
                 its design allows
    copies       consumed so far
    """

    layer: int
    prediction: float
    probability: float
    triggered: bool
    measured: float | None
    updates: int
    batch: int
    damage: float
    copies: int


class SweepLog:
    """All layers of a sweep in the order they were met, and `eps`, the accuracy of dF/da that was asked."""

    def __init__(self, eps: float) -> None:
        self.eps = eps
        self.layers: list[Layer] = []

    def add(self, layer: Layer) -> None:
        self.layers.append(layer)

    def column(self, name: str) -> np.ndarray:
        """One field over all layers; None is NaN."""
        return np.array([getattr(row, name) for row in self.layers], float)

    def as_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return {"kind": "sweep", "eps": self.eps, "layers": [asdict(row) for row in self.layers]}

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __str__(self) -> str:
        rows = [r for r in self.layers if r.triggered]
        damage = shown(max((r.damage for r in self.layers), default=0.0))
        lines = [f"{count_of(len(self.layers), 'layer')} checked, {count_of(len(rows), 'trigger')}, {damage}"]
        for r in rows:
            lines.append(
                f"  layer {r.layer}: predicted {r.prediction:+.4f}, measured {r.measured:+.4f}, {r.updates} updates, "
                f"batch {r.batch} spent at damage {r.damage:.2g}, {count_of(r.copies, 'copy')} so far"
            )
        return "\n".join(lines)
