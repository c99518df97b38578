"""Mitigation of noise that can be differentiated: extrapolation to none, and readout undone in the mean.

Both make a number without noise of expectation values with it, in a known way, so that values, derivatives by theta and
x, and the growth of standard errors follow exactly.
"""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.model.channels import CHANNELS
from quprop.model.pauli import PauliString, PauliSum
from quprop.simulate import vjp

Arrays = tuple[np.ndarray, np.ndarray]
_OF_THE_ROOM = ("t1", "t2", "excited")  # strengths that say what kind of noise there is, not how much
_MOST_TERMS = 1 << 20
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Mitigated:
    """values (..., K), pullback(cotangent (..., K)) -> (d_theta (..., P), d_x (..., D)), and error_factor (..., K): the
    standard error of a value where all that it is made of was measured independently to the standard error 1."""

    values: np.ndarray
    pullback: Callable[..., Arrays]
    error_factor: np.ndarray


def scaled_noise(model: Model, factor: float) -> Model:
    """The model with `factor` times as much noise: times its probabilities, gamma, lam, and time of relaxation.

    Strengths that this takes beyond their limits are refused when the model is evaluated.

    Returns: Model.
    Raises: QupropError for a factor that is no number from 0.

    >>> model = qpr.Model(qpr.Circuit(1).depolarising(0.03, 0), "Z0")
    >>> qpr.expectation(qpr.scaled_noise(model, 2), []).round(6)
    array([0.92])
    """
    if not isinstance(factor, numbers.Real) or not 0 <= factor < math.inf:
        raise QupropError(f"noise is scaled by a factor from 0, got {shown(factor)}")
    channels = []
    for channel in model.channels:
        pauli = channel.kind == "pauli"
        names = itertools.repeat("p", len(channel.strengths)) if pauli else CHANNELS[channel.name].strengths
        pairs = zip(names, channel.strengths, strict=True)
        channels.append(
            channel._replace(strengths=tuple(s if n in _OF_THE_ROOM else float(factor) * s for n, s in pairs))
        )
    return model._replace(channels=tuple(channels))


def extrapolation(scales: Sequence[float], degree: int | None = None) -> np.ndarray:
    """c (S,) with E(0) = sum_i c_i E(s_i) for every polynomial E of this degree, the least-squares fit if it is below
    S - 1; None: S - 1, Richardson's, c_i = prod_{j != i} s_j / (s_j - s_i).

    (Temme, Bravyi and Gambetta 2017, arXiv:1612.02058; Li and Benjamin 2017, arXiv:1611.09301.)
    """
    s = checked("scales", scales, (len(list(scales)),))
    if len(s) < 2 or s.min() < 0 or len(set(s.tolist())) < len(s):
        raise QupropError(f"scales are two different numbers from 0 or more, got {shown(list(scales))}")
    most = len(s) - 1
    if degree is None:
        degree = most
    if isinstance(degree, bool) or not isinstance(degree, (int, np.integer)) or not 0 <= degree <= most:
        raise QupropError(f"degree is a whole number from 0 to {most}, one below the number of scales, got {degree!r}")
    if degree == most:
        return np.array([math.prod(b / (b - a) for b in s if b != a) for a in s.tolist()])
    return np.linalg.pinv(np.vander(s, int(degree) + 1, increasing=True))[0]


def zero_noise(
    model: Model,
    theta: Any,
    x: Any = None,
    *,
    scales: Sequence[float] = (1.0, 2.0, 3.0),
    degree: int | None = None,
    exponential: bool = False,
    **options: Any,
) -> Mitigated:
    """Values extrapolated to no noise from those at `scales` times the noise, and their exact derivatives.

    By a polynomial of this degree in the scale (`extrapolation`): E = sum_i c_i E_i, whose standard error is
    sqrt(sum c_i^2) times that of each E_i. With `exponential`, the logarithms are extrapolated (degree 1 if none is
    given: E(s) = E exp(-r s)): E = sign prod_i |E_i|^c_i, of standard error |E| sqrt(sum (c_i / E_i)^2) to first order.
    theta, x and options (engine, precision, threads) as in `quprop.vjp`. With `Trajectories` all scales share their
    random numbers, so that errors partly cancel.

    Returns: Mitigated: values (..., K), pullback as that of `quprop.vjp`, error_factor (..., K).
    Raises: QupropError for a model without channels, scales that are not different numbers from 0, or values that
    change sign under `exponential`.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0).depolarising(0.03, 0), "Z0")
    >>> qpr.zero_noise(model, [0.0], scales=(1, 2)).values.round(6)  # linear in this noise
    array([1.])
    """
    c = extrapolation(scales, 1 if exponential and degree is None else degree)
    if not isinstance(model, Model) or not model.channels:
        raise QupropError("zero_noise extrapolates a model with channels, got one without; take quprop.vjp")
    found = [vjp(scaled_noise(model, s), theta, x, **options) for s in scales]
    at = np.stack([values for values, _ in found])
    shape = (len(c),) + (1,) * (at.ndim - 1)
    if exponential:
        signs = np.sign(at)
        if not (signs == signs[0]).all() or not signs.all():
            raise QupropError(
                "an exponential is fitted to values of one sign, and these change it with the scale of the noise; "
                "leave exponential out, or take smaller scales"
            )
        values = signs[0] * np.exp((c.reshape(shape) * np.log(np.abs(at))).sum(axis=0))
        slopes = c.reshape(shape) * values / at
    else:
        values = (c.reshape(shape) * at).sum(axis=0)
        slopes = np.broadcast_to(c.reshape(shape), at.shape)

    def pullback(cotangent: Any, *, sum_theta: bool = False) -> Arrays:
        cotangent = checked("cotangent", cotangent, (..., model.n_observables))
        parts = [inner(cotangent * s, sum_theta=sum_theta) for s, (_, inner) in zip(slopes, found, strict=True)]
        return sum(p[0] for p in parts), sum(p[1] for p in parts)  # type: ignore[return-value]

    return Mitigated(values, pullback, np.sqrt((slopes**2).sum(axis=0)))


