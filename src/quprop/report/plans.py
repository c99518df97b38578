"""The section of `quprop plan --json`: methods, machines, where the method to use changes, presets, counted checks."""

from __future__ import annotations

from typing import Any

from quprop.cost import fidelity_text
from quprop.report.comparison import COUNTS, marked
from quprop.report.figure import Curve, Figure
from quprop.report.generic import pairs, table, tables, versions
from quprop.report.parts import Cell, Fields, Heading, Items, Section, Table, Value, computed, seconds, words
from quprop.report.scalings import figure2_blocks
from quprop.report.sources import Source

MOST_MACHINES = 8
_SENTENCES = ("advice", "noise", "rivalry", "source")
_TIMES = (("training",), ("training_seconds",), ("seconds",))


def section(source: Source) -> Section:
    """What is known of the shape is shown as it is meant; the rest as tables of what is there."""
    r = Fields(str(source.path), source.data[source.path.name])
    what = r.text("shape", "name") or r.text("network") or r.text("what") or source.path.stem
    made = Section(f"Plan: {what.split(':')[0][:80]}", "plan", str(source.path), notes=list(source.notes))
    made.quprop = r.text("versions", "quprop")
    said = [k for k in _SENTENCES if isinstance(r.at(k).data, str)]
    made.blocks += [words(r.value(k), strong=k == "advice") for k in said]
    if what != made.title:
        made.blocks.append(words(what + "."))
    methods = _rows(r.at("methods"))
    machine = r.text("hardware", "name") or "the machine"
    used = {*said, "versions", "methods", "machines", "infeasible", "bases", "refused", "hardware", "shape"}
    if methods:
        made.blocks += [_methods(methods, machine), *_bars(methods, machine)]
    formulas = {k for k, row in methods if row.text("basis") == "formula"}
    made.blocks += _machines(r.at("machines"), formulas, r.at("infeasible"))
    if r.has("parameters") and isinstance(r.at("parameters").data, dict):  # the preset of figure 2
        made.blocks += figure2_blocks(r)
        used |= {"parameters"}
    notes: list[Cell] = [f"{k}: {r.text('bases', k)}" for k in r.at("bases").names]
    notes += [f"{k.replace('_', ' ')} does not apply: {r.text('refused', k)}" for k in r.at("refused").names]
    notes += [
        f"{name.replace('_', ' ')} is infeasible: {'; '.join(o.text('why') for o in row.at('obstacles').entries)}"
        for name, row in methods
        if row.at("feasible").data is False
    ]
    if notes:
        made.blocks.append(Items(tuple(notes)))
    rest = tables(r, leave=used)
    if rest:
        made.blocks += [Heading("Settings and assumptions"), *rest]
    for key in ("shape", "hardware"):
        if r.has(key):
            made.blocks.append(pairs("The model" if key == "shape" else f"Machine: {machine}", r.at(key), folded=True))
    made.blocks += versions(r)
    made.facts = {k: c for k in ("precision", "steps") if isinstance(c := r.value(k), Value)}
    if methods:
        made.facts["time"] = methods[0][1].value(*_time(methods[0][1])[1], show=seconds)
    elif r.has("descent_seconds"):
        made.facts["time"] = r.value("descent_seconds", show=seconds)
    made.settings = {"machine": machine}
    return made


def check(source: Source) -> Section:
    """`quprop plan --check --json`."""
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section(f"Plan: {source.path.stem}", "plan", str(source.path), notes=list(source.notes))
    made.blocks.append(words("Formulas beside counted runs at small size.", strong=True))
    made.blocks.append(table("Formula and count", [(e.text("method"), e) for e in r.entries]))
    return made


def _rows(entry: Fields) -> list[tuple[str, Fields]]:
    """(name, method), the cheapest in time first, simulators before all, what is infeasible and formulas behind."""
    if isinstance(entry.data, list):
        rows = [(e.text("name") or e.text("method"), e) for e in entry.entries if isinstance(e.data, dict)]
    else:
        rows = [(k, entry.at(k)) for k in entry.names if isinstance(entry.at(k).data, dict)]

    def place(row: tuple[str, Fields]) -> tuple[bool, bool, bool, float]:
        entry = row[1]
        infeasible, formula = entry.at("feasible").data is False, entry.text("basis") == "formula"
        return entry.at("simulated").data is not True, infeasible, formula, _time(entry)[0]

    return sorted(rows, key=place)


