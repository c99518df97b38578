"""From a settled configuration to a trained, measured and judged run."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError, count_of, nearest, shown
from quprop.hardware_models import noise_of
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.problems.config import SECTIONS, Config, settle
from quprop.problems.estimated import EXACT, estimated, with_shots
from quprop.problems.spec import Problem, Spec
from quprop.problems.table import PROBLEMS
from quprop.runs import RunFolder, plain, refuse_existing, versions, write_atomically
from quprop.simulate import AutoEngine, PauliPropagation, engine_for
from quprop.simulate.distributed.serve import leading
from quprop.simulate.measure import measure_loss, measure_omega, rotation_counts
from quprop.simulate.state_vector.metric import metric
from quprop.training.adapt import Adapted
from quprop.training.losses import CrossEntropy
from quprop.training.objective import Objective, require_memory
from quprop.training.optimise import (
    LBFGS,
    OF_STATES,
    Optimiser,
    adam,
    check_rate,
    cosine,
    imaginary_time,
    natural_gradient,
    sgd,
)
from quprop.training.train import Trained, train

METRIC_SAMPLES = 8  # of the training data, over which the natural gradient's metric is averaged


def find(name: Any) -> Spec:
    if not isinstance(name, str) or name not in PROBLEMS:
        raise QupropError(f"unknown problem {name!r}: {nearest(str(name), PROBLEMS)}")
    return PROBLEMS[name]


def configure(name: str, given: Config | None = None) -> Config:
    """The full table of settings of problem ``name``, with those of ``given`` in place of the defaults; checked."""
    given = with_shots(given or {})
    config = settle(find(name).schema, {**given, "problem": {**given.get("problem", {}), "name": name}})
    if config["problem"].get("file"):
        config["problem"]["file"] = str(Path(config["problem"]["file"]).resolve())
    if noise := config["train"].get("noise"):
        noise_of(noise)  # refused before any work
        name, colon, factor = noise.partition(".toml")
        config["train"]["noise"] = str(Path(name + colon).resolve()) + factor if colon else noise
    return config


def definition_of(folder: RunFolder) -> Config:
    """The settings a run folder was started with."""
    if "scan" in folder.definition:
        raise QupropError(f"{folder.path} holds a scan: resume it with `quprop scan`, or choose another folder")
    config = {section: folder.section(section) for section in SECTIONS}
    name = config["problem"].get("name")
    if name is None:
        raise QupropError(
            f"the run in {folder.path} was started from Python, not by a named problem: resume it there, with "
            "train(..., resume=True)"
        )
    return settle(find(name).schema, config)


def run(
    config: Config,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    threads: int | None = None,
    checkpoint_seconds: float = 2.0,
    callback: Any = None,
    rerun_lost: bool = False,
) -> dict[str, Any]:
    """Train a configured problem and return its summary; with ``out`` the folder holds it and its checkpoints.

    rerun_lost: pay once more for jobs that a backend failed or no longer knows.

    A run cut by Ctrl-C returns a summary with ``status`` "interrupted" and no verdict; ``resume=True`` goes on from
    there.
    """
    if out is not None and not resume:
        refuse_existing(out)  # before anything is computed
    _refuse_on_ranks(config)
    problem = find(config["problem"]["name"]).build(config)
    settings = config["train"]
    data_size = len(problem.data[0]) if problem.data else 1
    batch = min(settings.get("batch_size") or data_size, data_size)
    steps = settings["steps"] if "steps" in settings else settings["epochs"] * -(-data_size // batch)
    rng = np.random.default_rng(settings["seed"])
    options = simulation(settings, threads)
    optimiser = optimiser_of(settings, problem, steps)
    measured = estimated(settings, problem)
    on_device = measured is not None and measured.device is not None
    direct = problem.loss.over(problem.model, **options)
    if direct is None and not on_device:
        require_memory(problem.model, batch, **options)
    params = problem.start(rng)
    compiled = None
    if measured is not None:
        compiled = measured.check(problem, params["theta"], batch)
    folder = None if out is None else open_folder(out, resume, config, problem.model)
    grown: Adapted | None = None
    kept: dict[str, Any] = {"out": folder, "resume": resume, "progress": progress, "callback": callback}
    try:
        if problem.grow is not None:
            grown = problem.grow(steps=steps, optimiser=optimiser, **kept, **options)
            trained = grown.trained
            problem = replace(problem, model=grown.model, circuit=grown.circuit)
        else:
            trained = train(
                problem.model,
                problem.loss,
                data=problem.data,
                test=problem.test,
                optimiser=optimiser,
                params=params,
                head=problem.head,
                steps=steps,
                batch_size=None if problem.data is None else batch,
                rng=rng,
                checkpoint_seconds=checkpoint_seconds,
                **({} if measured is None else measured.arguments),
                rerun_lost=rerun_lost,
                **kept,
                **options,
            )
    finally:
        if folder is not None:
            folder.close()
    summary = _outcome(config, problem, trained, batch)
    if not on_device:
        why = _why(settings, problem.model, batch, options) if direct is None else f"loss from {direct.how}"
        summary |= {"engine": why}
    if trained.status == "interrupted":
        return plain(summary)
    told = None if measured is None else measured.told(problem, trained, compiled, options)
    found, files = _judged(config, problem, trained, batch, direct, options, told)
    summary |= found
    if grown is not None:
        summary |= {**grown.counts, "operators": list(grown.operators)}
    if folder is not None:
        from quprop.training.curves import draw_curves

        files["curves.png"] = draw_curves(trained.history, config["problem"]["name"], summary)
        for name, content in files.items():
            write_atomically(folder.path / name, content)
        folder.write_summary(summary)
    return plain(summary)


def simulation(settings: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """Engine, precision and threads, as [train] asks for them."""
    options: dict[str, Any] = {"precision": settings["precision"], "threads": threads}
    leader = leading()
    return options | {"engine": _engine(settings, **options) if leader is None else leader.engine(**options)}


def _refuse_on_ranks(config: Config) -> None:
    """Refuse what the ranks of MPI, which hold one state together, have no part in."""
    settings, alone = config["train"], ""
    if leading() is None:
        return
    name = settings.get("engine", "auto")
    if not find(config["problem"]["name"]).of_observables:
        alone = f"a loss of samples, such as that of {config['problem']['name']}, is computed in one process"
    elif settings["method"] != EXACT or settings["backend"]:
        alone = f"gradients from shots, such as train.method = {shown(settings['method'])}, are made in one process"
    elif settings["noise"]:
        alone = f"ranks hold one state without noise, got train.noise = {shown(settings['noise'])}"
    elif settings["optimiser"] in OF_STATES:
        alone = f"the optimiser {settings['optimiser']} takes the whole state of one process"
    elif name not in ("auto", "distributed"):
        alone = f"ranks hold one state together, got train.engine = {shown(name)}"
    elif settings["tolerance"]:
        alone = f"ranks hold the whole state and drop nothing, got train.tolerance = {settings['tolerance']:g}"
    if alone:
        raise QupropError(f"{alone}: start it without mpirun")


def _engine(settings: dict[str, Any], precision: str, threads: int | None) -> Any:
    """What [train] asks for; runs of before it had an engine took the whole state."""
    name, tolerance = settings.get("engine", "auto"), settings.get("tolerance", 0.0)
    if name == "pauli":
        return PauliPropagation(tolerance)
    if tolerance and name != "auto":
        raise QupropError(
            f"train.tolerance is for what engine auto or pauli drops, and engine {name!r} drops nothing: leave it out"
        )
    return AutoEngine(precision, threads, tolerance=tolerance) if tolerance else name


def _why(settings: dict[str, Any], model: Model, batch: int, options: dict[str, Any]) -> str:
    """What simulated, and why, in one line."""
    name, tolerance = settings.get("engine", "auto"), settings.get("tolerance", 0.0)
    leader = leading()
    if leader is not None:
        states = "a state" if batch == 1 else "states"
        name, size = options["engine"].name, leader.ranks.size
        return f"{name}, {states} of {count_of(model.n_qubits, 'qubit')} on {size} ranks of MPI"
    if name == "auto":
        return engine_for(model, **options).choose(model, batch, "vjp").why
    return f"{name}, as asked" + (f", within {tolerance:g}" if tolerance else "")


def _outcome(config: Config, problem: Problem, trained: Trained, batch: int) -> dict[str, Any]:
    """How the training ended."""
    return {
        "kind": "summary",
        "problem": config["problem"]["name"],
        **({"noise": config["train"]["noise"]} if problem.model.channels else {}),
        **_method(config["train"]),
        "status": trained.status,
        "loss": trained.loss,
        **trained.metrics,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "n_qubits": problem.model.n_qubits,
        "n_params": sum(value.size for value in trained.params.values()),
        "n_rotations": problem.model.n_rotations,
        "batch": batch,
    }


def _method(settings: dict[str, Any]) -> dict[str, Any]:
    """What estimated the gradients, if anything did."""
    names = ("method", "backend") if settings.get("method", EXACT) != EXACT else ()
    return {name: settings[name] for name in names if settings[name]}


def _judged(
    config: Config,
    problem: Problem,
    trained: Trained,
    batch: int,
    direct: Any,
    options: dict[str, Any],
    told: dict[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """How good it is, and what it cost; and files of the run folder beside. told: of gradients that were estimated."""
    model = problem.model
    found: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    if problem.examine is not None:
        found, files = problem.examine(trained, direct)
    if problem.judge is not None:
        found |= problem.judge(trained.params, trained.loss, trained.metrics)
    found |= problem.reference
    if isinstance(problem.loss, CrossEntropy) and trained.device is None:
        found["confusion"] = _confusion(problem, trained, options)
    if model.channels:
        found |= _without_noise(problem, trained, options)
    if told is not None:
        found |= told
    elif direct is None:
        found |= rotation_counts(model, trained.values, trained.gradients)
        x = None if problem.data is None else problem.data[0][:batch]
        found |= measure_omega(model, trained.params["theta"], x, **options)
    else:  # no circuit is run: the loss is computed from sums over signs, or from all probabilities at once
        found |= {"value_evaluations": trained.values, "gradient_evaluations": trained.gradients}
        found |= measure_loss(direct, trained.params["theta"])
    return found | {"config": config, "versions": versions()}, files


def _confusion(problem: Problem, trained: Trained, options: dict[str, Any]) -> dict[str, Any]:
    """[i][j]: how many samples of class i were taken for class j, of training and of test data."""
    from sklearn.metrics import confusion_matrix

    assert isinstance(problem.loss, CrossEntropy)
    objective = Objective(problem.model, problem.loss, head=problem.head, **options)
    labels = range(max(problem.model.n_observables, 2))
    out = {}
    for name, data in (("train", problem.data), ("test", problem.test)):
        if data is not None:
            guess = problem.loss.guess(objective.outputs(trained.params, data[0]))
            out[name] = confusion_matrix(data[1], guess, labels=labels).tolist()
    return out


def _without_noise(problem: Problem, trained: Trained, options: dict[str, Any]) -> dict[str, Any]:
    """What the trained parameters give where nothing errs: of the test data if there are any."""
    found = Objective(problem.model.noiseless(), problem.loss, head=problem.head, **options).evaluate(
        trained.params, *(problem.test or problem.data or (None, None))
    )
    where = "test_" if problem.test else ""
    out: dict[str, Any] = {"channels": len(problem.model.channels), f"noiseless_{where}loss": found[0]}
    if found[1] is not None:
        out[f"noiseless_{where}{problem.loss.metric_name}"] = found[1]
    return out


def open_folder(
    out: str | os.PathLike[str], resume: bool, config: Config, model: Model, more: dict[str, Any] | None = None
) -> RunFolder:
    """The run folder of these settings, made or found again. more: tables of run.toml beside them."""
    digest = hashlib.sha256(model.to_text().encode()).hexdigest()
    if not resume:
        return RunFolder.create(out, {"model_sha256": digest, **config, **(more or {}), "versions": versions()})
    folder = RunFolder.open(out)
    if folder.definition.get("model_sha256") != digest:
        raise QupropError(
            f"the run in {folder.path} was started with another model than its run.toml now gives (a changed file, or "
            "another version "
            "of quprop): start a new run in another folder"
        )
    return folder


def optimiser_of(settings: dict[str, Any], problem: Problem, steps: int) -> Optimiser | LBFGS:
    name, rate = settings["optimiser"], settings["learning_rate"]
    check_rate(rate or 1.0)  # 0 is refused by those that use it
    if name == "lbfgs":
        samples, batch = len(problem.data[0]) if problem.data else 1, settings.get("batch_size") or 0
        if 0 < batch < samples:
            raise QupropError(
                f"L-BFGS takes all {samples:,} samples in every step, got train.batch_size = {batch}: set "
                "batch_size=0, or optimiser=adam"
            )
        return LBFGS()
    schedule = cosine(rate, steps) if settings["schedule"] == "cosine" else rate
    if name == "adam":
        return adam(schedule)
    if name == "sgd":
        return sgd(schedule, momentum=settings["momentum"])
    what = "imaginary time" if name == "imaginary_time" else "the natural gradient"
    refuse_channels(problem.model, what, "another optimiser, such as adam")
    x = None if problem.data is None else problem.data[0][:METRIC_SAMPLES]

    def tensor(theta: np.ndarray) -> np.ndarray:
        return metric(problem.model, theta, x)

    if name == "imaginary_time":
        if problem.data is not None:
            raise QupropError(
                "imaginary_time lowers the energy of one state, and this problem has data: choose natural_gradient, or "
                "adam"
            )
        return imaginary_time(tensor, schedule)
    return natural_gradient(tensor, schedule, damping=settings["damping"])
