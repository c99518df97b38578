"""Hessian spectra and error proxy along training, after pruning and at every upload: figures 3 to 5 of Liu et al.
(2024).

Plain or momentum descent on mini-batches, classical; at chosen steps the Hessian of the present parameters is measured
on a fixed part of the data. Pruning happens at the start and at every upload and gradients are not masked, so sparsity
decays within a block and is restored by the next upload, as in the authors' runs. A block starts at rest: the velocity
of momentum descent is zero at every upload.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from quprop.carleman.networks.data import Dataset, batches
from quprop.carleman.networks.networks import Network
from quprop.carleman.networks.plain import accuracy_of
from quprop.carleman.networks.prune import prune, sparsity_of
from quprop.carleman.networks.torch_extra import load_torch, trainable
from quprop.carleman.spectra import proxy as proxies
from quprop.carleman.spectra.hessian import affordable_batches, hessian_matvec
from quprop.carleman.spectra.proxy import Descent, Proxy
from quprop.carleman.spectra.spectrum import Spectrum, spectrum_of
from quprop.errors import QupropError, generator_of
from quprop.runs import RunFolder, plain, versions


@dataclass(frozen=True, eq=False)
class Moment:
    """One measured step: training loss of the step's batch, `plain.accuracy_of` the test part, share of zero
    parameters, spectrum."""

    step: int
    loss: float
    accuracy: float
    zeros: float
    spectrum: Spectrum

    @property
    def width(self) -> float:
        """sqrt(tr H^2 / n), the root mean square eigenvalue: how broad the spectrum is."""
        return float(np.sqrt(self.spectrum.mean(np.square)[0]))

    def to_json(self) -> dict[str, Any]:
        scalars = {name: getattr(self, name) for name in ("step", "loss", "accuracy", "zeros")}
        s = self.spectrum
        return scalars | {
            "dimension": s.dimension,
            "exact": s.exact.tolist(),
            "runs": [[nodes.tolist(), weights.tolist()] for nodes, weights in s.runs],
            "products": s.products,
            "edge_errors": list(s.edge_errors),
            "operator": s.operator,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Moment:
        runs = tuple((np.array(nodes), np.array(weights)) for nodes, weights in row["runs"])
        edges = (float(row["edge_errors"][0]), float(row["edge_errors"][1]))
        exact, way = np.array(row["exact"], float), row.get("operator")
        spectrum = Spectrum(row["dimension"], exact, runs, row["products"], edges, operator=way)
        return cls(row["step"], row["loss"], row["accuracy"], row["zeros"], spectrum)


@dataclass(frozen=True, eq=False)
class Course:
    """Measured moments of one run, with the steps at which it was uploaded.

    ``losses``, ``hits``  of the batch of every step, before that step: mean loss, and share of right classes
    """

    descent: Descent
    uploads: tuple[int, ...]
    moments: tuple[Moment, ...]
    losses: tuple[float, ...] = ()
    hits: tuple[float, ...] = ()

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

    def dips(self, window: int = 5) -> list[dict[str, float]]:
        """Of every re-upload the training accuracy in the ``window`` steps before it and after it, and the best of so
        many steps on end later in that block."""
        found = []
        for begin, end in pairwise([*self.uploads[1:], len(self.hits)]):
            after = np.array(self.hits[begin:end])
            if len(after) < 2 * window:
                continue
            means = np.convolve(after, np.full(window, 1 / window), "valid")
            found.append(
                {
                    "step": begin,
                    "before": float(np.mean(self.hits[begin - window : begin])),
                    "after": float(means[0]),
                    "recovered": float(means[window:].max()),
                }
            )
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "uploads": list(self.uploads),
            "loss": [m.loss for m in self.moments],
            "accuracy": [m.accuracy for m in self.moments],
            "zeros": [m.zeros for m in self.moments],
            "width": [m.width for m in self.moments],
            "spectra": [m.spectrum.to_json() for m in self.moments],
            "proxy": {name: p.to_json() for name, p in self.proxies().items()},
            "batch_loss": list(self.losses),
            "batch_accuracy": list(self.hits),
            "dips": self.dips(),
        }


@dataclass(frozen=True)
class Schedule:
    """What `follow` does; its arguments."""

    measure: tuple[int, ...]
    batch_size: int
    warm_up: int
    prune_ratio: float
    upload_every: int | None
    dense_steps: int
    hessian_samples: int
    lanczos_steps: int
    probes: int
    deflate: bool
    test_samples: int | None

    def __post_init__(self) -> None:
        if not len(self.measure) or self.measure[0] < 0 or np.any(np.diff(self.measure) <= 0):
            raise QupropError(f"the steps to measure must ascend from 0 or later, got {list(self.measure)}")
        if self.upload_every is not None and self.upload_every < 1:
            raise QupropError(f"upload_every must be at least 1, got {self.upload_every}")
        for name, least in (("warm_up", 0), ("dense_steps", 0), ("hessian_samples", 1)):
            if getattr(self, name) < least:
                raise QupropError(f"{name} must be at least {least}, got {getattr(self, name)}")


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
    test_samples: int | None = None,
    precision: str = "double",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 60.0,
    progress: Callable[[int, int], None] | None = None,
) -> Course:
    """Train `network` in place and measure at the steps `measure` (ascending, from 0).

    ``descent``       learning rate and momentum b: v' = b v + grad + w theta, theta' = theta - eta v', w the network's
                      weight decay
    ``warm_up``       dense steps before the first upload, which are not counted
    ``prune_ratio``   share of weights pruned at the first and at every further upload; 0 prunes nothing
    ``upload_every``  steps of a block (the authors: 100); None uploads once, at the beginning
    ``dense_steps``   classical steps, not counted, between download and the next upload (the authors: 10, where quantum
                      memory is at hand)
    ``hessian_samples``, ``lanczos_steps``, ``probes``, ``deflate``  of each spectrum; the test images come first, as
                      the authors take them
    ``test_samples``  of the test accuracy; None: all
    ``out``, ``resume``  run folder (:mod:`quprop.runs`) that a killed run is continued from, to the last bit: a row for
                      every moment, a checkpoint after each and every ``checkpoint_seconds`` of training
    ``progress``      called with steps done and steps planned, warm-up included
    """
    seed = int(rng) if isinstance(rng, int | np.integer) else None
    plan = Schedule(
        tuple(int(t) for t in measure),
        batch_size,
        warm_up,
        prune_ratio,
        upload_every,
        dense_steps,
        hessian_samples,
        lanczos_steps,
        probes,
        deflate,
        test_samples,
    )
    run = _Following(network, data, descent, plan, generator_of(rng), precision, progress)
    if out is None:
        if resume:
            raise QupropError("`resume` needs the run folder: pass out=...")
        return run.finish()
    definition = plain(
        {
            "following": {
                "network": network.name,
                "parameters": network.n_parameters,
                "data": data.name,
                "samples": [len(data.x_train), len(data.x_test)],
                "seed": seed,
                **asdict(descent),
                "decay": network.weight_decay,
                "precision": precision,
                **asdict(plan),
            },
            "versions": versions(),
        }
    )
    folder = _opened(out, resume, definition)
    try:
        run.keep_in(folder, checkpoint_seconds)
        return run.finish()
    finally:
        folder.close()


def _opened(out: str | os.PathLike[str], resume: bool, definition: dict[str, Any]) -> RunFolder:
    if not resume:
        return RunFolder.create(out, definition)
    folder = RunFolder.open(out)
    folder.check_section("following", definition["following"], "does not follow spectra: choose another folder")
    return folder


@dataclass
class _Place:
    """How far a run is. ``dense``: dense steps done before the upload that is due; ``uploads``: done."""

    warmed: int = 0
    step: int = 0
    dense: int = 0
    uploads: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    hits: list[float] = field(default_factory=list)
    last_loss: float = float("nan")


class _Following:
    def __init__(
        self,
        network: Network,
        data: Dataset,
        descent: Descent,
        plan: Schedule,
        rng: np.random.Generator,
        precision: str,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.network, self.descent, self.plan, self.rng, self.precision = network, descent, plan, rng, precision
        self._progress = progress
        self.test = tuple(part[: plan.test_samples] for part in data.test(precision))
        fixed = data.test(precision)
        count = plan.hessian_samples
        self.fixed = affordable_batches(network, fixed[0][:count], fixed[1][:count])
        self.source = batches(*data.train(precision), plan.batch_size, rng)
        self.probe_seed = int(rng.integers(2**32))  # the same starts for every spectrum: differences are the network's
        self.place, self.moments = _Place(), list[Moment]()
        self._velocity: list[Any] | None = None
        self._folder: RunFolder | None = None
        self._seconds, self._saved = 0.0, 0.0

    def finish(self) -> Course:
        plan, place = self.plan, self.place
        while place.warmed < plan.warm_up:
            self._descend()
            place.warmed += 1
            self._tell()
        while True:
            if self._upload_due():
                self._upload()
            if place.step in plan.measure and place.step not in (m.step for m in self.moments):
                self._measure()
            if place.step >= plan.measure[-1]:
                break
            loss, hit = self._descend()
            place.losses.append(loss)
            place.hits.append(hit)
            place.step += 1
            self._tell()
        return Course(self.descent, tuple(place.uploads), tuple(self.moments), tuple(place.losses), tuple(place.hits))

    def _upload_due(self) -> bool:
        every, step = self.plan.upload_every, self.place.step
        return step not in self.place.uploads and (step == 0 or bool(every and step % every == 0))

    def _upload(self) -> None:
        place = self.place
        while place.step and place.dense < self.plan.dense_steps:
            self._descend()
            place.dense += 1
            self._tell()
        if self.plan.prune_ratio:
            prune(self.network.module, self.plan.prune_ratio)
        place.uploads.append(place.step)
        place.dense, self._velocity = 0, None

    def _measure(self) -> None:
        network, plan, place = self.network, self.plan, self.place
        product = hessian_matvec(network, self.fixed)
        spectrum = spectrum_of(
            product,
            network.n_parameters,
            np.random.default_rng(self.probe_seed),
            steps=plan.lanczos_steps,
            probes=plan.probes,
            deflate=plan.deflate,
            precision=self.precision,
        )
        if not self.moments and not np.isfinite(place.last_loss):
            x, y = self.fixed[0]
            place.last_loss = float(network.loss(network.module(x), y).detach())
        found = accuracy_of(network, self.test, 256)
        self.moments.append(Moment(place.step, place.last_loss, found, sparsity_of(network.module), spectrum))
        if self._folder is not None:
            self._folder.append_metrics(self.moments[-1].to_json())
            self._checkpoint()

    def _descend(self) -> tuple[float, float]:
        """One step, in place; the loss of its batch before it, and the share of right classes."""
        torch = load_torch("training")
        network, eta, momentum = self.network, self.descent.learning_rate, self.descent.momentum
        parameters = list(trainable(network.module).values())
        inputs, targets = next(self.source)
        outputs = network.module(inputs)
        loss = network.loss(outputs, targets)
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            slopes = [g + network.weight_decay * p for g, p in zip(slopes, parameters, strict=True)]
            if momentum:
                if self._velocity is not None:
                    slopes = [g.add_(v, alpha=momentum) for g, v in zip(slopes, self._velocity, strict=True)]
                self._velocity = slopes
            for p, v in zip(parameters, slopes, strict=True):
                p.sub_(v, alpha=eta)
            classes = outputs.dim() == 2 and not targets.is_floating_point()
            hit = float((outputs.argmax(1) == targets).double().mean()) if classes else float("nan")
        value = float(loss.detach())
        if not np.isfinite(value):
            raise QupropError(f"training diverged: the loss is no longer finite at learning rate {eta:g}; lower it")
        self.place.last_loss = value
        return value, hit

    def _tell(self) -> None:
        place, plan = self.place, self.plan
        if self._progress is not None:
            self._progress(place.warmed + place.step, plan.warm_up + plan.measure[-1])
        if self._folder is not None and time.monotonic() - self._saved >= self._seconds:
            self._checkpoint()

    # -- the run folder -----------------------------------------------------------------------------------------------

    def keep_in(self, folder: RunFolder, seconds: float) -> None:
        """Begin the run of this folder, or go on where its checkpoint is."""
        self._folder, self._seconds, self._saved = folder, seconds, time.monotonic()
        folder.lock()
        found = folder.read_checkpoint()
        if found is None:
            folder.start_metrics(0)
            self._checkpoint()
            return
        arrays, meta = found
        network, torch = self.network, load_torch("a network's parameters")
        try:
            theta, order = arrays["theta"], arrays["order"]
            if order.size and not np.array_equal(np.sort(order), np.arange(len(self.source.x))):
                raise ValueError
            place = _Place(**meta["place"])
            velocity = None
            if "velocity" in arrays:
                parameters = list(trainable(network.module).values())
                pieces = torch.as_tensor(arrays["velocity"]).split([p.numel() for p in parameters])
                velocity = [v.view_as(p) for v, p in zip(pieces, parameters, strict=True)]
            self.rng.bit_generator.state = meta["rng"]
            start, probe_seed = int(meta["start"]), int(meta["probe_seed"])
            with torch.no_grad():
                for name, buffer in network.module.named_buffers():
                    buffer.copy_(torch.as_tensor(arrays[f"buffer/{name}"]))
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError):
            raise folder.damaged() from None
        network.set_parameters(theta)
        self.source.order, self.source.start = order, start
        self.probe_seed, self.place, self._velocity = probe_seed, place, velocity
        rows = folder.start_metrics(meta["metrics_bytes"], meta.get("metrics_sha256"))
        self.moments = [Moment.from_json(row) for row in rows]

    def _checkpoint(self) -> None:
        assert self._folder is not None
        arrays = {"theta": self.network.parameters(), "order": self.source.order}
        if self._velocity is not None:
            torch = load_torch("a velocity")
            arrays["velocity"] = torch.nn.utils.parameters_to_vector(self._velocity).cpu().numpy()
        for name, buffer in self.network.module.named_buffers():
            arrays[f"buffer/{name}"] = buffer.detach().cpu().numpy()
        meta = {
            "place": asdict(self.place),
            "rng": plain(self.rng.bit_generator.state),
            "start": self.source.start,
            "probe_seed": self.probe_seed,
        }
        self._folder.write_checkpoint(arrays, meta)
        self._saved = time.monotonic()
