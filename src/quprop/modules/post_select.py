"""`PostSelected`: expectation values given that chosen qubits are found in chosen states, with their derivatives.

With the projector Pi = prod_q (1 + (-1)^b_q Z_q) / 2 on the outcome b and p = <Pi> its probability,

    F_k = <Pi O_k Pi> / p,

which is a ratio of two expectation values of one model, so that values and derivatives are those of its observables.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from quprop import simulate
from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.model.circuit import Circuit
from quprop.model.dynamic import DynamicCircuit
from quprop.model.model import observables_of
from quprop.model.pauli import PauliString, PauliSum
from quprop.simulate.engine import InPlaceOf

Arrays = tuple[np.ndarray, np.ndarray]
MAX_SELECTED = 12  # qubits: an observable becomes 2^12 times as many strings
# Probability: rounding of eps in both parts of a ratio is eps/p in a value, eps p^-1.5 in a gradient and eps p^-2 in a
# second derivative, at most about 1e-6 from here on.
LEAST = 1e-5


@dataclass(frozen=True, eq=False)
class PostSelected(InPlaceOf):
    """Expectation values <Pi O_k Pi> / <Pi> given that qubits are found in the states of `outcome`.

    circuit: a Circuit or `DynamicCircuit`. observables: as `Model` takes them; the letters that they have on selected
    qubits must be Z, since those qubits are known. outcome: {qubit: 0 or 1}, or {name of a measured bit: 0 or 1}.

    Where values and exact derivatives of a `Model` are asked for, it serves as well: `qpr.expectation`, `vjp`,
    `value_and_grad`, `hvp` and `train`, `QuantumLayer` and the JAX `function`. `probability(theta, x)` is that of the
    outcome, `probability_model` the model whose observable it is.

    Raises: QupropError for outcomes that are not 0 or 1, bits that were not measured, more than 12 selected qubits,
    and in use where the outcome has a probability p below 1e-5: rounding makes errors of about 1e-16 / p in values,
    1e-16 / p^1.5 in gradients and 1e-16 / p^2 in second derivatives.

    >>> theta = qpr.params("theta", 1)
    >>> circuit = qpr.Circuit(2).ry(theta[0], 0).h(1).cx(1, 0)
    >>> selected = qpr.PostSelected(circuit, "Z1", {0: 0})
    >>> selected.probability([0.6]).round(6), qpr.expectation(selected, [0.6]).round(6)  # 1/2, cos(theta)
    (np.float64(0.5), array([0.825336]))
    """

    model: Model = field(repr=False)
    selecting: Model = field(repr=False)
    outcome: tuple[tuple[int, int], ...]

    def __init__(self, circuit: Circuit, observables: Any, outcome: Mapping[int | str, int]) -> None:
        if not isinstance(circuit, Circuit):
            raise QupropError(f"PostSelected takes a Circuit first, got {type(circuit).__name__}")
        chosen = _outcome(circuit, outcome)
        given = observables_of(observables, circuit.n_qubits)
        terms = _projector(chosen)
        weighed = [PauliSum(terms), *(_selected(total, terms, chosen) for total in given)]
        for name, value in (
            ("outcome", tuple(sorted(chosen.items()))),
            ("model", Model(circuit, list(given))),
            ("selecting", Model(circuit, weighed)),
        ):
            object.__setattr__(self, name, value)

    @property
    def probability_model(self) -> Model:
        """The model whose one observable is the projector on the outcome."""
        return self.selecting._replace(observables=self.selecting.observables[:1])

    def to_text(self) -> str:
        """The text of the model whose observables are Pi and Pi O_k Pi: what a run folder keeps."""
        return self.selecting.to_text()

    def engine_over(self, engine: Any) -> Ratio:
        """The engine of the ratios, when `engine` gives expectation values."""
        return Ratio(self.selecting, engine)

    def probability(self, theta: Any, x: Any = None, **options: Any) -> np.ndarray:
        """p = <Pi>: (...). theta, x and options as in `qpr.expectation`."""
        return simulate.expectation(self.probability_model, theta, x, **options)[..., 0]


class Ratio:
    """The functions of an engine for F_k = E_k / E_0: checked arguments in, results sample by sample out."""

    name = "post-selected"

    def __init__(self, selecting: Model, engine: Any) -> None:
        self.selecting, self.engine = selecting, engine

    def values(self, model: Model, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        return _ratios(self.engine.values(self.selecting, theta, x))

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """dF_k = (dE_k - F_k dE_0) / E_0."""
        means, back = self.engine.vjp(self.selecting, theta, x)
        values = _ratios(means)
        return values, lambda cotangent, sum_theta=False: back(_pulled(means, values, cotangent), sum_theta)

    def value_and_grad(self, model: Model, theta: np.ndarray, x: np.ndarray, weights: np.ndarray) -> Arrays:
        values, pullback = self.vjp(model, theta, x)
        return (values * weights).sum(axis=1), pullback(np.broadcast_to(weights, values.shape))[0]

    def hvp(
        self,
        model: Model,
        theta: np.ndarray,
        x: np.ndarray,
        cotangent: np.ndarray,
        v_theta: np.ndarray,
        v_x: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Forward over reverse: w = dL/dE moves along v by dw, and the rest is the Hessian-vector product under w."""
        means, back = self.engine.vjp(self.selecting, theta, x)
        values = _ratios(means)
        cotangent = np.broadcast_to(cotangent, values.shape)
        moves, row = np.empty(means.shape), np.zeros(means.shape)
        for k in range(means.shape[1]):
            row[:, k] = 1.0
            d_theta, d_x = back(row)
            moves[:, k] = (d_theta * v_theta).sum(axis=1) + (d_x * v_x).sum(axis=1)
            row[:, k] = 0.0
        p, dp = means[:, :1], moves[:, :1]
        d_values = (moves[:, 1:] - values * dp) / p
        weights = _pulled(means, values, cotangent)
        d_weights = np.concatenate([-(cotangent * d_values).sum(axis=1, keepdims=True) / p, 0 * cotangent], axis=1)
        d_weights -= weights * dp / p
        d_theta, d_x, h_theta, h_x = self.engine.hvp(self.selecting, theta, x, weights, v_theta, v_x)
        more_theta, more_x = back(d_weights)
        return d_theta, d_x, h_theta + more_theta, h_x + more_x

    def states(self, model: Model, theta: np.ndarray, x: np.ndarray) -> NoReturn:
        raise QupropError(
            "post-selected values have no state of their own here; take qpr.state of the model and project it"
        )

    def memory(self, model: Model, batch: int, what: str) -> int:
        return self.engine.memory(self.selecting, batch, what)


