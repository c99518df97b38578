"""Work that ends in an orderly way when it is interrupted."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class WaitInterrupted(KeyboardInterrupt):
    """What was waited for goes on elsewhere, and can be collected later."""


class Interrupt:
    """While it is open the first Ctrl-C or SIGTERM only sets ``hit``, and the second one raises KeyboardInterrupt; with
    ``at_once`` the first one does. What is ignored stays ignored."""

    def __init__(self, at_once: bool = False) -> None:
        self.hit, self._at_once, self._waiting = False, at_once, False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        if self._waiting:
            self.hit = True
            raise WaitInterrupted
        if self.hit or self._at_once:
            raise KeyboardInterrupt
        self.hit = True

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within, nothing is done but wait, and the first one ends that with `WaitInterrupted`."""
        self._waiting = True
        try:
            if self.hit:
                raise WaitInterrupted
            yield
        finally:
            self._waiting = False

    def __exit__(self, *_: Any) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
