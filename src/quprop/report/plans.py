"""The section of `quprop plan --json`: methods, machines, where the method to use changes, presets, counted checks."""

from __future__ import annotations

from typing import Any

from quprop.report.comparison import COUNTS
from quprop.report.figure import Curve, Figure
from quprop.report.generic import pairs, table, tables, versions
from quprop.report.parts import Cell, Fields, Heading, Items, Section, Table, Value, seconds, words
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
    used = {*said, "versions", "methods", "machines", "bases", "refused", "hardware", "shape"}
    if methods:
        made.blocks += [_methods(methods, machine), *_bars(methods, machine)]
    made.blocks += _machines(r.at("machines"), {k for k, row in methods if row.text("basis") == "formula"})
    if r.has("parameters") and isinstance(r.at("parameters").data, dict):  # the preset of figure 2
        made.blocks += figure2_blocks(r)
        used |= {"parameters"}
    notes: list[Cell] = [f"{k}: {r.text('bases', k)}" for k in r.at("bases").names]
    notes += [f"{k.replace('_', ' ')} does not apply: {r.text('refused', k)}" for k in r.at("refused").names]
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
    """(name, method), the cheapest in time first, simulators before all."""
    if isinstance(entry.data, list):
        rows = [(e.text("name") or e.text("method"), e) for e in entry.entries if isinstance(e.data, dict)]
    else:
        rows = [(k, entry.at(k)) for k in entry.names if isinstance(entry.at(k).data, dict)]
    return sorted(rows, key=lambda row: (row[1].at("simulated").data is not True, _time(row[1])[0]))


def _time(row: Fields) -> tuple[float, tuple[str, ...]]:
    """The time of the whole training if it is told, else of a gradient; and its keys."""
    for keys in _TIMES:
        if row.number(*keys) is not None:
            return row.number(*keys) or 0.0, keys
    return float("inf"), ("seconds",)


def _methods(rows: list[tuple[str, Fields]], machine: str) -> Table:
    body = []
    toffolis = any(row.number("cost", "toffolis") for _, row in rows)
    for name, row in rows:
        counts = [row.value("cost", k) for k in COUNTS]
        if toffolis:
            counts.append(row.value("cost", "toffolis"))
        times = [row.value("seconds", show=seconds), row.value("training", show=seconds)]
        body.append((name.replace("_", " "), *counts, *times, row.value("basis")))
    counted = ["copies", "runs", "rotations", "depth", "qubits", *["Toffolis"] * toffolis]
    heads = ("", *counted, f"a gradient on {machine}", "the training", "basis")
    note = "Counts are of one gradient; methods that only a simulator runs first, then the cheapest."
    return Table("What it costs by every method", heads, tuple(body), note)


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


def _machines(machines: Fields, formulas: set[str]) -> list[Any]:
    """Times of the training: a row a method, a column a machine; and the least of each, of methods that can be run."""
    known = [m for m in machines.names if machines.at(m).names][:MOST_MACHINES]
    methods = list(dict.fromkeys(k for m in known for k in machines.at(m).names))
    if not methods:
        return []
    body = tuple((k.replace("_", " "), *(machines.value(m, k, show=seconds) for m in known)) for k in methods)
    out: list[Any] = [Table("The training on each machine", ("", *(m.replace("_", " ") for m in known)), body)]
    best: dict[str, tuple[float, str]] = {}
    for m in known:
        times = [(machines.number(m, k) or float("inf"), k) for k in machines.at(m).names if k not in formulas]
        best |= {m: min(times)} if times else {}
    if len(best) > 1:
        names = [f"{m} ({k})".replace("_", " ") for m, (_, k) in best.items()]
        at = [machines.at(m, k).source for m, (_, k) in best.items()]
        source = f"computed: the least of {machines.source}/MACHINE"
        methods = [k for _, k in best.values()]
        bars = Curve(
            "the fastest method",
            names,
            [s for s, _ in best.values()],
            source,
            style="bars",
            sources=at,
            methods=methods,
        )
        note = "Of methods that can be run: those of which only a formula is known are left out." if formulas else ""
        title = "The fastest method on each machine"
        out.append(Figure(title, "seconds of the training", "machine", (bars,), "x", note))
    return out
