"""How the program `quprop` starts: Ctrl-C ends it without a traceback from its first moment on.

A package of its own, because importing anything of `quprop` takes half a second in which nobody listens. For the same
reason it uses what is built into the interpreter: the module `signal` imports others first.
"""

import _signal
import os

INTERRUPTED = 130
# What launchers of MPI tell a process: as in quprop.simulate.distributed.ranks, which is not imported yet.
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "PMI_ID")


def main() -> None:
    for number in (_signal.SIGINT, _signal.SIGTERM):
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _leave)  # commands put their own in its place while they run (quprop.runs.interrupt)
    from quprop.cli import main as program

    program()


def _leave(number: int, frame: object) -> None:
    if next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0":
        os.write(2, b"quprop: interrupted\n")
    os._exit(INTERRUPTED)
