"""The exact hypothesis: matrix multiplicative weights, and maximum entropy, on a dense 2^n x 2^n matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy as shallow_copy

import numpy as np

from quprop.collective.hypothesis.max_entropy import EIGH_OPS, LogSpectrum, MeasuredValues, weights_of
from quprop.collective.hypothesis.protocol import count, measured, number, positive, require_held, tempering
from quprop.collective.hypothesis.vectors import INNER_OPS, applied, expectations, rotate
from quprop.errors import QupropError
from quprop.model.pauli import PauliString


class DenseHypothesis:
    """sigma = V diag(p) V†, log sigma = V diag(h) V† + const: exact multiplicative weights, mistake bound included.

    What is kept is the eigenbasis V in the current frame and the eigenvalues. Since sigma and its logarithm share V, a
    rotation is V <- R V, on one side only (4^n complex numbers, half of turning sigma, a quarter of turning sigma and
    its logarithm), and a prediction sum_k p_k <v_k|P|v_k> reads V once. An update diagonalises diag(h) + (step/2) V†PV:
    8^n work, which is why updates and not rotations dominate. Before the first update sigma is 1/2^n in every frame and
    nothing is held or done.

    **Measured values.** After ``learn`` sigma is the state of maximum entropy, relative to what it was before the first
    value, given all values b_t that were learned, with Gaussian errors e_t:

        sigma = exp(H0 + sum_t h_t A_t)/Z,      h minimising log Z(h) - h.b + sum_t e_t^2 h_t^2/2,

    H0 = log sigma then, A_t the t-th observable carried to the frame of that time (`max_entropy.py`). ``update`` adds
    to H0. One learn lowers that function by g^2/(2 (1 + e_t^2)) or more, g = |b_t - tr(sigma A_t)| as it was predicted,
    because the step g/(1 + e_t^2) of h_t alone does (Golden-Thompson and Hoeffding, as for ``update``). With exact
    values S(rho || sigma) falls by as much, g^2/2 = 2 (gap of the acceptance probability)^2: `mistake_bound` counts
    learns. With values that are off by d_t,

        sum_t g_t^2/(2 (1 + e_t^2))  <=  S(rho || sigma_0) + sum_t (|h_t d_t| - e_t^2 h_t^2/2)

    with the last h: errors of values cost |h_t d_t|, no more than d_t^2/(2 e_t^2) each.

    At most ``most_values`` values are held: before another comes the oldest is made part of H0, h_t A_t as it is, and
    no longer enforced. The default is 64, or what 1 GiB holds of them, 4 at least.

    **Images.** Where all that is not known of the copies is a state tau on fewer dimensions, rho = T tau T†, `image` is
    that map: sigma = T tau T† with tau of maximum entropy on d dimensions. T need not be an isometry where only such
    expectations are asked as it gives. Rotations turn T. `carry` puts another map in its place: values that were
    learned are of tau, and stay.

    Memory: 16 * 4^n bytes held, six times that during an update; n = 9 takes 0.5 ms a rotation or prediction and 0.2 s
    an update on one core, and about 0.6 s a value (four diagonalisations). Values take 16 * 4^n bytes each, what comes
    with the first of them four times that.
    """

    def __init__(self, n: int, *, most_values: int | None = None, image: np.ndarray | None = None) -> None:
        """`image`: T, complex (2^n, d); by default the identity."""
        self.n = count(n, "n")
        self.most_values = _most_values(self.n) if most_values is None else count(most_values, "most_values")
        needed = self.required_bytes(self.n, most_values=self.most_values)
        require_held(needed, f"a DenseHypothesis of {n} qubits", self.n)
        self.updates = 0
        self.classical_ops = 0
        self._vectors: np.ndarray | None = None  # (2^n, 2^n) complex, eigenvectors are columns
        self._logs = np.zeros(0)  # (2^n,) eigenvalues of log sigma up to a constant
        self._weights = np.zeros(0)  # (2^n,) eigenvalues of sigma
        self._values: MeasuredValues | None = None
        # where there are values: V in their frame, so that V(now) V(then)† is all rotations since
        self._then: np.ndarray | None = None
        self._mapped = image is not None
        if image is not None:
            self._vectors, d = self._map(image), np.shape(image)[1]
            self._logs, self._then = np.zeros(d), np.eye(d, dtype=complex)
            self._weights = weights_of(self._logs)
            self._values = MeasuredValues(LogSpectrum(self._then, self._logs), self.most_values)

    def carry(self, image: np.ndarray) -> None:
        """The same tau under another map T, and so in another frame."""
        if not self._mapped or self._then is None:
            raise QupropError("only a hypothesis that was made with an image carries what it learned to another one")
        self._vectors = self._map(image) @ self._then
        self.classical_ops += 4 * self._vectors.size * len(self._then)

    def _map(self, image: np.ndarray) -> np.ndarray:
        out = np.array(image, complex)
        d = out.shape[-1] if self._vectors is None else self._vectors.shape[1]
        if out.shape != (2**self.n, d):
            raise QupropError(f"an image here has shape ({2**self.n}, {d}), got {np.shape(image)}")
        return out

    @staticmethod
    def required_bytes(n: int, *, most_values: int | None = None) -> int:
        """The most it holds at any moment: the A_t, and while a value is learned V now and in their frame, H0, the
        eigenvectors of the start and of the best try, the rotations since, and sigma with what diagonalises it."""
        return (18 + (_most_values(n) if most_values is None else most_values)) * 16 * 4**n

    @property
    def classical_bytes(self) -> int:
        if self._vectors is None:
            return 0
        own = self._vectors.nbytes + self._logs.nbytes + self._weights.nbytes
        return own + (0 if self._values is None or self._then is None else self._values.nbytes + self._then.nbytes)

    def predict(self, pauli: PauliString) -> float:
        pauli, sign = positive(pauli, self.n)
        if pauli.weight == 0:
            return float(sign)
        if self._vectors is None:
            return 0.0
        self.classical_ops += INNER_OPS * self._vectors.size
        return sign * min(1.0, max(-1.0, float(self._weights @ expectations(self._vectors, pauli))))

    def update(self, pauli: PauliString, step: float) -> None:
        pauli, sign = positive(pauli, self.n)
        half = sign * number(step, "step") / 2
        self.updates += 1
        if pauli.weight == 0:
            return  # a multiple of the identity is taken away by the normalisation
        self._start()
        assert self._vectors is not None
        self._exponentiate(applied(self._vectors, pauli), half)

    def predict_matrix(self, observable: np.ndarray) -> float:
        """tr(sigma A) of a Hermitian matrix (2^n, 2^n): what `predict` is for events that are no Pauli strings."""
        matrix = self._fitting(observable)
        if self._vectors is None:
            return float(np.trace(matrix).real) / 2**self.n
        self.classical_ops += 4 * len(matrix) ** 3
        return float(self._weights @ np.einsum("jk,jk->k", self._vectors.conj(), matrix @ self._vectors).real)

    def update_matrix(self, observable: np.ndarray, step: float) -> None:
        """log sigma += step * A, renormalised, for a Hermitian matrix (2^n, 2^n)."""
        matrix = self._fitting(observable)
        step = number(step, "step")
        self.updates += 1
        self._start()
        assert self._vectors is not None
        self._exponentiate(matrix @ self._vectors, step)
        self.classical_ops += 4 * len(matrix) ** 3

    def learn(self, pauli: PauliString, value: float, error: float) -> None:
        pauli, sign = positive(pauli, self.n)
        value, error = measured(value, error, sign)
        if pauli.weight:
            self._learn(lambda turn: applied(turn, pauli), value, error, 1.0)

    def learn_matrix(self, observable: np.ndarray, value: float, error: float) -> None:
        """`learn` for a Hermitian matrix A (2^n, 2^n): tr(rho A) was measured to be ``value``, which counts as the
        nearest eigenvalue where it is outside their range."""
        matrix = self._fitting(observable)
        _, error = measured(0.0, error)
        ends = np.linalg.eigvalsh(matrix)[[0, -1]]
        value = float(np.clip(number(value, "value"), *ends))
        if ends[0] < ends[1]:
            self._learn(lambda turn: matrix @ turn, value, error, float(ends[1] - ends[0]) / 2)
            self.classical_ops += 4 * len(matrix) ** 3

    def _learn(self, apply: Callable[[np.ndarray], np.ndarray], value: float, error: float, half_range: float) -> None:
        self._start()
        assert self._vectors is not None
        dim = len(self._logs)
        if self._values is None or self._then is None:
            self._values = MeasuredValues(LogSpectrum(self._vectors, self._logs), self.most_values)
            turn = np.eye(dim, dtype=complex)
        else:
            turn = self._vectors @ self._then.conj().T  # all rotations since the first value
        predicted = float(self._weights @ np.einsum("jk,jk->k", self._vectors.conj(), apply(self._vectors)).real)
        spectrum, ops = self._values.learn(turn.conj().T @ apply(turn), value, error, predicted, half_range)
        self._then, self._logs, self._weights = spectrum.vectors, spectrum.logs, weights_of(spectrum.logs)
        self._vectors = turn @ self._then
        self.updates += 1
        self.classical_ops += ops + 3 * 4 * dim * self._vectors.size

    def temper(self, factor: float) -> None:
        """log sigma *= factor in [0, 1], renormalised. Values learned so far become part of H0 and are no longer
        enforced: for a state that is near the one they were measured on."""
        factor = tempering(factor)
        if self._vectors is not None:
            self._logs = self._logs * factor
            self._weights = weights_of(self._logs)
        if self._mapped and self._then is not None:
            self._values = MeasuredValues(LogSpectrum(self._then, self._logs), self.most_values)
        else:
            self._values = self._then = None

    def best_temper(self, candidates: Sequence[float] = (0.0, 0.25, 0.5, 0.65, 0.8, 0.9, 1.0)) -> float:
        """Which factor of `temper`, used on sigma before the first of the present values, would have predicted them
        with the smallest mean squared error; of equal ones the largest, as where there are no values or sigma started
        as 1/2^n."""
        known = sorted((number(c, "a candidate") for c in candidates), reverse=True)
        if not known or not 0 <= known[-1] <= known[0] <= 1:
            raise QupropError(f"`candidates` are one or more numbers in [0, 1], got {candidates!r}")
        return known[0] if self._values is None else self._values.best_temper(known)

    def _fitting(self, observable: np.ndarray) -> np.ndarray:
        matrix = np.asarray(observable)
        if self._mapped:
            raise QupropError("a hypothesis with an image takes Pauli strings, got a matrix; make one without")
        if matrix.shape != (2**self.n, 2**self.n):
            raise QupropError(
                f"the hypothesis has {self.n} qubits and takes matrices of size {2**self.n}, got shape {matrix.shape}"
            )
        return matrix

    def _start(self) -> None:
        if self._vectors is None:
            self._vectors, self._logs = np.eye(2**self.n, dtype=complex), np.zeros(2**self.n)
            self._weights = weights_of(self._logs)

    def _exponentiate(self, turned: np.ndarray, step: float) -> None:
        """log sigma += step * A, from `turned` = A V."""
        assert self._vectors is not None
        dim = len(self._logs)
        inside = self._vectors.conj().T @ turned  # V† A V
        inside *= step
        if self._values is not None and self._then is not None:
            self._values.add(self._then @ inside @ self._then.conj().T)
            self.classical_ops += 2 * 4 * dim**3
        inside[np.diag_indices(dim)] += self._logs
        self._logs, turn = np.linalg.eigh(inside)
        self._vectors = self._vectors @ turn
        if self._then is not None:
            self._then = self._then @ turn
            self.classical_ops += 4 * dim**3
        self._logs -= self._logs[-1]
        self._weights = weights_of(self._logs)
        self.classical_ops += (2 * 4 + EIGH_OPS) * dim**3

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli, sign = positive(pauli, self.n)
        angle = sign * number(angle, "angle")
        if self._vectors is not None:
            self.classical_ops += rotate(self._vectors, pauli, angle)

    def copy(self) -> DenseHypothesis:
        twin = shallow_copy(self)
        twin._vectors = None if self._vectors is None else self._vectors.copy()
        twin._values = None if self._values is None else self._values.copy()
        return twin  # the rest is replaced, never changed in place

    def matrix(self) -> np.ndarray:
        """sigma in the current frame, complex (2^n, 2^n)."""
        if self._vectors is None:
            return np.eye(2**self.n, dtype=complex) / 2**self.n
        return (self._vectors * self._weights) @ self._vectors.conj().T


def _most_values(n: int) -> int:
    return max(4, min(64, 2**30 // (16 * 4**n)))