def _time(row: Fields) -> tuple[float, tuple[str, ...]]:
    """The time of the whole training if it is told, else of a gradient; and its keys."""
    for keys in _TIMES:
        if row.number(*keys) is not None:
            return row.number(*keys) or 0.0, keys
    return float("inf"), ("seconds",)


def _methods(rows: list[tuple[str, Fields]], machine: str) -> Table:
    body = []
    toffolis = any(row.number("cost", "toffolis") for _, row in rows)
    errs = any(row.has("fidelity") for _, row in rows)
    for name, row in rows:
        counts = [row.value("cost", k) for k in COUNTS]
        if toffolis:
            counts.append(row.value("cost", "toffolis"))
        times = [_gradient(row), marked(row.value("training", show=seconds), row.at("feasible").data is False)]
        left = [row.value("fidelity", show=fidelity_text)] * errs
        body.append((name.replace("_", " "), *times, *left, *counts, row.value("basis")))
    counted = ["copies", "runs", "rotations", "depth", "qubits", *["Toffolis"] * toffolis]
    heads = ("", f"a gradient on {machine}", "the training", *["fidelity"] * errs, *counted, "basis")
    note = (
        "Counts are of one gradient; methods that only a simulator runs first, then the cheapest. Times include "
        "classical work; !: infeasible."
    )
    if errs:
        note += " Fidelity: of the longest run, the probability that nothing in it errs."
    return Table("What it costs by every method", heads, tuple(body), note)


def _gradient(row: Fields) -> Cell:
    """Seconds of a gradient, its classical side included; of files that do not say the sum, added."""
    if row.has("gradient"):
        return row.value("gradient", show=seconds)
    parts = [row.number("seconds"), row.number("classical_seconds")]
    if None in parts:
        return row.value("seconds", show=seconds)
    return computed(sum(p for p in parts if p is not None), f"seconds + classical_seconds of {row.source}", seconds)


def _bars(rows: list[tuple[str, Fields]], machine: str) -> list[Any]:
    good = [(n, e) for n, e in rows if e.at("simulated").data is not True and 0 < _time(e)[0] < float("inf")]
    if len(good) < 2:
        return []
    keys = _time(good[0][1])[1]
    good = [(n, e) for n, e in good if e.number(*keys)]
    lengths, at = [e.number(*keys) or 0.0 for _, e in good], [e.at(*keys).source for _, e in good]
    names = [n.replace("_", " ") for n, _ in good]
    base = good[0][1].source.rsplit("/", 1)[0]
    bars = Curve(
        f"on {machine}",
        names,
        lengths,
        f"{base}/*/{'/'.join(keys)}",
        style="bars",
        sources=at,
        methods=[n for n, _ in good],
    )
    title = "Time of the training" if keys[0].startswith("training") else "Time of one gradient"
    return [Figure(f"{title}, by method", "seconds", "method", (bars,), "x")]


def _machines(machines: Fields, formulas: set[str], infeasible: Fields) -> list[Any]:
    """Times of the training: a row a method, a column a machine; and the least of each, of methods that can be run and
    are feasible there."""
    known = [m for m in machines.names if machines.at(m).names][:MOST_MACHINES]
    methods = list(dict.fromkeys(k for m in known for k in machines.at(m).names))
    if not methods:
        return []

    def at(machine: str, method: str) -> Cell:
        return marked(machines.value(machine, method, show=seconds), infeasible.has(machine, method))

    body = tuple((k.replace("_", " "), *(at(m, k) for m in known)) for k in methods)
    out: list[Any] = [Table("The training on each machine", ("", *(m.replace("_", " ") for m in known)), body)]
    best: dict[str, tuple[float, str]] = {}
    for m in known:
        able = [k for k in machines.at(m).names if k not in formulas and not infeasible.has(m, k)]
        times = [(t, k) for k in able if (t := machines.number(m, k)) is not None]
        best |= {m: min(times)} if times else {}
    if len(best) > 1:
        names = [f"{m} ({k})".replace("_", " ") for m, (_, k) in best.items()]
        places = [machines.at(m, k).source for m, (_, k) in best.items()]
        source = f"computed: the least of {machines.source}/MACHINE"
        methods = [k for _, k in best.values()]
        bars = Curve(
            "the fastest method",
            names,
            [s for s, _ in best.values()],
            source,
            style="bars",
            sources=places,
            methods=methods,
        )
        note = (
            "Of methods that can be run and are feasible there: those of which only a formula is known are left out."
            if formulas
            else ""
        )
        title = "The fastest method on each machine"
        out.append(Figure(title, "seconds of the training", "machine", (bars,), "x", note))
    return out
