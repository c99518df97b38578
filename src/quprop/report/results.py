"""The sections of experiments, lists of claims, and summaries of runs: words, a picture, tables of what is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from quprop.errors import QupropError
from quprop.files import read_bytes
from quprop.report.generic import pairs, table, tables, versions
from quprop.report.parts import Cell, Fields, Heading, Image, Items, Section, Table, seconds, words
from quprop.report.scalings import figure2_blocks
from quprop.report.sources import Source

CLAIM = ("statement", "claim", "expected", "measured", "verdict", "why")  # columns of a list of claims
WHENCE = ("source", "command")
LARGEST_PICTURE = 1_000_000  # bytes


def experiment(source: Source) -> Section:
    """`quprop reproduce NAME` or `quprop carleman experiment NAME`: claim, findings, picture, numbers."""
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section(f"Experiment: {r.text('experiment').replace('_', ' ')}", "experiment", str(source.path))
    made.notes, made.quprop = list(source.notes), r.text("versions", "quprop")
    made.blocks.append(words("Claim: ", r.value("claim"), strong=True))
    said: list[Cell] = [r.text("source"), "quick version" if r.at("quick").data else "full version"]
    made.blocks.append(words(", ".join(str(s) for s in said if s), ", ", r.value("seconds", show=seconds), "."))
    made.facts = {"time": r.value("seconds", show=seconds), "findings": r.value("findings", 0)}
    findings = r.at("findings")
    made.blocks.append(Items(tuple(f.value() for f in findings.entries)))
    png, problem = png_of(source.path.with_suffix(".png"))
    if png:
        alt = f"Figure of the experiment {r.text('experiment')}: {r.text('claim')}. The findings say what it shows."
        made.blocks.append(Image("Picture", png, alt, str(source.path.with_suffix(".png"))))
    elif problem:
        made.notes.append(problem)
    # "panels" is what the picture was drawn from
    known = ["findings", "claim", "source", "experiment", "versions", "quick", "seconds", "panels", "environment"]
    if r.has("seconds_per_primitive") and r.has("parameters"):
        made.blocks += figure2_blocks(r)
        known += ["seconds_per_primitive", "parameters", "constants", "break_even", "break_even_of_two_batches"]
    made.blocks += [replace(t, folded=True) for t in tables(r, leave=known)]
    made.blocks += versions(r)
    return made


def png_of(path: Path) -> tuple[bytes, str]:
    """A PNG that a run or an experiment left, or a sentence why it is not shown."""
    try:
        data = read_bytes(path)
    except OSError:
        return b"", f"{path} is missing: the experiment's picture is not shown"
    except QupropError as error:
        return b"", str(error)
    if not data.startswith(b"\x89PNG\r\n"):
        return b"", f"{path} is no PNG: the experiment's picture is not shown"
    if len(data) > LARGEST_PICTURE:
        return b"", f"{path} has {len(data):,} bytes: too large to show here"
    return data, ""


def confusion(summary: Fields) -> list[Any]:
    """Of a classifier: how many samples of each class were taken for which."""
    out: list[Any] = []
    for part, name in (("test", "Test data"), ("train", "Training data")):
        counts = summary.at("confusion", part)
        if not counts.data:
            continue
        names = [summary.text("classes", k) or str(k) for k in range(len(counts.data))]
        rows = tuple((names[i], *(row.value(k) for k in range(len(names)))) for i, row in enumerate(counts.entries))
        caption = f"{name}: true class by row, class said by column"
        out.append(Table(caption, ("", *names), rows, folded=part == "train"))
    return [Heading("What was taken for what"), *out] if out else []


def claims(source: Source) -> Section:
    """`quprop reproduce --json`: statement, where from, what was measured, verdict."""
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section("Claims of the sources", "claims", str(source.path), notes=list(source.notes))
    listed = r.at("claims") if r.has("claims") else r
    if isinstance(listed.data, list):
        entries = [c for c in listed.entries if isinstance(c.data, dict)]
        rows = [(c.text("name") or c.text("id") or str(i + 1), c) for i, c in enumerate(entries)]
    else:
        rows = [(k.replace("_", " "), listed.at(k)) for k in listed.names if isinstance(listed.at(k).data, dict)]
    verdicts: dict[str, int] = {}
    for _, row in rows:
        if row.has("verdict"):
            verdicts[row.text("verdict")] = verdicts.get(row.text("verdict"), 0) + 1
    if verdicts:
        made.blocks.append(words(", ".join(f"{n} {v}" for v, n in sorted(verdicts.items())) + ".", strong=True))
    for caption, wanted in (("Claims", CLAIM), ("Where from, and how to measure it again", WHENCE)):
        columns = [c for c in wanted if any(row.has(c) for _, row in rows)]
        if columns:
            made.blocks.append(table(caption, rows, columns))
    rest = {"claims", "versions"} if r.has("claims") else set(r.names)
    made.blocks += [t for t in tables(r, leave=rest) if t.rows] + versions(r)
    made.facts = {"claims": str(len(rows))}
    return made


def methods(source: Source) -> Section:
    """`quprop methods --json`."""
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section("Gradient methods", "methods", str(source.path), notes=list(source.notes))
    made.blocks.append(table("Methods", [(e.text("name"), e) for e in r.entries]))
    return made


def summary(source: Source) -> Section:
    """`quprop train --json` without its folder: the numbers, no curves."""
    r = Fields(str(source.path), source.data[source.path.name])
    made = Section(
        f"{r.text('problem')} (summary alone)", "summary of a run", str(source.path), notes=list(source.notes)
    )
    made.quprop = r.text("versions", "quprop")
    made.notes.append(f"{source.path} is a summary alone: give the run folder to see the curves")
    made.facts = {"time": r.value("seconds", show=seconds)}
    made.blocks.append(pairs("Result", r, leave=("config", "versions", "confusion")))
    made.blocks += [*confusion(r), pairs("Settings", r.at("config"), folded=True)]
    made.blocks += versions(r)
    return made