def readout_inverse(observable: Any, confusion: Any) -> PauliSum:
    """What is to be measured with misread bits so that its mean is that of `observable` read without errors.

    confusion: p(read | true) of each qubit, (n, 2, 2) or (2, 2) for all, entry [i, j] that j is read as i. A letter
    read with errors has the mean b <Z> + c, b = 1 - p(1|0) - p(0|1), c = p(0|1) - p(1|0), so a string is
    prod_q (Z_q - c_q) / b_q of read bits: 2^w strings if it has w letters, X and Y being turned into Z before they are
    read. Qubits are misread independently (tensored mitigation: Bravyi et al. 2021, arXiv:2006.14044).

    Returns: PauliSum.
    Raises: QupropError for a confusion of another shape, without probabilities, or that cannot be inverted.

    >>> qpr.readout_inverse("Z0", [[0.9, 0.1], [0.1, 0.9]])
    PauliSum({'Z0': 1.25})
    """
    total = observable if isinstance(observable, PauliSum) else PauliSum(observable)
    n = max(total.n_qubits, 1)
    b, c = _reading(confusion, n)
    out: dict[PauliString, float] = {}
    for string, weight in total.items():
        qubits = [q for q in range(n) if (string.x | string.z) >> q & 1]
        own = [q for q in qubits if c[q] != 0]
        if len(out) + (1 << len(own)) > _MOST_TERMS:
            raise QupropError(
                f"readout is undone with 2^w strings of a string on w qubits, {_MOST_TERMS} at most, got w = {len(own)}"
            )
        scale = weight / math.prod(b[q] for q in qubits)
        for left in itertools.chain.from_iterable(itertools.combinations(own, k) for k in range(len(own) + 1)):
            mask = sum(1 << q for q in left)
            key = PauliString(string.x & ~mask, string.z & ~mask)
            out[key] = out.get(key, 0.0) + scale * math.prod(-c[q] for q in left)
    return PauliSum(out)


def invert_readout(model: Model, theta: Any, x: Any = None, *, confusion: Any, **options: Any) -> Mitigated:
    """Values as if no bit had been misread, where `model` reads its bits with the errors of `confusion`
    (`readout_inverse`), and their exact derivatives.

    The error factor is that of a string measured to the standard error 1, sqrt(sum of squared coefficients) over the
    strings that are measured for it: prod_q sqrt(1 + c_q^2) / |b_q| about; of a sum, over that of its own coefficients.
    theta, x and options (engine, precision, threads) as in `quprop.vjp`.

    Returns: Mitigated: values (..., K), pullback as that of `quprop.vjp`, error_factor (..., K).
    Raises: QupropError for a confusion of another shape, without probabilities, or that cannot be inverted.

    >>> model = qpr.Model(qpr.Circuit(1).x(0).readout_error(0.1, 0.1, 0), "Z0")
    >>> found = qpr.invert_readout(model, [], confusion=[[0.9, 0.1], [0.1, 0.9]])
    >>> qpr.expectation(model, []).round(6), found.values.round(6), found.error_factor.round(6)
    (array([-0.8]), array([-1.]), array([1.25]))
    """
    if not isinstance(model, Model):
        raise QupropError(f"model must be a quprop Model, got {type(model).__name__}")
    given = model.original_observables
    made = [readout_inverse(o, _all_of(confusion, model.n_qubits)) for o in given]
    values, pullback = vjp(model.with_observables(made), theta, x, **options)
    factor = np.array([_length(m) / _length(o) if _length(o) else 1.0 for m, o in zip(made, given, strict=True)])
    return Mitigated(values, pullback, np.broadcast_to(factor, values.shape))


def _length(total: PauliSum) -> float:
    """Of the coefficients of all but the identity, which has no error."""
    return math.sqrt(sum(c * c for p, c in total.items() if p.x | p.z))


def _all_of(confusion: Any, n: int) -> np.ndarray:
    array = checked("confusion", confusion, (..., 2, 2))
    if array.shape not in ((2, 2), (n, 2, 2)):
        raise QupropError(f"confusion has shape (2, 2) or ({n}, 2, 2), got {array.shape}")
    return np.broadcast_to(array, (n, 2, 2))


def _reading(confusion: Any, n: int) -> tuple[list[float], list[float]]:
    """b and c of each qubit."""
    array = checked("confusion", confusion, (..., 2, 2))
    if array.shape != (2, 2) and (array.ndim != 3 or len(array) < n):
        raise QupropError(f"confusion has shape (2, 2) or (n, 2, 2) with n of {n} or more, got {array.shape}")
    rows = np.broadcast_to(array, (n, 2, 2)) if array.ndim == 2 else array[:n]
    if rows.min() < 0 or np.abs(rows.sum(axis=1) - 1).max() > 1e-9:
        raise QupropError(
            "confusion[q][i][j] is the probability that bit j of qubit q is read as i; each column sums to 1"
        )
    b, c = rows[:, 0, 0] - rows[:, 0, 1], rows[:, 0, 0] - rows[:, 1, 1]
    if np.abs(b).min() < _SINGULAR:
        q = int(np.abs(b).argmin())
        raise QupropError(f"qubit {q} is read the same whatever its bit is, so its readout cannot be undone")
    return b.tolist(), c.tolist()
