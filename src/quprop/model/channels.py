"""Channels: noise between the rotations of a model, and the table of those that circuits have.

There are two kinds, told by what they make of the Pauli strings Q of an observable (Heisenberg picture):

    "pauli"   rho -> (1 - sum_j p_j) rho + sum_j p_j P_j rho P_j,   Q -> (1 - 2 sum_{j: P_j anticommutes with Q} p_j) Q
    "affine"  on one qubit,   X -> a X,   Y -> a Y,   Z -> b Z + c I,   I -> I

Clifford gates turn the strings of a channel as they turn those of rotations (`quprop.model.absorption`), so that in a
`Model` X and Z stand for any two strings that anticommute. A new channel is one entry of `CHANNELS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model.angle import Angle
from quprop.model.angle_table import AngleTable
from quprop.model.parameterised import strings_of

if TYPE_CHECKING:
    from quprop.model.circuit import Circuit
    from quprop.model.model import Model

PAULI_CHANNEL = "pauli_channel"
MAX_CHANNEL_QUBITS = 8  # that one Pauli channel acts on
_ROUNDING = 1e-12  # how far beyond its limits a strength may be


class Channel(NamedTuple):
    """One channel of a model, after its Clifford gates are absorbed.

    place: it acts after this many rotations of the model (0 to M); several at one place act in their order.
    kind "pauli": strings holds the masks (x, z) of each P_j, of which the signs do not matter, and strengths the p_j.
    kind "affine": strings holds the masks of the images of X and Z of its qubit, sign is that of the image of Z, and
        strengths are those that `CHANNELS[name].law` makes a, b and c of.
    """

    place: int
    kind: str
    strings: tuple[tuple[int, int], ...]
    sign: int
    strengths: tuple[Angle, ...]
    name: str = PAULI_CHANNEL


class Law(NamedTuple):
    """Of an affine channel: a, b, c, and their derivatives by each of the k strengths, all as arrays of the strengths'
    shape."""

    coefficients: tuple[Any, Any, Any]
    slopes: tuple[tuple[Any, Any, Any], ...]


class Limit(NamedTuple):
    """What the strengths of an affine channel must fulfil, in words and as a function of them."""

    text: str
    holds: Callable[..., Any]


class Noise(NamedTuple):
    """An entry of `CHANNELS`. law: of kind "pauli" from strengths to {dense string: probability}, linear in them; of
    kind "affine" from arrays of strengths to a `Law`. defaults: of the last strengths, which come after the qubits."""

    kind: str
    n_qubits: int
    strengths: tuple[str, ...]
    what: str
    law: Callable[..., Any]
    limits: tuple[Limit, ...] = ()
    defaults: tuple[float, ...] = ()


def _pauli(strength: str, what: str, *strings: str) -> Noise:
    """The strings at random, equally often, with this probability in all."""
    return Noise("pauli", len(strings[0]), (strength,), what, lambda p: {s: p / len(strings) for s in strings})


def _probability(name: str, place: int = 0) -> Limit:
    return Limit(f"{name} from 0 to 1", lambda *s: (s[place] >= -_ROUNDING) & (s[place] <= 1 + _ROUNDING))


def _damping(gamma: Any, excited: Any) -> Law:
    b = np.maximum(1 - gamma, 0.0)
    a, up, zero = np.sqrt(b), 1 - 2 * excited, np.zeros_like(b)
    with np.errstate(divide="ignore"):
        return Law((a, b, gamma * up), ((-0.5 / a, zero - 1, zero + up), (zero, zero, -2 * gamma)))


def _amplitude_damping(gamma: Any) -> Law:
    coefficients, slopes = _damping(gamma, 0.0)
    return Law(coefficients, slopes[:1])


def _phase_damping(lam: Any) -> Law:
    (a, b, _), ((slope, _, _), _) = _damping(lam, 0.0)
    zero = np.zeros_like(b)
    return Law((a, zero + 1, zero), ((slope, zero, zero),))


def _relaxation(t1: Any, t2: Any, time: Any, excited: Any) -> Law:
    a, b, up = np.exp(-time / t2), np.exp(-time / t1), 1 - 2 * excited
    zero = np.zeros_like(b)
    by_t1, by_time = b * time / t1 / t1, -b / t1
    return Law(
        (a, b, (1 - b) * up),
        (
            (zero, by_t1, -by_t1 * up),
            (a * time / t2 / t2, zero, zero),
            (-a / t2, by_time, -by_time * up),
            (zero, zero, -2 * (1 - b)),
        ),
    )


def _reset(p: Any) -> Law:
    one = np.ones_like(p)
    return Law((1 - p, 1 - p, p), ((-one, -one, one),))


def _reset_error(p0: Any, p1: Any) -> Law:
    one = np.ones_like(p0)
    return Law((1 - p0 - p1, 1 - p0 - p1, p0 - p1), ((-one, -one, one), (-one, -one, -one)))


def _readout(p10: Any, p01: Any) -> Law:
    b = 1 - p10 - p01
    one = np.ones_like(b)
    # only b and c count, since nothing but diagonal is measured afterwards: with a = b this is a channel
    return Law((b, b, p01 - p10), ((-one, -one, -one), (-one, -one, one)))


CHANNELS: dict[str, Noise] = {
    "depolarising": _pauli("p", "X, Y or Z, each with probability p/3", "X", "Y", "Z"),
    "depolarising2": _pauli(
        "p",
        "each of the 15 Pauli strings but the identity with probability p/15",
        *map("".join, list(itertools.product("IXYZ", repeat=2))[1:]),
    ),
    "bit_flip": _pauli("p", "X with probability p", "X"),
    "phase_flip": _pauli("p", "Z with probability p", "Z"),
    "bit_phase_flip": _pauli("p", "Y with probability p", "Y"),
    "amplitude_damping": Noise(
        "affine",
        1,
        ("gamma",),
        "|1> decays to |0> with probability gamma: a = sqrt(1 - gamma), b = 1 - gamma, c = gamma",
        _amplitude_damping,
        (_probability("gamma"),),
    ),
    "generalised_amplitude_damping": Noise(
        "affine",
        1,
        ("gamma", "excited"),
        "damping towards a state that is |1> with probability excited: a = sqrt(1 - gamma), b = 1 - gamma, "
        "c = gamma (1 - 2 excited)",
        _damping,
        (_probability("gamma"), _probability("excited", 1)),
    ),
    "phase_damping": Noise(
        "affine",
        1,
        ("lam",),
        "coherence is lost with Kraus operators diag(1, sqrt(1 - lam)), diag(0, sqrt(lam)): a = sqrt(1 - lam), b = 1, "
        "c = 0",
        _phase_damping,
        (_probability("lam"),),
    ),
    "thermal_relaxation": Noise(
        "affine",
        1,
        ("t1", "t2", "time", "excited"),
        "relaxation for a time, to a state that is |1> with probability excited: a = exp(-time/t2), "
        "b = exp(-time/t1), c = (1 - b)(1 - 2 excited); one unit for all times",
        _relaxation,
        (
            Limit("t1 above 0", lambda *s: s[0] > 0),
            Limit("t2 above 0 and at most 2 t1", lambda *s: (s[1] > 0) & (s[1] <= 2 * s[0] * (1 + _ROUNDING))),
            Limit("time of 0 or more", lambda *s: s[2] >= 0),
            _probability("excited", 3),
        ),
        (0.0,),
    ),
    "reset": Noise(
        "affine",
        1,
        ("probability",),
        "the qubit is set to |0> with this probability p: a = b = 1 - p, c = p",
        _reset,
        (_probability("probability"),),
        (1.0,),
    ),
    "reset_error": Noise(
        "affine",
        1,
        ("p0", "p1"),
        "the qubit is set to |0> with probability p0 and to |1> with probability p1: a = b = 1 - p0 - p1, c = p0 - p1",
        _reset_error,
        (
            _probability("p0"),
            _probability("p1", 1),
            Limit("p0 + p1 of 1 at most", lambda *s: s[0] + s[1] <= 1 + _ROUNDING),
        ),
    ),
    "readout_error": Noise(
        "affine",
        1,
        ("p10", "p01"),
        "the qubit's bit is misread, 0 as 1 with probability p10 and 1 as 0 with probability p01: b = 1 - p10 - p01, "
        "c = p01 - p10; afterwards only I and Z of this qubit can be measured",
        _readout,
        (
            _probability("p10"),
            _probability("p01", 1),
            Limit("p10 + p01 of 1 at most", lambda *s: s[0] + s[1] <= 1 + _ROUNDING),
        ),
    ),
}


class _Group(NamedTuple):
    """All affine channels of one name: columns of their strengths (k, count) and coefficients (3, count)."""

    name: str
    strengths: np.ndarray
    coefficients: np.ndarray


class ChannelTable:
    """All channels of a model as numbers at (theta, x), and derivatives by these pulled back.

    Channel k owns coefficients starts[k]:starts[k+1]: its probabilities p_j if it is of kind "pauli", else a, b, c.
    In the methods theta is (T, P) and x (X, D), T and X each 1 or the batch size B (x is (1, 0) without inputs).
    """

    starts: np.ndarray  # (n_channels + 1,) int64

    def __init__(self, channels: Sequence[Channel], n_params: int, n_inputs: int) -> None:
        self._table = AngleTable.build([s for c in channels for s in c.strengths], n_params, n_inputs)
        pauli = [c.kind == "pauli" for c in channels]
        sizes = [len(c.strengths) for c in channels]
        first = np.cumsum([0, *sizes])
        self.starts = np.cumsum([0, *(size if p else 3 for size, p in zip(sizes, pauli, strict=True))])
        self._places = [c.place for c in channels]
        self._pauli = np.flatnonzero(pauli)
        lists = [np.arange(sizes[k]) for k in self._pauli]
        self._from = np.concatenate([[], *(first[k] + r for k, r in zip(self._pauli, lists, strict=True))]).astype(int)
        self._to = np.concatenate([[], *(self.starts[k] + r for k, r in zip(self._pauli, lists, strict=True))])
        self._to = self._to.astype(int)
        self._sums = np.cumsum([0, *(len(r) for r in lists)])[:-1]
        self._groups: list[tuple[np.ndarray, _Group]] = []
        for name in dict.fromkeys(c.name for c, p in zip(channels, pauli, strict=True) if not p):
            members = np.array([k for k, c in enumerate(channels) if c.name == name and c.kind == "affine"])
            columns = first[members] + np.arange(len(CHANNELS[name].strengths))[:, None]
            group = _Group(name, columns, self.starts[members] + np.arange(3)[:, None])
            self._groups.append((members, group))

    def evaluate(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The coefficients, (B, C); strengths that are outside their limits are refused."""
        strengths = self._checked(theta, x)
        out = np.empty((len(strengths), int(self.starts[-1])))
        out[:, self._to] = strengths[:, self._from]
        for _, group in self._groups:
            law = CHANNELS[group.name].law(*(strengths[:, c] for c in group.strengths))
            for columns, values in zip(group.coefficients, law.coefficients, strict=True):
                out[:, columns] = values
        return out

    def survival(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The product of the channels' process fidelities, (B,): 1 - sum_j p_j of a Pauli channel, the probability that
        it does nothing, and (1 + 2a + b)/4 of an affine one."""
        c, out = self.evaluate(theta, x), np.ones(1)
        for k, pauli in enumerate(np.isin(np.arange(len(self.starts) - 1), self._pauli)):
            own = c[:, self.starts[k] : self.starts[k + 1]]
            out = out * (1 - own.sum(axis=1) if pauli else (1 + 2 * own[:, 0] + own[:, 1]) / 4)
        return out

    def pullback(self, d_coefficients: np.ndarray, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From dF/d coefficients (B, C): dF/d theta (B, P) and dF/d x (B, D), per sample."""
        strengths = self._table.evaluate(theta, x)
        out = np.zeros((len(d_coefficients), strengths.shape[1]))
        out[:, self._from] = d_coefficients[:, self._to]
        varying = np.diff(self._table.mono_ptr) > 0
        for _, group in self._groups:
            law = CHANNELS[group.name].law(*(strengths[:, c] for c in group.strengths))
            for place, (columns, slopes) in enumerate(zip(group.strengths, law.slopes, strict=True)):
                counted = varying[columns]
                if not counted.any():
                    continue
                if not all(np.isfinite(s[:, counted]).all() for s in slopes):
                    name = CHANNELS[group.name].strengths[place]
                    raise QupropError(
                        f"{group.name} has no derivative in {name} at this point, where it is infinite; keep {name} "
                        "inside its limits, not at them"
                    )
                for coefficients, slope in zip(group.coefficients, slopes, strict=True):
                    out[:, columns[counted]] += slope[:, counted] * d_coefficients[:, coefficients[counted]]
        return self._table.pullback(out, theta, x)

    def _checked(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """All strengths (B, S)."""
        with np.errstate(over="ignore", invalid="ignore"):
            strengths = self._table.evaluate(theta, x)
        if len(self._pauli):
            p = strengths[:, self._from]
            least = np.minimum.reduceat(p, self._sums, axis=1)
            total = np.add.reduceat(p, self._sums, axis=1)
            wrong = ~((least >= -_ROUNDING) & (total <= 1 + _ROUNDING))
            if wrong.any():
                b, k = np.argwhere(wrong)[0]
                self._refuse(_outside(PAULI_CHANNEL, [least[b, k], total[b, k]]), int(self._pauli[k]), b, len(p))
        for members, group in self._groups:
            values = [strengths[:, c] for c in group.strengths]
            for limit in CHANNELS[group.name].limits:
                wrong = ~np.broadcast_to(limit.holds(*values), values[0].shape)
                if wrong.any():
                    b, k = np.argwhere(wrong)[0]
                    self._refuse(_beyond(group.name, limit, [v[b, k] for v in values]), int(members[k]), b, len(wrong))
        return strengths

    def _refuse(self, sentence: str, channel: int, sample: int, batch: int) -> None:
        where = f" for sample {sample}" if batch > 1 else ""
        raise QupropError(
            f"{sentence} at channel {channel} (after rotation {self._places[channel]} of the model){where}; change "
            "theta or x, or the channel's strength"
        )


def check_constants(name: str, strengths: Sequence[Angle]) -> None:
    """Refuses strengths that are constant and outside their limits; of a Pauli channel, those of its strings."""
    noise = CHANNELS.get(name)
    if noise is None or noise.kind == "pauli":
        fixed = [p.constant for p in strengths if p.is_constant]
        least = min(fixed, default=0.0)
        total = sum(fixed) if len(fixed) == len(strengths) else 0.0
        if least < -_ROUNDING or total > 1 + _ROUNDING:
            raise QupropError(f"{_outside(name, [least, total])}; pass probabilities")
    elif all(s.is_constant for s in strengths):
        values = [s.constant for s in strengths]
        for limit in noise.limits:
            if not limit.holds(*values):
                raise QupropError(_beyond(name, limit, values))


def _outside(name: str, found: Sequence[float]) -> str:
    least, total = found
    got = f"a probability {least:.6g}" if not least >= -_ROUNDING else f"a sum {total:.6g}"
    return f"{name} takes probabilities from 0 whose sum is 1 at most, got {got}"


def _beyond(name: str, limit: Limit, values: Sequence[float]) -> str:
    got = ", ".join(f"{s}={float(v):.6g}" for s, v in zip(CHANNELS[name].strengths, values, strict=True))
    return f"{name} takes {limit.text}, got {got}"


def check_readout(model: Model) -> None:
    """Refuses what is measured, or turned before, after a qubit's bit has been read: it is no function of the bits."""
    for channel in model.channels:
        if channel.name != "readout_error":
            continue
        zx, zz = channel.strings[1]
        strings = [(r.x, r.z) for r in model.rotations[channel.place :]]
        strings += [(p.x, p.z) for total in model.observables for p in strings_of(total)]
        if any(((x & zz).bit_count() + (z & zx).bit_count()) & 1 for x, z in strings):
            raise QupropError(
                "readout_error is followed by a gate or an observable that is not diagonal on its qubit; put it after "
                "all gates and measure I and Z there, or turn X and Y into Z by gates before it"
            )


DENSITY = 'engine="density", which gives values and gradients of noisy models'


def refuse_channels(given: Model | Circuit, what: str, instead: str = "") -> None:
    """The guard of whatever takes models or circuits without noise only; what: the subject of the sentence; instead:
    what takes noise in its place, such as `DENSITY` in that of an engine."""
    if given.channels:
        count, kind = len(given.channels), type(given).__name__.lower()
        raise QupropError(
            f"{what} takes no noise, and this {kind} has {count} channel{'s' if count > 1 else ''}; take "
            f"{instead and f'{instead}, or '}{kind}.noiseless()"
        )
