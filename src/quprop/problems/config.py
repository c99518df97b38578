"""What defines a run, as one table of three sections (problem, model, train), from a built-in problem, a TOML file and
``--set``.

Every problem lists its keys with a default and a line of help; anything else is refused with the nearest known name.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quprop.errors import QupropError, nearest, shown
from quprop.files import read_toml as read_file

SECTIONS = ("problem", "model", "train")
MOST = 10**9  # of whole numbers: what they count is done one by one
LARGEST = 10_000  # layers, or qubits, of a circuit that settings ask for; memory sets closer limits
Config = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Setting:
    """One key: its default (whose type a value must have), what it means, and which values it takes.

    ``optional`` means None (left out) is a value too. ``kind`` is needed only where the default is None.
    """

    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: int | None = MOST
    kind: type | None = None

    def check(self, name: str, value: Any) -> Any:
        kind = self.kind or type(self.default)
        if value is None and self.default is None:
            return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not fits:
            raise QupropError(f"{name} must be {KINDS.get(kind, kind.__name__)}, got {shown(value)} ({self.help})")
        if isinstance(value, float) and not math.isfinite(value):
            raise QupropError(f"{name} must be finite, got {value!r}")
        if self.least is not None and value < self.least:
            raise QupropError(f"{name} must be at least {self.least:g}, got {shown(value)}")
        if isinstance(value, int) and self.most is not None and value > self.most:
            raise QupropError(f"{name} must be at most {self.most:,}, got {shown(value)}")
        if self.choices and value not in self.choices:
            raise QupropError(f"unknown {name} {shown(value)}: {nearest(shown(value)[1:-1], self.choices)}")
        return value


KINDS = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def settle(schema: dict[str, dict[str, Setting]], given: Config) -> Config:
    """The full table: defaults, overridden by ``given``, everything checked."""
    for section in given:
        if section not in SECTIONS:
            raise QupropError(f"unknown section [{section}]: {nearest(section, SECTIONS)}")
    full: Config = {}
    for section in SECTIONS:
        known, values = schema[section], given.get(section, {})
        if not isinstance(values, dict):
            raise QupropError(f"[{section}] must be a table of keys, got {shown(values)}")
        for key in values:
            if key not in known:
                elsewhere = [s for s in SECTIONS if key in schema[s]]
                mend = f"it belongs in [{elsewhere[0]}]" if elsewhere else nearest(key, known)
                raise QupropError(f"unknown key {key!r} in [{section}]: {mend}")
        full[section] = {key: s.check(f"{section}.{key}", values.get(key, s.default)) for key, s in known.items()}
    return full


def override(given: Config, text: str, schema: dict[str, dict[str, Setting]]) -> None:
    """Apply one ``--set`` text, ``section.key=value`` or ``key=value`` where only one section has that key; several of
    them with commas between, where what follows a comma is a known key."""
    known = "|".join({k for s in SECTIONS for k in schema[s]} | set(SECTIONS))
    first, *others = re.split(rf",\s*(?=(?:{known})(?:\.\w+)?\s*=)", text)
    if others and not _is_toml(text.partition("=")[2]):
        for part in (first, *others):
            override(given, part, schema)
        return
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise QupropError(f"--set takes key=value, such as --set layers=4, got {text!r}")
    section, dot, key = name.partition(".")
    if not dot:
        section, key = next((s for s in SECTIONS if name in schema[s]), ""), name
        if not section:
            raise QupropError(f"unknown key {name!r}: {nearest(name, {k for s in SECTIONS for k in schema[s]})}")
    if section not in SECTIONS:
        raise QupropError(f"unknown section {section!r} in --set {text}: {nearest(section, SECTIONS)}")
    if key not in schema[section]:
        raise QupropError(f"unknown key {key!r} in [{section}]: {nearest(key, schema[section])}")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except (ValueError, RecursionError):
        parsed = value.strip()  # a bare word is a text
    given.setdefault(section, {})[key] = parsed


def _is_toml(value: str) -> bool:
    try:
        tomllib.loads(f"v = {value}")
    except (ValueError, RecursionError):
        return False
    return True


def read_toml(path: Path) -> Config:
    """The tables of a TOML file; a relative path in ``problem.file`` means beside the TOML file."""
    try:
        table = read_file(path)
    except FileNotFoundError:
        raise QupropError(f"there is no file {path}: give a built-in problem or an existing TOML file") from None
    except OSError as error:
        raise QupropError(f"{path} cannot be read ({error.strerror}): give a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise QupropError(f"{path} is not valid TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None
    problem = table.get("problem")
    if isinstance(problem, dict) and isinstance(problem.get("file"), str):
        problem["file"] = str(path.parent / problem["file"])
    return table
