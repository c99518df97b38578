"""A setting of an energy problem gone through value by value: potential-energy curves of molecules, phase diagrams of
chains. Each point is a whole training, which begins where the point before ended."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import QupropError, nearest, shown
from quprop.plots import Picture
from quprop.problems.config import SECTIONS, Config, Setting
from quprop.problems.estimated import EXACT
from quprop.problems.run import configure, find, open_folder, optimiser_of, simulation
from quprop.problems.spec import Problem
from quprop.runs import RunFolder, plain, refuse_existing, versions, write_atomically
from quprop.runs.interrupt import Interrupt
from quprop.runs.progress import STEPS, Progress, plain_console
from quprop.training.curves import difference, energy_panels, finish_energies, levels
from quprop.training.losses import Expectation
from quprop.training.objective import require_memory
from quprop.training.train import train
from quprop.training.trained import Trained

MOST_POINTS = 10_000
FIGURE = "scan.png"


def over(text: str) -> tuple[str, list[float | int]]:
    """The key and the values of ``key=start:stop:step`` (stop is one of them where the steps meet it) or
    ``key=a,b,c``."""
    key, equals, values = (part.strip() for part in text.partition("="))
    form = "a scan goes over key=start:stop:step or key=a,b,c, such as r=0.5:2.5:0.1"
    if not equals or not key or not values:
        raise QupropError(f"{form}, got {shown(text)}")
    try:
        numbers = [float(part) for part in re.split(r"[:,]", values)]
    except ValueError:
        raise QupropError(f"{form}, got {shown(text)}") from None
    if not np.isfinite(numbers).all() or (":" in values and ("," in values or len(numbers) != 3)):
        raise QupropError(f"{form}, got {shown(text)}")
    if ":" in values:
        start, stop, step = numbers
        if not step or (stop - start) / step < 0:
            raise QupropError(f"{form}; these steps do not lead from start to stop, got {shown(text)}")
        count = int((stop - start) / step + 1e-9) + 1
        if count > MOST_POINTS:
            raise QupropError(f"a scan has at most {MOST_POINTS:,} points, got {count:,}: take larger steps")
        numbers = [round(start + k * step, 12) for k in range(count)]
    return key, list(numbers)


def scan(
    name: str,
    key: str,
    values: Sequence[float],
    given: Config | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train an energy problem at every value of one of its settings, and return all points.

    name, given: a problem and its other settings, as in :func:`quprop.problems.configure`. key, values: of its
    [problem] section, a number: "r" of a molecule whose atoms have a place {r} for a bond length, "h" of a chain. Every
    training begins at its problem's own start or at the parameters of the point before, whichever is lower there.

    The summary has "points", a row for each value: "value", "energy", "hartree_fock_energy" and "reference_energy" (the
    exact one) where the problem knows them, "energy_error" and what the training was. With ``out`` the run folder holds
    it, with a line a point in metrics.jsonl and the figure scan.png; ``resume`` goes on with the point that was cut.

    >>> curve = problems.scan("molecule", "r", [0.5, 0.7, 0.9], {"problem": {"atoms": "H 0 0 0; H 0 0 {r}"}})
    """
    configs = _configured(name, key, values, given or {})
    if out is not None and not resume:
        refuse_existing(out)
    first = _built(configs[0], key)
    more = {"scan": {"key": key, "values": list(values)}}
    found = _Scan(name, key, configs, first)
    if out is not None:
        found.folder = open_folder(out, resume, configs[0], first.model, more)
        found.folder.check_section("scan", plain(more["scan"]), "is no scan: resume it with quprop train")
        for section, schema in find(name).schema.items():
            defaults = {k: s.default for k, s in schema.items()}
            found.folder.check_section(section, plain(configs[0][section]), f"has no [{section}]", defaults)
    try:
        status = found.run(threads, progress)
    finally:
        if found.folder is not None:
            found.folder.close()
    return found.written(status)


