"""Does gradient descent on a network contract, how far does its expansion reach, and how long may a block run?

    analysis = analyse(network, data, Descent(0.1), rng=0)
    print(analysis.sentence())

puts together the Hessian's spectrum (spectrum.py), the error proxy (proxy.py), the norms of the step matrices
(gains.py), what they prove (radius.py) and the truncation error that is measured beside plain descent (truncation.py),
at the network's present parameters, which are the expansion point: the block starts at deviation 0 and is driven by the
gradient. All of it is of the map of the surviving parameters, where there are others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.carleman.maps.dynamics import Dynamics
from quprop.carleman.maps.gains import Gains, exact_gains, step_gains
from quprop.carleman.maps.radius import (
    Radius,
    bound_block_length,
    convergence_radius,
    jet_bound,
    level_bound,
    nonlinearity_ratio,
)
from quprop.carleman.maps.smooth import check_expandable
from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.torch_extra import load_torch
from quprop.carleman.spectra import proxy as proxies
from quprop.carleman.spectra.hessian import Batches
from quprop.carleman.spectra.proxy import Descent, Proxy
from quprop.carleman.spectra.spectrum import Spectrum
from quprop.carleman.spectra.survivors import survivors_dynamics, survivors_spectrum
from quprop.carleman.truncation import Truncation, measure, typical
from quprop.errors import QupropError, generator_of

MANY = 20_000
LIMIT = 10_000  # the longest block that is looked for
ALMOST_EVERYWHERE = (
    "the Hessian where it exists, almost everywhere: kinks carry no curvature, and a step across one changes the "
    "gradient by more than it says"
)
KINDS = ("fully dissipative", "almost dissipative", "not dissipative")


@dataclass(frozen=True, eq=False)
class Dissipation:
    """What :func:`analyse` found.

    ``kind``                 see :func:`kind_of`, for blocks of ``steps``
    ``proxy``                the frozen proxy at steps 0..steps
    ``proxy_minimum``        the step where it is least, at most LIMIT
    ``proxy_block_length``   steps until it exceeds 1 + tolerance, at most LIMIT; ``proxy_range`` least and greatest of
                             its probes taken one by one
    ``gains``                norms of the step matrices, None where they were not asked for; ``gains.by`` says whether
                             what follows from them is a "proof" or an "estimate"
    ``radius``, ``ratio``    of the upper gains: the trapping radii, and R at the deviation that makes it least (inf
                             where the linear part does not contract)
    ``bound``                error (steps + 1,) that these gains allow the lift cut at ``order``, over |theta|
    ``bound_block_length``   steps for which that stays within tolerance
    ``runs``                 the truncation measured beside plain descent, once for each draw of samples or batches;
                             none where the network does not expand
    ``update_bound``         `bound`, but of the engine that was measured and over |u|, at the steps measured
    ``kinks``                of the network (ReLU, max-pooling), which no expansion sees: nothing is said of it then
    """

    parameters: int
    kept: int
    descent: Descent
    order: int
    steps: int
    tolerance: float
    spectrum: Spectrum
    kind: str
    proxy: Proxy
    proxy_minimum: int
    proxy_block_length: int
    proxy_range: tuple[int, int]
    gains: Gains | None
    radius: Radius | None
    ratio: float | None
    bound: np.ndarray | None
    bound_block_length: int | None
    runs: tuple[Truncation, ...]
    update_bound: np.ndarray | None
    kinks: tuple[str, ...] = ()

    @property
    def truncation(self) -> Truncation | None:
        """The typical run."""
        return typical(self.runs) if self.runs else None

    @property
    def caveat(self) -> str | None:
        """What the spectrum is where the network has kinks."""
        return ALMOST_EVERYWHERE if self.kinks else None

    @property
    def block_length(self) -> int:
        """Steps a block may run: until its measured truncation error passes the tolerance, at most ``steps``; by the
        error proxy where the network does not expand."""
        if self.truncation is None:
            return max(1, min(self.proxy_block_length, self.steps))
        return max(1, self.truncation.within)

    @property
    def block_range(self) -> tuple[int, int]:
        """Least and greatest `block_length` over the draws of samples or batches."""
        lengths = [max(1, run.within) for run in self.runs] or [self.block_length]
        return min(lengths), max(lengths)

    @property
    def bound_by(self) -> str:
        """ "proved" where the gains are exact, else "estimated"."""
        return "proved" if self.gains is not None and self.gains.by == "proof" else "estimated"

    @property
    def update_bound_length(self) -> int | None:
        """Steps for which ``update_bound`` stays within tolerance, of those measured."""
        if self.update_bound is None:
            return None
        return int(np.argmax(np.append(self.update_bound, np.inf) > self.tolerance)) - 1

    def sentence(self) -> str:
        a = self.descent.learning_rate
        kept = "" if self.kept == self.parameters else f"{self.kept:,} of "
        text = (
            f"{kept}{self.parameters:,} parameters, Hessian eigenvalues {self.spectrum.least:.3g} to "
            f"{self.spectrum.greatest:.3g}: at learning rate {a:g} the descent is {self.kind}, "
            f"the error proxy is least after {_steps(self.proxy_minimum)} "
            f"and stays within 1 + {self.tolerance:g} for {_steps(self.proxy_block_length)}; a block may run "
            + (f"{_steps(self.block_length)} by that" if self.truncation is None else allowed(self.truncation))
        )
        if self.bound_block_length is not None:
            where = "inside a convergence radius" if self.radius else "in the absence of a convergence radius"
            text += (
                f"; an order-{self.order} expansion is {self.bound_by} for {_steps(self.bound_block_length)} {where}"
            )
        return text + "."

    def to_json(self) -> dict[str, Any]:
        radius = None
        if self.radius is not None and self.gains is not None:
            radius = {
                "exists": bool(self.radius),
                "by": self.gains.by,
                "inner": _number(self.radius.inner),
                "outer": _number(self.radius.outer),
                "R": _number(self.ratio),
                "gains_lower": self.gains.lower.tolist(),
                "gains_upper": self.gains.upper.tolist(),
            }
        return {
            "parameters": self.parameters,
            "kept": self.kept,
            "learning_rate": self.descent.learning_rate,
            "momentum": self.descent.momentum,
            "order": self.order,
            "tolerance": self.tolerance,
            "kind": self.kind,
            "spectrum": self.spectrum.to_json() | {"caveat": self.caveat},
            "proxy": self.proxy.to_json()
            | {
                "minimum_at": self.proxy_minimum,
                "block_length": self.proxy_block_length,
                "block_length_range": list(self.proxy_range),
            },
            "radius": radius,
            "bound": None if self.bound is None else [_number(b) for b in self.bound],
            "bound_block_length": self.bound_block_length,
            "bound_by": None if self.gains is None else self.gains.by,
            "block_length": self.block_length,
            "kinks": list(self.kinks),
            "truncation": None
            if self.truncation is None
            else self.truncation.to_json()
            | {
                "length_range": list(self.block_range),
                "lengths": [run.within for run in self.runs],
                "bound": None if self.update_bound is None else [_number(b) for b in self.update_bound],
                "bound_by": None if self.gains is None else self.gains.by,
                "bound_length": self.update_bound_length,
            },
        }


def analyse(
    network: Network,
    data: Batches,
    descent: Descent,
    rng: int | np.random.Generator,
    *,
    steps: int = 100,
    order: int = 3,
    tolerance: float = 1e-2,
    lanczos_steps: int = 64,
    probes: int = 4,
    norms: bool = True,
    samples: int = 16,
    operator: str = "auto",
    precision: str = "double",
    kept: np.ndarray | None = None,
    runs: Sequence[Dynamics] | None = None,
    expands: bool = True,
    stop: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Dissipation:
    """Analyse the descent of `network` on `data` (a list of (inputs, targets)) from its present parameters.

    ``steps``      of a block, for the curves and for `kind`; the truncation is measured for no more
    ``order``      of the expansion; norms of G_k are estimated up to it
    ``tolerance``  of the truncation error of the update; of the proxy above 1, and of the bound over |theta|
    ``norms``      exact norms of G_k where the loss is a polynomial and few parameters move (`exact_gains`), which
                   prove; else estimates, by contractions of order `order`, `samples` of them and more, from MANY
                   parameters on over the first batch only
    ``kept``       the parameters (r,) that move; None: all
    ``runs``       descents of these to measure the truncation of, each with samples or batches drawn anew; None: the
                   one over all of `data`
    ``expands``    False: derivatives beyond the second cannot be had, so no norms and no truncation
    ``stop``       measure up to the crossing; False: for all ``steps``
    ``lanczos_steps``, ``probes``, ``operator``, ``precision``  see spectrum_of and hessian_matvec
    ``progress``   called with what is done, what is planned, and of what
    """
    _check(steps, order, descent)
    rng = generator_of(rng)

    def told(what: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, of: progress(done, of, what)

    kinks = check_expandable(network.module, network.loss, data[0], kinks="allow")
    n = network.n_parameters
    kept = np.arange(n) if kept is None else np.asarray(kept)
    spectrum = survivors_spectrum(
        network,
        kept,
        data,
        rng,
        lanczos_steps=lanczos_steps,
        probes=probes,
        operator=operator,
        precision=precision,
        progress=told("Hessian-vector products"),
    )
    expands = expands and not kinks and spectrum.operator != "differences"
    gains = None
    if norms and expands:
        gains = _gains(network, data, spectrum, descent, rng, kept, order, samples, precision, told)
    same = runs is None  # else the gains are of another map than the one measured, and bound nothing of it
    if not expands:
        runs = []
    elif runs is None:
        runs = [_whole(network, data, descent, kept, order)]
    measured = []
    for i, run in enumerate(runs):
        tell = told(f"truncation error, run {i + 1} of {len(runs)}")
        measured.append(measure(run, order, steps, tolerance, stop=stop, tick=tell))
    return Dissipation(
        n,
        len(kept),
        descent,
        order,
        steps,
        tolerance,
        spectrum,
        kind_of(spectrum, descent, steps),
        proxies.frozen(spectrum, descent, range(steps + 1)),
        proxies.lowest(spectrum, descent, LIMIT),
        proxies.block_length(spectrum, descent, tolerance, LIMIT),
        proxies.block_length_range(spectrum, descent, tolerance, LIMIT),
        gains,
        *_bounded(gains, float(np.linalg.norm(network.parameters())), order, steps, tolerance),
        tuple(measured),
        _update_bound(gains, typical(measured)) if same and measured else None,
        kinks,
    )


def _gains(
    network: Network,
    data: Batches,
    spectrum: Spectrum,
    descent: Descent,
    rng: np.random.Generator,
    kept: np.ndarray,
    order: int,
    samples: int,
    precision: str,
    told: Callable[[str], Callable[[int, int], None] | None],
) -> Gains | None:
    """Exact norms of the step matrices where they can be had, else estimates; None for momentum."""
    if descent.momentum:
        return None
    exact = exact_gains(network, data, descent.learning_rate, kept)
    if exact is not None:
        return exact
    some, tell = data if network.n_parameters < MANY else data[:1], told("norms of the step matrices")
    settings: dict[str, Any] = {"order": order, "samples": samples, "precision": precision, "progress": tell}
    return step_gains(network, some, spectrum, descent, rng, kept=kept, **settings)


def _whole(network: Network, data: Batches, descent: Descent, kept: np.ndarray, order: int) -> Dynamics:
    """Descent on the mean loss over all of `data`."""
    torch = load_torch("the descent of a network")
    joined = tuple(torch.cat([piece[i] for piece in data]) for i in range(2))
    given = {"learning_rate": descent.learning_rate, "momentum": descent.momentum}
    return survivors_dynamics(network, kept, [joined], order=order, **given)


def allowed(found: Truncation, how: str = "") -> str:
    """How long a block may run, by what was measured: "7 steps (measured: its update is off by 0.82 % then, 1.3 % a
    step later)"; ``how`` after "measured"."""
    if found.crossing is None:
        return f"more than {_steps(found.limit)} (measured{how}: its update is off by {percent(found.errors[-1])} then)"
    last = found.crossing - 1
    text = f"{_steps(last)} (measured{how}: its update is off by {percent(found.errors[last])} then, "
    return text + f"{percent(found.errors[found.crossing])} a step later)"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share < 10 else "more than 1,000 %"


