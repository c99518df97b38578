"""A run is a folder, and nothing in it is ever half written.

    run.toml         all that defines the run: problem, model, training, seed; and the versions it was made with
    model.json       the model itself, when it was given rather than named
    metrics.jsonl    one line an epoch (or step)
    checkpoint.npz   parameters, optimiser state, position, random generator: what a killed run continues from
    summary.json     the result
    curves.png       loss and metric against the epoch

How files are written is in :mod:`quprop.files`. ``metrics.jsonl`` grows; the checkpoint knows its length and its hash,
and resuming cuts it there. Its lock is what makes a folder one process's own: who begins a run takes it before anything
is written, and keeps it until the end.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from quprop.errors import QupropError, shown
from quprop.files import JsonLines, is_temporary, make_folder, read_bytes, read_toml, write_atomically

FORMAT = "quprop-checkpoint"
FORMAT_VERSION = 1
MOST_CHECKPOINT = 1 << 36


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Replace a file by `value` as JSON; old or new content is there as a whole at every moment (`quprop.files`)."""
    write_atomically(path, (json.dumps(plain(value), indent=2) + "\n").encode())


def plain(value: Any) -> Any:
    """NumPy scalars and arrays, tuples and paths as JSON and TOML know them; entries that are None are left out of
    tables."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def fingerprint(definition: dict[str, Any]) -> str:
    """A hash of all that defines a run; the versions it ran with are recorded but do not take part."""
    kept = {key: entry for key, entry in plain(definition).items() if key != "versions"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """What the run was made with: recorded in run.toml, because digits may differ between versions and machines."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for package in ("quprop", "numpy", "scipy", "torch"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a source tree on the path, not installed
            found[package] = "not installed"
    return found


