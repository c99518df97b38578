"""How the program `quprop` starts: Ctrl-C ends it without a traceback from its first moment on.

A package of its own, because importing anything of `quprop` takes half a second in which nobody listens.
"""

import os
import signal

INTERRUPTED = 130


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)  # commands put their own in its place while they run (quprop.cli.errors)
    from quprop.cli import main as program

    program()


def _leave(number: int, frame: object) -> None:
    os.write(2, b"quprop: interrupted\n")
    os._exit(INTERRUPTED)
