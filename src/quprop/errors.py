"""What bad input gets: one sentence that says what was expected, what came, the mend; checks of seeds and counts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

_LONG = 60  # characters of a value that a sentence repeats
_LONGEST = 1000  # characters of a sentence, names in it being anything that a file may hold


class QupropError(ValueError):
    """A mistake in what the caller passed; its text is one sentence with the mend, on one printable line.

    sentence, more: as of any exception.

    >>> try:
    ...     qpr.Circuit(2).rx(0.1, 5)
    ... except qpr.QupropError as error:
    ...     print(error)
    rx acts on qubit 5, but this circuit has qubits 0 to 1; use one of them or make a larger Circuit
    """

    def __init__(self, sentence: object = "", *more: object) -> None:
        super().__init__(one_line(str(sentence)), *more)

    def __reduce__(self) -> tuple[Any, ...]:
        # tblib, which pickles errors wherever Dask is, makes them by `__new__` otherwise: FileError has no safe one.
        return type(self), self.args, self.__dict__


class UnknownGateError(QupropError, AttributeError):
    """`circuit.name` where no gate `name` exists (an AttributeError too, so that `hasattr` works)."""


def one_line(text: str) -> str:
    """The text on one line that can be printed, with its middle cut out where it is very long."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 2 :]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `name`: the nearest known name, or the list of all."""
    choices = sorted(known)
    match = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.5)
    if match:
        return f"did you mean {match[0]!r}?"
    return f"known names are {', '.join(choices)}"


def shown(value: Any) -> str:
    """A value as a sentence repeats it: what is long is cut."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONG else f"{text[: _LONG // 2 - 2]}...{text[2 - _LONG // 2 :]}"


def count_of(number: float, noun: str, text: str = "") -> str:
    """ "1 step", "2,000 steps", "3 copies"; ``text``: the number as it is to be written, if not in full."""
    text = text or (f"{number:,}" if isinstance(number, int | np.integer) else str(number))
    if number == 1:
        return f"{text} {noun}"
    if noun[-1] == "y" and noun[-2] not in "aeiou":
        return f"{text} {noun[:-1]}ies"
    return f"{text} {noun}es" if noun.endswith(("s", "x", "ch")) else f"{text} {noun}s"


def generator_of(rng: Any) -> np.random.Generator:
    """The Generator of a seed, or ``rng`` itself if it is one; randomness comes from nowhere else, and None, a
    hidden seed, is refused."""
    try:
        if rng is None:
            raise TypeError
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise QupropError(f"rng is a seed (a whole number from 0) or a numpy Generator, got {rng!r}") from None


def whole(name: str, value: Any, least: int) -> int:
    """`value`, which must be a whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise QupropError(f"{name} must be a whole number from {least}, got {shown(value)}")
    return int(value)
