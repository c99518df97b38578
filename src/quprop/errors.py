"""What bad input gets: one sentence that says what was expected, what came, and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

_LONG = 60  # characters of a value that a sentence repeats


class QupropError(ValueError):
    """A mistake in what the caller passed; its text is one sentence with the mend."""


class UnknownGateError(QupropError, AttributeError):
    """`circuit.name` where no gate `name` exists (an AttributeError too, so that `hasattr` works)."""


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
