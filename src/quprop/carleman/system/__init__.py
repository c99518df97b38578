"""Many steps as one linear system, and the solvers of it."""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
