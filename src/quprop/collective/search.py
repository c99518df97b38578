"""The search that a cheap, purely gentle measurement would speed up too far: Theorem 13 of Abbas et al., measured.

f on N items marks one item or none, and one query makes a copy of |s_f> = N^(-1/2) sum_x |x>|f(x)>. The event
E = |1><1| of the flag has p = <E> = 0 or 1/N. Suppose k copies allowed a one-bit test of p against a threshold that is
alpha-gentle whatever p is, with a window eps in which its acceptance h(p) climbs. Then r = (2 eps N)^2 tests in a row
on the *same* copies would move them by r alpha in all; with alpha = 1/(10 r) they would stay as good as new, the r bits
independent, and their mean would tell h(0) from h(1/N), 0.24/(eps N) higher: more than one standard deviation. If
k = polylog(1/alpha) copies were enough, that would be a search with polylog(N) queries, and there is none with fewer
than Omega(sqrt(N)) (Bennett, Bernstein, Brassard and Vazirani, arXiv:quant-ph/9701001).

Here the tests are those of `check.py`, with Gaussian noise of deviation eps k, so that their window is eps. All are
functions of one count S, hence k copies behave as S ~ Binomial(k, p) drawn once, and everything below is exact: the
bits are independent given S only. What gentleness promises (bits independent) and what happens (bits of one S) part
where k is far below N; and a test that is alpha-gentle for that alpha needs k ~ 1/(eps alpha^2) copies, far beyond N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, stats

from quprop.collective import binomial
from quprop.collective.check import Check, count_law, gentleness
from quprop.collective.event import Event
from quprop.errors import QupropError, generator_of
from quprop.model.pauli import PauliString
from quprop.sampling.estimate import shown

SUCCESS = 2 / 3
_FLAG = Event(PauliString.parse("-Z0"))  # accepts |1>


class Search(NamedTuple):
    """r gentle tests in a row on k copies of |s_f>, N items.

    promised   probability of telling p = 0 from 1/N if the copies stayed undisturbed: r independent bits
    success    the same as it is: bits of one count
    limit      what any use of the event E on k copies can reach: 1/2 + (1 - (1 - 1/N)^k)/2
    alpha      gentleness of one test, trace distance, the worse outcome, at p = eps, the threshold
    needed     1/(10 r), what the argument asks for
    damage     trace distance that r passes move k copies by, at p = 1/N: at most r times one; above 1 `promised`, which
               is for undisturbed copies, says nothing
    """

    items: int
    copies: int
    tests: int
    promised: float
    success: float
    limit: float
    alpha: float
    needed: float
    damage: float

    def __str__(self) -> str:
        return (
            f"N = {self.items:,}, {self.copies:,} copies, {self.tests:,} tests: told apart {self.success:.3f} "
            f"(promised {self.promised:.3f}, limit {self.limit:.3f}); alpha {self.alpha:.2g}, needed "
            f"{self.needed:.2g}; {shown(self.damage)}"
        )


def flag_check(k: int, eps: float) -> Check:
    """The test: Gaussian noise of deviation eps k, threshold eps: Pr[trigger] grows from Phi(-1) = 0.16 at p = 0 to 1/2
    at eps and 0.84 at 2 eps. Gaussian noise, because a pass of exponential noise is gentle only while it is likely."""
    return Check(_FLAG, eps, eps * k, "gaussian")


def search(items: int, k: int, eps: float, tests: int | None = None) -> Search:
    """Exact probabilities of telling no marked item from one; priors 1/2 each. `tests` is r, (2 eps N)^2 by default."""
    _whole(items, "items", 2)
    _whole(k, "k", 1)
    if not 0 < eps <= 0.25:
        raise QupropError(f"`eps`, the window of the test, is a probability in (0, 1/4], got {eps}")
    r = max(1, round((2 * eps * items) ** 2)) if tests is None else tests
    _whole(r, "tests", 1)
    test = flag_check(k, eps)
    p = 1 / items
    counts, weights = count_law(k, p)
    f = np.clip(test.trigger(counts, k), 0.0, 1.0)
    quiet, undisturbed = float(test.trigger(np.zeros(1), k)[0]), float(weights @ f)
    alone = gentleness(test, k, p)
    return Search(
        items=items,
        copies=k,
        tests=r,
        promised=0.5 + _distance(r, quiet, np.ones(1), np.array([undisturbed])) / 2,
        success=0.5 + _distance(r, quiet, weights, f) / 2,
        limit=0.5 - math.expm1(k * math.log1p(-p)) / 2,
        alpha=gentleness(test, k, eps).alpha,
        needed=1 / (10 * r),
        damage=r * alone.pass_distance,
    )


def copies_needed(items: int, eps: float, success: float = SUCCESS) -> int:
    """The fewest copies with which r = (2 eps N)^2 tests of the same copies tell p = 0 from 1/N: of the order of N."""
    if not 0.5 < success < 0.72:
        raise QupropError(f"`success` must lie between 1/2 and 0.72, what (2 eps N)^2 tests can reach, got {success}")
    low, high = 1, 2
    while search(items, high, eps).success < success:
        if high > 1000 * items:
            raise QupropError(f"no number of copies reaches {success:g} for N = {items} and eps = {eps:g}; take more N")
        low, high = high, 2 * high
    while high - low > max(1, low // 500):
        middle = (low + high) // 2
        low, high = (low, middle) if search(items, middle, eps).success >= success else (middle, high)
    return high


def promised_copies(items: int, eps: float) -> int:
    """log(1/alpha)^2, alpha = 1/(10 (2 eps N)^2): what a polylogarithmic gentle test would need."""
    return max(1, math.ceil(math.log(10 * max(1.0, (2 * eps * items) ** 2)) ** 2))


def gentle_copies(eps: float, alpha: float) -> int:
    """The fewest copies on which `flag_check` is alpha-gentle, both outcomes, at p = eps.

    Either outcome moves them by sd(f)/(2 P), P = 1/2 and sd(f) = phi(0) sqrt(k eps (1 - eps))/(eps k), so that k is
    (1 - eps)/(2 pi eps alpha^2). Solved on the exact law up to a million copies; the two agree to parts in a thousand.
    """
    if not (0 < eps <= 0.25 and 0 < alpha < 1):
        raise QupropError(f"gentle_copies takes eps in (0, 1/4] and alpha in (0, 1), got {eps} and {alpha}")
    guess = (1 - eps) / (2 * math.pi * eps * alpha**2)
    if guess > 1e6:
        return math.ceil(guess)

    def excess(log_k: float) -> float:
        k = max(1, round(math.exp(log_k)))
        return math.log(gentleness(flag_check(k, eps), k, eps).alpha / alpha)

    found = optimize.brentq(excess, math.log(max(2.0, guess / 50)), math.log(50 * guess + 10), xtol=1e-3)
    return math.ceil(math.exp(found))


def simulate(items: int, k: int, eps: float, tests: int, trials: int, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of triggers (trials,) with no marked item and with one, drawn as a batch of k copies would answer: one
    count for all tests. To hold against `search`."""
    generator = generator_of(rng)
    test = flag_check(k, eps)
    drawn = []
    for p in (0.0, 1 / items):
        counts = generator.binomial(k, p, size=trials)
        drawn.append(generator.binomial(tests, np.clip(test.trigger(counts, k), 0.0, 1.0)))
    return drawn[0], drawn[1]


