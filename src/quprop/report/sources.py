"""What lies at a path: which kind of result, its content as far as it can be read, and what could not be."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.files import read_text, read_toml

MOST_FOLDERS = 60  # looked into below one that is no run itself
STILL = 60.0  # seconds without a change, after which a run counts as ended where locks cannot be seen


@dataclass
class Source:
    """One result. kind: of `KINDS`, or "training" for a run folder; data: file name -> content."""

    path: Path
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    going: bool = False

    def name(self, file: str) -> str:
        """How the report calls a file of it."""
        return str(self.path / file) if self.path.is_dir() else str(self.path)


# What the JSON of a command is: an object says it under "kind", a list or table of rows in every row. Where
# "kind" is taken it is "format", with "quprop-" before it. `page.SECTIONS` has a section for each.
KINDS = {
    "model",
    "sweep",
    "plan",
    "check",
    "method",
    "comparison",
    "scaling",
    "experiment",
    "figure2",
    "carleman_analysis",
    "carleman_training",
    "summary",
    "scan",
    "claim",
}


def recognise(data: Any) -> str | None:
    return next((name for name in _names(data) if name in KINDS), None) or _guess(data)


def _names(data: Any) -> list[str]:
    """What a result calls itself, or all of its rows alike."""
    own = [data.get("kind"), str(data.get("format")).removeprefix("quprop-")] if isinstance(data, dict) else []
    rows = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
    kinds = {str(row.get("kind")) if isinstance(row, dict) else "" for row in rows}
    return [str(name) for name in own] + (list(kinds) if len(kinds) == 1 else [])


def _unnamed(data: Any, kind: str) -> Any:
    """The result as it is shown, without its kind or that of its rows."""
    if isinstance(data, list):
        return [_unnamed(row, kind) for row in data]
    if not isinstance(data, dict):
        return data
    if data.get("kind") == kind:
        return {k: v for k, v in data.items() if k != "kind"}
    return {k: _unnamed(v, kind) for k, v in data.items()} if kind == "claim" else data


def _guess(data: Any) -> str | None:
    """The kind of what was written before results named it, by its keys."""

    def has(*keys: str) -> bool:
        return all(k in data for k in keys)

    if isinstance(data, list):
        counted = bool(data) and all(isinstance(e, dict) and {"formula", "counted"} <= e.keys() for e in data)
        return "check" if counted else None
    if not isinstance(data, dict):
        return None
    rows = list(data.values()) if data and all(isinstance(v, dict) for v in data.values()) else []
    fits = {
        "sweep": has("eps", "layers"),
        "plan": (has("methods", "steps") and "value" not in data) or data.get("by") == "formula",
        "comparison": has("methods", "value", "precision"),
        "scaling": has("fits", "rows"),
        "experiment": has("experiment", "findings"),
        "figure2": has("seconds_per_primitive", "parameters"),
        "carleman_analysis": has("spectrum", "verdict"),
        "carleman_training": has("blocks", "reuploads"),
        "summary": has("problem", "status", "loss"),
        "claim": any(rows and all(key in row for row in rows) for key in ("claim", "statement"))
        or isinstance(data.get("claims"), list),
    }
    return next((kind for kind, fit in fits.items() if fit), None)


def find(path: Path) -> tuple[list[Source], list[str]]:
    """All results at `path`: a run folder, a JSON file, or a folder that holds some, looked through to two levels; and
    a sentence for each that was meant to be one and cannot be read."""
    if not path.exists():
        return [], [f"{path} does not exist: give a run folder or a JSON file that quprop wrote"]
    if path.is_file():
        return _file(path)
    found, notes = _folder(path)
    folders = (
        [] if _grows(path) else _below(path) + [inner for p in _below(path) if not _grows(p) for inner in _below(p)]
    )
    if len(folders) > MOST_FOLDERS:
        notes.append(f"{path} has {len(folders)} folders, of which {MOST_FOLDERS} are looked into: name those you mean")
    for folder in folders[:MOST_FOLDERS]:
        more, said = _folder(folder)
        found, notes = found + more, notes + said
    if not found and not notes:
        notes.append(
            f"{path} holds nothing that quprop wrote (no run.toml, rows.jsonl or known JSON): give a run folder, such "
            "as runs/digits"
        )
    return found, notes


def _grows(path: Path) -> bool:
    """Whether a folder is a run itself."""
    return any((path / name).exists() for name in ("run.toml", "metrics.jsonl", "rows.jsonl"))


def _below(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _folder(path: Path) -> tuple[list[Source], list[str]]:
    found: list[Source] = []
    notes: list[str] = []
    if (path / "run.toml").exists() or (path / "metrics.jsonl").exists():
        run = training(path)
        if "carleman" not in run.data.get("run.toml", {}):
            return [run], []
        if not (path / "training.json").exists():
            notes.append(f"{path}: this run of quprop carleman train has not ended; continue it with --resume")
    files = sorted(path.glob("*.json"))
    if (path / "rows.jsonl").exists():
        found.append(scaling(path))
        files = [f for f in files if f.name != "summary.json"]
    for file in files:
        more, said = _file(file, foreign_too=False)
        found, notes = found + more, notes + said
    return found, notes


def _file(path: Path, foreign_too: bool = True) -> tuple[list[Source], list[str]]:
    if path.name in ("run.toml", "metrics.jsonl", "checkpoint.npz", "rows.jsonl") or (
        path.name == "summary.json" and (path.parent / "run.toml").exists()
    ):
        return _folder(path.parent)
    data, problem = read_json(path)
    if problem:
        return [], [problem]
    kind = recognise(data)
    if kind is None:
        said = (
            f"{path} is JSON, but no result that quprop writes: give what `--json FILE` of a quprop command or a run "
            "folder holds"
        )
        return [], [said] if foreign_too else []
    return [Source(path, kind, {path.name: _unnamed(data, kind)})], []


def read_json(path: Path) -> tuple[Any, str]:
    """The content, or a sentence why there is none."""
    try:
        text = read_text(path)
    except OSError as error:
        return None, f"{path} cannot be read ({error.strerror}): give a file or folder that you may read"
    except QupropError as error:
        return None, str(error)
    except UnicodeDecodeError:
        return None, f"{path} is not text: give a JSON file that quprop wrote, or a run folder"
    try:
        return json.loads(text), ""
    except RecursionError:
        return None, f"{path} is nested too deeply: make it again with the command that wrote it"
    except ValueError as error:
        cut = f"{error}" if text.rstrip().endswith(("}", "]")) else "it was cut short"
        return None, f"{path} is no readable JSON ({cut}): make it again with the command that wrote it"


def read_lines(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a JSON-lines file; lines that are none are left out, with a sentence."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return [], [f"{path} cannot be read ({error.strerror}): what it holds is missing here"]
    rows, bad = [], []
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError
            rows.append(row)
        except (ValueError, RecursionError):
            if number < len(lines):  # an unfinished last line is one that is being written
                bad.append(number)
    if bad:
        which = f"line {bad[0]}" if len(bad) == 1 else f"{len(bad)} lines, the first of them {bad[0]},"
        return rows, [f"{which} of {path} cannot be read: the figures leave it out"]
    return rows, []


# -- folders that grow ------------------------------------------------------------------------------------------------


def training(path: Path) -> Source:
    """A run folder (`quprop.runs`), whatever of it is there."""
    source = Source(path, "training")
    try:
        source.data["run.toml"] = read_toml(path / "run.toml")
    except FileNotFoundError:
        source.notes.append(f"{path / 'run.toml'} is missing: the settings of this run are not known")
    except (OSError, tomllib.TOMLDecodeError) as error:
        source.notes.append(f"{path / 'run.toml'} cannot be read ({error}): the settings of this run are not known")
    if isinstance(source.data.get("run.toml", {}).get("scan"), dict):
        source.kind = "scan"
    if (path / "metrics.jsonl").exists():
        rows, said = read_lines(path / "metrics.jsonl")
        good = [r for r in rows if isinstance(r.get("step"), int) and isinstance(r.get("loss"), int | float)]
        if len(good) < len(rows):
            said.append(f"{len(rows) - len(good)} lines of {path / 'metrics.jsonl'} have no step and loss: left out")
        source.data["metrics.jsonl"] = good
        source.notes += said
    if (path / "summary.json").exists():
        data, problem = read_json(path / "summary.json")
        if isinstance(data, dict):
            source.data["summary.json"] = _unnamed(data, "scan" if source.kind == "scan" else "summary")
        else:
            source.notes.append(problem or f"{path / 'summary.json'} is no summary of a run: left out")
    meta, problem = _checkpoint(path / "checkpoint.npz")
    if meta is not None:
        source.data["checkpoint.npz"] = meta
    if problem:
        source.notes.append(problem)
    source.going = _going(path, "metrics.jsonl", "summary.json")
    return source


def _checkpoint(path: Path) -> tuple[dict[str, Any] | None, str]:
    """{"meta": ...} of a checkpoint; its arrays stay where they are."""
    if not path.exists():
        return None, ""
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
            meta = json.loads(file["meta"].tobytes())
            params = {key: list(file[key].shape) for key in file.files if key.startswith("params/")}
    except Exception as error:  # what was changed makes the decoders fail in many ways
        return None, f"{path} is no readable checkpoint ({type(error).__name__}): it was cut or is of another program"
    if not isinstance(meta, dict) or meta.get("format") != "quprop-checkpoint":
        return None, f"{path} is no checkpoint of quprop: left out"
    return {"meta": meta, "params": params}, ""


def scaling(path: Path) -> Source:
    """The folder of `quprop scaling`; without summary.json, the rows so far."""
    source = Source(path, "scaling")
    rows, source.notes = read_lines(path / "rows.jsonl")
    source.data["rows.jsonl"] = rows
    if (path / "summary.json").exists():
        data, problem = read_json(path / "summary.json")
        if recognise(data) == "scaling":
            source.data["summary.json"] = _unnamed(data, "scaling")
        else:
            source.notes.append(problem or f"{path / 'summary.json'} is no summary of a sweep: left out")
    source.going = _going(path, "rows.jsonl", "summary.json")
    return source


def _going(path: Path, growing: str, last: str) -> bool:
    """Whether a process still writes into the folder: it holds a lock on the growing file. Only looked at, never taken:
    a lock held even for a moment could turn away a run that resumes just then."""
    file = path / growing
    try:
        inode, changed = file.stat().st_ino, file.stat().st_mtime
    except OSError:
        return False
    try:
        held = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
        # 1: FLOCK ADVISORY WRITE pid device:inode start end
        if any(w[1] == "FLOCK" and w[5].rsplit(":", 1)[-1] == str(inode) for w in held if len(w) > 5):
            return True
        return not (path / last).exists() and time.time() - changed < 5.0  # between the last step and the summary
    except OSError:  # no such list on this system
        return not (path / last).exists() and time.time() - changed < STILL


def newest_change(paths: Iterable[Path], besides: Path) -> float:
    """When anything of the results was last written, in seconds since the epoch; the report itself does not count."""
    latest = 0.0
    for path in paths:
        for place in [path, *(path.rglob("*") if path.is_dir() else ())]:
            with suppress(OSError):  # gone since
                if place.is_file() and place.resolve() != besides.resolve():
                    latest = max(latest, place.stat().st_mtime)
    return latest


def one_at_least(found: list[Source], notes: list[str]) -> None:
    """Refuse when there is nothing to make a report of."""
    if not found:
        raise QupropError("; ".join(notes) if notes else "give a run folder or a JSON file that quprop wrote")