def _configured(name: str, key: str, values: Sequence[float], given: Config) -> list[Config]:
    """The settings of every point, checked."""
    spec = find(name)
    schema = spec.schema
    numeric = [k for k, s in schema["problem"].items() if type(s.default) in (int, float)]
    if key not in numeric:
        where = next((f" (it is a setting of [{s}])" for s in SECTIONS if key in schema[s]), "")
        mend = nearest(key, numeric) if numeric else f"{name} has none"
        raise QupropError(f"a scan goes over a number of [problem], got {key!r}{where}: {mend}")
    values = list(values)
    if not values or len(values) > MOST_POINTS:
        raise QupropError(f"a scan has from 1 to {MOST_POINTS:,} points, got {len(values):,}")
    if key in given.get("problem", {}):
        raise QupropError(f"{key} is what the scan goes over: leave it out of the other settings")
    whole = type(schema["problem"][key].default) is int
    configs = []
    if given.get("train", {}).get("method", EXACT) != EXACT:
        raise QupropError("a scan trains with exact gradients: leave out train.method")
    for v in plain(values):
        value = int(v) if whole and math.isfinite(v) and v == int(v) else v
        configs.append(configure(name, {**given, "problem": {**given.get("problem", {}), key: value}}))
        if spec.check is not None:
            with _at(key, value):
                spec.check(configs[-1])
    return configs


@contextmanager
def _at(key: str, value: float) -> Iterator[None]:
    """What is refused is told with its point."""
    try:
        yield
    except QupropError as error:
        raise QupropError(f"at {key} = {value:g}: {error}") from None


def _built(config: Config, key: str) -> Problem:
    name = config["problem"]["name"]
    with _at(key, config["problem"][key]):
        problem = find(name).build(config)
    if problem.data is not None or not isinstance(problem.loss, Expectation) or problem.judge is None:
        raise QupropError(
            f"a scan follows an energy, and {name} has none: give molecule, tfim or another energy problem"
        )
    return problem


def axis(name: str, key: str) -> str:
    """What a setting is, in words."""
    setting: Setting = find(name).schema["problem"][key]
    return f"{setting.help.partition(',')[0]} ({key})"