class RunFolder:
    """The folder of one run. ``create`` refuses a folder that has anything in it; ``open`` continues one."""

    def __init__(self, path: Path, definition: dict[str, Any]):
        self.path = path
        self.definition = definition
        self.fingerprint = fingerprint(definition)
        self._metrics: JsonLines | None = None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        definition: dict[str, Any],
        *,
        model_text: str | None = None,
        beside: tuple[str, ...] = (),
    ) -> RunFolder:
        """``beside``: files that may be there already."""
        path = Path(path)
        refuse_existing(path, beside)
        make_folder(path)
        folder = cls(path, plain(definition))
        folder.lock()
        try:
            refuse_existing(path, beside)  # another run may have begun, and ended, since
            if model_text is not None:
                write_atomically(path / "model.json", model_text.encode())
            write_atomically(path / "run.toml", tomli_w.dumps(plain(definition)).encode())
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        path = Path(path)
        try:
            definition = read_toml(path / "run.toml")
        except (FileNotFoundError, NotADirectoryError):
            raise nothing_to_resume(path, "run.toml") from None
        except OSError as error:
            raise QupropError(
                f"{path / 'run.toml'} cannot be read ({error.strerror}): start a new run in another folder"
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise QupropError(
                f"{path / 'run.toml'} is no readable TOML file ({error}): start a new run in another folder"
            ) from None
        return cls(path, definition)

    def section(self, name: str) -> dict[str, Any]:
        """A table of run.toml, empty if it has none of that name."""
        table = self.definition.get(name, {})
        if not isinstance(table, dict):
            raise QupropError(
                f"[{name}] in {self.path / 'run.toml'} must be a table, got {shown(table)}: start a new run in another "
                "folder"
            )
        return table

    def check_section(
        self, name: str, now: dict[str, Any], missing: str, defaults: dict[str, Any] | None = None
    ) -> None:
        """Refuse to go on with other values than the run's; ``missing`` is said of a folder without that table, and
        ``defaults`` are of entries younger than the run."""
        then = self.section(name)
        if not then:
            raise QupropError(f"the run in {self.path} {missing}")
        then = (defaults or {}) | then
        for key in sorted({*then, *now}):
            if then.get(key) != now.get(key):
                raise QupropError(
                    f"the run in {self.path} was started with {key} = {shown(then.get(key))}, got "
                    f"{shown(now.get(key))}: resume with what it was started with"
                )

    # -- metrics.jsonl ------------------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Make the folder this process's own until `close`."""
        if self._metrics is None:
            self._metrics = JsonLines(
                self.path / "metrics.jsonl",
                f"another process is training in {self.path}: wait for it, or choose another --out",
            )

    def start_metrics(self, length: int, sha256: str | None = None) -> list[dict[str, Any]]:
        """Lock metrics.jsonl and cut it to ``length`` bytes, the part the checkpoint vouches for; its rows."""
        self.lock()
        assert self._metrics is not None
        return self._metrics.load(length, sha256)

    def append_metrics(self, record: dict[str, Any]) -> None:
        assert self._metrics is not None
        self._metrics.append(plain(record))

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    # -- checkpoint.npz -----------------------------------------------------------------------------------------------

    def write_checkpoint(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        assert self._metrics is not None
        self._metrics.sync()  # before the checkpoint says how long it is
        meta = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "metrics_bytes": self._metrics.size,
            "metrics_sha256": self._metrics.sha256,
            **meta,
        }
        buffer = io.BytesIO()
        entries: dict[str, Any] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays}
        np.savez(buffer, **entries)
        write_atomically(self.path / "checkpoint.npz", buffer.getvalue())

    def read_checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Arrays and meta of the checkpoint, or None if the run died before its first. Nothing in it is unpickled."""
        path = self.path / "checkpoint.npz"
        if not path.exists():
            return None
        advice = "start a new run in another folder (--out)"
        try:
            # From memory: NumPy leaves a file that it cannot read open. Sums are checked before anything is made of it.
            content = io.BytesIO(read_bytes(path, MOST_CHECKPOINT))
            with zipfile.ZipFile(content) as archive:
                if archive.testzip() is not None:
                    raise ValueError
            content.seek(0)
            with np.load(content, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            meta = json.loads(arrays.pop("meta").tobytes())
        except QupropError:
            raise
        except Exception as error:  # what was changed makes the decoders fail in many ways
            raise QupropError(f"{path} is no readable quprop checkpoint ({type(error).__name__}): {advice}") from None
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise QupropError(f"{path} is no quprop checkpoint: {advice}")
        if meta.get("version") != FORMAT_VERSION:
            raise QupropError(
                f"{path} has checkpoint version {meta.get('version')}, this quprop reads {FORMAT_VERSION}: {advice}"
            )
        if meta.get("fingerprint") != self.fingerprint:
            raise QupropError(f"{path} belongs to another run than the run.toml beside it: {advice}")
        length, digest = meta.get("metrics_bytes"), meta.get("metrics_sha256")
        if type(length) is not int or length < 0 or not isinstance(digest, str | None):
            raise self.damaged()
        return arrays, meta

    def damaged(self) -> QupropError:
        """Of a checkpoint whose entries are not what a run of this kind writes."""
        return QupropError(
            f"the checkpoint in {self.path} is damaged, or was written by another optimiser or model: resume with what "
            "the run was started with, or start a new run in another folder"
        )

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_json(self.path / "summary.json", summary)


def nothing_to_resume(path: Path, file: str) -> QupropError:
    """Of a folder without the file in which a run begins."""
    return QupropError(f"expected a run to resume in {path}, found no {file} there: leave out --resume to start one")


def refuse_existing(path: str | os.PathLike[str], beside: tuple[str, ...] = ()) -> None:
    """Refuse a place that already holds something other than the files ``beside``; an empty folder, or one a killed
    process had only begun, is free."""
    path = Path(path)
    if path.is_dir():
        left = {entry.name for entry in path.iterdir() if not is_temporary(entry.name)} - set(beside)
        if "run.toml" in left:
            raise QupropError(
                f"{path} already holds a run: continue it with --resume, or choose another folder with --out"
            )
        metrics = path / "metrics.jsonl"
        begun = (
            {"model.json", "metrics.jsonl"} if not metrics.exists() or not metrics.stat().st_size else {"model.json"}
        )
        if left - begun:
            raise QupropError(f"{path} exists and is not empty: choose another folder with --out")
        return
    if path.exists():
        raise QupropError(f"{path} exists and is not a folder: choose another with --out")
