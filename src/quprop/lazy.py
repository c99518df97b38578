"""Modules that are imported when their name is first used: `import quprop` stays quick, and every dotted name works."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def submodule(package: str, name: str) -> ModuleType:
    """The module `package.name`; a package's `__getattr__` (PEP 562) for names that it does not have yet."""
    if name.startswith("_") or find_spec(f"{package}.{name}") is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return import_module(f"{package}.{name}")
