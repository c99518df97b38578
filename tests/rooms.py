"""What the code says of its own architecture: rooms, imports, outside libraries, lengths."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent / "src" / "quprop"

# From the ground up: a room imports from those before it only. What stands in brackets is a file, not a folder.
ROOMS = [
    "errors",
    "lazy",
    "collector",
    "arrays",
    "files",
    "machine",
    "plots",
    "folding_table",
    "tables",
    "cost",
    "hardware_models",
    "model",
    "simulate",
    "outputs",
    "classical",
    "runs",
    "sampling",
    "structure",
    "modules",
    "hybrid",
    "training",
    "collective",
    "gradients",
    "problems",
    "carleman",
    "planning",
    "report",
    "experiments",
    "cli",
]

# Outside libraries that are not installed with quprop, and the only rooms that may import them.
OPTIONAL = {
    "jax": {"hybrid"},
    "torch": {"hybrid", "carleman"},
    "curvlinops": {"carleman"},
    "pennylane": {"hybrid"},
    "qiskit": {"hybrid"},
    "qiskit_aer": {"hybrid"},
    "qiskit_ibm_runtime": {"hybrid"},
    "openqasm3": {"hybrid"},
    "openfermion": {"hybrid", "problems"},
    "pyscf": {"problems"},
    "distributed": {"runs"},
    "mpi4py": {"simulate"},
    "cryptography": {"runs"},
    "qdk": {"planning"},
    "plotly": {"report"},
    "jinja2": {"report"},
}


class Import(NamedTuple):
    module: str  # where it stands
    name: str  # what is imported, a module of quprop or an outside library
    line: int
    late: bool  # when a function is called


@cache
def modules() -> dict[str, Path]:
    """Dotted names of all files."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["quprop", *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    """ "" for the package itself."""
    return [*module.split("."), ""][1]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and any(
        "TYPE_CHECKING" in (getattr(n, "id", ""), getattr(n, "attr", "")) for n in ast.walk(node.test)
    )


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """With those within them, those for type checkers aside; no import stands in an expression."""
    for node in body:
        if _for_type_checkers(node):
            continue
        yield node
        for part in (node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            for name in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(part, name, []))


@cache
def imports() -> tuple[Import, ...]:
    """All imports in the package's own code, those for type checkers aside."""
    found = []
    for module, path in modules().items():
        for node in _statements(tree(path).body):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            late = node.col_offset > 0
            if isinstance(node, ast.Import):
                found += [Import(module, a.name, node.lineno, late) for a in node.names]
            else:
                assert not node.level, f"{path} imports relatively"
                full = [f"{node.module}.{a.name}" for a in node.names]
                names = {name if name in modules() else str(node.module) for name in full}
                found += [Import(module, name, node.lineno, late) for name in sorted(names)]
    return tuple(found)


def edges() -> dict[tuple[str, str], list[Import]]:
    """Imports from one room into another."""
    found: dict[tuple[str, str], list[Import]] = {}
    for i in imports():
        ends = room(i.module), room(i.name)
        if i.name.startswith("quprop.") and "" not in ends and ends[0] != ends[1]:
            found.setdefault(ends, []).append(i)
    return found


def circles(late: bool = True) -> list[list[str]]:
    """Files that import one another, in circles, `late` imports included."""
    to: dict[str, set[str]] = {m: set() for m in modules()}
    for i in imports():
        if i.name in to and i.name != i.module and (late or not i.late):
            to[i.module].add(i.name)
    changed = True
    while changed:  # who is imported by nobody that is left, or imports nobody, is in no circle
        out = [m for m, targets in to.items() if not targets & to.keys() or not any(m in t for t in to.values())]
        changed = bool(out)
        for m in out:
            del to[m]
    return [sorted(to)] if to else []


def picture() -> str:
    """Rooms from the ground up with the rooms that each imports, as docs/design.md has them."""
    below = {r: {b for a, b in edges() if a == r} for r in ROOMS}
    lines = []
    for r in ROOMS:
        # what a room reaches through another one is left out
        through = {c for b in below[r] for c in below[b]}
        direct = [b for b in ROOMS if b in below[r] - through]
        name = r + ("/" if (ROOT / r).is_dir() else "")
        lines.append(f"    {name:16}{'on ' + ', '.join(direct) if direct else ''}".rstrip())
    return "\n".join(lines)


def files_in(room_name: str) -> int:
    return len(list((ROOT / room_name).rglob("*.py"))) if (ROOT / room_name).is_dir() else 1


if __name__ == "__main__":
    sys.stdout.write(picture() + "\n")
