"""Of a cost of bit strings: its ratio to the best one, and the best strings that were sampled."""

from __future__ import annotations

from typing import Any

from quprop.problems.combinatorial import RATIO, WORDS
from quprop.report.parts import Cell, Fields, Heading, Table, digits, words


def rows(summary: Fields) -> list[tuple[str, Cell]]:
    """What the result says of them."""
    named: list[tuple[str, Cell]] = [
        (f"approximation ratio {RATIO}", summary.value("approximation_ratio", show=digits(4)))
    ]
    return named + [(name, summary.value(key)) for key, name in WORDS.items()]


def blocks(summary: Fields) -> list[Any]:
    """The best strings, with their costs and how often each was sampled."""
    found = summary.at("solutions").entries
    if not found:
        return []
    table = tuple((row.value("bits"), row.value("cost"), row.value("count")) for row in found)
    shots = summary.text("shots")
    out: list[Any] = [
        Heading("The best samples"),
        Table("Strings", ("bits, qubit 0 first", "cost", f"of {shots}"), table),
    ]
    chosen = summary.at("chosen").data
    if isinstance(chosen, list):
        out.append(words(f"Chosen by the best: {', '.join(map(str, chosen))}."))
    return out
