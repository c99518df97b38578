"""Gradients from batches of copies that are swept through the circuit."""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
