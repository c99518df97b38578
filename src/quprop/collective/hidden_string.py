"""How many copies it takes to see a hidden Pauli string: without quantum memory about 2^n, with pairs about n.

The family of proposition 3 of Abbas et al. (arXiv:2305.13362), after Chen, Cotler, Huang and Li (arXiv:2111.05881):

    rho_{P,s} = (1 + 3 eps s P) / 2^n    against    1 / 2^n,        P a random string other than 1, s = +-1.

A learner of all Pauli expectations to eps tells them apart. Any learner without quantum memory, adaptive or not, needs
Omega(2^n / eps^2) copies for that, but Bell measurements on pairs need O(n / eps^4), and eps^-4 cannot be bettered with
poly(n) copies (Chen, Gong and Ye, arXiv:2404.19105). As the components of the gradient of a model with 4^n parameters
may be those expectations, single copies rule out backpropagation scaling.

Here both are measured: :mod:`quprop.collective.hidden_strategies` draws outcomes from their exact distributions, and
the learner applies the best test there is for its measurements. With equal priors it succeeds with probability

    (1 + TV) / 2,    TV = E_null (1 - R)_+ = E_mixture (1 - 1/R)_+,    R the likelihood ratio,

so each set of outcomes yields the exact chance of being right given them, instead of one right or wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from quprop.collective.hidden_strategies import STRATEGIES
from quprop.errors import QupropError, generator_of, nearest
from quprop.plots import Picture, hue, panels, picture

SUCCESS = 2 / 3
MOST_QUBITS = {"mub": 13, "clifford": 9, "pauli": 8, "bell": 13}  # gigabytes and minutes beyond
STEP = 1.25  # between neighbouring numbers of copies while the crossing is looked for
FAR = 60  # steps after which there is no crossing to be found


@dataclass(frozen=True)
class CopiesNeeded:
    """Copies at which the success passes 2/3, with a 95 % interval; ``tried`` holds (copies, success, stderr)."""

    strategy: str
    n: int
    eps: float
    copies: float
    low: float
    high: float
    trials: int
    tried: tuple[tuple[int, float, float], ...]

    def __str__(self) -> str:
        return (
            f"{self.strategy}, n = {self.n}, eps = {self.eps:g}: {self.copies:.4g} copies "
            f"({self.low:.4g} to {self.high:.4g}, {self.trials} trials)"
        )


@dataclass(frozen=True)
class CopiesFit:
    """A slope with its 95 % interval, of ``what``, by least squares over the rows of one strategy."""

    strategy: str
    what: str
    slope: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.strategy}: {self.what} has slope {self.slope:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class CopiesTable:
    """What :func:`experiment` measured; prints as lines."""

    rows: tuple[CopiesNeeded, ...]
    fits: tuple[CopiesFit, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.rows, *self.fits)))


def success(n: int, eps: float, copies: int, strategy: str, rng: Any, trials: int) -> tuple[float, float]:
    """The chance to be right, and its standard error, from ``trials`` sets of outcomes of each hypothesis."""
    _check(n, eps, strategy, trials)
    if isinstance(copies, bool) or not isinstance(copies, int | np.integer) or copies < 1:
        raise QupropError(f"copies must be a whole number from 1, got {copies!r}")
    generator, draw = generator_of(rng), STRATEGIES[strategy]
    found = np.array([[draw(n, 3 * eps, copies, tilted, generator) for tilted in (False, True)] for _ in range(trials)])
    distances = -np.expm1(np.minimum(found * [1, -1], 0.0))  # (1 - R)_+ and (1 - 1/R)_+
    # Where all trials agree the spread says nothing; one more trial that differs is still as likely as 1 in `trials`.
    stderr = 0.25 * math.hypot(*np.maximum(distances.std(axis=0, ddof=1), 1 / trials)) / math.sqrt(trials)
    return 0.5 + 0.25 * float(distances.mean(axis=0).sum()), stderr


def copies_needed(n: int, eps: float, strategy: str, rng: Any, trials: int = 100) -> CopiesNeeded:
    """The copies for success 2/3: steps of 1.25 from the formula's guess until it is crossed, two bisections, then a
    line of success against log copies through all that was tried near the crossing, weighted by the errors.

    strategy: "mub", "clifford", "pauli" (single copies) or "bell" (pairs). trials: sets of outcomes of each hypothesis
    at every number of copies. The interval is that of 400 lines through successes redrawn within their errors.
    """
    _check(n, eps, strategy, trials)
    generator = generator_of(rng)
    tried: dict[int, tuple[float, float]] = {}
    unit = 2 if strategy == "bell" else 1  # pairs

    def at(log_copies: float) -> float:
        copies = unit * max(1, round(math.exp(log_copies) / unit))
        if copies not in tried:
            tried[copies] = success(n, eps, copies, strategy, generator, trials)
        return tried[copies][0]

    here = math.log(max(2.0, formula(n, eps, strategy)))
    enough = at(here) >= SUCCESS
    for _ in range(FAR):
        there = here + (-1 if enough else 1) * math.log(STEP)
        if there < math.log(2) or (at(there) >= SUCCESS) != enough:
            break
        here = there
    low, high = sorted((here, max(there, math.log(2))))
    for _ in range(2):
        middle = (low + high) / 2
        low, high = (low, middle) if at(middle) >= SUCCESS else (middle, high)
    # Points at the level on both sides of the crossing, where success against log copies is nearly straight.
    copies, rate, error = np.array([(c, *tried[c]) for c in sorted(tried)]).T
    near = np.abs(np.log(copies) - (low + high) / 2) < 1.6 * math.log(STEP)
    x, y, w = np.log(copies[near]), rate[near], 1 / error[near]
    redrawn = [y, *(y + generator.normal(size=(400, len(y))) / w)]
    crossings = np.array([_crossing(x, values, w, (low + high) / 2) for values in redrawn])
    interval = np.quantile(crossings[1:], (0.025, 0.975))
    best, least, most = np.exp([crossings[0], min(interval[0], crossings[0]), max(interval[1], crossings[0])])
    line = tuple((c, *tried[c]) for c in sorted(tried))
    return CopiesNeeded(strategy, n, eps, float(best), float(least), float(most), trials, line)


def formula(n: int, eps: float, strategy: str) -> float:
    """Copies at which the information about P meets what has to be learnt, log of the number of candidates:

        single copies:  2^n + 1  copies for one that tells P, with D(3 eps) nats of information, against 2 (4^n - 1)
        pairs:          2 copies, with D(9 eps^2) nats, against 4^n - 1,

    D(a) = ((1 + a) ln(1 + a) + (1 - a) ln(1 - a)) / 2 = a^2 / 2 + ..., the relative entropy of a coin of bias a. So
    about (2^n + 1) (2 n + 1) ln 2 / (9 eps^2 / 2) and 8 n ln 2 / (81 eps^4). For "pauli" a string on w letters is told
    by 3^-w of the copies, and w = 3n/4 stands for all. Not a bound: where the likelihood ratio starts to see something.
    """
    a = 9 * eps**2 if strategy == "bell" else 3 * eps
    nats = ((1 + a) * math.log1p(a) + (1 - a) * math.log1p(-a)) / 2
    if strategy == "bell":
        return 2 * math.log(4**n - 1) / nats
    return (3 ** (0.75 * n) if strategy == "pauli" else 2**n + 1) * math.log(2 * (4**n - 1)) / nats


def experiment(
    ns: Sequence[int],
    eps: float | Sequence[float],
    *,
    strategies: Sequence[str] = ("mub", "bell"),
    rng: Any,
    trials: int = 100,
) -> CopiesTable:
    """Copies needed for every strategy, n and eps (n beyond a strategy's memory left out), and fitted exponents:

    * log2 copies against n, for single copies: at least 1 by proposition 3. The strategies here test 2 (4^n - 1)
      candidates at once and need a factor of about n for that, so log2(copies / n) is fitted as well.
    * log copies against log n for pairs: 1 for large n; log(4^n - 1) less a constant rises faster at first.
    * log copies against the log of :func:`formula`: 1 where its dependence on n is right.
    * log copies against log 1/eps where several eps are given, at the largest n: 2 and 4.
    """
    levels = [float(e) for e in np.atleast_1d(eps)]
    for strategy in strategies:
        for n in ns:
            for e in levels:
                _check(n, e, strategy, trials, most=False)
    generator = generator_of(rng)
    rows = [
        copies_needed(n, e, strategy, generator, trials)
        for strategy in strategies
        for e in levels
        for n in ns
        if n <= MOST_QUBITS[strategy]
    ]
    fits: list[CopiesFit] = []
    for strategy in strategies:
        mine = [row for row in rows if row.strategy == strategy]
        for e in levels:
            own = [row for row in mine if row.eps == e]
            count = np.array([row.n for row in own], float)
            copies = np.array([row.copies for row in own])
            at = f" at eps = {e:g}" if len(levels) > 1 else ""
            if strategy == "bell":
                fits += _fit(strategy, f"log copies against log n{at}", np.log(count), np.log(copies))
            else:
                fits += _fit(strategy, f"log2 copies against n{at}", count, np.log2(copies))
                fits += _fit(strategy, f"log2(copies / n) against n{at}", count, np.log2(copies / count))
            guess = np.log([formula(row.n, e, strategy) for row in own])
            fits += _fit(strategy, f"log copies against log formula{at}", guess, np.log(copies))
        largest = max((row.n for row in mine), default=0)
        x = np.array([-math.log(row.eps) for row in mine if row.n == largest])
        y = np.array([math.log(row.copies) for row in mine if row.n == largest])
        fits += _fit(strategy, f"log copies against log 1/eps at n = {largest}", x, y)
    return CopiesTable(tuple(rows), tuple(fits))


def draw(table: CopiesTable) -> Picture:
    """Copies against n: measured points with 95 % intervals, and :func:`formula` as dashed lines."""
    figure, (axes,) = panels(1, 5.6, 3.8)
    names = {
        "mub": "single copies, unbiased bases",
        "clifford": "single copies, random Clifford",
        "pauli": "single copies, random local",
        "bell": "pairs, Bell basis",
    }
    for index, key in enumerate(dict.fromkeys((row.strategy, row.eps) for row in table.rows)):
        own = sorted((row for row in table.rows if (row.strategy, row.eps) == key), key=lambda row: row.n)
        n, copies = [row.n for row in own], np.array([row.copies for row in own])
        below, above = copies - [row.low for row in own], np.array([row.high for row in own]) - copies
        colour, label = hue(index), f"{names[key[0]]}, eps = {key[1]:g}"
        axes.errorbar(n, copies, (below, above), fmt="o", color=colour, markersize=4, label=f"{label}: measured")
        if key[0] != "pauli":  # whose formula is a typical string's, not a line to hold points against
            name = None if index else "formula of the same colour"
            axes.plot(n, [formula(k, key[1], key[0]) for k in n], "--", color=colour, linewidth=1, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("qubits n")
    axes.set_ylabel("copies for success 2/3")
    return picture(figure, "Copies needed to see a hidden Pauli string")


def _crossing(x: np.ndarray, y: np.ndarray, w: np.ndarray, centre: float) -> float:
    """Where the weighted line through the points is at 2/3, kept within a factor of 1.6 STEP of the centre."""
    if len(x) < 2:
        return float(x[0])
    slope, height = np.polyfit(x - centre, y, 1, w=w)
    move = (SUCCESS - height) / slope if slope > 0 else 0.0
    return centre + float(np.clip(move, -1.6 * math.log(STEP), 1.6 * math.log(STEP)))


def _fit(strategy: str, what: str, x: np.ndarray, y: np.ndarray) -> list[CopiesFit]:
    """One line, its interval from the scatter about it (Student's t); none for fewer than three different x."""
    if len(np.unique(x)) < 3:
        return []
    away = x - x.mean()
    slope = float(away @ y / (away @ away))
    rest = y - y.mean() - slope * away
    half = float(stdtrit(len(x) - 2, 0.975) * np.sqrt(rest @ rest / (len(x) - 2) / (away @ away)))
    return [CopiesFit(strategy, what, slope, slope - half, slope + half)]


def _check(n: Any, eps: float, strategy: str, trials: Any, *, most: bool = True) -> None:
    if strategy not in STRATEGIES:
        raise QupropError(f"unknown strategy {strategy!r}: {nearest(str(strategy), STRATEGIES)}")
    limit = MOST_QUBITS[strategy]
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 or (most and n > limit):
        raise QupropError(f"n must be a number of qubits from 1 to {limit} for {strategy!r}, got {n!r}")
    if not 0 < eps < 1 / 3:
        raise QupropError(f"eps must lie between 0 and 1/3, as 1 + 3 eps P is a state, got {eps!r}")
    if isinstance(trials, bool) or not isinstance(trials, int | np.integer) or trials < 2:
        raise QupropError(f"trials must be a whole number from 2, got {trials!r}")
