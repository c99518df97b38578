"""The section of a sweep of quantum backpropagation, layer by layer (`quprop.gradients.sweeps.sweep_log`)."""

from __future__ import annotations

from typing import Any

from quprop.report.figure import Curve, Figure
from quprop.report.parts import Cell, Fields, Section, Table, computed, words
from quprop.report.sources import Source

TRIGGERS_SHOWN = 200


def section(source: Source) -> Section:
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section("Sweep of quantum backpropagation", "sweep", str(source.path), notes=list(source.notes))
    layers = r.at("layers")
    rows = [row for row in layers.entries if isinstance(row.data, dict) and row.number("layer") is not None]
    if not rows:
        made.notes.append(f"{source.path} holds no layers: record them with QuantumBackprop(explain=True)")
        return made
    triggers = [row for row in rows if row.at("triggered").data]
    eps = r.number("eps")
    asked: tuple[Cell, ...] = ("; dF/da asked to within ", r.value("eps"), ".") if eps is not None else (".",)
    made.blocks.append(
        words(
            computed(len(rows), f"entries of {layers.source}"),
            " checked components, ",
            computed(len(triggers), f"entries of {layers.source} with triggered"),
            " triggers, ",
            rows[-1].value("copies"),
            " copies",
            *asked,
            strong=True,
        )
    )
    made.blocks += _figures(r, rows, triggers, eps)
    body = tuple(
        tuple(t.value(k) for k in ("layer", "prediction", "measured", "updates", "batch", "damage", "copies"))
        for t in triggers[:TRIGGERS_SHOWN]
    )
    heads = ("rotation", "predicted", "measured", "updates", "batch", "damage of the batch", "copies so far")
    note = f"{TRIGGERS_SHOWN} of {len(triggers):,} triggers" if len(triggers) > TRIGGERS_SHOWN else ""
    if body:
        made.blocks.append(Table("Triggers", heads, body, note))
    made.facts = {"triggers": str(len(triggers)), "copies": rows[-1].value("copies")}
    return made


def _figures(r: Fields, rows: list[Fields], triggers: list[Fields], eps: float | None) -> list[Any]:
    base = r.at("layers").source

    def column(key: str, of: list[Fields]) -> list[float]:
        values = [row.number(key) for row in of]
        return [float("nan") if v is None else v for v in values]

    layer = column("layer", rows)
    x_source = f"{base}/*/layer"
    predicted = column("prediction", rows)
    curves = [Curve("prediction of the hypothesis", layer, predicted, f"{base}/*/prediction", x_source, colour=0)]
    if eps is not None:
        low, high = [p - eps for p in predicted], [p + eps for p in predicted]
        how = f"computed: prediction -/+ {r.at('eps').source}"
        band = Curve("prediction ± eps", layer, low, how, style="band", colour=0, high=high, reference=True)
        curves.insert(0, band)
    exact = r.numbers("exact")
    if exact:
        known = [exact[int(m)] if 0 <= int(m) < len(exact) else float("nan") for m in layer]
        source = r.at("exact").source
        at = [f"{source}/{int(m)}" for m in layer]
        curves.append(Curve("exact", layer, known, f"{source}/*", x_source, "points", 3, sources=at))
    if triggers:
        curves.append(
            Curve(
                "trigger, measured",
                column("layer", triggers),
                column("measured", triggers),
                f"{base}/*/measured",
                x_source,
                style="points",
                colour=1,
                sources=[t.at("measured").source for t in triggers],
                x_sources=[t.at("layer").source for t in triggers],
            )
        )
    unit = "rotation; the sweep goes from right to left"
    noise = (
        Curve(
            "probability of a trigger", layer, column("probability", rows), f"{base}/*/probability", x_source, "points"
        ),
        Curve("damage of the batch in use", layer, column("damage", rows), f"{base}/*/damage", x_source),
    )
    copies = Curve("copies", layer, column("copies", rows), f"{base}/*/copies", x_source, "steps")
    return [
        Figure("Predictions and measurements", unit, "dF/da", tuple(curves)),
        Figure("Trigger probabilities and damage", unit, "probability, damage", noise, "y", low=1e-9),
        Figure("Copies consumed", unit, "copies so far", (copies,)),
    ]
