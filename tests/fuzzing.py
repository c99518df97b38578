"""Fuzzing by grammar and mutation: the driver. What is fuzzed is in `formats.py`, what is known in `corpus/`.

An input is made by a format's grammar, or is a known one changed a little. Each is read in a child process that may
take one second of processor time and 256 MiB for it. A finding is whatever is neither a `QupropError` of one sentence
nor an object that works: another exception or warning, a wrong number, no end, too much memory, a death.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mmap
import os
import random
import resource
import select
import shutil
import signal
import struct
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from quprop.errors import QupropError

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 1.0  # of processor time for one input
HANGING = 20.0  # seconds after which a child that does not even answer the clock's signal is killed
MEBIBYTES = 256
LARGEST = 1 << 16  # bytes of an input
A_CHILD = 2000  # inputs of one child
FRESH = 0.5  # of the inputs come from the grammar, the others from the corpus and what was accepted lately
DEAR = 0.1  # of the inputs get the checks that take long
RECENT = 200
GRAMMAR = 77  # exit status of a child in which making an input failed
LONGEST = 1500  # characters of a sentence

_HEAD = struct.Struct("qqdq")  # inputs tried, accepted, when the last one began, its length


class Wrong(Exception):
    """An accepted input whose object does not work; the first argument is what all such inputs have in common."""


class TooLong(BaseException):
    """Beyond `SECONDS`; no Exception, so that nobody who expects any of those catches it."""


@dataclass(frozen=True)
class Format:
    """make: a valid input; change: one like it; read: True if accepted, False if refused by a QupropError, and
    anything else that it raises is a finding; its third argument is whether to check what takes long too. Files of its
    corpus are named `*suffix`."""

    suffix: str
    make: Callable[[random.Random], bytes]
    change: Callable[[random.Random, bytes, bytes], bytes]
    read: Callable[[bytes, Path, bool], bool]


@dataclass
class Outcome:
    """What came of fuzzing one format: findings are data by kind, the smallest one of each."""

    tried: int = 0
    accepted: int = 0
    seconds: float = 0.0
    findings: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, data: bytes, text: str) -> None:
        self.times[kind] = self.times.get(kind, 0) + 1
        if kind not in self.findings or len(data) < len(self.findings[kind][0]):
            self.findings[kind] = data, text


def known(name: str) -> list[Path]:
    folder = CORPUS / name
    return sorted(folder.iterdir()) if folder.is_dir() else []


def judge(form: Format, data: bytes, folder: Path, dear: bool = True) -> bool:
    """Whether the input is accepted; raises what is wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for foreign in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", foreign)
        try:
            return form.read(data, folder, dear)
        except QupropError as error:
            one_sentence(str(error))
            return False


def one_sentence(text: str) -> None:
    if not text.strip() or not text.isprintable() or len(text) > LONGEST:
        raise Wrong("the refusal is not one printable line", text[:300])


def kind_of(error: BaseException) -> str:
    """What inputs with the same fault have in common: the exception, and where in quprop it left."""
    if isinstance(error, TooLong):
        return "longer than a second"
    if isinstance(error, Wrong):
        return f"wrong: {error.args[0]}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/quprop/" in f.filename] or frames[-1:]
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].name}"


def fuzz(
    name: str, form: Format, seed: int, *, seconds: float = float("inf"), inputs: int = 1 << 62, first: int = 0
) -> Outcome:
    """Inputs number first, first + 1, ... of a seed until either limit."""
    outcome, begun, start = Outcome(), time.monotonic(), first
    corpus = [path.read_bytes() for path in known(name)]
    while outcome.tried < inputs and time.monotonic() - begun < seconds:
        count = min(A_CHILD, inputs - outcome.tried)
        start += _child(form, f"{seed} {name}", start, count, corpus, begun + seconds, outcome)
    outcome.seconds = time.monotonic() - begun
    return outcome


def _child(form: Format, seed: str, start: int, count: int, corpus: list[bytes], until: float, outcome: Outcome) -> int:
    """How many inputs one child has tried."""
    board = mmap.mmap(-1, _HEAD.size + LARGEST)  # shared: what it was doing is known when it has died
    board[: _HEAD.size] = _HEAD.pack(0, 0, time.monotonic(), 0)
    folder = Path(tempfile.mkdtemp(prefix="quprop-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = GRAMMAR
        try:
            os.close(reading)
            _work(form, seed, start, count, corpus, until, board, folder, writing)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    lines, hung = b"", False
    while True:
        if select.select([reading], [], [], 1.0)[0]:
            piece = os.read(reading, 1 << 16)
            lines += piece
            if not piece:
                break
        elif time.monotonic() - _HEAD.unpack(board[: _HEAD.size])[2] > HANGING:
            os.kill(child, signal.SIGKILL)
            hung = True
            break
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tried, accepted, _, size = _HEAD.unpack(board[: _HEAD.size])
    shutil.rmtree(folder, ignore_errors=True)
    for line in lines.splitlines():
        with suppress(ValueError):  # cut off by its death
            found = json.loads(line)
            outcome.add(found["kind"], base64.b64decode(found["data"]), found["text"])
    if status == GRAMMAR:
        raise RuntimeError(f"the grammar fails at input {start + tried} of seed {seed!r}; see above")
    if status:
        data = board[_HEAD.size : _HEAD.size + size]
        why = "hangs in compiled code" if hung else f"the process ends with status {status}"
        outcome.add(why, data, why)
    outcome.tried, outcome.accepted = outcome.tried + tried, outcome.accepted + accepted
    return tried


def _work(
    form: Format,
    seed: str,
    start: int,
    count: int,
    corpus: list[bytes],
    until: float,
    board: mmap.mmap,
    folder: Path,
    writing: int,
) -> None:
    recent: list[bytes] = []
    accepted = 0
    with limits():
        for tried in range(1, count + 1):
            rng = random.Random(f"{seed} {start + tried - 1}")
            pool = recent if recent and (not corpus or rng.random() < 0.5) else corpus
            if not pool or rng.random() < FRESH:
                data = form.make(rng)
            else:
                data = form.change(rng, rng.choice(pool), rng.choice(pool))
            data = data[:LARGEST]
            board[: _HEAD.size] = _HEAD.pack(tried, accepted, time.monotonic(), len(data))
            board[_HEAD.size : _HEAD.size + len(data)] = data
            try:
                with clock():
                    fine = judge(form, data, folder, rng.random() < DEAR)
            except BaseException as error:
                text = "".join(traceback.format_exception(error))[-3000:]
                found = {"kind": kind_of(error), "data": base64.b64encode(data).decode(), "text": text}
                os.write(writing, (json.dumps(found) + "\n").encode())
                continue
            if fine:
                accepted += 1
                if len(recent) < RECENT:
                    recent.append(data)
                else:
                    recent[rng.randrange(RECENT)] = data
            if time.monotonic() > until:
                break
    board[: _HEAD.size] = _HEAD.pack(tried, accepted, time.monotonic(), 0)


@contextmanager
def limits():
    """The memory of this process from here on."""
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + (MEBIBYTES << 20), before[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def clock():
    """Raises `TooLong` after `SECONDS` of processor time, and again, should a handler have swallowed it."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def keep(name: str, form: Format, data: bytes) -> Path:
    """Into the corpus."""
    path = CORPUS / name / f"found-{hashlib.sha256(data).hexdigest()[:10]}{form.suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
