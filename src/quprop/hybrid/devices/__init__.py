"""Devices of other people's libraries, a file each; `quprop.device` finds the one for what it is given."""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
