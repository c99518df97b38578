"""The error proxy of Liu et al. (2024), from Hessian spectra: do errors of the parameters shrink or grow along
training?

One step of gradient descent multiplies a deviation in the eigenmode of eigenvalue l by 1 - eta (l + w), eta the
learning rate and w the weight decay. The mean over modes is

    E(t) = (1/n) sum_nu |1 - a_nu|^t,   a_nu = eta (l_nu + w)                                                  (4.5)

which falls while modes with |1 - a| < 1 (dissipative) die out, and grows in the end as max |1 - a|^t if any mode has
|1 - a| > 1 (divergent): the moment to upload again. Along training the spectrum moves, and three readings are offered:
`frozen` (one spectrum to the power t), `current` (the spectrum at step t to the power t) and `running` (the product
over steps of sorted modes, which is the reading that reproduces smooth published curves).

With momentum b a mode is two-dimensional, (deviation, velocity), and z^2 - (1 + b - a) z + b = 0 gives its two factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quprop.carleman.spectra.spectrum import Spectrum
from quprop.errors import QupropError

NEUTRAL = 1e-9  # |1 - a| within this of 1 is neither dissipative nor divergent


@dataclass(frozen=True)
class Descent:
    """The settings of gradient descent: learning rate eta, momentum b, weight decay w (if not in the spectrum yet)."""

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < np.inf:
            raise QupropError(f"learning_rate must be positive and finite, got {self.learning_rate}")
        if not 0 <= self.momentum < 1:
            raise QupropError(f"momentum is from 0 to below 1, got {self.momentum}")

    def factors(self, eigenvalues: np.ndarray) -> np.ndarray:
        """|1 - a| (modes, 1), or with momentum both roots' magnitudes (modes, 2)."""
        a = self.learning_rate * (np.asarray(eigenvalues, float) + self.weight_decay)
        if not self.momentum:
            return np.abs(1 - a)[:, None]
        b = 1 + self.momentum - a
        root = np.sqrt((b**2 - 4 * self.momentum).astype(complex))
        return np.stack([np.abs(b + root), np.abs(b - root)], axis=1) / 2

    def norms(self, eigenvalues: np.ndarray, steps: int) -> np.ndarray:
        """max over modes of the norm of t steps, t = 0..steps: |1 - a|^t, or with momentum |P^t|, P = [[1 - a, -b], [a,
        b]] on (deviation, last change times -1), which is not normal: it grows before it decays as `factors` say."""
        a = self.learning_rate * (np.asarray(eigenvalues, float) + self.weight_decay)
        if not self.momentum:
            return np.asarray(np.abs(1 - a).max() ** np.arange(steps + 1))
        b = np.full_like(a, self.momentum)
        step = np.moveaxis(np.array([[1 - a, -b], [a, b]]), -1, 0)  # (modes, 2, 2)
        power, found = np.broadcast_to(np.eye(2), step.shape), []
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(steps + 1):
                finite = np.isfinite(power).all()
                found.append(float(np.linalg.norm(power, 2, axis=(1, 2)).max()) if finite else np.inf)
                power = step @ power
        return np.array(found)


