"""The sections of `quprop carleman analyse` and `train`."""

from __future__ import annotations

from typing import Any

from quprop.report.figure import Curve, Figure
from quprop.report.generic import pairs, versions
from quprop.report.parts import ABSENT, Cell, Fields, Heading, Items, Section, Table, Value, digits, seconds, words
from quprop.report.sources import Source

LARGEST_BOUND = 10.0  # of the error relative to the parameters, beyond which a bound says nothing

METRICS = {"accuracy": "Accuracy", "r_squared": "R squared"}


def analysis(source: Source) -> Section:
    """Spectrum, error proxy, block length, what it would cost, the verdict."""
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section(f"Linearisation: {r.text('network')} on {r.text('data')}", "analysis", str(source.path))
    made.notes = list(source.notes)
    made.quprop = r.text("versions", "quprop")
    made.blocks.append(words(r.value("verdict"), strong=True))
    v = r.value
    entries: list[tuple[str, Cell]] = [
        ("parameters", v("parameters")),
        ("after pruning", v("kept")),
        ("least Hessian eigenvalue", v("spectrum", "least")),
        ("greatest Hessian eigenvalue", v("spectrum", "greatest")),
        ("max |1 - a|", v("growth")),
        ("descent is", v("kind")),
        ("error proxy least at step", v("proxy", "minimum_at")),
        ("convergence radius", v("radius", "outer") if r.has("radius", "outer") else "none"),
        ("block length", v("block_length")),
        ("update error measured then", _truncation(r, at_end=True)),
        ("update error a step later", _truncation(r, at_end=False)),
        ("error proxy allows steps", v("proxy", "block_length")),
        ("Hessian entries a row", v("hessian_entries", "entries")),
        ("normalisation of the step", v("hessian_entries", "alpha")),
        ("condition number", v("condition_number")),
        ("with that normalisation", v("kappa_eff")),
        ("queries a run", v("queries_per_run")),
        ("copies to read", v("copies")),
        ("error promised of them", v("proved_error")),
        ("error expected of them", v("expected_error")),
        ("copies for the precision on average", v("copies_expected")),
        ("queries in all", v("queries")),
        (f"time on {r.text('hardware')}", v("seconds", show=seconds)),
    ]
    made.blocks.append(Table("Analysis", ("", "value"), tuple((n, c) for n, c in entries if c != ABSENT)))
    made.facts = {
        n: c for n, c in entries if isinstance(c, Value) and n in ("parameters", "descent is", "block length")
    }
    nodes, weights = r.numbers("spectrum", "nodes"), r.numbers("spectrum", "weights")
    if nodes and len(nodes) == len(weights):
        at = r.at("spectrum")
        stems = Curve("share of modes", nodes, weights, at.source + "/weights/*", at.source + "/nodes/*", style="stems")
        rate = r.number("learning_rate")
        note = f"Descent contracts where 0 < eta l < 2, that is for l below {2 / rate:.4g}." if rate else ""
        made.blocks.append(Figure("Hessian spectrum", "eigenvalue l", "share of modes", (stems,), "y", note))
    curves = _line("error proxy", r, ("proxy", "steps"), ("proxy", "values"))
    bound = r.numbers("bound")
    end = next((i for i, b in enumerate(bound) if not b < LARGEST_BOUND), len(bound))
    how = "proved" if r.text("bound_by") == "proof" else "estimated"
    if end:
        source_of = r.at("bound").source + "/*"
        curves.append(Curve(f"{how} error / |theta|", list(range(end)), bound[:end], source_of, style="dashed"))
    if curves:
        note = (
            f"From step {end} on the {how} bound exceeds {LARGEST_BOUND:g} and is not drawn."
            if end < len(bound)
            else ""
        )
        made.blocks.append(Figure(f"Error proxy and {how} bound", "step", "error", tuple(curves), "y", note))
    for entry in r.at("warnings").data or []:
        made.blocks.append(words(f"Warning: {entry}."))
    for name in ("cost", "break_even", "radius"):
        if r.has(name):
            made.blocks.append(pairs(name.replace("_", " ").capitalize(), r.at(name), folded=True))
    made.blocks.append(words(r.text("emulated")[:1].upper() + r.text("emulated")[1:] + "."))
    made.blocks += versions(r)
    return made


def _truncation(r: Fields, at_end: bool) -> Cell:
    """The error measured at the end of the longest block that is allowed, or a step later."""
    length = r.number("truncation", "length")
    return ABSENT if length is None else r.value("truncation", "errors", int(length) + (not at_end))


