"""The section of a training run: result, curves against steps and against cost, what its gradients cost, settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from quprop import plots
from quprop.errors import QupropError
from quprop.problems.maxcut import read_edges
from quprop.report import bit_strings
from quprop.report.drawing import MOST_VERTICES, graph_svg
from quprop.report.figure import Curve, Figure
from quprop.report.generic import pairs
from quprop.report.parts import (
    ABSENT,
    Cell,
    Drawing,
    Fields,
    Heading,
    Image,
    Section,
    Table,
    Value,
    computed,
    digits,
    seconds,
    size,
    words,
)
from quprop.report.results import confusion, png_of
from quprop.report.sources import Source
from quprop.training.curves import RIVALS, accuracy, axis_of, difference, in_unit, levels

# What the run folder of a generative model holds, and in words.
_PICTURES = {
    "samples.png": ("Samples", "Samples as images, test data above the models, and the mean of each pixel."),
    "covariance.png": (
        "Covariances",
        "Covariances of all pairs of bits, of circuit and of training data against test data",
    ),
}
_CONTENTS = {"time so far": "time", "last loss": "loss", "steps so far": "steps"}  # what a column of the contents has
TRAINING, TEST = (plots.PALETTE.index(c) for c in (plots.TRAINING, plots.TEST))  # as in the pictures
_NO_METRIC = ("step", "epoch", "seconds", "loss", "loss_stderr", "copies", "rotations", "shots", "jobs")


def section(source: Source) -> Section:
    run = Fields(source.name("run.toml"), source.data.get("run.toml"))
    summary = Fields(source.name("summary.json"), source.data.get("summary.json"))
    meta = Fields(source.name("checkpoint.npz"), source.data.get("checkpoint.npz")).at("meta")
    history: list[dict[str, Any]] = source.data.get("metrics.jsonl") or []
    lines = Fields(source.name("metrics.jsonl"), history)
    made = Section(_title(source, run), "training run", str(source.path), notes=list(source.notes), going=source.going)
    made.quprop = run.text("versions", "quprop")
    made.blocks.append(words(_state(source, run, summary, meta), strong=True))
    rows = _result(run, summary, lines, meta)
    if rows:
        made.blocks.append(Table("Result", ("", "value"), tuple(rows)))
    made.facts = {_CONTENTS.get(name, name): cell for name, cell in rows if isinstance(cell, Value)}
    if history:
        made.blocks += _curves(lines, summary)
        made.blocks += _against_cost(lines, summary, meta)
    elif "metrics.jsonl" in source.data:
        made.notes.append(f"{source.name('metrics.jsonl')} has no line yet: there is nothing to draw")
    else:
        made.notes.append(f"{source.name('metrics.jsonl')} is missing: there is nothing to draw")
    made.blocks += _pictures(source, made.notes) + confusion(summary)
    made.blocks += _partition(run, summary, made.notes) + bit_strings.blocks(summary)
    made.blocks += _cost(summary, meta, lines)
    settings = [s for s in run.names if s not in ("versions", "model_sha256")]
    for name in settings:
        made.settings |= {str(k): v for k, v in pairs("", run.at(name)).rows}
    if run.data:
        made.blocks.append(Heading("Settings and versions"))
        for name in settings:
            made.blocks.append(pairs(f"[{name}]", run.at(name), folded=True))
        made.blocks.append(pairs("Made with", run.at("versions"), folded=True))
    return made


def _title(source: Source, run: Fields) -> str:
    return run.text("problem", "name") or source.path.resolve().name


def _state(source: Source, run: Fields, summary: Fields, meta: Fields) -> str:
    if source.going:
        return "Still running: the numbers are those of this moment."
    total, step = run.number("train", "total_steps"), meta.number("step")
    if summary.has("status"):
        text = {"finished": "Finished.", "converged": "Finished: the optimiser had nothing left to gain."}
        return text.get(summary.text("status"), f"Status: {summary.text('status')}.")
    if total is not None and step is not None and step >= total:
        return "Finished."
    if meta.has("step") or run.data:
        name = run.text("problem", "name")
        how = f"quprop train {name} --out {quote(str(source.path))} --resume" if name else "train(..., resume=True)"
        return f"Not finished: it was interrupted or killed; continue it with {how}."
    return "Whether this run was finished is not known."


def _result(run: Fields, summary: Fields, lines: Fields, meta: Fields) -> list[tuple[str, Cell]]:
    rows: list[tuple[str, Cell]] = []

    def row(name: str, cell: Cell) -> None:
        if cell != ABSENT:
            rows.append((name, cell))

    if summary.data:
        for key in ("test_accuracy", "train_accuracy"):
            row(key.replace("_", " "), summary.value(key, show=digits(4)))
        for name, cell in _generative(summary):
            row(name, cell)
        for name, cell in _energies(summary):
            row(name, cell)
        row("expected cut", summary.value("expected_cut", show=digits(4)))
        row("best sampled cut", summary.value("sampled_cut"))
        row("largest possible cut", summary.value("best_cut"))
        for name, cell in bit_strings.rows(summary):
            row(name, cell)
        named = summary.text("reference_name")
        row(f"reference accuracy ({named})", summary.value("reference_accuracy", show=digits(4)))
        row("noise of the machine", summary.value("noise"))
        row("channels", summary.value("channels"))
        for key in ("noiseless_test_accuracy", "noiseless_test_loss", "noiseless_loss"):
            row(f"{key.removeprefix('noiseless_').replace('_', ' ')} without noise", summary.value(key))
        row("loss", summary.value("loss"))
        row("standard error of the loss", summary.value("device", "loss_stderr"))
        row("exact loss of the parameters found", summary.value("exact_loss"))
        row("steps", summary.value("steps"))
        row("time", summary.value("seconds", show=seconds))
        for key, name in (("n_qubits", "qubits"), ("n_params", "parameters"), ("n_rotations", "rotations M")):
            row(name, summary.value(key))
        return rows
    last = lines.at(-1)
    for key in last.names:
        if key not in _NO_METRIC:
            row(f"last {key.replace('_', ' ')}", last.value(key))
    row("last loss", last.value("loss"))
    row("steps so far", last.value("step"))
    row("steps in all", run.value("train", "total_steps" if run.has("train", "total_steps") else "steps"))
    row("time so far", last.value("seconds", show=seconds))
    row("qubits", run.value("model", "n_qubits"))
    row("parameters", run.value("model", "n_params"))
    row("gradients asked for", meta.value("gradients"))
    return rows


def _energies(summary: Fields) -> list[tuple[str, Cell]]:
    """The energy beside those it is compared with, in their unit."""
    data = summary.data
    unit = f" {data['energy_unit']}" if data.get("energy_unit") else ""
    known = [("energy", "energy"), *((f"{name} energy", key) for key, (name, _) in levels(data).items())]
    rows = [(name, summary.value(key, show=lambda v: f"{v:.8f}{unit}")) for name, key in known]
    rows.append(("energy error", summary.value("energy_error", show=lambda v: difference(v, data))))
    good = accuracy(data)
    within = f"within {good[0]} ({difference(good[1], data)})" if good else "within chemical accuracy (1.6 mHa)"
    chosen = summary.at("operators")
    return [
        *rows,
        (within, summary.value("chemical_accuracy")),
        ("molecule", summary.value("system")),
        ("terms of the Hamiltonian", summary.value("terms")),
        ("operators", Value(chosen.data, ", ".join(map(str, chosen.data)), chosen.source) if chosen.data else ABSENT),
    ]


def _generative(summary: Fields) -> list[tuple[str, Cell]]:
    """How far a generative model is from test data, and its rivals."""
    names = {"": "", **{f"{key}_": f" of the {name}" for key, name in RIVALS.items()}}
    names["uniform_"] = " of uniform bits"
    rows = []
    for key, of in names.items():
        rows += [(f"test MMD²{of}", summary.value(f"{key}test_mmd2"))]
        if summary.number(f"{key}test_mmd2_error"):
            rows += [(f"standard error{of}", summary.value(f"{key}test_mmd2_error"))]
        rows += [(f"KGEL{of}, nats", summary.value(f"{key}kgel"))]
    for key, name in (
        ("covariance_error", "covariances off test data by, r.m.s."),
        ("train_covariance_error", "those of training data"),
        ("shots", "samples drawn"),
        ("samples_mmd2", "their test MMD²"),
        ("samples_mmd2_error", "standard error of it"),
        ("samples_total_variation", "their total variation from exact probabilities"),
        ("samples_total_variation_expected", "that of perfect samples, on average"),
        ("test_total_variation", "total variation of test data from the circuit"),
        ("train_test_total_variation", "that of test from training data"),
        ("no_samples", "no samples"),
    ):
        rows.append((name, summary.value(key)))
    return rows


def _partition(run: Fields, summary: Fields, notes: list[str]) -> list[Any]:
    """The best cut that was sampled: in words, and as a picture of a small graph."""
    one = summary.at("one_side").data
    if not isinstance(one, list):
        return []
    said = words(f"On one side: {', '.join(map(str, one))}. All others are on the other side.")
    out: list[Any] = [Heading("The best cut found"), said]
    file = run.text("problem", "file")
    try:
        names, edges = read_edges(Path(file) if file else None)
    except (QupropError, OSError) as error:
        notes.append(f"the cut is not drawn: {error}")
        return out
    if len(names) <= MOST_VERTICES and set(one) <= set(names):
        svg = graph_svg(names, edges, set(one))
        cut = sum((names[a] in one) != (names[b] in one) for a, b, _ in edges)
        out.append(Drawing("The graph and its cut", svg, f"Full lines: the {cut} edges cut; dashed: the others."))
    return out


def _pictures(source: Source, notes: list[str]) -> list[Any]:
    out: list[Any] = []
    for file, (title, alt) in _PICTURES.items():
        if (source.path / file).exists():
            png, problem = png_of(source.path / file)
            notes += [problem] if problem else []
            out += [Image(title, png, alt, source.name(file))] if png else []
    return [Heading("Samples and data"), *out] if out else []


def _mmd_curves(lines: Fields, summary: Fields) -> list[Any]:
    """MMD^2, the error of a sampled one as a band, with the rivals as levels; and the variance of the gradient."""
    curves = [_curve("training", lines, "step", "loss", colour=TRAINING)]
    seen = [i for i, row in enumerate(lines.data) if row.get("test_mmd2") is not None]
    if seen:
        at, value, error = ([lines.data[i].get(key) for i in seen] for key in ("step", "test_mmd2", "test_mmd2_error"))
        sources, x_sources = ([f"{lines.file}#/{i}/{key}" for i in seen] for key in ("test_mmd2", "step"))
        if any(error):
            floor = min((v for v in value if v > 0), default=1.0) / 10
            low = [max(v - e, floor) for v, e in zip(value, error, strict=True)]
            high = [v + e for v, e in zip(value, error, strict=True)]
            how = f"computed: {lines.file}#/*/test_mmd2 -+ {lines.file}#/*/test_mmd2_error"
            band = Curve("test, standard error", at, low, how, style="band", high=high, colour=TEST)
            curves.append(band)
        curves.append(Curve("test", at, value, "", style="both", colour=TEST, sources=sources, x_sources=x_sources))
    steps = _column(lines, "step")
    for colour, (key, name) in enumerate(RIVALS.items(), 2):
        level = summary.number(f"{key}_test_mmd2")
        if level is not None:
            where = summary.at(f"{key}_test_mmd2").source
            curves.append(replace(_level(f"{name}, test", level, steps, where), colour=colour))
    variance = _curve("variance", lines, "step", "gradient_variance")
    return [
        Figure("MMD² against steps", "optimiser step", "MMD²", tuple(curves), "y"),
        Figure("Variance of the gradient against steps", "optimiser step", "variance of its entries", (variance,), "y"),
    ]


def _column(lines: Fields, key: str) -> list[Any]:
    return [row.get(key) for row in lines.data]


def _curve(name: str, lines: Fields, x: str, y: str, **more: Any) -> Curve:
    values = _column(lines, y)
    return Curve(name, _column(lines, x), values, f"{lines.file}#/*/{y}", f"{lines.file}#/*/{x}", **more)


def _metric_curve(lines: Fields, x: str, key: str) -> Curve:
    part, _, rest = key.partition("_")
    colour = {"train": TRAINING, "test": TEST}.get(part)
    name = f"training {rest}" if part == "train" else key
    return _curve(name.replace("_", " "), lines, x, key, colour=colour)


def _level(name: str, at: float, over: list[Any], source: str) -> Curve:
    known = [v for v in over if v is not None]
    return Curve(name, [min(known), max(known)], [at, at], source, style="dashed", colour=7, reference=True)


def _metrics(lines: Fields) -> list[str]:
    keys = dict.fromkeys(k for row in lines.data for k, v in row.items() if not isinstance(v, str))
    return [k for k in keys if k not in _NO_METRIC and not k.endswith("loss")]


def _curves(lines: Fields, summary: Fields) -> list[Any]:
    if any("gradient_variance" in row for row in lines.data):
        return [Heading("Loss against steps"), *_mmd_curves(lines, summary)]
    x = "step"
    steps, axis = _column(lines, x), axis_of(lines.data)
    loss = [_curve("training", lines, x, "loss", colour=TRAINING)]
    if any("test_loss" in row for row in lines.data):
        loss.append(_curve("test", lines, x, "test_loss", colour=TEST))
    energy = summary.number("reference_energy")
    out: list[Any] = [Heading("Loss and metric against steps")]
    if energy is None:
        out.append(Figure("Loss against steps", axis, "loss", tuple(loss), whole=True))
    else:
        for place, (key, (name, value)) in enumerate(levels(summary.data).items()):
            loss.append(replace(_level(name, value, steps, summary.at(key).source), colour=6 + place))
        y = in_unit("energy", summary.data)
        out.append(Figure("Energy against steps", axis, y, tuple(loss), whole=True))
        above = [max(v - energy, 0.0) for v in _column(lines, "loss")]
        how = f"computed: {lines.file}#/*/loss minus {summary.at('reference_energy').source}"
        curve = Curve("above the exact energy", steps, above, how, f"{lines.file}#/*/step", colour=TRAINING)
        y = in_unit("energy above the exact one", summary.data)
        near = (curve, *band(summary, steps, above))
        out.append(Figure("Distance to the exact energy", axis, y, near, "y", whole=True))
    names = _metrics(lines)
    if names:
        curves = [_metric_curve(lines, x, name) for name in names]
        if summary.number("reference_accuracy") is not None:
            known = summary.at("reference_accuracy")
            curves.append(_level(summary.text("reference_name") or "reference", known.data, steps, known.source))
        out.append(Figure("Metric against steps", axis, "metric", tuple(curves), whole=True))
    return out


def band(summary: Fields, x: list[Any], errors: list[Any]) -> list[Curve]:
    """The errors of an energy that are good enough, down to the least there is; nothing where no bound is known."""
    if (good := accuracy(summary.data)) is None:
        return []
    known = [v for v in x if v is not None]
    low = min([good[1] / 100, *(v for v in errors if v is not None and v > 0)])
    edges: dict[str, Any] = {"x": [min(known), max(known)], "y": [low, low], "high": [good[1], good[1]]}
    name = f"{good[0]}, {difference(good[1], summary.data)}"
    source = summary.at("energy_accuracy").source
    return [Curve(name, **edges, source=source, style="band", colour=2, reference=True)]


def _against_cost(lines: Fields, summary: Fields, meta: Fields) -> list[Any]:
    """Loss and metric against what had been paid by then: copies and rotations of a method that measures; for exact
    gradients, which consume no copies, rotations as they were executed and as parameter shift would have."""
    out: list[Any] = []
    if any("copies" in row for row in lines.data):
        out.append(Heading("Loss and metric against cost"))
        for key, unit in (("copies", "copies of the input state"), ("rotations", "rotations executed")):
            curves = [_curve("training", lines, key, "loss", colour=TRAINING)]
            if any("test_loss" in row for row in lines.data):
                curves.append(_curve("test", lines, key, "test_loss", colour=TEST))
            out.append(Figure(f"Loss against {key}", unit, "loss", tuple(curves)))
        names = _metrics(lines)
        if names:
            curves = [_metric_curve(lines, "copies", name) for name in names]
            out.append(Figure("Metric against copies", "copies of the input state", "metric", tuple(curves)))
        return out
    spent, steps = summary.number("rotations"), summary.number("steps")
    if not spent or not steps:
        return out
    out.append(Heading("Loss against cost"))
    curves = []
    done = _column(lines, "step")
    for key, name in (("rotations", "exact gradients, as run"), ("parameter_shift_rotations", "by parameter shift")):
        total = summary.number(key)
        if total:
            how = f"computed: {summary.at(key).source} x step / {summary.at('steps').source}"
            x = [total * s / steps for s in done]
            curves.append(Curve(name, x, _column(lines, "loss"), f"{lines.file}#/*/loss", how))
    note = (
        "Exact gradients come from a simulator and consume no copies. Rotations are spread evenly over the steps; by "
        "parameter shift: two runs of the circuit for each rotation, exact expectation values assumed (times the shots "
        "of each run on hardware)."
    )
    out.append(Figure("Loss against rotations", "rotations executed", "loss", tuple(curves), "x", note))
    return out


def _cost(summary: Fields, meta: Fields, lines: Fields) -> list[Any]:
    if summary.has("value_seconds"):
        return [Heading("What the gradients cost"), _exact_cost(summary)]
    if summary.has("device"):
        return [Heading("What the device was asked for"), _device_cost(summary)]
    cost = meta.at("cost")
    if any((cost.number(k) or 0) > 0 for k in cost.names):
        rows: list[tuple[Cell, ...]] = [
            (name, cost.value(key, show=size) if key == "classical_bytes" else cost.value(key))
            for key, name in (
                ("copies", "copies of the input state"),
                ("measurements", "measured runs"),
                ("rotations", "rotations executed"),
                *([("toffolis", "Toffolis executed")] if cost.number("toffolis") else []),
                ("depth", "depth, rotations and Toffolis one after another"),
                ("qubits", "qubits held at once"),
                ("classical_ops", "classical multiply-adds"),
                ("classical_bytes", "classical memory"),
            )
        ]
        rows += [("gradients asked for", meta.value("gradients")), ("values asked for", meta.value("values"))]
        for key in ("copies", "rotations"):
            total, asked = cost.number(key), meta.number("gradients")
            if total is not None and asked:
                how = f"{cost.at(key).source} / {meta.at('gradients').source}"
                rows.append((f"{key} a gradient", computed(total / asked, how)))
        return [Heading("What the gradients cost"), Table("Executed so far", ("", "in all"), tuple(rows))]
    return []


def _device_cost(summary: Fields) -> Table:
    """As `quprop train` prints it: of the rounds that were run what was planned and what came back, and all that was
    paid."""
    rows: list[tuple[Cell, ...]] = []
    shown = {"seconds": {"show": seconds}}
    for key, name in (
        ("jobs", "jobs"),
        ("circuits", "circuits"),
        ("shots", "shots"),
        ("rotations", "rotations"),
        ("seconds", "time of the machine"),
        ("dollars", "dollars"),
    ):
        if summary.has("device", key):
            where = (("device", "planned", key), ("device", key), ("device", "paid", key))
            rows.append((name, *(summary.value(*path, **shown.get(key, {})) for path in where)))
    rows.append(("two-qubit gates of a circuit", summary.value("device", "two_qubit_gates"), "", ""))
    rows.append(("depth", summary.value("device", "depth"), "", ""))
    return Table(f"On {summary.text('device', 'name')}", ("", "planned", "executed", "paid"), tuple(rows))


def _exact_cost(summary: Fields) -> Table:
    """As `quprop train` prints it: value, gradient and their ratio, and what parameter shift would have executed."""
    s = summary.value
    m, done, shift = (summary.number(k) for k in ("n_rotations", "rotations", "parameter_shift_rotations"))
    rows: list[tuple[Cell, ...]] = [
        (
            "time (ω in time)",
            s("value_seconds", show=seconds),
            s("gradient_seconds", show=seconds),
            s("omega_time"),
        ),
        ("memory (ω in memory)", s("value_bytes", show=size), s("gradient_bytes", show=size), s("omega_memory")),
        ("evaluations (samples)", s("value_evaluations"), s("gradient_evaluations"), ""),
    ]
    if m and done is not None:
        three = computed(3 * int(m), f"3 x {summary.at('n_rotations').source}")
        rows.append(("rotations each", s("n_rotations"), three, computed(3, "3 M / M")))
    note = "ω is the cost of a gradient over the cost of a value; backpropagation scaling means that it stays small."
    if done is None:  # a loss that is computed without running the circuit
        return Table("Cost", ("", "value", "gradient", "ratio"), tuple(rows), note)
    rows.append(("rotations executed in all", "", s("rotations"), ""))
    ratio: Cell = ""
    if shift and done:
        how = f"{summary.at('parameter_shift_rotations').source} / {summary.at('rotations').source}"
        ratio = computed(shift / done, how)
    rows.append(("by parameter shift", "", s("parameter_shift_rotations"), ratio))
    rows.append(("runs of parameter shift", "", s("parameter_shift_runs"), ""))
    return Table("Cost", ("", "value", "gradient", "ratio"), tuple(rows), note)