def _check(steps: int, order: int, descent: Descent) -> None:
    if steps < 1 or order < 1:
        raise QupropError(f"steps and order must be at least 1, got {steps} and {order}")
    if descent.weight_decay:
        raise QupropError("weight decay belongs to the network (its weight_decay is used): leave it out of Descent")


def _bounded(
    gains: Gains | None, size: float, order: int, steps: int, tolerance: float
) -> tuple[Radius | None, float | None, np.ndarray | None, int | None]:
    """Radius, ratio, bound and its block length of `Dissipation`, for parameters of norm `size`; None without gains,
    and no bound where all parameters are zero and nothing is relative to them."""
    if gains is None:
        return None, None, None, None
    radius, ratio = convergence_radius(gains.upper), least_ratio(gains.upper)
    if not size:
        return radius, ratio, None, None
    return (
        radius,
        ratio,
        level_bound(gains.upper, 0.0, order, steps) / size,
        bound_block_length(gains.upper, 0.0, order, tolerance * size, LIMIT, level_bound),
    )


def _update_bound(gains: Gains | None, found: Truncation) -> np.ndarray | None:
    """What the gains allow the engine that was measured, over |u|."""
    if gains is None:
        return None
    steps = len(found.errors) - 1
    bound = jet_bound(gains.upper, found.order, steps)
    if found.exact:
        bound = level_bound(gains.upper, 0.0, found.order, steps)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bound > 0, bound / found.sizes, 0.0)


