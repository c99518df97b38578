"""The sections of `quprop scaling`: points and fitted exponents, and figure 2 of Abbas et al. from its formulas."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from quprop.report.figure import Curve, Figure
from quprop.report.generic import pairs, tables, versions
from quprop.report.parts import ABSENT, Cell, Fields, Heading, Items, Section, Table, Value, words
from quprop.report.sources import Source

TIMES = {
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "day": 86400.0,
    "days": 86400.0,
    "week": 7 * 86400.0,
    "year": 365.25 * 86400,
}


def section(source: Source) -> Section:
    made = Section(
        f"Scaling: {source.path.resolve().name}",
        "scaling",
        str(source.path),
        notes=list(source.notes),
        going=source.going,
    )
    name = "summary.json" if source.path.is_dir() else source.path.name
    summary = Fields(source.name(name), source.data.get(name))
    fits = summary.at("fits")
    made.quprop = summary.text("versions", "quprop")
    if source.going or not summary.data:
        state = (
            "Still running: the rows so far."
            if source.going
            else "Not finished: rows without a summary; --resume ends it."
        )
        made.blocks.append(words(state, strong=True))
    if fits.data:
        made.blocks.append(_table(fits))
        made.blocks += _figures(fits)
    else:
        rows = source.data.get("rows.jsonl") or summary.at("rows").data or []
        where = source.name("rows.jsonl") + "#" if "rows.jsonl" in source.data else summary.at("rows").source
        made.blocks += _points(rows, where)
        if summary.data:
            made.blocks.append(words("No fit: an exponent needs three sizes."))
    rows = summary.at("rows").data or source.data.get("rows.jsonl") or []
    made.blocks += _said(rows)
    if summary.data:
        made.blocks += [pairs("Settings", summary, folded=True, leave=("fits", "rows", "versions")), *versions(summary)]
    made.facts = {"fits": str(len(fits.data or [])), "rows": str(len(rows))}
    return made


def _interval(fit: Fields, key: str) -> Cell:
    low, high = fit.number(key, "low"), fit.number(key, "high")
    value = fit.number(key, "value")
    if low is None or high is None or value is None:
        return ABSENT
    return Value(value, f"{value:.3f} [{low:.3f}, {high:.3f}]", fit.at(key, "value").source)


def _table(fits: Fields) -> Table:
    rows = []
    for fit in fits.entries:
        row = (
            f"{fit.text('family')}: {fit.text('method')}".replace("_", " "),
            fit.value("max_error"),
            _interval(fit, "raw"),
            _interval(fit, "reduced"),
            fit.value("theory"),
            fit.text("verdict"),
        )
        rows.append(row)
    heads = ("family: method", "error", "exponent", "exponent, logarithm divided out", "theory", "verdict")
    note = "Rotations grow like M^exponent; in brackets 95 % intervals. Backpropagation scaling is 1 up to logarithms."
    return Table("Fitted exponents", heads, tuple(rows), note)


def _figures(fits: Fields) -> list[Any]:
    families: dict[str, list[Fields]] = defaultdict(list)
    for fit in fits.entries:
        families[fit.text("family")].append(fit)
    out: list[Any] = []
    for family, members in families.items():
        curves = []
        for fit in members:
            points = [p for p in fit.at("points").data or [] if isinstance(p, list) and len(p) == 3]
            if not points:
                continue
            name = fit.text("method").replace("_", " ")
            methods = (fit.text("method"),)
            order = sorted(range(len(points)), key=lambda i: points[i][0])
            m, y = [points[i][0] for i in order], [points[i][2] for i in order]
            curves.append(
                Curve(
                    f"{name}, measured",
                    m,
                    y,
                    fit.at("points").source + "/*/2",
                    fit.at("points").source + "/*/0",
                    style="points",
                    methods=methods,
                    sources=[fit.at("points", i, 2).source for i in order],
                    x_sources=[fit.at("points", i, 0).source for i in order],
                )
            )
            scale, value = fit.number("raw", "scale"), fit.number("raw", "value")
            with np.errstate(all="ignore"):  # what is not finite is not drawn
                grid = np.geomspace(min(m), max(m), 20)
            if scale is not None and value is not None:
                with np.errstate(all="ignore"):
                    line = (scale * grid**value).tolist()
                how = f"computed: scale x M^value of {fit.at('raw').source}"
                curves.append(
                    Curve(f"{name}, fit M^{value:.2f}", grid.tolist(), line, how, methods=methods, reference=True)
                )
            theory = fit.number("theory")
            if theory is not None:
                with np.errstate(all="ignore"):
                    line = np.exp(np.mean(np.log(y)) + theory * (np.log(grid) - np.mean(np.log(m)))).tolist()
                how = f"computed: M^theory of {fit.at('theory').source}, through the points' middle"
                curves.append(
                    Curve(
                        f"{name}, M^{theory:.3g}",
                        grid.tolist(),
                        line,
                        how,
                        style="dotted",
                        methods=methods,
                        reference=True,
                    )
                )
        if curves:
            title = f"Rotations of one gradient: {family.replace('_', ' ')}"
            note = "Full lines are fits, dotted ones powers of M as theory has them, without logarithms."
            out.append(Figure(title, "M parameters, one a rotation", "rotations executed", tuple(curves), "xy", note))
    return out


def _points(rows: list[dict[str, Any]], where: str) -> list[Any]:
    """Rows before there is a fit."""
    groups: dict[tuple[str, str], list[tuple[float, float, str]]] = defaultdict(list)
    for index, row in enumerate(rows):
        settings, result = row.get("settings") or {}, row.get("result") or {}
        rotations = result.get("rotations")
        if isinstance(rotations, int | float) and rotations > 0 and isinstance(settings.get("m"), int):
            groups[str(settings.get("family")), str(settings.get("method"))].append(
                (settings["m"], rotations, f"{where}/{index}/result/rotations")
            )
    if not groups:
        return []
    curves = []
    for (family, method), points in groups.items():
        points.sort()
        name = f"{family}: {method}".replace("_", " ")
        m, rotations, at = zip(*points, strict=True)
        curves.append(
            Curve(name, m, rotations, f"{where}/*/result/rotations", style="points", sources=at, methods=(method,))
        )
    title, x = "Rotations of one gradient", "M parameters, one a rotation"
    return [Figure(title, x, "rotations executed", tuple(curves), "xy")]


def _said(rows: list[dict[str, Any]]) -> list[Any]:
    notes: dict[str, str] = {}
    for row in rows:
        settings, result = row.get("settings") or {}, row.get("result") or {}
        if "refused" in result:
            notes.setdefault(f"{settings.get('method')} on {settings.get('family')}", str(result["refused"]))
        elif not result.get("reached", True):
            where = f"{settings.get('method')} on {settings.get('family')}, M = {settings.get('m')}"
            notes[where] = "did not reach the error and takes no part in the fit"
    return [Items(tuple(f"{k.replace('_', ' ')}: {v}" for k, v in notes.items()))] if notes else []


_EVEN = {
    "break_even": "In the theorem's worst case quantum backpropagation",
    "break_even_of_two_batches": "With two batches that are read where they trigger it",
}


def figure2(source: Source) -> Section:
    """`quprop scaling --figure2 --json`, and `quprop plan --preset figure2 --json`."""
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section("Figure 2: parameters within reach", "formulas", str(source.path), notes=list(source.notes))
    shown = ("by", "parameters", "laws", "seconds_per_primitive", "constants", *_EVEN)
    made.blocks = figure2_blocks(r) + tables(r, leave=shown)
    return made


def figure2_blocks(all_of: Fields) -> list[Any]:
    """The parameters that each law of figure 2 of Abbas et al. reaches in a time."""
    out: list[Any] = []
    table = all_of.at("parameters")
    times = [t for t in table.names if isinstance(table.at(t).data, dict)]
    laws = list(dict.fromkeys(law for t in times for law in table.at(t).names))
    pace = all_of.value("seconds_per_primitive")
    paced = ("; a rotation takes ", pace, " s.") if pace != ABSENT else (".",)
    out.append(words("From formulas, nothing is measured", *paced))
    rows = tuple((law, *(table.value(t, law) for t in times)) for law in laws)
    out.append(Table("Parameters reachable in a time of one gradient", ("law", *times), rows))
    known = [(t, _seconds(t)) for t in times]
    x = [(t, s) for t, s in known if s is not None]
    curves = []
    for law in laws:
        points = [(s, table.number(t, law) or 0.0, table.at(t, law).source) for t, s in x]
        when, reach, at = zip(*points, strict=True) if points else ((), (), ())
        if any(m > 0 for m in reach):
            curves.append(Curve(law, when, reach, f"{table.source}/*/{law}", style="both", sources=at))
    if curves:
        title = "Parameters against the time of one gradient"
        out.append(Figure(title, "time of one gradient (s)", "M parameters, one a rotation", tuple(curves), "xy"))
    for key, how in _EVEN.items():
        if all_of.has(key):
            out.append(words(f"{how} is cheaper than parameter shift from M = ", all_of.value(key), " on."))
    if all_of.has("constants"):
        out += [Heading("Assumptions"), pairs("Constants", all_of.at("constants"))]
    return out


def _seconds(text: str) -> float | None:
    number, _, unit = text.partition(" ")
    try:
        return float(number) * TIMES[unit]
    except (ValueError, KeyError):
        return None
