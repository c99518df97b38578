"""Engines that hold the whole state vector: the native kernels and the reference."""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
