"""How good a trained generative circuit is: beside classical models trained on the same data, by its samples where they
can be drawn, and in pictures.

A rival's `test_mmd2` is of its exact expectation values (bit flips, uniform bits) or of its samples (Boltzmann
machine), with a standard error each, on the data and at the widths of the circuit's own `test_mmd2`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.stats import binom

from quprop import simulate
from quprop.classical.bit_flip import BitFlip
from quprop.classical.boltzmann import boltzmann_machine
from quprop.errors import QupropError
from quprop.model.ansatz_iqp import TRAINED, all_gates
from quprop.model.x_rotations import Subsets
from quprop.problems.generative_figures import covariance_picture, samples_picture
from quprop.simulate.commuting.strings import Moments
from quprop.training.mmd import MMD, MMDEstimate, MMDOverModel, mmd2_of_expectations, one_phase
from quprop.training.optimise import adam
from quprop.training.trained import Trained
from quprop.training.validation import kernel_means, kgel, mmd2

SAMPLED_QUBITS = 28  # whose state is held to draw samples
COMPARED = 10_000  # samples on each side of an MMD by all pairs
WITNESSES, WEIGHED = 10, 5000  # of KGEL, and the test samples that are given weights
_UNIFORM, _BIT_FLIP, _BOLTZMANN, _SHOTS, _PAIRS, _CHOICE = range(6)  # streams of random numbers


@dataclass(frozen=True, eq=False)
class Rivals:
    """What is trained beside the circuit: coins that flip these subsets, and the settings of both rivals."""

    gates: Subsets
    spin_flip: bool | str  # as of `quprop.ansatz.iqp`
    steps: int
    rate: float
    hidden: int
    epochs: int
    boltzmann_rate: float


@dataclass(frozen=True, eq=False)
class SampleVerdict:
    """Called with a finished training and its loss over the model: entries of the summary, files of the run folder."""

    name: str
    loss: MMD
    rivals: Rivals | None
    shots: int
    seed: int
    shape: tuple[int, int] | None  # rows and columns of a sample that is an image

    def __call__(self, trained: Trained, over: MMDOverModel) -> tuple[dict[str, Any], dict[str, bytes]]:
        entries: dict[str, Any] = {}
        drawn = {"data": self.loss.test}
        for key, found, samples in [self._uniform(), *self._trained_rivals()]:
            entries |= {f"{key}_test_mmd2": found.value, f"{key}_test_mmd2_error": found.error}
            if samples is not None:
                drawn[key] = samples
        theta = trained.theta
        p = over.probabilities(theta) if over.whole else None
        samples = self._samples(theta, over, entries)
        files: dict[str, bytes] = {}
        if samples is not None:
            drawn["circuit"] = samples
            found = mmd2(samples, self._some(self.loss.test), self.loss.test_sigma)
            entries |= {"shots": self.shots, "samples_mmd2": found.value, "samples_mmd2_error": found.error}
            buffer = io.BytesIO()
            np.save(buffer, samples)
            files["samples.npy"] = buffer.getvalue()
        if p is not None:
            entries |= total_variations(p, self.loss.data, self.loss.test, samples)
        entries |= self._kgel(drawn, over, p)
        pairs = self._covariances(theta, over)
        away = [float(np.sqrt(np.mean((pairs[which] - pairs["test"]) ** 2))) for which in ("circuit", "train")]
        entries |= {"covariance_error": away[0], "train_covariance_error": away[1]}
        files["covariance.png"] = covariance_picture(self.name, pairs)
        if self.shape is not None:
            means = {"data": self.loss.test.mean(axis=0), "circuit": self._means(theta, over)}
            files["samples.png"] = samples_picture(self.name, self.shape, drawn, means)
        return entries, files

    def _generator(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream])

    def _some(self, samples: np.ndarray, count: int = COMPARED) -> np.ndarray:
        """So many of them, the same every time."""
        if len(samples) <= count:
            return samples
        return samples[np.sort(np.random.default_rng(_CHOICE).permutation(len(samples))[:count])]

    def _expected(self, expectations: Any, stream: int) -> MMDEstimate:
        rng = self._generator(stream)
        return mmd2_of_expectations(expectations, self.loss.test, self.loss.test_sigma, rng)

    def _uniform(self) -> tuple[str, MMDEstimate, None]:
        return "uniform", self._expected(lambda subsets: (subsets.sizes == 0).astype(float), _UNIFORM), None

    def _trained_rivals(self) -> list[tuple[str, MMDEstimate, np.ndarray]]:
        if self.rivals is None:
            return []
        r, n = self.rivals, self.loss.data.shape[1]
        rng, gates, start = self._generator(_BIT_FLIP), r.gates, None
        if r.spin_flip == TRAINED:  # a coin that flips all
            everything = np.arange(n, dtype=np.int32)
            gates = Subsets(np.append(gates.ptr, gates.ptr[-1] + n), np.append(gates.qubits, everything))
        coins = BitFlip(n, gates, r.spin_flip is True)
        if r.spin_flip == TRAINED:
            turned, rows = one_phase(self.loss.data)
            start = coins.start(rows)
            start[-1] = np.arcsin(np.sqrt(turned))
        theta = coins.fit(
            self.loss.data,
            self.loss.sigma,
            steps=r.steps,
            optimiser=adam(r.rate),
            rng=rng,
            operators=self.loss.operators,
            theta=start,
        ).theta

        def expectations(subsets: Subsets) -> np.ndarray:
            ones = np.ones(len(subsets.qubits))
            return coins.expectations(theta, sp.csr_array((ones, subsets.qubits, subsets.ptr), (len(subsets), n)))

        count = min(COMPARED, len(self.loss.test))
        flipped = coins.samples(theta, count, rng)
        rng = self._generator(_BOLTZMANN)
        machine = boltzmann_machine(
            self.loss.data, hidden=r.hidden, epochs=r.epochs, rng=rng, learning_rate=r.boltzmann_rate, batch_size=64
        )
        samples = machine.samples(count, rng)
        return [
            ("bit_flip", self._expected(expectations, _BIT_FLIP), flipped),
            ("boltzmann", mmd2(samples, self._some(self.loss.test), self.loss.test_sigma), samples),
        ]

    def _samples(self, theta: np.ndarray, over: MMDOverModel, entries: dict[str, Any]) -> np.ndarray | None:
        if over.model.n_qubits > SAMPLED_QUBITS:
            entries["no_samples"] = (
                f"{over.model.n_qubits} qubits are beyond the state vector: run the circuit on a machine (qpr.to_qasm)"
            )
            return None
        try:
            rng = self._generator(_SHOTS)
            return np.ascontiguousarray(simulate.samples(over.model, theta, shots=self.shots, rng=rng)[:, : over.n])
        except QupropError as error:  # this machine's memory
            entries["no_samples"] = str(error)
            return None

    def _means(self, theta: np.ndarray, over: MMDOverModel) -> np.ndarray:
        """Of the circuit's bits, (n,)."""
        return (1 - over.expectations(theta, all_gates(over.n, 1), self._generator(_PAIRS))) / 2

    def _covariances(self, theta: np.ndarray, over: MMDOverModel) -> dict[str, np.ndarray]:
        """<Z_i Z_j> - <Z_i> <Z_j> of all pairs i < j: of the data, and of the circuit without samples."""
        n = over.n
        subsets, (a, b) = all_gates(n, 2), np.triu_indices(n, 1)
        found = {
            "train": Moments(self.loss.data).of(subsets),
            "test": Moments(self.loss.test).of(subsets),
            "circuit": over.expectations(theta, subsets, self._generator(_PAIRS)),
        }
        return {key: e[n:] - e[a] * e[b] for key, e in found.items()}

    def _kgel(self, drawn: dict[str, np.ndarray], over: MMDOverModel, p: np.ndarray | None) -> dict[str, Any]:
        """Of the circuit, by exact kernel means if p is known, and of the rivals; none where it is infinite."""
        rows = self.loss.test[np.random.default_rng(_CHOICE).permutation(len(self.loss.test))]
        witnesses, points = rows[:WITNESSES], rows[WITNESSES : WITNESSES + WEIGHED]
        sigma = self.loss.test_sigma
        found: dict[str, Any] = {}
        for key in ("circuit", "bit_flip", "boltzmann"):
            if key == "circuit" and p is not None:
                means = over.kernel_means(p, witnesses)
            elif key in drawn:
                means = kernel_means(drawn[key], witnesses, sigma)
            else:
                if key == "circuit":
                    found["no_kgel"] = "the circuit's kernel means are known of all probabilities or of samples only"
                continue
            try:
                found["kgel" if key == "circuit" else f"{key}_kgel"] = kgel(points, witnesses, means, sigma).divergence
            except QupropError as error:
                found["no_kgel" if key == "circuit" else f"no_{key}_kgel"] = str(error)
        return found


