"""The section of a scan: energies against a setting of their problem, and their distances to the exact ones."""

from __future__ import annotations

from typing import Any

from quprop.report.figure import Curve, Figure
from quprop.report.generic import pairs
from quprop.report.parts import Fields, Heading, Section, Table, digits, words
from quprop.report.sources import Source
from quprop.report.training import band
from quprop.training.curves import difference, in_unit, levels


def section(source: Source) -> Section:
    """Of a run folder, finished or not, or of what ``--json`` wrote."""
    folder = "run.toml" in source.data
    file = "summary.json" if folder else source.path.name
    summary = Fields(source.name(file), source.data.get(file) or {})
    points = summary.at("points")
    if folder and not points.data:
        points = Fields(source.name("metrics.jsonl"), source.data.get("metrics.jsonl") or [])
    run = Fields(source.name("run.toml"), source.data.get("run.toml") or {})
    name = summary.text("problem") or run.text("problem", "name")
    key = summary.text("key") or run.text("scan", "key")
    made = Section(f"Scan of {name}", "scan", str(source.path), notes=list(source.notes), going=source.going)
    made.quprop = summary.text("versions", "quprop") or run.text("versions", "quprop")
    if not summary.data:
        state = "Still running: the points are those of this moment." if source.going else "Not finished: continue it "
        made.blocks.append(words(state + ("" if source.going else "with --resume."), strong=True))
    elif summary.text("system"):
        made.blocks.append(words(summary.value("system"), strong=True))
    rows = [row for row in points.entries if row.number("energy") is not None]
    if not rows:
        made.notes.append(f"{source.path} holds no points yet: there is nothing to draw")
        return made
    made.blocks += [Heading("Energies"), *_figures(summary, points, rows, summary.text("axis") or key)]
    made.blocks.append(_table(summary, rows, key))
    lowest = min(rows, key=lambda row: row.number("energy") or 0.0)
    made.facts = {"lowest energy": lowest.value("energy", show=digits(8)), f"at {key}": lowest.value("value")}
    if run.data:
        made.blocks.append(Heading("Settings and versions"))
        made.blocks += [pairs(f"[{s}]", run.at(s), folded=True) for s in run.names if s != "model_sha256"]
    return made


def _known(summary: Fields, rows: list[Fields]) -> dict[str, str]:
    """The energies that the points are compared with: key and name."""
    return {key: name for row in rows for key, (name, _) in levels({**summary.data, **row.data}).items()}


def _figures(summary: Fields, points: Fields, rows: list[Fields], axis: str) -> list[Any]:
    base = points.source if points.pointer else f"{points.file}#"

    def column(key: str) -> list[Any]:
        return [row.number(key) for row in rows]

    x, x_source = column("value"), f"{base}/*/value"
    known = _known(summary, rows)
    curves = [Curve("VQE", x, column("energy"), f"{base}/*/energy", x_source, style="both", colour=0)]
    for colour, (key, name) in enumerate(known.items(), 6):
        style = "dashed" if key == "reference_energy" else "both"
        curves.append(Curve(name, x, column(key), f"{base}/*/{key}", x_source, style=style, colour=colour))
    out = [Figure("Energy", axis, in_unit("energy", summary.data), tuple(curves))]
    exact = column("reference_energy")
    if any(e is not None for e in exact):
        apart = []
        for curve in curves:
            key = "energy" if curve.name == "VQE" else next(k for k, name in known.items() if name == curve.name)
            if key == "reference_energy":
                continue
            pairs_of = zip(curve.y, exact, strict=True)
            y: list[Any] = [None if v is None or e is None else abs(v - e) for v, e in pairs_of]
            how = f"computed: |{base}/*/{key} - {base}/*/reference_energy|"
            apart.append(Curve(curve.name, x, y, how, x_source, style="both", colour=curve.colour))
        errors = [v for c in apart for v in c.y]
        title, y_axis = "Distance to the exact energy", in_unit("distance to the exact energy", summary.data)
        out.append(Figure(title, axis, y_axis, (*apart, *band(summary, x, errors)), "y"))
    return out


def _table(summary: Fields, rows: list[Fields], key: str) -> Table:
    known = _known(summary, rows)
    body = tuple(
        (
            row.value("value"),
            *(row.value(k, show=digits(8)) for k in known),
            row.value("energy", show=digits(8)),
            row.value("energy_error", show=lambda v: difference(v, summary.data)),
            row.value("n_params"),
            row.value("steps"),
        )
        for row in rows
    )
    return Table("Points", (key, *known.values(), "VQE", "error", "parameters", "steps"), body)
