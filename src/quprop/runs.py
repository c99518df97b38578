"""A run is a folder, and nothing in it is ever half written.

    run.toml         all that defines the run: problem, model, training, seed; and the versions it was made with
    model.json       the model itself, when it was given rather than named
    metrics.jsonl    one line an epoch (or step)
    checkpoint.npz   parameters, optimiser state, position, random generator: what a killed run continues from
    summary.json     the result
    curves.png       loss and metric against the epoch

Files that are replaced are written beside their place, flushed to the disk and moved there in one step
(``os.replace``), so that a process killed at any moment leaves the old or the new file. ``metrics.jsonl`` grows; the
checkpoint knows its length and resuming cuts it there.
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

from quprop.errors import QupropError

FORMAT = "quprop-checkpoint"
FORMAT_VERSION = 1


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: after a crash it holds the old content or the new, never a mixture."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # the rename itself must reach the disk too
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: Path, value: Any) -> None:
    write_atomically(Path(path), (json.dumps(plain(value), indent=2) + "\n").encode())


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
    for package in ("quprop", "numpy", "scipy"):
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
        self._metrics: io.BufferedRandom | None = None

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], definition: dict[str, Any], *, model_text: str | None = None
    ) -> RunFolder:
        path = Path(path)
        refuse_existing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise QupropError(
                f"the run folder {path} cannot be made ({error.strerror}): choose another with --out"
            ) from None
        if model_text is not None:
            write_atomically(path / "model.json", model_text.encode())
        write_atomically(path / "run.toml", tomli_w.dumps(plain(definition)).encode())
        return cls(path, plain(definition))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        path = Path(path)
        try:
            definition = tomllib.loads((path / "run.toml").read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise QupropError(
                f"expected a run to resume in {path}, found no run.toml there: leave out --resume to start one"
            ) from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise QupropError(
                f"{path / 'run.toml'} is no readable TOML file ({error}): start a new run in another folder"
            ) from None
        return cls(path, definition)

    # -- metrics.jsonl ------------------------------------------------------------------------------------------------

    def start_metrics(self, length: int) -> None:
        """Open metrics.jsonl for this process alone and cut it to ``length`` bytes, the part the checkpoint vouches
        for."""
        file = open(self.path / "metrics.jsonl", "a+b")  # noqa: SIM115  (kept open for the whole run)
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # falls with the process, even a killed one
        except ImportError:  # Windows: no lock
            pass
        except OSError:
            file.close()
            raise QupropError(
                f"another process is training in {self.path}: wait for it, or choose another --out"
            ) from None
        size = file.seek(0, os.SEEK_END)
        if size < length:
            file.close()
            raise QupropError(
                f"{self.path / 'metrics.jsonl'} has {size} bytes where the checkpoint expects at least {length}: "
                "it was changed or cut since; start a new run in another folder"
            )
        file.truncate(length)
        self._metrics = file

    def read_metrics(self) -> list[dict[str, Any]]:
        assert self._metrics is not None
        self._metrics.seek(0)
        return [json.loads(line) for line in self._metrics]

    def append_metrics(self, record: dict[str, Any]) -> None:
        assert self._metrics is not None
        self._metrics.write((json.dumps(plain(record)) + "\n").encode())
        self._metrics.flush()

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None

    # -- checkpoint.npz -----------------------------------------------------------------------------------------------

    def write_checkpoint(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        assert self._metrics is not None
        os.fsync(self._metrics.fileno())  # before the checkpoint says how long it is
        meta = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "metrics_bytes": self._metrics.seek(0, os.SEEK_END),
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
            # From memory: NumPy leaves a file that it cannot read open.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            meta = json.loads(arrays.pop("meta").tobytes())
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            AttributeError,
            zipfile.BadZipFile,
            UnicodeDecodeError,
        ) as error:
            raise QupropError(f"{path} is no readable quprop checkpoint ({type(error).__name__}): {advice}") from None
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            raise QupropError(f"{path} is no quprop checkpoint: {advice}")
        if meta.get("version") != FORMAT_VERSION:
            raise QupropError(
                f"{path} has checkpoint version {meta.get('version')}, this quprop reads {FORMAT_VERSION}: {advice}"
            )
        if meta.get("fingerprint") != self.fingerprint:
            raise QupropError(f"{path} belongs to another run than the run.toml beside it: {advice}")
        return arrays, meta

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_json(self.path / "summary.json", summary)

    def read_summary(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.path / "summary.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None


def refuse_existing(path: str | os.PathLike[str]) -> None:
    """Refuse a place that already holds something; an empty folder, or one a killed process had only begun, is free."""
    path = Path(path)
    if path.is_dir():
        left = [entry for entry in path.iterdir() if not (entry.name.startswith(".") and entry.name.endswith(".tmp"))]
        if not left or [entry.name for entry in left] == ["model.json"]:
            return
        if (path / "run.toml").exists():
            raise QupropError(
                f"{path} already holds a run: continue it with --resume, or choose another folder with --out"
            )
        raise QupropError(f"{path} exists and is not empty: choose another folder with --out")
    if path.exists():
        raise QupropError(f"{path} exists and is not a folder: choose another with --out")
