"""Norms of a network's step matrices at a point: what radius.py needs. Exact ones prove, estimates do not.

Where the loss is a polynomial and few parameters move, all G_k are tabulated and their norms are exact
(:func:`exact_gains`). Elsewhere they are estimated from products alone (:func:`step_gains`).

G_0 = -eta grad, G_1 = 1 - eta H and G_k = -(eta/k!) D^{k+1} L for k >= 2, H and grad with weight decay. |G_1| comes
from the ends of the spectrum. For k >= 2 two numbers are given:

``lower``  max over |u| = 1 of |G_k u^(tensor k)|, by the symmetric power method from several starts (De Lathauwer, De
           Moor and Vandewalle 2000): what the map itself can do, a lower bound on |G_k|
``upper``  the largest singular value of G_k from samples: for independent standard normal z_1..z_k the covariance of
           G_k (z_1, ..., z_k) is G_k G_k', so the largest eigenvalue of the mean over samples has at least |G_k|^2 as
           expectation (Jensen). One draw of it may lie below: it is an estimate, no bound, and a network that is no
           polynomial has G_k beyond the order that was looked at
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, factorial
from typing import Any

import numpy as np

from quprop.carleman.maps.dynamics import Polynomial, PolynomialMap, tabulate
from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.torch_extra import load_torch
from quprop.carleman.spectra.hessian import Batches, derivative, gradient_and_loss
from quprop.carleman.spectra.proxy import Descent
from quprop.carleman.spectra.spectrum import Spectrum
from quprop.errors import QupropError, generator_of

PRODUCTS = 30_000  # nested derivatives that `step_polynomial` takes, times the work of each: seconds


@dataclass(frozen=True, eq=False)
class Gains:
    """|G_k|, k = 0, 1, ...; ``lower`` and ``upper`` (order + 1,) agree for k < 2. ``by`` "proof": both are the exact
    norms of all G_k there are, up to rounding; "estimate": see the top of this file."""

    lower: np.ndarray
    upper: np.ndarray
    by: str = "estimate"


def step_polynomial(
    network: Network, data: Batches, learning_rate: float, kept: np.ndarray | None = None
) -> Polynomial | None:
    """One step of plain descent of the parameters ``kept`` (r,) (default: all) written out, weight decay included. None
    where the loss is no polynomial (`Network.degree`, which is checked along a random direction), or where more than
    PRODUCTS were needed."""
    if network.degree is None or network.precision != "double":
        return None
    kept = np.arange(network.n_parameters) if kept is None else np.asarray(kept)
    r, top = len(kept), max(1, network.degree - 1)
    if sum(comb(r + k - 1, k) * 2**k for k in range(1, top + 1)) > PRODUCTS:
        return None
    step = _Tabulated(network, data, learning_rate, kept)
    return tabulate(step, top) if step.ends(top) else None


def exact_gains(network: Network, data: Batches, learning_rate: float, kept: np.ndarray | None = None) -> Gains | None:
    """The exact norms of all step matrices, of `step_polynomial`; None where there is none."""
    step = step_polynomial(network, data, learning_rate, kept)
    if step is None:
        return None
    norms = step.norms()
    return Gains(norms, norms, "proof")


class _Tabulated(PolynomialMap):
    """One step of plain descent of the kept parameters, known by nested derivatives of the loss, many at a time."""

    def __init__(self, network: Network, data: Batches, learning_rate: float, kept: np.ndarray) -> None:
        torch = load_torch("step matrices of a network")
        self.learning_rate, self.weight_decay, self.dimension = learning_rate, network.weight_decay, len(kept)
        self.degree = self.order = max(1, (network.degree or 0) - 1)
        self._constant = -learning_rate * gradient_and_loss(network, data)[0][kept]
        theta = torch.as_tensor(network.parameters())
        names = [name for name, _ in network.module.named_parameters()]
        shapes = [p.shape for p in network.module.parameters()]
        pieces, samples = [shape.numel() for shape in shapes], sum(len(x) for x, _ in data)
        where = torch.as_tensor(kept)

        def loss(u: Any) -> Any:
            whole = theta.index_add(0, where, u).split(pieces)
            tensors = {name: p.view(shape) for name, p, shape in zip(names, whole, shapes, strict=True)}
            outputs = ((torch.func.functional_call(network.module, tensors, (x,)), y) for x, y in data)
            return sum(network.loss(out, y) * (len(y) / samples) for out, y in outputs)

        self._torch, self._loss = torch, loss

    def constant(self) -> np.ndarray:
        return np.asarray(self._constant)

    def series(self, path: np.ndarray) -> np.ndarray:
        raise NotImplementedError("this map is known by its jets")

    def derivatives(self, k: int, monomials: np.ndarray) -> np.ndarray:
        basis = np.eye(self.dimension)
        return self.jet(k, [basis[monomials[:, leg]] for leg in range(k)])

    def jet(self, k: int, vectors: Sequence[np.ndarray]) -> np.ndarray:
        torch = self._torch
        zero = torch.zeros(self.dimension, dtype=torch.float64)

        def along(*given: Any) -> Any:
            function = torch.func.grad(self._loss)
            for v in given:
                function = _along(torch.func.jvp, function, v)
            return function(zero)

        found = torch.func.vmap(along, chunk_size=256)(*(torch.as_tensor(v) for v in vectors)).numpy()
        out = -self.learning_rate / factorial(k) * found
        return np.asarray(out + (1 - self.learning_rate * self.weight_decay) * vectors[0] if k == 1 else out)

    def ends(self, degree: int) -> bool:
        """Is G_k zero from degree + 1 on, along a fixed random direction, beside those up to it?"""
        u = np.random.default_rng(0).normal(size=(1, self.dimension))
        sizes = [float(np.linalg.norm(self.jet(k, [u] * k))) for k in range(1, degree + 2)]
        return sizes[-1] <= 1e-8 * max(sizes[:-1])


def _along(jvp: Any, function: Any, vector: Any) -> Any:
    return lambda u: jvp(function, (u,), (vector,))[1]


def step_gains(
    network: Network,
    data: Batches,
    spectrum: Spectrum,
    descent: Descent,
    rng: int | np.random.Generator,
    *,
    order: int = 2,
    samples: int = 16,
    starts: int = 2,
    iterations: int = 8,
    precision: str = "double",
    kept: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gains:
    """Estimated gains of one step of plain descent on the mean loss over `data`, whose Hessian has `spectrum` (weight
    decay included).

    ``order``    the largest k. A network that is no polynomial has G_k of every k; those beyond are not seen
    ``samples``, ``starts``, ``iterations``  of the estimates; each costs one contraction of order k for every sample
                 and for every iteration of every start
    ``kept``     the parameters (r,) that move, whose Hessian `spectrum` is; None: all
    ``progress`` called with contractions done and planned
    """
    if descent.momentum:
        raise QupropError("gains are of plain descent, got momentum; a norm for momentum is maps.lyapunov.best_norm")
    if descent.weight_decay:
        raise QupropError("weight decay belongs to the network and its spectrum here: leave it out of Descent")
    if order < 1:
        raise QupropError(f"order must be at least 1, got {order}")
    rng = generator_of(rng)
    eta = descent.learning_rate
    kept = np.arange(network.n_parameters) if kept is None else np.asarray(kept)
    gradient = gradient_and_loss(network, data)[0][kept]
    linear = float(descent.factors(np.array([spectrum.least, spectrum.greatest])).max())
    lower, upper = [eta * float(np.linalg.norm(gradient)), linear], [eta * float(np.linalg.norm(gradient)), linear]
    product = derivative(network, data)
    planned, spent = max(0, order - 1) * (starts * iterations + samples), 0

    def contract(directions: Sequence[np.ndarray]) -> np.ndarray:
        nonlocal spent
        if progress is not None:
            progress(spent, planned)
        spent += 1
        whole = []
        for u in directions:
            whole.append(np.zeros(network.n_parameters, u.dtype))
            whole[-1][kept] = u
        return product(whole)[kept]

    dtype = np.float64 if precision == "double" else np.float32
    for k in range(2, order + 1):
        scale = eta / factorial(k)

        def power(u: np.ndarray, k: int = k) -> np.ndarray:
            return contract([u] * k)

        lower.append(scale * multilinear_norm(power, len(kept), rng, starts, iterations, dtype))
        rows = np.stack(
            [contract([rng.standard_normal(len(kept)).astype(dtype) for _ in range(k)]) for _ in range(samples)]
        )
        gram = rows.astype(np.float64, copy=False) @ rows.T / samples  # (samples, samples)
        upper.append(max(scale * float(np.sqrt(np.linalg.eigvalsh(gram)[-1])), lower[-1]))
    return Gains(np.array(lower), np.array(upper))


def multilinear_norm(
    power: Callable[[np.ndarray], np.ndarray],
    dimension: int,
    rng: np.random.Generator,
    starts: int,
    iterations: int,
    dtype: type = np.float64,
) -> float:
    """The largest |T u^k| met by u <- T u^k / |T u^k| from random starts."""
    best = 0.0
    for _ in range(starts):
        u: np.ndarray = rng.standard_normal(dimension).astype(dtype)
        for _ in range(iterations):
            u = u / np.linalg.norm(u)
            u = power(u)
            size = float(np.linalg.norm(u))
            best = max(best, size)
            if size == 0 or not np.isfinite(size):
                break
    return best
