"""One sweep of quantum backpropagation: checks, measurements, updates, and the books (see `quantum_backprop.py`)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from quprop.collective.check import two_sided
from quprop.collective.event import Event
from quprop.collective.hypothesis import Hypothesis
from quprop.collective.protocol import Copies, Engine
from quprop.cost import short
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice
from quprop.gradients.sweeps.sweep_design import SweepDesign, held_qubits
from quprop.gradients.sweeps.sweep_log import Layer, SweepLog


class Sweep:
    """What one sweep has learned. `sigma` meets the device's answers only: bits of checks and measured frequencies."""

    def __init__(
        self,
        design: SweepDesign,
        circuit: PairCircuit,
        components: Iterable[int],
        engine: Engine,
        device: PairDevice,
        sigma: Hypothesis,
        a: np.ndarray,
        *,
        updates_per_layer: int,
        norm: float,
        explain: bool,
        rng: np.random.Generator,
    ) -> None:
        self.design, self.circuit, self.components, self.engine = design, circuit, set(components), engine
        self.device, self.sigma, self.a = device, sigma, a
        self.updates_per_layer, self.norm, self.rng = updates_per_layer, norm, rng
        self.batch: Copies | None = None
        self.batches = self.triggers = self.false = self.updates = 0
        self.damage: list[float] = []
        self.probability = self.error = 0.0
        self.used = [engine.name]
        self.log = SweepLog(2 * design.eps * norm) if explain else None
        self.measured = np.zeros(len(a), bool)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """<Q_m> (M,) and its error."""
        M, first = len(self.a), min(self.components)
        q, error = np.zeros(M), np.zeros(M)
        for m in range(M - 1, first - 1, -1):
            if m in self.components:
                q[m], error[m] = self._component(m)
            if m > first:
                self.device.undo([] if self.batch is None else [self.batch])
                self.sigma.rotate(self.circuit.undo[m], -float(self.a[m]))
        self._close()
        return q, error

    def _component(self, m: int) -> tuple[float, float]:
        d, string = self.design, self.circuit.read[m]
        event = Event(string)
        if self.batch is None:
            self.batch = self.device.prepare(self.engine, d.k, held_qubits(d.k, 0))
            self.batches += 1
        predicted = self.sigma.predict(string)
        seen, triggered = 0.0, False
        for check in two_sided(event, (1 + predicted) / 2, d.eps, d.batch.noise):
            self.device.answered(1)
            triggered = self.batch.check(check, self.rng)
            seen += self.batch.ledger.latest
            if triggered:
                break
        damage = self.batch.ledger.trace_bound
        if not triggered:
            self._note(m, predicted, seen, None, 0, damage)
            return predicted, 2 * d.reach
        self._close()
        frequency = self.device.frequency(event, d.fresh)
        done = self._learn(m, (1 + predicted) / 2, frequency)
        self.triggers += 1
        self.false += not done
        self.updates += done
        self.measured[m] = True
        q = 2 * frequency - 1
        self._note(m, predicted, seen, q, done, damage)
        return q, 2 * math.sqrt(max(frequency * (1 - frequency), 1 / d.fresh) / d.fresh)

    def _learn(self, m: int, prediction: float, frequency: float) -> int:
        """Multiplicative weights towards a measured frequency; the number of updates."""
        d, string, done = self.design, self.circuit.read[m], 0
        gap = frequency - prediction
        while abs(gap) >= d.update_at and done < self.updates_per_layer:
            self.sigma.update(string, math.copysign(4 * (abs(gap) - d.delta), gap))
            done += 1
            gap = frequency - (1 + self.sigma.predict(string)) / 2
        return done

    def _close(self) -> None:
        if self.batch is not None:
            ledger = self.batch.ledger
            self.damage.append(ledger.trace_bound)
            self.probability += ledger.probability
            self.error = max(self.error, ledger.error)
            if self.batch.name not in self.used:
                self.used.append(self.batch.name)
        self.batch = None

    def _note(self, m: int, predicted: float, probability: float, q: float | None, updates: int, damage: float) -> None:
        if self.log is not None:
            measured = None if q is None else -self.norm * q
            number = self.batches - 1
            self.log.add(
                Layer(
                    m,
                    -self.norm * predicted,
                    probability,
                    q is not None,
                    measured,
                    updates,
                    number,
                    damage,
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
            "batches": self.batches,
            "copies_in_a_batch": d.k,
            "fresh_copies": d.fresh,
            "trigger_probability": self.probability,
            "damage": max(self.damage, default=0.0),
            "damage_of_batches": list(self.damage),
            "engine_error": self.error,
            "engines_used": ", ".join(self.used),
            "quantum_memory": f"{short(self.device.cost.qubits)} qubits",
            "hypothesis": f"{type(s).__name__} with {s.updates} updates",
        }
        return out if self.log is None else {**out, "sweep": self.log}
