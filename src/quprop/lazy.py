"""Modules that are imported when their name is first used: `import quprop` stays quick, and every dotted name works.
And the sentence for one that is not there."""

from __future__ import annotations

import re
import shlex
from importlib import import_module, metadata
from importlib.util import find_spec
from types import ModuleType

from quprop.errors import QupropError


def submodule(package: str, name: str) -> ModuleType:
    """The module `package.name`; a package's `__getattr__` (PEP 562) for names that it does not have yet."""
    if name.startswith("_") or find_spec(f"{package}.{name}") is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return import_module(f"{package}.{name}")


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
