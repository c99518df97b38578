"""What a training reads from a device: outputs and gradients, both from shots, in one batch of jobs a step.

The weights of a step's gradient are the loss's derivatives by the outputs, which are known only once the outputs are
read. They enter what is made of a plan's counts, and of most plans not which circuits are run: then outputs and
gradient are one round. A plan that draws terms by their weights waits for the outputs and is a second one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.model import Model
from quprop.sampling.devices.check import digest
from quprop.sampling.devices.circuits import PlanCircuits, executed, merged
from quprop.sampling.devices.device import Counts, Work
from quprop.sampling.devices.measurement import Measurement
from quprop.sampling.devices.packing import DIGITS
from quprop.sampling.estimate import Estimate
from quprop.sampling.readings import ObservableReadings
from quprop.sampling.requests import Placed, Reader, Realiser
from quprop.sampling.sampler import Drawn

VALUE_SHOTS = 1000


class Outputs:
    """Circuits that read <O_k> for samples, (B, K), and what their counts say."""

    def __init__(
        self,
        readings: ObservableReadings,
        measurement: Measurement,
        circuits: Realiser,
        theta: np.ndarray,
        x: np.ndarray,
        shots: int,
    ) -> None:
        self._readings, self._measurement, self.samples = readings, measurement, len(x)
        rng = np.random.default_rng(0)  # nothing is drawn: strings are read together
        requests = readings.requests(np.broadcast_to(theta, (len(x), len(theta))), x, shots, keep=True)
        self._placed: list[Placed] = [r.place(circuits, rng) for r in requests]
        self.work, self._places = merged([w for p in self._placed for w in p.work])
        self._drawn: list[list[Drawn]] = []  # at each scale of the noise

    @property
    def cost(self) -> Cost:
        run = [w for part in self._measurement.folded(self._measurement.alike(self.work)) for w in part]
        return executed(run) + Cost(classical_ops=len(self._drawn) * sum(p.classical_ops for p in self._placed))

    def read(self, counts: Sequence[Counts]) -> np.ndarray:
        """counts: at each scale."""
        inversion = self._measurement.inversion()
        readers = [self._measurement.reader(s, inversion) for s in range(len(counts))]
        self._drawn = [self._answers(c, reader) for c, reader in zip(counts, readers, strict=True)]
        values = self._extrapolated(self._drawn)
        self._moved = []  # by the error of each probability that was calibrated
        for other in () if inversion is None else inversion.moved():
            drawn = [self._answers(c, self._measurement.reader(s, other)) for s, c in enumerate(counts)]
            self._moved.append(self._extrapolated(drawn) - values)
        return values

    def _extrapolated(self, drawn: Sequence[Sequence[Drawn]]) -> np.ndarray:
        return self._measurement.weighted([self._readings.values(d, self.samples) for d in drawn], self.work)

    def _answers(self, counts: Counts, reader: Reader) -> list[Drawn]:
        places = iter(self._places)
        return [p.read([counts[i][j] for w in p.work for i, j in next(places)], reader) for p in self._placed]

    def error(self, weights: np.ndarray) -> float:
        """The standard error of sum weights[b, k] <O_k>_b."""
        variances = np.array([self._readings.variance(drawn, weights) for drawn in self._drawn])
        of_calibration = sum(float((weights * moved).sum()) ** 2 for moved in self._moved)
        return float(np.sqrt(self._measurement.coefficients(self.work) ** 2 @ variances + of_calibration))


class MeasuredModel:
    """Outputs and gradients of a model on a device.

    value_shots: of each circuit that reads outputs, for each sample.
    """

    def __init__(self, model: Model, measurement: Measurement, value_shots: int = VALUE_SHOTS) -> None:
        self.model, self.measurement, self.value_shots = model, measurement, value_shots
        self.runner = measurement.runner
        self._readings, self._realiser = ObservableReadings(model), Realiser(model)
        self._together: tuple[Any, bool] | None = None

    def check(self, plan: Any, theta: np.ndarray, x: np.ndarray | None) -> None:
        """Refuses a plan without circuits, and circuits that the device does not take, before anything is paid."""
        one = None if x is None else x[:1]
        outputs = self._outputs(theta, one)
        circuits = self._circuits(plan, theta, one, np.ones((1, self.model.n_observables)), 0)
        self.measurement.check(circuits)
        self.measurement.prepare([*outputs.work, *circuits.work])

    def outputs(self, theta: np.ndarray, x: np.ndarray | None, key: str) -> tuple[np.ndarray, Outputs]:
        """<O_k> (B, K)."""
        found = self._outputs(theta, x)
        return found.read(self._run(found.work, key)), found

    def step(
        self,
        plan: Any,
        theta: np.ndarray,
        x: np.ndarray | None,
        through: Callable[[np.ndarray], np.ndarray],
        seed: int,
        key: str,
        known: np.ndarray | None = None,
    ) -> tuple[np.ndarray, Outputs, Estimate]:
        """Outputs (B, K), and the gradient of sum_k w_bk <O_k> for each sample, w (B, K) = through(outputs).

        seed: of what the plan draws by itself. known: w, where it is the same for all outputs.
        """
        first = np.ones((1 if x is None else len(x), self.model.n_observables)) if known is None else known
        outputs, counts = self._outputs(theta, x), None
        circuits = self._circuits(plan, theta, x, first, seed)
        if known is None and not self._one_round(plan, circuits, theta, x, seed):
            values = outputs.read(self._run(outputs.work, f"{key}-outputs"))
            circuits = self._circuits(plan, theta, x, through(values), seed)
        else:
            both = self._run([*outputs.work, *circuits.work], f"{key}-both")
            values = outputs.read([found[: len(outputs.work)] for found in both])
            counts = [found[len(outputs.work) :] for found in both]
            if known is None:
                asked, circuits = circuits, self._circuits(plan, theta, x, through(values), seed)
                if digest(asked.work, DIGITS) != digest(
                    circuits.work, DIGITS
                ):  # such as where all weights of a sample vanish
                    counts = None
        return values, outputs, self.measurement.estimate(circuits, key, counts, propagate=False)

    def _run(self, work: list[Work], key: str) -> list[Counts]:
        return self.measurement.run(self.measurement.alike(work), key)

    def _outputs(self, theta: np.ndarray, x: np.ndarray | None) -> Outputs:
        some = np.zeros((1, 0)) if x is None else x
        return Outputs(self._readings, self.measurement, self._realiser, theta, some, self.value_shots)

    def _circuits(
        self, plan: Any, theta: np.ndarray, x: np.ndarray | None, weights: np.ndarray, seed: int
    ) -> PlanCircuits:
        found: PlanCircuits = plan.circuits(theta, x, weights=weights[0] if x is None else weights, rng=seed)
        return found

    def _one_round(self, plan: Any, circuits: PlanCircuits, theta: np.ndarray, x: np.ndarray | None, seed: int) -> bool:
        """Whether the circuits of a plan are the same for other weights."""
        if self._together is None or self._together[0] is not plan:
            shape = (1 if x is None else len(x), self.model.n_observables)
            other = self._circuits(plan, theta, x, np.random.default_rng(0).uniform(0.5, 2.0, shape), seed)
            self._together = plan, digest(other.work, DIGITS) == digest(circuits.work, DIGITS)
        return self._together[1]
