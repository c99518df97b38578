"""Files that are whole at every moment: one writer, one growing log, one bounded reader, one look at places for output.

A file that is replaced is written beside its place under a name that nobody can guess, flushed to the disk and moved
there in one step: a process that dies at any moment, or a disk that fills, leaves the old file or the new one. Its
temporary file is locked while it is written, so that the next writer of the same file can tell what a dead process left
behind from what a living one is writing, and removes the former.

A file that grows holds one JSON object a line and has one writer at a time. A line is there as a whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from quprop.errors import QupropError

try:
    import fcntl
except ImportError:  # Windows has no such locks: there is no telling who writes, so nothing is locked and nothing swept
    fcntl = None  # type: ignore[assignment]

PICTURES = (".png", ".pdf", ".svg")  # what a figure's file may be called
STDOUT = "-"  # the name of standard output, for options whose files are text
MOST_BYTES = 1 << 28  # of a file that is read as a whole
MOST_TYPED = 1 << 24  # of one that a person wrote: settings, edges
_NAME = 50  # characters of a file's name that its temporary file's name repeats
_ONE = os.O_CLOEXEC if hasattr(os, "O_CLOEXEC") else 0
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | _ONE
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class FileError(QupropError, OSError):
    """A file that could not be written although what was asked for was in order: the disk is full, say."""


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace ``path`` by ``data``: after a failure or a crash it holds the old content or the new, never a mixture.

    Any number of threads and processes may write one path at once; the last one stays. Raises `FileError`.
    """
    path = Path(path)
    with _named(path):
        _refuse_special(path)
        _sweep(path)
        descriptor, temporary = _temporary(path)
        try:
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
                if fcntl is not None:  # moved while it is locked: nobody takes it for a leftover
                    os.replace(temporary, path)
            finally:
                os.close(descriptor)
            if fcntl is None:  # an open file cannot be moved there
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _flush_folder(path.parent)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Failures of the system as one sentence that names the file."""
    try:
        yield
    except FileError:
        raise
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "not enough memory"
        failed = FileError(f"{path} cannot be written ({reason}): {_mend(error, path)}")
        failed.errno = getattr(error, "errno", None)
        raise failed from None


def _mend(error: OSError | MemoryError, path: Path) -> str:
    if isinstance(error, MemoryError):
        return "close other programs, or write less"
    if error.errno in _NO_ROOM:
        return "free some space on that disk and start again; what was complete is kept"
    if error.errno == errno.ENOENT:
        return f"there is no folder {path.resolve().parent}; make it first"
    return "choose another place"


def _write_all(descriptor: int, data: bytes) -> None:
    """`os.write` until nothing is left: a nearly full disk, a signal or a quota takes a part only."""
    left = memoryview(data)
    while left:
        count = os.write(descriptor, left)
        if count <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left = left[count:]


def _locked(descriptor: int) -> bool:
    """Take the file's lock, which falls with the process, even a killed one. False where the file system has none;
    BlockingIOError where another has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return False
        raise
    return True


def _temporary(path: Path) -> tuple[int, Path]:
    """A new, locked file beside `path`, as the umask says, and its name."""
    while True:
        temporary = path.with_name(f".{path.name[:_NAME]}.{secrets.token_hex(8)}.tmp")
        try:
            descriptor = os.open(temporary, _NEW, 0o666)
        except FileExistsError:
            continue
        try:
            _locked(descriptor)
            if os.fstat(descriptor).st_nlink:  # else another writer swept it before it was locked
                return descriptor, temporary
            os.close(descriptor)
        except BlockingIOError:  # which it is doing now
            os.close(descriptor)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            with suppress(OSError):
                os.close(descriptor)
            raise


def _sweep(path: Path) -> None:
    """Remove what dead writers of `path` left behind."""
    left = re.compile(re.escape(f".{path.name[:_NAME]}.") + r"[0-9a-f]{16}\.tmp")
    with os.scandir(path.parent) as entries:
        found = [entry.path for entry in entries if left.fullmatch(entry.name)]
    for temporary in found:
        with suppress(OSError):  # it is gone, or its writer lives
            descriptor = os.open(temporary, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | _ONE)
            try:
                if _locked(descriptor):
                    os.unlink(temporary)
            finally:
                os.close(descriptor)


def is_temporary(name: str) -> bool:
    """Whether a file of this name may be what a killed writer left."""
    return name.startswith(".") and name.endswith(".tmp")


def _flush_folder(folder: Path) -> None:
    """The renaming itself must reach the disk too."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_DIRECTORY | _ONE)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system whose folders cannot be flushed
            raise
    finally:
        os.close(descriptor)


def _refuse_special(path: Path, name: str = "") -> None:
    """Only a file is ever replaced: no folder, and no device (writing to /dev/null would remove it)."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if stat.S_ISDIR(mode):
        raise QupropError(f"{name}{path} is a folder: give the name of a file in it")
    if not stat.S_ISREG(mode):
        raise QupropError(f"{name}{path} is no ordinary file: give the name of one, or a new name")


def check_outputs(*, out: Path | None = None, **files: Path | None) -> None:
    """Refuse places that cannot take what a command will write there, before any work: `out` a folder, which is made
    if need be, the others files, by the names of their options.

    `json` and `jsonl` may be "-", standard output. Nothing is left behind: that a folder takes files is tried out with
    an empty one.
    """
    if out is not None:
        check_folder("--out", out)
    seen: dict[Path, str] = {}
    for option, path in files.items():
        if path is not None:
            if str(path) != STDOUT or option not in ("json", "jsonl"):
                check_file(f"--{option}", path)
            other = seen.setdefault(path.resolve(), option)
            if other != option:
                raise QupropError(f"--{other} and --{option} are both {path}: give two names")
            if option == "plot":
                check_picture("--plot ", path)


