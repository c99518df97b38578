"""Lists of independent tasks on one core, many processes or a cluster, with results that survive interruption.

A task is a function of plain settings and a seed, `function(settings, seed) -> dict`, found by name in a module, so
that any process can run it. Its key is a hash of everything that defines its result: the function, the settings and
the root seed. The seed it gets is made from the key alone, so that results do not depend on the order in which tasks
run, nor on how many workers there are.

Rows are appended to a JSON-lines file as they come, one `write` a line: an interrupted list resumes where it was. An
executor is anything with the `submit` of `concurrent.futures`: a process pool (`Workers`), dask's
`Client.get_executor()`, or `mpi4py.futures.MPIPoolExecutor()` (run with `mpiexec -n 8 python -m mpi4py.futures
script.py`), which is passed in as it is.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quprop.errors import QupropError
from quprop.files import JsonLines, make_folder
from quprop.lazy import missing
from quprop.machine import usable_processors
from quprop.runs.folder import fingerprint, plain

Function = Callable[[dict[str, Any], np.random.SeedSequence], dict[str, Any]]
Row = dict[str, Any]
_DEATHS = 2  # workers that one task may kill while it runs alone


class TaskFailed(RuntimeError):
    """A task that raised, or that killed its workers again and again; the rows of all others are kept."""


@dataclass(frozen=True)
class Task:
    """function(settings, seed) of a module's top level; settings as JSON knows them.

    The key, and with it the seed, comes from settings, seed and name; name defaults to the function's dotted name. A
    function whose rows are kept in files, or whose seeds were promised, has a name of its own, which outlives moves.
    """

    function: Function
    settings: dict[str, Any] = field(hash=False)
    seed: int = 0
    name: str = ""

    @cached_property
    def key(self) -> str:
        name = self.name or f"{self.function.__module__}.{self.function.__qualname__}"
        return fingerprint({"function": name, "settings": self.settings, "seed": self.seed})


class Executor(Protocol):
    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]: ...


def call(function: Function, settings: dict[str, Any], key: str) -> Row:
    """One task, as a worker runs it: its row holds the key, the settings and what the function returned."""
    result = function(settings, np.random.SeedSequence(int(key, 16)))
    return {"key": key, "settings": settings, "result": json.loads(json.dumps(plain(result)))}


def run_tasks(
    tasks: Sequence[Task],
    executor: Executor | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, Row | None], None] | None = None,
) -> list[Row]:
    """The rows {"key", "settings", "result"} of all tasks, in their order.

    executor: None runs here, one after the other. out: a JSON-lines file; rows that it already holds are not computed
    again, new ones are appended. progress(done, total, row) is called at the start (row None) and after each row.
    A pool of `Workers` whose process is killed is made anew and unfinished tasks are submitted again.
    """
    wanted = {task.key: task for task in tasks}
    log = None
    if out is not None:
        out = Path(out)
        make_folder(out.parent)
        log = JsonLines(out, f"another process is writing to {out}: wait for it, or choose another place")
    try:
        rows = {} if log is None else _kept(log, wanted)
        if progress is not None:
            progress(len(rows), len(wanted), None)
        for row in _compute([t for k, t in wanted.items() if k not in rows], executor):
            if log is not None:
                log.append(row)
                log.sync()
            rows[row["key"]] = row
            if progress is not None:
                progress(len(rows), len(wanted), row)
    finally:
        if log is not None:
            log.close()
    return [rows[task.key] for task in tasks]


def _kept(log: JsonLines, wanted: dict[str, Task]) -> dict[str, Row]:
    """The rows of wanted tasks that a file already holds."""
    rows = {}
    for number, row in enumerate(log.load(), 1):
        key = row.get("key")
        if isinstance(key, str) and key in wanted:
            same = fingerprint({"": row.get("settings")}) == fingerprint({"": wanted[key].settings})
            if not same or not isinstance(row.get("result"), dict):
                raise QupropError(
                    f"line {number} of {log.path} is no row of results: move the file away, or choose another place"
                )
            rows[key] = row
    return rows


def _compute(tasks: list[Task], executor: Executor | None) -> Iterator[Row]:
    """Rows as they are finished."""
    if executor is None:
        for task in tasks:
            try:
                yield call(task.function, task.settings, task.key)
            except Exception as error:
                raise _failed(task, error) from error
        return
    if not isinstance(executor, Workers):
        broken: list[Task] = []
        yield from _round(tasks, executor, len(tasks), broken)
        if broken:
            raise TaskFailed(
                f"the executor broke with {len(broken)} tasks unfinished; the finished ones are kept: start it again "
                "and resume"
            )
        return
    suspects: dict[str, tuple[Task, int]] = {}  # in the pool when a worker died, and how often that was alone
    fresh, lost = list(tasks), []
    while fresh or suspects:
        if fresh:
            broken = []
            done = set()
            for row in _round(fresh, executor, executor.count, broken):
                done.add(row["key"])
                yield row
            suspects |= {t.key: (t, 0) for t in broken}
            fresh = [t for t in fresh if t.key not in done and t.key not in suspects]
        else:  # one at a time, so that a death has one author
            key, (task, deaths) = next(iter(suspects.items()))
            broken = []
            yield from _round([task], executor, 1, broken)
            del suspects[key]
            if broken and deaths + 1 < _DEATHS:
                suspects[key] = (task, deaths + 1)
            elif broken:
                lost.append(task)
        if broken:
            executor.remake()
    if lost:
        raise TaskFailed(
            f"{len(lost)} of the tasks killed their worker {_DEATHS} times (out of memory?), the first of them "
            f"{_words(lost[0])}; all others are kept"
        )


def _round(tasks: list[Task], executor: Executor, window: int, broken: list[Task]) -> Iterator[Row]:
    """Rows as they are finished, at most `window` tasks submitted at once. If the executor breaks, the tasks that were
    in it go to `broken`, and those after them are not submitted."""
    queue = iter(tasks)
    running: dict[Future[Row], Task] = {}
    try:
        while True:
            while not broken and len(running) < window and (task := next(queue, None)) is not None:
                try:
                    running[executor.submit(call, task.function, task.settings, task.key)] = task
                except BrokenExecutor:
                    broken.append(task)
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                task = running.pop(future)
                try:
                    row = future.result()
                except BrokenExecutor:
                    broken.append(task)
                except Exception as error:
                    raise _failed(task, error) from error
                else:
                    yield row
    finally:
        for future in running:
            future.cancel()


def _failed(task: Task, error: Exception) -> Exception:
    if isinstance(error, QupropError):
        return error
    return TaskFailed(f"the task {_words(task)} failed: {type(error).__name__}: {error}")


def _words(task: Task) -> str:
    small = {k: v for k, v in task.settings.items() if isinstance(v, str | int | float) and len(str(v)) < 40}
    return f"{task.function.__name__}({', '.join(f'{k}={v}' for k, v in small.items())})"


class Workers:
    """A process pool of fresh interpreters ("spawn": no threads or locks inherited), one thread each, that can be made
    anew when one of its processes was killed."""

    def __init__(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise QupropError(f"workers is a whole number, 1 or more, got {count!r}")
        self.count = count
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn"), initializer=_start_worker)

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        with _deaf():
            return self._pool.submit(fn, *args)

    def remake(self) -> None:
        self.stop()
        self._pool = self._new()

    def stop(self) -> None:
        """End the processes now, finished or not."""
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            with suppress(OSError, ValueError):
                process.terminate()
        for process in processes:
            with suppress(OSError, ValueError, AssertionError):
                process.join(5)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.stop()


@contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C waits, and processes that begin meanwhile never hear it: it is their parent's, which ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    from quprop import simulate

    with suppress(AttributeError, QupropError):
        simulate.get_engine("native").threads = 1  # the workers are the parallelism


def _follow_parent() -> None:
    """End with the parent, also if that was killed and could not say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def open_executor(workers: int | None = None, dask: str | None = None) -> Iterator[Executor | None]:
    """What the command line's --workers and --dask mean: a pool of processes, dask's cluster on this machine
    ("local") or one that runs already ("tcp://host:8786"), or None: here, one task after the other."""
    if dask is None:
        if workers is None or workers == 1:
            yield None
        else:
            with Workers(workers) as pool:
                yield pool
        return
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise missing("--dask needs the package distributed", "dask") from None
    if dask == "local":
        try:
            import cryptography  # noqa: F401  (by which the cluster's processes know each other)
        except ImportError:
            raise missing("--dask local needs the package cryptography", "dask") from None
        # Without security anybody on this machine could send the workers code of their own.
        count = workers or usable_processors()
        with (
            LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None, security=True) as own,
            Client(own) as client,
        ):
            yield client.get_executor(pure=False)
        return
    if "://" not in dask:
        raise QupropError(f"--dask is local or an address such as tcp://host:8786, got {dask!r}")
    try:
        client = Client(dask, timeout="10s")
    except (OSError, TimeoutError, ValueError, TypeError) as error:  # TypeError: tls without a certificate
        raise QupropError(
            f"no dask scheduler answers at {dask} ({type(error).__name__}): start one with `dask scheduler`"
        ) from None
    with client:
        yield client.get_executor(pure=False)
