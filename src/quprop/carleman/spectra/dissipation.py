"""Does gradient descent on a network contract, how far does its expansion reach, and how long may a block run?

    analysis = analyse(network, data, Descent(0.1), rng=0)
    print(analysis.sentence())

puts together the Hessian's spectrum (spectrum.py), the error proxy (proxy.py), the norms of the step matrices
(gains.py) and what they prove (radius.py), at the network's present parameters, which are the expansion point: the
block starts at deviation 0 and is driven by the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.carleman.maps.gains import Gains, step_gains
from quprop.carleman.maps.radius import (
    Radius,
    bound_block_length,
    convergence_radius,
    finite_time_bound,
    nonlinearity_ratio,
)
from quprop.carleman.maps.smooth import check_expandable
from quprop.carleman.networks.networks import Network
from quprop.carleman.spectra import proxy as proxies
from quprop.carleman.spectra.hessian import Batches, hessian_matvec
from quprop.carleman.spectra.proxy import Descent, Proxy
from quprop.carleman.spectra.spectrum import Spectrum, spectrum_of
from quprop.errors import QupropError, generator_of

MANY = 20_000
LIMIT = 10_000  # the longest block that is looked for
KINDS = ("fully dissipative", "almost dissipative", "not dissipative")


@dataclass(frozen=True, eq=False)
class Dissipation:
    """What :func:`analyse` found.

    ``kind``                 see :func:`kind_of`, for blocks of ``steps``
    ``proxy``                the frozen proxy at steps 0..steps
    ``proxy_minimum``        the step where it is least, at most LIMIT
    ``proxy_block_length``   steps until it exceeds 1 + tolerance, at most LIMIT
    ``gains``                norms of the step matrices, None where they were not asked for
    ``radius``, ``ratio``    of the upper gains: the trapping radii, and R at the deviation that makes it least (inf
                             where the linear part does not contract)
    ``bound``                proved error (steps + 1,) of the lift cut at ``order``, over |theta|, of upper gains
    ``bound_block_length``   steps for which that stays within tolerance
    ``kinks``                of the network (ReLU, max-pooling), which no expansion sees: nothing is said of it then
    """

    parameters: int
    descent: Descent
    order: int
    steps: int
    tolerance: float
    spectrum: Spectrum
    kind: str
    proxy: Proxy
    proxy_minimum: int
    proxy_block_length: int
    gains: Gains | None
    radius: Radius | None
    ratio: float | None
    bound: np.ndarray | None
    bound_block_length: int | None
    kinks: tuple[str, ...] = ()

    @property
    def block_length(self) -> int:
        """Steps a block may run: the proxy's; the proved number (``bound_block_length``) is far more cautious."""
        return self.proxy_block_length

    def sentence(self) -> str:
        a = self.descent.learning_rate
        text = (
            f"{self.parameters:,} parameters, Hessian eigenvalues {self.spectrum.least:.3g} to "
            f"{self.spectrum.greatest:.3g}: at learning rate {a:g} the descent is {self.kind}, "
            f"the error proxy is least after {_steps(self.proxy_minimum)} "
            f"and stays within 1 + {self.tolerance:g} for {_steps(self.proxy_block_length)}"
        )
        if self.bound_block_length is not None:
            where = "inside a convergence radius" if self.radius else "in the absence of a convergence radius"
            text += f"; an order-{self.order} expansion is proved for {_steps(self.bound_block_length)} {where}"
        return text + "."

    def to_json(self) -> dict[str, Any]:
        radius = None
        if self.radius is not None and self.gains is not None:
            radius = {
                "exists": bool(self.radius),
                "inner": _number(self.radius.inner),
                "outer": _number(self.radius.outer),
                "R": _number(self.ratio),
                "gains_lower": self.gains.lower.tolist(),
                "gains_upper": self.gains.upper.tolist(),
            }
        return {
            "parameters": self.parameters,
            "learning_rate": self.descent.learning_rate,
            "momentum": self.descent.momentum,
            "order": self.order,
            "tolerance": self.tolerance,
            "kind": self.kind,
            "spectrum": self.spectrum.to_json(),
            "proxy": self.proxy.to_json() | {"minimum_at": self.proxy_minimum, "block_length": self.proxy_block_length},
            "radius": radius,
            "bound": None if self.bound is None else [_number(b) for b in self.bound],
            "bound_block_length": self.bound_block_length,
            "block_length": self.block_length,
            "kinks": list(self.kinks),
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
    progress: Callable[[int, int, str], None] | None = None,
) -> Dissipation:
    """Analyse the descent of `network` on `data` (a list of (inputs, targets)) from its present parameters.

    ``steps``      of a block, for the curves and for `kind`
    ``order``      of the expansion; norms of G_k are estimated up to it
    ``tolerance``  of the proxy above 1, and of the proved error over |theta|
    ``norms``      estimate norms of G_k and what they prove; needs contractions of order `order`, `samples` of them and
                   more. From MANY parameters on they are taken over the first batch only
    ``lanczos_steps``, ``probes``, ``operator``, ``precision``  see spectrum_of and hessian_matvec
    ``progress``   called with what is done, what is planned, and of what
    """
    _check(steps, order, descent)
    rng = generator_of(rng)

    def told(what: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, of: progress(done, of, what)

    kinks = check_expandable(network.module, network.loss, data[0], kinks="allow")
    n, tell = network.n_parameters, told("Hessian-vector products")
    product = hessian_matvec(network, data, operator=operator)
    spectrum = spectrum_of(product, n, rng, steps=lanczos_steps, probes=probes, precision=precision, progress=tell)
    gains = None
    if norms and not descent.momentum and not kinks and spectrum.operator != "differences":
        some, tell = data if n < MANY else data[:1], told("norms of the step matrices")
        gains = step_gains(
            network, some, spectrum, descent, rng, order=order, samples=samples, precision=precision, progress=tell
        )
    return Dissipation(
        n,
        descent,
        order,
        steps,
        tolerance,
        spectrum,
        kind_of(spectrum, descent, steps),
        proxies.frozen(spectrum, descent, range(steps + 1)),
        proxies.lowest(spectrum, descent, LIMIT),
        proxies.block_length(spectrum, descent, tolerance, LIMIT),
        gains,
        *_proved(gains, float(np.linalg.norm(network.parameters())), order, steps, tolerance),
        kinks,
    )


def _check(steps: int, order: int, descent: Descent) -> None:
    if steps < 1 or order < 1:
        raise QupropError(f"steps and order must be at least 1, got {steps} and {order}")
    if descent.weight_decay:
        raise QupropError("weight decay belongs to the network (its weight_decay is used): leave it out of Descent")


def _proved(
    gains: Gains | None, size: float, order: int, steps: int, tolerance: float
) -> tuple[Radius | None, float | None, np.ndarray | None, int | None]:
    """Radius, ratio, bound and its block length of `Dissipation`, for parameters of norm `size`; None without gains."""
    if gains is None:
        return None, None, None, None
    return (
        convergence_radius(gains.upper),
        least_ratio(gains.upper),
        finite_time_bound(gains.upper, 0.0, order, steps) / size,
        bound_block_length(gains.upper, 0.0, order, tolerance * size, LIMIT),
    )


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
