"""A file system that fails: at the k-th call a writer makes it is full, takes half, is out of memory, or is the last
thing its process ever asked for. And optimisers that stop."""

import errno
import os
import signal
from contextlib import contextmanager

from quprop.training.optimise import Optimiser

CALLS = ("mkdir", "open", "write", "fsync", "replace", "ftruncate", "close", "unlink", "scandir", "read", "lseek")
# What fails once and works again; what stays full; a write that takes half before that; no memory for one call.
KINDS = ("once", "full", "short", "memory")
GROWING = ("mkdir", "open", "write", "fsync", "replace")  # what a full disk refuses; the rest still works


@contextmanager
def counted(each):
    """`each(number, name, call, arguments)` in place of every call of the operating system that writers make, numbered
    from 1 on."""
    real = {name: getattr(os, name) for name in CALLS}
    count = [0]

    def wrapped(name):
        def call(*arguments, **options):
            count[0] += 1
            return each(count[0], name, lambda *given: real[name](*given, **options), arguments)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(name))
    try:
        yield count
    finally:
        for name in CALLS:
            setattr(os, name, real[name])


def calls_of(action):
    """How many calls an undisturbed `action` makes."""
    with counted(lambda number, name, call, arguments: call(*arguments)) as count:
        action()
    return count[0]


@contextmanager
def failing(kind, k):
    """Within, the k-th call fails in this way."""
    full = [False]

    def each(number, name, call, arguments):
        if kind == "memory" and number == k:
            if name == "close":
                call(*arguments)
            raise MemoryError
        if kind == "short" and name == "write" and number >= k and not full[0]:
            full[0] = True
            descriptor, data = arguments
            return call(descriptor, bytes(data)[: len(data) // 2])
        late = number >= k and name in GROWING and (kind == "full" or full[0])
        if (kind == "once" and number == k) or late:
            if name == "close":  # it is closed all the same
                call(*arguments)
            raise OSError(errno.ENOSPC, "No space left on device")
        return call(*arguments)

    with counted(each):
        yield


def killed_at(k, action):
    """Run `action` in a child whose k-th call kills it, half done; whether it died."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])

    def each(number, name, call, arguments):
        if number == k:
            if name == "write":
                descriptor, data = arguments
                call(descriptor, bytes(data)[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)

    try:
        with counted(each):
            action()
    finally:
        os._exit(0)


def leftovers(folder):
    return [p.name for p in folder.rglob("*") if p.name.endswith(".tmp")]


def stopped(optimiser, steps):
    """The same, interrupted after some steps."""
    left = iter(range(steps))

    def update(*given):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return optimiser.update(*given)

    return Optimiser(optimiser.init, update)