class Scaling(NamedTuple):
    """What :func:`experiment` measured: rows, and the slope of log copies against log N with its standard error."""

    rows: list[dict[str, float]]
    slope: float
    stderr: float


def experiment(items: Sequence[int], eps: float) -> Scaling:
    """For each N: copies that the claim would need, sqrt(N), copies measured, copies for the alpha asked for; and the
    success of the claim's copies, promised and real."""
    rows = []
    for n in items:
        claimed = promised_copies(n, eps)
        at, needed = search(n, claimed, eps), copies_needed(n, eps)
        rows.append(
            {
                "N": n,
                "tests": at.tests,
                "alpha needed": at.needed,
                "copies claimed": claimed,
                "promised with these": at.promised,
                "success with these": at.success,
                "alpha with these": at.alpha,
                "Grover sqrt(N)": math.sqrt(n),
                "copies needed": needed,
                "alpha at copies needed": search(n, needed, eps).alpha,
                "copies for alpha": gentle_copies(eps, at.needed),
            }
        )
    return Scaling(rows, *slope_of(rows))


def slope_of(rows: Sequence[dict[str, float]]) -> tuple[float, float]:
    """Of log copies needed against log N, with its standard error; nan for fewer than three rows."""
    if len(rows) < 3:
        return math.nan, math.nan
    line = stats.linregress(np.log([r["N"] for r in rows]), np.log([r["copies needed"] for r in rows]))
    return float(line.slope), float(line.stderr)


def _distance(r: int, quiet: float, weights: np.ndarray, chances: np.ndarray) -> float:
    """Total variation between Binomial(r, quiet) and the mixture of Binomial(r, chances)."""
    keep = weights > 1e-15
    weights, chances = weights[keep] / weights[keep].sum(), chances[keep]
    spread = 12 * math.sqrt(r) / 2 + 30
    first = max(0, math.floor(r * min(quiet, float(chances.min())) - spread))
    last = min(r, math.ceil(r * max(quiet, float(chances.max())) + spread))
    step = max(1, (last - first) // 4_000)
    edges = np.arange(first, last + step, step)  # both laws summed over bins of `step`, far narrower than sqrt(r)

    def law(p: float) -> np.ndarray:
        if step == 1:
            return np.asarray(binomial.weights(edges, r, p))
        return np.diff(binomial.cdf(edges.astype(float), r, np.array(p)), prepend=0.0)

    other = sum(w * law(float(c)) for w, c in zip(weights, chances, strict=True))
    return float(np.abs(law(quiet) - other).sum() / 2)


def _whole(value: Any, name: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise QupropError(f"`{name}` must be a whole number, {least} or more, got {value!r}")
