"""Work that ends in an orderly way when it is interrupted."""

from __future__ import annotations

import signal
import threading
from typing import Any


class Interrupt:
    """While it is open the first Ctrl-C or SIGTERM only sets ``hit``, and the second one raises KeyboardInterrupt; with
    ``at_once`` the first one does. What is ignored stays ignored."""

    def __init__(self, at_once: bool = False) -> None:
        self.hit, self._at_once = False, at_once
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: Any) -> None:
        if self.hit or self._at_once:
            raise KeyboardInterrupt
        self.hit = True

    def __exit__(self, *_: Any) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
