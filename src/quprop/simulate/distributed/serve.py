"""One rank leads and the others serve: `mpirun -n 8 quprop train tfim`.

Rank 0 runs the program: it reads, decides, draws, writes and shows. Its engine, `Led`, sends every call to the other
ranks before it makes it itself; they wait for calls, make the same ones of their own engines with the same arrays and
forget what comes back. So no decision is taken twice, and there is one folder, one progress bar and one sentence.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, NoReturn
from weakref import ref

import numpy as np

from quprop.errors import QupropError, shown
from quprop.model import Model
from quprop.simulate.distributed.engine import DistributedEngine, distributed_engine
from quprop.simulate.distributed.ranks import Ranks, finish, launched_size, leads, world
from quprop.simulate.distributed.settings import Distributed
from quprop.simulate.distributed.watch import FAILED, Watch
from quprop.simulate.engine import Arrays

BAD_INPUT = 2
MODELS = 16  # that the other ranks remember
_AWAKE = 0.002  # seconds for which a rank that waits asks without a pause
_LONGEST = 0.01  # seconds of a pause
_OTHERS = 2.0  # seconds that ranks take to end
_SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")  # which a launcher passes on, or sends, to every rank

Key = tuple[Distributed, str, int | None]  # of an engine: settings, precision, threads
EngineOf = Callable[[Distributed, str, int | None], Any]


class _Known(NamedTuple):
    """In the place of a model that the others have."""

    place: int


class _Call(NamedTuple):
    """What the other ranks do next: a method of an engine, the engine itself (""), or a function "module:name".

    models: by the place where they are to be remembered; keeps: whether the last pullback may still be asked; words:
    of a run that ends before its end.
    """

    key: Key | None
    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    models: dict[int, Model]
    keeps: bool
    words: str


class Leader:
    """Rank 0 of a program that the others serve."""

    def __init__(self, ranks: Ranks, engine_of: EngineOf) -> None:
        self.ranks, self._comm, self._engine_of = ranks, ranks.comm.Dup(), engine_of
        self.last_words: Callable[[], str] = str  # of a run that ends before its end: how it is continued
        self.broken = False  # whether the others may be within a call that this rank has left
        self._engines: dict[Key, Any] = {}
        self._places: OrderedDict[int, tuple[int, Model]] = OrderedDict()  # by identity; the last used last
        self._held: Callable[[], LedPullback | None] = lambda: None
        self._one = threading.RLock()  # torch differentiates in a thread of its own
        self.watch = Watch(ranks, lambda: self.last_words())

    def engine(self, precision: str = "double", threads: int | None = None, settings: Distributed | None = None) -> Led:
        """The engine of all ranks; without a number of threads, that of the last one asked for. Raises: QupropError
        where it is refused."""
        key = settings or Distributed(), precision, threads
        if threads is None:
            key = next((k for k in reversed(self._engines) if k[:2] == key[:2]), key)
        if key not in self._engines:
            with self._together(key, ""):
                self._engines[key] = self._engine_of(*key)
        return Led(self, key, self._engines[key])

    def everywhere(self, function: str, *arguments: Any) -> Any:
        """What a function "module:name" of quprop returns here, called as function(ranks, *arguments) on all ranks."""
        with self._together(None, function, arguments):
            return _named(function)(self.ranks, *arguments)

    def call(self, key: Key, method: str, *arguments: Any, **options: Any) -> Any:
        """What a method of the engine returns."""
        new: dict[int, Model] = {}
        with self._one:
            sent = tuple(self._known(a, new) if isinstance(a, Model) else a for a in arguments)
            with self._together(key, method, sent, options, new):
                return getattr(self._engines[key], method)(*arguments, **options)

    def vjp(self, key: Key, method: str, arguments: tuple[Any, ...], again: LedPullback | None = None) -> Any:
        """Values and pullback, whose state every rank keeps until the next; or the same for a pullback whose own was
        let go."""
        with self._one:
            held = self._held()
            if held is not None:
                held.inner = None
            first, inner = self.call(key, method, *arguments)
            pullback = again or LedPullback(self, key, method, arguments)
            pullback.inner, self._held = inner, ref(pullback)
            return first, pullback

    def pull(self, pullback: LedPullback, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """What a pullback returns."""
        with self._one:
            if pullback.inner is None:
                self.vjp(pullback.key, pullback.method, pullback.arguments, again=pullback)
            inner = pullback.inner
            assert inner is not None
            with self._together(pullback.key, _PULL, arguments, options):
                return inner(*arguments, **options)

    def stop(self, status: int) -> None:
        """Let the others go; where they cannot hear it, end them."""
        if self.broken:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
            self._comm.Abort(status or FAILED)
        self._send(None)
        self.watch.over = True
        self._comm.Barrier()
        finish()
        if status:  # of one that fails while others run, Open MPI's mpirun has much to say
            self.watch.left_alone(_OTHERS)

    def _known(self, model: Model, new: dict[int, Model]) -> _Known:
        """Where the others have it; `new` gets it if they do not, in the place of the one not used for longest."""
        found = self._places.pop(id(model), None)
        if found is None:
            place = self._places.popitem(last=False)[1][0] if len(self._places) == MODELS else len(self._places)
            found = place, model
            new[place] = model
        self._places[id(model)] = found
        return _Known(found[0])

    @contextmanager
    def _together(
        self,
        key: Key | None,
        method: str,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
        models: dict[int, Model] | None = None,
    ) -> Iterator[None]:
        """Within, this rank does what it told the others. What they refuse too leaves all ready for the next call;
        anything else, Ctrl-C included, leaves them where they are."""
        if self.broken:
            raise RuntimeError("a call of all ranks was left before its end")
        try:
            with self._one:
                keeps = self._held() is not None
                self._send(_Call(key, method, arguments, options or {}, models or {}, keeps, self.last_words()))
                yield
        except QupropError:
            raise
        except BaseException:
            self.broken = True
            raise

    def _send(self, call: _Call | None) -> None:
        for rank in range(1, self.ranks.size):
            self._comm.Send(np.zeros(1, np.int8), rank)
        self._comm.bcast(call)


class LedPullback:
    """d_theta and d_x of a cotangent, by all ranks."""

    def __init__(self, leader: Leader, key: Key, method: str, arguments: tuple[Any, ...]) -> None:
        self._leader, self.key, self.method = leader, key, method
        self.arguments = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in arguments)
        self.inner: Callable[..., Arrays] | None = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._leader.pull(self, arguments, options)


class Led:
    """An engine of all ranks, as the first of them calls it."""

    def __init__(self, leader: Leader, key: Key, inner: Any) -> None:
        self._leader, self._key, self._inner = leader, key, inner

    def __repr__(self) -> str:
        return repr(self._inner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._inner, name)
        return partial(self._leader.call, self._key, name) if callable(found) else found

    def vjp(self, model: Model, theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, Callable[..., Arrays]]:
        """Values (B, K), and pullback(cotangent (B, K), sum_theta=False) -> d_theta (B, P) or (P,), d_x (B, D)."""
        found: tuple[np.ndarray, Callable[..., Arrays]] = self._leader.vjp(self._key, "vjp", (model, theta, x))
        return found


_PULL = "pullback"
_leader: Leader | None = None


def leading() -> Leader | None:
    """The leader, in a program that other ranks serve."""
    return _leader


def engine_of_ranks(settings: Distributed, precision: str, threads: int | None) -> Any:
    """The engine `Distributed`: of a rank that calls it together with the others, or of the one that leads them."""
    return (
        distributed_engine(settings, precision, threads)
        if _leader is None
        else _leader.engine(precision, threads, settings)
    )


def refuse_unled(engine: Any) -> None:
    """Refuse, for an engine of many ranks, what only one of them may do."""
    if _leader is None and isinstance(engine, DistributedEngine) and engine.ranks.size > 1:
        raise QupropError(
            f"each of the {engine.ranks.size} ranks would write the run folder and show its progress: put the program "
            "into a function and start it with qpr.lead(program)"
        )


def lead(program: Callable[[], Any]) -> None:
    """Run a program on the first rank of mpirun, while the others make every call of its engine `Distributed` with it:
    it writes its files and shows its progress once, and ends all ranks when it ends. Without mpirun it is just run.

    program: a function without arguments; all else of it is in one process, as without ranks. Under mpirun nothing
    comes after `lead`: the process is left, with the program's exit status.

    Returns: None. Raises: QupropError for what is no function.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> def program():
    ...     result = qpr.train(model, optimiser=qpr.adam(0.1), params=[1.0], steps=200, engine=qpr.Distributed())
    ...     print(round(result.loss, 3))
    >>> qpr.lead(program)  # in a file script.py: mpirun -n 4 python script.py
    -1.0
    """
    if not callable(program):
        raise QupropError(f"lead takes a function without arguments, got {shown(program)}")
    if launched_size() > 1:
        together(program)
    program()


def together(program: Callable[[], Any], engine_of: EngineOf = distributed_engine) -> NoReturn:
    """Run a program on the first rank while the others serve it, and leave with its exit status."""
    try:
        ranks = world()
        if ranks.size < launched_size():
            raise QupropError(
                f"the launcher started {launched_size()} processes and mpi4py sees {ranks.size} rank: start them with "
                "the mpirun of the MPI that mpi4py uses"
            )
    except QupropError as error:
        if not leads():  # MPI does not say who does
            sys.exit(0)
        print(f"quprop: {error}", file=sys.stderr)
        time.sleep(_OTHERS / 2)  # as in `stop`, without a sign of theirs
        sys.exit(BAD_INPUT)
    if ranks.rank:
        _serve(ranks, engine_of)
        sys.exit(0)
    sys.exit(_lead(program, Leader(ranks, engine_of)))


def _lead(program: Callable[[], Any], leader: Leader) -> int:
    global _leader
    _leader, status = leader, 0
    # Slurm sends it before the time is over, and Open MPI's mpirun passes it on, where it gives no time after SIGTERM.
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda *_: signal.raise_signal(signal.SIGTERM))
    if not _seen():
        os.environ["TERM"] = "dumb"  # Open MPI makes a terminal of every rank's output
    try:
        program()
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = FAILED
    leader.stop(status)
    _leader = None
    return status


def _seen() -> bool:
    """Whether what started the ranks writes to a terminal."""
    try:
        return os.readlink(f"/proc/{os.getppid()}/fd/1").startswith(("/dev/pts/", "/dev/tty"))
    except OSError:
        return False


def _serve(ranks: Ranks, engine_of: EngineOf) -> None:
    """Make the calls of the first rank until it lets this one go."""
    for name in filter(partial(hasattr, signal), _SIGNALS):
        signal.signal(getattr(signal, name), _nothing)  # the first rank ends in order, and then this one
    sys.stdout = sys.stderr = _Nowhere()
    comm, served = ranks.comm.Dup(), _Served(ranks, engine_of)
    watch = Watch(ranks, lambda: served.words)
    while (call := _next(comm)) is not None:
        try:
            with np.errstate(all="ignore"):
                served.do(call)
        except QupropError:  # of all ranks; the first says it
            pass
        except BaseException as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"quprop: rank {ranks.rank} failed ({why})", file=sys.__stderr__, flush=True)
            comm.Abort(FAILED)
    watch.over = True
    comm.Barrier()
    finish()


def _next(comm: Any) -> _Call | None:
    """The next call. The longer it takes, the longer the pauses between two looks, so that the processor is free for
    what the first rank does meanwhile: a wait of t seconds is 0.1 t longer, and 10 ms at most."""
    begun = time.monotonic()
    while not (comm.Iprobe(0) or comm.Iprobe(0)):  # Open MPI's first one fetches what the second one sees
        waited = time.monotonic() - begun
        time.sleep(0.0 if waited < _AWAKE else min(_LONGEST, waited / 10))
    comm.Recv(np.zeros(1, np.int8), 0)
    call: _Call | None = comm.bcast(None)
    return call


def _nothing(number: int, frame: Any) -> None:
    """For a signal of which the watch is to know."""


class _Nowhere(io.TextIOBase):
    """What a rank prints that does not lead."""

    def write(self, text: str) -> int:
        return len(text)


class _Served:
    """What a rank remembers between calls."""

    def __init__(self, ranks: Ranks, engine_of: EngineOf) -> None:
        self._ranks, self._engine_of = ranks, engine_of
        self._engines: dict[Key, Any] = {}
        self._models: dict[int, Model] = {}
        self._pullback: Callable[..., Any] | None = None
        self.words = ""

    def do(self, call: _Call) -> None:
        self.words = call.words
        self._models |= call.models
        if not call.keeps or call.method == "vjp":
            self._pullback = None
        if call.key is None:
            _named(call.method)(self._ranks, *call.arguments)
        elif not call.method:
            self._engines[call.key] = self._engine_of(*call.key)
        elif call.method == _PULL:
            assert self._pullback is not None
            self._pullback(*call.arguments, **call.options)
        else:
            arguments = (self._models[a.place] if isinstance(a, _Known) else a for a in call.arguments)
            found = getattr(self._engines[call.key], call.method)(*arguments, **call.options)
            if call.method == "vjp":
                self._pullback = found[1]


def _named(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
