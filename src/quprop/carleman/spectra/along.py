"""Hessian spectra and error proxy along training, after pruning and at every upload: figures 3 to 5 of Liu et al.
(2024).

Plain or momentum descent on mini-batches, classical; at chosen steps the Hessian of the present parameters is measured
on a fixed part of the data. Pruning happens at the start and at every upload and gradients are not masked, so sparsity
decays within a block and is restored by the next upload, as in the authors' runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.carleman.networks.data import Dataset, batches
from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.plain import accuracy_of
from quprop.carleman.networks.prune import prune, sparsity_of
from quprop.carleman.networks.torch_extra import load_torch, trainable
from quprop.carleman.spectra import proxy as proxies
from quprop.carleman.spectra.hessian import hessian_matvec, split_batches
from quprop.carleman.spectra.proxy import Descent, Proxy
from quprop.carleman.spectra.spectrum import Spectrum, spectrum_of
from quprop.errors import QupropError, generator_of


@dataclass(frozen=True, eq=False)
class Moment:
    """One measured step: training loss of the step's batch, `plain.accuracy_of` the test part, share of zero
    parameters, spectrum."""

    step: int
    loss: float
    accuracy: float
    zeros: float
    spectrum: Spectrum


@dataclass(frozen=True, eq=False)
class Course:
    """Measured moments of one run, with the steps at which it was uploaded."""

    descent: Descent
    uploads: tuple[int, ...]
    moments: tuple[Moment, ...]

    @property
    def steps(self) -> list[int]:
        return [m.step for m in self.moments]

    def proxies(self) -> dict[str, Proxy]:
        """The three readings of the error proxy, each of which begins anew at every upload."""
        spectra = [m.spectrum for m in self.moments]
        return {
            "frozen": proxies.frozen_since(spectra, self.steps, self.descent, self.uploads),
            "current": proxies.current(spectra, self.steps, self.descent, restart=self.uploads),
            "running": proxies.running(spectra, self.steps, self.descent, restart=self.uploads),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "uploads": list(self.uploads),
            "loss": [m.loss for m in self.moments],
            "accuracy": [m.accuracy for m in self.moments],
            "zeros": [m.zeros for m in self.moments],
            "spectra": [m.spectrum.to_json() for m in self.moments],
            "proxy": {name: p.to_json() for name, p in self.proxies().items()},
        }


def descend(network: Network, descent: Descent, source: Any, steps: int) -> list[float]:
    """`steps` steps of descent on mini-batches from `source`, in place; the loss of each batch before its step. The
    velocity starts at zero. theta' = theta - eta v', v' = b v + grad + w theta, w the network's weight decay."""
    torch = load_torch("training")
    parameters = list(trainable(network.module).values())
    optimiser = torch.optim.SGD(
        parameters,
        lr=descent.learning_rate,
        momentum=descent.momentum,
        weight_decay=network.weight_decay,
    )
    losses = []
    for _ in range(steps):
        inputs, targets = next(source)
        loss = network.loss(network.module(inputs), targets)
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        for p, slope in zip(parameters, slopes, strict=True):
            p.grad = slope  # zero where unused: weight decay moves it all the same
        optimiser.step()
        losses.append(float(loss.detach()))
        if not np.isfinite(losses[-1]):
            raise QupropError(
                f"training diverged: the loss is no longer finite at learning rate {descent.learning_rate:g}; lower it"
            )
    return losses


def follow(
    network: Network,
    data: Dataset,
    descent: Descent,
    rng: int | np.random.Generator,
    *,
    measure: Sequence[int],
    batch_size: int = 64,
    warm_up: int = 0,
    prune_ratio: float = 0.0,
    upload_every: int | None = None,
    dense_steps: int = 0,
    hessian_samples: int = 256,
    lanczos_steps: int = 32,
    probes: int = 1,
    deflate: bool = True,
    precision: str = "double",
    progress: Callable[[int, int], None] | None = None,
) -> Course:
    """Train `network` in place and measure at the steps `measure` (ascending, from 0).

    ``warm_up``       dense steps before the first upload, which are not counted
    ``prune_ratio``   share of weights pruned at the first and at every further upload; 0 prunes nothing
    ``upload_every``  steps of a block (the authors: 100); None uploads once, at the beginning
    ``dense_steps``   classical steps, not counted, between download and the next upload (the authors: 10, where quantum
                      memory is at hand)
    ``hessian_samples``, ``lanczos_steps``, ``probes``, ``deflate``  of each spectrum; the test images come first, as
                      the authors take them
    ``progress``      called with steps done and steps planned
    """
    rng = generator_of(rng)
    _check_steps(measure, upload_every)
    test = data.test(precision)
    fixed = split_batches(test[0][:hessian_samples], test[1][:hessian_samples], 64)
    source = batches(*data.train(precision), batch_size, rng)
    probe_seed = int(rng.integers(2**32))  # the same starts for every spectrum: differences are the network's
    options: dict[str, Any] = {"steps": lanczos_steps, "probes": probes, "deflate": deflate, "precision": precision}

    def measured() -> Spectrum:
        return spectrum_of(hessian_matvec(network, fixed), network.n_parameters, generator_of(probe_seed), **options)

    descend(network, descent, source, warm_up)
    uploads, moments, last_loss = list[int](), list[Moment](), float("nan")
    for step in range(measure[-1] + 1):
        if step == 0 or (upload_every and step % upload_every == 0):
            if step:
                descend(network, descent, source, dense_steps)
            if prune_ratio:
                prune(network.module, prune_ratio)
            uploads.append(step)
        if step in measure:
            spectrum = measured()
            if not moments and not np.isfinite(last_loss):
                last_loss = float(network.loss(network.module(fixed[0][0]), fixed[0][1]).detach())
            moments.append(
                Moment(step, last_loss, accuracy_of(network, test, 256), sparsity_of(network.module), spectrum)
            )
        if progress is not None:
            progress(step, measure[-1])
        if step < measure[-1]:
            last_loss = descend(network, descent, source, 1)[0]
    return Course(descent, tuple(uploads), tuple(moments))


def _check_steps(measure: Sequence[int], upload_every: int | None) -> None:
    if not len(measure) or measure[0] < 0 or np.any(np.diff(measure) <= 0):
        raise QupropError(f"the steps to measure must ascend from 0 or later, got {list(measure)}")
    if upload_every is not None and upload_every < 1:
        raise QupropError(f"upload_every must be at least 1, got {upload_every}")