def training(source: Source) -> Section:
    """Accuracy block by block beside plain descent, errors and drift, condition numbers and queries, the ledger."""
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section(f"Carleman loop: {r.text('network')} on {r.text('data')}", "Carleman training", str(source.path))
    made.notes = list(source.notes)
    made.quprop = r.text("versions", "quprop")
    four, metric = digits(4), _metric(r)
    made.blocks.append(
        words(
            f"{METRICS[metric]} ",
            r.value(metric, show=four),
            ", plain descent ",
            r.value(f"plain_{metric}", show=four),
            " (not pruned) and ",
            r.value(f"twin_{metric}", show=four),
            " (same loop); ",
            r.value("reuploads"),
            " re-uploads, ",
            r.value("queries"),
            " queries, ",
            r.value("copies"),
            " copies.",
            strong=True,
        )
    )
    if r.has("diverged"):
        made.blocks.append(words("The loop diverged: ", r.value("diverged")))
    made.facts = {metric: r.value(metric, show=four), "queries": r.value("queries")}
    blocks = r.at("blocks")
    steps = [b.number("step") for b in blocks.entries]
    lengths = [b.number("block_length") for b in blocks.entries]
    if not steps or any(s is None for s in steps) or any(n is None for n in lengths):
        made.notes.append(f"{source.path} has blocks without step and length: they are not drawn")
    else:
        ends = [s + n for s, n in zip(steps, lengths, strict=True)]  # type: ignore[operator]
        made.blocks += _block_figures(r, ends)
    made.blocks.append(_block_table(blocks, metric))
    made.blocks.append(pairs("Ledger", r.at("ledger")))
    if r.has("break_even", "sentence"):
        made.blocks.append(words(r.value("break_even", "sentence")))
    for entry in r.at("warnings").data or []:
        made.blocks.append(words(str(entry)))
    emulation = r.at("emulation")
    if emulation.data:
        how = [f"{k}: {_text(emulation.at(k).data)}" for k in emulation.names]
        made.blocks += [Heading("What is emulated"), Items(tuple(how))]
    for name in ("meaning", "settings"):
        if r.has(name):
            made.blocks.append(pairs(name.capitalize(), r.at(name), folded=True))
    made.blocks += versions(r)
    return made


def _text(data: Any) -> str:
    return "; ".join(map(str, data)) if isinstance(data, list) else str(data)


def _line(name: str, r: Fields, x: tuple[str, ...], y: tuple[str, ...]) -> list[Curve]:
    xs, ys = r.numbers(*x), r.numbers(*y)
    good = xs and len(xs) == len(ys)
    return [Curve(name, xs, ys, r.at(*y).source + "/*", r.at(*x).source + "/*")] if good else []


def _block_figures(r: Fields, ends: list[float]) -> list[Any]:
    blocks, metric = r.at("blocks"), _metric(r)
    x_source = f"computed: step + block_length of {blocks.source}/*"

    def curve(name: str, *keys: str, style: str = "both") -> Curve:
        values = [b.number(*keys) for b in blocks.entries]
        y = [float("nan") if v is None else v for v in values]
        return Curve(name, ends, y, f"{blocks.source}/*/{'/'.join(keys)}", x_source, style=style)

    accuracy = (
        curve("linear system, re-uploads", metric),
        curve("after the pruning before", f"pruned_{metric}", style="points"),
        curve("same loop, plain descent", f"twin_{metric}", style="points"),
        curve("plain descent, not pruned", f"plain_{metric}", style="dashed"),
    )
    errors = (
        curve("parameters, this block", "relative_error"),
        curve("update, this block", "update_error"),
        curve("parameters, all blocks so far", "drift"),
    )
    costs = (curve("condition number", "cost", "kappa"), curve("queries", "cost", "queries"))
    loss = (curve("after the block", "loss"), curve("before it", "loss_before", style="points"))
    step = "linearised step"
    return [
        Figure(f"{METRICS[metric]}, block by block", step, f"test {METRICS[metric].lower()}", accuracy),
        Figure("Loss, block by block", step, "loss", loss),
        Figure("Error and drift", step, "relative distance from plain descent", errors, "y"),
        Figure("Condition number and queries", step, "of the block", costs, "y"),
    ]


def _metric(r: Fields) -> str:
    """What the network is judged by; records without it are of classes."""
    return "r_squared" if r.has("metric") and r.text("metric") == "r_squared" else "accuracy"


def _block_table(blocks: Fields, metric: str) -> Table:
    rows = []
    for i, b in enumerate(blocks.entries):
        errors = [b.value(k) for k in ("relative_error", "update_error", "drift")]
        cost = [b.value("cost", "kappa"), b.value("cost", "queries"), b.value("cost", "copies")]
        accuracies = [b.value(k, show=digits(4)) for k in (metric, f"twin_{metric}", f"plain_{metric}")]
        rows.append((str(i + 1), b.value("block_length"), b.value("kept"), *accuracies, *errors, *cost, b.value("by")))
    heads = [
        "steps",
        "kept",
        METRICS[metric].lower(),
        "twin",
        "plain",
        "error",
        "update",
        "drift",
        "kappa",
        "queries",
        "copies",
        "by",
    ]
    return Table("Blocks", ("block", *heads), tuple(rows))