@dataclass(frozen=True, eq=False)
class Proxy:
    """E at `steps`, with the standard errors of the spectrum's probes, and its two parts.

    ``dissipative``, ``divergent``  D(t) and V(t): the sums over modes with |1 - a| below and above 1, divided by n
                                    (neutral modes are in neither)
    """

    steps: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    dissipative: np.ndarray
    divergent: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """D/V, the "sum ratio" of the authors' figures; infinite where nothing diverges."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.divergent > 0, self.dissipative / self.divergent, np.inf)

    def to_json(self) -> dict[str, Any]:
        """Numbers that are not finite as None."""
        lists = {"values": self.values, "errors": self.errors, "ratio": self.ratio}
        finite = {name: [v if np.isfinite(v) else None for v in found.tolist()] for name, found in lists.items()}
        return {"steps": self.steps.tolist(), **finite}


def frozen(spectrum: Spectrum, descent: Descent, steps: Sequence[int] | np.ndarray) -> Proxy:
    """E(t) with the spectrum held fixed, at each of `steps`."""
    rows = [_at(spectrum, descent, int(t)) for t in steps]
    return Proxy(np.asarray(steps), *np.array(rows).T)


def current(
    spectra: Sequence[Spectrum], steps: Sequence[int] | np.ndarray, descent: Descent, *, restart: Sequence[int] = ()
) -> Proxy:
    """E with the spectrum measured at each step, to the power of the steps since the last of `restart` (uploads)."""
    _check(spectra, steps)
    begins = _begins(steps, restart)
    rows = [_at(s, descent, int(t - begin)) for s, t, begin in zip(spectra, steps, begins, strict=True)]
    return Proxy(np.asarray(steps), *np.array(rows).T)


def frozen_since(
    spectra: Sequence[Spectrum], steps: Sequence[int] | np.ndarray, descent: Descent, restart: Sequence[int] = ()
) -> Proxy:
    """E with the first spectrum measured from the last of `restart` on, to the power of the steps since that upload."""
    _check(spectra, steps)
    begins = _begins(steps, restart)
    chosen = np.searchsorted(steps, begins)
    rows = [_at(spectra[i], descent, int(t - begin)) for i, t, begin in zip(chosen, steps, begins, strict=True)]
    return Proxy(np.asarray(steps), *np.array(rows).T)


def running(
    spectra: Sequence[Spectrum], steps: Sequence[int] | np.ndarray, descent: Descent, *, restart: Sequence[int] = ()
) -> Proxy:
    """E as a product over steps, modes followed by their rank: the k-th eigenvalue of one step acts on what the k-th of
    the step before left. A spectrum holds until the next one was measured; the value at a step includes that step's own
    factor (so the first is (1/n) sum |1 - a|, as in the published curve). Steps in `restart` are uploads: from the
    first spectrum measured there or later the product begins anew. Ranks are followed exactly, not on a grid: all
    spectra are cut at all cumulated weights.
    """
    _check(spectra, steps)
    sorted_spectra = [_sorted(s) for s in spectra]
    cuts = np.unique(np.concatenate([cumulated for _, cumulated in sorted_spectra]))
    shares = np.diff(cuts, prepend=0.0)
    middles = cuts - shares / 2
    rows = []
    begins = _begins(steps, restart)
    product: np.ndarray | None = None
    for i, (nodes, cumulated) in enumerate(sorted_spectra):
        at = np.minimum(np.searchsorted(cumulated, middles), len(nodes) - 1)
        log = np.log(np.maximum(descent.factors(nodes[at]), 1e-300))  # (cuts, branches)
        if product is None or begins[i] != begins[i - 1]:
            product = np.zeros_like(log)
        values = np.exp(product + log)
        below, above = values * (product + log < -NEUTRAL), values * (product + log > NEUTRAL)
        rows.append([float(shares @ v.mean(axis=1)) for v in (values, below, above)])
        if i + 1 < len(sorted_spectra):
            product = product + log * float(steps[i + 1] - steps[i])
    values_, dissipative, divergent = np.array(rows).T
    return Proxy(np.asarray(steps), values_, np.full(len(rows), np.nan), dissipative, divergent)


def growth(spectrum: Spectrum, descent: Descent) -> float:
    """max |1 - a| over the nodes: the factor a step by which E grows in the end (below 1: it decays)."""
    return float(descent.factors(spectrum.nodes).max())


def lowest(spectrum: Spectrum, descent: Descent, limit: int = 10**6) -> int:
    """The step from 0 to `limit` where the frozen E is least; E is convex in t, so bisection on its slope finds it."""
    low, high = 0, limit
    while low < high:
        middle = (low + high) // 2
        if _value(spectrum, descent, middle + 1) < _value(spectrum, descent, middle):
            low = middle + 1
        else:
            high = middle
    return low


def block_length(spectrum: Spectrum, descent: Descent, tolerance: float, limit: int = 10**6) -> int:
    """The last step t <= `limit` up to which the frozen proxy stays within 1 + tolerance: until then errors present at
    the upload are, in the mean over modes, no larger than (1 + tolerance) times what they were. E is convex with E(0) =
    1, so bisection finds t."""
    if tolerance < 0:
        raise QupropError(f"tolerance must be at least 0, got {tolerance}")
    if _value(spectrum, descent, limit) <= 1 + tolerance:
        return limit
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _value(spectrum, descent, middle) <= 1 + tolerance else (low, middle)
    return low


def block_length_range(spectrum: Spectrum, descent: Descent, tolerance: float, limit: int = 10**6) -> tuple[int, int]:
    """Least and greatest `block_length` of the spectrum's probes, each taken alone: how far probes leave it open."""
    alone = [replace(spectrum, runs=(run,)) for run in spectrum.runs] or [spectrum]
    lengths = [block_length(one, descent, tolerance, limit) for one in alone]
    return min(lengths), max(lengths)


def _value(spectrum: Spectrum, descent: Descent, t: int) -> float:
    with np.errstate(over="ignore"):
        return spectrum.mean(lambda nodes: (descent.factors(nodes) ** t).mean(axis=1))[0]


def _at(spectrum: Spectrum, descent: Descent, t: int) -> tuple[float, float, float, float]:
    def part(keep: float) -> Any:
        def function(nodes: np.ndarray) -> np.ndarray:
            factors = descent.factors(nodes)
            chosen = np.ones_like(factors) if not keep else (factors - 1) * keep > NEUTRAL
            return np.where(chosen > 0, factors**t, 0.0).mean(axis=1)

        return function

    with np.errstate(over="ignore"):
        value, error = spectrum.mean(part(0))
        return value, error, spectrum.mean(part(-1))[0], spectrum.mean(part(1))[0]


def _begins(steps: Sequence[int] | np.ndarray, restart: Sequence[int]) -> np.ndarray:
    """For each step the last of `restart` that is not after it, else 0."""
    uploads = np.unique([0, *restart])
    begins: np.ndarray = uploads[np.searchsorted(uploads, np.asarray(steps), side="right") - 1]
    return begins


def _sorted(spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(spectrum.nodes, kind="stable")
    cumulated = np.cumsum(spectrum.weights[order])
    return spectrum.nodes[order], cumulated / cumulated[-1]


def _check(spectra: Sequence[Spectrum], steps: Sequence[int] | np.ndarray) -> None:
    if len(spectra) != len(steps) or not len(spectra):
        raise QupropError(f"there must be one spectrum for each step, got {len(spectra)} for {len(steps)} steps")
    if np.any(np.diff(steps) <= 0):
        raise QupropError(f"the steps of the spectra must ascend, got {list(steps)}")
