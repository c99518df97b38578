"""Names that are imported when they are first used: `import quprop` stays quick, and every dotted name works.
And the sentence for one that is not there."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

from quprop.errors import QupropError

_NONE: Mapping[str, str] = MappingProxyType({})


def lazy(package: str, where: Mapping[str, str] = _NONE) -> Callable[[str], Any]:
    """`__getattr__` of a package (PEP 562): its modules, and the names of other modules, `where` they are."""

    def get(name: str) -> Any:
        if name in where:
            return getattr(import_module(where[name]), name)
        if name.startswith("_") or find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    return get


def listing(package: str, names: Iterable[str] | None = None) -> Callable[[], list[str]]:
    """`__dir__` of a package: these names, or those of `__all__` and its modules."""

    def listed() -> list[str]:
        own = sys.modules[package]
        modules = [m.name for m in iter_modules(own.__path__) if not m.name.startswith("_")] if names is None else []
        return sorted({*getattr(own, "__all__", ()), *modules, *(names or ())})

    return listed


def missing(what: str, extra: str = "", *, package: str = "") -> QupropError:
    """`what` ("reading OpenQASM needs its parser") is not installed: it belongs to quprop's extra, or is a package of
    others."""
    return QupropError(f"{what}, which is not installed: {install(extra, package=package)}")


def install(extra: str = "", *, package: str = "") -> str:
    """The command that installs it. An extra's requirements are named one by one, because where quprop itself is
    installed from (an index, a file, a checkout) changes nothing about them."""
    try:
        listed = [package] if package else [_requirement(r) for r in metadata.requires("quprop") or () if _of(r, extra)]
    except metadata.PackageNotFoundError:  # a source tree on the path
        listed = []
    return f"pip install {shlex.join(listed)}" if listed else f"pip install '.[{extra}]' in the folder of its source"


def _requirement(text: str) -> str:
    return text.partition(";")[0].strip()


def _of(text: str, extra: str) -> bool:
    return re.search(rf"""extra\s*==\s*["']{re.escape(extra)}["']""", text) is not None