def _ratios(means: np.ndarray) -> np.ndarray:
    p = means[:, :1]
    if not (p >= LEAST).all():
        sample = int(np.argmin(p[:, 0]))
        where = f" of sample {sample}" if len(p) > 1 else ""
        raise QupropError(
            f"the selected outcome{where} has probability {max(p[sample, 0], 0.0):.3g}, below {LEAST:g}, so that "
            "rounding would show in derivatives given it; select an outcome that occurs more often"
        )
    return means[:, 1:] / p


def _pulled(means: np.ndarray, values: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
    both = [-(cotangent * values).sum(axis=1, keepdims=True), cotangent]
    return np.concatenate(both, axis=1) / means[:, :1]


def _outcome(circuit: Circuit, outcome: Any) -> dict[int, int]:
    if not isinstance(outcome, Mapping) or not outcome:
        raise QupropError(f"the outcome is a dictionary such as {{0: 1}} or {{'m': 0}}, got {shown(outcome)}")
    chosen: dict[int, int] = {}
    for key, value in outcome.items():
        qubit = circuit.bit(key) if isinstance(circuit, DynamicCircuit) and isinstance(key, str) else key
        if isinstance(qubit, bool) or not isinstance(qubit, int | np.integer) or not 0 <= qubit < circuit.n_qubits:
            raise QupropError(
                f"an outcome is of qubits 0 to {circuit.n_qubits - 1}, or of a measured bit of a DynamicCircuit, "
                f"got {shown(key)}"
            )
        if isinstance(value, bool) or value not in (0, 1):
            raise QupropError(f"the outcome of qubit {qubit} is 0 or 1, got {shown(value)}")
        if chosen.setdefault(int(qubit), int(value)) != int(value):
            raise QupropError(f"qubit {qubit} is selected twice, with both outcomes; select it once")
    if len(chosen) > MAX_SELECTED:
        raise QupropError(
            f"{MAX_SELECTED} qubits can be selected at most, since each doubles the strings, got {len(chosen)}; select "
            "fewer, or project qpr.state"
        )
    return chosen


def _projector(chosen: dict[int, int]) -> dict[PauliString, float]:
    """{Z string: coefficient} of prod_q (1 + (-1)^b_q Z_q) / 2."""
    terms = {}
    for picked in itertools.product((0, 1), repeat=len(chosen)):
        z = sum(taken << q for taken, q in zip(picked, chosen, strict=True))
        sign = sum(taken & b for taken, b in zip(picked, chosen.values(), strict=True))
        terms[PauliString(0, z)] = (-1.0) ** sign / 2 ** len(chosen)
    return terms


def _selected(total: PauliSum, projector: dict[PauliString, float], chosen: dict[int, int]) -> PauliSum:
    """Pi O Pi: strings that flip a selected qubit vanish, Z on one is its outcome's sign."""
    mask = sum(1 << q for q in chosen)
    terms: dict[PauliString, float] = {}
    for string, coefficient in total.items():
        if string.x & mask:
            continue
        for z, weight in projector.items():
            product = PauliString(string.x, string.z ^ z.z)
            terms[product] = terms.get(product, 0.0) + coefficient * weight
    return PauliSum(terms) if terms else PauliSum({PauliString(0, 0): 0.0})
