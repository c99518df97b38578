"""The distribution of a model's measured bits, and the derivative of any function of it: one sweep forwards, one
back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import stim
from scipy.sparse import eye_array

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.simulate import get_engine
from quprop.simulate.commuting.form import CommutingForm
from quprop.simulate.vectors import apply_clifford


def check_bits(model: Any, n: int, what: str) -> None:
    """Refuse, for `what`, "the ... loss", a model whose first n qubits' bits have no distribution of their own."""
    if isinstance(model, Model):
        refuse_channels(model, what)
    if not isinstance(model, Model) or model.n_inputs:
        raise QupropError(f"{what} looks at the bits of a Model without inputs, got {model!r}")
    if n > model.n_qubits:
        raise QupropError(
            f"{what} is of {n} bits a sample, but the model has {model.n_qubits} qubits; give what is of its first, "
            "measured qubits"
        )


class BitDistribution:
    """p(theta) of the bits of a model's first n qubits, (2^n,), qubit q being bit q of the index.

    With psi = C U |phi>, C the residual Clifford, and g the derivative of a loss by p, the costate of the sweep back is
    2 C^-1 (g psi).
    """

    def __init__(self, model: Model, n: int, **options: Any) -> None:
        self.n, self.n_qubits = n, model.n_qubits
        self._engine = get_engine(**options)
        self._bare, self._coins = _without_coins(model, self.n)
        self._identity = self._bare.clifford == stim.Tableau(model.n_qubits)

    def memory(self, gradient: bool = True) -> int:
        """Bytes of p, or of its derivative."""
        states = self._engine.memory(self._bare, 1, "state_vjp" if gradient else "states")
        return states + 8 * (8 if gradient else 6) * (1 << self.n_qubits)

    def probabilities(self, theta: np.ndarray) -> np.ndarray:
        """p (2^n,)."""
        return self.vjp(theta)[0]

    def vjp(self, theta: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """p, and the function from the derivative (2^n,) of a loss by p to that by theta (P,)."""
        psi, pull = self._engine.state_vjp(self._bare, theta[None], np.empty((1, 0)))
        psi = psi[0]
        final = psi if self._identity else apply_clifford(self._bare.clifford, psi)
        p = (final.real**2 + final.imag**2).reshape(-1, 1 << self.n).sum(axis=0)

        def pullback(slope: np.ndarray) -> np.ndarray:
            costate = 2 * (final.reshape(-1, 1 << self.n) * self._tossed(slope)).ravel()
            if not self._identity:
                # Undone up to a phase, which the state itself tells.
                back = self._bare.clifford.inverse()
                phase = np.vdot(psi, apply_clifford(back, final))
                costate = apply_clifford(back, costate) / phase
            return np.asarray(pull(costate[None])[0][0])

        return self._tossed(p), pullback

    def _tossed(self, v: np.ndarray) -> np.ndarray:
        """The mean over what the coins flip."""
        for mask in self._coins:
            v = (v + v[np.arange(len(v)) ^ mask]) / 2
        return v


def _without_coins(model: Model, n: int) -> tuple[Model, list[int]]:
    """An IQP circuit whose Clifford gates only let coins flip measured bits, without these, and the bits that each coin
    flips; any other model as it is."""
    try:
        measured = CommutingForm.of(model).measured(n)
    except QupropError:
        return model, []
    if measured is None or (measured.signs < 0).any() or (measured.flips != eye_array(n, model.n_qubits)).nnz:
        return model, []
    masks = [sum(1 << int(q) for q in np.flatnonzero(coin)) for coin in measured.coins.toarray().T if coin.any()]
    return model._replace(clifford=stim.Tableau(model.n_qubits)), masks
