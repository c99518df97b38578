"""Names that are imported when they are first used: `import quprop` stays quick, and every dotted name works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any

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
