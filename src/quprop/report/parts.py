"""What a report is made of: values that know where they come from, and the blocks that sections are lists of.

A source is "FILE#/POINTER", with the pointer of RFC 6901 into the file's content; a file of JSON lines counts as the
list of its lines, and * stands for every line. "computed: ..." says how a number was made of others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from quprop.cost import human_seconds, short_bytes

ABSENT = "–"  # in a table, where a file says nothing
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Value:
    """`raw` as the file has it, `text` as people read it, `source` where it is from."""

    raw: Any
    text: str
    source: str

    @property
    def exact(self) -> str:
        """The machine-readable form: all digits, as JSON writes them."""
        if isinstance(self.raw, bool):
            return str(self.raw).lower()
        return repr(self.raw) if isinstance(self.raw, float) else str(self.raw)


Cell = Value | str


def readable(raw: Any) -> str:
    """A number to four or five digits, powers of ten written out; anything else as it is."""
    if isinstance(raw, bool):
        return "yes" if raw else "no"
    if isinstance(raw, int):
        return f"{raw:,}" if abs(raw) < 10_000_000 else _power(float(raw), 4)
    if isinstance(raw, float):
        if not math.isfinite(raw):
            return {"inf": "∞", "-inf": "−∞"}.get(str(raw), "not a number")
        if raw == 0 or 1e-3 <= abs(raw) < 1e5:
            return f"{raw:.5g}"
        return _power(raw, 4)
    return ABSENT if raw is None else str(raw)


def digits(count: int) -> Callable[[Any], str]:
    """As `readable`, with `count` digits behind the point where it is a plain number."""
    return lambda raw: f"{raw:.{count}f}" if isinstance(raw, int | float) else readable(raw)


def seconds(raw: Any) -> str:
    if not isinstance(raw, int | float) or not math.isfinite(raw):
        return readable(raw)
    number, unit = human_seconds(raw).split(" ")
    return f"{_power(float(number), 2) if 'e' in number else number} {unit}"


def size(raw: Any) -> str:
    return short_bytes(raw) if isinstance(raw, int | float) else readable(raw)


def _power(number: float, count: int) -> str:
    mantissa, exponent = f"{number:.{count - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}×10{str(int(exponent)).translate(_RAISED)}"


class Fields:
    """A file's content, read by keys, with the pointer remembered."""

    def __init__(self, file: str, data: Any, pointer: str = "") -> None:
        self.file, self.data, self.pointer = file, data, pointer

    def at(self, *keys: str | int) -> Fields:
        data, pointer = self.data, self.pointer
        for key in keys:
            pointer += "/" + str(key).replace("~", "~0").replace("/", "~1")
            if isinstance(data, dict):
                data = data.get(key)
            elif isinstance(data, list) and isinstance(key, int) and -len(data) <= key < len(data):
                pointer = pointer.rsplit("/", 1)[0] + f"/{key % len(data)}"
                data = data[key]
            else:
                data = None
        return Fields(self.file, data, pointer)

    @property
    def source(self) -> str:
        return f"{self.file}#{self.pointer}"

    def has(self, *keys: str | int) -> bool:
        return self.at(*keys).data is not None

    def value(self, *keys: str | int, show: Callable[[Any], str] = readable) -> Cell:
        """The value at those keys with its source, or a dash."""
        found = self.at(*keys)
        if found.data is None or isinstance(found.data, dict | list):
            return ABSENT
        return Value(found.data, show(found.data), found.source)

    def text(self, *keys: str | int) -> str:
        data = self.at(*keys).data
        return "" if data is None else str(data)

    def number(self, *keys: str | int) -> float | None:
        """A finite number, or None."""
        data = self.at(*keys).data
        good = isinstance(data, int | float) and not isinstance(data, bool) and math.isfinite(data)
        return data if good else None

    def numbers(self, *keys: str | int) -> list[float]:
        """A list of numbers; entries that are none are NaN."""
        data = self.at(*keys).data
        return [as_number(v) for v in data] if isinstance(data, list) else []

    @property
    def names(self) -> list[str]:
        """The keys of an object."""
        return list(self.data) if isinstance(self.data, dict) else []

    @property
    def entries(self) -> list[Fields]:
        """The entries of a list."""
        return [self.at(i) for i in range(len(self.data))] if isinstance(self.data, list) else []


def as_number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def computed(raw: Any, how: str, show: Callable[[Any], str] = readable) -> Value:
    return Value(raw, show(raw), f"computed: {how}")


# -- blocks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """A paragraph, of words and values."""

    cells: tuple[Cell, ...]
    strong: bool = False
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    entries: tuple[Cell, ...]
    kind: ClassVar[str] = "items"


@dataclass(frozen=True)
class Table:
    """The first column names the rows."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    folded: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Image:
    """A PNG that is there already."""

    title: str
    png: bytes
    alt: str
    source: str
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Drawing:
    """Inline SVG in the page's own colours."""

    title: str
    svg: str
    note: str = ""
    kind: ClassVar[str] = "drawing"


@dataclass(frozen=True)
class Heading:
    text: str
    kind: ClassVar[str] = "heading"


@dataclass
class Section:
    """One run, or one result. `notes`: what could not be read, a sentence each; `going`: its files still grow;
    `facts`: what the contents of several results show of it, "time" among them; `settings`: what it was asked for, of
    which they show what differs; `quprop`: the version it was made with."""

    title: str
    label: str
    source: str
    blocks: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    going: bool = False
    facts: dict[str, Cell] = field(default_factory=dict)
    settings: dict[str, Cell] = field(default_factory=dict)
    quprop: str = ""


def words(*cells: Cell, strong: bool = False) -> Text:
    return Text(cells, strong)
