"""Tables of any JSON: for results whose shape is somebody else's to choose, long lists abbreviated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quprop.report.parts import ABSENT, Cell, Fields, Table, readable, seconds, size
from quprop.report.wording import phrase

MOST_ROWS = 200
MOST_COLUMNS = 14
DEEPEST = 4


def pairs(caption: str, fields: Fields, *, folded: bool = False, leave: Iterable[str] = ()) -> Table:
    """The entries of an object that are no tables themselves; of nested ones, all below it by dotted names."""
    left = set(leave)
    rows = tuple(_flat(fields, "", left, 0))
    return Table(caption, ("", "value"), rows, folded=folded)


def _flat(fields: Fields, prefix: str, left: set[str], depth: int) -> Iterable[tuple[Cell, ...]]:
    for key in fields.names:
        if key in left:
            continue
        entry = fields.at(key)
        name = phrase(f"{prefix}{key}")
        if isinstance(entry.data, dict) and depth < DEEPEST:
            yield from _flat(entry, f"{prefix}{key}/", set(), depth + 1)
        elif isinstance(entry.data, list):
            yield name, short_list(entry)
        else:
            yield name, cell(entry)


def cell(entry: Fields) -> Cell:
    """A value, times and sizes in people's units where the name says that it is one."""
    name = entry.pointer.rsplit("/", 1)[-1]
    number = entry.number()
    if number is not None and (name.endswith("seconds") or name == "time"):
        return entry.value(show=seconds)
    if number is not None and name.endswith("bytes"):
        return entry.value(show=size)
    return entry.value()


def short_list(entry: Fields) -> str:
    items = [readable(v) for v in entry.data[:6] if not isinstance(v, dict | list)]
    if not items:
        return f"{len(entry.data)} entries" if entry.data else "none"
    return ", ".join(items) + (f", … ({len(entry.data)} entries)" if len(entry.data) > 6 else "")


def tables(fields: Fields, leave: Iterable[str] = (), depth: int = 0) -> list[Table]:
    """Lists of objects and objects of objects as tables, what is left over as pairs."""
    left = set(leave)
    out: list[Table] = []
    loose = []
    for key in fields.names:
        if key in left:
            continue
        entry, name = fields.at(key), phrase(key)
        rows = _rows(entry)
        if rows:
            out.append(table(name, rows))
        elif isinstance(entry.data, dict) and depth < DEEPEST and any(_rows(entry.at(k)) for k in entry.names):
            out += tables(entry, depth=depth + 1)
        else:
            loose.append(key)
    if loose:
        out.insert(0, pairs("values", fields, leave=left | {k for k in fields.names if k not in loose}))
    return out


def _rows(entry: Fields) -> list[tuple[str, Fields]]:
    """(name, object) of what can be the rows of one table: objects that share most of their keys."""
    data = entry.data
    if isinstance(data, list) and data and all(isinstance(v, dict) for v in data):
        rows = [(str(i + 1), entry.at(i)) for i in range(len(data))]
    elif isinstance(data, dict) and len(data) > 1 and all(isinstance(v, dict) for v in data.values()):
        rows = [(str(k), entry.at(k)) for k in data]
    else:
        return []
    keys = [set(r.names) for _, r in rows]
    every, shared = set.union(*keys), set.intersection(*keys)
    return rows if (shared and 2 * len(shared) >= len(every)) or len(every) <= MOST_COLUMNS else []


def table(caption: str, rows: list[tuple[str, Fields]], columns: list[str] | None = None) -> Table:
    """One row an object; lists are abbreviated, objects in objects written out under dotted names."""
    names = columns or list(dict.fromkeys(k for _, r in rows for k in _names(r)))
    shown = names[:MOST_COLUMNS]
    kept = rows[:MOST_ROWS]
    notes = []
    if len(kept) < len(rows):
        notes.append(f"{len(kept)} of {len(rows):,} rows")
    if len(shown) < len(names):
        notes.append(f"not shown: {', '.join(map(phrase, names[len(shown) :]))}")
    body = tuple((name, *(_at(r, k) for k in shown)) for name, r in kept)
    heads = ("", *map(phrase, shown))
    return Table(caption, heads, body, "; ".join(notes))


def _names(row: Fields) -> list[str]:
    out: list[str] = []
    for key in row.names:
        inner = row.at(key)
        out += [f"{key}/{k}" for k in inner.names] if isinstance(inner.data, dict) else [key]
    return out


def _at(row: Fields, name: str) -> Cell:
    entry = row.at(*name.split("/")) if not row.has(name) else row.at(name)
    if isinstance(entry.data, list):
        return short_list(entry)
    return ABSENT if isinstance(entry.data, dict) or entry.data is None else cell(entry)


def versions(fields: Fields) -> list[Any]:
    return [pairs("Made with", fields.at("versions"), folded=True)] if fields.has("versions") else []