def check_picture(option: str, path: Path) -> None:
    """Refuse a name of a figure's file that does not say in which format it shall be."""
    if path.suffix.lower() not in PICTURES:
        known = f"{', '.join(PICTURES[:-1])} or {PICTURES[-1]}"
        raise QupropError(f"{option}{path}: the name must end in {known}, the formats of figures")


def check_file(option: str, path: Path) -> None:
    """Refuse a place for a file that is something else, or where none can be written."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise QupropError(f"{option} {path}: there is no folder {folder} to write into; make it first")
    _refuse_special(path, f"{option} ")
    _try(f"{option} {path}", path)


def check_folder(option: str, path: Path) -> None:
    """Refuse a place for a folder that is a file, or that cannot be made or written into."""
    place = path.resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        what = "a file" if place == path.resolve() else f"below {place}, a file"
        raise QupropError(f"{option} {path} is {what}; give a folder")
    _try(f"{option} {path}", place / "x")


def _try(what: str, path: Path) -> None:
    try:
        descriptor, temporary = _temporary(path)
        os.unlink(temporary)
        os.close(descriptor)
    except OSError as error:
        kind = FileError if error.errno in _NO_ROOM else QupropError  # a full disk is nobody's mistake
        raise kind(f"{what} cannot be written ({error.strerror}): {_mend(error, path)}") from None


def make_folder(path: Path) -> None:
    with _named(path):
        path.mkdir(parents=True, exist_ok=True)


# -- reading ----------------------------------------------------------------------------------------------------------


def read_bytes(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """The content of a file of at most ``most`` bytes. More is refused before memory is taken for it; what has no size
    beforehand, such as a device or a pipe, is read up to there."""
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size <= most:
            data = _read(file.fileno(), most + 1)
            if len(data) <= most:
                return data
    raise QupropError(f"{path} is larger than the {most >> 20} MiB that such a file may have: give the right file")


def _read(descriptor: int, most: int) -> bytes:
    """What comes, up to `most` bytes."""
    pieces, left = [], most
    while left > 0 and (piece := os.read(descriptor, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def read_text(path: str | os.PathLike[str], most: int = MOST_BYTES) -> str:
    """The same as text, in UTF-8."""
    return read_bytes(path, most).decode("utf-8").replace("\r\n", "\n")


def read_toml(path: str | os.PathLike[str], most: int = MOST_TYPED) -> dict[str, Any]:
    """The tables of a TOML file; all that is wrong with its text is a TOMLDecodeError."""
    text = read_bytes(path, most)
    try:
        return tomllib.loads(text.decode("utf-8").replace("\r\n", "\n"))
    except RecursionError:
        raise tomllib.TOMLDecodeError("it is nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # no UTF-8; a number of thousands of digits
        raise tomllib.TOMLDecodeError(str(error)) from None


# -- growing ----------------------------------------------------------------------------------------------------------


class JsonLines:
    """A file of JSON objects, one a line, that one process at a time appends to.

    ``busy`` is the sentence for whom another process is writing to it. What `load` returned and `append` added is what
    the file holds: a line that could not be written is cut off again, and one cut short by a kill is dropped by `load`.
    """

    def __init__(self, path: Path, busy: str) -> None:
        self.path = path
        self.size = 0  # bytes that hold whole lines
        self._digest = hashlib.sha256()
        self._torn = False
        with _named(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _ONE, 0o666)
            try:
                if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                    raise QupropError(f"{path} is no ordinary file: choose another place")
                _locked(self._descriptor)
            except BlockingIOError:
                os.close(self._descriptor)
                raise QupropError(busy) from None
            except BaseException:
                os.close(self._descriptor)
                raise

    @property
    def sha256(self) -> str:
        """Of the whole lines."""
        return self._digest.hexdigest()

    def load(self, size: int | None = None, sha256: str | None = None) -> list[dict[str, Any]]:
        """The objects of all whole lines, or of the first ``size`` bytes, whose hash must be ``sha256``; what follows
        is cut off. Refused, and the file left as it is, where they are not there or are no objects."""
        with _named(self.path):
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            data = _read(self._descriptor, os.fstat(self._descriptor).st_size)
        if size is None:
            size = data.rfind(b"\n") + 1
        elif len(data) < size:
            raise QupropError(
                f"{self.path} has {len(data)} bytes where the checkpoint expects at least {size}: it was changed or "
                "cut since; start a new run in another folder"
            )
        digest = hashlib.sha256(data[:size])
        if sha256 is not None and digest.hexdigest() != sha256:
            raise QupropError(
                f"{self.path} is not what the checkpoint saw: it was changed since; start a new run in another folder"
            )
        rows = []
        for number, line in enumerate(data[:size].splitlines(), 1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError
            except (ValueError, RecursionError):
                raise QupropError(
                    f"line {number} of {self.path} is no row of results: move the file away, or choose another place"
                ) from None
            rows.append(row)
        if size < len(data):
            with _named(self.path):
                os.ftruncate(self._descriptor, size)
        self.size, self._digest = size, digest
        return rows

    def append(self, row: dict[str, Any]) -> None:
        """One line more; `FileError` where it cannot be written, and the file holds what it held before."""
        with _named(self.path):
            line = (json.dumps(row) + "\n").encode()
            try:
                if self._torn:
                    os.ftruncate(self._descriptor, self.size)
                self._torn = True
                _write_all(self._descriptor, line)
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self.size)
                    self._torn = False
                raise
        self._torn = False
        self.size += len(line)
        self._digest.update(line)

    def sync(self) -> None:
        """Onto the disk."""
        with _named(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with _named(self.path):
                os.close(descriptor)
