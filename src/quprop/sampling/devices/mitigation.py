"""Noise of a device taken out of what its counts say: misread bits inverted, gates folded and extrapolated to none.

Both are linear in what was measured, so that standard errors follow exactly, and both cost some: an inverted string of
w letters has about prod_q 1/(1 - p10 - p01)^2 times the variance, a gradient extrapolated from the scales s_i, each
with the shots of one, sum_i c_i^2 times. Misread bits stay at every scale of folded gates, so take both where both
count. What remains is bias: `quprop.sampling.devices.bias` shows it where the exact gradient can be known.

Pauli twirling is the device's own (`twirl=K` of Qiskit's): coherent errors become Pauli channels, whose first order
folding multiplies as it should. Standard errors take all shots for independent ones; if the means of the K instances
have the variance v, that leaves out v/K, so take K large where shots are many.

A runner of a plan's circuits (`PlanCircuits`) needs this much of a `Mitigation`:

    for scale in mitigation.scales:                            # [1.0] without extrapolation
        work = [Work(mitigation.folded(w.circuit, scale), w.values, w.shots) for w in circuits.work]
        places = [p.layout for p in device.prepare([w.circuit for w in work])]
        layouts[scale] = {w.circuit.key: place for w, place in zip(circuits.work, places)}
        counts[scale] = run(work)
    inversion = mitigation.inversion(device, places, run)      # None where bits are taken for what they are; has a cost

    def read(scale, inversion):
        return circuits.combine(counts[scale], reader=inversion.reader(layouts[scale]) if inversion else as_read)

    mitigation.combine(read, inversion, mitigation.realised(circuits.work))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from quprop.errors import QupropError, shown, whole
from quprop.sampling.devices.device import Counts, DeviceCircuit, Work
from quprop.sampling.devices.folding import ZeroNoise
from quprop.sampling.devices.readout import CALIBRATION, ReadoutInversion
from quprop.sampling.estimate import Estimate


@dataclass(frozen=True)
class Mitigation:
    """What is done against a device's noise: readout inversion, zero-noise extrapolation, or both.

    readout: "device", the errors that the device reports; "calibrate", two circuits measure them (`shots` each, counted
        in the cost); a list or dictionary of (p10, p01), or a `ReadoutInversion`; None: bits are taken for what they
        are.
    zero_noise: a `ZeroNoise`; None: circuits are run as they are.
    shots: of each of the two circuits of a calibration.

    Raises: QupropError for another word, errors that cannot be inverted, and where there is nothing to do.

    >>> qpr.Mitigation(readout="calibrate", zero_noise=qpr.ZeroNoise((1, 3))).scales
    [1.0, 3.0]
    """

    readout: Literal["device", "calibrate"] | Any = None
    zero_noise: ZeroNoise | None = None
    shots: int = CALIBRATION

    def __post_init__(self) -> None:
        if self.readout is None and self.zero_noise is None:
            raise QupropError("a Mitigation without readout and zero_noise does nothing; pass one of them, or none")
        if isinstance(self.readout, str) and self.readout not in ("device", "calibrate"):
            raise QupropError(f'readout is "device", "calibrate" or a list of errors, got {self.readout!r}')
        if not isinstance(self.readout, str | ReadoutInversion | None):
            object.__setattr__(self, "readout", ReadoutInversion(self.readout))
        if not isinstance(self.zero_noise, ZeroNoise | None):
            raise QupropError(f"zero_noise is a ZeroNoise(scales, degree), got {shown(self.zero_noise)}")
        whole("shots", self.shots, 1)

    @property
    def scales(self) -> list[float]:
        return [1.0] if self.zero_noise is None else list(self.zero_noise.scales)

    def folded(self, circuit: DeviceCircuit, scale: float) -> DeviceCircuit:
        """What is run in place of the circuit."""
        return circuit if self.zero_noise is None else self.zero_noise.folded(circuit, scale)

    def realised(self, work: Sequence[Work]) -> list[float]:
        """The scales that whole gates allow."""
        return [1.0] if self.zero_noise is None else [self.zero_noise.realised(work, s) for s in self.scales]

    def inversion(
        self, device: Any, layouts: Sequence[Sequence[int]], run: Callable[[list[Work]], Counts]
    ) -> ReadoutInversion | None:
        """How bits are read. layouts: the device's qubits that each circuit measures, `Prepared.layout`; run: has work
        done by the device, called at most once, for a calibration."""
        if self.readout is None or isinstance(self.readout, ReadoutInversion):
            return self.readout
        qubits = sorted({int(q) for layout in layouts for q in layout})
        if not qubits:  # nothing is read, as where no parameter moves anything
            return None
        if self.readout == "device":
            return ReadoutInversion.of_device(device, qubits)
        work = ReadoutInversion.calibration(qubits, self.shots)
        for found in device.prepare([w.circuit for w in work]):
            if tuple(found.layout) != tuple(qubits):
                raise QupropError(
                    f"the device {device.name} placed a calibration on its qubits {list(found.layout)} and not on "
                    f'{qubits}, which are to be calibrated; take readout="device", or give the errors as a list'
                )
        return ReadoutInversion.calibrated(work, run(work))

    def combine(
        self,
        read: Callable[[float, ReadoutInversion | None], Estimate],
        inversion: ReadoutInversion | None = None,
        realised: Sequence[float] | None = None,
        *,
        propagate: bool = True,
    ) -> Estimate:
        """The mitigated estimate, without the cost of the calibration, which many share (`inversion.cost`).

        read(scale, inversion): the estimate from the counts at this scale, bits read with this inversion.
        propagate: all is read once more with each error of the calibration moved by its standard error, and what this
        does to each component is added to its variance; not for plans whose rounds depend on what was read before.
        """

        def all_scales(readout: ReadoutInversion | None) -> Estimate:
            found = [read(s, readout) for s in self.scales]
            return found[0] if self.zero_noise is None else self.zero_noise.combine(found, realised)

        found = all_scales(inversion)
        if inversion is None:
            return found
        variance = found.stderr**2
        for other in inversion.moved() if propagate else ():
            variance = variance + (all_scales(other).value - found.value) ** 2
        return replace(found, stderr=np.sqrt(variance), info={**found.info, "readout": str(inversion)})
