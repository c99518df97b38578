"""One sweep of quantum backpropagation on copies of the pair state (see `quantum_backprop.py`), and its log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from quprop.collective.event import Event
from quprop.collective.hypothesis import Hypothesis
from quprop.collective.protocol import CopyEngine, HeldCopies
from quprop.collective.sweep import Answer, Learner, Sweep, SweepRule, Turn
from quprop.cost import short
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice
from quprop.gradients.sweeps.sweep_design import SweepDesign, held_qubits
from quprop.gradients.sweeps.sweep_log import Layer, SweepLog


class _PairLaboratory:
    def __init__(self, device: PairDevice, engine: CopyEngine, design: SweepDesign) -> None:
        self.device, self.engine, self.design = device, engine, design

    def prepare(self) -> HeldCopies:
        return self.device.prepare(self.engine, self.design.k, held_qubits(self.design.k, 0))

    def turn(self, turn: Turn, batch: HeldCopies | None) -> None:
        self.device.undo(batch)

    def answered(self) -> None:
        self.device.answered(1)

    def measure(self, event: Event) -> float:
        return self.device.frequency(event, self.design.fresh)


class BackpropSweep:
    """What one sweep has learned. `sigma` meets the device's answers only: bits of checks and measured frequencies."""

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
        updates_per_layer: int,
        norm: float,
        explain: bool,
        rng: np.random.Generator,
    ) -> None:
        self.design, self.circuit, self.components, self.a = design, circuit, sorted(components, reverse=True), a
        self.device, self.sigma, self.norm = device, sigma, norm
        rule = SweepRule(design.eps, design.batch.noise, design.delta, design.update_at, updates_per_layer)
        self.sweep = Sweep(_PairLaboratory(device, engine, design), Learner(sigma), rule, rng)
        self.triggers = self.false = self.updates = 0
        self.log = SweepLog(2 * design.eps * norm) if explain else None
        self.measured = np.zeros(len(a), bool)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """<Q_m> (M,) and its error."""
        q, error = np.zeros((2, len(self.a)))
        fresh = self.design.fresh
        for m, found in zip(self.components, self.sweep.answers(self._stream()), strict=True):
            q[m], error[m] = found.string, 2 * self.design.reach
            if (frequency := found.measured) is not None:
                self.triggers += 1
                self.false += not found.updates
                self.updates += found.updates
                self.measured[m] = True
                q[m] = 2 * frequency - 1
                error[m] = 2 * math.sqrt(max(frequency * (1 - frequency), 1 / fresh) / fresh)
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
                    found.updates,
                    self.sweep.batches - 1,
                    found.damage,
                    self.device.cost.copies,
                )
            )

    def info(self) -> dict[str, Any]:
        d, s = self.design, self.sigma
        out: dict[str, Any] = {
            "triggers": self.triggers,
            "triggers_without_update": self.false,
            "updates": self.updates,
            "bound": d.bound if d.proven else None,
            "batches": self.sweep.batches,
            "copies_in_a_batch": d.k,
            "fresh_copies": d.fresh,
            "trigger_probability": self.sweep.probability,
            "damage": max(self.sweep.damage, default=0.0),
            "damage_of_batches": list(self.sweep.damage),
            "engine_error": self.sweep.error,
            "engines_used": ", ".join(self.sweep.used),
            "quantum_memory": f"{short(self.device.cost.qubits)} qubits",
            "hypothesis": f"{type(s).__name__} with {s.updates} updates",
        }
        return out if self.log is None else {**out, "sweep": self.log}
