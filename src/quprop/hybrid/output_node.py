"""OutputNode: an output of a model's state as a node, in real numbers; programs put complex ones together themselves.

With psi the state, psi' its derivative along u and f the output, all five functions of a node come from states along a
direction (`state_jet`) and their one sweep back:

    push   Df psi'                           hess   the gradient of c . Df psi', whose costates are those of f at psi
    curve  D^2 f(psi', psi') + Df psi''             and their derivative along psi'
           at u + w less that at u - w, a quarter of it
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from quprop.errors import QupropError
from quprop.hybrid.node import Node, Pair
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.outputs import Amplitudes, Entropy, Output, Probabilities, Purity, ReducedState, StateOverlap
from quprop.outputs.clifford import clifford_of
from quprop.outputs.functions import StateSweep, jet_engine
from quprop.simulate import Call, Composite, in_range, quiet

_KINDS = (Amplitudes, Entropy, Probabilities, Purity, ReducedState, StateOverlap)
_WORDS = {"probabilities": Probabilities, "amplitudes": Amplitudes}


def check_output(what: str, model: Model | Composite, output: Any) -> Output:
    """An output of this model, from an object or a word; or one sentence."""
    if isinstance(output, str) and output in _WORDS:
        output = _WORDS[output]()
    if not isinstance(output, Output):
        names = ", ".join(kind.__name__ for kind in _KINDS)
        raise QupropError(
            f'output is one of qpr.outputs ({names}), "probabilities" or "amplitudes", or None for expectation values, '
            f"got {output!r}"
        )
    if not isinstance(model, Model):
        raise QupropError(f"{what} has outputs of the states of a Model, got {type(model).__name__}; leave output= out")
    refuse_channels(model, f"an output of the state in {what}")
    output.check(model.n_qubits)
    return output


class OutputNode(Node):
    """The node of an output. `sizes` counts a complex number as two."""

    model: Model

    def __init__(
        self, model: Any, output: Output, precision: str = "double", threads: int | None = None, engine: Any = None
    ) -> None:
        super().__init__(model, precision, threads, engine)
        self.output = output

    @property
    def key(self) -> tuple[Any, ...]:
        return (*super().key, self.output)

    @property
    def shape_of_output(self) -> tuple[int, ...]:
        return self.output.shape(self.model.n_qubits)

    def sizes(self, of: str) -> tuple[int, ...]:
        known = {"K": self.output.size(self.model.n_qubits), "P": self.model.n_params, "D": self.model.n_inputs}
        return tuple(known[letter] for letter in of)

    def _jets(self) -> NoReturn:
        raise QupropError(
            f"derivatives of {type(self.output).__name__} are exact up to the second, and a third was asked for; "
            "differentiate twice at most"
        )

    def value(self, theta: np.ndarray, x: np.ndarray | None) -> np.ndarray:
        if 0 in (S := self.shape(theta, x)):
            return self.nothing(S, "K")[0]
        return self._vjp(theta, x)[0]

    def _vjp(self, theta: np.ndarray, x: np.ndarray | None) -> tuple[np.ndarray, Callable[..., Pair]]:
        S = self.shape(theta, x)
        if 0 in S:
            values, d_theta, d_x = self.nothing(S, "KPD")
            return values, lambda c, sum_theta=False: (np.zeros(self.model.n_params) if sum_theta else d_theta, d_x)
        sweep = StateSweep(self.model, theta, x, self.engine, self.precision, self.threads)
        self.output.check(self.model.n_qubits, sweep.call.batch)
        K = self.sizes("K")[0]

        def pullback(c: np.ndarray, sum_theta: bool = False) -> Pair:
            rows = np.broadcast_to(np.asarray(c, float), (*S, K)).reshape(sweep.call.batch, K)
            return sweep.pull(self.output.costates(sweep.states, rows), sum_theta)

        return self.output.value(sweep.states).reshape(*S, K), pullback

    def _jet(
        self, S: tuple[int, ...], theta: np.ndarray, x: Any, u_theta: np.ndarray, u_x: Any, order: int
    ) -> tuple[np.ndarray, Callable[..., tuple[np.ndarray, ...]]]:
        """States along u behind the Clifford, (order + 1, B, 2^n), and the sweep back from costates there."""
        model = self.model
        theta, x = self._whole(S, theta, x)
        call = Call(model, theta, x, self.engine, self.precision, self.threads, "state_jet")
        self.output.check(model.n_qubits, call.batch)
        rows = [
            np.ascontiguousarray(np.broadcast_to(np.asarray(u, float), (*S, size)).reshape(math.prod(S), size))
            for u, size in ((u_theta, model.n_params), (np.zeros(0) if u_x is None else u_x, model.n_inputs))
        ]
        engine = jet_engine(call.engine, self.precision, self.threads)
        with quiet():
            states, pull = engine.state_jet(model, call.theta, call.x, *rows, order)
        clifford = clifford_of(model)
        return clifford.apply(states), lambda costates: pull(clifford.adjoint(costates))

    def push(self, theta: np.ndarray, x: np.ndarray | None, u_theta: np.ndarray, u_x: np.ndarray | None) -> np.ndarray:
        if 0 in (S := self.shape(theta, x, u_theta, u_x)):
            return self.nothing(S, "K")[0]
        jet, _ = self._jet(S, theta, x, u_theta, u_x, 1)
        return self._told(S, self.output.along(jet)[1])

    def hess(
        self, theta: np.ndarray, x: np.ndarray | None, c: np.ndarray, u_theta: np.ndarray, u_x: np.ndarray | None
    ) -> Pair:
        if 0 in (S := self.shape(theta, x, c, u_theta, u_x)):
            return self.nothing(S, "PD")  # type: ignore[return-value]
        jet, pull = self._jet(S, theta, x, u_theta, u_x, 1)
        rows = np.broadcast_to(np.asarray(c, float), (*S, c.shape[-1])).reshape(len(jet[0]), -1)
        output = self.output
        d_theta, d_x, *_ = pull(np.stack([output.costates_along(jet[0], jet[1], rows), output.costates(jet[0], rows)]))
        in_range("the Hessian-vector product", self.precision, d_theta, d_x)
        return d_theta.reshape(*S, -1), d_x.reshape(*S, self.model.n_inputs)

    def curve(
        self,
        theta: np.ndarray,
        x: np.ndarray | None,
        u_theta: np.ndarray,
        u_x: np.ndarray | None,
        w_theta: np.ndarray,
        w_x: np.ndarray | None,
    ) -> np.ndarray:
        if 0 in (S := self.shape(theta, x, u_theta, u_x, w_theta, w_x)):
            return self.nothing(S, "K")[0]
        u, u_size = _unit(S, u_theta, u_x)
        w, w_size = _unit(S, w_theta, w_x)
        bent = [
            self.output.along(self._jet(S, theta, x, _moved(u[0], w[0], sign), _moved(u[1], w[1], sign), 2)[0])[2]
            for sign in (1, -1)
        ]
        return self._told(S, (bent[0] - bent[1]) / 4) * (u_size * w_size)

    def _told(self, S: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
        in_range("the derivative", self.precision, rows)
        return rows.reshape(*S, math.prod(rows.shape[1:]))


def _moved(a: np.ndarray | None, b: np.ndarray | None, sign: int) -> Any:
    return None if a is None or b is None else a + sign * b


def _unit(S: tuple[int, ...], d_theta: np.ndarray, d_x: np.ndarray | None) -> tuple[tuple[Any, Any], np.ndarray]:
    """A direction with largest entry 1 (so that u + w and u - w differ by both), and what it was: (*S, 1)."""
    parts = [np.asarray(d, float) for d in (d_theta, d_x) if d is not None]
    peaks = [np.abs(p).max(axis=-1, keepdims=True, initial=0.0) for p in parts]
    size = np.broadcast_to(np.maximum.reduce(np.broadcast_arrays(*peaks)), (*S, 1))
    safe = np.where(size == 0, 1.0, size)
    return (d_theta / safe, None if d_x is None else d_x / safe), size
