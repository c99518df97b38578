"""One sweep of quantum backpropagation on copies of the pair state (see `quantum_backprop.py`), and its log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from quprop.collective.event import Event
from quprop.collective.hypothesis import Hypothesis
from quprop.collective.protocol import CopyEngine, HeldCopies
from quprop.collective.sweep import Answer, Learner, Sweep, SweepRule, Turn
from quprop.cost import short
from quprop.errors import count_of
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice
from quprop.gradients.sweeps.sweep_design import SweepDesign
from quprop.gradients.sweeps.sweep_log import Layer, SweepLog


class _PairLaboratory:
    """Batches that are read where they trigger, T times each; the last one as often as needed."""

    keeps = True

    def __init__(self, device: PairDevice, engine: CopyEngine, design: SweepDesign, rng: np.random.Generator) -> None:
        self.device, self.engine, self.design = device, engine, design
        self._rng, self._left = rng, design.batches
        self.readings_of: list[int] = []  # of each batch
        self._counted = -1  # the place where the copies were counted last

    def prepare(self) -> HeldCopies:
        self._left -= 1
        self.readings_of.append(0)
        return self.device.prepare(self.engine, self.design.k, self.design.beside)

    def turn(self, turn: Turn, batch: HeldCopies | None) -> None:
        self.device.undo(batch)

    def answered(self) -> None:
        """Both sides of a check are asked on one count."""
        again, self._counted = self._counted == self.device.place, self.device.place
        self.device.answered(1, None if again else self.design.check)

    def measure(self, event: Event, batch: HeldCopies) -> tuple[float, bool]:
        y = batch.read(event, self.design.pointer, self._rng)
        self.device.answered(1, self.design.reading)
        self.readings_of[-1] += 1
        mean = min(1.0, max(0.0, y / self.design.k))
        return mean, not (self._left and self.readings_of[-1] >= self.design.readings)


class BackpropSweep:
    """What one sweep has learned. `sigma` meets the device's answers only: bits of checks and readings."""

    def __init__(
        self,
        design: SweepDesign,
        circuit: PairCircuit,
        components: Iterable[int],
        engine: CopyEngine,
        device: PairDevice,
        sigma: Hypothesis,
        a: np.ndarray,
        *,
        norm: float,
        explain: bool,
        rng: np.random.Generator,
    ) -> None:
        self.design, self.circuit, self.components, self.a = design, circuit, sorted(components, reverse=True), a
        self.device, self.sigma, self.norm = device, sigma, norm
        self.laboratory = _PairLaboratory(device, engine, design, rng)
        rule = SweepRule(design.eps, design.noise, design.deviation(), kind="gaussian")
        self.sweep = Sweep(self.laboratory, Learner(sigma), rule, rng)
        self.triggers = self.unvouched = 0
        self.log = SweepLog(2 * design.eps * norm) if explain else None
        self.measured = np.zeros(len(a), bool)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """<Q_m> (M,) and its error: a bound where it was predicted, a standard error where it was read."""
        q, error = np.zeros((2, len(self.a)))
        for m, found in zip(self.components, self.sweep.answers(self._stream()), strict=True):
            readings = self.laboratory.readings_of[-1]
            if found.measured is None:
                q[m], error[m] = found.string, 2 * self.design.within(readings)
                self.unvouched += readings > self.design.readings
            else:
                self.triggers += 1
                self.measured[m] = True
                q[m], error[m] = 2 * found.measured - 1, 2 * self.design.deviation(readings)
            self._note(m, found)
        return q, error

    def _stream(self) -> Iterator[Event | Turn]:
        """From the last rotation to the first: its event where theta drives it, then its inverse."""
        wanted, first = set(self.components), self.components[-1]
        for m in range(len(self.a) - 1, first - 1, -1):
            if m in wanted:
                yield Event(self.circuit.read[m])
            if m > first:
                yield Turn(self.circuit.undo[m], -float(self.a[m]))

    def _note(self, m: int, found: Answer) -> None:
        if self.log is not None:
            measured = None if found.measured is None else -self.norm * (2 * found.measured - 1)
            self.log.add(
                Layer(
                    m,
                    -self.norm * found.string,
                    found.probability,
                    measured is not None,
                    measured,
                    int(found.learned),
                    self.sweep.batches - 1,
                    self._damage(found.ledger.information),
                    self.device.cost.copies,
                )
            )

    def _damage(self, information: float) -> float:
        return information / self.design.information

    def info(self) -> dict[str, Any]:
        d, s = self.design, self.sigma
        damages = [self._damage(ledger.information) for ledger in self.sweep.ledgers]
        out: dict[str, Any] = {
            "triggers": self.triggers,
            "batches": self.sweep.batches,
            "copies_in_a_batch": d.k,
            "readings_of_batches": list(self.laboratory.readings_of),
            "readings_in_a_batch": d.readings,
            "beyond_the_readings": self.unvouched,
            "trigger_probability": self.sweep.probability,
            "damage": max(damages, default=0.0),
            "damage_of_batches": damages,
            "engine_error": self.sweep.error,
            "engines_used": ", ".join(self.sweep.used),
            "quantum_memory": f"{short(self.device.cost.qubits)} qubits",
            "hypothesis": f"{type(s).__name__} with {count_of(s.updates, 'update')}",
        }
        return out if self.log is None else {**out, "sweep": self.log}
