"""Plans' circuits on a device, against its noise where that is asked for: all scales of a round in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from quprop.errors import QupropError, shown
from quprop.sampling.devices.circuits import PlanCircuits
from quprop.sampling.devices.device import Counts, Work
from quprop.sampling.devices.mitigation import Mitigation
from quprop.sampling.devices.readout import ReadoutInversion
from quprop.sampling.devices.runner import Runner
from quprop.sampling.estimate import Estimate
from quprop.sampling.requests import Reader, as_read
from quprop.simulate.noise.mitigation import extrapolation

Scaled = list[list[Work]]
"""Work at each scale of the noise, before it is folded."""


class Measurement:
    """Rounds of work on the device of `runner`, with `mitigation` or as they are."""

    def __init__(self, runner: Runner, mitigation: Mitigation | None = None) -> None:
        if mitigation is not None and not isinstance(mitigation, Mitigation):
            raise QupropError(f"mitigation is a Mitigation(readout=, zero_noise=), got {shown(mitigation)}; pass one")
        self.runner, self.mitigation = runner, mitigation
        self.scales = [1.0] if mitigation is None else mitigation.scales
        self._inversion: ReadoutInversion | None = None
        self._calibrated = False
        self._layouts: dict[str, tuple[int, ...]] = {}  # by what is run
        self._places: list[dict[str, tuple[int, ...]]] = [
            {} for _ in self.scales
        ]  # by what it was before it was folded

    def prepare(self, work: Sequence[Work]) -> None:
        """Compiles the circuits, at all scales; refuses what the device does not take."""
        self.folded([list(work)] * len(self.scales))

    def check(self, circuits: PlanCircuits) -> None:
        """Refuses what cannot be mitigated."""
        if self.mitigation is not None and self.mitigation.readout is not None:
            circuits.refuse_inversion()

    def alike(self, work: Sequence[Work]) -> Scaled:
        """The same work at every scale."""
        return [list(work)] * len(self.scales)

    def run(self, work: Scaled, key: str) -> list[Counts]:
        """Counts at each scale; one batch, under this key."""
        folded = self.folded(work)
        counts, start, found = self.runner.run([w for part in folded for w in part], key), 0, []
        for part in folded:
            found.append(counts[start : start + len(part)])
            start += len(part)
        return found

    def estimate(
        self, circuits: PlanCircuits, key: str, first: list[Counts] | None = None, *, propagate: bool = True
    ) -> Estimate:
        """All rounds of a plan, until its estimate. first: the counts of the first, if they are there. propagate: as in
        `combined`."""
        self.check(circuits)
        at = [circuits] * len(self.scales)
        counts, number = first, 0
        while True:
            counts = self.run([c.work for c in at], f"{key}-{number}") if counts is None else counts
            readers = [self.reader(s, self.inversion()) for s in range(len(at))]
            following = [c.next(n, reader=r) for c, n, r in zip(at, counts, readers, strict=True)]
            if all(f is None for f in following):
                return self.combined(at, counts, propagate=propagate)
            # A scale that is at its end waits for the others: it has nothing more to run.
            at = [f or c for f, c in zip(following, at, strict=True)]
            counts, number = None, number + 1

    def combined(
        self, circuits: Sequence[PlanCircuits], counts: Sequence[Counts], *, propagate: bool = True
    ) -> Estimate:
        """The estimate from the counts of the last round at each scale. propagate: whether the errors of a calibration
        count in its standard errors, which is to read all counts anew for each of them."""
        if self.mitigation is None:
            return circuits[0].combine(counts[0])

        def read(scale: float, inversion: ReadoutInversion | None) -> Estimate:
            s = self.scales.index(scale)
            return circuits[s].combine(counts[s], reader=self.reader(s, inversion))

        realised = self.mitigation.realised(circuits[0].work)
        return self.mitigation.combine(
            read, self.inversion(), realised, propagate=propagate and not any(c.earlier for c in circuits)
        )

    def reader(self, scale: int, inversion: ReadoutInversion | None) -> Reader:
        """How bits are read at this scale."""
        return as_read if inversion is None else inversion.reader(self._places[scale])

    def inversion(self) -> ReadoutInversion | None:
        """Of the readout; calibrated when it is first asked for."""
        if self.mitigation is not None and not self._calibrated:
            self._inversion = self.mitigation.inversion(
                self.runner.device, list(self._layouts.values()), partial(self.runner.run, key="calibration")
            )
            self._calibrated = True
        return self._inversion

    def weighted(self, values: Sequence[np.ndarray], work: Sequence[Work]) -> np.ndarray:
        """Extrapolated to no noise, from values at each scale."""
        return np.asarray(sum(c * v for c, v in zip(self.coefficients(work), values, strict=True)))

    def coefficients(self, work: Sequence[Work]) -> np.ndarray:
        """What the values at each scale count."""
        if self.mitigation is None or self.mitigation.zero_noise is None:
            return np.ones(1)
        return extrapolation(self.mitigation.realised(work), self.mitigation.zero_noise.degree)

    def folded(self, work: Scaled) -> Scaled:
        """What is run."""
        mitigation = self.mitigation
        if mitigation is None:
            self.runner.prepare([w for part in work for w in part])
            return work
        folded = [
            [w._replace(circuit=mitigation.folded(w.circuit, s)) for w in part]
            for s, part in zip(self.scales, work, strict=True)
        ]
        circuits = {w.circuit.key: w.circuit for part in folded for w in part}
        new = [c for key, c in circuits.items() if key not in self._layouts]
        for c, prepared in zip(new, self.runner.device.prepare(new) if new else (), strict=True):
            self._layouts[c.key] = tuple(prepared.layout)
        for places, part, as_run in zip(self._places, work, folded, strict=True):
            places.update({w.circuit.key: self._layouts[f.circuit.key] for w, f in zip(part, as_run, strict=True)})
        return folded