def total_variations(
    p: np.ndarray, train: np.ndarray, test: np.ndarray, samples: np.ndarray | None
) -> dict[str, float]:
    """sum_x |p(x) - q(x)| / 2 of exact probabilities p (2^n,): with q the frequencies in test data; what those in the
    training data have in place of p; and with q the frequencies in samples, beside the mean of that for perfect ones.

    The mean absolute deviation of a binomial count k of N is 2 v (1 - p) P(k = v), v = floor(N p) + 1 (de Moivre).
    """

    def frequencies(bits: np.ndarray) -> np.ndarray:
        index = bits.astype(np.int64) @ (np.int64(1) << np.arange(bits.shape[1]))
        return np.bincount(index, minlength=len(p)) / len(bits)

    q = frequencies(test)
    found = {
        "test_total_variation": float(np.abs(p - q).sum() / 2),
        "train_test_total_variation": float(np.abs(frequencies(train) - q).sum() / 2),
    }
    if samples is not None:
        count = len(samples)
        v = np.floor(count * p) + 1
        expected = (v * (1 - p) * binom.pmf(v, count, np.clip(p, 0, 1))).sum() / count
        found["samples_total_variation"] = float(np.abs(frequencies(samples) - p).sum() / 2)
        found["samples_total_variation_expected"] = float(expected)
    return found
