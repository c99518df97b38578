"""The authors' networks by their recipe: spectra, proxy, dips and broadening at 7.45 and 103 million parameters.

Liu et al. (2024) train ResNet-32 widened 4 times (7,451,044 parameters) and ResNet-422 widened 4 times (103,338,916) on
a hundred classes with momentum 0.9 and weight decay 2e-4, prune 90 % at uploads and re-upload every 100 steps, with or
without ten dense steps before. Here the same, with GroupNorm and SiLU in the place of BatchNorm and ReLU (a spectrum
then belongs to a map that Taylor series see), batches of 32 in the place of 512 with a learning rate of 0.01 in the
place of 0.1, and fewer images of the Hessian: what two cores do within hours.

Cases, each a run folder that a stopped run goes on from:

    start               plain steps from the initial parameters; the dense Hessian at their end
    dense steps         from there, blocks of 100 steps, ten dense steps before every re-upload
    no dense steps      the same without
    large, untrained    ResNet-422, pruned at initialisation
    large, warmed up    ResNet-422, pruned after plain steps
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from quprop.carleman.networks.torch_extra import load_torch
from quprop.experiments.experiment import LIU, Experiment, Progress, Result, silent
from quprop.experiments.networks.spectra import Size, draw, followed

START, DENSE, PLAIN = "start", "dense steps", "no dense steps"
UNTRAINED, WARMED = LARGE = "large, untrained", "large, warmed up"


@dataclass(frozen=True)
class Scale:
    """Networks and sizes of the cases: blocks of ``course`` follow ``start``; ``large`` is measured once."""

    data: str
    network: dict[str, Any]
    large: dict[str, Any]
    start: Size
    course: Size
    untrained: Size
    warmed: Size


FULL = Scale(
    "glyphs",
    {"depth": 32, "widen": 4},
    {"depth": 422, "widen": 4},
    Size(1, 1, (0,), 300, 0.01, 32, 8, 40, momentum=0.9, deflate=False, test=200),
    Size(100, 3, (0, 4, 20, 99), 0, 0.01, 32, 8, 40, momentum=0.9, deflate=False, test=200),
    Size(1, 1, (0,), 0, 0.01, 4, 2, 16, momentum=0.9, deflate=False, test=20),
    Size(1, 1, (0,), 20, 0.01, 4, 2, 16, momentum=0.9, deflate=False, test=20),
)
QUICK = Scale(
    "digits",
    {"depth": 8, "widen": 1},
    {"depth": 56, "widen": 2},
    Size(1, 1, (0,), 30, 0.05, 16, 16, 8, momentum=0.9, deflate=False, test=100),
    Size(12, 3, (0, 4, 11), 0, 0.05, 16, 16, 8, momentum=0.9, deflate=False, test=100),
    Size(1, 1, (0,), 0, 0.05, 4, 4, 6, momentum=0.9, deflate=False, test=40),
    Size(1, 1, (0,), 2, 0.05, 4, 4, 6, momentum=0.9, deflate=False, test=40),
)


def run_in(kept: Path | None = None, folder: Path | None = None) -> Callable[[bool, Any, Progress], Result]:
    """The experiment with its run folders in ``kept`` (None: nothing is kept), on CIFAR-100 from ``folder``, else on
    glyphs."""

    def run(quick: bool, rng: Any, progress: Progress = silent) -> Result:
        from quprop.carleman.networks import networks
        from quprop.carleman.networks.data import load

        load_torch("spectra at full size")
        scale = QUICK if quick else FULL
        name = scale.data if quick or folder is None else "cifar100"
        data = load(name, folder=folder if name == "cifar100" else None)

        def made(settings: dict[str, Any]) -> Any:
            return networks.make(
                "resnet", data.input_shape, data.classes, seed=int(rng), precision="single", **settings
            )

        def case(network: Any, size: Size, title: str, prunes: bool = True) -> Result:
            out = None if kept is None else kept / title.replace(",", "").replace(" ", "_")

            def tell(done: int, total: int, what: str) -> None:
                progress(done, total, f"{title}, {what}")

            return {
                "case": title,
                **followed(network, data, size if prunes else replace(size, prune=0.0), rng, tell, out),
            }

        network = made(scale.network)
        runs = [case(network, scale.start, START, prunes=False)]
        theta = network.parameters()
        for title, dense in ((DENSE, scale.course.dense), (PLAIN, 0)):
            network.set_parameters(theta.copy())
            runs.append(case(network, replace(scale.course, dense=dense), title))
        for title, size in ((UNTRAINED, scale.untrained), (WARMED, scale.warmed)):
            runs.append(case(made(scale.large), size, title))
        return {"runs": runs, "data": data.name, "findings": _findings(runs)}

    return run


def width_course(result: Result) -> list[tuple[float, float]]:
    """Of every block the root mean square eigenvalue right after its upload and at its end."""
    steps, uploads, widths = result["steps"], result["uploads"], result["width"]
    found = []
    for begin, end in pairwise([*uploads, steps[-1] + 1]):
        block = [w for s, w in zip(steps, widths, strict=True) if begin <= s < end]
        found.append((block[0], block[-1]))
    return found


def _findings(runs: list[Result]) -> list[str]:
    found = [f"{r['case']}: {text}" for r in runs for text in r["findings"]]
    for r in runs:
        if len(r["uploads"]) > 1:
            course = ", ".join(f"{a:.3g} to {b:.3g}" for a, b in width_course(r))
            found.append(f"{r['case']}: root mean square eigenvalue from begin to end of each block: {course}")
    return found


EXPERIMENT = Experiment(
    "full_size",
    "At 7.45 and 103 million parameters positive modes dominate after pruning; accuracy dips at uploads and recovers.",
    LIU + ", figures 3 to 5",
    150,
    run_in(),
    draw,
    kept=run_in,
)