class _Scan:
    """The points so far."""

    def __init__(self, name: str, key: str, configs: list[Config], first: Problem) -> None:
        self.name, self.key, self.configs, self.first = name, key, configs, first
        self.points: list[dict[str, Any]] = []
        self.theta: np.ndarray = np.zeros(0)
        self.folder: RunFolder | None = None
        self._spent, self._start = 0.0, time.monotonic()

    def run(self, threads: int | None, progress: bool) -> str:
        self._go_back()
        total = len(self.configs)
        with Interrupt() as interrupt, Progress(plain_console() if progress else None, STEPS, "points") as bar:
            bar(len(self.points), total, None)
            for place in range(len(self.points), total):
                config = self.configs[place]
                problem = self.first if place == 0 else _built(config, self.key)
                trained, warm = self._trained(problem, config, threads)
                if trained.status == "interrupted" or interrupt.hit:
                    return "interrupted"
                self._record(problem, config, trained, warm)
                row = self.points[-1]
                bar(place + 1, total, f"{self.key} = {row['value']:g}  energy {row['energy']:.8f}")
        return "finished"

    def _trained(self, problem: Problem, config: Config, threads: int | None) -> tuple[Trained, bool]:
        """The training of one point, and whether it began at the point before."""
        settings = config["train"]
        options = simulation(settings, threads)
        optimiser, steps = optimiser_of(settings, problem, settings["steps"]), settings["steps"]
        require_memory(problem.model, 1, **options)
        if problem.grow is not None:
            return problem.grow(steps=steps, optimiser=optimiser, **options).trained, False
        rng = np.random.default_rng(settings["seed"])
        params = problem.start(rng)
        starts = [params["theta"]]
        if self.points and self.theta.shape == starts[0].shape:
            starts.append(self.theta)
        heights = [float(np.ravel(simulate.expectation(problem.model, t, **options))[0]) for t in starts]
        warm = int(np.argmin(heights))
        params = params | {"theta": starts[warm]}
        made = train(problem.model, problem.loss, optimiser=optimiser, params=params, steps=steps, rng=rng, **options)
        return made, bool(warm)

    def _record(self, problem: Problem, config: Config, trained: Trained, warm: bool) -> None:
        assert problem.judge is not None
        row: dict[str, Any] = {"step": len(self.points), "value": config["problem"][self.key], "loss": trained.loss}
        row |= problem.judge(trained.params, trained.loss, trained.metrics)
        row |= {k: problem.reference[k] for k in levels(problem.reference)}
        row |= {"steps": trained.steps, "status": trained.status, "warm": warm, "n_qubits": problem.model.n_qubits}
        row |= {"n_params": int(trained.theta.size), "seconds": round(trained.seconds, 3)}
        row = plain(row)
        self.points.append(row)
        self.theta = trained.theta
        if self.folder is not None:
            self.folder.append_metrics(row)
            self.folder.write_checkpoint(
                {"params/theta": self.theta}, {"step": len(self.points), "seconds": self.seconds()}
            )

    def _go_back(self) -> None:
        """To the points that the folder holds."""
        if self.folder is None:
            return
        self.folder.lock()
        if (found := self.folder.read_checkpoint()) is None:
            self.folder.start_metrics(0)
            return
        arrays, meta = found
        try:
            self.theta, self._spent, step = arrays["params/theta"], float(meta["seconds"]), meta["step"]
        except (KeyError, TypeError, ValueError):
            raise self.folder.damaged() from None
        self.points = self.folder.start_metrics(meta["metrics_bytes"], meta.get("metrics_sha256"))
        good = all(isinstance(row.get("energy"), float) and "value" in row for row in self.points)
        if not good or len(self.points) != step or step > len(self.configs) or not np.isfinite(self.theta).all():
            raise self.folder.damaged()

    def seconds(self) -> float:
        return self._spent + time.monotonic() - self._start

    def written(self, status: str) -> dict[str, Any]:
        """The summary; finished, it is in the folder with its figure."""
        known = self.first.reference
        kept = ("system", "energy_unit", "reference_label", "energy_accuracy", "energy_accuracy_name", "reference_name")
        summary = {
            "kind": "scan",
            "problem": self.name,
            "key": self.key,
            "axis": axis(self.name, self.key),
            "status": status,
            **{k: known[k] for k in kept if k in known},
            "points": self.points,
            "seconds": self.seconds(),
            "config": self.configs[0],
            "versions": versions(),
        }
        summary = plain(summary)
        if self.folder is not None and status == "finished":
            write_atomically(self.folder.path / FIGURE, draw(summary))
            self.folder.write_summary(summary)
        return summary


def draw(summary: dict[str, Any]) -> Picture:
    """The figure of a scan: its energies and their distances to the exact ones."""
    points = summary["points"]
    x = [p["value"] for p in points]

    def column(key: str) -> np.ndarray:
        return np.array([p.get(key, np.nan) for p in points], float)

    names = {key: name for p in points for key, (name, _) in levels(summary | p).items()}
    exact = column("reference_energy")
    energies = {names[key]: column(key) for key in names if key != "reference_energy"} | {"VQE": column("energy")}
    figure = energy_panels(x, energies, exact, summary)
    if "reference_energy" in names:
        figure.axes[0].plot(x, exact, "--", color="black", linewidth=1.2, label=names["reference_energy"], zorder=9)
    title = str(summary.get("system", summary["problem"]))
    return finish_energies(figure, summary["axis"], title, summary)


def lines(summary: dict[str, Any]) -> list[str]:
    """A table in text: value, energies, error."""
    points = summary["points"]
    lowest = min(points, key=lambda p: p["energy"])
    errors = [p["energy_error"] for p in points if p.get("energy_error") is not None]
    found = [f"lowest energy  {lowest['energy']:.8f} {summary.get('energy_unit', '')}".rstrip()]
    found[0] += f" at {summary['key']} = {lowest['value']:g}"
    if errors:
        found.append(f"largest error  {difference(max(errors), summary)}")
    return found
