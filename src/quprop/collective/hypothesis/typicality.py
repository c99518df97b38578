"""A hypothesis held as a few random vectors, sigma ~ sum_v e^{H/2}|v><v|e^{H/2} / norm: up to 20 qubits and more."""

from __future__ import annotations

from copy import copy as shallow_copy
from typing import NamedTuple

import numpy as np

from quprop.collective.hypothesis.krylov import LANCZOS_OPS, exp_half
from quprop.collective.hypothesis.protocol import (
    count,
    learn_by_steps,
    measured,
    number,
    positive,
    require_held,
    tempering,
)
from quprop.collective.hypothesis.round_trip import RoundTrip
from quprop.collective.hypothesis.vectors import (
    INNER_OPS,
    boost,
    combine,
    dtype_of,
    expectations,
    norm_of,
    rotate,
    start_vectors,
)
from quprop.errors import QupropError
from quprop.model.pauli import PauliString


class SigmaChange(NamedTuple):
    """What happened to sigma: a rotation by ``amount``, or an update H += amount * P."""

    is_update: bool
    pauli: PauliString
    amount: float


class TypicalityHypothesis:
    """tr(sigma A) from ``vectors`` random vectors through e^{H/2}, H = log sigma, each rotated along with the circuit.

        tr(sigma A) ~ sum_v <v|e^{H/2} A e^{H/2}|v> / sum_v <v|e^H|v>

    with v Gaussian (canonical typicality; the estimator of Jaklic and Prelovsek, Phys. Rev. B 49, 5065). Its error is
    about sqrt(tr sigma^2 / vectors): at n = 8 and H = 0 it is 0.06 for one vector and 0.015 for 16. 2^n vectors or more
    are the basis instead, and no error.

    ``refresh`` is what an update does with the vectors w = e^{H/2} v:

    - ``"product"`` (default): w <- e^{step P/4} w, one Pauli and no memory of the past. sigma becomes K sigma K with
      K = e^{step P/4}, which is the update itself when P commutes with H. In general H + step P/2 is replaced by
      log(K e^H K), whose first-order change has the elements of P in the eigenbasis of H multiplied by
      (y/2) coth(y/2) = 1 + y^2/12 - ..., y = h_i - h_j. Being a palindrome, K_T ... K_1 K_1 ... K_T differs from the
      exponential of the sum by nested commutators of third order in the steps. So the mistake bound is proven for
      commuting triggers only; elsewhere the number of updates is measured: with all 2^n vectors 0.9 to 1.1 times that
      of :class:`DenseHypothesis` (GHZ, product, Haar and random-circuit states, gaps 0.25 to 0.05, n = 5 to 8).
    - ``"exact"``: e^{H/2} on the random vectors anew, by Lanczos, to relative accuracy ``tolerance``. H x = sum_t h_t
      A_t x is one pass forward and one backward over the rotations since the first update, however many triggers there
      are. An update costs about 10 such passes; for small models, to compare. History grows with the rotations.

    **Measured values.** In product form ``learn`` goes back through all rotations since the first value, to the place
    of each, meets it exactly there with one K = e^{c P/2}, and comes forward again likewise, up to four times or until
    all are within their errors (`round_trip.py`). sigma is then a product of such K, near maximum entropy: measured on
    circuits near the identity, n = 4 to 8, 1.0 to 1.5 times the triggers of :class:`DenseHypothesis`, a third of those
    of ``update``. A trip takes each vector twice through every rotation, 30 us a rotation in the native engine for 16
    vectors of 13 qubits; rotations are held, 1 kB each. With "exact" ``learn`` is a few updates and keeps no earlier
    value.

    Before the first update sigma is 1/2^n: predictions are 0, nothing is done. A rotation touches vectors * 2^n
    numbers, 0.6 ms per vector at n = 17. ``precision`` "single" halves memory. ``rng`` is a seed or Generator.
    """

    def __init__(
        self,
        n: int,
        vectors: int = 16,
        rng: int | np.random.Generator = 0,
        *,
        refresh: str = "product",
        tolerance: float = 1e-8,
        precision: str = "double",
    ) -> None:
        self.n = count(n, "n")
        k = count(vectors, "vectors")
        if refresh not in ("product", "exact"):
            raise QupropError(f"`refresh` must be 'product' or 'exact', got {refresh!r}; 'product' is the fast one")
        if not 0 < tolerance < 1:
            raise QupropError(f"`tolerance` must be in (0, 1), got {tolerance}; 1e-8 is the default")
        dtype = dtype_of(precision)
        require_held(self.required_bytes(n, k, refresh, precision), f"a TypicalityHypothesis of {n} qubits", n)
        self.updates = 0
        self.classical_ops = 0
        self.tolerance = tolerance
        self._exact = refresh == "exact"
        self._history: list[SigmaChange] = []  # only with refresh="exact": since the first update
        self._vectors = start_vectors(self.n, k, np.random.default_rng(rng)).astype(dtype)
        self._seeds = self._vectors.copy() if self._exact else None
        self._precision = precision
        self._trip = RoundTrip(self.n, precision)  # only with refresh="product"
        self._norm = norm_of(self._vectors)

    @staticmethod
    def required_bytes(n: int, vectors: int = 16, refresh: str = "product", precision: str = "double") -> int:
        """The most it holds in vectors: in a round trip six copies; "exact" about 24 (Krylov vectors)."""
        copies = 6 if refresh == "product" else 24
        return copies * np.dtype(dtype_of(precision)).itemsize * min(vectors, 2**n) * 2**n

    @property
    def classical_bytes(self) -> int:
        seeds = 0 if self._seeds is None else self._seeds.nbytes
        return self._vectors.nbytes + seeds + 64 * len(self._history) + self._trip.nbytes

    def predict(self, pauli: PauliString) -> float:
        pauli, sign = positive(pauli, self.n)
        if pauli.weight == 0:
            return float(sign)
        if not self.updates:
            return 0.0
        self.classical_ops += INNER_OPS * self._vectors.size
        return sign * min(1.0, max(-1.0, float(expectations(self._vectors, pauli).sum()) / self._norm))

    def update(self, pauli: PauliString, step: float) -> None:
        pauli, sign = positive(pauli, self.n)
        half = sign * number(step, "step") / 2
        self.updates += 1
        if pauli.weight == 0:
            return
        if self._exact:
            self._history.append(SigmaChange(True, pauli, half))
            self._refresh()
        else:
            self.classical_ops += boost(self._vectors, pauli, half, self._norm)
        self._norm = norm_of(self._vectors)

    def learn(self, pauli: PauliString, value: float, error: float) -> None:
        if self._exact:
            learn_by_steps(self, pauli, value, error)
            return
        pauli, sign = positive(pauli, self.n)
        value, error = measured(value, error, sign)
        if not pauli.weight:
            return
        self.updates += 1
        self._trip.learn(pauli, value, error)
        rows, ops = self._trip.run(self._vectors.T)
        self._vectors = np.ascontiguousarray(rows.T, dtype=self._vectors.dtype)
        self._norm = norm_of(self._vectors)
        self.classical_ops += ops

    def temper(self, factor: float) -> None:
        """log sigma *= factor in [0, 1], renormalised, with ``refresh="exact"``. The product form does not hold log
        sigma: it takes the factor 1 only, after which values learned so far are no longer enforced."""
        factor = tempering(factor)
        if self._exact:
            self._history = [p._replace(amount=factor * p.amount) if p.is_update else p for p in self._history]
            if self._history:
                self._refresh()
                self._norm = norm_of(self._vectors)
        elif factor < 1:
            raise QupropError(
                f"a TypicalityHypothesis in product form has no logarithm to multiply by {factor}; temper a "
                "DenseHypothesis, or make this one with refresh='exact'"
            )
        self._trip = RoundTrip(self.n, self._precision)

    def rotate(self, pauli: PauliString, angle: float) -> None:
        pauli, sign = positive(pauli, self.n)
        angle = sign * number(angle, "angle")
        if not self.updates:
            return  # the vectors are as random in any frame
        if self._exact:
            self._history.append(SigmaChange(False, pauli, angle))
        else:
            self._trip.rotate(pauli, angle)
        self.classical_ops += rotate(self._vectors, pauli, angle)

    def copy(self) -> TypicalityHypothesis:
        twin = shallow_copy(self)
        twin._vectors, twin._history, twin._trip = self._vectors.copy(), self._history.copy(), self._trip.copy()
        return twin  # the seeds are never changed in place

    def matrix(self) -> np.ndarray:
        """sigma as the vectors have it, complex (2^n, 2^n)."""
        if not self.updates:
            return np.eye(2**self.n, dtype=complex) / 2**self.n
        return (self._vectors @ self._vectors.conj().T) / self._norm

    def _refresh(self) -> None:
        """w = U e^{H_0/2} v, with H_0 = H taken back to the frame of the first update and U all rotations since."""
        assert self._seeds is not None
        self._vectors, steps = exp_half(self._log_applied, self._seeds, self.tolerance)
        self.classical_ops += LANCZOS_OPS * steps * self._seeds.size
        for past in self._history:
            if not past.is_update:
                self.classical_ops += rotate(self._vectors, past.pauli, past.amount)

    def _log_applied(self, x: np.ndarray) -> np.ndarray:
        """H_0 x = sum_t h_t U_t† P_t U_t x, U_t the rotations before trigger t: forward with x, back with the sum."""
        k = x.shape[1]
        both = np.concatenate([x, np.zeros_like(x)], axis=1)  # (2^n, 2k): x, and the sum
        forward = both[:, :k].copy()
        for past in self._history:
            if not past.is_update:
                self.classical_ops += rotate(forward, past.pauli, past.amount)
        both[:, :k] = forward
        for past in reversed(self._history):
            if past.is_update:
                moved = both[:, :k].copy()
                self.classical_ops += combine(moved, past.pauli, 0.0, past.amount)
                both[:, k:] += moved
            else:
                self.classical_ops += rotate(both, past.pauli, -past.amount)
        return both[:, k:].copy()
