"""From results to one HTML file that needs nothing else: sections, contents, figures' data, style and script."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any

from quprop.errors import QupropError
from quprop.files import check_file, write_atomically
from quprop.report import carleman, comparison, models, plans, results, scalings, scans, sweeps, training
from quprop.report.bundle import jinja, plotly_gzip
from quprop.report.figure import Curve, Figure
from quprop.report.parts import Cell, Section, Value
from quprop.report.sources import Source, find, one_at_least
from quprop.runs import versions

MARK = "<!doctype html><!-- made by quprop report -->"
MOST_VARIED, MOST_FOUND = 5, 4  # columns of the contents: settings that differ, and what came out
MOST_OPEN = 8  # results; of more than that each is folded
MOST_RUNS = 8  # curves in the figure that lays runs over one another
SECTIONS: dict[str, Callable[[Source], Section]] = {
    "training": training.section,
    "comparison": comparison.section,
    "scaling": scalings.section,
    "figure2": scalings.figure2,
    "plan": plans.section,
    "carleman_analysis": carleman.analysis,
    "carleman_training": carleman.training,
    "experiment": results.experiment,
    "claim": results.claims,
    "method": results.methods,
    "check": plans.check,
    "summary": results.summary,
    "scan": scans.section,
    "sweep": sweeps.section,
    "model": models.section,
}


class Report:
    """The sections of some results, and sentences about what could not be read (`notes`)."""

    def __init__(self, sections: list[Section], notes: list[str], overview: list[Any]) -> None:
        self.sections, self.notes, self.overview = sections, notes, overview

    @property
    def going(self) -> bool:
        return any(s.going for s in self.sections)

    def all_notes(self) -> list[str]:
        return list(dict.fromkeys([*self.notes, *(note for s in self.sections for note in s.notes)]))


def collect(paths: Iterable[Path]) -> Report:
    """Read what lies at `paths` and make its sections; refused only if there is nothing readable at all."""
    found: list[Source] = []
    notes: list[str] = []
    for path in paths:
        more, said = find(Path(path))
        known = {s.path.resolve() for s in found}
        found += [s for s in more if s.path.resolve() not in known]
        notes += said
    one_at_least(found, notes)
    sections = [_section(source) for source in found]
    titles = [s.title for s in sections]
    for section in sections:
        if titles.count(section.title) > 1:  # two runs of one problem
            section.title += f" ({section.source})"
    made_with = sorted({s.quprop for s in sections if s.quprop})
    if len(made_with) > 1:
        notes.append(
            f"these results were made with different versions of quprop ({', '.join(made_with)}): compare their "
            "numbers with care"
        )
    return Report(sections, notes, _overview(found))


def _section(source: Source) -> Section:
    """A section; a result whose content is not of the expected shape gets a sentence in place of it."""
    try:
        made = SECTIONS[source.kind](source)
        if source.kind == "training":
            drawn, said = models.of_run(source)
            place = next((i for i, b in enumerate(made.blocks) if getattr(b, "text", "").startswith("Settings")), None)
            made.blocks[place if place is not None else len(made.blocks) :] = [
                *drawn,
                *(made.blocks[place:] if place is not None else []),
            ]
            made.notes += [f"{source.path}: {note}" for note in said]
        return made
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError) as error:
        made = Section(source.path.name, source.kind.replace("_", " "), str(source.path), notes=list(source.notes))
        made.notes.append(
            f"{source.path} looks like a {made.label} of quprop but cannot be shown ({type(error).__name__}: {error}): "
            "make it again with this version"
        )
        return made


def _overview(found: Sequence[Source]) -> list[Any]:
    """Training runs of one problem over one another, where there are several."""
    curves: dict[str, list[Curve]] = {}
    for source in found:
        history = source.data.get("metrics.jsonl")
        if source.kind == "training" and history:
            file = source.name("metrics.jsonl")
            x, y = ([row.get(k) for row in history] for k in ("step", "loss"))
            curve = Curve(str(source.path), x, y, f"{file}#/*/loss", f"{file}#/*/step")
            named = (source.data.get("run.toml") or {}).get("problem") or {}
            curves.setdefault(str(named.get("name") or "runs from Python"), []).append(curve)
    return [
        Figure(f"Loss of {title}, all runs", "optimiser step", "loss", tuple(members[:MOST_RUNS]))
        for title, members in curves.items()
        if len(members) > 1
    ]


# -- HTML -------------------------------------------------------------------------------------------------------------


def render(report: Report, *, reload_seconds: float | None = None, now: datetime | None = None) -> str:
    """The whole page. reload_seconds: the page reloads itself so often (while a run is going)."""
    markup = jinja().utils.markupsafe.Markup
    figures: list[Figure] = []

    def number(figure: Figure) -> int:
        figures.append(figure)
        return len(figures) - 1

    columns, cells = _contents(report.sections)
    names = [f"section-{i}" for i in range(1, len(report.sections) + 1)]
    here = Path(__file__).parent
    body = _template().render(
        report=report,
        number=number,
        counted=partial(next, count()),
        sections=list(zip(names, report.sections, strict=True)),
        overview=report.overview,
        columns=columns,
        cells=cells,
        folding=len(report.sections) > MOST_OPEN,
        notes=report.all_notes(),
        version=versions()["quprop"].replace("not installed", "(source tree)"),
        now=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC"),
        reload=reload_seconds,
        style=markup((here / "style.css").read_text(encoding="utf-8")),
        script=markup((here / "page.js").read_text(encoding="utf-8")),
        plotly=markup(plotly_gzip()),
    )
    return MARK + "\n" + body


@lru_cache(maxsize=1)
def _template() -> Any:
    """The page's template, compiled once a process: that takes longer than filling it in."""
    jinja2 = jinja()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = jinja2.utils.markupsafe.Markup
    environment.globals["is_value"] = lambda cell: isinstance(cell, Value)
    environment.filters["data_uri"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    environment.filters["svg"] = markup  # made by `drawing`, which escapes what it is given
    environment.filters["json"] = lambda spec: markup(_json(spec))
    environment.filters["numeric"] = _numeric
    return environment.get_template("template.html")


def write(report: Report, out: Path, **options: Any) -> int:
    """Write the page at once or not at all; the number of its bytes."""
    data = render(report, **options).encode()
    write_atomically(out, data)
    return len(data)


def check_out(out: Path) -> None:
    """Refuse a place that cannot take the report, before any work; an older report is replaced, nothing else is."""
    check_file("--out", out)
    if out.exists():
        try:
            with open(out, "rb") as file:
                start = file.read(len(MARK))
        except OSError as error:
            raise QupropError(f"--out {out} cannot be read ({error.strerror}): choose another place") from None
        if start and start != MARK.encode():
            raise QupropError(f"--out {out} exists and is no report of quprop: choose another place")


def _contents(sections: Sequence[Section]) -> tuple[list[str], list[dict[str, Cell]]]:
    """Columns of the contents, and each section's cells: settings that were not the same for all, what came out where
    several have it and it is not the same for all, and the time of whatever has one."""
    alike: dict[tuple[str, str], list[dict[str, Cell]]] = {}
    for s in sections:
        alike.setdefault((s.label, s.title.split(" (")[0]), []).append(s.settings)
    varied = list(dict.fromkeys(k for group in alike.values() for k in _differing(group)))
    found = [k for k in _differing([s.facts for s in sections]) if k != "time" and k not in varied]
    columns = varied[:MOST_VARIED] + found[:MOST_FOUND]
    if any("time" in s.facts for s in sections):
        columns.append("time")
    return columns, [s.facts | {k: s.settings[k] for k in varied if k in s.settings} for s in sections]


def _differing(cells: list[dict[str, Cell]]) -> list[str]:
    """Keys that two or more have, and of which they say different things; the most frequent ones first."""
    said: dict[str, list[str]] = {}
    for of in cells:
        for key, cell in of.items():
            said.setdefault(key, []).append(cell.text if isinstance(cell, Value) else cell)
    differ = [k for k, texts in said.items() if len(texts) > 1 and len(set(texts)) > 1]
    return sorted(differ, key=lambda k: -len(said[k]))


def _numeric(cell: Cell) -> bool:
    if isinstance(cell, Value):
        return isinstance(cell.raw, int | float) and not isinstance(cell.raw, bool)
    return cell in ("–", "") or (len(cell) < 12 and cell[:1].isdigit())


def _json(spec: dict[str, Any]) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False, ensure_ascii=False, default=_finite)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e").replace("\u2028", "\\u2028")


def _finite(value: Any) -> Any:
    value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
