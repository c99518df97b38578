"""The section of `quprop compare --json`: every method's cost and error at one precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quprop.cost import fidelity_text
from quprop.report.figure import Curve, Figure
from quprop.report.generic import pairs
from quprop.report.parts import ABSENT, Cell, Fields, Items, Section, Table, Value, seconds, size, words
from quprop.report.sources import Source

COUNTS = ("copies", "measurements", "rotations", "depth", "qubits")


def section(source: Source) -> Section:
    name = source.path.name
    all_of = Fields(str(source.path), source.data[name])
    methods = all_of.at("methods")
    what = all_of.text("what") or "a model"
    made = Section(f"Comparison: {what}", "comparison", str(source.path), notes=list(source.notes))
    if not isinstance(methods.data, dict) or not all(isinstance(v, dict) for v in methods.data.values()):
        made.notes.append(f"{source.path} has no table of methods: write it again with quprop compare --json")
        return made
    machine = all_of.text("hardware", "name") or "the hardware"
    if all_of.has("advice"):
        made.blocks.append(words(all_of.value("advice"), strong=True))
    made.blocks.append(
        words(
            all_of.text("model").removeprefix("Model: ") + "; standard error ",
            all_of.value("precision"),
            " of every component, all within ",
            all_of.value("max_error"),
            " except with probability ",
            all_of.value("failure"),
            "; largest component ",
            all_of.value("true"),
            ".",
        )
    )
    order = sorted(methods.names, key=lambda k: (_gates(methods, k), k))
    made.blocks.append(_costs(all_of, methods, order))
    if all_of.has("rivalry"):
        made.blocks.append(words(all_of.value("rivalry")))
    made.blocks.append(_errors(methods, order, machine))
    if any(methods.number(name, "bias") is not None for name in order):
        made.blocks.append(_biases(methods, order))
    made.blocks += _figures(all_of, methods, order)
    notes: list[Cell] = []
    for method in order:
        row = methods.at(method)
        why = "; ".join(o.text("why") for o in row.at("obstacles").entries) or row.text("too_large")
        said = [row.text("not_run"), f"infeasible, {why}" if why else "", row.text("damage")]
        notes += [f"{method}: {text}" for text in said if text]
    refused = all_of.at("refused")
    notes += [f"{k} does not apply: {refused.text(k)}" for k in refused.names]
    if notes:
        made.blocks.append(Items(tuple(notes)))
    made.blocks.append(pairs(f"Machine: {machine}", all_of.at("hardware"), folded=True))
    made.facts = {"parameters": all_of.value("parameters"), "precision": all_of.value("precision")}
    times = {k: t for k in order if (t := methods.number(k, "seconds")) is not None}
    if times:  # of the fastest
        made.facts["time"] = methods.value(min(times, key=lambda k: times[k]), "seconds", show=seconds)
    made.settings = {"machine": machine}
    return made


def marked(cell: Cell, infeasible: bool) -> Cell:
    """A value with a mark where it is of something infeasible."""
    return replace(cell, text=f"{cell.text} !") if infeasible and isinstance(cell, Value) else cell


def _gates(methods: Fields, name: str) -> float:
    """Rotations and Toffolis."""
    return sum(methods.number(name, "cost", key) or 0.0 for key in ("rotations", "toffolis"))


def _costs(all_of: Fields, methods: Fields, order: list[str]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    value = all_of.at("value")
    toffolis = any(methods.number(name, "cost", "toffolis") for name in order)
    used = (*COUNTS, *["toffolis"] * toffolis)
    rows.append(("the value F", *(value.value(k) for k in used), "1", "1"))
    for name in order:
        row = methods.at(name)
        simulated = row.at("simulated").data is True
        counts = [ABSENT if simulated and i < 3 else row.value("cost", k) for i, k in enumerate(used)]
        rows.append((name.replace("_", " "), *counts, row.value("omega_time"), row.value("omega_memory")))
    note = (
        "ω: cost of the gradient over that of the value at one precision; of exact methods, measured seconds and bytes."
    )
    heads = ("", "copies", "runs", "rotations", "depth", "qubits", *["Toffolis"] * toffolis, "ω time", "ω memory")
    return Table("What it executes", heads, tuple(rows), note)


def _errors(methods: Fields, order: list[str], machine: str) -> Table:
    rows = []
    errs = any(methods.has(name, "fidelity") for name in order)
    for name in order:
        row = methods.at(name)
        rows.append(
            (
                name.replace("_", " "),
                row.value("measured") if row.has("measured") else "not run",
                row.value("expected"),
                row.value("bound"),
                row.value("cost", "classical_ops"),
                row.value("cost", "classical_bytes", show=size),
                marked(row.value("seconds", show=seconds), row.at("feasible").data is False),
                *[row.value("fidelity", show=fidelity_text)] * errs,
            )
        )
    heads = ("", "error", "expected", "bound", "classical operations", "classical memory", f"time on {machine}")
    note = (
        "Error: the largest |component - exact| of one estimate. Times of simulated methods: measured; !: infeasible."
    )
    if errs:
        note += " Fidelity: of the longest run, the probability that nothing in it errs."
    return Table("What comes out", (*heads, *["fidelity"] * errs), tuple(rows), note)


def _biases(methods: Fields, order: list[str]) -> Table:
    keys = ("expected", "bias", "noise_bias")
    rows = [(name.replace("_", " "), *(methods.value(name, k) for k in keys)) for name in order]
    note = (
        "Bias: the mean estimate against the exact gradient of the noisy model; from noiseless: against that of the "
        "model without its noise."
    )
    return Table("What noise does to it", ("", "of shots", "bias", "from noiseless"), tuple(rows), note)


def _figures(all_of: Fields, methods: Fields, order: list[str]) -> list[Any]:
    out: list[Any] = []
    base = all_of.file
    units = {
        "rotations": "rotations executed for one gradient",
        "toffolis": "Toffolis executed for one gradient",
        "copies": "copies of the input state",
    }
    for key, unit in units.items():
        names = [n for n in order if (methods.number(n, "cost", key) or 0) > 0]
        if not names:
            continue
        y = [methods.number(n, "cost", key) or 0.0 for n in names]
        at = [methods.at(n, "cost", key).source for n in names]
        shown = [n.replace("_", " ") for n in names]
        bars = Curve(key, shown, y, f"{base}#/methods/*/cost/{key}", style="bars", sources=at, methods=names)
        note = ""
        value = all_of.number("value", key)
        if value:
            ratios = f"{all_of.at('value').value(key).text}"  # type: ignore[union-attr]
            note = f"The value F itself takes {ratios}."
        title = "Toffolis" if key == "toffolis" else key.capitalize()
        out.append(Figure(f"{title} of one gradient", unit, "method", (bars,), "x", note))
    measured = {n: methods.number(n, "measured") or 0.0 for n in order}
    spent = {n: _gates(methods, n) for n in order}
    run = [n for n in order if measured[n] > 0 and spent[n] > 0]
    if run:
        x = [spent[n] for n in run]
        curves = [
            Curve(
                n.replace("_", " "),
                [spent[n]],
                [measured[n]],
                f"{base}#/methods/{n}/measured",
                f"computed: rotations and toffolis of {base}#/methods/{n}/cost",
                style="points",
                methods=(n,),
            )
            for n in run
        ]
        bound = all_of.number("max_error")
        if bound is not None:
            ends, place = [min(x) / 2, max(x) * 2], all_of.at("max_error").source
            curves.append(Curve("bound", ends, [bound, bound], place, style="dashed", colour=7, reference=True))
        axes = "rotations and Toffolis executed", "largest error of a component"
        out.append(Figure("Error against gates", *axes, tuple(curves), "xy", "Methods that were run."))
    return out