def kind_of(spectrum: Spectrum, descent: Descent, steps: int, contraction: float = 1e-6) -> str:
    """With m = max |1 - a|: ``fully dissipative`` for m <= 1 - contraction, ``almost dissipative`` for m <= 1 + 1/steps
    (errors grow by less than e in a block), else ``not dissipative``. This is an operational reading of Liu et al.
    (2024), whose formal thresholds are in a supplement not seen."""
    largest = proxies.growth(spectrum, descent)
    if largest <= 1 - contraction:
        return KINDS[0]
    return KINDS[1] if largest <= 1 + 1 / steps else KINDS[2]


def least_ratio(gains: np.ndarray) -> float:
    """The least R over all deviations: R <= 1 exactly if there is a trapping radius. For a quadratic map it is
    2 sqrt(g_0 g_2)/(1 - g_1); inf where g_1 >= 1."""
    if gains[1] >= 1:
        return float("inf")
    grid = np.geomspace(1e-12, 1e12, 2401)
    values = [nonlinearity_ratio(gains, x) for x in grid]
    i = int(np.argmin(values))
    fine = np.geomspace(grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)], 201)
    return float(min(nonlinearity_ratio(gains, x) for x in fine))


def _steps(count: int) -> str:
    return f"more than {LIMIT:,} steps" if count >= LIMIT else f"{count:,} step{'' if count == 1 else 's'}"


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
